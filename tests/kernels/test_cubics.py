"""Cubics of radar coordinates: fits to functions, and errors and bounds over boxes of cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyproj
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.cubics import (
    COUNT,
    FIT,
    NEGLIGIBLE,
    NODES,
    PROBES,
    collapse_row,
    deviation_bound,
    evaluate_fit,
    evaluate_row,
    fit_bounds,
    fit_box,
    fit_cubic,
)
from sarheight_kernels.models import BOUND_MARGIN, box_bounds, locate_cell

from sarheight.geometry.tables import ground_model, radar_model
from sarheight.ground_range import GroundRange
from tests.dems import dem_around, hills
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]
Function = Callable[[Floats, Floats, Floats], Floats]


def fitted(function: Function) -> tuple[Floats, int, float]:
    u, v, w = (axis.ravel() for axis in np.meshgrid(NODES, NODES, NODES, indexing="ij"))
    values = np.concatenate((function(u, v, w), function(*PROBES.T)))
    coefficients = np.empty(COUNT)
    degree, miss = fit_cubic(values, coefficients)
    return coefficients, degree, miss


def evaluated(coefficients: Floats, degree: int, u: float, heights: Floats) -> Floats:
    """Values along a row whose columns go from -1 to 1; heights are given from -1 to 1."""
    polynomial, result = np.empty(16), np.empty(heights.size)
    collapse_row(coefficients, u, polynomial)
    step = 2.0 / (heights.size - 1)
    metres = (1000.0 + 250.0 * heights).astype(np.float32)
    evaluate_row(polynomial, degree, -1.0, step, 1000.0, 1.0 / 250.0, metres, result)
    return result


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 6]))
def test_polynomials_are_fitted_by_as_few_terms_as_they_have(seed: int, degree: int) -> None:
    random = np.random.default_rng(seed)
    terms = random.uniform(-100.0, 100.0, (4, 4, 4))
    j, k = np.indices((4, 4))
    terms[:, j + k > degree] = 0.0

    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        return np.polynomial.polynomial.polyval3d(u, v, w, terms)

    coefficients, found, miss = fitted(function)
    assert found == degree
    assert miss < 1e-10
    np.testing.assert_allclose(coefficients, terms.ravel(), atol=1e-9)
    heights = np.float32(random.uniform(-1.0, 1.0, 33)).astype(np.float64)
    heights = ((1000.0 + 250.0 * heights).astype(np.float32).astype(np.float64) - 1000.0) / 250.0
    columns = np.linspace(-1.0, 1.0, 33)
    np.testing.assert_allclose(
        evaluated(coefficients, found, 0.3, heights),
        function(np.full(33, 0.3), columns, heights),
        atol=1e-9,
    )


@pytest.mark.parametrize(("size", "degree"), [(0.0, 2), (1e-3, 3), (1.0, 6)])
def test_dropped_terms_are_negligible(size: float, degree: int) -> None:
    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        small = size * (v**3 + 1e-4 * v**2 * w**2)
        return 5.0 + u + v * w + 0.1 * NEGLIGIBLE * v**3 + small

    coefficients, found, miss = fitted(function)
    assert found == degree
    assert miss < NEGLIGIBLE
    heights = np.linspace(-1.0, 1.0, 21)
    exact = function(np.full(21, -0.7), heights, heights)
    assert np.abs(evaluated(coefficients, found, -0.7, heights) - exact).max() < 1.1 * NEGLIGIBLE


def test_an_error_at_a_probe_is_reported() -> None:
    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        return np.abs(u + v) + w

    _, _, miss = fitted(function)
    assert miss > 0.1


def test_nan_is_no_fit() -> None:
    _, _, miss = fitted(lambda u, v, w: np.where(u > 0.0, np.nan, u + v + w))
    assert np.isnan(miss)


def test_voids_stay_void() -> None:
    coefficients, degree, _ = fitted(lambda u, v, w: u + v + w)
    values = evaluated(coefficients, degree, 0.0, np.array([0.0, np.nan, 1.0]))
    assert np.isnan(values).tolist() == [False, True, False]


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_deviation_bound_holds(seed: int) -> None:
    random = np.random.default_rng(seed)
    coefficients, places = random.normal(size=64), random.uniform(-1.0, 1.0, (3, 200))
    values = np.polynomial.polynomial.polyval3d(*places, coefficients.reshape(4, 4, 4))
    assert np.abs(values - coefficients[0]).max() <= deviation_bound(coefficients)


SIZE = 96
BOX = (0, SIZE, 0, SIZE)
TOLERANCE = 5e-6


@pytest.mark.parametrize("records", [1, 2, 5])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_every_segment_of_the_sampling_is_fitted(records: int, interpolation: str) -> None:
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
    edges = 0.0, SIZE - 1.0, 0.0, SIZE - 1.0
    box_bounds(ground, radar, edges, low, high, corners)
    assert np.abs(bound - corners).max() < BOUND_MARGIN


def test_a_box_that_is_too_wide_is_refused() -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    dem = dem_around(46.0, 10.0, hills((SIZE, SIZE)), posting=2000.0)
    ground = ground_model(dem.x.values, dem.y.values, pyproj.CRS(dem.rio.crs))
    assert not fit_box(ground, radar_model(grid, orbit), BOX, 0.0, 2000.0, np.empty(FIT))
