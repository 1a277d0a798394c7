"""Cloud Optimised GeoTIFF, put together tile by tile.

In such a file all directories come first, then the tiles of the overviews, the smallest first, and
those of the image last. So its tiles have to wait until the last overview is known. Bands come in
pieces, in any order: each tile that is whole is compressed by GDAL in memory, appended to a scratch
file, and gives a quarter of a tile of the next overview. In the end the compressed tiles are copied
to their places. Nothing is read again but these, each compared with its checksum, and nothing is
compressed twice. Every byte on the disk is written by Python, which raises where that fails: GDAL
does not report every write that does.

What describes the file, such as tags, reference system and colours, is written by GDAL, to a file
in memory without tiles, whose directory is copied.

References
----------
TIFF, revision 6.0, and its variant of 64 bits (BigTIFF).
https://gdal.org/drivers/raster/cog.html: the order of the file, and what is written around tiles.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from affine import Affine
from google_crc32c import value as crc32c
from rasterio.io import MemoryFile

from sarheight.output.levels import halve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import IO

    from numpy.typing import NDArray

TILE = 256
"""Rows and columns of a tile."""
COMPRESSION = {
    "compress": "deflate",
    "zlevel": 1,  # speckle does not compress: higher levels take twice as long for nothing
    "num_threads": "all_cpus",
}
"""Options of GDAL."""
ANYWHERE = Affine.scale(2.0)
"""Place of tiles that are compressed: without one, a warning is given."""
LARGEST_CLASSIC = 2**32 - 2**20
"""Bytes up to which a file has offsets of 32 bits."""
STRUCTURE = (
    b"LAYOUT=IFDS_BEFORE_DATA\n"
    b"BLOCK_ORDER=ROW_MAJOR\n"
    b"BLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\n"
    b"KNOWN_INCOMPATIBLE_EDITION=NO\n "
)
"""What GDAL reads before the first directory: how tiles lie in the file."""
AROUND = 4
"""Bytes before each tile, its size, and behind it, its last ones once more."""

# Numbers of tags.
SUBFILE_TYPE, WIDTH, LENGTH = 254, 256, 257
OFFSETS, COUNTS = 324, 325
ANEW = frozenset({WIDTH, LENGTH, OFFSETS, COUNTS})
"""Tags that are written for each resolution by itself."""
OF_OVERVIEWS = frozenset({258, 259, 262, 277, 284, 317, 320, 322, 323, 338, 339, 42113})
"""Tags that an overview shares with its image: on numbers, compression, palette and nodata."""
SHORT, LONG, LONG8 = 3, 4, 16
SIZES = {1: 1, 2: 1, SHORT: 2, LONG: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, LONG8: 8}
"""Bytes of each type of values."""


# Tiles of a band.


@dataclass(eq=False)
class _Level:
    """One resolution of a band: which tiles are known, and parts of those that are not whole."""

    shape: tuple[int, int]
    # Of each tile: offset and size in the scratch file, and checksum (CRC-32C).
    places: NDArray[np.int64] = field(init=False)
    parts: dict[tuple[int, int], tuple[NDArray[Any], int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = np.zeros((*(-(-size // TILE) for size in self.shape), 3), np.int64)

    def extent(self, tile: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of a tile that lie in the image."""
        rows, columns = (
            min(size - TILE * index, TILE) for size, index in zip(self.shape, tile, strict=True)
        )
        return rows, columns

    def add(
        self, piece: NDArray[Any], row: int, column: int
    ) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
        """Add a piece, and yield the tiles that became whole, as far as they lie in the image."""
        for down in range(row // TILE, -(-(row + piece.shape[0]) // TILE)):
            for across in range(column // TILE, -(-(column + piece.shape[1]) // TILE)):
                tile = down, across
                high, wide = self.extent(tile)
                top, left = TILE * down - row, TILE * across - column
                part = piece[max(top, 0) : top + high, max(left, 0) : left + wide]
                if part.shape != (high, wide):
                    values, missing = self.parts.pop(
                        tile, (np.empty((high, wide), piece.dtype), high * wide)
                    )
                    first, begin = max(-top, 0), max(-left, 0)
                    values[first : first + part.shape[0], begin : begin + part.shape[1]] = part
                    missing -= part.size
                    if missing:
                        self.parts[tile] = values, missing
                        continue
                    part = values
                yield tile, part


class Pyramid:
    """A band and its overviews, as compressed tiles in a scratch file.

    Parameters
    ----------
    scratch : IO
        An unbuffered file, open for reading and writing; the tiles are appended.
    shape : tuple of int
        Rows and columns.
    overviews : int
        Number of overviews, each of half the resolution of the one before.
    nodata : number, optional
        Marks missing values, as NaN does.
    store : callable
        From values to the numbers of the file: overviews are made of values.
    """

    def __init__(
        self,
        scratch: IO[bytes],
        shape: tuple[int, int],
        overviews: int,
        nodata: Any,  # noqa: ANN401  # of the band's type
        store: Callable[[NDArray[Any]], NDArray[Any]],
    ) -> None:
        self._scratch, self._nodata, self._store = scratch, nodata, store
        self._end = 0
        self.levels = [_Level(shape)]
        for _ in range(overviews):
            rows, columns = self.levels[-1].shape
            self.levels.append(_Level((-(-rows // 2), -(-columns // 2))))

    def add(self, piece: NDArray[Any], row: int, column: int) -> None:
        """Add a piece of the band that begins at a row and a column."""
        places, tiles = self._whole_tiles(piece, row, column)
        if places:
            compressed = compress_tiles(self._store(tiles))
            for (level, tile), data in zip(places, compressed, strict=True):
                level.places[tile] = self._end, len(data), crc32c(bytes(data))
                _write(self._scratch, data)
                self._end += len(data)

    def _whole_tiles(
        self, piece: NDArray[Any], row: int, column: int
    ) -> tuple[list[tuple[_Level, tuple[int, int]]], NDArray[Any]]:
        """Add a piece to all levels; return the tiles that became whole, with their places.

        They are a copy, so that those of the levels are free while they are compressed.
        """
        places, tiles = [], []
        pieces = [(piece, row, column)]
        for level in self.levels:
            whole = [found for each in pieces for found in level.add(*each)]
            places += [(level, tile) for tile, _ in whole]
            tiles += [values for _, values in whole]
            if level is not self.levels[-1]:
                half = TILE // 2
                pieces = [
                    (halve(values, self._nodata), half * tile[0], half * tile[1])
                    for tile, values in whole
                ]
        return places, _stack(tiles, piece.dtype)

    def discard(self) -> None:
        """Give the disk the room of the scratch file back."""
        self._scratch.truncate(0)

    def read(self, place: NDArray[np.int64]) -> bytes:
        """Read a compressed tile, and compare it with its checksum."""
        begin, size, checksum = place.tolist()
        self._scratch.seek(begin)
        data = self._scratch.read(size)
        if len(data) != size or crc32c(data) != checksum:
            msg = "a scratch file read back differs from what was written; is the disk damaged?"
            raise OSError(msg)
        return data


def _stack(tiles: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    """Stack tiles; beside the image the last row and column are repeated."""
    stack = np.empty((len(tiles), TILE, TILE), dtype)
    for target, values in zip(stack, tiles, strict=True):
        high, wide = values.shape
        target[:high, :wide] = values
        target[high:, :wide] = values[-1]
        target[:, wide:] = target[:, wide - 1 : wide]
    return stack


def _write(file: IO[bytes], data: bytes | memoryview) -> None:
    """Write all bytes to an unbuffered file, which may take them in parts."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def compress_tiles(tiles: NDArray[Any]) -> list[memoryview]:
    """Compress tiles, shape (n, TILE, TILE), by GDAL."""
    with MemoryFile() as memory:
        options = compression(tiles.dtype)
        with memory.open(
            driver="GTiff",
            width=TILE,
            height=TILE * len(tiles),
            count=1,
            dtype=tiles.dtype,
            transform=ANYWHERE,
            **options,
        ) as file:
            file.write(tiles.reshape(-1, TILE), 1)
        data = memory.read()
    tags = {tag.number: tag for tag in read_directory(data)}
    view = memoryview(data)
    return [
        view[offset : offset + size]
        for offset, size in zip(tags[OFFSETS].numbers(), tags[COUNTS].numbers(), strict=True)
    ]


def compression(dtype: np.dtype[Any]) -> dict[str, Any]:
    """Return the options of GDAL for tiles of a number type."""
    return {
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "bigtiff": "yes",
        "predictor": 3 if dtype.kind == "f" else 2,
        **COMPRESSION,
    }


# Directories of a TIFF.


class Tag(NamedTuple):
    """An entry of a directory."""

    number: int
    kind: int  # type of its values
    length: int  # number of its values
    data: bytes

    @classmethod
    def of(cls, number: int, kind: int, values: Sequence[int]) -> Tag:
        """Make an entry of whole numbers."""
        return cls(number, kind, len(values), np.array(values, f"<u{SIZES[kind]}").tobytes())

    def numbers(self) -> list[int]:
        """Return its values as whole numbers."""
        numbers: list[int] = np.frombuffer(self.data, f"<u{SIZES[self.kind]}").tolist()
        return numbers


def read_directory(data: bytes) -> list[Tag]:
    """Read the first directory of a BigTIFF whose bytes are in the order of GDAL's own."""
    (place,) = struct.unpack_from("<Q", data, 8)
    (count,) = struct.unpack_from("<Q", data, place)
    tags = []
    for index in range(count):
        entry = place + 8 + 20 * index
        number, kind, length = struct.unpack_from("<HHQ", data, entry)
        size, begin = SIZES[kind] * length, entry + 12
        if size > 8:
            (begin,) = struct.unpack_from("<Q", data, begin)
        tags.append(Tag(number, kind, length, data[begin : begin + size]))
    return tags


def _directory(tags: Sequence[Tag], place: int, following: bool, *, big: bool) -> bytes:  # noqa: FBT001
    """Write a directory that begins at a place of the file, with its values behind it."""
    number, entry, inline = ("Q", "<HHQ", 8) if big else ("I", "<HHI", 4)
    head = 8 if big else 2
    values = place + head + (struct.calcsize(entry) + inline) * len(tags) + inline
    table, behind = struct.pack("<Q" if big else "<H", len(tags)), b""
    for tag in sorted(tags):
        table += struct.pack(entry, tag.number, tag.kind, tag.length)
        if len(tag.data) <= inline:
            table += tag.data.ljust(inline, b"\0")
        else:
            behind += bytes(-len(behind) % 8)
            table += struct.pack(f"<{number}", values + len(behind))
            behind += tag.data
    behind += bytes(-(values + len(behind)) % 8)
    return table + struct.pack(f"<{number}", values + len(behind) if following else 0) + behind


def _head(
    image: Sequence[Tag], shapes: Sequence[tuple[int, int]], tiles: Sequence[Any], *, big: bool
) -> bytes:
    """Write all that comes before the tiles, the offsets of which are relative to its end."""
    kind, start = (LONG8, 16) if big else (LONG, 8)
    structure = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(STRUCTURE) + STRUCTURE
    structure += bytes(-(start + len(structure)) % 8)
    first = start + len(structure)

    def write(end: int) -> bytes:
        """Write it where it ends at a place of the file."""
        head = (
            struct.pack("<2sHHHQ", b"II", 43, 8, 0, first)
            if big
            else struct.pack("<2sHI", b"II", 42, first)
        ) + structure
        for level, (shape, places) in enumerate(zip(shapes, tiles, strict=True)):
            own = [tag for tag in image if tag.number in OF_OVERVIEWS] if level else list(image)
            tags = [tag for tag in own if tag.number not in ANEW]
            tags += [Tag.of(SUBFILE_TYPE, LONG, [1])] if level else []
            tags += [Tag.of(WIDTH, LONG, [shape[1]]), Tag.of(LENGTH, LONG, [shape[0]])]
            tags += [Tag.of(OFFSETS, kind, end + places[:, 0]), Tag.of(COUNTS, LONG, places[:, 1])]
            head += _directory(tags, len(head), level + 1 < len(shapes), big=big)
        return head

    return write(len(write(0)))


def write_cog(path: Path, description: bytes, bands: Sequence[Pyramid]) -> str:
    """Write a file from the compressed tiles of its bands, and return its SHA-256.

    Parameters
    ----------
    path : Path
        The file, which does not exist yet.
    description : bytes
        A BigTIFF of the same form with one directory, whose tiles do not count. The tiles of one
        band lie behind those of another (planar configuration 2), where there are several.
    bands : sequence of Pyramid
        The bands.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    levels = range(len(bands[0].levels))
    sources = [
        [(band, place) for band in bands for place in band.levels[level].places.reshape(-1, 3)]
        for level in levels
    ]
    places: list[Any] = [None for _ in levels]
    end = 0
    for level in reversed(levels):
        sizes = np.array([place[1] for _, place in sources[level]], np.int64)
        begins = end + AROUND + np.concatenate(([0], np.cumsum(sizes[:-1] + 2 * AROUND)))
        places[level] = np.stack((begins, sizes), axis=1)
        end += int(sizes.sum()) + 2 * AROUND * len(sizes)
    image = read_directory(description)
    shapes = [level.shape for level in bands[0].levels]
    head = _head(image, shapes, places, big=False)
    wide = any(tag.kind == LONG8 for tag in image if tag.number not in ANEW)
    if wide or len(head) + end > LARGEST_CLASSIC:
        head = _head(image, shapes, places, big=True)
    digest = hashlib.sha256()
    with path.open("xb", buffering=1 << 20) as file:

        def write(data: bytes) -> None:
            file.write(data)
            digest.update(data)

        write(head)
        for level in reversed(levels):
            for band, place in sources[level]:
                data = band.read(place)
                write(b"".join((struct.pack("<I", len(data)), data, data[-AROUND:])))
    return digest.hexdigest()
