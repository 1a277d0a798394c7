"""Layover, shadow and fold counts of a DEM, by profiles through it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.doppler import is_squinted
from sarheight_kernels.masks import (
    classify_image,
    classify_profiles,
    illuminate_profiles,
    profiles_to_cells,
)
from sarheight_kernels.models import GroundModel, locate_cell
from sarheight_kernels.pool import spread_rows
from sarheight_kernels.profiles import NO_DATA, Scan

from sarheight.dem.layout import height_range

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.grid import RadarGrid

FORESHORTENING_THRESHOLD = 0.5
"""Slopes whose slant range grows by less than this part of flat ground's are foreshortened."""


@dataclass(frozen=True, eq=False)
class ProfileLayout:
    """Position of the profiles, in planes of zero Doppler, along which a DEM is scanned."""

    transposed: bool  # whether the line of sight runs along the rows of the DEM
    reference_height: float  # height at which profiles are followed, in metres
    # Zero-Doppler time of the first profile and time between profiles, in seconds: profiles are
    # at most one row apart.
    first_time: float
    interval: float
    count: int  # number of profiles


def _transposed(ground: GroundModel) -> GroundModel:
    return GroundModel(
        ground.patch_columns,
        ground.patch_rows,
        ground.half_columns,
        ground.half_rows,
        np.ascontiguousarray(ground.coefficients.transpose(1, 0, 3, 2, 4)),
    )


def _span(geometry: PassGeometry, height: float) -> tuple[float, float]:
    """Find the first and last time at which the DEM is seen.

    It is that at one height, as planes of zero Doppler stand upright; cones of a squinted image
    lean, and see high and low places at other times.
    """
    heights = {height}
    if is_squinted(geometry.radar):
        lowest, highest = map(float, height_range(geometry.heights))
        heights |= set() if math.isnan(lowest) else {lowest, highest}
    times = np.stack([_times(geometry, each) for each in heights])
    return float(times.min()), float(times.max())


def _times(geometry: PassGeometry, height: float) -> NDArray[np.float64]:
    """Find the times at which 5 x 5 cells across the DEM are seen, shape (5, 5)."""
    rows, columns = (np.linspace(0.0, max(n - 1.0, 1.0), 5) for n in geometry.heights.shape)
    ground, radar = geometry.ground, geometry.radar
    times = [
        [
            locate_cell(ground, radar, row, column, height, radar.line_zero_time)[2]
            for column in columns
        ]
        for row in rows
    ]
    return np.array(times)


def line_times(grid: RadarGrid) -> NDArray[np.float64]:
    """Return the zero-Doppler times of lines in the middle of the swath, shape (lines,)."""
    lines = np.arange(grid.lines)
    return grid.azimuth_time(lines, grid.slant_range(lines, 0.5 * (grid.samples - 1)))


def profile_layout(geometry: PassGeometry, height: float) -> ProfileLayout:
    """Choose the profiles along which a DEM is scanned."""
    rows, columns = geometry.heights.shape
    times = _times(geometry, height)
    per_row = np.abs(np.diff(times, axis=0)) / (max(rows - 1.0, 1.0) / 4.0)
    per_column = np.abs(np.diff(times, axis=1)) / (max(columns - 1.0, 1.0) / 4.0)
    transposed = bool(per_row.mean() < per_column.mean())
    interval = float((per_column if transposed else per_row).min())
    # Half a row more on each side than the cells' centres reach.
    first, last = float(times.min() - interval), float(times.max() + interval)
    # As many profiles more as cones that lean need, in step with the others.
    begin, end = _span(geometry, height)
    first -= interval * np.ceil(max(first - begin, 0.0) / interval)
    last = max(last, end)
    count = int(np.ceil((last - first) / interval)) + 1
    return ProfileLayout(transposed, height, first, interval, count)


def terrain_profiles(
    geometry: PassGeometry, layout: ProfileLayout | None = None
) -> tuple[Scan, ProfileLayout]:
    """Lay profiles through a DEM, or those of a larger DEM's layout that it needs.

    Returns what the kernels scan, transposed where the layout says so, and that layout.
    """
    heights, ground = geometry.heights, geometry.ground
    if layout is None:
        lowest, highest = height_range(heights)
        layout = profile_layout(geometry, float(0.5 * (lowest + highest)))
        skipped, count = 0, layout.count
    else:
        begin, end = (
            (time - layout.first_time) / layout.interval
            for time in _span(geometry, layout.reference_height)
        )
        skipped = max(int(np.floor(begin)) - 2, 0)
        count = max(min(int(np.ceil(end)) + 3, layout.count) - skipped, 1)
    if layout.transposed:
        heights, ground = spread_rows(np.asarray, heights.T), _transposed(ground)
    first = layout.first_time + skipped * layout.interval
    layout = replace(layout, first_time=first, count=count)
    times = layout.first_time, layout.interval
    return Scan(ground, geometry.radar, heights, *times, layout.reference_height), layout


def classify_cells(
    geometry: PassGeometry,
    foreshortening: float = FORESHORTENING_THRESHOLD,
    layout: ProfileLayout | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classify the cells of a DEM and find their fold counts.

    Returns `category, fold_count`, shape (rows, columns).
    """
    (scan, layout), radar = terrain_profiles(geometry, layout), geometry.radar
    along = np.empty((2, layout.count, scan.heights.shape[1]), np.uint8)
    classify_profiles(scan, foreshortening, geometry.grid.samples, along[0], along[1])
    time = layout.first_time + layout.interval * np.arange(layout.count)
    line = (time - radar.line_zero_time) / radar.line_interval
    along[1, (line < -0.5) | (line > geometry.grid.lines - 0.5)] = NO_DATA
    cells = _on_cells(scan, along, transposed=layout.transposed)
    return cells[0], cells[1]


def illuminated_cells(
    geometry: PassGeometry, layout: ProfileLayout | None = None
) -> NDArray[np.bool_]:
    """Find the cells of a DEM that the radar illuminates, shape (rows, columns).

    These are the cells that `classify_cells` finds neither void nor in shadow, found faster.
    """
    scan, layout = terrain_profiles(geometry, layout)
    along = np.empty((1, layout.count, scan.heights.shape[1]), np.uint8)
    illuminate_profiles(scan, along[0])
    illuminated: NDArray[np.bool_] = _on_cells(scan, along, transposed=layout.transposed)[0] == 1
    return illuminated


def _on_cells(scan: Scan, along: NDArray[np.uint8], *, transposed: bool) -> NDArray[np.uint8]:
    """Transfer layers of values along profiles to the cells, shape (layers, rows, columns)."""
    cells = np.empty((along.shape[0], *scan.heights.shape), np.uint8)
    profiles_to_cells(scan, along, cells)
    if not transposed:
        return cells
    return spread_rows(np.asarray, cells.transpose(0, 2, 1), dtype=np.uint8)


def classify_pixels(
    geometry: PassGeometry, foreshortening: float = FORESHORTENING_THRESHOLD
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classify the pixels of an image and find their fold counts.

    Returns `category, fold_count`, shape (lines, samples).
    """
    scan, _ = terrain_profiles(geometry)
    shape = geometry.grid.shape
    category, fold_count = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    classify_image(scan, line_times(geometry.grid), foreshortening, category, fold_count)
    return category, fold_count
