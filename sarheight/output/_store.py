"""NetCDF and Zarr through xarray, with the conventions that other tools look for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sarheight.output._convention import completed
from sarheight.output._grid import plain_attributes

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path

CHUNK = 1024
# Speckle does not compress: higher levels take several times as long for a few bytes.
COMPRESSION = {"zlib": True, "complevel": 1, "shuffle": True}


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a result as compressed NetCDF-4.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `check_grid` returns it; dask-backed variables are computed chunk by chunk.
    path : pathlib.Path
        The file.
    """
    dataset = _conventional(dataset)
    labels = [name for name, each in dataset.coords.items() if each.dtype.kind in "OU"]
    for name in labels:
        # To CF, a label is an array of characters: only numbers make a coordinate variable.
        dataset[name].encoding["dtype"] = "S1"
    for variable in dataset.data_vars.values():
        variable.encoding["chunksizes"] = _chunks(variable)
        if variable.dtype.kind in "iuf":
            variable.encoding |= COMPRESSION
        along = [str(name) for name in dataset.coords if _goes_along(dataset[name], variable)]
        if along:
            variable.encoding["coordinates"] = " ".join(along)
    dataset.to_netcdf(path, engine="netcdf4", format="NETCDF4")


def write_zarr(dataset: xr.Dataset, path: Path, *, chunk: int = CHUNK) -> None:
    """Write a result as Zarr store.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `check_grid` returns it; dask-backed variables are computed chunk by chunk.
    path : pathlib.Path
        The folder.
    chunk : int
        Largest length of a chunk along each dim.
    """
    dataset = _conventional(dataset, chunk)
    for variable in dataset.data_vars.values():
        variable.encoding["chunks"] = _chunks(variable, chunk)
    dataset.to_zarr(path, mode="w-", zarr_format=2, consolidated=True)


def read_netcdf(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read a result from NetCDF.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    chunks : None, int, str or mapping
        None loads all into memory and closes the file; else the dask chunks.

    Returns
    -------
    xarray.Dataset
        The result.
    """
    return _read(path, chunks, engine="netcdf4")


def read_zarr(path: Path, chunks: Any) -> xr.Dataset:  # noqa: ANN401  # as xarray has it
    """Read a result from a Zarr store.

    Parameters
    ----------
    path : pathlib.Path
        The folder.
    chunks : None, int, str or mapping
        None loads all into memory; else the dask chunks.

    Returns
    -------
    xarray.Dataset
        The result.
    """
    return _read(path, chunks, engine="zarr")


def _read(path: Path, chunks: Any, **options: Any) -> xr.Dataset:  # noqa: ANN401
    """Open without turning codes into floats, which is what masking by ``_FillValue`` does."""
    dataset = xr.open_dataset(
        path,
        chunks=chunks,
        decode_coords="all",
        mask_and_scale=False,
        decode_timedelta=False,
        **options,
    )
    if chunks is None:
        with dataset:
            dataset.load()
    for variable in dataset.data_vars.values():
        for name in ("flag_values", "flag_masks"):
            if name in variable.attrs:
                variable.attrs[name] = np.atleast_1d(variable.attrs[name]).astype(variable.dtype)
    return dataset


def _conventional(dataset: xr.Dataset, chunk: int = CHUNK) -> xr.Dataset:
    """Give names, attributes and chunks the form that files want."""
    texts = {
        name: coordinate.astype(object)
        for name, coordinate in dataset.coords.items()
        if coordinate.dtype.kind == "U"
    }
    dataset = dataset.assign_coords(texts)
    if dataset.chunks:
        dataset = dataset.chunk(dict.fromkeys(dataset.dims, chunk))
    dataset = completed(dataset)
    dataset.attrs = plain_attributes(dataset.attrs)
    for name in dataset.variables:
        _set_attributes(dataset, name)
    return dataset


def _set_attributes(dataset: xr.Dataset, name: Hashable) -> None:
    variable = dataset[name]
    variable.attrs = plain_attributes(variable.attrs)
    if "flag_values" in variable.attrs:
        flags = np.asarray(variable.attrs["flag_values"]).astype(variable.dtype)
        variable.attrs["flag_values"] = flags
    if name in dataset.coords:
        variable.encoding = {"_FillValue": None}


def _goes_along(coordinate: xr.DataArray, variable: xr.DataArray) -> bool:
    """Tell whether a coordinate describes a variable and is no coordinate variable to CF."""
    numbers = coordinate.dims == (coordinate.name,) and coordinate.dtype.kind not in "OU"
    return bool(coordinate.dims) and not numbers and set(coordinate.dims) <= set(variable.dims)


def _chunks(variable: xr.DataArray, chunk: int = CHUNK) -> tuple[int, ...]:
    return tuple(min(chunk, size) for size in variable.shape)
