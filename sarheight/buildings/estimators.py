"""Estimators of building heights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

from sarheight.buildings._networks import (
    BuildingDistribution,
    BuildingEstimate,
    Distribution,
    HeightBins,
    Regression,
)
from sarheight.buildings._resnet import load_resnet_weights
from sarheight.learning.weights import Channel, Pretrained

if TYPE_CHECKING:
    import os

    from sarheight.buildings._resnet import LoadedWeights, ResNet50

Network = Callable[..., nn.Module]


BUILDING_NETWORKS: dict[str, Network] = {"mbhr": Regression, "series": Distribution}


class BuildingHeightEstimator(Pretrained):
    """A network between physical units: power and reflectance in, metres out.

    Parameters
    ----------
    channels : mapping of sequence of Channel
        Bands of ``sar`` (linear power) and ``optical`` (reflectance), in the order in which they
        come. A modality without bands is one that the network does not look at.
    network : {"series", "mbhr"}
        `SeriesNet` with a distribution of heights, or `MBHRNet`, which looks at one month; given
        several, its estimate is the mean of those for each month.
    options : mapping, optional
        Arguments of the network: for ``mbhr`` variant and skips; for ``series`` width, depth,
        months_width, heads, and bins (count, lowest, highest; see `HeightBins`).

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If a name is not known, or there is no band.
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
        strange = sorted(set(channels) - {"sar", "optical"})
        self.channels = {name: tuple(bands) for name, bands in channels.items() if bands}
        if network not in BUILDING_NETWORKS or strange or not self.channels:
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
        """Return the arguments that make this estimator again, in JSON's types."""
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
        """Make the estimator that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = {
            name: [Channel(**channel) for channel in bands]
            for name, bands in rest.pop("channels").items()
        }
        return cls(channels, **rest)

    @property
    def gives_distribution(self) -> bool:
        """Whether there is a distribution of heights, and so a footprint and an uncertainty."""
        return isinstance(self.network, Distribution)

    def forward(self, sample: Mapping[str, Tensor]) -> BuildingEstimate:
        """Estimate building heights.

        Parameters
        ----------
        sample : mapping of Tensor
            ``sar`` and ``optical``, shape (batch, months, bands, rows, columns), in the units that
            `channels` states, NaN where there is no value; one that is missing may be left out.
            ``month``, shape (batch, months): month of the year, 1 to 12; may be left out.

        Returns
        -------
        BuildingEstimate

        Raises
        ------
        ValueError
            If there is no modality that the network looks at, or one has other bands.
        """
        images, valid, month = self._seen(sample)
        estimate = cast("BuildingEstimate", self.network(images, valid, month))
        nothing = ~torch.stack([each.flatten(1).any(dim=1) for each in valid.values()]).any(dim=0)
        blank = nothing[:, None, None, None]
        height, *rest = estimate
        footprint, sigma = (
            None if each is None else each.masked_fill(blank, torch.nan) for each in rest
        )
        return BuildingEstimate(height.masked_fill(blank, torch.nan), footprint, sigma)

    def load_encoders(
        self, weights: Mapping[str, str | os.PathLike[str]]
    ) -> dict[str, LoadedWeights]:
        """Begin with public weights of ResNet50, see `load_resnet_weights`.

        Parameters
        ----------
        weights : mapping of path-like
            Files by modality.

        Returns
        -------
        dict of LoadedWeights
            What was taken from each, and what was left out.

        Raises
        ------
        CheckpointError
            If a file cannot be read, or its weights are not those of a ResNet50.
        ValueError
            If the network has no such encoder.
        """
        if not isinstance(self.network, Regression):
            msg = f"found the network {self.network_kind!r}, expected 'mbhr': it has no ResNet50"
            raise ValueError(msg)  # noqa: TRY004  # what is wrong is the configuration's value
        encoders = self.network.network.encoders
        strange = sorted(set(weights) - set(encoders))
        if strange:
            msg = f"found weights of {', '.join(strange)}, expected some of {', '.join(encoders)}"
            raise ValueError(msg)
        return {
            name: load_resnet_weights(cast("ResNet50", encoders[name]), path)
            for name, path in weights.items()
        }

    def distribution(self, sample: Mapping[str, Tensor]) -> BuildingDistribution:
        """Return the distribution of heights as the network gives it, before calibration.

        Raises
        ------
        ValueError
            If the network gives none, or the sample does not fit.
        """
        return self._distributed().logits(*self._seen(sample))

    def begin_at(self, heights: Tensor, footprint: Tensor) -> None:
        """Make the distribution of given heights the first estimate of an untrained network.

        Parameters
        ----------
        heights : Tensor, shape (n,)
            Metres, 0 where there is no building; without NaN, and some above 0.
        footprint : Tensor, shape (n,)
            Built shares.
        """
        distributed = self._distributed()
        built = heights > 0.0
        shares = distributed.bins.shares(heights[built]).mean(dim=0)
        distributed.begin_at(float(built.float().mean()), float(footprint.mean()), shares)

    def mean(self, found: BuildingDistribution) -> Tensor:
        """Return the mean heights of a distribution in metres."""
        return self._distributed().mean(found)

    def interval(self, found: BuildingDistribution, level: float) -> tuple[Tensor, Tensor]:
        """Return the limits between which heights lie with a chance of `level`, calibrated.

        Parameters
        ----------
        found : BuildingDistribution
            As `distribution` returns it.
        level : float
            Between 0 and 1.

        Returns
        -------
        lower, upper : Tensor, shape (batch, 1, rows, columns)
            Metres.
        """
        return self._distributed().interval(found, level)

    @property
    def bins(self) -> HeightBins:
        """The heights that a distribution gives chances of."""
        return self._distributed().bins

    @property
    def temperatures(self) -> Tensor:
        """What logits of a building and of its heights are divided by, shape (2,)."""
        return self._distributed().temperatures

    @property
    def sigma_factor(self) -> Tensor:
        """What the standard deviation is multiplied by."""
        return self._distributed().sigma_factor

    def _distributed(self) -> Distribution:
        if not isinstance(self.network, Distribution):
            msg = f"found the network {self.network_kind!r}, expected 'series': it gives no chances"
            raise ValueError(msg)  # noqa: TRY004  # what is wrong is the configuration's value
        return self.network

    def _seen(
        self, sample: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Return what the network sees, where there is something, and the month of the year."""
        there = [sample[name] for name in self.channels if name in sample]
        if not there:
            msg = f"found no {' and no '.join(self.channels)} in the sample, expected one at least"
            raise ValueError(msg)
        batch, months = there[0].shape[:2]
        images, valid = {}, {}
        for name, bands in self.channels.items():
            shape = (batch, months, len(bands), *there[0].shape[-2:])
            image = sample.get(name)
            if image is None:
                image = there[0].new_full(shape, torch.nan)
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
            month = torch.zeros(batch, months, dtype=torch.int64, device=there[0].device)
        return images, valid, month


# Heights of places from a table of features: a network in physical units.


class TabularEstimate(NamedTuple):
    """What is known of the heights of some places.

    Attributes
    ----------
    height : Tensor, shape (places,)
        Means of the distributions in metres.
    sigma : Tensor, shape (places,)
        Their standard deviations in metres.
    logits : Tensor, shape (places, members, bins)
        The distribution that each member of the ensemble gives.
    """

    height: Tensor
    sigma: Tensor
    logits: Tensor


class _Members(nn.Module):
    """A factor for each member and channel: what members of an ensemble do not share."""

    def __init__(self, members: int, channels: int, spread: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(1.0 + spread * torch.randn(members, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale features, shape (places, 1 or members, channels)."""
        return x * self.factor


class TabularHeightEstimator(Pretrained):
    r"""An ensemble of small networks that share most of their weights.

    Each feature is normalised; a multilayer perceptron follows, whose members see its inputs and
    its hidden features by factors of their own. Each puts out a distribution over fixed heights;
    the mean over the members and the heights is the estimate. Distributions keep the few tall
    buildings from dominating what is learned, as squared errors do, and give an uncertainty.

    Parameters
    ----------
    features : sequence of Channel
        Features of a place, in the order in which they come.
    width, depth : int
        Channels and layers of the perceptron.
    members : int
        Of the ensemble.
    dropout : float
        Share of the hidden features that is lost in training.
    bins : mapping, optional
        Arguments of `HeightBins`.

    Raises
    ------
    ValueError
        If there is no feature, or a number makes no sense.

    References
    ----------
    Gorishniy, Y., Kotelnikov, A. and Babenko, A. (2025). TabM: advancing tabular deep learning
    with parameter-efficient ensembling. ICLR, arXiv:2410.24210.
    """

    kind: ClassVar[str] = "heights from features"

    def __init__(
        self,
        features: Sequence[Channel],
        *,
        width: int = 96,
        depth: int = 2,
        members: int = 8,
        dropout: float = 0.3,
        bins: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not features or min(width, depth, members) < 1 or not 0.0 <= dropout < 1.0:
            msg = (
                f"found {len(features)} features, {width=}, {depth=}, {members=}, {dropout=}; "
                "expected one feature at least, whole numbers of 1 at least, and a share below 1"
            )
            raise ValueError(msg)
        self.features = tuple(features)
        self.options: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "members": members,
            "dropout": dropout,
            "bins": dict(bins or {}),
        }
        self.bins = HeightBins(**self.options["bins"])
        layers: list[nn.Module] = [_Members(members, len(features), 0.3)]
        for before in (len(features), *[width] * (depth - 1)):
            layers += [nn.Linear(before, width), nn.ReLU(), _Members(members, width, 0.1)]
            layers.append(nn.Dropout(dropout))
        self.network = nn.Sequential(*layers)
        count = len(self.bins.values)
        self.head = nn.Parameter(0.3 * width**-0.5 * torch.randn(members, width, count))
        self.bias = nn.Parameter(torch.zeros(members, count))

    def configuration(self) -> dict[str, Any]:
        """Return the arguments that make this estimator again, in JSON's types."""
        return {"features": [each.as_dict() for each in self.features], **self.options}

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make the estimator that `configuration` describes, with random weights."""
        rest = dict(configuration)
        features = [Channel(**feature) for feature in rest.pop("features")]
        return cls(features, **rest)

    def forward(self, values: Tensor) -> TabularEstimate:
        """Estimate heights.

        Parameters
        ----------
        values : Tensor, shape (places, features)
            In the units that `features` states, NaN where there is no value.

        Returns
        -------
        TabularEstimate

        Raises
        ------
        ValueError
            If there is another number of features.
        """
        if values.ndim != 2 or values.shape[1] != len(self.features):
            names = ", ".join(feature.name for feature in self.features)
            msg = (
                f"found values of shape {tuple(values.shape)}, expected (places, features): {names}"
            )
            raise ValueError(msg)
        parts = [each.normalise(values[:, k]) for k, each in enumerate(self.features)]
        hidden = self.network(torch.stack(parts, dim=1)[:, None])
        logits = torch.einsum("pmw,mwb->pmb", hidden, self.head) + self.bias
        chances = torch.softmax(logits.float(), dim=-1).mean(dim=1)
        height = self.bins.mean(chances)
        variance = self.bins.spread(chances, height)
        return TabularEstimate(height[:, 0], variance[:, 0].clamp(min=0.0).sqrt(), logits.float())
