"""Zarr stores: frames of Blosc are checked, and the chunks of a shard coded in one thread.

Blosc decompresses as many bytes as the header of a chunk states, however many there are: a chunk
that was cut short, or whose header was damaged, makes it read beyond the end of its memory. `Zstd`
and `zlib` know where their input ends. `prepare_zarr` therefore registers codecs that compare each
frame with its header, and with the array that it belongs to. The layout of the header is that of
c-blosc 1 (https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst).

Zarr hands each chunk of a shard to a thread by itself, through an event loop that all threads
share, which takes longer than decompressing it. `prepare_zarr` registers a codec of shards that
does all chunks of one in a single thread. Shards have the same bytes.
"""

from __future__ import annotations

import asyncio
import struct
from math import prod
from typing import TYPE_CHECKING, Any

import numcodecs
import numcodecs.registry
import numpy as np
import zarr
from zarr.codecs import BloscCodec, ShardingCodec
from zarr.core.codec_pipeline import BatchedCodecPipeline, fill_value_or_default
from zarr.registry import register_codec

from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from zarr.abc.store import ByteGetter, ByteSetter
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.indexing import SelectorTuple

    Place = tuple[ArraySpec, SelectorTuple, SelectorTuple, bool]
    """A chunk, the part of it that counts, that part in the whole array, and whether it is all."""

HEADER = struct.Struct("<4B3I")
"""Version of the format, version of the codec, flags, size of a number; then the bytes of the
numbers, of a block of them, and of the whole frame."""
VERSION = 2
STORED = 0x2
"""Flag of numbers that are stored as they are, without blocks."""
BLOCK_START = np.dtype("<u4")
READ_AT_ONCE = 0.5
"""Part of the chunks of a shard from which all are read when they are wanted."""
FIXED_SIZE = "biufc"
"""Kinds of numbers: texts have no size that an array states."""


class CheckedBlosc(BloscCodec):
    """The codec of version 3 of Zarr, which refuses frames that are not as their array states."""

    async def _decode_single(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        _check_chunk(chunk_bytes, chunk_spec)
        return await super()._decode_single(chunk_bytes, chunk_spec)

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> Buffer:
        _check_chunk(chunk_bytes, chunk_spec)
        return super()._decode_sync(chunk_bytes, chunk_spec)


class CheckedNumcodecsBlosc(numcodecs.Blosc):  # type: ignore[misc]  # untyped
    """The codec of version 2 of Zarr, which refuses frames that are not as their header states."""

    codec_id = "blosc"

    def decode(self, buf: Any, out: Any = None) -> Any:  # noqa: ANN401  # as numcodecs has it
        """Decompress a frame."""
        _refuse_damaged(np.frombuffer(buf, np.uint8))
        return super().decode(buf, out)


class WholeShards(ShardingCodec):
    """The codec of shards, whose chunks are coded one after the other in one thread."""

    @property
    def codec_pipeline(self) -> ShardPipeline:
        """The codecs of the chunks."""
        made: ShardPipeline = ShardPipeline.from_codecs(self.codecs)
        return made

    def _is_total_shard(
        self, all_chunk_coords: set[tuple[int, ...]], chunks_per_shard: tuple[int, ...]
    ) -> bool:
        """Tell whether a shard is read at once: else each chunk is, one after the other."""
        return len(all_chunk_coords) >= READ_AT_ONCE * prod(chunks_per_shard)


class ShardPipeline(BatchedCodecPipeline):
    """Codecs of the chunks of a shard, which lie in memory: of their numbers and of their bytes.

    Chunks whose codecs wait for others are left to Zarr.
    """

    @property
    def _is_simple(self) -> bool:
        each_is = (hasattr(codec, "_decode_sync") for codec in self)
        return not self.array_array_codecs and all(each_is)

    async def read(
        self,
        batch_info: Iterable[tuple[ByteGetter, *Place]],
        out: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> None:
        """Decode chunks into their places of an array."""
        if drop_axes or not self._is_simple:
            await super().read(batch_info, out, drop_axes)
            return
        batch = list(batch_info)
        found = [await chunk.get(spec.prototype) for chunk, spec, *_ in batch]

        def decode() -> None:
            for each, (_, spec, part, place, _) in zip(found, batch, strict=True):
                values = self._decoded(each, spec)
                out[place] = fill_value_or_default(spec) if values is None else values[part]

        await asyncio.to_thread(decode)

    async def write(
        self,
        batch_info: Iterable[tuple[ByteSetter, *Place]],
        value: NDBuffer,
        drop_axes: tuple[int, ...] = (),
    ) -> None:
        """Encode chunks from their places of an array."""
        if drop_axes or not self._is_simple:
            await super().write(batch_info, value, drop_axes)
            return
        batch = list(batch_info)
        before = [
            None if whole else await chunk.get(spec.prototype) for chunk, spec, *_, whole in batch
        ]

        def encode() -> list[Buffer | None]:
            return [
                self._encoded(
                    self._merge_chunk_array(
                        self._decoded(found, spec), value, place, spec, part, whole, drop_axes
                    ),
                    spec,
                )
                for found, (_, spec, part, place, whole) in zip(before, batch, strict=True)
            ]

        for (chunk, *_), made in zip(batch, await asyncio.to_thread(encode), strict=True):
            await (chunk.delete() if made is None else chunk.set(made))

    # Codecs of Zarr have these methods in one thread, beside those for an event loop.

    def _decoded(self, chunk: Any, spec: ArraySpec) -> Any:  # noqa: ANN401  # of Zarr's protocol
        """Decode a chunk; None where there is none."""
        if chunk is None:
            return None
        _, (numbers, (own,)), others = self._codecs_with_resolved_metadata_batched([spec])
        codecs: list[tuple[Any, ArraySpec]] = [(codec, each) for codec, (each,) in others]
        for codec, each in (*reversed(codecs), (numbers, own)):
            chunk = codec._decode_sync(chunk, each)  # noqa: SLF001
        return chunk

    def _encoded(self, chunk: Any, spec: ArraySpec) -> Any:  # noqa: ANN401  # of Zarr's protocol
        """Encode a chunk; None where it is empty and not to be written."""
        empty = fill_value_or_default(spec)
        if not spec.config.write_empty_chunks and chunk.all_equal(empty):
            return None
        _, (numbers, (own,)), others = self._codecs_with_resolved_metadata_batched([spec])
        codecs: list[tuple[Any, ArraySpec]] = [(codec, each) for codec, (each,) in others]
        for codec, each in ((numbers, own), *codecs):
            chunk = codec._encode_sync(chunk, each)  # noqa: SLF001
        return chunk


def prepare_zarr() -> None:
    """Use these codecs for all stores of this process that are opened from now on."""
    for name, codec in (("blosc", CheckedBlosc), ("sharding_indexed", WholeShards)):
        register_codec(name, codec)
        zarr.config.set({f"codecs.{name}": f"{codec.__module__}.{codec.__qualname__}"})
    numcodecs.registry.register_codec(CheckedNumcodecsBlosc)


def _check_chunk(chunk: Buffer, spec: ArraySpec) -> None:
    """Compare a frame with its header and with the shape and type of its chunk."""
    number = spec.dtype.to_native_dtype()
    size = prod(spec.shape) * number.itemsize if number.kind in FIXED_SIZE else None
    _refuse_damaged(chunk.as_numpy_array().view(np.uint8), size)


def _refuse_damaged(frame: NDArray[np.uint8], size: int | None = None) -> None:
    try:
        check_blosc(frame, size)
    except ValueError as error:
        msg = f"a chunk of the Zarr store is damaged: {error}; copy the store again"
        raise DamagedFileError(msg) from error


def check_blosc(frame: NDArray[np.uint8], size: int | None = None) -> None:
    """Raise where Blosc would read or write beyond a frame.

    Parameters
    ----------
    frame : numpy.ndarray of uint8
        The compressed bytes.
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


METADATA = ("zarr.json", ".zarray", ".zattrs")
"""Files of an array that hold no chunks."""


def chunk_files(folder: Path) -> set[str]:
    """List the files that hold the chunks of an array, by their places in its folder.

    Zarr's own count of chunks compares all that the metadata claim with each that is there.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the array.
    """
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix() for file in files} - set(METADATA)
