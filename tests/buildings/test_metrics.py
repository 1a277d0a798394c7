"""Errors of building heights, against what can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sarheight.buildings import building_errors, footprint_iou

HEIGHTS = arrays(np.float64, (5, 4), elements=st.floats(0.0, 100.0))


def test_all_cells_and_built_cells_are_two_figures() -> None:
    truth = np.array([0.0, 0.0, 0.0, 10.0])
    errors = building_errors(np.array([0.0, 0.0, 0.0, 6.0]), truth)
    assert errors.everywhere.rmse == pytest.approx(2.0)
    assert errors.buildings.rmse == pytest.approx(4.0)
    assert (errors.everywhere.mae, errors.buildings.mae) == (1.0, 4.0)
    assert (errors.everywhere.bias, errors.buildings.bias) == (-1.0, -4.0)
    assert (errors.everywhere.count, errors.buildings.count) == (4, 1)
    # The truth varies by 18.75 square metres over all cells, and not at all over one.
    assert errors.everywhere.r2 == pytest.approx(1.0 - 4.0 / 18.75)
    assert math.isnan(errors.buildings.r2)


@given(truth=HEIGHTS, estimate=HEIGHTS)
@settings(max_examples=50, deadline=None)
def test_figures_keep_their_definitions(truth: np.ndarray, estimate: np.ndarray) -> None:
    errors = building_errors(estimate, truth)
    everywhere = errors.everywhere
    assert everywhere.rmse >= everywhere.mae - 1e-9
    assert everywhere.mae >= abs(everywhere.bias) - 1e-9
    # The mean of the truth has an R² of 0, and the truth one of 1.
    if truth.std() > 1e-3:
        mean = building_errors(np.full_like(truth, truth.mean()), truth).everywhere
        assert mean.r2 == pytest.approx(0.0, abs=1e-9)
        assert building_errors(truth, truth).everywhere.r2 == 1.0
    # Every built cell is in one class.
    assert sum(each.count for each in errors.classes.values()) == errors.buildings.count
    squares = [e.count * e.rmse**2 for e in errors.classes.values() if e.count]
    if errors.buildings.count:
        total = errors.buildings.count * errors.buildings.rmse**2
        assert sum(squares) == pytest.approx(total, rel=1e-9, abs=1e-9)


@given(truth=HEIGHTS, estimate=HEIGHTS, threshold=st.floats(0.5, 50.0))
@settings(max_examples=50, deadline=None)
def test_intersection_over_union_is_symmetric_and_one_for_the_same(
    truth: np.ndarray, estimate: np.ndarray, threshold: float
) -> None:
    one = footprint_iou(estimate, truth, threshold=threshold)
    other = footprint_iou(truth, estimate, threshold=threshold)
    assert one == pytest.approx(other, nan_ok=True)
    if (truth >= threshold).any():
        assert footprint_iou(truth, truth, threshold=threshold) == 1.0


def test_the_threshold_decides_what_a_footprint_is() -> None:
    truth, estimate = np.array([0.0, 2.0, 10.0, 10.0]), np.array([1.5, 0.0, 8.0, 12.0])
    assert footprint_iou(estimate, truth, threshold=1.0) == pytest.approx(2 / 4)
    assert footprint_iou(estimate, truth, threshold=5.0) == 1.0
    assert building_errors(estimate, truth, built_from=5.0).iou == 1.0


def test_unknown_cells_are_ignored() -> None:
    truth = np.array([10.0, np.nan, 0.0, 20.0])
    estimate = np.array([12.0, 5.0, np.nan, 20.0])
    errors = building_errors(estimate, truth)
    assert errors.everywhere.count == errors.buildings.count == 2
    assert errors.everywhere.bias == 1.0
    chosen = building_errors(estimate, truth, where=np.array([True, True, True, False]))
    assert (chosen.everywhere.count, chosen.everywhere.rmse) == (1, 2.0)


def test_a_city_without_buildings_has_no_figures_of_buildings() -> None:
    errors = building_errors(np.zeros((3, 3)), np.zeros((3, 3)))
    assert errors.everywhere.rmse == 0.0
    assert errors.buildings.count == 0
    assert math.isnan(errors.buildings.rmse)
    assert math.isnan(errors.iou)
    nothing = building_errors(np.full(4, np.nan), np.zeros(4))
    assert nothing.everywhere.count == 0


def test_figures_have_names() -> None:
    figures = building_errors(np.array([3.0, 0.0]), np.array([4.0, 0.0])).as_dict()
    assert figures["rmse"] == pytest.approx(math.sqrt(0.5))
    assert figures["buildings_rmse"] == 1.0
    assert figures["0-5 m_count"] == 1
    assert figures["40 m and more_count"] == 0
    assert (figures["iou"], figures["built_from"]) == (1.0, 1.0)
