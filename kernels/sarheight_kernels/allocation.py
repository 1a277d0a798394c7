r"""Allocation of the radar cross-section (RCS) of pixels to cells, and plain geocoding.

With the RCS :math:`W_{pg}` that cell g contributes to pixel p at reflectivity 1, an assumed
reflectivity :math:`x_g`, the measured RCS :math:`E_p = A_p I_p` of a pixel of area :math:`A_p` and
intensity :math:`I_p`, and the expected RCS :math:`S_p = \sum_g W_{pg} x_g`, the cell is allocated

.. math:: \sum_p \frac{W_{pg} \, x_g}{S_p} \, A_p I_p .

Only images and sums are held in memory: the weights are recomputed, and the image of intensities
is used as it is. Where pixels are weighed by how sure their simulation is
(`sarheight_kernels.ratios`), the sums of weighed ratios are taken in the same sweep.

Geocoding interpolates the image at each cell's line and sample. Where the intensities refer to
other areas than they should, they are multiplied by the ratio of the two. Within a tile of cells
this ratio is taken to be linear in the line, as it changes by far less than a part in a million
from the middle between two lines to either: the ratios of the two samples beside a cell then join
the weights of its four pixels, and serve for all polarisations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import NAN, ONE, ZERO, njit
from sarheight_kernels.footprint_pixels import (
    GROUP,
    INITIAL_SIZE,
    fetch,
    fetch_channel,
    fetch_pair,
    illuminated_row_footprints,
    sum_pair,
    touch,
)
from sarheight_kernels.footprints import PITCH, Table, footprint_tables
from sarheight_kernels.pool import spread_over
from sarheight_kernels.radiometry import areas_of_line
from sarheight_kernels.tiles import (
    TileSurface,
    illuminated_area,
    meets_image,
    tile_box,
    tile_surface,
)

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

# Lines, shape (k,), at which areas of pixels are tabulated, and the areas in square metres, shape
# (k, samples); linear in between.
AreaTable = tuple[NDArray[np.float64], NDArray[np.float64]]
# First and last line, first and last sample of a part of an image.
PixelWindow = tuple[int, int, int, int]


@njit
def pixels_within(bound: NDArray[np.float64], shape: tuple[int, int]) -> PixelWindow:
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
def _window_areas(areas: AreaTable, window: PixelWindow, line: int) -> NDArray[np.float64]:
    """Areas of the pixels of a line of a window."""
    result = np.empty(window[3] - window[2] + 1)
    areas_of_line(areas[0], areas[1][:, window[2] : window[3] + 1], line, result)
    return result


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
def area_ratios(areas: AreaTable, target: AreaTable, window: PixelWindow) -> NDArray[np.float32]:
    """Tabulate the factors by which intensities are converted from some areas to others.

    Returns shape (2, samples of the window): the ratio at the first line, its change per line.
    """
    begin = _window_areas(areas, window, window[0]) / _window_areas(target, window, window[0])
    end = _window_areas(areas, window, window[1]) / _window_areas(target, window, window[1])
    return _by_line(begin, end, window)


@njit
def inverse_areas(areas: AreaTable, window: PixelWindow) -> NDArray[np.float32]:
    """Tabulate the inverse areas of the pixels in a window, per square metre, see `area_ratios`."""
    begin = 1.0 / _window_areas(areas, window, window[0])
    return _by_line(begin, 1.0 / _window_areas(areas, window, window[1]), window)


@njit
def _locate_pixels(
    line: NDArray[np.float64],
    sample: NDArray[np.float64],
    shape: tuple[int, int],
    window: PixelWindow,
    pixel: NDArray[np.uint32],
    weights: NDArray[np.float32],
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
def _look_up_ratios(
    pixel: NDArray[np.uint32], ratio: NDArray[np.float32], weights: NDArray[np.float32]
) -> None:
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
    pixels: NDArray[np.float32],
    samples: int,
    below: int,
    beside: int,
    pixel: NDArray[np.uint32],
    weights: NDArray[np.float32],
    values: NDArray[np.float32],
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
    image: NDArray[np.float32],
    window: PixelWindow,
    ratio: NDArray[np.float32],
    line: NDArray[np.float64],
    sample: NDArray[np.float64],
    pixel: NDArray[np.uint32],
    weights: NDArray[np.float32],
    corner: tuple[int, int],
    values: NDArray[np.float32],
) -> None:
    """Interpolate an image bilinearly at the cells of a row of a tile.

    Parameters
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity; NaN where there is no data.
    window, ratio
        The part of the image around the tile, from `pixels_within`; from `area_ratios`.
    line, sample : array, shape (n,)
        Lines and samples of the cells; NaN where void.
    pixel, weights : array, shape (2, n), (4, n)
        Workspace.
    corner : tuple of int
        Row and column of the first cell.
    values : array, shape (polarisations, rows, columns)
        Receives the value at each cell; NaN where the cell is void or beyond the image, or one of
        its four pixels is not finite.
    """
    polarisations, lines, samples = image.shape
    below, beside = samples * min(lines - 1, 1), min(samples - 1, 1)
    _locate_pixels(line, sample, (lines, samples), window, pixel, weights)
    _look_up_ratios(pixel, ratio, weights)
    for p in range(polarisations):
        pixels = image[p].reshape(-1)[window[0] * samples + window[2] :]
        row = values[p, corner[0], corner[1] : corner[1] + line.size]
        _interpolate_row(pixels, samples, below, beside, pixel, weights, row)


# Allocation: the share of each cell in the RCS of the pixels that it contributes to.

SUMS = 4
"""Sums over the pixels of a cell, see `_sum_weights`."""


@njit
def _sum_weights(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum weights W: of all pixels, of those with data, times their shares, and squared.

    `pixels` holds A / S of each pixel; it becomes the shares of the cells times areas, W A / S.
    """
    sums[: SUMS * PITCH] = ZERO
    pixels[slots * PITCH : (slots + slots % GROUP) * PITCH] = ZERO
    for slot in range(0, slots, GROUP):
        weights, shares = window[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            total, expected, shared, squared = ZERO, ZERO, ZERO, ZERO
            for row in range(GROUP):
                weight, inverse = weights[row * PITCH + j], shares[row * PITCH + j]
                valid = weight if inverse > ZERO else ZERO
                share = valid * inverse
                shares[row * PITCH + j] = share
                total += weight
                expected += valid
                shared += valid * share
                squared += valid * valid
            sums[j] += total
            sums[PITCH + j] += expected
            sums[2 * PITCH + j] += shared
            sums[3 * PITCH + j] += squared


@njit
def _sum_shares(shares: Table, pixels: Table, slots: int, count: int, rcs: Table) -> None:
    """Sum the cells' shares (times areas) of the intensities of their pixels."""
    rcs[:count] = ZERO
    for slot in range(0, slots, GROUP):
        parts, values = shares[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                share = parts[row * PITCH + j]
                # Where there is no share, there may be no data either.
                part += share * values[row * PITCH + j] if share > ZERO else ZERO
            rcs[j] += part


@njit
def _write_row(
    assumed: Table,
    rcs: Table,
    windows: NDArray[np.int32],
    sums: Table,
    allocated: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
) -> None:
    """Write the RCS that is allocated to the cells of a row, and its ratio to the expected RCS."""
    for j in range(allocated.size):
        illuminated = windows[2 * PITCH + j] > 0
        value, expected = assumed[j] * rcs[j], sums[PITCH + j] if illuminated else ZERO
        allocated[j] = value if illuminated else ZERO
        ratio = value / (expected if expected > ZERO else ONE)
        reflectivity[j] = ratio if expected > ZERO else NAN


@njit
def _add_to_totals(
    assumed: Table,
    rcs: Table,
    windows: NDArray[np.int32],
    left: int,
    right: int,
    columns: NDArray[np.float64],
) -> None:
    """Add the allocated RCS of a row to sums of its columns, which are independent."""
    # The compiler sees that no index is negative, and does not check for it.
    for j in range(max(left, 0), right):
        columns[j] += float(assumed[j] * rcs[j] if windows[2 * PITCH + j] > 0 else ZERO)


@njit
def _divide_by_areas(
    windows: NDArray[np.int32], window: PixelWindow, inverse: NDArray[np.float32], count: int,
    sums: Table,
) -> None:  # fmt: skip
    """Divide sums over the pixels of cells by the area of the pixel in their middle."""
    begin, per_line = inverse[0], inverse[1]
    first_line, first_sample = np.int32(window[0]), np.int32(window[2])
    last = np.int32(window[3] - window[2])
    for j in range(count):
        line = windows[j] + (windows[2 * PITCH + j] >> 1) - first_line
        sample = windows[PITCH + j] + (windows[3 * PITCH + j] >> 1) - first_sample
        at = np.uint32(min(max(sample, np.int32(0)), last))
        sums[j] *= begin[at] + np.float32(line) * per_line[at]


@njit
def _write_diagnostics(
    surface: TileSurface,
    i: int,
    windows: NDArray[np.int32],
    sums: Table,
    assumed: Table,
    corner: tuple[int, int],
    diagnostics: NDArray[np.float32],
) -> None:
    """Write the diagnostics of row `i` of a tile, see `allocate_rcs`."""
    row, column = corner[0] + i, corner[1]
    for j in range(assumed.size):
        illuminated = windows[2 * PITCH + j] > 0
        expected = sums[PITCH + j] if illuminated else ZERO
        diagnostics[0, row, column + j] = expected
        # Only part of a cell may lie in pixels with data.
        area = expected / sums[j] * illuminated_area(surface, i, j) if expected > ZERO else ZERO
        diagnostics[1, row, column + j] = area
        inverse = ONE / expected if expected > ZERO else NAN
        # The area of one pixel stands for those of all, which differ by some 0.1 % in the footprint
        # of a wall: more than 1 is a share of 1.
        share = assumed[j] * sums[2 * PITCH + j] * inverse
        diagnostics[2, row, column + j] = ONE if share > ONE else share
        diagnostics[3, row, column + j] = sums[3 * PITCH + j] * inverse * inverse


@njit
def _sum_ratios(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum the cells' weights W times a channel of their pixels."""
    sums[:count] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                weight = weights[row * PITCH + j]
                # A weight of zero has no part in what is not a number.
                part += weight * values[row * PITCH + j] if weight > ZERO else ZERO
            sums[j] += part


@njit
def _sum_changes(
    window: Table, pixels: Table, slots: int, count: int, floor: np.float32, sums: Table
) -> None:
    """Sum weights W times the squared change q of the pixels, whose weights are 1 / (f + q)."""
    sums[:count] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                weight, precision = weights[row * PITCH + j], values[row * PITCH + j]
                known = (weight > ZERO) & (precision > ZERO)
                change = ONE / (precision if known else ONE) - floor
                # At q = 0 rounding may leave a little less.
                part += weight * max(change, ZERO) if known else ZERO
            sums[j] += part


@njit
def _sum_pair_changes(
    window: Table, pixels: Table, slots: int, count: int, floor: np.float32, sums: Table
) -> None:
    """Do the work of `_sum_changes`; weights of pixels are their second channel of two."""
    sums[:count] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pixels[2 * slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                weight = weights[row * PITCH + j]
                # Both channels are read, see `sum_pair`.
                _, precision = values[2 * (row * PITCH + j)], values[2 * (row * PITCH + j) + 1]
                known = (weight > ZERO) & (precision > ZERO)
                change = ONE / (precision if known else ONE) - floor
                part += weight * max(change, ZERO) if known else ZERO
            sums[j] += part


@njit
def _write_sums(
    sums: Table, windows: NDArray[np.int32], corner: tuple[int, int], layer: NDArray[np.float32],
    count: int,
) -> None:  # fmt: skip
    """Write the sums of a row of cells; 0 where a cell is not illuminated."""
    row = layer[corner[0], corner[1] : corner[1] + count]
    for j in range(count):
        row[j] = sums[j] if windows[2 * PITCH + j] > 0 else ZERO


@njit
def _gather_row(
    window: Table,
    windows: NDArray[np.int32],
    shape: tuple[int, int],
    channels: NDArray[np.float32],
    floor: np.float32,
    corner: tuple[int, int],
    count: int,
    pixels: Table,
    gathered: NDArray[np.float32],
) -> Table:
    """Sum the channels over the pixels of a row of cells, see `gather_ratios`."""
    sums = np.empty(2 * PITCH, np.float32)
    slots, size = shape[0] * shape[1], channels.shape[2]
    changes = gathered.shape[0] > size
    if size == 2:
        pixels = fetch_pair(channels, windows, count, shape[0], shape[1], pixels)
        sum_pair(window, pixels, slots, count, sums)
        _write_sums(sums, windows, corner, gathered[0], count)
        _write_sums(sums[PITCH:], windows, corner, gathered[1], count)
        if changes:
            _sum_pair_changes(window, pixels, slots, count, floor, sums)
    else:
        for index in range(size):
            pixels = fetch_channel(channels, index, windows, count, shape[0], shape[1], pixels)
            _sum_ratios(window, pixels, slots, count, sums)
            _write_sums(sums, windows, corner, gathered[index], count)
        if changes:
            _sum_changes(window, pixels, slots, count, floor, sums)
    if changes:
        _write_sums(sums, windows, corner, gathered[size], count)
    return pixels


@njit
def _geocode_tile(
    surface: TileSurface,
    image: NDArray[np.float32],
    window: PixelWindow,
    ratio: NDArray[np.float32],
    corner: tuple[int, int],
    geocoded: NDArray[np.float32],
) -> None:
    """Interpolate the image at the cells of a tile."""
    line, sample, _, _ = surface
    rows, count = line.shape[0] - 2, line.shape[1] - 2
    pixel, weights = np.empty((2, count), np.uint32), np.empty((4, count), np.float32)
    for i in range(rows):
        here = line[i + 1, 1 : count + 1], sample[i + 1, 1 : count + 1]
        first = corner[0] + i, corner[1]
        sample_row(image, window, ratio, here[0], here[1], pixel, weights, first, geocoded)


@njit
def _touch_images(
    intensity: NDArray[np.float32],
    inverse: NDArray[np.float32],
    channels: NDArray[np.float32],
    bound: NDArray[np.float64],
    pixels: Table,
) -> None:
    """Bring the pixels of a tile into the cache, see `touch`; `pixels` is overwritten later."""
    lines, samples = inverse.shape
    pixels[0] = touch(inverse.reshape((lines, samples, 1)), bound)
    for p in range(intensity.shape[0]):
        pixels[p % GROUP] = touch(intensity[p].reshape((lines, samples, 1)), bound)
    if channels.size > 0:
        pixels[0] = touch(channels, bound)


@njit
def _allocate_tile(
    surface: TileSurface,
    illuminated: NDArray[np.bool_],
    corner: tuple[int, int],
    bound: NDArray[np.float64],
    assumed: NDArray[np.float32],
    unsmoothed: NDArray[np.float32],
    intensity: NDArray[np.float32],
    inverse: NDArray[np.float32],
    area_window: PixelWindow,
    areas: NDArray[np.float32],
    channels: NDArray[np.float32],
    floor: np.float32,
    counted: tuple[int, int, int, int],
    allocated: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    gathered: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Do the work of `allocate_rcs` for a tile; `corner` is row and column of its first cell."""
    rows, count = illuminated.shape
    tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
    window, shares = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE, np.float32)
    pixels = np.empty(INITIAL_SIZE, np.float32)
    sums, rcs = np.empty(SUMS * PITCH, np.float32), np.empty(PITCH, np.float32)
    assumed_row = np.ones(count, np.float32)
    left, right = max(counted[2] - corner[1], 0), min(counted[3] - corner[1], count)
    totals = np.zeros((allocated.shape[0], count))
    _touch_images(intensity, inverse, channels, bound, pixels)
    for i in range(rows):
        row, column = corner[0] + i, corner[1]
        window, lines, samples = illuminated_row_footprints(
            surface, i, illuminated[i], tables, windows, window
        )
        slots = lines * samples
        shares = fetch(inverse, windows, count, lines, samples, shares)
        _sum_weights(window, shares, slots, count, sums)
        if assumed.size > 0:
            assumed_row[:] = assumed[row, column : column + count]
        for p in range(allocated.shape[0]):
            pixels = fetch(intensity[p], windows, count, lines, samples, pixels)
            _sum_shares(shares, pixels, slots, count, rcs)
            cells = slice(column, column + count)
            _write_row(
                assumed_row,
                rcs,
                windows,
                sums,
                allocated[p, row, cells],
                reflectivity[p, row, cells],
            )
            if unsmoothed.size > 0:
                pixels = fetch(unsmoothed[p], windows, count, lines, samples, pixels)
                _sum_shares(shares, pixels, slots, count, rcs)
            if counted[0] <= row < counted[1]:
                _add_to_totals(assumed_row, rcs, windows, left, right, totals[p])
        if diagnostics.shape[0] > 0:
            _divide_by_areas(windows, area_window, areas, count, sums[2 * PITCH :])
            _write_diagnostics(surface, i, windows, sums, assumed_row, corner, diagnostics)
        if gathered.shape[0] > 0:
            pixels = _gather_row(
                window, windows, (lines, samples), channels, floor, (row, column), count, pixels,
                gathered,
            )  # fmt: skip
    for p in range(allocated.shape[0]):
        for j in range(count):
            total[p] += totals[p, j]


@spread_over("bounds")
@njit
def allocate_rcs(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    illuminated: NDArray[np.bool_],
    assumed: NDArray[np.float32],
    unsmoothed: NDArray[np.float32],
    intensity: NDArray[np.float32],
    inverse: NDArray[np.float32],
    areas: AreaTable,
    geocoded_areas: AreaTable,
    channels: NDArray[np.float32],
    floor: float,
    counted: tuple[int, int, int, int],
    allocated: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    geocoded: NDArray[np.float32],
    gathered: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Allocate the RCS of pixels to the cells that contribute to them.

    Parameters
    ----------
    ground, radar, heights, law, bounds
        As in `sarheight_kernels.projection.scatter`.
    illuminated : array, shape (rows, columns)
        False where a cell is in shadow, or not needed.
    assumed : array, shape (rows, columns) or (0, 0)
        Reflectivity x by which pixels are shared; 1 everywhere where there is none.
    unsmoothed : array, shape (polarisations, lines, samples) or (0, 0, 0)
        Intensity of the pixels, where `intensity` is a smoothed version of it.
    intensity : array, shape (polarisations, lines, samples)
        Intensity of the pixels that is allocated.
    inverse : array, shape (lines, samples)
        Area of the pixels over their expected RCS, from
        `sarheight_kernels.radiometry.inverse_intensity`; 0 where there is no data, nothing was
        expected, or a pixel must not count.
    areas : tuple of array
        Lines, shape (k,), and areas in square metres, shape (k, samples), to which intensities
        refer.
    geocoded_areas : tuple of array
        The same of the areas to which `geocoded` refers.
    channels, floor, gathered
        As in `gather_ratios`, where they are not empty.
    counted : tuple of int
        First row, end row, first column and end column of the cells that count in `totals`.
    allocated : array, shape (polarisations, rows, columns)
        Receives the RCS that is allocated to each cell in square metres.
    reflectivity : array, shape (polarisations, rows, columns)
        Receives the same over the expected RCS of the cell in pixels that have data; NaN where
        there is none.
    diagnostics : array, shape (4, rows, columns) or (0, rows, columns)
        Receives for each cell, if not empty, its expected RCS in pixels that have data, in square
        metres; its illuminated area there, projected along the line of sight, in square metres;
        its contribution share, the mean of its shares in its pixels weighted by its own RCS; and
        the variance that speckle of one look leaves in its RCS, as a fraction of its square. The
        last two are NaN where nothing is expected.
    geocoded : array, shape (polarisations, rows, columns) or (0, rows, columns)
        Receives, if not empty, the image at the centre of each cell, see `sample_row`.
    totals : array, shape (tiles, polarisations)
        Receives for each tile the part of the image's RCS that its cells account for. Summed over
        all cells it is the RCS of all illuminated pixels with data, as the shares in a pixel sum
        to 1.
    """
    lines, samples = inverse.shape
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(heights, tile)
        totals[tile] = 0.0
        if meets_image(bounds[tile], lines, samples):
            surface = tile_surface(ground, radar, heights, law, tile)
            window = pixels_within(bounds[tile], (lines, samples))
            corner = row, column
            if geocoded.shape[0] > 0:
                ratio = area_ratios(areas, geocoded_areas, window)
                image = unsmoothed if unsmoothed.size > 0 else intensity
                _geocode_tile(surface, image, window, ratio, corner, geocoded)
            inverse_area = inverse_areas(areas, window)
            _allocate_tile(
                surface, illuminated[row:end_row, column:end_column], corner, bounds[tile],
                assumed, unsmoothed, intensity, inverse, window, inverse_area,
                channels, np.float32(floor), counted,
                allocated, reflectivity, diagnostics, gathered, totals[tile],
            )  # fmt: skip
        else:
            gathered[:, row:end_row, column:end_column] = 0.0
            allocated[:, row:end_row, column:end_column] = 0.0
            reflectivity[:, row:end_row, column:end_column] = np.nan
            diagnostics[:2, row:end_row, column:end_column] = 0.0
            diagnostics[2:, row:end_row, column:end_column] = np.nan
            geocoded[:, row:end_row, column:end_column] = np.nan


@spread_over("bounds")
@njit
def gather_ratios(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    illuminated: NDArray[np.bool_],
    channels: NDArray[np.float32],
    floor: float,
    gathered: NDArray[np.float32],
) -> None:
    r"""Sum weighed ratios of an image and its simulation over the pixels of each cell.

    Parameters
    ----------
    ground, radar, heights, law, bounds, illuminated
        As in `sarheight_kernels.projection.scatter`.
    channels : array, shape (lines, samples, k)
        Channels of the pixels, the last of them their weights; from
        `sarheight_kernels.ratios.weigh_ratios`.
    floor : float
        The variance f that is in these weights.
    gathered : array, shape (k, rows, columns) or (k + 1, rows, columns)
        Receives for each cell the sums of W times channel, and of W times the squared change that
        is in the weights, if there is room for it; 0 where a cell contributes to no pixel.
    """
    high, wide, _ = channels.shape
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(heights, tile)
        if meets_image(bounds[tile], high, wide):
            surface = tile_surface(ground, radar, heights, law, tile)
            tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
            window, pixels = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE, np.float32)
            pixels[0] = touch(channels, bounds[tile])
            for i in range(end_row - row):
                lit = illuminated[row + i, column:end_column]
                window, lines, samples = illuminated_row_footprints(
                    surface, i, lit, tables, windows, window
                )
                pixels = _gather_row(
                    window, windows, (lines, samples), channels, np.float32(floor),
                    (row + i, column), lit.size, pixels, gathered,
                )  # fmt: skip
        else:
            gathered[:, row:end_row, column:end_column] = 0.0
