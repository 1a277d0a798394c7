"""Prediction over scenes of any size: overlapping tiles blended into a mosaic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch import Tensor

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
    """The weighted means of tiles that come row by row; NaN has no weight.

    Sums are held only where further tiles may come, and do not depend on the part of a raster that
    they are of. Parameters are the tiling, the first row and column of the part, and its shape,
    (layers, rows, columns).
    """

    def __init__(self, tiling: Tiling, origin: Corner, shape: tuple[int, int, int]) -> None:
        self.tiling, self.origin = tiling, origin
        self.means = np.full(shape, np.nan, dtype=np.float32)
        self.done = 0
        self.weight = tiling.weight()
        held = shape[0], min(tiling.size, shape[1]), shape[2]
        self.total, self.weights = np.zeros(held), np.zeros(held)

    def add(self, corner: Corner, values: Floats) -> None:
        """Add a tile, shape (layers, size, size); its row is that of the tile before, or below."""
        row, column = (first - origin for first, origin in zip(corner, self.origin, strict=True))
        if row > self.done:
            self._divide(row - self.done)
        size = self.tiling.size
        firsts = row - self.done, column
        kept = [
            slice(max(first, 0), min(first + size, length))
            for first, length in zip(firsts, self.total.shape[1:], strict=True)
        ]
        inside = [_shifted(part, first) for part, first in zip(kept, firsts, strict=True)]
        part, share = values[:, *inside], self.weight[*inside]
        valid = np.isfinite(part)
        self.total[:, *kept] += np.where(valid, share * part, 0.0)
        self.weights[:, *kept] += share * valid

    def finish(self) -> Floats:
        """Return the means, shape (layers, rows, columns), NaN where nothing was added."""
        self._divide(self.means.shape[1] - self.done)
        return self.means

    def _divide(self, count: int) -> None:
        """Divide the first of the held rows, which no further tile reaches, and hold others."""
        rows = slice(self.done, self.done + count)
        weights = self.weights[:, :count]
        np.divide(
            self.total[:, :count],
            weights,
            out=self.means[:, rows],
            where=weights > 0.0,
            casting="same_kind",
        )
        for sums in (self.total, self.weights):
            sums[:, :-count] = sums[:, count:]
            sums[:, -count:] = 0.0
        self.done += count


@dataclass(frozen=True, eq=False)
class Mosaic:
    """A map that is estimated tile by tile: the weighted mean of the tiles' estimates.

    A cell of the map covers `step` x `step` cells of the variables, from the first ones on. For a
    tile, `margin` more of them are read on each side. A NaN estimate has no weight.
    """

    variables: tuple[xr.DataArray, ...]  # inputs of the tiles, dims (..., y, x)
    # Converts tiles of these, arrays of shape (tiles, ..., rows, columns) that are NaN beyond the
    # raster, and their corners in the map into estimates, shape (tiles, layers, size, size)
    estimate: Callable[[list[Floats], list[Corner]], Floats]
    layers: int  # of the map
    tiling: Tiling  # of the map
    step: int = 1
    margin: int = 0
    batch: int = BATCH  # tiles that are estimated together
    threads: int = 1  # batches that are estimated side by side; the result is the same for all

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        sizes = self.variables[0].sizes
        return sizes["y"] // self.step, sizes["x"] // self.step

    def compute(
        self, block: int | None = None, report: Callable[[float], None] | None = None
    ) -> Any:  # noqa: ANN401  # of numpy or dask
        """Return the map, shape (layers, rows, columns).

        With a size of blocks the map is lazy if a variable has dask chunks. Otherwise each tile is
        estimated once, and `report` is called after each batch with the completed fraction.
        """
        if block is not None and any(each.chunks is not None for each in self.variables):
            return self._lazy(block)
        rows, columns = self.shape
        return self._blended(self.variables, (0, 0), (0, rows), (0, columns), report)

    def block(self, rows: Span, columns: Span) -> Floats:
        """Compute a block of the map, shape (layers, rows, columns)."""
        corners = list(self.tiling.corners(rows, columns, self.shape))
        spans = [
            slice(max(self._read(min(each))[0], 0), self._read(max(each))[1])
            for each in zip(*corners, strict=True)
        ]
        # What its tiles have in common is read once.
        near = tuple(each.isel(y=spans[0], x=spans[1]).compute() for each in self.variables)
        return self._blended(near, (spans[0].start, spans[1].start), rows, columns)

    def _read(self, first: int) -> Span:
        """Return the cells of the variables that are read for a tile, along an axis."""
        begin = first * self.step - self.margin
        return begin, begin + self.tiling.size * self.step + 2 * self.margin

    def _blended(
        self,
        variables: tuple[xr.DataArray, ...],
        origin: Corner,  # of the variables
        rows: Span,
        columns: Span,
        report: Callable[[float], None] | None = None,
    ) -> Floats:
        """Estimate all tiles of a part of the map."""
        size = rows[1] - rows[0], columns[1] - columns[0]
        blend = Blend(self.tiling, (rows[0], columns[0]), (self.layers, *size))
        corners = list(self.tiling.corners(rows, columns, self.shape))
        batches = [corners[n : n + self.batch] for n in range(0, len(corners), self.batch)]

        def estimated(batch: list[Corner]) -> Floats:
            windows = [
                [
                    (start - before, stop - before)
                    for (start, stop), before in zip(map(self._read, corner), origin, strict=True)
                ]
                for corner in batch
            ]
            inputs = [
                np.stack([read_window(variable, *window) for window in windows])
                for variable in variables
            ]
            return self.estimate(inputs, batch)

        with ThreadPoolExecutor(self.threads) as pool:
            # In the order of the batches, whichever is done first.
            results = pool.map(estimated, batches) if self.threads > 1 else map(estimated, batches)
            for done, (batch, values) in enumerate(zip(batches, results, strict=True), start=1):
                for corner, tile in zip(batch, values, strict=True):
                    blend.add(corner, tile)
                if report is not None:
                    report(done / len(batches))
        return blend.finish()

    def _lazy(self, size: int) -> Any:  # noqa: ANN401  # of dask
        from dask import array
        from dask.delayed import delayed

        block = delayed(self.block, pure=True)
        rows, columns = (
            [(first, min(first + size, length)) for first in range(0, length, size)]
            for length in self.shape
        )
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


def as_tensors(arrays: Mapping[str, NDArray[Any]], device: torch.device) -> dict[str, Tensor]:
    """Convert arrays to tensors on a device."""
    import torch

    return {
        name: torch.from_numpy(np.ascontiguousarray(values)).to(device)
        for name, values in arrays.items()
    }
