"""One image of the swaths of an SLC.

Swaths look at neighbouring strips of ground, in turn, and overlap a little. The processor puts all
of them on one grid of slant range and azimuth time, of which each file is a part: in real
annotations swaths lie 1e-9 samples and 5e-4 lines (1 µs) beside whole pixels of each other. They
share the range at which stamps are zero-Doppler times, too, to within 60 m, or 0.2 µs; whatever
differs there is counted as a shift of the lines. So merging moves swaths by whole pixels and cuts
their overlaps; power is neither resampled nor blended.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sarheight.errors import ProductError
from sarheight.sentinel1._deburst import AZIMUTH_TOLERANCE, Piece

if TYPE_CHECKING:
    from sarheight.scene import RadarGrid

__all__ = ["RANGE_TOLERANCE", "merged_grid", "merged_pieces"]

RANGE_TOLERANCE = 0.05
"""Metres of slant range by which samples may lie beside those of the grid that they are put on."""

SPACING_TOLERANCE = 1e-8
"""Share by which the sampling of swaths may differ: over a whole image, 0.3 µs and 1 mm."""


def merged_grid(grids: Sequence[RadarGrid]) -> tuple[RadarGrid, tuple[tuple[int, int], ...]]:
    """Find the grid of which the grids of swaths are parts.

    Parameters
    ----------
    grids : sequence of RadarGrid
        Slant-range grids of swaths of one image, one or more.

    Returns
    -------
    grid : RadarGrid
        It covers all of them, has the epoch of the first, and no bursts. For every swath its
        times are right to 0.1 ms and its ranges to 0.05 m; those of real products to 1 µs and
        less than a micrometre.
    offsets : tuple of (int, int)
        Line and sample of it at which each swath begins.

    Raises
    ------
    ProductError
        If the swaths are not of one image, or were not sampled in step.
    """
    first = grids[0]
    same = [grid.with_epoch(first.epoch) for grid in grids]
    for grid in same[1:]:
        _require_same_image(first, grid)
    offsets = [_offset(first, grid) for grid in same]
    line, sample = (min(each) for each in zip(*offsets, strict=True))
    offsets = [(each[0] - line, each[1] - sample) for each in offsets]
    _require_overlap(same, offsets)
    return (
        replace(
            first,
            line_zero_time=float(first.azimuth_time(line)),
            near_range=float(first.slant_range(0, sample)),
            lines=max(each[0] + grid.lines for each, grid in zip(offsets, same, strict=True)),
            samples=max(each[1] + grid.samples for each, grid in zip(offsets, same, strict=True)),
            swath="+".join(grid.swath for grid in same),
            bursts=(),
        ),
        tuple(offsets),
    )


def merged_pieces(swaths: Sequence[Sequence[Piece]]) -> tuple[Piece, ...]:
    """Cut swaths in the middle of their overlaps.

    Bursts of neighbouring swaths begin at other lines, and their valid samples differ by some
    tens: lines are taken in stretches on which nothing changes, and on each of them the cut is
    in the middle of the samples that are valid in both swaths. Where one of them has no data,
    the other is not cut.

    Parameters
    ----------
    swaths : sequence of sequence of Piece
        Pieces of each swath on the merged grid. No two of a swath share a line.

    Returns
    -------
    tuple of Piece
        Without overlaps.
    """
    pieces = [piece for swath in swaths for piece in swath]
    borders = sorted({line for piece in pieces for line in piece.lines})
    merged: list[Piece] = []
    for lines in itertools.pairwise(borders):
        found = [part for piece in pieces if (part := piece.within(lines, piece.samples))]
        merged += _cut_row(sorted(found, key=lambda piece: piece.samples))
    return tuple(merged)


def _cut_row(row: list[Piece]) -> list[Piece]:
    """Cut pieces of the same lines, in order of samples, where they overlap."""
    cut: list[Piece] = []
    begin = 0
    for piece, after in itertools.zip_longest(row, row[1:]):
        end = piece.samples[1]
        middle = end if after is None else (end + max(after.samples[0], begin)) // 2
        part = piece.within(piece.lines, (begin, min(end, middle)))
        if part is not None:
            cut.append(part)
            begin = part.samples[1]
    return cut


def _require_same_image(first: RadarGrid, other: RadarGrid) -> None:
    """Check that swaths come from one image, taken and sampled in one way."""
    for name in ("mission", "mode", "product", "polarisations", "look_side"):
        found = getattr(first, name), getattr(other, name)
        if found[0] != found[1]:
            msg = (
                f"swaths {first.swath} and {other.swath} differ in {name}: found {found[0]!r} and "
                f"{found[1]!r}; expected swaths of one image, open them one by one"
            )
            raise ProductError(msg)
    for name in ("line_interval", "sample_spacing", "wavelength"):
        ratio = getattr(other, name) / getattr(first, name)
        if abs(ratio - 1.0) > SPACING_TOLERANCE:
            msg = (
                f"swaths {first.swath} and {other.swath} differ in {name}, by a factor of "
                f"{ratio:.12g}; expected one grid for all, open them one by one"
            )
            raise ProductError(msg)
    if (first.stamp_range is None) != (other.stamp_range is None):
        msg = (
            f"of swaths {first.swath} and {other.swath} one has lines that are corrected for the "
            "travel time of the pulse, and one has not; open them one by one"
        )
        raise ProductError(msg)


def _offset(first: RadarGrid, other: RadarGrid) -> tuple[int, int]:
    """Return the line and sample of the first grid at which another one begins."""
    # The time at one range, so that it matters where each was corrected to.
    range_there = other.near_range
    later = float(other.azimuth_time(0, range_there) - first.azimuth_time(0, range_there))
    farther = range_there - first.near_range
    line = round(later / first.line_interval)
    sample = round(farther / first.sample_spacing)
    beside = later - line * first.line_interval, farther - sample * first.sample_spacing
    if abs(beside[0]) > AZIMUTH_TOLERANCE or abs(beside[1]) > RANGE_TOLERANCE:
        msg = (
            f"swath {other.swath} lies {1e3 * beside[0]:.3f} ms and {beside[1]:.3f} m beside the "
            f"pixels of {first.swath}, expected less than {1e3 * AZIMUTH_TOLERANCE:g} ms and "
            f"{RANGE_TOLERANCE:g} m: they do not share a grid, open them one by one"
        )
        raise ProductError(msg)
    return line, sample


def _require_overlap(grids: Sequence[RadarGrid], offsets: Sequence[tuple[int, int]]) -> None:
    """Check that swaths were taken at the same time: those of other passes share no lines."""
    begin = max(line for line, _ in offsets)
    end = min(line + grid.lines for (line, _), grid in zip(offsets, grids, strict=True))
    if begin >= end:
        times = ", ".join(f"{grid.swath} from {_utc(grid)}" for grid in grids)
        msg = (
            f"found swaths that were taken one after the other ({times}), expected those of one "
            "pass: they have no lines in common"
        )
        raise ProductError(msg)


def _utc(grid: RadarGrid) -> np.datetime64:
    return grid.epoch + np.timedelta64(round(grid.first_time * 1e9), "ns")
