"""Building heights from series of radar and optical images: a network in physical units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from sarheight.models._building_networks import (
    BuildingDistribution,
    BuildingEstimate,
    Distribution,
    Regression,
)
from sarheight.models._channels import Channel
from sarheight.models._pretrained import Pretrained
from sarheight.models._resnet_weights import load_resnet_weights

if TYPE_CHECKING:
    import os

    from sarheight.models._height_bins import HeightBins
    from sarheight.models._resnet import ResNet50
    from sarheight.models._resnet_weights import LoadedWeights

__all__ = ["BUILDING_NETWORKS", "BuildingHeightEstimator"]

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
                [band.normalised(image[:, :, number]) for number, band in enumerate(bands)], dim=2
            )
        month = sample.get("month")
        if month is None:
            month = torch.zeros(batch, months, dtype=torch.int64, device=there[0].device)
        return images, valid, month
