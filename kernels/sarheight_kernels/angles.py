r"""Incidence angles of the cells of a DEM.

With the area vector A of a cell (the sum of the facets around its post), the unit vector L to the
radar and T at a right angle to it in the plane of zero Doppler, up and outwards,

.. math::

    \cos\theta = \frac{A \cdot L}{|A|}, \qquad
    \tan\theta_p = \frac{A \cdot T}{A \cdot L}, \qquad
    \cos\theta_e = \frac{A_0 \cdot L}{|A_0|}

are the local incidence angle, the projected local incidence angle (in the plane of the radar's
view; negative where the slope is steeper than the line of sight, in active layover), and the
incidence angle on the ellipsoid.

References
----------
Ulander, L. M. H. (1996). Radiometric slope correction of synthetic-aperture radar images. IEEE
TGRS 34(5), 1115-1122.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.facets import row_products, tile_products
from sarheight_kernels.surface import tile_box, tile_posts
from sarheight_kernels.tiles import height_span

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["cell_angles"]


@njit
def _facet_sums(
    table: NDArray[np.float64],
    v: float,
    w: float,
    p: float,
    q: float,
) -> tuple[float, float, float]:
    """Area, projection on the line of sight and on the tangent of one facet."""
    along_sight, along_tangent, square = 0.0, 0.0, 0.0
    for index in range(3):
        factor = 1.0 if index == 0 else (p if index == 1 else q)
        sight, tangent = table[index], table[7 + index]
        along_sight += factor * (sight[0] + v * sight[1] + w * (sight[2] + v * sight[3]))
        along_tangent += factor * (tangent[0] + v * tangent[1] + w * (tangent[2] + v * tangent[3]))
    for index in range(4):
        factor = 1.0
        if index == 1:
            factor = p * p
        elif index == 2:
            factor = 2.0 * p * q
        elif index == 3:
            factor = q * q
        length = table[3 + index]
        square += factor * (length[0] + v * length[1] + w * (length[2] + v * length[3]))
    return math.sqrt(square), along_sight, along_tangent


@parallel_njit
def cell_angles(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    bounds: NDArray[np.float64],
    local: NDArray[np.float32],
    projected: NDArray[np.float32],
    ellipsoid: NDArray[np.float32],
) -> None:
    """Compute the incidence angles of all cells.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`; tiles on the side to
        which the radar does not look are left out.
    local, projected, ellipsoid : array, shape (rows, columns)
        Receive the angles in radians; NaN where the cell is void, has no complete facet, or is
        not on the radar's side.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        local[row:end_row, column:end_column] = math.nan
        projected[row:end_row, column:end_column] = math.nan
        ellipsoid[row:end_row, column:end_column] = math.nan
        posts = tile_posts(heights, tile)
        lowest, highest = height_span(posts)
        if math.isnan(lowest) or bounds[tile, 0] == -math.inf:
            continue
        top = max(highest, lowest + 1.0)
        rows, columns = posts.shape[0] - 1, posts.shape[1] - 1
        corners = tile_products(ground, radar, row - 1, column - 1, rows, columns, lowest, top)
        table = np.empty((corners.shape[3], 4))
        area = np.empty((rows, columns))
        sight = np.empty((rows, columns))
        tangent = np.empty((rows, columns))
        for i in range(rows):
            row_products(corners, (i + 0.5) / rows, table)
            for j in range(columns):
                h00, h01 = float(posts[i, j]), float(posts[i, j + 1])
                h10, h11 = float(posts[i + 1, j]), float(posts[i + 1, j + 1])
                w = (0.25 * (h00 + h01 + h10 + h11) - lowest) / (top - lowest)
                area[i, j], sight[i, j], tangent[i, j] = _facet_sums(
                    table, (j + 0.5) / columns, w, h11 - h00, h10 - h01
                )
        for i in range(row, end_row):
            row_products(corners, (i - row + 1.0) / rows, table)
            for j in range(column, end_column):
                if math.isnan(heights[i, j]):
                    continue
                whole, along_sight, along_tangent = 0.0, 0.0, 0.0
                for quarter in range(4):
                    a, b = i - row + quarter // 2, j - column + quarter % 2
                    if not math.isnan(area[a, b]):
                        whole += area[a, b]
                        along_sight += sight[a, b]
                        along_tangent += tangent[a, b]
                if whole > 0.0:
                    local[i, j] = math.acos(min(max(along_sight / whole, -1.0), 1.0))
                    projected[i, j] = math.atan2(along_tangent, along_sight)
                    w = (float(heights[i, j]) - lowest) / (top - lowest)
                    flat, flat_sight, _ = _facet_sums(
                        table, (j - column + 1.0) / columns, w, 0.0, 0.0
                    )
                    ellipsoid[i, j] = math.acos(min(flat_sight / flat, 1.0))
