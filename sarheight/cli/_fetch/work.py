"""What the commands for fetching do alike: bars, errors, and what they write in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sarheight.cli._exit_codes import INTERRUPTED
from sarheight.cli._session import session

if TYPE_CHECKING:
    from sarheight.fetch.progress import Report

__all__ = ["needed", "say", "work"]


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
