"""The radar grid that a Sentinel-1 annotation describes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._bursts import bursts_of_annotation
from sarheight._constants import SPEED_OF_LIGHT
from sarheight._ground_range import ground_range_of_annotation
from sarheight._radar_grid import RadarGrid
from sarheight._time import seconds_between, whole_second

if TYPE_CHECKING:
    from sarheight._annotation import Annotation

__all__ = ["burst_grid", "swath_grid"]

EQUIVALENT_LOOKS = {
    ("SM", 3.5): 3.7,
    ("SM", 10.0): 29.7,
    ("SM", 40.0): 398.4,
    ("IW", 10.0): 4.4,
    ("IW", 40.0): 81.8,
    ("EW", 25.0): 2.7,
    ("EW", 40.0): 10.7,
    ("WV", 25.0): 123.7,
}
"""Looks of ground-range products by mode and pixel spacing in metres: Sentinel-1 Product
Definition, S1-RS-MDA-52-7440, table 5-1."""


def swath_grid(annotation: Annotation) -> RadarGrid:
    """Make the grid of a GRD, or the continuous grid of an SLC's swath."""
    epoch = whole_second(annotation.first_line_time)
    ground_range = (
        ground_range_of_annotation(annotation, epoch) if annotation.product_type == "GRD" else None
    )
    bursts = bursts_of_annotation(annotation, epoch)
    first_time = (
        bursts[0].azimuth_time if bursts else seconds_between(epoch, annotation.first_line_time)
    )
    return RadarGrid(
        epoch=epoch,
        line_zero_time=first_time,
        line_interval=annotation.line_interval,
        lines=bursts[-1].first_line + bursts[-1].lines if bursts else annotation.lines,
        samples=annotation.samples,
        near_range=SPEED_OF_LIGHT / 2 * annotation.slant_range_time,
        sample_spacing=(
            SPEED_OF_LIGHT / (2 * annotation.range_sampling_rate)
            if ground_range is None
            else annotation.range_spacing
        ),
        wavelength=SPEED_OF_LIGHT / annotation.radar_frequency,
        ground_range=ground_range,
        stamp_range=_stamp_range(annotation, epoch),
        looks=_looks(annotation),
        polarisations=(annotation.polarisation,),
        mission=annotation.mission,
        mode=annotation.mode,
        product=annotation.product_type,
        swath=annotation.swath,
        bursts=bursts,
    )


def burst_grid(grid: RadarGrid, index: int, name: str) -> RadarGrid:
    """Take one burst's own grid out of that of its swath.

    Raises
    ------
    IndexError
        If there is no such burst.
    """
    if not 0 <= index < len(grid.bursts):
        found = f"{len(grid.bursts)} bursts, counted from 0" if grid.bursts else "no bursts"
        msg = f"{name} has {found}, found burst={index}: pass one of them, or leave it out"
        raise IndexError(msg)
    burst = grid.bursts[index]
    return replace(
        grid,
        line_zero_time=burst.azimuth_time,
        lines=burst.lines,
        bursts=(replace(burst, first_line=0),),
    )


def _stamps(annotation: Annotation, epoch: np.datetime64) -> NDArray[np.float64]:
    """Return the stamps of the geolocation grid's lines in seconds, shape (n,)."""
    line = annotation.geolocation.line
    if annotation.bursts:
        burst = np.minimum(line // annotation.lines_per_burst, len(annotation.bursts) - 1)
        begins = np.array([seconds_between(epoch, each.azimuth_time) for each in annotation.bursts])
        begin, line = begins[burst], line - burst * annotation.lines_per_burst
    else:
        begin = np.array([seconds_between(epoch, annotation.first_line_time)])
    return begin + annotation.line_interval * line.astype(np.float64)


def _stamp_range(annotation: Annotation, epoch: np.datetime64) -> float | None:
    """Find the slant range at which the stamps of lines are their zero-Doppler times.

    The annotation does not name it: ESA's geolocation grid shows it, whose times grow along each
    line by the one-way travel time. None where they do not, as in products without the bistatic
    correction.
    """
    points = annotation.geolocation
    times = np.array([seconds_between(epoch, time) for time in points.azimuth_time])
    later = times - _stamps(annotation, epoch)
    slant_range = SPEED_OF_LIGHT / 2 * points.slant_range_time
    stamp_range = float(np.median(slant_range - SPEED_OF_LIGHT * later))
    explained = later - (slant_range - stamp_range) / SPEED_OF_LIGHT
    return stamp_range if np.abs(explained).max() < 0.5 * np.abs(later).max() else None


def _looks(annotation: Annotation) -> float:
    if annotation.product_type == "SLC":
        return 1.0
    spacing = round(annotation.range_spacing, 1)
    return EQUIVALENT_LOOKS.get((annotation.mode, spacing), float(annotation.processed_looks))
