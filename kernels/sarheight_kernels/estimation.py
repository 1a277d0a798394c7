r"""Estimation of reflectivity: pooling over neighbours, posterior means, backscatter.

Pooling is a weighted mean over a neighbourhood of finite reach,

.. math:: \bar v_i = \frac{\sum_k g_k \, w_{i+k} \, v_{i+k}}{\sum_k g_k \, w_{i+k}},

with a separable kernel :math:`g` over rows and columns. Beyond the border there is nothing, which
the denominator accounts for. A strip of rows is pooled at a time, so that only the result is held
in full.

The error model: the logarithm of a cell's value has an error variance that depends on its
contribution share c, the part of its pixels' RCS that is its own,

.. math:: e(c) = e_k + m \, (1 - c)^2,

with the excess :math:`e_k` of its class of shares and the variance m between distant places. The
posterior averages a value of error variance e and a prior of variance s by their precision:

.. math:: \hat x = (1 - t) \, x + t \, \bar x, \qquad t = e / (s + e).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import NAN, ONE, ZERO, njit, parallel_njit, prange

STRIP = 64
BATCH = 256
"""Cells of `compare_with_neighbourhood` that use the same workspace."""
LANES = 16
"""Columns are summed in multiples of this, so that loops are vectorised without a remainder."""


@njit
def _pool_row(
    values: NDArray[np.float32],
    weight: NDArray[np.floating],
    weighted: bool,  # noqa: FBT001 - kernels take no keywords
    kernel: NDArray[np.float32],
    padded: NDArray[np.float32],
    numerator: NDArray[np.float32],
    denominator: NDArray[np.float32],
) -> None:
    """Sum weighted values (numerator) and weights (denominator) along a row."""
    columns = values.size
    reach = kernel.size // 2
    for j in range(columns):
        weight_sum = np.float32(weight[j])
        valid = weight_sum > 0.0 and not math.isnan(values[j])
        part = values[j] if weighted else weight_sum * values[j]
        padded[0, reach + j] = part if valid else ZERO
        padded[1, reach + j] = weight_sum if valid else ZERO
    numerator[:] = 0.0
    denominator[:] = 0.0
    for k in range(kernel.size):
        kernel_weight = kernel[k]
        for j in range(columns):
            numerator[j] += kernel_weight * padded[0, j + k]
            denominator[j] += kernel_weight * padded[1, j + k]


@parallel_njit
def pool(
    values: NDArray[np.float32],
    weight: NDArray[np.floating],
    weighted: bool,  # noqa: FBT001 - kernels take no keywords
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """Pool values over their neighbourhood.

    Parameters
    ----------
    values : array, shape (rows, columns)
        The values; NaN does not count.
    weight : array, shape (rows, columns)
        Their weights; where not positive, the value does not count.
    weighted : bool
        Whether `values` are multiplied by their weights already.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Kernel in rows and columns, the middle weight for the cell itself.
    result : array, shape (rows, columns)
        Receives the weighted means; NaN where nothing counts within reach.
    """
    rows, columns = values.shape
    reach = down.size // 2
    for strip in prange((rows + STRIP - 1) // STRIP):
        first, end = strip * STRIP, min(strip * STRIP + STRIP, rows)
        low, high = max(first - reach, 0), min(end + reach, rows)
        numerator = np.empty((high - low, columns), np.float32)
        denominator = np.empty((high - low, columns), np.float32)
        padded = np.zeros((2, columns + across.size - 1), np.float32)
        for i in range(low, high):
            _pool_row(
                values[i],
                weight[i],
                weighted,
                across,
                padded,
                numerator[i - low],
                denominator[i - low],
            )
        total, weight_sum = np.empty(columns, np.float32), np.empty(columns, np.float32)
        for i in range(first, end):
            total[:] = 0.0
            weight_sum[:] = 0.0
            for k in range(max(i - reach, low), min(i + reach + 1, high)):
                kernel_weight = down[k - i + reach]
                for j in range(columns):
                    total[j] += kernel_weight * numerator[k - low, j]
                    weight_sum[j] += kernel_weight * denominator[k - low, j]
            for j in range(columns):
                result[i, j] = total[j] / weight_sum[j] if weight_sum[j] > 0.0 else NAN


@njit
def _sum_down(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    first: tuple[int, int],
    kernel: NDArray[np.float32],
    total: NDArray[np.float32],
    weight_sum: NDArray[np.float32],
) -> None:
    """Sum weighted values and weights down their columns, from row and column `first`."""
    total[:] = ZERO
    weight_sum[:] = ZERO
    # Unsigned indices are not checked for counting from the end.
    row, left = np.uint64(first[0]), np.uint64(first[1])
    for k in range(kernel.size):
        here, there = values[row + np.uint64(k)], weight[row + np.uint64(k)]
        kernel_weight = kernel[k]
        for j in range(total.size):
            value, part = here[left + np.uint64(j)], there[left + np.uint64(j)]
            valid = (part > ZERO) & (value == value)  # noqa: PLR0124 - no NaN
            total[j] += kernel_weight * value if valid else ZERO
            weight_sum[j] += kernel_weight * part if valid else ZERO


@njit
def _pool_at(
    values: NDArray[np.float32],
    weight: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    cell: tuple[int, int],
    total: NDArray[np.float32],
    weight_sum: NDArray[np.float32],
) -> float:
    """Pool values that are multiplied by their weights, at one cell; NaN where nothing counts."""
    rows, columns = values.shape
    row, column = cell
    high, wide = down.size // 2, across.size // 2
    top, bottom = max(row - high, 0), min(row + high + 1, rows)
    left = max(min(column - wide, columns - total.size), 0)
    kernel = down[top - row + high : bottom - row + high]
    _sum_down(values, weight, (top, left), kernel, total, weight_sum)
    numerator, denominator = 0.0, 0.0
    shift = left - column + wide
    for j in range(max(-shift, 0), min(across.size - shift, total.size)):
        numerator += across[shift + j] * total[j]
        denominator += across[shift + j] * weight_sum[j]
    return numerator / denominator if denominator > 0.0 else math.nan


@parallel_njit
def compare_with_neighbourhood(
    allocated: NDArray[np.float32],
    weight: NDArray[np.float32],
    contribution: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    comparison: NDArray[np.float32],
) -> None:
    """Compare a few cells with their neighbourhood.

    Parameters
    ----------
    allocated : array, shape (polarisations, rows, columns)
        Values, multiplied by their weights.
    weight : array, shape (rows, columns)
        The weights; where not positive, a cell does not count.
    contribution : array, shape (rows, columns)
        Contribution shares of the cells.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Kernel in rows and columns, see `pool`.
    row, column : array, shape (n,)
        The cells.
    comparison : array, shape (1 + 2 * polarisations, n)
        Receives contribution shares, the cells' own values, and weighted means around them; NaN
        where a cell does not count.
    """
    polarisations = allocated.shape[0]
    width = min(across.size + -across.size % LANES, allocated.shape[2])
    for batch in prange((row.size + BATCH - 1) // BATCH):
        total, weight_sum = np.empty(width, np.float32), np.empty(width, np.float32)
        for index in range(batch * BATCH, min(batch * BATCH + BATCH, row.size)):
            cell = row[index], column[index]
            valid = weight[cell] > ZERO
            comparison[0, index] = contribution[cell] if valid else np.nan
            for p in range(polarisations):
                own, mean = math.nan, math.nan
                if valid:
                    own = allocated[p, cell[0], cell[1]] / weight[cell]
                    mean = _pool_at(allocated[p], weight, down, across, cell, total, weight_sum)
                comparison[1 + p, index] = own
                comparison[1 + polarisations + p, index] = mean


QUARTER_TURN, RADIANS = np.float32(90.0), np.float32(math.pi / 180.0)
S1, S2, S3 = np.float32(1.0 / 6.0), np.float32(1.0 / 20.0), np.float32(1.0 / 42.0)
S4, S5, S6 = np.float32(1.0 / 72.0), np.float32(1.0 / 110.0), np.float32(1.0 / 156.0)
"""Ratios of the terms of the sine's series: 1 / (2 k (2 k + 1))."""


@njit
def _clipped_share(weight_sum: np.float32) -> np.float32:
    """Contribution share from 0 to 1; NaN counts as 0."""
    return min(weight_sum, ONE) if weight_sum > ZERO else ZERO


@njit
def _class_excess(
    contribution: NDArray[np.float32],
    edges: NDArray[np.float64],
    excess: NDArray[np.float64],
    error: NDArray[np.float32],
) -> None:
    """Excess variance of the class of each share of a row."""
    error[:] = excess[0]
    for k in range(edges.size):
        # Rounded up to single precision, so that comparisons come out as they do in double.
        edge = np.float32(edges[k])
        edge = edge if float(edge) >= edges[k] else np.nextafter(edge, np.float32(np.inf))
        here = np.float32(excess[k + 1])
        for j in range(contribution.size):
            error[j] = here if _clipped_share(contribution[j]) >= edge else error[j]


@njit
def _add_contrast(
    contribution: NDArray[np.float32], contrast: np.float32, error: NDArray[np.float32]
) -> None:
    for j in range(contribution.size):
        others = ONE - _clipped_share(contribution[j])
        error[j] += contrast * others * others


@parallel_njit
def share_error_variance(
    contribution: NDArray[np.float32],
    edges: NDArray[np.float64],
    excess: NDArray[np.float64],
    contrast: float,
    error: NDArray[np.float32],
) -> None:
    """Evaluate the error model of the values of cells.

    Parameters
    ----------
    contribution : array, shape (rows, columns)
        Contribution shares; NaN counts as 0.
    edges : array, shape (classes - 1,)
        Shares between the classes, ascending.
    excess : array, shape (classes,)
        Variance of the logarithm in each class beyond that of the best one.
    contrast : float
        Variance of the logarithm between distant places.
    error : array, shape (rows, columns)
        Receives the error variance of the logarithm of each cell's value.
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

    The errors of neighbours are not independent, as they share pixels and the DEM: pooling does not
    reduce them. The part of the prior's variance that is error therefore counts in full.

    Parameters
    ----------
    own, error : array, shape (rows, columns)
        Values of the cells and the error variances of their logarithms.
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
                shrinkage = error[i, j] / (spread + error[i, j])
                mean[i, j] = (1.0 - shrinkage) * own[i, j] + shrinkage * prior[i, j]
                variance[i, j] = shrinkage * (spread + max(spread - diversity, 0.0))


@njit
def _has_value(
    value: np.float32, area: np.float32, expected: np.float32, smallest_area: np.float32
) -> bool:
    """Tell whether a cell has a value: a finite mean, enough area, and expected RCS."""
    return bool((value == value) & (area >= smallest_area) & (expected > ZERO))  # noqa: PLR0124


@parallel_njit
def rcs_balance(
    mean: NDArray[np.float32],
    allocated: NDArray[np.float32],
    expected: NDArray[np.float32],
    area: NDArray[np.float32],
    smallest_area: float,
    sums: NDArray[np.float64],
) -> None:
    """Sum the radar cross-section of the cells, for the balance with the image.

    Parameters
    ----------
    mean : array, shape (rows, columns)
        Estimated reflectivity.
    allocated, expected : array, shape (rows, columns)
        RCS that is allocated to each cell and that is expected of it, in square metres.
    area : array, shape (rows, columns)
        Illuminated area, projected along the line of sight, in square metres.
    smallest_area : float
        Area below which a cell has no value.
    sums : array, shape (rows, 3)
        Receives for each row the RCS of cells with a value by their estimate, the RCS that is
        allocated to the others, and the number of cells with a value.
    """
    least = np.float32(smallest_area)
    for i in prange(mean.shape[0]):
        reported_rcs, unreported_rcs, cells = 0.0, 0.0, 0.0
        for j in range(mean.shape[1]):
            if _has_value(mean[i, j], area[i, j], expected[i, j], least):
                reported_rcs += float(mean[i, j]) * float(expected[i, j])
                cells += 1.0
            else:
                unreported_rcs += allocated[i, j]
        sums[i, 0], sums[i, 1], sums[i, 2] = reported_rcs, unreported_rcs, cells


@njit
def _cosines(angle: NDArray[np.float32], cosine: NDArray[np.float32]) -> None:
    """Cosines of angles in degrees, 0 to 180: sine series of the complement, to its 13th power."""
    for j in range(angle.size):
        complement = RADIANS * (QUARTER_TURN - angle[j])
        square = complement * complement
        tail = ONE - square * S4 * (ONE - square * S5 * (ONE - square * S6))
        cosine[j] = complement * (
            ONE - square * S1 * (ONE - square * S2 * (ONE - square * S3 * tail))
        )


@njit
def _backscatter_row(
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
        valid = _has_value(mean[j], area[j], expected[j], smallest_area)
        gamma = factor * mean[j] * expected[j] / area[j]
        spread = variance[j] + speckle[j] * per_look
        mean[j] = gamma if valid else NAN
        sigma[j] = gamma * tilt[j] if valid else NAN
        variance[j] = gamma * gamma * spread if valid else NAN
        missing[j] = ZERO if valid else missing[j]


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
        area[j] = area[j] if heights[j] - heights[j] == ZERO else NAN


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
    """Turn reflectivities into backscatter coefficients, in place.

    gamma0 is the RCS over the projected area, reflectivity times expected RCS over area; sigma0 is
    gamma0 times the cosine of the local incidence angle.

    Parameters
    ----------
    factor : array, shape (polarisations,)
        By which all estimates are scaled, so that the RCS of the image is allocated in full.
    smallest_area : float
        Area in square metres below which a cell has no value.
    looks : float
        Equivalent number of looks of the image.
    heights, expected, speckle : array, shape (rows, columns)
        Heights, RCS expected of the cells, and the relative variance that one look leaves in it.
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
        missing = np.full(heights.shape[1], NAN, np.float32)
        _cosines(local_incidence[i], tilt)
        for p in range(polarisations):
            _backscatter_row(
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
