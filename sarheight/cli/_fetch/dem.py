"""``sarheight fetch dem``: an elevation model for a place."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sarheight.cli._fetch.options import Bounds, Directory, Json
from sarheight.cli._fetch.work import say, work
from sarheight.cli._options import Debug, Quiet

__all__ = ["dem"]


def dem(
    *,
    bounds: Bounds,
    model: Annotated[
        str,
        typer.Option(
            help="`glo30`, `glo90` (Copernicus DEM), `srtm`, one of your settings, or an address "
            "such as `https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif`."
        ),
    ] = "glo30",
    windows: Annotated[
        bool, typer.Option("--windows", help="Only the cells within the place, not whole tiles.")
    ] = False,
    directory: Directory = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Get an elevation model for a place.

    ```
    sarheight fetch dem --bounds 10.5 46 11.5 47
    ```
    """
    with work("dem", quiet=quiet, debug=debug) as report:
        from sarheight import fetch as getting

        found = getting.dem(bounds, directory, model=model, windows=windows, progress=report)
    if not quiet:
        _notes(found.vertical, found.sea, found.missing)
    if as_json:
        facts = {
            "paths": [str(path) for path in found.paths],
            "vertical": found.vertical,
            "sea": found.sea,
            "missing": found.missing,
        }
        typer.echo(json.dumps(facts, indent=1))
    else:
        say([str(path) for path in found.paths], as_json=False)


def _notes(vertical: str | None, sea: tuple[str, ...], missing: tuple[str, ...]) -> None:
    if vertical is not None:
        typer.echo(f"heights are measured from {vertical}: pass --vertical {vertical}", err=True)
    if sea:
        typer.echo(f"at sea level, as there is only sea: {', '.join(sea)}", err=True)
    if missing:
        typer.echo(f"left out, as the source does not have them: {', '.join(missing)}", err=True)
