"""Statistics of a scene: backscatter law, error model, agreement of passes, balance of RCS.

Each is a function over tiles: a map, which takes samples or sums of one tile, and a reduction of
those of all tiles, in the order of the tiles. A scene in memory is one tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import (
    compare_with_neighbourhood,
    rcs_balance,
    share_error_variance,
)
from sarheight_kernels.profiles import FORESHORTENING

from sarheight.errors import GeometryError
from sarheight.illumination import FittedLaw

if TYPE_CHECKING:
    from sarheight.layover.allocation import (
        AllocatedRcs,
        Cells,
        Estimate,
        Layer,
        Observation,
    )
    from sarheight.layover.tiles import GridScale, Taps

Samples = list[NDArray[np.float32]]
"""Values of sampled cells, shape (..., n): one array for each pass, or pair of passes."""

ANGLE_CLASS = 3.0
"""Width of a class of incidence angles in degrees."""
FEWEST_CELLS = 50
"""A class of incidence angles with fewer cells does not count in the law."""
SMALLEST_OPEN_AREA = 0.25
"""Cells of which less than this part of their projected area is seen do not count in the law."""
CELLS_PER_CLASS = 200
MOST_CLASSES = 20
"""Classes of contribution shares have so many cells at least; there are at most 20."""
MEDIAN_TO_VARIANCE = 1.0 / 0.6745**2
"""Squared median distance from the middle of a normal distribution to its variance."""
SMALLEST = 1e-6
"""Least reflectivity and variance, so that logarithms and precisions are finite."""


def concatenate_samples(by_tile: Sequence[Samples]) -> Samples:
    """Concatenate the samples of all tiles along their last axis."""
    return [np.concatenate(of_pass, axis=-1) for of_pass in zip(*by_tile, strict=True)]


# Backscatter law: median gamma0 of open cells by incidence angle.


def sample_open_cells(observations: Sequence[Observation], scale: GridScale) -> Samples:
    """Sample the cells of a tile outside layover and shadow.

    Returns for each pass local incidence in degrees and gamma0, shape (1 + polarisations, n).
    """
    return [_open_cells(observation, scale) for observation in observations]


def _open_cells(observation: Observation, scale: GridScale) -> NDArray[np.float32]:
    """Incidence and gamma0 of open cells in one pass."""
    category, fold_count = observation.category, observation.fold_count
    row, column = observation.sampled_cells(scale.shape)
    incidence = observation.angles["local_incidence"][row, column]
    alone = (category[row, column] <= FORESHORTENING) & (fold_count[row, column] == 1)
    row, column, incidence = row[alone], column[alone], incidence[alone]
    cells = np.zeros(category.shape, dtype=bool)
    cells[row, column] = True
    allocated = observation.image.allocate(cells=cells)
    # A cell whose surface faces the line of sight at theta projects to its area times cos(theta).
    whole = scale.cell_area * np.cos(np.radians(incidence))
    large = allocated.area[row, column] > SMALLEST_OPEN_AREA * whole
    gamma = allocated.reflectivity[:, row, column]
    good = large & np.isfinite(incidence) & np.isfinite(gamma).all(axis=0)
    return np.vstack((incidence[None], gamma))[:, good]


def fit_laws(by_tile: Sequence[Samples]) -> list[FittedLaw]:
    """Fit the law of each pass to the open cells of all tiles."""
    return [_fit_law(sample) for sample in concatenate_samples(by_tile)]


def _fit_law(sample: NDArray[np.float32]) -> FittedLaw:
    """Fit a law: median gamma0 by class of incidence, averaged over polarisations in decibels."""
    angle, gamma = sample[0], sample[1:]
    index = (angle // ANGLE_CLASS).astype(np.int64)
    centres, values, cells = [], [], []
    for k in range(int(90.0 / ANGLE_CLASS)):
        members = index == k
        if members.sum() >= FEWEST_CELLS:
            median = np.median(gamma[:, members], axis=1)
            if (median > 0.0).all():
                centres.append(float(angle[members].mean(dtype=np.float64)))
                values.append(float(np.log(median.astype(np.float64)).mean()))
                cells.append(int(members.sum()))
    if len(centres) < 2:
        msg = (
            f"found {angle.size} cells outside layover and shadow with data, in "
            f"{len(centres)} classes of incidence of at least {FEWEST_CELLS} cells; expected at "
            "least two classes to fit a backscatter law"
        )
        advice = "pass law=, such as sarheight.illumination.Muhleman(), or a larger area"
        raise GeometryError(msg, advice, options={"law": "muhleman"})
    # Three neighbours are averaged; the ends stay as they are, and a straight line does too.
    padded = np.pad(values, 1, mode="reflect", reflect_type="odd")
    smooth = np.convolve(padded, np.full(3, 1.0 / 3.0), mode="valid")
    return FittedLaw(np.array(centres), np.exp(smooth), np.array(cells))


# Error model: by how much allocated values differ from their neighbourhood.


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """Variance of the logarithm of allocated reflectivity that is error, by contribution share.

    One part is measured: by how much more than others cells of a class of contribution shares
    differ from their neighbourhood. The other is due to the other places in a cell's pixels, which
    were taken to be as bright as the cell but differ from it as places far apart do: the variance
    of the logarithm of the prior means, times the square of the share that is not the cell's.
    """

    edges: NDArray[np.float64]  # (classes - 1,): contribution shares between classes
    excess: NDArray[np.float64]  # (classes,): variance of each class beyond that of the best one
    diversity: float  # variance between a cell and its neighbourhood that is the ground's own
    middle: float  # median contribution share
    contrast: float  # variance of the logarithm between places far apart

    def variance(self, contribution: Layer) -> Layer:
        """Return the error variance of cells of given contribution shares."""
        return self.fill_variance(contribution, np.empty_like(contribution))

    def fill_variance(self, contribution: Layer, variance: Layer) -> Layer:
        """Write the error variance of cells into an array; return it."""
        share_error_variance(contribution, self.edges, self.excess, self.contrast, variance)
        return variance


def sample_neighbourhoods(
    allocated: Sequence[AllocatedRcs], expected: Sequence[Layer], cells: Cells, taps: Taps
) -> Samples:
    """Compare cells of a tile with their neighbourhood.

    `expected` is the RCS expected of cells, 0 where a cell has no value. Returns for each pass
    contribution share, own values, then means of the neighbourhood, shape
    (1 + 2 * polarisations, n).
    """
    samples = []
    for given, weight in zip(allocated, expected, strict=True):
        sample = np.empty((1 + 2 * given.rcs.shape[0], cells[0].size), dtype=np.float32)
        compare_with_neighbourhood(given.rcs, weight, given.contribution, *taps, *cells, sample)
        samples.append(np.ascontiguousarray(sample[:, np.isfinite(sample[0])]))
    return samples


def fit_error_models(by_tile: Sequence[Samples]) -> list[list[ErrorModel]]:
    """Fit an error model to each pass and polarisation, from the neighbourhoods of all tiles."""
    return [_fit_error_models(sample) for sample in concatenate_samples(by_tile)]


class _Classes(NamedTuple):
    """Cells by class: their numbers class by class, and where each class ends."""

    order: NDArray[np.int64]
    end: NDArray[np.int64]


def _fit_error_models(sample: NDArray[np.float32]) -> list[ErrorModel]:
    """Fit the error model of each polarisation of a pass, in classes of contribution share."""
    polarisations = (sample.shape[0] - 1) // 2
    classes = int(np.clip(sample.shape[1] // CELLS_PER_CLASS, 1, MOST_CLASSES))
    usable = np.isfinite(sample).all(axis=0)
    if not usable.any():
        return [ErrorModel(np.zeros(0), np.zeros(1), 0.0, np.inf, 0.0)] * polarisations
    contribution, *values = sample if usable.all() else sample[:, usable]
    ordered = np.sort(contribution)
    edges = np.quantile(ordered, np.linspace(0.0, 1.0, classes + 1)[1:-1])
    # Few edges are compared with all cells in a fraction of the time of a search for each cell.
    index = np.zeros(contribution.size, dtype=np.uint8)
    for edge in edges:
        index += contribution >= edge
    by_class = _Classes(
        np.argsort(index, kind="stable"), np.cumsum(np.bincount(index, minlength=classes))
    )
    middle = float(np.median(ordered))
    # Cells with their pixels to themselves show the ground, not errors of the allocation.
    far = np.flatnonzero(contribution >= middle)
    models = []
    for own, prior in zip(values[:polarisations], values[polarisations:], strict=True):
        diversity, excess = _excess(own, prior, by_class)
        contrast = float(np.var(np.log(np.maximum(prior[far].astype(np.float64), SMALLEST))))
        models.append(ErrorModel(edges.astype(np.float64), excess, diversity, middle, contrast))
    return models


def _excess(
    own: NDArray[np.float32], prior: NDArray[np.float32], by_class: _Classes
) -> tuple[float, NDArray[np.float64]]:
    """Variance of the logarithm of the best class, and that of each class beyond it."""
    distance = np.log(
        np.maximum(own, SMALLEST, dtype=np.float64) / np.maximum(prior, SMALLEST, dtype=np.float64)
    )
    members = np.split(np.abs(distance[by_class.order]), by_class.end[:-1])
    # A class can be empty where many cells have the same share: it never serves a cell then.
    filled = np.array([bool(part.size) for part in members])
    medians = np.array([np.median(part) ** 2 for part in members if part.size])
    variance = MEDIAN_TO_VARIANCE * medians
    # The least of many noisy values lies below all of their means: neighbours are averaged first.
    diversity = float(_smooth(variance).min())
    excess = np.zeros(filled.size)
    excess[filled] = np.maximum(variance - diversity, 0.0)
    return diversity, excess


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average each value with its two neighbours; at the ends with one."""
    weights = np.ones(min(3, values.size))
    return np.convolve(values, weights, "same") / np.convolve(np.ones_like(values), weights, "same")


# Agreement of passes: how far their values differ where both have their pixels to themselves.


class Agreement(NamedTuple):
    """Median and variance of the logarithm of the ratio of two passes."""

    offset: float
    variance: float


def measure_agreements(by_tile: Sequence[Samples]) -> list[Agreement | None]:
    """Measure the agreement of each pair of passes; None of too few cells.

    The samples are logarithms of ratios, one array for each polarisation and pair.
    """
    agreements: list[Agreement | None] = []
    for ratio in concatenate_samples(by_tile):
        if ratio.size < CELLS_PER_CLASS:
            agreements.append(None)
            continue
        offset = float(np.median(ratio))
        distance = float(np.median(np.abs(ratio - offset)))
        agreements.append(Agreement(offset, distance**2 * MEDIAN_TO_VARIANCE))
    return agreements


# Balance of RCS: all that the image holds is given out.


@dataclass(frozen=True, eq=False)
class Balance:
    """RCS in m2 of one pass, by polarisation, of a tile or a scene."""

    cells: NDArray[np.float64]  # held by cells with a value, by their estimate
    withheld: NDArray[np.float64]  # allocated to cells without one
    explained: NDArray[np.float64]  # of the illuminated pixels that have data
    count: NDArray[np.float64]  # cells with a value
    largest_area: float  # largest illuminated area of any cell in m2

    @property
    def factor(self) -> NDArray[np.float64]:
        """Factor on estimates by which cells hold what there is, less what is withheld."""
        factor: NDArray[np.float64] = np.divide(
            self.explained - self.withheld,
            self.cells,
            out=np.ones_like(self.cells),
            where=self.cells > 0.0,
        )
        return factor

    def attributes(self) -> dict[str, list[float]]:
        """RCS by polarisation as attributes of a result, after balancing."""
        return {
            "rcs_cells": (self.factor * self.cells).tolist(),
            "rcs_withheld": self.withheld.tolist(),
            "rcs_explained": self.explained.tolist(),
        }


def sum_rcs(
    observations: Sequence[Observation], estimates: Sequence[Estimate], smallest_area: float
) -> list[Balance]:
    """Sum up the RCS of a tile's cells in each pass; those below an area in m2 have no value."""
    return [
        _sum_rcs(observation.core, estimate, smallest_area)
        for observation, estimate in zip(observations, estimates, strict=True)
    ]


def _sum_rcs(core: tuple[slice, slice], estimate: Estimate, smallest_area: float) -> Balance:
    """Sum up the RCS of a tile's cells in one pass."""
    allocated = estimate.allocated
    polarisations = allocated.rcs.shape[0]
    # Held by cells with a value, withheld, and the number of cells with a value.
    sums = np.empty((3, polarisations))
    for p in range(polarisations):
        by_row = np.empty((core[0].stop - core[0].start, 3))
        rcs_balance(
            estimate.reflectivity[p][core],
            allocated.rcs[p][core],
            allocated.expected[core],
            allocated.area[core],
            smallest_area,
            by_row,
        )
        sums[:, p] = *by_row[:, :2].sum(axis=0), by_row[:, 2].sum()
    largest = float(allocated.area[core].max(initial=0.0))
    return Balance(sums[0], sums[1], allocated.total, sums[2], largest)


def balance_scene(by_tile: Sequence[Sequence[Balance]], smallest_area: float) -> list[Balance]:
    """Add up the RCS of all tiles for each pass; refuse a scene without a single value."""
    balances = [_add(of_pass) for of_pass in zip(*by_tile, strict=True)]
    if all(balance.count.sum() > 0.0 for balance in balances):
        return balances
    largest = max(balance.largest_area for balance in balances)
    msg = (
        "found no cell of the DEM of which the image shows enough: at most "
        f"{largest:.3g} m2 of a cell are illuminated and have data, expected "
        f"{smallest_area:.3g} m2 of one at least. Pass a DEM of the image's own area whose cells "
        "are small beside the image, and check that the image has data there."
    )
    raise GeometryError(msg)


def _add(balances: Sequence[Balance]) -> Balance:
    """Add up the RCS of tiles, in their order."""
    return Balance(
        reduce(np.add, (tile.cells for tile in balances)),
        reduce(np.add, (tile.withheld for tile in balances)),
        reduce(np.add, (tile.explained for tile in balances)),
        reduce(np.add, (tile.count for tile in balances)),
        max(tile.largest_area for tile in balances),
    )
