"""ASK-UNet: a U-Net whose scales choose their kernels and weigh their channels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, cast, get_args

from torch import Tensor, nn

from sarheight.models._attention import EfficientChannelAttention, LargeSelectiveKernel
from sarheight.models._unet import UNet

__all__ = ["ASKUNet", "Normalisation"]

Normalisation = Literal["batch", "image"]
"""By what the outputs of selective kernels are normalised."""


class _Selective(nn.Module):
    """A large selective kernel beside its input, normalised."""

    def __init__(self, channels: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.select = LargeSelectiveKernel(channels)
        self.out = nn.Conv2d(channels, channels, 1)
        self.norm: nn.Module = (
            nn.BatchNorm2d(channels) if normalisation == "batch" else nn.GroupNorm(1, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with what the kernels select added to it, shape as came in."""
        return cast("Tensor", x + self.norm(self.out(self.select(self.into(x)))))


class ASKUNet(UNet):
    """U-Net with large selective kernels and efficient channel attention.

    The way down gets both after the convolutions of a scale: the selective kernels beside an
    identity, then the attention over channels.

    The paper states neither widths nor where the modules stand. Selective kernels at the finest
    levels cost most of the time and see least of the terrain: at the coarser levels a kernel of
    23 pixels spans whole slopes.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    width : int
        Channels of the finest level.
    depth : int
        How often the image is halved.
    selective_levels : collection of int, optional
        Levels with large selective kernels, 0 is the finest; by default all from 2 on.
    normalisation : {"image", "batch"}
        By what the outputs of the selective kernels are normalised: the statistics of each image,
        or those of the batches in training. The kernels multiply, so that several of them one
        after another are a polynomial of the input. With the statistics of training that runs
        away on an input unlike any of those, with those of the image it cannot.

    Raises
    ------
    ValueError
        If a level is not one of the network's, or there is no such normalisation.

    References
    ----------
    SAR2HEIGHT: height estimation from a single SAR image in mountains, EGU General Assembly 2026,
    EGU26-8644. Equations of the parts: see `LargeSelectiveKernel`, `EfficientChannelAttention`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        depth: int = 4,
        selective_levels: Collection[int] | None = None,
        normalisation: Normalisation = "image",
    ) -> None:
        if normalisation not in get_args(Normalisation):
            msg = f"found normalisation {normalisation!r}, expected 'image' or 'batch'"
            raise ValueError(msg)
        levels = range(2, depth + 1) if selective_levels is None else selective_levels
        strange = sorted(set(levels) - set(range(depth + 1)))
        if strange:
            msg = f"found selective_levels {strange}, expected some of 0 to {depth}"
            raise ValueError(msg)

        def refine(channels: int, level: int) -> nn.Module:
            attention = EfficientChannelAttention(channels)
            if level not in levels:
                return attention
            return nn.Sequential(_Selective(channels, normalisation), attention)

        super().__init__(in_channels, out_channels, width=width, depth=depth, refine=refine)
