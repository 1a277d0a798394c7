"""Filters of gamma0 on the ground, and what goes with them."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.lee import refined_lee
from scipy.ndimage import distance_transform_edt, zoom
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

__all__ = [
    "FACETS",
    "FLOOR",
    "SMALLEST_AREA",
    "decibels",
    "filled",
    "lee",
    "linear",
    "non_local_means",
    "tv",
    "upsampled",
]

Floats = NDArray[np.float64]

FLOOR = 10.0**-3.2
"""Least gamma0 that is compared, a tenth of the radar's noise: noise removal leaves some values
below zero, which have no decibels. It is the same for the truth and every method."""
FACETS = 3
"""Sub-facets of a DEM cell, each way."""
SMALLEST_AREA = 0.03
"""Cells that show the radar less than this part of their area on the map have no value."""


def decibels(values: NDArray[np.floating]) -> Floats:
    """Turn gamma0 into decibels, NaN as it is."""
    result: Floats = 10.0 * np.log10(np.maximum(values.astype(np.float64), FLOOR))
    return result


def linear(values: Floats) -> Floats:
    """Turn decibels into linear power."""
    result: Floats = 10.0 ** (0.1 * values)
    return result


def filled(values: NDArray[np.floating]) -> Floats:
    """Give cells without a value that of the nearest cell with one."""
    known = np.isfinite(values)
    if known.all() or not known.any():
        return values.astype(np.float64)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    result: Floats = values[tuple(nearest)].astype(np.float64)
    return result


def upsampled(dem: xr.DataArray, factor: int = FACETS) -> xr.DataArray:
    """Interpolate a DEM by cubic splines to cells that are so many times smaller."""
    heights = zoom(dem.values.astype(np.float64), factor, order=3, mode="nearest", grid_mode=True)
    within = (np.arange(factor) + 0.5) / factor - 0.5
    coordinates = {}
    for name in ("y", "x"):
        values = dem[name].values
        step = float(values[1] - values[0])
        coordinates[name] = (values[:, None] + step * within).ravel()
    finer = xr.DataArray(
        heights.astype(np.float32), dims=("y", "x"), coords=coordinates, attrs=dem.attrs
    )
    placed: xr.DataArray = finer.rio.write_crs(dem.rio.crs)
    return placed


def tv(gamma0: Floats, weight: float) -> Floats:
    """Smooth by total variation, in decibels."""
    smooth = denoise_tv_chambolle(decibels(filled(gamma0)), weight, eps=1e-5, max_num_iter=500)
    return linear(smooth)


def non_local_means(gamma0: Floats, strength: float) -> Floats:
    """Average cells whose 5 x 5 surroundings look alike, within 6 cells, in decibels."""
    smooth = denoise_nl_means(
        decibels(filled(gamma0)), patch_size=5, patch_distance=6, h=strength, fast_mode=True
    )
    return linear(smooth)


def lee(gamma0: Floats, looks: float) -> Floats:
    """Filter by the refined Lee filter."""
    image = np.maximum(filled(gamma0), FLOOR).astype(np.float32)
    result = np.empty_like(image)
    refined_lee(image, looks, result)
    return result.astype(np.float64)
