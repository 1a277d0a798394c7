r"""Estimation of reflectivity: pooling over neighbours, posterior means, backscatter.

Pooling is a weighted mean over a neighbourhood of finite reach,

.. math:: \bar v_i = \frac{\sum_k g_k \, w_{i+k} \, v_{i+k}}{\sum_k g_k \, w_{i+k}},

with a separable, symmetric kernel :math:`g` over rows and columns. Beyond the border there is
nothing, which the denominator accounts for. A strip of rows is pooled at a time, so that only the
result is held in full.

Estimation is in logarithms of reflectivity relative to the backscatter law, y. A value has the
error variance

.. math:: e = e_0 + e_s k + e_m (1 - c)^2 + e_q q + e_b b c^2

with the relative variance k that speckle of one look leaves in it, the contribution share c (the
part of its pixels' RCS that is its own), the mean square q of the relative change of simulated RCS
from sample to sample, by which an error of the DEM's heights becomes an error of brightness, and
the mean square b by which slopes change around it, as relief does within cells (where
pixels are those of others, the third term has what relief does).
The neighbourhood predicts the value by a local regression on the incidence angle; the posterior
averages value and prediction by their precision.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import F4, F8, HALF, NAN, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over
from sarheight_kernels.smoothing import STRIP, smooth_across, smooth_down

SUMS = 5
"""Sums of the local regression: of weights, of weights times angle, times squared angle, times
value, and times angle and value."""
LEAST_LOGARITHM = np.float32(-7.0)
"""Reflectivity of 30 dB below the law, which also stands for zero and below."""
LEAST_RATIO, LEAST_RATIO_LOGARITHM = np.float32(1e-30), np.float32(-69.0)
"""Ratio that stands for zero and below; logarithms of others are larger than the second."""


@njit
def _weigh_row(values: F4, weight: NDArray[np.floating], reach: int, padded: F4) -> None:
    """Write weighted values of a row and their weights, shape (2, columns + 2 reach)."""
    products, weights = padded[0, reach:], padded[1, reach:]
    for j in range(values.size):
        here = np.float32(weight[j])
        valid = here > ZERO and not math.isnan(values[j])
        products[j] = here * values[j] if valid else ZERO
        weights[j] = here if valid else ZERO


@spread_over("values", block=STRIP)
@njit
def pool(
    begin: int,
    end: int,
    values: F4,
    weight: NDArray[np.floating],
    down: F4,
    across: F4,
    result: F4,
) -> None:
    """Pool values over their neighbourhood.

    Parameters
    ----------
    values : array, shape (rows, columns)
        The values; NaN does not count.
    weight : array, shape (rows, columns)
        Their weights; where not positive, the value does not count.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Symmetric kernel in rows and columns, the middle weight for the cell itself.
    result : array, shape (rows, columns)
        Receives the weighted means; NaN where nothing counts within reach.
    """
    rows, columns = values.shape
    high, reach = down.size // 2, across.size // 2
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        # Weighted values and weights, smoothed along rows; nothing beyond the border.
        along = np.zeros((2, last - first + 2 * high, columns), np.float32)
        padded = np.zeros((2, columns + 2 * reach), np.float32)
        for i in range(max(first - high, 0), min(last + high, rows)):
            _weigh_row(values[i], weight[i], reach, padded)
            for part in range(2):
                smooth_across(padded[part], across, along[part, i - first + high])
        total, weights = np.empty(columns, np.float32), np.empty(columns, np.float32)
        for i in range(first, last):
            smooth_down(along[0], i - first, down, total)
            smooth_down(along[1], i - first, down, weights)
            for j in range(columns):
                result[i, j] = total[j] / weights[j] if weights[j] > ZERO else NAN


MANTISSA, EXPONENT_BITS = np.int32(0x007FFFFF), np.int32(23)
ROOT_HALF_BITS = np.int32(0x3F3504F3)
L0, L1, L2 = np.float32(7.0376836292e-2), np.float32(-1.1514610310e-1), np.float32(1.1676998740e-1)
L3, L4, L5 = np.float32(-1.2420140846e-1), np.float32(1.4249322787e-1), np.float32(-1.6668057665e-1)
L6, L7, L8 = np.float32(2.0000714765e-1), np.float32(-2.4999993993e-1), np.float32(3.3333331174e-1)
"""Polynomial of ln(1 + m) / m^3 about 0, after its first two terms, for 1 + m from 0.7 to 1.4
(Cephes, logf)."""
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)


@njit
def _natural_logarithms(values: F4) -> None:
    """Take logarithms of positive, normal numbers, in place, to two units in the last place.

    A loop that calls a library for each number would not be vectorised.
    """
    bits = values.view(np.int32)
    for j in range(values.size):
        # The number is 2^e (1 + m) with 1 + m from sqrt(1/2) to sqrt(2).
        shifted = np.int32(bits[j] - ROOT_HALF_BITS)
        e = np.float32(np.int32(shifted >> EXPONENT_BITS))
        bits[j] = np.int32(np.int32(shifted & MANTISSA) + ROOT_HALF_BITS)
        m = values[j] - ONE
        square = m * m
        tail = ((L0 * m + L1) * m + L2) * m + L3
        tail = (((((tail * m + L4) * m + L5) * m + L6) * m + L7) * m + L8) * m * square
        values[j] = m + (tail + e * LN2_LOW - HALF * square) + e * LN2_HIGH


@spread_over("value")
@njit
def logarithms(
    begin: int, end: int, numerator: F4, denominator: F4, expected: F4, known: F4, value: F4
) -> None:
    """Take logarithms of the ratios of two sums, plus those known; NaN where there is no data.

    Parameters
    ----------
    numerator, denominator, expected : array, shape (rows, columns)
        The sums, and the RCS expected of the cell; where denominator or expectation are not
        positive, there is no data.
    known : array, shape (rows, columns) or (0, 0)
        Logarithm of a factor; 0 where there is none.
    value : array, shape (rows, columns)
        Receives the logarithms, at least `LEAST_LOGARITHM`.
    """
    for i in range(begin, end):
        row = value[i]
        for j in range(row.size):
            valid = (denominator[i, j] > ZERO) & (expected[i, j] > ZERO)
            ratio = numerator[i, j] / (denominator[i, j] if valid else ONE)
            row[j] = ratio if valid and ratio > LEAST_RATIO else LEAST_RATIO
        _natural_logarithms(row)
        if known.size > 0:
            for j in range(row.size):
                # Zero and below stay at the bottom, whatever is known.
                row[j] += known[i, j] if row[j] > LEAST_RATIO_LOGARITHM else ZERO
        for j in range(row.size):
            valid = (denominator[i, j] > ZERO) & (expected[i, j] > ZERO)
            here = max(row[j], LEAST_LOGARITHM)
            # NaN of the numerator is no data either.
            row[j] = here if valid & (numerator[i, j] == numerator[i, j]) else NAN


@njit
def _scale_angles(
    angle: F4, scale: tuple[float, float, float, float],
    scaled: F4
) -> None:  # fmt: skip
    """Scale angles about a middle, and limit them; 0 where there is none."""
    middle, inverse = np.float32(scale[0]), np.float32(1.0 / scale[1])
    lowest, highest = np.float32(scale[2]), np.float32(scale[3])
    for j in range(angle.size):
        a = (angle[j] - middle) * inverse
        a = max(min(a, highest), lowest)
        scaled[j] = a if angle[j] == angle[j] else ZERO


@njit
def _regression_terms(
    value: F4,
    error: F4,
    angle: F4,
    scaled: F4,
    level: np.float32,
    roughness: np.float32,
    reach: int,
    padded: F4,
) -> None:
    """Write the terms of the local regression in a row, shape (SUMS, columns + 2 reach)."""
    for j in range(value.size):
        valid = (value[j] == value[j]) & (error[j] == error[j]) & (angle[j] == angle[j])
        weight = ONE / (error[j] + roughness) if valid else ZERO
        slope, here = (scaled[j], value[j] - level) if valid else (ZERO, ZERO)
        padded[0, reach + j] = weight
        padded[1, reach + j] = weight * slope
        padded[2, reach + j] = weight * slope * slope
        padded[3, reach + j] = weight * here
        padded[4, reach + j] = weight * slope * here


@njit
def _predict_row(
    total: F4,
    value: F4,
    error: F4,
    scaled: F4,
    level: np.float32,
    variances: tuple[float, float, float],
    prediction: F4,
) -> None:
    """Solve the regression of each cell of a row, whose own terms are taken out of the sums."""
    roughness = np.float32(variances[0])
    level_precision, slope_precision = 1.0 / variances[1], 1.0 / variances[2]
    for j in range(value.size):
        a = scaled[j]
        valid = (value[j] == value[j]) & (error[j] == error[j])
        own = ONE / (error[j] + roughness) if valid else ZERO
        y = value[j] - level if valid else ZERO
        # Sums in double precision, as a difference of products follows.
        s0 = max(np.float64(total[0, j] - own), 0.0) + level_precision
        s1 = np.float64(total[1, j] - own * a)
        s2 = max(np.float64(total[2, j] - own * a * a), 0.0) + slope_precision
        r0, r1 = np.float64(total[3, j] - own * y), np.float64(total[4, j] - own * a * y)
        determinant = s0 * s2 - s1 * s1
        level_here, slope = s2 * r0 - s1 * r1, s0 * r1 - s1 * r0
        prediction[j] = np.float32((level_here + a * slope) / determinant) + level


@spread_over("value", block=STRIP)
@njit
def regress(
    begin: int,
    end: int,
    value: F4,
    error: F4,
    angle: F4,
    scale: tuple[float, float, float, float],
    level: float,
    variances: tuple[float, float, float],
    down: F4,
    across: F4,
    prediction: F4,
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
        Incidence angles in degrees; where one is NaN, the value does not count.
    scale : tuple
        Angle at which a is 0, the unit of a, and its limits.
    level : float
        Level of the scene, about which u is 0 on average.
    variances : tuple
        Those of the ground about its regression, of u, and of t.
    down, across : array, shape (2 n + 1,), (2 m + 1,)
        Symmetric kernel in rows and columns; its middle weight is 1.
    prediction : array, shape (rows, columns)
        Receives level + u + t a.

    References
    ----------
    Robinson, G. K. (1991). That BLUP is a good thing: the estimation of random effects.
    Statistical Science 6(1), 15-32.
    """
    rows, columns = value.shape
    high, reach = down.size // 2, across.size // 2
    rough, about = np.float32(variances[0]), np.float32(level)
    for first in range(begin, end, STRIP):
        last = min(first + STRIP, end)
        # Terms smoothed along rows; nothing beyond the border.
        along = np.zeros((SUMS, last - first + 2 * high, columns), np.float32)
        padded, scaled = (
            np.zeros((SUMS, columns + 2 * reach), np.float32),
            np.empty(columns, np.float32),
        )
        for i in range(max(first - high, 0), min(last + high, rows)):
            _scale_angles(angle[i], scale, scaled)
            _regression_terms(value[i], error[i], angle[i], scaled, about, rough, reach, padded)
            for term in range(SUMS):
                smooth_across(padded[term], across, along[term, i - first + high])
        total = np.empty((SUMS, columns), np.float32)
        for i in range(first, last):
            _scale_angles(angle[i], scale, scaled)
            for term in range(SUMS):
                smooth_down(along[term], i - first, down, total[term])
            _predict_row(total, value[i], error[i], scaled, about, variances, prediction[i])


@spread_over("error")
@njit
def error_variance(
    begin: int,
    end: int,
    contribution: F4,
    speckle: F4,
    change: F4,
    expected: F4,
    bends: F4,
    terms: tuple[float, float, float, float, float],
    error: F4,
) -> None:
    """Evaluate the error model of the values of cells, see the head of this module.

    Parameters
    ----------
    contribution, speckle : array, shape (rows, columns)
        Contribution share c, and relative variance k by speckle of one look. A share that is NaN
        counts as 0.
    change, expected : array, shape (rows, columns)
        Sums of RCS times q, and of RCS: their ratio is the mean square q of the change of simulated
        RCS from sample to sample.
    bends : array, shape (rows, columns)
        Mean square b of the change of slope around each cell.
    terms : tuple
        e0, es, em, eq and eb.
    error : array, shape (rows, columns)
        Receives the error variance of the logarithm; NaN where nothing is expected.
    """
    least, by_speckle = np.float32(terms[0]), np.float32(terms[1])
    by_others, by_change = np.float32(terms[2]), np.float32(terms[3])
    by_bends = np.float32(terms[4])
    for i in range(begin, end):
        for j in range(error.shape[1]):
            own = min(contribution[i, j], ONE) if contribution[i, j] > ZERO else ZERO
            others = ONE - own
            error[i, j] = (
                least
                + by_speckle * speckle[i, j]
                + by_others * others * others
                + by_bends * bends[i, j] * own * own
                + by_change * (change[i, j] / expected[i, j] if expected[i, j] > ZERO else NAN)
            )


@spread_over("value")
@njit
def average(
    begin: int,
    end: int,
    value: F4,
    error: F4,
    prediction: F4,
    prediction_variance: F4,
    mean: F4,
    variance: F4,
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
    for i in range(begin, end):
        for j in range(value.shape[1]):
            own, spread = error[i, j], prediction_variance[i, j]
            valid = (value[i, j] == value[i, j]) & (own == own)  # noqa: PLR0124
            share = own / (own + spread) if valid else ONE
            y = value[i, j] if valid else ZERO
            mean[i, j] = y + share * (prediction[i, j] - y)
            variance[i, j] = share * spread if valid else spread


@spread_over("value")
@njit
def conclude(
    begin: int,
    end: int,
    value: F4,
    error: F4,
    variance: F4,
    contribution: F4,
    inflation: tuple[float, float],
    own: F4,
    stated: F4,
) -> None:
    """Find what values weigh in their posterior means, and the variances that are stated.

    Parameters
    ----------
    value, error : array, shape (rows, columns)
        Values and their error variances, of which either may be NaN.
    variance : array, shape (rows, columns)
        Posterior variances, from `average`.
    contribution : array, shape (rows, columns)
        Contribution share c of each cell; NaN counts as 0.
    inflation : tuple of float
        a and b: a posterior variance is stated a c^2 + b (1 - c^2) times larger.
    own, stated : array, shape (rows, columns)
        Receive variance over error, 0 where there is no value, and the variances that are stated.
    """
    alone, shared = np.float32(inflation[0]), np.float32(inflation[1])
    for i in range(begin, end):
        for j in range(value.shape[1]):
            valid = (value[i, j] == value[i, j]) & (error[i, j] == error[i, j])
            ratio = variance[i, j] / (error[i, j] if valid else ONE)
            own[i, j] = ratio if valid else ZERO
            share = min(contribution[i, j], ONE) if contribution[i, j] > ZERO else ZERO
            stated[i, j] = (shared + (alone - shared) * share * share) * variance[i, j]


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


@spread_over("mean")
@njit
def rcs_balance(
    begin: int,
    end: int,
    mean: F4,
    variance: F4,
    allocated: F4,
    expected: F4,
    area: F4,
    smallest_area: float,
    sums: F8,
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
    for i in range(begin, end):
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
def _cosines(angle: F4, cosine: F4) -> None:
    """Take cosines of angles in degrees, 0 to 180, by the sine series of the complement."""
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
    expected: F4,
    tilt: F4,
    area: F4,
    mean: F4,
    variance: F4,
    sigma: F4,
    missing: F4,
) -> None:
    """Turn a row into backscatter; `missing` becomes 0 where there is a value."""
    for j in range(mean.size):
        valid = _has_value(mean[j], area[j], expected[j], smallest_area)
        gamma = factor * mean[j] * expected[j] / area[j]
        gamma *= ONE + (by_variance * variance[j] if variance[j] > ZERO else ZERO)
        mean[j] = gamma if valid else NAN
        sigma[j] = gamma * tilt[j] if valid else NAN
        variance[j] = gamma * gamma * variance[j] if valid else NAN
        missing[j] = ZERO if valid else missing[j]


@njit
def _mask_row(heights: F4, missing: F4, area: F4, contribution: F4) -> None:
    """Remove the area of voids, and the contribution shares of cells without a value."""
    for j in range(heights.size):
        # Adding NaN makes NaN, adding 0 changes nothing.
        contribution[j] += missing[j]
        area[j] = area[j] if heights[j] - heights[j] == ZERO else NAN


@spread_over("heights")
@njit
def to_backscatter(
    begin: int,
    end: int,
    factor: F8,
    by_variance: F8,
    smallest_area: float,
    heights: F4,
    expected: F4,
    local_incidence: F4,
    area: F4,
    contribution: F4,
    mean: F4,
    variance: F4,
    sigma: F4,
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
    for i in range(begin, end):
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
