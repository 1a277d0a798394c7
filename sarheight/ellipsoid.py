"""Physical constants, the WGS84 ellipsoid, and zero-Doppler points on it.

References
----------
NIMA (2000). Department of Defense World Geodetic System 1984, TR8350.2, third edition.

Positions are Earth-fixed, in metres. The ellipsoid is WGS84, raised by a height: its axes are
longer by that height. For the heights of mountains this differs from the surface of that
ellipsoidal height by less than a centimetre.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ECCENTRICITY_SQUARED",
    "EQUATORIAL_RADIUS",
    "GRAVITATIONAL_PARAMETER",
    "POLAR_RADIUS",
    "ROTATION_RATE",
    "SPEED_OF_LIGHT",
    "LookSide",
    "cartesian",
    "geodetic",
    "ground_distances",
    "look_sign",
    "point_at_incidence",
    "points_at_ranges",
    "to_earth_fixed",
    "vertical",
]
__dir__ = __all__.copy  # `dir` lists the public names

SPEED_OF_LIGHT = 299_792_458.0
"""Metres per second, in vacuum."""

EQUATORIAL_RADIUS = 6_378_137.0
"""Semi-major axis of the WGS84 ellipsoid in metres."""

POLAR_RADIUS = 6_356_752.314_245_179
"""Semi-minor axis of the WGS84 ellipsoid in metres."""

ECCENTRICITY_SQUARED = 1.0 - (POLAR_RADIUS / EQUATORIAL_RADIUS) ** 2
"""Squared first eccentricity of the WGS84 ellipsoid."""

GRAVITATIONAL_PARAMETER = 3.986_004_418e14
"""Gravitational constant times the mass of the Earth, in cubic metres per second squared."""

ROTATION_RATE = 7.292_115e-5
"""Rotation of the Earth in radians per second."""


LookSide = Literal["right", "left"]
Floats = NDArray[np.float64]


def look_sign(look_side: str) -> float:
    """Return +1 for a look to the right of the flight, -1 for one to the left.

    Raises
    ------
    ValueError
        If the side is neither.
    """
    if look_side == "right":
        return 1.0
    if look_side == "left":
        return -1.0
    msg = f"the look side is {look_side!r}, expected 'right' or 'left'; Sentinel-1 looks right"
    raise ValueError(msg)


def vertical(latitude: float, longitude: float) -> Floats:
    """Return the unit normal of the ellipsoid, shape (3,), at a position in degrees."""
    north, east = math.radians(latitude), math.radians(longitude)
    return np.array(
        [
            math.cos(north) * math.cos(east),
            math.cos(north) * math.sin(east),
            math.sin(north),
        ]
    )


def cartesian(latitude: float, longitude: float, height: float) -> Floats:
    """Return the Earth-fixed position, shape (3,), of a geodetic one in degrees and metres."""
    normal = vertical(latitude, longitude)
    # Normal scaled by the squared axes: its length relative to the normal is the radius of
    # curvature in the prime vertical.
    scaled = np.array([EQUATORIAL_RADIUS**2, EQUATORIAL_RADIUS**2, POLAR_RADIUS**2]) * normal
    position: Floats = scaled / math.sqrt(scaled @ normal) + height * normal
    return position


def to_earth_fixed(longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Return Earth-fixed positions on the ellipsoid and its normals, shape (..., 3) each.

    `longitude` and `latitude` are in degrees, of shape (...).
    """
    lam, phi = np.radians(longitude), np.radians(latitude)
    normal = np.stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)), axis=-1)
    curvature = EQUATORIAL_RADIUS / np.sqrt(1.0 - ECCENTRICITY_SQUARED * np.sin(phi) ** 2)
    scale = np.stack((curvature, curvature, curvature * (1.0 - ECCENTRICITY_SQUARED)), axis=-1)
    return scale * normal, normal


def geodetic(position: Floats, height: float) -> tuple[float, float]:
    """Return latitude and longitude in degrees of a point on the ellipsoid raised by `height`."""
    x, y, z = (position / _axes(height) ** 2).tolist()
    return math.degrees(math.atan2(z, math.hypot(x, y))), math.degrees(math.atan2(y, x))


def _axes(height: float) -> Floats:
    return np.array([EQUATORIAL_RADIUS, EQUATORIAL_RADIUS, POLAR_RADIUS]) + height


def _zero_doppler_plane(position: Floats, velocity: Floats, side: float) -> tuple[Floats, Floats]:
    """Return the unit vectors down and to the side in the plane perpendicular to the velocity."""
    forward = velocity / np.linalg.norm(velocity)
    down = -(position - (position @ forward) * forward)
    down /= np.linalg.norm(down)
    return down, side * np.cross(down, forward)


def point_at_incidence(
    position: Floats, velocity: Floats, incidence: float, side: float, height: float
) -> Floats:
    """Return the point, shape (3,), at zero Doppler and an incidence angle.

    `incidence` is in degrees from the ellipsoid's normal, between 1 and 90.
    """
    down, sideways = _zero_doppler_plane(position, velocity, side)
    axes = _axes(height)

    def intersection(angle: float) -> Floats | None:
        """Return the first point of a ray at an angle from nadir: a quadratic equation."""
        ray = math.cos(angle) * down + math.sin(angle) * sideways
        scaled_ray, scaled_position = ray / axes, position / axes
        square = scaled_ray @ scaled_ray
        half = scaled_ray @ scaled_position
        inside = half**2 - square * (scaled_position @ scaled_position - 1.0)
        if inside < 0.0:
            return None
        distance = (-half - math.sqrt(inside)) / square
        point: Floats = position + distance * ray
        return point

    def excess(angle: float) -> float:
        # Beyond the horizon: above any incidence.
        point = intersection(angle)
        if point is None:
            return 90.0 - incidence
        normal = point / axes**2
        sight = position - point
        cosine = float((normal @ sight) / (np.linalg.norm(normal) * np.linalg.norm(sight)))
        return math.degrees(math.acos(min(cosine, 1.0))) - incidence

    from scipy.optimize import brentq

    point = intersection(brentq(excess, 0.0, math.pi / 2, xtol=1e-13))
    if point is None:
        msg = f"no point of the Earth is seen under an incidence of {incidence} degrees"
        raise ValueError(msg)
    return point


def points_at_ranges(
    position: Floats,
    velocity: Floats,
    slant_range: Floats,
    side: float,
    height: float,
    closing: Floats | float = 0.0,
) -> Floats:
    """Return the points, shape (n, 3), at slant ranges, shape (n,), and zero Doppler.

    Or at closing speeds in metres per second, shape (n,), see `sarheight_kernels.doppler`. NaN
    where no point of the ellipsoid has that range.
    """
    down, sideways = _zero_doppler_plane(position, velocity, side)
    speed = np.linalg.norm(velocity)
    ahead = np.broadcast_to(closing / speed, slant_range.shape)
    across = np.sqrt(1.0 - ahead**2)
    # Along the cone of the Doppler centroid, of which zero Doppler is the flattest.
    forward = ahead[:, None] * velocity / speed
    axes = _axes(height)
    distance = np.linalg.norm(position)
    radius = np.linalg.norm(axes * position / distance)
    with np.errstate(invalid="ignore"):
        # First guess of the look angle: law of cosines on a sphere. Newton's method on the
        # ellipsoid equation |point / axes|^2 = 1 then converges to rounding in 8 steps.
        angle = np.arccos(
            ((slant_range * across) ** 2 + distance**2 - radius**2)
            / (2.0 * slant_range * across * distance)
        )
        for _ in range(8):
            ray = (np.cos(angle) * across)[:, None] * down + forward
            ray += (np.sin(angle) * across)[:, None] * sideways
            derivative = (np.cos(angle) * across)[:, None] * sideways
            derivative -= (np.sin(angle) * across)[:, None] * down
            point: Floats = position + slant_range[:, None] * ray
            outside = np.sum((point / axes) ** 2, axis=1) - 1.0
            slope = 2.0 * slant_range * np.sum(point * derivative / axes**2, axis=1)
            angle -= outside / slope
    return point


def ground_distances(points: Floats) -> Floats:
    """Return the distance along a dense row of points, shape (n, 3), from its first point."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])
