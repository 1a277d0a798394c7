"""Sentinel-1 and Sentinel-2 images on the grid of a city."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import rasterio.crs
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.warp import reproject

from sarheight.buildings.stack import OPTICAL_BANDS, POSTING, SAR_BANDS, check_optical, month_of
from sarheight.errors import StackError
from sarheight.output.grid import grid_transform
from sarheight.scene import acquisitions

if TYPE_CHECKING:
    import os

    from affine import Affine
    from numpy.typing import NDArray

    from sarheight.illumination import BackscatterLaw
    from sarheight.layover import Method
    from sarheight.scene import Scene

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


# One image for each month.

Composite = Literal["median", "mean"]
MEANS: dict[str, Callable[..., Any]] = {"median": np.nanmedian, "mean": np.nanmean}


def monthly(
    series: xr.DataArray,
    how: Composite,
    *,
    months: tuple[Any, Any] | None = None,
) -> xr.DataArray:
    """Make one image of all that were taken in a month.

    Parameters
    ----------
    series : xarray.DataArray
        Dims (time, ..., y, x), NaN where there is no data or cloud; may be dask-backed.
    how : {"median", "mean"}
        The median for reflectance, as what is left of clouds does not pull it; the mean for
        power, as it keeps the energy.
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
    taken = series["time"].values.astype("datetime64[M]")
    first, last = (taken.min(), taken.max()) if months is None else months
    wanted = months_between(first, last)
    images = [
        composite(series.isel(time=np.flatnonzero(taken == month)), how)
        for month in wanted.astype("datetime64[M]")
        if (taken == month).any()
    ]
    there = [month for month in wanted if (taken == month.astype("datetime64[M]")).any()]
    if not images:
        msg = (
            f"found images from {taken.min()} to {taken.max()}, expected some from "
            f"{str(wanted[0])[:7]} to {str(wanted[-1])[:7]}"
        )
        raise StackError(msg)
    joined = xr.concat(images, dim=xr.Variable("month", there), coords="minimal", join="exact")
    return joined.reindex(month=wanted)


def composite(images: xr.DataArray, how: Composite) -> xr.DataArray:
    """Take the median or the mean of images along time, leaving out NaN."""
    if how not in MEANS:
        msg = f"found how={how!r}, expected one of {', '.join(get_args(Composite))}"
        raise ValueError(msg)

    def middle(values: NDArray[Any]) -> NDArray[np.float32]:
        with warnings.catch_warnings():
            # A cell that was never clear stays without value; that is what we want.
            warnings.filterwarnings("ignore", message=".*(All-NaN slice|empty slice).*")
            return np.asarray(MEANS[how](values, axis=-1), dtype=np.float32)

    if images.chunks is not None:
        images = images.chunk(time=-1)
    found: xr.DataArray = xr.apply_ufunc(
        middle,
        images,
        input_core_dims=[["time"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        keep_attrs=True,
    )
    return found


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


# Sentinel-2's surface reflectance: its scaling, its bands' names, its scene classification.

QUANTIFICATION = 10_000.0
OFFSET = -1000.0
OFFSET_SINCE = 4.0
"""Processing baseline since which numbers carry the offset (25 January 2022)."""
CLEAR = (2, 4, 5, 6, 7, 11)
"""Classes that show the ground: dark areas (in a city the shadows of buildings), vegetation, bare
ground, water, unclassified, snow. The others: no data, saturated, cloud shadow, cloud, cirrus."""
VISIBLE = OPTICAL_BANDS[:5]
DARKEST_WITH_OFFSET = 0.09
"""If all but a thousandth of an image is brighter than this in visible light, it still carries the
offset of 0.1: shadow, water and vegetation are darker, also in a desert."""
DARK_SHARE = 0.1
"""That thousandth in per cent."""

COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir16": "B11",
    "swir22": "B12",
}
"""Names of the assets of Earth Search."""


def optical_band(name: str) -> str | None:
    """Return the band that a catalogue or a file calls by some name, None if it is none."""
    bare = re.sub(r"[_-]?\d\dm$", "", name.strip(), flags=re.IGNORECASE)
    if bare.lower() in COMMON_NAMES:
        return COMMON_NAMES[bare.lower()]
    found = re.fullmatch(r"B(\d{1,2})(A?)", bare, flags=re.IGNORECASE)
    if found is None:
        return None
    band = f"B{found[1].lstrip('0')}A" if found[2] else f"B{int(found[1]):02d}"
    return band if band in OPTICAL_BANDS else None


def offset_of_baseline(baseline: str | float) -> float:
    """Return what is to be added to digital numbers, by their processing baseline.

    Source: Sentinel-2 Products Specification Document, BOA_ADD_OFFSET.
    """
    text = str(baseline).strip().upper()
    named = re.fullmatch(r"N(\d\d)(\d\d)", text)
    try:
        number = float(f"{named[1]}.{named[2]}" if named else text)
    except ValueError:
        number = np.nan
    if not 0.0 <= number < 100.0:
        msg = f"found the processing baseline {baseline!r}, expected one such as '05.09'"
        raise StackError(msg)
    return OFFSET if number >= OFFSET_SINCE else 0.0


def offset_of_item(properties: Mapping[str, Any]) -> float:
    """Return what is to be added to digital numbers, by the properties of a STAC item."""
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0.0
    for name in ("s2:processing_baseline", "processing:version"):
        if properties.get(name) not in {None, ""}:
            return offset_of_baseline(str(properties[name]))
    msg = (
        "found no processing baseline (s2:processing_baseline, processing:version), expected one: "
        "since 04.00 an offset of -1000 is to be added to the numbers. State the offset"
    )
    raise StackError(msg)


def reflectance(
    numbers: xr.DataArray,
    *,
    baseline: str | float | None = None,
    offset: float | None = None,
    quantification: float = QUANTIFICATION,
) -> xr.DataArray:
    """Turn digital numbers of Sentinel-2's L2A products into surface reflectance.

    Parameters
    ----------
    numbers : xarray.DataArray
        As stored; 0 is no data.
    baseline : str or float, optional
        Processing baseline of the product, which says whether there is an offset. It stands in the
        name of the product, ``N0509``. Give this or `offset`.
    offset : float, optional
        What is to be added to the numbers: -1000 since baseline 04.00, else 0.
    quantification : float
        Numbers that make a reflectance of 1.

    Returns
    -------
    xarray.DataArray
        float32, NaN where there is no data. Shadows may come out a little below 0.

    Raises
    ------
    StackError
        If it is not said whether there is an offset, or the numbers are reflectance already.
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
    found: xr.DataArray = ((values + np.float32(added)) / np.float32(quantification)).where(known)
    found.attrs = {"long_name": "surface reflectance", "units": "1"}
    return found


def check_offset(image: xr.DataArray) -> xr.DataArray:
    """Raise if reflectance looks as if its offset was left in, or subtracted without need."""
    seen = [band for band in VISIBLE if band in image["optical_band"].values]
    values = np.asarray(image.sel(optical_band=seen).values)
    values = values[np.isfinite(values)]
    if values.size and float(np.percentile(values, DARK_SHARE)) > DARKEST_WITH_OFFSET:
        msg = (
            f"found nothing darker than a reflectance of {float(values.min()):.3f} in "
            f"{', '.join(seen)}, expected water, shadow or vegetation near 0: the offset of -1000 "
            "was probably left in. State a baseline of 04.00 or later, or offset=-1000"
        )
        raise StackError(msg)
    check_optical(image)
    return image


def clear_cells(classification: xr.DataArray) -> xr.DataArray:
    """Tell where the scene classification (SCL) says that the ground is seen.

    Parameters
    ----------
    classification : xarray.DataArray
        Classes 0 to 11.

    Returns
    -------
    xarray.DataArray
        bool, see `CLEAR`.

    Raises
    ------
    StackError
        If there are other numbers.
    """
    values = classification.fillna(0)
    strange = np.asarray((values < 0) | (values > 11) | (values % 1 != 0))
    if strange.any():
        msg = (
            f"found {np.asarray(values)[strange].ravel()[0]:g} in the scene classification, "
            "expected classes 0 to 11: is it the band SCL, brought to the grid by the nearest cell?"
        )
        raise StackError(msg)
    found: xr.DataArray = values.isin(CLEAR)
    return found


# Sentinel-1 on the grid of a city: from flattened images, or unfolded with an elevation model.

Pass = Literal["ascending", "descending"]
RADIOMETRIES = ("gamma0", "sigma0")
DEGREES_PER_HOUR = 15.0
TYPICAL = 0.1
"""Level of the backscatter law; only ratios of it count."""


def unfolded(
    source: str | os.PathLike[str] | Scene,
    dem: xr.DataArray,
    like: xr.DataArray | xr.Dataset,
    *,
    method: Method | None = None,
    law: BackscatterLaw | None = None,
    polarisations: Sequence[str] = ("VV", "VH"),
) -> xr.Dataset:
    """Unfold a Sentinel-1 product on the grid of a city.

    The way is that of `sarheight.layover.reconstruct`: calibration, noise, orbit and geometry of
    the product; the elevation model says how much energy comes from which cell.

    Parameters
    ----------
    source : path, URL or Scene
        A product in radar geometry as it comes from the archive (GRD, SLC), or an image opened.
    dem : xarray.DataArray
        Heights of the ground above the ellipsoid in metres, see `sarheight.dem.open_dem`; coarse
        ones will do.
    like : xarray.DataArray or xarray.Dataset
        On the grid of the city.
    method : Reallocation or PosteriorMean, optional
        How energy is given back; `Reallocation()` by default, which leaves the texture of a city
        as it is.
    law : callable, optional
        Backscatter law, see `reconstruct`. By default gamma0 is the same under all angles; most
        cities are too flat and too small for a law to be fitted to them, and where the ground is
        flat the law does not matter.
    polarisations : sequence of str
        Which to open, as far as the product has them.

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
        If it does not show the place.
    DemError
        If the elevation model is not usable, or does not meet the grid.
    """
    from sarheight.dem import check_dem, reproject
    from sarheight.illumination import CosinePower
    from sarheight.layover import Reallocation, reconstruct
    from sarheight.product import open_product
    from sarheight.scene import Scene

    template = _template(like)
    ground = reproject(check_dem(dem), like=template, resampling="cubic")
    nearest = reproject(check_dem(dem), like=template, resampling="nearest")
    ground = ground.fillna(nearest)
    if isinstance(source, Scene):
        scene = source
    else:
        bounds = template.rio.transform_bounds(4326)
        known = ground.values[np.isfinite(ground.values)]
        product = open_product(source)
        there = tuple(name for name in polarisations if name in product.polarisations)
        if not there:
            found = ", ".join(product.polarisations)
            msg = f"found the polarisations {found} in '{product.name}', expected {polarisations}"
            raise StackError(msg)
        scene = product.scene(
            polarisations=there,
            bounds=tuple(bounds),
            heights=(float(known.min()), float(known.max())),
        )
    return reconstruct(
        scene,
        ground,
        method=Reallocation() if method is None else method,
        law=CosinePower(TYPICAL, 1.0) if law is None else law,
    )


def sar_series(
    images: Iterable[xr.Dataset],
    like: xr.DataArray | xr.Dataset,
    *,
    passing: Pass | None = None,
    months: tuple[Any, Any] | None = None,
) -> xr.DataArray:
    """Make the monthly means of Sentinel-1 images on the grid of a city.

    Images are taken one after the other, so that only one is in memory beside the sums.

    Parameters
    ----------
    images : iterable of xarray.Dataset
        As `sarheight.rtc.open_rtc`, `sarheight.layover.reconstruct` or `unfolded` return them:
        ``gamma0`` or ``sigma0``, linear power, dims ([polarisation,] y, x), with an attribute
        ``acquisition`` that holds time and pass.
    like : xarray.DataArray or xarray.Dataset
        On the grid of the city.
    passing : {"ascending", "descending"}, optional
        Pass of images that do not say it.
    months : tuple, optional
        First and last month; images of others are left out. By default all.

    Returns
    -------
    xarray.DataArray
        Linear power, dims (month, sar_band, y, x), all of `SAR_BANDS`; NaN where there is none.

    Raises
    ------
    StackError
        If an image has neither gamma0 nor sigma0, not the same as the others, no time or pass, or
        does not meet the grid; or there is none.
    """
    shape = like.sizes["y"], like.sizes["x"]
    sums: dict[tuple[np.datetime64, str], tuple[NDArray[np.float64], NDArray[np.int32]]] = {}
    wanted = None if months is None else months_between(*months)
    calibrations: set[str] = set()
    for image in images:
        time, side = _taken(image, passing)
        month = month_of(time)
        if wanted is not None and month not in wanted:
            continue
        calibrations.add(_radiometry(image))
        for band, power in _bands(image, side):
            values = on_grid(power, like).values
            total, count = sums.setdefault((month, band), (np.zeros(shape), np.zeros(shape, int)))
            known = np.isfinite(values)
            total += np.where(known, values, 0.0)
            count += known
    if not sums or len(calibrations) > 1:
        found = " and ".join(sorted(calibrations)) or "no image in the months asked for"
        msg = f"found {found}, expected images that are all gamma0, or all sigma0"
        raise StackError(msg)
    if wanted is None:
        there = [month for month, _ in sums]
        wanted = months_between(min(there), max(there))
    values = np.full((len(wanted), len(SAR_BANDS), *shape), np.nan, dtype=np.float32)
    for (month, band), (total, count) in sums.items():
        place = int(np.flatnonzero(wanted == month)[0]), SAR_BANDS.index(band)
        values[place] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    coordinates = {"month": wanted, "sar_band": list(SAR_BANDS)}
    grid = {name: like[name].values for name in ("y", "x")}
    series = xr.DataArray(
        values,
        dims=("month", "sar_band", "y", "x"),
        coords={**coordinates, **grid},
        attrs={"long_name": "backscatter", "units": "1", "calibration": calibrations.pop()},
    )
    placed: xr.DataArray = series.rio.write_crs(like.rio.crs)
    return placed


def pass_of_time(time: np.datetime64, longitude: float) -> Pass:
    """Tell by the local time whether Sentinel-1 was ascending or descending.

    Its orbit follows the sun: it crosses the equator northwards at about 18:00 and southwards at
    about 6:00, local mean solar time. Valid but near the poles, where it passes at all hours.

    Parameters
    ----------
    time : datetime64
        Of the image, UTC.
    longitude : float
        Of the place, degrees.

    Returns
    -------
    str

    References
    ----------
    Sentinel-1 orbit: sun-synchronous, mean local time of the ascending node 18:00.
    """
    of_day = time.astype("datetime64[s]") - time.astype("datetime64[D]")
    local = (of_day / np.timedelta64(1, "h") + longitude / DEGREES_PER_HOUR) % 24.0
    return "ascending" if local >= 12.0 else "descending"


def _taken(image: xr.Dataset, passing: Pass | None) -> tuple[np.datetime64, Pass]:
    """Return time and pass of an image."""
    records = acquisitions(image.attrs)
    if len(records) != 1 or not records[0].get("start"):
        msg = (
            f"found {len(records)} passes among the attributes of an image, expected one with its "
            "time: unfold each pass alone, or see sarheight.buildings.monthly"
        )
        raise StackError(msg)
    stated = str(records[0].get("orbit_state", "")).lower() or passing
    if stated not in get_args(Pass):
        msg = (
            f"found an image of {records[0]['start']} that does not say its pass, expected passing="
            "'ascending' or 'descending'"
        )
        raise StackError(msg)
    side: Pass = "ascending" if stated == "ascending" else "descending"
    return np.datetime64(str(records[0]["start"]).rstrip("Z").partition("+")[0]), side


def _radiometry(image: xr.Dataset) -> str:
    found = [name for name in RADIOMETRIES if name in image]
    if not found:
        msg = (
            f"found the variables {', '.join(map(str, image))}, expected gamma0 or sigma0 in "
            "linear power"
        )
        raise StackError(msg)
    return found[0]


def _bands(image: xr.Dataset, side: Pass) -> list[tuple[str, xr.DataArray]]:
    """Return the polarisations of an image that a stack has, by the names of its bands."""
    power = image[_radiometry(image)]
    if "polarisation" not in power.dims:
        names = acquisitions(image.attrs)[0].get("polarisations") or [""]
        power = power.expand_dims(polarisation=[str(names[0])])
    found = []
    for index, name in enumerate(power["polarisation"].values):
        band = f"{str(name).lower()}_{side}"
        if band in SAR_BANDS:
            found.append((band, power.isel(polarisation=index, drop=True)))
    if not found:
        names = ", ".join(map(str, power["polarisation"].values))
        msg = f"found the polarisations {names}, expected VV, VH or both"
        raise StackError(msg)
    return found


def _template(like: xr.DataArray | xr.Dataset) -> xr.DataArray:
    """Return a layer on a grid."""
    shape = like.sizes["y"], like.sizes["x"]
    grid = {name: like[name].values for name in ("y", "x")}
    layer = xr.DataArray(np.zeros(shape, dtype=np.float32), coords=grid, dims=("y", "x"))
    placed: xr.DataArray = layer.rio.write_crs(like.rio.crs)
    return placed
