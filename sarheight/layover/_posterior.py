"""Posterior means: cells average what they were given with what their neighbours were given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

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
    shares : list of Share
        What the cells were given by each pass, were all equally bright.
    """

    reflectivity: Floats
    relative_variance: Floats
    shares: list[Share]


@dataclass(frozen=True, eq=False)
class _Spread:
    """How much cells differ from their neighbourhood, by their share of their pixels.

    Attributes
    ----------
    error : array, shape (rows, columns)
        Variance of the logarithm of a cell's own value that is error.
    diversity : float
        Variance that is the ground's own.
    """

    error: Floats
    diversity: float


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
        return _Spread(np.zeros_like(own), 0.0)
    edges = np.quantile(contribution[usable], np.linspace(0.0, 1.0, classes + 1)[1:-1])
    index = np.searchsorted(edges, np.nan_to_num(contribution), side="right")
    variance = np.zeros(classes)
    for k in range(classes):
        members = np.abs(distance[usable & (index == k)])
        variance[k] = np.median(members) ** 2 * MEDIAN_TO_VARIANCE if members.size else np.nan
    # A class can be empty where many cells have the same share: it never serves a cell then.
    diversity = float(np.nanmin(variance))
    return _Spread(np.nan_to_num(variance - diversity)[index], diversity)


def _usable(share: Share, smallest_area: float) -> NDArray[np.bool_]:
    return np.isfinite(share.reflectivity).all(axis=0) & (share.area >= smallest_area)


def _combined(
    shares: Sequence[Share], spreads: Sequence[_Spread], usable: Sequence[NDArray[np.bool_]], p: int
) -> tuple[Floats, Floats]:
    """Average the passes' own values by their precision; return value and error variance."""
    total = np.zeros(shares[0].area.shape)
    weight = np.zeros_like(total)
    for share, spread, good in zip(shares, spreads, usable, strict=True):
        # The diversity stands for the error that even the best cells have.
        precision = np.where(good, 1.0 / (spread.error + spread.diversity + SMALLEST), 0.0)
        total += precision * np.nan_to_num(share.reflectivity[p])
        weight += precision
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / weight, 1.0 / weight


def one_step(passes: Sequence[Pass], smallest_area: float, pooling: float) -> Estimate:
    """Reallocate once; measure the variance against the neighbourhood.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    pooling : float
        Distance over which neighbours are compared, in postings.
    """
    shares = [each.reallocate() for each in passes]
    usable = [_usable(share, smallest_area) for share in shares]
    width = passes[0].pooling(pooling)
    reflectivity, variance = [], []
    for p in range(passes[0].energy.shape[0]):
        spreads = []
        for share, good in zip(shares, usable, strict=True):
            prior = _pool(share.reflectivity[p], np.where(good, share.expected, 0.0), width)
            spreads.append(_spread(share.reflectivity[p], prior, share.contribution, good))
        if len(shares) == 1:
            own, error = np.where(usable[0], shares[0].reflectivity[p], np.nan), spreads[0].error
        else:
            own, error = _combined(shares, spreads, usable, p)
        reflectivity.append(own)
        variance.append(np.where(np.isfinite(own), error, np.nan))
    return _with_energy_of(np.stack(reflectivity), np.stack(variance), shares)


def posterior_mean(passes: Sequence[Pass], smallest_area: float, method: PosteriorMean) -> Estimate:
    """Reallocate and average with the neighbourhood, see `PosteriorMean`.

    Parameters
    ----------
    passes : sequence of Pass
        One or several images of the same ground.
    smallest_area : float
        Projected area in square metres below which a cell has no value.
    method : PosteriorMean
        Settings.
    """
    polarisations = passes[0].energy.shape[0]
    width = passes[0].pooling(method.pooling)
    far = passes[0].pooling(PRIOR_DISTANCE * method.pooling)
    assumed: NDArray[np.float32] | None = None
    spreads: list[list[_Spread]] = []
    estimates: list[tuple[Floats, Floats]] = []
    first: list[Share] = []
    for step in range(method.steps):
        shares = [each.reallocate(assumed, method.blur) for each in passes]
        first = first or shares
        usable = [_usable(share, smallest_area) for share in shares]
        weights = [
            np.where(good, share.expected, 0.0) for share, good in zip(shares, usable, strict=True)
        ]
        estimates, priors = [], []
        for p in range(polarisations):
            if step == 0:
                spreads.append(
                    [
                        _spread(
                            share.reflectivity[p],
                            _pool(share.reflectivity[p], weight, width),
                            share.contribution,
                            good,
                        )
                        for share, good, weight in zip(shares, usable, weights, strict=True)
                    ]
                )
            if len(shares) == 1:
                own, error = shares[0].reflectivity[p], spreads[p][0].error
                weight = weights[0]
            else:
                own, error = _combined(shares, spreads[p], usable, p)
                weight = np.where(np.isfinite(own), 1.0 / error, 0.0)
            diversity = min(spread.diversity for spread in spreads[p])
            estimates.append(_shrink(own, _pool(own, weight, width), error, diversity, weight))
            priors.append(np.nan_to_num(_pool(own, weight, far), nan=1.0))
        assumed = np.stack(priors).astype(np.float32)
    return _with_energy_of(
        np.stack([mean for mean, _ in estimates]),
        np.stack([variance for _, variance in estimates]),
        first,
    )


def _with_energy_of(reflectivity: Floats, variance: Floats, shares: list[Share]) -> Estimate:
    """Scale an estimate by one factor so that it holds the energy that its cells were given."""
    scaled = reflectivity.copy()
    for p in range(reflectivity.shape[0]):
        measured = np.isfinite(reflectivity[p])
        given = held = 0.0
        for share in shares:
            own = np.nan_to_num(share.reflectivity[p]) * share.expected
            given += float(own[measured].sum())
            held += float(np.nansum((reflectivity[p] * share.expected)[measured]))
        if held > 0.0:
            scaled[p] *= given / held
    return Estimate(scaled, variance, shares)


def _shrink(
    own: Floats, prior: Floats, error: Floats, diversity: float, weight: Floats
) -> tuple[Floats, Floats]:
    """Average own values with prior means; return the means and their relative variances."""
    towards_prior = error / np.maximum(error + diversity, SMALLEST)
    mean = (1.0 - towards_prior) * own + towards_prior * prior
    measured = weight > 0.0
    return (
        np.where(measured, mean, np.nan),
        np.where(measured, towards_prior * diversity, np.nan),
    )
