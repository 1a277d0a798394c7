"""Orbits and radar grids made of formulas, for any test that needs a satellite.

Import it as ``from tests.synthetic import circular_orbit, synthetic_grid``.
"""

from __future__ import annotations

from functools import lru_cache

from sarheight.ellipsoid import LookSide
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit, look_at


def circular_orbit(
    latitude: float = 46.0,
    longitude: float = 10.0,
    *,
    ascending: bool = True,
    epoch: str = "2024-01-01T06:00:00",
    duration: float = 300.0,
    interval: float = 10.0,
) -> Orbit:
    """Make a Sentinel-1-like orbit that passes over a place in its middle.

    The state vectors are those of a circle 693 km above the equator, over an Earth that turns.
    """
    # A circular orbit of this inclination never reaches the poles.
    below = min(max(latitude, -80.0), 80.0)
    return Orbit.circular(
        latitude=below,
        longitude=longitude,
        ascending=ascending,
        epoch=epoch,
        duration=duration,
        interval=interval,
    )


@lru_cache(maxsize=512)
def synthetic_grid(
    latitude: float = 46.0,
    longitude: float = 10.0,
    *,
    incidence: float = 34.0,
    look_side: LookSide = "right",
    ascending: bool = True,
    lines: int = 200,
    samples: int = 250,
    line_spacing: float = 10.0,
    sample_spacing: float = 10.0,
    ground_range: bool = True,
    height: float = 0.0,
    looks: float = 1.0,
) -> tuple[RadarGrid, Orbit]:
    """Make a radar grid whose centre looks at a place under an incidence angle, and its orbit.

    They are made once: many tests look at the same place.
    """
    # Near its northernmost point an orbit takes long to leave a circle of latitude.
    duration = 300.0 if abs(latitude) < 60.0 else 900.0
    orbit = circular_orbit(latitude, longitude, ascending=ascending, duration=duration)
    turn = look_at(orbit, latitude, longitude, incidence, look_side=look_side, height=height)
    orbit = orbit.rotate(turn)
    grid = RadarGrid.over(
        orbit,
        latitude,
        longitude,
        lines=lines,
        samples=samples,
        height=height,
        line_spacing=line_spacing,
        sample_spacing=sample_spacing,
        ground_range=ground_range,
        look_side=look_side,
        looks=looks,
    )
    return grid, orbit
