"""``sarheight simulate``: the image that an elevation model predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import (
    LAWS,
    RADAR,
    CalibrationName,
    Debug,
    Dem,
    Like,
    Nodata,
    OrbitFile,
    Output,
    Overwrite,
    Quiet,
    Threads,
    Units,
    Vertical,
    parse_law,
    read_dem,
    replaced_orbit,
    require_writable,
)
from sarheight.cli._session import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid


def simulate(
    *,
    like: Like,
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
    multilook: Annotated[
        tuple[int, int],
        typer.Option(
            metavar="LINES SAMPLES",
            help="Pixels to average into one, along azimuth and range.",
            rich_help_panel=RADAR,
        ),
    ] = (1, 1),
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

    Where no annotation covers the mountains, turn a real orbit about the Earth's axis until they
    come into view (the latitude must match):

    ```
    sarheight simulate --like s1b-iw-grd-vv-….xml --dem alps.tif --turn-to 34 -o image.zarr
    ```
    """
    require_writable(output, "--output", overwrite=overwrite)
    chosen = parse_law(law)
    with session("simulate", quiet=quiet, threads=threads, debug=debug, steps=3) as current:
        current.stage("read")
        from sarheight import illumination
        from sarheight._scene_io import read_placement, write_scene
        from sarheight.output import provenance

        heights = read_dem(dem, vertical, units, nodata)
        grid, vectors = read_placement(like)
        vectors = replaced_orbit(grid, vectors, orbit)
        if multilook != (1, 1):
            grid = grid.multilook(*multilook)
        grid, vectors, turned = _placed(heights, grid, vectors, turn_to, current)
        current.stage("simulate")
        current.say_if_kernels_are_new()
        scene = illumination.simulate(
            heights,
            grid,
            vectors,
            law=chosen,
            calibration=calibration.value,
            looks=grid.looks if looks is None else looks or None,
            noise=0.0 if noise is None else 10.0 ** (noise / 10.0),
            seed=seed,
        )
        current.stage("write")
        inputs = {f"dem {index}": path for index, path in enumerate(dem, start=1)}
        record = provenance(
            inputs | {"like": like} | ({"orbit": orbit} if orbit else {}),
            {
                "command": "simulate",
                "law": chosen,
                "vertical": vertical,
                "multilook": multilook,
                "looks": looks,
                "noise_decibels": noise,
                "seed": seed,
                "turned_degrees": turned,
            },
        )
        write_scene(scene, output, attributes={"provenance": record}, overwrite=overwrite)
        current.say(f"{output}: simulated image, {grid.lines} lines x {grid.samples} samples")


def _placed(
    heights: xr.DataArray, grid: RadarGrid, orbit: Orbit, turn_to: float | None, current: Session
) -> tuple[RadarGrid, Orbit, float]:
    """Cut the grid to what the elevation model lights, after turning the orbit if wanted."""
    from sarheight._placing import grid_of_dem, turned_over

    if turn_to is None:
        return grid_of_dem(heights, grid, orbit), orbit, 0.0
    grid, orbit, degrees = turned_over(heights, grid, orbit, turn_to)
    current.say(
        f"turned the orbit by {degrees:.3f} degrees about the Earth's axis, to see the middle of "
        f"the elevation model under {turn_to:g} degrees"
    )
    return grid, orbit, degrees
