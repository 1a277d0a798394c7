"""The places of the independent test: crops of real DEMs, picked by a rule, on a grid of 30 m.

A crop has 300 x 300 cells of 30 m, in the UTM zone of its middle. It is the square of 9 km whose
cells lie in layover most often: the DEM's rows, averaged to about 90 m, are seen from the west and
from the east at a constant incidence of 33 degrees, and a cell counts by the share of both in which
its slant range occurs elsewhere in its row. Squares of which more than 2 % are voids, and those
nearer than 500 m to the DEM's edge, are left out; the voids of the others are interpolated. Nothing
but the DEM decides, and no result of a method.

Fresh places are the two squares of the largest shares, the second apart from the first, in the one
DEM of the data that no other place is in and of which a square has 2 % in layover: that of Santa
Barbara. (Those of the Moroccan bursts have 0.2 % and less.) Some of its hills are in the test on
real pixels, where nothing was chosen.

Heights are interpolated by cubic splines. DEMs of 90 m lack the relief of short wavelengths,
without which 30 m cells would have no facets of their own: it is added as noise with the spectrum
that the DEM itself has at 300 to 1,200 m, continued to 60 m as a power law, less what the DEM
already has there, and in proportion to the slopes around. That detail is simulated.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyproj
import xarray as xr
from numpy.typing import NDArray
from rasterio.fill import fillnodata
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter

from benchmarks._mountains.scenes import data_file
from sarheight.dem import open_dem

__all__ = [
    "CELLS",
    "PLACES",
    "POSTING",
    "Group",
    "Place",
    "crop_at",
    "places_of",
    "source_of",
    "steepest_crop",
    "true_dem",
]

Floats = NDArray[np.float64]
Group = Literal["development", "scored", "fresh"]

CELLS, POSTING = 300, 30.0
"""Cells along the side of a crop, and their size in metres."""
SCAN_POSTING, SCAN_INCIDENCE = 90.0, 33.0
"""Metres between cells, and degrees, at which the rule counts layover."""
BORDER = 500.0
"""Metres that a crop keeps from the DEM's edge."""
MOST_VOIDS = 0.02
"""Share of a crop's cells that may be voids."""
VOID_REACH = 100
"""Cells from which voids are interpolated."""
LACKING = 1.5
"""DEMs whose posting is larger than that of the grid by this factor get simulated detail."""
FITTED, LONGEST_ADDED = (300.0, 1200.0), 300.0
"""Wavelengths in metres at which the spectrum is fitted, and from which down to two cells detail is
added."""
AROUND = 10
"""Cells by which the DEM is cut wider than a crop before it is interpolated."""


@dataclass(frozen=True)
class Place:
    """A place of the test."""

    name: str  # As in the keys of the figures
    title: str  # As in tables
    dem: str  # File of its DEM in the data folder
    group: Group  # Whether methods may be chosen by it; fresh ones were scored once
    rank: int = 0  # How many squares of a larger share in layover, each apart, its DEM has


FRESH = "dem/srtm3_santa_barbara_N34_W120.tif"
"""DEM of the fresh places."""
PLACES = {
    place.name: place
    for place in (
        Place("big_tujunga", "Big Tujunga", "dem/srtm1_bigtujunga_30m.tif", "development"),
        Place("leh", "Leh", "dem/dem1s_leh_ladakh_30m.tif", "development"),
        Place("taebaek", "Taebaek", "dem/srtm3_taebaek_N37_E127-128.tif", "development"),
        Place("nkorea", "North Korea", "dem/srtm3_nkorea_N40-41_E125-128.tif", "development"),
        Place("arco", "Arco", "dem/srtm_garda_arco_webmerc.tif", "scored"),
        Place("bavarian_alps", "Bavarian Alps", "dem/srtm1_bavarian_alps_30m.tif", "scored"),
        Place("svalbard", "Svalbard", "dem/npi20m_svalbard_longyearbyen_1995.tif", "scored"),
        Place("oetztal", "Oetztal", "dem/srtm3_oetztal.tif", "scored"),
        Place("bernese_alps", "Bernese Alps", "dem/srtm3_bernese_alps_N46_E008.tif", "scored"),
        Place("japan_alps", "Japan Alps", "dem/srtm3_japan_alps_N36_E137.tif", "scored"),
        Place("aconcagua", "Aconcagua", "dem/srtm3_aconcagua_S33_W071.tif", "scored"),
        Place("san_emigdio", "San Emigdio Mountains", FRESH, "fresh"),
        Place("sespe", "Sespe", FRESH, "fresh", rank=1),
    )
}


def places_of(group: Group) -> list[Place]:
    """List the places of a group."""
    return [place for place in PLACES.values() if place.group == group]


def true_dem(place: Place, folder: str | None = None) -> xr.DataArray:
    """Make the true DEM of a place: float64, dims (y, x), 300 x 300 cells of 30 m in UTM."""
    source = source_of(place, folder)
    longitude, latitude = steepest_crop(source, place.rank)
    return crop_at(source, longitude, latitude, seed=zlib.crc32(place.name.encode()))


def source_of(place: Place, folder: str | None = None) -> xr.DataArray:
    """Open the whole DEM of a place, heights above the ellipsoid, its voids interpolated."""
    return _filled(open_dem(data_file(place.dem, folder), vertical="ellipsoidal"))


def crop_at(
    source: xr.DataArray,
    longitude: float,
    latitude: float,
    *,
    seed: int,
    cells: int = CELLS,
    posting: float = POSTING,
) -> xr.DataArray:
    """Interpolate the crop about a point in degrees of a DEM that `source_of` returned.

    If the DEM lacks it, detail is simulated from a seed.
    """
    zone = int((longitude + 180.0) // 6.0) + 1
    crs = pyproj.CRS.from_epsg((32600 if latitude > 0.0 else 32700) + zone)
    to_map = pyproj.Transformer.from_crs(4326, crs, always_xy=True)
    middle = np.round(np.array(to_map.transform(longitude, latitude)) / posting) * posting
    offset = posting * (np.arange(cells) - 0.5 * (cells - 1))
    x, y = middle[0] + offset, middle[1] - offset
    heights = _interpolated(source, x, y, crs)
    if max(_postings(source)) > LACKING * posting:
        heights += _detail(heights, seed, posting)
    if not np.isfinite(heights).all():
        msg = f"found voids about {latitude:.3f}, {longitude:.3f} that could not be interpolated"
        raise ValueError(msg)
    dem = xr.DataArray(
        heights,
        dims=("y", "x"),
        coords={"y": y, "x": x},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
    )
    placed: xr.DataArray = dem.rio.write_crs(crs)
    return placed


def _filled(dem: xr.DataArray) -> xr.DataArray:
    """Interpolate the voids of a DEM; the coordinate ``void`` tells where they were."""
    known = np.isfinite(dem.values)
    heights = fillnodata(dem.values.astype(np.float32), known, max_search_distance=VOID_REACH)
    return dem.copy(data=heights).assign_coords(void=(("y", "x"), ~known))


def _postings(dem: xr.DataArray) -> tuple[float, float]:
    """Distance in metres between rows and columns on the ground, in the DEM's middle."""
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    geodesy = pyproj.Geod(ellps="WGS84")
    x, y = (dem[name].values for name in ("x", "y"))
    i, j = y.size // 2, x.size // 2
    here = to_degrees.transform(x[j], y[i])
    below, right = to_degrees.transform(x[j], y[i - 1]), to_degrees.transform(x[j - 1], y[i])
    return float(geodesy.inv(*here, *below)[2]), float(geodesy.inv(*here, *right)[2])


def layover_share(heights: Floats, posting: float, incidence: float) -> Floats:
    """Share of the views from west and east in which each cell's slant range is not unique.

    Columns are `posting` metres apart; NaN is no part of any row. The incidence is in degrees.
    """
    angle = np.radians(incidence)
    x = posting * np.arange(heights.shape[1])
    share = np.zeros(heights.shape)
    for side in (1, -1):
        course = x * np.sin(angle) - heights[:, ::side] * np.cos(angle)
        before = np.fmax.accumulate(course, axis=1)
        after = np.fmin.accumulate(course[:, ::-1], axis=1)[:, ::-1]
        # A cell's own range is among both; another that is equal needs no counting.
        folded = (before > course) | (after < course)
        share += 0.5 * folded[:, ::side]
    return share


def steepest_crop(dem: xr.DataArray, rank: int = 0) -> tuple[float, float]:
    """Find the crop of the largest share in layover; longitude and latitude of its middle.

    With a rank it is the one that so many crops precede, none of which overlap.
    """
    posting = _postings(dem)
    step = [max(round(SCAN_POSTING / each), 1) for each in posting]
    whole = [size - size % each for size, each in zip(dem.shape, step, strict=True)]
    coarse = dem.isel(y=slice(whole[0]), x=slice(whole[1])).astype(np.float64)
    coarse = coarse.coarsen(y=step[0], x=step[1], coord_func={"void": np.mean}).reduce(np.mean)
    size = [round(CELLS * POSTING / (each * by)) for each, by in zip(posting, step, strict=True)]
    folded = layover_share(coarse.values, posting[1] * step[1], SCAN_INCIDENCE)
    share = uniform_filter(folded, size)
    share[uniform_filter(coarse.void.values.astype(np.float64), size) > MOST_VOIDS] = -1.0
    for axis in range(2):
        kept = size[axis] // 2 + round(BORDER / (posting[axis] * step[axis])) + 1
        edge = np.moveaxis(share, axis, 0)
        edge[:kept] = edge[-kept:] = -1.0
    for _ in range(rank):
        row, column = np.unravel_index(int(np.argmax(share)), share.shape)
        above, left = max(row - size[0], 0), max(column - size[1], 0)
        share[above : row + size[0] + 1, left : column + size[1] + 1] = -1.0
    row, column = np.unravel_index(int(np.argmax(share)), share.shape)
    to_degrees = pyproj.Transformer.from_crs(dem.rio.crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(
        float(coarse.x[int(column)]), float(coarse.y[int(row)])
    )
    return float(longitude), float(latitude)


def _interpolated(dem: xr.DataArray, x: Floats, y: Floats, crs: pyproj.CRS) -> Floats:
    """Interpolate heights at the cells of another grid by cubic splines."""
    back = pyproj.Transformer.from_crs(crs, dem.rio.crs, always_xy=True)
    there = back.transform(*np.meshgrid(x, y))
    index = [
        (each - float(dem[name][0])) / float(dem[name][1] - dem[name][0])
        for name, each in (("y", there[1]), ("x", there[0]))
    ]
    first = [max(int(each.min()) - AROUND, 0) for each in index]
    last = [int(each.max()) + AROUND for each in index]
    part = dem.values[first[0] : last[0], first[1] : last[1]].astype(np.float64)
    posting, wanted = _postings(dem), abs(float(x[1] - x[0]))
    if max(posting) < wanted:
        # A larger cell averages; the Gaussian has 0.4 of its width as standard deviation.
        part = gaussian_filter(
            part, [0.4 * np.sqrt(wanted**2 - each**2) / each for each in posting]
        )
    heights: Floats = map_coordinates(
        part, [each - start for each, start in zip(index, first, strict=True)], order=3
    )
    return heights


def _detail(heights: Floats, seed: int, posting: float = POSTING) -> Floats:
    """Draw relief of short wavelengths that continues the spectrum of heights, in metres."""
    rows, columns = heights.shape
    shortest = 2.0 * posting
    window = np.hanning(rows)[:, None] * np.hanning(columns)
    level = heights - gaussian_filter(heights, 1200.0 / posting)
    # Power of each Fourier coefficient, as of the same heights without the window.
    power = np.abs(np.fft.fft2(level * window)) ** 2 / np.mean(window**2)
    frequency = np.hypot(
        np.fft.fftfreq(rows, posting)[:, None], np.fft.fftfreq(columns, posting)[None, :]
    )
    edges = np.geomspace(1.0 / 2400.0, 1.0 / shortest, 40)
    index = np.digitize(frequency, edges)
    count = np.bincount(index.ravel(), minlength=edges.size + 1)
    mean = np.bincount(index.ravel(), power.ravel(), edges.size + 1) / np.maximum(count, 1)
    centre = np.bincount(index.ravel(), frequency.ravel(), edges.size + 1) / np.maximum(count, 1)
    used = (count > 0) & (centre > 1.0 / FITTED[1]) & (centre < 1.0 / FITTED[0])
    slope, offset = np.polyfit(np.log(centre[used]), np.log(mean[used]), 1)
    added = (frequency > 1.0 / LONGEST_ADDED) & (frequency < 1.0 / shortest)
    law = np.exp(offset + slope * np.log(np.where(added, frequency, 1.0)))
    missing = np.where(added, np.maximum(law - mean[index], 0.0), 0.0)
    # White noise of variance 1 has Fourier coefficients of power rows * columns.
    white = np.fft.fft2(np.random.default_rng(seed).standard_normal(heights.shape))
    noise = np.fft.ifft2(white * np.sqrt(missing / heights.size)).real
    steep = np.hypot(*np.gradient(heights, posting))
    around = gaussian_filter(steep, 300.0 / posting)
    detail: Floats = noise * np.clip(around / np.sqrt(np.mean(around**2)), 0.0, 2.0)
    return detail
