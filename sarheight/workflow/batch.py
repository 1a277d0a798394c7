"""Many reconstructions: lists of jobs, a manifest of what has ended, a process for each job.

Results hold their settings. The manifest adds what they cannot hold: their own checksum, the time
that they took, and the errors of jobs that failed. A line is flushed to the disk before the work
goes on; a process that is killed while it writes leaves at most one incomplete last line.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from sarheight._files import file_errors, parse_toml, read_text
from sarheight.errors import JobListError, ManifestError
from sarheight.workflow.config import ReconstructConfig, ResultOutput, Running
from sarheight.workflow.options import configurations, to_toml
from sarheight.workflow.reconstruction import chosen_layers
from sarheight.workflow.words import UNVERIFIED

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


# Jobs.

SEPARATOR = ";"
"""Between several values in a field of a CSV file."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One reconstruction, with the options of ``sarheight reconstruct``.

    Attributes
    ----------
    settings : ReconstructConfig
        All that the values of the result depend on.
    result : ResultOutput
        Output, picture and STAC item; no two jobs have the same output.
    running : Running
        Threads and messages.
    """

    settings: ReconstructConfig
    result: ResultOutput
    running: Running = field(default=Running())

    @property
    def output(self) -> Path:
        """Path of the result."""
        return self.result.output

    def configuration(self, *, overwrite: bool, threads: int | None = None) -> str:
        """Return the job as text for ``sarheight reconstruct --config``."""
        running = replace(self.running, quiet=True, threads=self.running.threads or threads)
        result = replace(self.result, overwrite=overwrite or self.result.overwrite)
        values = self.settings.to_dict() | result.to_dict() | running.to_dict()
        return to_toml("reconstruct", values)

    def fingerprint(self) -> str:
        """Return the SHA-256 of all that the result depends on: options, and inputs as files."""
        stamps = {}
        for path in self.settings.files().values():
            if path.exists():
                status = path.stat()
                stamps[str(path)] = [status.st_size, status.st_mtime_ns]
        result = replace(self.result, overwrite=False)
        text = json.dumps([self.settings.to_dict() | result.to_dict(), stamps], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def cells(self) -> int:
        """Count the cells of the elevation models; 0 if they are not files on this machine."""
        from sarheight._rasters import open_raster
        from sarheight.errors import DemError

        total = 0
        for path in self.settings.dem:
            try:
                with open_raster(path) as file:
                    total += file.width * file.height
            except (DemError, FileNotFoundError):
                return 0
        return total


def read_jobs(path: str | os.PathLike[str], defaults: Mapping[str, Any] | None = None) -> list[Job]:
    """Read a list of jobs.

    Parameters
    ----------
    path : path-like
        ``.toml``: a table ``[defaults]`` and tables ``[[job]]``. ``.json``: an object with
        ``defaults`` and ``jobs``, or a list of jobs. ``.csv``: one job a line, options in the head;
        several values in a field are separated by semicolons. A job has the options of
        ``sarheight reconstruct``, without dashes in front, and ``image`` and ``output``; relative
        paths count from the folder of the list. ``tiles``, a list of elevation models, makes a job
        of each of them; ``{image}`` and ``{dem}`` in the name of the output stand for the names of
        both without suffix.
    defaults : mapping, optional
        Options of all jobs that do not set them.

    Returns
    -------
    list of Job
        In the order of the list.

    Raises
    ------
    JobListError
        If the file cannot be read, a job has no image or output or an option that is not possible,
        or two jobs have the same output.
    """
    path = Path(path)
    if path.suffix.lower() not in LISTS:
        msg = f"found '{path}', expected a list of jobs in {', '.join(LISTS)}"
        raise JobListError(msg)
    if not path.exists():
        msg = f"could not read the jobs in '{path}': there is no such file"
        raise JobListError(msg)
    with file_errors(path, "a list of jobs", JobListError):
        text = read_text(path, "a list of jobs", JobListError)
        common, entries = LISTS[path.suffix.lower()](text, str(path))
    whole = {**(defaults or {}), **common}
    named = ((f"job {number} of '{path}'", entry) for number, entry in enumerate(entries, 1))
    return _all_jobs(((where, {**whole, **entry}) for where, entry in named), path.parent, path)


def jobs_of_files(
    images: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    suffix: str,
    options: Mapping[str, Any],
) -> list[Job]:
    """Make a job of each of several images.

    Parameters
    ----------
    images : sequence of path-like
        The images.
    folder : path-like
        Folder of the results, named like the images, and with ``tiles`` like both.
    suffix : str
        Format of the results, such as ``.tif``.
    options : mapping
        Options of all jobs, as in a list.

    Returns
    -------
    list of Job
        In the order of the images.

    Raises
    ------
    JobListError
        If an option is not possible, or two jobs have the same output.
    """
    name = "{image}_{dem}" if "tiles" in options else "{image}"
    output = os.fspath(Path(folder) / f"{name}{suffix}")
    entries = ({**options, "output": output, "image": os.fspath(image)} for image in images)
    return _all_jobs(((f"'{entry['image']}'", entry) for entry in entries), Path(), "the images")


Table = dict[str, Any]


def _defaults_and_jobs(table: Any, name: str) -> tuple[Table, list[Table]]:  # noqa: ANN401
    """Take defaults and jobs out of a table, which must hold nothing else."""
    strange = set(table) - {"defaults", name} if isinstance(table, dict) else {type(table).__name__}
    if strange:
        msg = f"found {', '.join(sorted(strange))}, expected 'defaults' and '{name}' only"
        raise ValueError(msg)
    defaults, entries = table.get("defaults", {}), table.get(name, [])
    listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if not isinstance(defaults, dict) or not listed:
        msg = f"expected a table in 'defaults' and a list of tables in '{name}'"
        raise ValueError(msg)
    return defaults, entries


def _read_toml(text: str, name: str) -> tuple[Table, list[Table]]:
    return _defaults_and_jobs(parse_toml(text, name, JobListError), "job")


def _read_json(text: str, _name: str) -> tuple[Table, list[Table]]:
    content = json.loads(text)
    return _defaults_and_jobs({"jobs": content} if isinstance(content, list) else content, "jobs")


def _read_csv(text: str, _name: str) -> tuple[Table, list[Table]]:
    entries = []
    for number, row in enumerate(csv.DictReader(text.splitlines(), strict=True), 2):
        if None in row or None in row.values():
            msg = f"line {number} has not as many fields as the head"
            raise ValueError(msg)
        several = {
            name.strip(): [value.strip() for value in text.split(SEPARATOR) if value.strip()]
            for name, text in row.items()
            if text
        }
        entries.append({name: v[0] if len(v) == 1 else v for name, v in several.items()})
    return {}, entries


LISTS = {".toml": _read_toml, ".json": _read_json, ".csv": _read_csv}
"""What reads a list of jobs, by suffix."""


def _all_jobs(entries: Iterable[tuple[str, Table]], folder: Path, source: str | Path) -> list[Job]:
    """Make the jobs of entries, each with a name for messages; refuse none, and equal outputs."""
    jobs = [job for where, entry in entries for job in _jobs_of_entry(entry, folder, where)]
    if not jobs:
        msg = f"found no job in '{source}'"
        raise JobListError(msg)
    outputs = [job.output for job in jobs]
    for output in set(outputs):
        if outputs.count(output) > 1:
            msg = (
                f"two jobs in '{source}' write to '{output}': give each its own output, such as "
                "{image}_{dem}.tif"
            )
            raise JobListError(msg)
    return jobs


def _jobs_of_entry(entry: Mapping[str, Any], folder: Path, where: str) -> Iterator[Job]:
    """Make one job, or one for each tile."""
    for name in ("image", "output"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            msg = f"{where} has no {name!r}: give it a path"
            raise JobListError(msg)
    options = dict(entry)
    tiles = _listed(options.pop("tiles", []), where)
    for dem in [[tile] for tile in tiles] or [_listed(options.pop("dem", []), where)]:
        name = entry["output"].replace("{image}", _stem(entry["image"]))
        name = name.replace("{dem}", _stem(dem[0]) if dem else "")
        given = options | {"output": name} | ({"dem": dem} if dem else {})
        try:
            settings, result, running = configurations(
                (ReconstructConfig, ResultOutput, Running), given, folder
            )
        except ValueError as error:
            msg = f"{where}: {error}"
            raise JobListError(msg) from error
        yield Job(settings=settings, result=result, running=running)


def _listed(value: Any, where: str) -> list[str]:  # noqa: ANN401
    """Return a path, or several, as a list."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) for each in values):
        msg = f"{where} has {value!r}, expected a path or a list of paths"
        raise JobListError(msg)
    return list(values)


def _stem(path: str) -> str:
    """Name of a file without folder and suffix."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return name.removesuffix(".zip").removesuffix(".SAFE").rsplit(".", 1)[0] or name


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
