"""Layover, shadow and folds of a DEM, by profiles through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.masks import (
    classify_image,
    classify_profiles,
    illuminate_profiles,
    profiles_to_cells,
)
from sarheight_kernels.models import GroundModel, locate_cell
from sarheight_kernels.profiles import NO_DATA
from sarheight_kernels.tiles import tile_count

if TYPE_CHECKING:
    from sarheight.geometry.pass_geometry import PassGeometry
    from sarheight.grid import RadarGrid

FORESHORTENING_THRESHOLD = 0.5
"""Slopes whose slant range grows by less than this part of flat ground's are foreshortened."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """How profiles in the planes of zero Doppler run through a DEM."""

    # (rows, columns): heights, transposed where the line of sight runs along the rows of the DEM
    heights: NDArray[np.float32]
    ground: GroundModel  # positions, transposed likewise
    transposed: bool  # whether that is so
    reference_height: float  # height at which profiles are followed, in metres
    # First_time, interval: zero-Doppler time of the first profile and time between profiles that
    # are at most one row apart, in seconds
    first_time: float
    interval: float
    count: int  # number of such profiles


def _transposed(ground: GroundModel) -> GroundModel:
    return GroundModel(
        ground.block_columns,
        ground.block_rows,
        ground.half_columns,
        ground.half_rows,
        np.ascontiguousarray(ground.coefficients.transpose(1, 0, 3, 2, 4)),
    )


def _times(geometry: PassGeometry, height: float) -> NDArray[np.float64]:
    """Zero-Doppler times on a 5 x 5 net over the DEM, shape (5, 5)."""
    rows, columns = geometry.heights.shape
    times = [
        [
            locate_cell(
                geometry.ground, geometry.radar, row, column, height, geometry.radar.line_zero_time
            )[2]
            for column in np.linspace(0.0, max(columns - 1.0, 1.0), 5)
        ]
        for row in np.linspace(0.0, max(rows - 1.0, 1.0), 5)
    ]
    return np.array(times)


def line_times(grid: RadarGrid) -> NDArray[np.float64]:
    """Zero-Doppler times of the lines of an image in the middle of the swath, shape (lines,)."""
    lines = np.arange(grid.lines)
    return grid.azimuth_time(lines, grid.slant_range(lines, 0.5 * (grid.samples - 1)))


@dataclass(frozen=True)
class ProfileLayout:
    """Where the profiles of a DEM lie, of which a part of it needs only some."""

    transposed: bool  # transposed, reference_height, first_time, interval, count: as in `Profiles`
    reference_height: float
    first_time: float
    interval: float
    count: int


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
    return ProfileLayout(
        transposed, height, first, interval, int(np.ceil((last - first) / interval)) + 1
    )


def terrain_profiles(geometry: PassGeometry, scan: ProfileLayout | None = None) -> Profiles:
    """Lay profiles through a DEM."""
    if scan is None:
        scan = profile_layout(
            geometry, float(0.5 * (np.nanmin(geometry.heights) + np.nanmax(geometry.heights)))
        )
        skipped, count = 0, scan.count
    else:
        times = (_times(geometry, scan.reference_height) - scan.first_time) / scan.interval
        skipped = max(int(np.floor(times.min())) - 2, 0)
        count = max(min(int(np.ceil(times.max())) + 3, scan.count) - skipped, 1)
    heights, ground = geometry.heights, geometry.ground
    if scan.transposed:
        heights, ground = np.ascontiguousarray(heights.T), _transposed(ground)
    return Profiles(
        heights,
        ground,
        scan.transposed,
        scan.reference_height,
        scan.first_time + skipped * scan.interval,
        scan.interval,
        count,
    )


def classify_cells(
    geometry: PassGeometry,
    foreshortening: float = FORESHORTENING_THRESHOLD,
    laid: ProfileLayout | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classify the cells of a DEM and count the folds they lie in.

    Returns shape `category` (rows, columns), `fold_count` (rows, columns).
    """
    scan = terrain_profiles(geometry, laid)
    shape = (2, scan.count, scan.heights.shape[1])
    along = np.empty(shape, dtype=np.uint8)
    classify_profiles(
        scan.ground,
        geometry.radar,
        scan.heights,
        scan.first_time,
        scan.interval,
        scan.reference_height,
        foreshortening,
        geometry.grid.samples,
        along[0],
        along[1],
    )
    radar = geometry.radar
    time = scan.first_time + scan.interval * np.arange(scan.count)
    line = (time - radar.line_zero_time) / radar.line_interval
    along[1, (line < -0.5) | (line > geometry.grid.lines - 0.5)] = NO_DATA
    cells = _on_cells(geometry, scan, along)
    return cells[0], cells[1]


def illuminated_cells(geometry: PassGeometry) -> NDArray[np.bool_]:
    """Find the cells of a DEM that the radar lights.

    These are the cells that `classify_cells` finds neither void nor in shadow, found faster.
    Returns shape (rows, columns).
    """
    scan = terrain_profiles(geometry)
    along = np.empty((1, scan.count, scan.heights.shape[1]), dtype=np.uint8)
    illuminate_profiles(
        scan.ground,
        geometry.radar,
        scan.heights,
        scan.first_time,
        scan.interval,
        scan.reference_height,
        along[0],
    )
    lit: NDArray[np.bool_] = _on_cells(geometry, scan, along)[0] == 1
    return lit


def _on_cells(
    geometry: PassGeometry, scan: Profiles, along: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Bring layers of values along profiles to the cells, shape (layers, rows, columns)."""
    cells = np.empty((along.shape[0], *scan.heights.shape), dtype=np.uint8)
    profiles_to_cells(
        scan.ground,
        geometry.radar,
        scan.heights,
        scan.first_time,
        scan.interval,
        scan.reference_height,
        along,
        tile_count(scan.heights),
        cells,
    )
    return np.ascontiguousarray(cells.transpose(0, 2, 1)) if scan.transposed else cells


def classify_pixels(
    geometry: PassGeometry, foreshortening: float = FORESHORTENING_THRESHOLD
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classify the pixels of an image and count the folds in them.

    Returns shape `category, fold_count` (lines, samples).
    """
    scan = terrain_profiles(geometry)
    shape = (geometry.grid.lines, geometry.grid.samples)
    category, fold_count = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    classify_image(
        scan.ground,
        geometry.radar,
        scan.heights,
        scan.reference_height,
        line_times(geometry.grid),
        foreshortening,
        category,
        fold_count,
    )
    return category, fold_count
