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

Several images of one ground, polarisations and passes, show the same edges under speckle of their
own. With n of them the square of an image's own difference gives way to

.. math:: \tfrac{1}{2} (y_h - y_g)^2 + \frac{1}{2 (n - 1)} \sum_m (y_{mh} - y_{mg})^2

with the mean over the others m. An edge that another image shows is kept, and noise of one image
makes no edge; what one image alone shows still counts for half, however many there are.

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
def _compare_others(
    compared: NDArray[np.float32],
    image: int,
    rows: tuple[int, int],
    columns: tuple[int, int, int],
    steepness: np.float32,
    own: NDArray[np.float32],
    rest: NDArray[np.float32],
) -> None:
    """Find the part of an image's own square, and half the scaled mean square of the others.

    `rows` are those of cells and neighbours; `columns` the first, the end, and how far to the
    right neighbours lie.
    """
    first, end, shift = columns
    own[:] = ZERO  # number of others with both cells, until that is known
    rest[:] = ZERO
    for other in range(compared.shape[0]):
        if other == image:
            continue
        here = compared[other, rows[0], first:end]
        there = compared[other, rows[1], first + shift : end + shift]
        for j in range(here.size):
            difference = there[j] - here[j]
            valid = difference - difference == ZERO
            rest[j] += steepness * difference * difference if valid else ZERO
            own[j] += ONE if valid else ZERO
    for j in range(end - first):
        alone = own[j] == ZERO
        rest[j] = ZERO if alone else HALF * rest[j] / own[j]
        own[j] = ONE if alone else HALF


@njit
def _add_neighbours(
    compared: tuple[NDArray[np.float32], NDArray[np.float32]],
    averaged: tuple[NDArray[np.float32], NDArray[np.float32]],
    others: tuple[NDArray[np.float32], NDArray[np.float32]],
    weight: np.float32,
    steepness: np.float32,
    steps: NDArray[np.float32],
    weights: NDArray[np.float32],
) -> None:
    """Add weighted differences of the neighbours of a row, and the weights, to its sums.

    `compared` and `averaged` hold the cells of the row, and a neighbour of each; `others` the part
    of the square of their difference that counts, and what other images add to it.
    """
    here, there = compared
    power, other = averaged
    own, rest = others
    for j in range(here.size):
        difference = there[j] - here[j]
        valid = difference - difference == ZERO
        inverse = ONE / (ONE + rest[j] + steepness * own[j] * difference * difference)
        k = weight * inverse * inverse if valid else ZERO
        steps[j] += k * (other[j] - power[j]) if valid else ZERO
        weights[j] += k


@spread_over("averaged")
@njit
def keep_edges(
    begin: int,
    end: int,
    compared: NDArray[np.float32],
    image: int,
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
    compared : array, shape (images, rows, columns)
        Logarithms y of all images; NaN where there are none. Such cells count in no other image.
    image : int
        Which image is averaged.
    averaged : array, shape (rows, columns)
        Its powers x; NaN where its logarithms are: such cells stay NaN and count for no neighbour.
    share : array, shape (rows, columns)
        Share c of a cell in its pixels, by which it moves; limited to 0 to 1, NaN counts as 1.
    scale : float
        Scale s of differences of logarithms; above 0.
    distance_weights : tuple of float
        Weights G of the neighbours above and below, left and right, and at the corners.
    result : array, shape (rows, columns)
        Receives the powers.
    """
    rows, columns = averaged.shape
    several = compared.shape[0] > 1
    steepness = HALF / np.float32(scale * scale)
    vertical, horizontal, diagonal = distance_weights
    steps, weights = np.empty(columns, np.float32), np.empty(columns, np.float32)
    own, rest = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    for i in range(begin, end):
        steps[:] = ZERO
        weights[:] = ZERO
        x = averaged[i]
        for row in range(max(i - 1, 0), min(i + 2, rows)):
            for shift in range(-1, 2):
                if row == i and shift == 0:
                    continue
                first, last = max(-shift, 0), columns - max(shift, 0)
                beside = horizontal if row == i else vertical if shift == 0 else diagonal
                if several:
                    _compare_others(
                        compared,
                        image,
                        (i, row),
                        (first, last, shift),
                        steepness,
                        own[first:last],
                        rest[first:last],
                    )
                _add_neighbours(
                    (
                        compared[image, i, first:last],
                        compared[image, row, first + shift : last + shift],
                    ),
                    (x[first:last], averaged[row, first + shift : last + shift]),
                    (own[first:last], rest[first:last]),
                    np.float32(beside),
                    steepness,
                    steps[first:last],
                    weights[first:last],
                )
        for j in range(columns):
            part = share[i, j]
            part = min(max(part, ZERO), ONE) if part == part else ONE  # noqa: PLR0124
            result[i, j] = x[j] + part * steps[j] / (ONE + weights[j])
