"""The published system: architecture, references, checkpoints, and its training."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

import xarray as xr
from torch import Tensor
from torch.utils.data import DataLoader

from sarheight import learning
from sarheight.errors import OutputError
from sarheight.learning import Channel, Part, UNet, split_bands
from sarheight.terrain import (
    ASKUNet,
    HeightEstimate,
    HeightEstimator,
    LargeSelectiveKernel,
    TerrainPatches,
    TerrainSettings,
    distance_channel,
    evaluate_terrain,
    simulate_scene,
    terrain_task,
)
from sarheight.terrain.sar2height import height_loss
from sarheight.terrain.training import measure_scale_factor
from tests.mountains import look, mountain, raster
from tests.networks import assert_same_weights, curve, shaken

CHANNELS = (
    Channel("gamma0_vv", "1", "decibel", -10.0, 4.0),
    Channel("local_incidence", "degree", "none", 40.0, 15.0),
)


SMALL = {"width": 4, "depth": 2}


def sample(size: int = 32, known: int = 5, seed: int = 0) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    image = torch.stack(
        [
            torch.rand(2, size, size, generator=random) + 0.01,
            60.0 * torch.rand(2, size, size, generator=random),
        ],
        dim=1,
    )
    prior = torch.full((2, 1, size, size), torch.nan)
    for patch in range(2):
        place = torch.randperm(size * size, generator=random)[:known]
        heights = 900.0 + 100.0 * torch.rand(known, generator=random)
        prior[patch].view(-1)[place] = heights
    return {
        "image": image,
        "known": prior,
        "distance": 500.0 * torch.rand(2, 1, size, size, generator=random),
        "coarse": 900.0 + 100.0 * torch.rand(2, 1, size, size, generator=random),
    }


def test_selective_kernels_normalised_by_image_do_not_diverge() -> None:
    torch.manual_seed(0)
    growth = {}
    for normalisation in ("image", "batch"):
        network = ASKUNet(
            2, 1, width=4, depth=3, selective_levels=(0, 1, 2, 3), normalisation=normalisation
        )
        model = shaken(network)
        usual = torch.randn(1, 2, 32, 32)
        sizes = [float(model(factor * usual).detach().abs().max()) for factor in (1.0, 1e5)]
        growth[normalisation] = sizes[1] / sizes[0]
    # A product of four selections grows much faster than what comes in.
    assert growth["image"] < 1e6 < growth["batch"]
    with pytest.raises(ValueError, match="normalisation 'layer'"):
        ASKUNet(2, 1, normalisation="layer")  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [UNet, ASKUNet])
def test_a_network_preserves_rows_and_columns(network: type[UNet]) -> None:
    model = network(3, 2, width=4, depth=3).eval()
    assert model(torch.rand(2, 3, 24, 40)).shape == (2, 2, 24, 40)
    with pytest.raises(ValueError, match="expected multiples of 8"):
        model(torch.rand(2, 3, 24, 44))


def test_selective_kernels_are_at_the_given_levels() -> None:
    def places(**options: object) -> list[int]:
        model = ASKUNet(1, 1, width=4, depth=3, **options)  # type: ignore[arg-type]
        return [
            level
            for level, stage in enumerate(model.down)
            if any(isinstance(part, LargeSelectiveKernel) for part in stage.modules())
        ]

    assert places() == [2, 3]
    assert places(selective_levels=(0, 3)) == [0, 3]
    assert places(selective_levels=()) == []
    with pytest.raises(ValueError, match=r"selective_levels \[4\]"):
        ASKUNet(1, 1, depth=3, selective_levels=(4,))


def test_the_published_network_has_the_shapes_of_its_figure() -> None:
    settings = TerrainSettings.published()
    model = HeightEstimator(
        CHANNELS[:1], network=settings.network, options=settings.options, distance=settings.distance
    ).eval()
    seen: list[tuple[int, ...]] = []
    network = model.network
    for stage in (*network.down, *reversed(network.up), network.head):
        stage.register_forward_hook(lambda _, __, output: seen.append(tuple(output.shape[1:])))
    given = {name: values[:1] for name, values in sample(size=128).items()}
    estimate = model(given | {"image": given["image"][:, :1]})
    widths = [(32, 128), (64, 64), (128, 32), (256, 16), (512, 8)]
    expected = [(count, side, side) for count, side in [*widths, *widths[-2::-1]]]
    assert seen == [*expected, (1, 128, 128)]
    assert network.down[0][0][0].in_channels == 4
    assert (estimate.height.shape, estimate.scale) == ((1, 1, 128, 128), None)


def seeded_estimator(**options: Any) -> HeightEstimator:  # noqa: ANN401
    torch.manual_seed(0)
    return HeightEstimator(CHANNELS, options=SMALL, **options)


def test_the_distance_map_is_euclidean_or_logarithmic() -> None:
    distance = torch.tensor([0.0, 100.0, 250.0, torch.inf])
    euclidean = distance_channel(distance, 100.0, "euclidean")
    torch.testing.assert_close(euclidean, torch.tensor([0.0, 1.0, 2.5, 100.0]))
    near = distance_channel(distance, 100.0, "logarithmic")
    expected = 1.0 / (1.0 + torch.log(torch.tensor([1.0, 2.0, 3.5])))
    torch.testing.assert_close(near, torch.cat([expected, torch.zeros(1)]))
    one, other = (
        shaken(seeded_estimator(distance=form))(sample()).height
        for form in ("euclidean", "logarithmic")
    )
    assert not torch.equal(one, other)


@pytest.mark.parametrize("reference", ["mean", "coarse"])
def test_an_untrained_estimate_is_its_reference(reference: str) -> None:
    model = HeightEstimator(CHANNELS, network="unet", options=SMALL, reference=reference).eval()
    given = sample()
    mean = given["known"].nanmean(dim=(1, 2, 3), keepdim=True).expand(2, 1, 32, 32)
    expected = mean if reference == "mean" else given["coarse"]
    torch.testing.assert_close(model(given).height, expected)


@pytest.mark.parametrize("reference", ["mean", "coarse"])
def test_estimates_do_not_depend_on_altitude(reference: str) -> None:
    model = shaken(HeightEstimator(CHANNELS, options=SMALL, reference=reference, uncertainty=True))
    low = sample()
    high = low | {name: low[name] + 2048.0 for name in ("known", "coarse")}
    for known in (low, high):
        assert torch.isfinite(model(known).height).all()
    torch.testing.assert_close(model(high).height, model(low).height + 2048.0, atol=2e-2, rtol=0.0)
    torch.testing.assert_close(model(high).scale, model(low).scale, atol=1e-2, rtol=1e-3)


def test_without_known_elevations_heights_hang_on_the_coarse_dem_or_are_unknown() -> None:
    given = sample(known=0)
    given["distance"] = torch.full_like(given["distance"], torch.inf)
    given["image"][:] = torch.nan
    for reference in ("mean", "coarse"):
        model = shaken(
            HeightEstimator(CHANNELS, options=SMALL, reference=reference, uncertainty=True)
        )
        estimate = model(given)
        assert estimate.scale is not None
        for values in estimate:
            assert bool(torch.isfinite(values).all()) is (reference == "coarse")
        loss = height_loss(estimate, given["coarse"], 10.0)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(torch.isfinite(each.grad).all() for each in model.parameters())


def test_the_scale_factor_multiplies_scales_and_not_heights() -> None:
    first, second = (
        shaken(seeded_estimator(uncertainty=True, scale_factor=factor))(sample())
        for factor in (1.0, 3.0)
    )
    torch.testing.assert_close(second.height, first.height, rtol=0, atol=0)
    torch.testing.assert_close(second.scale, 3.0 * first.scale)


def test_mixed_precision_resolves_a_metre_of_the_coarse_dem() -> None:
    """bfloat16 has 8 bits: beside 1000 m it cannot tell 2 m apart."""
    model = shaken(seeded_estimator(network="unet", reference="coarse", output_std=10.0))
    given = sample()
    given["coarse"] = 900.0 + 60.0 * torch.arange(32.0).expand(2, 1, 32, 32)
    bumpy = given["coarse"].clone()
    bumpy[:, :, 16, 16] += 1.0
    seen: list[Tensor] = []
    model.network.register_forward_pre_hook(lambda _, given: seen.append(given[0].bfloat16()))
    with torch.autocast("cpu", torch.bfloat16):
        model(given | {"coarse": bumpy})
        model(given)
    change = (seen[0].float() - seen[1].float())[:, :, 16, 16] * model.output_std
    # Of the channels that differ one has the bump in full, but for a mean over its surroundings.
    assert float(change.abs().max(dim=1).values.min()) == pytest.approx(1.0, abs=0.1)


def test_a_network_can_learn_a_patch() -> None:
    torch.manual_seed(0)
    model = HeightEstimator(
        CHANNELS, options={"width": 8, "depth": 2}, reference="coarse", height_std=50.0
    )
    given = sample()
    # The truth hangs on the image: a bright pixel lies 50 m above the surface.
    truth = given["coarse"] + 50.0 * given["image"][:, :1]
    optimiser = torch.optim.Adam(model.parameters(), 6e-3)
    errors = []
    for _ in range(40):
        loss = (model(given).height - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.3 * errors[0]


def test_a_checkpoint_restores_the_same_estimator(tmp_path: Path) -> None:
    options = {**SMALL, "selective_levels": [1]}
    numbers = {"height_std": 75.0, "output_std": 20.0, "scale_factor": 1.5}
    model = shaken(
        HeightEstimator(CHANNELS, options=options, reference="coarse", uncertainty=True, **numbers)
    )
    folder = model.save_pretrained(tmp_path / "heights", card={"licence": "Apache-2.0"})
    again = HeightEstimator.from_pretrained(folder)
    assert again.channels == CHANNELS
    for mine, other in zip(model(sample()), again(sample()), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert json.loads((folder / "config.json").read_text())["card"]["licence"] == "Apache-2.0"
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1, "who may read the configuration may read the weights"
    with pytest.raises(OutputError, match="exists already"):
        model.save_pretrained(folder)
    model.save_pretrained(folder, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["heights"]


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


def test_the_loss_is_over_cells_with_true_heights() -> None:
    height = torch.tensor([[[[10.0, 20.0], [30.0, 40.0]]]], requires_grad=True)
    truth = torch.tensor([[[[12.0, torch.nan], [30.0, 34.0]]]])
    loss = height_loss(HeightEstimate(height, None), truth, 2.0)
    assert float(loss.detach()) == pytest.approx((1 + 0 + 9) / 3)
    loss.backward()
    assert height.grad is not None
    assert height.grad[0, 0, 0, 1] == 0.0
    nothing = height_loss(HeightEstimate(height, None), torch.full_like(truth, torch.nan), 2.0)
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
    model = train(scene, tmp_path, settings)
    losses, errors = curve(tmp_path, "training_loss"), curve(tmp_path)
    assert losses[-1] < losses[0] - 0.3
    assert len(errors) == 8
    assert (tmp_path / "settings.json").exists()
    again = HeightEstimator.from_pretrained(tmp_path / "model")
    assert [channel.name for channel in again.channels] == list(settings.channels)
    assert_same_weights(model, again)
    card = json.loads((tmp_path / "model" / "config.json").read_text())["card"]
    assert card["training"]["validation_rmse"] == pytest.approx(min(errors), rel=1e-5)


def test_a_run_is_reproducible_and_calibrated_on_the_validation_part(
    scene: xr.Dataset, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=1)
    first, second = (train(scene, tmp_path / name, settings) for name in ("a", "b"))
    assert_same_weights(first, second)
    other = train(scene, tmp_path / "c", replace(settings, seed=1))
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(mine, its) for mine, its in pairs)
    patches = TerrainPatches(
        [scene], SETTINGS.channels, within=halves(scene)[1], size=16, known_count=(2, 6)
    )
    assert first.scale_factor != 1.0
    assert measure_scale_factor(first, DataLoader(patches, 8)) == pytest.approx(1.0, abs=1e-4)


def test_a_scene_may_be_for_training_only(scene: xr.Dataset) -> None:
    training, validation = halves(scene)
    task, patches, held_out = terrain_task(
        [scene, scene], [*training, *training], [*validation, None], SETTINGS
    )
    assert {number for number, _, _ in patches.windows} == {0, 1}
    assert {number for number, _, _ in held_out.windows} == {0}
    assert isinstance(task.network, HeightEstimator)


def test_the_scale_factor_calibrates_intervals() -> None:
    shape = (1, 32, 32)
    truth = np.random.default_rng(0).laplace(0.0, 30.0, size=(6, *shape)).astype(np.float32)
    surface = np.zeros(shape, dtype=np.float32)
    rest = dict.fromkeys(("known", "distance", "coarse"), surface) | {"image": surface + 1.0}
    patches = [{**rest, "truth": each} for each in truth]
    model = HeightEstimator(
        [Channel("gamma0", "1", "none")],
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
