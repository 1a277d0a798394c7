r"""What bounds a reconstruction: the same filter, told some of the truth.

All are one reallocation of blurred RCS with a given image of what is expected, and then total
variation in decibels, relative to it: RTC, blurred, TV is the case in which the same is expected
everywhere. What is told is the true surface; the true kind of ground of each cell of 30 m and the
angular laws of kinds; the mean level of each patch.

With the expected reflectivity :math:`m_g` of a cell and its area :math:`A_{pg}` in a pixel,

.. math:: \gamma_g = m_g \frac{\sum_p A_{pg} \, \tilde E_p / \tilde S_p}{\sum_p A_{pg}},
          \qquad S_p = \sum_g A_{pg} m_g

where blur is written as a tilde. The sum over pixels is RTC of an image of :math:`A_p` times the
quotient, so that nothing but public functions is needed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks._independent.filters import FACETS, SMALLEST_AREA, filled, linear, tv, upsampled
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import RTC, reconstruct
from tests.worlds.scattering_ground import FLATTEST, block_sums

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._independent.observations import Observed

__all__ = ["expected_kinds", "reallocated", "true_surface"]

Floats = NDArray[np.float64]

PIXEL = 10.0
"""Metres between lines and samples of the images."""


def true_surface(observed: Observed) -> xr.DataArray:
    """Return a DEM without error, with 3 x 3 cells in each cell of the DEM."""
    surface = observed.ground.dem.astype(np.float32)
    return surface if observed.form == "coarser" else upsampled(surface)


def expected_kinds(observed: Observed, facets: xr.DataArray, *, levels: bool) -> Floats:
    """Expect of each facet the law of its true kind, at the incidence that the facets have.

    Parameters
    ----------
    observed : Observed
        The pass.
    facets : xarray.DataArray
        DEM of the facets.
    levels : bool
        Whether the mean level of its patch is known, too.

    Returns
    -------
    array
        gamma0, linear power, of the facets' shape.
    """
    found = reconstruct(observed.scene, facets, method=RTC(0.0), variables=("local_incidence",))
    angle = np.clip(np.nan_to_num(found.local_incidence.values, nan=FLATTEST), 0.0, FLATTEST)
    ground = observed.ground
    by = facets.shape[0] // ground.dem.shape[0]
    kind = np.kron(ground.kind, np.ones((by, by), dtype=np.uint8))
    angles = np.linspace(0.0, 90.0, ground.tables.shape[1])
    expected = np.zeros(facets.shape)
    for index, table in enumerate(ground.tables):
        expected[kind == index] = np.interp(angle[kind == index], angles, table)
    if levels:
        count = np.maximum(np.bincount(ground.patch.ravel()), 1)
        mean = np.bincount(ground.patch.ravel(), ground.level.ravel()) / count
        expected += np.kron(mean[ground.patch], np.ones((by, by)))
    return linear(expected)


def reallocated(
    observed: Observed, facets: xr.DataArray, expected: Floats, chosen: tuple[float, float]
) -> Floats:
    """Reallocate blurred RCS, given what is expected, and smooth by total variation.

    Parameters
    ----------
    observed : Observed
        The pass.
    facets : xarray.DataArray
        DEM of 3 x 3 facets in each cell of the DEM.
    expected : array
        Expected gamma0 of facets.
    chosen : pair of float
        Blur in postings of the DEM, and weight of total variation in dB.

    Returns
    -------
    array
        gamma0 of the DEM's cells, linear power.
    """
    scene = observed.scene
    posting = abs(float(observed.dem.x[1] - observed.dem.x[0]))
    width = chosen[0] * posting / PIXEL
    area, simulated = (
        simulate(
            facets, scene.grid, scene.orbit, law=ConstantGamma(1.0), reflectivity=each
        ).image.values.astype(np.float64)
        for each in (None, expected)
    )
    lit = simulated > 0.0
    blurred = [
        gaussian_filter(np.where(lit, each, 0.0), width) for each in (scene.image.values, simulated)
    ]
    ratio = np.where(lit, blurred[0] / np.maximum(blurred[1], 1e-12), 0.0)
    image = scene.image.copy(data=(ratio * area).astype(np.float32))
    found = reconstruct(
        replace(scene, image=image),
        facets,
        method=RTC(0.0),
        smallest_area=0.0,
        variables=("gamma0", "projected_area"),
    )
    known = np.isfinite(found.gamma0.values)
    weight = np.where(known, found.projected_area.values, 0.0)
    rcs = block_sums(np.nan_to_num(found.gamma0.values) * weight * expected, FACETS)
    mean, total = block_sums(weight * expected, FACETS), block_sums(weight, FACETS)
    seen = total >= SMALLEST_AREA * posting**2
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(seen, rcs / mean, np.nan)
        prior = np.where(seen, mean / total, np.nan)
    return tv(relative, chosen[1]) * filled(prior)
