"""Where a result comes from: programs, inputs and settings."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
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


# Where a result comes from: programs, inputs and settings, in a form that JSON can hold.

PACKAGES = (
    "sarheight",
    "numpy",
    "scipy",
    "numba",
    "xarray",
    "dask",
    "rioxarray",
    "rasterio",
    "pyproj",
)
LARGEST_LIST = 64
SERVER_SAYS = ("ETag", "etag", "sha256", "checksum", "LastModified", "mtime")
GDAL_PREFIX = re.compile(r"^(/vsi[a-z0-9]+/)+(?=[a-z0-9]+://)")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def provenance(
    inputs: Mapping[str, Any] | None = None, parameters: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Collect what is needed to make a result again.

    Parameters
    ----------
    inputs : mapping, optional
        By name what the result was made from: paths of files or folders, arrays, xarray objects,
        or dataclasses of these such as an `Orbit`. Of each the SHA-256 is taken. Of a URL, what
        its server says is kept instead (size, ETag, time): its content is not fetched for this.
    parameters : mapping, optional
        By name the settings. What JSON does not know is told as text; long arrays by checksum.

    Returns
    -------
    dict
        ``created`` (UTC), ``python``, ``platform``, ``software`` (versions by name), ``inputs``
        and ``parameters``. Nothing in it tells whose machine it was: files are named without
        their folders, URLs without passwords and signatures. `json.dumps` takes it; `write` does
        so when it is an attribute of the dataset, and `read_provenance` reads it from the file.

    Raises
    ------
    FileNotFoundError
        When an input is a path with nothing there.

    Examples
    --------
    >>> record = provenance({"dem": np.zeros((2, 2))}, {"method": "one-step"})
    >>> record["parameters"]
    {'method': 'one-step'}
    >>> record["inputs"]["dem"]["shape"]
    [2, 2]
    """
    import pyproj
    import rasterio

    versions = {name: _version(name) for name in PACKAGES}
    libraries = {"GDAL": rasterio.__gdal_version__, "PROJ": pyproj.proj_version_str}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "software": versions | libraries,
        "inputs": {str(name): _describe(value) for name, value in (inputs or {}).items()},
        "parameters": {str(name): _jsonable(value) for name, value in (parameters or {}).items()},
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _describe(value: Any) -> dict[str, Any]:  # noqa: ANN401  # inputs can be anything
    """Identify an input by its kind, its size and its checksum."""
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        if parts.scheme == "file":
            return _describe_path(Path(url2pathname(parts.path)))
        return _describe_address(GDAL_PREFIX.sub("", value))
    if isinstance(value, str | os.PathLike):
        return _describe_path(Path(value))
    if isinstance(value, xr.DataArray | xr.Dataset):
        return {"sizes": {str(dim): size for dim, size in value.sizes.items()}} | _sha256(value)
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype)} | _sha256(value)
    return {"type": type(value).__qualname__} | _sha256(value)


def _describe_path(path: Path) -> dict[str, Any]:
    """Identify a file or folder by its name, not by where it lies on this machine."""
    if not path.exists():
        msg = f"there is no '{path}' to take a checksum of"
        raise FileNotFoundError(msg)
    if path.is_file():
        return {
            "path": path.name,
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
    files = sorted(file for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file_digest(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return {
        "path": path.resolve().name,
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": total.hexdigest(),
    }


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in small parts."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _describe_address(address: str) -> dict[str, Any]:
    """Identify a file elsewhere by its address and by what its server says of it.

    Its content is not fetched: often only a small part of it is needed.
    """
    from fsspec.core import url_to_fs

    files, path = url_to_fs(address)
    try:
        found = files.info(path)
    except OSError:  # without credentials or network it can still be named
        found = {}
    kept = {name: found[name] for name in SERVER_SAYS if found.get(name)}
    size = {"bytes": int(found["size"])} if found.get("size") else {}
    return {"path": public_address(address)} | size | {k: str(v) for k, v in kept.items()}


def public_address(address: str) -> str:
    """Strip an address of what may be secret: user, password, and signature."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _sha256(value: Any) -> dict[str, str]:  # noqa: ANN401
    digest = hashlib.sha256()
    _update(digest, value)
    return {"sha256": digest.hexdigest()}


def _update(digest: Any, value: Any) -> None:  # noqa: ANN401  # hashlib's objects have no type
    """Feed a value to a digest: arrays as little-endian bytes, the rest as text."""
    digest.update(f"{type(value).__qualname__}\n".encode())
    if isinstance(value, np.ndarray | xr.DataArray):
        _update_array(digest, value)
    parts = _parts(value)
    if parts is None:
        digest.update(f"{_text(value)}\n".encode())
        return
    for name, part in parts:
        digest.update(f"{name}\n".encode())
        _update(digest, part)


def _parts(value: Any) -> list[tuple[str, Any]] | None:  # noqa: ANN401
    """Take a value apart, in an order that does not depend on how it was put together.

    None for what is a single piece.
    """
    if isinstance(value, xr.DataArray | xr.Dataset):
        coordinates: dict[str, Any] = {
            str(name): value[name].variable.values for name in value.coords
        }
        coordinates |= {f"{name}.crs": value[name].attrs.get("crs_wkt") for name in value.coords}
        variables = value.data_vars if isinstance(value, xr.Dataset) else {}
        named = coordinates | {str(name): variables[name] for name in variables}
        return [(name, named[name]) for name in sorted(named)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return [(str(name), value[name]) for name in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        return [(str(index), item) for index, item in enumerate(value)]
    return [] if isinstance(value, np.ndarray) else None


def _update_array(digest: Any, array: np.ndarray[Any, Any] | xr.DataArray) -> None:  # noqa: ANN401
    """Feed an array slab by slab, so that a dask-backed one never has to fit in memory."""
    digest.update(f"{array.dtype.newbyteorder('<')} {array.shape}\n".encode())
    lengths = array.chunks[0] if isinstance(array, xr.DataArray) and array.chunks else ()
    edges = np.cumsum((0, *lengths)).tolist()
    for start, stop in pairwise(edges) if lengths else [(None, None)]:
        values = np.asarray(array[start:stop] if array.ndim else array)
        if values.dtype.kind in "iufc":
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            digest.update(np.ascontiguousarray(little))
        else:
            digest.update("".join(f"{item}\n" for item in values.ravel().tolist()).encode())


def _jsonable(value: Any) -> Any:  # noqa: ANN401, PLR0911  # a line for each kind
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, os.PathLike):
        return Path(value).name
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else str(value)
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, np.ndarray) and value.size <= LARGEST_LIST:
        return _jsonable(value.tolist())
    if isinstance(value, np.ndarray | xr.DataArray | xr.Dataset):
        return _describe(value)
    if isinstance(value, dict):
        return {str(name): _jsonable(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {"type": type(value).__qualname__} | {
            name: _jsonable(item) for name, item in fields.items()
        }
    return _text(value)


def _text(value: Any) -> str:  # noqa: ANN401
    """Return the text of a value without addresses in memory, which differ from run to run."""
    return ADDRESS.sub("", str(value))
