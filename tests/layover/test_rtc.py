"""Radiometric terrain correction: reallocation with one gamma0 for all, of smoothed images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import RTC, Reallocation, reconstruct
from sarheight.scene import Scene
from tests.mountains import LAW, mountain, raster, scene_of

if TYPE_CHECKING:
    import xarray as xr


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray) -> Scene:
    return scene_of(dem)


def test_without_blur_it_is_reallocation_with_constant_gamma0(
    dem: xr.DataArray, scene: Scene
) -> None:
    found = reconstruct(scene, dem, method=RTC(blur=0.0))
    expected = reconstruct(scene, dem, law=ConstantGamma(0.7), method=Reallocation())
    for name in ("gamma0", "sigma0", "projected_area"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("blur", [0.0, 0.2, 1.0])
def test_ground_of_constant_gamma0_comes_back(dem: xr.DataArray, scene: Scene, blur: float) -> None:
    """Smoothing both sides of the division changes nothing where the DEM is true."""
    image = simulate(dem, scene.grid, scene.orbit, law=ConstantGamma(0.3))
    found = reconstruct(image, dem, method=RTC(blur=blur)).gamma0
    assert np.isfinite(found).mean() > 0.5
    np.testing.assert_allclose(found.values[np.isfinite(found.values)], 0.3, rtol=2e-3)


def test_blur_lets_a_pixel_count_for_its_neighbours(dem: xr.DataArray, scene: Scene) -> None:
    """An area in the wrong pixel does less harm, and the whole RCS stays that of the image."""
    image = simulate(dem, scene.grid, scene.orbit, law=ConstantGamma(0.3))
    moved = Scene(image.image.roll(sample=1), scene.grid, scene.orbit, "beta0")
    errors = []
    for blur in (0.0, 0.5):
        found = reconstruct(moved, dem, method=RTC(blur=blur))
        error = np.log(np.maximum(found.gamma0.values, 0.01) / 0.3)
        errors.append(np.sqrt(np.nanmean(error**2)))
        cells = float((found.gamma0.astype(float) * found.projected_area).sum())
        rcs = found.attrs["rcs_cells"][0]
        assert cells == pytest.approx(rcs, rel=1e-4)
    assert errors[1] < 0.9 * errors[0]


def test_parts_are_as_the_whole(dem: xr.DataArray, scene: Scene) -> None:
    expected = reconstruct(scene, dem, method=RTC(blur=0.4))
    part = Scene(scene.image.chunk(line=41, sample=57), scene.grid, scene.orbit, "beta0")
    found = reconstruct(part, dem, method=RTC(blur=0.4), memory_limit=1)
    assert found.gamma0.chunks is not None
    for name in ("gamma0", "gamma0_variance", "sigma0_geocoded"):
        np.testing.assert_allclose(found[name].compute(), expected[name], rtol=1e-5)


def test_a_law_beside_it_is_refused(dem: xr.DataArray, scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"RTC\(\).*leave law out"):
        reconstruct(scene, dem, law=LAW, method=RTC())


@pytest.mark.parametrize("blur", [-0.1, np.nan, np.inf])
def test_a_blur_is_a_number_of_postings(blur: float) -> None:
    with pytest.raises(ValueError, match="blur"):
        RTC(blur=blur)
