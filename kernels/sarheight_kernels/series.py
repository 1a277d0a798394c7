"""Series of images of one track: multi-temporal filtering, means in the geometry of one date."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import F4, F8, NAN, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over


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
