"""The bursts of an image taken in TOPS mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._time import seconds_between

if TYPE_CHECKING:
    from sarheight._annotation import Annotation, BurstTiming

__all__ = ["Burst", "bursts_of_annotation"]


@dataclass(frozen=True)
class Burst:
    """Where a burst lies in the continuous grid of its swath.

    Attributes
    ----------
    index : int
        Number of the burst in its swath, from 0. In the image file it begins at line
        ``index * lines``.
    first_line : int
        Line of the grid at which the burst begins. Bursts overlap by some 150 lines.
    lines : int
        Number of lines.
    azimuth_time : float
        Time of its first line in seconds since the grid's epoch.
    valid_lines, valid_samples : tuple of int
        First and one past the last line of the burst, and sample, that hold data. The samples
        are valid on each of these lines.
    """

    index: int
    first_line: int
    lines: int
    azimuth_time: float
    valid_lines: tuple[int, int]
    valid_samples: tuple[int, int]


def bursts_of_annotation(annotation: Annotation, epoch: np.datetime64) -> tuple[Burst, ...]:
    """Place the bursts of an SLC in the continuous grid of its swath.

    Parameters
    ----------
    annotation : Annotation
        Annotation of a Sentinel-1 image.
    epoch : datetime64[ns]
        Time from which seconds count.

    Returns
    -------
    tuple of Burst
        Empty where the image has none.
    """
    times = [seconds_between(epoch, burst.azimuth_time) for burst in annotation.bursts]
    return tuple(
        Burst(
            index=index,
            first_line=round((time - times[0]) / annotation.line_interval),
            lines=annotation.lines_per_burst,
            azimuth_time=time,
            valid_lines=_valid_lines(burst),
            valid_samples=_valid_samples(burst),
        )
        for index, (time, burst) in enumerate(zip(times, annotation.bursts, strict=True))
    )


def _valid(burst: BurstTiming) -> NDArray[np.bool_]:
    return (burst.first_valid_sample >= 0) & (burst.last_valid_sample >= 0)


def _valid_lines(burst: BurstTiming) -> tuple[int, int]:
    lines = np.flatnonzero(_valid(burst))
    return (int(lines[0]), int(lines[-1]) + 1) if lines.size else (0, 0)


def _valid_samples(burst: BurstTiming) -> tuple[int, int]:
    valid = _valid(burst)
    if not valid.any():
        return 0, 0
    return (
        int(burst.first_valid_sample[valid].max()),
        int(burst.last_valid_sample[valid].min()) + 1,
    )
