"""MBHR-Net, and the network for image series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from sarheight.buildings._resnet import ResNet50
from sarheight.learning.unet import UNet, require_divisible


class HeightBins(nn.Module):
    r"""Heights as chances of fixed values, each a constant ratio above the last.

    A height between two values counts for both, by its distance: then the mean of the
    distribution that a network learns by cross entropy is the height itself, not that of a bin.
    """

    values: Tensor
    edges: Tensor

    def __init__(self, count: int = 32, lowest: float = 1.5, highest: float = 200.0) -> None:
        super().__init__()
        if count < 2 or not 0.0 < lowest < highest:
            msg = (
                f"found {count} values from {lowest} to {highest} m, expected two at least, that "
                "rise from above 0"
            )
            raise ValueError(msg)
        values = np.geomspace(lowest, highest, count)
        between = np.sqrt(values[1:] * values[:-1])
        edges = np.concatenate([[lowest**2 / between[0]], between, [highest**2 / between[-1]]])
        self.register_buffer("values", torch.tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32), persistent=False)

    def shares(self, height: Tensor) -> Tensor:
        """Return how much of a height counts for each value.

        Shapes: `height` (n,); returns (n, count).
        """
        inside = height.clamp(self.values[0], self.values[-1])
        upper = torch.searchsorted(self.values, inside).clamp(1, len(self.values) - 1)
        below, above = self.values[upper - 1], self.values[upper]
        part = ((inside - below) / (above - below))[:, None]
        shares = torch.zeros(len(height), len(self.values), device=height.device)
        shares.scatter_(1, upper[:, None] - 1, 1.0 - part)
        return shares.scatter_(1, upper[:, None], part)

    def mean(self, chances: Tensor) -> Tensor:
        """Return the means of distributions in metres: (batch, count, ...) to (batch, 1, ...)."""
        return self._summed(chances, self.values)

    def spread(self, chances: Tensor, about: Tensor) -> Tensor:
        """Return the mean squared distance in square metres from a height (batch, 1, ...)."""
        square = self._summed(chances, self.values**2)
        return square - 2.0 * about * self.mean(chances) + about**2

    def _summed(self, chances: Tensor, values: Tensor) -> Tensor:
        """Sum values by their chances, in full precision also where products are not taken so."""
        along = values.view(1, -1, *[1] * (chances.ndim - 2))
        return (chances * along).sum(dim=1, keepdim=True)

    def quantile(self, chances: Tensor, level: Tensor) -> Tensor:
        """Return the heights below which given parts of distributions lie.

        Within a bin, whose edges lie between two values, chances count as even.
        Shapes: `chances` (batch, count, ...), `level` (batch, 1, ...); returns (batch, 1, ...).
        """
        total = chances.cumsum(dim=1)
        place = (total < level).sum(dim=1, keepdim=True).clamp(max=chances.shape[1] - 1)
        mass = chances.gather(1, place)
        before = total.gather(1, place) - mass
        part = ((level - before) / mass.clamp(min=1e-12)).clamp(0.0, 1.0)
        low, high = self.edges[place], self.edges[place + 1]
        return low + part * (high - low)


# MBHR-Net: one encoder for each modality, fused at every scale, and a decoder with skips.

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

    Source: Roy, A. G., Navab, N. and Wachinger, C. (2018). Concurrent Spatial and Channel Squeeze &
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
    """What sets the printed network and the released one apart."""

    layers: int  # of each ResNet50
    # Makes one tensor of those of all encoders at a scale
    fuse: Callable[[Sequence[Tensor]], Tensor]
    # Channels after fusing, from those of one encoder and the number of encoders
    growth: Callable[[int, int], int]
    # Makes what weighs the decoder's input at a scale, from its channels
    refine: Callable[[int], nn.Module]
    widths: tuple[int, ...]  # channels of the decoder, from coarse to fine
    weights: tuple[float, float]  # of the squared error and of the cosine in the loss


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


# A network for series of images: what each month shows, weighed over the months, then a U-Net.

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


# Networks for building heights with one form of call: a regression, or a distribution.

LEAST_CHANCE = 1e-6
LEAST_SHARE = 1e-4
"""Of the heights to begin with: one that was not among them may still occur."""


class BuildingEstimate(NamedTuple):
    """What an estimator returns, NaN where a patch has no image at all.

    Attributes
    ----------
    height : Tensor, shape (batch, 1, rows, columns)
        Metres above the ground, 0 where there is no building; the mean of the distribution where
        there is one.
    footprint : Tensor or None
        Share of the cell that is built, 0 to 1.
    sigma : Tensor or None
        Standard deviation of the height in metres.
    """

    height: Tensor
    footprint: Tensor | None
    sigma: Tensor | None


class BuildingDistribution(NamedTuple):
    """What is known of a cell: whether it is built, how much of it, how high.

    Attributes
    ----------
    built : Tensor, shape (batch, 1, rows, columns)
        Logit of the chance that there is a building.
    footprint : Tensor, shape (batch, 1, rows, columns)
        Logit of the share that is built.
    heights : Tensor, shape (batch, bins, rows, columns)
        Logits of the heights, if there is a building.
    """

    built: Tensor
    footprint: Tensor
    heights: Tensor


class Regression(nn.Module):
    """A network for one month that puts out metres."""

    def __init__(self, channels: Mapping[str, int], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = MBHRNet(channels, **options)
        self.stride = self.network.stride

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], _month: Tensor
    ) -> BuildingEstimate:
        """Return the mean of the heights that each month with an image gives."""
        batch, months = next(iter(images.values())).shape[:2]
        seen = torch.stack([each.flatten(2).any(dim=2) for each in valid.values()]).any(dim=0)
        chosen = seen.flatten()
        flat = {
            name: image.flatten(0, 1)[chosen].contiguous(memory_format=torch.channels_last)
            for name, image in images.items()
        }
        shape = next(iter(images.values())).shape[-2:]
        heights = torch.zeros(batch * months, 1, *shape, device=chosen.device)
        if bool(chosen.any()):
            heights[chosen] = self.network(flat).float()
        count = seen.sum(dim=1).clamp(min=1)[:, None, None, None]
        total = heights.view(batch, months, 1, *shape).sum(dim=1)
        return BuildingEstimate(total / count, None, None)


class Distribution(nn.Module):
    """A network for series that puts out a distribution of heights."""

    temperatures: Tensor
    sigma_factor: Tensor

    def __init__(self, channels: Mapping[str, int], options: Mapping[str, Any]) -> None:
        super().__init__()
        rest = dict(options)
        self.bins = HeightBins(**rest.pop("bins", {}))
        self.network = SeriesNet(channels, 2 + len(self.bins.values), **rest)
        self.stride = self.network.stride
        # What calibration finds: of the chance of a building, and of the heights; of sigma.
        self.register_buffer("temperatures", torch.ones(2))
        self.register_buffer("sigma_factor", torch.ones(()))

    def logits(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> BuildingDistribution:
        """Return the distribution as the network gives it."""
        output = self.network(images, valid, month).float()
        return BuildingDistribution(output[:, :1], output[:, 1:2], output[:, 2:])

    def mean(self, found: BuildingDistribution) -> Tensor:
        """Return the mean heights in metres, those of no building counted as 0."""
        return torch.sigmoid(found.built) * self.bins.mean(torch.softmax(found.heights, dim=1))

    def calibrated(self, found: BuildingDistribution) -> tuple[Tensor, Tensor]:
        """Return the chance of a building, and those of the heights, as calibration has them."""
        built = torch.sigmoid(found.built / self.temperatures[0])
        return built, torch.softmax(found.heights / self.temperatures[1], dim=1)

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> BuildingEstimate:
        """Return mean, share and standard deviation."""
        found = self.logits(images, valid, month)
        height = self.mean(found)
        built, chances = self.calibrated(found)
        square = built * self.bins.spread(chances, height) + (1.0 - built) * height**2
        sigma = self.sigma_factor * torch.sqrt(square.clamp(min=0.0))
        return BuildingEstimate(height, torch.sigmoid(found.footprint), sigma)

    def begin_at(self, built: float, footprint: float, shares: Tensor) -> None:
        """Make the estimate of an untrained network the same everywhere."""
        logits = torch.logit(torch.tensor([built, footprint]), eps=LEAST_CHANCE)
        head = self.network.network.head
        nn.init.zeros_(head.weight)
        with torch.no_grad():
            cast("Tensor", head.bias).copy_(
                torch.cat([logits, torch.log(shares.clamp(min=LEAST_SHARE))])
            )

    def interval(self, found: BuildingDistribution, level: float) -> tuple[Tensor, Tensor]:
        """Return the limits in metres between which a height lies with a chance of `level`."""
        built, chances = self.calibrated(found)
        limits = []
        for part in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
            inside = (part - (1.0 - built)) / built.clamp(min=LEAST_CHANCE)
            height = self.bins.quantile(chances, inside.clamp(0.0, 1.0))
            limits.append(torch.where(inside > 0.0, height, 0.0))
        return limits[0], limits[1]
