r"""Footprints: how a cell's radar cross-section (RCS) is distributed over radar pixels.

A cell is the part of the surface nearer to its post than to any other: four quarters, one in
each of the four facets around the post. In radar geometry a quarter is nearly a parallelogram
whose edges :math:`(l_u, s_u)` and :math:`(l_v, s_v)`, in lines and samples, are half those of its
facet. Its RCS is distributed over a sheared rectangle with the same centre, the same variance along
lines and along samples, and the same covariance:

.. math::

    w_l = \sqrt{l_u^2 + l_v^2}, \qquad
    c = \frac{l_u s_u + l_v s_v}{w_l^2}, \qquad
    w_s = \sqrt{s_u^2 + s_v^2 - c^2 w_l^2}.

It extends over :math:`w_l` lines; the samples that it covers, :math:`w_s` of them, shift by
:math:`c` from one line to the next. Each line of pixels cuts a strip of height a out of it, whose
RCS is distributed over the pixels of the line like that of a box of width
:math:`\sqrt{w_s^2 + c^2 a^2}`: by overlap. This is the limit of ever finer sub-facets, for a facet
that is flat in radar geometry and whose rows run along lines. Where they run obliquely, a
parallelogram does not end at a line as sharply as a box: it is cut into pieces along the edge that
spans fewer lines, so that none of them spans more than half a line with it.

The pixels that a cell may contribute to form its window. All windows of a row of cells are filled
at once, in tables of float32 with one row to a field or pixel and one column to a facet or cell.
Positions are small numbers, relative to the cell's own post or pixel, so that single precision
keeps them to a millionth of a pixel.

All fields of a row are in one table, at offsets that are compile-time constants, and loops run over
as many columns as a tile may have. So the compiler sees that no loop reads what it has written, and
vectorises it without a check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sarheight_kernels._numba import (
    F4,
    F8,
    FOUR,
    HALF,
    I4,
    ONE,
    QUARTER,
    SIXTEENTH,
    START,
    THREE,
    TWO,
    ZERO,
    integer,
    njit,
)
from sarheight_kernels.tiles import TILE

if TYPE_CHECKING:
    from sarheight_kernels.tiles import TileSurface

Table = F4
Singles = tuple[np.float32, np.float32, np.float32, np.float32]

PITCH = 80
"""Columns of a table: the posts along a tile, its two neighbours, and some to spare."""
FACET_FIELDS = 14
WIDTH, SHEAR, SAMPLE_WIDTH, DENSITY = 0, PITCH, 2 * PITCH, 3 * PITCH
"""Fields of a piece of a quarter, by facet: width w_l in lines, shear c in samples per line, width
w_s in samples, and RCS per line."""
CENTRES, CUT = 4 * PITCH, 12 * PITCH
"""Further fields: line and sample of the centre of each quarter from its post, quarters numbered
from upper left over upper right and lower left to lower right; and the edge along which quarters
are cut, in lines and samples."""
UPPER_LEFT, UPPER_RIGHT = integer(0), integer(2 * PITCH)
LOWER_LEFT, LOWER_RIGHT = integer(4 * PITCH), integer(6 * PITCH)
"""Offsets of the fields of the quarters among the centres."""
CELL_FIELDS = 5
"""Fields of a cell: lines and samples from the outer edge of its window to its post; three more are
intermediate values."""

THINNEST = np.float32(1e-3)
"""Smallest width in pixels, so that densities stay finite."""
SPARSE = 8
"""Step between the posts from which the number of pieces is chosen."""
MOST_PIECES = 8
FARTHEST = 1e9
"""Bound of lines and samples, so that windows fit 32 bits."""


@njit
def count_pieces(line: F8) -> int:
    """Choose into how many pieces the quarters of a tile are cut.

    The shorter edge of a piece spans half a line at most on average over the tile. `line`, shape
    (rows, columns), are the lines of the posts; NaN where void.
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
    upper_line: F8,
    lower_line: F8,
    upper_sample: F8,
    lower_sample: F8,
    rcs: F4,
    pieces: int,
    table: Table,
) -> None:
    """Describe the quarters of a row of facets, each cut into `pieces`.

    Lines and samples are those of the posts above and below, shape (facets + 1,); `rcs`, shape
    (facets,), is 0 where a facet faces away or is void. `table`, shape (FACET_FIELDS * PITCH,),
    receives the fields of the facets.
    """
    fraction = ONE / np.float32(pieces)
    for j in range(rcs.size):
        illuminated = rcs[j] > ZERO
        left_l = np.float32(lower_line[j] - upper_line[j]) if illuminated else ZERO
        right_l = np.float32(lower_line[j + 1] - upper_line[j + 1]) if illuminated else ZERO
        top_l = np.float32(upper_line[j + 1] - upper_line[j]) if illuminated else ZERO
        below_l = np.float32(lower_line[j + 1] - lower_line[j]) if illuminated else ZERO
        left_s = np.float32(lower_sample[j] - upper_sample[j]) if illuminated else ZERO
        right_s = np.float32(lower_sample[j + 1] - upper_sample[j + 1]) if illuminated else ZERO
        top_s = np.float32(upper_sample[j + 1] - upper_sample[j]) if illuminated else ZERO
        below_s = np.float32(lower_sample[j + 1] - lower_sample[j]) if illuminated else ZERO
        u_l, v_l = QUARTER * (left_l + right_l), QUARTER * (top_l + below_l)
        u_s, v_s = QUARTER * (left_s + right_s), QUARTER * (top_s + below_s)
        # Edges of a quarter. The one that spans fewer lines is cut into pieces.
        along = abs(u_l) >= abs(v_l)
        long_l, long_s = u_l if along else v_l, u_s if along else v_s
        short_l, short_s = v_l if along else u_l, v_s if along else u_s
        cut_l, cut_s = fraction * short_l, fraction * short_s
        # The rectangle with the variances and the covariance of a piece, a parallelogram.
        square = long_l * long_l + cut_l * cut_l
        covariance = long_l * long_s + cut_l * cut_s
        shear = covariance / max(square, THINNEST * THINNEST)
        width = max(np.sqrt(square), THINNEST)
        table[WIDTH + j] = width
        table[SHEAR + j] = shear
        variance = max(long_s * long_s + cut_s * cut_s - shear * covariance, ZERO)
        table[SAMPLE_WIDTH + j] = np.sqrt(variance)
        table[DENSITY + j] = QUARTER * fraction * rcs[j] / width
        # Centres of the quarters, at 1/4 and 3/4 of the bilinear surface, from their own posts.
        upper_l, upper_s = THREE * top_l + below_l, THREE * top_s + below_s
        lower_l, lower_s = THREE * below_l + top_l, THREE * below_s + top_s
        table[CENTRES + j] = SIXTEENTH * (FOUR * left_l + upper_l)
        table[CENTRES + PITCH + j] = SIXTEENTH * (FOUR * left_s + upper_s)
        table[CENTRES + 2 * PITCH + j] = SIXTEENTH * (FOUR * right_l - upper_l)
        table[CENTRES + 3 * PITCH + j] = SIXTEENTH * (FOUR * right_s - upper_s)
        table[CENTRES + 4 * PITCH + j] = SIXTEENTH * (lower_l - FOUR * left_l)
        table[CENTRES + 5 * PITCH + j] = SIXTEENTH * (lower_s - FOUR * left_s)
        table[CENTRES + 6 * PITCH + j] = -SIXTEENTH * (FOUR * right_l + lower_l)
        table[CENTRES + 7 * PITCH + j] = -SIXTEENTH * (FOUR * right_s + lower_s)
        table[CUT + j] = short_l
        table[CUT + PITCH + j] = short_s


@njit
def _extent(table: Table, facet: int, quarter: int, piece_spread: np.float32) -> Singles:
    """Find the least and greatest line and sample of a quarter, from its post."""
    line = table[CENTRES + quarter + facet]
    sample = table[CENTRES + PITCH + quarter + facet]
    width = table[WIDTH + facet]
    reach_l = HALF * (width + piece_spread * abs(table[CUT + facet])) + THINNEST
    reach_s = abs(table[SHEAR + facet]) * width + table[SAMPLE_WIDTH + facet]
    reach_s = HALF * (reach_s + piece_spread * abs(table[CUT + PITCH + facet])) + THINNEST
    return line - reach_l, line + reach_l, sample - reach_s, sample + reach_s


@njit
def _extents(above: Table, below: Table, count: int, pieces: int, cells: Table) -> None:
    """Find how far each cell of a row extends from its post, and whether it is illuminated."""
    piece_spread = ONE - ONE / np.float32(pieces)
    for j in range(count):
        low_l0, high_l0, low_s0, high_s0 = _extent(above, j, LOWER_RIGHT, piece_spread)
        low_l1, high_l1, low_s1, high_s1 = _extent(above, j + 1, LOWER_LEFT, piece_spread)
        low_l2, high_l2, low_s2, high_s2 = _extent(below, j, UPPER_RIGHT, piece_spread)
        low_l3, high_l3, low_s3, high_s3 = _extent(below, j + 1, UPPER_LEFT, piece_spread)
        cells[j] = min(low_l0, low_l1, low_l2, low_l3)
        cells[PITCH + j] = min(low_s0, low_s1, low_s2, low_s3)
        cells[2 * PITCH + j] = max(high_l0, high_l1, high_l2, high_l3)
        cells[3 * PITCH + j] = max(high_s0, high_s1, high_s2, high_s3)
        cells[4 * PITCH + j] = (
            above[DENSITY + j]
            + above[DENSITY + 1 + j]
            + below[DENSITY + j]
            + below[DENSITY + 1 + j]
        )


@njit
def cell_windows(
    line: F8, sample: F8, above: Table, below: Table, pieces: int, cells: Table, windows: I4
) -> None:
    """Find the window of pixels that each cell of a row may contribute to.

    `line` and `sample`, shape (n,), are those of the posts; `above` and `below` the fields of
    facets cut into `pieces`, from `facet_row`, of which j and j + 1 lie left and right of cell j.
    `cells`, shape (CELL_FIELDS * PITCH,), receives the fields of the cells; `windows`, shape (4 *
    PITCH,), first line, first sample, lines and samples of the windows, with no lines where a cell
    is not illuminated.
    """
    _extents(above, below, line.size, pieces, cells)
    for j in range(line.size):
        illuminated = cells[4 * PITCH + j] > ZERO
        at_line = min(max(line[j], -FARTHEST), FARTHEST) if illuminated else 0.0
        at_sample = min(max(sample[j], -FARTHEST), FARTHEST) if illuminated else 0.0
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
        windows[2 * PITCH + j] = np.int32(high_l - low_l + ONE) if illuminated else np.int32(0)
        windows[3 * PITCH + j] = np.int32(high_s - low_s + ONE)


# Windows: the RCS of each cell in each of the pixels around it, for a row of cells at once.

WindowTables = tuple[int, Table]
Origin = tuple[np.float32, np.float32]
FourPixels = tuple[np.float32, np.float32, np.float32, np.float32]

GROUP = 4
"""Pixels of a line that are filled together."""
ABOVE = 0
BELOW = ABOVE + FACET_FIELDS * PITCH
CELLS = BELOW + FACET_FIELDS * PITCH
ORIGINS = CELLS + CELL_FIELDS * PITCH
EDGE = ORIGINS + 8 * PITCH
"""Offsets in the table of a row: facets above and below the cells, cells, origins of pieces of four
quarters in lines and samples, and the RCS that lies before the next group of pixels."""
SIZE = EDGE + PITCH


@njit
def _overlap(end: np.float32, width: np.float32) -> np.float32:
    """Measure how much of an interval from 0 to `width` lies before `end`."""
    return min(max(end, ZERO), width)


@njit
def _piece_origin(table: Table, facet: int, quarter: int, offset: np.float32, cell: int) -> Origin:
    """Find the first line of a piece of a quarter, and the sample of its axis there."""
    width = table[WIDTH + facet]
    drift = table[SHEAR + facet] * width
    line = table[cell] + table[CENTRES + quarter + facet]
    sample = table[cell + PITCH] + table[CENTRES + PITCH + quarter + facet]
    line += offset * table[CUT + facet]
    sample += offset * table[CUT + PITCH + facet]
    return line - HALF * width, sample - HALF * drift


@njit
def _piece_origins(table: Table, offset: np.float32) -> None:
    """Find the origins of a piece of each quarter of each cell, by its offset from the middle."""
    for j in range(TILE):
        first = _piece_origin(table, ABOVE + j, LOWER_RIGHT, offset, CELLS + j)
        second = _piece_origin(table, ABOVE + 1 + j, LOWER_LEFT, offset, CELLS + j)
        third = _piece_origin(table, BELOW + j, UPPER_RIGHT, offset, CELLS + j)
        fourth = _piece_origin(table, BELOW + 1 + j, UPPER_LEFT, offset, CELLS + j)
        table[ORIGINS + j], table[ORIGINS + PITCH + j] = first
        table[ORIGINS + 2 * PITCH + j], table[ORIGINS + 3 * PITCH + j] = second
        table[ORIGINS + 4 * PITCH + j], table[ORIGINS + 5 * PITCH + j] = third
        table[ORIGINS + 6 * PITCH + j], table[ORIGINS + 7 * PITCH + j] = fourth


@njit
def _add_strip(
    sums: FourPixels, table: Table, facet: int, origin: int, line: np.float32, sample: np.float32
) -> FourPixels:
    """Cut the strip of a line out of a piece of a quarter; add its RCS before the ends of 4 pixels.

    The strip, of height a between begin and end, becomes a box of width sqrt(w_s^2 + c^2 a^2).
    """
    width, shear = table[WIDTH + facet], table[SHEAR + facet]
    sample_width = table[SAMPLE_WIDTH + facet]
    low = line - table[origin]
    begin, end = _overlap(low, width), _overlap(low + ONE, width)
    height = end - begin
    drift = shear * height
    wide = max(np.sqrt(sample_width * sample_width + drift * drift), THINNEST)
    reach = sample - table[origin + PITCH] - HALF * (shear * (begin + end) - wide)
    density = table[DENSITY + facet] * height / wide
    return (
        sums[0] + density * _overlap(reach + ONE, wide),
        sums[1] + density * _overlap(reach + TWO, wide),
        sums[2] + density * _overlap(reach + THREE, wide),
        sums[3] + density * _overlap(reach + FOUR, wide),
    )


@njit
def _add_group(table: Table, line: int, sample: int, slot: int, piece: int, window: Table) -> None:
    """Add what a line cuts out of a piece of four quarters to a group of pixels.

    The first piece overwrites, the others add.
    """
    at_line, at_sample = np.float32(line), np.float32(sample)
    # Unsigned indices are not checked for counting from the end.
    first, pitch = np.uint64(slot), np.uint64(PITCH)
    for j in range(TILE):
        sums = (ZERO, ZERO, ZERO, ZERO)
        sums = _add_strip(sums, table, ABOVE + j, ORIGINS + j, at_line, at_sample)
        sums = _add_strip(sums, table, ABOVE + 1 + j, ORIGINS + 2 * PITCH + j, at_line, at_sample)
        sums = _add_strip(sums, table, BELOW + j, ORIGINS + 4 * PITCH + j, at_line, at_sample)
        sums = _add_strip(sums, table, BELOW + 1 + j, ORIGINS + 6 * PITCH + j, at_line, at_sample)
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
    """Choose the number of pieces for a tile, and allocate the table of its rows."""
    return count_pieces(surface[0]), np.zeros(SIZE, np.float32)


@njit
def _fill_windows(table: Table, pieces: int, lines: int, samples: int, window: Table) -> None:
    """Fill the windows of a row of cells."""
    for piece in range(pieces):
        _piece_origins(table, np.float32((piece + 0.5) / pieces - 0.5))
        for k in range(lines):
            for m in range(0, samples, GROUP):
                # Beyond the end of a line a group adds zeros to the next, which comes later.
                _add_group(table, k, m, (k * samples + m) * PITCH, piece, window)


@njit
def row_footprints(
    surface: TileSurface, row: int, count: int, tables: WindowTables, windows: I4, window: Table
) -> tuple[Table, int, int]:
    """Distribute the RCS of a row of cells over the pixels around them.

    The rows of a tile must be done one after the other, from the first. `surface` is from
    `tile_surface`, `tables` from `footprint_tables`; `windows`, shape (4 * PITCH,), receives the
    windows, see `cell_windows`, and `window` is a workspace for the RCS in them.

    Returns
    -------
    window : array
        The RCS in the windows, in a larger array where `window` was too small: that of cell j in
        line k and sample m of its window is element ``(k * samples + m) * PITCH + j``.
    lines, samples : int
        Lines and samples of the largest window, the samples rounded up to an even number. All
        windows are filled as far, with zeros beyond their own size.
    """
    line, sample, rcs, _ = surface
    pieces, table = tables
    above, below = table[ABOVE:BELOW], table[BELOW:CELLS]
    if row == 0:
        facet_row(line[0], line[1], sample[0], sample[1], rcs[0], pieces, below)
    for index in range(BELOW - ABOVE):
        above[index] = below[index]
    facet_row(
        line[row + 1], line[row + 2], sample[row + 1], sample[row + 2],
        rcs[row + 1], pieces, below,
    )  # fmt: skip
    cell_windows(
        line[row + 1, 1 : count + 1],
        sample[row + 1, 1 : count + 1],
        above,
        below,
        pieces,
        table[CELLS:ORIGINS],
        windows,
    )
    lines = samples = START
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            lines = max(lines, windows[2 * PITCH + j])
            samples = max(samples, windows[3 * PITCH + j])
    samples += samples % 2
    needed = (lines * samples + GROUP) * PITCH
    if needed > window.size:
        window = np.empty(needed, np.float32)
    _fill_windows(table, pieces, lines, samples, window)
    return window, lines, samples
