"""Known elevations: reading, drawing, rasters, distances, surfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from sarheight.dem import local_posting
from sarheight.errors import KnownElevationsError, VerticalDatumError
from sarheight.terrain import (
    KnownElevations,
    distance_to_known,
    draw_altimeter_tracks,
    draw_known_elevations,
    interpolate_elevations,
    rasterise_elevations,
    read_known_elevations,
)
from tests.dems import PLACES, dem_around, hills

ZONE = 32632
POLYGON = """{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"h": 1},
"geometry": {"type": "Polygon", "coordinates": [[[10, 46], [11, 46], [11, 47], [10, 46]]]}}]}"""


def ground(crs: str = "EPSG:32632", shape: tuple[int, int] = (40, 50)) -> xr.DataArray:
    return dem_around(46.0, 10.0, hills(shape), crs=crs)


def plane(dem: xr.DataArray) -> xr.DataArray:
    """Heights that grow evenly with row and column."""
    row, column = np.mgrid[0 : dem.sizes["y"], 0 : dem.sizes["x"]]
    return dem.copy(data=(500.0 + 2.0 * row - 3.0 * column).astype(np.float32))


# Points


def test_reprojection_there_and_back_preserves_points() -> None:
    points = draw_known_elevations(ground(), 20, sigma=2.0)
    there = points.to_crs(4326)
    assert there.crs.is_geographic
    back = there.to_crs(ZONE)
    for name, apart in (("x", 1e-5), ("y", 1e-5), ("height", 0.0), ("sigma", 0.0)):
        np.testing.assert_allclose(getattr(back, name), getattr(points, name), rtol=0, atol=apart)


# Drawing


def test_drawn_heights_are_those_of_the_elevation_model() -> None:
    dem = ground()
    dem[10:20, 10:20] = np.nan
    points = draw_known_elevations(dem, 64, seed=3)
    found = dem.sel(
        x=xr.DataArray(points.x, dims="p"), y=xr.DataArray(points.y, dims="p"), method="nearest"
    )
    np.testing.assert_array_equal(points.height, found.values)
    assert len(np.unique(np.stack([points.x, points.y]), axis=1).T) == 64


def test_drawing_is_reproducible_with_errors_of_the_given_sigma() -> None:
    dem = ground(shape=(80, 80))
    exact, noisy = draw_known_elevations(dem, 4000), draw_known_elevations(dem, 4000, sigma=7.0)
    again = draw_known_elevations(dem, 4000, sigma=7.0)
    np.testing.assert_array_equal(noisy.height, again.height)
    np.testing.assert_array_equal(noisy.x, exact.x)
    assert np.std(noisy.height - exact.height) == pytest.approx(7.0, rel=0.05)
    np.testing.assert_array_equal(noisy.sigma, 7.0)


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
def test_tracks_are_straight_parallel_and_on_the_ground(crs: str) -> None:
    dem = plane(ground(crs, shape=(80, 90)))
    points = draw_altimeter_tracks(dem, spacing=600.0, interval=60.0, azimuth=20.0)
    assert len(points) > 60
    row = np.interp(points.y, dem.y.values[::-1], np.arange(80)[::-1])
    column = np.interp(points.x, dem.x.values, np.arange(90))
    np.testing.assert_allclose(points.height, 500.0 + 2.0 * row - 3.0 * column, atol=0.01)
    geod = pyproj.Geod(ellps="WGS84")
    degrees = points.to_crs(4326)
    azimuth, _, length = geod.inv(degrees.x[:-1], degrees.y[:-1], degrees.x[1:], degrees.y[1:])
    along = length < 100.0
    assert along.mean() > 0.8
    np.testing.assert_allclose(length[along], 60.0, rtol=0.01)
    # The map's north strays from true north by less than a degree here.
    np.testing.assert_allclose(azimuth[along], 20.0, atol=1.5)


# Rasters


def test_heights_are_assigned_to_the_cell_that_contains_them() -> None:
    dem = ground()
    shifted = [
        KnownElevations([dem.x[7] + dx], [dem.y[4] + dy], [123.0], crs=ZONE)
        for dx in (-14.9, 14.9)
        for dy in (-14.9, 14.9)
    ]
    for points in shifted:
        raster = rasterise_elevations(points, dem)
        assert raster["height"].values[4, 7] == 123.0
        assert int(raster["known"].sum()) == 1


def test_heights_in_one_cell_are_weighted_by_their_errors() -> None:
    dem = ground()
    x, y = float(dem.x[5]), float(dem.y[5])
    points = KnownElevations([x, x, x], [y, y, y], [100.0, 110.0, 130.0], [1.0, 2.0, 2.0], ZONE)
    raster = rasterise_elevations(points, dem)
    weight = np.array([1.0, 0.25, 0.25])
    assert float(raster["height"][5, 5]) == pytest.approx(
        np.average([100, 110, 130], weights=weight)
    )
    assert float(raster["sigma"][5, 5]) == pytest.approx(weight.sum() ** -0.5)
    assert int(raster["count"][5, 5]) == 3
    exact = KnownElevations([x, x], [y, y], [100.0, 110.0], [0.0, 2.0], ZONE)
    assert float(rasterise_elevations(exact, dem)["height"][5, 5]) == 100.0


def test_points_outside_are_left_out_and_counted() -> None:
    dem = ground()
    points = draw_known_elevations(dem, 10)
    points.x[5:] += 1e5
    raster = rasterise_elevations(points, dem)
    assert raster.attrs["elevations_outside"] == 5
    assert int(raster["count"].sum()) == 5
    # No points make an empty raster, and infinite distances.
    raster = rasterise_elevations(points[:0], dem)
    assert not raster["known"].any()
    assert np.isinf(distance_to_known(raster["known"])).all()


def test_longitudes_beyond_the_antimeridian_are_equivalent() -> None:
    dem = dem_around(10.0, 179.999, hills((30, 30)), crs="EPSG:4326")
    points = draw_known_elevations(dem, 10)
    wrapped = KnownElevations(
        (points.x + 180.0) % 360.0 - 180.0, points.y, points.height, crs=points.crs
    )
    assert (wrapped.x < 0.0).any()
    xr.testing.assert_equal(rasterise_elevations(points, dem), rasterise_elevations(wrapped, dem))


@settings(max_examples=10, deadline=None)
@given(place=st.sampled_from(sorted(PLACES)), count=st.integers(1, 12), seed=st.integers(0, 99))
def test_distances_agree_with_those_between_all_pairs(place: str, count: int, seed: int) -> None:
    crs, latitude, longitude = PLACES[place]
    dem = dem_around(latitude, longitude, hills((13, 17)), crs=crs)
    known = rasterise_elevations(draw_known_elevations(dem, count, seed=seed), dem)["known"]
    posting = np.array(local_posting(dem))
    cells = np.argwhere(np.ones(dem.shape, dtype=bool)) * posting
    expected = cdist(cells, np.argwhere(known.values) * posting).min(axis=1)
    np.testing.assert_allclose(distance_to_known(known).values.ravel(), expected, rtol=1e-6)


# Surfaces


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:4326"])
def test_surfaces_go_through_the_points(crs: str) -> None:
    dem = ground(crs)
    points = draw_known_elevations(dem, 60)
    surface = interpolate_elevations(points, dem)
    known = rasterise_elevations(points, dem)
    found = surface.values[known["known"].values]
    np.testing.assert_allclose(found, known["height"].values[known["known"].values], atol=0.01)
    assert surface.attrs["units"] == "m"


def test_a_plane_is_reproduced() -> None:
    dem = plane(ground())
    corners = [0, 49, 40 * 49, 40 * 50 - 1]
    row, column = np.unravel_index([*corners, 777, 1234], dem.shape)
    points = KnownElevations(
        dem.x.values[column], dem.y.values[row], dem.values[row, column], crs=ZONE
    )
    surface = interpolate_elevations(points, dem)
    np.testing.assert_allclose(surface.values, dem.values, atol=0.01)


def test_many_points_are_taken_by_their_neighbourhoods() -> None:
    dem = ground(shape=(60, 60))
    surface = interpolate_elevations(draw_known_elevations(dem, 900), dem)
    assert surface.attrs["method"] == "thin_plate"
    assert np.sqrt(np.mean((surface - dem).values ** 2)) < 0.05 * float(dem.std())


def test_errors_of_the_points_smooth_the_thin_plate() -> None:
    dem = plane(ground())
    points = draw_known_elevations(dem, 60, sigma=10.0)
    stated = interpolate_elevations(points, dem)
    denied = interpolate_elevations(
        KnownElevations(points.x, points.y, points.height, 0.0, points.crs), dem
    )
    error = [float(np.sqrt(np.mean((each - dem).values ** 2))) for each in (stated, denied)]
    assert error[0] < 0.8 * error[1]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_points_for_a_plane_still_make_a_surface(count: int) -> None:
    dem = ground()
    points = draw_known_elevations(dem, count)
    surface = interpolate_elevations(points, dem)
    assert surface.attrs["method"] == "linear"
    assert points.height.min() - 0.01 <= float(surface.min())
    assert float(surface.max()) <= points.height.max() + 0.01


def test_collinear_and_duplicate_points() -> None:
    dem = ground()
    line = KnownElevations(
        dem.x.values[:10], np.full(10, dem.y.values[3]), np.arange(10.0), crs=ZONE
    )
    assert interpolate_elevations(line, dem).attrs["method"] == "linear"
    points = draw_known_elevations(dem, 9)
    twice = interpolate_elevations(points[np.tile(np.arange(9), 2)], dem)
    np.testing.assert_allclose(twice, interpolate_elevations(points, dem), atol=1e-3)


# Files


def test_a_table_of_a_laser_altimeter_is_read(tmp_path: Path) -> None:
    path = tmp_path / "atl06.csv"
    path.write_text(
        "latitude;longitude;h_li;h_li_sigma\n46.0;10.0;512.5;0.1\n46.1;10.1;;0.1\n"
        "46.2;10.2;530.25;0.3\n"
    )
    points = read_known_elevations(path, vertical="ellipsoidal")
    np.testing.assert_array_equal(points.height, [512.5, 530.25])
    np.testing.assert_array_equal(points.sigma, [0.1, 0.3])
    np.testing.assert_array_equal(points.y, [46.0, 46.2])


def test_columns_and_the_reference_system_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "survey.csv"
    path.write_text("E,N,top\n600000,5100000,400\n600100,5100100,410\n")
    points = read_known_elevations(
        path, vertical=48.0, x="E", y="N", height="top", sigma=0.5, crs="EPSG:32632"
    )
    np.testing.assert_array_equal(points.height, [448.0, 458.0])
    np.testing.assert_array_equal(points.sigma, 0.5)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".geojson"])
def test_points_of_a_vector_file_are_read(tmp_path: Path, suffix: str) -> None:
    geopandas = pytest.importorskip("geopandas")
    points = draw_known_elevations(ground(), 12, sigma=1.0).to_crs(4326)
    frame = geopandas.GeoDataFrame(
        {"height": points.height, "sigma": points.sigma},
        geometry=geopandas.points_from_xy(points.x, points.y),
        crs=4326,
    )
    path = tmp_path / f"points{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    found = read_known_elevations(path, vertical="ellipsoidal")
    np.testing.assert_allclose(found.x, points.x, atol=1e-9)
    np.testing.assert_allclose(found.height, points.height, atol=1e-9)
    np.testing.assert_allclose(found.sigma, 1.0)


def test_the_third_coordinate_is_a_height(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    geometry = geopandas.points_from_xy([10.0, 10.1], [46.0, 46.1], [500.0, 510.0])
    path = tmp_path / "points.gpkg"
    geopandas.GeoDataFrame(geometry=geometry, crs="EPSG:4979").to_file(path)
    np.testing.assert_array_equal(read_known_elevations(path).height, [500.0, 510.0])


AT_ZERO: dict[str, object] = {"vertical": 0.0}


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("p.csv", "x,y,h\n1,2,3\n", AT_ZERO, "pass crs"),
        ("p.csv", "lat,lon,depth\n46,10,5\n", AT_ZERO, "one of height"),
        ("p.csv", "lat,lon,h\n46,10,high\n", AT_ZERO, "expected numbers"),
        ("p.csv", "lat,lon,h\n46,10,\n", AT_ZERO, "no row with a position"),
        ("p.csv", "", AT_ZERO, "not a table"),
        ("p.csv", "lat,lon,h\n46,10,99999\n", AT_ZERO, "no land lies"),
        ("p.docx", "", {}, "expected one of"),
        ("p.csv", "lat,lon,h,sigma\n46,10,500,0\n", AT_ZERO, "1 of 1 standard deviations of 0 or"),
        ("p.geojson", POLYGON, AT_ZERO, "expected points"),
        ("p.geojson", "{}", {"crs": 4326}, "a vector file states its own"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, text: str, options: dict[str, object], message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(KnownElevationsError, match=message):
        read_known_elevations(path, **options)  # type: ignore[arg-type]


def test_a_file_without_a_datum_or_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("lat,lon,h\n46,10,5\n")
    with pytest.raises(VerticalDatumError, match="measured from"):
        read_known_elevations(tmp_path / "p.csv")
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_known_elevations(tmp_path / "nothing.csv")
