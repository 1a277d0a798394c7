"""``sarheight reconstruct``: a radar image, unfolded onto the grid of an elevation model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._options import (
    LAWS,
    OUTPUTS,
    RADAR,
    CalibrationName,
    Debug,
    Dem,
    LikeIfNeeded,
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
    from sarheight.scene import Scene

METHOD = "Method"


class MethodName(StrEnum):
    """How energy is given back."""

    posterior = "posterior"
    one_step = "one-step"


def reconstruct(
    *,
    image: Annotated[
        Path,
        typer.Argument(
            exists=True,
            metavar="IMAGE",
            help="Image in radar geometry, linear power: written by `simulate`, or any raster "
            "without a map grid (then with `--like` and `--calibration`).",
            show_default=False,
        ),
    ],
    dem: Dem,
    output: Output,
    like: LikeIfNeeded = None,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    orbit: OrbitFile = None,
    calibration: Annotated[
        CalibrationName | None,
        typer.Option(
            help="What the image is normalised to, where the file does not say it.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    polarisations: Annotated[
        str,
        typer.Option(
            metavar="VV,VH",
            help="Polarisations to take, with commas; all by default. They also name the bands of "
            "a raster that does not name them.",
            rich_help_panel=RADAR,
        ),
    ] = "",
    method: Annotated[
        MethodName,
        typer.Option(
            help="`posterior`: reallocation tempered by what neighbouring cells say. `one-step`: "
            "each cell gets its share of its pixels.",
            rich_help_panel=METHOD,
        ),
    ] = MethodName.posterior,
    law: Annotated[
        str,
        typer.Option(
            help=f"Backscatter law that sets the shares: `fit` to the image's own unfolded cells, "
            f"or {LAWS}.",
            rich_help_panel=METHOD,
        ),
    ] = "fit",
    quicklook: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also draw a picture: radar image, plain geocoded, reconstructed, fold count.",
            rich_help_panel=OUTPUTS,
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Unfold a radar image onto the grid of an elevation model.

    Writes reconstructed σ⁰ and γ⁰, the plain geocoded σ⁰ for comparison, the share of each cell
    in its pixels, fold count, layover and shadow mask, incidence angles, and a variance.

    ```
    sarheight reconstruct image.nc --dem dem.tif --vertical EGM2008 -o unfolded.tif
    sarheight reconstruct image.nc --dem dem.tif -o unfolded.zarr --quicklook unfolded.png
    sarheight reconstruct vv.tif --like s1a….xml --calibration beta0 --dem dem.tif -o vv.nc
    ```

    Area-projection radiometric terrain correction (RTC) is a special case:

    ```
    sarheight reconstruct image.nc --dem dem.tif --method one-step --law gamma -o rtc.tif
    ```
    """
    require_writable(output, "--output", overwrite=overwrite)
    require_writable(quicklook, "--quicklook", overwrite=overwrite)
    if quicklook is not None and quicklook.suffix.lower() != ".png":
        msg = f"a picture is saved as .png, and this is '{quicklook}'"
        raise typer.BadParameter(msg, param_hint="--quicklook")
    chosen = None if law == "fit" else parse_law(law)
    wanted = tuple(name.strip().upper() for name in polarisations.split(",") if name.strip())
    with session("reconstruct", quiet=quiet, threads=threads, debug=debug, steps=4) as current:
        current.stage("read")
        from sarheight import layover, plot
        from sarheight._placing import scene_of_dem
        from sarheight.output import provenance, save_png, write

        heights = read_dem(dem, vertical, units, nodata)
        scene = _scene(image, like, orbit, calibration, wanted, current)
        current.stage("find what the elevation model lights")
        current.say_if_kernels_are_new()
        scene = scene_of_dem(scene, heights)
        current.stage("reconstruct")
        result = layover.reconstruct(
            scene,
            heights,
            law=chosen,
            method=(
                layover.PosteriorMean()
                if method is MethodName.posterior
                else layover.Reallocation()
            ),
        )
        current.stage("write")
        files = {"image": image, "like": like, "orbit": orbit}
        files |= {f"dem {index}": path for index, path in enumerate(dem, start=1)}
        result.attrs["provenance"] = provenance(
            {name: path for name, path in files.items() if path is not None},
            {
                "command": "reconstruct",
                "method": method.value,
                "law": law,
                "vertical": vertical,
                "calibration": scene.calibration,
                "polarisations": wanted,
            },
        )
        if "simulated" in scene.image.attrs:
            result.attrs["simulated"] = scene.image.attrs["simulated"]
        write(result, output, overwrite=overwrite)
        if quicklook is not None:
            save_png(
                plot.scene(result, scene.image, relief=heights), quicklook, overwrite=overwrite
            )
        rows, columns = heights.shape
        folded = result["fold_count"].values
        folded = folded[folded != result["fold_count"].attrs["_FillValue"]]
        share = 100 * float((folded > 1).mean()) if folded.size else 0.0
        current.say(f"{output}: {rows} x {columns} cells, {share:.1f} % of them folded")


def _scene(
    image: Path,
    like: Path | None,
    orbit: Path | None,
    calibration: CalibrationName | None,
    polarisations: tuple[str, ...],
    current: Session,
) -> Scene:
    """Read the image and what places it on the ground."""
    from dataclasses import replace

    from sarheight._scene_io import read_placement, read_scene

    placement = None if like is None else read_placement(like)
    scene = read_scene(
        image,
        placement=placement,
        calibration=None if calibration is None else calibration.value,
        polarisations=polarisations,
    )
    if placement is not None and scene.grid is not placement[0]:
        current.say(f"{image} holds its own sampling and orbit: --like is not used")
    if orbit is None:
        return scene
    return replace(scene, orbit=replaced_orbit(scene.grid, scene.orbit, orbit))
