"""Bringing images to the grid of a city."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio.crs
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from sarheight.data._stacks.form import POSTING
from sarheight.errors import StackError
from sarheight.output._grid import grid_transform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from affine import Affine

__all__ = ["city_grid", "on_grid"]

POINTS_PER_SIDE = 21
MOST_CELLS = 4e8
SAME = 1e-3
"""By how much of a cell a grid may stray from another and be taken for the same."""


def city_grid(
    place: Sequence[float],
    *,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
    posting: float = POSTING,
) -> xr.DataArray:
    """Lay a grid over a place, with cell edges at whole multiples of the posting.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    crs : optional
        Projected reference system; by default the zone of UTM in which the middle lies.
    posting : float
        Metres between cells.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), north up, float32, NaN throughout: what others take as `like`.

    Raises
    ------
    StackError
        If the place has no extent, or the reference system no metres.
    """
    west, south, east, north = (float(each) for each in place)
    if not (west < east and south < north and posting > 0.0):
        msg = (
            f"found the place {tuple(place)} and a posting of {posting:g} m, expected (west, "
            "south, east, north) in degrees with some extent"
        )
        raise StackError(msg)
    chosen = _utm(0.5 * (west + east), 0.5 * (south + north)) if crs is None else CRS(crs)
    if not chosen.is_projected:
        msg = f"found {chosen.name!r}, expected a projected reference system in metres"
        raise StackError(msg)
    to_map = Transformer.from_crs(4326, chosen, always_xy=True)
    bounds = to_map.transform_bounds(west, south, east, north, densify_pts=POINTS_PER_SIDE)
    left, bottom = (posting * np.floor(each / posting) for each in bounds[:2])
    right, top = (posting * np.ceil(each / posting) for each in bounds[2:])
    shape = round((top - bottom) / posting), round((right - left) / posting)
    if not 0 < shape[0] * shape[1] < MOST_CELLS:
        msg = f"found a grid of {shape[0]} x {shape[1]} cells, expected fewer than {MOST_CELLS:g}"
        raise StackError(msg)
    grid = {
        "y": top - posting * (np.arange(shape[0]) + 0.5),
        "x": left + posting * (np.arange(shape[1]) + 0.5),
    }
    empty = xr.DataArray(np.full(shape, np.nan, dtype=np.float32), coords=grid, dims=("y", "x"))
    placed: xr.DataArray = empty.rio.write_crs(chosen)
    return placed


def on_grid(
    image: xr.DataArray, like: xr.DataArray | xr.Dataset, *, resampling: str | None = None
) -> xr.DataArray:
    """Bring an image to the grid of another.

    Parameters
    ----------
    image : xarray.DataArray
        Dims (..., y, x), floating, NaN where there is no data; or integer codes, with 0 for no
        data.
    like : xarray.DataArray or xarray.Dataset
        On the wanted grid.
    resampling : str, optional
        A name of GDAL's. By default the mean where the image is finer, else bilinear; and for
        codes the nearest, or the most frequent one where the image is finer. Power is to be
        averaged as power, never as decibels.

    Returns
    -------
    xarray.DataArray
        Dims (..., y, x) on the grid of `like`.

    Raises
    ------
    StackError
        If one of the two has no regular grid or reference system, or they do not meet.
    """
    source, target = _placed(image, "the image"), _placed(like, "the grid")
    wanted = {name: like[name].values for name in ("y", "x")}
    stale = [name for name in image.coords if {"y", "x"} & set(image[name].dims)]
    stale += [name for name in image.coords if image[name].ndim == 0]
    if _same(source, target) and all(image.sizes[name] == len(wanted[name]) for name in wanted):
        same: xr.DataArray = image.drop_vars(stale).assign_coords(wanted).rio.write_crs(target[1])
        return same
    floating = image.dtype.kind == "f"
    finer = abs(source[0].a) < 0.67 * abs(target[0].a) and source[1] == target[1]
    usual = ("average" if finer else "bilinear") if floating else ("mode" if finer else "nearest")
    nothing: float = np.nan if floating else 0
    leading = image.shape[:-2]
    moved = np.full((*leading, len(wanted["y"]), len(wanted["x"])), nothing, dtype=image.dtype)
    values = np.ascontiguousarray(image.values)
    for index in np.ndindex(leading):
        reproject(
            values[index],
            moved[index],
            src_transform=source[0],
            src_crs=_for_gdal(source[1]),
            src_nodata=nothing,
            dst_transform=target[0],
            dst_crs=_for_gdal(target[1]),
            dst_nodata=nothing,
            resampling=Resampling[usual if resampling is None else resampling],
            tolerance=0.01,
        )
    if not _meets(image, source[1], like, target[1]):
        msg = (
            f"the image, in {source[1].name!r} from ({source[0].c:.8g}, {source[0].f:.8g}), does "
            f"not meet the grid in {target[1].name!r} from ({target[0].c:.8g}, {target[0].f:.8g})"
        )
        raise StackError(msg)
    kept = {name: image[name] for name in image.coords if name not in {*stale, "y", "x"}}
    result = xr.DataArray(moved, dims=image.dims, coords={**kept, **wanted}, attrs=image.attrs)
    placed: xr.DataArray = result.rio.write_crs(target[1])
    return placed


def _meets(image: xr.DataArray, source: CRS, like: xr.DataArray | xr.Dataset, target: CRS) -> bool:
    """Tell whether two grids overlap."""
    corners = [float(image[name][end]) for name in ("x", "y") for end in (0, -1)]
    box = (min(corners[:2]), min(corners[2:]), max(corners[:2]), max(corners[2:]))
    west, south, east, north = Transformer.from_crs(
        source, target, always_xy=True
    ).transform_bounds(*box, densify_pts=POINTS_PER_SIDE)
    x, y = like["x"].values, like["y"].values
    return bool(west <= x.max() and east >= x.min() and south <= y.max() and north >= y.min())


def _placed(image: xr.DataArray | xr.Dataset, name: str) -> tuple[Affine, CRS]:
    if image.rio.crs is None:
        msg = f"{name} does not say its reference system: set one with .rio.write_crs(...)"
        raise StackError(msg)
    try:
        return grid_transform(image), CRS.from_user_input(image.rio.crs)
    except ValueError as error:
        msg = f"found no regular grid in {name}: {error}"
        raise StackError(msg) from error


def _same(one: tuple[Affine, CRS], other: tuple[Affine, CRS]) -> bool:
    apart = np.abs(np.subtract(one[0][:6], other[0][:6])).max()
    return bool(apart < SAME * abs(other[0].a)) and one[1] == other[1]


def _utm(longitude: float, latitude: float) -> CRS:
    """Return the zone of UTM in which a place lies, by its six degrees of longitude alone."""
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    return CRS.from_epsg((32600 if latitude >= 0.0 else 32700) + zone)


def _for_gdal(crs: CRS) -> rasterio.crs.CRS:
    return rasterio.crs.CRS.from_wkt(crs.to_wkt())
