"""The benchmarks of series and of the whole job, on small ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import product
from benchmarks._mountains.scenes import ALPS, data_file
from benchmarks.series import measure, measure_many, measure_means

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.mark.slow
def test_a_product_becomes_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        data_file(ALPS)
    except FileNotFoundError:
        pytest.skip("the real annotation is not there")
    product.make_product(tmp_path, None, 0.02)
    product.make_dem(tmp_path, None, 0.02)
    product.work(tmp_path)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["written"] >= found["least_written"]
    assert {"open", "statistics", "reconstruct and write"} < set(found["stages"])
    assert (tmp_path / "layers" / "layers_gamma0_vv.tif").exists()
