"""The commands under one name, and what goes for all of them."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from sarheight.cli._batch import batch
from sarheight.cli._demo import demo
from sarheight.cli._fetch import fetch
from sarheight.cli._info import info
from sarheight.cli._predict import predict, stack
from sarheight.cli._reconstruct import masks, reconstruct
from sarheight.cli._session import (
    INTERRUPTED,
    OPTIONS,
    TERMINATED,
    USAGE,
    help_if_alone,
    options_of,
)
from sarheight.cli._simulate import scenes, simulate
from sarheight.cli._train import train

COMMAND_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""The base of all errors in how a command was given, wherever typer keeps its click."""


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
            command = context.command_path if context else "sarheight"
            message = " ".join(str(getattr(error, "message", error)).split()) or "is missing"
            hint = getattr(error, "param_hint", None) or _name_of(getattr(error, "param", None))
            if hint:
                message = f"{hint}: {message}"
            typer.echo(f"{command}: {message} (see `{command} --help`)", err=True)
            sys.exit(USAGE)
        except (KeyboardInterrupt, typer.Abort):
            typer.echo("sarheight: interrupted", err=True)
            sys.exit(INTERRUPTED)
        sys.exit(code if isinstance(code, int) else 0)


def _name_of(parameter: Any) -> str:  # noqa: ANN401  # of click
    """Name a parameter as the user writes it."""
    if parameter is None:
        return ""
    options = [name for name in parameter.opts if name.startswith("-")]
    return max(options, key=len) if options else str(parameter.metavar or parameter.name)


app = typer.Typer(
    name="sarheight",
    cls=OneLineGroup,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, simulate, reconstruct, batch, masks, scenes, stack, predict, info):
    app.command()(command)
app.add_typer(fetch)
app.add_typer(train)


def _show_version(*, wanted: bool) -> None:
    if wanted:
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
            callback=lambda value: _show_version(wanted=value),
            is_eager=True,
            help="Show the version and leave.",
        ),
    ] = False,
) -> None:
    """Unfold radar images of mountains.

    Where a slope faces the radar more steeply than the radar looks down, several places on the
    ground answer in one pixel. From the image, its orbit and an elevation model (a coarse one will
    do), `sarheight` gives each place its own backscatter back.

    Begin with `sarheight demo`. Each command has its own `--help`, with examples.

    The name of an output chooses its format: `.tif` (Cloud Optimised GeoTIFF), `.nc` (NetCDF),
    `.zarr` (a folder), `.png` (a picture). Outputs appear complete or not at all.

    Exit codes: 0 done, 1 the data or the work failed, 2 the command was given wrongly,
    130 interrupted.
    """
    help_if_alone(context)
    commands: dict[str, object] = getattr(context.command, "commands", {})
    before = OPTIONS.set(options_of(commands[str(context.invoked_subcommand)]))
    context.call_on_close(lambda: OPTIONS.reset(before))


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Leave by way of all clean-ups."""
    sys.exit(TERMINATED)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGTERM, _terminate)
    app()
