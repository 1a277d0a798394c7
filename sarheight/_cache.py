"""Where files that were fetched are kept."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_directory", "cached_geoid"]


def cache_directory() -> Path:
    """Return the folder for fetched files, which may not exist yet.

    Returns
    -------
    pathlib.Path
        What the environment variable ``SARHEIGHT_CACHE`` names; else ``sarheight`` in
        ``XDG_CACHE_HOME``; else ``~/.cache/sarheight``.
    """
    own = os.environ.get("SARHEIGHT_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "sarheight"


def cached_geoid(name: str) -> Path | None:
    """Return the path of a geoid grid that was fetched earlier, or None.

    Parameters
    ----------
    name : str
        File name of the grid, such as ``us_nga_egm96_15.tif``.
    """
    path = cache_directory() / "geoid" / Path(name).name
    return path if path.is_file() else None
