r"""Weighted means over a neighbourhood of finite reach.

.. math:: \bar v_i = \frac{\sum_k g_k \, w_{i+k} \, v_{i+k}}{\sum_k g_k \, w_{i+k}}

with separable weights :math:`g` that sum up over rows and columns at a finite distance. Beyond the
border there is nothing, which the denominator accounts for. A strip of rows is worked on at a
time, so that only the result is held in full.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

__all__ = ["compare_at", "pool"]

STRIP = 64
BATCH = 256
"""Cells of `compare_at` that share their room."""
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
def compare_at(
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
