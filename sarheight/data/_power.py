"""Power that is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["require_power"]

LEAST_MEDIAN = -0.3
"""Noise is a hundredth or so. Of decibels only the very brightest ground comes as near to 0."""


def require_power(name: str, values: NDArray[np.floating]) -> None:
    """Refuse decibels where linear power is expected.

    Noise that was taken off leaves powers a little below zero, on calm water most of them; of
    decibels nearly all are, and far below.

    Parameters
    ----------
    name : str
        What the values are called.
    values : array
        NaN never counts.

    Raises
    ------
    ValueError
        If the median is further below zero than noise can bring it.
    """
    known = values[np.isfinite(values)]
    median = float(np.median(known)) if known.size else 0.0
    if median < LEAST_MEDIAN:
        msg = (
            f"found {name} with a median of {median:.3g}, expected linear power: these look like "
            "decibels; convert them by 10 ** (value / 10)"
        )
        raise ValueError(msg)
