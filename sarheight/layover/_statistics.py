"""Statistics of a scene: backscatter law, error model, agreement of passes, balance of RCS.

Each is a function over tiles: a map, which takes samples or sums of one tile, and a reduction of
those of all tiles, in the order of the tiles. A scene in memory is one tile.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import rcs_balance
from sarheight_kernels.profiles import FORESHORTENING

from sarheight.errors import GeometryError
from sarheight.illumination import FittedLaw
from sarheight.layover.allocation import take_cells
from sarheight.layover.methods import log_variance

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.layover.allocation import Estimate, EstimatedTile, Layer, Observation
    from sarheight.layover.methods import ValueErrors
    from sarheight.layover.tiles import GridScale

Samples = list[NDArray[np.float32]]
"""Values of sampled cells, shape (..., n): one array for each pass, or pair of passes."""

ANGLE_CLASS = 3.0
"""Width of a class of incidence angles in degrees."""
FEWEST_CELLS = 50
"""A class of incidence angles with fewer cells does not count in the law."""
SMALLEST_OPEN_AREA = 0.25
"""Cells of which less than this part of their projected area is seen do not count in the law."""
CELLS_PER_CLASS = 200
"""So many sampled cells are the least from which variances are measured."""
FADING = 15.0
"""Standard deviation in degrees over which a law of a kind fades beyond the angles of its cells."""
MOST_KIND_FACTOR = 2.3
"""Logarithm of the law of a kind over the scene's law, at most (10 dB)."""
SMALLEST = 1e-6
"""Least variance, so that precisions are finite."""


def concatenate_samples(by_tile: Sequence[Samples]) -> Samples:
    """Concatenate the samples of all tiles along their last axis."""
    return [np.concatenate(of_pass, axis=-1) for of_pass in zip(*by_tile, strict=True)]


# Backscatter law: median gamma0 of open cells by incidence angle.


def sample_open_cells(observations: Sequence[Observation], scale: GridScale) -> Samples:
    """Sample the cells of a tile outside layover and shadow.

    Returns for each pass local incidence in degrees, the kind of ground (0 where none is known),
    and gamma0, shape (2 + polarisations, n).
    """
    return [_open_cells(observation, scale) for observation in observations]


def _open_cells(observation: Observation, scale: GridScale) -> NDArray[np.float32]:
    """Find incidence, kind and gamma0 of open cells in one pass."""
    category, fold_count = observation.category, observation.fold_count
    # Kinds of ground may be rare: with a guide all areas count.
    if observation.kind is not None:
        scale = replace(scale, sampled_parts=1, sampled_stride=None)
    parts = scale.sampled_parts
    kernel_tiles = None if parts == 1 else observation.sampled_kernel_tiles(parts)
    row, column = observation.sampled_cells(scale)
    codes, counts = take_cells([category, fold_count], (row, column))
    alone = (codes <= FORESHORTENING) & (counts == 1)
    if kernel_tiles is not None:
        alone &= observation.within_kernel_tiles((row, column), kernel_tiles)
    # Places are found once: a mask would be searched anew for each array.
    drawn = np.flatnonzero(alone)
    row, column = row[drawn], column[drawn]
    (incidence,) = take_cells([observation.angles["local_incidence"]], (row, column))
    gamma, area = observation.image.sample_reflectivity((row, column), kernel_tiles)
    # A cell whose surface faces the line of sight at theta projects to its area times cos(theta).
    large = area > SMALLEST_OPEN_AREA * scale.cell_area * np.cos(np.radians(incidence))
    good = np.flatnonzero(large & np.isfinite(incidence) & np.isfinite(gamma).all(axis=0))
    kind = np.zeros_like(incidence) if observation.kind is None else observation.kind[row, column]
    return np.vstack((incidence, kind, gamma))[:, good].astype(np.float32, copy=False)


@dataclass(frozen=True, eq=False)
class SceneLaw:
    """Backscatter law of a pass, and those of the kinds of ground that a guide tells apart."""

    law: BackscatterLaw
    kinds: dict[int, FittedLaw] = field(default_factory=dict)


def fit_laws(by_tile: Sequence[Samples]) -> list[SceneLaw]:
    """Fit the law of each pass, and of each kind of ground, to the open cells of all tiles."""
    laws = []
    for sample in concatenate_samples(by_tile):
        kinds = {}
        for kind in np.unique(sample[1][sample[1] > 0.0]):
            members = sample[:, sample[1] == kind]
            # A kind with few open cells, or at one angle only, follows the law of the scene.
            if members.shape[1] >= CELLS_PER_CLASS:
                with suppress(GeometryError):
                    kinds[int(kind)] = _fit_law(members[0], members[2:], 2.0 * ANGLE_CLASS)
        laws.append(SceneLaw(_fit_law(sample[0], sample[2:]), kinds))
    return laws


def kind_factors(observation: Observation, law: SceneLaw) -> Layer | None:
    """Find the logarithm of the law of each cell's kind over the scene's law.

    It is 0 where no kind is known; None is returned where all are 0.
    """
    if observation.kind is None or not law.kinds:
        return None
    factors = np.zeros(observation.category.shape, np.float32)
    angle = observation.angles["local_incidence"]
    for kind, own in law.kinds.items():
        members = (observation.kind == kind) & np.isfinite(angle)
        # Beyond the angles at which the kind was seen, its ratio fades into the scene's law.
        wanted = angle[members].astype(np.float64)
        here = np.clip(wanted, own.incidence[0], own.incidence[-1])
        ratio = np.log(own(here) / np.asarray(law.law(here)))
        ratio *= np.exp(-0.5 * ((wanted - here) / FADING) ** 2)
        factors[members] = np.clip(ratio, -MOST_KIND_FACTOR, MOST_KIND_FACTOR)
    return factors if factors.any() else None


def _fit_law(
    angle: NDArray[np.float32], gamma: NDArray[np.float32], width: float = ANGLE_CLASS
) -> FittedLaw:
    """Fit a law: median gamma0 by class of incidence, averaged over polarisations in decibels."""
    classes, index = int(90.0 / width), (angle.astype(np.float64) / width).astype(np.uint8)
    # In the order of their classes, so that each is a part of the arrays.
    order, ends = np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))
    angle, gamma = angle[order], gamma[:, order]
    centres, values, cells = [], [], []
    for first, end in pairwise((0, *ends[:classes].tolist())):
        if end - first >= FEWEST_CELLS:
            median = np.median(gamma[:, first:end], axis=1)
            if (median > 0.0).all():
                centres.append(float(angle[first:end].mean(dtype=np.float64)))
                values.append(float(np.log(median.astype(np.float64)).mean()))
                cells.append(end - first)
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


# Error model: what the logarithm of a cell's value is off by.


@dataclass(frozen=True)
class ErrorModel:
    """What is measured in the scene, in one polarisation of a pass."""

    contrast: float  # variance of the logarithm between places far apart
    level: float = 0.0  # median of the logarithm: of a law that is given only the shape counts
    # Factors on the inflation of stated variances, in open cells and in layover
    varied: tuple[float, float] = (1.0, 1.0)


def fit_error_models(by_tile: Sequence[Samples], errors: ValueErrors) -> list[list[ErrorModel]]:
    """Fit an error model to each pass and polarisation, from samples of all tiles."""
    return [
        [_fit_error_model(sample[0], value, errors) for value in sample[1:]]
        for sample in concatenate_samples(by_tile)
    ]


def _fit_error_model(
    error: NDArray[np.float32], value: NDArray[np.float32], errors: ValueErrors
) -> ErrorModel:
    """Measure the contrast of values in the half of cells whose errors are least."""
    valid = np.flatnonzero(np.isfinite(value) & np.isfinite(error))
    if valid.size < CELLS_PER_CLASS:
        level = float(np.median(value[valid])) if valid.size else 0.0
        return ErrorModel(log_variance(errors.usual_contrast), level)
    error, value = error[valid].astype(np.float64), value[valid].astype(np.float64)
    half = np.flatnonzero(error <= np.median(error))
    value = value[half]
    contrast = float(np.var(value)) - float(error[half].mean())
    least = log_variance(errors.least_contrast)
    return ErrorModel(max(contrast, least), float(np.median(value)))


# Intervals: how varied the ground is from cell to cell, and over the width of a fold.

NEAR, FAR = 90.0, 360.0
"""Distances in metres: of the neighbours that predict, and of the places that share pixels."""
USUAL_NEAR, USUAL_FAR = 0.42, 0.87
"""Semivariance at both distances over the variance of all, where inflation needs no factor."""
NEAR_POWER, FAR_POWER = 2.0 / 3.0, 5.0 / 3.0
"""Powers of both by which inflation changes: least squares of coverage at places for development,
over textures of 0 to 2 dB, patches of 200 to 2,000 m, DEM errors of 2 to 9 m and 1 to 20 looks."""
MOST_VARIED = 3.0
"""Factor by which inflation changes at most, either way."""


class Differences(NamedTuple):
    """Sums over cells that have their pixels to themselves, by polarisation, shape (p,) each."""

    cells: NDArray[np.float64]  # how many
    total: NDArray[np.float64]  # of their logarithms
    square: NDArray[np.float64]  # of the squares of these
    pairs: NDArray[np.float64]  # pairs of cells at both distances, shape (p, 2)
    squares: NDArray[np.float64]  # of the squares of their differences, shape (p, 2)


def measure_variation(
    models: Sequence[Sequence[ErrorModel]], by_tile: Sequence[Sequence[Differences]]
) -> list[list[ErrorModel]]:
    """Find by how much stated variances change with how varied the ground of the scene is.

    Where neighbours differ as much as any two cells do, they predict badly, and what others add to
    a cell's pixels is a guess. In a scene with fewer cells or pairs than matter, and of cells that
    are too small or large for a distance, nothing changes.
    """
    measured = []
    for of_pass, sums in zip(models, zip(*by_tile, strict=True), strict=True):
        added = Differences(*(reduce(np.add, each) for each in zip(*sums, strict=True)))
        measured.append(
            [replace(model, varied=_variation(added, p)) for p, model in enumerate(of_pass)]
        )
    return measured


def _variation(sums: Differences, polarisation: int) -> tuple[float, float]:
    """Find both factors of one polarisation."""
    cells, total, square, pairs, squares = (each[polarisation] for each in sums)
    factors = [1.0, 1.0]
    if cells >= CELLS_PER_CLASS:
        variance = max(square / cells - (total / cells) ** 2, SMALLEST)
        rules = (USUAL_NEAR, NEAR_POWER), (USUAL_FAR, FAR_POWER)
        for k, (usual, power) in enumerate(rules):
            if pairs[k] >= CELLS_PER_CLASS:
                ratio = max(0.5 * squares[k] / pairs[k] / variance, SMALLEST)
                factor = float((ratio / usual) ** power)
                factors[k] = min(max(factor, 1.0 / MOST_VARIED), MOST_VARIED)
    return factors[0], factors[1]


# Agreement of passes, at the pair of incidence angles at which it is used.

AGREEMENT_CLASSES = 8
"""Classes of cells in which agreement is measured: four of the difference of incidence (up to 10,
20, 30 degrees, and more), of cells that are folded in the pass that borrows, and of others."""
SIGNIFICANCE = 4.0
"""A pass is borrowed from in classes where its weight is that many standard errors from zero."""
LEAST_UNEXPLAINED = 0.5
"""Part of the expected variance of values about the neighbours' prediction that must be there
before silence of another pass is worth a warning."""
MOST_BORROWED = 0.9
"""Largest weight of another pass in a prediction."""


class Agreement(NamedTuple):
    """How one pass predicts another beside the neighbours, by class of cells.

    The prediction becomes ``p + offset + weight * (m - p)`` with the neighbours' prediction p and
    the posterior mean m of the other pass.
    """

    offset: NDArray[np.float64]  # (AGREEMENT_CLASSES,)
    weight: NDArray[np.float64]  # (AGREEMENT_CLASSES,); 0 where no help is shown
    is_measured: bool  # whether any class of open cells has enough of them


def agreement_class(folded: NDArray[np.bool_], difference: Layer) -> NDArray[np.intp]:
    """Classify cells by whether they are folded and by the difference of incidence in degrees."""
    step = np.clip(np.nan_to_num(np.abs(difference)) // 10.0, 0, AGREEMENT_CLASSES // 2 - 1)
    return (step + AGREEMENT_CLASSES // 2 * folded).astype(np.intp)


def measure_agreements(by_tile: Sequence[Samples]) -> list[Agreement]:
    """Measure how passes predict each other; see `sample_pass_pairs` for the samples."""
    return [_measure_agreement(sample) for sample in concatenate_samples(by_tile)]


def _measure_agreement(sample: NDArray[np.float32]) -> Agreement:
    """Regress a pass's own values on another pass, in each class of cells.

    Own values err independently of both predictions, so that the regression tells how the other
    pass is best weighed against the neighbours. Weights are those of the values' precision.
    """
    index, residual, predictor, variance = sample.astype(np.float64)
    offset, weight = np.zeros(AGREEMENT_CLASSES), np.zeros(AGREEMENT_CLASSES)
    measured = False
    for number in range(AGREEMENT_CLASSES):
        members = index == number
        if members.sum() < CELLS_PER_CLASS:
            continue
        y, x, w = residual[members], predictor[members], 1.0 / variance[members]
        # Where neighbours predict better than values tell, no pass has anything to add.
        measured |= number < AGREEMENT_CLASSES // 2 and np.mean(y * y * w) > LEAST_UNEXPLAINED
        mean_x, mean_y = np.average(x, weights=w), np.average(y, weights=w)
        spread = np.sum(w * (x - mean_x) ** 2)
        slope = np.sum(w * (x - mean_x) * (y - mean_y)) / max(spread, SMALLEST)
        rest = y - mean_y - slope * (x - mean_x)
        # Robust to weights that are not the true precisions (White 1980).
        error = np.sqrt(np.sum((w * (x - mean_x) * rest) ** 2)) / max(spread, SMALLEST)
        if slope > SIGNIFICANCE * error:
            weight[number] = min(slope, MOST_BORROWED)
            offset[number] = mean_y - weight[number] * mean_x
    return Agreement(offset, weight, measured)


def warn_of_disagreement(agreements: Sequence[Agreement]) -> None:
    """Warn where passes that see ground under like incidence do not predict each other."""
    silent = sum(
        agreement.is_measured and not agreement.weight[: AGREEMENT_CLASSES // 2].any()
        for agreement in agreements
    )
    if silent:
        warnings.warn(
            f"in {silent} of {len(agreements)} comparisons of passes, one does not predict the "
            "other even where both see the ground well: nothing is borrowed there. Check dates, "
            "polarisations and wavelengths of the images.",
            stacklevel=2,
        )


# Balance of RCS: all that the image holds is given out.


@dataclass(frozen=True, eq=False)
class Balance:
    """RCS in m2 of one pass, by polarisation, of a tile or a scene."""

    held: NDArray[np.float64]  # by cells with a value, by their estimate
    withheld: NDArray[np.float64]  # allocated to cells without one
    explained: NDArray[np.float64]  # of the illuminated pixels that have data
    spread: NDArray[np.float64]  # of cells with a value, times the variance of their logarithm
    count: NDArray[np.float64]  # cells with a value
    largest_area: float  # largest illuminated area of any cell in m2

    @property
    def by_variance(self) -> NDArray[np.float64]:
        """Find the factor k of 1 + k v by which cells hold what there is, less what is withheld.

        A posterior mean of logarithms is the median of a log-normal distribution, whose mean is
        larger by exp(v / 2) with the variance v: averages of logarithms lose RCS where they average
        what differs. So k is about 1/2; 0 where nothing is lost, and 1 at most.
        """
        lost = self.explained - self.withheld - self.held
        ratio = np.divide(lost, self.spread, out=np.zeros_like(lost), where=self.spread > 0.0)
        return np.clip(ratio, 0.0, 1.0)

    @property
    def factor(self) -> NDArray[np.float64]:
        """Find the factor on all estimates, beside `by_variance`, that balances RCS exactly."""
        held = self.held + self.by_variance * self.spread
        factor: NDArray[np.float64] = np.divide(
            self.explained - self.withheld, held, out=np.ones_like(held), where=held > 0.0
        )
        return factor

    def median_over_mean(self, variance: NDArray[np.float32]) -> NDArray[np.float32]:
        """Find the ratio of median to mean power, exp(-k v), by the variance v of logarithms.

        k is 1/2 for a log-normal distribution; less where so much RCS is not lost, as a stated
        variance is too large there. Shapes are (polarisations, rows, columns).
        """
        k = np.minimum(self.by_variance, 0.5).astype(np.float32)[:, None, None]
        ratio: NDArray[np.float32] = -k * variance
        return np.exp(ratio, out=ratio)

    def attributes(self) -> dict[str, list[float]]:
        """Return RCS by polarisation as attributes of a result, after balancing."""
        return {
            "rcs_cells": (self.factor * (self.held + self.by_variance * self.spread)).tolist(),
            "rcs_withheld": self.withheld.tolist(),
            "rcs_explained": self.explained.tolist(),
        }


def sum_rcs(tile: EstimatedTile, least_area: float) -> list[Balance]:
    """Sum up the RCS of a tile's cells in each pass; those below an area in m2 have no value."""
    passes = zip(tile.observations, tile.estimates, strict=True)
    sums = [_sum_rcs(observation.core, estimate, least_area) for observation, estimate in passes]
    if tile.averaged:
        return sums
    return [replace(balance, spread=np.zeros_like(balance.spread)) for balance in sums]


def _sum_rcs(core: tuple[slice, slice], estimate: Estimate, least_area: float) -> Balance:
    """Sum up the RCS of a tile's cells in one pass."""
    allocated = estimate.allocated
    polarisations = allocated.rcs.shape[0]
    # Held by cells with a value, withheld, number of cells with a value, RCS times variance.
    sums = np.empty((4, polarisations))
    for p in range(polarisations):
        by_row = np.empty((core[0].stop - core[0].start, 4))
        rcs_balance(
            estimate.reflectivity[p][core],
            estimate.relative_variance[p][core],
            allocated.rcs[p][core],
            allocated.expected[core],
            allocated.area[core],
            least_area,
            by_row,
        )
        sums[:, p] = by_row.sum(axis=0)
    largest = float(allocated.area[core].max(initial=0.0))
    return Balance(sums[0], sums[1], allocated.total, sums[3], sums[2], largest)


def balance_scene(by_tile: Sequence[Sequence[Balance]], least_area: float) -> list[Balance]:
    """Add up the RCS of all tiles for each pass; refuse a scene without a single value."""
    balances = [_add(of_pass) for of_pass in zip(*by_tile, strict=True)]
    if all(balance.count.sum() > 0.0 for balance in balances):
        return balances
    largest = max(balance.largest_area for balance in balances)
    msg = (
        "found no cell of the DEM of which the image shows enough: at most "
        f"{largest:.3g} m2 of a cell are illuminated and have data, expected "
        f"{least_area:.3g} m2 of one at least. Pass a DEM of the image's own area whose cells "
        "are small beside the image, and check that the image has data there."
    )
    raise GeometryError(msg)


def _add(balances: Sequence[Balance]) -> Balance:
    """Add up the RCS of tiles, in their order."""
    return Balance(
        reduce(np.add, (tile.held for tile in balances)),
        reduce(np.add, (tile.withheld for tile in balances)),
        reduce(np.add, (tile.explained for tile in balances)),
        reduce(np.add, (tile.spread for tile in balances)),
        reduce(np.add, (tile.count for tile in balances)),
        max(tile.largest_area for tile in balances),
    )
