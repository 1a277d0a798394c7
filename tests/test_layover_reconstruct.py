"""Reconstruction: energy, agreement with what is known, and what the result says of itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.geometry import geo2rdr
from sarheight.geometry._pixels import pixel_areas
from sarheight.geometry._view import view
from sarheight.illumination import ConstantGamma, CosinePower, Lambertian, simulate
from sarheight.illumination._operator import illuminate
from sarheight.layover import PosteriorMean, Reallocation, mapping, reconstruct
from sarheight.layover._passes import Pass, energy_of
from sarheight.output import open_result, write
from sarheight.scene import Scene
from tests.mountains import look, mountain, random_terrain, raster

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.layover import Method

Floats = NDArray[np.float64]

LAW = CosinePower(0.2, 1.7)
METHODS: list[Method] = [Reallocation(), PosteriorMean()]
BY_NAME = {"ids": lambda method: type(method).__name__}


def scene_of(dem: xr.DataArray, *, seed: int | None = 0, noise: float = 0.0, **how: Any) -> Scene:  # noqa: ANN401
    """Speckled image of a DEM with patchy reflectivity; clean and uniform where seed is None."""
    grid, orbit = look(**how)
    if seed is None:
        return simulate(dem, grid, orbit, law=LAW, noise=noise)
    patches = np.exp(0.5 * np.random.default_rng(seed).standard_normal(dem.shape))
    return simulate(
        dem, grid, orbit, law=LAW, reflectivity=patches, looks=4.4, seed=seed, noise=noise
    )


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray) -> Scene:
    return scene_of(dem)


@pytest.fixture(scope="module")
def result(scene: Scene, dem: xr.DataArray) -> xr.Dataset:
    return reconstruct(scene, dem)


def pixel_energy(scene: Scene, dem: xr.DataArray) -> Floats:
    """Intensity times pixel area."""
    energy = np.array(scene.image.values, dtype=np.float64)
    radar = view(dem, scene.grid, scene.orbit).radar
    for block, areas in pixel_areas(scene.grid, radar, scene.calibration).blocks(scene.grid.lines):
        energy[block] *= areas
    return energy


@settings(max_examples=30)
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
    ascending: bool,  # noqa: FBT001
    ground_range: bool,  # noqa: FBT001
    incidence: float,
    method: Method,
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
    lit = illuminate(view(dem, scene.grid, scene.orbit), LAW).simulate() > 0.0
    energy = pixel_energy(scene, dem)
    explained = float(energy[lit].sum())
    held = float((found.gamma0.astype(np.float64) * found.projected_area).sum())
    withheld = found.attrs["energy_withheld"][0]
    assert held + withheld == pytest.approx(explained, rel=1e-5)
    assert found.attrs["energy_cells"][0] == pytest.approx(held, rel=1e-5)
    assert found.attrs["energy_explained"][0] == pytest.approx(explained, rel=1e-5)
    assert found.attrs["energy_image"][0] == pytest.approx(float(energy.sum()), rel=1e-5)
    assert withheld < 0.05 * explained


def test_one_step_gives_out_each_pixel_once_by_itself(scene: Scene, dem: xr.DataArray) -> None:
    """Before any factor is applied, and with the prior's weights too."""
    seen = view(dem, scene.grid, scene.orbit)
    one = Pass(*energy_of(scene, seen), illuminate(seen, LAW))
    random = np.random.default_rng(0)
    for assumed in (None, random.uniform(0.3, 3.0, (1, *dem.shape)).astype(np.float32)):
        share = one.reallocate(assumed)
        given_out = np.nansum(share.reflectivity[0] * share.expected)
        if assumed is None:
            assert given_out == pytest.approx(share.energy[0], rel=1e-6)
        assert np.nanmax(share.contribution) <= 1.0 + 1e-5


def test_with_constant_gamma_it_is_area_projection_rtc(scene: Scene, dem: xr.DataArray) -> None:
    """gamma0 of a pixel is its energy over its projected area, sampled back by these areas."""
    found = reconstruct(scene, dem, law=ConstantGamma(0.7), method=Reallocation())
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


def test_the_level_of_the_law_does_not_matter(scene: Scene, dem: xr.DataArray) -> None:
    low, high = (
        reconstruct(scene, dem, law=Lambertian(level), method=Reallocation())
        for level in (0.01, 5.0)
    )
    np.testing.assert_allclose(low.gamma0, high.gamma0, rtol=1e-5)
    np.testing.assert_allclose(low.contribution_share, high.contribution_share, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
@pytest.mark.parametrize("calibration", ["beta0", "sigma0", "gamma0"])
def test_a_uniform_scene_comes_back_as_it_was(
    dem: xr.DataArray, method: Method, calibration: Any  # noqa: ANN401
) -> None:  # fmt: skip
    grid, orbit = look()
    scene = simulate(dem, grid, orbit, law=ConstantGamma(0.3), calibration=calibration)
    found = reconstruct(scene, dem, law=ConstantGamma(0.3), method=method)
    reported = np.isfinite(found.gamma0.values)
    np.testing.assert_allclose(found.gamma0.values[reported], 0.3, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
def test_a_uniform_scene_comes_back_by_any_true_law(dem: xr.DataArray, method: Method) -> None:
    """Each cell returns what the law says of its facets, over their projected area."""
    scene = scene_of(dem, seed=None)
    found = reconstruct(scene, dem, law=LAW, method=method)
    operator = illuminate(view(dem, scene.grid, scene.orbit), LAW)
    own = operator.collect(np.ones((*scene.grid.shape, 1), dtype=np.float32))
    reported = np.isfinite(found.gamma0.values)
    assert reported.sum() > 3000
    np.testing.assert_allclose(
        found.gamma0.values[reported], (own.linear[0] / own.area)[reported], rtol=1e-4
    )
    np.testing.assert_allclose(found.projected_area.values[reported], own.area[reported], rtol=1e-5)


THREADED = """
import hashlib, sys
from tests.mountains import mountain, raster
from tests.test_layover_reconstruct import digest, scene_of
from sarheight.layover import reconstruct
dem = raster(mountain())
print(digest(reconstruct(scene_of(dem), dem)))
"""


def digest(dataset: xr.Dataset) -> str:
    """Checksum of all bits."""
    parts = [dataset[name].values.tobytes() for name in sorted(dataset.data_vars)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_any_number_of_threads_gives_the_same_bits(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    threads = numba.get_num_threads()
    expected = digest(result)
    try:
        for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
            numba.set_num_threads(count)
            assert digest(reconstruct(scene, dem)) == expected
    finally:
        numba.set_num_threads(threads)
    other = subprocess.run(
        [sys.executable, "-c", THREADED],
        env=os.environ | {"NUMBA_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.stdout.strip() == expected, other.stderr


def test_nan_in_the_image_stays_local(dem: xr.DataArray, scene: Scene) -> None:
    """Cells that do not light the pixels without data keep their value to the last digits."""
    image = scene.image.copy()
    image[110:114, 150:156] = np.nan
    clean = reconstruct(scene, dem, law=LAW, method=Reallocation())
    holed = reconstruct(replace(scene, image=image), dem, law=LAW, method=Reallocation())
    weights = mapping(dem, scene.grid, scene.orbit, law=LAW).matrix
    missing = np.isnan(image.values).ravel()
    lost = np.asarray(weights[missing].sum(axis=0)).reshape(dem.shape)
    touched = lost > 0.0
    assert 5 < touched.sum() < 200
    for name in ("gamma0", "sigma0", "contribution_share", "projected_area"):
        np.testing.assert_allclose(
            holed[name].values[~touched], clean[name].values[~touched], rtol=1e-6
        )
    gone = np.isnan(holed.gamma0.values) & np.isfinite(clean.gamma0.values)
    whole = np.asarray(weights.sum(axis=0)).reshape(dem.shape)
    assert (lost[gone] > 0.9 * whole[gone]).all()
    assert holed.attrs["energy_explained"][0] < clean.attrs["energy_explained"][0]


def test_a_cell_half_without_data_keeps_its_level(dem: xr.DataArray) -> None:
    """What remains of it is compared with what remains of its area."""
    grid, orbit = look()
    law = ConstantGamma(0.3)
    scene = simulate(dem, grid, orbit, law=law)
    image = scene.image.copy()
    image[::2, ::2] = np.nan
    for method in METHODS:
        found = reconstruct(replace(scene, image=image), dem, law=law, method=method)
        reported = np.isfinite(found.gamma0.values)
        assert reported.sum() > 3000
        np.testing.assert_allclose(found.gamma0.values[reported], 0.3, rtol=1e-4)


def test_nan_in_the_image_hardly_moves_the_posterior_mean(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    """Far away only the statistics of the scene change, by its few pixels."""
    image = scene.image.copy()
    image[110:114, 150:156] = np.nan
    holed = reconstruct(replace(scene, image=image), dem)
    where = geo2rdr(dem, scene.grid, scene.orbit)
    far = np.hypot(where.line - 112, where["sample"] - 153).values > 60.0
    np.testing.assert_array_equal(
        np.isnan(holed.gamma0.values[far]), np.isnan(result.gamma0.values[far])
    )
    change = np.abs(holed.gamma0 / result.gamma0 - 1.0).values[far]
    assert np.nanmax(change) < 0.1
    assert np.nanmedian(change) < 0.005


def test_a_void_in_the_dem_stays_local(dem: xr.DataArray, scene: Scene) -> None:
    holed = dem.copy()
    holed[30:32, 20:22] = np.nan
    clean = reconstruct(scene, dem, law=LAW, method=Reallocation())
    found = reconstruct(scene, holed, law=LAW, method=Reallocation())
    assert np.isnan(found.gamma0.values[30:32, 20:22]).all()
    assert (found["mask"].values[30:32, 20:22] == 255).all()
    same = np.isclose(found.gamma0, clean.gamma0, rtol=1e-5, equal_nan=True)
    rows, columns = np.nonzero(~same)
    assert len(rows) < 300
    assert rows.min() >= 26
    assert rows.max() <= 35


def test_polarisations_together_are_as_one_by_one(dem: xr.DataArray, scene: Scene) -> None:
    second = scene_of(dem, seed=5)
    image = xr.concat([scene.image, 0.2 * second.image], dim="polarisation").assign_coords(
        polarisation=["VV", "VH"]
    )
    for method in METHODS:
        both = reconstruct(replace(scene, image=image), dem, law=LAW, method=method)
        assert both.gamma0.dims == ("polarisation", "y", "x")
        assert both.polarisation.values.tolist() == ["VV", "VH"]
        assert both["mask"].dims == both.local_incidence.dims == ("y", "x")
        for index, name in enumerate(["VV", "VH"]):
            alone = reconstruct(
                replace(scene, image=image.isel(polarisation=index, drop=True)),
                dem,
                law=LAW,
                method=method,
            )
            assert alone.gamma0.dims == ("y", "x")
            for variable in ("gamma0", "sigma0", "sigma0_geocoded", "gamma0_variance"):
                np.testing.assert_allclose(
                    both[variable].sel(polarisation=name), alone[variable], rtol=1e-5
                )
            assert both.attrs["energy_cells"][index] == pytest.approx(
                alone.attrs["energy_cells"][0]
            )


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
def test_two_passes_are_solved_together(dem: xr.DataArray, method: Method) -> None:
    up, down = scene_of(dem, seed=1), scene_of(dem, seed=2, ascending=False)
    found = reconstruct([up, down], dem, law=LAW, method=method)
    assert found.sizes["pass"] == 2
    assert found.gamma0.dims == ("pass", "y", "x")
    azimuth = found.look_azimuth.values
    assert abs((azimuth[1] - azimuth[0]) % 360.0 - 180.0) < 30.0
    given_out = found.attrs["energy_cells"][0] + found.attrs["energy_withheld"][0]
    assert given_out == pytest.approx(found.attrs["energy_explained"][0], rel=1e-5)
    explained = sum(
        reconstruct(each, dem, law=LAW, method=method).attrs["energy_explained"][0]
        for each in (up, down)
    )
    assert found.attrs["energy_explained"][0] == pytest.approx(explained, rel=1e-6)
    single = reconstruct(up, dem, law=LAW, method=method)
    for name in ("mask", "fold_count", "local_incidence", "sigma0_geocoded"):
        np.testing.assert_array_equal(found[name].isel({"pass": 0}), single[name])
    # Each cell has one reflectivity, whoever looks: the ratio to the law is the same.
    uniform = [scene_of(dem, seed=None), scene_of(dem, seed=None, ascending=False)]
    flat = reconstruct(uniform, dem, law=LAW, method=method)
    alone = reconstruct(uniform[1], dem, law=LAW, method=method)
    np.testing.assert_allclose(
        flat.gamma0.isel({"pass": 1}).values[5:-5, 5:-5],
        alone.gamma0.values[5:-5, 5:-5],
        rtol=1e-3,
    )


def test_two_passes_can_be_saved(dem: xr.DataArray, scene: Scene, tmp_path: Path) -> None:
    found = reconstruct([scene, scene_of(dem, seed=2, ascending=False)], dem, law=LAW)
    for name in ("both.zarr", "both.nc"):
        back = open_result(write(found, tmp_path / name))
        np.testing.assert_array_equal(back.gamma0, found.gamma0)
        np.testing.assert_array_equal(back["mask"], found["mask"])
        np.testing.assert_allclose(back.look_azimuth, found.look_azimuth)


def test_the_contribution_share_is_that_of_the_weights(dem: xr.DataArray, scene: Scene) -> None:
    """Sum of W squared over S, over the sum of W; between 0 and 1."""
    found = reconstruct(scene, dem, law=LAW, method=Reallocation()).contribution_share.values
    weights = mapping(dem, scene.grid, scene.orbit, law=LAW).matrix
    simulated = np.asarray(weights.sum(axis=1))
    inverse = np.divide(1.0, simulated, out=np.zeros_like(simulated), where=simulated > 0.0)
    own = np.asarray(weights.sum(axis=0))
    share = np.divide(
        weights.power(2).T @ inverse, own, out=np.full(own.shape, np.nan), where=own > 0.0
    ).reshape(dem.shape)
    reported = np.isfinite(found)
    np.testing.assert_allclose(found[reported], share[reported], rtol=1e-4)
    assert found[reported].min() > 0.0
    assert found[reported].max() <= 1.0


def test_the_larger_the_cells_the_more_they_have_their_pixels_to_themselves() -> None:
    """On flat ground only the pixels on the cells' borders are shared."""
    middle = []
    for posting in (10.0, 30.0, 90.0):
        flat = raster(np.full((24, 24), 500.0), posting=posting)
        size = int(24 * posting / 10.0 * 1.6) + 20
        scene = simulate(flat, *look(lines=size, samples=size))
        found = reconstruct(scene, flat, law=LAW, method=Reallocation())
        middle.append(float(found.contribution_share[8:16, 8:16].mean()))
    assert 0.3 < middle[0] < 0.7
    assert middle[0] < middle[1] < middle[2]
    assert middle[2] > 0.85


def test_in_folds_cells_share_their_pixels(result: xr.Dataset) -> None:
    share, folds = result.contribution_share.values, result.fold_count.values
    assert np.nanmedian(share[folds == 3]) < 0.6 * np.nanmedian(share[folds == 1])


def test_every_variable_says_what_it_is(result: xr.Dataset, dem: xr.DataArray) -> None:
    names = {
        "sigma0", "gamma0", "gamma0_variance", "sigma0_geocoded", "contribution_share",
        "projected_area", "fold_count", "mask", "local_incidence", "projected_incidence",
        "ellipsoid_incidence",
    }  # fmt: skip
    assert set(result.data_vars) == names
    assert result.rio.crs == dem.rio.crs
    np.testing.assert_array_equal(result.x, dem.x)
    np.testing.assert_array_equal(result.y, dem.y)
    for name, variable in result.data_vars.items():
        assert variable.dims == ("y", "x")
        assert variable.attrs["long_name"]
        assert variable.attrs["grid_mapping"] == "spatial_ref"
        if name == "mask":
            values, meanings = (variable.attrs[k] for k in ("flag_values", "flag_meanings"))
            assert len(values) == len(meanings.split())
            assert 255 not in values
        else:
            assert variable.attrs["units"]
        if np.issubdtype(variable.dtype, np.integer):
            assert variable.dtype == np.uint8
            assert variable.attrs["_FillValue"] == 255
        else:
            assert variable.dtype == np.float32
    assert {"look_azimuth", "look_side", "orbit_source", "sarheight_version"} <= set(result.attrs)
    parameters = json.loads(result.attrs["parameters"])
    assert "PosteriorMean" in parameters["method"]
    assert "FittedLaw" in parameters["law"][0]
    assert parameters["calibration"] == ["beta0"]


def test_a_law_of_the_users_own_is_told_by_name(scene: Scene, dem: xr.DataArray) -> None:
    def heather(incidence: Floats) -> Floats:
        return 0.1 * np.cos(np.radians(incidence)) ** 1.3

    found = reconstruct(scene, dem, law=heather, method=Reallocation())
    assert json.loads(found.attrs["parameters"])["law"] == ["heather"]
    same = reconstruct(scene, dem, law=CosinePower(0.1, 1.3), method=Reallocation())
    np.testing.assert_allclose(found.gamma0, same.gamma0, rtol=1e-6)


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
def test_the_variance_is_positive_and_holds_at_least_the_speckle(
    scene: Scene, dem: xr.DataArray, method: Method
) -> None:
    found = reconstruct(scene, dem, law=LAW, method=method)
    reported = np.isfinite(found.gamma0.values)
    variance = found.gamma0_variance.values
    np.testing.assert_array_equal(np.isfinite(variance), reported)
    assert (variance[reported] > 0.0).all()
    relative = variance[reported] / found.gamma0.values[reported] ** 2
    # No cell here covers more than some thirty pixels.
    assert relative.min() > 1.0 / (30 * 4.4)


def test_the_variance_of_a_single_step_is_about_the_speckle_where_nothing_folds() -> None:
    """Over uniform flat ground the spread of the values is the square root of the variance."""
    flat = raster(np.full((60, 80), 500.0))
    grid, orbit = look()
    scene = simulate(flat, grid, orbit, law=LAW, looks=4.4, seed=3)
    found = reconstruct(scene, flat, law=LAW, method=Reallocation()).isel(
        y=slice(5, -5), x=slice(5, -5)
    )
    spread = float((found.gamma0 / found.gamma0.mean()).var())
    told = float((found.gamma0_variance / found.gamma0**2).mean())
    assert told == pytest.approx(spread, rel=0.25)


def test_cells_that_are_too_small_are_withheld(dem: xr.DataArray, scene: Scene) -> None:
    few = reconstruct(scene, dem, law=LAW, method=Reallocation(), smallest_area=0.0)
    some = reconstruct(scene, dem, law=LAW, method=Reallocation(), smallest_area=0.3)
    gone = np.isnan(some.gamma0.values) & np.isfinite(few.gamma0.values)
    assert gone.sum() > 50
    assert (some.projected_area.values[gone] < 0.3 * 900.0 * 1.01).all()
    assert some.attrs["energy_withheld"][0] > few.attrs["energy_withheld"][0]


def test_a_dataarray_with_grid_and_orbit_is_as_good_as_a_scene(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    found = reconstruct(scene.image, dem, scene.grid, scene.orbit)
    xr.testing.assert_identical(found, result)
