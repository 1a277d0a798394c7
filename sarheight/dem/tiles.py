"""Files of a DEM in tiles of one degree: parts, tiles of the sea, and tiles that fit together."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from sarheight._rasters import open_alone
from sarheight.errors import DamagedFileError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from rasterio.io import DatasetReader

Place: TypeAlias = Sequence[float]
"""(west, south, east, north) or (longitude, latitude), degrees."""
Box: TypeAlias = tuple[float, float, float, float]
"""(west, south, east, north) in degrees, west before east."""

SAME = 1e-3
"""Spacings that differ by less than this fraction are the same."""
STRETCH = ((50, 1.0), (60, 1.5), (70, 2.0), (80, 3.0), (85, 5.0), (90, 10.0))
"""Up to which latitude the cells of a Copernicus DEM are how many times wider than high, degrees.

Reference: Copernicus DEM Product Handbook, table of pixel spacings by latitude.
"""


def bounding_boxes(place: Place) -> tuple[Box, ...]:
    """Turn a place into boxes that do not cross the antimeridian; ValueError if it is none.

    Across the antimeridian, either west > east or east > 180.
    """
    values = [float(each) for each in place]
    if len(values) == 2:
        values = values * 2
    if len(values) != 4 or not all(map(math.isfinite, values)):
        msg = (
            f"the place is {tuple(place)}, expected (west, south, east, north) or (longitude, "
            "latitude) in degrees"
        )
        raise ValueError(msg)
    west, south, east, north = values
    if not -90.0 <= south <= north <= 90.0:
        msg = (
            f"the place reaches from latitude {south:g} to {north:g}, expected south before north, "
            "within -90 and 90: the order is (west, south, east, north)"
        )
        raise ValueError(msg)
    if not (-180.0 <= west <= 360.0 and -180.0 <= east <= 540.0):
        msg = f"the place reaches from longitude {west:g} to {east:g}, expected -180 to 180"
        raise ValueError(msg)
    if east - west >= 360.0:
        return ((-180.0, south, 180.0, north),)
    width = (east - west) % 360.0
    west = (west + 180.0) % 360.0 - 180.0
    if west + width <= 180.0:
        return ((west, south, west + width, north),)
    return ((west, south, 180.0, north), (-180.0, south, west + width - 360.0, north))


def tile_corners(place: Place) -> list[tuple[int, int]]:
    """List the tiles that meet a place by latitude and longitude of their south-western corners."""

    def degrees(first: float, last: float, least: int, most: int) -> range:
        # Those with more than a single point of the span, or the point itself.
        low = min(max(math.floor(first), least), most)
        return range(low, min(max(math.ceil(last) - 1, low), most) + 1)

    return sorted(
        {
            (latitude, longitude)
            for west, south, east, north in bounding_boxes(place)
            for latitude in degrees(south, north, -90, 89)
            for longitude in degrees(west, east, -180, 179)
        }
    )


def columns_of_tile(latitude: int, rows: int) -> int:
    """Count the columns of a tile of a Copernicus DEM by its southern edge: fewer to the poles."""
    nearest = min(abs(latitude), abs(latitude + 1))
    return round(rows / next(factor for limit, factor in STRETCH if nearest < limit))


def open_tile(path: Path | str) -> Any:  # noqa: ANN401  # of rasterio
    """Open a tile by one driver: others, such as VRT, read the local files that a tile names."""
    driver = "SRTMHGT" if str(path).endswith(".hgt") else "GTiff"
    return open_alone(path, (driver,))


def save_part(raster: DatasetReader, box: Box, path: Path, note: str) -> bool:
    """Write the cells of a tile in a box, with one more around; False where there are none.

    RasterioError where the tile cannot be read. Only the blocks of these cells are read.
    """
    window = _cells(raster.transform, raster.shape, box)
    if window is None:
        return False
    heights = _heights(raster, window)
    transform = raster.transform @ Affine.translation(window.col_off, window.row_off)
    _write_tile(path, heights, transform, raster.crs, note)
    return True


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


def sea_tile(path: Path, corner: tuple[int, int], rows: int, like: Path | None = None) -> Path:
    """Write a tile at sea level on the grid of a Copernicus DEM, in the CRS of another tile.

    `corner` is latitude and longitude of the south-western corner. A file that is there is kept.

    Cell centres lie on the degree lines in the north and west of a tile, so its edge lies half a
    cell beyond.
    """
    if path.is_file():
        return path
    latitude, longitude = corner
    columns = columns_of_tile(latitude, rows)
    dy, dx = 1.0 / rows, 1.0 / columns
    transform = Affine(dx, 0.0, longitude - 0.5 * dx, 0.0, -dy, latitude + 1 + 0.5 * dy)
    crs = CRS.from_epsg(4326)
    if like is not None:
        with open_tile(like) as raster:
            crs = raster.crs
    heights = np.zeros((rows, columns), dtype=np.float32)
    return _write_tile(path, heights, transform, crs, "no tile: sea level")


def match_spacing(paths: list[Path], folder: Path) -> list[Path]:
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
        if step < finest * (1.0 + SAME):
            matched.append(path)
        else:
            matched.append(_refine(path, by_corner.get((step, east, north)), finest, folder))
    return matched


def _corner(path: Path) -> tuple[float, float, float, float]:
    """Return the spacing in longitude, and the western, northern and eastern edge, in degrees."""
    try:
        with open_tile(path) as raster:
            step, west, north = raster.transform.a, raster.transform.c, raster.transform.f
            east = (west + step * raster.width + 180.0) % 360.0 - 180.0
    except RasterioError:
        msg = f"'{path}' is not a GeoTIFF: remove it, and download it again"
        raise DamagedFileError(msg) from None
    west = (west + 180.0) % 360.0 - 180.0
    return round(step, 9), round(west, 6), round(north, 6), round(east, 6)


def _refine(path: Path, eastern: Path | None, step: float, folder: Path) -> Path:
    """Interpolate a tile along its rows to a finer spacing, with its eastern neighbour."""
    joined = "" if eastern is None else "_joined"
    target = folder / f"{path.stem}_{round(1.0 / step)}_columns{joined}.tif"
    if target.is_file():
        return target
    with open_tile(path) as raster:
        heights, old, crs = _heights(raster), raster.transform, raster.crs
    first = old.c + 0.5 * old.a
    begin = math.ceil(first / step - SAME)
    end = math.ceil((first + heights.shape[1] * old.a) / step - SAME)
    last = heights[:, -1:]  # continues beyond the last cell centre
    if eastern is not None:
        with open_tile(eastern) as raster:
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
