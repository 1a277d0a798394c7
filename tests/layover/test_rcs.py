"""Reconstruction keeps the energy, and gives back what is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.illumination import ConstantGamma, Lambertian, simulate
from sarheight.illumination.simulate import illuminate
from sarheight.layover import RTC, Method, PosteriorMean, Reallocation, mapping, reconstruct
from sarheight.layover.allocation import PassTile, intensities
from sarheight.scene import Scene
from tests.mountains import LAW, look, random_terrain, raster, scene_of

Floats = NDArray[np.float64]

METHODS: list[Method] = [Reallocation(), PosteriorMean()]
BY_NAME = {"ids": lambda method: type(method).__name__}


def pixel_energy(scene: Scene, dem: xr.DataArray) -> Floats:
    """Intensity times pixel area."""
    energy = np.array(scene.image.values, dtype=np.float64)
    radar = pass_geometry(dem, scene.grid, scene.orbit).radar
    for block, areas in pixel_areas(scene.grid, radar, scene.calibration).blocks(scene.grid.lines):
        energy[block] *= areas
    return energy


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    relief=st.floats(0.0, 400.0),
    look_side=st.sampled_from(["right", "left"]),
    ascending=st.booleans(),
    ground_range=st.booleans(),
    incidence=st.floats(24.0, 46.0),
    method=st.sampled_from(METHODS),
)
def test_all_energy_is_given_out(
    seed: int,
    relief: float,
    look_side: str,
    incidence: float,
    method: Method,
    *,
    ascending: bool,
    ground_range: bool,
) -> None:
    """Whatever the terrain, the look and the grid, to 1e-5 of the total."""
    dem = raster(random_terrain(seed, relief=relief))
    scene = scene_of(
        dem,
        seed=seed,
        noise=0.01,
        look_side=look_side,
        ascending=ascending,
        ground_range=ground_range,
        incidence=incidence,
        lines=140,
        samples=170,
        sample_spacing=10.0 if ground_range else 6.0,
    )
    found = reconstruct(scene, dem, law=LAW, method=method)
    lit = illuminate(pass_geometry(dem, scene.grid, scene.orbit), LAW).simulate() > 0.0
    energy = pixel_energy(scene, dem)
    explained = float(energy[lit].sum())
    held = float((found.gamma0.astype(np.float64) * found.projected_area).sum())
    withheld = found.attrs["rcs_withheld"][0]
    assert held + withheld == pytest.approx(explained, rel=1e-5)
    assert found.attrs["rcs_cells"][0] == pytest.approx(held, rel=1e-5)
    assert found.attrs["rcs_explained"][0] == pytest.approx(explained, rel=1e-5)
    assert found.attrs["rcs_image"][0] == pytest.approx(float(energy.sum()), rel=1e-5)
    assert withheld < 0.05 * explained


def test_one_step_gives_out_each_pixel_once_by_itself(scene: Scene, dem: xr.DataArray) -> None:
    """Before any factor is applied, and with the prior's weights too."""
    seen = pass_geometry(dem, scene.grid, scene.orbit)
    areas = pixel_areas(scene.grid, seen.radar, scene.calibration)
    one = PassTile(intensities(scene.image.values), areas, illuminate(seen, LAW))
    random = np.random.default_rng(0)
    for assumed in (None, random.uniform(0.3, 3.0, dem.shape).astype(np.float32)):
        share = one.allocate(assumed)
        given_out = np.nansum(share.reflectivity[0] * share.expected)
        if assumed is None:
            assert given_out == pytest.approx(share.total[0], rel=1e-6)
        assert np.nanmax(share.contribution) <= 1.0 + 1e-5


@pytest.mark.parametrize(
    "chosen",
    [{"law": ConstantGamma(0.7), "method": Reallocation()}, {"method": RTC(blur=0.0)}],
    ids=["reallocation", "rtc"],
)
def test_with_constant_gamma_it_is_area_projection_rtc(
    scene: Scene, dem: xr.DataArray, chosen: dict[str, Any]
) -> None:
    """gamma0 of a pixel is its energy over its projected area, sampled back by these areas."""
    found = reconstruct(scene, dem, **chosen)
    areas = mapping(dem, scene.grid, scene.orbit).matrix
    total = np.asarray(areas.sum(axis=1))
    energy = pixel_energy(scene, dem).ravel()
    gamma = np.divide(energy, total, out=np.zeros_like(energy), where=total > 0.0)
    by_cell = np.asarray(areas.sum(axis=0))
    sampled = areas.T @ gamma
    rtc = np.divide(sampled, by_cell, out=np.full_like(sampled, np.nan), where=by_cell > 0.0)
    reported = np.isfinite(found.gamma0.values)
    assert reported.sum() > 3000
    np.testing.assert_allclose(
        found.gamma0.values[reported], rtc.reshape(dem.shape)[reported], rtol=1e-5
    )
    sigma = rtc.reshape(dem.shape) * np.cos(np.radians(found.local_incidence.values))
    np.testing.assert_allclose(found.sigma0.values[reported], sigma[reported], rtol=2e-5)
    np.testing.assert_allclose(
        found.projected_area.values[reported], by_cell.reshape(dem.shape)[reported], rtol=1e-5
    )


def test_blur_lets_a_pixel_count_for_its_neighbours(dem: xr.DataArray) -> None:
    """An area in the wrong pixel does less harm, and the whole RCS stays that of the image.

    Smoothing both sides of the division changes nothing where the DEM is true.
    """
    image = simulate(dem, *look(), law=ConstantGamma(0.3))
    for blur in (0.0, 0.2, 1.0):
        gamma0 = reconstruct(image, dem, method=RTC(blur=blur)).gamma0.values
        assert np.isfinite(gamma0).mean() > 0.5
        np.testing.assert_allclose(gamma0[np.isfinite(gamma0)], 0.3, rtol=2e-3)
    moved = replace(image, image=image.image.roll(sample=1))
    errors = []
    for blur in (0.0, 0.5):
        found = reconstruct(moved, dem, method=RTC(blur=blur))
        error = np.log(np.maximum(found.gamma0.values, 0.01) / 0.3)
        errors.append(np.sqrt(np.nanmean(error**2)))
        cells = float((found.gamma0.astype(float) * found.projected_area).sum())
        assert cells == pytest.approx(found.attrs["rcs_cells"][0], rel=1e-4)
    assert errors[1] < 0.9 * errors[0]


def test_rtc_of_parts_is_that_of_the_whole(dem: xr.DataArray, scene: Scene) -> None:
    expected = reconstruct(scene, dem, method=RTC(blur=0.4))
    parts = replace(scene, image=scene.image.chunk(line=41, sample=57))
    found = reconstruct(parts, dem, method=RTC(blur=0.4), memory_limit=1)
    assert found.gamma0.chunks is not None
    for name in ("gamma0", "gamma0_variance", "sigma0_geocoded"):
        np.testing.assert_allclose(found[name].compute(), expected[name], rtol=1e-5)


def test_rtc_takes_no_law(dem: xr.DataArray, scene: Scene) -> None:
    with pytest.raises(ValueError, match=r"RTC\(\).*leave law out"):
        reconstruct(scene, dem, law=LAW, method=RTC())


def test_the_level_of_the_law_does_not_matter(scene: Scene, dem: xr.DataArray) -> None:
    low, high = (
        reconstruct(scene, dem, law=Lambertian(level), method=Reallocation())
        for level in (0.01, 5.0)
    )
    np.testing.assert_allclose(low.gamma0, high.gamma0, rtol=1e-5)
    np.testing.assert_allclose(low.contribution_share, high.contribution_share, rtol=1e-4)


@pytest.mark.parametrize("calibration", ["beta0", "sigma0", "gamma0"])
def test_a_uniform_scene_comes_back_as_it_was(dem: xr.DataArray, calibration: Any) -> None:  # noqa: ANN401
    law = ConstantGamma(0.3)
    scene = simulate(dem, *look(), law=law, calibration=calibration)
    for method in METHODS:
        gamma0 = reconstruct(scene, dem, law=law, method=method).gamma0.values
        np.testing.assert_allclose(gamma0[np.isfinite(gamma0)], 0.3, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
def test_a_uniform_scene_comes_back_by_any_true_law(dem: xr.DataArray, method: Method) -> None:
    """Each cell returns what the law says of its facets, over their projected area."""
    scene = scene_of(dem, seed=None)
    found = reconstruct(scene, dem, law=LAW, method=method)
    operator = illuminate(pass_geometry(dem, scene.grid, scene.orbit), LAW)
    own = operator.adjoint(np.ones((1, *scene.grid.shape), dtype=np.float32))
    reported = np.isfinite(found.gamma0.values)
    assert reported.sum() > 3000
    np.testing.assert_allclose(
        found.gamma0.values[reported],
        own.linear[0][reported] / own.area[reported],
        rtol=1e-4,
    )
    np.testing.assert_allclose(found.projected_area.values[reported], own.area[reported], rtol=1e-5)


def test_cells_that_are_too_small_are_withheld(dem: xr.DataArray, scene: Scene) -> None:
    few = reconstruct(scene, dem, law=LAW, method=Reallocation(), smallest_area=0.0)
    some = reconstruct(scene, dem, law=LAW, method=Reallocation(), smallest_area=0.3)
    gone = np.isnan(some.gamma0.values) & np.isfinite(few.gamma0.values)
    assert gone.sum() > 50
    assert (some.projected_area.values[gone] < 0.3 * 900.0 * 1.01).all()
    assert some.attrs["rcs_withheld"][0] > few.attrs["rcs_withheld"][0]
