"""City stacks from files: folders of GeoTIFFs, chips and arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray
import xarray as xr
from rasterio.errors import RasterioError

from sarheight._files import file_reader
from sarheight.archives.rasters import Scale, open_raster, power
from sarheight.buildings._images import (
    check_offset,
    clear_sky_mask,
    monthly_composite,
    optical_band,
    reflectance,
    resample_image,
)
from sarheight.buildings.stack import (
    BANDS,
    OPTICAL_BANDS,
    SAR_BANDS,
    city_stack,
    on_grid_of,
    require_bands,
)
from sarheight.errors import ProductError, StackError
from sarheight.output.grid import MapGrid

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from sarheight.buildings._images import OrbitDirection

CLASSIFICATION = "SCL"
DATE = r"(?<!\d)(?P<date>\d{4}-?\d{2}(?:-?\d{2})?)(?!\d)"
EDGE_TOLERANCE = 0.01
"""Largest difference between edges of grids that count as shared, in cells."""


# One GeoTIFF for each band and date.


@dataclass(frozen=True)
class _File:
    """An image of a folder: its path, acquisition time and band."""

    path: Path
    time: np.datetime64
    band: str


PATTERN = "*{date}*{band}.tif"
"""Usual names of files: a date, and at the end a band."""
PASSES = {
    "ascending": ("asc", "ascending", "A", "ASC", "ASCENDING"),
    "descending": ("desc", "descending", "D", "DESC", "DESCENDING", "dsc", "DSC"),
}


def usual_bands() -> dict[str, str]:
    """Return the names that bands usually have in files, and those in a stack."""
    names = {band: band for band in (*OPTICAL_BANDS, *SAR_BANDS, CLASSIFICATION)}
    names |= {f"B{int(band[1:])}": band for band in OPTICAL_BANDS if band[1:].isdigit()}
    for band in SAR_BANDS:
        polarisation, direction = band.split("_")
        for written in (polarisation, polarisation.upper()):
            names |= {f"{written}_{name}": band for name in PASSES[direction]}
    return names


def stack_from_folder(
    folder: str | os.PathLike[str],
    pattern: str = PATTERN,
    bands: Mapping[str, str] | None = None,
    *,
    like: xr.DataArray | xr.Dataset | None = None,
    scale: Scale = "power",
    baseline: str | float | None = None,
    offset: float | None = None,
    layers: Mapping[str, xr.DataArray] | None = None,
) -> xr.Dataset:
    """Make a city stack from a folder of GeoTIFFs, one for each band and date.

    Parameters
    ----------
    folder : path-like
        Searched with its subfolders.
    pattern : str
        Names of the files: ``{date}`` stands for 2021-04, 202104, 2021-04-15 or 20210415,
        ``{band}`` for the name of a band, ``*`` for anything. A pattern with a ``/`` is compared
        with the end of the path, one without with the name of the file.
    bands : mapping, optional
        By the name of a band in the files its name in the stack, one of `SAR_BANDS` and
        `OPTICAL_BANDS`; or "SCL" for the scene classification, by which cloud is masked. Files of
        other bands are ignored. By default the usual names, such as B2 or B02, VV_asc, VH_D or
        vv_descending, as far as they occur.
    like : xarray.DataArray or xarray.Dataset, optional
        On the grid of the city, onto which all images are resampled. By default the grid of the
        finest image, with which the others must share their edges.
    scale : {"power", "amplitude", "decibel"}
        Scale of the radar images.
    baseline, offset : optional
        Of the optical images, which are digital numbers; see `reflectance`. One of the two is
        needed where there are optical images.
    layers : mapping, optional
        Variables of dims (y, x), such as ``height`` and ``footprint``.

    Returns
    -------
    xarray.Dataset
        A city stack: monthly medians of clear reflectance, and means of power.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    StackError
        If no file matches the pattern, a band is missing or repeated, the images lie on different
        grids, no month has a clear cell, or values fail a check.
    ProductError
        If an image cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"there is no folder '{folder}'"
        raise FileNotFoundError(msg)
    if bands is None:
        usual = usual_bands()
        files = list(_matching_files(folder, pattern, usual))
        occurring = {file.band for file in files}
        bands = {band: band for band in usual.values() if band in occurring} or usual
    else:
        require_bands(list(bands.values()), (*SAR_BANDS, *OPTICAL_BANDS, CLASSIFICATION), "bands")
        files = list(_matching_files(folder, pattern, bands))
    _require_complete(files, folder, pattern, bands)
    grid = _common_grid(files) if like is None else like

    def digital_to_reflectance(image: xr.DataArray) -> xr.DataArray:
        return reflectance(image, baseline=baseline, offset=offset)

    sar = optical = None
    radar_series = _series(files, "sar", grid, lambda image: power(image, scale))
    if radar_series is not None:
        sar = monthly_composite(radar_series, "mean")
    optical_series = _series(files, "optical", grid, digital_to_reflectance)
    if optical_series is not None:
        clear = check_offset(_without_cloud(optical_series, files, grid))
        optical = monthly_composite(clear, "median")
        if not bool(optical.notnull().any()):
            msg = f"found no clear cell in any month in '{folder}', expected some: add other dates"
            raise StackError(msg)
    return city_stack(sar=sar, optical=optical, layers=layers, posting=None)


def _matching_files(folder: Path, pattern: str, bands: Mapping[str, str]) -> Iterator[_File]:
    """Yield the files whose names match the pattern."""
    if pattern.count("{date}") != 1 or pattern.count("{band}") != 1:
        msg = f"found the pattern {pattern!r}, expected one {{date}} and one {{band}} in it"
        raise StackError(msg)
    expression = re.escape(pattern).replace(r"\*", ".*")
    names = "|".join(sorted(map(re.escape, bands), key=len, reverse=True))
    expression = expression.replace(r"\{date\}", DATE).replace(r"\{band\}", f"(?P<band>{names})")
    for path in sorted(folder.rglob("*")):
        text = path.relative_to(folder).as_posix() if "/" in pattern else path.name
        match = re.search(f"(?:^|/){expression}$", text) if path.is_file() else None
        if match is not None:
            yield _File(path, _date(match["date"], path), bands[match["band"]])


def _date(text: str, path: Path) -> np.datetime64:
    digits = text.replace("-", "")
    try:
        return np.datetime64("-".join(filter(None, (digits[:4], digits[4:6], digits[6:]))), "ns")
    except ValueError as error:
        msg = f"found the date {text!r} in the name of '{path}', expected one such as 2021-04-15"
        raise StackError(msg) from error


def _require_complete(
    files: list[_File], folder: Path, pattern: str, bands: Mapping[str, str]
) -> None:
    """Raise unless each band has a file, and one at most for each date."""
    if not files:
        msg = f"found no file in '{folder}' that is named {pattern!r} with {', '.join(bands)}"
        raise StackError(msg)
    first: dict[tuple[np.datetime64, str], Path] = {}
    for file in files:
        other = first.setdefault((file.time, file.band), file.path)
        if other != file.path:
            msg = (
                f"found {file.band} of {str(file.time)[:10]} twice, in '{other.name}' and "
                f"'{file.path.name}', expected it once: make the pattern narrower"
            )
            raise StackError(msg)
    missing = [name for name in bands.values() if name not in {file.band for file in files}]
    if missing:
        msg = f"found no file with {', '.join(missing)} in '{folder}', expected at least one"
        raise StackError(msg)


def _common_grid(files: list[_File]) -> xr.DataArray:
    """Return the grid of the finest image, with which all others must share their edges."""
    grids = {file.path: open_raster(str(file.path), {}) for file in files}
    finest = min(grids, key=lambda path: abs(grids[path].rio.transform().a))
    common = grids[finest]
    tolerance = EDGE_TOLERANCE * abs(common.rio.transform().a)
    for path, grid in grids.items():
        difference = np.abs(np.subtract(_edges(grid), _edges(common))).max()
        if grid.rio.crs != common.rio.crs or difference > tolerance:
            msg = (
                f"found '{path.name}' in {grid.rio.crs} with the edges {_edges(grid)}, and "
                f"'{finest.name}' in {common.rio.crs} with {_edges(common)}; expected images of "
                "one grid: pass like, onto which they are resampled"
            )
            raise StackError(msg)
    return common


def _edges(grid: xr.DataArray) -> tuple[float, ...]:
    """Return the outer edges (west, north, east, south)."""
    west, south, east, north = MapGrid.of(grid).bounds
    return west, north, east, south


def _series(
    files: list[_File],
    modality: str,
    grid: xr.DataArray | xr.Dataset,
    convert: Callable[[xr.DataArray], xr.DataArray],
) -> xr.DataArray | None:
    """Return the images of a modality, dims (time, band, y, x), NaN where missing; None for none.

    `convert` turns stored numbers into physical values.
    """
    axis, known = BANDS[modality]
    chosen = [file for file in files if file.band in known]
    if not chosen:
        return None
    bands = [band for band in known if band in {file.band for file in chosen}]
    times = sorted({file.time for file in chosen})
    shape = len(times), len(bands), grid.sizes["y"], grid.sizes["x"]
    values = np.full(shape, np.nan, dtype=np.float32)
    for file in chosen:
        image = resample_image(convert(open_raster(str(file.path), None)), grid)
        values[times.index(file.time), bands.index(file.band)] = image.values
    return on_grid_of(grid, values, {"time": np.array(times), axis: bands})


def _without_cloud(
    series: xr.DataArray, files: list[_File], grid: xr.DataArray | xr.Dataset
) -> xr.DataArray:
    """Mask cells that the scene classification of the same date does not call clear."""
    masks = {file.time: file.path for file in files if file.band == CLASSIFICATION}
    for index, time in enumerate(series["time"].values):
        if time in masks:
            clear = clear_sky_mask(resample_image(open_raster(str(masks[time]), None), grid))
            series[index] = series[index].where(clear)
    return series


# Chips of all bands of one date, and series in arrays.

DECIBELS = {"cdB": 0.01, "dB": 1.0}
"""Decibels in one unit of an array, by the unit in its name."""


def stack_from_raster(
    path: str | os.PathLike[str],
    bands: Sequence[str | None],
    time: Any,  # noqa: ANN401  # whatever numpy takes for a time
    *,
    decibels: float | None = None,
    baseline: str | float | None = None,
    offset: float | None = None,
) -> xr.Dataset:
    """Make a city stack of one month from a GeoTIFF that holds all bands of one date.

    Parameters
    ----------
    path : path-like
        Any raster that GDAL reads.
    bands : sequence of str or None
        For each band of the raster one of `SAR_BANDS` or `OPTICAL_BANDS`; the name of a layer, such
        as "dem" or "height", which is kept as it is; or None to drop it.
    time : str or datetime64
        Time of acquisition.
    decibels : float, optional
        Decibels in one unit of the radar bands, such as 0.01 for hundredths; None where they hold
        linear power.
    baseline, offset : optional
        Of the optical bands, which are digital numbers; see `reflectance`.

    Returns
    -------
    xarray.Dataset
        A city stack.

    Raises
    ------
    StackError
        If the number of names is not that of the bands, a band is repeated, or values fail a check.
    ProductError
        If the file cannot be read.
    """
    try:
        image = rioxarray.open_rasterio(path, driver="GTiff")
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
    repeated = [name for name, count in Counter(filter(None, bands)).items() if count > 1]
    if repeated:
        msg = f"found {', '.join(repeated)} more than once among the bands, expected each once"
        raise StackError(msg)
    numbers = image.astype(np.float32)
    if image.rio.nodata is not None:
        numbers = numbers.where(image != image.rio.nodata)
    layers = {name: numbers[index].drop_vars("band") for index, name in enumerate(bands) if name}
    radar = {name: layers.pop(name) for name in tuple(layers) if name in SAR_BANDS}
    optics = {name: layers.pop(name) for name in tuple(layers) if name in OPTICAL_BANDS}
    sar = optical = None
    if radar:
        stored = _concatenate("sar_band", radar)
        values = stored if decibels is None else 10.0 ** (decibels * stored / 10.0)
        sar = _single_month(values, time, "sar")
    if optics:
        stored = _concatenate("optical_band", optics)
        values = check_offset(reflectance(stored, baseline=baseline, offset=offset))
        optical = _single_month(values, time, "optical")
    return city_stack(sar=sar, optical=optical, layers=layers, posting=None)


def stack_from_arrays(
    path: str | os.PathLike[str] | Mapping[str, NDArray[Any]],
    *,
    orbit_direction: OrbitDirection | None = None,
    baseline: str | float | None = None,
    offset: float | None = None,
    posting: float = 10.0,
) -> xr.Dataset:
    """Make a city stack from series of arrays in an ``.npz`` file.

    Arrays have dims (time, band, row, column) or (time, row, column), and these names:

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
    orbit_direction : {"ascending", "descending"}, optional
        Pass of the radar images; required where there are some.
    baseline, offset : optional
        Of the optical images, see `reflectance`.
    posting : float
        Posting of the grid that becomes that of the stack.

    Returns
    -------
    xarray.Dataset
        A city stack with all months from the first image to the last.

    Raises
    ------
    StackError
        If an array is missing or of the wrong shape, or values fail a check.
    """
    arrays = path if isinstance(path, Mapping) else _read_arrays(Path(path))
    grid = _array_grid(arrays, int(posting))
    months = _time_span(arrays)
    radar = next((name for name in arrays if re.match(r"s1_(vv|vh)", name)), None)
    sar = None
    if radar is not None:
        if orbit_direction is None:
            msg = f"found radar images ({radar}) without their pass, expected orbit_direction="
            raise StackError(msg)
        words = radar.split("_")[1:]
        bands = [f"{word}_{orbit_direction}" for word in words if word in {"vv", "vh"}]
        values = _array_series(arrays, radar, "s1_time", "sar_band", bands)
        unit = next((DECIBELS[word] for word in words if word in DECIBELS), None)
        values = values if unit is None else 10.0 ** (unit * values / 10.0)
        sar = resample_image(monthly_composite(values, "mean", months=months), grid)
    series = []
    for name in arrays:
        bands = [band for word in name.split("_")[2:] if (band := optical_band(word))]
        if name.startswith("s2_") and bands:
            numbers = _array_series(arrays, name, "s2_time", "optical_band", bands)
            values = reflectance(numbers, baseline=baseline, offset=offset)
            series.append(resample_image(values, grid))
    optical = None
    if series:
        image = xr.concat(series, dim="optical_band", join="exact")
        if "scl" in arrays:
            classes = _array_series(arrays, "scl", "s2_time", "band", [CLASSIFICATION])
            classes = classes.isel(band=0, drop=True).astype(np.uint8)
            image = image.where(clear_sky_mask(resample_image(classes, grid)))
        optical = monthly_composite(check_offset(image), "median", months=months)
    return city_stack(sar=sar, optical=optical, posting=posting)


def _concatenate(axis: str, images: Mapping[str, xr.DataArray]) -> xr.DataArray:
    """Join images of one grid along an axis of bands."""
    joined: xr.DataArray = xr.concat(
        list(images.values()), dim=xr.Variable(axis, list(images)), join="exact"
    )
    return joined


def _single_month(
    image: xr.DataArray,
    time: Any,  # noqa: ANN401  # whatever numpy takes for a time
    modality: str,
) -> xr.DataArray:
    """Return an image of one time as a series of its month."""
    series = image.expand_dims(time=[np.datetime64(time, "ns")])
    return monthly_composite(series, "mean" if modality == "sar" else "median")


@file_reader("an archive of plain arrays", StackError)
def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as opened:
            return {name: opened[name] for name in opened}
    except ValueError as error:
        msg = f"'{path}' is no archive of plain arrays ({error})"
        raise StackError(msg) from error


def _require_array(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        msg = f"found the arrays {', '.join(arrays)}, expected {name} among them"
        raise StackError(msg)
    return arrays[name]


def _array_grid(arrays: Mapping[str, NDArray[Any]], posting: int) -> xr.DataArray:
    y, x = (_require_array(arrays, f"{axis}{posting}") for axis in ("y", "x"))
    empty = np.full((len(y), len(x)), np.nan, dtype=np.float32)
    grid: xr.DataArray = xr.DataArray(empty, coords={"y": y, "x": x}).rio.write_crs(
        int(_require_array(arrays, "epsg"))
    )
    return grid


def _time_span(arrays: Mapping[str, NDArray[Any]]) -> tuple[np.datetime64, np.datetime64]:
    times = [arrays[name] for name in ("s1_time", "s2_time") if name in arrays]
    if not times:
        msg = f"found the arrays {', '.join(arrays)}, expected s1_time or s2_time among them"
        raise StackError(msg)
    seconds = np.concatenate(times).astype("datetime64[s]")
    return seconds.min(), seconds.max()


def _array_series(
    arrays: Mapping[str, NDArray[Any]], name: str, times: str, axis: str, bands: list[str]
) -> xr.DataArray:
    """Return an array on the grid that its shape matches, dims (time, band, y, x)."""
    values = arrays[name]
    values = (values if values.ndim == 4 else values[:, None]).astype(np.float32)
    acquired = _require_array(arrays, times).astype("datetime64[s]").astype("datetime64[ns]")
    grids = [
        grid
        for step in (10, 20, 60)
        if f"x{step}" in arrays and (grid := _array_grid(arrays, step)).shape == values.shape[2:]
    ]
    if not grids or values.shape[:2] != (len(acquired), len(bands)):
        msg = (
            f"found {name} with the shape {values.shape}, expected {len(acquired)} times, "
            f"{len(bands)} bands ({', '.join(bands)}), and the rows and columns of one of the grids"
        )
        raise StackError(msg)
    return on_grid_of(grids[0], values, {"time": acquired, axis: bands})
