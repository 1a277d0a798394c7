"""Hills, a coarse DEM of them, and images of two passes: the world of refined heights."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight.dem import coarsen
from sarheight.illumination import CosinePower, simulate
from sarheight.scene import Scene
from tests.mountains import look, rough_hills


@pytest.fixture(scope="session")
def truth() -> xr.DataArray:
    return rough_hills()


@pytest.fixture(scope="session")
def coarse(truth: xr.DataArray) -> xr.DataArray:
    """Means of cells, with a correlated error of 2 m."""
    exact = coarsen(truth, 90.0, units="crs")
    smooth = gaussian_filter(np.random.default_rng(3).standard_normal(exact.shape), 1.5)
    return exact + (2.0 * smooth / smooth.std()).astype(np.float32)


@pytest.fixture(scope="session")
def passes(truth: xr.DataArray) -> list[Scene]:
    """Ascending and descending images of one law, on ground whose level differs between cells."""
    patches = np.exp(0.1 * np.random.default_rng(5).standard_normal(truth.shape))
    law, found = CosinePower(0.2, 1.7), []
    for seed, ascending in enumerate((True, False), start=1):
        seen_by = look(ascending=ascending, lines=420, samples=460, looks=40.0)
        found.append(
            simulate(truth, *seen_by, law=law, reflectivity=patches, looks=40.0, seed=seed)
        )
    return found
