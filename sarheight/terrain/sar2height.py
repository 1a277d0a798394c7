r"""SAR2HEIGHT: heights of mountains from one SAR image and sparse known elevations, by ASK-UNet.

Two publications of one group are known by this name. The system here is that of the later one, an
abstract without figures of its architecture: layover is reconstructed by a one-to-many mapping and
reallocation (`sarheight.layover`), and a U-Net with large selective kernels and efficient channel
attention (ASK-UNet) estimates heights from the reconstructed image, sparse elevations and a map of
the Euclidean distance to them. The earlier one, a paper, has the sparse elevations and the distance
map, in radar geometry, and searches the architecture of its U-Net automatically instead.

ASK-UNet, with `TerrainSettings.published` for patches of 128 x 128 cells::

    input      image in decibels, known elevations less their mean,          (4, 128, 128)
               1 where an elevation is known, distance to the nearest one
    level 0    2 x (convolution 3 x 3, batch normalisation, leaky ReLU),     (32, 128, 128)
               channel attention
    level 1    maximum of 2 x 2, then as level 0                             (64, 64, 64)
    level 2    maximum of 2 x 2, 2 x (convolution, ...),                     (128, 32, 32)
               selective block, channel attention
    level 3    as level 2                                                    (256, 16, 16)
    level 4    as level 2                                                    (512, 8, 8)
    up to 3    convolution 1 x 1 to 256, bilinear to 16 x 16,                (256, 16, 16)
               joined with level 3 (512), 2 x (convolution, ...)
    up to 2    likewise                                                      (128, 32, 32)
    up to 1    likewise                                                      (64, 64, 64)
    up to 0    likewise                                                      (32, 128, 128)
    output     convolution 1 x 1: height less the mean of the known ones     (1, 128, 128)

    selective block of x: x + normalised(convolution 1 x 1(selective kernel(GELU(convolution(x)))))

The abstract states neither widths nor positions of the modules nor the training; what is chosen
here instead, and why, is said in `ASKUNet` and `TerrainSettings.published`.

References
----------
EGU General Assembly 2026, EGU26-8644 (the system; Tianjin University). SAR2HEIGHT: Height
Estimation from a Single SAR Image in Mountain Areas via Sparse Height and Proxyless Depth-Aware
Penalty Neural Architecture Search for Unet, Remote Sensing 2022, 14, 5392 (the sparse elevations
and the distance map).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, softplus

from sarheight.learning.channels import Channel, normalise
from sarheight.learning.settings import RunSettings, require_one_of, require_positive
from sarheight.learning.unet import (
    DepthwiseConvolution,
    EfficientChannelAttention,
    UNet,
    double_convolution,
    level_widths,
)
from sarheight.learning.weights import Pretrained

# The network.


class LargeSelectiveKernel(nn.Module):
    r"""Select the receptive field in each pixel.

    Two successive depthwise convolutions have receptive fields of 5 x 5 and, with a 7 x 7 kernel
    of dilation 3, of 23 x 23 pixels. Each result :math:`U_i` is projected to half of the channels.
    A 7 x 7 convolution and a sigmoid turn mean and maximum over the channels of both into a mask
    :math:`M_i` for each. The selection :math:`\sum_i M_i U_i` is projected to all channels and
    multiplies the input.

    Parameters
    ----------
    channels : int
        Channels of the input, an even number.

    Raises
    ------
    ValueError
        If the number of channels is odd.

    References
    ----------
    Li, Y. et al. (2023). Large Selective Kernel Network for Remote Sensing Object Detection.
    ICCV, arXiv:2303.09030, equations 1 to 8.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 2:
            msg = f"found {channels} channels, expected an even number: each kernel gets half"
            raise ValueError(msg)
        half = channels // 2
        self.near = DepthwiseConvolution(channels, 5)
        self.far = DepthwiseConvolution(channels, 7, dilation=3)
        self.near_half = nn.Conv2d(channels, half, 1)
        self.far_half = nn.Conv2d(channels, half, 1)
        self.masks = nn.Conv2d(2, 2, 7, padding=3)
        self.whole = nn.Conv2d(half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the multiplied input, shape (batch, channels, rows, columns) as the input."""
        near = self.near(x)
        far = self.far(near)
        near, far = self.near_half(near), self.far_half(far)
        both = torch.cat([near, far], dim=1)
        pooled = torch.cat([both.mean(dim=1, keepdim=True), both.amax(dim=1, keepdim=True)], dim=1)
        masks = torch.sigmoid(self.masks(pooled))
        chosen = near * masks[:, :1] + far * masks[:, 1:]
        return cast("Tensor", x * self.whole(chosen))


Normalisation = Literal["batch", "image"]
"""Statistics that normalise the outputs of selective kernels."""


class SelectiveBlock(nn.Module):
    """A large selective kernel between two convolutions 1 x 1, normalised, added to its input.

    Parameters
    ----------
    channels : int
        Channels of input and output, an even number.
    normalisation : {"image", "batch"}
        See `ASKUNet`.
    """

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
    """U-Net with large selective kernels and efficient channel attention in its encoder.

    The convolutions of each level of the encoder are followed by channel attention, and before it,
    at the coarser levels, by a selective block. Selective kernels at the finest levels take most of
    the time and cover the least terrain; at the coarser levels a kernel of 23 pixels spans whole
    slopes.

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
    EGU General Assembly 2026, EGU26-8644. Equations of the parts: see `LargeSelectiveKernel`,
    `sarheight.learning.EfficientChannelAttention`.
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
        selective = range(2, depth + 1) if selective_levels is None else selective_levels
        invalid = sorted(set(selective) - set(range(depth + 1)))
        if invalid:
            msg = f"found selective_levels {invalid}, expected some of 0 to {depth}"
            raise ValueError(msg)
        incoming, *widths = level_widths(in_channels, width, depth)
        encoder = []
        for level, (count, wide) in enumerate(zip([incoming, *widths], widths, strict=False)):
            convolutions = double_convolution(count, wide)
            attention: nn.Module = EfficientChannelAttention(wide)
            if level in selective:
                attention = nn.Sequential(SelectiveBlock(wide, normalisation), attention)
            encoder.append(nn.Sequential(convolutions, attention))
        super().__init__(in_channels, out_channels, width=width, depth=depth, encoder=encoder)


NETWORKS: dict[str, type[UNet]] = {"unet": UNet, "ask_unet": ASKUNet}

# The system: physical units in, metres out.

Distance = Literal["euclidean", "logarithmic"]
"""How a network sees the distance to the nearest known elevation, see `distance_channel`."""
DISTANCE_SCALE = 100.0
"""Unit in metres of the distances that a network sees."""
FARTHEST = 100.0
"""Largest distance that a network sees, in units of the scale: of cells without any elevation."""


def distance_channel(distance: Tensor, scale: float, form: Distance) -> Tensor:
    r"""Convert the distance to the nearest known elevation to a channel of a network.

    Parameters
    ----------
    distance : Tensor
        Metres; infinite where no elevation is known.
    scale : float
        Unit of the distance in metres.
    form : {"euclidean", "logarithmic"}
        ``euclidean``: the map of Euclidean distances as the publications have it, :math:`d / s`, at
        most 100. ``logarithmic``: :math:`1 / (1 + \ln(1 + d / s))`, which is 1 at a known elevation
        and 0 without any: it resolves the surroundings of the elevations, where the height is
        nearly known, and has the same range for any number of them.

    Returns
    -------
    Tensor
        The shape of `distance`, without units.
    """
    if form == "euclidean":
        return (distance / scale).nan_to_num(nan=FARTHEST, posinf=FARTHEST).clamp(max=FARTHEST)
    near = 1.0 / (1.0 + torch.log1p(distance / scale))
    return torch.nan_to_num(near, nan=0.0)


Reference = Literal["mean", "coarse"]
"""Heights that a network's output is added to."""
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
    mean, as published, or the coarse DEM. With the DEM as reference, it, its detail and its
    differences from the known elevations are inputs as well: a network that corrects a surface
    cannot be much worse than it, whatever the density of the known elevations.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the image, in their order.
    network : {"unet", "ask_unet"}
        Architecture.
    options : mapping, optional
        Arguments of the network: width, depth, and for ASK-UNet selective_levels, normalisation.
    reference : {"mean", "coarse"}
        ``mean``: of the known elevations. ``coarse``: the coarse DEM.
    uncertainty : bool
        Whether the scale of the errors is estimated as well.
    height_std : float
        Unit of heights relative to the mean of the known elevations, in metres.
    output_std : float, optional
        Unit of the output and of differences from the reference, in metres: about the error of the
        reference. By default `height_std`.
    distance : {"logarithmic", "euclidean"}
        See `distance_channel`.
    scale_factor : float
        Factor of the scale of errors: networks underestimate their errors in places without
        training, where this factor is measured.
    postings : sequence of float
        Smallest and largest posting of the training in metres, outside of which the network is not
        used; empty if not known.

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
        uncertainty: bool = False,
        height_std: float = 100.0,
        output_std: float | None = None,
        distance: Distance = "logarithmic",
        scale_factor: float = 1.0,
        postings: Sequence[float] = (),
    ) -> None:
        super().__init__()
        for name, found, expected in (
            ("network", network, tuple(NETWORKS)),
            ("reference", reference, get_args(Reference)),
            ("distance", distance, get_args(Distance)),
        ):
            require_one_of(name, found, expected)
        numbers = {
            "height_std": height_std,
            "output_std": height_std if output_std is None else output_std,
            "scale_factor": scale_factor,
        }
        if not min(numbers.values()) > 0.0:
            msg = f"found {numbers}, expected numbers above 0"
            raise ValueError(msg)
        self.postings = tuple(float(value) for value in postings)
        if self.postings and not (
            len(self.postings) == 2 and 0.0 < self.postings[0] <= self.postings[1]
        ):
            msg = f"found postings={self.postings}, expected two ascending numbers above 0, or none"
            raise ValueError(msg)
        self.channels = tuple(channels)
        self.reference, self.distance = reference, distance
        self.uncertainty = uncertainty
        self.height_std, self.output_std = float(height_std), float(numbers["output_std"])
        self.scale_factor = float(scale_factor)
        self.network_kind, self.options = network, dict(options or {})
        # Known elevations make three channels: height, presence, distance.
        inputs = len(self.channels) + 3 + (2 if reference == "coarse" else 0)
        self.network = NETWORKS[network](inputs, 2 if uncertainty else 1, **self.options)
        # An untrained network returns its reference.
        for value in self.network.head.parameters():
            nn.init.zeros_(value)

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor, in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "network": self.network_kind,
            "options": self.options,
            "reference": self.reference,
            "uncertainty": self.uncertainty,
            "height_std": self.height_std,
            "output_std": self.output_std,
            "distance": self.distance,
            "scale_factor": self.scale_factor,
            "postings": list(self.postings),
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
            ``coarse``
                The coarse DEM in metres, one channel, if it is the reference. Its mean replaces
                that of known elevations where there are none.

        Returns
        -------
        HeightEstimate
            NaN where neither a coarse DEM nor a known elevation tells the altitude.

        Raises
        ------
        KeyError
            If an array is missing from the sample.
        ValueError
            If the number of the image's channels is wrong.
        """
        image, known = sample["image"], sample["known"]
        with_coarse = self.reference == "coarse"
        base = known.nanmean(dim=(1, 2, 3), keepdim=True)
        if with_coarse:
            of_surface = sample["coarse"].nanmean(dim=(1, 2, 3), keepdim=True)
            base = torch.where(torch.isfinite(base), base, of_surface)
        surface = sample["coarse"] if with_coarse else base
        reference = torch.where(torch.isfinite(surface), surface, base)
        inputs = [
            normalise(self.channels, image),
            torch.nan_to_num((known - reference) / self.output_std),
            torch.isfinite(known).to(image.dtype),
            distance_channel(sample["distance"], DISTANCE_SCALE, self.distance),
        ]
        if with_coarse:
            inputs += [
                torch.nan_to_num((surface - base) / self.height_std),
                _detail(surface, base) / self.output_std,
            ]
        stacked = torch.cat(inputs, dim=1).contiguous(memory_format=torch.channels_last)
        output = self.network(stacked).to(torch.float32)
        change = output[:, :1].clamp(-MAX_CHANGE, MAX_CHANGE)
        height = reference + self.output_std * change
        if not self.uncertainty:
            return HeightEstimate(height, None)
        unit = self.output_std * self.scale_factor
        scale = unit * (softplus(output[:, 1:]) + MIN_SCALE)
        return HeightEstimate(height, scale.masked_fill(~torch.isfinite(base), torch.nan))


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


# Training.


@dataclass(frozen=True, kw_only=True)
class TerrainSettings(RunSettings):
    """Settings of a training run for terrain heights.

    Parameters
    ----------
    channels : tuple of str
        Variables of the training scenes that make the image. Names that begin with gamma0, sigma0
        or beta0 are power, and are converted to decibels.
    network, options, reference, uncertainty, height_std, output_std, distance
        See `sarheight.terrain.HeightEstimator`.
    size, stride : int
        Of the patches, in cells.
    known_count : tuple of int
        Smallest and largest number of known elevations in a patch.
    known_sigma : float
        Standard deviation of their errors in metres.
    batch, epochs, patience, keep, optimiser, rate, schedule, warm_up, plateau, least_rate, decay
        See `RunSettings`.
    clip, precision, threads, workers, seed
        See `RunSettings`.

    Raises
    ------
    ValueError
        If a name is unknown or a number is out of its range.
    """

    channels: tuple[str, ...] = (
        "gamma0_posterior_unflattened",
        "local_incidence",
        "contribution_share",
    )
    network: str = "ask_unet"
    options: dict[str, Any] = field(default_factory=lambda: {"width": 32, "depth": 4})
    reference: Reference = "coarse"
    uncertainty: bool = True
    height_std: float = 100.0
    output_std: float | None = 10.0
    distance: Distance = "logarithmic"
    size: int = 128
    stride: int = 64
    known_count: tuple[int, int] = (4, 64)
    known_sigma: float = 0.0
    warm_up: float = 0.05

    def __post_init__(self) -> None:
        """Check the values; lists, as JSON has them, become tuples."""
        for name in ("channels", "known_count"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        require_one_of("network", self.network, tuple(NETWORKS))
        require_one_of("reference", self.reference, get_args(Reference))
        require_one_of("distance", self.distance, get_args(Distance))
        require_positive(self, ("size", "stride", "height_std"))
        if not self.channels or (self.reference == "mean" and self.known_count[0] < 1):
            msg = (
                f"found channels={self.channels} and known_count={self.known_count}, expected one "
                "channel at least, and for reference='mean' one known elevation at least"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return the settings of the published system, except for those in `others`.

        Published (EGU26-8644) are the inputs: the image reconstructed by one reallocation, sparse
        elevations and the map of Euclidean distances; the kinds of modules; and that the network
        estimates heights. Chosen here: width 32 and depth 4 with selective kernels from level 2 on,
        batch normalisation throughout, 16 known elevations in a patch of 128 x 128 cells, squared
        errors, 150 epochs of AdamW in batches of 32 with early stopping.
        """
        published: dict[str, Any] = {
            "channels": ("gamma0_reallocated_unflattened",),
            "network": "ask_unet",
            "options": {"width": 32, "depth": 4, "normalisation": "batch"},
            "reference": "mean",
            "uncertainty": False,
            "output_std": None,
            "distance": "euclidean",
            "known_count": (16, 16),
            "batch": 32,
            "epochs": 150,
            "patience": 30,
            "rate": 2e-3,
        }
        return cls(**(published | others))


def height_loss(estimate: HeightEstimate, truth: Tensor, unit: float) -> Tensor:
    r"""Return the loss of estimated heights.

    The mean of :math:`e^2` over all cells with a true and an estimated height, where :math:`e` is
    the error in units of `unit`. An estimate with a scale adds the negative log-likelihood of a
    Laplace distribution, :math:`\ln 2 b + |e| / b`, with :math:`e` held constant: the scale follows
    the errors, and does not influence the heights. Shapes are (batch, 1, rows, columns); `truth` in
    metres may be NaN.
    """
    valid = torch.isfinite(truth - estimate.height)
    error = torch.where(valid, truth - estimate.height, 0.0) / unit
    count = valid.sum().clamp(min=1)
    loss = (error**2).sum() / count
    if estimate.scale is None:
        return loss
    scale = torch.where(valid, estimate.scale / unit, 1.0)
    surprise = torch.log(2.0 * scale) + error.detach().abs() / scale
    return loss + torch.where(valid, surprise, 0.0).sum() / count
