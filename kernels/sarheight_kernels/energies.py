"""From calibrated intensities to energies, and sums over an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

__all__ = ["areas_of_line", "energies", "line_sums"]

LANES = 256
"""Sums of a line that are kept side by side."""


@njit
def _between(knots: NDArray[np.float64], line: float) -> tuple[int, float]:
    """Find the knot before a line, and how far the line lies from it to the next."""
    last = knots.size - 2
    knot = 0
    while knot < last and knots[knot + 1] <= line:
        knot += 1
    return knot, (line - knots[knot]) / (knots[knot + 1] - knots[knot])


@njit
def _interpolate(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    share: float,
    area: NDArray[np.float64],
) -> None:
    for sample in range(area.size):
        area[sample] = before[sample] + share * (after[sample] - before[sample])


@njit
def areas_of_line(
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    line: float,
    area: NDArray[np.float64],
) -> None:
    """Find the areas of the pixels of a line.

    Parameters
    ----------
    knots : array, shape (k,)
        Lines at which areas are tabulated.
    areas : array, shape (k, samples)
        Areas in square metres; linear in between.
    line : float
        The line.
    area : array, shape (samples,)
        Receives the areas.
    """
    knot, share = _between(knots, line)
    _interpolate(areas[knot], areas[knot + 1], share, area)


@njit
def _drop_missing(row: NDArray[np.floating], area: NDArray[np.float64]) -> None:
    """Give pixels whose value is not finite no area."""
    for sample in range(area.size):
        # Of what is not finite the difference is not a number.
        area[sample] = area[sample] if row[sample] - row[sample] == 0.0 else math.nan


@njit
def _multiply(
    row: NDArray[np.floating], area: NDArray[np.float64], energy: NDArray[np.float32]
) -> None:
    for sample in range(area.size):
        energy[sample] = row[sample] * area[sample]


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
        area = np.empty(samples)
        areas_of_line(knots, areas, float(line), area)
        for p in range(polarisations):
            _drop_missing(image[p, line], area)
        for p in range(polarisations):
            _multiply(image[p, line], area, energy[p, line])


@njit
def _sum_up(
    values: NDArray[np.floating],
    finite: NDArray[np.float64],
    negative: NDArray[np.float64],
    positive: NDArray[np.float64],
    least: NDArray[np.float64],
    greatest: NDArray[np.float64],
) -> None:
    """Add values to sums that lie side by side, so that none waits for another."""
    for lane in range(values.size):
        value = float(values[lane])
        known = value - value == 0.0
        finite[lane] += 1.0 if known else 0.0
        negative[lane] += value if known and value < 0.0 else 0.0
        positive[lane] += value if known and value > 0.0 else 0.0
        least[lane] = min(least[lane], value if known else math.inf)
        greatest[lane] = max(greatest[lane], value if known else -math.inf)


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
        lanes = np.zeros((5, LANES))
        lanes[3, :], lanes[4, :] = math.inf, -math.inf
        row = image[line]
        for first in range(0, row.size, LANES):
            _sum_up(row[first : first + LANES], lanes[0], lanes[1], lanes[2], lanes[3], lanes[4])
        for k in range(3):
            sums[line, k] = lanes[k].sum()
        sums[line, 3], sums[line, 4] = lanes[3].min(), lanes[4].max()
