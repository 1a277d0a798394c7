"""From calibrated intensities to energies, and sums over an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

__all__ = ["areas_of_line", "energies", "line_sums"]

LANES = 64
"""Sums of a line that are kept side by side, so that none waits for another."""
CHUNK = 4 * LANES
"""Pixels that are worked on at a time."""
ZERO, ONE, NONE = np.float32(0.0), np.float32(1.0), np.float32(np.nan)


@njit
def _total(lanes: NDArray[np.floating]) -> float:
    """Sum up lanes by halves; they are used up."""
    width = lanes.size
    while width > 1:
        width //= 2
        for lane in range(width):
            lanes[lane] += lanes[width + lane]
    return float(lanes[0])


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
    area: NDArray[np.floating],
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
def _drop_missing(row: NDArray[np.floating], area: NDArray[np.float32]) -> None:
    """Give pixels whose value is not finite no area."""
    for sample in range(area.size):
        # Of what is not finite the difference is not a number.
        area[sample] = area[sample] if row[sample] - row[sample] == 0.0 else NONE


@njit
def _multiply(
    row: NDArray[np.floating],
    area: NDArray[np.float32],
    energy: NDArray[np.float32],
    lanes: NDArray[np.float64],
) -> None:
    """Multiply intensities by areas, and add the products to sums that lie side by side."""
    for sample in range(area.size):
        product = np.float32(row[sample] * area[sample])
        energy[sample] = product
        lanes[sample] += product if product == product else ZERO  # noqa: PLR0124 - no NaN


@parallel_njit
def energies(
    image: NDArray[np.floating],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    energy: NDArray[np.float32],
    totals: NDArray[np.float64],
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
    totals : array, shape (polarisations, lines)
        Receives the energy of each line in square metres.
    """
    polarisations, lines, samples = image.shape
    for line in prange(lines):
        knot, share = _between(knots, float(line))
        area, lanes = np.empty(CHUNK, np.float32), np.zeros((polarisations, CHUNK))
        for first in range(0, samples, CHUNK):
            part = slice(first, min(first + CHUNK, samples))
            here = area[: part.stop - first]
            _interpolate(areas[knot, part], areas[knot + 1, part], share, here)
            for p in range(polarisations):
                _drop_missing(image[p, line, part], here)
            for p in range(polarisations):
                _multiply(image[p, line, part], here, energy[p, line, part], lanes[p])
        for p in range(polarisations):
            totals[p, line] = _total(lanes[p])


@njit
def _sum_up(
    values: NDArray[np.floating],
    finite: NDArray[np.float32],
    total: NDArray[np.float64],
    size: NDArray[np.float64],
    least: NDArray[np.floating],
    greatest: NDArray[np.floating],
) -> None:
    """Add a chunk of values to sums that lie side by side, four to each."""
    for lane in range(LANES):
        found, low, high = ZERO, least[lane], greatest[lane]
        plain, absolute = 0.0, 0.0
        for quarter in range(4):
            value = values[quarter * LANES + lane]
            known = value - value == 0.0
            found += ONE if known else ZERO
            plain += float(value) if known else 0.0
            absolute += abs(float(value)) if known else 0.0
            low = value if known and value < low else low
            high = value if known and value > high else high
        finite[lane] += found
        total[lane] += plain
        size[lane] += absolute
        least[lane], greatest[lane] = low, high


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
        finite, total, size = np.zeros(LANES, np.float32), np.zeros(LANES), np.zeros(LANES)
        least = np.full(LANES, math.inf, image.dtype)
        greatest = np.full(LANES, -math.inf, image.dtype)
        rest = np.full(CHUNK, math.nan, image.dtype)
        row = image[line]
        for first in range(0, row.size, CHUNK):
            values = row[first : first + CHUNK]
            if values.size < CHUNK:
                rest[: values.size] = values
                values = rest
            _sum_up(values, finite, total, size, least, greatest)
        plain, absolute = _total(total), _total(size)
        sums[line, 0] = _total(finite)
        sums[line, 1], sums[line, 2] = 0.5 * (plain - absolute), 0.5 * (plain + absolute)
        sums[line, 3], sums[line, 4] = least.min(), greatest.max()
