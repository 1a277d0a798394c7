"""Methods of reconstruction: one reallocation, or the posterior mean of cells and neighbours.

Each method is a few functions on a tile. Between them the tile waits for a statistic of the whole
scene, see `sarheight.layover._statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.estimation import average, conclude, error_variance, logarithms, regress

from sarheight.layover._statistics import (
    USUAL_CONTRAST,
    agreement_class,
    error_terms,
    kind_factors,
)
from sarheight.layover.allocation import (
    NO_IMAGE,
    AllocatedRcs,
    ComparedRatios,
    Comparison,
    Estimate,
    EstimatedTile,
)
from sarheight.layover.tiles import Support

if TYPE_CHECKING:
    from sarheight.layover._statistics import Agreement, ErrorModel, Samples, SceneLaw
    from sarheight.layover.allocation import Cells, Layer, Layers, Observation, PassTile
    from sarheight.layover.tiles import GridScale, Taps

ONE = np.float32(1.0)
MIDDLE_ANGLE, ANGLE_UNIT = 35.0, 10.0
"""Incidence angle in degrees at which the level of a neighbourhood is that of its regression, and
the unit of its slope: most ground is seen at about that angle."""
ANGLE_LIMITS = (-3.0, 2.5)
"""Angles, in these units, beyond which a slope is not followed: 5 and 60 degrees."""
ROUGHNESS = 0.053
"""Variance of ground about its regression (1 dB). Results hardly depend on it."""
LEVEL_VARIANCE, SLOPE_VARIANCE = 0.33, 0.12
"""Variance of levels (2.5 dB) and of slopes (1.5 dB for 10 degrees) of kinds of ground, as those of
published C-band curves. Results hardly depend on them either."""
LATER_BLUR = 1.25
"""Once reflectivities are known, image and simulation are smoothed by so much more: what one place
takes from another by smoothing is in the simulation as well."""
OPEN_INFLATION, LAYOVER_INFLATION = 1.28, 1.9
"""A posterior variance is multiplied by the first, plus the second times the squared share of its
pixels that is not the cell's: predictions are not independent of values, least of all in layover.
Both are such that intervals held what they state at the places for development (see the page on
the independent test)."""


@dataclass(frozen=True)
class Reallocation:
    r"""One step of reallocation: each cell is allocated its share of each pixel it illuminates.

    .. math:: \hat{x}_g = \frac{\sum_p W_{pg} I_p / S_p}{\sum_p W_{pg}},
              \qquad S_p = \sum_g W_{pg}

    with the RCS :math:`W_{pg}` that the cell would contribute to the pixel by the backscatter law
    alone. Every pixel's RCS is allocated exactly once. With a law of constant gamma0 this is
    area-projection radiometric terrain correction, see `RTC`.

    References
    ----------
    SAR2HEIGHT, EGU General Assembly 2026, EGU26-8644.
    Small, D. (2011). Flattening gamma. IEEE TGRS 49(8), 3081-3093.
    """


@dataclass(frozen=True)
class RTC(Reallocation):
    r"""Area-projection radiometric terrain correction: all cells share one gamma0.

    Each pixel's RCS is divided by the illuminated area that projects into it, and a cell takes
    the mean of its pixels, weighted by its own projected area in them:

    .. math:: \hat\gamma_g = \frac{\sum_p A_{pg} \, \tilde E_p / \tilde A_p}{\sum_p A_{pg}},
              \qquad A_p = \sum_g A_{pg}

    (Small 2011, read from the ground). RCS :math:`E` and area :math:`A` are both smoothed before
    the division, as :math:`\tilde E` and :math:`\tilde A`, because a DEM puts area into a pixel
    beside the right one, and the quotient of two images that do not fit is large. No backscatter
    law is used.

    Attributes
    ----------
    blur : float
        Standard deviation of that smoothing, in postings of the DEM; 0 for none.

    References
    ----------
    Small, D. (2011). Flattening gamma: radiometric terrain correction for SAR imagery. IEEE TGRS
    49(8), 3081-3093.
    """

    blur: float = 0.2

    def __post_init__(self) -> None:
        """Check the settings."""
        if not 0.0 <= self.blur < np.inf:
            msg = f"found blur={self.blur}; expected a number of postings, not negative"
            raise ValueError(msg)


@dataclass(frozen=True)
class PosteriorMean:
    r"""Reallocation that weighs pixels, combined with what the neighbouring cells predict.

    The share of a cell in a pixel in layover rests on a model of the terrain, and errs with it.
    Two things are known all the same: a DEM puts RCS into the wrong pixel, but seldom far off; and
    neighbouring cells look alike once their incidence is accounted for. So

    1. image and simulation S are both smoothed over `blur` before they are compared, so that RCS
       that is a little off is still allocated to its cell;
    2. each pixel p counts by how sure its simulation is. An error of the DEM displaces RCS along
       range, and changes the simulation by as much as S changes from sample to sample:

       .. math:: \hat x_g = x_g \frac{\sum_p W_{pg} \, \omega_p \, I_p / S_p}
                 {\sum_p W_{pg} \, \omega_p}, \qquad
                 \omega_p = \frac{1}{f + (\partial \ln S / \partial s)_p^2}

       with the assumed reflectivity x, at first equal for all cells of a kind;
    3. the logarithm of that value has an error variance with four terms: speckle, by the number of
       looks that the cell's pixels hold; the part of its pixels that other places share, by how
       much places differ in this scene; the DEM's error, by the change of S over its pixels; and
       what remains where all these are small (`sarheight_kernels.estimation`);
    4. its neighbours within `pooling` postings predict it by a regression on the incidence angle:
       ground of another kind differs from the scene's law by a level and by an angular slope. How
       well they predict is measured in cells that have their pixels to themselves;
    5. the posterior mean averages value and prediction, in logarithms, by their precision;
    6. where there are several passes, each takes the others' posterior means for another
       prediction. How far passes agree, and how agreement falls with the difference of their
       incidence angles, is measured where both see the ground well: at angles at which they do not
       agree, nothing is borrowed;
    7. with posterior means in place of equal reflectivity all of it is done again, `steps` times
       in all: a bright place now claims more of the pixels that it shares.

    In the end all cells of a pass are scaled by one factor, so that their RCS is that of its
    image.

    Attributes
    ----------
    steps : int
        Number of reallocations.
    blur : float
        Standard deviation of the smoothing of the image, in postings of the facets into which
        cells of the DEM are divided.
    pooling : float
        Standard deviation of the neighbourhood on the ground, in postings of the DEM.

    References
    ----------
    Shepp, L. A., Vardi, Y. (1982). Maximum likelihood reconstruction for emission tomography.
    IEEE Transactions on Medical Imaging 1(2), 113-122: the step without a prior.
    Robinson, G. K. (1991). That BLUP is a good thing: the estimation of random effects.
    Statistical Science 6(1), 15-32: the prediction.
    Efron, B., Morris, C. (1973). Stein's estimation rule and its competitors. JASA 68, 117-130:
    weights measured from the data.
    """

    steps: int = 2
    blur: float = 0.4
    pooling: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.steps < 1 or not self.blur >= 0.0 or not self.pooling > 0.0:
            msg = (
                f"found steps={self.steps}, blur={self.blur}, pooling={self.pooling}; expected at "
                "least one step, a blur that is not negative, and a positive pooling distance"
            )
            raise ValueError(msg)


Method = Reallocation | PosteriorMean


def support_of(method: Method, scale: GridScale, *, first: bool = False) -> Support:
    """Add up the surroundings of a cell on which a method's result depends, or its first step."""
    blurs = [_blur(method, scale, index, step=1) for index in range(len(scale.cell_sizes))]
    reaches = [(0, 0) if blur is None else _reach(blur) for blur in blurs]
    # One sample more, from which the change of simulated RCS is found.
    lines, samples = (max(reach) + 1 for reach in zip(*reaches, strict=True))
    if isinstance(method, Reallocation):
        return Support(1, (lines, samples), (0, 0), (48, 16), (24, 16))
    down, across = _reach(neighbourhood(method, scale))
    steps = 1 if first else method.steps
    if first:
        down, across = 0, 0
    rows, columns = steps * down, steps * across
    return Support(steps, (steps * lines, steps * samples), (rows, columns), (60, 56), (12, 14))


def _reach(taps: Taps) -> tuple[int, int]:
    """Distance at which weights end, along both axes."""
    return taps[0].size // 2, taps[1].size // 2


def _blur(method: Method, scale: GridScale, index: int, step: int = 0) -> Taps | None:
    """Weights by which the image of a pass is smoothed in a step."""
    if isinstance(method, RTC):
        return scale.image_taps(method.blur, index)
    if isinstance(method, PosteriorMean):
        wider = LATER_BLUR if step else 1.0
        return scale.image_taps(wider * method.blur / scale.facets, index)
    return None


def neighbourhood(method: PosteriorMean, scale: GridScale) -> Taps:
    """Weights of the neighbours of a cell; that of the cell itself is 1."""
    down, across = scale.ground_taps(method.pooling)
    return down / down.max(), across / across.max()


# The first allocation, and the estimates of a single step.


@dataclass(frozen=True, eq=False)
class AllocatedTile:
    """A tile whose passes are allocated with equal reflectivity of all cells of a kind."""

    observations: list[Observation]
    passes: list[PassTile]  # under their backscatter laws
    # Logarithm of the law of each cell's kind over the scene's law; None where all are 0.
    kinds: list[Layer | None]
    first: list[AllocatedRcs]
    expected: list[Layer]  # RCS by the law; 0 where a cell is too small to have a value
    compared: list[ComparedRatios]  # nothing where no variance is wanted
    cells: Cells  # those on which statistics rest


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
    passes = [
        observation.image.under(law.law, observation.ellipsoid if geocoded else None)
        for observation, law in zip(observations, laws, strict=True)
    ]
    kinds = [
        kind_factors(observation, law) for observation, law in zip(observations, laws, strict=True)
    ]
    first, comparisons = [], []
    for index, (one, kind) in enumerate(zip(passes, kinds, strict=True)):
        blur = _blur(method, scale, index)
        assumed = None if kind is None else np.exp(kind)
        # Ratios take the place of allocated RCS: that is not smoothed then.
        ratios = isinstance(method, PosteriorMean)
        comparison = Comparison(blur, ratios) if compared else None
        allocated, sums = one.allocate_and_compare(
            assumed, None if ratios else blur, comparison=comparison
        )
        first.append(allocated)
        if sums is not None:
            comparisons.append(sums)
    expected = [allocated.without_small_cells(least_area) for allocated in first]
    cells = observations[0].sampled_cells(scale)
    return AllocatedTile(observations, passes, kinds, first, expected, comparisons, cells)


def error_of(
    tile: AllocatedTile,
    index: int,
    scale: GridScale,
    method: Method,
    contrast: float,
    cells: Cells | None = None,
) -> Layer:
    """Error variance of the logarithms of the values of one pass; of some cells shape (1, n)."""
    allocated, one = tile.first[index], tile.passes[index]
    terms = error_terms(
        one.geometry.grid,
        scale.samples_per_metre[index],
        contrast,
        weighted=isinstance(method, PosteriorMean),
    )
    changes = cast("Layer", tile.compared[index].change)
    layers = [allocated.contribution, allocated.speckle, changes, allocated.expected]
    if cells is not None:
        layers = [layer[cells][None] for layer in layers]
    share, speckle, change, expected = layers
    error = np.empty_like(share)
    error_variance(share, speckle, change, expected, terms, error)
    return error


def estimate_step(
    tile: AllocatedTile,
    models: Sequence[Sequence[ErrorModel]],
    method: Method,
    scale: GridScale,
) -> EstimatedTile:
    """Take allocated reflectivities as estimates, with their error variances if these are known."""
    estimates = []
    for index, allocated in enumerate(tile.first):
        if models:
            contrasts = [model.contrast for model in models[index]]
            variance = _stack([error_of(tile, index, scale, method, each) for each in contrasts])
        else:
            variance = np.empty_like(allocated.rcs)
            variance.fill(np.nan)
        estimates.append(Estimate(allocated.reflectivity, variance, allocated))
    return EstimatedTile(tile.observations, estimates)


def sample_values(tile: AllocatedTile, method: Method, scale: GridScale) -> Samples:
    """Sample the values of a tile's cells, for the error model.

    Returns for each pass and sampled cell the error variance of values in a scene of usual
    contrast, and by polarisation the logarithms of values, shape (1 + polarisations, n).
    """
    samples = []
    for index, allocated in enumerate(tile.first):
        error = error_of(tile, index, scale, method, USUAL_CONTRAST, tile.cells)[0]
        use = np.isfinite(error) & (tile.expected[index][tile.cells] > 0.0)
        row, column = (places[use] for places in tile.cells)
        if isinstance(method, PosteriorMean):
            polarisations = range(allocated.rcs.shape[0])
            values = [first_values(tile, index, p, (row, column))[0] for p in polarisations]
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = list(np.log(allocated.reflectivity[:, row, column]))
        samples.append(np.vstack((error[use], *values)))
    return samples


# The posterior mean, step by step. All is in logarithms, relative to the law of a cell's kind.


@dataclass(frozen=True, eq=False)
class PosteriorState:
    """Value, prediction and posterior of each cell in one polarisation of one pass."""

    value: Layer
    error: Layer  # error variance of the value
    prediction: Layer  # by neighbours, or by them and other passes
    spread: Layer  # its variance
    borrowed: Layer | None = None  # weight of other passes in the prediction

    @cached_property
    def posterior(self) -> tuple[Layer, Layer]:
        """Mean and variance of value and prediction, averaged by their precision."""
        mean, variance = np.empty_like(self.value), np.empty_like(self.value)
        average(self.value, self.error, self.prediction, self.spread, mean, variance)
        return mean, variance

    def conclude(self, contribution: Layer) -> tuple[Layer, Layer]:
        """Weight of the value in the posterior mean, and the variance that is stated."""
        own, stated = np.empty_like(self.value), np.empty_like(self.value)
        inflation = OPEN_INFLATION, LAYOVER_INFLATION
        conclude(self.value, self.error, self.posterior[1], contribution, inflation, own, stated)
        return own, stated


@dataclass(frozen=True, eq=False)
class PosteriorTile:
    """A tile after a step of the posterior mean; nested lists are by pass and polarisation."""

    tile: AllocatedTile
    models: Sequence[Sequence[ErrorModel]]
    errors: list[list[Layer]]  # error variances of own values
    states: list[list[PosteriorState]]


def first_values(
    tile: AllocatedTile, index: int, polarisation: int, cells: Cells | None = None
) -> Layer:
    """Logarithms of the values of the first step in one polarisation; of some cells (1, n)."""
    compared = tile.compared[index]
    layers = [compared.ratios[polarisation], compared.weight, tile.expected[index]]
    if cells is not None:
        layers = [layer[cells][None] for layer in layers]
    return _values(layers[0], layers[1], layers[2], NO_IMAGE)


def _values(ratios: Layer, weight: Layer, expected: Layer, known: Layer) -> Layer:
    """Logarithms of ratios times what is known; NaN where nothing is expected."""
    value = np.empty_like(weight)
    logarithms(ratios, weight, expected, known, value)
    return value


def predict(
    tile: AllocatedTile, index: int, value: Layer, error: Layer, taps: Taps, level: float
) -> Layer:
    """Predict the values of cells from their neighbours, about the level of the scene."""
    prediction = np.empty_like(value)
    regress(
        value,
        error,
        tile.observations[index].angles["local_incidence"],
        (MIDDLE_ANGLE, ANGLE_UNIT, *ANGLE_LIMITS),
        level,
        (ROUGHNESS, LEVEL_VARIANCE, SLOPE_VARIANCE),
        *taps,
        prediction,
    )
    return prediction


def first_posterior(
    tile: AllocatedTile,
    models: Sequence[Sequence[ErrorModel]],
    method: PosteriorMean,
    scale: GridScale,
) -> PosteriorTile:
    """Combine values of the first step with what neighbours predict."""
    errors = [
        [error_of(tile, index, scale, method, model.contrast) for model in by_polarisation]
        for index, by_polarisation in enumerate(models)
    ]
    values = [
        [first_values(tile, index, p) for p in range(len(of_pass))]
        for index, of_pass in enumerate(errors)
    ]
    return _with_neighbours(PosteriorTile(tile, models, errors, []), values, method, scale)


def _with_neighbours(
    posterior_tile: PosteriorTile,
    values: Sequence[Sequence[Layer]],
    method: PosteriorMean,
    scale: GridScale,
) -> PosteriorTile:
    """Combine values with what neighbours predict."""
    taps = neighbourhood(method, scale)
    states = []
    for index, (of_pass, errors, models) in enumerate(
        zip(values, posterior_tile.errors, posterior_tile.models, strict=True)
    ):
        by_polarisation = []
        for value, error, model in zip(of_pass, errors, models, strict=True):
            prediction = predict(posterior_tile.tile, index, value, error, taps, model.level)
            spread = np.empty_like(value)
            spread.fill(model.prediction)
            by_polarisation.append(PosteriorState(value, error, prediction, spread))
        states.append(by_polarisation)
    return replace(posterior_tile, states=states)


def next_posterior(
    posterior_tile: PosteriorTile, method: PosteriorMean, scale: GridScale
) -> PosteriorTile:
    """Compare again, by posterior means in place of equal reflectivity, and combine."""
    tile = posterior_tile.tile
    values = []
    for index, (one, kind, states) in enumerate(
        zip(tile.passes, tile.kinds, posterior_tile.states, strict=True)
    ):
        blur = _blur(method, scale, index, step=1)
        of_pass = []
        for p, state in enumerate(states):
            # Means of values and predictions, which exist for every cell.
            known = state.posterior[0]
            assumed = _exponential(known, kind)
            compared = one.compare(assumed, blur, slice(p, p + 1))
            value = _values(compared.ratios[0], compared.weight, tile.expected[index], known)
            of_pass.append(value)
        values.append(of_pass)
    return _with_neighbours(posterior_tile, values, method, scale)


def _exponential(logarithm: Layer, kind: Layer | None) -> Layer:
    """Turn logarithms relative to the law of a kind into factors on the scene's law."""
    result = np.empty_like(logarithm)
    if kind is not None:
        logarithm = np.add(logarithm, kind, out=result)
    return np.exp(logarithm, out=result)


def _stack(layers: Sequence[Layer]) -> Layers:
    """Stack layers of polarisations; a single one is not copied."""
    if len(layers) == 1:
        return layers[0][None]
    result = np.empty((len(layers), *layers[0].shape), np.float32)
    return np.stack(layers, out=result)


def estimate_posterior(posterior_tile: PosteriorTile) -> EstimatedTile:
    """Take posterior means as estimates."""
    tile = posterior_tile.tile
    estimates = []
    for kind, states, allocated in zip(tile.kinds, posterior_tile.states, tile.first, strict=True):
        means = [_exponential(state.posterior[0], kind) for state in states]
        own, variances = zip(
            *[state.conclude(allocated.contribution) for state in states], strict=True
        )
        # Of the prediction's weight, what it owes to other passes.
        borrowed = [
            (ONE - share) * state.borrowed
            for share, state in zip(own, states, strict=True)
            if state.borrowed is not None
        ]
        estimates.append(
            Estimate(
                _stack(means),
                _stack(variances),
                allocated,
                _stack(own),
                _stack(borrowed) if borrowed else None,
            )
        )
    return EstimatedTile(tile.observations, estimates, averaged=True)


# Several passes, which learn from each other.


def _classes(tile: AllocatedTile, here: int, there: int) -> NDArray[np.intp]:
    """Class of each cell for a pass that borrows from another, see `agreement_class`."""
    angles = [tile.observations[one].angles["local_incidence"] for one in (here, there)]
    return agreement_class(tile.observations[here].fold_count > 1, angles[0] - angles[1])


def sample_pass_pairs(posterior_tile: PosteriorTile) -> Samples:
    """Compare each pass with each other one, in cells that are not folded in the other.

    For each polarisation and ordered pair of passes: class, value less the neighbours' prediction,
    the other pass's posterior mean less that prediction, and the variance of the first difference,
    shape (4, n).
    """
    tile, states = posterior_tile.tile, posterior_tile.states
    samples = []
    for p in range(len(states[0])):
        for here, there in permutations(range(len(states)), 2):
            state, other = states[here][p], states[there][p]
            predictor = _predictor(tile, there, other) - state.prediction
            residual, variance = state.value - state.prediction, state.error + state.spread
            sample = np.stack(
                [
                    layer[tile.cells].astype(np.float32)
                    for layer in (_classes(tile, here, there), residual, predictor, variance)
                ]
            )
            samples.append(sample[:, np.isfinite(sample).all(axis=0)])
    return samples


def _predictor(tile: AllocatedTile, index: int, state: PosteriorState) -> Layer:
    """Posterior mean of a pass where it sees the ground open; NaN elsewhere."""
    seen = (tile.observations[index].fold_count <= 1) & np.isfinite(state.value)
    predictor: Layer = np.where(seen, state.posterior[0], np.float32(np.nan))
    return predictor


def combine_passes(posterior_tile: PosteriorTile, agreements: Sequence[Agreement]) -> PosteriorTile:
    """Let passes learn from each other, in each polarisation."""
    tile, states = posterior_tile.tile, posterior_tile.states
    pairs = list(permutations(range(len(states)), 2))
    combined = [list(of_pass) for of_pass in states]
    for p in range(len(states[0])):
        for number, (here, there) in enumerate(pairs):
            agreement = agreements[p * len(pairs) + number]
            predictor = _predictor(tile, there, states[there][p])
            classes = _classes(tile, here, there)
            combined[here][p] = _borrow(combined[here][p], predictor, classes, agreement)
    return replace(posterior_tile, states=combined)


def _borrow(
    state: PosteriorState, predictor: Layer, classes: NDArray[np.intp], agreement: Agreement
) -> PosteriorState:
    """Improve a prediction by another pass, with the weight that was measured."""
    known = np.isfinite(predictor) & np.isfinite(state.prediction)
    weight = np.where(known, agreement.weight[classes], 0.0).astype(np.float32)
    offset = np.where(weight > 0.0, agreement.offset[classes], 0.0).astype(np.float32)
    step = np.where(known, predictor - state.prediction, np.float32(0.0))
    before = np.zeros_like(weight) if state.borrowed is None else state.borrowed
    return PosteriorState(
        state.value,
        state.error,
        state.prediction + offset + weight * step,
        state.spread * (1.0 - weight),
        (ONE - (ONE - before) * (ONE - weight)).astype(np.float32),
    )
