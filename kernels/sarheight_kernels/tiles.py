"""Tiles of a DEM: radar coordinates of their cells, and the surface that the radar sees.

The coordinates are cubics (see `sarheight_kernels.cubics`). A tile whose cubics miss the tolerance
is split in four, down to `SMALLEST_TILE`; where the smallest parts miss it, too, each cell is
solved on its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sarheight_kernels._numba import B1, F4, F8, NAN, QUARTER, START, ZERO, njit
from sarheight_kernels.cubics import FIT, Box, evaluate_fit, fit_bounds, fit_box
from sarheight_kernels.facets import facet_areas, facet_rcs
from sarheight_kernels.models import box_bounds, cell_on_look_side, locate_cell
from sarheight_kernels.pool import spread_over

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

SMALLEST_TILE = 8


@njit
def _column_spans(heights: F4, top: int, bottom: int, left: int, lowest: F4, highest: F4) -> None:
    """Find lowest and highest height of columns from `left`; (inf, -inf) where all are void."""
    lowest[:], highest[:] = np.inf, -np.inf
    for row in range(top, bottom):
        # Column by column, so that the comparisons do not wait for one another.
        posts = heights[row, left : left + lowest.size]
        for column in range(posts.size):
            height = posts[column]
            lowest[column] = height if height < lowest[column] else lowest[column]
            highest[column] = height if height > highest[column] else highest[column]


@njit
def span_of_box(heights: F4, top: int, bottom: int, left: int, right: int) -> tuple[float, float]:
    """Find the lowest and the highest height of a box of cells; NaN where all are void."""
    low, high = np.empty(right - left, np.float32), np.empty(right - left, np.float32)
    _column_spans(heights, top, bottom, left, low, high)
    lowest, highest = np.float32(np.inf), np.float32(-np.inf)
    for column in range(low.size):
        lowest, highest = min(lowest, low[column]), max(highest, high[column])
    if not lowest <= highest:
        return math.nan, math.nan
    return np.float64(lowest), np.float64(highest)


@njit
def height_span(heights: F4) -> tuple[float, float]:
    """Find the lowest and the highest height, shape (rows, columns); NaN where all are void."""
    return span_of_box(heights, START, heights.shape[0], START, heights.shape[1])


@njit
def _locate_box(
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    row: int,
    column: int,
    box: Box,
    line: F8,
    sample: F8,
) -> bool:
    """Locate the cells of one box; return whether the tolerance was met."""
    top, bottom, left, right = box
    lowest, highest = span_of_box(heights, top, bottom, left, right)
    if math.isnan(lowest):
        line[top:bottom, left:right] = math.nan
        sample[top:bottom, left:right] = math.nan
        return True
    fit, workspace = np.empty(FIT), np.empty(16 + right - left)
    raster_box = (row + top, row + bottom, column + left, column + right)
    if not fit_box(ground, radar, raster_box, lowest, highest, fit):
        return False
    for i in range(top, bottom):
        # The compiler knows that a part of a row is contiguous, and vectorises loops over it.
        posts, lines, samples = (
            heights[i, left:right],
            line[i, left:right],
            sample[i, left:right],
        )
        evaluate_fit(radar, fit, row + i, posts, lines, samples, workspace)
    return True


@njit
def locate_tile(
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    row: int,
    column: int,
    box: Box,
    line: F8,
    sample: F8,
) -> None:
    """Find the radar coordinates of a tile of cells; NaN where the height is void.

    `heights`, in metres above the ellipsoid, begin at `row` and `column` of the raster of the
    ground model; `line` and `sample` have their shape. `box` holds first row, end row, first column
    and end column of the tile among them, within one patch of the ground model and its margin.
    """
    top, bottom, left, right = box
    size = max(bottom - top, right - left)
    while size >= SMALLEST_TILE:
        within_tolerance = True
        for i in range(top, bottom, size):
            for j in range(left, right, size):
                part = (i, min(i + size, bottom), j, min(j + size, right))
                within_tolerance &= _locate_box(
                    ground, radar, heights, row, column, part, line, sample
                )
        if within_tolerance:
            return
        size = (size + 1) // 2
    for i in range(top, bottom):
        for j in range(left, right):
            line[i, j], sample[i, j], _, _ = locate_cell(
                ground,
                radar,
                float(row + i),
                float(column + j),
                np.float64(heights[i, j]),
                radar.line_zero_time,
            )


TILE = 64
"""Cells along the side of a tile; the patchs of a ground model are multiples of it."""
LARGE_TILE = 2 * TILE
"""The same for `geolocate`, which keeps no tables of a tile: larger ones are fitted less often."""


@njit
def _tile_size(ground: GroundModel) -> int:
    """Choose the side of the tiles of `geolocate`, which must not cross a patch's border."""
    down, across = ground.coefficients.shape[:2]
    whole = down == 1 or ground.patch_rows % LARGE_TILE == 0
    whole = whole and (across == 1 or ground.patch_columns % LARGE_TILE == 0)
    return LARGE_TILE if whole else TILE


@njit
def geolocation_bounds(ground: GroundModel, heights: F4) -> F8:
    """Allocate the bounds that `geolocate` finds, shape (tiles, 4), for heights of the DEM."""
    rows, columns = heights.shape
    size = _tile_size(ground)
    return np.empty((((rows + size - 1) // size) * ((columns + size - 1) // size), 4))


@njit
def _fit_tiles(
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    row: int,
    down: int,
    line: F8,
    sample: F8,
    bounds: F8,
    fits: F8,
) -> B1:
    """Fit the tiles of a band of rows; return which are fitted. The others are solved at once."""
    columns, size = heights.shape[1], _tile_size(ground)
    lowest, highest = np.empty(columns, np.float32), np.empty(columns, np.float32)
    _column_spans(heights, row, down, START, lowest, highest)
    fitted = np.empty(bounds.shape[0], np.bool_)
    for tile in range(fitted.size):
        left, right = tile * size, min((tile + 1) * size, columns)
        low = np.float64(lowest[left:right].min())
        high = np.float64(highest[left:right].max())
        void = not low <= high
        on_side = void or cell_on_look_side(
            ground, radar, 0.5 * (row + down - 1), 0.5 * (left + right - 1)
        )
        fitted[tile] = (
            on_side
            and not void
            and fit_box(ground, radar, (row, down, left, right), low, high, fits[tile])
        )
        if fitted[tile]:
            fit_bounds(fits[tile], bounds[tile])
            continue
        bound = bounds[tile]
        bound[0], bound[1], bound[2], bound[3] = math.inf, -math.inf, math.inf, -math.inf
        if not on_side:
            bound[0], bound[1] = -math.inf, math.inf
        if void or not on_side:
            line[row:down, left:right] = math.nan
            sample[row:down, left:right] = math.nan
        else:
            edges = float(row), down - 1.0, float(left), right - 1.0
            box_bounds(ground, radar, edges, low, high, bound)
            locate_tile(
                ground, radar, heights, START, START, (row, down, left, right), line, sample
            )
    return fitted


@spread_over("heights", block=LARGE_TILE)
@njit
def geolocate(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    line: F8,
    sample: F8,
    bounds: F8,
) -> None:
    """Find line and sample of every cell.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    line, sample : array, shape (rows, columns)
        Receive line and sample; NaN where the height is void, and in tiles on the side to which
        the radar does not look.
    bounds : array, shape (tiles, 4)
        From `geolocation_bounds`; receives the part of the image that each tile can contribute
        to, see `sarheight_kernels.models.box_bounds`.
    """
    rows, columns = heights.shape
    size = _tile_size(ground)
    tiles = (columns + size - 1) // size
    for band in range(begin // size, (end + size - 1) // size):
        row, down = band * size, min((band + 1) * size, rows)
        fits, workspace = np.empty((tiles, FIT)), np.empty(16 + size)
        fitted = _fit_tiles(
            ground, radar, heights, row, down, line, sample,
            bounds[band * tiles : (band + 1) * tiles], fits,
        )  # fmt: skip
        # Row after row, not tile after tile: memory is fastest where it is passed over in order.
        for i in range(row, down):
            for tile in range(tiles):
                if fitted[tile]:
                    part = slice(tile * size, min((tile + 1) * size, columns))
                    evaluate_fit(
                        radar,
                        fits[tile],
                        i,
                        heights[i, part],
                        line[i, part],
                        sample[i, part],
                        workspace,
                    )


OVERSHOOT = 0.25 * (math.sqrt(2.0) - 1.0)
"""Bound of the reach of a footprint beyond its facet in samples, as a part of the distance between
neighbouring posts. A footprint is a sheared rectangle with the variance of a quarter of a
facet, which is a parallelogram (`sarheight_kernels.footprints`). With edges a and b in samples the
parallelogram reaches half of a + b to either side, the rectangle up to sqrt((a^2 + b^2) / 2):
farther by (sqrt(2) - 1) / 2 of the longer edge, which is half the distance between the posts. At a
vertical wall, where posts lie a hundred samples apart, that is ten samples."""

# Line and sample of the posts, radar cross-section and projected area of the facets of a tile.
TileSurface = tuple[F8, F8, F4, F4]


@njit
def tile_count(heights: F4) -> int:
    """Count the tiles of a DEM, row of tiles after row of tiles."""
    rows, columns = heights.shape
    return ((rows + TILE - 1) // TILE) * ((columns + TILE - 1) // TILE)


@njit
def tile_box(heights: F4, tile: int) -> tuple[int, int, int, int]:
    """Find first row, end row, first column, end column of a tile; the ends are not part of it."""
    rows, columns = heights.shape
    tiles_across = (columns + TILE - 1) // TILE
    row, column = tile // tiles_across * TILE, tile % tiles_across * TILE
    return row, min(row + TILE, rows), column, min(column + TILE, columns)


@njit
def tile_posts(heights: F4, tile: int) -> F4:
    """Copy the posts of a tile, with one post more on each side; NaN beyond the DEM.

    Returns shape (tile rows + 2, tile columns + 2).
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
def meets_image(bound: F8, lines: int, samples: int) -> bool:
    """Tell whether a tile, with its `bound` from `tile_bounds`, can contribute to an image."""
    return bool(
        bound[1] >= -0.5
        and bound[0] <= lines - 0.5
        and bound[3] >= -0.5
        and bound[2] <= samples - 0.5
    )


@spread_over("bounds")
@njit
def tile_bounds(
    begin: int, end: int, ground: GroundModel, radar: RadarModel, heights: F4, bounds: F8
) -> None:
    """Find which part of the image each tile can contribute to.

    Parameters
    ----------
    ground, radar, heights
        As in `geolocate`.
    bounds : array, shape (tiles, 4)
        Receives the bounds of the footprints of each tile's cells, see
        `sarheight_kernels.models.box_bounds`.
    """
    for tile in range(begin, end):
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
    ground: GroundModel, radar: RadarModel, box: Box, lowest: float, highest: float, bound: F8
) -> None:
    """Bound the footprints of the cells of a box, with the posts around it."""
    row, end_row, column, end_column = box
    edges = row - 1.0, float(end_row), column - 1.0, float(end_column)
    box_bounds(ground, radar, edges, lowest, highest, bound)
    # Neighbouring posts lie at most as far apart as the bounds. An empty span stays as it is.
    reach = OVERSHOOT * max(bound[3] - bound[2], 0.0)
    bound[2] -= reach
    bound[3] += reach


@spread_over("bounds", least=16)
@njit
def height_range_bounds(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    shape: tuple[int, int],
    lowest: F4,
    highest: F4,
    bounds: F8,
) -> None:
    """Find which part of the image each tile can contribute to, by its height range alone.

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
    for tile in range(begin, end):
        row, column = tile // across * TILE, tile % across * TILE
        box = (row, min(row + TILE, shape[0]), column, min(column + TILE, shape[1]))
        low, high = np.float64(lowest[tile]), np.float64(highest[tile])
        _footprint_bounds(ground, radar, box, low, high, bounds[tile])


@spread_over("lowest")
@njit
def square_height_ranges(
    begin: int, end: int, heights: F4, side: int, lowest: F4, highest: F4
) -> None:
    """Find the height range of squares of cells.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights in metres; NaN where void.
    side : int
        Cells along the side of a square.
    lowest, highest : array, shape (squares down, squares across)
        Receive the range of each square; NaN where all of it is void or beyond the DEM.
    """
    rows, columns = heights.shape
    low, high = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for square_row in range(begin, end):
        top, bottom = square_row * side, min((square_row + 1) * side, rows)
        _column_spans(heights, top, bottom, START, low, high)
        for square in range(lowest.shape[1]):
            least, most = np.float32(np.inf), np.float32(-np.inf)
            for column in range(square * side, min((square + 1) * side, columns)):
                least, most = min(least, low[column]), max(most, high[column])
            lowest[square_row, square] = least if least <= most else NAN
            highest[square_row, square] = most if least <= most else NAN


class Surface(NamedTuple):
    """The surface of a DEM as a radar sees it: what the kernels read that distribute its RCS.

    Attributes
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient sigma0 at cosines of the local incidence angle from 0 to 1, evenly
        spaced.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can contribute to, from `tile_bounds`.
    illuminated : array, shape (rows, columns)
        False where a cell is in shadow, or not wanted.
    """

    ground: GroundModel
    radar: RadarModel
    heights: F4
    law: F8
    bounds: F8
    illuminated: B1


@njit
def tile_surface(surface: Surface, tile: int) -> TileSurface:
    """Locate the posts of a tile, and find the radar cross-section of the facets between them.

    Returns
    -------
    line, sample : array, shape (rows + 2, columns + 2)
        Radar coordinates of the tile's posts and one more on each side.
    rcs, projected : array, shape (rows + 1, columns + 1)
        Radar cross-section (for unit reflectivity) and projected area of each facet in square
        metres; 0 where a facet is void or faces away.
    """
    row, _, column, _ = tile_box(surface.heights, tile)
    posts = tile_posts(surface.heights, tile)
    line, sample = np.empty(posts.shape), np.empty(posts.shape)
    box = (START, posts.shape[0], START, posts.shape[1])
    locate_tile(surface.ground, surface.radar, posts, row - 1, column - 1, box, line, sample)
    shape = (posts.shape[0] - 1, posts.shape[1] - 1)
    rcs, projected = np.empty(shape, np.float32), np.empty(shape, np.float32)
    lowest, highest = height_span(posts)
    facet_areas(
        surface.ground, surface.radar, posts, row - 1, column - 1, lowest, highest, rcs, projected
    )
    facet_rcs(surface.law, rcs, projected)
    return line, sample, rcs, projected


@njit
def illuminated_area(surface: TileSurface, row: int, column: int) -> np.float32:
    """Sum the projected area of the quarters of a cell that scatter, in square metres."""
    _, _, rcs, projected = surface
    area = ZERO
    for i in range(row, row + 2):
        for j in range(column, column + 2):
            area += projected[i, j] if rcs[i, j] > 0.0 else ZERO
    return QUARTER * area
