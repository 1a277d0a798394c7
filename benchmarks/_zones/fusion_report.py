"""Tables and a plot of what the forms of fusion reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from rich.table import Table

from benchmarks._figures import RESULTS

if TYPE_CHECKING:
    from benchmarks.lcz import Found
    from sarheight.zones import FusionStrategy

__all__ = ["markdown", "save_figure", "table"]

HEAD = ("form", "seeds", "AA seen", "OA seen", "AA unseen", "OA unseen", "κ unseen", "ECE unseen")
MARKERS = ("o", "s", "^", "D")


def _text(values: Sequence[float]) -> str:
    """Write shares in per cent, with their spread over the seeds where there are several."""
    mean = f"{100 * fmean(values):.1f}"
    return f"{mean} ± {100 * stdev(values):.1f}" if len(values) > 1 else mean


def _row(name: str, several: Sequence[Found]) -> list[str]:
    return [
        name,
        str(len(several)),
        _text([each.seen.average for each in several]),
        _text([each.seen.overall for each in several]),
        _text([each.unseen.average for each in several]),
        _text([each.unseen.overall for each in several]),
        _text([each.unseen.kappa for each in several]),
        _text([each.error for each in several]),
    ]


def _rows(
    found: Mapping[FusionStrategy, Sequence[Found]], ours: Mapping[str, Sequence[Found]]
) -> list[list[str]]:
    rows = [_row(form.label, several) for form, several in found.items()]
    return rows + [_row(name, several) for name, several in ours.items()]


def table(
    found: Mapping[FusionStrategy, Sequence[Found]], ours: Mapping[str, Sequence[Found]]
) -> Table:
    """Make a table for the terminal."""
    made = Table(
        title="simulated Local Climate Zones, %, mean and spread over seeds",
        caption="the same networks on patches of the training regions, and of regions not seen",
    )
    for name in HEAD:
        made.add_column(name, justify="left" if name == "form" else "right", no_wrap=True)
    for row in _rows(found, ours):
        made.add_row(*row)
    return made


def markdown(
    found: Mapping[FusionStrategy, Sequence[Found]],
    ours: Mapping[str, Sequence[Found]],
    command: str,
) -> None:
    """Write the table as ``benchmarks/results/lcz_simulated.md``, with what made it."""
    lines = [
        "# Simulated Local Climate Zones",
        "",
        f"Made by `{command}`. Shares in %, mean and spread over seeds; the",
        "same networks on patches of the training regions and of regions that were not seen.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---|" + "---:|" * (len(HEAD) - 1),
    ]
    lines += [
        "| " + " | ".join([row[0].replace("|", "&#124;"), *row[1:]]) + " |"
        for row in _rows(found, ours)
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "lcz_simulated.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_figure(
    found: Mapping[FusionStrategy, Sequence[Found]], ours: Mapping[str, Sequence[Found]]
) -> None:
    """Draw average accuracy by stage as ``benchmarks/results/pictures/lcz_stages.png``."""
    figure = Figure(figsize=(8.0, 4.6), layout="constrained")
    axis = figure.subplots()
    names = list(dict.fromkeys(form.name for form in found))
    for name, marker in zip(names, MARKERS, strict=True):
        for where, style in (("seen", "--"), ("unseen", "-")):
            stages, means, spreads = [], [], []
            for form, several in found.items():
                if form.name == name:
                    values = [100 * getattr(each, where).average for each in several]
                    stages.append(form.stage + int(form.independent))
                    means.append(fmean(values))
                    spreads.append(stdev(values) if len(values) > 1 else 0.0)
            axis.errorbar(
                stages,
                means,
                spreads,
                marker=marker,
                linestyle=style,
                color=f"C{names.index(name)}",
                label=name if where == "unseen" else None,
                capsize=2,
            )
    for where, style in (("seen", "--"), ("unseen", "-")):
        values = [100 * getattr(each, where).average for each in ours["ours: sum of the three"]]
        axis.axhline(fmean(values), color="black", linestyle=style, label=f"ours, regions {where}")
    axis.set_xticks(range(8), [*map(str, range(6)), "6, together", "6, apart"])
    axis.set_xlabel("block after which the branches meet")
    axis.set_ylabel("average accuracy in %")
    axis.set_title("Simulated zones. Dashed: regions seen; solid: regions not seen", fontsize=10)
    axis.legend(fontsize=8, ncols=2)
    axis.grid(alpha=0.3)
    folder = RESULTS / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "lcz_stages.png", dpi=100)
