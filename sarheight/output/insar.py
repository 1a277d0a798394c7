"""Masks for stacks of interferograms: layover and shadow as dolphin and MintPy read them.

References
----------
dolphin 0.42, https://github.com/isce-framework/dolphin: ``layover_shadow_mask_files`` are rasters
on the grid of the SLCs, where 0 is a pixel in layover or shadow, and 1 a good one.
MintPy 1.6, https://mintpy.readthedocs.io/en/latest/api/data_structure: an HDF5 file with the
dataset ``shadowMask``, true where a pixel is to be left out, and attributes of its grid.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sarheight._files import file_errors
from sarheight._hdf5 import refuse_other_files
from sarheight.layover import convert_mask
from sarheight.output._geotiff import north_up
from sarheight.output.atomic import atomic_write
from sarheight.output.files import mask_attributes, write
from sarheight.output.grid import MapGrid, plain_attributes
from sarheight.output.radar_images import RADAR_DIMS, write_radar

if TYPE_CHECKING:
    import os

    import xarray as xr
    from numpy.typing import NDArray

INSAR_SUFFIXES: dict[str, tuple[str, ...]] = {"dolphin": (".tif", ".tiff"), "mintpy": (".h5",)}
"""Suffixes of masks by the program that reads them."""
SHADOW_MASK = "shadowMask"
"""The dataset of MintPy. It must be the only one: MintPy reads the first of a file."""
HEAD = 4096
"""Bytes at the begin of a file among which is the name of its only dataset."""
KEPT, MOST = ("title", "acquisition", "provenance"), 60_000
"""Attributes of masks that are kept, and characters from which they are not: HDF5 holds 64 kB."""
CHECKSUM = "mask_crc32"
"""The attribute with the CRC-32 of the mask."""


def write_insar_mask(
    masks: xr.Dataset,
    path: str | os.PathLike[str],
    program: Literal["dolphin", "mintpy"],
    *,
    overwrite: bool = False,
    stac: bool = False,
) -> Path:
    """Write layover and shadow as a program for stacks of interferograms reads them.

    Parameters
    ----------
    masks : xarray.Dataset
        Of `sarheight.layover.masks`, dims (y, x) or (line, sample), with the variable ``mask``.
    path : path-like
        ``.tif`` for dolphin, ``.h5`` for MintPy.
    program : {"dolphin", "mintpy"}
        Who is to read it.
    overwrite : bool, optional
        Whether an existing file may be replaced.
    stac : bool, optional
        Whether to write a STAC item beside a GeoTIFF on the ground.

    Returns
    -------
    pathlib.Path
        The path.

    Raises
    ------
    OutputError
        When the path cannot be written; no partial file is left.
    ValueError
        When the program is another, or MintPy does not know the unit of the grid.
    """
    if program not in INSAR_SUFFIXES:
        msg = f"found program={program!r}, expected one of {', '.join(INSAR_SUFFIXES)}"
        raise ValueError(msg)
    path = Path(path)
    mask = convert_mask(masks["mask"], program)
    dataset = mask.to_dataset(name="mask").assign_attrs(masks.attrs)
    ground = mask.dims == ("y", "x")
    if program == "mintpy":
        if ground:
            dataset = north_up(dataset)
        attributes = _mintpy_attributes(dataset, ground=ground)
        with atomic_write(path, overwrite=overwrite, suffixes=INSAR_SUFFIXES[program]) as work:
            _write_mintpy(dataset["mask"], work, attributes)
        return path
    if ground:
        return write(dataset, path, overwrite=overwrite, stac=stac)
    return write_radar(dataset, path, overwrite=overwrite)


def read_insar_mask(path: str | os.PathLike[str]) -> xr.DataArray | None:
    """Read a mask that was written for MintPy; None where a file is another.

    Parameters
    ----------
    path : path-like
        Any file.

    Returns
    -------
    xarray.DataArray
        bool, true where a pixel is to be left out, with the attributes of the file. It has no
        coordinates.

    Raises
    ------
    DamagedFileError
        When it is such a mask and cannot be read.
    """
    import h5py
    import xarray as xr

    path, kind = Path(path), "a mask for MintPy"
    if path.suffix.lower() not in INSAR_SUFFIXES["mintpy"] or not path.is_file():
        return None
    # Other files in HDF5, such as products, are large, and are not searched.
    with path.open("rb") as begin:
        if SHADOW_MASK.encode() not in begin.read(HEAD):
            return None
    refuse_other_files(path, kind)
    with file_errors(path, kind):
        attributes = mask_attributes(path)
    with file_errors(path, kind), h5py.File(path) as file:
        if list(file) != [SHADOW_MASK] or CHECKSUM not in attributes:
            return None
        values = file[SHADOW_MASK][:]
        stated = tuple(int(attributes[name]) for name in ("LENGTH", "WIDTH"))
        if values.shape != stated or attributes[CHECKSUM] != _checksum(values):
            msg = f"found {values.shape[0]} x {values.shape[-1]} cells that are not those written"
            raise ValueError(msg)
    dims = ("y", "x") if "X_FIRST" in attributes else tuple(RADAR_DIMS)
    return xr.DataArray(values, dims=dims, attrs=attributes)


def _checksum(values: NDArray[np.bool_]) -> str:
    """Return the CRC-32 of a mask as text."""
    return f"{zlib.crc32(values.tobytes()):08x}"


def _write_mintpy(mask: xr.DataArray, path: Path, attributes: dict[str, str]) -> None:
    """Write a file as MintPy keeps geometry."""
    import h5py

    values = mask.values.astype(np.bool_)
    with h5py.File(path, "w") as file:
        file.create_dataset(SHADOW_MASK, data=values, chunks=True, compression="gzip")
        for name, text in (attributes | {CHECKSUM: _checksum(values)}).items():
            # Of a fixed length: those of any length crash HDF5's library where they are damaged.
            file.attrs[name] = np.bytes_(text.encode())


def _mintpy_attributes(dataset: xr.Dataset, *, ground: bool) -> dict[str, str]:
    """Return the attributes that MintPy needs, beside those of the masks."""
    rows, columns = (dataset.sizes[name] for name in (("y", "x") if ground else RADAR_DIMS))
    # The type of a file without FILE_TYPE is the name of its dataset.
    known = {"UNIT": "1", "LENGTH": str(rows), "WIDTH": str(columns)}
    if ground:
        known |= _mintpy_grid(MapGrid.of(dataset))
    told = {name: str(text) for name, text in plain_attributes(dataset.attrs).items()}
    return {name: told[name] for name in KEPT if 0 < len(told.get(name, "")) < MOST} | known


def _mintpy_grid(grid: MapGrid) -> dict[str, str]:
    """Return the attributes of a map grid: the corner of the first cell, steps and their unit."""
    from pyproj import CRS

    crs = CRS.from_wkt(grid.crs.to_wkt())
    units = {"degree": "degrees", "metre": "meters"}
    found = crs.axis_info[0].unit_name
    if found not in units:
        msg = f"found a grid in units of {found}, expected one in degrees or metres for MintPy"
        raise ValueError(msg)
    place, unit = grid.transform, units[found]
    corner = {"X_FIRST": place.c, "Y_FIRST": place.f, "X_STEP": place.a, "Y_STEP": place.e}
    described = {name: repr(float(value)) for name, value in corner.items()}
    described |= {"X_UNIT": unit, "Y_UNIT": unit}
    if code := crs.to_epsg():
        described["EPSG"] = str(code)
    if zone := crs.utm_zone:
        described["UTM_ZONE"] = zone
    return described
