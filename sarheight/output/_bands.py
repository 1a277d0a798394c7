"""How variables become bands of GeoTIFF files, and bands variables again.

A band is a variable, or its entry of one date and polarisation. Its tags contain the type and the
attributes of the variable, and the place of the entry along the leading dimensions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from sarheight._runtime import nodata_value
from sarheight.layover.layers import LAYERS
from sarheight.output.grid import (
    POLARISATION,
    SPATIAL,
    TIME,
    decode_attributes,
    encode_attributes,
    to_json,
)

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
COORDINATES = "COORDINATES"
"""Attribute with the coordinates that are not those of the grid, and tag of a file."""


@dataclass(frozen=True)
class Packing:
    """How a file holds a power: in decibels, as whole numbers with a scale."""

    dtype: np.dtype[Any]
    scale: float  # decibels per whole number
    nodata: Any

    def pack(self, power: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Turn linear power into the numbers of the file; what is not above 0 has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10.0 * np.log10(power)
        known = np.isfinite(decibels)
        limits = np.iinfo(self.dtype)
        # The least number marks missing data.
        whole = np.clip(np.rint(decibels / self.scale), limits.min + 1, limits.max)
        packed: np.ndarray[Any, Any] = np.where(known, whole, self.nodata).astype(self.dtype)
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

    @property
    def description(self) -> str:
        """Name of the band: ``gamma0_vh``, or of several dates ``gamma0_20210401t052635_vh``."""
        labels = zip(self.dimensions, self.labels, strict=True)
        return "_".join([self.variable, *(label_text(*label) for label in labels)])

    @property
    def is_float(self) -> bool:
        """Whether the variable is of floating point: a quantity, not a code or a count."""
        return self.dtype.kind == "f"

    @property
    def file_dtype(self) -> np.dtype[Any]:
        """Type of the numbers in a file of this band alone."""
        return self.dtype if self.packing is None else self.packing.dtype

    @property
    def file_nodata(self) -> Any:  # noqa: ANN401  # of the band's type
        """Nodata value in a file of this type alone: NaN for floats whatever the variable has."""
        if self.packing is not None:
            return self.packing.nodata
        return np.nan if self.is_float else self.nodata

    def values(self, dataset: xr.Dataset) -> np.ndarray[Any, Any]:
        """Return the values of the band, (rows, columns); the nodata value of floats is NaN."""
        entry = dict(zip(self.dimensions, self.indices, strict=True))
        original = dataset[self.variable].isel(entry).transpose(*SPATIAL).values
        values: np.ndarray[Any, Any] = original.astype(self.dtype)
        if self.is_float and not np.isnan(self.nodata):
            values[original == self.nodata] = np.nan
        return values if self.packing is None else self.packing.pack(values)

    def to_float(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return values as a mixed file holds them; raise where float32 cannot."""
        if self.is_float:
            return values
        stored = values.astype(np.float32)
        if self.nodata is not None:
            stored[values == self.nodata] = np.nan
        largest = np.abs(stored, where=np.isfinite(stored), out=np.zeros_like(stored)).max()
        if largest > LARGEST_EXACT_INTEGER:
            msg = (
                f"'{self.variable}' has whole numbers beyond {LARGEST_EXACT_INTEGER}, which the "
                "float32 bands of a mixed GeoTIFF cannot hold; write .zarr or .nc"
            )
            raise ValueError(msg)
        return stored

    def tags(self, dataset: xr.Dataset) -> dict[str, str]:
        """Return the tags from which `merge_bands` restores the variable."""
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


def labels_of(dataset: xr.Dataset, dimension: str) -> list[Any]:
    """Return the coordinates along a dimension as JSON holds them."""
    values = dataset[dimension].values
    if values.dtype.kind == "M":
        return [str(text) for text in np.datetime_as_string(values, unit="us")]
    labels: list[Any] = values.tolist()
    return labels


def expand_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Prepare a dataset for `list_bands`.

    Variables of a single polarisation get its dimension, so that names contain it. An attribute
    keeps the coordinates that are not those of the grid.
    """
    coordinates = {
        str(name): {"dims": coordinate.dims, "values": _values_as_json(coordinate)}
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


def _values_as_json(coordinate: xr.DataArray) -> Any:  # noqa: ANN401
    values = coordinate.values
    if values.dtype.kind == "M":
        return np.datetime_as_string(values, unit="us").tolist()
    return values.tolist()


def decode_coordinates(dataset: xr.Dataset, text: str | None) -> xr.Dataset:
    """Undo `expand_coordinates`."""
    stored = json.loads(text or "{}")
    single = {name for name, entry in stored.items() if not entry["dims"]} & set(dataset.dims)
    dataset = dataset.isel(dict.fromkeys(single, 0))
    coordinates = {}
    for name, entry in stored.items():
        values = np.array(entry["values"])
        if name == TIME:
            values = values.astype("datetime64[ns]")
        coordinates[name] = (entry["dims"], values)
    return dataset.assign_coords(coordinates)


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
        for entry in product(*(enumerate(labels_of(dataset, dim)) for dim in leading)):
            indices, labels = tuple(index for index, _ in entry), tuple(name for _, name in entry)
            bands.append(Band(str(name), leading, indices, labels, dtype, nodata, own))
    return bands


def share_type(bands: list[Band]) -> bool:
    """Tell whether bands have the same number type and nodata value."""
    return len({(band.dtype, str(band.file_nodata)) for band in bands}) == 1


def merge_bands(image: xr.DataArray, tags: list[dict[str, str]]) -> dict[str, xr.DataArray]:
    """Restore the variables from the bands of a file, dims (band, y, x), and their tags."""
    members: dict[str, list[int]] = {}
    for index, tag in enumerate(tags):
        members.setdefault(tag["BAND_VARIABLE"], []).append(index)
    return {name: _merge_variable(image, indices, tags) for name, indices in members.items()}


def _merge_variable(
    image: xr.DataArray, indices: list[int], tags: list[dict[str, str]]
) -> xr.DataArray:
    """Restore one variable with its type, attributes and nodata value."""
    tag = tags[indices[0]]
    dtype = np.dtype(tag["BAND_DTYPE"])
    nodata = dtype.type(tag["BAND_NODATA"]) if tag.get("BAND_NODATA") else None
    labels = {
        tuple(json.loads(tags[index]["BAND_INDICES"])): json.loads(tags[index]["BAND_LABELS"])
        for index in indices
    }
    dimensions = tag.get("BAND_DIMENSIONS", "").split()
    variable = _restore_dimensions(image.isel(band=indices), dimensions, labels)
    if tag.get("BAND_DECIBELS"):
        known = variable.where(variable != NO_DECIBELS)
        variable = 10.0 ** (0.1 * float(tag["BAND_DECIBELS"]) * known)
    if dtype.kind != "f" and image.dtype.kind == "f" and nodata is not None:
        variable = variable.where(variable.notnull(), nodata)
    variable = variable.astype(dtype)
    variable.attrs = decode_attributes(
        {
            name: text
            for name, text in tag.items()
            if name not in BAND_TAGS and not name.startswith(STATISTICS_PREFIX)
        }
    )
    if dtype.kind == "f":
        variable.attrs["_FillValue"] = dtype.type(np.nan)
    elif nodata is not None:
        variable.attrs["_FillValue"] = nodata
    return variable


def _restore_dimensions(
    bands: xr.DataArray, dimensions: list[str], labels: dict[tuple[int, ...], list[Any]]
) -> xr.DataArray:
    """Turn the dimension ``band`` into the leading dimensions of the variable."""
    if not dimensions:
        return bands.isel(band=0, drop=True)
    coordinates: dict[str, Any] = {}
    for axis, name in enumerate(dimensions):
        named = {place[axis]: label[axis] for place, label in labels.items()}
        coordinates[name] = [named[index] for index in sorted(named)]
        if name == TIME:
            coordinates[name] = np.array(coordinates[name], dtype="datetime64[ns]")
    shape = tuple(len(names) for names in coordinates.values())
    variable = xr.DataArray(
        bands.data.reshape(*shape, *bands.shape[1:]),
        dims=(*dimensions, *bands.dims[1:]),
        coords=bands.drop_vars("band", errors="ignore").coords,
        attrs=bands.attrs,
    )
    return variable.assign_coords(coordinates)
