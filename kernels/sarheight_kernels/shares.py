r"""What each cell is given of the pixels that it lights.

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
from sarheight_kernels.fetch import GROUP, ROOM, fetch, lit_row_windows
from sarheight_kernels.footprints import ONE, PITCH, ZERO, Table
from sarheight_kernels.resample import (
    AreaTable,
    PixelWindow,
    area_ratios,
    inverse_areas,
    pixels_within,
    sample_row,
)
from sarheight_kernels.surface import (
    TileSurface,
    lit_area,
    meets_image,
    tile_box,
    tile_surface,
)
from sarheight_kernels.windows import window_tables

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather_shares"]

SUMS = 4
"""Sums over the pixels of a cell."""
NONE = np.float32(np.nan)


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
    """Fill in the diagnostics of row `i` of a tile, see `gather_shares`."""
    row, column = corner[0] + i, corner[1]
    for j in range(bright.size):
        lit = windows[2 * PITCH + j] > 0
        expected = sums[PITCH + j] if lit else ZERO
        diagnostics[0, row, column + j] = expected
        # Only part of a cell may lie where data are.
        area = expected / sums[j] * lit_area(surface, i, j) if expected > ZERO else ZERO
        diagnostics[1, row, column + j] = area
        inverse = ONE / expected if expected > ZERO else NONE
        diagnostics[2, row, column + j] = bright[j] * sums[2 * PITCH + j] * inverse
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
    """Do the work of `gather_shares` for a tile; `corner` is the place of its first cell."""
    rows, count = lit.shape
    tables, windows = window_tables(surface), np.empty(4 * PITCH, np.int32)
    window, shares = np.empty(ROOM, np.float32), np.empty(ROOM, np.float32)
    pixels = np.empty(ROOM, np.float32)
    sums, part = np.empty(SUMS * PITCH, np.float32), np.empty(PITCH, np.float32)
    bright = np.ones(count, np.float32)
    left, right = max(core[2] - corner[1], 0), min(core[3] - corner[1], count)
    totals = np.zeros((given.shape[0], count))
    for i in range(rows):
        row, column = corner[0] + i, corner[1]
        window, lines, samples = lit_row_windows(surface, i, lit[i], tables, windows, window)
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
def gather_shares(
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
        `sarheight_kernels.energies.invert`; 0 where there is no data, nothing was expected, or
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
        `sarheight_kernels.resample.sample_row`.
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
