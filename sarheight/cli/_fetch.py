"""``sarheight fetch``: products, orbits, elevation models and geoid grids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sarheight.cli._options import OUTPUTS, Debug, Quiet, output_folder
from sarheight.cli._session import INTERRUPTED, help_if_alone, session

if TYPE_CHECKING:
    from sarheight.fetch import SceneRecord
    from sarheight.fetch.progress import Report

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


# What the commands for fetching do alike: bars, errors, and what they write in the end.


@contextmanager
def work(command: str, *, quiet: bool, debug: bool) -> Iterator[Report]:
    """Run a command with bars for its downloads, and errors in one line."""
    with session(f"fetch {command}", quiet=True, threads=None, debug=debug, steps=1):
        from sarheight.fetch.progress import show_progress

        try:
            with show_progress(quiet=quiet) as report:
                yield report
        except KeyboardInterrupt:
            typer.echo(
                f"sarheight fetch {command}: interrupted; what is here was kept, the same command "
                "goes on from there",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None


def needed(value: str | None, option: str) -> str:
    """Insist on an option that goes without saying only beside the name of a product."""
    if value is None:
        msg = f"give {option}"
        raise typer.BadParameter(msg)
    return value


def say(lines: list[str], *, as_json: bool) -> None:
    """Write what there is now on the standard output, one to a line or as JSON."""
    typer.echo(json.dumps(lines, indent=1) if as_json else "\n".join(lines))


# ``sarheight fetch scenes``: products of Sentinel-1, listed or downloaded.


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


# ``sarheight fetch orbit``: the best orbit file for a product.


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


# ``sarheight fetch dem``: an elevation model for a place.


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


# ``sarheight fetch geoid``: grids for heights above sea level.


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


# ``sarheight fetch``: products, orbits, elevation models and geoid grids.

fetch = typer.Typer(name="fetch", rich_markup_mode="markdown")


@fetch.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    """Get products, orbits, elevation models and geoid grids.

    Everything comes from catalogues and archives whose addresses are settings, is checked, and is
    kept: what was interrupted goes on where it ended, and what is here is not fetched again.
    """
    help_if_alone(context)


for command in (scenes, orbit, dem, geoid):
    fetch.command()(command)
