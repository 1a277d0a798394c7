"""Tiles of building data sets, downloaded by their index."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pyproj import CRS, Transformer

from sarheight._files import read_vector
from sarheight._runtime import require
from sarheight.dem.tiles import bounding_boxes
from sarheight.errors import FetchError, NotThereError
from sarheight.fetch.addresses import redact, safe_name
from sarheight.fetch.http import HttpClient
from sarheight.fetch.settings import Settings
from sarheight.fetch.transfer import FileRequest, ensure_file, no_progress, run_parallel

if TYPE_CHECKING:
    from sarheight.dem.tiles import Place
    from sarheight.fetch.transfer import Report

BUILDING_INDEX = "https://data.3dbag.nl/latest/tile_index.fgb"
_EDGE_POINTS = 21


def building_tiles(
    place: Place,
    *,
    index: str = BUILDING_INDEX,
    column: str = "gpkg_download",
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> list[Path]:
    """Download the tiles of a building data set at a place.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    index : str
        A vector file, or its address, with the outline of each tile and its address; by default
        that of 3D BAG, all buildings of the Netherlands (CC BY 4.0).
    column : str
        Attribute with the addresses: ``gpkg_download`` of 3D BAG, for GeoPackages.
    settings : Settings, optional
        Retry policy, accounts and cache; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    list of pathlib.Path
        The tiles, in the cache. Those that were there are not downloaded again.

    Raises
    ------
    NotThereError
        If no tile lies at the place.
    FetchError
        If the index or a tile cannot be downloaded, or the index is of another kind.
    MissingLibraryError
        If the libraries for vector files are not installed.

    References
    ----------
    3D BAG, tile index: `tile_index.fgb`, tiles of GeoPackage with gzip.
    """
    require("geopandas", "pyarrow", extra="vector")
    settings = settings or Settings.load()
    folder, remote = settings.cache / "buildings", "://" in index
    client = HttpClient.trusting(settings, *([index] if remote else []))
    path = Path(index)
    if remote:
        path = folder / safe_name(PurePosixPath(urlsplit(index).path).name)
        if not (settings.offline and path.is_file()):
            # A new release keeps the address of its index and not the content.
            path.unlink(missing_ok=True)
            ensure_file(client, FileRequest(lambda: index), path, progress)
    addresses = _tile_addresses(path, place, column)
    if not addresses:
        msg = f"found no tile at {tuple(place)} in '{redact(index) if remote else index}'"
        raise NotThereError(msg)

    def ensure_tile(address: str, progress: Report) -> Path:
        parts = PurePosixPath(urlsplit(address).path)
        # The first folder is the release: two of them name their tiles alike.
        release = parts.parts[1] if len(parts.parts) > 2 else "tiles"
        target = folder / safe_name(release) / safe_name(parts.name)
        return ensure_file(client, FileRequest(lambda: address), target, progress)

    return run_parallel(ensure_tile, addresses, progress, parallel=settings.limits.parallel)


def _tile_addresses(path: Path, place: Place, column: str) -> list[str]:
    """Return the addresses of the tiles that meet a place."""
    table = read_vector(path, FetchError)
    if column not in table or table.crs is None:
        names = ", ".join(map(str, table.columns))
        msg = f"found the attributes {names} in '{path}', expected {column}, and a reference system"
        raise FetchError(msg)
    to_map = Transformer.from_crs(4326, CRS.from_user_input(table.crs), always_xy=True)
    rows: list[object] = []
    for box in bounding_boxes(place):
        west, south, east, north = to_map.transform_bounds(*box, densify_pts=_EDGE_POINTS)
        rows += list(table.cx[west:east, south:north][column].dropna())
    return sorted(set(map(str, rows)))
