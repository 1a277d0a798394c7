"""What training for building heights makes small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

if TYPE_CHECKING:
    from sarheight.models import BuildingDistribution
    from sarheight.models._height_bins import HeightBins

__all__ = ["distribution_loss", "regression_loss"]

LEAST_NORM = 1e-6
HEIGHTS_WEIGHT = 0.5
"""Of the heights' cross entropy, which is some three times those of yes and no."""


def regression_loss(height: Tensor, truth: Tensor, weights: tuple[float, float]) -> Tensor:
    r"""Measure squared error and shape of a patch, as the published network does.

    :math:`w_1 \overline{(\hat h - h)^2} + w_2 (1 - \cos(\hat h, h))`, where each patch is a vector
    for the cosine. Patches without any building have no direction, and count in the first term
    alone.

    Parameters
    ----------
    height, truth : Tensor, shape (batch, 1, rows, columns)
        Metres; what is NaN in either never counts.
    weights : tuple of float
        :math:`w_1` per square metre, and :math:`w_2`.

    Returns
    -------
    Tensor
        One number; 0 where nothing is known.

    References
    ----------
    Nascetti, A., Yadav, R. and Ban, Y. (2023). A CNN regression model to estimate buildings height
    maps using Sentinel-1 SAR and Sentinel-2 MSI time series. IGARSS, arXiv:2307.01378.
    """
    known = torch.isfinite(truth) & torch.isfinite(height)
    found = torch.where(known, height, 0.0).flatten(1)
    true = torch.where(known, truth, 0.0).flatten(1)
    square = ((found - true) ** 2).sum() / known.sum().clamp(min=1)
    built = true.norm(dim=1) > 0.0
    length = (found**2).sum(dim=1).clamp(min=LEAST_NORM**2).sqrt()
    cosine = (found * true).sum(dim=1) / (length * true.norm(dim=1).clamp(min=LEAST_NORM))
    away: Tensor = torch.where(built, 1.0 - cosine, 0.0).sum() / built.sum().clamp(min=1)
    return weights[0] * square + weights[1] * away


def distribution_loss(
    found: BuildingDistribution,
    mean: Tensor,
    bins: HeightBins,
    truth: Tensor,
    footprint: Tensor,
    unit: float,
) -> Tensor:
    """Measure how well a distribution tells where buildings are, and how high.

    The sum of: the cross entropy of whether a cell is built at all; that of the built share; half
    of that of the heights where there are buildings; and the squared error of the mean, in units.

    Parameters
    ----------
    found : BuildingDistribution
        The logits.
    mean : Tensor, shape (batch, 1, rows, columns)
        Mean heights in metres.
    bins : HeightBins
        Of the heights.
    truth, footprint : Tensor, shape (batch, 1, rows, columns)
        Heights in metres and built shares, NaN where they are not known.
    unit : float
        Metres.

    Returns
    -------
    Tensor
        One number; 0 where nothing is known.
    """
    known = torch.isfinite(truth)
    built = known & (truth > 0.0)
    error = torch.where(known, truth - mean, 0.0) / unit
    loss = (error**2).sum() / known.sum().clamp(min=1)
    loss = loss + _crossed(found.built, built.to(mean.dtype), known)
    loss = loss + _crossed(found.footprint, footprint, torch.isfinite(footprint))
    chances = log_softmax(found.heights, dim=1).movedim(1, -1)[built[:, 0]]
    surprise = -(bins.shares(truth[built]) * chances).sum()
    return loss + HEIGHTS_WEIGHT * surprise / built.sum().clamp(min=1)


def _crossed(logits: Tensor, share: Tensor, known: Tensor) -> Tensor:
    """Return the mean cross entropy of shares where they are known."""
    each = binary_cross_entropy_with_logits(
        logits, torch.where(known, share, 0.0), reduction="none"
    )
    return torch.where(known, each, 0.0).sum() / known.sum().clamp(min=1)
