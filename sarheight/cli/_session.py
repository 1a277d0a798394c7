"""What happens around the work of every command: progress, threads, and errors in one line."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sarheight.cli._advice import in_words_of_options
from sarheight.cli._exit_codes import FAILED, INTERRUPTED
from sarheight.errors import SarheightError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sarheight.fetch.progress import Report

__all__ = ["Session", "session"]

EXPECTED = (SarheightError, ValueError, TypeError, OSError, LookupError, MemoryError)
"""Kinds of errors that say what was wrong with the data; all others are ours."""


class Session:
    """The stages of a command, shown on the standard error stream.

    Parameters
    ----------
    quiet : bool
        Whether to say nothing.
    steps : int
        How many stages there are.
    """

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
        """Show downloads beside the stage that needs them.

        Yields
        ------
        callable
            To pass on as `progress` to the functions of `sarheight.fetch`.
        """
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
    """Run the work of a command.

    Parameters
    ----------
    command : str
        Its name, for messages.
    quiet : bool
        Whether to show neither progress nor messages.
    threads : int, optional
        How many threads the kernels may use.
    debug : bool
        Whether to show where an error comes from.
    steps : int
        How many stages there will be.

    Yields
    ------
    Session
        To tell about the stages.

    Raises
    ------
    typer.Exit
        With code 1 after an error, 130 after an interruption; the message has been written.
    """
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
    from sarheight_kernels.project import scatter

    folder = Path(str(scatter.stats.cache_path))  # type: ignore[attr-defined]
    return any(folder.glob("project.scatter-*.nbi"))
