"""Our network for series of images: an encoder of months, attention over them, and a U-Net.

    images of each modality (months, bands, rows, columns), with gaps
      ├─ encoder of a month, the same for all: squares of 2 x 2 cells, two 3 x 3 convolutions of 32
      │  channels, an embedding of the season
      ├─ at each cell: attention over the months (4 heads; the query is their mean), beside mean and
      │  maximum: 32 channels, upsampled bilinearly
      └─ at full resolution: mean, standard deviation, minimum and maximum over the months, and the
         share of months with an image
    all joined → U-Net of width 32 and depth 3 → 2 + bins channels: logits of a building, of the
    built share, and of the heights (see `sarheight.buildings.distributions`)

Months, pixels and whole modalities may be missing. The network has 1.9 million weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from sarheight.learning.unet import UNet, require_divisible

LEAK = 0.1
PATCH = 2
"""Months are encoded in squares of this many cells: it costs a quarter, and speckle is averaged."""
STATISTICS = 4
"""Mean, standard deviation, minimum and maximum over the months."""


class _MonthEncoder(nn.Module):
    """Features of the months of one modality, with attention over the months.

    Each month passes the same convolutions, with an embedding of its season. Then, at each pixel, a
    query from the mean over the months weighs their features.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.squares = nn.PixelUnshuffle(PATCH)
        self.first = nn.Conv2d((channels + 1) * PATCH**2, width, 3, padding=1, bias=False)
        self.season = nn.Linear(3, width)
        self.then = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.out = nn.Sequential(nn.Conv2d(3 * width, width, 1), nn.LeakyReLU(LEAK, inplace=True))

    def forward(self, images: Tensor, valid: Tensor, season: Tensor) -> Tensor:
        """Return features at half of the size, shape (batch, width, rows / 2, columns / 2).

        `images` has shape (batch, months, channels, rows, columns), `valid` the same with one
        channel, `season` (batch, months, 3).
        """
        batch, months = images.shape[:2]
        present = valid.flatten(2).any(dim=2).flatten()
        width, rows, columns = self.first.out_channels, *(n // PATCH for n in images.shape[-2:])
        features = images.new_zeros((batch * months, width, rows, columns))
        # Months without an image are not encoded at all.
        if bool(present.any()):
            pixels = torch.cat([images, valid.to(images.dtype)], dim=2).flatten(0, 1)[present]
            squares = self.squares(pixels).contiguous(memory_format=torch.channels_last)
            embedding = self.season(season.flatten(0, 1)[present])[:, :, None, None]
            encoded = self.then(self.first(squares) + embedding)
            features = features.to(encoded.dtype).contiguous(memory_format=torch.channels_last)
            features[present] = encoded
        share = nn.functional.avg_pool2d(valid.flatten(0, 1).float(), PATCH)
        return self._attend(
            features.view(batch, months, width, rows, columns),
            share.view(batch, months, 1, rows, columns),
        )

    def _attend(self, features: Tensor, share: Tensor) -> Tensor:
        """Weigh the months by attention and by their valid share; zero where no month is valid."""
        batch, months, width, rows, columns = features.shape
        known = share.sum(dim=1)
        mean = (features * share).sum(dim=1) / known.clamp(min=1e-6)
        highest = torch.where(share > 0.0, features, -torch.inf).amax(dim=1)
        highest = torch.where(known > 0.0, highest, 0.0)
        parts = (self.heads, width // self.heads, rows, columns)
        query = self.query(mean).view(batch, 1, *parts)
        keys = self.key(features.flatten(0, 1)).view(batch, months, *parts)
        # Scaled dot products q . k / sqrt(d); the logarithm of the share masks missing months.
        scores = (query * keys).sum(dim=3).float() / parts[1] ** 0.5
        scores = scores + torch.log(share.clamp(min=1e-6))
        weights = torch.softmax(scores, dim=1) * (known > 0.0).unsqueeze(1)
        values = features.view(batch, months, *parts)
        attended = (values * weights.unsqueeze(3)).sum(dim=1).flatten(1, 2)
        return cast("Tensor", self.out(torch.cat([attended, mean, highest], dim=1)))


class SeriesNet(nn.Module):
    """A network for series of images of several modalities, with gaps.

    Each modality has an encoder, shared by all its months, and attention weighs the features of
    the months. At full resolution mean, standard deviation, minimum and maximum over the months
    join them in a U-Net. Months, pixels and whole modalities may be missing.

    Parameters
    ----------
    channels : mapping of int
        Channels by modality.
    outputs : int
        Channels of the output.
    width : int
        Channels of the finest level of the U-Net.
    depth : int
        Levels below it, each of half the size.
    months_width : int
        Channels of the features of a month, a multiple of `heads`.
    heads : int
        Heads of the attention over the months.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or `months_width` is no multiple of `heads`.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        outputs: int,
        *,
        width: int = 32,
        depth: int = 3,
        months_width: int = 32,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if not channels or heads < 1 or months_width < 1 or months_width % heads:
            msg = (
                f"found the channels {dict(channels)}, months_width={months_width} and "
                f"heads={heads}; expected at least one modality, and a width that is a multiple "
                "of the heads"
            )
            raise ValueError(msg)
        self.months = nn.ModuleDict(
            {name: _MonthEncoder(count, months_width, heads) for name, count in channels.items()}
        )
        incoming = sum(STATISTICS * count + 1 + months_width for count in channels.values())
        self.network = UNet(incoming, outputs, width=width, depth=depth)
        self.stride = max(self.network.stride, PATCH)

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> Tensor:
        """Reduce series of images to one.

        Parameters
        ----------
        images : mapping of Tensor
            By modality, shape (batch, months, channels, rows, columns), normalised; 0 where
            there is no value.
        valid : mapping of Tensor
            bool, shape (batch, months, 1, rows, columns): where there is a value.
        month : Tensor
            int, shape (batch, months): month of the year, 1 to 12; 0 where it is unknown.

        Returns
        -------
        Tensor, shape (batch, outputs, rows, columns)
        """
        season = _season(month)
        parts = []
        for name, encoder in self.months.items():
            require_divisible(images[name].shape, self.stride)
            parts += month_statistics(images[name], valid[name])
            features = encoder(images[name], valid[name], season)
            parts.append(
                nn.functional.interpolate(
                    features, scale_factor=float(PATCH), mode="bilinear", align_corners=False
                )
            )
        dtype = parts[-1].dtype
        stacked = torch.cat([part.to(dtype) for part in parts], dim=1)
        return cast("Tensor", self.network(stacked.contiguous(memory_format=torch.channels_last)))


def _season(month: Tensor) -> Tensor:
    """Return sine and cosine of the season, and whether it is known: (batch, months, 3)."""
    known = (month > 0).float()
    angle = 2.0 * torch.pi * month.float() / 12.0
    return torch.stack([torch.sin(angle) * known, torch.cos(angle) * known, known], dim=2)


def month_statistics(images: Tensor, valid: Tensor) -> list[Tensor]:
    """Return mean, standard deviation, minimum and maximum over the months, and the valid share.

    Images have shape (batch, months, bands, rows, columns), and are 0 where not `valid`.
    """
    count = valid.sum(dim=1).float()
    known = count.clamp(min=1.0)
    mean = images.sum(dim=1) / known
    variance = (torch.where(valid, images - mean.unsqueeze(1), 0.0) ** 2).sum(dim=1) / known
    none = count == 0.0
    lowest = torch.where(valid, images, torch.inf).amin(dim=1).masked_fill(none, 0.0)
    highest = torch.where(valid, images, -torch.inf).amax(dim=1).masked_fill(none, 0.0)
    # The small constant keeps the gradient of the root finite where all months are equal.
    return [mean, torch.sqrt(variance + 1e-6), lowest, highest, count / valid.shape[1]]
