"""Distributions of building heights: bins, calibration, and the novelty of images."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from sarheight.buildings.series import SeriesNet, month_statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

MIN_PROBABILITY = 1e-6
MIN_BIN_SHARE = 1e-4
"""Initial probability of heights that are absent from training: they may still occur."""


class HeightBins(nn.Module):
    r"""Distributions of heights over fixed values, each a constant ratio above the last.

    A height between two values is assigned to both, by its distance: then the mean of the
    distribution that a network learns by cross entropy is the height itself, not that of a bin.
    Probabilities have shape (batch, count, ...).
    """

    values: Tensor
    edges: Tensor

    def __init__(self, count: int = 32, lowest: float = 1.5, highest: float = 200.0) -> None:
        super().__init__()
        if count < 2 or not 0.0 < lowest < highest:
            msg = (
                f"found {count} values from {lowest} to {highest} m, expected at least two that "
                "rise from above 0"
            )
            raise ValueError(msg)
        values = np.geomspace(lowest, highest, count)
        # Edges are geometric means of neighbours, and lie as far beyond the first and last.
        between = np.sqrt(values[1:] * values[:-1])
        edges = np.concatenate([[lowest**2 / between[0]], between, [highest**2 / between[-1]]])
        self.register_buffer("values", torch.tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32), persistent=False)

    def soft_labels(self, height: Tensor) -> Tensor:
        """Return the shares of heights, shape (n,), in the two next values, shape (n, count)."""
        inside = height.clamp(self.values[0], self.values[-1])
        upper = torch.searchsorted(self.values, inside).clamp(1, len(self.values) - 1)
        below, above = self.values[upper - 1], self.values[upper]
        share = ((inside - below) / (above - below))[:, None]
        labels = torch.zeros(len(height), len(self.values), device=height.device)
        labels.scatter_(1, upper[:, None] - 1, 1.0 - share)
        return labels.scatter_(1, upper[:, None], share)

    def mean(self, probabilities: Tensor) -> Tensor:
        """Return the means in metres, shape (batch, 1, ...)."""
        return self._expectation(probabilities, self.values)

    def mean_square_deviation(self, probabilities: Tensor, height: Tensor) -> Tensor:
        """Return E[(h - height)^2] in square metres; `height` and result: (batch, 1, ...)."""
        square = self._expectation(probabilities, self.values**2)
        return square - 2.0 * height * self.mean(probabilities) + height**2

    def _expectation(self, probabilities: Tensor, values: Tensor) -> Tensor:
        # A sum, no matrix product: those may be taken in reduced precision.
        along = values.view(1, -1, *[1] * (probabilities.ndim - 2))
        return (probabilities * along).sum(dim=1, keepdim=True)

    def quantile(self, probabilities: Tensor, level: Tensor) -> Tensor:
        """Return the quantiles at levels of shape (batch, 1, ...), in the same shape.

        Within a bin, between its edges, the density is uniform.
        """
        cumulative = probabilities.cumsum(dim=1)
        index = (cumulative < level).sum(dim=1, keepdim=True).clamp(max=probabilities.shape[1] - 1)
        mass = probabilities.gather(1, index)
        before = cumulative.gather(1, index) - mass
        share = ((level - before) / mass.clamp(min=1e-12)).clamp(0.0, 1.0)
        low, high = self.edges[index], self.edges[index + 1]
        return low + share * (high - low)


class BuildingEstimate(NamedTuple):
    """Estimate of building heights; NaN where a patch has no image at all.

    Attributes
    ----------
    height : Tensor, shape (batch, 1, rows, columns)
        Metres above the ground, 0 where there is no building; the mean of the distribution where
        there is one.
    footprint : Tensor or None
        Built share of the cell, 0 to 1.
    sigma : Tensor or None
        Standard deviation of the height in metres.
    novelty : Tensor or None
        Distance of the images from those of training, see `ImageNovelty`.
    """

    height: Tensor
    footprint: Tensor | None
    sigma: Tensor | None
    novelty: Tensor | None = None


class BuildingDistribution(NamedTuple):
    """Distribution of the building height of a cell, before calibration.

    Attributes
    ----------
    built : Tensor, shape (batch, 1, rows, columns)
        Logit of the probability that there is a building.
    footprint : Tensor, shape (batch, 1, rows, columns)
        Logit of the built share.
    heights : Tensor, shape (batch, bins, rows, columns)
        Logits of the heights, if there is a building.
    novelty : Tensor or None, shape (batch, 1, rows, columns)
        Distance of the images from those of training; None before it is known what they are.
    """

    built: Tensor
    footprint: Tensor
    heights: Tensor
    novelty: Tensor | None = None


# How far images are from those of training.

PROTOTYPES = 32
"""Places of training that stand for all of them."""
NEIGHBOURHOOD = 25
"""Cells along a side over which images are averaged: single cells are speckle."""
LEAST_VARIANCE = 0.02
"""Share of the largest variance below which a direction of the features counts as noise."""
LEAST_SPREAD = 0.03
"""Standard deviation, in normalised units, below which a direction counts as noise, too."""
TYPICAL = 0.9
"""Share of the validation cells whose novelty is at most 1."""


class ImageNovelty(nn.Module):
    """Distance of images from those of training, for each cell.

    Features are mean, standard deviation, minimum and maximum over the months of each band,
    averaged over a neighbourhood, and the variation of the mean in it. They are whitened by their
    covariance in training (a Mahalanobis distance), and the distance is that to the nearest of
    `PROTOTYPES` centres of clusters: cities have more than one kind of ground. A modality without
    images does not count. The distance is 1 where `TYPICAL` of the validation cells are nearer.

    Parameters
    ----------
    channels : mapping of int
        Bands by modality.

    References
    ----------
    Lee, K. et al. (2018). A simple unified framework for detecting out-of-distribution samples.
    NeurIPS, arXiv:1807.03888: distances to class centres with a common covariance.
    """

    limit: Tensor

    def __init__(self, channels: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = {name: 5 * count for name, count in channels.items()}
        for name, size in self.sizes.items():
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_whitening", torch.zeros(size, size))
            self.register_buffer(f"{name}_prototypes", torch.zeros(PROTOTYPES, size))
        # The distance that counts as 1; 0 before training.
        self.register_buffer("limit", torch.zeros(()))

    @property
    def is_known(self) -> bool:
        """Whether images of training were shown to it."""
        return bool(self.limit > 0.0)

    def features(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Return by modality features, (batch, size, rows, columns), and where there are images."""
        found = {}
        for name in self.sizes:
            *statistics, share = month_statistics(images[name].float(), valid[name])
            seen = (share > 0.0).float()
            mean = statistics[0]
            averages = _local_mean(torch.cat([*statistics, mean**2], dim=1), seen)
            count = mean.shape[1]
            variance = averages[:, -count:] - averages[:, :count] ** 2
            variation = torch.sqrt(variance.clamp(min=0.0))
            found[name] = torch.cat([averages[:, :-count], variation], dim=1), seen > 0.0
        return found

    def forward(self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor]) -> Tensor:
        """Return the distance, shape (batch, 1, rows, columns); NaN where there is no image."""
        squares: Tensor | float = 0.0
        sizes: Tensor | float = 0.0
        for name, (features, seen) in self.features(images, valid).items():
            mean, whitening, prototypes = (
                self.get_buffer(f"{name}_{part}") for part in ("mean", "whitening", "prototypes")
            )
            white = (features.movedim(1, -1) - mean) @ whitening
            square = torch.cdist(white.flatten(0, 2), prototypes).square()
            square = square.view(*white.shape[:-1], PROTOTYPES)
            squares = squares + square * seen.movedim(1, -1)
            sizes = sizes + self.sizes[name] * seen
        counted = cast("Tensor", sizes)
        nearest = cast("Tensor", squares).amin(dim=-1).unsqueeze(1)
        distance = torch.sqrt(nearest / counted.clamp(min=1.0)) / self.limit.clamp(min=1e-12)
        return distance.masked_fill(counted == 0.0, torch.nan)

    def learn(self, features: Mapping[str, NDArray[np.float32]], seed: int) -> None:
        """Take mean, covariance and prototypes from features of training, (n, size) by modality.

        Rows of all modalities are the same places: prototypes are clusters of joint features.
        """
        whitened, count = [], 0
        for name, values in features.items():
            count = len(values)
            mean = values.mean(axis=0, dtype=np.float64)
            variances, axes = np.linalg.eigh(np.cov(values - mean, rowvar=False))
            floor = max(LEAST_VARIANCE * variances.max(), LEAST_SPREAD**2)
            whitening = axes / np.sqrt(np.maximum(variances, floor))
            whitened.append((values - mean) @ whitening)
            self.get_buffer(f"{name}_mean").copy_(torch.from_numpy(mean))
            self.get_buffer(f"{name}_whitening").copy_(torch.from_numpy(whitening))
        joint = np.concatenate(whitened, axis=1)
        clusters = min(PROTOTYPES, count)
        with warnings.catch_warnings():
            # A cluster that loses all its places keeps its centre, which does no harm.
            warnings.filterwarnings("ignore", message="One of the clusters is empty")
            centres, _ = kmeans2(joint, clusters, minit="points", rng=np.random.default_rng(seed))
        # Where there are fewer places than prototypes, the last one is repeated.
        centres = centres[np.minimum(np.arange(PROTOTYPES), clusters - 1)]
        first = 0
        for name in features:
            part = centres[:, first : first + self.sizes[name]]
            self.get_buffer(f"{name}_prototypes").copy_(torch.from_numpy(part))
            first += self.sizes[name]
        self.limit.fill_(1.0)


def _local_mean(values: Tensor, seen: Tensor) -> Tensor:
    """Average over a neighbourhood where there are values; (batch, channels, rows, columns)."""

    def total(each: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(each, NEIGHBOURHOOD, 1, NEIGHBOURHOOD // 2)

    return total(values * seen) / total(seen).clamp(min=1e-6)


HEIGHT_CLASSES = (6.0, 12.0, 25.0, 50.0, 100.0)
"""Estimated heights in metres between which uncertainty is calibrated class by class."""


class SeriesDistribution(nn.Module):
    """`SeriesNet` with a distribution of heights as its output."""

    temperatures: Tensor
    sigma_factors: Tensor
    class_edges: Tensor

    def __init__(self, channels: Mapping[str, int], options: Mapping[str, Any]) -> None:
        super().__init__()
        rest = dict(options)
        self.bins = HeightBins(**rest.pop("bins", {}))
        self.network = SeriesNet(channels, 2 + len(self.bins.values), **rest)
        self.stride = self.network.stride
        self.novelty = ImageNovelty(channels)
        # Set by calibration: divisors of the logits of a building and, by class of the estimated
        # height, of those of the heights; factors of sigma by class.
        self.register_buffer("temperatures", torch.ones(2 + len(HEIGHT_CLASSES)))
        self.register_buffer("sigma_factors", torch.ones(1 + len(HEIGHT_CLASSES)))
        edges = torch.tensor(HEIGHT_CLASSES)
        self.register_buffer("class_edges", edges, persistent=False)

    def logits(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> BuildingDistribution:
        """Return the distribution before calibration."""
        output = self.network(images, valid, month).float()
        novelty = self.novelty(images, valid) if self.novelty.is_known else None
        return BuildingDistribution(output[:, :1], output[:, 1:2], output[:, 2:], novelty)

    def mean(self, distribution: BuildingDistribution) -> Tensor:
        """Return the mean heights in metres, no building counted as 0."""
        return torch.sigmoid(distribution.built) * self.bins.mean(
            torch.softmax(distribution.heights, dim=1)
        )

    def calibrated(self, distribution: BuildingDistribution) -> tuple[Tensor, Tensor]:
        """Return the calibrated probabilities of a building, and of its heights."""
        built = torch.sigmoid(distribution.built / self.temperatures[0])
        width = self.temperatures[1 + self.height_class(distribution.heights)]
        width = width * self.widening(distribution)
        return built, torch.softmax(distribution.heights / width, dim=1)

    def height_class(self, heights: Tensor) -> Tensor:
        """Return the class of the mean height of a building, for logits (batch, bins, ...)."""
        mean = self.bins.mean(torch.softmax(heights, dim=1))
        return torch.bucketize(mean, self.class_edges)

    def widening(self, distribution: BuildingDistribution) -> Tensor | float:
        """Return the factor of uncertainty where images are unlike those of training, 1 or more."""
        if distribution.novelty is None:
            return 1.0
        return torch.nan_to_num(distribution.novelty, nan=1.0).clamp(min=1.0)

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> BuildingEstimate:
        """Return mean, built share and standard deviation."""
        distribution = self.logits(images, valid, month)
        height = self.mean(distribution)
        built, heights = self.calibrated(distribution)
        # Var = p E[(h - mean)^2 | building] + (1 - p) mean^2, where no building counts as 0 m.
        deviation = self.bins.mean_square_deviation(heights, height)
        variance = built * deviation + (1.0 - built) * height**2
        factor = self.sigma_factors[torch.bucketize(height, self.class_edges)]
        sigma = factor * self.widening(distribution) * torch.sqrt(variance.clamp(min=0.0))
        footprint = torch.sigmoid(distribution.footprint)
        return BuildingEstimate(height, footprint, sigma, distribution.novelty)

    def initialise(self, heights: Tensor, footprint: Tensor) -> None:
        """Make the distribution of heights in metres and built shares, both (n,), the first output.

        Both are free of NaN, and some heights are above 0.
        """
        built = heights > 0.0
        shares = self.bins.soft_labels(heights[built]).mean(dim=0)
        means = torch.tensor([float(built.float().mean()), float(footprint.mean())])
        logits = torch.logit(means, eps=MIN_PROBABILITY)
        head = self.network.network.head
        nn.init.zeros_(head.weight)
        with torch.no_grad():
            cast("Tensor", head.bias).copy_(
                torch.cat([logits, torch.log(shares.clamp(min=MIN_BIN_SHARE))])
            )


# The loss.

HEIGHTS_WEIGHT = 0.5
"""Weight of the cross entropy of the heights, which is some three times the binary ones."""


def distribution_loss(
    distribution: BuildingDistribution,
    mean: Tensor,
    bins: HeightBins,
    truth: Tensor,
    footprint: Tensor,
    unit: float,
) -> Tensor:
    """Return the loss of a distribution of heights; NaN in `truth` or `footprint` does not count.

    The sum of the cross entropies of built cells, of the built share and (halved) of the heights of
    buildings, and of the squared error of the mean in units of `unit` metres. Maps have shape
    (batch, 1, rows, columns).
    """
    known = torch.isfinite(truth)
    built = known & (truth > 0.0)
    error = torch.where(known, truth - mean, 0.0) / unit
    loss = (error**2).sum() / known.sum().clamp(min=1)
    loss = loss + _binary_cross_entropy(distribution.built, built.to(mean.dtype), known)
    loss = loss + _binary_cross_entropy(
        distribution.footprint, footprint, torch.isfinite(footprint)
    )
    log_probabilities = log_softmax(distribution.heights, dim=1).movedim(1, -1)[built[:, 0]]
    cross_entropy = -(bins.soft_labels(truth[built]) * log_probabilities).sum()
    return loss + HEIGHTS_WEIGHT * cross_entropy / built.sum().clamp(min=1)


def _binary_cross_entropy(logits: Tensor, share: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross entropy of shares where they are known."""
    each = binary_cross_entropy_with_logits(
        logits, torch.where(known, share, 0.0), reduction="none"
    )
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)
