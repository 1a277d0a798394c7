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

from sarheight._files import file_errors
from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

CONSOLIDATED = ".zmetadata"
SHOWN_ARRAYS = 3


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
        _require_zarr_chunks(path) if is_zarr else _require_netcdf_chunks(path)
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
        raise DamagedFileError(_incomplete(path, missing))


def _require_netcdf_chunks(path: Path) -> None:
    """Raise where a NetCDF-4 file lacks chunks of an array."""
    import h5py

    missing = []
    with h5py.File(path, "r") as file:
        for name, item in file.items():
            if not isinstance(item, h5py.Dataset) or item.chunks is None:
                continue
            pairs = zip(item.shape, item.chunks, strict=True)
            expected = int(np.prod([-(-size // length) for size, length in pairs]))
            found = item.id.get_num_chunks()
            if found < expected:
                missing.append(f"{expected - found} of {expected} chunks of '{name}'")
    if missing:
        raise DamagedFileError(_incomplete(path, missing))


def _incomplete(path: Path, missing: list[str]) -> str:
    others = f" and of {len(missing) - SHOWN_ARRAYS} more" if len(missing) > SHOWN_ARRAYS else ""
    return (
        f"'{path}' is incomplete: found no {', '.join(missing[:SHOWN_ARRAYS])}{others}; copy it "
        "again from where it was whole, or compute it again"
    )
