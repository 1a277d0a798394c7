"""From the ground to the radar image and back: a pair of adjoint operators.

Both recompute the weights W[pixel, cell] (the energy that a cell of unit reflectivity sends into
a pixel, in square metres) as they pass over the surface, so that neither holds more than images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.footprints import add_quarter, growing_window, quarter_box
from sarheight_kernels.surface import TileSurface, tile_box, tile_surface

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather", "scatter"]

BLOCK_LINES = 256
"""Lines of the image that one thread owns while it adds to them."""
BUFFER = 1024


@njit
def _scatter_tile(
    surface: TileSurface,
    reflectivity: NDArray[np.float32],
    first_line: int,
    image: NDArray[np.float64],
) -> None:
    """Add the energy of a tile's cells to a block of the image."""
    line, across, energy, _ = surface
    rows, columns = reflectivity.shape
    end_line = first_line + image.shape[0]
    for i in range(rows):
        earliest, latest = np.inf, -np.inf
        for k in range(i, i + 3):
            for j in range(columns + 2):
                earliest = line[k, j] if line[k, j] < earliest else earliest
                latest = line[k, j] if line[k, j] > latest else latest
        if not (latest > first_line - 1.0 and earliest < end_line):
            continue
        for j in range(columns):
            share = 0.25 * reflectivity[i, j]
            if share > 0.0:
                for quarter in range(4):
                    down, right = quarter // 2, quarter % 2
                    cross_section = energy[i + down, j + right]
                    if cross_section > 0.0:
                        box = quarter_box(line, across, i + 1, j + 1, 2 * down - 1, 2 * right - 1)
                        add_quarter(box, share * cross_section, first_line, 0, image)


@parallel_njit
def scatter(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    reflectivity: NDArray[np.float32],
    image: NDArray[np.float64],
) -> None:
    r"""Simulate the image of a surface: :math:`S_p = \sum_g W_{pg} x_g`.

    A block of lines belongs to one thread, and the cells are visited in one order, so the result
    has the same bits for any number of threads.

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
    reflectivity : array, shape (rows, columns)
        Brightness of each cell relative to `law`; 0 where the cell is in shadow.
    image : array, shape (lines, samples)
        Receives the energy of each pixel: its radar cross-section in square metres.
    """
    lines, samples = image.shape
    for block in prange((lines + BLOCK_LINES - 1) // BLOCK_LINES):
        first_line = block * BLOCK_LINES
        end_line = min(first_line + BLOCK_LINES, lines)
        image[first_line:end_line] = 0.0
        for tile in range(bounds.shape[0]):
            if (
                bounds[tile, 1] >= first_line - 0.5
                and bounds[tile, 0] <= end_line - 0.5
                and bounds[tile, 3] >= -0.5
                and bounds[tile, 2] <= samples - 0.5
            ):
                row, end_row, column, end_column = tile_box(heights, tile)
                _scatter_tile(
                    tile_surface(ground, radar, heights, law, tile),
                    reflectivity[row:end_row, column:end_column],
                    first_line,
                    image[first_line:end_line],
                )


@njit
def _gather_tile(
    surface: TileSurface,
    lit: NDArray[np.bool_],
    linear: NDArray[np.float32],
    square: NDArray[np.float32],
    linear_sum: NDArray[np.float32],
    square_sum: NDArray[np.float32],
    projected_area: NDArray[np.float32],
) -> None:
    line, across, energy, projected = surface
    rows, columns = lit.shape
    lines, samples, channels = linear.shape
    squares = square.shape[2]
    buffer = np.empty(BUFFER)
    total, total_square = np.empty(channels), np.empty(squares)
    for i in range(rows):
        for j in range(columns):
            total[:] = 0.0
            total_square[:] = 0.0
            area = 0.0
            if lit[i, j]:
                first_line, first_sample, high, wide, area, buffer = growing_window(
                    line, across, energy, projected, i + 1, j + 1, lines, samples, buffer
                )
                for a in range(high):
                    for b in range(wide):
                        weight = buffer[a * wide + b]
                        for channel in range(channels):
                            total[channel] += (
                                weight * linear[first_line + a, first_sample + b, channel]
                            )
                        for channel in range(squares):
                            total_square[channel] += (
                                weight * weight * square[first_line + a, first_sample + b, channel]
                            )
            projected_area[i, j] = area
            for channel in range(channels):
                linear_sum[channel, i, j] = total[channel]
            for channel in range(squares):
                square_sum[channel, i, j] = total_square[channel]


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
        if (
            bounds[tile, 1] >= -0.5
            and bounds[tile, 0] <= linear.shape[0] - 0.5
            and bounds[tile, 3] >= -0.5
            and bounds[tile, 2] <= linear.shape[1] - 0.5
        ):
            _gather_tile(
                tile_surface(ground, radar, heights, law, tile),
                lit[row:end_row, column:end_column],
                linear,
                square,
                linear_sum[:, row:end_row, column:end_column],
                square_sum[:, row:end_row, column:end_column],
                projected_area[row:end_row, column:end_column],
            )
        else:
            linear_sum[:, row:end_row, column:end_column] = 0.0
            square_sum[:, row:end_row, column:end_column] = 0.0
            projected_area[row:end_row, column:end_column] = 0.0
