r"""Layover and shadow by scanning terrain profiles.

At one azimuth time the radar sees the plane at a right angle to its velocity. In that plane a
point of the terrain has two coordinates from the satellite: :math:`E` outwards (to the side the
radar looks) and :math:`D` downwards. Both are linear in height,

.. math:: E = E_0(c) + h \, E_1(c), \qquad D = D_0(c) + h \, D_1(c),

with coefficients that change smoothly along the profile. Its slant range is
:math:`\sqrt{E^2 + D^2}` and the tangent of its look angle is :math:`E / D`. Walking outwards,

- a point is in shadow where its look angle is below the largest one so far;
- a point is in layover where its slant range is below the largest so far, or, walking back,
  above the smallest so far;
- layover and shadow are active where slant range or look angle fall outwards at the point
  itself, and passive elsewhere.

A profile follows the columns of the DEM and interpolates between its rows; for a DEM whose rows
run along the line of sight the caller passes everything transposed.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.models import (
    GroundModel,
    RadarModel,
    ground_block,
    ground_position,
    radar_segment,
    sample,
    stamp,
)
from sarheight_kernels.orbit import evaluate_orbit

__all__ = [
    "ACTIVE_LAYOVER",
    "ACTIVE_SHADOW",
    "CLEAR",
    "FORESHORTENING",
    "LAYOVER_AND_SHADOW",
    "NO_DATA",
    "PASSIVE_LAYOVER",
    "PASSIVE_SHADOW",
    "classify",
    "count_sheets",
    "shade",
    "trace_profile",
]

CLEAR = 0
FORESHORTENING = 1
ACTIVE_LAYOVER = 2
PASSIVE_LAYOVER = 3
ACTIVE_SHADOW = 4
PASSIVE_SHADOW = 5
LAYOVER_AND_SHADOW = 6
NO_DATA = 255

KNOT = 32
"""Columns between the places where the coefficients of a profile are computed afresh."""
REACH = 0.6
"""Rows by which a profile may miss the cells that it serves."""
TIE = 1e-12
"""Relative difference below which two slant ranges or tangents count as equal."""


@njit
def _height_between(heights: NDArray[np.float32], row: float, column: int) -> float:
    """Height between two rows of a column; NaN in a void and beyond the DEM.

    A profile passes the cells that it serves within half a row, on either side. Beside a void or
    the DEM's edge the last cell's height serves as far as that, and a little more.
    """
    last = heights.shape[0] - 1.0
    if not -REACH <= row <= last + REACH:
        return math.nan
    row = min(max(row, 0.0), last)
    upper = min(int(row), max(heights.shape[0] - 2, 0))
    fraction = row - upper
    here, there = heights[upper, column], heights[min(upper + 1, heights.shape[0] - 1), column]
    height = (1.0 - fraction) * here + fraction * there
    if not math.isnan(height):
        return height
    if fraction == 0.0:
        return float(heights[upper, column])
    above, below = float(heights[upper, column]), float(heights[upper + 1, column])
    if math.isnan(above):
        return below if 1.0 - fraction <= REACH else math.nan
    if math.isnan(below):
        return above if fraction <= REACH else math.nan
    return (1.0 - fraction) * above + fraction * below


@njit
def _row_at_zero_doppler(
    ground: GroundModel,
    column: float,
    height: float,
    guess: float,
    state: NDArray[np.float64],
) -> float:
    """Find the row at which a column crosses the plane of zero Doppler."""
    row = guess
    for _ in range(20):
        down, across = ground_block(ground, row, column)
        x, y, z, nx, ny, nz = ground_position(ground, down, across, row, column)
        fx, fy, fz, _, _, _ = ground_position(ground, down, across, row + 1.0, column)
        doppler = (
            state[3] * (x + height * nx - state[0])
            + state[4] * (y + height * ny - state[1])
            + state[5] * (z + height * nz - state[2])
        )
        slope = state[3] * (fx - x) + state[4] * (fy - y) + state[5] * (fz - z)
        step = doppler / slope
        row -= step
        if not abs(step) > 1e-4:
            break
    return row


@njit
def trace_profile(
    ground: GroundModel,
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
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    time : float
        Zero-Doppler time in seconds.
    reference_height : float
        Height at which the trace of the plane on the ground is followed, in metres. The plane
        stands upright to about a thousandth, so terrain above or below is off by metres at most.
    outward, downward : array, shape (columns,)
        Receive the coordinates of the terrain in metres; NaN where there is none.
    """
    columns = heights.shape[1]
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

    knots = (columns - 1) // KNOT + 2
    table = np.empty((knots, 5))
    row = 0.5 * heights.shape[0]
    for knot in range(knots):
        column = float(knot * KNOT)
        row = _row_at_zero_doppler(ground, column, reference_height, row, state)
        down, across = ground_block(ground, row, column)
        x, y, z, nx, ny, nz = ground_position(ground, down, across, row, column)
        x, y, z = x - px, y - py, z - pz
        table[knot, 0] = row
        table[knot, 1] = x * ex + y * ey + z * ez
        table[knot, 2] = nx * ex + ny * ey + nz * ez
        table[knot, 3] = x * dx + y * dy + z * dz
        table[knot, 4] = nx * dx + ny * dy + nz * dz
    for column in range(columns):
        knot = column // KNOT
        fraction = (column - knot * KNOT) / KNOT
        left, right = table[knot], table[knot + 1]
        height = _height_between(heights, left[0] + fraction * (right[0] - left[0]), column)
        outward[column] = (
            left[1]
            + fraction * (right[1] - left[1])
            + height * (left[2] + fraction * (right[2] - left[2]))
        )
        downward[column] = (
            left[3]
            + fraction * (right[3] - left[3])
            + height * (left[4] + fraction * (right[4] - left[4]))
        )


@njit
def _neighbour(values: NDArray[np.float64], index: int, step: int) -> int:
    """Index of the neighbour, or of the point itself where there is none."""
    other = index + step
    if 0 <= other < values.size and not math.isnan(values[other]):
        return other
    return index


@njit
def _scan(outward: NDArray[np.float64]) -> tuple[int, int, int]:
    """First index, step and number of points of a scan from near to far, without void ends."""
    first, last = 0, outward.size - 1
    while first < last and math.isnan(outward[first]):
        first += 1
    while last > first and math.isnan(outward[last]):
        last -= 1
    count = last - first + 1
    return (first, 1, count) if outward[last] >= outward[first] else (last, -1, count)


@njit
def _together(layover: int, shadow: int) -> int:
    """Category of a point of its part in layover and its part in shadow, either may be clear."""
    if CLEAR not in (layover, shadow):
        return LAYOVER_AND_SHADOW
    return layover if layover != CLEAR else shadow


@njit
def classify(
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
    compression: float,
    category: NDArray[np.uint8],
) -> None:
    """Classify the points of a profile.

    Parameters
    ----------
    outward, downward : array, shape (n,)
        Coordinates of the points in metres, from near to far or from far to near; NaN where
        there is no terrain.
    compression : float
        A slope that faces the radar counts as foreshortened where its slant range grows by less
        than this fraction of what it would over flat ground.
    category : array, shape (n,)
        Receives the category of each point.
    """
    slant = np.sqrt(outward * outward + downward * downward)
    tangent = outward / downward
    begin, step, count = _scan(outward)
    category[:] = NO_DATA

    farthest, highest = -math.inf, -math.inf
    for k in range(count):
        i = begin + k * step
        if math.isnan(outward[i]):
            continue
        before, after = _neighbour(outward, i, -step), _neighbour(outward, i, step)
        growth = slant[after] - slant[before]
        layover = PASSIVE_LAYOVER if slant[i] < farthest * (1.0 - TIE) else CLEAR
        shadow = PASSIVE_SHADOW if tangent[i] < highest * (1.0 - TIE) else CLEAR
        category[i] = _together(
            ACTIVE_LAYOVER if growth < 0.0 else layover,
            ACTIVE_SHADOW if tangent[after] < tangent[before] else shadow,
        )
        flat = (outward[after] - outward[before]) * outward[i] / slant[i]
        if category[i] == CLEAR and growth < compression * flat:
            category[i] = FORESHORTENING
        farthest, highest = max(farthest, slant[i]), max(highest, tangent[i])

    nearest = math.inf
    for k in range(count - 1, -1, -1):
        i = begin + k * step
        if math.isnan(outward[i]):
            continue
        if slant[i] > nearest * (1.0 + TIE):
            if category[i] in (CLEAR, FORESHORTENING):
                category[i] = PASSIVE_LAYOVER
            elif category[i] in (ACTIVE_SHADOW, PASSIVE_SHADOW):
                category[i] = LAYOVER_AND_SHADOW
        nearest = min(nearest, slant[i])


@njit
def shade(
    outward: NDArray[np.float64], downward: NDArray[np.float64], lit: NDArray[np.uint8]
) -> None:
    """Tell which points of a profile the radar lights: those that `classify` finds no shadow on.

    Parameters
    ----------
    outward, downward : array, shape (n,)
        Coordinates of the points in metres, from near to far or from far to near; NaN where
        there is no terrain.
    lit : array, shape (n,)
        Receives 1 where a point is lit, 0 where it is in shadow or there is no terrain.
    """
    tangent = outward / downward
    begin, step, count = _scan(outward)
    lit[:] = 0
    highest = -math.inf
    for k in range(count):
        i = begin + k * step
        here = tangent[i]
        if not math.isnan(here):
            before = tangent[i - step] if 0 <= i - step < tangent.size else here
            after = tangent[i + step] if 0 <= i + step < tangent.size else here
            before = here if math.isnan(before) else before
            after = here if math.isnan(after) else after
            lit[i] = here >= highest * (1.0 - TIE) and after >= before
            highest = max(highest, here)


@njit
def count_sheets(
    radar: RadarModel,
    time: float,
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
    category: NDArray[np.uint8],
    place: NDArray[np.float64],
    sheets: NDArray[np.int32],
) -> None:
    """Count for each sample how many sheets of terrain lie at its slant range.

    Parameters
    ----------
    radar : RadarModel
        The model.
    time : float
        Zero-Doppler time of the profile in seconds.
    outward, downward : array, shape (n,)
        Coordinates of the profile in metres; NaN where there is no terrain.
    category : array, shape (n,)
        Category of each point, from `classify`.
    place : array, shape (n,)
        Receives the sample of each point; NaN where there is none.
    sheets : array, shape (samples, 4)
        Receives for the centre of each sample the number of sheets that are lit, in shadow,
        lit and in active layover, lit and foreshortened.
    """
    samples = sheets.shape[0]
    segment = radar_segment(radar, time)
    for i in range(outward.size):
        slant_range = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        place[i] = sample(radar, segment, stamp(radar, time, slant_range), slant_range)
    sheets[:, :] = 0
    for i in range(outward.size - 1):
        low, high = min(place[i], place[i + 1]), max(place[i], place[i + 1])
        if math.isnan(low) or math.isnan(high) or high < 0.0 or low >= samples - 1.0:
            continue
        from_sample = math.floor(max(low, -1.0)) + 1
        end_sample = min(math.floor(high) + 1, samples)
        if from_sample >= end_sample:
            continue
        here, there = category[i], category[i + 1]
        unlit = here >= ACTIVE_SHADOW and there >= ACTIVE_SHADOW
        folded = here == ACTIVE_LAYOVER and there == ACTIVE_LAYOVER
        pressed = FORESHORTENING in (here, there)
        for s in range(from_sample, end_sample):
            if unlit:
                sheets[s, 1] += 1
            else:
                sheets[s, 0] += 1
                sheets[s, 2] += folded
                sheets[s, 3] += pressed
