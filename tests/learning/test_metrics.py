"""Errors of heights, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sarheight.layover import FLAGS
from sarheight.learning import (
    coverage,
    distance_groups,
    errors_by_group,
    height_errors,
    mask_groups,
    slope_error,
)

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


def test_slopes_of_planes() -> None:
    row, column = np.mgrid[0:8, 0:9].astype(float)
    flat = np.zeros((8, 9))
    # 30 m rows and 10 m columns: 3 m and 4 m of rise in ten make a slope of one in two.
    steep = 0.3 * 30.0 * row + 0.4 * 10.0 * column
    assert slope_error(steep, flat, (30.0, 10.0)) == pytest.approx(np.degrees(np.arctan(0.5)))
    assert slope_error(steep + 55.0, steep, (30.0, 10.0)) == pytest.approx(0.0, abs=1e-9)
    steep[3, 3] = np.nan
    assert np.isfinite(slope_error(steep, flat, (30.0, 10.0)))
    only = np.zeros((8, 9), dtype=bool)
    only[3, 3] = True
    assert np.isnan(slope_error(steep, flat, (30.0, 10.0), where=only))


def test_intervals_of_a_calibrated_estimate_have_their_nominal_coverage() -> None:
    random = np.random.default_rng(0)
    scale = random.uniform(1.0, 20.0, 200_000)
    truth = 500.0 + random.laplace(0.0, scale)
    found = coverage(np.full(truth.shape, 500.0), scale, truth)
    for level, share in found.items():
        assert share == pytest.approx(level, abs=0.005)
    confident = coverage(np.full(truth.shape, 500.0), 0.5 * scale, truth)
    assert all(confident[level] < found[level] for level in found)
    with pytest.raises(ValueError, match="between 0 and 1"):
        coverage(truth, scale, truth, levels=(80.0,))


def test_an_interval_of_no_width_holds_the_truth_alone() -> None:
    found = coverage([1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, np.nan], [1.0, 2.5, 3.0, 4.0], (0.5,))
    assert found == {0.5: pytest.approx(2.0 / 3.0)}
    with pytest.raises(ValueError, match="least scale of -1"):
        coverage([1.0], [-1.0], [1.0])
    with pytest.raises(ValueError, match="expected one shape"):
        coverage([1.0, 2.0], [1.0, 1.0], [1.0])


def test_groups_of_the_mask_are_disjoint_and_complete() -> None:
    values = np.array([[*range(len(FLAGS)), 255]], dtype=np.uint8)
    attributes = {
        "flag_values": np.arange(len(FLAGS), dtype=np.uint8),
        "flag_meanings": " ".join(FLAGS),
    }
    groups = mask_groups(xr.DataArray(values, dims=("y", "x"), attrs=attributes))
    total = np.sum(list(groups.values()), axis=0)
    np.testing.assert_array_equal(total, [[1] * len(FLAGS) + [0]])
    assert groups["layover"].sum() == 3
    assert groups["shadow"].sum() == 2
    assert groups["foreshortening"].sum() == 1
    with pytest.raises(ValueError, match="without valid flag_values and flag_meanings"):
        mask_groups(xr.DataArray(values, dims=("y", "x")))


def test_groups_by_distance() -> None:
    groups = distance_groups([0.0, 99.9, 100.0, 500.0, np.inf], [100.0, 400.0])
    assert list(groups) == ["0-100 m", "100-400 m", "400 m and more"]
    assert [np.flatnonzero(mask).tolist() for mask in groups.values()] == [[0, 1], [2], [3, 4]]
    with pytest.raises(ValueError, match="increasing"):
        distance_groups([1.0], [200.0, 100.0])


def test_errors_by_group_share_a_datum() -> None:
    truth = np.array([0.0, 100.0, 200.0])
    groups = {"high": truth > 50.0, "none": truth > 1e4}
    found = errors_by_group(truth + 1.0, truth, groups)
    assert found["all"].count == 3
    assert found["high"].datum == 0.0
    assert found["none"].count == 0
    assert np.isnan(found["none"].rmse)


def test_shapes_and_masks_must_fit() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        height_errors([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="boolean"):
        height_errors([1.0, 2.0], [1.0, 2.0], where=[1, 0])
