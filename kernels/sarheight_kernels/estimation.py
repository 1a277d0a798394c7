r"""Estimation of reflectivity: pooling over neighbours, posterior means, backscatter.

Pooling is a weighted mean over a neighbourhood of finite reach,

.. math:: \bar v_i = \frac{\sum_k g_k \, w_{i+k} \, v_{i+k}}{\sum_k g_k \, w_{i+k}},

with a separable kernel :math:`g` over rows and columns. Beyond the border there is nothing, which
the denominator accounts for. A strip of rows is pooled at a time, so that only the result is held
in full.

Estimation is in logarithms of reflectivity relative to the backscatter law, y. A value has the
error variance

.. math:: e = e_0 + e_s k + e_m (1 - c)^2 + e_q q

with the relative variance k that speckle of one look leaves in it, the contribution share c (the
part of its pixels' RCS that is its own), and the mean square q of the relative change of simulated
RCS from sample to sample, by which an error of the DEM's heights becomes an error of brightness.
The neighbourhood predicts the value by a local regression on the incidence angle; the posterior
averages value and prediction by their precision.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import NAN, ONE, ZERO, njit, parallel_njit, prange

STRIP = 64
SUMS = 5
"""Sums of the local regression: of weights, of weights times angle, times squared angle, times
value, and times angle and value."""
LEAST_LOGARITHM = np.float32(-7.0)
"""Reflectivity of 30 dB below the law, which also stands for zero and below."""


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


@parallel_njit
def logarithms(
    numerator: NDArray[np.float32],
    denominator: NDArray[np.float32],
    known: NDArray[np.float32],
    value: NDArray[np.float32],
) -> None:
    """Logarithms of the ratios of two sums, times what is known; NaN where there is no data.

    Parameters
    ----------
    numerator, denominator : array, shape (rows, columns)
        The sums; where the denominator is not positive, there is no data.
    known : array, shape (rows, columns)
        Logarithm of a factor.
    value : array, shape (rows, columns)
        Receives the logarithms, at least `LEAST_LOGARITHM`.
    """
    for i in prange(value.shape[0]):
        for j in range(value.shape[1]):
            ratio = numerator[i, j] / denominator[i, j] if denominator[i, j] > ZERO else NAN
            logarithm = np.log(ratio) + known[i, j] if ratio > ZERO else LEAST_LOGARITHM
            value[i, j] = max(logarithm, LEAST_LOGARITHM) if ratio == ratio else NAN  # noqa: PLR0124


@njit
def _regression_row(
    value: NDArray[np.float32],
    error: NDArray[np.float32],
    angle: NDArray[np.float32],
    roughness: np.float32,
    kernel: NDArray[np.float32],
    padded: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> None:
    """Sum the terms of the local regression along a row: shape (SUMS, columns)."""
    columns, reach = value.size, kernel.size // 2
    for j in range(columns):
        valid = (value[j] == value[j]) & (error[j] == error[j]) & (angle[j] == angle[j])
        weight = ONE / (error[j] + roughness) if valid else ZERO
        slope, here = (angle[j], value[j]) if valid else (ZERO, ZERO)
        padded[0, reach + j] = weight
        padded[1, reach + j] = weight * slope
        padded[2, reach + j] = weight * slope * slope
        padded[3, reach + j] = weight * here
        padded[4, reach + j] = weight * slope * here
    sums[:] = ZERO
    for term in range(SUMS):
        for k in range(kernel.size):
            kernel_weight = kernel[k]
            for j in range(columns):
                sums[term, j] += kernel_weight * padded[term, j + k]


@parallel_njit
def regress(
    value: NDArray[np.float32],
    error: NDArray[np.float32],
    angle: NDArray[np.float32],
    roughness: float,
    level_variance: float,
    slope_variance: float,
    down: NDArray[np.float32],
    across: NDArray[np.float32],
    prediction: NDArray[np.float32],
) -> None:
    r"""Predict the value of each cell from its neighbours, by a regression on the incidence angle.

    Around each cell :math:`y = u + t a` with normal priors of level u and slope t: the ground
    about it deviates from the scene's law by a level and by an angular slope. The posterior mean of
    u and t solves

    .. math:: \begin{pmatrix} \sum w + 1/\sigma_u^2 & \sum w a \\
              \sum w a & \sum w a^2 + 1/\sigma_t^2 \end{pmatrix}
              \begin{pmatrix} u \\ t \end{pmatrix}
              = \begin{pmatrix} \sum w y \\ \sum w a y \end{pmatrix}

    over the neighbours, without the cell itself, with weights w of the kernel by the inverse of
    error variance and roughness (best linear unbiased prediction).

    Parameters
    ----------
    value, error : array, shape (rows, columns)
        Logarithms y and their error variances; NaN does not count.
    angle : array, shape (rows, columns)
        Angles a.
    roughness : float
        Variance of the ground about its regression.
    level_variance, slope_variance : float
        Variances of u and t.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Kernel in rows and columns; its middle weight is 1.
    prediction : array, shape (rows, columns)
        Receives u + t a.

    References
    ----------
    Robinson, G. K. (1991). That BLUP is a good thing: the estimation of random effects.
    Statistical Science 6(1), 15-32.
    """
    rows, columns = value.shape
    reach = down.size // 2
    rough = np.float32(roughness)
    for strip in prange((rows + STRIP - 1) // STRIP):
        first, end = strip * STRIP, min(strip * STRIP + STRIP, rows)
        low, high = max(first - reach, 0), min(end + reach, rows)
        by_row = np.empty((high - low, SUMS, columns), np.float32)
        padded = np.zeros((SUMS, columns + across.size - 1), np.float32)
        for i in range(low, high):
            _regression_row(value[i], error[i], angle[i], rough, across, padded, by_row[i - low])
        total = np.empty((SUMS, columns), np.float32)
        for i in range(first, end):
            total[:] = ZERO
            for k in range(max(i - reach, low), min(i + reach + 1, high)):
                kernel_weight = down[k - i + reach]
                for term in range(SUMS):
                    for j in range(columns):
                        total[term, j] += kernel_weight * by_row[k - low, term, j]
            for j in range(columns):
                a = angle[i, j] if angle[i, j] == angle[i, j] else ZERO
                valid = (value[i, j] == value[i, j]) & (error[i, j] == error[i, j])
                own = ONE / (error[i, j] + rough) if valid else ZERO
                y = value[i, j] if valid else ZERO
                # Sums in double precision, as a difference of products follows.
                s0 = max(float(total[0, j] - own), 0.0) + 1.0 / level_variance
                s1 = float(total[1, j] - own * a)
                s2 = max(float(total[2, j] - own * a * a), 0.0) + 1.0 / slope_variance
                r0, r1 = float(total[3, j] - own * y), float(total[4, j] - own * a * y)
                determinant = s0 * s2 - s1 * s1
                level, slope = s2 * r0 - s1 * r1, s0 * r1 - s1 * r0
                prediction[i, j] = (level + a * slope) / determinant


@parallel_njit
def error_variance(
    contribution: NDArray[np.float32],
    speckle: NDArray[np.float32],
    change: NDArray[np.float32],
    terms: tuple[float, float, float, float],
    error: NDArray[np.float32],
) -> None:
    """Evaluate the error model of the values of cells, see the head of this module.

    Parameters
    ----------
    contribution, speckle, change : array, shape (rows, columns)
        Contribution share c, relative variance k by speckle of one look, and mean square q of the
        change of simulated RCS from sample to sample. A share that is NaN counts as 0.
    terms : tuple
        e0, es, em and eq.
    error : array, shape (rows, columns)
        Receives the error variance of the logarithm; NaN where speckle or change is NaN.
    """
    least, by_speckle = np.float32(terms[0]), np.float32(terms[1])
    by_others, by_change = np.float32(terms[2]), np.float32(terms[3])
    for i in prange(error.shape[0]):
        for j in range(error.shape[1]):
            others = ONE - (min(contribution[i, j], ONE) if contribution[i, j] > ZERO else ZERO)
            error[i, j] = (
                least
                + by_speckle * speckle[i, j]
                + by_others * others * others
                + by_change * change[i, j]
            )


@parallel_njit
def average(
    value: NDArray[np.float32],
    error: NDArray[np.float32],
    prediction: NDArray[np.float32],
    prediction_variance: NDArray[np.float32],
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
) -> None:
    """Average values and predictions by their precision.

    Parameters
    ----------
    value, error : array, shape (rows, columns)
        Values and their error variances; where either is NaN, the prediction alone counts.
    prediction, prediction_variance : array, shape (rows, columns)
        Predictions and their variances; a variance that is infinite does not count.
    mean, variance : array, shape (rows, columns)
        Receive the averages and their variances; may be `value` and `error` themselves.
    """
    for i in prange(value.shape[0]):
        for j in range(value.shape[1]):
            own, spread = error[i, j], prediction_variance[i, j]
            valid = (value[i, j] == value[i, j]) & (own == own)  # noqa: PLR0124
            share = own / (own + spread) if valid else ONE
            y = value[i, j] if valid else ZERO
            mean[i, j] = y + share * (prediction[i, j] - y)
            variance[i, j] = share * spread if valid else spread


QUARTER_TURN, RADIANS = np.float32(90.0), np.float32(math.pi / 180.0)
S1, S2, S3 = np.float32(1.0 / 6.0), np.float32(1.0 / 20.0), np.float32(1.0 / 42.0)
S4, S5, S6 = np.float32(1.0 / 72.0), np.float32(1.0 / 110.0), np.float32(1.0 / 156.0)
"""Ratios of the terms of the sine's series: 1 / (2 k (2 k + 1))."""


@njit
def _has_value(
    value: np.float32, area: np.float32, expected: np.float32, smallest_area: np.float32
) -> bool:
    """Tell whether a cell has a value: a finite mean, enough area, and expected RCS."""
    return bool((value == value) & (area >= smallest_area) & (expected > ZERO))  # noqa: PLR0124


@parallel_njit
def rcs_balance(
    mean: NDArray[np.float32],
    variance: NDArray[np.float32],
    allocated: NDArray[np.float32],
    expected: NDArray[np.float32],
    area: NDArray[np.float32],
    smallest_area: float,
    sums: NDArray[np.float64],
) -> None:
    """Sum the radar cross-section of the cells, for the balance with the image.

    Parameters
    ----------
    mean, variance : array, shape (rows, columns)
        Estimated reflectivity, and the variance of its logarithm.
    allocated, expected : array, shape (rows, columns)
        RCS that is allocated to each cell and that is expected of it, in square metres.
    area : array, shape (rows, columns)
        Illuminated area, projected along the line of sight, in square metres.
    smallest_area : float
        Area below which a cell has no value.
    sums : array, shape (rows, 4)
        Receives for each row the RCS of cells with a value by their estimate, the RCS that is
        allocated to the others, the number of cells with a value, and the sum of their RCS times
        variance.
    """
    least = np.float32(smallest_area)
    for i in prange(mean.shape[0]):
        reported_rcs, unreported_rcs, cells, spread = 0.0, 0.0, 0.0, 0.0
        for j in range(mean.shape[1]):
            if _has_value(mean[i, j], area[i, j], expected[i, j], least):
                rcs = float(mean[i, j]) * float(expected[i, j])
                reported_rcs += rcs
                spread += rcs * variance[i, j] if variance[i, j] > ZERO else 0.0
                cells += 1.0
            else:
                unreported_rcs += allocated[i, j]
        sums[i, 0], sums[i, 1], sums[i, 2] = reported_rcs, unreported_rcs, cells
        sums[i, 3] = spread


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
    by_variance: np.float32,
    smallest_area: np.float32,
    expected: NDArray[np.float32],
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
        gamma *= ONE + (by_variance * variance[j] if variance[j] > ZERO else ZERO)
        mean[j] = gamma if valid else NAN
        sigma[j] = gamma * tilt[j] if valid else NAN
        variance[j] = gamma * gamma * variance[j] if valid else NAN
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
    by_variance: NDArray[np.float64],
    smallest_area: float,
    heights: NDArray[np.float32],
    expected: NDArray[np.float32],
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
    by_variance : array, shape (polarisations,)
        Factor k by which estimates grow with the variance v of their logarithm, as 1 + k v.
    smallest_area : float
        Area in square metres below which a cell has no value.
    heights, expected : array, shape (rows, columns)
        Heights, and RCS expected of the cells.
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
    least = np.float32(smallest_area)
    for i in prange(heights.shape[0]):
        tilt = np.empty(heights.shape[1], np.float32)
        missing = np.full(heights.shape[1], NAN, np.float32)
        _cosines(local_incidence[i], tilt)
        for p in range(polarisations):
            _backscatter_row(
                np.float32(factor[p]),
                np.float32(by_variance[p]),
                least,
                expected[i],
                tilt,
                area[i],
                mean[p, i],
                variance[p, i],
                sigma[p, i],
                missing,
            )
        _mask_row(heights[i], missing, area[i], contribution[i])
