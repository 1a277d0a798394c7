"""MBHR-Net: its shapes, its three variants, its loss and settings."""

from __future__ import annotations

from typing import TypeVar

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from sarheight.buildings import BuildingHeightEstimator, BuildingSettings, MBHRNet
from sarheight.buildings.mbhr import VARIANTS, published, regression_loss
from sarheight.buildings.training import BuildingTask
from sarheight.learning import Channel

Module = TypeVar("Module", bound="torch.nn.Module")


def shaken(model: Module) -> Module:
    """Give a network random weights everywhere, also where it begins with zeros."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=random))
    return model.eval()


def test_mbhr_net_is_two_resnets_and_a_decoder() -> None:
    network = MBHRNet({"sar": 4, "optical": 5}).eval()
    encoders = [sum(v.numel() for v in each.parameters()) for each in network.encoders.values()]
    bare = 25_557_032 - 2048 * 1000 - 1000
    # One filter of 7 x 7 for each of the 64 features more for each channel more.
    assert encoders == [bare + 64 * 49, bare + 2 * 64 * 49]
    with torch.inference_mode():
        height = network({"sar": torch.randn(2, 4, 32, 64), "optical": torch.randn(2, 5, 32, 64)})
    assert height.shape == (2, 1, 32, 64)
    assert (height >= 0.0).all()


def test_the_released_network_adds_instead_of_joining() -> None:
    network = shaken(MBHRNet({"sar": 3, "optical": 3}, variant="released"))
    assert network.stride == 16
    images = {name: torch.randn(1, 3, 16, 16) for name in ("sar", "optical")}
    with torch.inference_mode():
        height = network(images)
        # Sums do not know in which order they were taken.
        first, second = network.encoders["sar"], network.encoders["optical"]
        network.encoders["sar"], network.encoders["optical"] = second, first
        swapped = network({"sar": images["optical"], "optical": images["sar"]})
    torch.testing.assert_close(height, swapped)


@pytest.mark.parametrize("variant", ["printed", "released", "ours"])
@pytest.mark.parametrize("encoders", [{"sar": 4}, {"optical": 5}])
def test_ablations_are_arguments(variant: str, encoders: dict[str, int]) -> None:
    (name, count), *_ = encoders.items()
    network = MBHRNet(encoders, variant=variant, skips=False).eval()
    with torch.inference_mode():
        assert network({name: torch.randn(1, count, 32, 32)}).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("skips", [True, False])
def test_fine_scales_matter_by_skips_alone(skips: bool) -> None:  # noqa: FBT001
    torch.manual_seed(0)
    network = shaken(MBHRNet({"sar": 2}, variant="released", skips=skips))
    image = {"sar": torch.randn(1, 2, 32, 32)}
    with torch.inference_mode():
        plain = network(image)
        network.encoders["sar"].register_forward_hook(
            lambda _module, _inputs, scales: [torch.zeros_like(scales[0]), *scales[1:]]
        )
        assert torch.equal(plain, network(image)) is not skips


@pytest.mark.parametrize("variant", ["printed", "released", "ours"])
def test_a_channel_that_was_zero_in_training_is_not_amplified(variant: str) -> None:
    """After a ReLU the variance of a channel can be zero: its first light must not outshine all."""
    network = MBHRNet({"sar": 2}, variant=variant).eval()
    for step in network.decoder:
        convolution, _, normalisation = step[1]
        torch.nn.init.zeros_(convolution.weight)
        torch.nn.init.ones_(convolution.bias)
        torch.nn.init.zeros_(normalisation.running_var)
        with torch.inference_mode():
            lit = step(torch.ones(1, convolution.in_channels, 2, 2))
        assert 1.0 < float(lit.max()) < 32.0


# --- where the authors' code differs from ours ---------------------------------------------------

AUTHORS = ("printed", "released")


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_authors_finest_skip_comes_before_normalisation(variant: str) -> None:
    torch.manual_seed(0)
    network = MBHRNet({"sar": 2}, variant=variant).eval()
    first = network.encoders["sar"].bn1
    # Behind this normalisation nothing is left of the image.
    torch.nn.init.zeros_(first.weight)
    torch.nn.init.zeros_(first.bias)
    torch.nn.init.constant_(network.head.bias, 100.0)
    with torch.inference_mode():
        one, other = (network({"sar": value * torch.ones(1, 2, 32, 32)}) for value in (1.0, 2.0))
        assert torch.equal(one, other) is (variant not in AUTHORS)
        plain = network.encoders["sar"](torch.ones(1, 2, 32, 32), plain=True)[0]
    torch.testing.assert_close(plain, network.encoders["sar"].conv1(torch.ones(1, 2, 32, 32)))
    assert MBHRNet({"sar": 2}, variant=variant, plain_skip=False).plain_skip is False


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_the_authors_take_the_cosine_of_columns(variant: str) -> None:
    # Rows (3, 4) and (0, 0): the first column is right, the second is wrong by a factor, which no
    # cosine minds; as one vector the patch is turned.
    truth = torch.tensor([[3.0, 4.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    found = torch.tensor([[3.0, 8.0], [3.0, 8.0]]).view(1, 1, 2, 2)
    vectors = published(variant)["vectors"]
    loss = float(regression_loss(found, truth, (0.0, 1.0), vectors))
    patch = 1.0 - (9.0 + 32.0) / (5.0 * 73.0**0.5)
    assert loss == pytest.approx(0.0 if variant in AUTHORS else patch, abs=1e-6)
    # A column without a building has a cosine of 0; a patch without one does not count.
    truth[..., 0] = 0.0
    half = float(regression_loss(found, truth, (0.0, 1.0), "column"))
    assert half == pytest.approx(0.5, abs=1e-6)
    empty = torch.zeros_like(truth)
    assert float(regression_loss(found, empty, (0.0, 1.0), "column")) == pytest.approx(1.0)
    assert float(regression_loss(found, empty, (0.0, 1.0), "patch")) == 0.0


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_settings_of_the_variants(variant: str) -> None:
    settings = BuildingSettings.published(variant)
    theirs = variant in AUTHORS
    assert settings.least_rate == (1e-5 if theirs else 1e-6)
    assert (settings.batch, settings.size) == ((4, 128) if theirs else (16, 64))
    assert settings.monitored == ("validation_loss" if theirs else "validation_rmse")
    assert settings.keep == ("last" if theirs else "best")
    assert settings.clip == (None if theirs else 1.0)
    assert (settings.rate, settings.epochs, settings.patience) == (1e-4, 50, 20)
    weights = VARIANTS[variant].weights
    assert weights == ((0.4, 0.6) if variant == "released" else (0.2, 0.8))
    assert len(settings.sar_bands) == (2 if variant == "released" else 4)


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_plateau_and_stopping_go_by_what_the_variant_monitors(variant: str) -> None:
    settings = BuildingSettings.published(variant, optical_bands=())
    channels = {"sar": [Channel(name, "1") for name in settings.sar_bands]}
    network = BuildingHeightEstimator(channels, network="mbhr", options=settings.options)
    task = BuildingTask(network, settings, 5.0)
    (adam,), (plateau,) = task.configure_optimizers()
    assert isinstance(adam, torch.optim.Adam)
    assert task.monitored == plateau["monitor"] == settings.monitored
    schedule = plateau["scheduler"]
    for _ in range(100):
        schedule.step(1.0)
    assert adam.param_groups[0]["lr"] == pytest.approx(settings.least_rate)


# --- the loss ------------------------------------------------------------------------------------


def test_the_published_loss_is_squared_error_and_angle() -> None:
    truth = torch.tensor([3.0, 4.0, 0.0, 0.0]).view(1, 1, 2, 2)
    found = torch.tensor([3.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)
    expected = 0.2 * 16.0 / 4.0 + 0.8 * (1.0 - 3.0 / 5.0)
    assert float(regression_loss(found, truth, (0.2, 0.8))) == pytest.approx(expected)
    # The angle does not mind the size, and is taken for each patch.
    assert float(regression_loss(2.0 * truth, truth, (0.0, 1.0))) == pytest.approx(0.0, abs=1e-6)
    both = regression_loss(torch.cat([truth, found]), torch.cat([truth, truth]), (0.0, 1.0))
    assert float(both) == pytest.approx(0.5 * (1.0 - 3.0 / 5.0), abs=1e-6)


def test_a_patch_without_buildings_has_no_angle() -> None:
    found = torch.ones(1, 1, 2, 2, requires_grad=True)
    loss = regression_loss(found, torch.zeros(1, 1, 2, 2), (0.2, 0.8))
    assert float(loss.detach()) == pytest.approx(0.2)
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    regression_loss(zero, torch.ones(1, 1, 2, 2), (0.2, 0.8)).backward()
    assert zero.grad is not None
    assert torch.isfinite(zero.grad).all()
