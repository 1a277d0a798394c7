"""Cost estimate of a batch, and its execution: a process for each job, here or on a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sarheight.batch._jobs import Entry, checksum

if TYPE_CHECKING:
    from sarheight.batch._jobs import Job, Manifest

# Cost of a job before any has been measured.
START_SECONDS = 5.0
CELL_SECONDS = 1e-6  # with reading, writing and compression
CELL_BYTES = 38  # of all variables, before compression
POLARISATION_BYTES = 16  # of a cell, for each further polarisation


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of a batch.

    Attributes
    ----------
    cells : int
        Cells of the elevation models that are known.
    unknown : int
        Number of jobs whose elevation model is not known.
    bytes : int
        Size of the results, before compression.
    seconds : float
        Duration.
    """

    cells: int
    unknown: int
    bytes: int
    seconds: float


def cells_of(job: Job) -> int:
    """Count the cells of a job's elevation models; 0 if they are not files on this machine."""
    import rasterio
    from rasterio.errors import RasterioIOError

    total = 0
    for path in job.settings.dem:
        try:
            with rasterio.open(path) as file:
                total += file.width * file.height
        except RasterioIOError:
            return 0
    return total


def estimate(jobs: Sequence[Job], manifest: Manifest, workers: int = 1) -> Estimate:
    """Estimate the cost of jobs, from the cost of earlier ones if there are any.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    manifest : Manifest
        Earlier jobs.
    workers : int
        Jobs at a time.
    """
    cells, unknown, size = 0, 0, 0
    for job in jobs:
        count = cells_of(job)
        polarisations = max(len(job.settings.polarisations), 1)
        cells += count
        unknown += count == 0
        size += count * (CELL_BYTES + POLARISATION_BYTES * (polarisations - 1))
    done = [entry for entry in manifest.entries.values() if entry.status == "done"]
    known = [entry for entry in done if entry.cells > 0]
    unsized = [entry.seconds for entry in done if entry.cells == 0]
    if known:
        seconds = cells * sum(each.seconds for each in known) / sum(each.cells for each in known)
    else:
        seconds = START_SECONDS * (len(jobs) - unknown) + CELL_SECONDS * cells
    if unknown and unsized:
        seconds += unknown * sum(unsized) / len(unsized)
    return Estimate(cells, unknown, size, seconds / max(workers, 1))


# Execution.

Command = tuple[list[str], str]
"""Arguments of a process, and its standard input."""
ERROR_LENGTH = 2000
"""Characters of an error in the manifest."""


@dataclass(frozen=True)
class Outcome:
    """End of a job.

    Attributes
    ----------
    job : Job
        The job.
    entry : Entry
        Its line in the manifest.
    """

    job: Job
    entry: Entry

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.entry.status == "failed"


def pending(jobs: Sequence[Job], manifest: Manifest) -> list[Job]:
    """List the jobs whose results are missing, damaged, or have other parameters."""
    return [job for job in jobs if not manifest.is_complete(job)]


def run(
    jobs: Sequence[Job],
    manifest: Manifest,
    *,
    threads: int | None = None,
    command: Callable[[str], Command] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Run jobs, each in a process of its own, and record them in the manifest.

    A job that fails, or whose process is killed, does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    manifest : Manifest
        Receives a line when a job starts and when it ends.
    threads : int, optional
        Threads of each job that does not set them.
    command : callable, optional
        Returns the arguments and the standard input of a process from the configuration of a job;
        ``sarheight reconstruct --config -`` by default.
    workers : int
        Jobs at a time on this machine.
    scheduler : str, optional
        Address of a dask scheduler, whose workers run the jobs; they must find inputs and outputs
        under the same paths.
    overwrite : bool
        Replace existing outputs that are not in the manifest.

    Yields
    ------
    Outcome
        As jobs end.
    """

    def start(job: Job) -> Command:
        replaceable = overwrite or manifest.may_replace(job)
        manifest.clear(job)
        job.output.parent.mkdir(parents=True, exist_ok=True)
        entry = Entry("started", str(job.output), job.fingerprint(), job.parameters())
        # A file of somebody else must not become replaceable by a line in the manifest.
        if replaceable or not os.path.lexists(job.output):
            manifest.add(entry)
        text = job.configuration(overwrite=replaceable, threads=threads)
        return (command or reconstruct_command)(text)

    with _executor(workers, scheduler) as submit:
        waiting = {submit(start(job)): job for job in jobs} if scheduler else {}
        queue = iter(() if scheduler else jobs)
        for job in queue:
            waiting[submit(start(job))] = job
            if len(waiting) >= workers:
                break
        while waiting:
            future = next(_completed(list(waiting), scheduler))
            job = waiting.pop(future)
            yield _record_end(job, future, manifest)
            following = next(queue, None)
            if following is not None:
                waiting[submit(start(following))] = following


def _record_end(job: Job, future: Any, manifest: Manifest) -> Outcome:  # noqa: ANN401
    """Write the end of a job to the manifest."""
    fingerprint, error, sha256, size = job.fingerprint(), "", "", 0
    seconds = 0.0
    try:
        seconds, error = future.result()
        if not error and not job.output.exists():
            error = "the process succeeded, but there is no result"
        if not error:
            sha256, size = checksum(job.output)
    except Exception as failure:  # noqa: BLE001 - no failure may stop the others
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


def reconstruct_command(configuration: str) -> Command:
    """Return the command line that reconstructs from a configuration."""
    return [sys.executable, "-m", "sarheight", "reconstruct", "--config", "-"], configuration


def _run_process(command: Command) -> tuple[float, str]:
    """Run a command; return the seconds and, if it failed, the last line of its messages."""
    arguments, text = command
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command line
        arguments, input=text, capture_output=True, encoding="utf-8", check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode == 0:
        return seconds, ""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else "no message"
    if done.returncode < 0:
        reason = f"killed by signal {-done.returncode}; {reason}"
    return seconds, reason[-ERROR_LENGTH:]


@contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Callable[[Command], Any]]:
    """Yield a function that starts commands, here or on the workers of a cluster."""
    with ExitStack() as stack:
        if scheduler is None:
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            yield lambda command: pool.submit(_run_process, command)
            return
        from distributed import Client

        client = stack.enter_context(Client(scheduler))  # type: ignore[no-untyped-call]
        yield lambda command: client.submit(_run_process, command, pure=False)


def _completed(futures: list[Any], scheduler: str | None) -> Iterator[Any]:
    """Yield futures as they end."""
    if scheduler is None:
        local: list[Future[Any]] = futures
        return iter(as_completed(local))
    from distributed import as_completed as as_completed_on_cluster

    completed: Iterator[Any] = iter(as_completed_on_cluster(futures))  # type: ignore[no-untyped-call]
    return completed
