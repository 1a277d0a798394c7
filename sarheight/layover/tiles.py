r"""Tile planner: how a DEM is cut into tiles, and which surroundings (halo) each of them needs.

Two places share a pixel where their slant ranges agree. If their heights differ by :math:`H`, they
lie at most :math:`H / \tan\theta` apart on the ground, with the incidence angle :math:`\theta`.
One throws its shadow on the other over at most :math:`H \tan\theta`, away from the radar. A tile is
therefore computed within a window: the tile and a halo that follows from the heights around it, and
that is wider on the radar's side.

A method that allocates RCS several times follows chains: A shares a pixel with B, neighbours of B
share others with C. All lie about as far from the radar as A does, so that a chain leads no farther
than its heights differ from end to end, but for what heights differ among neighbours, which the DEM
tells (`HeightRange.relief`).

The kernels work on tiles of their own, of 64 x 64 cells (`sarheight_kernels.tiles.TILE`), called
kernel tiles here. Windows begin at their borders, so that a kernel tile is the same in any window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import (
    GroundModel,
    RadarModel,
    ground_patch,
    ground_position,
    locate_cell,
)
from sarheight_kernels.orbit import evaluate_orbit
from sarheight_kernels.tiles import TILE, height_range_bounds, square_height_ranges

from sarheight.dem.layout import posting_of
from sarheight.layover._sampling import area_boxes

if TYPE_CHECKING:
    import xarray as xr

Box = tuple[int, int, int, int]
"""First row, end row, first column, end column; or first line, end line and so on of pixels."""
Taps = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Gaussian weights along two axes."""
Heights = NDArray[np.float32]

TRUNCATE = 4.0
"""Gaussian weights end at this many standard deviations."""
SLACK = 1.05
"""Factor on distances that hold for a plane, for the curvature of the Earth and of the orbit."""
HOP = 1.21
"""Part of the relief among neighbours by which each allocation of a chain may lead farther: one for
neighbours that are pooled, and 0.104 for each of two footprints, which reach so far beyond their
facets (`sarheight_kernels.tiles.OVERSHOOT`)."""
FINE = 8
"""Cells along the side of the squares by which relief among neighbours is found."""
POSTS = 2
"""Rows and columns around a cell whose heights shape its footprint."""
STENCIL = 2
"""Cells to either side of a cell on which its facets depend, see `sarheight.layover.facets`."""
BORDER = 3.0
"""Rows and columns more, for the footprints of neighbouring cells and for the profiles."""
STEEPEST, FLATTEST = math.radians(3.0), math.radians(85.0)
"""Incidence angles beyond which no radar images."""

PROCESS_BYTES = 700 << 20
"""Bytes that Python, its libraries and what waits to be written take."""
CACHED_SHARE = 1.0 / 16.0
"""Part of a memory limit that cached file blocks may take; counted with the process's own."""
LEAST_SHARE = 0.2
"""Part of a memory limit that arrays may take at least."""
SIDES = (64, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144, 8192)
"""Rows and columns of tiles that are tried."""
CELL_WORK, COVERED_WORK, PIXEL_WORK = 300.0, 110.0, 40.0
"""Work on a cell of a window, on each pixel that a cell covers, and on each pixel that is read, as
nanoseconds of one processor for two polarisations: a window that lies obliquely in an image reads
more pixels than it covers."""
FACET_BYTES = (24, 24)
"""Bytes that a facet takes in each pass, in all and for each polarisation."""
LEAST_GAIN = 0.98
"""A tile of another shape is preferred where it saves 2 % of the work."""


@dataclass(frozen=True, eq=False)
class GridScale:
    """Sizes of a DEM's cells, measured once at its centre, whichever tile is worked on."""

    shape: tuple[int, int]  # rows, columns
    cell_area: float  # horizontal area of a cell in square metres
    # Rows and columns of one posting, the geometric mean of the sides of a cell.
    posting: tuple[float, float]
    cell_sizes: tuple[tuple[float, float], ...]  # lines, samples of a cell in each pass
    samples_per_metre: tuple[float, ...]  # displacement in each pass by a height of a metre
    facets: int = 1  # facets along a side of a cell, see `sarheight.layover.facets`
    # Statistics rest on one in so many areas, and there on one cell of each square of so many.
    sampled_parts: int = 1
    sampled_stride: int | None = None

    def ground_taps(self, postings: float) -> Taps:
        """Return Gaussian weights on the ground for a standard deviation in postings."""
        return gaussian_taps(postings * self.posting[0]), gaussian_taps(postings * self.posting[1])

    def image_taps(self, postings: float, index: int) -> Taps | None:
        """Return Gaussian weights in the image of a pass; None for no smoothing."""
        if postings == 0.0:
            return None
        lines, samples = self.cell_sizes[index]
        return gaussian_taps(postings * lines), gaussian_taps(postings * samples)


def gaussian_taps(deviation: float) -> NDArray[np.float32]:
    """Return Gaussian weights out to `TRUNCATE` standard deviations; their sum is 1."""
    reach = int(TRUNCATE * deviation + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-9)) ** 2)
    taps: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return taps


def grid_scale(
    dem: xr.DataArray, ground: GroundModel, radars: tuple[RadarModel, ...], height: float
) -> GridScale:
    """Measure the cells at the centre of a DEM, at a height in metres."""
    middle = 0.5 * (dem.shape[0] - 1), 0.5 * (dem.shape[1] - 1)
    sizes = tuple(_pixels_per_cell(ground, radar, middle, height) for radar in radars)
    displacements = tuple(_displacement(ground, radar, middle, height) for radar in radars)
    down, across = posting_of(dem)
    mean = float(np.sqrt(down * across))
    posting = mean / down, mean / across
    area = _cell_area(ground, middle)
    return GridScale((dem.shape[0], dem.shape[1]), area, posting, sizes, displacements)


def _displacement(
    ground: GroundModel, radar: RadarModel, middle: tuple[float, float], height: float
) -> float:
    """Find by how many samples a place is displaced in the image if it is a metre higher."""
    samples = [
        locate_cell(ground, radar, *middle, height + step, radar.line_zero_time)[1]
        for step in (-0.5, 0.5)
    ]
    return abs(float(samples[1] - samples[0]))


def _cell_area(ground: GroundModel, middle: tuple[float, float]) -> float:
    """Find the area of a cell on the ellipsoid in square metres."""
    steps = np.array([[-0.5, 0.0], [0.5, 0.0], [0.0, -0.5], [0.0, 0.5]])
    places = [(middle[0] + i, middle[1] + j) for i, j in steps]
    edges = np.array(
        [ground_position(ground, *ground_patch(ground, *place), *place)[:3] for place in places]
    )
    return float(np.linalg.norm(np.cross(edges[1] - edges[0], edges[3] - edges[2])))


def _pixels_per_cell(
    ground: GroundModel, radar: RadarModel, middle: tuple[float, float], height: float
) -> tuple[float, float]:
    """Find the size of a cell in lines and samples."""
    places = [
        locate_cell(ground, radar, middle[0] + i, middle[1] + j, height, radar.line_zero_time)[:2]
        for i, j in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    ]
    down, right = np.subtract(places[1], places[0]), np.subtract(places[2], places[0])
    lines, samples = np.hypot(down, right)
    return float(lines), float(samples)


@dataclass(frozen=True, eq=False)
class HeightRange:
    """Lowest and highest height in metres of each kernel tile of a DEM; NaN where all is void."""

    lowest: Heights  # (kernel tiles down, kernel tiles across)
    highest: Heights  # likewise
    # The same of squares of `FINE` cells a side: (2, squares down, squares across).
    fine: Heights | None = None

    @classmethod
    def of(cls, heights: Heights) -> HeightRange:
        """Find the height range of heights of shape (rows, columns)."""
        down, across = (-(-size // TILE) for size in heights.shape)
        squares = TILE // FINE
        fine = np.empty((2, down * squares, across * squares), np.float32)
        square_height_ranges(heights, FINE, fine[0], fine[1])
        lowest, highest = (
            np.asarray(extreme.reduce(values.reshape(down, squares, across, squares), axis=(1, 3)))
            for extreme, values in zip((np.fmin, np.fmax), fine, strict=True)
        )
        return cls(lowest, highest, fine)

    @classmethod
    def join(cls, strips: Sequence[HeightRange]) -> HeightRange:
        """Join the ranges of strips of whole kernel tiles, from north to south."""
        fine = [strip.fine for strip in strips if strip.fine is not None]
        return cls(
            np.concatenate([strip.lowest for strip in strips]),
            np.concatenate([strip.highest for strip in strips]),
            np.concatenate(fine, axis=1) if len(fine) == len(strips) else None,
        )

    def relief(self, reach: float) -> Heights:
        """Bound by how much heights differ in each kernel tile among cells within so many cells.

        Shape (kernel tiles down, kernel tiles across); 0 where all is void.
        """
        if self.fine is None:
            wide = self.with_neighbours()
            return np.asarray(np.nan_to_num(wide.highest - wide.lowest))
        lowest, highest = self.fine
        for _ in range(math.ceil(reach / FINE)):
            for axis in (0, 1):
                lowest = _spread(np.fmin, lowest, axis)
                highest = _spread(np.fmax, highest, axis)
        down, across = self.lowest.shape
        squares = np.nan_to_num(highest - lowest)
        by_kernel_tile = squares.reshape(down, TILE // FINE, across, TILE // FINE)
        return np.asarray(by_kernel_tile.max(axis=(1, 3)))

    @property
    def middle(self) -> float:
        """Return the middle of the lowest and the highest height of the DEM in metres."""
        return float(0.5 * (np.nanmin(self.lowest) + np.nanmax(self.highest)))

    def within(self, box: Box) -> tuple[float, float]:
        """Find the height range of the kernel tiles that a box touches; 0 and 0 if void."""
        touched = _kernel_tiles_of(box)
        lowest, highest = self.lowest[touched], self.highest[touched]
        if not np.isfinite(lowest).any():
            return 0.0, 0.0
        return float(np.nanmin(lowest)), float(np.nanmax(highest))

    def with_neighbours(self) -> HeightRange:
        """Extend the range of each kernel tile by those of the eight around it."""
        lowest, highest = self.lowest, self.highest
        for axis in (0, 1):
            lowest, highest = _spread(np.fmin, lowest, axis), _spread(np.fmax, highest, axis)
        return HeightRange(lowest, highest)


def _spread(extreme: np.ufunc, values: Heights, axis: int) -> Heights:
    """Replace each value by the extreme of it and its two neighbours along an axis."""
    rows = np.moveaxis(values, axis, 0)
    spread = rows.copy()
    extreme(spread[1:], rows[:-1], out=spread[1:])
    extreme(spread[:-1], rows[1:], out=spread[:-1])
    return np.ascontiguousarray(np.moveaxis(spread, 0, axis))


def _kernel_tiles_of(box: Box) -> tuple[slice, slice]:
    """Find the kernel tiles that a box touches."""
    rows = slice(box[0] // TILE, -(-box[1] // TILE))
    return rows, slice(box[2] // TILE, -(-box[3] // TILE))


@dataclass(frozen=True)
class Support:
    """Surroundings on which a method's result in a cell depends, and the memory that it takes."""

    # How often RCS is allocated among the cells of a pixel, each time by what came before.
    allocations: int
    smoothing: tuple[float, float]  # lines, samples by which an image is smoothed to either side
    pooling: tuple[float, float]  # rows, columns over which values are pooled to either side
    heights: tuple[float, float]  # rows, columns beyond, whose heights tell how values err
    bytes_per_cell: tuple[int, int]  # in all, and for each polarisation
    bytes_per_pixel: tuple[int, int]  # likewise


@dataclass(frozen=True)
class Tile:
    """A tile of a DEM."""

    core: Box  # cells whose result it returns
    window: Box  # the same with the halo: cells on which that result depends, in whole kernel tiles
    pixels: tuple[Box, ...]  # pixels of each pass that these cells can illuminate


@dataclass(frozen=True, eq=False)
class TilePlanner:
    """A planner that cuts a DEM into tiles which fit in memory."""

    ground: GroundModel  # positions of the whole DEM
    radars: tuple[RadarModel, ...]  # the passes
    images: tuple[tuple[int, int], ...]  # lines, samples of the images
    scale: GridScale
    heights: HeightRange
    # For each pass the pixels that each kernel tile can illuminate, shape (kernel tiles down,
    # kernel tiles across, 4), see `sarheight_kernels.models.box_bounds`.
    bounds: tuple[NDArray[np.float64], ...]

    @classmethod
    def over(
        cls,
        ground: GroundModel,
        radars: tuple[RadarModel, ...],
        images: tuple[tuple[int, int], ...],
        scale: GridScale,
        heights: HeightRange,
    ) -> TilePlanner:
        """Find the pixels that each kernel tile can illuminate."""
        # The posts around a kernel tile belong to its facets.
        wide = heights.with_neighbours()
        lowest, highest = wide.lowest.reshape(-1), wide.highest.reshape(-1)
        bounds = []
        for radar in radars:
            by_kernel_tile = np.empty((*wide.lowest.shape, 4))
            height_range_bounds(
                ground, radar, scale.shape, lowest, highest, by_kernel_tile.reshape(-1, 4)
            )
            bounds.append(by_kernel_tile)
        return cls(ground, radars, images, scale, heights, tuple(bounds))

    def whole(self) -> Tile:
        """Return the one tile of a scene that is in memory: the whole DEM and the whole images."""
        rows, columns = self.scale.shape
        everything = (0, rows, 0, columns)
        return Tile(everything, everything, tuple((0, h, 0, w) for h, w in self.images))

    def tiles(self, sides: tuple[int, int], support: Support) -> list[list[Tile]]:
        """Cut the DEM into rows of tiles of so many rows and columns."""
        rows, columns = self.scale.shape
        return [
            [
                self.tile(
                    (row, min(row + sides[0], rows), column, min(column + sides[1], columns)),
                    support,
                )
                for column in range(0, columns, sides[1])
            ]
            for row in range(0, rows, sides[0])
        ]

    def areas(self, support: Support) -> list[Tile]:
        """Return the areas on which statistics rest as tiles, those that lie in an image."""
        boxes = area_boxes(self.scale.shape, self.scale.sampled_parts)
        return [self.tile(box, support) for box in boxes if self.illuminates(box)]

    def tile(self, core: Box, support: Support) -> Tile:
        """Add halo and pixels to the cells of a tile."""
        needed = self.needed_cells(core, support)
        pixels = tuple(self.pixels(needed, index) for index in range(len(self.radars)))
        return Tile(core, self._around(needed), pixels)

    def needed_cells(self, core: Box, support: Support) -> Box:
        """Find the cells on which the result in a tile depends."""
        needed = core
        # Heights beyond reach do not count: first all of the DEM's, then those within reach.
        around = (0, self.scale.shape[0], 0, self.scale.shape[1])
        rows, columns = self.scale.shape
        for _ in range(3):
            above, below, left, right = self._halo(core, support, around)
            needed = (
                max(core[0] - above, 0),
                min(core[1] + below, rows),
                max(core[2] - left, 0),
                min(core[3] + right, columns),
            )
            if needed == around:
                break
            around = needed
        return needed

    @cached_property
    def _reliefs(self) -> dict[float, Heights]:
        """Hold the relief among cells within so many cells, as far as it was asked for."""
        return {}

    def _relief(self, box: Box, reach: float) -> float:
        """Bound by how much heights in a box differ among cells within so many cells."""
        if reach not in self._reliefs:
            # The surface within cells is limited by whole kernel tiles.
            ranges = self.heights
            if self.scale.facets > 1:
                ranges = replace(ranges, fine=None)
            self._reliefs[reach] = ranges.relief(reach)
        return float(self._reliefs[reach][_kernel_tiles_of(box)].max())

    def _around(self, box: Box) -> Box:
        """Widen a box to whole kernel tiles, and so far that the posts around each are there.

        A kernel tile whose neighbours' heights are missing would be fitted by other polynomials.
        The first facet beyond a kernel tile depends on two cells there.
        """
        rows, columns = self.scale.shape
        beyond = 1 if self.scale.facets == 1 else STENCIL
        return (
            max(box[0] // TILE - 1, 0) * TILE,
            min(-(-box[1] // TILE) * TILE + beyond, rows),
            max(box[2] // TILE - 1, 0) * TILE,
            min(-(-box[3] // TILE) * TILE + beyond, columns),
        )

    def _halo(self, core: Box, support: Support, around: Box) -> Box:
        """Find how many rows and columns on each side of a tile its result depends on.

        `around` holds all cells whose heights may count.
        """
        pooled = max(support.pooling) / support.allocations
        times = support.allocations * HOP
        relief = times * self._relief(around, pooled + POSTS)
        (low, high), (lowest, highest) = self.heights.within(core), self.heights.within(around)
        # A chain begins at a height in the tile, or at one that its neighbours have.
        # No step of it leads farther than all heights differ.
        most = times * (highest - lowest)
        rise, fall = min(highest - low + relief, most), min(high - lowest + relief, most)
        halo = np.zeros((2, 2))
        border = np.zeros(2)
        middle = 0.5 * (core[0] + core[1]), 0.5 * (core[2] + core[3])
        places = [*product(core[:2], core[2:]), middle]
        for radar, sizes in zip(self.radars, self.scale.cell_sizes, strict=True):
            # Pixels and their smoothing, in cells.
            footprint = max(
                (support.allocations + pixels) / size
                for pixels, size in zip(support.smoothing, sizes, strict=True)
            )
            border = np.maximum(border, footprint)
            for place, height in product(places, (lowest, highest)):
                angle, cells = _ground_range_direction(self.ground, radar, place, height)
                slope = math.tan(min(max(angle, STEEPEST), FLATTEST))
                # What lies higher shares pixels from farther off, and throws no shadow back.
                away = -SLACK * rise / slope * cells
                towards = SLACK * (fall / slope + (highest - lowest) * slope) * cells
                for metres in (away, towards):
                    halo = np.maximum(halo, (-metres, metres))
        border += np.add(support.pooling, support.heights)
        border += BORDER * (support.allocations + 1)
        above, left, below, right = np.ceil(halo + border).astype(int).ravel().tolist()
        return above, below, left, right

    def illuminates(self, box: Box) -> bool:
        """Tell whether the cells of a box can illuminate a pixel of any image."""
        touched = _kernel_tiles_of(box)
        return any(
            _meet_image(bounds[touched], *image).any()
            for bounds, image in zip(self.bounds, self.images, strict=True)
        )

    def covered_cells(self) -> float:
        """Estimate how many cells lie in the image that shows fewest of them."""
        rows, columns = self.scale.shape
        shown = [
            np.mean(_meet_image(bounds, *image))
            for bounds, image in zip(self.bounds, self.images, strict=True)
        ]
        return float(min(shown)) * rows * columns

    def pixels(self, cells: Box, index: int) -> Box:
        """Find the part of an image that cells can illuminate; one pixel if there is none."""
        lines, samples = self.images[index]
        bounds = self.bounds[index][_kernel_tiles_of(cells)].reshape(-1, 4)
        # An empty span of samples: void, or on the side to which the radar does not look.
        bounds = bounds[bounds[:, 2] <= bounds[:, 3]]
        if bounds.size == 0:
            return 0, 1, 0, 1
        first, last = bounds[:, ::2].min(axis=0), bounds[:, 1::2].max(axis=0)
        return *_clip(first[0], last[0], lines), *_clip(first[1], last[1], samples)

    def bytes_of(
        self, tile: Tile, support: Support, polarisations: int, result_bytes: int
    ) -> float:
        """Estimate the memory that the work on a tile takes, while the next one is read.

        `result_bytes` are those of a cell of one pass in the result, which waits to be written.
        """
        cells = _size(tile.window)
        per_cell = support.bytes_per_cell[0] + support.bytes_per_cell[1] * polarisations
        if self.scale.facets > 1:
            per_facet = FACET_BYTES[0] + FACET_BYTES[1] * polarisations
            per_cell += self.scale.facets**2 * per_facet
        per_pixel = support.bytes_per_pixel[0] + support.bytes_per_pixel[1] * polarisations
        total = 12.0 * cells
        for pixels in tile.pixels:
            total += per_cell * cells + per_pixel * _size(pixels)
        return total + result_bytes * len(self.radars) * _size(tile.core)

    def work_on(self, tile: Tile) -> float:
        """Estimate the work on a tile, in arbitrary units."""
        cells = _size(tile.window)
        total = 0.0
        for pixels, sizes in zip(tile.pixels, self.scale.cell_sizes, strict=True):
            total += cells * (CELL_WORK + COVERED_WORK * math.prod(sizes))
            total += PIXEL_WORK * _size(pixels)
        return total

    def sides(
        self, limit: float, support: Support, polarisations: int, result_bytes: int
    ) -> tuple[int, int]:
        """Choose rows and columns of tiles, for the least work that fits in a memory limit."""
        available = array_bytes(limit)
        rows, columns = self.scale.shape
        best, least = (min(SIDES[0], rows), min(SIDES[0], columns)), math.inf
        # Those beyond the scene are all one.
        high, wide = ({min(side, size): None for side in SIDES} for size in (rows, columns))
        for size in product(high, wide):
            top, left = (rows - size[0]) // 2, (columns - size[1]) // 2
            tile = self.tile((top, top + size[0], left, left + size[1]), support)
            if self.bytes_of(tile, support, polarisations, result_bytes) > available:
                continue
            work = self.work_on(tile) / _size(tile.core)
            # One tile for all has no seam, however little it saves.
            if work < LEAST_GAIN * least or size == (rows, columns):
                best, least = size, work
        return best


def _ground_range_direction(
    ground: GroundModel, radar: RadarModel, place: tuple[float, float], height: float
) -> tuple[float, NDArray[np.float64]]:
    """Find the incidence in radians, and rows and columns in a metre towards the radar."""
    row, column = place
    down, across = ground_patch(ground, row, column)
    here = np.array(ground_position(ground, down, across, row, column))
    below = np.array(ground_position(ground, down, across, row + 1.0, column))
    right = np.array(ground_position(ground, down, across, row, column + 1.0))
    normal = here[3:]
    _, _, time, _ = locate_cell(ground, radar, row, column, height, radar.line_zero_time)
    orbit = evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)
    sight = np.array(orbit[:3], dtype=np.float64) - (here[:3] + height * normal)
    sight /= np.linalg.norm(sight)
    cosine = float(np.clip(sight @ normal, -1.0, 1.0))
    level = sight - cosine * normal
    level /= max(float(np.linalg.norm(level)), 1e-9)
    steps = np.stack((below[:3] - here[:3], right[:3] - here[:3]), axis=1)
    cells, *_ = np.linalg.lstsq(steps, level, rcond=None)
    return math.acos(cosine), cells


def memory_bytes(limit: float | str) -> float:
    """Read a memory limit: a number of bytes, or text such as "2 GiB".

    Raises
    ------
    ValueError
        If it is none, or less than the program and its libraries take.
    """
    from dask.utils import parse_bytes

    # Arrays take a share of any limit.
    least = PROCESS_BYTES / (1.0 - LEAST_SHARE)
    try:
        size = float(parse_bytes(limit))
    except ValueError:
        size = 0.0
    if not size >= max(least, 1.0):
        msg = (
            f"found a memory limit of {limit!r}, expected {least / (1 << 20):.0f} MiB or more, as "
            "in '2 GiB': the program and its libraries alone take most of that"
        )
        raise ValueError(msg)
    return size


def array_bytes(limit: float) -> float:
    """Return how many bytes of a memory limit arrays may take."""
    return max(limit - PROCESS_BYTES, LEAST_SHARE * limit)


def _meet_image(bounds: NDArray[np.float64], lines: int, samples: int) -> NDArray[np.bool_]:
    """Tell which kernel tiles can illuminate an image, by their bounds, shape (..., 4)."""
    first, last = bounds[..., 0::2], bounds[..., 1::2]
    inside = (last >= -0.5) & (first <= np.array((lines, samples)) - 0.5)
    return np.asarray(inside.all(axis=-1))


def _size(box: Box) -> int:
    return (box[1] - box[0]) * (box[3] - box[2])


def _clip(first: float, last: float, size: int) -> tuple[int, int]:
    """Clip a span of pixels to an image, leaving one at least."""
    begin = min(max(math.floor(first), 0), size - 1)
    return begin, max(min(math.ceil(last) + 1, size), begin + 1)
