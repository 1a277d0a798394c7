"""The one-to-many mapping as a table: the weights that `project` recomputes, written down.

A band, one row of tiles, is done at a time. Each tile writes its weights into a slot of its own,
cell after cell; once all cells of the band are counted, the slots are copied to their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.footprint_pixels import ROOM
from sarheight_kernels.footprints import PITCH, ZERO, Table, footprint_tables, row_footprints
from sarheight_kernels.tiles import TILE, TileSurface, meets_image, tile_box, tile_surface

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["band_weights", "copy_band"]


@njit
def _offsets(lines: int, samples: int, wide: int) -> NDArray[np.int32]:
    """How far the pixels of a window lie from its first one, in an image of so many samples."""
    offsets = np.empty(lines * samples, np.int32)
    for slot in range(offsets.size):
        offsets[slot] = slot // samples * wide + slot % samples
    return offsets


@njit
def _write_across_the_border(
    parts: Table,
    window: tuple[int, int, int, int],
    image: tuple[int, int],
    place: int,
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> int:
    """Write the weights of a cell whose window reaches beyond the image."""
    line, sample, lines, samples = window
    for k in range(max(-line, 0), min(image[0] - line, lines)):
        for m in range(max(-sample, 0), min(image[1] - sample, samples)):
            part = parts[(k * samples + m) * PITCH]
            pixel[place], weight[place] = (line + k) * image[1] + sample + m, part
            place += part > ZERO
    return place


@njit
def _write_row(
    window: Table,
    windows: NDArray[np.int32],
    shape: tuple[int, int],
    offsets: NDArray[np.int32],
    lit: NDArray[np.bool_],
    image: tuple[int, int],
    place: int,
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
    ends: NDArray[np.int32],
) -> int:
    """Write the weights of a row of cells from a place on; return where they end."""
    lines, samples = shape
    first = place
    for j in range(lit.size):
        if lit[j] and windows[2 * PITCH + j] > 0:
            line, sample = windows[j], windows[PITCH + j]
            if 0 <= line <= image[0] - lines and 0 <= sample <= image[1] - samples:
                first_pixel = line * image[1] + sample
                for slot in range(offsets.size):
                    # Unsigned indices are not checked for counting from the end.
                    to, part = np.uint64(place), window[np.uint64(slot * PITCH + j)]
                    # What is nothing is written over by the next one.
                    pixel[to], weight[to] = first_pixel + offsets[slot], part
                    place += part > ZERO
            else:
                box = line, sample, lines, samples
                place = _write_across_the_border(window[j:], box, image, place, pixel, weight)
        ends[j] = place - first
    return place


@njit
def _weigh_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    image: tuple[int, int],
    ends: NDArray[np.int32],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> bool:
    """Write the weights of a tile's cells into its slot; return whether it is large enough."""
    rows, columns = lit.shape
    tables, window = footprint_tables(surface), np.empty(ROOM, np.float32)
    windows, offsets = np.empty(4 * PITCH, np.int32), np.empty(0, np.int32)
    high, wide = 0, 0
    place = 0
    for i in range(rows):
        window, lines, samples = row_footprints(surface, i, columns, tables, windows, window)
        if place + (columns + 1) * lines * samples > weight.size:
            return False
        if (lines, samples) != (high, wide):
            high, wide = lines, samples
            offsets = _offsets(lines, samples, image[1])
        place = _write_row(
            window, windows, (lines, samples), offsets, lit[i], image, place, pixel, weight, ends[i]
        )
    return True


@parallel_njit
def band_weights(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    lines: int,
    samples: int,
    first_tile: int,
    ends: NDArray[np.int32],
    fits: NDArray[np.bool_],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> None:
    """Write pixels and weights of the cells of a band, tile by tile.

    Parameters
    ----------
    ground, radar, heights, law, bounds, lit
        As in `sarheight_kernels.projection.gather`.
    lines, samples : int
        Size of the image.
    first_tile : int
        First tile of the band.
    ends : array, shape (rows of the band, columns)
        Receives how many weights each cell and those left of it in its tile have.
    fits : array, shape (tiles of the band,)
        Receives whether the slot of each tile is large enough: where one is not, make larger
        slots, and call again.
    pixel : array, shape (tiles of the band, slot)
        Receives line * samples + sample, ascending within a cell.
    weight : array, shape (tiles of the band, slot)
        Receives the energy that the cell sends there at unit reflectivity, in square metres.
    """
    for index in prange(fits.size):
        tile = first_tile + index
        row, end_row, column, end_column = tile_box(heights, tile)
        fits[index] = True
        ends[:, column:end_column] = 0
        if meets_image(bounds[tile], lines, samples):
            fits[index] = _weigh_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                (lines, samples),
                ends[:, column:end_column],
                pixel[index],
                weight[index],
            )


@njit
def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    for index in range(source.size):
        target[index] = source[index]


@njit
def _add(ends: NDArray[np.int32], first: int, start: NDArray[Any]) -> None:
    for index in range(start.size):
        start[index] = first + ends[index]


@parallel_njit
def copy_band(
    begin: NDArray[np.int64],
    ends: NDArray[np.int32],
    slot_pixel: NDArray[np.int32],
    slot_weight: NDArray[np.float32],
    start: NDArray[Any],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> None:
    """Copy the slots of a band into the order of its cells.

    Parameters
    ----------
    begin : array, shape (rows of the band, tiles of the band)
        Where the weights of each row of a tile begin among all.
    ends, slot_pixel, slot_weight
        From `band_weights`.
    start : array of int, shape (rows of the band, columns)
        Receives where the weights of each cell end among all.
    pixel, weight : array, shape (weights,)
        Receive pixels and weights, cell after cell, row after row.
    """
    rows, columns = ends.shape
    for tile in prange(slot_pixel.shape[0]):
        column, end = tile * TILE, min(tile * TILE + TILE, columns)
        place = 0
        for row in range(rows):
            first, count = begin[row, tile], ends[row, end - 1]
            _add(ends[row, column:end], first, start[row, column:end])
            _copy(slot_pixel[tile, place : place + count], pixel[first : first + count])
            _copy(slot_weight[tile, place : place + count], weight[first : first + count])
            place += count
