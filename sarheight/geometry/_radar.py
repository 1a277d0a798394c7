"""Turn a radar grid and an orbit into the tables that the kernels read."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from sarheight_kernels.models import RadarModel

from sarheight._constants import SPEED_OF_LIGHT
from sarheight._viewing import look_sign

if TYPE_CHECKING:
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = ["radar_model"]

DEGREE = 12
"""Degree of the polynomials from slant range to ground range."""
TO_POWERS = np.array(
    [
        np.pad(chebyshev.cheb2poly(unit[: degree + 1]), (0, DEGREE - degree))
        for degree, unit in enumerate(np.eye(DEGREE + 1))
    ]
)
"""Coefficients of powers of each Chebyshev polynomial."""
RANGE_MARGIN, LEAST_MARGIN = 0.1, 10_000.0
"""How far beyond the edges of the image its polynomials are fitted: part of its width, and
metres of ground range at least. Farther out they are continued by a straight line."""


class _Sampling(NamedTuple):
    """The range sampling as the kernels hold it, see `RadarModel`."""

    segment_start: NDArray[np.float64]
    segment_origin: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    rate: NDArray[np.float64]
    range_middle: float
    range_half: float


def _slant_sampling(grid: RadarGrid) -> _Sampling:
    return _Sampling(
        np.zeros(1),
        np.zeros(1),
        np.array([[0.0, 1.0]]),
        np.zeros((1, 2)),
        grid.near_range,
        grid.sample_spacing,
    )


def _ground_sampling(grid: RadarGrid) -> _Sampling:
    """Fit samples in powers of slant range at each record, and how they go from one to the next.

    The polynomials are fitted to the grid's own conversion, so that both agree.
    """
    records = grid.ground_range
    if records is None:
        msg = "found a slant-range grid, expected one in ground range"
        raise ValueError(msg)
    times = np.asarray(records.time, dtype=np.float64)
    nodes = chebyshev.chebpts1(8 * DEGREE)
    extent = grid.samples * grid.sample_spacing
    margin = max(RANGE_MARGIN * extent, LEAST_MARGIN)
    ground = grid.sample_zero_ground + np.array([-margin, extent + margin])
    edges = records.slant(ground[None, :], times[:, None])
    middle, half = 0.5 * (edges.min() + edges.max()), 0.5 * (edges.max() - edges.min())
    samples = (
        records.ground((middle + half * nodes)[None, :], times[:, None]) - grid.sample_zero_ground
    ) / grid.sample_spacing
    coefficients = chebyshev.chebfit(nodes, samples.T, DEGREE).T @ TO_POWERS
    if records.interpolation == "nearest":
        start = np.concatenate((times[:1], 0.5 * (times[1:] + times[:-1])))
        rate = np.zeros_like(coefficients)
        return _Sampling(start, times, coefficients, rate, middle, half)
    # One segment before the first record, where nothing changes, then one behind each record.
    rate = np.zeros((times.size + 1, DEGREE + 1))
    rate[1:-1] = np.diff(coefficients, axis=0) / np.diff(times)[:, None]
    return _Sampling(
        np.concatenate((times[:1] - 1.0, times)),
        np.concatenate((times[:1], times)),
        np.concatenate((coefficients[:1], coefficients)),
        rate,
        middle,
        half,
    )


def _continued(orbit: Orbit) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Continue an orbit table by straight flight at both ends.

    The image lies within the orbit. Places far from it are seen, if at all, at times that the
    orbit does not cover, where polynomials of degree seven could put them anywhere; straight
    flight keeps them away from the image.
    """
    times = np.array([orbit.time[0], orbit.stop])
    position, velocity = orbit.state(times)
    straight = np.zeros((2, *orbit.coefficients.shape[1:]))
    straight[:, 0], straight[:, 1] = position, velocity
    beat = orbit.time[1] - orbit.time[0]
    straight[0, 0] -= beat * velocity[0]
    return (
        np.concatenate((times[:1] - beat, orbit.start, times[1:])),
        np.concatenate((straight[:1], orbit.coefficients, straight[1:])),
    )


def radar_model(grid: RadarGrid, orbit: Orbit) -> RadarModel:
    """Make the radar model of an image.

    Parameters
    ----------
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the lines.

    Returns
    -------
    RadarModel
        Tables for the kernels; times count from the epoch of `grid`.

    Raises
    ------
    OrbitCoverageError
        If the state vectors do not cover the lines.
    """
    orbit = orbit.with_epoch(grid.epoch)
    orbit.require_cover(grid.first_time, grid.last_time)
    start, coefficients = _continued(orbit)
    sampling = _slant_sampling(grid) if grid.ground_range is None else _ground_sampling(grid)
    return RadarModel(
        orbit_start=start,
        orbit_coefficients=coefficients,
        line_zero_time=float(grid.line_zero_time),
        line_interval=float(grid.line_interval),
        stamp_range=0.0 if grid.stamp_range is None else grid.stamp_range,
        shear=0.0 if grid.stamp_range is None else 1.0 / SPEED_OF_LIGHT,
        side=look_sign(grid.look_side),
        **sampling._asdict(),
    )
