"""DEM tiles of a place, and geoid grids."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rasterio.errors import RasterioError

from sarheight._rasters import open_alone
from sarheight.dem.tiles import bounding_boxes, match_spacing, save_part, sea_tile, tile_corners
from sarheight.errors import ChecksumError, FetchError, NotThereError
from sarheight.fetch.addresses import redact, safe_name
from sarheight.fetch.catalogues import mapping
from sarheight.fetch.http import HttpClient
from sarheight.fetch.remote import RemoteImage
from sarheight.fetch.settings import DemSource, Settings, fill, lookup
from sarheight.fetch.transfer import (
    Checksum,
    FileRequest,
    ensure_file,
    no_progress,
    run_parallel,
    unpack,
)

if TYPE_CHECKING:
    from sarheight.dem.tiles import Box, Place
    from sarheight.fetch.transfer import Report

GRIDS = {"EGM96": "us_nga_egm96_15.tif", "EGM2008": "us_nga_egm08_25.tif"}

_FIELDS = ("ns", "lat", "ew", "lon")
_HGT_BYTES = {2 * rows * columns for rows in (1201, 3601) for columns in (1201, 1801, 3601)}


# --- tiles of one degree -----------------------------------------------------------------------


@dataclass(frozen=True, order=True)
class Tile:
    """A cell of one degree, by its south-west corner."""

    latitude: int
    longitude: int

    @property
    def name(self) -> str:
        """The tile as SRTM names it, such as N46E008."""
        return self.address("{ns}{lat:02d}{ew}{lon:03d}")

    def address(self, template: str) -> str:
        """Fill in the address of the tile; ValueError if the template has other fields."""
        return fill(
            template,
            ns="N" if self.latitude >= 0 else "S",
            lat=abs(self.latitude),
            ew="E" if self.longitude >= 0 else "W",
            lon=abs(self.longitude),
        )

    def file_name(self, template: str) -> str:
        """Name the file as its address does, unless other tiles have that name too."""
        last = template.partition("?")[0].rpartition("/")[2]
        name = safe_name(self.address(template).partition("?")[0].rpartition("/")[2])
        unique = all(f"{{{each}" in last for each in _FIELDS)
        return name if unique else f"{self.name}_{name}"


# --- the DEM of a place ------------------------------------------------------------------------


@dataclass(frozen=True)
class DemTiles:
    """The files of a DEM, as `sarheight.dem.open_dem` takes them.

    Parameters
    ----------
    paths : tuple of path
        Tiles on grids that fit together.
    vertical : str, optional
        The reference surface of their heights, to be passed on as `vertical`.
    sea : tuple of str
        Tiles that the source does not have because there is only sea: these are in `paths`, at
        height zero above the geoid.
    missing : tuple of str
        Tiles that the source lists and does not have: these are not in `paths`.
    """

    paths: tuple[Path, ...]
    vertical: str | None
    sea: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def dem(
    bounds: Place,
    directory: str | os.PathLike[str] | None = None,
    *,
    model: str = "glo30",
    windows: bool = False,
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> DemTiles:
    """Download a DEM for a place.

    Parameters
    ----------
    bounds : sequence of float
        (west, south, east, north) in degrees. Across the antimeridian, either west > east or
        east > 180.
    directory : path, optional
        Folder for the tiles; ``dem`` in the cache by default.
    model : str, optional
        "glo30" or "glo90" (Copernicus DEM), "srtm" (1 arc second, between 56 S and 60 N), one of
        your settings, or the address of your own tiles of one degree (GeoTIFF), such as
        ``https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif``.
    windows : bool, optional
        Download only the cells within `bounds`, with one more around, instead of whole tiles. Much
        less for a small place; whole tiles serve the neighbouring places as well.
    settings : Settings, optional
        Sources, limits and retry policy; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    DemTiles
        Paths, and the reference surface of the heights:
        ``open_dem(found.paths, vertical=found.vertical, bounds=bounds)``.

    Raises
    ------
    ValueError
        If the place or the model makes no sense, or the model does not reach there.
    NotThereError
        If the source has no tile there at all, or withholds one on land.
    ChecksumError
        If a tile is not a GeoTIFF (SRTM: not a zip with a file of heights).
    DamagedFileError
        If a tile that was downloaded before is not a GeoTIFF.
    FetchError
        If tiles cannot be downloaded.
    """
    settings = settings or Settings.load()
    source = DemSource(model) if "{" in model else lookup(settings.dem, model, "DEM")
    tiles = [Tile(*corner) for corner in tile_corners(bounds)]
    if len(tiles) > settings.limits.tiles:
        msg = (
            f"the place spans {len(tiles)} tiles of one degree, more than {settings.limits.tiles} "
            "(tiles under [limits] in the settings): is the order (west, south, east, north)?"
        )
        raise ValueError(msg)
    if any(not source.south <= tile.latitude < source.north for tile in tiles):
        msg = (
            f"the DEM {model} reaches from latitude {source.south} to {source.north}, and the "
            "place lies partly beyond: use glo30"
        )
        raise ValueError(msg)
    name = model if "{" not in model else hashlib.sha256(model.encode()).hexdigest()[:12]
    folder = Path(directory) if directory is not None else settings.cache / "dem" / name
    return _Download(source, model, folder, settings, progress).run(tiles, bounds, windows=windows)


@dataclass(frozen=True)
class _Download:
    """A DEM of the settings, and the folder for its tiles."""

    source: DemSource
    model: str
    folder: Path
    settings: Settings
    progress: Report

    @cached_property
    def client(self) -> HttpClient:
        """The network, with the addresses of the settings trusted."""
        return HttpClient.trusting(self.settings, self.source.url, self.source.list or "")

    def run(self, tiles: list[Tile], bounds: Place, *, windows: bool) -> DemTiles:
        """Download all tiles, several at a time, and complete them over the sea."""
        land, sea = self._split_sea(tiles)
        boxes = bounding_boxes(bounds) if windows else ()
        found = run_parallel(
            lambda tile, progress: self._tile(tile, boxes, progress),
            land,
            self.progress,
            parallel=self.settings.limits.parallel,
        )
        missing = tuple(tile.name for tile, paths in zip(land, found, strict=True) if paths is None)
        paths = [path for each in found if each is not None for path in each]
        if not paths and not sea:
            msg = f"the DEM {self.model} has no tile there: {_names(tiles)}"
            raise NotThereError(msg)
        like = paths[0] if paths else None
        for tile in sea:
            corner = tile.latitude, tile.longitude
            path = self.folder / f"{tile.name}_sea.tif"
            paths.append(sea_tile(path, corner, self.source.rows, like))
        fitting = tuple(match_spacing(paths, self.folder))
        return DemTiles(fitting, self.source.vertical, tuple(tile.name for tile in sea), missing)

    def _split_sea(self, tiles: list[Tile]) -> tuple[list[Tile], list[Tile]]:
        """Split tiles into those that exist and those that do not because there is only sea."""
        if self.source.list is None or not self.source.rows:
            return tiles, []
        existing = self._list(self.source, self.model)
        land = [tile for tile in tiles if _stem(tile, self.source) in existing]
        rest = [tile for tile in tiles if tile not in land]
        if rest and self.source.land is not None:
            complete = lookup(self.settings.dem, self.source.land, "DEM")
            known = self._list(complete, self.source.land)
            withheld = [tile for tile in rest if _stem(tile, complete) in known]
            if withheld:
                msg = (
                    f"the DEM {self.model} withholds {_names(withheld)}, which are on land: use "
                    f"{self.source.land} for this place"
                )
                raise NotThereError(msg)
        return land, rest

    def _list(self, source: DemSource, name: str) -> frozenset[str]:
        """Return the names of all tiles of a DEM, from the cache where they are there."""
        url = source.list or ""
        client = HttpClient.trusting(self.settings, url)
        path = self.settings.cache / "dem" / f"{name}-tiles.txt"
        request = FileRequest(lambda: url, limit="reply_bytes")
        text = ensure_file(client, request, path, self.progress).read_text("utf-8", "replace")
        if not text.strip():
            path.unlink(missing_ok=True)
            msg = f"{url} lists no tiles: is it the right address?"
            raise FetchError(msg)
        return frozenset(text.split())

    def _tile(self, tile: Tile, boxes: tuple[Box, ...], progress: Report) -> list[Path] | None:
        """Download a tile, or its cells in some boxes; None where the source does not have it."""
        url = tile.address(self.source.url)
        zipped = url.lower().endswith(".zip")
        path = self.folder / (f"{tile.name}.hgt" if zipped else tile.file_name(self.source.url))

        def prepare(partial: Path) -> None:
            if zipped:
                unpack(partial, ".hgt", self.settings.limits)
            if path.suffix != ".hgt":
                require_geotiff(partial, url)
            elif partial.stat().st_size not in _HGT_BYTES:
                msg = f"{redact(url)} holds no heights of SRTM, by its size"
                raise ChecksumError(msg)

        try:
            if boxes and not zipped:
                found = [self._window(tile, url, box) for box in boxes]
                return [part for part in found if part is not None]
            request = FileRequest(lambda: url, prepare=prepare)
            return [ensure_file(self.client, request, path, progress)]
        except NotThereError:
            return None

    def _window(self, tile: Tile, url: str, box: Box) -> Path | None:
        """Download the cells of a tile in a box, as a tile of its own; only their blocks."""
        west, south = max(box[0], tile.longitude), max(box[1], tile.latitude)
        east, north = min(box[2], tile.longitude + 1), min(box[3], tile.latitude + 1)
        if west > east or south > north:
            return None
        inside = (west, south, east, north)
        edges = "_".join(f"{value:.5f}".replace("-", "m") for value in inside)
        path = self.folder / f"{tile.name}_{edges}.tif"
        if path.is_file():
            return path
        try:
            with RemoteImage(self.client, url).open() as raster:
                found = save_part(raster, inside, path, f"part of {redact(url)}")
        except RasterioError:
            msg = f"{redact(url)} could not be read in part: try again, or without windows"
            raise FetchError(msg) from None
        return path if found else None


def _stem(tile: Tile, source: DemSource) -> str:
    """Return the name of a tile in the list of its DEM."""
    return tile.address(source.url).rpartition("/")[2].partition(".")[0]


def _names(tiles: list[Tile]) -> str:
    return ", ".join(tile.name for tile in tiles)


# --- files of tiles ----------------------------------------------------------------------------


def require_geotiff(path: Path, url: str) -> None:
    """Raise ChecksumError unless a downloaded file is a GeoTIFF, whatever its name says."""
    try:
        open_alone(path).close()
    except RasterioError:
        msg = f"{redact(url)} is not a GeoTIFF; it was removed"
        raise ChecksumError(msg) from None


# --- geoid grids -------------------------------------------------------------------------------


def geoid(
    name: str = "EGM2008",
    *,
    source: str = "proj",
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> Path:
    """Download the grid of a geoid into the cache, where `sarheight.dem` finds it.

    Parameters
    ----------
    name : str, optional
        "EGM2008" (Copernicus DEM), "EGM96" (SRTM, NASADEM), or the file name of any grid that
        PROJ offers, such as ``de_bkg_gcg2016.tif``.
    source : str, optional
        Which source of the settings.
    settings : Settings, optional
        Sources and retry policy; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    pathlib.Path
        The grid, in the cache, or where PROJ has it already. From now on it is found by its
        geoid's name, in this program and others.

    Raises
    ------
    ValueError
        If there is no such grid.
    ChecksumError
        If it is not what the list of grids announces, or not a GeoTIFF.
    FetchError
        If it cannot be downloaded.
    """
    from pyproj.datadir import get_data_dir, get_user_data_dir  # type: ignore[attr-defined]

    settings = settings or Settings.load()
    place = lookup(settings.geoid, source, "source of geoids")
    grid = safe_name(GRIDS.get(name.upper().replace(" ", ""), name))
    target = settings.cache / "geoid" / grid
    folders = [*get_data_dir().split(os.pathsep), get_user_data_dir()]
    for known in (target, *(Path(folder) / grid for folder in folders)):
        if known.is_file():
            return known
    client = HttpClient.trusting(settings, place.url, place.list)
    entry = _grid_entry(client.get_json(place.list), grid, place.list)
    url, size = f"{place.url.rstrip('/')}/{grid}", entry.get("file_size")
    request = FileRequest(
        lambda: url,
        size if isinstance(size, int) else None,
        Checksum.parse("sha256", entry.get("sha256sum")),
        lambda path: require_geotiff(path, url),
    )
    return ensure_file(client, request, target, progress)


def _grid_entry(listing: object, grid: str, url: str) -> Mapping[str, Any]:
    """Find a grid in the list of all grids."""
    features = mapping(listing).get("features")
    if not isinstance(features, list):
        msg = f"{redact(url)} is not a list of grids: is it the right address?"
        raise FetchError(msg)
    for feature in features:
        properties = mapping(mapping(feature).get("properties"))
        if properties.get("name") == grid:
            return properties
    msg = f"there is no grid {grid!r}, expected {', '.join(GRIDS)} or the name of a grid of PROJ"
    raise ValueError(msg)
