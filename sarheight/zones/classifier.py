"""The classifier of Local Climate Zones: networks with their channels, classes and calibration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.learning.channels import Channel, normalise
from sarheight.learning.weights import Pretrained
from sarheight.zones.fusion_cnn import FusionCNN, log_mean


@dataclass(frozen=True)
class ZoneMember:
    """Architecture of one of the networks of a classifier.

    Parameters
    ----------
    groups : tuple of tuple of str
        For each branch the names of its channels.
    options : dict
        Other arguments of the network, see `FusionCNN`.
    """

    groups: tuple[tuple[str, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        groups = [list(group) for group in self.groups]
        return {"groups": groups, "options": dict(self.options)}


class ZoneModel(Pretrained):
    """Base of classifiers from patches in physical units to class probabilities.

    Parameters
    ----------
    channels : sequence of Channel
        Channels of the patches, in their order.
    classes : sequence of str
        Names.
    size : int
        Rows and columns of the patches.
    codes : sequence of int, optional
        Code of each class in a map; by default 1, 2, 3, ...
    posting : float, optional
        Cell size of the patches in metres, if known.
    temperature : float
        Divides the log-probabilities before they are normalised: above 1 for an overconfident
        classifier.

    Raises
    ------
    ValueError
        If codes, classes and temperature are inconsistent.
    """

    batch: ClassVar[int] = 512  # patches of a map that are classified together

    def __init__(
        self,
        channels: Sequence[Channel],
        classes: Sequence[str],
        *,
        size: int,
        codes: Sequence[int] | None,
        posting: float | None,
        temperature: float,
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
        self.size, self.posting, self.temperature = int(size), posting, float(temperature)

    @abstractmethod
    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches.

        Parameters
        ----------
        image : Tensor, shape (batch, channels, size, size)
            In the units of `channels`; NaN where data are missing.

        Returns
        -------
        Tensor, shape (batch, classes)
            Rows sum to 1.
        """

    def described(self) -> dict[str, Any]:
        """Return what all classifiers have in their configuration, in JSON's types."""
        return {
            "channels": [channel.as_dict() for channel in self.channels],
            "classes": list(self.classes),
            "size": self.size,
            "codes": list(self.codes),
            "posting": self.posting,
            "temperature": self.temperature,
        }


class ZoneClassifier(ZoneModel):
    """Classifier from patches in physical units to class probabilities.

    Most classifiers have one network. An ensemble averages the probabilities of several: of
    independently trained branches, or of the same network from several seeds.

    Parameters
    ----------
    channels, classes, size, codes, posting, temperature
        See `ZoneModel`.
    members : sequence of ZoneMember
        Architectures of the networks.

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
        super().__init__(
            channels, classes, size=size, codes=codes, posting=posting, temperature=temperature
        )
        if not members:
            msg = "found no member, expected at least one network"
            raise ValueError(msg)
        self.architectures = tuple(members)
        self.members = nn.ModuleList(self._network(member) for member in members)

    def _network(self, member: ZoneMember) -> FusionCNN:
        """Build a network with random weights."""
        numbers = {channel.name: number for number, channel in enumerate(self.channels)}
        unknown = [name for group in member.groups for name in group if name not in numbers]
        if unknown:
            msg = (
                f"found no channel {', '.join(unknown)} among {', '.join(numbers)}, expected "
                "groups of channel names"
            )
            raise ValueError(msg)
        groups = [[numbers[name] for name in group] for group in member.groups]
        network = FusionCNN(groups, len(self.classes), **member.options)
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
            if any(
                getattr(classifier, name) != getattr(first, name)
                for name in ("classes", "codes", "size")
            ) or any(
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
        return self.described() | {"members": [member.as_dict() for member in self.architectures]}

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Build the classifier that `configuration` describes, with random weights."""
        rest = dict(configuration)
        channels = [Channel(**channel) for channel in rest.pop("channels")]
        members = [
            ZoneMember(tuple(map(tuple, item["groups"])), dict(item["options"]))
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
        normalised = normalise(self.channels, image).contiguous(memory_format=torch.channels_last)
        outputs = [network(normalised) for network in self.members]
        return log_mean(outputs) if len(outputs) > 1 else outputs[0]

    def probabilities(self, image: Tensor) -> Tensor:
        """Return the calibrated probabilities of patches, see `ZoneModel.probabilities`."""
        return log_softmax(self(image) / self.temperature, dim=1).exp()
