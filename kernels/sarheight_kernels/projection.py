r"""The projection operator between ground and image, and its adjoint.

The weights :math:`W_{pg}` are the RCS that cell g of reflectivity 1 contributes to pixel p, in
square metres. `scatter` sums :math:`\sum_g W_{pg} x_g` into pixels, `gather` sums
:math:`\sum_p W_{pg} a_p` for cells. Both recompute the weights as they pass over the surface:
only images are held in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import ONE, ZERO, njit
from sarheight_kernels.footprint_pixels import (
    GROUP,
    INITIAL_SIZE,
    all_within,
    fetch_channel,
    fetch_pair,
    illuminated_row_footprints,
    sum_pair,
    touch,
    window_starts,
)
from sarheight_kernels.footprints import PITCH, Table, footprint_tables, row_footprints
from sarheight_kernels.pool import spread_over
from sarheight_kernels.tiles import (
    TileSurface,
    illuminated_area,
    meets_image,
    tile_box,
    tile_surface,
)

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

WIDTH = 4
"""Pixels of a window that are added together."""
BLOCKS = 16
"""Blocks of lines into which a large image is divided: `scatter` uses as many threads at most."""


@njit
def _add(
    window: NDArray[np.float32],
    cell: int,
    samples: int,
    lines: int,
    across: int,
    brightness: float,
    line: int,
    sample: int,
    image: NDArray[np.float32],
) -> None:
    """Add the window of one cell, times its brightness, to the part of the image that it meets."""
    top, bottom = max(-line, 0), min(image.shape[0] - line, lines)
    left, right = max(-sample, 0), min(image.shape[1] - sample, across)
    for k in range(top, bottom):
        for m in range(left, right):
            image[line + k, sample + m] += brightness * window[cell + (k * samples + m) * PITCH]


@njit
def _add_row(
    window: Table,
    windows: NDArray[np.int32],
    brightness: NDArray[np.float32],
    lines: int,
    samples: int,
    first_line: int,
    image: NDArray[np.float32],
) -> None:
    """Add the windows of a row of cells to an image that holds them all.

    Every fourth cell is added, then those after them, and so on: right after its neighbour, with
    which it shares pixels, a cell would wait until their sums are stored.
    """
    wide = image.shape[1]
    start = window_starts(windows, brightness.size, first_line, wide, 1)
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
    illuminated: NDArray[np.bool_],
    reflectivity: NDArray[np.float32],
    first_line: int,
    image: NDArray[np.float32],
    overflow: NDArray[np.float32],
) -> None:
    """Add the RCS of a tile's cells to a block of the image, and to the lines behind it."""
    rows, columns = illuminated.shape
    end_line, wide = first_line + image.shape[0], image.shape[1]
    last_line = end_line + overflow.shape[0]
    tables, window = footprint_tables(surface), np.empty(INITIAL_SIZE, np.float32)
    windows, brightness = np.empty(4 * PITCH, np.int32), np.empty(columns, np.float32)
    for i in range(rows):
        window, high, across = row_footprints(surface, i, columns, tables, windows, window)
        brightness[:] = ONE
        if reflectivity.size > 0:
            brightness[:] = reflectivity[i]
        for j in range(columns):
            brightness[j] = (
                brightness[j] if illuminated[i, j] and windows[2 * PITCH + j] > 0 else ZERO
            )
        if all_within(windows, columns, high, across, first_line, end_line, wide):
            _add_row(window, windows, brightness, high, across, first_line, image)
            continue
        if all_within(windows, columns, high, across, end_line, last_line, wide):
            _add_row(window, windows, brightness, high, across, end_line, overflow)
            continue
        for j in range(columns):
            if brightness[j] > ZERO:
                line, lines = windows[j], windows[2 * PITCH + j]
                sample, samples = windows[PITCH + j], windows[3 * PITCH + j]
                line -= first_line
                _add(window, j, across, lines, samples, brightness[j], line, sample, image)
                line -= image.shape[0]
                _add(window, j, across, lines, samples, brightness[j], line, sample, overflow)


@njit
def blocks_of_lines(
    bounds: NDArray[np.float64], lines: int, samples: int, block_of: NDArray[np.int64]
) -> tuple[int, int]:
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
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    illuminated: NDArray[np.bool_],
    reflectivity: NDArray[np.float32],
    block: int,
    block_of: NDArray[np.int64],
    overflow: NDArray[np.float32],
    image: NDArray[np.float32],
) -> None:
    r"""Simulate the image of a surface: :math:`S_p = \sum_g W_{pg} x_g`.

    A block of lines belongs to one thread, which visits the tiles that begin there. What they
    contribute beyond the block is buffered and added afterwards. Blocks follow from the scene
    alone, and within them the cells are visited in one order, so the result has the same bits for
    any number of threads.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient at evenly spaced cosines of incidence.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can contribute to, from `tile_bounds`.
    illuminated : array, shape (rows, columns)
        False where a cell is in shadow.
    reflectivity : array, shape (rows, columns) or (0, 0)
        Brightness of each cell relative to `law`; 1 everywhere where there is none.
    block, block_of : int, array of shape (tiles,)
        Lines of a block and the block of each tile, from `blocks_of_lines`.
    overflow : array, shape (blocks, lines beyond a block, samples)
        Workspace for the contributions of blocks beyond them.
    image : array, shape (lines, samples)
        Receives the radar cross-section of each pixel in square metres.
    """
    _scatter_blocks(
        ground, radar, heights, law, bounds, illuminated, reflectivity, block, block_of, overflow,
        image,
    )  # fmt: skip
    _add_overflow(block, overflow, image)


@spread_over("overflow")
@njit
def _scatter_blocks(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    illuminated: NDArray[np.bool_],
    reflectivity: NDArray[np.float32],
    block: int,
    block_of: NDArray[np.int64],
    overflow: NDArray[np.float32],
    image: NDArray[np.float32],
) -> None:
    """Add the RCS of tiles to the blocks in which they begin, and to their overflow."""
    for index in range(begin, end):
        first_line = index * block
        end_line = min(first_line + block, image.shape[0])
        image[first_line:end_line] = 0.0
        overflow[index] = 0.0
        for tile in range(bounds.shape[0]):
            if block_of[tile] == index:
                row, end_row, column, end_column = tile_box(heights, tile)
                _scatter_tile(
                    tile_surface(ground, radar, heights, law, tile),
                    illuminated[row:end_row, column:end_column],
                    reflectivity[row:end_row, column:end_column],
                    first_line,
                    image[first_line:end_line],
                    overflow[index],
                )


@spread_over("overflow")
@njit
def _add_overflow(
    begin: int, end: int, block: int, overflow: NDArray[np.float32], image: NDArray[np.float32]
) -> None:
    """Add to each block of lines what those before it contribute."""
    lines, samples = image.shape
    for index in range(max(begin, 1), end):
        first_line = index * block
        for k in range(min(overflow.shape[1], lines - first_line)):
            for sample in range(samples):
                image[first_line + k, sample] += overflow[index - 1, k, sample]


@njit
def _weigh(window: Table, pixels: Table, slots: int, power: int, sums: NDArray[np.float32]) -> None:
    """Sum powers (1 or 2) of weights times pixels, for all cells of a row."""
    sums[:] = ZERO
    for slot in range(0, slots, GROUP):
        weights, values = window[slot * PITCH :], pixels[slot * PITCH :]
        for j in range(sums.size):
            part = ZERO
            for row in range(GROUP):
                weight = weights[row * PITCH + j]
                factor = weight * weight if power == 2 else weight
                # A weight of zero has no part in what is not a number.
                part += factor * values[row * PITCH + j] if weight > ZERO else ZERO
            sums[j] += part


@njit
def _fraction_within(
    window: Table, windows: NDArray[np.int32], j: int, samples: int, high: int, wide: int
) -> float:
    """Fraction of the RCS of cell j that falls into an image of a size."""
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
def _gather_channels(
    image: NDArray[np.float32],
    power: int,
    window: Table,
    windows: NDArray[np.int32],
    shape: tuple[int, int],
    first_cell: tuple[int, int],
    count: int,
    pixels: Table,
    result: NDArray[np.float32],
) -> Table:
    """Sum powers of the weights times all channels of an image, for a row of cells."""
    sums, slots = np.empty(2 * PITCH, np.float32), shape[0] * shape[1]
    pair = image.shape[2] == 2 and power == 1
    if pair:
        pixels = fetch_pair(image, windows, count, shape[0], shape[1], pixels)
        sum_pair(window, pixels, slots, count, sums)
    for channel in range(image.shape[2]):
        here = sums[channel * PITCH : channel * PITCH + count] if pair else sums[:count]
        if not pair:
            pixels = fetch_channel(image, channel, windows, count, shape[0], shape[1], pixels)
            _weigh(window, pixels, slots, power, here)
        row = result[channel, first_cell[0], first_cell[1] : first_cell[1] + count]
        for j in range(count):
            row[j] = here[j] if windows[2 * PITCH + j] > 0 else ZERO
    return pixels


@njit
def _gather_tile(
    surface: TileSurface,
    illuminated: NDArray[np.bool_],
    corner: tuple[int, int],
    bound: NDArray[np.float64],
    linear: NDArray[np.float32],
    square: NDArray[np.float32],
    linear_sum: NDArray[np.float32],
    square_sum: NDArray[np.float32],
    projected_area: NDArray[np.float32],
) -> None:
    """Do the work of `gather` for a tile; `corner` is row and column of its first cell."""
    rows, count = illuminated.shape
    high, wide = linear.shape[0], linear.shape[1]
    tables, windows = footprint_tables(surface), np.empty(4 * PITCH, np.int32)
    window, pixels = np.empty(INITIAL_SIZE, np.float32), np.empty(INITIAL_SIZE, np.float32)
    if linear.shape[2] > 0:
        pixels[0] = touch(linear, bound)
    for i in range(rows):
        first_cell = corner[0] + i, corner[1]
        window, lines, samples = illuminated_row_footprints(
            surface, i, illuminated[i], tables, windows, window
        )
        shape = lines, samples
        pixels = _gather_channels(
            linear, 1, window, windows, shape, first_cell, count, pixels, linear_sum
        )
        pixels = _gather_channels(
            square, 2, window, windows, shape, first_cell, count, pixels, square_sum
        )
        within = all_within(windows, count, lines, samples, 0, high, wide)
        for j in range(count):
            area = ZERO
            if windows[2 * PITCH + j] > 0:
                area = illuminated_area(surface, i, j)
                if not within:
                    area *= _fraction_within(window, windows, j, samples, high, wide)
            projected_area[first_cell[0], first_cell[1] + j] = area


@spread_over("bounds")
@njit
def gather(
    begin: int,
    end: int,
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    illuminated: NDArray[np.bool_],
    linear: NDArray[np.float32],
    square: NDArray[np.float32],
    linear_sum: NDArray[np.float32],
    square_sum: NDArray[np.float32],
    projected_area: NDArray[np.float32],
) -> None:
    r"""Sum over the pixels of each cell: :math:`\sum_p W_{pg} a_p` and :math:`\sum_p W_{pg}^2 b_p`.

    Parameters
    ----------
    ground, radar, heights, law, bounds, illuminated
        As in `scatter`.
    linear, square : array, shape (lines, samples, channels)
        Channels a and b of the image; a NaN reaches all cells that contribute to its pixel.
    linear_sum, square_sum : array, shape (channels, rows, columns)
        Receive the sums; 0 where the cell contributes to no pixel.
    projected_area : array, shape (rows, columns)
        Receives the cell's illuminated area, projected along the line of sight, that falls into
        the image, in square metres.
    """
    for tile in range(begin, end):
        row, end_row, column, end_column = tile_box(heights, tile)
        if meets_image(bounds[tile], linear.shape[0], linear.shape[1]):
            _gather_tile(
                tile_surface(ground, radar, heights, law, tile),
                illuminated[row:end_row, column:end_column],
                (row, column),
                bounds[tile],
                linear,
                square,
                linear_sum,
                square_sum,
                projected_area,
            )
        else:
            linear_sum[:, row:end_row, column:end_column] = 0.0
            square_sum[:, row:end_row, column:end_column] = 0.0
            projected_area[row:end_row, column:end_column] = 0.0
