"""Radar coordinates of one cell, solved exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.models import (
    GroundModel,
    RadarModel,
    ground_block,
    ground_position,
    radar_segment,
    sample,
    stamp,
)
from sarheight_kernels.orbit import evaluate_orbit
from sarheight_kernels.zero_doppler import zero_doppler_time

__all__ = ["box_bounds", "cell_on_look_side", "locate_cell"]

SLACK = 2.0
"""Lines and samples added around a box of cells, for the bend of its edges."""


@njit
def locate_cell(
    ground: GroundModel,
    radar: RadarModel,
    row: float,
    column: float,
    height: float,
    guess: float,
) -> tuple[float, float, float, float]:
    """Solve for the radar coordinates of one cell exactly.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    row, column : float
        The cell.
    height : float
        Height above the ellipsoid in metres.
    guess : float
        Zero-Doppler time to begin with, in seconds.

    Returns
    -------
    tuple of float
        Line, sample, zero-Doppler time in seconds and slant range in metres; NaN where there
        is no solution.
    """
    down, across = ground_block(ground, row, column)
    x, y, z, nx, ny, nz = ground_position(ground, down, across, row, column)
    x += height * nx
    y += height * ny
    z += height * nz
    time = zero_doppler_time(x, y, z, guess, radar.orbit_start, radar.orbit_coefficients)
    px, py, pz, _, _, _, _, _, _ = evaluate_orbit(time, radar.orbit_start, radar.orbit_coefficients)
    slant_range = math.sqrt((x - px) ** 2 + (y - py) ** 2 + (z - pz) ** 2)
    stamped = stamp(radar, time, slant_range)
    line = (stamped - radar.line_zero_time) / radar.line_interval
    across_track = sample(radar, radar_segment(radar, stamped), stamped, slant_range)
    return line, across_track, time, slant_range


@njit
def cell_on_look_side(ground: GroundModel, radar: RadarModel, row: float, column: float) -> bool:
    """Tell whether a cell lies on the side to which the radar looks.

    A point and its mirror image beyond the satellite's track share time and slant range, so
    nothing else tells them apart.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    row, column : float
        The cell, taken at height zero.

    Returns
    -------
    bool
        True where the radar looks.
    """
    _, _, time, _ = locate_cell(ground, radar, row, column, 0.0, radar.line_zero_time)
    down, across = ground_block(ground, row, column)
    x, y, z, _, _, _ = ground_position(ground, down, across, row, column)
    px, py, pz, vx, vy, vz, _, _, _ = evaluate_orbit(
        time, radar.orbit_start, radar.orbit_coefficients
    )
    # Seen from above, position x velocity points to the left of the track.
    left = (
        (py * vz - pz * vy) * (x - px)
        + (pz * vx - px * vz) * (y - py)
        + (px * vy - py * vx) * (z - pz)
    )
    return bool(-radar.side * left > 0.0)


@njit
def box_bounds(
    ground: GroundModel,
    radar: RadarModel,
    row: float,
    end_row: float,
    column: float,
    end_column: float,
    lowest: float,
    highest: float,
    bound: NDArray[np.float64],
) -> None:
    """Find which part of the image a box of cells can light.

    Parameters
    ----------
    ground, radar : GroundModel, RadarModel
        The models.
    row, end_row, column, end_column : float
        The cells at the corners.
    lowest, highest : float
        Span of the heights in metres; NaN where all are void.
    bound : array, shape (4,)
        Receives the least and the greatest line, the least and the greatest sample; an empty span
        (inf, -inf) where the box is void, and (-inf, inf, inf, -inf) where it lies on the side to
        which the radar does not look.
    """
    bound[0] = bound[2] = math.inf
    bound[1] = bound[3] = -math.inf
    if math.isnan(lowest):
        return
    if not cell_on_look_side(ground, radar, 0.5 * (row + end_row), 0.5 * (column + end_column)):
        bound[0], bound[1] = -math.inf, math.inf
        return
    time = radar.line_zero_time
    for corner in range(8):
        line, across, time, _ = locate_cell(
            ground,
            radar,
            end_row if corner & 1 else row,
            end_column if corner & 2 else column,
            highest if corner & 4 else lowest,
            time if math.isfinite(time) else radar.line_zero_time,
        )
        bound[0], bound[1] = min(bound[0], line - SLACK), max(bound[1], line + SLACK)
        bound[2], bound[3] = min(bound[2], across - SLACK), max(bound[3], across + SLACK)
