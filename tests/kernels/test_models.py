"""Models of ground and sampling, and the way from the radar to the ground."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.models import (
    RadarModel,
    annotated_time,
    ground_patch,
    ground_position,
    range_sample,
    range_segment,
)
from sarheight_kernels.rdr2geo import geodetic, points_at_height

from sarheight.ellipsoid import SPEED_OF_LIGHT, LookSide
from sarheight.geometry.tables import LARGEST_PATCH, ground_model, radar_model
from sarheight.grid import RadarGrid
from sarheight.ground_range import RangeInterpolation
from sarheight.sentinel1 import read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import PLACES, TO_EARTH_FIXED, dem_around, hills, positions
from tests.synthetic import synthetic_grid


@pytest.mark.parametrize(("crs", "latitude", "longitude"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("posting", [20.0, 500.0])
def test_cells_lie_where_the_projection_puts_them(
    crs: str, latitude: float, longitude: float, posting: float
) -> None:
    dem = dem_around(latitude, longitude, hills((150, 170)), crs=crs, posting=posting)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(crs))
    exact, raised = positions(dem, np.zeros(dem.shape)), positions(dem, np.full(dem.shape, 1.0))
    for row in (0, 63, 64, 149):
        for column in (0, 100, 169):
            patch = ground_patch(ground, row, column)
            found = np.array(ground_position(ground, *patch, row, column))
            assert np.abs(found[:3] - exact[row, column]).max() < 2e-6
            assert np.abs(found[3:] - (raised - exact)[row, column]).max() < 1e-8


def test_a_patch_serves_its_neighbours_cells() -> None:
    """Facets and profiles reach a cell or two beyond a patch's own cells."""
    dem = dem_around(46.0, 10.0, hills((1100, 70)), crs="EPSG:4326", posting=90.0)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(4326))
    assert ground.coefficients.shape[0] == 2
    for row in (1021.5, 1022.0, 1023.5, 1025.0):
        first = np.array(ground_position(ground, 0, 0, row, 30.0))
        second = np.array(ground_position(ground, 1, 0, row, 30.0))
        assert np.abs(first - second)[:3].max() < 4e-6


@pytest.mark.parametrize(
    ("code", "west", "north", "posting"),
    [(4326, -70.0, -10.0, 0.02), (32632, 5e5, 5e6, 1500.0), (2056, 2.6e6, 1.2e6, 1500.0)],
)
def test_patches_of_a_wide_raster_shrink_until_they_follow_the_projection(
    code: int, west: float, north: float, posting: float
) -> None:
    x, y = west + posting * np.arange(1000), north - posting * np.arange(1000)
    ground = ground_model(x, y, pyproj.CRS(code))
    assert ground.patch_rows < LARGEST_PATCH
    rows, columns = np.random.default_rng(1).uniform(0.0, 999.0, (2, 300))
    to_degrees = pyproj.Transformer.from_crs(code, 4326, always_xy=True)
    place = to_degrees.transform(west + posting * columns, north - posting * rows)
    exact = np.stack(TO_EARTH_FIXED.transform(*place, np.zeros(300)), axis=-1)
    for row, column, expected in zip(rows, columns, exact, strict=True):
        found = ground_position(ground, *ground_patch(ground, row, column), row, column)
        assert np.abs(np.array(found[:3]) - expected).max() < 1e-6


@given(st.integers(-500, 3000), st.integers(-500, 3000))
def test_places_beyond_the_raster_take_the_nearest_patch(row: int, column: int) -> None:
    dem = dem_around(46.0, 10.0, hills((1100, 70)), posting=90.0)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(32632))
    down, across = ground_patch(ground, row, column)
    assert 0 <= down < ground.coefficients.shape[0]
    assert 0 <= across < ground.coefficients.shape[1]


# ---------------------------------------------------------------------------------- range sampling


def sampled(radar: RadarModel, slant_range: float, time: float) -> float:
    stamped = annotated_time(radar, time, slant_range)
    return range_sample(radar, range_segment(radar, stamped), stamped, slant_range)


def jagged(grid: RadarGrid) -> RadarGrid:
    """Let the records of a grid differ, as they do in mountains."""
    assert grid.ground_range is not None
    jumps = np.random.default_rng(3).normal(scale=30.0, size=grid.ground_range.time.size)
    records = replace(
        grid.ground_range,
        slant_to_ground=grid.ground_range.slant_to_ground + jumps[:, None] * (np.arange(9) == 0),
        ground_to_slant=grid.ground_range.ground_to_slant
        - 0.5 * jumps[:, None] * (np.arange(9) == 0),
    )
    return replace(grid, ground_range=records)


LONG_GRID, LONG_ORBIT = synthetic_grid(lines=4000, samples=2000)
SLANT_GRID, _ = synthetic_grid(lines=4000, samples=2000, ground_range=False, sample_spacing=2.3)
GRIDS = {
    "linear": jagged(LONG_GRID),
    "nearest": jagged(LONG_GRID).with_range_interpolation("nearest"),
    "slant": SLANT_GRID,
    "sheared": replace(jagged(LONG_GRID), bistatic_range=860e3),
}


@pytest.mark.parametrize("kind", GRIDS)
def test_samples_are_those_of_the_grid(kind: str) -> None:
    grid = GRIDS[kind]
    radar = radar_model(grid, LONG_ORBIT)
    random = np.random.default_rng(5)
    line = random.uniform(-100, grid.lines + 100, 500)
    wanted = random.uniform(-200, grid.samples + 200, 500)
    slant_range = grid.slant_range(line, wanted)
    time = grid.azimuth_time(line, slant_range)
    found = [sampled(radar, *pair) for pair in zip(slant_range, time, strict=True)]
    np.testing.assert_allclose(found, grid.sample(slant_range, time), rtol=0, atol=1e-6)
    stamps = [annotated_time(radar, *pair) for pair in zip(time, slant_range, strict=True)]
    lines = (np.array(stamps) - radar.line_zero_time) / radar.line_interval
    np.testing.assert_allclose(lines, grid.line(time, slant_range), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    # The inverse of a record's polynomial of degree 8 is not a polynomial.
    ("interpolation", "tolerance"),
    [("linear", 2e-6), ("nearest", 1e-4)],
)
def test_samples_of_a_real_grd_are_those_of_its_grid(
    interpolation: RangeInterpolation, tolerance: float
) -> None:
    path = shared_data("sentinel1", ANNOTATIONS[0])
    grid = read_grid(path).with_range_interpolation(interpolation)
    radar = radar_model(grid, read_orbit(path))
    random = np.random.default_rng(6)
    line, wanted = random.uniform(0, grid.lines, 500), random.uniform(0, grid.samples, 500)
    slant_range = grid.slant_range(line, wanted)
    time = grid.azimuth_time(line, slant_range)
    found = [sampled(radar, *pair) for pair in zip(slant_range, time, strict=True)]
    np.testing.assert_allclose(found, grid.sample(slant_range, time), rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", GRIDS)
def test_nothing_far_away_falls_back_into_the_image(kind: str) -> None:
    """Polynomials of high degree run wild beyond what they were fitted to; samples must not."""
    grid = GRIDS[kind].crop(slice(2000, 2100), slice(800, 900))
    radar = radar_model(grid, LONG_ORBIT)
    middle = float(grid.slant_range(50, 50))
    time = float(grid.azimuth_time(50, middle))
    slant_range = middle + np.concatenate(
        [-np.geomspace(2e6, 1.0, 400), np.geomspace(1.0, 2e7, 400)]
    )
    found = np.array([sampled(radar, each, time) for each in slant_range])
    assert (np.diff(found) > 0.0).all()


def test_the_residual_bistatic_delay_is_the_travel_time() -> None:
    radar = radar_model(GRIDS["sheared"], LONG_ORBIT)
    assert annotated_time(radar, 1.0, 860e3) == 1.0
    assert 1.0 - annotated_time(radar, 1.0, 870e3) == pytest.approx(10e3 / SPEED_OF_LIGHT, rel=1e-6)


def test_the_orbit_goes_on_straight_beyond_its_vectors() -> None:
    from sarheight_kernels.orbit import evaluate_orbit

    radar = radar_model(LONG_GRID, LONG_ORBIT)
    for end in (LONG_ORBIT.time[0], LONG_ORBIT.stop):
        position, velocity = LONG_ORBIT.state(end)
        for beyond in (1.0, 100.0, 5000.0):
            time = end + beyond * np.sign(end)
            state = np.array(evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients))
            np.testing.assert_allclose(state[:3], position + (time - end) * velocity, atol=1e-4)
    for time in np.linspace(LONG_ORBIT.time[0], LONG_ORBIT.stop, 50)[:-1]:
        state = np.array(evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients))
        np.testing.assert_array_equal(state[:3], LONG_ORBIT.state(time)[0])


Floats = NDArray[np.float64]


@given(st.floats(-180.0, 180.0), st.floats(-90.0, 90.0), st.floats(-10e3, 900e3))
def test_positions_become_geodetic_coordinates(
    longitude: float, latitude: float, height: float
) -> None:
    position = TO_EARTH_FIXED.transform(longitude, latitude, height)
    lam, phi, up = geodetic(*position)
    assert up == pytest.approx(height, abs=2e-8)
    back = TO_EARTH_FIXED.transform(np.degrees(lam), np.degrees(phi), up)
    np.testing.assert_allclose(back, position, rtol=0, atol=1e-6)


@given(
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.sampled_from([0.0, 46.0, -60.0]),
    st.floats(18.0, 65.0),
    st.floats(-400.0, 8800.0),
    st.floats(-10.0, 10.0),
)
def test_points_have_the_height_the_range_and_no_doppler(
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - a parameter of the test
    latitude: float,
    incidence: float,
    height: float,
    time: float,
) -> None:
    grid, orbit = synthetic_grid(
        latitude,
        10.0,
        incidence=incidence,
        look_side=look_side,
        ascending=ascending,
        ground_range=False,
    )
    middle = float(grid.azimuth_time(100)) + time
    slant_range = float(grid.slant_range(0, 125))
    lam, phi = np.empty(1), np.empty(1)
    points_at_height(
        radar_model(grid, orbit),
        np.array([middle]),
        np.array([slant_range]),
        np.array([height]),
        lam,
        phi,
    )
    point = np.array(TO_EARTH_FIXED.transform(np.degrees(lam[0]), np.degrees(phi[0]), height))
    position, velocity = orbit.state(middle)
    sight = point - position
    assert np.linalg.norm(sight) == pytest.approx(slant_range, abs=1e-5)
    assert sight @ velocity / np.linalg.norm(velocity) == pytest.approx(0.0, abs=1e-5)
    right = np.cross(velocity, position) @ sight > 0.0
    assert right == (look_side == "right")


def test_ranges_that_reach_no_ground_give_nothing() -> None:
    grid, orbit = synthetic_grid()
    radar = radar_model(grid, orbit)
    lam, phi = np.empty(4), np.empty(4)
    # Nearer than the height of the satellite; beyond the Earth; and what is not a number.
    slant_range = np.array([600e3, 20_000e3, np.nan, 850e3])
    height = np.array([0.0, 0.0, 0.0, np.nan])
    points_at_height(radar, np.zeros(4), slant_range, height, lam, phi)
    assert np.isnan(lam).all()
    assert np.isnan(phi).all()
