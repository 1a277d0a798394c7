"""Options that every command for training has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarheight.cli._options import RUNNING, output_folder

__all__ = ["SPLIT", "Device", "RunFolder", "SettingsFile"]

SPLIT = "Split by place"
RunFolder = Annotated[
    Path,
    output_folder("Folder of the run. A run that was interrupted is taken up again."),
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        exists=True,
        dir_okay=False,
        metavar="JSON",
        help="Settings that are not the usual ones (see `sarheight.training`).",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="`auto`, `cpu` or `gpu`; as Lightning names them.",
        rich_help_panel=RUNNING,
    ),
]
