"""Fits over boxes of cells: what they promise about line, sample and the part of the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyproj
import pytest
from sarheight_kernels.cubics import FIT, evaluate_fit, fit_bounds, fit_box
from sarheight_kernels.models import SLACK, box_bounds, locate_cell

from sarheight.geometry.tables import ground_model, radar_model
from sarheight.ground_range import GroundRange
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid

SIZE = 96
BOX = (0, SIZE, 0, SIZE)
TOLERANCE = 5e-6


@pytest.mark.parametrize("records", [1, 2, 5])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_every_segment_of_the_sampling_is_met(records: int, interpolation: str) -> None:
    """Records a second apart whose ground ranges differ as those of other terrain would."""
    grid, orbit = synthetic_grid(height=1000.0)
    assert grid.ground_range is not None
    middle = 0.5 * (grid.first_time + grid.last_time)
    times = middle + 0.12 * (np.arange(records) - 0.5 * (records - 1))
    given = grid.ground_range
    grow = 1.0 + 1e-3 * np.random.default_rng(3).standard_normal(records)
    grid = replace(
        grid,
        ground_range=GroundRange(
            times,
            np.full(records, given.slant_origin[0]),
            grow[:, None] * given.slant_to_ground[:1],
            np.full(records, given.ground_origin[0]),
            np.tile(given.ground_to_slant[:1], (records, 1)),
            interpolation,  # type: ignore[arg-type]
        ),
    )
    dem = dem_around(46.0, 10.0, hills((SIZE, SIZE), relief=400.0))
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(dem.rio.crs))
    radar = radar_model(grid, orbit)
    fit, room = np.empty(FIT), np.empty(16 + SIZE)
    heights = dem.values
    assert fit_box(ground, radar, BOX, float(heights.min()), float(heights.max()), fit)
    bound = np.empty(4)
    fit_bounds(fit, bound)
    for row in range(0, SIZE, 19):
        line, sample = np.empty(SIZE), np.empty(SIZE)
        evaluate_fit(radar, fit, row, heights[row], line, sample, room)
        exact = np.array(
            [
                locate_cell(ground, radar, row, j, heights[row, j], radar.line_zero_time)[:2]
                for j in range(SIZE)
            ]
        )
        assert np.abs(line - exact[:, 0]).max() < TOLERANCE
        assert np.abs(sample - exact[:, 1]).max() < TOLERANCE
        assert (bound[0] < line).all()
        assert (line < bound[1]).all()
        assert (bound[2] < sample).all()
        assert (sample < bound[3]).all()


def test_bounds_are_those_of_the_corners() -> None:
    grid, orbit = synthetic_grid(height=1000.0, ground_range=False)
    dem = dem_around(46.0, 10.0, hills((SIZE, SIZE), relief=400.0))
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(dem.rio.crs))
    radar = radar_model(grid, orbit)
    low, high = float(dem.min()), float(dem.max())
    fit, bound, corners = np.empty(FIT), np.empty(4), np.empty(4)
    assert fit_box(ground, radar, BOX, low, high, fit)
    fit_bounds(fit, bound)
    box_bounds(ground, radar, 0, SIZE - 1, 0, SIZE - 1, low, high, corners)
    assert np.abs(bound - corners).max() < SLACK


def test_a_box_that_is_too_wide_is_refused() -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    dem = dem_around(46.0, 10.0, hills((SIZE, SIZE)), posting=2000.0)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(dem.rio.crs))
    assert not fit_box(ground, radar_model(grid, orbit), BOX, 0.0, 2000.0, np.empty(FIT))
