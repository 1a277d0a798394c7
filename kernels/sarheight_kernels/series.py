r"""Series of images of one track: images over their simulations, multi-temporal filtering, means.

The ratio of image and simulation is that of radiometric terrain correction,

.. math:: Q_p = A_p \frac{\sum_k g_k I_{p+k}}{\sum_k g_k S_{p+k}},

with intensities I, areas A to which they refer, simulated RCS S, and a separable kernel g over
lines and samples; sums run over the pixels that have data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import F4, F8, NAN, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over
from sarheight_kernels.radiometry import areas_of_line
from sarheight_kernels.smoothing import smooth_across, smooth_down

STRIP = 64
"""Lines that are smoothed at a time."""


@njit
def _mask_row(values: F4, simulated: F4, masked: F4) -> None:
    """Copy values of a line where anything is simulated; 0 elsewhere."""
    for j in range(values.size):
        masked[j] = values[j] if simulated[j] > ZERO else ZERO


@spread_over("simulated", block=STRIP)
@njit
def divide_by_simulation(
    begin: int,
    end: int,
    image: F4,
    area_lines: F8,
    areas: F8,
    simulated: F4,
    down: F4,
    across: F4,
    channels: F4,
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
        Symmetric kernel in lines and samples.
    channels : array, shape (polarisations, lines, samples) or (polarisations + 1, lines, samples)
        Receives the ratios Q and, if there is room for it, 1 where there is data; 0 where there is
        none.

    References
    ----------
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """
    polarisations, lines, samples = image.shape
    high, reach = down.size // 2, across.size // 2
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        # Smoothed along lines; nothing beyond the border of the image.
        along = np.zeros((polarisations + 1, last - first + 2 * high, samples), np.float32)
        padded = np.zeros(samples + 2 * reach, np.float32)
        inner = padded[reach : reach + samples]
        for line in range(max(first - high, 0), min(last + high, lines)):
            for p in range(polarisations + 1):
                values = image[p, line] if p < polarisations else simulated[line]
                _mask_row(values, simulated[line], inner)
                smooth_across(padded, across, along[p, line - first + high])
        smooth, area = np.empty((polarisations + 1, samples), np.float32), np.empty(samples)
        for line in range(first, last):
            areas_of_line(area_lines, areas, float(line), area)
            for p in range(polarisations + 1):
                smooth_down(along[p], line - first, down, smooth[p])
            expected = smooth[polarisations]
            for j in range(samples):
                valid = (simulated[line, j] > ZERO) & (expected[j] > ZERO)
                factor = np.float32(area[j]) / (expected[j] if valid else ONE)
                expected[j] = factor if valid else ZERO
            for p in range(polarisations):
                ratio = channels[p, line]
                for j in range(samples):
                    ratio[j] = expected[j] * smooth[p, j] if expected[j] > ZERO else ZERO
            if channels.shape[0] > polarisations:
                for j in range(samples):
                    channels[polarisations, line, j] = ONE if expected[j] > ZERO else ZERO


# Multi-temporal filtering.


@spread_over("gamma")
@njit
def accumulate_date(
    begin: int, end: int, gamma: F4, local_mean: F4, count: F4, ratio: F4, mean: F4, square: F4
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
    for i in range(begin, end):
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


@spread_over("gamma")
@njit
def filter_date(begin: int, end: int, local_mean: F4, ratio: F4, gamma: F4) -> None:
    """Filter a date: its local mean times the mean ratio of all dates, in place of `gamma`.

    Cells without a value stay without one. Shapes (rows, columns); see `accumulate_date`.

    References
    ----------
    Quegan, S., Yu, J. J. (2001). Filtering of multichannel SAR images. IEEE TGRS 39(11),
    2373-2379: equation 14, with channels of uncorrelated speckle.
    """
    for i in range(begin, end):
        for j in range(gamma.shape[1]):
            filtered = local_mean[i, j] * ratio[i, j]
            valid = gamma[i, j] == gamma[i, j]
            gamma[i, j] = filtered if valid else NAN


# Means in the geometry of one date.


@njit
def cubic_weights(t: float, weights: F8) -> None:
    """Find the weights of the values at -1, 0, 1 and 2 for a place between 0 and 1.

    References
    ----------
    Keys, R. G. (1981). Cubic convolution interpolation for digital image processing. IEEE TASSP
    29(6), 1153-1160, with a = -1/2: exact for parabolas, with a sum of 1.
    """
    weights[0] = t * (-0.5 + t * (1.0 - 0.5 * t))
    weights[1] = 1.0 + t * t * (-2.5 + 1.5 * t)
    weights[2] = t * (0.5 + t * (2.0 - 1.5 * t))
    weights[3] = t * t * (-0.5 + 0.5 * t)


@njit
def _polynomial(coefficients: F8, u: float, v: float) -> float:
    """Evaluate a polynomial of two variables, coefficients[i, j] of u^i v^j."""
    total = 0.0
    for i in range(coefficients.shape[0] - 1, -1, -1):
        inner = 0.0
        for j in range(coefficients.shape[1] - 1, -1, -1):
            inner = inner * v + coefficients[i, j]
        total = total * u + inner
    return total


@njit
def _interpolated(
    image: F4, line: float, sample: float,
    down: F8, across: F8
) -> float:  # fmt: skip
    """Interpolate an image at a place; NaN beyond it and beside missing pixels."""
    lines, samples = image.shape
    if not (line >= 0.0 and line <= lines - 1.0 and sample >= 0.0 and sample <= samples - 1.0):
        return np.nan
    i, j = int(line), int(sample)
    cubic_weights(line - i, down)
    cubic_weights(sample - j, across)
    total = 0.0
    for a in range(4):
        for b in range(4):
            weight = down[a] * across[b]
            # On a pixel, its neighbours do not count, be they missing or beyond the image.
            if weight != 0.0:
                row, column = i - 1 + a, j - 1 + b
                if row < 0 or row >= lines or column < 0 or column >= samples:
                    return np.nan
                total += weight * image[row, column]
    return total


@spread_over("total")
@njit
def accumulate_resampled(
    begin: int,
    end: int,
    image: F4,
    corner: tuple[int, int],
    offsets: F8,
    scales: F8,
    first: tuple[int, int],
    total: F4,
    count: NDArray[np.uint16],
) -> None:
    """Resample an image to the lattice of another one, and add it to sums over images.

    Parameters
    ----------
    image : array, shape (lines, samples)
        Part of the image, linear power; NaN where there is no data.
    corner : tuple of int
        Line and sample at which the part begins.
    offsets : array, shape (2, k, k)
        Lines and samples by which a point of the ground lies farther in the image than in the
        other lattice: polynomials there, coefficients of u^i v^j.
    scales : array, shape (2, 2)
        Middle and half extent of the other lattice in lines and samples: u and v are -1 to 1.
    first : tuple of int
        Line and sample of the other lattice at which the sums begin.
    total, count : array, shape (rows, columns)
        Sum of the images, and number of those that have data. Cubic convolution with weights whose
        sum is 1 keeps the power of areas, and therefore also their number of looks.
    """
    for row in range(begin, end):
        down, across = np.empty(4), np.empty(4)
        line = float(first[0] + row)
        u = (line - scales[0, 0]) / scales[0, 1]
        for column in range(total.shape[1]):
            sample = float(first[1] + column)
            v = (sample - scales[1, 0]) / scales[1, 1]
            value = _interpolated(
                image,
                line + _polynomial(offsets[0], u, v) - corner[0],
                sample + _polynomial(offsets[1], u, v) - corner[1],
                down,
                across,
            )
            if value == value:  # noqa: PLR0124 - no NaN
                total[row, column] += np.float32(value)
                count[row, column] += np.uint16(1)
