"""Byte ranges of files on a disk or a server, and members of zip archives as files.

Of a measurement of a gigabyte only what a window needs is read. A stored member of a zip is a byte
range of the archive. A deflated one can only be decompressed from its beginning: one that is read
in windows is decompressed once, as far as it is needed, to an unnamed scratch file. Where the disk
has no room for that, each reader decompresses from the beginning.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from abc import abstractmethod
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from sarheight._files import read_rows, unnamed_file
from sarheight.errors import ProductError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable, Sequence

    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray

BUFFER = 256 * 2**10
"""Bytes to read at least: a request to a server costs more than these."""

LARGEST_REQUEST = 8 * 2**20

PACKED_BUFFER, PACKED_STEP = 2**20, 64 * 2**10
"""Compressed bytes to request at once, and to pass to the decompressor at once."""

STEP = 2**20
"""Decompressed bytes to make at once."""

REMAINDER = 4 * 2**20
"""A read that ends so many bytes before the end of a member goes on to it, where the checksum is
compared. Members that are not larger need no scratch file."""

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"


def call_storage(label: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # as the function
    """Call a function of a file system, and raise errors without passwords and signatures."""
    try:
        return function(*arguments, **options)
    except FileNotFoundError:
        msg = f"there is no {label}, or it is not open to this account"
        raise FileNotFoundError(msg) from None
    except Exception as error:  # noqa: BLE001  # each library has its own
        what = f"{type(error).__name__} {getattr(error, 'status', '')}".strip()
        msg = (
            f"{label} cannot be read ({what}): check the address, the account and the network, "
            "and try again"
        )
        raise ProductError(msg) from None


def differs_from_checksum(label: str) -> str:
    """Return the message of a member of a zip that is damaged."""
    return (
        f"{label} differs from its checksum (CRC-32) in the zip, expected the same: the archive "
        "is damaged, fetch it again"
    )


class Extent(NamedTuple):
    """A range of bytes of a file."""

    storage: AbstractFileSystem
    path: str  # of the file in its file system
    label: str  # name of the file in errors
    begin: int  # first byte
    size: int

    @classmethod
    def whole(cls, storage: AbstractFileSystem, path: str, label: str) -> Extent:
        """Return all of a file."""
        size = call_storage(label, storage.info, path).get("size")
        if size is None:
            msg = (
                f"the server of {label} does not say how large it is, so no part of it can be "
                "read: download it and open the copy"
            )
            raise ProductError(msg)
        return cls(storage, path, label, 0, int(size))

    def read(self, begin: int, size: int) -> bytes:
        """Read bytes, counted from the beginning of the extent; fewer at its end."""
        size = max(min(size, self.size - begin), 0)
        if size == 0:
            return b""
        first = self.begin + begin
        data: bytes = call_storage(
            self.label, self.storage.cat_file, self.path, start=first, end=first + size
        )
        if len(data) != size:
            msg = (
                f"{self.label} gave {len(data)} bytes where {size} were requested: it is cut "
                "short, or its server does not send parts of files; fetch it again, or download "
                "it and open the copy"
            )
            raise ProductError(msg)
        return data

    def member(self, info: zipfile.ZipInfo) -> Extent:
        """Return the compressed bytes of a member, where the extent is a zip archive."""
        header = self.read(info.header_offset, LOCAL_HEADER.size)
        fields = LOCAL_HEADER.unpack(header) if len(header) == LOCAL_HEADER.size else (b"",)
        if fields[0] != LOCAL_MAGIC:
            msg = (
                f"{self.label} has no member where its directory puts {info.filename}: it is "
                "damaged, fetch it again"
            )
            raise ProductError(msg)
        # The last two fields are the lengths of the name and the extra field before the data.
        begin = info.header_offset + LOCAL_HEADER.size + int(fields[-2]) + int(fields[-1])
        return self._replace(
            begin=self.begin + begin,
            size=max(min(info.compress_size, self.size - begin), 0),
            label=f"{info.filename} in {self.label}",
        )

    def open(self, buffer: int = BUFFER) -> io.BufferedReader:
        """Open the extent as a file that reads ahead: small reads do not become small requests."""
        return io.BufferedReader(_ExtentFile(self), buffer_size=buffer)


class _RangeFile(io.RawIOBase):
    """A file of known size whose ranges can be read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._position = 0

    @abstractmethod
    def read_range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range, all of them."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            msg = f"found the position {origin + offset}, expected one within the file"
            raise ValueError(msg)
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the next bytes, as far as there are some."""
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self._size - self._position), 0)
        data = self.read_range(self._position, size) if size else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class _ExtentFile(_RangeFile):
    """An extent as a file; sequential reads are served by larger and larger requests."""

    def __init__(self, extent: Extent) -> None:
        super().__init__(extent.size)
        self._extent = extent
        self._begin, self._data = 0, b""

    def read_range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range."""
        end = self._begin + len(self._data)
        if not self._begin <= begin <= begin + size <= end:
            ahead = min(2 * len(self._data), LARGEST_REQUEST) if begin == end else 0
            self._begin, self._data = begin, self._extent.read(begin, max(size, ahead))
        return self._data[begin - self._begin :][:size]


class _Inflater:
    """Decompresses a member of a zip from its beginning to its end."""

    def __init__(self, packed: Extent, size: int, checksum: int) -> None:
        self.position = 0  # bytes that came out
        self._size, self._checksum, self._label = size, checksum, packed.label
        self._found = 0  # CRC-32 of these
        self._packed = packed.open(PACKED_BUFFER)
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def must_go_on(self, end: int) -> bool:
        """Return whether more is needed for a read to a position; compare the checksum at last."""
        if self.position == self._size and self._found != self._checksum:
            raise ProductError(differs_from_checksum(self._label))
        complete = self._size - max(end, self.position) <= REMAINDER
        return self.position < (self._size if complete else end)

    def read(self, size: int) -> bytes:
        """Return the next bytes: at least one, and at most `size`."""
        data = b""
        while not data:
            packed = self._decompressor.unconsumed_tail or self._packed.read(PACKED_STEP)
            if self._decompressor.eof or not packed:
                msg = (
                    f"{self._label} ends after {self.position} bytes, expected {self._size}: the "
                    "archive is cut short or damaged, fetch it again"
                )
                raise ProductError(msg)
            try:
                data = self._decompressor.decompress(packed, min(size, self._size - self.position))
            except zlib.error as error:
                msg = f"{self._label} is damaged ({error}): fetch the archive again"
                raise ProductError(msg) from error
        self.position += len(data)
        self._found = zlib.crc32(data, self._found)
        return data


class _StreamFile(_RangeFile):
    """A deflated member as a file that is decompressed again wherever it is read backwards."""

    def __init__(self, packed: Extent, size: int, checksum: int) -> None:
        super().__init__(size)
        self._member = packed, size, checksum
        self._inflater = _Inflater(*self._member)
        self._remainder = b""  # what was made beyond the last read, to compare the checksum

    def read_range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range."""
        made = self._size - len(self._remainder)
        if begin >= made:
            return self._remainder[begin - made :][:size]
        if begin < self._inflater.position:
            self._inflater = _Inflater(*self._member)
        self._made_to(begin)
        data = self._made_to(begin + size)
        self._remainder = b""
        if self._inflater.must_go_on(begin + size):
            self._remainder = self._made_to(self._size)
            self._inflater.must_go_on(self._size)
        return data

    def _made_to(self, end: int) -> bytes:
        """Decompress up to a position."""
        parts = []
        while self._inflater.position < end:
            parts.append(self._inflater.read(min(end - self._inflater.position, STEP)))
        return b"".join(parts)


class DeflatedMember:
    """A deflated member of a zip, decompressed once, as far as it is read.

    It may be opened any number of times, from several threads. Its checksum (CRC-32) is compared
    when it is decompressed to its end.
    """

    def __init__(self, packed: Extent, size: int, checksum: int) -> None:
        self._member = packed, size, checksum
        self.size = size
        self._end = 0  # bytes in the scratch file
        self._scratch: IO[bytes] | None = None
        self._inflater: _Inflater | None = None
        self._filling, self._using = threading.Lock(), threading.Lock()

    def stream(self) -> io.RawIOBase:
        """Open the member as a file that is read once, from its beginning."""
        return _StreamFile(*self._member)

    def open(self) -> io.RawIOBase:
        """Open the member as a file that is read anywhere."""
        return _MemberFile(self)

    def read(self, begin: int, size: int) -> bytes | None:
        """Return bytes from the scratch file, decompressed so far first; None without one."""
        scratch = self._filled(begin + size)
        if scratch is None:
            return None
        with self._using:
            scratch.seek(begin)
            return scratch.read(size)

    def read_rows(self, begins: Sequence[int], rows: NDArray[Any]) -> bool:
        """Read rows of bytes from the scratch file, decompressed so far first.

        See `sarheight._files.read_rows`; False without a scratch file, or beyond its end.
        """
        end = begins[-1] + rows[-1].nbytes
        scratch = self._filled(end) if end <= self.size else None
        if scratch is None:
            return False
        with self._using:
            return read_rows(scratch, begins, rows)

    def _filled(self, end: int) -> IO[bytes] | None:
        """Return the scratch file, decompressed up to a position at least; None without one."""
        inflater = self._inflater
        scratch = self._scratch
        if scratch and inflater and end <= self._end and not inflater.must_go_on(end):
            return scratch  # others may be making what lies beyond
        with self._filling:
            if self._inflater is None:
                self._inflater = _Inflater(*self._member)
                self._scratch = unnamed_file(self.size, self, 0) if self.size > REMAINDER else None
            try:
                while self._scratch is not None and self._inflater.must_go_on(end):
                    self._append(self._scratch, self._inflater.read(STEP))
            except OSError:  # the disk is full after all
                self._scratch = None
            return self._scratch

    def _append(self, scratch: IO[bytes], data: bytes) -> None:
        view = memoryview(data)
        with self._using:
            scratch.seek(self._end)
            while view:
                view = view[scratch.write(view) :]
        self._end += len(data)


class _MemberFile(_RangeFile):
    """A deflated member as a file, from its scratch file where there is one."""

    def __init__(self, member: DeflatedMember) -> None:
        super().__init__(member.size)
        self._member = member
        self._stream: io.RawIOBase | None = None

    def read_range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range."""
        data = self._member.read(begin, size)
        if data is None:
            self._stream = self._stream or self._member.stream()
            self._stream.seek(begin)
            data = self._stream.read(size)
        return data or b""
