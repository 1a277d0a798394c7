"""The one-to-many mapping as a sparse matrix: the weights that `projection` recomputes, stored.

A band of some rows of tiles is done at a time. Each tile writes its weights into a buffer of its
own, cell after cell; once all cells of the band are counted, the buffers are copied to their
positions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import B1, F4, I4, I8, ZERO, njit
from sarheight_kernels.footprint_pixels import INITIAL_SIZE
from sarheight_kernels.footprints import PITCH, Table, footprint_tables, row_footprints
from sarheight_kernels.pool import spread_over
from sarheight_kernels.tiles import TILE, Surface, TileSurface, meets_image, tile_box, tile_surface

__all__ = ["band_weights", "copy_band"]


@njit
def _pixel_offsets(lines: int, samples: int, wide: int) -> I4:
    """Find the offsets of a window's pixels from its first, in an image of `wide` samples."""
    offsets = np.empty(lines * samples, np.int32)
    for slot in range(offsets.size):
        offsets[slot] = slot // samples * wide + slot % samples
    return offsets


@njit
def _write_at_border(
    parts: Table,
    window: tuple[int, int, int, int],
    image: tuple[int, int],
    position: int,
    pixel: I4,
    weight: F4,
) -> int:
    """Write the weights of a cell whose window reaches beyond the image."""
    line, sample, lines, samples = window
    for k in range(max(-line, 0), min(image[0] - line, lines)):
        for m in range(max(-sample, 0), min(image[1] - sample, samples)):
            part = parts[(k * samples + m) * PITCH]
            pixel[position], weight[position] = (line + k) * image[1] + sample + m, part
            position += part > ZERO
    return position


@njit
def _write_row(
    window: Table,
    windows: I4,
    shape: tuple[int, int],
    offsets: I4,
    illuminated: B1,
    image: tuple[int, int],
    position: int,
    pixel: I4,
    weight: F4,
    ends: I4,
) -> int:
    """Write the weights of a row of cells from a position on; return where they end."""
    lines, samples = shape
    first = position
    for j in range(illuminated.size):
        if illuminated[j] and windows[2 * PITCH + j] > 0:
            line, sample = windows[j], windows[PITCH + j]
            if 0 <= line <= image[0] - lines and 0 <= sample <= image[1] - samples:
                first_pixel = line * image[1] + sample
                for slot in range(offsets.size):
                    # Unsigned indices are not checked for counting from the end.
                    to, part = np.uint64(position), window[np.uint64(slot * PITCH + j)]
                    # A weight of zero is overwritten by the next one.
                    pixel[to], weight[to] = first_pixel + offsets[slot], part
                    position += part > ZERO
            else:
                box = line, sample, lines, samples
                position = _write_at_border(window[j:], box, image, position, pixel, weight)
        ends[j] = position - first
    return position


@njit
def _write_tile(
    surface: TileSurface, illuminated: B1, image: tuple[int, int], ends: I4, pixel: I4, weight: F4
) -> bool:
    """Write the weights of a tile's cells into its buffer; return whether it is large enough."""
    rows, columns = illuminated.shape
    tables, window = footprint_tables(surface), np.empty(INITIAL_SIZE, np.float32)
    windows, offsets = np.empty(4 * PITCH, np.int32), np.empty(0, np.int32)
    high, wide = 0, 0
    position = 0
    for i in range(rows):
        window, lines, samples = row_footprints(surface, i, columns, tables, windows, window)
        if position + (columns + 1) * lines * samples > weight.size:
            return False
        if (lines, samples) != (high, wide):
            high, wide = lines, samples
            offsets = _pixel_offsets(lines, samples, image[1])
        position = _write_row(
            window,
            windows,
            (lines, samples),
            offsets,
            illuminated[i],
            image,
            position,
            pixel,
            weight,
            ends[i],
        )
    return True


@spread_over("complete")
@njit
def band_weights(
    begin: int,
    end: int,
    surface: Surface,
    lines: int,
    samples: int,
    first_tile: int,
    ends: I4,
    complete: B1,
    pixel: I4,
    weight: F4,
) -> None:
    """Write pixels and weights of the cells of a band, tile by tile.

    Parameters
    ----------
    surface : Surface
        The DEM under the radar, with the cells that are illuminated.
    lines, samples : int
        Size of the image.
    first_tile : int
        First tile of the band.
    ends : array, shape (rows of the band, columns)
        Receives how many weights each cell and those left of it in its tile have.
    complete : array, shape (tiles of the band,)
        Receives whether the buffer of each tile is large enough: where one is not, make larger
        buffers, and call again.
    pixel : array, shape (tiles of the band, buffer)
        Receives line * samples + sample, ascending within a cell.
    weight : array, shape (tiles of the band, buffer)
        Receives the RCS that the cell contributes there at unit reflectivity, in square metres.
    """
    first_row = tile_box(surface.heights, first_tile)[0]
    for index in range(begin, end):
        tile = first_tile + index
        row, end_row, column, end_column = tile_box(surface.heights, tile)
        complete[index] = True
        tile_ends = ends[row - first_row : end_row - first_row, column:end_column]
        tile_ends[:] = 0
        if meets_image(surface.bounds[tile], lines, samples):
            complete[index] = _write_tile(
                tile_surface(surface, tile),
                surface.illuminated[row:end_row, column:end_column],
                (lines, samples),
                tile_ends,
                pixel[index],
                weight[index],
            )


@njit
def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy an array into another one."""
    for index in range(source.size):
        target[index] = source[index]


@njit
def _add(ends: I4, first: int, start: NDArray[Any]) -> None:
    """Add a number to the ends of the weights of cells."""
    for index in range(start.size):
        start[index] = first + ends[index]


@spread_over("tile_pixel")
@njit
def copy_band(
    begin: int,
    end: int,
    starts: I8,
    ends: I4,
    tile_pixel: I4,
    tile_weight: F4,
    start: NDArray[Any],
    pixel: I4,
    weight: F4,
) -> None:
    """Copy the buffers of a band into the order of its cells.

    Parameters
    ----------
    starts : array, shape (rows of the band, tiles across)
        Where the weights of each row of a tile begin in the result.
    ends, tile_pixel, tile_weight
        From `band_weights`.
    start : array of int, shape (rows of the band, columns)
        Receives where the weights of each cell end in the result.
    pixel, weight : array, shape (weights,)
        Receive pixels and weights, cell after cell, row after row.
    """
    rows, columns = ends.shape
    across = starts.shape[1]
    for tile in range(begin, end):
        column = tile % across * TILE
        end_column, top = min(column + TILE, columns), tile // across * TILE
        position = 0
        for row in range(top, min(top + TILE, rows)):
            first, count = starts[row, tile % across], ends[row, end_column - 1]
            _add(ends[row, column:end_column], first, start[row, column:end_column])
            _copy(tile_pixel[tile, position : position + count], pixel[first : first + count])
            _copy(tile_weight[tile, position : position + count], weight[first : first + count])
            position += count
