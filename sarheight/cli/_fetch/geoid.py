"""``sarheight fetch geoid``: grids for heights above sea level."""

from __future__ import annotations

from typing import Annotated

import typer

from sarheight.cli._fetch.options import Json
from sarheight.cli._fetch.work import say, work
from sarheight.cli._options import Debug, Quiet

__all__ = ["geoid"]


def geoid(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="`EGM2008` (Copernicus DEM), `EGM96` (SRTM), or the file name of a grid of PROJ; "
            "both of these by default.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Get the grids that turn heights above sea level into heights above the ellipsoid.

    They are kept in the cache and found there from now on.
    """
    with work("geoid", quiet=quiet, debug=debug) as report:
        from sarheight import fetch as getting

        paths = [getting.geoid(name, progress=report) for name in names or ("EGM2008", "EGM96")]
    say([str(path) for path in paths], as_json=as_json)
