"""A network for series of images: what each month shows, weighed over the months, then a U-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from sarheight.models._unet import UNet, require_divisible

__all__ = ["SeriesNet"]

LEAK = 0.1
HALVED = 2
"""Months are looked at in squares of this many cells: it costs a quarter, and speckle falls."""
OVER_MONTHS = 4
"""Mean, standard deviation, lowest and highest."""


class _Months(nn.Module):
    """Features of the months of one modality, and their attention to each other.

    Each month passes the same convolutions, with its season beside it. Then a query made of the
    mean over the months weighs, at each place, what they hold.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.squares = nn.PixelUnshuffle(HALVED)
        self.first = nn.Conv2d((channels + 1) * HALVED**2, width, 3, padding=1, bias=False)
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
        there = valid.flatten(2).any(dim=2).flatten()
        width, rows, columns = self.first.out_channels, *(n // HALVED for n in images.shape[-2:])
        features = images.new_zeros((batch * months, width, rows, columns))
        if bool(there.any()):
            seen = torch.cat([images, valid.to(images.dtype)], dim=2).flatten(0, 1)[there]
            squares = self.squares(seen).contiguous(memory_format=torch.channels_last)
            shift = self.season(season.flatten(0, 1)[there])[:, :, None, None]
            found = self.then(self.first(squares) + shift)
            features = features.to(found.dtype).contiguous(memory_format=torch.channels_last)
            features[there] = found
        share = nn.functional.avg_pool2d(valid.flatten(0, 1).float(), HALVED)
        return self._pooled(
            features.view(batch, months, width, rows, columns),
            share.view(batch, months, 1, rows, columns),
        )

    def _pooled(self, features: Tensor, share: Tensor) -> Tensor:
        """Weigh the months where they were seen; zero where none was."""
        batch, months, width, rows, columns = features.shape
        known = share.sum(dim=1)
        mean = (features * share).sum(dim=1) / known.clamp(min=1e-6)
        seen = share > 0.0
        highest = torch.where(seen, features, -torch.inf).amax(dim=1)
        highest = torch.where(known > 0.0, highest, 0.0)
        parts = (self.heads, width // self.heads, rows, columns)
        query = self.query(mean).view(batch, 1, *parts)
        keys = self.key(features.flatten(0, 1)).view(batch, months, *parts)
        scores = (query * keys).sum(dim=3).float() / parts[1] ** 0.5
        scores = scores + torch.log(share.clamp(min=1e-6))
        weights = torch.softmax(scores, dim=1) * (known > 0.0).unsqueeze(1)
        values = features.view(batch, months, *parts)
        attended = (values * weights.unsqueeze(3)).sum(dim=1).flatten(1, 2)
        return cast("Tensor", self.out(torch.cat([attended, mean, highest], dim=1)))


class SeriesNet(nn.Module):
    """A network for series of images of several modalities, with gaps.

    Each modality has an encoder that all its months share, whose features attention weighs over
    the months. They meet what the months are on average, how they vary and between what limits, at
    full resolution, in a U-Net. Months, places and whole modalities may be missing.

    Parameters
    ----------
    channels : mapping of int
        Channels by modality.
    outputs : int
        Channels of the output.
    width : int
        Channels of the U-Net's finest level.
    depth : int
        How often it halves the image.
    months_width : int
        Channels of a month's features, a multiple of `heads`.
    heads : int
        How many queries weigh the months.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or widths make no sense.
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
                f"heads={heads}; expected one modality at least, and a width that is a multiple "
                "of the heads"
            )
            raise ValueError(msg)
        self.months = nn.ModuleDict(
            {name: _Months(count, months_width, heads) for name, count in channels.items()}
        )
        incoming = sum(OVER_MONTHS * count + 1 + months_width for count in channels.values())
        self.network = UNet(incoming, outputs, width=width, depth=depth)
        self.stride = max(self.network.stride, HALVED)

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> Tensor:
        """Turn series of images into one.

        Parameters
        ----------
        images : mapping of Tensor
            By modality, shape (batch, months, channels, rows, columns), normalised; 0 where
            there is no value.
        valid : mapping of Tensor
            bool, shape (batch, months, 1, rows, columns): where there is one.
        month : Tensor
            int, shape (batch, months): month of the year, 1 to 12; 0 where it is not known.

        Returns
        -------
        Tensor, shape (batch, outputs, rows, columns)
        """
        season = _season(month)
        parts = []
        for name, encoder in self.months.items():
            require_divisible(images[name].shape, self.stride)
            parts += _over_months(images[name], valid[name])
            features = encoder(images[name], valid[name], season)
            parts.append(
                nn.functional.interpolate(
                    features, scale_factor=float(HALVED), mode="bilinear", align_corners=False
                )
            )
        kind = parts[-1].dtype
        seen = torch.cat([part.to(kind) for part in parts], dim=1)
        return cast("Tensor", self.network(seen.contiguous(memory_format=torch.channels_last)))


def _season(month: Tensor) -> Tensor:
    """Return the place in the year on a circle, and whether it is known: (batch, months, 3)."""
    known = (month > 0).float()
    angle = 2.0 * torch.pi * month.float() / 12.0
    return torch.stack([torch.sin(angle) * known, torch.cos(angle) * known, known], dim=2)


def _over_months(images: Tensor, valid: Tensor) -> list[Tensor]:
    """Return mean, standard deviation, lowest and highest of each channel, and how often seen."""
    count = valid.sum(dim=1).float()
    known = count.clamp(min=1.0)
    mean = images.sum(dim=1) / known
    spread = (torch.where(valid, images - mean.unsqueeze(1), 0.0) ** 2).sum(dim=1) / known
    none = count == 0.0
    lowest = torch.where(valid, images, torch.inf).amin(dim=1).masked_fill(none, 0.0)
    highest = torch.where(valid, images, -torch.inf).amax(dim=1).masked_fill(none, 0.0)
    return [mean, torch.sqrt(spread + 1e-6), lowest, highest, count / valid.shape[1]]
