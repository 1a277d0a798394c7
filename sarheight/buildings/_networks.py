"""Networks for building heights: ResNet50 encoders, MBHR-Net, and the network for image series."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sarheight.errors import CheckpointError
from sarheight.learning.unet import UNet, require_divisible

if TYPE_CHECKING:
    import os

# ResNet50, table 1 of He et al. (2016).
WIDTHS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
"""Output channels of a bottleneck to its inner channels."""
STEM = 64


class _Bottleneck(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1 beside an identity.

    The stride is in the 3 x 3 convolution, as in the public weights; the paper has it in the first.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        wide = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or channels != wide:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, wide, 1, stride=stride, bias=False), nn.BatchNorm2d(wide)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return shape (batch, 4 width, rows / stride, columns / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return cast("Tensor", self.relu(self.bn3(self.conv3(y)) + self.downsample(x)))


class ResNet50(nn.Module):
    """ResNet50 for any number of channels, as a classifier, or as an encoder of one to four layers.

    Parameters have the names of torchvision, so that public weights fit: `load_resnet_weights`.
    `channels` are those of each scale, `stride` the pixels of the image to one of the coarsest.
    Without `classes` there is no classifier, and `scales` replaces `forward`.
    Source: He, K., Zhang, X., Ren, S. and Sun, J. (2016), CVPR, arXiv:1512.03385.
    """

    def __init__(
        self, in_channels: int = 3, *, layers: int = 4, classes: int | None = None
    ) -> None:
        super().__init__()
        if in_channels < 1 or not 1 <= layers <= len(WIDTHS):
            msg = (
                f"found in_channels={in_channels} and layers={layers}, expected at least 1 channel "
                f"and 1 to {len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        if classes is not None and (classes < 1 or layers < len(WIDTHS)):
            msg = (
                f"found classes={classes} and layers={layers}, expected at least 1 class and all "
                f"{len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        self.conv1 = nn.Conv2d(in_channels, STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        incoming = STEM
        for number, (width, blocks) in enumerate(zip(WIDTHS[:layers], BLOCKS, strict=False)):
            first = _Bottleneck(incoming, width, 1 if number == 0 else 2)
            incoming = width * EXPANSION
            rest = [_Bottleneck(incoming, width, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number + 1}", nn.Sequential(first, *rest))
        self.fc = None if classes is None else nn.Linear(incoming, classes)
        self.layers = layers
        self.channels = (STEM, *(width * EXPANSION for width in WIDTHS[:layers]))
        self.stride = 2 ** (layers + 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def scales(self, x: Tensor) -> list[Tensor]:
        """Return features from fine to coarse: after the first convolution, and after each layer.

        `x` has shape (batch, in_channels, rows, columns), the first features half of its size.
        """
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for number in range(self.layers):
            x = self.get_submodule(f"layer{number + 1}")(x)
            features.append(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return a score of each class, shape (batch, classes); needs `classes`."""
        if self.fc is None:
            msg = "found a network without classes: make it with classes=..., or call scales"
            raise ValueError(msg)
        return cast("Tensor", self.fc(torch.flatten(self.scales(x)[-1].mean(dim=(2, 3)), 1)))


# Public weights of ResNet50, in the files of various training programs.

WRAPPERS = ("state_dict", "model", "teacher")
"""Keys under which training programs store the weights, beside their own state."""
PREFIXES = (
    *("", "module.", "backbone.", "module.backbone.", "encoder."),
    *("module.encoder_q.", "encoder_q."),
)
"""Prefixes of names. Of momentum contrast, the query encoder is the trained one."""
FIRST, HEAD, COUNTER = "conv1.weight", "fc.", "num_batches_tracked"
MAX_SHOWN = 6
"""Names in an error message."""


@dataclass(frozen=True)
class LoadedWeights:
    """Result of loading a file of weights."""

    prefix: str  # of the names in the file
    channels: int  # of the input of the first convolution in the file
    left_out: tuple[str, ...]  # names of a classifier, layers beyond the last, other networks


def load_resnet_weights(
    network: ResNet50,
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    bands: Sequence[int | None] | None = None,
) -> LoadedWeights:
    r"""Load public weights, such as those of ImageNet or SSL4EO-S12, into a ResNet50 encoder.

    Each channel of the first convolution gets the filters of the file's channel that `bands` names,
    or their mean over all channels, scaled by :math:`C_\text{file} / C_\text{network}`: an image
    that is the same in all channels gives the same features as before. Without `bands`, filters
    are taken one by one where the numbers of channels agree, and are the mean otherwise.

    Counters of batches, which older files lack, start at 0. All other weights must be present, with
    the right shape.

    Parameters
    ----------
    network : ResNet50
        Gets the weights: an encoder of `MBHRNet`.
    path : path-like
        A file of PyTorch (``.pth``, ``.pt``, ``.tar``), from which only tensors are read and no
        code is run, or of safetensors.
    prefix : str, optional
        Prefix of the names; by default one of those in common use.
    bands : sequence of int or None, optional
        For each channel of the network the number of the file's channel, or None for the mean.

    Returns
    -------
    LoadedWeights
        Prefix and channels of the file, and the weights that were left out.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or its weights are not those of this network; the message
        names them.
    ValueError
        If `bands` does not fit.
    """
    path = Path(path)
    tensors = _read_tensors(path)
    start = _find_prefix(tensors, path) if prefix is None else prefix
    weights = {n.removeprefix(start): each for n, each in tensors.items() if n.startswith(start)}
    own = network.state_dict()
    # A classifier, and layers beyond the last one of this network, are not needed.
    optional = (HEAD, *(f"layer{number}." for number in range(network.layers + 1, 5)))
    unused = {name for name in weights if name not in own and name.startswith(optional)}
    others = {name for name in tensors if not name.startswith(start)}
    taken = {name: each for name, each in weights.items() if name not in unused}
    taken |= {n: torch.zeros_like(own[n]) for n in own if n.endswith(COUNTER) and n not in taken}
    first = taken.get(FIRST)
    if first is None or first.ndim != 4:
        msg = f"found no {FIRST} of four dimensions in '{path}', expected (64, channels, 7, 7)"
        raise CheckpointError(msg)
    taken[FIRST] = _adapt_channels(first, network.conv1.in_channels, bands)
    _require_equal(taken, own, path)
    network.load_state_dict(taken, strict=True)
    left_out = tuple(sorted({start + name for name in unused} | others))
    return LoadedWeights(start, int(first.shape[1]), left_out)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by name, without running any code."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        reason = " ".join(str(error).split())[:200]
        msg = (
            f"'{path}' holds no weights that can be read without running code ({reason}); expected "
            "a file of tensors by name: save its state_dict alone"
        )
        raise CheckpointError(msg) from error
    while isinstance(content, Mapping):
        wrapped = (content.get(name) for name in WRAPPERS)
        inner = next((each for each in wrapped if isinstance(each, Mapping)), None)
        if inner is None:
            break
        content = inner
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {str(name): each for name, each in entries if isinstance(each, Tensor)}
    if not tensors:
        msg = f"'{path}' holds a {type(content).__name__}, expected tensors by name"
        raise CheckpointError(msg)
    return tensors


def _find_prefix(tensors: Mapping[str, Tensor], path: Path) -> str:
    for prefix in PREFIXES:
        if prefix + FIRST in tensors:
            return prefix
    candidates = sorted(name for name in tensors if name.endswith(FIRST)) or sorted(tensors)
    msg = (
        f"found no {FIRST} in '{path}', with or without {', '.join(filter(None, PREFIXES))}; it "
        f"has {_listed(candidates)}: pass prefix=..."
    )
    raise CheckpointError(msg)


def _adapt_channels(filters: Tensor, channels: int, bands: Sequence[int | None] | None) -> Tensor:
    """Adapt filters, shape (width, file channels, rows, columns), to other input channels."""
    available = filters.shape[1]
    if bands is None:
        bands = range(channels) if channels == available else [None] * channels
    if len(bands) != channels or any(b is not None and not 0 <= b < available for b in bands):
        msg = (
            f"found bands {list(bands)}, expected {channels} numbers from 0 to {available - 1}, or "
            "None"
        )
        raise ValueError(msg)
    mean = filters.mean(dim=1)
    chosen = [mean if band is None else filters[:, band] for band in bands]
    return torch.stack(chosen, dim=1) * (available / channels)


def _require_equal(taken: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless names and shapes of weights are those of a network."""
    wrong = [
        f"{name} of shape {tuple(each.shape)} instead of {tuple(own[name].shape)}"
        for name, each in taken.items()
        if name in own and each.shape != own[name].shape
    ]
    faults = {
        "without": sorted(set(own) - set(taken)),
        "with the unknown": sorted(set(taken) - set(own)),
        "with": wrong,
    }
    shown = [f"{kind} {_listed(names)}" for kind, names in faults.items() if names]
    if shown:
        msg = f"found weights in '{path}' {', '.join(shown)}; expected those of this ResNet50"
        raise CheckpointError(msg)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - MAX_SHOWN
    return ", ".join(names[:MAX_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


# MBHR-Net: one encoder for each modality, fused at every scale, and a decoder with skips.

MODALITIES = {"sar": 4, "optical": 5}
REDUCTION = 16
"""Channels to those of the bottleneck in squeeze and excitation."""
INITIAL_HEIGHT = 1.0
"""Metres: mean output of an untrained network; below zero the gradient of its last ReLU is zero."""
DECODER_EPSILON = 1e-3
"""Added to variances in the decoder, as in the authors' code (the default of Keras). It matters:
there normalisation follows the ReLU, and a channel that was zero throughout training has no
variance. With PyTorch's 1e-5 such a channel is amplified 316 times, at each step of the decoder,
where it becomes active in a new place."""


class _SqueezeExcitation(nn.Module):
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


@dataclass(frozen=True)
class Variant:
    """Differences between the network of the paper and the released one."""

    layers: int  # of each ResNet50
    concatenates: bool  # the scales of the encoders, else adds them
    attention: bool  # squeeze and excitation before each step of the decoder but the first
    widths: tuple[int, ...]  # channels of the decoder, from coarse to fine
    weights: tuple[float, float]  # of squared error and cosine in the loss


VARIANTS = {
    "paper": Variant(
        layers=4,
        concatenates=True,
        attention=False,
        widths=(512, 512, 256, 128, 64),
        weights=(0.2, 0.8),
    ),
    "released": Variant(
        layers=3, concatenates=False, attention=True, widths=(512, 256, 128, 64), weights=(0.4, 0.6)
    ),
}


class MBHRNet(nn.Module):
    """Multimodal building height regression network.

    A ResNet50 for each modality; their features are fused at every scale; a decoder doubles the
    size at each step and concatenates the fused scale; a 1 x 1 convolution and a ReLU give metres.

    ``paper`` is the network as printed: fused by concatenation. ``released`` is that of the
    authors' code: fused by addition, squeeze and excitation before each step of the decoder, the
    encoders without their last layer, and three radar channels. The paper states neither the depth
    of the encoders nor the width of the decoder: here all of ResNet50, and the widths of the
    released decoder with one more at the coarsest scale.

    Parameters
    ----------
    encoders : mapping of int
        Channels by modality; one modality alone is an ablation of the paper. By default 4 radar
        channels and 5 bands.
    variant : {"paper", "released"}
        See above.
    skips : bool
        Whether the decoder gets the finer scales; without them is an ablation of the paper.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or no such variant.

    References
    ----------
    Nascetti, A., Yadav, R. and Ban, Y. (2023). A CNN regression model to estimate buildings height
    maps using Sentinel-1 SAR and Sentinel-2 MSI time series. IGARSS, arXiv:2307.01378.
    """

    def __init__(
        self,
        encoders: Mapping[str, int] | None = None,
        *,
        variant: str = "paper",
        skips: bool = True,
    ) -> None:
        super().__init__()
        channels = dict(MODALITIES if encoders is None else encoders)
        if variant not in VARIANTS or not channels:
            msg = (
                f"found variant {variant!r} and the encoders {channels}, expected one of "
                f"{', '.join(VARIANTS)}, and at least one encoder"
            )
            raise ValueError(msg)
        self.variant = VARIANTS[variant]
        self.skips = skips
        self.encoders = nn.ModuleDict(
            {name: ResNet50(count, layers=self.variant.layers) for name, count in channels.items()}
        )
        first = cast("ResNet50", next(iter(self.encoders.values())))
        growth = len(channels) if self.variant.concatenates else 1
        fused = [each * growth for each in first.channels]
        incoming, steps = fused[-1], []
        for number, width in enumerate(self.variant.widths):
            # The first step has no skip to be weighed against.
            weighed = self.variant.attention and number > 0
            attention = _SqueezeExcitation(incoming) if weighed else nn.Identity()
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
            features.append(cast("ResNet50", encoder).scales(images[name]))
        fused = [self._fuse(scales) for scales in zip(*features, strict=True)]
        x = fused[-1]
        for number, step in enumerate(self.decoder):
            x = nn.functional.interpolate(step(x), scale_factor=2.0, mode="nearest")
            if self.skips and number + 1 < len(fused):
                x = torch.cat([x, fused[-2 - number]], dim=1)
        return torch.relu(self.head(x))

    def _fuse(self, scales: Sequence[Tensor]) -> Tensor:
        """Fuse the features of all encoders at one scale."""
        if self.variant.concatenates:
            return torch.cat(list(scales), dim=1)
        return torch.stack(list(scales)).sum(dim=0)


# A network for series of images: features of each month, attention over the months, and a U-Net.

LEAK = 0.1
PATCH = 2
"""Months are encoded in squares of this many cells: it costs a quarter, and speckle is averaged."""
STATISTICS = 4
"""Mean, standard deviation, minimum and maximum over the months."""


class _MonthEncoder(nn.Module):
    """Features of the months of one modality, with attention over the months.

    Each month passes the same convolutions, with an embedding of its season. Then, at each pixel, a
    query from the mean over the months weighs their features.
    """

    def __init__(self, channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.squares = nn.PixelUnshuffle(PATCH)
        self.first = nn.Conv2d((channels + 1) * PATCH**2, width, 3, padding=1, bias=False)
        self.season = nn.Linear(3, width)
        self.then = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.query = nn.Conv2d(width, width, 1)
        self.key = nn.Conv2d(width, width, 1)
        self.out = nn.Sequential(nn.Conv2d(3 * width, width, 1), nn.LeakyReLU(LEAK, inplace=True))

    def forward(self, images: Tensor, valid: Tensor, season: Tensor) -> Tensor:
        """Return features at half of the size, shape (batch, width, rows / 2, columns / 2).

        `images` has shape (batch, months, channels, rows, columns), `valid` the same with one
        channel, `season` (batch, months, 3).
        """
        batch, months = images.shape[:2]
        present = valid.flatten(2).any(dim=2).flatten()
        width, rows, columns = self.first.out_channels, *(n // PATCH for n in images.shape[-2:])
        features = images.new_zeros((batch * months, width, rows, columns))
        # Months without an image are not encoded at all.
        if bool(present.any()):
            pixels = torch.cat([images, valid.to(images.dtype)], dim=2).flatten(0, 1)[present]
            squares = self.squares(pixels).contiguous(memory_format=torch.channels_last)
            embedding = self.season(season.flatten(0, 1)[present])[:, :, None, None]
            encoded = self.then(self.first(squares) + embedding)
            features = features.to(encoded.dtype).contiguous(memory_format=torch.channels_last)
            features[present] = encoded
        share = nn.functional.avg_pool2d(valid.flatten(0, 1).float(), PATCH)
        return self._attend(
            features.view(batch, months, width, rows, columns),
            share.view(batch, months, 1, rows, columns),
        )

    def _attend(self, features: Tensor, share: Tensor) -> Tensor:
        """Weigh the months by attention and by their valid share; zero where no month is valid."""
        batch, months, width, rows, columns = features.shape
        known = share.sum(dim=1)
        mean = (features * share).sum(dim=1) / known.clamp(min=1e-6)
        highest = torch.where(share > 0.0, features, -torch.inf).amax(dim=1)
        highest = torch.where(known > 0.0, highest, 0.0)
        parts = (self.heads, width // self.heads, rows, columns)
        query = self.query(mean).view(batch, 1, *parts)
        keys = self.key(features.flatten(0, 1)).view(batch, months, *parts)
        # Scaled dot products q . k / sqrt(d); the logarithm of the share masks missing months.
        scores = (query * keys).sum(dim=3).float() / parts[1] ** 0.5
        scores = scores + torch.log(share.clamp(min=1e-6))
        weights = torch.softmax(scores, dim=1) * (known > 0.0).unsqueeze(1)
        values = features.view(batch, months, *parts)
        attended = (values * weights.unsqueeze(3)).sum(dim=1).flatten(1, 2)
        return cast("Tensor", self.out(torch.cat([attended, mean, highest], dim=1)))


class SeriesNet(nn.Module):
    """A network for series of images of several modalities, with gaps.

    Each modality has an encoder, shared by all its months, and attention weighs the features of
    the months. At full resolution mean, standard deviation, minimum and maximum over the months
    join them in a U-Net. Months, pixels and whole modalities may be missing.

    Parameters
    ----------
    channels : mapping of int
        Channels by modality.
    outputs : int
        Channels of the output.
    width : int
        Channels of the finest level of the U-Net.
    depth : int
        Levels below it, each of half the size.
    months_width : int
        Channels of the features of a month, a multiple of `heads`.
    heads : int
        Heads of the attention over the months.

    Attributes
    ----------
    stride : int
        Rows and columns must be multiples of it.

    Raises
    ------
    ValueError
        If there is no modality, or `months_width` is no multiple of `heads`.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        outputs: int,
        *,
        width: int = 32,
        depth: int = 3,
        months_width: int = 32,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if not channels or heads < 1 or months_width < 1 or months_width % heads:
            msg = (
                f"found the channels {dict(channels)}, months_width={months_width} and "
                f"heads={heads}; expected at least one modality, and a width that is a multiple "
                "of the heads"
            )
            raise ValueError(msg)
        self.months = nn.ModuleDict(
            {name: _MonthEncoder(count, months_width, heads) for name, count in channels.items()}
        )
        incoming = sum(STATISTICS * count + 1 + months_width for count in channels.values())
        self.network = UNet(incoming, outputs, width=width, depth=depth)
        self.stride = max(self.network.stride, PATCH)

    def forward(
        self, images: Mapping[str, Tensor], valid: Mapping[str, Tensor], month: Tensor
    ) -> Tensor:
        """Reduce series of images to one.

        Parameters
        ----------
        images : mapping of Tensor
            By modality, shape (batch, months, channels, rows, columns), normalised; 0 where
            there is no value.
        valid : mapping of Tensor
            bool, shape (batch, months, 1, rows, columns): where there is a value.
        month : Tensor
            int, shape (batch, months): month of the year, 1 to 12; 0 where it is unknown.

        Returns
        -------
        Tensor, shape (batch, outputs, rows, columns)
        """
        season = _season(month)
        parts = []
        for name, encoder in self.months.items():
            require_divisible(images[name].shape, self.stride)
            parts += month_statistics(images[name], valid[name])
            features = encoder(images[name], valid[name], season)
            parts.append(
                nn.functional.interpolate(
                    features, scale_factor=float(PATCH), mode="bilinear", align_corners=False
                )
            )
        dtype = parts[-1].dtype
        stacked = torch.cat([part.to(dtype) for part in parts], dim=1)
        return cast("Tensor", self.network(stacked.contiguous(memory_format=torch.channels_last)))


def _season(month: Tensor) -> Tensor:
    """Return sine and cosine of the season, and whether it is known: (batch, months, 3)."""
    known = (month > 0).float()
    angle = 2.0 * torch.pi * month.float() / 12.0
    return torch.stack([torch.sin(angle) * known, torch.cos(angle) * known, known], dim=2)


def month_statistics(images: Tensor, valid: Tensor) -> list[Tensor]:
    """Return mean, standard deviation, minimum and maximum over the months, and the valid share.

    Images have shape (batch, months, bands, rows, columns), and are 0 where not `valid`.
    """
    count = valid.sum(dim=1).float()
    known = count.clamp(min=1.0)
    mean = images.sum(dim=1) / known
    variance = (torch.where(valid, images - mean.unsqueeze(1), 0.0) ** 2).sum(dim=1) / known
    none = count == 0.0
    lowest = torch.where(valid, images, torch.inf).amin(dim=1).masked_fill(none, 0.0)
    highest = torch.where(valid, images, -torch.inf).amax(dim=1).masked_fill(none, 0.0)
    # The small constant keeps the gradient of the root finite where all months are equal.
    return [mean, torch.sqrt(variance + 1e-6), lowest, highest, count / valid.shape[1]]
