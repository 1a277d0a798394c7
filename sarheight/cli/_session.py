"""Progress, threads, and errors in one line: what surrounds every command."""

from __future__ import annotations

import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sarheight.errors import SarheightError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sarheight.fetch.progress import Report

FAILED = 1
"""The data or the work."""
USAGE = 2
"""The command was given wrongly."""
INTERRUPTED = 130
TERMINATED = 143


# Errors in the words of the command line: which option mends them.

Value = str | float | tuple[str, ...] | None

OPTIONS: ContextVar[frozenset[str] | None] = ContextVar("options", default=None)
"""Options of the command that runs; None where that is not known."""


def options_of(command: Any) -> frozenset[str]:  # noqa: ANN401 - of the click inside typer
    """Collect the options of a command, or of all commands in a group."""
    inside = getattr(command, "commands", {}).values()
    own = (name for parameter in command.params for name in parameter.opts)
    return frozenset(own).union(*map(options_of, inside))


def in_words_of_options(error: SarheightError, prefix: str = "") -> str:
    """Say what was found, and what to do about it on the command line."""
    known = OPTIONS.get()
    named = {f"--{prefix}{name}": value for name, value in error.options.items()}
    ways = [_way(name, value) for name, value in named.items() if known is None or name in known]
    if error.file_advice:
        ways.append(error.file_advice)
    if not ways:
        return error.found if named else str(error)
    return f"{error.found}; {', or '.join(ways)}"


def _way(option: str, value: Value) -> str:
    if value is None:
        return f"leave {option} out"
    if isinstance(value, tuple):
        return f"pass {option} with {', '.join(value[:-1])} or {value[-1]}"
    if isinstance(value, str):
        return f"pass {option} {shlex.quote(value)}"
    # With all its digits: a mark of voids is found by equality.
    return f"pass {option} {repr(float(value)).removesuffix('.0')}"


# Commands that only hold others.


def help_if_alone(context: typer.Context) -> None:
    """Show the help, as misuse, where none of the commands inside was given."""
    if context.invoked_subcommand is None:
        # Where rich shows the help, it is written already when it is asked for.
        with redirect_stdout(sys.stderr):
            typer.echo(context.get_help())
        raise typer.Exit(USAGE)


# What happens around the work of every command: progress, threads, and errors in one line.

EXPECTED = (SarheightError, ValueError, TypeError, OSError, LookupError, MemoryError)
"""Kinds of errors that say what was wrong with the data; all others are ours."""


class Session:
    """The stages of a command, shown on the standard error stream."""

    def __init__(self, *, quiet: bool, steps: int) -> None:
        self.quiet = quiet
        self.steps = steps
        self.progress: Progress | None = None
        self.task: TaskID | None = None

    def stage(self, what: str) -> None:
        """Begin the next stage."""
        if self.progress is not None and self.task is not None:
            done = self.progress.tasks[self.task].completed if self.progress.tasks else 0
            started = self.progress.tasks[self.task].description != ""
            self.progress.update(
                self.task, description=what, completed=done + 1 if started else done
            )

    def advance(self, what: str, share: float) -> None:
        """Say what goes on, and how far it is: a part of 1."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=what, completed=share * self.steps)

    def say(self, what: str) -> None:
        """Write a line on the standard error stream."""
        if not self.quiet:
            self._print(what)

    def say_if_kernels_are_new(self) -> None:
        """Explain the wait where the kernels have not been compiled on this machine."""
        if not _compiled():
            self.say("compiling the kernels, once: this takes about a minute")

    def warn(self, what: str) -> None:
        """Write a warning, quiet or not."""
        self._print(f"warning: {what}")

    @contextmanager
    def downloading(self) -> Iterator[Report]:
        """Show downloads beside the stage that needs them."""
        from sarheight.fetch.progress import format_size, show_progress

        if self.progress is None or self.task is None:
            with show_progress(quiet=self.quiet) as report:
                yield report
            return
        progress, task = self.progress, self.task
        stage = progress.tasks[task].description

        def beside(name: str, done: int, total: int | None) -> None:
            of = "" if total is None else f" of {format_size(total)}"
            progress.update(task, description=f"{stage}: {name}, {format_size(done)}{of}")

        try:
            yield beside
        finally:
            progress.update(task, description=stage)

    def _print(self, line: str) -> None:
        if self.progress is None:
            typer.echo(line, err=True)
        else:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar for a while, where there is somebody to see it."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
        )

        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            self.progress = progress
            self.task = self.progress.add_task("", total=self.steps)
            try:
                yield
            finally:
                self.progress = self.task = None


@contextmanager
def session(
    command: str, *, quiet: bool, threads: int | None, debug: bool, steps: int
) -> Iterator[Session]:
    """Run the work of a command."""
    current = Session(quiet=quiet, steps=steps)
    try:
        with ExitStack() as stack:
            if threads is not None:
                stack.enter_context(_limited(threads))
            if not debug:
                stack.enter_context(_warnings_in_one_line(current))
            stack.enter_context(current.shown())
            yield current
    except KeyboardInterrupt:
        typer.echo(f"sarheight {command}: interrupted, nothing was left half-written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"sarheight {command}: {_in_one_line(error)}", err=True)
        raise typer.Exit(FAILED) from error


def _in_one_line(error: Exception) -> str:
    text = in_words_of_options(error) if isinstance(error, SarheightError) else str(error)
    text = " ".join(text.split())
    if isinstance(error, KeyError) or not isinstance(error, EXPECTED):
        return (
            f"unexpected {type(error).__name__}: {text or 'no message'}; please report it with "
            "what --debug shows"
        )
    if isinstance(error, MemoryError):
        return f"not enough memory ({text}): work on a smaller elevation model"
    return text or type(error).__name__


@contextmanager
def _warnings_in_one_line(current: Session) -> Iterator[None]:
    """Show warnings as one line each instead of with the code that raised them."""
    shown = warnings.showwarning

    def show(message: Warning | str, *_: object, **__: object) -> None:
        current.warn(" ".join(str(message).split()))

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


@contextmanager
def _limited(threads: int) -> Iterator[None]:
    """Limit the threads of the kernels."""
    import numba

    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
    if threads > most:
        msg = f"there are {most} threads here, and {threads} were asked for"
        raise typer.BadParameter(msg, param_hint="--threads")
    before = numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        yield
    finally:
        numba.set_num_threads(before)


def _compiled() -> bool:
    """Tell whether machine code of the kernels is kept from an earlier run."""
    from sarheight_kernels.projection import scatter

    folder = Path(str(scatter.stats.cache_path))  # type: ignore[attr-defined]
    return any(folder.glob("project.scatter-*.nbi"))
