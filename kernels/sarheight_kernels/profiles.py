r"""Terrain profiles: layover and shadow in the planes of zero Doppler.

At one azimuth time the radar sees the plane at a right angle to its velocity. In that plane a
point of the terrain has two coordinates from the satellite: :math:`E` outwards (to the side the
radar looks) and :math:`D` downwards. Both are linear in height,

.. math:: E = E_0(c) + h \, E_1(c), \qquad D = D_0(c) + h \, D_1(c),

with coefficients that change smoothly along the profile. Its slant range is
:math:`\sqrt{E^2 + D^2}` and the tangent of its look angle is :math:`E / D`. Of an image that is
focused to a Doppler centroid (`sarheight_kernels.doppler`) the plane is a cone about the velocity:
:math:`\sqrt{E^2 + D^2}` is then the distance to the line of flight, which grows with slant range,
and places with the same :math:`E / D` lie on one line of sight, so layover and shadow are found in
the same way. Scanning outwards,

- a point is in shadow where its look angle is below the largest one so far;
- a point is in layover where its slant range is below the largest so far or, scanning back,
  above the smallest so far;
- layover and shadow are active where slant range or look angle decrease outwards at the point
  itself, and passive elsewhere.

Only the largest and smallest values so far depend on the point before. All else depends on a
point and its neighbours, in passes over whole profiles without a branch for voids.

A profile follows the columns of a DEM and interpolates between its rows; for a DEM whose rows run
along the line of sight the caller transposes everything. What changes slowly along it is computed
at knots, every `KNOT_SPACING` columns, and is linear in between. The profiles of a part of the work
use the same arrays in turn (`Profile`): threads take memory from one heap, one at a time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sarheight_kernels._numba import F4, F8, I4, I8, U1, njit
from sarheight_kernels.doppler import closing_speed, fit_stretch, is_native, is_squinted
from sarheight_kernels.models import RadarModel, annotated_time, range_sample, range_segment
from sarheight_kernels.orbit import evaluate_orbit

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel

CLEAR = 0
FORESHORTENING = 1
ACTIVE_LAYOVER = 2
PASSIVE_LAYOVER = 3
ACTIVE_SHADOW = 4
PASSIVE_SHADOW = 5
LAYOVER_AND_SHADOW = 6
NO_DATA = 255

TIE = 1e-12
"""Relative difference below which two slant ranges or tangents count as equal."""


KNOT_SPACING = 32
"""Columns between the knots of a profile."""


@njit
def _knots(columns: int) -> int:
    """Count the knots of a profile: from the first column to the last and beyond."""
    return (columns - 1) // KNOT_SPACING + 2


class Scan(NamedTuple):
    """A DEM that is scanned along profiles through its columns.

    Attributes
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    first_time, interval : float
        Zero-Doppler time of the first profile and time between profiles, in seconds.
    reference_height : float
        Height in metres at which the trace of a plane on the ground is followed. The plane stands
        upright to a few thousandths, so terrain above or below is off by metres at most, as it is
        at a slight squint. A cone leans by its squint, and at larger ones it is followed to the
        terrain.
    """

    ground: GroundModel
    radar: RadarModel
    heights: F4
    first_time: float
    interval: float
    reference_height: float


class Profile(NamedTuple):
    """A profile of n points, and arrays for what is computed along it on the way."""

    outward: F8  # (n,): coordinates of the terrain in metres; NaN where there is none
    downward: F8
    sample: F8  # (n,): place in an image
    numbers: F8  # (6, n)
    singles: F4  # (2, n)
    indices: I4  # (2, n)
    counts: I8  # (n,)
    codes: U1  # (2, n)
    table: F8  # (knots, 5): row and coordinates at the knots, see `trace_profile`


@njit
def empty_profile(columns: int) -> Profile:
    """Make the arrays of a profile through so many columns; their values are arbitrary."""
    return Profile(
        np.empty(columns),
        np.empty(columns),
        np.empty(columns),
        np.empty((6, columns)),
        np.empty((2, columns), np.float32),
        np.empty((2, columns), np.int32),
        np.empty(columns, np.int64),
        np.empty((2, columns), np.uint8),
        np.empty((_knots(columns), 5)),
    )


@njit
def _direction(outward: F8) -> int:
    """Find the step from near to far, 1 or -1, by the ends of a profile without voids."""
    first, last = 0, outward.size - 1
    while first < last and math.isnan(outward[first]):
        first += 1
    while last > first and math.isnan(outward[last]):
        last -= 1
    return 1 if outward[last] >= outward[first] else -1


@njit
def _growth(values: F8, step: int, growth: F8) -> None:
    """Find how much values grow outwards from one neighbour of a point to the other.

    A missing neighbour is replaced by the point itself.
    """
    left, middle, right, inner = values[:-2], values[1:-1], values[2:], growth[1:-1]
    for i in range(inner.size):
        here = middle[i]
        before = here if math.isnan(left[i]) else left[i]
        after = here if math.isnan(right[i]) else right[i]
        inner[i] = step * (after - before)
    last = values.size - 1
    for i in (0, last):
        here, before, after = values[i], values[max(i - 1, 0)], values[min(i + 1, last)]
        before = here if math.isnan(before) else before
        after = here if math.isnan(after) else after
        growth[i] = step * (after - before)


@njit
def _largest_before(values: F8, step: int, largest: F8) -> None:
    """Find for each value the largest one before it; minus infinity where there is none."""
    so_far = -math.inf
    first = 0 if step > 0 else values.size - 1
    for k in range(values.size):
        i = np.uint64(first + k * step)
        largest[i] = so_far
        so_far = values[i] if values[i] > so_far else so_far


@njit
def _smallest_after(values: F8, step: int, smallest: F8) -> None:
    """Find for each value the smallest one after it; infinity where there is none."""
    so_far = math.inf
    first = values.size - 1 if step > 0 else 0
    for k in range(values.size):
        i = np.uint64(first - k * step)
        smallest[i] = so_far
        so_far = values[i] if values[i] < so_far else so_far


@njit
def _find_shadow(tangent: F8, step: int, growth: F8, highest: F8, shadow: U1) -> None:
    """Mark the points in shadow, active or passive, by the tangents of their look angles.

    `growth` and `highest` receive the growth of tangents, and the largest one before each point.
    """
    _growth(tangent, step, growth)
    _largest_before(tangent, step, highest)
    for i in range(tangent.size):
        passive = PASSIVE_SHADOW if tangent[i] < highest[i] * (1.0 - TIE) else CLEAR
        shadow[i] = ACTIVE_SHADOW if growth[i] < 0.0 else passive


@njit
def _find_layover(slant: F8, growth: F8, step: int, farthest: F8, nearest: F8, layover: U1) -> None:
    """Mark the points in layover, active or passive, by their slant ranges and their growth.

    `farthest` and `nearest` receive the largest range before and the smallest after each point.
    """
    _largest_before(slant, step, farthest)
    _smallest_after(slant, step, nearest)
    for i in range(slant.size):
        in_layover = (slant[i] < farthest[i] * (1.0 - TIE)) | (slant[i] > nearest[i] * (1.0 + TIE))
        passive = PASSIVE_LAYOVER if in_layover else CLEAR
        layover[i] = ACTIVE_LAYOVER if growth[i] < 0.0 else passive


@njit
def classify(profile: Profile, foreshortening: float, category: U1) -> None:
    """Classify the points of a profile.

    Parameters
    ----------
    profile : Profile
        A profile with coordinates, from near to far or from far to near.
    foreshortening : float
        A slope that faces the radar counts as foreshortened where its slant range grows by less
        than this fraction of what it would over flat ground.
    category : array, shape (n,)
        Receives the category of each point.
    """
    outward, downward, numbers = profile.outward, profile.downward, profile.numbers
    size, step = outward.size, _direction(outward)
    slant, tangent, growth, threshold = numbers[0], numbers[1], numbers[2], numbers[3]
    for i in range(size):
        slant[i] = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        tangent[i] = outward[i] / downward[i]
    _growth(slant, step, growth)
    _growth(outward, step, threshold)
    for i in range(size):
        # Over flat ground dR = (E / R) dE.
        threshold[i] = foreshortening * (threshold[i] * outward[i] / slant[i])
    layover, shadow = profile.codes[0], profile.codes[1]
    _find_layover(slant, growth, step, numbers[4], numbers[5], layover)
    _find_shadow(tangent, step, numbers[4], numbers[5], shadow)
    for i in range(size):
        foreshortened = FORESHORTENING if growth[i] < threshold[i] else CLEAR
        either = layover[i] + shadow[i]
        both = layover[i] * shadow[i] > 0
        code = LAYOVER_AND_SHADOW if both else foreshortened if either == CLEAR else either
        category[i] = NO_DATA if math.isnan(slant[i]) else code


@njit
def illuminate_profile(profile: Profile, illuminated: U1) -> None:
    """Mark the illuminated points of a profile by 1: those on which `classify` finds no shadow.

    Arguments are those of `classify`; `illuminated` is 0 where there is no terrain, too.
    """
    outward, downward = profile.outward, profile.downward
    tangent, growth, highest = profile.numbers[0], profile.numbers[1], profile.numbers[2]
    for i in range(outward.size):
        tangent[i] = outward[i] / downward[i]
    _find_shadow(tangent, _direction(outward), growth, highest, illuminated)
    for i in range(outward.size):
        illuminated[i] = (illuminated[i] == CLEAR) & ~math.isnan(tangent[i])


KnotColumns = tuple[int, float, int, F8]
Crossing = tuple[float, float, float, float, float, float, float]

ROW_TOLERANCE = 1e-4
"""Rows; after so short a step the next, by quadratic convergence, would be far smaller."""
RISE = 100.0
"""Metres of height over which the lean of a cone is found, by a difference."""
LEAN_STEPS = 4
"""Each divides the error by the slope times the lean, by four and more."""
VOID_REACH = 0.6
"""Rows beyond a void's or the DEM's edge as far as which the last height is used."""


@njit
def knot_columns(ground: GroundModel, columns: int) -> KnotColumns:
    """Cut the columns of a ground model at which profiles have their knots.

    Returns patch size and half size in rows and patchs down, as in the model, and along the column
    of each knot the coefficients of position and normal in powers of the scaled row, the highest
    first: shape (knots * patchs, 6 * (degree + 1)).
    """
    patchs, patchs_across, size = ground.coefficients.shape[:3]
    knots = _knots(columns)
    curves = np.zeros((knots * patchs, 6 * size))
    for knot in range(knots):
        column = float(knot * KNOT_SPACING)
        across = min(int(column) // ground.patch_columns, patchs_across - 1)
        v = (column - (across + 0.5) * ground.patch_columns + 0.5) / ground.half_columns
        for down in range(patchs):
            curve = curves[knot * patchs + down]
            for i in range(size):
                for j in range(size - 1, -1, -1):
                    for k in range(6):
                        coefficient = ground.coefficients[down, across, size - 1 - i, j, k]
                        curve[6 * i + k] = curve[6 * i + k] * v + coefficient
    return ground.patch_rows, ground.half_rows, patchs, curves


@njit
def _cross_column(
    knots: KnotColumns,
    knot: int,
    height: float,
    guess: float,
    state: F8,
    radar: RadarModel,
    time: float,
) -> Crossing:
    """Find row, position and normal where a knot's column crosses a zero-Doppler plane.

    Newton's method in the row for v . (P - s) = 0; `state` holds s and v of the satellite. At a
    Doppler centroid it is v . (P - s) = q R with the closing speed q at the slant range R.
    """
    patch_rows, half_rows, patchs, curves = knots
    flat, row = curves.reshape(curves.size), guess
    x = y = z = nx = ny = nz = 0.0
    for _ in range(20):
        down = min(max(int(row) // patch_rows, 0), patchs - 1)
        begin = (knot * patchs + down) * curves.shape[1]
        u = (row - (down + 0.5) * patch_rows + 0.5) / half_rows
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
        slope = state[3] * dx + state[4] * dy + state[5] * dz
        if is_native(radar):
            ex, ey, ez = (
                x + height * nx - state[0],
                y + height * ny - state[1],
                z + height * nz - state[2],
            )
            distance = math.sqrt(ex * ex + ey * ey + ez * ez)
            closing, _, per_range = closing_speed(radar, time, distance)
            doppler -= closing * distance
            slope -= (closing / distance + per_range) * (ex * dx + ey * dy + ez * dz)
        step = half_rows * doppler / slope
        row -= step
        if not abs(step) > ROW_TOLERANCE:
            # Over so short a step the column is straight: the derivative serves.
            step /= half_rows
            x, y, z = x - step * dx, y - step * dy, z - step * dz
            break
    return row, x, y, z, nx, ny, nz


@njit
def _interpolate_rows(table: F8, row: F8) -> None:
    """Find the row at which a profile crosses each column."""
    for knot in range(table.shape[0] - 1):
        left, change = table[knot, 0], table[knot + 1, 0] - table[knot, 0]
        span = row[knot * KNOT_SPACING : (knot + 1) * KNOT_SPACING]
        for k in range(span.size):
            span[k] = left + k / KNOT_SPACING * change


@njit
def _heights_beside(heights: F4, upper: I4, here: F4, there: F4) -> None:
    """Look up the heights in the rows above and below a profile, shape (columns,)."""
    # Unsigned indices are not checked for counting from the end.
    flat, wide = heights.reshape(heights.size), np.uint64(heights.shape[1])
    below = wide if heights.shape[0] > 1 else np.uint64(0)
    for column in range(upper.size):
        index = np.uint64(upper[column]) * wide + np.uint64(column)
        here[column] = flat[index]
        there[column] = flat[index + below]


@njit
def _find_heights(heights: F4, row: F8, profile: Profile, height: F8) -> None:
    """Interpolate heights at the rows of a profile; NaN in a void and beyond the DEM.

    A profile passes the cells that it serves within half a row, on either side. Beside a void or
    the DEM's edge the last cell's height is used as far as that, and a little more.
    """
    last = heights.shape[0] - 1.0
    lowest = max(heights.shape[0] - 2, 0)
    upper, fraction = profile.indices[0], profile.numbers[0]
    here, there = profile.singles[0], profile.singles[1]
    for column in range(row.size):
        # A row of NaN becomes the first one.
        inside = row[column] if row[column] > 0.0 else 0.0
        inside = min(inside, last)
        upper[column] = min(np.int32(inside), lowest)
        fraction[column] = inside - upper[column]
    _heights_beside(heights, upper, here, there)
    for column in range(row.size):
        above, below, part = here[column], there[column], fraction[column]
        height_here = (1.0 - part) * above + part * below
        height_here = below if math.isnan(above) & (1.0 - part <= VOID_REACH) else height_here
        height_here = above if math.isnan(below) & (part <= VOID_REACH) else height_here
        within = (row[column] >= -VOID_REACH) & (row[column] <= last + VOID_REACH)
        height[column] = height_here if within else math.nan


@njit
def _lean_table(
    knots: KnotColumns,
    radar: RadarModel,
    time: float,
    reference_height: float,
    state: F8,
    axes: F8,
    table: F8,
    lean: F8,
) -> None:
    """Let the table of a profile follow the cone: with height, a point moves along the column, too.

    `state` holds position and velocity of the satellite, `axes` the unit vectors outwards and
    downwards; `lean`, shape (knots,), receives the change of the row by metre of height.
    """
    top = reference_height + RISE
    for knot in range(table.shape[0]):
        level = table[knot, 0]
        row, x, y, z, nx, ny, nz = _cross_column(knots, knot, top, level, state, radar, time)
        lean[knot] = (row - level) / RISE
        x, y, z = x + top * nx - state[0], y + top * ny - state[1], z + top * nz - state[2]
        for axis in range(2):
            first, per_metre = 1 + 2 * axis, 2 + 2 * axis
            above = x * axes[axis, 0] + y * axes[axis, 1] + z * axes[axis, 2]
            at_level = table[knot, first] + reference_height * table[knot, per_metre]
            table[knot, per_metre] = (above - at_level) / RISE
            table[knot, first] = at_level - reference_height * table[knot, per_metre]


@njit
def _follow_cone(lean: F8, heights: F4, reference_height: float, profile: Profile) -> None:
    """Follow a leaning cone to the terrain: move the rows of a profile, and find heights there.

    `lean`, shape (knots,), is the change of the row with height. Rows are passed in `downward`, as
    they are at the reference height; heights are left in `outward`.
    """
    row, height = profile.downward, profile.outward
    level, last = profile.numbers[1], heights.shape[0] - 1.0
    for column in range(row.size):
        level[column] = row[column]
    for _ in range(LEAN_STEPS):
        for column in range(row.size):
            # Beyond the DEM's edge the terrain goes on as it is there.
            row[column] = min(max(row[column], 0.0), last)
        _find_heights(heights, row, profile, height)
        for column in range(row.size):
            knot = column // KNOT_SPACING
            part = (column - knot * KNOT_SPACING) / KNOT_SPACING
            per_metre = lean[knot] + part * (lean[knot + 1] - lean[knot])
            rise = height[column] - reference_height
            row[column] = level[column] + (0.0 if math.isnan(rise) else per_metre * rise)
    _find_heights(heights, row, profile, height)


@njit
def _coordinates(left: F8, right: F8, outward: F8, downward: F8) -> None:
    """Turn the heights between two knots, passed in `outward`, into coordinates."""
    out, out_change = left[1], right[1] - left[1]
    out_per_metre, out_per_metre_change = left[2], right[2] - left[2]
    down, down_change = left[3], right[3] - left[3]
    down_per_metre, down_per_metre_change = left[4], right[4] - left[4]
    for k in range(outward.size):
        part, height = k / KNOT_SPACING, outward[k]
        out_rise = out_per_metre + part * out_per_metre_change
        down_rise = down_per_metre + part * down_per_metre_change
        outward[k] = out + part * out_change + height * out_rise
        downward[k] = down + part * down_change + height * down_rise


@njit
def trace_profile(knots: KnotColumns, scan: Scan, time: float, profile: Profile) -> None:
    """Cut a profile through the terrain in the plane of zero Doppler, or cone, at one time.

    Parameters
    ----------
    knots : tuple
        Columns of the knots, from `knot_columns`.
    scan : Scan
        The DEM under the radar.
    time : float
        Azimuth time in seconds.
    profile : Profile
        Receives the coordinates of the terrain, of all columns.
    """
    radar, heights, reference_height = scan.radar, scan.heights, scan.reference_height
    outward, downward = profile.outward, profile.downward
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

    # Unit vectors d downwards and e outwards: d is the part of -s at a right angle to v. A row of
    # the table holds the row at which a knot is crossed, E0, E1, D0 and D1.
    table = profile.table
    row = change = bend = 0.0
    for knot in range(table.shape[0]):
        # Extrapolated quadratically.
        guess = row + change + bend if knot > 0 else 0.5 * heights.shape[0]
        crossed, x, y, z, nx, ny, nz = _cross_column(
            knots, knot, reference_height, guess, state, radar, time
        )
        if knot > 1:
            bend = crossed - row - change
        if knot > 0:
            change = crossed - row
        row = crossed
        x, y, z = x - px, y - py, z - pz
        table[knot, 0] = row
        table[knot, 1] = x * ex + y * ey + z * ez
        table[knot, 2] = nx * ex + ny * ey + nz * ez
        table[knot, 3] = x * dx + y * dy + z * dz
        table[knot, 4] = nx * dx + ny * dy + nz * dz
    _interpolate_rows(table, downward)
    if is_squinted(radar):
        lean = np.empty(table.shape[0])
        axes = np.array(((ex, ey, ez), (dx, dy, dz)))
        _lean_table(knots, radar, time, reference_height, state, axes, table, lean)
        _follow_cone(lean, heights, reference_height, profile)
    else:
        _find_heights(heights, downward, profile, outward)
    for knot in range(table.shape[0] - 1):
        span = slice(knot * KNOT_SPACING, (knot + 1) * KNOT_SPACING)
        _coordinates(table[knot], table[knot + 1], outward[span], downward[span])


@njit
def profile_samples(radar: RadarModel, time: float, profile: Profile) -> None:
    """Find the samples of the points of a profile, by their coordinates, at one azimuth time."""
    segment = range_segment(radar, time)
    if is_native(radar):
        _native_samples(radar, time, segment, profile)
        return
    outward, downward, sample = profile.outward, profile.downward, profile.sample
    for i in range(outward.size):
        slant_range = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        annotated = annotated_time(radar, time, slant_range)
        sample[i] = range_sample(radar, segment, annotated, slant_range)


@njit
def _native_samples(radar: RadarModel, time: float, segment: int, profile: Profile) -> None:
    """Find samples at the Doppler centroid, with slant ranges by a cubic of E^2 + D^2's root."""
    outward, downward, sample = profile.outward, profile.downward, profile.sample
    _, _, _, vx, vy, vz, _, _, _ = evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)
    nearest, farthest = math.inf, -math.inf
    for i in range(outward.size):
        sample[i] = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        nearest = sample[i] if sample[i] < nearest else nearest
        farthest = sample[i] if sample[i] > farthest else farthest
    if not nearest <= farthest:
        return
    farthest = max(farthest, nearest + 1.0)
    cubic = np.empty(4)
    fit_stretch(radar, time, math.sqrt(vx * vx + vy * vy + vz * vz), nearest, farthest, cubic)
    middle, scale = 0.5 * (nearest + farthest), 2.0 / (farthest - nearest)
    for i in range(outward.size):
        w = (sample[i] - middle) * scale
        slant_range = sample[i] * (cubic[0] + w * (cubic[1] + w * (cubic[2] + w * cubic[3])))
        annotated = annotated_time(radar, time, slant_range)
        sample[i] = range_sample(radar, segment, annotated, slant_range)
