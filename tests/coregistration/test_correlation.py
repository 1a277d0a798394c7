from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sarheight.coregistration._correlation import (
    Moments,
    Pool,
    bandpass,
    correlation,
    log_bandpass,
    moments,
    peak_of,
    significance,
)

Floats = NDArray[np.float64]
REACH = 6
SIZE = 30


def ground(seed: int, size: int = SIZE + 2 * REACH) -> Floats:
    rough = gaussian_filter(np.random.default_rng(seed).standard_normal((size, size)), 1.5)
    return np.asarray(rough / rough.std())


def window_of(simulation: Floats, line: int, sample: int) -> Floats:
    """Cut the window of an image that lies (line, sample) further on than its simulation."""
    return simulation[REACH - line : REACH - line + SIZE, REACH - sample : REACH - sample + SIZE]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), holes=st.floats(0.0, 0.5))
@example(seed=1, holes=0.0)
def test_moments_are_those_of_each_shift(seed: int, holes: float) -> None:
    random = np.random.default_rng(seed)
    simulation = ground(seed)
    image = random.standard_normal((SIZE, SIZE))
    valid = random.random(image.shape) >= holes
    lit = random.random(simulation.shape) >= holes
    surface = correlation([moments(image, valid, simulation, lit)])
    assert surface.shape == (2 * REACH + 1, 2 * REACH + 1)
    for line, sample in random.integers(-REACH, REACH + 1, (5, 2)):
        both = valid & (window_of(lit.astype(np.float64), line, sample) > 0.0)
        expected = np.corrcoef(image[both], window_of(simulation, line, sample)[both])[0, 1]
        assert surface[line + REACH, sample + REACH] == pytest.approx(expected, abs=1e-9)


@given(line=st.integers(-4, 4), sample=st.integers(-4, 4))
@settings(max_examples=15, deadline=None)
def test_a_whole_shift_is_a_correlation_of_one(line: int, sample: int) -> None:
    simulation = ground(1)
    everywhere = np.ones(simulation.shape, dtype=bool)
    image = 5.0 + 2.0 * window_of(simulation, line, sample)
    surface = correlation([moments(image, np.ones(image.shape, bool), simulation, everywhere)])
    assert surface[line + REACH, sample + REACH] == pytest.approx(1.0)
    assert surface.max() == pytest.approx(1.0)
    found = peak_of(surface, (5, 5))
    assert found[:2] == pytest.approx((line, sample), abs=0.1)
    assert found[2]


def test_what_lies_under_a_hole_has_no_influence() -> None:
    simulation = ground(2)
    image = window_of(simulation, 1, 2).copy()
    valid = np.ones(image.shape, dtype=bool)
    valid[5:12, 8:20] = False
    everywhere = np.ones(simulation.shape, dtype=bool)
    first = correlation([moments(image, valid, simulation, everywhere)])
    image[~valid] = 1e3
    second = correlation([moments(image, valid, simulation, everywhere)])
    np.testing.assert_allclose(first, second, atol=1e-9)
    power = np.where(valid, np.exp(window_of(simulation, 1, 2)), np.nan)
    np.testing.assert_array_equal(
        log_bandpass(power, valid), log_bandpass(np.where(valid, power, 1e9), valid)
    )


def test_a_peak_of_a_paraboloid_is_found_exactly() -> None:
    row, column = np.mgrid[-6:7, -6:7].astype(float)
    surface = 1.0 - 0.02 * (row - 1.3) ** 2 - 0.03 * (column + 2.4) ** 2
    surface += 0.01 * (row - 1.3) * (column + 2.4)
    line, sample, inside = peak_of(surface, (5, 5))
    assert (line, sample) == pytest.approx((1.3, -2.4))
    assert inside


def test_a_peak_at_the_limit_is_told_and_a_saddle_is_not_followed() -> None:
    row, column = np.mgrid[-6:7, -6:7].astype(float)
    for where in ((-3.0, 0.0), (0.0, 3.0), (9.0, 9.0)):
        surface = -((row - where[0]) ** 2) - (column - where[1]) ** 2
        assert not peak_of(surface, (3, 3))[2]
    ridge = -0.1 * column[3:-3, 3:-3] ** 2
    assert peak_of(ridge, (2, 2))[:2] == (-2.0, 0.0)
    flat = np.ones((SIZE, SIZE))
    everywhere = np.ones((SIZE + 2 * REACH,) * 2, dtype=bool)
    without_contrast = correlation([moments(flat, flat > 0, ground(3), everywhere)])
    assert np.abs(without_contrast).max() < 1e-6


def test_significance_counts_standard_deviations() -> None:
    surface = 0.01 * np.random.default_rng(1).standard_normal((41, 41))
    surface[20 + 3, 20 - 4] = 0.2
    assert significance(surface, 3.0, -4.0) == pytest.approx(20.0, rel=0.1)
    assert significance(np.zeros((41, 41)), 0.0, 0.0) == 0.0


def test_detail_leaves_out_what_varies_slowly() -> None:
    row = np.mgrid[:80, :80][0].astype(float)
    everywhere = np.ones(row.shape, dtype=bool)
    inside = slice(30, 50)
    assert np.abs(bandpass(0.3 * row, everywhere)[inside, inside]).max() < 1e-3
    rough = np.random.default_rng(0).standard_normal(row.shape)
    assert bandpass(rough, everywhere).std() > 0.3


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_detail_is_the_difference_of_two_gaussian_means(holes: float) -> None:
    random = np.random.default_rng(1)
    values = random.standard_normal((70, 55)) - 6.0
    valid = random.random(values.shape) >= holes
    fine, coarse = (
        gaussian_filter(np.where(valid, values, 0.0), width, mode="constant")
        / gaussian_filter(valid.astype(np.float64), width, mode="constant")
        for width in (0.7, 8.0)
    )
    np.testing.assert_allclose(bandpass(values, valid)[valid], (fine - coarse)[valid], atol=1e-5)
    assert not bandpass(values, valid)[~valid].any()
    # A constant has no detail, at borders either, in single precision.
    assert np.abs(bandpass(np.full(valid.shape, 7.0), valid)).max() < 1e-5
    power = random.gamma(1.0, 1.0, (40, 40)) - 0.05
    everywhere = np.ones(power.shape, dtype=bool)
    assert np.isfinite(log_bandpass(power, everywhere)).all()
    assert not log_bandpass(power, ~everywhere).any()
    assert not log_bandpass(-np.ones((5, 5)), np.ones((5, 5), bool)).any()


# --------------------------------------------------------------------------------------- pooling


def compared(seed: int, line: int = 0, sample: int = 0, noise: float = 1.0) -> Moments:
    simulation = ground(seed)
    everywhere = np.ones(simulation.shape, dtype=bool)
    random = np.random.default_rng(1000 + seed)
    image = window_of(simulation, line, sample)
    image = image + noise * random.standard_normal(image.shape)
    return moments(image, np.ones(image.shape, bool), simulation, everywhere)


def test_a_pool_is_better_than_its_windows_and_has_the_error_of_its_shift() -> None:
    pools = [Pool.of([compared(20 * k + seed) for seed in range(9)]) for k in range(25)]
    own = np.concatenate([pool.window_shifts for pool in pools])
    together = np.array([pool.shift for pool in pools])
    assert together.std() < 0.5 * own.std()
    ratio = np.array([pool.shift / pool.error for pool in pools])
    assert 0.5 < np.sqrt(np.mean(ratio**2)) < 1.5
    # Few windows have the error of white noise, and noise without a peak has no bound.
    single = Pool.of([compared(1)])
    assert single.used.all()
    assert (single.error > 0.0).all()
    assert (np.abs(single.shift) < 5.0 * single.error).all()
    nothing = Moments(-np.ones((13, 13)), np.ones((13, 13)), np.ones((13, 13)), 100)
    assert np.isinf(Pool.of([nothing]).error).all()


def test_outliers_are_set_aside() -> None:
    pool = Pool.of([*(compared(seed) for seed in range(8)), compared(8, 4, -3)])
    assert pool.used.tolist() == [True] * 8 + [False]
    assert np.abs(pool.shift).max() < 0.2
