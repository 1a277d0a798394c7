"""From the energy of pixels to intensity: divided by the area to which a calibration refers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import parallel_njit, prange

__all__ = ["divide_by_area"]


@parallel_njit
def divide_by_area(
    image: NDArray[np.float32],
    knot: NDArray[np.int64],
    share: NDArray[np.float64],
    areas: NDArray[np.float64],
    offset: float,
) -> None:
    """Divide an image by areas that change slowly from line to line, in place.

    Parameters
    ----------
    image : array, shape (lines, samples)
        Energies in square metres; receives intensities.
    knot : array, shape (lines,)
        Row of `areas` before each line.
    share : array, shape (lines,)
        Place of the line between that row and the next, from 0 to 1.
    areas : array, shape (rows, samples)
        Areas in square metres.
    offset : float
        Intensity that is added everywhere.
    """
    added = np.float32(offset)
    for line in prange(image.shape[0]):
        before, after, part = areas[knot[line]], areas[knot[line] + 1], share[line]
        row = image[line]
        for sample in range(row.size):
            area = np.float32(before[sample] + part * (after[sample] - before[sample]))
            row[sample] = row[sample] / area + added
