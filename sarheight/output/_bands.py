"""Bands of GeoTIFF files: made of variables, and turned into variables again.

A band is a variable, or its entry of one date and polarisation. Its tags contain the type and the
attributes of the variable, and the place of the entry along the leading dimensions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
from dask.base import tokenize
from rasterio.windows import Window

from sarheight._files import file_errors
from sarheight._rasters import open_alone
from sarheight._runtime import nodata_value
from sarheight._windows import Windowed, lazy_array
from sarheight.errors import DamagedFileError
from sarheight.layover.layers import LAYERS
from sarheight.output._provenance import file_digest
from sarheight.output.grid import (
    POLARISATION,
    SCALE,
    SCALES,
    SPATIAL,
    TIME,
    MapGrid,
    decode_attributes,
    encode_attributes,
    to_json,
)

if TYPE_CHECKING:
    from pathlib import Path

    from rasterio import DatasetReader

    from sarheight._windows import Span

# float32 holds every whole number up to 2^24.
LARGEST_EXACT_INTEGER = 1 << 24
STATISTICS_PREFIX = "STATISTICS_"
BAND_TAGS = (
    "BAND_VARIABLE",
    "BAND_DIMENSIONS",
    "BAND_INDICES",
    "BAND_LABELS",
    "BAND_DTYPE",
    "BAND_NODATA",
    "BAND_DECIBELS",
)
GDAL_TAGS = ("AREA_OR_POINT",)
COORDINATES = "COORDINATES"
"""Attribute with the coordinates that are not those of the grid, and tag of a file."""
CHUNK = 1024
"""Rows and columns that are read at a time from a file that is opened lazily."""

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Packing:
    """A form of power in a file: decibels, as whole numbers with a scale."""

    dtype: np.dtype[Any]
    scale: float  # decibels per whole number
    nodata: Any

    def pack(self, power: Array) -> Array:
        """Turn linear power into the numbers of the file; what is not above 0 has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10.0 * np.log10(power)
        limits = np.iinfo(self.dtype)
        # The least number marks missing data.
        whole = np.clip(np.rint(decibels / self.scale), limits.min + 1, limits.max)
        packed: Array = np.where(np.isfinite(decibels), whole, self.nodata).astype(self.dtype)
        return packed


NO_DECIBELS = np.int16(-32768)
PACKINGS = {
    # Steps of 0.01 dB: their rounding error is far below speckle.
    "db-int16": Packing(np.dtype(np.int16), 0.01, NO_DECIBELS),
}
"""Scales of backscatter that only layers can have, each with a type of its own."""
PACKED = tuple(name for name, layer in LAYERS.items() if layer.power)
"""Variables of linear power that layers can hold in decibels."""


@dataclass(frozen=True)
class Band:
    """One band: a variable, or one entry of a variable along its leading dimensions."""

    variable: str  # name of the variable
    dimensions: tuple[str, ...]  # the leading dimensions; none for a variable of dims (y, x)
    indices: tuple[int, ...]  # index of the entry along each
    labels: tuple[Any, ...]  # coordinates of the entry, for example ``("VH",)``
    dtype: np.dtype[Any]  # float32 for floating-point variables, else the variable's own
    nodata: Any  # nodata value of the variable, None without one
    packing: Packing | None = None
    as_float: bool = False  # whether the file beside others holds its whole numbers as float32

    @property
    def description(self) -> str:
        """Name of the band: ``gamma0_vh``, or of several dates ``gamma0_20210401t052635_vh``."""
        labels = zip(self.dimensions, self.labels, strict=True)
        return "_".join([self.variable, *(label_text(*label) for label in labels)])

    @property
    def layer(self) -> str:
        """Name of its layer and asset: the description without the date."""
        labels = zip(self.dimensions, self.labels, strict=True)
        return "_".join([self.variable, *(label_text(*one) for one in labels if one[0] != TIME)])

    @property
    def date(self) -> int | None:
        """Index along the dates; None for a variable without them."""
        return dict(zip(self.dimensions, self.indices, strict=True)).get(TIME)

    @property
    def is_float(self) -> bool:
        """True for a variable of floating point: a quantity, not a code or a count."""
        return self.dtype.kind == "f"

    @property
    def file_dtype(self) -> np.dtype[Any]:
        """Type of the numbers in the file."""
        if self.packing is not None:
            return self.packing.dtype
        return np.dtype(np.float32) if self.as_float else self.dtype

    @property
    def file_nodata(self) -> Any:  # noqa: ANN401  # of the band's type
        """Nodata value in the file: NaN for floats whatever the variable has."""
        if self.packing is not None:
            return self.packing.nodata
        return np.nan if self.is_float or self.as_float else self.nodata

    def values(self, dataset: xr.Dataset) -> Array:
        """Return the values of the band, (rows, columns); the nodata value of floats is NaN."""
        entry = dict(zip(self.dimensions, self.indices, strict=True))
        original = dataset[self.variable].isel(entry).transpose(*SPATIAL).values
        values: Array = original.astype(self.dtype, copy=False)
        if self.is_float and not np.isnan(self.nodata):
            values = np.where(original == self.nodata, self.dtype.type(np.nan), values)
        return values

    def to_file(self, values: Array) -> Array:
        """Turn values into the numbers of the file; raise where these cannot hold them."""
        if self.packing is not None:
            return self.packing.pack(values)
        if self.is_float or not self.as_float:
            return values
        stored = values.astype(np.float32)
        if self.nodata is not None:
            stored[values == self.nodata] = np.nan
        if np.nanmax(np.abs(stored), initial=0.0) > LARGEST_EXACT_INTEGER:
            msg = (
                f"'{self.variable}' has whole numbers beyond {LARGEST_EXACT_INTEGER}, which the "
                "float32 bands of a mixed GeoTIFF cannot hold; write .zarr or .nc"
            )
            raise ValueError(msg)
        return stored

    def tags(self, dataset: xr.Dataset) -> dict[str, str]:
        """Return the tags from which `read_bands` restores the variable."""
        texts = (
            self.variable,
            " ".join(self.dimensions),
            to_json(self.indices),
            to_json(self.labels),
            self.dtype.name,
            "" if self.nodata is None else str(self.nodata),
            "" if self.packing is None else str(self.packing.scale),
        )
        return encode_attributes(dataset[self.variable].attrs) | dict(
            zip(BAND_TAGS, texts, strict=True)
        )


def label_text(dimension: str, label: object) -> str:
    """Return a coordinate as part of a name: ``vh``, ``20210401t052635``, ``quantile1``."""
    if dimension == TIME:
        return (
            str(np.datetime_as_string(np.datetime64(str(label)), unit="s"))
            .translate({ord(sign): None for sign in "-:"})
            .lower()
        )
    return label.lower() if isinstance(label, str) else f"{dimension}{label}"


def labels_of(coordinate: xr.DataArray) -> Any:  # noqa: ANN401  # a list, or one of no dimension
    """Return the values of a coordinate as JSON holds them."""
    values = coordinate.values
    if values.dtype.kind == "M":
        values = np.datetime_as_string(values, unit="us")
    return values.tolist()


def expand_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Prepare a dataset for `list_bands`.

    Variables of a single polarisation get its dimension, so that names contain it. An attribute
    keeps the coordinates that are not those of the grid.
    """
    coordinates = {
        str(name): {"dims": coordinate.dims, "values": labels_of(coordinate)}
        for name, coordinate in dataset.coords.items()
        if not set(coordinate.dims) & set(SPATIAL)
        and name not in (*coordinate.dims, dataset.rio.grid_mapping)
    }
    if coordinates:
        dataset = dataset.assign_attrs({COORDINATES: to_json(coordinates)})
    label = dataset.coords.get(POLARISATION)
    if label is None or label.ndim:
        return dataset
    names = [name for name, row in LAYERS.items() if row.by_polarisation and name in dataset]
    order = [POLARISATION, *SPATIAL]
    return dataset.assign(
        {name: dataset[name].expand_dims(POLARISATION).transpose(..., *order) for name in names}
    )


def _restore_coordinates(dataset: xr.Dataset, text: str) -> xr.Dataset:
    """Undo `expand_coordinates`."""
    stored = json.loads(text)
    single = {name for name, entry in stored.items() if not entry["dims"]} & set(dataset.dims)
    dataset = dataset.isel(dict.fromkeys(single, 0))
    return dataset.assign_coords(
        {name: (entry["dims"], _labels(name, entry["values"])) for name, entry in stored.items()}
    )


def _labels(name: str, values: Any) -> Array:  # noqa: ANN401
    return np.array(values, dtype="datetime64[ns]" if name == TIME else None)


def list_bands(dataset: xr.Dataset, packing: Packing | None = None) -> list[Band]:
    """List the bands of a dataset; raise for variables that a GeoTIFF cannot hold."""
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
        nodata = nodata_value(variable)
        own = packing if name in PACKED else None
        for entry in product(*(enumerate(labels_of(dataset[dim])) for dim in leading)):
            indices, labels = tuple(index for index, _ in entry), tuple(name for _, name in entry)
            bands.append(Band(str(name), leading, indices, labels, dtype, nodata, own))
    return bands


def share_type(bands: Sequence[Band]) -> bool:
    """Tell whether bands have the same number type and nodata value."""
    return len({(band.dtype, str(band.file_nodata)) for band in bands}) == 1


def of_one_type(bands: list[Band]) -> list[Band]:
    """Let bands share a number type, as those of a file must: float32 where theirs differ."""
    return bands if share_type(bands) else [replace(band, as_float=True) for band in bands]


# Bands of files.


@dataclass(frozen=True)
class StoredBand:
    """A band of a GeoTIFF that holds a variable of a result, or one entry of it."""

    path: Path
    number: int  # from 1
    tags: Mapping[str, str]
    shape: tuple[int, int]
    file_dtype: np.dtype[Any]
    digest: str = ""  # SHA-256 that the file must have, if that is known

    @property
    def variable(self) -> str:
        """Name of the variable."""
        return self.tags["BAND_VARIABLE"]

    @property
    def entry(self) -> dict[str, int]:
        """Index along each leading dimension of the variable."""
        dimensions = self.tags.get("BAND_DIMENSIONS", "").split()
        return dict(zip(dimensions, json.loads(self.tags["BAND_INDICES"]), strict=True))

    @property
    def labels(self) -> list[Any]:
        """Coordinates along these dimensions."""
        labels: list[Any] = json.loads(self.tags["BAND_LABELS"])
        return labels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the variable."""
        return np.dtype(self.tags["BAND_DTYPE"])

    @property
    def nodata(self) -> Any:  # noqa: ANN401  # of this type
        """Nodata value of the variable; None without one."""
        return self.dtype.type(self.tags["BAND_NODATA"]) if self.tags.get("BAND_NODATA") else None

    def read(
        self,
        rows: slice | None = None,
        columns: slice | None = None,
        step: int = 1,
        files: dict[Path, DatasetReader] | None = None,
    ) -> Array:
        """Read a window of the variable; of overviews, if `step` is above 1.

        `files` are those that are open: it gets this one, too, which is closed again without it.
        DamagedFileError where the file differs from its checksum, which is compared once.
        """
        with file_errors(self.path, "a GeoTIFF of a result"):
            if self.digest:
                status = self.path.stat()
                _require_digest(self.path, self.digest, status.st_size, status.st_mtime_ns)
            parts = (rows or slice(0, self.shape[0]), columns or slice(0, self.shape[1]))
            shape = tuple(-(-(part.stop - part.start) // step) for part in parts)
            file = (files or {}).get(self.path) or open_alone(self.path)
            try:
                window = Window.from_slices(*parts)
                stored = file.read(self.number, window=window, out_shape=shape)
            finally:
                if files is None:
                    file.close()
                else:
                    files[self.path] = file
        return self._decode(stored)

    def _decode(self, stored: Array) -> Array:
        """Turn the numbers of the file into those of the variable."""
        if self.tags.get("BAND_DECIBELS"):
            decibels = float(self.tags["BAND_DECIBELS"]) * stored.astype(np.float32)
            stored = np.where(stored != NO_DECIBELS, 10.0 ** (0.1 * decibels), np.nan)
        elif self.dtype.kind != "f" and stored.dtype.kind == "f" and self.nodata is not None:
            stored = np.where(np.isfinite(stored), stored, self.nodata)
        decoded: Array = stored.astype(self.dtype, copy=False)
        return decoded

    def linear(self, values: Array) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return values of the variable as float32, NaN where it has none, and power linear."""
        floats = values.astype(np.float32)
        if self.nodata is not None:
            floats[values == self.nodata] = np.nan
        scale = self.tags.get(SCALE)
        return SCALES[scale][1](floats) if scale in SCALES else floats


@lru_cache
def _require_digest(path: Path, digest: str, *_: int) -> None:
    """Raise where the contents of a file have another SHA-256; once for its size and time."""
    if file_digest(path) != digest:
        raise changed(path)


def changed(path: Path) -> DamagedFileError:
    """Make the error of a file that differs from what its item says."""
    return DamagedFileError(
        f"'{path}' differs from its checksum in the STAC item beside it, so it is damaged or was "
        "changed: copy it again from where it was whole, or remove the item"
    )


def _lazy(band: StoredBand, chunks: Any) -> Any:  # noqa: ANN401  # of Dask
    """Let windows of a band be read when they are computed."""
    # The time is part of the name that Dask gives to a file's contents.
    changed = band.path.stat().st_mtime_ns
    source = Windowed(band.shape, partial(_read_window, band), band.dtype)
    return lazy_array(source, _lengths(chunks), f"band-{tokenize(band, changed)}")


def _read_window(band: StoredBand, rows: Span, columns: Span) -> Array:
    """Read a window of a band by its spans."""
    return band.read(slice(*rows), slice(*columns))


def _lengths(chunks: Any) -> tuple[int, int]:  # noqa: ANN401  # as xarray has it
    """Return the rows and columns of chunks: those that are asked for, where these are numbers.

    Dask reads whole chunks of an array that is divided into others afterwards.
    """
    asked = chunks if isinstance(chunks, Mapping) else dict.fromkeys(SPATIAL, chunks)
    rows, columns = (
        size if isinstance(size := asked.get(name), int) and size > 0 else CHUNK for name in SPATIAL
    )
    return rows, columns


def list_stored(
    path: Path, digest: str = ""
) -> tuple[list[StoredBand], MapGrid | None, dict[str, str]]:
    """List the bands of a file; return its grid, and the tags of the file, too.

    There are none in a GeoTIFF that is no result.
    """
    with open_alone(path) as file:
        tags = [dict(file.tags(number)) for number in file.indexes]
        whole = {name: text for name, text in file.tags().items() if name not in GDAL_TAGS}
        grid = None if file.crs is None else MapGrid(file.crs, file.transform, file.shape)
        types = [np.dtype(name) for name in file.dtypes]
        shape = file.shape
    if not all("BAND_VARIABLE" in tag for tag in tags):
        return [], grid, whole
    bands = [
        StoredBand(path, number, tag, shape, dtype, digest)
        for number, (tag, dtype) in enumerate(zip(tags, types, strict=True), start=1)
    ]
    return bands, grid, whole


def read_bands(
    bands: Sequence[StoredBand],
    grid: MapGrid | None,
    tags: Mapping[str, str],
    chunks: Any,  # noqa: ANN401
) -> xr.Dataset:
    """Restore a dataset from its bands; lazily with `chunks`, as xarray has them."""
    members: dict[str, list[StoredBand]] = {}
    for band in sorted(bands, key=lambda band: list(band.entry.values())):
        members.setdefault(band.variable, []).append(band)
    files: dict[Path, DatasetReader] = {}
    try:
        arrays = {
            name: [
                _lazy(one, chunks) if chunks is not None else one.read(files=files)
                for one in several
            ]
            for name, several in members.items()
        }
    finally:
        for file in files.values():
            file.close()
    names = dict.fromkeys(band.variable for band in bands)
    dataset = xr.Dataset({name: _restore_variable(members[name], arrays[name]) for name in names})
    if grid is not None:
        dataset = dataset.assign_coords(grid.coordinates)
        dataset = dataset.rio.write_crs(grid.crs).rio.write_transform(grid.transform)
        for variable in dataset.data_vars.values():
            variable.attrs.pop("grid_mapping", None)
            variable.encoding["grid_mapping"] = "spatial_ref"
    dataset = _restore_coordinates(dataset, tags.get(COORDINATES, "{}"))
    dataset.attrs = decode_attributes({k: text for k, text in tags.items() if k != COORDINATES})
    return dataset if chunks is None or chunks == {} else dataset.chunk(chunks)


def _restore_variable(bands: list[StoredBand], arrays: list[Any]) -> xr.DataArray:
    """Restore one variable with its dimensions, attributes and nodata value."""
    first = bands[0]
    dims = [*first.entry]
    coordinates = {}
    for axis, name in enumerate(dims):
        named = {band.entry[name]: band.labels[axis] for band in bands}
        coordinates[name] = _labels(name, [named[index] for index in sorted(named)])
    shape = *(len(values) for values in coordinates.values()), *first.shape
    stack = np.stack if isinstance(arrays[0], np.ndarray) else dask.array.stack
    # Of an array that was stacked, dask reads whole chunks.
    values = stack(arrays).reshape(shape) if dims else arrays[0]
    attributes = decode_attributes(
        {
            name: text
            for name, text in first.tags.items()
            if name not in BAND_TAGS and not name.startswith(STATISTICS_PREFIX)
        }
    )
    nodata = first.dtype.type(np.nan) if first.dtype.kind == "f" else first.nodata
    if nodata is not None:
        attributes["_FillValue"] = nodata
    return xr.DataArray(values, coordinates, (*dims, *SPATIAL), first.variable, attributes)
