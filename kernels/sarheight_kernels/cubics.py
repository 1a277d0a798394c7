r"""Radar coordinates of a box of cells as cubics in row, column and height.

Over a box of some dozens of cells and its height range, line and sample are very smooth functions
of (row, column, height). They are solved exactly at 4 x 4 x 4 Chebyshev nodes and interpolated by

.. math:: \sum_{ijk} c_{ijk} \, u^i v^j w^k, \qquad 0 \le i, j, k \le 3,

with row u, column v and height w scaled to -1 ... 1. A few more places are solved to measure the
error of the cubic. Along a row of cells u is fixed, which leaves a bicubic in column and height.

Of a smooth function most terms are negligible. Chebyshev polynomials are never larger than one, so
the sum of the coefficients that are left out bounds the error: terms whose joint degree in column
and height is beyond two or three are dropped where that bound is below `NEGLIGIBLE`.

The range sampling may change within the box: the nodes are solved once, and each segment of the
sampling has a cubic of its own.

A fit is a row of `FIT` numbers: middle and half the size of the box in rows, columns and metres;
degrees of the cubics; first and last segment; the cubic of the line; those of the sample.
"""

from __future__ import annotations

import math

import numpy as np

from sarheight_kernels._numba import F4, F8, njit
from sarheight_kernels.doppler import closing_speed, is_native
from sarheight_kernels.models import (
    BOUND_MARGIN,
    GroundModel,
    RadarModel,
    annotated_time,
    ground_patch,
    locate_cell,
    range_sample,
    range_segment,
)
from sarheight_kernels.orbit import evaluate_orbit

NODES = np.cos((2.0 * np.arange(4) + 1.0) * np.pi / 8.0)
# Zeros of T4 above; its extremes, where a cubic through the zeros errs most, here.
PROBES = np.array(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-1.0, 1.0, -1.0)))
COUNT = 64
"""Nodes: row, column and height each take the `NODES`, the height fastest."""
TO_CHEBYSHEV = np.linalg.inv(np.polynomial.chebyshev.chebvander(NODES, 3))
TO_POWERS = np.array(
    ((1.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, -3.0), (0.0, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 4.0))
)
"""From coefficients of Chebyshev polynomials (T2 = 2 x^2 - 1, T3 = 4 x^3 - 3 x) to powers."""
NEGLIGIBLE = 2e-6
"""Bound of the sum of the terms that are left out, in lines and samples."""


@njit
def _transform(matrix: F8, values: F8) -> None:
    """Multiply a matrix on each of the three axes of 4 x 4 x 4 values, in place."""
    product = np.empty(64)
    for _ in range(3):
        # The first axis becomes the last one: after three times all are back in place.
        for place in range(16):
            for k in range(4):
                total = 0.0
                for m in range(4):
                    total += matrix[k, m] * values[16 * m + place]
                product[4 * place + k] = total
        for place in range(64):
            values[place] = product[place]


@njit
def _drop_terms(chebyshev: F8) -> int:
    """Set negligible terms to zero; return the joint degree in column and height."""
    beyond_two, beyond_three = 0.0, 0.0
    for term in range(64):
        joint = term // 4 % 4 + term % 4
        if joint > 2:
            beyond_two += abs(chebyshev[term])
        if joint > 3:
            beyond_three += abs(chebyshev[term])
    degree = 6
    if beyond_two <= NEGLIGIBLE:
        degree = 2
    elif beyond_three <= NEGLIGIBLE:
        degree = 3
    for term in range(64):
        if term // 4 % 4 + term % 4 > degree:
            chebyshev[term] = 0.0
    return degree


@njit
def _evaluate(coefficients: F8, u: float, v: float, w: float) -> float:
    """Evaluate a cubic at one point."""
    result = 0.0
    for i in range(3, -1, -1):
        inner = 0.0
        for j in range(3, -1, -1):
            innermost = 0.0
            for k in range(3, -1, -1):
                innermost = innermost * w + coefficients[16 * i + 4 * j + k]
            inner = inner * v + innermost
        result = result * u + inner
    return result


@njit
def fit_cubic(values: F8, coefficients: F8) -> tuple[int, float]:
    """Fit a cubic to a function.

    `values`, shape (COUNT + probes,), are the function at the nodes, then at the `PROBES`;
    `coefficients`, shape (64,), receives that of ``u**i * v**j * w**k`` at ``16 * i + 4 * j + k``.
    Returns the joint degree in v and w (2, 3, or 6 where all terms count) and the largest error at
    the probes, NaN where the function is.
    """
    for node in range(COUNT):
        coefficients[node] = values[node]
    _transform(TO_CHEBYSHEV, coefficients)
    degree = _drop_terms(coefficients)
    _transform(TO_POWERS, coefficients)
    worst = 0.0
    for probe in range(PROBES.shape[0]):
        u, v, w = PROBES[probe, 0], PROBES[probe, 1], PROBES[probe, 2]
        error = abs(_evaluate(coefficients, u, v, w) - values[COUNT + probe])
        # The comparison is false for NaN, which must count as an error.
        worst = error if not error <= worst else worst
    return degree, worst


@njit
def deviation_bound(coefficients: F8) -> float:
    """Bound the deviation of a polynomial on -1 ... 1 from its first, constant coefficient."""
    total = 0.0
    for term in range(1, coefficients.size):
        total += abs(coefficients[term])
    return total


@njit
def collapse_row(coefficients: F8, u: float, polynomial: F8) -> None:
    """Fix the row u of a cubic, shape (64,).

    Its bicubic, shape (16,), has the coefficient of ``v**j * w**k`` at ``4 * j + k``.
    """
    for term in range(16):
        polynomial[term] = coefficients[term] + u * (
            coefficients[16 + term] + u * (coefficients[32 + term] + u * coefficients[48 + term])
        )


@njit
def _bicubic_row(
    p: F8,
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: F4,
    result: F8,
) -> None:
    """Evaluate all terms of a bicubic along a row, see `evaluate_row`."""
    p00, p01, p02, p03, p10, p11, p12, p13 = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    p20, p21, p22, p23, p30, p31, p32, p33 = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        a = p00 + v * (p10 + v * (p20 + v * p30))
        b = p01 + v * (p11 + v * (p21 + v * p31))
        c = p02 + v * (p12 + v * (p22 + v * p32))
        d = p03 + v * (p13 + v * (p23 + v * p33))
        result[column] = a + w * (b + w * (c + w * d))


@njit
def _cubic_row(
    p: F8,
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: F4,
    result: F8,
) -> None:
    """Evaluate the terms up to the third joint degree, see `evaluate_row`."""
    p00, p01, p02, p03, p10 = p[0], p[1], p[2], p[3], p[4]
    p11, p12, p20, p21, p30 = p[5], p[6], p[8], p[9], p[12]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        a = p00 + v * (p10 + v * (p20 + v * p30))
        b = p01 + v * (p11 + v * p21)
        result[column] = a + w * (b + w * (p02 + v * p12 + w * p03))


@njit
def _quadratic_row(
    p: F8,
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: F4,
    result: F8,
) -> None:
    """Evaluate the terms up to the second joint degree, see `evaluate_row`."""
    p00, p01, p02, p10, p11, p20 = p[0], p[1], p[2], p[4], p[5], p[8]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        result[column] = p00 + v * (p10 + v * p20) + w * (p01 + v * p11 + w * p02)


@njit
def evaluate_row(
    polynomial: F8,
    degree: int,
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: F4,
    result: F8,
) -> None:
    """Evaluate a bicubic from `collapse_row` along a row of cells with heights, shape (n,).

    `degree` is from `fit_cubic`. Column v is `first`, then `step` more for each cell; w is zero at
    `height_middle` and changes by `height_scale` per metre. The result is NaN in voids.
    """
    if degree == 2:
        _quadratic_row(polynomial, first, step, height_middle, height_scale, heights, result)
    elif degree == 3:
        _cubic_row(polynomial, first, step, height_middle, height_scale, heights, result)
    else:
        _bicubic_row(polynomial, first, step, height_middle, height_scale, heights, result)


Box = tuple[int, int, int, int]

MIDDLE, HALF, LINE_DEGREE, SAMPLE_DEGREE, EARLIEST, LATEST = 0, 3, 6, 7, 8, 9
LINE, SAMPLE = 10, 10 + COUNT
MOST_SEGMENTS = 6
FIT = SAMPLE + MOST_SEGMENTS * COUNT
"""Numbers of a fit: offsets of its parts are above."""
EXACT = COUNT + PROBES.shape[0]
"""Places that are solved exactly."""
LEAST_HEIGHT_RANGE = 1.0
"""Metres; flat boxes are fitted as if they had it, so that scaled heights stay finite."""
TOLERANCE = 5e-6
"""Lines and samples: some hundredths of a millimetre for a spacing of ten metres."""
NEWTON_STEPS = 3
"""Of Newton's method, which squares the error, a fraction of a second at first."""


@njit
def _fix_variable(coefficients: F8, value: float, result: F8) -> None:
    """Evaluate n polynomials, shape (degree + 1, n), at one value by Horner's scheme."""
    last = coefficients[coefficients.shape[0] - 1]
    for term in range(last.size):
        result[term] = last[term]
    for power in range(coefficients.shape[0] - 2, -1, -1):
        row = coefficients[power]
        for term in range(row.size):
            result[term] = result[term] * value + row[term]


@njit
def _node_positions(ground: GroundModel, fit: F8, positions: F8) -> None:
    """Find the positions of the nodes of a box, shape (3, COUNT): X(r, c) + h n(r, c)."""
    down, across = ground_patch(ground, fit[MIDDLE], fit[MIDDLE + 1])
    size = ground.coefficients.shape[2]
    coefficients = ground.coefficients[down, across].reshape(size, size * 6)
    along_row, place = np.empty(size * 6), np.empty(6)
    row = fit[MIDDLE] - (down + 0.5) * ground.patch_rows + 0.5
    column = fit[MIDDLE + 1] - (across + 0.5) * ground.patch_columns + 0.5
    for i in range(4):
        _fix_variable(coefficients, (row + fit[HALF] * NODES[i]) / ground.half_rows, along_row)
        for j in range(4):
            v = (column + fit[HALF + 1] * NODES[j]) / ground.half_columns
            _fix_variable(along_row.reshape(size, 6), v, place)
            for k in range(4):
                height = fit[MIDDLE + 2] + fit[HALF + 2] * NODES[k]
                for axis in range(3):
                    positions[axis, 16 * i + 4 * j + k] = place[axis] + height * place[3 + axis]


@njit
def _solve_nodes(
    radar: RadarModel, positions: F8, time: float, annotated: F8, slant_range: F8
) -> None:
    """Solve for annotated time and slant range at the nodes of a box.

    The satellite's path near the tile is taken as a cubic in tau, the time from `time`:
    s + v tau + a tau^2 / 2 + j tau^3 / 6, with the jerk j from two accelerations a second apart.
    Newton's method finds the zero of w . e, with velocity w and line of sight e at tau.
    """
    if is_native(radar):
        _solve_native_nodes(radar, positions, time, annotated, slant_range)
        return
    start, table = radar.orbit_start, radar.orbit_coefficients
    sx, sy, sz, vx, vy, vz, ax, ay, az = evaluate_orbit(time, start, table)
    _, _, _, _, _, _, bx, by, bz = evaluate_orbit(time + 1.0, start, table)
    jx, jy, jz = bx - ax, by - ay, bz - az
    x, y, z = positions[0], positions[1], positions[2]
    for node in range(COUNT):
        dx, dy, dz = x[node] - sx, y[node] - sy, z[node] - sz
        tau = 0.0
        for _ in range(NEWTON_STEPS):
            wx = vx + tau * (ax + 0.5 * tau * jx)
            wy = vy + tau * (ay + 0.5 * tau * jy)
            wz = vz + tau * (az + 0.5 * tau * jz)
            ex = dx - tau * (vx + tau * (0.5 * ax + tau * jx / 6.0))
            ey = dy - tau * (vy + tau * (0.5 * ay + tau * jy / 6.0))
            ez = dz - tau * (vz + tau * (0.5 * az + tau * jz / 6.0))
            slope = ax * ex + ay * ey + az * ez - (wx * wx + wy * wy + wz * wz)
            tau -= (wx * ex + wy * ey + wz * ez) / slope
        ex = dx - tau * (vx + tau * (0.5 * ax + tau * jx / 6.0))
        ey = dy - tau * (vy + tau * (0.5 * ay + tau * jy / 6.0))
        ez = dz - tau * (vz + tau * (0.5 * az + tau * jz / 6.0))
        distance = math.sqrt(ex * ex + ey * ey + ez * ez)
        slant_range[node] = distance
        annotated[node] = annotated_time(radar, time + tau, distance)


@njit
def _solve_native_nodes(
    radar: RadarModel, positions: F8, time: float, annotated: F8, slant_range: F8
) -> None:
    """Solve at the Doppler centroid, for the zero of w . e - q |e| with the closing speed q."""
    start, table = radar.orbit_start, radar.orbit_coefficients
    sx, sy, sz, vx, vy, vz, ax, ay, az = evaluate_orbit(time, start, table)
    _, _, _, _, _, _, bx, by, bz = evaluate_orbit(time + 1.0, start, table)
    jx, jy, jz = bx - ax, by - ay, bz - az
    x, y, z = positions[0], positions[1], positions[2]
    for node in range(COUNT):
        dx, dy, dz = x[node] - sx, y[node] - sy, z[node] - sz
        tau, ex, ey, ez, distance = 0.0, dx, dy, dz, math.sqrt(dx * dx + dy * dy + dz * dz)
        for _ in range(NEWTON_STEPS):
            wx = vx + tau * (ax + 0.5 * tau * jx)
            wy = vy + tau * (ay + 0.5 * tau * jy)
            wz = vz + tau * (az + 0.5 * tau * jz)
            ahead = wx * ex + wy * ey + wz * ez
            speed, per_time, per_range = closing_speed(radar, time + tau, distance)
            slope = ax * ex + ay * ey + az * ez - (wx * wx + wy * wy + wz * wz)
            slope += (speed + per_range * distance) * ahead / distance - per_time * distance
            tau -= (ahead - speed * distance) / slope
            ex = dx - tau * (vx + tau * (0.5 * ax + tau * jx / 6.0))
            ey = dy - tau * (vy + tau * (0.5 * ay + tau * jy / 6.0))
            ez = dz - tau * (vz + tau * (0.5 * az + tau * jz / 6.0))
            distance = math.sqrt(ex * ex + ey * ey + ez * ez)
        slant_range[node] = distance
        annotated[node] = annotated_time(radar, time + tau, distance)


@njit
def _solve_box(
    ground: GroundModel, radar: RadarModel, fit: F8, annotated: F8, slant_range: F8
) -> None:
    """Solve for annotated time and slant range at nodes and probes of a box, shape (EXACT,)."""
    _, _, time, _ = locate_cell(
        ground, radar, fit[MIDDLE], fit[MIDDLE + 1], fit[MIDDLE + 2], radar.line_zero_time
    )
    positions = np.empty((3, COUNT))
    _node_positions(ground, fit, positions)
    _solve_nodes(radar, positions, time, annotated, slant_range)
    for probe in range(PROBES.shape[0]):
        _, _, exact_time, exact_range = locate_cell(
            ground,
            radar,
            fit[MIDDLE] + fit[HALF] * PROBES[probe, 0],
            fit[MIDDLE + 1] + fit[HALF + 1] * PROBES[probe, 1],
            fit[MIDDLE + 2] + fit[HALF + 2] * PROBES[probe, 2],
            time,
        )
        annotated[COUNT + probe] = annotated_time(radar, exact_time, exact_range)
        slant_range[COUNT + probe] = exact_range


@njit
def _segments_between(radar: RadarModel, line: float, reach: float) -> tuple[int, int]:
    """Find the first and the last segment of the range sampling within `reach` of a line."""
    middle = radar.line_zero_time + line * radar.line_interval
    span = abs(reach * radar.line_interval)
    return range_segment(radar, middle - span), range_segment(radar, middle + span)


@njit
def _take_from(radar: RadarModel, segment: int, line: F8, later: F8, sample: F8) -> None:
    """Take over the samples of a segment where the lines lie behind its beginning, shape (n,)."""
    begin = radar.segment_start[segment]
    for j in range(line.size):
        reached = radar.line_zero_time + line[j] * radar.line_interval >= begin
        sample[j] = later[j] if reached else sample[j]


@njit
def _fit_line(radar: RadarModel, annotated: F8, fit: F8) -> float:
    """Fit the line; return the largest error."""
    values = np.empty(EXACT)
    for place in range(EXACT):
        values[place] = (annotated[place] - radar.line_zero_time) / radar.line_interval
    fit[LINE_DEGREE], error = fit_cubic(values, fit[LINE : LINE + COUNT])
    return error


@njit
def _fit_samples(radar: RadarModel, annotated: F8, slant_range: F8, fit: F8) -> float:
    """Fit the sample by each segment that the box reaches; return the largest error."""
    line = fit[LINE : LINE + COUNT]
    earliest, latest = _segments_between(radar, line[0], deviation_bound(line))
    fit[EARLIEST], fit[LATEST], fit[SAMPLE_DEGREE] = earliest, latest, 0
    if latest - earliest >= MOST_SEGMENTS:
        return math.inf
    values, worst = np.empty(EXACT), 0.0
    for segment in range(earliest, latest + 1):
        for place in range(EXACT):
            values[place] = range_sample(radar, segment, annotated[place], slant_range[place])
        begin = SAMPLE + COUNT * (segment - earliest)
        degree, error = fit_cubic(values, fit[begin : begin + COUNT])
        fit[SAMPLE_DEGREE] = max(fit[SAMPLE_DEGREE], degree)
        # The comparison is false for NaN, which must count as an error.
        worst = error if not error <= worst else worst
    return worst


@njit
def fit_box(
    ground: GroundModel, radar: RadarModel, box: Box, lowest: float, highest: float, fit: F8
) -> bool:
    """Fit line and sample over a box of cells; tell whether both errors are at most `TOLERANCE`.

    `box` holds first row, end row, first column and end column in the raster of the ground model,
    within one patch of it and its margin; `lowest` and `highest` are its height range in metres.
    `fit`, shape (FIT,), receives the fit.
    """
    top, bottom, left, right = box
    fit[MIDDLE], fit[HALF] = 0.5 * (top + bottom - 1), max(0.5 * (bottom - top - 1), 0.5)
    fit[MIDDLE + 1], fit[HALF + 1] = 0.5 * (left + right - 1), max(0.5 * (right - left - 1), 0.5)
    fit[MIDDLE + 2] = 0.5 * (lowest + highest)
    fit[HALF + 2] = 0.5 * max(highest - lowest, LEAST_HEIGHT_RANGE)
    annotated, slant_range = np.empty(EXACT), np.empty(EXACT)
    _solve_box(ground, radar, fit, annotated, slant_range)
    return (
        _fit_line(radar, annotated, fit) <= TOLERANCE
        and _fit_samples(radar, annotated, slant_range, fit) <= TOLERANCE
    )


@njit
def fit_bounds(fit: F8, bound: F8) -> None:
    """Bound line and sample over a box, from `fit_box`; `bound` as in `models.box_bounds`."""
    reach = deviation_bound(fit[LINE : LINE + COUNT]) + BOUND_MARGIN
    bound[0], bound[1] = fit[LINE] - reach, fit[LINE] + reach
    bound[2], bound[3] = math.inf, -math.inf
    for segment in range(int(fit[LATEST] - fit[EARLIEST]) + 1):
        begin = SAMPLE + COUNT * segment
        reach = deviation_bound(fit[begin : begin + COUNT]) + BOUND_MARGIN
        bound[2], bound[3] = min(bound[2], fit[begin] - reach), max(bound[3], fit[begin] + reach)


@njit
def evaluate_fit(
    radar: RadarModel, fit: F8, row: int, heights: F4, line: F8, sample: F8, workspace: F8
) -> None:
    """Find the radar coordinates of a row of a box.

    `row` is that in the raster of the ground model, `heights`, shape (n,), those of all its cells.
    `line` and `sample`, shape (n,), are NaN where void; `workspace` has shape (16 + n,).
    """
    u = (row - fit[MIDDLE]) / fit[HALF]
    step, scale = 1.0 / fit[HALF + 1], 1.0 / fit[HALF + 2]
    first, middle = -0.5 * (heights.size - 1) * step, fit[MIDDLE + 2]
    collapsed, other = workspace[:16], workspace[16:]
    collapse_row(fit[LINE : LINE + COUNT], u, collapsed)
    evaluate_row(collapsed, int(fit[LINE_DEGREE]), first, step, middle, scale, heights, line)
    earliest = begin = int(fit[EARLIEST])
    end = int(fit[LATEST])
    if begin < end:
        begin, end = _segments_between(radar, collapsed[0], deviation_bound(collapsed))
    degree = int(fit[SAMPLE_DEGREE])
    collapse_row(fit[SAMPLE + COUNT * (begin - earliest) :], u, collapsed)
    evaluate_row(collapsed, degree, first, step, middle, scale, heights, sample)
    for segment in range(begin + 1, end + 1):
        collapse_row(fit[SAMPLE + COUNT * (segment - earliest) :], u, collapsed)
        evaluate_row(collapsed, degree, first, step, middle, scale, heights, other)
        _take_from(radar, segment, line, other, sample)
