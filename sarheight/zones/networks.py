"""FusionCNN, a residual network, and the classifier of Local Climate Zones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from typing import Any, ClassVar, Literal, Self, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.learning.channels import Channel
from sarheight.learning.unet import EfficientChannelAttention
from sarheight.learning.weights import Pretrained
from sarheight.zones.channels import LAST_STAGE, require_stage

Sharing = Literal["divided", "whole"]
"""Whether the branches divide the widths of a network, or each has the whole widths."""
BLOCKS = 5
WIDTHS, DENSE = (32, 64, 128, 256, 256), 256


class FusionCNN(nn.Module):
    """Five convolution blocks and a dense block, in branches up to the fusion stage.

    Each block B1 to B5 is a 3 x 3 convolution with batch normalisation and ReLU; the first
    `pooled_blocks` of them end with 2 x 2 max pooling. B5 ends with global average pooling. B6 is
    dense: dropout, a linear layer with batch normalisation and ReLU, dropout, and a linear layer to
    the classes.

    Every group of channels has a branch. The branches are concatenated after block `stage`, 0 being
    the input; the blocks that follow are common. At stage 6 each branch is a complete network with
    its own softmax, and the output is the mean of their probabilities; branches that are trained
    through this mean depend on each other. `ZoneClassifier.ensemble` combines networks that were
    trained independently.

    The widths are not published; they are parameters here. By default the branches *divide* them:
    each of n branches has an n-th of the features, so that all stages have the same number of
    features at each depth, and a late fusion has no advantage from its size. With
    ``sharing="whole"`` each branch has the whole widths.

    Parameters
    ----------
    groups : sequence of sequence of int
        For each branch the numbers of its channels.
    classes : int
        Number of classes.
    stage : int
        Fusion stage, 0 to 6. With a single branch all stages are the same network.
    widths : sequence of int
        Features of B1 to B5.
    dense : int
        Features of the hidden layer of B6.
    dropout : float
        Dropout rate in B6.
    pooled_blocks : int
        Number of blocks with max pooling: patches must have at least 2 to the power of this number
        of rows and columns.
    sharing : {"divided", "whole"}
        Whether the branches divide the widths.

    Raises
    ------
    ValueError
        If a group is empty, groups share a channel, or an argument is out of range.

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
        pooled_blocks: int = 3,
        sharing: Sharing = "divided",
    ) -> None:
        super().__init__()
        _require_groups(groups)
        require_stage(stage, independent=False)
        _require_options(widths, dense, dropout, pooled_blocks, sharing)
        self.groups = tuple(tuple(group) for group in groups)
        self.least_size = 2**pooled_blocks
        self.stage = stage if len(groups) > 1 else 0
        branch_widths = _branch_widths(widths, groups, sharing)
        # Blocks before the fusion.
        before = min(self.stage, BLOCKS)
        branches, fused_width = [], 0
        for group in self.groups:
            layers = _blocks([len(group), *branch_widths[:before]], 0, pooled_blocks)
            if self.stage == LAST_STAGE:
                hidden = _branch_widths([dense], groups, sharing)[0]
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
            return _log_mean([log_softmax(scores.float(), dim=1) for scores in outputs])
        return log_softmax(self.trunk(torch.cat(outputs, dim=1)).float(), dim=1)


def _log_mean(log_probabilities: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean of several probabilities, from their logarithms."""
    return torch.logsumexp(torch.stack(list(log_probabilities)), dim=0) - log(
        len(log_probabilities)
    )


def branch_options(options: Mapping[str, Any], branches: int) -> dict[str, Any]:
    """Return the options of an independent network for one of the branches at stage 6."""
    sharing = options.get("sharing", "divided")
    widths = _branch_widths(options.get("widths", WIDTHS), range(branches), sharing)
    dense = _branch_widths([options.get("dense", DENSE)], range(branches), sharing)[0]
    return {**options, "widths": widths, "dense": dense}


def _branch_widths(widths: Sequence[int], groups: Sequence[Any], sharing: str) -> list[int]:
    """Return the widths of one of several branches."""
    parts = len(groups) if sharing == "divided" else 1
    return [max(width // parts, 1) for width in widths]


def _require_groups(groups: Sequence[Sequence[int]]) -> None:
    """Refuse groups of channels that are empty or overlap."""
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


def _require_options(
    widths: Sequence[int], dense: int, dropout: float, pooled_blocks: int, sharing: str
) -> None:
    """Refuse options of `FusionCNN` that are out of range."""
    if sharing not in get_args(Sharing):
        msg = f"found sharing {sharing!r}, expected one of {', '.join(get_args(Sharing))}"
        raise ValueError(msg)
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


# A residual network.


class _ResidualBlock(nn.Module):
    """Pre-activation residual block with channel attention and stochastic depth."""

    def __init__(self, incoming: int, width: int, step: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
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
        if self.training and self.drop_path > 0.0:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
            # Divided by the rate of the kept, so that the expectation is that of evaluation.
            change = change * kept / (1.0 - self.drop_path)
        return cast("Tensor", self.keep(x) + change)


class ZoneNet(nn.Module):
    """Residual network with efficient channel attention and a stem for each group of channels.

    Each group has its own normalised first layer, so that no sensor dominates; in training whole
    groups are dropped at random, so that the network relies on none alone. Stages of two residual
    blocks follow, each with half the rows and columns and twice the width of the last. A linear
    layer maps global mean and maximum to the classes.

    Parameters
    ----------
    groups : sequence of sequence of int
        For each stem the numbers of its channels.
    classes : int
        Number of classes.
    width : int
        Features of the first stage.
    step : int
        Stride of the stems in cells: 2 takes a quarter of the time, for large patches.
    stages : int
        Number of stages; each but the first halves rows and columns.
    dropout : float
        Dropout rate before the last layer.
    drop_path : float
        Stochastic depth: rate at which the last residual block is skipped in training; the rate
        rises linearly from 0 at the first block.
    group_dropout : float
        Share of the samples of which one group is dropped in training, with several groups.

    Raises
    ------
    ValueError
        If a group is empty, groups share a channel, or an argument is out of range.

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
        drop_path: float = 0.1,
        group_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _require_groups(groups)
        rates = (dropout, drop_path, group_dropout)
        if min(width, step, stages) < 1 or not all(0 <= rate < 1 for rate in rates):
            msg = (
                f"found width={width}, step={step}, stages={stages}, dropout={dropout:g}, "
                f"drop_path={drop_path:g}, group_dropout={group_dropout:g}; expected numbers above "
                "0, and rates from 0 to below 1"
            )
            raise ValueError(msg)
        self.groups = tuple(tuple(group) for group in groups)
        self.least_size = 1
        self.group_dropout = group_dropout if len(groups) > 1 else 0.0
        stem_width = -(-width // len(groups))
        self.stems = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(len(group), stem_width, 3, step, 1, bias=False),
                nn.BatchNorm2d(stem_width),
            )
            for group in self.groups
        )
        blocks: list[nn.Module] = []
        incoming = stem_width * len(groups)
        count = 2 * stages
        for number in range(count):
            outgoing = width * 2 ** (number // 2)
            stride = 2 if number % 2 == 0 and number else 1
            rate = drop_path * number / max(count - 1, 1)
            blocks.append(_ResidualBlock(incoming, outgoing, stride, rate))
            incoming = outgoing
        self.body = nn.Sequential(*blocks, nn.BatchNorm2d(incoming), nn.GELU())
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * incoming, classes))

    def forward(self, image: Tensor) -> Tensor:
        """Return log-probabilities of normalised patches; see `FusionCNN.forward`."""
        outputs = [
            stem(image[:, group]) for group, stem in zip(self.groups, self.stems, strict=True)
        ]
        if self.training and self.group_dropout > 0.0:
            outputs = self._drop_groups(outputs)
        features = self.body(torch.cat(outputs, dim=1))
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return log_softmax(self.head(pooled).float(), dim=1)

    def _drop_groups(self, outputs: list[Tensor]) -> list[Tensor]:
        """Drop one random group of some samples; scale the others to keep the mean amplitude."""
        count, batch = len(outputs), len(outputs[0])
        selected = torch.rand(batch, device=outputs[0].device) < self.group_dropout
        group = torch.randint(count, (batch,), device=outputs[0].device)
        result = []
        for number, features in enumerate(outputs):
            dropped = selected & (group == number)
            scale = torch.where(selected, count / (count - 1.0), 1.0) * ~dropped
            result.append(features * scale[:, None, None, None])
        return result


# The classifier: networks with their channels, classes and calibration.

ZONE_NETWORKS: dict[str, type[FusionCNN | ZoneNet]] = {
    "fusion_cnn": FusionCNN,
    "zone_net": ZoneNet,
}


@dataclass(frozen=True)
class ZoneMember:
    """Architecture of one of the networks of a classifier.

    Parameters
    ----------
    groups : tuple of tuple of str
        For each branch the names of its channels.
    network : {"fusion_cnn", "zone_net"}
        Type of the network.
    options : dict
        Other arguments of the network, see `FusionCNN` and `ZoneNet`.
    """

    groups: tuple[tuple[str, ...], ...]
    network: str = "fusion_cnn"
    options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        groups = [list(group) for group in self.groups]
        return {"groups": groups, "network": self.network, "options": dict(self.options)}


class ZoneClassifier(Pretrained):
    """Classifier from patches in physical units to class probabilities.

    Most classifiers have one network. An ensemble averages the probabilities of several: of
    independently trained branches, or of the same network from several seeds.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the patches, in their order.
    classes : sequence of str
        Names.
    members : sequence of ZoneMember
        Architectures of the networks.
    size : int
        Rows and columns of the patches.
    codes : sequence of int, optional
        Code of each class in a map; by default 1, 2, 3, ...
    posting : float, optional
        Cell size of the patches in metres, if known.
    temperature : float
        Divides the log-probabilities before they are normalised: above 1 for an overconfident
        network.

    Raises
    ------
    ValueError
        If a name is unknown, or names, codes, sizes and temperature are inconsistent.
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
                f"of {temperature:g}; expected as many codes as classes, at least two classes, and "
                "a temperature above 0"
            )
            raise ValueError(msg)
        if not members:
            msg = "found no member, expected at least one network"
            raise ValueError(msg)
        self.size, self.posting, self.temperature = int(size), posting, float(temperature)
        self.architectures = tuple(members)
        self.members = nn.ModuleList(self._network(member) for member in members)
        for name in ("mean", "std"):
            values = torch.tensor([getattr(channel, name) for channel in channels])
            self.register_buffer(name, values[:, None, None], persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def _network(self, member: ZoneMember) -> nn.Module:
        """Build a network with random weights."""
        if member.network not in ZONE_NETWORKS:
            msg = f"found network {member.network!r}, expected one of {', '.join(ZONE_NETWORKS)}"
            raise ValueError(msg)
        numbers = {channel.name: number for number, channel in enumerate(self.channels)}
        unknown = [name for group in member.groups for name in group if name not in numbers]
        if unknown:
            msg = (
                f"found no channel {', '.join(unknown)} among {', '.join(numbers)}, expected "
                "groups of channel names"
            )
            raise ValueError(msg)
        groups = [[numbers[name] for name in group] for group in member.groups]
        network = ZONE_NETWORKS[member.network](groups, len(self.classes), **member.options)
        if self.size < network.least_size:
            msg = (
                f"found patches of {self.size} cells, expected at least {network.least_size} for "
                "the pooling of the network: take larger patches, or fewer `pooled_blocks`"
            )
            raise ValueError(msg)
        return network

    @classmethod
    def ensemble(cls, classifiers: Sequence[ZoneClassifier]) -> Self:
        """Combine classifiers into one that averages their probabilities.

        Parameters
        ----------
        classifiers : sequence of ZoneClassifier
            With the same classes and patch size. Their channels may differ; channels in common
            must be normalised alike.

        Returns
        -------
        ZoneClassifier
            In evaluation mode, at a temperature of 1.

        Raises
        ------
        ValueError
            If classes, patch size or normalisation differ.
        """
        channels: dict[str, Channel] = {}
        first = classifiers[0]
        for classifier in classifiers:
            same = (classifier.classes, classifier.codes, classifier.size) == (
                first.classes,
                first.codes,
                first.size,
            )
            if not same or any(
                channel != channels.get(channel.name, channel) for channel in classifier.channels
            ):
                msg = (
                    "found classifiers with other classes, patches or normalisation, expected "
                    "those of the first: train them with the same data"
                )
                raise ValueError(msg)
            channels |= {channel.name: channel for channel in classifier.channels}
        combined = cls(
            list(channels.values()),
            first.classes,
            [member for classifier in classifiers for member in classifier.architectures],
            size=first.size,
            codes=first.codes,
            posting=first.posting,
        )
        trained = [network for classifier in classifiers for network in classifier.members]
        for copy, network in zip(combined.members, trained, strict=True):
            copy.load_state_dict(network.state_dict())
        return combined.eval()

    def configuration(self) -> dict[str, Any]:
        """Return the arguments of the constructor in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "classes": list(self.classes),
            "members": [member.as_dict() for member in self.architectures],
            "size": self.size,
            "codes": list(self.codes),
            "posting": self.posting,
            "temperature": self.temperature,
        }

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Build the classifier that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        members = [
            ZoneMember(tuple(map(tuple, item["groups"])), item["network"], dict(item["options"]))
            for item in rest.pop("members")
        ]
        return cls(channels, rest.pop("classes"), members, **rest)

    def forward(self, image: Tensor) -> Tensor:
        """Classify patches at a temperature of 1, as in training.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, size, size)
            In the units of `channels`; NaN where data are missing.

        Returns
        -------
        Tensor, shape (batch, classes)
            Log-probabilities.

        Raises
        ------
        ValueError
            If the number of channels differs.
        """
        if image.shape[1] != len(self.channels):
            names = ", ".join(channel.name for channel in self.channels)
            msg = f"found {image.shape[1]} channels, expected {len(self.channels)}: {names}"
            raise ValueError(msg)
        normalised = self._normalise(image)
        outputs = [network(normalised) for network in self.members]
        return _log_mean(outputs) if len(outputs) > 1 else outputs[0]

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, size, size)
            As for `forward`.

        Returns
        -------
        Tensor, shape (batch, classes)
            Rows sum to 1.
        """
        return log_softmax(self(image) / self.temperature, dim=1).exp()

    def _normalise(self, image: Tensor) -> Tensor:
        """Normalise all channels at once, as `Channel.normalised` does; missing values become 0."""
        if any(channel.transform != "none" for channel in self.channels):
            image = torch.stack(
                [channel.apply_transform(image[:, k]) for k, channel in enumerate(self.channels)],
                dim=1,
            )
        scaled = (image - self.mean) / self.std
        scaled = torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
        return scaled.contiguous(memory_format=torch.channels_last)
