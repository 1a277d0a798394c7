"""Reconstruction: energy, agreement with what is known, and what the result says of itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.pool import limit_threads

from sarheight.geometry import geo2rdr
from sarheight.illumination import ConstantGamma, CosinePower, simulate
from sarheight.layover import Method, PosteriorMean, Prior, Reallocation, mapping, reconstruct
from sarheight.output import open_result, write
from sarheight.scene import Scene
from tests.mountains import LAW, look, raster, scene_of

Floats = NDArray[np.float64]

METHODS: list[Method] = [Reallocation(), PosteriorMean()]
HOLE = slice(120, 124), slice(100, 106)
"""Pixels on the mountain's slope, in layover, that a test leaves without data."""
BY_NAME = {"ids": lambda method: type(method).__name__}


@pytest.fixture(scope="module")
def result(scene: Scene, dem: xr.DataArray) -> xr.Dataset:
    return reconstruct(scene, dem)


def digest(dataset: xr.Dataset) -> str:
    """Checksum of all bits."""
    parts = [dataset[name].values.tobytes() for name in sorted(dataset.data_vars)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_any_number_of_threads_gives_the_same_bits(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    expected = digest(result)
    for count in (1, 2, 5):
        with limit_threads(count):
            assert digest(reconstruct(scene, dem)) == expected


def test_nan_in_the_image_stays_local(dem: xr.DataArray, scene: Scene) -> None:
    """Cells that do not light the pixels without data keep their value to the last digits."""
    image = scene.image.copy()
    line, sample = HOLE
    image[line, sample] = np.nan
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
    assert holed.attrs["rcs_explained"][0] < clean.attrs["rcs_explained"][0]


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
    line, sample = HOLE
    image[line, sample] = np.nan
    holed = reconstruct(replace(scene, image=image), dem)
    where = geo2rdr(dem, scene.grid, scene.orbit)
    far = np.hypot(where.line - line.start, where["sample"] - sample.start).values > 60.0
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
    rows, _columns = np.nonzero(~same)
    assert len(rows) < 300
    assert rows.min() >= 26
    assert rows.max() <= 35


def test_polarisations_together_are_as_one_by_one(dem: xr.DataArray, scene: Scene) -> None:
    second = scene_of(dem, seed=5)
    image = xr.concat([scene.image, 0.2 * second.image], dim="polarisation").assign_coords(
        polarisation=["VV", "VH"]
    )
    # But for edges, which all polarisations show together.
    for method in (Reallocation(), PosteriorMean(prior=Prior(edges=0.0))):
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
            assert both.attrs["rcs_cells"][index] == pytest.approx(alone.attrs["rcs_cells"][0])


@pytest.mark.parametrize("method", METHODS, **BY_NAME)
def test_two_passes_are_solved_together(dem: xr.DataArray, method: Method) -> None:
    up, down = scene_of(dem, seed=1), scene_of(dem, seed=2, ascending=False)
    found = reconstruct([up, down], dem, law=LAW, method=method)
    assert found.sizes["time"] == 2
    assert found.gamma0.dims == ("time", "y", "x")
    azimuth = found.look_azimuth.values
    assert abs((azimuth[1] - azimuth[0]) % 360.0 - 180.0) < 30.0
    given_out = found.attrs["rcs_cells"][0] + found.attrs["rcs_withheld"][0]
    assert given_out == pytest.approx(found.attrs["rcs_explained"][0], rel=1e-5)
    explained = sum(
        reconstruct(each, dem, law=LAW, method=method).attrs["rcs_explained"][0]
        for each in (up, down)
    )
    assert found.attrs["rcs_explained"][0] == pytest.approx(explained, rel=1e-6)
    single = reconstruct(up, dem, law=LAW, method=method)
    for name in ("mask", "fold_count", "local_incidence", "sigma0_geocoded"):
        np.testing.assert_array_equal(found[name].isel(time=0), single[name])
    # Each cell has one reflectivity, whoever looks: the ratio to the law is the same.
    uniform = [scene_of(dem, seed=None), scene_of(dem, seed=None, ascending=False)]
    flat = reconstruct(uniform, dem, law=LAW, method=method)
    alone = reconstruct(uniform[1], dem, law=LAW, method=method)
    np.testing.assert_allclose(
        flat.gamma0.isel(time=1).values[5:-5, 5:-5],
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
        "sigma0", "gamma0", "gamma0_std",
        "gamma0_variance", "sigma0_geocoded", "contribution_share",
        "projected_area", "fold_count", "mask", "local_incidence", "projected_incidence",
        "ellipsoid_incidence", "own_share", "borrowed_share",
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


def test_the_variance_of_a_single_step_is_that_of_speckle_where_nothing_folds() -> None:
    """Of a product whose pixels share their speckle, and what remains on any ground."""
    flat = raster(np.full((60, 80), 500.0))
    grid, orbit = look()
    scene = simulate(flat, grid, orbit, law=LAW, looks=4.4, seed=3)
    found = reconstruct(scene, flat, law=LAW, method=Reallocation()).isel(
        y=slice(5, -5), x=slice(5, -5)
    )
    spread = float((found.gamma0 / found.gamma0.mean()).var())
    told = float((found.gamma0_variance / found.gamma0**2).mean())
    # The speckle of this image is independent from pixel to pixel.
    errors = Reallocation.errors
    shared = errors.ground_range_speckle if grid.is_ground_range else errors.slant_range_speckle
    assert told == pytest.approx((errors.least / 4.342945) ** 2 + shared * spread, rel=0.25)


def test_a_dataarray_with_grid_and_orbit_is_as_good_as_a_scene(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    found = reconstruct(scene.image, dem, scene.grid, scene.orbit)
    xr.testing.assert_identical(found, result)
