"""Radar and optical images of simulated cities, as city stacks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, maximum_filter, minimum_filter

from benchmarks.synthetic.city import City, Cover, in_cells, make_city
from sarheight.buildings.stack import POSTING, SAR_BANDS, city_stack
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.visibility import illuminated_cells
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower
from sarheight.illumination.simulate import illuminate
from sarheight.layover.result import look_azimuth
from sarheight.orbit import Orbit, look_at

if TYPE_CHECKING:
    from pyproj import CRS

    from sarheight.geometry.pass_geometry import PassGeometry

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
    level : float
        Of all backscatter in dB, beside that of the classes.
    missing : float
        Probability that a pass has no image in a month.
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
    level: float = 0.0
    missing: float = 0.0


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


# Optical images of a simulated city: materials, the sun's shadows, seasons and clouds.

CITY_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
"""The bands of 10 m and 20 m."""
COARSE_BANDS = (3, 4, 5, 7, 8, 9)
"""Which of them have cells of 20 m."""
REFLECTANCE = {
    Cover.ASPHALT: (0.09, 0.10, 0.11, 0.115, 0.12, 0.125, 0.13, 0.135, 0.16, 0.15),
    Cover.PAVING: (0.14, 0.16, 0.18, 0.19, 0.20, 0.205, 0.21, 0.215, 0.25, 0.24),
    Cover.GRASS: (0.03, 0.06, 0.04, 0.10, 0.27, 0.33, 0.35, 0.37, 0.22, 0.11),
    Cover.SOIL: (0.08, 0.11, 0.14, 0.16, 0.18, 0.19, 0.21, 0.22, 0.30, 0.26),
    Cover.WATER: (0.06, 0.06, 0.04, 0.035, 0.03, 0.028, 0.025, 0.02, 0.01, 0.008),
    Cover.TREE: (0.02, 0.04, 0.025, 0.07, 0.22, 0.28, 0.30, 0.32, 0.15, 0.07),
    Cover.TILE_ROOF: (0.07, 0.10, 0.18, 0.20, 0.22, 0.23, 0.24, 0.25, 0.30, 0.28),
    Cover.DARK_ROOF: (0.06, 0.065, 0.07, 0.07, 0.075, 0.075, 0.08, 0.08, 0.09, 0.09),
    Cover.METAL_ROOF: (0.25, 0.27, 0.28, 0.29, 0.30, 0.30, 0.31, 0.31, 0.32, 0.30),
    Cover.GRAVEL_ROOF: (0.15, 0.17, 0.19, 0.20, 0.21, 0.21, 0.22, 0.22, 0.25, 0.24),
}
"""Of each cover in the sun, by band; of plants in summer."""
SNOW = np.array([0.80, 0.80, 0.80, 0.79, 0.77, 0.75, 0.73, 0.70, 0.10, 0.09])
"""Old snow: bright up to the near infrared, dark in the short-wave infrared."""
SNOWY = 0.2
"""Greenness below which a month counts as winter."""
WINTER = {
    Cover.GRASS: (0.05, 0.07, 0.07, 0.11, 0.19, 0.21, 0.23, 0.25, 0.24, 0.15),
    Cover.TREE: (0.05, 0.06, 0.07, 0.09, 0.12, 0.13, 0.14, 0.155, 0.18, 0.13),
}
SKY = np.array([0.24, 0.18, 0.13, 0.11, 0.09, 0.08, 0.07, 0.07, 0.04, 0.03])
"""Share of the light that comes from the sky by band, with the sun 45 degrees high."""
SEEN_SKY = 0.8
"""Share of the sky that a shaded place sees."""
TILT = 23.44
OVERPASS = 10.5
"""Local solar time of Sentinel-2."""
LONGEST_SHADOW = 300.0
GREENEST = 7


@dataclass(frozen=True, kw_only=True)
class OpticalSettings:
    """What the optical images of a simulated city are made with.

    Parameters
    ----------
    variety : float
        Standard deviation of the logarithm of reflectance within a cover.
    blur : float
        Width of the point spread function in metres, between its half values.
    noise : float
        Standard deviation of what sensor and atmosphere add to reflectance.
    clouds : tuple of float
        Share of a month's composite that is missing, in the middle of winter and of summer.
    cloud_size : float
        Metres over which clouds hang together.
    snow : float
        Probability that ground and roofs are under snow in the composite of a winter month.
    """

    variety: float = 0.2
    blur: float = 11.0
    noise: float = 0.004
    clouds: tuple[float, float] = (0.5, 0.08)
    cloud_size: float = 120.0
    snow: float = 0.0


def sun(month: int, latitude: float) -> tuple[float, float]:
    """Return where the sun stands in the middle of a month at the time of Sentinel-2.

    Parameters
    ----------
    month : int
        1 to 12.
    latitude : float
        Degrees.

    Returns
    -------
    elevation, azimuth : float
        Degrees above the horizon, and clockwise from north.
    """
    day = 30.4 * (month - 1) + 15.0
    declination = np.radians(TILT) * np.sin(2.0 * np.pi * (284.0 + day) / 365.0)
    hour = np.radians(15.0 * (OVERPASS - 12.0))
    phi = np.radians(latitude)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour)
    return float(np.degrees(np.arcsin(up))), float(np.degrees(np.arctan2(east, north)) % 360.0)


def shaded(
    surface: NDArray[np.floating], posting: float, elevation: float, azimuth: float
) -> NDArray[np.bool_]:
    """Tell which cells of a surface lie in the shadow of others.

    Parameters
    ----------
    surface : array, shape (rows, columns)
        Heights in metres, row 0 in the north.
    posting : float
        Metres from cell to cell.
    elevation, azimuth : float
        Of the sun in degrees; a sun below the horizon lights nothing.

    Returns
    -------
    array, shape (rows, columns)
    """
    if elevation <= 0.0:
        return np.ones(surface.shape, dtype=bool)
    slope = np.tan(np.radians(elevation))
    east, north = np.sin(np.radians(azimuth)), np.cos(np.radians(azimuth))
    # A low sun casts the shadows of towers over kilometres: they are followed for a while.
    longest = min(float(np.ptp(surface)) / slope, max(LONGEST_SHADOW, float(np.ptp(surface))))
    dark = np.zeros(surface.shape, dtype=bool)
    for distance in np.arange(posting, longest + posting, posting):
        moved = _moved(
            surface, round(-distance * north / posting), round(distance * east / posting)
        )
        dark |= moved - surface > distance * slope
    return dark


def _moved(values: NDArray[np.floating], rows: int, columns: int) -> NDArray[np.floating]:
    """Return at each cell the value `rows` below and `columns` to the right; the edge goes on."""
    down = np.clip(np.arange(values.shape[0]) + rows, 0, values.shape[0] - 1)
    right = np.clip(np.arange(values.shape[1]) + columns, 0, values.shape[1] - 1)
    return np.asarray(values[down[:, None], right[None, :]])


def _greenness(month: int, latitude: float) -> float:
    """From 0 in winter to 1 in summer; leaves come and go faster than the sun."""
    phase = float(np.cos(2.0 * np.pi * (month - GREENEST) / 12.0))
    return float(1.0 / (1.0 + np.exp(-5.0 * (phase if latitude >= 0.0 else -phase))))


def _materials(green: float, *, snow: bool = False) -> NDArray[np.float64]:
    """Reflectance by cover and band, shape (covers, bands)."""
    table = np.array([REFLECTANCE[cover] for cover in Cover])
    for cover, bare in WINTER.items():
        table[cover] = green * table[cover] + (1.0 - green) * np.array(bare)
    if snow:
        for cover in Cover:
            share = {Cover.WATER: 0.0, Cover.TREE: 0.3, Cover.ASPHALT: 0.4}.get(cover, 0.8)
            table[cover] = share * SNOW + (1.0 - share) * table[cover]
    return table


def _clouds(
    shape: tuple[int, int], share: float, size: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Cover a share of the cells with clouds that hang together over `size` cells."""
    rough = gaussian_filter(random.standard_normal(shape), size, mode="wrap")
    count = round(share * rough.size)
    covered = np.zeros(rough.size, dtype=bool)
    covered[np.argsort(rough, axis=None)[:count]] = True
    return covered.reshape(shape)


def city_optical(
    city: City, latitude: float, settings: OpticalSettings, random: np.random.Generator
) -> NDArray[np.float32]:
    """Make a year of optical images of a city.

    A place in the sun reflects what its material does; in the shadow it has the light of the sky
    alone, which is blue. The sun stands where it does in the middle of the month, at the time of
    Sentinel-2. Walls are not seen.

    Parameters
    ----------
    city : City
        What is seen.
    latitude : float
        Degrees.
    settings : OpticalSettings
        How it is seen.
    random : numpy.random.Generator
        Source of the random numbers: clouds, haze and noise.

    Returns
    -------
    array, shape (12, 10, rows, columns)
        Surface reflectance on cells of 10 m, January to December, the bands of `CITY_BANDS`;
        NaN under clouds.
    """
    fine = round(10.0 / city.posting)
    tone = np.exp(settings.variety * city.brightness)
    margin = round(city.margin * city.posting / 10.0)
    blur = settings.blur / np.sqrt(8.0 * np.log(2.0)) / city.posting
    months = []
    for month in range(1, 13):
        green = _greenness(month, latitude)
        elevation, azimuth = sun(month, latitude)
        dark = shaded(city.surface, city.posting, elevation, azimuth)
        sky = np.minimum(SKY * np.sqrt(0.7 / max(np.sin(np.radians(elevation)), 0.1)), 0.6)
        # Drawn only where it may snow: the random numbers of other cities stay as they are.
        snow = settings.snow > 0.0 and green < SNOWY and random.random() < settings.snow
        table = _materials(green, snow=snow)
        bands = np.empty((len(CITY_BANDS), *(size // fine for size in city.cover.shape)))
        for band, share in enumerate(sky):
            light = np.where(dark, SEEN_SKY * share, 1.0)
            image = gaussian_filter(table[:, band][city.cover] * tone * light, blur)
            if band in COARSE_BANDS:
                coarse = in_cells(image, 2 * fine)
                bands[band] = np.repeat(np.repeat(coarse, 2, axis=0), 2, axis=1)
            else:
                bands[band] = in_cells(image, fine)
        haze = 0.5 * settings.noise * SKY / SKY[0] * random.standard_normal()
        bands += haze[:, None, None] + settings.noise * random.standard_normal(bands.shape)
        summer = 0.5 * (1.0 + np.cos(2.0 * np.pi * (month - GREENEST) / 12.0))
        mean = settings.clouds[0] + (settings.clouds[1] - settings.clouds[0]) * summer
        cloudy = float(np.clip(mean + 0.25 * random.standard_normal(), 0.0, 1.0))
        bands = np.clip(bands, 0.0, 1.0)[:, margin:-margin, margin:-margin]
        under = _clouds(bands.shape[1:], cloudy, settings.cloud_size / 10.0, random)
        bands[:, under] = np.nan
        months.append(bands.astype(np.float32))
    return np.stack(months)


# Radar images of a simulated city: walls, roofs and shadows by the core, and corners.

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
    """Make a year of radar images of a city.

    Parameters
    ----------
    city, site : City, Site
        What is seen, and where it lies.
    settings : RadarSettings
        How it is seen.
    random : numpy.random.Generator
        Source of the random numbers: buildings, weather and speckle.
    descending : RadarSettings, optional
        How the descending pass sees it, if not as the ascending one does.

    Returns
    -------
    array, shape (12, 4, rows, columns)
        sigma0 on cells of 10 m, linear power, January to December; the bands are those of
        `sarheight.buildings.SAR_BANDS`.
    """
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


# Simulated cities as stacks of images with the truth.

YEAR = "2020"


@dataclass(frozen=True, kw_only=True)
class CitySettings:
    """What a simulated city is made with.

    Parameters
    ----------
    cells : int
        Width and height of the stack in cells of 10 m; an even number.
    posting : float
        Metres between the cells of the raster on which the city is built.
    latitudes, longitudes : tuple of float
        Degrees between which the city lies. They decide how high the sun stands.
    radar : RadarSettings
        How the radar sees it.
    optical : OpticalSettings
        How the optical sensor sees it.
    styles : tuple of str
        Styles of building from which the city's is drawn, see `city_districts.STYLES`.
    gables : float
        Probability that tiled roofs are pitched.
    incidences : tuple of float, optional
        Degrees between which the incidence of each pass is drawn, instead of that of `radar`.
    levels : float
        Standard deviation in dB of the level of all backscatter from city to city.
    cloudiness : tuple of float, optional
        Range of the share of cloud in winter, instead of that of `optical`; in summer it is a
        fifth of it.
    """

    cells: int = 128
    posting: float = 2.5
    latitudes: tuple[float, float] = (44.0, 56.0)
    longitudes: tuple[float, float] = (0.0, 20.0)
    radar: RadarSettings = field(default_factory=RadarSettings)
    optical: OpticalSettings = field(default_factory=OpticalSettings)
    styles: tuple[str, ...] = ("european",)
    gables: float = 0.0
    incidences: tuple[float, float] | None = None
    levels: float = 0.0
    cloudiness: tuple[float, float] | None = None

    @classmethod
    def wide(cls, **others: Any) -> Self:  # noqa: ANN401  # any of the settings
        """Return a world as wide as that of real cities, except for the settings in `others`.

        Four styles of building with heights to 300 m, flat and pitched roofs, latitudes from 50
        degrees south to 60 north, the incidence of Sentinel-1 IW (29 to 46 degrees) for each pass,
        a level of backscatter that differs by 1 dB from city to city, missing months, snow, and a
        winter with 20 to 80 % cloud.
        """
        wide: dict[str, Any] = {
            "latitudes": (-50.0, 60.0),
            "styles": ("european", "north american", "east asian", "mediterranean"),
            "gables": 0.6,
            "incidences": (29.0, 46.0),
            "levels": 1.0,
            "cloudiness": (0.2, 0.8),
            "radar": RadarSettings(missing=0.08),
            "optical": OpticalSettings(snow=0.3),
        }
        return cls(**(wide | others))


def simulated_city(settings: CitySettings | None = None, *, seed: int = 0) -> xr.Dataset:
    """Simulate a city and a year of radar and optical images of it.

    Boxes on street grids, in districts from detached houses to tower blocks, with trees, gardens
    and now and then a river, on level ground. Radar: walls and roofs are laid over towards the
    radar by the same geometry that unfolds mountains, corners of wall and ground lie at the foot
    of the wall; two passes, two polarisations, speckle. Optical: materials, shadows as long as
    the sun's height makes them, plants through the year, clouds.

    Parameters
    ----------
    settings : CitySettings, optional
        What it is made with.
    seed : int
        The same seed makes the same city and the same images.

    Returns
    -------
    xarray.Dataset
        A city stack (see `sarheight.buildings.check_stack`) of twelve months with the bands
        `SAR_BANDS` as sigma0 and ten optical bands, ``height`` and ``footprint``. Its attributes
        say that it is simulated, with which settings.

    Raises
    ------
    ValueError
        If the number of cells is odd, or a cell is no whole number of the fine ones.
    """
    chosen = CitySettings() if settings is None else settings
    if chosen.cells < 2 or chosen.cells % 2:
        msg = f"found {chosen.cells} cells, expected an even number: some bands have cells of 20 m"
        raise ValueError(msg)
    style, gables, passes, sky = _drawn(chosen, np.random.default_rng([seed, 10]))
    city = make_city(
        chosen.cells * POSTING, seed, posting=chosen.posting, style=style, gables=gables
    )
    random = np.random.default_rng([seed, 7])
    site = _site(chosen, random)
    radar = city_radar(city, site, passes[0], np.random.default_rng([seed, 8]), passes[1])
    optical = city_optical(city, site.latitude, sky, np.random.default_rng([seed, 9]))
    months = np.arange(f"{YEAR}-01", f"{int(YEAR) + 1}-01", dtype="datetime64[M]")
    coordinates = {
        "month": months.astype("datetime64[ns]"),
        "y": site.north + POSTING * (chosen.cells - 0.5 - np.arange(chosen.cells)),
        "x": site.east + POSTING * (np.arange(chosen.cells) + 0.5),
    }
    ground = {name: coordinates[name] for name in ("y", "x")}
    height, footprint = heights_in_cells(city)
    return city_stack(
        sar=_placed(
            xr.DataArray(
                radar,
                dims=("month", "sar_band", "y", "x"),
                coords={**coordinates, "sar_band": list(SAR_BANDS)},
                attrs={"long_name": "backscatter", "units": "1", "calibration": "sigma0"},
            ),
            site,
        ),
        optical=_placed(
            xr.DataArray(
                optical,
                dims=("month", "optical_band", "y", "x"),
                coords={**coordinates, "optical_band": list(CITY_BANDS)},
                attrs={"long_name": "surface reflectance", "units": "1"},
            ),
            site,
        ),
        layers={
            name: _placed(
                xr.DataArray(values, dims=("y", "x"), coords=ground, attrs=attributes), site
            )
            for name, values, attributes in (
                ("height", height, {"long_name": "height of buildings", "units": "m"}),
                ("footprint", footprint, {"long_name": "built share", "units": "1"}),
            )
        },
        attributes={
            "simulated": "a city of boxes on street grids, and radar and optical images of it",
            "provenance": "simulated by benchmarks.synthetic.city_images.simulated_city",
            "settings": {**asdict(chosen), "seed": seed},
            "style": style,
            "incidences": [each.incidence for each in passes],
            "latitude": site.latitude,
        },
    )


def heights_in_cells(city: City) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return height and footprint in cells of 10 m, as a city stack defines them."""
    fine = round(POSTING / city.posting)
    building = city.building[city.inner]
    footprint = in_cells((building > 0.0).astype(np.float64), fine)
    height = np.divide(
        in_cells(building, fine), footprint, out=np.zeros(footprint.shape), where=footprint > 0.0
    )
    return height.astype(np.float32), footprint.astype(np.float32)


def _drawn(
    settings: CitySettings, random: np.random.Generator
) -> tuple[str, bool, tuple[RadarSettings, RadarSettings], OpticalSettings]:
    """Draw the style of a city, whether its roofs are pitched, both passes and the sky."""
    style = str(random.choice(settings.styles))
    gables = bool(random.random() < settings.gables)
    level = settings.radar.level + settings.levels * float(random.standard_normal())
    radar = replace(settings.radar, level=level)
    passes = radar, radar
    if settings.incidences is not None:
        drawn = random.uniform(*settings.incidences, 2)
        passes = (
            replace(radar, incidence=float(drawn[0])),
            replace(radar, incidence=float(drawn[1])),
        )
    sky = settings.optical
    if settings.cloudiness is not None:
        winter = float(random.uniform(*settings.cloudiness))
        sky = replace(sky, clouds=(winter, 0.2 * winter))
    return style, gables, passes, sky


def _site(settings: CitySettings, random: np.random.Generator) -> Site:
    """Draw where the city lies; its cells lie on whole tens of metres."""
    latitude, longitude = random.uniform(*settings.latitudes), random.uniform(*settings.longitudes)
    zone = int((longitude + 180.0) // 6.0) % 60 + 1
    crs = pyproj.CRS.from_epsg((32600 if latitude >= 0.0 else 32700) + zone)
    into = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    east, north = into.transform(longitude, latitude)
    half = 0.5 * settings.cells * POSTING
    corner = [POSTING * round((value - half) / POSTING) for value in (east, north)]
    return Site(crs, corner[0], corner[1], float(latitude), float(longitude))


def _placed(raster: xr.DataArray, site: Site) -> xr.DataArray:
    placed: xr.DataArray = raster.rio.write_crs(site.crs)
    return placed
