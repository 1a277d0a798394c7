"""Tiles of large sets of buildings, such as 3D BAG's."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyproj import CRS, Transformer

from sarheight._runtime import library, require
from sarheight.errors import FetchError, NotThereError
from sarheight.fetch._addresses import plain, safe_name
from sarheight.fetch._download import Wanted, download_file, fetch
from sarheight.fetch._progress import silent
from sarheight.fetch._query import boxes
from sarheight.fetch._settings import Settings
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    from sarheight.fetch._progress import Report
    from sarheight.fetch._query import Place

__all__ = ["building_tiles"]

POINTS_PER_SIDE = 21
INDEX = "https://data.3dbag.nl/latest/tile_index.fgb"


def building_tiles(
    place: Place,
    *,
    index: str = INDEX,
    column: str = "cj_download",
    settings: Settings | None = None,
    progress: Report = silent,
) -> list[Path]:
    """Bring the tiles of a set of buildings at a place.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    index : str
        A vector file, or its address, with the outline of each tile and its address; by default
        that of 3D BAG, all buildings of the Netherlands (CC BY 4.0).
    column : str
        Attribute with the addresses: ``cj_download`` of 3D BAG for CityJSON, ``gpkg_download`` for
        GeoPackage.
    settings : Settings, optional
        Patience, accounts and cache; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    list of pathlib.Path
        The tiles, in the cache. Those that were there are not brought again.

    Raises
    ------
    NotThereError
        If no tile lies at the place.
    FetchError
        If the list or a tile cannot be had, or the list is of another kind.
    MissingLibraryError
        If the libraries for vector files are not installed.

    References
    ----------
    3D BAG, tile index: `tile_index.fgb`, tiles of CityJSON with gzip.
    """
    require("geopandas", "pyarrow", extra="vector")
    settings = settings or Settings.load()
    folder = settings.cache / "buildings"
    path = Path(index)
    if "://" in index:
        path = folder / safe_name(PurePosixPath(urlsplit(index).path).name)
        if not (settings.offline and path.is_file()):
            # A new release keeps the address of its list and not the content.
            path.unlink(missing_ok=True)
            download_file(index, path, settings=settings, progress=progress)
    web = Web.trusting(settings, index) if "://" in index else Web.trusting(settings)
    addresses = _addresses(path, place, column)
    if not addresses:
        msg = f"found no tile at {tuple(place)} in '{plain(index) if '://' in index else index}'"
        raise NotThereError(msg)
    found = []
    for address in addresses:
        parts = PurePosixPath(urlsplit(address).path)
        # Two releases name their tiles alike.
        target = folder / safe_name(_release(parts)) / safe_name(parts.name)
        found.append(fetch(web, Wanted(lambda url=address: url), target, progress))  # type: ignore[misc]
    return found


def _release(path: PurePosixPath) -> str:
    """Return the first folder of an address, or a word where there is none."""
    return path.parts[1] if len(path.parts) > 2 else "tiles"


def _addresses(path: Path, place: Place, column: str) -> list[str]:
    """Return the addresses of the tiles that meet a place."""
    geopandas = library("geopandas", extra="vector")
    errors = library("pyogrio.errors", extra="vector")
    try:
        table = geopandas.read_file(path)
    except (errors.DataSourceError, OSError, ValueError) as error:
        msg = f"'{path}' is no vector file with a list of tiles ({error})"
        raise FetchError(msg) from error
    if column not in table or table.crs is None:
        names = ", ".join(map(str, table.columns))
        msg = f"found the attributes {names} in '{path}', expected {column}, and a reference system"
        raise FetchError(msg)
    to_map = Transformer.from_crs(4326, CRS.from_user_input(table.crs), always_xy=True)
    rows = []
    for box in boxes(place):
        west, south, east, north = to_map.transform_bounds(*box, densify_pts=POINTS_PER_SIDE)
        rows += list(table.cx[west:east, south:north][column].dropna())
    return sorted(set(map(str, rows)))
