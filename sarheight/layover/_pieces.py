"""An image looked through piece by piece, before any work is done with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.energies import energies, line_sums

from sarheight.geometry._pixels import PixelAreas
from sarheight.layover._check import check_sums
from sarheight.layover._tasks import ONE_AT_A_TIME, load, opaque, run, slim, task

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
    check_sums(np.concatenate([sums for sums, _ in found]), image.shape)
    return [float(each) for each in np.sum([energy for _, energy in found], axis=0)]


@dataclass(frozen=True, eq=False)
class _Piece:
    """A piece of an image, perhaps not loaded yet, and the areas of its pixels."""

    image: Any
    areas: PixelAreas


def _sum_up(piece: _Piece) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum up a piece of an image: values by polarisation (see `line_sums`), and energies."""
    with ONE_AT_A_TIME:
        image = load(piece.image)
        energy = np.empty(image.shape, dtype=np.float32)
        totals = np.empty(image.shape[:2])
        energies(image, piece.areas.lines, piece.areas.areas, energy, totals)
        sums = np.empty((*image.shape[:2], 5))
        for p in range(image.shape[0]):
            line_sums(image[p], sums[p])
    values = np.concatenate(
        (sums[..., :3].sum(axis=1), sums[..., 3:4].min(axis=1), sums[..., 4:].max(axis=1)), axis=-1
    )
    return values, totals.sum(axis=1)
