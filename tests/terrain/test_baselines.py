"""Surfaces without an image: back-projection, alignment, kriged residuals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sarheight.dem import coarsen, reproject
from sarheight.errors import DemError
from sarheight.terrain import back_project
from tests.dems import ranges
from tests.mountains import raster


def rms(values: xr.DataArray | np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.asarray(values) ** 2)))


# Back-projection.


@pytest.fixture(scope="module")
def truth() -> xr.DataArray:
    return raster(ranges((180, 240)))


@pytest.fixture(scope="module")
def coarse(truth: xr.DataArray) -> xr.DataArray:
    return coarsen(truth, 90.0, units="crs")


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_back_projection_keeps_the_means_of_the_cells(coarse: xr.DataArray, factor: int) -> None:
    surface = back_project(coarse, factor=factor)
    assert surface.shape == (60 * factor, 80 * factor)
    means = surface.coarsen(y=factor, x=factor).mean()
    np.testing.assert_allclose(means["x"], coarse["x"])
    np.testing.assert_allclose(means["y"], coarse["y"])
    np.testing.assert_allclose(means, coarse, atol=0.03)


def test_back_projection_is_closer_to_the_truth_than_interpolation(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    surface = back_project(coarse, truth)
    for method in ("bilinear", "cubic"):
        interpolated = reproject(coarse, like=truth, resampling=method)
        assert rms(surface - truth) < 0.9 * rms(interpolated - truth)


def test_back_projection_of_a_plane_is_the_plane() -> None:
    row, column = np.mgrid[:20, :30]
    surface = back_project(raster(1000.0 + 7.0 * row - 3.0 * column, posting=90.0), factor=3)
    inside = surface.isel(y=slice(12, -12), x=slice(12, -12))
    row, column = np.mgrid[:60, :90]
    expected = 1000.0 + 7.0 * (row - 1) / 3.0 - 3.0 * (column - 1) / 3.0
    np.testing.assert_allclose(inside, expected[12:-12, 12:-12], atol=0.05)


def test_back_projection_reaches_grids_of_other_projections(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    degrees = reproject(truth, "EPSG:4326")
    inside = degrees.isel(y=slice(20, -20), x=slice(20, -20))
    surface = back_project(coarse, inside)
    assert surface.rio.crs == inside.rio.crs
    assert np.isfinite(surface).all()
    assert rms(surface - inside) < 1.1 * rms(back_project(coarse, truth) - truth)


def test_back_projection_fills_voids_first(coarse: xr.DataArray) -> None:
    void = xr.zeros_like(coarse, dtype=bool)
    void[20:26, 30:36] = True
    surface = back_project(coarse.where(~void), factor=3)
    assert np.isfinite(surface).all()
    whole = back_project(coarse, factor=3)
    far = surface.isel(y=slice(0, 36)) - whole.isel(y=slice(0, 36))
    assert rms(far) < 0.5
    with pytest.raises(DemError, match="every cell"):
        back_project(coarse.where(coarse < 0.0), factor=3)


def test_back_projection_needs_one_target(coarse: xr.DataArray) -> None:
    for wrong in ({}, {"factor": 0}, {"like": coarse, "factor": 2}):
        with pytest.raises(ValueError, match="one of the two"):
            back_project(coarse, **wrong)
