"""From the radar image to the ground: the adjoint of `sarheight_kernels.project.scatter`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.fetch import GROUP, ROOM, all_within, fetch_channel, lit_row_windows
from sarheight_kernels.footprints import PITCH, ZERO, Table
from sarheight_kernels.surface import (
    TileSurface,
    lit_area,
    meets_image,
    tile_box,
    tile_surface,
)
from sarheight_kernels.windows import window_tables

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather"]


@njit
def _weigh(window: Table, pixels: Table, slots: int, power: int, sums: NDArray[np.float32]) -> None:
    """Sum up powers of weights times pixels."""
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
def _part_within(
    window: Table, windows: NDArray[np.int32], j: int, samples: int, high: int, wide: int
) -> float:
    """Part of the energy of cell j that falls into an image of a size."""
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
def _collect(
    image: NDArray[np.float32],
    power: int,
    window: Table,
    windows: NDArray[np.int32],
    shape: tuple[int, int],
    place: tuple[int, int],
    count: int,
    pixels: Table,
    result: NDArray[np.float32],
) -> Table:
    """Collect all channels of an image with powers of the weights, for a row of cells."""
    sums = np.empty(count, np.float32)
    for channel in range(image.shape[2]):
        pixels = fetch_channel(image, channel, windows, count, shape[0], shape[1], pixels)
        _weigh(window, pixels, shape[0] * shape[1], power, sums)
        row = result[channel, place[0], place[1] : place[1] + count]
        for j in range(count):
            row[j] = sums[j] if windows[2 * PITCH + j] > 0 else ZERO
    return pixels


@njit
def _gather_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    corner: tuple[int, int],
    linear: NDArray[np.float32],
    square: NDArray[np.float32],
    linear_sum: NDArray[np.float32],
    square_sum: NDArray[np.float32],
    projected_area: NDArray[np.float32],
) -> None:
    """Collect what the cells of a tile hold; `corner` is the place of its first cell."""
    rows, count = lit.shape
    high, wide = linear.shape[0], linear.shape[1]
    tables, windows = window_tables(surface), np.empty(4 * PITCH, np.int32)
    window, pixels = np.empty(ROOM, np.float32), np.empty(ROOM, np.float32)
    for i in range(rows):
        place = corner[0] + i, corner[1]
        window, lines, samples = lit_row_windows(surface, i, lit[i], tables, windows, window)
        shape = lines, samples
        pixels = _collect(linear, 1, window, windows, shape, place, count, pixels, linear_sum)
        pixels = _collect(square, 2, window, windows, shape, place, count, pixels, square_sum)
        within = all_within(windows, count, lines, samples, 0, high, wide)
        for j in range(count):
            area = ZERO
            if windows[2 * PITCH + j] > 0:
                area = lit_area(surface, i, j)
                if not within:
                    area *= _part_within(window, windows, j, samples, high, wide)
            projected_area[place[0], place[1] + j] = area


@parallel_njit
def gather(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    linear: NDArray[np.float32],
    square: NDArray[np.float32],
    linear_sum: NDArray[np.float32],
    square_sum: NDArray[np.float32],
    projected_area: NDArray[np.float32],
) -> None:
    r"""Collect for each cell what the pixels hold that it lights.

    For linear channels :math:`a` and square channels :math:`b` of the image the sums are
    :math:`\sum_p W_{pg} a_p` and :math:`\sum_p W_{pg}^2 b_p`.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    law : array, shape (n,)
        Backscatter coefficient at evenly spaced cosines of incidence.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`.
    lit : array, shape (rows, columns)
        False where a cell is in shadow.
    linear, square : array, shape (lines, samples, channels)
        Channels of the image; a NaN reaches all cells that light its pixel.
    linear_sum, square_sum : array, shape (channels, rows, columns)
        Receive the sums; 0 where the cell lights no pixel.
    projected_area : array, shape (rows, columns)
        Receives the cell's lit area, projected along the line of sight, that falls into the
        image, in square metres.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        if meets_image(bounds[tile], linear.shape[0], linear.shape[1]):
            _gather_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                (row, column),
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
