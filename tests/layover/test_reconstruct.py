"""Reconstruction: energy, agreement with what is known, and what the result says of itself."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.pool import limit_threads

from sarheight import output
from sarheight.geometry import geo2rdr
from sarheight.illumination import ConstantGamma, CosinePower, simulate
from sarheight.layover import (
    Method,
    PosteriorMean,
    Prior,
    Reallocation,
    composite,
    interval,
    local_resolution,
    mapping,
    reconstruct,
)
from sarheight.layover.layers import LAYERS, cell_bytes, select_layers
from sarheight.layover.result import held_bytes
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


@pytest.fixture(scope="module")
def step(scene: Scene, dem: xr.DataArray) -> xr.Dataset:
    """A single step by the true law."""
    return reconstruct(scene, dem, law=LAW, method=Reallocation())


@pytest.fixture(scope="module")
def holed(scene: Scene) -> Scene:
    image = scene.image.copy()
    image[HOLE] = np.nan
    return replace(scene, image=image)


def digest(dataset: xr.Dataset) -> str:
    """Checksum of all bits."""
    parts = [dataset[name].values.tobytes() for name in sorted(dataset.data_vars)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_any_number_of_threads_and_an_image_with_grid_and_orbit_give_the_same_bits(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset
) -> None:
    for count in (1, 2, 5):
        with limit_threads(count):
            found = reconstruct(scene.image, dem, scene.grid, scene.orbit)
        xr.testing.assert_identical(found, result)
        assert digest(found) == digest(result)


def test_nan_in_the_image_stays_local(
    dem: xr.DataArray, holed: Scene, result: xr.Dataset, step: xr.Dataset
) -> None:
    """Cells that do not light the pixels without data keep their value to the last digits.

    Of the posterior mean only the statistics of the scene change far away, by its few pixels.
    """
    found = reconstruct(holed, dem, law=LAW, method=Reallocation())
    weights = mapping(dem, holed.grid, holed.orbit, law=LAW).matrix
    missing = np.isnan(holed.image.values).ravel()
    lost = np.asarray(weights[missing].sum(axis=0)).reshape(dem.shape)
    touched = lost > 0.0
    assert 5 < touched.sum() < 200
    for name in ("gamma0", "sigma0", "contribution_share", "projected_area"):
        np.testing.assert_allclose(
            found[name].values[~touched], step[name].values[~touched], rtol=1e-6
        )
    gone = np.isnan(found.gamma0.values) & np.isfinite(step.gamma0.values)
    whole = np.asarray(weights.sum(axis=0)).reshape(dem.shape)
    assert (lost[gone] > 0.9 * whole[gone]).all()
    assert found.attrs["rcs_explained"][0] < step.attrs["rcs_explained"][0]
    posterior, (line, sample) = reconstruct(holed, dem), HOLE
    where = geo2rdr(dem, holed.grid, holed.orbit)
    far = np.hypot(where.line - line.start, where["sample"] - sample.start).values > 60.0
    ratio = (posterior.gamma0 / result.gamma0).values[far]
    np.testing.assert_array_equal(
        np.isnan(posterior.gamma0.values[far]), np.isnan(result.gamma0.values[far])
    )
    assert np.nanmax(np.abs(ratio - 1.0)) < 0.1
    assert np.nanmedian(np.abs(ratio - 1.0)) < 0.005


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


def test_a_void_in_the_dem_stays_local(dem: xr.DataArray, scene: Scene, step: xr.Dataset) -> None:
    holed = dem.copy()
    holed[30:32, 20:22] = np.nan
    found = reconstruct(scene, holed, law=LAW, method=Reallocation())
    assert np.isnan(found.gamma0.values[30:32, 20:22]).all()
    assert (found["mask"].values[30:32, 20:22] == 255).all()
    same = np.isclose(found.gamma0, step.gamma0, rtol=1e-5, equal_nan=True)
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
            one = replace(scene, image=image.isel(polarisation=index, drop=True))
            alone = reconstruct(one, dem, law=LAW, method=method)
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
    singles = [reconstruct(each, dem, law=LAW, method=method) for each in (up, down)]
    explained = sum(each.attrs["rcs_explained"][0] for each in singles)
    assert found.attrs["rcs_explained"][0] == pytest.approx(explained, rel=1e-6)
    for name in ("mask", "fold_count", "local_incidence", "sigma0_geocoded"):
        np.testing.assert_array_equal(found[name].isel(time=0), singles[0][name])
    # Each cell has one reflectivity, whoever looks: the ratio to the law is the same.
    uniform = [scene_of(dem, seed=None), scene_of(dem, seed=None, ascending=False)]
    flat = reconstruct(uniform, dem, law=LAW, method=method)
    alone = reconstruct(uniform[1], dem, law=LAW, method=method)
    inner = np.s_[5:-5, 5:-5]
    np.testing.assert_allclose(flat.gamma0[1].values[inner], alone.gamma0.values[inner], rtol=1e-3)


def test_two_passes_can_be_saved(dem: xr.DataArray, scene: Scene, tmp_path: Path) -> None:
    found = reconstruct([scene, scene_of(dem, seed=2, ascending=False)], dem, law=LAW)
    for name in ("both.zarr", "both.nc"):
        back = open_result(write(found, tmp_path / name))
        np.testing.assert_array_equal(back.gamma0, found.gamma0)
        np.testing.assert_array_equal(back["mask"], found["mask"])
        np.testing.assert_allclose(back.look_azimuth, found.look_azimuth)


def test_the_contribution_share_is_that_of_the_weights(
    dem: xr.DataArray, scene: Scene, step: xr.Dataset
) -> None:
    """Sum of W squared over S, over the sum of W; between 0 and 1."""
    found = step.contribution_share.values
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


def test_every_variable_says_what_it_is(result: xr.Dataset, dem: xr.DataArray) -> None:
    names = {
        "sigma0", "gamma0", "gamma0_std",
        "gamma0_variance", "sigma0_geocoded", "contribution_share",
        "projected_area", "fold_count", "mask", "local_incidence", "projected_incidence",
        "ellipsoid_incidence", "own_share", "borrowed_share",
    }  # fmt: skip
    assert set(result.data_vars) == names
    assert list(result.data_vars) == list(LAYERS)
    # In folds cells share their pixels.
    share, folds = result.contribution_share.values, result.fold_count.values
    assert np.nanmedian(share[folds == 3]) < 0.6 * np.nanmedian(share[folds == 1])
    assert result.rio.crs == dem.rio.crs
    np.testing.assert_array_equal(result.x, dem.x)
    np.testing.assert_array_equal(result.y, dem.y)
    for name, variable in result.data_vars.items():
        layer = LAYERS[str(name)]
        assert variable.dims == ("y", "x")
        assert variable.shape == layer.shape(1, *result.gamma0.shape)[-2:]
        assert variable.attrs["long_name"] == layer.attributes["long_name"] != ""
        np.testing.assert_equal(variable.attrs["_FillValue"], layer.missing)
        assert variable.dtype == layer.dtype
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


def test_the_variance_is_positive_and_holds_at_least_the_speckle(
    result: xr.Dataset, step: xr.Dataset
) -> None:
    for found in (result, step):
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


def test_each_is_described_where_they_are_made() -> None:
    returned = (reconstruct.__doc__ or "").split("Returns\n")[1].split("Attributes balance")[0]
    entries = re.findall(r"^ {8}``(\w+)``$\n {12}(.+)$", returned, re.MULTILINE)
    assert dict(entries).keys() == LAYERS.keys()
    for name, text in entries:
        assert LAYERS[name].description.startswith(text)
    listed = (reconstruct.__doc__ or "").split('"all" or "main"\n')[1].split("memory_limit :")[0]
    assert tuple(re.findall(r"``(\w+)``", listed)) == select_layers("main")


def test_names_that_are_asked_for() -> None:
    assert select_layers("all") == tuple(LAYERS)
    assert select_layers(["mask", "gamma0"]) == ("gamma0", "mask")
    for wrong in (["gamma"], [], "gamma0", "some", None):
        with pytest.raises(ValueError, match="expected 'all', 'main', or some of gamma0, gamma0_"):
            select_layers(wrong)  # type: ignore[arg-type]


def test_the_deviation_in_decibels_is_that_of_the_variance(result: xr.Dataset) -> None:
    """A relative deviation of 1 is 4.34 dB."""
    expected = 4.342945 * np.sqrt(result.gamma0_variance) / result.gamma0
    np.testing.assert_allclose(result.gamma0_std, expected, rtol=1e-6)
    assert np.isfinite(result.gamma0_std).any()


def test_bytes_are_those_of_the_values(result: xr.Dataset) -> None:
    values = sum(variable.nbytes for variable in result.data_vars.values())
    assert cell_bytes(LAYERS, 1) * result.gamma0.size == values
    derived, received = (LAYERS[name].bytes_of(2) for name in ("gamma0_std", "sigma0"))
    assert held_bytes(tuple(LAYERS), 2) == cell_bytes(LAYERS, 2) - derived - received + 8
    assert held_bytes(("gamma0",), 2) < held_bytes(tuple(LAYERS), 2)


def test_a_folder_of_main_layers_is_what_most_users_open(
    dem: xr.DataArray, scene: Scene, result: xr.Dataset, tmp_path: Path
) -> None:
    """Interval and composite work on it as on a whole result."""
    main = reconstruct(scene, dem, variables="main")
    assert tuple(main.data_vars) == select_layers("main")
    output.write(main, tmp_path / "main")
    assert len(list((tmp_path / "main").glob("*.tif"))) == len(select_layers("main"))
    read = output.open_result(tmp_path / "main")
    for found, expected in zip(
        interval(read).data_vars.values(), interval(result).data_vars.values(), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    weights = local_resolution(scene, dem)
    found, expected = (composite(one, weights).gamma0_variance for one in (read, result))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_layers_of_power_are_packed(result: xr.Dataset, tmp_path: Path) -> None:
    output.write(result, tmp_path / "packed", scale="db-int16")
    for name, layer in LAYERS.items():
        (path,) = [
            one
            for one in (tmp_path / "packed").glob("*.tif")
            if rasterio.open(one).tags(1)["BAND_VARIABLE"] == name
        ]
        with rasterio.open(path) as file:
            expected = "int16" if layer.power else layer.dtype.name
            assert file.dtypes[0] == expected
