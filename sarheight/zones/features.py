"""Features of patches for forests: bands, indices, several dates, neighbourhood statistics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

Floats = NDArray[np.float32]

BAND = re.compile(r"(?:(?P<date>.*)[_ .-])?(?P<band>B\d{1,2}A?)", re.IGNORECASE)
"""Name of an optical channel: a band, after a date or another prefix if there are several."""
SENTINEL_2 = {"blue": "B2", "green": "B3", "red": "B4", "nir": "B8", "swir1": "B11", "swir2": "B12"}
LANDSAT_8 = {"blue": "B2", "green": "B3", "red": "B4", "nir": "B5", "swir1": "B6", "swir2": "B7"}
INDICES = (
    ("nir", "red"),
    ("swir1", "nir"),
    ("green", "swir1"),
    ("green", "nir"),
    ("swir1", "swir2"),
    ("red", "blue"),
    ("swir1", "red"),
    ("swir2", "nir"),
)
"""Normalised differences (a - b) / (a + b): NDVI, NDBI, MNDWI, NDWI, NBR2 and three of soil."""
RADAR_INDEX = ("vv_intensity", "vh_intensity")
LEAST_SUM = 1e-12
"""Of the denominator of an index, below which it is missing."""


@dataclass(frozen=True)
class FeaturePlan:
    """What is computed from the channels of a patch.

    Several dates of the same bands are described by their median and their spread, so that a
    cloud or a wet day on one of them does not decide.

    Parameters
    ----------
    dates : tuple of tuple of int
        For each date the numbers of its channels, in the same order of bands.
    indices : tuple of tuple of int
        Pairs of positions among the bands of a date, for normalised differences.
    windows : tuple of int
        Sides of the neighbourhoods in cells, odd numbers.

    Raises
    ------
    ValueError
        If dates differ in their bands, an index names no band, or a window is even.
    """

    dates: tuple[tuple[int, ...], ...]
    indices: tuple[tuple[int, int], ...] = ()
    windows: tuple[int, ...] = (3, 5, 9, 15)

    def __post_init__(self) -> None:
        """Check the numbers."""
        counts = {len(date) for date in self.dates}
        if not self.dates or len(counts) != 1 or 0 in counts:
            msg = f"found dates of {sorted(counts)} bands, expected the same bands on each date"
            raise ValueError(msg)
        bands = counts.pop()
        if any(not 0 <= k < bands for pair in self.indices for k in pair):
            msg = f"found indices {self.indices} for {bands} bands, expected positions below that"
            raise ValueError(msg)
        if any(side < 3 or side % 2 == 0 for side in self.windows):
            msg = f"found windows {self.windows}, expected odd numbers of cells from 3 on"
            raise ValueError(msg)

    @property
    def size(self) -> int:
        """Cells along the side of the largest neighbourhood."""
        return max(self.windows, default=1)

    @property
    def count(self) -> int:
        """Number of features."""
        layers = len(self.dates[0]) + len(self.indices)
        return layers * (1 + (len(self.dates) > 1) + 2 * len(self.windows))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return {
            "dates": [list(date) for date in self.dates],
            "indices": [list(pair) for pair in self.indices],
            "windows": list(self.windows),
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> FeaturePlan:
        """Return the plan that `as_dict` describes."""
        return cls(
            tuple(tuple(map(int, date)) for date in fields["dates"]),
            tuple((int(first), int(second)) for first, second in fields["indices"]),
            tuple(map(int, fields["windows"])),
        )


def plan_features(
    channels: Sequence[str], *, windows: Sequence[int] = (3, 5, 9, 15), indices: bool = True
) -> FeaturePlan:
    """Plan features from the names of the channels.

    Names such as ``2013333_B5`` are bands on several dates if all dates have the same bands. The
    bands are those of Sentinel-2 if B8A or B12 is among them, and else those of Landsat 8 and 9;
    bands that an index needs and that are missing leave it out.

    Parameters
    ----------
    channels : sequence of str
        Names.
    windows : sequence of int
        Sides of the neighbourhoods in cells, odd numbers.
    indices : bool
        Whether to add normalised differences.

    Returns
    -------
    FeaturePlan
    """
    found = [BAND.fullmatch(name) for name in channels]
    by_date: dict[str, dict[str, int]] = {}
    for number, (name, match) in enumerate(zip(channels, found, strict=True)):
        date = "" if match is None else match["date"] or ""
        band = name if match is None else match["band"].upper()
        by_date.setdefault(date, {})[band] = number
    bands = list(next(iter(by_date.values())))
    if any(list(date) != bands for date in by_date.values()) or None in found:
        by_date = {"": {name: number for number, name in enumerate(channels)}}
        bands = [
            name if match is None else match["band"].upper()
            for name, match in zip(channels, found, strict=True)
        ]
    pairs: list[tuple[int, int]] = []
    if indices:
        sensor = SENTINEL_2 if {"B8A", "B12"} & set(bands) else LANDSAT_8
        named = [(sensor[first], sensor[second]) for first, second in INDICES]
        pairs = [
            (bands.index(first), bands.index(second))
            for first, second in [*named, RADAR_INDEX]
            if first in bands and second in bands
        ]
    return FeaturePlan(
        tuple(tuple(date.values()) for date in by_date.values()), tuple(pairs), tuple(windows)
    )


def base_layers(
    values: Floats, plan: FeaturePlan, mean: Floats, std: Floats, decibel: NDArray[np.bool_]
) -> tuple[Floats, Floats | None]:
    """Return median and spread over the dates of bands and indices.

    Parameters
    ----------
    values : array, shape (..., channels, rows, columns)
        In physical units; NaN where data are missing.
    plan : FeaturePlan
        What to compute.
    mean, std : array, shape (channels,)
        Of the transformed channels over the training samples: dates become alike by them.
    decibel : array of bool, shape (channels,)
        Channels of power that enter in decibels. Indices are of linear values.

    Returns
    -------
    tuple of array
        Both of shape (..., bands + indices, rows, columns); the spread is None with one date.
    """
    each = []
    for date in plan.dates:
        numbers = list(date)
        bands = values[..., numbers, :, :]
        layers = []
        with np.errstate(divide="ignore", invalid="ignore"):
            power = 10.0 * np.log10(np.maximum(bands, np.float32(1e-6)))
            flags = decibel[numbers][:, None, None]
            scaled = np.where(flags, power, bands)
            layers.append((scaled - mean[numbers][:, None, None]) / std[numbers][:, None, None])
            if plan.indices:
                first = bands[..., [pair[0] for pair in plan.indices], :, :]
                second = bands[..., [pair[1] for pair in plan.indices], :, :]
                total = first + second
                layers.append(np.where(np.abs(total) > LEAST_SUM, (first - second) / total, np.nan))
        each.append(np.concatenate(layers, axis=-3).astype(np.float32))
    if len(each) == 1:
        return each[0], None
    return _median_and_spread(np.stack(each))


def _median_and_spread(stack: Floats) -> tuple[Floats, Floats]:
    """Return median and standard deviation over the first axis, without missing values."""
    known = np.isfinite(stack)
    count = known.sum(axis=0)
    # Missing values become infinite and are sorted to the end.
    ordered = np.sort(np.where(known, stack, np.float32(np.inf)), axis=0)
    upper = np.maximum(count // 2, 0)
    lower = np.maximum((count - 1) // 2, 0)
    last = len(stack) - 1
    pick = [
        np.take_along_axis(ordered, np.minimum(number, last)[None], axis=0)[0]
        for number in (lower, upper)
    ]
    filled = np.where(known, stack, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        median = np.where(count > 0, 0.5 * (pick[0] + pick[1]), np.nan)
        mean = filled.sum(axis=0) / count
        squares = (np.where(known, stack - mean, 0.0) ** 2).sum(axis=0) / count
    return median.astype(np.float32), np.sqrt(squares).astype(np.float32)


def patch_features(
    patches: Floats, plan: FeaturePlan, mean: Floats, std: Floats, decibel: NDArray[np.bool_]
) -> Floats:
    """Compute the features of patches (n, channels, size, size), shape (n, features)."""
    centre = patches.shape[-1] // 2
    half = plan.size // 2
    window = slice(centre - half, centre + half + 1)
    median, spread = base_layers(patches[..., window, window], plan, mean, std, decibel)
    columns = [median[..., half, half]]
    if spread is not None:
        columns.append(spread[..., half, half])
    for side in plan.windows:
        inner = slice(half - side // 2, half + side // 2 + 1)
        around = median[..., inner, inner]
        known = np.isfinite(around)
        count = known.sum(axis=(-2, -1))
        with np.errstate(divide="ignore", invalid="ignore"):
            average = np.where(known, around, 0.0).sum(axis=(-2, -1), dtype=np.float64) / count
            offset = np.where(known, around - average[..., None, None], 0.0)
            deviation = np.sqrt((offset**2).sum(axis=(-2, -1)) / count)
        columns += [average, deviation]
    return np.concatenate(columns, axis=1).astype(np.float32)


def map_features(
    values: Floats,
    plan: FeaturePlan,
    mean: Floats,
    std: Floats,
    decibel: NDArray[np.bool_],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> Floats:
    """Compute the features of cells of a stack (channels, rows, columns), shape (n, features).

    The same as `patch_features` of the patches around them, without cutting patches.
    """
    median, spread = base_layers(values, plan, mean, std, decibel)
    parts: list[NDArray[Any]] = [median[:, rows, columns]]
    if spread is not None:
        parts.append(spread[:, rows, columns])
    known = np.isfinite(median)
    filled = np.where(known, median, 0.0).astype(np.float64)
    for side in plan.windows:
        size = (1, side, side)
        share = uniform_filter(known.astype(np.float64), size, mode="constant")
        with np.errstate(divide="ignore", invalid="ignore"):
            average = uniform_filter(filled, size, mode="constant") / share
            square = uniform_filter(filled**2, size, mode="constant") / share
            deviation = np.sqrt(np.maximum(square - average**2, 0.0))
        # Running sums leave remainders where a window holds no data at all.
        empty = share < 0.5 / side**2
        for layer in (average, deviation):
            layer[empty] = np.nan
            parts.append(layer[:, rows, columns])
    return np.concatenate(parts, axis=0).T.astype(np.float32)
