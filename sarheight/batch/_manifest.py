"""What is complete: one JSON object a line, kept through power cuts and kills.

A line is written in one piece and flushed to the disk before work goes on. A kill in the middle
leaves at most one torn line at the end, which is not counted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

from sarheight.errors import ManifestError

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from sarheight.batch._jobs import Job

__all__ = ["Entry", "Manifest", "checksum"]

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
