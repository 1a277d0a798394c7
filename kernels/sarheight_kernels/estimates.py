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

BINS = 256
"""Steps of a table that tells where among the classes to look for a share."""


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
    start = np.empty(BINS + 1, np.int64)
    for k in range(BINS + 1):
        start[k] = np.searchsorted(edges, k / BINS, side="right")
    for i in prange(contribution.shape[0]):
        for j in range(contribution.shape[1]):
            share = contribution[i, j]
            if math.isnan(share):
                share = np.float32(0.0)
            index = start[int(min(max(share, 0.0), 1.0) * BINS)]
            while index < edges.size and edges[index] <= share:
                index += 1
            apart = 1.0 - min(max(share, 0.0), 1.0)
            error[i, j] = excess[index] + contrast * apart * apart


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
def _reported(value: float, area: float, expected: float, smallest_area: float) -> bool:
    """Tell whether a cell has a value."""
    return not math.isnan(value) and area >= smallest_area and expected > 0.0


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
    for i in prange(mean.shape[0]):
        held, withheld, cells = 0.0, 0.0, 0.0
        for j in range(mean.shape[1]):
            if _reported(mean[i, j], area[i, j], expected[i, j], smallest_area):
                held += float(mean[i, j]) * float(expected[i, j])
                cells += 1.0
            else:
                withheld += given[i, j]
        sums[i, 0], sums[i, 1], sums[i, 2] = held, withheld, cells


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
    for i in prange(heights.shape[0]):
        for j in range(heights.shape[1]):
            any_value = False
            tilt = math.cos(math.radians(local_incidence[i, j]))
            for p in range(polarisations):
                if _reported(mean[p, i, j], area[i, j], expected[i, j], smallest_area):
                    any_value = True
                    gamma = factor[p] * mean[p, i, j] * expected[i, j] / area[i, j]
                    spread = variance[p, i, j] + speckle[i, j] / looks
                    mean[p, i, j] = gamma
                    sigma[p, i, j] = gamma * tilt
                    variance[p, i, j] = gamma * gamma * spread
                else:
                    mean[p, i, j] = sigma[p, i, j] = variance[p, i, j] = np.nan
            if not any_value:
                contribution[i, j] = np.nan
            if math.isnan(heights[i, j]):
                area[i, j] = np.nan
