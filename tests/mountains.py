"""Small mountains that fold, and radar images that look at them.

Import it as ``from tests.mountains import look, mountain, raster``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.tiles import geolocate, geolocation_bounds

from sarheight.ellipsoid import LookSide
from sarheight.geometry.pass_geometry import PassGeometry
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower, simulate
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]

PLAIN = 500.0
"""Height of the plain in metres."""
LAW = CosinePower(0.2, 1.7)
"""How the ground of `scene_of` scatters."""


def raster(
    heights: Floats,
    *,
    latitude: float = 46.0,
    longitude: float = 10.0,
    posting: float = 30.0,
    crs: str = "EPSG:32632",
) -> xr.DataArray:
    """Put heights on a map, centred on a place; row 0 is in the north."""
    return dem_around(latitude, longitude, heights, crs=crs, posting=posting)


def mountain(rows: int = 60, columns: int = 80, height: float = 900.0) -> Floats:
    """Shape a mountain whose slopes fold at 34 degrees of incidence, on a plain."""
    row, column = np.mgrid[:rows, :columns]
    across = (column - (columns - 1) / 2) / 9.0
    along = (row - (rows - 1) / 2) / 14.0
    return np.asarray(PLAIN + height * np.exp(-(across**2) - along**2))


def random_terrain(seed: int, rows: int = 40, columns: int = 50, relief: float = 150.0) -> Floats:
    """Draw smooth random hills with a given standard deviation of height, rising from a sea."""
    heights = hills((rows, columns), relief=relief, size=4.0, seed=seed) - 1000.0 + PLAIN
    return np.maximum(heights, 0.0)


def rough_hills(shape: tuple[int, int] = (90, 108)) -> xr.DataArray:
    """Put hills with smaller ones on them on a map, a height of 500 m on average."""
    heights = hills(shape, relief=60.0, size=5.0, seed=1)
    heights += hills(shape, relief=4.0, size=1.5, seed=2)
    return raster(500.0 + heights - heights.mean())


def look(
    *,
    incidence: float = 34.0,
    look_side: LookSide = "right",
    ascending: bool = True,
    ground_range: bool = True,
    lines: int = 240,
    samples: int = 330,
    sample_spacing: float = 10.0,
    line_spacing: float = 10.0,
    latitude: float = 46.0,
    longitude: float = 10.0,
    looks: float = 4.4,
) -> tuple[RadarGrid, Orbit]:
    """Look at the plain."""
    return synthetic_grid(
        latitude,
        longitude,
        incidence=incidence,
        look_side=look_side,
        ascending=ascending,
        lines=lines,
        samples=samples,
        line_spacing=line_spacing,
        sample_spacing=sample_spacing,
        ground_range=ground_range,
        height=PLAIN,
        looks=looks,
    )


def scene_of(dem: xr.DataArray, *, seed: int | None = 0, noise: float = 0.0, **how: Any) -> Scene:  # noqa: ANN401
    """Speckled image of a DEM with patchy reflectivity; clean and uniform where seed is None."""
    grid, orbit = look(**how)
    if seed is None:
        return simulate(dem, grid, orbit, law=LAW, noise=noise)
    patches = np.exp(0.5 * np.random.default_rng(seed).standard_normal(dem.shape))
    return simulate(
        dem, grid, orbit, law=LAW, reflectivity=patches, looks=4.4, seed=seed, noise=noise
    )


def located_cells(seen: PassGeometry) -> tuple[Floats, Floats]:
    """Line and sample of each cell of a DEM, by the kernel."""
    line, sample = np.empty(seen.heights.shape), np.empty(seen.heights.shape)
    bounds = geolocation_bounds(seen.ground, seen.heights)
    geolocate(seen.ground, seen.radar, seen.heights, line, sample, bounds)
    return line, sample
