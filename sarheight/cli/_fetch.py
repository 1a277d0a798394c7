"""``sarheight fetch``: products, orbits, elevation models and geoid grids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._files import output_folder
from sarheight.cli._options import command
from sarheight.cli._session import INTERRUPTED, require_subcommand, session
from sarheight.errors import OptionError
from sarheight.workflow.config import Messages
from sarheight.workflow.options import Configuration, argument, option
from sarheight.workflow.words import OUTPUT, Edges

if TYPE_CHECKING:
    from sarheight.fetch import SceneRecord
    from sarheight.fetch.transfer import Report

SEARCH = "Search"

BOUNDS = option(SEARCH, metavar="WEST SOUTH EAST NORTH")


@dataclass(frozen=True, kw_only=True)
class Listing(Messages):
    """How paths are printed.

    Attributes
    ----------
    as_json : bool
        Write the result as JSON.
    """

    as_json: Annotated[bool, option(OUTPUT, "--json")] = False

    def print(self, paths: Sequence[Path]) -> None:
        """Write paths to the standard output, one a line or as JSON."""
        lines = [str(path) for path in paths]
        typer.echo(json.dumps(lines, indent=1) if self.as_json else "\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class Download(Listing):
    """Where files are stored, and how their paths are printed.

    Attributes
    ----------
    directory : pathlib.Path, optional
        Folder of the files; the cache by default.
    """

    directory: Annotated[Path | None, output_folder()] = None


@dataclass(frozen=True, kw_only=True)
class AcquisitionTime(Configuration):
    """Mission and time.

    Attributes
    ----------
    mission : str, optional
        `S1A`, …
    start : str, optional
        First day or time (UTC).
    stop : str, optional
        Last day or time (UTC).
    """

    mission: Annotated[str | None, option(SEARCH)] = None
    start: Annotated[str | None, option(SEARCH, "--from")] = None
    stop: Annotated[str | None, option(SEARCH, "--to")] = None


@contextmanager
def download_session(name: str, running: Messages) -> Iterator[Report]:
    """Run a command with progress bars for its downloads, and errors in one line."""
    with session(f"fetch {name}", Messages(quiet=True, debug=running.debug, log=running.log)):
        from sarheight.cli._progress import show_progress

        try:
            with show_progress(quiet=running.quiet) as report:
                yield report
        except KeyboardInterrupt:
            typer.echo(
                f"sarheight fetch {name}: interrupted; downloads resume when the command is "
                "repeated",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None


def require(value: str | None, name: str) -> str:
    """Require an option that is needed without the name of a product."""
    if value is None:
        msg = f"give {name}"
        raise OptionError(msg)
    return value


# ``sarheight fetch scenes``: products of Sentinel-1, listed or downloaded.


@dataclass(frozen=True, kw_only=True)
class SearchConfig(AcquisitionTime):
    """Products to search in a catalogue.

    Attributes
    ----------
    name : str, optional
        Name of one product, instead of an area and a time.
    bounds : tuple of float, optional
        Area, degrees. Across the antimeridian, west is greater than east.
    point : tuple of float, optional
        Place, degrees.
    product : str
        `GRD` or `SLC`.
    mode : str
        `IW`, `EW`, …
    passing : str, optional
        `ascending` or `descending`.
    relative_orbit : int, optional
        Relative orbit.
    catalogue : str
        `copernicus`, `asf`, `planetary`, `earthsearch`, or one of your settings.
    limit : int
        Maximum number of products.
    """

    name: Annotated[str | None, argument("NAME")] = None
    bounds: Annotated[Edges | None, BOUNDS] = None
    point: Annotated[tuple[float, float] | None, option(SEARCH, metavar="LONGITUDE LATITUDE")] = (
        None
    )
    product: Annotated[str, option(SEARCH, "--type")] = "GRD"
    mode: Annotated[str, option(SEARCH)] = "IW"
    passing: Annotated[str | None, option(SEARCH, "--pass")] = None
    relative_orbit: Annotated[int | None, option(SEARCH, "--track", least=1, most=175)] = None
    catalogue: Annotated[str, option(SEARCH)] = "copernicus"
    limit: Annotated[int, option(SEARCH, least=1)] = 50

    def search(self) -> tuple[SceneRecord, ...]:
        """Return the products that the catalogue has."""
        from sarheight import fetch as archive

        if self.name is not None:
            return (archive.scene_named(self.name, catalogue=self.catalogue),)
        if (self.bounds is None) == (self.point is None):
            msg = "give either --bounds or --point (or the name of one product)"
            raise OptionError(msg)
        return archive.scenes(
            self.bounds or self.point or (),
            require(self.start, "--from"),
            require(self.stop, "--to"),
            product=self.product,
            mode=self.mode,
            passing=self.passing,
            relative_orbit=self.relative_orbit,
            mission=self.mission,
            catalogue=self.catalogue,
            limit=self.limit,
        )


def scenes(
    search: SearchConfig,
    target: Download,
    *,
    download: Annotated[bool, option(None, "--download")] = False,
    polarisation: Annotated[tuple[str, ...], option()] = (),
    no_verify: Annotated[bool, option(None, "--no-verify")] = False,
) -> None:
    """List Sentinel-1 products with their sizes, or download them.

    ```
    sarheight fetch scenes --bounds 10.5 46 11.5 47 --from 2021-04-01 --to 2021-04-12
    sarheight fetch scenes S1B_IW_GRDH_1SDV_20210401T052623_… --download
    ```

    Parameters
    ----------
    download : bool
        Download the products; default: list them with sizes.
    polarisation : tuple of str
        Download only this one, from a catalogue with separate files.
    no_verify : bool
        Do not check sizes and checksums of the catalogue.
    """
    with download_session("scenes", target) as report:
        from sarheight import fetch as archive

        records = search.search()
        if not download:
            _print_records(records, as_json=target.as_json)
            return
        paths = [
            archive.download(
                record,
                target.directory,
                polarisations=polarisation,
                verify=not no_verify,
                progress=report,
            )
            for record in records
        ]
    target.print(paths)


def _print_records(records: tuple[SceneRecord, ...], *, as_json: bool) -> None:
    """Print products and their total size."""
    from rich.filesize import decimal

    if as_json:
        facts = [asdict(record) | {"size": record.size} for record in records]
        typer.echo(json.dumps(facts, indent=1, default=str))
        return
    width = max((len(record.name) for record in records), default=0)
    for record in records:
        size = "?" if record.size is None else decimal(record.size)
        track = "?" if record.relative_orbit is None else str(record.relative_orbit)
        typer.echo(f"{record.name:{width}}  {record.passing or '?':10}  {track:>3}  {size:>7}")
    sizes = [record.size for record in records if record.size is not None]
    count = f"{len(records)} product{'s' * (len(records) != 1)}"
    unknown = len(records) - len(sizes)
    more = f" and {unknown} of unknown size" if unknown else ""
    typer.echo(f"{count}, {decimal(sum(sizes))}{more}; --download downloads them", err=True)


# ``sarheight fetch orbit``: the best orbit file of a product.


def orbit(
    time: AcquisitionTime,
    target: Download,
    *,
    name: Annotated[str | None, argument("NAME")] = None,
) -> None:
    """Fetch the best orbit file of a product: precise if available, else restituted.

    ```
    sarheight fetch orbit S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4
    ```

    Parameters
    ----------
    name : str, optional
        Name of a product, instead of mission and time.
    """
    with download_session("orbit", target) as report:
        from sarheight import fetch as archive

        if name is not None:
            record = archive.SceneRecord.from_name(Path(name).name.removesuffix(".zip"), "as given")
            unit, first, last = record.mission, record.start, record.stop
            path = archive.orbit(unit, first, last, target.directory, progress=report)
        else:
            path = archive.orbit(
                require(time.mission, "--mission"),
                require(time.start, "--from"),
                require(time.stop, "--to"),
                target.directory,
                progress=report,
            )
        if path is None:
            msg = (
                "no source has an orbit file for that time yet: restituted orbits appear after "
                "some hours, precise ones after about twenty days; the annotation has an orbit too"
            )
            raise ValueError(msg)
    target.print([path])


# ``sarheight fetch dem``: an elevation model of an area.


def dem(
    target: Download,
    *,
    bounds: Annotated[Edges, BOUNDS],
    model: Annotated[str, option()] = "glo30",
    windows: Annotated[bool, option(None, "--windows")] = False,
) -> None:
    """Fetch an elevation model of an area.

    ```
    sarheight fetch dem --bounds 10.5 46 11.5 47
    ```

    Parameters
    ----------
    bounds : tuple of float
        Area, degrees. Across the antimeridian, west is greater than east.
    model : str
        `glo30`, `glo90` (Copernicus DEM), `srtm`, one of your settings, or an address such as
        `https://example.org/{ns}{lat:02d}{ew}{lon:03d}.tif`.
    windows : bool
        Only the cells within the area, not whole tiles.
    """
    with download_session("dem", target) as report:
        from sarheight import fetch as archive

        tiles = archive.dem(bounds, target.directory, model=model, windows=windows, progress=report)
    notes = {
        f"heights are measured from {tiles.vertical}: pass --vertical {tiles.vertical}": (
            tiles.vertical is not None
        ),
        f"assumed at sea level, without land: {', '.join(tiles.sea)}": bool(tiles.sea),
        f"missing in the source: {', '.join(tiles.missing)}": bool(tiles.missing),
    }
    for note, applies in notes.items():
        if applies and not target.quiet:
            typer.echo(note, err=True)
    if target.as_json:
        facts = {
            "paths": [str(path) for path in tiles.paths],
            "vertical": tiles.vertical,
            "sea": tiles.sea,
            "missing": tiles.missing,
        }
        typer.echo(json.dumps(facts, indent=1))
    else:
        target.print(tiles.paths)


# ``sarheight fetch geoid``: grids for heights above sea level.


def geoid(
    listing: Listing,
    *,
    names: Annotated[tuple[str, ...], argument("NAME")] = (),
) -> None:
    """Fetch the grids that convert heights above sea level to heights above the ellipsoid.

    They are stored in the cache, where the other commands find them.

    Parameters
    ----------
    names : tuple of str
        `EGM2008` (Copernicus DEM), `EGM96` (SRTM), or the file name of a grid of PROJ; both of
        these by default.
    """
    with download_session("geoid", listing) as report:
        from sarheight import fetch as archive

        paths = [archive.geoid(name, progress=report) for name in names or ("EGM2008", "EGM96")]
    listing.print(paths)


# ``sarheight fetch``: the group.

fetch = typer.Typer(name="fetch", rich_markup_mode="markdown")


@fetch.callback(invoke_without_command=True)
def _commands(context: typer.Context) -> None:
    """Fetch products, orbits, elevation models and geoid grids.

    Catalogues and archives are settings. Every file is checked and cached: downloads resume, and
    existing files are not downloaded again.
    """
    require_subcommand(context)


for function in (scenes, orbit, dem, geoid):
    fetch.command()(command(function))
