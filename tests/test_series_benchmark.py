"""The benchmarks of series and of the whole job, on small ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from benchmarks import product
from benchmarks._mountains.scenes import ALPS, data_file
from benchmarks.series import measure

if TYPE_CHECKING:
    from pathlib import Path

DECIBELS = 0.05


def test_a_date_of_a_series_is_as_one_done_alone() -> None:
    found = measure(150, 1)
    assert found["series_difference_99_9"] < DECIBELS
    assert found["series_cells_that_differ"] < 1e-3
    assert found["series_date"][0] > 0.0  # type: ignore[index]


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
