"""``sarheight simulate`` and ``sarheight scenes``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sarheight.cli._files import output_folder, require_apart, require_writable
from sarheight.cli._session import Session, session
from sarheight.errors import OptionError
from sarheight.workflow.config import (
    METHOD,
    RADAR,
    Calibration,
    FileOutput,
    Multilook,
    PassConfig,
    Running,
    parse_law,
    simulation_law,
)
from sarheight.workflow.elevations import read_dem
from sarheight.workflow.images import replace_orbit
from sarheight.workflow.options import Configuration, option

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.terrain.scenes import SceneConfiguration

PRODUCTS = (".safe", ".zip")
LEAST_NOISE, MOST_NOISE = -100.0, 20.0
"""Decibels; other values are linear power by mistake."""


# ``sarheight simulate``: the radar image of an elevation model.


@dataclass(frozen=True, kw_only=True)
class SimulateSettings(PassConfig):
    """All that a simulated image depends on.

    Attributes
    ----------
    incidence : float, optional
        Rotate the orbit about the Earth's axis until the centre of the elevation model has this
        incidence angle: for places without an annotation.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    law : str
        Backscatter law: gamma[:level], lambert[:level], cosine[:level,exponent],
        muhleman[:level,roughness].
    calibration : {"beta0", "sigma0", "gamma0"}
        Normalisation of the image.
    looks : float, optional
        Equivalent number of looks of the speckle; 0 for no speckle. Default: that of the
        annotation.
    noise : float, optional
        Noise-equivalent backscatter in dB, such as -25; none by default. It is not subtracted from
        the image.
    seed : int
        Seed of speckle and noise.
    """

    incidence: Annotated[float | None, option(RADAR, least=1.0, most=89.0, metavar="DEGREES")] = (
        None
    )
    multilook: Multilook = None
    law: Annotated[str, option(RADAR, metavar="LAW", convert=simulation_law)] = "muhleman"
    calibration: Annotated[Calibration, option(RADAR)] = "beta0"
    looks: Annotated[float | None, option(RADAR, least=0.0)] = None
    noise: Annotated[
        float | None, option(RADAR, metavar="DECIBELS", least=LEAST_NOISE, most=MOST_NOISE)
    ] = None
    seed: Annotated[int, option(RADAR)] = 0


def simulate(settings: SimulateSettings, result: FileOutput, running: Running) -> None:
    r"""Simulate the radar image of an elevation model.

    The image has the sampling and the orbit of an annotation, cut to the part that the elevation
    model covers. It contains both: `sarheight reconstruct` needs no annotation for it. Lines
    run along azimuth, samples along range, values are linear power.

    ```
    sarheight simulate --like s1a-iw-grd-vv-….xml --dem srtm.tif --vertical EGM96 -o image.nc
    ```

    Where no annotation covers the mountains, rotate an orbit about the Earth's axis until it does
    (the latitude must match):

    ```
    sarheight simulate --like s1b-iw-grd-vv-….xml --dem glo30.tif --vertical EGM2008 \
        --incidence 34 -o image.zarr
    ```
    """
    output = result.output
    if output.suffix.lower() in PRODUCTS:
        msg = f"found '{output}', expected .tif, .nc or .zarr: products are read, not written"
        raise OptionError(msg, option="output")
    settings.require_files()
    require_apart(output, "output", settings.files().values())
    require_writable(output, "output", overwrite=result.overwrite)
    with session("simulate", running, steps=3) as current:
        current.stage("read")
        from sarheight import illumination
        from sarheight.output import provenance
        from sarheight.output.radar_images import read_grid_and_orbit, write_scene

        heights = read_dem(settings)
        grid, orbit = read_grid_and_orbit(settings.like)
        orbit = replace_orbit(grid, orbit, settings.orbit)
        grid, orbit, rotation = _cut_to_dem(
            heights, _multilooked(grid, settings.multilook), orbit, settings.incidence, current
        )
        current.stage("simulate")
        current.announce_compilation()
        scene = illumination.simulate(
            heights,
            grid,
            orbit,
            law=parse_law(settings.law),
            calibration=settings.calibration,
            looks=grid.looks if settings.looks is None else settings.looks or None,
            noise=0.0 if settings.noise is None else 10.0 ** (settings.noise / 10.0),
            seed=settings.seed,
        )
        current.stage("write")
        record = provenance(
            settings.files(),
            {
                "command": "simulate",
                "settings": settings.record(),
                "rotation_degrees": rotation,
            },
        )
        write_scene(scene, output, attributes={"provenance": record}, overwrite=result.overwrite)
        current.say(f"{output}: simulated image, {grid.lines} lines x {grid.samples} samples")


def _multilooked(grid: RadarGrid, window: tuple[int, int] | None) -> RadarGrid:
    return grid if window in (None, (1, 1)) else grid.multilook(*window)


def _cut_to_dem(
    heights: xr.DataArray,
    grid: RadarGrid,
    orbit: Orbit,
    incidence: float | None,
    current: Session | None = None,
) -> tuple[RadarGrid, Orbit, float]:
    """Cut the grid to the part that the DEM covers; rotate the orbit first for an incidence angle.

    Returns the rotation in degrees too.
    """
    from sarheight.geometry.placement import crop_grid_to_dem, rotate_over_dem

    if incidence is None:
        return crop_grid_to_dem(heights, grid, orbit), orbit, 0.0
    grid, orbit, degrees = rotate_over_dem(heights, grid, orbit, incidence)
    if current is not None:
        current.say(
            f"rotated the orbit by {degrees:.3f} degrees about the Earth's axis, for an incidence "
            f"angle of {incidence:g} degrees at the centre of the elevation model"
        )
    return grid, orbit, degrees


# ``sarheight scenes``: simulated scenes for training.

KNOWLEDGE = "Coarse elevation model"


@dataclass(frozen=True, kw_only=True)
class TrainingSceneSettings(PassConfig):
    """All that simulated scenes for training depend on.

    Attributes
    ----------
    incidence : tuple of float
        Rotate the orbit about the Earth's axis until the centre of an elevation model has this
        incidence angle. Repeat the option for more scenes. Default: no rotation.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    coarser : int
        Cells of the elevation model in a cell of the coarse one, along each axis.
    height_error : float
        Standard deviation of the coarse model's heights in metres.
    seeds : int
        Scenes of each elevation model and incidence angle.
    """

    incidence: Annotated[
        tuple[float, ...], option(RADAR, least=1.0, most=89.0, metavar="DEGREES")
    ] = ()
    multilook: Multilook = None
    coarser: Annotated[int, option(KNOWLEDGE, least=1)] = 3
    height_error: Annotated[float, option(KNOWLEDGE, least=0.0)] = 4.0
    seeds: Annotated[int, option(METHOD, least=1)] = 1


@dataclass(frozen=True, kw_only=True)
class SceneFolder(Configuration):
    """Folder of simulated scenes.

    Attributes
    ----------
    output : pathlib.Path
        Folder of the scenes, one Zarr store each; created if missing.
    """

    output: Annotated[Path, output_folder()]


def scenes(settings: TrainingSceneSettings, folder: SceneFolder, running: Running) -> None:
    r"""Simulate scenes for training, from elevation models and an orbit.

    Each `--dem` makes scenes of its own: the geocoded image, its reconstruction with a coarser
    elevation model, masks, and the true heights. Existing scenes are kept: repeat the command to
    resume after an interruption.

    ```
    sarheight scenes --like s1a-iw-grd-vv-….xml --dem alps_glo30.tif --dem andes_glo30.tif \
        --vertical EGM2008 --incidence 32 --incidence 38 -o scenes
    ```
    """
    settings.require_files()
    angles: list[float | None] = [*settings.incidence] or [None]
    steps = len(settings.dem) * len(angles) * settings.seeds
    with session("scenes", running, steps=steps) as current:
        current.announce_compilation()
        from sarheight.terrain.scenes import write_scenes

        jobs = [
            _scene_configuration(replace(settings, dem=(path,)), angle, seed)
            for path in settings.dem
            for angle in angles
            for seed in range(settings.seeds)
        ]
        written = write_scenes(jobs, folder.output, report=current.stage)
        current.say(f"{folder.output}: {len(written)} scenes")


def _scene_configuration(
    settings: TrainingSceneSettings, incidence: float | None, seed: int
) -> SceneConfiguration:
    """Describe the scene of one elevation model, incidence angle and seed."""
    from sarheight.terrain import scenes as terrain

    def load() -> tuple[xr.DataArray, RadarGrid, Orbit]:
        from sarheight.output.radar_images import read_grid_and_orbit

        dem = read_dem(settings)
        grid, orbit = read_grid_and_orbit(settings.like)
        orbit = replace_orbit(grid, orbit, settings.orbit)
        grid = _multilooked(grid, settings.multilook)
        grid, orbit, _ = _cut_to_dem(dem, grid, orbit, incidence)
        return dem, grid, orbit

    path = Path(settings.dem[0])
    angle = "" if incidence is None else f"_{incidence:g}"
    image = ("multilook", "vertical", "units", "nodata", "condition")
    record = settings.record()
    return terrain.SceneConfiguration(
        name=f"{path.stem}{angle}_{seed}",
        load=load,
        inputs=settings.files(),
        settings=terrain.SceneSettings(
            coarser=settings.coarser, height_error=settings.height_error
        ),
        seed=seed,
        parameters={"incidence": incidence, **{name: record.get(name) for name in image}},
    )
