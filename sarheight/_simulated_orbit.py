"""The state vectors of a circular orbit, and turning vectors about the Earth's axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight._constants import EQUATORIAL_RADIUS, GRAVITATIONAL_PARAMETER, ROTATION_RATE

__all__ = ["circular_vectors", "turned"]

Floats = NDArray[np.float64]


def turned(vectors: Floats, angle: Floats) -> Floats:
    """Turn vectors, shape (n, 3), about the Earth's axis by angles in radians, shape (n,)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1)


def circular_vectors(
    latitude: float,
    longitude: float,
    ascending: bool,  # noqa: FBT001 - the public keyword of Orbit.circular
    duration: float,
    interval: float,
    altitude: float,
    inclination: float,
) -> tuple[Floats, Floats, Floats]:
    """Make time, position and velocity of a circular orbit; see `sarheight.orbit.Orbit.circular`.

    Raises
    ------
    ValueError
        If the inclination does not allow the latitude.
    """
    tilt = math.radians(inclination)
    sine = math.sin(math.radians(latitude)) / math.sin(tilt)
    if abs(sine) > 1.0:
        msg = (
            f"found latitude {latitude}, but an orbit of {inclination} degrees of inclination "
            f"reaches {math.degrees(math.asin(abs(math.sin(tilt)))):.2f} at most: pass a latitude "
            "closer to the equator"
        )
        raise ValueError(msg)
    middle = math.asin(sine) if ascending else math.pi - math.asin(sine)
    radius = EQUATORIAL_RADIUS + altitude
    rate = math.sqrt(GRAVITATIONAL_PARAMETER / radius**3)
    steps = math.ceil(duration / interval - 1e-9)
    time = np.linspace(-duration / 2, duration / 2, steps + 1)

    # In a frame that does not turn, with the ascending node on its x axis.
    angle = middle + rate * time
    along, across = np.cos(angle), np.sin(angle)
    inertial = radius * np.stack([along, across * math.cos(tilt), across * math.sin(tilt)], axis=1)
    moving = (radius * rate) * np.stack(
        [-across, along * math.cos(tilt), along * math.sin(tilt)], axis=1
    )
    node = math.radians(longitude) - math.atan2(math.sin(middle) * math.cos(tilt), math.cos(middle))
    turn = node - ROTATION_RATE * time
    position = turned(inertial, turn)
    spin = ROTATION_RATE * np.stack([-position[:, 1], position[:, 0], np.zeros_like(time)], axis=1)
    return time, position, turned(moving, turn) - spin
