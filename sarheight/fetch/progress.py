"""Progress of downloads, and how it is shown."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the name of a file, its bytes so far, and its size or None."""

_SECONDS_BETWEEN_LINES = 10.0


def no_progress(_name: str, _done: int, _total: int | None) -> None:
    """Show nothing."""


def format_size(size: int | None) -> str:
    """Format a number of bytes."""
    if size is None:
        return "size unknown"
    if size < 1000:
        return f"{size} B"
    value, unit = size / 1e3, "kB"
    for larger in ("MB", "GB"):
        if value >= 999.5:
            value, unit = value / 1e3, larger
    return f"{value:.3g} {unit}"


@contextmanager
def show_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """Show downloads on a stream (standard error): bars on a terminal, elsewhere a line at times.

    Yields what to pass on as `progress`.
    """
    from rich.console import Console

    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    if quiet:
        yield no_progress
    elif console.is_terminal:
        with _progress_bars(console) as progress:
            yield progress
    else:
        yield _progress_lines(stream)


@contextmanager
def _progress_bars(console: Console) -> Iterator[Report]:
    """Show a bar for every file."""
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(bar_width=24),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    tasks: dict[str, bars.TaskID] = {}
    with bars.Progress(*columns, console=console, transient=True) as shown:

        def progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = shown.add_task(name, total=total)
            shown.update(tasks[name], completed=done, total=total)

        yield progress


def _progress_lines(stream: TextIO) -> Report:
    """Write a line for every file at its begin, its end, and every ten seconds."""
    last: dict[str, float] = {}

    def progress(name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if not finished and now < last.get(name, -1.0) + _SECONDS_BETWEEN_LINES:
            return
        last[name] = float("inf") if finished else now
        of = "" if total is None else f" of {format_size(total)}"
        stream.write(f"{name}: {format_size(done)}{of}\n")
        stream.flush()

    return progress
