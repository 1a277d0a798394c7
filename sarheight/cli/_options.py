"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.illumination import BackscatterLaw
    from sarheight.scene import Scene

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


def output_folder(text: str) -> typer.models.OptionInfo:
    """Make the option ``--output`` of a command that writes several files."""
    option: typer.models.OptionInfo = typer.Option(
        "--output",
        "-o",
        file_okay=False,
        help=text,
        rich_help_panel=OUTPUTS,
        show_default=False,
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
Multilook = Annotated[
    tuple[int, int] | None,
    typer.Option(
        "--multilook",
        metavar="LINES SAMPLES",
        help="Pixels to average into one, along azimuth and range.",
        rich_help_panel=RADAR,
        show_default=False,
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
StacItem = Annotated[
    bool,
    typer.Option(
        "--stac",
        help="Also write a STAC item beside the result, `scene.stac.json` for `scene.tif`.",
        rich_help_panel=OUTPUTS,
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


# What ``--law`` means: how backscatter depends on the angle of incidence.

LAWS = "gamma[:level], lambert[:level], cosine[:level,exponent], muhleman[:level,roughness]"


def parse_law(text: str) -> BackscatterLaw:
    """Make the backscatter law that an option names."""
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


# ``--memory``: how much a reconstruction may take, and about how much it does.

PER_PIXEL, PER_CELL, PER_RESULT = 16.0, 60.0, 40.0
"""Bytes for each pixel of the image, each cell, and each cell and polarisation."""
LEAST = 1 << 16
"""Bytes below which a size is taken for one without its unit."""
Memory = Annotated[
    str,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Memory to stay below: a larger scene is worked on part by part.",
        rich_help_panel=RUNNING,
    ),
]


def bytes_of(size: str) -> float:
    """Read a size of memory."""
    from dask.utils import parse_bytes

    try:
        found = float(parse_bytes(size))
    except ValueError:
        found = 0.0
    if found < LEAST:
        msg = f"found {size!r}, expected a size of memory of 64 KiB or more, such as '2 GiB'"
        raise typer.BadParameter(msg, param_hint="--memory")
    return found


def needed(scene: Scene, heights: xr.DataArray) -> float:
    """Return about how many bytes a reconstruction in one go takes, all results included."""
    polarisations = int(scene.image.size) / (scene.grid.lines * scene.grid.samples)
    by_cell = PER_CELL + PER_RESULT * polarisations
    return PER_PIXEL * int(scene.image.size) + by_cell * int(heights.size)


# Whether files are there, and outputs can be written: checked before any work.


def require_source(source: str, hint: str) -> None:
    """Check that a file is there; of URLs it is found out when they are opened."""
    if "://" not in source and not Path(source).exists():
        msg = f"there is no '{source}'"
        raise typer.BadParameter(msg, param_hint=hint)


def require_writable(
    path: Path | None,
    option: str,
    *,
    overwrite: bool,
    suffixes: tuple[str, ...] | None = None,
) -> None:
    """Check before any work that an output can be written."""
    from sarheight.errors import OutputError
    from sarheight.output.atomic import SUFFIXES, check_writable

    if path is None:
        return
    try:
        check_writable(path, overwrite=overwrite, suffixes=suffixes or SUFFIXES)
    except OutputError as error:
        advice = " (--overwrite)" if "exists already" in str(error) else ""
        msg = f"{error}{advice}"
        raise typer.BadParameter(msg, param_hint=option) from error


def require_apart(path: Path | None, option: str, others: Iterable[Path | str | None]) -> None:
    """Check that an output takes the place of none of the other files of its command."""
    for other in others:
        if path is None or other is None or "://" in str(other):
            continue
        if path.resolve() == Path(other).resolve():
            msg = f"'{path}' is another file of this command: give the output a name of its own"
            raise typer.BadParameter(msg, param_hint=option)


def require_result(path: Path, *, overwrite: bool, stac: bool) -> None:
    """Check before any work that a result can be written, and its STAC item where one is wanted."""
    from sarheight.output.stac import STAC_SUFFIX

    require_writable(path, "--output", overwrite=overwrite)
    if not stac:
        return
    if path.suffix.lower() == ".png":
        msg = (
            f"'{path}' is a picture without a grid, and gets no STAC item: write .tif, .nc or .zarr"
        )
        raise typer.BadParameter(msg, param_hint="--stac")
    beside = path.with_name(path.stem + STAC_SUFFIX)
    require_writable(beside, "--stac", overwrite=overwrite, suffixes=(".json",))
