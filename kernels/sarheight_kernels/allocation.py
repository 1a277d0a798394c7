r"""Plain geocoding: the image's value where each cell is seen.

Where the intensities of an image refer to other areas than those that are wanted, they are
multiplied by the ratio of the two. Within a tile of cells this ratio is taken to be linear in the
line, as it changes by far less than a part in a million from the middle between two lines to
either: the ratios of the two samples beside a place then join the weights of its four pixels, and
serve for all polarisations.

With the energy :math:`W_{pg}` that cell g sends into pixel p where it has reflectivity 1, the
assumed reflectivity :math:`x_g`, the energy :math:`E_p = A_p I_p` that was found in a pixel of area
:math:`A_p` and intensity :math:`I_p`, and the energy :math:`S_p = \sum_g W_{pg} x_g` that was
expected there, the cell is given :math:`\sum_p W_{pg} x_g I_p A_p / S_p`. Nothing but the images
and the sums is held in memory, and the image of intensities is used as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.footprint_pixels import GROUP, ROOM, fetch, illuminated_row_footprints
from sarheight_kernels.footprints import ONE, PITCH, ZERO, Table, footprint_tables
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
ZERO_RESAMPLE, ONE_RESAMPLE, NONE = np.float32(0.0), np.float32(1.0), np.float32(np.nan)


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
        upper = (ONE_RESAMPLE - v) * upper_left + v * upper_right
        lower = (ONE_RESAMPLE - v) * lower_left + v * lower_right
        value = (ONE_RESAMPLE - u) * upper + u * lower
        # Of what is infinite the difference is not a number.
        values[j] = value if value - value == ZERO_RESAMPLE else NONE


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


# What each cell is given of the pixels that it lights.

SUMS = 4
"""Sums over the pixels of a cell."""


@njit
def _tally(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum up weights: of all pixels, of those with data, times their shares, and squared.

    `pixels` holds areas over what was expected; they become the shares of the cells, times areas.
    """
    sums[: SUMS * PITCH] = ZERO
    pixels[slots * PITCH : (slots + slots % GROUP) * PITCH] = ZERO
    for slot in range(0, slots, GROUP):
        weights, shares = window[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            whole, seen, shared, squared = ZERO, ZERO, ZERO, ZERO
            for row in range(GROUP):
                weight, inverse = weights[row * PITCH + j], shares[row * PITCH + j]
                known = weight if inverse > ZERO else ZERO
                share = known * inverse
                shares[row * PITCH + j] = share
                whole += weight
                seen += known
                shared += known * share
                squared += known * known
            sums[j] += whole
            sums[PITCH + j] += seen
            sums[2 * PITCH + j] += shared
            sums[3 * PITCH + j] += squared


@njit
def _give(shares: Table, pixels: Table, slots: int, count: int, given: Table) -> None:
    """Sum up shares of energies."""
    given[:count] = ZERO
    for slot in range(0, slots, GROUP):
        parts, values = shares[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                share = parts[row * PITCH + j]
                # Where there is no share, there may be no data either.
                part += share * values[row * PITCH + j] if share > ZERO else ZERO
            given[j] += part


@njit
def _put(
    bright: Table,
    part: Table,
    windows: NDArray[np.int32],
    sums: Table,
    given: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
) -> None:
    """Write down what the cells of a row are given, and that over what is expected of them."""
    for j in range(given.size):
        lit = windows[2 * PITCH + j] > 0
        value, expected = bright[j] * part[j], sums[PITCH + j] if lit else ZERO
        given[j] = value if lit else ZERO
        ratio = value / (expected if expected > ZERO else ONE)
        reflectivity[j] = ratio if expected > ZERO else NONE


@njit
def _account(
    bright: Table,
    part: Table,
    windows: NDArray[np.int32],
    left: int,
    right: int,
    columns: NDArray[np.float64],
) -> None:
    """Add what cells of a row are given to sums of their columns, which need not wait in turn."""
    # From 0 on, as can be seen: so no index is checked for counting from the end.
    for j in range(max(left, 0), right):
        columns[j] += float(bright[j] * part[j] if windows[2 * PITCH + j] > 0 else ZERO)


@njit
def _divide_by_areas(
    windows: NDArray[np.int32], window: PixelWindow, inverse: NDArray[np.float32], count: int,
    sums: Table,
) -> None:  # fmt: skip
    """Divide sums over the pixels of cells by the area of the pixel amid them."""
    begin, per_line = inverse[0], inverse[1]
    first_line, first_sample = np.int32(window[0]), np.int32(window[2])
    last = np.int32(window[3] - window[2])
    for j in range(count):
        line = windows[j] + (windows[2 * PITCH + j] >> 1) - first_line
        sample = windows[PITCH + j] + (windows[3 * PITCH + j] >> 1) - first_sample
        at = np.uint32(min(max(sample, np.int32(0)), last))
        sums[j] *= begin[at] + np.float32(line) * per_line[at]


@njit
def _diagnose(
    surface: TileSurface,
    i: int,
    windows: NDArray[np.int32],
    sums: Table,
    bright: Table,
    corner: tuple[int, int],
    diagnostics: NDArray[np.float32],
) -> None:
    """Fill in the diagnostics of row `i` of a tile, see `allocate_rcs`."""
    row, column = corner[0] + i, corner[1]
    for j in range(bright.size):
        lit = windows[2 * PITCH + j] > 0
        expected = sums[PITCH + j] if lit else ZERO
        diagnostics[0, row, column + j] = expected
        # Only part of a cell may lie where data are.
        area = expected / sums[j] * illuminated_area(surface, i, j) if expected > ZERO else ZERO
        diagnostics[1, row, column + j] = area
        inverse = ONE / expected if expected > ZERO else NONE
        # The area of one pixel stands for those of all, which differ by some 0.1 % in the footprint
        # of a wall: more than 1 is a share of 1.
        share = bright[j] * sums[2 * PITCH + j] * inverse
        diagnostics[2, row, column + j] = ONE if share > ONE else share
        diagnostics[3, row, column + j] = sums[3 * PITCH + j] * inverse * inverse


@njit
def _geocode_tile(
    surface: TileSurface,
    image: NDArray[np.float32],
    window: PixelWindow,
    ratio: NDArray[np.float32],
    corner: tuple[int, int],
    geocoded: NDArray[np.float32],
) -> None:
    """Sample the image at the cells of a tile."""
    line, across, _, _ = surface
    rows, count = line.shape[0] - 2, line.shape[1] - 2
    place, weights = np.empty((2, count), np.uint32), np.empty((4, count), np.float32)
    for i in range(rows):
        here = line[i + 1, 1 : count + 1], across[i + 1, 1 : count + 1]
        first = corner[0] + i, corner[1]
        sample_row(image, window, ratio, here[0], here[1], place, weights, first, geocoded)


@njit
def _share_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    corner: tuple[int, int],
    assumed: NDArray[np.float32],
    image: NDArray[np.float32],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    window_of_areas: PixelWindow,
    areas: NDArray[np.float32],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Do the work of `allocate_rcs` for a tile; `corner` is the place of its first cell."""
    rows, count = lit.shape
    tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
    window, shares = np.empty(ROOM, np.float32), np.empty(ROOM, np.float32)
    pixels = np.empty(ROOM, np.float32)
    sums, part = np.empty(SUMS * PITCH, np.float32), np.empty(PITCH, np.float32)
    bright = np.ones(count, np.float32)
    left, right = max(core[2] - corner[1], 0), min(core[3] - corner[1], count)
    totals = np.zeros((given.shape[0], count))
    for i in range(rows):
        row, column = corner[0] + i, corner[1]
        window, lines, samples = illuminated_row_footprints(
            surface, i, lit[i], tables, windows, window
        )
        slots = lines * samples
        shares = fetch(inverse, windows, count, lines, samples, shares)
        _tally(window, shares, slots, count, sums)
        if assumed.size > 0:
            bright[:] = assumed[row, column : column + count]
        for p in range(given.shape[0]):
            pixels = fetch(found[p], windows, count, lines, samples, pixels)
            _give(shares, pixels, slots, count, part)
            cells = slice(column, column + count)
            _put(bright, part, windows, sums, given[p, row, cells], reflectivity[p, row, cells])
            if image.size > 0:
                pixels = fetch(image[p], windows, count, lines, samples, pixels)
                _give(shares, pixels, slots, count, part)
            if core[0] <= row < core[1]:
                _account(bright, part, windows, left, right, totals[p])
        if diagnostics.shape[0] > 0:
            _divide_by_areas(windows, window_of_areas, areas, count, sums[2 * PITCH :])
            _diagnose(surface, i, windows, sums, bright, corner, diagnostics)
    for p in range(given.shape[0]):
        for j in range(count):
            total[p] += totals[p, j]


@parallel_njit
def allocate_rcs(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    assumed: NDArray[np.float32],
    image: NDArray[np.float32],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    measured: AreaTable,
    wanted: AreaTable,
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    reflectivity: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    geocoded: NDArray[np.float32],
    totals: NDArray[np.float64],
) -> None:
    """Give each cell its share of the pixels it lights.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient at evenly spaced cosines of incidence.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`.
    lit : array, shape (rows, columns)
        False where a cell is in shadow, or is not asked for.
    assumed : array, shape (rows, columns) or (0, 0)
        Reflectivity by which pixels are shared; 1 everywhere where there is none.
    image : array, shape (polarisations, lines, samples) or (0, 0, 0)
        Intensity of the pixels, where it is not `found`.
    found : array, shape (polarisations, lines, samples)
        What is given away: the intensity of the pixels, or smoothed in a way.
    inverse : array, shape (lines, samples)
        Area of the pixels over the energy that was expected of them, from
        `sarheight_kernels.radiometry.invert`; 0 where there is no data, nothing was expected, or
        anything else is not to count.
    measured : tuple of array
        Lines, shape (k,), and areas in square metres, shape (k, samples), to which intensities
        refer.
    wanted : tuple of array
        The same of the areas to which `geocoded` is to refer.
    core : tuple of int
        First row, end row, first column and end column of the cells that count in `totals`.
    given : array, shape (polarisations, rows, columns)
        Receives the energy that each cell is given in square metres.
    reflectivity : array, shape (polarisations, rows, columns)
        Receives the same over what is expected of the cell in pixels that have data; NaN where
        nothing is.
    diagnostics : array, shape (4, rows, columns) or (0, rows, columns)
        Receives for each cell, where asked for, the energy expected of it in pixels that have
        data, in square metres; its lit area there, projected along the line of sight, in square
        metres; its mean share in the energy of its pixels, weighted by its own; and the variance
        that speckle of one look leaves in its energy, as a fraction of its square. The last two
        are NaN where nothing is expected.
    geocoded : array, shape (polarisations, rows, columns) or (0, rows, columns)
        Receives, where asked for, what is `found` at the place of each cell, see
        `sarheight_kernels.allocation.sample_row`.
    totals : array, shape (tiles, polarisations)
        Receives for each tile the part of the image's energy that its cells account for; summed
        over all cells it is the energy of all lit pixels with data, as the shares in a pixel sum
        to 1.
    """
    lines, samples = inverse.shape
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        totals[tile] = 0.0
        if meets_image(bounds[tile], lines, samples):
            surface = tile_surface(ground, radar, heights, law, tile)
            window = pixels_within(bounds[tile], (lines, samples))
            if geocoded.shape[0] > 0:
                ratio = area_ratios(measured, wanted, window)
                _geocode_tile(
                    surface,
                    image if image.size > 0 else found,
                    window,
                    ratio,
                    (row, column),
                    geocoded,
                )
            _share_tile(
                surface,
                lit[row:end_row, column:end_column],
                (row, column),
                assumed,
                image,
                found,
                inverse,
                window,
                inverse_areas(measured, window),
                core,
                given,
                reflectivity,
                diagnostics,
                totals[tile],
            )
        else:
            given[:, row:end_row, column:end_column] = 0.0
            reflectivity[:, row:end_row, column:end_column] = np.nan
            diagnostics[:2, row:end_row, column:end_column] = 0.0
            diagnostics[2:, row:end_row, column:end_column] = np.nan
            geocoded[:, row:end_row, column:end_column] = np.nan
