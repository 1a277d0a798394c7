"""Images that are focused to a Doppler centroid, against independent solutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.optimize import brentq

from sarheight import layover
from sarheight.acquisition import grid_from_json, grid_to_json
from sarheight.doppler import DopplerLUT
from sarheight.geometry import geo2rdr, incidence, rdr2geo
from sarheight.geometry.placement import window_of_bounds
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, simulate
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from tests.dems import TO_EARTH_FIXED, dem_around, hills, positions
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]

MILLIMETRE = 1e-3


def lut_over(
    grid: RadarGrid, values: tuple[float, float, float] = (300.0, -25.0, 12.0)
) -> DopplerLUT:
    """A centroid that curves over an image: its middle, its slope in range, its slope in time."""
    times = np.linspace(grid.first_time - 2.0, grid.last_time + 2.0, 7)
    near, far = (float(grid.slant_range(0, sample)) for sample in (0, grid.samples - 1))
    ranges = np.linspace(near - 5e3, far + 5e3, 9)
    across = (ranges - near) / 10e3
    middle, per_range, per_time = values
    along = per_time * (times - times.mean())[:, None]
    return DopplerLUT(times, ranges, middle + per_range * (across + 0.1 * across**2) + along)


def native(
    *,
    ground_range: bool = False,
    values: tuple[float, float, float] = (300.0, -25.0, 12.0),
    **more: float,
) -> tuple[RadarGrid, Orbit]:
    """A grid with a Doppler centroid, whose lines are moved so that it sees the same place."""
    grid, orbit = synthetic_grid(
        height=1000.0,
        ground_range=ground_range,
        sample_spacing=10.0 if ground_range else 6.0,
        **more,
    )
    lut = lut_over(grid, values)
    # The centre of the image is seen earlier, where the radar looks ahead.
    place = np.stack(TO_EARTH_FIXED.transform(10.0, 46.0, 1000.0))
    time, slant_range = solved(place, replace(grid, doppler=lut), orbit)
    early = float(grid.azimuth_time((grid.lines - 1) / 2)) - time
    farther = slant_range - float(grid.slant_range((grid.lines - 1) / 2, (grid.samples - 1) / 2))
    moved = replace(grid, line_zero_time=grid.line_zero_time - early)
    if not ground_range:
        moved = replace(moved, near_range=moved.near_range + farther)
    return replace(moved, doppler=lut), orbit


def solved(point: Floats, grid: RadarGrid, orbit: Orbit) -> tuple[float, float]:
    """Azimuth time and slant range of a point by Brent's method, with the centroid of the table."""
    assert grid.doppler is not None
    lut = grid.doppler

    def excess(time: float) -> float:
        position, velocity = orbit.state(time)
        sight = point - position
        distance = float(np.linalg.norm(sight))
        found = 2.0 / grid.wavelength * float(velocity @ sight) / distance
        return found - float(lut.at(time, distance))

    time = brentq(excess, -20.0, 20.0, xtol=1e-13, rtol=1e-15)
    return time, float(np.linalg.norm(point - orbit.state(time)[0]))


@pytest.mark.parametrize("ground_range", [False, True])
@pytest.mark.parametrize("look_side", ["right", "left"])
def test_cells_are_where_root_finding_puts_them(look_side: str, *, ground_range: bool) -> None:
    grid, orbit = native(ground_range=ground_range, look_side=look_side)  # type: ignore[arg-type]
    dem = dem_around(46.0, 10.0, hills((70, 90), relief=300.0), posting=25.0)
    found = geo2rdr(dem, grid, orbit)
    cells = positions(dem)
    for cell in ((0, 0), (35, 41), (69, 89), (12, 70)):
        time, slant_range = solved(cells[cell], grid, orbit)
        assert float(found.line[cell]) == pytest.approx(float(grid.line(time)), abs=1e-5)
        expected = float(grid.sample(slant_range, time))
        assert float(found["sample"][cell]) == pytest.approx(expected, abs=1e-5)


def test_the_table_interpolates_a_smooth_centroid() -> None:
    times, ranges = np.linspace(0.0, 4.0, 9), np.linspace(8.2e5, 8.5e5, 16)

    def centroid(time: Floats, slant_range: Floats) -> Floats:
        return 200.0 + 9.0 * np.sin(time / 2.0) + 40.0 * np.cos((slant_range - 8.2e5) / 2e4)

    lut = DopplerLUT(times, ranges, centroid(times[:, None], ranges))
    generator = np.random.default_rng(1)
    time, slant_range = generator.uniform(0, 4, 200), generator.uniform(8.2e5, 8.5e5, 200)
    np.testing.assert_allclose(
        lut.at(time, slant_range), centroid(time, slant_range), rtol=0, atol=2e-3
    )
    np.testing.assert_allclose(lut.at(times[:, None], ranges), lut.frequency, rtol=0, atol=1e-9)
    # Beyond the table it goes on straight.
    outside = lut.at(np.array([6.0, 7.0, 8.0]), np.full(3, 8.4e5))
    assert outside[2] - outside[1] == pytest.approx(outside[1] - outside[0], abs=1e-9)
    # Two values along each axis are a plane.
    plane = DopplerLUT([0.0, 2.0], [8e5, 9e5], [[10.0, 20.0], [30.0, 40.0]])
    assert float(plane.at(1.0, 8.5e5)) == pytest.approx(25.0)
    assert float(plane.shift_time(3.0).at(4.0, 8.5e5)) == pytest.approx(25.0)


def test_pixels_on_the_terrain_return_to_their_place() -> None:
    grid, orbit = native(lines=60, samples=80)
    dem = dem_around(46.0, 10.0, hills((100, 110), relief=60.0), posting=20.0)
    found = rdr2geo(grid, orbit, dem=dem)
    assert float(np.isfinite(found.height).mean()) > 0.9
    for line, sample in ((5, 7), (30, 40), (55, 70)):
        pixel = found.isel(line=line, sample=sample)
        point = np.stack(TO_EARTH_FIXED.transform(pixel.longitude, pixel.latitude, pixel.height))
        time, slant_range = solved(point, grid, orbit)
        assert float(grid.line(time)) == pytest.approx(line, abs=1e-4)
        assert float(grid.sample(slant_range, time)) == pytest.approx(sample, abs=1e-4)


def test_a_centroid_of_zero_is_zero_doppler() -> None:
    grid, orbit = synthetic_grid(height=1000.0, ground_range=False)
    lut = DopplerLUT(
        [grid.first_time - 1.0, grid.last_time + 1.0],
        [grid.near_range - 1e3, grid.near_range + 1e5],
        np.zeros((2, 2)),
    )
    other = replace(grid, doppler=lut)
    dem = dem_around(46.0, 10.0, hills((90, 100), relief=250.0), posting=25.0)
    zero, same = geo2rdr(dem, grid, orbit), geo2rdr(dem, other, orbit)
    np.testing.assert_allclose(same.line, zero.line, rtol=0, atol=1e-5)
    np.testing.assert_allclose(same["sample"], zero["sample"], rtol=0, atol=1e-5)
    here, there = layover.masks(dem, grid, orbit), layover.masks(dem, other, orbit)
    assert float((here["mask"] == there["mask"]).mean()) > 0.9999
    image, repeated = (simulate(dem, each, orbit).image for each in (grid, other))
    np.testing.assert_allclose(repeated, image, rtol=1e-3, atol=1e-5)
    angles, repeated_angles = incidence(dem, grid, orbit), incidence(dem, other, orbit)
    for name in angles:
        np.testing.assert_allclose(repeated_angles[name], angles[name], rtol=0, atol=1e-3)


def test_masks_images_and_reconstructions_follow_the_centroid() -> None:
    """A constant centroid turns the view by its squint, 0.06 degrees for 300 Hz.

    All that differs from zero Doppler is then a little at the borders, as the grid is moved to the
    same centre; without the centroid the moved grid sees ground a tenth of a second ahead.
    """
    grid, orbit = native(values=(300.0, 0.0, 0.0), lines=250, samples=300)
    plain, _ = synthetic_grid(
        height=1000.0, ground_range=False, lines=250, samples=300, sample_spacing=6.0
    )
    dem = dem_around(46.0, 10.0, hills((100, 80), relief=250.0), posting=20.0)
    here, there = layover.masks(dem, grid, orbit), layover.masks(dem, plain, orbit)
    assert float(here["mask"].isin([2, 3]).mean()) > 0.02
    assert float((here["mask"] == there["mask"]).mean()) > 0.98
    scene = simulate(dem, grid, orbit, law=ConstantGamma(1.0))
    images = scene.image.values, simulate(dem, plain, orbit).image.values
    blind = replace(scene, grid=replace(grid, doppler=None))
    images += (simulate(dem, blind.grid, orbit).image.values,)
    valid = np.logical_and.reduce([image > 0.0 for image in images])
    logs = [np.log(image[valid]) for image in images]
    assert np.corrcoef(logs[0], logs[1])[0, 1] > 0.95
    assert np.corrcoef(logs[2], logs[1])[0, 1] < 0.7
    # The ground was made with one gamma0 everywhere, and that is what comes back.
    found, wrong = (
        layover.reconstruct(each, dem, law=ConstantGamma(1.0), method=layover.Reallocation())[
            "gamma0"
        ]
        for each in (scene, blind)
    )
    open_ground = here["mask"] == 0
    assert float(found.where(open_ground).quantile(0.02)) == pytest.approx(1.0, abs=0.2)
    assert float(found.where(open_ground).quantile(0.98)) == pytest.approx(1.0, abs=0.2)
    assert float(wrong.where(open_ground).std()) > 0.3


def test_an_area_is_found_at_the_centroid() -> None:
    grid, orbit = native()
    line, sample = window_of_bounds(
        (9.995, 45.995, 10.005, 46.005), grid, orbit, heights=(990, 1010)
    )
    assert line.start < 100 < line.stop
    assert sample.start < 125 < sample.stop
    assert line.stop - line.start < 190


def test_a_table_must_be_one_and_cover_the_image() -> None:
    grid, orbit = synthetic_grid(height=1000.0, ground_range=False)
    dem = dem_around(46.0, 10.0, hills((20, 20)), posting=20.0)
    lut = lut_over(grid)
    assert replace(grid, doppler=lut).crop(slice(3, 9)).doppler is lut
    late = replace(grid, doppler=lut.shift_time(3.0))
    with pytest.raises(ValueError, match=r"azimuth times .* covers the image"):
        geo2rdr(dem, late, orbit)
    with pytest.raises(ValueError, match=r"azimuth times .* covers the image"):
        Scene(xr.DataArray(np.ones(grid.shape), dims=("line", "sample")), late, orbit, "beta0")
    far = replace(grid, doppler=replace(lut, slant_range=lut.slant_range + 2e4))
    with pytest.raises(ValueError, match=r"slant ranges .* covers the image"):
        rdr2geo(far, orbit)
    bad: tuple[tuple[dict[str, Any], str], ...] = (
        ({"azimuth_time": [0.0]}, "two at least"),
        ({"frequency": np.zeros((3, 2))}, "of shape"),
        ({"slant_range": [9e5, 8e5]}, "does not ascend"),
        ({"frequency": [[0.0, np.nan], [0.0, 0.0]]}, "not finite"),
    )
    for change, message in bad:
        with pytest.raises(ValueError, match=message):
            replace(DopplerLUT([0.0, 1.0], [8e5, 9e5], np.zeros((2, 2))), **change)


def test_a_grid_keeps_its_centroid() -> None:
    grid, orbit = native(lines=40, samples=40)
    assert grid.doppler is not None
    read = grid_from_json(grid_to_json(grid))
    assert read.doppler is not None
    for name in ("azimuth_time", "slant_range", "frequency"):
        np.testing.assert_array_equal(getattr(read.doppler, name), getattr(grid.doppler, name))
    later = grid.with_epoch(grid.epoch + np.timedelta64(7, "s"))
    dem = dem_around(46.0, 10.0, hills((20, 20)), posting=20.0)
    xr.testing.assert_allclose(
        geo2rdr(dem, later, orbit), geo2rdr(dem, grid, orbit), rtol=0.0, atol=1e-6
    )
