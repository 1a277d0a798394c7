"""An image looked through piece by piece, before any work is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.radiometry import image_sums

from sarheight.geometry.pass_geometry import PixelAreas
from sarheight.layover._check import check_sums
from sarheight.layover._passes import intensities
from sarheight.layover._tasks import load, one_at_a_time, opaque, run, slim, task

if TYPE_CHECKING:
    from sarheight.scene import Scene

__all__ = ["check_image"]

PIXELS = 1 << 24
"""Pixels that are looked at at a time, or a line of a chunk."""


def check_image(scene: Scene, measured: PixelAreas) -> list[float]:
    """Check an image piece by piece, and sum up its energy.

    Parameters
    ----------
    scene : Scene
        The image, perhaps dask-backed.
    measured : PixelAreas
        Areas of pixels to which its calibration refers.

    Returns
    -------
    list of float
        Energy by polarisation in square metres.

    Raises
    ------
    ValueError
        If the image does not hold linear power.
    """
    image = scene.image
    data = image.data if image.ndim == 3 else image.data[None]
    lines, samples = data.shape[-2:]
    down, across = ((lines,), (samples,)) if image.chunks is None else image.chunks[-2:]
    high = max(PIXELS // max(across), 1)
    tasks = []
    for row, height in zip(np.cumsum((0, *down)), down, strict=False):
        for first in range(int(row), int(row) + height, high):
            end = min(first + high, int(row) + height)
            for column, wide in zip(np.cumsum((0, *across)), across, strict=False):
                part = slice(first, end), slice(int(column), int(column) + wide)
                cut = PixelAreas(
                    measured.lines - first,
                    np.ascontiguousarray(measured.areas[:, part[1]]),
                )
                piece = opaque(_Piece(slim(data[:, part[0], part[1]]), cut))
                tasks.append(task(_sum_up, piece))
    found = run(tasks)
    energy = check_sums(np.concatenate(found, axis=1), image.shape)
    return [float(each) for each in energy]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of an image, perhaps not loaded yet, and the areas of its pixels."""

    image: Any
    areas: PixelAreas


def _sum_up(piece: _Piece) -> NDArray[np.float64]:
    """Sum up a piece of an image; shape (polarisations, 1, 5), see `image_sums`."""
    sums = one_at_a_time(
        lambda: intensities(load(piece.image)), lambda image: _line_sums(image, piece.areas)
    )
    whole: NDArray[np.float64] = sums.sum(axis=1, keepdims=True)
    whole[..., 3], whole[..., 4] = (
        sums[..., 3].min(axis=1)[:, None],
        sums[..., 4].max(axis=1)[:, None],
    )
    return whole


def _line_sums(image: NDArray[np.float32], areas: PixelAreas) -> NDArray[np.float64]:
    sums = np.empty((*image.shape[:2], 5))
    image_sums(image, areas.lines, areas.areas, sums)
    return sums
