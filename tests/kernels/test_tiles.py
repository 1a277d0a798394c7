"""Radar coordinates by polynomials over tiles, against the exact solution cell by cell."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.models import cell_on_look_side, locate_cell
from sarheight_kernels.tiles import height_span, locate_tile

from sarheight.geometry.tables import ground_model, radar_model
from sarheight.sentinel1 import read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import PLACES, dem_around, hills
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    import xarray as xr
    from sarheight_kernels.models import GroundModel, RadarModel

    from sarheight.ellipsoid import LookSide
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

Floats = NDArray[np.float64]

TOLERANCE = 5e-6
"""In lines and samples."""


def models(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> tuple[GroundModel, RadarModel]:
    return (
        ground_model(dem.x.values, dem.y.values, pyproj.CRS(dem.rio.crs)),
        radar_model(grid, orbit),
    )


def located(
    ground: GroundModel, radar: RadarModel, heights: NDArray[np.float32], row: int = 0
) -> tuple[Floats, Floats]:
    line, sample = np.empty(heights.shape), np.empty(heights.shape)
    box = (0, heights.shape[0], 0, heights.shape[1])
    locate_tile(ground, radar, heights, row, 0, box, line, sample)
    return line, sample


def solved(
    ground: GroundModel, radar: RadarModel, heights: NDArray[np.float32], row: int = 0
) -> tuple[Floats, Floats]:
    line, sample = np.empty(heights.shape), np.empty(heights.shape)
    for (i, j), height in np.ndenumerate(heights):
        line[i, j], sample[i, j], _, _ = locate_cell(
            ground, radar, row + i, j, height, radar.line_zero_time
        )
    return line, sample


def assert_exact(
    ground: GroundModel, radar: RadarModel, heights: NDArray[np.float32], row: int = 0
) -> None:
    for found, exact in zip(
        located(ground, radar, heights, row), solved(ground, radar, heights, row), strict=True
    ):
        assert np.array_equal(np.isnan(found), np.isnan(exact))
        assert np.nanmax(np.abs(found - exact)) < TOLERANCE


@pytest.mark.parametrize("look_side", ["right", "left"])
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize(("crs", "latitude", "longitude"), PLACES.values(), ids=PLACES)
def test_tiles_are_exact(
    crs: str,
    latitude: float,
    longitude: float,
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    grid, orbit = synthetic_grid(
        latitude, longitude, look_side=look_side, ascending=ascending, height=1000.0
    )
    heights = hills((64, 64), relief=500.0, size=3.0)
    dem = dem_around(latitude, longitude, heights, crs=crs)
    ground, radar = models(dem, grid, orbit)
    assert cell_on_look_side(ground, radar, 32.0, 32.0)
    assert_exact(ground, radar, dem.values)


@pytest.mark.parametrize("posting", [2.0, 90.0, 1000.0])
@pytest.mark.parametrize("ground_range", [True, False])
def test_tiles_are_exact_at_any_posting(
    posting: float,
    ground_range: bool,  # noqa: FBT001
) -> None:
    """Tiles of wide cells cannot be met by one cubic: they are split, or solved cell by cell."""
    grid, orbit = synthetic_grid(ground_range=ground_range, sample_spacing=2.3, height=1000.0)
    grid = replace(grid, bistatic_range=850e3)
    dem = dem_around(46.0, 10.0, hills((64, 64), relief=1500.0, size=3.0), posting=posting)
    assert_exact(*models(dem, grid, orbit), dem.values)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_tiles_are_exact_across_records_of_ground_range(interpolation: str) -> None:
    """Terrain differs from record to record; with the nearest one, samples jump within a tile."""
    path = shared_data("sentinel1", ANNOTATIONS[0])
    grid = read_grid(path).with_range_interpolation(interpolation)
    heights = hills((64, 64), relief=500.0)
    # 500 m postings: the tile lies under five records.
    dem = dem_around(46.6, 10.8, heights, posting=500.0)
    ground, radar = models(dem, grid, read_orbit(path))
    assert_exact(ground, radar, dem.values)
    line, _ = located(ground, radar, dem.values)
    stamps = grid.azimuth_time(line)
    assert grid.ground_range is not None
    inside = (grid.ground_range.time > stamps.min()) & (grid.ground_range.time < stamps.max())
    assert inside.sum() >= 4


@settings(max_examples=15)
@given(
    st.sampled_from(sorted(PLACES)),
    st.integers(0, 1000),
    st.floats(0.0, 2000.0),
    st.floats(1.0, 10.0),
    st.tuples(st.integers(1, 64), st.integers(1, 64)),
    st.floats(20.0, 60.0),
)
def test_tiles_are_exact_over_any_terrain(
    place: str, seed: int, relief: float, size: float, shape: tuple[int, int], incidence: float
) -> None:
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(latitude, longitude, incidence=incidence, height=1000.0)
    whole = hills((64, 64), relief=relief, size=size, seed=seed)
    dem = dem_around(latitude, longitude, whole, crs=crs, posting=40.0)
    heights = np.ascontiguousarray(dem.values[: shape[0], : shape[1]])
    assert_exact(*models(dem, grid, orbit), heights)


@settings(max_examples=20)
@given(st.floats(-3000.0, 3000.0), st.sampled_from(["utm", "polar-south", "turned"]))
def test_raised_terrain_moves_towards_the_radar(lift: float, place: str) -> None:
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(latitude, longitude, height=1000.0, ground_range=False)
    dem = dem_around(latitude, longitude, hills((20, 20)), crs=crs)
    ground, radar = models(dem, grid, orbit)
    line, sample = located(ground, radar, dem.values)
    raised_line, raised_sample = located(ground, radar, dem.values + np.float32(lift))
    slant = grid.sample_spacing * (raised_sample - sample)
    # The slant range shrinks by the cosine of incidence, 34 degrees here.
    assert slant.min() > min(-lift * 0.85, -lift * 0.80) - 1e-2
    assert slant.max() < max(-lift * 0.85, -lift * 0.80) + 1e-2
    assert np.abs(raised_line - line).max() < 1e-3 * abs(lift) + 1e-6


def test_voids_stay_void_and_disturb_nobody() -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    dem = dem_around(46.0, 10.0, hills((64, 64)))
    ground, radar = models(dem, grid, orbit)
    whole = located(ground, radar, dem.values)
    holed = dem.values.copy()
    void = np.random.default_rng(1).random(holed.shape) < 0.3
    holed[void] = np.nan
    for before, after in zip(whole, located(ground, radar, holed), strict=True):
        assert np.isnan(after[void]).all()
        assert np.abs(after - before)[~void].max() < 2 * TOLERANCE
    for nothing in located(ground, radar, np.full_like(holed, np.nan)):
        assert np.isnan(nothing).all()


def test_the_span_of_heights_passes_over_voids() -> None:
    heights = np.array([[np.nan, 3.0], [-7.0, 5.0]], dtype=np.float32)
    assert height_span(heights) == (-7.0, 5.0)
    assert np.isnan(height_span(np.full((2, 2), np.nan, dtype=np.float32))).all()


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_the_other_side_of_the_track_is_told_apart(look_side: LookSide) -> None:
    grid, orbit = synthetic_grid(look_side=look_side)
    other = replace(grid, look_side="left" if look_side == "right" else "right")
    dem = dem_around(46.0, 10.0, hills((10, 10)))
    assert cell_on_look_side(*models(dem, grid, orbit), 5.0, 5.0)
    assert not cell_on_look_side(*models(dem, other, orbit), 5.0, 5.0)
