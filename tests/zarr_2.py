"""Stores of version 2 of Zarr, as results were written before: read, and not written any more.

Import it as ``from tests.zarr_2 import write_version_2``.
"""

from __future__ import annotations

from pathlib import Path

import numcodecs
import xarray as xr

from sarheight.output.grid import add_cf_attributes, check_grid, plain_attributes


def write_version_2(
    dataset: xr.Dataset, path: Path, chunk: int = 1024, *, planes: bool = False
) -> Path:
    """Write a result without levels, each chunk in a file of its own, as those of stacks are."""
    dataset = add_cf_attributes(check_grid(dataset))
    dataset.attrs = plain_attributes(dataset.attrs)
    for name, variable in dataset.variables.items():
        variable.attrs = plain_attributes(variable.attrs)
        kept = ("_FillValue", "grid_mapping") if name in dataset.data_vars else ()
        variable.encoding = {key: variable.encoding[key] for key in kept}
        variable.encoding["compressors"] = numcodecs.Zstd(level=1, checksum=True)
        if kept:
            chunks = [min(chunk, size) for size in variable.shape]
            if planes:
                chunks[:-2] = [1] * len(chunks[:-2])
            variable.encoding["chunks"] = tuple(chunks)
        else:
            variable.encoding["_FillValue"] = None
    loose = [str(n) for n, each in dataset.coords.items() if each.dims != (n,) and not each.ndim]
    dataset.attrs["coordinates"] = " ".join(loose)
    dataset.to_zarr(path, mode="w-", zarr_format=2, consolidated=True, write_empty_chunks=True)
    return path
