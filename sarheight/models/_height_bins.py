"""Distributions of building heights over fixed bins."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["HeightBins"]


class HeightBins(nn.Module):
    r"""Heights as chances of fixed values, each a constant ratio above the last.

    A height between two values counts for both, by its distance: then the mean of the
    distribution that a network learns by cross entropy is the height itself, not that of a bin.

    Parameters
    ----------
    count : int
        How many values.
    lowest, highest : float
        Of the values, in metres. Heights beyond count as these.

    Raises
    ------
    ValueError
        If there are fewer than two values, or they do not rise.
    """

    values: Tensor
    edges: Tensor

    def __init__(self, count: int = 32, lowest: float = 1.5, highest: float = 200.0) -> None:
        super().__init__()
        if count < 2 or not 0.0 < lowest < highest:
            msg = (
                f"found {count} values from {lowest} to {highest} m, expected two at least, that "
                "rise from above 0"
            )
            raise ValueError(msg)
        values = np.geomspace(lowest, highest, count)
        between = np.sqrt(values[1:] * values[:-1])
        edges = np.concatenate([[lowest**2 / between[0]], between, [highest**2 / between[-1]]])
        self.register_buffer("values", torch.tensor(values, dtype=torch.float32), persistent=False)
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32), persistent=False)

    def shares(self, height: Tensor) -> Tensor:
        """Return how much of a height counts for each value.

        Parameters
        ----------
        height : Tensor, shape (n,)
            Metres.

        Returns
        -------
        Tensor, shape (n, count)
            Two neighbours share 1; their mean is the height.
        """
        inside = height.clamp(self.values[0], self.values[-1])
        upper = torch.searchsorted(self.values, inside).clamp(1, len(self.values) - 1)
        below, above = self.values[upper - 1], self.values[upper]
        part = ((inside - below) / (above - below))[:, None]
        shares = torch.zeros(len(height), len(self.values), device=height.device)
        shares.scatter_(1, upper[:, None] - 1, 1.0 - part)
        return shares.scatter_(1, upper[:, None], part)

    def mean(self, chances: Tensor) -> Tensor:
        """Return the means of distributions in metres: (batch, count, ...) to (batch, 1, ...)."""
        return self._summed(chances, self.values)

    def spread(self, chances: Tensor, about: Tensor) -> Tensor:
        """Return the mean squared distance in square metres from a height (batch, 1, ...)."""
        square = self._summed(chances, self.values**2)
        return square - 2.0 * about * self.mean(chances) + about**2

    def _summed(self, chances: Tensor, values: Tensor) -> Tensor:
        """Sum values by their chances, in full precision also where products are not taken so."""
        along = values.view(1, -1, *[1] * (chances.ndim - 2))
        return (chances * along).sum(dim=1, keepdim=True)

    def quantile(self, chances: Tensor, level: Tensor) -> Tensor:
        """Return the heights below which given parts of distributions lie.

        Within a bin, whose edges lie between two values, chances count as even.

        Parameters
        ----------
        chances : Tensor, shape (batch, count, ...)
        level : Tensor, shape (batch, 1, ...)
            From 0 to 1.

        Returns
        -------
        Tensor, shape (batch, 1, ...)
            Metres.
        """
        total = chances.cumsum(dim=1)
        place = (total < level).sum(dim=1, keepdim=True).clamp(max=chances.shape[1] - 1)
        mass = chances.gather(1, place)
        before = total.gather(1, place) - mass
        part = ((level - before) / mass.clamp(min=1e-12)).clamp(0.0, 1.0)
        low, high = self.edges[place], self.edges[place + 1]
        return low + part * (high - low)
