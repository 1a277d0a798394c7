"""Scores with intervals over blocks and seeds, and tables, of the methods for Hong Kong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from benchmarks._figures import RESULTS, Value
from benchmarks._zones.hongkong_data import CLASSES, block_numbers
from sarheight.zones import ClassScores, calibration_error
from sarheight.zones.evaluation import confusion_matrix, scores_from_confusion

__all__ = [
    "Outcome",
    "design_figures",
    "design_table",
    "figures",
    "locked_table",
    "markdown",
    "outcome",
]

DRAWS = 2000
"""Of the bootstrap."""
LIMITS = (2.5, 97.5)

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a method reached on the cells of one split."""

    # Cells by reference and assigned class; shape (seeds, blocks, classes, classes)
    confusion: Integers
    errors: tuple[float, ...]  # Expected calibration error of each seed

    @property
    def averages(self) -> NDArray[np.float64]:
        """Average accuracy of each seed."""
        return _average(self.confusion.sum(axis=1))

    @property
    def average(self) -> float:
        """Mean over the seeds of the average accuracy."""
        return float(self.averages.mean())

    @property
    def error(self) -> float:
        """Mean over the seeds of the calibration error."""
        return float(np.mean(self.errors))

    def scores(self) -> list[ClassScores]:
        """Return the scores of each seed."""
        return [scores_from_confusion(each.sum(axis=0), CLASSES) for each in self.confusion]

    def drawn(self, draws: int = DRAWS) -> NDArray[np.float64]:
        """Draw blocks and a seed with replacement; return the average accuracy of each draw.

        The draws are the same for all methods on the same cells, so that differences are paired.
        """
        random = np.random.default_rng(0)
        seeds, blocks = self.confusion.shape[:2]
        seed = random.integers(seeds, size=draws)
        weight = random.multinomial(blocks, np.full(blocks, 1.0 / blocks), size=draws)
        matrices = np.einsum("db,sbij->dsij", weight, self.confusion)
        return _average(matrices[np.arange(draws), seed])


def _average(confusion: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean recall of the classes that occur, of matrices (..., classes, classes)."""
    counts = confusion.sum(axis=-1)
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    recall = np.divide(correct, counts, out=np.zeros(counts.shape), where=counts > 0)
    return np.asarray(recall.sum(axis=-1) / (counts > 0).sum(axis=-1))


def outcome(
    given: Sequence[NDArray[np.float64]],
    labels: Integers,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> Outcome:
    """Compare probabilities of several seeds with the labels."""
    _, block = np.unique(block_numbers(x, y), axis=0, return_inverse=True)
    block = block.ravel()
    confusion = np.array(
        [
            [
                confusion_matrix(labels[block == each], assigned[block == each], len(CLASSES))
                for each in range(int(block.max()) + 1)
            ]
            for assigned in (each.argmax(axis=1) for each in given)
        ]
    )
    return Outcome(confusion, tuple(calibration_error(each, labels) for each in given))


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the limits that hold 95 % of the draws."""
    low, high = np.percentile(values, LIMITS)
    return float(low), float(high)


def gain_interval(ours: Outcome, other: Outcome) -> tuple[float, float]:
    """Return the limits that hold 95 % of the paired differences."""
    return interval(ours.drawn() - other.drawn())


def design_table(found: Mapping[str, Sequence[Outcome]]) -> Table:
    """Make a table of the splits for design, and of differences from the first method."""
    made = Table(title="Hong Kong, open blocks: mean over splits, %")
    for name in ("method", "AA", "OA", "ECE", "AA over the first", "spread of that over splits"):
        made.add_column(name, justify="left" if name == "method" else "right")
    first = np.array([each.average for each in next(iter(found.values()))])
    for name, several in found.items():
        average = np.array([each.average for each in several])
        overall = np.mean([s.overall for each in several for s in each.scores()])
        error = np.mean([each.error for each in several])
        gain = 100 * (average - first)
        made.add_row(
            name,
            f"{100 * average.mean():.1f}",
            f"{100 * overall:.1f}",
            f"{100 * error:.1f}",
            f"{gain.mean():+.1f}",
            f"{gain.std(ddof=1):.1f}" if gain.size > 1 else "",
        )
    return made


def design_figures(found: Mapping[str, Sequence[Outcome]], shipped: str) -> dict[str, Value]:
    """Collect the average accuracies of the splits for design, with the deviation over them.

    With ``_gain`` what a method has beyond the `shipped` one, in points, paired by split.
    """
    values: dict[str, Value] = {}
    for name, several in found.items():
        key = f"lcz.hongkong.design.{_key(name)}"
        values[f"{key}_aa"] = _mean([each.average for each in several])
        if name != shipped and shipped in found:
            values[f"{key}_gain"] = _mean(
                [
                    100.0 * (its.average - own.average)
                    for its, own in zip(several, found[shipped], strict=True)
                ]
            )
    return values


def _key(name: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return "_".join(words)


HEAD = ("method", "AA", "95 %", "seeds ±", "OA", "κ", "ECE", "AA, other splits", "ECE there")


def _rows(found: Mapping[str, Sequence[Outcome]]) -> list[list[str]]:
    rows = []
    for name, several in found.items():
        lock, others = several[0], several[1:]
        low, high = interval(lock.drawn())
        scores = lock.scores()
        rows.append(
            [
                name,
                f"{100 * lock.average:.1f}",
                f"{100 * low:.1f} to {100 * high:.1f}",
                f"{100 * lock.averages.std(ddof=1):.1f}" if lock.averages.size > 1 else "",
                f"{100 * np.mean([each.overall for each in scores]):.1f}",
                f"{100 * np.mean([each.kappa for each in scores]):.1f}",
                f"{100 * lock.error:.1f}",
                ", ".join(f"{100 * each.average:.1f}" for each in others),
                f"{100 * np.mean([each.error for each in others]):.1f}",
            ]
        )
    return rows


def locked_table(found: Mapping[str, Sequence[Outcome]]) -> Table:
    """Make a table of the locked blocks."""
    made = Table(title="Hong Kong, locked blocks, %")
    for name in HEAD:
        made.add_column(name, justify="left" if name == "method" else "right")
    for row in _rows(found):
        made.add_row(*row)
    return made


KEYS = ("bands_forest", "zone_forest")


def figures(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Value]:
    """Collect the figures.

    Spreads of accuracies are over the seeds; those of gains are the half-width of the 95 % interval
    over blocks and seeds, and on the further splits the deviation over them. Gains are in points.
    """
    values: dict[str, Value] = {}
    for key, several in zip(KEYS, found.values(), strict=True):
        lock, others = several[0], several[1:]
        name = f"lcz.hongkong.locked.{key}"
        values[f"{name}_aa"] = (lock.average, float(lock.averages.std(ddof=1)))
        values[f"{name}_oa"] = float(np.mean([each.overall for each in lock.scores()]))
        values[f"{name}_ece"] = (lock.error, float(np.std(lock.errors, ddof=1)))
        values[f"{name}_splits_aa"] = _mean([each.average for each in others])
        values[f"{name}_splits_ece"] = _mean([each.error for each in others])
        low, high = interval(lock.drawn())
        values[f"{name}_aa_low"], values[f"{name}_aa_high"] = low, high
    ours = list(found.values())[-1]
    values["lcz.hongkong.locked.ece"] = values[f"lcz.hongkong.locked.{KEYS[-1]}_ece"]
    for key, other in zip(KEYS[:-1], found.values(), strict=False):
        name = f"lcz.hongkong.locked.gain_over_{key}"
        low, high = gain_interval(ours[0], other[0])
        gain = 100.0 * (ours[0].average - other[0].average)
        values[f"{name}_aa"] = (gain, 50.0 * (high - low))
        values[f"{name}_low"], values[f"{name}_high"] = 100.0 * low, 100.0 * high
        values[f"{name}_splits_aa"] = _mean(
            [
                100.0 * (mine.average - its.average)
                for mine, its in zip(ours[1:], other[1:], strict=True)
            ]
        )
    return values


def _mean(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))


def markdown(found: Mapping[str, Sequence[Outcome]], command: str) -> None:
    """Write the tables as ``benchmarks/results/lcz_hongkong.md``."""
    lines = [
        "# Local Climate Zones of Hong Kong",
        "",
        f"Made by `{command}`. Locked blocks of 3 km, %; the interval is over blocks and seeds.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|---|" + "---:|" * (len(HEAD) - 1),
        *("| " + " | ".join(row) + " |" for row in _rows(found)),
        "",
        "## Share found of each zone",
        "",
        "| zone | cells | " + " | ".join(found) + " |",
        "|---|" + "---:|" * (len(found) + 1),
    ]
    counts = next(iter(found.values()))[0].scores()[0].confusion.sum(axis=1)
    for number in np.flatnonzero(counts):
        recalls = [
            f"{100 * np.mean([each.recall[number] for each in several[0].scores()]):.0f}"
            for several in found.values()
        ]
        zone = CLASSES[number].replace("_", " ")
        lines.append(f"| {zone} | {counts[number]} | {' | '.join(recalls)} |")
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "lcz_hongkong.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
