"""The record of what the benchmarks find: one flat JSON file, a figure to each key.

A rerun replaces its own figures and leaves the others as they are. A figure that misses its goal
stays in the file as it is. What single long trainings found is kept beside it, so that others can
be added on another machine.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias

__all__ = [
    "FIGURES",
    "RESULTS",
    "Value",
    "commit",
    "keep_runs",
    "kept_runs",
    "machine",
    "mean_and_spread",
    "read",
    "record",
]

RESULTS = Path(__file__).parent / "results"
FIGURES = RESULTS / "figures.json"
RUNS = RESULTS / "runs"
KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")

Value: TypeAlias = float | tuple[float, float | None]
"""A figure, or a figure with its spread."""


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the standard deviation of several values; None for a single one."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def machine() -> str:
    """Name the processor and how many of its cores there are."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    cores = os.cpu_count() or 1
    return (
        f"{name[1].strip() if name else platform.processor() or platform.machine()}, {cores} cores"
    )


def commit() -> str:
    """Name the commit that is checked out; "-dirty" where files outside the results differ."""

    def git(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parents[1],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", ".", ":(exclude)benchmarks/results")
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


LOADED = commit()
"""The commit when the code was loaded: files may change while a benchmark runs."""


def read(path: Path = FIGURES) -> dict[str, dict[str, Any]]:
    """Read the record; an empty one where there is no file.

    Raises
    ------
    ValueError
        If the file is not a JSON object.
    """
    if not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        msg = f"found {type(found).__name__} in {path}, expected an object of figures by key"
        raise ValueError(msg)  # noqa: TRY004 - it is the file that is wrong
    return found


def record(values: Mapping[str, Value], command: str, path: Path = FIGURES) -> None:
    """Put figures on record, in place of earlier ones of the same keys.

    Parameters
    ----------
    values : mapping
        Key, such as ``core.round_trip_error``, to a finite number or to (number, spread).
    command : str
        The command that makes them.
    path : Path
        The file. It is replaced as a whole or not at all.

    Raises
    ------
    ValueError
        If a key is not one, or a value is not finite.
    """
    stamp = {"command": command, **_stamp()}
    figures = read(path)
    for key, each in values.items():
        value, spread = each if isinstance(each, tuple) else (each, None)
        if not KEY.fullmatch(key):
            msg = f"found the key {key!r}, expected lower-case words joined by dots"
            raise ValueError(msg)
        if not math.isfinite(value) or not math.isfinite(spread or 0.0):
            msg = f"found {value!r} with a spread of {spread!r} for {key}, expected finite numbers"
            raise ValueError(msg)
        figures[key] = {
            "value": float(value),
            "spread": None if spread is None else float(spread),
            **stamp,
        }
    _write(path, json.dumps(figures, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def kept_runs(group: str, folder: Path = RUNS) -> dict[str, dict[str, Any]]:
    """Read what trainings of a group found, by name: numbers, and where they were made.

    Remove the file where a change to the code makes its trainings those of another network.
    """
    return read(folder / f"{group}.json")


def keep_runs(group: str, found: Mapping[str, Mapping[str, Any]], folder: Path = RUNS) -> None:
    """Keep what trainings found; those that are kept unchanged stay as they are.

    Parameters
    ----------
    group : str
        Name of the file.
    found : mapping
        By the name of a training, what JSON can hold.
    folder : Path
        Where the files lie.
    """
    kept = kept_runs(group, folder)
    for name, each in found.items():
        if any(kept.get(name, {}).get(key) != value for key, value in each.items()):
            kept[name] = {**each, **_stamp()}
    lines = [f"{json.dumps(name)}: {json.dumps(kept[name])}" for name in sorted(kept)]
    _write(folder / f"{group}.json", "{\n" + ",\n".join(lines) + "\n}\n")


def _stamp() -> dict[str, str]:
    return {
        "commit": LOADED,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
