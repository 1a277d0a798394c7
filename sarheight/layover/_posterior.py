"""Posterior means: cells average what they were given with what their neighbours were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import pool, posterior

from sarheight.layover._conversation import Answer, Conversation, Question
from sarheight.layover._spread import (
    CELLS_PER_CLASS,
    MEDIAN_TO_VARIANCE,
    SMALLEST,
    Cells,
    Spread,
    neighbours,
    spreads_of,
)

if TYPE_CHECKING:
    from sarheight.layover._frame import Frame, Taps
    from sarheight.layover._methods import PosteriorMean
    from sarheight.layover._passes import Pass, Share

__all__ = [
    "PRIOR_DISTANCE",
    "VARIANCE_POOLING",
    "Estimate",
    "measure",
    "one_step",
    "posterior_mean",
]

Cube = NDArray[np.float32]
Values = NDArray[np.float32]

PRIOR_DISTANCE = 2.0
"""The assumed brightness of the next step is pooled over this many pooling distances."""
VARIANCE_POOLING = 1.5
"""Neighbours with which the variance of one step is measured lie within this many postings."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Reflectivity of the cells, relative to the law.

    Attributes
    ----------
    reflectivity : array, shape (polarisations, rows, columns)
        The estimate, which means something where the lit area is large enough; NaN where nothing
        was measured.
    relative_variance : array, shape (polarisations, rows, columns)
        Its variance, as a fraction of the squared estimate.
    share : Share
        What the cells were given, were all equally bright.
    """

    reflectivity: Cube
    relative_variance: Cube
    share: Share


def _weight(share: Share, smallest_area: float) -> Values:
    """Expect nothing of cells without a value any more; return what is expected of the others."""
    expected = share.expected
    np.copyto(expected, np.float32(0.0), where=share.area < smallest_area)
    return expected


def _pool(values: Values, weight: Values, width: Taps) -> Values:
    """Weighted mean around each cell."""
    result = np.empty_like(values)
    pool(values, weight, False, *width, result)  # noqa: FBT003 - kernels take no keywords
    return result


def one_step(
    passes: Sequence[Pass], smallest_area: float, frame: Frame, cells: Cells
) -> tuple[list[Estimate], Callable[[], Answer]]:
    """Reallocate each pass once.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    frame : Frame
        Measures of the whole DEM.
    cells : pair of arrays
        Rows and columns of the cells on which statistics rest.

    Returns
    -------
    estimates : list of Estimate
        One for each pass; their variances are left to `measure`.
    compare : callable
        Compares the cells with their neighbourhood, for `spreads_of`.
    """
    shares = [each.reallocate() for each in passes]
    weights = [_weight(share, smallest_area) for share in shares]
    estimates = [
        Estimate(share.reflectivity, np.empty_like(share.given), share) for share in shares
    ]
    width = frame.pooling(VARIANCE_POOLING)
    return estimates, partial(neighbours, shares, weights, cells, width)


def measure(estimates: Sequence[Estimate], spreads: Sequence[Sequence[Spread]]) -> None:
    """Fill in the variances of a single step."""
    for estimate, several in zip(estimates, spreads, strict=True):
        for variance, spread in zip(estimate.relative_variance, several, strict=True):
            spread.error(estimate.share.contribution, variance)


@dataclass(eq=False)
class _Belief:
    """What is believed of one polarisation of one pass: values and relative variances."""

    own: Values
    error: Values
    weight: Values
    prior: Values
    prior_variance: Values
    spread: Spread

    def posterior(self) -> tuple[Values, Values]:
        """Average own values and prior means by their precision."""
        mean, variance = np.empty_like(self.own), np.empty_like(self.own)
        posterior(
            self.own,
            self.error,
            self.weight,
            self.prior,
            self.prior_variance,
            self.spread.diversity,
            mean,
            variance,
        )
        return mean, variance


def _uncertainty(spread: Spread, error: Values, weight: Values, width: Taps) -> Values:
    """Variance of the logarithm of a neighbourhood's mean, taken for a prior."""
    variance = np.nan_to_num(_pool(error, weight, width), copy=False)
    variance += np.float32(spread.diversity)
    return np.maximum(variance, np.float32(SMALLEST), out=variance)


def _pairs(
    beliefs: Sequence[Sequence[_Belief]], contributions: Sequence[Values], cells: Cells
) -> Answer:
    """Compare what passes believe of cells that both have to themselves.

    For each polarisation and each pair of passes there is a sample of logarithms of ratios.
    """
    samples = []
    for p in range(len(beliefs[0])):
        means = [belief[p].posterior()[0][cells] for belief in beliefs]
        shares = [contribution[cells] for contribution in contributions]
        for k, j in combinations(range(len(beliefs)), 2):
            both = (means[k] > 0.0) & (means[j] > 0.0)
            both &= shares[k] >= beliefs[k][p].spread.middle
            both &= shares[j] >= beliefs[j][p].spread.middle
            samples.append(np.log(means[k][both] / means[j][both]))
    return Answer(np.zeros(1), tuple(samples))


def _spreads(answer: Answer) -> list[list[Spread]]:
    return spreads_of(answer.samples)


def _agreements(answer: Answer) -> list[tuple[float, float] | None]:
    """Offset and variance of the logarithms of each sample of ratios; None of too few."""
    agreements: list[tuple[float, float] | None] = []
    for ratio in answer.samples:
        if ratio.size < CELLS_PER_CLASS:
            agreements.append(None)
            continue
        offset = float(np.median(ratio))
        distance = float(np.median(np.abs(ratio - offset)))
        agreements.append((offset, distance**2 * MEDIAN_TO_VARIANCE))
    return agreements


def _learn(beliefs: Sequence[_Belief], agreements: Sequence[tuple[float, float] | None]) -> None:
    """Let passes learn from each other: add what the others believe to the priors.

    How well one pass tells another is measured where both have their pixels to themselves. A
    cell in a fold of one pass then learns from another in which it lies open.
    """
    means = [belief.posterior()[0] for belief in beliefs]
    told: list[tuple[Values, Values]] = []
    for belief in beliefs:
        known = np.isfinite(belief.prior)
        precision = np.where(known, 1.0 / belief.prior_variance, np.float32(0.0))
        told.append((precision * np.nan_to_num(belief.prior), precision))
    for (k, j), agreement in zip(combinations(range(len(beliefs)), 2), agreements, strict=True):
        if agreement is None:
            continue
        offset, disagreement = agreement
        for to, source, sign in ((k, j, 1.0), (j, k, -1.0)):
            mean = means[source]
            precision = np.where(
                np.isfinite(mean),
                1.0 / (np.float32(disagreement + SMALLEST) + beliefs[source].error),
                np.float32(0.0),
            )
            told[to][0][...] += precision * np.nan_to_num(mean) * np.float32(np.exp(sign * offset))
            told[to][1][...] += precision
    for belief, (total, precision) in zip(beliefs, told, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            belief.prior, belief.prior_variance = total / precision, 1.0 / precision


def posterior_mean(
    passes: Sequence[Pass],
    smallest_area: float,
    method: PosteriorMean,
    frame: Frame,
    cells: Cells,
) -> Conversation[list[Estimate]]:
    """Reallocate and average with the neighbourhood, see `PosteriorMean`.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    method : PosteriorMean
        Settings.
    frame : Frame
        Measures of the whole DEM.
    cells : pair of arrays
        Rows and columns of the cells on which statistics rest.

    Returns
    -------
    list of Estimate
        One for each pass.
    """
    width = frame.pooling(method.pooling)
    far = frame.pooling(PRIOR_DISTANCE * method.pooling)
    blurs = [frame.blur(method.blur, index) for index in range(len(passes))]
    first = [each.reallocate(blur=blur) for each, blur in zip(passes, blurs, strict=True)]
    weights = [_weight(share, smallest_area) for share in first]
    spreads = yield Question(partial(neighbours, first, weights, cells, width), _spreads)
    errors = [
        [spread.error(share.contribution, np.empty_like(share.contribution)) for spread in several]
        for share, several in zip(first, spreads, strict=True)
    ]
    uncertainties = [
        [_uncertainty(spread, error, weight, width) for spread, error in zip(*both, strict=True)]
        for both, weight in zip(zip(spreads, errors, strict=True), weights, strict=True)
    ]
    shares = first
    beliefs: list[list[_Belief]] = []
    for step in range(method.steps):
        if step > 0:
            assumed = [_assumption(belief, far) for belief in beliefs]
            shares = [
                each.reallocate(equal, blur, known=share)
                for each, equal, blur, share in zip(passes, assumed, blurs, first, strict=True)
            ]
        beliefs = [
            [
                _Belief(own, error, weight, _pool(own, weight, width), uncertainty, spread)
                for own, error, uncertainty, spread in zip(
                    share.reflectivity, error_of, uncertain, several, strict=True
                )
            ]
            for share, error_of, uncertain, several, weight in zip(
                shares, errors, uncertainties, spreads, weights, strict=True
            )
        ]
        if len(passes) > 1:
            contributions = [share.contribution for share in first]
            agreements = yield Question(partial(_pairs, beliefs, contributions, cells), _agreements)
            pairs = len(agreements) // len(beliefs[0])
            for p in range(len(beliefs[0])):
                _learn([belief[p] for belief in beliefs], agreements[p * pairs : (p + 1) * pairs])
    estimates = []
    for belief, share in zip(beliefs, first, strict=True):
        means, variances = zip(*(each.posterior() for each in belief), strict=True)
        estimates.append(Estimate(np.stack(means), np.stack(variances), share))
    return estimates


def _assumption(beliefs: Sequence[_Belief], width: Taps) -> Cube:
    """Pool posterior means far, to share pixels by in the next step; 1 where nothing is known."""
    pooled = np.stack([_pool(each.posterior()[0], each.weight, width) for each in beliefs])
    return np.nan_to_num(pooled, copy=False, nan=1.0)
