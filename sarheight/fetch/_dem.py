"""Elevation models for a place."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.errors import FetchError, NotThereError
from sarheight.fetch._download import Wanted, fetch
from sarheight.fetch._progress import silent
from sarheight.fetch._query import boxes
from sarheight.fetch._settings import DemSource, Settings, named
from sarheight.fetch._tile_files import of_one_width, sea_tile, window_of_tile
from sarheight.fetch._tiles import Tile, tiles_of
from sarheight.fetch._together import together
from sarheight.fetch._unpack import unpack
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    import os

    from sarheight.fetch._progress import Report
    from sarheight.fetch._query import Place

__all__ = ["DemTiles", "dem"]

_MOST_TILES = 400


@dataclass(frozen=True)
class DemTiles:
    """The files of an elevation model, as `sarheight.dem.open_dem` takes them.

    Parameters
    ----------
    paths : tuple of path
        Tiles that fit together.
    vertical : str, optional
        What their heights are measured from, to be passed on as `vertical`.
    sea : tuple of str
        Tiles that the model does not have because there is only sea: these are in `paths`, at
        height zero above the geoid.
    missing : tuple of str
        Tiles that the source does not have, nobody knows why: these are not in `paths`.
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
    progress: Report = silent,
) -> DemTiles:
    """Bring an elevation model for a place.

    Parameters
    ----------
    bounds : sequence of float
        (west, south, east, north) in degrees. Across the antimeridian, either west > east or
        east > 180.
    directory : path, optional
        Where to put the tiles; ``dem`` in the cache by default.
    model : str, optional
        "glo30" or "glo90" (Copernicus DEM), "srtm" (1 arc second, between 56 S and 60 N), one of
        your settings, or the address of your own tiles of one degree, such as
        ``https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif``.
    windows : bool, optional
        Bring only the cells within `bounds`, with one more around, instead of whole tiles. Much
        less for a small place; whole tiles serve the neighbouring places as well.
    settings : Settings, optional
        Addresses and patience; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    DemTiles
        Paths, and what the heights are measured from:
        ``open_dem(found.paths, vertical=found.vertical, bounds=bounds)``.

    Raises
    ------
    ValueError
        If the place or the model makes no sense, or the model does not reach there.
    NotThereError
        If the source has no tile there at all, or withholds one on land.
    FetchError
        If tiles cannot be had.
    """
    settings = settings or Settings.load()
    source = DemSource(model) if "{" in model else named(settings.dem, model, "elevation model")
    tiles = tiles_of(bounds)
    _require_sensible(tiles, source, model)
    name = model if "{" not in model else hashlib.sha256(model.encode()).hexdigest()[:12]
    folder = Path(directory) if directory is not None else settings.cache / "dem" / name
    return _Model(source, model, folder, settings, progress).bring(tiles, bounds, windows=windows)


def _require_sensible(tiles: list[Tile], source: DemSource, model: str) -> None:
    if len(tiles) > _MOST_TILES:
        msg = (
            f"the place spans {len(tiles)} tiles of one degree, at most {_MOST_TILES} are brought "
            "at a time: is the order (west, south, east, north)?"
        )
        raise ValueError(msg)
    if any(not source.south <= tile.latitude < source.north for tile in tiles):
        msg = (
            f"the elevation model {model} reaches from latitude {source.south} to {source.north}, "
            "and the place lies partly beyond: use glo30"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class _Model:
    """An elevation model, and where its tiles go."""

    source: DemSource
    name: str
    folder: Path
    settings: Settings
    progress: Report

    def bring(self, tiles: list[Tile], bounds: Place, *, windows: bool) -> DemTiles:
        """Bring all tiles, several at a time."""
        land, sea = self._told_apart(tiles)
        parts = boxes(bounds) if windows else ()
        brought = together(
            lambda tile, report: self._tile(tile, parts, report), land, self.progress
        )
        missing = [tile for tile, paths in zip(land, brought, strict=True) if paths is None]
        paths = [path for found in brought if found is not None for path in found]
        if not paths and not sea:
            msg = f"the elevation model {self.name} has no tile there: {_names(tiles)}"
            raise NotThereError(msg)
        like = paths[0] if paths else None
        paths += [self._sea(tile, like) for tile in sea]
        return DemTiles(
            tuple(of_one_width(paths, self.folder)),
            self.source.vertical,
            tuple(tile.name for tile in sea),
            tuple(tile.name for tile in missing),
        )

    @cached_property
    def web(self) -> Web:
        """The network, with the addresses of the settings trusted."""
        return Web.trusting(self.settings, self.source.url, self.source.list or "")

    def _told_apart(self, tiles: list[Tile]) -> tuple[list[Tile], list[Tile]]:
        """Tell tiles that exist from those that do not because there is only sea."""
        if self.source.list is None or self.source.rows is None:
            return tiles, []
        existing = self._listed(self.source, self.name)
        there = [tile for tile in tiles if _stem(tile, self.source) in existing]
        rest = [tile for tile in tiles if tile not in there]
        if rest and self.source.land is not None:
            other = named(self.settings.dem, self.source.land, "elevation model")
            known = self._listed(other, self.source.land)
            withheld = [tile for tile in rest if _stem(tile, other) in known]
            if withheld:
                msg = (
                    f"the elevation model {self.name} withholds {_names(withheld)}, which are on "
                    f"land: use {self.source.land} for this place"
                )
                raise NotThereError(msg)
        return there, rest

    def _listed(self, source: DemSource, name: str) -> frozenset[str]:
        """Return the names of all tiles of a model, which are kept once brought."""
        address = source.list or ""
        web = Web.trusting(self.settings, address)
        path = self.settings.cache / "dem" / f"{name}-tiles.txt"
        lines = fetch(web, Wanted(lambda: address), path, self.progress).read_text("utf-8")
        names = frozenset(lines.split())
        if not names:
            path.unlink(missing_ok=True)
            msg = f"{address} lists no tiles: is it the right address?"
            raise FetchError(msg)
        return names

    def _tile(
        self,
        tile: Tile,
        parts: tuple[tuple[float, float, float, float], ...],
        report: Report,
    ) -> list[Path] | None:
        """Bring a tile, or its parts; None where the source does not have it."""
        url = tile.address(self.source.url)
        packed = url.lower().endswith(".zip")
        if parts and not packed:
            self.web.require_online(url)
            self.web.rule.check(url)
            found = [self._part(tile, url, part) for part in parts]
            return [path for path in found if path is not None]
        suffix = ".hgt" if packed else ""
        path = self.folder / (f"{tile.name}.hgt" if packed else tile.file_name(self.source.url))

        def prepare(brought: Path) -> None:
            if zipfile.is_zipfile(brought):
                unpack(brought, suffix)

        try:
            return [fetch(self.web, Wanted(lambda: url, prepare=prepare), path, report)]
        except NotThereError:
            return None

    def _part(self, tile: Tile, url: str, part: tuple[float, float, float, float]) -> Path | None:
        west, south, east, north = part
        inside = (
            max(west, tile.longitude),
            max(south, tile.latitude),
            min(east, tile.longitude + 1),
            min(north, tile.latitude + 1),
        )
        if inside[0] > inside[2] or inside[1] > inside[3]:
            return None
        marks = "_".join(f"{value:.5f}".replace("-", "m") for value in inside)
        path = self.folder / f"{tile.name}_{marks}.tif"
        return window_of_tile(path, url, inside, self.settings.network)

    def _sea(self, tile: Tile, like: Path | None) -> Path:
        path = self.folder / f"{tile.name}_sea.tif"
        return path if path.is_file() else sea_tile(path, tile, self.source.rows or 0, like)


def _stem(tile: Tile, source: DemSource) -> str:
    return tile.address(source.url).rpartition("/")[2].partition(".")[0]


def _names(tiles: list[Tile]) -> str:
    return ", ".join(tile.name for tile in tiles)
