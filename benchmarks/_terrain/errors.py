"""Estimates of heights on test bands, and how far they lie from the truth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from sarheight.learning import height_errors
from sarheight.terrain import TerrainPatches
from sarheight.terrain.training import LAYOVER

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.learning import Part
    from sarheight.terrain import HeightEstimator

__all__ = ["TEST_SEED", "Errors", "arrays_of", "errors_of", "measured"]

TEST_SEED = 1000
SIZE, BATCH = 128, 8

Arrays = dict[str, "NDArray[Any]"]
Errors = dict[str, Any]
"""Root mean squared errors in metres by group of cells (``rmse``), other figures of all cells
(``all``)."""


def arrays_of(
    scene: xr.Dataset,
    part: Part,
    channels: tuple[str, ...],
    known: int,
    estimator: HeightEstimator,
) -> Arrays:
    """Return the test patches of a part, and what an estimator makes of them.

    Parameters
    ----------
    scene, part
        A scene, and the part in question.
    channels : tuple of str
        What the estimator sees.
    known : int
        Known elevations in a patch. Which these are is the same for all estimators.
    estimator : HeightEstimator
        The estimator.

    Returns
    -------
    dict of array, shape (patches, 1, rows, columns)
        ``truth``, ``mask`` and ``height``.
    """
    patches = TerrainPatches(
        [scene], channels, within=[part], size=SIZE, known_count=(known, known), seed=TEST_SEED
    )
    collected: dict[str, list[NDArray[Any]]] = {"truth": [], "mask": [], "height": []}
    with torch.inference_mode():
        for sample in DataLoader(cast("Any", patches), BATCH):
            for name, values in (sample | {"height": estimator(sample).height}).items():
                if name in collected:
                    collected[name].append(values.numpy())
    return {name: np.concatenate(values) for name, values in collected.items()}


def errors_of(estimate: NDArray[Any], arrays: Arrays) -> Errors:
    """Measure the errors of heights in metres, in all cells and in layover."""
    total = height_errors(estimate, arrays["truth"])
    folded = height_errors(estimate, arrays["truth"], where=np.isin(arrays["mask"], LAYOVER))
    found = {"all": total, "layover": folded}
    return {
        "rmse": {name: each.rmse for name, each in found.items() if each.count},
        "all": total.as_dict(),
    }


def measured(
    estimator: HeightEstimator,
    channels: tuple[str, ...],
    scenes: Mapping[str, xr.Dataset],
    parts: Mapping[str, Part],
    counts: tuple[int, ...],
) -> dict[str, dict[str, Errors]]:
    """Measure an estimator in every region, with several numbers of known elevations.

    Returns
    -------
    dict
        By region and number, both as text.
    """
    found: dict[str, dict[str, Errors]] = {}
    for region, scene in scenes.items():
        for known in counts:
            arrays = arrays_of(scene, parts[region], channels, known, estimator)
            found.setdefault(region, {})[str(known)] = errors_of(arrays["height"], arrays)
    return found
