"""Radiometry: areas of pixels, radar cross-sections and intensities.

The radar cross-section (RCS) of a pixel is its intensity I times the area A to which its
calibration refers: on the slant-range plane for beta0, on the ellipsoid for sigma0, at a right
angle to the line of sight for gamma0. Areas change slowly from line to line: they are tabulated at
a few lines and linear in between.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import F4, F8, I8, NAN, ONE, ZERO, njit
from sarheight_kernels.pool import spread_over

LANES = 64
"""Independent partial sums of a line, so that no addition waits for the one before."""
CHUNK = 4 * LANES
"""Pixels that are summed at a time."""


@njit
def _sum_of_lanes(lanes: NDArray[np.floating]) -> float:
    """Sum lanes pairwise, by halves; they are overwritten."""
    width = lanes.size
    while width > 1:
        width //= 2
        for lane in range(width):
            lanes[lane] += lanes[width + lane]
    return float(lanes[0])


@njit
def locate_line(area_lines: F8, line: float) -> tuple[int, float]:
    """Find the tabulated line before a line, and its fraction of the way to the next."""
    last = area_lines.size - 2
    knot = 0
    while knot < last and area_lines[knot + 1] <= line:
        knot += 1
    return knot, (line - area_lines[knot]) / (area_lines[knot + 1] - area_lines[knot])


@njit
def _interpolate(
    before: NDArray[np.floating],
    after: NDArray[np.floating],
    fraction: float | np.float32,
    area: NDArray[np.floating],
) -> None:
    """Interpolate linearly between two rows of areas."""
    for sample in range(area.size):
        area[sample] = before[sample] + fraction * (after[sample] - before[sample])


@njit
def areas_of_line(area_lines: F8, areas: F8, line: float, area: F8) -> None:
    """Interpolate the areas of the pixels of a line.

    `areas`, shape (k, samples), are tabulated at `area_lines`, shape (k,).
    """
    knot, fraction = locate_line(area_lines, line)
    _interpolate(areas[knot], areas[knot + 1], fraction, area)


@njit
def _mask_area(row: NDArray[np.floating], area: F4) -> None:
    """Set the area of pixels whose value is not finite to NaN."""
    for sample in range(area.size):
        # inf - inf and NaN - NaN are NaN, which equals nothing.
        area[sample] = area[sample] if row[sample] - row[sample] == ZERO else NAN


@njit
def _divide_area(area: F4, expected: F4) -> None:
    """Divide areas by expected RCS, in place; 0 where there is none of either."""
    for sample in range(area.size):
        valid = (expected[sample] > ZERO) & (area[sample] > ZERO)
        ratio = area[sample] / (expected[sample] if valid else ONE)
        expected[sample] = ratio if valid else ZERO


@njit
def _add_chunk(
    values: NDArray[np.floating],
    area: F4,
    lanes: F8,
    least: NDArray[np.floating],
    greatest: NDArray[np.floating],
) -> None:
    """Add a chunk of values to sums in lanes, four values to each."""
    for lane in range(LANES):
        count, low, high = ZERO, least[lane], greatest[lane]
        signed, absolute = 0.0, 0.0
        for quarter in range(4):
            value = values[quarter * LANES + lane]
            rcs = np.float32(value * area[quarter * LANES + lane])
            valid = rcs == rcs  # noqa: PLR0124 - no NaN
            count += ONE if valid else ZERO
            rcs = rcs if valid else ZERO
            signed += float(rcs)
            absolute += float(abs(rcs))
            low = value if valid and value < low else low
            high = value if valid and value > high else high
        lanes[0, lane] += count
        lanes[1, lane] += signed
        lanes[2, lane] += absolute
        least[lane], greatest[lane] = low, high


@spread_over("image", axis=1)
@njit
def image_sums(
    begin: int, end: int, image: NDArray[np.floating], area_lines: F8, areas: F8, sums: F8
) -> None:
    """Sum the radar cross-section of the lines of an image.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    area_lines : array, shape (k,)
        Lines at which areas are tabulated.
    areas : array, shape (k, samples)
        Areas of the pixels in square metres; linear in between.
    sums : array, shape (polarisations, lines, 5)
        Receives for each line, of the pixels that are finite in all polarisations: their number,
        the sum of negative and of positive RCS in square metres, and the least and the greatest
        intensity; infinities where there is none.
    """
    polarisations, _, samples = image.shape
    table = areas.astype(np.float32)
    area, rest = np.empty(CHUNK, np.float32), np.full(CHUNK, math.nan, image.dtype)
    lanes = np.empty((polarisations, 3, LANES))
    least = np.empty((polarisations, LANES), image.dtype)
    greatest = np.empty((polarisations, LANES), image.dtype)
    for line in range(begin, end):
        knot, fraction = locate_line(area_lines, float(line))
        lanes[:], least[:], greatest[:] = 0.0, math.inf, -math.inf
        for first in range(0, samples, CHUNK):
            part = slice(first, min(first + CHUNK, samples))
            count = part.stop - first
            area_here = area[:count]
            _interpolate(table[knot, part], table[knot + 1, part], np.float32(fraction), area_here)
            for p in range(polarisations):
                _mask_area(image[p, line, part], area_here)
            for p in range(polarisations):
                values = image[p, line, part]
                if count < CHUNK:
                    for sample in range(count):
                        rest[sample] = values[sample]
                    values = rest
                _add_chunk(values, area, lanes[p], least[p], greatest[p])
        for p in range(polarisations):
            signed, absolute = _sum_of_lanes(lanes[p, 1]), _sum_of_lanes(lanes[p, 2])
            sums[p, line, 0] = _sum_of_lanes(lanes[p, 0])
            sums[p, line, 1] = 0.5 * (signed - absolute)
            sums[p, line, 2] = 0.5 * (signed + absolute)
            low, high = least[p, 0], greatest[p, 0]
            for lane in range(LANES):
                low, high = min(low, least[p, lane]), max(high, greatest[p, lane])
            sums[p, line, 3], sums[p, line, 4] = low, high


@spread_over("simulated", axis=1)
@njit
def mask_missing(begin: int, end: int, image: F4, simulated: F4) -> None:
    """Set the expected RCS of pixels to 0 that are not finite in all polarisations, in place.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity.
    simulated : array, shape (simulations, lines, samples)
        Expected RCS; becomes 0 where there is no data.
    """
    known = np.empty(image.shape[2], np.float32)
    for line in range(begin, end):
        known[:] = ZERO
        for p in range(image.shape[0]):
            row = image[p, line]
            for sample in range(known.size):
                # A difference of 0, or NaN that stays.
                known[sample] += row[sample] - row[sample]
        for layer in range(simulated.shape[0]):
            expected = simulated[layer, line]
            for sample in range(known.size):
                expected[sample] = expected[sample] if known[sample] == ZERO else ZERO


@spread_over("simulated")
@njit
def inverse_intensity(begin: int, end: int, area_lines: F8, areas: F8, simulated: F4) -> None:
    """Turn the RCS that is expected of pixels into inverse intensities, in place.

    Parameters
    ----------
    area_lines, areas : array, shape (k,), (k, samples)
        Areas in square metres, see `image_sums`.
    simulated : array, shape (lines, samples)
        Expected RCS in square metres; becomes the area of the pixel over that, 0 where nothing is
        expected.
    """
    samples = simulated.shape[1]
    table, area = areas.astype(np.float32), np.empty(CHUNK, np.float32)
    for line in range(begin, end):
        knot, fraction = locate_line(area_lines, float(line))
        for first in range(0, samples, CHUNK):
            part = slice(first, min(first + CHUNK, samples))
            area_here = area[: part.stop - first]
            _interpolate(table[knot, part], table[knot + 1, part], np.float32(fraction), area_here)
            _divide_area(area_here, simulated[line, part])


@spread_over("image")
@njit
def divide_by_area(
    begin: int, end: int, image: F4, knot: I8, fraction: F8, areas: F8, offset: float
) -> None:
    """Divide RCS by areas that change slowly from line to line, in place.

    Parameters
    ----------
    image : array, shape (lines, samples)
        RCS in square metres; receives intensities.
    knot : array, shape (lines,)
        Row of `areas` before each line.
    fraction : array, shape (lines,)
        Position of the line between that row and the next, from 0 to 1.
    areas : array, shape (rows, samples)
        Areas in square metres.
    offset : float
        Intensity that is added everywhere.
    """
    added = np.float32(offset)
    for line in range(begin, end):
        before, after, part = areas[knot[line]], areas[knot[line] + 1], fraction[line]
        row = image[line]
        for sample in range(row.size):
            area = np.float32(before[sample] + part * (after[sample] - before[sample]))
            row[sample] = row[sample] / area + added


# Digital numbers of a product.

# Values at the samples of some lines, shape (k, samples), and for each line of a window the row
# before it, the row after it, and the weight of this, shape (lines,).
Rows = tuple[F4, NDArray[np.intp], NDArray[np.intp], F4]


@njit
def square_numbers(numbers: NDArray[np.generic], power: F4) -> None:
    """Square digital numbers, shape (lines, samples), in single precision; NaN for 0."""
    for line in range(numbers.shape[0]):
        row, squares = numbers[line], power[line]
        for sample in range(row.size):
            number = np.float32(row[sample])
            squares[sample] = number * number if number != ZERO else NAN


@njit
def calibrate_lines(power: F4, amplitude: Rows, noise: Rows, columns: I8, factors: F4) -> None:
    """Subtract noise from squared digital numbers and divide by squared factors, in place.

    One thread does it, line by line in its cache: it reads while others compute.

    Parameters
    ----------
    power : array, shape (lines, samples)
        Squared digital numbers; receives backscatter.
    amplitude : tuple of array
        Factors by which amplitudes are divided: at the samples of some lines, shape (k, samples),
        and for each line of the window the row before it, the row after it, and the weight of this,
        shape (lines,).
    noise : tuple of array
        Power of the noise along range, likewise; no rows for none.
    columns, factors : array, shape (n, 2), (n, lines)
        First and end samples of parts of the lines, and for each line a factor on the noise there.
    """
    lines, samples = power.shape
    subtracted, divisor = np.zeros(samples, np.float32), np.empty(samples, np.float32)
    for line in range(lines):
        _between_rows(amplitude, line, divisor)
        if noise[0].shape[0] > 0:
            _between_rows(noise, line, subtracted)
        for part in range(columns.shape[0]):
            factor = factors[part, line]
            some = subtracted[columns[part, 0] : columns[part, 1]]
            for sample in range(some.size):
                some[sample] *= factor
        row = power[line]
        for sample in range(row.size):
            square = divisor[sample] * divisor[sample]
            row[sample] = (row[sample] - subtracted[sample]) / square


@njit
def _between_rows(rows: Rows, line: int, values: F4) -> None:
    """Interpolate between the rows before and after a line."""
    before, after, weight = rows[0][rows[1][line]], rows[0][rows[2][line]], rows[3][line]
    for sample in range(values.size):
        values[sample] = before[sample] + weight * (after[sample] - before[sample])
