"""DEMs made of formulas, in any map projection.

Import it as ``from tests.dems import dem_around, geoid_bytes, hills, ranges``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pyproj
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from affine import Affine
from numpy.typing import NDArray
from rasterio.io import MemoryFile
from scipy.ndimage import gaussian_filter

Floats = NDArray[np.float64]

METRES_PER_DEGREE = 111_320.0

PLACES = {
    "geographic": ("EPSG:4326", 46.0, 10.0),
    "utm": ("EPSG:32632", 46.0, 10.0),
    "web-mercator": ("EPSG:3857", 46.0, 10.0),
    "oblique-mercator": ("EPSG:2056", 46.5, 8.0),
    "laea": ("EPSG:3035", 61.0, 24.0),
    "turned": ("+proj=laea +lat_0=30 +lon_0=-70 +ellps=WGS84", 46.0, 10.0),
    "polar-north": ("EPSG:3413", 74.0, 16.0),
    "polar-south": ("EPSG:3031", -72.0, 20.0),
    "southern-utm": ("EPSG:32719", -33.0, -70.0),
}
"""Map projections of many kinds, each with a place (latitude, longitude) where it may be used."""

TO_EARTH_FIXED = pyproj.Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)


def hills(
    shape: tuple[int, int], *, relief: float = 300.0, size: float = 6.0, seed: int = 0
) -> Floats:
    """Smooth random heights with a standard deviation of `relief` and bumps of `size` cells."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size)
    result: Floats = 1000.0 + relief * noise / noise.std()
    return result


def ranges(
    shape: tuple[int, int], *, relief: float = 160.0, exponent: float = 4.0, seed: int = 0
) -> Floats:
    """Random mountains, rough at all scales as real ones are.

    The power of their heights falls with the given power of the wave number; `relief` is their
    standard deviation. The lowest place is at 500.
    """
    # Cut from twice the size, as a transform's ends meet.
    rows, columns = 2 * shape[0], 2 * shape[1]
    wave = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns))
    wave[0, 0] = np.inf
    noise = np.fft.rfft2(np.random.default_rng(seed).standard_normal((rows, columns)))
    heights = np.fft.irfft2(noise * wave ** (-0.5 * exponent), s=(rows, columns))
    part = heights[: shape[0], : shape[1]]
    result: Floats = 500.0 + relief * (part - part.min()) / part.std()
    return result


def dem_around(
    latitude: float,
    longitude: float,
    heights: Floats | Callable[[Floats, Floats], Floats],
    *,
    crs: str = "EPSG:32632",
    posting: float = 30.0,
    shape: tuple[int, int] = (70, 90),
) -> xr.DataArray:
    """Put heights on a grid around a place.

    `heights` is an array, or a function of the offsets in metres of the map's own axes (to the
    right, upwards) from the place. In geographic coordinates the posting is that many metres
    northwards and eastwards.
    """
    system = pyproj.CRS(crs)
    to_map = pyproj.Transformer.from_crs("EPSG:4326", system, always_xy=True)
    x, y = to_map.transform(longitude, latitude)
    if callable(heights):
        rows, columns = shape
    else:
        rows, columns = heights.shape
    across = posting * (np.arange(columns) - 0.5 * (columns - 1))
    up = posting * (0.5 * (rows - 1) - np.arange(rows))
    values = heights(*np.meshgrid(across, up)) if callable(heights) else heights
    if system.is_geographic:
        per_degree = METRES_PER_DEGREE * np.cos(np.radians(latitude))
        across, up = across / per_degree, up / METRES_PER_DEGREE
    dem = xr.DataArray(
        np.asarray(values, dtype=np.float32),
        dims=("y", "x"),
        coords={"y": y + up, "x": x + across},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    with warnings.catch_warnings():
        # An oblique Mercator has no complete description in CF; its WKT goes along all the same.
        warnings.filterwarnings("ignore", "angle from rectified to skew grid parameter lost")
        placed: xr.DataArray = dem.rio.write_crs(system)
    return placed


def rough(seed: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Random heights from cell to cell, between 0 and 3000 m."""
    return np.random.default_rng(seed).uniform(0.0, 3000.0, (rows, columns)).astype(np.float32)


def array(
    heights: NDArray[np.generic],
    y: NDArray[np.generic],
    x: NDArray[np.generic],
    crs: str | None,
    **attrs: object,
) -> xr.DataArray:
    """Put heights on coordinates."""
    dem = xr.DataArray(heights, dims=("y", "x"), coords={"y": y, "x": x}, attrs=attrs)
    return dem if crs is None else dem.rio.write_crs(crs)


def utm_array(
    heights: NDArray[np.generic],
    *,
    step: float = 30.0,
    crs: str | None = "EPSG:32632",
    **attrs: object,
) -> xr.DataArray:
    """Put heights on a map in metres, ellipsoidal unless told otherwise."""
    rows, columns = heights.shape
    y, x = 5.2e6 - step * np.arange(rows), 5e5 + step * np.arange(columns)
    return array(heights, y, x, crs, **({"vertical_datum": "ellipsoid"} | attrs))


def degree_array(
    heights: NDArray[np.generic], crs: str = "EPSG:4326", **attrs: object
) -> xr.DataArray:
    """Put heights on a grid in degrees."""
    rows, columns = heights.shape
    y, x = 47.0 - 0.01 * np.arange(rows), 10.0 + 0.01 * np.arange(columns)
    return array(heights, y, x, crs, **attrs)


def positions(dem: xr.DataArray, heights: Floats | None = None) -> Floats:
    """Earth-fixed positions of the cells of a DEM by pyproj, shape (rows, columns, 3)."""
    to_geographic = pyproj.Transformer.from_crs(dem.rio.crs, "EPSG:4326", always_xy=True)
    x, y = np.meshgrid(dem.x.values, dem.y.values)
    longitude, latitude = to_geographic.transform(x, y)
    values = dem.values.astype(np.float64) if heights is None else heights
    return np.stack(TO_EARTH_FIXED.transform(longitude, latitude, values), axis=-1)


def geoid_bytes(height: float) -> bytes:
    """Write a grid of the whole Earth as PROJ takes it."""
    values = np.full((181, 361), height, dtype=np.float32)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=181,
            width=361,
            count=1,
            dtype="float32",
            crs="EPSG:4326",
            transform=Affine(1.0, 0.0, -180.5, 0.0, -1.0, 90.5),
        ) as sink:
            sink.write(values, 1)
            sink.update_tags(TYPE="VERTICAL_OFFSET_GEOGRAPHIC_TO_VERTICAL", AREA_OR_POINT="Point")
            sink.set_band_description(1, "geoid_undulation")
            sink.set_band_unit(1, "metre")
        return bytes(memory.read())
