"""Steps of the method on one tile: allocation, values and their errors, posterior means.

`sarheight.layover._solve` says in which order they follow each other, and which statistics of the
whole scene (`sarheight.layover._statistics`) they rest on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.edges import keep_edges
from sarheight_kernels.estimation import average, conclude, error_variance, logarithms, regress
from sarheight_kernels.pool import spread_rows
from sarheight_kernels.smoothing import mean_slope_changes
from sarheight_kernels.tiles import TILE

from sarheight.layover._sampling import SAMPLED_CELLS
from sarheight.layover._statistics import FAR, NEAR, Differences, agreement_class, kind_factors
from sarheight.layover.allocation import (
    NO_IMAGE,
    AllocatedRcs,
    ComparedRatios,
    Comparison,
    Estimate,
    EstimatedTile,
    take_cells,
)
from sarheight.layover.methods import (
    DECIBELS_PER_NEPER,
    RTC,
    PosteriorMean,
    Reallocation,
    log_variance,
)
from sarheight.layover.tiles import Support

if TYPE_CHECKING:
    from sarheight.layover._statistics import Agreement, ErrorModel, Samples, SceneLaw
    from sarheight.layover.allocation import Cells, Layer, Layers, Observation, PassTile
    from sarheight.layover.methods import Method, Prior
    from sarheight.layover.tiles import GridScale, Taps

LATER_BLUR = 1.25
"""Once reflectivities are known, image and simulation are smoothed by so much more: what one place
takes from another by smoothing is in the simulation as well."""
LEAST_ALONE, COMPARED_CELLS = 0.7, 1 << 15
"""Contribution share above which cells tell how varied the ground is, and about how many do."""
NEIGHBOUR_DISTANCE = 0.7
"""Standard deviation in postings by which neighbours that look alike are weighed: the four next to
a cell count 0.36 of it, those at its corners 0.13."""


BEND_DISTANCE, MOST_POSTINGS = 90.0, 3
"""Metres over which slopes are compared to tell how rough ground is: one posting at least, and
three at most, as a finer DEM resolves more."""
BEND_REACH = 3
"""How many such distances it takes to the farthest heights that count for a cell."""
MOST_BENDS = 0.25
"""Mean square change of slope that rougher ground counts as: of the places for development of the
independent test, by which its effect is known, the roughest hundredth of the cells has 0.14 to
0.25."""


# Surroundings on which a method depends.


def support_of(method: Method, scale: GridScale, *, first: bool = False) -> Support:
    """Add up the surroundings of a cell on which a method's result depends, or its first step."""
    blurs = [_blur(method, scale, index, step=1) for index in range(len(scale.cell_sizes))]
    reaches = [(0, 0) if blur is None else _reach(blur) for blur in blurs]
    # One sample more, from which the change of simulated RCS is found.
    lines, samples = (max(reach) + 1 for reach in zip(*reaches, strict=True))
    down, across = _bend_lags(scale)
    heights = BEND_REACH * down, BEND_REACH * across
    if isinstance(method, Reallocation):
        return Support(1, (lines, samples), (0, 0), heights, (52, 16), (24, 16))
    down, across = (0, 0) if first else _reach(neighbourhood(method, scale))
    steps = 1 if first else method.steps
    # One cell more, from which neighbours that look alike are averaged.
    alike = 1 if method.prior.edges > 0.0 and not first else 0
    pixels, cells = (steps * lines, steps * samples), (steps * down + alike, steps * across + alike)
    return Support(steps, pixels, cells, heights, (64, 56), (12, 14))


def _reach(taps: Taps) -> tuple[int, int]:
    """Find the distance at which weights end, along both axes."""
    return taps[0].size // 2, taps[1].size // 2


def _blur(method: Method, scale: GridScale, index: int, step: int = 0) -> Taps | None:
    """Return the weights by which the image of a pass is smoothed in a step."""
    if isinstance(method, RTC):
        return scale.image_taps(method.blur, index)
    if isinstance(method, PosteriorMean):
        wider = LATER_BLUR if step else 1.0
        return scale.image_taps(wider * method.blur / scale.facets, index)
    return None


def neighbourhood(method: PosteriorMean, scale: GridScale) -> Taps:
    """Return the weights of the neighbours of a cell; that of the cell itself is 1."""
    down, across = scale.ground_taps(method.pooling)
    return down / down.max(), across / across.max()


# Reallocation, and the error of values.


@dataclass(frozen=True, eq=False)
class AllocatedTile:
    """A tile whose passes are allocated with equal reflectivity of all cells of a kind.

    Lists are by pass.
    """

    observations: list[Observation]
    images: list[PassTile]  # with operators under the backscatter laws
    # Logarithm of the law of each cell's kind over the scene's law; None where all are 0.
    kinds: list[Layer | None]
    allocated: list[AllocatedRcs]
    expected: list[Layer]  # RCS by the law; 0 where a cell is too small to have a value
    compared: list[ComparedRatios]  # nothing where no error is stated
    sampled: Cells  # cells on which statistics rest
    # Mean square change of slope around each cell; nothing where no error is stated.
    bends: Layer


def allocate_tile(
    observations: list[Observation],
    laws: Sequence[SceneLaw],
    method: Method,
    scale: GridScale,
    least_area: float,
    *,
    geocoded: bool,
    compared: bool,
) -> AllocatedTile:
    """Allocate the RCS of all passes over a tile with equal reflectivity of each kind's cells.

    Cells with less illuminated area than `least_area` square metres have no value. The images are
    `geocoded` and `compared` with their simulations where that is wanted.
    """
    first = observations[0]
    bends = bend_squares(first.image.geometry.heights, scale) if compared else NO_IMAGE
    tile = AllocatedTile([*observations], [], [], [], [], [], first.sampled_cells(scale), bends)
    for index, (observation, law) in enumerate(zip(observations, laws, strict=True)):
        image = observation.image.under(law.law, observation.ellipsoid if geocoded else None)
        kind = kind_factors(observation, law)
        blur = _blur(method, scale, index)
        # Ratios take the place of allocated RCS: that is not smoothed then.
        ratios = isinstance(method, PosteriorMean)
        allocated, comparison = image.allocate_and_compare(
            None if kind is None else np.exp(kind),
            None if ratios else blur,
            comparison=Comparison(blur, ratios) if compared else None,
        )
        tile.images.append(image)
        tile.kinds.append(kind)
        tile.allocated.append(allocated)
        tile.expected.append(allocated.without_small_cells(least_area))
        if comparison is not None:
            tile.compared.append(comparison)
    return tile


def bend_squares(heights: Layer, scale: GridScale) -> Layer:
    """Find the mean square by which slopes of a DEM change around each cell.

    Compared are the slopes to either side, down and across; squares are averaged over as far as
    these reach, and no more than `MOST_BENDS`. Beside voids, and at the border, there are none.
    """
    lags = _bend_lags(scale)
    # Slopes by metre of ground; the mean of squares down and across counts half of each.
    down, across = (
        math.sqrt(0.5) * posting / (lag * math.sqrt(scale.cell_area))
        for lag, posting in zip(lags, scale.posting, strict=True)
    )
    sizes = [2 * (BEND_REACH - 1) * lag + 1 for lag in lags]
    rows, columns = (np.full(size, 1.0 / size, np.float32) for size in sizes)
    squares = np.empty(heights.shape, np.float32)
    mean_slope_changes(heights, lags, (down, across), (rows, columns), MOST_BENDS, squares)
    return squares


def _bend_lags(scale: GridScale) -> tuple[int, int]:
    """Find over how many rows and columns slopes are compared."""
    down, across = (min(max(lag, 1), MOST_POSTINGS) for lag in _steps_of(scale, BEND_DISTANCE))
    return down, across


def value_errors(
    tile: AllocatedTile,
    index: int,
    scale: GridScale,
    method: Method,
    contrast: float,
    cells: Cells | None = None,
) -> Layer:
    """Find the error variance of logarithms of values of one pass; of some cells shape (1, n)."""
    allocated, grid = tile.allocated[index], tile.images[index].geometry.grid
    terms = method.errors.terms(grid, scale.samples_per_metre[index], contrast)
    changes = cast("Layer", tile.compared[index].change)
    layers = [allocated.contribution, allocated.speckle, changes, allocated.expected, tile.bends]
    if cells is not None:
        layers = [values[None] for values in take_cells(layers, cells)]
    share, speckle, change, expected, bends = layers
    error = np.empty_like(share)
    error_variance(share, speckle, change, expected, bends, terms, error)
    return error


def sample_values(tile: AllocatedTile, method: Method, scale: GridScale) -> Samples:
    """Sample the values of a tile's cells, for the error model.

    Returns for each pass and sampled cell the error variance of values in a scene of usual
    contrast, and by polarisation the logarithms of values, shape (1 + polarisations, n).
    """
    usual = log_variance(method.errors.usual_contrast)
    samples = []
    for index, allocated in enumerate(tile.allocated):
        error = value_errors(tile, index, scale, method, usual, tile.sampled)[0]
        expected, *_ = take_cells([tile.expected[index]], tile.sampled)
        use = np.flatnonzero(np.isfinite(error) & (expected > 0.0))
        row, column = (places[use] for places in tile.sampled)
        if isinstance(method, PosteriorMean):
            values = _first_values_of(tile, index, (row, column))
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = np.log(np.stack(take_cells([*allocated.reflectivity], (row, column))))
        samples.append(np.vstack((error[use], values)))
    return samples


def _first_values_of(tile: AllocatedTile, index: int, cells: Cells) -> NDArray[np.float32]:
    """Find the logarithms of values of the first step of some cells, shape (polarisations, n)."""
    polarisations = range(tile.allocated[index].rcs.shape[0])
    return np.stack([first_values(tile, index, p, cells)[0] for p in polarisations])


def sum_differences(tile: AllocatedTile, method: Method, scale: GridScale) -> list[Differences]:
    """Sum up differences of a tile's values at two distances, for the variation of each pass.

    Both cells of a pair have their pixels to themselves, and lie in one kernel tile of the DEM,
    which no tile divides. Nothing is needed but for posterior means.
    """
    if not isinstance(method, PosteriorMean):
        return []
    corner, core = tile.observations[0].corner, tile.observations[0].core
    thinned = _thinned(tile.sampled, corner, scale)
    sums = []
    for index, allocated in enumerate(tile.allocated):
        alone = spread_rows(
            lambda share, expected: (share > LEAST_ALONE) & (expected > 0.0),
            allocated.contribution,
            tile.expected[index],
            dtype=np.bool_,
        )
        use = alone[thinned]
        cells = thinned[0][use], thinned[1][use]
        values = _first_values_of(tile, index, cells).astype(np.float64)
        pairs, squares = np.zeros((2, values.shape[0], 2))
        for k, distance in enumerate((NEAR, FAR)):
            for axis, step in enumerate(_steps_of(scale, distance)):
                shifted = (cells[0] + step, cells[1]) if axis == 0 else (cells[0], cells[1] + step)
                first = cells[axis] + corner[axis]
                # A step of no cell, or of more than a kernel tile, leaves no pair.
                use = (first // TILE == (first + step) // TILE) & (shifted[axis] < core[axis].stop)
                use &= step > 0
                use[use] = alone[shifted[0][use], shifted[1][use]]
                others = _first_values_of(tile, index, (shifted[0][use], shifted[1][use]))
                difference = others - values[:, use]
                pairs[:, k] += np.isfinite(difference).sum(axis=1)
                squares[:, k] += np.nansum(difference**2, axis=1)
        known = np.isfinite(values).sum(axis=1).astype(np.float64)
        total, square = np.nansum(values, axis=1), np.nansum(values**2, axis=1)
        sums.append(Differences(known, total, square, pairs, squares))
    return sums


def _thinned(sampled: Cells, corner: tuple[int, int], scale: GridScale) -> Cells:
    """Take some of the sampled cells, which ones does not depend on the tile."""
    row, column = sampled
    among = max(min(scale.shape[0] * scale.shape[1], SAMPLED_CELLS) // COMPARED_CELLS, 1)
    number = row + corner[0] + 3 * (column + corner[1])
    # NumPy divides several numbers at once, but finds one remainder after the other.
    kept = np.flatnonzero(number // among * among == number)
    return row[kept], column[kept]


def _steps_of(scale: GridScale, distance: float) -> tuple[int, int]:
    """Find how many rows and columns a distance in metres is."""
    down, across = (round(distance / scale.cell_area**0.5 * each) for each in scale.posting)
    return down, across


def estimate_step(
    tile: AllocatedTile,
    models: Sequence[Sequence[ErrorModel]],
    method: Method,
    scale: GridScale,
) -> EstimatedTile:
    """Take allocated reflectivities as estimates, with their error variances if these are known."""
    estimates = []
    for index, allocated in enumerate(tile.allocated):
        if models:
            variance = _stack(
                [
                    value_errors(tile, index, scale, method, model.contrast)
                    for model in models[index]
                ]
            )
        else:
            variance = np.full_like(allocated.rcs, np.nan)
        estimates.append(Estimate(allocated.reflectivity, variance, allocated))
    return EstimatedTile(tile.observations, estimates)


# The posterior mean, step by step. All is in logarithms, relative to the law of a cell's kind.


@dataclass(frozen=True, eq=False)
class PosteriorState:
    """Value, prediction and posterior of each cell in one polarisation of one pass."""

    value: Layer
    error: Layer  # error variance of the value
    prediction: Layer  # by neighbours, or by them and other passes
    spread: Layer  # its variance
    borrowed: Layer | None = None  # weight of other passes in the prediction
    alike: Layer | None = None  # power of means, averaged with neighbours that look alike

    @cached_property
    def posterior(self) -> tuple[Layer, Layer]:
        """Average value and prediction by their precision: mean and variance."""
        mean, variance = np.empty_like(self.value), np.empty_like(self.value)
        average(self.value, self.error, self.prediction, self.spread, mean, variance)
        return mean, variance

    def reflectivity(self, kind: Layer | None) -> Layer:
        """Return what is estimated, as a factor on the scene's law."""
        if self.alike is None:
            return _exponential(self.posterior[0], kind)
        if kind is None:
            return self.alike
        return spread_rows(lambda power, factors: power * np.exp(factors), self.alike, kind)

    def conclude(self, contribution: Layer, prior: Prior, model: ErrorModel) -> tuple[Layer, Layer]:
        """Find the weight of the value in the posterior mean, and the variance that is stated."""
        own, stated = np.empty_like(self.value), np.empty_like(self.value)
        alone, shared = model.varied
        inflation = alone * prior.open_inflation, shared * prior.layover_inflation
        conclude(self.value, self.error, self.posterior[1], contribution, inflation, own, stated)
        return own, stated


@dataclass(frozen=True, eq=False)
class PosteriorTile:
    """A tile after a step of the posterior mean; nested lists are by pass and polarisation."""

    tile: AllocatedTile
    models: Sequence[Sequence[ErrorModel]]
    errors: list[list[Layer]]  # error variances of values
    states: list[list[PosteriorState]]


def first_values(
    tile: AllocatedTile, index: int, polarisation: int, cells: Cells | None = None
) -> Layer:
    """Find logarithms of values of the first step in one polarisation; of some cells (1, n)."""
    compared = tile.compared[index]
    layers = [compared.ratios[polarisation], compared.weight[0], tile.expected[index]]
    if cells is not None:
        layers = [values[None] for values in take_cells(layers, cells)]
    return _values(layers[0], layers[1], layers[2], NO_IMAGE)


def _values(ratios: Layer, weight: Layer, expected: Layer, assumed: Layer) -> Layer:
    """Find logarithms of ratios times assumed reflectivity; NaN where nothing is expected."""
    value = np.empty_like(weight)
    logarithms(ratios, weight, expected, assumed, value)
    return value


def first_posterior(
    tile: AllocatedTile,
    models: Sequence[Sequence[ErrorModel]],
    method: PosteriorMean,
    scale: GridScale,
) -> PosteriorTile:
    """Combine the values of reallocation with what neighbours predict."""
    errors = [
        [value_errors(tile, index, scale, method, model.contrast) for model in by_polarisation]
        for index, by_polarisation in enumerate(models)
    ]
    values = [
        [first_values(tile, index, p) for p in range(len(by_polarisation))]
        for index, by_polarisation in enumerate(models)
    ]
    return _with_neighbours(PosteriorTile(tile, models, errors, []), values, method, scale)


def next_posterior(
    posterior: PosteriorTile, method: PosteriorMean, scale: GridScale
) -> PosteriorTile:
    """Compare again, by posterior means in place of equal reflectivity, and combine."""
    tile = posterior.tile
    values = []
    for index, states in enumerate(posterior.states):
        # Means of values and predictions, which exist for every cell.
        means = _stack([state.posterior[0] for state in states])
        assumed = _exponential(means, tile.kinds[index])
        compared = tile.images[index].compare(assumed, _blur(method, scale, index, step=1))
        expected = tile.expected[index]
        values.append(
            [
                _values(ratios, weight, expected, mean)
                for ratios, weight, mean in zip(
                    compared.ratios, compared.weight, means, strict=True
                )
            ]
        )
    return _with_neighbours(posterior, values, method, scale)


def _with_neighbours(
    posterior: PosteriorTile,
    values: Sequence[Sequence[Layer]],
    method: PosteriorMean,
    scale: GridScale,
) -> PosteriorTile:
    """Combine values with what neighbours predict."""
    taps, prior = neighbourhood(method, scale), method.prior
    states: list[list[PosteriorState]] = []
    for index, by_polarisation in enumerate(values):
        angle = posterior.tile.observations[index].angles["local_incidence"]
        states.append([])
        for value, error, model in zip(
            by_polarisation, posterior.errors[index], posterior.models[index], strict=True
        ):
            prediction = _predict(value, error, angle, taps, model.level, prior)
            spread = np.full_like(value, prior.prediction * model.contrast)
            states[-1].append(PosteriorState(value, error, prediction, spread))
    return replace(posterior, states=states)


def _predict(
    value: Layer, error: Layer, angle: Layer, taps: Taps, level: float, prior: Prior
) -> Layer:
    """Predict the values of cells from their neighbours, about the level of the scene."""
    prediction = np.empty_like(value)
    regress(value, error, angle, prior.angle_scale, level, prior.variances, *taps, prediction)
    return prediction


def average_alike(posterior: PosteriorTile, prior: Prior, scale: GridScale) -> PosteriorTile:
    """Average posterior means with those of neighbours that look alike, so that edges stay.

    Passes and polarisations are compared together: an edge that one shows is kept in all.
    """
    down, across = (1.0 / each for each in scale.posting)
    above, beside, diagonal = np.exp(
        -0.5 * (np.array([down, across, np.hypot(down, across)]) / NEIGHBOUR_DISTANCE) ** 2
    ).tolist()
    weights, difference = (above, beside, diagonal), prior.edges / DECIBELS_PER_NEPER
    means = _stack([state.posterior[0] for of_pass in posterior.states for state in of_pass])
    states: list[list[PosteriorState]] = []
    image = 0
    for allocated, of_pass in zip(posterior.tile.allocated, posterior.states, strict=True):
        states.append([])
        for state in of_pass:
            alike, power = np.empty_like(state.value), spread_rows(np.exp, means[image])
            keep_edges(means, image, power, allocated.contribution, difference, weights, alike)
            states[-1].append(replace(state, alike=alike))
            image += 1
    return replace(posterior, states=states)


def estimate_posterior(posterior: PosteriorTile, method: PosteriorMean) -> EstimatedTile:
    """Take posterior means as estimates."""
    tile = posterior.tile
    estimates = []
    for kind, states, allocated, models in zip(
        tile.kinds, posterior.states, tile.allocated, posterior.models, strict=True
    ):
        concluded = [
            state.conclude(allocated.contribution, method.prior, model)
            for state, model in zip(states, models, strict=True)
        ]
        own, variances = zip(*concluded, strict=True)
        # Of the prediction's weight, what it owes to other passes.
        borrowed = [
            (np.float32(1.0) - share) * state.borrowed
            for share, state in zip(own, states, strict=True)
            if state.borrowed is not None
        ]
        estimates.append(
            Estimate(
                _stack([state.reflectivity(kind) for state in states]),
                _stack(variances),
                allocated,
                _stack(own),
                _stack(borrowed) if borrowed else None,
            )
        )
    return EstimatedTile(tile.observations, estimates, averaged=True)


def _exponential(logarithm: Layer, kind: Layer | None) -> Layer:
    """Turn logarithms relative to the law of a kind into factors on the scene's law."""
    if kind is None:
        return spread_rows(np.exp, logarithm)
    return spread_rows(lambda values, factors: np.exp(values + factors), logarithm, kind)


def _stack(layers: Sequence[Layer]) -> Layers:
    """Stack layers of polarisations; a single one is not copied."""
    return layers[0][None] if len(layers) == 1 else np.stack(layers)


# Several passes, which learn from each other.


def _classes(tile: AllocatedTile, here: int, there: int) -> NDArray[np.intp]:
    """Classify each cell for a pass that borrows from another, see `agreement_class`."""
    angles = [tile.observations[index].angles["local_incidence"] for index in (here, there)]
    return agreement_class(tile.observations[here].fold_count > 1, angles[0] - angles[1])


def sample_pass_pairs(posterior: PosteriorTile) -> Samples:
    """Compare each pass with each other one, in cells that are not folded in the other.

    For each polarisation and ordered pair of passes: class, value less the neighbours' prediction,
    the other pass's posterior mean less that prediction, and the variance of the first difference,
    shape (4, n).
    """
    tile, states = posterior.tile, posterior.states
    samples = []
    for p in range(len(states[0])):
        for here, there in permutations(range(len(states)), 2):
            state, other = states[here][p], states[there][p]
            predictor = _predictor(tile, there, other) - state.prediction
            residual, variance = state.value - state.prediction, state.error + state.spread
            layers = (_classes(tile, here, there), residual, predictor, variance)
            sample = np.stack([layer[tile.sampled].astype(np.float32) for layer in layers])
            samples.append(sample[:, np.isfinite(sample).all(axis=0)])
    return samples


def _predictor(tile: AllocatedTile, index: int, state: PosteriorState) -> Layer:
    """Return the posterior mean of a pass where it sees the ground open; NaN elsewhere."""
    seen = (tile.observations[index].fold_count <= 1) & np.isfinite(state.value)
    predictor: Layer = np.where(seen, state.posterior[0], np.float32(np.nan))
    return predictor


def combine_passes(posterior: PosteriorTile, agreements: Sequence[Agreement]) -> PosteriorTile:
    """Let passes learn from each other, in each polarisation."""
    tile, states = posterior.tile, posterior.states
    pairs = list(permutations(range(len(states)), 2))
    combined = [list(by_polarisation) for by_polarisation in states]
    for p in range(len(states[0])):
        for number, (here, there) in enumerate(pairs):
            agreement = agreements[p * len(pairs) + number]
            predictor = _predictor(tile, there, states[there][p])
            classes = _classes(tile, here, there)
            combined[here][p] = _borrow(combined[here][p], predictor, classes, agreement)
    return replace(posterior, states=combined)


def _borrow(
    state: PosteriorState, predictor: Layer, classes: NDArray[np.intp], agreement: Agreement
) -> PosteriorState:
    """Improve a prediction by another pass, with the weight that was measured."""
    known = np.isfinite(predictor) & np.isfinite(state.prediction)
    weight = np.where(known, agreement.weight[classes], 0.0).astype(np.float32)
    offset = np.where(weight > 0.0, agreement.offset[classes], 0.0).astype(np.float32)
    step = np.where(known, predictor - state.prediction, np.float32(0.0))
    before = np.zeros_like(weight) if state.borrowed is None else state.borrowed
    left = (np.float32(1.0) - before) * (np.float32(1.0) - weight)
    return replace(
        state,
        prediction=state.prediction + offset + weight * step,
        spread=state.spread * (1.0 - weight),
        borrowed=(np.float32(1.0) - left).astype(np.float32),
    )
