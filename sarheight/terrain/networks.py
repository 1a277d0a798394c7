"""ASK-UNet and the estimator of terrain heights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, softplus

from sarheight.learning.channels import Channel
from sarheight.learning.unet import EfficientChannelAttention, LargeSelectiveKernel, UNet
from sarheight.learning.weights import Pretrained

Normalisation = Literal["batch", "image"]
"""Statistics that normalise the outputs of selective kernels."""


class _SelectiveBlock(nn.Module):
    """A large selective kernel, normalised, with a residual connection."""

    def __init__(self, channels: int, normalisation: Normalisation) -> None:
        super().__init__()
        self.into = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.GELU())
        self.select = LargeSelectiveKernel(channels)
        self.out = nn.Conv2d(channels, channels, 1)
        self.norm: nn.Module = (
            nn.BatchNorm2d(channels) if normalisation == "batch" else nn.GroupNorm(1, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of input and selection; the shape is kept."""
        return cast("Tensor", x + self.norm(self.out(self.select(self.into(x)))))


class ASKUNet(UNet):
    """U-Net with large selective kernels and efficient channel attention.

    Both follow the convolutions of each level of the encoder: the selective kernels with a
    residual connection, then the attention over channels.

    The paper states neither widths nor the positions of the modules. Selective kernels at the
    finest levels take most of the time and cover the least terrain; at the coarser levels a kernel
    of 23 pixels spans whole slopes.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of input and output.
    width : int
        Channels of the finest level.
    depth : int
        Number of times that the image is halved.
    selective_levels : collection of int, optional
        Levels with large selective kernels, 0 is the finest; by default all from 2 on.
    normalisation : {"image", "batch"}
        Statistics that normalise the outputs of the selective kernels: of each image, or of the
        batches in training. The kernels multiply their input, so that several in sequence are a
        polynomial of it. Statistics of training let it diverge on inputs unlike those of
        training; statistics of the image do not.

    Raises
    ------
    ValueError
        If a level or the normalisation does not exist.

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
        invalid = sorted(set(levels) - set(range(depth + 1)))
        if invalid:
            msg = f"found selective_levels {invalid}, expected some of 0 to {depth}"
            raise ValueError(msg)

        def refine(channels: int, level: int) -> nn.Module:
            attention = EfficientChannelAttention(channels)
            if level not in levels:
                return attention
            return nn.Sequential(_SelectiveBlock(channels, normalisation), attention)

        super().__init__(in_channels, out_channels, width=width, depth=depth, refine=refine)


# Heights from an image, known elevations and a coarse DEM: a network in physical units.

Reference = Literal["mean", "interpolated", "coarse"]
"""Heights that a network's output is added to."""
SURFACES = ("interpolated", "coarse")
"""Surfaces that a network may take, in the order of its channels."""
NETWORKS: dict[str, type[UNet]] = {"unet": UNet, "ask_unet": ASKUNet}
MIN_SCALE = 1e-3
"""Lower limit of the scale of errors, in units of `output_std`: the likelihood has no upper bound
as the scale falls to zero."""
MAX_CHANGE = 30.0
"""Limit of the difference to the reference, in units of `output_std`: selective kernels multiply,
and their output may diverge on inputs unlike those of training."""
DETAIL = 9
"""Side of the moving average that is subtracted from a surface to leave its detail, in cells."""


class HeightEstimate(NamedTuple):
    """Estimated heights.

    Attributes
    ----------
    height : Tensor, shape (batch, 1, rows, columns)
        Metres above the ellipsoid.
    scale : Tensor or None
        Scale of the height's Laplace distribution in metres, which is the mean absolute error. The
        standard deviation is larger by the square root of 2. None for an estimator without
        uncertainty.
    """

    height: Tensor
    scale: Tensor | None


class HeightEstimator(Pretrained):
    """A network between physical units: power, degrees and metres in, metres out.

    Heights are converted to differences from the mean of the known elevations, so that the
    altitude of a place has no effect. The output of the network is added to a reference: that
    mean, the surface interpolated between the known elevations, or the coarse DEM. With a surface
    as reference, its detail and its differences from the known elevations are inputs as well. A
    network that corrects a surface cannot be much worse than it, whatever the density of the known
    elevations.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the image, in their order.
    network : {"unet", "ask_unet"}
        Architecture.
    options : mapping, optional
        Arguments of the network: width, depth, and for ASK-UNet selective_levels.
    reference : {"mean", "interpolated", "coarse"}
        ``mean``: of the known elevations. ``interpolated``: the surface interpolated between them.
        ``coarse``: the coarse DEM.
    surfaces : sequence of {"interpolated", "coarse"}
        Surfaces among the inputs. The reference, if it is a surface, always is.
    uncertainty : bool
        Whether the scale of the errors is estimated as well.
    height_std : float
        Unit of heights relative to the mean of the known elevations, in metres.
    output_std : float, optional
        Unit of the output and of differences from the reference, in metres: about the error of the
        reference. By default `height_std`.
    height_mean : float
        Mean height of the training places in metres. It replaces the mean of the known elevations
        if there are none, and no surface.
    height_spread : float
        Standard deviation of the heights of the training places in metres. Where `height_mean` is
        used, the scale of the errors grows accordingly.
    distance_scale : float
        Unit of the distance to the nearest known elevation in metres.
    scale_factor : float
        Factor of the scale of errors: networks underestimate their errors in places without
        training, where this factor is measured.
    training_range : mapping, optional
        Smallest and largest value of what the network was trained with: ``posting`` in metres,
        ``cells`` (of the grid in a cell of the coarse DEM, along an axis), ``coarse_error`` (RMS
        error of the coarse DEM in metres), ``incidence`` (on the ellipsoid, in degrees). Outside
        of it the network is not used.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
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
        training_range: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        for name, found, expected in (
            ("network", network, tuple(NETWORKS)),
            ("reference", reference, get_args(Reference)),
        ):
            if found not in expected:
                msg = f"found {name} {found!r}, expected one of {', '.join(expected)}"
                raise ValueError(msg)
        invalid = sorted(set(surfaces) - set(SURFACES))
        numbers = {
            "height_std": height_std,
            "output_std": height_std if output_std is None else output_std,
            "distance_scale": distance_scale,
            "scale_factor": scale_factor,
        }
        if invalid or not min(numbers.values()) > 0.0:
            msg = (
                f"found surfaces {invalid or list(surfaces)} and {numbers}; expected some of "
                "interpolated and coarse, and numbers above 0"
            )
            raise ValueError(msg)
        self.channels = tuple(channels)
        self.training_range = checked_range(training_range or {}, RANGES)
        self.reference = reference
        self.surfaces = tuple(name for name in SURFACES if name in {*surfaces, reference})
        self.uncertainty = uncertainty
        self.height_std, self.output_std = float(height_std), float(numbers["output_std"])
        self.height_mean = float(height_mean)
        self.height_spread = float(height_spread)
        self.distance_scale, self.scale_factor = float(distance_scale), float(scale_factor)
        self.network_kind, self.options = network, dict(options or {})
        # Known elevations make three channels: height, presence, nearness.
        inputs = len(self.channels) + 3 + len(self.surfaces) + (reference != "mean")
        self.network = NETWORKS[network](inputs, 2 if uncertainty else 1, **self.options)
        # An untrained network returns its reference.
        nn.init.zeros_(self.network.head.weight)
        if self.network.head.bias is not None:
            nn.init.zeros_(self.network.head.bias)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in JSON's types."""
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
            "training_range": self.training_range,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Construct the estimator that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        return cls(channels, **rest)

    def forward(self, sample: Mapping[str, Tensor]) -> HeightEstimate:
        """Estimate heights.

        Parameters
        ----------
        sample : mapping of Tensor
            Shape (batch, channels, rows, columns), NaN where there is no value:

            ``image``
                The image in the units of `channels`.
            ``known``
                Known elevations in metres, one channel.
            ``distance``
                Metres to the nearest of them, one channel; infinite if there are none.
            ``interpolated``, ``coarse``
                Surfaces in metres, one channel each, those in `surfaces`. In a patch without
                known elevations the mean of a surface replaces theirs.

        Returns
        -------
        HeightEstimate

        Raises
        ------
        KeyError
            If an array is missing from the sample.
        ValueError
            If the number of the image's channels is wrong.
        """
        image = sample["image"]
        if image.shape[1] != len(self.channels):
            names = ", ".join(channel.name for channel in self.channels)
            msg = f"found {image.shape[1]} channels, expected {len(self.channels)}: {names}"
            raise ValueError(msg)
        mean = self._mean_height(sample)
        base = torch.where(torch.isfinite(mean), mean, self.height_mean)
        inputs = [
            channel.normalise(image[:, index : index + 1])
            for index, channel in enumerate(self.channels)
        ]
        surface = base if self.reference == "mean" else sample[self.reference]
        reference = torch.where(torch.isfinite(surface), surface, base)
        known = sample["known"]
        inputs += [
            torch.nan_to_num((known - reference) / self.output_std),
            torch.isfinite(known).to(image.dtype),
            _nearness(sample["distance"], self.distance_scale),
        ]
        inputs += [
            torch.nan_to_num((sample[name] - base) / self.height_std) for name in self.surfaces
        ]
        if self.reference != "mean":
            inputs.append(_detail(surface, base) / self.output_std)
        stacked = torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)
        output = self.network(stacked).to(torch.float32)
        change = output[:, :1].clamp(-MAX_CHANGE, MAX_CHANGE)
        height = reference + self.output_std * change
        if not self.uncertainty:
            return HeightEstimate(height, None)
        unit = self.output_std * self.scale_factor
        scale = unit * (softplus(output[:, 1:]) + MIN_SCALE)
        # A Laplace scale is a mean absolute deviation; that of a normal distribution is
        # sigma sqrt(2 / pi).
        unknown = self.height_spread * (2.0 / torch.pi) ** 0.5
        scale = torch.where(torch.isfinite(mean), scale, scale + unknown)
        return HeightEstimate(height, scale)

    def _mean_height(self, sample: Mapping[str, Tensor]) -> Tensor:
        """Return the mean of known elevations or of a surface, shape (batch, 1, 1, 1), or NaN."""
        base = sample["known"].nanmean(dim=(1, 2, 3), keepdim=True)
        for name in dict.fromkeys(("interpolated", *self.surfaces)):
            if name in sample:
                mean = sample[name].nanmean(dim=(1, 2, 3), keepdim=True)
                base = torch.where(torch.isfinite(base), base, mean)
        return base


RANGES = ("posting", "cells", "coarse_error", "incidence")
"""Quantities of which a network may state the range of its training."""


def checked_range(
    stated: Mapping[str, Sequence[float]], names: Collection[str]
) -> dict[str, list[float]]:
    """Check the range of a training: known names, two ascending numbers each."""
    found = {name: [float(value) for value in limits] for name, limits in stated.items()}
    for name, limits in found.items():
        if name not in names or len(limits) != 2 or not 0.0 <= limits[0] <= limits[1]:
            msg = (
                f"found the range {name}={limits}, expected one of {', '.join(names)} with two "
                "ascending numbers"
            )
            raise ValueError(msg)
    return found


def _detail(surface: Tensor, base: Tensor) -> Tensor:
    """Return the height of a surface above its surroundings in metres; 0 where it has none.

    Half precision does not resolve metres in heights of hundreds.
    """
    valid = torch.isfinite(surface)
    height = torch.where(valid, surface - base, 0.0)
    mean, share = (
        avg_pool2d(each, DETAIL, stride=1, padding=DETAIL // 2)
        for each in (height, valid.to(height.dtype))
    )
    return torch.where(valid, height - mean / share.clamp(min=1.0 / DETAIL**2), 0.0)


def _nearness(distance: Tensor, scale: float) -> Tensor:
    """Return 1 at a known elevation, falling with the logarithm of the distance; 0 for none."""
    near = 1.0 / (1.0 + torch.log1p(distance / scale))
    return torch.nan_to_num(near, nan=0.0)
