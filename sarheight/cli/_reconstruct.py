"""``sarheight masks`` and ``sarheight reconstruct``."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._inputs import (
    Coregister,
    CoregisterName,
    DemChoice,
    ImageChoice,
    coregister,
    dem_files,
    read_dem,
    replaced_orbit,
    tell,
)
from sarheight.cli._options import (
    DEM,
    LAWS,
    OUTPUTS,
    RADAR,
    CalibrationName,
    Debug,
    Dem,
    Like,
    LikeIfNeeded,
    Memory,
    Multilook,
    Nodata,
    OrbitFile,
    Output,
    Overwrite,
    Quiet,
    StacItem,
    Threads,
    Units,
    Vertical,
    bytes_of,
    needed,
    parse_law,
    require_apart,
    require_result,
    require_writable,
)
from sarheight.cli._session import Session, session

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.grid import RadarGrid


class GeometryName(StrEnum):
    """Whose grid the masks lie on."""

    ground = "ground"
    radar = "radar"


def masks(
    *,
    like: Like,
    dem: Dem,
    output: Output,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    orbit: OrbitFile = None,
    geometry: Annotated[
        GeometryName,
        typer.Option(
            help="On the grid of the elevation model, or on the part of the image that it lights."
        ),
    ] = GeometryName.ground,
    stac: StacItem = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Find layover, shadow and foreshortening, and count the folds.

    Writes two variables: `mask`, with 0 clear, 1 foreshortening, 2 active layover, 3 passive
    layover, 4 active shadow, 5 passive shadow, 6 layover and shadow, 255 no data; and
    `fold_count`, the number of lit places at the same time and range. The codes are *not* those
    of isce3 or SNAP, which contradict each other.

    ```
    sarheight masks --like S1A_IW_GRDH_….SAFE.zip --dem dem.tif --vertical EGM2008 -o masks.tif
    sarheight masks --like s1a-iw-grd-vv-….xml --dem dem.tif --vertical EGM96 -o masks.tif
    sarheight masks --like image.nc --dem dem.tif --geometry radar -o masks.nc
    ```
    """
    require_apart(output, "--output", (like, orbit, *dem))
    require_result(output, overwrite=overwrite, stac=stac)
    if stac and geometry is GeometryName.radar:
        msg = "a STAC item is of masks on the ground: leave it out, or --geometry radar"
        raise typer.BadParameter(msg, param_hint="--stac")
    with session("masks", quiet=quiet, threads=threads, debug=debug, steps=3) as current:
        current.stage("read")
        from sarheight import layover
        from sarheight.geometry.placement import crop_grid_to_dem
        from sarheight.output import provenance, write
        from sarheight.output.radar_images import (
            add_grid_and_orbit,
            read_grid_and_orbit,
            write_radar,
        )

        heights = read_dem(dem, vertical, units, nodata)
        grid, vectors = read_grid_and_orbit(like)
        vectors = replaced_orbit(grid, vectors, orbit)
        current.stage("classify")
        current.say_if_kernels_are_new()
        if geometry is GeometryName.radar:
            grid = crop_grid_to_dem(heights, grid, vectors)
        found = layover.masks(heights, grid, vectors, geometry=geometry.value)
        current.stage("write")
        found.attrs["provenance"] = provenance(
            dem_files(dem) | {"like": like} | ({"orbit": orbit} if orbit else {}),
            {"command": "masks", "geometry": geometry.value, "vertical": vertical},
        )
        if geometry is GeometryName.radar:
            write_radar(add_grid_and_orbit(found, grid, vectors), output, overwrite=overwrite)
        elif output.suffix.lower() == ".png":
            from sarheight import plot
            from sarheight.output import save_png

            save_png(plot.mask(found["mask"], relief=heights), output, overwrite=overwrite)
        else:
            write(found, output, overwrite=overwrite, stac=stac)
        rows, columns = found["mask"].shape
        current.say(f"{output}: {rows} x {columns}, {_shares(found['mask'].values)}")


def _shares(category: object) -> str:
    """Say how much of the known part lies in layover and in shadow."""
    import numpy as np

    from sarheight.layover import FLAGS

    codes = np.asarray(category)
    codes = codes[codes <= max(FLAGS.values())]
    parts = []
    for word in ("layover", "shadow"):
        members = [code for name, code in FLAGS.items() if word in name]
        share = 100 * float(np.isin(codes, members).mean()) if codes.size else 0.0
        parts.append(f"{share:.1f} % in {word}")
    return ", ".join(parts)


# ``sarheight reconstruct``: a radar image, unfolded onto the grid of an elevation model.

METHOD = "Method"
WHOLE = 0.95
"""Part of an image from which an elevation model is taken to cover it."""
ROOM = 64
"""Pixels to keep around what the elevation model lights, until it is known how images lie."""


class MethodName(StrEnum):
    """How energy is given back."""

    posterior = "posterior"
    one_step = "one-step"


def reconstruct(
    *,
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="Sentinel-1 GRD or SLC as it comes from the archive: SAFE folder, zip, or a URL "
            "of either (https://, s3://). Or an image in radar geometry, linear power: written by "
            "`simulate`, or any raster without a map grid (then with `--like` and "
            "`--calibration`).",
            show_default=False,
        ),
    ],
    dem: Annotated[
        list[str],
        typer.Option(
            metavar="auto|FILE",
            help="Elevation model: any raster that GDAL reads, given again for each further tile; "
            "or `auto`, to fetch Copernicus GLO-30 of the place.",
            rich_help_panel=DEM,
            show_default=False,
        ),
    ],
    output: Output,
    like: LikeIfNeeded = None,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    orbit: Annotated[
        str | None,
        typer.Option(
            metavar="auto|FILE|FOLDER",
            help="Orbit file (POEORB or RESORB, .EOF), a folder with some, or `auto` to fetch the "
            "best. By default one that lies beside the product, else the image's own orbit.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    bounds: Annotated[
        tuple[float, float, float, float] | None,
        typer.Option(
            metavar="WEST SOUTH EAST NORTH",
            help="Part to reconstruct, in degrees. Only that part of the image is read.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    swath: Annotated[
        str,
        typer.Option(
            metavar="IW1,IW2",
            help="Swaths of an SLC to take, with commas; all by default.",
            rich_help_panel=RADAR,
        ),
    ] = "",
    multilook: Multilook = None,
    spacing: Annotated[
        float | None,
        typer.Option(
            metavar="METRES",
            min=1.0,
            help="In place of `--multilook`: average to about this distance between pixels on the "
            "ground. By default an SLC is averaged to 20 m, and others not at all.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    noise_removal: Annotated[
        bool,
        typer.Option(
            "--noise-removal/--no-noise-removal",
            help="Subtract the thermal noise of a product.",
            rich_help_panel=RADAR,
        ),
    ] = True,
    calibration: Annotated[
        CalibrationName | None,
        typer.Option(
            help="What a product is calibrated to (beta0 by default), or what another image is "
            "normalised to, where the file does not say it.",
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
    coregistration: Coregister = CoregisterName.report,
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
    stac: StacItem = False,
    memory: Memory = "2 GiB",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    """Unfold a radar image onto the grid of an elevation model.

    The image is a Sentinel-1 product as it comes from the archive, or one in radar geometry.

    Writes reconstructed σ⁰ and γ⁰, the plain geocoded σ⁰ for comparison, the share of each cell
    in its pixels, fold count, layover and shadow mask, incidence angles, and a variance.

    ```
    sarheight reconstruct S1A_IW_GRDH_….SAFE.zip --dem auto --orbit auto -o scene.tif
    sarheight reconstruct S1A_IW_SLC__….SAFE --dem dem.tif --bounds 10.6 46.6 11.2 47 -o part.nc
    sarheight reconstruct image.nc --dem dem.tif --vertical EGM2008 -o unfolded.tif
    sarheight reconstruct image.nc --dem dem.tif -o unfolded.zarr --quicklook unfolded.png
    sarheight reconstruct vv.tif --like s1a….xml --calibration beta0 --dem dem.tif -o vv.nc
    ```

    Area-projection radiometric terrain correction (RTC) is a special case:

    ```
    sarheight reconstruct image.nc --dem dem.tif --method one-step --law gamma -o rtc.tif
    ```
    """
    inputs = (image, like, orbit, *dem)
    require_apart(output, "--output", inputs)
    require_apart(quicklook, "--quicklook", (output, *inputs))
    require_result(output, overwrite=overwrite, stac=stac)
    require_writable(quicklook, "--quicklook", overwrite=overwrite)
    if quicklook is not None and quicklook.suffix.lower() != ".png":
        msg = f"a picture is saved as .png, and this is '{quicklook}'"
        raise typer.BadParameter(msg, param_hint="--quicklook")
    chosen = None if law == "fit" else parse_law(law)
    limit = bytes_of(memory)
    picture = ImageChoice(
        image,
        like,
        orbit,
        None if calibration is None else calibration.value,
        _names(polarisations),
        _names(swath),
        multilook,
        spacing,
        noise_removal,
    )
    ground = DemChoice(tuple(dem), vertical, units, nodata, bounds)
    with session("reconstruct", quiet=quiet, threads=threads, debug=debug, steps=4) as current:
        current.stage("read")
        from sarheight import layover, plot
        from sarheight.geometry.placement import crop_scene_to_dem
        from sarheight.layover.tiles import array_bytes
        from sarheight.output import open_result, provenance, save_png, write

        product = picture.product()
        heights, dem_files = ground.open(product, current)
        whole = picture.scene(product, current)
        current.stage("find what the elevation model lights")
        current.say_if_kernels_are_new()
        # Read once, with room for a shift; the rest of the image is never read.
        near = crop_scene_to_dem(whole, heights, margin=ROOM)
        in_parts = needed(near, heights) > array_bytes(limit) and output.suffix.lower() != ".png"
        if not in_parts:
            near = replace(near, image=near.image.compute())
        near, shift = coregister(near, heights, coregistration, chosen)
        scene = crop_scene_to_dem(near, heights)
        share = _share(scene.grid, whole.grid)
        if share < WHOLE:
            current.say(
                f"the elevation model covers {100 * share:.1f} % of the image: the result is that "
                "part, the rest is left out"
            )
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
            memory_limit=limit,
        )
        current.stage("write")
        result.attrs["provenance"] = provenance(
            picture.inputs() | dem_files,
            {
                "command": "reconstruct",
                "image": Path(image).name if product is None else product.name,
                "share_of_image": share,
                "method": method.value,
                "law": law,
                "vertical": vertical,
                "calibration": scene.calibration,
                "polarisations": scene.grid.polarisations,
                "swaths": picture.swaths,
                "multilook": multilook,
                "spacing": spacing,
                "noise_removal": noise_removal,
                "orbit": scene.orbit.source,
                "bounds": bounds,
                "coregister": coregistration.value,
            },
        )
        if shift is not None:
            result.attrs["coregistration"] = shift.to_json()
            tell(shift, coregistration, current)
        if "simulated" in scene.image.attrs:
            result.attrs["simulated"] = scene.image.attrs["simulated"]
        write(result, output, overwrite=overwrite, stac=stac)
        if in_parts:
            # What was written need not be worked out again.
            result = open_result(output, chunks={})
        if quicklook is not None:
            save_png(
                plot.scene(result, scene.image, relief=heights), quicklook, overwrite=overwrite
            )
        _summarise(result, output, current)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in text.split(",") if name.strip())


def _share(part: RadarGrid, whole: RadarGrid) -> float:
    """Return which part of an image a part of it is."""
    return part.lines * part.samples / (whole.lines * whole.samples)


def _summarise(result: xr.Dataset, output: Path, current: Session) -> None:
    """Say what was written, how much of it lies in the image, and how much is folded."""
    import numpy as np

    folds = result["fold_count"]
    rows, columns = folds.shape
    seen = folds.values != folds.attrs["_FillValue"]
    folded = folds.values[seen]
    share = 100 * float((folded > 1).mean()) if folded.size else 0.0
    inside = 100 * float(np.mean(seen))
    current.say(
        f"{output}: {rows} x {columns} cells, {inside:.1f} % of them in the image, {share:.1f} % "
        "of them folded"
    )
