"""Points on the ground, and the directions in which places see the radar."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
import xarray as xr
from sarheight_kernels import rdr2geo as rdr2geo_kernels

from sarheight import ellipsoid
from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import LookSide
from sarheight.geometry import geo2rdr, incidence, look_vector, rdr2geo
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid


def world(look_side: LookSide = "right", *, native: bool = False) -> tuple[RadarGrid, Orbit]:
    grid, orbit = synthetic_grid(
        height=1000.0, look_side=look_side, lines=40, samples=60, ground_range=not native
    )
    if native:
        times = [grid.first_time - 1.0, grid.last_time + 1.0]
        ranges = [grid.near_range - 1e4, grid.near_range + 3e4]
        grid = replace(grid, doppler=DopplerLUT(times, ranges, [[310.0, 260.0], [312.0, 263.0]]))
    return grid, orbit


@pytest.mark.parametrize("native", [False, True])
def test_pixels_return_from_the_ground(native: bool) -> None:  # noqa: FBT001
    grid, orbit = world(native=native)
    heights = xr.DataArray(hills(grid.shape), dims=("line", "sample"))
    places = rdr2geo(grid, orbit, heights)
    found = geo2rdr(places, grid, orbit)
    assert found.line.dims == ("line", "sample")
    line, sample = np.indices(grid.shape)
    np.testing.assert_allclose(found.line, line, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["sample"], sample, rtol=0, atol=1e-5)


def test_points_are_where_the_cells_of_a_dem_are() -> None:
    grid, orbit = world()
    dem = dem_around(46.0, 10.0, hills((50, 60)), posting=20.0)
    x, y = np.meshgrid(dem.x, dem.y)
    longitude, latitude = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True).transform(
        x, y
    )
    cells, points = geo2rdr(dem, grid, orbit), geo2rdr((longitude, latitude, dem), grid, orbit)
    assert points.line.dims == ("dim_0", "dim_1")
    for name in ("line", "sample"):
        np.testing.assert_allclose(points[name], cells[name].values, rtol=0, atol=1e-5)
    looks, others = (
        look_vector(dem, grid, orbit),
        look_vector((longitude, latitude, dem), grid, orbit),
    )
    for name in ("east", "north", "up"):
        np.testing.assert_allclose(others[name], looks[name].values, rtol=0, atol=1e-6)


@pytest.mark.parametrize("look_side", ["right", "left"])
def test_look_vectors_point_from_the_ground_to_the_satellite(look_side: LookSide) -> None:
    grid, orbit = world(look_side)
    dem = dem_around(46.0, 10.0, hills((50, 60)), posting=20.0)
    found = look_vector(dem, grid, orbit)
    length = sum(found[name] ** 2 for name in ("east", "north", "up"))
    np.testing.assert_allclose(length, 1.0, rtol=0, atol=1e-6)
    angles = incidence(dem, grid, orbit)
    inside = np.isfinite(angles["ellipsoid_incidence"])
    expected = np.cos(np.radians(angles["ellipsoid_incidence"]))
    np.testing.assert_allclose(
        found["up"].values[inside], expected.values[inside], rtol=0, atol=2e-5
    )
    # The satellite flies north and sees the place on its right: it lies in the west.
    assert (np.sign(found["east"]) == (-1.0 if look_side == "right" else 1.0)).all()
    # By positions of pyproj: the way from the ground along the vector, for the slant range.
    cell = {"y": 20, "x": 31}
    pixel = geo2rdr(dem, grid, orbit).isel(cell)
    slant_range = float(grid.slant_range(pixel.line, pixel["sample"]))
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    place = *to_degrees.transform(float(dem.x[31]), float(dem.y[20])), float(dem[20, 31])
    topocentric = pyproj.Transformer.from_pipeline(
        f"+proj=pipeline +step +inv +proj=topocentric +ellps=WGS84 +lon_0={place[0]} "
        f"+lat_0={place[1]} +h_0={place[2]}"
    )
    vector = [float(found[name].isel(cell)) * slant_range for name in ("east", "north", "up")]
    satellite = np.stack(topocentric.transform(*vector))
    time = float(grid.azimuth_time(pixel.line, slant_range))
    assert np.linalg.norm(satellite - orbit.state(time)[0]) < 1.0


def test_a_displacement_changes_slant_range_by_its_part_along_the_vector() -> None:
    grid, orbit = world()
    place = 10.0, 46.0, 1000.0
    vector = look_vector(place, grid, orbit)
    pixel = geo2rdr((10.0, 46.0, np.array([1000.0, 1001.0])), grid, orbit)
    assert pixel.line.dims == ("point",)
    ranges = grid.slant_range(pixel.line, pixel["sample"])
    assert ranges[1] - ranges[0] == pytest.approx(-float(vector["up"]), abs=1e-4)


def test_places_that_are_not_seen_are_nan() -> None:
    grid, orbit = world()
    longitude = np.array([10.0, -5.0, np.nan, 10.0])
    latitude = np.array([46.0, 46.0, 46.0, 80.0])
    for found in (
        geo2rdr((longitude, latitude, 0.0), grid, orbit),
        look_vector((longitude, latitude, 0.0), grid, orbit),
    ):
        for values in found.values():
            np.testing.assert_array_equal(np.isfinite(values), [True, False, False, False])


def test_points_keep_their_coordinates() -> None:
    grid, orbit = world()
    names = ("station", ["a", "b"])
    points = xr.Dataset(
        {"longitude": ("station", [10.0, 10.01]), "latitude": 46.0, "height": 500.0},
        coords={"station": names},
    )
    found = geo2rdr(points, grid, orbit)
    assert list(found["station"].values) == ["a", "b"]
    assert found["line"].attrs["long_name"] == "azimuth line"


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((46.0, 100.0, 0.0), "longitude before latitude"),
        (([1.0, 2.0], [1.0, 2.0, 3.0], 0.0), "broadcast"),
        ((1.0, 2.0), "found 2 arrays"),
        (xr.Dataset({"longitude": 1.0}), "latitude, height is missing"),
    ],
)
def test_bad_points_are_refused(points: object, message: str) -> None:
    grid, orbit = world()
    with pytest.raises(ValueError, match=message):
        geo2rdr(points, grid, orbit)  # type: ignore[arg-type]


def test_kernels_and_library_know_one_earth() -> None:
    """Both packages state the ellipsoid, and scalar and array functions place the same points."""
    assert rdr2geo_kernels.SEMI_MAJOR == ellipsoid.EQUATORIAL_RADIUS
    assert rdr2geo_kernels.SEMI_MINOR == ellipsoid.POLAR_RADIUS
    for latitude, longitude in ((46.0, 10.0), (-77.5, 179.9), (0.0, -90.0), (90.0, 0.0)):
        position, normal = ellipsoid.to_earth_fixed(np.array(longitude), np.array(latitude))
        np.testing.assert_allclose(normal, ellipsoid.vertical(latitude, longitude), atol=1e-15)
        placed = ellipsoid.cartesian(latitude, longitude, 1000.0)
        np.testing.assert_allclose(position + 1000.0 * normal, placed, atol=1e-8)
        assert ellipsoid.geodetic(placed, 1000.0)[0] == pytest.approx(latitude, abs=1e-6)
