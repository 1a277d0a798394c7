r"""Allocation of the radar cross-section (RCS) of pixels to cells, and plain geocoding.

With the RCS :math:`W_{pg}` that cell g contributes to pixel p at reflectivity 1, an assumed
reflectivity :math:`x_g`, the measured RCS :math:`E_p = A_p I_p` of a pixel of area :math:`A_p` and
intensity :math:`I_p`, and the expected RCS :math:`S_p = \sum_g W_{pg} x_g`, the cell is allocated

.. math:: \sum_p \frac{W_{pg} \, x_g}{S_p} \, A_p I_p .

Only images and sums are held in memory: the weights are recomputed, and the image of intensities
is used as it is. Where pixels are weighed by how sure their simulation is
(`sarheight_kernels.ratios`), the sums of weighed ratios are taken in the same sweep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sarheight_kernels._numba import B1, F4, F8, I4, NAN, ONE, ZERO, njit
from sarheight_kernels.footprint_pixels import (
    GROUP,
    INITIAL_SIZE,
    fetch,
    illuminated_row_footprints,
    sum_pairs,
    sum_pixels,
    touch,
)
from sarheight_kernels.footprints import PITCH, Table, footprint_tables
from sarheight_kernels.geocoding import (
    GeocodedImage,
    PixelWindow,
    area_ratios,
    geocode_tile,
    pixels_within,
)
from sarheight_kernels.pool import spread_over
from sarheight_kernels.tiles import (
    Surface,
    TileSurface,
    illuminated_area,
    meets_image,
    tile_box,
    tile_surface,
)


class MeasuredPixels(NamedTuple):
    """The pixels of an image whose RCS is allocated.

    Attributes
    ----------
    intensity : array, shape (polarisations, lines, samples)
        Intensity that is allocated.
    unsmoothed : array, shape (polarisations, lines, samples) or (0, lines, samples)
        The intensity before it was smoothed; no polarisations where it was not.
    inverse : array, shape (lines, samples)
        Area of the pixels over their expected RCS, from
        `sarheight_kernels.radiometry.inverse_intensity`; 0 where there is no data, nothing was
        expected, or a pixel must not count.
    area_lines, areas : array, shape (k,), (k, samples)
        Lines at which the areas of pixels are tabulated, and the areas in square metres to which
        intensities refer.
    """

    intensity: F4
    unsmoothed: F4
    inverse: F4
    area_lines: F8
    areas: F8


class WeighedRatios(NamedTuple):
    """Ratios of an image and its simulation in pixels, and their sums for cells.

    Attributes
    ----------
    pairs : array of float64, shape (polarisations, lines, samples)
        Weight times ratio, and weight, from `sarheight_kernels.ratios.weigh_ratios`: both in the
        bits of one number. Nothing is summed where it has no polarisations.
    floor : float
        The variance f that is in these weights.
    changes : array, shape (lines, samples) or (0, 0)
        The squared change q of each pixel, where no ratios are wanted.
    ratio : array, shape (polarisations, rows, columns)
        Receives for each cell the sums of W times weight times ratio; no polarisations where they
        are not wanted.
    weight : array, shape (polarisations, rows, columns)
        Receives the sums of W times weight; 0 where a cell contributes to no pixel. It has one
        polarisation where pixels have the same weight in all.
    change : array, shape (rows, columns) or (0, 0)
        Receives the sums of W times the squared change, if wanted.
    """

    pairs: F8
    floor: float
    changes: F4
    ratio: F4
    weight: F4
    change: F4


@njit
def _clear(ratios: WeighedRatios, row: int, end_row: int, column: int, end_column: int) -> None:
    """Set the sums of a tile to 0 that does not meet the image."""
    ratios.ratio[:, row:end_row, column:end_column] = 0.0
    ratios.weight[:, row:end_row, column:end_column] = 0.0
    if ratios.change.size > 0:
        ratios.change[row:end_row, column:end_column] = 0.0


class AllocatedCells(NamedTuple):
    """The values that cells receive.

    Attributes
    ----------
    rcs : array, shape (polarisations, rows, columns)
        RCS in square metres that is allocated to each cell.
    reflectivity : array, shape (polarisations, rows, columns)
        The same over the expected RCS of the cell in pixels that have data; NaN where there is
        none.
    diagnostics : array, shape (4, rows, columns)
        For each cell its expected RCS in pixels that have data, in square metres; its illuminated
        area there, projected along the line of sight, in square metres; its contribution share, the
        mean of its shares in its pixels weighted by its own RCS; and the variance that speckle of
        one look leaves in its RCS, as a fraction of its square. The last two are NaN where nothing
        is expected.
    totals : array, shape (tiles, polarisations)
        For each tile the part of the image's RCS that its cells account for. Summed over all cells
        it is the RCS of all illuminated pixels with data, as the shares in a pixel sum to 1.
    """

    rcs: F4
    reflectivity: F4
    diagnostics: F4
    totals: F8


SUMS = 4
"""Sums over the pixels of a cell, see `_sum_weights`."""


@njit
def _sum_weights(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum weights W of all pixels, of those with data, times their shares, and squared.

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
def _write_row(
    assumed: Table, rcs: Table, windows: I4, sums: Table, allocated: F4, reflectivity: F4
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
    assumed: Table, rcs: Table, windows: I4, left: int, right: int, columns: F8
) -> None:
    """Add the allocated RCS of a row to sums of its columns, which are independent."""
    # The compiler sees that no index is negative, and does not check for it.
    for j in range(max(left, 0), right):
        columns[j] += float(assumed[j] * rcs[j] if windows[2 * PITCH + j] > 0 else ZERO)


@njit
def _divide_by_areas(
    windows: I4, window: PixelWindow, inverse: F4, count: int,
    sums: Table
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
    windows: I4,
    sums: Table,
    assumed: Table,
    corner: tuple[int, int],
    diagnostics: F4,
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
def _sum_changes(
    window: Table, pairs: Table, slots: int, count: int, floor: np.float32, sums: Table
) -> None:
    """Sum weights W times the squared change q of the pixels, whose weights are 1 / (f + q).

    Weights of pixels are the second numbers of their pairs, see `sum_pairs`.
    """
    sums[:count] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pairs[2 * slot * PITCH :]
        for j in range(count):
            part = ZERO
            for row in range(GROUP):
                weight = weights[row * PITCH + j]
                # Both numbers are read: a gap between those that are needed costs more.
                _, precision = values[2 * (row * PITCH + j)], values[2 * (row * PITCH + j) + 1]
                known = (weight > ZERO) & (precision > ZERO)
                change = ONE / (precision if known else ONE) - floor
                # At q = 0 rounding may leave a little less.
                part += weight * max(change, ZERO) if known else ZERO
            sums[j] += part


@njit
def _write_sums(sums: Table, windows: I4, count: int, layer: F4) -> None:
    """Write the sums of a row of cells; 0 where a cell is not illuminated."""
    for j in range(count):
        layer[j] = sums[j] if windows[2 * PITCH + j] > 0 else ZERO


@njit
def _gather_row(
    ratios: WeighedRatios,
    window: Table,
    windows: I4,
    shape: tuple[int, int],
    corner: tuple[int, int],
    count: int,
    pairs: F8,
) -> F8:
    """Sum ratios and weights over the pixels of a row of cells, see `WeighedRatios`."""
    sums, slots = np.empty(2 * PITCH, np.float32), shape[0] * shape[1]
    row, columns = corner[0], slice(corner[1], corner[1] + count)
    for p in range(ratios.pairs.shape[0]):
        pairs = fetch(ratios.pairs[p], windows, count, shape[0], shape[1], pairs)
        sum_pairs(window, pairs.view(np.float32), slots, count, sums)
        if p < ratios.ratio.shape[0]:
            _write_sums(sums, windows, count, ratios.ratio[p, row, columns])
        if p < ratios.weight.shape[0]:
            _write_sums(sums[PITCH:], windows, count, ratios.weight[p, row, columns])
    if ratios.change.size > 0:
        numbers, floor = pairs.view(np.float32), np.float32(ratios.floor)
        _sum_changes(window, numbers, slots, count, floor, sums)
        _write_sums(sums, windows, count, ratios.change[row, columns])
    return pairs


@njit
def _touch_pairs(ratios: WeighedRatios, bound: F8) -> float:
    """Bring the pairs of a tile into the cache, see `touch`."""
    total = 0.0
    for p in range(ratios.pairs.shape[0]):
        total += touch(ratios.pairs[p], bound)
    if ratios.changes.size > 0:
        total += touch(ratios.changes, bound)
    return total


@njit
def _touch_pixels(pixels: MeasuredPixels, bound: F8) -> float:
    """Bring the pixels of a tile into the cache, see `touch`."""
    total = touch(pixels.inverse, bound)
    for p in range(pixels.intensity.shape[0]):
        total += touch(pixels.intensity[p], bound)
    return total


@njit
def _allocate_tile(
    surface: TileSurface,
    illuminated: B1,
    corner: tuple[int, int],
    assumed: F4,
    pixels: MeasuredPixels,
    area_window: PixelWindow,
    inverse_areas: F4,
    ratios: WeighedRatios,
    counted: tuple[int, int, int, int],
    cells: AllocatedCells,
    total: F8,
) -> None:
    """Allocate RCS to the cells of a tile, whose first one has row and column `corner`."""
    rows, count = illuminated.shape
    tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
    window, shares = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE, np.float32)
    values, pairs = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE)
    sums, rcs = np.empty(SUMS * PITCH, np.float32), np.empty(PITCH, np.float32)
    assumed_row = np.ones(count, np.float32)
    left, right = max(counted[2] - corner[1], 0), min(counted[3] - corner[1], count)
    totals = np.zeros((cells.rcs.shape[0], count))
    for i in range(rows):
        row, column = corner[0] + i, corner[1]
        window, lines, samples = illuminated_row_footprints(
            surface, i, illuminated[i], tables, windows, window
        )
        slots = lines * samples
        shares = fetch(pixels.inverse, windows, count, lines, samples, shares)
        _sum_weights(window, shares, slots, count, sums)
        if assumed.size > 0:
            for j in range(count):
                assumed_row[j] = assumed[row, column + j]
        for p in range(cells.rcs.shape[0]):
            values = fetch(pixels.intensity[p], windows, count, lines, samples, values)
            sum_pixels(shares, values, slots, count, rcs)
            allocated = cells.rcs[p, row, column : column + count]
            reflectivity = cells.reflectivity[p, row, column : column + count]
            _write_row(assumed_row, rcs, windows, sums, allocated, reflectivity)
            if pixels.unsmoothed.shape[0] > 0:
                values = fetch(pixels.unsmoothed[p], windows, count, lines, samples, values)
                sum_pixels(shares, values, slots, count, rcs)
            if counted[0] <= row < counted[1]:
                _add_to_totals(assumed_row, rcs, windows, left, right, totals[p])
        _divide_by_areas(windows, area_window, inverse_areas, count, sums[2 * PITCH :])
        _write_diagnostics(surface, i, windows, sums, assumed_row, corner, cells.diagnostics)
        if ratios.pairs.shape[0] > 0:
            place = row, column
            pairs = _gather_row(ratios, window, windows, (lines, samples), place, count, pairs)
        elif ratios.changes.size > 0:
            values = fetch(ratios.changes, windows, count, lines, samples, values)
            sum_pixels(window, values, slots, count, rcs)
            _write_sums(rcs, windows, count, ratios.change[row, column : column + count])
    for p in range(cells.rcs.shape[0]):
        for j in range(count):
            total[p] += totals[p, j]


@spread_over("surface.bounds")
@njit
def allocate_rcs(
    begin: int,
    end: int,
    surface: Surface,
    assumed: F4,
    pixels: MeasuredPixels,
    ratios: WeighedRatios,
    counted: tuple[int, int, int, int],
    cells: AllocatedCells,
    geocoded: GeocodedImage,
) -> None:
    """Allocate the RCS of pixels to the cells that contribute to them.

    Parameters
    ----------
    surface : Surface
        The DEM under the radar, with the cells that are illuminated.
    assumed : array, shape (rows, columns) or (0, 0)
        Reflectivity x by which pixels are shared; 1 everywhere where there is none.
    pixels : MeasuredPixels
        The image.
    ratios : WeighedRatios
        Ratios of image and simulation, which are summed in the same sweep; or no polarisations.
    counted : tuple of int
        First row, end row, first column and end column of the cells that count in the totals.
    cells : AllocatedCells
        Receives what is allocated.
    geocoded : GeocodedImage
        Receives the image at the place of each cell, as a tile's coordinates are known here.
    """
    lines, samples = pixels.inverse.shape
    unit = pixels.area_lines, np.ones(pixels.areas.shape)
    areas, workspace = (pixels.area_lines, pixels.areas), np.empty(1)
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(surface.heights, tile)
        cells.totals[tile] = 0.0
        if not meets_image(surface.bounds[tile], lines, samples):
            _clear(ratios, row, end_row, column, end_column)
            cells.rcs[:, row:end_row, column:end_column] = 0.0
            cells.reflectivity[:, row:end_row, column:end_column] = np.nan
            cells.diagnostics[:2, row:end_row, column:end_column] = 0.0
            cells.diagnostics[2:, row:end_row, column:end_column] = np.nan
            geocoded.values[:, row:end_row, column:end_column] = np.nan
            continue
        window, bound = pixels_within(surface.bounds[tile], (lines, samples)), surface.bounds[tile]
        workspace[0] = _touch_pixels(pixels, bound) + _touch_pairs(ratios, bound)
        local = tile_surface(surface, tile)
        if geocoded.values.shape[0] > 0:
            geocode_tile(local, areas, window, (row, column), geocoded)
        _allocate_tile(
            local,
            surface.illuminated[row:end_row, column:end_column],
            (row, column),
            assumed,
            pixels,
            window,
            area_ratios(unit, areas, window),
            ratios,
            counted,
            cells,
            cells.totals[tile],
        )


@spread_over("surface.bounds")
@njit
def gather_ratios(begin: int, end: int, surface: Surface, ratios: WeighedRatios) -> None:
    """Sum weighed ratios of an image and its simulation over the pixels of each cell.

    Parameters
    ----------
    surface : Surface
        The DEM under the radar, with the cells that are illuminated.
    ratios : WeighedRatios
        The ratios; receives their sums.
    """
    _, lines, samples = ratios.pairs.shape
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(surface.heights, tile)
        if not meets_image(surface.bounds[tile], lines, samples):
            _clear(ratios, row, end_row, column, end_column)
            continue
        local = tile_surface(surface, tile)
        lit = surface.illuminated[row:end_row, column:end_column]
        tables, windows = footprint_tables(local), np.empty(4 * PITCH, np.int32)
        window, pairs = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE)
        pairs[0] = _touch_pairs(ratios, surface.bounds[tile])
        for i in range(end_row - row):
            window, high, wide = illuminated_row_footprints(
                local, i, lit[i], tables, windows, window
            )
            place = row + i, column
            count = end_column - column
            pairs = _gather_row(ratios, window, windows, (high, wide), place, count, pairs)
