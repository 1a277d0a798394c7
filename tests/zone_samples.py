"""Small labelled patches for tests: in memory, in HDF5 files of So2Sat, and on a map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rioxarray  # noqa: F401
import torch
import xarray as xr
from numpy.typing import NDArray

from sarheight.learning import Channel
from sarheight.zones import (
    OPTICAL_CHANNELS,
    RADAR_CHANNELS,
    FusionResult,
    FusionStrategy,
    ZoneClassifier,
    ZoneMember,
    ZonePatches,
)
from sarheight.zones.evaluation import scores_from_confusion

CHANNELS = (*RADAR_CHANNELS, *OPTICAL_CHANNELS)
THREE = ("compact_high_rise", "dense_trees", "water")


def patches(count: int = 90, size: int = 8, *, noise: float = 1.0, seed: int = 0) -> ZonePatches:
    """Make patches of three classes with two radar and two optical channels.

    Each class has its own mean in each channel.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    means = np.array([[3.0, 0.0, 1.0, 5.0], [0.0, 3.0, 4.0, 5.0], [0.0, 0.0, 0.0, 8.0]])
    image = means[labels][:, :, None, None] + noise * random.normal(size=(count, 4, size, size))
    return ZonePatches(
        image.astype(np.float32), labels, ("vh", "vv", "red", "nir"), THREE, codes=(1, 11, 17)
    )


def so2sat_arrays(count: int = 20, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Return the data sets of a file of So2Sat LCZ42."""
    random = np.random.default_rng(seed)
    label = np.zeros((count, 17))
    label[np.arange(count), np.arange(count) % 17] = 1.0
    return {
        "sen1": random.normal(size=(count, 32, 32, 8)),
        "sen2": random.uniform(size=(count, 32, 32, 10)),
        "label": label,
    }


def write_so2sat(path: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    """Write arrays as HDF5."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values)
    return path


def city(rows: int = 40, columns: int = 60, seed: int = 0) -> tuple[xr.DataArray, xr.DataArray]:
    """Make a stack of three channels, and a map of zones 1, 6 and 17 at every third cell."""
    random = np.random.default_rng(seed)
    zone = np.array([1, 6, 17])[
        (np.arange(columns)[None, :] // 5 + np.arange(rows)[:, None] // 5) % 3
    ]
    means = {1: (5.0, 1.0, 0.0), 6: (1.0, 5.0, 0.0), 17: (0.0, 0.0, 5.0)}
    image = np.zeros((3, rows, columns))
    for code, values in means.items():
        image[:, zone == code] = np.array(values)[:, None]
    image += 0.5 * random.normal(size=image.shape)
    coordinates = {
        "y": 5e6 - 100.0 * (np.arange(rows) + 0.5),
        "x": 4e5 + 100.0 * (np.arange(columns) + 0.5),
    }
    stack = xr.DataArray(
        image.astype(np.float32),
        dims=("band", "y", "x"),
        coords={"band": ["green", "red", "nir"], **coordinates},
    ).rio.write_crs(32633)
    labelled = np.zeros_like(zone)
    labelled[1::3, 1::3] = zone[1::3, 1::3]
    labels = xr.DataArray(
        labelled.astype(np.uint8), dims=("y", "x"), coords=coordinates
    ).rio.write_crs(32633)
    return stack, labels


def small_classifier(
    names: tuple[str, ...] = ("green", "red", "nir"), *, size: int = 4
) -> ZoneClassifier:
    """Make a small network of random weights for three classes."""
    torch.manual_seed(0)
    options = {"widths": [4, 4, 4, 4, 4], "dense": 4, "pooled_blocks": 1}
    return ZoneClassifier(
        [Channel(name, "1", mean=1.0, std=2.0) for name in names],
        ("compact_high_rise", "open_low_rise", "water"),
        [ZoneMember((names,), options=options)],
        size=size,
        codes=(1, 6, 17),
        posting=100.0,
    ).eval()


def fusion_result(form: FusionStrategy, accuracies: list[int], folder: Path) -> FusionResult:
    """Make what runs of a form of fusion give, from their accuracies in per cent."""
    scores = tuple(
        scores_from_confusion([[right, 100 - right], [100 - right, right]], ["a", "b"])
        for right in accuracies
    )
    values = tuple(right / 100 for right in accuracies)
    return FusionResult(form, scores, values, values, (folder,) * len(values))
