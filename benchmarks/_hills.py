"""Hills of any size under a radar like Sentinel-1, for timing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pyproj
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at

if TYPE_CHECKING:
    Kind = Literal["slc", "grd"]

__all__ = ["PLACE", "POSTING", "dem_of", "on_map", "radar_over"]

PLACE = 46.0, 10.0
"""Latitude and longitude of the middle."""
POSTING = 30.0
"""Metres."""
PATTERN = 1000
"""Cells along the side of the hills, which are repeated, mirrored, as often as it takes."""
INCIDENCE, HEIGHT = 34.0, 1200.0
LINE, SAMPLE = {"slc": 14.0, "grd": 10.0}, {"slc": 11.65, "grd": 10.0}
"""Metres: an SLC of which five samples are averaged, and a GRDH."""
METRES_PER_DEGREE = 111_320.0
MARGIN = 300


def _hills() -> NDArray[np.float32]:
    """Ridges with slopes of some tens of degrees, height 1200 m on average."""
    random = np.random.default_rng(0)
    heights = np.zeros((PATTERN, PATTERN))
    for relief, size in ((300.0, 120.0), (60.0, 16.0), (8.0, 2.5)):
        noise = gaussian_filter(random.standard_normal(heights.shape), size, mode="reflect")
        heights += relief * noise / noise.std()
    return (heights + HEIGHT).astype(np.float32)


def on_map(
    heights: NDArray[np.floating], crs: str = "EPSG:32632", posting: float = POSTING
) -> xr.DataArray:
    """Put heights on a map around `PLACE`, row 0 in the north."""
    system = pyproj.CRS(crs)
    latitude, longitude = PLACE
    x, y = pyproj.Transformer.from_crs(4326, system, always_xy=True).transform(longitude, latitude)
    down, right = (posting * (np.arange(size) - 0.5 * (size - 1)) for size in heights.shape)
    if system.is_geographic:
        right /= METRES_PER_DEGREE * np.cos(np.radians(latitude))
        down /= METRES_PER_DEGREE
    dem = xr.DataArray(
        heights.astype(np.float32),
        dims=("y", "x"),
        coords={"y": y - down, "x": x + right},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    placed: xr.DataArray = dem.rio.write_crs(system)
    return placed


def dem_of(size: int, crs: str = "EPSG:4326", posting: float = POSTING) -> xr.DataArray:
    """Make a DEM of size x size cells; its slopes are the same at any posting in metres."""
    half = HEIGHT + posting / POSTING * (_hills() - HEIGHT)
    pattern = np.block([[half, half[:, ::-1]], [half[::-1], half[::-1, ::-1]]])
    times = -(-size // pattern.shape[0])
    heights = np.ascontiguousarray(np.tile(pattern, (times, times))[:size, :size])
    return on_map(heights, crs, posting)


def radar_over(
    size: int, kind: Kind = "slc", posting: float = POSTING, *, ascending: bool = True
) -> tuple[RadarGrid, Orbit]:
    """Make an image that holds such a DEM, and its orbit."""
    latitude, longitude = PLACE
    orbit = Orbit.circular(
        latitude=latitude,
        longitude=longitude,
        ascending=ascending,
        epoch="2024-01-01T06:00:00",
        duration=300.0,
        interval=10.0,
    )
    orbit = orbit.rotate(look_at(orbit, latitude, longitude, INCIDENCE, height=HEIGHT))
    # The DEM is turned against the track by some twelve degrees.
    extent = 1.25 * size * posting
    across = extent if kind == "grd" else extent * np.sin(np.radians(INCIDENCE))
    grid = RadarGrid.over(
        orbit,
        latitude,
        longitude,
        lines=int(extent / LINE[kind]) + MARGIN,
        samples=int(across / SAMPLE[kind]) + MARGIN,
        height=HEIGHT,
        line_spacing=LINE[kind],
        sample_spacing=SAMPLE[kind],
        ground_range=kind == "grd",
        looks=4.4,
    )
    return grid, orbit
