"""Plain geocoding: the image's value where each cell is seen.

Where the intensities of an image refer to other areas than those that are wanted, they are
multiplied by the ratio of the two. Within a tile of cells this ratio is taken to be linear in the
line, as it changes by far less than a part in a million from the middle between two lines to
either: the ratios of the two samples beside a place then join the weights of its four pixels, and
serve for all polarisations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.energies import areas_of_line

__all__ = [
    "AreaTable",
    "PixelWindow",
    "area_ratios",
    "inverse_areas",
    "pixels_within",
    "sample_row",
]

# Lines, shape (k,), at which areas of pixels are tabulated, and the areas in square metres, shape
# (k, samples); linear in between.
AreaTable = tuple[NDArray[np.float64], NDArray[np.float64]]
# First and last line, first and last sample of a part of an image.
PixelWindow = tuple[int, int, int, int]
ZERO, ONE, NONE = np.float32(0.0), np.float32(1.0), np.float32(np.nan)


@njit
def pixels_within(bound: NDArray[np.float64], shape: tuple[int, int]) -> PixelWindow:
    """Find the pixels around places within a bound.

    Parameters
    ----------
    bound : array, shape (4,)
        Least and greatest line, least and greatest sample.
    shape : tuple of int
        Lines and samples of the image.

    Returns
    -------
    tuple of int
        First and last line, first and last sample; one line and one sample at least.
    """
    lines, samples = shape
    # Interpolation begins a line and a sample before the last at the latest.
    top = int(min(max(bound[0], 0.0), max(lines - 2.0, 0.0)))
    bottom = max(int(min(max(bound[1], -1.0) + 1.0, lines - 1.0)), top)
    left = int(min(max(bound[2], 0.0), max(samples - 2.0, 0.0)))
    right = max(int(min(max(bound[3], -1.0) + 1.0, samples - 1.0)), left)
    return top, bottom, left, right


@njit
def _areas_within(areas: AreaTable, window: PixelWindow, line: int) -> NDArray[np.float64]:
    """Areas of the pixels of a line of a window."""
    found = np.empty(window[3] - window[2] + 1)
    areas_of_line(areas[0], areas[1][:, window[2] : window[3] + 1], line, found)
    return found


@njit
def _by_line(
    begin: NDArray[np.float64], end: NDArray[np.float64], window: PixelWindow
) -> NDArray[np.float32]:
    """Tabulate values at the first line of a window, and their change per line."""
    table = np.empty((2, begin.size), np.float32)
    table[0] = begin
    table[1] = (end - begin) / max(window[1] - window[0], 1)
    return table


@njit
def area_ratios(measured: AreaTable, wanted: AreaTable, window: PixelWindow) -> NDArray[np.float32]:
    """Tabulate by what intensities are multiplied so that they refer to other areas.

    Parameters
    ----------
    measured, wanted : tuple of array
        The areas to which the image refers, and those to which it is to refer.
    window : tuple of int
        The part of the image.

    Returns
    -------
    array, shape (2, samples of the window)
        The ratio at the first line, and its change per line.
    """
    begin = _areas_within(measured, window, window[0]) / _areas_within(wanted, window, window[0])
    end = _areas_within(measured, window, window[1]) / _areas_within(wanted, window, window[1])
    return _by_line(begin, end, window)


@njit
def inverse_areas(areas: AreaTable, window: PixelWindow) -> NDArray[np.float32]:
    """Tabulate the inverse areas of the pixels in a part of an image.

    Parameters
    ----------
    areas : tuple of array
        The areas.
    window : tuple of int
        The part of the image.

    Returns
    -------
    array, shape (2, samples of the window)
        The inverse area at the first line, per square metre, and its change per line.
    """
    begin = 1.0 / _areas_within(areas, window, window[0])
    return _by_line(begin, 1.0 / _areas_within(areas, window, window[1]), window)


@njit
def _place_row(
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    shape: tuple[int, int],
    window: PixelWindow,
    place: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> None:
    """Find the upper left of the four pixels around each place of a row.

    `place` receives line and sample, counted from the first of `window`; the first two `weights`
    receive what is beyond them, NaN beyond the image.
    """
    last_line, last_sample = shape[0] - 1.0, shape[1] - 1.0
    first_line, first_sample = np.int32(window[0]), np.int32(window[2])
    most_top = np.int32(max(shape[0] - 2, 0))
    most_left = np.int32(max(min(shape[1] - 2, window[3] - 1), window[2]))
    tops, lefts, downs, rights = place[0], place[1], weights[0], weights[1]
    for j in range(tops.size):
        y, x = line[j], across[j]
        inside = (y >= 0.0) & (y <= last_line) & (x >= 0.0) & (x <= last_sample)
        y, x = y if inside else float(first_line), x if inside else float(first_sample)
        top = max(min(np.int32(y), most_top), first_line)
        left = max(min(np.int32(x), most_left), first_sample)
        tops[j], lefts[j] = np.uint32(top - first_line), np.uint32(left - first_sample)
        downs[j] = np.float32(y - top) if inside else NONE
        rights[j] = np.float32(x - left)


@njit
def _weigh_row(
    place: NDArray[np.uint32], ratio: NDArray[np.float32], weights: NDArray[np.float32]
) -> None:
    """Look up the ratios of the samples left and right of each place: the last weights."""
    begin, per_line = ratio[0], ratio[1]
    beside = np.uint32(min(ratio.shape[1] - 1, 1))
    tops, lefts, downs, left_ratio, right_ratio = (
        place[0], place[1], weights[0], weights[2], weights[3],
    )  # fmt: skip
    for j in range(tops.size):
        at, beyond = lefts[j], np.float32(tops[j]) + downs[j]
        left_ratio[j] = begin[at] + beyond * per_line[at]
        at = np.uint32(at + beside)
        right_ratio[j] = begin[at] + beyond * per_line[at]


@njit
def _interpolate_row(
    pixels: NDArray[np.float32],
    samples: int,
    below: int,
    beside: int,
    place: NDArray[np.uint32],
    weights: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Interpolate along a row; pixels are counted from that at the corner."""
    tops, lefts = place[0], place[1]
    downs, rights, left_ratio, right_ratio = weights
    across, down, right = np.uint64(samples), np.uint64(below), np.uint64(beside)
    for j in range(values.size):
        at = np.uint64(tops[j]) * across + np.uint64(lefts[j])
        u, v = downs[j], rights[j]
        upper_left, upper_right = (
            left_ratio[j] * pixels[at],
            right_ratio[j] * pixels[at + right],
        )
        at += down
        lower_left, lower_right = (
            left_ratio[j] * pixels[at],
            right_ratio[j] * pixels[at + right],
        )
        upper = (ONE - v) * upper_left + v * upper_right
        lower = (ONE - v) * lower_left + v * lower_right
        value = (ONE - u) * upper + u * lower
        # Of what is infinite the difference is not a number.
        values[j] = value if value - value == ZERO else NONE


@njit
def sample_row(
    image: NDArray[np.float32],
    window: PixelWindow,
    ratio: NDArray[np.float32],
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    place: NDArray[np.uint32],
    weights: NDArray[np.float32],
    corner: tuple[int, int],
    values: NDArray[np.float32],
) -> None:
    """Sample an image at the cells of a row of a tile.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity; NaN where there is no data.
    window : tuple of int
        The part of the image around the tile, from `pixels_within`.
    ratio : array, shape (2, samples of the window)
        From `area_ratios`.
    line, across : array, shape (n,)
        Lines and samples of the cells; NaN where void.
    place, weights : array, shape (2, n), (4, n)
        Room.
    corner : tuple of int
        Row and column of the first cell.
    values : array, shape (polarisations, rows, columns)
        Receives the bilinear interpolation at each cell; NaN where the cell is void or beyond the
        image, or a pixel that counts is not finite.
    """
    polarisations, lines, samples = image.shape
    below, beside = samples * min(lines - 1, 1), min(samples - 1, 1)
    _place_row(line, across, (lines, samples), window, place, weights)
    _weigh_row(place, ratio, weights)
    for p in range(polarisations):
        pixels = image[p].reshape(-1)[window[0] * samples + window[2] :]
        found = values[p, corner[0], corner[1] : corner[1] + line.size]
        _interpolate_row(pixels, samples, below, beside, place, weights, found)
