"""Pixels of an image in the windows of a row of cells.

An image holds the pixels of a line side by side, a table of windows the cells of a row: one row to
a pixel and one column to a cell. Once the pixels of an image are copied into such a table, whatever
is summed over them is arithmetic on rows, and neither the image's border nor a cell in shadow is a
special case: both are pixels of value 0.

Nothing checks indices here. The caller ensures that windows lie within the image, and that tables
are padded to whole groups of `GROUP` pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sarheight_kernels._numba import B1, F4, F8, I4, I8, START, ZERO, njit
from sarheight_kernels.footprints import PITCH, Table, row_footprints

if TYPE_CHECKING:
    from sarheight_kernels.footprints import WindowTables
    from sarheight_kernels.tiles import TileSurface

Pixels = TypeVar("Pixels", F4, F8)
Numbers = F4 | F8
"""Pixels, or pairs of them in the bits of one number: copied together in half the time."""
CACHE_LINE = 64
"""Bytes of a cache line."""
INITIAL_SIZE = 48 * PITCH
"""Size of the table of a row's windows, to begin with."""
GROUP = 4
"""Pixels of all cells that are summed together. Tables are padded to whole groups: beyond their
last pixel, weights are 0."""


@njit
def all_within(
    windows: I4, count: int, lines: int, samples: int, first: int, end: int, wide: int
) -> bool:
    """Tell whether the windows of all cells of a row lie within lines of an image.

    `windows` are from `footprints.row_footprints`; cells without lines do not count. All have the
    size `lines` x `samples`; the image reaches from line `first` to `end`, and has `wide` samples.
    """
    # All are tested, side by side, as a loop that ends early is not vectorised.
    beyond = np.int32(0)
    top, bottom, right = np.int32(first), np.int32(end - lines), np.int32(wide - samples)
    for j in range(count):
        line, sample = windows[j], windows[PITCH + j]
        inside = (line >= top) & (line <= bottom) & (sample >= 0) & (sample <= right)
        beyond += np.int32((windows[2 * PITCH + j] > 0) & (not inside))
    return beyond == 0 and end - first >= lines and wide >= samples


@njit
def illuminated_row_footprints(
    surface: TileSurface,
    row: int,
    illuminated: B1,
    tables: WindowTables,
    windows: I4,
    window: Table,
) -> tuple[Table, int, int]:
    """Distribute the RCS of a row of cells, and mark those that are not illuminated by no lines.

    `illuminated` has shape (n,); see `sarheight_kernels.footprints.row_footprints` for the rest.
    """
    window, lines, samples = row_footprints(surface, row, illuminated.size, tables, windows, window)
    for j in range(illuminated.size):
        windows[2 * PITCH + j] *= illuminated[j]
    return window, lines, samples


@njit
def window_starts(windows: I4, count: int, first: int, wide: int) -> I8:
    """Find the index of the first pixel of each window that lies within lines of an image.

    The image has `wide` pixels in a line; indices count from line `first`. They are 0 for cells
    that are not illuminated and for those beyond the row: shape (PITCH,).
    """
    start = np.zeros(PITCH, np.int64)
    for j in range(count):
        index = (np.int64(windows[j]) - first) * wide + np.int64(windows[PITCH + j])
        start[j] = index if windows[2 * PITCH + j] > 0 else 0
    return start


@njit
def _copy_inside(
    flat: Numbers, wide: int, start: I8, count: int, lines: int, samples: int, pixels: Numbers
) -> None:
    """Copy pixels of windows that lie within an image, two neighbours at a time."""
    # Unsigned indices are not checked for counting from the end.
    beside, below = np.uint64(1), np.uint64(PITCH)
    for k in range(lines):
        for m in range(0, samples, 2):
            first = np.uint64(k * wide + m)
            to = np.uint64((k * samples + m) * PITCH)
            for j in range(count):
                at, column = np.uint64(start[j]) + first, to + np.uint64(j)
                left, right = flat[at], flat[at + beside]
                pixels[column] = left
                pixels[column + below] = right


@njit
def _copy_at_border(
    image: Numbers, windows: I4, count: int, lines: int, samples: int, pixels: Numbers
) -> None:
    """Copy pixels of windows of which some reach beyond the image."""
    pixels[: lines * samples * PITCH] = ZERO
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            line, sample = windows[j], windows[PITCH + j]
            left, right = max(-sample, 0), min(image.shape[1] - sample, samples)
            for k in range(max(-line, 0), min(image.shape[0] - line, lines)):
                for m in range(left, right):
                    pixels[(k * samples + m) * PITCH + j] = image[line + k, sample + m]


@njit
def fetch(
    image: Pixels, windows: I4, count: int, lines: int, samples: int, pixels: Pixels
) -> Pixels:
    """Copy the pixels of an image under the windows of a row of cells.

    Parameters
    ----------
    image : array, shape (lines, samples)
        The image; or two images, as one of pairs in the bits of a double each.
    windows, count, lines, samples
        As in `all_within`, with an even number of samples.
    pixels : array
        Workspace for the pixels.

    Returns
    -------
    array
        The pixels, in a larger array where `pixels` was too small: pixel (k, m) of cell j is
        element ``(k * samples + m) * PITCH + j``. It is 0 beyond the image, and any number where
        the cell is not illuminated.
    """
    size = (lines * samples + GROUP - 1) // GROUP * GROUP * PITCH
    if size > pixels.size:
        pixels = np.empty(size, pixels.dtype)
    high, wide = image.shape
    if all_within(windows, count, lines, samples, START, high, wide):
        start = window_starts(windows, count, START, wide)
        _copy_inside(image.reshape(image.size), wide, start, count, lines, samples, pixels)
    else:
        _copy_at_border(image, windows, count, lines, samples, pixels)
    return pixels


@njit
def sum_pixels(weights: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum weights times pixels for the `count` cells of a row: the inner product of their windows.

    `weights` are those of the cells in the `slots` pixels of their windows, such as their RCS
    there; `pixels` are from `fetch`. Where a weight is zero they do not count, be they numbers or
    not. `sums`, shape (count,), receives the sums.
    """
    sums[:count] = ZERO
    for slot in range(0, slots, GROUP):
        parts, values = weights[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(count):
            total = ZERO
            for row in range(GROUP):
                weight = parts[row * PITCH + j]
                total += weight * values[row * PITCH + j] if weight > ZERO else ZERO
            sums[j] += total


@njit
def sum_pairs(weights: Table, pairs: Table, slots: int, count: int, sums: Table) -> None:
    """Sum weights times both numbers of pairs of pixels, for all cells of a row.

    `pairs` are from `fetch`, as numbers in single precision. `sums`, shape (2 * PITCH,), receives
    the sums of the first numbers and, from `PITCH` on, of the second; see `sum_pixels`.
    """
    sums[: 2 * PITCH] = ZERO
    for slot in range(0, slots, GROUP):
        parts, values = weights[slot * PITCH :], pairs[2 * slot * PITCH :]
        for j in range(count):
            first, second = ZERO, ZERO
            for row in range(GROUP):
                weight = parts[row * PITCH + j]
                # Both are read in any case: then neighbours are read together and sorted.
                left, right = values[2 * (row * PITCH + j)], values[2 * (row * PITCH + j) + 1]
                first += weight * left if weight > ZERO else ZERO
                second += weight * right if weight > ZERO else ZERO
            sums[j] += first
            sums[PITCH + j] += second


@njit
def touch(image: Numbers, bound: F8) -> float:
    """Read one number of each cache line in the part of an image that a tile contributes to.

    The tile's cells then find their pixels in the cache of the second level (200 kB or so). Row
    after row of cells each first visit to a line of pixels waits for memory; here all reads are
    independent and wait side by side, which saves an eighth of the time of `allocate_rcs`. `image`,
    shape (lines, samples), is not empty; `bound` is from `tile_bounds`. Returns a sum of no
    meaning, so that no compiler drops the reads.
    """
    high, wide = image.shape
    flat, step, total = image.reshape(image.size), CACHE_LINE // image.itemsize, 0.0
    left = int(min(max(bound[2], 0.0), wide - 1.0))
    right = int(min(max(bound[3] + 1.0, 0.0), wide - 1.0))
    first = int(min(max(bound[0], 0.0), high - 1.0))
    for line in range(first, int(min(max(bound[1] + 1.0, 0.0), high - 1.0)) + 1):
        begin = line * wide
        for at in range(begin + left, begin + right + 1, step):
            total += flat[np.uint64(at)]
    return total
