"""Mutants of every kind of file and of the inputs of every command, and what becomes of them.

Each file that users pass, from annotations to weights, is mutated thousands of times: bytes,
numbers, elements, whole files of a folder. A reader has to return what it returns without the
mutation, within a tolerance, or to raise one line of `sarheight.errors` or an `OSError`, within
ten seconds and a gibibyte of memory.

What nothing protects is counted apart: in a plain TIFF, a table or a configuration, a changed
number is a number. What a checksum or a second source protects must never change silently.

Whole commands run on mutants of each of their inputs and of their options, too: pipes, links,
sparse files, elevation models on the Moon among them. They end with one line, within forty
seconds, and leave nothing half-written.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks._command import options, tell
from tests.robustness.commands import COMMANDS
from tests.robustness.contract import Subject, outcomes
from tests.robustness.subjects import SUBJECTS

__all__ = ["main"]

KINDS = ("same", "refused", "unchecked", "silent", "uncaught", "hang")
BROKEN = KINDS[3:]
SHOWN = 12
UNLIMITED = 1e9


@dataclass
class Counts:
    """What became of the mutants of one kind of file, or of one input of a command."""

    name: str
    first: int
    kinds: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def mutants(self) -> int:
        """How many were read, of seeds that follow one another."""
        return sum(self.kinds.values())


def read_mutants(subject: Subject, done: Counts, mutants: int, longest: float) -> Counts:
    """Read those mutants of a subject that are not done yet, for so many seconds at most."""
    kinds, broken = Counter(done.kinds), list(done.broken)
    seeds = range(done.first + done.mutants, done.first + mutants)
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for outcome in outcomes(subject, seeds, Path(folder)):
            if not kinds:
                begun = time.monotonic()  # the file is made, and libraries are loaded
            kinds[outcome.kind] += 1
            if outcome.kind in BROKEN:
                broken.append(
                    f"{outcome.kind}: {outcome.subject}, seed {outcome.seed}, "
                    f"{outcome.mutation}: {outcome.said}"
                )
            if time.monotonic() - begun > longest:
                break
    seconds = done.seconds + time.monotonic() - begun
    return Counts(subject.name, done.first, dict(kinds), seconds, broken)


def kept_counts(path: Path | None) -> dict[tuple[str, int], Counts]:
    """Return the counts of an earlier run, by name and first seed."""
    if path is None or not path.exists():
        return {}
    found = [Counts(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    return {(each.name, each.first): each for each in found}


def main(arguments: list[str] | None = None) -> None:
    """Read mutants of all kinds of files, print what became of them, and record it if asked."""
    parser = options("robustness", __doc__)
    parser.add_argument("--mutants", type=int, default=1000, help="of each kind of file")
    parser.add_argument("--commands", type=int, default=100, help="of each input of each command")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument(
        "--seconds", type=float, default=UNLIMITED, help="longest time for each kind"
    )
    parser.add_argument("--keep", type=Path, help="file of counts, to resume an interrupted run")
    chosen = parser.parse_args(arguments)
    console, kept = Console(width=160), kept_counts(chosen.keep)
    table = Table("file, or command and its input", *KINDS, "s", title="mutants")
    totals = {"readers": Counter[str](), "commands": Counter[str]()}
    broken: list[str] = []
    for kind, subjects, mutants in (
        ("readers", SUBJECTS, chosen.mutants),
        ("commands", COMMANDS, chosen.commands),
    ):
        for subject in subjects:
            if chosen.only and not any(part in subject.name for part in chosen.only):
                continue
            found = kept.get((subject.name, chosen.first), Counts(subject.name, chosen.first))
            if found.mutants < mutants:
                found = read_mutants(subject, found, mutants, chosen.seconds)
                if chosen.keep is not None:
                    with chosen.keep.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(asdict(found)) + "\n")
            totals[kind].update(found.kinds)
            broken += found.broken[:SHOWN]
            numbers = (str(found.kinds.get(each, 0)) for each in KINDS)
            table.add_row(subject.name, *numbers, f"{found.seconds:.0f}")
            console.print(f"{subject.name}: {found.kinds}", markup=False)
    console.print(table)
    for each in broken:
        console.print(each, markup=False)
    total = totals["readers"] + totals["commands"]
    figures = {
        "robustness.mutants": total.total(),
        "robustness.commands": totals["commands"].total(),
        "robustness.uncaught": total["uncaught"],
        "robustness.hangs": total["hang"],
        "robustness.silent": total["silent"],
        "robustness.unchecked": total["unchecked"],
    }
    limits = f"--mutants {chosen.mutants} --commands {chosen.commands} --first {chosen.first}"
    if chosen.seconds < UNLIMITED:
        limits += f" --seconds {chosen.seconds:g}"
    tell(figures, f"robustness {limits}", save=chosen.save)


if __name__ == "__main__":
    main()
