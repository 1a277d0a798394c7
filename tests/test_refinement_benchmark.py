"""The benchmark of refined heights: means of many dates, and its figures."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from benchmarks.refinement import figures_of
from tests.dems import hills
from tests.mountains import raster
from tests.worlds.mean_images import Expected, expected_image, mean_image
from tests.worlds.point_scatterers import observe
from tests.worlds.scattering_ground import Ground, draw_ground


@pytest.fixture(scope="module")
def ground() -> Ground:
    heights = hills((36, 36), relief=20.0, size=5.0, seed=1)
    return draw_ground(raster(heights).astype(np.float64), 0)


@pytest.fixture(scope="module")
def expected(ground: Ground) -> Expected:
    return expected_image(ground, 35.0, ascending=True)


def middle(image: xr.DataArray) -> np.ndarray:
    """Cut the part that the ground fills."""
    lines, samples = image.shape
    return np.asarray(image[lines // 3 : -lines // 3, samples // 3 : -samples // 3])


def test_the_mean_of_dates_is_that_of_point_scatterers(ground: Ground, expected: Expected) -> None:
    dates = [observe(ground, expected.grid, expected.orbit, k, scatterers=4) for k in range(6)]
    mean = np.mean([middle(each.scene.image) for each in dates])
    assert middle(mean_image(expected, 6, 0).image).mean() == pytest.approx(mean, rel=0.06)


def test_speckle_falls_with_the_number_of_dates(expected: Expected) -> None:
    clean = middle(mean_image(expected, 400, 1).image)
    for dates in (1, 16):
        scene = mean_image(expected, dates, 2)
        relative = middle(scene.image)[clean > 0.05] / clean[clean > 0.05]
        assert np.var(relative) == pytest.approx(1.0 / scene.grid.looks, rel=0.25)


def test_figures_compare_with_the_best_baseline() -> None:
    scores = {"rmse": 4.0, "rmse_layover": 5.0, "slope_rmse": 3.0}
    better = {name: 0.5 * value for name, value in scores.items()}
    worse = {name: 2.0 * value for name, value in scores.items()}
    found = {"bilinear": worse, "cubic": worse, "back_projection": scores}
    found["refine_1x2"] = {**better, "coverage_80": 0.7}
    found["network_1x2"] = {**better, "rmse": 1.0, "coverage_80": 0.8}
    found["error_0"] = {"rmse": 5.0, "best_baseline": 4.0, "coverage_80": 0.9}
    found["network_error_0"] = {"rmse": 3.0, "best_baseline": 4.0, "coverage_80": 0.8}
    figures = figures_of({("somewhere", "several"): found})
    assert figures["terrain.somewhere.several.refine_1x2.cut_vs_best_baseline"] == 0.5
    assert figures["terrain.median.several.refine_1x2.cut_vs_best_baseline_slopes"] == 0.5
    assert figures["terrain.harm.error_0.somewhere"] == pytest.approx(0.25)
    assert figures["terrain.coverage_80.error_0"] == 0.9
    assert figures["terrain.median.several.network_1x2.cut_vs_best_baseline"] == 0.75
    assert figures["terrain.harm.network_error_0.somewhere"] == pytest.approx(-0.25)
