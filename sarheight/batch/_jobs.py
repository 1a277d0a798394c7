"""Lists of jobs, and the manifest of completed jobs.

A line of the manifest is written at once and flushed to the disk before the work goes on. A
process that is killed while it writes leaves at most one incomplete last line, which is ignored.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from sarheight._files import file_errors, parse_toml, read_text
from sarheight.errors import JobListError, ManifestError
from sarheight.output.atomic import recover
from sarheight.workflow.config import ReconstructConfig, ReconstructionOutput, Running
from sarheight.workflow.options import configurations, to_toml

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

KINDS = (ReconstructConfig, ReconstructionOutput, Running)
SEPARATOR = ";"
"""Between several values in a field of a CSV file."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One reconstruction, with the options of ``sarheight reconstruct``.

    Attributes
    ----------
    settings : ReconstructConfig
        All that the values of the result depend on.
    result : ReconstructionOutput
        Output, picture and STAC item; no two jobs have the same output.
    running : Running
        Threads and messages.
    """

    settings: ReconstructConfig
    result: ReconstructionOutput
    running: Running = field(default=Running())

    @property
    def output(self) -> Path:
        """Path of the result."""
        return self.result.output

    @property
    def name(self) -> str:
        """Name of the job in messages."""
        return self.output.name

    def configuration(self, *, overwrite: bool, threads: int | None = None) -> str:
        """Return the job as text for ``sarheight reconstruct --config``."""
        running = replace(self.running, quiet=True, threads=self.running.threads or threads)
        result = replace(self.result, overwrite=overwrite or self.result.overwrite)
        values = self.settings.to_dict() | result.to_dict() | running.to_dict()
        return to_toml("reconstruct", values)

    def parameters(self) -> dict[str, Any]:
        """Return all that the result depends on: options, and size and time of each input."""
        stamps = {}
        for path in self.settings.files().values():
            if path.exists():
                status = path.stat()
                stamps[str(path)] = [status.st_size, status.st_mtime_ns]
        result = replace(self.result, overwrite=False)
        return {"options": self.settings.to_dict() | result.to_dict(), "inputs": stamps}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the parameters."""
        text = json.dumps(self.parameters(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


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
    readers = {".toml": _read_toml, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        msg = f"found '{path}', expected a list of jobs in {', '.join(readers)}"
        raise JobListError(msg)
    if not path.exists():
        msg = f"could not read the jobs in '{path}': there is no such file"
        raise JobListError(msg)
    with file_errors(path, "a list of jobs", JobListError):
        common, entries = reader(read_text(path, "a list of jobs", JobListError), str(path))
        whole = {**(defaults or {}), **common}
        jobs = [
            job
            for number, entry in enumerate(entries, 1)
            for job in _jobs_of_entry({**whole, **entry}, path.parent, f"job {number} of '{path}'")
        ]
    return _require_distinct(jobs, f"'{path}'")


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
    entry = {**options, "output": os.fspath(Path(folder) / f"{name}{suffix}")}
    jobs = [
        job
        for image in images
        for job in _jobs_of_entry({**entry, "image": os.fspath(image)}, Path(), f"'{image}'")
    ]
    return _require_distinct(jobs, "the images")


def _read_toml(text: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    return _defaults_and_jobs(parse_toml(text, name, JobListError), "job")


def _read_json(text: str, _name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = json.loads(text)
    return _defaults_and_jobs({"jobs": content} if isinstance(content, list) else content, "jobs")


def _defaults_and_jobs(
    table: Any,  # noqa: ANN401
    name: str,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
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


def _read_csv(text: str, _name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    entries = []
    for number, row in enumerate(csv.DictReader(text.splitlines(), strict=True), 2):
        if None in row or None in row.values():
            msg = f"line {number} has not as many fields as the head"
            raise ValueError(msg)
        entries.append({name.strip(): _csv_value(text) for name, text in row.items() if text})
    return {}, entries


def _csv_value(text: str) -> str | list[str]:
    values = [value.strip() for value in text.split(SEPARATOR) if value.strip()]
    return values if len(values) != 1 else values[0]


def _jobs_of_entry(entry: Mapping[str, Any], folder: Path, where: str) -> list[Job]:
    """Make one job, or one for each tile."""
    for name in ("image", "output"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            msg = f"{where} has no {name!r}: give it a path"
            raise JobListError(msg)
    options = dict(entry)
    tiles = options.pop("tiles", None)
    dems = [options.pop("dem", [])] if tiles is None else [[tile] for tile in _listed(tiles)]
    jobs = []
    for dem in dems:
        first = next(iter(_listed(dem)), "")
        if not isinstance(first, str):
            msg = f"{where} has dem={dem!r}, expected paths"
            raise JobListError(msg)
        name = entry["output"].replace("{image}", _stem(entry["image"]))
        options |= {"output": name.replace("{dem}", _stem(first))} | ({"dem": dem} if dem else {})
        try:
            settings, result, running = configurations(KINDS, options, folder)
            jobs.append(Job(settings=settings, result=result, running=running))
        except ValueError as error:
            msg = f"{where}: {error}"
            raise JobListError(msg) from error
    return jobs


def _listed(value: Any) -> list[Any]:  # noqa: ANN401
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list | tuple):
        msg = f"found {value!r}, expected a path or a list of paths"
        raise JobListError(msg)
    return list(value)


def _stem(path: str) -> str:
    """Name of a file without folder and suffix."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return name.removesuffix(".zip").removesuffix(".SAFE").rsplit(".", 1)[0] or name


def _require_distinct(jobs: list[Job], where: str) -> list[Job]:
    """Refuse an empty list, and two jobs with the same output."""
    if not jobs:
        msg = f"found no job in {where}"
        raise JobListError(msg)
    outputs: set[Path] = set()
    for job in jobs:
        if job.output in outputs:
            msg = (
                f"two jobs in {where} write to '{job.output}': give each its own output, such as "
                "{image}_{dem}.tif"
            )
            raise JobListError(msg)
        outputs.add(job.output)
    return jobs


# The manifest: one JSON object a line. It survives power cuts and kills.

Status = Literal["started", "done", "failed"]


@dataclass(frozen=True)
class Entry:
    """One line of a manifest.

    Attributes
    ----------
    status : {"started", "done", "failed"}
        State of the job.
    output : str
        Path of its result.
    fingerprint : str
        SHA-256 of its parameters.
    parameters : dict
        All that the result depends on.
    sha256 : str
        Checksum of the result.
    bytes : int
        Size of the result.
    seconds : float
        Duration.
    cells : int
        Cells of the elevation model; 0 if not known beforehand.
    error : str
        Message of the failure.
    time : str
        Time of the line (UTC).
    """

    status: Status
    output: str
    fingerprint: str
    parameters: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    bytes: int = 0
    seconds: float = 0.0
    cells: int = 0
    error: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def checksum(path: Path) -> tuple[str, int]:
    """Return SHA-256 and size in bytes of a file, or of all files of a folder."""
    from sarheight.output import provenance

    identity = provenance({"result": path})["inputs"]["result"]
    return identity["sha256"], identity["bytes"]


class Manifest:
    """The manifest of a batch, open for one process at a time.

    Parameters
    ----------
    path : path-like
        The file; created if missing.

    Raises
    ------
    ManifestError
        If it is no manifest, cannot be written, or is in use by another process.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.entries: dict[str, Entry] = {}
        self._started: set[str] = set()
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
        lines = self._file.read().split(b"\n")
        # Text behind the last line break is a line that was not completed.
        for number, line in enumerate(lines[:-1], 1):
            if line.strip():
                entry = _entry(line)
                if entry is None:
                    msg = f"line {number} of '{self.path}' is not a line of a manifest"
                    raise ManifestError(msg)
                self._register(entry)
        if lines[-1]:
            self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))

    def add(self, entry: Entry) -> None:
        """Write a line, and flush it to the disk."""
        text = json.dumps(asdict(entry), sort_keys=True, default=str)
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._register(entry)

    def _register(self, entry: Entry) -> None:
        self.entries[entry.output] = entry
        if entry.status == "started":
            self._started.add(entry.output)

    def is_complete(self, job: Job) -> bool:
        """Tell whether a job's result exists, has the same parameters, and is undamaged."""
        entry = self.entries.get(str(job.output))
        return (
            entry is not None
            and entry.status == "done"
            and entry.fingerprint == job.fingerprint()
            and job.output.exists()
            and checksum(job.output)[0] == entry.sha256
        )

    def may_replace(self, job: Job) -> bool:
        """Tell whether an existing file at a job's output is a result of this batch."""
        return str(job.output) in self._started

    def clear(self, job: Job) -> None:
        """Remove partial outputs of a killed job."""
        if not self.may_replace(job) or not job.output.parent.is_dir():
            return
        recover(job.output)
        for partial in job.output.parent.glob(f".{job.output.name}.*.partial"):
            with suppress(OSError):
                shutil.rmtree(partial)


def _entry(line: bytes) -> Entry | None:
    """Read a line; None if it is not a line of a manifest."""
    try:
        values = json.loads(line)
        known = {each.name for each in fields(Entry)}
        if not isinstance(values, dict) or not set(values) <= known:
            return None
        entry = Entry(**values)
    except (TypeError, ValueError, RecursionError):
        return None
    return entry if entry.status in get_args(Status) else None


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed or the process ends, on systems with `fcntl`."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
