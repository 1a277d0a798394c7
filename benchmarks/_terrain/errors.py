"""Estimates of heights on test bands, and how far they lie from the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from sarheight.learning import coverage, distance_groups, errors_by_group, mask_groups, slope_error
from sarheight.terrain import TerrainPatches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sarheight.learning import Part
    from sarheight.terrain import HeightEstimator

__all__ = ["TEST_SEED", "Errors", "arrays_of", "baselines", "errors_of", "measured"]

TEST_SEED = 1000
SIZE, BATCH = 128, 8
EDGES = (150.0, 300.0, 600.0, 1200.0)
"""Metres to the nearest known elevation that part the groups."""

Arrays = dict[str, "NDArray[Any]"]
Errors = dict[str, Any]
"""Root mean squared errors in metres by group of cells (``rmse``), other figures of all cells
(``all``), and, where there is an uncertainty, the coverage of intervals by level."""


def arrays_of(
    scene: xr.Dataset,
    part: Part,
    channels: tuple[str, ...],
    known: int,
    estimator: HeightEstimator | None = None,
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
    estimator : HeightEstimator, optional
        None for the baselines, which are among the arrays in any case.

    Returns
    -------
    dict of array, shape (patches, 1, rows, columns)
        ``interpolated``, ``coarse``, ``truth``, ``mask``, ``distance``; ``height`` and ``scale``
        as far as there are any.
    """
    patches = TerrainPatches(
        [scene], channels, within=[part], size=SIZE, known_count=(known, known), seed=TEST_SEED
    )
    collected: dict[str, list[NDArray[Any]]] = {}
    for sample in _batches(patches):
        found = {
            name: sample[name] for name in ("interpolated", "coarse", "truth", "mask", "distance")
        }
        if estimator is not None:
            with torch.inference_mode():
                height, scale = estimator(sample)
            found |= {"height": height} | ({} if scale is None else {"scale": scale})
        for name, values in found.items():
            collected.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(values) for name, values in collected.items()}


def _batches(patches: TerrainPatches) -> Iterator[dict[str, torch.Tensor]]:
    for first in range(0, len(patches), BATCH):
        chosen = [patches[index] for index in range(first, min(first + BATCH, len(patches)))]
        yield {
            name: torch.from_numpy(np.stack([sample[name] for sample in chosen]))
            for name in chosen[0]
        }


def errors_of(estimate: NDArray[Any], arrays: Arrays, scene: xr.Dataset) -> Errors:
    """Measure the errors of an estimate.

    Parameters
    ----------
    estimate : array
        Heights in metres.
    arrays : dict
        As `arrays_of` returns them.
    scene : xarray.Dataset
        Says what the mask's values mean, and how far cells lie apart.
    """
    mask = xr.DataArray(arrays["mask"], attrs=scene["true_mask"].attrs)
    groups = {**mask_groups(mask), **distance_groups(arrays["distance"], EDGES)}
    found = errors_by_group(estimate, arrays["truth"], groups)
    posting = tuple(scene.attrs["posting_m"])
    pairs = zip(estimate[:, 0], arrays["truth"][:, 0], strict=True)
    slopes = [slope_error(one, other, posting) for one, other in pairs]
    return {
        "rmse": {name: each.rmse for name, each in found.items() if each.count},
        "all": {
            **found["all"].as_dict(),
            "slope_rmse": float(np.sqrt(np.nanmean(np.square(slopes)))),
        },
    }


def baselines(scene: xr.Dataset, part: Part, known: int) -> dict[str, Errors]:
    """Measure what needs no radar: ``priors`` and ``coarse``."""
    arrays = arrays_of(scene, part, ("gamma0_geocoded",), known)
    return {
        row: errors_of(arrays[name], arrays, scene)
        for row, name in (("priors", "interpolated"), ("coarse", "coarse"))
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
            errors = errors_of(arrays["height"], arrays, scene)
            if "scale" in arrays:
                held = coverage(arrays["height"], arrays["scale"], arrays["truth"])
                errors["coverage"] = {f"{100 * level:.0f}": share for level, share in held.items()}
            found.setdefault(region, {})[str(known)] = errors
    return found
