"""Commands that only hold others."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import typer

from sarheight.cli._exit_codes import USAGE

__all__ = ["help_if_alone"]


def help_if_alone(context: typer.Context) -> None:
    """Show the help, as misuse, where none of the commands inside was given."""
    if context.invoked_subcommand is None:
        # Where rich shows the help, it is written already when it is asked for.
        with redirect_stdout(sys.stderr):
            typer.echo(context.get_help())
        raise typer.Exit(USAGE)
