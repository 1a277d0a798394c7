"""Estimators of building heights: networks in physical units, and their maps of whole cities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn

from sarheight.buildings.distributions import (
    MIN_PROBABILITY,
    BuildingDistribution,
    BuildingEstimate,
    SeriesDistribution,
)
from sarheight.buildings.mbhr import MBHRNet
from sarheight.buildings.resnet import ResNet50, load_resnet_weights
from sarheight.buildings.stack import BANDS, check_stack
from sarheight.errors import CheckpointError
from sarheight.learning.channels import Channel, normalise, require_channels
from sarheight.learning.tiles import Corner, Mosaic, Tiling, as_tensors, match_chunks
from sarheight.learning.weights import Pretrained, select_device

if TYPE_CHECKING:
    import os

    from sarheight.buildings.resnet import LoadedWeights


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
        Arguments of the network: for ``mbhr`` variant, skips and plain_skip; for ``series`` width,
        depth, months_width, heads, and bins: count, lowest and highest of the heights in metres.

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

    @property
    def mbhr_network(self) -> MBHRNet:
        """The network, which must be MBHR-Net."""
        if not isinstance(self.network, _MonthlyRegression):
            msg = f"found the network {self.network_kind!r}, expected 'mbhr': it has no ResNet50"
            raise ValueError(msg)  # noqa: TRY004  # what is wrong is the configuration's value
        return self.network.network

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
        images, valid, month = self.inputs(sample)
        estimate = cast("BuildingEstimate", self.network(images, valid, month))
        known = torch.stack([each.flatten(1).any(dim=1) for each in valid.values()]).any(dim=0)
        blank = ~known[:, None, None, None]
        height, *rest = estimate
        others = [None if each is None else each.masked_fill(blank, torch.nan) for each in rest]
        return BuildingEstimate(height.masked_fill(blank, torch.nan), *others)

    def distribution(self, sample: Mapping[str, Tensor]) -> BuildingDistribution:
        """Return the distribution of heights before calibration.

        Raises
        ------
        ValueError
            If the network has none, or the sample does not fit.
        """
        return self.distribution_network.logits(*self.inputs(sample))

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
        network = self.distribution_network
        built, heights = network.calibrated(distribution)
        limits = []
        for quantile in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
            # The probability of no building, 1 - p, lies at 0 m, below all heights.
            above = (quantile - (1.0 - built)) / built.clamp(min=MIN_PROBABILITY)
            height = network.bins.quantile(heights, above.clamp(0.0, 1.0))
            limits.append(torch.where(above > 0.0, height, 0.0))
        return limits[0], limits[1]

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
        encoders = self.mbhr_network.encoders
        unknown = sorted(set(weights) - set(encoders))
        if unknown:
            msg = f"found weights of {', '.join(unknown)}, expected some of {', '.join(encoders)}"
            raise ValueError(msg)
        return {
            name: load_resnet_weights(cast("ResNet50", encoders[name]), path)
            for name, path in weights.items()
        }

    def inputs(
        self, sample: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return normalised images, where they have values, and the month of the year.

        Shapes are those of the sample; of where there are values, with one band.
        """
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
            images[name] = normalise(bands, image, axis=2)
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
    "novelty": ("distance of the images from those of training, above 1 outside their range", "1"),
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
        Cells along a side of the chunks of a lazy result: memory grows with its square.
    device : str
        "auto" takes a GPU if there is one, "cpu", "cuda", "mps".
    report : callable, optional
        Called repeatedly with the finished share of the work; not for a lazy result.

    Returns
    -------
    xarray.Dataset
        Dims (y, x): ``height`` in metres above the ground. Where the estimator has a distribution
        also ``footprint``, the built share of the cell, ``height_sigma``, the standard deviation of
        the height in metres, and ``novelty``, the distance of the images from those of training:
        where it is above 1, the images are unlike them, and neither the height nor its standard
        deviation was tested. NaN where no tile has an image in any month.

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
    month = stack["month"].dt.month.values.astype(np.int64)
    estimator.to(select_device(device)).eval()

    def estimate(tiles: list[Floats], _corners: list[Corner]) -> Floats:
        months = np.tile(month, (len(tiles[0]), 1))
        arrays = dict(zip(images, tiles, strict=True)) | {"month": months}
        sample = as_tensors(arrays, next(estimator.parameters()).device)
        with torch.inference_mode():
            layers = [each for each in estimator(sample) if each is not None]
        return np.asarray(torch.cat(layers, dim=1).float().cpu().numpy())

    count = 1
    if estimator.gives_distribution:
        count = len(LAYERS) - (not estimator.distribution_network.novelty.is_known)
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
        available = [str(band) for band in stack[axis].values]
        advice = "add it by sarheight.buildings.select_bands"
        require_channels(channels, available, f"{name} of a stack", advice)
        images[name] = stack[name].sel({axis: [channel.name for channel in channels]})
    if missing and (not images or not estimator.gives_distribution):
        msg = (
            f"found no {' and no '.join(missing)} in the stack, which the model requires: add the "
            "images, or use a model that was trained without them"
        )
        raise CheckpointError(msg)
    return images
