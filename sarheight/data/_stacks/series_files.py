"""City stacks of what others have published: chips, pairs, and arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.data._stacks.composites import monthly
from sarheight.data._stacks.form import OPTICAL_BANDS, SAR_BANDS, city_stack
from sarheight.data._stacks.optical import check_offset, clear_cells, optical_band, reflectance
from sarheight.data._stacks.regrid import on_grid
from sarheight.errors import StackError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from sarheight.data._stacks.radar import Pass

__all__ = ["stack_of_arrays", "stack_of_raster"]

LEVELS = {"cdB": 0.01, "dB": 1.0}
"""Decibels in one unit of what an array holds."""


def stack_of_raster(
    path: str | os.PathLike[str],
    bands: Sequence[str | None],
    time: Any,  # noqa: ANN401  # whatever numpy takes for a time
    *,
    decibels: float | None = None,
    baseline: str | float | None = None,
    offset: float | None = None,
) -> xr.Dataset:
    """Make a city stack of one month of a GeoTIFF that holds all bands of one date.

    Parameters
    ----------
    path : path-like
        Any raster that GDAL reads.
    bands : sequence of str or None
        What each of its bands is: one of `SAR_BANDS` or `OPTICAL_BANDS`; the name of a layer, such
        as "dem" or "height", which comes along as it is; or None to leave it out.
    time : str or datetime64
        When it was taken.
    decibels : float, optional
        Decibels in one unit of the radar bands, such as 0.01 for whole hundredths; left out where
        they hold linear power.
    baseline, offset : optional
        Of the optical bands, which are digital numbers; see `reflectance`.

    Returns
    -------
    xarray.Dataset
        A city stack.

    Raises
    ------
    StackError
        If names and bands do not pair, a band is doubled, or values are not what they are said to
        be.
    ProductError
        If the file cannot be read.
    """
    import rioxarray
    from rasterio.errors import RasterioError

    from sarheight.errors import ProductError

    try:
        image = rioxarray.open_rasterio(path)
    except (RasterioError, OSError) as error:
        msg = f"'{path}' is no raster that GDAL can read, or it is damaged ({error})"
        raise ProductError(msg) from error
    if not isinstance(image, xr.DataArray) or image.sizes["band"] != len(bands):
        found = image.sizes["band"] if isinstance(image, xr.DataArray) else "several kinds of"
        msg = (
            f"found {found} bands in '{path}', expected {len(bands)}: {', '.join(map(str, bands))}"
        )
        raise StackError(msg)
    image.load().close()
    numbers = image.astype(np.float32)
    if image.rio.nodata is not None:
        numbers = numbers.where(image != image.rio.nodata)
    named = {name: numbers[index].drop_vars("band") for index, name in enumerate(bands) if name}
    if len(named) < sum(name is not None for name in bands):
        msg = f"found a band twice among {', '.join(map(str, bands))}, expected each once"
        raise StackError(msg)
    month = np.array([np.datetime64(time, "ns")])
    radar = [name for name in named if name in SAR_BANDS]
    optics = [name for name in named if name in OPTICAL_BANDS]
    sar = optical = None
    if radar:
        levels = _joined([named[name] for name in radar], "sar_band", radar)
        sar = levels if decibels is None else 10.0 ** (decibels * levels / 10.0)
        sar = monthly(sar.expand_dims(time=month), "mean")
    if optics:
        stored = _joined([named[name] for name in optics], "optical_band", optics)
        seen = check_offset(reflectance(stored, baseline=baseline, offset=offset))
        optical = monthly(seen.expand_dims(time=month), "median")
    layers = {name: each for name, each in named.items() if name not in {*radar, *optics}}
    return city_stack(sar=sar, optical=optical, layers=layers, posting=None)


def stack_of_arrays(
    path: str | os.PathLike[str] | Mapping[str, NDArray[Any]],
    *,
    passing: Pass | None = None,
    baseline: str | float | None = None,
    offset: float | None = None,
    posting: float = 10.0,
) -> xr.Dataset:
    """Make a city stack of series that lie as arrays in an ``.npz`` file.

    Names say what the arrays are, dims (time, band, row, column) or (time, row, column):

    ``s1_vv_vh_dB``
        Radar in decibels; ``cdB`` for hundredths, neither for linear power.
    ``s2_10m_B02_B03``
        Digital numbers of L2A of these bands at 10 m; any number of such arrays.
    ``scl``
        The scene classification.
    ``s1_time``, ``s2_time``
        Seconds since 1970.
    ``x10``, ``y10``, ``x20``, ``y20``
        Cell centres of the grids of 10 and 20 m.
    ``epsg``
        Code of the projected reference system.

    Parameters
    ----------
    path : path-like or mapping
        An ``.npz``, or its arrays by name.
    passing : {"ascending", "descending"}, optional
        Of the radar images; needed where there are some.
    baseline, offset : optional
        Of the optical images, see `reflectance`.
    posting : float
        Which of the grids becomes that of the stack.

    Returns
    -------
    xarray.Dataset
        A city stack with all months from the first image to the last.

    Raises
    ------
    StackError
        If something is missing, or values are not what they are said to be.
    """
    arrays = path if isinstance(path, Mapping) else _read(Path(path))
    grid = _grid(arrays, int(posting))
    sar = optical = None
    first, last = _span(arrays)
    radar = next((name for name in arrays if re.match(r"s1_(vv|vh)", name)), None)
    if radar is not None:
        if passing is None:
            msg = f"found radar images ({radar}) without their pass, expected passing="
            raise StackError(msg)
        parts = radar.split("_")[1:]
        names = [f"{part}_{passing}" for part in parts if part in {"vv", "vh"}]
        levels = _image(arrays, radar, "s1_time", "sar_band", names)
        unit = next((LEVELS[part] for part in parts if part in LEVELS), None)
        power = levels if unit is None else 10.0 ** (unit * levels / 10.0)
        sar = on_grid(monthly(power, "mean", months=(first, last)), grid)
    images = []
    for name in arrays:
        optics = [found for part in name.split("_")[2:] if (found := optical_band(part))]
        if name.startswith("s2_") and optics:
            stored = _image(arrays, name, "s2_time", "optical_band", optics)
            seen = on_grid(reflectance(stored, baseline=baseline, offset=offset), grid)
            images.append(seen)
    if images:
        seen = xr.concat(images, dim="optical_band", join="exact")
        if "scl" in arrays:
            classes = _image(arrays, "scl", "s2_time", "band", ["SCL"]).isel(band=0, drop=True)
            seen = seen.where(clear_cells(on_grid(classes.astype(np.uint8), grid)))
        optical = monthly(check_offset(seen), "median", months=(first, last))
    return city_stack(sar=sar, optical=optical, posting=posting)


def _joined(images: list[xr.DataArray], axis: str, names: list[str]) -> xr.DataArray:
    joined: xr.DataArray = xr.concat(images, dim=xr.Variable(axis, names), join="exact")
    return joined


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened}
    except ValueError as error:
        msg = f"'{path}' is no archive of plain arrays ({error})"
        raise StackError(msg) from error


def _need(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        msg = f"found the arrays {', '.join(arrays)}, expected {name} among them"
        raise StackError(msg)
    return arrays[name]


def _grid(arrays: Mapping[str, NDArray[Any]], posting: int) -> xr.DataArray:
    y, x = (_need(arrays, f"{name}{posting}") for name in ("y", "x"))
    empty = xr.DataArray(
        np.full((len(y), len(x)), np.nan, dtype=np.float32), coords={"y": y, "x": x}
    )
    placed: xr.DataArray = empty.rio.write_crs(int(_need(arrays, "epsg")))
    return placed


def _span(arrays: Mapping[str, NDArray[Any]]) -> tuple[np.datetime64, np.datetime64]:
    times = [arrays[name] for name in ("s1_time", "s2_time") if name in arrays]
    if not times:
        msg = f"found the arrays {', '.join(arrays)}, expected s1_time or s2_time among them"
        raise StackError(msg)
    seconds = np.concatenate(times).astype("datetime64[s]")
    return seconds.min(), seconds.max()


def _image(
    arrays: Mapping[str, NDArray[Any]], name: str, times: str, axis: str, bands: list[str]
) -> xr.DataArray:
    """Put an array on its grid, dims (time, band, y, x)."""
    values = arrays[name]
    values = (values if values.ndim == 4 else values[:, None]).astype(np.float32)
    taken = _need(arrays, times).astype("datetime64[s]").astype("datetime64[ns]")
    grids = [
        grid
        for step in (10, 20, 60)
        if f"x{step}" in arrays and (grid := _grid(arrays, step)).shape == values.shape[2:]
    ]
    if not grids or values.shape[:2] != (len(taken), len(bands)):
        msg = (
            f"found {name} with the shape {values.shape}, expected {len(taken)} times, "
            f"{len(bands)} bands ({', '.join(bands)}), and the rows and columns of one of the grids"
        )
        raise StackError(msg)
    grid = grids[0]
    image = xr.DataArray(
        values,
        dims=("time", axis, "y", "x"),
        coords={"time": taken, axis: bands, "y": grid["y"].values, "x": grid["x"].values},
    )
    placed: xr.DataArray = image.rio.write_crs(grid.rio.crs)
    return placed
