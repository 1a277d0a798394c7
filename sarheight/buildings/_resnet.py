"""ResNet50 encoders and their public weights."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sarheight.errors import CheckpointError

if TYPE_CHECKING:
    import os

WIDTHS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
EXPANSION = 4
"""A bottleneck puts out this many times its inner channels."""
STEM = 64


class _Bottleneck(nn.Module):
    """Three convolutions beside an identity: narrow, look around, widen.

    The stride is that of the 3 x 3 convolution, as in the weights that are in use; the original
    has it in the first.
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


def _layer(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Bottleneck(channels, width, stride)
    rest = [_Bottleneck(width * EXPANSION, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


class ResNet50(nn.Module):
    """ResNet50 for images of any number of channels, as a classifier or an encoder.

    Parameters have the names that torchvision gave them, so that public weights fit; see
    `load_resnet_weights`.

    Parameters
    ----------
    in_channels : int
        Channels of the image.
    layers : int
        How many of the four layers there are: encoders may stop before the last.
    classes : int, optional
        Classes to tell apart; without them there is no classifier, and `scales` is all that the
        network is for.

    Attributes
    ----------
    channels : tuple of int
        Channels of each scale that `scales` returns.
    stride : int
        Pixels of the image to one of the coarsest scale.

    Raises
    ------
    ValueError
        If a number makes no sense.

    References
    ----------
    He, K., Zhang, X., Ren, S. and Sun, J. (2016). Deep Residual Learning for Image Recognition.
    CVPR, arXiv:1512.03385, table 1.
    """

    def __init__(
        self, in_channels: int = 3, *, layers: int = 4, classes: int | None = None
    ) -> None:
        super().__init__()
        if in_channels < 1 or not 1 <= layers <= len(WIDTHS):
            msg = (
                f"found in_channels={in_channels} and layers={layers}, expected 1 channel at "
                f"least and 1 to {len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        if classes is not None and (classes < 1 or layers < len(WIDTHS)):
            msg = (
                f"found classes={classes} and layers={layers}, expected 1 class at least and all "
                f"{len(WIDTHS)} layers"
            )
            raise ValueError(msg)
        self.conv1 = nn.Conv2d(in_channels, STEM, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        incoming = STEM
        for number, (width, blocks) in enumerate(zip(WIDTHS[:layers], BLOCKS, strict=False)):
            layer = _layer(incoming, width, blocks, 1 if number == 0 else 2)
            self.add_module(f"layer{number + 1}", layer)
            incoming = width * EXPANSION
        self.fc = None if classes is None else nn.Linear(incoming, classes)
        self.layers = layers
        self.channels = (STEM, *(width * EXPANSION for width in WIDTHS[:layers]))
        self.stride = 2 ** (layers + 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def scales(self, x: Tensor) -> list[Tensor]:
        """Return what the network sees at each scale.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)

        Returns
        -------
        list of Tensor
            From fine to coarse: after the first convolution at half of the size, and after each
            layer, at a quarter and on. Channels as `channels` has them.
        """
        found = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(found[0])
        for number in range(self.layers):
            x = self.get_submodule(f"layer{number + 1}")(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Return a score of each class.

        Parameters
        ----------
        x : Tensor, shape (batch, in_channels, rows, columns)

        Returns
        -------
        Tensor, shape (batch, classes)

        Raises
        ------
        ValueError
            If the network was made without classes.
        """
        if self.fc is None:
            msg = "found a network without classes: make it with classes=..., or call scales"
            raise ValueError(msg)
        return cast("Tensor", self.fc(torch.flatten(self.scales(x)[-1].mean(dim=(2, 3)), 1)))


# Public weights of ResNet50, from whatever file they come in.

WRAPPERS = ("state_dict", "model", "teacher")
"""Under which key training programs keep the weights, apart from their own affairs."""
PREFIXES = (
    "",
    "module.",
    "backbone.",
    "module.backbone.",
    "encoder.",
    "module.encoder_q.",
    "encoder_q.",
)
"""What may stand before a name. Of momentum contrast, the query encoder is the trained one."""
FIRST, HEAD, COUNTER = "conv1.weight", "fc.", "num_batches_tracked"
SHOWN = 6


@dataclass(frozen=True)
class LoadedWeights:
    """What was taken from a file, and what was not.

    Attributes
    ----------
    prefix : str
        What stood before the names.
    channels : int
        Channels that the file's first convolution looks at.
    left_out : tuple of str
        Names in the file that the network has no use for: a classifier, layers beyond its last,
        other networks.
    """

    prefix: str
    channels: int
    left_out: tuple[str, ...]


def load_resnet_weights(
    network: ResNet50,
    path: str | os.PathLike[str],
    *,
    prefix: str | None = None,
    bands: Sequence[int | None] | None = None,
) -> LoadedWeights:
    r"""Load public weights, such as those of ImageNet or SSL4EO-S12, into a ResNet50.

    The first convolution is brought to the network's channels by one rule. Each channel gets the
    filters of the file's channel that `bands` names, or their mean over all channels, and all are
    scaled by :math:`C_\text{file} / C_\text{network}`: an image that is the same in all channels
    gives the same answer as before. Without `bands`, filters are taken one by one where the
    numbers of channels agree, and otherwise all are the mean.

    Counters of batches, which older files do not have, begin at 0. All other weights must be
    there, with the right shape.

    Parameters
    ----------
    network : ResNet50
        Gets the weights.
    path : path-like
        A file of PyTorch (``.pth``, ``.pt``, ``.tar``), from which only tensors are read and never
        code, or of safetensors.
    prefix : str, optional
        What stands before the names; by default what is found of those in use.
    bands : sequence of int or None, optional
        For each channel of the network the number of the file's channel, or None for the mean.

    Returns
    -------
    LoadedWeights
        What was found, and what was left out.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or its weights are not those of this network; the message
        names them.
    ValueError
        If `bands` does not fit.
    """
    path = Path(path)
    found = _tensors(path)
    chosen = _prefix(found, path) if prefix is None else prefix
    weights = {name[len(chosen) :]: each for name, each in found.items() if name.startswith(chosen)}
    own = network.state_dict()
    unused = {name for name in weights if name not in own and _may_be_left(name, network)}
    others = {name for name in found if not name.startswith(chosen)}
    taken = {name: each for name, each in weights.items() if name not in unused}
    for name in own:
        if name.endswith(COUNTER) and name not in taken:
            taken[name] = torch.zeros_like(own[name])
    channels = _require_first(taken, path)
    taken[FIRST] = _first(taken[FIRST], network.conv1.in_channels, bands)
    _require_equal(taken, own, path)
    network.load_state_dict(taken, strict=True)
    return LoadedWeights(
        chosen, channels, tuple(sorted({chosen + name for name in unused} | others))
    )


def _tensors(path: Path) -> dict[str, Tensor]:
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
        inner = next((content[name] for name in WRAPPERS if _is_mapping(content, name)), None)
        if inner is None:
            break
        content = inner
    tensors = _only_tensors(content)
    if not tensors:
        msg = f"'{path}' holds a {type(content).__name__}, expected tensors by name"
        raise CheckpointError(msg)
    return tensors


def _is_mapping(content: Mapping[Any, Any], name: str) -> bool:
    return isinstance(content.get(name), Mapping)


def _only_tensors(content: Any) -> dict[str, Tensor]:  # noqa: ANN401  # of a stranger's file
    if not isinstance(content, Mapping):
        return {}
    return {str(name): each for name, each in content.items() if isinstance(each, Tensor)}


def _prefix(found: Mapping[str, Tensor], path: Path) -> str:
    for prefix in PREFIXES:
        if prefix + FIRST in found:
            return prefix
    candidates = sorted(name for name in found if name.endswith(FIRST))
    msg = (
        f"found no {FIRST} in '{path}', with or without {', '.join(filter(None, PREFIXES))}; it "
        f"has {_listed(candidates or sorted(found))}: pass prefix=..."
    )
    raise CheckpointError(msg)


def _may_be_left(name: str, network: ResNet50) -> bool:
    """Tell whether a network may do without a weight: a classifier, or a layer past its last."""
    beyond = tuple(f"layer{number}." for number in range(network.layers + 1, 5))
    return name.startswith((HEAD, *beyond)) and not (network.fc and name.startswith(HEAD))


def _require_first(taken: Mapping[str, Tensor], path: Path) -> int:
    first = taken.get(FIRST)
    if first is None or first.ndim != 4:
        msg = f"found no {FIRST} of four dimensions in '{path}', expected (64, channels, 7, 7)"
        raise CheckpointError(msg)
    return int(first.shape[1])


def _first(filters: Tensor, channels: int, bands: Sequence[int | None] | None) -> Tensor:
    """Bring the filters of the first convolution to other channels."""
    there = filters.shape[1]
    if bands is None:
        bands = range(channels) if channels == there else [None] * channels
    if len(bands) != channels or any(b is not None and not 0 <= b < there for b in bands):
        msg = (
            f"found bands {list(bands)}, expected {channels} numbers from 0 to {there - 1}, or None"
        )
        raise ValueError(msg)
    mean = filters.mean(dim=1)
    chosen = [mean if band is None else filters[:, band] for band in bands]
    return torch.stack(chosen, dim=1) * (there / channels)


def _require_equal(taken: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    wrong = [
        f"{name} of shape {tuple(each.shape)} instead of {tuple(own[name].shape)}"
        for name, each in taken.items()
        if name in own and each.shape != own[name].shape
    ]
    faults = {
        "without": sorted(set(own) - set(taken)),
        "with the strange": sorted(set(taken) - set(own)),
        "with": wrong,
    }
    told = [f"{kind} {_listed(names)}" for kind, names in faults.items() if names]
    if told:
        msg = f"found weights in '{path}' {', '.join(told)}; expected those of this ResNet50"
        raise CheckpointError(msg)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
