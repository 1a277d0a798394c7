"""How often classes are right, and how far a stated confidence can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    r"""Agreement of classes with the truth. Accuracies are shares of 1.

    Attributes
    ----------
    classes : tuple of str
        Names.
    confusion : array of int, shape (classes, classes)
        Samples by true class (rows) and assigned class (columns).
    overall : float
        Overall accuracy (OA): the share of samples that are right.
    average : float
        Average accuracy (AA): the mean of the recalls of those classes that occur in the truth.
    kappa : float
        Cohen's :math:`\kappa = (p_o - p_e) / (1 - p_e)`: the overall accuracy beyond what the
        same frequencies of classes would give by chance.
    recall : array, shape (classes,)
        Producer's accuracy: of the samples of a class, the share found. NaN for a class that does
        not occur.
    precision : array, shape (classes,)
        User's accuracy: of the samples given a class, the share that is right. NaN for a class
        that is never given.
    f1 : array, shape (classes,)
        Harmonic mean of the two; NaN for a class that neither occurs nor is given.

    References
    ----------
    Cohen, J. (1960). A coefficient of agreement for nominal scales. Educational and Psychological
    Measurement 20, 37-46.
    """

    classes: tuple[str, ...]
    confusion: Integers
    overall: float
    average: float
    kappa: float
    recall: Floats
    precision: Floats
    f1: Floats

    @property
    def count(self) -> int:
        """How many samples there are."""
        return int(self.confusion.sum())

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes that do not occur in the truth: nothing is known about them."""
        absent = self.confusion.sum(axis=1) == 0
        return tuple(name for name, out in zip(self.classes, absent, strict=True) if out)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures in JSON's types; what is not known is None."""
        per_class = {
            name: {
                "count": int(self.confusion[number].sum()),
                **{
                    key: _plain(float(getattr(self, key)[number]))
                    for key in ("recall", "precision", "f1")
                },
            }
            for number, name in enumerate(self.classes)
        }
        return {
            "count": self.count,
            "overall": _plain(self.overall),
            "average": _plain(self.average),
            "kappa": _plain(self.kappa),
            "classes": per_class,
            "confusion": self.confusion.tolist(),
        }


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None


def confusion_matrix(truth: ArrayLike, assigned: ArrayLike, classes: int) -> Integers:
    """Count samples by true and assigned class.

    Parameters
    ----------
    truth, assigned : array of int
        Numbers of classes, of one shape.
    classes : int
        How many there are.

    Returns
    -------
    array of int64, shape (classes, classes)
        Rows are true classes.

    Raises
    ------
    ValueError
        If shapes differ, or a number is not that of a class.
    """
    expected, found = np.asarray(truth), np.asarray(assigned)
    both = np.concatenate([expected.ravel(), found.ravel()])
    strange = both[(both < 0) | (both >= classes) | (both != np.round(both))]
    if expected.shape != found.shape or strange.size:
        msg = (
            f"found truth of shape {expected.shape} and classes of shape {found.shape}, with "
            f"numbers such as {strange[:3].tolist()}; expected one shape, and whole numbers from 0 "
            f"to {classes - 1}"
        )
        raise ValueError(msg)
    cells = expected.ravel().astype(np.int64) * classes + found.ravel().astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def scores_of(confusion: ArrayLike, classes: Sequence[str]) -> ClassScores:
    """Measure the agreement that a confusion matrix shows.

    Parameters
    ----------
    confusion : array of int, shape (classes, classes)
        Rows are true classes, columns the assigned ones.
    classes : sequence of str
        Names.

    Returns
    -------
    ClassScores
        All NaN where there is no sample.

    Raises
    ------
    ValueError
        If the matrix is not square, or names are missing.
    """
    matrix = np.asarray(confusion, dtype=np.int64)
    if matrix.shape != (len(classes), len(classes)):
        msg = (
            f"found a confusion matrix of shape {matrix.shape} for {len(classes)} classes, "
            "expected one row and one column for each"
        )
        raise ValueError(msg)
    total, right = float(matrix.sum()), np.diag(matrix).astype(np.float64)
    true, given = matrix.sum(axis=1).astype(np.float64), matrix.sum(axis=0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, precision, f1 = right / true, right / given, 2.0 * right / (true + given)
        overall = np.divide(right.sum(), total)
        chance = np.divide((true * given).sum(), total**2)
        kappa = np.divide(overall - chance, 1.0 - chance)
    occurring = true > 0.0
    return ClassScores(
        classes=tuple(classes),
        confusion=matrix,
        overall=float(overall),
        average=float(recall[occurring].mean()) if occurring.any() else np.nan,
        kappa=float(kappa),
        recall=recall,
        precision=precision,
        f1=f1,
    )


def class_scores(truth: ArrayLike, assigned: ArrayLike, classes: Sequence[str]) -> ClassScores:
    """Measure how well classes agree with the truth.

    Parameters
    ----------
    truth, assigned : array of int
        Numbers of classes, of one shape.
    classes : sequence of str
        Names, in the order of the numbers.

    Returns
    -------
    ClassScores

    Raises
    ------
    ValueError
        If shapes differ, or a number is not that of a class.

    Examples
    --------
    >>> scores = class_scores([0, 0, 1, 1], [0, 1, 1, 1], ["water", "trees"])
    >>> scores.overall, scores.average, scores.kappa
    (0.75, 0.75, 0.5)
    """
    return scores_of(confusion_matrix(truth, assigned, len(classes)), classes)


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    r"""Measure how far the confidence of a classifier lies from how often it is right.

    The expected calibration error (ECE): samples are sorted into bins of equal width by the
    probability of the class that they are given; in each bin that has samples, the size of the
    difference between the mean probability and the share that is right counts with the share of
    samples in it.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        They sum to 1.
    truth : array of int, shape (n,)
        Numbers of the true classes.
    bins : int
        How many.

    Returns
    -------
    float
        From 0 to 1; NaN where there is no sample.

    Raises
    ------
    ValueError
        If shapes differ, the numbers are no probabilities, or there is no bin.

    References
    ----------
    Guo, C. et al. (2017). On Calibration of Modern Neural Networks. ICML, arXiv:1706.04599,
    equation 3.
    """
    given, expected = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    fits = given.ndim == 2 and expected.shape == given.shape[:1] and bins > 0
    if not fits or not np.allclose(given.sum(axis=1), 1.0, atol=1e-3) or (given < 0.0).any():
        msg = (
            f"found probabilities of shape {given.shape} for truth of shape {expected.shape} in "
            f"{bins} bins; expected shapes (n, classes) and (n,), rows from 0 on that sum to 1, "
            "and one bin at least"
        )
        raise ValueError(msg)
    if not expected.size:
        return float("nan")
    confidence = given.max(axis=1)
    right = given.argmax(axis=1) == expected
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    difference = np.bincount(number, confidence, bins) - np.bincount(number, right, bins)
    return float(np.abs(difference).sum() / expected.size)
