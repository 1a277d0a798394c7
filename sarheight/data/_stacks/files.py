"""City stacks from files: GeoTIFFs in folders, and stores of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.data._stacks.composites import monthly
from sarheight.data._stacks.form import OPTICAL_BANDS, SAR_BANDS, check_stack, city_stack
from sarheight.data._stacks.optical import check_offset, clear_cells, reflectance
from sarheight.data._stacks.regrid import on_grid
from sarheight.errors import StackError
from sarheight.output import open_result
from sarheight.output._atomic import staged
from sarheight.output._grid import check_grid, grid_transform
from sarheight.output._store import write_zarr
from sarheight.rtc._files import open_raster
from sarheight.rtc._flattened import Scale, power

if TYPE_CHECKING:
    import os

__all__ = ["CLASSIFICATION", "open_stack", "stack_of_folder", "write_stack"]

CLASSIFICATION = "SCL"
DATE = r"(?P<date>\d{4}-?\d{2}(?:-?\d{2})?)"
CHUNK = 256


@dataclass(frozen=True)
class _File:
    """An image of a folder: where it is, when it was taken, which band it holds."""

    path: Path
    time: np.datetime64
    band: str


def stack_of_folder(
    folder: str | os.PathLike[str],
    pattern: str,
    bands: Mapping[str, str],
    *,
    like: xr.DataArray | xr.Dataset | None = None,
    scale: Scale = "power",
    baseline: str | float | None = None,
    offset: float | None = None,
    layers: Mapping[str, xr.DataArray] | None = None,
) -> xr.Dataset:
    """Make a city stack of a folder of GeoTIFFs, one for each band and date.

    Parameters
    ----------
    folder : path-like
        It and the folders in it are searched.
    pattern : str
        How the files are named: ``{date}`` stands for 2021-04, 202104, 2021-04-15 or 20210415,
        ``{band}`` for the name of a band, ``*`` for anything. A pattern with a ``/`` is compared
        with the end of the path, one without with the name of the file.
    bands : mapping
        By the name of a band in the files the name of the band in the stack, one of `SAR_BANDS`
        and `OPTICAL_BANDS`; or "SCL" for the scene classification, by which cloud is masked.
        Files of other bands are left alone.
    like : xarray.DataArray or xarray.Dataset, optional
        On the grid of the city, to which all images are brought. By default the grid of the finest
        image, with which the others must share their edges.
    scale : {"power", "amplitude", "decibel"}
        What the values of the radar images are.
    baseline, offset : optional
        Of the optical images, which are digital numbers; see `reflectance`. One of the two is
        needed where there are optical images.
    layers : mapping, optional
        Variables of dims (y, x), such as ``height`` and ``footprint``.

    Returns
    -------
    xarray.Dataset
        A city stack: the months' medians of clear reflectance, and means of power.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    StackError
        If no file fits the pattern, a band is missing or doubled, the images lie on different
        grids, no month has a clear cell, or values are not what they are said to be.
    ProductError
        If an image cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        msg = f"there is no folder '{folder}'"
        raise FileNotFoundError(msg)
    known = {*SAR_BANDS, *OPTICAL_BANDS, CLASSIFICATION}
    strange = sorted(set(bands.values()) - known)
    doubled = sorted({name for name in bands.values() if list(bands.values()).count(name) > 1})
    if strange or doubled:
        msg = (
            f"found {', '.join(strange or doubled)} {'twice ' if doubled else ''}among the bands, "
            f"expected each of {', '.join(SAR_BANDS)}, {', '.join(OPTICAL_BANDS)}, SCL once at most"
        )
        raise StackError(msg)
    files = list(_found(folder, pattern, bands))
    _require_each_once(files, folder, pattern, bands)
    grid = _grid_of(files) if like is None else like
    radar = [name for name in SAR_BANDS if name in bands.values()]
    optics = [name for name in OPTICAL_BANDS if name in bands.values()]
    sar = optical = None
    if radar:
        images = _series(files, radar, grid, "sar_band", lambda image: power(image, scale))
        sar = monthly(images, "mean")
    if optics:
        numbers = _series(
            files,
            optics,
            grid,
            "optical_band",
            lambda image: reflectance(image, baseline=baseline, offset=offset),
        )
        optical = monthly(check_offset(_clear(numbers, files, grid)), "median")
    if optical is not None and not bool(optical.notnull().any()):
        msg = f"found no clear cell in any month in '{folder}', expected some: fetch other dates"
        raise StackError(msg)
    return city_stack(sar=sar, optical=optical, layers=layers, posting=None)


def write_stack(
    stack: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False
) -> Path:
    """Write a city stack as Zarr store, in chunks from which patches are read quickly.

    Parameters
    ----------
    stack : xarray.Dataset
        A city stack; a dask-backed one is computed chunk by chunk.
    path : path-like
        A name that ends in ``.zarr``.
    overwrite : bool
        Whether a store that is already there may be replaced.

    Returns
    -------
    pathlib.Path
        The store.

    Raises
    ------
    StackError
        If it is no city stack.
    OutputError
        If it cannot be written.
    """
    checked = check_grid(check_stack(stack, posting=None))
    with staged(path, overwrite=overwrite, suffixes=(".zarr",)) as work:
        write_zarr(checked, work, chunk=CHUNK)
    return Path(path)


def open_stack(
    path: str | os.PathLike[str],
    *,
    chunks: Any = None,  # noqa: ANN401  # as xarray has it
) -> xr.Dataset:
    """Open a city stack that `write_stack`, or anyone, has written.

    Parameters
    ----------
    path : path-like
        A ``.zarr`` or ``.nc``.
    chunks : None, int, str or mapping, optional
        None reads all into memory; else the dask chunks, ``{}`` for those of the file.

    Returns
    -------
    xarray.Dataset
        A city stack, checked.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    StackError
        If it is no city stack.
    """
    return check_stack(open_result(path, chunks=chunks), posting=None)


def _found(folder: Path, pattern: str, bands: Mapping[str, str]) -> Iterator[_File]:
    """Yield the files whose names fit."""
    expression = re.escape(pattern).replace(r"\*", ".*")
    names = "|".join(sorted(map(re.escape, bands), key=len, reverse=True))
    expression = expression.replace(r"\{date\}", DATE).replace(r"\{band\}", f"(?P<band>{names})")
    if pattern.count("{date}") != 1 or pattern.count("{band}") != 1:
        msg = f"found the pattern {pattern!r}, expected one {{date}} and one {{band}} in it"
        raise StackError(msg)
    for path in sorted(folder.rglob("*")):
        text = path.relative_to(folder).as_posix() if "/" in pattern else path.name
        fits = re.search(f"(?:^|/){expression}$", text) if path.is_file() else None
        if fits is not None:
            yield _File(path, _time(fits["date"], path), bands[fits["band"]])


def _time(text: str, path: Path) -> np.datetime64:
    digits = text.replace("-", "")
    parts = [digits[:4], digits[4:6], *([digits[6:]] if digits[6:] else [])]
    try:
        return np.datetime64("-".join(parts), "ns")
    except ValueError as error:
        msg = f"found the date {text!r} in the name of '{path}', expected one such as 2021-04-15"
        raise StackError(msg) from error


def _require_each_once(
    files: list[_File], folder: Path, pattern: str, bands: Mapping[str, str]
) -> None:
    if not files:
        msg = f"found no file in '{folder}' that is named {pattern!r} with {', '.join(bands)}"
        raise StackError(msg)
    seen: dict[tuple[np.datetime64, str], Path] = {}
    for file in files:
        other = seen.setdefault((file.time, file.band), file.path)
        if other != file.path:
            msg = (
                f"found {file.band} of {str(file.time)[:10]} twice, in '{other.name}' and "
                f"'{file.path.name}', expected it once: make the pattern narrower"
            )
            raise StackError(msg)
    missing = [name for name in bands.values() if name not in {file.band for file in files}]
    if missing:
        msg = f"found no file with {', '.join(missing)} in '{folder}', expected one at least"
        raise StackError(msg)


def _grid_of(files: list[_File]) -> xr.DataArray:
    """Return the grid of the finest image, with which all others must share their edges."""
    grids = {file.path: open_raster(str(file.path), {}) for file in files}
    finest = min(grids, key=lambda path: abs(grids[path].rio.transform().a))
    edges = _edges(grids[finest])
    for path, grid in grids.items():
        apart = np.abs(np.subtract(_edges(grid), edges)).max()
        if grid.rio.crs != grids[finest].rio.crs or apart > 0.01 * abs(
            grids[finest].rio.transform().a
        ):
            msg = (
                f"found '{path.name}' in {grid.rio.crs} with the edges {_edges(grid)}, and "
                f"'{finest.name}' in {grids[finest].rio.crs} with {edges}; expected images of one "
                "grid: pass like, to which they are brought"
            )
            raise StackError(msg)
    return grids[finest]


def _edges(grid: xr.DataArray) -> tuple[float, ...]:
    """Return the outer edges (west, north, east, south)."""
    transform = grid_transform(grid)
    west, north = transform.c, transform.f
    return west, north, west + grid.sizes["x"] * transform.a, north + grid.sizes["y"] * transform.e


def _series(
    files: list[_File],
    bands: list[str],
    grid: xr.DataArray | xr.Dataset,
    axis: str,
    values_of: Any,  # noqa: ANN401  # from stored numbers to physical values
) -> xr.DataArray:
    """Return images of several bands along time, dims (time, band, y, x); NaN where missing."""
    chosen = [file for file in files if file.band in bands]
    times = sorted({file.time for file in chosen})
    shape = len(times), len(bands), grid.sizes["y"], grid.sizes["x"]
    values = np.full(shape, np.nan, dtype=np.float32)
    for file in chosen:
        image = on_grid(values_of(open_raster(str(file.path), None)), grid)
        values[times.index(file.time), bands.index(file.band)] = image.values
    coordinates = {"time": np.array(times), axis: bands, "y": grid["y"].values}
    series = xr.DataArray(
        values, dims=("time", axis, "y", "x"), coords={**coordinates, "x": grid["x"].values}
    )
    placed: xr.DataArray = series.rio.write_crs(grid.rio.crs)
    return placed


def _clear(
    series: xr.DataArray, files: list[_File], grid: xr.DataArray | xr.Dataset
) -> xr.DataArray:
    """Leave out what the scene classification of the same date does not call clear."""
    masks = {file.time: file.path for file in files if file.band == CLASSIFICATION}
    for index, time in enumerate(series["time"].values):
        if time in masks:
            clear = clear_cells(on_grid(open_raster(str(masks[time]), None), grid))
            series[index] = series[index].where(clear)
    return series
