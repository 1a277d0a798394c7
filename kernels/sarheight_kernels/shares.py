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
from sarheight_kernels.footprints import PITCH
from sarheight_kernels.surface import TileSurface, meets_image, tile_box, tile_surface
from sarheight_kernels.windows import row_windows, window_tables

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather_shares", "invert"]

ROOM = 48 * PITCH
"""Room for the windows of a row, to begin with."""
ZERO, ONE, QUARTER = np.float32(0.0), np.float32(1.0), np.float32(0.25)
PITCH_STEP = np.uint64(PITCH)


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
def _sum_cell(
    window: NDArray[np.float32],
    place: int,
    pitch: int,
    box: tuple[int, int, int, int],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    sums: NDArray[np.float32],
) -> tuple[np.float32, np.float32, np.float32]:
    """Sum over the pixels of a cell's window: expected, square and squared weights.

    `sums` receives what is found, by polarisation.
    """
    line, sample, lines, samples = box
    top, bottom = max(-line, 0), min(inverse.shape[0] - line, lines)
    left, right = max(-sample, 0), min(inverse.shape[1] - sample, samples)
    wide, size = np.uint64(inverse.shape[1]), np.uint64(inverse.size)
    flat, values = inverse.reshape(inverse.size), found.reshape(found.size)
    sums[:] = ZERO
    expected, square, squared = ZERO, ZERO, ZERO
    for k in range(top, bottom):
        # Unsigned indices are not checked for counting from the end.
        at = np.uint64(place + (k * pitch + left) * PITCH)
        pixel = np.uint64(line + k) * wide + np.uint64(sample + left)
        for _ in range(left, right):
            inverted = flat[pixel]
            if inverted > ZERO:
                weight = window[at]
                part = weight * inverted
                expected += weight
                square += weight * part
                squared += weight * weight
                there = pixel
                for p in range(sums.size):
                    sums[p] += part * values[there]
                    there += size
            at += PITCH_STEP
            pixel += np.uint64(1)
    return expected, square, squared


@njit
def _whole(
    window: NDArray[np.float32], place: int, pitch: int, lines: int, samples: int
) -> np.float32:
    """Sum up the energy of a cell, within the image and beyond."""
    total = ZERO
    for k in range(lines):
        for m in range(samples):
            total += window[place + (k * pitch + m) * PITCH]
    return total


@njit
def _lit_area(
    power: NDArray[np.float32], projected: NDArray[np.float32], i: int, j: int
) -> np.float32:
    """Projected area of the lit quarters of a cell in square metres."""
    area = ZERO
    for quarter in range(4):
        a, b = i + quarter // 2, j + quarter % 2
        area += projected[a, b] if power[a, b] > ZERO else ZERO
    return QUARTER * area


@njit
def _share_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    assumed: NDArray[np.float32],
    energy: NDArray[np.float32],
    found: NDArray[np.float32],
    inverse: NDArray[np.float32],
    core: tuple[int, int, int, int],
    given: NDArray[np.float32],
    diagnostics: NDArray[np.float32],
    total: NDArray[np.float64],
) -> None:
    """Do the work of `gather_shares` for one tile; `core` counts from the tile's first cell."""
    _, _, power, projected = surface
    rows, columns = lit.shape
    tables, window = window_tables(surface), np.empty(ROOM, np.float32)
    windows = np.empty(4 * PITCH, np.int32)
    sums = np.empty(given.shape[0], np.float32)
    for i in range(rows):
        window, _, pitch = row_windows(surface, i, columns, tables, windows, window)
        for j in range(columns):
            high = int(windows[2 * PITCH + j]) if lit[i, j] else 0
            wide = int(windows[3 * PITCH + j])
            box = (int(windows[j]), int(windows[PITCH + j]), high, wide)
            expected, square, squared = _sum_cell(window, j, pitch, box, found, inverse, sums)
            bright = assumed[i, j] if assumed.size > 0 else ONE
            for p in range(sums.size):
                given[p, i, j] = bright * sums[p]
            if core[0] <= i < core[1] and core[2] <= j < core[3]:
                if energy.size > 0:
                    _sum_cell(window, j, pitch, box, energy, inverse, sums)
                for p in range(sums.size):
                    total[p] += bright * sums[p]
            if diagnostics.shape[0] > 0:
                diagnostics[0, i, j] = expected
                # Only part of a cell may lie where data are.
                diagnostics[1, i, j] = ZERO
                if expected > ZERO:
                    part = expected / _whole(window, j, pitch, high, wide)
                    diagnostics[1, i, j] = part * _lit_area(power, projected, i, j)
                diagnostics[2, i, j] = bright * square / expected
                diagnostics[3, i, j] = squared / (expected * expected)


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
            own = assumed[row:end_row, column:end_column] if assumed.size > 0 else assumed
            _share_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                own,
                energy,
                found,
                inverse,
                (core[0] - row, core[1] - row, core[2] - column, core[3] - column),
                given[:, row:end_row, column:end_column],
                diagnostics[:, row:end_row, column:end_column],
                totals[tile],
            )
        else:
            given[:, row:end_row, column:end_column] = 0.0
            diagnostics[:2, row:end_row, column:end_column] = 0.0
            diagnostics[2:, row:end_row, column:end_column] = np.nan
