r"""Single points: where the radar sees them, and in which direction they see the radar.

The look vector of a point P that is seen from s is :math:`L = (s - P) / |s - P|`, here in the axes
east, north and up of the ellipsoid at the point: with the ellipsoid's normal :math:`n` and the
Earth's axis :math:`z`, east is :math:`z \times n` and north :math:`n \times` east, both of length
one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sarheight_kernels._numba import F4, F8, njit
from sarheight_kernels.doppler import doppler_time
from sarheight_kernels.models import (
    annotated_time,
    ground_patch,
    ground_position,
    range_sample,
    range_segment,
)
from sarheight_kernels.orbit import evaluate_orbit
from sarheight_kernels.pool import spread_over

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["cell_look_vectors", "locate_points", "point_look_vectors"]

Sight = tuple[float, float, float, float]


@njit
def _sight(radar: RadarModel, x: float, y: float, z: float, guess: float) -> Sight:
    """Find the vector from a point to the radar in metres, and the azimuth time in seconds.

    NaN where the point lies on the side to which the radar does not look.
    """
    time = doppler_time(x, y, z, guess, radar)
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    sx, sy, sz = px - x, py - y, pz - z
    # Seen from above, position x velocity points to the left of the track.
    right = (py * vz - pz * vy) * sx + (pz * vx - px * vz) * sy + (px * vy - py * vx) * sz
    if not radar.side * right > 0.0:
        return math.nan, math.nan, math.nan, time
    return sx, sy, sz, time


@spread_over("line")
@njit
def locate_points(
    begin: int, end: int, radar: RadarModel, position: F8, line: F8, sample: F8, time: F8
) -> None:
    """Find line and sample of points.

    Parameters
    ----------
    radar : RadarModel
        The model.
    position : array, shape (n, 3)
        Earth-fixed positions in metres.
    line, sample, time : array, shape (n,)
        Receive line, sample and azimuth time in seconds; NaN where a position is NaN, and line and
        sample on the side to which the radar does not look.
    """
    for index in range(begin, end):
        sx, sy, sz, time[index] = _sight(
            radar, position[index, 0], position[index, 1], position[index, 2], radar.line_zero_time
        )
        slant_range = math.sqrt(sx * sx + sy * sy + sz * sz)
        annotated = annotated_time(radar, time[index], slant_range)
        line[index] = (annotated - radar.line_zero_time) / radar.line_interval
        segment = range_segment(radar, annotated)
        sample[index] = range_sample(radar, segment, annotated, slant_range)


@njit
def _towards(
    sx: float, sy: float, sz: float, nx: float, ny: float, nz: float
) -> tuple[float, float, float]:
    """Find the direction of a vector, east, north and up at a point with a normal."""
    length = math.sqrt(sx * sx + sy * sy + sz * sz)
    level = math.sqrt(nx * nx + ny * ny)
    # At a pole every direction is one along a meridian: that of Greenwich is taken.
    ex, ey = (-ny / level, nx / level) if level > 0.0 else (0.0, 1.0)
    east = (ex * sx + ey * sy) / length
    north = (-nz * ey * sx + nz * ex * sy + (nx * ey - ny * ex) * sz) / length
    return east, north, (nx * sx + ny * sy + nz * sz) / length


@spread_over("time")
@njit
def point_look_vectors(
    begin: int, end: int, radar: RadarModel, position: F8, normal: F8, vector: F8, time: F8
) -> None:
    """Find the look vectors of points.

    Parameters
    ----------
    radar : RadarModel
        The model.
    position, normal : array, shape (n, 3)
        Earth-fixed positions in metres, and the ellipsoid's unit normals there.
    vector : array, shape (n, 3)
        Receives the unit vectors towards the radar: east, north, up. NaN as in `locate_points`.
    time : array, shape (n,)
        Receives the azimuth times in seconds.
    """
    for index in range(begin, end):
        sx, sy, sz, time[index] = _sight(
            radar, position[index, 0], position[index, 1], position[index, 2], radar.line_zero_time
        )
        vector[index, 0], vector[index, 1], vector[index, 2] = _towards(
            sx, sy, sz, normal[index, 0], normal[index, 1], normal[index, 2]
        )


@spread_over("heights")
@njit
def cell_look_vectors(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: F4,
    east: F4,
    north: F4,
    up: F4,
) -> None:
    """Find the look vectors of the cells of a DEM.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    east, north, up : array, shape (rows, columns)
        Receive the unit vectors towards the radar; NaN where void, and on the side to which the
        radar does not look.
    """
    for row in range(begin, end):
        guess = radar.line_zero_time
        for column in range(heights.shape[1]):
            height = float(heights[row, column])
            place = float(row), float(column)
            down, across = ground_patch(ground, place[0], place[1])
            x, y, z, nx, ny, nz = ground_position(ground, down, across, place[0], place[1])
            sx, sy, sz, time = _sight(
                radar, x + height * nx, y + height * ny, z + height * nz, guess
            )
            # The next cell is seen at nearly the same time.
            guess = time if math.isfinite(time) else radar.line_zero_time
            e, n, u = _towards(sx, sy, sz, nx, ny, nz)
            east[row, column], north[row, column], up[row, column] = e, n, u
