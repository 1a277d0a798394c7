"""Networks for building heights with one form of call: a regression, or a distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from sarheight.models._height_bins import HeightBins
from sarheight.models._mbhr_net import MBHRNet
from sarheight.models._series_net import SeriesNet

__all__ = ["BuildingDistribution", "BuildingEstimate", "Distribution", "Regression"]

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
