"""Radar coordinates of every cell of a DEM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.cells import box_bounds
from sarheight_kernels.tiles import locate_tile, span_of_box

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
    panes_across = (columns + size - 1) // size
    for pane in prange(bounds.shape[0]):
        row = pane // panes_across * size
        column = pane % panes_across * size
        down, right = min(row + size, rows), min(column + size, columns)
        lowest, highest = span_of_box(heights, row, down, column, right)
        bound = bounds[pane]
        box_bounds(ground, radar, row - 1, down, column - 1, right, lowest, highest, bound)
        if bound[1] < bound[0] or bound[3] < bound[2]:
            line[row:down, column:right] = np.nan
            across[row:down, column:right] = np.nan
            continue
        box = (row, down, column, right)
        locate_tile(ground, radar, heights, 0, 0, box, line, across)
