"""Radar coordinates of a tile of cells: cubics, in parts that are small enough for them.

A tile whose cubics miss the tolerance (see `sarheight_kernels.cubics`) is split in four. Where the
smallest parts miss it, too, each cell is solved on its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.cubics import FIT, Box, evaluate_fit, fit_bounds, fit_box
from sarheight_kernels.facets import brightness, facet_areas
from sarheight_kernels.models import box_bounds, cell_on_look_side, locate_cell

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

SMALLEST_TILE = 8


@njit
def span_of_box(
    heights: NDArray[np.float32], top: int, bottom: int, left: int, right: int
) -> tuple[float, float]:
    """Find the lowest and the highest height of a box of cells, see `height_span`."""
    low = np.full(right - left, np.float32(np.inf), np.float32)
    high = np.full(right - left, np.float32(-np.inf), np.float32)
    for row in range(top, bottom):
        # Column by column, so that the comparisons do not wait for one another.
        posts = heights[row, left:right]
        for column in range(posts.size):
            height = posts[column]
            low[column] = height if height < low[column] else low[column]
            high[column] = height if height > high[column] else high[column]
    lowest, highest = np.float32(np.inf), np.float32(-np.inf)
    for column in range(low.size):
        lowest, highest = min(lowest, low[column]), max(highest, high[column])
    if not lowest <= highest:
        return math.nan, math.nan
    return float(lowest), float(highest)


@njit
def height_span(heights: NDArray[np.float32]) -> tuple[float, float]:
    """Find the lowest and the highest of the heights that are not void.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights in metres; NaN where void.

    Returns
    -------
    tuple of float
        Lowest and highest height; NaN where all are void.
    """
    return span_of_box(heights, 0, heights.shape[0], 0, heights.shape[1])


@njit
def _locate_box(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    row: int,
    column: int,
    box: Box,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> bool:
    """Locate the cells of one box; return whether the tolerance was met."""
    top, bottom, left, right = box
    lowest, highest = span_of_box(heights, top, bottom, left, right)
    if math.isnan(lowest):
        line[top:bottom, left:right] = math.nan
        across[top:bottom, left:right] = math.nan
        return True
    fit, room = np.empty(FIT), np.empty(16 + right - left)
    placed = (row + top, row + bottom, column + left, column + right)
    if not fit_box(ground, radar, placed, lowest, highest, fit):
        return False
    for i in range(top, bottom):
        # A whole row of an array is contiguous, which a part of an array is not known to be.
        posts, lines, samples = heights[i, left:right], line[i, left:right], across[i, left:right]
        evaluate_fit(radar, fit, row + i, posts, lines, samples, room)
    return True


@njit
def locate_tile(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    row: int,
    column: int,
    box: Box,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> None:
    """Find the radar coordinates of a tile of cells.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    row, column : int
        Position of the first of them in the raster of the ground model.
    box : tuple of int
        First row, end row, first column and end column of the tile among the heights. The tile
        must lie within one block of the ground model and its margin.
    line, across : array, shape (rows, columns)
        Receive line and sample of each cell of the tile; NaN where the height is void.
    """
    top, bottom, left, right = box
    size = max(bottom - top, right - left)
    while size >= SMALLEST_TILE:
        met = True
        for i in range(top, bottom, size):
            for j in range(left, right, size):
                part = (i, min(i + size, bottom), j, min(j + size, right))
                met &= _locate_box(ground, radar, heights, row, column, part, line, across)
        if met:
            return
        size = (size + 1) // 2
    for i in range(top, bottom):
        for j in range(left, right):
            line[i, j], across[i, j], _, _ = locate_cell(
                ground, radar, row + i, column + j, heights[i, j], radar.line_zero_time
            )


# Radar coordinates of every cell of a DEM.

TILE = 64
"""Cells along the side of a tile; the blocks of a ground model are multiples of it."""


PANE = 2 * TILE
"""The same where all that is asked for is radar coordinates: larger ones are fitted less often."""


@njit
def _pane(ground: GroundModel) -> int:
    """Cells along the side of a pane, which must not cross a border between blocks."""
    down, across = ground.coefficients.shape[:2]
    fits = down == 1 or ground.block_rows % PANE == 0
    fits = fits and (across == 1 or ground.block_columns % PANE == 0)
    return PANE if fits else TILE


@njit
def geolocation_bounds(ground: GroundModel, heights: NDArray[np.float32]) -> NDArray[np.float64]:
    """Make room for the bounds that `geolocate` finds.

    Parameters
    ----------
    ground : GroundModel
        The model.
    heights : array, shape (rows, columns)
        Heights.

    Returns
    -------
    array, shape (panes, 4)
        One row to each pane, not filled.
    """
    rows, columns = heights.shape
    size = _pane(ground)
    return np.empty((((rows + size - 1) // size) * ((columns + size - 1) // size), 4))


@njit
def _column_spans(
    heights: NDArray[np.float32], lowest: NDArray[np.float32], highest: NDArray[np.float32]
) -> None:
    """Find the span of heights of each column; empty (inf, -inf) where all are void."""
    lowest[:], highest[:] = np.inf, -np.inf
    for row in range(heights.shape[0]):
        posts = heights[row]
        for column in range(posts.size):
            height = posts[column]
            lowest[column] = height if height < lowest[column] else lowest[column]
            highest[column] = height if height > highest[column] else highest[column]


@njit
def _fit_panes(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    row: int,
    down: int,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    bounds: NDArray[np.float64],
    fits: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Fit the panes of a band; return which could be. The others are done with afterwards."""
    columns, size = heights.shape[1], _pane(ground)
    lowest, highest = np.empty(columns, np.float32), np.empty(columns, np.float32)
    _column_spans(heights[row:down], lowest, highest)
    fitted = np.empty(bounds.shape[0], np.bool_)
    for pane in range(fitted.size):
        left, right = pane * size, min((pane + 1) * size, columns)
        low, high = float(lowest[left:right].min()), float(highest[left:right].max())
        void = not low <= high
        seen = void or cell_on_look_side(
            ground, radar, 0.5 * (row + down - 1), 0.5 * (left + right - 1)
        )
        fitted[pane] = (
            seen
            and not void
            and fit_box(ground, radar, (row, down, left, right), low, high, fits[pane])
        )
        if fitted[pane]:
            fit_bounds(fits[pane], bounds[pane])
            continue
        bound = bounds[pane]
        bound[0], bound[1], bound[2], bound[3] = math.inf, -math.inf, math.inf, -math.inf
        if not seen:
            bound[0], bound[1] = -math.inf, math.inf
        if void or not seen:
            line[row:down, left:right] = math.nan
            across[row:down, left:right] = math.nan
        else:
            box_bounds(ground, radar, row, down - 1, left, right - 1, low, high, bound)
            locate_tile(ground, radar, heights, 0, 0, (row, down, left, right), line, across)
    return fitted


@parallel_njit
def geolocate(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    bounds: NDArray[np.float64],
) -> None:
    """Find line and sample of every cell.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    line, across : array, shape (rows, columns)
        Receive line and sample; NaN where the height is void, and in panes on the side to which
        the radar does not look.
    bounds : array, shape (panes, 4)
        From `geolocation_bounds`; receives which part of the image each pane can light, see
        `sarheight_kernels.models.box_bounds`.
    """
    rows, columns = heights.shape
    size = _pane(ground)
    panes = (columns + size - 1) // size
    for band in prange(bounds.shape[0] // panes):
        row, down = band * size, min((band + 1) * size, rows)
        fits, room = np.empty((panes, FIT)), np.empty(16 + size)
        fitted = _fit_panes(
            ground, radar, heights, row, down, line, across,
            bounds[band * panes : (band + 1) * panes], fits,
        )  # fmt: skip
        # Memory is fastest where it is passed over in one go: row after row, not pane after pane.
        for i in range(row, down):
            for pane in range(panes):
                if fitted[pane]:
                    part = slice(pane * size, min((pane + 1) * size, columns))
                    evaluate_fit(
                        radar, fits[pane], i, heights[i, part], line[i, part], across[i, part], room
                    )


# The surface of a DEM, tile by tile, as the radar sees it.

OVERSHOOT = 0.25 * (math.sqrt(2.0) - 1.0)
"""By how much a footprint reaches beyond its facet in samples, as a part of the distance between
neighbouring posts, at most. A footprint is a sheared rectangle with the variance of a quarter of a
facet, which is a parallelogram (`sarheight_kernels.windows`). With edges of a and b samples the
parallelogram reaches (|a| + |b|) / 2 to either side, the rectangle up to sqrt((a^2 + b^2) / 2):
farther by (sqrt(2) - 1) / 2 of the longer edge, which is half the distance between the posts. At a
vertical wall, where posts lie a hundred samples apart, that is ten samples."""

TileSurface = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]
]


@njit
def tile_count(heights: NDArray[np.float32]) -> int:
    """Count the tiles of a DEM.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights.

    Returns
    -------
    int
        Tiles, counted row of tiles after row of tiles.
    """
    rows, columns = heights.shape
    return ((rows + TILE - 1) // TILE) * ((columns + TILE - 1) // TILE)


@njit
def tile_box(heights: NDArray[np.float32], tile: int) -> tuple[int, int, int, int]:
    """Find the rows and columns of a tile.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights.
    tile : int
        Index of the tile.

    Returns
    -------
    tuple of int
        First row, end row, first column, end column; the ends are not part of the tile.
    """
    rows, columns = heights.shape
    tiles_across = (columns + TILE - 1) // TILE
    row, column = tile // tiles_across * TILE, tile % tiles_across * TILE
    return row, min(row + TILE, rows), column, min(column + TILE, columns)


@njit
def tile_posts(heights: NDArray[np.float32], tile: int) -> NDArray[np.float32]:
    """Cut the posts of a tile out of a DEM, with one post more on each side.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights.
    tile : int
        Index of the tile.

    Returns
    -------
    array, shape (tile rows + 2, tile columns + 2)
        Heights, NaN beyond the DEM.
    """
    rows, columns = heights.shape
    row, end_row, column, end_column = tile_box(heights, tile)
    posts = np.full((end_row - row + 2, end_column - column + 2), np.float32(np.nan), np.float32)
    left, right = max(column - 1, 0), min(end_column + 1, columns)
    for i in range(max(row - 1, 0), min(end_row + 1, rows)):
        line, known = posts[i - row + 1, left - column + 1 :], heights[i, left:right]
        for j in range(known.size):
            line[j] = known[j]
    return posts


@njit
def meets_image(bound: NDArray[np.float64], lines: int, samples: int) -> bool:
    """Tell whether a tile can light a pixel of an image.

    Parameters
    ----------
    bound : array, shape (4,)
        The tile's part of the image, from `tile_bounds`.
    lines, samples : int
        Size of the image.

    Returns
    -------
    bool
        Whether the two overlap.
    """
    return bool(
        bound[1] >= -0.5
        and bound[0] <= lines - 0.5
        and bound[3] >= -0.5
        and bound[2] <= samples - 0.5
    )


@parallel_njit
def tile_bounds(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    bounds: NDArray[np.float64],
) -> None:
    """Find which part of the image each tile can light.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    bounds : array, shape (tiles, 4)
        Receives the bounds of the footprints of each tile's cells, see
        `sarheight_kernels.models.box_bounds`.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        lowest, highest = span_of_box(
            heights,
            max(row - 1, 0),
            min(end_row + 1, heights.shape[0]),
            max(column - 1, 0),
            min(end_column + 1, heights.shape[1]),
        )
        _footprint_bounds(
            ground, radar, (row, end_row, column, end_column), lowest, highest, bounds[tile]
        )


@njit
def _footprint_bounds(
    ground: GroundModel,
    radar: RadarModel,
    box: Box,
    lowest: float,
    highest: float,
    bound: NDArray[np.float64],
) -> None:
    """Bound the footprints of the cells of a box, with the posts around it."""
    row, end_row, column, end_column = box
    box_bounds(ground, radar, row - 1, end_row, column - 1, end_column, lowest, highest, bound)
    # Neighbouring posts lie at most as far apart as the bounds. An empty span stays as it is.
    reach = OVERSHOOT * max(bound[3] - bound[2], 0.0)
    bound[2] -= reach
    bound[3] += reach


@parallel_njit
def height_range_bounds(
    ground: GroundModel,
    radar: RadarModel,
    shape: tuple[int, int],
    lowest: NDArray[np.float32],
    highest: NDArray[np.float32],
    bounds: NDArray[np.float64],
) -> None:
    """Find which part of the image each tile can illuminate, by its range of heights alone.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    shape : tuple of int
        Rows and columns of the DEM.
    lowest, highest : array, shape (tiles,)
        Height range in metres of each tile and the posts around it; NaN where void.
    bounds : array, shape (tiles, 4)
        Receives the bounds, see `tile_bounds`.
    """
    across = (shape[1] + TILE - 1) // TILE
    for tile in prange(bounds.shape[0]):
        row, column = tile // across * TILE, tile % across * TILE
        box = (row, min(row + TILE, shape[0]), column, min(column + TILE, shape[1]))
        _footprint_bounds(
            ground, radar, box, float(lowest[tile]), float(highest[tile]), bounds[tile]
        )


@parallel_njit
def tile_height_ranges(
    heights: NDArray[np.float32], lowest: NDArray[np.float32], highest: NDArray[np.float32]
) -> None:
    """Find the lowest and the highest height of each tile.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights in metres; NaN where void.
    lowest, highest : array, shape (tiles,)
        Receive the heights; NaN where all of a tile is void.
    """
    for tile in prange(lowest.size):
        row, end_row, column, end_column = tile_box(heights, tile)
        low, high = span_of_box(heights, row, end_row, column, end_column)
        lowest[tile], highest[tile] = low, high


@njit
def tile_surface(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    tile: int,
) -> TileSurface:
    """Locate the posts of a tile and weigh the facets between them.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights of the DEM above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient at evenly spaced cosines of incidence, see
        `sarheight_kernels.facets.brightness`.
    tile : int
        Index of the tile.

    Returns
    -------
    line, across : array, shape (rows + 2, columns + 2)
        Radar coordinates of the tile's posts and one more on each side.
    energy, projected : array, shape (rows + 1, columns + 1)
        Radar cross-section (for unit reflectivity) and projected area of each facet in square
        metres; 0 where a facet is void or faces away.
    """
    row, _, column, _ = tile_box(heights, tile)
    posts = tile_posts(heights, tile)
    line, across = np.empty(posts.shape), np.empty(posts.shape)
    box = (0, posts.shape[0], 0, posts.shape[1])
    locate_tile(ground, radar, posts, row - 1, column - 1, box, line, across)
    shape = (posts.shape[0] - 1, posts.shape[1] - 1)
    energy, projected = np.empty(shape, np.float32), np.empty(shape, np.float32)
    lowest, highest = height_span(posts)
    facet_areas(ground, radar, posts, row - 1, column - 1, lowest, highest, energy, projected)
    brightness(law, energy, projected)
    return line, across, energy, projected


@njit
def illuminated_area(surface: TileSurface, row: int, column: int) -> np.float32:
    """Sum up the projected area of the quarters of a cell that scatter.

    Parameters
    ----------
    surface : tuple of array
        From `tile_surface`.
    row, column : int
        Place of the cell in the tile.

    Returns
    -------
    float
        Square metres.
    """
    _, _, energy, projected = surface
    area = np.float32(0.0)
    for i in range(row, row + 2):
        for j in range(column, column + 2):
            area += projected[i, j] if energy[i, j] > 0.0 else np.float32(0.0)
    return np.float32(0.25) * area
