"""Separable smoothing by a symmetric kernel: along rows, then down the rows that result.

The caller works on strips of rows, so that only those of a strip are held between the two, and
surrounds rows and strips with zeros as far as the kernel reaches.
"""

from __future__ import annotations

from sarheight_kernels._numba import F4, njit


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
