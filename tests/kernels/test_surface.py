"""Tiles of a DEM: their posts, their facets, and the part of the image they can light."""

from __future__ import annotations

import numpy as np
import pyproj
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sarheight_kernels.tiles import (
    TILE,
    geolocate,
    geolocation_bounds,
    tile_box,
    tile_count,
    tile_posts,
    tile_surface,
)

from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import CosinePower
from sarheight.illumination._laws import tabulate
from tests.mountains import look, mountain, random_terrain, raster


@given(st.integers(1, 3 * TILE), st.integers(1, 3 * TILE))
def test_tiles_cover_every_cell_once(rows: int, columns: int) -> None:
    heights = np.zeros((rows, columns), dtype=np.float32)
    covered = np.zeros((rows, columns), dtype=int)
    for tile in range(tile_count(heights)):
        row, end_row, column, end_column = tile_box(heights, tile)
        covered[row:end_row, column:end_column] += 1
    assert (covered == 1).all()


def test_posts_of_a_tile_reach_one_beyond_it_and_are_void_beyond_the_dem() -> None:
    heights = np.arange(70 * 130, dtype=np.float32).reshape(70, 130)
    padded = np.pad(heights, 1, constant_values=np.nan)
    for tile in range(tile_count(heights)):
        row, end_row, column, end_column = tile_box(heights, tile)
        expected = padded[row : end_row + 2, column : end_column + 2]
        np.testing.assert_array_equal(tile_posts(heights, tile), expected)


@pytest.mark.parametrize("ground_range", [True, False])
@pytest.mark.parametrize("look_side", ["right", "left"])
def test_bounds_hold_every_cell_of_their_tile(ground_range: bool, look_side: str) -> None:  # noqa: FBT001
    grid, orbit = look(ground_range=ground_range, look_side=look_side)  # type: ignore[arg-type]
    seen = pass_geometry(raster(random_terrain(3, 150, 140, relief=150.0)), grid, orbit)
    line, sample = np.empty(seen.heights.shape), np.empty(seen.heights.shape)
    geolocate(
        seen.ground,
        seen.radar,
        seen.heights,
        line,
        sample,
        geolocation_bounds(seen.ground, seen.heights),
    )
    for tile in range(tile_count(seen.heights)):
        row, end_row, column, end_column = tile_box(seen.heights, tile)
        cells = slice(row, end_row), slice(column, end_column)
        low_line, high_line, low_sample, high_sample = seen.bounds[tile]
        assert low_line <= line[cells].min() - 1.0 < line[cells].max() + 1.0 <= high_line
        assert low_sample <= sample[cells].min() - 1.0
        assert sample[cells].max() + 1.0 <= high_sample


def test_facets_have_the_areas_of_their_diagonals_cross_product() -> None:
    """Positions by pyproj, the line of sight by the orbit's own state vectors."""
    grid, orbit = look()
    dem = raster(mountain())
    seen = pass_geometry(dem, grid, orbit)
    law = CosinePower(0.3, 1.7)
    _, _, energy, projected = tile_surface(seen.ground, seen.radar, seen.heights, tabulate(law), 0)

    to_earth = pyproj.Transformer.from_crs(32632, 4978, always_xy=True)
    x, y = np.meshgrid(dem.x, dem.y)
    to_geodetic = pyproj.Transformer.from_crs(32632, 4979, always_xy=True)
    longitude, latitude = to_geodetic.transform(x, y)
    to_earth = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    points = np.stack(
        to_earth.transform(longitude, latitude, dem.values.astype(np.float64)), axis=-1
    )
    line, sample = np.empty(dem.shape), np.empty(dem.shape)
    geolocate(
        seen.ground,
        seen.radar,
        seen.heights,
        line,
        sample,
        geolocation_bounds(seen.ground, seen.heights),
    )
    slant = grid.slant_range(line, sample)
    satellite, _ = orbit.with_epoch(grid.epoch).state(grid.azimuth_time(line, slant).ravel())
    sight = satellite.reshape(*dem.shape, 3) - points
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)

    down = points[1:, 1:] - points[:-1, :-1]
    up = points[1:, :-1] - points[:-1, 1:]
    vector = 0.5 * np.cross(down, up)
    up_wards = np.sign((vector * points[:-1, :-1]).sum(axis=-1, keepdims=True))
    vector *= up_wards
    middle = 0.25 * (sight[1:, 1:] + sight[:-1, :-1] + sight[1:, :-1] + sight[:-1, 1:])
    along = (vector * middle).sum(axis=-1)
    area = np.linalg.norm(vector, axis=-1)
    expected = np.where(along > 0.0, along, 0.0)
    # The tile has a border of posts beyond the DEM: its facets are void.
    assert (projected[0] == 0.0).all()
    assert (projected[:, 0] == 0.0).all()
    rows, columns = (min(TILE, size) for size in seen.heights.shape)
    inner = slice(1, rows), slice(1, columns)
    known = slice(0, rows - 1), slice(0, columns - 1)
    np.testing.assert_allclose(projected[inner], expected[known], atol=2e-3 * 900.0)
    angle = np.degrees(np.arccos(np.clip(along / area, 0.0, 1.0)))
    np.testing.assert_allclose(
        energy[inner], np.where(along > 0.0, law(angle) * area, 0.0)[known], atol=2e-3 * 900.0
    )
    assert (expected == 0.0).any(), "the mountain should have slopes that face away"
