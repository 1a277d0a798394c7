"""Pooling over neighbours, roughness, the error model, posterior means and backscatter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels.estimation import (
    LEAST_LOGARITHM,
    average,
    conclude,
    error_variance,
    logarithms,
    pool,
    rcs_balance,
    regress,
    to_backscatter,
)
from sarheight_kernels.smoothing import mean_slope_changes
from scipy.ndimage import gaussian_filter, uniform_filter

from sarheight.layover.tiles import gaussian_taps

Values = NDArray[np.float32]


def test_errors_add_up_by_their_terms() -> None:
    share = np.array([[0.0, 0.5, 1.0, 1.2, np.nan]], dtype=np.float32)
    speckle, change = np.full_like(share, 0.02), np.full_like(share, 0.3)
    speckle[0, 2] = np.nan
    error = np.empty_like(share)
    expected, bends = np.full_like(change, 4.0), np.full_like(change, 0.2)
    terms = (0.03, 2.0, 0.8, 0.1, 0.5)
    error_variance(share, speckle, 4.0 * change, expected, bends, terms, error)
    rest, bent = 0.03 + 2.0 * 0.02 + 0.1 * 0.3, 0.5 * 0.2
    np.testing.assert_allclose(
        error[0],
        [rest + 0.8, rest + 0.2 + 0.25 * bent, np.nan, rest + bent, rest + 0.8],
        rtol=1e-5,
    )


def test_an_average_is_by_precision_and_lies_between() -> None:
    random = np.random.default_rng(0)
    value, prediction = random.normal(0.0, 1.0, (2, 20, 30)).astype(np.float32)
    error, spread = random.uniform(0.1, 2.0, (2, 20, 30)).astype(np.float32)
    value[3] = np.nan
    error[4] = np.nan
    spread[5] = np.inf
    mean, variance = np.empty_like(value), np.empty_like(value)
    average(value, error, prediction, spread, mean, variance)
    alone = np.s_[3:5]
    np.testing.assert_array_equal(mean[alone], prediction[alone])
    np.testing.assert_array_equal(variance[alone], spread[alone])
    np.testing.assert_array_equal(mean[5], value[5])
    rest = np.s_[6:]
    precision = 1.0 / error[rest] + 1.0 / spread[rest]
    both = (value[rest] / error[rest] + prediction[rest] / spread[rest]) / precision
    np.testing.assert_allclose(mean[rest], both, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance[rest], 1.0 / precision, rtol=1e-5)


def regressed(value: Values, error: Values, angle: Values, taps: tuple[Values, Values]) -> Values:
    prediction = np.empty_like(value)
    scale = 0.0, 1.0, -np.inf, np.inf
    regress(value, error, angle, scale, 0.0, (0.05, 0.3, 0.1), *taps, prediction)
    return prediction


def test_stated_variances_grow_with_what_others_hold_and_values_weigh_by_precision() -> None:
    value = np.array([[0.1, np.nan, 0.3, 0.4]], dtype=np.float32)
    error = np.array([[0.2, 0.2, np.nan, 0.4]], dtype=np.float32)
    variance = np.array([[0.1, 0.3, 0.3, 0.1]], dtype=np.float32)
    share = np.array([[1.0, 0.5, np.nan, 1.5]], dtype=np.float32)
    own, stated = np.empty_like(value), np.empty_like(value)
    conclude(value, error, variance, share, (1.25, 2.0), own, stated)
    np.testing.assert_allclose(own, [[0.5, 0.0, 0.0, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(stated / variance, [[1.25, 1.8125, 2.0, 1.25]], rtol=1e-6)


def test_a_prediction_is_the_least_squares_one_without_the_cell_itself() -> None:
    """By NumPy's solver, with the priors as two more observations."""
    random = np.random.default_rng(4)
    shape = 14, 17
    value, angle = random.normal(0.0, 1.0, (2, *shape)).astype(np.float32)
    error = random.uniform(0.02, 0.5, shape).astype(np.float32)
    value[2, 3:5] = np.nan
    error[9, 9] = np.nan
    down, across = gaussian_taps(1.0), gaussian_taps(1.3)
    taps = down / down.max(), across / across.max()
    prediction = regressed(value, error, angle, taps)
    for row, column in ((0, 0), (2, 3), (7, 8), (13, 16), (9, 9)):
        design = [[np.sqrt(1.0 / 0.3), 0.0], [0.0, np.sqrt(1.0 / 0.1)]]
        target = [0.0, 0.0]
        for i, j in np.ndindex(*shape):
            reach = down.size // 2, across.size // 2
            offset = i - row, j - column
            inside = abs(offset[0]) <= reach[0] and abs(offset[1]) <= reach[1]
            if offset == (0, 0) or not inside or np.isnan(value[i, j] + error[i, j]):
                continue
            kernel = taps[0][offset[0] + reach[0]] * taps[1][offset[1] + reach[1]]
            weight = np.sqrt(kernel / (error[i, j] + 0.05))
            design.append([weight, weight * angle[i, j]])
            target.append(weight * value[i, j])
        u, t = np.linalg.lstsq(np.array(design), np.array(target), rcond=None)[0]
        assert prediction[row, column] == pytest.approx(
            u + t * angle[row, column], rel=1e-3, abs=1e-4
        )


def test_a_prediction_does_not_hear_the_cell_itself() -> None:
    random = np.random.default_rng(5)
    value, angle = random.normal(0.0, 1.0, (2, 12, 12)).astype(np.float32)
    error = np.full_like(value, 0.1)
    width = gaussian_taps(1.0) / gaussian_taps(1.0).max()
    before = regressed(value, error, angle, (width, width))
    value[6, 6] += 5.0
    after = regressed(value, error, angle, (width, width))
    assert after[6, 6] == pytest.approx(before[6, 6], abs=1e-4)
    assert abs(after[6, 7] - before[6, 7]) > 0.1


def test_ground_with_a_slope_of_its_own_is_predicted_where_none_is_seen() -> None:
    """Cells about 35 degrees tell the level, those beside tell the slope."""
    random = np.random.default_rng(6)
    angle = random.uniform(-1.5, 1.5, (40, 40)).astype(np.float32)
    value = 0.4 - 0.3 * angle
    error = np.full_like(value, 1e-3)
    angle[20, 20], value[20, 20] = -2.5, np.nan
    width = gaussian_taps(1.5) / gaussian_taps(1.5).max()
    prediction = regressed(value, error, angle, (width, width))
    assert prediction[20, 20] == pytest.approx(0.4 + 0.3 * 2.5, abs=0.08)


def test_logarithms_are_bounded_and_keep_what_is_missing() -> None:
    numerator = np.array([[2.0, 0.0, -1.0, 3.0, np.nan, 1.0]], dtype=np.float32)
    denominator = np.array([[1.0, 1.0, 1.0, 0.0, 1.0, 1.0]], dtype=np.float32)
    expected = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 0.0]], dtype=np.float32)
    known = np.full_like(numerator, 0.5)
    value = np.empty_like(numerator)
    logarithms(numerator, denominator, expected, known, value)
    floor = float(LEAST_LOGARITHM)
    found = [[np.log(2.0) + 0.5, floor, floor, np.nan, np.nan, np.nan]]
    np.testing.assert_allclose(value, found, rtol=1e-6)


def test_logarithms_are_exact_to_single_precision() -> None:
    ratio = np.exp(np.random.default_rng(3).uniform(-6.9, 40.0, (20, 301))).astype(np.float32)
    ratio[0, :3] = 1.0, np.float32(1.0 + 2e-7), np.float32(np.sqrt(0.5))
    ones, value = np.ones_like(ratio), np.empty_like(ratio)
    logarithms(ratio, ones, ones, np.empty((0, 0), np.float32), value)
    np.testing.assert_allclose(value, np.log(ratio.astype(np.float64)), rtol=3e-7, atol=2e-8)


def test_a_prediction_is_about_the_level_of_the_scene() -> None:
    random = np.random.default_rng(5)
    value, angle = random.normal(0.0, 1.0, (2, 12, 12)).astype(np.float32)
    error, width = np.full_like(value, 0.1), gaussian_taps(1.0) / gaussian_taps(1.0).max()
    found = np.empty_like(value)
    scale = 35.0, 10.0, -1.0, 1.5
    degrees = (35.0 + 10.0 * angle).astype(np.float32)
    regress(value + 7.0, error, degrees, scale, 7.0, (0.05, 0.3, 0.1), width, width, found)
    limited = np.clip(angle, -1.0, 1.5)
    expected = regressed(value, error, limited, (width, width)) + 7.0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_rcs_of_cells_with_and_without_value_adds_up() -> None:
    random = np.random.default_rng(1)
    expected, area = random.uniform(1.0, 5.0, (2, 15, 12)).astype(np.float32)
    given = random.uniform(0.0, 9.0, (15, 12)).astype(np.float32)
    mean = given / expected
    mean[4, 5] = np.nan
    area[0] = 0.2
    sums, variance = np.empty((15, 4)), np.full_like(mean, 0.1)
    rcs_balance(mean, variance, given, expected, area, 0.5, sums)
    held, withheld, cells, spread = sums.sum(axis=0)
    assert held + withheld == pytest.approx(given.sum(dtype=np.float64), rel=1e-6)
    assert withheld == pytest.approx(given[0].sum(dtype=np.float64) + given[4, 5], rel=1e-6)
    assert cells == 15 * 12 - 13
    assert spread == pytest.approx(0.1 * held, rel=1e-6)


def test_backscatter_is_rcs_over_area() -> None:
    shape = (6, 8)

    def full(value: float) -> NDArray[np.float32]:
        return np.full(shape, value, dtype=np.float32)

    heights, area, contribution = full(100.0), full(500.0), full(0.5)
    heights[0, 0] = np.nan
    area[0, 1] = 1.0
    mean, variance = full(2.0)[None].copy(), full(0.1)[None].copy()
    mean[0, 0, 0] = np.nan
    sigma = np.empty_like(mean)
    to_backscatter(
        np.array([1.5]), np.array([2.0]), 10.0, heights, full(100.0), full(60.0), area,
        contribution, mean, variance, sigma,
    )  # fmt: skip
    reported = np.ones(shape, dtype=bool)
    reported[0, :2] = False
    np.testing.assert_array_equal(np.isfinite(mean[0]), reported)
    np.testing.assert_array_equal(np.isfinite(contribution), reported)
    assert np.isnan(area[0, 0])
    np.testing.assert_allclose(mean[0][reported], 1.2 * 1.5 * 2.0 * 100.0 / 500.0, rtol=1e-6)
    np.testing.assert_allclose(sigma[0][reported], 0.5 * mean[0][reported], rtol=1e-6)
    np.testing.assert_allclose(variance[0][reported], mean[0][reported] ** 2 * 0.1, rtol=1e-5)


def test_sigma0_is_gamma0_by_the_cosine_of_incidence() -> None:
    angle = np.array([[0.0, 1e-3, 20.0, 45.0, 60.0, 89.0, 89.999, 90.0, 120.0, 180.0]])
    ones = np.ones_like(angle, dtype=np.float32)
    mean, variance, sigma = ones[None].copy(), ones[None].copy(), np.empty_like(ones)[None]
    to_backscatter(
        np.ones(1), np.zeros(1), 0.5, ones, ones, angle.astype(np.float32), ones.copy(),
        ones.copy(), mean, variance, sigma,
    )  # fmt: skip
    expected = np.cos(np.radians(angle.astype(np.float32).astype(np.float64)))
    np.testing.assert_allclose(sigma[0], expected, rtol=5e-7, atol=1e-7)


def draw(shape: tuple[int, int] = (150, 70)) -> tuple[Values, Values]:
    """Draw values with gaps, and weights."""
    random = np.random.default_rng(0)
    values = random.gamma(2.0, 1.0, shape).astype(np.float32)
    weight = random.uniform(0.5, 2.0, shape).astype(np.float32)
    values[20:22, 30:50] = np.nan
    weight[60:70, 10:14] = 0.0
    return values, weight


def pooled(values: Values, weight: Values, down: Values, across: Values) -> Values:
    result = np.empty_like(values)
    pool(values, weight, down, across, result)
    return result


@pytest.mark.parametrize("deviations", [(1.5, 1.5), (0.6, 2.3), (3.0, 0.2)])
def test_it_is_a_ratio_of_two_gaussian_filters(deviations: tuple[float, float]) -> None:
    """Of which both find nothing beyond the border."""
    values, weight = draw()
    down, across = gaussian_taps(deviations[0]), gaussian_taps(deviations[1])
    known = np.isfinite(values) & (weight > 0.0)
    share = np.where(known, weight, 0.0).astype(np.float64)
    expected = [
        gaussian_filter(each, deviations, mode="constant", truncate=4.0)
        for each in (share * np.nan_to_num(values), share)
    ]
    np.testing.assert_allclose(
        pooled(values, weight, down, across), expected[0] / expected[1], rtol=2e-5
    )


def test_nothing_within_reach_is_no_value() -> None:
    values, weight = draw((30, 30))
    weight[:, 12:] = 0.0
    width = gaussian_taps(1.0)
    found = pooled(values, weight, width, width)
    assert np.isfinite(found[:, : 12 + width.size // 2]).all()
    assert np.isnan(found[:, 12 + width.size // 2 :]).all()


def test_a_constant_stays_one() -> None:
    _, weight = draw()
    width = gaussian_taps(2.0)
    found = pooled(np.full_like(weight, 7.0), weight, width, width)
    np.testing.assert_allclose(found, 7.0, rtol=1e-6)


@pytest.mark.parametrize("lags", [(1, 1), (2, 3)])
def test_slopes_change_as_scipy_finds_them(lags: tuple[int, int]) -> None:
    """Squares by rolled copies, averaged by SciPy; voids and borders change no slope."""
    random = np.random.default_rng(3)
    heights = random.normal(0.0, 40.0, (150, 90)).cumsum(0).cumsum(1).astype(np.float32)
    heights[30:33, 40:50] = np.nan
    squares = np.zeros(heights.shape)
    for axis, (lag, factor) in enumerate(zip(lags, (0.02, 0.03), strict=True)):
        along, sums = np.moveaxis(heights.astype(float), axis, 0), np.moveaxis(squares, axis, 0)
        change = factor * (along[2 * lag :] - 2.0 * along[lag:-lag] + along[: -2 * lag])
        sums[lag:-lag] += np.nan_to_num(change**2)
    sizes = [4 * lag + 1 for lag in lags]
    expected = uniform_filter(squares, sizes, mode="nearest")
    most = float(np.quantile(expected, 0.9))
    window = tuple(np.full(size, 1.0 / size, np.float32) for size in sizes)
    found = np.empty_like(heights)
    mean_slope_changes(heights, lags, (0.02, 0.03), window, most, found)
    np.testing.assert_allclose(found, np.minimum(expected, most), rtol=1e-4)
    # Rows and columns in the other order: the same bits.
    turned = np.empty_like(heights)
    mean_slope_changes(heights[::-1, ::-1].copy(), lags, (0.02, 0.03), window, most, turned)
    np.testing.assert_array_equal(turned[::-1, ::-1], found)
