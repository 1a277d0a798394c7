"""Corrections of refined heights: simple baselines, how far they are believed, and their scores."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks._terrain.correction_training import INNER, OUTLIER
from benchmarks._terrain.residuals import TRAINING_ROWS
from benchmarks.refinement import MARGIN
from sarheight.terrain.kriging import interval_factor
from sarheight.terrain.refinement_network import CHANNELS

if TYPE_CHECKING:
    from benchmarks._terrain.correction_training import Data

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

NEIGHBOURS = 2
"""Cells to each side that the ridge regression sees."""
PENALTIES = (1e3, 1e4, 1e5, 1e6)
MOST_HARM = 0.02
"""Part by which the RMSE of a place may rise."""
MOST_SQUARE = (1.0 + MOST_HARM) ** 2 - 1.0
EIGHTY = interval_factor(0.8)
"""Half width of an interval of 80 % in standard deviations, as `height_interval` has it."""


# Simple baselines. A method gives the correction of a sample in standard deviations.


def row_of_training(row: str) -> str:
    """Return the row for training with the images of a row."""
    return row if row in TRAINING_ROWS else "refine_1x2"


def rescaled(training: Data, held_out: Data) -> list[Floats]:
    """Multiply the increments of refinement by the best factor of each row."""
    factors = {}
    for row in TRAINING_ROWS:
        products = [
            (float(np.sum(x[INNER][0] * z[INNER])), float(np.sum(x[INNER][0] ** 2)))
            for x, z in ((training.inputs[k], training.targets[k]) for k in training.of_row(row))
        ]
        factors[row] = sum(one for one, _ in products) / sum(two for _, two in products)
    return [
        np.float32(factors[row_of_training(row)]) * x[0]
        for row, x in zip(held_out.rows, held_out.inputs, strict=True)
    ]


def _windows(inputs: Floats, step: int = 1) -> Floats:
    """Return the channels in the neighbourhood of each inner cell, shape (cells, features)."""
    side, edge = 2 * NEIGHBOURS + 1, MARGIN - NEIGHBOURS
    part = inputs[:, edge:-edge, edge:-edge]
    views = sliding_window_view(part, (side, side), axis=(1, 2))[:, ::step, ::step]
    features = np.moveaxis(views, 0, 2).reshape(views.shape[1] * views.shape[2], -1)
    return np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)


Equations = dict[tuple[str, str], tuple[Doubles, Doubles]]


def normal_equations(training: Data) -> Equations:
    """Sum up the products of the channels around, and with the error, for each row and place."""
    size = len(CHANNELS) * (2 * NEIGHBOURS + 1) ** 2 + 1
    found: Equations = {}
    for row, place, inputs, target in zip(
        training.rows, training.places, training.inputs, training.targets, strict=True
    ):
        gram, right = found.setdefault((row, place), (np.zeros((size, size)), np.zeros(size)))
        features = _windows(inputs, step=2)
        gram += features.T @ features
        right += features.T @ np.clip(target[INNER][::2, ::2].ravel(), -OUTLIER, OUTLIER)
    return found


def regressed(
    equations: Equations, held_out: Data, penalty: float, without: str | None = None
) -> list[Floats]:
    """Regress the error on the channels around, with what all places but one tell."""
    weights = {}
    for row in TRAINING_ROWS:
        told = [pair for (of, place), pair in equations.items() if of == row and place != without]
        gram, right = (sum(each) for each in zip(*told, strict=True))
        total = gram + penalty * np.eye(right.size)
        weights[row] = np.linalg.solve(total, right).astype(np.float32)
    found = []
    for row, inputs in zip(held_out.rows, held_out.inputs, strict=True):
        correction = np.zeros_like(inputs[0])
        values = _windows(inputs) @ weights[row_of_training(row)]
        correction[INNER] = values.reshape(correction[INNER].shape)
        found.append(correction)
    return found


# Scores.


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
