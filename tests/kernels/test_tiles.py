"""Tiles of a DEM: radar coordinates against exact solutions, posts, facets and bounds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.models import GroundModel, RadarModel, cell_on_look_side, locate_cell
from sarheight_kernels.tiles import (
    TILE,
    geolocate,
    geolocation_bounds,
    height_span,
    locate_tile,
    tile_box,
    tile_count,
    tile_posts,
    tile_surface,
)
from scipy.interpolate import KroghInterpolator

from sarheight.ellipsoid import LookSide
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.geometry.tables import ground_model, radar_model
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower
from sarheight.illumination.simulate import illuminate
from sarheight.orbit import Orbit
from sarheight.sentinel1 import read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import PLACES, dem_around, hills, positions
from tests.kernels.test_facets import exact_areas
from tests.mountains import located_cells, look, mountain, random_terrain, raster
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]

TOLERANCE = 5e-6
"""In lines and samples."""


WAYS = ((True, "right"), (True, "left"), (False, "left"), (False, "right"))
every_place = pytest.mark.parametrize(
    ("crs", "latitude", "longitude", "ascending", "look_side"),
    [(*place, *way) for k, place in enumerate(PLACES.values()) for way in WAYS[k % 2 :: 2]],
)
"""Each from two of the four ways to look: to either side, from either node."""


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


@every_place
def test_tiles_are_exact(
    crs: str, latitude: float, longitude: float, look_side: LookSide, *, ascending: bool
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
def test_tiles_are_exact_at_any_posting(posting: float, *, ground_range: bool) -> None:
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


def test_the_span_of_heights_passes_over_voids() -> None:
    heights = np.array([[np.nan, 3.0], [-7.0, 5.0]], dtype=np.float32)
    assert height_span(heights) == (-7.0, 5.0)
    assert np.isnan(height_span(np.full((2, 2), np.nan, dtype=np.float32))).all()


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


@every_place
def test_cells_are_imaged_when_the_satellite_is_nearest(
    crs: str, latitude: float, longitude: float, look_side: LookSide, *, ascending: bool
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


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_tiles_on_the_other_side_are_recognised_and_void(look_side: LookSide) -> None:
    grid, orbit = synthetic_grid(look_side=look_side)
    other = replace(grid, look_side="left" if look_side == "right" else "right")
    dem = dem_around(46.0, 10.0, hills((10, 10)))
    assert cell_on_look_side(*models(dem, grid, orbit), 5.0, 5.0)
    assert not cell_on_look_side(*models(dem, other, orbit), 5.0, 5.0)
    heights = hills((TILE + 6, TILE + 20))
    line, sample, _ = coordinates(other, orbit, "EPSG:32632", 46.0, 10.0, heights)
    assert np.isnan(line).all()
    assert np.isnan(sample).all()


@pytest.mark.parametrize("part", [0.3, 0.5])
def test_voids_stay_void_and_change_no_other_cell(part: float) -> None:
    """Nor where tiles are void as a whole."""
    grid, orbit = synthetic_grid()
    heights = hills((TILE + 6, TILE + 20))
    whole = coordinates(grid, orbit, "EPSG:32632", 46.0, 10.0, heights)
    void = np.random.default_rng(2).random(heights.shape) < part
    void[:, TILE + 1 :] = True
    holed = coordinates(grid, orbit, "EPSG:32632", 46.0, 10.0, np.where(void, np.nan, heights))
    for before, after in zip(whole[:2], holed[:2], strict=True):
        assert np.array_equal(np.isnan(after), void)
        assert np.abs(after - before)[~void].max() < 1e-5


@given(st.integers(1, 3 * TILE), st.integers(1, 3 * TILE))
def test_tiles_cover_every_cell_once(rows: int, columns: int) -> None:
    heights = np.zeros((rows, columns), dtype=np.float32)
    covered = np.zeros((rows, columns), dtype=int)
    for tile in range(tile_count(heights)):
        row, end_row, column, end_column = tile_box(heights, tile)
        covered[row:end_row, column:end_column] += 1
    assert (covered == 1).all()


def test_posts_of_a_tile_reach_one_beyond_it_and_are_void_beyond_the_dem() -> None:
    heights = np.arange(70 * 130, dtype=np.float32).reshape(70, 130)
    padded = np.pad(heights, 1, constant_values=np.nan)
    for tile in range(tile_count(heights)):
        row, end_row, column, end_column = tile_box(heights, tile)
        expected = padded[row : end_row + 2, column : end_column + 2]
        np.testing.assert_array_equal(tile_posts(heights, tile), expected)


@pytest.mark.parametrize("ground_range", [True, False])
@pytest.mark.parametrize("look_side", ["right", "left"])
def test_bounds_hold_every_cell_of_their_tile(look_side: str, *, ground_range: bool) -> None:
    grid, orbit = look(ground_range=ground_range, look_side=look_side)  # type: ignore[arg-type]
    seen = pass_geometry(raster(random_terrain(3, 150, 140, relief=150.0)), grid, orbit)
    line, sample = located_cells(seen)
    for tile in range(tile_count(seen.heights)):
        row, end_row, column, end_column = tile_box(seen.heights, tile)
        cells = slice(row, end_row), slice(column, end_column)
        low_line, high_line, low_sample, high_sample = seen.bounds[tile]
        assert low_line <= line[cells].min() - 1.0 < line[cells].max() + 1.0 <= high_line
        assert low_sample <= sample[cells].min() - 1.0
        assert sample[cells].max() + 1.0 <= high_sample


def test_facets_have_the_areas_of_their_diagonals_cross_product() -> None:
    """Positions by pyproj, the line of sight by the orbit's own state vectors."""
    grid, orbit = look()
    dem = raster(mountain())
    seen = pass_geometry(dem, grid, orbit)
    law = CosinePower(0.3, 1.7)
    _, _, energy, projected = tile_surface(illuminate(seen, law).surface, 0)
    area, along = exact_areas(orbit, positions(dem))
    expected = np.maximum(along, 0.0)
    # The tile has a border of posts beyond the DEM: its facets are void.
    assert (projected[0] == 0.0).all()
    assert (projected[:, 0] == 0.0).all()
    rows, columns = (min(TILE, size) for size in seen.heights.shape)
    inner = slice(1, rows), slice(1, columns)
    known = slice(0, rows - 1), slice(0, columns - 1)
    np.testing.assert_allclose(projected[inner], expected[known], atol=2e-3 * 900.0)
    angle = np.degrees(np.arccos(np.clip(along / area, 0.0, 1.0)))
    np.testing.assert_allclose(
        energy[inner], np.where(along > 0.0, law(angle) * area, 0.0)[known], atol=2e-3 * 900.0
    )
    assert (expected == 0.0).any(), "the mountain should have slopes that face away"
