"""Sentinel-1 on the grid of a city: from flattened images, or unfolded with an elevation model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr

from sarheight._acquisition import acquisitions
from sarheight.data._stacks.composites import months_between
from sarheight.data._stacks.form import SAR_BANDS, month_of
from sarheight.data._stacks.regrid import on_grid
from sarheight.errors import StackError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from sarheight.illumination import BackscatterLaw
    from sarheight.layover import Method
    from sarheight.scene import Scene

__all__ = ["Pass", "pass_of_time", "sar_series", "unfolded"]

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
            "time: unfold each pass alone, or see sarheight.data.monthly"
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
