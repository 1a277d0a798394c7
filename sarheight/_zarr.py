"""Chunks of Zarr stores that Blosc compressed are checked before they are decompressed.

Blosc decompresses as many bytes as the header of a chunk states, however many there are: a chunk
that was cut short, or whose header was damaged, makes it read beyond the end of its memory. `Zstd`
and `zlib` know where their input ends. `check_chunks` therefore registers codecs that compare each
frame with its header, and with the array that it belongs to. The layout of the header is that of
c-blosc 1 (https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst).
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING, Any

import numcodecs
import numcodecs.registry
import numpy as np
import zarr
from zarr.codecs import BloscCodec
from zarr.registry import register_codec

from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer


HEADER = struct.Struct("<4B3I")
"""Version of the format, version of the codec, flags, size of a number; then the bytes of the
numbers, of a block of them, and of the whole frame."""
VERSION = 2
STORED = 0x2
"""Flag of numbers that are stored as they are, without blocks."""
BLOCK_START = np.dtype("<u4")
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


def check_chunks() -> None:
    """Check chunks of Blosc in all stores of this process that are opened from now on."""
    register_codec("blosc", CheckedBlosc)
    name = f"{CheckedBlosc.__module__}.{CheckedBlosc.__qualname__}"
    zarr.config.set({"codecs.blosc": name})
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
