r"""The projection operator between ground and image, and its adjoint.

The weights :math:`W_{pg}` are the RCS that cell g of reflectivity 1 contributes to pixel p, in
square metres. `scatter` sums :math:`\sum_g W_{pg} x_g` into pixels, `gather` sums
:math:`\sum_p W_{pg} a_p` for cells. Both recompute the weights as they pass over the surface:
only images are held in memory.
"""

from __future__ import annotations

import numpy as np

from sarheight_kernels._numba import B1, F4, F8, I4, I8, ONE, START, ZERO, njit
from sarheight_kernels.footprint_pixels import (
    INITIAL_SIZE,
    all_within,
    fetch,
    illuminated_row_footprints,
    sum_pixels,
    touch,
    window_starts,
)
from sarheight_kernels.footprints import PITCH, Table, footprint_tables, row_footprints
from sarheight_kernels.pool import spread_over
from sarheight_kernels.tiles import (
    Surface,
    TileSurface,
    illuminated_area,
    meets_image,
    tile_box,
    tile_surface,
)

WIDTH = 4
"""Pixels of a window that are added together."""
BLOCKS = 16
"""Blocks of lines into which a large image is divided: `scatter` uses as many threads at most."""


@njit
def _add(
    window: F4,
    cell: int,
    samples: int,
    size: tuple[int, int],
    brightness: float,
    line: int,
    sample: int,
    image: F4,
) -> None:
    """Add the window of one cell, times its brightness, to the part of the image that it meets."""
    top, bottom = max(-line, 0), min(image.shape[0] - line, size[0])
    left, right = max(-sample, 0), min(image.shape[1] - sample, size[1])
    for k in range(top, bottom):
        for m in range(left, right):
            image[line + k, sample + m] += brightness * window[cell + (k * samples + m) * PITCH]


@njit
def _add_row(
    window: Table, windows: I4, brightness: F4, lines: int, samples: int, first_line: int, image: F4
) -> None:
    """Add the windows of a row of cells to an image that holds them all.

    Every fourth cell is added, then those after them, and so on: right after its neighbour, with
    which it shares pixels, a cell would wait until their sums are stored.
    """
    wide = image.shape[1]
    start = window_starts(windows, brightness.size, first_line, wide)
    # Unsigned indices are not checked for counting from the end.
    flat, cells = image.reshape(image.size), np.uint64(brightness.size)
    for first in range(WIDTH):
        for k in range(lines):
            for begin in range(0, samples, WIDTH):
                at = np.uint64((k * samples + begin) * PITCH)
                offset = np.int64(k * wide + begin)
                # Loops over a constant number of pixels are unrolled; samples are even.
                if begin + WIDTH <= samples:
                    for j in range(np.uint64(first), cells, np.uint64(WIDTH)):
                        factor, to = brightness[j], np.uint64(start[j] + offset)
                        for m in range(WIDTH):
                            weight = window[at + j + np.uint64(m * PITCH)]
                            flat[to + np.uint64(m)] += factor * weight
                else:
                    for j in range(np.uint64(first), cells, np.uint64(WIDTH)):
                        factor, to = brightness[j], np.uint64(start[j] + offset)
                        for m in range(2):
                            weight = window[at + j + np.uint64(m * PITCH)]
                            flat[to + np.uint64(m)] += factor * weight


@njit
def _scatter_tile(
    surface: TileSurface,
    illuminated: B1,
    reflectivity: F4,
    lines: tuple[int, int],
    image: F4,
    overflow: F4,
) -> None:
    """Add the RCS of a tile's cells to a block of lines of each channel, and to those behind."""
    rows, columns = illuminated.shape
    channels, wide = image.shape[0], image.shape[2]
    first_line, end_line = lines
    last_line = end_line + overflow.shape[1]
    tables, window = footprint_tables(surface), np.empty(INITIAL_SIZE, np.float32)
    windows, brightness = np.empty(4 * PITCH, np.int32), np.empty(columns, np.float32)
    for i in range(rows):
        window, tall, across = row_footprints(surface, i, columns, tables, windows, window)
        for j in range(columns):
            windows[2 * PITCH + j] *= illuminated[i, j]
        within = all_within(windows, columns, tall, across, first_line, end_line, wide)
        beyond = all_within(windows, columns, tall, across, end_line, last_line, wide)
        for channel in range(channels):
            block, behind = image[channel, first_line:end_line], overflow[channel]
            for j in range(columns):
                value = reflectivity[channel, i, j] if reflectivity.size > 0 else ONE
                brightness[j] = value if windows[2 * PITCH + j] > 0 else ZERO
            if within:
                _add_row(window, windows, brightness, tall, across, first_line, block)
                continue
            if beyond:
                _add_row(window, windows, brightness, tall, across, end_line, behind)
                continue
            for j in range(columns):
                if brightness[j] > ZERO:
                    line, sample = windows[j], windows[PITCH + j]
                    size = windows[2 * PITCH + j], windows[3 * PITCH + j]
                    _add(window, j, across, size, brightness[j], line - first_line, sample, block)
                    _add(window, j, across, size, brightness[j], line - end_line, sample, behind)


@njit
def blocks_of_lines(bounds: F8, lines: int, samples: int, block_of: I8) -> tuple[int, int]:
    """Divide an image into blocks of lines, and assign each tile to the one in which it begins.

    Parameters
    ----------
    bounds : array, shape (tiles, 4)
        From `tile_bounds`.
    lines, samples : int
        Size of the image.
    block_of : array, shape (tiles,)
        Receives the block of each tile, -1 where it does not meet the image.

    Returns
    -------
    block : int
        Lines of a block: enough that a tile meets two at most.
    overflow_lines : int
        By how many lines tiles reach beyond their block.
    """
    block = (lines + BLOCKS - 1) // BLOCKS
    for tile in range(bounds.shape[0]):
        inside = meets_image(bounds[tile], lines, samples)
        block_of[tile] = 0 if inside else -1
        if inside:
            first, last = max(bounds[tile, 0], 0.0), min(bounds[tile, 1], lines - 1.0)
            block = max(block, int(last - first) + 3)
    overflow = 0
    for tile in range(bounds.shape[0]):
        if block_of[tile] == 0:
            block_of[tile] = int(max(bounds[tile, 0], 0.0)) // block
            last = int(min(bounds[tile, 1], lines - 1.0)) + 1
            overflow = max(overflow, last + 1 - (block_of[tile] + 1) * block)
    return block, overflow


def scatter(
    surface: Surface, reflectivity: F4, block: int, block_of: I8, overflow: F4, image: F4
) -> None:
    r"""Simulate images of a surface: :math:`S_p = \sum_g W_{pg} x_g`.

    A block of lines belongs to one thread, which visits the tiles that begin there. What they
    contribute beyond the block is buffered and added afterwards. Blocks follow from the scene
    alone, and within them the cells are visited in one order, so the result has the same bits for
    any number of threads.

    Parameters
    ----------
    surface : Surface
        The DEM under the radar, with the cells that are illuminated.
    reflectivity : array, shape (channels, rows, columns) or (channels, 0, 0)
        Brightness of each cell relative to the law; 1 everywhere where there is none.
    block, block_of : int, array of shape (tiles,)
        Lines of a block and the block of each tile, from `blocks_of_lines`.
    overflow : array, shape (blocks, channels, lines beyond a block, samples)
        Workspace for the contributions of blocks beyond them.
    image : array, shape (channels, lines, samples)
        Receives the radar cross-section of each pixel in square metres.
    """
    scatter_blocks(surface, reflectivity, block, block_of, overflow, image)
    add_overflow(block, overflow, image)


@spread_over("overflow")
@njit
def scatter_blocks(
    begin: int,
    end: int,
    surface: Surface,
    reflectivity: F4,
    block: int,
    block_of: I8,
    overflow: F4,
    image: F4,
) -> None:
    """Add the RCS of tiles to the blocks in which they begin, and to their overflow."""
    for index in range(begin, end):
        first_line = index * block
        end_line = min(first_line + block, image.shape[1])
        image[:, first_line:end_line] = 0.0
        overflow[index] = 0.0
        for tile in range(block_of.size):
            if block_of[tile] == index:
                row, end_row, column, end_column = tile_box(surface.heights, tile)
                _scatter_tile(
                    tile_surface(surface, tile),
                    surface.illuminated[row:end_row, column:end_column],
                    reflectivity[:, row:end_row, column:end_column],
                    (first_line, end_line),
                    image,
                    overflow[index],
                )


@spread_over("overflow")
@njit
def add_overflow(begin: int, end: int, block: int, overflow: F4, image: F4) -> None:
    """Add to each block of lines what those before it contribute."""
    channels, lines, samples = image.shape
    for index in range(max(begin, 1), end):
        first_line = index * block
        for channel in range(channels):
            for k in range(min(overflow.shape[2], lines - first_line)):
                for sample in range(samples):
                    image[channel, first_line + k, sample] += overflow[
                        index - 1, channel, k, sample
                    ]


@njit
def _fraction_within(
    window: Table, windows: I4, j: int, samples: int, high: int, wide: int
) -> float:
    """Find the fraction of the RCS of cell j that falls into an image."""
    line, sample = windows[j], windows[PITCH + j]
    inside, whole = 0.0, 0.0
    for k in range(windows[2 * PITCH + j]):
        for m in range(windows[3 * PITCH + j]):
            weight = window[(k * samples + m) * PITCH + j]
            whole += weight
            if 0 <= line + k < high and 0 <= sample + m < wide:
                inside += weight
    return inside / whole


@njit
def _gather_tile(
    surface: TileSurface,
    illuminated: B1,
    corner: tuple[int, int],
    bound: F8,
    image: F4,
    sums: F4,
    area: F4,
) -> None:
    """Sum an image for the cells of a tile, whose first one has row and column `corner`.

    `bound` is the part of the image that they contribute to, from `tile_bounds`.
    """
    rows, count = illuminated.shape
    channels, high, wide = image.shape
    tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
    window, pixels = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE, np.float32)
    row_sums = np.empty(PITCH, np.float32)
    for channel in range(channels):
        # What is read to bring pixels into the cache is overwritten.
        row_sums[0] = touch(image[channel], bound)
    for i in range(rows):
        row, column = corner[0] + i, corner[1]
        window, lines, samples = illuminated_row_footprints(
            surface, i, illuminated[i], tables, windows, window
        )
        for channel in range(channels):
            pixels = fetch(image[channel], windows, count, lines, samples, pixels)
            sum_pixels(window, pixels, lines * samples, count, row_sums)
            for j in range(count):
                lit = windows[2 * PITCH + j] > 0
                sums[channel, row, column + j] = row_sums[j] if lit else ZERO
        within = all_within(windows, count, lines, samples, START, high, wide)
        for j in range(count):
            seen = ZERO
            if windows[2 * PITCH + j] > 0:
                seen = illuminated_area(surface, i, j)
                if not within:
                    seen *= _fraction_within(window, windows, j, samples, high, wide)
            area[row, column + j] = seen


@spread_over("surface.bounds")
@njit
def gather(begin: int, end: int, surface: Surface, image: F4, sums: F4, area: F4) -> None:
    r"""Sum an image over the pixels of each cell: :math:`\sum_p W_{pg} a_p`.

    Parameters
    ----------
    surface : Surface
        The DEM under the radar, with the cells that are illuminated.
    image : array, shape (channels, lines, samples)
        Channels a of the image; a NaN reaches all cells that contribute to its pixel.
    sums : array, shape (channels, rows, columns)
        Receives the sums; 0 where the cell contributes to no pixel.
    area : array, shape (rows, columns)
        Receives the cell's illuminated area, projected along the line of sight, that falls into
        the image, in square metres.
    """
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(surface.heights, tile)
        if meets_image(surface.bounds[tile], image.shape[1], image.shape[2]):
            _gather_tile(
                tile_surface(surface, tile),
                surface.illuminated[row:end_row, column:end_column],
                (row, column),
                surface.bounds[tile],
                image,
                sums,
                area,
            )
        else:
            sums[:, row:end_row, column:end_column] = 0.0
            area[row:end_row, column:end_column] = 0.0
