"""Radiometric terrain correction of constant images, whose answer is known: the area alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from benchmarks._accuracy.conformance import constant, flat_errors
from sarheight.doppler import DopplerLUT
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pixel_areas
from sarheight.geometry.tables import radar_model
from sarheight.grid import RadarGrid
from sarheight.illumination import ConstantGamma, simulate
from sarheight.layover import RTC, Method, PosteriorMean, Reallocation, reconstruct
from sarheight.orbit import Orbit
from sarheight.product import open_product
from tests.dems import dem_around, hills, positions
from tests.synthetic import synthetic_grid
from tests.worlds.products import NAME, write_product
from tests.worlds.scatterer_geometry import path_of, radar_coordinates

Floats = NDArray[np.float64]

FINER = 12
"""Facets along a cell whose areas are summed one by one."""


def squinted(grid: RadarGrid, orbit: Orbit, closing: float) -> RadarGrid:
    """Let the radar look ahead to the same place: earlier, from farther away."""
    lut = DopplerLUT(
        grid.azimuth_time([0, grid.lines - 1]) + np.array([-60.0, 60.0]),
        grid.slant_range(0, [0, grid.samples - 1]) + np.array([-1e5, 1e5]),
        np.full((2, 2), 2.0 * closing / grid.wavelength),
    )
    middle = float(grid.slant_range(0, grid.samples // 2))
    _, velocity = orbit.state(grid.first_time)
    sine = closing / float(np.linalg.norm(velocity))
    farther = middle * (1.0 / np.sqrt(1.0 - sine**2) - 1.0)
    # At a right angle to the line of sight the satellite flies, and the ground turns below it.
    earlier = middle * sine / np.sqrt(1.0 - sine**2) / float(np.linalg.norm(velocity))
    moved = replace(grid, near_range=grid.near_range + farther)
    return replace(moved, line_zero_time=grid.line_zero_time - earlier, doppler=lut)


@pytest.mark.parametrize("view", ["ground range", "slant range, to the left", "squinted by 15°"])
def test_over_the_ellipsoid_only_angles_come_out(view: str) -> None:
    grid, orbit = synthetic_grid(
        lines=200,
        samples=260 if view == "ground range" else 160,
        ground_range=view == "ground range",
        look_side="left" if "left" in view else "right",
    )
    dem = dem_around(46.0, 10.0, np.zeros((50, 50)), crs="EPSG:4326", posting=20.0)
    if "squinted" in view:
        grid = squinted(grid, orbit, 2000.0)
        longitude, latitude = constant(grid, orbit).outline().mean(axis=0)
        dem = dem_around(latitude, longitude, np.zeros((40, 40)), crs="EPSG:4326", posting=20.0)
    level, cell = flat_errors(grid, orbit, dem)
    assert level < 3e-4
    # The outline of a cell, as large as a pixel, is shared among pixels to 2 %.
    assert cell < 0.12


def areas_of_facets(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> Floats:
    """Sum the projected areas of small facets in the pixels at their middles, in m2.

    The surface between posts is bilinear, seen by the geometry of the independent simulator.
    Nothing hides anything.
    """
    corners = np.meshgrid(
        *(np.linspace(0.0, size - 1.0, FINER * (size - 1) + 1) for size in dem.shape), indexing="ij"
    )
    at = positions(dem)
    points = np.stack([map_coordinates(at[..., axis], corners, order=1) for axis in range(3)], -1)
    down, across = points[1:, 1:] - points[:-1, :-1], points[1:, :-1] - points[:-1, 1:]
    middle = 0.25 * (points[1:, 1:] + points[:-1, :-1] + points[1:, :-1] + points[:-1, 1:])
    path = path_of(orbit.with_epoch(grid.epoch), 0.5 * (grid.first_time + grid.last_time))
    time, slant_range = radar_coordinates(middle, path)
    sight = orbit.with_epoch(grid.epoch).state(time)[0] - middle
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    projected = np.sum(0.5 * np.cross(down, across) * sight, axis=-1)
    projected = np.maximum(projected * np.sign(np.median(projected)), 0.0)
    line = np.rint(grid.line(time, slant_range)).astype(int)
    sample = np.rint(grid.sample(slant_range, time)).astype(int)
    total = np.zeros(grid.shape)
    np.add.at(total, (line, sample), projected)
    return total


def windows(values: Floats, size: int = 6) -> Floats:
    lines, samples = (each // size for each in values.shape)
    cut = values[: lines * size, : samples * size]
    return cut.reshape(lines, size, samples, size).sum(axis=(1, 3))


def test_areas_are_those_of_small_facets() -> None:
    """Gentle hills, without shadow; areas differ by a factor of three."""
    dem = dem_around(46.0, 10.0, hills((40, 40), relief=40.0, size=4.0), posting=30.0)
    grid, orbit = synthetic_grid(lines=170, samples=120, height=1000.0, ground_range=False)
    expected = windows(areas_of_facets(dem, grid, orbit))
    image = simulate(dem, grid, orbit, law=ConstantGamma(1.0)).image.values
    pixel = pixel_areas(grid, radar_model(grid, orbit), "beta0").areas.mean(axis=0)
    found = windows(image * pixel)
    # Windows that the DEM fills, away from its edge.
    whole = expected > 0.3 * np.median(expected[expected > 0.0])
    inner = np.zeros_like(whole)
    inner[3:-3, 3:-3] = whole[3:-3, 3:-3]
    ratio = found[inner] / expected[inner]
    assert inner.sum() > 80
    assert np.ptp(np.log(expected[inner])) > 1.0
    assert float(np.median(ratio)) == pytest.approx(1.0, abs=0.01)
    assert float(np.percentile(np.abs(ratio - 1.0), 90)) < 0.05


@pytest.mark.parametrize("method", [RTC(blur=0.0), RTC(), Reallocation(), PosteriorMean()])
def test_ground_of_one_gamma0_comes_out_constant(method: Method) -> None:
    """The image of constant gamma0 is flat after correction, in layover, too, by every method."""
    dem = dem_around(46.0, 10.0, hills((50, 50), relief=200.0, size=5.0), posting=30.0)
    grid, orbit = synthetic_grid(lines=250, samples=260, height=1000.0)
    scene = simulate(dem, grid, orbit, law=ConstantGamma(0.1))
    law = None if isinstance(method, RTC) else ConstantGamma(0.1)
    found = reconstruct(scene, dem, law=law, method=method, facets=1)
    gamma0 = found.gamma0.values
    known = np.isfinite(gamma0)
    assert known.mean() > 0.8
    assert (found["mask"].values[known] > 1).sum() > 50
    np.testing.assert_allclose(gamma0[known], 0.1, rtol=2e-3)


def test_a_product_of_ones_shows_the_areas_of_its_pixels(tmp_path: Path) -> None:
    """From the file to the map: what comes out adds up to the pixels that the DEM lights."""
    dem = dem_around(46.0, 10.0, hills((50, 50), relief=200.0, size=5.0), posting=30.0)
    grid, orbit = synthetic_grid(lines=250, samples=260, height=1000.0)
    path = write_product(constant(grid, orbit), tmp_path / NAME)
    scene = open_product(path).scene(noise_removal=False)
    np.testing.assert_allclose(scene.image, 1.0, rtol=1e-4)
    found = reconstruct(scene, dem, method=RTC(blur=0.0), facets=1)
    image = simulate(dem, scene.grid, scene.orbit, law=ConstantGamma(1.0)).image.values
    areas = pixel_areas(scene.grid, radar_model(scene.grid, scene.orbit), "beta0")
    pixel = np.concatenate([block for _, block in areas.blocks(scene.grid.lines)])
    given = np.nansum(found.gamma0.values.astype(float) * found.projected_area.values)
    given += found.attrs["rcs_withheld"][0]
    assert given == pytest.approx(pixel[image > 0.0].sum(), rel=2e-4)
    # A cell alone in its pixels has the area of a pixel over the projected area in it.
    place = geo2rdr(dem, scene.grid, scene.orbit)
    line, sample = (np.rint(each.values).astype(int) for each in (place.line, place["sample"]))
    alone = (found["mask"].values == 0) & (found["fold_count"].values == 1)
    alone &= np.isfinite(found.gamma0.values) & (image[line, sample] > 0.0)
    logarithms = np.log(found.gamma0.values[alone]), -np.log(image[line, sample][alone])
    assert np.corrcoef(*logarithms)[0, 1] > 0.9
