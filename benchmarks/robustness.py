"""Mutants of every kind of file, and what becomes of them.

Each file that users pass, from annotations to weights, is mutated thousands of times: bytes,
numbers, elements, whole files of a folder. A reader has to return what it returns without the
mutation, within a tolerance, or to raise one line of `sarheight.errors` or an `OSError`, within
ten seconds and a gibibyte of memory.

What nothing protects is counted apart: in a plain TIFF, a table or a configuration, a changed
number is a number. What a checksum or a second source protects must never change silently.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._figures import record
from tests.robustness.contract import Outcome, outcomes
from tests.robustness.subjects import SUBJECTS

__all__ = ["main"]

KINDS = ("same", "refused", "unchecked", "silent", "uncaught", "hang")
SHOWN = 12


def main(arguments: list[str] | None = None) -> None:
    """Read mutants of all kinds of files, print what became of them, and record it if asked."""
    parser = argparse.ArgumentParser("python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--data", help="not needed")
    parser.add_argument("--mutants", type=int, default=1000, help="of each kind of file")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--only", nargs="*", default=[], help="kinds of files")
    parser.add_argument("--seconds", type=float, default=1e9, help="longest time for each kind")
    parser.add_argument("--save", action="store_true", help="put the counts on record")
    chosen = parser.parse_args(arguments)
    console = Console(width=160)
    table = Table("file", *KINDS, "s", title="mutants")
    total: Counter[str] = Counter()
    broken: list[Outcome] = []
    for subject in SUBJECTS:
        if chosen.only and subject.name not in chosen.only:
            continue
        begun, counts = time.monotonic(), Counter[str]()
        seeds = range(chosen.first, chosen.first + chosen.mutants)
        with tempfile.TemporaryDirectory() as folder:
            for outcome in outcomes(subject, seeds, Path(folder)):
                counts[outcome.kind] += 1
                if outcome.kind in KINDS[3:]:
                    broken.append(outcome)
                    console.print(str(outcome), markup=False)
                if time.monotonic() - begun > chosen.seconds:
                    break
        total += counts
        row = (str(counts[kind]) for kind in KINDS)
        table.add_row(subject.name, *row, f"{time.monotonic() - begun:.0f}")
        console.print(f"{subject.name}: {dict(counts)}", markup=False)
    console.print(table)
    seen: Counter[str] = Counter()
    for outcome in broken:
        seen[f"{outcome.subject} {outcome.kind}"] += 1
        if seen[f"{outcome.subject} {outcome.kind}"] <= SHOWN:
            console.print(
                f"{outcome.kind}: {outcome.subject}, seed {outcome.seed}, {outcome.mutation}: "
                f"{outcome.said}",
                markup=False,
            )
    figures = {
        "robustness.mutants": total.total(),
        "robustness.uncaught": total["uncaught"],
        "robustness.hangs": total["hang"],
        "robustness.silent": total["silent"],
        "robustness.unchecked": total["unchecked"],
    }
    for key, value in figures.items():
        console.print(f"{key} = {value}")
    if chosen.save:
        limits = f"--mutants {chosen.mutants} --first {chosen.first} --seconds {chosen.seconds:g}"
        command = f"python -m benchmarks.robustness {limits} --save"
        record({key: float(value) for key, value in figures.items()}, command)


if __name__ == "__main__":
    main()
