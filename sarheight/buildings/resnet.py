"""ResNet50 as the encoder of a network, and the public weights that fit it.

He, K., Zhang, X., Ren, S. and Sun, J. (2016). Deep Residual Learning for Image Recognition. CVPR,
arXiv:1512.03385.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sarheight.errors import CheckpointError

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
    """ResNet50 for any number of channels, as an encoder of one to four layers.

    Parameters have the names of torchvision, so that public weights fit: `load_resnet_weights`.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    layers : int
        Layers after the first convolution, of 3, 4, 6 and 3 bottleneck blocks.

    Attributes
    ----------
    channels : tuple of int
        Of each scale, from fine to coarse.
    stride : int
        Pixels of the image to one of the coarsest scale.

    Raises
    ------
    ValueError
        If there is no channel, or another number of layers.
    """

    def __init__(self, in_channels: int = 3, *, layers: int = 4) -> None:
        super().__init__()
        if in_channels < 1 or not 1 <= layers <= len(WIDTHS):
            msg = (
                f"found in_channels={in_channels} and layers={layers}, expected at least 1 channel "
                f"and 1 to {len(WIDTHS)} layers"
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
        self.layers = layers
        self.channels = (STEM, *(width * EXPANSION for width in WIDTHS[:layers]))
        self.stride = 2 ** (layers + 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor, *, plain: bool = False) -> list[Tensor]:
        """Return features from fine to coarse: after the first convolution, and after each layer.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)
            Rows and columns are multiples of ``stride``.
        plain : bool
            Whether the first features are those before normalisation and ReLU.

        Returns
        -------
        list of Tensor
            The first has half of the rows and columns, each other one half of those before.
        """
        convolved = self.conv1(x)
        x = self.relu(self.bn1(convolved))
        features = [convolved if plain else x]
        x = self.maxpool(x)
        for number in range(self.layers):
            x = self.get_submodule(f"layer{number + 1}")(x)
            features.append(x)
        return features


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
    try:
        # A copy takes them first: a network keeps its own if they do not fit.
        deepcopy(network).load_state_dict(taken)
    except RuntimeError as error:
        found = " ".join(str(error).split())
        msg = f"found weights in '{path}' that do not fit; expected those of this ResNet50: {found}"
        raise CheckpointError(msg) from error
    network.load_state_dict(taken)
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
    shown = ", ".join(candidates[:MAX_SHOWN]) + (" …" if len(candidates) > MAX_SHOWN else "")
    msg = (
        f"found no {FIRST} in '{path}', with or without {', '.join(filter(None, PREFIXES))}; it "
        f"has {shown}: pass prefix=..."
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
