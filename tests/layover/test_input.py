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


def test_image_and_dem_that_do_not_overlap(scene: Scene, dem: xr.DataArray) -> None:
    """Both places are named, so that the wrong file is found at a glance."""
    elsewhere = raster(mountain(40, 50), latitude=-33.0, longitude=-70.0, crs="EPSG:32719")
    with pytest.raises(GeometryError, match=r"DEM covers latitude -33\.\d+ .* image covers"):
        reconstruct(scene, elsewhere)
    near = dem.assign_coords(x=dem.x + 20_000.0)
    with pytest.raises(GeometryError, match="No cell of the DEM falls into the image"):
        reconstruct(scene, near)


def test_an_image_whose_data_lie_beside_the_dem(scene: Scene, dem: xr.DataArray) -> None:
    """Their boxes overlap, and still nothing would be found: no silent map of nothing."""
    values = np.full(scene.image.shape, np.nan, dtype=np.float32)
    values[:2, :2] = 0.1
    with pytest.raises(GeometryError, match="check that the image has data there"):
        reconstruct(with_values(scene, values), dem, law=LAW)


def test_cells_that_are_larger_than_the_image(scene: Scene) -> None:
    huge = raster(np.full((4, 4), 500.0), posting=30_000.0)
    for heights in (huge, huge.chunk()):
        with pytest.raises(GeometryError, match=r"lines by .* whose cells are small beside the im"):
            reconstruct(scene, heights, law=LAW)


@pytest.mark.parametrize("datum", [None, "", "unknown", "sea level?"])
def test_a_vertical_datum_that_is_not_stated(
    scene: Scene, dem: xr.DataArray, datum: str | None
) -> None:
    unstated = dem.copy()
    unstated.attrs = {"units": "m"} if datum is None else {"units": "m", "vertical_datum": datum}
    for function in (lambda: reconstruct(scene, unstated), lambda: fit_law(scene, unstated)):
        with pytest.raises(VerticalDatumError, match="measured from"):
            function()
    with pytest.raises(VerticalDatumError, match="measured from"):
        mapping(unstated, scene.grid, scene.orbit)
    with pytest.raises(VerticalDatumError, match="measured from"):
        masks(unstated, scene.grid, scene.orbit)


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


def test_a_dem_without_a_reference_system(scene: Scene, dem: xr.DataArray) -> None:
    bare = xr.DataArray(dem.values, dims=("y", "x"), coords={"y": dem.y.values, "x": dem.x.values})
    bare.attrs = dict(dem.attrs)
    with pytest.raises(DemError, match=r"(?i)reference system|crs"):
        reconstruct(scene, bare)


def test_a_dem_that_is_void_everywhere(scene: Scene, dem: xr.DataArray) -> None:
    empty = dem.copy(data=np.full(dem.shape, np.nan, dtype=np.float32))
    with pytest.raises(DemError, match=r"(?i)void|no heights"):
        reconstruct(scene, empty)


def test_a_dem_with_undeclared_nodata(scene: Scene, dem: xr.DataArray) -> None:
    holed = dem.copy()
    holed[3:6, 3:6] = -32768.0
    with pytest.raises(DemError, match="-32768"):
        reconstruct(scene, holed)


def test_a_dem_that_is_transposed(scene: Scene, dem: xr.DataArray) -> None:
    with pytest.raises(DemError, match=r"dims|transpose"):
        reconstruct(scene, dem.transpose("x", "y"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_without_data(scene: Scene, dem: xr.DataArray, value: float) -> None:
    with pytest.raises(ValueError, match="without a single finite value"):
        reconstruct(with_values(scene, np.float32(value)), dem)


def test_an_image_in_decibels(scene: Scene, dem: xr.DataArray) -> None:
    decibels = 10.0 * np.log10(np.maximum(scene.image, 1e-4))
    with pytest.raises(
        ValueError, match=r"If it is in decibels, convert it first: 10 \*\* \(image / 10\)"
    ):
        reconstruct(with_values(scene, decibels.values), dem)


def test_negative_power(scene: Scene, dem: xr.DataArray) -> None:
    """Noise removal leaves some; an image of it is a mistake."""
    with pytest.raises(ValueError, match=r"negative on average|If it is in decibels"):
        reconstruct(with_values(scene, -scene.image.values), dem)
    with pytest.raises(ValueError, match=r"negative on average.*leave the noise in"):
        reconstruct(with_values(scene, 1e-3 - 0.01 * scene.image.values), dem)
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


def test_an_image_that_is_zero_everywhere(scene: Scene, dem: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="zero everywhere"):
        reconstruct(with_values(scene, np.float32(0.0)), dem)


def test_the_look_side_mixed_up(scene: Scene, dem: xr.DataArray) -> None:
    left = replace(scene, grid=replace(scene.grid, look_side="left"))
    with pytest.raises(GeometryError, match="side of the track to which the radar does not look"):
        reconstruct(left, dem)


def test_an_image_transposed_to_its_grid(scene: Scene, dem: xr.DataArray) -> None:
    turned = xr.DataArray(scene.image.values.T, dims=("line", "sample"))
    with pytest.raises(ValueError, match="looks transposed"):
        reconstruct(turned, dem, scene.grid, scene.orbit)
    with pytest.raises(ValueError, match="rename or transpose"):
        reconstruct(scene.image.transpose("sample", "line"), dem, scene.grid, scene.orbit)


def test_an_orbit_that_is_too_short(scene: Scene, dem: xr.DataArray) -> None:
    short = scene.orbit.crop(scene.grid.last_time + 40.0, scene.orbit.stop)
    with pytest.raises(OrbitCoverageError, match="pass the orbit of this acquisition"):
        reconstruct(scene.image, dem, scene.grid, short)
    for function in (masks, mapping):
        with pytest.raises(OrbitCoverageError):
            function(dem, scene.grid, short)


def test_an_image_without_grid_or_orbit(scene: Scene, dem: xr.DataArray) -> None:
    with pytest.raises(TypeError, match="without grid and orbit; expected both, or a Scene"):
        reconstruct(scene.image, dem)
    with pytest.raises(TypeError, match="without orbit"):
        reconstruct(scene.image, dem, scene.grid)
    with pytest.raises(TypeError, match="without grid"):
        reconstruct(scene.image, dem, orbit=scene.orbit)


def test_a_scene_with_a_grid_beside_it(scene: Scene, dem: xr.DataArray) -> None:
    with pytest.raises(TypeError, match="grid or orbit beside a Scene"):
        reconstruct(scene, dem, scene.grid)
    with pytest.raises(TypeError, match="grid or orbit beside a Scene"):
        reconstruct([scene, scene], dem, orbit=scene.orbit)


@pytest.mark.parametrize(
    ("stranger", "found"),
    [
        (None, "NoneType"),
        ([], "an empty sequence"),
        (np.ones((3, 3)), "ndarray"),
        ([None, 3], "NoneType, int"),
        (xr.Dataset(), "Dataset"),
    ],
)
def test_something_that_is_no_image(dem: xr.DataArray, stranger: Any, found: str) -> None:  # noqa: ANN401
    with pytest.raises(TypeError, match=f"found {found}.*, expected a DataArray, a Scene"):
        reconstruct(stranger, dem)


def test_a_path_is_not_an_image_yet(dem: xr.DataArray) -> None:
    with pytest.raises(TypeError, match=r"found the path 'scene.tif', expected a Scene: .*open_im"):
        reconstruct("scene.tif", dem)  # type: ignore[arg-type]


def test_passes_of_different_polarisations(scene: Scene, dem: xr.DataArray) -> None:
    def of(*names: str) -> Scene:
        image = xr.concat([scene.image] * len(names), dim="polarisation")
        return replace(scene, image=image.assign_coords(polarisation=list(names)))

    for pair in ((of("VV"), of("VV", "VH")), (of("VV"), of("HH")), (of("VV"), scene)):
        with pytest.raises(ValueError, match="expected the same in all"):
            reconstruct(pair, dem)
    assert len(scenes_of([of("VV", "VH"), of("VV", "VH")], None, None, "beta0")) == 2


@pytest.mark.parametrize("part", [-0.1, 1.0, np.nan])
def test_a_smallest_area_out_of_range(scene: Scene, dem: xr.DataArray, part: float) -> None:
    with pytest.raises(ValueError, match="expected a part of a cell"):
        reconstruct(scene, dem, smallest_area=part)


@pytest.mark.parametrize(
    "settings",
    [
        *({"steps": steps} for steps in (0, 2.5, True, "2", 101)),
        *({"blur": blur} for blur in (-1.0, np.inf, 1e9, None)),
        *({"pooling": pooling} for pooling in (0.0, np.nan, 1e300)),
    ],
)
def test_settings_of_the_method_out_of_range(settings: dict[str, Any]) -> None:
    """Also those that no memory holds, and those that are no numbers."""
    with pytest.raises(ValueError, match=r"found \w+=.* in PosteriorMean, expected a (whole )?num"):
        PosteriorMean(**settings)
    for blur in {"blur"} & set(settings):
        with pytest.raises(ValueError, match="in RTC, expected a number of 0 to 100"):
            RTC(blur=settings[blur])


def test_too_few_cells_to_fit_a_law(scene: Scene, dem: xr.DataArray) -> None:
    flat = dem.copy(data=np.full(dem.shape, 500.0, dtype=np.float32))
    with pytest.raises(GeometryError, match="at least two classes to fit a backscatter law"):
        reconstruct(scene, flat)
    corner = dem.isel(y=slice(0, 7), x=slice(20, 30))
    with pytest.raises(GeometryError, match="pass law="):
        fit_law(scene, corner)
    assert np.isfinite(reconstruct(scene, flat, law=LAW).gamma0).sum() > 1000


def test_a_law_in_decibels(scene: Scene, dem: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="is it in dB"):
        reconstruct(scene, dem, law=lambda angle: -8.0 - 0.1 * angle)


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


def test_polarisations_that_never_have_data_at_once(scene: Scene, dem: xr.DataArray) -> None:
    both = np.stack([scene.image.values] * 2)
    both[0, ::2], both[1, 1::2] = np.nan, np.nan
    image = xr.DataArray(both, dims=("polarisation", "line", "sample"))
    with pytest.raises(ValueError, match="in all its polarisations"):
        reconstruct(image, dem, scene.grid, scene.orbit)


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
