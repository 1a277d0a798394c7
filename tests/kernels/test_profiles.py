"""Terrain profiles: traces in planes of zero Doppler, layover and shadow, range crossings."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.masks import (
    FORESHORTENED,
    ILLUMINATED,
    IN_LAYOVER,
    SHADOWED,
    count_crossings,
    count_folds,
    crossings_of,
)
from sarheight_kernels.models import RadarModel
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    CLEAR,
    FORESHORTENING,
    NO_DATA,
    PASSIVE_LAYOVER,
    empty_profile,
    illuminate_profile,
    knot_columns,
    profile_samples,
    trace_profile,
)
from scipy.interpolate import RegularGridInterpolator

from sarheight.doppler import zero_doppler_table
from sarheight.ellipsoid import LookSide
from sarheight.geometry.pass_geometry import PassGeometry, pass_geometry
from sarheight.geometry.visibility import terrain_profiles
from sarheight.orbit import Orbit
from tests.cuts import (
    FORESHORTENING_THRESHOLD,
    HEIGHT,
    POSTING,
    Floats,
    classified,
    ground,
    is_layover,
    is_shadow,
    profile_of,
    rough,
    terrains,
)
from tests.dems import PLACES, dem_around, hills
from tests.synthetic import synthetic_grid


def span(x: Floats, chosen: NDArray[np.bool_]) -> tuple[float, float]:
    return float(x[chosen].min()), float(x[chosen].max())


# ------------------------------------------------------------------------------------- formulas


@pytest.mark.parametrize("incidence", [20.0, 34.0, 50.0])
def test_flat_ground_is_clear(incidence: float) -> None:
    x = ground(incidence)
    assert (classified(x, np.full(x.size, 500.0)) == CLEAR).all()


@pytest.mark.parametrize("incidence", [25.0, 34.0, 45.0])
@pytest.mark.parametrize("cliff", [100.0, 400.0])
def test_a_cliff_that_faces_the_radar_lies_over(incidence: float, cliff: float) -> None:
    x = ground(incidence)
    foot, edge = x[200], x[201]
    category = classified(x, np.where(x >= edge, cliff, 0.0))
    # Ground farther than the top of the cliff, and terrace nearer than its foot.
    begin = np.sqrt(edge**2 + (HEIGHT - cliff) ** 2 - HEIGHT**2)
    end = np.sqrt(foot**2 + HEIGHT**2 - (HEIGHT - cliff) ** 2)
    nearest, farthest = span(x, is_layover(category))
    assert nearest == pytest.approx(begin, abs=POSTING)
    assert farthest == pytest.approx(end, abs=POSTING)
    assert is_layover(category)[(x > nearest) & (x < farthest)].all()
    # The fold itself lies between the two posts at the edge.
    assert np.array_equal(np.flatnonzero(category == ACTIVE_LAYOVER), [200, 201])
    assert not is_shadow(category).any()


@pytest.mark.parametrize("incidence", [25.0, 34.0, 45.0])
@pytest.mark.parametrize("cliff", [100.0, 400.0])
def test_a_cliff_that_faces_away_casts_a_shadow(incidence: float, cliff: float) -> None:
    x = ground(incidence)
    edge = x[200]
    category = classified(x, np.where(x > edge, 0.0, cliff))
    end = edge * HEIGHT / (HEIGHT - cliff)
    nearest, farthest = span(x, is_shadow(category))
    assert nearest == pytest.approx(edge, abs=POSTING)
    assert farthest == pytest.approx(end, abs=POSTING)
    assert is_shadow(category)[(x > edge) & (x < farthest)].all()
    assert (category[x > farthest + POSTING] == CLEAR).all()
    assert (category[x < edge - POSTING] == CLEAR).all()


@pytest.mark.parametrize("incidence", [25.0, 34.0, 45.0])
def test_a_ridge_lies_over_before_it_and_casts_a_shadow_behind(incidence: float) -> None:
    """A roof with slopes of 55 degrees on both sides of a crest of 300 m."""
    x = ground(incidence)
    slope, crest, top = np.tan(np.radians(55.0)), x[200], 300.0
    z = np.maximum(0.0, top - slope * np.abs(x - crest))
    category = classified(x, z)
    foot, back = crest - top / slope, crest + top / slope
    # Rays are straight from the satellite: the crest has this slant range and tangent.
    begin = np.sqrt(crest**2 + (HEIGHT - top) ** 2 - HEIGHT**2)
    nearest, farthest = span(x, is_layover(category))
    assert nearest == pytest.approx(begin, abs=POSTING)
    front = (x > foot + POSTING) & (x < crest - POSTING)
    assert (category[front] == ACTIVE_LAYOVER).all()
    assert (category[(x > nearest + POSTING) & (x < foot - POSTING)] == PASSIVE_LAYOVER).all()
    shaded = crest * HEIGHT / (HEIGHT - top)
    if 90.0 - incidence < 55.0:
        assert span(x, is_shadow(category))[1] == pytest.approx(shaded, abs=POSTING)
        assert shaded > back
    else:
        assert not is_shadow(category).any()
        # Behind the crest lies over what is nearer than the foot, in full light.
        foot_range = np.hypot(foot, HEIGHT)
        nearer = np.hypot(x, HEIGHT - z) < foot_range
        assert farthest == pytest.approx(x[nearer].max(), abs=POSTING)


def test_foreshortening_follows_the_growth_of_slant_range() -> None:
    x = ground(34.0)
    for degrees, foreshortened in [(5.0, False), (14.0, False), (20.0, True), (30.0, True)]:
        z = np.tan(np.radians(degrees)) * (x - x[0])
        # Slant range grows by sin(34 - slope) / (cos(slope) sin(34)) of what it does when flat.
        growth = np.sin(np.radians(34.0 - degrees)) / (
            np.cos(np.radians(degrees)) * np.sin(np.radians(34.0))
        )
        assert (growth < FORESHORTENING_THRESHOLD) == foreshortened
        expected = FORESHORTENING if foreshortened else CLEAR
        assert (classified(x, z) == expected).all()
        assert (classified(x, z, foreshortening=0.0) == CLEAR).all()


# ------------------------------------------------------------------------------------ all rays


def searched(x: Floats, z: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Layover and shadow of each point, by looking at a ten times finer terrain."""
    fine = np.linspace(x[0], x[-1], 10 * (x.size - 1) + 1)
    deep = HEIGHT - np.interp(fine, x, z)
    slant = np.hypot(fine, deep)
    layover, shadow = np.zeros(x.size, bool), np.zeros(x.size, bool)
    for index in range(x.size):
        nearer = fine < x[index] - 0.5 * POSTING
        farther = fine > x[index] + 0.5 * POSTING
        own = np.hypot(x[index], HEIGHT - z[index])
        layover[index] = (slant[nearer] > own).any() or (slant[farther] < own).any()
        # The ray passes fine at a depth in proportion to its distance.
        ray = fine[nearer] / x[index] * (HEIGHT - z[index])
        shadow[index] = (deep[nearer] < ray).any()
    return layover, shadow


def inland(classes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Points further than a posting from any border of a class, and from the ends."""
    same = np.ones(classes.size, dtype=bool)
    for step in (1, 2):
        same[step:] &= classes[step:] == classes[:-step]
        same[:-step] &= classes[:-step] == classes[step:]
    same[:2] = same[-2:] = False
    return same


@given(terrains, st.floats(20.0, 60.0))
def test_scanning_finds_what_a_search_of_all_rays_finds(
    terrain: tuple[int, float, float], incidence: float
) -> None:
    x, z = ground(incidence, 300), rough(terrain)
    layover, shadow = searched(x, z)
    category = classified(x, z)
    for found, expected in ((is_layover(category), layover), (is_shadow(category), shadow)):
        clear_cut = inland(expected)
        assert (found == expected)[clear_cut].mean() > 0.99


@given(terrains, st.floats(20.0, 60.0))
def test_the_direction_of_the_scan_makes_no_difference(
    terrain: tuple[int, float, float], incidence: float
) -> None:
    x, z = ground(incidence, 300), rough(terrain)
    np.testing.assert_array_equal(
        classified(x[::-1].copy(), z[::-1].copy()), classified(x, z)[::-1]
    )


@given(terrains, st.floats(20.0, 60.0), st.floats(-500.0, 5000.0))
def test_terrain_may_be_lifted_or_void_in_part(
    terrain: tuple[int, float, float], incidence: float, lift: float
) -> None:
    x, z = ground(incidence, 300), rough(terrain)
    category = classified(x, z)
    assert (category != NO_DATA).all()
    # Lifting terrain turns the line of sight by less than half a degree.
    assert (is_layover(classified(x, z + lift)) != is_layover(category)).mean() < 0.1
    void = np.random.default_rng(terrain[0]).random(x.size) < 0.2
    holed = classified(np.where(void, np.nan, x), z)
    assert np.array_equal(holed == NO_DATA, void)
    assert (classified(np.full(5, np.nan), np.zeros(5)) == NO_DATA).all()


@given(terrains, st.floats(20.0, 60.0), st.booleans())
def test_points_are_illuminated_where_the_classes_have_no_shadow(
    terrain: tuple[int, float, float],
    incidence: float,
    backwards: bool,  # noqa: FBT001
) -> None:
    x, z = ground(incidence, 300), rough(terrain)
    z[np.random.default_rng(terrain[0]).random(z.size) < 0.05] = np.nan
    x = np.where(np.isnan(z), np.nan, x)
    if backwards:
        x, z = x[::-1].copy(), z[::-1].copy()
    category, lit = classified(x, z), np.empty(z.size, np.uint8)
    illuminate_profile(profile_of(x, z), lit)
    np.testing.assert_array_equal(lit == 1, category < ACTIVE_SHADOW)


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


def traced(seen: PassGeometry, number: int) -> tuple[float, Floats, Floats]:
    """Time of a profile, its outward and downward coordinates."""
    scan, _ = terrain_profiles(seen)
    columns = scan.heights.shape[1]
    time = scan.first_time + number * scan.interval
    knots, profile = knot_columns(scan.ground, columns), empty_profile(columns)
    trace_profile(knots, scan, time, profile)
    return time, profile.outward, profile.downward


@pytest.mark.parametrize(
    ("place", "look_side"),
    [("utm", "right"), ("utm", "left"), ("geographic", "right"), ("turned", "left")],
)
def test_a_profile_lies_on_the_terrain(place: str, look_side: LookSide) -> None:
    seen, orbit = scene(place, look_side=look_side)
    count = 0
    for profile in range(0, terrain_profiles(seen)[1].count, 5):
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
    count = terrain_profiles(whole)[1].count
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


def split(sheets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The four counts of each sample, shape (samples, 4)."""
    kinds = (ILLUMINATED, SHADOWED, IN_LAYOVER, FORESHORTENED)
    return np.array([[crossings_of(counts, kind) for kind in kinds] for counts in sheets[:-1]])


def counted(x: Floats, z: Floats, samples: int, spacing: float) -> tuple[Floats, NDArray[np.int64]]:
    """Slant range at the samples, and the numbers of sheets there, shape (samples, 4)."""
    near = float(np.hypot(x[0], HEIGHT - z[0])) - 20.0 * spacing
    radar = RadarModel(
        orbit_start=np.zeros(1),
        orbit_coefficients=np.zeros((1, 8, 3)),
        line_zero_time=0.0,
        line_interval=1.0,
        segment_start=np.zeros(1),
        segment_origin=np.zeros(1),
        coefficients=np.array([[0.0, 1.0]]),
        rate=np.zeros((1, 2)),
        range_middle=near,
        range_half=spacing,
        bistatic_range=0.0,
        bistatic_rate=0.0,
        side=1.0,
        **zero_doppler_table()._asdict(),
    )
    profile, sheets = profile_of(x, z), np.empty(samples + 1, dtype=np.int64)
    profile_samples(radar, 0.0, profile)
    count_crossings(profile, classified(x, z), sheets)
    assert sheets[-1] == 0
    slant = near + spacing * np.arange(samples, dtype=np.float64)
    np.testing.assert_allclose(near + spacing * profile.sample, np.hypot(x, HEIGHT - z), rtol=1e-12)
    return slant, split(sheets)


def test_a_ridge_has_three_crossings_at_one_range() -> None:
    x = ground(34.0)
    slope, crest, top = np.tan(np.radians(50.0)), x[200], 300.0
    z = np.maximum(0.0, top - slope * np.abs(x - crest))
    slant, sheets = counted(x, z, 600, 5.0)
    folded = (np.hypot(crest, HEIGHT - top), np.hypot(crest - top / slope, HEIGHT))
    within = (slant > folded[0] + POSTING) & (slant < folded[1] - POSTING)
    beside = (slant > np.hypot(x[0], HEIGHT)) & (slant < np.hypot(x[-1], HEIGHT))
    beside &= (slant < folded[0] - POSTING) | (slant > folded[1] + POSTING)
    assert within.sum() > 15
    assert (sheets[within, 0] == 3).all()
    assert (sheets[within, 2] == 1).all()
    assert (sheets[beside, 0] == 1).all()
    assert (sheets[:, 1] == 0).all()
    assert (sheets[slant > np.hypot(x[-1], HEIGHT) + POSTING] == 0).all()


@given(terrains, st.floats(20.0, 60.0))
def test_a_slant_range_is_crossed_an_odd_number_of_times(
    terrain: tuple[int, float, float], incidence: float
) -> None:
    """A curve that comes from nearer and goes to farther crosses in between an odd number."""
    x, z = ground(incidence, 300), rough(terrain)
    slant, sheets = counted(x, z, 800, 3.0)
    ends = np.hypot(x, HEIGHT - z)[[0, -1]]
    between = (slant > ends[0]) & (slant < ends[1])
    outside = (slant < ends.min()) | (slant > ends.max())
    total = sheets[:, 0] + sheets[:, 1]
    assert (total[between] % 2 == 1).all()
    assert (total[outside] % 2 == 0).all()
    assert (sheets[:, 2] <= sheets[:, 0]).all()
    # One sheet at every slant range between its ends is all there is without layover.
    if not is_layover(classified(x, z)).any():
        assert (total[between] == 1).all()


@given(terrains, st.floats(20.0, 60.0), st.integers(1, 400))
def test_counts_agree_with_a_walk_from_point_to_point(
    terrain: tuple[int, float, float], incidence: float, samples: int
) -> None:
    """Also across voids, and at the ends of an image."""
    random = np.random.default_rng(terrain[0])
    x, z = ground(incidence, 300), rough(terrain)
    category = classified(np.where(random.random(x.size) < 0.1, np.nan, x), z)
    place = 0.5 * (np.hypot(x, HEIGHT - z) - np.hypot(x[0], HEIGHT - z[0]))
    place[category == NO_DATA] = np.nan
    sheets, folds = np.empty(samples + 1, dtype=np.int64), np.empty(x.size, dtype=np.uint8)
    profile = profile_of(x, z)
    profile.sample[:] = place
    count_crossings(profile, category, sheets)
    count_folds(profile, category, sheets, folds)

    expected = np.zeros((samples, 4), dtype=np.int64)
    centre = np.arange(samples)
    for i in range(x.size - 1):
        pair, here = category[i : i + 2], place[i : i + 2]
        # Half open, so that a point on a sample's centre is in one sheet and not in two.
        passed = (centre > here.min()) & (centre <= here.max())
        dark = (pair >= ACTIVE_SHADOW).all()
        kinds = (not dark, dark, (pair == ACTIVE_LAYOVER).all(), (pair == FORESHORTENING).any())
        expected[passed] += kinds
    np.testing.assert_array_equal(split(sheets), expected)
    nearest = np.floor(place + 0.5)
    inside = (nearest >= 0) & (nearest < samples)
    assert np.array_equal(folds == 255, ~inside)
    lit = expected[nearest[inside].astype(int), 0]
    np.testing.assert_array_equal(folds[inside], np.maximum(lit, category[inside] < ACTIVE_SHADOW))
