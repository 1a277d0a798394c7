"""The geometry against ESA's geolocation grids, along the path that the kernels take."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels.models import GroundModel, ground_patch, ground_position, locate_cell

from sarheight.ellipsoid import SPEED_OF_LIGHT, to_earth_fixed
from sarheight.geometry import rdr2geo
from sarheight.geometry.placement import time_and_range
from sarheight.geometry.tables import radar_model
from sarheight.grid import RadarGrid
from sarheight.sentinel1 import geolocation_grid, read_annotation, read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.dems import TO_EARTH_FIXED

Floats = NDArray[np.float64]


def at_place(latitude: float, longitude: float) -> GroundModel:
    """A ground model of one place: all its cells are there."""
    position, normal = to_earth_fixed(np.array(longitude), np.array(latitude))
    coefficients = np.concatenate([position, normal]).reshape(1, 1, 1, 1, 6)
    return GroundModel(64, 64, 1.0, 1.0, coefficients)


def test_a_place_stands_for_all_its_cells() -> None:
    ground = at_place(46.0, 10.0)
    patch = ground_patch(ground, 3.0, 5.0)
    expected = TO_EARTH_FIXED.transform(10.0, 46.0, 0.0)
    np.testing.assert_allclose(ground_position(ground, *patch, 3.0, 5.0)[:3], expected, atol=1e-8)


def located(name: str) -> tuple[RadarGrid, dict[str, Floats], dict[str, Floats]]:
    """ESA's grid points, and what the kernels make of their places."""
    path = shared_data("sentinel1", name)
    grid, orbit = read_grid(path), read_orbit(path)
    if grid.is_ground_range:
        grid = grid.with_range_interpolation("nearest")
    radar = radar_model(grid, orbit)
    points = geolocation_grid(path)
    line, pixel = np.meshgrid(points.line.values, points.pixel.values, indexing="ij")
    if grid.bursts:
        burst = np.minimum(line // grid.bursts[0].lines, len(grid.bursts) - 1)
        first = np.array([each.first_line for each in grid.bursts])
        line = first[burst] + line - burst * grid.bursts[0].lines
    found = np.array(
        [
            locate_cell(at_place(latitude, longitude), radar, 0.0, 0.0, height, 0.0)
            for latitude, longitude, height in zip(
                points.latitude.values.ravel(),
                points.longitude.values.ravel(),
                points.height.values.ravel(),
                strict=True,
            )
        ]
    )
    time = (points.azimuth_time.values - grid.epoch) / np.timedelta64(1, "ns") * 1e-9
    expected = {
        "line": line.ravel(),
        "sample": pixel.ravel(),
        "time": time.ravel(),
        "slant_range": points.slant_range.values.ravel(),
    }
    return (
        grid,
        dict(zip(("line", "sample", "time", "slant_range"), found.T, strict=True)),
        expected,
    )


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_geo2rdr_agrees_with_the_geolocation_grid(name: str) -> None:
    """The project asks for 0.05 m in range, 0.1 ms in azimuth and 0.01 pixels."""
    grid, found, expected = located(name)
    assert found["line"].size == 210

    def missed(quantity: str) -> float:
        return float(np.abs(found[quantity] - expected[quantity]).max())

    assert missed("slant_range") < 1e-4
    # The orbit of the Alps was downlinked, and is rough.
    assert missed("time") < (5e-5 if "alps" in name else 3e-6)
    # A line of a GRD lasts 1.5 ms, one of an SLC 2.1 ms.
    assert missed("line") < (0.04 if "alps" in name else 0.008)
    assert missed("sample") < (0.001 if grid.is_ground_range else 0.003)


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_the_models_agree_with_the_geolocation_grid_without_kernels(name: str) -> None:
    """What cuts an image to an area solves zero Doppler on its own, and agrees."""
    path = shared_data("sentinel1", name)
    grid, orbit = read_grid(path), read_orbit(path)
    points = read_annotation(path).geolocation
    places = np.stack(
        TO_EARTH_FIXED.transform(points.longitude, points.latitude, points.height), axis=-1
    )
    time, slant_range = time_and_range(places, grid, orbit.with_epoch(grid.epoch))
    assert time.size == points.line.size
    expected = (points.azimuth_time - grid.epoch) / np.timedelta64(1, "ns") * 1e-9
    assert np.abs(time - expected).max() < 1e-4
    assert np.abs(slant_range - SPEED_OF_LIGHT / 2 * points.slant_range_time).max() < 0.05
    if not grid.is_ground_range:
        assert np.abs(grid.sample(slant_range, time) - points.pixel).max() < 0.003
        return
    # ESA's grid goes by the nearest of the polynomials.
    nearest = grid.with_range_interpolation("nearest")
    assert np.abs(nearest.sample(slant_range, time) - points.pixel).max() < 0.001
    assert np.abs(grid.line(time, slant_range) - points.line).max() < 0.04


@pytest.mark.parametrize("name", [ANNOTATIONS[0], ANNOTATIONS[2], ANNOTATIONS[5]])
def test_pixels_are_put_where_the_geolocation_grid_says(name: str) -> None:
    path = shared_data("sentinel1", name)
    grid, orbit = read_grid(path), read_orbit(path)
    if grid.is_ground_range:
        grid = grid.with_range_interpolation("nearest")
    points = geolocation_grid(path)
    for row, column in ((0, 3), (4, 0), (4, 19)):
        point = points.isel(line=row, pixel=column)
        line = int(point.line)
        if grid.bursts:
            burst = min(line // grid.bursts[0].lines, len(grid.bursts) - 1)
            line += grid.bursts[burst].first_line - burst * grid.bursts[0].lines
        sample = int(point.pixel)
        pixel = grid.crop(slice(line, line + 1), slice(sample, sample + 1))
        found = rdr2geo(pixel, orbit, float(point.height)).isel(line=0, sample=0)
        here = np.array(TO_EARTH_FIXED.transform(found.longitude, found.latitude, found.height))
        there = np.array(TO_EARTH_FIXED.transform(point.longitude, point.latitude, point.height))
        # Half a metre along the track is the roughness of the downlinked orbit.
        assert np.linalg.norm(here - there) < (0.5 if "alps" in name else 0.05)
