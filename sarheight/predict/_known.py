"""Known elevations anywhere in a scene, a window at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from sarheight.priors._grid import grid_of
from sarheight.priors._interpolate import Interpolation, Surface, surface_through

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.priors import SparseHeights

__all__ = ["Known", "known_in"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Known:
    """Known elevations on a raster.

    Attributes
    ----------
    row, column : array of int, shape (n,)
        Cells of the elevations inside the raster.
    height : array, shape (n,)
        Metres.
    posting : tuple of float
        Metres between rows and between columns.
    tree : cKDTree or None
        The cells in metres; None where nothing is known.
    surface : callable or None
        The surface interpolated between all elevations, also those outside the raster.
    outside : int
        How many lie outside the raster.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    height: NDArray[np.float64]
    posting: tuple[float, float]
    tree: cKDTree | None
    surface: Surface | None
    outside: int

    def window(self, row: int, column: int, size: int) -> dict[str, Floats]:
        """Return prior, distance and prefill of a square window, shape (size, size) each.

        Parameters
        ----------
        row, column : int
            First cell of the window; it may begin or end outside the raster.
        size : int
            Cells each way.
        """
        prior = np.full((size, size), np.nan, dtype=np.float32)
        down, right = self.row - row, self.column - column
        inside = (down >= 0) & (down < size) & (right >= 0) & (right < size)
        # Of several elevations in a cell the mean counts.
        cell = down[inside] * size + right[inside]
        count = np.bincount(cell, minlength=size * size)
        total = np.bincount(cell, weights=self.height[inside], minlength=size * size)
        known = count > 0
        prior.ravel()[known] = total[known] / count[known]
        if self.tree is None or self.surface is None:
            return {
                "prior": prior,
                "distance": np.full_like(prior, np.inf),
                "prefill": np.full_like(prior, np.nan),
            }
        rows, columns = np.mgrid[row : row + size, column : column + size]
        places = np.stack([rows.ravel(), columns.ravel()], axis=-1) * np.array(self.posting)
        distance = np.asarray(self.tree.query(places)[0])
        return {
            "prior": prior,
            "distance": distance.reshape(size, size).astype(np.float32),
            "prefill": self.surface(places).reshape(size, size).astype(np.float32),
        }


def known_in(
    points: SparseHeights | None, like: xr.DataArray, method: Interpolation = "thin_plate"
) -> Known:
    """Place known elevations on a raster.

    Parameters
    ----------
    points : SparseHeights or None
        Known elevations, if any.
    like : xarray.DataArray
        A variable on the raster.
    method : str
        How the surface between them is interpolated, see `sarheight.priors.interpolate`.
    """
    grid = grid_of(like)
    if points is None or not len(points):
        nothing = np.empty(0, dtype=np.int64)
        return Known(nothing, nothing, np.empty(0), grid.posting, None, None, 0)
    row, column = grid.places(points)
    inside = grid.inside(row, column)
    surface, _ = surface_through(grid.metres(row, column), points.height, points.sigma, method)
    cells = np.floor(np.stack([row[inside], column[inside]], axis=-1) + 0.5).astype(np.int64)
    # Where all lie outside, the nearest of them is still the nearest.
    near = cells if len(cells) else np.stack([row, column], axis=-1)
    return Known(
        cells[:, 0],
        cells[:, 1],
        points.height[inside],
        grid.posting,
        cKDTree(near * np.array(grid.posting)),
        surface,
        int(np.size(inside) - inside.sum()),
    )
