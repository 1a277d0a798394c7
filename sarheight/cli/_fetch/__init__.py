"""``sarheight fetch``: products, orbits, elevation models and geoid grids."""

from __future__ import annotations

import typer

from sarheight.cli._fetch.dem import dem
from sarheight.cli._fetch.geoid import geoid
from sarheight.cli._fetch.orbit import orbit
from sarheight.cli._fetch.scenes import scenes
from sarheight.cli._groups import help_if_alone

__all__ = ["fetch"]

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
