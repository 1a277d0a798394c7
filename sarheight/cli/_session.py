"""Progress, threads and one-line errors of every command."""

from __future__ import annotations

import re
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from contextvars import ContextVar
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from sarheight._files import noting_unverified
from sarheight.errors import OptionError, SarheightError, naming_extras
from sarheight.workflow.config import Running
from sarheight.workflow.images import Reporter
from sarheight.workflow.words import UNVERIFIED

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


ARGUMENT = re.compile(r"""\b([a-z_]+)=['"]([\w.:-]+)['"]""")
"""An argument of Python, such as ``coregister='correct'``."""


def with_options(text: str) -> str:
    """Name options of the running command in place of the arguments of Python in a text."""
    known = OPTIONS.get() or frozenset()

    def option(found: re.Match[str]) -> str:
        name = f"--{found[1].replace('_', '-')}"
        return f"{name} {found[2]}" if name in known else found[0]

    return ARGUMENT.sub(option, text)


def require_subcommand(context: typer.Context) -> None:
    """Show the help and exit with code 2 if a group of commands is called without one of them."""
    if context.invoked_subcommand is None:
        # Rich prints the help when it is requested; the text is then empty.
        with redirect_stdout(sys.stderr):
            typer.echo(context.get_help())
        raise typer.Exit(USAGE)


# Progress, threads and errors.

READING = ("read", "fetch the elevation model", "fetch the orbit")
"""Stages in which no kernels run."""
LOGGED_STEP = 0.05
"""Part of the work after which the log has a line."""
LEAST_DONE, LEAST_SECONDS = 0.03, 2.0
"""Part of the work, and seconds, from which the time that is left is estimated."""
EXPECTED = (SarheightError, ValueError, TypeError, OSError, LookupError, MemoryError)
"""Errors of the user's data or machine; all others are defects of the program."""


class Session(Reporter):
    """The stages of a command, shown on the standard error stream and in a log file.

    Parameters
    ----------
    quiet : bool
        Show nothing but warnings; the log has all.
    shares : mapping of str to float
        Share of each stage in the work, in any unit.
    log : file, optional
        Receives a line for each message, and for each step of progress.
    """

    def __init__(
        self, *, quiet: bool, shares: Mapping[str, float], log: TextIO | None = None
    ) -> None:
        self.quiet = quiet
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self._log = log
        self._begun = time.monotonic()
        ends = [*accumulate(shares.values())]
        parts = pairwise([0.0, *(each / ends[-1] for each in ends)]) if ends else ()
        self._spans = dict(zip(shares, parts, strict=True))
        self._span, self._done, self._logged = (0.0, 0.0), 0.0, -LOGGED_STEP
        self._stage, self._compiling = "", False

    def stage(self, what: str) -> None:
        """Begin a stage; one whose share is not known leaves the progress as it is."""
        begin = 1.0 if what == "done" else self._done
        self._span = self._spans.get(what, (begin, begin))
        self._stage, self._logged = what, -LOGGED_STEP
        self.advance(what, 0.0)

    def advance(self, what: str, fraction: float) -> None:
        """Show what is done, and the fraction of the current stage that is complete."""
        if self._compiling and what not in (*READING, "done"):
            self._compile()
        begin, end = self._span
        self._done = max(self._done, begin + min(fraction, 1.0) * (end - begin))
        percent = f"{100.0 * self._done:.0f} %{self.time_left()}"
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=what, completed=self._done, left=percent)
        if self._done >= self._logged + LOGGED_STEP:
            self._logged = self._done
            self._write(f"{percent}: {what}")

    def time_left(self) -> str:
        """Return the time that is left if work goes on at its speed; "" before that is known."""
        elapsed = time.monotonic() - self._begun
        if self._done < LEAST_DONE or elapsed < LEAST_SECONDS:
            return ""
        return f", {clock(elapsed * (1.0 - self._done) / self._done)} left"

    def counting(self, count: int) -> Callable[[str], None]:
        """Return a function that is told the begin of each of several pieces of work."""
        begun = iter(range(count))
        return lambda what: self.advance(what, next(begun, count) / count)

    @contextmanager
    def following(self, passes: int) -> Iterator[None]:
        """Advance by the tasks of dask; the work walks `passes` times through its parts."""
        from dask.callbacks import Callback

        stage, begun, total, done = self._stage, 0, 1, 0

        def begin(graph: Mapping[Any, Any], _state: Any) -> None:  # noqa: ANN401  # of dask
            nonlocal begun, total, done
            begun, total, done = begun + 1, max(len(graph), 1), 0

        def end(*_task: Any) -> None:  # noqa: ANN401  # of dask
            nonlocal done
            done += 1
            self.advance(stage, (begun - 1 + done / total) / passes)

        with Callback(start_state=begin, posttask=end):  # type: ignore[no-untyped-call]
            yield

    def say(self, what: str) -> None:
        """Write a line to the standard error stream, unless quiet."""
        self._write(what)
        if not self.quiet:
            self._print(what)

    def compile_kernels(self) -> None:
        """Compile the kernels that are not yet compiled on this machine, and show which.

        That begins after the input was read, with which something may be wrong.
        """
        self._compiling = True
        if self._stage not in READING:
            self._compile()

    def _compile(self) -> None:
        from sarheight_kernels.compilation import compile_kernels

        self._compiling = False
        for done, total, name in compile_kernels():
            if done == 0:
                self.say("compiling the kernels once; this takes about a minute")
            self._describe(f"compiling kernels {done + 1}/{total}: {name}")
        self._describe(self._stage)

    def warn(self, what: str) -> None:
        """Write a warning, even if quiet."""
        self._write(f"warning: {what}")
        self._print(f"warning: {what}")

    def fail(self, what: str) -> None:
        """Write an error to the log."""
        self._write(f"error: {what}")

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

    def _describe(self, what: str) -> None:
        """Show a text behind the progress bar, and leave the progress as it is."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, description=what)

    def _print(self, line: str) -> None:
        if self.progress is None:
            typer.echo(line, err=True)
        else:
            self.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _write(self, line: str) -> None:
        if self._log is not None:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            self._log.write(f"{now} {line}\n")
            self._log.flush()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress bar on a terminal."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield
            return
        columns = (
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[left]}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            self.progress = progress
            self.task = self.progress.add_task("", total=1.0, left="")
            try:
                yield
            finally:
                self.progress = self.task = None


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


@contextmanager
def session(
    command: str, running: Messages, shares: Mapping[str, float] | None = None
) -> Iterator[Session]:
    """Run a command: limit its threads, show its progress, and report errors in one line.

    `shares` are the shares of its stages in the work, see `Session`.
    """
    threads = running.threads if isinstance(running, Running) else None
    with ExitStack() as stack:
        log = None if running.log is None else stack.enter_context(_log_file(running.log))
        current = Session(quiet=running.quiet, shares=shares or {}, log=log)
        try:
            with ExitStack() as inner:
                if threads is not None:
                    inner.enter_context(_limited(threads))
                if not running.debug:
                    inner.enter_context(_warnings_in_one_line(current))
                inner.enter_context(current.shown())
                inner.enter_context(naming_extras())
                unverified = inner.enter_context(noting_unverified())
                yield current
                _warn_of_unverified(unverified(), current)
                current.stage("done")
        except KeyboardInterrupt:
            text = "interrupted; no partial output remains"
            current.fail(text)
            typer.echo(f"sarheight {command}: {text}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, typer.BadParameter, OptionError):
            raise
        except Exception as error:
            if running.debug:
                traceback.print_exc()
            text = _in_one_line(error)
            current.fail(text)
            typer.echo(f"sarheight {command}: {text}", err=True)
            raise typer.Exit(FAILED) from error


def _warn_of_unverified(names: tuple[str, ...], current: Session) -> None:
    """Name what was read in parts, without comparing its checksum."""
    if names:
        current.warn(
            f"parts of {', '.join(names)} were read without comparing their checksums, as the "
            f"result says: --verify compares all files first (exit code {UNVERIFIED})"
        )


def _log_file(path: Path) -> TextIO:
    """Open a log, to which lines are appended."""
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        msg = f"cannot write '{path}': {error.strerror}"
        raise OptionError(msg, option="log") from error


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
        current.warn(with_options(" ".join(str(message).split())))

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
