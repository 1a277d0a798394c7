"""Progress, threads and one-line errors of every command."""

from __future__ import annotations

import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sarheight.errors import OptionError, SarheightError, naming_extras
from sarheight.workflow.config import Running

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from sarheight.fetch.transfer import Report
    from sarheight.workflow.config import Messages

# Exit codes.
FAILED = 1  # the data or the work
USAGE = 2  # the command line
INTERRUPTED = 130
TERMINATED = 143


# Advice of errors, as options of the command line.

Value = str | float | tuple[str, ...] | None

OPTIONS: ContextVar[frozenset[str] | None] = ContextVar("options", default=None)
"""Options of the command that runs; None if unknown."""


def options_of(command: Any) -> frozenset[str]:  # noqa: ANN401 - of the click inside typer
    """Collect the options of a command, or of all commands in a group."""
    inside = getattr(command, "commands", {}).values()
    own = (name for parameter in command.params for name in parameter.opts)
    return frozenset(own).union(*map(options_of, inside))


def option_advice(error: SarheightError, prefix: str = "") -> str:
    """Return what was found, with the options of the running command that help."""
    known = OPTIONS.get()
    named = {f"--{prefix}{name}": value for name, value in error.options.items()}
    advice = [
        _option_text(name, value) for name, value in named.items() if known is None or name in known
    ]
    if error.file_advice:
        advice.append(error.file_advice)
    if not advice:
        return error.found if named else str(error)
    return f"{error.found}; {', or '.join(advice)}"


def _option_text(option: str, value: Value) -> str:
    if value is None:
        return f"leave {option} out"
    if isinstance(value, tuple):
        return f"pass {option} with {', '.join(value[:-1])} or {value[-1]}"
    if isinstance(value, str):
        return f"pass {option} {shlex.quote(value)}"
    # All digits: voids are compared for equality with the number.
    return f"pass {option} {repr(float(value)).removesuffix('.0')}"


def require_subcommand(context: typer.Context) -> None:
    """Show the help and exit with code 2 if a group of commands is called without one of them."""
    if context.invoked_subcommand is None:
        # Rich prints the help when it is requested; the text is then empty.
        with redirect_stdout(sys.stderr):
            typer.echo(context.get_help())
        raise typer.Exit(USAGE)


# Progress, threads and errors.

EXPECTED = (SarheightError, ValueError, TypeError, OSError, LookupError, MemoryError)
"""Errors of the user's data or machine; all others are defects of the program."""


class Session:
    """The stages of a command, shown on the standard error stream."""

    def __init__(self, *, quiet: bool, steps: int) -> None:
        self.quiet = quiet
        self.steps = steps
        self.progress: Progress | None = None
        self.task: TaskID | None = None

    def stage(self, what: str) -> None:
        """Show the next stage."""
        if self.progress is not None and self.task is not None:
            done = self.progress.tasks[self.task].completed if self.progress.tasks else 0
            started = self.progress.tasks[self.task].description != ""
            self.progress.update(
                self.task, description=what, completed=done + 1 if started else done
            )

    def advance(self, what: str, fraction: float) -> None:
        """Show a stage, and the fraction of the work that is done."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=what, completed=fraction * self.steps)

    def say(self, what: str) -> None:
        """Write a line to the standard error stream, unless quiet."""
        if not self.quiet:
            self._print(what)

    def announce_compilation(self) -> None:
        """Explain the delay if the kernels are not yet compiled on this machine."""
        if not _compiled():
            self.say("compiling the kernels once; this takes some minutes")

    def warn(self, what: str) -> None:
        """Write a warning, even if quiet."""
        self._print(f"warning: {what}")

    @contextmanager
    def downloading(self) -> Iterator[Report]:
        """Show downloads behind the name of the current stage."""
        from sarheight.cli._progress import show_progress, sizes

        if self.progress is None or self.task is None:
            with show_progress(quiet=self.quiet) as report:
                yield report
            return
        progress, task = self.progress, self.task
        stage = progress.tasks[task].description

        def beside(name: str, done: int, total: int | None) -> None:
            progress.update(task, description=f"{stage}: {name}, {sizes(done, total)}")

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
        """Show the progress bar on a terminal."""
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
def session(command: str, running: Messages, steps: int = 1) -> Iterator[Session]:
    """Run a command: limit its threads, show its progress, and report errors in one line."""
    current = Session(quiet=running.quiet, steps=steps)
    threads = running.threads if isinstance(running, Running) else None
    debug = running.debug
    try:
        with ExitStack() as stack:
            if threads is not None:
                stack.enter_context(_limited(threads))
            if not debug:
                stack.enter_context(_warnings_in_one_line(current))
            stack.enter_context(current.shown())
            stack.enter_context(naming_extras())
            yield current
    except KeyboardInterrupt:
        typer.echo(f"sarheight {command}: interrupted; no partial output remains", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort, typer.BadParameter, OptionError):
        raise
    except Exception as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"sarheight {command}: {_in_one_line(error)}", err=True)
        raise typer.Exit(FAILED) from error


def _in_one_line(error: Exception) -> str:
    text = option_advice(error) if isinstance(error, SarheightError) else str(error)
    text = " ".join(text.split())
    if isinstance(error, KeyError) or not isinstance(error, EXPECTED):
        return (
            f"unexpected {type(error).__name__}: {text or 'no message'}; please report it with "
            "the output of --debug"
        )
    if isinstance(error, MemoryError):
        return f"not enough memory ({text}): use a smaller elevation model"
    return text or type(error).__name__


@contextmanager
def _warnings_in_one_line(current: Session) -> Iterator[None]:
    """Show each warning as one line, without source code."""
    shown = warnings.showwarning

    def show(message: Warning | str, *_: object, **__: object) -> None:
        current.warn(" ".join(str(message).split()))

    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = shown


def _limited(threads: int) -> AbstractContextManager[None]:
    """Limit the threads of the kernels."""
    from sarheight_kernels.pool import limit_threads, thread_count

    most = thread_count()
    if threads > most:
        msg = f"found {threads}, expected {most} threads or fewer on this machine"
        raise OptionError(msg, option="threads")
    return limit_threads(threads)


def _compiled() -> bool:
    """Tell whether compiled kernels are cached from an earlier run."""
    from sarheight_kernels.tiles import tile_bounds

    kernel: Any = tile_bounds.kernel  # type: ignore[attr-defined]
    module = tile_bounds.__module__.rpartition(".")[2]
    return any(Path(kernel.stats.cache_path).glob(f"{module}.{kernel.__name__}-*.nbi"))
