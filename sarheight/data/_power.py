"""Power that is none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["require_power"]


def require_power(name: str, values: NDArray[np.floating]) -> None:
    """Refuse decibels where linear power is expected.

    Noise that was taken off leaves a few powers below zero; of decibels nearly all are.

    Parameters
    ----------
    name : str
        What the values are called.
    values : array
        NaN never counts.

    Raises
    ------
    ValueError
        If most of the values are negative.
    """
    known = values[np.isfinite(values)]
    negative = float((known < 0.0).mean()) if known.size else 0.0
    if negative > 0.5:
        msg = (
            f"found {name} below 0 in {100 * negative:.0f} % of the cells, expected linear power: "
            "these look like decibels; convert them by 10 ** (value / 10)"
        )
        raise ValueError(msg)
