"""How many sheets of terrain lie at a slant range, against formulas and what must be so."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.models import RadarModel
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    FOLDED,
    FORESHORTENING,
    LIT,
    NO_DATA,
    PRESSED,
    UNLIT,
    count_crossings,
    count_multiplicity,
    crossings_of,
    place_profile,
)

from tests.cuts import HEIGHT, POSTING, Floats, classified, ground, is_layover, rough, terrains


def split(sheets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The four counts of each sample, shape (samples, 4)."""
    kinds = (LIT, UNLIT, FOLDED, PRESSED)
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
    )
    place, sheets = np.empty(x.size), np.empty(samples + 1, dtype=np.int64)
    place_profile(radar, 0.0, x, HEIGHT - z, place)
    count_crossings(place, classified(x, z), sheets)
    assert sheets[-1] == 0
    slant = near + spacing * np.arange(samples, dtype=np.float64)
    np.testing.assert_allclose(near + spacing * place, np.hypot(x, HEIGHT - z), rtol=1e-12)
    return slant, split(sheets)


def test_a_ridge_folds_three_sheets_into_one_place() -> None:
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
def test_a_slant_range_is_met_an_odd_number_of_times(
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
def test_counts_are_those_of_a_walk_from_point_to_point(
    terrain: tuple[int, float, float], incidence: float, samples: int
) -> None:
    """Also across voids, and at the ends of an image."""
    random = np.random.default_rng(terrain[0])
    x, z = ground(incidence, 300), rough(terrain)
    category = classified(np.where(random.random(x.size) < 0.1, np.nan, x), z)
    place = 0.5 * (np.hypot(x, HEIGHT - z) - np.hypot(x[0], HEIGHT - z[0]))
    place[category == NO_DATA] = np.nan
    sheets, folds = np.empty(samples + 1, dtype=np.int64), np.empty(x.size, dtype=np.uint8)
    count_crossings(place, category, sheets)
    count_multiplicity(place, category, sheets, folds)

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
