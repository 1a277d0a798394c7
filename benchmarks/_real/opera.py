"""Real terrain-flattened Sentinel-1 pixels of OPERA over mountains of southern California.

Four sites of 100 x 100 cells of 30 m with steep slopes, on 31 dates from 2021 to 2025, lie on the
DEM of SRTM (3 arc seconds) that is among the data. Their track, 137, is the ascending orbit of
track 64 turned about the Earth's axis: 73 orbits of 175 in 12 days. The mean gamma0 of all dates,
whose speckle is small, is compared with the local incidence that the DEM predicts:

- *registration*: by how many cells gamma0 must be moved to be explained best by it. What is
  explained is the correlation ratio: the standard deviation of the mean gamma0 in dB of classes of
  incidence, over that of gamma0;
- *incidence range*: by how many decibels gamma0 is brighter below 20 degrees than at 30 to 50.
  Dividing by the area leaves the angular law of the ground in;
- *unfolded*: each date is taken back to radar geometry and reconstructed with the DEM of SRTM. The
  truth is not known. What can be told is how much gamma0 of a cell varies over the dates, which
  is mostly speckle, where its pixels are shared and where not, and whether the brightest cells are
  those in layover (the area under the curve of hits against false alarms; 0.5 is chance).
"""

from __future__ import annotations

import json
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rioxarray  # noqa: F401 - registers `.rio`
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from scipy.stats import rankdata

from benchmarks._mountains.scenes import SOCAL_ASCENDING, data_file
from sarheight import dem as elevation
from sarheight.archives import to_radar
from sarheight.geometry import incidence
from sarheight.grid import RadarGrid
from sarheight.layover import FLAGS, reconstruct
from sarheight.sentinel1 import read_orbit

if TYPE_CHECKING:
    from benchmarks._figures import Value
    from sarheight.orbit import Orbit

__all__ = ["SITES", "measure"]

SITES = ("292319", "292320", "292321", "292322")
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
SHARED, OWN = 0.5, 0.75
"""Shares of a cell in its pixels below which they are shared, and above which its own."""
FEWEST = 30
"""Cells of which a mean is reported."""
LAYOVER = tuple(FLAGS[name] for name in FLAGS if "layover" in name)
"""Codes of the mask."""
Floats = NDArray[np.float64]


def gamma0_of_dates(site: str, folder: str | None) -> xr.DataArray:
    """Read gamma0 in VV of all dates, linear power, dims (time, y, x)."""
    with rasterio.open(data_file(FILE.format(site), folder)) as file:
        bands = {
            i: str(name).removeprefix("VV_")
            for i, name in enumerate(file.descriptions, 1)
            if str(name).startswith("VV")
        }
        power = 10.0 ** (file.read([*bands], masked=True).astype(float).filled(np.nan) / 1000.0)
        transform, crs = file.transform, file.crs
    rows, columns = power.shape[1:]
    found = xr.DataArray(
        power,
        dims=("time", "y", "x"),
        coords={
            "time": [np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:]}", "ns") for d in bands.values()],
            "y": transform.f + transform.e * (np.arange(rows) + 0.5),
            "x": transform.c + transform.a * (np.arange(columns) + 0.5),
        },
    )
    placed: xr.DataArray = found.rio.write_crs(crs)
    return placed


def mean_gamma0(site: str, folder: str | None) -> xr.DataArray:
    """Average gamma0 in VV over all dates, in decibels, dims (y, x)."""
    dates = gamma0_of_dates(site, folder)
    mean: xr.DataArray = 10.0 * np.log10(dates.mean("time"))
    return mean.rio.write_crs(dates.rio.crs)


def heights_around(gamma0: xr.DataArray, folder: str | None) -> xr.DataArray:
    """Interpolate the DEM to the cells of a map and some around it, as the library does."""
    heights = elevation.check_dem(elevation.open_dem(data_file(DEM, folder), vertical=GEOID))
    return elevation.to_grid(heights, elevation.grid_like(gamma0).pad(AROUND))


def smooth_heights(gamma0: xr.DataArray, folder: str | None) -> xr.DataArray:
    """Smooth the DEM by splines on the cells of a map, and some around it."""
    heights = elevation.check_dem(elevation.open_dem(data_file(DEM, folder), vertical=GEOID))
    wide = gamma0.rio.pad_box(*_around(gamma0.rio.bounds(), gamma0.rio.resolution()))
    dem = heights.rio.reproject_match(wide, resampling=Resampling.cubic_spline)
    placed: xr.DataArray = dem.assign_attrs(units="m", vertical_datum="ellipsoid")
    return placed


def local_incidence(gamma0: xr.DataArray, orbit: Orbit, folder: str | None) -> xr.DataArray:
    """Predict the local incidence of a map's cells in degrees, on heights of splines."""
    dem = smooth_heights(gamma0, folder)
    longitude, latitude = place_of(gamma0)
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


def place_of(gamma0: xr.DataArray) -> tuple[float, float]:
    """Return the middle of a map: longitude and latitude in degrees."""
    to_degrees = Transformer.from_crs(gamma0.rio.crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(float(gamma0.x.mean()), float(gamma0.y.mean()))
    return longitude, latitude


def as_product(gamma0: xr.DataArray, start: str, name: str) -> xr.Dataset:
    """Give gamma0 in VV of a date, dims (y, x), the form of a product that was opened."""
    dataset = gamma0.expand_dims(polarisation=["VV"]).to_dataset(name="gamma0").astype(np.float32)
    record = {"mission": "S1A", "start": start, "end": start, "orbit_state": "ascending"}
    placed: xr.Dataset = dataset.rio.write_crs(gamma0.rio.crs)
    return placed.assign_attrs(
        terrain_flattened=True,
        source="OPERA RTC-S1",
        product_name=name,
        acquisition=json.dumps([record]),
    )


def incidence_range(decibels: Floats, angle: Floats) -> float:
    """Return by how much steep ground is brighter than gentle ground; NaN where there is none."""
    steep, gentle = (
        decibels[(angle >= low) & (angle < high) & np.isfinite(decibels)]
        for low, high in (STEEP, GENTLE)
    )
    if min(steep.size, gentle.size) == 0:
        return np.nan
    return float(steep.mean() - gentle.mean())


def unfolded(dates: xr.DataArray, dem: xr.DataArray, orbit: Orbit) -> xr.Dataset:
    """Take all dates back to radar geometry and reconstruct them, in one: dims (time, y, x).

    One acquisition stands for all of them: the dates of a track have the same geometry but for
    some hundred metres of baseline.
    """
    longitude, latitude = place_of(dates)
    pass_ = RadarGrid.over(orbit, latitude, longitude, lines=1, samples=1, height=float(dem.mean()))
    start = str(orbit.with_epoch(pass_.epoch).utc(pass_.first_time))
    found = []
    for date in dates:
        product_ = as_product(date.drop_vars("time"), start, str(date.time.values)[:10])
        scene = to_radar(product_, dem, orbit)
        result = reconstruct(scene, dem, variables=("gamma0", "contribution_share", "mask"))
        found.append(result.sel(y=dates.y, x=dates.x, method="nearest"))
    return xr.concat(found, "time", join="override", combine_attrs="override")


def _hits(value: Floats, marked: NDArray[np.bool_]) -> float:
    """Return the probability that a marked cell is brighter than one that is not."""
    known = np.isfinite(value)
    rank = rankdata(value[known])
    count = int(marked[known].sum())
    if count in {0, rank.size}:
        return np.nan
    return float((rank[marked[known]].mean() - 0.5 * (count + 1)) / (rank.size - count))


def after_unfolding(
    site: str, dates: xr.DataArray, result: xr.Dataset, angle: Floats
) -> dict[str, Value]:
    """Compare gamma0 of the product and after unfolding, by shares and in layover."""
    start, figures = f"real.opera.{site}", {}
    share = result["contribution_share"].isel(time=0).values.squeeze()
    folded = np.isin(result["mask"].isel(time=0).values.squeeze(), LAYOVER)
    figures[f"{start}.layover"] = float(folded.mean())
    for name, values in (("rtc", dates.values), ("unfolded", result["gamma0"].values.squeeze())):
        decibels = 10.0 * np.log10(np.maximum(values, 1e-6))
        mean = 10.0 * np.log10(values.mean(axis=0))
        for label, cells in (("shared", share < SHARED), ("own", share > OWN)):
            if cells.sum() >= FEWEST:
                figures[f"{start}.spread_{label}.{name}"] = float(
                    np.nanmean(decibels.std(axis=0)[cells])
                )
        if folded.sum() >= FEWEST:
            figures[f"{start}.layover_auc.{name}"] = _hits(mean, folded)
        if name == "unfolded":
            figures[f"{start}.incidence_range.{name}"] = incidence_range(mean, angle)
    return figures


def track_137(folder: str | None = None) -> Orbit:
    """Return the ascending orbit of the images."""
    return read_orbit(data_file(SOCAL_ASCENDING, folder)).rotate(TURN)


def flattened(
    site: str, orbit: Orbit, folder: str | None = None
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Compare the mean of all dates with predicted incidence: figures, and the incidence."""
    gamma0 = mean_gamma0(site, folder)
    angle = local_incidence(gamma0, orbit, folder).values.astype(np.float64)
    moved, ratio = registration(gamma0.values, angle)
    return {
        "registration": moved,
        "correlation_ratio": ratio,
        "incidence_range": incidence_range(gamma0.values, angle),
    }, angle


def measure(folder: str | None = None) -> dict[str, Value]:
    """Measure all sites."""
    orbit = track_137(folder)
    figures: dict[str, Value] = {}
    for site in SITES:
        found, angle = flattened(site, orbit, folder)
        figures |= {f"real.opera.{site}.{name}": value for name, value in found.items()}
        dates = gamma0_of_dates(site, folder)
        result = unfolded(dates, heights_around(dates[0], folder), orbit)
        figures |= after_unfolding(site, dates, result, angle)
    # Gentle ground has no steep cells, and nothing to be told of them.
    return {key: value for key, value in figures.items() if np.isfinite(value)}
