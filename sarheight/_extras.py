"""Libraries that are not always installed."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

from sarheight.errors import MissingLibraryError

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["is_installed", "library", "require"]


def is_installed(module: str) -> bool:
    """Tell whether a top-level module is there, without loading it."""
    return find_spec(module) is not None


def require(*modules: str, extra: str) -> None:
    """Check that the libraries of an extra are there, without loading them.

    Parameters
    ----------
    *modules : str
        Top-level modules.
    extra : str
        The extra that installs them.

    Raises
    ------
    MissingLibraryError
        If one is missing.
    """
    missing = [name for name in modules if not is_installed(name)]
    if missing:
        raise MissingLibraryError(_advice(missing, extra))


def library(name: str, *, extra: str) -> ModuleType:
    """Load a module of an extra where it is used.

    Parameters
    ----------
    name : str
        The module, with dots.
    extra : str
        The extra that installs it.

    Returns
    -------
    module

    Raises
    ------
    MissingLibraryError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MissingLibraryError(_advice([name.partition(".")[0]], extra)) from error


def _advice(missing: list[str], extra: str) -> str:
    return (
        f"this needs {', '.join(missing)}, which is not installed; do: "
        f"pip install 'sarheight[{extra}]'"
    )
