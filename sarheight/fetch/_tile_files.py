"""Making tiles that nobody offers: the sea, parts of a tile, and tiles of another width."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sarheight.errors import FetchError
from sarheight.fetch._addresses import plain
from sarheight.fetch._tiles import columns_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from sarheight.fetch._settings import Network
    from sarheight.fetch._tiles import Tile

__all__ = ["of_one_width", "sea_tile", "window_of_tile"]

_SAME = 1e-3


def sea_tile(path: Path, tile: Tile, rows: int, like: Path | None) -> Path:
    """Write a tile at sea level on the grid of a Copernicus DEM, where there is none.

    Pixel centres lie on the degree lines in the north and west of a tile, so its edge lies half a
    pixel beyond.

    Parameters
    ----------
    path : path
        Where to.
    tile : Tile
        Which.
    rows : int
        Its rows: 3600 for GLO-30, 1200 for GLO-90.
    like : path, optional
        A tile whose reference system to take; WGS84 without one.
    """
    columns = columns_of(tile, rows)
    dy, dx = 1.0 / rows, 1.0 / columns
    west, north = tile.longitude - 0.5 * dx, tile.latitude + 1 + 0.5 * dy
    transform = Affine(dx, 0.0, west, 0.0, -dy, north)
    heights = np.zeros((rows, columns), dtype=np.float32)
    crs = CRS.from_epsg(4326) if like is None else _read(like)[2]
    return _written(path, heights, transform, crs, "no tile: sea level")


def window_of_tile(
    path: Path, url: str, bounds: tuple[float, float, float, float], network: Network
) -> Path | None:
    """Read the part of a remote tile that meets a box, and write it as a tile of its own.

    Only the blocks that are needed are transferred.

    Parameters
    ----------
    path : path
        Where to.
    url : str
        Address of a GeoTIFF, best a cloud-optimised one.
    bounds : tuple of float
        (west, south, east, north) in degrees.
    network : Network
        How patient to be.

    Returns
    -------
    path or None
        None where tile and box share no cell.

    Raises
    ------
    FetchError
        If it cannot be read.
    """
    if path.is_file():
        return path
    try:
        with (
            rasterio.Env(
                GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR",
                GDAL_HTTP_MAX_RETRY=network.tries,
                GDAL_HTTP_RETRY_DELAY=network.backoff,
                GDAL_HTTP_CONNECTTIMEOUT=math.ceil(network.connect_timeout),
                GDAL_HTTP_LOW_SPEED_TIME=math.ceil(network.read_timeout),
                GDAL_HTTP_LOW_SPEED_LIMIT=1,
            ),
            rasterio.open(f"/vsicurl/{url}") as source,
        ):
            window = _window(source.transform, source.shape, bounds)
            if window is None:
                return None
            heights = source.read(1, window=window, masked=True).astype(np.float32).filled(np.nan)
            old, crs = source.transform, source.crs
    except RasterioError:
        msg = f"{plain(url)} could not be read in part: try again, or without windows"
        raise FetchError(msg) from None
    west, north = old.c + window.col_off * old.a, old.f + window.row_off * old.e
    transform = Affine(old.a, 0.0, west, 0.0, old.e, north)
    return _written(path, heights, transform, crs, f"part of {plain(url)}")


def _window(
    transform: Affine, shape: tuple[int, int], bounds: tuple[float, float, float, float]
) -> Window | None:
    """Find the cells that meet a box, with one more on each side."""
    west, south, east, north = bounds
    rows, columns = shape
    left = max(0, math.floor((west - transform.c) / transform.a) - 1)
    right = min(columns, math.ceil((east - transform.c) / transform.a) + 1)
    top = max(0, math.floor((north - transform.f) / transform.e) - 1)
    bottom = min(rows, math.ceil((south - transform.f) / transform.e) + 1)
    if right - left < 1 or bottom - top < 1:
        return None
    return Window(left, top, right - left, bottom - top)


def of_one_width(paths: list[Path], folder: Path) -> list[Path]:
    """Bring tiles to the finest spacing in longitude among them.

    The Copernicus DEM has fewer columns beyond 50, 60, 70, 80 and 85 degrees; tiles on the two
    sides of such a line do not fit together. Those with fewer columns are interpolated linearly
    along their rows, which lie where those of the others do, up to the first column of the next
    tile in the east. Where there is none, the last value goes on for the rest of a cell.
    """
    places = [_place(path) for path in paths]
    finest = min(place[0] for place in places)
    by_corner = dict(zip((place[:3] for place in places), paths, strict=True))
    made = []
    for path, (step, _, north, east) in zip(paths, places, strict=True):
        if step < finest * (1.0 + _SAME):
            made.append(path)
            continue
        eastern = by_corner.get((step, east, north))
        made.append(_refined(path, eastern, finest, folder))
    return made


def _place(path: Path) -> tuple[float, float, float, float]:
    """Return the step in longitude, and the western, northern and eastern edge, in degrees."""
    with rasterio.open(path) as source:
        step, west, north = source.transform.a, source.transform.c, source.transform.f
        east = (west + step * source.width + 180.0) % 360.0 - 180.0
        west = (west + 180.0) % 360.0 - 180.0
    return round(step, 9), round(west, 6), round(north, 6), round(east, 6)


def _refined(path: Path, eastern: Path | None, step: float, folder: Path) -> Path:
    joined = "" if eastern is None else "_joined"
    target = folder / f"{path.stem}_{round(1.0 / step)}_columns{joined}.tif"
    if target.is_file():
        return target
    heights, old, crs = _read(path)
    first = old.c + 0.5 * old.a
    end = math.ceil((first + heights.shape[1] * old.a) / step - _SAME)
    if eastern is not None:
        heights = np.hstack([heights, _read(eastern)[0][:, :1]])
    begin = math.ceil(first / step - _SAME)
    position = (np.arange(begin, end) * step - first) / old.a
    new = Affine(step, 0.0, (begin - 0.5) * step, 0.0, old.e, old.f)
    return _written(
        target, _interpolated(heights, position), new, crs, f"interpolated: {path.name}"
    )


def _read(path: Path) -> tuple[npt.NDArray[np.float32], Affine, CRS]:
    with rasterio.open(path) as source:
        heights = source.read(1, masked=True).astype(np.float32).filled(np.nan)
        return heights, source.transform, source.crs


def _interpolated(
    heights: npt.NDArray[np.float32], position: npt.NDArray[np.float64]
) -> npt.NDArray[np.float32]:
    """Interpolate along rows; beyond the last cell centre, its value goes on."""
    last = heights.shape[1] - 1
    left = np.clip(np.floor(position).astype(np.intp), 0, max(last - 1, 0))
    weight = np.clip(position - left, 0.0, 1.0).astype(np.float32)
    right = np.minimum(left + 1, last)
    return np.asarray(heights[:, left] * (1.0 - weight) + heights[:, right] * weight)


def _written(
    path: Path, heights: npt.NDArray[np.float32], transform: Affine, crs: CRS, note: str
) -> Path:
    with _apart(path) as work:
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "height": heights.shape[0],
            "width": heights.shape[1],
            "count": 1,
            "dtype": "float32",
            "crs": crs,
            "transform": transform,
            "nodata": float("nan"),
            "compress": "deflate",
            "predictor": 3,
            "tiled": True,
        }
        with rasterio.open(work, "w", **profile) as sink:
            sink.write(heights, 1)
            sink.update_tags(1, DESCRIPTION=note)
            sink.set_band_unit(1, "m")
    return path


@contextmanager
def _apart(path: Path) -> Iterator[Path]:
    """Lend a name to write under, and give the file its own at the end."""
    import os

    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f".{path.stem}.{os.getpid()}.{id(path):x}{path.suffix}")
    try:
        yield work
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
