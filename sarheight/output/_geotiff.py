"""Cloud Optimised GeoTIFF through GDAL's own driver.

That driver copies a finished dataset, and makes overviews in one way for all bands. Power must be
averaged and codes must not, so the bands go into scratch files first, one for each number type,
each with overviews of its own kind; a virtual dataset binds these together for the driver. GDAL
does not report every write that failed, so the copy is read back and compared before it counts.
"""

from __future__ import annotations

import zlib
from contextlib import ExitStack, contextmanager
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
from rasterio.enums import Resampling
from rasterio.windows import Window

from sarheight.output._bands import Band, bands_of, decode_attributes, variables_of
from sarheight.output._grid import SPATIAL, grid_transform
from sarheight.output._statistics import Statistics
from sarheight.output._virtual import Scratch, scratch_files, virtual_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


TILE = 256
STRIP = 1024
LARGEST_PIECE = 1 << 28
"""Bytes that one piece of a dask-backed result may take, unless its chunks are larger."""
# Sides below this get no overview in a virtual dataset.
SMALLEST_OVERVIEW = 128
CREATION = {
    "driver": "COG",
    "blocksize": TILE,
    "compress": "deflate",
    "level": 1,  # speckle does not compress: higher levels take twice as long for nothing
    "predictor": "yes",
    "bigtiff": "if_safer",
    "num_threads": "all_cpus",
}
GDAL_TAGS = ("AREA_OR_POINT",)

Piece = tuple[slice, slice]
Checksums = list[tuple[Window, int]]


def write_geotiff(dataset: xr.Dataset, path: Path) -> None:
    """Write a result as Cloud Optimised GeoTIFF with north up.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `check_grid` returns it. Taken piece by piece: a dask-backed result never has to fit
        in memory.
    path : pathlib.Path
        The file; scratch files go beside it.

    Raises
    ------
    ValueError
        When a variable does not fit in a band.
    OSError
        When GDAL reports a failure, or does not and the file is damaged.
    """
    dataset = _north_up(dataset)
    bands = bands_of(dataset)
    scratch = scratch_files(bands, path.parent)
    factors = _overview_factors(dataset)
    with _gdal_errors_as_oserror():
        checksums, statistics = _write_scratch(dataset, bands, scratch)
        for each in scratch if factors else ():
            with rasterio.open(each.path, "r+") as file:
                kind = Resampling.average if each.dtype.kind == "f" else Resampling.mode
                file.build_overviews(factors, kind)
        virtual = path.with_name("bands.vrt")
        virtual.write_bytes(virtual_dataset(dataset, bands, scratch, statistics))
        overviews = "force_use_existing" if factors else "none"
        rasterio.shutil.copy(str(virtual), str(path), overviews=overviews, **CREATION)
        _verify(path, checksums, len(factors))


def read_geotiff(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read a result from a GeoTIFF that `write_geotiff` has written.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    chunks : None, int, str or mapping
        None loads all into memory; else the dask chunks.

    Returns
    -------
    xarray.Dataset
        The result, north up.

    Raises
    ------
    ValueError
        When the bands do not say what they are.
    """
    with rasterio.open(path) as file:
        tags = [file.tags(index) for index in file.indexes]
        file_tags = {name: text for name, text in file.tags().items() if name not in GDAL_TAGS}
    if not all("BAND_VARIABLE" in tag for tag in tags):
        msg = f"'{path}' is a GeoTIFF, but no result of sarheight: rioxarray opens any"
        raise ValueError(msg)
    image = rioxarray.open_rasterio(path, chunks=chunks)
    if not isinstance(image, xr.DataArray):
        msg = f"'{path}' holds several images, which no result does"
        raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not the argument
    if chunks is None:
        image.load().close()
    image.encoding = {}
    dataset = image.drop_vars("band").coords.to_dataset()
    for name, variable in variables_of(image, tags).items():
        dataset[name] = variable
        dataset[name].encoding["grid_mapping"] = "spatial_ref"
    dataset.attrs = decode_attributes(file_tags)
    return dataset


@contextmanager
def _gdal_errors_as_oserror() -> Iterator[None]:
    """Turn what rasterio lets through from GDAL (private classes, SystemError) into OSError."""
    try:
        yield
    except (OSError, ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error


def _north_up(dataset: xr.Dataset) -> xr.Dataset:
    """Order rows from north to south and columns from west to east."""
    steps = grid_transform(dataset)
    return dataset.isel(
        y=slice(None, None, -1 if steps.e > 0 else 1),
        x=slice(None, None, -1 if steps.a < 0 else 1),
    )


def _pieces(dataset: xr.Dataset) -> list[Piece]:
    """Cut rows and columns where dask has cut them, so that no chunk is computed twice."""
    sizes = dataset.unify_chunks().chunksizes
    rows, columns = (dataset.sizes[name] for name in SPATIAL)
    lengths = sizes.get("y") or (STRIP,) * -(-rows // STRIP)
    tall = min(max(lengths), rows)
    cell = dataset.nbytes / (rows * columns)
    widest = int(LARGEST_PIECE / (cell * tall))
    widths = _joined(sizes.get("x") or (columns,), widest)
    return list(product(_slices(lengths, rows), _slices(widths, columns)))


def _joined(lengths: tuple[int, ...], largest: int) -> tuple[int, ...]:
    """Join neighbouring chunks as long as they stay within a size."""
    joined: list[int] = []
    for length in lengths:
        if joined and joined[-1] + length <= largest:
            joined[-1] += length
        else:
            joined.append(length)
    return tuple(joined)


def _slices(lengths: tuple[int, ...], size: int) -> list[slice]:
    edges = np.minimum(np.cumsum((0, *lengths)), size).tolist()
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _write_scratch(
    dataset: xr.Dataset, bands: list[Band], scratch: list[Scratch]
) -> tuple[Checksums, dict[Band, dict[str, str]]]:
    """Write the scratch files; return the checksums of the pieces and the bands' statistics."""
    height, width = (dataset.sizes[name] for name in SPATIAL)
    places = {band: (file, index) for file in scratch for index, band in enumerate(file.bands, 1)}
    grid = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "crs": dataset.rio.crs,
        "transform": grid_transform(dataset),
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "interleave": "band",
        "bigtiff": "yes",
    }
    checksums: Checksums = []
    statistics = {band: Statistics() for band in bands}
    with ExitStack() as stack:
        files = {
            each.path: stack.enter_context(
                rasterio.open(
                    each.path,
                    "w",
                    count=len(each.bands),
                    dtype=each.dtype,
                    nodata=each.nodata,
                    **grid,
                )
            )
            for each in scratch
        }
        for rows, columns in _pieces(dataset):
            piece = dataset.isel(y=rows, x=columns).compute()
            window = Window.from_slices(rows, columns)
            checksum = 0
            for band, (file, index) in ((band, places[band]) for band in bands):
                values = band.values(piece)
                files[file.path].write(values, index, window=window)
                statistics[band].add(values, band.nodata)
                stored = values if len(scratch) == 1 else band.as_float(values)
                checksum = _checksum(stored, checksum)
            checksums.append((window, checksum))
    return checksums, {band: found.tags() for band, found in statistics.items()}


def _checksum(values: np.ndarray[Any, Any], start: int) -> int:
    """Continue a CRC-32 with the values of a band; every NaN counts as the same."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return zlib.crc32(np.ascontiguousarray(values).data, start)


def _overview_factors(dataset: xr.Dataset) -> list[int]:
    """Halve until the longer side fits in one tile, or GDAL's virtual datasets would not follow."""
    shorter, longer = sorted(dataset.sizes[name] for name in SPATIAL)
    factors, factor = [], 2
    while longer > TILE * factor // 2 and -(-shorter // factor) >= SMALLEST_OVERVIEW:
        factors.append(factor)
        factor *= 2
    return factors


def _verify(path: Path, checksums: Checksums, overviews: int) -> None:
    """Read a file back; raise when it does not hold what was written."""
    with rasterio.open(path) as file:
        for window, expected in checksums:
            checksum = 0
            for values in file.read(window=window):
                checksum = _checksum(values, checksum)
            if checksum != expected:
                msg = "the file read back differs from what was written; is the disk full?"
                raise OSError(msg)
    for level in range(overviews):
        with rasterio.open(path, overview_level=level) as file:
            for _, window in file.block_windows(1):
                file.read(window=window)
