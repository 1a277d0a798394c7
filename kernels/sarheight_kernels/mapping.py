"""The one-to-many mapping as a table: the weights that `project` recomputes, written down.

A band, one row of tiles, is done at a time. Each tile writes its weights into a slot of its own,
cell after cell; once all cells of the band are counted, the slots are copied to their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.fetch import ROOM
from sarheight_kernels.footprints import PITCH, ZERO
from sarheight_kernels.geolocate import TILE
from sarheight_kernels.surface import TileSurface, meets_image, tile_box, tile_surface
from sarheight_kernels.windows import row_windows, window_tables

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["copy_band", "weigh_band"]


@njit
def _weigh_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    lines: int,
    samples: int,
    counts: NDArray[np.int32],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> int:
    """Write the weights of a tile's cells into its slot; return how many, -1 if too many."""
    rows, columns = lit.shape
    tables, window = window_tables(surface), np.empty(ROOM, np.float32)
    windows = np.empty(4 * PITCH, np.int32)
    place = 0
    for i in range(rows):
        window, high, across = row_windows(surface, i, columns, tables, windows, window)
        if place + columns * high * across > weight.size:
            return -1
        for j in range(columns):
            first = place
            if lit[i, j]:
                line, sample = windows[j], windows[PITCH + j]
                top, bottom = max(-line, 0), min(lines - line, windows[2 * PITCH + j])
                left, right = max(-sample, 0), min(samples - sample, windows[3 * PITCH + j])
                for k in range(top, bottom):
                    first_pixel = (line + k) * samples + sample
                    parts = window[k * across * PITCH + j :]
                    for m in range(left, right):
                        # What is nothing is written over by the next one.
                        part = parts[m * PITCH]
                        pixel[place], weight[place] = first_pixel + m, part
                        place += part > ZERO
            counts[i, j] = place - first
    return place


@parallel_njit
def weigh_band(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    lines: int,
    samples: int,
    first_tile: int,
    counts: NDArray[np.int32],
    used: NDArray[np.int64],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> None:
    """Write pixels and weights of the cells of a band, tile by tile.

    Parameters
    ----------
    ground, radar, heights, law, bounds, lit
        As in `sarheight_kernels.gather.gather`.
    lines, samples : int
        Size of the image.
    first_tile : int
        First tile of the band.
    counts : array, shape (rows of the band, columns)
        Receives how many pixels each cell lights.
    used : array, shape (tiles of the band,)
        Receives how many weights each tile has; -1 where its slot was too small to hold them
        all: make larger slots, and call again.
    pixel : array, shape (tiles of the band, slot)
        Receives line * samples + sample, ascending within a cell.
    weight : array, shape (tiles of the band, slot)
        Receives the energy that the cell sends there at unit reflectivity, in square metres.
    """
    for index in prange(used.size):
        tile = first_tile + index
        row, end_row, column, end_column = tile_box(heights, tile)
        used[index] = 0
        counts[:, column:end_column] = 0
        if meets_image(bounds[tile], lines, samples):
            used[index] = _weigh_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                lines,
                samples,
                counts[:, column:end_column],
                pixel[index],
                weight[index],
            )


@njit
def _copy(source: NDArray[Any], target: NDArray[Any]) -> None:
    for index in range(source.size):
        target[index] = source[index]


@parallel_njit
def copy_band(
    start: NDArray[np.int64],
    columns: int,
    slot_pixel: NDArray[np.int32],
    slot_weight: NDArray[np.float32],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float32],
) -> None:
    """Copy the slots of a band into the order of its cells.

    Parameters
    ----------
    start : array, shape (rows * columns + 1,)
        Where the weights of each cell of the band begin, and where those of the last end.
    columns : int
        Columns of the DEM.
    slot_pixel, slot_weight : array, shape (tiles of the band, slot)
        From `weigh_band`.
    pixel, weight : array, shape (weights,)
        Receive pixels and weights, cell after cell, row after row.
    """
    rows = (start.size - 1) // columns
    for tile in prange(slot_pixel.shape[0]):
        column, end = tile * TILE, min(tile * TILE + TILE, columns)
        place = 0
        for row in range(rows):
            begin = start[row * columns + column]
            count = start[row * columns + end] - begin
            _copy(slot_pixel[tile, place : place + count], pixel[begin : begin + count])
            _copy(slot_weight[tile, place : place + count], weight[begin : begin + count])
            place += count
