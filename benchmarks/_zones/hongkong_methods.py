"""Methods for Hong Kong: each learns from some labelled cells and maps any others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

from benchmarks._zones.hongkong_data import CLASSES, HongKong, block_numbers
from sarheight.zones import ForestSettings, ZonePatches, train_forest
from sarheight.zones.sources import centred_windows

__all__ = ["METHODS", "Method", "Probabilities"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Probabilities = NDArray[np.float64]
Method: TypeAlias = Callable[[HongKong, Integers, Integers, Integers, int], Probabilities]
"""From the place, numbers of cells for training, rows and columns of others, and a seed."""

TREES = 100
AROUND = 5
"""Cells along the side of a neighbourhood."""


def neighbourhood(stack: Floats, side: int = AROUND) -> Floats:
    """Take mean and spread of each band around each cell, over what is known."""
    known = np.isfinite(stack)
    size = (1, side, side)
    filled = np.where(known, stack, 0.0).astype(np.float64)
    share = uniform_filter(known.astype(np.float64), size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = uniform_filter(filled, size) / share
        square = uniform_filter(filled**2, size) / share
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    both = np.concatenate([mean, spread])
    both[np.tile(share < 1e-6, (2, 1, 1))] = np.nan
    return both.astype(np.float32)


def forest(
    place: HongKong,
    layers: Floats,
    training: Integers,
    rows: Integers,
    columns: Integers,
    seed: int,
) -> Probabilities:
    """Fit a random forest with balanced classes; what is missing gets the median of training."""
    features = layers[:, place.rows[training], place.columns[training]].T
    usual = np.nanmedian(features, axis=0)
    model = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, n_jobs=1)
    model.fit(np.where(np.isfinite(features), features, usual), place.labels[training])
    others = layers[:, rows, columns].T
    given = np.zeros((rows.size, len(CLASSES)))
    given[:, model.classes_] = model.predict_proba(np.where(np.isfinite(others), others, usual))
    return given


def forest_of_bands(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Classify as WUDAPT does: a forest of the bands of the cell."""
    return forest(place, place.stack.values, training, rows, columns, seed)


def forest_of_neighbourhood(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Classify by a forest of the bands, and of their mean and spread around the cell."""
    values = place.stack.values
    layers = np.concatenate([values, neighbourhood(values)])
    return forest(place, layers, training, rows, columns, seed)


def zone_forest(
    place: HongKong, training: Integers, rows: Integers, columns: Integers, seed: int
) -> Probabilities:
    """Classify by the forest of `sarheight.zones`, calibrated on blocks that it holds out."""
    settings = ForestSettings(trees=TREES, seed=seed)
    half = max(settings.windows) // 2
    pad = ((0, 0), (half, half), (half, half))
    values = np.pad(place.stack.values, pad, constant_values=np.nan)
    patches = centred_windows(values, place.rows[training], place.columns[training], 2 * half + 1)
    names = [str(name) for name in place.stack["band"].values]
    samples = ZonePatches(patches, place.labels[training], names, CLASSES)
    pairs = block_numbers(place.x[training], place.y[training])
    _, blocks = np.unique(pairs, axis=0, return_inverse=True)
    model, _ = train_forest(samples, settings, blocks=blocks.ravel())
    return model.cell_probabilities(values, rows + half, columns + half).astype(np.float64)


METHODS: dict[str, Method] = {
    "random forest, bands (WUDAPT)": forest_of_bands,
    "random forest, with neighbourhood": forest_of_neighbourhood,
    "forest of sarheight.zones": zone_forest,
}
