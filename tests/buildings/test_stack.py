"""The common form of a city's images: what it takes, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sarheight import buildings
from sarheight.buildings import (
    OPTICAL_BANDS,
    SAR_BANDS,
    check_stack,
    city_grid,
    city_stack,
    clear_sky_mask,
    monthly_composite,
    open_stack,
    reconstruct_product,
    reflectance,
    resample_image,
    sar_series,
    stack_from_arrays,
    stack_from_folder,
    stack_from_raster,
    valid_months,
    write_stack,
)
from sarheight.buildings._images import (
    check_offset,
    offset_of_baseline,
    offset_of_item,
    optical_band,
)
from sarheight.errors import OutputError, ProductError, StackError
from sarheight.scene import Scene
from tests.cities import EPSG, grid_of, images_of, place_of, small_stack, write_geotiff
from tests.conftest import shared_data
from tests.mountains import mountain, raster, scene_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

GRID = grid_of(12, 16)


def sar_of(grid: xr.DataArray = GRID, **options: float) -> xr.DataArray:
    return images_of(grid, "sar_band", SAR_BANDS, **options)


def optical_of(grid: xr.DataArray = GRID, **options: float) -> xr.DataArray:
    return images_of(grid, "optical_band", OPTICAL_BANDS, **options)


# --- the form ----------------------------------------------------------------------------------


def test_a_stack_holds_what_was_put_together() -> None:
    stack = small_stack(20, 24)
    assert stack["sar"].dims == ("month", "sar_band", "y", "x")
    assert stack["optical"].dtype == np.float32
    assert stack.rio.crs.to_epsg() == EPSG
    assert check_stack(stack) is stack
    assert all(valid.all() for valid in valid_months(stack).values())


def test_bands_come_in_the_usual_order() -> None:
    stack = city_stack(sar=sar_of().isel(sar_band=[3, 0]))
    assert list(stack["sar_band"].values) == ["vv_ascending", "vh_descending"]


def test_months_that_one_modality_lacks_are_missing_in_it() -> None:
    stack = city_stack(sar=sar_of(months=3), optical=optical_of().isel(month=[1, 5]))
    assert stack.sizes["month"] == 4
    assert valid_months(stack)["sar"].tolist() == [True, True, True, False]
    assert valid_months(stack)["optical"].tolist() == [False, True, False, True]


@pytest.mark.parametrize("modality", ["sar", "optical"])
def test_one_modality_may_be_absent(modality: str) -> None:
    stack = small_stack(modalities=[modality])
    other = ({"sar", "optical"} - {modality}).pop()
    assert other not in check_stack(stack)
    assert not valid_months(stack)[other].any()
    assert valid_months(stack)[modality].all()


def test_a_stack_without_any_image_is_refused() -> None:
    with pytest.raises(StackError, match="neither sar nor optical"):
        city_stack()
    with pytest.raises(StackError, match=r"found the variables height.*expected sar"):
        check_stack(small_stack()[["height"]])
    with pytest.raises(TypeError, match="expected an xarray"):
        check_stack(sar_of())


def test_images_that_lie_half_a_cell_apart_are_refused() -> None:
    shifted = grid_of(12, 16, west=628_005.0)
    with pytest.raises(
        StackError, match=r"lies \+0.50 cells east and \+0.00 north.*resample_image"
    ):
        city_stack(sar=sar_of(), optical=optical_of(shifted))


def test_images_of_another_size_or_projection_are_refused() -> None:
    with pytest.raises(StackError, match="12 x 15 cells"):
        city_stack(sar=sar_of(), optical=optical_of(grid_of(12, 15)))
    with pytest.raises(StackError, match=r"optical in 'WGS 84 / UTM zone 32N' and sar in"):
        city_stack(sar=sar_of(), optical=optical_of(grid_of(12, 16, epsg=32632)))
    with pytest.raises(StackError, match="sar states no reference system"):
        city_stack(sar=sar_of().drop_vars("spatial_ref"))


def test_grids_in_degrees_or_of_another_posting_are_refused() -> None:
    degrees = grid_of(12, 16, posting=1e-4, west=5.0, north=52.0, epsg=4326)
    with pytest.raises(StackError, match=r"'WGS 84', expected a projected one in metres"):
        city_stack(sar=sar_of(degrees))
    coarse = sar_of(grid_of(12, 16, posting=20.0))
    with pytest.raises(StackError, match=r"found cells of 20 m.*expected 10 m"):
        city_stack(sar=coarse)
    assert city_stack(sar=coarse, posting=None).sizes["x"] == 16
    with pytest.raises(StackError, match="north up"):
        city_stack(sar=sar_of().isel(y=slice(None, None, -1)))


def test_bands_that_are_missing_or_repeated_are_refused() -> None:
    doubled = sar_of().assign_coords(sar_band=["vv_ascending"] * 2 + list(SAR_BANDS[2:]))
    with pytest.raises(
        StackError, match="found 'vv_ascending' more than once among the bands along sar_band"
    ):
        city_stack(sar=doubled)
    with pytest.raises(StackError, match="found no names of the bands along sar_band"):
        city_stack(sar=sar_of().drop_vars("sar_band"))
    with pytest.raises(
        StackError, match="found 'B10' among the bands along optical_band, expected some of B01"
    ):
        city_stack(optical=optical_of().assign_coords(optical_band=["B10", *OPTICAL_BANDS[1:]]))


def test_months_must_be_first_days_that_rise() -> None:
    stack = small_stack(months=3)
    with pytest.raises(StackError, match="found no dates along month"):
        check_stack(stack.assign_coords(month=[1, 2, 3]))
    with pytest.raises(StackError, match=r"2021-01-05.*expected first days"):
        check_stack(stack.assign_coords(month=stack["month"] + np.timedelta64(4, "D")))
    with pytest.raises(StackError, match="rising and each once"):
        check_stack(stack.isel(month=[1, 0, 2]))


def test_decibels_are_not_taken_for_power() -> None:
    with pytest.raises(StackError, match="expected linear power"):
        city_stack(sar=10.0 * np.log10(sar_of()))


def test_digital_numbers_are_not_taken_for_reflectance() -> None:
    with pytest.raises(StackError, match="expected reflectance from 0 to 1"):
        city_stack(optical=optical_of(level=1500.0))


@pytest.mark.parametrize(
    ("factor", "added", "words"),
    [(100.0, 0.0, "divide centimetres by 100"), (1.0, -2.0, "heights down to -2")],
)
def test_heights_in_centimetres_or_below_zero_are_refused(
    factor: float, added: float, words: str
) -> None:
    stack = small_stack()
    with pytest.raises(StackError, match=words):
        check_stack(stack.assign(height=factor * stack["height"] + added))


def test_shares_in_per_cent_are_refused() -> None:
    stack = small_stack()
    with pytest.raises(StackError, match="divide per cent by 100"):
        check_stack(stack.assign(footprint=100.0 * stack["footprint"]))


def test_a_stack_comes_back_from_a_store(tmp_path: Path) -> None:
    stack = small_stack(30, 30)
    path = write_stack(stack, tmp_path / "city.zarr")
    again = open_stack(path, chunks={})
    assert again["sar"].chunks is not None
    for name in ("sar", "optical", "height", "footprint"):
        np.testing.assert_array_equal(again[name], stack[name])
    assert (again["month"].values == stack["month"].values).all()
    with pytest.raises(OutputError, match="exists already"):
        write_stack(stack, path)


# --- grids -------------------------------------------------------------------------------------


def test_a_city_grid_covers_its_bounds_at_whole_multiples() -> None:
    place = place_of(40, 60)
    grid = city_grid(place)
    assert grid.rio.crs.to_epsg() == EPSG
    assert (grid["x"].values - 5.0) % 10.0 == pytest.approx(0.0)
    outline = grid.rio.transform_bounds(4326)
    assert outline[0] <= place[0]
    assert outline[3] >= place[3]
    with pytest.raises(StackError, match="with some extent"):
        city_grid((5.0, 52.0, 4.0, 53.0))
    with pytest.raises(StackError, match="expected a projected"):
        city_grid(place, crs=4326)


def test_finer_images_are_averaged_and_their_energy_stays() -> None:
    fine = grid_of(40, 60, posting=5.0)
    fine[:] = np.random.default_rng(0).gamma(2.0, 0.1, fine.shape)
    coarse = resample_image(fine, grid_of(20, 30))
    expected = fine.values.reshape(20, 2, 30, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(coarse, expected, rtol=1e-5)


def test_codes_are_never_mixed() -> None:
    codes = grid_of(10, 10, posting=20.0, value=0.0).astype(np.uint8)
    codes[:, :5], codes[:, 5:] = 4, 9
    assert set(np.unique(resample_image(codes, grid_of(20, 20)))) == {4, 9}


def test_images_that_do_not_meet_are_refused() -> None:
    with pytest.raises(StackError, match="does not meet the grid"):
        resample_image(grid_of(5, 5, value=1.0), grid_of(5, 5, west=700_000.0))
    with pytest.raises(StackError, match="states no reference system"):
        resample_image(GRID.drop_vars("spatial_ref"), GRID)


# --- reflectance -------------------------------------------------------------------------------


def test_reflectance_with_and_without_the_offset() -> None:
    numbers = grid_of(2, 2)
    numbers[:] = [[0.0, 500.0], [1500.0, 11_000.0]]
    old = reflectance(numbers, baseline="02.14")
    new = reflectance(numbers, baseline="05.09")
    np.testing.assert_allclose(old, [[np.nan, 0.05], [0.15, 1.1]], rtol=1e-6)
    np.testing.assert_allclose(new, [[np.nan, -0.05], [0.05, 1.0]], rtol=1e-6)
    np.testing.assert_array_equal(new, reflectance(numbers, offset=-1000.0))
    with pytest.raises(StackError, match="expected one of them"):
        reflectance(numbers)
    with pytest.raises(StackError, match="reflectance already"):
        reflectance(0.0001 * numbers, offset=0.0)


def test_an_offset_left_out_or_added_twice_is_noticed() -> None:
    true = optical_of(level=0.1, months=1)
    assert check_offset(true) is true
    with pytest.raises(StackError, match="the offset of -1000 was probably left out"):
        check_offset(true + 0.1)
    with pytest.raises(StackError, match="added to numbers of a processing baseline before"):
        check_offset(true - 0.1)
    # Fields are that bright in the near infrared.
    check_offset((true + 0.1).sel(optical_band=["B08", "B8A"]))


def test_the_offset_of_an_item_follows_from_its_baseline() -> None:
    assert offset_of_item({"s2:processing_baseline": "04.00"}) == -1000.0
    assert offset_of_item({"processing:version": "02.12"}) == 0.0
    applied = {"earthsearch:boa_offset_applied": True, "s2:processing_baseline": "05.10"}
    assert offset_of_item(applied) == 0.0
    with pytest.raises(StackError, match="State the offset"):
        offset_of_item({})
    with pytest.raises(StackError, match="found the processing baseline 'new'"):
        offset_of_baseline("new")


@given(st.sampled_from(OPTICAL_BANDS), st.sampled_from(["", "_10m", "-20m"]))
def test_bands_are_known_by_their_names(band: str, suffix: str) -> None:
    assert optical_band(band + suffix) == band
    assert optical_band(band.lower() + suffix) == band


def test_unknown_bands_have_no_name() -> None:
    assert [optical_band(name) for name in ("B10", "B13", "SCL", "visual")] == [None] * 4


def test_cloud_and_its_shadow_are_not_clear() -> None:
    classes = grid_of(3, 4)
    classes[:] = np.arange(12.0).reshape(3, 4)
    clear = clear_sky_mask(classes).values.ravel()
    assert np.flatnonzero(clear).tolist() == [2, 4, 5, 6, 7, 11]
    with pytest.raises(StackError, match="expected classes 0 to 11"):
        clear_sky_mask(classes + 0.5)


# --- months ------------------------------------------------------------------------------------


def dated(values: NDArray[Any], times: list[str]) -> xr.DataArray:
    grid = grid_of(*values.shape[1:])
    series = xr.DataArray(
        values.astype(np.float32),
        dims=("time", "y", "x"),
        coords={"time": np.array(times, dtype="datetime64[ns]"), "y": grid["y"], "x": grid["x"]},
    )
    placed: xr.DataArray = series.rio.write_crs(EPSG)
    return placed


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 1000))
def test_a_month_is_the_median_or_mean_of_what_is_clear(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.uniform(0.0, 1.0, (count, 3, 4))
    values[random.uniform(size=values.shape) < 0.3] = np.nan
    series = dated(values, [f"2021-03-{day + 1:02d}" for day in range(count)])
    masked = np.ma.masked_invalid(values.astype(np.float32))
    for how, expected in (
        ("median", np.ma.median(masked, axis=0)),
        ("mean", masked.mean(axis=0)),
    ):
        found = monthly_composite(series, how).isel(month=0)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, np.ma.filled(expected, np.nan), rtol=1e-5)


def test_months_without_an_image_are_missing() -> None:
    series = dated(np.ones((2, 3, 4)), ["2021-01-10", "2021-04-02"])
    found = monthly_composite(series, "median")
    assert found.sizes["month"] == 4
    assert found.notnull().any(dim=("y", "x")).values.tolist() == [True, False, False, True]
    lazy = monthly_composite(series.chunk({"y": 1}), "median")
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, found)
    with pytest.raises(StackError, match="expected some from 2022-01 to 2022-02"):
        monthly_composite(series, "mean", months=("2022-01", "2022-02"))
    with pytest.raises(StackError, match="expected images along time"):
        monthly_composite(series.isel(time=0), "mean")


def test_a_month_with_no_clear_cell_is_missing() -> None:
    values = np.ones((3, 3, 4))
    values[1] = np.nan
    found = monthly_composite(dated(values, ["2021-01-10", "2021-02-10", "2021-03-10"]), "median")
    stack = city_stack(
        optical=found.expand_dims(optical_band=["B02"]).transpose("month", "optical_band", "y", "x")
    )
    assert valid_months(stack)["optical"].tolist() == [True, False, True]


# --- folders -----------------------------------------------------------------------------------

BANDS = {"VV_A": "vv_ascending", "VH_D": "vh_descending", "B2": "B02", "B11": "B11", "SCL": "SCL"}


def write_folder(folder: Path, *, added: int = 1000) -> Path:
    """Write two dates of one month and one of another; the second date is half cloud."""
    random = np.random.default_rng(4)
    for date, cloud in (("20210104", 0), ("20210120", 5), ("20210306", 10)):
        for band, level in (("VV_A", 0.2), ("VH_D", 0.04)):
            power = random.gamma(4.0, level / 4.0, (10, 10)).astype(np.float32)
            write_geotiff(folder / "s1" / f"S1_{date}_{band}.tif", power)
        blue = random.integers(50, 900, (10, 10)).astype(np.uint16) + added
        write_geotiff(folder / f"S2_{date}_B2.tif", blue.astype(np.uint16))
        swir = random.integers(900, 2000, (5, 5)).astype(np.uint16) + added
        write_geotiff(folder / f"S2_{date}_B11.tif", swir.astype(np.uint16), posting=20.0)
        classes = np.full((5, 5), 4, dtype=np.uint8)
        classes[: cloud // 2] = 9
        write_geotiff(folder / f"S2_{date}_SCL.tif", classes, posting=20.0)
    return folder


def test_a_folder_of_geotiffs_becomes_a_stack(tmp_path: Path) -> None:
    write_folder(tmp_path)
    stack = stack_from_folder(tmp_path, "*_{date}_{band}.tif", BANDS, baseline="04.00")
    assert stack.sizes == {
        "month": 3, "sar_band": 2, "optical_band": 2, "y": 10, "x": 10
    }  # fmt: skip
    # The second image of January is clear in its lower rows only; March is never clear.
    assert valid_months(stack)["optical"].tolist() == [True, False, False]
    assert valid_months(stack)["sar"].tolist() == [True, False, True]
    import rasterio

    with rasterio.open(tmp_path / "S2_20210104_B2.tif") as opened:
        first = (opened.read(1).astype(np.float32) - 1000.0) / 10_000.0
    blue = stack["optical"].sel(optical_band="B02").isel(month=0)
    np.testing.assert_allclose(blue[:4], first[:4], atol=1e-6)
    assert float(np.abs(blue[6:] - first[6:]).max()) > 0.01


def test_usual_names_need_no_pattern(tmp_path: Path) -> None:
    write_folder(tmp_path)
    expected = stack_from_folder(tmp_path, "*_{date}_{band}.tif", BANDS, baseline="04.00")
    xr.testing.assert_identical(stack_from_folder(tmp_path, baseline="04.00"), expected)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StackError, match="found no file"):
        stack_from_folder(tmp_path / "empty", baseline="04.00")


@pytest.mark.parametrize(
    ("place", "epsg"),
    [
        ((5.2, 60.3, 5.4, 60.4), 32632),
        ((15.5, 78.2, 15.7, 78.25), 32633),
        ((4.3, 52.0, 4.4, 52.1), 32631),
    ],
)
def test_the_zones_of_norway_and_svalbard_are_wider(place: tuple[float, ...], epsg: int) -> None:
    assert city_grid(place).rio.crs.to_epsg() == epsg
    with pytest.raises(StackError, match="no UTM zone"):
        city_grid((0.0, 85.0, 1.0, 85.1))


def test_the_wrong_offset_of_a_folder_is_noticed(tmp_path: Path) -> None:
    write_folder(tmp_path / "new")
    with pytest.raises(StackError, match="probably left out"):
        stack_from_folder(tmp_path / "new", "*_{date}_{band}.tif", BANDS, baseline="03.01")
    write_folder(tmp_path / "old", added=0)
    with pytest.raises(StackError, match=r"before 04\.00"):
        stack_from_folder(tmp_path / "old", "*_{date}_{band}.tif", BANDS, baseline="04.00")


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        stack_from_folder(tmp_path / "no", "{date}_{band}.tif", BANDS)
    with pytest.raises(StackError, match="found no file"):
        stack_from_folder(tmp_path, "{date}_{band}.tif", BANDS, offset=0.0)
    with pytest.raises(StackError, match=r"expected one .date. and one .band."):
        stack_from_folder(tmp_path, "*.tif", BANDS, offset=0.0)
    with pytest.raises(StackError, match="found no file with B03"):
        stack_from_folder(tmp_path, "*_{date}_{band}.tif", {**BANDS, "B3": "B03"}, offset=0.0)
    with pytest.raises(StackError, match="found 'B02' more than once among the bands"):
        stack_from_folder(tmp_path, "*_{date}_{band}.tif", {"B2": "B02", "B02": "B02"}, offset=0.0)
    with pytest.raises(StackError, match="found 'blue' among the bands"):
        stack_from_folder(tmp_path, "*_{date}_{band}.tif", {"B2": "blue"}, offset=0.0)
    write_geotiff(tmp_path / "copy_20210104_B2.tif", np.ones((10, 10), dtype=np.uint16))
    with pytest.raises(StackError, match="found B02 of 2021-01-04 twice"):
        stack_from_folder(tmp_path, "*_{date}_{band}.tif", BANDS, baseline="04.00")


def test_images_of_a_folder_on_another_grid_need_a_grid(tmp_path: Path) -> None:
    write_folder(tmp_path)
    power = np.full((10, 10), 0.2, dtype=np.float32)
    write_geotiff(tmp_path / "S1_20210405_VV_A.tif", power, west=628_004.0)
    with pytest.raises(StackError, match="pass like"):
        stack_from_folder(tmp_path, "*_{date}_{band}.tif", BANDS, baseline="04.00")
    stack = stack_from_folder(
        tmp_path, "*_{date}_{band}.tif", BANDS, baseline="04.00", like=grid_of(10, 10)
    )
    shifted = stack["sar"].sel(sar_band="vv_ascending").isel(month=3)
    assert float(shifted.isel(x=5, y=5)) == pytest.approx(0.2, rel=1e-5)


# --- the guide ---------------------------------------------------------------------------------


def test_the_guide_names_what_there_is() -> None:
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "city-stacks.md"
    text = re.sub(r"<!--.*?-->", "", guide.read_text(encoding="utf-8"))
    names = set(re.findall(r"(?<![/\w])buildings\.(\w+)", text))
    assert len(names) > 15
    assert names <= set(dir(buildings))


# --- radar -------------------------------------------------------------------------------------


def flattened_image(
    time: str, orbit_direction: str, level: float, grid: xr.DataArray = GRID
) -> xr.Dataset:
    power = xr.concat([grid.fillna(level), grid.fillna(0.2 * level)], dim="polarisation")
    record = {"start": time, "orbit_state": orbit_direction, "polarisations": ["VV", "VH"]}
    return xr.Dataset(
        {"gamma0": power.assign_coords(polarisation=["VV", "VH"])},
        attrs={"acquisition": json.dumps([record])},
    )


def test_radar_images_become_monthly_means_by_pass() -> None:
    images = [
        flattened_image("2021-01-03T05:50:00Z", "descending", 0.1),
        flattened_image("2021-01-15T05:50:00Z", "descending", 0.3),
        flattened_image("2021-03-08T17:25:00Z", "ascending", 0.2),
    ]
    series = sar_series(images, GRID)
    assert series.sizes["month"] == 3
    means = series.mean(dim=("y", "x"))
    january = means.isel(month=0)
    assert float(january.sel(sar_band="vv_descending")) == pytest.approx(0.2)
    assert float(january.sel(sar_band="vh_descending")) == pytest.approx(0.04)
    assert np.isnan(january.sel(sar_band="vv_ascending"))
    assert float(means.isel(month=2).sel(sar_band="vv_ascending")) == pytest.approx(0.2)
    assert series.attrs["calibration"] == "gamma0"
    assert sar_series(images, GRID, months=("2021-03", "2021-04")).sizes["month"] == 2


def test_radar_images_must_say_time_pass_and_radiometry() -> None:
    image = flattened_image("2021-01-03T05:50:00Z", "", 0.1)
    with pytest.raises(StackError, match="does not state its pass"):
        sar_series([image], GRID)
    assert sar_series([image], GRID, orbit_direction="ascending").notnull().any()
    with pytest.raises(StackError, match="expected one with its time"):
        sar_series([image.assign_attrs(acquisition="[]")], GRID)
    with pytest.raises(StackError, match="expected gamma0 or sigma0"):
        sar_series([image.rename(gamma0="amplitude")], GRID, orbit_direction="ascending")
    other = image.rename(gamma0="sigma0")
    with pytest.raises(StackError, match=r"gamma0 and sigma0"):
        sar_series([image, other], GRID, orbit_direction="ascending")
    strange = image.assign_coords(polarisation=["HH", "HV"])
    with pytest.raises(StackError, match="expected VV, VH or both"):
        sar_series([strange], GRID, orbit_direction="ascending")
    with pytest.raises(StackError, match="no image in the months"):
        sar_series([], GRID)


def test_an_image_in_radar_geometry_is_reconstructed_on_the_grid_of_a_city() -> None:
    dem = raster(mountain(40, 50, height=60.0))
    single = scene_of(dem)
    both = single.image.expand_dims(polarisation=["VV"])
    image = Scene(both, single.grid, single.orbit, single.calibration)
    like = city_grid((9.993, 45.997, 10.007, 46.003), crs=dem.rio.crs)
    found = reconstruct_product(image, dem, like)
    series = sar_series([found], like)
    assert series.shape[2:] == like.shape
    assert float(series.notnull().any(dim="sar_band").mean()) > 0.95


# --- what others have published ----------------------------------------------------------------


def test_a_geotiff_of_all_bands_becomes_a_stack(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    levels = random.integers(-2000, -800, (2, 8, 8))
    numbers = random.integers(50, 3000, (2, 8, 8))
    heights = random.integers(100, 110, (1, 8, 8))
    path = write_geotiff(
        tmp_path / "chip.tif", np.concatenate([levels, heights, numbers]).astype(np.int16)
    )
    bands = ["vh_ascending", "vv_ascending", "dem", "B02", None]
    stack = stack_from_raster(path, bands, "2020-06-03", decibels=0.01, offset=0.0)
    assert stack["month"].values == np.datetime64("2020-06-01")
    vv = stack["sar"].sel(sar_band="vv_ascending").isel(month=0)
    np.testing.assert_allclose(10.0 * np.log10(vv), 0.01 * levels[1], atol=1e-4)
    np.testing.assert_array_equal(stack["dem"], heights[0])
    assert list(stack["optical_band"].values) == ["B02"]
    with pytest.raises(StackError, match=r"found 5 bands .* expected 2"):
        stack_from_raster(path, bands[:2], "2020-06-03", decibels=0.01)
    with pytest.raises(StackError, match="found B02 more than once"):
        stack_from_raster(path, ["B02"] * 5, "2020-06-03", offset=0.0)
    with pytest.raises(ProductError, match="is no raster"):
        stack_from_raster(tmp_path / "no.tif", bands, "2020-06-03")


def arrays_of(count: int = 4) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    axes = {
        f"{axis}{step}": origin + sign * (np.arange(size) + 0.5) * step
        for step, size in ((10, 8), (20, 4))
        for axis, origin, sign in (("x", 5e5, 1.0), ("y", 5e6, -1.0))
    }
    times = np.datetime64("2020-01-10", "s").astype(int) + 86_400 * 20 * np.arange(count)
    return {
        "s1_time": times,
        "s2_time": times,
        "s1_vv_vh_cdB": random.integers(-2000, -800, (count, 2, 4, 4)).astype(np.int16),
        "s2_10m_B02": random.integers(50, 3000, (count, 1, 8, 8)),
        "s2_20m_B11": random.integers(50, 3000, (count, 1, 4, 4)),
        "scl": np.full((count, 4, 4), 4),
        "epsg": np.array(EPSG),
        **axes,
    }


def test_series_of_arrays_become_a_stack(tmp_path: Path) -> None:
    arrays = arrays_of()
    arrays["scl"][0] = 8
    np.savez(tmp_path / "series.npz", **arrays)
    stack = stack_from_arrays(tmp_path / "series.npz", orbit_direction="ascending", offset=0.0)
    assert stack.sizes["y"] == 8
    assert list(stack["sar_band"].values) == ["vv_ascending", "vh_ascending"]
    assert list(stack["optical_band"].values) == ["B02", "B11"]
    second = stack["optical"].sel(optical_band="B02").isel(month=0)
    np.testing.assert_allclose(second, arrays["s2_10m_B02"][1, 0] / 1e4, rtol=1e-5)
    with pytest.raises(StackError, match="without their pass"):
        stack_from_arrays(arrays, offset=0.0)
    for name in ("epsg", "s2_time"):
        fewer = {key: value for key, value in arrays.items() if key != name}
        with pytest.raises(StackError, match=f"expected {name}"):
            stack_from_arrays(fewer, orbit_direction="ascending", offset=0.0)
    strange = {**arrays, "s2_10m_B02": arrays["scl"][:, 1:]}
    with pytest.raises(StackError, match="found s2_10m_B02 with the shape"):
        stack_from_arrays(strange, orbit_direction="ascending", offset=0.0)


def test_real_series_are_read() -> None:
    path = shared_data("timeseries", "worldcereal_00002806639B424A.npz")
    stack = stack_from_arrays(path, orbit_direction="ascending", baseline="02.05")
    assert stack.sizes["month"] == 16
    assert all(valid.all() for valid in valid_months(stack).values())
    # Fields: vegetation is brighter in the near infrared than in red, all year round.
    means = stack["optical"].mean(dim=("y", "x"))
    assert bool((means.sel(optical_band="B08") > means.sel(optical_band="B04")).all())


@pytest.mark.parametrize(
    ("chip", "right", "wrong"),
    [("282D_485L_3_3", 0.0, -1000.0), ("433D_629L_3_1", -1000.0, 0.0)],
)
def test_the_wrong_offset_of_a_real_chip_is_noticed(chip: str, right: float, wrong: float) -> None:
    path = shared_data("sentinel1", "terramesh_chips", f"{chip}.tif")
    bands = ["vv_descending", "vh_descending", "dem", *OPTICAL_BANDS]
    stack = stack_from_raster(path, bands, "2020-07-01", decibels=0.01, offset=right)
    assert stack.sizes["y"] == 224
    with pytest.raises(StackError, match="offset"):
        stack_from_raster(path, bands, "2020-07-01", decibels=0.01, offset=wrong)
