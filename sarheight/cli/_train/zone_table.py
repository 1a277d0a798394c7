"""What a comparison of forms of fusion found: a table, a file, and the best network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sarheight.output._atomic import staged

if TYPE_CHECKING:
    from sarheight.data import ZoneSamples
    from sarheight.training import FusionRow

__all__ = ["keep_best", "print_table", "verdict_in_words", "write_table"]

FIGURES = {"overall": "OA", "average": "AA", "kappa": "kappa"}


def keep_best(rows: Sequence[FusionRow], folder: Path, data: Sequence[Path]) -> None:
    """Copy the network with the highest average accuracy at validation.

    Parameters
    ----------
    rows : sequence of FusionRow
        What was found.
    folder : pathlib.Path
        Where the network goes; one that is there is replaced.
    data : sequence of pathlib.Path
        What it was trained with.
    """
    from sarheight.models import ZoneClassifier

    runs = [
        (value, row.form.label, run)
        for row in rows
        for value, run in zip(row.validation, row.folders, strict=True)
    ]
    average, label, run = max(runs, key=lambda found: found[0])
    card = {
        "data": [path.name for path in data],
        "form": label,
        "run": run.name,
        "validation_average": average,
    }
    model = ZoneClassifier.from_pretrained(run / "model")
    model.save_pretrained(folder, card=card, overwrite=True)


def write_table(rows: Sequence[FusionRow], parts: Mapping[str, ZoneSamples], path: Path) -> None:
    """Write all figures as JSON: of each form, each seed and each class.

    Parameters
    ----------
    rows : sequence of FusionRow
        What was found.
    parts : mapping
        The samples, of which the numbers are told.
    path : pathlib.Path
        The file; one that is there is replaced.
    """
    table: dict[str, Any] = {
        "samples": {role: len(samples) for role, samples in parts.items()},
        "forms": [
            {
                "split": row.form.name,
                "groups": [list(group) for group in row.form.groups],
                "stage": row.form.stage,
                "independent": row.form.independent,
                "fusion": row.form.fusion,
                "validation_average": list(row.validation),
                "calibration_error": list(row.calibration),
                "seeds": [scores.as_dict() for scores in row.scores],
            }
            for row in rows
        ],
    }
    with staged(path, overwrite=True, suffixes=(".json",)) as work:
        work.write_text(json.dumps(table, indent=1) + "\n", "utf-8")


def print_table(rows: Sequence[FusionRow]) -> None:
    """Print what was found, the mean and the spread over the seeds, in percent."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="on samples for test, in percent: mean ± standard deviation over seeds")
    table.add_column("split")
    table.add_column("stage")
    for heading in (*FIGURES.values(), "ECE"):
        table.add_column(heading, justify="right")
    for row in rows:
        stage = f"{row.form.stage}{' independent' if row.form.independent else ''}"
        figures = [_percent(row.mean(name), row.spread(name)) for name in FIGURES]
        calibration = sum(row.calibration) / len(row.calibration)
        table.add_row(row.form.name, stage, *figures, _percent(calibration, None))
    console = Console()
    console.print(table)
    console.print(verdict_in_words(rows), highlight=False, soft_wrap=True)


def _percent(value: float, spread: float | None) -> str:
    return f"{100 * value:.1f}" if spread is None else f"{100 * value:.1f} ± {100 * spread:.1f}"


def verdict_in_words(rows: Sequence[FusionRow]) -> str:
    """Answer whether early, middle or late fusion is best, as far as the spread lets it.

    Parameters
    ----------
    rows : sequence of FusionRow
        What was found.
    """
    from sarheight.training import fusion_verdict

    if len({row.form.fusion for row in rows} - {"none"}) < 2:
        return "One kind of fusion alone: nothing to compare."
    verdict = fusion_verdict(rows)
    best = verdict.best[verdict.winner]
    told = (
        f"Best at validation: {verdict.winner} fusion ({best.form.label}), with an average "
        f"accuracy of {_percent(best.mean('average'), best.spread('average'))} % at test"
    )
    gain = f"{100 * verdict.gain:+.1f} points to the next kind"
    if verdict.error is None:
        return f"{told}, {gain}. One seed cannot tell this from chance: take more."
    gain = f"{gain} ({100 * verdict.error:.1f} standard error)"
    if verdict.clear:
        return f"{told}, {gain}."
    return f"{told}, {gain}: not more than chance between seeds makes."
