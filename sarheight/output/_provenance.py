"""Provenance of results: software, inputs and settings."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import re
from datetime import UTC, datetime
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import xarray as xr

from sarheight._files import resolve_links, unverified_files, without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping


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
SERVER_FIELDS = ("ETag", "etag", "sha256", "checksum", "LastModified", "mtime")
GDAL_PREFIX = re.compile(r"^(/vsi[a-z0-9]+/)+(?=[a-z0-9]+://)")
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def provenance(
    inputs: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
    *,
    whole: bool = True,
) -> dict[str, Any]:
    """Collect the provenance of a result: what is needed to compute it again.

    Parameters
    ----------
    inputs : mapping, optional
        Inputs by name: paths of files or folders, arrays, xarray objects, or dataclasses of these
        such as an `Orbit`, which are identified by SHA-256. A URL is identified by what its server
        states (size, ETag, time), because its content is not downloaded for this.
    parameters : mapping, optional
        Settings by name. Values that JSON does not have are kept as text, long arrays as checksum.
    whole : bool
        Whether files are read whole for their SHA-256. Of a result of which only parts of large
        files were read, that would take longer than the result: they are identified by their size
        and the SHA-256 of their first and last 4 KiB, ``sha256_ends``.

    Returns
    -------
    dict
        ``created`` (UTC), ``python``, ``platform``, ``software`` (versions by name), ``inputs``
        and ``parameters``; ``unverified``, the files of products of which parts were read without
        comparing their checksums, if there are any. It does not identify the machine or its user:
        files are named without folders, URLs without passwords and signatures. It is JSON: as
        attribute ``provenance`` of a dataset, `write` keeps it in the file, where
        `read_provenance` finds it.

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
    unverified = unverified_files((inputs or {}).values())
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "software": versions | libraries,
        "inputs": {
            str(name): _describe(value, whole=whole) for name, value in (inputs or {}).items()
        },
        "parameters": {str(name): _jsonable(value) for name, value in (parameters or {}).items()},
        **({"unverified": list(unverified)} if unverified else {}),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _describe(value: Any, *, whole: bool = True) -> dict[str, Any]:  # noqa: ANN401  # inputs can be anything
    """Identify an input by its kind, its size and its checksum."""
    if isinstance(value, str) and "://" in value:
        parts = urlsplit(value)
        if parts.scheme == "file":
            return _describe_path(Path(url2pathname(parts.path)), whole=whole)
        return _describe_address(GDAL_PREFIX.sub("", value))
    if isinstance(value, str | os.PathLike):
        return _describe_path(Path(value), whole=whole)
    if isinstance(value, xr.DataArray | xr.Dataset):
        return {"sizes": {str(dim): size for dim, size in value.sizes.items()}} | _sha256(value)
    if isinstance(value, np.ndarray):
        return {"shape": list(value.shape), "dtype": str(value.dtype)} | _sha256(value)
    return {"type": type(value).__qualname__} | _sha256(value)


def _describe_path(path: Path, *, whole: bool) -> dict[str, Any]:
    """Identify a file or folder by name without path, size and SHA-256, of all or of the ends."""
    if not path.exists():
        msg = f"there is no '{path}' to take a checksum of"
        raise FileNotFoundError(msg)
    digest, name = (file_digest, "sha256") if whole else (_ends_digest, "sha256_ends")
    if path.is_file():
        return {"path": path.name, "bytes": path.stat().st_size, name: digest(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    total = hashlib.sha256()
    for file in files:
        total.update(f"{digest(file)}  {file.relative_to(path).as_posix()}\n".encode())
    return {
        "path": resolve_links(path).name,
        "files": len(files),
        "bytes": sum(file.stat().st_size for file in files),
        name: total.hexdigest(),
    }


ENDS = 1 << 12
"""Bytes at each end of a file of which only parts were read."""


def _ends_digest(path: Path) -> str:
    """Return the SHA-256 of the size of a file and of its first and last bytes."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        digest.update(stream.read(ENDS))
        stream.seek(max(size - ENDS, 0))
        digest.update(stream.read(ENDS))
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, read in small parts."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _describe_address(address: str) -> dict[str, Any]:
    """Identify a URL by what its server states, without downloading it."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(address)
    try:
        info = files.info(path)
    except OSError:  # without credentials or network the URL is all that is known
        info = {}
    size = {"bytes": int(info["size"])} if info.get("size") else {}
    stated = {name: str(info[name]) for name in SERVER_FIELDS if info.get(name)}
    return {"path": without_secrets(address)} | size | stated


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
    """Split a value into named parts in a fixed order; None for a single piece."""
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
    """Feed an array to a digest chunk by chunk, so that it need not fit in memory."""
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
