"""What the commands of all benchmarks have in common: options, a table of figures, the record."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, record

__all__ = ["WIDTH", "options", "tell"]

WIDTH = 120
"""Columns of a table at least: one that is squeezed cannot be read."""


def options(name: str, description: str | None) -> argparse.ArgumentParser:
    """Begin the options of a benchmark with those that all of them take."""
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--data", help="folder with the real data, where any is needed")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    return parser


def tell(
    figures: Mapping[str, Value],
    command: str,
    *,
    save: bool,
    goals: Mapping[str, str] | None = None,
) -> None:
    """Print figures, and put them on record if asked.

    Parameters
    ----------
    figures : mapping
        By key, as :func:`benchmarks._figures.record` takes them: in SI units, shares as fractions.
    command : str
        What makes them, after ``python -m benchmarks.``.
    save : bool
        Whether they go on record.
    goals : mapping, optional
        Goals by key, such as "< 3.73 m".
    """
    table = Table(title=f"python -m benchmarks.{command}")
    for title in ("figure", "value", "spread", *(["goal"] if goals else [])):
        table.add_column(title, justify="left" if title == "figure" else "right")
    for key, each in figures.items():
        value, spread = each if isinstance(each, tuple) else (each, None)
        number = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
        row = [key, number, "" if spread is None else f"{spread:.2g}"]
        table.add_row(*row, *([goals.get(key, "")] if goals else []))
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)
    if save:
        record(figures, f"python -m benchmarks.{command} --save")
