"""Measures that hold for a DEM as a whole, whatever part of it is worked on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.models import locate_cell

from sarheight.dem import local_posting

if TYPE_CHECKING:
    import xarray as xr
    from sarheight_kernels.models import GroundModel, RadarModel

__all__ = ["TRUNCATE", "Core", "Frame", "Taps", "cell_size", "drawn_cells", "frame_of", "taps"]

TRUNCATE = 4.0
"""Gaussian weights end at this many standard deviations."""
DRAWN = 1 << 18
"""About how many cells of a scene its statistics rest on, where it has more."""

Core = tuple[int, int, int, int]
"""First row, end row, first column, end column."""
Taps = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Gaussian weights along two axes."""


@dataclass(frozen=True, eq=False)
class Frame:
    """What is measured once, at the centre of the whole DEM.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    cell_area : float
        Horizontal area of a cell in square metres.
    posting : tuple of float
        Rows and columns that one posting is long: the geometric mean of the sides of a cell.
    cell_sizes : tuple of tuple of float
        Size of a cell in lines and samples of each pass.
    """

    shape: tuple[int, int]
    cell_area: float
    posting: tuple[float, float]
    cell_sizes: tuple[tuple[float, float], ...]

    def pooling(self, postings: float) -> Taps:
        """Return Gaussian weights on the ground; the standard deviation is given in postings."""
        return taps(postings * self.posting[0]), taps(postings * self.posting[1])

    def blur(self, postings: float, index: int) -> Taps | None:
        """Return Gaussian weights in the image of a pass, None for no blur."""
        if postings == 0.0:
            return None
        lines, samples = self.cell_sizes[index]
        return taps(postings * lines), taps(postings * samples)


def taps(deviation: float) -> NDArray[np.float32]:
    """Gaussian weights out to `TRUNCATE` standard deviations; their sum is 1."""
    reach = int(TRUNCATE * deviation + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-9)) ** 2)
    found: NDArray[np.float32] = (weights / weights.sum()).astype(np.float32)
    return found


def cell_size(
    ground: GroundModel, radar: RadarModel, shape: tuple[int, int], height: float
) -> tuple[float, float]:
    """Size of a cell at the centre of a DEM in lines and samples."""
    row, column = (0.5 * (size - 1) for size in shape)
    places = [
        locate_cell(ground, radar, row + i, column + j, height, radar.line_zero_time)[:2]
        for i, j in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    ]
    down, right = np.subtract(places[1], places[0]), np.subtract(places[2], places[0])
    lines, samples = np.hypot(down, right)
    return float(lines), float(samples)


def frame_of(
    dem: xr.DataArray, cell_area: float, cell_sizes: tuple[tuple[float, float], ...]
) -> Frame:
    """Make the frame of a DEM.

    Parameters
    ----------
    dem : xarray.DataArray
        The DEM, dims (y, x).
    cell_area, cell_sizes
        As in `Frame`.
    """
    down, right = local_posting(dem)
    mean = float(np.sqrt(down * right))
    return Frame((dem.shape[0], dem.shape[1]), cell_area, (mean / down, mean / right), cell_sizes)


def drawn_cells(shape: tuple[int, int], part: Core) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw cells for statistics: of a large DEM one of each square, of a small one all.

    Which ones they are depends on the DEM's shape alone, not on how it is cut into parts.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of the whole DEM.
    part : tuple of int
        First row, end row, first column and end column of the part of which cells are wanted.

    Returns
    -------
    row, column : array, shape (n,)
        The cells, counted from the first of the whole DEM.
    """
    stride = max(1, round(float(np.sqrt(shape[0] * shape[1] / DRAWN))))
    square_row = np.arange(part[0] // stride, -(-part[1] // stride), dtype=np.uint64)[:, None]
    square_column = np.arange(part[2] // stride, -(-part[3] // stride), dtype=np.uint64)[None, :]
    # A multiplicative hash; its upper bits are well mixed.
    mixed = (square_row << np.uint64(32) | square_column) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    row = (square_row * stride + (mixed >> np.uint64(33)) % stride).ravel().astype(np.int64)
    column = (square_column * stride + (mixed & np.uint64(0xFFFF)) % stride).ravel()
    column = column.astype(np.int64)
    inside = (row >= part[0]) & (row < part[1]) & (column >= part[2]) & (column < part[3])
    return row[inside], column[inside]
