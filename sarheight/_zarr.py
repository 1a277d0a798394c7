"""Zarr stores whose chunks are checked before they are decompressed.

Blosc decompresses as many bytes as the header of a chunk states, however many there are: a chunk
that was cut short, or whose header was damaged, makes it read beyond the end of its memory. `Zstd`
and `zlib` know where their input ends. `CheckedStore` therefore compares each chunk of Blosc with
its header and with the array that it belongs to. The layout of the header is that of c-blosc 1
(https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst).
"""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncGenerator, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.storage import WrapperStore

from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["CheckedStore", "check_blosc"]

HEADER = struct.Struct("<4B3I")
"""Version of the format, version of the codec, flags, size of a number; then the bytes of the
numbers, of a block of them, and of the whole frame."""
VERSION = 2
STORED = 0x2
"""Flag of numbers that are stored as they are, without blocks."""
BLOCK_START = np.dtype("<u4")
METADATA = ("zarr.json", ".zarray", ".zmetadata", ".zgroup", ".zattrs")
"""Last parts of the keys of metadata, in version 3 and 2 of Zarr."""
ABSENT = 2**64 - 1
"""Offset of a chunk that a shard does not hold."""
CHECKSUM = 4
"""Bytes of the checksum of a shard's index."""


@dataclass(frozen=True)
class _Frames:
    """What is known of an array's chunks that Blosc compressed."""

    size: int | None  # bytes of a decompressed chunk, where filters leave it known
    in_shard: int = 0  # chunks of a shard; zero without shards
    index_first: bool = False  # whether the index of a shard stands before its chunks

    @property
    def index_size(self) -> int:
        """Bytes of the index of a shard: an offset and a length for each chunk, and a checksum."""
        return 16 * self.in_shard + CHECKSUM


class CheckedStore(WrapperStore[Store]):
    """A store that refuses chunks of Blosc which are shorter or longer than they state.

    Which arrays are compressed by Blosc is learnt from their metadata, which pass through the store
    before any chunk does.

    Parameters
    ----------
    store : zarr.abc.store.Store
        The store that is read.

    Raises
    ------
    DamagedFileError
        By all methods that read: a chunk is damaged.
    """

    def __init__(self, store: Store, arrays: dict[str, _Frames | None] | None = None) -> None:
        super().__init__(store)
        self._arrays = {} if arrays is None else arrays

    def _with_store(self, store: Store) -> Self:
        return type(self)(store, self._arrays)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a value, or part of it, and check it."""
        return self._checked(key, await self._store.get(key, prototype, byte_range), byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read values, or parts of them, and check them."""
        requests = list(key_ranges)
        values = await self._store.get_partial_values(prototype, requests)
        return [
            self._checked(key, value, byte_range)
            for (key, byte_range), value in zip(requests, values, strict=True)
        ]

    async def _get_many(
        self, requests: Iterable[tuple[str, BufferPrototype, ByteRequest | None]]
    ) -> AsyncGenerator[tuple[str, Buffer | None], None]:
        for key, prototype, byte_range in requests:
            yield key, await self.get(key, prototype, byte_range)

    def _checked(
        self, key: str, value: Buffer | None, byte_range: ByteRequest | None
    ) -> Buffer | None:
        """Return a value that may be decompressed; learn from metadata."""
        if value is None:
            return None
        parent, _, last = key.rpartition("/")
        if last in METADATA:
            if byte_range is None and last not in {".zgroup", ".zattrs"}:
                self._learn(parent, last, value.to_bytes())
            return value
        while parent and parent not in self._arrays:
            parent = parent.rpartition("/")[0]
        frames = self._arrays.get(parent)
        if frames is not None:
            try:
                _check_value(value.as_numpy_array().view(np.uint8), frames, byte_range)
            except ValueError as error:
                msg = f"the chunk '{key}' of '{self._store}' is damaged: {error}; copy it again"
                raise DamagedFileError(msg) from error
        return value

    def _learn(self, parent: str, last: str, content: bytes) -> None:
        """Remember the arrays that metadata describe; what cannot be parsed is Zarr's to refuse."""
        try:
            document = json.loads(content)
            if last == ".zmetadata":
                described = {
                    key.rpartition("/")[0]: (each, 2)
                    for key, each in document["metadata"].items()
                    if key.rpartition("/")[2] == ".zarray"
                }
            else:
                inner = (document.get("consolidated_metadata") or {}).get("metadata", {})
                described = {key: (each, 3) for key, each in inner.items()}
                described[""] = (document, 3 if last == "zarr.json" else 2)
            for name, (each, version) in described.items():
                path = "/".join(part for part in (parent, name) if part)
                self._arrays[path] = _frames_2(each) if version == 2 else _frames_3(each)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return


def _bytes(name: object, shape: Iterable[int]) -> int | None:
    """Return the bytes of a chunk, unless its numbers are of a type that NumPy has not."""
    if not isinstance(name, str):
        return None
    try:
        return int(np.dtype(name).itemsize * prod(int(size) for size in shape))
    except TypeError:
        return None


def _frames_2(array: Mapping[str, Any]) -> _Frames | None:
    """Return what version 2 of Zarr says of an array's chunks; None unless Blosc made them."""
    if (array.get("compressor") or {}).get("id") != "blosc":
        return None
    return _Frames(None if array.get("filters") else _bytes(array["dtype"], array["chunks"]))


def _frames_3(node: Mapping[str, Any]) -> _Frames | None:
    """Return what version 3 of Zarr says of an array's chunks; None unless Blosc made them."""
    codecs: list[Mapping[str, Any]] = node.get("codecs", [])
    names = [each["name"] for each in codecs]
    if "sharding_indexed" in names:
        shards = codecs[names.index("sharding_indexed")]["configuration"]
        shape = node["chunk_grid"]["configuration"]["chunk_shape"]
        inside = _frames_3({**node, "chunk_grid": _grid_of(shards), "codecs": shards["codecs"]})
        if inside is None:
            return None
        count = prod(
            int(outer) // int(inner)
            for outer, inner in zip(shape, shards["chunk_shape"], strict=True)
        )
        return _Frames(inside.size, count, shards.get("index_location") == "start")
    if "blosc" not in names:
        return None
    plain = set(names) <= {"transpose", "bytes", "blosc"} and names[-1] == "blosc"
    shape = node["chunk_grid"]["configuration"]["chunk_shape"]
    return _Frames(_bytes(node["data_type"], shape) if plain else None)


def _grid_of(shards: Mapping[str, Any]) -> dict[str, Any]:
    return {"configuration": {"chunk_shape": shards["chunk_shape"]}}


def _check_value(
    value: np.ndarray[Any, np.dtype[np.uint8]], frames: _Frames, byte_range: ByteRequest | None
) -> None:
    """Check what was read of a key: a chunk, a shard, or a part of a shard."""
    if not frames.in_shard:
        if byte_range is None:
            check_blosc(value, frames.size)
        return
    if byte_range is not None:
        is_index = isinstance(byte_range, SuffixByteRequest | OffsetByteRequest) or (
            frames.index_first and byte_range == RangeByteRequest(0, frames.index_size)
        )
        if not is_index:
            check_blosc(value, frames.size)
        return
    if value.size < frames.index_size:
        msg = f"it has {value.size} bytes, fewer than the {frames.index_size} of its index"
        raise ValueError(msg)
    index = value[: frames.index_size] if frames.index_first else value[-frames.index_size :]
    for offset, length in index[:-CHECKSUM].copy().view("<u8").reshape(-1, 2).tolist():
        if offset == ABSENT:
            continue
        if offset + length > value.size:
            msg = f"a chunk of it ends at byte {offset + length} of {value.size}"
            raise ValueError(msg)
        check_blosc(value[offset : offset + length], frames.size)


def check_blosc(frame: np.ndarray[Any, np.dtype[np.uint8]], size: int | None = None) -> None:
    """Raise where Blosc would read or write beyond a frame.

    Parameters
    ----------
    frame : numpy.ndarray of uint8
        What was compressed.
    size : int, optional
        Bytes that it must have when it is decompressed.

    Raises
    ------
    ValueError
        The frame is shorter or longer than its header states, or than its blocks need.
    """
    if frame.size < HEADER.size:
        msg = f"it has {frame.size} bytes, fewer than the {HEADER.size} of a header of Blosc"
        raise ValueError(msg)
    version, _, flags, number, total, block, stated = HEADER.unpack(frame[: HEADER.size].tobytes())
    if version != VERSION:
        msg = f"it is of version {version} of Blosc's format, not {VERSION}"
        raise ValueError(msg)
    if stated != frame.size:
        msg = f"its header states {stated} bytes, and it has {frame.size}"
        raise ValueError(msg)
    if size is not None and total != size:
        msg = f"its header states numbers of {total} bytes, and the array's chunks have {size}"
        raise ValueError(msg)
    if flags & STORED:
        if stated != total + HEADER.size:
            msg = f"its header states {stated} bytes for {total} that are stored as they are"
            raise ValueError(msg)
        return
    if not total:
        return
    if not number or not 0 < block <= total:
        msg = f"its header states blocks of {block} bytes and numbers of {number}, of {total}"
        raise ValueError(msg)
    first = HEADER.size + BLOCK_START.itemsize * -(-total // block)
    if first > frame.size:
        msg = f"its header states {-(-total // block)} blocks, whose starts it has no room for"
        raise ValueError(msg)
    starts = frame[HEADER.size : first].copy().view(BLOCK_START)
    # A block begins with the length of its first stream, in four bytes.
    if ((starts < first) | (starts.astype(np.int64) + BLOCK_START.itemsize > frame.size)).any():
        msg = "a block of it begins outside of it"
        raise ValueError(msg)
