"""The Doppler centroid to which an image is focused, over azimuth time and slant range."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sarheight_kernels.doppler import DopplerTable, closing_speeds

__all__ = ["DopplerLUT"]
__dir__ = __all__.copy  # `dir` lists the public names

Floats = NDArray[np.float64]

DEGREE = 3
"""Degree of the splines along either axis; less where the table has fewer rows or columns."""
SLACK = 0.15, 1000.0
"""Seconds and metres by which an image may reach beyond a table: a kilometre along either axis."""
FEWEST = 2
"""Rows and columns of a table: one value is a centroid for the whole image in two rows of it."""


@dataclass(frozen=True, eq=False)
class DopplerLUT:
    r"""Doppler centroid of an image, as a table over azimuth time and slant range.

    An image that is focused to its *native* Doppler centroid :math:`f_d(t, R)` shows a point P at
    the time t at which

    .. math:: v(t) \cdot (P - s(t)) = \tfrac{1}{2} \lambda f_d(t, R) \, R, \qquad R = |P - s(t)|,

    with position s and velocity v of the satellite. A `sarheight.grid.RadarGrid` with such a table
    has these times, and all functions that take the grid follow it. Images of Sentinel-1, and RSLC
    products of NISAR, are focused to zero Doppler and need none; squinted SICD images have one.

    Between the values of the table the centroid follows bicubic splines, so that it is smooth;
    beyond them it is continued along its tangent.

    Parameters
    ----------
    azimuth_time : array, shape (m,)
        Azimuth times in seconds since the epoch of the grid, ascending, two or more.
    slant_range : array, shape (n,)
        Slant ranges in metres, ascending, two or more.
    frequency : array, shape (m, n)
        Doppler centroid in Hz; positive where the radar looks ahead.

    Raises
    ------
    ValueError
        If shapes do not match, values are not finite, or times or ranges are not ascending.

    References
    ----------
    Cumming, I. G. and Wong, F. H. (2005). Digital Processing of Synthetic Aperture Radar Data,
    chapter 12.

    Examples
    --------
    >>> from sarheight.doppler import DopplerLUT
    >>> lut = DopplerLUT([0.0, 2.0], [820e3, 840e3], [[300.0, 290.0], [300.0, 290.0]])
    >>> float(lut.at(1.0, 830e3))
    295.0
    """

    azimuth_time: Floats
    slant_range: Floats
    frequency: Floats

    def __post_init__(self) -> None:
        """Check the table and make it read-only."""
        for name in ("azimuth_time", "slant_range", "frequency"):
            values = np.array(getattr(self, name), dtype=np.float64, order="C")
            values.flags.writeable = False
            object.__setattr__(self, name, values)
            if not np.isfinite(values).all():
                msg = (
                    f"found {name} of a Doppler centroid that is not finite, expected numbers: "
                    "leave out rows or columns without values"
                )
                raise ValueError(msg)
        shape = self.azimuth_time.shape + self.slant_range.shape
        if len(shape) != 2 or self.frequency.shape != shape or min(shape) < FEWEST:
            msg = (
                f"found a Doppler centroid of shape {self.frequency.shape} at azimuth times of "
                f"shape {self.azimuth_time.shape} and slant ranges of shape "
                f"{self.slant_range.shape}, expected (m, n), (m,) and (n,) with m and n of two "
                "at least: repeat the row or column of a centroid that does not change along it"
            )
            raise ValueError(msg)
        for name in ("azimuth_time", "slant_range"):
            if (np.diff(getattr(self, name)) <= 0.0).any():
                msg = (
                    f"found {name} of a Doppler centroid that does not ascend, expected strictly "
                    "ascending numbers: sort the rows and columns and drop repeated ones"
                )
                raise ValueError(msg)

    def __repr__(self) -> str:
        low, high = self.frequency.min(), self.frequency.max()
        rows, columns = self.frequency.shape
        return f"<{type(self).__name__} {rows} x {columns}, {low:.4g} to {high:.4g} Hz>"

    def at(self, azimuth_time: ArrayLike, slant_range: ArrayLike) -> Floats:
        """Return the Doppler centroid in Hz at azimuth times and slant ranges.

        Parameters
        ----------
        azimuth_time, slant_range : array_like
            Seconds since the epoch, and metres.

        Returns
        -------
        array
        """
        times, ranges = np.broadcast_arrays(
            np.asarray(azimuth_time, dtype=np.float64), np.asarray(slant_range, dtype=np.float64)
        )
        # The closing speed at a wavelength of two metres is the centroid.
        values = closing_speeds(
            self.table(2.0),
            np.ascontiguousarray(times.ravel()),
            np.ascontiguousarray(ranges.ravel()),
        )
        return values.reshape(times.shape)

    def shift_time(self, seconds: float) -> DopplerLUT:
        """Return the table with its times that many seconds later."""
        return replace(self, azimuth_time=self.azimuth_time + seconds)

    def require_cover(self, times: tuple[float, float], ranges: tuple[float, float]) -> None:
        """Refuse an image that reaches beyond the table.

        Parameters
        ----------
        times, ranges : (float, float)
            First and last azimuth time in seconds, least and greatest slant range in metres.

        Raises
        ------
        ValueError
            If it reaches beyond by more than a kilometre: an image that is moved to co-register it
            is still covered by the table that came with it.
        """
        for name, unit, image, axis, allowed in (
            ("azimuth times", "s", times, self.azimuth_time, SLACK[0]),
            ("slant ranges", "m", ranges, self.slant_range, SLACK[1]),
        ):
            if image[0] < axis[0] - allowed or image[1] > axis[-1] + allowed:
                msg = (
                    f"found a Doppler centroid for {name} of {axis[0]:.10g} to {axis[-1]:.10g} "
                    f"{unit} and an image of {image[0]:.10g} to {image[1]:.10g} {unit}; expected a "
                    "table that covers the image: check its epoch and units, or crop the image"
                )
                raise ValueError(msg)

    def table(self, wavelength: float) -> DopplerTable:
        """Return the closing speed, half the wavelength times the centroid, for the kernels.

        Parameters
        ----------
        wavelength : float
            In metres.

        Returns
        -------
        sarheight_kernels.doppler.DopplerTable
        """
        by_range = _spline_pieces(self.slant_range, self.frequency.T)
        # (n - 1, 4, m): each coefficient in range is a function of time.
        pieces = _spline_pieces(self.azimuth_time, np.moveaxis(by_range, 2, 0))
        # (m - 1, 4, n - 1, 4) to (m - 1, n - 1, 4, 4).
        coefficients = 0.5 * wavelength * pieces.transpose(0, 2, 1, 3)
        # Copies, which kernels take for writable arrays as all the others are.
        return DopplerTable(
            self.azimuth_time.copy(), self.slant_range.copy(), np.ascontiguousarray(coefficients)
        )


def zero_doppler_table() -> DopplerTable:
    """Return the table of an image that is focused to zero Doppler."""
    return DopplerTable(np.zeros(1), np.zeros(1), np.empty((0, 0, 4, 4)))


def _spline_pieces(knots: Floats, values: Floats) -> Floats:
    """Interpolate values, shape (n, ...), at knots by a spline.

    Returns the coefficients of powers 0 to 3 of the way from one knot to the next, from 0 to 1:
    shape (n - 1, 4, ...).
    """
    from scipy.interpolate import make_interp_spline

    spline = make_interp_spline(knots, values, k=min(DEGREE, knots.size - 1))
    width = np.diff(knots).reshape(-1, *([1] * (values.ndim - 1)))
    coefficients = np.zeros((knots.size - 1, DEGREE + 1, *values.shape[1:]))
    # Taylor's series at the beginning of each piece.
    for power in range(spline.k + 1):
        derivative = spline(knots[:-1], nu=power)
        coefficients[:, power] = derivative * width**power / math.factorial(power)
    return coefficients
