r"""Radar coordinates of a tile of cells: cubics, in parts that are small enough for them.

A tile whose cubics miss the tolerance (see `sarheight_kernels.fits`) is split in four. Where the
smallest parts miss it, too, each cell is solved on its own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.cells import locate_cell
from sarheight_kernels.fits import FIT, Box, evaluate_fit, fit_box

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["height_span", "locate_tile", "span_of_box"]

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
