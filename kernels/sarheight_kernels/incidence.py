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

The arc cosine of the mathematical library takes one value at a time. It is replaced by a square
root and a polynomial of the versed sine :math:`m = 1 - \cos\theta`, which take several at once:

.. math:: \theta = \sqrt m \, (c_0 + c_1 m + \ldots + c_7 m^7), \qquad 0 \le m \le 1,

and beyond a right angle :math:`\pi` less the same of :math:`1 + \cos\theta`. The versed sine is a
difference in double precision; the rest is done in single precision and errs by less than 2e-7
of the angle.

References
----------
Ulander, L. M. H. (1996). Radiometric slope correction of synthetic-aperture radar images. IEEE
TGRS 34(5), 1115-1122.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sarheight_kernels._numba import F4, F8, NAN, njit
from sarheight_kernels.facets import row_products, tile_products
from sarheight_kernels.pool import spread_over
from sarheight_kernels.tiles import height_span, tile_box, tile_posts

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

Row = F4
Sums = F8

C0, C1 = np.float32(1.41421355), np.float32(0.117853167)
C2, C3 = np.float32(0.0264744825), np.float32(0.00821673096)
C4, C5 = np.float32(0.00147885982), np.float32(0.00333841702)
C6, C7 = np.float32(-0.00199064296), np.float32(0.00121173777)
"""Polynomial through the Chebyshev nodes of the angle over the root of its versed sine."""
DEGREES, HALF_TURN = np.float32(180.0 / math.pi), np.float32(180.0)


@njit
def angle_of(length: float, along: float) -> np.float32:
    """Find the angle in degrees between a vector and a direction; NaN for a vector without length.

    `along` is the vector's projection on the direction. The versed sine of the acute angle is the
    length less the absolute projection, over the length.
    """
    versed = np.float32(max(length - abs(along), 0.0)) / np.float32(length)
    low = C0 + versed * (C1 + versed * (C2 + versed * C3))
    high = C4 + versed * (C5 + versed * (C6 + versed * C7))
    square = versed * versed
    angle = DEGREES * np.sqrt(versed) * (low + square * square * high)
    return angle if along >= 0.0 else HALF_TURN - angle


@njit
def _facets(upper: Row, lower: Row, lowest: float, per_metre: float, table: F8, sums: Sums) -> None:
    """Compute area |A|, A.L and A.T of facets of a row, in `sums`; 0 where one is void."""
    a0, a1, a2, a3 = table[0, 0], table[0, 1], table[0, 2], table[0, 3]
    b0, b1, b2, b3 = table[1, 0], table[1, 1], table[1, 2], table[1, 3]
    c0, c1, c2, c3 = table[2, 0], table[2, 1], table[2, 2], table[2, 3]
    d0, d1, d2, d3 = table[3, 0], table[3, 1], table[3, 2], table[3, 3]
    e0, e1, e2, e3 = table[4, 0], table[4, 1], table[4, 2], table[4, 3]
    f0, f1, f2, f3 = table[5, 0], table[5, 1], table[5, 2], table[5, 3]
    g0, g1, g2, g3 = table[6, 0], table[6, 1], table[6, 2], table[6, 3]
    k0, k1, k2, k3 = table[7, 0], table[7, 1], table[7, 2], table[7, 3]
    m0, m1, m2, m3 = table[8, 0], table[8, 1], table[8, 2], table[8, 3]
    n0, n1, n2, n3 = table[9, 0], table[9, 1], table[9, 2], table[9, 3]
    area, sight, tangent = sums[0], sums[1], sums[2]
    per_column = 1.0 / area.size
    for j in range(area.size):
        h00, h01 = float(upper[j]), float(upper[j + 1])
        h10, h11 = float(lower[j]), float(lower[j + 1])
        p, q = h11 - h00, h10 - h01
        v = (j + 0.5) * per_column
        w = (0.25 * (h00 + h01 + h10 + h11) - lowest) * per_metre
        along = a0 + v * a1 + w * (a2 + v * a3)
        along += p * (b0 + v * b1 + w * (b2 + v * b3))
        along += q * (c0 + v * c1 + w * (c2 + v * c3))
        across = k0 + v * k1 + w * (k2 + v * k3)
        across += p * (m0 + v * m1 + w * (m2 + v * m3))
        across += q * (n0 + v * n1 + w * (n2 + v * n3))
        square = d0 + v * d1 + w * (d2 + v * d3)
        square += p * p * (e0 + v * e1 + w * (e2 + v * e3))
        square += 2.0 * p * q * (f0 + v * f1 + w * (f2 + v * f3))
        square += q * q * (g0 + v * g1 + w * (g2 + v * g3))
        whole = square >= 0.0
        area[j] = math.sqrt(square) if whole else 0.0
        sight[j] = along if whole else 0.0
        tangent[j] = across if whole else 0.0


@njit
def _flat_cosines(table: F8) -> tuple[float, float, float, float]:
    """Compute the cosine of incidence on the ellipsoid, A0.L / |A0|, as in `row_products`."""
    low_left = table[0, 0] / math.sqrt(table[3, 0])
    low_right = (table[0, 0] + table[0, 1]) / math.sqrt(table[3, 0] + table[3, 1])
    high_left = (table[0, 0] + table[0, 2]) / math.sqrt(table[3, 0] + table[3, 2])
    high_right = table[0, 0] + table[0, 1] + table[0, 2] + table[0, 3]
    high_right /= math.sqrt(table[3, 0] + table[3, 1] + table[3, 2] + table[3, 3])
    return (
        low_left,
        low_right - low_left,
        high_left - low_left,
        high_right - high_left - low_right + low_left,
    )


@njit
def _angles_of_row(
    above: Sums,
    below: Sums,
    heights: Row,
    lowest: float,
    per_metre: float,
    cosines: tuple[float, float, float, float],
    local: Row,
    projected: Row,
    ellipsoid: Row,
) -> None:
    """Compute the angles of a row of cells between two rows of facets."""
    a0, a1, a2, a3 = cosines
    per_column = 1.0 / above.shape[1]
    for j in range(heights.size):
        area = (above[0, j] + above[0, j + 1]) + (below[0, j] + below[0, j + 1])
        sight = (above[1, j] + above[1, j + 1]) + (below[1, j] + below[1, j + 1])
        tangent = (above[2, j] + above[2, j + 1]) + (below[2, j] + below[2, j + 1])
        valid = area > 0.0
        local[j] = angle_of(area, sight) if valid else NAN
        angle = angle_of(math.sqrt(sight * sight + tangent * tangent), sight)
        angle = -angle if tangent < 0.0 else angle
        projected[j] = angle if valid else NAN
        v, w = (j + 1.0) * per_column, (heights[j] - lowest) * per_metre
        flat = a0 + v * a1 + w * (a2 + v * a3)
        ellipsoid[j] = angle_of(1.0, flat) if valid else NAN


@spread_over("bounds")
@njit
def cell_angles(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    bounds: F8,
    local: F4,
    projected: F4,
    ellipsoid: F4,
) -> None:
    """Compute the incidence angles of all cells.

    Parameters
    ----------
    ground, radar, heights
        As in `sarheight_kernels.tiles.geolocate`.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can contribute to, from `tile_bounds`; tiles on the side
        to which the radar does not look are left out.
    local, projected, ellipsoid : array, shape (rows, columns)
        Receive the angles in degrees; NaN where the cell is void, has no complete facet, or is
        not on the look side.
    """
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(heights, tile)
        posts = tile_posts(heights, tile)
        lowest, highest = height_span(posts)
        if math.isnan(lowest) or bounds[tile, 0] == -math.inf:
            local[row:end_row, column:end_column] = math.nan
            projected[row:end_row, column:end_column] = math.nan
            ellipsoid[row:end_row, column:end_column] = math.nan
            continue
        top = max(highest, lowest + 1.0)
        per_metre = 1.0 / (top - lowest)
        rows, columns = posts.shape[0] - 1, posts.shape[1] - 1
        corners = tile_products(ground, radar, row - 1, column - 1, rows, columns, lowest, top)
        table, sums = np.empty((corners.shape[3], 4)), np.empty((2, 3, columns))
        row_products(corners, 0.5 / rows, table)
        _facets(posts[0], posts[1], lowest, per_metre, table, sums[0])
        a0, a1, a2, a3 = _flat_cosines(table)
        for i in range(end_row - row):
            row_products(corners, (i + 1.5) / rows, table)
            above, below = sums[i % 2], sums[(i + 1) % 2]
            _facets(posts[i + 1], posts[i + 2], lowest, per_metre, table, below)
            b0, b1, b2, b3 = _flat_cosines(table)
            # A row of cells lies in the middle between the rows of facets around it.
            cosines = (0.5 * (a0 + b0), 0.5 * (a1 + b1), 0.5 * (a2 + b2), 0.5 * (a3 + b3))
            a0, a1, a2, a3 = b0, b1, b2, b3
            _angles_of_row(
                above,
                below,
                heights[row + i, column:end_column],
                lowest,
                per_metre,
                cosines,
                local[row + i, column:end_column],
                projected[row + i, column:end_column],
                ellipsoid[row + i, column:end_column],
            )
