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
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipExtFile

import numpy as np

from sarheight._files import RangeFile, read_rows, unnamed_file
from sarheight.errors import ProductError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from zipfile import ZipInfo

    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray

BUFFER = 256 * 2**10
"""Bytes to read at least: a request to a server costs more than these."""

LARGEST_REQUEST = 8 * 2**20

PACKED_BUFFER = 2**20
"""Bytes of a member to request at once."""

STEP = 2**20
"""Decompressed bytes to make at once."""

REMAINDER = 4 * 2**20
"""A read that ends so many bytes before the end of a member goes on to it, where the checksum is
compared. Members that are not larger need no scratch file: they are held in memory."""

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


def is_local(storage: AbstractFileSystem) -> bool:
    """Return whether a file system is that of this machine."""
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(storage, LocalFileSystem)


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

    def member(self, info: ZipInfo) -> Extent:
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
        return io.BufferedReader(RangeFile(self.size, _ReadAhead(self).read), buffer)


class _ReadAhead:
    """Reads an extent; sequential reads are served by larger and larger requests."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._begin, self._data = 0, b""

    def read(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range."""
        end = self._begin + len(self._data)
        if not self._begin <= begin <= begin + size <= end:
            ahead = min(2 * len(self._data), LARGEST_REQUEST) if begin == end else 0
            self._begin, self._data = begin, self._extent.read(begin, max(size, ahead))
        return self._data[begin - self._begin :][:size]


# Members of zips.


class _MemberStream(ZipExtFile):
    """A member of a zip as a file that is read from its beginning, and compared at its end.

    Reading backwards begins anew.
    """

    def __init__(self, packed: Extent, info: ZipInfo) -> None:
        super().__init__(packed.open(PACKED_BUFFER), "r", info, close_fileobj=True)
        self._label = packed.label

    def read(self, n: int | None = -1) -> bytes:
        """Read bytes; all by default."""
        try:
            return super().read(n)
        except BadZipFile as error:
            msg = (
                f"{self._label} differs from its checksum (CRC-32) in the zip, expected the same: "
                "the archive is damaged, fetch it again"
            )
            raise ProductError(msg) from error
        except (EOFError, zlib.error) as error:
            reason = str(error) or "it ends too early"
            msg = f"{self._label} is cut short or damaged ({reason}): fetch the archive again"
            raise ProductError(msg) from error


class DeflatedMember:
    """A deflated member of a zip, decompressed once, as far as it is read.

    It may be opened any number of times, from several threads. Its checksum (CRC-32) is compared
    when it is decompressed to its end.
    """

    def __init__(self, packed: Extent, info: ZipInfo) -> None:
        self._packed, self._info = packed, info
        self._lock = threading.Lock()
        self._stream: _MemberStream | None = None  # where decompression has arrived
        self._scratch: IO[bytes] | None = None
        self._end = 0  # bytes in the scratch file
        self._failure: ProductError | None = None

    def open(self) -> BinaryIO:
        """Open the member as a file that is read anywhere."""
        if self._filled(0) is None:
            return cast("BinaryIO", _MemberStream(self._packed, self._info))
        return cast(
            "BinaryIO", io.BufferedReader(RangeFile(self._info.file_size, self.read), BUFFER)
        )

    def read(self, begin: int, size: int) -> bytes:
        """Return bytes from the scratch file, decompressed so far first."""
        scratch = self._filled(begin + size)
        if scratch is None:
            with _MemberStream(self._packed, self._info) as stream:
                stream.seek(begin)
                return stream.read(size)
        with self._lock:
            scratch.seek(begin)
            return scratch.read(size)

    @property
    def compared(self) -> bool:
        """Whether the member was decompressed to its end."""
        return self._end == self._info.file_size

    def read_rows(self, begins: Sequence[int], rows: NDArray[Any]) -> bool:
        """Read rows of bytes, decompressed so far first.

        See `sarheight._files.read_rows`; False without a scratch file, or beyond its end.
        """
        end = begins[-1] + rows[-1].nbytes
        if end > self._info.file_size:
            return False
        scratch = self._filled(end)
        if scratch is None:
            return False
        with self._lock:
            return read_rows(scratch, begins, rows)

    def _filled(self, end: int) -> IO[bytes] | None:
        """Return the scratch file, decompressed up to a position at least; None without one."""
        size = self._info.file_size
        goal = size if size - end <= REMAINDER else end
        while True:
            # Others read what is there between the steps.
            with self._lock:
                if self._failure is not None:
                    raise self._failure
                if self._stream is None:
                    self._stream = _MemberStream(self._packed, self._info)
                    self._scratch = (
                        io.BytesIO() if size <= REMAINDER else unnamed_file(size, self, 0)
                    )
                if self._scratch is None or self._end >= goal:
                    return self._scratch
                try:
                    data = self._stream.read(STEP)
                except ProductError as error:
                    self._failure = error
                    raise
                self._append(data)

    def _append(self, data: bytes) -> None:
        """Append to the scratch file, or give it up where the disk is full after all."""
        if self._scratch is None:
            return
        view = memoryview(data)
        try:
            self._scratch.seek(self._end)
            while view:
                view = view[self._scratch.write(view) :]
        except OSError:
            self._scratch = None
        self._end += len(data)


class ProductFile:
    """A file of a product: one of its own, or a member of a zip; located when it is opened."""

    def __init__(self, whole: Callable[[], Extent], info: ZipInfo | None = None) -> None:
        self._whole = whole  # the file, or the zip
        self._info = info
        self._lock = threading.Lock()
        self._extent: Extent | None = None
        self._deflated: DeflatedMember | None = None
        self._compared = False

    def _locate(self) -> tuple[Extent, DeflatedMember | None]:
        """Return where the bytes of the file lie, and what decompresses them."""
        with self._lock:
            if self._extent is None:
                extent, info = self._whole(), self._info
                self._extent = extent if info is None else extent.member(info)
                if info is not None and info.compress_type == ZIP_DEFLATED:
                    self._deflated = DeflatedMember(self._extent, info)
            return self._extent, self._deflated

    def open(self) -> BinaryIO:
        """Open the file, to be read once from its beginning; a member of a zip is compared."""
        extent, _ = self._locate()
        if self._info is None:
            return cast("BinaryIO", extent.open())
        return cast("BinaryIO", _MemberStream(extent, self._info))

    def open_anywhere(self) -> BinaryIO:
        """Open the file, to be read several times and anywhere."""
        extent, deflated = self._locate()
        return cast("BinaryIO", extent.open()) if deflated is None else deflated.open()

    @property
    def stored(self) -> bool:
        """Whether this is a member of a zip that is not compressed."""
        return self._info is not None and self._info.compress_type == ZIP_STORED

    @property
    def compared(self) -> bool:
        """Whether the checksum of a member of a zip on a disk was compared; True for other files.

        Others have none here, or are read from servers in parts.
        """
        extent, deflated = self._locate()
        if self._info is None or not is_local(extent.storage):
            return True
        return self._compared if deflated is None else deflated.compared

    def compare(self) -> None:
        """Read a stored member of a zip once, and compare it with its checksum (CRC-32)."""
        extent, deflated = self._locate()
        info = self._info
        if info is None or deflated is not None or not is_local(extent.storage):
            return
        with self._lock:
            if not self._compared:
                with _MemberStream(extent, info) as file:
                    while file.read(STEP):
                        pass
                self._compared = True

    def read_rows(self, begins: Sequence[int], rows: NDArray[Any]) -> bool:
        """Read rows of bytes, see `sarheight._files.read_rows`; False where that fails."""
        extent, deflated = self._locate()
        if deflated is not None:
            return deflated.read_rows(begins, rows)
        if begins[-1] + rows[-1].nbytes > extent.size:
            return False
        if not is_local(extent.storage):
            _request_rows(extent, begins, rows)
            return True
        with Path(extent.path).open("rb", buffering=0) as file:
            return read_rows(file, [extent.begin + begin for begin in begins], rows)


def _request_rows(extent: Extent, begins: Sequence[int], rows: NDArray[Any]) -> None:
    """Read rows of bytes from a server, several at a time with what lies between them.

    A request costs more than `BUFFER` bytes, and brings no more than `LARGEST_REQUEST`.
    """
    size, first = rows[0].nbytes, 0
    for row in range(1, len(begins) + 1):
        if (
            row < len(begins)
            and begins[row] - begins[row - 1] - size <= BUFFER
            and begins[row] + size - begins[first] <= LARGEST_REQUEST
        ):
            continue
        start = begins[first]
        data = extent.read(start, begins[row - 1] + size - start)
        for each in range(first, row):
            place = begins[each] - start
            rows[each] = np.frombuffer(data[place : place + size], rows.dtype)
        first = row
