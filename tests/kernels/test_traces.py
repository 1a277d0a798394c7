"""Profiles of the terrain in the planes of zero Doppler, against places in space by pyproj."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyproj
import pytest
from sarheight_kernels.profiles import knots_of, trace_profile
from scipy.interpolate import RegularGridInterpolator

from sarheight.geometry.pass_geometry import PassGeometry, pass_geometry
from sarheight.geometry.visibility import terrain_profiles
from tests.dems import PLACES, Floats, dem_around, hills
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from sarheight.ellipsoid import LookSide
    from sarheight.orbit import Orbit

TO_GEODETIC = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
RELIEF = 100.0


def scene(
    place: str, heights: Floats | None = None, look_side: LookSide = "right"
) -> tuple[PassGeometry, Orbit]:
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(
        latitude, longitude, look_side=look_side, height=1000.0, lines=500, samples=600
    )
    heights = hills((90, 110), relief=RELIEF) if heights is None else heights
    return pass_geometry(dem_around(latitude, longitude, heights, crs=crs), grid, orbit), orbit


def traced(seen: PassGeometry, profile: int) -> tuple[float, Floats, Floats]:
    """Time of a profile, its outward and downward coordinates."""
    scan = terrain_profiles(seen)
    columns = scan.heights.shape[1]
    outward, downward = np.empty(columns), np.empty(columns)
    time = scan.first_time + profile * scan.interval
    knots = knots_of(scan.ground, columns)
    trace_profile(knots, seen.radar, scan.heights, time, scan.reference_height, outward, downward)
    return time, outward, downward


@pytest.mark.parametrize(
    ("place", "look_side"),
    [("utm", "right"), ("utm", "left"), ("geographic", "right"), ("turned", "left")],
)
def test_a_profile_lies_on_the_terrain(place: str, look_side: LookSide) -> None:
    seen, orbit = scene(place, look_side=look_side)
    count = 0
    for profile in range(0, terrain_profiles(seen).count, 5):
        time, outward, downward = traced(seen, profile)
        satellite, velocity = orbit.state(np.array([time]))
        along = velocity[0] / np.linalg.norm(velocity[0])
        down = (satellite[0] @ along) * along - satellite[0]
        down /= np.linalg.norm(down)
        out = (1.0 if look_side == "right" else -1.0) * np.cross(down, along)
        points = satellite[0] + np.outer(outward, out) + np.outer(downward, down)
        longitude, latitude, height = TO_GEODETIC.transform(*points[np.isfinite(outward)].T)
        to_map = pyproj.Transformer.from_crs(4326, seen.dem.rio.crs, always_xy=True)
        x, y = to_map.transform(longitude, latitude)
        terrain = RegularGridInterpolator(
            (-seen.dem.y.values, seen.dem.x.values), seen.heights.astype(float), bounds_error=False
        )(np.stack((-y, x), axis=-1))
        inside = np.isfinite(terrain)
        # The plane leans by some thousandths, and no slope is much steeper than 45 degrees.
        np.testing.assert_allclose(height[inside], terrain[inside], atol=6e-3 * RELIEF)
        count += inside.sum()
    assert count > 1000


def test_a_profile_ends_soon_beyond_the_dem_and_beside_voids() -> None:
    """A cell serves a profile that passes within 0.6 rows; further off there is no terrain."""
    heights = np.full((90, 110), 1000.0)
    whole, _ = scene("utm", heights)
    heights[40] = np.nan
    heights[60:, 70] = np.nan
    holed, _ = scene("utm", heights)
    count = terrain_profiles(whole).count
    for profile in range(0, count, 3):
        _, outward, downward = traced(whole, profile)
        _, holed_outward, holed_downward = traced(holed, profile)
        left = np.isfinite(holed_outward)
        np.testing.assert_array_equal(left, np.isfinite(holed_downward))
        assert np.isfinite(outward)[left].all()
        np.testing.assert_allclose(holed_outward[left], outward[left], rtol=1e-12)
        np.testing.assert_allclose(holed_downward[left], downward[left], rtol=1e-12)
    # Row 40 with what is nearer to it than 0.4 rows, and column 70 below, on every profile once.
    lost = sum(
        np.isfinite(traced(whole, each)[1]).sum() - np.isfinite(traced(holed, each)[1]).sum()
        for each in range(count)
    )
    assert lost == pytest.approx(0.8 * 110 + 30, rel=0.1)
