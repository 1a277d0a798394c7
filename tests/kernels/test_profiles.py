"""Layover and shadow along one profile, against formulas and a search of all rays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    CLEAR,
    FORESHORTENING,
    NO_DATA,
    PASSIVE_LAYOVER,
    shade,
)

from tests.cuts import (
    FORESHORTENING_THRESHOLD,
    HEIGHT,
    POSTING,
    Floats,
    classified,
    ground,
    is_layover,
    is_shadow,
    rough,
    terrains,
)


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


def test_slopes_are_foreshortened_by_how_much_they_compress() -> None:
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


@given(terrains, st.floats(20.0, 60.0), st.booleans())
def test_light_falls_where_the_classes_have_no_shadow(
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
    shade(x, HEIGHT - z, lit)
    np.testing.assert_array_equal(lit == 1, category < ACTIVE_SHADOW)


def test_nothing_but_void_has_no_data() -> None:
    nothing = np.full(5, np.nan)
    assert (classified(nothing, np.zeros(5)) == NO_DATA).all()
