"""Heights of places from a table of features: a network in physical units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from sarheight.models._channels import Channel
from sarheight.models._height_bins import HeightBins
from sarheight.models._pretrained import Pretrained

__all__ = ["TabularEstimate", "TabularHeightEstimator"]


class TabularEstimate(NamedTuple):
    """What is known of the heights of some places.

    Attributes
    ----------
    height : Tensor, shape (places,)
        Means of the distributions in metres.
    sigma : Tensor, shape (places,)
        Their standard deviations in metres.
    logits : Tensor, shape (places, members, bins)
        The distribution that each member of the ensemble gives.
    """

    height: Tensor
    sigma: Tensor
    logits: Tensor


class _Members(nn.Module):
    """A factor for each member and channel: what members of an ensemble do not share."""

    def __init__(self, members: int, channels: int, spread: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(1.0 + spread * torch.randn(members, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale features, shape (places, 1 or members, channels)."""
        return x * self.factor


class TabularHeightEstimator(Pretrained):
    r"""An ensemble of small networks that share most of their weights.

    Each feature is normalised; a multilayer perceptron follows, whose members see its inputs and
    its hidden features by factors of their own. Each puts out a distribution over fixed heights;
    the mean over the members and the heights is the estimate. Distributions keep the few tall
    buildings from dominating what is learned, as squared errors do, and give an uncertainty.

    Parameters
    ----------
    features : sequence of Channel
        Features of a place, in the order in which they come.
    width, depth : int
        Channels and layers of the perceptron.
    members : int
        Of the ensemble.
    dropout : float
        Share of the hidden features that is lost in training.
    bins : mapping, optional
        Arguments of `HeightBins`.

    Raises
    ------
    ValueError
        If there is no feature, or a number makes no sense.

    References
    ----------
    Gorishniy, Y., Kotelnikov, A. and Babenko, A. (2025). TabM: advancing tabular deep learning
    with parameter-efficient ensembling. ICLR, arXiv:2410.24210.
    """

    kind: ClassVar[str] = "heights from features"

    def __init__(
        self,
        features: Sequence[Channel],
        *,
        width: int = 96,
        depth: int = 2,
        members: int = 8,
        dropout: float = 0.3,
        bins: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not features or min(width, depth, members) < 1 or not 0.0 <= dropout < 1.0:
            msg = (
                f"found {len(features)} features, {width=}, {depth=}, {members=}, {dropout=}; "
                "expected one feature at least, whole numbers of 1 at least, and a share below 1"
            )
            raise ValueError(msg)
        self.features = tuple(features)
        self.options: dict[str, Any] = {
            "width": width,
            "depth": depth,
            "members": members,
            "dropout": dropout,
            "bins": dict(bins or {}),
        }
        self.bins = HeightBins(**self.options["bins"])
        layers: list[nn.Module] = [_Members(members, len(features), 0.3)]
        for before in (len(features), *[width] * (depth - 1)):
            layers += [nn.Linear(before, width), nn.ReLU(), _Members(members, width, 0.1)]
            layers.append(nn.Dropout(dropout))
        self.network = nn.Sequential(*layers)
        count = len(self.bins.values)
        self.head = nn.Parameter(0.3 * width**-0.5 * torch.randn(members, width, count))
        self.bias = nn.Parameter(torch.zeros(members, count))

    def configuration(self) -> dict[str, Any]:
        """Return the arguments that make this estimator again, in JSON's types."""
        return {"features": [each.as_dict() for each in self.features], **self.options}

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> Self:
        """Make the estimator that `configuration` describes, with random weights."""
        rest = dict(configuration)
        features = [Channel(**feature) for feature in rest.pop("features")]
        return cls(features, **rest)

    def forward(self, values: Tensor) -> TabularEstimate:
        """Estimate heights.

        Parameters
        ----------
        values : Tensor, shape (places, features)
            In the units that `features` states, NaN where there is no value.

        Returns
        -------
        TabularEstimate

        Raises
        ------
        ValueError
            If there is another number of features.
        """
        if values.ndim != 2 or values.shape[1] != len(self.features):
            names = ", ".join(feature.name for feature in self.features)
            msg = (
                f"found values of shape {tuple(values.shape)}, expected (places, features): {names}"
            )
            raise ValueError(msg)
        parts = [each.normalised(values[:, k]) for k, each in enumerate(self.features)]
        hidden = self.network(torch.stack(parts, dim=1)[:, None])
        logits = torch.einsum("pmw,mwb->pmb", hidden, self.head) + self.bias
        chances = torch.softmax(logits.float(), dim=-1).mean(dim=1)
        height = self.bins.mean(chances)
        variance = self.bins.spread(chances, height)
        return TabularEstimate(height[:, 0], variance[:, 0].clamp(min=0.0).sqrt(), logits.float())
