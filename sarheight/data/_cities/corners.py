"""What the corners between walls and ground send back to the radar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sarheight.data._cities.city import City, Cover

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["RadarSettings", "corner_energy", "corner_heights", "splat"]

FARTHEST = 130.0
"""Metres before a wall within which others can stand in its light."""
LEAFY = 10.0
"""Metres before a wall within which trees stand in its light."""
KEPT_BY_TREES = 0.3
"""What trees leave of a corner's brightness."""


@dataclass(frozen=True, kw_only=True)
class RadarSettings:
    """What the radar images of a simulated city are made with.

    Parameters
    ----------
    incidence : float
        Incidence angle in degrees.
    corner : tuple of float
        Radar cross-section of the corner of wall and ground in dB, VV and VH, for a square metre
        of wall that faces the radar, at an angle where the tangent of incidence is 1.
    roughness : float
        RMS slope of ground and walls: the wider, the less it matters where a wall faces.
    floor : float
        What is left of a corner's brightness for walls that face elsewhere: windows, balconies,
        chimneys.
    variety : float
        Standard deviation in dB of the brightness of corners and walls from one building to the
        next.
    looks : float
        Equivalent number of looks of an image.
    images : float
        Images that are averaged to that of a month.
    resolution : float
        Metres, on the ground in both directions.
    wetness : float
        Standard deviation in dB of the level of all natural ground from month to month.
    """

    incidence: float = 38.0
    corner: tuple[float, float] = (5.0, -2.0)
    roughness: float = 0.3
    floor: float = 0.08
    variety: float = 3.0
    looks: float = 4.4
    images: float = 3.0
    resolution: float = 20.0
    wetness: float = 0.7


def corner_heights(city: City, sight: float, incidence: float) -> NDArray[np.float64]:
    r"""Return how high the walls are as mirrors of the ground before them, in metres.

    A ray that meets a wall at the height :math:`z` comes from, or goes to, the ground at
    :math:`z \tan\theta` before it. A building of the height :math:`h` at the distance :math:`d`
    keeps the ground from being lit from :math:`z = d / \tan\theta - h` upwards, and the wall
    below :math:`z = h - d / \tan\theta`. What is left of a wall of the height :math:`H` is

    .. math:: \max(0, \min(H, \min_d (d / \tan\theta - h(d)))).

    Parameters
    ----------
    city : City
        Its walls, and what stands before them.
    sight : float
        Direction from the ground to the radar, radians counterclockwise from east.
    incidence : float
        Incidence angle in radians.

    Returns
    -------
    array, shape (n,)
        For each point of the walls; 0 where one faces away.
    """
    walls = city.walls
    steepness = np.tan(incidence)
    free = np.array(walls.height)
    for distance in np.arange(city.posting, FARTHEST, city.posting):
        height = _before(city, city.building, sight, float(distance))
        free = np.where(height > 0.0, np.minimum(free, distance / steepness - height), free)
    facing = np.cos(walls.normal - sight) > 0.0
    return np.where(facing, np.maximum(free, 0.0), 0.0)


def corner_energy(
    city: City, sight: float, settings: RadarSettings, random: np.random.Generator
) -> NDArray[np.float64]:
    """Compute the radar cross-sections of the walls' corners for a level of 0 dB.

    The area of wall times the tangent of incidence, and a lobe around the direction that the wall
    faces that is as wide as surfaces are rough: the angular factors of the geometrical-optics
    solution of Franceschetti et al. Trees before a wall take most of it away, and buildings
    differ.

    Parameters
    ----------
    city : City
        What is seen.
    sight : float
        Direction from the ground to the radar, radians counterclockwise from east.
    settings : RadarSettings
        How it is seen.
    random : numpy.random.Generator
        Draws how bright each building is.

    Returns
    -------
    array, shape (n,)
        Square metres, for each point of the walls.

    References
    ----------
    Franceschetti, G., Iodice, A., Riccio, D. (2002). A canonical problem in electromagnetic
    backscattering from buildings. IEEE TGRS 40(8), 1787-1801.
    """
    walls, theta = city.walls, np.radians(settings.incidence)
    turn = walls.normal - sight
    lobe = np.exp(-((np.tan(theta) * np.sin(turn)) ** 2) / (4.0 * settings.roughness**2))
    facing = np.clip(np.cos(turn), 0.0, None)
    angular = settings.floor + (1.0 - settings.floor) * facing * lobe
    area = walls.length * corner_heights(city, sight, theta) * np.tan(theta)
    steps = np.arange(city.posting, LEAFY + city.posting, city.posting)
    trees = [_before(city, city.cover == Cover.TREE, sight, step) for step in steps.tolist()]
    bare = 1.0 - (1.0 - KEPT_BY_TREES) * np.mean(trees, axis=0)
    spread = settings.variety / 10.0 * np.log(10.0)
    buildings = int(walls.building.max()) + 1 if walls.building.size else 0
    luck = np.exp(spread * random.standard_normal(buildings) - 0.5 * spread**2)
    energy: NDArray[np.float64] = area * angular * bare * luck[walls.building]
    return energy


def _before(
    city: City, values: NDArray[np.generic], sight: float, distance: float
) -> NDArray[np.float64]:
    """Look up a raster at a distance before the walls, towards the radar."""
    x = city.walls.x + distance * np.cos(sight)
    y = city.walls.y + distance * np.sin(sight)
    return city.raster.values_at(values, x, y).astype(np.float64)


def splat(
    values: NDArray[np.float64],
    line: NDArray[np.float64],
    sample: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Share values between the four pixels around each place."""
    image = np.zeros(shape)
    top, left = np.floor(line).astype(int), np.floor(sample).astype(int)
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (line - top)) * np.abs(1 - right - (sample - left))
            row, column = top + down, left + right
            inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
            np.add.at(image, (row[inside], column[inside]), (values * weight)[inside])
    return image
