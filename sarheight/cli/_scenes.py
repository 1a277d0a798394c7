"""``sarheight scenes`` and ``sarheight train scenes``: training scenes, simulated and observed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from sarheight.cli._files import output_folder
from sarheight.cli._session import Session, session
from sarheight.cli._simulate import cut_to_dem, multilooked
from sarheight.errors import OptionError
from sarheight.workflow.config import DemConfig, KnownConfig, PassConfig, PassImageConfig, Running
from sarheight.workflow.elevations import place_on_grid, read_dem
from sarheight.workflow.images import Reporter, open_geometry
from sarheight.workflow.options import Configuration, argument, option
from sarheight.workflow.words import (
    DEM,
    ELEVATIONS,
    METHOD,
    RADAR,
    Coregister,
    DemFiles,
    Multilook,
    Names,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.terrain.scenes import SceneConfiguration


# ``sarheight scenes``: simulated scenes for training.

KNOWLEDGE = "Coarse elevation model"


@dataclass(frozen=True, kw_only=True)
class SimulatedSceneConfig(PassConfig):
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
    """Folder of training scenes.

    Attributes
    ----------
    output : pathlib.Path
        Folder of the scenes, one Zarr store each; created if missing.
    """

    output: Annotated[Path, output_folder()]


def scenes(settings: SimulatedSceneConfig, folder: SceneFolder, running: Running) -> None:
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
    with session("scenes", running, {"scenes": 1}) as current:
        current.compile_kernels()
        from sarheight.terrain.scenes import write_scenes

        jobs = [
            _scene_configuration(replace(settings, dem=(path,)), angle, seed)
            for path in settings.dem
            for angle in angles
            for seed in range(settings.seeds)
        ]
        current.stage("scenes")
        written = write_scenes(jobs, folder.output, report=current.counting(len(jobs)))
        current.say(f"{folder.output}: {len(written)} scenes")


def _scene_configuration(
    settings: SimulatedSceneConfig, incidence: float | None, seed: int
) -> SceneConfiguration:
    """Describe the scene of one elevation model, incidence angle and seed."""
    from sarheight.terrain import scenes as terrain

    simulated = terrain.SceneSettings(coarser=settings.coarser, height_error=settings.height_error)

    def make() -> xr.Dataset:
        dem = place_on_grid(read_dem(settings), settings, Reporter())
        grid, orbit = open_geometry(settings.like, settings.orbit)
        grid = multilooked(grid, settings.multilook)
        grid, orbit, _ = cut_to_dem(dem, grid, orbit, incidence)
        return terrain.simulate_scene(dem, grid, orbit, simulated, seed=seed)

    path = Path(settings.dem[0])
    angle = "" if incidence is None else f"_{incidence:g}"
    image = ("multilook", "vertical", "units", "nodata", "condition", "crs", "resolution", "align")
    record = settings.record()
    return terrain.SceneConfiguration(
        name=f"{path.stem}{angle}_{seed}",
        make=make,
        inputs=settings.files(),
        parameters={
            "simulation": asdict(simulated),
            "seed": seed,
            "incidence": incidence,
            **{name: record.get(name) for name in image},
        },
    )


# ``sarheight train scenes``: training scenes of real images.

TRUTH = "True heights"


@dataclass(frozen=True, kw_only=True)
class ObservedSceneConfig(PassImageConfig, KnownConfig, DemConfig):
    """All that training scenes of real images depend on.

    Attributes
    ----------
    images : tuple of str
        Images of one polarisation, as for `reconstruct`: products, or images in radar geometry.
    truth : tuple of str
        True heights: any raster that GDAL reads. Repeat the option for each tile.
    truth_vertical : str or float, optional
        Vertical reference of the true heights: `ellipsoidal`, `EGM96` (SRTM), `EGM2008`, a geoid
        grid, or the geoid's height in metres. Needed unless the file states it.
    dem : tuple of str
        Coarse elevation model. Default: the true heights, averaged.
    posting : float, optional
        Posting of the scenes, in the UTM zone of the true heights. Default: that of these heights.
    coarser : int
        Cells of the scene in a cell of the coarse elevation model, along each axis, where none is
        given.
    known : pathlib.Path, optional
        Known elevations among which training draws: a table (.csv) or points in a vector file
        (.gpkg, .parquet). Default: true heights, at random.
    tracks : float, optional
        Draw known elevations from the true heights along the tracks of an altimeter, so many metres
        apart.
    coregister : {"report", "correct", "none"}
        Compare each image with its simulation, and `report` the shift between them, or `correct`
        the timing by a significant one.
    """

    images: Annotated[Names, argument("IMAGE", location=True)]
    truth: Annotated[Names, option(TRUTH, metavar="FILE", location=True)]
    truth_vertical: Annotated[str | float | None, option(TRUTH, metavar="DATUM")] = None
    dem: DemFiles = ()
    posting: Annotated[float | None, option(None, least=0.1, metavar="METRES")] = None
    coarser: Annotated[int, option(DEM, least=1, metavar="CELLS")] = 3
    tracks: Annotated[float | None, option(ELEVATIONS, least=1.0, metavar="METRES")] = None
    coregister: Annotated[Coregister, option(RADAR)] = "correct"


def observed_scenes(settings: ObservedSceneConfig, folder: SceneFolder, running: Running) -> None:
    r"""Make training scenes of real images with true heights.

    Each image makes a scene: the image, geocoded and reconstructed with the coarse elevation model,
    that model, the true heights, and known elevations. Existing scenes are kept: repeat the command
    to resume after an interruption.

    ```
    sarheight train scenes S1A_….zip --polarisation VV --truth srtm1.tif --truth-vertical EGM96 \
        --dem glo90.tif --vertical EGM2008 -o scenes
    sarheight train terrain scenes/*.zarr --published -o run
    ```
    """
    settings.require_files()
    if settings.known is not None and settings.tracks is not None:
        msg = "found --known and --tracks, expected one of them"
        raise OptionError(msg, option="tracks")
    with session("train scenes", running, {"scenes": 1}) as current:
        current.compile_kernels()
        from sarheight.terrain.scenes import SceneConfiguration, write_scenes

        record = settings.record()
        jobs = [
            SceneConfiguration(
                name=Path(image).name.split(".")[0],
                make=partial(_observed_scene, settings, image, current),
                inputs=replace(settings, images=(image,)).files(),
                parameters={name: record.get(name) for name in SCENE_PARAMETERS},
            )
            for image in settings.images
        ]
        names = [job.name for job in jobs]
        if len(set(names)) < len(names):
            msg = f"found images of one name among {', '.join(names)}: run the command for each"
            raise OptionError(msg, option="images")
        current.stage("scenes")
        written = write_scenes(jobs, folder.output, report=current.counting(len(jobs)))
        current.say(f"{folder.output}: {len(written)} training scenes")


SCENE_PARAMETERS = (
    *("truth_vertical", "vertical", "units", "nodata", "condition", "posting", "coarser"),
    *("tracks", "calibration", "polarisation", "multilook", "coregister"),
)


def _observed_scene(settings: ObservedSceneConfig, image: str, current: Session) -> xr.Dataset:
    """Make the training scene of an image."""
    from sarheight.dem import local_posting
    from sarheight.errors import VerticalDatumError
    from sarheight.terrain.elevations import draw_altimeter_tracks
    from sarheight.terrain.scenes import observe_scene
    from sarheight.terrain.workflow import read_elevations, read_pass

    heights = replace(
        settings, dem=settings.truth, vertical=settings.truth_vertical, condition=None
    )
    try:
        truth = read_dem(heights)
    except VerticalDatumError as error:
        raise error.of_options(prefix="truth-") from error
    coarse = read_dem(settings) if settings.dem else None
    known = read_elevations(settings)
    if settings.tracks is not None:
        interval = float(min(local_posting(truth)))
        known = draw_altimeter_tracks(truth, spacing=settings.tracks, interval=interval)
    return observe_scene(
        read_pass(settings, image, truth if coarse is None else coarse, current),
        truth,
        coarse,
        known,
        posting=settings.posting,
        coarser=settings.coarser,
        coregister=settings.coregister,
    )
