"""Radar images of a simulated city: walls, roofs and shadows by the core, and corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rioxarray  # noqa: F401  # gives xarray objects their `rio`
import xarray as xr
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from sarheight.data._cities.city import City, Cover
from sarheight.data._cities.corners import RadarSettings, corner_energy, splat
from sarheight.geometry import geo2rdr
from sarheight.geometry._pixels import pixel_areas
from sarheight.geometry._view import view
from sarheight.geometry._visibility import light_cells
from sarheight.illumination import CosinePower
from sarheight.illumination._operator import illuminate
from sarheight.layover._result import look_azimuth
from sarheight.orbit import Orbit, look_at
from sarheight.scene import RadarGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pyproj import CRS

    from sarheight.geometry._view import View

__all__ = ["RadarView", "Site", "city_radar", "radar_view"]

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
POSTING = 10.0
"""Metres between the cells of the images."""
NOISE = 10.0**-2.4
"""Noise-equivalent sigma0. It stays in the images: taken off, dark ground would fall below zero."""


@dataclass(frozen=True)
class Site:
    """Where a simulated city lies.

    Attributes
    ----------
    crs : CRS
        A zone of UTM.
    east, north : float
        Its south-western corner in that zone, metres.
    latitude, longitude : float
        Its middle in degrees.
    ground : float
        Height of the level ground above the ellipsoid in metres.
    """

    crs: CRS
    east: float
    north: float
    latitude: float
    longitude: float
    ground: float = 50.0


@dataclass(frozen=True, eq=False)
class RadarView:
    """How a pass sees a city.

    Attributes
    ----------
    parts : dict
        Energy in square metres in each pixel of the radar image, by class, for surfaces of
        unit level.
    corners : array, shape (lines, samples)
        The same of the corners of walls and ground.
    area : array, shape (lines, samples)
        Area of the pixels on the ellipsoid in square metres.
    line, sample : array, shape (rows, columns)
        Where the cells of 10 m lie in the image, as ground that is level.
    """

    parts: dict[int, NDArray[np.float64]]
    corners: NDArray[np.float64]
    area: NDArray[np.float64]
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
    city: City,
    site: Site,
    *,
    ascending: bool,
    settings: RadarSettings,
    random: np.random.Generator,
) -> RadarView:
    """Look at a city from one pass, without speckle.

    Buildings and trees are a surface of heights: the core's geometry lays walls and roofs over
    towards the radar and casts shadows. The corner between a wall and the ground returns all its
    rays at the range of the wall's foot, whatever the height; that energy is added there. The
    images are geocoded on the level ground, so that all that rises is displaced, as in products
    that are corrected with an elevation model of the terrain.

    Parameters
    ----------
    city, site : City, Site
        What is seen, and where it lies.
    ascending : bool
        Whether the satellite flies northwards, and looks eastwards.
    settings : RadarSettings
        How it is seen.
    random : numpy.random.Generator
        Draws how bright each building's corners are.

    Returns
    -------
    RadarView
    """
    grid, orbit = _pass(city, site, ascending=ascending, settings=settings)
    origin = -city.margin * city.posting
    seen = view(_raster(city.surface + site.ground, city.posting, origin, site), grid, orbit)
    area = np.empty(grid.shape)
    for block, values in pixel_areas(grid, seen.radar, "sigma0").blocks(grid.lines):
        area[block] = values
    cells = round(city.building.shape[0] * city.posting / POSTING)
    level = _raster(np.full((cells, cells), site.ground), POSTING, origin, site)
    placed = geo2rdr(level, grid, orbit)
    line, sample = placed["line"].values, placed["sample"].values
    # Walls beyond the last cell count at its middle; the city proper is far from there.
    row = cells - 0.5 - (city.walls.y - origin) / POSTING
    column = (city.walls.x - origin) / POSTING - 0.5
    foot = [
        map_coordinates(values, [row, column], order=1, mode="nearest") for values in (line, sample)
    ]
    sight = float(np.radians(90.0 - (look_azimuth(grid, seen.radar) + 180.0)))
    corners = splat(corner_energy(city, sight, settings, random), foot[0], foot[1], grid.shape)
    margin = round(city.margin * city.posting / POSTING)
    proper = (slice(margin, cells - margin),) * 2
    return RadarView(_surfaces(city, seen), corners, area, line[proper], sample[proper])


def _pass(
    city: City, site: Site, *, ascending: bool, settings: RadarSettings
) -> tuple[RadarGrid, Orbit]:
    """Make the orbit and the grid of a pass over the city and its margin."""
    place = (site.latitude, site.longitude)
    orbit = Orbit.circular(latitude=site.latitude, longitude=site.longitude, ascending=ascending)
    orbit = orbit.rotated(look_at(orbit, *place, settings.incidence, height=site.ground))
    # Wide enough for a square that is turned, and for what is laid over beyond its edge.
    pixels = int(1.5 * city.building.shape[0] * city.posting / POSTING) + 8
    grid = RadarGrid.over(
        orbit, *place, height=site.ground, lines=pixels, samples=pixels, looks=settings.looks
    )
    return grid, orbit


def _surfaces(city: City, seen: View) -> dict[int, NDArray[np.float64]]:
    """Simulate the surfaces of each class on their own, with the level 1."""
    classes = _classes(city)
    spread = VARIETY * city.brightness
    weight = np.exp(spread - 0.5 * spread.var()).astype(np.float32)
    operator = illuminate(seen, LAW, light_cells(seen))
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
    width = settings.resolution / np.sqrt(8.0 * np.log(2.0)) / POSTING
    looks = settings.looks * settings.images / (4.0 * np.pi * width**2)
    image = gaussian_filter(image * random.gamma(looks, 1.0 / looks, image.shape), width)
    geocoded = map_coordinates(image, [seen.line, seen.sample], order=1)
    return np.asarray(geocoded, dtype=np.float32)


def city_radar(
    city: City, site: Site, settings: RadarSettings, random: np.random.Generator
) -> NDArray[np.float32]:
    """Make a year of radar images of a city.

    Parameters
    ----------
    city, site : City, Site
        What is seen, and where it lies.
    settings : RadarSettings
        How it is seen.
    random : numpy.random.Generator
        Source of the random numbers: buildings, weather and speckle.

    Returns
    -------
    array, shape (12, 4, rows, columns)
        sigma0 on cells of 10 m, linear power, January to December; the bands are those of
        `sarheight.data.SAR_BANDS`.
    """
    views = [
        radar_view(city, site, ascending=ascending, settings=settings, random=random)
        for ascending in (True, False)
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
    return np.stack(months)
