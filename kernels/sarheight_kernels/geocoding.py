r"""Geocoding: the image at the place of each cell of a DEM, interpolated bilinearly.

Where intensities refer to other areas than they should, they are multiplied by the ratio of the
two. Within a tile of cells this ratio is taken to be linear in the line, as it changes by far less
than a part in a million from the middle between two lines to either: the ratios of the two samples
beside a cell then join the weights of its four pixels, and serve for all polarisations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sarheight_kernels._numba import F4, F8, NAN, ONE, U4, ZERO, njit
from sarheight_kernels.radiometry import areas_of_line

if TYPE_CHECKING:
    from sarheight_kernels.tiles import TileSurface

# Lines, shape (k,), at which areas of pixels are tabulated, and the areas in square metres, shape
# (k, samples); linear in between.
AreaTable = tuple[F8, F8]


class GeocodedImage(NamedTuple):
    """An image at the place of each cell.

    Attributes
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity; NaN where there is no data.
    area_lines, areas : array, shape (k,), (k, samples)
        Lines at which areas of pixels are tabulated, and the areas in square metres to which the
        geocoded image refers.
    values : array, shape (polarisations, rows, columns) or (0, rows, columns)
        Receives the image at each cell, see `sample_row`; no polarisations where it is not wanted.
    """

    image: F4
    area_lines: F8
    areas: F8
    values: F4


# First and last line, first and last sample of a part of an image.
PixelWindow = tuple[int, int, int, int]


@njit
def pixels_within(bound: F8, shape: tuple[int, int]) -> PixelWindow:
    """Find the pixels within the bound of a tile, for interpolation.

    `shape` are lines and samples of the image. There is one line and one sample at least.
    """
    lines, samples = shape
    # Interpolation begins a line and a sample before the last at the latest.
    top = int(min(max(bound[0], 0.0), max(lines - 2.0, 0.0)))
    bottom = max(int(min(max(bound[1], -1.0) + 1.0, lines - 1.0)), top)
    left = int(min(max(bound[2], 0.0), max(samples - 2.0, 0.0)))
    right = max(int(min(max(bound[3], -1.0) + 1.0, samples - 1.0)), left)
    return top, bottom, left, right


@njit
def area_ratios(areas: AreaTable, target: AreaTable, window: PixelWindow) -> F4:
    """Tabulate the factors by which intensities are converted from some areas to others.

    Returns shape (2, samples of the window): the ratio at the first line, its change per line.
    """
    left, end = window[2], window[3] + 1
    from_area, to_area = np.empty(end - left), np.empty(end - left)
    ratio, table = np.empty((2, end - left)), np.empty((2, end - left), np.float32)
    for edge in range(2):
        line = float(window[edge])
        areas_of_line(areas[0], areas[1][:, left:end], line, from_area)
        areas_of_line(target[0], target[1][:, left:end], line, to_area)
        for j in range(from_area.size):
            ratio[edge, j] = from_area[j] / to_area[j]
    lines = max(window[1] - window[0], 1)
    for j in range(from_area.size):
        table[0, j], table[1, j] = ratio[0, j], (ratio[1, j] - ratio[0, j]) / lines
    return table


@njit
def _locate_pixels(
    line: F8, sample: F8, shape: tuple[int, int], window: PixelWindow, pixel: U4, weights: F4
) -> None:
    """Find the upper left of the four pixels around each cell of a row.

    `pixel`, shape (2, n), receives line and sample, relative to the first of `window`; the first
    two rows of `weights`, shape (4, n), receive the fractions beyond them, NaN beyond the image.
    """
    last_line, last_sample = shape[0] - 1.0, shape[1] - 1.0
    first_line, first_sample = np.int32(window[0]), np.int32(window[2])
    most_top = np.int32(max(shape[0] - 2, 0))
    most_left = np.int32(max(min(shape[1] - 2, window[3] - 1), window[2]))
    tops, lefts, downs, rights = pixel[0], pixel[1], weights[0], weights[1]
    for j in range(tops.size):
        y, x = line[j], sample[j]
        inside = (y >= 0.0) & (y <= last_line) & (x >= 0.0) & (x <= last_sample)
        y, x = y if inside else float(first_line), x if inside else float(first_sample)
        top = max(min(np.int32(y), most_top), first_line)
        left = max(min(np.int32(x), most_left), first_sample)
        tops[j], lefts[j] = np.uint32(top - first_line), np.uint32(left - first_sample)
        downs[j] = np.float32(y - top) if inside else NAN
        rights[j] = np.float32(x - left)


@njit
def _look_up_ratios(pixel: U4, ratio: F4, weights: F4) -> None:
    """Look up the ratios of the samples left and right of each cell: the last two weights."""
    begin, per_line = ratio[0], ratio[1]
    beside = np.uint32(min(ratio.shape[1] - 1, 1))
    tops, lefts, downs, left_ratio, right_ratio = (
        pixel[0], pixel[1], weights[0], weights[2], weights[3],
    )  # fmt: skip
    for j in range(tops.size):
        at, beyond = lefts[j], np.float32(tops[j]) + downs[j]
        left_ratio[j] = begin[at] + beyond * per_line[at]
        at = np.uint32(at + beside)
        right_ratio[j] = begin[at] + beyond * per_line[at]


@njit
def _interpolate_row(
    pixels: F4, samples: int, below: int, beside: int, pixel: U4, weights: F4, values: F4
) -> None:
    """Interpolate bilinearly along a row of cells; `pixels` begin at the corner of the window."""
    tops, lefts = pixel[0], pixel[1]
    downs, rights, left_ratio, right_ratio = weights
    across, down, right = np.uint64(samples), np.uint64(below), np.uint64(beside)
    for j in range(values.size):
        at = np.uint64(tops[j]) * across + np.uint64(lefts[j])
        u, v = downs[j], rights[j]
        upper_left, upper_right = left_ratio[j] * pixels[at], right_ratio[j] * pixels[at + right]
        at += down
        lower_left, lower_right = left_ratio[j] * pixels[at], right_ratio[j] * pixels[at + right]
        upper = (ONE - v) * upper_left + v * upper_right
        lower = (ONE - v) * lower_left + v * lower_right
        value = (ONE - u) * upper + u * lower
        # inf - inf is NaN.
        values[j] = value if value - value == ZERO else NAN


@njit
def sample_row(
    image: F4,
    window: PixelWindow,
    ratio: F4,
    line: F8,
    sample: F8,
    pixel: U4,
    weights: F4,
    corner: tuple[int, int],
    values: F4,
) -> None:
    """Interpolate an image bilinearly at the cells of a row of a tile.

    `image` has shape (polarisations, lines, samples), with NaN where there is no data; `window` is
    from `pixels_within`, `ratio` from `area_ratios`. The cells have lines and samples of shape
    (n,), NaN where void, and begin at the row and column `corner` of `values`, shape
    (polarisations, rows, columns), which becomes NaN where a cell is void or beyond the image, or
    one of its four pixels is not finite. `pixel`, shape (2, n), and `weights`, shape (4, n), are
    workspaces.
    """
    polarisations, lines, samples = image.shape
    below, beside = samples * min(lines - 1, 1), min(samples - 1, 1)
    _locate_pixels(line, sample, (lines, samples), window, pixel, weights)
    _look_up_ratios(pixel, ratio, weights)
    for p in range(polarisations):
        pixels = image[p].reshape(-1)[window[0] * samples + window[2] :]
        row = values[p, corner[0], corner[1] : corner[1] + line.size]
        _interpolate_row(pixels, samples, below, beside, pixel, weights, row)


@njit
def geocode_tile(
    surface: TileSurface,
    areas: AreaTable,
    window: PixelWindow,
    corner: tuple[int, int],
    geocoded: GeocodedImage,
) -> None:
    """Interpolate an image at the centre of each cell of a tile from `tile_surface`.

    `areas` are those to which intensities refer, `window` is from `pixels_within`, and `corner`
    holds row and column of the tile's first cell in `geocoded`, which receives the values.
    """
    line, sample, _, _ = surface
    rows, count = line.shape[0] - 2, line.shape[1] - 2
    ratio = area_ratios(areas, (geocoded.area_lines, geocoded.areas), window)
    pixel, weights = np.empty((2, count), np.uint32), np.empty((4, count), np.float32)
    for i in range(rows):
        here = line[i + 1, 1 : count + 1], sample[i + 1, 1 : count + 1]
        first = corner[0] + i, corner[1]
        sample_row(
            geocoded.image, window, ratio, here[0], here[1], pixel, weights, first, geocoded.values
        )
