r"""Footprints: how a cell's energy is shared among radar pixels.

A cell is the part of the surface nearer to its post than to any other: four quarters, one in
each of the four facets around the post. In radar geometry a quarter is nearly a parallelogram
whose edges :math:`(l_u, s_u)` and :math:`(l_v, s_v)`, in lines and samples, are half those of its
facet. Its energy is spread over a sheared rectangle with the same centre, the same variance along
lines and along samples, and the same covariance:

.. math::

    w_l = \sqrt{l_u^2 + l_v^2}, \qquad
    c = \frac{l_u s_u + l_v s_v}{w_l^2}, \qquad
    w_s = \sqrt{s_u^2 + s_v^2 - c^2 w_l^2}.

It reaches over :math:`w_l` lines; the samples that it covers, :math:`w_s` of them, move by
:math:`c` from one line to the next. Each line of pixels cuts a strip of height a out of it, whose
energy is shared among the pixels of the line as by a box of width
:math:`\sqrt{w_s^2 + c^2 a^2}`: by overlap. No point is sampled: it is what ever finer sub-facets
lead to, for a facet that is flat in radar geometry and whose rows run along lines. Where they
run askew, the energy of a parallelogram does not end at a line as sharply as that of a box: it is
cut into pieces along the edge that spans fewer lines, so that none of them spans more than half a
pixel with it.

Everything is held in tables of float32 with one row to a field and one column to a facet or cell,
so that all the cells along a row of a tile are worked on side by side. Places are small numbers,
counted from the cell's own post or pixel, so that single precision keeps them to a millionth of
a pixel.

All that is known of the row lies in one table, at places that are known beforehand, and loops run
over as many columns as a tile may have. So the compiler sees that no loop reads what it has
written, and works on many cells at a time without asking.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.tiles import TILE

if TYPE_CHECKING:
    from sarheight_kernels.tiles import TileSurface

Table = NDArray[np.float32]
Singles = tuple[np.float32, np.float32, np.float32, np.float32]

PITCH = 80
"""Columns of a table: the posts along a tile and its two neighbours, and room to spare."""
FACET_FIELDS = 14
"""Fields of a facet: width in lines, drift of samples per line, width in samples and energy per
line of a piece of a quarter; then, quarter after quarter, how far its centre lies from its post in
lines and samples; then the edge along which quarters are cut, in lines and samples. Quarters are
numbered from upper left over upper right and lower left to lower right."""
CELL_FIELDS = 5
"""Fields of a cell: lines and samples from the outer edge of its window to its post; the others
serve to find them."""

ZERO, HALF, ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
QUARTER, SIXTEENTH = np.float32(0.25), np.float32(0.0625)
THREE, FOUR = np.float32(3.0), np.float32(4.0)
THINNEST = np.float32(1e-3)
"""Smallest width in pixels, so that shares stay finite."""
SPARSE = 8
"""Every so many posts are looked at to choose the number of pieces."""
MOST_PIECES = 8
FARTHEST = 1e9
"""Lines and samples beyond which nothing is told apart."""


@njit
def count_pieces(line: NDArray[np.float64]) -> int:
    """Choose into how many pieces the quarters of a tile are cut.

    Parameters
    ----------
    line : array, shape (rows, columns)
        Lines of the posts; NaN where void.

    Returns
    -------
    int
        Pieces, such that the shorter edge of each spans half a line at most on average.
    """
    total, count = 0.0, 0
    for i in range(0, line.shape[0] - 1, SPARSE):
        for j in range(0, line.shape[1] - 1, SPARSE):
            down, right = line[i + 1, j] - line[i, j], line[i, j + 1] - line[i, j]
            if not np.isnan(down + right):
                total += min(abs(down), abs(right))
                count += 1
    # A quarter's edges are half of the facet's.
    return min(int(np.ceil(max(total, 1e-9) / max(count, 1))), MOST_PIECES)


@njit
def facet_row(
    upper_line: NDArray[np.float64],
    lower_line: NDArray[np.float64],
    upper_across: NDArray[np.float64],
    lower_across: NDArray[np.float64],
    energy: NDArray[np.float32],
    pieces: int,
    table: Table,
) -> None:
    """Describe the quarters of a row of facets.

    Parameters
    ----------
    upper_line, lower_line, upper_across, lower_across : array, shape (facets + 1,)
        Lines and samples of the posts above and below.
    energy : array, shape (facets,)
        Radar cross-section of each facet; 0 where it is dark or void.
    pieces : int
        Into how many pieces a quarter is cut.
    table : array, shape (FACET_FIELDS * PITCH,)
        Receives the fields of the facets.
    """
    part = ONE / np.float32(pieces)
    for j in range(energy.size):
        lit = energy[j] > ZERO
        left_l = np.float32(lower_line[j] - upper_line[j]) if lit else ZERO
        right_l = np.float32(lower_line[j + 1] - upper_line[j + 1]) if lit else ZERO
        top_l = np.float32(upper_line[j + 1] - upper_line[j]) if lit else ZERO
        below_l = np.float32(lower_line[j + 1] - lower_line[j]) if lit else ZERO
        left_s = np.float32(lower_across[j] - upper_across[j]) if lit else ZERO
        right_s = np.float32(lower_across[j + 1] - upper_across[j + 1]) if lit else ZERO
        top_s = np.float32(upper_across[j + 1] - upper_across[j]) if lit else ZERO
        below_s = np.float32(lower_across[j + 1] - lower_across[j]) if lit else ZERO
        u_l, v_l = QUARTER * (left_l + right_l), QUARTER * (top_l + below_l)
        u_s, v_s = QUARTER * (left_s + right_s), QUARTER * (top_s + below_s)
        along = abs(u_l) >= abs(v_l)
        long_l, long_s = u_l if along else v_l, u_s if along else v_s
        short_l, short_s = v_l if along else u_l, v_s if along else u_s
        cut_l, cut_s = part * short_l, part * short_s
        square = long_l * long_l + cut_l * cut_l
        covariance = long_l * long_s + cut_l * cut_s
        drift = covariance / max(square, THINNEST * THINNEST)
        width = max(np.sqrt(square), THINNEST)
        table[j] = width
        table[PITCH + j] = drift
        across = max(long_s * long_s + cut_s * cut_s - drift * covariance, ZERO)
        table[2 * PITCH + j] = np.sqrt(across)
        table[3 * PITCH + j] = QUARTER * part * energy[j] / width
        # Centres of quarters of the bilinear surface.
        upper_l, upper_s = THREE * top_l + below_l, THREE * top_s + below_s
        lower_l, lower_s = THREE * below_l + top_l, THREE * below_s + top_s
        table[4 * PITCH + j] = SIXTEENTH * (FOUR * left_l + upper_l)
        table[5 * PITCH + j] = SIXTEENTH * (FOUR * left_s + upper_s)
        table[6 * PITCH + j] = SIXTEENTH * (FOUR * right_l - upper_l)
        table[7 * PITCH + j] = SIXTEENTH * (FOUR * right_s - upper_s)
        table[8 * PITCH + j] = SIXTEENTH * (lower_l - FOUR * left_l)
        table[9 * PITCH + j] = SIXTEENTH * (lower_s - FOUR * left_s)
        table[10 * PITCH + j] = -SIXTEENTH * (FOUR * right_l + lower_l)
        table[11 * PITCH + j] = -SIXTEENTH * (FOUR * right_s + lower_s)
        table[12 * PITCH + j] = short_l
        table[13 * PITCH + j] = short_s


@njit
def _extent(table: Table, place: int, quarter: int, spread: np.float32) -> Singles:
    """Least and greatest line and sample of a quarter, from its post."""
    line = table[place + (4 + 2 * quarter) * PITCH]
    across = table[place + (5 + 2 * quarter) * PITCH]
    reach_l = HALF * (table[place] + spread * abs(table[place + 12 * PITCH])) + THINNEST
    reach_s = abs(table[place + PITCH]) * table[place] + table[place + 2 * PITCH]
    reach_s = HALF * (reach_s + spread * abs(table[place + 13 * PITCH])) + THINNEST
    return line - reach_l, line + reach_l, across - reach_s, across + reach_s


@njit
def _extents(above: Table, below: Table, count: int, pieces: int, cells: Table) -> None:
    """Find how far each cell of a row reaches from its post, and whether it is lit."""
    spread = ONE - ONE / np.float32(pieces)
    for j in range(count):
        low_l0, high_l0, low_s0, high_s0 = _extent(above, j, 3, spread)
        low_l1, high_l1, low_s1, high_s1 = _extent(above, j + 1, 2, spread)
        low_l2, high_l2, low_s2, high_s2 = _extent(below, j, 1, spread)
        low_l3, high_l3, low_s3, high_s3 = _extent(below, j + 1, 0, spread)
        cells[j] = min(low_l0, low_l1, low_l2, low_l3)
        cells[PITCH + j] = min(low_s0, low_s1, low_s2, low_s3)
        cells[2 * PITCH + j] = max(high_l0, high_l1, high_l2, high_l3)
        cells[3 * PITCH + j] = max(high_s0, high_s1, high_s2, high_s3)
        cells[4 * PITCH + j] = (
            above[3 * PITCH + j]
            + above[3 * PITCH + 1 + j]
            + below[3 * PITCH + j]
            + below[3 * PITCH + 1 + j]
        )


@njit
def place_cells(
    line: NDArray[np.float64],
    across: NDArray[np.float64],
    above: Table,
    below: Table,
    pieces: int,
    cells: Table,
    windows: NDArray[np.int32],
) -> None:
    """Find the window of pixels that each cell of a row may light.

    Parameters
    ----------
    line, across : array, shape (n,)
        Lines and samples of the posts.
    above, below : array, shape (FACET_FIELDS * PITCH,)
        Fields of the facets above and below the cells, from `facet_row`. Facets j and j + 1 lie
        left and right of cell j.
    pieces : int
        As there.
    cells : array, shape (CELL_FIELDS * PITCH,)
        Receives the fields of the cells.
    windows : array, shape (4 * PITCH,)
        Receives first line, first sample, lines and samples of the windows, each in `PITCH`
        columns; no lines where the cell is dark.
    """
    _extents(above, below, line.size, pieces, cells)
    for j in range(line.size):
        lit = cells[4 * PITCH + j] > ZERO
        at_line = min(max(line[j], -FARTHEST), FARTHEST) if lit else 0.0
        at_sample = min(max(across[j], -FARTHEST), FARTHEST) if lit else 0.0
        whole_l, whole_s = np.floor(at_line), np.floor(at_sample)
        # Pixels reach half a pixel to either side of their centre.
        edge_l = np.float32(at_line - whole_l) + HALF
        edge_s = np.float32(at_sample - whole_s) + HALF
        low_l, high_l = np.floor(edge_l + cells[j]), np.floor(edge_l + cells[2 * PITCH + j])
        low_s, high_s = np.floor(edge_s + cells[PITCH + j]), np.floor(edge_s + cells[3 * PITCH + j])
        cells[j] = edge_l - low_l
        cells[PITCH + j] = edge_s - low_s
        windows[j] = np.int32(whole_l) + np.int32(low_l)
        windows[PITCH + j] = np.int32(whole_s) + np.int32(low_s)
        windows[2 * PITCH + j] = np.int32(high_l - low_l + ONE) if lit else np.int32(0)
        windows[3 * PITCH + j] = np.int32(high_s - low_s + ONE)


# Windows: the energy of each cell in each of the pixels around it, for a row of cells at once.

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
TWO, THREE_WINDOWS, FOUR_WINDOWS = np.float32(2.0), np.float32(3.0), np.float32(4.0)


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
        sums[2] + density * _within(reach + THREE_WINDOWS, wide),
        sums[3] + density * _within(reach + FOUR_WINDOWS, wide),
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
def footprint_tables(surface: TileSurface) -> WindowTables:
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
def row_footprints(
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
        From `footprint_tables`.
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
