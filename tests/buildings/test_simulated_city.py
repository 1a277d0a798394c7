"""Simulated cities: what trigonometry says of one box, and of a whole city its statistics."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pyproj
import pytest
import xarray as xr

from sarheight.buildings import check_stack
from tests.worlds.city import City, Cover, boxes_of, build_city, in_cells, make_city
from tests.worlds.city_districts import HIGHEST, LOWEST, STYLES
from tests.worlds.city_images import CitySettings, simulated_city
from tests.worlds.city_optical import OpticalSettings, city_optical, shaded, sun
from tests.worlds.city_radar import (
    LAW,
    LEVELS,
    NOISE,
    WALL,
    RadarSettings,
    RadarView,
    Site,
    city_radar,
    corner_heights,
    radar_view,
)

EXTENT = 320.0
MIDDLE = 0.5 * EXTENT
SIDE, DEPTH = 60.0, 20.0
STILL = RadarSettings(variety=0.0, floor=0.0)
THETA = math.radians(STILL.incidence)
UTM = pyproj.CRS.from_epsg(32631)
CORNER = (500_000.0, 5_500_000.0)
LONGITUDE, LATITUDE = pyproj.Transformer.from_crs(UTM, 4326, always_xy=True).transform(
    CORNER[0] + MIDDLE, CORNER[1] + MIDDLE
)
SITE = Site(UTM, *CORNER, LATITUDE, LONGITUDE)


def one_box(height: float, turn: float = 0.0) -> City:
    """Make a city of one box, whose long side faces `turn` radians from east."""
    boxes = boxes_of([(MIDDLE, MIDDLE, SIDE, DEPTH, turn + 0.5 * math.pi, height, 0)])
    return build_city(EXTENT, [], boxes, np.random.default_rng(0))


def sight_of(*, ascending: bool) -> float:
    """Direction from the ground to the radar, radians counterclockwise from east.

    The satellite looks at a right angle to its track, whose angle with the meridian is that of a
    circular orbit of 98.18 degrees, and a little more as the Earth turns below. On the way to
    the ground the look turns with the meridians.
    """
    latitude = math.radians(SITE.latitude)
    track = math.asin(-math.cos(math.radians(98.18)) / math.cos(latitude))
    turning = math.radians(2.6)
    # The angle at the Earth's centre between satellite and ground.
    away = THETA - math.asin(6378.137 / (6378.137 + 693.0) * math.sin(THETA))
    meridians = away * math.tan(latitude)
    tilt = track + turning - meridians
    return math.pi + tilt if ascending else -tilt


@cache
def seen_box(height: float, *, ascending: bool = True) -> tuple[RadarView, City]:
    """Look at a box that faces the radar."""
    city = one_box(height, sight_of(ascending=ascending))
    random = np.random.default_rng(1)
    return radar_view(city, SITE, ascending=ascending, settings=STILL, random=random), city


def middle_of(energy: np.ndarray) -> tuple[float, float]:
    """Line and sample of the centre of gravity."""
    line, sample = np.indices(energy.shape)
    return float((line * energy).sum() / energy.sum()), float(
        (sample * energy).sum() / energy.sum()
    )


def place_of_middle(seen: RadarView) -> tuple[float, float]:
    """Line and sample of the ground in the city's middle."""
    half = seen.line.shape[0] // 2
    window = slice(half - 1, half + 1)
    return float(seen.line[window, window].mean()), float(seen.sample[window, window].mean())


@pytest.mark.parametrize(("ascending", "height"), [(True, 8.0), (True, 30.0), (False, 30.0)])
def test_the_corner_lies_at_the_foot_of_the_wall_and_is_as_bright_as_the_wall_is_large(
    ascending: bool,  # noqa: FBT001 - of pytest
    height: float,
) -> None:
    seen, _ = seen_box(height, ascending=ascending)
    line, sample = middle_of(seen.corners)
    ground_line, ground_sample = place_of_middle(seen)
    # Samples of 10 m count ground range away from the radar: the near wall is half a depth before.
    assert 10.0 * (ground_sample - sample) == pytest.approx(0.5 * DEPTH, abs=0.5)
    assert 10.0 * (line - ground_line) == pytest.approx(0.0, abs=1.0)
    expected = SIDE * height * math.tan(THETA)
    assert seen.corners.sum() == pytest.approx(expected, rel=0.02)


def test_a_wall_that_faces_elsewhere_has_no_corner_of_its_own() -> None:
    random = np.random.default_rng(1)
    turned = one_box(15.0, sight_of(ascending=True) + math.radians(45.0))
    seen = radar_view(turned, SITE, ascending=True, settings=STILL, random=random)
    # Two walls are seen at 45 degrees: each with the cosine and the lobe of the roughness.
    lobe = math.exp(-((math.tan(THETA) * math.sin(0.25 * math.pi)) ** 2) / (4 * 0.3**2))
    expected = (SIDE + DEPTH) * 15.0 * math.tan(THETA) * math.cos(0.25 * math.pi) * lobe
    assert seen.corners.sum() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("ascending", [True, False])
def test_a_roof_is_laid_over_towards_the_radar(
    ascending: bool,  # noqa: FBT001 - of pytest
) -> None:
    height = 30.0
    seen, city = seen_box(height, ascending=ascending)
    roof = int(city.cover[city.building > 0.0][0])
    middle = place_of_middle(seen)[1]
    moved = 10.0 * (middle - middle_of(seen.parts[roof])[1])
    laid_over = height / math.tan(THETA)
    assert moved == pytest.approx(laid_over, abs=2.0)
    # The wall lies between its foot and the roof.
    near = 10.0 * (middle - middle_of(seen.parts[WALL])[1])
    assert 0.5 * DEPTH < near < 0.5 * DEPTH + laid_over
    # The radar stands in the west of an ascending pass, in the east of a descending one.
    eastwards = np.diff(seen.sample, axis=1).mean()
    assert (eastwards > 0.0) == ascending


def test_behind_a_box_there_is_a_radar_shadow() -> None:
    seen, city = seen_box(30.0)
    ground = np.sum([seen.parts[kind] for kind in (Cover.ASPHALT, Cover.GRASS)], axis=0)
    line, sample = (round(value) for value in place_of_middle(seen))
    behind = round((0.5 * DEPTH + 0.5 * 30.0 * math.tan(THETA)) / 10.0)
    assert ground[line, sample + behind] < 0.4 * np.median(ground[ground > 0.0])
    assert city.building.max() == pytest.approx(30.0)


def test_walls_shadow_each_other() -> None:
    tangent = math.tan(THETA)
    heights = (15.0, 12.0)
    gap = 20.0
    apart = 0.5 * (gap + DEPTH)
    boxes = boxes_of(
        [
            (MIDDLE - apart, MIDDLE, DEPTH, SIDE, 0.0, heights[0], 0),
            (MIDDLE + apart, MIDDLE, DEPTH, SIDE, 0.0, heights[1], 0),
        ]
    )
    city = build_city(EXTENT, [], boxes, np.random.default_rng(0), posting=1.0)
    found = corner_heights(city, math.pi, THETA)
    behind = (city.walls.building == 1) & (np.abs(city.walls.normal - math.pi) < 0.01)
    inner = behind & (np.abs(city.walls.y - MIDDLE) < 0.3 * SIDE)
    # The radar is in the west; the eastern box looks at the back of the western one.
    assert found[inner] == pytest.approx(gap / tangent - heights[0], abs=1.5 / tangent)
    away = np.abs(np.cos(city.walls.normal) - 1.0) < 0.01
    assert (found[away] == 0.0).all()


def test_only_what_rises_before_a_wall_hides_it() -> None:
    lone = one_box(20.0)
    walls = lone.walls
    assert corner_heights(lone, 0.0, THETA).max() == pytest.approx(20.0)
    assert walls.length.sum() == pytest.approx(2 * (SIDE + DEPTH), rel=0.05)


def test_flat_ground_has_the_level_of_its_law_and_as_many_looks_as_stated() -> None:
    bare = build_city(EXTENT, [], boxes_of([]), np.random.default_rng(0))
    water = replace(
        bare,
        cover=np.full_like(bare.cover, Cover.ASPHALT),
        brightness=np.zeros_like(bare.brightness),
    )
    settings = RadarSettings(images=2.0)
    images = city_radar(water, SITE, settings, np.random.default_rng(3))
    for band, polarisation in enumerate((0, 1, 0, 1)):
        level = 10.0 ** (LEVELS[Cover.ASPHALT][polarisation] / 10.0)
        expected = NOISE + level * float(LAW(np.array([settings.incidence]))[0])
        assert images[:, band].mean() == pytest.approx(expected, rel=0.03)
    mean, spread = images[:, 0].mean(), images[:, 0].std()
    # Geocoding interpolates a little more speckle away.
    assert (mean / spread) ** 2 == pytest.approx(2.0 * settings.looks, rel=0.3)


@pytest.mark.parametrize(
    ("elevation", "azimuth"), [(20.0, 180.0), (50.0, 135.0), (20.0, 90.0), (50.0, 180.0)]
)
def test_a_shadow_is_as_long_as_the_sun_makes_it(elevation: float, azimuth: float) -> None:
    surface = np.zeros((201, 201))
    surface[100, 100] = 30.0
    posting = 1.0
    rows, columns = np.nonzero(shaded(surface, posting, elevation, azimuth))
    lengths = np.hypot(rows - 100, columns - 100) * posting
    assert lengths.max() == pytest.approx(30.0 / math.tan(math.radians(elevation)), abs=1.5)
    away = math.radians(azimuth + 180.0)
    far = np.argmax(lengths)
    assert columns[far] - 100 == pytest.approx(lengths[far] * math.sin(away), abs=1.0)
    assert 100 - rows[far] == pytest.approx(lengths[far] * math.cos(away), abs=1.0)
    # Without a sun all is dark, and without heights nothing else.
    assert shaded(0.0 * surface, posting, -1.0, azimuth).all()
    assert not shaded(0.0 * surface, posting, elevation, azimuth).any()


def test_the_sun_stands_in_the_south_east_of_a_morning_and_highest_in_june() -> None:
    elevations = [sun(month, 50.0)[0] for month in range(1, 13)]
    assert int(np.argmax(elevations)) + 1 == 6
    assert int(np.argmin(elevations)) + 1 == 12
    assert all(90.0 < sun(month, 50.0)[1] < 180.0 for month in range(1, 13))
    # At an equinox the noon sun stands at the complement of the latitude; 22.5 degrees earlier
    # in the day its sine is smaller by their cosine.
    expected = math.degrees(math.asin(math.cos(math.radians(50.0)) * math.cos(math.radians(22.5))))
    assert sun(3, 50.0)[0] == pytest.approx(expected, abs=3.0)
    assert sun(1, -35.0)[0] > sun(7, -35.0)[0]


def test_shadows_darken_red_more_than_blue() -> None:
    city = one_box(30.0)
    still = OpticalSettings(variety=0.0, noise=0.0, clouds=(0.0, 0.0))
    flat = replace(city, surface=np.zeros_like(city.surface))
    images, plain = (
        city_optical(each, 50.0, still, np.random.default_rng(0)) for each in (city, flat)
    )
    with np.errstate(invalid="ignore"):
        share = np.nanmin(images[11] / plain[11], axis=(1, 2))
    assert share[0] > share[2] > share[8]
    assert share[8] < 0.4


@pytest.mark.parametrize(("share", "apart"), [(0.0, 0.0), (1.0, 0.0), (0.4, 0.15)])
def test_clouds_have_the_given_share(share: float, apart: float) -> None:
    # Nothing and all lie so far beyond the ends that no luck brings them back.
    level = share if apart else 20.0 * share - 10.0
    settings = OpticalSettings(clouds=(level, level), cloud_size=40.0)
    city, random = one_box(10.0), np.random.default_rng(0)
    shares = [np.isnan(city_optical(city, 50.0, settings, random)).mean() for _ in range(2)]
    assert np.mean(shares) == pytest.approx(share, abs=apart)


@pytest.fixture(scope="module")
def small() -> xr.Dataset:
    """A small city, whose plan is that of `city_of(320.0, 4)`."""
    return simulated_city(CitySettings(cells=32, posting=5.0), seed=4)


@cache
def city_of(extent: float, seed: int, style: str = "european") -> City:
    return make_city(extent, seed, posting=5.0, style=style)


def test_a_city_is_a_stack_flagged_as_simulated(small: xr.Dataset) -> None:
    check_stack(small)
    assert "simulated" in small.attrs
    assert "simulated" in small.attrs["provenance"]
    assert small.sizes == {"month": 12, "sar_band": 4, "optical_band": 10, "y": 32, "x": 32}
    assert small.rio.crs.to_epsg() in range(32601, 32661)
    # Built cells are brighter in both passes.
    built = small["footprint"].values > 0.5
    open_ground = small["footprint"].values == 0.0
    for band in small["sar"].mean("month").values:
        assert band[built].mean() > 2.0 * np.median(band[open_ground])


def test_heights_and_densities_are_those_of_european_cities() -> None:
    heights, shares = [], []
    for seed in range(3):
        city = city_of(640.0, seed)
        building = city.building[city.inner]
        heights.append(building[building > 0.0])
        shares.append((building > 0.0).mean())
    together = np.concatenate(heights)
    assert together.min() >= LOWEST
    assert together.max() <= HIGHEST
    assert 8.0 < together.mean() < 20.0
    assert 0.08 < np.mean(shares) < 0.4


def test_height_is_the_mean_over_the_built_part(small: xr.Dataset) -> None:
    height, footprint = small["height"].values, small["footprint"].values
    assert ((height > 0.0) == (footprint > 0.0)).all()
    assert (height[footprint > 0.0] >= LOWEST - 1e-3).all()
    city = city_of(320.0, 4)
    volume = in_cells(city.building[city.inner], 2)
    np.testing.assert_allclose(height * footprint, volume, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (CitySettings(cells=31), "31 cells"),
        (CitySettings(cells=0), "0 cells"),
        (CitySettings(cells=32, posting=3.0), "whole number of 3 m"),
        (CitySettings(cells=32, posting=0.0), "expected"),
    ],
)
def test_cells_that_do_not_fit(settings: CitySettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulated_city(settings)


# --- worlds as wide as real cities ---------------------------------------------------------------


def test_styles_differ_in_height_and_density() -> None:
    found = {}
    for style in ("european", "east asian", "mediterranean", "informal"):
        city = city_of(640.0, 1, style)
        building = city.building[city.inner]
        found[style] = ((building > 0.0).mean(), np.percentile(building[building > 0.0], 99.0))
    assert found["east asian"][1] > HIGHEST > found["mediterranean"][1]
    assert found["informal"][0] > 1.5 * found["european"][0]
    assert found["informal"][1] < 20.0


def test_the_margin_holds_the_layover_of_the_tallest() -> None:
    for style in STYLES.values():
        assert style.margin % 20.0 == 0.0
        assert style.margin >= style.tallest / math.tan(math.radians(40.0)) - 10.0


def test_a_pitched_roof_has_its_ridge_along_the_longer_side() -> None:
    extent, angle = 100.0, 0.0
    boxes = boxes_of([(50.0, 50.0, 40.0, 10.0, angle, 8.0, 3)])
    random = np.random.default_rng(0)
    cities = [
        build_city(extent, [], boxes, random, posting=1.0, gables=True, margin=20.0)
        for _ in range(8)
    ]
    pitched = [each for each in cities if (each.cover == Cover.TILE_ROOF).any()]
    assert pitched
    roof = pitched[0].building[pitched[0].inner]
    ridge = 5.0 * math.tan(math.radians(35.0))
    assert roof.max() == pytest.approx(8.0 + ridge, abs=0.5)
    inside = roof[roof > 0.0]
    assert inside.mean() == pytest.approx(8.0 + 0.5 * ridge, abs=0.1)
    # Along the ridge all is level, across it the two sides are alike.
    assert np.ptp(roof[50, 35:65]) == 0.0
    np.testing.assert_allclose(roof[45:50, 50], roof[50:55, 50][::-1])


def test_a_wide_world_draws_its_geometry_and_gaps_by_its_seed() -> None:
    wide = CitySettings.wide(cells=32, posting=5.0)
    stacks = [simulated_city(wide, seed=seed) for seed in (1, 2)]
    for stack in stacks:
        check_stack(stack)
        assert all(29.0 <= each <= 46.0 for each in stack.attrs["incidences"])
        assert -50.0 <= stack.attrs["latitude"] <= 60.0
    xr.testing.assert_identical(stacks[0], simulated_city(wide, seed=1))
    assert not np.array_equal(*(each["height"].values for each in stacks))
    missing = np.concatenate([np.isnan(each["sar"].values).all(axis=(2, 3)) for each in stacks])
    assert missing.any()
    # Both polarisations of a pass are missing together.
    np.testing.assert_array_equal(missing[:, 0], missing[:, 1])


def test_snow_is_bright_and_dark_in_the_short_wave_infrared() -> None:
    city = city_of(320.0, 4)
    clear = OpticalSettings(clouds=(0.0, 0.0), noise=0.0)
    plain, snowy = (
        city_optical(city, 50.0, each, np.random.default_rng(0))
        for each in (clear, replace(clear, snow=1.0))
    )
    green, infrared = 1, 8
    assert np.nanmean(snowy[0, green]) > 2.0 * np.nanmean(plain[0, green])
    assert np.nanmean(snowy[0, infrared]) < np.nanmean(plain[0, infrared])
    assert np.nanmean(snowy[6]) == pytest.approx(np.nanmean(plain[6]), rel=0.05)
