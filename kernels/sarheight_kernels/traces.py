"""Profiles: cuts through the terrain in the planes of zero Doppler.

A profile follows the columns of a DEM and interpolates between its rows; for a DEM whose rows run
along the line of sight the caller passes everything transposed. What changes slowly along it is
found at knots, every `KNOT` columns, and is linear in between.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.orbit import evaluate_orbit

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["Knots", "knots_of", "trace_profile"]

Knots = tuple[int, float, int, NDArray[np.float64]]
Found = tuple[float, float, float, float, float, float, float]

KNOT = 32
"""Columns between the places where the coefficients of a profile are computed afresh."""
NEAR = 1e-4
"""Rows within which the place of a knot is taken to be found: the next step is far smaller."""
REACH = 0.6
"""Rows by which a profile may miss the cells that it serves."""


@njit
def knots_of(ground: GroundModel, columns: int) -> Knots:
    """Cut the columns of a ground model at which profiles have their knots.

    Parameters
    ----------
    ground : GroundModel
        The model.
    columns : int
        Columns of the DEM.

    Returns
    -------
    block_rows, half_rows
        As in the model.
    blocks : int
        Blocks down.
    curves : array, shape (blocks * knots, 6 * (degree + 1))
        Along the column of each knot, coefficients of position and normal in powers of the
        scaled row alone; the highest power first.
    """
    blocks, blocks_across, size = ground.coefficients.shape[:3]
    knots = (columns - 1) // KNOT + 2
    curves = np.zeros((knots * blocks, 6 * size))
    for knot in range(knots):
        column = float(knot * KNOT)
        across = min(int(column) // ground.block_columns, blocks_across - 1)
        v = (column - (across + 0.5) * ground.block_columns + 0.5) / ground.half_columns
        for down in range(blocks):
            curve = curves[knot * blocks + down]
            for i in range(size):
                for j in range(size - 1, -1, -1):
                    for k in range(6):
                        coefficient = ground.coefficients[down, across, size - 1 - i, j, k]
                        curve[6 * i + k] = curve[6 * i + k] * v + coefficient
    return ground.block_rows, ground.half_rows, blocks, curves


@njit
def _cross_column(
    knots: Knots, knot: int, height: float, guess: float, state: NDArray[np.float64]
) -> Found:
    """Find the row, position and normal where the column of a knot crosses a zero-Doppler plane."""
    block_rows, half_rows, blocks, curves = knots
    flat, row = curves.reshape(curves.size), guess
    x = y = z = nx = ny = nz = 0.0
    for _ in range(20):
        down = min(max(int(row) // block_rows, 0), blocks - 1)
        begin = (knot * blocks + down) * curves.shape[1]
        u = (row - (down + 0.5) * block_rows + 0.5) / half_rows
        x = y = z = nx = ny = nz = dx = dy = dz = 0.0
        # Unsigned indices are not checked for counting from the end.
        for i in range(np.uint64(begin), np.uint64(begin + curves.shape[1]), np.uint64(6)):
            dx, dy, dz = dx * u + x, dy * u + y, dz * u + z
            x = x * u + flat[i]
            y = y * u + flat[i + np.uint64(1)]
            z = z * u + flat[i + np.uint64(2)]
            nx = nx * u + flat[i + np.uint64(3)]
            ny = ny * u + flat[i + np.uint64(4)]
            nz = nz * u + flat[i + np.uint64(5)]
        doppler = (
            state[3] * (x + height * nx - state[0])
            + state[4] * (y + height * ny - state[1])
            + state[5] * (z + height * nz - state[2])
        )
        step = half_rows * doppler / (state[3] * dx + state[4] * dy + state[5] * dz)
        row -= step
        if not abs(step) > NEAR:
            # Over so short a step the column is straight.
            step /= half_rows
            x, y, z = x - step * dx, y - step * dy, z - step * dz
            break
    return row, x, y, z, nx, ny, nz


@njit
def _find_rows(table: NDArray[np.float64], row: NDArray[np.float64]) -> None:
    """Find the row at which a profile crosses each column."""
    for knot in range(table.shape[0] - 1):
        left, change = table[knot, 0], table[knot + 1, 0] - table[knot, 0]
        span = row[knot * KNOT : (knot + 1) * KNOT]
        for k in range(span.size):
            span[k] = left + k / KNOT * change


@njit
def _look_up(
    heights: NDArray[np.float32],
    upper: NDArray[np.int32],
    here: NDArray[np.float32],
    there: NDArray[np.float32],
) -> None:
    """Look up the heights above and below a profile."""
    # Unsigned indices are not checked for counting from the end.
    flat, wide = heights.reshape(heights.size), np.uint64(heights.shape[1])
    below = wide if heights.shape[0] > 1 else np.uint64(0)
    for column in range(upper.size):
        place = np.uint64(upper[column]) * wide + np.uint64(column)
        here[column] = flat[place]
        there[column] = flat[place + below]


@njit
def _find_heights(
    heights: NDArray[np.float32], row: NDArray[np.float64], height: NDArray[np.float64]
) -> None:
    """Find the heights at the rows of a profile; NaN in a void and beyond the DEM.

    A profile passes the cells that it serves within half a row, on either side. Beside a void or
    the DEM's edge the last cell's height serves as far as that, and a little more.
    """
    last = heights.shape[0] - 1.0
    lowest = max(heights.shape[0] - 2, 0)
    upper, fraction = np.empty(row.size, np.int32), np.empty(row.size)
    here, there = np.empty(row.size, np.float32), np.empty(row.size, np.float32)
    for column in range(row.size):
        # A row that is not a number comes out as the first one.
        inside = row[column] if row[column] > 0.0 else 0.0
        inside = min(inside, last)
        upper[column] = min(np.int32(inside), lowest)
        fraction[column] = inside - upper[column]
    _look_up(heights, upper, here, there)
    for column in range(row.size):
        above, below, part = here[column], there[column], fraction[column]
        found = (1.0 - part) * above + part * below
        found = below if math.isnan(above) & (1.0 - part <= REACH) else found
        found = above if math.isnan(below) & (part <= REACH) else found
        within = (row[column] >= -REACH) & (row[column] <= last + REACH)
        height[column] = found if within else math.nan


@njit
def _place(
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
) -> None:
    """Turn the heights between two knots, given as `outward`, into coordinates."""
    out, out_change = left[1], right[1] - left[1]
    out_up, out_up_change = left[2], right[2] - left[2]
    deep, deep_change = left[3], right[3] - left[3]
    deep_up, deep_up_change = left[4], right[4] - left[4]
    for k in range(outward.size):
        part, height = k / KNOT, outward[k]
        outward[k] = out + part * out_change + height * (out_up + part * out_up_change)
        downward[k] = deep + part * deep_change + height * (deep_up + part * deep_up_change)


@njit
def trace_profile(
    knots: Knots,
    radar: RadarModel,
    heights: NDArray[np.float32],
    time: float,
    reference_height: float,
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
) -> None:
    """Cut a profile through the terrain in the plane of zero Doppler at one time.

    Parameters
    ----------
    knots : tuple
        Columns of the knots, from `knots_of`.
    radar : RadarModel
        The model.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    time : float
        Zero-Doppler time in seconds.
    reference_height : float
        Height at which the trace of the plane on the ground is followed, in metres. The plane
        stands upright to a few thousandths, so terrain above or below is off by metres at most.
    outward, downward : array, shape (columns,)
        Receive the coordinates of the terrain in metres; NaN where there is none.
    """
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    state = np.array((px, py, pz, vx, vy, vz))
    speed = math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / speed, vy / speed, vz / speed
    along = px * vx + py * vy + pz * vz
    dx, dy, dz = along * vx - px, along * vy - py, along * vz - pz
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / length, dy / length, dz / length
    ex = radar.side * (dy * vz - dz * vy)
    ey = radar.side * (dz * vx - dx * vz)
    ez = radar.side * (dx * vy - dy * vx)

    table = np.empty((knots[3].shape[0] // knots[2], 5))
    row = change = bend = 0.0
    for knot in range(table.shape[0]):
        guess = row + change + bend if knot > 0 else 0.5 * heights.shape[0]
        found, x, y, z, nx, ny, nz = _cross_column(knots, knot, reference_height, guess, state)
        if knot > 1:
            bend = found - row - change
        if knot > 0:
            change = found - row
        row = found
        x, y, z = x - px, y - py, z - pz
        table[knot, 0] = row
        table[knot, 1] = x * ex + y * ey + z * ez
        table[knot, 2] = nx * ex + ny * ey + nz * ez
        table[knot, 3] = x * dx + y * dy + z * dz
        table[knot, 4] = nx * dx + ny * dy + nz * dz
    _find_rows(table, downward)
    _find_heights(heights, downward, outward)
    for knot in range(table.shape[0] - 1):
        span = slice(knot * KNOT, (knot + 1) * KNOT)
        _place(table[knot], table[knot + 1], outward[span], downward[span])
