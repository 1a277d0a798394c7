"""Errors of geometry, and of the sum of energy.

Geolocation: every point of the geolocation grid of every annotation is put through
`sarheight.geometry.geo2rdr`, and compared with the azimuth time and the slant range that ESA
states for it. The round trip takes the cells of the scenes' elevation models to the radar and
back at their heights. The energy that reconstruction gives out, to cells and to cells too small
for a value, is compared with that of the pixels which the elevation model lights, summed
separately: on simulated scenes of real mountains and on random terrains.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import rioxarray  # noqa: F401 - registers `.rio`
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.rdr2geo import points_at_height
from scipy.ndimage import gaussian_filter

from benchmarks._mountains.scenes import ANNOTATIONS, coarse_dem, data_file, simulated, sites
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.tables import radar_model
from sarheight.grid import RadarGrid
from sarheight.illumination import Muhleman, simulate
from sarheight.illumination.simulate import illuminate
from sarheight.layover import PosteriorMean, Reallocation, reconstruct
from sarheight.layover.allocation import PassTile, intensities
from sarheight.orbit import Orbit, look_at
from sarheight.sentinel1 import geolocation_grid, read_grid, read_orbit

if TYPE_CHECKING:
    from benchmarks._mountains.scenes import Site
    from sarheight.ellipsoid import LookSide
    from sarheight.scene import Scene

__all__ = ["energy_error", "geolocation_errors", "measure", "round_trip_error"]

TERRAINS = 12
GEODESY = pyproj.Geod(ellps="WGS84")


def _dem(
    heights: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> xr.DataArray:
    """Make a DEM in degrees."""
    dem = xr.DataArray(
        heights.astype(np.float32),
        coords={"y": y, "x": x},
        dims=("y", "x"),
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    crs: xr.DataArray = dem.rio.write_crs(4326)
    return crs


def geolocation_errors(name: str, folder: str | None) -> tuple[float, float]:
    """Return the largest errors in range (m) and azimuth (s) over an annotation's grid."""
    path = data_file(name, folder)
    orbit, grid = read_orbit(path), read_grid(path)
    points = geolocation_grid(path)
    worst_range = worst_time = 0.0
    for latitude, longitude, height, time, slant_range in zip(
        points.latitude.values.flat,
        points.longitude.values.flat,
        points.height.values.flat,
        points.azimuth_time.values.flat,
        points.slant_range.values.flat,
        strict=True,
    ):
        # The point is the middle of a DEM of 3 x 3 cells.
        steps = 1e-4 * np.arange(-1, 2)
        place = _dem(np.full((3, 3), height), longitude + steps, latitude - steps)
        found = geo2rdr(place, grid, orbit).isel(y=1, x=1)
        found_range = float(grid.slant_range(found.line, found["sample"]))
        found_time = float(grid.azimuth_time(found.line, found_range))
        stated = float((time - grid.epoch) / np.timedelta64(1, "ns")) * 1e-9
        worst_range = max(worst_range, abs(found_range - slant_range))
        worst_time = max(worst_time, abs(found_time - stated))
    return worst_range, worst_time


def round_trip_error(site: Site) -> float:
    """Return the largest distance in metres of a cell from where it comes back to."""
    grid, orbit = site.descending()
    dem = site.dem
    seen = geo2rdr(dem, grid, orbit)
    slant_range = grid.slant_range(seen.line.values, seen["sample"].values)
    time = grid.azimuth_time(seen.line.values, slant_range)
    longitude, latitude = np.empty(dem.size), np.empty(dem.size)
    points_at_height(
        radar_model(grid, orbit),
        time.ravel(),
        slant_range.ravel(),
        dem.values.astype(np.float64).ravel(),
        longitude,
        latitude,
    )
    x, y = np.meshgrid(dem.x.values, dem.y.values)
    start = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True).transform(x, y)
    distance = GEODESY.inv(
        start[0].ravel(), start[1].ravel(), np.degrees(longitude), np.degrees(latitude)
    )[2]
    return float(np.max(distance))


def energy_error(scene: Scene, dem: xr.DataArray) -> float:
    """Return the relative difference between the energy given out and that of the pixels.

    That of one step is looked at before the result is balanced, and that of the results as
    gamma0 times projected area, summed over the cells. Where cells are one facet each, the pixels
    are summed here; for finer facets their sum is that which the result states.
    """
    seen = pass_geometry(dem, scene.grid, scene.orbit)
    operator = illuminate(seen, Muhleman())
    image = intensities(scene.image.values)
    table = pixel_areas(scene.grid, seen.radar, scene.calibration)
    energy = image[0].astype(np.float64)
    for block, areas in table.blocks(scene.grid.lines):
        energy[block] *= areas
    lit = operator.simulate() > 0.0
    measured = float(energy.sum(where=lit & np.isfinite(energy)))
    share = PassTile(image, table, operator).allocate()
    errors = [float(np.nansum(share.reflectivity[0] * share.expected)) / measured - 1.0]
    for method, facets in product((Reallocation(), PosteriorMean()), (1, None)):
        found = reconstruct(scene, dem, law=Muhleman(), method=method, facets=facets)
        cells = found.gamma0.astype(np.float64) * found.projected_area.astype(np.float64)
        given = float(cells.sum()) + found.attrs["rcs_withheld"][0]
        # Finer facets shine on other pixels than the cells of the DEM do.
        errors.append(given / (measured if facets else found.attrs["rcs_explained"][0]) - 1.0)
    return max(abs(each) for each in errors)


def terrains() -> Iterator[tuple[Scene, xr.DataArray]]:
    """Make random terrains under random looks, with simulated images of them."""
    for seed in range(TERRAINS):
        random = np.random.default_rng(seed)
        latitude, longitude = random.uniform(-60.0, 60.0), random.uniform(-180.0, 179.0)
        relief, length = random.uniform(50.0, 700.0), random.uniform(2.0, 12.0)
        rows, columns = random.integers(60, 160, 2)
        rough = gaussian_filter(random.standard_normal((rows, columns)), length)
        step = 10.0 ** random.uniform(-3.6, -3.0)
        dem = _dem(
            np.clip(1000.0 + relief * rough / rough.std(), -400.0, 8000.0),
            longitude + step * np.arange(columns),
            latitude - step * np.arange(rows),
        )
        side: LookSide = "right" if random.random() < 0.5 else "left"
        orbit = Orbit.circular(
            latitude=latitude, longitude=longitude, ascending=bool(random.random() < 0.5)
        )
        middle = float(dem.y.mean()), float(dem.x.mean())
        angle = random.uniform(25.0, 45.0)
        orbit = orbit.rotate(look_at(orbit, *middle, angle, look_side=side, height=1000.0))
        lines, samples = (int(each) for each in random.integers(200, 900, 2))
        grid = RadarGrid.over(
            orbit,
            *middle,
            lines=lines,
            samples=samples,
            height=1000.0,
            line_spacing=random.uniform(10.0, 40.0),
            sample_spacing=random.uniform(5.0, 40.0),
            ground_range=bool(random.random() < 0.5),
            look_side=side,
        )
        yield simulate(dem, grid, orbit, looks=4.4, noise=0.01, seed=seed), dem


def measure(folder: str | None) -> dict[str, float]:
    """Measure the worst of all annotations, scenes and terrains."""
    geolocation = [geolocation_errors(name, folder) for name in ANNOTATIONS]
    energy = [energy_error(*terrain) for terrain in terrains()]
    distance = 0.0
    for site in sites(folder=folder):
        random = np.random.default_rng(0)
        energy.append(energy_error(simulated(site, random), coarse_dem(site, random)))
        distance = max(distance, round_trip_error(site))
    return {
        "core.geolocation_range_error": max(each for each, _ in geolocation),
        "core.geolocation_azimuth_error": max(each for _, each in geolocation),
        "core.round_trip_error": distance,
        "core.energy_error": max(energy),
    }
