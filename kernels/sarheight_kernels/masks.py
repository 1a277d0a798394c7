"""Masks of layover and shadow, on the ground and in the image, and how often terrain is folded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from sarheight_kernels._numba import F4, F8, I4, I8, U1, njit
from sarheight_kernels.doppler import is_squinted
from sarheight_kernels.models import locate_cell
from sarheight_kernels.pool import spread_over
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    CLEAR,
    FORESHORTENING,
    NO_DATA,
    PASSIVE_LAYOVER,
    PASSIVE_SHADOW,
    RISE,
    Scan,
    classify,
    empty_profile,
    illuminate_profile,
    knot_columns,
    profile_samples,
    trace_profile,
)
from sarheight_kernels.tiles import TILE, tile_box

if TYPE_CHECKING:
    from sarheight_kernels.profiles import Profile

__all__ = ["classify_image", "classify_profiles", "illuminate_profiles", "profiles_to_cells"]


# Crossings: how often a profile passes the slant range of each sample of an image.

ILLUMINATED, SHADOWED, IN_LAYOVER, FORESHORTENED = 0, 16, 32, 48
"""Kinds of crossings: illuminated, in shadow, illuminated and in active layover, illuminated and
foreshortened. Each is counted in 16 bits of one number, from this bit on."""
FIELD = 0xFFFF
LARGEST_FOLD_COUNT = 254


@njit
def crossings_of(counts: int, kind: int) -> int:
    """Read the number of crossings of one kind from a number of `count_crossings`."""
    return (counts >> kind) & FIELD


@njit
def _next_centre(sample: float, samples: int) -> int:
    """Find the first sample of an image whose centre lies beyond a fractional sample."""
    return int(min(max(math.floor(sample) + 1.0, 0.0), float(samples)))


@njit
def count_crossings(profile: Profile, category: U1, crossings: I8) -> None:
    """Count for each sample of an image how often a profile crosses its slant range.

    Points of the profile have a sample, from `profile_samples`, and a category, from `classify`:
    shape (n,). `crossings`, shape (samples + 1,), receives the counts at the centre of each sample,
    see `crossings_of`; then a 0.
    """
    sample, samples = profile.sample, crossings.size - 1
    begin, end, kind = profile.indices[0], profile.indices[1], profile.counts[1:]
    for i in range(kind.size):
        here, there = sample[i], sample[i + 1]
        void = math.isnan(here + there)
        begin[i] = 0 if void else _next_centre(min(here, there), samples)
        end[i] = 0 if void else _next_centre(max(here, there), samples)
    for i in range(kind.size):
        here, there = category[i], category[i + 1]
        in_layover = (here == ACTIVE_LAYOVER) & (there == ACTIVE_LAYOVER)
        foreshortened = (here == FORESHORTENING) | (there == FORESHORTENING)
        shadowed = (here >= ACTIVE_SHADOW) & (there >= ACTIVE_SHADOW)
        illuminated = 1 << ILLUMINATED
        illuminated += (in_layover << IN_LAYOVER) + (foreshortened << FORESHORTENED)
        kind[i] = 1 << SHADOWED if shadowed else illuminated
    crossings[:] = 0
    last = 0
    # Differences first: what begins at a sample, less what has ended there. Their cumulative sum
    # is the count.
    for i in range(kind.size):
        crossings[np.uint64(begin[i])] += kind[i]
        crossings[np.uint64(end[i])] -= kind[i]
        last = max(last, end[i])
    counts = 0
    for s in range(last + 1):
        counts += crossings[s]
        crossings[s] = counts


@njit
def count_folds(profile: Profile, category: U1, crossings: I8, fold_count: U1) -> None:
    """Find the fold counts of a profile's points: illuminated crossings at their range.

    Arguments are those of `count_crossings`. `fold_count`, shape (n,), is 255 where a point lies
    outside the image or has no terrain.
    """
    sample, samples = profile.sample, crossings.size - 1
    nearest, illuminated = profile.indices[0], profile.indices[1]
    for i in range(sample.size):
        at = math.floor(sample[i] + 0.5)
        inside = (at >= 0.0) & (at < samples) & (category[i] != NO_DATA)
        nearest[i] = np.int32(at if inside else samples)
    for i in range(sample.size):
        illuminated[i] = crossings[np.uint64(nearest[i])] & FIELD
    for i in range(sample.size):
        # An illuminated point counts, even where its crossing does not reach the sample's centre.
        least = 1 if category[i] < ACTIVE_SHADOW else 0
        count = min(max(illuminated[i], least), LARGEST_FOLD_COUNT)
        fold_count[i] = count if nearest[i] < samples else NO_DATA


# Along profiles, on the cells of a DEM, and in an image.


@spread_over("category")
@njit
def classify_profiles(
    begin: int,
    end: int,
    scan: Scan,
    foreshortening: float,
    samples: int,
    category: U1,
    fold_count: U1,
) -> None:
    """Classify the terrain along profiles through a DEM.

    Parameters
    ----------
    scan : Scan
        The DEM under the radar.
    foreshortening : float
        Threshold of foreshortening, see `sarheight_kernels.profiles.classify`.
    samples : int
        Samples of the image.
    category, fold_count : array, shape (profiles, columns)
        Receive the category of each point, and the number of times that illuminated terrain crosses
        its slant range (255 where it lies outside the image or has no terrain).
    """
    columns = scan.heights.shape[1]
    knots, profile = knot_columns(scan.ground, columns), empty_profile(columns)
    crossings = np.empty(samples + 1, np.int64)
    for number in range(begin, end):
        time = scan.first_time + number * scan.interval
        trace_profile(knots, scan, time, profile)
        classify(profile, foreshortening, category[number])
        profile_samples(scan.radar, time, profile)
        count_crossings(profile, category[number], crossings)
        count_folds(profile, category[number], crossings, fold_count[number])


@spread_over("illuminated")
@njit
def illuminate_profiles(
    begin: int,
    end: int,
    scan: Scan,
    illuminated: U1,
) -> None:
    """Find what the radar illuminates along profiles through a DEM.

    Parameters
    ----------
    scan : Scan
        The DEM under the radar.
    illuminated : array, shape (profiles, columns)
        Receives 1 where a point is illuminated, 0 where it is in shadow or there is no terrain.
    """
    columns = scan.heights.shape[1]
    knots, profile = knot_columns(scan.ground, columns), empty_profile(columns)
    for number in range(begin, end):
        time = scan.first_time + number * scan.interval
        trace_profile(knots, scan, time, profile)
        illuminate_profile(profile, illuminated[number])


@njit
def _bilinear(corners: F8, u: float, v: float) -> float:
    """Interpolate between four corners."""
    top = corners[0, 0] + v * (corners[0, 1] - corners[0, 0])
    bottom = corners[1, 0] + v * (corners[1, 1] - corners[1, 0])
    return float(top + u * (bottom - top))


@njit
def _find_nearest(
    first: float, step: float, lean: F8, heights: F4, reference: float, profiles: int, nearest: I4
) -> None:
    """Find the profiles that pass nearest to a row of cells of some heights; NaN is the first.

    Above a reference height the index changes by `lean`, shape (2,), by metre: at the first cell,
    and its change from cell to cell. It is 0 but on the leaning cones of a Doppler centroid.
    """
    last = profiles - 1.0
    for j in range(nearest.size):
        rise = (lean[0] + lean[1] * j) * (heights[j] - reference)
        profile = np.floor(first + step * j + rise + 0.5)
        profile = profile if profile > 0.0 else 0.0
        nearest[j] = np.int32(min(profile, last))


@njit
def _corner_profiles(
    scan: Scan, box: tuple[int, int, int, int], height: float, corners: F8
) -> None:
    """Find the fractional profiles that pass the corners of a tile at a height, shape (2, 2)."""
    start = scan.radar.line_zero_time
    for i in range(2):
        for j in range(2):
            row, column = float(box[i]), float(box[2 + j])
            _, _, time, _ = locate_cell(scan.ground, scan.radar, row, column, height, start)
            corners[i, j] = (time - scan.first_time) / scan.interval


@njit
def _copy_values(along: U1, begin: int, wide: int, nearest: I4, heights: F4, values: U1) -> None:
    """Copy the values of the nearest profiles to a row of cells; `begin` is the first value."""
    for j in range(values.size):
        # Unsigned indices are not checked for counting from the end.
        values[j] = along[np.uint64(begin + nearest[j] * wide + j)]
    for j in range(values.size):
        values[j] = NO_DATA if math.isnan(heights[j]) else values[j]


@spread_over("scan.heights", block=TILE)
@njit
def profiles_to_cells(
    begin: int,
    end: int,
    scan: Scan,
    profile_values: U1,
    cell_values: U1,
) -> None:
    """Give each cell of a DEM the values of the profile that passes nearest.

    The index of the profile is computed at the corners of each tile and is bilinear in between. On
    the cones of a Doppler centroid, which lean, it depends on the height of the cell, too.

    Parameters
    ----------
    scan : Scan
        The DEM under the radar.
    profile_values : array, shape (layers, profiles, columns)
        Values along the profiles.
    cell_values : array, shape (layers, rows, columns)
        Receives the values; 255 in voids.
    """
    heights, reference_height = scan.heights, scan.reference_height
    squinted = is_squinted(scan.radar)
    layers, profiles, columns = profile_values.shape
    along = profile_values.reshape(profile_values.size)
    across = (columns + TILE - 1) // TILE
    for tile in range(begin // TILE * across, (end + TILE - 1) // TILE * across):
        row, end_row, column, end_column = tile_box(heights, tile)
        box = row, end_row, column, end_column
        corners, higher, lean = np.empty((2, 2)), np.empty((2, 2)), np.zeros(2)
        _corner_profiles(scan, box, reference_height, corners)
        if squinted:
            _corner_profiles(scan, box, reference_height + RISE, higher)
        nearest = np.empty(end_column - column, np.int32)
        for i in range(row, end_row):
            u = (i - row) / (end_row - row)
            first = _bilinear(corners, u, 0.0)
            step = (_bilinear(corners, u, 1.0) - first) / (end_column - column)
            if squinted:
                lean[0] = (_bilinear(higher, u, 0.0) - first) / RISE
                lean[1] = (_bilinear(higher, u, 1.0) - _bilinear(higher, u, 0.0)) / RISE
                lean[1] = (lean[1] - step * (end_column - column) / RISE) / (end_column - column)
            part = heights[i, column:end_column]
            _find_nearest(first, step, lean, part, reference_height, profiles, nearest)
            for layer in range(layers):
                _copy_values(
                    along,
                    layer * profiles * columns + column,
                    columns,
                    nearest,
                    part,
                    cell_values[layer, i, column:end_column],
                )


@spread_over("category")
@njit
def classify_image(
    begin: int,
    end: int,
    scan: Scan,
    times: F8,
    foreshortening: float,
    category: U1,
    fold_count: U1,
) -> None:
    """Classify the pixels of an image.

    Parameters
    ----------
    scan, foreshortening
        As in `classify_profiles`.
    times : array, shape (lines,)
        Zero-Doppler time of each line in the middle of the image, in seconds.
    category, fold_count : array, shape (lines, samples)
        Receive the category of each pixel and the number of crossings of illuminated terrain at its
        slant range; 255 where there is no terrain. A pixel with several is in layover: active where
        one of them is. A pixel with terrain of which none is illuminated is in shadow.
    """
    columns = scan.heights.shape[1]
    samples = category.shape[1]
    knots, profile = knot_columns(scan.ground, columns), empty_profile(columns)
    along, crossings = np.empty(columns, np.uint8), np.empty(samples + 1, np.int64)
    for line in range(begin, end):
        trace_profile(knots, scan, times[line], profile)
        classify(profile, foreshortening, along)
        profile_samples(scan.radar, times[line], profile)
        count_crossings(profile, along, crossings)
        for s in range(samples):
            counts = crossings[s]
            illuminated, shadowed = (
                crossings_of(counts, ILLUMINATED),
                crossings_of(counts, SHADOWED),
            )
            in_layover = crossings_of(counts, IN_LAYOVER)
            foreshortened = crossings_of(counts, FORESHORTENED)
            fold_count[line, s] = min(illuminated, LARGEST_FOLD_COUNT)
            if illuminated + shadowed == 0:
                fold_count[line, s] = NO_DATA
            if illuminated == 0:
                category[line, s] = PASSIVE_SHADOW if shadowed > 0 else NO_DATA
            elif illuminated > 1:
                category[line, s] = ACTIVE_LAYOVER if in_layover > 0 else PASSIVE_LAYOVER
            else:
                category[line, s] = FORESHORTENING if foreshortened > 0 else CLEAR
