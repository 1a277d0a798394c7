"""Radar coordinates of every cell of a DEM."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import parallel_njit, prange
from sarheight_kernels.cells import cell_on_look_side
from sarheight_kernels.tiles import locate_tile

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["TILE", "geolocate"]

TILE = 64
"""Cells along the side of a tile; the blocks of a ground model are multiples of it."""


@parallel_njit
def geolocate(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> None:
    """Find line and sample of every cell.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    line, across : array, shape (rows, columns)
        Receive line and sample; NaN where the height is void, and in tiles on the side to which
        the radar does not look.
    """
    rows, columns = heights.shape
    tiles_down = (rows + TILE - 1) // TILE
    tiles_across = (columns + TILE - 1) // TILE
    for tile in prange(tiles_down * tiles_across):
        row = tile // tiles_across * TILE
        column = tile % tiles_across * TILE
        down, right = min(row + TILE, rows), min(column + TILE, columns)
        if not cell_on_look_side(ground, radar, 0.5 * (row + down), 0.5 * (column + right)):
            line[row:down, column:right] = np.nan
            across[row:down, column:right] = np.nan
            continue
        locate_tile(
            ground,
            radar,
            heights[row:down, column:right],
            row,
            column,
            line[row:down, column:right],
            across[row:down, column:right],
        )
