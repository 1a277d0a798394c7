"""Reconstruction on a finer DEM, whose cells add up to those of the coarse one.

Heights refined from both passes lie on a grid of 30 m in place of 90 m. Reconstruction on that
grid gives gamma0 of the fine cells; RCS and illuminated area of nine of them are added up, so that
the result is compared in the same cells as that of the coarse DEM. What the finer grid gives by
itself is told by the coarse DEM, back-projected to it without any image.

Pooling, blur and strength were chosen on the places for development, with seed 0.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._independent.filters import FACETS, SMALLEST_AREA, tv
from sarheight.layover import RTC, PosteriorMean, reconstruct
from sarheight.terrain import back_project
from sarheight.terrain.refinement import refine
from tests.worlds.scattering_ground import block_sums

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._independent.observations import Observed

__all__ = ["back_projected", "on_finer", "refined_heights", "rtc_on_finer"]

Floats = NDArray[np.float64]

POOLING = 2.0
"""Postings of the fine grid: 60 m."""
BLUR, STRENGTH = 0.1, 0.2
"""Of RTC with total variation: blur in postings of the coarse DEM, and weight in dB."""


@lru_cache(maxsize=2)
def refined_heights(passes: tuple[Observed, ...]) -> xr.DataArray:
    """Refine the coarse DEM by the images of all passes, one date each, by default settings."""
    found = refine([each.scene for each in passes], passes[0].dem, factor=FACETS)
    return _as_dem(found["height"], passes[0])


@lru_cache(maxsize=4)
def back_projected(observed: Observed) -> xr.DataArray:
    """Interpolate the coarse DEM so that blocks keep their means."""
    return _as_dem(back_project(observed.dem, factor=FACETS), observed)


def _as_dem(heights: xr.DataArray, observed: Observed) -> xr.DataArray:
    """Give heights the attributes of a DEM."""
    dem = heights.astype(np.float32).assign_attrs(units="m", vertical_datum="ellipsoid")
    placed: xr.DataArray = dem.rio.write_crs(observed.dem.rio.crs)
    return placed


def on_finer(observed: Observed, dem: xr.DataArray) -> Floats:
    """Posterior mean on a finer DEM, in the cells of the coarse one."""
    found = reconstruct(
        observed.scene,
        dem,
        method=PosteriorMean(pooling=POOLING),
        smallest_area=0.0,
        variables=("gamma0", "projected_area"),
    )
    return _in_cells(found, observed)


def rtc_on_finer(observed: Observed, dem: xr.DataArray) -> Floats:
    """RTC on a finer DEM, in the cells of the coarse one, and total variation."""
    found = reconstruct(
        observed.scene,
        dem,
        method=RTC(blur=FACETS * BLUR),
        smallest_area=0.0,
        variables=("gamma0", "projected_area"),
        facets=1,
    )
    return tv(_in_cells(found, observed), STRENGTH)


def _in_cells(result: xr.Dataset, observed: Observed) -> Floats:
    """Add up RCS and illuminated area of fine cells; their quotient is gamma0 of a coarse cell."""
    known = np.isfinite(result.gamma0.values)
    fine = np.where(known, result.projected_area.values, 0.0).astype(np.float64)
    rcs = block_sums(np.where(known, result.gamma0.values, 0.0) * fine, FACETS)
    area = block_sums(fine, FACETS)
    x, y = (abs(float(observed.dem[name][1] - observed.dem[name][0])) for name in ("x", "y"))
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma0: Floats = np.where(area >= SMALLEST_AREA * x * y, rcs / area, np.nan)
    return gamma0
