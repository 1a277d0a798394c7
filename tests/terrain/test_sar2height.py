"""The published system: architecture, distance map, references, checkpoints."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from pathlib import Path

from torch import Tensor, nn

from sarheight.errors import OutputError
from sarheight.learning import (
    Channel,
    UNet,
)
from sarheight.terrain import (
    ASKUNet,
    HeightEstimator,
    LargeSelectiveKernel,
    TerrainSettings,
    distance_channel,
)
from sarheight.terrain.sar2height import height_loss

CHANNELS = (
    Channel("gamma0_vv", "1", "decibel", -10.0, 4.0),
    Channel("local_incidence", "degree", "none", 40.0, 15.0),
)


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


def shaken(model: nn.Module) -> nn.Module:
    """Give a network random weights everywhere, also where it begins with zeros."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=random))
    return model.eval()


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


def test_the_distance_map_is_euclidean_or_logarithmic() -> None:
    distance = torch.tensor([0.0, 100.0, 250.0, torch.inf])
    euclidean = distance_channel(distance, 100.0, "euclidean")
    torch.testing.assert_close(euclidean, torch.tensor([0.0, 1.0, 2.5, 100.0]))
    near = distance_channel(distance, 100.0, "logarithmic")
    expected = 1.0 / (1.0 + torch.log(torch.tensor([1.0, 2.0, 3.5])))
    torch.testing.assert_close(near, torch.cat([expected, torch.zeros(1)]))
    one, other = (
        shaken(HeightEstimator(CHANNELS, options={"width": 4, "depth": 2}, distance=form))
        for form in ("euclidean", "logarithmic")
    )
    assert not torch.equal(one(sample()).height, other(sample()).height)


@pytest.mark.parametrize("reference", ["mean", "coarse"])
def test_an_untrained_estimate_is_its_reference(reference: str) -> None:
    model = HeightEstimator(
        CHANNELS, network="unet", options={"width": 4, "depth": 2}, reference=reference
    ).eval()
    given = sample()
    expected = (
        given["known"].nanmean(dim=(1, 2, 3), keepdim=True).expand(2, 1, 32, 32)
        if reference == "mean"
        else given[reference]
    )
    torch.testing.assert_close(model(given).height, expected)


@pytest.mark.parametrize("reference", ["mean", "coarse"])
def test_estimates_do_not_depend_on_altitude(reference: str) -> None:
    model = shaken(
        HeightEstimator(
            CHANNELS,
            options={"width": 4, "depth": 2},
            reference=reference,
            uncertainty=True,
        )
    )
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
    options = {"width": 4, "depth": 2}
    for reference in ("mean", "coarse"):
        model = shaken(
            HeightEstimator(CHANNELS, options=options, reference=reference, uncertainty=True)
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
    options = {"width": 4, "depth": 2}
    one, other = (
        shaken(HeightEstimator(CHANNELS, options=options, uncertainty=True, scale_factor=factor))
        for factor in (1.0, 3.0)
    )
    other.load_state_dict(one.state_dict())
    first, second = one(sample()), other(sample())
    torch.testing.assert_close(second.height, first.height, rtol=0, atol=0)
    torch.testing.assert_close(second.scale, 3.0 * first.scale)


def test_mixed_precision_resolves_a_metre_of_the_coarse_dem() -> None:
    """bfloat16 has 8 bits: beside 1000 m it cannot tell 2 m apart."""
    model = shaken(
        HeightEstimator(
            CHANNELS,
            network="unet",
            options={"width": 4, "depth": 2},
            reference="coarse",
            output_std=10.0,
        )
    )
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
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        loss = (model(given).height - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.3 * errors[0]


def test_a_checkpoint_restores_the_same_estimator(tmp_path: Path) -> None:
    model = shaken(
        HeightEstimator(
            CHANNELS,
            options={"width": 4, "depth": 2, "selective_levels": [1]},
            reference="coarse",
            uncertainty=True,
            height_std=75.0,
            output_std=20.0,
            scale_factor=1.5,
        )
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
