"""Real mountains under real orbits: where the simulated scenes of the benchmarks come from.

The elevation models and the state vectors are real. So that a place is seen under a chosen
incidence angle, the orbit is turned about the Earth's axis; the pixels are those of a real
annotation, for as long and as wide as the place needs. The annotation's range limits (IW2 begins
at 36 degrees) are set aside for that: an image of this sampling is what is asked for.

The heights of the elevation models are above the geoid and are taken as they stand: lifting
the whole place by the undulation would change nothing in a simulation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyproj

from sarheight import dem as elevation
from sarheight import geometry
from sarheight.grid import RadarGrid
from sarheight.illumination import Muhleman, simulate
from sarheight.orbit import Orbit, look_at
from sarheight.sentinel1 import read_grid, read_orbit, read_orbit_file
from sarheight.terrain.scenes import degrade_dem, patchy_reflectivity

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene

__all__ = [
    "ANNOTATIONS",
    "DATA",
    "PLACES",
    "Place",
    "Site",
    "coarse_dem",
    "data_file",
    "simulated",
    "sites",
]

DATA = "SARHEIGHT_DATA"
"""Environment variable that names the folder with the real data."""
COARSER = 3
"""How many cells of the truth make one of the DEM that the reconstruction is given, each way."""
LOOKS = 4.4
"""Equivalent number of looks of an IW GRDH, and of the SLC after averaging five samples."""
MARGIN = 20
"""Pixels around the place."""
LAW = Muhleman(0.087, 0.3)
"""Falls by 10 dB from 0 to 20 degrees, by 5 more to 40 and by 4 more to 60, as published C-band
curves of rock and soil do; -10 dB at 40 degrees."""
NOISE = 10.0**-2.2
"""Noise-equivalent sigma0, -22 dB: that of Sentinel-1 IW."""
HEIGHT_ERROR = 4.0 / 30.0
"""Standard deviation of the coarse DEM's height error, in postings of the fine one: 4 m at 30 m.
Scaling it with the posting keeps the error of the slopes."""

SOCAL_DESCENDING = (
    "sentinel1/socal/s1a-iw2-slc-vv-20230108t135251-20230108t135316-046693-0598d3-005.xml.xz"
)
SOCAL_ASCENDING = (
    "sentinel1/socal/s1a-iw2-slc-vv-20221016t015044-20221016t015109-045461-056fc0-005.xml.xz"
)
ALPS = (
    "sentinel1/alps_20210401/s1b-iw-grd-vv-20210401t052623-20210401t052648-026269-032297-001.xml.xz"
)
ORBIT_FILE = (
    "sentinel1/orbits/S1A_OPER_AUX_RESORB_OPOD_20230823T174849_V20230823T141024_20230823T172754"
    ".EOF.xz"
)
MOROCCO = "sentinel1/morocco_20230904/s1a-iw{}-slc-vv-{}-{}-{}.xml.xz"
ANNOTATIONS = (
    ALPS,
    (
        "sentinel1/alps_20210401/"
        "s1b-iw1-slc-vv-20210401t052624-20210401t052649-026269-032297-004.xml.xz"
    ),
    MOROCCO.format(1, "20230904t063731-20230904t063756", "050174", "0609e3-004"),
    MOROCCO.format(1, "20230916t063731-20230916t063756", "050349", "060fcd-004"),
    MOROCCO.format(2, "20230904t063732-20230904t063757", "050174", "0609e3-005"),
    SOCAL_ASCENDING,
    SOCAL_DESCENDING,
)
"""Every annotation among the real data."""


@dataclass(frozen=True)
class Place:
    """A place with real elevations, and the passes that see it."""

    name: str  # As in the keys of the figures
    dem: str  # Elevation model
    descending: str  # Annotation
    ascending: str  # Annotation, or an orbit file where there is none
    # Degrees under which it is seen: at 32 Oetztal would leave the Alps' image
    incidences: tuple[float, ...] = (32.0, 39.0)


PLACES = {
    place.name: place
    for place in (
        Place("big_tujunga", "dem/srtm1_bigtujunga_30m.tif", SOCAL_DESCENDING, SOCAL_ASCENDING),
        Place("leh", "dem/dem1s_leh_ladakh_30m.tif", SOCAL_DESCENDING, SOCAL_ASCENDING),
        Place("arco", "dem/srtm_garda_arco_webmerc.tif", ALPS, ORBIT_FILE),
        Place("oetztal", "dem/srtm3_oetztal.tif", ALPS, ORBIT_FILE, (33.0, 39.0)),
    )
}


def data_file(name: str, folder: str | Path | None = None) -> Path:
    """Find a file of the real data.

    Parameters
    ----------
    name : str
        Path within the data folder.
    folder : path, optional
        That folder. Left out, the environment variable SARHEIGHT_DATA names it, and where that is
        not set, it is the folder ``shared/data`` beside the checkout.

    Raises
    ------
    FileNotFoundError
        If the file is not there.
    """
    chosen = folder or os.environ.get(DATA) or Path(__file__).parents[3] / "shared" / "data"
    path = Path(chosen) / name
    if not path.exists():
        msg = (
            f"{path} does not exist. The benchmarks need real elevation models and annotations: "
            f"say where they are with --data FOLDER or the environment variable {DATA}"
        )
        raise FileNotFoundError(msg)
    return path


@dataclass(frozen=True)
class Site:
    """A place under an incidence angle."""

    place: Place
    incidence: float  # At its middle on the ellipsoid, in degrees
    folder: str | Path | None = None  # Where the data are; see `data_file`

    @property
    def name(self) -> str:
        """Name in the figures, such as ``leh_32``."""
        return f"{self.place.name}_{self.incidence:.0f}"

    @cached_property
    def dem(self) -> xr.DataArray:
        """The fine DEM, cut to whole cells of the coarse one."""
        path = data_file(self.place.dem, self.folder)
        dem = elevation.open_dem(path, vertical="ellipsoidal")
        rows, columns = (size - size % COARSER for size in dem.shape)
        return dem.isel(y=slice(rows), x=slice(columns))

    def descending(self) -> tuple[RadarGrid, Orbit]:
        """Return the descending pass."""
        return self._pass_of_annotation(self.place.descending)

    def ascending(self) -> tuple[RadarGrid, Orbit]:
        """Return the ascending pass."""
        if self.place.ascending == ORBIT_FILE:
            return self._pass_of_orbit_file(self.place.ascending)
        return self._pass_of_annotation(self.place.ascending)

    def _middle(self) -> tuple[float, float, float]:
        transformer = pyproj.Transformer.from_crs(self.dem.rio.crs, 4326, always_xy=True)
        longitude, latitude = transformer.transform(
            float(self.dem.x.mean()), float(self.dem.y.mean())
        )
        return latitude, longitude, float(self.dem.mean())

    def _pass_of_annotation(self, name: str) -> tuple[RadarGrid, Orbit]:
        """Take orbit and pixels from an annotation."""
        path = data_file(name, self.folder)
        orbit, grid = read_orbit(path), read_grid(path)
        latitude, longitude, height = self._middle()
        orbit = orbit.rotate(look_at(orbit, latitude, longitude, self.incidence, height=height))
        grid = _boundless(grid if grid.is_ground_range else grid.multilook(1, 5), orbit)
        return self._cut(grid, orbit), orbit

    def _pass_of_orbit_file(self, name: str) -> tuple[RadarGrid, Orbit]:
        """Take the orbit from an orbit file, and the pixels of 10 m that a GRD has."""
        orbit = read_orbit_file(data_file(name, self.folder))
        latitude, longitude, height = self._middle()
        turn = look_at(orbit, latitude, longitude, self.incidence, height=height, ascending=True)
        orbit = orbit.rotate(turn)
        grid = RadarGrid.over(
            orbit, latitude, longitude, lines=8000, samples=8000, height=height, looks=LOOKS
        )
        return self._cut(grid, orbit), orbit.crop(grid.first_time, grid.last_time)

    def _cut(self, grid: RadarGrid, orbit: Orbit) -> RadarGrid:
        """Cut a grid to the place."""
        seen = geometry.geo2rdr(self.dem, grid, orbit)
        part = {
            name: slice(
                int(np.floor(seen[name].min())) - MARGIN, int(np.ceil(seen[name].max())) + MARGIN
            )
            for name in ("line", "sample")
        }
        return replace(grid.crop(part["line"], part["sample"]), looks=LOOKS)


def _boundless(grid: RadarGrid, orbit: Orbit) -> RadarGrid:
    """Let a grid run along all of its orbit, and one in slant range across all of the swaths."""
    first, near, far = float(orbit.time[0]) + 1.0, 750e3, 1050e3
    longer = replace(
        grid,
        line_zero_time=first,
        lines=int((orbit.stop - 1.0 - first) / grid.line_interval),
        bursts=(),
    )
    if grid.is_ground_range:
        return longer
    return replace(longer, near_range=near, samples=int((far - near) / grid.sample_spacing))


def sites(names: list[str] | None = None, folder: str | Path | None = None) -> list[Site]:
    """List sites by their names, all of them by default.

    Raises
    ------
    ValueError
        If there is no site of a name.
    """
    every = [Site(place, angle, folder) for place in PLACES.values() for angle in place.incidences]
    known = {site.name: site for site in every}
    unknown = set(names or []) - set(known)
    if unknown:
        msg = f"found no scene {', '.join(sorted(unknown))}, expected some of {', '.join(known)}"
        raise ValueError(msg)
    return [known[name] for name in names] if names else every


def simulated(site: Site, random: np.random.Generator) -> Scene:
    """Simulate sigma0 of the descending pass: patchy ground, speckle, noise less its mean."""
    scene = simulate(
        site.dem,
        *site.descending(),
        law=LAW,
        reflectivity=patchy_reflectivity(site.dem, random),
        calibration="sigma0",
        looks=LOOKS,
        noise=NOISE,
        seed=int(random.integers(2**31)),
    )
    return replace(scene, image=scene.image - np.float32(NOISE))


def coarse_dem(site: Site, random: np.random.Generator) -> xr.DataArray:
    """Make a DEM that is three times coarser, and wrong by a correlated error."""
    sigma = HEIGHT_ERROR * float(np.sqrt(np.prod(elevation.local_posting(site.dem))))
    return degrade_dem(site.dem, random, factor=COARSER, error=sigma)
