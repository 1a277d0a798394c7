"""Cloud Optimised GeoTIFF files: one with all variables of a result, or a folder of layers.

A GeoTIFF has one number type and one nodata value. Variables that share both keep them: a file
of masks alone is an integer file with nodata 255. Of variables of several types every band is
float32 with nodata NaN; codes and counts are small whole numbers and stay exact, so that 3 reads as
3.0. The tags of a band hold the variable's type and attributes, from which it is restored.

Power must be averaged in overviews and codes must not: both are made from the values of variables,
before these become numbers of a file (see `sarheight.output._cog`). The bands of a file lie one
behind the other, so that reading one does not read the others.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
import rasterio
from rasterio.io import MemoryFile

from sarheight._files import file_errors, read_json, resolve_links
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
from sarheight.output._cog import TILE, Pyramid, compression, write_cog
from sarheight.output.atomic import sync_to_disk
from sarheight.output.grid import SPATIAL, TIME, MapGrid, computed_ahead, encode_attributes
from sarheight.output.stac import STAC_SUFFIX, layers_item, records_by_time, write_item

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import xarray as xr

Item = TypeVar("Item")
Found = TypeVar("Found")

SHORTEST_OVERVIEW = 128
"""Rows or columns of the shorter side from which there is an overview."""
WRITE_CACHE = 1 << 25
"""Bytes of file blocks that GDAL may cache while a result is written. By default it takes a part of
the machine's memory, whatever limit the user has set."""
GEOTIFF = ".tif"


# Bands, whose tiles are compressed as they come.


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


@dataclass(eq=False)
class BandWriter:
    """A band of which pieces are written."""

    band: Band
    pyramid: Pyramid
    statistics: Statistics = field(default_factory=Statistics)

    @classmethod
    def create(cls, scratch: IO[bytes], dataset: xr.Dataset, band: Band) -> BandWriter:
        """Begin a band, with tiles in a scratch file."""
        shape = dataset.sizes["y"], dataset.sizes["x"]
        nodata = None if band.is_float else band.nodata
        return cls(band, Pyramid(scratch, shape, _overview_count(shape), nodata, band.to_file))

    def write(self, piece: xr.Dataset, place: Mapping[Hashable, slice]) -> None:
        """Write a piece of the dataset."""
        values = self.band.values(piece)
        self.statistics.add(self.band.to_file(values), self.band.file_nodata)
        self.pyramid.add(values, *(place[name].start for name in SPATIAL))


def _overview_count(shape: tuple[int, int]) -> int:
    """Count overviews, until the longer side fits in one tile or the shorter gets too short."""
    shorter, longer = sorted(shape)
    count = 0
    while longer > TILE << count and -(-shorter // (2 << count)) >= SHORTEST_OVERVIEW:
        count += 1
    return count


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


def _describe(dataset: xr.Dataset, writers: Sequence[BandWriter], grid: MapGrid | None) -> bytes:
    """Make a GeoTIFF without tiles that describes bands, in memory: a BigTIFF.

    A band that is alone in its file may have a colour table.
    """
    located = {} if grid is None else {"crs": grid.crs, "transform": grid.transform}
    first = writers[0].band
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=dataset.sizes["x"],
            height=dataset.sizes["y"],
            count=len(writers),
            dtype=first.file_dtype,
            nodata=first.file_nodata,
            interleave="band",
            sparse_ok=True,
            **compression(first.file_dtype),
            **located,
        ) as file:
            file.update_tags(**encode_attributes(dataset.attrs))
            for number, writer in enumerate(writers, start=1):
                band = writer.band
                file.update_tags(number, **band.tags(dataset), **writer.statistics.tags())
                file.set_band_description(number, band.description)
            file.units = [_unit(dataset, writer.band) for writer in writers]
            if first.packing is not None:
                file.scales, file.offsets = (first.packing.scale,), (0.0,)
            colours = _color_table(dataset[first.variable]) if len(writers) == 1 else {}
            if colours:
                file.write_colormap(1, colours)
        return bytes(memory.read())


def _unit(dataset: xr.Dataset, band: Band) -> str:
    """Return the unit of a band in a file."""
    units = str(dataset[band.variable].attrs.get("units", ""))
    return "dB" if band.packing is not None or units == DECIBEL else units


@contextmanager
def _written(
    dataset: xr.Dataset, bands: Sequence[Band], folder: Path
) -> Iterator[list[BandWriter]]:
    """Compute a dataset once, and write the tiles of each band to a scratch file in a folder."""
    with ExitStack() as stack:
        writers = []
        for number, band in enumerate(bands, start=1):
            scratch = stack.enter_context(
                (folder / f"band_{number}.tiles").open("x+b", buffering=0)
            )
            writers.append(BandWriter.create(scratch, dataset, band))
        for piece, place in computed_ahead(dataset):
            _side_by_side(lambda writer, *piece: writer.write(*piece), writers, piece, place)
        yield writers


def _side_by_side(
    function: Callable[..., Found],
    items: Iterable[Item],
    *more: object,
) -> list[Found]:
    """Call a function for each item, in any order, on a thread for each processor."""

    def call(item: Item) -> Found:
        with rasterio.Env():  # each thread has its own
            return function(item, *more)

    with ThreadPoolExecutor(os.cpu_count() or 1, "sarheight-write") as pool:
        calls = [pool.submit(call, item) for item in items]
        try:
            return [each.result() for each in calls]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


# One file with all bands.


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
    with (
        _gdal_errors_as_oserror(),
        rasterio.Env(GDAL_CACHEMAX=WRITE_CACHE),
        _written(dataset, bands, path.parent) as writers,
    ):
        description = _describe(dataset, writers, grid)
        write_cog(path, description, [writer.pyramid for writer in writers])


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
    paths = []
    for band in bands:
        parts = (name, "" if band.date is None else dates[band.date], band.layer)
        paths.append(folder / f"{'_'.join(filter(None, parts))}{GEOTIFF}")
        # What has no date belongs to all of them.
        for number in range(len(dates)) if band.date is None else [band.date]:
            assets[number][band.layer] = paths[-1]
    grid = MapGrid.of(ordered)
    with (
        _gdal_errors_as_oserror(),
        rasterio.Env(GDAL_CACHEMAX=WRITE_CACHE),
        _written(ordered, bands, folder.parent) as writers,
    ):

        def finish(index: int) -> str:
            writer, path = writers[index], paths[index]
            digest = write_cog(path, _describe(ordered, [writer], grid), [writer.pyramid])
            writer.pyramid.discard()
            # The disk is busy while others are copied.
            sync_to_disk(path)
            return digest

        digests = dict(zip(paths, _side_by_side(finish, range(len(bands))), strict=True))
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
