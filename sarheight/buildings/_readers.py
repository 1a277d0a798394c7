"""City stacks from files: folders of GeoTIFFs, and GeoTIFFs of many bands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.archives.rasters import Scale, open_bands, open_raster, power
from sarheight.buildings._images import (
    check_offset,
    clear_sky_mask,
    monthly_composite,
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
from sarheight.dem.layout import outer_edges
from sarheight.errors import StackError

if TYPE_CHECKING:
    import os


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
        difference = np.abs(np.subtract(outer_edges(grid), outer_edges(common))).max()
        if grid.rio.crs != common.rio.crs or difference > tolerance:
            msg = (
                f"found '{path.name}' in {grid.rio.crs} with the edges {outer_edges(grid)}, and "
                f"'{finest.name}' in {common.rio.crs} with {outer_edges(common)}; expected images "
                "of one grid: pass like, onto which they are resampled"
            )
            raise StackError(msg)
    return common


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


# A GeoTIFF of all bands of one date.


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
        The GeoTIFF.
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
    image = open_bands(str(path))
    if (found := image.sizes["band"]) != len(bands):
        msg = (
            f"found {found} bands in '{path}', expected {len(bands)}: {', '.join(map(str, bands))}"
        )
        raise StackError(msg)
    names = list(filter(None, bands))
    require_bands(names, names, f"bands of '{path}'")
    numbers = image.astype(np.float32)
    if image.rio.nodata is not None:
        numbers = numbers.where(image != image.rio.nodata)
    layers = {name: numbers[index].drop_vars("band") for index, name in enumerate(bands) if name}

    def joined(modality: str) -> xr.DataArray | None:
        """Take the bands of a modality from the layers, as images along time."""
        axis, known = BANDS[modality]
        chosen = {name: layers.pop(name) for name in names if name in known}
        if not chosen:
            return None
        image = xr.concat(list(chosen.values()), dim=xr.Variable(axis, list(chosen)), join="exact")
        return image.expand_dims(time=[np.datetime64(time, "ns")])

    sar, optical = joined("sar"), joined("optical")
    if sar is not None:
        values = sar if decibels is None else 10.0 ** (decibels * sar / 10.0)
        sar = monthly_composite(values, "mean")
    if optical is not None:
        values = check_offset(reflectance(optical, baseline=baseline, offset=offset))
        optical = monthly_composite(values, "median")
    return city_stack(sar=sar, optical=optical, layers=layers, posting=None)
