"""DEM tiles of a place, and geoid grids."""

from __future__ import annotations

import hashlib
import math
import os
import string
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sarheight.errors import ChecksumError, FetchError, NotThereError
from sarheight.fetch.addresses import redact, safe_name
from sarheight.fetch.catalogues import bounding_boxes
from sarheight.fetch.http import HttpClient
from sarheight.fetch.settings import DemSource, Settings, lookup
from sarheight.fetch.transfer import (
    Checksum,
    FileRequest,
    ensure_file,
    no_progress,
    run_parallel,
    unpack,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from sarheight.fetch.catalogues import Box, Place
    from sarheight.fetch.transfer import Report

GRIDS = {"EGM96": "us_nga_egm96_15.tif", "EGM2008": "us_nga_egm08_25.tif"}

_FIELDS = {"ns", "lat", "ew", "lon"}
_HGT_BYTES = {2 * rows * columns for rows in (1201, 3601) for columns in (1201, 1801, 3601)}
_SAME = 1e-3
"""Spacings that differ by less than this fraction are the same."""
_STRETCH = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
"""Up to which latitude the cells of a Copernicus DEM are how many times wider than high, degrees.

Reference: Copernicus DEM Product Handbook, table of pixel spacings by latitude.
"""


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
        found = {each[1] for each in string.Formatter().parse(template) if each[1] is not None}
        if not found or not found <= _FIELDS:
            msg = (
                f"the address of the DEM holds the fields {sorted(found)}, expected such as "
                "https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif"
            )
            raise ValueError(msg)
        return template.format(
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

    def columns(self, rows: int) -> int:
        """Count the columns of the tile in a Copernicus DEM: fewer towards the poles."""
        nearest = min(abs(self.latitude), abs(self.latitude + 1))
        return round(rows / next(factor for limit, factor in _STRETCH if nearest < limit))


def tiles_of(bounds: Place) -> list[Tile]:
    """List the tiles that meet a place, from south-west to north-east."""

    def degrees(first: float, last: float, least: int, most: int) -> range:
        # Those with more than a single point of the span, or the point itself.
        low = min(max(math.floor(first), least), most)
        return range(low, min(max(math.ceil(last) - 1, low), most) + 1)

    return sorted(
        {
            Tile(latitude, longitude)
            for west, south, east, north in bounding_boxes(bounds)
            for latitude in degrees(south, north, -90, 89)
            for longitude in degrees(west, east, -180, 179)
        }
    )


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
    FetchError
        If tiles cannot be downloaded.
    """
    settings = settings or Settings.load()
    source = DemSource(model) if "{" in model else lookup(settings.dem, model, "DEM")
    tiles = tiles_of(bounds)
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
        paths += [_sea_tile(self.folder, tile, self.source.rows or 0, like) for tile in sea]
        fitting = tuple(_match_spacing(paths, self.folder))
        return DemTiles(fitting, self.source.vertical, tuple(tile.name for tile in sea), missing)

    def _split_sea(self, tiles: list[Tile]) -> tuple[list[Tile], list[Tile]]:
        """Split tiles into those that exist and those that do not because there is only sea."""
        if self.source.list is None or self.source.rows is None:
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
        if boxes and not zipped:
            self.client.check(url)
            found = [self._window(tile, url, box) for box in boxes]
            return [path for path in found if path is not None]
        path = self.folder / (f"{tile.name}.hgt" if zipped else tile.file_name(self.source.url))

        def prepare(partial: Path) -> None:
            if zipped:
                unpack(partial, ".hgt", self.settings.limits)
            if path.suffix != ".hgt":
                require_geotiff(partial, url)
            elif partial.stat().st_size not in _HGT_BYTES:
                msg = f"{redact(url)} holds no heights of SRTM, by its size"
                raise ChecksumError(msg)

        request = FileRequest(lambda: url, prepare=prepare)
        try:
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
        network = self.settings.network
        options = {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
            "GDAL_HTTP_MAX_RETRY": network.tries,
            "GDAL_HTTP_RETRY_DELAY": network.backoff,
            "GDAL_HTTP_CONNECTTIMEOUT": math.ceil(network.connect_timeout),
            "GDAL_HTTP_LOW_SPEED_TIME": math.ceil(network.read_timeout),
            "GDAL_HTTP_LOW_SPEED_LIMIT": 1,
        }
        try:
            with rasterio.Env(**options), _open_tile(f"/vsicurl/{url}") as raster:
                window = _cells(raster.transform, raster.shape, inside)
                if window is None:
                    return None
                heights = _heights(raster, window)
                transform = raster.transform @ Affine.translation(window.col_off, window.row_off)
                crs = raster.crs
        except RasterioError:
            msg = f"{redact(url)} could not be read in part: try again, or without windows"
            raise FetchError(msg) from None
        return _write_tile(path, heights, transform, crs, f"part of {redact(url)}")


def _stem(tile: Tile, source: DemSource) -> str:
    """Return the name of a tile in the list of its DEM."""
    return tile.address(source.url).rpartition("/")[2].partition(".")[0]


def _names(tiles: list[Tile]) -> str:
    return ", ".join(tile.name for tile in tiles)


# --- files of tiles ----------------------------------------------------------------------------


def _open_tile(path: Path | str) -> Any:  # noqa: ANN401  # of rasterio
    """Open a tile by one driver: others, such as VRT, read the local files that a tile names."""
    driver = "SRTMHGT" if str(path).endswith(".hgt") else "GTiff"
    return rasterio.open(path, driver=driver)


def require_geotiff(path: Path, url: str) -> None:
    """Raise ChecksumError unless a downloaded file is a GeoTIFF, whatever its name says."""
    try:
        rasterio.open(path, driver="GTiff").close()
    except RasterioError:
        msg = f"{redact(url)} is not a GeoTIFF; it was removed"
        raise ChecksumError(msg) from None


def _heights(raster: Any, window: Window | None = None) -> npt.NDArray[np.float32]:  # noqa: ANN401
    """Read the heights of a tile, NaN where there are none."""
    heights = raster.read(1, window=window, masked=True).astype(np.float32)
    return np.asarray(heights.filled(np.nan), dtype=np.float32)


def _cells(transform: Affine, shape: tuple[int, int], box: Box) -> Window | None:
    """Find the cells that meet a box, with one more on each side."""
    west, south, east, north = box
    left = max(0, math.floor((west - transform.c) / transform.a) - 1)
    right = min(shape[1], math.ceil((east - transform.c) / transform.a) + 1)
    top = max(0, math.floor((north - transform.f) / transform.e) - 1)
    bottom = min(shape[0], math.ceil((south - transform.f) / transform.e) + 1)
    if right <= left or bottom <= top:
        return None
    return Window(left, top, right - left, bottom - top)


def _sea_tile(folder: Path, tile: Tile, rows: int, like: Path | None) -> Path:
    """Write a tile at sea level on the grid of a Copernicus DEM, in the CRS of another tile.

    Cell centres lie on the degree lines in the north and west of a tile, so its edge lies half a
    cell beyond.
    """
    path = folder / f"{tile.name}_sea.tif"
    if path.is_file():
        return path
    columns = tile.columns(rows)
    dy, dx = 1.0 / rows, 1.0 / columns
    transform = Affine(dx, 0.0, tile.longitude - 0.5 * dx, 0.0, -dy, tile.latitude + 1 + 0.5 * dy)
    crs = CRS.from_epsg(4326)
    if like is not None:
        with _open_tile(like) as raster:
            crs = raster.crs
    heights = np.zeros((rows, columns), dtype=np.float32)
    return _write_tile(path, heights, transform, crs, "no tile: sea level")


def _match_spacing(paths: list[Path], folder: Path) -> list[Path]:
    """Interpolate tiles to the finest spacing in longitude among them.

    The Copernicus DEM has fewer columns beyond 50, 60, 70, 80 and 85 degrees; tiles on the two
    sides of such a line do not fit together. Those with fewer columns are interpolated linearly
    along their rows, which lie where those of the others do, up to the first column of the next
    tile in the east. Where there is none, the last value continues for the rest of a cell.
    """
    places = [_corner(path) for path in paths]
    finest = min(step for step, *_ in places)
    by_corner = dict(zip((place[:3] for place in places), paths, strict=True))
    matched = []
    for path, (step, _, north, east) in zip(paths, places, strict=True):
        if step < finest * (1.0 + _SAME):
            matched.append(path)
        else:
            matched.append(_refine(path, by_corner.get((step, east, north)), finest, folder))
    return matched


def _corner(path: Path) -> tuple[float, float, float, float]:
    """Return the spacing in longitude, and the western, northern and eastern edge, in degrees."""
    try:
        with _open_tile(path) as raster:
            step, west, north = raster.transform.a, raster.transform.c, raster.transform.f
            east = (west + step * raster.width + 180.0) % 360.0 - 180.0
    except RasterioError:
        msg = f"'{path}' is not a GeoTIFF: remove it, and download it again"
        raise FetchError(msg) from None
    west = (west + 180.0) % 360.0 - 180.0
    return round(step, 9), round(west, 6), round(north, 6), round(east, 6)


def _refine(path: Path, eastern: Path | None, step: float, folder: Path) -> Path:
    """Interpolate a tile along its rows to a finer spacing, with its eastern neighbour."""
    joined = "" if eastern is None else "_joined"
    target = folder / f"{path.stem}_{round(1.0 / step)}_columns{joined}.tif"
    if target.is_file():
        return target
    with _open_tile(path) as raster:
        heights, old, crs = _heights(raster), raster.transform, raster.crs
    first = old.c + 0.5 * old.a
    begin = math.ceil(first / step - _SAME)
    end = math.ceil((first + heights.shape[1] * old.a) / step - _SAME)
    last = heights[:, -1:]  # continues beyond the last cell centre
    if eastern is not None:
        with _open_tile(eastern) as raster:
            last = _heights(raster)[:, :1]
    heights = np.hstack([heights, last])
    position = (np.arange(begin, end) * step - first) / old.a
    left = np.clip(np.floor(position).astype(np.intp), 0, heights.shape[1] - 2)
    weight = np.clip(position - left, 0.0, 1.0).astype(np.float32)
    refined = heights[:, left] * (1.0 - weight) + heights[:, left + 1] * weight
    transform = Affine(step, 0.0, (begin - 0.5) * step, 0.0, old.e, old.f)
    return _write_tile(target, refined, transform, crs, f"interpolated: {path.name}")


def _write_tile(
    path: Path, heights: npt.NDArray[np.float32], transform: Affine, crs: CRS, note: str
) -> Path:
    """Write a tile, which appears under its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident():x}{path.suffix}")
    try:
        with rasterio.open(
            work,
            "w",
            driver="GTiff",
            height=heights.shape[0],
            width=heights.shape[1],
            count=1,
            dtype="float32",
            crs=crs,
            transform=transform,
            nodata=float("nan"),
            compress="deflate",
            predictor=3,
            tiled=True,
        ) as sink:
            sink.write(heights, 1)
            sink.update_tags(1, DESCRIPTION=note)
            sink.set_band_unit(1, "m")
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
    return path


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


def _grid_entry(listing: object, grid: str, url: str) -> dict[str, Any]:
    """Find a grid in the list of all grids."""
    features = listing.get("features") if isinstance(listing, dict) else None
    if not isinstance(features, list):
        msg = f"{redact(url)} is not a list of grids: is it the right address?"
        raise FetchError(msg)
    for feature in features:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if isinstance(properties, dict) and properties.get("name") == grid:
            return properties
    msg = f"there is no grid {grid!r}, expected {', '.join(GRIDS)} or the name of a grid of PROJ"
    raise ValueError(msg)
