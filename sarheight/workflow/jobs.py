"""Lists of jobs: many reconstructions, in TOML, JSON or CSV, or one for each of several images."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sarheight._files import file_errors, parse_toml, read_text
from sarheight.errors import JobListError
from sarheight.workflow.config import ReconstructConfig, ResultOutput, Running
from sarheight.workflow.options import configurations, to_toml

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
