"""Zarr stores of ESA's Earth Observation Processing Framework (EOPF): opened, and their arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from sarheight._files import file_errors, without_secrets
from sarheight.errors import ProductError

if TYPE_CHECKING:
    import os

    import zarr

EXPECTED = "an EOPF store of a Sentinel-1 GRD or SLC"
ROOTS = ("zarr.json", ".zattrs", ".zmetadata")
"""Files with the attributes of a store, in version 3 and 2 of Zarr: early ones are refused."""
DISCOVERY = b'"stac_discovery"'
"""Attribute by which EOPF products are told from other stores."""
LARGEST_ROOT = 64 * 2**20


def is_store(source: str | os.PathLike[str]) -> bool:
    """Return whether a source is, or may be, an EOPF store.

    Parameters
    ----------
    source : str or path
        A path or URL.

    Returns
    -------
    bool
        True for URLs and zips whose names end in ``.zarr`` or ``.zarr.zip``, and for folders that
        hold a Zarr store with the attribute ``stac_discovery``.
    """
    text = str(source)
    if "://" in text:
        return urlsplit(text).path.rstrip("/").lower().endswith((".zarr", ".zarr.zip"))
    path = Path(text).expanduser()
    if path.is_file():
        return path.name.lower().endswith(".zarr.zip")
    for name in ROOTS:
        if (path / name).is_file():
            with (path / name).open("rb") as file:
                if DISCOVERY in file.read(LARGEST_ROOT):
                    return True
    return False


def open_root(source: str, options: dict[str, Any]) -> tuple[zarr.Group, str, Path | None]:
    """Open a store; return its root group, its label, and the folder that holds it."""
    import zarr
    from zarr.storage import FsspecStore, LocalStore, ZipStore

    from sarheight._zarr import check_chunks

    check_chunks()

    if "://" in source:
        label = without_secrets(source)
        if urlsplit(source).path.lower().endswith(".zip"):
            msg = f"{label} is a zipped store on a server: download it and open the copy"
            raise ProductError(msg)
        with file_errors(label, EXPECTED, ProductError):
            remote = FsspecStore.from_url(source, storage_options=options, read_only=True)
            return zarr.open_group(remote, mode="r"), label, None
    path = Path(source).expanduser().absolute()
    if not path.exists():
        msg = f"there is no '{path}'; expected {EXPECTED}"
        raise FileNotFoundError(msg)
    with file_errors(path, EXPECTED, ProductError):
        if path.is_dir():
            # What is there, not what a list of it says.
            local = LocalStore(path, read_only=True)
            return (
                zarr.open_group(local, mode="r", use_consolidated=False),
                str(path),
                path.parent,
            )
        with zipfile.ZipFile(path) as archive:
            roots = [
                PurePosixPath(name).parent
                for name in archive.namelist()
                if PurePosixPath(name).name in {"zarr.json", ".zgroup"}
            ]
        inside = min(roots, key=lambda each: len(each.parts)).as_posix() if roots else "."
        inner = "" if inside == "." else inside
        return (
            zarr.open_group(ZipStore(path, mode="r"), path=inner, mode="r"),
            str(path),
            path.parent,
        )


def dims_of(array: zarr.Array[Any]) -> tuple[str, ...]:
    """Return the names of the dimensions of an array."""
    names = getattr(array.metadata, "dimension_names", None) or ()
    return tuple(str(name) for name in cast("Sequence[str]", names))
