"""Cloud Optimised GeoTIFF files: one with all variables of a result, or a folder of layers.

A GeoTIFF has one number type and one nodata value. Variables that share both keep them: a file
of masks alone is an integer file with nodata 255. Of variables of several types every band is
float32 with nodata NaN; codes and counts are small whole numbers and stay exact, so that 3 reads as
3.0. The tags of a band hold the variable's type and attributes, from which it is restored.

GDAL's COG driver copies a finished dataset and resamples the overviews of all bands alike. Power
must be averaged and codes must not. So each band is first a scratch file with its own overviews,
and a virtual dataset stacks these files for the driver. GDAL does not report every write that
failed, so the copy is read back and compared with checksums of what was written.
"""

from __future__ import annotations

import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
from defusedxml.ElementTree import fromstring
from rasterio.enums import Resampling
from rasterio.windows import Window

from sarheight._files import file_errors, read_json, resolve_links
from sarheight._rasters import open_alone
from sarheight.errors import DamagedFileError
from sarheight.layover.layers import DECIBEL, LAYERS
from sarheight.output._bands import (
    PACKINGS,
    STATISTICS_PREFIX,
    Band,
    StoredBand,
    changed,
    expand_coordinates,
    label_text,
    labels_of,
    list_bands,
    list_stored,
    of_one_type,
    read_bands,
)
from sarheight.output._provenance import file_digest
from sarheight.output.atomic import sync_to_disk
from sarheight.output.grid import SPATIAL, TIME, MapGrid, computed_ahead, encode_attributes
from sarheight.output.stac import STAC_SUFFIX, layers_item, records_by_time, write_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import xarray as xr
    from rasterio.io import DatasetWriter

Item = TypeVar("Item")
Found = TypeVar("Found")

TILE = 256
# Shorter sides get no overview: a virtual dataset shows none of less than 128 cells.
SHORTEST_OVERVIEW = 128
WRITE_CACHE = 1 << 25
"""Bytes of file blocks that GDAL may cache while a result is written. By default it takes a part of
the machine's memory, whatever limit the user has set."""
CREATION = {
    "driver": "COG",
    "blocksize": TILE,
    "compress": "deflate",
    "level": 1,  # speckle does not compress: higher levels take twice as long for nothing
    "predictor": "yes",
    "bigtiff": "if_safer",
    "num_threads": "all_cpus",
}
GEOTIFF = ".tif"

Checksums = list[tuple[Window, list[int]]]
"""Windows, and the checksum of each band in them."""


# Scratch files: one raster layer each.


@dataclass
class Statistics:
    """Count, mean, standard deviation and range of the valid values of a band.

    GDAL's own statistics need another pass over the file, and count infinite values.

    Source: Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). Algorithms for computing the sample
    variance. The American Statistician 37(3), 242-247, equation 2.1.
    """

    valid: int = 0  # number of valid values
    cells: int = 0  # number of all values
    mean: float = 0.0
    squares: float = 0.0  # sum of squared differences from the mean
    smallest: float = np.inf
    largest: float = -np.inf

    def add(self, values: np.ndarray[Any, Any], nodata: Any) -> None:  # noqa: ANN401
        """Add the values of a piece of the band."""
        self.cells += values.size
        mask = np.isfinite(values) if values.dtype.kind == "f" else values != nodata
        valid = (values if mask.all() else values[mask]).astype(np.float64).ravel()
        if valid.size == 0:
            return
        self.smallest = min(self.smallest, float(valid.min()))
        self.largest = max(self.largest, float(valid.max()))
        mean = float(valid.mean())
        valid -= mean
        total, difference = self.valid + valid.size, mean - self.mean
        # Equation 2.1: sums of squares of both parts, and of the distance between their means.
        self.squares += float(valid @ valid) + difference**2 * self.valid * valid.size / total
        self.mean += difference * valid.size / total
        self.valid = total

    def tags(self) -> dict[str, str]:
        """Return the statistics under GDAL's names, which QGIS reads; none without values."""
        if self.valid == 0:
            return {}
        numbers = {
            "MINIMUM": self.smallest,
            "MAXIMUM": self.largest,
            "MEAN": self.mean,
            "STDDEV": float(np.sqrt(self.squares / self.valid)),
            "VALID_PERCENT": 100.0 * self.valid / self.cells,
        }
        return {f"{STATISTICS_PREFIX}{name}": f"{value:.9g}" for name, value in numbers.items()}


@dataclass
class Layer:
    """The scratch file of one band, open for writing."""

    band: Band
    path: Path
    file: DatasetWriter
    statistics: Statistics = field(default_factory=Statistics)

    @classmethod
    def create(cls, path: Path, dataset: xr.Dataset, band: Band, grid: MapGrid | None) -> Layer:
        """Create the file with the tags and the unit of the band."""
        located = {} if grid is None else {"crs": grid.crs, "transform": grid.transform}
        file = rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=dataset.sizes["x"],
            height=dataset.sizes["y"],
            count=1,
            tiled=True,
            blockxsize=TILE,
            blockysize=TILE,
            bigtiff="yes",
            dtype=band.file_dtype,
            nodata=band.file_nodata,
            **located,
        )
        file.update_tags(**encode_attributes(dataset.attrs))
        file.update_tags(1, **band.tags(dataset))
        file.set_band_description(1, band.description)
        units = str(dataset[band.variable].attrs.get("units", ""))
        decibels = band.packing is not None or units == DECIBEL
        file.set_band_unit(1, "dB" if decibels else units)
        if band.packing is not None:
            file.scales, file.offsets = (band.packing.scale,), (0.0,)
        return cls(band, path, file)

    def write(self, piece: xr.Dataset, window: Window) -> int:
        """Write a window of the band and return the checksum of its values."""
        values = self.band.values(piece)
        self.statistics.add(values, self.band.file_nodata)
        self.file.write(values, 1, window=window)
        return _checksum(self.band.to_float(values) if self.band.as_float else values)

    def close(self) -> None:
        """Write the statistics, and close the file: in the thread that opened it."""
        self.file.update_tags(1, **self.statistics.tags())
        self.file.close()

    def add_overviews(self, factors: list[int]) -> None:
        """Write overviews reduced by `factors`: codes are never averaged."""
        if factors:
            with rasterio.open(self.path, "r+") as file:
                file.build_overviews(
                    factors, Resampling.average if self.band.is_float else Resampling.mode
                )


def _overview_factors(dataset: xr.Dataset) -> list[int]:
    """Return powers of 2, until the longer side fits in one tile or the shorter gets too short."""
    shorter, longer = sorted(dataset.sizes[name] for name in SPATIAL)
    factors, factor = [], 2
    while longer > TILE * factor // 2 and -(-shorter // factor) >= SHORTEST_OVERVIEW:
        factors.append(factor)
        factor *= 2
    return factors


def _color_table(variable: xr.DataArray) -> dict[int, tuple[int, int, int, int]]:
    """Return the colours in which `sarheight.plot.mask` draws a mask of type uint8, as RGBA."""
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(variable.attrs.get("flag_values", ())).tolist()
    if variable.dtype != np.uint8 or not meanings or len(meanings) != len(values):
        return {}
    from matplotlib.colors import to_rgb

    from sarheight.plot.maps import flag_colours

    table = dict.fromkeys(range(256), (0, 0, 0, 0))
    colours = flag_colours(variable)
    for value, meaning in zip(values, meanings, strict=True):
        if meaning in colours:
            red, green, blue = (round(255 * part) for part in to_rgb(colours[meaning]))
            table[value] = (red, green, blue, 255)
    return table


def _stack_layers(layers: list[Layer]) -> Path:
    """Stack layers as bands of a virtual dataset with the tags of the first.

    Source: https://gdal.org/drivers/raster/vrt.html
    """
    if len(layers) == 1:
        return layers[0].path
    roots = []
    for number, layer in enumerate(layers, start=1):
        virtual = layer.path.with_suffix(".vrt")
        rasterio.shutil.copy(str(layer.path), str(virtual), driver="VRT")
        roots.append(fromstring(virtual.read_bytes()))
        (element,) = roots[-1].findall("VRTRasterBand")
        element.set("band", str(number))
        for interpretation in element.findall("ColorInterp"):  # GDAL calls every layer grey
            element.remove(interpretation)
        if layer.band.as_float:
            _convert_to_float(element, layer.band)
        if number > 1:
            roots[0].append(element)
    path = layers[0].path.with_name("bands.vrt")
    ET.ElementTree(roots[0]).write(path, encoding="utf-8")
    return path


def _convert_to_float(element: ET.Element, band: Band) -> None:
    """Let a band of a virtual dataset turn codes into float32 and their nodata value into NaN."""
    element.set("dataType", "Float32")
    nodata, source = element.find("NoDataValue"), element.find("SimpleSource")
    if nodata is None:
        nodata = ET.SubElement(element, "NoDataValue")
    nodata.text = "nan"
    if source is not None and not band.is_float:
        source.tag = "ComplexSource"
        if band.nodata is not None:
            ET.SubElement(source, "NODATA").text = str(band.nodata)


def _write_scratch(
    dataset: xr.Dataset, bands: list[Band], folder: Path, grid: MapGrid | None, *, alone: bool
) -> tuple[list[Layer], Checksums, list[int]]:
    """Compute a dataset once, and write each band to a scratch file.

    Returns the layers, the checksums of their pieces, and the factors of the overviews that they
    lack. A GeoTIFF has room for a colour table where a band is `alone` in its file.
    """
    with ExitStack() as stack:
        layers: list[Layer] = []
        for number, band in enumerate(bands, start=1):
            layers.append(Layer.create(folder / f"band_{number}.tif", dataset, band, grid))
            stack.enter_context(layers[-1].file)
            colours = _color_table(dataset[band.variable]) if alone else {}
            if colours:
                layers[-1].file.write_colormap(1, colours)
        checksums: Checksums = []
        for piece, place in computed_ahead(dataset):
            window = Window.from_slices(*(place[name] for name in SPATIAL))
            written = _side_by_side(
                lambda layer, *piece: layer.write(*piece), layers, piece, window
            )
            checksums.append((window, written))
        for layer in layers:
            layer.close()
    return layers, checksums, _overview_factors(dataset)


def _side_by_side(
    function: Callable[..., Found],
    items: Iterable[Item],
    *more: object,
    spare: int = 0,
) -> list[Found]:
    """Call a function for each item, in any order, on a thread for each processor and `spare`."""

    def call(item: Item) -> Found:
        with rasterio.Env():  # each thread has its own
            return function(item, *more)

    with ThreadPoolExecutor((os.cpu_count() or 1) + spare, "sarheight-write") as pool:
        calls = [pool.submit(call, item) for item in items]
        try:
            return [each.result() for each in calls]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


# Cloud Optimised GeoTIFF through GDAL's own driver.


def write_geotiff(dataset: xr.Dataset, path: Path) -> None:
    """Write a result on a map grid as Cloud Optimised GeoTIFF with north up."""
    ordered = north_up(dataset)
    write_bands(ordered, path, MapGrid.of(ordered))


def north_up(dataset: xr.Dataset) -> xr.Dataset:
    """Return a dataset with rows from north to south and columns from west to east."""
    steps = MapGrid.of(dataset).transform
    return dataset.isel(
        y=slice(None, None, -1 if steps.e > 0 else 1),
        x=slice(None, None, -1 if steps.a < 0 else 1),
    )


def write_bands(dataset: xr.Dataset, path: Path, grid: MapGrid | None) -> None:
    """Write variables of dims (..., y, x) as Cloud Optimised GeoTIFF; scratch files lie beside it.

    A dask-backed dataset is computed piece by piece. There is no grid in radar geometry.
    """
    dataset = expand_coordinates(dataset)
    bands = of_one_type(list_bands(dataset))
    with _gdal_errors_as_oserror(), rasterio.Env(GDAL_CACHEMAX=WRITE_CACHE):
        layers, checksums, factors = _write_scratch(
            dataset, bands, path.parent, grid, alone=len(bands) == 1
        )
        _side_by_side(lambda layer: layer.add_overviews(factors), layers)
        _copy_cog(_stack_layers(layers), path, checksums, len(factors))


def _copy_cog(source: Path, path: Path, checksums: Checksums, overviews: int) -> None:
    """Copy a scratch file to a Cloud Optimised GeoTIFF, and compare it with its checksums."""
    using = "force_use_existing" if overviews else "none"
    rasterio.shutil.copy(str(source), str(path), overviews=using, **CREATION)
    with open_alone(path) as file:
        for window, expected in checksums:
            if [_checksum(values) for values in file.read(window=window)] != expected:
                msg = "the file read back differs from what was written; is the disk full?"
                raise OSError(msg)
    for level in range(overviews):
        with open_alone(path, overview_level=level) as file:
            for _, window in file.block_windows(1):
                file.read(window=window)


def _checksum(values: np.ndarray[Any, Any]) -> int:
    """Return the CRC-32 of the values of a band; every NaN counts as the same."""
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(np.nan), values)
    return zlib.crc32(np.ascontiguousarray(values).data)


@contextmanager
def _gdal_errors_as_oserror() -> Iterator[None]:
    """Turn GDAL errors that rasterio does not translate (private classes) into OSError."""
    try:
        yield
    except (OSError, ValueError, TypeError, MemoryError):
        raise
    except Exception as error:
        raise OSError(str(error)) from error


# Folders of layers: a Cloud Optimised GeoTIFF for each variable and polarisation, and STAC items.
#
# Programs that read STAC open a layer by the name of its asset, such as `gamma0_vv`. The names are
# the same whatever was computed beside it. A result of several dates has an item for each.


def write_layers(dataset: xr.Dataset, folder: Path, name: str, *, scale: str) -> None:
    """Write a result as layers ``<name>_gamma0_vv.tif``, and a STAC item for each date.

    `folder` is created; scratch files lie beside it.
    """
    ordered = expand_coordinates(north_up(dataset))
    bands = list_bands(ordered, PACKINGS.get(scale))
    dates = _date_names(ordered)
    assets: list[dict[str, Path]] = [{} for _ in dates]
    folder.mkdir()
    with _gdal_errors_as_oserror(), rasterio.Env(GDAL_CACHEMAX=WRITE_CACHE):
        layers, checksums, factors = _write_scratch(
            ordered, bands, folder.parent, MapGrid.of(ordered), alone=True
        )
        paths = []
        for band in bands:
            parts = (name, "" if band.date is None else dates[band.date], band.layer)
            paths.append(folder / f"{'_'.join(filter(None, parts))}{GEOTIFF}")
            # What has no date belongs to all of them.
            for number in range(len(dates)) if band.date is None else [band.date]:
                assets[number][band.layer] = paths[-1]

        def finish(index: int) -> str:
            own = [(window, [sums[index]]) for window, sums in checksums]
            layers[index].add_overviews(factors)
            _copy_cog(layers[index].path, paths[index], own, len(factors))
            layers[index].path.unlink()
            # The disk is busy while others are compressed.
            sync_to_disk(paths[index])
            return file_digest(paths[index])

        # One more, as each waits now and then for the threads that compress for another.
        found = _side_by_side(finish, range(len(layers)), spare=1)
        digests = dict(zip(paths, found, strict=True))
    for text, files, records in zip(dates, assets, records_by_time(dataset), strict=True):
        identifier = "_".join(filter(None, (name, text)))
        item = layers_item(dataset, files, records, digests)
        write_item(item, folder / f"{identifier}{STAC_SUFFIX}")


def _date_names(dataset: xr.Dataset) -> list[str]:
    """Name the dates of a result; the only date needs no name."""
    if TIME not in dataset.dims:
        return [""]
    names = [label_text(TIME, label) for label in labels_of(dataset[TIME])]
    return [
        # Images of the same second are numbered.
        f"{name}_{names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


# What was written, read back.


def stored_bands(path: Path) -> list[StoredBand]:
    """List the bands of a result in GeoTIFF: of a file, or of a folder of layers.

    Unlike the arrays of `open_result` they can be read at the resolution of their overviews.
    """
    return _list_all(path)[0]


def read_geotiff(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read a result from a GeoTIFF or a folder that was written here."""
    kind = "a folder of layers" if path.is_dir() else "a GeoTIFF"
    with file_errors(path, kind):
        return read_bands(*_list_all(path), chunks)


def _list_all(path: Path) -> tuple[list[StoredBand], MapGrid | None, dict[str, str]]:
    """List the bands of a file or folder, with their grid and the tags of the file."""
    if path.is_dir():
        return _list_layers(path)
    found = list_stored(path)
    if not found[0]:
        msg = f"'{path}' is a GeoTIFF, but no result of sarheight; open it by rioxarray"
        raise DamagedFileError(msg)
    return found


def _list_layers(folder: Path) -> tuple[list[StoredBand], MapGrid | None, dict[str, str]]:
    """List the layers in a folder, which may hold other files; raise where some are missing."""
    digests: dict[str, str] = {}
    for item in sorted(folder.glob(f"*{STAC_SUFFIX}")):
        assets = read_json(item).get("assets", {})
        lost = [name for name, asset in assets.items() if not (folder / asset["href"]).exists()]
        if lost:
            msg = (
                f"'{folder}' is incomplete: found no {', '.join(lost)}, which '{item.name}' lists; "
                "copy the folder again from where it was whole, or compute it again"
            )
            raise DamagedFileError(msg)
        for asset in assets.values():
            path = folder / asset["href"]
            if resolve_links(path).parent != resolve_links(folder) or not path.is_file():
                msg = (
                    f"'{item.name}' names {asset['href']!r}, which is no file of its folder: copy "
                    "the folder again from where it was whole, or remove the item"
                )
                raise DamagedFileError(msg)
            # Sizes come first: a sparse file may claim any.
            if asset.get("file:size") not in {None, path.stat().st_size}:
                raise changed(path)
            # A multihash ends in the SHA-256, of 64 digits.
            digests[path.name] = str(asset.get("file:checksum", ""))[-64:]
    bands: list[StoredBand] = []
    grids, tags = [], {}
    for path in sorted(folder.glob(f"*{GEOTIFF}")):
        found, grid, whole = list_stored(path, digests.get(path.name, ""))
        if len(found) == 1:
            bands += found
            tags = whole
            grids.append(grid)
        elif path.name in digests:  # of the result, and its tags are damaged
            raise changed(path)
    if not bands:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        msg = (
            f"'{folder}' is no folder of layers: found {names}, expected GeoTIFF files of a result"
        )
        raise ValueError(msg)
    if any(grid != grids[0] for grid in grids):
        msg = f"'{folder}' holds layers on several grids, expected those of one result"
        raise DamagedFileError(msg)
    order = [*LAYERS, *(band.variable for band in bands)]
    return sorted(bands, key=lambda band: order.index(band.variable)), grids[0], tags
