"""Radar images of a simulated city: walls, roofs and shadows by the core, and corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import CRS
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import PassGeometry, pass_geometry, pixel_areas
from sarheight.geometry.visibility import illuminated_cells
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower
from sarheight.illumination.simulate import illuminate
from sarheight.layover.result import look_azimuth
from sarheight.orbit import Orbit, look_at
from tests.worlds.city import City, Cover

FARTHEST = 130.0
"""Metres before a wall within which others can stand in its light."""
LEAFY = 10.0
"""Metres before a wall within which trees stand in its light."""
KEPT_BY_TREES = 0.3
"""What trees leave of a corner's brightness."""


@dataclass(frozen=True, kw_only=True)
class RadarSettings:
    """What the radar images of a simulated city are made with."""

    incidence: float = 38.0  # Incidence angle in degrees
    # Radar cross-section of the corner of wall and ground in dB, VV and VH, for a square metre of
    # wall that faces the radar, at an angle where the tangent of incidence is 1
    corner: tuple[float, float] = (5.0, -2.0)
    # RMS slope of ground and walls: the wider, the less it matters where a wall faces
    roughness: float = 0.3
    # What is left of a corner's brightness for walls that face elsewhere: windows, balconies,
    # chimneys
    floor: float = 0.08
    # Standard deviation in dB of the brightness of corners and walls from one building to the next
    variety: float = 3.0
    looks: float = 4.4  # Equivalent number of looks of an image
    images: float = 3.0  # Images that are averaged to that of a month
    resolution: float = 20.0  # Metres, on the ground in both directions
    # Standard deviation in dB of the level of all natural ground from month to month
    wetness: float = 0.7
    level: float = 0.0  # Of all backscatter in dB, beside that of the classes
    missing: float = 0.0  # Probability that a pass has no image in a month


def corner_heights(city: City, sight: float, incidence: float) -> NDArray[np.float64]:
    r"""Return how high the walls are as mirrors of the ground before them, in metres.

    A ray that meets a wall at the height :math:`z` comes from, or goes to, the ground at
    :math:`z \tan\theta` before it. A building of the height :math:`h` at the distance :math:`d`
    keeps the ground from being lit from :math:`z = d / \tan\theta - h` upwards, and the wall
    below :math:`z = h - d / \tan\theta`. What is left of a wall of the height :math:`H` is

    .. math:: \max(0, \min(H, \min_d (d / \tan\theta - h(d)))).
    """
    walls = city.walls
    steepness = np.tan(incidence)
    free = np.array(walls.height)
    # No building keeps light from a wall further away than the sum of their heights reaches.
    highest = float(city.building.max()) if city.building.size else 0.0
    farthest = max(FARTHEST, min(2.0 * highest * steepness, 0.9 * city.margin * city.posting))
    for distance in np.arange(city.posting, farthest, city.posting):
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


WALL = 100
"""Class of the steep facets of buildings, beside those of `Cover`."""
STEEP = 3.0
"""Rise in metres to a neighbour from which a cell of a building's edge is a wall."""
LAW = CosinePower(1.0, 1.5)
"""Angular law of all surfaces; their level comes by class."""
LEVELS = {
    Cover.ASPHALT: (-15.0, -24.0),
    Cover.PAVING: (-12.5, -21.0),
    Cover.GRASS: (-11.0, -18.0),
    Cover.SOIL: (-11.0, -20.0),
    Cover.WATER: (-20.0, -28.0),
    Cover.TREE: (-8.0, -13.5),
    Cover.TILE_ROOF: (-8.0, -17.0),
    Cover.DARK_ROOF: (-10.0, -19.0),
    Cover.METAL_ROOF: (-8.0, -18.0),
    Cover.GRAVEL_ROOF: (-9.0, -17.0),
    WALL: (-6.0, -13.0),
}
"""VV and VH of each class at normal incidence in dB. With the corners they make built cells about
as bright as means over a year of Sentinel-1 are in Stockholm: VV -4.5 dB, VH -11 dB."""
SEASONAL = {Cover.GRASS: (1.0, 1.5), Cover.TREE: (0.7, 1.2), Cover.SOIL: (1.0, 1.0)}
"""By how many dB VV and VH of the living classes rise from winter to summer, half of it."""
VARIETY = 0.15
"""Standard deviation of the logarithm of brightness within a class."""
POSTING_RADAR = 10.0
"""Metres between the cells of the images."""
NOISE = 10.0**-2.4
"""Noise-equivalent sigma0. It stays in the images: taken off, dark ground would fall below zero."""


@dataclass(frozen=True)
class Site:
    """Where a simulated city lies."""

    crs: CRS  # A zone of UTM
    east: float  # Its south-western corner in that zone, metres
    north: float  # Its south-western corner in that zone, metres
    latitude: float  # Its middle in degrees
    longitude: float  # Its middle in degrees
    ground: float = 50.0  # Height of the level ground above the ellipsoid in metres


@dataclass(frozen=True, eq=False)
class RadarView:
    """How a pass sees a city."""

    # Energy in square metres in each pixel of the radar image, by class, for surfaces of unit level
    parts: dict[int, NDArray[np.float64]]
    # The same of the corners of walls and ground; shape (lines, samples)
    corners: NDArray[np.float64]
    # Area of the pixels on the ellipsoid in square metres; shape (lines, samples)
    area: NDArray[np.float64]
    # Where the cells of 10 m lie in the image, as ground that is level; shape (rows, columns)
    line: NDArray[np.float64]
    sample: NDArray[np.float64]


def _raster(
    values: NDArray[np.floating], posting: float, origin: float, site: Site
) -> xr.DataArray:
    rows, columns = values.shape
    raster = xr.DataArray(
        np.asarray(values, dtype=np.float32),
        dims=("y", "x"),
        coords={
            "y": site.north + origin + (rows - 0.5 - np.arange(rows)) * posting,
            "x": site.east + origin + (np.arange(columns) + 0.5) * posting,
        },
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    placed: xr.DataArray = raster.rio.write_crs(site.crs)
    return placed


def _classes(city: City) -> NDArray[np.uint8]:
    """Class of each cell: its cover, or the wall of a building's edge."""
    window = 3
    rise = maximum_filter(city.building, window) - minimum_filter(city.building, window)
    classes = city.cover.copy()
    classes[(rise > STEEP) & (city.cover != Cover.TREE)] = WALL
    return classes


def radar_view(
    city: City, site: Site, *, ascending: bool, settings: RadarSettings, random: np.random.Generator
) -> RadarView:
    """Look at a city from one pass, without speckle.

    Buildings and trees are a surface of heights: the core's geometry lays walls and roofs over
    towards the radar and casts shadows. The corner between a wall and the ground returns all its
    rays at the range of the wall's foot, whatever the height; that energy is added there. The
    images are geocoded on the level ground, so that all that rises is displaced, as in products
    that are corrected with an elevation model of the terrain.
    """
    grid, orbit = _pass(city, site, ascending=ascending, settings=settings)
    origin = -city.margin * city.posting
    seen = pass_geometry(
        _raster(city.surface + site.ground, city.posting, origin, site), grid, orbit
    )
    area = np.empty(grid.shape)
    for block, values in pixel_areas(grid, seen.radar, "sigma0").blocks(grid.lines):
        area[block] = values
    cells = round(city.building.shape[0] * city.posting / POSTING_RADAR)
    level = _raster(np.full((cells, cells), site.ground), POSTING_RADAR, origin, site)
    placed = geo2rdr(level, grid, orbit)
    line, sample = placed["line"].values, placed["sample"].values
    # Walls beyond the last cell count at its middle; the city proper is far from there.
    row = cells - 0.5 - (city.walls.y - origin) / POSTING_RADAR
    column = (city.walls.x - origin) / POSTING_RADAR - 0.5
    foot = [
        map_coordinates(values, [row, column], order=1, mode="nearest") for values in (line, sample)
    ]
    sight = float(np.radians(90.0 - (look_azimuth(grid, seen.radar) + 180.0)))
    corners = splat(corner_energy(city, sight, settings, random), foot[0], foot[1], grid.shape)
    margin = round(city.margin * city.posting / POSTING_RADAR)
    proper = (slice(margin, cells - margin),) * 2
    return RadarView(_surfaces(city, seen), corners, area, line[proper], sample[proper])


def _pass(
    city: City, site: Site, *, ascending: bool, settings: RadarSettings
) -> tuple[RadarGrid, Orbit]:
    """Make the orbit and the grid of a pass over the city and its margin."""
    place = (site.latitude, site.longitude)
    orbit = Orbit.circular(latitude=site.latitude, longitude=site.longitude, ascending=ascending)
    orbit = orbit.rotate(look_at(orbit, *place, settings.incidence, height=site.ground))
    # Wide enough for a square that is turned, and for what is laid over beyond its edge.
    pixels = int(1.5 * city.building.shape[0] * city.posting / POSTING_RADAR) + 8
    grid = RadarGrid.over(
        orbit, *place, height=site.ground, lines=pixels, samples=pixels, looks=settings.looks
    )
    return grid, orbit


def _surfaces(city: City, seen: PassGeometry) -> dict[int, NDArray[np.float64]]:
    """Simulate the surfaces of each class on their own, with the level 1."""
    classes = _classes(city)
    spread = VARIETY * city.brightness
    weight = np.exp(spread - 0.5 * spread.var()).astype(np.float32)
    operator = illuminate(seen, LAW, illuminated_cells(seen))
    return {
        int(kind): operator.simulate(np.where(classes == kind, weight, np.float32(0.0))).astype(
            np.float64
        )
        for kind in np.unique(classes)
    }


def _season(month: int, latitude: float) -> float:
    """From -1 in the middle of winter to 1 in the middle of summer."""
    phase = np.cos(2.0 * np.pi * (month - 7) / 12.0)
    return float(phase if latitude >= 0.0 else -phase)


def _month_image(
    seen: RadarView,
    polarisation: int,
    season: float,
    wet: float,
    settings: RadarSettings,
    random: np.random.Generator,
) -> NDArray[np.float32]:
    """Make the image of a month and geocode it."""
    energy = 10.0 ** (settings.corner[polarisation] / 10.0) * seen.corners
    for kind, part in seen.parts.items():
        swing = SEASONAL.get(Cover(kind), (0.0, 0.0))[polarisation] if kind != WALL else 0.0
        natural = kind in {Cover.GRASS, Cover.SOIL, Cover.TREE}
        level = LEVELS[kind][polarisation] + swing * season + (wet if natural else 0.0)
        energy = energy + 10.0 ** (level / 10.0) * part
    image = energy / seen.area + NOISE
    # Speckle before the filter has as many looks as make those of the resolution after it.
    width = settings.resolution / np.sqrt(8.0 * np.log(2.0)) / POSTING_RADAR
    looks = settings.looks * settings.images / (4.0 * np.pi * width**2)
    image = gaussian_filter(image * random.gamma(looks, 1.0 / looks, image.shape), width)
    geocoded = map_coordinates(image, [seen.line, seen.sample], order=1)
    return np.asarray(geocoded, dtype=np.float32)


def city_radar(
    city: City,
    site: Site,
    settings: RadarSettings,
    random: np.random.Generator,
    descending: RadarSettings | None = None,
) -> NDArray[np.float32]:
    """Make a year of radar images of a city."""
    passes = (settings, settings) if descending is None else (settings, descending)
    views = [
        radar_view(city, site, ascending=ascending, settings=each, random=random)
        for ascending, each in zip((True, False), passes, strict=True)
    ]
    months = []
    for month in range(1, 13):
        season, wet = _season(month, site.latitude), settings.wetness * random.standard_normal()
        months.append(
            np.stack(
                [
                    _month_image(seen, polarisation, season, float(wet), settings, random)
                    for seen in views
                    for polarisation in (0, 1)
                ]
            )
        )
    images = np.stack(months) * np.float32(10.0 ** (settings.level / 10.0))
    if settings.missing > 0.0:
        gone = np.repeat(random.random((12, 2)) < settings.missing, 2, axis=1)
        images[gone] = np.nan
    return images
