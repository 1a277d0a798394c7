"""Orbits: state vectors, and the satellite's place at any time between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.orbit import hermite_coefficients, orbit_states

from sarheight._annotation import Annotation
from sarheight._annotation_xml import read_annotation, read_eof
from sarheight._look_at import look_at
from sarheight._simulated_orbit import circular_vectors, turned
from sarheight._state_vectors import (
    FEWEST_VECTORS,
    POSITIONS_FOR_VELOCITY,
    on_steady_beat,
    problem_of,
    velocities_of,
)
from sarheight._time import nanoseconds, seconds_between, whole_second
from sarheight.errors import AnnotationError, OrbitCoverageError

if TYPE_CHECKING:
    from sarheight._xml import XmlSource

__all__ = ["Orbit", "look_at"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Orbit:
    """A stretch of a satellite's orbit in an Earth-fixed frame.

    Between state vectors the path is the polynomial of degree seven through four neighbouring
    vectors (see `sarheight_kernels.orbit`). Before the first and after the last vector there is
    no path: asking for one is an error.

    Parameters
    ----------
    epoch : datetime64
        The time (UTC) from which seconds count.
    time : array, shape (n,)
        Times of the state vectors in seconds since `epoch`, strictly ascending; four or more.
    position : array, shape (n, 3)
        Positions in metres, Earth-fixed (ITRF or WGS84).
    velocity : array, shape (n, 3)
        Velocities in metres per second, as seen from the turning Earth.
    source : str
        Where the vectors come from.

    Raises
    ------
    ValueError
        If there are fewer than four vectors, or they are not finite, not in ascending order,
        more than four minutes apart, not in metres, or velocities do not match positions.

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
        problem = problem_of(self.time, self.position, self.velocity)
        if problem is not None:
            msg = f"the orbit from {self.source} cannot be used: {problem}"
            raise ValueError(msg)

    @classmethod
    def from_positions(
        cls, epoch: np.datetime64, time: ArrayLike, position: ArrayLike, source: str
    ) -> Orbit:
        """Make an orbit of positions alone, with the velocities that they imply.

        The velocity at each vector is that of the polynomial of degree six through the seven
        nearest positions, at the ends through the first or last seven.

        Parameters
        ----------
        epoch : datetime64
            The time (UTC) from which seconds count.
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
        return cls(epoch, times, positions, velocities_of(times, positions), source)

    @classmethod
    def from_annotation(cls, source: XmlSource | Annotation) -> Orbit:
        """Read the state vectors of a Sentinel-1 annotation.

        Two things are put right. With them, zero Doppler meets the slant ranges of ESA's
        geolocation grids to 0.02 mm; without them, to 2 mm:

        - The annotation gives times to a microsecond, in which the satellite flies 7 mm. Times
          that stray from a steady beat by no more than that are put back on the beat.
        - Velocities are taken from the positions (see `from_positions`), as those of the
          annotation can be wrong by centimetres per second where the orbit was downlinked. With
          fewer than seven vectors they are kept.

        Parameters
        ----------
        source : str, path, bytes or Annotation
            Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its
            contents, or what `sarheight.sentinel1.read_annotation` has read.

        Returns
        -------
        Orbit
            Its epoch is the time of the image's first line, without the fraction of the second.

        Raises
        ------
        AnnotationError
            If the file is cut short, foreign, unsafe, or its vectors cannot be used.
        OSError
            If the file cannot be read.
        """
        annotation = source if isinstance(source, Annotation) else read_annotation(source)
        vectors = annotation.state_vectors
        epoch = whole_second(annotation.first_line_time)
        time = on_steady_beat(np.array([seconds_between(epoch, each) for each in vectors.time]))
        name = f"the annotation {annotation.name}"
        try:
            if time.size < POSITIONS_FOR_VELOCITY:
                return cls(epoch, time, vectors.position, vectors.velocity, name)
            return cls.from_positions(epoch, time, vectors.position, name)
        except ValueError as error:
            msg = f"{error}; expected the orbit as it was delivered, fetch the annotation again"
            raise AnnotationError(msg) from error

    @classmethod
    def from_eof(
        cls, source: XmlSource, window: tuple[np.datetime64, np.datetime64] | None = None
    ) -> Orbit:
        """Read an orbit file of ESA, precise (POEORB) or restituted (RESORB).

        Parameters
        ----------
        source : str, path or bytes
            Path of the EOF file, plain or compressed with xz, or its contents.
        window : pair of datetime64, optional
            First and last time (UTC) that are needed: only the vectors around them are kept.

        Returns
        -------
        Orbit
            Its epoch is the first time of the window, or of the file where there is none,
            without the fraction of the second.

        Raises
        ------
        AnnotationError
            If the file is cut short, foreign, unsafe, or its vectors cannot be used.
        OrbitCoverageError
            If the file does not cover the window.
        OSError
            If the file cannot be read.
        """
        name, vectors = read_eof(source)
        epoch = whole_second(vectors.time[0] if window is None else nanoseconds(window[0]))
        try:
            orbit = cls(
                epoch,
                np.array([seconds_between(epoch, each) for each in vectors.time]),
                vectors.position,
                vectors.velocity,
                f"the orbit file {name}",
            )
        except ValueError as error:
            msg = f"{error}; expected the file as it was delivered, fetch it again"
            raise AnnotationError(msg) from error
        if window is None:
            return orbit
        return orbit.cropped(*(seconds_between(epoch, each) for each in window))

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

        The satellite circles a point mass at a steady rate while the Earth turns below. State
        vectors are those of the formula, to rounding.

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
            Time (UTC) in the middle of the orbit, from which seconds count.
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
        when = np.datetime64(epoch) if isinstance(epoch, str) else epoch
        time, position, velocity = circular_vectors(
            latitude, longitude, ascending, duration, interval, altitude, inclination
        )
        source = f"a simulated circular orbit, {altitude / 1000:g} km high"
        return cls(when, time, position, velocity, source)

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

    def utc(self, time: float) -> np.datetime64:
        """Return the UTC of a time given in seconds since the epoch."""
        return self.epoch + np.timedelta64(round(time * 1e9), "ns")

    def require_cover(self, first: float, last: float) -> None:
        """Check that the state vectors cover a stretch of time.

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
        wanted = (
            f"{self.utc(first)} to {self.utc(last)}"
            if math.isfinite(first) and math.isfinite(last)
            else f"{first} to {last} s"
        )
        msg = (
            f"found an orbit from {self.utc(self.time[0])} to {self.utc(self.stop)} "
            f"({self.source}), expected one that covers {wanted}: pass the orbit of this "
            "acquisition, with state vectors before its first and after its last line"
        )
        raise OrbitCoverageError(msg)

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
        later = seconds_between(nanoseconds(epoch), self.epoch)
        return replace(self, epoch=nanoseconds(epoch), time=self.time + later)

    def rotated(self, degrees: float) -> Orbit:
        """Return the orbit turned about the Earth's axis, eastwards where `degrees` is positive.

        The ellipsoid does not notice: seen from the turned orbit, a place that far to the east
        looks as the old one did. Use it to bring a place into view for a simulation (see
        `look_at`), and say so where the result is shown.
        """
        turn = np.full(self.time.shape, math.radians(degrees))
        return replace(
            self,
            position=turned(self.position, turn),
            velocity=turned(self.velocity, turn),
            source=f"{self.source}, turned by {degrees:.4f} degrees about the Earth's axis",
        )

    def cropped(self, first: float, last: float) -> Orbit:
        """Return the part of the orbit around a stretch of time.

        The vectors that are kept are those within, and two more on either side where there are
        so many: inside the stretch the orbit stays as it is, to the last bit.

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
            If the orbit does not cover the stretch.
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
