"""Corrections of refined heights: how far they are believed, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks._terrain.correction_training import INNER
from benchmarks._terrain.residuals import TRAINING_ROWS
from sarheight.terrain.kriging import interval_factor

if TYPE_CHECKING:
    from benchmarks._terrain.correction_training import Data

Floats = NDArray[np.float32]

MOST_HARM = 0.02
"""Part by which the RMSE of a place may rise."""
MOST_SQUARE = (1.0 + MOST_HARM) ** 2 - 1.0
EIGHTY = interval_factor(0.8)
"""Half width of an interval of 80 % in standard deviations, as `height_interval` has it."""


def row_of_training(row: str) -> str:
    """Return the row for training with the images of a row."""
    return row if row in TRAINING_ROWS else "refine_1x2"


@dataclass(frozen=True, eq=False)
class Method:
    """Corrections of all samples of a group of places, in standard deviations."""

    corrections: list[Floats]
    scales: list[Floats] | None = None  # standard deviations after it, in those before it


def _squares(data: Data, number: int, correction: Floats | float) -> float:
    """Mean square of the error after a correction, in square metres."""
    error = data.sigmas[number] * (data.targets[number] - correction)
    return float(np.mean(np.square(error[INNER], dtype=np.float64)))


def shrinkage(data: Data, method: Method) -> dict[str, float]:
    """Find the factor of the corrections that is best over the places, from 0 to 1, by row.

    It is lowered until none of these places is made worse by more than `MOST_HARM`. The rows with
    other errors of the coarse DEM share the factor of the row with the same images, and count in
    it.
    """
    factors = {}
    for row in TRAINING_ROWS:
        terms = []
        for number in (k for k, each in enumerate(data.rows) if row_of_training(each) == row):
            sigma, target = data.sigmas[number][INNER], data.targets[number][INNER]
            correction = sigma * method.corrections[number][INNER]
            # Each place counts by its error relative to refinement.
            before = _squares(data, number, 0.0)
            terms.append(
                (np.mean(correction * sigma * target) / before, np.mean(correction**2) / before)
            )
        gain, cost = np.array(terms).T
        factor = float(np.clip(gain.sum() / max(cost.sum(), 1e-12), 0.0, 1.0))
        # The mean square of a place is 1 - 2 f gain + f^2 cost of that before.
        while factor > 1e-3 and (cost * factor**2 - 2.0 * gain * factor).max() > MOST_SQUARE:
            factor *= 0.98
        factors[row] = factor if factor > 1e-3 else 0.0
    return factors


def cuts_of(data: Data, method: Method, factors: dict[str, float]) -> dict[str, list[float]]:
    """Return by which part the RMSE of refinement falls, by row, for each place."""
    return {
        row: [
            1.0
            - (
                _squares(data, k, factors[row_of_training(row)] * method.corrections[k])
                / _squares(data, k, 0.0)
            )
            ** 0.5
            for k in data.of_row(row)
        ]
        for row in dict.fromkeys(data.rows)
    }


def held(data: Data, method: Method, factors: dict[str, float], width: float, k: int) -> float:
    """Part of the cells of a sample whose true height lies in an interval about the height."""
    correction = factors[row_of_training(data.rows[k])] * method.corrections[k]
    scale = 1.0 if method.scales is None else method.scales[k]
    inside = np.abs(data.targets[k] - correction) < width * scale
    return float(np.mean(inside[INNER]))


def calibration(data: Data, method: Method, factors: dict[str, float]) -> dict[str, float]:
    """Find the factors of the scales with which intervals of 80 % hold 80 % on average, by row."""
    tried = np.geomspace(0.2, 4.0, 120)
    found = {}
    for row in TRAINING_ROWS:
        alike = [k for k, each in enumerate(data.rows) if row_of_training(each) == row]
        parts = [
            fmean(held(data, method, factors, EIGHTY * each, k) for k in alike) for each in tried
        ]
        found[row] = float(tried[int(np.argmin(np.abs(np.array(parts) - 0.8)))])
    return found
