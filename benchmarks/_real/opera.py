"""Real terrain-flattened Sentinel-1 pixels of OPERA over mountains of southern California.

Three sites of 100 x 100 cells of 30 m with steep slopes, on 31 dates from 2021 to 2025, lie on the
DEM of SRTM (3 arc seconds) that is among the data. Their track, 137, is the ascending orbit of
track 64 turned about the Earth's axis: 73 orbits of 175 in 12 days. The mean gamma0 of all dates,
whose speckle is small, is compared with the local incidence that the DEM predicts:

- *registration*: by how many cells gamma0 must be moved to be explained best by it. What is
  explained is the correlation ratio: the standard deviation of the mean gamma0 in dB of classes of
  incidence, over that of gamma0;
- *incidence range*: by how many decibels gamma0 is brighter below 20 degrees than at 30 to 50.
  Dividing by the area leaves the angular law of the ground in.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rioxarray  # noqa: F401 - registers `.rio`
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling

from benchmarks._mountains.scenes import SOCAL_ASCENDING, data_file
from sarheight import dem as elevation
from sarheight.geometry import incidence
from sarheight.grid import RadarGrid
from sarheight.sentinel1 import read_orbit

if TYPE_CHECKING:
    from benchmarks._figures import Value
    from sarheight.orbit import Orbit

__all__ = ["SITES", "measure"]

SITES = ("292320", "292321", "292322")
FILE = "sentinel1/opera_rtc_socal/T137-{}-IW2_VV_VH_31dates_cdB.tif"
DEM = "dem/srtm3_santa_barbara_N34_W120.tif"
TURN = 73.0 * -360.0 * 12.0 / 175.0 % -360.0
"""Degrees about the Earth's axis from track 64 to track 137."""
GEOID = -36.0
"""Height of the geoid above the ellipsoid in metres, roughly."""
PIXELS = 4000
"""Lines and samples of an image that holds a site."""
AROUND = 30
"""Cells of the DEM around a site."""
FARTHEST = 4
"""Cells by which gamma0 is moved, each way."""
STEEP, GENTLE = (0.0, 20.0), (30.0, 50.0)
"""Local incidence in degrees."""
CLASS = 3.0
"""Width of a class of incidence in degrees."""
Floats = NDArray[np.float64]


def mean_gamma0(site: str, folder: str | None) -> xr.DataArray:
    """Average gamma0 in VV over all dates, in decibels, dims (y, x)."""
    with rasterio.open(data_file(FILE.format(site), folder)) as file:
        bands = [i for i, name in enumerate(file.descriptions, 1) if str(name).startswith("VV")]
        power = 10.0 ** (file.read(bands, masked=True).astype(float).filled(np.nan) / 1000.0)
        transform, crs = file.transform, file.crs
    rows, columns = power.shape[1:]
    mean = xr.DataArray(
        10.0 * np.log10(power.mean(axis=0)),
        dims=("y", "x"),
        coords={
            "y": transform.f + transform.e * (np.arange(rows) + 0.5),
            "x": transform.c + transform.a * (np.arange(columns) + 0.5),
        },
    )
    placed: xr.DataArray = mean.rio.write_crs(crs)
    return placed


def local_incidence(gamma0: xr.DataArray, orbit: Orbit, folder: str | None) -> xr.DataArray:
    """Predict the local incidence of a map's cells in degrees, on heights of splines."""
    heights = elevation.open_dem(data_file(DEM, folder), vertical=GEOID)
    wide = gamma0.rio.pad_box(*_around(gamma0.rio.bounds(), gamma0.rio.resolution()))
    dem = elevation.check_dem(heights).rio.reproject_match(wide, resampling=Resampling.cubic_spline)
    dem = dem.assign_attrs(units="m", vertical_datum="ellipsoid")
    middle = float(gamma0.x.mean()), float(gamma0.y.mean())
    longitude, latitude = Transformer.from_crs(gamma0.rio.crs, 4326, always_xy=True).transform(
        *middle
    )
    grid = RadarGrid.over(
        orbit, latitude, longitude, lines=PIXELS, samples=PIXELS, height=float(dem.mean())
    )
    found = incidence(dem, grid, orbit)["local_incidence"]
    return found.sel(y=gamma0.y, x=gamma0.x, method="nearest")


def _around(
    bounds: tuple[float, float, float, float], steps: tuple[float, float]
) -> tuple[float, float, float, float]:
    west, south, east, north = bounds
    margin = AROUND * abs(steps[0])
    return west - margin, south - margin, east + margin, north + margin


def explained(gamma0: Floats, angle: Floats) -> float:
    """Return the correlation ratio of gamma0 in dB and classes of incidence."""
    kind = (angle // CLASS).astype(np.int64)
    count, total = np.bincount(kind), np.bincount(kind, gamma0)
    mean = total / np.maximum(count, 1)
    return float(mean[kind].std() / gamma0.std())


def registration(gamma0: Floats, angle: Floats) -> tuple[float, float]:
    """Return by how many cells gamma0 moves to be explained best, and how well it is in place."""
    inside = (slice(FARTHEST, -FARTHEST),) * 2
    moves = list(product(range(-FARTHEST, FARTHEST + 1), repeat=2))

    def fit(move: tuple[int, int]) -> float:
        return explained(np.roll(gamma0, move, axis=(0, 1))[inside].ravel(), angle[inside].ravel())

    return float(np.hypot(*max(moves, key=fit))), fit((0, 0))


def measure(folder: str | None = None) -> dict[str, Value]:
    """Measure all sites."""
    orbit = read_orbit(data_file(SOCAL_ASCENDING, folder)).rotate(TURN)
    figures: dict[str, Value] = {}
    for site in SITES:
        gamma0 = mean_gamma0(site, folder)
        angle = local_incidence(gamma0, orbit, folder).values.astype(np.float64)
        decibels = gamma0.values
        moved, ratio = registration(decibels, angle)
        steep, gentle = (
            decibels[(angle >= low) & (angle < high)].mean() for low, high in (STEEP, GENTLE)
        )
        figures[f"real.opera.{site}.registration"] = moved
        figures[f"real.opera.{site}.correlation_ratio"] = ratio
        figures[f"real.opera.{site}.incidence_range"] = float(steep - gentle)
    return figures
