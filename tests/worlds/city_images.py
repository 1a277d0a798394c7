"""Simulated cities as stacks of images with the truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray

from sarheight.buildings.stack import POSTING, SAR_BANDS, city_stack
from tests.worlds.city import City, in_cells, make_city
from tests.worlds.city_optical import CITY_BANDS, OpticalSettings, city_optical
from tests.worlds.city_radar import RadarSettings, Site, city_radar

YEAR = "2020"


@dataclass(frozen=True, kw_only=True)
class CitySettings:
    """What a simulated city is made with."""

    cells: int = 128  # Width and height of the stack in cells of 10 m; an even number
    posting: float = 2.5  # Metres between the cells of the raster on which the city is built
    # Degrees between which the city lies; they decide how high the sun stands
    latitudes: tuple[float, float] = (44.0, 56.0)
    longitudes: tuple[float, float] = (0.0, 20.0)
    radar: RadarSettings = field(default_factory=RadarSettings)
    optical: OpticalSettings = field(default_factory=OpticalSettings)
    # Styles of building from which the city's is drawn, see `city_districts.STYLES`
    styles: tuple[str, ...] = ("european",)
    gables: float = 0.0  # Probability that tiled roofs are pitched
    # Degrees between which the incidence of each pass is drawn, instead of that of `radar`
    incidences: tuple[float, float] | None = None
    levels: float = 0.0  # Standard deviation in dB of the level of backscatter from city to city
    # Share of cloud in winter, instead of that of `optical`; in summer it is a fifth of it
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

    The same seed makes the same stack (see `sarheight.buildings.check_stack`): twelve months with
    the bands `SAR_BANDS` as sigma0 and ten optical bands, ``height`` and ``footprint``. Its
    attributes say that it is simulated, with which settings.
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
            "provenance": "simulated by tests.worlds.city_images.simulated_city",
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
