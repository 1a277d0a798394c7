"""Windows: the energy of each cell in each of the pixels around it, for a row of cells at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.footprints import (
    CELL_FIELDS,
    FACET_FIELDS,
    HALF,
    ONE,
    PITCH,
    THINNEST,
    ZERO,
    Table,
    count_pieces,
    facet_row,
    place_cells,
)

if TYPE_CHECKING:
    from sarheight_kernels.surface import TileSurface

__all__ = ["WindowTables", "row_windows", "window_tables"]

WindowTables = tuple[int, Table, Table, Table]

STRIP_FIELDS = 3
"""Fields of a strip: its first sample, width, and energy per sample; for each quarter."""


@njit
def _within(place: np.float32, width: np.float32) -> np.float32:
    """How much of an interval from 0 to `width` lies before a place."""
    return min(max(place, ZERO), width)


@njit
def _cut_strips(
    facets: Table,
    quarter: int,
    offset: np.float32,
    cells: Table,
    k: int,
    count: int,
    strips: Table,
) -> None:
    """Cut a line of pixels out of a piece of one of the quarters of each cell."""
    line = np.float32(k)
    centre = facets[(4 + 2 * quarter) * PITCH :]
    for j in range(count):
        width = facets[j]
        drift = facets[PITCH + j]
        across = facets[2 * PITCH + j]
        low = cells[j] + centre[j] + offset * facets[12 * PITCH + j] - HALF * width
        begin, end = _within(line - low, width), _within(line + ONE - low, width)
        part = end - begin
        spread = drift * part
        wide = max(np.sqrt(across * across + spread * spread), THINNEST)
        middle = cells[PITCH + j] + centre[PITCH + j] + offset * facets[13 * PITCH + j]
        middle += drift * (HALF * (begin + end - width))
        strips[j] = middle - HALF * wide
        strips[PITCH + j] = wide
        strips[2 * PITCH + j] = facets[3 * PITCH + j] * part / wide


@njit
def _fill_pair(strips: Table, sample: int, count: int, window: Table) -> None:
    """Add the strips of four quarters to two pixels of a line."""
    first = np.float32(sample)
    for j in range(count):
        left, right = window[j], window[PITCH + j]
        for quarter in range(4):
            place = quarter * STRIP_FIELDS * PITCH + j
            from_first, wide = first - strips[place], strips[place + PITCH]
            before = _within(from_first, wide)
            between = _within(from_first + ONE, wide)
            behind = _within(from_first + ONE + ONE, wide)
            left += strips[place + 2 * PITCH] * (between - before)
            right += strips[place + 2 * PITCH] * (behind - between)
        window[j] = left
        window[PITCH + j] = right


@njit
def window_tables(surface: TileSurface) -> WindowTables:
    """Make room for the tables of the rows of a tile.

    Parameters
    ----------
    surface : TileSurface
        Posts and facets of the tile, from `tile_surface`.

    Returns
    -------
    pieces : int
        Into how many pieces the quarters of the tile are cut.
    facets, cells, strips : array
        Two rows of facets, a row of cells, strips of four quarters.
    """
    return (
        count_pieces(surface[0]),
        np.empty(2 * FACET_FIELDS * PITCH, np.float32),
        np.empty(CELL_FIELDS * PITCH, np.float32),
        np.empty(4 * STRIP_FIELDS * PITCH, np.float32),
    )


@njit
def _fill_windows(
    above: Table,
    below: Table,
    pieces: int,
    cells: Table,
    lines: int,
    samples: int,
    count: int,
    strips: Table,
    window: Table,
) -> None:
    """Fill the windows of a row of cells."""
    size = STRIP_FIELDS * PITCH
    window[: lines * samples * PITCH] = ZERO
    for piece in range(pieces):
        offset = np.float32((piece + 0.5) / pieces - 0.5)
        for k in range(lines):
            _cut_strips(above, 3, offset, cells, k, count, strips[:size])
            _cut_strips(above[1:], 2, offset, cells, k, count, strips[size : 2 * size])
            _cut_strips(below, 1, offset, cells, k, count, strips[2 * size : 3 * size])
            _cut_strips(below[1:], 0, offset, cells, k, count, strips[3 * size :])
            for m in range(0, samples, 2):
                _fill_pair(strips, m, count, window[(k * samples + m) * PITCH :])


@njit
def row_windows(
    surface: TileSurface,
    row: int,
    count: int,
    tables: WindowTables,
    windows: NDArray[np.int32],
    window: Table,
) -> tuple[Table, int, int]:
    """Share the energy of a row of cells among the pixels around them.

    The rows of a tile must be asked for one after the other, from the first.

    Parameters
    ----------
    surface : TileSurface
        Posts and facets of the tile, from `tile_surface`.
    row : int
        Row of cells in the tile.
    count : int
        Cells in the row.
    tables : tuple of array
        From `window_tables`.
    windows : array, shape (4 * PITCH,)
        Receives first line, first sample, lines and samples of each cell's window, see
        `place_cells`; no lines where the cell is dark.
    window : array
        Room for the windows.

    Returns
    -------
    window : array
        The windows, in a larger array where `window` was too small: the energy of cell j in line
        k and sample m of its window is element ``(k * samples + m) * PITCH + j``.
    lines, samples : int
        Lines and samples of the largest window, the samples rounded up to an even number. All
        windows are filled as far, with zeros beyond their own size.
    """
    line, across, energy, _ = surface
    pieces, facets, cells, strips = tables
    size = FACET_FIELDS * PITCH
    above, below = facets[:size], facets[size:]
    if row % 2:
        above, below = below, above
    if row == 0:
        facet_row(line[0], line[1], across[0], across[1], energy[0], pieces, above)
    facet_row(
        line[row + 1], line[row + 2], across[row + 1], across[row + 2],
        energy[row + 1], pieces, below,
    )  # fmt: skip
    place_cells(
        line[row + 1, 1 : count + 1],
        across[row + 1, 1 : count + 1],
        above,
        below,
        pieces,
        cells,
        windows,
    )
    lines, samples = 0, 0
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            lines = max(lines, windows[2 * PITCH + j])
            samples = max(samples, windows[3 * PITCH + j])
    samples += samples % 2
    if lines * samples * PITCH > window.size:
        window = np.empty(lines * samples * PITCH, np.float32)
    _fill_windows(above, below, pieces, cells, lines, samples, count, strips, window)
    return window, lines, samples
