"""Geoid grids, which turn heights above sea level into heights above the ellipsoid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.errors import FetchError
from sarheight.fetch._addresses import plain, safe_name
from sarheight.fetch._checksums import Checksum
from sarheight.fetch._download import Wanted, fetch
from sarheight.fetch._progress import silent
from sarheight.fetch._settings import Settings, named
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    from sarheight.fetch._progress import Report

__all__ = ["geoid"]

GRIDS = {"EGM96": "us_nga_egm96_15.tif", "EGM2008": "us_nga_egm08_25.tif"}


def geoid(
    name: str = "EGM2008",
    *,
    source: str = "proj",
    settings: Settings | None = None,
    progress: Report = silent,
) -> Path:
    """Bring the grid of a geoid into the cache, where `sarheight.dem` finds it.

    Parameters
    ----------
    name : str, optional
        "EGM2008" (Copernicus DEM), "EGM96" (SRTM, NASADEM), or the file name of any grid that
        PROJ offers, such as ``de_bkg_gcg2016.tif``.
    source : str, optional
        Which source of the settings.
    settings : Settings, optional
        Addresses and patience; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    pathlib.Path
        The grid, in the cache, or where PROJ has it already. It is found by its geoid's name from
        now on, in this program and others.

    Raises
    ------
    ValueError
        If there is no such grid.
    ChecksumError
        If it is not what the list of grids announces.
    FetchError
        If it cannot be had.
    """
    settings = settings or Settings.load()
    place = named(settings.geoid, source, "source of geoids")
    grid = safe_name(GRIDS.get(name.upper().replace(" ", ""), name))
    target = settings.cache / "geoid" / grid
    for known in (target, *(Path(folder) / grid for folder in _proj_folders())):
        if known.is_file():
            return known
    web = Web.trusting(settings, place.url, place.list)
    entry = _entry(web.json(place.list), grid, place.list)
    size = entry.get("file_size")
    wanted = Wanted(
        lambda: f"{place.url.rstrip('/')}/{grid}",
        size if isinstance(size, int) else None,
        Checksum.of("sha256", entry.get("sha256sum")),
    )
    return fetch(web, wanted, target, progress)


def _proj_folders() -> list[str]:
    """List the folders where PROJ looks for grids."""
    from pyproj.datadir import get_data_dir, get_user_data_dir  # type: ignore[attr-defined]

    return [*get_data_dir().split(os.pathsep), get_user_data_dir()]


def _entry(listing: object, grid: str, url: str) -> dict[str, Any]:
    """Find a grid in the list of all grids."""
    features = listing.get("features") if isinstance(listing, dict) else None
    if not isinstance(features, list):
        msg = f"{plain(url)} is not a list of grids: is it the right address?"
        raise FetchError(msg)
    for feature in features:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if isinstance(properties, dict) and properties.get("name") == grid:
            return properties
    msg = f"there is no grid {grid!r}, expected {', '.join(GRIDS)} or the name of a grid of PROJ"
    raise ValueError(msg)
