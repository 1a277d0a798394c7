"""Scores with intervals over blocks and seeds of the methods for Hong Kong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._figures import mean_and_spread
from benchmarks._zones.hongkong_data import CLASSES, block_numbers
from sarheight.zones import calibration_error
from sarheight.zones.evaluation import confusion_matrix

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = [
    "Outcome",
    "design_figures",
    "figures",
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

    def drawn(self, draws: int = DRAWS) -> NDArray[np.float64]:
        """Draw blocks and a seed with replacement; return the average accuracy of each draw."""
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


def design_figures(found: Mapping[str, Sequence[Outcome]], shipped: str) -> dict[str, Value]:
    """Collect the average accuracies of the splits for design, with the deviation over them.

    With ``_gain`` what a method has beyond the `shipped` one, in points, paired by split.
    """
    values: dict[str, Value] = {}
    for name, several in found.items():
        key = f"lcz.hongkong.design.{_key(name)}"
        values[f"{key}_aa"] = mean_and_spread([each.average for each in several])
        if name != shipped and shipped in found:
            values[f"{key}_gain"] = mean_and_spread(
                [
                    100.0 * (its.average - own.average)
                    for its, own in zip(several, found[shipped], strict=True)
                ]
            )
    return values


def _key(name: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return "_".join(words)


KEYS = ("bands_forest", "zone_forest")


def figures(found: Mapping[str, Sequence[Outcome]]) -> dict[str, Value]:
    """Collect the figures: spreads are over the seeds, on the further splits over these."""
    values: dict[str, Value] = {}
    for key, several in zip(KEYS, found.values(), strict=True):
        lock, others = several[0], several[1:]
        name = f"lcz.hongkong.locked.{key}"
        values[f"{name}_aa"] = (lock.average, float(lock.averages.std(ddof=1)))
        values[f"{name}_ece"] = (lock.error, float(np.std(lock.errors, ddof=1)))
        values[f"{name}_splits_aa"] = mean_and_spread([each.average for each in others])
        values[f"{name}_aa_low"], values[f"{name}_aa_high"] = interval(lock.drawn())
    return values
