r"""From the radar to the ground: the point at a time, a slant range and a height.

In the plane at a right angle to the velocity the points at slant range :math:`R` form a circle,

.. math:: P(\alpha) = s + R \, (\sin\alpha \, e + \cos\alpha \, d),

with :math:`e` outwards to the side the radar looks, :math:`d` downwards, and the look angle
:math:`\alpha`. Newton's method finds the point with a given height above the ellipsoid. At a
Doppler centroid the circle lies ahead of the satellite (`sarheight_kernels.doppler`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sarheight_kernels._numba import F8, njit
from sarheight_kernels.doppler import closing_speed, is_native, range_on_cone
from sarheight_kernels.orbit import evaluate_orbit
from sarheight_kernels.pool import spread_over
from sarheight_kernels.profiles import (
    ACTIVE_SHADOW,
    Scan,
    classify,
    empty_profile,
    knot_columns,
    profile_samples,
    trace_profile,
)

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

__all__ = ["geodetic", "pixel_heights", "points_at_height"]

SEMI_MAJOR = 6378137.0
FLATTENING = 1.0 / 298.257223563
SEMI_MINOR = SEMI_MAJOR * (1.0 - FLATTENING)
ECCENTRICITY_SQUARED = FLATTENING * (2.0 - FLATTENING)
SECOND_ECCENTRICITY_SQUARED = ECCENTRICITY_SQUARED / (1.0 - ECCENTRICITY_SQUARED)


@njit
def geodetic(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Convert an Earth-fixed position to geodetic coordinates on WGS84.

    Parameters
    ----------
    x, y, z : float
        Position in metres.

    Returns
    -------
    tuple of float
        Longitude and latitude in radians, height above the ellipsoid in metres; good to a
        micrometre from 10 km below the ellipsoid to the height of a satellite.

    References
    ----------
    Bowring, B. R. (1976). Transformation from spatial to geographical coordinates. Survey
    Review 23(181), 323-327.
    """
    radius = math.hypot(x, y)
    reduced = math.atan2(z * SEMI_MAJOR, radius * SEMI_MINOR)
    latitude = 0.0
    for _ in range(3):
        latitude = math.atan2(
            z + SECOND_ECCENTRICITY_SQUARED * SEMI_MINOR * math.sin(reduced) ** 3,
            radius - ECCENTRICITY_SQUARED * SEMI_MAJOR * math.cos(reduced) ** 3,
        )
        reduced = math.atan2((1.0 - FLATTENING) * math.sin(latitude), math.cos(latitude))
    sine, cosine = math.sin(latitude), math.cos(latitude)
    curvature = SEMI_MAJOR / math.sqrt(1.0 - ECCENTRICITY_SQUARED * sine * sine)
    # Exact for any latitude: the distance along the normal from the foot of the point.
    height = radius * cosine + z * sine - SEMI_MAJOR * SEMI_MAJOR / curvature
    return math.atan2(y, x), latitude, height


@njit
def _point(
    radar: RadarModel, time: float, slant_range: float, height: float
) -> tuple[float, float, float]:
    """Find longitude, latitude and height of a point; NaN where the circle misses the height."""
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    speed = math.sqrt(vx * vx + vy * vy + vz * vz)
    vx, vy, vz = vx / speed, vy / speed, vz / speed
    if is_native(radar):
        # At the Doppler centroid: the circle at zero Doppler of a satellite that is q R / |v| ahead
        # and flies in parallel.
        closing, _, _ = closing_speed(radar, time, slant_range)
        sine = closing / speed
        ahead = slant_range * sine
        px, py, pz = px + ahead * vx, py + ahead * vy, pz + ahead * vz
        slant_range *= math.sqrt(1.0 - sine * sine)
    along = px * vx + py * vy + pz * vz
    dx, dy, dz = along * vx - px, along * vy - py, along * vz - pz
    distance = math.sqrt(dx * dx + dy * dy + dz * dz)
    dx, dy, dz = dx / distance, dy / distance, dz / distance
    ex = radar.side * (dy * vz - dz * vy)
    ey = radar.side * (dz * vx - dx * vz)
    ez = radar.side * (dx * vy - dy * vx)
    # The first guess is the law of cosines over a sphere.
    earth = 6371000.0 + height
    cosine = (slant_range * slant_range + distance * distance - earth * earth) / (
        2.0 * slant_range * distance
    )
    look_angle = math.acos(min(max(cosine, -1.0), 1.0 - 1e-6))
    for _ in range(30):
        sine, cosine = math.sin(look_angle), math.cos(look_angle)
        x = px + slant_range * (sine * ex + cosine * dx)
        y = py + slant_range * (sine * ey + cosine * dy)
        z = pz + slant_range * (sine * ez + cosine * dz)
        longitude, latitude, reached_height = geodetic(x, y, z)
        nx = math.cos(latitude) * math.cos(longitude)
        ny = math.cos(latitude) * math.sin(longitude)
        nz = math.sin(latitude)
        slope = slant_range * (
            nx * (cosine * ex - sine * dx)
            + ny * (cosine * ey - sine * dy)
            + nz * (cosine * ez - sine * dz)
        )
        if abs(reached_height - height) < 1e-7:
            return longitude, latitude, reached_height
        look_angle -= (reached_height - height) / slope
        if not 0.0 < look_angle < math.pi / 2:
            break
    return math.nan, math.nan, math.nan


@spread_over("time", least=128)
@njit
def points_at_height(
    begin: int,
    end: int,
    radar: RadarModel,
    time: F8,
    slant_range: F8,
    height: F8,
    longitude: F8,
    latitude: F8,
) -> None:
    """Find the points at given times, slant ranges and heights.

    Parameters
    ----------
    radar : RadarModel
        The model; only its orbit, its side and its Doppler centroid are used.
    time, slant_range, height : array, shape (n,)
        Azimuth time in seconds, slant range in metres, height above the ellipsoid in metres.
    longitude, latitude : array, shape (n,)
        Receive the geodetic coordinates in radians; NaN where no point at that height lies at
        that slant range.
    """
    for index in range(begin, end):
        longitude[index], latitude[index], _ = _point(
            radar, time[index], slant_range[index], height[index]
        )


@njit
def _move_ahead(radar: RadarModel, time: float, outward: float, downward: float, point: F8) -> None:
    """Move a point beside the satellite to the cone of the Doppler centroid, by q R / |v|."""
    _, _, _, vx, vy, vz, _, _, _ = evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)
    velocity = np.array((vx, vy, vz))
    speed = math.sqrt((velocity * velocity).sum())
    across = math.sqrt(outward * outward + downward * downward)
    slant_range = range_on_cone(radar, time, speed, across)
    closing, _, _ = closing_speed(radar, time, slant_range)
    point += (closing * slant_range / speed**2) * velocity


@spread_over("times")
@njit
def pixel_heights(
    begin: int,
    end: int,
    scan: Scan,
    times: F8,
    image_heights: F8,
) -> None:
    """Find the height of the terrain that the pixels of an image see.

    Parameters
    ----------
    scan : Scan
        The DEM under the radar.
    times : array, shape (lines,)
        Zero-Doppler time of each line in the middle of the image, in seconds.
    image_heights : array, shape (lines, samples)
        Receives the height of the illuminated terrain at the centre of each pixel; in layover, that
        of the place nearest on the ground to the satellite's track. NaN where there is none.
    """
    radar, columns, samples = scan.radar, scan.heights.shape[1], image_heights.shape[1]
    knots, profile = knot_columns(scan.ground, columns), empty_profile(columns)
    outward, downward, sample = profile.outward, profile.downward, profile.sample
    category, reach = np.empty(columns, np.uint8), np.empty(samples)
    for index in range(begin, end):
        time = times[index]
        trace_profile(knots, scan, time, profile)
        classify(profile, 0.0, category)
        profile_samples(radar, time, profile)

        # Unit vectors of the plane of zero Doppler: downwards, and outwards to the look side.
        px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
            time, radar.orbit_start, radar.orbit_coefficients
        )
        velocity = np.array((vx, vy, vz)) / math.sqrt(vx * vx + vy * vy + vz * vz)
        position = np.array((px, py, pz))
        down = velocity * (position * velocity).sum() - position
        down /= math.sqrt((down * down).sum())
        out = np.empty(3)
        for axis in range(3):
            a, b = (axis + 1) % 3, (axis + 2) % 3
            out[axis] = radar.side * (down[a] * velocity[b] - down[b] * velocity[a])

        image_heights[index] = math.nan
        reach[:] = math.inf
        for i in range(columns - 1):
            if math.isnan(sample[i]) or math.isnan(sample[i + 1]):
                continue
            if category[i] >= ACTIVE_SHADOW and category[i + 1] >= ACTIVE_SHADOW:
                continue
            low, high = min(sample[i], sample[i + 1]), max(sample[i], sample[i + 1])
            first = max(math.floor(max(low, -1.0)) + 1, 0)
            for s in range(first, min(math.floor(min(high, samples)) + 1, samples)):
                fraction = (s - sample[i]) / (sample[i + 1] - sample[i])
                far = outward[i] + fraction * (outward[i + 1] - outward[i])
                if far < reach[s]:
                    deep = downward[i] + fraction * (downward[i + 1] - downward[i])
                    point = position + far * out + deep * down
                    if is_native(radar):
                        _move_ahead(radar, time, far, deep, point)
                    _, _, height = geodetic(point[0], point[1], point[2])
                    image_heights[index, s] = height
                    reach[s] = far
