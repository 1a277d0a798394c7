"""Constants of nature and of the Earth.

References
----------
NIMA (2000). Department of Defense World Geodetic System 1984, TR8350.2, third edition.
"""

from __future__ import annotations

SPEED_OF_LIGHT = 299_792_458.0
"""Metres per second, in vacuum."""

EQUATORIAL_RADIUS = 6_378_137.0
"""Semi-major axis of the WGS84 ellipsoid in metres."""

POLAR_RADIUS = 6_356_752.314_245_179
"""Semi-minor axis of the WGS84 ellipsoid in metres."""

GRAVITATIONAL_PARAMETER = 3.986_004_418e14
"""Gravitational constant times the mass of the Earth, in cubic metres per second squared."""

ROTATION_RATE = 7.292_115e-5
"""Rotation of the Earth in radians per second."""
