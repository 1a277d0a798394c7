"""Optional libraries, the cache folder, accessors loaded on demand, memory, displays of objects.

rioxarray registers the accessor `rio`, and takes a third as long to import as all that the geometry
needs. A placeholder imports it at first use.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lazy_loader
import numpy as np
import xarray as xr

from sarheight.errors import missing_library, naming_extras

if TYPE_CHECKING:
    from types import ModuleType


def is_installed(module: str) -> bool:
    """Return whether a top-level module is installed, without importing it."""
    return find_spec(module) is not None


def require(*modules: str, extra: str) -> None:
    """Check that the libraries of an extra are installed, without importing them."""
    missing = [name for name in modules if not is_installed(name)]
    if missing:
        raise missing_library(missing, extra)


def library(name: str) -> ModuleType:
    """Import a module of an extra."""
    with naming_extras():
        return importlib.import_module(name)


# The cache of downloads.


def cache_directory() -> Path:
    """Return the folder for downloads, which may not exist yet."""
    own = os.environ.get("SARHEIGHT_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "sarheight"


def cached_geoid(name: str) -> Path | None:
    """Return the path of a geoid grid that was downloaded earlier, or None."""
    path = cache_directory() / "geoid" / Path(name).name
    return path if path.is_file() else None


# The accessor `rio` of xarray objects.

NAME = "rio"


class _Placeholder:
    """Imports rioxarray, which replaces this by its own accessor."""

    def __get__(self, instance: xr.DataArray | xr.Dataset | None, owner: type) -> Any:  # noqa: ANN401
        if instance is None:
            # By this rioxarray finds that the name is free.
            raise AttributeError(NAME)
        import rioxarray  # noqa: F401

        return getattr(instance, NAME)


def provide_rio() -> None:
    """Give DataArrays and Datasets the accessor `rio`."""
    for kind in (xr.DataArray, xr.Dataset):
        if not hasattr(kind, NAME):
            setattr(kind, NAME, _Placeholder())


# Lazy namespaces of rooms.


def lazy_namespace(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Make the public names of a package load at first use."""
    attribute, names, exported = lazy_loader.attach_stub(package, file)

    def load(name: str) -> Any:  # noqa: ANN401  # functions, classes and constants
        with naming_extras():
            return attribute(name)

    return load, names, exported


# Rasters: nodata values, and files in radar geometry, which have no map coordinates.

NODATA_NAMES = ("_FillValue", "missing_value", "nodata")


def nodata_value(variable: xr.DataArray) -> Any:  # noqa: ANN401  # of the variable's type
    """Return the nodata value of a variable.

    Parameters
    ----------
    variable : xarray.DataArray
        Any variable of a result.

    Returns
    -------
    numpy scalar or None
        Of the variable's type: what ``_FillValue``, ``missing_value`` or ``nodata`` says among
        its attributes or in its encoding. Without these NaN for floating-point variables and
        None for others.
    """
    if variable.dtype.kind not in "iuf":
        return None
    for source in (variable.attrs, variable.encoding):
        for name in NODATA_NAMES:
            if source.get(name) is not None:
                return variable.dtype.type(source[name])
    return variable.dtype.type(np.nan) if variable.dtype.kind == "f" else None


@contextmanager
def ignore_missing_georeference() -> Iterator[None]:
    """Silence rasterio's warning about files without georeference; warning filters are global."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


# Memory that arrays have freed.

MALLOPT = {-4: 0, -1: (1 << 31) - 1, -2: 64 << 20, -8: 1}
"""Options of `mallopt` and their values, in the order in which they are set: no block has pages of
its own (M_MMAP_MAX); up to 2 GiB at the end of the heap are kept (M_TRIM_THRESHOLD), which grows by
64 MiB at a time (M_TOP_PAD) and serves all threads (M_ARENA_MAX)."""


def keep_freed_memory() -> None:
    """Tell the GNU C library to keep the memory of freed arrays for the arrays that follow.

    A system clears fresh memory page by page, and a virtual machine may have to ask its host for
    it: for large arrays that takes longer than to compute them. The settings hold for the whole
    process. They are left as they are where the environment has its own (``MALLOC_*`` or
    ``GLIBC_TUNABLES``) or ``SARHEIGHT_KEEP_MEMORY=0``, and with other C libraries.
    """
    if os.environ.get("SARHEIGHT_KEEP_MEMORY") == "0":
        return
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    for option, value in MALLOPT.items():
        mallopt(option, value)


keep_freed_memory()


@cache
def malloc_trim() -> Callable[[int], int] | None:
    """Find the function by which the GNU C library returns memory; None with another one."""
    try:
        function: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return function


def return_freed_memory() -> None:
    """Return the memory of freed arrays to the system, where the C library can do that."""
    trim = malloc_trim()
    if trim is not None:
        trim(0)


# Orbits, radar grids and scenes in a terminal and in a notebook.


class Described:
    """An object that is displayed as its facts: a line each as text, a row each in a notebook."""

    def facts(self) -> dict[str, str]:
        """Return the text of each fact by its name."""
        raise NotImplementedError

    def __repr__(self) -> str:
        facts = (f"{name}: {text}" for name, text in self.facts().items())
        return "\n    ".join((f"<{type(self).__name__}>", *facts))

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows."""
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in self.facts().items()
        )
        return f"<table><caption>{type(self).__name__}</caption>{rows}</table>"
