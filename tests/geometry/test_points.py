"""Points on the ground and how they see the radar, and the part of an image that a DEM lights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from sarheight_kernels import rdr2geo as rdr2geo_kernels

from sarheight import ellipsoid
from sarheight.doppler import DopplerLUT
from sarheight.ellipsoid import LookSide
from sarheight.errors import GeometryError, OrbitCoverageError
from sarheight.geometry import geo2rdr, incidence, look_vector, rdr2geo
from sarheight.geometry.placement import (
    MARGIN,
    crop_grid_to_dem,
    crop_scene_to_dem,
    rotate_over_dem,
    window_of_bounds,
)
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at
from sarheight.scene import Scene
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
def test_pixels_return_from_the_ground(*, native: bool) -> None:
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
    looks, others = (look_vector(where, grid, orbit) for where in (dem, (longitude, latitude, dem)))
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


def test_bad_points_are_refused() -> None:
    given: tuple[tuple[Any, str], ...] = (
        ((46.0, 100.0, 0.0), "longitude before latitude"),
        (([1.0, 2.0], [1.0, 2.0, 3.0], 0.0), "broadcast"),
        ((1.0, 2.0), "found 2 arrays"),
        (xr.Dataset({"longitude": 1.0}), "latitude, height is missing"),
    )
    for points, message in given:
        with pytest.raises(ValueError, match=message):
            geo2rdr(points, *world())


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


def hill(x: float, y: float, *, cells: int = 24, height: float = 300.0) -> xr.DataArray:
    """Make a hill around a place in UTM zone 32."""
    steps = 30.0 * (np.arange(cells) - 0.5 * (cells - 1))
    heights = height * np.exp(-(steps[:, None] ** 2 + steps**2) / 2e4)
    dem = xr.DataArray(
        heights.astype(np.float32),
        dims=("y", "x"),
        coords={"y": y - steps, "x": x + steps},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    return dem.rio.write_crs("EPSG:32632")


# 46 N, 10 E in UTM zone 32.
CENTRE = 577_445.0, 5_094_584.0


@pytest.mark.parametrize("ground_range", [True, False])
def test_the_window_holds_every_cell_and_a_margin(*, ground_range: bool) -> None:
    grid, orbit = synthetic_grid(lines=300, samples=400, ground_range=ground_range)
    dem = hill(*CENTRE)
    part = crop_grid_to_dem(dem, grid, orbit)
    assert part.lines < grid.lines
    assert part.samples < grid.samples
    place = geo2rdr(dem, part, orbit)
    for name, size in (("line", part.lines), ("sample", part.samples)):
        assert place[name].min() >= MARGIN - 2
        assert place[name].max() <= size - 1 - MARGIN + 2


@pytest.mark.parametrize("ground_range", [True, False])
def test_under_a_dem_that_reaches_beyond_the_image_the_window_is_all_of_it(
    *, ground_range: bool
) -> None:
    grid, orbit = synthetic_grid(lines=60, samples=70, ground_range=ground_range)
    part = crop_grid_to_dem(hill(*CENTRE, cells=80), grid, orbit)
    assert part.shape == grid.shape
    assert part.first_time == grid.first_time
    assert part.slant_range(0, 0) == pytest.approx(float(grid.slant_range(0, 0)), abs=1e-6)
    wide = window_of_bounds((9.5, 45.7, 10.5, 46.3), grid, orbit)
    assert wide == (slice(0, grid.lines), slice(0, grid.samples))


def test_the_scene_is_cropped_like_its_grid() -> None:
    grid, orbit = synthetic_grid(lines=300, samples=400)
    values = np.arange(grid.lines * grid.samples, dtype=np.float32).reshape(grid.shape)
    scene = Scene(xr.DataArray(values, dims=("line", "sample")), grid, orbit, "beta0")
    dem = hill(*CENTRE)
    part = crop_scene_to_dem(scene, dem)
    assert part.grid.shape == crop_grid_to_dem(dem, grid, orbit).shape
    whole, cut = geo2rdr(dem, grid, orbit), geo2rdr(dem, part.grid, orbit)
    row, column = 5, 9
    line, sample = (round(float(cut[name][row, column])) for name in ("line", "sample"))
    shifts = [
        round(float(whole[name][row, column] - cut[name][row, column]))
        for name in ("line", "sample")
    ]
    assert part.image.values[line, sample] == values[line + shifts[0], sample + shifts[1]]


def test_a_place_that_is_not_seen_is_an_error() -> None:
    (east, north), view = CENTRE, synthetic_grid()
    with pytest.raises(GeometryError, match="No cell of the DEM falls into the image"):
        crop_grid_to_dem(hill(east, north + 2e5), *view)
    with pytest.raises(GeometryError, match="the swath reaches from"):
        rotate_over_dem(hill(*CENTRE), *view, 45.0)
    with pytest.raises(OrbitCoverageError, match="pass an orbit that passes that latitude"):
        rotate_over_dem(hill(east, north - 3e6), *view, 34.0)


@pytest.mark.parametrize(("ground_range", "wanted"), [(True, 34.2), (False, 29.0), (False, 42.0)])
def test_a_rotated_orbit_sees_the_dem_under_the_requested_incidence(
    *, ground_range: bool, wanted: float
) -> None:
    """The DEM lies 3 degrees east and half a degree north of the image."""
    grid, orbit = synthetic_grid(46.0, 7.0, incidence=34.0, samples=2000, ground_range=ground_range)
    dem = hill(CENTRE[0], CENTRE[1] + 5e4)
    moved, turned, degrees = rotate_over_dem(dem, grid, orbit, wanted)
    assert 1.0 < degrees < 5.0
    angle = incidence(dem, moved, turned)["ellipsoid_incidence"]
    assert float(angle.mean()) == pytest.approx(wanted, abs=0.02)
    place = geo2rdr(dem, moved, turned)
    for name, size in (("line", moved.lines), ("sample", moved.samples)):
        assert place[name].min() >= 0
        assert place[name].max() <= size - 1
    assert moved.line_interval == grid.line_interval
    assert moved.sample_spacing == grid.sample_spacing
    assert degrees == pytest.approx(
        look_at(orbit, *latitude_longitude(dem), wanted, height=float(dem.mean())), abs=1e-6
    )


def latitude_longitude(dem: xr.DataArray) -> tuple[float, float]:
    to_degrees = pyproj.Transformer.from_crs(32632, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(float(dem.x.mean()), float(dem.y.mean()))
    return latitude, longitude
