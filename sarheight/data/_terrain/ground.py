"""Ground as a simulation needs it: how bright it is, and how well its heights are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from sarheight.dem import coarsen, local_posting

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["degraded_dem", "patchy_reflectivity"]


def patchy_reflectivity(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    patch: float = 600.0,
    contrast: float = 2.5,
    texture: float = 1.0,
) -> NDArray[np.float32]:
    """Make patchy ground: brightness relative to the law, lognormal in patches and in texture.

    Parameters
    ----------
    dem : xarray.DataArray
        Dims (y, x); only its grid counts.
    random : numpy.random.Generator
        Source of the random numbers.
    patch : float
        Mean width of a patch of equal ground in metres; patches are Voronoi cells.
    contrast, texture : float
        Standard deviation in dB of the patches' levels, and of the cells within a patch.

    Returns
    -------
    array, shape (rows, columns)
        Linear factors.
    """
    down, right = local_posting(dem)
    rows, columns = dem.shape
    extent = np.array([rows * down, columns * right])
    centres = random.uniform(size=(max(int(extent.prod() / patch**2), 1), 2)) * extent
    levels = contrast * random.standard_normal(len(centres))
    row, column = np.meshgrid(np.arange(rows) * down, np.arange(columns) * right, indexing="ij")
    nearest = cKDTree(centres).query(np.stack([row, column], axis=-1))[1]
    decibels = levels[nearest] + texture * random.standard_normal(dem.shape)
    return np.asarray(10.0 ** (decibels / 10.0), dtype=np.float32)


def degraded_dem(
    dem: xr.DataArray,
    random: np.random.Generator,
    *,
    factor: int = 3,
    error: float = 4.0,
    length: float = 1.5,
) -> xr.DataArray:
    """Make the elevation model that a user has: coarser, and wrong by a correlated error.

    Parameters
    ----------
    dem : xarray.DataArray
        The true heights, dims (y, x).
    random : numpy.random.Generator
        Source of the random numbers.
    factor : int
        Cells of the truth that make one of the coarser model, each way.
    error : float
        Standard deviation of the error in metres.
    length : float
        Smoothing of the error, in postings of the coarser model.

    Returns
    -------
    xarray.DataArray
        Heights in metres, dims (y, x).
    """
    step = float(abs(dem.y[1] - dem.y[0])), float(abs(dem.x[1] - dem.x[0]))
    coarse = coarsen(dem, (factor * step[0], factor * step[1]), units="crs")
    wrong = gaussian_filter(random.standard_normal(coarse.shape), length)
    values = coarse.values + error * wrong / wrong.std()
    return coarse.copy(data=values.astype(np.float32))
