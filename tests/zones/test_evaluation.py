"""Accuracy scores and calibration errors against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.zones.evaluation import (
    calibration_error,
    class_scores,
    scores_from_confusion,
)

NAMES = ["a", "b", "c"]
NUMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def test_scores_of_a_small_confusion_matrix_agree_with_manual_ones() -> None:
    scores = scores_from_confusion([[4, 1, 0], [2, 2, 1], [0, 0, 0]], NAMES)
    assert scores.count == 10
    assert scores.overall == pytest.approx(0.6)
    assert scores.average == pytest.approx((0.8 + 0.4) / 2)
    chance = (5 * 6 + 5 * 3) / 100
    assert scores.kappa == pytest.approx((0.6 - chance) / (1 - chance))
    np.testing.assert_allclose(scores.recall, [0.8, 0.4, np.nan])
    np.testing.assert_allclose(scores.precision, [4 / 6, 2 / 3, 0.0])
    np.testing.assert_allclose(scores.f1, [8 / 11, 0.5, 0.0])
    assert scores.missing == ("c",)
    summary = scores.as_dict()
    assert summary["classes"]["c"] == {"count": 0, "recall": None, "precision": 0.0, "f1": 0.0}


@given(NUMBERS, st.randoms(use_true_random=False))
def test_scores_are_those_of_their_definitions(truth: list[int], random: object) -> None:
    found = [random.randrange(3) for _ in truth]  # type: ignore[attr-defined]
    scores = class_scores(truth, found, NAMES)
    pairs, count = list(zip(truth, found, strict=True)), len(truth)
    for row in range(3):
        assert scores.confusion[row].tolist() == [pairs.count((row, column)) for column in range(3)]
    agreed = sum(one == other for one, other in pairs) / count
    chance = sum(truth.count(each) * found.count(each) for each in range(3)) / count**2
    recalls = [pairs.count((each, each)) / truth.count(each) for each in sorted(set(truth))]
    assert scores.overall == pytest.approx(agreed)
    assert scores.average == pytest.approx(sum(recalls) / len(recalls))
    if chance < 1.0:
        assert scores.kappa == pytest.approx((agreed - chance) / (1.0 - chance))
    for each in set(truth) & set(found):
        precision, recall = scores.precision[each], scores.recall[each]
        if precision + recall > 0.0:
            assert scores.f1[each] == pytest.approx(2 * precision * recall / (precision + recall))


def test_kappa_is_0_for_a_constant_class_and_1_for_the_truth() -> None:
    truth = np.repeat([0, 1, 2], [800, 100, 100])
    always = class_scores(truth, np.zeros_like(truth), NAMES)
    assert always.overall == 0.8
    assert always.average == pytest.approx(1 / 3)
    assert always.kappa == pytest.approx(0.0)
    knowing = class_scores(truth, truth, NAMES)
    assert (knowing.overall, knowing.average, knowing.kappa) == (1.0, 1.0, 1.0)
    nothing = class_scores([], [], NAMES)
    assert np.isnan([nothing.overall, nothing.average, nothing.kappa]).all()
    assert nothing.as_dict()["overall"] is None


def test_calibration_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    random = np.random.default_rng(0)
    given_ = random.dirichlet(np.ones(3), 400)
    truth = random.integers(0, 3, 400)
    confidence, correct = given_.max(axis=1), given_.argmax(axis=1) == truth
    expected = 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence > low) & (confidence <= low + 1 / 15)
        if chosen.any():
            gap = abs(correct[chosen].mean() - confidence[chosen].mean())
            expected += chosen.mean() * gap
    assert calibration_error(given_, truth) == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_classifier_has_no_calibration_error() -> None:
    random = np.random.default_rng(1)
    calibrated = random.dirichlet(np.ones(3), 200_000)
    truth = (random.random((200_000, 1)) > np.cumsum(calibrated, axis=1)).sum(axis=1)
    assert calibration_error(calibrated, truth) < 0.01
    sure = np.eye(3)[calibrated.argmax(axis=1)]
    wrong = 1.0 - float((sure.argmax(axis=1) == truth).mean())
    assert calibration_error(sure, truth) == pytest.approx(wrong)
    assert np.isnan(calibration_error(np.zeros((0, 3)), []))
