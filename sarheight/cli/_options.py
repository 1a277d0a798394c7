"""Options that several commands share, and what the words in them mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.illumination import BackscatterLaw
    from sarheight.orbit import Orbit
    from sarheight.scene import RadarGrid

OUTPUTS, RUNNING, DEM, RADAR = "Output", "Running", "Elevation model", "Radar"


class CalibrationName(StrEnum):
    """What a radar cross-section is divided by."""

    beta0 = "beta0"
    sigma0 = "sigma0"
    gamma0 = "gamma0"


def _existing(*names: str, text: str, panel: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *names, exists=True, help=text, rich_help_panel=panel, show_default=False
    )
    return option


Like = Annotated[
    Path,
    _existing(
        "--like",
        text="What has the sampling and orbit wanted: a Sentinel-1 product (SAFE folder or zip), "
        "an annotation of one (XML, plain or .xz), or an image written by `simulate`.",
        panel=RADAR,
    ),
]
LikeIfNeeded = Annotated[
    Path | None,
    _existing(
        "--like",
        text="Annotation of the image (XML of a GRD or SLC, plain or .xz). Not needed for an image "
        "written by `simulate`, which holds its own sampling and orbit.",
        panel=RADAR,
    ),
]
OrbitFile = Annotated[
    Path | None,
    _existing(
        "--orbit",
        text="Orbit file (POEORB or RESORB, .EOF) to use in place of the annotation's orbit.",
        panel=RADAR,
    ),
]
Dem = Annotated[
    list[Path],
    _existing(
        "--dem",
        text="Elevation model: any raster that GDAL reads. Give it again for each further tile.",
        panel=DEM,
    ),
]
Vertical = Annotated[
    str | None,
    typer.Option(
        help="What its heights are measured from: `ellipsoidal`, `EGM96` (SRTM, NASADEM), "
        "`EGM2008` (Copernicus DEM), a geoid grid, or the geoid's height in metres. Needed unless "
        "the file says it.",
        rich_help_panel=DEM,
        show_default=False,
    ),
]
Units = Annotated[
    str | None,
    typer.Option(
        help="Unit of its heights, `m`, `ft` or `us-ft`, where the file does not say it.",
        rich_help_panel=DEM,
        show_default=False,
    ),
]
Nodata = Annotated[
    float | None,
    typer.Option(
        help="Value that marks its voids, where the file does not say it.",
        rich_help_panel=DEM,
        show_default=False,
    ),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        help="Where to write; the suffix chooses the format.",
        rich_help_panel=OUTPUTS,
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace outputs that are there already.", rich_help_panel=OUTPUTS
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress, no messages.", rich_help_panel=RUNNING),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads to use; all by default. The result is the same to the last bit.",
        rich_help_panel=RUNNING,
        show_default=False,
    ),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show where an error comes from.", rich_help_panel=RUNNING),
]

LAWS = "gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness]"


def parse_law(text: str) -> BackscatterLaw:
    """Make the backscatter law that an option names.

    Parameters
    ----------
    text : str
        A name, then a colon and numbers with commas where they are not the usual ones.

    Returns
    -------
    callable
        From `sarheight.illumination`.

    Raises
    ------
    typer.BadParameter
        If there is no such law, or its numbers are not good.
    """
    from sarheight import illumination

    laws: dict[str, Callable[..., BackscatterLaw]] = {
        "gamma": illumination.ConstantGamma,
        "lambert": illumination.Lambertian,
        "cosine": illumination.CosinePower,
        "muhleman": illumination.Muhleman,
    }
    name, _, numbers = text.partition(":")
    if name not in laws:
        msg = f"found {text!r}, expected one of {LAWS}"
        raise typer.BadParameter(msg, param_hint="--law")
    try:
        law = laws[name](*(float(number) for number in numbers.split(",") if number))
    except (TypeError, ValueError) as error:
        msg = f"found {text!r} ({error}), expected one of {LAWS}"
        raise typer.BadParameter(msg, param_hint="--law") from error
    return law


def require_writable(path: Path | None, option: str, *, overwrite: bool) -> None:
    """Check before any work that an output can be written.

    Raises
    ------
    typer.BadParameter
        If it cannot.
    """
    from sarheight.errors import OutputError
    from sarheight.output import check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite)
    except OutputError as error:
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise typer.BadParameter(msg, param_hint=option) from error


def read_dem(
    paths: Sequence[Path],
    vertical: str | None,
    units: str | None,
    nodata: float | None,
    bounds: tuple[float, float, float, float] | None = None,
) -> xr.DataArray:
    """Open an elevation model as the options say.

    Parameters
    ----------
    paths : sequence of path
        Tiles.
    vertical, units : str, optional
        See the options.
    nodata : float, optional
        See the options.
    bounds : (west, south, east, north), optional
        Part to open, in degrees.

    Returns
    -------
    xarray.DataArray
        Heights above the ellipsoid in metres, dims (y, x).

    Raises
    ------
    VerticalDatumError
        If neither the option nor the file says what the heights are measured from.
    DemError
        If the DEM cannot be used.
    """
    from sarheight.dem import open_dem
    from sarheight.errors import VerticalDatumError

    dem = open_dem(paths, vertical=_geoid(vertical), units=units, nodata=nodata, bounds=bounds)
    if dem.attrs.get("vertical_datum") is None:
        msg = (
            f"{', '.join(map(str, paths))} does not say what its heights are measured from: pass "
            "--vertical ellipsoidal, EGM96 (SRTM, NASADEM), EGM2008 (Copernicus DEM), or the "
            "geoid's height in metres"
        )
        raise VerticalDatumError(msg)
    return dem


def _geoid(vertical: str | None) -> str | float | None:
    if vertical is None:
        return None
    try:
        return float(vertical)
    except ValueError:
        return vertical


def replaced_orbit(grid: RadarGrid, orbit: Orbit, path: Path | None) -> Orbit:
    """Take the orbit of a file, where one was given, around the time of an image.

    Raises
    ------
    OrbitCoverageError
        If the file does not cover it.
    """
    from sarheight.orbit import Orbit as Vectors

    if path is None:
        return orbit
    zero = orbit.with_epoch(grid.epoch)
    begin, end = (zero.utc(time) for time in (grid.first_time, grid.last_time))
    return Vectors.from_eof(path, window=(begin, end)).with_epoch(grid.epoch)
