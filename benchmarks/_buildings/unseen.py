"""What a network for building heights makes of cities that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from sarheight.buildings import BuildingPatches, building_errors, footprint_iou
from sarheight.buildings.distributions import HEIGHT_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from sarheight.buildings import BuildingHeightEstimator, BuildingSettings

__all__ = ["Maps", "estimated", "figures_of"]

BUILT_FROM = 1.0
"""Metres from which a cell counts as built."""
TALL = 40.0
"""Metres from which a building counts as tall."""
LEAST = 50
"""Cells of a class from which its coverage is told."""


@dataclass(frozen=True)
class Maps:
    """Heights of all patches of the test."""

    # Metres, shape (patches, rows, columns), as below where nothing else is said
    truth: NDArray[np.float32]
    # Estimates of each month alone, (patches, months, rows, columns); NaN where unseen
    months: NDArray[np.float32]
    # The estimate from all months: of the series, or the mean of the months
    series: NDArray[np.float32]
    # Where there is a building: a chance above one half, or `BUILT_FROM` or higher
    built: NDArray[np.bool_]
    # Limits of the 80 % interval, (2, patches, rows, columns); of no patches without chances
    interval: NDArray[np.float32]
    novelty: NDArray[np.float32]  # Distance of the images from those of training; likewise


def estimated(
    estimator: BuildingHeightEstimator, settings: BuildingSettings, cities: Sequence[xr.Dataset]
) -> Maps:
    """Estimate the heights of cities.

    A network for one month estimates each month on its own, where the month shows the cell in all
    its modalities; its estimate from all months is their mean. That is the kindest use of it:
    clouds cost it nothing but months.
    """
    patches = BuildingPatches(
        cities,
        size=settings.size,
        sar_bands=settings.sar_bands,
        optical_bands=settings.optical_bands,
        months=cities[0].sizes["month"],
    )
    names = [name for name in ("sar", "optical") if getattr(settings, f"{name}_bands")]
    truths, months, series, built = [], [], [], []
    intervals, novelties = [], []
    with torch.inference_mode():
        for number in range(len(patches)):
            arrays = patches[number]
            sample = {name: torch.from_numpy(array)[None] for name, array in arrays.items()}
            truths.append(arrays["height"][0])
            if settings.months > 1:
                estimate, distribution = estimator(sample), estimator.distribution(sample)
                series.append(estimate.height[0, 0].numpy())
                built.append(distribution.built[0, 0].numpy() > 0.0)
                limits = estimator.interval(distribution, 0.8)
                intervals.append(np.stack([each[0, 0].numpy() for each in limits]))
                novelties.append(estimate.novelty[0, 0].numpy())
                continue
            seen = np.all([np.isfinite(arrays[name]).all(axis=1) for name in names], axis=0)
            chosen = np.flatnonzero(seen.any(axis=(1, 2)))
            found = np.full(seen.shape, np.nan, dtype=np.float32)
            single = {name: each[0, chosen, None] for name, each in sample.items() if name in names}
            single["month"] = sample["month"][0, chosen, None]
            found[chosen] = estimator(single).height[:, 0].numpy()
            months.append(np.where(seen, found, np.nan))
            with np.errstate(invalid="ignore"):
                total = np.nansum(months[-1], axis=0)
                series.append(total / np.maximum(seen.sum(axis=0), 1))
                built.append(series[-1] >= BUILT_FROM)
    single_months = np.stack(months) if months else np.empty((len(truths), 0, *truths[0].shape))
    none = np.empty((0, *truths[0].shape), np.float32)
    return Maps(
        np.stack(truths),
        single_months.astype(np.float32),
        np.stack(series),
        np.stack(built),
        np.stack(intervals, axis=1) if intervals else np.stack([none, none]),
        np.stack(novelties) if novelties else none,
    )


def figures_of(maps: Maps) -> dict[str, float]:
    """Measure maps: of all months together, and with ``monthly_`` before the names of each alone.

    ``iou`` is that of cells with a building, ``iou_both`` the mean of it and of that of cells
    without; ``tall_bias`` the mean error above `TALL` as a share of the mean height there, NaN
    where nothing is so high; ``coverage_80`` that of built cells, also by class of true height;
    ``novel`` the share of cells with a novelty above 1.
    """
    figures = _figures(maps.series, maps.truth, maps.built)
    tall = maps.truth > TALL
    error, height = (maps.series - maps.truth)[tall], maps.truth[tall]
    figures["tall_bias"] = float(error.mean() / height.mean()) if tall.any() else float("nan")
    if maps.novelty.size:
        built = maps.truth >= BUILT_FROM
        held = (maps.interval[0] <= maps.truth) & (maps.truth <= maps.interval[1])
        figures["coverage_80"] = float(held[built].mean())
        edges = (BUILT_FROM, *HEIGHT_CLASSES, np.inf)
        for low, high in pairwise(edges):
            chosen = (maps.truth >= low) & (maps.truth < high)
            if chosen.sum() >= LEAST:
                figures[f"coverage_80_{low:g}_{high:g}"] = float(held[chosen].mean())
        figures["novel"] = float((maps.novelty > 1.0).mean())
        figures["novelty"] = float(np.nanmedian(maps.novelty))
    if maps.months.shape[1]:
        truth = np.broadcast_to(maps.truth[:, None], maps.months.shape)
        monthly = _figures(maps.months, truth, maps.months >= BUILT_FROM)
        figures |= {f"monthly_{name}": value for name, value in monthly.items()}
    return figures


def _figures(
    estimate: NDArray[np.float32], truth: NDArray[np.float32], built: NDArray[np.bool_]
) -> dict[str, float]:
    errors = building_errors(estimate, truth)
    known = np.isfinite(estimate) & np.isfinite(truth)
    # What is open in a map is built in its negative.
    ious = [
        footprint_iou(found == side, (truth >= BUILT_FROM) == side, threshold=0.5, where=known)
        for found, side in ((built, True), (built, False))
    ]
    return {
        "rmse": errors.everywhere.rmse,
        "r2": errors.everywhere.r2,
        "mae": errors.everywhere.mae,
        "bias": errors.everywhere.bias,
        "buildings_rmse": errors.buildings.rmse,
        "buildings_r2": errors.buildings.r2,
        "iou": ious[0],
        "iou_both": 0.5 * (ious[0] + ious[1]),
    }
