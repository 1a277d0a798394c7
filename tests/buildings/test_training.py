"""Training for building heights: losses, calibration, runs that learn and resume, the recipe."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

import xarray as xr
from safetensors.torch import load_file, save_file

from benchmarks.buildings import OURS
from sarheight import learning
from sarheight.buildings import (
    BuildingDistribution,
    BuildingHeightEstimator,
    BuildingSettings,
    BuildingTask,
    building_task,
)
from sarheight.buildings.distributions import HeightBins, distribution_loss
from sarheight.buildings.mbhr import regression_loss
from sarheight.buildings.resnet import ResNet50
from sarheight.buildings.training import LEAST_CELLS, calibrate
from sarheight.buildings.training import _width as width_of
from sarheight.learning import Channel, Part, packaged_model
from tests.cities import small_stack
from tests.networks import assert_same_weights, curve
from tests.worlds.city_images import CitySettings, simulated_city

BANDS = ("B04", "B08")
SETTINGS = BuildingSettings(
    options={"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}},
    optical_bands=BANDS,
    months=3,
    kept_months=2,
    size=16,
    stride=8,
    batch=8,
    epochs=3,
    rate=1e-2,
    precision="32-true",
)
TOP, BOTTOM = [Part((0, 24), (0, 32))], [Part((24, 40), (0, 32))]


@pytest.fixture(scope="module")
def stack() -> xr.Dataset:
    """A town whose buildings shine in radar by their height, and are grey from above."""
    stack = small_stack(40, 32, months=3, optical_bands=BANDS)
    random = np.random.default_rng(0)
    height = np.zeros((40, 32), dtype=np.float32)
    for row in range(2, 38, 6):
        for column in range(2, 30, 6):
            height[row : row + 3, column : column + 3] = random.choice([4.0, 8.0, 16.0])
    stack["height"].values[:] = height
    stack["footprint"].values[:] = stack["height"].values > 0.0
    stack["sar"].values[:] *= 1.0 + height
    stack["optical"].values[:] *= np.where(height > 0.0, 1.0, 3.0).astype(np.float32)
    return stack


def train(
    stack: xr.Dataset, folder: Path, settings: BuildingSettings = SETTINGS
) -> BuildingHeightEstimator:
    prepared = building_task([stack], [TOP], [BOTTOM], settings)
    return learning.train(*prepared, folder, accelerator="cpu", progress=False).network


# --- losses --------------------------------------------------------------------------------------


def test_unknown_cells_are_ignored() -> None:
    truth = torch.tensor([3.0, torch.nan, 0.0, 0.0]).view(1, 1, 2, 2)
    found = torch.tensor([2.0, 50.0, 0.0, 0.0]).view(1, 1, 2, 2).requires_grad_()
    loss = regression_loss(found, truth, (1.0, 0.0))
    assert float(loss.detach()) == pytest.approx(1.0 / 3.0)
    loss.backward()
    assert found.grad is not None
    assert found.grad[0, 0, 0, 1] == 0.0
    nothing = torch.full_like(truth, torch.nan)
    assert float(regression_loss(found, nothing, (0.2, 0.8)).detach()) == 0.0
    bins = HeightBins(4)
    logits = BuildingDistribution(truth * 0, truth * 0, torch.zeros(1, 4, 2, 2))
    logits = BuildingDistribution(*(torch.nan_to_num(each) for each in logits[:3]))
    assert float(distribution_loss(logits, found.detach(), bins, nothing, nothing, 1.0)) == 0.0


def test_the_loss_of_a_distribution_is_least_at_the_truth() -> None:
    bins = HeightBins(4, 2.0, 16.0)
    truth = torch.tensor([4.0, 8.0, 0.0, 0.0]).view(1, 1, 2, 2)
    footprint = torch.tensor([1.0, 0.5, 0.0, 0.0]).view(1, 1, 2, 2)

    def loss(built: float, heights: torch.Tensor, share: torch.Tensor) -> float:
        sign = torch.where(truth > 0.0, built, -built)
        found = BuildingDistribution(sign, torch.logit(share, eps=1e-3), heights)
        mean = torch.sigmoid(sign) * bins.mean(torch.softmax(heights, dim=1))
        return float(distribution_loss(found, mean, bins, truth, footprint, 5.0))

    right = 20.0 * bins.soft_labels(truth.flatten()).T.reshape(1, 4, 2, 2)
    best = loss(6.0, right, footprint)
    assert best < loss(-6.0, right, footprint)
    assert best < loss(6.0, right.flip(1), footprint)
    assert best < loss(6.0, right, 1.0 - footprint)
    assert math.isfinite(best)


# --- settings ------------------------------------------------------------------------------------


def test_settings_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    published = BuildingSettings.published("released", optical_bands=(), seed=3)
    assert (published.network, published.months, published.seed) == ("mbhr", 1, 3)
    for settings in (SETTINGS, published):
        settings.write(path)
        assert BuildingSettings.read(path) == settings


# --- runs ----------------------------------------------------------------------------------------


def test_training_learns_and_leaves_a_calibrated_model(stack: xr.Dataset, tmp_path: Path) -> None:
    model = train(stack, tmp_path / "run", replace(SETTINGS, epochs=14))
    errors = curve(tmp_path / "run")
    known = stack["height"].values[24:]
    # Better than the mean of all heights, which is the best without looking.
    assert min(errors) < 0.8 * float(known.std())
    assert not model.training
    card = json.loads((tmp_path / "run" / "model" / "config.json").read_text())["card"]
    assert card["training"]["validation_rmse"] == pytest.approx(min(errors), rel=1e-5)
    assert abs(card["training"]["coverage_80"] - 0.8) <= abs(
        card["training"]["coverage_80_before"] - 0.8
    )
    again = BuildingHeightEstimator.from_pretrained(tmp_path / "run" / "model")
    torch.testing.assert_close(again.network.temperatures, model.network.temperatures)
    torch.testing.assert_close(again.network.sigma_factors, model.network.sigma_factors)
    assert model.network.novelty.is_known
    torch.testing.assert_close(again.network.novelty.limit, model.network.novelty.limit)


def test_a_resumed_run_equals_an_uninterrupted_one(
    stack: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(stack, tmp_path / "whole")
    stopped = tmp_path / "stopped"
    step = BuildingTask.training_step

    def failing(task: BuildingTask, sample: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if task.current_epoch == 2:
            raise InterruptedError
        return step(task, sample, index)

    with monkeypatch.context() as patch:
        patch.setattr(BuildingTask, "training_step", failing)
        with pytest.raises(InterruptedError):
            train(stack, stopped)
    again = train(stack, stopped)
    assert curve(stopped)[-1] == pytest.approx(curve(tmp_path / "whole")[-1], rel=1e-6)
    assert_same_weights(whole, again)


def test_the_published_network_trains_on_single_months(stack: xr.Dataset, tmp_path: Path) -> None:
    """From public weights, and with the statistics of all batches alike."""
    torch.manual_seed(0)
    save_file(ResNet50(3, layers=3).state_dict(), tmp_path / "public.safetensors")
    settings = BuildingSettings.published(
        "released",
        weights={"sar": str(tmp_path / "public.safetensors")},
        sar_bands=("vv_ascending", "vh_ascending", "vv_descending"),
        optical_bands=(),
        size=16,
        stride=8,
        batch=2,
        epochs=1,
        rate=1e-9,
        precision="32-true",
    )
    seen: dict[object, list[torch.Tensor]] = {}

    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _output: object) -> None:
        counting = isinstance(module, torch.nn.BatchNorm2d) and module.momentum is None
        if counting and module.training:
            variance = inputs[0].detach().var(dim=(0, 2, 3))
            seen.setdefault(module, []).append(variance)

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        model = train(stack, tmp_path / "run", settings)
    finally:
        hook.remove()
    # At that rate nothing moves: what it began with is still there.
    began = load_file(tmp_path / "public.safetensors")["layer3.0.conv2.weight"]
    found = model.network.network.encoders["sar"].get_submodule("layer3.0.conv2").weight
    torch.testing.assert_close(found, began, atol=1e-6, rtol=0)
    assert list(model.channels) == ["sar"]
    with torch.inference_mode():
        estimate = model({"sar": torch.rand(1, 1, 3, 16, 16)})
    assert (estimate.footprint, estimate.sigma) == (None, None)
    assert len(curve(tmp_path / "run", "training_loss")) == 1
    # Every batch counts alike, the one of the last step no more than the first.
    layers = [each for each in model.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    assert len(layers) > 40
    for layer in layers:
        assert len(seen[layer]) == int(layer.num_batches_tracked) == 3
        mean = torch.stack(seen[layer]).mean(dim=0)
        torch.testing.assert_close(layer.running_var, mean, rtol=1e-4, atol=1e-7)


# --- calibration ---------------------------------------------------------------------------------


class Given(torch.nn.Module):
    """A network that returns what it is shown."""

    stride = 1

    def forward(self, images: dict[str, torch.Tensor], *_: object) -> torch.Tensor:
        return images["sar"][:, 0]


def oracle() -> BuildingHeightEstimator:
    """Make an estimator whose logits are its input: of built, of the share, of the heights."""
    count = 2 + SETTINGS.options["bins"]["count"]
    channels = {"sar": [Channel(str(number), "1") for number in range(count)]}
    model = BuildingHeightEstimator(channels, options=SETTINGS.options).eval()
    model.network.network = Given()
    return model


@pytest.mark.parametrize("sharp", [0.5, 3.0])
def test_calibration_recovers_the_temperature(sharp: float) -> None:
    random = torch.Generator().manual_seed(0)
    model = oracle()
    logits = torch.randn(4, 10, 64, 64, generator=random)
    there = torch.rand(4, 1, 64, 64, generator=random) < torch.sigmoid(logits[:, :1])
    chances = torch.softmax(logits[:, 2:], dim=1).movedim(1, -1).reshape(-1, 8)
    which = torch.multinomial(chances, 1, generator=random).view(4, 1, 64, 64)
    part = torch.rand(there.shape, generator=random)
    low, high = model.network.bins.edges[which], model.network.bins.edges[which + 1]
    truth = torch.where(there, low + part * (high - low), 0.0)
    sample = {"sar": sharp * logits[:, None], "height": truth}
    before = model(sample)
    figures = calibrate(model, [sample])
    assert float(model.network.temperatures[0]) == pytest.approx(sharp, rel=0.1)
    # All buildings together have the temperature; each class has its own, by which 80 % hold.
    heights = (sharp * logits[:, 2:]).movedim(1, -1)[there[:, 0]]
    common = width_of(model.network.bins, heights, truth[there][:, None])
    assert math.exp(common) == pytest.approx(sharp, rel=0.1)
    kinds = model.network.height_class(sharp * logits[:, 2:])[there]
    widths = model.network.temperatures[1:][kinds][:, None]
    chances = torch.softmax(heights / widths, dim=1)
    lower, upper = (
        model.network.bins.quantile(chances, torch.full((len(kinds), 1), level))
        for level in (0.1, 0.9)
    )
    held = ((truth[there][:, None] >= lower) & (truth[there][:, None] <= upper))[:, 0]
    many = torch.bincount(kinds, minlength=6) >= LEAST_CELLS
    assert int(many.sum()) >= 2
    for kind in torch.nonzero(many)[:, 0]:
        assert float(held[kinds == kind].float().mean()) == pytest.approx(0.8, abs=0.01)
    assert figures["coverage_80"] == pytest.approx(0.8, abs=0.01)
    after = model(sample)
    torch.testing.assert_close(after.height, before.height)
    # The mean square of sigma is that of the error, in each class that has enough cells.
    classes = torch.bucketize(after.height, model.network.class_edges).flatten()
    cells = torch.bincount(classes, minlength=6)
    squares = [
        torch.bincount(classes, each.double().flatten() ** 2, 6)
        for each in (after.sigma, after.height - truth)
    ]
    enough = cells >= LEAST_CELLS
    assert int(enough.sum()) >= 2
    torch.testing.assert_close(squares[0][enough], squares[1][enough], rtol=1e-3, atol=0.0)
    # What is calibrated already stays as it is.
    factors = model.network.sigma_factors.clone()
    calibrate(model, [sample])
    torch.testing.assert_close(model.network.sigma_factors, factors, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="iterated twice"):
        calibrate(model, (each for each in [sample]))


def test_without_buildings_nothing_is_calibrated() -> None:
    model = oracle()
    empty = {"sar": torch.zeros(1, 1, 10, 4, 4), "height": torch.zeros(1, 1, 4, 4)}
    assert calibrate(model, [empty]) == {}
    assert calibrate(model, []) == {}
    assert (model.network.temperatures == 1.0).all()


def test_the_initial_output_is_the_distribution_of_the_training_heights() -> None:
    torch.manual_seed(0)
    model = BuildingHeightEstimator({"sar": [Channel("vv", "1")]}, options=SETTINGS.options).eval()
    heights = torch.tensor([0.0, 0.0, 0.0, 9.0, 15.0])
    model.distribution_network.initialise(heights, torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5]))
    estimate = model({"sar": torch.rand(1, 2, 1, 16, 16)})
    torch.testing.assert_close(
        estimate.height, torch.full((1, 1, 16, 16), float(heights.mean())), rtol=0.01, atol=0.01
    )
    torch.testing.assert_close(estimate.footprint, torch.full((1, 1, 16, 16), 0.3))


"""Of a town of 80 x 32 cells: four patches to learn from, and one."""


# --- the recipe of the included network ----------------------------------------------------------


def test_the_included_network_was_made_with_these_settings() -> None:
    described = json.loads((packaged_model("buildings") / "config.json").read_text("utf-8"))
    recorded, ours = described["card"]["training"]["settings"], asdict(OURS)
    varied = {"seed", "epochs", "patience", "plateau", "stride", "workers"}
    for name in (recorded.keys() & ours.keys()) - varied:
        found = list(ours[name]) if isinstance(ours[name], tuple) else ours[name]
        assert found == recorded[name], name
    assert described["configuration"]["options"] == OURS.options


@pytest.mark.slow
def test_the_recipe_gives_the_same_weights_each_time(tmp_path: Path) -> None:
    world = replace(CitySettings.wide(), cells=64)
    cities = [simulated_city(world, seed=seed) for seed in (0, 1000)]
    here, there = ([[Part.whole(cities[0])], []], [[], [Part.whole(cities[1])]])
    settings = replace(OURS, epochs=1, patience=1, batch=4)
    found = []
    for number in range(2):
        prepared = building_task(cities, here, there, settings)
        run = tmp_path / f"run_{number}"
        found.append(learning.train(*prepared, run, accelerator="cpu", progress=False).network)
    for name, value in found[0].state_dict().items():
        assert torch.equal(value, found[1].state_dict()[name]), name
    again = BuildingHeightEstimator.from_pretrained(tmp_path / "run_0" / "model")
    assert torch.equal(again.network.novelty.limit, found[0].network.novelty.limit)
