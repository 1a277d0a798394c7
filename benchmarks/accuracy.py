"""How exact is it? Geometry, energy, shifts of images; geocoding and areas of other programs.

`benchmarks._accuracy` says what each part compares.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks._accuracy import conformance, coregistration, geometry, sarsen
from benchmarks._figures import record
from benchmarks._mountains.scenes import sites

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["GOALS", "main"]

PARTS = ("geometry", "coregistration", "sarsen", "conformance")
WIDTH = 120
GOALS = {
    "core.geolocation_range_error": (0.05, "m"),
    "core.geolocation_azimuth_error": (1e-4, "s"),
    "core.round_trip_error": (1e-3, "m"),
    "core.energy_error": (1e-5, "1"),
}


def _geometry(console: Console, data: str | None) -> dict[str, Value]:
    values = geometry.measure(data)
    table = Table(title="geometry and energy: the worst that was found")
    for column in ("figure", "value", "goal", "unit"):
        table.add_column(column, justify="left" if column == "figure" else "right")
    for key, (goal, unit) in GOALS.items():
        colour = "green" if values[key] < goal else "red"
        table.add_row(key, f"[{colour}]{values[key]:.2g}[/]", f"< {goal:g}", unit)
    console.print(table)
    return {**values}


def _coregistration(console: Console, data: str | None) -> dict[str, Value]:
    places = sites(list(coregistration.NAMES), data)
    outcomes = {site.name: coregistration.measure(site) for site in places}
    console.print(coregistration.table(outcomes))
    return coregistration.figures(outcomes)


def _sarsen(console: Console, data: str | None) -> dict[str, Value]:
    with tempfile.TemporaryDirectory() as folder:
        found = sarsen.measure(Path(folder), data)
    console.print(sarsen.table(*found))
    return sarsen.figures(*found)


def _conformance(console: Console, data: str | None) -> dict[str, Value]:
    with tempfile.TemporaryDirectory() as folder:
        found = conformance.measure(Path(folder), data)
    console.print(conformance.table(found))
    return conformance.figures(found)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts of it")
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    console = Console()
    console.width = max(console.width, WIDTH)  # a table that is squeezed cannot be read
    jobs = dict(zip(PARTS, (_geometry, _coregistration, _sarsen, _conformance), strict=True))
    for part in chosen.only:
        with console.status(part):
            figures = jobs[part](console, chosen.data)
        if chosen.save:
            record(figures, f"python -m benchmarks.accuracy --only {part} --save")


if __name__ == "__main__":
    main()
