"""Maps made of blended tiles, at once or lazily, whatever is estimated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.predict._tiles import Tiling

__all__ = ["Corner", "Mosaic", "in_chunks_of", "window"]

Floats = NDArray[np.float32]
Span = tuple[int, int]
Corner = tuple[int, int]
"""Row and column at which a tile begins; it may begin and end beyond the raster."""
BATCH = 4
"""Tiles that are estimated together."""


def window(variable: xr.DataArray, rows: Span, columns: Span) -> Floats:
    """Read a window that may reach beyond the raster; what is outside is NaN.

    Parameters
    ----------
    variable : xarray.DataArray
        Dims (..., y, x).
    rows, columns : tuple of int
        First and one past the last.

    Returns
    -------
    array of float32, shape (..., rows, columns)
    """
    shape = variable.sizes["y"], variable.sizes["x"]
    kept = [
        (max(span[0], 0), min(span[1], length))
        for span, length in zip((rows, columns), shape, strict=True)
    ]
    size = rows[1] - rows[0], columns[1] - columns[0]
    values = np.full((*variable.shape[:-2], *size), np.nan, dtype=np.float32)
    values[
        ...,
        kept[0][0] - rows[0] : kept[0][1] - rows[0],
        kept[1][0] - columns[0] : kept[1][1] - columns[0],
    ] = variable.isel(y=slice(*kept[0]), x=slice(*kept[1])).values
    return values


def in_chunks_of(values: Any, result: xr.Dataset) -> xr.Dataset:  # noqa: ANN401  # numpy or dask
    """Give all variables of a result the chunks of a mosaic, if that is lazy.

    What goes along with a map, such as a mask, may come in chunks of another size.

    Parameters
    ----------
    values : array
        Of `Mosaic.values`.
    result : xarray.Dataset
        On the same grid.
    """
    chunks = getattr(values, "chunks", None)
    if chunks is None:
        return result
    return result.chunk({"y": chunks[-2], "x": chunks[-1]})


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A map that is estimated tile by tile, a block at a time.

    Where a tile has no estimate, NaN, the others count alone; where none has one, the map has
    none.

    Parameters
    ----------
    variables : tuple of xarray.DataArray
        What tiles are cut from, dims (..., y, x).
    estimate : callable
        Turns tiles of these, a list of arrays of shape (tiles, ..., size, size), and the corner of
        each tile into an array of shape (tiles, layers, size, size). What lies beyond the raster
        is NaN.
    layers : int
        Of the map.
    tiling : Tiling
        Size and overlap of the tiles.
    check : callable, optional
        Given what is read for a block, arrays of shape (..., rows, columns), before it is cut into
        tiles; raises where that cannot be right.
    """

    variables: tuple[xr.DataArray, ...]
    estimate: Callable[[list[Floats], list[Corner]], Floats]
    layers: int
    tiling: Tiling
    check: Callable[[list[Floats]], None] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return self.variables[0].sizes["y"], self.variables[0].sizes["x"]

    def block(self, rows: Span, columns: Span) -> Floats:
        """Return a block of the map, shape (layers, rows, columns)."""
        tiles = list(self.tiling.window(rows, columns, self.shape))
        size = self.tiling.size
        first = min(row for row, _ in tiles), min(column for _, column in tiles)
        last = max(row for row, _ in tiles) + size, max(column for _, column in tiles) + size
        seen = [
            window(variable, (first[0], last[0]), (first[1], last[1]))
            for variable in self.variables
        ]
        if self.check is not None:
            self.check(seen)
        total = np.zeros((self.layers, last[0] - first[0], last[1] - first[1]))
        weights = np.zeros(total.shape)
        weight = self.tiling.weight()
        for number in range(0, len(tiles), BATCH):
            corners = tiles[number : number + BATCH]
            places = [
                np.s_[
                    ...,
                    row - first[0] : row - first[0] + size,
                    column - first[1] : column - first[1] + size,
                ]
                for row, column in corners
            ]
            cut = [np.stack([each[place] for place in places]) for each in seen]
            found = self.estimate(cut, corners)
            for place, values in zip(places, found, strict=True):
                known = np.isfinite(values)
                total[place] += np.where(known, weight * values, 0.0)
                weights[place] += weight * known
        inner = np.s_[
            :,
            rows[0] - first[0] : rows[1] - first[0],
            columns[0] - first[1] : columns[1] - first[1],
        ]
        blended = np.full(total[inner].shape, np.nan, dtype=np.float32)
        np.divide(total[inner], weights[inner], out=blended, where=weights[inner] > 0.0)
        return blended

    def values(self, block: int, report: Callable[[float], None] | None = None) -> Any:  # noqa: ANN401  # of numpy or dask
        """Return the map, shape (layers, rows, columns): lazily where a variable is in chunks.

        Parameters
        ----------
        block : int
            Cells of a block, each way: memory grows with its square.
        report : callable, optional
            Told after each block which part of the work is done; not for a lazy result.
        """
        rows, columns = (
            [(first, min(first + block, length)) for first in range(0, length, block)]
            for length in self.shape
        )
        if any(variable.chunks is not None for variable in self.variables):
            return self._lazy(rows, columns)
        values = np.empty((self.layers, *self.shape), dtype=np.float32)
        places = [(row, column) for row in rows for column in columns]
        for done, (row, column) in enumerate(places, start=1):
            values[:, slice(*row), slice(*column)] = self.block(row, column)
            if report is not None:
                report(done / len(places))
        return values

    def _lazy(self, rows: list[Span], columns: list[Span]) -> Any:  # noqa: ANN401  # of dask
        from dask import array
        from dask.delayed import delayed

        block = delayed(self.block, pure=True)
        return array.block(  # type: ignore[no-untyped-call]
            [
                [
                    array.from_delayed(  # type: ignore[no-untyped-call]
                        block(row, column),
                        (self.layers, row[1] - row[0], column[1] - column[0]),
                        dtype=np.float32,
                    )
                    for column in columns
                ]
                for row in rows
            ]
        )
