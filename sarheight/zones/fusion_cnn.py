"""FusionCNN: the stage at which branches of radar and optical channels are joined.

The network of Gawlikowski, J., Schmitt, M., Kruspe, A. and Zhu, X. X. (2020). On the Fusion
Strategies of Sentinel-1 and Sentinel-2 Data for Local Climate Zone Classification. IGARSS.

Its figure in words, for patches of 32 x 32 cells. Blocks B1 to B5 are a 3 x 3 convolution, batch
normalisation and ReLU; B6 is dense. Every group of channels has a branch of its own; the branches
are joined after the block that the *fusion stage* names, and one trunk goes on from there:

=====  =======  ========  ==================================================  ==============
block  cells    features  what follows the convolution                        fusion after it
=====  =======  ========  ==================================================  ==============
input  32 x 32  –         –                                                   stage 0
B1     16 x 16  32        2 x 2 max pooling                                   stage 1
B2     8 x 8    64        2 x 2 max pooling                                   stage 2
B3     4 x 4    128       2 x 2 max pooling                                   stage 3
B4     4 x 4    256       –                                                   stage 4
B5     1 x 1    256       global average pooling                              stage 5
B6     –        256       dropout, dense layer with normalisation and ReLU,   stage 6
                          dropout, dense layer to the classes, softmax
=====  =======  ========  ==================================================  ==============

At stage 6 each branch is a complete network, and the probabilities are averaged: either the
branches are trained together through that sum (*dependent*, in one `FusionCNN`), or each is trained
on its own (*independent*, `sarheight.zones.ZoneClassifier.ensemble`). The paper does not state the
widths; here n branches *divide* them, so that all stages have the same number of features at each
depth, and a late fusion has no advantage from its size.

The channels are split in four ways, `FUSED_SPLITS`; with seven stages each these are the 28
strategies of the paper, `fusion_strategies`. The loss is the cross entropy with class weights
n / n_i, `class_weights`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.zones.channels import OPTICAL_CHANNELS, RADAR_CHANNELS

BLOCKS = 5
WIDTHS, DENSE = (32, 64, 128, 256, 256), 256
LAST_STAGE = 6


def published() -> dict[str, Any]:
    """Return the published settings, arguments of `sarheight.zones.ZoneSettings`.

    Adam with Nesterov momentum at a learning rate of 1e-3, at most 100 epochs, an end after 25
    without a higher overall accuracy at validation, dropout of 0.4. Batch, gradient clipping and
    precision are not published.
    """
    return {
        "options": {"dropout": 0.4},
        "rate": 1e-3,
        "decay": 0.0,
        "epochs": 100,
        "patience": 25,
        "batch": 64,
    }


def class_weights(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return n / n_i, the number of samples divided by that of a class; 0 for an empty class."""
    return np.where(counts > 0, counts.sum() / np.maximum(counts, 1), 0.0)


# Splits of the channels, and strategies of fusion.

Split = tuple[tuple[str, ...], ...]
_RADAR_GROUPS = (RADAR_CHANNELS[:4], RADAR_CHANNELS[4:6], RADAR_CHANNELS[6:])
_OPTICAL_GROUPS = (("B2", "B3", "B4"), ("B5", "B6", "B7"), ("B8", "B8A"), ("B11", "B12"))

FUSED_SPLITS: dict[str, Split] = {
    "radar groups": _RADAR_GROUPS,
    "optical groups": _OPTICAL_GROUPS,
    "radar|optical": (RADAR_CHANNELS, OPTICAL_CHANNELS),
    "seven groups": (*_RADAR_GROUPS, *_OPTICAL_GROUPS),
}
"""The four published splits: for each branch the names of its channels.

The physical groups are complex VH and VV, Lee-filtered intensity and covariance of the radar, and
RGB, red edge, near infrared (B8A at 865 nm among them) and short-wave infrared.
"""
ZONE_SPLITS: dict[str, Split] = {
    "all": ((*RADAR_CHANNELS, *OPTICAL_CHANNELS),),
    "radar": (RADAR_CHANNELS,),
    "optical": (OPTICAL_CHANNELS,),
    **FUSED_SPLITS,
}
"""Named splits of the channels, with those of one branch."""


def require_stage(stage: int, *, independent: bool) -> None:
    """Raise if a fusion stage is unknown, or independent branches come before the last one."""
    if not 0 <= stage <= LAST_STAGE or (independent and stage != LAST_STAGE):
        msg = (
            f"found stage {stage} with independent={independent}, expected 0 to {LAST_STAGE}, and "
            f"independent branches only at stage {LAST_STAGE}"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class FusionStrategy:
    """A split of the channels between branches, and the stage at which the branches are fused.

    Parameters
    ----------
    name : str
        Name of the split.
    groups : tuple of tuple of str
        For each branch the names of its channels.
    stage : int
        0 to 6, see `FusionCNN`.
    independent : bool
        At stage 6: whether each branch is trained on its own before the probabilities are averaged.

    Raises
    ------
    ValueError
        If the stage is unknown, or branches are independent before stage 6.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    stage: int
    independent: bool = False

    def __post_init__(self) -> None:
        """Check the stage."""
        require_stage(self.stage, independent=self.independent)

    @property
    def label(self) -> str:
        """Name for tables and folders, such as ``radar|optical 6 independent``."""
        return f"{self.name} {self.stage}{' independent' if self.independent else ''}"

    @property
    def kind(self) -> str:
        """Kind of fusion: "none", "early", "middle" or "late"."""
        if len(self.groups) == 1:
            return "none"
        return "early" if self.stage == 0 else "late" if self.stage == LAST_STAGE else "middle"


def fusion_strategies(
    splits: Mapping[str, Sequence[Sequence[str]]] | None = None, *, independent: bool = False
) -> list[FusionStrategy]:
    """List the fusion strategies of some splits.

    The four splits with several branches (radar groups, optical groups, radar | optical, seven
    groups), each fused at stages 0 to 6, are the 28 published strategies. With
    ``independent=True`` each split has one more: stage 6 with independently trained branches. A
    split with a single branch has one strategy, without fusion.

    Parameters
    ----------
    splits : mapping, optional
        By name, for each branch the names of its channels; by default those four.
    independent : bool
        Whether to add independently trained branches for each split.

    Returns
    -------
    list of FusionStrategy
        28 by default, 32 with independent branches.
    """
    chosen: Mapping[str, Sequence[Sequence[str]]] = FUSED_SPLITS if splits is None else splits
    strategies = []
    for name, split in chosen.items():
        groups = tuple(map(tuple, split))
        stages = range(LAST_STAGE + 1) if len(groups) > 1 else range(1)
        strategies += [FusionStrategy(name, groups, stage) for stage in stages]
        if independent and len(groups) > 1:
            strategies.append(FusionStrategy(name, groups, LAST_STAGE, independent=True))
    return strategies


def split_channels(split: str | Sequence[Sequence[str]], channels: Sequence[str]) -> Split:
    """Return a named split of the channels of the data, or check an explicit one."""
    if split == "all":
        return (tuple(channels),)
    if isinstance(split, str):
        if split not in ZONE_SPLITS:
            msg = f"found split {split!r}, expected one of {', '.join(ZONE_SPLITS)}, or groups"
            raise ValueError(msg)
        groups: Split = ZONE_SPLITS[split]
    else:
        groups = tuple(tuple(group) for group in split)
    if len(groups) > len(channels):
        msg = (
            f"found {len(groups)} branches for {len(channels)} channels, expected no more branches "
            "than channels"
        )
        raise ValueError(msg)
    names = [name for group in groups for name in group]
    unknown = [name for name in names if name not in channels]
    if unknown or not groups or not all(groups) or len(set(names)) != len(names):
        msg = (
            f"found groups {groups} for data with the channels {', '.join(channels)}; expected at "
            "least one channel in each group, each channel once, and only channels of the data"
        )
        raise ValueError(msg)
    return groups


# The network.


class FusionCNN(nn.Module):
    """Five convolution blocks and a dense block, in branches up to the fusion stage.

    Parameters
    ----------
    groups : sequence of sequence of int
        For each branch the numbers of its channels.
    classes : int
        Number of classes.
    stage : int
        Fusion stage, 0 to 6. With a single branch all stages are the same network.
    widths : sequence of int
        Features of B1 to B5, which the branches divide.
    dense : int
        Features of the hidden layer of B6, which the branches divide.
    dropout : float
        Dropout rate in B6.
    pooled_blocks : int
        Number of blocks with max pooling: patches must have at least 2 to the power of this number
        of rows and columns.

    Raises
    ------
    ValueError
        If a group is empty, groups share a channel, or an argument is out of range.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        classes: int,
        *,
        stage: int = 0,
        widths: Sequence[int] = WIDTHS,
        dense: int = DENSE,
        dropout: float = 0.4,
        pooled_blocks: int = 3,
    ) -> None:
        super().__init__()
        _require_groups(groups)
        require_stage(stage, independent=False)
        _require_options(widths, dense, dropout, pooled_blocks)
        self.groups = tuple(tuple(group) for group in groups)
        self.least_size = 2**pooled_blocks
        self.stage = stage if len(groups) > 1 else 0
        branch_widths = _divided(widths, len(groups))
        # Blocks before the fusion.
        before = min(self.stage, BLOCKS)
        branches, fused_width = [], 0
        for group in self.groups:
            layers = _blocks([len(group), *branch_widths[:before]], 0, pooled_blocks)
            if self.stage == LAST_STAGE:
                hidden = _divided([dense], len(groups))[0]
                layers.append(_dense(branch_widths[-1], hidden, classes, dropout))
            branches.append(nn.Sequential(*layers))
            fused_width += branch_widths[before - 1] if before else len(group)
        self.branches = nn.ModuleList(branches)
        self.trunk = nn.Sequential()
        if self.stage != LAST_STAGE:
            layers = _blocks([fused_width, *widths[before:]], before, pooled_blocks)
            last = widths[-1] if before < BLOCKS else fused_width
            self.trunk = nn.Sequential(*layers, _dense(last, dense, classes, dropout))

    def forward(self, image: Tensor) -> Tensor:
        """Classify patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, rows, columns)
            Normalised channels.

        Returns
        -------
        Tensor, shape (batch, classes)
            Log-probabilities.
        """
        outputs = [
            branch(image[:, group])
            for group, branch in zip(self.groups, self.branches, strict=True)
        ]
        if self.stage == LAST_STAGE:
            return log_mean([log_softmax(scores.float(), dim=1) for scores in outputs])
        return log_softmax(self.trunk(torch.cat(outputs, dim=1)).float(), dim=1)


def log_mean(log_probabilities: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of several probabilities, from their logarithms."""
    return torch.logsumexp(torch.stack(list(log_probabilities)), dim=0) - log(
        len(log_probabilities)
    )


def branch_options(options: Mapping[str, Any], branches: int) -> dict[str, Any]:
    """Return the options of an independent network for one of the branches at stage 6."""
    dense = _divided([options.get("dense", DENSE)], branches)[0]
    return {**options, "widths": _divided(options.get("widths", WIDTHS), branches), "dense": dense}


def _divided(widths: Sequence[int], branches: int) -> list[int]:
    """Return the widths of one of several branches."""
    return [max(width // branches, 1) for width in widths]


def _require_groups(groups: Sequence[Sequence[int]]) -> None:
    """Raise if a group of channels is empty, or two overlap."""
    channels = [channel for group in groups for channel in group]
    repeated = sorted({channel for channel in channels if channels.count(channel) > 1})
    if not groups or repeated or not all(len(group) for group in groups):
        sizes = [len(group) for group in groups]
        msg = (
            f"found {len(groups)} branches with {sizes} channels, of which {repeated} are in "
            "several; expected at least one branch, at least one channel in each, and each channel "
            "once: there can be no more branches than channels"
        )
        raise ValueError(msg)


def _require_options(widths: Sequence[int], dense: int, dropout: float, pooled_blocks: int) -> None:
    """Raise if an option of `FusionCNN` is out of range."""
    if (
        len(widths) != BLOCKS
        or min(*widths, dense) < 1
        or not 0 <= dropout < 1
        or not 0 <= pooled_blocks <= BLOCKS
    ):
        msg = (
            f"found widths {tuple(widths)}, dense={dense}, dropout={dropout:g}, "
            f"pooled_blocks={pooled_blocks}; expected {BLOCKS} widths and a dense layer above 0, "
            f"dropout from 0 to below 1, and 0 to {BLOCKS} blocks with pooling"
        )
        raise ValueError(msg)


def _blocks(widths: Sequence[int], first: int, pooled_blocks: int) -> list[nn.Module]:
    """Return convolution blocks from number `first` on; B5 ends with global average pooling."""
    layers: list[nn.Module] = []
    for number, (incoming, width) in enumerate(pairwise(widths), start=first):
        layers += [
            nn.Conv2d(incoming, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if number < pooled_blocks:
            layers.append(nn.MaxPool2d(2))
        if number == BLOCKS - 1:
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return layers


def _dense(incoming: int, width: int, classes: int, dropout: float) -> nn.Sequential:
    """Return the dense block B6."""
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(incoming, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )
