"""Plain geocoding: the image's value where each cell is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.surface import tile_box
from sarheight_kernels.tiles import locate_tile

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["sample_image"]


@njit
def _bilinear(channel: NDArray[np.float32], line: float, across: float) -> float:
    """Interpolate between the four pixels around a place; NaN beyond the image."""
    lines, samples = channel.shape
    if not (0.0 <= line <= lines - 1.0 and 0.0 <= across <= samples - 1.0):
        return np.nan
    top, left = min(int(line), max(lines - 2, 0)), min(int(across), max(samples - 2, 0))
    below, right = min(top + 1, lines - 1), min(left + 1, samples - 1)
    u, v = line - top, across - left
    upper = (1.0 - v) * channel[top, left] + v * channel[top, right]
    lower = (1.0 - v) * channel[below, left] + v * channel[below, right]
    return float((1.0 - u) * upper + u * lower)


@parallel_njit
def sample_image(
    ground: GroundModel,
    radar: RadarModel,
    heights: NDArray[np.float32],
    bounds: NDArray[np.float64],
    image: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Sample an image at the cells of a DEM.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    heights : array, shape (rows, columns)
        Heights above the ellipsoid in metres; NaN where void.
    bounds : array, shape (tiles, 4)
        Part of the image that each tile can light, from `tile_bounds`.
    image : array, shape (channels, lines, samples)
        The image; NaN where it has no data.
    values : array, shape (channels, rows, columns)
        Receives the bilinear interpolation at each cell; NaN where the cell is void or beyond the
        image, or a pixel that counts is NaN.
    """
    channels, lines, samples = image.shape
    for tile in prange(bounds.shape[0]):
        row, end_row, column, end_column = tile_box(heights, tile)
        values[:, row:end_row, column:end_column] = np.nan
        if (
            bounds[tile, 1] < 0.0
            or bounds[tile, 0] > lines - 1.0
            or bounds[tile, 3] < 0.0
            or bounds[tile, 2] > samples - 1.0
        ):
            continue
        shape = (end_row - row, end_column - column)
        line, across = np.empty(shape), np.empty(shape)
        part = heights[row:end_row, column:end_column].copy()
        box = (0, shape[0], 0, shape[1])
        locate_tile(ground, radar, part, row, column, box, line, across)
        for i in range(shape[0]):
            for j in range(shape[1]):
                for channel in range(channels):
                    values[channel, row + i, column + j] = _bilinear(
                        image[channel], line[i, j], across[i, j]
                    )
