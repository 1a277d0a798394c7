"""FusionCNN: one small network, in which branches for groups of channels meet at a chosen stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

__all__ = ["STAGES", "FusionCNN", "Sharing", "branch_options", "require_groups"]

Sharing = Literal["divided", "whole"]
"""Whether branches share the widths of a network, or each has all of it."""
BLOCKS = 5
STAGES = tuple(range(BLOCKS + 2))
"""Where branches may meet: before block 1 (0), after block 1 to 5, after the softmax (6)."""
SUM = STAGES[-1]
WIDTHS, DENSE = (32, 64, 128, 256, 256), 256


class FusionCNN(nn.Module):
    """Five convolution blocks and a dense one, split into branches up to a stage.

    Each block B1 to B5 is a 3 x 3 convolution, batch normalisation and a rectifier; the first
    `pooled` of them halve the patch by a maximum. B5 ends with the mean over the patch. B6 is
    dense: dropout, a linear layer with normalisation and rectifier, dropout, and a linear layer
    to the classes.

    Every group of channels has a branch. The branches are joined by concatenation after block
    `stage`, 0 being the input, and from there on the network is one. At stage 6 each branch is a
    whole network with its own softmax, and the output is the mean of their probabilities; trained
    through this mean the branches depend on each other. Networks that were trained one by one are
    joined by `ZoneClassifier.joined`.

    The paper does not print the widths; they are parameters here. By default the branches *share*
    them: each of n branches has an n-th of the features, so that a network has the same number of
    features at each depth whatever its stage, and a late fusion is not better merely because it
    is larger. ``sharing="whole"`` gives each branch all of them.

    Parameters
    ----------
    groups : sequence of sequence of int
        For each branch the numbers of its channels.
    classes : int
        How many.
    stage : int
        0 to 6. Of a single branch all stages are the same network.
    widths : sequence of int
        Features of B1 to B5.
    dense : int
        Features of B6's hidden layer.
    dropout : float
        Share of the features of B6 that is left out in training.
    pooled : int
        How many blocks halve the patch: patches must have 2 to the power of this many cells each
        way.
    sharing : {"divided", "whole"}
        Whether the branches share the widths.

    Raises
    ------
    ValueError
        If groups are empty, share a channel, or there are more of them than channels; or a number
        makes no sense.

    References
    ----------
    Gawlikowski, J., Schmitt, M., Kruspe, A. and Zhu, X. X. (2020). On the Fusion Strategies of
    Sentinel-1 and Sentinel-2 Data for Local Climate Zone Classification. IGARSS.
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
        pooled: int = 3,
        sharing: Sharing = "divided",
    ) -> None:
        super().__init__()
        require_groups(groups)
        _require_numbers(stage, widths, dense, dropout, pooled, sharing)
        self.groups = tuple(tuple(group) for group in groups)
        self.least_size = 2**pooled
        self.stage = stage if len(groups) > 1 else 0
        narrow = _narrow(widths, groups, sharing)
        apart = min(self.stage, BLOCKS)
        branches, arriving = [], 0
        for group in self.groups:
            layers = _blocks([len(group), *narrow[:apart]], 0, pooled)
            if self.stage == SUM:
                hidden = _narrow([dense], groups, sharing)[0]
                layers.append(_dense(narrow[-1], hidden, classes, dropout))
            branches.append(nn.Sequential(*layers))
            arriving += narrow[apart - 1] if apart else len(group)
        self.branches = nn.ModuleList(branches)
        self.trunk = nn.Sequential()
        if self.stage != SUM:
            layers = _blocks([arriving, *widths[apart:]], apart, pooled)
            last = widths[-1] if apart < BLOCKS else arriving
            self.trunk = nn.Sequential(*layers, _dense(last, dense, classes, dropout))

    def forward(self, image: Tensor) -> Tensor:
        """Classify patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, rows, columns)
            Normalised.

        Returns
        -------
        Tensor, shape (batch, classes)
            Logarithms of probabilities.
        """
        found = [
            branch(image[:, group])
            for group, branch in zip(self.groups, self.branches, strict=True)
        ]
        if self.stage == SUM:
            each = torch.stack([log_softmax(scores.float(), dim=1) for scores in found])
            return torch.logsumexp(each, dim=0) - log(len(found))
        return log_softmax(self.trunk(torch.cat(found, dim=1)).float(), dim=1)


def branch_options(options: Mapping[str, Any], branches: int) -> dict[str, Any]:
    """Return the options of a network that is one branch of another at stage 6.

    Parameters
    ----------
    options : mapping
        Those of the whole, see `FusionCNN`.
    branches : int
        How many it has.
    """
    sharing = options.get("sharing", "divided")
    alone = dict(options)
    for name, usual in (("widths", WIDTHS), ("dense", DENSE)):
        found = options.get(name, usual)
        parts = _narrow(found if name == "widths" else [found], range(branches), sharing)
        alone[name] = parts if name == "widths" else parts[0]
    return alone


def _narrow(widths: Sequence[int], groups: Sequence[Any], sharing: str) -> list[int]:
    """Return the widths of one of several branches."""
    parts = len(groups) if sharing == "divided" else 1
    return [max(width // parts, 1) for width in widths]


def require_groups(groups: Sequence[Sequence[int]]) -> None:
    """Refuse groups of channels that make no branches.

    Raises
    ------
    ValueError
        If there is none, one is empty, or a channel is in two of them.
    """
    named = [channel for group in groups for channel in group]
    twice = sorted({channel for channel in named if named.count(channel) > 1})
    if not groups or twice or not all(len(group) for group in groups):
        sizes = [len(group) for group in groups]
        msg = (
            f"found {len(groups)} branches with {sizes} channels, of which {twice} are in several; "
            "expected one branch at least, at least one channel in each, and no channel twice: "
            "there can be no more branches than channels"
        )
        raise ValueError(msg)


def _require_numbers(
    stage: int, widths: Sequence[int], dense: int, dropout: float, pooled: int, sharing: str
) -> None:
    if stage not in STAGES or sharing not in get_args(Sharing):
        msg = (
            f"found stage {stage} and sharing {sharing!r}, expected a stage from 0 to {SUM}, and "
            f"one of {', '.join(get_args(Sharing))}"
        )
        raise ValueError(msg)
    if (
        len(widths) != BLOCKS
        or min(*widths, dense) < 1
        or not 0 <= dropout < 1
        or not 0 <= pooled <= BLOCKS
    ):
        msg = (
            f"found widths {tuple(widths)}, dense={dense}, dropout={dropout:g}, pooled={pooled}; "
            f"expected {BLOCKS} widths and a dense layer above 0, dropout from 0 to below 1, and "
            f"0 to {BLOCKS} blocks that halve the patch"
        )
        raise ValueError(msg)


def _blocks(widths: Sequence[int], first: int, pooled: int) -> list[nn.Module]:
    """Make convolution blocks; the last of all five ends with the mean over the patch."""
    layers: list[nn.Module] = []
    for number, (incoming, width) in enumerate(pairwise(widths), start=first):
        layers += [
            nn.Conv2d(incoming, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        ]
        if number < pooled:
            layers.append(nn.MaxPool2d(2))
        if number == BLOCKS - 1:
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return layers


def _dense(incoming: int, width: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(dropout),
        nn.Linear(incoming, width, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(width, classes),
    )
