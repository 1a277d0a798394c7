"""Pixels of an image in the windows of a row of cells.

An image holds the pixels of a line side by side, a table of windows the cells of a row: one row to
a pixel and one column to a cell. Once the pixels of an image are copied into such a table, whatever
is summed over them is arithmetic on rows, and neither the image's border nor a cell in shadow is a
special case: both are pixels of value 0.

Nothing checks indices here. The caller ensures that windows lie within the image, and that tables
are padded to whole groups of `GROUP` pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import ZERO, njit
from sarheight_kernels.footprints import PITCH, Table, row_footprints

if TYPE_CHECKING:
    from sarheight_kernels.footprints import WindowTables
    from sarheight_kernels.tiles import TileSurface

Numbers = NDArray[np.float32] | NDArray[np.float64]
"""Pixels, or pairs of them in the bits of one number."""
CACHE_LINE = 16
"""Numbers in single precision in a cache line of 64 bytes."""
INITIAL_SIZE = 48 * PITCH
"""Size of the table of a row's windows, to begin with."""
GROUP = 4
"""Pixels of all cells that are summed together. Tables are padded to whole groups: beyond their
last pixel, weights are 0."""


@njit
def all_within(
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    first: int,
    end: int,
    wide: int,
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
    illuminated: NDArray[np.bool_],
    tables: WindowTables,
    windows: NDArray[np.int32],
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
def window_starts(
    windows: NDArray[np.int32], count: int, first: int, wide: int, step: int
) -> NDArray[np.int64]:
    """Find the index of the first number of each window that lies within lines of an image.

    The image has `step` numbers in a pixel and `wide` in a line; indices count from line `first`.
    They are 0 for cells that are not illuminated and for those beyond the row: shape (PITCH,).
    """
    start = np.zeros(PITCH, np.int64)
    for j in range(count):
        index = (np.int64(windows[j]) - first) * wide + np.int64(windows[PITCH + j]) * step
        start[j] = index if windows[2 * PITCH + j] > 0 else 0
    return start


@njit
def _copy_inside(
    flat: Numbers,
    wide: int,
    step: int,
    start: NDArray[np.int64],
    count: int,
    lines: int,
    samples: int,
    pixels: Numbers,
) -> None:
    """Copy pixels of windows that lie within an image, two neighbours at a time."""
    # Unsigned indices are not checked for counting from the end.
    beside = np.uint64(step)
    for k in range(lines):
        for m in range(0, samples, 2):
            first = np.uint64((k * wide + m) * step)
            to = np.uint64((k * samples + m) * PITCH)
            for j in range(count):
                at, column = np.uint64(start[j]) + first, to + np.uint64(j)
                left, right = flat[at], flat[at + beside]
                pixels[column] = left
                pixels[column + np.uint64(PITCH)] = right


@njit
def _copy_at_border(
    image: Numbers,
    channel: int,
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Numbers,
) -> None:
    """Copy pixels of windows of which some reach beyond the image."""
    pixels[: lines * samples * PITCH] = ZERO
    for j in range(count):
        if windows[2 * PITCH + j] > 0:
            line, sample = windows[j], windows[PITCH + j]
            left, right = max(-sample, 0), min(image.shape[1] - sample, samples)
            for k in range(max(-line, 0), min(image.shape[0] - line, lines)):
                for m in range(left, right):
                    value = image[line + k, sample + m, channel]
                    pixels[(k * samples + m) * PITCH + j] = value


@njit
def fetch_channel(
    image: NDArray[np.float32],
    channel: int,
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> Table:
    """Copy the pixels of one channel of an image under the windows of a row of cells.

    Parameters
    ----------
    image : array, shape (lines, samples, channels)
        The image.
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
        pixels = np.empty(size, np.float32)
    high, wide, channels = image.shape
    if all_within(windows, count, lines, samples, 0, high, wide):
        start = window_starts(windows, count, 0, wide * channels, channels)
        flat = image.reshape(image.size)[channel:]
        _copy_inside(flat, wide, channels, start, count, lines, samples, pixels)
    else:
        _copy_at_border(image, channel, windows, count, lines, samples, pixels)
    return pixels


@njit
def fetch_pair(
    image: NDArray[np.float32],
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> Table:
    """Copy the pixels of an image of two channels, shape (lines, samples, 2), under the windows.

    The two channels of a pixel, eight bytes, are copied as if they were one double: half the
    instructions. Channel c of pixel (k, m) of cell j is element
    ``2 * ((k * samples + m) * PITCH + j) + c`` of the result; see `fetch_channel` for the rest.
    """
    size = 2 * ((lines * samples + GROUP - 1) // GROUP * GROUP * PITCH)
    if size > pixels.size:
        pixels = np.empty(size, np.float32)
    high, wide, _ = image.shape
    flat, table = image.reshape(image.size).view(np.float64), pixels.view(np.float64)
    if all_within(windows, count, lines, samples, 0, high, wide):
        start = window_starts(windows, count, 0, wide, 1)
        _copy_inside(flat, wide, 1, start, count, lines, samples, table)
    else:
        _copy_at_border(flat.reshape((high, wide, 1)), 0, windows, count, lines, samples, table)
    return pixels


@njit
def sum_pair(window: Table, pixels: Table, slots: int, count: int, sums: Table) -> None:
    """Sum weights times both channels of pixels from `fetch_pair`, for all cells of a row.

    `window` holds weights in `slots` pixels; `sums`, shape (2 * PITCH,), receives the sums of the
    first channel and, from `PITCH` on, of the second.
    """
    sums[: 2 * PITCH] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pixels[2 * slot * PITCH :]
        for j in range(count):
            first, second = ZERO, ZERO
            for row in range(GROUP):
                weight = weights[row * PITCH + j]
                # Both are read in any case: then neighbours are read together and sorted.
                left, right = values[2 * (row * PITCH + j)], values[2 * (row * PITCH + j) + 1]
                # A weight of zero has no part in what is not a number.
                first += weight * left if weight > ZERO else ZERO
                second += weight * right if weight > ZERO else ZERO
            sums[j] += first
            sums[PITCH + j] += second


@njit
def touch(image: NDArray[np.float32], bound: NDArray[np.float64]) -> np.float32:
    """Read one pixel of each cache line in the part of an image that a tile contributes to.

    The tile's cells then find their pixels in the cache of the second level (200 kB or so). Row
    after row of cells each first visit to a line of pixels waits for memory; here all reads are
    independent and wait side by side. `image`, shape (lines, samples, channels), is not empty;
    `bound` is from `tile_bounds`. Returns a sum of no meaning, so that no compiler drops the reads.
    """
    high, wide, channels = image.shape
    flat, total = image.reshape(image.size), ZERO
    left = int(min(max(bound[2], 0.0), wide - 1.0)) * channels
    right = int(min(max(bound[3] + 1.0, 0.0), wide - 1.0)) * channels
    first = int(min(max(bound[0], 0.0), high - 1.0))
    for line in range(first, int(min(max(bound[1] + 1.0, 0.0), high - 1.0)) + 1):
        begin = line * wide * channels
        for at in range(begin + left, begin + right + 1, CACHE_LINE):
            total += flat[np.uint64(at)]
    return total


@njit
def fetch(
    image: NDArray[np.float32],
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> Table:
    """Copy the pixels of an image of one channel, shape (lines, samples), see `fetch_channel`."""
    layered = image.reshape((image.shape[0], image.shape[1], 1))
    return fetch_channel(layered, 0, windows, count, lines, samples, pixels)
