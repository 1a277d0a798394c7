"""Mean and spread of what a network sees."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["channel_statistics"]

LEAST_POWER = 1e-6
"""Power enters decibels as no less than this, -60 dB."""


def transformed(values: NDArray[np.floating], transform: str) -> NDArray[np.float64]:
    """Return values as a network sees them before they are normalised: see `Channel`."""
    numbers = values.astype(np.float64)
    if transform == "decibel":
        return 10.0 * np.log10(np.where(numbers < LEAST_POWER, LEAST_POWER, numbers))
    if transform == "log":
        return np.log1p(numbers)
    return numbers


def channel_statistics(images: Iterable[xr.DataArray], transform: str) -> tuple[float, float]:
    """Measure mean and standard deviation of a channel over several scenes.

    Parameters
    ----------
    images : iterable of xarray.DataArray
        The channel in each scene, or in its part for training; NaN never counts.
    transform : {"none", "decibel", "log"}
        Taken before the statistics, as `sarheight.models.Channel` does.

    Returns
    -------
    mean, std : float

    Raises
    ------
    ValueError
        If there is no value, or all are the same.
    """
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        values = transformed(image.values, transform)
        values = values[np.isfinite(values)]
        count += values.size
        total += float(values.sum())
        squares += float((values**2).sum())
    mean = total / count if count else np.nan
    variance = squares / count - mean**2 if count else np.nan
    if not variance > 1e-12 * mean**2:
        msg = (
            f"found {count} values with a variance of {variance:g}, expected a channel that "
            "varies: leave it out, or check its file"
        )
        raise ValueError(msg)
    return mean, float(np.sqrt(variance))
