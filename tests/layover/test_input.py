"""What users get wrong is told to them: what was found, what was expected, what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sarheight.errors import DemError, GeometryError, OrbitCoverageError, VerticalDatumError
from sarheight.geometry.pass_geometry import PixelAreas
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import (
    RTC,
    PosteriorMean,
    Reallocation,
    fit_law,
    mapping,
    masks,
    reconstruct,
)
from sarheight.layover._input import image_rcs, scenes_of
from sarheight.layover.allocation import intensities
from sarheight.scene import Scene
from tests.mountains import look, mountain, raster

LAW = ConstantGamma(0.2)


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain(40, 50, 500.0))


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray) -> Scene:
    grid, orbit = look(lines=180, samples=220)
    return simulate(dem, grid, orbit, law=LAW, looks=4.4, seed=0)


def with_values(scene: Scene, values: Any) -> Scene:  # noqa: ANN401
    return replace(scene, image=scene.image.copy(data=np.broadcast_to(values, scene.image.shape)))


def test_image_and_dem_that_do_not_belong_together(scene: Scene, dem: xr.DataArray) -> None:
    """Both places are named, so that the wrong file is found at a glance."""
    elsewhere = raster(mountain(40, 50), latitude=-33.0, longitude=-70.0, crs="EPSG:32719")
    huge = raster(np.full((4, 4), 500.0), posting=30_000.0)
    # Where their boxes overlap, and still nothing would be found: no silent map of nothing.
    corner = np.full(scene.image.shape, np.nan, dtype=np.float32)
    corner[:2, :2] = 0.1
    left = replace(scene, grid=replace(scene.grid, look_side="left"))
    for one, ground, message in (
        (scene, elsewhere, r"DEM covers latitude -33\.\d+ .* image covers"),
        (scene, dem.assign_coords(x=dem.x + 20_000.0), "No cell of the DEM falls into the image"),
        (with_values(scene, corner), dem, "check that the image has data there"),
        (scene, huge, r"lines by .* whose cells are small beside the im"),
        (scene, huge.chunk(), r"lines by .* whose cells are small beside the im"),
        (left, dem, "side of the track to which the radar does not look"),
    ):
        with pytest.raises(GeometryError, match=message):
            reconstruct(one, ground, law=LAW)
    short = scene.orbit.crop(scene.grid.last_time + 40.0, scene.orbit.stop)
    with pytest.raises(OrbitCoverageError, match="pass the orbit of this acquisition"):
        reconstruct(scene.image, dem, scene.grid, short)
    for function in (masks, mapping):
        with pytest.raises(OrbitCoverageError):
            function(dem, scene.grid, short)


def test_dems_that_cannot_be_used(scene: Scene, dem: xr.DataArray) -> None:
    holed = dem.copy()
    holed[3:6, 3:6] = -32768.0
    coords = {"y": dem.y.values, "x": dem.x.values}
    bare = xr.DataArray(dem.values, dims=("y", "x"), coords=coords, attrs=dict(dem.attrs))
    for ground, message in (
        (bare, r"(?i)reference system|crs"),
        (dem.copy(data=np.full(dem.shape, np.nan, np.float32)), r"(?i)void|no heights"),
        (holed, "-32768"),
        (dem.transpose("x", "y"), r"dims|transpose"),
    ):
        with pytest.raises(DemError, match=message):
            reconstruct(scene, ground)


def test_a_vertical_datum_that_is_not_stated(scene: Scene, dem: xr.DataArray) -> None:
    for function, datum in (
        (lambda ground: reconstruct(scene, ground), {}),
        (lambda ground: fit_law(scene, ground), {"vertical_datum": ""}),
        (lambda ground: mapping(ground, scene.grid, scene.orbit), {"vertical_datum": "unknown"}),
        (lambda ground: masks(ground, scene.grid, scene.orbit), {"vertical_datum": "sea level?"}),
    ):
        unstated = dem.copy()
        unstated.attrs = {"units": "m"} | datum
        with pytest.raises(VerticalDatumError, match="measured from"):
            function(unstated)


def test_values_that_are_no_image_of_power(scene: Scene, dem: xr.DataArray) -> None:
    """Noise removal leaves some negative power; an image of it is a mistake."""
    power = scene.image.values
    decibels = 10.0 * np.log10(np.maximum(power, 1e-4))
    for values, message in (
        (np.float32(np.nan), "without a single finite value"),
        (np.float32(np.inf), "without a single finite value"),
        (np.float32(0.0), "zero everywhere"),
        (decibels, r"If it is in decibels, convert it first: 10 \*\* \(image / 10\)"),
        (-power, r"negative on average|If it is in decibels"),
        (1e-3 - 0.01 * power, r"negative on average.*leave the noise in"),
    ):
        with pytest.raises(ValueError, match=message):
            reconstruct(with_values(scene, values), dem)


def test_arrays_that_do_not_fit_their_grid(scene: Scene, dem: xr.DataArray) -> None:
    both = np.stack([scene.image.values] * 2)
    both[0, ::2], both[1, 1::2] = np.nan, np.nan
    for image, message in (
        (xr.DataArray(scene.image.values.T, dims=("line", "sample")), "looks transposed"),
        (scene.image.transpose("sample", "line"), "rename or transpose"),
        (xr.DataArray(both, dims=("polarisation", "line", "sample")), "in all its polarisations"),
    ):
        with pytest.raises(ValueError, match=message):
            reconstruct(image, dem, scene.grid, scene.orbit)


def test_what_is_no_image_with_its_grid_and_its_orbit(scene: Scene, dem: xr.DataArray) -> None:
    grid, orbit = scene.grid, scene.orbit
    given: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (scene.image, {}, "without grid and orbit; expected both, or a Scene"),
        (scene.image, {"grid": grid}, "without orbit"),
        (scene.image, {"orbit": orbit}, "without grid"),
        (scene, {"grid": grid}, "grid or orbit beside a Scene"),
        ([scene, scene], {"orbit": orbit}, "grid or orbit beside a Scene"),
        (None, {}, "found NoneType.*, expected a DataArray, a Scene"),
        ([], {}, "found an empty sequence.*, expected a DataArray, a Scene"),
        (np.ones((3, 3)), {}, "found ndarray.*, expected a DataArray, a Scene"),
        ([None, 3], {}, "found NoneType, int.*, expected a DataArray, a Scene"),
        (xr.Dataset(), {}, "found Dataset.*, expected a DataArray, a Scene"),
        ("scene.tif", {}, r"found the path 'scene.tif', expected a Scene: .*open_im"),
    )
    for image, how, message in given:
        with pytest.raises(TypeError, match=message):
            reconstruct(image, dem, **how)


def test_settings_out_of_range(scene: Scene, dem: xr.DataArray) -> None:
    for part in (-0.1, 1.0, np.nan):
        with pytest.raises(ValueError, match="expected a part of a cell"):
            reconstruct(scene, dem, smallest_area=part)
    with pytest.raises(ValueError, match="is it in dB"):
        reconstruct(scene, dem, law=lambda angle: -8.0 - 0.1 * angle)
    flat = dem.copy(data=np.full(dem.shape, 500.0, dtype=np.float32))
    with pytest.raises(GeometryError, match="at least two classes to fit a backscatter law"):
        reconstruct(scene, flat)
    with pytest.raises(GeometryError, match="pass law="):
        fit_law(scene, dem.isel(y=slice(0, 7), x=slice(20, 30)))
    assert np.isfinite(reconstruct(scene, flat, law=LAW).gamma0).sum() > 1000


@pytest.mark.parametrize("longitude", [180.0, -179.995, 179.995])
def test_a_scene_across_the_antimeridian_works(longitude: float) -> None:
    """In geographic coordinates that run on beyond 180, and in those that jump to -180."""
    heights = mountain(40, 50, 500.0)
    grid, orbit = look(lines=180, samples=220, longitude=longitude)
    on = raster(heights, longitude=longitude, crs="EPSG:4326")
    wrapped = on.assign_coords(x=(on.x + 180.0) % 360.0 - 180.0)
    plain = raster(heights, longitude=10.0, crs="EPSG:4326")
    expected = simulate(plain, *look(lines=180, samples=220), law=LAW)
    there = reconstruct(expected, plain, law=LAW)
    assert abs(np.diff(wrapped.x)).max() > 300.0
    for dem in (on, wrapped):
        scene = simulate(dem, grid, orbit, law=LAW)
        np.testing.assert_allclose(scene.image, expected.image, atol=2e-3)
        found = reconstruct(scene, dem, law=LAW)
        reported = np.isfinite(found.gamma0.values)
        assert reported.sum() == pytest.approx(int(np.isfinite(there.gamma0).sum()), rel=0.01)
        np.testing.assert_allclose(found.gamma0.values[reported], 0.2, rtol=1e-4)


def test_some_negative_power_is_left_by_noise_removal(scene: Scene, dem: xr.DataArray) -> None:
    some = scene.image.values - np.float32(0.01) * float(scene.image.mean())
    assert (some < 0.0).any()
    found = reconstruct(with_values(scene, some), dem, law=LAW, method=Reallocation())
    assert np.isfinite(found.gamma0).sum() > 1000
    total = found.attrs["rcs_cells"][0] + found.attrs["rcs_withheld"][0]
    assert total == pytest.approx(found.attrs["rcs_explained"][0], rel=1e-5)


def test_ground_darker_than_the_noise_that_was_removed(scene: Scene, dem: xr.DataArray) -> None:
    """As in cross-polarisation over water or dry sand: a fifth of the power is negative."""
    noise, looks = 0.02, 4.4
    signal = scene.image.values * (0.5 * noise / float(scene.image.mean()))
    drawn = np.random.default_rng(0).gamma(looks, 1.0 / looks, signal.shape)
    dark = (signal + noise * (drawn - 1.0)).astype(np.float32)
    known = dark[np.isfinite(dark)]
    assert -known[known < 0.0].sum() > 0.15 * known[known > 0.0].sum()
    for method in (RTC(), PosteriorMean()):
        found = reconstruct(with_values(scene, dark), dem, method=method)
        clean = reconstruct(with_values(scene, signal.astype(np.float32)), dem, method=method)
        mean, true = (
            float((each.gamma0 * each.projected_area).sum() / each.projected_area.sum())
            for each in (found, clean)
        )
        assert mean == pytest.approx(true, rel=0.05)
        assert np.isfinite(found.gamma0_std.values[np.isfinite(found.gamma0.values)]).mean() > 0.9


def test_passes_of_different_polarisations(scene: Scene, dem: xr.DataArray) -> None:
    def of(*names: str) -> Scene:
        image = xr.concat([scene.image] * len(names), dim="polarisation")
        return replace(scene, image=image.assign_coords(polarisation=list(names)))

    for pair in ((of("VV"), of("VV", "VH")), (of("VV"), of("HH")), (of("VV"), scene)):
        with pytest.raises(ValueError, match="expected the same in all"):
            reconstruct(pair, dem)
    assert len(scenes_of([of("VV", "VH"), of("VV", "VH")], None, None, "beta0")) == 2


def test_the_rcs_of_an_image_is_power_times_area(scene: Scene) -> None:
    """In memory and piece by piece; pixels without data do not count."""
    image = scene.image
    areas = PixelAreas(np.array([0.0, 1.0]), np.full((2, image.shape[-1]), 50.0))
    holed = image.where(image.line >= 100)
    for power in (image, holed):
        expected = 50.0 * float(power.sum(dtype=np.float64))
        for stored in (power, power.chunk(line=50, sample=70)):
            (rcs,) = image_rcs(replace(scene, image=stored), areas)
            assert rcs == pytest.approx(expected, rel=1e-6)


def test_an_image_is_read_where_it_lies_if_it_can_be() -> None:
    """Read-only arrays and other types are copied, as kernels are not compiled for them."""
    power = np.ones((4, 5), dtype=np.float32)
    assert np.shares_memory(intensities(power), power)
    assert intensities(power).shape == (1, 4, 5)
    power.flags.writeable = False
    for other in (
        power,
        np.ones((2, 4, 5)),
        np.ones((5, 4), dtype=np.float32).T,
        power.astype(">f4"),
    ):
        found = intensities(other)
        assert found.dtype == np.float32
        assert found.flags.writeable
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, 1.0)
