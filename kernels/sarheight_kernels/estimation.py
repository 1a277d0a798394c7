r"""Weighted means over a neighbourhood of finite reach.

.. math:: \bar v_i = \frac{\sum_k g_k \, w_{i+k} \, v_{i+k}}{\sum_k g_k \, w_{i+k}}

with separable weights :math:`g` that sum up over rows and columns at a finite distance. Beyond the
border there is nothing, which the denominator accounts for. A strip of rows is worked on at a
time, so that only the result is held in full.

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

STRIP = 64
BATCH = 256
"""Cells of `compare_with_neighbourhood` that share their room."""
LANES = 16
"""Columns that are summed up together."""
ZERO = np.float32(0.0)


@njit
def _pool_row(
    values: NDArray[np.float32],
    weight: NDArray[np.floating],
    summed: bool,  # noqa: FBT001 - kernels take no keywords
    taps: NDArray[np.float32],
    padded: NDArray[np.float32],
    above: NDArray[np.float32],
    below: NDArray[np.float32],
) -> None:
    """Sum numerators and denominators along a row."""
    columns = values.size
    reach = taps.size // 2
    for j in range(columns):
        share = np.float32(weight[j])
        known = share > 0.0 and not math.isnan(values[j])
        part = values[j] if summed else share * values[j]
        padded[0, reach + j] = part if known else np.float32(0.0)
        padded[1, reach + j] = share if known else np.float32(0.0)
    above[:] = 0.0
    below[:] = 0.0
    for k in range(taps.size):
        tap = taps[k]
        for j in range(columns):
            above[j] += tap * padded[0, j + k]
            below[j] += tap * padded[1, j + k]


@parallel_njit
def pool(
    values: NDArray[np.float32],
    weight: NDArray[np.floating],
    summed: bool,  # noqa: FBT001 - kernels take no keywords
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Pool values over their neighbourhood.

    Parameters
    ----------
    values : array, shape (rows, columns)
        The values; NaN counts for nothing.
    weight : array, shape (rows, columns)
        Their weights; where not positive, the value counts for nothing.
    summed : bool
        Whether `values` are multiplied by their weights already.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Weights by distance in rows and columns, the middle one for the cell itself.
    result : array, shape (rows, columns)
        Receives the weighted means; NaN where nothing counts within reach.
    """
    rows, columns = values.shape
    reach = down.size // 2
    for strip in prange((rows + STRIP - 1) // STRIP):
        first, end = strip * STRIP, min(strip * STRIP + STRIP, rows)
        low, high = max(first - reach, 0), min(end + reach, rows)
        above = np.empty((high - low, columns), np.float32)
        below = np.empty((high - low, columns), np.float32)
        padded = np.zeros((2, columns + across.size - 1), np.float32)
        for i in range(low, high):
            _pool_row(values[i], weight[i], summed, across, padded, above[i - low], below[i - low])
        total, share = np.empty(columns, np.float32), np.empty(columns, np.float32)
        for i in range(first, end):
            total[:] = 0.0
            share[:] = 0.0
            for k in range(max(i - reach, low), min(i + reach + 1, high)):
                tap = down[k - i + reach]
                for j in range(columns):
                    total[j] += tap * above[k - low, j]
                    share[j] += tap * below[k - low, j]
            for j in range(columns):
                result[i, j] = total[j] / share[j] if share[j] > 0.0 else np.float32(np.nan)


@njit
def _add_rows(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    first: tuple[int, int],
    taps: NDArray[np.float32],
    total: NDArray[np.float32],
    share: NDArray[np.float32],
) -> None:
    """Sum up weighted rows down their columns; `first` is the row and the column to begin with."""
    total[:] = ZERO
    share[:] = ZERO
    # Counted without a sign: a negative index would have to be looked for.
    row, left = np.uint64(first[0]), np.uint64(first[1])
    for k in range(taps.size):
        here, there = values[row + np.uint64(k)], weight[row + np.uint64(k)]
        tap = taps[k]
        for j in range(total.size):
            value, part = here[left + np.uint64(j)], there[left + np.uint64(j)]
            known = (part > ZERO) & (value == value)  # noqa: PLR0124 - no NaN
            total[j] += tap * value if known else ZERO
            share[j] += tap * part if known else ZERO


@njit
def _pool_at(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    cell: tuple[int, int],
    total: NDArray[np.float32],
    share: NDArray[np.float32],
) -> float:
    """Pool values that are multiplied by their weights already, at a cell; NaN where nothing is."""
    rows, columns = values.shape
    row, column = cell
    high, wide = down.size // 2, across.size // 2
    top, bottom = max(row - high, 0), min(row + high + 1, rows)
    left = max(min(column - wide, columns - total.size), 0)
    taps = down[top - row + high : bottom - row + high]
    _add_rows(values, weight, (top, left), taps, total, share)
    above, below = 0.0, 0.0
    shift = left - column + wide
    for j in range(max(-shift, 0), min(across.size - shift, total.size)):
        above += across[shift + j] * total[j]
        below += across[shift + j] * share[j]
    return above / below if below > 0.0 else math.nan


@parallel_njit
def compare_with_neighbourhood(
    given: NDArray[np.float32],
    weight: NDArray[np.float32],
    contribution: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    sample: NDArray[np.float32],
) -> None:
    """Compare a few cells with their neighbourhood.

    Parameters
    ----------
    given : array, shape (polarisations, rows, columns)
        Values, multiplied by their weights.
    weight : array, shape (rows, columns)
        The weights; where not positive, a cell counts for nothing.
    contribution : array, shape (rows, columns)
        What else is told of the cells.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Weights by distance, see `pool`.
    row, column : array, shape (n,)
        The cells.
    sample : array, shape (1 + 2 * polarisations, n)
        Receives contributions, then the cells' own values, then weighted means around them; NaN
        where a cell counts for nothing.
    """
    polarisations = given.shape[0]
    width = min(across.size + -across.size % LANES, given.shape[2])
    for batch in prange((row.size + BATCH - 1) // BATCH):
        total, share = np.empty(width, np.float32), np.empty(width, np.float32)
        for index in range(batch * BATCH, min(batch * BATCH + BATCH, row.size)):
            cell = row[index], column[index]
            known = weight[cell] > ZERO
            sample[0, index] = contribution[cell] if known else np.nan
            for p in range(polarisations):
                own, mean = math.nan, math.nan
                if known:
                    own = given[p, cell[0], cell[1]] / weight[cell]
                    mean = _pool_at(given[p], weight, down, across, cell, total, share)
                sample[1 + p, index] = own
                sample[1 + polarisations + p, index] = mean


# From what cells were given to backscatter, one pass over the cells at a time.

ONE, NONE = np.float32(1.0), np.float32(np.nan)
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
def share_error_variance(
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
def rcs_balance(
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
    """Do the work of `to_backscatter` for a row; `missing` becomes 0 where there is a value."""
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
def to_backscatter(
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
