r"""From what cells were given to backscatter, one pass over the cells at a time.

A cell's value may lie from the truth by an error whose variance depends on its contribution share
c, the part of its pixels' energy that is its own:

.. math:: e(c) = e_k + m \, (1 - c)^2

with the excess :math:`e_k` of its class of shares and the contrast m between places far apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

__all__ = ["account", "finish", "posterior", "share_errors"]

ZERO, ONE, NONE = np.float32(0.0), np.float32(1.0), np.float32(np.nan)
QUARTER_TURN, RADIANS = np.float32(90.0), np.float32(math.pi / 180.0)
S1, S2, S3 = np.float32(1.0 / 6.0), np.float32(1.0 / 20.0), np.float32(1.0 / 42.0)
S4, S5, S6 = np.float32(1.0 / 72.0), np.float32(1.0 / 110.0), np.float32(1.0 / 156.0)
"""Ratios of the terms of the sine's series, which ends with the thirteenth power."""


@njit
def _limited(share: np.float32) -> np.float32:
    """Share from 0 to 1; NaN counts as 0."""
    return min(share, ONE) if share > ZERO else ZERO


@njit
def _class_excess(
    contribution: NDArray[np.float32],
    edges: NDArray[np.float64],
    excess: NDArray[np.float64],
    error: NDArray[np.float32],
) -> None:
    """Excess of the class of each share of a row."""
    error[:] = excess[0]
    for k in range(edges.size):
        # In single precision a share is at an edge or beyond it as it is in double.
        edge = np.float32(edges[k])
        edge = edge if float(edge) >= edges[k] else np.nextafter(edge, np.float32(np.inf))
        here = np.float32(excess[k + 1])
        for j in range(contribution.size):
            error[j] = here if _limited(contribution[j]) >= edge else error[j]


@njit
def _add_contrast(
    contribution: NDArray[np.float32], contrast: np.float32, error: NDArray[np.float32]
) -> None:
    for j in range(contribution.size):
        apart = ONE - _limited(contribution[j])
        error[j] += contrast * apart * apart


@parallel_njit
def share_errors(
    contribution: NDArray[np.float32],
    edges: NDArray[np.float64],
    excess: NDArray[np.float64],
    contrast: float,
    error: NDArray[np.float32],
) -> None:
    """Tell how far the value of each cell may lie from the truth.

    Parameters
    ----------
    contribution : array, shape (rows, columns)
        Contribution shares; NaN counts as 0.
    edges : array, shape (classes - 1,)
        Shares between the classes, ascending.
    excess : array, shape (classes,)
        Variance of the logarithm in each class beyond that of the best one.
    contrast : float
        Variance of the logarithm between places far apart.
    error : array, shape (rows, columns)
        Receives the variance of the logarithm of each cell's value that is error.
    """
    for i in prange(contribution.shape[0]):
        _class_excess(contribution[i], edges, excess, error[i])
        _add_contrast(contribution[i], np.float32(contrast), error[i])


@parallel_njit
def posterior(
    own: NDArray[np.float32],
    error: NDArray[np.float32],
    weight: NDArray[np.float32],
    prior: NDArray[np.float32],
    prior_variance: NDArray[np.float32],
    diversity: float,
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Average own values and prior means by their precision.

    The errors of neighbours are not independent, as they share pixels and the DEM: pooling does
    not average them away. The part of the prior's variance that is error therefore counts in full.

    Parameters
    ----------
    own, error : array, shape (rows, columns)
        Values of the cells and the variances of their logarithms that are error.
    weight : array, shape (rows, columns)
        Positive where a cell was measured.
    prior, prior_variance : array, shape (rows, columns)
        Means of the neighbourhood and the variances of their logarithms.
    diversity : float
        Part of the prior's variance that is the ground's own.
    mean, variance : array, shape (rows, columns)
        Receive the posterior; NaN where nothing was measured.
    """
    for i in prange(own.shape[0]):
        for j in range(own.shape[1]):
            mean[i, j] = variance[i, j] = np.nan
            if weight[i, j] > 0.0:
                spread = prior_variance[i, j]
                towards = error[i, j] / (spread + error[i, j])
                mean[i, j] = (1.0 - towards) * own[i, j] + towards * prior[i, j]
                variance[i, j] = towards * (spread + max(spread - diversity, 0.0))


@njit
def _reported(
    value: np.float32, area: np.float32, expected: np.float32, smallest_area: np.float32
) -> bool:
    """Tell whether a cell has a value."""
    return bool((value == value) & (area >= smallest_area) & (expected > ZERO))  # noqa: PLR0124


@parallel_njit
def account(
    mean: NDArray[np.float32],
    given: NDArray[np.float32],
    expected: NDArray[np.float32],
    area: NDArray[np.float32],
    smallest_area: float,
    sums: NDArray[np.float64],
) -> None:
    """Sum up what the cells hold.

    Parameters
    ----------
    mean : array, shape (rows, columns)
        Estimated reflectivity.
    given, expected : array, shape (rows, columns)
        Energy that each cell was given and that was expected of it, in square metres.
    area : array, shape (rows, columns)
        Lit area, projected along the line of sight, in square metres.
    smallest_area : float
        Area below which a cell has no value.
    sums : array, shape (rows, 3)
        Receives for each row the energy that cells with a value hold by their estimate, the energy
        that the others were given, and the number of cells with a value.
    """
    least = np.float32(smallest_area)
    for i in prange(mean.shape[0]):
        held, withheld, cells = 0.0, 0.0, 0.0
        for j in range(mean.shape[1]):
            if _reported(mean[i, j], area[i, j], expected[i, j], least):
                held += float(mean[i, j]) * float(expected[i, j])
                cells += 1.0
            else:
                withheld += given[i, j]
        sums[i, 0], sums[i, 1], sums[i, 2] = held, withheld, cells


@njit
def _cosines(angle: NDArray[np.float32], cosine: NDArray[np.float32]) -> None:
    """Cosines of angles from 0 to 180 degrees: sines of what they lack to a right angle."""
    for j in range(angle.size):
        rest = RADIANS * (QUARTER_TURN - angle[j])
        square = rest * rest
        tail = ONE - square * S4 * (ONE - square * S5 * (ONE - square * S6))
        cosine[j] = rest * (ONE - square * S1 * (ONE - square * S2 * (ONE - square * S3 * tail)))


@njit
def _finish_row(
    factor: np.float32,
    smallest_area: np.float32,
    per_look: np.float32,
    expected: NDArray[np.float32],
    speckle: NDArray[np.float32],
    tilt: NDArray[np.float32],
    area: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    sigma: NDArray[np.float32],
    missing: NDArray[np.float32],
) -> None:
    """Do the work of `finish` for a row; `missing` becomes 0 where there is a value."""
    for j in range(mean.size):
        known = _reported(mean[j], area[j], expected[j], smallest_area)
        gamma = factor * mean[j] * expected[j] / area[j]
        spread = variance[j] + speckle[j] * per_look
        mean[j] = gamma if known else NONE
        sigma[j] = gamma * tilt[j] if known else NONE
        variance[j] = gamma * gamma * spread if known else NONE
        missing[j] = ZERO if known else missing[j]


@njit
def _mask_row(
    heights: NDArray[np.float32],
    missing: NDArray[np.float32],
    area: NDArray[np.float32],
    contribution: NDArray[np.float32],
) -> None:
    for j in range(heights.size):
        # Adding NaN makes NaN, adding 0 changes nothing.
        contribution[j] += missing[j]
        area[j] = area[j] if heights[j] - heights[j] == ZERO else NONE


@parallel_njit
def finish(
    factor: NDArray[np.float64],
    smallest_area: float,
    looks: float,
    heights: NDArray[np.float32],
    expected: NDArray[np.float32],
    speckle: NDArray[np.float32],
    local_incidence: NDArray[np.float32],
    area: NDArray[np.float32],
    contribution: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    sigma: NDArray[np.float32],
) -> None:
    """Turn reflectivities into backscatter, in place.

    Parameters
    ----------
    factor : array, shape (polarisations,)
        By which all estimates are scaled, so that all energy is given out.
    smallest_area : float
        Area in square metres below which a cell has no value.
    looks : float
        Equivalent number of looks of the image.
    heights, expected, speckle : array, shape (rows, columns)
        Heights, energy expected of the cells, and the variance that one look leaves in it.
    local_incidence : array, shape (rows, columns)
        In degrees.
    area, contribution : array, shape (rows, columns)
        Area becomes NaN where the DEM is void, the contribution share where no polarisation has a
        value.
    mean, variance : array, shape (polarisations, rows, columns)
        Reflectivity becomes gamma0, its relative variance the variance of gamma0.
    sigma : array, shape (polarisations, rows, columns)
        Receives sigma0.
    """
    polarisations = mean.shape[0]
    least, per_look = np.float32(smallest_area), np.float32(1.0 / looks)
    for i in prange(heights.shape[0]):
        tilt = np.empty(heights.shape[1], np.float32)
        missing = np.full(heights.shape[1], NONE, np.float32)
        _cosines(local_incidence[i], tilt)
        for p in range(polarisations):
            _finish_row(
                np.float32(factor[p]),
                least,
                per_look,
                expected[i],
                speckle[i],
                tilt,
                area[i],
                mean[p, i],
                variance[p, i],
                sigma[p, i],
                missing,
            )
        _mask_row(heights[i], missing, area[i], contribution[i])
