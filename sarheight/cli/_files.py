"""Files of commands: images, orbits and DEMs to read, and checks of outputs before the work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sarheight.cli._session import Session, option_advice
from sarheight.settings import (
    AUTO,
    OF_DEM,
    OUTPUT,
    DemSettings,
    MapSettings,
    ReconstructionOutput,
    ReconstructSettings,
    ResultOutput,
    option,
    parse_law,
)

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.coregistration import Shift
    from sarheight.dem.checked import CheckedDem
    from sarheight.geometry.placement import Bounds
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.product import Product
    from sarheight.scene import Scene
    from sarheight.terrain.elevations import KnownElevations

ELEVATIONS = "Known elevations"
"""Panel of their options."""
SLC_SPACING = 20.0
"""Metres on the ground to which an SLC is averaged by default: its pixels are single looks."""
DEM_MARGIN = 0.02
"""Degrees of elevation model beyond the footprint of a product."""


# Images and orbits.


def open_image_product(settings: ReconstructSettings) -> Product | None:
    """Open the product, if the image is one; refuse options that do not apply to the image."""
    from sarheight.product import is_product, open_product

    image = settings.image
    if is_product(image):
        if settings.like is not None and not is_map(settings.like):
            msg = (
                f"'{image}' is a whole product, which has its own sampling and orbit, and "
                f"'{settings.like}' is no raster on a map grid for the result"
            )
            raise typer.BadParameter(msg, param_hint="--like")
        product = open_product(image)
        if settings.verify:
            product.verify()
        return product
    if settings.verify:
        msg = f"'{image}' is no product, and only a product has checksums"
        raise typer.BadParameter(msg, param_hint="--verify")
    if settings.swaths or settings.burst is not None or not settings.noise_removal:
        msg = f"--swaths, --burst and --no-noise-removal are for products, and '{image}' is none"
        raise typer.BadParameter(msg)
    if settings.orbit == AUTO:
        msg = f"an orbit is fetched for products only, and '{image}' is none"
        raise typer.BadParameter(msg, param_hint="--orbit")
    return None


def read_image(settings: ReconstructSettings, product: Product | None, current: Session) -> Scene:
    """Read the image with its sampling and its orbit."""
    if product is None:
        return _read_radar_image(settings, current)
    if _default_spacing(settings, product) is not None and settings.spacing is None:
        current.say(f"averaging the SLC to {SLC_SPACING:g} m; --spacing sets another value")
    orbit = fetch_orbit(product, current) if settings.orbit == AUTO else settings.orbit
    scene = product.scene(
        **_sampling(settings, product),
        noise_removal=settings.noise_removal,
        orbit=orbit,
    )
    current.say(f"{product.name}: {', '.join(scene.grid.polarisations)}, {scene.orbit.source}")
    if not settings.verify:
        current.say("parts of measurements are read without their checksums; --verify compares all")
    return scene


def read_noise(
    settings: ReconstructSettings, product: Product | None, scene: Scene
) -> Scene | None:
    """Open the thermal noise of an image, sampled like it; None of an image without a product."""
    if product is None:
        return None
    return product.noise(**_sampling(settings, product), orbit=scene.orbit)


def _default_spacing(settings: ReconstructSettings, product: Product) -> float | None:
    """Return the spacing to which an image is averaged."""
    averaged = product.product_type == "SLC" and settings.multilook is None
    return SLC_SPACING if averaged and settings.spacing is None else settings.spacing


def _sampling(settings: ReconstructSettings, product: Product) -> dict[str, Any]:
    """Return what the settings say of the part and sampling of a product's image."""
    burst = {} if settings.burst is None else {"burst": settings.burst}
    return burst | {
        "polarisations": settings.polarisations,
        "calibration": settings.calibration or "beta0",
        "multilook": settings.multilook,
        "spacing": _default_spacing(settings, product),
        "swaths": settings.swaths,
    }


def _read_radar_image(settings: ReconstructSettings, current: Session) -> Scene:
    from sarheight.output.radar_images import read_grid_and_orbit, read_scene
    from sarheight.scene import looks_for_spacing, multilook

    like = settings.like
    geometry = None if like is None or is_map(like) else read_grid_and_orbit(like)
    scene = read_scene(
        settings.image,
        geometry=geometry,
        calibration=settings.calibration,
        polarisations=settings.polarisations,
    )
    if geometry is not None and scene.grid is not geometry[0]:
        current.say(f"'{settings.image}' has its own sampling and orbit: --like is ignored")
    if settings.orbit is not None:
        orbit = replace_orbit(scene.grid, scene.orbit, Path(settings.orbit))
        scene = replace(scene, orbit=orbit)
    window = settings.multilook
    if settings.spacing is not None:
        window = looks_for_spacing(scene.grid, scene.orbit, settings.spacing)
    if window is None:
        return scene
    image, grid = multilook(scene.image, scene.grid, *window)
    return replace(scene, image=image, grid=grid)


def fetch_orbit(product: Product, current: Session) -> Path | None:
    """Fetch the best orbit file of a product."""
    from sarheight import fetch

    current.stage("fetch the orbit")
    with current.downloading() as report:
        path: Path | None = fetch.orbit(
            product.mission, product.start, product.stop, progress=report
        )
    if path is None:
        current.say("no orbit file covers the image yet: its own orbit is used")
    return path


def replace_orbit(grid: RadarGrid, orbit: Orbit, path: Path | None) -> Orbit:
    """Read the state vectors of an orbit file around the time of an image."""
    from sarheight.sentinel1 import read_orbit_file

    if path is None:
        return orbit
    zero = orbit.with_epoch(grid.epoch)
    begin, end = (zero.utc(time) for time in (grid.first_time, grid.last_time))
    return read_orbit_file(path, window=(begin, end)).with_epoch(grid.epoch)


# Elevation models.


def read_elevations(
    path: Path | None, vertical: str | float | None, crs: str | None
) -> KnownElevations | None:
    """Read known elevations, if any are given."""
    if path is None:
        return None
    from sarheight.errors import (
        GeoidGridMissingError,
        KnownElevationsError,
        VerticalDatumError,
    )
    from sarheight.terrain.elevations import read_known_elevations

    try:
        return read_known_elevations(path, vertical=vertical, crs=crs)
    except (KnownElevationsError, VerticalDatumError, GeoidGridMissingError) as error:
        raise type(error)(option_advice(error, "known-")) from error


def read_dem(
    settings: DemSettings,
    paths: Sequence[Path] | None = None,
    vertical: str | float | None = None,
    bounds: Bounds | None = None,
) -> xr.DataArray:
    """Open an elevation model as the settings say; other paths and datum for one that was fetched.

    Dims (y, x), metres above the ellipsoid.
    """
    from sarheight.dem import condition, open_dem
    from sarheight.errors import VerticalDatumError

    dem = open_dem(
        [Path(path) for path in settings.dem] if paths is None else paths,
        vertical=settings.vertical if vertical is None else vertical,
        units=settings.units,
        nodata=settings.nodata,
        bounds=bounds,
    )
    if dem.attrs.get("vertical_datum") is None:
        msg = (
            f"{', '.join(settings.dem)} does not state the vertical reference of its heights: pass "
            "--vertical ellipsoidal, EGM96 (SRTM, NASADEM), EGM2008 (Copernicus DEM), or the "
            "geoid's height in metres"
        )
        raise VerticalDatumError(msg)
    return dem if settings.condition is None else condition(dem, settings.condition)


def open_dem_or_fetch(
    settings: MapSettings, product: Product | None, current: Session
) -> tuple[xr.DataArray, dict[str, Path]]:
    """Open the elevation model, which is fetched first if its name is "auto"; return its files."""
    if settings.dem != (AUTO,):
        return read_dem(settings, bounds=settings.bounds), {}
    current.stage("fetch the elevation model")
    paths, vertical = _fetch_dem(settings, product, current)
    heights = read_dem(settings, paths, vertical, settings.bounds)
    return heights, {f"dem {number}": path for number, path in enumerate(paths, 1)}


def _fetch_dem(
    settings: MapSettings, product: Product | None, current: Session
) -> tuple[list[Path], str | float | None]:
    """Fetch the tiles for the bounds or the footprint of the product; return them and the datum."""
    from sarheight import fetch
    from sarheight.geometry.placement import bounds_of_corners

    if settings.bounds is not None:
        bounds = settings.bounds
    elif product is not None:
        corners = product.footprint
        if settings.burst is not None:
            corners = product.burst_footprint(settings.burst, *settings.swaths)
        bounds = bounds_of_corners(corners, DEM_MARGIN)
    else:
        msg = "the location of the image is not known: pass --bounds, or the whole product"
        raise typer.BadParameter(msg, param_hint="--dem")
    with current.downloading() as report:
        tiles = fetch.dem(bounds, windows=settings.bounds is not None, progress=report)
        vertical = tiles.vertical if settings.vertical is None else settings.vertical
        if vertical in {"EGM96", "EGM2008"}:
            fetch.geoid(str(vertical), progress=report)
    if tiles.sea:
        current.say(f"assumed at sea level, without land: {', '.join(tiles.sea)}")
    return list(tiles.paths), vertical


# Grid of the result.


def is_map(path: Path) -> bool:
    """Tell whether a path is a raster on a map grid, or a result on one."""
    import rasterio
    from rasterio.errors import RasterioError

    from sarheight._runtime import ignore_missing_georeference
    from sarheight.output import open_result

    if path.suffix.lower() in {".xml", ".xz", ".safe", ".zip"}:
        return False
    if _is_store(path):
        try:
            dataset = open_result(path, chunks={})
        except ValueError:
            return False
        return {"y", "x"} <= set(dataset.dims) and dataset.rio.crs is not None
    try:
        with ignore_missing_georeference(), rasterio.open(path) as file:
            return file.crs is not None and not file.transform.is_identity
    except RasterioError:
        return False


def _is_store(path: Path) -> bool:
    """Tell whether a path may be a result that GDAL does not open: a store, or layers."""
    return path.suffix.lower() in {".nc", ".zarr"} or (path.is_dir() and not path.suffix)


def place_on_grid(heights: xr.DataArray, settings: MapSettings, current: Session) -> xr.DataArray:
    """Resample the elevation model to the grid of the result, if that is another one."""
    from sarheight.dem import grid_like, map_grid, mgrs_grid, to_grid
    from sarheight.dem.grids import grid_record, middle_tile
    from sarheight.errors import DemError
    from sarheight.output import open_result

    chosen = (settings.crs, settings.resolution, settings.align, settings.mgrs)
    like = settings.like if settings.like is not None and is_map(settings.like) else None
    if like is not None:
        if any(each is not None for each in chosen):
            msg = f"'{like}' has a grid: omit --crs, --resolution, --align and --mgrs, or --like"
            raise typer.BadParameter(msg, param_hint="--like")
        grid = grid_like(open_result(like, chunks={}) if _is_store(like) else like)
    elif settings.mgrs is not None:
        resolution = settings.resolution or map_grid(heights).resolution.x
        grid = mgrs_grid(settings.mgrs, resolution)
    elif settings.crs == OF_DEM or (
        all(each is None for each in chosen) and not heights.rio.crs.is_geographic
    ):
        return heights
    else:
        grid = map_grid(heights, settings.crs, settings.resolution, align=settings.align or 0.0)
    try:
        placed = to_grid(heights, grid)
    except DemError as error:
        if settings.mgrs is None or "does not meet" not in str(error):
            raise
        msg = (
            f"the elevation model does not reach the tile {settings.mgrs}: its middle lies in the "
            f"tile {middle_tile(heights)}"
        )
        raise DemError(msg) from error
    rows, columns = placed.shape
    described = grid_record(placed) or {}
    unit = {"metre": " m", "degree": "°"}.get(placed.rio.crs.units_factor[0], "")
    current.say(
        f"the result has {rows} x {columns} cells of {described['resolution'][1]:g}{unit} in "
        f"{described['crs'].partition('[')[0]}; --crs dem keeps the grid of the elevation model"
    )
    return placed


# Co-registration of the image with its simulation.

SIGNIFICANT = 4.0
"""Standard errors above which a shift is significant."""
HARMFUL = 0.5
"""Pixels of shift above which a correction is advised."""


def coregister(
    scene: Scene, dem: xr.DataArray | CheckedDem, settings: ReconstructSettings
) -> tuple[Scene, Shift | None]:
    """Estimate the shift of an image, and correct it if the settings say so."""
    if settings.coregister == "none":
        return scene, None
    from sarheight.coregistration import apply_shift, estimate_shift

    law = None if settings.law == "fit" else parse_law(settings.law)
    shift = estimate_shift(scene, dem, law=law)
    if settings.coregister == "correct" and shift.found:
        return apply_shift(scene, shift), shift
    return scene, shift


def report_shift(shift: Shift, settings: ReconstructSettings, current: Session) -> None:
    """Report a shift, and how to remove one that is significant and large."""
    current.say(f"co-registration: {shift}")
    pairs = ((shift.line, shift.line_error), (shift.sample, shift.sample_error))
    harmful = shift.found and any(
        abs(value) > max(SIGNIFICANT * error, HARMFUL) for value, error in pairs
    )
    if harmful and settings.coregister == "report":
        current.say(
            "this shift makes the shares on steep slopes wrong: check the vertical reference of "
            "the heights (--vertical) and the orbit (--orbit), or pass --coregister correct"
        )


# Outputs.


def output_folder() -> Any:  # noqa: ANN401  # of typer
    """Make the option ``--output`` of a command that writes several files."""
    return option(OUTPUT, "--output", "-o", file_okay=False)


def require_writable(
    path: Path | None,
    hint: str,
    *,
    overwrite: bool,
    suffixes: tuple[str, ...] | None = None,
) -> None:
    """Check that an output can be written."""
    from sarheight.errors import OutputError
    from sarheight.output.atomic import SUFFIXES, check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite, suffixes=suffixes or SUFFIXES)
    except OutputError as error:
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise typer.BadParameter(msg, param_hint=hint) from error


def require_apart(path: Path | None, hint: str, others: Iterable[Path | None]) -> None:
    """Check that an output replaces no other file of its command."""
    for other in others:
        if path is not None and other is not None and path.resolve() == other.resolve():
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise typer.BadParameter(msg, param_hint=hint)


def require_result(result: ResultOutput, inputs: Iterable[Path]) -> None:
    """Check that a result, its STAC item and its picture can be written, and replace no input."""
    from sarheight.output.atomic import RESULTS
    from sarheight.output.stac import STAC_SUFFIX

    output, overwrite = result.output, result.overwrite
    inputs = list(inputs)
    require_apart(output, "--output", inputs)
    require_writable(output, "--output", overwrite=overwrite, suffixes=RESULTS)
    if result.stac and output.suffix.lower() == ".png":
        msg = f"'{output}' is a picture without a grid and has no STAC item: write .tif, .nc, .zarr"
        raise typer.BadParameter(msg, param_hint="--stac")
    if result.stac and output.suffix:
        item = output.with_name(output.stem + STAC_SUFFIX)
        require_writable(item, "--stac", overwrite=overwrite, suffixes=(".json",))
    if isinstance(result, ReconstructionOutput):
        if result.backscatter != "linear" and output.suffix:
            msg = f"'{output}' holds linear power; only a folder of layers, a name without suffix, "
            msg += f"holds {result.backscatter}"
            raise typer.BadParameter(msg, param_hint="--backscatter")
        picture = result.quicklook
        require_apart(picture, "--quicklook", (output, *inputs))
        require_writable(picture, "--quicklook", overwrite=overwrite)
        if picture is not None and picture.suffix.lower() != ".png":
            msg = f"found '{picture}', expected a name that ends in .png"
            raise typer.BadParameter(msg, param_hint="--quicklook")
