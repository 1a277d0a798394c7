"""One image over a DEM, ready to be given back to the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.cells import locate_cell
from scipy.ndimage import gaussian_filter

from sarheight.dem import local_posting
from sarheight.geometry._pixels import pixel_areas
from sarheight.illumination._operator import illuminate

if TYPE_CHECKING:
    from sarheight.geometry._view import View
    from sarheight.illumination import BackscatterLaw
    from sarheight.illumination._operator import Illumination
    from sarheight.scene import Scene

__all__ = ["Pass", "Share", "energy_of"]

Image = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Share:
    """What the cells of a DEM were given, for each polarisation.

    Attributes
    ----------
    reflectivity : array, shape (polarisations, rows, columns)
        Energy of each cell over what the law lets expect; NaN where it lights no pixel that has
        data.
    expected : array, shape (rows, columns)
        Energy that the law lets expect of the cell in pixels that have data, in square metres.
    area : array, shape (rows, columns)
        Lit area in pixels that have data, projected along the line of sight, in square metres.
    contribution : array, shape (rows, columns)
        Mean share of the cell in the energy of its pixels, weighted by its own energy.
    speckle : array, shape (rows, columns)
        Variance that speckle of one look leaves in the cell's energy, as a fraction of its square.
    energy : array, shape (polarisations,)
        Energy of the pixels that have data and are lit, in square metres: what was to give away.
    """

    reflectivity: NDArray[np.float64]
    expected: NDArray[np.float64]
    area: NDArray[np.float64]
    contribution: NDArray[np.float64]
    speckle: NDArray[np.float64]
    energy: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pass:
    """An image in energies, and the operator that explains it.

    Attributes
    ----------
    energy : array, shape (polarisations, lines, samples)
        Energy of the pixels in square metres; 0 where there is no data.
    valid : array, shape (lines, samples)
        False where a polarisation has no data.
    operator : Illumination
        Which cell lights which pixel.
    """

    energy: Image
    valid: NDArray[np.bool_]
    operator: Illumination

    @property
    def view(self) -> View:
        """The DEM under the radar."""
        return self.operator.view

    def under(self, law: BackscatterLaw) -> Pass:
        """Return the same image under another backscatter law."""
        return replace(self, operator=illuminate(self.view, law, self.operator.lit))

    def cell_size(self) -> tuple[float, float]:
        """Size of a cell at the centre of the DEM in lines and samples."""
        view = self.view
        row, column = (0.5 * (size - 1) for size in view.heights.shape)
        height = float(np.nanmean(view.heights))
        places = [
            locate_cell(
                view.ground, view.radar, row + i, column + j, height, view.radar.line_zero_time
            )[:2]
            for i, j in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
        ]
        down, right = np.subtract(places[1], places[0]), np.subtract(places[2], places[0])
        lines, samples = np.hypot(down, right)
        return float(lines), float(samples)

    def pooling(self, postings: float) -> tuple[float, float]:
        """Return a distance on the ground, given in postings, in rows and columns."""
        down, right = local_posting(self.view.dem)
        mean = np.sqrt(down * right)
        return postings * mean / down, postings * mean / right

    def reallocate(self, assumed: NDArray[np.float32] | None = None, blur: float = 0.0) -> Share:
        """Give each cell its share of the pixels it lights.

        Parameters
        ----------
        assumed : array, shape (polarisations, rows, columns), optional
            Reflectivity by which the pixels are shared; 1 by default.
        blur : float
            Smoothing of image and simulation before they are compared, in postings.
        """
        polarisations = self.energy.shape[0]
        channels = np.ones((*self.valid.shape, polarisations + 2), dtype=np.float32)
        squares = np.empty((*self.valid.shape, 2), dtype=np.float32)
        width = tuple(blur * size for size in self.cell_size())
        energy = np.empty(polarisations)
        simulated = None
        for index in range(polarisations):
            if simulated is None or assumed is not None:
                simulated = self.operator.simulate(None if assumed is None else assumed[index])
            explained = self.valid & (simulated > 0.0)
            found, model = self.energy[index].astype(np.float64), simulated
            energy[index] = found[explained].sum()
            if blur > 0.0:
                found = gaussian_filter(np.where(explained, found, 0.0), width)
                model = gaussian_filter(np.where(explained, simulated, 0.0), width)
            with np.errstate(divide="ignore", invalid="ignore"):
                channels[..., index] = np.where(explained, found / model, 0.0)
                if index == 0:
                    channels[..., polarisations] = explained
                    squares[..., 0] = np.where(explained, 1.0 / simulated, 0.0)
                    squares[..., 1] = explained
        collected = self.operator.collect(channels, squares)
        expected = collected.linear[polarisations].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            reflectivity = collected.linear[:polarisations] / expected
            contribution = collected.square[0] / expected
            speckle = collected.square[1] / expected**2
            # The last channel is 1 everywhere: only part of a cell may lie where data are.
            area = collected.area * np.nan_to_num(expected / collected.linear[-1])
        if assumed is not None:
            reflectivity = reflectivity * assumed
            contribution = contribution * assumed[0]
        return Share(reflectivity, expected, area, contribution, speckle, energy)


def energy_of(scene: Scene, view: View) -> tuple[Image, NDArray[np.bool_]]:
    """Turn a calibrated image into energies.

    Parameters
    ----------
    scene : Scene
        The image.
    view : View
        The DEM under the radar.

    Returns
    -------
    energy : array, shape (polarisations, lines, samples)
        Radar cross-sections of the pixels in square metres; 0 where there is no data.
    valid : array, shape (lines, samples)
        Where every polarisation has data.
    """
    values = np.asarray(scene.image.values)
    image = values[None] if values.ndim == len(scene.grid.shape) else values
    energy = np.empty(image.shape, dtype=np.float32)
    valid = np.isfinite(image).all(axis=0)
    for block, areas in pixel_areas(scene.grid, view.radar, scene.calibration).blocks(
        scene.grid.lines
    ):
        energy[:, block] = np.where(valid[block], image[:, block], 0.0) * areas
    return energy, valid
