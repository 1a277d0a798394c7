"""How the variables of a result become the bands of a GeoTIFF, and back.

A GeoTIFF has one number type and one nodata value. Variables that share both keep them: a file
of masks alone is an integer file with nodata 255. In a mixed file every band is float32 with
nodata NaN; codes and counts are small whole numbers and stay exact, so that 3 reads as 3.0.
The tags of a band say what its variable was, and `open_result` restores it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.output._grid import SPATIAL, nodata_value, plain_attributes, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

# float32 holds every whole number up to here.
WHOLE = 1 << 24
JSON_NAMES = "JSON_ATTRIBUTES"
STATISTICS = "STATISTICS_"
BAND_TAGS = ("BAND_VARIABLE", "BAND_DIMENSIONS", "BAND_LABELS", "BAND_DTYPE", "BAND_NODATA")


@dataclass(frozen=True)
class Band:
    """One band: a variable, or one entry of a variable along its leading dimensions.

    Parameters
    ----------
    variable : str
        Name of the variable.
    dimensions : tuple of str
        The leading dimensions; none for a variable of dims (y, x).
    indices : tuple of int
        Which entry along each.
    labels : tuple
        The coordinates of that entry, for example ``("VH",)``.
    dtype : numpy.dtype
        What is stored: float32 for floating-point variables, else the variable's own.
    nodata : object
        Nodata value of the variable, None without one.
    """

    variable: str
    dimensions: tuple[str, ...]
    indices: tuple[int, ...]
    labels: tuple[Any, ...]
    dtype: np.dtype[Any]
    nodata: Any

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
    """List the bands of a dataset.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables of dims (y, x), or with leading dimensions such as polarisation and pass.

    Returns
    -------
    list of Band
        In the order of the variables and of the coordinates along their leading dimensions.

    Raises
    ------
    ValueError
        When a variable has other dims, or values that a band cannot hold.
    """
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
    """Put the bands of a file together as the variables that they were.

    Parameters
    ----------
    image : xarray.DataArray
        Dims (band, y, x).
    tags : list of dict
        The tags of each band.

    Returns
    -------
    dict
        The variables by name, with their types, attributes and nodata values.
    """
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
    """Turn attributes into tags, which are text: plain text as it is, the rest as JSON.

    Parameters
    ----------
    attributes : mapping
        The attributes of a variable or dataset.

    Returns
    -------
    dict of str
        One tag each, and one more that lists which of them are JSON.
    """
    tags, encoded = {}, []
    for name, value in plain_attributes(attributes).items():
        if isinstance(value, str) and value and value.isprintable() and value == value.strip():
            tags[name] = value
        else:
            tags[name] = to_json(value)
            encoded.append(name)
    return tags | {JSON_NAMES: to_json(encoded)}


def decode_attributes(tags: Mapping[str, str]) -> dict[str, Any]:
    """Undo `encode_attributes`.

    Parameters
    ----------
    tags : mapping of str
        Tags of a band or file.

    Returns
    -------
    dict
        The attributes.
    """
    encoded = set(json.loads(tags.get(JSON_NAMES, "[]")))
    return {
        name: json.loads(text) if name in encoded else text
        for name, text in tags.items()
        if name != JSON_NAMES
    }
