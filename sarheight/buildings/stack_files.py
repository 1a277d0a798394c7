"""City stacks from files."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import rioxarray
import xarray as xr
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from sarheight.buildings._images import (
    check_offset,
    clear_cells,
    monthly,
    on_grid,
    optical_band,
    pass_of_time,
    reflectance,
)
from sarheight.buildings.stack import OPTICAL_BANDS, SAR_BANDS, check_stack, city_stack
from sarheight.errors import ProductError, StackError
from sarheight.output import open_result
from sarheight.output.atomic import atomic_write
from sarheight.output.files import write_zarr
from sarheight.output.grid import check_grid, grid_transform
from sarheight.rtc.flattened import Scale, open_raster, power

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from sarheight.buildings._images import Pass

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
    with atomic_write(path, overwrite=overwrite, suffixes=(".zarr",)) as work:
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


# BigEarthNet's pairs of Sentinel-1 and Sentinel-2 patches as city stacks.

RADAR = re.compile(r"^S1[A-D]_\w+_(?P<time>\d{8}T\d{6})_\w+$")
OPTICS = re.compile(r"^S2[A-C]_MSIL2A_(?P<time>\d{8})T\d+_\w+$")
PARTNER = "corresponding_s2_patch"

Read = Callable[[], bytes]
Files = dict[str, dict[str, Read]]


def bigearthnet_stacks(
    radar: str | os.PathLike[str],
    optics: str | os.PathLike[str],
    *,
    baseline: str | float = "02.05",
) -> Iterator[tuple[str, xr.Dataset]]:
    """Yield BigEarthNet's pairs of patches, each as a city stack.

    Parameters
    ----------
    radar, optics : path-like
        BigEarthNet-S1 and BigEarthNet-S2: folders of patches, or archives (``.tar``, ``.tar.gz``,
        ``.tar.bz2``). An archive is held in memory, a folder read patch by patch: unpack large
        archives.
    baseline : str or float
        Processing baseline of the optical patches, see `reflectance`.

    Yields
    ------
    name : str
        Of the radar patch.
    stack : xarray.Dataset
        Of one month, or of two where the images were taken in different ones. Radar images do not
        say their pass; it follows from their time, see `pass_of_time`.

    Raises
    ------
    FileNotFoundError
        If there is no such folder or archive.
    StackError
        If a patch has no partner, or its files do not fit together.
    ProductError
        If a file is damaged.

    References
    ----------
    Sumbul et al., BigEarthNet-MM: A large scale multi-modal multi-label benchmark archive, 2021:
    patches of 1.2 km; Sentinel-1 in decibels.
    """
    pairs = _patches(Path(radar), RADAR), _patches(Path(optics), OPTICS)
    for name, files in pairs[0].items():
        records = [json.loads(read()) for key, read in files.items() if key.endswith(".json")]
        partner = str(records[0].get(PARTNER, "")) if records else ""
        if partner not in pairs[1]:
            msg = (
                f"found no patch {partner or 'at all'} for {name} in '{optics}', expected its "
                f"partner, which {PARTNER} in its JSON names"
            )
            raise StackError(msg)
        yield name, _pair(name, files, partner, pairs[1][partner], baseline)


def _pair(
    name: str,
    radar: dict[str, Read],
    partner: str,
    optics: dict[str, Read],
    baseline: str | float,
) -> xr.Dataset:
    """Make a stack of two patches."""
    levels = {key[-6:-4]: _raster(read(), key) for key, read in radar.items() if _is_tiff(key)}
    numbers = {
        band: _raster(read(), key)
        for key, read in optics.items()
        if _is_tiff(key) and (band := optical_band(key.rpartition("_")[2][:-4]))
    }
    grid = min(numbers.values(), key=lambda image: abs(image.rio.transform().a))
    times = [
        np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}{_clock(text)}", "ns")
        for text in (_bigearthnet_time(RADAR, name), _bigearthnet_time(OPTICS, partner))
    ]
    x, y = (float(grid[axis].mean()) for axis in ("x", "y"))
    longitude = Transformer.from_crs(grid.rio.crs, 4326, always_xy=True).transform(x, y)[0]
    side = pass_of_time(times[0], longitude)
    bands = [f"{key.lower()}_{side}" for key in levels]
    power = [on_grid(10.0 ** (image / 10.0), grid) for image in levels.values()]
    sar = xr.concat(power, dim=xr.Variable("sar_band", bands), join="exact")
    order = [band for band in OPTICAL_BANDS if band in numbers]
    seen = [reflectance(on_grid(numbers[band], grid), baseline=baseline) for band in order]
    optical = xr.concat(seen, dim=xr.Variable("optical_band", order), join="exact")
    return city_stack(
        sar=monthly(sar.expand_dims(time=[times[0]]), "mean"),
        optical=monthly(check_offset(optical).expand_dims(time=[times[1]]), "median"),
        attributes={"source": f"BigEarthNet, {name} and {partner}"},
    )


def _bigearthnet_time(expression: re.Pattern[str], name: str) -> str:
    found = expression.match(name)
    return found["time"] if found is not None else ""


def _clock(text: str) -> str:
    """Return the part of a time after its date, as ISO 8601 has it."""
    return f"T{text[9:11]}:{text[11:13]}:{text[13:15]}" if len(text) > 8 else ""


def _is_tiff(name: str) -> bool:
    return name.lower().endswith((".tif", ".tiff"))


def _patches(path: Path, expression: re.Pattern[str]) -> Files:
    """Return the files of each patch by name."""
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    found: Files = {}
    try:
        for name, read in _members(path):
            folder = PurePosixPath(name).parent.name
            if expression.match(folder):
                found.setdefault(folder, {})[PurePosixPath(name).name] = read
    except (tarfile.TarError, EOFError) as error:
        msg = f"'{path}' is no archive, or it was cut short ({error})"
        raise ProductError(msg) from error
    if not found:
        msg = f"found no patches in '{path}', expected folders named like {expression.pattern}"
        raise StackError(msg)
    return dict(sorted(found.items()))


def _members(path: Path) -> Iterator[tuple[str, Read]]:
    """Yield names, and what reads the contents, of the files of a folder or an archive."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                yield file.relative_to(path.parent).as_posix(), file.read_bytes
        return
    with tarfile.open(path) as archive:
        for member in archive:
            opened = archive.extractfile(member) if member.isfile() else None
            if opened is not None:
                yield member.name, io.BytesIO(opened.read()).getvalue


def _raster(data: bytes, name: str) -> xr.DataArray:
    """Read a GeoTIFF of one band from memory, as float32."""
    try:
        with MemoryFile(data) as memory, memory.open() as opened:
            image = rioxarray.open_rasterio(opened)
            if not isinstance(image, xr.DataArray) or image.sizes["band"] != 1:
                msg = f"found several bands in '{name}', expected one"
                raise ProductError(msg)
            image.load()
    except (RasterioError, OSError) as error:
        msg = f"'{name}' is no raster that GDAL can read, or it is damaged ({error})"
        raise ProductError(msg) from error
    return image.isel(band=0, drop=True).astype(np.float32)


# City stacks of what others have published: chips, pairs, and arrays.

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
