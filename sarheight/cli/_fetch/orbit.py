"""``sarheight fetch orbit``: the best orbit file for a product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sarheight.cli._fetch.options import WHAT, Directory, Json, Mission
from sarheight.cli._fetch.work import needed, say, work
from sarheight.cli._options import Debug, Quiet

__all__ = ["orbit"]


def orbit(
    *,
    name: Annotated[
        str | None, typer.Argument(help="Name of a product, in place of the three options.")
    ] = None,
    mission: Mission = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First line of the image (UTC).",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            "--to", help="Last line of the image (UTC).", rich_help_panel=WHAT, show_default=False
        ),
    ] = None,
    directory: Directory = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Get the best orbit file for a product: precise if there is one, else restituted.

    ```
    sarheight fetch orbit S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4
    ```
    """
    with work("orbit", quiet=quiet, debug=debug) as report:
        from sarheight import fetch as getting

        if name is not None:
            record = getting.SceneRecord.from_name(Path(name).name.removesuffix(".zip"), "as given")
            unit, first, last = record.mission, record.start, record.stop
            found = getting.orbit(unit, first, last, directory, progress=report)
        else:
            found = getting.orbit(
                needed(mission, "--mission"),
                needed(start, "--from"),
                needed(stop, "--to"),
                directory,
                progress=report,
            )
        if found is None:
            msg = (
                "no source has an orbit file for that time yet: restituted orbits come after some "
                "hours, precise ones after some twenty days; the annotation holds an orbit as well"
            )
            raise ValueError(msg)
    say([str(found)], as_json=as_json)
