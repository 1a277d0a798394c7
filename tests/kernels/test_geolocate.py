"""Radar coordinates of every cell, against zero Doppler found without any of the kernels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import pytest
from numpy.typing import NDArray
from sarheight_kernels.tiles import TILE, geolocate, geolocation_bounds
from scipy.interpolate import KroghInterpolator

from sarheight.geometry.tables import ground_model, radar_model
from tests.dems import PLACES, dem_around, hills, positions
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from sarheight.ellipsoid import LookSide
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

Floats = NDArray[np.float64]


def nearest_approach(orbit: Orbit, point: Floats) -> tuple[float, float]:
    """Search the time and the distance at which the satellite is nearest to a point.

    Distances along SciPy's own interpolation of the six state vectors around the nearest one:
    first every tenth of a second, then the vertex of the polynomial through those within two
    seconds of the least.
    """
    nearest = int(np.argmin(np.linalg.norm(orbit.position - point, axis=1)))
    six = slice(nearest - 3, nearest + 3)
    vectors = np.stack([orbit.position[six], orbit.velocity[six]], axis=1).reshape(12, 3)
    path = KroghInterpolator(np.repeat(orbit.time[six], 2), vectors)
    times = np.arange(orbit.time[nearest - 1], orbit.time[nearest + 1], 0.1)
    coarse = times[np.argmin(np.linalg.norm(path(times) - point, axis=1))]
    near = coarse + np.linspace(-2.0, 2.0, 81)
    distance = np.linalg.norm(path(near) - point, axis=1)
    polynomial = np.polynomial.Polynomial.fit(near - coarse, distance, 6)
    turns = polynomial.deriv().roots()
    real = turns[np.abs(turns.imag) < 1e-9].real
    offset = real[np.argmin(np.abs(real))]
    return float(coarse + offset), float(polynomial(offset))


def coordinates(
    grid: RadarGrid, orbit: Orbit, crs: str, latitude: float, longitude: float, heights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Lines and samples of a DEM by the kernel, and the positions of its cells by pyproj."""
    dem = dem_around(latitude, longitude, heights, crs=crs)
    line, sample = np.empty(dem.shape), np.empty(dem.shape)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(crs))
    bounds = geolocation_bounds(ground, dem.values)
    geolocate(ground, radar_model(grid, orbit), dem.values, line, sample, bounds)
    return line, sample, positions(dem)


@pytest.mark.parametrize("look_side", ["right", "left"])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize(("crs", "latitude", "longitude"), PLACES.values(), ids=PLACES)
def test_cells_are_seen_when_the_satellite_is_nearest(
    crs: str,
    latitude: float,
    longitude: float,
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    grid, orbit = synthetic_grid(
        latitude, longitude, look_side=look_side, ascending=ascending, ground_range=False
    )
    line, sample, place = coordinates(
        grid, orbit, crs, latitude, longitude, hills((70, 90), relief=800.0)
    )
    for cell in ((0, 0), (69, 89), (33, 70), (64, 5)):
        time, distance = nearest_approach(orbit, place[cell])
        # The project asks for a microsecond.
        assert float(grid.azimuth_time(line[cell])) == pytest.approx(time, abs=1e-7)
        assert float(grid.slant_range(0, sample[cell])) == pytest.approx(distance, abs=2e-5)


def test_tiles_on_the_other_side_are_void() -> None:
    grid, orbit = synthetic_grid()
    heights = hills((TILE + 6, TILE + 20))
    line, sample, _ = coordinates(
        replace(grid, look_side="left"), orbit, "EPSG:32632", 46.0, 10.0, heights
    )
    assert np.isnan(line).all()
    assert np.isnan(sample).all()


def test_voids_do_not_reach_other_cells() -> None:
    grid, orbit = synthetic_grid()
    heights = hills((TILE + 6, TILE + 20))
    whole = coordinates(grid, orbit, "EPSG:32632", 46.0, 10.0, heights)
    void = np.random.default_rng(2).random(heights.shape) < 0.5
    void[:, TILE + 1 :] = True
    holed = coordinates(grid, orbit, "EPSG:32632", 46.0, 10.0, np.where(void, np.nan, heights))
    for before, after in zip(whole[:2], holed[:2], strict=True):
        assert np.array_equal(np.isnan(after), void)
        assert np.abs(after - before)[~void].max() < 1e-5
