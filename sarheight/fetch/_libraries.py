"""The libraries of the extra `fetch`, loaded where they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from sarheight.errors import MissingLibraryError

if TYPE_CHECKING:
    from types import ModuleType


def library(name: str) -> ModuleType:
    """Load a library.

    Raises
    ------
    MissingLibraryError
        If it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0].replace("_", "-")
        msg = f"fetching needs the library {package}, install it by: pip install 'sarheight[fetch]'"
        raise MissingLibraryError(msg) from error
