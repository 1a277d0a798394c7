"""One continuous image of the bursts of a swath.

In TOPS mode the antenna sweeps along the track, burst after burst, and neighbouring bursts overlap
by some 120 lines. All of them were sampled in step: in real annotations their first lines lie
within 3e-4 lines (0.6 µs, 4 mm) of whole lines of one grid, which is the microsecond to which
annotations give times. So bursts need no resampling, only a place to cut.

References
----------
Sentinel-1 Product Specification, S1-RSL-52-7441: swathTiming. Sentinel-1 Product Definition,
S1-RS-MDA-52-7440: bursts of all swaths of an SLC are resampled to a common grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sarheight.errors import ProductError

if TYPE_CHECKING:
    from sarheight.scene import Burst, RadarGrid

__all__ = ["AZIMUTH_TOLERANCE", "Piece", "burst_piece", "swath_pieces"]

AZIMUTH_TOLERANCE = 1e-4
"""Seconds by which lines may lie beside those of the grid that they are put on."""


@dataclass(frozen=True)
class Piece:
    """A rectangle of an image that is copied from the file of one swath.

    Attributes
    ----------
    swath : str
        Such as "IW1".
    lines, samples : tuple of int
        First and one past the last line, and sample, of the image.
    file_line, file_sample : int
        Where its first pixel stands in the swath's file.
    """

    swath: str
    lines: tuple[int, int]
    samples: tuple[int, int]
    file_line: int
    file_sample: int

    def moved(self, lines: int, samples: int) -> Piece:
        """Return the piece in an image that begins that much earlier and nearer."""
        return replace(
            self,
            lines=(self.lines[0] + lines, self.lines[1] + lines),
            samples=(self.samples[0] + samples, self.samples[1] + samples),
        )

    def within(self, lines: tuple[int, int], samples: tuple[int, int]) -> Piece | None:
        """Return the part that lies in a window of the image, if there is one."""
        rows = max(self.lines[0], lines[0]), min(self.lines[1], lines[1])
        columns = max(self.samples[0], samples[0]), min(self.samples[1], samples[1])
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            return None
        return replace(
            self,
            lines=rows,
            samples=columns,
            file_line=self.file_line + rows[0] - self.lines[0],
            file_sample=self.file_sample + columns[0] - self.samples[0],
        )


def swath_pieces(grid: RadarGrid, name: str) -> tuple[Piece, ...]:
    """Cut the bursts of a swath in the middle of their overlaps.

    What is cut are the valid lines of the bursts. Where bursts do not meet, lines between them
    belong to no piece.

    Parameters
    ----------
    grid : RadarGrid
        The continuous grid of the swath.
    name : str
        What to call its annotation in errors.

    Returns
    -------
    tuple of Piece
        In order of lines, on the grid of the swath. Bursts without valid pixels give none.

    Raises
    ------
    ProductError
        If there are no bursts, or they were not sampled in step with the grid.
    """
    if not grid.bursts:
        msg = (
            f"{name} describes an image of mode {grid.mode or 'unknown'} without bursts; expected "
            "the SLC of IW or EW: other modes can be opened as GRD"
        )
        raise ProductError(msg)
    for burst in grid.bursts:
        _require_in_step(grid, burst, name)
    pieces = [piece for burst in grid.bursts if (piece := _whole(grid.swath, burst)) is not None]
    cuts = [(before.lines[1] + after.lines[0]) // 2 for before, after in itertools.pairwise(pieces)]
    begins = [None, *cuts]
    ends = [*cuts, None]
    return tuple(
        part
        for piece, begin, end in zip(pieces, begins, ends, strict=True)
        if (part := _between(piece, begin, end)) is not None
    )


def burst_piece(grid: RadarGrid) -> tuple[Piece, ...]:
    """Take all valid pixels of a burst.

    Parameters
    ----------
    grid : RadarGrid
        The burst's own grid.

    Returns
    -------
    tuple of Piece
        One, or none where the burst has no valid pixels.
    """
    (burst,) = grid.bursts
    piece = _whole(grid.swath, burst)
    return () if piece is None else (piece,)


def _require_in_step(grid: RadarGrid, burst: Burst, name: str) -> None:
    beside = burst.azimuth_time - float(grid.azimuth_time(burst.first_line))
    if abs(beside) > AZIMUTH_TOLERANCE:
        msg = (
            f"{name}: burst {burst.index} lies {1e3 * beside:.3f} ms beside the lines of its "
            f"swath, expected less than {1e3 * AZIMUTH_TOLERANCE:g} ms: the annotation is damaged "
            "or of another processor; open its bursts one by one (burst=0, 1, …)"
        )
        raise ProductError(msg)


def _whole(swath: str, burst: Burst) -> Piece | None:
    """Return the valid pixels of a burst."""
    begin, end = burst.valid_lines
    if begin >= end or burst.valid_samples[0] >= burst.valid_samples[1]:
        return None
    return Piece(
        swath=swath,
        lines=(burst.first_line + begin, burst.first_line + end),
        samples=burst.valid_samples,
        file_line=burst.index * burst.lines + begin,
        file_sample=burst.valid_samples[0],
    )


def _between(piece: Piece, begin: int | None, end: int | None) -> Piece | None:
    lines = (
        piece.lines[0] if begin is None else begin,
        piece.lines[1] if end is None else end,
    )
    return piece.within(lines, piece.samples)
