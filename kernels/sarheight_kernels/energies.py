"""From calibrated intensities to energies, and sums over an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

__all__ = ["energies", "line_sums"]


@njit
def _between(knots: NDArray[np.float64], line: float) -> tuple[int, float]:
    """Find the knot before a line, and how far the line lies from it to the next."""
    last = knots.size - 2
    knot = 0
    while knot < last and knots[knot + 1] <= line:
        knot += 1
    return knot, (line - knots[knot]) / (knots[knot + 1] - knots[knot])


@parallel_njit
def energies(
    image: NDArray[np.floating],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    energy: NDArray[np.float32],
) -> None:
    """Multiply intensities by the areas of their pixels.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    knots : array, shape (k,)
        Lines at which areas are tabulated.
    areas : array, shape (k, samples)
        Areas in square metres; linear in between.
    energy : array, shape (polarisations, lines, samples)
        Receives the energies in square metres; NaN in all polarisations where one of them is not
        finite.
    """
    polarisations, lines, samples = image.shape
    for line in prange(lines):
        knot, share = _between(knots, float(line))
        for sample in range(samples):
            area = areas[knot, sample] + share * (areas[knot + 1, sample] - areas[knot, sample])
            for p in range(polarisations):
                if not math.isfinite(image[p, line, sample]):
                    area = math.nan
            for p in range(polarisations):
                energy[p, line, sample] = image[p, line, sample] * area


@parallel_njit
def line_sums(image: NDArray[np.floating], sums: NDArray[np.float64]) -> None:
    """Sum up the lines of an image.

    Parameters
    ----------
    image : array, shape (lines, samples)
        The image.
    sums : array, shape (lines, 5)
        Receives for each line how many values are finite, the sum of the negative and of the
        positive ones, the least and the greatest; infinities where there is none.
    """
    for line in prange(image.shape[0]):
        finite, negative, positive, least, greatest = 0.0, 0.0, 0.0, math.inf, -math.inf
        for sample in range(image.shape[1]):
            value = float(image[line, sample])
            if math.isfinite(value):
                finite += 1.0
                if value < 0.0:
                    negative += value
                else:
                    positive += value
                least, greatest = min(least, value), max(greatest, value)
        sums[line, 0], sums[line, 1], sums[line, 2] = finite, negative, positive
        sums[line, 3], sums[line, 4] = least, greatest
