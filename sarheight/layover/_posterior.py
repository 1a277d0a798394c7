"""Posterior means: cells average what they were given with what their neighbours were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from sarheight.layover._methods import PosteriorMean
    from sarheight.layover._passes import Pass, Share

__all__ = ["Estimate", "one_step", "posterior_mean"]

Floats = NDArray[np.float64]

CELLS_PER_CLASS = 200
MOST_CLASSES = 20
MEDIAN_TO_VARIANCE = 1.0 / 0.6745**2
"""Squared median distance from the middle of a normal distribution to its variance."""
SMALLEST = 1e-6
PRIOR_DISTANCE = 2.0
"""The assumed brightness of the next step is pooled over this many pooling distances."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Reflectivity of the cells, relative to the law.

    Attributes
    ----------
    reflectivity : array, shape (polarisations, rows, columns)
        The estimate; NaN where nothing was measured.
    relative_variance : array, shape (polarisations, rows, columns)
        Its variance, as a fraction of the squared estimate.
    share : Share
        What the cells were given, were all equally bright.
    """

    reflectivity: Floats
    relative_variance: Floats
    share: Share


@dataclass(frozen=True, eq=False)
class _Spread:
    """How far the value that a cell was given may lie from the truth.

    Attributes
    ----------
    error : array, shape (rows, columns)
        Variance of the logarithm of a cell's own value that is error. One part is measured: by
        how much more than others cells with such a share of their pixels differ from their
        neighbourhood. The other is due to the other places in a cell's pixels, which were taken
        to be as bright as the cell but differ from it as places far apart do: the variance of
        the logarithm of the prior means, times the square of the share that is not the cell's.
    diversity : float
        Variance between a cell and its neighbourhood that is the ground's own.
    alone : array, shape (rows, columns)
        Cells that have their pixels to themselves more than half of all do.
    """

    error: Floats
    diversity: float
    alone: NDArray[np.bool_]


def _pool(values: Floats, weight: Floats, width: tuple[float, float]) -> Floats:
    """Weighted mean around each cell."""
    total = gaussian_filter(weight, width)
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled: Floats = gaussian_filter(weight * np.nan_to_num(values), width) / total
    # Far from any weight the filters underflow.
    return np.where(total > SMALLEST * weight.max(initial=0.0), pooled, np.nan)


def _spread(own: Floats, prior: Floats, contribution: Floats, good: NDArray[np.bool_]) -> _Spread:
    """Measure how far own values lie from prior means, in classes of contribution share."""
    classes = int(np.clip(good.sum() // CELLS_PER_CLASS, 1, MOST_CLASSES))
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(np.maximum(own, SMALLEST) / np.maximum(prior, SMALLEST))
    usable = good & np.isfinite(distance)
    if not usable.any():
        return _Spread(np.zeros_like(own), 0.0, usable)
    edges = np.quantile(contribution[usable], np.linspace(0.0, 1.0, classes + 1)[1:-1])
    index = np.searchsorted(edges, np.nan_to_num(contribution), side="right")
    variance = np.zeros(classes)
    for k in range(classes):
        members = np.abs(distance[usable & (index == k)])
        variance[k] = np.median(members) ** 2 * MEDIAN_TO_VARIANCE if members.size else np.nan
    # A class can be empty where many cells have the same share: it never serves a cell then.
    diversity = float(np.nanmin(variance))
    alone = usable & (contribution >= np.median(contribution[usable]))
    contrast = float(np.var(np.log(np.maximum(prior[alone], SMALLEST))))
    mixing = contrast * (1.0 - np.clip(np.nan_to_num(contribution), 0.0, 1.0)) ** 2
    return _Spread(np.nan_to_num(variance - diversity)[index] + mixing, diversity, alone)


def _usable(share: Share, smallest_area: float) -> NDArray[np.bool_]:
    return np.isfinite(share.reflectivity).all(axis=0) & (share.area >= smallest_area)


def _spreads(share: Share, good: NDArray[np.bool_], width: tuple[float, float]) -> list[_Spread]:
    """Measure the spread of each polarisation."""
    weight = np.where(good, share.expected, 0.0)
    return [
        _spread(own, _pool(own, weight, width), share.contribution, good)
        for own in share.reflectivity
    ]


def one_step(passes: Sequence[Pass], smallest_area: float, pooling: float) -> list[Estimate]:
    """Reallocate each pass once; measure the variance against the neighbourhood.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    pooling : float
        Distance over which neighbours are compared, in postings.

    Returns
    -------
    list of Estimate
        One for each pass.
    """
    estimates = []
    for each in passes:
        share = each.reallocate()
        good = _usable(share, smallest_area)
        spreads = _spreads(share, good, each.pooling(pooling))
        variance = np.stack([np.where(good, spread.error, np.nan) for spread in spreads])
        own = np.where(good, share.reflectivity, np.nan)
        estimates.append(Estimate(own, variance, share))
    return estimates


@dataclass(eq=False)
class _Belief:
    """What is believed of one polarisation of one pass: values and relative variances."""

    own: Floats
    error: Floats
    weight: Floats
    prior: Floats
    prior_variance: Floats
    diversity: float

    def posterior(self) -> tuple[Floats, Floats]:
        """Average own values and prior means by their precision.

        The errors of neighbours are not independent, as they share pixels and the DEM: pooling
        does not average them away. The part of the prior's variance that is error therefore
        counts in full.
        """
        towards_prior = self.error / (self.prior_variance + self.error)
        mean = (1.0 - towards_prior) * self.own + towards_prior * self.prior
        shared = np.maximum(self.prior_variance - self.diversity, 0.0)
        variance = towards_prior * (self.prior_variance + shared)
        measured = self.weight > 0.0
        return np.where(measured, mean, np.nan), np.where(measured, variance, np.nan)


def _belief(
    own: Floats, share: Share, spread: _Spread, good: NDArray[np.bool_], width: tuple[float, float]
) -> _Belief:
    """Take the neighbourhood for a prior."""
    weight = np.where(good, share.expected, 0.0)
    uncertainty = spread.diversity + np.nan_to_num(_pool(spread.error, weight, width))
    return _Belief(
        own,
        spread.error,
        weight,
        _pool(own, weight, width),
        np.maximum(uncertainty, SMALLEST),
        spread.diversity,
    )


def _learn(beliefs: Sequence[_Belief], spreads: Sequence[_Spread]) -> None:
    """Let passes learn from each other: add what the others believe to the priors.

    How well one pass tells another is measured where both have their pixels to themselves. A
    cell in a fold of one pass then learns from another in which it lies open.
    """
    means = [belief.posterior()[0] for belief in beliefs]
    for k, belief in enumerate(beliefs):
        precision = 1.0 / belief.prior_variance
        total = np.where(np.isfinite(belief.prior), precision * np.nan_to_num(belief.prior), 0.0)
        precision = np.where(np.isfinite(belief.prior), precision, 0.0)
        for j, mean in enumerate(means):
            both = spreads[k].alone & spreads[j].alone & (means[k] > 0.0) & (mean > 0.0)
            if j == k or both.sum() < CELLS_PER_CLASS:
                continue
            distance = np.log(means[k][both] / mean[both])
            offset = np.median(distance)
            disagreement = np.median(np.abs(distance - offset)) ** 2 * MEDIAN_TO_VARIANCE
            told = np.where(
                np.isfinite(mean), 1.0 / (disagreement + beliefs[j].error + SMALLEST), 0.0
            )
            total += told * np.nan_to_num(mean) * np.exp(offset)
            precision += told
        with np.errstate(divide="ignore", invalid="ignore"):
            belief.prior, belief.prior_variance = total / precision, 1.0 / precision


def posterior_mean(
    passes: Sequence[Pass], smallest_area: float, method: PosteriorMean
) -> list[Estimate]:
    """Reallocate and average with the neighbourhood, see `PosteriorMean`.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    method : PosteriorMean
        Settings.

    Returns
    -------
    list of Estimate
        One for each pass.
    """
    polarisations = range(passes[0].energy.shape[0])
    width = passes[0].pooling(method.pooling)
    far = passes[0].pooling(PRIOR_DISTANCE * method.pooling)
    assumed: list[NDArray[np.float32] | None] = [None] * len(passes)
    first: list[Share] = []
    spreads: list[list[_Spread]] = []
    beliefs: list[list[_Belief]] = []
    for _ in range(method.steps):
        shares = [
            each.reallocate(equal, method.blur) for each, equal in zip(passes, assumed, strict=True)
        ]
        usable = [_usable(share, smallest_area) for share in shares]
        if not first:
            first = shares
            spreads = [
                _spreads(share, good, width) for share, good in zip(shares, usable, strict=True)
            ]
        beliefs = [
            [_belief(share.reflectivity[p], share, spread[p], good, width) for p in polarisations]
            for share, spread, good in zip(shares, spreads, usable, strict=True)
        ]
        for p in polarisations:
            _learn([belief[p] for belief in beliefs], [spread[p] for spread in spreads])
        assumed = [_assumption(belief, far) for belief in beliefs]
    estimates = []
    for belief, share in zip(beliefs, first, strict=True):
        means, variances = zip(*(each.posterior() for each in belief), strict=True)
        estimates.append(Estimate(np.stack(means), np.stack(variances), share))
    return estimates


def _assumption(beliefs: Sequence[_Belief], width: tuple[float, float]) -> NDArray[np.float32]:
    """Pool posterior means far, to share pixels by in the next step; 1 where nothing is known."""
    pooled = [_pool(each.posterior()[0], each.weight, width) for each in beliefs]
    return np.nan_to_num(np.stack(pooled), nan=1.0).astype(np.float32)
