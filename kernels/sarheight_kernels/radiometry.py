"""Areas of pixels, and sums over an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange

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
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    share: float | np.float32,
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
        area[sample] = area[sample] if row[sample] - row[sample] == ZERO else NONE


@njit
def _divide(area: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Divide areas by what is expected, in place."""
    for sample in range(area.size):
        known = (expected[sample] > ZERO) & (area[sample] > ZERO)
        ratio = area[sample] / (expected[sample] if known else ONE)
        expected[sample] = ratio if known else ZERO


@njit
def _sum_up(
    values: NDArray[np.floating],
    area: NDArray[np.float32],
    lanes: NDArray[np.float64],
    least: NDArray[np.floating],
    greatest: NDArray[np.floating],
) -> None:
    """Add a chunk of values to sums that lie side by side, four to each."""
    for lane in range(LANES):
        found, low, high = ZERO, least[lane], greatest[lane]
        plain, absolute = 0.0, 0.0
        for quarter in range(4):
            value = values[quarter * LANES + lane]
            energy = np.float32(value * area[quarter * LANES + lane])
            known = energy == energy  # noqa: PLR0124 - no NaN
            found += ONE if known else ZERO
            energy = energy if known else ZERO
            plain += float(energy)
            absolute += float(abs(energy))
            low = value if known and value < low else low
            high = value if known and value > high else high
        lanes[0, lane] += found
        lanes[1, lane] += plain
        lanes[2, lane] += absolute
        least[lane], greatest[lane] = low, high


@parallel_njit
def image_sums(
    image: NDArray[np.floating],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Sum up the lines of an image.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    knots : array, shape (k,)
        Lines at which areas are tabulated.
    areas : array, shape (k, samples)
        Areas of the pixels in square metres; linear in between.
    sums : array, shape (polarisations, lines, 5)
        Receives for each line, of the pixels that are finite in all polarisations: how many there
        are, the sum of their negative and of their positive energies in square metres, and the
        least and the greatest intensity; infinities where there is none.
    """
    polarisations, lines, samples = image.shape
    table = areas.astype(np.float32)
    for line in prange(lines):
        knot, share = _between(knots, float(line))
        area, rest = np.empty(CHUNK, np.float32), np.full(CHUNK, math.nan, image.dtype)
        lanes = np.zeros((polarisations, 3, LANES))
        least = np.full((polarisations, LANES), math.inf, image.dtype)
        greatest = np.full((polarisations, LANES), -math.inf, image.dtype)
        for first in range(0, samples, CHUNK):
            part = slice(first, min(first + CHUNK, samples))
            count = part.stop - first
            here = area[:count]
            _interpolate(table[knot, part], table[knot + 1, part], np.float32(share), here)
            for p in range(polarisations):
                _drop_missing(image[p, line, part], here)
            for p in range(polarisations):
                values = image[p, line, part]
                if count < CHUNK:
                    rest[:count] = values
                    values = rest
                _sum_up(values, area, lanes[p], least[p], greatest[p])
        for p in range(polarisations):
            plain, absolute = _total(lanes[p, 1]), _total(lanes[p, 2])
            sums[p, line, 0] = _total(lanes[p, 0])
            sums[p, line, 1], sums[p, line, 2] = 0.5 * (plain - absolute), 0.5 * (plain + absolute)
            sums[p, line, 3], sums[p, line, 4] = least[p].min(), greatest[p].max()


@parallel_njit
def mask_missing(image: NDArray[np.float32], simulated: NDArray[np.float32]) -> None:
    """Expect nothing of pixels that are not finite in all polarisations, in place.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    simulated : array, shape (lines, samples)
        Energy that is expected; becomes 0 where there is no data.
    """
    for line in prange(simulated.shape[0]):
        expected = simulated[line]
        for p in range(image.shape[0]):
            row = image[p, line]
            for sample in range(row.size):
                known = row[sample] - row[sample] == ZERO
                expected[sample] = expected[sample] if known else ZERO


@parallel_njit
def inverse_intensity(
    image: NDArray[np.float32],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    simulated: NDArray[np.float32],
) -> None:
    """Turn energies that are expected of pixels into inverse intensities, in place.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    knots, areas : array, shape (k,), (k, samples)
        Areas in square metres, see `image_sums`.
    simulated : array, shape (lines, samples)
        Energy in square metres that is expected; becomes the area of the pixel over that, 0 where
        nothing is expected or a polarisation has no data.
    """
    lines, samples = simulated.shape
    table = areas.astype(np.float32)
    for line in prange(lines):
        knot, share = _between(knots, float(line))
        area = np.empty(CHUNK, np.float32)
        for first in range(0, samples, CHUNK):
            part = slice(first, min(first + CHUNK, samples))
            here = area[: part.stop - first]
            _interpolate(table[knot, part], table[knot + 1, part], np.float32(share), here)
            for p in range(image.shape[0]):
                _drop_missing(image[p, line, part], here)
            _divide(here, simulated[line, part])


# From the energy of pixels to intensity: divided by the area to which a calibration refers.


@parallel_njit
def divide_by_area(
    image: NDArray[np.float32],
    knot: NDArray[np.int64],
    share: NDArray[np.float64],
    areas: NDArray[np.float64],
    offset: float,
) -> None:
    """Divide an image by areas that change slowly from line to line, in place.

    Parameters
    ----------
    image : array, shape (lines, samples)
        Energies in square metres; receives intensities.
    knot : array, shape (lines,)
        Row of `areas` before each line.
    share : array, shape (lines,)
        Place of the line between that row and the next, from 0 to 1.
    areas : array, shape (rows, samples)
        Areas in square metres.
    offset : float
        Intensity that is added everywhere.
    """
    added = np.float32(offset)
    for line in prange(image.shape[0]):
        before, after, part = areas[knot[line]], areas[knot[line] + 1], share[line]
        row = image[line]
        for sample in range(row.size):
            area = np.float32(before[sample] + part * (after[sample] - before[sample]))
            row[sample] = row[sample] / area + added
