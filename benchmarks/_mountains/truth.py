"""Simulated images whose truth is known: fine elevations, patchy ground, speckle and noise.

What the reconstruction is later asked for is each coarse cell's own gamma0: the energy that it
returned by itself over its own lit area, projected along the line of sight. Both are sums over
the fine cells inside it, from the noise-free simulation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.profiles import ACTIVE_LAYOVER, PASSIVE_LAYOVER

from benchmarks._mountains.scenes import COARSER, LOOKS
from sarheight import dem as elevation
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.visibility import classify_cells
from sarheight.illumination import BackscatterLaw, CosinePower, Muhleman
from sarheight.illumination.simulate import Illumination, illuminate, is_illuminated
from sarheight.scene import Scene
from sarheight.terrain.scenes import degrade_dem, patchy_reflectivity

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = ["LAW", "NOISE", "OTHER_LAW", "Truth", "coarse_dem", "reflectivity", "truth_of"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

LAW = Muhleman(0.087, 0.3)
"""Falls by 10 dB from 0 to 20 degrees, by 5 more to 40 and by 4 more to 60, as published C-band
curves of rock and soil do; -10 dB at 40 degrees."""
OTHER_LAW = CosinePower(0.157, 1.7)
"""A flat law with the same -10 dB at 40 degrees, as of forest: what if it is that?"""
NOISE = 10.0**-2.2
"""Noise-equivalent sigma0, -22 dB: that of Sentinel-1 IW."""
PATCH = 600.0
"""Mean width of a patch of equal ground in metres."""
PATCH_CONTRAST, TEXTURE = 2.5, 1.0
"""Standard deviation in dB of the patches' levels, and of the cells within a patch."""
HEIGHT_ERROR = 4.0 / 30.0
"""Standard deviation of the coarse DEM's height error, in postings of the fine one: 4 m at 30 m.
Scaling it with the posting keeps the error of the slopes."""
ERROR_LENGTH = 1.5
"""Smoothing of that error, in postings of the coarse DEM."""
LEAST_AREA = 0.05
"""Cells whose projected area is below this part of their horizontal area do not count."""


def _blocks(values: NDArray[np.generic]) -> Floats:
    """Sum over the fine cells of each coarse cell."""
    rows, columns = (size // COARSER for size in values.shape)
    summed: Floats = values.reshape(rows, COARSER, columns, COARSER).sum(
        axis=(1, 3), dtype=np.float64
    )
    return summed


def reflectivity(dem: xr.DataArray, random: np.random.Generator) -> NDArray[np.float32]:
    """Make patchy ground: brightness relative to the law."""
    return patchy_reflectivity(dem, random, patch=PATCH, contrast=PATCH_CONTRAST, texture=TEXTURE)


def coarse_dem(
    dem: xr.DataArray, random: np.random.Generator, *, error: float = HEIGHT_ERROR
) -> xr.DataArray:
    """Make the DEM that the reconstruction is given: coarser, and wrong by a correlated error."""
    sigma = error * float(np.sqrt(np.prod(elevation.local_posting(dem))))
    return degrade_dem(dem, random, factor=COARSER, error=sigma, length=ERROR_LENGTH)


@dataclass(frozen=True, eq=False)
class Truth:
    """What one pass sees of the fine DEM.

    Attributes
    ----------
    grid, orbit : RadarGrid, Orbit
        The pass.
    operator : Illumination
        The fine DEM, lit by the true law.
    unit_energy, area : array, shape (fine rows, fine columns)
        Energy of each fine cell at a reflectivity of 1, and its lit projected area.
    layover : array of bool, shape (rows, columns)
        Coarse cells of which at least half are in active or passive layover.
    counts : array of bool, shape (rows, columns)
        Coarse cells of which at least half are lit, and that show the radar some area.
    """

    grid: RadarGrid
    orbit: Orbit
    operator: Illumination
    unit_energy: NDArray[np.float32]
    area: NDArray[np.float32]
    layover: Mask
    counts: Mask

    def gamma0(self, ground: NDArray[np.float32]) -> Floats:
        """Return the coarse cells' own gamma0, NaN where they do not count."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = _blocks(self.unit_energy * ground) / _blocks(self.area)
        return np.where(self.counts, values, np.nan)

    def image(
        self, ground: NDArray[np.float32], random: np.random.Generator, *, noise: float = NOISE
    ) -> Scene:
        """Return the image: sigma0 with speckle and thermal noise, whose mean is subtracted."""
        energy = self.operator.simulate(ground)
        image = np.empty(energy.shape, dtype=np.float32)
        areas = pixel_areas(self.grid, self.operator.geometry.radar, "sigma0")
        for block, area in areas.blocks(self.grid.lines):
            power = energy[block] / area + noise
            image[block] = power * random.gamma(LOOKS, 1.0 / LOOKS, size=power.shape) - noise
        data = xr.DataArray(image, dims=("line", "sample"), attrs={"units": "1"})
        return Scene(data, self.grid, self.orbit, "sigma0")


def truth_of(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit, law: BackscatterLaw = LAW) -> Truth:
    """Light a fine DEM by the true law."""
    seen = pass_geometry(dem, grid, orbit)
    category, _ = classify_cells(seen)
    lit = is_illuminated(category)
    operator = illuminate(seen, law, lit)
    own = operator.adjoint(np.ones((1, *grid.shape), dtype=np.float32))
    cells = COARSER**2
    folded = (category == ACTIVE_LAYOVER) | (category == PASSIVE_LAYOVER)
    shown = _blocks(own.area) >= LEAST_AREA * cells * seen.cell_area
    return Truth(
        grid=grid,
        orbit=orbit,
        operator=operator,
        unit_energy=own.linear[0],
        area=own.area,
        layover=_blocks(folded) >= cells / 2,
        counts=(_blocks(lit) >= cells / 2) & shown,
    )
