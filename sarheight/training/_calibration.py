"""How much larger errors are, where a network was not trained, than it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from sarheight.models import HeightEstimator
    from sarheight.training._loading import Samples

__all__ = ["scale_factor"]

LEVEL = 0.8
"""Of the interval that is made to hold what it says; users ask for this one most."""
BATCH = 8


def scale_factor(estimator: HeightEstimator, patches: Samples) -> float:
    r"""Measure by what an estimator's scales must be multiplied.

    Of a Laplace distribution with scale :math:`b`, 80 % of all errors are smaller than
    :math:`b \ln 5`. The factor is the quotient of the true 80 % quantile of :math:`|e| / b` and
    that number, at places that the network was not trained on.

    Parameters
    ----------
    estimator : HeightEstimator
        In evaluation mode, with an uncertainty.
    patches : Samples
        Such as `sarheight.data.TerrainPatches`, with true heights.

    Returns
    -------
    float
        What `HeightEstimator.scale_factor` is to be multiplied by; 1 where no cell has a true
        height.
    """
    ratios = []
    with torch.inference_mode():
        for first in range(0, len(patches), BATCH):
            chosen = [patches[index] for index in range(first, min(first + BATCH, len(patches)))]
            sample = {
                name: torch.from_numpy(np.stack([each[name] for each in chosen]))
                for name in chosen[0]
            }
            height, scale = estimator(sample)
            ratio = ((height - sample["truth"]).abs() / scale).numpy()
            ratios.append(ratio[np.isfinite(ratio)])
    found = np.concatenate(ratios) if ratios else np.empty(0)
    if not found.size:
        return 1.0
    return float(np.quantile(found, LEVEL) / -np.log1p(-LEVEL))
