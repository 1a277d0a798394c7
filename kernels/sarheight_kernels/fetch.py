"""The pixels under the windows of a row of cells, laid out as the windows are.

A window is a table with one row to a pixel and one column to a cell. Once the pixels of an image
are copied into such a table, whatever is summed over them is plain arithmetic on rows, and neither
the image's border nor a dark cell is a case of its own: both are pixels of value 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.footprints import PITCH, ZERO, Table
from sarheight_kernels.turning import LANES, WIDTH, copy_fours, copy_pairs
from sarheight_kernels.windows import row_windows

if TYPE_CHECKING:
    from sarheight_kernels.surface import TileSurface
    from sarheight_kernels.windows import WindowTables

__all__ = [
    "GROUP",
    "ROOM",
    "all_within",
    "fetch",
    "fetch_channel",
    "lit_row_windows",
    "places_within",
]

ROOM = 48 * PITCH
"""Room for the windows of a row, to begin with."""
GROUP = 4
"""So many pixels of all cells are summed up together. Tables have room for whole groups: beyond
their last pixel, weights are 0."""


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
    """Tell whether windows of one size for all cells of a row lie within lines of an image.

    Parameters
    ----------
    windows : array, shape (4 * PITCH,)
        From `sarheight_kernels.windows.row_windows`; dark cells do not count.
    count : int
        Cells in the row.
    lines, samples : int
        Size of the windows.
    first, end : int
        First line, and the one after the last.
    wide : int
        Samples of the image.

    Returns
    -------
    bool
        Whether they do.
    """
    # All are looked at, side by side, rather than one after the other up to the first beyond.
    beyond = np.int32(0)
    top, bottom, right = np.int32(first), np.int32(end - lines), np.int32(wide - samples)
    for j in range(count):
        line, sample = windows[j], windows[PITCH + j]
        inside = (line >= top) & (line <= bottom) & (sample >= 0) & (sample <= right)
        beyond += np.int32((windows[2 * PITCH + j] > 0) & (not inside))
    return beyond == 0 and end - first >= lines and wide >= samples


@njit
def lit_row_windows(
    surface: TileSurface,
    row: int,
    lit: NDArray[np.bool_],
    tables: WindowTables,
    windows: NDArray[np.int32],
    window: Table,
) -> tuple[Table, int, int]:
    """Share the energy of the lit cells of a row among the pixels around them.

    Parameters
    ----------
    surface, row, tables, windows, window
        As in `sarheight_kernels.windows.row_windows`.
    lit : array, shape (n,)
        Cells whose windows are wanted; the others are marked as dark, with no lines.

    Returns
    -------
    window : array
        The windows; those of cells that are not lit hold what they would light.
    lines, samples : int
        Size of the largest window.
    """
    window, lines, samples = row_windows(surface, row, lit.size, tables, windows, window)
    for j in range(lit.size):
        windows[2 * PITCH + j] *= lit[j]
    return window, lines, samples


@njit
def places_within(
    windows: NDArray[np.int32], count: int, first: int, wide: int, step: int
) -> NDArray[np.int64]:
    """Find where windows that lie within lines of an image begin.

    Parameters
    ----------
    windows, count
        As in `all_within`.
    first, wide : int
        First of the lines, and numbers in a line.
    step : int
        Numbers in a pixel.

    Returns
    -------
    array, shape (PITCH,)
        Index of the first number of each window, counted from that of the lines; 0 for cells
        that are dark and for those beyond the row.
    """
    place = np.zeros(PITCH, np.int64)
    for j in range(count):
        start = (np.int64(windows[j]) - first) * wide + np.int64(windows[PITCH + j]) * step
        place[j] = start if windows[2 * PITCH + j] > 0 else 0
    return place


@njit
def _copy_inside(
    image: NDArray[np.float32],
    wide: int,
    place: NDArray[np.int64],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> None:
    """Copy pixels of windows that lie within an image of one channel, for blocks of cells."""
    whole = samples - samples % WIDTH
    for k in range(lines):
        for m in range(0, whole, WIDTH):
            for j in range(0, count, LANES):
                copy_fours(image, place, j, k * wide + m, pixels, (k * samples + m) * PITCH + j)
        for m in range(whole, samples, 2):
            for j in range(0, count, LANES):
                copy_pairs(image, place, j, k * wide + m, pixels, (k * samples + m) * PITCH + j)


@njit
def _copy_channel_inside(
    flat: Table,
    wide: int,
    step: int,
    place: NDArray[np.int64],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
) -> None:
    """Copy pixels of windows that lie within an image of channels, two neighbours at a time."""
    # Unsigned indices are not checked for counting from the end.
    beside = np.uint64(step)
    for k in range(lines):
        for m in range(0, samples, 2):
            first = np.uint64((k * wide + m) * step)
            to = np.uint64((k * samples + m) * PITCH)
            for j in range(count):
                at, column = np.uint64(place[j]) + first, to + np.uint64(j)
                left, right = flat[at], flat[at + beside]
                pixels[column] = left
                pixels[column + np.uint64(PITCH)] = right


@njit
def _copy_across_the_border(
    image: NDArray[np.float32],
    channel: int,
    windows: NDArray[np.int32],
    count: int,
    lines: int,
    samples: int,
    pixels: Table,
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
    """Copy the pixels under the windows of a row of cells.

    Parameters
    ----------
    image : array, shape (lines, samples, channels)
        The image.
    channel : int
        The channel to copy.
    windows : array, shape (4 * PITCH,)
        First line, first sample and number of lines of each cell's window; no lines where dark.
    count : int
        Cells in the row.
    lines, samples : int
        Size of the windows, an even number of samples.
    pixels : array
        Room for the pixels.

    Returns
    -------
    array
        The pixels, in a larger array where `pixels` was too small: pixel (k, m) of cell j is
        element ``(k * samples + m) * PITCH + j``. It is 0 beyond the image, and any number where
        the cell is dark.
    """
    # Room for whole groups of pixels.
    room = (lines * samples + GROUP - 1) // GROUP * GROUP * PITCH
    if room > pixels.size:
        pixels = np.empty(room, np.float32)
    high, wide, channels = image.shape
    if all_within(windows, count, lines, samples, 0, high, wide):
        place = places_within(windows, count, 0, wide * channels, channels)
        if channels == 1:
            _copy_inside(image, wide, place, count, lines, samples, pixels)
        else:
            flat = image.reshape(image.size)[channel:]
            _copy_channel_inside(flat, wide, channels, place, count, lines, samples, pixels)
    else:
        _copy_across_the_border(image, channel, windows, count, lines, samples, pixels)
    return pixels


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
