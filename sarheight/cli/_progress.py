"""Progress of downloads: bars on a terminal, elsewhere a line at times."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from rich.filesize import decimal

if TYPE_CHECKING:
    from rich.console import Console

    from sarheight.fetch.transfer import Report

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def show_progress(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """Show downloads on a stream (standard error); yields what to pass on as `progress`."""
    from rich.console import Console

    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    if quiet:
        yield lambda _name, _done, _total: None
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
        if not finished and now < last.get(name, -1.0) + SECONDS_BETWEEN_LINES:
            return
        last[name] = float("inf") if finished else now
        stream.write(f"{name}: {sizes(done, total)}\n")
        stream.flush()

    return progress


def sizes(done: int, total: int | None) -> str:
    """Write how much of a file has arrived."""
    return decimal(done) if total is None else f"{decimal(done)} of {decimal(total)}"
