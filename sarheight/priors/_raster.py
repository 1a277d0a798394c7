"""Sparse heights as rasters: the heights themselves, and the distance to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import distance_transform_edt

from sarheight.errors import PriorError
from sarheight.priors._grid import grid_of

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.priors._points import SparseHeights

__all__ = ["distance_map", "rasterise"]

NO_SIGMA = 1.0
"""Weight of heights that are taken for exact, where they meet in one cell."""


def rasterise(points: SparseHeights, like: xr.DataArray) -> xr.Dataset:
    r"""Put sparse heights into the cells of a raster.

    Several heights in one cell are averaged with the weights :math:`1/\sigma_i^2`, so that the
    standard deviation of their mean is :math:`(\sum 1/\sigma_i^2)^{-1/2}`; heights with
    :math:`\sigma = 0` are exact, and where one lies in a cell those with errors do not count.
    Points outside the raster are left out, and counted.

    Parameters
    ----------
    points : SparseHeights
        Known heights, in any reference system. There may be none.
    like : xarray.DataArray
        A variable on the wanted grid, dims (y, x), with a reference system.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` and ``sigma`` in metres, NaN where nothing is known; ``count``,
        the number of heights in the cell; ``known``, whether there is one. The attribute
        ``points_outside`` says how many were left out.

    Raises
    ------
    DemError
        If the raster has no regular grid or no reference system.
    """
    import xarray

    grid = grid_of(like)
    row, column = grid.places(points)
    inside = grid.inside(row, column)
    cell = np.ravel_multi_index(
        (np.floor(row[inside] + 0.5).astype(int), np.floor(column[inside] + 0.5).astype(int)),
        grid.shape,
    )
    height, sigma = points.height[inside], points.sigma[inside]
    size = grid.shape[0] * grid.shape[1]
    count = np.bincount(cell, minlength=size)
    exact = np.bincount(cell, weights=sigma == 0.0, minlength=size) > 0.0
    with np.errstate(divide="ignore"):
        weight = np.where(sigma == 0.0, NO_SIGMA, np.where(exact[cell], 0.0, sigma**-2.0))
    total = np.bincount(cell, weights=weight, minlength=size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(cell, weights=weight * height, minlength=size) / total
        spread = np.where(exact, 0.0, total**-0.5)
    known = count > 0

    def shaped(values: np.ndarray) -> np.ndarray:
        return values.reshape(grid.shape)

    return xarray.Dataset(
        {
            "height": grid.variable(
                shaped(np.where(known, mean, np.nan)).astype(np.float32),
                {"long_name": "known height above the WGS84 ellipsoid", "units": "m"},
            ),
            "sigma": grid.variable(
                shaped(np.where(known, spread, np.nan)).astype(np.float32),
                {"long_name": "standard deviation of the known height", "units": "m"},
            ),
            "count": grid.variable(
                shaped(count).astype(np.int32), {"long_name": "known heights in the cell"}
            ),
            "known": grid.variable(shaped(known), {"long_name": "a height is known here"}),
        },
        attrs={"points_outside": int(np.size(inside) - inside.sum())},
    )


def distance_map(known: xr.DataArray) -> xr.DataArray:
    """Measure the distance from each cell to the nearest known height.

    Distances are Euclidean, from cell centre to cell centre, in metres on the ground; rows and
    columns may be spaced differently. The posting is that of the raster's centre, so over a
    geographic raster that is tall in degrees the distances along rows are those of its middle.

    Parameters
    ----------
    known : xarray.DataArray
        Where a height is known, boolean, dims (y, x), such as ``rasterise(...)["known"]``.

    Returns
    -------
    xarray.DataArray
        float32 metres, dims (y, x); infinite everywhere where nothing is known.

    Raises
    ------
    PriorError
        If `known` is not boolean.
    DemError
        If it has no regular grid or no reference system.
    """
    if known.dtype != np.bool_:
        msg = (
            f"found {known.dtype} numbers, expected a boolean mask of the cells whose height is "
            "known: pass rasterise(points, like)['known']"
        )
        raise PriorError(msg)
    grid = grid_of(known)
    mask = known.values
    distance = (
        distance_transform_edt(~mask, sampling=grid.posting)
        if mask.any()
        else np.full(grid.shape, np.inf)
    )
    return grid.variable(
        np.asarray(distance, dtype=np.float32),
        {"long_name": "distance to the nearest known height", "units": "m"},
    )
