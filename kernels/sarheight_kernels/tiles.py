r"""Radar coordinates of a tile of cells: exact at 64 nodes, cubic in between.

Over a tile of some dozens of cells and its span of heights, line and sample are very smooth
functions of (row, column, height). They are solved exactly at 4 x 4 x 4 Chebyshev nodes and
turned into a polynomial of degree three in each variable, which is then evaluated cell by cell.
The error is largest midway between nodes and at the corners; there the polynomial is compared
with the exact solution, and a tile that misses the tolerance is split in four.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.cells import locate_cell
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

__all__ = ["height_span", "locate_tile", "span_of_box"]

Box = tuple[int, int, int, int]

NODES = np.cos((2.0 * np.arange(4) + 1.0) * np.pi / 8.0)
# From values at the nodes to coefficients of powers, one axis at a time.
TO_POWERS = np.linalg.inv(np.vander(NODES, 4, increasing=True))
# Where a cubic through Chebyshev nodes errs most: the extremes of the next polynomial.
PROBES = np.array(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-1.0, 1.0, -1.0)))
SMALLEST_TILE = 8
LEAST_HEIGHT_SPAN = 1.0
# In lines and samples: below a tenth of a millimetre for spacings down to a metre.
TOLERANCE = 5e-6


@njit
def _to_powers(values: NDArray[np.float64]) -> None:
    """Turn values at the 4 x 4 x 4 nodes into coefficients, in place, one axis after another."""
    line = np.empty(4)
    for axis in range(3):
        stride_i = 16 if axis != 0 else 4
        stride_j = 1 if axis != 2 else 4
        stride = 4 ** (2 - axis)
        flat = values.reshape(64)
        for i in range(4):
            for j in range(4):
                base = i * stride_i + j * stride_j
                for k in range(4):
                    line[k] = flat[base + k * stride]
                for k in range(4):
                    total = 0.0
                    for m in range(4):
                        total += TO_POWERS[k, m] * line[m]
                    flat[base + k * stride] = total


@njit
def _evaluate(coefficients: NDArray[np.float64], u: float, v: float, w: float) -> float:
    """Evaluate a tricubic polynomial at one point."""
    result = 0.0
    for i in range(3, -1, -1):
        inner = 0.0
        for j in range(3, -1, -1):
            innermost = 0.0
            for k in range(3, -1, -1):
                innermost = innermost * w + coefficients[i, j, k]
            inner = inner * v + innermost
        result = result * u + inner
    return result


@njit
def _fit(
    ground: GroundModel,
    radar: RadarModel,
    middle: NDArray[np.float64],
    half: NDArray[np.float64],
    time: float,
    segment: int,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> float:
    """Fit line and sample over a box of (row, column, height); return the largest miss.

    The satellite's path near the tile is taken as a cubic in time about `time`.
    """
    start, table = radar.orbit_start, radar.orbit_coefficients
    sx, sy, sz, vx, vy, vz, ax, ay, az = evaluate_orbit(time, start, table)
    _, _, _, _, _, _, bx, by, bz = evaluate_orbit(time + 1.0, start, table)
    jx, jy, jz = bx - ax, by - ay, bz - az
    block_down, block_across = ground_block(ground, middle[0], middle[1])
    for i in range(4):
        for j in range(4):
            x, y, z, nx, ny, nz = ground_position(
                ground,
                block_down,
                block_across,
                middle[0] + half[0] * NODES[i],
                middle[1] + half[1] * NODES[j],
            )
            for k in range(4):
                height = middle[2] + half[2] * NODES[k]
                dx, dy, dz = x + height * nx - sx, y + height * ny - sy, z + height * nz - sz
                tau = 0.0
                for _ in range(3):
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
                slant_range = math.sqrt(ex * ex + ey * ey + ez * ez)
                stamped = stamp(radar, time + tau, slant_range)
                line[i, j, k] = (stamped - radar.line_zero_time) / radar.line_interval
                across[i, j, k] = sample(radar, segment, stamped, slant_range)
    _to_powers(line)
    _to_powers(across)

    worst = 0.0
    for probe in range(PROBES.shape[0]):
        u, v, w = PROBES[probe, 0], PROBES[probe, 1], PROBES[probe, 2]
        exact_line, _, exact_time, slant_range = locate_cell(
            ground,
            radar,
            middle[0] + half[0] * u,
            middle[1] + half[1] * v,
            middle[2] + half[2] * w,
            time,
        )
        stamped = stamp(radar, exact_time, slant_range)
        exact_sample = sample(radar, segment, stamped, slant_range)
        miss = max(
            abs(_evaluate(line, u, v, w) - exact_line),
            abs(_evaluate(across, u, v, w) - exact_sample),
        )
        # A NaN must count as a miss.
        worst = miss if not miss <= worst else worst
    return worst


@njit
def _collapse_row(coefficients: NDArray[np.float64], u: float, result: NDArray[np.float64]) -> None:
    """Fix the row of a tricubic polynomial, leaving the 16 coefficients of column and height."""
    for j in range(4):
        for k in range(4):
            result[j, k] = coefficients[0, j, k] + u * (
                coefficients[1, j, k] + u * (coefficients[2, j, k] + u * coefficients[3, j, k])
            )


@njit
def _evaluate_row(
    polynomial: NDArray[np.float64],
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: NDArray[np.float32],
    result: NDArray[np.float64],
) -> None:
    """Evaluate a bicubic in (column, height) along a row of cells."""
    p00, p01, p02, p03 = polynomial[0, 0], polynomial[0, 1], polynomial[0, 2], polynomial[0, 3]
    p10, p11, p12, p13 = polynomial[1, 0], polynomial[1, 1], polynomial[1, 2], polynomial[1, 3]
    p20, p21, p22, p23 = polynomial[2, 0], polynomial[2, 1], polynomial[2, 2], polynomial[2, 3]
    p30, p31, p32, p33 = polynomial[3, 0], polynomial[3, 1], polynomial[3, 2], polynomial[3, 3]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        a = p00 + v * (p10 + v * (p20 + v * p30))
        b = p01 + v * (p11 + v * (p21 + v * p31))
        c = p02 + v * (p12 + v * (p22 + v * p32))
        d = p03 + v * (p13 + v * (p23 + v * p33))
        result[column] = a + w * (b + w * (c + w * d))


@njit
def span_of_box(
    heights: NDArray[np.float32], top: int, bottom: int, left: int, right: int
) -> tuple[float, float]:
    """Find the lowest and the highest height of a box of cells, see `height_span`."""
    lowest, highest = np.float32(np.inf), np.float32(-np.inf)
    for row in range(top, bottom):
        for column in range(left, right):
            height = heights[row, column]
            lowest = height if height < lowest else lowest
            highest = height if height > highest else highest
    if not lowest <= highest:
        return math.nan, math.nan
    return float(lowest), float(highest)


@njit
def height_span(heights: NDArray[np.float32]) -> tuple[float, float]:
    """Find the lowest and the highest of the heights that are not void.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights in metres; NaN where void.

    Returns
    -------
    tuple of float
        Lowest and highest height; NaN where all are void.
    """
    return span_of_box(heights, 0, heights.shape[0], 0, heights.shape[1])


@njit
def _touched_segments(radar: RadarModel, line_fit: NDArray[np.float64]) -> tuple[int, int]:
    """Find the first and the last segment of the range sampling that a fitted box reaches."""
    earliest, latest = math.inf, -math.inf
    for corner in range(8):
        line = _evaluate(
            line_fit,
            1.0 if corner & 1 else -1.0,
            1.0 if corner & 2 else -1.0,
            1.0 if corner & 4 else -1.0,
        )
        earliest, latest = min(earliest, line), max(latest, line)
    # Within a box the extremes lie at its corners, but for a slight bend: allow a line for it.
    return (
        radar_segment(radar, radar.line_zero_time + (earliest - 1.0) * radar.line_interval),
        radar_segment(radar, radar.line_zero_time + (latest + 1.0) * radar.line_interval),
    )


@njit
def _locate_box(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    row: int,
    column: int,
    box: Box,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> bool:
    """Locate the cells of one box; return whether the tolerance was met."""
    top, bottom, left, right = box
    rows, columns = bottom - top, right - left
    lowest, highest = span_of_box(heights, top, bottom, left, right)
    if math.isnan(lowest):
        line[top:bottom, left:right] = math.nan
        across[top:bottom, left:right] = math.nan
        return True
    middle, half = np.empty(3), np.empty(3)
    middle[0], half[0] = row + top + 0.5 * (rows - 1), max(0.5 * (rows - 1), 0.5)
    middle[1], half[1] = column + left + 0.5 * (columns - 1), max(0.5 * (columns - 1), 0.5)
    middle[2] = 0.5 * (lowest + highest)
    half[2] = 0.5 * max(highest - lowest, LEAST_HEIGHT_SPAN)

    line_fit, sample_fit = np.empty((4, 4, 4)), np.empty((4, 4, 4))
    collapsed = np.empty((4, 4))
    _, _, time, slant_range = locate_cell(
        ground, radar, middle[0], middle[1], middle[2], radar.line_zero_time
    )
    segment = radar_segment(radar, stamp(radar, time, slant_range))
    if not _fit(ground, radar, middle, half, time, segment, line_fit, sample_fit) <= TOLERANCE:
        return False
    step = 1.0 / half[1]
    first = -0.5 * (columns - 1) * step
    scale = 1.0 / half[2]
    for i in range(top, bottom):
        u = (row + i - middle[0]) / half[0]
        # A whole row of an array is contiguous, which a part of an array is not known to be.
        posts = heights[i, left:right]
        _collapse_row(line_fit, u, collapsed)
        _evaluate_row(collapsed, first, step, middle[2], scale, posts, line[i, left:right])
        _collapse_row(sample_fit, u, collapsed)
        _evaluate_row(collapsed, first, step, middle[2], scale, posts, across[i, left:right])
    if radar.segment_start.size == 1:
        return True

    earliest, latest = _touched_segments(radar, line_fit)
    other_samples = np.empty(columns)
    for other in range(earliest, latest + 1):
        if other == segment:
            continue
        if not _fit(ground, radar, middle, half, time, other, line_fit, sample_fit) <= TOLERANCE:
            return False
        for i in range(top, bottom):
            posts = heights[i, left:right]
            _collapse_row(sample_fit, (row + i - middle[0]) / half[0], collapsed)
            _evaluate_row(collapsed, first, step, middle[2], scale, posts, other_samples)
            for j in range(columns):
                stamped = radar.line_zero_time + line[i, left + j] * radar.line_interval
                if radar_segment(radar, stamped) == other:
                    across[i, left + j] = other_samples[j]
    return True


@njit
def locate_tile(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    row: int,
    column: int,
    box: Box,
    line: NDArray[np.float64],
    across: NDArray[np.float64],
) -> None:
    """Find the radar coordinates of a tile of cells.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    row, column : int
        Position of the first of them in the raster of the ground model.
    box : tuple of int
        First row, end row, first column and end column of the tile among the heights. The tile
        must lie within one block of the ground model and its margin.
    line, across : array, shape (rows, columns)
        Receive line and sample of each cell of the tile; NaN where the height is void.
    """
    top, bottom, left, right = box
    size = max(bottom - top, right - left)
    while size >= SMALLEST_TILE:
        met = True
        for i in range(top, bottom, size):
            for j in range(left, right, size):
                part = (i, min(i + size, bottom), j, min(j + size, right))
                met &= _locate_box(ground, radar, heights, row, column, part, line, across)
        if met:
            return
        size = (size + 1) // 2
    for i in range(top, bottom):
        for j in range(left, right):
            line[i, j], across[i, j], _, _ = locate_cell(
                ground, radar, row + i, column + j, heights[i, j], radar.line_zero_time
            )
