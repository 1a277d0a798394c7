"""Cloud Optimised GeoTIFF through GDAL.

A GeoTIFF has one number type and one nodata value. Variables that share both keep them: a file
of masks alone is an integer file with nodata 255. In a mixed file every band is float32 with
nodata NaN; codes and counts are small whole numbers and stay exact, so that 3 reads as 3.0.
The tags of a band say what its variable was, and `open_result` restores it.

That driver copies a finished dataset, and makes overviews in one way for all bands. Power must be
averaged and codes must not, so the bands go into scratch files first, one for each number type,
each with overviews of its own kind; a virtual dataset binds these together for the driver. GDAL
does not report every write that failed, so the copy is read back and compared before it counts.
"""

from __future__ import annotations

import json
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
from rasterio.enums import Resampling
from rasterio.windows import Window

from sarheight._runtime import nodata_value
from sarheight.output.grid import SPATIAL, grid_transform, plain_attributes, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass
class Statistics:
    """Count, mean, spread and range of the known values of a band.

    Source: Chan, T. F., Golub, G. H. and LeVeque, R. J. (1983). Algorithms for computing the sample
    variance. The American Statistician 37(3), 242-247, equation 2.1.
    """

    known: int = 0  # known, cells: how many values were known, and how many there were
    cells: int = 0
    mean: float = 0.0  # mean of the known values
    squares: float = 0.0  # sum of their squared distances from the mean
    smallest: float = np.inf  # smallest, largest: their range
    largest: float = -np.inf

    def add(self, values: np.ndarray[Any, Any], nodata: Any) -> None:  # noqa: ANN401
        """Take in a piece of a band."""
        self.cells += values.size
        kept = np.isfinite(values) if values.dtype.kind == "f" else values != nodata
        found = (values if kept.all() else values[kept]).astype(np.float64).ravel()
        if found.size == 0:
            return
        self.smallest = min(self.smallest, float(found.min()))
        self.largest = max(self.largest, float(found.max()))
        mean = float(found.mean())
        found -= mean
        total, apart = self.known + found.size, mean - self.mean
        self.squares += float(found @ found) + apart**2 * self.known * found.size / total
        self.mean += apart * found.size / total
        self.known = total

    def tags(self) -> dict[str, str]:
        """Return the statistics under the names that GDAL and QGIS look for; none if empty."""
        if self.known == 0:
            return {}
        numbers = {
            "STATISTICS_MINIMUM": self.smallest,
            "STATISTICS_MAXIMUM": self.largest,
            "STATISTICS_MEAN": self.mean,
            "STATISTICS_STDDEV": float(np.sqrt(self.squares / self.known)),
            "STATISTICS_VALID_PERCENT": 100.0 * self.known / self.cells,
        }
        return {name: f"{number:.9g}" for name, number in numbers.items()}


# How the variables of a result become the bands of a GeoTIFF, and back.

# float32 holds every whole number up to here.
WHOLE = 1 << 24
JSON_NAMES = "JSON_ATTRIBUTES"
STATISTICS = "STATISTICS_"
BAND_TAGS = ("BAND_VARIABLE", "BAND_DIMENSIONS", "BAND_LABELS", "BAND_DTYPE", "BAND_NODATA")


@dataclass(frozen=True)
class Band:
    """One band: a variable, or one entry of a variable along its leading dimensions."""

    variable: str  # name of the variable
    dimensions: tuple[str, ...]  # the leading dimensions; none for a variable of dims (y, x)
    indices: tuple[int, ...]  # which entry along each
    labels: tuple[Any, ...]  # the coordinates of that entry, for example ``("VH",)``
    # What is stored: float32 for floating-point variables, else the variable's own
    dtype: np.dtype[Any]
    nodata: Any  # nodata value of the variable, None without one

    @property
    def description(self) -> str:
        """Name of the band: ``gamma0``, ``gamma0_VH``, or of a pass ``gamma0_pass0_VH``."""
        parts = [
            label if isinstance(label, str) else f"{dimension}{label}"
            for dimension, label in zip(self.dimensions, self.labels, strict=True)
        ]
        return "_".join([self.variable, *parts])

    def values(self, dataset: xr.Dataset) -> np.ndarray[Any, Any]:
        """Take the band out of a dataset in memory, with NaN as the only float nodata."""
        entry = dict(zip(self.dimensions, self.indices, strict=True))
        array = dataset[self.variable].isel(entry)
        given = array.transpose(*SPATIAL).values
        values: np.ndarray[Any, Any] = given.astype(self.dtype)
        if self.dtype.kind == "f" and not np.isnan(self.nodata):
            values[given == self.nodata] = np.nan
        return values

    def as_float(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Turn values into what a mixed file holds; raise where float32 cannot hold them."""
        stored = values.astype(np.float32)
        if self.dtype.kind == "f":
            return stored
        if self.nodata is not None:
            stored[values == self.nodata] = np.nan
        if np.abs(stored, where=np.isfinite(stored), out=np.zeros_like(stored)).max() > WHOLE:
            msg = (
                f"'{self.variable}' has whole numbers beyond {WHOLE}, which the float32 bands of "
                "a mixed GeoTIFF cannot hold; write .zarr or .nc"
            )
            raise ValueError(msg)
        return stored

    def tags(self, dataset: xr.Dataset) -> dict[str, str]:
        """Return the tags from which `variables_of` restores the variable."""
        texts = (
            self.variable,
            " ".join(self.dimensions),
            to_json(self.labels),
            self.dtype.name,
            "" if self.nodata is None else str(self.nodata),
        )
        return encode_attributes(dataset[self.variable].attrs) | dict(
            zip(BAND_TAGS, texts, strict=True)
        )


def bands_of(dataset: xr.Dataset) -> list[Band]:
    """List the bands of a dataset."""
    bands = []
    for name, variable in dataset.data_vars.items():
        leading = tuple(str(dim) for dim in variable.dims if dim not in SPATIAL)
        if not set(SPATIAL) <= set(variable.dims):
            msg = (
                f"a GeoTIFF cannot hold '{name}' of dims {variable.dims}, only what lies on the "
                "grid (y, x); leave it out, or write .zarr or .nc"
            )
            raise ValueError(msg)
        if variable.dtype.kind not in "iuf":
            msg = f"a GeoTIFF cannot hold '{name}' of type {variable.dtype}; convert it to uint8"
            raise ValueError(msg)
        dtype = np.dtype(np.float32) if variable.dtype.kind == "f" else variable.dtype
        names = [variable[dimension].values.tolist() for dimension in leading]
        nodata = nodata_value(variable)
        bands += [
            Band(
                str(name),
                leading,
                tuple(index for index, _ in entry),
                tuple(label for _, label in entry),
                dtype,
                nodata,
            )
            for entry in product(*(enumerate(labels) for labels in names))
        ]
    return bands


def variables_of(image: xr.DataArray, tags: list[dict[str, str]]) -> dict[str, xr.DataArray]:
    """Put the bands of a file together as the variables that they were."""
    members: dict[str, list[int]] = {}
    for index, tag in enumerate(tags):
        members.setdefault(tag["BAND_VARIABLE"], []).append(index)
    return {name: _variable(image, indices, tags) for name, indices in members.items()}


def _variable(image: xr.DataArray, indices: list[int], tags: list[dict[str, str]]) -> xr.DataArray:
    tag = tags[indices[0]]
    dtype = np.dtype(tag["BAND_DTYPE"])
    nodata = dtype.type(tag["BAND_NODATA"]) if tag.get("BAND_NODATA") else None
    labels = [json.loads(tags[index]["BAND_LABELS"]) for index in indices]
    variable = _unstacked(image.isel(band=indices), tag.get("BAND_DIMENSIONS", "").split(), labels)
    if dtype.kind != "f" and image.dtype.kind == "f" and nodata is not None:
        variable = variable.where(variable.notnull(), nodata)
    variable = variable.astype(dtype)
    variable.attrs = decode_attributes(
        {
            name: text
            for name, text in tag.items()
            if name not in BAND_TAGS and not name.startswith(STATISTICS)
        }
    )
    if dtype.kind == "f":
        variable.attrs["_FillValue"] = dtype.type(np.nan)
    elif nodata is not None:
        variable.attrs["_FillValue"] = nodata
    return variable


def _unstacked(bands: xr.DataArray, dimensions: list[str], labels: list[list[Any]]) -> xr.DataArray:
    """Give the bands of a variable its leading dimensions back."""
    if not dimensions:
        return bands.isel(band=0, drop=True)
    along = {
        name: list(dict.fromkeys(label[index] for label in labels))
        for index, name in enumerate(dimensions)
    }
    shape = tuple(len(names) for names in along.values())
    variable = xr.DataArray(
        bands.data.reshape(*shape, *bands.shape[1:]),
        dims=(*dimensions, *bands.dims[1:]),
        coords=bands.drop_vars("band", errors="ignore").coords,
        attrs=bands.attrs,
    )
    return variable.assign_coords(along)


def encode_attributes(attributes: Mapping[Any, Any]) -> dict[str, str]:
    """Turn attributes into tags, which are text: plain text as it is, the rest as JSON."""
    tags, encoded = {}, []
    for name, value in plain_attributes(attributes).items():
        if isinstance(value, str) and value and value.isprintable() and value == value.strip():
            tags[name] = value
        else:
            tags[name] = to_json(value)
            encoded.append(name)
    return tags | {JSON_NAMES: to_json(encoded)}


def decode_attributes(tags: Mapping[str, str]) -> dict[str, Any]:
    """Undo `encode_attributes`."""
    encoded = set(json.loads(tags.get(JSON_NAMES, "[]")))
    return {
        name: json.loads(text) if name in encoded else text
        for name, text in tags.items()
        if name != JSON_NAMES
    }


# The scratch files of a GeoTIFF, and the virtual dataset that binds them together.

GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
}


@dataclass(frozen=True)
class Scratch:
    """A file for bands that share their number type and nodata value."""

    path: Path
    bands: tuple[Band, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the bands."""
        return self.bands[0].dtype

    @property
    def nodata(self) -> Any:  # noqa: ANN401  # of the bands' type
        """Nodata value in the file: NaN for floats whatever the variable had."""
        return np.nan if self.dtype.kind == "f" else self.bands[0].nodata


def scratch_files(bands: list[Band], folder: Path) -> list[Scratch]:
    """Sort bands into as few scratch files as their types allow."""
    groups: dict[str, list[Band]] = {}
    for band in bands:
        nodata = "" if band.dtype.kind == "f" else f"_{band.nodata}"
        groups.setdefault(f"bands_{band.dtype.name}{nodata}.tif", []).append(band)
    return [Scratch(folder / name, tuple(members)) for name, members in groups.items()]


def virtual_dataset(
    dataset: xr.Dataset,
    bands: list[Band],
    scratch: list[Scratch],
    statistics: Mapping[Band, Mapping[str, str]],
) -> bytes:
    """Describe the finished file as bands taken from the scratch files.

    Source: https://gdal.org/drivers/raster/vrt.html
    """
    height, width = (str(dataset.sizes[name]) for name in SPATIAL)
    root = ET.Element("VRTDataset", rasterXSize=width, rasterYSize=height)
    ET.SubElement(root, "SRS").text = dataset.rio.crs.to_wkt()
    transform = grid_transform(dataset).to_gdal()
    ET.SubElement(root, "GeoTransform").text = ",".join(repr(number) for number in transform)
    _add_tags(root, encode_attributes(dataset.attrs))
    for number, band in enumerate(bands, start=1):
        file = next(each for each in scratch if band in each.bands)
        dtype, nodata = (file.dtype, file.nodata) if len(scratch) == 1 else ("float32", np.nan)
        element = ET.SubElement(
            root, "VRTRasterBand", dataType=GDAL_TYPES[str(dtype)], band=str(number)
        )
        ET.SubElement(element, "Description").text = band.description
        ET.SubElement(element, "UnitType").text = str(dataset[band.variable].attrs.get("units", ""))
        if nodata is not None:
            ET.SubElement(element, "NoDataValue").text = str(nodata)
        _add_tags(element, band.tags(dataset) | dict(statistics[band]))
        if len(bands) == 1:
            _add_colours(element, dataset[band.variable])
        # Only a change of number type needs to look at each value.
        plain = str(file.dtype) == str(dtype)
        source = ET.SubElement(element, "SimpleSource" if plain else "ComplexSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = file.path.name
        ET.SubElement(source, "SourceBand").text = str(file.bands.index(band) + 1)
        for rectangle in ("SrcRect", "DstRect"):
            ET.SubElement(source, rectangle, xOff="0", yOff="0", xSize=width, ySize=height)
        if not plain and file.nodata is not None:
            ET.SubElement(source, "NODATA").text = str(file.nodata)
    text: bytes = ET.tostring(root, encoding="utf-8")
    return text


def _add_colours(element: ET.Element, variable: xr.DataArray) -> None:
    """Give a band of classes the colours in which `sarheight.plot.mask` draws it.

    A GeoTIFF has room for a colour table where a band is alone in its file and of type uint8.
    """
    meanings = str(variable.attrs.get("flag_meanings", "")).split()
    values = np.atleast_1d(variable.attrs.get("flag_values", ())).tolist()
    if variable.dtype != np.uint8 or not meanings or len(meanings) != len(values):
        return
    from matplotlib.colors import to_rgb

    from sarheight.plot.classes import flag_colours

    names, colours = dict(zip(values, meanings, strict=True)), flag_colours(variable)
    ET.SubElement(element, "ColorInterp").text = "Palette"
    table = ET.SubElement(element, "ColorTable")
    for value in range(256):
        colour = colours.get(names.get(value, ""))
        red, green, blue = (0, 0, 0) if colour is None else (255 * part for part in to_rgb(colour))
        opaque = 0 if colour is None else 255
        parts = {"c1": red, "c2": green, "c3": blue, "c4": opaque}
        ET.SubElement(table, "Entry", {name: str(round(part)) for name, part in parts.items()})


def _add_tags(element: ET.Element, tags: dict[str, str]) -> None:
    metadata = ET.SubElement(element, "Metadata")
    for name, text in tags.items():
        ET.SubElement(metadata, "MDI", key=name).text = text


# Cloud Optimised GeoTIFF through GDAL's own driver.

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
    """Write a result as Cloud Optimised GeoTIFF with north up."""
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
    """Read a result from a GeoTIFF that `write_geotiff` has written."""
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
