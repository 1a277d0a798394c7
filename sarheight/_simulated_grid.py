"""Radar grids of simulated images."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from sarheight_kernels.zero_doppler import zero_doppler_time

from sarheight._ground_range import ground_range_over
from sarheight._radar_grid import RadarGrid
from sarheight._viewing import LookSide, cartesian, look_sign, points_at_ranges
from sarheight.errors import OrbitCoverageError

if TYPE_CHECKING:
    from sarheight.orbit import Orbit

__all__ = ["grid_over", "ground_speed"]

RECORD_INTERVAL = 1.0
"""Seconds between the ground-range records of a simulated image, as in a GRD."""


def ground_speed(orbit: Orbit, time: float, slant_range: float, side: float) -> float:
    """Return how fast the point seen at zero Doppler runs over the ellipsoid, in m/s."""
    step = 1e-3
    ends = [
        points_at_ranges(*orbit.state(each), np.array([slant_range]), side, 0.0)[0]
        for each in (time - step, time + step)
    ]
    return float(np.linalg.norm(ends[1] - ends[0]) / (2 * step))


def grid_over(
    orbit: Orbit,
    place: tuple[float, float, float],
    shape: tuple[int, int],
    spacing: tuple[float, float],
    look_side: LookSide,
    *,
    ground_range: bool,
    looks: float,
) -> RadarGrid:
    """Make a grid centred on a place; see `sarheight.scene.RadarGrid.over`."""
    lines, samples = shape
    side = look_sign(look_side)
    time, slant_range = _closest_approach(orbit, place, side)
    line_interval = spacing[0] / ground_speed(orbit, time, slant_range, side)
    before = line_interval * (lines - 1) / 2
    orbit.require_cover(time - before, time + before)
    across = spacing[1] * (samples - 1) / 2
    conversion = None
    if ground_range:
        records = max(math.ceil(before / RECORD_INTERVAL), 1)
        times = time + RECORD_INTERVAL * np.arange(-records, records + 1)
        times = np.clip(times, orbit.time[0], orbit.stop)
        conversion = ground_range_over(orbit, times, slant_range, across, across, side, place[2])
    return RadarGrid(
        epoch=orbit.epoch,
        line_zero_time=time - before,
        line_interval=line_interval,
        lines=lines,
        samples=samples,
        near_range=(
            slant_range - across
            if conversion is None
            else float(conversion.slant(0.0, time - before))
        ),
        sample_spacing=spacing[1],
        look_side=look_side,
        ground_range=conversion,
        looks=looks,
        product="simulated",
    )


def _closest_approach(
    orbit: Orbit, place: tuple[float, float, float], side: float
) -> tuple[float, float]:
    """Return zero-Doppler time and slant range of a place on the given side of the orbit."""
    latitude, longitude, height = place
    point = cartesian(latitude, longitude, height)
    # A long orbit passes a place more than once: begin at the vector that is nearest to it.
    guess = orbit.time[np.argmin(np.linalg.norm(orbit.position - point, axis=1))]
    x, y, z = point.tolist()
    time = zero_doppler_time(x, y, z, guess, orbit.start, orbit.coefficients)
    where = f"latitude {latitude}, longitude {longitude}"
    if not orbit.time[0] <= time <= orbit.stop:
        msg = (
            f"found an orbit ({orbit.source}) that does not pass {where} at zero Doppler, expected "
            "one that does: turn it with sarheight.orbit.look_at, or make it longer"
        )
        raise OrbitCoverageError(msg)
    position, velocity = orbit.state(time)
    sight = point - position
    if side * float(np.cross(sight, velocity) @ position) < 0.0:
        found, wanted = ("left", "right") if side > 0.0 else ("right", "left")
        msg = (
            f"found {where} to the {found} of the orbit, expected it to the {wanted}: pass "
            f"look_side={found!r}, or turn the orbit with sarheight.orbit.look_at"
        )
        raise ValueError(msg)
    return time, float(np.linalg.norm(sight))
