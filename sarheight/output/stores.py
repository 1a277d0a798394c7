"""Zarr and NetCDF, read back whole or not at all.

Both formats take a chunk that is missing for one of nothing but fill values: a file that lost
chunks would open as if the ground there were void. Every chunk is therefore written, also those
without values, and looked for when a file is opened. A Zarr store holds its metadata twice, with
each array and consolidated; they are compared. The chunks have checksums: CRC-32C in Zarr, or that
of Zstandard, and Fletcher's in NetCDF, which any reader of these formats compares. In Zarr, several
chunks lie in one file, a shard, which ends with the places of its chunks and the checksum of these.

Stores are written in version 3 of Zarr; those of version 2 are read, too.

References
----------
Zarr core specification, version 3.1; codec ``sharding_indexed``, version 1.0.
"""

from __future__ import annotations

import json
import re
import warnings
from functools import partial
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import numpy as np
import xarray as xr

from sarheight._files import LISTED_ARRAYS, file_errors, incomplete, require_files_within
from sarheight._hdf5 import check_hdf5
from sarheight._windows import Windowed, lazy_array
from sarheight.errors import DamagedFileError
from sarheight.output.netcdf import add_conventions, chunk_lengths

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sarheight._windows import Span

METADATA, METADATA_2 = "zarr.json", ".zmetadata"
"""Files with the consolidated metadata of a store, in version 3 of Zarr and in version 2."""
CONSOLIDATED = "consolidated_metadata"
CONVENTIONS, LEVELS, GEOZARR = "zarr_conventions", "multiscales", ("proj:", "spatial:")
"""Attributes of a store that follow from its grid: of GeoZarr, and not of the result."""
MOST_LEVELS = 32
"""Resolutions of a store: each has half the cells of the one before along both sides."""


def zarr_compressors() -> Any:  # noqa: ANN401  # of Zarr
    """Return the codecs of chunks: fast, as speckle does not compress, and with a checksum.

    Numbers of speckle have like exponents, which bits that are sorted by their place bring
    together. LZ4 codes these in less than half the time of ZSTD, and in 8 % fewer bytes than ZSTD
    has for numbers that are not sorted.
    """
    from zarr.codecs import BloscCodec, BloscShuffle, Crc32cCodec

    return BloscCodec(cname="lz4", clevel=1, shuffle=BloscShuffle.bitshuffle), Crc32cCodec()


def level_groups(path: Path) -> list[str]:
    """Return the groups of a Zarr store by falling resolution; "" for one that has no levels."""
    try:
        described = json.loads((path / METADATA).read_bytes())["attributes"][LEVELS]["layout"]
        groups = [str(level["asset"]) for level in described]
    except (OSError, KeyError, TypeError):
        return [""]
    several = len(groups) > MOST_LEVELS or len(set(groups)) < len(groups)
    if several or not all(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", group) for group in groups):
        msg = (
            f"'{path}' has its resolutions in {groups[:LISTED_ARRAYS]}, {len(groups)} in all; "
            f"expected names of groups inside it, all different and at most {MOST_LEVELS}"
        )
        raise DamagedFileError(msg)
    return groups or [""]


AS_STORED: dict[str, Any] = {
    "decode_coords": "all",
    "mask_and_scale": False,
    "decode_timedelta": False,
}
"""Options that leave values as they are."""


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
        from sarheight._zarr import prepare_zarr

        require_files_within(path)

        _require_zarr_chunks(path)
        prepare_zarr()
        return _open_group(path, level_groups(path)[0], **options)


def _open_group(path: Path, group: str, **options: Any) -> xr.Dataset:  # noqa: ANN401
    """Open a group of a Zarr store lazily."""
    from zarr.storage import LocalStore

    store: Any = LocalStore(path, read_only=True)
    gathered = _is_consolidated(path / group)
    opened = xr.open_dataset(
        store, engine="zarr", group=group or None, consolidated=gathered, **options
    )
    opened.attrs = own_attributes(opened.attrs)
    return opened


def own_attributes(attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Leave out the attributes that describe the grid in the terms of GeoZarr."""
    return {
        name: value
        for name, value in attributes.items()
        if name not in {CONVENTIONS, LEVELS} and not str(name).startswith(GEOZARR)
    }


def open_levels(path: Path) -> list[xr.Dataset]:
    """Open all resolutions of a complete Zarr store, the finest first; none of one without them.

    Without dask, only the chunks of a window are read.
    """
    with file_errors(path, "a Zarr store"):
        return [_open_group(path, group, **AS_STORED) for group in level_groups(path) if group]


def read_store(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read NetCDF or Zarr without masking by ``_FillValue``, which would turn codes into floats."""
    dataset = open_store(path, **AS_STORED)
    if not dataset.data_vars:
        msg = f"'{path}' holds no variables, expected a result; copy it again"
        raise DamagedFileError(msg)
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
        texts = {
            name: each.astype(object)
            for name, each in dataset.coords.items()
            if each.dtype.kind == "T"
        }
        dataset = dataset.assign_coords(texts)
        for variable in dataset.data_vars.values():
            for name in ("flag_values", "flag_masks"):
                if name in variable.attrs:
                    values = np.atleast_1d(variable.attrs[name])
                    variable.attrs[name] = values.astype(variable.dtype)
            if variable.dtype.kind in "iuf" and "_FillValue" in variable.attrs:
                # JSON has no types of numbers.
                variable.attrs["_FillValue"] = variable.dtype.type(variable.attrs["_FillValue"])
    return dataset


def _read_part(path: Path, variable: xr.Variable, *spans: Span) -> NDArray[Any]:
    """Read a part of a variable; an error names the file, as it comes long after opening."""
    with file_errors(path, "a result"):
        return np.asarray(variable[tuple(slice(*each) for each in spans)].values)


def _lazy(path: Path, variable: xr.DataArray) -> xr.DataArray:
    """Let parts of a variable be read when they are computed, in chunks or shards of the file."""
    sizes = variable.encoding.get("preferred_chunks", {})
    own = tuple(sizes.get(dim, size) for dim, size in variable.sizes.items())
    chunks = variable.encoding.get("shards") or own
    read = partial(_read_part, path, variable.variable)
    source = Windowed(variable.shape, read, variable.dtype)
    data = lazy_array(source, chunks, f"stored-{uuid4()}")
    lazy = xr.DataArray(data, variable.coords, variable.dims, variable.name, variable.attrs)
    lazy.encoding = variable.encoding
    return lazy


def _require_zarr_chunks(path: Path) -> None:
    """Raise where a store lacks chunks, or its consolidated metadata differ from the others."""
    import zarr

    version = zarr_version(path)
    group = zarr.open_group(path, mode="r", use_consolidated=False if version == 3 else None)
    differing, holder = _differing(path) if version == 3 else _differing_2(path)
    if differing:
        msg = (
            f"'{path}' is damaged, or was changed: {', '.join(differing[:LISTED_ARRAYS])} and "
            f"{holder} differ; if it was changed on purpose, call "
            "zarr.consolidate_metadata"
        )
        raise DamagedFileError(msg)
    missing = []
    for name, array in group.members(max_depth=None):
        if isinstance(array, zarr.Array) and (lost := _count_lost(path / name, array)):
            missing.append(f"{lost} of {array.nchunks} chunks of '{name}'")
    if missing:
        raise incomplete(path, missing)


def _differing(path: Path) -> tuple[list[str], str]:
    """List the metadata that differ from their copies in the root and in groups of a store."""

    def read(group: str) -> Any:  # noqa: ANN401  # JSON
        return json.loads((path / group / METADATA).read_bytes())

    def without_copies(metadata: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in metadata.items() if name != CONSOLIDATED}

    for group in {"": None, **dict.fromkeys(level_groups(path))}:
        gathered = read(group).get(CONSOLIDATED)
        if not gathered:
            continue
        copies, prefix = gathered.get("metadata", {}), f"{group}/" if group else ""
        differing = [
            f"{prefix}{name}/{METADATA}"
            for name, copy in copies.items()
            if ".." in name or without_copies(read(f"{prefix}{name}")) != without_copies(copy)
        ]
        unlisted = set(_holders(path / group, METADATA)) - set(copies)
        differing += [f"{prefix}{name}/{METADATA}" for name in sorted(unlisted)]
        if differing:
            return differing, f"{prefix}{METADATA}"
    return [], METADATA


def _differing_2(path: Path) -> tuple[list[str], str]:
    """List the metadata of a store of version 2 of Zarr that differ from their copies."""
    if not (path / METADATA_2).exists():
        return [], METADATA_2
    copies = json.loads((path / METADATA_2).read_bytes())["metadata"]
    differing = [
        name for name, copy in copies.items() if json.loads((path / name).read_bytes()) != copy
    ]
    unlisted = {f"{name}/.zarray" for name in _holders(path, ".zarray")} - set(copies)
    return [*differing, *sorted(unlisted)], METADATA_2


def _holders(folder: Path, metadata: str) -> list[str]:
    """List groups and arrays below a group by their files of metadata."""
    found = (file.parent for file in folder.rglob(metadata))
    return [each.relative_to(folder).as_posix() for each in found if each != folder]


INDEX = np.dtype([("place", "<u8"), ("size", "<u8")])
MOST_LOST = 100_000
"""Files of an array that are looked for one by one, where there are fewer."""
CHECKSUM = 4
"""Bytes of the CRC-32C behind the places of the chunks."""


def _count_lost(folder: Path, array: Any) -> int:  # noqa: ANN401  # of Zarr
    """Count the chunks of an array that its files do not hold; a damaged shard holds none."""
    from sarheight._zarr import chunk_files

    lengths = array.shards or array.chunks
    counts = [-(-n // length) for n, length in zip(array.shape, lengths, strict=True)]
    files = chunk_files(folder)
    if (expected := int(prod(counts))) > max(len(files), MOST_LOST):
        return expected - len(files)  # at least; their names would take hours, or any memory
    key = array.metadata.encode_chunk_key
    places = product(*map(range, counts))
    if array.shards is None:
        return sum(key(place) not in files for place in places)
    return sum(
        _count_lost_of_shard(folder / key(place), array, place, there=key(place) in files)
        for place in places
    )


def _count_lost_of_shard(
    file: Path,
    array: Any,  # noqa: ANN401  # of Zarr
    place: tuple[int, ...],
    *,
    there: bool,
) -> int:
    """Count the chunks that a shard does not hold."""
    # Beyond the edge of the array a shard need not hold chunks.
    used = tuple(
        slice(-(-min(size - index * shard, shard) // chunk))
        for index, size, shard, chunk in zip(
            place, array.shape, array.shards, array.chunks, strict=True
        )
    )
    expected = int(prod(part.stop for part in used))
    if not there:
        return expected
    codec = array.metadata.codecs[0]
    kinds = [type(each).__name__ for each in codec.index_codecs]
    if kinds != ["BytesCodec", "Crc32cCodec"] or codec.index_location.value != "end":
        return 0  # of another program
    inside = tuple(s // c for s, c in zip(array.shards, array.chunks, strict=True))
    index = _read_index(file, prod(inside))
    if index is None:
        return expected
    held, end = index[0].reshape(inside)[used], index[1]
    # Sizes are compared by subtraction: a sum may be more than 64 bits hold.
    found = (held["place"] <= end) & (held["size"] <= end - np.minimum(held["place"], end))
    return expected - int(found.sum())


def _read_index(file: Path, count: int) -> tuple[NDArray[Any], int] | None:
    """Read the places of the chunks of a shard, and where they end; None of a damaged one."""
    from google_crc32c import value

    length = count * INDEX.itemsize
    end = file.stat().st_size - length - CHECKSUM
    if end < 0:
        return None
    with file.open("rb") as stream:
        stream.seek(end)
        data = stream.read(length + CHECKSUM)
    if value(data[:length]) != int.from_bytes(data[length:], "little"):
        return None
    return np.frombuffer(data[:length], INDEX), end


def store_attributes(path: Path) -> Mapping[Any, Any]:
    """Read the attributes of a NetCDF file or a Zarr store."""
    if path.suffix.lower() != ".zarr":
        with open_store(path, decode_cf=False) as dataset:
            return dict(dataset.attrs)
    import zarr

    require_files_within(path)
    group = level_groups(path)[0]
    return own_attributes(zarr.open_group(path / group, mode="r").attrs.asdict())


TILE, SHARD = 256, 1024
"""Lengths in Zarr: of chunks, so that little is read for a window, and of the files that hold them,
each of which is held in memory while it is written."""


def write_zarr(
    dataset: xr.Dataset,
    path: Path,
    *,
    chunk: int = TILE,
    shard: int | None = SHARD,
    compute: bool = True,
    group: str = "",
    attributes: Mapping[str, Any] | None = None,
    version: int = 3,
    codecs: Any = None,  # noqa: ANN401  # of Zarr, or of numcodecs
) -> None:
    """Write a dataset as Zarr store, or into a group of one, whose metadata are not gathered.

    Parameters
    ----------
    dataset : xarray.Dataset
        The dataset.
    path : pathlib.Path
        The store.
    chunk : int
        Length of chunks along the last two dims.
    shard : int, optional
        The length along the last two dims of what lies in one file, which holds a single plane of
        them. By default each chunk has a file, and is as long as the variable along other dims.
    compute : bool
        Whether the values of lazy variables are written, beside their metadata.
    group : str
        Name of the group.
    attributes : mapping, optional
        Attributes of the group beside those of the dataset, as JSON has them.
    version : int
        Of Zarr: 2 for a store that exists, whose files are chunks, with its `codecs`.
    codecs : optional
        What compresses chunks; by default `zarr_compressors`, of version 3.
    """
    import zarr

    from sarheight._zarr import prepare_zarr

    prepare_zarr()
    planes = shard is not None
    dataset = add_conventions(dataset, chunk if shard is None else shard, planes=planes)
    for variable in dataset.data_vars.values():
        file = chunk_lengths(variable, chunk if shard is None else shard, planes=planes)
        chunks = chunk_lengths(variable, chunk, planes=planes) if version == 3 else file
        chunks = tuple(map(min, chunks, file))
        variable.encoding["chunks"] = chunks
        if version == 3:
            # Where readers of Zarr that do not know CF look for the value of void cells.
            variable.encoding["fill_value"] = variable.encoding.get("_FillValue")
            if planes and variable.ndim:
                variable.encoding["shards"] = tuple(
                    length * -(-limit // length) for length, limit in zip(chunks, file, strict=True)
                )
    for every in dataset.variables.values():
        every.encoding["compressors"] = codecs or zarr_compressors()
    # A chunk that is missing in a store is then one that was lost.
    dataset.to_zarr(  # type: ignore[call-overload]  # for a constant `compute` only
        path,
        group=group or None,
        mode="w-",
        zarr_format=version,
        consolidated=False,
        write_empty_chunks=True,
        compute=compute,
    )
    if attributes:
        zarr.open_group(path / group, mode="r+").attrs.update(dict(attributes))
    if not group:
        consolidate(path)


def zarr_version(path: Path) -> Literal[2, 3]:
    """Return the version of Zarr of a store."""
    return 3 if (path / METADATA).exists() else 2


def consolidate(path: Path) -> None:
    """Gather the metadata of all arrays of a store in its root, and of a level in its group."""
    import zarr

    with warnings.catch_warnings():
        # Readers that do not know them read the metadata of each array.
        warnings.filterwarnings("ignore", "Consolidated metadata is currently not part")
        for group in (*filter(None, level_groups(path)), None):
            zarr.consolidate_metadata(str(path), path=group, zarr_format=zarr_version(path))


def _is_consolidated(path: Path) -> bool:
    """Tell whether a group has the metadata of its arrays."""
    if (path / METADATA).exists():
        return bool(json.loads((path / METADATA).read_bytes()).get(CONSOLIDATED))
    return (path / METADATA_2).exists()
