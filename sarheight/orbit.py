"""Orbits: state vectors, and the position of the satellite at any time between them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.orbit import hermite_coefficients, orbit_states, zero_doppler_time

from sarheight._runtime import Described
from sarheight._state_vectors import (
    FEWEST_VECTORS,
    POSITIONS_FOR_VELOCITY,
    derive_velocities,
    describe_problem,
    find_displaced,
    find_wrong_velocity,
)
from sarheight.ellipsoid import (
    EQUATORIAL_RADIUS,
    GRAVITATIONAL_PARAMETER,
    ROTATION_RATE,
    LookSide,
    cartesian,
    geodetic,
    look_sign,
    point_at_incidence,
    points_at_ranges,
)
from sarheight.errors import OrbitCoverageError

__all__ = [
    "FEWEST_VECTORS",
    "POSITIONS_FOR_VELOCITY",
    "Orbit",
    "look_at",
    "nanoseconds",
    "parse_compact_time",
    "seconds_between",
    "whole_second",
]
__dir__ = __all__.copy  # `dir` lists the public names

Floats = NDArray[np.float64]

PRECISION = 1.0, 0.1
"""Errors that a position (metres) and a velocity (metres per second) may have, at most."""

STEEPEST, GRAZING = 1.0, 90.0
"""Incidence angles in degrees between which a look is to one side and reaches the ground."""


def nanoseconds(time: np.datetime64) -> np.datetime64:
    """Return a time (UTC) with a resolution of nanoseconds."""
    converted: np.datetime64 = time.astype("datetime64[ns]")
    return converted


def seconds_between(earlier: np.datetime64, later: np.datetime64) -> float:
    """Return the seconds from one time to another, exact to a nanosecond."""
    difference = nanoseconds(later) - nanoseconds(earlier)
    return float(difference.astype(np.int64) * 1e-9)


def whole_second(time: np.datetime64) -> np.datetime64:
    """Return a time without the fraction of its second."""
    return nanoseconds(time.astype("datetime64[s]"))


def parse_compact_time(text: str) -> np.datetime64:
    """Return the time (UTC) in a product's name, such as ``20230115T013456``.

    Raises
    ------
    ValueError
        If it is not a time in that form.
    """
    parts = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)", text)
    if parts is None:
        msg = f"found the time {text!r}, expected one such as 20230115T013456"
        raise ValueError(msg)
    year, month, day, hour, minute, second = parts.groups()
    return np.datetime64(f"{year}-{month}-{day}T{hour}:{minute}:{second}", "ns")


@dataclass(frozen=True, eq=False, repr=False)
class Orbit(Described):
    """A stretch of a satellite's orbit in an Earth-fixed frame.

    Between state vectors the trajectory is the polynomial of degree seven through four neighbouring
    vectors (see `sarheight_kernels.orbit`). Before the first and after the last vector it is
    not defined: asking for it is an error.

    Parameters
    ----------
    epoch : datetime64
        Time (UTC) from which seconds are counted.
    time : array, shape (n,)
        Times of the state vectors in seconds since `epoch`, strictly ascending; four or more.
    position : array, shape (n, 3)
        Positions in metres, Earth-fixed (ITRF or WGS84).
    velocity : array, shape (n, 3)
        Velocities in metres per second, Earth-fixed: relative to the rotating Earth.
    source : str
        Where the vectors come from; errors and results name it.

    Raises
    ------
    ValueError
        If there are fewer than four vectors, or they are not finite, not in ascending order,
        more than four minutes apart, not in metres, or velocities do not match positions; or if
        a vector does not continue those beside it (see `require_smooth`).

    References
    ----------
    de Boor, C. (2001). A Practical Guide to Splines, revised edition, chapter I.
    """

    epoch: np.datetime64
    time: Floats
    position: Floats
    velocity: Floats
    source: str = "state vectors"

    def __post_init__(self) -> None:
        """Check the vectors and make them read-only."""
        object.__setattr__(self, "epoch", nanoseconds(self.epoch))
        for name in ("time", "position", "velocity"):
            values = np.array(getattr(self, name), dtype=np.float64, order="C")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
        problem = describe_problem(self.time, self.position, self.velocity)
        if problem is not None:
            msg = f"the orbit from {self.source} cannot be used: {problem}"
            raise ValueError(msg)
        self.require_smooth(*PRECISION)

    @classmethod
    def from_positions(
        cls, epoch: np.datetime64, time: ArrayLike, position: ArrayLike, source: str
    ) -> Orbit:
        """Make an orbit from positions alone; velocities are derived from them.

        The velocity at each vector is that of the polynomial of degree six through the seven
        nearest positions, at the ends through the first or last seven.

        Parameters
        ----------
        epoch : datetime64
            Time (UTC) from which seconds are counted.
        time : array_like, shape (n,)
            Times in seconds since `epoch`, strictly ascending; seven or more.
        position : array_like, shape (n, 3)
            Positions in metres, Earth-fixed.
        source : str
            Where the positions come from.

        Returns
        -------
        Orbit

        Raises
        ------
        ValueError
            If there are fewer than seven positions, or the orbit cannot be used.
        """
        times = np.asarray(time, dtype=np.float64)
        positions = np.asarray(position, dtype=np.float64)
        if times.size < POSITIONS_FOR_VELOCITY or positions.shape != (times.size, 3):
            msg = (
                f"found {times.size} times and positions of shape {positions.shape} from {source}, "
                f"expected at least {POSITIONS_FOR_VELOCITY} times and positions of shape (n, 3): "
                "pass more of the orbit, or velocities as well"
            )
            raise ValueError(msg)
        return cls(epoch, times, positions, derive_velocities(times, positions), source)

    @classmethod
    def circular(
        cls,
        *,
        latitude: float = 0.0,
        longitude: float = 0.0,
        ascending: bool = True,
        epoch: str | np.datetime64 = "2024-01-01T06:00:00",
        duration: float = 300.0,
        interval: float = 10.0,
        altitude: float = 693_000.0,
        inclination: float = 98.18,
    ) -> Orbit:
        """Make a simulated circular orbit, by default like that of Sentinel-1.

        The satellite circles a point mass at a constant rate while the Earth rotates below; its
        state vectors are exact.

        Parameters
        ----------
        latitude : float
            Latitude in degrees, as seen from the Earth's centre, of the point below the
            satellite in the middle of the orbit.
        longitude : float
            Longitude of that point in degrees.
        ascending : bool
            Whether the satellite flies northwards there.
        epoch : datetime64 or str
            Time (UTC) in the middle of the orbit, from which seconds are counted.
        duration : float
            Seconds from the first to the last state vector.
        interval : float
            Seconds between state vectors; shortened where `duration` is no multiple of it.
        altitude : float
            Height above the Earth's equatorial radius in metres.
        inclination : float
            Angle between the orbit and the equator in degrees; above 90 it runs against the
            Earth's rotation.

        Returns
        -------
        Orbit

        Raises
        ------
        ValueError
            If the inclination does not allow the latitude, or the duration is too short.
        """
        tilt = math.radians(inclination)
        # Argument of latitude u in the middle of the orbit: sin(latitude) = sin(i) sin(u).
        sine = math.sin(math.radians(latitude)) / math.sin(tilt)
        if abs(sine) > 1.0:
            msg = (
                f"found latitude {latitude}, but an orbit of {inclination} degrees of inclination "
                f"reaches {math.degrees(math.asin(abs(math.sin(tilt)))):.2f} at most: pass a "
                "latitude closer to the equator"
            )
            raise ValueError(msg)
        middle = math.asin(sine) if ascending else math.pi - math.asin(sine)
        radius = EQUATORIAL_RADIUS + altitude
        # Mean motion, by Kepler's third law.
        rate = math.sqrt(GRAVITATIONAL_PARAMETER / radius**3)
        steps = math.ceil(duration / interval - 1e-9)
        time = np.linspace(-duration / 2, duration / 2, steps + 1)
        # In an inertial frame with the ascending node on its x axis.
        angle = middle + rate * time
        along, across = np.cos(angle), np.sin(angle)
        plane = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(tilt), math.sin(tilt)]])
        inertial = radius * (along[:, None] * plane[0] + across[:, None] * plane[1])
        velocity = radius * rate * (along[:, None] * plane[1] - across[:, None] * plane[0])
        node = math.atan2(math.sin(middle) * math.cos(tilt), math.cos(middle))
        # In the Earth-fixed frame, below which the Earth rotates: v - w x r.
        turn = math.radians(longitude) - node - ROTATION_RATE * time
        position = _rotate(inertial, turn)
        x, y, _ = position.T
        spin = ROTATION_RATE * np.stack([-y, x, np.zeros_like(time)], axis=1)
        return cls(
            np.datetime64(epoch),
            time,
            position,
            _rotate(velocity, turn) - spin,
            f"a simulated circular orbit, {altitude / 1000:g} km high",
        )

    @cached_property
    def _table(self) -> tuple[Floats, Floats]:
        return hermite_coefficients(self.time, self.position, self.velocity)

    @property
    def start(self) -> Floats:
        """Beginning of each interval of the orbit table, shape (n - 1,), in seconds."""
        return self._table[0]

    @property
    def coefficients(self) -> Floats:
        """Polynomials of the orbit table, shape (n - 1, 8, 3); see `sarheight_kernels.orbit`."""
        return self._table[1]

    @property
    def stop(self) -> float:
        """End of the orbit in seconds since the epoch."""
        return float(self.time[-1])

    def facts(self) -> dict[str, str]:
        """Return what the orbit covers and where it comes from, by name, as text."""
        altitude = (np.linalg.norm(self.position, axis=1) - EQUATORIAL_RADIUS) / 1000.0
        first, last = (
            np.datetime_as_string(self.utc(float(time)), unit="s") for time in self.time[[0, -1]]
        )
        return {
            "time": f"{first} to {last} UTC, {self.stop - self.time[0]:.0f} s",
            "state vectors": f"{self.time.size}, {np.median(np.diff(self.time)):.3g} s apart",
            "altitude": f"{altitude.min():.1f} to {altitude.max():.1f} km over the equator",
            "flight": "northwards" if self.position[-1, 2] > self.position[0, 2] else "southwards",
            "source": self.source,
        }

    def utc(self, time: float) -> np.datetime64:
        """Return the UTC of a time given in seconds since the epoch."""
        return self.epoch + np.timedelta64(round(time * 1e9), "ns")

    def require_cover(self, first: float, last: float) -> None:
        """Check that the state vectors cover a time span.

        Parameters
        ----------
        first, last : float
            Seconds since the epoch.

        Raises
        ------
        OrbitCoverageError
            If they do not, or one of the times is not a number.
        """
        if all(self.time[0] <= time <= self.time[-1] for time in (first, last)):
            return
        expected = (
            f"{self.utc(first)} to {self.utc(last)}"
            if math.isfinite(first) and math.isfinite(last)
            else f"{first} to {last} s"
        )
        msg = (
            f"found an orbit from {self.utc(self.time[0])} to {self.utc(self.stop)} "
            f"({self.source}), expected one that covers {expected}: pass the orbit of this "
            "acquisition, with state vectors before its first and after its last line"
        )
        raise OrbitCoverageError(msg)

    def require_smooth(
        self, position_tolerance: float, velocity_tolerance: float, velocity: Floats | None = None
    ) -> None:
        """Check that each state vector continues those beside it.

        Its position is compared with the polynomial through the nearest positions, without its
        own, and its velocity with the slope of the polynomial through them and its own.

        Parameters
        ----------
        position_tolerance : float
            Error in metres that one position may have.
        velocity_tolerance : float
            Error in metres per second that one velocity may have.
        velocity : array, shape (n, 3), optional
            Velocities to check in place of those of the orbit.

        Raises
        ------
        ValueError
            If a vector lies beside the others; the message names it.
        """
        rates = self.velocity if velocity is None else velocity
        problem = find_displaced(self.time, self.position, position_tolerance)
        if problem is None:
            problem = find_wrong_velocity(self.time, self.position, rates, velocity_tolerance)
        if problem is not None:
            index, found = problem
            msg = (
                f"the orbit from {self.source} cannot be used: state vector {index + 1} of "
                f"{self.time.size}, of {self.utc(self.time[index])}, {found}: correct it, or leave "
                "it out"
            )
            raise ValueError(msg)

    def state(self, time: ArrayLike) -> tuple[Floats, Floats]:
        """Interpolate the satellite's position and velocity.

        Parameters
        ----------
        time : array_like
            Seconds since the epoch, of any shape.

        Returns
        -------
        position, velocity : array, shape of `time` plus (3,)
            In metres and metres per second, Earth-fixed.

        Raises
        ------
        OrbitCoverageError
            If a time lies outside the state vectors, or is not a number.
        """
        times = np.asarray(time, dtype=np.float64)
        if times.size:
            self.require_cover(float(times.min()), float(times.max()))
        states = orbit_states(times.ravel(), self.start, self.coefficients)
        shape = (*times.shape, 3)
        return states[:, :3].reshape(shape), states[:, 3:6].reshape(shape)

    def with_epoch(self, epoch: np.datetime64) -> Orbit:
        """Return the same orbit with seconds counted from another time (UTC)."""
        if epoch == self.epoch:
            return self
        later = seconds_between(nanoseconds(epoch), self.epoch)
        return replace(self, epoch=nanoseconds(epoch), time=self.time + later)

    def rotate(self, degrees: float) -> Orbit:
        """Return the orbit rotated about the Earth's axis, eastwards where `degrees` is positive.

        The geometry relative to the ellipsoid stays the same. Use it to see a place in a
        simulation (see `look_at`), and label the result as simulated.
        """
        turn = np.full(self.time.shape, math.radians(degrees))
        return replace(
            self,
            position=_rotate(self.position, turn),
            velocity=_rotate(self.velocity, turn),
            source=f"{self.source}, rotated by {degrees:.4f} degrees about the Earth's axis",
        )

    def crop(self, first: float, last: float) -> Orbit:
        """Return the part of the orbit around a time span.

        Kept are the vectors inside the span, and two more on either side where there are so
        many: inside the span the interpolated orbit stays bit-identical.

        Parameters
        ----------
        first, last : float
            Seconds since the epoch.

        Returns
        -------
        Orbit

        Raises
        ------
        OrbitCoverageError
            If the orbit does not cover the span.
        """
        self.require_cover(first, last)
        first, last = min(first, last), max(first, last)
        begin = int(np.searchsorted(self.time, first, side="right")) - 2
        end = int(np.searchsorted(self.time, last, side="left")) + 2
        begin = max(min(begin, self.time.size - FEWEST_VECTORS), 0)
        end = max(end, begin + FEWEST_VECTORS)
        kept = slice(begin, end)
        return replace(
            self,
            time=self.time[kept],
            position=self.position[kept],
            velocity=self.velocity[kept],
        )


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
    """Find the rotation of an orbit about the Earth's axis with which it sees a place.

    A simulation needs an orbit that sees its place. Any real orbit can be rotated to one::

        rotated = orbit.rotate(look_at(orbit, 45.9, 10.9, incidence=31.0))

    Images that are made with it are simulated, and should be labelled so.

    Parameters
    ----------
    orbit : Orbit
        The orbit, which must pass the latitude.
    latitude, longitude : float
        The place in degrees.
    incidence : float
        Incidence angle there in degrees from the ellipsoid's normal, between 1 and 90.
    look_side : {"right", "left"}
        The side to which the radar looks.
    height : float
        Height of the place above the ellipsoid in metres.
    ascending : bool, optional
        Whether the satellite flies northwards as it sees the place. Needed only where the orbit
        is so long that it passes the latitude more than once; by default the pass nearest to the
        middle of the orbit is used.

    Returns
    -------
    float
        Angle for `Orbit.rotate`: degrees eastwards, between -180 and 180.

    Raises
    ------
    ValueError
        If the incidence angle is not between 1 and 90 degrees, or the look side is unknown.
    OrbitCoverageError
        If the orbit never sees the latitude under that angle.
    """
    from scipy.optimize import brentq

    side = look_sign(look_side)
    if not STEEPEST <= incidence < GRAZING:
        msg = f"found an incidence of {incidence}, expected degrees between 1 and 90, such as 34"
        raise ValueError(msg)

    def seen_place(time: float) -> tuple[float, float]:
        position, velocity = orbit.state(time)
        return geodetic(point_at_incidence(position, velocity, incidence, side, height), height)

    def excess(time: float) -> float:
        return seen_place(time)[0] - latitude

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
            f"one that sees {latitude}{northwards}: pass an orbit that passes that latitude"
        )
        raise OrbitCoverageError(msg)
    middle = (orbit.time[0] + orbit.stop) / 2
    time = min(candidates, key=lambda candidate: abs(candidate - middle))
    return (longitude - seen_place(time)[1] + 180.0) % 360.0 - 180.0


def ground_speed(
    orbit: Orbit, time: float, slant_range: float, side: float, closing: Floats | float = 0.0
) -> float:
    """Return the speed of the point that is seen on the ellipsoid in m/s, by differences."""
    step = 1e-3  # seconds: 7 m, so that rounding and curvature are both far below 1e-6
    ends = [
        points_at_ranges(*orbit.state(at), np.array([slant_range]), side, 0.0, closing)[0]
        for at in (time - step, time + step)
    ]
    return float(np.linalg.norm(ends[1] - ends[0]) / (2 * step))


def closest_approach(
    orbit: Orbit, place: tuple[float, float, float], side: float
) -> tuple[float, float]:
    """Return zero-Doppler time and slant range of a place on the given side of the orbit."""
    latitude, longitude, height = place
    point = cartesian(latitude, longitude, height)
    # A long orbit passes a place more than once: start at the state vector nearest to it.
    guess = orbit.time[np.argmin(np.linalg.norm(orbit.position - point, axis=1))]
    x, y, z = point.tolist()
    time = zero_doppler_time(x, y, z, guess, orbit.start, orbit.coefficients)
    where = f"latitude {latitude}, longitude {longitude}"
    if not orbit.time[0] <= time <= orbit.stop:
        msg = (
            f"found an orbit ({orbit.source}) that does not pass {where} at zero Doppler, expected "
            "one that does: rotate it by sarheight.orbit.look_at, or make it longer"
        )
        raise OrbitCoverageError(msg)
    position, velocity = orbit.state(time)
    sight = point - position
    if side * float(np.cross(sight, velocity) @ position) < 0.0:
        found, expected = ("left", "right") if side > 0.0 else ("right", "left")
        msg = (
            f"found {where} to the {found} of the orbit, expected it to the {expected}: pass "
            f"look_side={found!r}, or rotate the orbit by sarheight.orbit.look_at"
        )
        raise ValueError(msg)
    return time, float(np.linalg.norm(sight))


def _rotate(vectors: Floats, angle: Floats) -> Floats:
    """Rotate vectors, shape (n, 3), about the Earth's axis by angles in radians, shape (n,)."""
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y, z = vectors.T
    return np.stack([cosine * x - sine * y, sine * x + cosine * y, z], axis=1)
