"""Running a batch: cost estimate, one process a job, this machine or a cluster."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sarheight.batch._jobs import Entry, checksum

if TYPE_CHECKING:
    from sarheight.batch._jobs import Job, Manifest

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


# The work of a batch: a process for each job, on this machine or on a cluster.

LONGEST = 2000
"""Characters of an error that are kept."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job.

    Attributes
    ----------
    job : Job
        The job.
    entry : Entry
        The line of the manifest that tells it.
    """

    job: Job
    entry: Entry

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.entry.status == "failed"


def pending(jobs: Sequence[Job], manifest: Manifest) -> list[Job]:
    """List the jobs whose results are not there, not made by the same parameters, or damaged."""
    return [job for job in jobs if not manifest.is_complete(job)]


def run(
    jobs: Sequence[Job],
    manifest: Manifest,
    command: Callable[..., list[str]],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Do jobs, each in a process of its own, and keep the manifest.

    A job that fails, or whose process is killed, does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    manifest : Manifest
        Receives a line when a job starts and when it ends.
    command : callable
        Makes the command line of a job; `overwrite` tells it whether what is in the place of its
        result may be replaced.
    workers : int
        How many work at a time on this machine.
    scheduler : str, optional
        Address of a dask scheduler, whose workers do the jobs; inputs and outputs must lie where
        they reach them.
    overwrite : bool
        Whether results may be replaced that are not in the manifest.

    Yields
    ------
    Outcome
        As jobs end.
    """

    def begin(job: Job) -> list[str]:
        replaceable = overwrite or manifest.may_replace(job)
        manifest.clear(job)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        entry = Entry("started", str(job.output), job.fingerprint(), job.parameters())
        # A result that is not ours must not become ours by a line in the manifest.
        if replaceable or not os.path.lexists(job.output):
            manifest.add(entry)
        return command(job, overwrite=replaceable)

    with _submitted(workers, scheduler) as submit:
        waiting = {submit(begin(job)): job for job in jobs} if scheduler else {}
        left = iter(() if scheduler else jobs)
        for job in left:
            waiting[submit(begin(job))] = job
            if len(waiting) >= workers:
                break
        while waiting:
            future = next(_completed(list(waiting), scheduler))
            job = waiting.pop(future)
            yield _ended(job, future, manifest)
            following = next(left, None)
            if following is not None:
                waiting[submit(begin(following))] = following


def _ended(job: Job, future: Any, manifest: Manifest) -> Outcome:  # noqa: ANN401
    """Write down what became of a job."""
    fingerprint, error, sha256, size = job.fingerprint(), "", "", 0
    seconds = 0.0
    try:
        seconds, error = future.result()
        if not error:
            sha256, size = checksum(job.output)
            error = "" if job.output.exists() else "it ended well, but there is no result"
    except Exception as failure:  # noqa: BLE001 - whatever happened must not stop the others
        error = f"{type(failure).__name__}: {failure}"
    entry = Entry(
        "failed" if error else "done",
        str(job.output),
        fingerprint,
        job.parameters(),
        sha256,
        size,
        round(seconds, 3),
        cells_of(job),
        error,
    )
    manifest.add(entry)
    return Outcome(job, entry)


def _work(command: Sequence[str]) -> tuple[float, str]:
    """Run a command; return how long it took and, where it failed, what it said last."""
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command line
        list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode == 0:
        return seconds, ""
    said = [line for line in done.stderr.splitlines() if line.strip()]
    reason = said[-1] if said else "it said nothing"
    if done.returncode < 0:
        reason = f"killed by signal {-done.returncode}; {reason}"
    return seconds, reason[-LONGEST:]


@contextmanager
def _submitted(workers: int, scheduler: str | None) -> Iterator[Callable[[list[str]], Any]]:
    """Offer a way to start commands: here, or on the workers of a cluster."""
    with ExitStack() as stack:
        if scheduler is None:
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            yield lambda command: pool.submit(_work, command)
            return
        from distributed import Client

        client = stack.enter_context(Client(scheduler))  # type: ignore[no-untyped-call]
        yield lambda command: client.submit(_work, command, pure=False)


def _completed(futures: list[Any], scheduler: str | None) -> Iterator[Any]:
    """Yield futures as they end."""
    if scheduler is None:
        local: list[Future[Any]] = futures
        return iter(as_completed(local))
    from distributed import as_completed as as_completed_there

    found: Iterator[Any] = iter(as_completed_there(futures))  # type: ignore[no-untyped-call]
    return found
