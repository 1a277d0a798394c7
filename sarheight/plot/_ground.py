"""Where a picture lies: its size on the ground, and which way north is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
import rioxarray  # noqa: F401  # gives xarray objects their `rio`

from sarheight.output import nodata_value

if TYPE_CHECKING:
    import xarray as xr

LARGEST_SIDE = 1500
UNKNOWN_CELL = 30.0


@dataclass(frozen=True)
class Frame:
    """Size and orientation of a map picture whose rows run from top to bottom.

    Parameters
    ----------
    width, height : float
        In `unit`.
    unit : str
        ``"km"``, or ``"cells"`` where the CRS is not known.
    up : float or None
        Which way the top of the picture is: degrees clockwise from north, at its centre.
    """

    width: float
    height: float
    unit: str
    up: float | None

    @classmethod
    def of(cls, grid: xr.DataArray) -> Frame:
        """Measure a map of dims (..., y, x) along the lines through its centre.

        Parameters
        ----------
        grid : xarray.DataArray
            As `map_view` returns it.

        Returns
        -------
        Frame
            With true distances on the ellipsoid.
        """
        rows, columns = grid.sizes["y"], grid.sizes["x"]
        crs = grid.rio.crs
        if crs is None or min(rows, columns) < 2 or not {"x", "y"} <= set(grid.coords):
            return cls(columns, rows, "cells", None)
        x, y = (grid[name].values.astype(np.float64) for name in ("x", "y"))
        middle = (x[0] + x[-1]) / 2, (y[0] + y[-1]) / 2
        to_degrees = pyproj.Transformer.from_crs(crs.to_wkt(), "EPSG:4326", always_xy=True)
        left, right, top, bottom, centre, above = np.transpose(
            to_degrees.transform(
                [x[0], x[-1], *[middle[0]] * 4],
                [middle[1], middle[1], y[0], y[-1], middle[1], middle[1] + y[0] - y[1]],
            )
        )
        start, end = np.array([left, bottom, centre]), np.array([right, top, above])
        up, _, distance = pyproj.Geod(ellps="WGS84").inv(*start.T, *end.T)
        width = distance[0] * columns / (columns - 1) / 1000
        height = distance[1] * rows / (rows - 1) / 1000
        return cls(width, height, "km", up[2])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top, as `matplotlib` wants it."""
        return 0.0, self.width, 0.0, self.height


def map_view(grid: xr.DataArray) -> xr.DataArray:
    """Turn a map as it is looked at: first row at the top, first column at the left.

    Parameters
    ----------
    grid : xarray.DataArray
        Dims (y, x) in any order and direction.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), y falling, x rising where they have coordinates.

    Raises
    ------
    ValueError
        When there are other dims.
    """
    if set(grid.dims) != {"y", "x"}:
        msg = f"expected a map of dims (y, x), got {grid.dims}; choose one entry of the others"
        raise ValueError(msg)
    grid = grid.transpose("y", "x")
    for name, sign in (("y", -1), ("x", 1)):
        if name in grid.coords and sign * (grid[name][-1] - grid[name][0]) < 0:
            grid = grid.isel({name: slice(None, None, -1)})
    return grid


def known(variable: xr.DataArray) -> np.ndarray[Any, Any]:
    """Tell where a variable is neither NaN nor its nodata value.

    Parameters
    ----------
    variable : xarray.DataArray
        Any.

    Returns
    -------
    array of bool
        Of the variable's shape.
    """
    values = variable.values
    nodata = nodata_value(variable)
    if values.dtype.kind == "f":
        return np.asarray(~np.isnan(values) & (values != nodata))
    return np.ones(values.shape, dtype=bool) if nodata is None else np.asarray(values != nodata)


def averaged(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Average blocks of power until a picture can show them; NaN does not count.

    Parameters
    ----------
    values : (n, m) array of float
        Linear power.

    Returns
    -------
    (p, q) array of float
        The same when it is small enough.
    """
    step = -(-max(values.shape) // LARGEST_SIDE)
    if step == 1:
        return values
    padding = [(0, -size % step) for size in values.shape]
    padded = np.pad(values.astype(np.float64), padding, constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    known = np.isfinite(blocks)
    count = known.sum(axis=(1, 3))
    total = np.where(known, blocks, 0.0).sum(axis=(1, 3))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def thinned(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Take every n-th row and column of codes, which cannot be averaged.

    Parameters
    ----------
    values : (n, m) array
        Codes or heights.

    Returns
    -------
    (p, q) array
        As large as what `averaged` makes of an array of that size.
    """
    step = -(-max(values.shape) // LARGEST_SIDE)
    return values[::step, ::step]


def shaded(relief: xr.DataArray, frame: Frame) -> np.ndarray[Any, Any]:
    """Shade a relief with light from the upper left.

    Parameters
    ----------
    relief : xarray.DataArray
        Heights in metres, as `map_view` returns them.
    frame : Frame
        Of the relief. Where it does not know the size of cells, 30 m are taken.

    Returns
    -------
    (p, q) array of float
        From 0, dark, to 1; thinned.
    """
    from matplotlib.colors import LightSource

    heights = thinned(relief.values.astype(np.float64))
    scale = 1000.0 if frame.unit == "km" else UNKNOWN_CELL
    dx = scale * frame.width / heights.shape[1]
    dy = scale * frame.height / heights.shape[0]
    return np.asarray(LightSource(azdeg=315, altdeg=45).hillshade(heights, dx=dx, dy=dy))
