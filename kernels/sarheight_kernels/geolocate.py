"""Radar coordinates of every cell of a DEM."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.cells import box_bounds, cell_on_look_side
from sarheight_kernels.fits import FIT, evaluate_fit, fit_bounds, fit_box
from sarheight_kernels.tiles import locate_tile

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["TILE", "geolocate", "pane_bounds"]

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
def pane_bounds(ground: GroundModel, heights: NDArray[np.float32]) -> NDArray[np.float64]:
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
        From `pane_bounds`; receives which part of the image each pane can light, see
        `sarheight_kernels.cells.box_bounds`.
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
