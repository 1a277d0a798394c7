"""Prediction over scenes of any size: overlapping tiles blended into a mosaic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import CheckpointError
from sarheight.learning.split import require_power

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.learning.weights import Channel
    from sarheight.terrain.networks import HeightEstimator

Floats = NDArray[np.float64]
Span = tuple[int, int]


@dataclass(frozen=True)
class Tiling:
    """Square tiles over a raster, each overlapping the next.

    A tile counts fully in its middle, and less towards its edges: over the overlap its weight
    falls as the square of a sine, to which that of the next tile adds up to one. Which tiles a
    cell gets its value from does not depend on the block in which it is computed.

    Parameters
    ----------
    size : int
        Cells of a tile, each way.
    overlap : int
        Cells that a tile shares with the next.

    Raises
    ------
    ValueError
        If the overlap is not below half of the size.
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
        """Refuse tiles that a network cannot take, and blocks without a cell.

        Parameters
        ----------
        stride : int
            Of the network: the size must be a multiple of it.
        block : int
            Cells of a block, each way.

        Raises
        ------
        ValueError
        """
        if self.size % stride or block < 1:
            msg = (
                f"found tiles of {self.size} cells and blocks of {block}, expected tiles of a "
                f"multiple of {stride} cells, and blocks above 0"
            )
            raise ValueError(msg)

    def starts(self, length: int, within: Span) -> list[int]:
        """Return where the tiles begin that reach into a span of an axis.

        The first begins before the axis does, so that the cells at its edge lie in the middle of
        an overlap like all others.

        Parameters
        ----------
        length : int
            Cells of the axis.
        within : tuple of int
            First and one past the last cell of the span.
        """
        first = -self.overlap
        count = max(0, -(-(length - first - self.overlap) // self.step))
        return [
            start
            for start in (first + number * self.step for number in range(count))
            if start < within[1] and start + self.size > within[0]
        ]

    def window(self, rows: Span, columns: Span, shape: tuple[int, int]) -> Iterator[Span]:
        """Yield the corners (row, column) of the tiles that reach into a block."""
        for row in self.starts(shape[0], rows):
            for column in self.starts(shape[1], columns):
                yield row, column

    def weight(self) -> Floats:
        """Return the weights of a tile's cells, shape (size, size)."""
        ramp = np.sin(0.5 * np.pi * (np.arange(self.overlap) + 0.5) / max(self.overlap, 1)) ** 2
        profile = np.ones(self.size)
        profile[: self.overlap] = ramp
        profile[self.size - self.overlap :] = ramp[::-1]
        return np.outer(profile, profile)


# Maps made of blended tiles, at once or lazily, whatever is estimated.

MosaicFloats = NDArray[np.float32]
Corner = tuple[int, int]
"""Row and column at which a tile begins; it may begin and end beyond the raster."""
BATCH = 4
"""Tiles that are estimated together."""


def window(variable: xr.DataArray, rows: Span, columns: Span) -> MosaicFloats:
    """Read a window that may reach beyond the raster; what is outside is NaN.

    Returns shape (..., rows, columns).
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


def match_chunks(values: Any, result: xr.Dataset) -> xr.Dataset:  # noqa: ANN401  # numpy or dask
    """Give all variables of a result the chunks of a mosaic, if that is lazy.

    What goes along with a map, such as a mask, may come in chunks of another size.
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
    """

    variables: tuple[xr.DataArray, ...]  # what tiles are cut from, dims (..., y, x)
    # Turns tiles of these, a list of arrays of shape (tiles, ..., size, size), and the corner of
    # each tile into an array of shape (tiles, layers, size, size). What lies beyond the raster is
    # NaN
    estimate: Callable[[list[MosaicFloats], list[Corner]], MosaicFloats]
    layers: int  # of the map
    tiling: Tiling  # size and overlap of the tiles
    # Given what is read for a block, arrays of shape (..., rows, columns), before it is cut into
    # tiles; raises where that cannot be right
    check: Callable[[list[MosaicFloats]], None] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        return self.variables[0].sizes["y"], self.variables[0].sizes["x"]

    def block(self, rows: Span, columns: Span) -> MosaicFloats:
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
        """Return the map, shape (layers, rows, columns): lazily where a variable is in chunks."""
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


# What an estimator sees of a scene.


def select_layers(estimator: HeightEstimator, scene: xr.Dataset) -> list[xr.DataArray]:
    """Find the estimator's channels in a scene, by name."""
    present: dict[str, xr.DataArray] = {}
    for name, variable in scene.data_vars.items():
        if variable.dims == ("y", "x"):
            present[str(name)] = variable
        elif set(variable.dims) == {"polarisation", "y", "x"}:
            for label in variable["polarisation"].values:
                chosen = variable.sel(polarisation=label, drop=True).transpose("y", "x")
                present[f"{name}_{str(label).lower()}"] = chosen
    return [_layer(channel, present) for channel in estimator.channels]


def _layer(channel: Channel, present: dict[str, xr.DataArray]) -> xr.DataArray:
    if channel.name not in present:
        msg = (
            f"found no {channel.name} in a scene that has {', '.join(present)}; the model was "
            "trained with it: make the scene with sarheight.terrain.prepare_scene"
        )
        raise CheckpointError(msg)
    layer = present[channel.name]
    units = str(layer.attrs.get("units", channel.units))
    if units != channel.units:
        msg = (
            f"found {channel.name} in units of {units!r}, expected {channel.units!r}, with which "
            "the model was trained: convert it (decibels to power: 10 ** (value / 10))"
        )
        raise CheckpointError(msg)
    return layer


def select_coarse_dem(estimator: HeightEstimator, scene: xr.Dataset) -> xr.DataArray | None:
    """Find the coarse elevation model in a scene, if the estimator takes one."""
    if "coarse" not in estimator.surfaces:
        return None
    if "coarse_height" not in scene:
        msg = (
            "found no coarse_height in the scene, and the model takes a coarse elevation model: "
            "add it in metres above the ellipsoid"
        )
        raise CheckpointError(msg)
    return scene["coarse_height"]


def require_powers(channels: Sequence[Channel], seen: Sequence[NDArray[np.float32]]) -> None:
    """Refuse decibels where a model sees power."""
    for channel, values in zip(channels, seen, strict=False):
        if channel.transform == "decibel":
            require_power(channel.name, values)
