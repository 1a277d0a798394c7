"""NetCDF, written piece by piece, and the CF conventions that Zarr stores follow as well."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK, combine_locks

from sarheight.output.grid import SPATIAL, TIME, add_cf_attributes, computed_ahead, plain_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    import netCDF4

GRID_MAPPING = "grid_mapping"
TEXTS = "OUT"
"""Kinds of NumPy arrays of texts: objects, of one length, and of any length."""
NETCDF_LOCK = combine_locks([NETCDFC_LOCK, HDF5_LOCK])
"""What xarray holds while it reads: the library takes no two calls at once."""
CHUNK, LEAST_CHUNK = 1024, 1 << 16
"""Greatest length of chunks in NetCDF along the last two dims, and least number of cells of those
that fill tiles."""
TIME_UNITS = "microseconds since 1970-01-01"


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a result as compressed NetCDF-4, piece by piece.

    A thread of its own writes. An interrupt comes to the main thread, and one that comes while that
    takes a lock may leave it locked for ever, so the main thread takes none; xarray's writer does.
    """
    sides = _tile_sides(dataset)
    dataset = add_conventions(dataset, None if sides else CHUNK)
    encoded = {str(name): _encode(dataset, str(name)) for name in dataset.variables}
    values = xr.Dataset({name: encoded.pop(str(name)) for name in dataset.data_vars})
    with ThreadPoolExecutor(1, "sarheight-write") as writer:
        made = writer.submit(_create_netcdf, path, dataset.attrs, encoded, values, sides)
        try:
            file = made.result()
            for piece, place in computed_ahead(values):
                writer.submit(_write_variables, file, piece.variables, place).result()
        finally:
            writer.submit(_close_netcdf, made).result()


def _create_netcdf(
    path: Path,
    attributes: Mapping[Any, Any],
    coordinates: Mapping[str, xr.Variable],
    values: xr.Dataset,
    sides: Mapping[str, int],
) -> netCDF4.Dataset:
    """Create a NetCDF file with all that it holds but the values of the variables."""
    import netCDF4

    with NETCDF_LOCK:
        file = netCDF4.Dataset(path, "w", format="NETCDF4")
        file.setncatts(attributes)
        variables = {**coordinates, **{str(name): values[name].variable for name in values}}
        for each in variables.values():
            for dim in set(each.dims) - set(file.dimensions):
                file.createDimension(str(dim), each.sizes[dim])
        for name, variable in variables.items():
            _create(file, name, variable, sides)
    _write_variables(file, coordinates, {})
    return file


def _tile_sides(dataset: xr.Dataset) -> dict[str, int]:
    """Return sides of chunks that fill the tiles of a lazy dataset; empty where none do.

    A tile is then computed once, whatever the file's chunks, and no other one waits for it.
    """
    chunks = dataset.unify_chunks().chunksizes
    sides = {}
    for dim in SPATIAL:
        lengths = chunks.get(dim, ())
        if not lengths or any(length != lengths[0] for length in lengths[:-1]):
            return {}
        count = -(-lengths[0] // CHUNK)
        if len(lengths) > 1 and lengths[0] % count:
            return {}
        sides[dim] = -(-lengths[0] // count)
    return sides if prod(sides.values()) >= LEAST_CHUNK else {}


def _write_variables(
    file: netCDF4.Dataset, variables: Mapping[Any, xr.Variable], place: Mapping[Any, slice]
) -> None:
    """Write variables, or their piece at a place."""
    arrays = {name: each.values for name, each in variables.items()}  # may lie in a NetCDF file
    with NETCDF_LOCK:
        for name, variable in variables.items():
            window = tuple(place.get(dim, slice(None)) for dim in variable.dims)
            file[str(name)][window] = arrays[name]


def _close_netcdf(made: Future[netCDF4.Dataset]) -> None:
    if made.exception() is None:
        with NETCDF_LOCK:
            made.result().close()


def _encode(dataset: xr.Dataset, name: str) -> xr.Variable:
    """Encode a variable by the CF conventions, with all that is to be an attribute in them."""
    variable = dataset[name].variable
    if variable.dtype.kind in TEXTS:
        # In CF, a label is an array of characters: only numbers make a coordinate variable.
        texts = np.array([str(text).encode() for text in variable.values.ravel()])
        width = max(texts.dtype.itemsize, 1)
        letters = texts.astype(f"S{width}").view("S1").reshape(*variable.shape, width)
        attributes = {**variable.attrs, "_Encoding": "utf-8"}
        return xr.Variable((*variable.dims, f"string{width}"), letters, attributes)
    encoded = xr.conventions.encode_cf_variable(variable, name=name)
    encoded = encoded.astype(encoded.dtype.newbyteorder("="), copy=False)
    if name in dataset.data_vars:
        others = (key for key in dataset.coords if _is_auxiliary(dataset[key], dataset[name]))
        found = {
            "coordinates": " ".join(map(str, others)),
            GRID_MAPPING: variable.encoding.get(GRID_MAPPING),
        }
        encoded.attrs |= {key: text for key, text in found.items() if text}
    return encoded


def _create(
    file: netCDF4.Dataset, name: str, variable: xr.Variable, sides: Mapping[str, int]
) -> None:
    """Create a variable of a NetCDF file, without values yet; `sides` are those of its chunks."""
    options: dict[str, Any] = {}
    if variable.ndim and variable.dtype.kind in "iuf":
        chunks = variable.shape
        if variable.ndim > 1:
            lengths = zip(variable.dims, chunk_lengths(variable), strict=True)
            chunks = tuple(sides.get(str(dim), length) for dim, length in lengths)
        options = {"chunksizes": chunks, "fletcher32": True}
    if variable.ndim > 1 and variable.dtype.kind in "iuf":
        # Speckle does not compress: higher levels take several times as long for a few bytes.
        options |= {"zlib": True, "complevel": 1, "shuffle": True}
    attributes = dict(variable.attrs)
    fill = attributes.pop("_FillValue", None)
    dims = tuple(map(str, variable.dims))
    # Zarr states the order of bytes, which netCDF4 takes for another than that of the machine.
    kind = variable.dtype.newbyteorder("=") if variable.dtype.kind in "iuf" else variable.dtype
    made = file.createVariable(name, kind, dims, fill_value=fill, **options)
    made.set_auto_maskandscale(False)
    if variable.ndim > 1 and options:
        # Chunks are written whole, and once: the library would keep 16 MiB of each variable.
        made.set_var_chunk_cache(size=made.dtype.itemsize * prod(chunks))
    made.setncatts(attributes)


# Conventions.


def add_conventions(
    dataset: xr.Dataset, chunk: int | None = CHUNK, *, planes: bool = False
) -> xr.Dataset:
    """Bring names, attributes and chunks into the form of the CF conventions; None keeps chunks."""
    texts = {
        name: coordinate.astype(object)
        for name, coordinate in dataset.coords.items()
        if coordinate.dtype.kind in TEXTS
    }
    dataset = dataset.assign_coords(texts)
    if dataset.chunks and chunk is not None:
        chunked = {}
        for name, values in dataset.data_vars.items():
            lengths = chunk_lengths(values, chunk, planes=planes)
            chunked[name] = values.chunk(dict(zip(values.dims, lengths, strict=True)))
        dataset = dataset.assign(chunked)
    dataset = add_cf_attributes(dataset)
    dataset.attrs = plain_attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        if name == TIME and "units" in variable.attrs:
            # An attribute of a file that was read in another way; xarray writes its own.
            variable.attrs.pop("units")
        variable.attrs = plain_attributes(variable.attrs)
        if "flag_values" in variable.attrs:
            flags = np.asarray(variable.attrs["flag_values"]).astype(variable.dtype)
            variable.attrs["flag_values"] = flags
        if name in dataset.coords:
            variable.encoding = {"_FillValue": None}
            if variable.dtype.kind == "M":
                # The same for all dates, so that series can be appended to.
                variable.encoding |= {
                    "units": TIME_UNITS,
                    "calendar": "standard",
                    "dtype": np.dtype(np.int64),
                }
    # Without this, xarray takes them for variables, and rioxarray finds no reference system.
    unlisted = [
        str(name)
        for name, coordinate in dataset.coords.items()
        if coordinate.dims != (name,)
        and not any(_is_auxiliary(coordinate, other) for other in dataset.data_vars.values())
    ]
    if unlisted:
        dataset.attrs["coordinates"] = " ".join(unlisted)
    return dataset


def _is_auxiliary(coordinate: xr.DataArray, variable: xr.DataArray) -> bool:
    """Tell whether a coordinate is an auxiliary coordinate of a variable in CF's terms."""
    numbers = coordinate.dims == (coordinate.name,) and coordinate.dtype.kind not in TEXTS
    mapping = coordinate.name == variable.encoding.get("grid_mapping")
    return not numbers and not mapping and set(coordinate.dims) <= set(variable.dims)


def chunk_lengths(
    variable: xr.DataArray | xr.Variable, chunk: int = CHUNK, *, planes: bool = False
) -> tuple[int, ...]:
    """Return lengths of chunks along the dims: of planes, those before the last two have one."""
    limits = (1 if planes else chunk,) * max(variable.ndim - 2, 0) + (chunk, chunk)
    return tuple(map(min, limits[-variable.ndim :] if variable.ndim else (), variable.shape))
