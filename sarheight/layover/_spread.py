"""How far the values that cells were given may lie from the truth, measured over a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import compare_with_neighbourhood, share_error_variance

from sarheight.layover._conversation import Answer

if TYPE_CHECKING:
    from sarheight.layover._frame import Taps
    from sarheight.layover._passes import Share

__all__ = [
    "CELLS_PER_CLASS",
    "MEDIAN_TO_VARIANCE",
    "SMALLEST",
    "Spread",
    "neighbours",
    "spreads_of",
]

CELLS_PER_CLASS = 200
MOST_CLASSES = 20
MEDIAN_TO_VARIANCE = 1.0 / 0.6745**2
"""Squared median distance from the middle of a normal distribution to its variance."""
SMALLEST = 1e-6

Cells = tuple[NDArray[np.int64], NDArray[np.int64]]


class Members(NamedTuple):
    """The cells of each class: their numbers class by class, and where each class ends."""

    order: NDArray[np.int64]
    end: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Spread:
    """How far the value that a cell was given may lie from the truth.

    One part of it is measured: by how much more than others cells with such a share of their
    pixels differ from their neighbourhood. The other is due to the other places in a cell's
    pixels, which were taken to be as bright as the cell but differ from it as places far apart
    do: the variance of the logarithm of the prior means, times the square of the share that is not
    the cell's.

    Attributes
    ----------
    edges : array, shape (classes - 1,)
        Contribution shares between classes.
    excess : array, shape (classes,)
        Variance of the logarithm in each class beyond that of the best one.
    diversity : float
        Variance between a cell and its neighbourhood that is the ground's own.
    middle : float
        Cells with more than this share have their pixels to themselves more than half of all do.
    contrast : float
        Variance of the logarithm between places far apart.
    """

    edges: NDArray[np.float64]
    excess: NDArray[np.float64]
    diversity: float
    middle: float
    contrast: float

    def error(
        self, contribution: NDArray[np.float32], error: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Fill in the variance of the logarithm of cells' own values that is error."""
        share_error_variance(contribution, self.edges, self.excess, self.contrast, error)
        return error


def neighbours(shares: Sequence[Share], weights: Sequence[NDArray[np.float32]], cells: Cells,
               width: Taps) -> Answer:  # fmt: skip
    """Compare cells of a part with their neighbourhood.

    Parameters
    ----------
    shares : sequence of Share
        What they were given, for each pass.
    weights : sequence of array, shape (rows, columns)
        Energy that is expected of the cells; 0 where a cell has no value.
    cells : pair of arrays
        Rows and columns of the cells.
    width : pair of arrays
        Weights that make up a neighbourhood.

    Returns
    -------
    Answer
        For each pass a sample of shape (1 + 2 * polarisations, n): contribution share, then own
        values, then the means of the neighbourhood.
    """
    samples = []
    for share, weight in zip(shares, weights, strict=True):
        sample = np.empty((1 + 2 * share.given.shape[0], cells[0].size), dtype=np.float32)
        compare_with_neighbourhood(share.given, weight, share.contribution, *width, *cells, sample)
        samples.append(np.ascontiguousarray(sample[:, np.isfinite(sample[0])]))
    return Answer(np.zeros(1), tuple(samples))


def spreads_of(samples: Sequence[NDArray[np.float32]]) -> list[list[Spread]]:
    """Measure the spread of each pass and polarisation over a whole scene.

    Parameters
    ----------
    samples : sequence of array
        From `neighbours`, of all parts.
    """
    return [_spreads(sample) for sample in samples]


def _spreads(sample: NDArray[np.float32]) -> list[Spread]:
    """Measure how far own values lie from prior means, in classes of contribution share."""
    polarisations = (sample.shape[0] - 1) // 2
    classes = int(np.clip(sample.shape[1] // CELLS_PER_CLASS, 1, MOST_CLASSES))
    usable = np.isfinite(sample).all(axis=0)
    if not usable.any():
        return [Spread(np.zeros(0), np.zeros(1), 0.0, np.inf, 0.0)] * polarisations
    contribution, *values = sample if usable.all() else sample[:, usable]
    ordered = np.sort(contribution)
    edges = np.quantile(ordered, np.linspace(0.0, 1.0, classes + 1)[1:-1])
    # Few edges are compared with all cells in a fraction of the time of a search for each cell.
    index = np.zeros(contribution.size, dtype=np.uint8)
    for edge in edges:
        index += contribution >= edge
    members = Members(
        np.argsort(index, kind="stable"), np.cumsum(np.bincount(index, minlength=classes))
    )
    middle = float(np.median(ordered))
    far = np.flatnonzero(contribution >= middle)
    result = []
    for own, prior in zip(values[:polarisations], values[polarisations:], strict=True):
        diversity, excess = _excess(own, prior, members)
        contrast = float(np.var(np.log(np.maximum(prior[far].astype(np.float64), SMALLEST))))
        result.append(Spread(edges.astype(np.float64), excess, diversity, middle, contrast))
    return result


def _excess(
    own: NDArray[np.float32], prior: NDArray[np.float32], members: Members
) -> tuple[float, NDArray[np.float64]]:
    """Variance of the logarithm of the best class, and that of each class beyond it."""
    distance = np.log(
        np.maximum(own, SMALLEST, dtype=np.float64) / np.maximum(prior, SMALLEST, dtype=np.float64)
    )
    parts = np.split(np.abs(distance[members.order]), members.end[:-1])
    # A class can be empty where many cells have the same share: it never serves a cell then.
    filled = np.array([bool(each.size) for each in parts])
    variance = MEDIAN_TO_VARIANCE * np.array([np.median(each) ** 2 for each in parts if each.size])
    # The least of many noisy values lies below all of their means: neighbours are averaged first.
    diversity = float(_smoothed(variance).min())
    excess = np.zeros(filled.size)
    excess[filled] = np.maximum(variance - diversity, 0.0)
    return diversity, excess


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each value with its two neighbours; at the ends with one."""
    weights = np.ones(min(3, values.size))
    return np.convolve(values, weights, "same") / np.convolve(np.ones_like(values), weights, "same")
