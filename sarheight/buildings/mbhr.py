"""MBHR-Net: heights of buildings from a radar and an optical image of one month.

The network of Nascetti, A., Yadav, R. and Ban, Y. (2023). A CNN regression model to estimate
buildings height maps using Sentinel-1 SAR and Sentinel-2 MSI time series. IGARSS,
arXiv:2307.01378. Code of the authors:
https://github.com/RituYadav92/Building-Height-Estimation_SEN12_IGARSS23

Its figure in words, for an image of R x C pixels. Each modality has a ResNet50; the features of all
encoders are fused at every scale; the decoder begins at the coarsest scale, and each of its steps
is a 3 x 3 convolution, ReLU, batch normalisation and doubling of the size (nearest neighbour), to
which the fused features of the next finer scale are joined; a 1 x 1 convolution and a ReLU give
metres.

=====  ============  ==========================  ==================  ===============
scale  size          features of an encoder      blocks              decoder, width
=====  ============  ==========================  ==================  ===============
1      R/2 x C/2     64 (after 7 x 7, stride 2)  –                   64
2      R/4 x C/4     256                         3 bottlenecks       128
3      R/8 x C/8     512                         4 bottlenecks       256
4      R/16 x C/16   1024                        6 bottlenecks       512
5      R/32 x C/32   2048                        3 bottlenecks       512 (``printed``)
=====  ============  ==========================  ==================  ===============

The loss is the squared error and the cosine of estimate and truth, `regression_loss`.

Three variants are named in `VARIANTS`. ``printed`` follows the paper: features are joined, all five
scales, weights of 0.2 and 0.8 in the loss. The paper states neither depth nor widths, nor the
particulars below, which are those of the authors' code. ``released`` is that code: features are
added, squeeze and excitation before each step of the decoder but the first, no fifth scale, weights
of 0.4 and 0.6. ``ours`` is the printed network with particulars that were chosen here, and which
the figures of MBHR-Net on record have:

===========================  ====================================  ==========================
particular                   ``printed`` and ``released``          ``ours``
===========================  ====================================  ==========================
finest skip connection       before normalisation and ReLU         after them
vectors of the cosine        columns of the image                  patches with a building
lowest learning rate         1e-5                                  1e-6
gradient clipping            none                                  to a norm of 1
batch                        4 patches of 128 x 128 pixels         16 of 64 x 64
plateau and early stopping   by the loss at validation             by the RMSE at validation
weights that are kept        those of the last epoch               those of the best epoch
===========================  ====================================  ==========================

In all variants the stride of a bottleneck lies in its 3 x 3 convolution, as in public weights;
statistics of batch normalisation are taken anew before each validation (see
`sarheight.buildings.training`); and the third radar channel of the code, which is zero everywhere,
is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from sarheight.buildings.resnet import ResNet50
from sarheight.learning.unet import require_divisible

Vectors = Literal["patch", "column"]
"""What counts as a vector for the cosine: a whole patch, or each column of pixels of it."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A variant of network and training."""

    layers: int  # of each ResNet50 after the first convolution
    joins: bool  # the features of the encoders, else adds them
    attention: bool  # squeeze and excitation before each step of the decoder but the first
    widths: tuple[int, ...]  # channels of the decoder, from coarse to fine
    plain_skip: bool  # the finest skip connection comes before normalisation and ReLU
    weights: tuple[float, float]  # of squared error and cosine in the loss
    vectors: Vectors
    batch: int
    size: int  # pixels along a side of a patch
    least_rate: float
    clip: float | None  # norm to which a larger gradient is scaled
    keep: str  # the weights of the best epoch, or of the last
    monitored: str  # by what plateau, stopping and best epoch are found
    sar_bands: tuple[str, ...]


_PRINTED: dict[str, Any] = {
    "layers": 4,
    "joins": True,
    "attention": False,
    "widths": (512, 512, 256, 128, 64),
    "weights": (0.2, 0.8),
    "sar_bands": ("vv_ascending", "vh_ascending", "vv_descending", "vh_descending"),
}
_AUTHORS: dict[str, Any] = {
    "plain_skip": True,
    "vectors": "column",
    "batch": 4,
    "size": 128,
    "least_rate": 1e-5,
    "clip": None,
    "keep": "last",
    "monitored": "validation_loss",
}
VARIANTS = {
    "printed": Variant(**_PRINTED, **_AUTHORS),
    "released": Variant(
        **_AUTHORS,
        layers=3,
        joins=False,
        attention=True,
        widths=(512, 256, 128, 64),
        weights=(0.4, 0.6),
        sar_bands=("vv_ascending", "vh_ascending"),
    ),
    "ours": Variant(
        **_PRINTED,
        plain_skip=False,
        vectors="patch",
        batch=16,
        size=64,
        least_rate=1e-6,
        clip=1.0,
        keep="best",
        monitored="validation_rmse",
    ),
}
OPTICAL_BANDS = ("B02", "B03", "B04", "B08", "B11")
"""Bands that the authors' code reads."""
MODALITIES = {"sar": 4, "optical": len(OPTICAL_BANDS)}


def published(variant: str = "printed") -> dict[str, Any]:
    """Return the settings of a variant, arguments of `sarheight.buildings.BuildingSettings`.

    Patches of one month, none dropped; Adam at a rate of 1e-4 that is divided by ten after 10
    epochs without a better validation; at most 50 epochs, and an end after 20 without a better one.

    Raises
    ------
    ValueError
        If there is no such variant.
    """
    chosen = variant_named(variant)
    return {
        "network": "mbhr",
        "options": {"variant": variant},
        "sar_bands": chosen.sar_bands,
        "optical_bands": OPTICAL_BANDS,
        "months": 1,
        "kept_months": 0,
        "drop_modality": 0.0,
        "drop_month": 0.0,
        "size": chosen.size,
        "stride": chosen.size // 2,
        "batch": chosen.batch,
        "epochs": 50,
        "patience": 20,
        "keep": chosen.keep,
        "optimiser": "adam",
        "rate": 1e-4,
        "schedule": "plateau",
        "plateau": 10,
        "least_rate": chosen.least_rate,
        "decay": 0.0,
        "clip": chosen.clip,
        "monitored": chosen.monitored,
        "vectors": chosen.vectors,
    }


def variant_named(name: str) -> Variant:
    """Return a variant; raise ValueError if there is none of that name."""
    if name not in VARIANTS:
        msg = f"found variant {name!r}, expected one of {', '.join(VARIANTS)}"
        raise ValueError(msg)
    return VARIANTS[name]


# The network.

REDUCTION = 16
"""Channels to those of the bottleneck in squeeze and excitation."""
INITIAL_HEIGHT = 1.0
"""Mean output of an untrained network in metres: below zero the last ReLU has no gradient."""
DECODER_EPSILON = 1e-3
"""Number that is added to variances in the decoder, as in the authors' code (the default of Keras):
there normalisation follows the ReLU, and a channel that was zero throughout training has no
variance. With PyTorch's 1e-5 such a channel is amplified 316 times, at each step of the decoder,
where it becomes active in a new place."""


class SqueezeExcitation(nn.Module):
    """Concurrent squeeze and excitation of channels and of pixels, added.

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
        """Return the weighted input, of the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return cast("Tensor", x * self.channels(means) + x * self.places(x))


class MBHRNet(nn.Module):
    """Multimodal building height regression network; see `sarheight.buildings.mbhr`.

    Parameters
    ----------
    encoders : mapping of int
        Channels by modality; one modality alone is an ablation of the paper. By default 4 radar
        channels and 5 bands.
    variant : {"printed", "released", "ours"}
        Variant of the network.
    skips : bool
        Whether the decoder gets the finer scales; without them is an ablation of the paper.
    plain_skip : bool, optional
        Whether the finest skip connection comes before normalisation and ReLU; by default as in
        the variant.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or no such variant.
    """

    def __init__(
        self,
        encoders: Mapping[str, int] | None = None,
        *,
        variant: str = "printed",
        skips: bool = True,
        plain_skip: bool | None = None,
    ) -> None:
        super().__init__()
        channels = dict(MODALITIES if encoders is None else encoders)
        self.variant = variant_named(variant)
        if not channels:
            msg = "found no encoder, expected channels of at least one modality"
            raise ValueError(msg)
        self.skips = skips
        self.plain_skip = self.variant.plain_skip if plain_skip is None else plain_skip
        self.encoders = nn.ModuleDict(
            {name: ResNet50(count, layers=self.variant.layers) for name, count in channels.items()}
        )
        first = cast("ResNet50", next(iter(self.encoders.values())))
        growth = len(channels) if self.variant.joins else 1
        fused = [each * growth for each in first.channels]
        incoming, steps = fused[-1], []
        for number, width in enumerate(self.variant.widths):
            # The first step has no skip to be weighed against.
            weighed = self.variant.attention and number > 0
            attention = SqueezeExcitation(incoming) if weighed else nn.Identity()
            convolution = nn.Sequential(
                nn.Conv2d(incoming, width, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.BatchNorm2d(width, eps=DECODER_EPSILON),
            )
            steps.append(nn.Sequential(attention, convolution))
            finer = fused[-2 - number] if skips and number + 1 < len(fused) else 0
            incoming = width + finer
        self.decoder = nn.ModuleList(steps)
        self.head = nn.Conv2d(self.variant.widths[-1], 1, 1)
        nn.init.constant_(cast("Tensor", self.head.bias), INITIAL_HEIGHT)
        self.stride = first.stride

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Estimate heights.

        Parameters
        ----------
        images : mapping of Tensor
            By modality, shape (batch, channels, rows, columns), normalised, without gaps.

        Returns
        -------
        Tensor, shape (batch, 1, rows, columns)
            Metres, at least 0.
        """
        features = []
        for name, encoder in self.encoders.items():
            require_divisible(images[name].shape, self.stride)
            features.append(encoder(images[name], plain=self.plain_skip))
        fused = [self._fuse(scales) for scales in zip(*features, strict=True)]
        x = fused[-1]
        for number, step in enumerate(self.decoder):
            x = nn.functional.interpolate(step(x), scale_factor=2.0, mode="nearest")
            if self.skips and number + 1 < len(fused):
                x = torch.cat([x, fused[-2 - number]], dim=1)
        return torch.relu(self.head(x))

    def _fuse(self, scales: Sequence[Tensor]) -> Tensor:
        """Fuse the features of all encoders at one scale."""
        if self.variant.joins:
            return torch.cat(list(scales), dim=1)
        return torch.stack(list(scales)).sum(dim=0)


# The loss.

MIN_NORM = 1e-6


def regression_loss(
    height: Tensor, truth: Tensor, weights: tuple[float, float], vectors: Vectors = "patch"
) -> Tensor:
    r"""Return squared error and cosine distance.

    :math:`w_1 \overline{(\hat h - h)^2} + w_2 (1 - \overline{\cos(\hat h, h)})`

    Vectors are the columns of pixels, as in the authors' code (which minimises
    :math:`-\cos`, a constant less), where those without a building have a cosine of 0; or whole
    patches, where the mean is taken over those with a building.

    Parameters
    ----------
    height, truth : Tensor, shape (batch, 1, rows, columns)
        Metres. Cells that are NaN in either do not count.
    weights : tuple of float
        Of squared error and cosine.
    vectors : {"patch", "column"}
        See above.

    Returns
    -------
    Tensor
        A single value.
    """
    known = torch.isfinite(truth) & torch.isfinite(height)
    estimate, true = (torch.where(known, each, 0.0)[:, 0] for each in (height, truth))
    square = ((estimate - true) ** 2).sum() / known.sum().clamp(min=1)
    axes = (1,) if vectors == "column" else (1, 2)
    # The norm as a clamped square: its gradient is finite at 0.
    lengths = [(each**2).sum(dim=axes).clamp(min=MIN_NORM**2).sqrt() for each in (estimate, true)]
    cosine = (estimate * true).sum(dim=axes) / (lengths[0] * lengths[1])
    counted = torch.ones_like(cosine, dtype=torch.bool)
    if vectors == "patch":
        counted = (true > 0.0).any(dim=2).any(dim=1)
    distance: Tensor = torch.where(counted, 1.0 - cosine, 0.0).sum() / counted.sum().clamp(min=1)
    return weights[0] * square + weights[1] * distance
