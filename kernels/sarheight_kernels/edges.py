r"""Averages of neighbouring cells that keep the edges between kinds of ground.

A Gaussian neighbourhood draws cells on both sides of an edge to one mean. Where neighbours differ
by more than noise explains, they are therefore weighed down:

.. math:: \tilde x_g = x_g + c_g \, \frac{\sum_h k_{gh} (x_h - x_g)}{1 + \sum_h k_{gh}}, \qquad
          k_{gh} = \frac{G_{gh}}{\left(1 + (y_h - y_g)^2 / 2 s^2\right)^2}

over the eight neighbours h, with Gaussian weights G by their distance, the logarithms y that are
compared, and the scale s of their differences. This is one step of iteratively reweighted least
squares for a prior with the potential of Geman and McClure (1987), whose weights are k: beyond a
few s a difference costs no more, however large it is. Averaged is power x, and not its logarithm,
as that keeps the sum of what neighbours hold. The share c of a cell in its pixels is how far it
moves: in layover values have been drawn to their neighbours already.

References
----------
Geman, S., McClure, D. E. (1987). Statistical methods for tomographic image reconstruction. Bulletin
of the International Statistical Institute 52(4), 5-21.
Tomasi, C., Manduchi, R. (1998). Bilateral filtering for gray and color images. ICCV, 839-846.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import HALF, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over


@njit
def _add_neighbours(
    compared: tuple[NDArray[np.float32], NDArray[np.float32]],
    averaged: tuple[NDArray[np.float32], NDArray[np.float32]],
    weight: np.float32,
    steepness: np.float32,
    steps: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Add weighted differences of the neighbours of a row, and the weights, to its sums.

    `compared` and `averaged` hold the cells of the row, and a neighbour of each.
    """
    here, there = compared
    power, other = averaged
    for j in range(here.size):
        difference = there[j] - here[j]
        valid = difference - difference == ZERO
        inverse = ONE / (ONE + steepness * difference * difference)
        k = weight * inverse * inverse if valid else ZERO
        steps[j] += k * (other[j] - power[j]) if valid else ZERO
        weights[j] += k


@spread_over("compared")
@njit
def keep_edges(
    begin: int,
    end: int,
    compared: NDArray[np.float32],
    averaged: NDArray[np.float32],
    share: NDArray[np.float32],
    scale: float,
    distance_weights: tuple[float, float, float],
    result: NDArray[np.float32],
) -> None:
    """Average cells with neighbours that look alike, see the head of this module.

    Parameters
    ----------
    begin, end : int
        Rows that are computed.
    compared, averaged : array, shape (rows, columns)
        Logarithms y and powers x; NaN in both where there are none, which stay NaN and count for no
        neighbour.
    share : array, shape (rows, columns)
        Share c of a cell in its pixels, by which it moves; limited to 0 to 1, NaN counts as 1.
    scale : float
        Scale s of differences of logarithms; above 0.
    distance_weights : tuple of float
        Weights G of the neighbours above and below, left and right, and at the corners.
    result : array, shape (rows, columns)
        Receives the powers.
    """
    rows, columns = compared.shape
    steepness = HALF / np.float32(scale * scale)
    vertical, horizontal, diagonal = distance_weights
    steps, weights = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for i in range(begin, end):
        steps[:] = ZERO
        weights[:] = ZERO
        y, x = compared[i], averaged[i]
        for row in range(max(i - 1, 0), min(i + 2, rows)):
            at, power = compared[row], averaged[row]
            beside = np.float32(horizontal if row == i else diagonal)
            _add_neighbours(
                (y[1:], at[:-1]), (x[1:], power[:-1]), beside, steepness, steps[1:], weights[1:]
            )
            _add_neighbours(
                (y[:-1], at[1:]), (x[:-1], power[1:]), beside, steepness, steps[:-1], weights[:-1]
            )
            if row != i:
                above = np.float32(vertical)
                _add_neighbours((y, at), (x, power), above, steepness, steps, weights)
        for j in range(columns):
            part = share[i, j]
            part = min(max(part, ZERO), ONE) if part == part else ONE  # noqa: PLR0124
            result[i, j] = x[j] + part * steps[j] / (ONE + weights[j])
