"""Errors of estimated heights."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RATIO = 1.25
"""Base of the accuracy thresholds delta, as in the literature on depth estimation."""
LEAST_HEIGHT = 1.0
"""Lower limit of heights in ratios and logarithms, in metres."""


@dataclass(frozen=True)
class HeightErrors:
    r"""Errors of estimated heights, over cells where estimate and truth are finite.

    Attributes
    ----------
    count : int
        Number of cells.
    rmse : float
        Root mean squared error, in metres.
    mae : float
        Mean absolute error, in metres.
    median : float
        Median absolute error, in metres.
    le90 : float
        Linear error at 90 %: the 0.9 quantile of the absolute error, in metres.
    bias : float
        Mean of estimate minus truth, in metres.
    r2 : float
        Coefficient of determination, :math:`1 - \sum e^2 / \sum (h - \overline{h})^2`, with the
        mean over the same cells. It is not the squared correlation, and may be negative. NaN where
        all true heights are the same.
    log_error : float
        Mean of abs(log10(estimate / truth)), of the heights above `datum`.
    delta_1, delta_2, delta_3 : float
        Fraction of cells whose height above `datum` is within a ratio of 1.25, 1.25 squared and
        1.25 cubed of the true one.
    datum : float
        Reference height of ratios and logarithms in metres; the lowest true height by default,
        as ratios of ellipsoidal heights have no meaning.
    """

    count: int
    rmse: float
    mae: float
    median: float
    le90: float
    bias: float
    r2: float
    log_error: float
    delta_1: float
    delta_2: float
    delta_3: float
    datum: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def finite_pairs(
    estimate: ArrayLike, truth: ArrayLike, where: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Return the values of the chosen cells where both are finite."""
    found = np.asarray(estimate, dtype=np.float64)
    expected = np.asarray(truth, dtype=np.float64)
    chosen = np.ones(expected.shape, dtype=bool) if where is None else np.asarray(where)
    shapes = {found.shape, expected.shape, chosen.shape}
    if len(shapes) > 1 or chosen.dtype != np.bool_:
        msg = (
            f"found estimates of shape {found.shape}, truth of shape {expected.shape} and a mask "
            f"of shape {chosen.shape} and type {chosen.dtype}; expected one shape, and a boolean "
            "mask"
        )
        raise ValueError(msg)
    both = chosen & np.isfinite(found) & np.isfinite(expected)
    return found[both], expected[both]


def height_errors(
    estimate: ArrayLike,
    truth: ArrayLike,
    *,
    where: ArrayLike | None = None,
    datum: float | None = None,
) -> HeightErrors:
    """Compute errors of estimated heights; cells where either height is NaN are left out.

    Parameters
    ----------
    estimate, truth : array
        Heights in metres, of one shape.
    where : array of bool, optional
        Cells to include; all by default.
    datum : float, optional
        Reference height of ratios and logarithms; by default the lowest true height included.

    Returns
    -------
    HeightErrors
        All NaN if there is no cell.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is not boolean.
    """
    found, expected = finite_pairs(estimate, truth, where)
    if not found.size:
        return HeightErrors(0, *(float("nan"),) * 11)
    error = found - expected
    size, square = np.abs(error), float(np.mean(error**2))
    variance = float(np.var(expected))
    base = float(expected.min()) if datum is None else float(datum)
    above = np.maximum(found - base, LEAST_HEIGHT)
    true_above = np.maximum(expected - base, LEAST_HEIGHT)
    ratio = np.abs(np.log(above / true_above))
    within = [float((ratio < power * np.log(RATIO)).mean()) for power in (1, 2, 3)]
    return HeightErrors(
        count=int(found.size),
        rmse=float(np.sqrt(square)),
        mae=float(size.mean()),
        median=float(np.median(size)),
        le90=float(np.quantile(size, 0.9)),
        bias=float(error.mean()),
        r2=1.0 - square / variance if variance > 0.0 else float("nan"),
        log_error=float(ratio.mean() / np.log(10.0)),
        delta_1=within[0],
        delta_2=within[1],
        delta_3=within[2],
        datum=base,
    )
