r"""Series of images of one track: images over their simulations, and multi-temporal filtering.

The ratio of image and simulation is that of radiometric terrain correction,

.. math:: Q_p = A_p \frac{\sum_k g_k I_{p+k}}{\sum_k g_k S_{p+k}},

with intensities I, areas A to which they refer, simulated RCS S, and a separable kernel g over
lines and samples; sums run over the pixels that have data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import NAN, ONE, ZERO, njit, parallel_njit, prange
from sarheight_kernels.radiometry import areas_of_line

STRIP = 64
"""Lines that are smoothed at a time."""


@njit
def _smooth_row(
    values: NDArray[np.float32],
    simulated: NDArray[np.float32],
    kernel: NDArray[np.float32],
    padded: NDArray[np.float32],
    smooth: NDArray[np.float32],
) -> None:
    """Sum values along a line with the weights of a kernel, where anything is simulated."""
    reach = kernel.size // 2
    for j in range(values.size):
        padded[reach + j] = values[j] if simulated[j] > ZERO else ZERO
    smooth[:] = ZERO
    for k in range(kernel.size):
        weight = kernel[k]
        for j in range(values.size):
            smooth[j] += weight * padded[j + k]


@njit
def _smooth_lines(
    lines: NDArray[np.float32], down: NDArray[np.float32], line: int, low: int, high: int,
    smooth: NDArray[np.float32],
) -> None:  # fmt: skip
    """Sum lines, the first of which has number `low`, around a line with a kernel's weights."""
    reach = down.size // 2
    smooth[:] = ZERO
    for k in range(max(line - reach, low), min(line + reach + 1, high)):
        weight, row = down[k - line + reach], lines[k - low]
        for j in range(smooth.size):
            smooth[j] += weight * row[j]


@parallel_njit
def divide_by_simulation(
    image: NDArray[np.float32],
    area_lines: NDArray[np.float64],
    areas: NDArray[np.float64],
    simulated: NDArray[np.float32],
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    channels: NDArray[np.float32],
) -> None:
    """Divide the RCS of pixels by their simulated RCS, both smoothed.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity; finite where anything is simulated.
    area_lines, areas : array, shape (k,), (k, samples)
        Areas to which intensities refer, in square metres, see
        `sarheight_kernels.radiometry.areas_of_line`.
    simulated : array, shape (lines, samples)
        Simulated RCS; 0 where a polarisation has no data.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Kernel in lines and samples.
    channels : array, shape (lines, samples, polarisations) or (lines, samples, polarisations + 1)
        Receives the ratios Q and, if there is room for it, 1 where there is data; 0 where there is
        none.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """
    polarisations, lines, samples = image.shape
    reach = down.size // 2
    for strip in prange((lines + STRIP - 1) // STRIP):
        first, end = strip * STRIP, min(strip * STRIP + STRIP, lines)
        low, high = max(first - reach, 0), min(end + reach, lines)
        by_line = np.empty((polarisations + 1, high - low, samples), np.float32)
        padded = np.zeros(samples + across.size - 1, np.float32)
        for line in range(low, high):
            expected = simulated[line]
            for p in range(polarisations):
                _smooth_row(image[p, line], expected, across, padded, by_line[p, line - low])
            _smooth_row(expected, expected, across, padded, by_line[polarisations, line - low])
        smooth, area = np.empty((polarisations + 1, samples), np.float32), np.empty(samples)
        for line in range(first, end):
            areas_of_line(area_lines, areas, float(line), area)
            for p in range(polarisations + 1):
                _smooth_lines(by_line[p], down, line, low, high, smooth[p])
            expected = smooth[polarisations]
            for j in range(samples):
                valid = (simulated[line, j] > ZERO) & (expected[j] > ZERO)
                factor = np.float32(area[j]) / (expected[j] if valid else ONE)
                for p in range(polarisations):
                    channels[line, j, p] = factor * smooth[p, j] if valid else ZERO
                if channels.shape[2] > polarisations:
                    channels[line, j, polarisations] = ONE if valid else ZERO


# Multi-temporal filtering.


@parallel_njit
def accumulate_date(
    gamma: NDArray[np.float32],
    local_mean: NDArray[np.float32],
    count: NDArray[np.float32],
    ratio: NDArray[np.float32],
    mean: NDArray[np.float32],
    square: NDArray[np.float32],
) -> None:
    r"""Add a date to the sums over time, in place.

    Parameters
    ----------
    gamma, local_mean : array, shape (rows, columns)
        Backscatter of the date and its local mean; NaN where there is none.
    count : array, shape (rows, columns)
        Number of dates with a value.
    ratio : array, shape (rows, columns)
        Mean of :math:`I_i / E[I_i]` over these dates.
    mean, square : array, shape (rows, columns)
        Mean over these dates, and sum of the squared deviations from it.

    References
    ----------
    Welford, B. P. (1962). Note on a method for calculating corrected sums of squares and products.
    Technometrics 4(3), 419-420.
    """
    for i in prange(gamma.shape[0]):
        for j in range(gamma.shape[1]):
            value, around = gamma[i, j], local_mean[i, j]
            valid = value == value  # noqa: PLR0124 - no NaN
            number = count[i, j] + (ONE if valid else ZERO)
            inverse = ONE / (number if valid else ONE)
            # Where removing noise left nothing around a cell, its ratio is not known.
            texture = value / around if valid & (around > ZERO) else ONE
            step = value - mean[i, j] if valid else ZERO
            ratio[i, j] += (texture - ratio[i, j]) * inverse if valid else ZERO
            mean[i, j] += step * inverse
            square[i, j] += step * (value - mean[i, j]) if valid else ZERO
            count[i, j] = number


@parallel_njit
def filter_date(
    local_mean: NDArray[np.float32],
    ratio: NDArray[np.float32],
    gamma: NDArray[np.float32],
) -> None:
    """Filter a date: its local mean times the mean ratio of all dates, in place of `gamma`.

    Cells without a value stay without one. Shapes (rows, columns); see `accumulate_date`.

    References
    ----------
    Quegan, S., Yu, J. J. (2001). Filtering of multichannel SAR images. IEEE TGRS 39(11),
    2373-2379: equation 14, with channels of uncorrelated speckle.
    """
    for i in prange(gamma.shape[0]):
        for j in range(gamma.shape[1]):
            filtered = local_mean[i, j] * ratio[i, j]
            valid = gamma[i, j] == gamma[i, j]
            gamma[i, j] = filtered if valid else NAN
