"""Sheets of terrain: how often a profile passes the slant range of each sample of an image."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.models import RadarModel, radar_segment, sample, stamp
from sarheight_kernels.profiles import ACTIVE_LAYOVER, ACTIVE_SHADOW, FORESHORTENING, NO_DATA

__all__ = [
    "FOLDED",
    "LIT",
    "MOST_SHEETS",
    "PRESSED",
    "UNLIT",
    "count_folds",
    "count_sheets",
    "place_profile",
    "sheets_of",
]

LIT, UNLIT, FOLDED, PRESSED = 0, 16, 32, 48
"""Sheets that are lit, in shadow, lit and in active layover, lit and foreshortened: from which bit
on each of them is counted. Four counts of sixteen bits are held in one number."""
FIELD = 0xFFFF
MOST_SHEETS = 254


@njit
def sheets_of(counts: int, kind: int) -> int:
    """Read one of the counts of `count_sheets`.

    Parameters
    ----------
    counts : int
        The four counts.
    kind : int
        `LIT`, `UNLIT`, `FOLDED` or `PRESSED`.

    Returns
    -------
    int
        Number of sheets.
    """
    return (counts >> kind) & FIELD


@njit
def place_profile(
    radar: RadarModel,
    time: float,
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
    place: NDArray[np.float64],
) -> None:
    """Find the samples in which the points of a profile are seen.

    Parameters
    ----------
    radar : RadarModel
        The model.
    time : float
        Zero-Doppler time of the profile in seconds.
    outward, downward : array, shape (n,)
        Coordinates of the profile in metres; NaN where there is no terrain.
    place : array, shape (n,)
        Receives the sample of each point; NaN where there is none.
    """
    segment = radar_segment(radar, time)
    for i in range(outward.size):
        slant_range = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        place[i] = sample(radar, segment, stamp(radar, time, slant_range), slant_range)


@njit
def _next_sample(place: float, samples: int) -> int:
    """First sample of an image whose centre lies beyond a place."""
    return int(min(max(math.floor(place) + 1.0, 0.0), float(samples)))


@njit
def count_sheets(
    place: NDArray[np.float64], category: NDArray[np.uint8], sheets: NDArray[np.int64]
) -> None:
    """Count for each sample how many sheets of terrain lie at its slant range.

    Parameters
    ----------
    place : array, shape (n,)
        Sample of each point of a profile, from `place_profile`.
    category : array, shape (n,)
        Category of each point, from `sarheight_kernels.profiles.classify`.
    sheets : array, shape (samples + 1,)
        Receives for the centre of each sample the numbers of sheets, see `sheets_of`; then a 0.
    """
    samples = sheets.size - 1
    begin, end = np.empty(place.size - 1, np.int32), np.empty(place.size - 1, np.int32)
    kind = np.empty(place.size - 1, np.int64)
    for i in range(kind.size):
        here, there = place[i], place[i + 1]
        void = math.isnan(here + there)
        begin[i] = 0 if void else _next_sample(min(here, there), samples)
        end[i] = 0 if void else _next_sample(max(here, there), samples)
    for i in range(kind.size):
        here, there = category[i], category[i + 1]
        folded = (here == ACTIVE_LAYOVER) & (there == ACTIVE_LAYOVER)
        pressed = (here == FORESHORTENING) | (there == FORESHORTENING)
        unlit = (here >= ACTIVE_SHADOW) & (there >= ACTIVE_SHADOW)
        lit = (1 << LIT) + (folded << FOLDED) + (pressed << PRESSED)
        kind[i] = 1 << UNLIT if unlit else lit
    sheets[:] = 0
    last = 0
    # What begins at a sample, less what has ended there; from that, what lies at each of them.
    for i in range(kind.size):
        sheets[np.uint64(begin[i])] += kind[i]
        sheets[np.uint64(end[i])] -= kind[i]
        last = max(last, end[i])
    counts = 0
    for s in range(last + 1):
        counts += sheets[s]
        sheets[s] = counts


@njit
def count_folds(
    place: NDArray[np.float64],
    category: NDArray[np.uint8],
    sheets: NDArray[np.int64],
    fold_count: NDArray[np.uint8],
) -> None:
    """Find how many lit sheets of terrain lie at the slant range of each point of a profile.

    Parameters
    ----------
    place, category, sheets
        As in `count_sheets`, which the sheets are from.
    fold_count : array, shape (n,)
        Receives the number; 255 where a point lies outside the image or has no terrain.
    """
    samples = sheets.size - 1
    nearest, lit = np.empty(place.size, np.int32), np.empty(place.size, np.int32)
    for i in range(place.size):
        at = math.floor(place[i] + 0.5)
        inside = (at >= 0.0) & (at < samples) & (category[i] != NO_DATA)
        nearest[i] = np.int32(at if inside else samples)
    for i in range(place.size):
        lit[i] = sheets[np.uint64(nearest[i])] & FIELD
    for i in range(place.size):
        # A point that is lit counts, even where its sheet does not reach the sample's centre.
        least = 1 if category[i] < ACTIVE_SHADOW else 0
        folds = min(max(lit[i], least), MOST_SHEETS)
        fold_count[i] = folds if nearest[i] < samples else NO_DATA
