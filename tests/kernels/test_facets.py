"""Areas of facets, against cross products of Earth-fixed positions."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.facets import facet_areas, facet_rcs
from sarheight_kernels.orbit import zero_doppler_time
from sarheight_kernels.tiles import height_span

from sarheight.ellipsoid import LookSide
from sarheight.geometry.tables import ground_model, radar_model
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from tests.dems import PLACES, dem_around, hills, positions
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]


def areas(
    grid: RadarGrid, orbit: Orbit, place: str, heights: Floats, posting: float = 30.0
) -> tuple[Floats, Floats, Floats]:
    """Areas and projected areas by the kernel, and the positions of the posts by pyproj."""
    crs, latitude, longitude = PLACES[place]
    dem = dem_around(latitude, longitude, heights, crs=crs, posting=posting)
    area = np.empty((dem.shape[0] - 1, dem.shape[1] - 1))
    projected = np.empty_like(area)
    facet_areas(
        ground_model(dem.x.values, dem.y.values, pyproj.CRS(crs)),
        radar_model(grid, orbit),
        dem.values,
        0,
        0,
        *height_span(dem.values),
        area,
        projected,
    )
    return area, projected, positions(dem)


def exact_areas(orbit: Orbit, posts: Floats) -> tuple[Floats, Floats]:
    """Half the cross product of the diagonals, and its part along the line of sight."""
    one, other = posts[1:, 1:] - posts[:-1, :-1], posts[1:, :-1] - posts[:-1, 1:]
    vector = 0.5 * np.cross(one, other)
    middle = 0.25 * (posts[1:, 1:] + posts[:-1, :-1] + posts[1:, :-1] + posts[:-1, 1:])
    vector *= np.sign(np.sum(vector * middle, axis=-1))[..., None]
    time = np.array(
        [
            zero_doppler_time(*each, 0.0, orbit.start, orbit.coefficients)
            for each in middle.reshape(-1, 3)
        ]
    ).reshape(middle.shape[:2])
    sight = orbit.state(time)[0] - middle
    sight /= np.linalg.norm(sight, axis=-1)[..., None]
    return np.linalg.norm(vector, axis=-1), np.sum(vector * sight, axis=-1)


EARTH = 6.36e6


def tolerance(heights: Floats) -> float:
    """Relative error allowed: horizontal lengths are taken at the mean height of the tile."""
    return 2e-6 + float(np.ptp(heights)) / EARTH


@pytest.mark.parametrize(
    ("place", "relief", "look_side"),
    [
        ("utm", 0.0, "right"),
        ("utm", 2.0, "left"),
        *((place, 300.0, side) for place, side in zip(PLACES, ("right", "left") * 9, strict=False)),
    ],
)
def test_areas_are_those_of_the_facets(place: str, relief: float, look_side: LookSide) -> None:
    _, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(latitude, longitude, look_side=look_side, height=1000.0)
    heights = hills((41, 51), relief=relief, size=3.0)
    area, projected, posts = areas(grid, orbit, place, heights)
    exact, exact_projected = exact_areas(orbit, posts)
    np.testing.assert_allclose(area, exact, rtol=tolerance(heights))
    assert np.abs(projected - exact_projected).max() < tolerance(heights) * exact.max()


@settings(max_examples=20)
@given(
    st.integers(0, 1000),
    st.floats(0.0, 1000.0),
    st.sampled_from([10.0, 30.0, 100.0]),
    st.floats(20.0, 55.0),
)
def test_areas_hold_over_any_terrain(
    seed: int, relief: float, posting: float, incidence: float
) -> None:
    grid, orbit = synthetic_grid(incidence=incidence, height=1000.0)
    heights = hills((12, 15), relief=relief, size=2.0, seed=seed)
    area, projected, posts = areas(grid, orbit, "geographic", heights, posting)
    exact, exact_projected = exact_areas(orbit, posts)
    np.testing.assert_allclose(area, exact, rtol=tolerance(heights))
    assert np.abs(projected - exact_projected).max() < tolerance(heights) * exact.max()


@given(st.floats(-400.0, 8000.0))
def test_lifted_terrain_has_almost_the_same_areas(lift: float) -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    heights = hills((8, 9), relief=50.0, size=2.0)
    area, _, _ = areas(grid, orbit, "utm", heights)
    lifted, _, _ = areas(grid, orbit, "utm", heights + lift)
    # Horizontal lengths grow with the distance from the Earth's centre.
    assert (np.abs(lifted / area - 1.0) <= 2.1 * abs(lift) / EARTH + 2e-5).all()


def test_a_facet_with_a_void_post_has_no_area() -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    heights = hills((6, 7))
    whole, _, _ = areas(grid, orbit, "utm", heights)
    heights[2, 3] = np.nan
    area, projected, _ = areas(grid, orbit, "utm", heights)
    void = np.zeros_like(area, dtype=bool)
    void[1:3, 2:4] = True
    assert np.array_equal(np.isnan(area), void)
    assert np.array_equal(np.isnan(projected), void)
    np.testing.assert_allclose(area[~void], whole[~void], rtol=1e-4)


def test_rcs_is_the_law_times_the_area() -> None:
    law = np.linspace(0.0, 1.0, 5) ** 2
    area = np.array([[100.0, 200.0, 300.0, np.nan]])
    projected = np.array([[100.0, 50.0, -30.0, np.nan]])
    facet_rcs(law, area, projected)
    # A cosine of 1, one of a quarter, one that faces away, and a void.
    np.testing.assert_allclose(area, [[100.0, 200.0 / 16.0, 0.0, 0.0]])
    np.testing.assert_array_equal(projected, [[100.0, 50.0, 0.0, 0.0]])
