"""Showing how a download goes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO, TypeAlias

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Report", "shown", "silent", "size_in_words"]

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Is told the name of a file, the bytes that are here, and all its bytes where they are known."""

_SECONDS_BETWEEN_LINES = 10.0


def silent(_name: str, _done: int, _total: int | None) -> None:
    """Show nothing."""


def size_in_words(size: int | None) -> str:
    """Write a number of bytes for people."""
    if size is None:
        return "size unknown"
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000.0
        if value < 999.5 or unit == "GB":
            return f"{value:.3g} {unit}"
    raise AssertionError


@contextmanager
def shown(*, quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """Show downloads: bars on a terminal, now and then a line elsewhere.

    Parameters
    ----------
    quiet : bool, optional
        Show nothing.
    stream : text stream, optional
        Where; the standard error stream by default.

    Yields
    ------
    callable
        To pass on as `progress`.
    """
    from rich.console import Console

    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    if quiet:
        yield silent
    elif console.is_terminal:
        with _bars(console) as report:
            yield report
    else:
        yield _lines(stream)


@contextmanager
def _bars(console: Console) -> Iterator[Report]:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as progress:

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done, total=total)

        yield report


def _lines(stream: TextIO) -> Report:
    last: dict[str, float] = {}

    def report(name: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        finished = total is not None and done >= total
        if not finished and now - last.get(name, now - 2 * _SECONDS_BETWEEN_LINES) < (
            _SECONDS_BETWEEN_LINES
        ):
            return
        last[name] = float("inf") if finished else now
        of = "" if total is None else f" of {size_in_words(total)}"
        stream.write(f"{name}: {size_in_words(done)}{of}\n")
        stream.flush()

    return report
