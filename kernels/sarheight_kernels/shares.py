r"""What each cell is given of the pixels that it lights.

With the energy :math:`W_{pg}` that cell g sends into pixel p where it has reflectivity 1, the
assumed reflectivity :math:`x_g`, the energy :math:`E_p` that was found in the pixel and the energy
:math:`S_p = \sum_g W_{pg} x_g` that was expected there, the cell is given
:math:`\sum_p W_{pg} x_g E_p / S_p`. Nothing but the images and the sums is held in memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.fetch import GROUP, ROOM, fetch, lit_row_windows
from sarheight_kernels.footprints import ONE, PITCH, ZERO, Table
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

__all__ = ["gather_shares", "invert"]

SUMS = 4
"""Sums over the pixels of a cell."""
NONE = np.float32(np.nan)


@parallel_njit
def invert(energy: NDArray[np.float32], simulated: NDArray[np.float32]) -> None:
    """Invert the energies that are expected of pixels, in place.

    Parameters
    ----------
    energy : array, shape (lines, samples)
        Energy of the pixels; NaN where there is no data.
    simulated : array, shape (lines, samples)
        Energy that is expected; becomes its inverse, 0 where nothing is expected or no data are.
    """
    for line in prange(energy.shape[0]):
        for sample in range(energy.shape[1]):
            expected = simulated[line, sample]
            known = expected > ZERO and not math.isnan(energy[line, sample])
            simulated[line, sample] = ONE / expected if known else ZERO


@njit
def _tally(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum up weights: of all pixels, of those with data, times their shares, and squared.

    `pixels` holds the inverses of what was expected; they become the shares of the cells.
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
    bright: Table, part: Table, windows: NDArray[np.int32], given: NDArray[np.float32]
) -> None:
    """Write down what the cells of a row are given."""
    for j in range(given.size):
        given[j] = bright[j] * part[j] if windows[2 * PITCH + j] > 0 else ZERO


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
def _share_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    corner: tuple[int, int],
    assumed: NDArray[np.float32],
    energy: NDArray[np.float32],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
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
            _put(bright, part, windows, given[p, row, column : column + count])
            if energy.size > 0:
                pixels = fetch(energy[p], windows, count, lines, samples, pixels)
                _give(shares, pixels, slots, count, part)
            if core[0] <= row < core[1]:
                _account(bright, part, windows, left, right, totals[p])
        if diagnostics.shape[0] > 0:
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
    energy: NDArray[np.float32],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
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
    energy : array, shape (polarisations, lines, samples) or (0, 0, 0)
        Energy of the pixels in square metres, where it is not `found`.
    found : array, shape (polarisations, lines, samples)
        What is given away: the energy of the pixels, or smoothed in a way.
    inverse : array, shape (lines, samples)
        Inverse of the energy that was expected of the pixels, from `invert`; 0 where there is no
        data, nothing was expected, or anything else is not to count.
    core : tuple of int
        First row, end row, first column and end column of the cells that count in `totals`.
    given : array, shape (polarisations, rows, columns)
        Receives the energy that each cell is given in square metres.
    diagnostics : array, shape (4, rows, columns) or (0, rows, columns)
        Receives for each cell, where asked for, the energy expected of it in pixels that have
        data, in square metres; its lit area there, projected along the line of sight, in square
        metres; its mean share in the energy of its pixels, weighted by its own; and the variance
        that speckle of one look leaves in its energy, as a fraction of its square. The last two
        are NaN where nothing is expected.
    totals : array, shape (tiles, polarisations)
        Receives for each tile the part of `energy` that its cells account for; summed over all
        cells it is the energy of all lit pixels with data, as the shares in a pixel sum to 1.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        totals[tile] = 0.0
        if meets_image(bounds[tile], inverse.shape[0], inverse.shape[1]) and (
            lit[row:end_row, column:end_column].any()
        ):
            _share_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                (row, column),
                assumed,
                energy,
                found,
                inverse,
                core,
                given,
                diagnostics,
                totals[tile],
            )
        else:
            given[:, row:end_row, column:end_column] = 0.0
            diagnostics[:2, row:end_row, column:end_column] = 0.0
            diagnostics[2:, row:end_row, column:end_column] = np.nan
