"""Tables of what was reached on the blocks of Hong Kong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from benchmarks._figures import RESULTS

if TYPE_CHECKING:
    from benchmarks.hongkong import Outcome

__all__ = ["markdown", "table"]

HEAD = ("method", "seeds", "AA", "OA", "κ", "ECE")


def _text(values: Sequence[float]) -> str:
    """Write shares in per cent, with their spread over the seeds where there are several."""
    mean = f"{100 * fmean(values):.1f}"
    return f"{mean} ± {100 * stdev(values):.1f}" if len(values) > 1 else mean


def _row(name: str, several: Sequence[Outcome]) -> list[str]:
    return [
        name,
        str(len(several)),
        *(
            _text([float(getattr(each.scores, figure)) for each in several])
            for figure in ("average", "overall", "kappa")
        ),
        _text([each.error for each in several]),
    ]


def table(found: Mapping[str, Sequence[Outcome]]) -> Table:
    """Make a table for the terminal."""
    made = Table(title="Hong Kong, blocks not seen, %: mean and spread over seeds")
    for name in HEAD:
        made.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    for name, several in found.items():
        made.add_row(*_row(name, several))
    return made


def markdown(found: Mapping[str, Sequence[Outcome]]) -> None:
    """Write the tables as ``benchmarks/results/lcz_hongkong.md``."""
    lines = [
        "# Local Climate Zones of Hong Kong",
        "",
        "Made by `python -m benchmarks.hongkong --save`. Five folds of blocks of 3 km, %, mean and",
        "spread over seeds.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---|" + "---:|" * (len(HEAD) - 1),
        *("| " + " | ".join(_row(name, several)) + " |" for name, several in found.items()),
        "",
        "## Share found of each zone",
        "",
    ]
    shown = [name for name in found if not name.startswith(("dates", "bands"))]
    classes = found[shown[0]][0].scores
    counts = classes.confusion.sum(axis=1)
    lines += ["| zone | cells | " + " | ".join(shown) + " |", "|---|" + "---:|" * (len(shown) + 1)]
    for number, zone in enumerate(classes.classes):
        recalls = [
            f"{100 * np.mean([each.scores.recall[number] for each in found[name]]):.0f}"
            for name in shown
        ]
        lines.append(f"| {zone.replace('_', ' ')} | {counts[number]} | {' | '.join(recalls)} |")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "lcz_hongkong.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
