"""Zarr and NetCDF, read back whole or not at all.

Both formats take a chunk that is missing for one of nothing but fill values: a file that lost
chunks would open as if the ground there were void. Every chunk is therefore written, also those
without values, and looked for when a file is opened. A Zarr store holds its metadata twice, with
each array and consolidated; they are compared. The chunks have checksums: Zstandard's in Zarr,
Fletcher's in NetCDF, which any reader of these formats compares.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import xarray as xr
from xarray.backends.locks import HDF5_LOCK, NETCDFC_LOCK, combine_locks

from sarheight._files import LISTED_ARRAYS, check_hdf5, file_errors, incomplete
from sarheight.errors import DamagedFileError
from sarheight.output.grid import SPATIAL, TIME, add_cf_attributes, computed_ahead, plain_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    import netCDF4
    from numpy.typing import NDArray

GRID_MAPPING = "grid_mapping"
TEXTS = "OUT"
"""Kinds of NumPy arrays of texts: objects, of one length, and of any length."""
NETCDF_LOCK = combine_locks([NETCDFC_LOCK, HDF5_LOCK])
"""What xarray holds while it reads: the library takes no two calls at once."""
CONSOLIDATED = ".zmetadata"


def zarr_compressor() -> Any:  # noqa: ANN401  # of numcodecs, which has no types
    """Return the codec of chunks: fast, as speckle does not compress, and with a checksum."""
    from numcodecs import Zstd

    return Zstd(level=1, checksum=True)


def open_store(path: Path, **options: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has them
    """Open a Zarr store or NetCDF file lazily, if it is complete.

    Parameters
    ----------
    path : pathlib.Path
        A name that ends in ``.zarr``, or a NetCDF file.
    **options
        Of `xarray.open_dataset`.

    Returns
    -------
    xarray.Dataset
        As xarray reads it.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    DamagedFileError
        When it cannot be read, or chunks of an array are missing.
    """
    is_zarr = path.suffix.lower() == ".zarr"
    with file_errors(path, "a Zarr store" if is_zarr else "a NetCDF file"):
        if not is_zarr:
            with path.open("rb") as file:
                classic = file.read(3) == b"CDF"  # the format before HDF5, which has no chunks
            if not classic:
                check_hdf5(path, "a NetCDF file", complete=True)
            return xr.open_dataset(path, engine="netcdf4", **options)
        from zarr.storage import LocalStore

        from sarheight._zarr import check_chunks

        _require_zarr_chunks(path)
        check_chunks()
        store: Any = LocalStore(path, read_only=True)
        return xr.open_dataset(store, engine="zarr", **options)


def read_store(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read NetCDF or Zarr without masking by ``_FillValue``, which would turn codes into floats."""
    dataset = open_store(path, decode_coords="all", mask_and_scale=False, decode_timedelta=False)
    with file_errors(path, "a result"):
        if chunks is None:
            with dataset:
                dataset.load()
        else:
            lazy = {name: _lazy(path, variable) for name, variable in dataset.data_vars.items()}
            dataset.coords.to_dataset().load()
            dataset = dataset.assign(lazy)
            if chunks != {}:
                dataset = dataset.chunk(chunks)
        for variable in dataset.data_vars.values():
            for name in ("flag_values", "flag_masks"):
                if name in variable.attrs:
                    values = np.atleast_1d(variable.attrs[name])
                    variable.attrs[name] = values.astype(variable.dtype)
    return dataset


@dataclass(frozen=True, eq=False)
class _StoredVariable:
    """A variable of a file, of which parts are read: an array as dask takes it."""

    path: Path
    variable: xr.Variable  # not read yet

    @property
    def shape(self) -> tuple[int, ...]:
        return self.variable.shape

    @property
    def ndim(self) -> int:
        return self.variable.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        return cast("np.dtype[Any]", self.variable.dtype)

    def __getitem__(self, part: tuple[slice, ...]) -> NDArray[Any]:
        """Read a part; an error names the file, as it comes long after opening."""
        with file_errors(self.path, "a result"):
            return np.asarray(self.variable[part].values)


def _lazy(path: Path, variable: xr.DataArray) -> xr.DataArray:
    """Let parts of a variable be read when they are computed, in chunks of the file."""
    import dask.array

    sizes = variable.encoding.get("preferred_chunks", {})
    chunks = tuple(sizes.get(dim, size) for dim, size in variable.sizes.items())
    stored = _StoredVariable(path, variable.variable)
    data = dask.array.from_array(  # type: ignore[no-untyped-call]
        stored, chunks=chunks, name=False, asarray=False, meta=np.empty((), stored.dtype)
    )
    lazy = xr.DataArray(data, variable.coords, variable.dims, variable.name, variable.attrs)
    lazy.encoding = variable.encoding
    return lazy


def _require_zarr_chunks(path: Path) -> None:
    """Raise where a store lacks chunks, or its consolidated metadata differ from the others."""
    import zarr

    if (path / CONSOLIDATED).exists():
        consolidated = json.loads((path / CONSOLIDATED).read_bytes())["metadata"]
        differing = [
            key
            for key, content in consolidated.items()
            if json.loads((path / key).read_bytes()) != content
        ]
        if differing:
            msg = (
                f"'{path}' is damaged, or was changed: {', '.join(differing[:LISTED_ARRAYS])} and "
                f"{CONSOLIDATED} differ; if it was changed on purpose, call "
                "zarr.consolidate_metadata"
            )
            raise DamagedFileError(msg)
    group = zarr.open_group(path, mode="r")
    missing = [
        f"{array.nchunks - array.nchunks_initialized} of {array.nchunks} chunks of '{name}'"
        for name, array in group.arrays()
        if array.nchunks_initialized < array.nchunks
    ]
    if missing:
        raise incomplete(path, missing)


def store_attributes(path: Path) -> Mapping[Any, Any]:
    """Read the attributes of a NetCDF file or a Zarr store."""
    if path.suffix.lower() != ".zarr":
        with open_store(path, decode_cf=False) as dataset:
            return dict(dataset.attrs)
    import zarr

    return zarr.open_group(path, mode="r").attrs.asdict()


TEXTS = "OUT"
"""Kinds of types that hold texts."""
CHUNK, LEAST_CHUNK = 1024, 1 << 16
"""Cells along a side of a chunk, and least number of cells in it."""
TIME_UNITS = "microseconds since 1970-01-01"


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a result as compressed NetCDF-4, piece by piece.

    A thread of its own writes. An interrupt comes to the main thread, and one that comes while that
    takes a lock may leave it locked for ever, so the main thread takes none; xarray's writer does.
    """
    sides = _tile_sides(dataset)
    dataset = _add_conventions(dataset, None if sides else CHUNK)
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
            lengths = zip(variable.dims, _chunks(variable), strict=True)
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


def write_zarr(
    dataset: xr.Dataset,
    path: Path,
    *,
    chunk: int | Mapping[str, int] = CHUNK,
    compute: bool = True,
) -> None:
    """Write a result as Zarr store; without `compute` lazy variables get metadata but no chunks."""
    dataset = _add_conventions(dataset, chunk)
    for variable in dataset.data_vars.values():
        variable.encoding["chunks"] = _chunks(variable, chunk)
    for every in dataset.variables.values():
        every.encoding["compressors"] = zarr_compressor()
    # A chunk that is missing in a store is then one that was lost.
    dataset.to_zarr(  # type: ignore[call-overload]  # for a constant `compute` only
        path,
        mode="w-",
        zarr_format=2,
        consolidated=True,
        write_empty_chunks=True,
        compute=compute,
    )


def _add_conventions(
    dataset: xr.Dataset, chunk: int | Mapping[str, int] | None = CHUNK
) -> xr.Dataset:
    """Bring names, attributes and chunks into the form of the CF conventions; None keeps chunks."""
    texts = {
        name: coordinate.astype(object)
        for name, coordinate in dataset.coords.items()
        if coordinate.dtype.kind in TEXTS
    }
    dataset = dataset.assign_coords(texts)
    if dataset.chunks and chunk is not None:
        sizes: Mapping[Any, int] = (
            dict.fromkeys(dataset.dims, chunk) if isinstance(chunk, int) else chunk
        )
        dataset = dataset.assign(
            {
                name: variable.chunk(
                    {str(dim): sizes[dim] for dim in variable.dims if dim in sizes}
                )
                for name, variable in dataset.data_vars.items()
            }
        )
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


def _chunks(
    variable: xr.DataArray | xr.Variable, chunk: int | Mapping[str, int] = CHUNK
) -> tuple[int, ...]:
    limits = dict.fromkeys(variable.dims, chunk) if isinstance(chunk, int) else chunk
    return tuple(min(limits.get(str(dim), size), size) for dim, size in variable.sizes.items())
