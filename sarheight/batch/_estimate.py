"""What a batch will take: bytes, and minutes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sarheight.batch._jobs import Job
    from sarheight.batch._manifest import Manifest

__all__ = ["Expected", "cells_of", "expected"]

START = 5.0
"""Seconds that a job takes to begin."""
RATE = 1e-6
"""Seconds for a cell, where no earlier job tells: with reading, writing and compression."""
BYTES, BYTES_MORE = 38, 16
"""Bytes for a cell of all variables, and of each further polarisation; before compression."""


@dataclass(frozen=True)
class Expected:
    """What a batch is expected to take.

    Attributes
    ----------
    cells : int
        Cells of the elevation models, where they are known.
    unknown : int
        Jobs of which they are not.
    bytes : int
        Size of the results, before compression.
    seconds : float
        How long it takes.
    """

    cells: int
    unknown: int
    bytes: int
    seconds: float


def cells_of(job: Job) -> int:
    """Count the cells of a job's elevation models; 0 where they are not files on this machine."""
    import rasterio
    from rasterio.errors import RasterioIOError

    found = job.options.get("dem", ())
    total = 0
    for path in [found] if isinstance(found, str) else found:
        try:
            with rasterio.open(path) as file:
                total += file.width * file.height
        except RasterioIOError:
            return 0
    return total


def expected(jobs: Sequence[Job], manifest: Manifest, workers: int = 1) -> Expected:
    """Estimate what jobs will take; from what earlier ones took, where there are any.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    manifest : Manifest
        What earlier ones took.
    workers : int
        How many work at a time.
    """
    cells, unknown, size = 0, 0, 0
    for job in jobs:
        found = cells_of(job)
        names = str(job.options.get("polarisations", ""))
        polarisations = max(len(re.findall(r"\w+", names)), 1)
        cells += found
        unknown += found == 0
        size += found * (BYTES + BYTES_MORE * (polarisations - 1))
    done = [entry for entry in manifest.entries.values() if entry.status == "done"]
    known = [entry for entry in done if entry.cells > 0]
    blind = [entry.seconds for entry in done if entry.cells == 0]
    if known:
        seconds = cells * sum(each.seconds for each in known) / sum(each.cells for each in known)
    else:
        seconds = START * (len(jobs) - unknown) + RATE * cells
    if unknown and blind:
        seconds += unknown * sum(blind) / len(blind)
    return Expected(cells, unknown, size, seconds / max(workers, 1))
