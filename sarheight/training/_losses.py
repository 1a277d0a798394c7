"""What training makes small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sarheight.models import HeightEstimate

__all__ = ["height_loss"]


def height_loss(estimate: HeightEstimate, truth: Tensor, unit: float, kind: str = "l2") -> Tensor:
    r"""Measure how far an estimate is from the truth, where there is one.

    The mean over all cells with a true height of :math:`|e|` or :math:`e^2`, where :math:`e` is
    the error in units. An estimate with a scale adds the negative logarithm of the likelihood of
    a Laplace distribution, :math:`\ln 2 b + |e| / b`. The scale learns from the errors as they
    are, and the heights do not learn to be easy to judge: :math:`e` is held fixed there.

    Parameters
    ----------
    estimate : HeightEstimate
        Shapes (batch, 1, rows, columns).
    truth : Tensor, shape (batch, 1, rows, columns)
        Heights in metres; NaN where there are none, and these never count.
    unit : float
        Metres.
    kind : {"l1", "l2"}
        Absolute or squared errors.

    Returns
    -------
    Tensor
        One number; 0 where no cell has a true height.
    """
    known = torch.isfinite(truth)
    error = torch.where(known, truth - estimate.height, 0.0) / unit
    count = known.sum().clamp(min=1)
    size = error.abs() if kind == "l1" else error**2
    loss = size.sum() / count
    if estimate.scale is None:
        return loss
    scale = estimate.scale / unit
    surprise = torch.log(2.0 * scale) + error.detach().abs() / scale
    return loss + torch.where(known, surprise, 0.0).sum() / count
