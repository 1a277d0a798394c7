"""The part of an image that a DEM lights, and orbits that are turned to see one."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr

from sarheight.errors import GeometryError, OrbitCoverageError
from sarheight.geometry import geo2rdr, incidence
from sarheight.geometry.placement import (
    MARGIN,
    crop_grid_to_dem,
    crop_scene_to_dem,
    rotate_over_dem,
    window_of_bounds,
)
from sarheight.orbit import look_at
from sarheight.scene import Scene
from tests.synthetic import synthetic_grid


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


def test_an_image_elsewhere_is_an_error() -> None:
    grid, orbit = synthetic_grid()
    with pytest.raises(GeometryError, match="No cell of the DEM falls into the image"):
        crop_grid_to_dem(hill(CENTRE[0], CENTRE[1] + 2e5), grid, orbit)


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


def test_an_incidence_beyond_the_swath_is_an_error() -> None:
    grid, orbit = synthetic_grid()
    with pytest.raises(GeometryError, match="the swath reaches from"):
        rotate_over_dem(hill(*CENTRE), grid, orbit, 45.0)


def test_a_latitude_out_of_sight_is_an_error() -> None:
    grid, orbit = synthetic_grid()
    with pytest.raises(OrbitCoverageError, match="pass an orbit that passes that latitude"):
        rotate_over_dem(hill(CENTRE[0], CENTRE[1] - 3e6), grid, orbit, 34.0)
