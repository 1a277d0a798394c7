"""The one-to-many mapping as a table: the weights that `project` recomputes, written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import parallel_njit, prange
from sarheight_kernels.footprints import growing_window
from sarheight_kernels.project import BUFFER
from sarheight_kernels.surface import tile_box, tile_surface

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["count_weights", "write_weights"]


@parallel_njit
def count_weights(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    lines: int,
    samples: int,
    counts: NDArray[np.int32],
) -> None:
    """Count the pixels that each cell lights.

    Parameters
    ----------
    ground, radar, heights, law, bounds, lit
        As in `sarheight_kernels.project.gather`.
    lines, samples : int
        Size of the image.
    counts : array, shape (rows, columns)
        Receives the counts.
    """
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        counts[row:end_row, column:end_column] = 0
        if (
            bounds[tile, 1] < -0.5
            or bounds[tile, 0] > lines - 0.5
            or bounds[tile, 3] < -0.5
            or bounds[tile, 2] > samples - 0.5
        ):
            continue
        line, across, energy, projected = tile_surface(ground, radar, heights, law, tile)
        buffer = np.empty(BUFFER)
        for i in range(row, end_row):
            for j in range(column, end_column):
                if lit[i, j]:
                    _, _, high, wide, _, buffer = growing_window(
                        line,
                        across,
                        energy,
                        projected,
                        i - row + 1,
                        j - column + 1,
                        lines,
                        samples,
                        buffer,
                    )
                    count = 0
                    for place in range(high * wide):
                        count += buffer[place] > 0.0
                    counts[i, j] = count


@parallel_njit
def write_weights(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    law: NDArray[np.float64],
    bounds: NDArray[np.float64],
    lit: NDArray[np.bool_],
    lines: int,
    samples: int,
    start: NDArray[np.int64],
    pixel: NDArray[np.int32],
    weight: NDArray[np.float64],
) -> None:
    """Write pixels and weights of each cell, in the order of the cells.

    Parameters
    ----------
    ground, radar, heights, law, bounds, lit, lines, samples
        As in `count_weights`.
    start : array, shape (rows * columns + 1,)
        Where each cell's weights begin: the running sum of the counts.
    pixel : array, shape (weights,)
        Receives line * samples + sample, ascending within a cell.
    weight : array, shape (weights,)
        Receives the energy that the cell sends there at unit reflectivity, in square metres.
    """
    columns = heights.shape[1]
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        if start[row * columns + column] == start[(end_row - 1) * columns + end_column]:
            continue
        line, across, energy, projected = tile_surface(ground, radar, heights, law, tile)
        buffer = np.empty(BUFFER)
        for i in range(row, end_row):
            for j in range(column, end_column):
                place = start[i * columns + j]
                if not lit[i, j] or place == start[i * columns + j + 1]:
                    continue
                first_line, first_sample, high, wide, _, buffer = growing_window(
                    line,
                    across,
                    energy,
                    projected,
                    i - row + 1,
                    j - column + 1,
                    lines,
                    samples,
                    buffer,
                )
                for a in range(high):
                    for b in range(wide):
                        if buffer[a * wide + b] > 0.0:
                            pixel[place] = (first_line + a) * samples + first_sample + b
                            weight[place] = buffer[a * wide + b]
                            place += 1
