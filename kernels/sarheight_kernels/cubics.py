r"""Cubics in row, column and height: fitted at 4 x 4 x 4 Chebyshev nodes, evaluated row by row.

A function of three variables between -1 and 1 is held as the 64 coefficients of

.. math:: \sum_{ijk} c_{ijk} \, u^i v^j w^k, \qquad 0 \le i, j, k \le 3.

Along a row of cells u is fixed, which leaves a bicubic in column and height. Of a smooth function
most of its 16 terms are far too small to count. In Chebyshev polynomials, which are never larger
than one, the sum of what is left out bounds the error, so terms whose joint degree in column and
height is beyond two or three are dropped where that does no harm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit

__all__ = ["COUNT", "NODES", "PROBES", "collapse_row", "evaluate_row", "fit_cubic", "spread"]

NODES = np.cos((2.0 * np.arange(4) + 1.0) * np.pi / 8.0)
# Where a cubic through Chebyshev nodes errs most: the extremes of the next polynomial.
PROBES = np.array(((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (-1.0, 1.0, -1.0)))
COUNT = 64
"""Nodes: row, column and height each take the `NODES`, the height fastest."""
TO_CHEBYSHEV = np.linalg.inv(np.polynomial.chebyshev.chebvander(NODES, 3))
TO_POWERS = np.array(
    ((1.0, 0.0, -1.0, 0.0), (0.0, 1.0, 0.0, -3.0), (0.0, 0.0, 2.0, 0.0), (0.0, 0.0, 0.0, 4.0))
)
"""From coefficients of Chebyshev polynomials to those of powers."""
NEGLIGIBLE = 2e-6
"""What terms that are left out may add up to."""


@njit
def _transform(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> None:
    """Multiply a matrix on each of the three axes of 4 x 4 x 4 values, in place."""
    turned = np.empty(64)
    for _ in range(3):
        # The first axis becomes the last one: after three times all are back in place.
        for place in range(16):
            for k in range(4):
                total = 0.0
                for m in range(4):
                    total += matrix[k, m] * values[16 * m + place]
                turned[4 * place + k] = total
        for place in range(64):
            values[place] = turned[place]


@njit
def _drop_terms(chebyshev: NDArray[np.float64]) -> int:
    """Set terms to zero that do not count; return the joint degree in column and height."""
    beyond_two, beyond_three = 0.0, 0.0
    for term in range(64):
        joint = term // 4 % 4 + term % 4
        if joint > 2:
            beyond_two += abs(chebyshev[term])
        if joint > 3:
            beyond_three += abs(chebyshev[term])
    degree = 6
    if beyond_two <= NEGLIGIBLE:
        degree = 2
    elif beyond_three <= NEGLIGIBLE:
        degree = 3
    for term in range(64):
        if term // 4 % 4 + term % 4 > degree:
            chebyshev[term] = 0.0
    return degree


@njit
def _evaluate(coefficients: NDArray[np.float64], u: float, v: float, w: float) -> float:
    """Evaluate a cubic at one point."""
    result = 0.0
    for i in range(3, -1, -1):
        inner = 0.0
        for j in range(3, -1, -1):
            innermost = 0.0
            for k in range(3, -1, -1):
                innermost = innermost * w + coefficients[16 * i + 4 * j + k]
            inner = inner * v + innermost
        result = result * u + inner
    return result


@njit
def fit_cubic(values: NDArray[np.float64], coefficients: NDArray[np.float64]) -> tuple[int, float]:
    """Fit a cubic to a function.

    Parameters
    ----------
    values : array, shape (COUNT + probes,)
        The function at the nodes, then at the `PROBES`.
    coefficients : array, shape (64,)
        Receives the coefficient of ``u**i * v**j * w**k`` at ``16 * i + 4 * j + k``.

    Returns
    -------
    degree : int
        Joint degree in v and w: 2, 3, or 6 where all terms count.
    miss : float
        Largest distance to the function at the probes; NaN where the function is.
    """
    for node in range(COUNT):
        coefficients[node] = values[node]
    _transform(TO_CHEBYSHEV, coefficients)
    degree = _drop_terms(coefficients)
    _transform(TO_POWERS, coefficients)
    worst = 0.0
    for probe in range(PROBES.shape[0]):
        u, v, w = PROBES[probe, 0], PROBES[probe, 1], PROBES[probe, 2]
        miss = abs(_evaluate(coefficients, u, v, w) - values[COUNT + probe])
        # A NaN must count as a miss.
        worst = miss if not miss <= worst else worst
    return degree, worst


@njit
def spread(coefficients: NDArray[np.float64]) -> float:
    """Bound how far a polynomial may stray from its constant term.

    Parameters
    ----------
    coefficients : array, shape (n,)
        Coefficients of products of powers of numbers between -1 and 1, the constant first.

    Returns
    -------
    float
        The sum of the sizes of all others.
    """
    total = 0.0
    for term in range(1, coefficients.size):
        total += abs(coefficients[term])
    return total


@njit
def collapse_row(
    coefficients: NDArray[np.float64], u: float, polynomial: NDArray[np.float64]
) -> None:
    """Fix the row of a cubic.

    Parameters
    ----------
    coefficients : array, shape (64,)
        From `fit_cubic`.
    u : float
        The row.
    polynomial : array, shape (16,)
        Receives the coefficient of ``v**j * w**k`` at ``4 * j + k``.
    """
    for term in range(16):
        polynomial[term] = coefficients[term] + u * (
            coefficients[16 + term] + u * (coefficients[32 + term] + u * coefficients[48 + term])
        )


@njit
def _bicubic_row(
    p: NDArray[np.float64],
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: NDArray[np.float32],
    result: NDArray[np.float64],
) -> None:
    p00, p01, p02, p03, p10, p11, p12, p13 = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    p20, p21, p22, p23, p30, p31, p32, p33 = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        a = p00 + v * (p10 + v * (p20 + v * p30))
        b = p01 + v * (p11 + v * (p21 + v * p31))
        c = p02 + v * (p12 + v * (p22 + v * p32))
        d = p03 + v * (p13 + v * (p23 + v * p33))
        result[column] = a + w * (b + w * (c + w * d))


@njit
def _cubic_row(
    p: NDArray[np.float64],
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: NDArray[np.float32],
    result: NDArray[np.float64],
) -> None:
    p00, p01, p02, p03, p10 = p[0], p[1], p[2], p[3], p[4]
    p11, p12, p20, p21, p30 = p[5], p[6], p[8], p[9], p[12]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        a = p00 + v * (p10 + v * (p20 + v * p30))
        b = p01 + v * (p11 + v * p21)
        result[column] = a + w * (b + w * (p02 + v * p12 + w * p03))


@njit
def _quadratic_row(
    p: NDArray[np.float64],
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: NDArray[np.float32],
    result: NDArray[np.float64],
) -> None:
    p00, p01, p02, p10, p11, p20 = p[0], p[1], p[2], p[4], p[5], p[8]
    for column in range(heights.size):
        v = first + step * column
        w = (heights[column] - height_middle) * height_scale
        result[column] = p00 + v * (p10 + v * p20) + w * (p01 + v * p11 + w * p02)


@njit
def evaluate_row(
    polynomial: NDArray[np.float64],
    degree: int,
    first: float,
    step: float,
    height_middle: float,
    height_scale: float,
    heights: NDArray[np.float32],
    result: NDArray[np.float64],
) -> None:
    """Evaluate a polynomial along a row of cells.

    Parameters
    ----------
    polynomial : array, shape (16,)
        From `collapse_row`.
    degree : int
        From `fit_cubic`.
    first, step : float
        Column v of the first cell, and from one cell to the next.
    height_middle, height_scale : float
        Height at which w is zero, and change of w with height.
    heights : array, shape (n,)
        Heights of the cells; NaN where void.
    result : array, shape (n,)
        Receives the values; NaN where void.
    """
    if degree == 2:
        _quadratic_row(polynomial, first, step, height_middle, height_scale, heights, result)
    elif degree == 3:
        _cubic_row(polynomial, first, step, height_middle, height_scale, heights, result)
    else:
        _bicubic_row(polynomial, first, step, height_middle, height_scale, heights, result)
