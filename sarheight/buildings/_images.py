"""Sentinel-1 and Sentinel-2 images on the grid of a city."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import rasterio.crs
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from sarheight.acquisition import acquisitions
from sarheight.buildings.stack import (
    OPTICAL_BANDS,
    POSTING,
    SAR_BANDS,
    check_optical,
    month_start,
    on_grid_of,
    require_grid,
)
from sarheight.dem.grids import cells_of, extent_grid, utm_zone
from sarheight.errors import DemError, StackError

if TYPE_CHECKING:
    import os

    from affine import Affine
    from numpy.typing import NDArray

    from sarheight.layover import Method
    from sarheight.scene import Scene

POINTS_PER_SIDE = 21
"""Points along each edge of a box whose bounds are found in another reference system."""
MAX_CELLS = 4e8
SAME_GRID = 1e-3
"""Largest difference between grids between which nothing is resampled, in cells."""
FINER = 0.67
"""An image whose posting is below this part of the target's is averaged, not interpolated."""


def city_grid(
    bounds: Sequence[float],
    *,
    crs: Any = None,  # noqa: ANN401  # whatever pyproj takes
    posting: float = POSTING,
) -> xr.DataArray:
    """Make a grid over a city, with cell edges at whole multiples of the posting.

    Parameters
    ----------
    bounds : sequence of float
        (west, south, east, north) in degrees.
    crs : optional
        Projected reference system; by default the UTM zone of the middle, with the exceptions for
        Norway and Svalbard.
    posting : float
        Metres between cells.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), north up, float32, NaN throughout; other functions take it as `like`.

    Raises
    ------
    StackError
        If the bounds have no extent, or the reference system is not projected.
    """
    west, south, east, north = (float(each) for each in bounds)
    if not (west < east and south < north and posting > 0.0):
        msg = (
            f"found the bounds {tuple(bounds)} and a posting of {posting:g} m, expected (west, "
            "south, east, north) in degrees with some extent, and metres above 0"
        )
        raise StackError(msg)
    try:
        system = utm_zone(0.5 * (west + east), 0.5 * (south + north)) if crs is None else CRS(crs)
    except DemError as error:
        raise StackError(str(error)) from error
    if not system.is_projected:
        msg = f"found {system.name!r}, expected a projected reference system in metres"
        raise StackError(msg)
    to_map = Transformer.from_crs(4326, system, always_xy=True)
    box = to_map.transform_bounds(west, south, east, north, densify_pts=POINTS_PER_SIDE)
    left, bottom = (posting * np.floor(each / posting) for each in box[:2])
    right, top = (posting * np.ceil(each / posting) for each in box[2:])
    shape = round((top - bottom) / posting), round((right - left) / posting)
    if not 0 < shape[0] * shape[1] < MAX_CELLS:
        msg = f"found a grid of {shape[0]} x {shape[1]} cells, expected fewer than {MAX_CELLS:g}"
        raise StackError(msg)
    cells = cells_of(extent_grid((left, bottom, right, top), system, posting))
    return cells.copy(data=np.full(shape, np.nan, dtype=np.float32))


def resample_image(image: xr.DataArray, like: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Resample an image onto the grid of another: by the mean where it is finer, else bilinearly.

    Codes take the most frequent one where the image is finer, else the nearest.

    Parameters
    ----------
    image : xarray.DataArray
        Dims (..., y, x), floating, NaN where there is no data; or integer codes, 0 for no data.
        Power is to be averaged as power, never as decibels.
    like : xarray.DataArray or xarray.Dataset
        On the target grid.

    Returns
    -------
    xarray.DataArray
        Dims (..., y, x) on the grid of `like`.

    Raises
    ------
    StackError
        If one of the two has no regular grid or reference system, or they do not overlap.
    """
    source, target = require_grid(image, "the image"), require_grid(like, "the grid")
    grid = {axis: like[axis].values for axis in ("y", "x")}
    # Coordinates that belong to the old grid, such as spatial_ref, are not carried over.
    stale = [name for name in image.coords if {"y", "x"} & set(image[name].dims)]
    stale += [name for name in image.coords if image[name].ndim == 0]
    if _same_grid(source, target) and all(image.sizes[axis] == len(grid[axis]) for axis in grid):
        same: xr.DataArray = image.drop_vars(stale).assign_coords(grid).rio.write_crs(target[1])
        return same
    floating = image.dtype.kind == "f"
    finer = abs(source[0].a) < FINER * abs(target[0].a) and source[1] == target[1]
    ways = ("average", "bilinear") if floating else ("mode", "nearest")
    no_data: float = np.nan if floating else 0
    shape = *image.shape[:-2], len(grid["y"]), len(grid["x"])
    resampled = np.full(shape, no_data, dtype=image.dtype)
    for plane, result in zip(
        image.values.reshape(-1, *image.shape[-2:]), resampled.reshape(-1, *shape[-2:]), strict=True
    ):
        reproject(
            np.ascontiguousarray(plane),
            result,
            src_transform=source[0],
            src_crs=rasterio.crs.CRS.from_wkt(source[1].to_wkt()),
            src_nodata=no_data,
            dst_transform=target[0],
            dst_crs=rasterio.crs.CRS.from_wkt(target[1].to_wkt()),
            dst_nodata=no_data,
            resampling=Resampling[ways[not finer]],
            tolerance=0.01,
        )
    west, south, east, north = image.rio.transform_bounds(like.rio.crs)
    x, y = grid["x"], grid["y"]
    if not (west <= x.max() and east >= x.min() and south <= y.max() and north >= y.min()):
        msg = (
            f"the image, in {source[1].name!r} from ({source[0].c:.8g}, {source[0].f:.8g}), does "
            f"not meet the grid in {target[1].name!r} from ({target[0].c:.8g}, {target[0].f:.8g})"
        )
        raise StackError(msg)
    kept = {name: image[name] for name in image.coords if name not in {*stale, "y", "x"}}
    result = xr.DataArray(resampled, dims=image.dims, coords={**kept, **grid}, attrs=image.attrs)
    written: xr.DataArray = result.rio.write_crs(target[1])
    return written


def _same_grid(one: tuple[Affine, CRS], other: tuple[Affine, CRS]) -> bool:
    difference = np.abs(np.subtract(one[0][:6], other[0][:6])).max()
    return bool(difference < SAME_GRID * abs(other[0].a)) and one[1] == other[1]


# Monthly composites.

Composite = Literal["median", "mean"]


def monthly_composite(
    series: xr.DataArray,
    how: Composite,
    *,
    months: tuple[Any, Any] | None = None,
) -> xr.DataArray:
    """Reduce the images of each month to one.

    Parameters
    ----------
    series : xarray.DataArray
        Dims (time, ..., y, x), NaN where there is no data or cloud; may be dask-backed.
    how : {"median", "mean"}
        The median for reflectance, as residual cloud does not bias it; the mean for power, as it
        preserves the energy.
    months : tuple, optional
        First and last month; by default those of the first and last image.

    Returns
    -------
    xarray.DataArray
        Dims (month, ..., y, x), all months from the first to the last; NaN throughout where there
        is no image, and at cells that were never clear.

    Raises
    ------
    StackError
        If there are no times, or no image lies in the months.
    """
    if "time" not in series.dims or series["time"].dtype.kind != "M" or not series.sizes["time"]:
        msg = f"found the dims {series.dims}, expected images along time, with dates"
        raise StackError(msg)
    month_of_image = series["time"].values.astype("datetime64[M]").astype("datetime64[ns]")
    first, last = (month_of_image.min(), month_of_image.max()) if months is None else months
    calendar = months_between(first, last)
    with_images = [month for month in calendar if (month_of_image == month).any()]
    if not with_images:
        msg = (
            f"found images from {str(month_of_image.min())[:7]} to "
            f"{str(month_of_image.max())[:7]}, expected some from {str(calendar[0])[:7]} to "
            f"{str(calendar[-1])[:7]}"
        )
        raise StackError(msg)
    images = [
        composite(series.isel(time=np.flatnonzero(month_of_image == month)), how)
        for month in with_images
    ]
    joined = xr.concat(
        images, dim=xr.Variable("month", with_images), coords="minimal", join="exact"
    )
    return joined.reindex(month=calendar)


def composite(images: xr.DataArray, how: Composite) -> xr.DataArray:
    """Reduce images along time by the median or the mean of what is not NaN."""
    if how not in get_args(Composite):
        msg = f"found how={how!r}, expected one of {', '.join(get_args(Composite))}"
        raise ValueError(msg)
    if images.chunks is not None:
        images = images.chunk(time=-1)
    # Other libraries add single precision up in another order.
    with xr.set_options(use_bottleneck=False, use_numbagg=False):  # type: ignore[no-untyped-call]
        reduced: xr.DataArray = getattr(images, how)("time", skipna=True, keep_attrs=True)
    return reduced.astype(np.float32, keep_attrs=True)


def months_between(first: Any, last: Any) -> NDArray[np.datetime64]:  # noqa: ANN401
    """Return the first days of all months from one to another, both included."""
    try:
        begin, end = np.datetime64(first, "M"), np.datetime64(last, "M")
    except ValueError as error:
        msg = f"found the months {first!r} and {last!r}, expected dates such as 2021-04"
        raise StackError(msg) from error
    if not begin <= end:
        msg = f"found {begin} as first month and {end} as last, expected them in that order"
        raise StackError(msg)
    return np.arange(begin, end + 1, dtype="datetime64[M]").astype("datetime64[ns]")


# Sentinel-2 surface reflectance: scaling, names of bands, scene classification.

QUANTIFICATION = 10_000.0
OFFSET = -1000.0
OFFSET_SINCE = 4.0
"""Processing baseline since which numbers carry the offset (25 January 2022)."""
CLEAR = (2, 4, 5, 6, 7, 11)
"""Classes that show the ground: dark areas (in a city the shadows of buildings), vegetation, bare
ground, water, unclassified, snow. The others: no data, saturated, cloud shadow, cloud, cirrus."""
VISIBLE = OPTICAL_BANDS[:5]
DARKEST_WITH_OFFSET = 0.09
"""Where all but a thousandth of an image is brighter than this in visible light, the offset of 0.1
is still in it: shadow, water and vegetation are darker, also in a desert."""
DARK_PERCENTILE = 0.1


def offset_of_baseline(baseline: str | float) -> float:
    """Return the offset to add to digital numbers of a processing baseline.

    Source: Sentinel-2 Products Specification Document, BOA_ADD_OFFSET.
    """
    text = str(baseline).strip().upper()
    match = re.fullmatch(r"N(\d\d)(\d\d)", text)
    try:
        number = float(f"{match[1]}.{match[2]}" if match else text)
    except ValueError:
        number = np.nan
    if not 0.0 <= number < 100.0:
        msg = f"found the processing baseline {baseline!r}, expected one such as '05.09'"
        raise StackError(msg)
    return OFFSET if number >= OFFSET_SINCE else 0.0


def reflectance(
    numbers: xr.DataArray,
    *,
    baseline: str | float | None = None,
    offset: float | None = None,
) -> xr.DataArray:
    """Convert digital numbers of Sentinel-2 L2A products to surface reflectance.

    Parameters
    ----------
    numbers : xarray.DataArray
        As stored; 0 is no data.
    baseline : str or float, optional
        Processing baseline of the product, on which the offset depends; the name of the product
        contains it, ``N0509``. Give this or `offset`.
    offset : float, optional
        Added to the numbers: -1000 since baseline 04.00, else 0.

    Returns
    -------
    xarray.DataArray
        float32, NaN where there is no data. Shadows may be slightly negative.

    Raises
    ------
    StackError
        If neither or both of baseline and offset are given, or the numbers are reflectance already.
    """
    if (baseline is None) == (offset is None):
        msg = (
            f"found {baseline=} and {offset=}, expected one of them: numbers of processing "
            "baseline 04.00 and later carry an offset of -1000, earlier ones do not"
        )
        raise StackError(msg)
    added = offset_of_baseline(baseline) if baseline is not None else float(offset or 0.0)
    values = numbers.astype(np.float32)
    largest = float(values.max()) if values.size else 0.0
    if 0.0 < largest <= 2.0:
        msg = (
            f"found digital numbers up to {largest:.3g}, expected up to several thousand: are they "
            "reflectance already?"
        )
        raise StackError(msg)
    known = np.isfinite(values) & (values > 0.0)
    scaled: xr.DataArray = ((values + np.float32(added)) / np.float32(QUANTIFICATION)).where(known)
    scaled.attrs = {"long_name": "surface reflectance", "units": "1"}
    return scaled


def check_offset(image: xr.DataArray) -> xr.DataArray:
    """Raise if reflectance suggests that its offset was left out, or added without need."""
    visible = [band for band in VISIBLE if band in image["optical_band"].values]
    values = np.asarray(image.sel(optical_band=visible).values)
    values = values[np.isfinite(values)]
    if values.size and float(np.percentile(values, DARK_PERCENTILE)) > DARKEST_WITH_OFFSET:
        msg = (
            f"found nothing darker than a reflectance of {float(values.min()):.3f} in "
            f"{', '.join(visible)}, expected water, shadow or vegetation near 0: the offset of "
            "-1000 was probably left out. State a baseline of 04.00 or later, or offset=-1000"
        )
        raise StackError(msg)
    check_optical(image)
    return image


def clear_sky_mask(classification: xr.DataArray) -> xr.DataArray:
    """Return where the scene classification (SCL) shows the ground.

    Parameters
    ----------
    classification : xarray.DataArray
        Classes 0 to 11.

    Returns
    -------
    xarray.DataArray
        bool: False for no data, saturated cells, cloud, cloud shadow and cirrus.

    Raises
    ------
    StackError
        If there are other numbers.
    """
    values = classification.fillna(0)
    wrong = np.asarray((values < 0) | (values > 11) | (values % 1 != 0))
    if wrong.any():
        msg = (
            f"found {np.asarray(values)[wrong].ravel()[0]:g} in the scene classification, "
            "expected classes 0 to 11: is it the band SCL, resampled by the nearest cell?"
        )
        raise StackError(msg)
    clear: xr.DataArray = values.isin(CLEAR)
    return clear


# Sentinel-1 on the grid of a city: terrain-flattened images, or products and an elevation model.

OrbitDirection = Literal["ascending", "descending"]
RADIOMETRIES = ("gamma0", "sigma0")
POLARISATIONS = ("VV", "VH")
LAW_LEVEL = 0.1
"""Level of the backscatter law; only ratios of it count."""


def reconstruct_product(
    source: str | os.PathLike[str] | Scene,
    dem: xr.DataArray,
    like: xr.DataArray | xr.Dataset,
    *,
    method: Method | None = None,
) -> xr.Dataset:
    """Reconstruct the backscatter of a Sentinel-1 product on the grid of a city.

    As `sarheight.layover.reconstruct`, with calibration, noise, orbit and geometry of the product;
    the elevation model decides how the radar cross-section is allocated to cells. The backscatter
    law is a constant gamma0: most cities are too flat and too small to fit a law, and on flat
    ground the law has no effect.

    Parameters
    ----------
    source : path, URL or Scene
        A product in radar geometry from the archive (GRD, SLC), or an open image.
    dem : xarray.DataArray
        Heights of the ground above the ellipsoid in metres, see `sarheight.dem.open_dem`; a coarse
        model suffices.
    like : xarray.DataArray or xarray.Dataset
        On the grid of the city.
    method : Reallocation or PosteriorMean, optional
        `Reallocation()` by default, which preserves the texture of a city.

    Returns
    -------
    xarray.Dataset
        As `reconstruct` returns it: ``gamma0`` (polarisation, y, x), ``mask``, ``fold_count``,
        ``local_incidence`` and others.

    Raises
    ------
    ProductError
        If the product cannot be read.
    GeometryError
        If it does not cover the city.
    DemError
        If the elevation model is not usable, or does not cover the grid.
    """
    from sarheight.dem import check_dem, reproject
    from sarheight.illumination import CosinePower
    from sarheight.layover import Reallocation, reconstruct
    from sarheight.product import open_product
    from sarheight.scene import Scene

    shape = like.sizes["y"], like.sizes["x"]
    template = on_grid_of(like, np.zeros(shape, dtype=np.float32))
    ground = reproject(check_dem(dem), like=template, resampling="cubic")
    nearest = reproject(check_dem(dem), like=template, resampling="nearest")
    # Cubic interpolation has no value beside a gap or the edge of the model.
    ground = ground.fillna(nearest)
    if isinstance(source, Scene):
        scene = source
    else:
        bounds = template.rio.transform_bounds(4326)
        known = ground.values[np.isfinite(ground.values)]
        product = open_product(source)
        available = tuple(name for name in POLARISATIONS if name in product.polarisations)
        if not available:
            found = ", ".join(product.polarisations)
            msg = f"found the polarisations {found} in '{product.name}', expected VV, VH or both"
            raise StackError(msg)
        scene = product.scene(
            polarisations=available,
            bounds=tuple(bounds),
            heights=(float(known.min()), float(known.max())),
        )
    return reconstruct(
        scene,
        ground,
        method=Reallocation() if method is None else method,
        law=CosinePower(LAW_LEVEL, 1.0),
    )


def sar_series(
    images: Iterable[xr.Dataset],
    like: xr.DataArray | xr.Dataset,
    *,
    orbit_direction: OrbitDirection | None = None,
    months: tuple[Any, Any] | None = None,
) -> xr.DataArray:
    """Average Sentinel-1 images by month and pass on the grid of a city.

    Images are taken one after the other: one is in memory at a time, beside the sums.

    Parameters
    ----------
    images : iterable of xarray.Dataset
        As `sarheight.archives.open_rtc`, `sarheight.layover.reconstruct` or `reconstruct_product`
        return them: ``gamma0`` or ``sigma0``, linear power, dims ([polarisation,] y, x), with an
        attribute ``acquisition`` that holds time and pass.
    like : xarray.DataArray or xarray.Dataset
        On the grid of the city.
    orbit_direction : {"ascending", "descending"}, optional
        Pass of images that do not state it.
    months : tuple, optional
        First and last month; images of others are ignored. By default all.

    Returns
    -------
    xarray.DataArray
        Linear power, dims (month, sar_band, y, x), all of `SAR_BANDS`; NaN where there is no image.

    Raises
    ------
    StackError
        If an image has neither gamma0 nor sigma0, or another one than the others, no time or pass,
        or does not meet the grid; or there is no image.
    """
    shape = like.sizes["y"], like.sizes["x"]
    sums: dict[tuple[np.datetime64, str], tuple[NDArray[np.float64], NDArray[np.int32]]] = {}
    calendar = None if months is None else months_between(*months)
    calibrations: set[str] = set()
    for image in images:
        time, direction = _time_and_direction(image, orbit_direction)
        month = month_start(time)
        if calendar is not None and month not in calendar:
            continue
        calibrations.add(_radiometry(image))
        for band, power in _bands(image, direction):
            values = resample_image(power, like).values
            total, count = sums.setdefault((month, band), (np.zeros(shape), np.zeros(shape, int)))
            known = np.isfinite(values)
            total += np.where(known, values, 0.0)
            count += known
    if not sums or len(calibrations) > 1:
        found = " and ".join(sorted(calibrations)) or "no image in the months"
        msg = f"found {found}, expected images that are all gamma0, or all sigma0"
        raise StackError(msg)
    if calendar is None:
        with_images = [month for month, _ in sums]
        calendar = months_between(min(with_images), max(with_images))
    means = np.full((len(calendar), len(SAR_BANDS), *shape), np.nan, dtype=np.float32)
    for (month, band), (total, count) in sums.items():
        index = int(np.flatnonzero(calendar == month)[0]), SAR_BANDS.index(band)
        means[index] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return on_grid_of(
        like,
        means,
        {"month": calendar, "sar_band": list(SAR_BANDS)},
        {"long_name": "backscatter", "units": "1", "calibration": calibrations.pop()},
    )


def _time_and_direction(
    image: xr.Dataset, default: OrbitDirection | None
) -> tuple[np.datetime64, OrbitDirection]:
    """Return time and pass of an image."""
    records = acquisitions(image.attrs)
    if len(records) != 1 or not records[0].get("start"):
        msg = (
            f"found {len(records)} passes among the attributes of an image, expected one with its "
            "time: reconstruct each pass alone, or see sarheight.buildings.monthly_composite"
        )
        raise StackError(msg)
    direction = str(records[0].get("orbit_state", "")).lower() or default
    if direction not in get_args(OrbitDirection):
        msg = (
            f"found an image of {records[0]['start']} that does not state its pass, expected "
            "orbit_direction='ascending' or 'descending'"
        )
        raise StackError(msg)
    time = np.datetime64(str(records[0]["start"]).rstrip("Z").partition("+")[0])
    return time, "ascending" if direction == "ascending" else "descending"


def _radiometry(image: xr.Dataset) -> str:
    found = [name for name in RADIOMETRIES if name in image]
    if not found:
        msg = (
            f"found the variables {', '.join(map(str, image))}, expected gamma0 or sigma0 in "
            "linear power"
        )
        raise StackError(msg)
    return found[0]


def _bands(image: xr.Dataset, direction: OrbitDirection) -> list[tuple[str, xr.DataArray]]:
    """Return the polarisations of an image that a stack has, with the names of their bands."""
    power = image[_radiometry(image)]
    if "polarisation" not in power.dims:
        names = acquisitions(image.attrs)[0].get("polarisations") or [""]
        power = power.expand_dims(polarisation=[str(names[0])])
    names = [str(name) for name in power["polarisation"].values]
    bands = [f"{name.lower()}_{direction}" for name in names]
    found = [
        (band, power.isel(polarisation=index, drop=True))
        for index, band in enumerate(bands)
        if band in SAR_BANDS
    ]
    if not found:
        msg = f"found the polarisations {', '.join(names)}, expected VV, VH or both"
        raise StackError(msg)
    return found
