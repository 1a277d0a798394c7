"""``sarheight refine``: heights of a coarse elevation model, refined by radar images."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sarheight.cli._files import (
    ELEVATIONS,
    SLC_SPACING,
    open_image_product,
    read_dem,
    read_elevations,
    read_image,
    require_apart,
    require_writable,
)
from sarheight.cli._session import session
from sarheight.settings import (
    LOCATION,
    METHOD,
    RADAR,
    Calibration,
    DemSettings,
    FileOutput,
    Multilook,
    ReconstructSettings,
    RunningSettings,
    argument,
    option,
    vertical_reference,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.cli._session import Session
    from sarheight.scene import Scene
    from sarheight.terrain.posterior import RefinementSettings
    from sarheight.terrain.refinement_network import RefinementNetwork

MARGIN = 64
"""Pixels around the part that the elevation model covers, read for a possible shift."""


@dataclass(frozen=True, kw_only=True)
class RefineSettings(DemSettings):
    """All that a refinement depends on.

    Attributes
    ----------
    images : tuple of str
        One image for each pass, as for `reconstruct`: a product, or an image in radar geometry,
        linear power. An ascending and a descending pass tell far more than one. Of a folder of
        dates of one track, the mean of all is the image.
    like : str, optional
        Annotation of images that have no sampling and orbit (XML of a GRD or SLC, plain or .xz).
    calibration : {"beta0", "sigma0", "gamma0"}, optional
        Calibration of products (default beta0), or the normalisation of other images, unless the
        files state it.
    polarisation : str, optional
        Polarisation, of images that have several.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range, before anything else.
    known : pathlib.Path, optional
        Known elevations, to which the elevation model is aligned, and whose residuals are kriged: a
        table (.csv) or points in a vector file (.gpkg, .parquet).
    known_vertical : str or float, optional
        Their vertical reference: `ellipsoidal`, `EGM96`, `EGM2008`, a geoid grid, or the geoid's
        height in metres.
    known_crs : str, optional
        Reference system of their positions, such as `EPSG:32632`, for a table with columns x and y;
        not needed for longitude and latitude.
    factor : int
        Cells of the result in a cell of the elevation model, along each axis.
    error : float
        Standard deviation of the elevation model's error in metres.
    error_length : float, optional
        Correlation length of that error in metres. Default: one and a half of its cells.
    coregister : {"report", "correct", "none"}
        Compare each image with its simulation, and `report` a shift between them, or `correct` the
        timing by it.
    network : bool
        Correct the refined heights by the included network, where it was trained for images, grid
        and settings. Needs the extra `learn`.
    iterations : int
        Linearisations. More lower the error a little further.
    seed : int
        Seed of the draws that give the standard deviation.
    picture : bool
        Write a picture of the heights before and after beside them, as `.png`.
    """

    images: Annotated[tuple[str, ...], LOCATION, argument("IMAGE")]
    like: Annotated[str | None, LOCATION, option(RADAR, metavar="FILE")] = None
    calibration: Annotated[Calibration | None, option(RADAR)] = None
    polarisation: Annotated[str | None, option(RADAR, metavar="NAME")] = None
    multilook: Multilook = None
    known: Annotated[Path | None, option(ELEVATIONS, dir_okay=False, metavar="FILE")] = None
    known_vertical: Annotated[
        str | float | None, option(ELEVATIONS, metavar="DATUM", parser=vertical_reference)
    ] = None
    known_crs: Annotated[str | None, option(ELEVATIONS, metavar="CRS")] = None
    factor: Annotated[int, option(METHOD, min=1, metavar="CELLS")] = 3
    error: Annotated[float, option(METHOD, metavar="METRES")] = 4.5
    error_length: Annotated[float | None, option(METHOD, metavar="METRES")] = None
    coregister: Annotated[Literal["report", "correct", "none"], option(METHOD)] = "report"
    network: Annotated[bool, option(METHOD)] = False
    iterations: Annotated[int, option(METHOD, min=1)] = 6
    seed: Annotated[int, option(METHOD)] = 0
    picture: Annotated[bool, option(METHOD)] = False


def refine(settings: RefineSettings, result: FileOutput, running: RunningSettings) -> None:
    r"""Refine the heights of an elevation model by one or more radar images.

    Heights and reflectivity that explain all images, given the elevation model and its error. Where
    the images do not tell, the heights are those of the elevation model, interpolated so that its
    cells keep their means.

    Writes heights and their standard deviation, the interpolated heights, the number of images of
    each cell, and for each image its disagreement with the simulation and the backscatter γ⁰.

    ```
    sarheight refine ascending.nc descending.nc --dem glo90.tif --vertical EGM2008 -o heights.nc
    sarheight refine ascending/ descending/ --polarisation VV --dem glo90.tif --vertical EGM2008 \
        -o heights.nc
    sarheight refine ascending/ descending/ --dem glo90.tif --vertical EGM2008 --network \
        -o heights.nc
    sarheight refine S1A_….zip --dem glo90.tif --vertical EGM2008 --known points.csv \
        --known-vertical ellipsoidal -o heights.tif
    ```
    """
    settings.require_files()
    output = result.output
    require_apart(output, "--output", settings.files().values())
    require_writable(output, "--output", overwrite=result.overwrite)
    picture = output.with_suffix(".png")
    if settings.picture:
        require_writable(picture, "--picture", overwrite=result.overwrite)
    with session("refine", running, steps=3) as current:
        current.stage("read")
        from sarheight import plot
        from sarheight.output import provenance, save_png, write
        from sarheight.terrain.posterior import RefinementSettings
        from sarheight.terrain.refinement import refine as refine_heights

        chosen = _method(settings, RefinementSettings)
        network = _network() if settings.network else None
        heights = read_dem(settings)
        known = read_elevations(settings.known, settings.known_vertical, settings.known_crs)
        scenes = [read_pass(settings, image, heights, current) for image in settings.images]
        current.stage("refine")
        current.announce_compilation()
        refined = refine_heights(
            scenes,
            heights,
            known,
            factor=settings.factor,
            settings=chosen,
            coregister=settings.coregister,
            network=network,
            seed=settings.seed,
            report=lambda fraction: current.advance("refine", (1.0 + fraction) / current.steps),
        )
        current.stage("write")
        refined.attrs["provenance"] = provenance(
            settings.files(), {"command": "refine", "settings": settings.record()}
        )
        write(refined, output, overwrite=result.overwrite)
        if settings.picture:
            save_png(plot.heights(refined), picture, overwrite=result.overwrite)
            current.say(f"{picture}: heights before and after")
        rows, columns = refined["height"].shape
        change = float(((refined["height"] - refined["baseline"]) ** 2).mean() ** 0.5)
        sigma = float((refined["height_sigma"] ** 2).mean() ** 0.5)
        points = "" if known is None else f"{len(known)} known elevations, "
        corrected = ""
        if "correction" in refined:
            part = float((refined["correction"] ** 2).mean() ** 0.5)
            corrected = f" (by the network {part:.1f} m)"
        current.say(
            f"{output}: {rows} x {columns} cells, {len(scenes)} images, {points}heights changed by "
            f"{change:.1f} m{corrected}, standard deviation {sigma:.1f} m (root mean squares)"
        )


def _method(settings: RefineSettings, kind: type[RefinementSettings]) -> RefinementSettings:
    """Take the settings of the method; say of a wrong one which option it is."""
    names = {each.name for each in fields(kind)}
    try:
        return kind(**{name: value for name, value in asdict(settings).items() if name in names})
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _network() -> RefinementNetwork:
    """Load the included network."""
    from sarheight.learning.weights import packaged_model
    from sarheight.terrain.refinement_network import RefinementNetwork

    return RefinementNetwork.from_pretrained(packaged_model("refinement"))


def read_pass(
    settings: RefineSettings, image: str, heights: xr.DataArray, current: Session
) -> Scene:
    """Read the part of an image that the elevation model covers; of a folder, the mean of dates."""
    from sarheight.geometry.placement import crop_scene_to_dem
    from sarheight.series import find_dates

    dates = find_dates(image)
    if dates:
        return _mean(settings, image, dates, heights, current)
    one = ReconstructSettings(
        image=image,
        dem=settings.dem,
        like=None if settings.like is None else Path(settings.like),
        calibration=settings.calibration,
        polarisations=() if settings.polarisation is None else (settings.polarisation.upper(),),
        multilook=settings.multilook,
    )
    scene = read_image(one, open_image_product(one), current)
    if settings.polarisation is not None and "polarisation" in scene.image.dims:
        chosen = scene.image.sel(polarisation=settings.polarisation.upper(), drop=True)
        scene = replace(scene, image=chosen)
    return crop_scene_to_dem(scene, heights, margin=MARGIN)


def _mean(
    settings: RefineSettings,
    folder: str,
    dates: Sequence[Path],
    heights: xr.DataArray,
    current: Session,
) -> Scene:
    """Average the dates of a track."""
    from sarheight.product import is_product, open_product
    from sarheight.scene import multilook
    from sarheight.series import mean_scene

    if settings.like is not None:
        msg = f"the dates in '{folder}' have each their own sampling and orbit: omit it"
        raise typer.BadParameter(msg, param_hint="--like")
    options: dict[str, Any] = {}
    products = [date for date in dates if is_product(date)]
    if products:
        options = {"calibration": settings.calibration or "beta0", "multilook": settings.multilook}
        with suppress(ValueError, OSError):
            # A damaged one is named where the dates are opened.
            if open_product(products[0]).product_type == "SLC" and settings.multilook is None:
                options["spacing"] = SLC_SPACING
    name = None if settings.polarisation is None else settings.polarisation.upper()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        scene = mean_scene(
            list(dates), heights, polarisation=name, product_options=options,
            progress=lambda date, _: current.say(f"average {date}") if date != "done" else None,
        )  # fmt: skip
    for each in caught:
        current.warn(str(each.message))
    if settings.multilook is not None and not products:
        image, grid = multilook(scene.image, scene.grid, *settings.multilook)
        scene = replace(scene, image=image, grid=grid)
    used = len(json.loads(scene.image.attrs["dates"]))
    current.say(f"{folder}: the mean of {used} dates, {scene.grid.looks:.0f} looks")
    return scene
