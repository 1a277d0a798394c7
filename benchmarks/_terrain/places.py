"""Which ground the networks of `benchmarks.terrain` learn from, and are tested on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from benchmarks._mountains.scenes import (
    ALPS,
    ORBIT_FILE,
    PLACES,
    SOCAL_DESCENDING,
    Place,
    Site,
    data_file,
)
from sarheight import dem as elevation
from sarheight.illumination import Muhleman
from sarheight.layover import reconstruct
from sarheight.learning import Part, split_bands
from sarheight.output import open_result
from sarheight.terrain import (
    SceneConfiguration,
    SceneSettings,
    simulate_scene,
    write_scenes,
)
from sarheight.terrain.scenes import simulate_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray as xr

    from sarheight.scene import Scene

__all__ = ["REGIONS", "Ground", "job_of", "make_ground"]

REGIONS = {name: PLACES[name] for name in ("big_tujunga", "leh", "arco")} | {
    "bavarian": Place("bavarian", "dem/srtm1_bavarian_alps_30m.tif", ALPS, ORBIT_FILE, (34.0,))
}
"""Three regions with many folds, and one with few, where reconstruction cannot help much. Each is
seen under the first of its incidences: 32 degrees, or 34 where the swath begins too late."""
SHARES = {"training": 0.44, "validation": 0.22, "test": 0.34}
GAP = 1500.0
"""Metres between the bands: more than a fold is wide."""
FAR = {
    "bernese": Place("bernese", "dem/srtm3_bernese_alps_N46_E008.tif", ALPS, ORBIT_FILE, (33.0,)),
    "japan": Place(
        "japan", "dem/srtm3_japan_alps_N36_E137.tif", SOCAL_DESCENDING, ORBIT_FILE, (33.0,)
    ),
}
"""Mountains elsewhere, from models of 90 m that are resampled to 30 m: smoother than the others,
and for training alone."""
FINE, CELLS = 30.0, 720
LEVEL = "gamma0_level"
"""The variable with the image as it is geocoded without an elevation model."""


@dataclass(frozen=True)
class FarSite(Site):
    """The middle of a coarse tile, resampled."""

    @cached_property
    def dem(self) -> xr.DataArray:
        """The elevation model at 30 m."""
        path = data_file(self.place.dem, self.folder)
        whole = elevation.open_dem(path, vertical="ellipsoidal")
        half = {"y": CELLS // 5, "x": CELLS // 4}
        middle = {name: whole.sizes[name] // 2 for name in half}
        part = whole.isel({n: slice(middle[n] - half[n], middle[n] + half[n]) for n in half})
        crs = part.rio.estimate_utm_crs().to_wkt()
        fine = elevation.reproject(part, crs, FINE, resampling="cubic")
        edges = {name: (fine.sizes[name] - CELLS) // 2 for name in half}
        return fine.isel({n: slice(edge, edge + CELLS) for n, edge in edges.items()})


@dataclass(frozen=True)
class Ground:
    """What there is to learn from."""

    scenes: dict[str, xr.Dataset]  # Of the regions, which have test bands
    bands: dict[str, dict[str, Part]]  # By region: training, validation and test
    more: list[xr.Dataset]  # For training alone: regions from the other side, and places elsewhere
    more_parts: list[Part]  # Part of each for training: never the others' validation or test bands


def job_of(name: str, folder: str | None, *, ascending: bool = False) -> SceneConfiguration:
    """Describe the scene of a region or of a place for training alone, seen from either side."""
    place = (REGIONS | FAR)[name]
    if place.descending == ALPS:
        place = replace(place, ascending=ORBIT_FILE)
    kind = FarSite if name in FAR else Site
    site = kind(place, place.incidences[0], folder)

    settings, seed = SceneSettings(), int(ascending)

    def make() -> xr.Dataset:
        seen = site.ascending() if ascending else site.descending()
        scene = simulate_scene(site.dem, *seen, settings, seed=seed)
        return _with_level(scene, *simulate_image(site.dem, *seen, settings, seed=seed))

    orbit = place.ascending if ascending else place.descending
    return SceneConfiguration(
        f"{name}_ascending" if ascending else name,
        make,
        {"dem": data_file(place.dem, folder), "annotation": data_file(orbit, folder)},
        {"seed": seed, "incidence": site.incidence},
    )


def _with_level(scene: xr.Dataset, image: Scene, coarse: xr.DataArray) -> xr.Dataset:
    """Add the image as it is geocoded without an elevation model: at the scene's mean height."""
    level = scene["coarse_height"].copy()
    level[:] = float(coarse.mean())
    # No law can be fitted to level ground, and none is needed to geocode.
    seen = reconstruct(
        image, level, law=Muhleman(), variables=("sigma0_geocoded", "ellipsoid_incidence")
    )
    cosine = np.cos(np.radians(seen["ellipsoid_incidence"].values))
    gamma0 = (seen["sigma0_geocoded"].values / cosine).astype(np.float32)
    return scene.assign({LEVEL: (("y", "x"), gamma0, scene["gamma0_geocoded"].attrs)})


def make_ground(work: Path, folder: str | None, report: Callable[[str], None]) -> Ground:
    """Make all scenes in a work folder, or open those that are there.

    One process at a time makes them: others wait, and find them. The data are in `folder`.
    """
    jobs = [job_of(name, folder) for name in (*REGIONS, *FAR)]
    jobs += [job_of(name, folder, ascending=True) for name in REGIONS]
    work.mkdir(parents=True, exist_ok=True)
    with FileLock(work.with_name(f"{work.name}.lock")):
        scenes = [open_result(path) for path in write_scenes(jobs, work, report=report)]
    count = len(REGIONS)
    regions = dict(zip(REGIONS, scenes, strict=False))
    bands = {name: split_bands(scene, SHARES, gap=GAP) for name, scene in regions.items()}
    far, others = scenes[count : count + len(FAR)], scenes[count + len(FAR) :]
    whole = [Part.whole(scene) for scene in far]
    return Ground(
        regions, bands, [*far, *others], [*whole, *(bands[name]["training"] for name in REGIONS)]
    )
