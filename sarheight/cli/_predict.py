"""``sarheight refine``, ``sarheight predict`` and ``sarheight stack``: heights and zones."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from sarheight.cli._files import (
    output_folder,
    require_result,
    require_writable,
    write_result,
)
from sarheight.cli._session import session
from sarheight.errors import OptionError
from sarheight.workflow.config import (
    ClipConfig,
    KnownConfig,
    Messages,
    PassImageConfig,
    RefineConfig,
    ResultOutput,
    Running,
)
from sarheight.workflow.options import argument, option
from sarheight.workflow.words import (
    CITY,
    DEM,
    RADAR,
    RUNNING,
    Coregister,
    DemFiles,
    MostMemory,
    Names,
    require_memory,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.cli._session import Session
    from sarheight.terrain.elevations import KnownElevations
    from sarheight.terrain.sar2height import HeightEstimator


# ``sarheight refine``: heights of a coarse elevation model, refined by radar images.


def refine(settings: RefineConfig, result: ResultOutput, running: Running) -> None:
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
    _run_refinement("refine", settings, result, running)


def _run_refinement(
    command: str, settings: RefineConfig, result: ResultOutput, running: Running
) -> None:
    """Refine, write and summarise for the command of this name."""
    settings.require_files()
    require_result(result, settings.files().values())
    with session(command, running, {"read": 1, "refine": 20, "write": 1}) as current:
        current.stage("read")
        current.compile_kernels()
        from sarheight import plot
        from sarheight.terrain.workflow import refine_files

        refined = refine_files(settings, reporter=current)
        current.stage("write")
        write_result(refined, result, plot.heights, current)
        rows, columns = refined["height"].shape
        change, sigma = _rms(refined["height"] - refined["baseline"]), _rms(refined["height_sigma"])
        corrected = ""
        if "correction" in refined:
            corrected = f" (by the network {_rms(refined['correction']):.1f} m)"
        images = "1 image" if len(settings.images) == 1 else f"{len(settings.images)} images"
        current.say(
            f"{result.output}: {rows} x {columns} cells, {images}, heights "
            f"changed by {change:.1f} m{corrected}, standard deviation {sigma:.1f} m (root mean "
            "squares)"
        )


def _rms(values: xr.DataArray) -> float:
    """Return the root mean square of the values that are there."""
    return float((values**2).mean() ** 0.5)


# ``sarheight predict``: maps by a trained network.

MUCH_NOVEL = 0.3
"""Share of cells unlike those of training from which a map warns; in validation it is 0.1."""

# Bytes of a prediction of terrain heights of an image, beside those of other commands.
PROGRAM_BYTES = 330 << 20  # of PyTorch
CELL_BYTES = 300.0  # of a cell, estimated: all that is reconstructed, and the network's maps
PIXEL_BYTES = 24.0  # of the image, and of its simulation

CITY_OPTIONS = ("footprints", "baseline", "radar_scale")
"""Options that only networks for building heights have."""
TERRAIN_OPTIONS = (
    *("dem", "vertical", "units", "nodata", "condition", "dem_error", "coregister", "like"),
    *(
        "crs",
        "resolution",
        "align",
        "mgrs",
        "clip",
        "calibration",
        "polarisation",
        "multilook",
        "verify",
        "known",
        "known_vertical",
        "known_crs",
        "memory",
    ),
)
"""Options that only networks for terrain heights have."""


@dataclass(frozen=True, kw_only=True)
class PredictConfig(PassImageConfig, KnownConfig, ClipConfig):
    """All that a prediction depends on.

    Attributes
    ----------
    images : tuple of str
        For terrain heights an image in radar geometry, linear power, as for `reconstruct`, or a
        training scene; for building heights a stack of `sarheight stack`, or a folder
        of Sentinel-1 and Sentinel-2 GeoTIFFs with a date and a band in their names; for Local
        Climate Zones the rasters with the network's channels.
    model : pathlib.Path, optional
        Network, a folder `model` of `sarheight train`: its kind decides what is mapped. Default:
        with an elevation model, `sarheight refine` with the included network; for a stack the
        included network for building heights.
    dem : tuple of str
        Coarse elevation model: any raster that GDAL reads. Repeat the option for each tile. Not
        needed for a scene.
    like : tuple of str
        For terrain heights a raster on a map grid, such as an earlier result: the result gets its
        grid. Or the annotation of images that have no sampling and orbit (XML of a GRD or SLC,
        plain or .xz). Repeat the option for both.
    resolution : float, optional
        Size of the cells of terrain heights, in units of their reference system. Default: a third
        of that of the elevation model; with `--model` the middle of the postings of its training.
    dem_error : float, optional
        Only without `--model`: standard deviation of the elevation model's error in metres.
    coregister : {"report", "correct", "none"}, optional
        Compare the image with its simulation, and `report` the shift between them (default), or
        `correct` the timing by a significant one.
    footprints : pathlib.Path, optional
        Only for building heights: a vector file with outlines, whose heights are written beside the
        map as a GeoPackage.
    baseline : str, optional
        Only for a folder of images of a city: processing baseline of the optical ones, such as
        `05.09`.
    radar_scale : {"power", "amplitude", "decibel"}
        Only for a folder: scale of the radar images.
    step : int, optional
        Only for Local Climate Zones: cells of the images in a cell of the map, along each axis; 1
        by default.
    device : str
        `auto`, `cpu` or `cuda`.
    memory : str, optional
        Only for terrain heights of an image: memory limit; what would take more is refused before
        it begins. Default: none. Other maps are made block by block.
    """

    images: Annotated[Names, argument("IMAGE", location=True)]
    model: Annotated[Path | None, option(file_okay=False, metavar="FOLDER")] = None
    dem: DemFiles = ()
    dem_error: Annotated[float | None, option(DEM, metavar="METRES")] = None
    coregister: Annotated[Coregister | None, option(RADAR)] = None
    footprints: Annotated[Path | None, option(CITY, dir_okay=False, metavar="FILE")] = None
    baseline: Annotated[str | None, option(CITY, metavar="NUMBER")] = None
    radar_scale: Annotated[Literal["power", "amplitude", "decibel"] | None, option(CITY)] = None
    step: Annotated[int | None, option(least=1, metavar="CELLS")] = None
    device: Annotated[str, option(RUNNING)] = "auto"
    memory: MostMemory = None

    def refuse(self, names: tuple[str, ...], kind: str) -> None:
        """Refuse options that do not apply to a kind of network."""
        for name in names:
            if getattr(self, name) not in (None, (), False):
                msg = f"a network for {kind} has no --{name.replace('_', '-')}"
                raise OptionError(msg, option=name)

    def image(self, kind: str) -> Path:
        """Return the image; refuse several."""
        if len(self.images) != 1:
            msg = f"found {len(self.images)} {kind}, expected one: run the command for each"
            raise OptionError(msg, option="images")
        return Path(self.images[0])


def predict(settings: PredictConfig, result: ResultOutput, running: Running) -> None:
    r"""Map terrain heights, building heights or Local Climate Zones, as the network decides.

    Terrain: without `--model` this is `sarheight refine --network`, with the same result; a network
    of `sarheight train terrain` gives heights and their standard deviation. City: heights of
    buildings and the built fraction. Local Climate Zones: the most likely zone, with its colours,
    and the probability of each.

    ```
    sarheight predict image.nc --dem glo30.tif --vertical EGM2008 --known known.csv \
        --known-vertical ellipsoidal -o heights.tif
    sarheight predict city.zarr -o buildings.tif
    sarheight predict images/ --baseline 05.09 --footprints outlines.gpkg -o buildings.tif
    sarheight predict sentinel2.tif --model run/model --step 10 -o zones.tif
    ```
    """
    if settings.model is None and settings.dem:
        _refine(settings, result, running)
        return
    settings.require_files()
    require_result(result, settings.files().values())
    with session("predict", running, {"read": 1, "estimate": 15, "write": 3}) as current:
        current.stage("read")
        from sarheight.buildings.estimators import BuildingHeightEstimator
        from sarheight.learning.weights import model_kind, packaged_model, select_device
        from sarheight.terrain.sar2height import HeightEstimator
        from sarheight.zones.classifier import ZoneClassifier
        from sarheight.zones.forest import ZoneForest

        select_device(settings.device)
        stack = _is_city_stack(Path(settings.images[0]))
        if settings.model is None and not stack:
            msg = "an image needs an elevation model (--dem), or a network of yours (--model)"
            raise OptionError(msg, option="dem")
        model = settings.model or packaged_model("buildings")
        kind = model_kind(model)
        if kind != HeightEstimator.kind:
            settings.refuse(TERRAIN_OPTIONS, kind)
        of_zones = kind in {ZoneClassifier.kind, ZoneForest.kind}
        if not of_zones:
            settings.refuse(("step",), kind)
        if kind != BuildingHeightEstimator.kind:
            settings.refuse(CITY_OPTIONS, kind)
        if kind == BuildingHeightEstimator.kind:
            _map_buildings(settings, model, result, current)
        elif of_zones:
            _map_zones(settings, model, result, current)
        else:
            _map_heights(settings, model, result, current)


def _refine(settings: PredictConfig, result: ResultOutput, running: Running) -> None:
    """Refine the elevation model with the included network, as `sarheight refine` does."""
    settings.refuse(("step", "footprints", "baseline", "radar_scale"), "terrain heights")
    names = {each.name for each in fields(RefineConfig)} & set(asdict(settings))
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    if settings.dem_error is not None:
        given["error"] = settings.dem_error
    _run_refinement("predict", RefineConfig(**given, network=True), result, running)


def _is_city_stack(path: Path) -> bool:
    """Tell whether a store is a stack of a city, as `sarheight stack` writes it, or a folder."""
    if path.suffix.lower() != ".zarr":
        return path.is_dir() and path.suffix.lower() != ".safe"
    from sarheight.output import open_result

    with open_result(path, chunks={}) as store:
        return "month" in store.dims


def _map_buildings(
    settings: PredictConfig, model: Path, result: ResultOutput, current: Session
) -> None:
    """Estimate the building heights of a city."""
    from sarheight.acquisition import ACQUISITION
    from sarheight.buildings import (
        heights_of_outlines,
        open_stack,
        plot_building_heights,
        stack_from_folder,
    )
    from sarheight.buildings.estimators import BuildingHeightEstimator, predict_buildings
    from sarheight.output.atomic import atomic_write

    output, overwrite = result.output, result.overwrite
    image = settings.image("stacks")
    outlines = output.with_suffix(".gpkg")
    if settings.footprints is not None:
        require_writable(outlines, "footprints", overwrite=overwrite, suffixes=(".gpkg",))
    estimator = BuildingHeightEstimator.from_pretrained(model)
    if image.suffix.lower() == ".zarr":
        if settings.baseline is not None or settings.radar_scale is not None:
            msg = "a stack holds reflectance and power already: leave it out"
            raise OptionError(
                msg, option="radar_scale" if settings.baseline is None else "baseline"
            )
        # As dask arrays, a stack of any size is estimated and written block by block.
        stack = open_stack(image, chunks={})
    else:
        stack = stack_from_folder(
            image, scale=settings.radar_scale or "power", baseline=settings.baseline
        )
    current.stage("estimate")
    heights = predict_buildings(estimator, stack, device=settings.device)
    heights.attrs["provenance"] = settings.provenance("predict", {"model": model})
    heights.attrs[ACQUISITION] = _months(stack)
    heights = write_result(heights, result, plot_building_heights, current)
    if settings.footprints is not None:
        table = heights_of_outlines(heights, settings.footprints)
        with atomic_write(outlines, overwrite=overwrite, suffixes=(".gpkg",)) as work:
            table.to_file(work, driver="GPKG")
        current.say(f"{outlines}: {len(table)} outlines with heights")
    if "novelty" in heights:
        novel = float((heights["novelty"] > 1.0).mean())
        if novel > MUCH_NOVEL:
            current.warn(
                f"in {100.0 * novel:.0f} % of the cells the images are unlike those of training: "
                "see the layer novelty, and check heights there"
            )
    rows, columns = heights["height"].shape
    current.say(f"{output}: {rows} x {columns} cells, {stack.sizes['month']} months")


def _months(stack: xr.Dataset) -> str:
    """Describe when the images of a city were taken, as acquisition records do."""
    import numpy as np

    first = stack["month"].values.astype("datetime64[M]")
    last = (first + 1).astype("datetime64[s]") - np.timedelta64(1, "s")
    ends = first.min().astype("datetime64[s]"), last.max()
    begin, end = (f"{np.datetime_as_string(each)}Z" for each in ends)
    return json.dumps([{"start": begin, "end": end, "polarisations": []}])


def _map_zones(
    settings: PredictConfig, model: Path, result: ResultOutput, current: Session
) -> None:
    """Map the Local Climate Zones of a scene."""
    from sarheight import plot
    from sarheight.learning.weights import model_kind
    from sarheight.output import save_png
    from sarheight.zones.classifier import ZoneClassifier
    from sarheight.zones.forest import ZoneForest
    from sarheight.zones.predict import COLOURED, beside_zones, predict_zones, write_zones
    from sarheight.zones.sources import read_stack

    classifier: ZoneClassifier | ZoneForest
    if model_kind(model) == ZoneForest.kind:
        classifier = ZoneForest.from_pretrained(model)
    else:
        classifier = ZoneClassifier.from_pretrained(model)
    _refuse_item(result, "rasters")
    if result.output.suffix.lower() in COLOURED:
        for path in beside_zones(result.output):
            require_writable(
                path, "output", overwrite=result.overwrite, suffixes=(path.suffix.lower(),)
            )
    stack = read_stack(*(Path(image) for image in settings.images))
    current.stage("estimate")
    zones = predict_zones(
        classifier,
        stack,
        step=settings.step or 1,
        device=settings.device,
        report=lambda fraction: current.advance("estimate", fraction),
    )
    current.stage("write")
    zones.attrs["provenance"] = settings.provenance("predict", {"model": model})
    files = [result.output]
    if result.output.suffix.lower() in COLOURED:
        files = write_zones(zones, result.output, overwrite=result.overwrite)
        if result.quicklook is not None:
            save_png(plot.mask(zones["zone"]), result.quicklook, overwrite=result.overwrite)
    else:
        write_result(zones, result, lambda part: plot.mask(part["zone"]), current)
    rows, columns = zones["zone"].shape
    names = ", ".join(path.name for path in files)
    current.say(f"{names}: {rows} x {columns} cells, {len(classifier.classes)} classes")


def _refuse_item(result: ResultOutput, inputs: str) -> None:
    """Refuse outputs that have a STAC item where the inputs do not say when they were taken."""
    if result.stac or not result.output.suffix:
        msg = (
            f"a STAC item, which a folder of layers has, too, needs the date of the images, and "
            f"{inputs} do not say it: write .tif, .nc, .zarr or .png, without --stac"
        )
        raise OptionError(msg, option="output")


def _map_heights(
    settings: PredictConfig, model: Path, result: ResultOutput, current: Session
) -> None:
    """Estimate terrain heights."""
    from sarheight import plot
    from sarheight.terrain.sar2height import HeightEstimator
    from sarheight.terrain.workflow import read_elevations

    image = settings.image("images")
    if not settings.dem and image.suffix.lower() != ".zarr":
        msg = f"'{image}' is in radar geometry, so an elevation model is needed"
        raise OptionError(msg, option="dem")
    if not settings.dem:
        _refuse_item(result, "training scenes")
        of_images = ("crs", "resolution", "align", "mgrs", "clip", "verify", "memory")
        settings.refuse(of_images, "training scenes")
    estimator = HeightEstimator.from_pretrained(model)
    known = read_elevations(settings)
    estimate = _heights_of_image if settings.dem else _heights_of_scene
    heights = estimate(settings, image, estimator, known, current)
    current.stage("write")
    heights.attrs["provenance"] = settings.provenance("predict", {"model": model})
    write_result(heights, result, plot.heights, current)
    rows, columns = heights["height"].shape
    count = heights.attrs["known_elevations"]
    current.say(f"{result.output}: {rows} x {columns} cells, {count} known elevations")


def _heights_of_scene(
    settings: PredictConfig,
    image: Path,
    estimator: HeightEstimator,
    known: KnownElevations | None,
    current: Session,
) -> xr.Dataset:
    """Apply the network to a scene of `sarheight scenes`."""
    from sarheight.output import open_result
    from sarheight.terrain.predict import predict_heights

    if known is None:
        current.warn(
            "without known elevations the heights are only as good as the coarse elevation model; "
            "pass --known"
        )
    scene = open_result(image, chunks={})
    current.stage("estimate")
    return predict_heights(estimator, scene, known, device=settings.device)


def _heights_of_image(
    settings: PredictConfig,
    image: Path,
    estimator: HeightEstimator,
    known: KnownElevations | None,
    current: Session,
) -> xr.Dataset:
    """Estimate the heights of an image and an elevation model."""
    from sarheight.acquisition import ACQUISITION, acquisition_json
    from sarheight.terrain.predict import predict_image, usual_posting
    from sarheight.terrain.workflow import read_pass
    from sarheight.workflow.elevations import choose_grid, clip, read_dem

    current.compile_kernels()
    coarse = read_dem(settings)
    radar = read_pass(settings, str(image), coarse, current)
    grid = choose_grid(coarse, settings, resolution=usual_posting(estimator, coarse))
    cells = coarse.size if grid is None else math.prod(grid.shape)
    require_memory(
        settings.memory,
        PROGRAM_BYTES + CELL_BYTES * cells + PIXEL_BYTES * radar.image.size,
        "this prediction",
        "map a part (--extent), or cells that are wider (--resolution)",
    )
    current.stage("estimate")
    heights = predict_image(
        estimator,
        radar,
        coarse,
        known,
        grid=grid,
        coregister=settings.coregister or "report",
        device=settings.device,
        report=lambda fraction: current.advance("estimate", fraction),
    )
    heights.attrs[ACQUISITION] = acquisition_json([radar])
    return clip(heights, settings)


# ``sarheight stack``: images of cities from catalogues, for training.


def stack(
    running: Messages,
    *,
    configuration: Annotated[Path, argument("CONFIGURATION.toml", exists=True, dir_okay=False)],
    output: Annotated[Path, output_folder()],
    city: Annotated[tuple[str, ...], option(metavar="NAME")] = (),
) -> None:
    """Stack monthly images of Sentinel-1 and Sentinel-2 over cities, with their buildings.

    Images are searched in STAC catalogues, and only their parts over the city are read. Existing
    stacks of the same configuration are kept: repeat the command to resume after an interruption.

    ```
    sarheight stack dutch_cities.toml -o stacks
    sarheight train buildings stacks/*.zarr -o run
    ```

    Parameters
    ----------
    configuration : pathlib.Path
        Cities, months, catalogues and buildings.
    output : pathlib.Path
        Folder of the stacks, one Zarr store each; created if missing.
    city : tuple of str
        Only this city of the configuration. Repeat the option for more.
    """
    with session("stack", running) as current:
        from dataclasses import replace

        from sarheight.buildings.configuration import StackConfiguration, write_stacks
        from sarheight.buildings.stack import open_stack, valid_months

        chosen = StackConfiguration.read(configuration)
        if city:
            known = {each.name: each for each in chosen.cities}
            unknown = [name for name in city if name not in known]
            if unknown:
                msg = f"found no {', '.join(unknown)} in '{configuration}', expected some of "
                msg += ", ".join(known)
                raise ValueError(msg)
            chosen = replace(chosen, cities=tuple(known[name] for name in city))
        for path in write_stacks(chosen, output, report=current.stage):
            with open_stack(path, chunks={}) as written:
                months = {name: int(valid.sum()) for name, valid in valid_months(written).items()}
                size = f"{written.sizes['y']} x {written.sizes['x']} cells"
            current.say(
                f"{path}: {size}, {months['sar']} months of radar, {months['optical']} of optical"
            )
