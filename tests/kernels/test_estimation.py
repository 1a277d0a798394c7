"""Pooling over neighbours, the error model, posterior means and backscatter."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels.estimation import (
    compare_with_neighbourhood,
    pool,
    posterior,
    rcs_balance,
    share_error_variance,
    to_backscatter,
)
from scipy.ndimage import gaussian_filter

from sarheight.layover.tiles import gaussian_taps


def test_errors_follow_the_class_and_the_share_of_others() -> None:
    contribution = np.array([[0.1, 0.5, 0.79], [0.8, 1.0, np.nan]], dtype=np.float32)
    error = np.empty_like(contribution)
    share_error_variance(contribution, np.array([0.5, 0.8]), np.array([3.0, 2.0, 0.0]), 10.0, error)
    expected = [
        [3.0 + 10.0 * 0.81, 2.0 + 10.0 * 0.25, 2.0 + 10.0 * 0.21**2],
        [0.0 + 10.0 * 0.04, 0.0, 3.0 + 10.0],
    ]
    np.testing.assert_allclose(error, expected, rtol=1e-5)


def test_a_share_at_an_edge_belongs_to_the_class_above() -> None:
    """However finely the edges lie, and where two of them are one."""
    edges = np.array([0.1, 0.3, 0.3, 0.7], dtype=np.float32).astype(np.float64)
    edges[3] += 1e-12
    contribution = np.array([[0.0999, 0.1, 0.3, 0.7, np.nextafter(0.7, 1.0, dtype=np.float32)]])
    error = np.empty_like(contribution, dtype=np.float32)
    excess = np.arange(5.0)
    share_error_variance(contribution.astype(np.float32), edges, excess, 0.0, error)
    np.testing.assert_array_equal(error, [[0.0, 1.0, 3.0, 3.0, 4.0]])


def test_the_posterior_lies_between_own_and_prior() -> None:
    random = np.random.default_rng(0)
    own, prior, error, spread = random.uniform(0.1, 2.0, (4, 20, 30)).astype(np.float32)
    weight = np.ones_like(own)
    weight[3] = 0.0
    mean, variance = np.empty_like(own), np.empty_like(own)
    posterior(own, error, weight, prior, spread, 0.1, mean, variance)
    assert np.isnan(mean[3]).all()
    assert np.isnan(variance[3]).all()
    keep = weight > 0.0
    assert (mean[keep] >= np.minimum(own, prior)[keep] - 1e-6).all()
    assert (mean[keep] <= np.maximum(own, prior)[keep] + 1e-6).all()
    posterior(own, np.zeros_like(error), weight, prior, spread, 0.1, mean, variance)
    np.testing.assert_allclose(mean[keep], own[keep], rtol=1e-6)
    np.testing.assert_array_equal(variance[keep], 0.0)


def test_rcs_of_cells_with_and_without_value_adds_up() -> None:
    random = np.random.default_rng(1)
    expected, area = random.uniform(1.0, 5.0, (2, 15, 12)).astype(np.float32)
    given = random.uniform(0.0, 9.0, (15, 12)).astype(np.float32)
    mean = given / expected
    mean[4, 5] = np.nan
    area[0] = 0.2
    sums = np.empty((15, 3))
    rcs_balance(mean, given, expected, area, 0.5, sums)
    held, withheld, cells = sums.sum(axis=0)
    assert held + withheld == pytest.approx(given.sum(dtype=np.float64), rel=1e-6)
    assert withheld == pytest.approx(given[0].sum(dtype=np.float64) + given[4, 5], rel=1e-6)
    assert cells == 15 * 12 - 13


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
        np.array([1.5]), 10.0, 4.0, heights, full(100.0), full(0.2), full(60.0), area,
        contribution, mean, variance, sigma,
    )  # fmt: skip
    reported = np.ones(shape, dtype=bool)
    reported[0, :2] = False
    np.testing.assert_array_equal(np.isfinite(mean[0]), reported)
    np.testing.assert_array_equal(np.isfinite(contribution), reported)
    assert np.isnan(area[0, 0])
    np.testing.assert_allclose(mean[0][reported], 1.5 * 2.0 * 100.0 / 500.0, rtol=1e-6)
    np.testing.assert_allclose(sigma[0][reported], 0.5 * mean[0][reported], rtol=1e-6)
    np.testing.assert_allclose(
        variance[0][reported], mean[0][reported] ** 2 * (0.1 + 0.2 / 4.0), rtol=1e-5
    )


def test_sigma0_is_gamma0_by_the_cosine_of_incidence() -> None:
    angle = np.array([[0.0, 1e-3, 20.0, 45.0, 60.0, 89.0, 89.999, 90.0, 120.0, 180.0]])
    ones = np.ones_like(angle, dtype=np.float32)
    mean, variance, sigma = ones[None].copy(), ones[None].copy(), np.empty_like(ones)[None]
    to_backscatter(
        np.ones(1), 0.5, 4.0, ones, ones, ones, angle.astype(np.float32), ones.copy(),
        ones.copy(), mean, variance, sigma,
    )  # fmt: skip
    expected = np.cos(np.radians(angle.astype(np.float32).astype(np.float64)))
    np.testing.assert_allclose(sigma[0], expected, rtol=5e-7, atol=1e-7)


Values = NDArray[np.float32]


def draw(shape: tuple[int, int] = (150, 70)) -> tuple[Values, Values]:
    """Draw values with gaps, and weights."""
    random = np.random.default_rng(0)
    values = random.gamma(2.0, 1.0, shape).astype(np.float32)
    weight = random.uniform(0.5, 2.0, shape).astype(np.float32)
    values[20:22, 30:50] = np.nan
    weight[60:70, 10:14] = 0.0
    return values, weight


def pooled(values: Values, weight: Values, down: Values, across: Values, summed: bool) -> Values:  # noqa: FBT001
    result = np.empty_like(values)
    pool(values, weight, summed, down, across, result)
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
        pooled(values, weight, down, across, summed=False), expected[0] / expected[1], rtol=2e-5
    )


def test_values_may_be_multiplied_by_their_weights_already() -> None:
    values, weight = draw()
    width = gaussian_taps(1.5)
    np.testing.assert_allclose(
        pooled(values * weight, weight, width, width, summed=True),
        pooled(values, weight, width, width, summed=False),
        rtol=1e-5,
    )


def test_nothing_within_reach_is_no_value() -> None:
    values, weight = draw((30, 30))
    weight[:, 12:] = 0.0
    width = gaussian_taps(1.0)
    found = pooled(values, weight, width, width, summed=False)
    assert np.isfinite(found[:, : 12 + width.size // 2]).all()
    assert np.isnan(found[:, 12 + width.size // 2 :]).all()


def test_a_constant_stays_one() -> None:
    _, weight = draw()
    width = gaussian_taps(2.0)
    found = pooled(np.full_like(weight, 7.0), weight, width, width, summed=False)
    np.testing.assert_allclose(found, 7.0, rtol=1e-6)


def test_a_few_cells_get_the_same_as_all() -> None:
    """And those that count for nothing get no value, nor give one."""
    values, weight = draw()
    weight[10:24, 20:30] = 0.0
    down, across = gaussian_taps(1.5), gaussian_taps(2.5)
    row, column = np.divmod(np.arange(0, values.size, 7), values.shape[1])
    given = np.stack([values * weight, 2.0 * values * weight])
    share = np.linspace(0.0, 1.0, values.size, dtype=np.float32).reshape(values.shape)
    sample = np.empty((5, row.size), dtype=np.float32)
    compare_with_neighbourhood(given, weight, share, down, across, row, column, sample)
    known = weight[row, column] > 0.0
    assert 10 < (~known).sum() < 1000
    assert np.isnan(sample[:, ~known]).all()
    row, column, sample = row[known], column[known], sample[:, known]
    expected = pooled(values, weight, down, across, summed=False)[row, column]
    np.testing.assert_array_equal(sample[0], share[row, column])
    np.testing.assert_allclose(sample[1], values[row, column], rtol=1e-6)
    np.testing.assert_allclose(sample[2], 2.0 * values[row, column], rtol=1e-6)
    np.testing.assert_allclose(sample[3], expected, rtol=1e-5)
    np.testing.assert_allclose(sample[4], 2.0 * expected, rtol=1e-5)
