"""Plain geocoding: the image's value where each cell is seen.

The image comes as energies of pixels and is sampled as intensities. Within a tile of cells the
inverse of the area of a pixel is taken to be linear in the line, as it changes by far less than a
part in a million from the middle between two lines to either: the areas of the two samples beside
a place then join the weights of its four pixels, and serve for all polarisations.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.energies import areas_of_line
from sarheight_kernels.fits import FIT, evaluate_fit, fit_bounds, fit_box
from sarheight_kernels.surface import meets_image, tile_box
from sarheight_kernels.tiles import locate_tile, span_of_box

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["sample_image"]

ONE, NONE = np.float32(1.0), np.float32(np.nan)


@njit
def _window(bound: NDArray[np.float64], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    """First and last line, first and last sample of the pixels around places within a bound."""
    lines, samples = shape
    # Interpolation begins a line and a sample before the last at the latest.
    top = int(min(max(bound[0], 0.0), max(lines - 2.0, 0.0)))
    bottom = max(int(min(max(bound[1], -1.0) + 1.0, lines - 1.0)), top)
    left = int(min(max(bound[2], 0.0), max(samples - 2.0, 0.0)))
    right = max(int(min(max(bound[3], -1.0) + 1.0, samples - 1.0)), left)
    return top, bottom, left, right


@njit
def _bounds_of(
    line: NDArray[np.float64], across: NDArray[np.float64], bound: NDArray[np.float64]
) -> None:
    """Find the span of places; empty (inf, -inf) where there is none."""
    bound[0], bound[1], bound[2], bound[3] = math.inf, -math.inf, math.inf, -math.inf
    for i in range(line.shape[0]):
        for j in range(line.shape[1]):
            if not math.isnan(line[i, j] + across[i, j]):
                bound[0], bound[1] = min(bound[0], line[i, j]), max(bound[1], line[i, j])
                bound[2], bound[3] = min(bound[2], across[i, j]), max(bound[3], across[i, j])


@njit
def _inverse_areas(
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    window: tuple[int, int, int, int],
) -> NDArray[np.float32]:
    """Tabulate inverse areas in a window.

    The two rows hold the inverse at the first line and its change per line, for each sample.
    """
    top, bottom, left, right = window
    columns = right - left + 1
    begin, end = np.empty(columns), np.empty(columns)
    areas_of_line(knots, areas[:, left : right + 1], top, begin)
    areas_of_line(knots, areas[:, left : right + 1], bottom, end)
    inverse = np.empty((2, columns), np.float32)
    per_line = 1.0 / max(bottom - top, 1)
    for index in range(columns):
        inverse[0, index] = 1.0 / begin[index]
        inverse[1, index] = (1.0 / end[index] - 1.0 / begin[index]) * per_line
    return inverse


@njit
def _place_row(
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    shape: tuple[int, int],
    window: tuple[int, int, int, int],
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
def _divide_row(
    place: NDArray[np.uint32], inverse: NDArray[np.float32], weights: NDArray[np.float32]
) -> None:
    """Look up the inverse areas of the samples left and right of each place: the last weights."""
    begin, per_line = inverse[0], inverse[1]
    beside = np.uint32(min(inverse.shape[1] - 1, 1))
    tops, lefts, downs, left_inverse, right_inverse = (
        place[0], place[1], weights[0], weights[2], weights[3],
    )  # fmt: skip
    for j in range(tops.size):
        at, beyond = lefts[j], np.float32(tops[j]) + downs[j]
        left_inverse[j] = begin[at] + beyond * per_line[at]
        at = np.uint32(at + beside)
        right_inverse[j] = begin[at] + beyond * per_line[at]


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
    downs, rights, left_inverse, right_inverse = weights
    across, down, right = np.uint64(samples), np.uint64(below), np.uint64(beside)
    for j in range(values.size):
        at = np.uint64(tops[j]) * across + np.uint64(lefts[j])
        u, v = downs[j], rights[j]
        upper_left, upper_right = (
            left_inverse[j] * pixels[at],
            right_inverse[j] * pixels[at + right],
        )
        at += down
        lower_left, lower_right = (
            left_inverse[j] * pixels[at],
            right_inverse[j] * pixels[at + right],
        )
        upper = (ONE - v) * upper_left + v * upper_right
        lower = (ONE - v) * lower_left + v * lower_right
        values[j] = (ONE - u) * upper + u * lower


@njit
def _weigh_tile(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    box: tuple[int, int, int, int],
    shape: tuple[int, int],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    place: NDArray[np.uint32],
    weights: NDArray[np.float32],
) -> tuple[int, int]:
    """Find and weigh the pixels around all cells of a tile; return where they are counted from."""
    row, end_row, column, end_column = box
    rows, count = end_row - row, end_column - column
    lowest, highest = span_of_box(heights, row, end_row, column, end_column)
    fit, room, bound = np.empty(FIT), np.empty(16 + count), np.empty(4)
    fitted = fit_box(ground, radar, box, lowest, highest, fit)
    line, across = np.empty((rows, count)), np.empty((rows, count))
    if fitted:
        fit_bounds(fit, bound)
        for i in range(rows):
            posts = heights[row + i, column:end_column]
            evaluate_fit(radar, fit, row + i, posts, line[i], across[i], room)
    else:
        posts = heights[row:end_row, column:end_column].copy()
        locate_tile(ground, radar, posts, row, column, (0, rows, 0, count), line, across)
        _bounds_of(line, across, bound)
    window = _window(bound, shape)
    inverse = _inverse_areas(knots, areas, window)
    for i in range(rows):
        _place_row(line[i], across[i], shape, window, place[i], weights[i])
        _divide_row(place[i], inverse, weights[i])
    return window[0], window[2]


@parallel_njit
def sample_image(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    bounds: NDArray[np.float64],
    energy: NDArray[np.float32],
    knots: NDArray[np.float64],
    areas: NDArray[np.float64],
    values: NDArray[np.float32],
) -> None:
    """Sample the intensity of an image at the cells of a DEM.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`.
    energy : array, shape (polarisations, lines, samples)
        Energy of the pixels in square metres; NaN where there is no data.
    knots : array, shape (k,)
        Lines at which areas are tabulated.
    areas : array, shape (k, samples)
        Areas in square metres that make intensities of energies; linear in between.
    values : array, shape (polarisations, rows, columns)
        Receives the bilinear interpolation at each cell; NaN where the cell is void or beyond the
        image, or a pixel that counts is NaN.
    """
    polarisations, lines, samples = energy.shape
    below, beside = samples * min(lines - 1, 1), min(samples - 1, 1)
    for tile in prange(bounds.shape[0]):
        box = tile_box(heights, tile)
        row, end_row, column, end_column = box
        if not meets_image(bounds[tile], lines, samples):
            values[:, row:end_row, column:end_column] = NONE
            continue
        rows, count = end_row - row, end_column - column
        place = np.empty((rows, 2, count), np.uint32)
        weights = np.empty((rows, 4, count), np.float32)
        first_line, first_sample = _weigh_tile(
            ground, radar, heights, box, (lines, samples), knots, areas, place, weights
        )
        # One polarisation after the other: images that are read side by side displace each other.
        for p in range(polarisations):
            pixels = energy[p].reshape(-1)[first_line * samples + first_sample :]
            for i in range(rows):
                found = values[p, row + i, column:end_column]
                _interpolate_row(pixels, samples, below, beside, place[i], weights[i], found)
