"""Zarr stores of ESA's Earth Observation Processing Framework (EOPF): opened, and their arrays."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit

import numpy as np

from sarheight._files import file_errors, require_files_within, without_secrets
from sarheight.errors import ProductError

if TYPE_CHECKING:
    import os

    import xarray as xr
    import zarr
    from numpy.typing import NDArray

EXPECTED = "an EOPF store of a Sentinel-1 GRD or SLC"
ROOTS = ("zarr.json", ".zattrs", ".zmetadata")
"""Files with the attributes of a store, in version 3 and 2 of Zarr: early ones are refused."""
DISCOVERY = b'"stac_discovery"'
"""Attribute by which EOPF products are told from other stores."""
LARGEST_ROOT = 64 * 2**20
LARGEST_TABLE = 2**25
"""Values of an array that is read as a whole: those of a geolocation grid are some thousand."""
DECODED = ("units", "calendar", "scale_factor", "add_offset")
SHOWN = 12


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

    from sarheight._zarr import prepare_zarr

    prepare_zarr()

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
            require_files_within(path, ProductError)
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


@dataclass(frozen=True)
class Part:
    """A group with an image, or with a burst of one, in one polarisation."""

    group: str
    index: int  # place along the dimension of polarisations


class EopfStore:
    """An open store, and its tables.

    Parameters
    ----------
    root : zarr.Group
        The store.
    label : str
        Its name in errors.
    folder : Path or None
        The folder that holds it, on a disk.
    """

    def __init__(self, root: zarr.Group, label: str, folder: Path | None) -> None:
        self._root = root
        self.label = label
        self.folder = folder
        self._tables: dict[tuple[Part, str], xr.Dataset] = {}

    def _errors(self) -> Any:  # noqa: ANN401  # a context manager
        return file_errors(self.label, EXPECTED, ProductError)

    def _refuse_early(self, path: str, found: str) -> NoReturn:
        msg = (
            f"{path} in {self.label} has {found}: it is of an early version of ESA's converter; "
            f"expected {EXPECTED} of version 3 or later"
        )
        raise ProductError(msg)

    def _contents(self) -> str:
        """List the groups with arrays, as far as a message holds them."""
        groups: dict[str, None] = {}
        for name, item in self._root.members(max_depth=4):
            if hasattr(item, "shape"):
                groups[name.rpartition("/")[0]] = None
        names = sorted(groups)
        return (
            f"{', '.join(names[:SHOWN])}{' and more' if len(names) > SHOWN else ''}" or "no arrays"
        )

    def _array(self, path: str) -> zarr.Array[Any]:
        return cast("zarr.Array[Any]", self._root[path])

    def _values(self, path: str) -> NDArray[Any]:
        array = self._array(path)
        if array.size > LARGEST_TABLE:
            msg = f"{path} in {self.label} claims {array.size} values, expected a table"
            raise ProductError(msg)
        return np.asarray(array[...])

    def _table(self, part: Part, path: str) -> xr.Dataset:
        """Read the arrays of a group, of one polarisation; none where there is no group."""
        if (part, path) not in self._tables:
            self._tables[part, path] = self._read_table(part, path)
        return self._tables[part, path]

    def _read_table(self, part: Part, path: str) -> xr.Dataset:
        import xarray as xr

        name = f"{part.group}/{path}"
        variables = {}
        group = cast("zarr.Group | None", self._root.get(name))
        for key in () if group is None else sorted(group.array_keys()):
            array = self._array(f"{name}/{key}")
            if array.dtype.kind in "OSUT":
                continue
            attributes = {each: array.attrs[each] for each in DECODED if each in array.attrs}
            if "since" not in str(attributes.get("units", "")):
                attributes.pop("units", None)
            dims, values = dims_of(array), self._values(f"{name}/{key}")
            if "polarization" in dims:
                values = values.take(part.index, axis=dims.index("polarization"))
                dims = tuple(dim for dim in dims if dim != "polarization")
            variables[str(key)] = (dims, values, attributes)
        return xr.decode_cf(xr.Dataset(variables))
