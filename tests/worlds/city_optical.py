"""Optical images of a simulated city: materials, the sun's shadows, seasons and clouds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from tests.worlds.city import City, Cover, in_cells

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
    """What the optical images of a simulated city are made with."""

    variety: float = 0.2  # Standard deviation of the logarithm of reflectance within a cover
    blur: float = 11.0  # Width of the point spread function in metres, between its half values
    noise: float = 0.004  # Standard deviation of what sensor and atmosphere add to reflectance
    # Share of a month's composite that is missing, in the middle of winter and of summer
    clouds: tuple[float, float] = (0.5, 0.08)
    cloud_size: float = 120.0  # Metres over which clouds hang together
    # Probability that ground and roofs are under snow in the composite of a winter month
    snow: float = 0.0


def sun(month: int, latitude: float) -> tuple[float, float]:
    """Return where the sun stands in the middle of a month at the time of Sentinel-2."""
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
    """Tell which cells of a surface lie in the shadow of others."""
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
