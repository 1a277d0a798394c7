"""From the ground to the radar and back, as a user calls it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyproj
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.orbit import zero_doppler_time

from sarheight.ellipsoid import LookSide
from sarheight.errors import GeometryError, OrbitCoverageError
from sarheight.geometry import geo2rdr, incidence, rdr2geo
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from tests.dems import PLACES, TO_EARTH_FIXED, dem_around, hills, positions
from tests.synthetic import circular_orbit, synthetic_grid

Floats = NDArray[np.float64]

MILLIMETRE = 1e-3


def solved(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> tuple[Floats, Floats]:
    """Line and sample of each cell by pyproj's positions, one zero Doppler each, and the grid."""
    cells = positions(dem).reshape(-1, 3)
    time = np.array(
        [zero_doppler_time(*each, 0.0, orbit.start, orbit.coefficients) for each in cells]
    )
    slant_range = np.linalg.norm(orbit.state(time)[0] - cells, axis=1)
    line, sample = grid.line(time, slant_range), grid.sample(slant_range, time)
    return line.reshape(dem.shape), sample.reshape(dem.shape)


def earth_fixed(found: xr.Dataset) -> Floats:
    values = (found[name].values for name in ("longitude", "latitude", "height"))
    return np.stack(TO_EARTH_FIXED.transform(*values), axis=-1)


# ----------------------------------------------------------------------------------- round trips


@settings(max_examples=20)
@given(
    st.sampled_from(sorted(PLACES)),
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.booleans(),
    st.floats(20.0, 44.0),
    st.integers(0, 1000),
)
def test_there_and_back_is_less_than_a_millimetre(
    place: str,
    look_side: LookSide,
    ascending: bool,  # noqa: FBT001 - a parameter of the test
    ground_range: bool,  # noqa: FBT001
    angle: float,
    seed: int,
) -> None:
    """Each pixel put on the ground at some height, and found again as a cell of a DEM there."""
    crs, latitude, longitude = PLACES[place]
    grid, orbit = synthetic_grid(
        latitude,
        longitude,
        look_side=look_side,
        ascending=ascending,
        ground_range=ground_range,
        incidence=angle,
        height=1000.0,
        sample_spacing=10.0 if ground_range else 2.3,
    )
    grid = replace(grid, bistatic_range=grid.near_range + 4000.0)
    dem = dem_around(latitude, longitude, hills((40, 50), seed=seed), crs=crs, posting=20.0)
    found = geo2rdr(dem, grid, orbit)
    # Take each cell for an image of its own: one line and one sample, wherever they fall.
    for cell in ((0, 0), (17, 31), (39, 49)):
        line, sample = float(found.line[cell]), float(found["sample"][cell])
        slant_range = float(grid.slant_range(line, sample))
        pixel = replace(
            grid,
            lines=1,
            samples=1,
            line_zero_time=float(grid.azimuth_time(line)),
            near_range=slant_range,
            sample_zero_ground=grid.sample_zero_ground
            + (sample * grid.sample_spacing if ground_range else 0.0),
        )
        back = earth_fixed(rdr2geo(pixel, orbit, float(dem[cell])))[0, 0]
        assert np.linalg.norm(back - positions(dem)[cell]) < MILLIMETRE


@pytest.mark.parametrize("height", ["one", "each"])
def test_pixels_have_the_requested_height(height: str) -> None:
    grid, orbit = synthetic_grid(lines=30, samples=40, height=500.0)
    heights: float | xr.DataArray = 500.0
    if height == "each":
        heights = xr.DataArray(hills(grid.shape), dims=("line", "sample"))
    found = rdr2geo(grid, orbit, heights)
    assert found.sizes == {"line": 30, "sample": 40}
    np.testing.assert_array_equal(found.height, np.broadcast_to(heights, grid.shape))
    points = earth_fixed(found)
    line, sample = np.meshgrid(np.arange(30), np.arange(40), indexing="ij")
    position, velocity = orbit.state(grid.azimuth_time(line))
    sight = points - position
    np.testing.assert_allclose(
        np.linalg.norm(sight, axis=-1), grid.slant_range(line, sample), rtol=0, atol=1e-5
    )
    assert np.abs(np.sum(sight * velocity, axis=-1)).max() / 7500.0 < 1e-5


def test_pixels_are_put_on_the_terrain() -> None:
    grid, orbit = synthetic_grid(lines=120, samples=140, height=1000.0)
    # Lines run ahead of zero Doppler by a fifth of a line, as at the edge of a Sentinel-1 swath.
    grid = replace(grid, bistatic_range=grid.near_range - 1e5)
    # Gentle terrain: every pixel sees one place.
    dem = dem_around(46.0, 10.0, hills((100, 110), relief=60.0, size=10.0), posting=20.0)
    found = rdr2geo(grid, orbit, dem=dem)
    assert np.isfinite(found.height).all()
    x, y = pyproj.Transformer.from_crs(4326, dem.rio.crs, always_xy=True).transform(
        found.longitude.values, found.latitude.values
    )
    terrain = dem.interp(x=(("line", "sample"), x), y=(("line", "sample"), y))
    assert np.abs(terrain.values - found.height.values).max() < 0.3
    # And back: the places are seen in the pixels that they came from.
    flat = earth_fixed(found).reshape(-1, 3)
    for index in range(0, flat.shape[0], 997):
        time = zero_doppler_time(*flat[index], 0.0, orbit.start, orbit.coefficients)
        slant_range = float(np.linalg.norm(orbit.state(time)[0] - flat[index]))
        line, sample = divmod(index, grid.samples)
        assert float(grid.line(time, slant_range)) == pytest.approx(line, abs=1e-5)
        assert float(grid.sample(slant_range, time)) == pytest.approx(sample, abs=1e-5)


def test_pixels_that_see_no_terrain_are_void() -> None:
    grid, orbit = synthetic_grid(lines=300, samples=300, height=1000.0)
    dem = dem_around(46.0, 10.0, hills((40, 50), relief=60.0, size=10.0))
    dem.values[10:20, 10:20] = np.nan
    found = rdr2geo(grid, orbit, dem=dem)
    seen = np.isfinite(found.height.values)
    assert 0.05 < seen.mean() < 0.5
    assert np.array_equal(np.isfinite(found.longitude.values), seen)
    coordinates = geo2rdr(dem, grid, orbit)
    assert not seen[:20].any()
    inner = coordinates.isel(y=slice(2, -2), x=slice(2, -2))
    line = np.round(inner.line.values.ravel())
    sample = np.round(inner["sample"].values.ravel())
    kept = np.isfinite(line)
    assert seen[line[kept].astype(int), sample[kept].astype(int)].mean() > 0.95


def test_in_layover_a_pixel_is_put_on_the_nearest_place() -> None:
    def cliff(x: Floats, y: Floats) -> Floats:
        """A face of 60 degrees towards the radar, which flies 12 degrees west of north."""
        across = x * np.cos(np.radians(12.0)) - y * np.sin(np.radians(-12.0))
        heights: Floats = 800.0 + np.clip(np.tan(np.radians(60.0)) * across, 0.0, 300.0)
        return heights

    grid, orbit = synthetic_grid(lines=60, samples=200, height=900.0)
    dem = dem_around(46.0, 10.0, cliff, posting=10.0, shape=(140, 240))
    found = rdr2geo(grid, orbit, dem=dem)
    row = found.height.values[30]
    # Outwards it stays on the ground before the cliff, and then leaps to the terrace behind.
    leap = int(np.argmax(row > 1000.0))
    assert 30 < leap < 170
    np.testing.assert_allclose(row[:leap][np.isfinite(row[:leap])], 800.0, atol=1.0)
    assert np.nanmin(row[leap + 20 :]) > 1090.0


# ----------------------------------------------------------------------------------- geo2rdr


@pytest.mark.parametrize(("crs", "latitude", "longitude"), PLACES.values(), ids=PLACES)
def test_any_map_projection_is_followed(crs: str, latitude: float, longitude: float) -> None:
    grid, orbit = synthetic_grid(latitude, longitude, height=1000.0)
    dem = dem_around(latitude, longitude, hills((30, 40)), crs=crs)
    found = geo2rdr(dem, grid, orbit)
    for name, exact in zip(("line", "sample"), solved(dem, grid, orbit), strict=True):
        assert found[name].dims == ("y", "x")
        assert np.abs(found[name].values - exact).max() < 1e-5
    assert pyproj.CRS(found.rio.crs).to_2d() == pyproj.CRS(dem.rio.crs).to_2d()
    xr.testing.assert_equal(found.x, dem.x)


@pytest.mark.parametrize(("up", "right"), [(1, 1), (-1, 1), (1, -1)])
def test_rows_may_run_either_way(up: int, right: int) -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    dem = dem_around(46.0, 10.0, hills((70, 80)))
    turned = dem[::up, ::right]
    expected = geo2rdr(dem, grid, orbit)
    found = geo2rdr(turned, grid, orbit)
    for name in ("line", "sample"):
        np.testing.assert_allclose(found[name][::up, ::right], expected[name], rtol=0, atol=1e-5)
    angles = incidence(turned, grid, orbit).local_incidence[::up, ::right]
    np.testing.assert_allclose(
        angles, incidence(dem, grid, orbit).local_incidence, rtol=0, atol=0.01
    )


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_dem_may_cross_the_antimeridian(*, wrapped: bool) -> None:
    grid, orbit = synthetic_grid(-17.0, 180.0, height=1000.0, lines=400, samples=500)
    dem = dem_around(-17.0, 180.0, hills((70, 90), relief=40.0), crs="EPSG:4326")
    line, sample = solved(dem, grid, orbit)
    if wrapped:
        x = dem.x.values
        dem = dem.assign_coords(x=np.where(x > 180.0, x - 360.0, x))
    found = geo2rdr(dem, grid, orbit)
    assert np.abs(found.line.values - line).max() < 1e-5
    assert np.abs(found["sample"].values - sample).max() < 1e-5
    back = rdr2geo(grid.crop(slice(190, 200), slice(200, 300)), orbit, dem=dem)
    assert np.isfinite(back.height).all()
    assert (np.abs(back.longitude) > 179.9).all()


def test_a_dem_may_hold_the_pole() -> None:
    """No satellite of this inclination flies over the pole, but one that looks to the left."""
    orbit = circular_orbit(80.0, 0.0, duration=900.0)
    point = np.array(TO_EARTH_FIXED.transform(0.0, 90.0, 0.0))
    time = zero_doppler_time(*point, 0.0, orbit.start, orbit.coefficients)
    position, velocity = orbit.state(time)
    side: LookSide = "right" if np.cross(velocity, position) @ (point - position) > 0.0 else "left"
    grid = RadarGrid.over(
        orbit, 90.0, 0.0, lines=300, samples=300, line_spacing=20.0, look_side=side
    )
    x = y = 30.0 * (np.arange(81) - 40.0)
    dem = xr.DataArray(
        hills((81, 81), relief=50.0).astype(np.float32),
        dims=("y", "x"),
        coords={"y": -y, "x": x},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    ).rio.write_crs("EPSG:3413")
    found = geo2rdr(dem, grid, orbit)
    line, sample = solved(dem, grid, orbit)
    assert np.abs(found.line.values - line).max() < 1e-5
    assert np.abs(found["sample"].values - sample).max() < 1e-5
    assert found.line[40, 40] == pytest.approx(149.5, abs=5.0)
    angles = incidence(dem, grid, orbit)
    assert np.isfinite(angles.local_incidence).all()
    assert np.ptp(angles.ellipsoid_incidence.values) < 1.0


def test_a_dem_may_reach_far_beyond_the_image() -> None:
    grid, orbit = synthetic_grid(lines=100, samples=100, height=1000.0)
    dem = dem_around(46.0, 10.0, hills((200, 220)), posting=400.0)
    found = geo2rdr(dem, grid, orbit)
    line, sample = solved(dem, grid, orbit)
    inside = (np.abs(line - 49.5) < 50) & (np.abs(sample - 49.5) < 50)
    assert inside.sum() >= 4
    assert np.abs(found.line.values - line)[inside].max() < 1e-5
    assert np.abs(found["sample"].values - sample)[inside].max() < 1e-5
    # Nothing far away is said to be within.
    said = (np.abs(found.line.values - 49.5) < 50) & (np.abs(found["sample"].values - 49.5) < 50)
    assert np.array_equal(said, inside)


def test_the_epochs_of_grid_and_orbit_may_differ() -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    dem = dem_around(46.0, 10.0, hills((20, 20)))
    later = orbit.with_epoch(orbit.epoch - np.timedelta64(3600, "s"))
    for name in ("line", "sample"):
        one, other = geo2rdr(dem, grid, orbit)[name], geo2rdr(dem, grid, later)[name]
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


# ---------------------------------------------------------------------------------- incidence


def test_incidence_is_in_degrees_on_the_grid_of_the_dem() -> None:
    grid, orbit = synthetic_grid(incidence=38.0, height=1000.0)
    dem = dem_around(46.0, 10.0, np.full((40, 50), 1000.0))
    found = incidence(dem, grid, orbit)
    assert set(found.data_vars) == {
        "local_incidence",
        "projected_incidence",
        "ellipsoid_incidence",
    }
    for variable in found.data_vars.values():
        assert variable.dims == ("y", "x")
        assert variable.attrs["units"] == "degree"
        assert np.abs(variable - 38.0).max() < 0.1
    assert pyproj.CRS(found.rio.crs) == pyproj.CRS(dem.rio.crs)


# ---------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("call", [geo2rdr, incidence])
def test_a_dem_elsewhere_is_refused_with_both_extents(call: Any) -> None:  # noqa: ANN401
    grid, orbit = synthetic_grid(46.0, 10.0)
    for latitude, longitude in ((-25.0, 135.0), (60.0, -100.0), (80.0, 132.0), (10.0, 10.0)):
        dem = dem_around(latitude, longitude, hills((70, 80)), crs="EPSG:4326")
        with pytest.raises(GeometryError) as caught:
            call(dem, grid, orbit)
        message = str(caught.value)
        assert f"latitude {latitude - 0.01:.2f}" in message
        assert "the image covers latitude 45.99 to 46.01, longitude 9.9" in message
        assert "Pass a DEM of" in message


def test_no_dem_on_earth_falls_into_an_image_of_somewhere_else() -> None:
    grid, orbit = synthetic_grid(46.0, 10.0, lines=2000, samples=3000)
    for latitude in range(-80, 81, 20):
        for longitude in range(-175, 180, 50):
            dem = dem_around(latitude, longitude, hills((8, 9)), crs="EPSG:4326", posting=90.0)
            with pytest.raises(GeometryError):
                geo2rdr(dem, grid, orbit)


def test_what_does_not_belong_together_is_refused() -> None:
    grid, orbit = synthetic_grid()
    dem = dem_around(46.0, 10.0, hills((20, 20)))
    polar = dem_around(46.0, 10.0, hills((20, 20)), crs="+proj=laea +lat_0=46 +lon_0=10")
    left = replace(grid, look_side="left")
    for ground, view, message in (
        (dem, left, r"does not look \(look_side='left'\)"),
        (polar.assign_coords(x=polar.x + 1.4e7), grid, "map projection has no inverse: x 1"),
    ):
        with pytest.raises(GeometryError, match=message):
            geo2rdr(ground, view, orbit)
    early = orbit.time < float(grid.azimuth_time(100)) - 1.0
    short = Orbit(orbit.epoch, orbit.time[early], orbit.position[early], orbit.velocity[early])
    for call in (geo2rdr, incidence, lambda _, grid, orbit: rdr2geo(grid, orbit)):
        with pytest.raises(OrbitCoverageError, match="expected one that covers"):
            call(dem, grid, short)
    small, _ = synthetic_grid(lines=30, samples=40)
    turned = xr.DataArray(np.zeros((40, 30)), dims=("sample", "line"))
    with pytest.raises(ValueError, match=r"heights of shape \(40, 30\), expected .* \(30, 40\)"):
        rdr2geo(small, orbit, turned)
