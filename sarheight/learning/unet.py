"""U-Net and attention blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

LEAK = 0.1
Refine = Callable[[int, int], nn.Module]
"""Constructs the module after the convolutions of a level, from its channels and its number."""


def _identity(_channels: int, _level: int) -> nn.Module:
    return nn.Identity()


def _convolutions(channels: int, width: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalisation."""
    layers: list[nn.Module] = []
    for count in (channels, width):
        layers += [
            nn.Conv2d(count, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAK, inplace=True),
        ]
    return nn.Sequential(*layers)


def require_divisible(shape: Sequence[int], stride: int) -> None:
    """Raise if the size of an image is not a multiple of a network's stride."""
    rows, columns = shape[-2:]
    if rows % stride or columns % stride or not rows or not columns:
        msg = (
            f"found an image of {rows} x {columns} pixels, expected multiples of {stride}: pad it, "
            "or let sarheight.terrain.predict_heights do so"
        )
        raise ValueError(msg)


DEEPEST = 12
"""Largest number of times that an image is halved: a stride of 4096 pixels."""


class UNet(nn.Module):
    """A U-Net with batch normalisation.

    Each level of the encoder halves the image and doubles the channels. The decoder upsamples
    bilinearly, which avoids the chequerboard artefacts of transposed convolutions, and
    concatenates the encoder's features of the same level.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    width : int
        Channels of the finest level.
    depth : int
        Number of times that the image is halved.
    refine : callable, optional
        Constructs a module after the convolutions of each level of the encoder, from its channels
        and its number (0 is the finest).

    References
    ----------
    Ronneberger, O., Fischer, P. and Brox, T. (2015). U-Net: Convolutional Networks for Biomedical
    Image Segmentation. MICCAI, arXiv:1505.04597.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        depth: int = 4,
        refine: Refine = _identity,
    ) -> None:
        super().__init__()
        for name, value in (
            ("in_channels", in_channels),
            ("out_channels", out_channels),
            ("width", width),
            ("depth", depth),
        ):
            if value < 1:
                msg = f"found {name}={value}, expected 1 at least"
                raise ValueError(msg)
        if depth > DEEPEST:
            msg = f"found depth={depth}, expected at most {DEEPEST}"
            raise ValueError(msg)
        widths = [width * 2**level for level in range(depth + 1)]
        incoming = [in_channels, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(_convolutions(count, wide), refine(wide, level))
            for level, (count, wide) in enumerate(zip(incoming, widths, strict=True))
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(widths[level + 1], widths[level], 1) for level in range(depth)
        )
        self.up = nn.ModuleList(
            _convolutions(2 * widths[level], widths[level]) for level in range(depth)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, out_channels, 1)
        self.stride = 2**depth

    def forward(self, x: Tensor) -> Tensor:
        """Convert an image to an image.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)
            Rows and columns are multiples of ``stride``.

        Returns
        -------
        Tensor, shape (batch, out_channels, rows, columns)
        """
        require_divisible(x.shape, self.stride)
        features = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else self.pool(x))
            features.append(x)
        for level in reversed(range(len(self.up))):
            x = nn.functional.interpolate(
                self.narrow[level](x), scale_factor=2, mode="bilinear", align_corners=False
            )
            x = self.up[level](torch.cat([features[level], x], dim=1))
        return self.head(x)  # type: ignore[no-any-return]  # modules return Any


# Attention over channels and over kernel sizes.


class EfficientChannelAttention(nn.Module):
    r"""Scale channels by weights from the means of neighbouring channels.

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
        """Return the scaled channels, shape (batch, channels, rows, columns) as the input."""
        means = x.mean(dim=(2, 3)).unsqueeze(1)
        weight = torch.sigmoid(self.mix(means)).squeeze(1)
        return x * weight[:, :, None, None]


def _each_channel(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve each channel by itself; on a CPU in the weights' precision, and without dilation.

    There a depthwise convolution in bfloat16 takes twice the time of one in single precision, and
    for some dilated kernels oneDNN reads uninitialised memory (torch 2.13, 16 channels), so that
    gradients become arbitrary. Dilated kernels also have no fast form: every `d`-th row and column
    is therefore taken as an image of its own, convolved with the kernel without its gaps. Values
    and sums are the same.

    Parameters
    ----------
    conv : Conv2d
        Depthwise convolution, padded so that the shape is kept.
    x : Tensor
        Shape (batch, channels, rows, columns).

    Returns
    -------
    Tensor
        The shape of `x`.
    """
    if x.device.type != "cpu":
        return cast("Tensor", conv(x))
    with torch.autocast("cpu", enabled=False):
        x = x.to(conv.weight.dtype)
        step = conv.dilation[0]
        if step == 1:
            return cast("Tensor", conv(x))
        count, channels, *shape = x.shape
        rows, columns = (-(-size // step) for size in shape)
        x = pad(x, (0, columns * step - shape[1], 0, rows * step - shape[0]))
        # Channels last, which depthwise kernels are fastest on.
        parts = x.permute(0, 2, 3, 1).reshape(count, rows, step, columns, step, channels)
        parts = parts.permute(2, 4, 0, 1, 3, 5).reshape(-1, rows, columns, channels)
        parts = conv2d(
            parts.permute(0, 3, 1, 2),
            conv.weight,
            conv.bias,
            padding=conv.kernel_size[0] // 2,
            groups=channels,
        )
        parts = parts.permute(0, 2, 3, 1).reshape(step, step, count, rows, columns, channels)
        whole = parts.permute(2, 3, 0, 4, 1, 5).reshape(count, rows * step, -1, channels)
        return whole[:, : shape[0], : shape[1]].permute(0, 3, 1, 2)


class LargeSelectiveKernel(nn.Module):
    r"""Select the receptive field in each pixel.

    Two successive depthwise convolutions have receptive fields of 5 x 5 and, with a 7 x 7 kernel
    of dilation 3, of 23 x 23 pixels. Each result :math:`U_i` is projected to half of the channels.
    A 7 x 7 convolution and a sigmoid turn mean and maximum over the channels of both into a mask
    :math:`M_i` for each. The selection :math:`\sum_i M_i U_i` is projected to all channels and
    multiplies the input.

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
        """Return the multiplied input, shape (batch, channels, rows, columns) as the input."""
        near = _each_channel(self.near, x)
        far = _each_channel(self.far, near)
        near, far = self.near_half(near), self.far_half(far)
        both = torch.cat([near, far], dim=1)
        pooled = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        masks = torch.sigmoid(self.masks(pooled))
        chosen = near * masks[:, :1] + far * masks[:, 1:]
        return cast("Tensor", x * self.whole(chosen))
