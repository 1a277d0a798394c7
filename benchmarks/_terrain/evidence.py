"""What the images tell of slopes, and how much of that they have from the coarse model.

A network reads heights from an image through the brightness of slopes. Two numbers say what there
is to read: how brightness goes with the true slope along the line of sight, and, where the true
slope is the same, with the error of the coarse model's slope. The second is what the image has
from the model that it was geocoded or reconstructed with: a leak.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight.dem import local_posting

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["IMAGES", "evidence"]

IMAGES = {
    "gamma0_level": "geocoded without a model",
    "gamma0_geocoded": "plain geocoded",
    "gamma0_reallocated": "reallocated, flattened",
    "gamma0_reallocated_unflattened": "reallocated",
    "gamma0_posterior_unflattened": "posterior mean",
}
LAYOVER = (2, 3, 6)
LEAST_POWER = 1e-6


def evidence(scene: xr.Dataset) -> dict[str, dict[str, float]]:
    """Measure what brightness goes with.

    Parameters
    ----------
    scene : xarray.Dataset
        A scene, or a part of one.

    Returns
    -------
    dict
        By image: ``slope`` and ``slope_layover``, the correlation of decibels with the true
        slope; ``leak`` and ``leak_layover``, their partial correlation with the error of the
        coarse model's slope.
    """
    true, coarse = (_slope(scene, name) for name in ("height", "coarse_height"))
    folded = np.isin(scene["true_mask"].values, LAYOVER)
    found: dict[str, dict[str, float]] = {}
    for name in IMAGES:
        power = scene[name].values
        decibels = 10.0 * np.log10(np.maximum(power, LEAST_POWER))
        known = np.isfinite(decibels) & np.isfinite(true) & np.isfinite(coarse)
        found[name] = {}
        for suffix, where in (("", known), ("_layover", known & folded)):
            brightness, slope, error = decibels[where], true[where], (coarse - true)[where]
            found[name][f"slope{suffix}"] = _correlation(brightness, slope)
            found[name][f"leak{suffix}"] = _correlation(
                _without(brightness, slope), _without(error, slope)
            )
    return found


def _slope(scene: xr.Dataset, name: str) -> NDArray[np.float64]:
    """Return the slope of heights towards the radar in radians, shape (rows, columns)."""
    heights = scene[name].values.astype(np.float64)
    down, right = np.gradient(heights, *local_posting(scene["height"]))
    north = down if scene["y"].values[-1] > scene["y"].values[0] else -down
    east = right if scene["x"].values[-1] > scene["x"].values[0] else -right
    azimuth = np.radians(float(scene.attrs["look_azimuth"]))
    return np.asarray(np.arctan(east * np.sin(azimuth) + north * np.cos(azimuth)))


def _correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


def _without(values: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take off what goes with something else in any smooth way: a cubic of it."""
    return np.asarray(values - np.polyval(np.polyfit(other, values, 3), other))
