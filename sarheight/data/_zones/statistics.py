"""Mean and spread of the channels of labelled patches, measured once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from sarheight._cache import cache_directory
from sarheight.data._statistics import transformed
from sarheight.data._zones.samples import PIECE
from sarheight.errors import DatasetError
from sarheight.output._atomic import staged

if TYPE_CHECKING:
    from pathlib import Path

    from sarheight.data._zones.samples import ZoneSamples

__all__ = ["zone_statistics"]

Floats = NDArray[np.float64]
Statistics = dict[str, tuple[float, float]]

LEAST_VARIANCE = 1e-12
"""Variance, as a part of the squared mean, below which a channel is the same everywhere."""
_MEASURED: WeakKeyDictionary[ZoneSamples, dict[str, Statistics]] = WeakKeyDictionary()


def zone_statistics(
    samples: ZoneSamples,
    transforms: Mapping[str, str] | None = None,
    *,
    channels: Sequence[str] | None = None,
) -> dict[str, tuple[float, float]]:
    """Measure mean and standard deviation of channels.

    They are measured once for the same samples. Those of a file are kept in the folder for cached
    files (see ``SARHEIGHT_CACHE``) until the file changes.

    Parameters
    ----------
    samples : ZoneSamples
        Those for training.
    transforms : mapping, optional
        By channel "decibel" or "log", taken before the statistics.
    channels : sequence of str, optional
        Names of those that are wanted; all by default.

    Returns
    -------
    dict
        Mean and standard deviation by the name of the channel. Values that are not finite never
        count.

    Raises
    ------
    DatasetError
        If one of the channels has no value, or the same everywhere.
    """
    chosen = {name: (transforms or {}).get(name, "none") for name in samples.channels}
    key = json.dumps(chosen)
    known = _MEASURED.setdefault(samples, {})
    if key not in known:
        known[key] = _remembered(samples, chosen)
    wanted = samples.channels if channels is None else tuple(channels)
    constant = [name for name in wanted if not known[key][name][1] > 0.0]
    if constant:
        msg = (
            f"found channels with the same value in all of {len(samples)} patches, or none: "
            f"{', '.join(constant)}; expected channels that vary: leave them out of the groups, or "
            "check the file"
        )
        raise DatasetError(msg)
    return {name: known[key][name] for name in wanted}


def _remembered(samples: ZoneSamples, transforms: Mapping[str, str]) -> Statistics:
    """Measure, or read what was measured for the same file."""
    kept = _kept(samples, transforms)
    if kept is not None and kept.exists():
        found: dict[str, list[float]] = json.loads(kept.read_text("utf-8"))
        return {name: (mean, std) for name, (mean, std) in found.items()}
    measured = _measured(samples, transforms)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with staged(kept, overwrite=True, suffixes=(".json",)) as work:
            work.write_text(json.dumps(measured), "utf-8")
    return measured


def _kept(samples: ZoneSamples, transforms: Mapping[str, str]) -> Path | None:
    """Say where the statistics of these samples are kept, if they can be told from others."""
    if samples.identity is None:
        return None
    key = sha256(json.dumps([samples.identity, transforms]).encode()).hexdigest()
    return cache_directory() / "statistics" / f"{key}.json"


def _measured(samples: ZoneSamples, transforms: Mapping[str, str]) -> Statistics:
    count, total, squares = (np.zeros(len(samples.channels)) for _ in range(3))
    origin: Floats | None = None
    for first in range(0, len(samples), PIECE):
        image = samples.read(np.arange(first, min(first + PIECE, len(samples))))
        for number, transform in enumerate(transforms.values()):
            if transform != "none":
                image[:, number] = transformed(image[:, number], transform)
        known = np.isfinite(image)
        values = np.where(known, image, 0.0).astype(np.float64)
        if origin is None:
            # Squares about a value near the mean lose nothing to rounding.
            origin = values.sum(axis=(0, 2, 3)) / np.maximum(known.sum(axis=(0, 2, 3)), 1)
        shifted = np.where(known, values - origin[:, None, None], 0.0)
        count += known.sum(axis=(0, 2, 3))
        total += shifted.sum(axis=(0, 2, 3))
        squares += (shifted**2).sum(axis=(0, 2, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = total / count
        variance = squares / count - offset**2
    mean = np.nan_to_num(offset + (0.0 if origin is None else origin))
    varying = variance > LEAST_VARIANCE * mean**2
    spread = np.sqrt(np.where(varying, variance, 0.0))
    return {
        name: (float(middle), float(width))
        for name, middle, width in zip(samples.channels, mean, spread, strict=True)
    }
