"""The benchmarks of series and of the whole job, on small ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks._mountains.scenes import ALPS, data_file
from benchmarks._speed import product
from benchmarks._speed.series import measure, measure_many, measure_means
from sarheight.output import open_result

DECIBELS = 0.05


def test_a_date_of_a_series_is_as_one_done_alone() -> None:
    found = measure(150, 1)
    assert found["series_difference_99_9"] < DECIBELS
    assert found["series_cells_that_differ"] < 1e-3
    assert found["series_date"][0] > 0.0  # type: ignore[index]


def test_means_of_dates_refine_heights_better_than_single_dates() -> None:
    found = measure_means(75, 4)
    assert found["series_mean_cut"] > found["series_one_cut"]
    assert found["series_mean_looks"] == pytest.approx(4 * 4.4, rel=0.01)


@pytest.mark.slow
def test_a_stack_of_many_dates_survives_a_kill(tmp_path: Path) -> None:
    found = measure_many(tmp_path, 120, 4)
    assert found["series_many_resumed_is_same"] == 1.0
    assert 0.0 < found["series_many_peak"] < 2.0
    assert {path.name for path in tmp_path.iterdir()} == {"images"}


@pytest.fixture
def archive(tmp_path: Path) -> Callable[[float], Path]:
    """Write a product of a part of a scene, and its DEM."""

    def make(scale: float) -> Path:
        try:
            data_file(ALPS)
        except FileNotFoundError:
            pytest.skip("the real annotation is not there")
        product.make_product(tmp_path, None, scale)
        product.make_dem(tmp_path, None, scale)
        return tmp_path

    return make


@pytest.mark.slow
def test_a_product_becomes_layers(
    archive: Callable[[float], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = archive(0.02)
    product.work(folder, "2 GiB")
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["written"] >= found["least_written"]
    assert {"open", "statistics", "reconstruct and write"} < set(found["stages"])
    assert (folder / "layers" / "layers_gamma0_vv.tif").exists()


@pytest.mark.slow
def test_a_large_scene_keeps_the_limit_of_memory(archive: Callable[[float], Path]) -> None:
    folder = archive(0.25)
    found = product.measure_work(folder, "1.2 GiB")
    assert found["pixels"] > 50_000_000
    assert found["parts"] > 4
    assert found["peak"] < 1.2
    result = open_result(folder / "layers", chunks={})
    assert float(np.isfinite(result.gamma0[0]).mean()) > 0.2
    share = np.array(result.attrs["rcs_cells"]) / np.array(result.attrs["rcs_explained"])
    assert 0.9 < share[0] <= 1.0
