"""Files that are read in ranges: from a disk or a server, whole or packed in a zip.

A measurement of a gigabyte is opened, and what a window needs is read. A stored member of a zip is
a range of the archive. A deflated one can only be unpacked from its beginning; on the way the state
of the unpacking is kept every few MiB, so that each part is unpacked once for the first reader that
passes it, and later ones begin close to where they want to be.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from abc import abstractmethod
from bisect import bisect_right
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from sarheight.errors import ProductError

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from _typeshed import WriteableBuffer
    from fsspec import AbstractFileSystem

BUFFER = 256 * 2**10
"""Bytes that are read at least: a request to a server costs more than these."""

LARGEST_REQUEST = 8 * 2**20

PACKED_BUFFER, PACKED_STEP = 2**20, 64 * 2**10
"""Packed bytes that are asked for at once, and that go into the unpacking at once."""

SNAPSHOT_STEP = 4 * 2**20
"""Unpacked bytes between two states that are kept, of some 100 kB each."""

LOCAL_HEADER = struct.Struct("<4s5H3L2H")
LOCAL_MAGIC = b"PK\x03\x04"


def asked(shown: str, question: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # as the question
    """Ask a file system something; what it raises may hold passwords and signatures."""
    try:
        return question(*arguments, **options)
    except FileNotFoundError:
        msg = f"there is no {shown}, or it is not open to this account"
        raise FileNotFoundError(msg) from None
    except Exception as error:  # noqa: BLE001  # each library has its own
        what = f"{type(error).__name__} {getattr(error, 'status', '')}".strip()
        msg = (
            f"{shown} cannot be read ({what}): check the address, the account and the network, "
            "and try again"
        )
        raise ProductError(msg) from None


class Extent(NamedTuple):
    """A range of bytes of a file."""

    files: AbstractFileSystem  # where the file lies
    path: str  # the file, as the file system calls it
    shown: str  # the file, as errors call it
    begin: int  # begin, size: first byte, and number of bytes
    size: int

    def read(self, begin: int, size: int) -> bytes:
        """Read bytes, counted from the beginning of the extent; fewer at its end."""
        size = max(min(size, self.size - begin), 0)
        if size == 0:
            return b""
        first = self.begin + begin
        data: bytes = asked(
            self.shown, self.files.cat_file, self.path, start=first, end=first + size
        )
        if len(data) != size:
            msg = (
                f"{self.shown} gave {len(data)} bytes where {size} were asked for: it is cut "
                "short, or its server does not send parts of files; fetch it again, or download "
                "it and open the copy"
            )
            raise ProductError(msg)
        return data


class _Positioned(io.RawIOBase):
    """A file of known size of which any range can be asked for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._position = 0

    @abstractmethod
    def range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range, all of them."""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any place can be gone to."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            msg = f"found the place {origin + offset}, expected one within the file"
            raise ValueError(msg)
        self._position = origin + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer with the next bytes, as far as there are some."""
        view = memoryview(buffer).cast("B")
        size = max(min(len(view), self._size - self._position), 0)
        data = self.range(self._position, size) if size else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


class Ranged(_Positioned):
    """An extent as a file; who reads on and on is served with larger and larger requests."""

    def __init__(self, extent: Extent) -> None:
        super().__init__(extent.size)
        self._extent = extent
        self._begin, self._data = 0, b""

    def range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range."""
        end = self._begin + len(self._data)
        if not self._begin <= begin <= begin + size <= end:
            ahead = min(2 * len(self._data), LARGEST_REQUEST) if begin == end else 0
            self._begin, self._data = begin, self._extent.read(begin, max(size, ahead))
        return self._data[begin - self._begin :][:size]


def buffered(file: io.RawIOBase) -> io.BufferedReader:
    """Return a file that reads ahead, so that small reads do not become small requests."""
    return io.BufferedReader(file, buffer_size=BUFFER)


def member_extent(archive: Extent, info: zipfile.ZipInfo) -> Extent:
    """Find where the packed bytes of a zip's member lie."""
    header = archive.read(info.header_offset, LOCAL_HEADER.size)
    fields = LOCAL_HEADER.unpack(header) if len(header) == LOCAL_HEADER.size else (b"",)
    if fields[0] != LOCAL_MAGIC:
        msg = (
            f"{archive.shown} has no member where its directory puts {info.filename}: it is "
            "damaged, fetch it again"
        )
        raise ProductError(msg)
    begin = info.header_offset + LOCAL_HEADER.size + int(fields[-2]) + int(fields[-1])
    return archive._replace(
        begin=archive.begin + begin,
        size=max(min(info.compress_size, archive.size - begin), 0),
        shown=f"{info.filename} in {archive.shown}",
    )


class _State(NamedTuple):
    """How far a member is unpacked."""

    position: int  # bytes that came out
    packed_position: int  # bytes that went in
    unpacker: Any  # its state between the two

    def copy(self) -> _State:
        """Return a state from which to go on without touching this one."""
        return self._replace(unpacker=self.unpacker.copy())


class DeflatedMember:
    """A deflated member of a zip, unpacked as far as somebody wants to read."""

    def __init__(self, packed: Extent, size: int) -> None:
        self.packed = packed
        self.size = size
        self._lock, self._first = threading.Lock(), threading.Lock()
        self._kept = [_State(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))]

    def __reduce__(self) -> tuple[type[DeflatedMember], tuple[Extent, int]]:
        """Travel to another process without what was unpacked."""
        return DeflatedMember, (self.packed, self.size)

    def open(self) -> io.RawIOBase:
        """Open it; any number of times, from any thread."""
        return _Deflated(self)

    def state_before(self, position: int) -> _State:
        """Return the last kept state at or before a place, to go on from."""
        with self._lock:
            return self._kept[self._index_before(position)].copy()

    def nearer(self, position: int, here: int) -> bool:
        """Tell whether going on from a kept state is shorter than going on from here."""
        with self._lock:
            return self._kept[self._index_before(position)].position > here

    def untrodden(self, position: int) -> AbstractContextManager[object]:
        """Return the right to unpack what no reader has passed; others wait, and profit."""
        with self._lock:
            beyond = position > self._kept[-1].position + SNAPSHOT_STEP
        return self._first if beyond else nullcontext()

    def _index_before(self, position: int) -> int:
        return bisect_right(self._kept, position, key=lambda each: each.position) - 1

    def keep(self, state: _State) -> None:
        """Keep a state for other readers, where it is well beyond the last that was kept."""
        with self._lock:
            if state.position >= self._kept[-1].position + SNAPSHOT_STEP:
                self._kept.append(state.copy())


class _Deflated(_Positioned):
    """A reader of a deflated member."""

    def __init__(self, member: DeflatedMember) -> None:
        super().__init__(member.size)
        self._member = member
        self._packed = io.BufferedReader(Ranged(member.packed), buffer_size=PACKED_BUFFER)
        self._state = member.state_before(0)

    def range(self, begin: int, size: int) -> bytes:
        """Return the bytes of a range, unpacking from the nearest place before it."""
        with self._member.untrodden(begin + size):
            here = self._state.position
            if begin < here or self._member.nearer(begin, here):
                self._state = self._member.state_before(begin)
            while self._state.position < begin:
                self._unpacked(min(begin - self._state.position, SNAPSHOT_STEP))
            parts = []
            while size > 0:
                parts.append(self._unpacked(min(size, SNAPSHOT_STEP)))
                size -= len(parts[-1])
        return b"".join(parts)

    def _unpacked(self, size: int) -> bytes:
        """Return the next bytes: at least one, and not more than wanted."""
        position, packed_position, unpacker = self._state
        data = b""
        while not data:
            given = unpacker.unconsumed_tail
            if not given:
                self._packed.seek(packed_position)
                given = self._packed.read(PACKED_STEP)
                packed_position += len(given)
            if unpacker.eof or not given:
                msg = (
                    f"{self._member.packed.shown} ends after {position} bytes, expected "
                    f"{self._size}: the archive is cut short or damaged, fetch it again"
                )
                raise ProductError(msg)
            try:
                data = unpacker.decompress(given, size)
            except zlib.error as error:
                msg = f"{self._member.packed.shown} is damaged ({error}): fetch the archive again"
                raise ProductError(msg) from error
        self._state = _State(position + len(data), packed_position, unpacker)
        self._member.keep(self._state)
        return data
