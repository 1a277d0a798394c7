"""One image over a DEM, ready to be given back to the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.energies import energies
from sarheight_kernels.pooling import pool
from sarheight_kernels.shares import gather_shares, invert

from sarheight.geometry._pixels import pixel_areas
from sarheight.illumination._operator import illuminate

if TYPE_CHECKING:
    from sarheight.geometry._view import View
    from sarheight.illumination import BackscatterLaw
    from sarheight.illumination._operator import Illumination
    from sarheight.layover._frame import Core, Taps
    from sarheight.scene import Scene

__all__ = ["Pass", "Share", "energy_of"]

Image = NDArray[np.float32]
NO_IMAGE = np.empty((0, 0), dtype=np.float32)
NO_IMAGES = np.empty((0, 0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Share:
    """What the cells of a DEM were given, for each polarisation.

    Attributes
    ----------
    given : array, shape (polarisations, rows, columns)
        Energy that each cell was given in square metres.
    diagnostics : array, shape (4, rows, columns)
        `expected`, `area`, `contribution` and `speckle`.
    energy : array, shape (polarisations,)
        Energy of the pixels that have data and are lit, in square metres: what was to give away.
    """

    given: NDArray[np.float32]
    diagnostics: NDArray[np.float32]
    energy: NDArray[np.float64]

    @property
    def expected(self) -> NDArray[np.float32]:
        """Energy in m2 that the law lets expect of the cells in pixels that have data."""
        return self._layer(0)

    @property
    def area(self) -> NDArray[np.float32]:
        """Lit area in m2 in pixels that have data, projected along the line of sight."""
        return self._layer(1)

    @property
    def contribution(self) -> NDArray[np.float32]:
        """Mean share of a cell in the energy of its pixels, weighted by its own energy."""
        return self._layer(2)

    @property
    def speckle(self) -> NDArray[np.float32]:
        """Variance that speckle of one look leaves in a cell, as a fraction of its square."""
        return self._layer(3)

    def _layer(self, index: int) -> NDArray[np.float32]:
        layer: NDArray[np.float32] = self.diagnostics[index]
        return layer

    @property
    def reflectivity(self) -> NDArray[np.float32]:
        """Energy over expected energy, NaN where a cell lights no pixel that has data."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: NDArray[np.float32] = self.given / self.expected
        return ratio


@dataclass(frozen=True, eq=False)
class Pass:
    """An image in energies, and the operator that explains it.

    Attributes
    ----------
    energy : array, shape (polarisations, lines, samples)
        Energy of the pixels in square metres; NaN where a polarisation has no data.
    operator : Illumination
        Which cell lights which pixel.
    core : tuple of int, optional
        Cells to which the sums over cells are limited: first and end row, first and end column.
        All by default.
    """

    energy: Image
    operator: Illumination
    core: Core | None = None

    @property
    def view(self) -> View:
        """The DEM under the radar."""
        return self.operator.view

    def under(self, law: BackscatterLaw) -> Pass:
        """Return the same image under another backscatter law."""
        return replace(self, operator=illuminate(self.view, law, self.operator.lit))

    def reallocate(
        self,
        assumed: NDArray[np.float32] | None = None,
        blur: Taps | None = None,
        wanted: NDArray[np.bool_] | None = None,
        known: Share | None = None,
    ) -> Share:
        """Give each cell its share of the pixels it lights.

        Parameters
        ----------
        assumed : array, shape (polarisations, rows, columns), optional
            Reflectivity by which the pixels are shared; 1 by default.
        blur : pair of arrays, optional
            Weights along lines and samples by which image and simulation are smoothed before
            they are compared.
        wanted : array, shape (rows, columns), optional
            Cells whose shares are asked for; all by default.
        known : Share, optional
            Of an earlier step, which then serves for all but what cells are given.
        """
        polarisations = self.energy.shape[0]
        shape = self.view.heights.shape
        given = np.empty((polarisations, *shape), dtype=np.float32)
        diagnostics = np.empty((4 if known is None else 0, *shape), dtype=np.float32)
        energy = np.empty(polarisations)
        lit = self.operator.lit if wanted is None else self.operator.lit & wanted
        if assumed is None:
            simulated = self.operator.simulate()
            self._gather(slice(None), simulated, NO_IMAGE, blur, lit, given, diagnostics, energy)
            return Share(given, diagnostics, energy)
        for p in range(polarisations):
            one = slice(p, p + 1)
            self._gather(
                one,
                self.operator.simulate(assumed[p]),
                assumed[p],
                blur,
                lit,
                given[one],
                diagnostics if p == 0 else diagnostics[:0],
                energy[one],
            )
        return Share(given, diagnostics if known is None else known.diagnostics, energy)

    def _gather(
        self,
        part: slice,
        simulated: NDArray[np.float32],
        assumed: NDArray[np.float32],
        blur: Taps | None,
        lit: NDArray[np.bool_],
        given: NDArray[np.float32],
        diagnostics: NDArray[np.float32],
        energy: NDArray[np.float64],
    ) -> None:
        """Gather the shares of some polarisations; `simulated` is used up."""
        image = self.energy[part]
        found = image
        if blur is not None:
            found = np.empty_like(image)
            for each, smooth in zip(image, found, strict=True):
                pool(each, simulated, True, *blur, smooth)  # noqa: FBT003 - kernels take no keywords
                np.multiply(smooth, simulated, out=smooth, casting="same_kind")
        invert(image[0], simulated)
        view = self.view
        totals = np.empty((view.bounds.shape[0], image.shape[0]))
        gather_shares(
            view.ground,
            view.radar,
            view.heights,
            self.operator.law,
            view.bounds,
            lit,
            assumed,
            NO_IMAGES if found is image else image,
            found,
            simulated,
            (0, lit.shape[0], 0, lit.shape[1]) if self.core is None else self.core,
            given,
            diagnostics,
            totals,
        )
        energy[:] = totals.sum(axis=0)


def energy_of(scene: Scene, view: View) -> tuple[Image, NDArray[np.float64]]:
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
        Radar cross-sections of the pixels in square metres; NaN where a polarisation has no data.
    total : array, shape (polarisations,)
        Their sums.
    """
    values = np.asarray(scene.image.values)
    image = values[None] if values.ndim == len(scene.grid.shape) else values
    table = pixel_areas(scene.grid, view.radar, scene.calibration)
    energy = np.empty(image.shape, dtype=np.float32)
    totals = np.empty(image.shape[:2])
    energies(image, table.lines, table.areas, energy, totals)
    return energy, totals.sum(axis=1)
