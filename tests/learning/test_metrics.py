"""Errors of heights, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sarheight.learning import height_errors

HEIGHTS = arrays(np.float64, (5, 4), elements=st.floats(0.0, 4000.0))


def test_errors_of_a_case_computed_by_hand() -> None:
    truth = np.array([100.0, 200.0, 300.0, 400.0])
    found = height_errors(truth + np.array([1.0, -1.0, 3.0, -7.0]), truth, datum=0.0)
    assert found.count == 4
    assert found.rmse == pytest.approx(np.sqrt(60.0 / 4.0))
    assert found.mae == 3.0
    assert found.median == 2.0
    assert found.bias == -1.0
    assert found.le90 == pytest.approx(3.0 + 0.7 * 4.0)
    expected = np.abs(np.log10([1.01, 0.995, 1.01, 393.0 / 400.0])).mean()
    assert found.log_error == pytest.approx(expected)
    assert found.delta_1 == 1.0


def test_ratios_count_from_the_datum() -> None:
    truth = np.array([1000.0, 1010.0, 1100.0])
    estimate = np.array([1000.0, 1014.0, 1150.0])
    low = height_errors(estimate, truth)
    assert low.datum == 1000.0
    # 14 / 10 is within 1.25 squared, 150 / 100 too, and neither within 1.25.
    assert (low.delta_1, low.delta_2) == (pytest.approx(1 / 3), 1.0)
    assert height_errors(estimate, truth, datum=0.0).delta_1 == 1.0


@given(HEIGHTS, HEIGHTS, st.floats(-500.0, 500.0))
def test_a_shift_of_the_estimate_is_a_shift_of_the_bias(
    truth: np.ndarray, estimate: np.ndarray, shift: float
) -> None:
    before, after = height_errors(estimate, truth), height_errors(estimate + shift, truth)
    assert after.bias == pytest.approx(before.bias + shift, abs=1e-8)
    assert before.mae <= before.rmse + 1e-9
    assert before.rmse**2 >= before.bias**2 - 1e-6
    assert before.median <= before.le90 + 1e-9


@given(HEIGHTS, arrays(bool, (5, 4)))
def test_cells_without_a_height_are_left_out(truth: np.ndarray, hidden: np.ndarray) -> None:
    estimate = truth + np.arange(20.0).reshape(5, 4)
    by_where = height_errors(estimate, truth, where=~hidden)
    by_nan = height_errors(np.where(hidden, np.nan, estimate), truth)
    np.testing.assert_equal(by_where.as_dict(), by_nan.as_dict() | {"datum": by_where.datum})
    assert by_where.count == 20 - hidden.sum()


def test_shapes_and_masks_must_fit() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        height_errors([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="boolean"):
        height_errors([1.0, 2.0], [1.0, 2.0], where=[1, 0])
