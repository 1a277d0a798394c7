"""Joining, coarsening and reprojecting DEMs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from sarheight.dem import (
    check_dem,
    coarsen,
    grid_like,
    local_posting,
    mosaic,
    open_dem,
    reproject,
    to_grid,
)
from sarheight.errors import DemError, VerticalDatumError
from tests.conftest import shared_data
from tests.dems import array, rough, utm_array
from tests.mountains import mountain, raster


def hills(longitude: np.ndarray, latitude: np.ndarray) -> np.ndarray:
    """Hills of 300 m in height and 20 to 30 km in length, anywhere on Earth."""
    return 800.0 + 300.0 * np.sin(np.deg2rad(longitude) * 1000) * np.cos(
        np.deg2rad(latitude) * 1500
    )


def hills_on(y: np.ndarray, x: np.ndarray, crs: str) -> xr.DataArray:
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    return array(
        hills(*to_degrees.transform(*np.meshgrid(x, y))), y, x, crs, vertical_datum="ellipsoid"
    )


# Mosaic


@pytest.mark.parametrize("size", [3e10, 1e15])
def test_a_grid_of_enormous_cells_is_refused(size: float) -> None:
    """Kernels as wide as these end the process."""
    dem = raster(mountain(20, 20))
    steps = size * np.arange(4)
    like = xr.DataArray(
        np.zeros((4, 4), np.float32), {"y": 5e6 - steps, "x": 5e5 + steps}, ("y", "x")
    ).rio.write_crs(32632)
    with pytest.raises(DemError, match="times as large as those of the DEM"):
        reproject(dem, like=like)
    with pytest.raises(DemError, match="expected it in units"):
        to_grid(dem, grid_like(like))


@given(
    seed=st.integers(0, 99),
    cuts=st.tuples(st.integers(2, 7), st.integers(2, 9)),
    lap=st.integers(0, 2),
    direction=st.sampled_from([1, -1]),
)
def test_mosaic_of_split_tiles_is_the_original(
    seed: int, cuts: tuple[int, int], lap: int, direction: int
):
    heights = rough(seed, 9, 11)
    heights[4, 5:7] = np.nan
    whole = utm_array(heights)
    rows, columns = cuts
    tiles = [
        whole.isel(y=y, x=x)
        for y in (slice(None, rows), slice(max(0, rows - lap), None))
        for x in (slice(None, columns), slice(max(0, columns - lap), None))
    ]
    tiles[1] = tiles[1].isel(y=slice(None, None, direction))
    joined = mosaic(tiles[::-1])
    np.testing.assert_array_equal(joined, whole)
    np.testing.assert_allclose(joined["x"], whole["x"], rtol=1e-12)
    np.testing.assert_allclose(joined["y"], whole["y"], rtol=1e-12)


def test_voids_of_one_tile_are_filled_by_the_next():
    heights = rough(1, 6, 6)
    holed = heights.copy()
    holed[2, 2] = np.nan
    np.testing.assert_array_equal(mosaic([utm_array(holed), utm_array(heights)]), heights)
    with pytest.raises(DemError, match="no DEM tiles"):
        mosaic([])


def test_gaps_between_tiles_are_void():
    whole = utm_array(rough(2, 6, 12))
    joined = mosaic([whole.isel(x=slice(0, 4)), whole.isel(x=slice(8, 12))])
    assert joined.shape == whole.shape
    assert np.isnan(joined[:, 4:8]).all()
    assert np.isfinite(joined[:, :4]).all()


@pytest.mark.parametrize("order", [1, -1])
def test_mosaic_across_the_antimeridian(order: int):
    step = 0.01
    latitude = 52.0 - step * np.arange(20)
    east = array(np.ones((20, 100)), latitude, 179.005 + step * np.arange(100), "EPSG:4326")
    west = array(2 * np.ones((20, 50)), latitude, -179.995 + step * np.arange(50), "EPSG:4326")
    joined = mosaic([east, west][::order])
    np.testing.assert_allclose(joined["x"], 179.005 + step * np.arange(150))
    assert (joined[:, :100] == 1).all()
    assert (joined[:, 100:] == 2).all()
    # Tiles around the Earth stay where they are.
    latitude = 10.0 - np.arange(20.0)
    west = array(np.ones((20, 180)), latitude, -179.5 + np.arange(180), "EPSG:4326")
    east = array(np.ones((20, 180)), latitude, 0.5 + np.arange(180), "EPSG:4326")
    np.testing.assert_allclose(mosaic([west, east])["x"], -179.5 + np.arange(360))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda dem: dem.assign_coords(x=dem["x"] + 9.0), DemError, "cells off the grid"),
        (lambda _: utm_array(rough(3, 6, 6), step=25.0), DemError, "different postings"),
        (lambda dem: dem.rio.write_crs("EPSG:32633"), DemError, "different reference systems"),
        (lambda dem: dem.drop_attrs().rio.write_crs("EPSG:32632"), VerticalDatumError, "unstated"),
    ],
)
def test_tiles_that_do_not_fit(
    change: Callable[[xr.DataArray], xr.DataArray], error: type[DemError], message: str
):
    dem = utm_array(rough(3, 6, 6))
    with pytest.raises(error, match=message):
        mosaic([dem, change(dem)])


# Coarsen


def row_area(latitude: np.ndarray, step: float) -> np.ndarray:
    upper, lower = np.deg2rad(latitude + step / 2), np.deg2rad(latitude - step / 2)
    return np.sin(upper) - np.sin(lower)


@given(
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(2, 5), st.integers(2, 5)),
    factor=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_coarsen_by_whole_factors_is_the_block_mean(
    seed: int, shape: tuple[int, int], factor: tuple[int, int]
):
    heights = rough(seed, shape[0] * factor[0], shape[1] * factor[1])
    coarse = coarsen(utm_array(heights), (30.0 * factor[0], 30.0 * factor[1]), units="crs")
    blocks = heights.reshape(shape[0], factor[0], shape[1], factor[1]).astype(np.float64)
    np.testing.assert_allclose(coarse, blocks.mean(axis=(1, 3)), rtol=1e-6)


@given(seed=st.integers(0, 99), factor=st.floats(1.0, 4.5), hole=st.sampled_from([0, 6]))
def test_coarsen_conserves_the_mean(seed: int, factor: float, hole: int):
    heights = rough(seed, 13, 17)
    heights[3 : 3 + hole, 4] = np.nan
    fine = array(heights, 60.0 - 0.2 * np.arange(13), 10.0 + 0.1 * np.arange(17), "EPSG:4326")
    dy, dx = 0.2 * factor, 0.1 * factor
    coarse = coarsen(fine, (dy, dx), units="crs", min_valid=0.0)
    ones = coarsen(fine.copy(data=np.isfinite(heights) * 1000.0), (dy, dx), units="crs")
    edge_y, edge_x = 60.1 - dy * np.arange(coarse.shape[0] + 1), dx * np.arange(coarse.shape[1] + 1)
    edge_y, edge_x = np.maximum(edge_y, 60.1 - 0.2 * 13), np.minimum(edge_x, 0.1 * 17)
    inside = np.outer(-np.diff(np.sin(np.deg2rad(edge_y))), np.diff(edge_x))
    weight = inside * ones.values / 1000.0
    area = row_area(fine["y"].values, 0.2)[:, None] * np.isfinite(heights)
    assert np.nansum(coarse * weight) / weight.sum() == pytest.approx(
        np.nansum(heights * area) / area.sum(), rel=1e-4
    )


def test_coarsen_keeps_a_plane_in_place():
    y, x = np.mgrid[0:24, 0:30]
    fine = utm_array(100.0 + 2.0 * x + 3.0 * y)
    coarse = coarsen(fine, 75.0, units="crs")[:-1, :]
    columns = (coarse["x"] - fine["x"][0]) / 30.0
    rows = (fine["y"][0] - coarse["y"]) / 30.0
    np.testing.assert_allclose(
        coarse, (100.0 + 2.0 * columns + 3.0 * rows).transpose("y", "x"), atol=0.3
    )


def test_coarsen_in_metres_on_the_ground():
    fine = array(
        rough(5, 90, 90), 46.0 - np.arange(90) / 3600, 8.0 + np.arange(90) / 3600, "EPSG:4326"
    )
    assert local_posting(coarsen(fine, 90.0)) == pytest.approx((90.0, 90.0), rel=1e-3)
    assert local_posting(coarsen(fine, (60.0, 90.0))) == pytest.approx((60.0, 90.0), rel=1e-3)
    # The scale of a map does not spoil whole multiples.
    fine = utm_array(rough(5, 30, 60)).assign_coords(x=7.5e5 + 30.0 * np.arange(60))
    coarse = coarsen(fine, 90.0)
    assert local_posting(fine)[1] != pytest.approx(30.0, abs=5e-3)
    assert coarse.shape == (10, 20)
    np.testing.assert_allclose(np.diff(coarse["x"]), 90.0)


def test_coarse_cells_need_their_share_of_heights():
    heights = np.full((4, 4), 100.0)
    heights[:2, :2] = np.nan
    heights[0, 2] = np.nan
    coarse = coarsen(utm_array(heights), 60.0, units="crs")
    np.testing.assert_array_equal(coarse, [[np.nan, 100.0], [100.0, 100.0]])
    strict = coarsen(utm_array(heights), 60.0, units="crs", min_valid=1.0)
    np.testing.assert_array_equal(strict, [[np.nan, np.nan], [100.0, 100.0]])


@pytest.mark.parametrize(
    ("posting", "units", "message"),
    [(20.0, "m", "reproject"), (500.0, "m", "2 x 2"), (60.0, "feet", '"m" or "crs"')],
)
def test_coarsen_does_not_refine(posting: float, units: Any, message: str):  # noqa: ANN401
    with pytest.raises(DemError, match=message):
        coarsen(utm_array(rough(6, 6, 6)), posting, units=units)


# Reproject


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32632", "EPSG:3857", "EPSG:3035", "EPSG:4258"])
def test_reprojected_heights_are_those_of_their_place(crs: str):
    source = hills_on(46.5 - np.arange(400) / 3600, 10.0 + np.arange(500) / 3600, "EPSG:4326")
    moved = reproject(source, crs)
    expected = hills_on(moved["y"].values, moved["x"].values, crs)
    inner = np.isfinite(moved.values)
    inner[[0, 1, -2, -1], :] = inner[:, [0, 1, -2, -1]] = False
    assert inner.mean() > (0.8 if crs == "EPSG:3035" else 0.9)
    error = np.abs(moved.values - expected.values)[inner]
    assert np.quantile(error, 0.99) < 0.15
    assert check_dem(moved).attrs["vertical_datum"] == "ellipsoid"


def test_south_up_source_gives_the_same():
    source = hills_on(5.2e6 - 30.0 * np.arange(60), 5e5 + 30.0 * np.arange(80), "EPSG:32632")
    flipped = source.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    np.testing.assert_array_equal(reproject(source, "EPSG:4326"), reproject(flipped, "EPSG:4326"))


@settings(max_examples=15)
@given(easting=st.floats(3e5, 7e5), northing=st.floats(1e6, 8e6), step=st.floats(15.0, 90.0))
def test_round_trip(easting: float, northing: float, step: float):
    source = hills_on(northing - step * np.arange(50), easting + step * np.arange(40), "EPSG:32632")
    back = reproject(reproject(source, "EPSG:4326"), like=source)
    np.testing.assert_array_equal(back["x"], source["x"])
    error = np.abs(back - source).values[3:-3, 3:-3]
    assert error.max() < 0.01 * step


def test_same_grid_changes_nothing():
    source = utm_array(rough(7, 20, 30))
    np.testing.assert_array_equal(reproject(source, like=source), source)
    upside_down = source.isel(y=slice(None, None, -1))
    xr.testing.assert_allclose(
        reproject(source, like=upside_down).drop_attrs(), upside_down.drop_attrs()
    )


def test_posting_and_its_multiples():
    source = hills_on(5.2e6 - 30.0 * np.arange(90), 5e5 + 30.0 * np.arange(90), "EPSG:32632")
    moved = reproject(source, "EPSG:32632", 50.0)
    assert local_posting(moved) == pytest.approx((50.0, 50.0), rel=1e-3)
    np.testing.assert_allclose((moved["x"] - 25.0) % 50.0, 0.0, atol=1e-6)
    tall = reproject(source, "EPSG:32632", (60.0, 30.0))
    assert local_posting(tall) == pytest.approx((60.0, 30.0), rel=1e-3)


@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:32660", "EPSG:3995"])
def test_across_the_antimeridian(crs: str):
    """To the map and back; the longitudes that come back go on beyond 180."""
    latitude, longitude = 66.0 - 0.001 * np.arange(300), 179.9 + 0.001 * np.arange(300)
    source = hills_on(latitude, longitude, "EPSG:4326")
    moved = reproject(source, crs)
    expected = hills_on(moved["y"].values, moved["x"].values, crs)
    known = np.isfinite(moved.values)
    assert known.mean() > 0.4
    assert np.quantile(np.abs(moved - expected).values[known], 0.98) < 0.5
    back = reproject(moved, "EPSG:4326")
    assert float(back["x"].min()) > 179.0
    assert 180.1 < float(back["x"].max()) < 181.5
    there = reproject(moved, like=source)
    inner = np.abs(there - source).values[10:-10, 10:-10]
    assert np.nanquantile(inner, 0.98) < 1.0
    assert np.isfinite(inner).all()


def test_geographic_target_on_the_other_side_of_the_antimeridian():
    source = hills_on(60.0 - 0.01 * np.arange(40), 179.8 + 0.01 * np.arange(40), "EPSG:4326")
    like = source.assign_coords(x=source["x"] - 360.0)
    np.testing.assert_allclose(reproject(source, like=like), source, atol=1e-3)
    other_datum = reproject(like, "EPSG:4258")
    assert float(other_datum["x"].max()) > 180.0


ELSEWHERE = hills_on(-33.0 - 0.01 * np.arange(20), 150 + 0.01 * np.arange(20), "EPSG:4326")


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ((), {}, "not both"),
        (("EPSG:4326",), {"like": ELSEWHERE}, "not both"),
        (("EPSG:999999",), {}, "EPSG:999999"),
        (("EPSG:4326",), {"resampling": "magic"}, "resampling"),
        (("EPSG:4326", -1.0), {}, "positive"),
        (("EPSG:4326", 30.0), {}, "degree"),
        (("EPSG:32633", 0.0003), {}, "metre"),
        (("+proj=ortho +lat_0=-46 +lon_0=-171",), {}, "is not defined"),
        ((), {"like": ELSEWHERE}, "does not meet"),
    ],
)
def test_reproject_says_what_is_wrong(
    target: tuple[Any, ...], options: dict[str, Any], message: str
):
    with pytest.raises(DemError, match=message):
        reproject(utm_array(rough(8, 20, 20)), *target, **options)


def test_a_pole_has_no_longitude():
    polar = hills_on(1e5 - 1e4 * np.arange(20), -1e5 + 1e4 * np.arange(20), "EPSG:3413")
    with pytest.raises(DemError, match="pole"):
        reproject(polar, "EPSG:4326")


def test_history_tells_the_way():
    dem = coarsen(reproject(mosaic([utm_array(rough(9, 40, 40))]), "EPSG:3857"), 200.0)
    steps = [line.split(":")[0] for line in dem.attrs["history"].splitlines()]
    assert steps == ["mosaic", "reproject", "coarsen"]


# Real elevation


@pytest.mark.parametrize(
    ("name", "crs"),
    [
        ("srtm_garda_arco_webmerc.tif", "EPSG:32632"),
        ("npi20m_svalbard_longyearbyen_1995.tif", "EPSG:3413"),
        ("srtm3_oetztal.tif", "EPSG:32632"),
        ("srtm1_bigtujunga_30m.tif", "EPSG:3310"),
    ],
)
def test_real_terrain_goes_to_a_map_and_back(name: str, crs: str):
    """What is lost is small against the relief within a cell."""
    dem = open_dem(shared_data("dem", name), vertical="ellipsoidal")[:300, :300]
    there = reproject(dem, crs, min(local_posting(dem)) / 3.0, resampling="cubic")
    error = (reproject(there, like=dem, resampling="nearest") - dem).values[5:-5, 5:-5]
    assert abs(np.nanmean(error)) < 0.1
    assert np.nanstd(error) < 0.25 * np.nanstd(np.diff(dem.values, axis=0))
