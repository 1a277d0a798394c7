"""ASK-UNet and the estimator of terrain heights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, softplus

from sarheight.learning.unet import EfficientChannelAttention, LargeSelectiveKernel, UNet
from sarheight.learning.weights import Channel, Pretrained

Normalisation = Literal["batch", "image"]
"""By what the outputs of selective kernels are normalised."""


class _Selective(nn.Module):
    """A large selective kernel beside its input, normalised."""

    def __init__(self, channels: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.select = LargeSelectiveKernel(channels)
        self.out = nn.Conv2d(channels, channels, 1)
        self.norm: nn.Module = (
            nn.BatchNorm2d(channels) if normalisation == "batch" else nn.GroupNorm(1, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the input with what the kernels select added to it, shape as came in."""
        return cast("Tensor", x + self.norm(self.out(self.select(self.into(x)))))


class ASKUNet(UNet):
    """U-Net with large selective kernels and efficient channel attention.

    The way down gets both after the convolutions of a scale: the selective kernels beside an
    identity, then the attention over channels.

    The paper states neither widths nor where the modules stand. Selective kernels at the finest
    levels cost most of the time and see least of the terrain: at the coarser levels a kernel of
    23 pixels spans whole slopes.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    width : int
        Channels of the finest level.
    depth : int
        How often the image is halved.
    selective_levels : collection of int, optional
        Levels with large selective kernels, 0 is the finest; by default all from 2 on.
    normalisation : {"image", "batch"}
        By what the outputs of the selective kernels are normalised: the statistics of each image,
        or those of the batches in training. The kernels multiply, so that several of them one
        after another are a polynomial of the input. With the statistics of training that runs
        away on an input unlike any of those, with those of the image it cannot.

    Raises
    ------
    ValueError
        If a level is not one of the network's, or there is no such normalisation.

    References
    ----------
    SAR2HEIGHT: height estimation from a single SAR image in mountains, EGU General Assembly 2026,
    EGU26-8644. Equations of the parts: see `LargeSelectiveKernel`, `EfficientChannelAttention`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 32,
        depth: int = 4,
        selective_levels: Collection[int] | None = None,
        normalisation: Normalisation = "image",
    ) -> None:
        if normalisation not in get_args(Normalisation):
            msg = f"found normalisation {normalisation!r}, expected 'image' or 'batch'"
            raise ValueError(msg)
        levels = range(2, depth + 1) if selective_levels is None else selective_levels
        strange = sorted(set(levels) - set(range(depth + 1)))
        if strange:
            msg = f"found selective_levels {strange}, expected some of 0 to {depth}"
            raise ValueError(msg)

        def refine(channels: int, level: int) -> nn.Module:
            attention = EfficientChannelAttention(channels)
            if level not in levels:
                return attention
            return nn.Sequential(_Selective(channels, normalisation), attention)

        super().__init__(in_channels, out_channels, width=width, depth=depth, refine=refine)


# Heights from an image and a few known elevations: a network in physical units.

Reference = Literal["mean", "interpolated", "coarse"]
"""What a network's output is added to."""
NETWORKS: dict[str, type[UNet]] = {"unet": UNet, "ask_unet": ASKUNet}
LEAST_SCALE = 1e-3
"""Least scale of the errors, as a part of `output_std`: below it a likelihood runs away."""
LARGEST_CHANGE = 30.0
"""Most that a network may add to its reference, in units of `output_std`: selective kernels
multiply, and on an input unlike any that they have seen they may run away."""
DETAIL = 9
"""Cells, each way, whose mean is taken off a surface to leave its detail."""


class HeightEstimate(NamedTuple):
    """What an estimator returns.

    Attributes
    ----------
    height : Tensor, shape (batch, 1, rows, columns)
        Metres above the ellipsoid.
    scale : Tensor or None
        Scale of the height's Laplace distribution in metres: the mean size of its error. The
        standard deviation is larger by the square root of 2. None where the estimator gives no
        uncertainty.
    """

    height: Tensor
    scale: Tensor | None


class HeightEstimator(Pretrained):
    """A network between physical units: power, degrees and metres in, metres out.

    Elevations enter relative to the mean of the known ones, so that a place high up looks like
    one further down. What the network puts out is added to a reference: that mean, or a surface
    that is known beforehand, interpolated between the known elevations or coarse; of this the
    network also sees the detail, and by how much it misses the known elevations. A network that
    only corrects such a surface cannot do much worse than it, whatever the density of the known
    elevations.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the image, in the order in which they come.
    network : {"unet", "ask_unet"}
        What turns them into heights.
    options : mapping, optional
        Arguments of the network: width, depth, and for ASK-UNet selective_levels.
    reference : {"mean", "interpolated", "coarse"}
        ``mean``: of the known elevations. ``interpolated``: the surface interpolated between them.
        ``coarse``: a coarse elevation model.
    surfaces : sequence of {"interpolated", "coarse"}
        Which of the two surfaces the network also sees. The reference, if it is one of them, is
        always among them.
    uncertainty : bool
        Whether the scale of the errors is estimated as well.
    height_std : float
        Metres above or below the mean of the known elevations that the network takes for 1.
    output_std : float, optional
        Metres of its output, and of what it is added to, that the network takes for 1: about as
        much as the reference errs. By default as much as `height_std`.
    height_mean : float
        Height in metres that stands for the mean where no elevation is known and no surface is at
        hand: that of the places of training.
    height_spread : float
        Standard deviation of the heights of those places in metres. Where `height_mean` has to
        serve, the scale of the errors is that much larger.
    distance_scale : float
        Distance in metres to the next known elevation that the network takes for log 2.
    scale_factor : float
        What the network's scale of the errors is multiplied by: a network is too sure of itself
        where it has not been trained, and how much so is measured there.

    Raises
    ------
    ValueError
        If a name is not known or a number makes no sense.
    """

    kind: ClassVar[str] = "terrain heights"

    def __init__(
        self,
        channels: Sequence[Channel],
        *,
        network: str = "ask_unet",
        options: Mapping[str, Any] | None = None,
        reference: Reference = "mean",
        surfaces: Sequence[str] = (),
        uncertainty: bool = False,
        height_std: float = 100.0,
        output_std: float | None = None,
        height_mean: float = 0.0,
        height_spread: float = 0.0,
        distance_scale: float = 100.0,
        scale_factor: float = 1.0,
    ) -> None:
        super().__init__()
        known = {
            "network": (network, tuple(NETWORKS)),
            "reference": (reference, get_args(Reference)),
        }
        for name, (found, expected) in known.items():
            if found not in expected:
                msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
                raise ValueError(msg)
        strange = sorted(set(surfaces) - {"interpolated", "coarse"})
        numbers = {
            "height_std": height_std,
            "output_std": height_std if output_std is None else output_std,
            "distance_scale": distance_scale,
            "scale_factor": scale_factor,
        }
        if strange or not min(numbers.values()) > 0.0:
            msg = (
                f"found surfaces {strange or list(surfaces)} and {numbers}; expected some of "
                "interpolated and coarse, and numbers above 0"
            )
            raise ValueError(msg)
        self.channels = tuple(channels)
        self.reference = reference
        seen = {*surfaces, *({reference} - {"mean"})}
        self.surfaces = tuple(name for name in ("interpolated", "coarse") if name in seen)
        self.uncertainty = uncertainty
        self.height_std, self.output_std = float(height_std), float(numbers["output_std"])
        self.height_mean = float(height_mean)
        self.height_spread = float(height_spread)
        self.distance_scale, self.scale_factor = float(distance_scale), float(scale_factor)
        self.network_kind, self.options = network, dict(options or {})
        incoming = len(self.channels) + 3 + len(self.surfaces) + (reference != "mean")
        self.network = NETWORKS[network](incoming, 2 if uncertainty else 1, **self.options)
        # The first estimate of an untrained network is its reference.
        nn.init.zeros_(self.network.head.weight)
        if self.network.head.bias is not None:
            nn.init.zeros_(self.network.head.bias)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments that make this estimator again, in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "network": self.network_kind,
            "options": self.options,
            "reference": self.reference,
            "surfaces": list(self.surfaces),
            "uncertainty": self.uncertainty,
            "height_std": self.height_std,
            "output_std": self.output_std,
            "height_mean": self.height_mean,
            "height_spread": self.height_spread,
            "distance_scale": self.distance_scale,
            "scale_factor": self.scale_factor,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make the estimator that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        return cls(channels, **rest)

    def forward(self, sample: Mapping[str, Tensor]) -> HeightEstimate:
        """Estimate heights.

        Parameters
        ----------
        sample : mapping of Tensor
            Shapes (batch, channels, rows, columns), NaN where there is no value:

            ``image``
                The channels in the units that `channels` states.
            ``known``
                Known elevations in metres, one channel.
            ``distance``
                Metres to the nearest of them, one channel; infinite where there are none.
            ``interpolated``, ``coarse``
                Surfaces in metres, one channel each, as far as `surfaces` names them. Where no
                elevation is known in a patch, the mean of ``interpolated`` stands for theirs.

        Returns
        -------
        HeightEstimate

        Raises
        ------
        KeyError
            If something is missing from the sample.
        ValueError
            If the image has another number of channels.
        """
        image = sample["image"]
        if image.shape[1] != len(self.channels):
            names = ", ".join(channel.name for channel in self.channels)
            msg = f"found {image.shape[1]} channels, expected {len(self.channels)}: {names}"
            raise ValueError(msg)
        found = self._base(sample)
        base = torch.where(torch.isfinite(found), found, self.height_mean)
        parts = [
            channel.normalised(image[:, index : index + 1])
            for index, channel in enumerate(self.channels)
        ]
        surface = base if self.reference == "mean" else sample[self.reference]
        reference = torch.where(torch.isfinite(surface), surface, base)
        known = sample["known"]
        parts += [
            torch.nan_to_num((known - reference) / self.output_std),
            torch.isfinite(known).to(image.dtype),
            _nearness(sample["distance"], self.distance_scale),
        ]
        parts += [
            torch.nan_to_num((sample[name] - base) / self.height_std) for name in self.surfaces
        ]
        if self.reference != "mean":
            parts.append(_detail(surface, base) / self.output_std)
        seen = torch.cat(parts, dim=1).contiguous(memory_format=torch.channels_last)
        output = self.network(seen).to(torch.float32)
        change = output[:, :1].clamp(-LARGEST_CHANGE, LARGEST_CHANGE)
        height = reference + self.output_std * change
        if not self.uncertainty:
            return HeightEstimate(height, None)
        unit = self.output_std * self.scale_factor
        scale = unit * (softplus(output[:, 1:]) + LEAST_SCALE)
        # The mean distance of a normal distribution from its middle: what a Laplace scale is.
        unknown = self.height_spread * (2.0 / torch.pi) ** 0.5
        scale = torch.where(torch.isfinite(found), scale, scale + unknown)
        return HeightEstimate(height, scale)

    def _base(self, sample: Mapping[str, Tensor]) -> Tensor:
        """Return the height to which all others are taken, shape (batch, 1, 1, 1), or NaN."""
        base = sample["known"].nanmean(dim=(1, 2, 3), keepdim=True)
        for name in dict.fromkeys(("interpolated", *self.surfaces)):
            if name in sample:
                mean = sample[name].nanmean(dim=(1, 2, 3), keepdim=True)
                base = torch.where(torch.isfinite(base), base, mean)
        return base


def _detail(surface: Tensor, base: Tensor) -> Tensor:
    """Return by how much a surface lies above its known surroundings in metres; 0 where unknown.

    A few metres beside hundreds would be lost in the short numbers of mixed precision.
    """
    known = torch.isfinite(surface)
    height = torch.where(known, surface - base, 0.0)
    mean, share = (
        avg_pool2d(each, DETAIL, stride=1, padding=DETAIL // 2)
        for each in (height, known.to(height.dtype))
    )
    return torch.where(known, height - mean / share.clamp(min=1.0 / DETAIL**2), 0.0)


def _nearness(distance: Tensor, scale: float) -> Tensor:
    """Return 1 at a known elevation, falling with the logarithm of the distance; 0 for none."""
    near = 1.0 / (1.0 + torch.log1p(distance / scale))
    return torch.nan_to_num(near, nan=0.0)
