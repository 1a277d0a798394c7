"""Weighted means over a neighbourhood."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels.estimation import compare_with_neighbourhood, pool
from scipy.ndimage import gaussian_filter

from sarheight.layover.tiles import gaussian_taps

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
