"""Composites of passes: weights are those of local resolution, and add up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 - registers `.rio`
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sarheight.geometry import geo2rdr
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import RTC, composite, local_resolution, reconstruct
from sarheight.output import open_result, write
from sarheight.scene import Scene
from tests.mountains import look, mountain, raster, scene_of

SHAPE = (4, 5)


@pytest.fixture(scope="module")
def stacked(dem: xr.DataArray, scenes: list[Scene]) -> xr.Dataset:
    return reconstruct(scenes, dem, method=RTC())


@pytest.fixture(scope="module")
def resolution(dem: xr.DataArray, scenes: list[Scene]) -> xr.DataArray:
    return local_resolution(scenes, dem)


def made(values: NDArray[np.floating] | float, name: str = "gamma0") -> xr.DataArray:
    """Make a layer of one pass by hand."""
    coordinates = {"y": 30.0 * np.arange(SHAPE[0]), "x": 30.0 * np.arange(SHAPE[1])}
    layer = np.broadcast_to(values, SHAPE).astype(np.float32)
    array = xr.DataArray(layer, coordinates, ("y", "x"), name=name)
    placed: xr.DataArray = array.rio.write_crs("EPSG:32632")
    return placed


def test_level_ground_has_the_tangent_of_the_incidence(scenes: list[Scene]) -> None:
    flat = raster(np.full((40, 40), 500.0))
    found = local_resolution(scenes[0], flat).values[5:-5, 5:-5]
    angle = reconstruct(scenes[0], flat, method=RTC()).local_incidence.values[5:-5, 5:-5]
    np.testing.assert_allclose(found, np.tan(np.radians(angle)), rtol=0.01)


def test_it_is_the_inverse_of_the_simulated_area_in_the_pixel(dem: xr.DataArray) -> None:
    grid, orbit = look(ground_range=False)
    simulated = simulate(dem, grid, orbit, law=ConstantGamma(1.0), calibration="beta0")
    result = reconstruct(simulated, dem, method=RTC(blur=0.0))
    found = local_resolution(simulated, dem).values
    seen = geo2rdr(dem, grid, orbit)
    line, sample = (np.round(seen[name].values).astype(int) for name in ("line", "sample"))
    product = simulated.image.values[line, sample] * found
    for mask, tolerance in ((result["mask"] == 0, 0.03), (result.fold_count == 3, 0.2)):
        cells = mask.values & np.isfinite(product)
        assert cells.sum() > 100
        assert np.median(product[cells]) == pytest.approx(1.0, abs=tolerance)


def test_one_pass_alone_is_that_pass(stacked: xr.Dataset, resolution: xr.DataArray) -> None:
    one = stacked.isel(time=0, drop=True)
    found = composite(one, resolution.isel(time=0, drop=True))
    np.testing.assert_allclose(found.gamma0, one.gamma0, rtol=1e-6)
    np.testing.assert_allclose(found.gamma0_variance, one.gamma0_variance, rtol=1e-6)
    known = np.isfinite(one.gamma0.values)
    np.testing.assert_array_equal(found.weight.isel(time=0), known.astype(np.float32))


def test_weights_add_up_to_one_where_a_pass_sees(
    stacked: xr.Dataset, resolution: xr.DataArray
) -> None:
    found = composite(stacked, resolution)
    seen = np.isfinite(stacked.gamma0).any("time").values
    np.testing.assert_allclose(found.weight.sum("time"), seen.astype(float), atol=1e-6)
    np.testing.assert_array_equal(np.isfinite(found.gamma0), seen)
    low, high = stacked.gamma0.min("time"), stacked.gamma0.max("time")
    inside = (found.gamma0 >= low * (1.0 - 1e-6)) & (found.gamma0 <= high * (1.0 + 1e-6))
    assert inside.values[seen].all()
    # A shadow takes the other pass.
    shadow = ~np.isfinite(stacked.gamma0.values)
    only = shadow[0] & ~shadow[1]
    assert only.sum() > 50
    np.testing.assert_allclose(found.gamma0.values[only], stacked.gamma0.values[1][only], rtol=1e-6)
    assert (found.weight.values[0][only] == 0.0).all()


def test_the_slope_that_faces_away_counts_more() -> None:
    """Each flank of a hill without shadow is taken from the pass on its far side."""
    hill = raster(mountain(height=250.0))
    scenes = [scene_of(hill, ascending=ascending) for ascending in (True, False)]
    found = composite(reconstruct(scenes, hill, method=RTC()), local_resolution(scenes, hill))
    row, column = hill.shape[0] // 2, hill.shape[1] // 2
    # The ascending pass, looking to the east, is the first: it faces the western flank.
    west, east = (found.weight.isel(y=row, x=column + step).values for step in (-7, 7))
    assert west[0] < 0.3
    assert east[1] < 0.3


def test_lists_and_stacks_are_the_same(stacked: xr.Dataset, resolution: xr.DataArray) -> None:
    parts = [stacked.isel(time=index) for index in range(2)]
    weights = [resolution.isel(time=index) for index in range(2)]
    xr.testing.assert_allclose(composite(parts, weights), composite(stacked, resolution))
    # A stack and one more pass.
    again = composite([stacked, parts[0]], [resolution, weights[0]])
    assert again.sizes["time"] == 3


@settings(max_examples=25)
@given(
    gamma0=arrays(np.float64, (3, *SHAPE), elements=st.floats(0.01, 10.0)),
    weights=st.tuples(*[st.floats(0.01, 5.0)] * 3),
)
def test_the_formula(gamma0: NDArray[np.float64], weights: tuple[float, float, float]) -> None:
    results = [
        xr.Dataset({"gamma0": made(one), "gamma0_variance": made(0.1 * one**2)}) for one in gamma0
    ]
    found = composite(results, [made(each) for each in weights])
    share = np.array(weights) / sum(weights)
    np.testing.assert_allclose(found.gamma0, np.einsum("k,kyx->yx", share, gamma0), rtol=1e-4)
    variance = np.einsum("k,kyx->yx", share**2, 0.1 * gamma0**2)
    np.testing.assert_allclose(found.gamma0_variance, variance, rtol=1e-4)


def test_polarisations_stay(
    dem: xr.DataArray, scenes: list[Scene], resolution: xr.DataArray
) -> None:
    both = xr.concat([scenes[0].image, 0.2 * scenes[0].image], dim="polarisation")
    scene = replace(scenes[0], image=both.assign_coords(polarisation=["VV", "VH"]))
    result = reconstruct(scene, dem, method=RTC())
    weights = local_resolution([scene, scene], dem)
    assert weights.dims == ("time", "y", "x")
    np.testing.assert_allclose(weights[0], resolution[0])
    found = composite([result, result], weights)
    assert found.gamma0.dims == ("polarisation", "y", "x")
    np.testing.assert_allclose(found.gamma0, result.gamma0, rtol=1e-5)
    with pytest.raises(ValueError, match=r"polarisations \['VV'\] .*sel\(polarisation"):
        composite([result, result.sel(polarisation=["VV"])], weights)


def test_lazy_results_stay_lazy_and_are_written(
    stacked: xr.Dataset, resolution: xr.DataArray, tmp_path: Path
) -> None:
    expected = composite(stacked, resolution)
    found = composite(stacked.chunk(y=20, x=30), resolution)
    assert found.gamma0.chunks is not None
    xr.testing.assert_allclose(found.compute(), expected)
    write(found, tmp_path / "composite.nc")
    back = open_result(tmp_path / "composite.nc")
    np.testing.assert_allclose(back.gamma0, expected.gamma0, rtol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    one, weight = made(1.0).to_dataset(), made(2.0, "weight")
    moved, other = one.assign_coords(x=one.x + 15.0), one.rio.write_crs("EPSG:32633")
    for results, weights, message in (
        ([], [weight], "found no result"),
        ([one, weight.to_dataset()], [weight, weight], r"no gamma0 in result 1.*variables="),
        ([one, one], weight, "found 2 passes and local resolutions of 1"),
        ([one, moved], [weight] * 2, r"result 1 on 4 x 5 cells of .*, and the first on 4 x 5"),
        (one, weight.assign_coords(y=weight.y + 15.0), "local resolution on 4 x 5 cells"),
        ([one, other], [weight, weight], "32633"),
    ):
        with pytest.raises(ValueError, match=message):
            composite(results, weights)
