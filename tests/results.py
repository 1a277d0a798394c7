"""Results of real computations on small simulated scenes, for tests of what is written.

Import it as ``from tests.results import masks_of, result_of``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import xarray as xr

from sarheight import layover
from sarheight.scene import Scene
from tests.mountains import LAW, mountain, raster, scene_of

PRODUCT = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4"


@lru_cache
def dem_of(crs: str = "EPSG:32632") -> xr.DataArray:
    """Make a mountain of 30 x 40 cells."""
    return raster(mountain(30, 40), crs=crs)


@lru_cache
def scene(crs: str = "EPSG:32632", polarisations: int = 0, *, ascending: bool = True) -> Scene:
    """Simulate the image of a satellite that is said to be Sentinel-1B."""
    one = scene_of(dem_of(crs), ascending=ascending, lines=120, samples=160)
    names = ("VV", "VH")[: max(polarisations, 1)]
    image = one.image.assign_attrs(product_name=PRODUCT)
    if polarisations:
        image = xr.concat([image] * polarisations, "polarisation", combine_attrs="override")
        image = image.assign_coords(polarisation=list(names))
    grid = replace(one.grid, mission="S1B", mode="IW", product="GRD", polarisations=names)
    return replace(one, image=image, grid=grid)


@lru_cache
def result_of(crs: str = "EPSG:32632", polarisations: int = 0, passes: int = 1) -> xr.Dataset:
    """Reconstruct it."""
    scenes = [scene(crs, polarisations, ascending=up) for up in (True, False)[:passes]]
    return layover.reconstruct(scenes if passes > 1 else scenes[0], dem_of(crs), law=LAW)


@lru_cache
def masks_of(crs: str = "EPSG:32632") -> xr.Dataset:
    """Find its layover and shadow."""
    one = scene(crs)
    return layover.masks(dem_of(crs), one.grid, one.orbit)
