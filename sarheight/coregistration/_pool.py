"""One shift from many windows: outliers set aside, and a standard error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight.coregistration._correlate import Moments, correlation, peak_of

if TYPE_CHECKING:
    from sarheight.coregistration._windows import Window

__all__ = ["CLOSE", "Compared", "Pool"]

Floats = NDArray[np.float64]

CLOSE = 4
"""Averaged pixels around the common shift in which a window's own is looked for."""
OUTLIER = 4.0
"""Robust standard deviations beyond which a window's own shift is that of an outlier."""
NEAR = 1.0
"""Averaged pixels within which a window is none, however well the others agree."""
FEWEST_TO_JUDGE = 5
FEWEST_FOR_JACKKNIFE = 4


@dataclass(frozen=True, eq=False)
class Compared:
    """A window that was compared with its simulation.

    Attributes
    ----------
    window : Window
        The window.
    moments : Moments
        Second moments at each shift.
    pixels : int
        Averaged pixels with data.
    contrast : float
        Standard deviation of the simulated detail of log-intensity.
    """

    window: Window
    moments: Moments
    pixels: int
    contrast: float


@dataclass(frozen=True, eq=False)
class Pool:
    """What several windows say together.

    Attributes
    ----------
    used : array of bool, shape (windows,)
        False for outliers.
    own : array, shape (windows, 2)
        Each window's own shift in averaged lines and samples.
    alone : array, shape (windows,)
        Each window's own correlation where the shift is none.
    surface : array, shape (2 reach + 1, 2 reach + 1)
        Correlation of the windows that are used, together.
    shift, error : array, shape (2,)
        The common shift in averaged lines and samples, and its standard errors.
    """

    used: NDArray[np.bool_]
    own: Floats
    alone: Floats
    surface: Floats
    shift: Floats
    error: Floats

    @classmethod
    def of(cls, windows: Sequence[Compared]) -> Pool:
        """Pool windows, one at least."""
        surfaces = [correlation([each.moments]) for each in windows]
        own = np.array([_shift(surface) for surface in surfaces])
        used = ~_outliers(own)
        kept = [each for each, good in zip(windows, used, strict=True) if good]
        surface = correlation([each.moments for each in kept])
        middle = surface.shape[0] // 2
        return cls(
            used=used,
            own=own,
            alone=np.array([each[middle, middle] for each in surfaces]),
            surface=surface,
            shift=np.array(_shift(surface)),
            error=_error(kept, surface),
        )


def _shift(surface: Floats) -> tuple[float, float]:
    line, sample, _ = peak_of(surface, (CLOSE, CLOSE))
    return line, sample


def _outliers(own: Floats) -> NDArray[np.bool_]:
    """Tell which of the windows' own shifts, shape (windows, 2), lie far from the others'."""
    if len(own) < FEWEST_TO_JUDGE:
        return np.zeros(len(own), dtype=bool)
    away = np.abs(own - np.median(own, axis=0))
    # The factor makes the median deviation a standard deviation where errors are normal.
    scale = 1.4826 * np.median(away, axis=0)
    return np.asarray((away > np.maximum(OUTLIER * scale, NEAR)).any(axis=1))


def _error(used: Sequence[Compared], surface: Floats) -> Floats:
    """Return the standard errors of a pooled shift in averaged pixels, shape (2,)."""
    white = _error_of_white_noise(surface, sum(each.pixels for each in used))
    if len(used) < FEWEST_FOR_JACKKNIFE:
        return white
    without = np.array(
        [
            _shift(correlation([other.moments for other in used if other is not each]))
            for each in used
        ]
    )
    jackknife: Floats = np.sqrt((len(used) - 1) * without.var(axis=0))
    return np.fmax(white, jackknife)


def _error_of_white_noise(surface: Floats, pixels: int) -> Floats:
    r"""Return the standard errors that noise independent from pixel to pixel would leave.

    With the correlation :math:`\rho` at the peak and its second derivative,
    :math:`\sigma^2 = (1 - \rho^2) / (-n \rho \rho'')`: the bound of Cramér and Rao for the delay
    of a known signal.
    """
    middle = surface.shape[0] // 2
    row, column = (middle + int(np.rint(each)) for each in _shift(surface))
    top = surface[row, column]
    bends = 2.0 * top - np.array(
        [
            surface[row - 1, column] + surface[row + 1, column],
            surface[row, column - 1] + surface[row, column + 1],
        ]
    )
    if top <= 0.0 or not (bends > 0.0).all():
        return np.full(2, np.inf)
    error: Floats = np.sqrt((1.0 - top**2) / (pixels * top * bends))
    return error
