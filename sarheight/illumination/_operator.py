"""The image of a surface, and what the image says about the surface: a pair of operators."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.gather import gather
from sarheight_kernels.profiles import ACTIVE_SHADOW
from sarheight_kernels.project import blocks_of_lines, scatter

from sarheight.geometry._visibility import light_cells
from sarheight.illumination._laws import BackscatterLaw, tabulate

if TYPE_CHECKING:
    from sarheight.geometry._view import View

__all__ = ["NOTHING_LIT", "Collected", "Illumination", "illuminate", "lit_cells"]

NO_VALUES = np.empty((0, 0), dtype=np.float32)
NOTHING_LIT = (
    "found no cell of the DEM that lights a pixel: it lies beside the image, or is void or in "
    "shadow there. Pass a DEM of the image's own area"
)
"""What is said of a DEM whose box meets the image, and whose cells do not."""


@dataclass(frozen=True, eq=False)
class Collected:
    """What the cells of a DEM collect from an image.

    Attributes
    ----------
    linear : array, shape (channels, rows, columns)
        Sums of weight times channel.
    square : array, shape (channels, rows, columns)
        Sums of squared weight times channel.
    area : array, shape (rows, columns)
        Lit area of each cell within the image, projected along the line of sight, in square
        metres.
    """

    linear: NDArray[np.float32]
    square: NDArray[np.float32]
    area: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Illumination:
    """Which cell lights which pixel, and how brightly: the weights, recomputed at each use.

    Attributes
    ----------
    view : View
        The DEM under the radar.
    law : array, shape (n,)
        Backscatter law, tabulated.
    lit : array, shape (rows, columns)
        False where a cell is void or in shadow.
    """

    view: View
    law: NDArray[np.float64]
    lit: NDArray[np.bool_]

    def under(self, law: BackscatterLaw) -> Illumination:
        """Return the same under another backscatter law."""
        return replace(self, law=tabulate(law))

    def simulate(self, reflectivity: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Return the energy in each pixel, shape (lines, samples), in square metres.

        Parameters
        ----------
        reflectivity : array, shape (rows, columns), optional
            Brightness of the cells relative to the law; 1 by default.
        """
        grid, bounds = self.view.grid, self.view.bounds
        block_of = np.empty(bounds.shape[0], dtype=np.int64)
        block, beyond = blocks_of_lines(bounds, grid.lines, grid.samples, block_of)
        blocks = -(-grid.lines // block)
        image = np.empty(grid.shape, dtype=np.float32)
        scatter(
            self.view.ground,
            self.view.radar,
            self.view.heights,
            self.law,
            bounds,
            self.lit,
            NO_VALUES if reflectivity is None else np.ascontiguousarray(reflectivity),
            block,
            block_of,
            # From here, as large arrays of NumPy's come in huge pages.
            np.empty((blocks, beyond, grid.samples), dtype=np.float32),
            image,
        )
        return image

    def collect(
        self, linear: NDArray[np.float32], square: NDArray[np.float32] | None = None
    ) -> Collected:
        """Collect channels of an image at the cells.

        Parameters
        ----------
        linear : array, shape (lines, samples, channels)
            Channels to be summed with the weights.
        square : array, shape (lines, samples, channels), optional
            Channels to be summed with the squares of the weights.
        """
        if square is None:
            square = np.empty((*linear.shape[:2], 0), dtype=np.float32)
        shape = self.view.heights.shape
        linear_sum = np.empty((linear.shape[2], *shape), dtype=np.float32)
        square_sum = np.empty((square.shape[2], *shape), dtype=np.float32)
        area = np.empty(shape, dtype=np.float32)
        gather(
            self.view.ground,
            self.view.radar,
            self.view.heights,
            self.law,
            self.view.bounds,
            self.lit,
            linear,
            square,
            linear_sum,
            square_sum,
            area,
        )
        return Collected(linear_sum, square_sum, area)


def lit_cells(category: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell from their categories which cells the radar lights."""
    return category < ACTIVE_SHADOW


def illuminate(
    view: View, law: BackscatterLaw, lit: NDArray[np.bool_] | None = None
) -> Illumination:
    """Light a DEM.

    Parameters
    ----------
    view : View
        The DEM under the radar.
    law : callable
        Backscatter law.
    lit : array, shape (rows, columns), optional
        Cells that are lit; found by occlusion where not given.

    Returns
    -------
    Illumination
        The operators.
    """
    if lit is None:
        lit = light_cells(view)
    else:
        lit = np.ascontiguousarray(lit & np.isfinite(view.heights))
    return Illumination(view, tabulate(law), lit)
