"""The files of a product: in a folder, in a zip, or named one by one."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import rioxarray
import xarray as xr
from rasterio.errors import RasterioError

from sarheight.errors import ProductError

__all__ = ["PathLike", "Source", "locate", "open_raster", "read_text"]

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike]
"""A folder, a zip, a file, or several files."""


def locate(source: Source) -> dict[str, str]:
    """Find the files of a product without unpacking any.

    Parameters
    ----------
    source : path, or sequence of paths
        A folder, a zip, a file, or several files.

    Returns
    -------
    dict
        By the name of each file, without folders, the path by which GDAL opens it.

    Raises
    ------
    FileNotFoundError
        If there is nothing.
    ProductError
        If a zip is damaged.
    """
    if not isinstance(source, str | os.PathLike):
        return {name: path for each in source for name, path in locate(each).items()}
    path = Path(source)
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    if path.is_dir():
        return {file.name: str(file) for file in sorted(path.rglob("*")) if file.is_file()}
    if path.suffix.lower() != ".zip":
        return {path.name: str(path)}
    return {
        PurePosixPath(name).name: f"/vsizip/{{{path}}}/{name}"
        for name in _names(path)
        if not name.endswith("/")
    }


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError) as error:
        msg = f"'{path}' is no zip, or it was cut short ({error}); fetch it again"
        raise ProductError(msg) from error


def read_text(path: str) -> str:
    """Read a text file found by `locate`."""
    if not path.startswith("/vsizip/{"):
        return Path(path).read_text(encoding="utf-8", errors="replace")
    archive, _, name = path.removeprefix("/vsizip/{").partition("}/")
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name).decode("utf-8", errors="replace")


def open_raster(path: str, chunks: Any) -> xr.DataArray:  # noqa: ANN401  # as xarray has it
    """Open a raster of one band.

    Parameters
    ----------
    path : str
        What GDAL opens.
    chunks : None, int, str or mapping
        None loads it into memory and closes the file; else the dask chunks.

    Returns
    -------
    xarray.DataArray
        Dims (y, x), with the values as they are stored.

    Raises
    ------
    ProductError
        If it cannot be read, or has several bands.
    """
    shown = path.partition("?")[0]
    try:
        image = rioxarray.open_rasterio(path, chunks=chunks)
        if chunks is None and isinstance(image, xr.DataArray):
            image.load().close()
    except (RasterioError, OSError) as error:
        msg = f"'{shown}' is no raster that GDAL can read, or it is damaged ({error})"
        raise ProductError(msg) from error
    if not isinstance(image, xr.DataArray) or image.sizes["band"] != 1:
        msg = f"found several bands in '{shown}', expected one"
        raise ProductError(msg)
    return image.isel(band=0, drop=True)
