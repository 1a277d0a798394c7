"""Overlapping tiles, blended without a seam."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tiling"]

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
