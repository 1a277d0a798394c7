"""Small worlds made from seeds: terrain, radar, images; and the register of cases."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks._hills import PLACE, on_map
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower, simulate
from sarheight.layover import tiles
from sarheight.orbit import Orbit, look_at
from sarheight.scene import Scene

__all__ = [
    "CASES",
    "LAW",
    "ONE_TILE",
    "Case",
    "case",
    "lazy",
    "loaded",
    "radar_over",
    "rough_heights",
    "scene_of",
    "smooth",
    "temporary_folder",
    "terrain",
]

Floats = NDArray[np.floating]
Case = Callable[[], Mapping[str, Any]]
CASES: dict[str, Case] = {}
"""By name, in the order in which they run."""

LAW = CosinePower(0.2, 1.7)
ONE_TILE = 1
"""A limit of memory that nothing fits in, so that tiles are as small as they can be."""
tiles.PROCESS_BYTES = 0  # or else such a limit is refused


def case(function: Case) -> Case:
    """Register a case under the name of its function."""
    CASES[function.__name__] = function
    return function


def smooth(shape: tuple[int, int], size: float, seed: int) -> Floats:
    """Draw noise of unit variance, correlated over `size` cells."""
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), size)
    smooth: Floats = noise / noise.std()
    return smooth


def rough_heights(rows: int, columns: int, seed: int = 0) -> Floats:
    """Make rough mountains that rise from a sea, with layover and shadow at 34 degrees."""
    shape = rows, columns
    heights = 600.0 + sum(
        relief * smooth(shape, size, seed + place)
        for place, (relief, size) in enumerate(((220.0, 7.0), (20.0, 2.0)))
    )
    return np.maximum(heights, 0.0)


@cache
def terrain(rows: int = 140, columns: int = 200, crs: str = "EPSG:32632") -> xr.DataArray:
    """Make terrain with a void."""
    dem = on_map(rough_heights(rows, columns), crs)
    dem[30:33, 40:52] = np.nan
    return dem


@cache
def radar_over(  # a cached function is called by position
    lines: int = 500,
    samples: int = 680,
    *,
    ascending: bool = True,
    ground_range: bool = True,
    look_side: Literal["left", "right"] = "right",
    incidence_angle: float = 34.0,
) -> tuple[RadarGrid, Orbit]:
    """Make the sampling and the circular orbit of an image of `PLACE`."""
    orbit = Orbit.circular(
        latitude=PLACE[0],
        longitude=PLACE[1],
        ascending=ascending,
        epoch="2024-01-01T06:00:00",
        duration=300.0,
        interval=10.0,
    )
    turn = look_at(orbit, *PLACE, incidence_angle, look_side=look_side, height=500.0)
    orbit = orbit.rotate(turn)
    grid = RadarGrid.over(
        orbit,
        *PLACE,
        lines=lines,
        samples=samples,
        height=500.0,
        line_spacing=14.0 if not ground_range else 10.0,
        sample_spacing=6.0 if not ground_range else 10.0,
        ground_range=ground_range,
        look_side=look_side,
        looks=4.4,
    )
    return grid, orbit


@cache
def scene_of(polarisations: int = 1, *, ascending: bool = True, ground_range: bool = True) -> Scene:
    """Simulate a speckled image of `terrain` with patches of reflectivity and a gap."""
    dem = terrain().fillna(0.0)
    grid, orbit = radar_over(ascending=ascending, ground_range=ground_range)
    images = []
    for seed in range(polarisations):
        patches = np.exp(0.5 * smooth(dem.shape, 2.0, 10 + seed))
        speckled = simulate(
            dem, grid, orbit, law=LAW, reflectivity=patches, looks=4.4, noise=0.001, seed=seed
        )
        images.append(speckled.image * 0.3**seed)
        images[-1][100:104, 150 + 20 * seed : 230] = np.nan
    if polarisations == 1:
        return Scene(images[0], grid, orbit, "beta0")
    image = xr.concat(images, "polarisation").assign_coords(
        polarisation=["VV", "VH"][:polarisations]
    )
    return Scene(image, grid, orbit, "beta0")


def lazy(scene: Scene) -> Scene:
    """Put an image on dask, in chunks of odd sizes."""
    return replace(scene, image=scene.image.chunk(line=97, sample=131))


@contextmanager
def temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="equality-") as folder:
        yield Path(folder)


def loaded(scene: Scene) -> Scene:
    """Load the image of a scene."""
    return replace(scene, image=scene.image.compute())
