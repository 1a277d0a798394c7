"""Options that several commands share: what they take, and what is said of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
