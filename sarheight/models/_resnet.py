"""ResNet50, with the parameter names that public weights have."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

__all__ = ["ResNet50"]

WIDTHS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
"""A bottleneck puts out this many times its inner channels."""
STEM = 64


class _Bottleneck(nn.Module):
    """Three convolutions beside an identity: narrow, look around, widen.

    The stride is that of the 3 x 3 convolution, as in the weights that are in use; the original
    has it in the first.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, 4 width, rows / stride, columns / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return cast("Tensor", self.relu(self.bn3(self.conv3(y)) + self.downsample(x)))


def _layer(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(channels, width, stride)
    rest = [_Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class ResNet50(nn.Module):
    """ResNet50 for images of any number of channels, as a classifier or an encoder.

    Parameters have the names that torchvision gave them, so that public weights fit; see
    `load_resnet_weights`.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    layers : int
        How many of the four layers there are: encoders may stop before the last.
    classes : int, optional
        Classes to tell apart; without them there is no classifier, and `scales` is all that the
        network is for.

    Attributes
    ----------
    channels : tuple of int
        Channels of each scale that `scales` returns.
    stride : int
        Pixels of the image to one of the coarsest scale.

    Raises
    ------
    ValueError
        If a number makes no sense.

    References
    ----------
    He, K., Zhang, X., Ren, S. and Sun, J. (2016). Deep Residual Learning for Image Recognition.
    CVPR, arXiv:1512.03385, table 1.
    """

    def __init__(
        self, in_channels: int = 3, *, layers: int = 4, classes: int | None = None
    ) -> None:
        super().__init__()
        if in_channels < 1 or not 1 <= layers <= len(WIDTHS):
            msg = (
                f"found in_channels={in_channels} and layers={layers}, expected 1 channel at "
                f"least and 1 to {len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        if classes is not None and (classes < 1 or layers < len(WIDTHS)):
            msg = (
                f"found classes={classes} and layers={layers}, expected 1 class at least and all "
                f"{len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        self.conv1 = nn.Conv2d(in_channels, STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        incoming = STEM
        for number, (width, blocks) in enumerate(zip(WIDTHS[:layers], BLOCKS, strict=False)):
            layer = _layer(incoming, width, blocks, 1 if number == 0 else 2)
            self.add_module(f"layer{number + 1}", layer)
            incoming = width * EXPANSION
        self.fc = None if classes is None else nn.Linear(incoming, classes)
        self.layers = layers
        self.channels = (STEM, *(width * EXPANSION for width in WIDTHS[:layers]))
        self.stride = 2 ** (layers + 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def scales(self, x: Tensor) -> list[Tensor]:
        """Return what the network sees at each scale.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)

        Returns
        -------
        list of Tensor
            From fine to coarse: after the first convolution at half of the size, and after each
            layer, at a quarter and on. Channels as `channels` has them.
        """
        found = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(found[0])
        for number in range(self.layers):
            x = self.get_submodule(f"layer{number + 1}")(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return a score of each class.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)

        Returns
        -------
        Tensor, shape (batch, classes)

        Raises
        ------
        ValueError
            If the network was made without classes.
        """
        if self.fc is None:
            msg = "found a network without classes: make it with classes=..., or call scales"
            raise ValueError(msg)
        return cast("Tensor", self.fc(torch.flatten(self.scales(x)[-1].mean(dim=(2, 3)), 1)))
