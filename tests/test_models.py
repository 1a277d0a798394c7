"""Networks: their shapes, what they may depend on, and how they are saved."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from sarheight.errors import CheckpointError, OutputError
from sarheight.learning import (
    Channel,
    EfficientChannelAttention,
    LargeSelectiveKernel,
    UNet,
    packaged_model,
)
from sarheight.terrain import ASKUNet, HeightEstimator

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

# Test processes share the cores; threads of each would wait for each other.
torch.set_num_threads(1)

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
        "interpolated": 900.0 + 100.0 * torch.rand(2, 1, size, size, generator=random),
        "coarse": 900.0 + 100.0 * torch.rand(2, 1, size, size, generator=random),
    }


def shaken(model: nn.Module) -> nn.Module:
    """Give a network random weights everywhere, also where it begins with zeros."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn(value.shape, generator=random))
    return model.eval()


def test_channel_attention_grows_with_the_logarithm_of_the_channels() -> None:
    sizes = {count: EfficientChannelAttention(count).mix.kernel_size[0] for count in (8, 64, 512)}
    assert sizes == {8: 3, 64: 3, 512: 5}


def test_channel_attention_only_scales_channels() -> None:
    x = torch.rand(3, 16, 5, 7) + 0.5
    ratio = EfficientChannelAttention(16)(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert ((ratio > 0.0) & (ratio < 1.0)).all()


def test_a_selective_kernel_sees_23_pixels_beside_its_masks() -> None:
    layer = LargeSelectiveKernel(4)
    # The masks see farther by their own 7 x 7: hold them still, and 5 + 18 = 23 pixels remain.
    torch.nn.init.zeros_(layer.masks.weight)
    x = torch.rand(1, 4, 61, 61, requires_grad=True)
    layer(x)[0, :, 30, 30].sum().backward()
    assert x.grad is not None
    rows, columns = torch.nonzero(x.grad[0].abs().sum(dim=0), as_tuple=True)
    assert (rows.min(), rows.max()) == (19, 41)
    assert (columns.min(), columns.max()) == (19, 41)


def test_a_selective_kernel_follows_its_equations() -> None:
    layer = LargeSelectiveKernel(6)
    x = torch.rand(2, 6, 40, 40)
    u_1 = layer.near(x)
    u_2 = layer.far(u_1)
    halves = [layer.near_half(u_1), layer.far_half(u_2)]
    joined = torch.cat(halves, 1)
    pooled = torch.stack([joined.sum(1) / 6, joined.max(1).values], 1)
    mask = 1.0 / (1.0 + torch.exp(-layer.masks(pooled)))
    chosen = sum(mask[:, i, None] * halves[i] for i in range(2))
    torch.testing.assert_close(layer(x), x * layer.whole(chosen))
    with pytest.raises(ValueError, match="even number"):
        LargeSelectiveKernel(5)


def test_selective_kernels_do_not_run_away_on_what_they_have_never_seen() -> None:
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


@pytest.mark.parametrize("channels", [8, 16, 32])
def test_mixed_precision_repeats_and_never_reads_what_was_not_written(channels: int) -> None:
    layer = LargeSelectiveKernel(channels).to(memory_format=torch.channels_last)
    x = torch.rand(4, channels, 32, 32).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    seen = []
    for number in range(4):
        # Freed memory full of NaN shows whoever takes it for zeros.
        junk = [torch.full((1000 * (number + 1),), torch.nan) for _ in range(20)]
        del junk
        x.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
        (y.float() ** 2).sum().backward()
        assert x.grad is not None
        seen.append(x.grad.clone())
    for other in seen:
        assert torch.isfinite(other).all()
        torch.testing.assert_close(other, seen[0], rtol=0, atol=0)


@pytest.mark.parametrize("network", [UNet, ASKUNet])
def test_a_network_keeps_rows_and_columns(network: type[UNet]) -> None:
    model = network(3, 2, width=4, depth=3).eval()
    assert model(torch.rand(2, 3, 24, 40)).shape == (2, 2, 24, 40)
    with pytest.raises(ValueError, match="expected multiples of 8"):
        model(torch.rand(2, 3, 24, 44))


def test_selective_kernels_stand_where_they_are_wanted() -> None:
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


def test_power_enters_in_decibels_and_what_is_missing_as_zero() -> None:
    value = torch.tensor([1.0, 0.1, 0.0, -1.0, torch.nan])
    seen = Channel("vv", "1", "decibel", mean=-10.0, std=10.0).normalised(value)
    torch.testing.assert_close(seen, torch.tensor([1.0, 0.0, -5.0, -5.0, 0.0]))
    for options in ({"transform": "sqrt"}, {"std": 0.0}):
        with pytest.raises(ValueError, match="expected"):
            Channel("vv", "1", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("reference", ["mean", "interpolated", "coarse"])
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


@pytest.mark.parametrize("reference", ["mean", "interpolated", "coarse"])
def test_mountains_look_alike_at_every_altitude(reference: str) -> None:
    model = shaken(
        HeightEstimator(
            CHANNELS,
            options={"width": 4, "depth": 2},
            reference=reference,
            surfaces=("interpolated",),
            uncertainty=True,
        )
    )
    low = sample()
    high = low | {name: low[name] + 2048.0 for name in ("known", "interpolated", "coarse")}
    for known in (low, high):
        assert torch.isfinite(model(known).height).all()
    torch.testing.assert_close(model(high).height, model(low).height + 2048.0, atol=2e-2, rtol=0.0)
    torch.testing.assert_close(model(high).scale, model(low).scale, atol=1e-2, rtol=1e-3)


def test_nothing_known_still_gives_heights() -> None:
    model = shaken(
        HeightEstimator(
            CHANNELS, options={"width": 4, "depth": 2}, height_mean=700.0, uncertainty=True
        )
    )
    given = sample(known=0)
    given["distance"] = torch.full_like(given["distance"], torch.inf)
    given["image"][:] = torch.nan
    estimate = model(given)
    assert torch.isfinite(estimate.height).all()
    assert estimate.scale is not None
    assert (estimate.scale > 0.0).all()
    assert abs(float(estimate.height.detach().mean()) - 700.0) < 300.0


def test_an_estimator_wants_its_own_channels() -> None:
    model = HeightEstimator(CHANNELS, options={"width": 4, "depth": 2})
    with pytest.raises(ValueError, match="gamma0_vv, local_incidence"):
        model(sample() | {"image": torch.rand(2, 3, 32, 32)})
    for options in (
        {"network": "transformer"},
        {"reference": "sea level"},
        {"surfaces": ("prefil",)},
        {"height_std": 0.0},
        {"output_std": -1.0},
        {"scale_factor": 0.0},
    ):
        with pytest.raises(ValueError, match="expected"):
            HeightEstimator(CHANNELS, **options)


def test_the_scale_of_the_errors_is_multiplied_and_the_heights_are_not() -> None:
    options = {"width": 4, "depth": 2}
    one, other = (
        shaken(HeightEstimator(CHANNELS, options=options, uncertainty=True, scale_factor=factor))
        for factor in (1.0, 3.0)
    )
    other.load_state_dict(one.state_dict())
    first, second = one(sample()), other(sample())
    torch.testing.assert_close(second.height, first.height, rtol=0, atol=0)
    torch.testing.assert_close(second.scale, 3.0 * first.scale)


def test_a_metre_of_the_coarse_model_is_seen_among_mountains_in_mixed_precision() -> None:
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
    with torch.autocast("cpu", torch.bfloat16):
        change = (
            model(given | {"coarse": bumpy}).height
            - bumpy
            - (model(given).height - given["coarse"])
        )
    assert float(change[:, :, 14:19, 14:19].detach().abs().max()) > 1e-3


def test_a_network_can_learn_a_patch() -> None:
    torch.manual_seed(0)
    model = HeightEstimator(
        CHANNELS, options={"width": 8, "depth": 2}, reference="interpolated", height_std=50.0
    )
    given = sample()
    # The truth hangs on the image: a bright pixel lies 50 m above the surface.
    truth = given["interpolated"] + 50.0 * given["image"][:, :1]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    errors = []
    for _ in range(60):
        loss = (model(given).height - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float(loss.detach()))
    assert errors[-1] < 0.3 * errors[0]


def test_a_checkpoint_alone_makes_the_same_estimator(tmp_path: Path) -> None:
    model = shaken(
        HeightEstimator(
            CHANNELS,
            options={"width": 4, "depth": 2, "selective_levels": [1]},
            reference="coarse",
            surfaces=("interpolated",),
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


def spoil_kind(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace("terrain heights", "building heights"))


def spoil_width(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"width": 4', '"width": 6'))


def spoil_normalisation(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"std": 4.0', '"std": 0.0'))


def spoil_format(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_configuration(folder: Path) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text()[:50])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_kind, "of the kind 'building heights', expected 'terrain heights'"),
        (spoil_width, "do not fit its configuration"),
        (spoil_normalisation, "std=0.0 of gamma0_vv"),
        (spoil_format, "format 99"),
        (cut_weights, "do not fit"),
        (remove_weights, "do not fit"),
        (cut_configuration, "no readable config.json"),
    ],
)
def test_a_checkpoint_that_cannot_be_trusted_is_refused(
    tmp_path: Path, spoil: object, message: str
) -> None:
    model = HeightEstimator(CHANNELS, options={"width": 4, "depth": 2})
    folder = model.save_pretrained(tmp_path / "heights")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        HeightEstimator.from_pretrained(folder)


def test_a_trained_network_that_does_not_come_with_the_library() -> None:
    with pytest.raises(CheckpointError, match="no trained network 'trees'"):
        packaged_model("trees")


def test_a_model_is_saved_as_a_folder(tmp_path: Path) -> None:
    model = HeightEstimator(CHANNELS, options={"width": 4, "depth": 2})
    with pytest.raises(OutputError, match="without a suffix"):
        model.save_pretrained(tmp_path / "heights.pt")
    assert not list(tmp_path.iterdir())
