"""Attention over channels and over kernel sizes."""

from __future__ import annotations

from math import log2
from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["EfficientChannelAttention", "LargeSelectiveKernel"]


class EfficientChannelAttention(nn.Module):
    r"""Weigh channels by what they and their neighbours hold on average.

    The means of the channels over the image are convolved along the channels with one kernel,
    and a sigmoid of the result scales each channel. The kernel grows with the number of channels
    :math:`C`: its size is :math:`t = \lfloor |\log_2 C + 1| / 2 \rfloor`, or the next odd number.

    Parameters
    ----------
    channels : int
        Channels of the input.

    References
    ----------
    Wang, Q. et al. (2020). ECA-Net: Efficient Channel Attention for Deep Convolutional Neural
    Networks. CVPR, arXiv:1910.03151, equation 12 with gamma = 2, b = 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        size = int(abs(log2(channels) + 1.0) / 2.0)
        size += 1 - size % 2
        self.mix = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighted channels: shape (batch, channels, rows, columns), as came in."""
        means = x.mean(dim=(2, 3)).unsqueeze(1)
        weight = torch.sigmoid(self.mix(means)).squeeze(1)
        return x * weight[:, :, None, None]


class LargeSelectiveKernel(nn.Module):
    r"""Choose at each place how wide a neighbourhood counts.

    Two depthwise convolutions after another see 5 x 5 and, through a 7 x 7 kernel with dilation
    3, 23 x 23 pixels. Each result :math:`U_i` is brought to half of the channels. Mean and
    maximum over the channels of both make, by a 7 x 7 convolution and a sigmoid, one mask
    :math:`M_i` for each; what the masks choose, :math:`\sum_i M_i U_i`, comes back to all
    channels and gates the input.

    Parameters
    ----------
    channels : int
        Channels of the input, an even number.

    Raises
    ------
    ValueError
        If the number of channels is odd.

    References
    ----------
    Li, Y. et al. (2023). Large Selective Kernel Network for Remote Sensing Object Detection.
    ICCV, arXiv:2303.09030, equations 1 to 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            msg = f"found {channels} channels, expected an even number: each kernel gets half"
            raise ValueError(msg)
        half = channels // 2
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.near_half = nn.Conv2d(channels, half, 1)
        self.far_half = nn.Conv2d(channels, half, 1)
        self.masks = nn.Conv2d(2, 2, 7, padding=3)
        self.whole = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated input: shape (batch, channels, rows, columns), as came in."""
        near = self.near(x)
        far = self._far(near)
        near, far = self.near_half(near), self.far_half(far)
        both = torch.cat([near, far], dim=1)
        pooled = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        masks = torch.sigmoid(self.masks(pooled))
        chosen = near * masks[:, :1] + far * masks[:, 1:]
        return cast("Tensor", x * self.whole(chosen))

    def _far(self, near: Tensor) -> Tensor:
        """Convolve with the dilated kernel, on a CPU always in single precision.

        In bfloat16 oneDNN reads memory that nobody has written for some depthwise kernels with
        dilation (torch 2.13, 16 channels): gradients are then arbitrary.
        """
        if near.device.type != "cpu":
            return cast("Tensor", self.far(near))
        with torch.autocast("cpu", enabled=False):
            return cast("Tensor", self.far(near.float()))
