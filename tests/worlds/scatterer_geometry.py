r"""Where point scatterers lie, and when and how far away a radar sees them.

This is a second implementation of the geometry, written to test the first one: a smooth surface
through all heights instead of facets, and Newton's method for every scatterer instead of a
tabulated mapping.

*Surface.* A cubic B-spline interpolates the heights of the DEM. A place on the map is a fractional
(row, column); its position at height 0 is interpolated from those of the 3 × 3 nearest cells by
quadratics, which over a cell of 100 m is exact to a nanometre (the third derivative of a position
on a sphere of radius R is :math:`1/R^2`, the error about :math:`0.06\,h^3/R^2`).

*Orbit.* One polynomial meets the six state vectors nearest to the scene in position and velocity.

*Zero Doppler.* :math:`f(t) = v(t) \cdot (P - s(t)) = 0` by Newton's method,
:math:`f' = a \cdot (P - s) - |v|^2`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, spline_filter

from sarheight.orbit import Orbit

__all__ = [
    "BLOCK",
    "JIT",
    "PAD",
    "Path",
    "Surface",
    "cell_positions",
    "ellipsoid_points",
    "level_course",
    "level_positions",
    "locate_cells",
    "path_of",
    "radar_coordinates",
    "surface_frame",
    "surface_height",
    "surface_of",
    "zero_doppler",
]

Floats = NDArray[np.float64]

SEMI_MAJOR, SEMI_MINOR = 6_378_137.0, 6_356_752.314_245_179
"""Axes of the WGS84 ellipsoid in metres."""
PAD = 2
"""Cells by which spline coefficients reach beyond the DEM: four support a cubic, and the outer
half of the outermost cells counts."""
VECTORS = 6
"""State vectors that the polynomial of the orbit meets."""
BLOCK = 8
"""Cells of a side of the blocks of which the greatest height is known."""
TOLERANCE, MOST_ROUNDS = 1e-12, 20
"""Newton's method ends at a step in seconds that the satellite flies in 8 nm."""

JIT = {"cache": True, "nogil": True, "error_model": "numpy"}
"""Sums keep their order: no option that lets the compiler change it."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A smooth surface through the heights of a DEM."""

    # (rows + 4, columns + 4) coefficients of the cubic B-spline of the heights in metres,
    # mirrored at the edges
    coefficients: Floats
    # (rows + 2, columns + 2, 3) earth-fixed positions in metres of the cells at height 0, and of
    # one ring around them
    level: Floats
    # (blocks, blocks) a height in metres above all of the surface in a block of 8 × 8 cells and
    # its neighbours
    ceiling: Floats

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the DEM."""
        rows, columns = self.level.shape[:2]
        return rows - 2, columns - 2


@dataclass(frozen=True, eq=False)
class Path:
    """A stretch of an orbit as one polynomial."""

    # (degree + 1, 3) coefficients of the position in metres, from the constant upwards; the
    # variable is the time after the middle, by half
    polynomial: Floats
    middle: float  # seconds since the epoch
    half: float  # half the length in seconds


def level_positions(dem: xr.DataArray) -> Floats:
    """Return the positions of a DEM's cells at height 0, and of one ring of cells around it.

    The DEM has dims (y, x), evenly spaced, and a CRS. Positions are Earth-fixed in metres, shape
    (rows + 2, columns + 2, 3).
    """
    axes = []
    for name in ("x", "y"):
        values = dem[name].values.astype(np.float64)
        step = (values[-1] - values[0]) / (values.size - 1)
        axes.append(values[0] + step * np.arange(-1, values.size + 1))
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(*np.meshgrid(*axes))
    east, north = np.radians(longitude), np.radians(latitude)
    normal = np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1
    )
    # The ellipsoid's point with unit normal n is (a²n_x, a²n_y, b²n_z) / |(a n_x, a n_y, b n_z)|.
    squares = np.array([SEMI_MAJOR, SEMI_MAJOR, SEMI_MINOR]) ** 2
    positions: Floats = (
        normal * squares / np.sqrt(np.sum(normal**2 * squares, axis=-1, keepdims=True))
    )
    return positions


def surface_of(dem: xr.DataArray) -> Surface:
    """Lay a smooth surface through a DEM without voids: metres above the ellipsoid, dims (y, x)."""
    heights = dem.values.astype(np.float64)
    coefficients = np.pad(spline_filter(heights, order=3, mode="mirror"), PAD, mode="reflect")
    rows, columns = (-(-size // BLOCK) for size in heights.shape)
    # A spline stays below the greatest of its coefficients.
    above = maximum_filter(coefficients, 2 * PAD + 1)[PAD:-PAD, PAD:-PAD]
    filled = np.full((rows * BLOCK, columns * BLOCK), -np.inf)
    filled[: heights.shape[0], : heights.shape[1]] = above
    greatest = filled.reshape(rows, BLOCK, columns, BLOCK).max(axis=(1, 3))
    ceiling = maximum_filter(greatest, 3, mode="nearest")
    return Surface(np.ascontiguousarray(coefficients), level_positions(dem), ceiling)


def path_of(orbit: Orbit, time: float) -> Path:
    """Lay one polynomial through the six state vectors around a time, in seconds of the orbit.

    It has degree 11, and is exact to micrometres with vectors 10 s apart.
    """
    nearest = np.sort(np.argsort(np.abs(orbit.time - time), kind="stable")[:VECTORS])
    times = orbit.time[nearest]
    half = 0.5 * float(times[-1] - times[0])
    middle = float(times[0]) + half
    place = (times - middle) / half
    degree = 2 * times.size - 1
    cheb = np.polynomial.chebyshev
    values = cheb.chebvander(place, degree)
    slopes = np.stack(
        [cheb.chebval(place, cheb.chebder(each)) for each in np.eye(degree + 1)], axis=1
    )
    known = np.concatenate([orbit.position[nearest], half * orbit.velocity[nearest]])
    fitted = np.linalg.solve(np.concatenate([values, slopes]), known)
    polynomial = np.zeros((degree + 1, 3))
    for axis in range(3):
        # Highest coefficients that are zero are left out by NumPy.
        powers = cheb.cheb2poly(fitted[:, axis])
        polynomial[: powers.size, axis] = powers
    return Path(polynomial, middle, half)


@numba.njit(**JIT)
def surface_height(coefficients: Floats, row: float, column: float) -> tuple[float, float, float]:
    """Return the height of the surface in metres, and by how much it grows per row and column.

    `row` and `column` lie at most half a cell beyond the outermost cells' middles.
    """
    i, j = math.floor(row), math.floor(column)
    t, u = row - i, column - j
    down = (
        (1.0 - t) ** 3 / 6.0,
        (3.0 * t**3 - 6.0 * t**2 + 4.0) / 6.0,
        (-3.0 * t**3 + 3.0 * t**2 + 3.0 * t + 1.0) / 6.0,
        t**3 / 6.0,
    )
    down_slope = (
        -0.5 * (1.0 - t) ** 2,
        0.5 * (3.0 * t**2 - 4.0 * t),
        0.5 * (-3.0 * t**2 + 2.0 * t + 1.0),
        0.5 * t**2,
    )
    across = (
        (1.0 - u) ** 3 / 6.0,
        (3.0 * u**3 - 6.0 * u**2 + 4.0) / 6.0,
        (-3.0 * u**3 + 3.0 * u**2 + 3.0 * u + 1.0) / 6.0,
        u**3 / 6.0,
    )
    across_slope = (
        -0.5 * (1.0 - u) ** 2,
        0.5 * (3.0 * u**2 - 4.0 * u),
        0.5 * (-3.0 * u**2 + 2.0 * u + 1.0),
        0.5 * u**2,
    )
    height, per_row, per_column = 0.0, 0.0, 0.0
    for m in range(4):
        line = coefficients[i + PAD - 1 + m]
        along, slope = 0.0, 0.0
        for n in range(4):
            value = line[j + PAD - 1 + n]
            along += across[n] * value
            slope += across_slope[n] * value
        height += down[m] * along
        per_row += down_slope[m] * along
        per_column += down[m] * slope
    return height, per_row, per_column


@numba.njit(**JIT)
def surface_frame(
    coefficients: Floats, level: Floats, row: float, column: float, frame: Floats
) -> tuple[float, float]:
    """Find the position and the directions of a place on the surface.

    `frame`, shape (4, 3), receives the position in metres, the vectors of one row and of one
    column at constant height in metres, and the ellipsoid's unit normal. Returned is by how much
    the height grows per row and per column, in metres.
    """
    i = min(max(math.floor(row + 0.5), 0), level.shape[0] - 3)
    j = min(max(math.floor(column + 0.5), 0), level.shape[1] - 3)
    t, u = row - i, column - j
    down = (0.5 * t * (t - 1.0), 1.0 - t * t, 0.5 * t * (t + 1.0))
    down_slope = (t - 0.5, -2.0 * t, t + 0.5)
    across = (0.5 * u * (u - 1.0), 1.0 - u * u, 0.5 * u * (u + 1.0))
    across_slope = (u - 0.5, -2.0 * u, u + 0.5)
    for axis in range(3):
        place, per_row, per_column = 0.0, 0.0, 0.0
        for m in range(3):
            for n in range(3):
                value = level[i + m, j + n, axis]
                place += down[m] * across[n] * value
                per_row += down_slope[m] * across[n] * value
                per_column += down[m] * across_slope[n] * value
        frame[0, axis], frame[1, axis], frame[2, axis] = place, per_row, per_column
    # The normal of the ellipsoid is the gradient (x/a², y/a², z/b²), made a unit vector; its
    # change along a vector is that of the gradient, less its part along the normal.
    inverse = (1.0 / SEMI_MAJOR**2, 1.0 / SEMI_MAJOR**2, 1.0 / SEMI_MINOR**2)
    length = 0.0
    for axis in range(3):
        frame[3, axis] = frame[0, axis] * inverse[axis]
        length += frame[3, axis] ** 2
    length = math.sqrt(length)
    for axis in range(3):
        frame[3, axis] /= length
    height, slope_row, slope_column = surface_height(coefficients, row, column)
    for vector in (1, 2):
        lean = 0.0
        for axis in range(3):
            lean += frame[3, axis] * frame[vector, axis] * inverse[axis] / length
        for axis in range(3):
            turn = frame[vector, axis] * inverse[axis] / length - frame[3, axis] * lean
            frame[vector, axis] += height * turn
    for axis in range(3):
        frame[0, axis] += height * frame[3, axis]
    return slope_row, slope_column


@numba.njit(**JIT)
def _state(polynomial: Floats, middle: float, half: float, time: float, state: Floats) -> None:
    """Fill position, velocity and acceleration, shape (3, 3), by Horner's rule."""
    u = (time - middle) / half
    for axis in range(3):
        place, speed, bend = 0.0, 0.0, 0.0
        for power in range(polynomial.shape[0] - 1, -1, -1):
            bend = bend * u + speed
            speed = speed * u + place
            place = place * u + polynomial[power, axis]
        state[0, axis] = place
        state[1, axis] = speed / half
        state[2, axis] = 2.0 * bend / half**2


@numba.njit(**JIT)
def zero_doppler(
    polynomial: Floats, middle: float, half: float, point: Floats, guess: float, state: Floats
) -> tuple[float, float]:
    """Return the zero-Doppler time of a point, shape (3,), and its slant range in metres.

    The time, and the `guess` of it, are seconds since the orbit's epoch. `state`, shape (3, 3),
    receives the satellite's position, velocity and acceleration at that time.
    """
    time = guess
    for _ in range(MOST_ROUNDS):
        _state(polynomial, middle, half, time, state)
        doppler, change = 0.0, 0.0
        for axis in range(3):
            sight = point[axis] - state[0, axis]
            doppler += state[1, axis] * sight
            change += state[2, axis] * sight - state[1, axis] ** 2
        step = doppler / change
        time -= step
        if abs(step) < TOLERANCE:
            break
    _state(polynomial, middle, half, time, state)
    square = 0.0
    for axis in range(3):
        square += (point[axis] - state[0, axis]) ** 2
    return time, math.sqrt(square)


@numba.njit(**JIT)
def level_course(frame: Floats, direction: Floats) -> tuple[float, float, float]:
    """Resolve a unit vector, shape (3,), into rows and columns by metre along it, and its rise.

    `frame` is that of `surface_frame`; the rise is the part along the normal.
    """
    upward = 0.0
    for axis in range(3):
        upward += direction[axis] * frame[3, axis]
    rr, rc, cc, r, c = 0.0, 0.0, 0.0, 0.0, 0.0
    for axis in range(3):
        level = direction[axis] - upward * frame[3, axis]
        rr += frame[1, axis] * frame[1, axis]
        rc += frame[1, axis] * frame[2, axis]
        cc += frame[2, axis] * frame[2, axis]
        r += frame[1, axis] * level
        c += frame[2, axis] * level
    area = rr * cc - rc * rc
    return (cc * r - rc * c) / area, (rr * c - rc * r) / area, upward


@numba.njit(**JIT)
def _radar_coordinates(
    polynomial: Floats,
    middle: float,
    half: float,
    points: Floats,
    time: Floats,
    slant_range: Floats,
) -> None:
    """Fill zero-Doppler times and slant ranges, shape (n,), of points, shape (n, 3)."""
    state = np.empty((3, 3))
    for k in range(time.size):
        time[k], slant_range[k] = zero_doppler(polynomial, middle, half, points[k], middle, state)


def radar_coordinates(points: Floats, path: Path) -> tuple[Floats, Floats]:
    """Return zero-Doppler times and slant ranges of points, shape (..., 3), Earth-fixed in metres.

    Times are seconds since the orbit's epoch, ranges metres, both of shape (...).
    """
    flat = np.ascontiguousarray(points.reshape(-1, 3))
    time, slant_range = np.empty(len(flat)), np.empty(len(flat))
    _radar_coordinates(path.polynomial, path.middle, path.half, flat, time, slant_range)
    return time.reshape(points.shape[:-1]), slant_range.reshape(points.shape[:-1])


@numba.njit(**JIT)
def cell_positions(coefficients: Floats, level: Floats, every: int, points: Floats) -> None:
    """Fill the positions of the middles of every so many cells, in metres, shape (m, n, 3)."""
    frame = np.empty((4, 3))
    for row in range(points.shape[0]):
        for column in range(points.shape[1]):
            surface_frame(coefficients, level, float(row * every), float(column * every), frame)
            points[row, column] = frame[0]


def locate_cells(surface: Surface, path: Path, *, every: int = 1) -> tuple[Floats, Floats]:
    """Return zero-Doppler times and slant ranges of the middles of every so many cells.

    Times are seconds since the orbit's epoch, ranges metres, shape (rows / every, columns / every),
    rounded up.
    """
    rows, columns = (-(-size // every) for size in surface.shape)
    points = np.empty((rows, columns, 3))
    cell_positions(surface.coefficients, surface.level, every, points)
    return radar_coordinates(points, path)


def ellipsoid_points(path: Path, time: Floats, slant_range: Floats, side: float) -> Floats:
    """Return the points of the ellipsoid at zero-Doppler times and slant ranges, shape (n, 3).

    `time` is in seconds since the orbit's epoch; `side` is 1 where the radar looks to the right,
    -1 to the left. Points are Earth-fixed in metres.
    """
    state = np.empty((time.size, 3, 3))
    for k in range(time.size):
        _state(path.polynomial, path.middle, path.half, float(time[k]), state[k])
    position = state[:, 0]
    forward = state[:, 1] / np.linalg.norm(state[:, 1], axis=1, keepdims=True)
    down = np.sum(position * forward, axis=1, keepdims=True) * forward - position
    down /= np.linalg.norm(down, axis=1, keepdims=True)
    sideways = side * np.cross(down, forward)
    axes = np.array([SEMI_MAJOR, SEMI_MAJOR, SEMI_MINOR])
    look = np.full(time.size, np.radians(30.0))
    for _ in range(MOST_ROUNDS):
        # Newton's method for the look angle at which the point lies on the ellipsoid.
        ray = np.cos(look)[:, None] * down + np.sin(look)[:, None] * sideways
        turn = np.cos(look)[:, None] * sideways - np.sin(look)[:, None] * down
        point: Floats = position + slant_range[:, None] * ray
        outside = np.sum((point / axes) ** 2, axis=1) - 1.0
        look -= outside / (2.0 * slant_range * np.sum(point * turn / axes**2, axis=1))
    return point
