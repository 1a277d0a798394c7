"""The projection operator between ground and image, and simulated radar images."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.profiles import ACTIVE_SHADOW
from sarheight_kernels.projection import blocks_of_lines, gather, scatter
from sarheight_kernels.tiles import Surface

from sarheight.errors import GeometryError
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.visibility import illuminated_cells
from sarheight.illumination._laws import BackscatterLaw, Muhleman, tabulate
from sarheight.scene import Calibration, Scene

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

NOTHING_ILLUMINATED = (
    "found no cell of the DEM that contributes to a pixel: it lies beside the image, or is void or "
    "in shadow there. Pass a DEM of the image's own area"
)
"""Message for a DEM whose box meets the image, and whose cells do not."""
SPECKLED_LINES = 256
"""Lines to which speckle is added at a time."""


@dataclass(frozen=True, eq=False)
class AdjointSums:
    """Sums of an image over the pixels that each cell of a DEM contributes to."""

    linear: NDArray[np.float32]  # (channels, rows, columns): sums of weight times channel
    # (rows, columns): illuminated area of each cell within the image, projected along the line of
    # sight, in square metres
    area: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Illumination:
    """The projection operator: the RCS W of cells in pixels, recomputed at each use."""

    geometry: PassGeometry  # the DEM under the radar
    law: NDArray[np.float64]  # (n,): backscatter law, tabulated
    illuminated: NDArray[np.bool_]  # (rows, columns): false where a cell is void or in shadow

    @property
    def surface(self) -> Surface:
        """What the kernels read of the DEM, the radar, and the law."""
        geometry = self.geometry
        return Surface(
            geometry.ground,
            geometry.radar,
            geometry.heights,
            self.law,
            geometry.bounds,
            self.illuminated,
        )

    def with_law(self, law: BackscatterLaw) -> Illumination:
        """Return the operator for another backscatter law."""
        return replace(self, law=tabulate(law))

    def simulate(self, reflectivity: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Sum W x over cells: the RCS of each pixel, shape (lines, samples), in square metres.

        Shapes: `reflectivity` (rows, columns), or of several channels (channels, rows, columns),
        as the sums then are; 1 everywhere by default.
        """
        geometry = self.geometry
        ground = np.empty((0, 0), np.float32) if reflectivity is None else reflectivity
        channels, (lines, samples) = ground.shape[:-2], geometry.grid.shape
        block_of = np.empty(geometry.bounds.shape[0], dtype=np.int64)
        block, beyond = blocks_of_lines(geometry.bounds, lines, samples, block_of)
        image, count = np.empty((*channels, lines, samples), np.float32), math.prod(channels)
        scatter(
            self.surface,
            np.ascontiguousarray(ground).reshape(count, *ground.shape[-2:]),
            block,
            block_of,
            np.empty((-(-lines // block), count, beyond, samples), np.float32),
            image.reshape(count, lines, samples),
        )
        return image

    def adjoint(self, image: NDArray[np.float32]) -> AdjointSums:
        """Sum W times an image, shape (channels, lines, samples): the adjoint of `simulate`."""
        shape = self.geometry.heights.shape
        sums, area = np.empty((image.shape[0], *shape), np.float32), np.empty(shape, np.float32)
        gather(self.surface, image, sums, area)
        return AdjointSums(sums, area)


def is_illuminated(category: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Mark the cells that the radar illuminates, by their categories."""
    return category < ACTIVE_SHADOW


def illuminate(
    geometry: PassGeometry, law: BackscatterLaw, illuminated: NDArray[np.bool_] | None = None
) -> Illumination:
    """Make the projection operator of a DEM.

    By default cells in shadow are left out, and else all that are not `illuminated`.
    """
    if illuminated is None:
        illuminated = illuminated_cells(geometry)
    else:
        illuminated = np.ascontiguousarray(illuminated & np.isfinite(geometry.heights))
    return Illumination(geometry, tabulate(law), illuminated)


def _reflectivity(
    reflectivity: xr.DataArray | NDArray[np.floating] | None, dem: xr.DataArray
) -> NDArray[np.float32] | None:
    """Check the reflectivity of a DEM's cells."""
    if reflectivity is None:
        return None
    values = np.asarray(getattr(reflectivity, "values", reflectivity), dtype=np.float32)
    dims = getattr(reflectivity, "dims", dem.dims)
    if values.shape != dem.shape or dims != dem.dims:
        msg = (
            f"found reflectivity of shape {values.shape} with dims {dims}, expected those of the "
            f"DEM, {dem.shape} and {dem.dims}: give one value for each cell"
        )
        raise ValueError(msg)
    valid = values[np.isfinite(dem.values)]
    good = np.isfinite(valid) & (valid >= 0.0)
    if not good.all():
        msg = (
            f"found reflectivity that is negative or not finite at {(~good).sum()} of {good.size} "
            "cells; expected finite linear factors, not negative (is it in dB?)"
        )
        raise ValueError(msg)
    return values


def simulate(
    dem: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    *,
    law: BackscatterLaw | None = None,
    reflectivity: xr.DataArray | NDArray[np.floating] | None = None,
    calibration: Calibration = "beta0",
    shadow: bool = True,
    looks: float | None = None,
    noise: float = 0.0,
    seed: int | None = None,
) -> Scene:
    r"""Simulate the radar image of a DEM.

    The radar cross-section of a pixel is the sum over all facets that project into it of
    reflectivity times :math:`\sigma^0(\theta)` times facet area, by overlap:
    :math:`I_p = \frac{1}{A_p} \sum_g W_{pg} x_g`, with the area :math:`A_p` of the pixel.

    Parameters
    ----------
    dem : xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x), any CRS. Voids scatter nothing.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.
    law : callable, optional
        Backscatter law, from incidence in degrees to sigma0; `Muhleman` by default.
    reflectivity : array, dims (y, x), optional
        Brightness of each cell relative to the law, linear; 1 by default.
    calibration : {"beta0", "sigma0", "gamma0"}
        What the image is calibrated to (on the ellipsoid).
    shadow : bool
        Whether terrain hides terrain behind it. Facets that face away stay dark in any case.
    looks : float, optional
        Equivalent number of looks of the speckle, which is gamma-distributed and independent
        from pixel to pixel; none by default.
    noise : float
        Mean thermal noise, linear power in the image's calibration. It carries the speckle of
        the sum, as in a detected image from which no noise has been removed.
    seed : int, optional
        Seed of speckle and noise.

    Returns
    -------
    Scene
        The image, dims (line, sample), with its grid and orbit. Attributes say that it is
        simulated.

    Raises
    ------
    GeometryError
        If DEM and image do not overlap.
    OrbitCoverageError
        If the orbit does not cover the image.
    ValueError
        If looks, noise, law or reflectivity are out of their range, or not finite.
    """
    if looks is not None and not 0.0 < looks < np.inf:
        msg = f"found looks={looks!r}, expected a positive number, or None for no speckle"
        raise ValueError(msg)
    if not (np.isfinite(noise) and noise >= 0.0):
        msg = f"found noise={noise!r}, expected linear power, not negative (is it in dB?)"
        raise ValueError(msg)
    geometry = pass_geometry(dem, grid, orbit)
    everything = None if shadow else np.ones(dem.shape, dtype=bool)
    operator = illuminate(geometry, Muhleman() if law is None else law, everything)
    image = operator.simulate(_reflectivity(reflectivity, geometry.dem))
    # Ground may also be dark because its reflectivity is zero.
    if not any(line.any() for line in image) and not operator.simulate().any():
        raise GeometryError(NOTHING_ILLUMINATED)
    pixel_areas(grid, geometry.radar, calibration).divide(image, noise)
    if looks is not None:
        random = np.random.default_rng(seed)
        for first in range(0, grid.lines, SPECKLED_LINES):
            block = image[first : first + SPECKLED_LINES]
            block *= random.gamma(looks, 1.0 / looks, size=block.shape)
    data = xr.DataArray(
        image,
        dims=("line", "sample"),
        name=calibration,
        attrs={
            "long_name": f"simulated radar image, {calibration}",
            "units": "1",
            "simulated": "from a DEM and an orbit",
            "noise_equivalent": noise,
        },
    )
    return Scene(data, grid, orbit, calibration)
