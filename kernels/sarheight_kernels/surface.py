"""The surface of a DEM, tile by tile, as the radar sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.cells import box_bounds
from sarheight_kernels.facets import brightness, facet_areas
from sarheight_kernels.geolocate import TILE
from sarheight_kernels.tiles import height_span, locate_tile, span_of_box

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = [
    "TileSurface",
    "lit_area",
    "meets_image",
    "tile_bounds",
    "tile_box",
    "tile_count",
    "tile_posts",
    "tile_surface",
]

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
        Receives the bounds of each tile with the posts around it, see
        `sarheight_kernels.cells.box_bounds`.
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
        box_bounds(
            ground, radar, row - 1, end_row, column - 1, end_column, lowest, highest, bounds[tile]
        )


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
def lit_area(surface: TileSurface, row: int, column: int) -> np.float32:
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
