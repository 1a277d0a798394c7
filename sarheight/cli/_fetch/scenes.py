"""``sarheight fetch scenes``: products of Sentinel-1, listed or downloaded."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._fetch.options import WHAT, BoundsIfWanted, Directory, Json, Mission
from sarheight.cli._fetch.work import needed, say, work
from sarheight.cli._options import Debug, Quiet

if TYPE_CHECKING:
    from sarheight.fetch import SceneRecord

__all__ = ["scenes"]


def scenes(
    *,
    name: Annotated[
        str | None,
        typer.Argument(help="Name of one product, in place of a place and a time."),
    ] = None,
    bounds: BoundsIfWanted = None,
    point: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LONGITUDE LATITUDE",
            help="Place, degrees.",
            rich_help_panel=WHAT,
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="First day or time (UTC).", rich_help_panel=WHAT, show_default=False
        ),
    ] = None,
    stop: Annotated[
        str | None,
        typer.Option(
            "--to", help="Last day or time (UTC).", rich_help_panel=WHAT, show_default=False
        ),
    ] = None,
    product: Annotated[
        str, typer.Option("--type", help="`GRD` or `SLC`.", rich_help_panel=WHAT)
    ] = "GRD",
    mode: Annotated[str, typer.Option(help="`IW`, `EW`, …", rich_help_panel=WHAT)] = "IW",
    passing: Annotated[
        str | None,
        typer.Option(
            "--pass", help="`ascending` or `descending`.", rich_help_panel=WHAT, show_default=False
        ),
    ] = None,
    track: Annotated[
        int | None,
        typer.Option(
            min=1, max=175, help="Relative orbit.", rich_help_panel=WHAT, show_default=False
        ),
    ] = None,
    mission: Mission = None,
    catalogue: Annotated[
        str,
        typer.Option(
            help="`copernicus`, `asf`, `planetary`, `earthsearch`, or one of your settings.",
            rich_help_panel=WHAT,
        ),
    ] = "copernicus",
    limit: Annotated[int, typer.Option(min=1, help="Most products.", rich_help_panel=WHAT)] = 50,
    download: Annotated[
        bool,
        typer.Option(
            "--download", help="Download them; without it they are only listed, with sizes."
        ),
    ] = False,
    polarisation: Annotated[
        list[str] | None,
        typer.Option(
            help="Download only this one, where a catalogue has each file on its own.",
            show_default=False,
        ),
    ] = None,
    no_verify: Annotated[
        bool,
        typer.Option("--no-verify", help="Do not hold the catalogue to its sizes and checksums."),
    ] = False,
    directory: Directory = None,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List Sentinel-1 products with their sizes, or download them.

    ```
    sarheight fetch scenes --bounds 10.5 46 11.5 47 --from 2021-04-01 --to 2021-04-12
    sarheight fetch scenes S1B_IW_GRDH_1SDV_20210401T052623_… --download
    ```
    """
    with work("scenes", quiet=quiet, debug=debug) as report:
        from sarheight import fetch as getting

        if name is not None:
            found: tuple[SceneRecord, ...] = (getting.scene_named(name, catalogue=catalogue),)
        else:
            found = getting.scenes(
                _place(bounds, point),
                needed(start, "--from"),
                needed(stop, "--to"),
                product=product,
                mode=mode,
                passing=passing,
                relative_orbit=track,
                mission=mission,
                catalogue=catalogue,
                limit=limit,
            )
        if not download:
            _list(found, as_json=as_json)
            return
        paths = [
            getting.download(
                record,
                directory,
                polarisations=tuple(polarisation or ()),
                verify=not no_verify,
                progress=report,
            )
            for record in found
        ]
    say([str(path) for path in paths], as_json=as_json)


def _place(
    bounds: tuple[float, float, float, float] | None, point: tuple[float, float] | None
) -> tuple[float, ...]:
    if (bounds is None) == (point is None):
        msg = "give either --bounds or --point (or the name of one product)"
        raise typer.BadParameter(msg)
    return bounds or point or ()


def _list(found: tuple[SceneRecord, ...], *, as_json: bool) -> None:
    """Show what was found, and how much it would be."""
    from sarheight.fetch.progress import format_size

    if as_json:
        typer.echo(json.dumps([_facts(record) for record in found], indent=1))
        return
    width = max((len(record.name) for record in found), default=0)
    for record in found:
        size = "?" if record.size is None else format_size(record.size)
        track = "?" if record.relative_orbit is None else str(record.relative_orbit)
        typer.echo(f"{record.name:{width}}  {record.passing or '?':10}  {track:>3}  {size:>7}")
    known = [record.size for record in found if record.size is not None]
    count = f"{len(found)} product{'s' * (len(found) != 1)}"
    unknown = len(found) - len(known)
    more = f" and {unknown} of unknown size" if unknown else ""
    typer.echo(f"{count}, {format_size(sum(known))}{more}; --download brings them", err=True)


def _facts(record: SceneRecord) -> dict[str, Any]:
    return {
        "name": record.name,
        "catalogue": record.catalogue,
        "start": str(record.start),
        "stop": str(record.stop),
        "polarisations": record.polarisations,
        "pass": record.passing,
        "track": record.relative_orbit,
        "footprint": dict(record.footprint),
        "size": record.size,
        "files": [
            {
                "name": asset.name,
                "size": asset.size,
                "checksum": None
                if asset.checksum is None
                else f"{asset.checksum.kind}:{asset.checksum.value}",
            }
            for asset in record.assets
        ],
    }
