"""The record of where a result comes from, read back from its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

__all__ = ["provenance_of"]


def provenance_of(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read where a result comes from, whatever its format; its data are not read.

    Parameters
    ----------
    path : path-like
        What `write` has written, pictures included.

    Returns
    -------
    dict
        What `provenance` returned when the result was made.

    Raises
    ------
    FileNotFoundError
        When there is nothing of that name.
    ValueError
        When the format is unknown, or the file does not say where it comes from.
    OSError
        When the file is damaged.
    """
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        msg = f"cannot read '{path}' as a result: expected a name in {', '.join(READERS)}"
        raise ValueError(msg)
    if not path.exists():
        msg = f"there is no '{path}'"
        raise FileNotFoundError(msg)
    text = reader(path).get("provenance")
    if text is None:
        msg = (
            f"'{path}' does not say where it comes from; results do that were written with the "
            "attribute 'provenance', as the command line does"
        )
        raise ValueError(msg)
    record: dict[str, Any] = json.loads(str(text))
    return record


def _of_geotiff(path: Path) -> Mapping[str, Any]:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        # A file in radar geometry has no map grid.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path) as file:
            tags: dict[str, str] = file.tags()
    return tags


def _of_netcdf(path: Path) -> Mapping[str, Any]:
    import netCDF4

    with netCDF4.Dataset(path) as file:
        return {name: file.getncattr(name) for name in file.ncattrs()}


def _of_zarr(path: Path) -> Mapping[str, Any]:
    import zarr

    return dict(zarr.open_group(path, mode="r").attrs)


def _of_picture(path: Path) -> Mapping[str, Any]:
    from PIL import Image

    with Image.open(path) as picture:
        return {str(name): text for name, text in picture.info.items()}


READERS: dict[str, Callable[[Path], Mapping[str, Any]]] = {
    ".tif": _of_geotiff,
    ".tiff": _of_geotiff,
    ".nc": _of_netcdf,
    ".zarr": _of_zarr,
    ".png": _of_picture,
}
