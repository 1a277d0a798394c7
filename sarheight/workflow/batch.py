"""Many reconstructions: a manifest of what has ended, the cost, and a process for each job.

Results hold their settings. The manifest adds what they cannot hold: their own checksum, the time
that they took, and the errors of jobs that failed. A line is flushed to the disk before the work
goes on; a process that is killed while it writes leaves at most one incomplete last line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from sarheight.errors import ManifestError
from sarheight.workflow.reconstruction import chosen_layers
from sarheight.workflow.words import UNVERIFIED

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from sarheight.workflow.jobs import Job


# The manifest: one JSON object a line.


@dataclass(frozen=True)
class Entry:
    """One line of a manifest: the end of a job.

    Attributes
    ----------
    status : {"done", "failed"}
        Whether there is a result.
    output : str
        Path of the result.
    fingerprint : str
        SHA-256 of all that it depends on.
    sha256 : str
        Checksum of the result, which it cannot hold itself.
    seconds : float
        Duration.
    cells : int
        Cells of the elevation model; 0 if not known beforehand.
    error : str
        Message of the failure.
    unverified : bool
        Whether parts of products were read without comparing their checksums.
    """

    status: Literal["done", "failed"]
    output: str
    fingerprint: str
    sha256: str = ""
    seconds: float = 0.0
    cells: int = 0
    error: str = ""
    unverified: bool = False

    @property
    def failed(self) -> bool:
        """Whether there is no result."""
        return self.status == "failed"

    @classmethod
    def of(
        cls, job: Job, seconds: float = 0.0, error: str = "", *, unverified: bool = False
    ) -> Entry:
        """Describe the end of a job."""
        if not error and not job.output.exists():
            error = "the process succeeded, but there is no result"
        digest = "" if error else _checksum(job.output)
        status: Literal["done", "failed"] = "failed" if error else "done"
        known = str(job.output), job.fingerprint(), digest
        return cls(status, *known, round(seconds, 3), job.cells(), error, unverified)


def _checksum(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder."""
    from sarheight.output import provenance

    return str(provenance({"result": path})["inputs"]["result"]["sha256"])


class Manifest:
    """The manifest of a batch, open for one process at a time.

    Parameters
    ----------
    path : path-like
        The file; created if missing.

    Attributes
    ----------
    entries : dict of str to Entry
        The last line of each output.
    made : set of str
        Outputs of which there has been a result: these may be replaced.

    Raises
    ------
    ManifestError
        If it is no manifest, cannot be written, or is in use by another process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.entries: dict[str, Entry] = {}
        self.made: set[str] = set()
        try:
            self._file: IO[bytes] = self.path.open("ab+")
            _lock(self._file)
        except BlockingIOError as error:
            self._file.close()
            msg = f"'{self.path}' is in use by another batch: wait for it, or use another manifest"
            raise ManifestError(msg) from error
        except OSError as error:
            msg = f"cannot write the manifest '{self.path}': {error.strerror}"
            raise ManifestError(msg) from error
        try:
            self._read()
        except ManifestError:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        """Return the manifest."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        for entry in parse_manifest(text, self.path):
            self._register(entry)
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            self._file.truncate(whole)

    def add(self, entry: Entry) -> Entry:
        """Write a line, and flush it to the disk."""
        self._file.write(json.dumps(asdict(entry), sort_keys=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._register(entry)
        return entry

    def _register(self, entry: Entry) -> None:
        self.entries[entry.output] = entry
        if not entry.failed:
            self.made.add(entry.output)

    def pending(self, jobs: Sequence[Job]) -> list[Job]:
        """List the jobs whose results are missing, damaged, or have other options or inputs."""
        return [job for job in jobs if not self._is_complete(job)]

    def _is_complete(self, job: Job) -> bool:
        """Tell whether the result of a job exists, has the same parameters, and is undamaged."""
        if not job.output.exists():
            return False
        entry = self.entries.get(str(job.output))
        if (entry is None or entry.failed) and _made_by(job):
            # The batch was killed between the result and its line, or alone: its last job went on.
            entry = self.add(Entry.of(job))
        same = entry is not None and not entry.failed and entry.fingerprint == job.fingerprint()
        return same and entry is not None and _checksum(job.output) == entry.sha256


def _made_by(job: Job) -> bool:
    """Tell whether a result holds the settings of a job, and is younger than its inputs."""
    from sarheight.output import read_provenance

    try:
        record = read_provenance(job.output)
        made = datetime.fromisoformat(record["created"]).timestamp()
        settings = record["parameters"]["settings"]
    except (ValueError, OSError, KeyError, TypeError):
        return False
    files = [path for path in job.settings.files().values() if path.exists()]
    younger = all(path.stat().st_mtime <= made for path in files)
    return bool(settings == job.settings.record()) and younger


def parse_manifest(text: bytes, path: Path) -> list[Entry]:
    """Return the lines of a manifest; text behind the last line break was not completed.

    Raises ManifestError where a line is of another kind.
    """
    entries = []
    for number, line in enumerate(text.split(b"\n")[:-1], 1):
        if not line.strip():
            continue
        try:
            entry = Entry(**json.loads(line))
        except (TypeError, ValueError, RecursionError):
            entry = None
        if entry is None or entry.status not in ("done", "failed"):
            msg = f"line {number} of '{path}' is not a line of a manifest"
            raise ManifestError(msg)
        entries.append(entry)
    return entries


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed or the process ends, on systems with `fcntl`."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# Cost, before any job has been measured.
START_SECONDS = 5.0
CELL_SECONDS = 1e-6  # with reading, writing and compression


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
    from sarheight.layover.layers import cell_bytes

    counts = [job.cells() for job in jobs]
    cells, unknown = sum(counts), counts.count(0)
    # Before compression.
    size = sum(
        count * cell_bytes(chosen_layers(job.settings), max(len(job.settings.polarisations), 1))
        for job, count in zip(jobs, counts, strict=True)
    )
    done = [entry for entry in manifest.entries.values() if not entry.failed and entry.seconds]
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


def run(
    jobs: Sequence[Job],
    manifest: Manifest,
    *,
    threads: int | None = None,
    command: Callable[[str], Command] | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
) -> Iterator[Entry]:
    """Run jobs, each in a process of its own, and record their ends in the manifest.

    A job that fails, or whose process is killed, does not stop the others.

    Parameters
    ----------
    jobs : sequence of Job
        The jobs.
    manifest : Manifest
        Receives a line when a job ends.
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
    Entry
        As jobs end.
    """
    from sarheight.output.atomic import recover

    with _executor(workers, scheduler) as executor:
        running, before = {}, set()
        for job in jobs:
            recover(job.output)
            if job.output.exists():
                before.add(job)
            job.output.parent.mkdir(parents=True, exist_ok=True)
            replaceable = overwrite or str(job.output) in manifest.made
            text = job.configuration(overwrite=replaceable, threads=threads)
            running[executor.submit(_run_process, (command or _reconstruct)(text))] = job
        for future in as_completed(running):
            job = running[future]
            try:
                seconds, error, unverified = future.result()
                # A job of a batch that was killed before went on, and was done first.
                done = error and job not in before and _made_by(job)
                entry = Entry.of(job, seconds, "" if done else error, unverified=unverified)
            except Exception as failure:  # noqa: BLE001 - no failure may stop the others
                text = f"{type(failure).__name__}: {failure}"
                entry = Entry.of(job, 0.0, text)
            yield manifest.add(entry)


@contextmanager
def _executor(workers: int, scheduler: str | None) -> Iterator[Executor]:
    """Yield an executor of this machine, or of a cluster; jobs that wait end with it."""
    if scheduler is None:
        executor = ThreadPoolExecutor(workers)
        try:
            yield executor
        finally:
            executor.shutdown(cancel_futures=True)
        return
    from distributed import Client

    with Client(scheduler) as client:  # type: ignore[no-untyped-call]
        yield client.get_executor(pure=False)


def _reconstruct(configuration: str) -> Command:
    """Return the command line that reconstructs from a configuration."""
    return [sys.executable, "-m", "sarheight", "reconstruct", "--config", "-"], configuration


def _run_process(command: Command) -> tuple[float, str, bool]:
    """Run a command; return its seconds, the last line of one that failed, and if it warns."""
    arguments, text = command
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own command line
        arguments, input=text, capture_output=True, encoding="utf-8", check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode in {0, UNVERIFIED}:
        return seconds, "", done.returncode == UNVERIFIED
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1] if lines else "no message"
    if done.returncode < 0:
        reason = f"killed by signal {-done.returncode}; {reason}"
    return seconds, reason[-ERROR_LENGTH:], False
