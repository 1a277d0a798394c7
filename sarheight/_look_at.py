"""Turning an orbit until it sees a place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight._viewing import LookSide, geodetic, look_sign, point_at_incidence
from sarheight.errors import OrbitCoverageError

if TYPE_CHECKING:
    from sarheight.orbit import Orbit

__all__ = ["look_at"]

STEEPEST, GRAZING = 1.0, 90.0
"""Incidence angles in degrees between which a look is to one side and reaches the ground."""


def look_at(
    orbit: Orbit,
    latitude: float,
    longitude: float,
    incidence: float,
    *,
    look_side: LookSide = "right",
    height: float = 0.0,
    ascending: bool | None = None,
) -> float:
    """Find how far to turn an orbit for it to see a place under a given incidence angle.

    Mountains with an elevation model seldom lie where an annotation is at hand. A real orbit
    may be turned about the Earth's axis to look at them::

        turned = orbit.rotated(look_at(orbit, 45.9, 10.9, incidence=31.0))

    What is made with it is simulated, and should be called so.

    Parameters
    ----------
    orbit : Orbit
        The orbit, which must fly past the latitude.
    latitude, longitude : float
        The place in degrees.
    incidence : float
        Incidence angle there in degrees from the ellipsoid's normal, between 1 and 90.
    look_side : {"right", "left"}
        The side to which the radar looks.
    height : float
        Height of the place above the ellipsoid in metres.
    ascending : bool, optional
        Whether the satellite is to fly northwards as it sees the place. Needed only where the
        orbit is so long that it flies past the latitude more than once; left out, the pass
        nearest to the middle of the orbit is taken.

    Returns
    -------
    float
        Degrees to turn the orbit by, eastwards, between -180 and 180.

    Raises
    ------
    ValueError
        If the incidence angle or the look side is not one.
    OrbitCoverageError
        If the orbit never sees the latitude under that angle.
    """
    from scipy.optimize import brentq

    side = look_sign(look_side)
    if not STEEPEST <= incidence < GRAZING:
        msg = f"found an incidence of {incidence}, expected degrees between 1 and 90, such as 34"
        raise ValueError(msg)

    def seen(time: float) -> tuple[float, float]:
        position, velocity = orbit.state(time)
        return geodetic(point_at_incidence(position, velocity, incidence, side, height), height)

    def excess(time: float) -> float:
        return seen(time)[0] - latitude

    times = np.linspace(orbit.time[0], orbit.stop, 2 * orbit.time.size)
    misses = np.array([excess(time) for time in times])
    candidates = []
    for index in np.flatnonzero(np.signbit(misses[1:]) != np.signbit(misses[:-1])):
        time = brentq(excess, times[index], times[index + 1], xtol=1e-9)
        if ascending is None or (orbit.state(time)[1][2] > 0.0) == ascending:
            candidates.append(time)
    if not candidates:
        seen_latitudes = misses + latitude
        northwards = {None: "", True: " as it flies north", False: " as it flies south"}[ascending]
        msg = (
            f"found an orbit ({orbit.source}) that sees latitudes {seen_latitudes.min():.2f} to "
            f"{seen_latitudes.max():.2f} under {incidence} degrees to the {look_side}, expected "
            f"one that sees {latitude}{northwards}: pass an orbit that flies past that latitude"
        )
        raise OrbitCoverageError(msg)
    middle = (orbit.time[0] + orbit.stop) / 2
    time = min(candidates, key=lambda each: abs(each - middle))
    return (longitude - seen(time)[1] + 180.0) % 360.0 - 180.0
