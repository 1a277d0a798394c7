"""A small residual network for patches of many sensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from sarheight.models._attention import EfficientChannelAttention
from sarheight.models._fusion_cnn import require_groups

__all__ = ["ZoneNet"]


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
