"""``sarheight predict`` and ``sarheight stack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._inputs import dem_files, geoid_of, read_dem
from sarheight.cli._options import (
    DEM,
    RADAR,
    RUNNING,
    CalibrationName,
    Debug,
    LikeIfNeeded,
    Nodata,
    Output,
    Overwrite,
    Quiet,
    Threads,
    Units,
    Vertical,
    output_folder,
    require_apart,
    require_writable,
)
from sarheight.cli._session import in_words_of_options, session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from sarheight.cli._session import Session
    from sarheight.scene import Scene
    from sarheight.terrain.elevations import KnownElevations


def is_city_stack(path: Path) -> bool:
    """Tell whether a store holds series of images of a city, as `sarheight stack` writes them."""
    if path.suffix.lower() != ".zarr":
        return False
    import xarray as xr

    with xr.open_zarr(path) as found:
        return "month" in found.dims


def refuse(given: Mapping[str, object], kind: str) -> None:
    """Refuse options that mean nothing to a kind of network."""
    for option, value in given.items():
        if value is not None:
            msg = f"a network for {kind} takes no {option}"
            raise typer.BadParameter(msg, param_hint=option)


def map_buildings(
    current: Session,
    images: Sequence[Path],
    model: Path,
    output: Path,
    *,
    device: str,
    overwrite: bool,
) -> None:
    """Estimate the building heights of a city."""
    from sarheight.buildings.estimators import BuildingHeightEstimator
    from sarheight.buildings.predict import predict_buildings
    from sarheight.buildings.stack_files import open_stack
    from sarheight.output import provenance, write

    if len(images) != 1:
        msg = f"found {len(images)} stacks, expected one: run the command for each"
        raise typer.BadParameter(msg, param_hint="IMAGE")
    estimator = BuildingHeightEstimator.from_pretrained(model)
    # Held by dask, it is estimated and written a block at a time, whatever its size.
    stack = open_stack(images[0], chunks={})
    current.stage("estimate and write")
    result = predict_buildings(estimator, stack, device=device)
    result.attrs["provenance"] = provenance(
        {"image": images[0], "model": model}, {"command": "predict"}
    )
    write(result, output, overwrite=overwrite)
    rows, columns = result["height"].shape
    current.say(f"{output}: {rows} x {columns} cells, {stack.sizes['month']} months")


def map_zones(
    current: Session,
    images: Sequence[Path],
    model: Path,
    output: Path,
    *,
    step: int | None,
    device: str,
    overwrite: bool,
) -> None:
    """Map the Local Climate Zones of a scene."""
    from sarheight.output import provenance
    from sarheight.zones.networks import ZoneClassifier
    from sarheight.zones.predict import predict_zones, write_zones
    from sarheight.zones.sources import read_stack

    classifier = ZoneClassifier.from_pretrained(model)
    stack = read_stack(*images)
    current.stage("estimate")
    result = predict_zones(
        classifier,
        stack,
        step=1 if step is None else step,
        device=device,
        report=lambda share: current.advance("estimate", 1.0 + share),
    )
    current.stage("write")
    files = {f"image {number}": path for number, path in enumerate(images, start=1)}
    result.attrs["provenance"] = provenance(
        {**files, "model": model}, {"command": "predict", "step": step}
    )
    written = write_zones(result, output, overwrite=overwrite)
    rows, columns = result["zone"].shape
    names = ", ".join(path.name for path in written)
    current.say(f"{names}: {rows} x {columns} cells, {len(classifier.classes)} classes")


# ``sarheight predict``: maps by a network that was trained before.

KNOWN = "Known elevations"
DemIfNeeded = Annotated[
    list[Path] | None,
    typer.Option(
        "--dem",
        exists=True,
        help="Coarse elevation model: any raster that GDAL reads. Give it again for each further "
        "tile. Not needed for a scene.",
        rich_help_panel=DEM,
        show_default=False,
    ),
]


def predict(  # noqa: PLR0915
    *,
    images: Annotated[
        list[Path],
        typer.Argument(
            exists=True,
            metavar="IMAGE...",
            help="For terrain heights an image in radar geometry, linear power, as for "
            "`reconstruct`, or a scene that `sarheight scenes` has written; for building heights a "
            "stack that `sarheight stack` has written; for Local Climate Zones the rasters that "
            "hold the network's channels.",
            show_default=False,
        ),
    ],
    output: Output,
    model: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="FOLDER",
            help="The network, as `sarheight train` leaves it: its kind says what is mapped. By "
            "default the one for terrain heights that comes with the library, which takes the "
            "elevation model as well; for a stack the one for building heights.",
            show_default=False,
        ),
    ] = None,
    dem: DemIfNeeded = None,
    vertical: Vertical = None,
    units: Units = None,
    nodata: Nodata = None,
    posting: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            metavar="METRES",
            help="Posting of the heights, in the UTM zone of the elevation model; by default they "
            "lie on its grid.",
            show_default=False,
        ),
    ] = None,
    like: LikeIfNeeded = None,
    calibration: Annotated[
        CalibrationName | None,
        typer.Option(
            help="What the image is normalised to, where the file does not say it.",
            rich_help_panel=RADAR,
            show_default=False,
        ),
    ] = None,
    points: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE",
            help="Known elevations: a table (.csv) or points in a vector file (.gpkg, .parquet).",
            rich_help_panel=KNOWN,
            show_default=False,
        ),
    ] = None,
    points_vertical: Annotated[
        str | None,
        typer.Option(
            help="What they are measured from: `ellipsoidal`, `EGM96`, `EGM2008`, a geoid grid, or "
            "the geoid's height in metres.",
            rich_help_panel=KNOWN,
            show_default=False,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="CELLS",
            help="Only for Local Climate Zones: cells of the images from one cell of the map to "
            "the next, 1 by default.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="`auto`, `cpu` or `cuda`.", rich_help_panel=RUNNING)
    ] = "auto",
    overwrite: Overwrite = False,
    quiet: Quiet = False,
    threads: Threads = None,
    debug: Debug = False,
) -> None:
    r"""Map terrain heights, building heights or Local Climate Zones, whatever the network is for.

    Of terrain it writes the heights, their standard deviation where the network gives one, and
    whether the image was seen there. Of a city the heights of its buildings and the built share.
    Of Local Climate Zones the most likely one, with its colours, and the probability of each.

    ```
    sarheight predict image.nc --dem coarse.tif --vertical EGM2008 --points known.csv \
        --points-vertical ellipsoidal -o heights.tif
    sarheight predict city.zarr -o buildings.tif
    sarheight predict sentinel2.tif --model run/model --step 10 -o zones.tif
    ```
    """
    require_apart(output, "--output", (*images, model, like, points, *(dem or ())))
    require_writable(output, "--output", overwrite=overwrite)
    of_terrain = {
        "--dem": dem,
        "--vertical": vertical,
        "--units": units,
        "--nodata": nodata,
        "--posting": posting,
        "--like": like,
        "--calibration": calibration,
        "--points": points,
        "--points-vertical": points_vertical,
    }
    with session("predict", quiet=quiet, threads=threads, debug=debug, steps=4) as current:
        current.stage("read")
        from sarheight.buildings.estimators import BuildingHeightEstimator
        from sarheight.learning.weights import model_kind, packaged_model, select_device
        from sarheight.output import provenance, write
        from sarheight.terrain.networks import HeightEstimator
        from sarheight.terrain.predict import predict_heights
        from sarheight.zones.networks import ZoneClassifier

        select_device(device)
        folder = model or packaged_model("buildings" if is_city_stack(images[0]) else "terrain")
        kind = model_kind(folder)
        if kind != HeightEstimator.kind:
            refuse(of_terrain, kind)
        if kind != ZoneClassifier.kind:
            refuse({"--step": step}, kind)
        if kind == BuildingHeightEstimator.kind:
            map_buildings(current, images, folder, output, device=device, overwrite=overwrite)
            return
        if kind == ZoneClassifier.kind:
            map_zones(
                current, images, folder, output, step=step, device=device, overwrite=overwrite
            )
            return
        if len(images) != 1:
            msg = f"found {len(images)} images, expected one for terrain heights"
            raise typer.BadParameter(msg, param_hint="IMAGE")
        image = images[0]
        estimator = HeightEstimator.from_pretrained(folder)
        known = _known(points, points_vertical)
        current.stage("reconstruct")
        if image.suffix.lower() == ".zarr" and dem is None:
            from sarheight.terrain.scenes import open_scene

            scene = open_scene(image, chunks={})
        elif dem is None:
            msg = f"'{image}' is in radar geometry, so an elevation model is needed"
            raise typer.BadParameter(msg, param_hint="--dem")
        else:
            current.say_if_kernels_are_new()
            heights = read_dem(dem, vertical, units, nodata)
            scene = _scene(_image(image, like, calibration), heights, posting)
        if known is None:
            current.warn(
                "no elevation is known: heights can only be as good as the coarse elevation model, "
                "or as the mean height of the places of training; pass --points"
            )
        current.stage("estimate")
        result = predict_heights(
            estimator,
            scene,
            known,
            device=device,
            report=lambda share: current.advance("estimate", 0.5 + 0.25 * share),
        )
        current.stage("write")
        files = {"image": image, "model": folder, "like": like, "points": points}
        files |= dem_files(dem or [])
        result.attrs["provenance"] = provenance(
            {name: path for name, path in files.items() if path is not None},
            {"command": "predict", "posting": posting, "points_vertical": points_vertical},
        )
        write(result, output, overwrite=overwrite)
        rows, columns = result["height"].shape
        count = result.attrs["known_elevations"]
        current.say(f"{output}: {rows} x {columns} cells, {count} elevations known")


def _known(points: Path | None, vertical: str | None) -> KnownElevations | None:
    if points is None:
        return None
    from sarheight.errors import GeoidGridMissingError, VerticalDatumError
    from sarheight.terrain.elevations import read_known_elevations

    try:
        return read_known_elevations(points, vertical=geoid_of(vertical))
    except (VerticalDatumError, GeoidGridMissingError) as error:
        raise type(error)(in_words_of_options(error, "points-")) from error


def _image(image: Path, like: Path | None, calibration: CalibrationName | None) -> Scene:
    from sarheight.output.radar_images import read_grid_and_orbit, read_scene

    return read_scene(
        image,
        geometry=None if like is None else read_grid_and_orbit(like),
        calibration=None if calibration is None else calibration.value,
    )


def _scene(image: Scene, heights: xr.DataArray, posting: float | None) -> xr.Dataset:
    """Put image and elevation model on the wanted grid."""
    from sarheight.dem import reproject
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.terrain.scenes import prepare_scene

    grid = heights
    if posting is not None:
        grid = reproject(heights, heights.rio.estimate_utm_crs().to_wkt(), posting)
    return prepare_scene(crop_scene_to_dem(image, heights), heights, grid)


# ``sarheight stack``: images of cities from catalogues, for training.


def stack(
    recipe: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            metavar="RECIPE.toml",
            help="Places, months, catalogues and buildings.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path, output_folder("Folder for the stacks, one Zarr store each; made if it is not there.")
    ],
    city: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Make only this city of the recipe; give it again for another.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Stack monthly images of Sentinel-1 and Sentinel-2 over cities, with their buildings.

    Images are looked up in STAC catalogues, and only their parts over the city are read. Stacks
    that are there already and were made by the same recipe are kept, so that after an interruption
    the same command goes on.

    ```
    sarheight stack dutch_cities.toml -o stacks
    sarheight train buildings stacks/*.zarr -o run
    ```
    """
    with session("stack", quiet=quiet, threads=None, debug=debug, steps=1) as current:
        from dataclasses import replace

        from sarheight.buildings.recipe import StackRecipe, write_stacks
        from sarheight.buildings.stack import valid_months
        from sarheight.buildings.stack_files import open_stack

        chosen = StackRecipe.read(recipe)
        if city:
            known = {each.name: each for each in chosen.cities}
            strange = [name for name in city if name not in known]
            if strange:
                msg = f"found no {', '.join(strange)} in the recipe, which has {', '.join(known)}"
                raise ValueError(msg)
            chosen = replace(chosen, cities=tuple(known[name] for name in city))
        for path in write_stacks(chosen, output, report=current.stage):
            with open_stack(path, chunks={}) as made:
                months = {name: int(valid.sum()) for name, valid in valid_months(made).items()}
                size = f"{made.sizes['y']} x {made.sizes['x']} cells"
            current.say(
                f"{path}: {size}, {months['sar']} months of radar, {months['optical']} of optics"
            )
