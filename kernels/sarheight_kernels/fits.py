r"""Radar coordinates of a box of cells as cubics in row, column and height.

Over a box of some dozens of cells and its span of heights, line and sample are very smooth
functions of (row, column, height). They are solved exactly at the nodes of a cubic (see
`sarheight_kernels.cubics`), and at a few more places, to see by how much the cubic errs. The range
sampling may change within the box: the nodes are solved once, and each segment of the sampling
has a cubic of its own.

A fit is a row of `FIT` numbers: middle and half the size of the box in rows, columns and metres;
degrees of the cubics; first and last segment; the cubic of the line; those of the sample.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.cells import SLACK, locate_cell
from sarheight_kernels.cubics import (
    COUNT,
    NODES,
    PROBES,
    collapse_row,
    evaluate_row,
    fit_cubic,
    spread,
)
from sarheight_kernels.models import (
    GroundModel,
    RadarModel,
    ground_block,
    radar_segment,
    sample,
    stamp,
)
from sarheight_kernels.orbit import evaluate_orbit

__all__ = ["FIT", "evaluate_fit", "fit_bounds", "fit_box"]

Box = tuple[int, int, int, int]

MIDDLE, HALF, LINE_DEGREE, SAMPLE_DEGREE, EARLIEST, LATEST = 0, 3, 6, 7, 8, 9
LINE, SAMPLE = 10, 10 + COUNT
MOST_SEGMENTS = 6
FIT = SAMPLE + MOST_SEGMENTS * COUNT
"""Numbers of a fit."""
EXACT = COUNT + PROBES.shape[0]
"""Places that are solved exactly."""
LEAST_HEIGHT_SPAN = 1.0
# In lines and samples: below a tenth of a millimetre for spacings down to a metre.
TOLERANCE = 5e-6
NEWTON_STEPS = 3


@njit
def _fix_variable(
    coefficients: NDArray[np.float64], value: float, result: NDArray[np.float64]
) -> None:
    """Evaluate polynomials, shape (degree + 1, n), by Horner's scheme, all side by side."""
    result[:] = coefficients[-1]
    for power in range(coefficients.shape[0] - 2, -1, -1):
        row = coefficients[power]
        for term in range(row.size):
            result[term] = result[term] * value + row[term]


@njit
def _node_positions(
    ground: GroundModel, fit: NDArray[np.float64], positions: NDArray[np.float64]
) -> None:
    """Find the positions of the nodes of a box, shape (3, COUNT)."""
    down, across = ground_block(ground, fit[MIDDLE], fit[MIDDLE + 1])
    size = ground.coefficients.shape[2]
    coefficients = ground.coefficients[down, across].reshape(size, size * 6)
    along_row, place = np.empty(size * 6), np.empty(6)
    row = fit[MIDDLE] - (down + 0.5) * ground.block_rows + 0.5
    column = fit[MIDDLE + 1] - (across + 0.5) * ground.block_columns + 0.5
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
    radar: RadarModel,
    positions: NDArray[np.float64],
    time: float,
    stamped: NDArray[np.float64],
    slant_range: NDArray[np.float64],
) -> None:
    """Solve for stamp and slant range at the nodes of a box.

    The satellite's path near the tile is taken as a cubic in time about `time`.
    """
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
        stamped[node] = stamp(radar, time + tau, distance)


@njit
def _solve_box(
    ground: GroundModel,
    radar: RadarModel,
    fit: NDArray[np.float64],
    stamped: NDArray[np.float64],
    slant_range: NDArray[np.float64],
) -> None:
    """Solve for stamp and slant range at the nodes and the probes of a box."""
    _, _, time, _ = locate_cell(
        ground, radar, fit[MIDDLE], fit[MIDDLE + 1], fit[MIDDLE + 2], radar.line_zero_time
    )
    positions = np.empty((3, COUNT))
    _node_positions(ground, fit, positions)
    _solve_nodes(radar, positions, time, stamped, slant_range)
    for probe in range(PROBES.shape[0]):
        _, _, exact_time, exact_range = locate_cell(
            ground,
            radar,
            fit[MIDDLE] + fit[HALF] * PROBES[probe, 0],
            fit[MIDDLE + 1] + fit[HALF + 1] * PROBES[probe, 1],
            fit[MIDDLE + 2] + fit[HALF + 2] * PROBES[probe, 2],
            time,
        )
        stamped[COUNT + probe] = stamp(radar, exact_time, exact_range)
        slant_range[COUNT + probe] = exact_range


@njit
def _segments_between(radar: RadarModel, line: float, reach: float) -> tuple[int, int]:
    """Find the first and the last segment of the range sampling around a line."""
    middle = radar.line_zero_time + line * radar.line_interval
    span = abs(reach * radar.line_interval)
    return radar_segment(radar, middle - span), radar_segment(radar, middle + span)


@njit
def _take_from(
    radar: RadarModel,
    segment: int,
    line: NDArray[np.float64],
    other: NDArray[np.float64],
    across: NDArray[np.float64],
) -> None:
    """Take the samples of a segment where it has begun."""
    begin = radar.segment_start[segment]
    for j in range(line.size):
        begun = radar.line_zero_time + line[j] * radar.line_interval >= begin
        across[j] = other[j] if begun else across[j]


@njit
def _fit_line(radar: RadarModel, stamped: NDArray[np.float64], fit: NDArray[np.float64]) -> float:
    """Fit the line; return the largest miss."""
    values = np.empty(EXACT)
    for place in range(EXACT):
        values[place] = (stamped[place] - radar.line_zero_time) / radar.line_interval
    fit[LINE_DEGREE], miss = fit_cubic(values, fit[LINE : LINE + COUNT])
    return miss


@njit
def _fit_samples(
    radar: RadarModel,
    stamped: NDArray[np.float64],
    slant_range: NDArray[np.float64],
    fit: NDArray[np.float64],
) -> float:
    """Fit the sample by each segment that the box reaches; return the largest miss."""
    line = fit[LINE : LINE + COUNT]
    earliest, latest = _segments_between(radar, line[0], spread(line))
    fit[EARLIEST], fit[LATEST], fit[SAMPLE_DEGREE] = earliest, latest, 0
    if latest - earliest >= MOST_SEGMENTS:
        return math.inf
    values, worst = np.empty(EXACT), 0.0
    for segment in range(earliest, latest + 1):
        for place in range(EXACT):
            values[place] = sample(radar, segment, stamped[place], slant_range[place])
        begin = SAMPLE + COUNT * (segment - earliest)
        degree, miss = fit_cubic(values, fit[begin : begin + COUNT])
        fit[SAMPLE_DEGREE] = max(fit[SAMPLE_DEGREE], degree)
        # A NaN must count as a miss.
        worst = miss if not miss <= worst else worst
    return worst


@njit
def fit_box(
    ground: GroundModel,
    radar: RadarModel,
    box: Box,
    lowest: float,
    highest: float,
    fit: NDArray[np.float64],
) -> bool:
    """Fit line and sample over a box of cells.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    box : tuple of int
        First row, end row, first column and end column in the raster of the ground model. The box
        must lie within one block of it and its margin.
    lowest, highest : float
        Span of the heights in metres.
    fit : array, shape (FIT,)
        Receives the fit.

    Returns
    -------
    bool
        Whether line and sample are met to `TOLERANCE`.
    """
    top, bottom, left, right = box
    fit[MIDDLE], fit[HALF] = 0.5 * (top + bottom - 1), max(0.5 * (bottom - top - 1), 0.5)
    fit[MIDDLE + 1], fit[HALF + 1] = 0.5 * (left + right - 1), max(0.5 * (right - left - 1), 0.5)
    fit[MIDDLE + 2] = 0.5 * (lowest + highest)
    fit[HALF + 2] = 0.5 * max(highest - lowest, LEAST_HEIGHT_SPAN)
    stamped, slant_range = np.empty(EXACT), np.empty(EXACT)
    _solve_box(ground, radar, fit, stamped, slant_range)
    return (
        _fit_line(radar, stamped, fit) <= TOLERANCE
        and _fit_samples(radar, stamped, slant_range, fit) <= TOLERANCE
    )


@njit
def fit_bounds(fit: NDArray[np.float64], bound: NDArray[np.float64]) -> None:
    """Find which part of the image the cells of a box can light.

    Parameters
    ----------
    fit : array, shape (FIT,)
        From `fit_box`.
    bound : array, shape (4,)
        Receives the least and the greatest line, the least and the greatest sample, see
        `sarheight_kernels.cells.box_bounds`.
    """
    reach = spread(fit[LINE : LINE + COUNT]) + SLACK
    bound[0], bound[1] = fit[LINE] - reach, fit[LINE] + reach
    bound[2], bound[3] = math.inf, -math.inf
    for segment in range(int(fit[LATEST] - fit[EARLIEST]) + 1):
        begin = SAMPLE + COUNT * segment
        reach = spread(fit[begin : begin + COUNT]) + SLACK
        bound[2], bound[3] = min(bound[2], fit[begin] - reach), max(bound[3], fit[begin] + reach)


@njit
def evaluate_fit(
    radar: RadarModel,
    fit: NDArray[np.float64],
    row: int,
    heights: NDArray[np.float32],
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    room: NDArray[np.float64],
) -> None:
    """Find the radar coordinates of a row of a box.

    Parameters
    ----------
    radar : RadarModel
        The model.
    fit : array, shape (FIT,)
        From `fit_box`.
    row : int
        The row in the raster of the ground model.
    heights : array, shape (n,)
        Heights of all cells of the box in that row; NaN where void.
    line, across : array, shape (n,)
        Receive line and sample; NaN where void.
    room : array, shape (16 + n,)
        To work in.
    """
    u = (row - fit[MIDDLE]) / fit[HALF]
    step, scale = 1.0 / fit[HALF + 1], 1.0 / fit[HALF + 2]
    first, middle = -0.5 * (heights.size - 1) * step, fit[MIDDLE + 2]
    collapsed, other = room[:16], room[16:]
    collapse_row(fit[LINE : LINE + COUNT], u, collapsed)
    evaluate_row(collapsed, int(fit[LINE_DEGREE]), first, step, middle, scale, heights, line)
    earliest = begin = int(fit[EARLIEST])
    end = int(fit[LATEST])
    if begin < end:
        begin, end = _segments_between(radar, collapsed[0], spread(collapsed))
    degree = int(fit[SAMPLE_DEGREE])
    collapse_row(fit[SAMPLE + COUNT * (begin - earliest) :], u, collapsed)
    evaluate_row(collapsed, degree, first, step, middle, scale, heights, across)
    for segment in range(begin + 1, end + 1):
        collapse_row(fit[SAMPLE + COUNT * (segment - earliest) :], u, collapsed)
        evaluate_row(collapsed, degree, first, step, middle, scale, heights, other)
        _take_from(radar, segment, line, other, across)
