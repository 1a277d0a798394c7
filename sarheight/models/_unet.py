"""The U-Net: contract, expand, and let every scale meet its own detail again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["UNet", "require_divisible"]

LEAK = 0.1
Refine = Callable[[int, int], nn.Module]
"""Makes what follows the convolutions of a scale, from its channels and its level."""


def _nothing(_channels: int, _level: int) -> nn.Module:
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
    """Check that an image can be halved as often as a network does.

    Raises
    ------
    ValueError
        If it cannot.
    """
    rows, columns = shape[-2:]
    if rows % stride or columns % stride or not rows or not columns:
        msg = (
            f"found an image of {rows} x {columns} pixels, expected multiples of {stride}: pad it, "
            "or let sarheight.predict do so"
        )
        raise ValueError(msg)


class UNet(nn.Module):
    """A U-Net with batch normalisation.

    Each level halves the image and doubles the channels. On the way back the finer level is
    interpolated bilinearly (nothing of a chequerboard comes of that) and joined with what the
    level held on the way down.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    width : int
        Channels of the finest level.
    depth : int
        How often the image is halved.
    refine : callable, optional
        Makes a module that follows the convolutions of each scale of the way down, from its
        channels and its level (0 is the finest).

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
        refine: Refine = _nothing,
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
        """Turn an image into another.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)
            Rows and columns are multiples of ``stride``.

        Returns
        -------
        Tensor, shape (batch, out_channels, rows, columns)
        """
        require_divisible(x.shape, self.stride)
        held = []
        for level, stage in enumerate(self.down):
            x = stage(x if level == 0 else self.pool(x))
            held.append(x)
        for level in reversed(range(len(self.up))):
            x = nn.functional.interpolate(
                self.narrow[level](x), scale_factor=2, mode="bilinear", align_corners=False
            )
            x = self.up[level](torch.cat([held[level], x], dim=1))
        return self.head(x)  # type: ignore[no-any-return]  # modules return Any
