"""Libraries that are not always installed."""

from __future__ import annotations

from importlib.util import find_spec

from sarheight.errors import MissingLibraryError

__all__ = ["is_installed", "require"]


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
        msg = (
            f"this needs {', '.join(missing)}, which is not installed; do: "
            f"pip install 'sarheight[{extra}]'"
        )
        raise MissingLibraryError(msg)
