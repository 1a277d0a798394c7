"""Backscatter drawn in decibels into one pair of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sarheight.plot._ground import Frame, averaged, known, map_view
from sarheight.plot._marks import draw_compass, draw_void, label_axes, void_patch

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

PERCENTILES = (2.0, 98.0)
USUAL_LIMITS = (-25.0, 0.0)
NARROWEST = 1.0


def decibels(power: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn linear power into decibels.

    Parameters
    ----------
    power : array of float
        Linear power.

    Returns
    -------
    array of float64
        NaN stays NaN. No power, and less (noise taken off), is minus infinity.
    """
    power = np.asarray(power, dtype=np.float64)
    result = np.full(power.shape, -np.inf)
    result[np.isnan(power)] = np.nan
    return np.asarray(10.0 * np.log10(power, where=power > 0, out=result / 10.0))


def robust_limits(*powers: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Find colour limits that a few outliers do not move.

    Parameters
    ----------
    *powers : arrays of float
        Linear power of all pictures that share the colours.

    Returns
    -------
    lower, upper : float
        The 2nd and 98th percentile in decibels, at least 1 dB apart.
    """
    values = np.concatenate([decibels(power).ravel() for power in powers])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return USUAL_LIMITS
    lower, upper = np.percentile(values, PERCENTILES)
    if upper - lower < NARROWEST:
        lower, upper = (lower + upper - NARROWEST) / 2, (lower + upper + NARROWEST) / 2
    return float(lower), float(upper)


def draw_backscatter(
    axes: Axes, image: xr.DataArray, limits: tuple[float, float], look: float | None = None
) -> AxesImage:
    """Draw power in decibels: maps in kilometres, radar images in pixels.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where.
    image : xarray.DataArray
        Linear power, dims (y, x) or (line, sample).
    limits : (float, float)
        Decibels of black and white.
    look : float, optional
        Look direction of the compass.

    Returns
    -------
    matplotlib.image.AxesImage
        For a colour bar.
    """
    if set(image.dims) == {"line", "sample"}:
        image = image.transpose("line", "sample")
        lines, samples = image.shape
        extent, aspect = (0.0, float(samples), float(lines), 0.0), "auto"
        axes.set(xlabel="sample (range)", ylabel="line (azimuth)")
    else:
        image = map_view(image)
        frame = Frame.of(image)
        extent, aspect = frame.extent, "equal"
        label_axes(axes, frame)
        draw_compass(axes, frame, look)
    power = averaged(np.where(known(image), image.values, np.nan))
    if np.isnan(power).any():
        draw_void(axes)
    values = np.maximum(decibels(power), limits[0])
    drawn = axes.imshow(
        np.ma.masked_invalid(values),
        cmap="gray",
        vmin=limits[0],
        vmax=limits[1],
        extent=extent,
        aspect=aspect,  # type: ignore[arg-type]
        interpolation="nearest",
    )
    if np.isnan(power).any():
        axes.legend(handles=[void_patch()], loc="lower left", fontsize=7, framealpha=0.9)
    return drawn
