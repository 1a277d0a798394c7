r"""Facets: area, incidence and radar cross-section of the surface between four posts.

The heights of a raster are posts; four neighbouring posts span a facet. With the steps
:math:`e_r, e_c` from one post to the next along rows and columns, the ellipsoid's normal
:math:`n` and the height differences along the diagonals, :math:`p = h_{11} - h_{00}` and
:math:`q = h_{10} - h_{01}`, half the cross product of the diagonals is the facet's area vector

.. math::

    A = e_c \times e_r + \tfrac{p}{2} \, n \times (e_r - e_c)
        + \tfrac{q}{2} \, (e_r + e_c) \times n,

up to the sign that lets it point upwards. Its length is the facet's area. With the unit vector
:math:`L` to the radar, :math:`A \cdot L = |A| \cos\theta` is the area projected into the plane at
a right angle to the line of sight, the :math:`A_\gamma` of Small (2011). Products of these
vectors, tabulated at the corners of a tile, give both for each facet with one square root.

References
----------
Small, D. (2011). Flattening gamma: radiometric terrain correction for SAR imagery. IEEE TGRS
49(8), 3081-3093, section III.
"""

from __future__ import annotations

import math

import numpy as np

from sarheight_kernels._numba import F4, F8, HALF, ONE, QUARTER, TWO, ZERO, njit
from sarheight_kernels.doppler import doppler_time
from sarheight_kernels.models import GroundModel, RadarModel, ground_patch, ground_position
from sarheight_kernels.orbit import evaluate_orbit

PRODUCTS = 10


Vector = tuple[float, float, float]
# Position on the ellipsoid and unit normal there; a place, and others below, above, right and left.
Place = tuple[float, float, float, float, float, float]
Around = tuple[Place, Place, Place, Place, Place]


@njit
def _cross(a: Vector, b: Vector) -> Vector:
    """Take the cross product of two vectors."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@njit
def _dot(a: Vector, b: Vector) -> float:
    """Take the scalar product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@njit
def _scale(a: Vector, factor: float) -> Vector:
    """Multiply a vector by a factor."""
    return factor * a[0], factor * a[1], factor * a[2]


@njit
def _combine(a: Vector, b: Vector, factor: float) -> Vector:
    """Add a factor times one vector to another."""
    return a[0] + factor * b[0], a[1] + factor * b[1], a[2] + factor * b[2]


@njit
def _around(ground: GroundModel, row: float, column: float) -> Around:
    """Find a place, and those half a cell below, above, right and left, by one patch."""
    down, across = ground_patch(ground, row, column)
    return (
        ground_position(ground, down, across, row, column),
        ground_position(ground, down, across, row + 0.5, column),
        ground_position(ground, down, across, row - 0.5, column),
        ground_position(ground, down, across, row, column + 0.5),
        ground_position(ground, down, across, row, column - 0.5),
    )


@njit
def _at(place: Place, height: float) -> Vector:
    """Find the position at a height above a place on the ellipsoid."""
    return _combine((place[0], place[1], place[2]), (place[3], place[4], place[5]), height)


@njit
def facet_products(
    radar: RadarModel, around: Around, height: float, guess: float, products: F8
) -> float:
    """Compute the products that areas and incidence angles near a place are made of.

    Parameters
    ----------
    radar : RadarModel
        The model.
    around : tuple
        The place and those around it, from `_around`.
    height, guess : float
        Height above the ellipsoid in metres; azimuth time to begin with, in seconds.
    products : array, shape (10,)
        Receives, with A = A0 + p A1 + q A2: A0.L, A1.L, A2.L, A0.A0, A1.A1, A1.A2 and A2.A2
        (square metres; per metre of height difference for A1, A2), then A0.T, A1.T and A2.T with
        the unit vector T at a right angle to L and to the velocity, up and outwards.
        A1 and A2 are horizontal, A0 is vertical, so their products vanish.

    Returns
    -------
    float
        Azimuth time in seconds.
    """
    place, below, above, right, left = around
    here, normal = _at(place, height), (place[3], place[4], place[5])
    along_row = _combine(_at(below, height), _at(above, height), -1.0)
    along_column = _combine(_at(right, height), _at(left, height), -1.0)
    flat = _cross(along_column, along_row)
    sign = 1.0 if _dot(flat, normal) > 0.0 else -1.0
    flat = _scale(flat, sign)
    first = _scale(_cross(normal, _combine(along_row, along_column, -1.0)), 0.5 * sign)
    second = _scale(_cross(_combine(along_row, along_column, 1.0), normal), 0.5 * sign)

    time = doppler_time(here[0], here[1], here[2], guess, radar)
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    sight = (px - here[0], py - here[1], pz - here[2])
    sight = _scale(sight, 1.0 / math.sqrt(_dot(sight, sight)))
    tangent = _cross((vx, vy, vz), sight)
    # At zero Doppler the line of sight is at a right angle to the velocity, elsewhere nearly so.
    tangent = _scale(tangent, radar.side / math.sqrt(_dot(tangent, tangent)))
    products[0], products[1] = _dot(flat, sight), _dot(first, sight)
    products[2], products[3] = _dot(second, sight), _dot(flat, flat)
    products[4], products[5] = _dot(first, first), _dot(first, second)
    products[6], products[7] = _dot(second, second), _dot(flat, tangent)
    products[8], products[9] = _dot(first, tangent), _dot(second, tangent)
    return time


@njit
def tile_products(
    ground: GroundModel,
    radar: RadarModel,
    row: int,
    column: int,
    rows: int,
    columns: int,
    lowest: float,
    highest: float,
) -> F8:
    """Tabulate products at the corners of a tile, shape (2, 2, 2, 10): by row, column and height.

    `row` and `column` are those of the tile's first post, `rows` and `columns` its size in facets;
    the height range in metres must not be empty.
    """
    corners = np.empty((2, 2, 2, PRODUCTS))
    for i in range(2):
        for j in range(2):
            around = _around(ground, float(row + i * rows), float(column + j * columns))
            time = facet_products(radar, around, lowest, radar.line_zero_time, corners[i, j, 0])
            facet_products(radar, around, highest, time, corners[i, j, 1])
    return corners


@njit
def row_products(corners: F8, u: float, table: F8) -> None:
    """Interpolate the products of a tile, from `tile_products`, to a row.

    `u` is the row between the tile's edges, from 0 to 1. `table`, shape (10, 4), receives a, b, c
    and d of each product a + b v + (c + d v) w, with column v and height w from 0 to 1 likewise.
    """
    for product in range(PRODUCTS):
        low_left = corners[0, 0, 0, product] * (1 - u) + corners[1, 0, 0, product] * u
        low_right = corners[0, 1, 0, product] * (1 - u) + corners[1, 1, 0, product] * u
        high_left = corners[0, 0, 1, product] * (1 - u) + corners[1, 0, 1, product] * u
        high_right = corners[0, 1, 1, product] * (1 - u) + corners[1, 1, 1, product] * u
        table[product, 0] = low_left
        table[product, 1] = low_right - low_left
        table[product, 2] = high_left - low_left
        table[product, 3] = high_right - high_left - low_right + low_left


@njit
def facet_areas(
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    row: int,
    column: int,
    lowest: float,
    highest: float,
    area: F4,
    projected: F4,
) -> None:
    """Compute the areas of the facets of a tile, shape (rows, columns), in square metres.

    `heights`, shape (rows + 1, columns + 1), are those of the posts above the ellipsoid in metres,
    NaN where void, from `lowest` to `highest`; the first lies at `row` and `column` of the raster.
    `area` and `projected` receive each facet's area and that projected along the line of sight,
    negative where it faces away from the radar, and NaN where a post is void.
    """
    rows, columns = area.shape
    top = max(highest, lowest + 1.0)
    corners = tile_products(ground, radar, row, column, rows, columns, lowest, top)
    table = np.empty((PRODUCTS, 4))
    for i in range(rows):
        row_products(corners, (i + 0.5) / rows, table)
        _areas_of_row(
            heights[i], heights[i + 1], lowest, 1.0 / (top - lowest), table, area[i], projected[i]
        )


@njit
def _single(row: F8) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """Convert coefficients to single precision."""
    return np.float32(row[0]), np.float32(row[1]), np.float32(row[2]), np.float32(row[3])


@njit
def _middle(row: F8) -> tuple[np.float32, np.float32]:
    """Evaluate coefficients at the mean height, in single precision."""
    return np.float32(row[0] + 0.5 * row[2]), np.float32(row[1] + 0.5 * row[3])


@njit
def _areas_of_row(
    upper: F4, lower: F4, lowest: float, per_metre: float, table: F8, area: F4, projected: F4
) -> None:
    """Compute areas |A| and projected areas A . L of a row of facets, shape (columns,).

    With A = A0 + p A1 + q A2: A . L is linear in p and q, |A|^2 quadratic.
    """
    a0, a1, a2, a3 = _single(table[0])
    b0, b1, b2, b3 = _single(table[1])
    c0, c1, c2, c3 = _single(table[2])
    # Lengths hardly change with height (by 1/6371 a kilometre): their mean over the tile serves.
    d0, d1 = _middle(table[3])
    e0, e1 = _middle(table[4])
    f0, f1 = _middle(table[5])
    g0, g1 = _middle(table[6])
    per_column, scale, floor = (
        np.float32(1.0 / area.size),
        np.float32(per_metre),
        np.float32(lowest),
    )
    for j in range(area.size):
        h00, h01 = upper[j], upper[j + 1]
        h10, h11 = lower[j], lower[j + 1]
        p, q = h11 - h00, h10 - h01
        v = (np.float32(j) + HALF) * per_column
        w = (QUARTER * (h00 + h01 + h10 + h11) - floor) * scale
        along = (a0 + v * a1) + w * (a2 + v * a3)
        along += p * ((b0 + v * b1) + w * (b2 + v * b3))
        along += q * ((c0 + v * c1) + w * (c2 + v * c3))
        square = (d0 + v * d1) + p * p * (e0 + v * e1)
        square += TWO * p * q * (f0 + v * f1) + q * q * (g0 + v * g1)
        area[j] = np.sqrt(square)
        projected[j] = along


@njit
def facet_rcs(law: F8, area: F4, projected: F4) -> None:
    """Turn areas into radar cross-sections in square metres, in place.

    `law`, shape (n,), is sigma0 at cosines of the local incidence angle from 0 to 1, evenly spaced.
    Of facets of shape (rows, columns), `area` becomes sigma0 times area, and 0 where a facet is
    void or faces away; `projected` becomes 0 where it is negative or NaN.
    """
    for i in range(area.shape[0]):
        _rcs_of_row(law, area[i], projected[i])


@njit
def _rcs_of_row(law: F8, area: F4, projected: F4) -> None:
    """Turn areas of a row of facets into radar cross-sections."""
    last, before_last = np.float32(law.size - 1), np.int32(law.size - 2)
    # Without branches: a facet that faces away takes part, and its product is dropped.
    for j in range(area.size):
        illuminated = projected[j] > ZERO
        place = min(projected[j] / area[j] if illuminated else ZERO, ONE) * last
        index = min(np.int32(place), before_last)
        fraction = place - np.float32(index)
        at = np.uint32(index)
        here, beyond = np.float32(law[at]), np.float32(law[at + np.uint32(1)])
        product = area[j] * (here + fraction * (beyond - here))
        area[j] = product if illuminated else ZERO
        projected[j] = projected[j] if illuminated else ZERO
