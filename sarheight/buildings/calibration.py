"""Calibration of a network with a distribution of heights: on places that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softmax

from sarheight.buildings.distributions import TYPICAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.buildings.distributions import HeightBins
    from sarheight.buildings.estimators import BuildingHeightEstimator
    from sarheight.learning.training import Sample

LEVEL = 0.8
RANGE = (-2.0, 2.0)
"""Bounds of the natural logarithms of the temperatures."""
STEPS = 17
"""Temperatures that are tried between them."""
MAX_CELLS = 500_000
"""Cells that suffice to fit a few numbers."""
LEAST_CELLS = 300
"""Cells of a class of height from which its own calibration is fitted."""
NOVELTY_CELLS, NOVELTY_STEP = 400, 7
"""Cells of a batch that are drawn for the novelty, and one in so many for its limit."""


def calibrate(estimator: BuildingHeightEstimator, batches: Iterable[Sample]) -> dict[str, float]:
    """Fit temperatures and factors of the standard deviation on held-out places.

    The logit of a building is divided by the temperature of maximum likelihood. Those of the
    heights are divided by the one at which the 80 % intervals of buildings hold 80 % of them,
    class by class of the estimated height (`HEIGHT_CLASSES`); a class with fewer than `LEAST_CELLS`
    buildings takes the temperature of all, or of the class below where that is wider. The standard
    deviation is scaled so that its mean square is the mean squared error in the class. Mean heights
    stay. Returns ``coverage_80_before`` and ``coverage_80`` of buildings, nothing where there are
    none. Source: Guo, C. et al. (2017), ICML, arXiv:1706.04599.
    """
    network = estimator.distribution_network
    logits, is_built, heights, truth = _collect_logits(estimator, batches)
    if not truth.numel():
        return {}

    def negative_log_likelihood(logarithm: float) -> float:
        scaled = logits / torch.tensor(logarithm).exp()
        return float(binary_cross_entropy_with_logits(scaled, is_built))

    best = minimize_scalar(negative_log_likelihood, bounds=RANGE, method="bounded").x
    common = _width(network.bins, heights, truth)
    classes = network.height_class(heights)[:, 0]
    widths = []
    for number in range(len(network.sigma_factors)):
        chosen = classes == number
        if int(chosen.sum()) >= LEAST_CELLS:
            widths.append(_width(network.bins, heights[chosen], truth[chosen]))
        else:
            widths.append(max([common, *widths[-1:]]))
    network.temperatures.copy_(torch.tensor([best, *widths]).exp())
    _scale_sigma(estimator, batches)
    held = _held(network.bins, heights, truth, torch.tensor(widths)[classes].exp()[:, None])
    return {
        "coverage_80_before": float(_held(network.bins, heights, truth, 1.0).float().mean()),
        "coverage_80": float(held.float().mean()),
    }


def _held(bins: HeightBins, heights: Tensor, truth: Tensor, width: Tensor | float) -> Tensor:
    """Tell which heights lie in their 80 % interval with logits divided by `width`."""
    probabilities = softmax(heights / width, dim=1)
    lower, upper = (
        bins.quantile(probabilities, torch.full_like(truth, quantile))
        for quantile in ((1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0)
    )
    return (truth >= lower) & (truth <= upper)


def _width(bins: HeightBins, heights: Tensor, truth: Tensor) -> float:
    """Return the logarithm of the temperature at which 80 % intervals hold 80 %."""

    def excess(logarithm: float) -> float:
        width = torch.tensor(logarithm).exp()
        return float(_held(bins, heights, truth, width).float().mean()) - LEVEL

    # Coverage grows with the temperature until the distribution is so flat that its interval leaves
    # out the lowest heights. Where nothing gives 80 %, the temperature nearest to it is taken.
    tried = np.linspace(*RANGE, STEPS)
    found = np.array([excess(each) for each in tried.tolist()])
    rising = np.flatnonzero((found[:-1] < 0.0) & (found[1:] >= 0.0))
    if not rising.size:
        return float(tried[np.argmin(np.abs(found))])
    first = int(rising[0])
    return float(brentq(excess, tried[first], tried[first + 1], xtol=1e-3))


def _scale_sigma(estimator: BuildingHeightEstimator, batches: Iterable[Sample]) -> None:
    """Scale the standard deviation by class so that its mean square is the mean squared error."""
    network = estimator.distribution_network
    count = len(network.sigma_factors)
    error, variance = (torch.zeros(count, dtype=torch.float64) for _ in range(2))
    cells = torch.zeros(count, dtype=torch.int64)
    device = network.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            estimate = estimator({name: each.to(device) for name, each in batch.items()})
            truth, height = batch["height"].to(device), estimate.height
            known = torch.isfinite(truth) & torch.isfinite(height)
            classes = torch.bucketize(height[known], network.class_edges).cpu()
            squares = (height - truth)[known].double() ** 2, estimate.sigma[known].double() ** 2
            error += torch.bincount(classes, squares[0].cpu(), count)
            variance += torch.bincount(classes, squares[1].cpu(), count)
            cells += torch.bincount(classes, minlength=count)
    if not variance.sum() > 0.0:
        msg = (
            "found no estimated variance in the batches, expected cells with one: pass a list or a "
            "loader, which can be iterated twice"
        )
        raise ValueError(msg)
    common = torch.sqrt(error.sum() / variance.sum())
    each = torch.sqrt(error / variance.clamp(min=1e-12))
    for number in range(count):
        known_well = cells[number] >= LEAST_CELLS and variance[number] > 0.0
        # Classes with few cells: no less uncertain than all cells, or than the class below.
        below = network.sigma_factors.new_tensor(1.0) if number == 0 else each[number - 1]
        each[number] = each[number] if known_well else torch.maximum(common, below)
    network.sigma_factors.mul_(each.to(network.sigma_factors))


def learn_novelty(
    estimator: BuildingHeightEstimator,
    training: Iterable[Sample],
    validation: Iterable[Sample],
    seed: int = 0,
) -> None:
    """Show the images of training to the estimator's `ImageNovelty`, and set what counts as 1.

    Of each batch some hundred cells are drawn in which all modalities have images.
    """
    novelty = estimator.distribution_network.novelty
    random = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.float32]]] = {name: [] for name in novelty.sizes}
    with torch.inference_mode():
        for batch in training:
            images, valid, _ = estimator.inputs(batch)
            found = novelty.features(images, valid)
            seen = torch.stack([each for _, each in found.values()]).all(dim=0)[:, 0]
            places = np.flatnonzero(seen.flatten().numpy())
            places = random.permutation(places)[:NOVELTY_CELLS]
            for name, (features, _) in found.items():
                drawn[name].append(features.movedim(1, -1).flatten(0, 2).numpy()[places])
        values = {name: np.concatenate(each) for name, each in drawn.items()}
        if not len(next(iter(values.values()))):
            return  # without a place that all modalities see, nothing is typical
        novelty.learn(values, seed)
        distances = [
            novelty(*estimator.inputs(batch)[:2]).flatten()[::NOVELTY_STEP] for batch in validation
        ]
    typical = torch.cat(distances)
    typical = typical[torch.isfinite(typical)]
    if typical.numel():
        novelty.limit.fill_(float(np.quantile(typical.numpy(), TYPICAL)))


def _collect_logits(
    estimator: BuildingHeightEstimator, batches: Iterable[Sample]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return logits and truth of built cells, then logits and truth of the heights of buildings."""
    parts: list[tuple[Tensor, ...]] = []
    count = 0
    device = estimator.distribution_network.temperatures.device
    with torch.inference_mode():
        for batch in batches:
            sample = {name: each.to(device) for name, each in batch.items()}
            distribution = estimator.distribution(sample)
            truth = sample["height"]
            known = torch.isfinite(truth)
            built = known & (truth > 0.0)
            heights = distribution.heights.movedim(1, -1)[built[:, 0]]
            parts.append(
                (distribution.built[known], built[known].float(), heights, truth[built][:, None])
            )
            count += int(known.sum())
            if count > MAX_CELLS:
                break
    if not parts:
        empty = torch.empty(0)
        return empty, empty, empty, empty
    logits, is_built, heights, truth = (torch.cat(each) for each in zip(*parts, strict=True))
    return logits, is_built, heights, truth
