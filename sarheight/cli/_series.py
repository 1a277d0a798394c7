"""``sarheight series``: many dates of one track on one grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sarheight.cli._files import (
    SLC_SPACING,
    fetch_orbit,
    open_dem_or_fetch,
    place_on_grid,
    require_apart,
)
from sarheight.cli._session import Session, session
from sarheight.settings import (
    AUTO,
    DEM,
    LOCATION,
    METHOD,
    OUTPUT,
    RADAR,
    RUNNING,
    MapSettings,
    Multilook,
    Names,
    RunningSettings,
    argument,
    memory_limit,
    option,
    orbit_source,
    parse_memory,
    upper_names,
)

if TYPE_CHECKING:
    from sarheight.layover import Method
    from sarheight.product import Product
    from sarheight.series import Report


@dataclass(frozen=True, kw_only=True)
class SeriesSettings(MapSettings):
    """All that a series depends on.

    Attributes
    ----------
    images : tuple of str
        Products of one track as the archive delivers them, SAFE folders or zips, in any order; or
        images in radar geometry written by `simulate`; or folders that hold them.
    dem : tuple of str
        Elevation model: any raster that GDAL reads, repeated for each tile; or `auto`, to fetch
        Copernicus GLO-30. Its grid, or the one chosen below, is that of the stack. Omit it for a
        stack that exists, which holds its own.
    orbit : str, optional
        Folder of orbit files (POEORB or RESORB, .EOF), or `auto` to fetch the best of each date.
        Default: orbit files beside the products, else the images' own orbits.
    multilook : tuple of int, optional
        Pixels to average into one, along azimuth and range.
    spacing : float, optional
        Instead of `--multilook`: average to about this pixel spacing on the ground. Default: 20 m
        for an SLC, no averaging for other images.
    noise_removal : bool
        Subtract the thermal noise.
    polarisations : tuple of str
        Polarisations, separated by commas. Default: all.
    coregister : {"correct", "report", "none"}
        Compare each date with its simulation by the dates before, and `correct` significant shifts,
        or `report` them.
    method : {"rtc", "one-step", "posterior"}
        `rtc`: radiometric terrain correction, with masks carried from the reference date. With the
        others each date is reconstructed by itself, which takes several times as long.
    window : int
        Side in cells of the window of the multi-temporal speckle filter; 0 for none.
    tolerance : float
        Decibels by which what is carried from the reference date may change backscatter: dates that
        flew farther off are reconstructed by themselves.
    strict : bool
        Stop at the first date that cannot be read, instead of skipping it.
    memory : str
        Memory limit: a larger grid is processed in parts.
    """

    images: Annotated[Names, LOCATION, argument("IMAGE...")]
    dem: Annotated[Names, LOCATION, option(DEM, metavar="auto|FILE")] = ()
    orbit: Annotated[
        str | None, LOCATION, option(RADAR, metavar="auto|FOLDER", parser=orbit_source)
    ] = None
    multilook: Multilook = None
    spacing: Annotated[float | None, option(RADAR, metavar="METRES", min=1.0)] = None
    noise_removal: Annotated[bool, option(RADAR, "--noise-removal/--no-noise-removal")] = True
    polarisations: Annotated[Names, option(RADAR, metavar="VV,VH", parser=upper_names)] = ()
    coregister: Annotated[Literal["correct", "report", "none"], option(RADAR)] = "correct"
    method: Annotated[Literal["rtc", "one-step", "posterior"], option(METHOD)] = "rtc"
    window: Annotated[int, option(METHOD, metavar="CELLS", min=0)] = 7
    tolerance: Annotated[float, option(METHOD, metavar="DECIBELS", min=0.001)] = 0.05
    strict: Annotated[bool, option(RUNNING, "--strict")] = False
    memory: Annotated[str, option(RUNNING, metavar="SIZE", parser=memory_limit)] = "2 GiB"

    def __post_init__(self) -> None:
        """Check options that exclude each other."""
        super().__post_init__()
        if self.multilook is not None and self.spacing is not None:
            msg = "pass --multilook or --spacing, not both"
            raise typer.BadParameter(msg)
        if self.window and self.window % 2 == 0:
            msg = f"found {self.window} cells, expected an odd number, or 0 for no filter"
            raise typer.BadParameter(msg, param_hint="--window")


def series(
    settings: SeriesSettings,
    output: Annotated[Path, option(OUTPUT, "--output", "-o")],
    running: RunningSettings,
) -> None:
    """Reconstruct many dates of one track on one grid, as a stack that grows.

    The first date is the reference: masks and angles are found once, for its orbit. Writes a Zarr
    store with dims time, polarisation, y, x: γ⁰ of each date, the same after a multi-temporal
    speckle filter, its mean and spread over time, masks, angles, heights; and for each date
    platform, orbit, baseline, shift, provenance.

    Dates that the stack has already change nothing: pass the whole folder again when new ones have
    arrived. A run that was interrupted resumes. A damaged product is named and skipped.

    ```
    sarheight series track/*.zip --dem auto --orbit auto -o stack.zarr
    sarheight series track/ -o stack.zarr
    sarheight series track/*.zip --dem auto --mgrs 32TPT --resolution 20 -o stack.zarr
    sarheight series a.nc b.nc c.nc --dem glo30.tif --vertical EGM2008 -o stack.zarr
    ```

    Parameters
    ----------
    output : pathlib.Path
        The stack, `.zarr`. It is appended to if it exists.
    """
    files = {name: path for name, path in settings.files().items() if "images" not in name}
    for name, path in files.items():
        if not path.exists():
            hint = f"--{name.split(' ')[0]}"
            msg = f"there is no '{path}'"
            raise typer.BadParameter(msg, param_hint=hint)
    if output.suffix.lower() != ".zarr":
        msg = f"found '{output}', expected a name that ends in .zarr"
        raise typer.BadParameter(msg, param_hint="--output")
    require_apart(output, "--output", settings.files().values())
    if not settings.dem and not output.exists():
        msg = f"there is no stack '{output}' yet: a new one needs the elevation model"
        raise typer.BadParameter(msg, param_hint="--dem")
    with session("series", running, steps=100) as current:
        current.stage("read")
        from sarheight.series import build_stack, find_dates

        dates = {each: [str(date) for date in find_dates(each)] for each in settings.images}
        images = tuple(date for each, found in dates.items() for date in found or [each])
        settings = replace(settings, images=images)
        first = _first_product(settings)
        heights = None
        if settings.dem:
            opened, _ = open_dem_or_fetch(settings, first, current)
            heights = place_on_grid(opened, settings, current)
        options = _product_options(settings, first, current)
        current.announce_compilation()
        report = build_stack(
            settings.images,
            heights,
            output,
            method=_method(settings),
            product_options=options,
            coregistration=settings.coregister,
            window=settings.window,
            tolerance=settings.tolerance,
            memory_limit=parse_memory(settings.memory),
            strict=settings.strict,
            progress=current.advance,
        )
        _tell(report, current)


def _method(settings: SeriesSettings) -> Method:
    """Make the method that an option names."""
    from sarheight.layover import RTC, PosteriorMean, Reallocation

    methods = {"rtc": RTC, "one-step": Reallocation, "posterior": PosteriorMean}
    made: Method = methods[settings.method]()
    return made


def _first_product(settings: SeriesSettings) -> Product | None:
    """Open the first image that is a readable product, for its kind and footprint."""
    from sarheight.product import is_product, open_product

    for image in settings.images:
        if is_product(image):
            try:
                return open_product(image)
            except (ValueError, OSError):
                # It is named, or raised, when the dates are opened.
                continue
    return None


def _product_options(
    settings: SeriesSettings, first: Product | None, current: Session
) -> dict[str, Any]:
    """Collect the options with which products are opened."""
    options: dict[str, Any] = {"polarisations": settings.polarisations}
    if first is None:
        return options
    spacing = settings.spacing
    if first.product_type == "SLC" and settings.multilook is None and spacing is None:
        spacing = SLC_SPACING
        current.say(f"averaging the SLC to {spacing:g} m; --spacing sets another value")
    if settings.burst is not None:
        options["burst"] = settings.burst
    return options | {
        "bounds": settings.bounds,
        "multilook": settings.multilook,
        "spacing": spacing,
        "swaths": settings.swaths,
        "noise_removal": settings.noise_removal,
        "orbit": _orbits(settings, current) if settings.orbit == AUTO else settings.orbit,
    }


def _orbits(settings: SeriesSettings, current: Session) -> Path | None:
    """Fetch the best orbit file of each product; return the folder in which they are."""
    from sarheight.product import is_product, open_product

    folder = None
    for image in settings.images:
        if not is_product(image):
            continue
        try:
            product = open_product(image)
        except (ValueError, OSError):
            continue
        path = fetch_orbit(product, current)
        folder = folder if path is None else path.parent
    return folder


def _tell(report: Report, current: Session) -> None:
    """Say what was appended, what not, and why."""
    for name, reason in report.skipped.items():
        current.warn(f"{name} was skipped: {reason}")
    for name, reason in report.by_themselves.items():
        current.say(f"{name} was reconstructed by itself: {reason}")
    if report.present:
        current.say(f"{len(report.present)} dates were there already")
    current.say(f"{report.path}: {len(report.added)} dates appended, {report.dates} in all")
