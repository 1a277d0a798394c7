"""``sarheight scenes``: simulated scenes to train on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._dem import read_dem
from sarheight.cli._options import (
    RADAR,
    Debug,
    Dem,
    Like,
    Multilook,
    Nodata,
    Quiet,
    Threads,
    Units,
    Vertical,
    output_folder,
)
from sarheight.cli._session import session

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.data import SceneJob, SceneSettings
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

KNOWLEDGE = "What is known beforehand"


def scenes(
    *,
    like: Like,
    dem: Dem,
    output: Annotated[
        Path, output_folder("Folder for the scenes, one Zarr store each; made if it is not there.")
    ],
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    incidence: Annotated[
        list[float] | None,
        typer.Option(
            min=1.0,
            max=89.0,
            metavar="DEGREES",
            help="Turn the orbit about the Earth's axis until the middle of an elevation model is "
            "seen under this incidence angle; give it again for further scenes. Left out, the "
            "orbit stays as it is.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    multilook: Multilook = None,
    coarser: Annotated[
        int,
        typer.Option(
            min=1,
            help="Cells of the elevation model that make one of the coarse one, each way.",
            rich_help_panel=KNOWLEDGE,
        ),
    ] = 3,
    height_error: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Standard deviation of the coarse model's heights in metres.",
            rich_help_panel=KNOWLEDGE,
        ),
    ] = 4.0,
    seeds: Annotated[
        int, typer.Option(min=1, help="Scenes of each elevation model and incidence angle.")
    ] = 1,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    r"""Simulate scenes to train on, from elevation models and an orbit.

    Each `--dem` makes scenes of its own: the image as it is geocoded today, reconstructed with a
    coarser elevation model, masks, and the true heights. Scenes that are there already are kept,
    so that after an interruption the same command goes on.

    ```
    sarheight scenes --like s1a-iw-grd-vv-….xml --dem alps.tif --dem andes.tif \
        --vertical ellipsoidal --incidence 32 --incidence 38 -o scenes
    ```
    """
    window = multilook or (1, 1)
    angles: list[float | None] = list(incidence) if incidence else [None]
    steps = len(dem) * len(angles) * seeds
    with session("scenes", quiet=quiet, threads=threads, debug=debug, steps=steps) as current:
        current.say_if_kernels_are_new()
        from sarheight.data import SceneSettings, write_scenes

        settings = SceneSettings(coarser=coarser, height_error=height_error)
        jobs = [
            _job(path, like, angle, seed, window, settings, (vertical, units, nodata))
            for path in dem
            for angle in angles
            for seed in range(seeds)
        ]
        written = write_scenes(jobs, output, report=current.stage)
        current.say(f"{output}: {len(written)} scenes")


def _job(
    path: Path,
    like: Path,
    incidence: float | None,
    seed: int,
    multilook: tuple[int, int],
    settings: SceneSettings,
    heights: tuple[str | None, str | None, float | None],
) -> SceneJob:
    """Describe a scene."""
    from sarheight.data import SceneJob

    def make() -> tuple[xr.DataArray, RadarGrid, Orbit]:
        from sarheight._placing import grid_of_dem, turned_over
        from sarheight._scene_io import read_placement

        dem = read_dem([path], *heights)
        grid, orbit = read_placement(like)
        if multilook != (1, 1):
            grid = grid.multilook(*multilook)
        if incidence is None:
            return dem, grid_of_dem(dem, grid, orbit), orbit
        grid, orbit, _ = turned_over(dem, grid, orbit, incidence)
        return dem, grid, orbit

    angle = "" if incidence is None else f"_{incidence:g}"
    return SceneJob(
        name=f"{path.stem}{angle}_{seed}",
        make=make,
        inputs={"dem": path, "like": like},
        settings=settings,
        seed=seed,
        parameters={"incidence": incidence, "multilook": list(multilook), "heights": list(heights)},
    )
