"""FusionCNN, the residual network, and the classifier of Local Climate Zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from typing import Any, ClassVar, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.learning.unet import EfficientChannelAttention
from sarheight.learning.weights import Channel, Pretrained

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
    """Return the options of a network that is one branch of another at stage 6."""
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
    """Refuse groups of channels that make no branches."""
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


# A small residual network for patches of many sensors.


class _Residual(nn.Module):
    """Two convolutions beside their input; in training the pair is sometimes left out."""

    def __init__(self, incoming: int, width: int, step: int, skipped: float) -> None:
        super().__init__()
        self.skipped = skipped
        self.change = nn.Sequential(
            nn.BatchNorm2d(incoming),
            nn.GELU(),
            nn.Conv2d(incoming, width, 3, step, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            EfficientChannelAttention(width),
        )
        self.keep: nn.Module = nn.Identity()
        if step > 1 or incoming != width:
            self.keep = nn.Sequential(
                nn.AvgPool2d(step, ceil_mode=True) if step > 1 else nn.Identity(),
                nn.Conv2d(incoming, width, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        change = self.change(x)
        if self.training and self.skipped > 0.0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.skipped
            change = change * kept / (1.0 - self.skipped)
        return cast("Tensor", self.keep(x) + change)


class ZoneNet(nn.Module):
    """Residual blocks with efficient channel attention, behind a stem for each group of channels.

    Each group has its own normalised first layer, so that no sensor drowns another; whole groups
    are left out at random in training, so that none is relied upon alone. Then come stages of two
    residual blocks, each stage of half the patch and twice the width, and mean and maximum over
    the patch, of which a linear layer makes classes.

    Parameters
    ----------
    groups : sequence of sequence of int
        For each stem the numbers of its channels.
    classes : int
        How many.
    width : int
        Features of the first stage.
    step : int
        Cells from one feature of the stems to the next: 2 takes a quarter of the time, where the
        patch is large enough.
    stages : int
        How many; each but the first halves the patch.
    dropout : float
        Share of the features before the last layer that is left out in training.
    skipped : float
        Share of samples for which the last residual block is left out in training; it grows from
        0 at the first.
    blinded : float
        Share of samples for which a group is left out in training, where there are several.

    Raises
    ------
    ValueError
        If groups are empty or share a channel, or a number makes no sense.

    References
    ----------
    He, K. et al. (2016). Identity Mappings in Deep Residual Networks. ECCV, arXiv:1603.05027.
    Huang, G. et al. (2016). Deep Networks with Stochastic Depth. ECCV, arXiv:1603.09382.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        classes: int,
        *,
        width: int = 32,
        step: int = 1,
        stages: int = 3,
        dropout: float = 0.4,
        skipped: float = 0.1,
        blinded: float = 0.1,
    ) -> None:
        super().__init__()
        require_groups(groups)
        shares = (dropout, skipped, blinded)
        if min(width, step, stages) < 1 or not all(0 <= share < 1 for share in shares):
            msg = (
                f"found width={width}, step={step}, stages={stages}, dropout={dropout:g}, "
                f"skipped={skipped:g}, blinded={blinded:g}; expected numbers above 0, and shares "
                "from 0 to below 1"
            )
            raise ValueError(msg)
        self.groups = tuple(tuple(group) for group in groups)
        self.least_size = 1
        self.blinded = blinded if len(groups) > 1 else 0.0
        each = -(-width // len(groups))
        self.stems = nn.ModuleList(
            nn.Sequential(nn.Conv2d(len(group), each, 3, step, 1, bias=False), nn.BatchNorm2d(each))
            for group in self.groups
        )
        blocks: list[nn.Module] = []
        incoming = each * len(groups)
        count = 2 * stages
        for number in range(count):
            outgoing = width * 2 ** (number // 2)
            stride = 2 if number % 2 == 0 and number else 1
            share = skipped * number / max(count - 1, 1)
            blocks.append(_Residual(incoming, outgoing, stride, share))
            incoming = outgoing
        self.body = nn.Sequential(*blocks, nn.BatchNorm2d(incoming), nn.GELU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * incoming, classes))

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
        found = [stem(image[:, group]) for group, stem in zip(self.groups, self.stems, strict=True)]
        if self.training and self.blinded > 0.0:
            found = self._some(found)
        seen = self.body(torch.cat(found, dim=1))
        pooled = torch.cat([seen.mean(dim=(2, 3)), seen.amax(dim=(2, 3))], dim=1)
        return log_softmax(self.head(pooled).float(), dim=1)

    def _some(self, found: list[Tensor]) -> list[Tensor]:
        """Leave a random group of some samples out, and raise the others to the usual size."""
        count, batch = len(found), len(found[0])
        hidden = torch.rand(batch, device=found[0].device) < self.blinded
        which = torch.randint(count, (batch,), device=found[0].device)
        result = []
        for number, features in enumerate(found):
            out = hidden & (which == number)
            scale = torch.where(hidden, count / (count - 1.0), 1.0) * ~out
            result.append(features * scale[:, None, None, None])
        return result


# Local Climate Zones of patches: networks that know their channels, classes and confidence.

ZONE_NETWORKS: dict[str, type[FusionCNN | ZoneNet]] = {
    "fusion_cnn": FusionCNN,
    "zone_net": ZoneNet,
}


@dataclass(frozen=True)
class ZoneMember:
    """One of the networks whose probabilities a classifier takes the mean of.

    Parameters
    ----------
    groups : tuple of tuple of str
        For each branch the names of its channels.
    network : {"fusion_cnn", "zone_net"}
        What it is.
    options : dict
        Its other arguments, see `FusionCNN` and `ZoneNet`.
    """

    groups: tuple[tuple[str, ...], ...]
    network: str = "fusion_cnn"
    options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, as they are written to a configuration."""
        groups = [list(group) for group in self.groups]
        return {"groups": groups, "network": self.network, "options": dict(self.options)}


class ZoneClassifier(Pretrained):
    """From patches in physical units to the probabilities of classes.

    Most classifiers have one network. Several are the sum of what was trained apart: branches of
    their own channels, or the same network from several seeds.

    Parameters
    ----------
    channels : sequence of Channel
        In the order in which they come.
    classes : sequence of str
        Names.
    members : sequence of ZoneMember
        The networks.
    size : int
        Rows and columns of the patches that it was made for.
    codes : sequence of int, optional
        Code of each class in a map; by default 1, 2, 3, ...
    posting : float, optional
        Metres from cell to cell of those patches, where it is known.
    temperature : float
        By which the logarithms of the probabilities are divided before they are normalised:
        above 1 where a network is too sure of itself.

    Raises
    ------
    ValueError
        If a name is not known, or names and numbers do not fit each other.
    """

    kind: ClassVar[str] = "local climate zones"

    def __init__(
        self,
        channels: Sequence[Channel],
        classes: Sequence[str],
        members: Sequence[ZoneMember],
        *,
        size: int,
        codes: Sequence[int] | None = None,
        posting: float | None = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.channels, self.classes = tuple(channels), tuple(classes)
        self.codes = tuple(range(1, len(classes) + 1) if codes is None else map(int, codes))
        if len(self.codes) != len(self.classes) or len(classes) < 2 or not temperature > 0.0:
            msg = (
                f"found {len(self.codes)} codes for {len(self.classes)} classes, and a temperature "
                f"of {temperature:g}; expected as many codes as classes, at least two, and a "
                "temperature above 0"
            )
            raise ValueError(msg)
        if not members:
            msg = "found no member, expected one network at least"
            raise ValueError(msg)
        self.size, self.posting, self.temperature = int(size), posting, float(temperature)
        self.described = tuple(members)
        self.members = nn.ModuleList(self._network(member) for member in members)
        for name in ("mean", "std"):
            values = torch.tensor([getattr(channel, name) for channel in channels])
            self.register_buffer(name, values[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def _network(self, member: ZoneMember) -> nn.Module:
        if member.network not in ZONE_NETWORKS:
            msg = f"found network {member.network!r}, expected one of {', '.join(ZONE_NETWORKS)}"
            raise ValueError(msg)
        places = {channel.name: number for number, channel in enumerate(self.channels)}
        strange = [name for group in member.groups for name in group if name not in places]
        if strange:
            msg = (
                f"found no channel {', '.join(strange)} among {', '.join(places)}: groups are made "
                "of the names of channels"
            )
            raise ValueError(msg)
        groups = [[places[name] for name in group] for group in member.groups]
        network = ZONE_NETWORKS[member.network](groups, len(self.classes), **member.options)
        if self.size < network.least_size:
            msg = (
                f"found patches of {self.size} cells, expected {network.least_size} at least, as "
                "the network halves them: take larger patches, or a smaller `pooled`"
            )
            raise ValueError(msg)
        return network

    @classmethod
    def joined(cls, classifiers: Sequence[ZoneClassifier]) -> Self:
        """Make one classifier whose probabilities are the mean of those of several.

        Parameters
        ----------
        classifiers : sequence of ZoneClassifier
            With the same classes and patches. Their channels may differ; where they share one,
            the first says how it is normalised.

        Returns
        -------
        ZoneClassifier
            In evaluation mode, at a temperature of 1.

        Raises
        ------
        ValueError
            If their classes, patches or normalisation differ.
        """
        channels: dict[str, Channel] = {}
        first = classifiers[0]
        for each in classifiers:
            same = (each.classes, each.codes, each.size) == (first.classes, first.codes, first.size)
            shared = [channel for channel in each.channels if channel.name in channels]
            if not same or any(channel != channels[channel.name] for channel in shared):
                msg = (
                    "found classifiers with other classes, patches or normalisation, expected "
                    "those of the first: train them with the same data"
                )
                raise ValueError(msg)
            channels |= {channel.name: channel for channel in each.channels}
        whole = cls(
            list(channels.values()),
            first.classes,
            [member for each in classifiers for member in each.described],
            size=first.size,
            codes=first.codes,
            posting=first.posting,
        )
        trained = [network for each in classifiers for network in each.members]
        for mine, network in zip(whole.members, trained, strict=True):
            mine.load_state_dict(network.state_dict())
        return whole.eval()

    def configuration(self) -> dict[str, Any]:
        """Return the arguments that make this classifier again, in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "classes": list(self.classes),
            "members": [member.as_dict() for member in self.described],
            "size": self.size,
            "codes": list(self.codes),
            "posting": self.posting,
            "temperature": self.temperature,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make the classifier that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        members = [
            ZoneMember(tuple(map(tuple, each["groups"])), each["network"], dict(each["options"]))
            for each in rest.pop("members")
        ]
        return cls(channels, rest.pop("classes"), members, **rest)

    def forward(self, image: Tensor) -> Tensor:
        """Classify patches, before the temperature: this is what is trained.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, size, size)
            In the units that `channels` states, NaN where there is no value.

        Returns
        -------
        Tensor, shape (batch, classes)
            Logarithms of probabilities.

        Raises
        ------
        ValueError
            If the image has another number of channels.
        """
        if image.shape[1] != len(self.channels):
            names = ", ".join(channel.name for channel in self.channels)
            msg = f"found {image.shape[1]} channels, expected {len(self.channels)}: {names}"
            raise ValueError(msg)
        seen = self._normalised(image)
        found = torch.stack([network(seen) for network in self.members])
        return torch.logsumexp(found, dim=0) - log(len(found)) if len(found) > 1 else found[0]

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, size, size)
            As for `forward`.

        Returns
        -------
        Tensor, shape (batch, classes)
            They sum to 1.
        """
        return log_softmax(self(image) / self.temperature, dim=1).exp()

    def _normalised(self, image: Tensor) -> Tensor:
        """Normalise all channels at once; see `Channel.normalise`."""
        if any(channel.transform != "none" for channel in self.channels):
            image = torch.stack(
                [channel.apply_transform(image[:, k]) for k, channel in enumerate(self.channels)],
                dim=1,
            )
        scaled = (image - self.mean) / self.std
        scaled = torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
        return scaled.contiguous(memory_format=torch.channels_last)
