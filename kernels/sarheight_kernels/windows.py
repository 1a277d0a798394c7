"""Windows: the energy of each cell in each of the pixels around it, for a row of cells at once.

All that is known of the row lies in one table, at places that are known beforehand, and loops run
over as many columns as a tile may have. So the compiler sees that no loop reads what it has
written, and works on many cells at a time without asking.
"""

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
from sarheight_kernels.geolocate import TILE

if TYPE_CHECKING:
    from sarheight_kernels.surface import TileSurface

__all__ = ["WindowTables", "row_windows", "window_tables"]

WindowTables = tuple[int, Table]
Pair = tuple[np.float32, np.float32]
Four = tuple[np.float32, np.float32, np.float32, np.float32]

GROUP = 4
"""So many pixels of a line are filled together."""
ABOVE = 0
"""Where the facets above the cells begin in the table of a row."""
BELOW = ABOVE + FACET_FIELDS * PITCH
"""Where the facets below them begin."""
CELLS = BELOW + FACET_FIELDS * PITCH
"""Where the cells begin."""
PLACES = CELLS + CELL_FIELDS * PITCH
"""Where it begins to be told where pieces of four quarters begin, in lines and samples."""
EDGE = PLACES + 8 * PITCH
"""Where the energy is kept that lies before the next group of pixels."""
SIZE = EDGE + PITCH
TWO, THREE, FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)


@njit
def _within(place: np.float32, width: np.float32) -> np.float32:
    """How much of an interval from 0 to `width` lies before a place."""
    return min(max(place, ZERO), width)


@njit
def _piece(table: Table, facet: int, quarter: int, offset: np.float32, cell: int) -> Pair:
    """Find where a piece of a quarter begins: its line, and its first line's sample."""
    width = table[facet]
    spread = table[facet + PITCH] * width
    line = table[cell] + table[facet + (4 + 2 * quarter) * PITCH]
    sample = table[cell + PITCH] + table[facet + (5 + 2 * quarter) * PITCH]
    line += offset * table[facet + 12 * PITCH]
    sample += offset * table[facet + 13 * PITCH]
    return line - HALF * width, sample - HALF * spread


@njit
def _place_pieces(table: Table, offset: np.float32) -> None:
    """Find where a piece of each quarter of each cell begins, by its offset from the middle."""
    for j in range(TILE):
        first = _piece(table, ABOVE + j, 3, offset, CELLS + j)
        second = _piece(table, ABOVE + 1 + j, 2, offset, CELLS + j)
        third = _piece(table, BELOW + j, 1, offset, CELLS + j)
        fourth = _piece(table, BELOW + 1 + j, 0, offset, CELLS + j)
        table[PLACES + j], table[PLACES + PITCH + j] = first
        table[PLACES + 2 * PITCH + j], table[PLACES + 3 * PITCH + j] = second
        table[PLACES + 4 * PITCH + j], table[PLACES + 5 * PITCH + j] = third
        table[PLACES + 6 * PITCH + j], table[PLACES + 7 * PITCH + j] = fourth


@njit
def _add_strip(
    sums: Four, table: Table, facet: int, place: int, line: np.float32, sample: np.float32
) -> Four:
    """Cut a strip out of a piece of a quarter; add what lies before the ends of four pixels."""
    width, drift, across = table[facet], table[facet + PITCH], table[facet + 2 * PITCH]
    low = line - table[place]
    begin, end = _within(low, width), _within(low + ONE, width)
    part = end - begin
    spread = drift * part
    wide = max(np.sqrt(across * across + spread * spread), THINNEST)
    reach = sample - table[place + PITCH] - HALF * (drift * (begin + end) - wide)
    density = table[facet + 3 * PITCH] * part / wide
    return (
        sums[0] + density * _within(reach + ONE, wide),
        sums[1] + density * _within(reach + TWO, wide),
        sums[2] + density * _within(reach + THREE, wide),
        sums[3] + density * _within(reach + FOUR, wide),
    )


@njit
def _add_group(table: Table, line: int, sample: int, slot: int, piece: int, window: Table) -> None:
    """Add what a line cuts out of a piece of four quarters to a group of pixels.

    The first piece sets what the others add to.
    """
    at_line, at_sample = np.float32(line), np.float32(sample)
    # Unsigned indices are not checked for counting from the end.
    first, pitch = np.uint64(slot), np.uint64(PITCH)
    for j in range(TILE):
        sums = (ZERO, ZERO, ZERO, ZERO)
        sums = _add_strip(sums, table, ABOVE + j, PLACES + j, at_line, at_sample)
        sums = _add_strip(sums, table, ABOVE + 1 + j, PLACES + 2 * PITCH + j, at_line, at_sample)
        sums = _add_strip(sums, table, BELOW + j, PLACES + 4 * PITCH + j, at_line, at_sample)
        sums = _add_strip(sums, table, BELOW + 1 + j, PLACES + 6 * PITCH + j, at_line, at_sample)
        before = table[EDGE + j] if sample > 0 else ZERO
        at = first + np.uint64(j)
        window[at] = sums[0] - before + (window[at] if piece else ZERO)
        at += pitch
        window[at] = sums[1] - sums[0] + (window[at] if piece else ZERO)
        at += pitch
        window[at] = sums[2] - sums[1] + (window[at] if piece else ZERO)
        at += pitch
        window[at] = sums[3] - sums[2] + (window[at] if piece else ZERO)
        table[EDGE + j] = sums[3]


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
    table : array
        Two rows of facets, a row of cells, places of pieces, and energies before a pixel.
    """
    return count_pieces(surface[0]), np.zeros(SIZE, np.float32)


@njit
def _fill_windows(table: Table, pieces: int, lines: int, samples: int, window: Table) -> None:
    """Fill the windows of a row of cells."""
    for piece in range(pieces):
        _place_pieces(table, np.float32((piece + 0.5) / pieces - 0.5))
        for k in range(lines):
            for m in range(0, samples, GROUP):
                # Beyond the end of a line a group adds zeros to the next, which comes later.
                _add_group(table, k, m, (k * samples + m) * PITCH, piece, window)


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
    pieces, table = tables
    above, below = table[ABOVE:BELOW], table[BELOW:CELLS]
    if row == 0:
        facet_row(line[0], line[1], across[0], across[1], energy[0], pieces, below)
    for index in range(BELOW - ABOVE):
        above[index] = below[index]
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
        table[CELLS:PLACES],
        windows,
    )
    lines, samples = 0, 0
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            lines = max(lines, windows[2 * PITCH + j])
            samples = max(samples, windows[3 * PITCH + j])
    samples += samples % 2
    room = (lines * samples + GROUP) * PITCH
    if room > window.size:
        window = np.empty(room, np.float32)
    _fill_windows(table, pieces, lines, samples, window)
    return window, lines, samples
