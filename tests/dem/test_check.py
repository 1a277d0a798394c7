"""What `check_dem` lets through, puts right, and turns away."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine

from sarheight.dem import (
    assume_ellipsoidal,
    check_dem,
    layout,
    local_posting,
    map_grid,
    to_grid,
    to_metres,
)
from sarheight.errors import DemError, SarheightError, VerticalDatumError
from tests.dems import array, utm_array

UTM = "EPSG:32632"


def utm_dem(heights: np.ndarray | None = None, **options: object) -> xr.DataArray:
    """DEM of 6 x 8 cells on a UTM grid, stated to be ellipsoidal unless told otherwise."""
    if heights is None:
        heights = np.linspace(200.0, 900.0, 48, dtype=np.float32).reshape(6, 8)
    return utm_array(heights, **options)


def degree_dem(
    longitude: np.ndarray, latitude: np.ndarray | None = None, *, crs: str = "EPSG:4326"
) -> xr.DataArray:
    latitude = 47.0 - 0.01 * np.arange(5) if latitude is None else latitude
    heights = np.full((len(latitude), len(longitude)), 500.0, dtype=np.float32)
    return array(heights, latitude, longitude, crs, vertical_datum="ellipsoid")


def test_good_dem_passes_with_its_heights():
    """And rows may go either way; a band of one is dropped."""
    for dem in (utm_dem(), utm_dem().isel(y=slice(None, None, -1))):
        checked = check_dem(dem)
        assert checked.dtype == np.float32
        assert checked.attrs["units"] == "m"
        assert checked.attrs["vertical_datum"] == "ellipsoid"
        np.testing.assert_array_equal(checked, dem)
        np.testing.assert_array_equal(checked["y"], dem["y"])
        xr.testing.assert_identical(check_dem(checked), checked)
    assert check_dem(utm_dem().expand_dims("band")).dims == ("y", "x")


def test_integer_heights_with_nodata_become_floats_with_voids():
    heights = np.full((4, 4), 700, dtype=np.int16)
    heights[1, 2] = -32768
    dem = utm_dem(heights, _FillValue=-32768)
    before = dem.copy(deep=True)
    checked = check_dem(dem)
    assert checked.dtype == np.float32
    assert np.flatnonzero(np.isnan(checked.values)).tolist() == [6]
    assert "_FillValue" not in checked.attrs
    xr.testing.assert_identical(dem, before)  # the user's array is left alone


def test_horizontal_part_of_the_crs_remains():
    """A three-dimensional one states the ellipsoid."""
    solid = degree_dem(8 + 0.01 * np.arange(4), crs="EPSG:4979")
    for dem, code in ((utm_dem(crs="EPSG:32632+5773"), 32632), (solid, 4326)):
        dem.attrs.pop("vertical_datum")
        ellipsoidal = assume_ellipsoidal(dem)
        assert ellipsoidal.rio.crs.to_epsg() == code
        assert ellipsoidal.attrs["vertical_datum"] == "ellipsoid"
    solid.attrs.clear()
    assert check_dem(solid).attrs["vertical_datum"] == "ellipsoid"


def test_longitudes_that_jump_are_carried_on():
    longitude = np.array([179.97, 179.98, 179.99, -180.0, -179.99, -179.98])
    checked = check_dem(degree_dem(longitude))
    np.testing.assert_allclose(checked["x"], 179.97 + 0.01 * np.arange(6))
    assert local_posting(checked)[1] < 1000.0


def test_coordinates_in_single_precision_are_taken_for_the_grid_they_blur():
    longitude = (120.0 + np.arange(500) / 3600.0).astype(np.float32)
    checked = check_dem(degree_dem(longitude))
    steps = np.diff(checked["x"].values)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-9)


@pytest.mark.parametrize("value", ["WGS84 ellipsoid", "ellipsoidal height", "Ellipsoid"])
def test_spellings_of_the_ellipsoid(value: str):
    assert check_dem(utm_dem(vertical_datum=value)).attrs["vertical_datum"] == "ellipsoid"


@pytest.mark.parametrize("value", [None, "WGS84", "mean sea level", "EGM96 on WGS84 ellipsoid"])
def test_unstated_vertical_datum_is_asked_for(value: str | None):
    dem = utm_dem()
    dem.attrs.pop("vertical_datum")
    if value is not None:
        dem.attrs["vertical_datum"] = value
    with pytest.raises(VerticalDatumError, match=r"assume_ellipsoidal.*EGM96"):
        check_dem(dem)


def test_contradicting_vertical_datums_and_what_is_no_array():
    with pytest.raises(VerticalDatumError, match="EGM96"):
        check_dem(utm_dem(crs="EPSG:32632+5773"))
    with pytest.raises(TypeError, match="open_dem"):
        check_dem(np.zeros((4, 4)))


def four(value: float, *marks: float) -> np.ndarray:
    """Heights of 4 x 4 cells, the first of which are others."""
    heights = np.full((4, 4), value, dtype=np.float32)
    heights[0, : len(marks)] = marks
    return heights


def moved(axis: str) -> xr.DataArray:
    """Make a DEM with one row or column beside its place."""
    dem = utm_dem()
    values = dem[axis].values.copy()
    values[2] += 1.0
    return dem.assign_coords({axis: values})


def unknown_crs() -> xr.DataArray:
    dem = utm_dem(crs=None).assign_coords(spatial_ref=0)
    dem["spatial_ref"].attrs["crs_wkt"] = "nonsense"
    return dem


LOCAL = 'LOCAL_CS["site grid",UNIT["metre",1]]'
ROTATED = Affine(29.5, -5.2, 5.0e5, 5.2, 29.5, 5.2e6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: utm_dem(crs=None), "no coordinate reference system"),
        (unknown_crs, "cannot be understood"),
        (lambda: utm_dem(crs=LOCAL), "neither geographic nor projected"),
        (lambda: utm_dem().transpose("x", "y"), "transpose"),
        (lambda: utm_dem().rename(y="lat", x="lon"), "rename"),
        (lambda: utm_dem().drop_vars("y"), "no coordinate 'y'"),
        (lambda: utm_dem()[:1], "at least 2 x 2 cells"),
        (lambda: utm_dem().assign_coords(x=np.full(8, np.nan)), "'x' holds values that are not"),
        (lambda: degree_dem(9 + 0.01 * np.arange(4), crs="EPSG:4807"), "grad, not in degrees"),
        (lambda: moved("y"), "not regular"),
        (lambda: moved("x"), "not regular"),
        (lambda: utm_dem().rio.write_transform(ROTATED), "gdalwarp"),
        (lambda: utm_dem(crs="EPSG:4326"), "map coordinates"),
        (lambda: degree_dem(8 + 0.01 * np.arange(4), crs=UTM), "look like degrees"),
        (lambda: degree_dem(37 + 0.01 * np.arange(5), 140 + 0.01 * np.arange(5)), "swapped"),
        (lambda: utm_dem(four(np.nan)), "every cell of the DEM is void"),
        *(
            (lambda mark=mark: utm_dem(four(700.0, mark, mark)), f"2 cells hold {mark:g}.*nodata")
            for mark in (-32768.0, -9999.0, 9999.0, 32767.0)
        ),
        *(
            (lambda unit=unit: utm_dem(units=unit), "to_metres")
            for unit in ("ft", "feet", "US survey foot")
        ),
        (lambda: utm_dem(units="fathom"), "fathom"),
        (lambda: utm_dem(four(14000.0)), "feet.*nodata"),
        (lambda: utm_dem(four(100.0, -2500.0)), "-2500.*clip"),
        (lambda: utm_dem(four(100.0, np.inf)), "infinite"),
        (lambda: utm_dem(scale_factor=0.1), "mask_and_scale"),
        (lambda: utm_dem(four(0.0).astype(np.complex64)), "complex"),
    ],
)
def test_arrays_that_are_no_dem(make: Callable[[], xr.DataArray], message: str):
    with pytest.raises(DemError, match=message) as raised:
        check_dem(make())
    assert isinstance(raised.value, SarheightError)
    assert isinstance(raised.value, ValueError)


def spiked(row: int, column: int, height: float) -> xr.DataArray:
    heights = np.random.default_rng(0).uniform(2800.0, 3300.0, (70, 90)).astype(np.float32)
    heights[row, column] = height
    return utm_dem(heights)


@pytest.mark.parametrize(
    ("place", "height"),
    [((30, 40), 8990.0), ((0, 0), 8850.0), ((69, 12), 8990.0), ((35, 89), 8850.0)],
)
def test_a_cell_that_sticks_out_is_refused_with_its_place(
    place: tuple[int, int], height: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(layout, "_ROWS", 35)
    row, column = place
    dem = spiked(row, column, height)
    where = f"at x {500_000 + 30 * column}, y {5_200_000 - 30 * row}"
    message = rf"a height of {height:g} m {where}, 5\d\d\d m above.*dem\.where"
    with pytest.raises(DemError, match=message) as raised:
        check_dem(dem)
    assert raised.value.options == {"nodata": height}
    pit = dem.copy(data=9000.0 - dem.values)
    with pytest.raises(DemError, match=rf"{where}, .* m below"):
        check_dem(pit)
    grid = map_grid(dem, resolution=45.0)
    for lazy in (dem.chunk(), dem.chunk(y=20, x=90)):
        with pytest.raises(DemError, match=rf"{where}, .* m above"):
            to_grid(lazy, grid).compute()
    masked = dem.where(dem != height)
    assert int(check_dem(masked).isnull().sum()) == 1


def test_cells_beside_a_spike_or_a_void_do_not_hide_it():
    dem = spiked(30, 40, 8990.0)
    for beside, value in (((30, 41), 8900.0), ((29, 40), np.nan)):
        dem[beside] = value
        with pytest.raises(DemError, match=r"at x 5012[03]0, y 5199100"):
            check_dem(dem)


@given(st.floats(2.0, 40.0), st.floats(0.0, 360.0))
def test_mountains_of_any_steepness_pass(width: float, direction: float):
    """A cone of 8.4 km that falls by 4.2 km from cell to cell, and a wall of 5.4 km."""
    row, column = np.mgrid[-35:35, -45:45].astype(np.float32)
    along = np.cos(np.radians(direction)) * row + np.sin(np.radians(direction)) * column
    cone = 8400.0 * np.clip(1.0 - np.hypot(row, column) / width, 0.0, 1.0)
    for heights in (cone, np.where(along > 0.0, 0.0, 5400.0)):
        check_dem(utm_dem(heights.astype(np.float32)))


def test_feet_in_the_crs():
    dem = utm_dem(crs="EPSG:32611+6360")
    dem.attrs.pop("vertical_datum")
    with pytest.raises(DemError, match=r"US survey foot.*to_metres"):
        check_dem(dem)
    metres = to_metres(dem)
    np.testing.assert_allclose(metres, dem * 1200.0 / 3937.0, rtol=1e-6)
    assert metres.attrs["units"] == "m"
    assert metres.rio.crs.to_epsg() == 32611
    assert metres.attrs["vertical_datum"] == "EPSG:6360"
    assert float(to_metres(utm_dem(four(14000.0)), "ft").max()) == pytest.approx(4267.2)


def test_local_posting_is_ground_distance():
    """The stretch of Web Mercator is undone."""
    latitude = np.arctan(np.sinh(5.9e6 / 6378137.0))
    stretched = utm_dem(crs="EPSG:3857").assign_coords(y=5.9e6 - 30.0 * np.arange(6))
    for dem, expected in (
        (utm_dem(), (30.0, 30.0)),
        (degree_dem(8 + 0.01 * np.arange(5)), (0.01 * 111_176, 0.01 * 76_060)),
    ):
        assert local_posting(dem) == pytest.approx(expected, rel=1e-3)
    assert local_posting(stretched) == pytest.approx((30 * np.cos(latitude),) * 2, rel=5e-3)
