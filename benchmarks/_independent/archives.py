"""Reconstruction by way of terrain-flattened products, beside that from the radar image itself.

A product is what an archive would deliver of an image of the independent simulator: gamma0 on a map
of 10, 20 or 30 m, flattened with a DEM that resolves 60 m and is wrong by 3 m, float32, without
what lies in shadow, nothing below zero. It is made by the RTC of this package, or by an area
projection that shares nothing with it: the DEM in facets of 5 m, projected one by one with the
geometry of the simulator, their areas shared by the four nearest pixels.

It is taken back with one of these DEMs, and then reconstructed with the user's of 90 m:

- *user*: that of the reconstruction;
- *provider*: that with which the product was flattened;
- *resampled*: the same at 60 m, interpolated again;
- *another*: one of 30 m with other errors of 5 m, as SRTM is for a product made with Copernicus.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from benchmarks._independent.filters import upsampled
from sarheight.archives import to_radar
from sarheight.layover import RTC, reconstruct
from tests.worlds.scatterer_geometry import (
    cell_positions,
    path_of,
    radar_coordinates,
    surface_of,
)
from tests.worlds.scattering_ground import AS_USED, DemForm, block_sums

if TYPE_CHECKING:
    import xarray as xr

    from benchmarks._independent.observations import Observed

__all__ = ["WAYS", "on_cells", "product_gamma0", "taken_back"]

Floats = NDArray[np.float64]
Maker = Literal["rtc", "projection"]
Posting = Literal[10, 20, 30]
Back = Literal["user", "provider", "resampled", "another"]

ANOTHER = DemForm(factor=1, resolution=90.0, error=5.0, length=3.0)
SEED = 1000
"""Added to the seed of a ground for the errors of another DEM."""
FACES = 6
"""Facets along a cell of 30 m in the independent projection."""
LEAST_AREA = 0.05
"""Part of a pixel's level area below which the independent projection gives no value."""

WAYS: dict[str, tuple[str, Maker, Posting, Back]] = {
    "back_30": ("RTC of 30 m, taken back", "rtc", 30, "user"),
    "back_20": ("RTC of 20 m, taken back", "rtc", 20, "user"),
    "back_10": ("RTC of 10 m, taken back", "rtc", 10, "user"),
    "back_30_provider": ("with the provider's DEM", "rtc", 30, "provider"),
    "back_30_resampled": ("with the provider's DEM, resampled", "rtc", 30, "resampled"),
    "back_30_another": ("with another DEM of 30 m", "rtc", 30, "another"),
    "back_30_projection": ("another provider's RTC, taken back", "projection", 30, "user"),
    "back_30_projection_provider": (
        "another provider's RTC, with that provider's DEM",
        "projection",
        30,
        "provider",
    ),
}
"""By name: a title, who made the product, its cells in metres, and the DEM on the way back."""


def provider_dem(observed: Observed, posting: Posting = 30) -> xr.DataArray:
    """Return the DEM with which a product was flattened, dims (y, x)."""
    dem = AS_USED.degrade(observed.ground.dem, observed.ground.seed)
    if posting == 30:
        return dem
    finer = upsampled(dem, 3)
    return finer if posting == 10 else _coarser(finer, 2)


def _coarser(dem: xr.DataArray, factor: int) -> xr.DataArray:
    """Average a DEM over blocks of cells."""
    rows, columns = (size // factor * factor for size in dem.shape)
    cropped = dem[:rows, :columns]
    averaged: xr.DataArray = cropped.coarsen(y=factor, x=factor).mean(keep_attrs=True)
    return averaged.astype(np.float32)


@lru_cache(maxsize=8)
def product_gamma0(observed: Observed, maker: Maker, posting: Posting) -> xr.DataArray:
    """Make gamma0 of a product, linear power, dims (y, x); NaN where it has no value."""
    dem = provider_dem(observed, posting)
    if maker == "projection":
        values = _projection(observed, dem)
    else:
        flat = reconstruct(observed.scene, dem, method=RTC(), variables=("gamma0",))
        values = flat.gamma0.values
    gamma0 = dem.copy(data=np.maximum(values, 0.0).astype(np.float32))
    gamma0.attrs = {"units": "1"}
    return gamma0


@lru_cache(maxsize=2)
def _areas(observed: Observed) -> tuple[Floats, Floats]:
    """Sum the areas of facets in pixels; return them, and the areas of the pixels themselves."""
    grid = observed.scene.grid
    line, sample, facets = _projected(upsampled(provider_dem(observed), FACES), observed)
    area = np.zeros(grid.shape)
    row, column = np.floor(line), np.floor(sample)
    for down, right in product((0, 1), repeat=2):
        share = np.abs(1 - down - line + row) * np.abs(1 - right - sample + column)
        area += _summed(row + down, column + right, share * facets, grid.shape)
    slant = grid.slant_range(np.zeros(grid.samples), np.arange(grid.samples))
    return area, np.gradient(slant) * grid.line_spacing(observed.scene.orbit)


def _projection(observed: Observed, dem: xr.DataArray) -> Floats:
    """Flatten an image by areas of facets, projected with the geometry of the simulator."""
    area, pixel = _areas(observed)
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.where(area > LEAST_AREA * pixel, observed.scene.image.values * pixel / area, 0.0)
    at = np.stack(_projected(dem, observed)[:2])
    found = map_coordinates(flat, at, order=1)
    gamma0: Floats = np.where(found > 0.0, found, np.nan)
    return gamma0


def _summed(row: Floats, column: Floats, values: Floats, shape: tuple[int, int]) -> Floats:
    """Sum values in the pixels of an image."""
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    index = (row[inside] * shape[1] + column[inside]).astype(np.int64)
    total: Floats = np.bincount(index, values[inside], minlength=shape[0] * shape[1])
    return total.reshape(shape)


def _projected(dem: xr.DataArray, observed: Observed) -> tuple[Floats, Floats, Floats]:
    """Return line and sample of cells, and their areas across the line of sight in square metres.

    The area vector of a cell is the cross product of its sides; what a radar sees of it is the
    product with the unit vector to the satellite, 0 where it faces away.
    """
    grid = observed.scene.grid
    orbit = observed.scene.orbit.with_epoch(grid.epoch)
    path, surface = path_of(orbit, 0.5 * (grid.first_time + grid.last_time)), surface_of(dem)
    points = np.empty((*dem.shape, 3))
    cell_positions(surface.coefficients, surface.level, 1, points)
    time, distance = radar_coordinates(points, path)
    powers = ((time - path.middle) / path.half)[..., None] ** np.arange(len(path.polynomial))
    towards = (powers @ path.polynomial - points) / distance[..., None]
    # Rows run southwards: east x south points down.
    down = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    area = np.maximum(-np.einsum("ijk,ijk->ij", down, towards), 0.0)
    return grid.line(time, distance), grid.sample(distance, time), area


def taken_back(observed: Observed, name: str) -> xr.Dataset:
    """Reconstruct an image by way of a product."""
    _, maker, posting, back = WAYS[name]
    dataset = _dataset(product_gamma0(observed, maker, posting), observed)
    scene = to_radar(dataset, _dem_back(observed, back), observed.scene.orbit)
    return reconstruct(scene, observed.dem)


def _dem_back(observed: Observed, back: Back) -> xr.DataArray:
    """Return the DEM that takes a product back."""
    match back:
        case "user":
            return observed.dem
        case "provider":
            return provider_dem(observed)
        case "resampled":
            return _coarser(provider_dem(observed), 2)
        case "another":
            return ANOTHER.degrade(observed.ground.dem, observed.ground.seed + SEED)


def _dataset(gamma0: xr.DataArray, observed: Observed) -> xr.Dataset:
    """Return a product as `sarheight.archives.open_rtc` does."""
    grid, orbit = observed.scene.grid, observed.scene.orbit.with_epoch(observed.scene.grid.epoch)
    first, last = (str(orbit.utc(time)) for time in (grid.first_time, grid.last_time))
    record = {"mission": "S1A", "start": first, "end": last}
    dataset = gamma0.expand_dims(polarisation=["VV"]).to_dataset(name="gamma0")
    placed: xr.Dataset = dataset.rio.write_crs(gamma0.rio.crs)
    return placed.assign_attrs(
        terrain_flattened=True,
        source="simulated",
        product_name=observed.image.name,
        acquisition=json.dumps([record]),
    )


def on_cells(observed: Observed, maker: Maker = "rtc") -> Floats:
    """Average a product of 30 m over the cells of the user's DEM."""
    gamma0 = product_gamma0(observed, maker, 30).values.astype(np.float64)
    factor = gamma0.shape[0] // observed.dem.shape[0]
    known = np.isfinite(gamma0)
    with np.errstate(invalid="ignore"):
        mean: Floats = block_sums(np.where(known, gamma0, 0.0), factor) / block_sums(known, factor)
    return mean
