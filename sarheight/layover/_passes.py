"""One image over a DEM, ready to be given back to the ground."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.allocation import allocate_rcs
from sarheight_kernels.estimation import pool
from sarheight_kernels.radiometry import inverse_intensity, mask_missing

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PassGeometry, PixelAreas
    from sarheight.illumination import BackscatterLaw
    from sarheight.illumination.simulate import Illumination
    from sarheight.layover._frame import Core, Taps

__all__ = ["Pass", "Share", "intensities"]

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
    reflectivity : array, shape (polarisations, rows, columns)
        The same over `expected`; NaN where a cell lights no pixel that has data.
    diagnostics : array, shape (4, rows, columns)
        `expected`, `area`, `contribution` and `speckle`.
    geocoded : array, shape (polarisations, rows, columns) or (0, rows, columns)
        The image at the place of each cell, where that was asked for.
    energy : array, shape (polarisations,)
        Energy of the pixels that have data and are lit, in square metres: what was to give away.
    """

    given: NDArray[np.float32]
    reflectivity: NDArray[np.float32]
    diagnostics: NDArray[np.float32]
    geocoded: NDArray[np.float32]
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


@dataclass(frozen=True, eq=False)
class Pass:
    """An image, and the operator that explains it.

    Attributes
    ----------
    image : array, shape (polarisations, lines, samples)
        Intensity, see `intensities`; a pixel that is not finite in one polarisation counts for
        none.
    areas : PixelAreas
        Areas of the pixels to which intensities refer.
    operator : Illumination
        Which cell lights which pixel.
    core : tuple of int, optional
        Cells to which the sums over cells are limited: first and end row, first and end column.
        All by default.
    ellipsoid : PixelAreas, optional
        Areas to which the image refers when it is geocoded; it is not by default.
    """

    image: Image
    areas: PixelAreas
    operator: Illumination
    core: Core | None = None
    ellipsoid: PixelAreas | None = None

    @property
    def geometry(self) -> PassGeometry:
        """The DEM under the radar."""
        return self.operator.geometry

    def under(self, law: BackscatterLaw, ellipsoid: PixelAreas | None = None) -> Pass:
        """Return the same image under another backscatter law, to be geocoded or not."""
        return replace(self, operator=self.operator.with_law(law), ellipsoid=ellipsoid)

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
        shape = self.geometry.heights.shape
        polarisations = self.image.shape[0]
        geocoded = 0 if known is not None or self.ellipsoid is None else polarisations
        share = Share(
            np.empty((polarisations, *shape), dtype=np.float32),
            np.empty((polarisations, *shape), dtype=np.float32),
            np.empty((4 if known is None else 0, *shape), dtype=np.float32),
            np.empty((geocoded, *shape), dtype=np.float32),
            np.empty(polarisations),
        )
        lit = self.operator.illuminated if wanted is None else self.operator.illuminated & wanted
        if assumed is None:
            self._gather(slice(None), self.operator.simulate(), NO_IMAGE, blur, lit, share)
        else:
            for p in range(polarisations):
                one = slice(p, p + 1)
                part = Share(
                    share.given[one],
                    share.reflectivity[one],
                    share.diagnostics if p == 0 else share.diagnostics[:0],
                    share.geocoded[one],
                    share.energy[one],
                )
                self._gather(one, self.operator.simulate(assumed[p]), assumed[p], blur, lit, part)
        if known is None:
            return share
        return replace(share, diagnostics=known.diagnostics, geocoded=known.geocoded)

    def _gather(
        self,
        part: slice,
        simulated: NDArray[np.float32],
        assumed: NDArray[np.float32],
        blur: Taps | None,
        lit: NDArray[np.bool_],
        share: Share,
    ) -> None:
        """Gather the shares of some polarisations; `simulated` is used up."""
        image = self.image[part]
        found = image
        if blur is not None:
            found = np.empty_like(image)
            mask_missing(self.image, simulated)
            for each, smooth in zip(image, found, strict=True):
                pool(each, simulated, True, *blur, smooth)  # noqa: FBT003 - kernels take no keywords
                np.multiply(smooth, simulated, out=smooth, casting="same_kind")
        measured = self.areas.lines, self.areas.areas
        ellipsoid = self.areas if self.ellipsoid is None else self.ellipsoid
        inverse_intensity(self.image, *measured, simulated)
        view = self.geometry
        totals = np.empty((view.bounds.shape[0], image.shape[0]))
        allocate_rcs(
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
            measured,
            (ellipsoid.lines, ellipsoid.areas),
            (0, lit.shape[0], 0, lit.shape[1]) if self.core is None else self.core,
            share.given,
            share.reflectivity,
            share.diagnostics,
            share.geocoded,
            totals,
        )
        share.energy[:] = totals.sum(axis=0)


def intensities(values: NDArray[np.generic]) -> Image:
    """Bring an image into the form that the kernels read, without a copy where it has it.

    Parameters
    ----------
    values : array, shape (..., lines, samples)
        Intensity of any real type.

    Returns
    -------
    array, shape (polarisations, lines, samples)
        In single precision, contiguous and writable: kernels are compiled for such arrays only.
    """
    image = values.reshape(-1, *values.shape[-2:])
    return np.require(image, np.float32, ("C", "W"))
