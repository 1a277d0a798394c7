"""Prediction over scenes of any size: overlapping tiles blended into a mosaic."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float32]
Span = tuple[int, int]
"""First index, and one past the last."""
Corner = tuple[int, int]
"""First row and column of a tile, which may extend beyond the raster."""
BATCH = 4
"""Tiles in a batch of the network."""


@dataclass(frozen=True)
class Tiling:
    """Square tiles over a raster that overlap their neighbours.

    A tile has full weight in its middle. Over the overlap its weight falls as the square of a
    sine, so that the weights of two neighbours sum to 1. Which tiles contribute to a cell does not
    depend on the block in which the cell is computed.

    Parameters
    ----------
    size : int
        Cells along a side of a tile.
    overlap : int
        Cells that a tile shares with the next.

    Raises
    ------
    ValueError
        If the overlap exceeds half of the size.
    """

    size: int = 256
    overlap: int = 64

    def __post_init__(self) -> None:
        """Check the values."""
        if not 0 <= 2 * self.overlap <= self.size or self.size < 1:
            msg = (
                f"found tiles of {self.size} cells that overlap by {self.overlap}, expected an "
                "overlap of at most half a tile"
            )
            raise ValueError(msg)

    @property
    def step(self) -> int:
        """Cells from one tile to the next."""
        return self.size - self.overlap

    def require_fit(self, stride: int, block: int) -> None:
        """Raise ValueError unless the size is a multiple of a stride, and a block has cells."""
        if self.size % stride or block < 1:
            msg = (
                f"found tiles of {self.size} cells and blocks of {block}, expected tiles of a "
                f"multiple of {stride} cells, and blocks above 0"
            )
            raise ValueError(msg)

    def starts(self, length: int, within: Span) -> list[int]:
        """Return the first cells of the tiles that intersect a span of an axis of some length."""
        # The first tile begins before the axis, so that cells at the edge lie in an overlap, too.
        first = -self.overlap
        count = max(0, -(-(length - first - self.overlap) // self.step))
        return [
            start
            for start in (first + number * self.step for number in range(count))
            if start < within[1] and start + self.size > within[0]
        ]

    def corners(self, rows: Span, columns: Span, shape: tuple[int, int]) -> Iterator[Corner]:
        """Yield the corners of the tiles that intersect a block of a raster."""
        for row in self.starts(shape[0], rows):
            for column in self.starts(shape[1], columns):
                yield row, column

    def weight(self) -> NDArray[np.float64]:
        """Return the weights of a tile's cells, shape (size, size)."""
        # sin^2 and cos^2 of the same angle sum to 1 where two tiles overlap.
        ramp = np.sin(0.5 * np.pi * (np.arange(self.overlap) + 0.5) / max(self.overlap, 1)) ** 2
        profile = np.ones(self.size)
        profile[: self.overlap] = ramp
        profile[self.size - self.overlap :] = ramp[::-1]
        return np.outer(profile, profile)


def read_window(variable: xr.DataArray, rows: Span, columns: Span) -> Floats:
    """Read a window that may extend beyond the raster, where it is NaN.

    Returns shape (..., rows, columns).
    """
    shape = variable.sizes["y"], variable.sizes["x"]
    inside = [
        slice(max(span[0], 0), min(span[1], length))
        for span, length in zip((rows, columns), shape, strict=True)
    ]
    size = rows[1] - rows[0], columns[1] - columns[0]
    values = np.full((*variable.shape[:-2], *size), np.nan, dtype=np.float32)
    target = _shifted(inside[0], rows[0]), _shifted(inside[1], columns[0])
    values[(..., *target)] = variable.isel(y=inside[0], x=inside[1]).values
    return values


def _shifted(span: slice, origin: int) -> slice:
    return slice(span.start - origin, span.stop - origin)


class Blend:
    """The weighted means of tiles on a part of a raster, added tile by tile.

    NaN has no weight. Sums do not depend on the part, if tiles are added in the same order.

    Parameters
    ----------
    tiling : Tiling
        Of the tiles.
    rows, columns : tuple of int
        The part of the raster.
    groups : sequence of int
        For each layer the number of its group: layers of a group are NaN in the same cells, and
        share the sum of their weights.
    dtype : type
        Of the sums.
    """

    def __init__(
        self,
        tiling: Tiling,
        rows: Span,
        columns: Span,
        groups: Sequence[int],
        dtype: type[np.floating] = np.float64,
    ) -> None:
        self.tiling, self.origin, self.groups = tiling, (rows[0], columns[0]), list(groups)
        self.shape = rows[1] - rows[0], columns[1] - columns[0]
        self.weight = tiling.weight().astype(dtype)
        self.total = np.zeros((len(self.groups), *self.shape), dtype=dtype)
        self.weights = np.zeros((max(self.groups) + 1, *self.shape), dtype=dtype)

    def add(self, corner: Corner, values: Floats) -> None:
        """Add a tile, shape (layers, size, size)."""
        size = self.tiling.size
        firsts = [first - origin for first, origin in zip(corner, self.origin, strict=True)]
        kept = [
            slice(max(first, 0), min(first + size, length))
            for first, length in zip(firsts, self.shape, strict=True)
        ]
        inside = [_shifted(part, first) for part, first in zip(kept, firsts, strict=True)]
        share = self.weight[inside[0], inside[1]]
        for layer, group in enumerate(self.groups):
            part = values[layer, inside[0], inside[1]]
            valid = np.isfinite(part)
            self.total[layer, kept[0], kept[1]] += np.where(valid, share * part, 0.0)
            if layer == self.groups.index(group):
                self.weights[group, kept[0], kept[1]] += share * valid

    def mean(self) -> Floats:
        """Return the means, shape (layers, rows, columns), NaN where nothing was added."""
        means = np.full(self.total.shape, np.nan, dtype=np.float32)
        for layer, group in enumerate(self.groups):
            weight = self.weights[group]
            np.divide(
                self.total[layer], weight, out=means[layer], where=weight > 0.0, casting="same_kind"
            )
        return means


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A map that is estimated tile by tile: by blocks, or all tiles side by side.

    The map is the weighted mean of the tiles' estimates; NaN estimates have no weight.
    """

    variables: tuple[xr.DataArray, ...]  # inputs of the tiles, dims (..., y, x)
    # Converts tiles of these, arrays of shape (tiles, ..., size, size) that are NaN beyond the
    # raster, and their corners into estimates, shape (tiles, layers, size, size)
    estimate: Callable[[list[Floats], list[Corner]], Floats]
    layers: int  # of the map
    tiling: Tiling
    # Raises for impossible values in what is read for a block, shape (..., rows, columns)
    check: Callable[[list[Floats]], None] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return self.variables[0].sizes["y"], self.variables[0].sizes["x"]

    def block(self, rows: Span, columns: Span) -> Floats:
        """Compute a block of the map, shape (layers, rows, columns)."""
        tiles = list(self.tiling.corners(rows, columns, self.shape))
        size = self.tiling.size
        first = min(row for row, _ in tiles), min(column for _, column in tiles)
        last = max(row for row, _ in tiles) + size, max(column for _, column in tiles) + size
        inputs = [
            read_window(variable, (first[0], last[0]), (first[1], last[1]))
            for variable in self.variables
        ]
        if self.check is not None:
            self.check(inputs)
        blend = Blend(self.tiling, rows, columns, range(self.layers))
        for number in range(0, len(tiles), BATCH):
            corners = tiles[number : number + BATCH]
            parts = [
                np.s_[..., row : row + size, column : column + size]
                for row, column in ((row - first[0], column - first[1]) for row, column in corners)
            ]
            batch = [np.stack([each[index] for index in parts]) for each in inputs]
            for corner, values in zip(corners, self.estimate(batch, corners), strict=True):
                blend.add(corner, values)
        return blend.mean()

    def side_by_side(
        self, groups: Sequence[int], report: Callable[[float], None] | None = None
    ) -> Floats:
        """Estimate every tile once, in as many threads as there are cores; see `Blend` for groups.

        The sums are in single precision, and the same for any number of threads.
        """
        whole = (0, self.shape[0]), (0, self.shape[1])
        corners = list(self.tiling.corners(*whole, self.shape))
        blend = Blend(self.tiling, *whole, groups, np.float32)

        def estimated(corner: Corner) -> Floats:
            spans = [(first, first + self.tiling.size) for first in corner]
            inputs = [read_window(variable, *spans)[None] for variable in self.variables]
            found: Floats = self.estimate(inputs, [corner])[0]
            return found

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            # In the order of the corners, whichever is done first.
            for done, (corner, values) in enumerate(
                zip(corners, pool.map(estimated, corners), strict=True), start=1
            ):
                blend.add(corner, values)
                if report is not None:
                    report(done / len(corners))
        return blend.mean()

    def compute(self, block: int, report: Callable[[float], None] | None = None) -> Any:  # noqa: ANN401  # of numpy or dask
        """Return the map, shape (layers, rows, columns); lazy if an input has dask chunks."""
        rows, columns = (
            [(first, min(first + block, length)) for first in range(0, length, block)]
            for length in self.shape
        )
        if any(variable.chunks is not None for variable in self.variables):
            return self._lazy(rows, columns)
        values = np.empty((self.layers, *self.shape), dtype=np.float32)
        blocks = [(row, column) for row in rows for column in columns]
        for done, (row, column) in enumerate(blocks, start=1):
            values[:, slice(*row), slice(*column)] = self.block(row, column)
            if report is not None:
                report(done / len(blocks))
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


def match_chunks(values: Any, result: xr.Dataset) -> xr.Dataset:  # noqa: ANN401  # numpy or dask
    """Rechunk all variables of a result as a mosaic's values, if these are lazy."""
    chunks = getattr(values, "chunks", None)
    return result if chunks is None else result.chunk({"y": chunks[-2], "x": chunks[-1]})
