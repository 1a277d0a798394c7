"""Which part of an image shows an area given in degrees."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._viewing import look_sign
from sarheight.errors import GeometryError

if TYPE_CHECKING:
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

__all__ = [
    "HEIGHTS",
    "Bounds",
    "bounds_of_corners",
    "part_of_bounds",
    "require_bounds",
    "zero_doppler",
]

Bounds = tuple[float, float, float, float]
"""West, south, east and north in degrees; west is larger than east across the date line."""

HEIGHTS = (-500.0, 9000.0)
"""Between which all land lies, in metres above the ellipsoid."""

MARGIN = 16
POSTING, FEWEST, MOST = 0.05, 5, 200
ROUNDS = 30
"""Each divides the error by eight: the satellite's path is curved."""

Floats = NDArray[np.float64]


def part_of_bounds(
    bounds: Bounds,
    grid: RadarGrid,
    orbit: Orbit,
    *,
    heights: tuple[float, float] = HEIGHTS,
    margin: int = MARGIN,
) -> tuple[slice, slice]:
    """Find the lines and samples that show an area, wherever its ground lies in height.

    Parameters
    ----------
    bounds : (west, south, east, north)
        In degrees; west is larger than east across the date line.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        State vectors that cover the image.
    heights : (lowest, highest)
        Of the ground there, in metres above the ellipsoid. A narrower range reads less.
    margin : int
        Pixels to keep around that part, where the image has them.

    Returns
    -------
    line, sample : slice

    Raises
    ------
    ValueError
        If bounds or heights make no sense.
    GeometryError
        If the image does not show the area.
    """
    require_bounds(bounds)
    if not heights[0] <= heights[1]:
        msg = f"found heights from {heights[0]:g} to {heights[1]:g} m, expected low before high"
        raise ValueError(msg)
    time, slant_range = zero_doppler(_places(bounds, heights), grid, orbit.with_epoch(grid.epoch))
    edges = grid.slant_range(*np.meshgrid([0, grid.lines - 1], [0, grid.samples - 1]))
    if (
        time.size == 0
        or time.min() > grid.last_time
        or time.max() < grid.first_time
        or slant_range.min() > edges.max()
        or slant_range.max() < edges.min()
    ):
        msg = (
            f"found bounds {bounds}, which the image does not show; expected west, south, east, "
            "north in degrees, of a place within it (`sarheight info` tells where it lies)"
        )
        raise GeometryError(msg)
    # What lies beyond the image may not be asked of its ground-range polynomials.
    inside = np.clip(slant_range, edges.min(), edges.max())
    sample = grid.sample(inside, np.clip(time, grid.first_time, grid.last_time))
    return (
        _part(grid.line(time, slant_range), grid.lines, margin),
        _part(sample, grid.samples, margin),
    )


def _part(places: Floats, size: int, margin: int) -> slice:
    """Return the pixels of an axis, inside the image, between the first and last of some places."""
    first = min(max(math.floor(float(places.min())) - margin, 0), size - 1)
    last = min(max(math.ceil(float(places.max())) + margin, 0), size - 1)
    return slice(first, last + 1)


def _places(bounds: Bounds, heights: tuple[float, float]) -> Floats:
    """Spread points over an area, on its lowest and highest level; Earth-fixed, shape (n, 3)."""
    import pyproj

    west, south, east, north = bounds
    east += 360.0 if east < west else 0.0
    axes = (
        np.linspace(low, high, min(max(math.ceil((high - low) / POSTING), FEWEST), MOST))
        for low, high in ((west, east), (south, north))
    )
    longitude, latitude, height = np.meshgrid(*axes, np.array(heights))
    to_earth_fixed = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    return np.stack(
        to_earth_fixed.transform(longitude.ravel(), latitude.ravel(), height.ravel()), axis=-1
    )


def zero_doppler(places: Floats, grid: RadarGrid, orbit: Orbit) -> tuple[Floats, Floats]:
    """Find when and how far away the radar sees places, of those that it looks towards.

    Parameters
    ----------
    places : array, shape (n, 3)
        Earth-fixed, in metres.
    grid : RadarGrid
        Sampling of the image.
    orbit : Orbit
        With the epoch of the grid.

    Returns
    -------
    time, slant_range : array, shape (m,)
        Seconds since the epoch, and metres. Places beyond the ends of the orbit are given its
        ends; those on the other side of the track are left out.
    """
    time = np.full(len(places), 0.5 * (grid.first_time + grid.last_time))
    for _ in range(ROUNDS):
        position, velocity = orbit.state(time)
        ahead = np.einsum("ij,ij->i", velocity, places - position)
        time = np.clip(
            time + ahead / np.einsum("ij,ij->i", velocity, velocity), orbit.time[0], orbit.stop
        )
    position, velocity = orbit.state(time)
    look = places - position
    side = np.einsum("ij,ij->i", np.cross(velocity, position), look)
    towards = side * look_sign(grid.look_side) > 0.0
    return time[towards], np.linalg.norm(look[towards], axis=1)


def bounds_of_corners(corners: NDArray[np.float64], margin: float = 0.0) -> Bounds:
    """Find the smallest area that holds some corners.

    Parameters
    ----------
    corners : array, shape (n, 2)
        Longitude and latitude in degrees, less than half around the Earth apart.
    margin : float
        Degrees to add on each side.

    Returns
    -------
    (west, south, east, north)
        In degrees; west is larger than east across the date line.
    """
    longitude, latitude = corners.T
    longitude = longitude[0] + (longitude - longitude[0] + 180.0) % 360.0 - 180.0
    west, east = (
        float((limit + 180.0) % 360.0 - 180.0)
        for limit in (longitude.min() - margin, longitude.max() + margin)
    )
    south = max(float(latitude.min()) - margin, -90.0)
    return west, south, east, min(float(latitude.max()) + margin, 90.0)


def require_bounds(bounds: Bounds) -> None:
    """Check an area given in degrees.

    Raises
    ------
    ValueError
        If it is no area.
    """
    west, south, east, north = bounds
    if not (
        -90.0 <= south < north <= 90.0
        and -180.0 <= west <= 180.0
        and -180.0 <= east <= 360.0
        and west != east
    ):
        msg = (
            f"found bounds {bounds}, expected west, south, east, north in degrees, south below "
            "north; west is larger than east only across the date line"
        )
        raise ValueError(msg)
