"""Building blocks of networks, against their equations, and checkpoints that are refused."""

from __future__ import annotations

import json
import math
from functools import partial
from hashlib import sha256

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from collections.abc import Callable
from pathlib import Path

from safetensors.torch import save
from torch import nn

from sarheight.errors import CheckpointError, OutputError
from sarheight.learning import Channel, EfficientChannelAttention, packaged_model
from sarheight.terrain import LargeSelectiveKernel
from sarheight.terrain.sar2height import HeightEstimator


def test_channel_attention_only_scales_channels() -> None:
    """By a kernel that grows with the logarithm of their number."""
    sizes = {count: EfficientChannelAttention(count).mix.kernel_size[0] for count in (8, 64, 512)}
    assert sizes == {8: 3, 64: 3, 512: 5}
    x = torch.rand(3, 16, 5, 7) + 0.5
    ratio = EfficientChannelAttention(16)(x) / x
    torch.testing.assert_close(ratio, ratio[:, :, :1, :1].expand_as(ratio))
    assert ((ratio > 0.0) & (ratio < 1.0)).all()


def test_a_selective_kernel_sees_23_pixels_beside_its_masks() -> None:
    layer = LargeSelectiveKernel(4)
    # Constant masks leave the receptive field of the convolutions, 5 + 18 = 23 pixels.
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


@pytest.mark.parametrize("shape", [(1, 2), (8, 8), (9, 13), (40, 31)])
def test_gradients_of_a_selective_kernel_are_those_of_its_convolutions(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = LargeSelectiveKernel(4).double().to(memory_format=torch.channels_last)
    x = torch.rand(3, 4, *shape, dtype=torch.float64, requires_grad=True)

    def outcome() -> list[torch.Tensor]:
        y = layer(x)
        inputs = [x, *layer.parameters()]
        return [y, *torch.autograd.grad(y.square().sum(), inputs)]

    ours = outcome()
    monkeypatch.setattr("sarheight.learning.unet.DepthwiseConvolution.forward", nn.Conv2d.forward)
    for mine, plain in zip(ours, outcome(), strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [8, 16, 32])
def test_mixed_precision_repeats_and_reads_no_uninitialised_memory(channels: int) -> None:
    layer = LargeSelectiveKernel(channels).to(memory_format=torch.channels_last)
    x = torch.rand(4, channels, 32, 32).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    seen = []
    for number in range(4):
        # Freed memory full of NaN reveals reads of uninitialised memory.
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


def test_power_is_converted_to_decibels_and_missing_values_to_zero() -> None:
    value = torch.tensor([1.0, 0.1, 0.0, -1.0, torch.nan])
    seen = Channel("vv", "1", "decibel", mean=-10.0, std=10.0).normalise(value)
    torch.testing.assert_close(seen, torch.tensor([1.0, 0.0, -5.0, -5.0, 0.0]))
    for options in ({"transform": "sqrt"}, {"std": 0.0}):
        with pytest.raises(ValueError, match="expected"):
            Channel("vv", "1", **options)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    channels = [Channel("gamma0_vv", "1", "decibel")]
    model = HeightEstimator(channels, network="unet", options={"width": 2, "depth": 1})
    return model.save_pretrained(tmp_path / "model")


def change(folder: Path, old: str, new: str) -> None:
    """Change the text of a configuration."""
    path = folder / "config.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def cut(name: str, folder: Path) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (partial(change, old="terrain heights", new="trees"), "kind 'trees', expected 'terrain"),
        (partial(change, old='"width": 2', new='"width": 6'), "do not fit its configuration"),
        (partial(change, old='"std": 1.0', new='"std": 0.0'), r"std=0\.0 of gamma0_vv"),
        (partial(change, old='"format": 1', new='"format": 99'), "format 99"),
        # Networks that would take the memory of a machine, or hours.
        (partial(change, old='"depth": 1', new='"depth": 100000'), "depth="),
        (partial(change, old='"depth": 1', new='"depth": 4000'), "depth="),
        (partial(change, old='"width": 2, "depth": 1', new='"width": 4096, "depth": 8'), "numbers"),
        (partial(change, old='"width": 2', new=f'"width": {10**30}'), "width="),
        (partial(cut, "model.safetensors"), "differ from their checksum"),
        (partial(cut, "config.json"), r"config\.json.* is not JSON"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"holds no model\.safetensors"),
        (lambda folder: (folder / "config.json").unlink(), r"no readable config\.json"),
    ],
)
def test_damaged_and_excessive_checkpoints_are_refused_at_once(
    folder: Path, spoil: Callable[[Path], object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a layer takes memory, and before many are planned."""
    # In one line, so that two options are next to each other.
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    spoil(folder)
    planned: list[bool] = []
    convolution = torch.nn.modules.conv._ConvNd
    begin = convolution.reset_parameters

    def noted(layer: torch.nn.Module) -> None:
        planned.append(layer.weight.is_meta)
        begin(layer)

    monkeypatch.setattr(convolution, "reset_parameters", noted)
    with pytest.raises(CheckpointError, match=message):
        HeightEstimator.from_pretrained(folder)
    assert all(planned)
    assert len(planned) < 100


def test_a_model_is_a_folder_that_may_lack_a_checksum(folder: Path) -> None:
    path = folder / "config.json"
    described = json.loads(path.read_text())
    del described["sha256"]
    path.write_text(json.dumps(described))
    model = HeightEstimator.from_pretrained(folder)
    assert model.reference == "mean"
    with pytest.raises(OutputError, match="without a suffix"):
        model.save_pretrained(folder.parent / "heights.pt")
    assert [each.name for each in folder.parent.iterdir()] == ["model"]
    with pytest.raises(CheckpointError, match="no trained network 'trees'"):
        packaged_model("trees")


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_no_numbers_are_neither_read_nor_written(
    folder: Path, value: float
) -> None:
    model = HeightEstimator.from_pretrained(folder)
    with torch.no_grad():
        model.network.head.bias[0] = value
    with pytest.raises(
        CheckpointError, match=r"'network\.head\.bias' of the network: its training"
    ):
        model.save_pretrained(folder.parent / "other")
    assert not (folder.parent / "other").exists()
    data = save(model.state_dict())
    (folder / "model.safetensors").write_bytes(data)
    path = folder / "config.json"
    described = json.loads(path.read_text()) | {"sha256": sha256(data).hexdigest()}
    path.write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match=r"NaN or infinity in 1 arrays such as 'network\."):
        HeightEstimator.from_pretrained(folder)
