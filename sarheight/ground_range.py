"""Conversion between slant range and ground range: polynomials that change along azimuth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sarheight.ellipsoid import ground_distances, points_at_ranges

if TYPE_CHECKING:
    from sarheight.orbit import Orbit

__all__ = ["GroundRange", "RangeInterpolation", "ground_range_over"]
__dir__ = __all__.copy  # `dir` lists the public names

Floats = NDArray[np.float64]
RangeInterpolation = Literal["linear", "nearest"]

DEGREE = 8
"""Degree of the polynomials of a simulated image, as in Sentinel-1 annotations."""

NEWTON_STEPS = 3
"""The polynomial of the other direction is within metres: two steps reach rounding."""

MARGIN = 10_000.0
"""Metres beyond the edge of a simulated image to which its polynomials hold, and least distance in
metres of the image from the nadir."""


@dataclass(frozen=True, eq=False)
class GroundRange:
    """Conversion between slant range and ground range.

    Each of k records holds, for one azimuth time, polynomials between slant range and ground
    range. Records differ by the terrain height that they were computed for, and no document of
    ESA says which record applies to which line of an image. There are two ways to use them:

    "linear"
        The results of two records are interpolated linearly in time, and held constant before the
        first and after the last record. Slant range is continuous along azimuth. SNAP and sarsen
        do the same. In a GRDH of the Alps, ESA's geolocation grid differs by up to 1.5 pixels
        (root mean square 0.5).
    "nearest"
        The record nearest in time is used. ESA's geolocation grid is computed in this way: with
        `ground_to_slant` it is reproduced to a nanometre. Halfway between two records, slant
        range jumps: in the same image of the Alps typically by 6 pixels, at most by 19.

    Parameters
    ----------
    time : array, shape (k,)
        Nominal time of the line to which each record applies, in seconds since the grid's
        epoch, ascending.
    slant_origin : array, shape (k,)
        Slant range in metres at the origin of the polynomial.
    slant_to_ground : array, shape (k, d)
        Ground range in metres is the sum over j of ``slant_to_ground[:, j]`` times
        ``(slant range - slant_origin)**j``.
    ground_origin, ground_to_slant : array, shape (k,), (k, d)
        The same for slant range as a polynomial of ground range.
    interpolation : {"linear", "nearest"}
        How records are used. With "linear", `slant_to_ground` defines the conversion, with
        "nearest" `ground_to_slant`; the other polynomial is the first guess of an exact
        inversion, so the two directions agree to rounding even where the polynomials do not.

    Raises
    ------
    ValueError
        If shapes do not match, values are not finite, times are not ascending, or the
        interpolation is unknown.
    """

    time: Floats
    slant_origin: Floats
    slant_to_ground: Floats
    ground_origin: Floats
    ground_to_slant: Floats
    interpolation: RangeInterpolation = "linear"

    def __post_init__(self) -> None:
        """Check the records and make them read-only."""
        if self.interpolation not in get_args(RangeInterpolation):
            msg = (
                f"found interpolation {self.interpolation!r} between records of ground range, "
                "expected 'linear' or 'nearest'"
            )
            raise ValueError(msg)
        for name in ("time", "slant_origin", "slant_to_ground", "ground_origin", "ground_to_slant"):
            values = np.array(getattr(self, name), dtype=np.float64, order="C")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
            if not np.isfinite(values).all() or values.shape[:1] != self.time.shape:
                msg = (
                    f"found {name} of shape {values.shape} for {self.time.size} records, expected "
                    "one row of finite numbers for each: pass complete records"
                )
                raise ValueError(msg)
        if self.time.size == 0 or (np.diff(self.time) <= 0.0).any():
            msg = (
                f"found {self.time.size} records of ground range, expected at least one, at "
                "strictly ascending times: sort the records and drop repeated ones"
            )
            raise ValueError(msg)

    def ground(self, slant_range: ArrayLike, time: ArrayLike) -> Floats:
        """Convert slant range in metres at a time in seconds to ground range in metres."""
        if self.interpolation == "linear":
            return self._to_ground(slant_range, time)[0]
        return _inverse(self._to_slant, slant_range, self._to_ground(slant_range, time)[0], time)

    def slant(self, ground_range: ArrayLike, time: ArrayLike) -> Floats:
        """Convert ground range in metres at a time in seconds to slant range in metres."""
        if self.interpolation == "nearest":
            return self._to_slant(ground_range, time)[0]
        return _inverse(self._to_ground, ground_range, self._to_slant(ground_range, time)[0], time)

    def shift_time(self, seconds: float) -> GroundRange:
        """Return the conversion with its records that many seconds later."""
        return replace(self, time=self.time + seconds)

    def contradictions(self, ground_range: Floats) -> tuple[Floats, Floats]:
        """Return how far the records' polynomials contradict each other, in metres.

        Parameters
        ----------
        ground_range : array, shape (n,)
            Ground ranges of the image.

        Returns
        -------
        errors : array, shape (k, n)
            Ground range after conversion to slant range and back by the two polynomials of one
            record, minus the original.
        steps : array, shape (k - 1, n)
            Slant ranges of each record minus those of the one before.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            ground = np.broadcast_to(ground_range, (self.time.size, ground_range.size))
            slant = _polynomial(
                self.ground_origin[:, None], self.ground_to_slant[:, None, :], ground
            )[0]
            back = _polynomial(self.slant_origin[:, None], self.slant_to_ground[:, None, :], slant)
            return back[0] - ground, np.diff(slant, axis=0)

    def _to_ground(self, slant_range: ArrayLike, time: ArrayLike) -> tuple[Floats, Floats]:
        return self._evaluate(self.slant_origin, self.slant_to_ground, slant_range, time)

    def _to_slant(self, ground_range: ArrayLike, time: ArrayLike) -> tuple[Floats, Floats]:
        return self._evaluate(self.ground_origin, self.ground_to_slant, ground_range, time)

    def _evaluate(
        self, origin: Floats, coefficients: Floats, distance: ArrayLike, time: ArrayLike
    ) -> tuple[Floats, Floats]:
        """Return the value of the polynomials at distances and times, and its slope."""
        distances, times = np.broadcast_arrays(
            np.asarray(distance, dtype=np.float64), np.asarray(time, dtype=np.float64)
        )
        last = self.time.size - 1
        if last == 0:
            return _polynomial(origin[0], coefficients[:1], distances)
        if self.interpolation == "nearest":
            borders = 0.5 * (self.time[1:] + self.time[:-1])
            record = np.searchsorted(borders, times, side="right")
            return _polynomial(origin[record], coefficients[record], distances)
        record = np.clip(np.searchsorted(self.time, times, side="right") - 1, 0, last - 1)
        begin, end = self.time[record], self.time[record + 1]
        weight = np.clip((times - begin) / (end - begin), 0.0, 1.0)
        before = _polynomial(origin[record], coefficients[record], distances)
        after = _polynomial(origin[record + 1], coefficients[record + 1], distances)
        return (
            (1.0 - weight) * before[0] + weight * after[0],
            (1.0 - weight) * before[1] + weight * after[1],
        )


def _inverse(
    function: Callable[[Floats, ArrayLike], tuple[Floats, Floats]],
    target: ArrayLike,
    guess: Floats,
    time: ArrayLike,
) -> Floats:
    """Solve function = target by Newton's method; the function returns value and slope."""
    targets = np.asarray(target, dtype=np.float64)
    argument = guess
    for _ in range(NEWTON_STEPS):
        value, slope = function(argument, time)
        argument = argument - (value - targets) / slope
    return argument


def _polynomial(
    origin: Floats | float, coefficients: Floats, distance: Floats
) -> tuple[Floats, Floats]:
    """Evaluate polynomials, shape (..., d), and their slopes by Horner's scheme."""
    elapsed = distance - origin
    value = np.zeros_like(elapsed)
    slope = np.zeros_like(elapsed)
    for power in range(coefficients.shape[-1] - 1, -1, -1):
        slope = slope * elapsed + value
        value = value * elapsed + coefficients[..., power]
    return value, slope


def ground_range_over(
    orbit: Orbit,
    time: Floats,
    slant_range: float,
    before: float,
    after: float,
    side: float,
    height: float,
) -> GroundRange:
    """Make the conversion of a simulated image, on the ellipsoid.

    Parameters
    ----------
    orbit : Orbit
        Orbit of the satellite.
    time : array, shape (k,)
        Zero-Doppler time of each record in seconds, ascending. At the middle one, ground range 0
        lies `before` metres nearer than `slant_range`.
    slant_range : float
        A slant range of the image in metres.
    before, after : float
        Extent of the image in metres of ground range on either side of `slant_range`.
    side : float
        +1 for a look to the right, -1 to the left.
    height : float
        Height in metres by which the ellipsoid is raised.

    Returns
    -------
    GroundRange

    Raises
    ------
    ValueError
        If the image reaches beyond what the satellite can see at zero Doppler.
    """

    def distances(when: float, ranges: Floats) -> tuple[Floats, Floats]:
        """Return the slant ranges that reach the ground, and ground range from the first one."""
        position, velocity = orbit.state(when)
        points = points_at_ranges(position, velocity, ranges, side, height)
        reached = np.isfinite(points).all(axis=1)
        return ranges[reached], ground_distances(points[reached])

    # A step along the ground changes the slant range by less than its length, so these ranges span
    # the image and its margins.
    ranges, ground = distances(
        time[time.size // 2], slant_range + np.linspace(-before - MARGIN, after + MARGIN, 1001)
    )
    begin = np.interp(slant_range, ranges, ground) - before
    end = begin + before + after
    if begin < MARGIN or end > ground[-1]:
        msg = (
            f"found an image from {before:.0f} m before to {after:.0f} m beyond a slant range of "
            f"{slant_range:.0f} m, which reaches the nadir or the horizon: take fewer "
            "samples, or look under another incidence angle"
        )
        raise ValueError(msg)
    origin, end = np.interp([begin, end + MARGIN], ground, ranges)
    ranges = np.linspace(origin, end, 1001)
    slant_to_ground, ground_to_slant = [], []
    for when in time:
        ground = distances(when, ranges)[1]
        slant_to_ground.append(_fit(ranges - origin, ground))
        ground_to_slant.append(_fit(ground, ranges))
    return GroundRange(
        time,
        np.full(time.size, origin),
        np.array(slant_to_ground),
        np.zeros(time.size),
        np.array(ground_to_slant),
    )


def _fit(argument: Floats, value: Floats) -> Floats:
    """Fit a polynomial and return its coefficients from the constant upwards."""
    fitted = np.polynomial.Polynomial.fit(argument, value, DEGREE).convert()
    return np.pad(fitted.coef, (0, DEGREE + 1 - fitted.coef.size))
