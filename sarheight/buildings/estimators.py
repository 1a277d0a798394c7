"""Estimators of building heights: networks in physical units, and their maps of whole cities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from sarheight.buildings._networks import MBHRNet, ResNet50, SeriesNet, load_resnet_weights
from sarheight.buildings.stack import BANDS, check_stack
from sarheight.errors import CheckpointError
from sarheight.learning.tiles import Corner, Mosaic, Tiling, match_chunks
from sarheight.learning.weights import Channel, Pretrained, select_device

if TYPE_CHECKING:
    import os

    from sarheight.buildings._networks import LoadedWeights

# Distributions of heights.

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
    """

    height: Tensor
    footprint: Tensor | None
    sigma: Tensor | None


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
    """

    built: Tensor
    footprint: Tensor
    heights: Tensor


class _MonthlyRegression(nn.Module):
    """MBHR-Net on each month, and the mean of its heights."""

    def __init__(self, channels: Mapping[str, int], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.network = MBHRNet(channels, **options)
        self.stride = self.network.stride

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], _month: Tensor
    ) -> BuildingEstimate:
        """Return the mean of the heights over the months that have an image."""
        batch, months = next(iter(images.values())).shape[:2]
        present = torch.stack([each.flatten(2).any(dim=2) for each in valid.values()]).any(dim=0)
        chosen = present.flatten()
        flat = {
            name: image.flatten(0, 1)[chosen].contiguous(memory_format=torch.channels_last)
            for name, image in images.items()
        }
        shape = next(iter(images.values())).shape[-2:]
        heights = torch.zeros(batch * months, 1, *shape, device=chosen.device)
        if bool(chosen.any()):
            heights[chosen] = self.network(flat).float()
        count = present.sum(dim=1).clamp(min=1)[:, None, None, None]
        total = heights.view(batch, months, 1, *shape).sum(dim=1)
        return BuildingEstimate(total / count, None, None)


class SeriesDistribution(nn.Module):
    """`SeriesNet` with a distribution of heights as its output."""

    temperatures: Tensor
    sigma_factor: Tensor

    def __init__(self, channels: Mapping[str, int], options: Mapping[str, Any]) -> None:
        super().__init__()
        rest = dict(options)
        self.bins = HeightBins(**rest.pop("bins", {}))
        self.network = SeriesNet(channels, 2 + len(self.bins.values), **rest)
        self.stride = self.network.stride
        # Set by calibration: divisors of the two kinds of logits, and the factor of sigma.
        self.register_buffer("temperatures", torch.ones(2))
        self.register_buffer("sigma_factor", torch.ones(()))

    def logits(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> BuildingDistribution:
        """Return the distribution before calibration."""
        output = self.network(images, valid, month).float()
        return BuildingDistribution(output[:, :1], output[:, 1:2], output[:, 2:])

    def mean(self, distribution: BuildingDistribution) -> Tensor:
        """Return the mean heights in metres, no building counted as 0."""
        return torch.sigmoid(distribution.built) * self.bins.mean(
            torch.softmax(distribution.heights, dim=1)
        )

    def calibrated(self, distribution: BuildingDistribution) -> tuple[Tensor, Tensor]:
        """Return the calibrated probabilities of a building, and of its heights."""
        built = torch.sigmoid(distribution.built / self.temperatures[0])
        return built, torch.softmax(distribution.heights / self.temperatures[1], dim=1)

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
        sigma = self.sigma_factor * torch.sqrt(variance.clamp(min=0.0))
        return BuildingEstimate(height, torch.sigmoid(distribution.footprint), sigma)

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

    def interval(self, distribution: BuildingDistribution, level: float) -> tuple[Tensor, Tensor]:
        """Return the limits in metres of the central interval of a probability, calibrated."""
        built, heights = self.calibrated(distribution)
        limits = []
        for quantile in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
            # The probability of no building, 1 - p, lies at 0 m, below all heights.
            above = (quantile - (1.0 - built)) / built.clamp(min=MIN_PROBABILITY)
            height = self.bins.quantile(heights, above.clamp(0.0, 1.0))
            limits.append(torch.where(above > 0.0, height, 0.0))
        return limits[0], limits[1]


# The estimator.

BUILDING_NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mbhr": _MonthlyRegression,
    "series": SeriesDistribution,
}


class BuildingHeightEstimator(Pretrained):
    """A network in physical units: power and reflectance in, metres out.

    Parameters
    ----------
    channels : mapping of sequence of Channel
        Bands of ``sar`` (linear power) and ``optical`` (reflectance), in their order in the input.
        A modality without bands is not used.
    network : {"series", "mbhr"}
        `SeriesNet` with a distribution of heights, or `MBHRNet`, which takes one month; of several
        months, its estimate is the mean of those of each month.
    options : mapping, optional
        Arguments of the network: for ``mbhr`` variant and skips; for ``series`` width, depth,
        months_width, heads, and bins: count, lowest and highest of the heights in metres.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If a name is unknown, or there is no band.
    """

    kind: ClassVar[str] = "building heights"

    def __init__(
        self,
        channels: Mapping[str, Sequence[Channel]],
        *,
        network: str = "series",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        unknown = set(channels) - set(BANDS)
        self.channels = {name: tuple(bands) for name, bands in channels.items() if bands}
        if network not in BUILDING_NETWORKS or unknown or not self.channels:
            msg = (
                f"found network {network!r} and the modalities {', '.join(channels) or 'none'}, "
                f"expected one of {', '.join(BUILDING_NETWORKS)}, and bands of sar, optical or both"
            )
            raise ValueError(msg)
        self.network_kind, self.options = network, dict(options or {})
        counts = {name: len(bands) for name, bands in self.channels.items()}
        self.network = BUILDING_NETWORKS[network](counts, self.options)
        self.stride = cast("int", self.network.stride)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of this estimator, in JSON's types."""
        return {
            "channels": {
                name: [channel.as_dict() for channel in bands]
                for name, bands in self.channels.items()
            },
            "network": self.network_kind,
            "options": self.options,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make an estimator of a `configuration`, with random weights."""
        rest = dict(configuration)
        channels = {
            name: [Channel(**channel) for channel in bands]
            for name, bands in rest.pop("channels").items()
        }
        return cls(channels, **rest)

    @property
    def gives_distribution(self) -> bool:
        """Whether it estimates a distribution of heights, and so a footprint and an uncertainty."""
        return isinstance(self.network, SeriesDistribution)

    @property
    def distribution_network(self) -> SeriesDistribution:
        """The network, which must be one with a distribution."""
        if not isinstance(self.network, SeriesDistribution):
            msg = f"found the network {self.network_kind!r}, expected 'series', with a distribution"
            raise ValueError(msg)  # noqa: TRY004  # what is wrong is the configuration's value
        return self.network

    def forward(self, sample: Mapping[str, Tensor]) -> BuildingEstimate:
        """Estimate building heights.

        Parameters
        ----------
        sample : mapping of Tensor
            ``sar`` and ``optical``, shape (batch, months, bands, rows, columns), in the units of
            `channels`, NaN where there is no value; a missing one may be left out. ``month``, shape
            (batch, months): month of the year, 1 to 12; may be left out.

        Returns
        -------
        BuildingEstimate

        Raises
        ------
        ValueError
            If no modality of the network is present, or one has other bands.
        """
        images, valid, month = self._inputs(sample)
        estimate = cast("BuildingEstimate", self.network(images, valid, month))
        known = torch.stack([each.flatten(1).any(dim=1) for each in valid.values()]).any(dim=0)
        blank = ~known[:, None, None, None]
        height, *rest = estimate
        footprint, sigma = (
            None if each is None else each.masked_fill(blank, torch.nan) for each in rest
        )
        return BuildingEstimate(height.masked_fill(blank, torch.nan), footprint, sigma)

    def distribution(self, sample: Mapping[str, Tensor]) -> BuildingDistribution:
        """Return the distribution of heights before calibration.

        Raises
        ------
        ValueError
            If the network has none, or the sample does not fit.
        """
        return self.distribution_network.logits(*self._inputs(sample))

    def interval(self, distribution: BuildingDistribution, level: float) -> tuple[Tensor, Tensor]:
        """Return the limits between which heights lie with a probability of `level`, calibrated.

        Parameters
        ----------
        distribution : BuildingDistribution
            As the method `distribution` returns it.
        level : float
            Between 0 and 1.

        Returns
        -------
        lower, upper : Tensor, shape (batch, 1, rows, columns)
            Metres.
        """
        return self.distribution_network.interval(distribution, level)

    def load_encoders(
        self, weights: Mapping[str, str | os.PathLike[str]]
    ) -> dict[str, LoadedWeights]:
        """Load public weights of ResNet50 into the encoders, see `load_resnet_weights`.

        Parameters
        ----------
        weights : mapping of path-like
            Files by modality.

        Returns
        -------
        dict of LoadedWeights
            By modality the weights that were loaded, and those that were left out.

        Raises
        ------
        CheckpointError
            If a file cannot be read, or its weights are not those of a ResNet50.
        ValueError
            If the network has no such encoder.
        """
        if not isinstance(self.network, _MonthlyRegression):
            msg = f"found the network {self.network_kind!r}, expected 'mbhr': it has no ResNet50"
            raise ValueError(msg)  # noqa: TRY004  # what is wrong is the configuration's value
        encoders = self.network.network.encoders
        unknown = sorted(set(weights) - set(encoders))
        if unknown:
            msg = f"found weights of {', '.join(unknown)}, expected some of {', '.join(encoders)}"
            raise ValueError(msg)
        return {
            name: load_resnet_weights(cast("ResNet50", encoders[name]), path)
            for name, path in weights.items()
        }

    def _inputs(
        self, sample: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return normalised images, where they have values, and the month of the year."""
        present = [sample[name] for name in self.channels if name in sample]
        if not present:
            msg = f"found no {' and no '.join(self.channels)} in the sample, expected at least one"
            raise ValueError(msg)
        like = present[0]
        batch, months = like.shape[:2]
        images, valid = {}, {}
        for name, bands in self.channels.items():
            shape = (batch, months, len(bands), *like.shape[-2:])
            image = sample.get(name)
            if image is None:
                image = like.new_full(shape, torch.nan)
            if image.shape != shape:
                names = ", ".join(channel.name for channel in bands)
                msg = (
                    f"found {name} of shape {tuple(image.shape)}, expected {shape} with the bands "
                    f"{names}"
                )
                raise ValueError(msg)
            valid[name] = torch.isfinite(image).any(dim=2, keepdim=True)
            images[name] = torch.stack(
                [band.normalise(image[:, :, number]) for number, band in enumerate(bands)], dim=2
            )
        month = sample.get("month")
        if month is None:
            month = torch.zeros(batch, months, dtype=torch.int64, device=like.device)
        return images, valid, month


# Maps of building heights.

Floats = NDArray[np.float32]
TILING = Tiling(size=128, overlap=32)
LAYERS = {
    "height": ("estimated height of buildings above the ground", "m"),
    "footprint": ("estimated built share of the cell", "1"),
    "height_sigma": ("standard deviation of the height", "m"),
}
"""Variables of a map in the order of a `BuildingEstimate`: long names and units."""


def predict_buildings(
    estimator: BuildingHeightEstimator,
    stack: xr.Dataset,
    *,
    tiling: Tiling | None = None,
    block: int = 512,
    device: str = "auto",
    report: Callable[[float], None] | None = None,
) -> xr.Dataset:
    """Estimate the building heights of a city of any size.

    The network is applied to overlapping tiles, whose estimates are blended. A dask-backed stack
    is read a block at a time, and the result is lazy as well; otherwise the result is computed
    at once.

    Parameters
    ----------
    estimator : BuildingHeightEstimator
        A trained network.
    stack : xarray.Dataset
        A city stack, see `sarheight.buildings.check_stack`, with the bands that the estimator's
        channels name. Months may be missing. A network for series can do without a modality, one
        for single months cannot; its heights are the mean of those of each month.
    tiling : Tiling, optional
        Size and overlap of the tiles, by default 128 and 32 cells. The size must be a multiple of
        the estimator's stride.
    block : int
        Cells along a side of a block: memory grows with its square.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Called with the finished share of the work after each block; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ground. Where the estimator has a distribution
        also ``footprint``, the built share of the cell, and ``height_sigma``, the standard
        deviation of the height in metres. NaN where no tile has an image in any month.

    Raises
    ------
    CheckpointError
        If the stack lacks a band of the estimator.
    StackError
        If it is no city stack.
    ValueError
        If tiles do not fit the network, or there is no such device.
    """
    chosen = TILING if tiling is None else tiling
    chosen.require_fit(estimator.stride, block)
    images = _images(estimator, check_stack(stack, posting=None))
    names = tuple(images)
    month = torch.from_numpy(stack["month"].dt.month.values.astype(np.int64))
    estimator.to(select_device(device)).eval()

    def estimate(tiles: list[Floats], _corners: list[Corner]) -> Floats:
        place = next(estimator.parameters()).device
        sample = {
            name: torch.from_numpy(np.ascontiguousarray(values)).to(place)
            for name, values in zip(names, tiles, strict=True)
        }
        sample["month"] = month.expand(len(tiles[0]), -1).to(place)
        with torch.inference_mode():
            layers = [each for each in estimator(sample) if each is not None]
        return np.asarray(torch.cat(layers, dim=1).float().cpu().numpy())

    count = len(LAYERS) if estimator.gives_distribution else 1
    values = Mosaic(tuple(images.values()), estimate, count, chosen).compute(block, report)
    kept = [name for name in stack.coords if set(stack[name].dims) <= {"y", "x"}]
    result = xr.Dataset(coords={name: stack[name] for name in kept})
    for layer, (name, (label, units)) in zip(values, LAYERS.items(), strict=False):
        attributes = {"long_name": label, "units": units, "grid_mapping": "spatial_ref"}
        result[name] = (("y", "x"), layer, attributes)
    result.attrs["months"] = int(stack.sizes["month"])
    if "simulated" in stack.attrs:
        result.attrs["simulated"] = stack.attrs["simulated"]
    return match_chunks(values, result)


def _images(estimator: BuildingHeightEstimator, stack: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the bands of an estimator in a stack, by modality."""
    images, missing = {}, []
    for name, channels in estimator.channels.items():
        if name not in stack:
            missing.append(name)
            continue
        axis = BANDS[name][0]
        bands = [channel.name for channel in channels]
        available = [str(band) for band in stack[axis].values]
        lacking = [band for band in bands if band not in available]
        if lacking:
            msg = (
                f"found no {', '.join(lacking)} among the {name} bands {', '.join(available)}; the "
                "model was trained with them: add them by sarheight.buildings.select_bands"
            )
            raise CheckpointError(msg)
        images[name] = stack[name].sel({axis: bands})
    if missing and (not images or not estimator.gives_distribution):
        msg = (
            f"found no {' and no '.join(missing)} in the stack, which the model requires: add the "
            "images, or use a model that was trained without them"
        )
        raise CheckpointError(msg)
    return images
