"""Long runs: claims of several processes, curves of trainings, and fresh interpreters."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["claimed", "curve", "last_line"]


def last_line(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run Python code in a fresh interpreter; return the last line that it printed."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | dict(environment or {}),
    )
    return done.stdout.strip().splitlines()[-1]


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim a run for this process: False where another process is at it.

    Processes that are started side by side with the same command thus share its runs. The claim
    ends with the process, so that an interrupted run is free.

    Parameters
    ----------
    path : Path
        The folder or file of the run; the lock lies beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def curve(file: Path, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Read a figure of the validation from the ``metrics.csv`` of a training, and its steps."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row.get(name)]
    steps = np.array([int(row["step"]) + 1 for row in rows])
    return steps, np.array([float(row[name]) for row in rows])
