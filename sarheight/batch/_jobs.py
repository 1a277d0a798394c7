"""Lists of jobs, and the manifest of what is complete.

A line is written in one piece and flushed to the disk before work goes on. A kill in the middle
leaves at most one torn line at the end, which is not counted.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from sarheight.errors import JobListError, ManifestError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

PATHS = ("image", "dem", "like", "orbit", "output", "quicklook", "tiles")
"""Options that hold paths; relative ones count from the folder of the list."""
WORDS = ("auto",)
"""What stands in the place of a path without being one."""
SEPARATOR = ";"
"""Between several values in a field of a CSV file."""


@dataclass(frozen=True)
class Job:
    """One reconstruction: options of ``sarheight reconstruct`` by name, and the image.

    Attributes
    ----------
    image : str
        Path or URL of the image.
    output : pathlib.Path
        Where the result goes; no two jobs have the same.
    options : dict
        The other options, without dashes in front: texts, numbers, booleans or lists of them.
    """

    image: str
    output: Path
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the job is called in messages."""
        return self.output.name

    def inputs(self) -> list[Path]:
        """List the files on this machine that the job reads."""
        values = [self.image]
        for name in PATHS:
            found = self.options.get(name, ())
            values += [found] if isinstance(found, str) else list(found)
        return [Path(value) for value in values if _is_path(value) and Path(value).exists()]

    def parameters(self) -> dict[str, Any]:
        """Return all that the result depends on: options, and size and time of each input."""
        stamps = {}
        for path in self.inputs():
            found = path.stat()
            stamps[str(path)] = [found.st_size, found.st_mtime_ns]
        return {"image": self.image, "options": dict(self.options), "inputs": stamps}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the parameters."""
        text = json.dumps(self.parameters(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def read_jobs(path: str | os.PathLike[str], settings: Mapping[str, Any] | None = None) -> list[Job]:
    """Read a list of jobs.

    Parameters
    ----------
    path : path-like
        ``.toml``: a table ``[defaults]`` and tables ``[[job]]``. ``.json``: an object with
        ``defaults`` and ``jobs``, or a list of jobs. ``.csv``: one job a line, options in the head;
        several values in a field are separated by semicolons. A job is made of the options of
        ``sarheight reconstruct``, without dashes in front, and of ``image`` and ``output``.
        ``tiles``, a list of elevation models, makes a job of each of them; ``{image}`` and
        ``{dem}`` in the name of the output stand for the names of both without suffix.
    settings : mapping, optional
        Options for all jobs that do not say otherwise.

    Returns
    -------
    list of Job
        In the order of the list.

    Raises
    ------
    JobListError
        If the file cannot be read, a job has no image or output, or two write to one place.
    """
    path = Path(path)
    readers = {".toml": _read_toml, ".json": _read_json, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        msg = f"found '{path}', expected a list of jobs in {', '.join(readers)}"
        raise JobListError(msg)
    try:
        defaults, entries = reader(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"could not read the jobs in '{path}': {' '.join(str(error).split())}"
        raise JobListError(msg) from error
    whole = {**(settings or {}), **defaults}
    found = [
        job
        for number, entry in enumerate(entries, 1)
        for job in _jobs({**whole, **entry}, path.parent, f"job {number} of '{path}'")
    ]
    return _distinct(found, f"'{path}'")


def jobs_of_files(
    images: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    suffix: str,
    settings: Mapping[str, Any],
) -> list[Job]:
    """Make a job of each of several images.

    Parameters
    ----------
    images : sequence of path-like
        The images.
    folder : path-like
        Where the results go, named like the images, and with ``tiles`` like both.
    suffix : str
        Format of the results, such as ``.tif``.
    settings : mapping
        Options for all of them.

    Returns
    -------
    list of Job
        In the order of the images.

    Raises
    ------
    JobListError
        If two write to one place.
    """
    name = "{image}_{dem}" if "tiles" in settings else "{image}"
    entry = {**settings, "output": os.fspath(Path(folder) / f"{name}{suffix}")}
    found = [
        job
        for image in images
        for job in _jobs({**entry, "image": os.fspath(image)}, Path(), f"'{image}'")
    ]
    return _distinct(found, "what was asked for")


def _read_toml(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    table = tomllib.loads(text)
    return _parts(table, "job")


def _read_json(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = json.loads(text)
    return _parts({"jobs": found} if isinstance(found, list) else found, "jobs")


def _parts(table: Any, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # noqa: ANN401
    """Take defaults and jobs out of a table, which must hold nothing else."""
    strange = set(table) - {"defaults", name} if isinstance(table, dict) else {type(table).__name__}
    if strange:
        msg = f"found {', '.join(sorted(strange))}, expected 'defaults' and '{name}' only"
        raise ValueError(msg)
    defaults, entries = table.get("defaults", {}), table.get(name, [])
    if not isinstance(defaults, dict) or not all(isinstance(entry, dict) for entry in entries):
        msg = f"expected tables in 'defaults' and '{name}'"
        raise ValueError(msg)
    return defaults, entries


def _read_csv(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = list(csv.DictReader(text.splitlines(), strict=True))
    entries = []
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            msg = f"line {number} has not as many fields as the head"
            raise ValueError(msg)
        entries.append({name.strip(): _value(name.strip(), row[name]) for name in row if row[name]})
    return {}, entries


def _value(name: str, text: str) -> Any:  # noqa: ANN401
    parts = [part.strip() for part in text.split(SEPARATOR) if part.strip()]
    if name in ("dem", "tiles") or len(parts) > 1:
        return parts
    words = {"true": True, "false": False}
    return words.get(parts[0].lower(), parts[0]) if parts else ""


def _is_path(value: object) -> bool:
    return isinstance(value, str) and "://" not in value and value not in WORDS


def _absolute(value: Any, folder: Path) -> Any:  # noqa: ANN401
    """Let relative paths count from a folder."""
    if isinstance(value, list | tuple):
        return [_absolute(each, folder) for each in value]
    if _is_path(value):
        return os.path.abspath(folder / value)  # noqa: PTH100 - links stay as they are
    return value


def _jobs(entry: Mapping[str, Any], folder: Path, where: str) -> list[Job]:
    """Make one job, or one for each tile."""
    for name in ("image", "output"):
        if not isinstance(entry.get(name), str) or not entry[name]:
            msg = f"{where} has no {name!r}: give it a path"
            raise JobListError(msg)
    options = {
        name: _absolute(value, folder) if name in PATHS else value for name, value in entry.items()
    }
    image, output = options.pop("image"), options.pop("output")
    tiles = options.pop("tiles", None)
    if tiles is None:
        dems = [options.get("dem")]
    else:
        dems = [[tile] for tile in ([tiles] if isinstance(tiles, str) else tiles)]
    jobs = []
    for dem in dems:
        chosen = {**options, **({} if dem is None else {"dem": dem})}
        first = dem if isinstance(dem, str) else (dem or [""])[0]
        name = output.replace("{image}", _stem(image)).replace("{dem}", _stem(first))
        jobs.append(Job(image, Path(name), chosen))
    return jobs


def _stem(path: str) -> str:
    """Name of a file without folder and suffix."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    return name.removesuffix(".zip").removesuffix(".SAFE").rsplit(".", 1)[0] or name


def _distinct(jobs: list[Job], where: str) -> list[Job]:
    """Refuse an empty list, and one in which two jobs write to one place."""
    if not jobs:
        msg = f"found no job in {where}"
        raise JobListError(msg)
    seen: set[Path] = set()
    for job in jobs:
        if job.output in seen:
            msg = (
                f"two jobs in {where} write to '{job.output}': give each its own output, such as "
                "{image}_{dem}.tif"
            )
            raise JobListError(msg)
        seen.add(job.output)
    return jobs


# What is complete: one JSON object a line, kept through power cuts and kills.

Status = Literal["started", "done", "failed"]


@dataclass(frozen=True)
class Entry:
    """One line of a manifest.

    Attributes
    ----------
    status : {"started", "done", "failed"}
        What became of the job.
    output : str
        Where its result goes.
    fingerprint : str
        SHA-256 of its parameters.
    parameters : dict
        What the result depends on.
    sha256 : str
        Checksum of the result.
    bytes : int
        Size of the result.
    seconds : float
        How long it took.
    cells : int
        Cells of the elevation model; 0 where that is not known beforehand.
    error : str
        What went wrong.
    time : str
        When the line was written (UTC).
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
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    total, size = hashlib.sha256(), 0
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{digest}  {file.relative_to(path).as_posix()}\n".encode())
        size += file.stat().st_size
    return total.hexdigest(), size


class Manifest:
    """The manifest of a batch, open for one process at a time.

    Parameters
    ----------
    path : path-like
        The file; made if it is not there.

    Raises
    ------
    ManifestError
        If it is no manifest, cannot be written, or another process works with it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.entries: dict[str, Entry] = {}
        self._begun: set[str] = set()
        try:
            self._file: IO[bytes] = self.path.open("ab+")
            _lock(self._file)
        except BlockingIOError as error:
            self._file.close()
            msg = f"another batch works with '{self.path}': wait for it, or use another manifest"
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
        # What stands behind the last line break was torn off while it was written.
        for number, line in enumerate(lines[:-1], 1):
            if line.strip():
                entry = _entry(line)
                if entry is None:
                    msg = f"line {number} of '{self.path}' is none of a manifest"
                    raise ManifestError(msg)
                self._know(entry)
        if lines[-1]:
            self._file.truncate(sum(len(line) + 1 for line in lines[:-1]))

    def add(self, entry: Entry) -> None:
        """Write a line, and bring it to the disk."""
        text = json.dumps(asdict(entry), sort_keys=True, default=str)
        self._file.write(text.encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._know(entry)

    def _know(self, entry: Entry) -> None:
        self.entries[entry.output] = entry
        if entry.status == "started":
            self._begun.add(entry.output)

    def is_complete(self, job: Job) -> bool:
        """Tell whether a job's result is there, made by the same parameters, and undamaged."""
        entry = self.entries.get(str(job.output))
        return (
            entry is not None
            and entry.status == "done"
            and entry.fingerprint == job.fingerprint()
            and job.output.exists()
            and checksum(job.output)[0] == entry.sha256
        )

    def may_replace(self, job: Job) -> bool:
        """Tell whether what stands in the place of a job's result is known to be one of ours."""
        return str(job.output) in self._begun

    def clear(self, job: Job) -> None:
        """Remove what a killed job has left beside the place of its result."""
        if not self.may_replace(job) or not job.output.parent.is_dir():
            return
        for left in job.output.parent.glob(f".{job.output.name}.*.partial"):
            with suppress(OSError):
                shutil.rmtree(left)


def _entry(line: bytes) -> Entry | None:
    """Read a line; None if it is none of a manifest."""
    try:
        values = json.loads(line)
        known = {each.name for each in fields(Entry)}
        if not isinstance(values, dict) or not set(values) <= known:
            return None
        entry = Entry(**values)
    except (TypeError, ValueError):
        return None
    return entry if entry.status in get_args(Status) else None


def _lock(file: IO[bytes]) -> None:
    """Lock a file until it is closed, by death at the latest; where the system can do that."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
