"""From the radar image to the ground: the adjoint of `sarheight_kernels.project.scatter`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit, parallel_njit, prange
from sarheight_kernels.footprints import PITCH
from sarheight_kernels.project import ROOM, ZERO, all_within
from sarheight_kernels.surface import TileSurface, meets_image, tile_box, tile_surface
from sarheight_kernels.windows import row_windows, window_tables

if TYPE_CHECKING:
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["gather"]

QUARTER = np.float32(0.25)


@njit
def _weigh(
    window: NDArray[np.float32],
    place: int,
    pitch: int,
    lines: int,
    samples: int,
    line: int,
    sample: int,
    image: NDArray[np.float32],
    channel: int,
    power: int,
) -> np.float32:
    """Sum a channel of the image with powers of the weights of a window."""
    top, bottom = max(-line, 0), min(image.shape[0] - line, lines)
    left, right = max(-sample, 0), min(image.shape[1] - sample, samples)
    total = ZERO
    for k in range(top, bottom):
        for m in range(left, right):
            weight = window[place + (k * pitch + m) * PITCH]
            if weight > ZERO:
                part = weight * weight if power == 2 else weight
                total += part * image[line + k, sample + m, channel]
    return total


@njit
def _weigh_row(
    window: NDArray[np.float32],
    windows: NDArray[np.int32],
    lines: int,
    samples: int,
    image: NDArray[np.float32],
    channel: int,
    other: int,
    power: int,
    sums: NDArray[np.float32],
    others: NDArray[np.float32],
) -> None:
    """Sum two channels of an image that holds all the windows of a row of cells."""
    channels = np.uint64(image.shape[2])
    flat, step = image.reshape(image.size), np.uint64(image.shape[1]) * channels
    # Unsigned indices are not checked for counting from the end.
    further = np.uint64(other - channel)
    for j in range(sums.size):
        first, second = ZERO, ZERO
        if windows[2 * PITCH + j] > 0:
            here = np.uint64(windows[j]) * step + np.uint64(windows[PITCH + j]) * channels
            here += np.uint64(channel)
            place = np.uint64(j)
            for _ in range(lines):
                pixel = here
                for _ in range(samples):
                    weight = window[place]
                    if power == 2:
                        weight *= weight
                    first += weight * flat[pixel]
                    second += weight * flat[pixel + further]
                    place += np.uint64(PITCH)
                    pixel += channels
                here += step
            if math.isnan(first + second):
                # A weight of zero has no part in what is not a number.
                line, sample = windows[j], windows[PITCH + j]
                first = _weigh(
                    window, j, samples, lines, samples, line, sample, image, channel, power
                )
                second = _weigh(
                    window, j, samples, lines, samples, line, sample, image, other, power
                )
        sums[j], others[j] = first, second


@njit
def _weigh_channels(
    window: NDArray[np.float32],
    windows: NDArray[np.int32],
    lines: int,
    samples: int,
    image: NDArray[np.float32],
    power: int,
    sums: NDArray[np.float32],
) -> None:
    """Sum all channels of an image with powers of the weights of a row of cells, two by two."""
    channels = image.shape[2]
    if all_within(windows, sums.shape[1], lines, samples, 0, image.shape[0], image.shape[1]):
        for channel in range(0, channels, 2):
            other = min(channel + 1, channels - 1)
            _weigh_row(
                window, windows, lines, samples, image, channel, other, power,
                sums[channel], sums[other],
            )  # fmt: skip
        return
    for j in range(sums.shape[1]):
        for channel in range(channels):
            sums[channel, j] = _weigh(
                window, j, samples, windows[2 * PITCH + j], windows[3 * PITCH + j],
                windows[j], windows[PITCH + j], image, channel, power,
            )  # fmt: skip


@njit
def _part_within(
    window: NDArray[np.float32],
    place: int,
    samples: int,
    lines: int,
    across: int,
    line: int,
    sample: int,
    image: NDArray[np.float32],
) -> float:
    """Part of a cell's energy that falls into the image."""
    if (
        line >= 0
        and sample >= 0
        and line + lines <= image.shape[0]
        and sample + across <= image.shape[1]
    ):
        return 1.0
    inside, whole = 0.0, 0.0
    for k in range(lines):
        for m in range(across):
            weight = window[place + (k * samples + m) * PITCH]
            whole += weight
            if 0 <= line + k < image.shape[0] and 0 <= sample + m < image.shape[1]:
                inside += weight
    return inside / whole


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
    _, _, energy, projected = surface
    rows, columns = lit.shape
    lines, samples, _ = linear.shape
    tables, window = window_tables(surface), np.empty(ROOM, np.float32)
    windows = np.empty(4 * PITCH, np.int32)
    for i in range(rows):
        window, high, across = row_windows(surface, i, columns, tables, windows, window)
        for j in range(columns):
            windows[2 * PITCH + j] *= lit[i, j]
            area = ZERO
            for quarter in range(4):
                a, b = i + quarter // 2, j + quarter % 2
                area += projected[a, b] if energy[a, b] > ZERO else ZERO
            projected_area[i, j] = QUARTER * area if windows[2 * PITCH + j] > 0 else ZERO
        _weigh_channels(window, windows, high, across, linear, 1, linear_sum[:, i])
        _weigh_channels(window, windows, high, across, square, 2, square_sum[:, i])
        if not all_within(windows, columns, high, across, 0, lines, samples):
            for j in range(columns):
                if windows[2 * PITCH + j] > 0:
                    projected_area[i, j] *= _part_within(
                        window, j, across, windows[2 * PITCH + j], windows[3 * PITCH + j],
                        windows[j], windows[PITCH + j], linear,
                    )  # fmt: skip


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
