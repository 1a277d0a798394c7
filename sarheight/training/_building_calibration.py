"""Making chances honest: what a distribution states is what is found on held-out places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softmax

if TYPE_CHECKING:
    from sarheight.models import BuildingHeightEstimator

__all__ = ["calibrate"]

LEVEL = 0.8
RANGE = (-2.0, 2.0)
"""Natural logarithms of the temperatures that are looked at."""
MOST = 200_000
"""Cells that are enough to find two numbers."""


def calibrate(
    estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]
) -> dict[str, float]:
    """Find the temperatures by which an estimator's chances come true.

    The logit of a building is divided by the temperature that makes held-out cells most likely.
    The logits of the heights are divided by that with which 80 % of the held-out buildings lie in
    the interval that is stated to hold 80 %. Then the standard deviation is multiplied by a factor
    with which its square is, on average over all cells, the squared error. The mean heights stay as
    they are.

    Parameters
    ----------
    estimator : BuildingHeightEstimator
        One that gives a distribution, in evaluation mode; gets the temperatures.
    batches : iterable of dict
        Samples with ``height``, that were not trained on; they are gone through twice.

    Returns
    -------
    dict
        ``coverage_80_before`` and ``coverage_80``, of the heights of buildings. Without any
        building it is empty, and the temperatures stay as they are.

    Raises
    ------
    ValueError
        If the batches can be gone through only once, or no estimate is uncertain.

    References
    ----------
    Guo, C., Pleiss, G., Sun, Y. and Weinberger, K. Q. (2017). On Calibration of Modern Neural
    Networks. ICML, arXiv:1706.04599.
    """
    logits, is_built, heights, truth = _collected(estimator, batches)
    if not truth.numel():
        return {}

    def surprise(logarithm: float) -> float:
        scaled = logits / torch.tensor(logarithm).exp()
        return float(binary_cross_entropy_with_logits(scaled, is_built))

    def coverage(logarithm: float) -> float:
        chances = softmax(heights / torch.tensor(logarithm).exp(), dim=1)
        limits = [
            estimator.bins.quantile(chances, torch.full_like(truth, part))
            for part in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0)
        ]
        return float(((truth >= limits[0]) & (truth <= limits[1])).float().mean())

    best = minimize_scalar(surprise, bounds=RANGE, method="bounded").x
    ends = [coverage(end) - LEVEL for end in RANGE]
    # Where no temperature will do, the nearest is taken: coverage grows with it.
    wide = RANGE[0] if ends[0] > 0.0 else RANGE[1]
    if ends[0] < 0.0 < ends[1]:
        wide = brentq(lambda each: coverage(each) - LEVEL, *RANGE, xtol=1e-3)
    estimator.temperatures.copy_(torch.tensor([best, wide]).exp())
    estimator.sigma_factor.mul_(_factor(estimator, batches))
    return {"coverage_80_before": coverage(0.0), "coverage_80": coverage(wide)}


def _factor(estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]) -> Tensor:
    """Return the root of mean squared error over mean variance, as it is stated so far."""
    error, variance = torch.zeros(2, dtype=torch.float64)
    device = estimator.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            height, _, sigma = estimator({name: each.to(device) for name, each in batch.items()})
            truth = batch["height"].to(device)
            known = torch.isfinite(truth) & torch.isfinite(height)
            error += ((height - truth)[known] ** 2).sum().cpu()
            variance += (sigma[known] ** 2).sum().cpu()
    if not variance > 0.0:
        msg = (
            "found no stated variance in the batches, expected cells with one: batches must be "
            "such as can be gone through twice, a list or a loader"
        )
        raise ValueError(msg)
    return torch.sqrt(error / variance)


def _collected(
    estimator: BuildingHeightEstimator, batches: Iterable[dict[str, Tensor]]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logit and truth of a building, of all cells; logits and truth of heights, of some."""
    parts: list[tuple[Tensor, ...]] = []
    count = 0
    device = estimator.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            found = estimator.distribution({name: each.to(device) for name, each in batch.items()})
            truth = batch["height"].to(device)
            known = torch.isfinite(truth)
            built = known & (truth > 0.0)
            heights = found.heights.movedim(1, -1)[built[:, 0]]
            parts.append(
                (found.built[known], (truth > 0.0)[known].float(), heights, truth[built][:, None])
            )
            count += int(known.sum())
            if count > MOST:
                break
    if not parts:
        empty = torch.empty(0)
        return empty, empty, empty, empty
    logits, is_built, heights, truth = (torch.cat(each) for each in zip(*parts, strict=True))
    return logits, is_built, heights, truth
