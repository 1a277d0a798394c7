"""Accuracy of assigned classes, and calibration of their probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ClassScores:
    r"""Agreement of assigned classes with reference classes. Accuracies are fractions of 1.

    Attributes
    ----------
    classes : tuple of str
        Names.
    confusion : array of int, shape (classes, classes)
        Number of samples by reference class (rows) and assigned class (columns).
    overall : float
        Overall accuracy (OA): fraction of the samples with the correct class.
    average : float
        Average accuracy (AA): mean recall of the classes that occur in the reference.
    kappa : float
        Cohen's :math:`\kappa = (p_o - p_e) / (1 - p_e)`: overall accuracy relative to the
        agreement expected by chance from the class frequencies.
    recall : array, shape (classes,)
        Producer's accuracy: fraction of the samples of a class that are assigned to it. NaN for a
        class that does not occur in the reference.
    precision : array, shape (classes,)
        User's accuracy: fraction of the samples assigned to a class that belong to it. NaN for a
        class that is never assigned.
    f1 : array, shape (classes,)
        Harmonic mean of recall and precision; NaN for a class that is in neither.

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
        """Number of samples."""
        return int(self.confusion.sum())

    @property
    def missing(self) -> tuple[str, ...]:
        """Classes that do not occur in the reference."""
        counts = self.confusion.sum(axis=1)
        return tuple(name for name, count in zip(self.classes, counts, strict=True) if not count)

    def as_dict(self) -> dict[str, Any]:
        """Return the scores in JSON's types; NaN becomes None."""
        per_class = {
            name: {
                "count": int(self.confusion[number].sum()),
                **{
                    key: _finite_or_none(float(getattr(self, key)[number]))
                    for key in ("recall", "precision", "f1")
                },
            }
            for number, name in enumerate(self.classes)
        }
        return {
            "count": self.count,
            "overall": _finite_or_none(self.overall),
            "average": _finite_or_none(self.average),
            "kappa": _finite_or_none(self.kappa),
            "classes": per_class,
            "confusion": self.confusion.tolist(),
        }


def _finite_or_none(value: float) -> float | None:
    """Return a number as JSON represents it."""
    return value if np.isfinite(value) else None


def scores_from_confusion(confusion: ArrayLike, classes: Sequence[str]) -> ClassScores:
    """Derive scores from a confusion matrix; all are NaN where there is no sample."""
    from sklearn import metrics  # type: ignore[import-untyped]

    matrix = np.asarray(confusion, dtype=np.int64)
    count = len(classes)
    if matrix.shape != (count, count):
        msg = (
            f"found a confusion matrix of shape {matrix.shape} for {count} classes, expected one "
            "row and one column for each"
        )
        raise ValueError(msg)
    if not matrix.any():
        nothing = np.full(count, np.nan)
        return ClassScores(
            tuple(classes), matrix, np.nan, np.nan, np.nan, nothing, nothing, nothing
        )
    # One sample for each pair of classes, with a weight.
    pairs = np.indices(matrix.shape).reshape(2, -1)
    weight = {"sample_weight": matrix.ravel()}
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        *pairs, labels=range(count), zero_division=np.nan, **weight
    )
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        # Kappa is NaN where all samples are of one class, and assigned to it.
        warnings.simplefilter("ignore")
        kappa = metrics.cohen_kappa_score(*pairs, labels=range(count), **weight)
    return ClassScores(
        classes=tuple(classes),
        confusion=matrix,
        overall=float(metrics.accuracy_score(*pairs, **weight)),
        average=float(np.nanmean(recall)),
        kappa=float(kappa),
        recall=recall,
        precision=precision,
        f1=f1,
    )


def class_scores(truth: ArrayLike, assigned: ArrayLike, classes: Sequence[str]) -> ClassScores:
    """Compare assigned classes with reference classes.

    Parameters
    ----------
    truth, assigned : array of int
        Reference and assigned class numbers, of one shape.
    classes : sequence of str
        Names, in the order of the numbers.

    Returns
    -------
    ClassScores

    Raises
    ------
    ValueError
        If the shapes differ, or a number is not a class number.

    Examples
    --------
    >>> scores = class_scores([0, 0, 1, 1], [0, 1, 1, 1], ["water", "trees"])
    >>> scores.overall, scores.average, scores.kappa
    (0.75, 0.75, 0.5)
    """
    return scores_from_confusion(confusion_matrix(truth, assigned, len(classes)), classes)


def confusion_matrix(truth: ArrayLike, assigned: ArrayLike, classes: int) -> Integers:
    """Count samples by reference class (rows) and assigned class (columns)."""
    from sklearn import metrics

    reference, labels = np.asarray(truth), np.asarray(assigned)
    numbers = np.concatenate([reference.ravel(), labels.ravel()])
    invalid = numbers[(numbers < 0) | (numbers >= classes) | (numbers != np.round(numbers))]
    if reference.shape != labels.shape or invalid.size:
        msg = (
            f"found reference classes of shape {reference.shape} and assigned classes of shape "
            f"{labels.shape}, with numbers such as {invalid[:3].tolist()}; expected one shape, and "
            f"whole numbers from 0 to {classes - 1}"
        )
        raise ValueError(msg)
    if not reference.size:
        return np.zeros((classes, classes), dtype=np.int64)
    pairs = reference.ravel().astype(np.int64), labels.ravel().astype(np.int64)
    return np.asarray(metrics.confusion_matrix(*pairs, labels=range(classes)), dtype=np.int64)


def calibration_error(probabilities: ArrayLike, truth: ArrayLike, *, bins: int = 15) -> float:
    r"""Compute the expected calibration error (ECE) of class probabilities.

    Samples are grouped into bins of equal width by their confidence, the probability of the most
    likely class. With :math:`n_b` of :math:`n` samples in bin :math:`b`,

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |\mathrm{accuracy}_b - \mathrm{confidence}_b|

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        Rows sum to 1.
    truth : array of int, shape (n,)
        Reference class numbers.
    bins : int
        Number of bins.

    Returns
    -------
    float
        From 0 to 1; NaN without samples.

    Raises
    ------
    ValueError
        If the shapes differ, rows are not probabilities, or there is no bin.

    References
    ----------
    Guo, C. et al. (2017). On Calibration of Modern Neural Networks. ICML, arXiv:1706.04599,
    equation 3.
    """
    values, reference = np.asarray(probabilities, dtype=np.float64), np.asarray(truth)
    fits = values.ndim == 2 and reference.shape == values.shape[:1] and bins > 0
    if not fits or not np.allclose(values.sum(axis=1), 1.0, atol=1e-3) or (values < 0.0).any():
        msg = (
            f"found probabilities of shape {values.shape} for reference classes of shape "
            f"{reference.shape} in {bins} bins; expected shapes (n, classes) and (n,), rows from 0 "
            "on that sum to 1, and at least one bin"
        )
        raise ValueError(msg)
    if not reference.size:
        return float("nan")
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(
        multiclass_calibration_error(
            torch.from_numpy(values),
            torch.from_numpy(reference.astype(np.int64)),
            num_classes=values.shape[1],
            n_bins=bins,
        )
    )


LEAST_LOG, MOST_LOG = -3.0, 3.0
"""Bounds of the logarithm of a temperature: 0.05 to 20."""
LEAST_PROBABILITY = 1e-12
"""Lowest probability whose logarithm is taken."""


def fit_temperature(
    probabilities: Floats, truth: NDArray[np.int64], *, score: Literal["log", "brier"] = "log"
) -> float:
    r"""Fit the temperature that calibrates class probabilities.

    Temperature scaling replaces probabilities :math:`p` by :math:`p^{1/T}`, normalised. The
    temperature :math:`T` minimises a proper score of the reference classes.

    Parameters
    ----------
    probabilities : array, shape (n, classes)
        At a temperature of 1, of samples that were not used for training.
    truth : array of int, shape (n,)
        Reference class numbers.
    score : {"log", "brier"}
        Mean negative log-likelihood; or Brier score, which is bounded: for probabilities that are
        exactly 0, as those of forests, a few samples would decide the likelihood.

    Returns
    -------
    float
        Above 1 where the classifier is overconfident; from 0.05 to 20.

    References
    ----------
    Guo, C. et al. (2017). On Calibration of Modern Neural Networks. ICML, arXiv:1706.04599,
    section 4.2.
    """
    logarithms = np.log(np.maximum(probabilities, LEAST_PROBABILITY))

    each = np.arange(truth.size)

    def loss(log_temperature: float) -> float:
        scaled = logarithms / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        raised = np.exp(scaled)
        norm = raised.sum(axis=1)
        if score == "log":
            return float((np.log(norm) - scaled[each, truth]).mean())
        # Sum of (p - e)^2 over the classes = sum of p^2 - 2 p_true + 1.
        squares = (raised**2).sum(axis=1) / norm**2
        return float((squares - 2.0 * raised[each, truth] / norm).mean())

    fitted = minimize_scalar(loss, bounds=(LEAST_LOG, MOST_LOG), method="bounded")
    return float(np.exp(fitted.x))
