"""Separable smoothing by a symmetric kernel: along rows, then down the rows that result.

The caller works on strips of rows, so that only those of a strip are held between the two, and
surrounds rows and strips as far as the kernel reaches: by zeros, or by what lies at the border.
So does `mean_slope_changes`, which tells how rough the ground of a DEM is.
"""

from __future__ import annotations

import numpy as np

from sarheight_kernels._numba import F4, ZERO, njit
from sarheight_kernels.pool import spread_over

STRIP = 64
"""Rows that are smoothed at once."""


@njit
def smooth_across(padded: F4, kernel: F4, smooth: F4) -> None:
    """Smooth values along a row, shape (columns,), by a symmetric kernel.

    `padded`, shape (2 n + columns,), holds as many values more on both sides as the kernel reaches;
    of `kernel`, shape (2 n + 1,), only the first n + 1 weights are read.
    """
    reach, size = kernel.size // 2, smooth.size
    middle, values = kernel[reach], padded[reach : reach + size]
    for j in range(size):
        smooth[j] = middle * values[j]
    for k in range(reach):
        weight, before = kernel[k], padded[k : k + size]
        after = padded[kernel.size - 1 - k : kernel.size - 1 - k + size]
        for j in range(size):
            smooth[j] += weight * (before[j] + after[j])


@njit
def smooth_down(rows: F4, first: int, kernel: F4, smooth: F4) -> None:
    """Smooth rows, shape (rows, columns), by a symmetric kernel that begins at row `first`.

    `kernel` is that of `smooth_across`, down the columns; `smooth` has shape (columns,).
    """
    reach, last = kernel.size // 2, first + kernel.size - 1
    middle, values = kernel[reach], rows[first + reach]
    for j in range(smooth.size):
        smooth[j] = middle * values[j]
    for k in range(reach):
        weight, before, after = kernel[k], rows[first + k], rows[last - k]
        for j in range(smooth.size):
            smooth[j] += weight * (before[j] + after[j])


@njit
def _slope_changes(
    heights: F4,
    row: int,
    lags: tuple[int, int],
    factors: tuple[float, float],
    squares: F4,
) -> None:
    """Write the squared changes of slope of a row, down and across, shape (columns,)."""
    rows, columns = heights.shape
    down, across = lags
    by_down, by_across = np.float32(factors[0]), np.float32(factors[1])
    squares[:] = ZERO
    here = heights[row]
    if down <= row < rows - down:
        above, below = heights[row - down], heights[row + down]
        for j in range(columns):
            change = by_down * ((below[j] - here[j]) - (here[j] - above[j]))
            squares[j] = change * change if change == change else ZERO  # noqa: PLR0124 - NaN
    if columns > 2 * across:
        inner = squares[across:-across]
        left, middle, right = here[: -2 * across], here[across:-across], here[2 * across :]
        for j in range(inner.size):
            change = by_across * ((right[j] - middle[j]) - (middle[j] - left[j]))
            inner[j] += change * change if change == change else ZERO  # noqa: PLR0124 - NaN


@spread_over("mean", block=STRIP)
@njit
def mean_slope_changes(
    begin: int,
    end: int,
    heights: F4,
    lags: tuple[int, int],
    factors: tuple[float, float],
    window: tuple[F4, F4],
    most: float,
    mean: F4,
) -> None:
    """Find the mean square by which slopes change around each cell, down and across.

    Parameters
    ----------
    heights : array, shape (rows, columns)
        Heights in metres; NaN, and what lies beyond the border, changes no slope.
    lags : tuple
        Over how many rows and columns slopes to either side are taken.
    factors : tuple
        By which differences of heights down and across are multiplied.
    window : tuple
        Symmetric kernels in rows and columns by which squares are averaged; beyond the border they
        are those at the border.
    most : float
        What larger means count as.
    mean : array, shape (rows, columns)
        Receives the mean squares.
    """
    rows, columns = heights.shape
    high, reach = window[0].size // 2, window[1].size // 2
    largest = np.float32(most)
    padded = np.empty(columns + 2 * reach, np.float32)
    along = np.empty((min(STRIP, end - begin) + 2 * high, columns), np.float32)
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        for i in range(first - high, last + high):
            row = min(max(i, 0), rows - 1)
            _slope_changes(heights, row, lags, factors, padded[reach : reach + columns])
            padded[:reach] = padded[reach]
            padded[reach + columns :] = padded[reach + columns - 1]
            smooth_across(padded, window[1], along[i - first + high])
        for i in range(first, last):
            smooth_down(along, i - first, window[0], mean[i])
            for j in range(columns):
                mean[i, j] = min(mean[i, j], largest)
