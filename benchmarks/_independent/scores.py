"""Errors of a method on the cells that count, as sums that can be added up.

A cell counts where the pass sees the ground: at least half of it is illuminated and it shows the
radar at least 0.05 of its area; where plain RTC has a value; and not within 180 m of the crop's
edge. A method that has no value there is given that of its nearest cell with one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._independent.filters import decibels, filled
from benchmarks._independent.methods import Estimate, plain_rtc
from tests.worlds.scattering_ground import Targets, block_sums

if TYPE_CHECKING:
    from benchmarks._independent.observations import Observed

__all__ = ["EDGE", "LEVELS", "Score", "areas_of", "response", "score"]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

EDGE = 6.0
"""Decibels between the true gamma0 of two neighbouring cells that make an edge."""
LEVELS = (0.5, 0.8, 0.95)
"""Probabilities of intervals."""
SUMS = ("cells", "error", "square", "rcs", "true_rcs", "inside", "asked", "response", "squares")
"""Sums of a score."""
MARGIN = 180.0
"""Metres along the crop's edge that do not count."""


@dataclass
class Score:
    """Sums over cells, by area: "layover", "outside", "edges", "all", "folded_here_open_there"."""

    cells: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # Number of cells
    # Sum of errors in dB
    error: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # Sum of their squares
    square: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # Sum of gamma0 times true area in m2, of the estimate
    rcs: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # The same of the truth
    true_rcs: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # By area and level, how many intervals hold the truth
    inside: dict[tuple[str, float], int] = field(default_factory=lambda: defaultdict(int))
    # Of how many
    asked: dict[tuple[str, float], int] = field(default_factory=lambda: defaultdict(int))
    # By side of the bright squares, sum of the response of their cells in dB
    response: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    # Number of these cells
    squares: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    without: int = 0  # Cells that count for which the method has no value

    def add(self, other: Score) -> None:
        """Add the sums of another one."""
        for name in SUMS:
            mine = getattr(self, name)
            for key, value in getattr(other, name).items():
                mine[key] += value
        self.without += other.without

    def to_json(self) -> dict[str, list[list[object]] | int]:
        """Put the sums into lists of key and value, which JSON can hold."""
        lists: dict[str, list[list[object]] | int] = {
            name: [[key, value] for key, value in getattr(self, name).items()] for name in SUMS
        }
        return {**lists, "without": self.without}

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Score:
        """Read what `to_json` made."""
        found = cls(without=stored["without"])
        for name in SUMS:
            sums = getattr(found, name)
            # Scores that were kept before a sum was added lack it.
            for key, value in stored.get(name, ()):
                sums[tuple(key) if isinstance(key, list) else key] = value
        return found

    def rmse(self, area: str) -> float:
        """Root mean square error in dB."""
        return float(np.sqrt(self.square[area] / self.cells[area])) if self.cells[area] else np.nan

    def bias(self, area: str) -> float:
        """Mean error in dB."""
        return self.error[area] / self.cells[area] if self.cells[area] else np.nan

    def power_bias(self, area: str) -> float:
        """Estimated over true RCS of all cells, in dB."""
        true = self.true_rcs[area]
        return float(10.0 * np.log10(self.rcs[area] / true)) if true else np.nan

    def coverage(self, area: str, level: float) -> float:
        """Share of intervals that hold the truth."""
        asked = self.asked[area, level]
        return self.inside[area, level] / asked if asked else np.nan

    def mean_response(self, size: int) -> float:
        """Mean response of squares of a size in dB; 6 would be right."""
        return self.response[size] / self.squares[size] if self.squares[size] else np.nan


def _neighbours_differ(values: Floats, by: float) -> Mask:
    """Cells that differ from one of their four neighbours by more than so much."""
    found = np.zeros(values.shape, dtype=bool)
    for axis in range(2):
        step = np.abs(np.diff(values, axis=axis)) > by
        first, second = np.moveaxis(found, axis, 0)[:-1], np.moveaxis(found, axis, 0)[1:]
        np.logical_or(first, np.moveaxis(step, axis, 0), out=first)
        np.logical_or(second, np.moveaxis(step, axis, 0), out=second)
    return found


def _counts(observed: Observed) -> Mask:
    """Cells that count."""
    truth = observed.truth.gamma0.values
    counts = np.isfinite(truth) & np.isfinite(plain_rtc(observed))
    posting = abs(float(observed.dem.x[1] - observed.dem.x[0]))
    margin = round(MARGIN / posting)
    inner = np.zeros(counts.shape, dtype=bool)
    inner[margin:-margin, margin:-margin] = True
    return counts & inner


def areas_of(passes: Sequence[Observed]) -> list[dict[str, Mask]]:
    """Find the areas of each pass; two passes over the same ground have one more."""
    found = []
    for observed in passes:
        counts = _counts(observed)
        layover = observed.truth.layover.values
        edges = _neighbours_differ(decibels(observed.truth.gamma0.values), EDGE)
        found.append(
            {
                "all": counts,
                "layover": counts & layover,
                "outside": counts & ~layover,
                "edges": counts & ~layover & edges,
            }
        )
    if len(found) == 2:
        for one, other in (found, found[::-1]):
            one["folded_here_open_there"] = one["layover"] & other["outside"]
    return found


def score(
    estimates: Sequence[Estimate], passes: Sequence[Observed], areas: Sequence[dict[str, Mask]]
) -> list[Score]:
    """Compare estimates with the truth, pass by pass."""
    scores = []
    for estimate, observed, by_name in zip(estimates, passes, areas, strict=True):
        truth = observed.truth.gamma0.values.astype(np.float64)
        gamma0 = filled(estimate.gamma0)
        error = decibels(gamma0) - decibels(truth)
        factor = observed.ground.dem.shape[0] // truth.shape[0]
        shown = block_sums(np.nan_to_num(observed.fine.area.values), factor)
        result = Score(without=int((by_name["all"] & ~np.isfinite(estimate.gamma0)).sum()))
        for name, area in by_name.items():
            result.cells[name] = int(area.sum())
            result.error[name] = float(error[area].sum())
            result.square[name] = float((error[area] ** 2).sum())
            result.rcs[name] = float((gamma0 * shown)[area].sum())
            result.true_rcs[name] = float((truth * shown)[area].sum())
        if estimate.interval is not None:
            known = np.isfinite(estimate.gamma0)
            for level in LEVELS:
                low, high = estimate.interval(level)
                holds = (truth >= low) & (truth <= high)
                for name, area in by_name.items():
                    result.inside[name, level] = int(holds[area & known].sum())
                    result.asked[name, level] = int((area & known).sum())
        scores.append(result)
    return scores


def response(
    bright: Sequence[Estimate],
    plain: Sequence[Estimate],
    passes: Sequence[Observed],
    areas: Sequence[dict[str, Mask]],
) -> list[Score]:
    """Compare estimates with bright squares and without, on the cells of the squares."""
    scores = []
    for with_, without, observed, by_name in zip(bright, plain, passes, areas, strict=True):
        gain = decibels(filled(with_.gamma0)) - decibels(filled(without.gamma0))
        result = Score()
        for size in Targets().sizes:
            square = (observed.targets == size) & by_name["all"]
            result.response[size] = float(gain[square].sum())
            result.squares[size] = int(square.sum())
        scores.append(result)
    return scores
