r"""Models of the ground and of the radar: tables of polynomials that all kernels read.

`GroundModel`
    Where a raster cell lies. Over a patch of rows and columns the position on the ellipsoid and
    the ellipsoid's normal are polynomials in (row, column), whatever the map projection:

    .. math:: P(r, c, h) = X(r, c) + h \, n(r, c).

`RadarModel`
    How a zero-Doppler time and a slant range become a line and a sample. The sample is a
    polynomial in slant range whose coefficients change along azimuth, in segments:

    .. math:: s(t, R) = \sum_k \left(c_k + (t - t_0) \, r_k\right) x^k,
              \qquad x = (R - R_m) / R_h.

    Beyond -1 and 1 it is continued along its tangent, where a polynomial of high degree would
    soon run back into the image. A slant-range grid has one segment, degree one and no rate.

    Some products correct the bistatic delay, by which echoes of greater range are received
    later on the orbit, for one range :math:`R_b` only. Their lines then have an annotated time
    :math:`\tau` that differs from the zero-Doppler time :math:`t` by the residual:

    .. math:: \tau = t - b \, (R - R_b), \qquad b = 1 / c \text{ or } 0.

    Where an image is focused to its native Doppler centroid, the azimuth time of the centroid takes
    the place of the zero-Doppler time (`sarheight_kernels.doppler`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sarheight_kernels._numba import F8, njit
from sarheight_kernels.doppler import doppler_time
from sarheight_kernels.orbit import evaluate_orbit


class GroundModel(NamedTuple):
    """Position of raster cells in an Earth-fixed frame, as polynomials over patchs.

    Attributes
    ----------
    patch_rows, patch_columns : int
        Size of a patch in cells. Patch (i, j) serves the rows from ``i * patch_rows``, the
        columns from ``j * patch_columns``, and a margin around them.
    half_rows, half_columns : float
        Half the size of the domain of a patch's polynomials, in cells, margin included.
    coefficients : array, shape (patchs down, patchs across, degree + 1, degree + 1, 6)
        Coefficient of ``u**i * v**j`` with u and v the row and the column from the centre of
        the patch in units of the half sizes: position x, y, z on the ellipsoid in metres, then
        the unit normal x, y, z.
    """

    patch_rows: int
    patch_columns: int
    half_rows: float
    half_columns: float
    coefficients: F8


class RadarModel(NamedTuple):
    """Orbit and sampling of a radar image.

    Attributes
    ----------
    orbit_start, orbit_coefficients : array, shape (m,), (m, 8, 3)
        Orbit table, see `sarheight_kernels.orbit`.
    line_zero_time, line_interval : float
        Annotated time of the centre of line 0 and time between lines, in seconds.
    segment_start : array, shape (k,)
        Annotated time of the line at which each segment begins, in seconds. The first also
        serves all earlier lines.
    segment_origin : array, shape (k,)
        Time t0 from which the change of a segment's coefficients counts, in seconds.
    coefficients, rate : array, shape (k, d)
        Coefficients of the sample in powers of the scaled slant range, and their change per
        second.
    range_middle, range_half : float
        Slant range that maps to 0, and the slant range from there to 1, in metres. The
        polynomials hold from -1 to 1.
    bistatic_range : float
        Slant range R_b in metres at which the annotated time of a line is its zero-Doppler time.
    bistatic_rate : float
        Residual bistatic delay b in seconds per metre of slant range beyond `bistatic_range`; 0
        where lines are annotated with zero-Doppler times.
    side : float
        +1 where the radar looks to the right of its flight, -1 to the left.
    doppler_time, doppler_range, doppler_coefficients : array
        The Doppler centroid to which the image is focused, see
        `sarheight_kernels.doppler.DopplerTable`.
    """

    orbit_start: F8
    orbit_coefficients: F8
    line_zero_time: float
    line_interval: float
    segment_start: F8
    segment_origin: F8
    coefficients: F8
    rate: F8
    range_middle: float
    range_half: float
    bistatic_range: float
    bistatic_rate: float
    side: float
    doppler_time: F8
    doppler_range: F8
    doppler_coefficients: F8


@njit
def ground_patch(ground: GroundModel, row: float, column: float) -> tuple[int, int]:
    """Find the patch of a ground model (down, across) that serves a cell; outside, the nearest."""
    down = int(row) // ground.patch_rows
    across = int(column) // ground.patch_columns
    return (
        min(max(down, 0), ground.coefficients.shape[0] - 1),
        min(max(across, 0), ground.coefficients.shape[1] - 1),
    )


@njit
def ground_position(
    ground: GroundModel, down: int, across: int, row: float, column: float
) -> tuple[float, float, float, float, float, float]:
    """Evaluate position and normal of a cell, by Horner's scheme in rows and columns.

    Parameters
    ----------
    ground : GroundModel
        The model.
    down, across : int
        The patch to use, from `ground_patch`.
    row, column : float
        The cell; integers are cell centres.

    Returns
    -------
    tuple of float
        Position x, y, z on the ellipsoid in metres and the unit normal x, y, z.
    """
    coefficients = ground.coefficients[down, across]
    size = coefficients.shape[0]
    u = (row - (down + 0.5) * ground.patch_rows + 0.5) / ground.half_rows
    v = (column - (across + 0.5) * ground.patch_columns + 0.5) / ground.half_columns
    x = y = z = nx = ny = nz = 0.0
    for i in range(size - 1, -1, -1):
        a = b = c = d = e = f = 0.0
        for j in range(size - 1, -1, -1):
            a = a * v + coefficients[i, j, 0]
            b = b * v + coefficients[i, j, 1]
            c = c * v + coefficients[i, j, 2]
            d = d * v + coefficients[i, j, 3]
            e = e * v + coefficients[i, j, 4]
            f = f * v + coefficients[i, j, 5]
        x = x * u + a
        y = y * u + b
        z = z * u + c
        nx = nx * u + d
        ny = ny * u + e
        nz = nz * u + f
    return x, y, z, nx, ny, nz


@njit
def annotated_time(radar: RadarModel, time: float, slant_range: float) -> float:
    """Find the annotated time of the line on which a zero-Doppler time and a slant range lie."""
    return time - radar.bistatic_rate * (slant_range - radar.bistatic_range)


@njit
def range_segment(radar: RadarModel, annotated: float) -> int:
    """Find the last segment of the range sampling that begins at or before an annotated time."""
    begun, ahead = 0, radar.segment_start.size
    while ahead - begun > 1:
        middle = (begun + ahead) // 2
        if annotated < radar.segment_start[middle]:
            ahead = middle
        else:
            begun = middle
    return begun


@njit
def range_sample(radar: RadarModel, segment: int, annotated: float, slant_range: float) -> float:
    """Convert a slant range in metres to a sample; integers are pixel centres.

    `segment` is from `range_segment`, `annotated` the annotated time of the line in seconds. The
    slope is carried along in Horner's scheme, for the tangent beyond the polynomial's domain.
    """
    scaled = (slant_range - radar.range_middle) / radar.range_half
    inside = min(max(scaled, -1.0), 1.0)
    elapsed = annotated - radar.segment_origin[segment]
    result, slope = 0.0, 0.0
    for power in range(radar.coefficients.shape[1] - 1, -1, -1):
        coefficient = radar.coefficients[segment, power] + elapsed * radar.rate[segment, power]
        slope = slope * inside + result
        result = result * inside + coefficient
    return result + slope * (scaled - inside)


BOUND_MARGIN = 2.0
"""Lines and samples added around a box of cells, as its edges are curved between its corners."""


@njit
def locate_cell(
    ground: GroundModel, radar: RadarModel, row: float, column: float, height: float, guess: float
) -> tuple[float, float, float, float]:
    """Solve for the radar coordinates of one cell exactly, by Newton's method.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    row, column, height : float
        The cell, and its height above the ellipsoid in metres.
    guess : float
        Azimuth time to begin with, in seconds.

    Returns
    -------
    tuple of float
        Line, sample, azimuth time in seconds and slant range in metres; NaN where there
        is no solution.
    """
    down, across = ground_patch(ground, row, column)
    x, y, z, nx, ny, nz = ground_position(ground, down, across, row, column)
    x += height * nx
    y += height * ny
    z += height * nz
    time = doppler_time(x, y, z, guess, radar)
    px, py, pz, _, _, _, _, _, _ = evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)
    slant_range = math.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2)
    annotated = annotated_time(radar, time, slant_range)
    line = (annotated - radar.line_zero_time) / radar.line_interval
    sample = range_sample(radar, range_segment(radar, annotated), annotated, slant_range)
    return line, sample, time, slant_range


@njit
def cell_on_look_side(ground: GroundModel, radar: RadarModel, row: float, column: float) -> bool:
    """Tell whether a cell, taken at height zero, lies on the side to which the radar looks.

    A point and its mirror image beyond the satellite's track share time and slant range: only
    the side distinguishes them.
    """
    _, _, time, _ = locate_cell(ground, radar, row, column, 0.0, radar.line_zero_time)
    down, across = ground_patch(ground, row, column)
    x, y, z, _, _, _ = ground_position(ground, down, across, row, column)
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    # Seen from above, position x velocity points to the left of the track.
    left = (
        (py * vz - pz * vy) * (x - px)
        + (pz * vx - px * vz) * (y - py)
        + (px * vy - py * vx) * (z - pz)
    )
    return bool(-radar.side * left > 0.0)


@njit
def box_bounds(
    ground: GroundModel,
    radar: RadarModel,
    edges: tuple[float, float, float, float],
    lowest: float,
    highest: float,
    bound: F8,
) -> None:
    """Find which part of the image a box of cells can contribute to.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    edges : tuple of float
        First and last row, first and last column of the cells at the corners.
    lowest, highest : float
        Height range in metres; NaN where all are void.
    bound : array, shape (4,)
        Receives the least and the greatest line, the least and the greatest sample; an empty range
        (inf, -inf) where the box is void, and (-inf, inf, inf, -inf) where it lies on the side to
        which the radar does not look.
    """
    row, end_row, column, end_column = edges
    bound[0] = bound[2] = math.inf
    bound[1] = bound[3] = -math.inf
    if math.isnan(lowest):
        return
    if not cell_on_look_side(ground, radar, 0.5 * (row + end_row), 0.5 * (column + end_column)):
        bound[0], bound[1] = -math.inf, math.inf
        return
    time = radar.line_zero_time
    for corner in range(8):
        line, sample, time, _ = locate_cell(
            ground,
            radar,
            end_row if corner & 1 else row,
            end_column if corner & 2 else column,
            highest if corner & 4 else lowest,
            time if math.isfinite(time) else radar.line_zero_time,
        )
        bound[0] = min(bound[0], line - BOUND_MARGIN)
        bound[1] = max(bound[1], line + BOUND_MARGIN)
        bound[2] = min(bound[2], sample - BOUND_MARGIN)
        bound[3] = max(bound[3], sample + BOUND_MARGIN)
