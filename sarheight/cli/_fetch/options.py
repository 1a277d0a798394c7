"""Options that the commands for fetching share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarheight.cli._options import OUTPUTS, output_folder

__all__ = ["WHAT", "Bounds", "BoundsIfWanted", "Directory", "Json", "Mission"]

WHAT = "What to look for"
Edges = tuple[float, float, float, float]

_BOUNDS: typer.models.OptionInfo = typer.Option(
    "--bounds",
    metavar="WEST SOUTH EAST NORTH",
    help="Place, degrees. Across the antimeridian, west is greater than east.",
    rich_help_panel=WHAT,
    show_default=False,
)
Bounds = Annotated[Edges, _BOUNDS]
BoundsIfWanted = Annotated[Edges | None, _BOUNDS]
Directory = Annotated[
    Path | None,
    output_folder("Folder to put it into; the cache by default."),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Write the result as JSON.", rich_help_panel=OUTPUTS),
]
Mission = Annotated[
    str | None,
    typer.Option("--mission", help="`S1A`, …", rich_help_panel=WHAT, show_default=False),
]
