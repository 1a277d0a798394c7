"""Local Climate Zones of patches: networks that know their channels, classes and confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.models._channels import Channel
from sarheight.models._fusion_cnn import FusionCNN
from sarheight.models._pretrained import Pretrained
from sarheight.models._zone_net import ZoneNet

__all__ = ["ZONE_NETWORKS", "ZoneClassifier", "ZoneMember"]

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
        """Normalise all channels at once; see `Channel.normalised`."""
        if any(channel.transform != "none" for channel in self.channels):
            image = torch.stack(
                [channel.transformed(image[:, k]) for k, channel in enumerate(self.channels)], dim=1
            )
        scaled = (image - self.mean) / self.std
        scaled = torch.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
        return scaled.contiguous(memory_format=torch.channels_last)
