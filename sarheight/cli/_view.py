"""``sarheight view``: a result in the browser."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sarheight.cli._session import session
from sarheight.errors import OptionError
from sarheight.workflow.config import DemConfig, Messages
from sarheight.workflow.elevations import read_dem
from sarheight.workflow.images import open_geometry
from sarheight.workflow.options import argument, option
from sarheight.workflow.words import RADAR, DemFiles, Names

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.view import Dem


@dataclass(frozen=True, kw_only=True)
class ViewConfig(DemConfig):
    """What is shown, and what a result may lack for it.

    Attributes
    ----------
    result : pathlib.Path
        Result: folder of layers, .tif, .nc or .zarr.
    dem : tuple of str
        Elevation model, for places that share pixels and for the relief. Not needed for a result
        of `reconstruct --heights`.
    like : tuple of str
        Source of the sampling and the orbit, for results of other versions that do not hold them:
        the product, its annotation, or the radar image.
    orbit : pathlib.Path, optional
        Orbit file (.EOF) that replaces the orbit of `--like`.
    port : int
        Port of the page on this machine; 0 chooses a free one.
    browser : bool
        Open the page in the browser.
    """

    result: Annotated[Path, argument("RESULT")]
    dem: DemFiles = ()
    like: Annotated[Names, option(RADAR, metavar="FILE", location=True)] = ()
    orbit: Annotated[Path | None, option(RADAR)] = None
    port: Annotated[int, option("Browser", least=0, most=65535)] = 0
    browser: Annotated[bool, option("Browser", "--browser/--no-browser")] = True


def view(settings: ViewConfig, running: Messages) -> None:
    """Look at a result in the browser: two layers under one swipe.

    A click on a place shows all places that share its pixels, with their shares. Full scenes are
    read tile by tile. Only this machine can open the page; Ctrl-C ends the command.

    ```
    sarheight view scene
    sarheight view unfolded.nc --dem glo30.tif --vertical EGM2008
    ```
    """
    settings.require_files()
    if settings.orbit is not None and not settings.like:
        msg = "an orbit replaces that of --like: pass both, or neither"
        raise OptionError(msg, option="orbit")
    # No progress while a page is served: that has no end.
    with session("view", replace(running, quiet=True)):
        from sarheight.view import serve

        # Ctrl-C is how this ends.
        with suppress(KeyboardInterrupt):
            serve(
                settings.result,
                dem=_dem(settings),
                geometry=_geometry(settings),
                port=settings.port,
                browser=settings.browser,
                announce=lambda address: typer.echo(f"{address} (Ctrl-C ends)"),
            )


def _dem(settings: ViewConfig) -> Dem | None:
    """Return a function that reads a part of the elevation model, if there is one."""
    if not settings.dem:
        return None
    read_dem(settings)  # what is wrong with it is said at once
    return lambda bounds: read_dem(settings, bounds=bounds)


def _geometry(settings: ViewConfig) -> list[tuple[RadarGrid, Orbit]] | None:
    """Read sampling and orbit where they are given."""
    return [open_geometry(settings.like, settings.orbit)] if settings.like else None
