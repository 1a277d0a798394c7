"""Byte ranges of files on a disk or a server, and members of zip archives as files.

Of a measurement of a gigabyte only what a window needs is read. A stored member of a zip is a byte
range of the archive. A deflated one can only be decompressed from its beginning. A large one that
is opened again and again, as images are that are read in windows, is decompressed once, to an
unnamed scratch file. Where the disk has no room for that, the state of the decompressor is saved
every few MiB, and each reader starts from the nearest saved state.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from abc import abstractmethod
from bisect import bisect_right
from contextlib import nullcontext
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from sarheight._files import read_rows, unnamed_file
from sarheight.errors import ProductError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray

BUFFER = 256 * 2**10
"""Bytes to read at least: a request to a server costs more than these."""

LARGEST_REQUEST = 8 * 2**20

PACKED_BUFFER, PACKED_STEP = 2**20, 64 * 2**10
"""Compressed bytes to request at once, and to pass to the decompressor at once."""

SNAPSHOT_STEP = 4 * 2**20
"""Decompressed bytes between two saved states, of some 100 kB each. A read that ends this close to
the end of a member goes on to it, where the checksum is compared."""

SPOOL_STEP = 2**20
"""Decompressed bytes to write to a scratch file at once."""

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

    def open(self) -> io.BufferedReader:
        """Open the extent as a file."""
        return _buffered(_ExtentFile(self))


def _buffered(file: io.RawIOBase) -> io.BufferedReader:
    """Return a file that reads ahead, so that small reads do not become small requests."""
    return io.BufferedReader(file, buffer_size=BUFFER)


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


class _State(NamedTuple):
    """The state of a decompressor."""

    position: int  # bytes that came out
    checksum: int  # CRC-32 of these
    packed_position: int  # bytes that went in
    decompressor: Any

    def copy(self) -> _State:
        """Return a state that can be continued without changing this one."""
        return self._replace(decompressor=self.decompressor.copy())


class _Spool:
    """What came out of a decompressor so far, in a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self.end = 0  # bytes that came out
        self._file = file
        self._lock = threading.Lock()

    def append(self, data: bytes) -> None:
        """Write the next bytes, which one thread at a time may do."""
        view = memoryview(data)
        with self._lock:
            self._file.seek(self.end)
            while view:
                view = view[self._file.write(view) :]
        self.end += len(data)

    def read(self, begin: int, size: int) -> bytes:
        """Read bytes before the end."""
        with self._lock:
            self._file.seek(begin)
            return self._file.read(size)

    def read_rows(self, begins: Sequence[int], rows: NDArray[Any]) -> bool:
        """Read rows of bytes before the end, see `sarheight._files.read_rows`."""
        with self._lock:
            return read_rows(self._file, begins, rows)


class DeflatedMember:
    """A deflated member of a zip, decompressed as far as it is read.

    It may be opened any number of times, from several threads. Its checksum (CRC-32) is compared
    whenever it is decompressed to its end.
    """

    def __init__(self, packed: Extent, size: int, checksum: int) -> None:
        self.packed = packed
        self.size = size
        self.checksum = checksum
        self._complete = False
        self._lock, self._front = threading.Lock(), threading.Lock()
        self._saved = [_State(0, 0, 0, zlib.decompressobj(-zlib.MAX_WBITS))]
        self._opened = 0
        self._spool: _Spool | None = None
        self._source: _DeflatedFile | None = None  # from which the spool is filled

    def __reduce__(self) -> tuple[type[DeflatedMember], tuple[Extent, int, int]]:
        """Pickle without the saved states."""
        return DeflatedMember, (self.packed, self.size, self.checksum)

    def open(self) -> io.BufferedReader:
        """Open the decompressed member as a file."""
        with self._front:
            self._opened += 1
            # What is opened once is read once, or its header only is.
            if self._opened == 2 and self.size > SNAPSHOT_STEP:
                file = unnamed_file(self.size, self, 0)
                self._spool = None if file is None else _Spool(file)
                self._source = None if file is None else _DeflatedFile(self)
        return _buffered(_DeflatedFile(self))

    def spooled(self, begin: int, size: int) -> bytes | None:
        """Return bytes from the scratch file, decompressed so far first; None without one."""
        spool = self._filled(begin + size)
        return None if spool is None else spool.read(begin, size)

    def read_rows(self, begins: Sequence[int], rows: NDArray[Any]) -> bool:
        """Read rows of bytes from the scratch file, decompressed so far first.

        See `sarheight._files.read_rows`; False without a scratch file, or beyond its end.
        """
        end = begins[-1] + rows[-1].nbytes
        spool = self._filled(end) if end <= self.size else None
        return spool is not None and spool.read_rows(begins, rows)

    def _filled(self, end: int) -> _Spool | None:
        """Return the scratch file, decompressed up to a position at least; None without one."""
        spool = self._spool
        if spool is not None and (spool.end < end or self.must_complete(spool.end)):
            try:
                self._fill(end)
            except OSError:  # the disk is full after all
                self._spool = self._source = None
                return None
        return spool

    def _fill(self, end: int) -> None:
        """Decompress to the scratch file, up to a position and not beyond it without need."""
        with self._front:
            spool, source = self._spool, self._source
            while spool is not None and source is not None:
                missing = max(end - spool.end, 0)
                if missing == 0 and not self.must_complete(spool.end):
                    break
                if spool.end == self.size:
                    self.require_checksum(source.checksum)
                else:
                    spool.append(source.next_bytes(min(missing or self.size, SPOOL_STEP)))

    def must_complete(self, position: int) -> bool:
        """Return whether a read to a position goes on to the end, to compare the checksum."""
        return not self._complete and self.size - position <= SNAPSHOT_STEP

    def require_checksum(self, checksum: int) -> None:
        """Check the checksum of all bytes."""
        if checksum != self.checksum:
            raise ProductError(differs_from_checksum(self.packed.label))
        self._complete = True

    def nearest_state(self, position: int, current: _State | None = None) -> _State:
        """Return the last state at or before a position: the current one, or a saved one."""
        with self._lock:
            index = bisect_right(self._saved, position, key=lambda state: state.position) - 1
            saved = self._saved[index]
            if current is not None and saved.position <= current.position <= position:
                return current
            return saved.copy()

    def front(self, position: int) -> AbstractContextManager[object]:
        """Return a lock on the part beyond all saved states: one thread decompresses it."""
        with self._lock:
            beyond = position > self._saved[-1].position + SNAPSHOT_STEP
        return self._front if beyond else nullcontext()

    def save(self, state: _State) -> None:
        """Save a state that is well beyond the last saved one, unless bytes are kept themselves."""
        with self._lock:
            if self._spool is None and state.position >= self._saved[-1].position + SNAPSHOT_STEP:
                self._saved.append(state.copy())


class _DeflatedFile(_RangeFile):
    """A deflated member as a file."""

    def __init__(self, member: DeflatedMember) -> None:
        super().__init__(member.size)
        self._member = member
        self._packed = io.BufferedReader(_ExtentFile(member.packed), buffer_size=PACKED_BUFFER)
        self._state = member.nearest_state(0)

    def read_range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range, decompressing from the nearest state before it."""
        spooled = self._member.spooled(begin, size)
        if spooled is not None:
            return spooled
        with self._member.front(begin + size):
            self._state = self._member.nearest_state(begin, self._state)
            while self._state.position < begin:
                self._decompress(min(begin - self._state.position, SNAPSHOT_STEP))
            parts = []
            while size > 0:
                parts.append(self._decompress(min(size, SNAPSHOT_STEP)))
                size -= len(parts[-1])
            while self._member.must_complete(self._state.position):
                left = self._size - self._state.position
                if left == 0:
                    self._member.require_checksum(self._state.checksum)
                else:
                    self._decompress(left)
        return b"".join(parts)

    @property
    def checksum(self) -> int:
        """CRC-32 of the bytes before the current state."""
        return self._state.checksum

    def next_bytes(self, size: int) -> bytes:
        """Return the bytes that follow the current state: at least one, and at most `size`."""
        return self._decompress(size)

    def _decompress(self, size: int) -> bytes:
        """Return the next bytes: at least one, and at most `size`."""
        label = self._member.packed.label
        position, checksum, packed_position, decompressor = self._state
        data = b""
        while not data:
            packed = decompressor.unconsumed_tail
            if not packed:
                self._packed.seek(packed_position)
                packed = self._packed.read(PACKED_STEP)
                packed_position += len(packed)
            if decompressor.eof or not packed:
                msg = (
                    f"{label} ends after {position} bytes, expected {self._size}: the archive is "
                    "cut short or damaged, fetch it again"
                )
                raise ProductError(msg)
            try:
                data = decompressor.decompress(packed, size)
            except zlib.error as error:
                msg = f"{label} is damaged ({error}): fetch the archive again"
                raise ProductError(msg) from error
        checksum = zlib.crc32(data, checksum)
        self._state = _State(position + len(data), checksum, packed_position, decompressor)
        self._member.save(self._state)
        return data
