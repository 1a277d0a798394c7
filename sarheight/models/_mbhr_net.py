"""MBHR-Net: one encoder for each modality, fused at every scale, and a decoder with skips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from sarheight.models._resnet import ResNet50
from sarheight.models._unet import require_divisible

__all__ = ["VARIANTS", "MBHRNet"]

MODALITIES = {"sar": 4, "optical": 5}
REDUCTION = 16
FIRST_HEIGHT = 1.0
"""Metres that an untrained network puts out on average: below zero its last ReLU learns nothing."""
LEAST_VARIANCE = 1e-3
"""Added to variances in the decoder, as in the authors' code (Keras's usual one). It matters: there
normalisation comes after the ReLU, and a channel that stayed dark in training has no variance. With
PyTorch's 1e-5 it is amplified 316 times, at each step of the decoder, where it lights up at last.
"""


def _joined(scales: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(scales), dim=1)


def _added(scales: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(scales)).sum(dim=0)


def _nothing(_channels: int) -> nn.Module:
    return nn.Identity()


class _Squeeze(nn.Module):
    """Squeeze and excitation of channels and of places, side by side, added.

    References
    ----------
    Roy, A. G., Navab, N. and Wachinger, C. (2018). Concurrent Spatial and Channel Squeeze &
    Excitation in Fully Convolutional Networks. MICCAI, arXiv:1803.02579.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(channels // REDUCTION, 1)
        self.channels = nn.Sequential(
            nn.Conv2d(channels, narrow, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        self.places = nn.Sequential(nn.Conv2d(channels, 1, 1, bias=False), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted input, shape as came in."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return cast("Tensor", x * self.channels(means) + x * self.places(x))


@dataclass(frozen=True)
class Variant:
    """What sets the printed network and the released one apart.

    Attributes
    ----------
    layers : int
        Of each ResNet50.
    fuse : callable
        Makes one tensor of those of all encoders at a scale.
    growth : callable
        Channels after fusing, from those of one encoder and the number of encoders.
    refine : callable
        Makes what weighs the decoder's input at a scale, from its channels.
    widths : tuple of int
        Channels of the decoder, from coarse to fine.
    weights : tuple of float
        Of the squared error and of the cosine in the loss.
    """

    layers: int
    fuse: Callable[[Sequence[Tensor]], Tensor]
    growth: Callable[[int, int], int]
    refine: Callable[[int], nn.Module]
    widths: tuple[int, ...]
    weights: tuple[float, float]


VARIANTS = {
    "paper": Variant(
        4, _joined, lambda each, count: each * count, _nothing, (512, 512, 256, 128, 64), (0.2, 0.8)
    ),
    "released": Variant(
        3, _added, lambda each, _count: each, _Squeeze, (512, 256, 128, 64), (0.4, 0.6)
    ),
}


def _convolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(width, eps=LEAST_VARIANCE),
    )


class MBHRNet(nn.Module):
    """Multimodal building height regression network.

    A ResNet50 for each modality; what they see is fused at every scale; a decoder doubles the
    size at each step and joins the fused scale there; a 1 x 1 convolution and a ReLU give metres.

    ``paper`` is the network as printed: fused by concatenation. ``released`` is that of the
    authors' code: fused by addition, squeeze and excitation before each step of the decoder, the
    encoders without their last layer, and three radar channels. The print leaves open how deep
    the encoders are taken and how wide the decoder is: here all of ResNet50, and the widths of
    the released decoder with one more at the coarsest scale.

    Parameters
    ----------
    encoders : mapping of int
        Channels by modality; one modality alone is an ablation of the paper. By default 4 radar
        channels and 5 bands.
    variant : {"paper", "released"}
        See above.
    skips : bool
        Whether the decoder sees the finer scales; without them is an ablation of the paper.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or no such variant.

    References
    ----------
    Nascetti, A., Yadav, R. and Ban, Y. (2023). A CNN regression model to estimate buildings height
    maps using Sentinel-1 SAR and Sentinel-2 MSI time series. IGARSS, arXiv:2307.01378.
    """

    def __init__(
        self,
        encoders: Mapping[str, int] | None = None,
        *,
        variant: str = "paper",
        skips: bool = True,
    ) -> None:
        super().__init__()
        channels = dict(MODALITIES if encoders is None else encoders)
        if variant not in VARIANTS or not channels:
            msg = (
                f"found variant {variant!r} and the encoders {channels}, expected one of "
                f"{', '.join(VARIANTS)}, and one encoder at least"
            )
            raise ValueError(msg)
        self.variant = VARIANTS[variant]
        self.skips = skips
        self.encoders = nn.ModuleDict(
            {name: ResNet50(count, layers=self.variant.layers) for name, count in channels.items()}
        )
        first = cast("ResNet50", next(iter(self.encoders.values())))
        fused = [self.variant.growth(each, len(channels)) for each in first.channels]
        incoming, steps = fused[-1], []
        for number, width in enumerate(self.variant.widths):
            steps.append(
                nn.Sequential(self._refine(incoming, number), _convolution(incoming, width))
            )
            finer = fused[-2 - number] if skips and number + 1 < len(fused) else 0
            incoming = width + finer
        self.decoder = nn.ModuleList(steps)
        self.head = nn.Conv2d(self.variant.widths[-1], 1, 1)
        nn.init.constant_(cast("Tensor", self.head.bias), FIRST_HEIGHT)
        self.stride = first.stride

    def _refine(self, channels: int, number: int) -> nn.Module:
        """Make what weighs the input of a step; the first has no skip to be weighed against."""
        return nn.Identity() if number == 0 else self.variant.refine(channels)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Estimate heights.

        Parameters
        ----------
        images : mapping of Tensor
            By modality, shape (batch, channels, rows, columns), normalised, without gaps.

        Returns
        -------
        Tensor, shape (batch, 1, rows, columns)
            Metres, 0 at least.
        """
        seen = []
        for name, encoder in self.encoders.items():
            require_divisible(images[name].shape, self.stride)
            seen.append(cast("ResNet50", encoder).scales(images[name]))
        fused = [self.variant.fuse(scales) for scales in zip(*seen, strict=True)]
        x = fused[-1]
        for number, step in enumerate(self.decoder):
            x = nn.functional.interpolate(step(x), scale_factor=2.0, mode="nearest")
            if self.skips and number + 1 < len(fused):
                x = torch.cat([x, fused[-2 - number]], dim=1)
        return torch.relu(self.head(x))
