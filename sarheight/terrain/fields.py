"""Gaussian fields of a tile, given by their spectra, and the means of blocks of cells.

A field is the inverse cosine transform of independent standard normal coefficients times the square
root of its spectrum (Neumann boundaries). The departure of heights from a coarse DEM is the sum of
two: its error, of the coarse cells, and the relief within them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn, next_fast_len
from scipy.sparse import csr_array

Floats = NDArray[np.float32]

LEAST_WEIGHT = 1e-7
"""Weights of blocks below this are left out of an interpolation."""


# Cosine transforms and spectra.


def quick_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest shape from some shape on whose cosine transforms are fast."""
    rows, columns = (int(next_fast_len(size, real=True)) for size in shape)
    return rows, columns


def cosine_frequencies(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the frequency of each coefficient of a cosine transform, in cycles a cell."""
    down, right = (np.arange(size) / (2.0 * size) for size in shape)
    return np.hypot(down[:, None], right[None, :])


def unit_spectrum(spectrum: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a spectrum to a mean variance of 1."""
    return np.asarray(spectrum / spectrum.mean())


def smoothed_noise_spectrum(frequency: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Return the spectrum of white noise, smoothed by a Gaussian of `length` cells."""
    return unit_spectrum(np.exp(-4.0 * (np.pi * frequency * length) ** 2))


def patch_spectrum(frequency: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """Return the spectrum of the covariance exp(-d / length), which patches of ground have."""
    return unit_spectrum((1.0 + (2.0 * np.pi * frequency * length) ** 2) ** -1.5)


def relief_spectrum(
    frequency: NDArray[np.float64], longest: float, exponent: float
) -> NDArray[np.float64]:
    """Return the spectrum of relief: a power law for waves shorter than `longest`, flat beyond."""
    return unit_spectrum(1.0 / (1.0 + (frequency * longest) ** exponent))


# Fields.


@dataclass(eq=False)
class GaussianField:
    """A field by its standard normal coefficients."""

    # Standard deviation of each part of the field, and its spectrum by the variance of the part.
    deviations: list[float]
    spectra: list[NDArray[np.float64]]
    free_mean: float = 0.0  # standard deviation of the field's mean, beside the spectra
    scale: Floats | None = None  # factor of each cell, of the field's shape
    # Rows and columns of what the field is applied to: its first ones, all by default.
    extent: tuple[int, int] | None = None
    root: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Sum the parts."""
        self.update(self.deviations)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of coefficients and field."""
        rows, columns = self.spectra[0].shape
        return rows, columns

    def update(self, deviations: Sequence[float]) -> None:
        """Set the standard deviations of the parts."""
        self.deviations = list(deviations)
        self.root = np.sqrt(self.variance()).astype(np.float32)

    def variance(self) -> NDArray[np.float64]:
        """Return the variance of each coefficient of the field."""
        pairs = zip(self.deviations, self.spectra, strict=True)
        total = np.sum([deviation**2 * spectrum for deviation, spectrum in pairs], axis=0)
        # The mean of a field is its first coefficient by the square root of the number of cells.
        total[0, 0] += self.free_mean**2 * total.size
        return np.asarray(total)

    def apply(self, coefficients: Floats) -> Floats:
        """Return the field of some coefficients."""
        values = idctn(self.root * coefficients, norm="ortho", overwrite_x=True)
        if self.scale is not None:
            values *= self.scale
        return np.asarray(values if self.extent is None else values[self._inside])

    def adjoint(self, values: Floats) -> Floats:
        """Apply the adjoint of `apply`."""
        if self.extent is not None:
            inside, values = values, np.zeros(self.shape, dtype=np.float32)
            values[self._inside] = inside
        if self.scale is not None:
            values = self.scale * values
        return np.asarray(self.root * dctn(values, norm="ortho"))

    @property
    def _inside(self) -> tuple[slice, slice]:
        rows, columns = self.shape if self.extent is None else self.extent
        return slice(rows), slice(columns)


@dataclass(frozen=True, eq=False)
class BlockMeans:
    """Blocks of cells with their means, and the smoothest surface through given means."""

    factor: int  # cells in a block, each way
    # Interpolation along rows, (rows, blocks), and along columns, (columns, blocks), that keeps the
    # means of blocks. Sparse also because dense products start threads beside those of the tiles.
    down: csr_array
    right: csr_array

    @classmethod
    def of(cls, shape: tuple[int, int], factor: int) -> BlockMeans:
        """Prepare for a raster, whose sides are multiples of the factor."""
        return cls(factor, *(_interpolation(size // factor, factor) for size in shape))

    def up(self, means: Floats) -> Floats:
        """Return a surface with the given means of blocks."""
        return np.asarray((self.right @ (self.down @ means).T).T, dtype=np.float32)

    def up_adjoint(self, values: Floats) -> Floats:
        """Apply the adjoint of `up`."""
        return np.asarray((self.right.T @ (self.down.T @ values).T).T, dtype=np.float32)

    def mean(self, values: Floats) -> Floats:
        """Return the means of blocks."""
        rows, columns = (size // self.factor for size in values.shape)
        blocks = values.reshape(rows, self.factor, columns, self.factor)
        return np.asarray(blocks.mean(axis=(1, 3)))

    def mean_adjoint(self, means: Floats) -> Floats:
        """Apply the adjoint of `mean`."""
        values = means * np.float32(1.0 / self.factor**2)
        return np.repeat(np.repeat(values, self.factor, axis=0), self.factor, axis=1)

    def replace_means(self, values: Floats, means: Floats) -> Floats:
        """Subtract the surface through the means of blocks, and add the one through other means."""
        return np.asarray(values + self.up(means - self.mean(values)))

    def replace_means_adjoint(self, values: Floats) -> tuple[Floats, Floats]:
        """Apply the adjoint of `replace_means`, to values and means."""
        means = self.up_adjoint(values)
        return values - self.mean_adjoint(means), means

    def within(self, values: Floats) -> Floats:
        """Return what the means of blocks do not tell."""
        return np.asarray(values - self.up(self.mean(values)))


def _interpolation(blocks: int, factor: int) -> csr_array:
    """Return the matrix of the natural cubic spline with given means, (blocks * factor, blocks)."""
    from scipy.interpolate import CubicSpline

    if blocks < 3 or factor == 1:
        return csr_array(np.kron(np.eye(blocks), np.ones((factor, 1))).astype(np.float32))
    middle = (np.arange(blocks) + 0.5) * factor - 0.5
    spline = CubicSpline(middle, np.eye(blocks), bc_type="natural")(np.arange(blocks * factor))
    means = spline.reshape(blocks, factor, blocks).mean(axis=1)
    matrix = spline @ np.linalg.inv(means)
    # The weight of a block falls by a factor of 0.27 from one to the next.
    matrix[np.abs(matrix) < LEAST_WEIGHT] = 0.0
    return csr_array(matrix.astype(np.float32))


@dataclass(frozen=True, eq=False)
class HeightPrior:
    """Departure of heights from the baseline: error of the coarse DEM, and relief within cells."""

    blocks: BlockMeans
    error: GaussianField  # of the coarse cells
    relief: GaussianField  # of the posts; its means over coarse cells are taken off

    def apply(self, error: Floats, relief: Floats) -> Floats:
        """Return the departure in metres."""
        return self.blocks.replace_means(self.relief.apply(relief), self.error.apply(error))

    def adjoint(self, heights: Floats) -> tuple[Floats, Floats]:
        """Apply the adjoint of `apply`."""
        values, means = self.blocks.replace_means_adjoint(heights)
        return self.error.adjoint(means), self.relief.adjoint(values)
