"""Building blocks of networks, against their equations."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from torch import nn

from sarheight.errors import CheckpointError
from sarheight.learning import (
    Channel,
    EfficientChannelAttention,
    packaged_model,
)
from sarheight.terrain import LargeSelectiveKernel


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


def test_a_network_that_the_library_does_not_contain() -> None:
    with pytest.raises(CheckpointError, match="no trained network 'trees'"):
        packaged_model("trees")
