"""Points on the grid of a raster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.dem import local_posting
from sarheight.dem._layout import accept_layout, cell_steps

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from sarheight.priors._points import SparseHeights

__all__ = ["Grid", "grid_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """The cells of a raster, and their size in metres.

    Attributes
    ----------
    like : xarray.DataArray
        The raster, dims (y, x).
    posting : tuple of float
        Metres between rows and between columns, at the raster's centre.
    """

    like: xr.DataArray
    posting: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.like.sizes["y"], self.like.sizes["x"]

    def places(self, points: SparseHeights) -> tuple[Floats, Floats]:
        """Return fractional rows and columns of points; whole numbers are cell centres."""
        moved = points.to_crs(self.like.rio.crs)
        x, y = moved.x, moved.y
        dy, dx = cell_steps(self.like)
        first_y, first_x = float(self.like["y"].values[0]), float(self.like["x"].values[0])
        if moved.crs.is_geographic:
            # The same meridian has several longitudes: take the one next to the raster.
            middle = first_x + 0.5 * dx * (self.shape[1] - 1)
            x = x - 360.0 * np.round((x - middle) / 360.0)
        return (y - first_y) / dy, (x - first_x) / dx

    def inside(self, row: Floats, column: Floats) -> NDArray[np.bool_]:
        """Tell which places lie in a cell of the raster."""
        rows, columns = self.shape
        within: NDArray[np.bool_] = (
            (row >= -0.5) & (row < rows - 0.5) & (column >= -0.5) & (column < columns - 0.5)
        )
        return within

    def metres(self, row: Floats, column: Floats) -> Floats:
        """Return places in metres southwards and eastwards of the first cell, shape (n, 2)."""
        return np.stack([row * self.posting[0], column * self.posting[1]], axis=-1)

    def variable(self, values: NDArray[Any], attributes: Mapping[str, Any]) -> xr.DataArray:
        """Put values on the grid."""
        import xarray

        # The reference system travels as a coordinate; nothing else of the raster does.
        kept = {"y", "x", "spatial_ref"}
        coordinates = {name: self.like[name] for name in self.like.coords if name in kept}
        placed = xarray.DataArray(values, coords=coordinates, dims=("y", "x"))
        placed.attrs = {**attributes, "grid_mapping": "spatial_ref"}
        if "spatial_ref" in placed.coords:
            return placed
        stated: xr.DataArray = placed.rio.write_crs(self.like.rio.crs)
        return stated


def grid_of(like: xr.DataArray) -> Grid:
    """Take the grid of a raster.

    Parameters
    ----------
    like : xarray.DataArray
        Any variable of dims (y, x) with a reference system; only its grid counts.

    Raises
    ------
    DemError
        If it has no regular grid or no reference system.
    """
    import rioxarray  # noqa: F401  # registers the accessor

    raster = accept_layout(like)
    return Grid(raster, local_posting(raster))
