"""``sarheight simulate`` and ``sarheight scenes``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._inputs import dem_files, read_dem, replaced_orbit
from sarheight.cli._options import (
    LAWS,
    RADAR,
    CalibrationName,
    Debug,
    Dem,
    Like,
    Multilook,
    Nodata,
    OrbitFile,
    Output,
    Overwrite,
    Quiet,
    Threads,
    Units,
    Vertical,
    output_folder,
    parse_law,
    require_apart,
    require_writable,
)
from sarheight.cli._session import Session, session

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit
    from sarheight.scene import Scene
    from sarheight.terrain.scenes import SceneConfiguration, SceneSettings

PRODUCTS = (".safe", ".zip")
LEAST_NOISE, MOST_NOISE = -100.0, 20.0
"""Decibels between which noise lies that is not linear power by mistake."""
Likes = Annotated[
    list[Path],
    typer.Option(
        "--like",
        exists=True,
        help="Annotation of the image (XML of a GRD or SLC, plain or .xz), or an image written by "
        "`simulate`: sampling and orbit. Give it again for each further polarisation or swath of "
        "a product.",
        rich_help_panel=RADAR,
        show_default=False,
    ),
]


def simulate(
    *,
    like: Likes,
    dem: Dem,
    output: Output,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    orbit: OrbitFile = None,
    turn_to: Annotated[
        float | None,
        typer.Option(
            "--turn-to",
            min=1.0,
            max=89.0,
            metavar="DEGREES",
            help="Turn the orbit about the Earth's axis until the middle of the elevation model is "
            "seen under this incidence angle: for places where no annotation is at hand.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    multilook: Multilook = None,
    law: Annotated[
        str, typer.Option(help=f"Backscatter law: {LAWS}.", rich_help_panel=RADAR)
    ] = "muhleman",
    calibration: Annotated[
        CalibrationName,
        typer.Option(help="What the image is normalised to.", rich_help_panel=RADAR),
    ] = CalibrationName.beta0,
    looks: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Equivalent number of looks of the speckle; 0 for none. By default that of the "
            "annotation.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="DECIBELS",
            min=LEAST_NOISE,
            max=MOST_NOISE,
            help="Noise-equivalent backscatter in dB, such as -25; none by default. It stays in "
            "the image.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of speckle and noise.", rich_help_panel=RADAR)
    ] = 0,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Simulate the radar image of an elevation model.

    The image has the sampling and the orbit of an annotation, cut to the part that the elevation
    model lights. It holds them itself: `sarheight reconstruct` needs no annotation for it. Lines
    run along azimuth, samples along range, values are linear power.

    ```
    sarheight simulate --like s1a-iw-grd-vv-….xml --dem dem.tif --vertical EGM96 -o image.nc
    ```

    A whole Sentinel-1 product, that other programs open as well, is written where the output is
    called `*.SAFE` or `*.SAFE.zip`; with several annotations it has several polarisations, or
    swaths of an SLC:

    ```
    sarheight simulate --like s1a-iw1-….xml --like s1a-iw2-….xml --dem dem.tif -o product.SAFE
    ```

    Where no annotation covers the mountains, turn a real orbit about the Earth's axis until they
    come into view (the latitude must match):

    ```
    sarheight simulate --like s1b-iw-grd-vv-….xml --dem alps.tif --turn-to 34 -o image.zarr
    ```
    """
    product = output.suffix.lower() in PRODUCTS
    require_apart(output, "--output", (*like, orbit, *dem))
    window = multilook or (1, 1)
    _require_possible(output, like, window, product=product, overwrite=overwrite)
    chosen = parse_law(law)
    with session("simulate", quiet=quiet, threads=threads, debug=debug, steps=3) as current:
        current.stage("read")
        from sarheight.output import provenance

        heights = read_dem(dem, vertical, units, nodata)
        placed, turned = _placements(
            heights, like, orbit, window, turn_to, current, product=product
        )
        current.stage("simulate")
        current.say_if_kernels_are_new()
        scenes = _simulated(
            heights,
            list(placed.values()),
            chosen,
            calibration,
            looks,
            0.0 if noise is None else 10.0 ** (noise / 10.0),
            seed,
        )
        current.stage("write")
        if product:
            _write_product(scenes, list(placed), dem, output, current, seed, overwrite=overwrite)
            return
        from sarheight.output.radar_images import write_scene

        record = provenance(
            dem_files(dem) | {"like": like[0]} | ({"orbit": orbit} if orbit else {}),
            {
                "command": "simulate",
                "law": chosen,
                "vertical": vertical,
                "multilook": window,
                "looks": looks,
                "noise_decibels": noise,
                "seed": seed,
                "turned_degrees": turned,
            },
        )
        (scene,) = scenes
        write_scene(scene, output, attributes={"provenance": record}, overwrite=overwrite)
        current.say(
            f"{output}: simulated image, {scene.grid.lines} lines x {scene.grid.samples} samples"
        )


def _require_possible(
    output: Path,
    like: Sequence[Path],
    multilook: tuple[int, int],
    *,
    product: bool,
    overwrite: bool,
) -> None:
    """Check before any work what can be checked."""
    if product:
        if multilook != (1, 1):
            msg = (
                "a product has the pixels of its annotation: leave --multilook out, or write .tif, "
                ".nc or .zarr"
            )
            raise typer.BadParameter(msg, param_hint="--multilook")
        require_writable(output, "--output", overwrite=overwrite, suffixes=PRODUCTS)
        return
    require_writable(output, "--output", overwrite=overwrite)
    if len(like) > 1:
        msg = (
            f"found {len(like)} annotations for '{output}', which holds one image: give one, or "
            "write a product, *.SAFE or *.SAFE.zip"
        )
        raise typer.BadParameter(msg, param_hint="--like")


def _placements(
    heights: xr.DataArray,
    like: Sequence[Path],
    orbit: Path | None,
    multilook: tuple[int, int],
    turn_to: float | None,
    current: Session,
    *,
    product: bool,
) -> tuple[dict[Path, tuple[RadarGrid, Orbit]], float]:
    """Cut the grid of each annotation to what the elevation model lights."""
    from sarheight.errors import GeometryError
    from sarheight.output.radar_images import read_grid_and_orbit
    from sarheight.sentinel1 import read_annotation

    placed, turned = {}, 0.0
    for path in like:
        if product:
            read_annotation(path)
        grid, vectors = read_grid_and_orbit(path)
        if product and turn_to is not None and not grid.is_ground_range:
            msg = (
                f"{path} is an SLC, whose bursts cannot be moved along with a turned orbit: leave "
                "--turn-to out, pass the annotation of a GRD, or write .tif, .nc or .zarr"
            )
            raise typer.BadParameter(msg, param_hint="--turn-to")
        vectors = replaced_orbit(grid, vectors, orbit)
        if multilook != (1, 1):
            grid = grid.multilook(*multilook)
        try:
            grid, vectors, turned = _placed(heights, grid, vectors, turn_to, current)
        except GeometryError as error:
            if len(like) == 1 or turn_to is not None:
                raise
            current.say(f"{path.name} is left out: {error}")
            continue
        placed[path] = grid, vectors
    if not placed:
        msg = (
            f"none of the {len(like)} annotations shows the elevation model; expected one of its "
            "own area (`sarheight info` tells where an image lies)"
        )
        raise GeometryError(msg)
    return placed, turned


def _simulated(
    heights: xr.DataArray,
    placed: Sequence[tuple[RadarGrid, Orbit]],
    law: BackscatterLaw,
    calibration: CalibrationName,
    looks: float | None,
    noise: float,
    seed: int,
) -> list[Scene]:
    """Simulate the images, each with speckle of its own."""
    from sarheight import illumination

    return [
        illumination.simulate(
            heights,
            grid,
            vectors,
            law=law,
            calibration=calibration.value,
            looks=grid.looks if looks is None else looks or None,
            noise=noise,
            seed=seed + index,
        )
        for index, (grid, vectors) in enumerate(placed)
    ]


def _write_product(
    scenes: Sequence[Scene],
    like: Sequence[Path],
    dem: Sequence[Path],
    output: Path,
    current: Session,
    seed: int,
    *,
    overwrite: bool,
) -> None:
    from benchmarks.synthetic.safe_product import write_product

    inputs = {f"elevation model {index}": path.name for index, path in enumerate(dem, start=1)}
    written = write_product(
        scenes, output, like=like, seed=seed, inputs=inputs, overwrite=overwrite
    )
    current.say(f"{output}: simulated product ({', '.join(path.name for path in like)})")
    current.say(f"called {written.name} by the rules of ESA")


def _placed(
    heights: xr.DataArray, grid: RadarGrid, orbit: Orbit, turn_to: float | None, current: Session
) -> tuple[RadarGrid, Orbit, float]:
    """Cut the grid to what the elevation model lights, after turning the orbit if wanted."""
    from sarheight.geometry.placement import crop_grid_to_dem, rotate_over_dem

    if turn_to is None:
        return crop_grid_to_dem(heights, grid, orbit), orbit, 0.0
    grid, orbit, degrees = rotate_over_dem(heights, grid, orbit, turn_to)
    current.say(
        f"turned the orbit by {degrees:.3f} degrees about the Earth's axis, to see the middle of "
        f"the elevation model under {turn_to:g} degrees"
    )
    return grid, orbit, degrees


# ``sarheight scenes``: simulated scenes to train on.

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
        from sarheight.terrain.scenes import SceneSettings, write_scenes

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
) -> SceneConfiguration:
    """Describe a scene."""
    from sarheight.terrain.scenes import SceneConfiguration

    def make() -> tuple[xr.DataArray, RadarGrid, Orbit]:
        from sarheight.geometry.placement import crop_grid_to_dem, rotate_over_dem
        from sarheight.output.radar_images import read_grid_and_orbit

        dem = read_dem([path], *heights)
        grid, orbit = read_grid_and_orbit(like)
        if multilook != (1, 1):
            grid = grid.multilook(*multilook)
        if incidence is None:
            return dem, crop_grid_to_dem(dem, grid, orbit), orbit
        grid, orbit, _ = rotate_over_dem(dem, grid, orbit, incidence)
        return dem, grid, orbit

    angle = "" if incidence is None else f"_{incidence:g}"
    return SceneConfiguration(
        name=f"{path.stem}{angle}_{seed}",
        make=make,
        inputs={"dem": path, "like": like},
        settings=settings,
        seed=seed,
        parameters={"incidence": incidence, "multilook": list(multilook), "heights": list(heights)},
    )
