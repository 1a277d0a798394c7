"""The common form of a city's images: what it takes, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

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
    stack_from_folder,
    stack_from_raster,
    valid_months,
    write_stack,
)
from sarheight.buildings._images import check_offset
from sarheight.buildings.items import offset_of_item, optical_band
from sarheight.errors import ProductError, StackError
from tests.cities import (
    EPSG,
    flattened_image,
    grid_of,
    images_of,
    place_of,
    real_series,
    small_stack,
    write_geotiff,
)
from tests.conftest import shared_data
from tests.mountains import mountain, raster, scene_of

GRID = grid_of(12, 16)


def images(axis: str, **options: float) -> xr.DataArray:
    bands = {"sar": SAR_BANDS, "optical": OPTICAL_BANDS}[axis]
    return images_of(GRID, f"{axis}_band", bands, **options)


# --- the form ----------------------------------------------------------------------------------


def test_a_stack_holds_what_was_put_together() -> None:
    stack = small_stack(20, 24)
    assert stack["sar"].dims == ("month", "sar_band", "y", "x")
    assert stack["optical"].dtype == np.float32
    assert stack.rio.crs.to_epsg() == EPSG
    assert check_stack(stack) is stack
    assert all(valid.all() for valid in valid_months(stack).values())


def test_bands_come_in_the_usual_order() -> None:
    stack = city_stack(sar=images("sar").isel(sar_band=[3, 0]))
    assert list(stack["sar_band"].values) == ["vv_ascending", "vh_descending"]


def test_months_that_one_modality_lacks_are_missing_in_it() -> None:
    stack = city_stack(sar=images("sar", months=3), optical=images("optical").isel(month=[1, 5]))
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


def test_a_stack_comes_back_from_a_store(tmp_path: Path) -> None:
    stack = small_stack(30, 30)
    path = write_stack(stack, tmp_path / "city.zarr")
    again = open_stack(path, chunks={})
    assert again["sar"].chunks is not None
    for name in ("sar", "optical", "height", "footprint"):
        np.testing.assert_array_equal(again[name], stack[name])
    assert (again["month"].values == stack["month"].values).all()


# --- grids -------------------------------------------------------------------------------------


def test_a_city_grid_covers_its_bounds_at_whole_multiples() -> None:
    place = place_of(40, 60)
    grid = city_grid(place)
    assert grid.rio.crs.to_epsg() == EPSG
    assert (grid["x"].values - 5.0) % 10.0 == pytest.approx(0.0)
    outline = grid.rio.transform_bounds(4326)
    assert outline[0] <= place[0]
    assert outline[3] >= place[3]
    # The zones of Norway and Svalbard are wider.
    assert city_grid((5.2, 60.3, 5.4, 60.4)).rio.crs.to_epsg() == 32632
    assert city_grid((15.5, 78.2, 15.7, 78.25)).rio.crs.to_epsg() == 32633


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


# --- reflectance -------------------------------------------------------------------------------


def test_reflectance_with_and_without_the_offset() -> None:
    numbers = grid_of(2, 2)
    numbers[:] = [[0.0, 500.0], [1500.0, 11_000.0]]
    old = reflectance(numbers, baseline="02.14")
    new = reflectance(numbers, baseline="05.09")
    np.testing.assert_allclose(old, [[np.nan, 0.05], [0.15, 1.1]], rtol=1e-6)
    np.testing.assert_allclose(new, [[np.nan, -0.05], [0.05, 1.0]], rtol=1e-6)
    np.testing.assert_array_equal(new, reflectance(numbers, offset=-1000.0))


def test_an_offset_left_out_or_added_twice_is_noticed() -> None:
    true = images("optical", level=0.1, months=1)
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


@given(st.sampled_from(OPTICAL_BANDS), st.sampled_from(["", "_10m", "-20m"]))
def test_bands_are_known_by_their_names(band: str, suffix: str) -> None:
    assert optical_band(band + suffix) == band
    assert optical_band(band.lower() + suffix) == band
    assert [optical_band(name) for name in ("B10", "B13", "SCL", "visual")] == [None] * 4


def test_cloud_and_its_shadow_are_not_clear() -> None:
    classes = grid_of(3, 4)
    classes[:] = np.arange(12.0).reshape(3, 4)
    clear = clear_sky_mask(classes).values.ravel()
    assert np.flatnonzero(clear).tolist() == [2, 4, 5, 6, 7, 11]


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
    for how, expected in (("median", np.ma.median(masked, axis=0)), ("mean", masked.mean(axis=0))):
        found = monthly_composite(series, how).isel(month=0)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, np.ma.filled(expected, np.nan), rtol=1e-5)


def test_months_without_an_image_or_a_clear_cell_are_missing() -> None:
    values = np.ones((3, 3, 4))
    values[1] = np.nan
    series = dated(values, ["2021-01-10", "2021-02-10", "2021-04-02"])
    found = monthly_composite(series, "median")
    assert found.sizes["month"] == 4
    lazy = monthly_composite(series.isel(time=[0, 2]).chunk({"y": 1}), "median")
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy, found)
    bands = found.expand_dims(optical_band=["B02"]).transpose("month", "optical_band", "y", "x")
    stack = city_stack(optical=bands)
    assert valid_months(stack)["optical"].tolist() == [True, False, False, True]


# --- folders -----------------------------------------------------------------------------------

BANDS = {"VV_A": "vv_ascending", "VH_D": "vh_descending", "B2": "B02", "B11": "B11", "SCL": "SCL"}


def write_folder(folder: Path) -> Path:
    """Write two dates of one month and one of another; the second date is half cloud."""
    random = np.random.default_rng(4)
    for date, cloud in (("20210104", 0), ("20210120", 5), ("20210306", 10)):
        for band, level in (("VV_A", 0.2), ("VH_D", 0.04)):
            power = random.gamma(4.0, level / 4.0, (10, 10)).astype(np.float32)
            write_geotiff(folder / "s1" / f"S1_{date}_{band}.tif", power)
        blue = random.integers(50, 900, (10, 10)).astype(np.uint16) + 1000
        write_geotiff(folder / f"S2_{date}_B2.tif", blue.astype(np.uint16))
        swir = random.integers(900, 2000, (5, 5)).astype(np.uint16) + 1000
        write_geotiff(folder / f"S2_{date}_B11.tif", swir.astype(np.uint16), posting=20.0)
        classes = np.full((5, 5), 4, dtype=np.uint8)
        classes[: cloud // 2] = 9
        write_geotiff(folder / f"S2_{date}_SCL.tif", classes, posting=20.0)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("images"))


def test_a_folder_of_geotiffs_becomes_a_stack(folder: Path) -> None:
    stack = stack_from_folder(folder, "*_{date}_{band}.tif", BANDS, baseline="04.00")
    assert stack.sizes == {
        "month": 3, "sar_band": 2, "optical_band": 2, "y": 10, "x": 10
    }  # fmt: skip
    # The second image of January is clear in its lower rows only; March is never clear.
    assert valid_months(stack)["optical"].tolist() == [True, False, False]
    assert valid_months(stack)["sar"].tolist() == [True, False, True]
    with rasterio.open(folder / "S2_20210104_B2.tif") as opened:
        first = (opened.read(1).astype(np.float32) - 1000.0) / 10_000.0
    blue = stack["optical"].sel(optical_band="B02").isel(month=0)
    np.testing.assert_allclose(blue[:4], first[:4], atol=1e-6)
    assert float(np.abs(blue[6:] - first[6:]).max()) > 0.01
    # Usual names need no pattern.
    xr.testing.assert_identical(stack_from_folder(folder, baseline="04.00"), stack)


PATTERN = "*_{date}_{band}.tif"


@pytest.mark.parametrize(
    ("pattern", "bands", "words"),
    [
        ("{date}_{band}.tif", BANDS, "found no file"),
        ("*.tif", BANDS, r"expected one .date. and one .band."),
        (PATTERN, BANDS, "probably left out"),
        (PATTERN, {**BANDS, "B3": "B03"}, "found no file with B03"),
        (PATTERN, {"B2": "B02", "B02": "B02"}, "found 'B02' more than once among the bands"),
        (PATTERN, {"B2": "blue"}, "found 'blue' among the bands"),
    ],
)
def test_folders_that_do_not_fit_are_refused(
    folder: Path, pattern: str, bands: dict[str, str], words: str
) -> None:
    with pytest.raises(StackError, match=words):
        stack_from_folder(folder, pattern, bands, offset=0.0)


def test_a_folder_that_is_empty_or_not_there_or_has_an_image_twice(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        stack_from_folder(tmp_path / "no", PATTERN, BANDS)
    with pytest.raises(StackError, match="found no file"):
        stack_from_folder(tmp_path, baseline="04.00")
    for name in ("S2", "copy"):
        write_geotiff(tmp_path / f"{name}_20210104_B2.tif", np.ones((10, 10), dtype=np.uint16))
    with pytest.raises(StackError, match="found B02 of 2021-01-04 twice"):
        stack_from_folder(tmp_path, PATTERN, {"B2": "B02"}, baseline="04.00")


def test_images_of_a_folder_on_another_grid_need_a_grid(tmp_path: Path) -> None:
    power = np.full((10, 10), 0.2, dtype=np.float32)
    write_geotiff(tmp_path / "S1_20210104_VH_D.tif", 0.2 * power)
    write_geotiff(tmp_path / "S1_20210405_VV_A.tif", power, west=628_004.0)
    bands = {name: BANDS[name] for name in ("VV_A", "VH_D")}
    with pytest.raises(StackError, match="pass like"):
        stack_from_folder(tmp_path, PATTERN, bands)
    stack = stack_from_folder(tmp_path, PATTERN, bands, like=grid_of(10, 10))
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


def test_radar_images_become_monthly_means_by_pass() -> None:
    images = [
        flattened_image("2021-01-03T05:50:00Z", "descending", 0.1, GRID),
        flattened_image("2021-01-15T05:50:00Z", "descending", 0.3, GRID),
        flattened_image("2021-03-08T17:25:00Z", "ascending", 0.2, GRID),
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
    untold = flattened_image("2021-01-03T05:50:00Z", "", 0.1, GRID)
    assert sar_series([untold], GRID, orbit_direction="ascending").notnull().any()


def test_an_image_in_radar_geometry_is_reconstructed_on_the_grid_of_a_city() -> None:
    dem = raster(mountain(40, 50, height=60.0))
    single = scene_of(dem)
    image = replace(single, image=single.image.expand_dims(polarisation=["VV"]))
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
    with pytest.raises(StackError, match="found 'B02' more than once"):
        stack_from_raster(path, ["B02"] * 5, "2020-06-03", offset=0.0)
    with pytest.raises(ProductError, match="is no raster"):
        stack_from_raster(tmp_path / "no.tif", bands, "2020-06-03")


def test_real_series_are_read() -> None:
    stack = real_series()
    assert stack.sizes["month"] == 16
    assert all(valid.all() for valid in valid_months(stack).values())
    # Fields: vegetation is brighter in the near infrared than in red, all year round.
    means = stack["optical"].mean(dim=("y", "x"))
    assert bool((means.sel(optical_band="B08") > means.sel(optical_band="B04")).all())


@pytest.mark.parametrize(
    ("chip", "right", "wrong"), [("282D_485L_3_3", 0.0, -1000.0), ("433D_629L_3_1", -1000.0, 0.0)]
)
def test_the_wrong_offset_of_a_real_chip_is_noticed(chip: str, right: float, wrong: float) -> None:
    path = shared_data("sentinel1", "terramesh_chips", f"{chip}.tif")
    bands = ["vv_descending", "vh_descending", "dem", *OPTICAL_BANDS]
    stack = stack_from_raster(path, bands, "2020-07-01", decibels=0.01, offset=right)
    assert stack.sizes["y"] == 224
    with pytest.raises(StackError, match="offset"):
        stack_from_raster(path, bands, "2020-07-01", decibels=0.01, offset=wrong)
