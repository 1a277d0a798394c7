"""The geolocation grid of a simulated image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight._annotation import GeolocationGrid
from sarheight._constants import SPEED_OF_LIGHT
from sarheight._time import seconds_between
from sarheight._viewing import look_sign, points_at_ranges
from sarheight.sentinel1._write_xml import utc_of

if TYPE_CHECKING:
    from sarheight._annotation import Annotation
    from sarheight.orbit import Orbit
    from sarheight.sentinel1._write_layout import FileLayout

__all__ = ["angles", "geolocation_points", "seen_points"]

Floats = NDArray[np.float64]

FEWEST, MOST = 5, 21
"""Points along each axis; an image of ESA has ten by 21."""


def _lattice(size: int, step: float) -> NDArray[np.int64]:
    """Spread points over an axis, some `step` apart, from its first to its last pixel."""
    wanted = int(np.ceil((size - 1) / step)) + 1
    count = int(np.clip(wanted, FEWEST, MOST))
    return np.unique(np.rint(np.linspace(0, size - 1, count)).astype(np.int64))


def _lines(layout: FileLayout, step: float) -> NDArray[np.int64]:
    """Choose lines whose stamps ascend: of a burst the first and the middle one."""
    if not layout.bursts:
        return _lattice(layout.lines, step)
    count = layout.lines_per_burst
    begins = count * np.arange(len(layout.bursts))
    return np.sort(np.concatenate([begins, begins + count // 2, [layout.lines - 1]]))


def _typical_step(points: NDArray[np.int64]) -> float:
    steps = np.diff(np.unique(points))
    return float(np.median(steps)) if steps.size else 1.0


def _heights(annotation: Annotation, epoch: np.datetime64, time: Floats, ranges: Floats) -> Floats:
    """Take the terrain's height from the nearest point of the annotation's own grid.

    The heights say at which height the other values of a point hold; any height would do.
    """
    from scipy.spatial import KDTree

    known = annotation.geolocation
    places = np.stack(
        [
            [seconds_between(epoch, each) for each in known.azimuth_time],
            SPEED_OF_LIGHT / 2 * known.slant_range_time,
        ],
        axis=1,
    )
    extent = np.maximum(np.ptp(places, axis=0), 1e-9)
    _, nearest = KDTree(places / extent).query(np.stack([time, ranges], axis=1) / extent)
    heights: Floats = known.height[nearest]
    return heights


def seen_points(
    orbit: Orbit, time: Floats, ranges: Floats, heights: Floats, side: float
) -> tuple[Floats, Floats]:
    """Find the points that are seen at zero Doppler.

    Parameters
    ----------
    orbit : Orbit
        The orbit.
    time, ranges, heights : array, shape (n,)
        Zero-Doppler times in seconds since the orbit's epoch, slant ranges and heights above the
        ellipsoid in metres.
    side : float
        +1 for a look to the right, -1 to the left.

    Returns
    -------
    position : array, shape (n, 3)
        Earth-fixed, in metres. Its height is the given one to a centimetre.
    satellite : array, shape (n, 3)
    """
    satellite, velocity = orbit.state(time)
    position = np.concatenate(
        [
            points_at_ranges(satellite[each], velocity[each], ranges[each, None], side, height)
            for each, height in enumerate(heights.tolist())
        ]
    )
    return position, satellite


def angles(position: Floats, satellite: Floats) -> tuple[Floats, Floats]:
    """Return the angles of incidence and elevation in degrees, shape (n,).

    Incidence is measured from the normal of the ellipsoid at the point, elevation from the
    vertical through the satellite.
    """
    sight = satellite - position
    sight /= np.linalg.norm(sight, axis=-1, keepdims=True)
    return (
        np.degrees(np.arccos(np.sum(sight * _normals(position), axis=-1))),
        np.degrees(np.arccos(np.sum(sight * _normals(satellite), axis=-1))),
    )


def _geodetic(position: Floats) -> tuple[Floats, Floats, Floats]:
    import pyproj

    to_geodetic = pyproj.Transformer.from_crs("EPSG:4978", "EPSG:4979", always_xy=True)
    x, y, z = position[:, 0], position[:, 1], position[:, 2]
    longitude, latitude, height = to_geodetic.transform(x, y, z)
    return latitude, longitude, height


def _normals(position: Floats) -> Floats:
    latitude, longitude, _ = _geodetic(position)
    north, east = np.radians(latitude), np.radians(longitude)
    return np.stack(
        [np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)], axis=-1
    )


def geolocation_points(layout: FileLayout, orbit: Orbit, annotation: Annotation) -> GeolocationGrid:
    """Compute the geolocation grid of an image file.

    Each point is where the orbit sees its pixel; the ranges, the times and the shear along
    azimuth are those of the scene's grid.

    Parameters
    ----------
    layout : FileLayout
        The lines of the file.
    orbit : Orbit
        The orbit of the scene.
    annotation : Annotation
        Whose terrain heights are taken.

    Returns
    -------
    GeolocationGrid
        Line by line, each from near to far range.
    """
    grid = layout.grid
    lines = _lines(layout, _typical_step(annotation.geolocation.line))
    pixels = _lattice(layout.samples, _typical_step(annotation.geolocation.pixel))
    line, pixel = (each.ravel() for each in np.meshgrid(lines, pixels, indexing="ij"))
    ranges = grid.slant_range(layout.scene_line(line), pixel)
    time = grid.azimuth_time(layout.scene_line(line), ranges)
    heights = _heights(annotation, grid.epoch, time, ranges)
    position, satellite = seen_points(
        orbit.with_epoch(grid.epoch), time, ranges, heights, look_sign(grid.look_side)
    )
    latitude, longitude, height = _geodetic(position)
    incidence, elevation = angles(position, satellite)
    return GeolocationGrid(
        line=line,
        pixel=pixel,
        azimuth_time=np.array([utc_of(grid.epoch, each) for each in time]),
        slant_range_time=2 * ranges / SPEED_OF_LIGHT,
        latitude=latitude,
        longitude=longitude,
        height=height,
        incidence_angle=incidence,
        elevation_angle=elevation,
    )
