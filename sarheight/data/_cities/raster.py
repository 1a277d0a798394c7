"""A square raster, and where turned rectangles and other places lie in it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Raster"]

Window = tuple[slice, slice]


class Raster:
    """A raster of `cells` x `cells` whose south-western corner is at (-margin, -margin)."""

    def __init__(self, cells: int, posting: float, margin: float) -> None:
        self.cells, self.posting, self.margin = cells, posting, margin

    def rectangle(
        self, x: float, y: float, length: float, width: float, angle: float
    ) -> tuple[Window, NDArray[np.bool_]]:
        """Return a window, and which of its cells have their centre in a turned rectangle."""
        cosine, sine = math.cos(angle), math.sin(angle)
        reach_x = 0.5 * (length * abs(cosine) + width * abs(sine))
        reach_y = 0.5 * (length * abs(sine) + width * abs(cosine))
        window, east, north = self.window(x, y, reach_x, reach_y)
        along = east * cosine + north * sine
        across = north * cosine - east * sine
        return window, (np.abs(along) <= 0.5 * length) & (np.abs(across) <= 0.5 * width)

    def window(
        self, x: float, y: float, reach_x: float, reach_y: float
    ) -> tuple[Window, NDArray[np.float64], NDArray[np.float64]]:
        """Return the cells around a place, and how far they are to its east and north."""
        column, row = self.place(x, y)
        step_x, step_y = reach_x / self.posting + 1.0, reach_y / self.posting + 1.0
        top, bottom = max(int(row - step_y), 0), min(int(row + step_y) + 2, self.cells)
        left, right = max(int(column - step_x), 0), min(int(column + step_x) + 2, self.cells)
        rows = np.arange(top, max(bottom, top), dtype=np.float64)
        columns = np.arange(left, max(right, left), dtype=np.float64)
        east = (columns[None, :] - column) * self.posting
        north = (row - rows[:, None]) * self.posting
        return (slice(top, max(bottom, top)), slice(left, max(right, left))), east, north

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the fractional column and row of a place; whole numbers are centres of cells."""
        column = (x + self.margin) / self.posting - 0.5
        return column, self.cells - 0.5 - (y + self.margin) / self.posting

    def values_at(
        self, values: NDArray[np.generic], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> NDArray[np.generic]:
        """Look up a raster at places; beyond its edge the last cell goes on."""
        column = np.rint((x + self.margin) / self.posting - 0.5).astype(int)
        row = np.rint(self.cells - 0.5 - (y + self.margin) / self.posting).astype(int)
        last = self.cells - 1
        found: NDArray[np.generic] = values[np.clip(row, 0, last), np.clip(column, 0, last)]
        return found
