"""All commands in one application."""

from __future__ import annotations

import os
import signal
import sys
import time
from types import FrameType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sarheight.cli._audit import audit
from sarheight.cli._batch import batch
from sarheight.cli._composite import composite
from sarheight.cli._demo import demo
from sarheight.cli._fetch import fetch
from sarheight.cli._info import info
from sarheight.cli._options import command, misuse_in_one_line
from sarheight.cli._predict import predict, refine, stack
from sarheight.cli._reconstruct import masks, reconstruct
from sarheight.cli._scenes import scenes
from sarheight.cli._series import series
from sarheight.cli._session import (
    FAILED,
    INTERRUPTED,
    OPTIONS,
    TERMINATED,
    USAGE,
    options_of,
    require_subcommand,
)
from sarheight.cli._simulate import simulate
from sarheight.cli._train import train
from sarheight.cli._view import view

COMMAND_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of all errors of a command line, in the click that typer uses."""
CONFIGURABLE = (simulate, reconstruct, masks, refine, predict)
"""Commands whose results contain settings, and that read them from a file."""


class OneLineGroup(TyperGroup):
    """Commands that report their misuse in one line."""

    def main(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401  # as in click
        """Run a command; see `click.Command.main`."""
        if not options.pop("standalone_mode", True):
            return super().main(*args, **(options | {"standalone_mode": False}))
        try:
            code = super().main(*args, **(options | {"standalone_mode": False}))
        except COMMAND_ERROR as error:
            context = getattr(error, "ctx", None)
            name = context.command_path if context else "sarheight"
            typer.echo(f"{name}: {misuse_in_one_line(error)} (see `{name} --help`)", err=True)
            sys.exit(USAGE)
        except (KeyboardInterrupt, typer.Abort):
            typer.echo("sarheight: interrupted", err=True)
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


app = typer.Typer(
    name="sarheight",
    cls=OneLineGroup,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (
    demo,
    simulate,
    reconstruct,
    composite,
    series,
    batch,
    masks,
    scenes,
    stack,
    refine,
    predict,
    audit,
    view,
    info,
):
    table = function.__name__ if function in CONFIGURABLE else None
    app.command()(command(function, table=table))
app.add_typer(fetch)
app.add_typer(train)


def _show_version(*, requested: bool) -> None:
    if requested:
        import sarheight

        typer.echo(f"sarheight {sarheight.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _commands(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001  # handled by its callback
        bool,
        typer.Option(
            "--version",
            callback=lambda value: _show_version(requested=value),
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Unfold radar images of mountains.

    Where a slope faces the radar more steeply than the look angle, several places on the ground
    contribute to one pixel (layover). From the image, its orbit and an elevation model, which may
    be coarse, `sarheight` estimates the backscatter of each place.

    Start with `sarheight demo`. Every command has `--help`, with examples.

    The suffix of an output chooses its format: `.tif` (Cloud Optimised GeoTIFF), `.nc` (NetCDF),
    `.zarr` (a store), `.png` (a picture). A reconstruction whose output has no suffix becomes a
    folder of layers with a STAC item. Outputs appear complete or not at all.

    Exit codes: 0 success, 1 error in the data or the processing, 2 error in the command line,
    3 success, but parts of a product were read without comparing their checksums, 130 interrupted.
    """
    require_subcommand(context)
    commands: dict[str, object] = getattr(context.command, "commands", {})
    before = OPTIONS.set(options_of(commands[str(context.invoked_subcommand)]))
    context.call_on_close(lambda: OPTIONS.reset(before))


REPEAT = 0.5
"""Seconds after which a termination is repeated that was lost."""
ONCE = 1.0
"""Seconds within which terminations count as one: a process and its group may both be told."""
_told: list[float] = []
"""When the program was told to end."""


def _terminate(number: int, _frame: FrameType | None) -> None:
    """Exit through all clean-ups; at a second signal at once.

    Python drops what is raised while it runs a callback, such as in an import. The exception is
    therefore raised again until it unwinds the stack.
    """
    if number == signal.SIGTERM:
        _told.append(time.monotonic())
        if _told[-1] - _told[0] > ONCE:
            os._exit(TERMINATED)
    error = sys.exc_info()[1]
    while error is not None and not _is_termination(error):
        error = error.__context__
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, REPEAT)
    if error is None:  # else it is on its way
        sys.exit(TERMINATED)


def _is_termination(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and error.code == TERMINATED


def terminate_cleanly() -> None:
    """Let SIGTERM end the program through all clean-ups."""
    signal.signal(signal.SIGTERM, _terminate)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _terminate)


def main() -> None:
    """Run the command line."""
    terminate_cleanly()
    try:
        app()
    except BaseException as error:
        failed = not isinstance(error, SystemExit) or error.code in {FAILED, USAGE}
        # What is interrupted while it loads may raise an error of its own: extension modules say
        # that they cannot be imported, Python that a class cannot be made.
        if failed and _told:
            sys.exit(TERMINATED)
        raise
    finally:
        if hasattr(signal, "setitimer"):
            # While Python ends, it gives signals back their default: an alarm would kill it.
            signal.signal(signal.SIGALRM, signal.SIG_IGN)
            signal.setitimer(signal.ITIMER_REAL, 0.0)
