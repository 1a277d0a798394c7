"""The record of what the benchmarks find: one JSON file of figures by key, grouped by run.

A rerun replaces its own figures and leaves the others as they are. A figure that misses its goal
stays in the file as it is; one that no page quotes goes with ``python -m benchmarks --prune``. What
single long trainings found is kept beside it, so that others can be added on another machine.

Pages of the documentation quote a figure by a role, which ``docs/_extensions/figures.py`` fills in
by :func:`show`; README, which GitHub shows as it is, by a comment behind the number.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, TypeAlias, TypedDict

from benchmarks._files import whole

__all__ = [
    "FIGURES",
    "RESULTS",
    "Figure",
    "Value",
    "commit",
    "keep_runs",
    "kept_runs",
    "machine",
    "mean_and_spread",
    "prune",
    "quoted",
    "read",
    "record",
    "show",
]

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
FIGURES = RESULTS / "figures.json"
RUNS = RESULTS / "runs"
KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
STAMP = ("command", "commit", "machine", "date")
UNITS = {"%": 100.0, "cm": 1e2, "mm": 1e3, "µm": 1e6, "ms": 1e3, "µs": 1e6, "ns": 1e9}
"""By what a figure in SI units, or a share, is multiplied before it is shown; 1 for other units."""
ROLE = re.compile(r"\{figure\}`([^`]*)`")
COMMENT = re.compile(r"<!--\s*figure:\s*([\w.]+)\s*-->")
QUOTE = re.compile(r"(?P<key>[\w.]+) (?P<format>\+?\.\d[fe])(?P<spread> ±)?(?: (?P<unit>[^\s`]+))?")

Value: TypeAlias = float | tuple[float, float | None]
"""A figure, or a figure with its spread."""


class Figure(TypedDict):
    """A figure on record, and the run that found it."""

    value: float
    spread: float | None
    command: str
    commit: str
    machine: str
    date: str


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
            cwd=ROOT,
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


def read(path: Path = FIGURES) -> dict[str, Figure]:
    """Read the record, by key; an empty one where there is no file.

    Raises
    ------
    ValueError
        If the file is not a list of runs, or two of them have a figure of one key.
    """
    figures: dict[str, Figure] = {}
    if not path.exists():
        return figures
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or not isinstance(found.get("runs"), list):
        msg = f"found no list of runs in {path}, expected {{'runs': [...]}}"
        raise ValueError(msg)  # noqa: TRY004 - it is the file that is wrong
    for run in found["runs"]:
        stamp = {name: run[name] for name in STAMP}
        for key, figure in run["figures"].items():
            if key in figures:
                msg = f"found {key} in two runs of {path}, expected it in one"
                raise ValueError(msg)
            figures[key] = {**figure, **stamp}
    return figures


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
    stamp = _stamp()
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
            "command": command,
            "commit": stamp["commit"],
            "machine": stamp["machine"],
            "date": stamp["date"],
        }
    _write_runs(figures, path)


def quoted(root: Path = ROOT) -> set[str]:
    """Find the keys of all figures that README and the pages of the documentation quote."""
    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    keys: set[str] = set()
    for page in pages:
        if "_build" not in page.parts:
            text = page.read_text(encoding="utf-8")
            keys.update(each.partition(" ")[0] for each in ROLE.findall(text))
            keys.update(COMMENT.findall(text))
    return keys


def prune(keys: Iterable[str] | None = None, path: Path = FIGURES) -> list[str]:
    """Remove the figures that no page quotes.

    Parameters
    ----------
    keys : iterable of str, optional
        What stays; by default what :func:`quoted` finds.
    path : Path
        The file.

    Returns
    -------
    list of str
        The keys that were removed.
    """
    figures = read(path)
    removed = sorted(set(figures) - set(quoted() if keys is None else keys))
    for key in removed:
        del figures[key]
    _write_runs(figures, path)
    return removed


def show(quote: str, figures: Mapping[str, Figure]) -> str:
    """Write a figure as a page asks for it.

    Parameters
    ----------
    quote : str
        The text of a role: the key, the format of Python, "±" where the spread follows, and the
        unit; such as ``core.round_trip_error .0f µm`` or ``core.a .1f ± %``.
    figures : mapping
        The record.

    Returns
    -------
    str
        Such as "36 µm" or "8.4 ± 0.1 %".

    Raises
    ------
    ValueError
        If the text is not a key with a format, or the key or its spread is not on record.
    """
    parts = QUOTE.fullmatch(quote)
    if parts is None:
        msg = f"found the figure {quote!r}, expected a key and a format such as 'core.a .1f ± %'"
        raise ValueError(msg)
    if parts["key"] not in figures:
        msg = f"{parts['key']} is not in {FIGURES.name}; record it, or correct the key"
        raise ValueError(msg)
    figure = figures[parts["key"]]
    factor = UNITS.get(parts["unit"] or "", 1.0)
    shown = _digits(figure["value"] * factor, parts["format"])
    if parts["spread"]:
        spread = figure["spread"]
        if spread is None:
            msg = f"{parts['key']} has no spread on record; leave ± out"
            raise ValueError(msg)
        shown += f" ± {_digits(spread * factor, parts['format'].removeprefix('+'))}"
    return f"{shown} {parts['unit']}" if parts["unit"] else shown


def _digits(number: float, form: str) -> str:
    """Write a number, with the sign of mathematics before it."""
    mantissa, e, exponent = format(number, form).partition("e")
    sign = "−" if float(mantissa) else ""  # what is rounded to zero has no sign
    return mantissa.replace("-", sign) + e + exponent


def kept_runs(group: str, folder: Path = RUNS) -> dict[str, dict[str, Any]]:
    """Read what trainings of a group found, by name: numbers, and where they were made.

    Remove the file where a change to the code makes its trainings those of another network.
    """
    path = folder / f"{group}.json"
    found: dict[str, dict[str, Any]] = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    )
    return found


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
    with whole(folder / f"{group}.json") as part:
        part.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _stamp() -> dict[str, str]:
    return {
        "commit": LOADED,
        "machine": machine(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def _write_runs(figures: Mapping[str, Figure], path: Path) -> None:
    """Group figures by their run, and write a line for each."""
    runs: dict[tuple[str, ...], dict[str, Any]] = {}
    for key in sorted(figures):
        figure = figures[key]
        stamp = (figure["command"], figure["commit"], figure["machine"], figure["date"])
        runs.setdefault(stamp, {})[key] = {"value": figure["value"], "spread": figure["spread"]}
    written = []
    for stamp in sorted(runs):
        head = json.dumps(dict(zip(STAMP, stamp, strict=True)), ensure_ascii=False)
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in runs[stamp].items()]
        written.append(head[:-1] + ', "figures": {\n' + ",\n".join(lines) + "\n}}")
    with whole(path) as part:
        part.write_text('{"runs": [\n' + ",\n".join(written) + "\n]}\n", encoding="utf-8")
