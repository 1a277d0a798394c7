"""What networks have in common: U-Net, channel attention, depthwise convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

LEAK = 0.1


def double_convolution(channels: int, width: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions to `width` channels, each with batch normalisation and ReLU."""
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


def level_widths(in_channels: int, width: int, depth: int) -> list[int]:
    """Return the channels of the input, then those of the levels of an encoder, from the finest.

    Raises ValueError if a number is below 1, or the depth above `DEEPEST`.
    """
    numbers = {"in_channels": in_channels, "width": width, "depth": depth}
    for name, value in numbers.items():
        if value < 1:
            msg = f"found {name}={value}, expected 1 at least"
            raise ValueError(msg)
    if depth > DEEPEST:
        msg = f"found depth={depth}, expected at most {DEEPEST}"
        raise ValueError(msg)
    return [in_channels, *(width * 2**level for level in range(depth + 1))]


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
    encoder : sequence of Module, optional
        Levels of the encoder, from the finest: each takes the channels of `level_widths` before it
        and gives its own. By default two convolutions each.

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
        encoder: Sequence[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if out_channels < 1:
            msg = f"found out_channels={out_channels}, expected 1 at least"
            raise ValueError(msg)
        incoming, *widths = level_widths(in_channels, width, depth)
        if encoder is None:
            pairs = zip([incoming, *widths[:-1]], widths, strict=True)
            encoder = [nn.Sequential(double_convolution(count, wide)) for count, wide in pairs]
        self.down = nn.ModuleList(encoder)
        self.narrow = nn.ModuleList(
            nn.Conv2d(widths[level + 1], widths[level], 1) for level in range(depth)
        )
        self.up = nn.ModuleList(
            double_convolution(2 * widths[level], widths[level]) for level in range(depth)
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(width, out_channels, 1)
        self.stride = 2**depth

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to an image.

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


# Parts of attention.


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


class DepthwiseConvolution(nn.Conv2d):
    """Convolve each channel by itself, padded so that the shape is kept.

    On a CPU in the weights' precision, and without dilation. There a depthwise convolution in
    bfloat16 takes twice the time of one in single precision, and for some dilated kernels oneDNN
    reads uninitialised memory (torch 2.13, 16 channels), so that gradients become arbitrary.
    Dilated kernels also have no fast form: every `d`-th row and column is therefore taken as an
    image of its own, convolved with the kernel without its gaps. Values and sums are the same.

    Parameters
    ----------
    channels : int
        Channels of input and output.
    size : int
        Side of the kernel, an odd number.
    dilation : int
        Pixels between its weights.
    """

    def __init__(self, channels: int, size: int, dilation: int = 1) -> None:
        padding = size // 2 * dilation
        super().__init__(
            channels, channels, size, padding=padding, dilation=dilation, groups=channels
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, shape (batch, channels, rows, columns)."""
        if x.device.type != "cpu":
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            x = x.to(self.weight.dtype)
            step = self.dilation[0]
            if step == 1:
                return super().forward(x)
            count, channels, *shape = x.shape
            rows, columns = (-(-size // step) for size in shape)
            x = pad(x, (0, columns * step - shape[1], 0, rows * step - shape[0]))
            # Channels last, which depthwise kernels are fastest on.
            parts = x.permute(0, 2, 3, 1).reshape(count, rows, step, columns, step, channels)
            parts = parts.permute(2, 4, 0, 1, 3, 5).reshape(-1, rows, columns, channels)
            parts = conv2d(
                parts.permute(0, 3, 1, 2),
                self.weight,
                self.bias,
                padding=self.kernel_size[0] // 2,
                groups=channels,
            )
            parts = parts.permute(0, 2, 3, 1).reshape(step, step, count, rows, columns, channels)
            whole = parts.permute(2, 3, 0, 4, 1, 5).reshape(count, rows * step, -1, channels)
            return whole[:, : shape[0], : shape[1]].permute(0, 3, 1, 2)
