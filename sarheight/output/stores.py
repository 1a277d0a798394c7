"""Zarr and NetCDF, read back whole or not at all.

Both formats take a chunk that is missing for one of nothing but fill values: a file that lost
chunks would open as if the ground there were void. Every chunk is therefore written, also those
without values, and looked for when a file is opened. A Zarr store holds its metadata twice, with
each array and consolidated; they are compared. The chunks have checksums: Zstandard's in Zarr,
Fletcher's in NetCDF, which any reader of these formats compares.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight._files import SHOWN_ARRAYS, check_hdf5, file_errors, incomplete
from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

CONSOLIDATED = ".zmetadata"


def zarr_compressor() -> Any:  # noqa: ANN401  # of numcodecs, which has no types
    """Return the codec of chunks: fast, as speckle does not compress, and with a checksum."""
    from numcodecs import Zstd

    return Zstd(level=1, checksum=True)


NETCDF_CHECKSUM = {"fletcher32": True}
"""Encoding of variables that have chunks."""


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
        _require_zarr_chunks(path) if is_zarr else _check_netcdf(path)
        return xr.open_dataset(path, engine="zarr" if is_zarr else "netcdf4", **options)


def read_store(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read NetCDF or Zarr without masking by ``_FillValue``, which would turn codes into floats."""
    dataset = open_store(
        path, chunks=chunks, decode_coords="all", mask_and_scale=False, decode_timedelta=False
    )
    with file_errors(path, "a result"):
        if chunks is None:
            with dataset:
                dataset.load()
        for variable in dataset.data_vars.values():
            for name in ("flag_values", "flag_masks"):
                if name in variable.attrs:
                    values = np.atleast_1d(variable.attrs[name])
                    variable.attrs[name] = values.astype(variable.dtype)
    return dataset


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
                f"'{path}' is damaged, or was changed: {', '.join(differing[:SHOWN_ARRAYS])} and "
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


def _check_netcdf(path: Path) -> None:
    """Raise where a NetCDF-4 file is damaged or lacks chunks of an array."""
    with path.open("rb") as file:
        classic = file.read(3) == b"CDF"  # the format before HDF5, which has no chunks
    if not classic:
        check_hdf5(path, "a NetCDF file", complete=True)
