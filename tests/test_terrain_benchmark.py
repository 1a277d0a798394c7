"""The report of the terrain benchmark: what it counts, and what it puts on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from benchmarks._figures import KEY
from benchmarks._terrain.errors import arrays_of, baselines, errors_of
from benchmarks._terrain.evidence import IMAGES, evidence
from benchmarks._terrain.report import figures_of, markdown
from benchmarks._terrain.rows import KNOWN, NETWORKS, ROWS, USUAL
from sarheight.learning import Part
from sarheight.terrain import simulate_scene
from tests.mountains import look, random_terrain, raster

if TYPE_CHECKING:
    import xarray as xr

torch.set_num_threads(1)

PART = Part((0, 130), (0, 140))
RMSE = {"unet_level": 120.0, "unet_plain": 100.0, "residual": 20.0}


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    made = simulate_scene(raster(random_terrain(1, 130, 140)), *look(), seed=1)
    made["gamma0_level"] = made["gamma0_geocoded"].mean() + 0.0 * made["gamma0_geocoded"]
    random = np.random.default_rng(0)
    made["gamma0_level"] *= random.gamma(4.0, 0.25, size=made["gamma0_level"].shape)
    return made


def error(rmse: float) -> dict[str, Any]:
    return {
        "rmse": {"all": rmse, "layover": 1.5 * rmse, "rest": 0.9 * rmse},
        "all": {"slope_rmse": 0.1 * rmse},
        "coverage": {"50": 0.5, "80": 0.81, "95": 0.95},
    }


def results(seeds: int = 3) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for row in NETWORKS:
        found[row] = {
            seed: {"here": {str(known): error(RMSE.get(row, 80.0) + seed) for known in KNOWN}}
            for seed in range(seeds)
        }
    for row in ("priors", "coarse"):
        found[row] = {0: {"here": {str(known): error(25.0) for known in KNOWN}}}
    return found


def test_the_report_has_every_row_and_the_figures_their_spread() -> None:
    told = {"here": {image: dict.fromkeys(("slope", "leak"), 0.5) for image in IMAGES}}
    figures = figures_of(results(), told)
    assert all(KEY.fullmatch(key) for key in figures)
    rmse = figures["terrain.here.residual.rmse"]
    assert rmse == (pytest.approx(21.0), pytest.approx(1.0))
    cut = figures["terrain.here.cut_residual"]
    assert isinstance(cut, tuple)
    assert cut[0] == pytest.approx(1.0 - 21.0 / 101.0, abs=0.002)
    assert figures["terrain.here.residual_vs_best_baseline"] == pytest.approx(1.0 - 21.0 / 25.0)
    assert figures["terrain.cut_residual.min"] == pytest.approx(cut[0])
    assert figures["terrain.residual.coverage_80"] == (pytest.approx(0.81), None)
    for names in told["here"].values():
        names.update(slope_layover=0.1, leak_layover=0.2)
    text = markdown(results(), told, {"options": {"width": 8}, "epochs": 12})
    assert all(label in text for label in ROWS.values())
    assert "21.0 ± 1.0" in text


def test_baselines_are_measured_as_the_estimates_are(scene: xr.Dataset) -> None:
    few, many = (baselines(scene, PART, known) for known in (4, 64))
    assert many["priors"]["rmse"]["all"] < few["priors"]["rmse"]["all"]
    assert many["coarse"]["rmse"]["all"] == few["coarse"]["rmse"]["all"]
    arrays = arrays_of(scene, PART, ("gamma0_geocoded",), USUAL)
    perfect = errors_of(arrays["truth"], arrays, scene)
    assert perfect["rmse"]["all"] == 0.0
    assert perfect["all"]["slope_rmse"] == 0.0
    shifted = errors_of(arrays["truth"] + 3.0, arrays, scene)
    assert shifted["rmse"]["all"] == pytest.approx(3.0, rel=1e-4)
    assert shifted["all"]["bias"] == pytest.approx(3.0, rel=1e-4)


def test_brightness_goes_with_slopes_and_noise_does_not(scene: xr.Dataset) -> None:
    told = evidence(scene)
    assert told["gamma0_geocoded"]["slope"] > 0.5
    assert abs(told["gamma0_level"]["slope"]) < 0.1
    flattened, kept = (
        told[f"gamma0_reallocated{suffix}"]["slope"] for suffix in ("", "_unflattened")
    )
    assert kept > flattened
