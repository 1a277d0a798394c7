"""Training: the loss, calibration, and runs that are reproducible and resumed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

import xarray as xr
from torch.utils.data import DataLoader

from sarheight import learning
from sarheight.learning import Channel, Part, split_bands
from sarheight.terrain import (
    HeightEstimate,
    HeightEstimator,
    TerrainPatches,
    TerrainSettings,
    evaluate_terrain,
    simulate_scene,
    terrain_task,
)
from sarheight.terrain.sar2height import height_loss
from sarheight.terrain.training import measure_scale_factor
from tests.mountains import look, mountain, raster

SETTINGS = TerrainSettings(
    channels=("gamma0_posterior", "local_incidence"),
    network="ask_unet",
    options={"width": 4, "depth": 2},
    size=16,
    stride=8,
    known_count=(2, 6),
    batch=8,
    epochs=3,
    rate=3e-3,
    precision="32-true",
)


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate_scene(raster(mountain(48, 72)), *look(), seed=5)


def halves(scene: xr.Dataset) -> tuple[list[Part], list[Part]]:
    bands = split_bands(scene, {"training": 0.6, "validation": 0.4}, gap=120.0)
    return [bands["training"]], [bands["validation"]]


def train(scene: xr.Dataset, folder: Path, settings: TerrainSettings = SETTINGS) -> HeightEstimator:
    training, validation = halves(scene)
    prepared = terrain_task([scene], training, validation, settings)
    return learning.train(*prepared, folder, accelerator="cpu", progress=False).network


def curve(folder: Path, name: str = "validation_rmse") -> list[tuple[int, float]]:
    with (folder / "curves" / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(name)]
    return [(int(row["epoch"]), float(row[name])) for row in rows]


def test_the_loss_is_over_cells_with_true_heights() -> None:
    height = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]], requires_grad=True)
    truth = torch.tensor([[[[12.0, torch.nan], [30.0, 34.0]]]])
    estimate = HeightEstimate(height, None)
    assert float(height_loss(estimate, truth, 2.0).detach()) == pytest.approx((1 + 0 + 9) / 3)
    height_loss(estimate, truth, 2.0).backward()
    assert height.grad is not None
    assert height.grad[0, 0, 0, 1] == 0.0
    nothing = height_loss(estimate, torch.full_like(truth, torch.nan), 2.0)
    assert float(nothing.detach()) == 0.0


def test_the_best_scale_is_the_mean_absolute_error() -> None:
    random = torch.Generator().manual_seed(0)
    truth = 5.0 * torch.randn(1, 1, 50, 50, generator=random)
    height = torch.zeros_like(truth)

    def loss(scale: float) -> float:
        estimate = HeightEstimate(height, torch.full_like(truth, scale))
        return float(height_loss(estimate, truth, 10.0))

    best = float(truth.abs().mean())
    assert loss(best) < loss(0.9 * best)
    assert loss(best) < loss(1.1 * best)


def test_the_scale_does_not_move_the_heights() -> None:
    height = torch.zeros(1, 1, 4, 4, requires_grad=True)
    truth = torch.ones(1, 1, 4, 4)
    gradients = []
    for scale in (None, torch.full((1, 1, 4, 4), 0.1)):
        height.grad = None
        height_loss(HeightEstimate(height, scale), truth, 1.0).backward()
        assert height.grad is not None
        gradients.append(height.grad.clone())
    torch.testing.assert_close(*gradients)


def test_training_reduces_the_loss_and_writes_model_and_curves(
    scene: xr.Dataset, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=8, reference="mean", rate=1e-2)
    model = train(scene, tmp_path / "run", settings)
    losses = [loss for _, loss in curve(tmp_path / "run", "training_loss")]
    assert losses[-1] < losses[0] - 0.3
    errors = [error for _, error in curve(tmp_path / "run")]
    assert len(errors) == 8
    assert (tmp_path / "run" / "settings.json").exists()
    again = HeightEstimator.from_pretrained(tmp_path / "run" / "model")
    assert [channel.name for channel in again.channels] == list(settings.channels)
    for mine, other in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    assert card["training"]["validation_rmse"] == pytest.approx(min(errors), rel=1e-5)


def test_a_run_is_reproducible(scene: xr.Dataset, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    first, second = (train(scene, tmp_path / name, settings) for name in ("a", "b"))
    for mine, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    other_seed = train(scene, tmp_path / "c", replace(settings, seed=1))
    assert any(
        not torch.equal(mine, other)
        for mine, other in zip(first.parameters(), other_seed.parameters(), strict=True)
    )


def test_a_scene_may_be_for_training_only(scene: xr.Dataset) -> None:
    training, validation = halves(scene)
    task, patches, held_out = terrain_task(
        [scene, scene], [*training, *training], [*validation, None], SETTINGS
    )
    assert {number for number, _, _ in patches.windows} == {0, 1}
    assert {number for number, _, _ in held_out.windows} == {0}
    assert isinstance(task.network, HeightEstimator)


def test_the_scale_factor_calibrates_intervals() -> None:
    random = np.random.default_rng(0)
    shape = (1, 32, 32)
    truth = random.laplace(0.0, 30.0, size=(6, *shape)).astype(np.float32)
    surface = np.zeros(shape, dtype=np.float32)
    patches = [
        {
            "image": np.ones(shape, dtype=np.float32),
            "known": surface,
            "distance": surface,
            "coarse": surface,
            "truth": each,
        }
        for each in truth
    ]
    channel = Channel("gamma0", "1", "none")
    model = HeightEstimator(
        [channel],
        network="unet",
        options={"width": 4, "depth": 2},
        reference="coarse",
        uncertainty=True,
        scale_factor=2.0,
    ).eval()
    claimed = model({name: torch.from_numpy(v[None]) for name, v in patches[0].items()}).scale
    assert claimed is not None
    expected = 30.0 / float(claimed.detach().mean())
    # The truth is what the estimate claims, but for one factor.
    assert measure_scale_factor(model, DataLoader(patches, 6)) == pytest.approx(expected, rel=0.05)


def test_a_trained_network_is_calibrated_on_the_validation_part(
    scene: xr.Dataset, tmp_path: Path
) -> None:
    model = train(scene, tmp_path / "run", replace(SETTINGS, epochs=1))
    _, validation = halves(scene)
    patches = TerrainPatches(
        [scene], SETTINGS.channels, within=validation, size=16, known_count=SETTINGS.known_count
    )
    assert model.scale_factor != 1.0
    assert measure_scale_factor(model, DataLoader(patches, 8)) == pytest.approx(1.0, abs=1e-4)


def test_missing_values_do_not_affect_training(scene: xr.Dataset, tmp_path: Path) -> None:
    holes = scene.copy(deep=True)
    holes["height"][10:20, 10:20] = np.nan
    holes["gamma0_posterior"][5:15, 5:15] = np.nan
    model = train(holes, tmp_path / "run", replace(SETTINGS, epochs=1))
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_estimates_are_measured_against_the_truth(scene: xr.Dataset) -> None:
    """An untrained network gives the coarse heights, here 3 m too high."""
    high = scene.assign(coarse_height=scene["height"] + np.float32(3.0))
    model = HeightEstimator(
        [Channel("gamma0_posterior", "1", "decibel")], options=SETTINGS.options, reference="coarse"
    ).eval()
    settings = replace(SETTINGS, channels=("gamma0_posterior",))
    errors = evaluate_terrain(model, [high], [Part.whole(high)], settings)
    for name in ("network", "coarse"):
        for found in errors[name].values():
            assert found.rmse == pytest.approx(3.0, rel=1e-3)
            assert found.bias == pytest.approx(3.0, rel=1e-3)
        assert errors[name]["all"].count > errors[name]["layover"].count > 0
