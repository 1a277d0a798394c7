"""Methods of reconstruction: one reallocation, or the posterior mean of cells and neighbours.

Each method is a few functions on a tile. Between them the tile waits for a statistic of the whole
scene, see `sarheight.layover._statistics`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from sarheight_kernels.estimation import pool, posterior

from sarheight.layover._statistics import SMALLEST, sample_neighbourhoods
from sarheight.layover.allocation import AllocatedRcs, Estimate
from sarheight.layover.tiles import Support

if TYPE_CHECKING:
    from sarheight.illumination import BackscatterLaw
    from sarheight.layover._statistics import Agreement, ErrorModel, Samples
    from sarheight.layover.allocation import Cells, Layer, Layers, Observation, PassTile
    from sarheight.layover.tiles import GridScale, Taps

PRIOR_DISTANCE = 2.0
"""The assumed reflectivity of the next step is pooled over this many pooling distances."""
VARIANCE_POOLING = 1.5
"""Neighbours with which the variance of one step is measured lie within this many postings."""


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
    r"""Reallocation, combined with a prior from neighbouring cells.

    The share of a cell in a pixel in layover rests on a model of the terrain, and errs with it.
    Two things are known all the same: a DEM puts RCS into the wrong pixel, but seldom far off; and
    neighbouring cells look alike once their slope is accounted for. So

    1. image and simulation are both smoothed over `blur` of the DEM's posting before they are
       compared, so that RCS that is a little off is still allocated to its cell;
    2. allocated RCS and expected RCS are pooled over `pooling` postings on the ground: their ratio
       is the prior mean of each cell;
    3. the error variance of allocated values is measured: by how much more than others cells with
       such a share of their pixels differ from their prior mean, and by how much places far apart
       differ, times the square of the share that is not the cell's. What remains for cells that
       have their pixels to themselves is the ground's own diversity. The posterior mean averages
       own value and prior mean by their precision;
    4. where there are several passes, each takes the others' posterior means for a second prior,
       as precise as passes agree where both have their pixels to themselves: a cell in layover in
       one pass learns from another in which it is not;
    5. with posterior means, pooled over twice the distance, in place of equal reflectivity all of
       it is done again, `steps` times in all: a bright place now claims more of the pixels that
       it shares.

    In the end all cells of a pass are scaled by one factor, so that their RCS is that of its
    image.

    Attributes
    ----------
    steps : int
        Number of reallocations.
    blur : float
        Standard deviation of the smoothing of the image, in postings of the DEM.
    pooling : float
        Standard deviation of the pooling on the ground, in postings of the DEM.

    References
    ----------
    Shepp, L. A., Vardi, Y. (1982). Maximum likelihood reconstruction for emission tomography.
    IEEE Transactions on Medical Imaging 1(2), 113-122: the step without a prior.
    Silverman, B. W. et al. (1990). A smoothed EM approach to indirect estimation problems. JRSS B
    52(2), 271-324: smoothing between steps.
    Efron, B., Morris, C. (1973). Stein's estimation rule and its competitors. JASA 68, 117-130:
    weights measured from the data.
    """

    steps: int = 2
    blur: float = 0.2
    pooling: float = 1.5

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.steps < 1 or not self.blur >= 0.0 or not self.pooling > 0.0:
            msg = (
                f"found steps={self.steps}, blur={self.blur}, pooling={self.pooling}; expected at "
                "least one step, a blur that is not negative, and a positive pooling distance"
            )
            raise ValueError(msg)


Method = Reallocation | PosteriorMean


def support_of(method: Method, scale: GridScale) -> Support:
    """Add up the surroundings of a cell on which a method's result depends."""
    blurs = [_blur(method, scale, index) for index in range(len(scale.cell_sizes))]
    reaches = [(0, 0) if blur is None else _reach(blur) for blur in blurs]
    lines, samples = (max(reach) for reach in zip(*reaches, strict=True))
    if isinstance(method, Reallocation):
        down, across = _reach(scale.ground_taps(VARIANCE_POOLING))
        return Support(1, (lines, samples), (down, across), (40, 16), (12, 8))
    near = _reach(scale.ground_taps(method.pooling))
    far = _reach(scale.ground_taps(PRIOR_DISTANCE * method.pooling))
    steps = method.steps
    # The prior's own variance is pooled once more than its mean.
    rows, columns = ((steps + 1) * a + (steps - 1) * b for a, b in zip(near, far, strict=True))
    return Support(steps, (steps * lines, steps * samples), (rows, columns), (52, 48), (12, 12))


def _reach(taps: Taps) -> tuple[int, int]:
    """Distance at which weights end, along both axes."""
    return taps[0].size // 2, taps[1].size // 2


# The first allocation, and the estimates of a single step.


@dataclass(frozen=True, eq=False)
class AllocatedTile:
    """A tile whose passes are allocated with equal reflectivity of all cells."""

    observations: list[Observation]
    passes: list[PassTile]  # under their backscatter laws
    first: list[AllocatedRcs]
    expected: list[Layer]  # RCS by the law; 0 where a cell is too small to have a value
    cells: Cells  # those on which statistics rest


@dataclass(frozen=True, eq=False)
class EstimatedTile:
    """A tile whose reflectivity is estimated."""

    observations: list[Observation]
    estimates: list[Estimate]


def allocate_tile(
    observations: list[Observation],
    laws: Sequence[BackscatterLaw],
    method: Method,
    scale: GridScale,
    smallest_area: float,
    *,
    geocode: bool,
) -> AllocatedTile:
    """Allocate the RCS of all passes over a tile with equal reflectivity of all cells."""
    passes = [
        observation.image.under(law, observation.ellipsoid if geocode else None)
        for observation, law in zip(observations, laws, strict=True)
    ]
    first = [one.allocate(blur=_blur(method, scale, i)) for i, one in enumerate(passes)]
    expected = [allocated.without_small_cells(smallest_area) for allocated in first]
    cells = observations[0].sampled_cells(scale.shape)
    return AllocatedTile(observations, passes, first, expected, cells)


def _blur(method: Method, scale: GridScale, index: int) -> Taps | None:
    """Weights by which the image of a pass is smoothed."""
    if isinstance(method, RTC | PosteriorMean):
        return scale.image_taps(method.blur, index)
    return None


def sample_tile_neighbourhoods(tile: AllocatedTile, method: Method, scale: GridScale) -> Samples:
    """Compare cells of a tile with their neighbourhood, for the error model."""
    pooling = VARIANCE_POOLING if isinstance(method, Reallocation) else method.pooling
    taps = scale.ground_taps(pooling)
    return sample_neighbourhoods(tile.first, tile.expected, tile.cells, taps)


def single_step(tile: AllocatedTile) -> EstimatedTile:
    """Take allocated reflectivities as estimates; their variances are left to `add_variance`."""
    estimates = [
        Estimate(allocated.reflectivity, np.empty_like(allocated.rcs), allocated)
        for allocated in tile.first
    ]
    return EstimatedTile(tile.observations, estimates)


def add_variance(tile: EstimatedTile, models: Sequence[Sequence[ErrorModel]]) -> None:
    """Write the variances of a single step into its estimates."""
    for estimate, by_polarisation in zip(tile.estimates, models, strict=True):
        for variance, model in zip(estimate.relative_variance, by_polarisation, strict=True):
            model.fill_variance(estimate.allocated.contribution, variance)


# The posterior mean, step by step.


@dataclass(frozen=True, eq=False)
class PosteriorState:
    """Own value and prior of each cell in one polarisation of one pass."""

    own: Layer  # allocated reflectivity
    error: Layer  # error variance of its logarithm
    weight: Layer  # expected RCS; positive where a cell has a value
    prior: Layer  # mean of the neighbourhood, or of that and other passes
    prior_variance: Layer  # variance of the prior's logarithm
    model: ErrorModel

    def posterior(self) -> tuple[Layer, Layer]:
        """Average own values and prior means by their precision: mean and relative variance."""
        mean, variance = np.empty_like(self.own), np.empty_like(self.own)
        posterior(
            self.own,
            self.error,
            self.weight,
            self.prior,
            self.prior_variance,
            self.model.diversity,
            mean,
            variance,
        )
        return mean, variance


@dataclass(frozen=True, eq=False)
class PosteriorTile:
    """A tile after a step of the posterior mean; nested lists are by pass and polarisation."""

    tile: AllocatedTile
    models: Sequence[Sequence[ErrorModel]]
    errors: list[list[Layer]]  # error variances of own values
    spatial_variances: list[list[Layer]]  # variances of the neighbourhoods' means as priors
    states: list[list[PosteriorState]]


def first_posterior(
    tile: AllocatedTile, models: Sequence[Sequence[ErrorModel]], near: Taps
) -> PosteriorTile:
    """Combine first allocations with the means of their neighbourhoods."""
    errors = [
        [model.variance(allocated.contribution) for model in by_polarisation]
        for allocated, by_polarisation in zip(tile.first, models, strict=True)
    ]
    variances = [
        [
            _prior_variance(model, error, weight, near)
            for model, error in zip(by_polarisation, of_pass, strict=True)
        ]
        for by_polarisation, of_pass, weight in zip(models, errors, tile.expected, strict=True)
    ]
    begun = PosteriorTile(tile, models, errors, variances, [])
    return _with_neighbours(begun, tile.first, near)


def _with_neighbours(
    posterior_tile: PosteriorTile, allocated: Sequence[AllocatedRcs], near: Taps
) -> PosteriorTile:
    """Combine allocations with the means of their neighbourhoods."""
    states = [
        [
            PosteriorState(own, error, weight, _pool(own, weight, near), variance, model)
            for own, error, variance, model in zip(
                of_pass.reflectivity, errors, variances, models, strict=True
            )
        ]
        for of_pass, errors, variances, models, weight in zip(
            allocated,
            posterior_tile.errors,
            posterior_tile.spatial_variances,
            posterior_tile.models,
            posterior_tile.tile.expected,
            strict=True,
        )
    ]
    return replace(posterior_tile, states=states)


def next_posterior(
    posterior_tile: PosteriorTile, method: PosteriorMean, scale: GridScale
) -> PosteriorTile:
    """Allocate again, by posterior means in place of equal reflectivity, and combine."""
    tile = posterior_tile.tile
    far = scale.ground_taps(PRIOR_DISTANCE * method.pooling)
    assumed = [_assumed_reflectivity(states, far) for states in posterior_tile.states]
    allocated = [
        one.allocate(reflectivity, _blur(method, scale, index), first=first)
        for index, (one, reflectivity, first) in enumerate(
            zip(tile.passes, assumed, tile.first, strict=True)
        )
    ]
    return _with_neighbours(posterior_tile, allocated, scale.ground_taps(method.pooling))


def _assumed_reflectivity(states: Sequence[PosteriorState], far: Taps) -> Layers:
    """Pool posterior means of a pass widely; 1 where nothing is known."""
    pooled = np.stack([_pool(state.posterior()[0], state.weight, far) for state in states])
    return np.nan_to_num(pooled, copy=False, nan=1.0)


def _pool(values: Layer, weight: Layer, taps: Taps) -> Layer:
    """Weighted mean around each cell."""
    result = np.empty_like(values)
    pool(values, weight, False, *taps, result)  # noqa: FBT003 - kernels take no keywords
    return result


def _prior_variance(model: ErrorModel, error: Layer, weight: Layer, near: Taps) -> Layer:
    """Variance of the logarithm of a neighbourhood's mean as a prior.

    It is the mean error variance of the neighbours, as their errors are not independent, and the
    ground's own diversity.
    """
    variance = np.nan_to_num(_pool(error, weight, near), copy=False)
    variance += np.float32(model.diversity)
    return np.maximum(variance, np.float32(SMALLEST), out=variance)


def estimate_posterior(posterior_tile: PosteriorTile) -> EstimatedTile:
    """Take posterior means as estimates."""
    estimates = []
    for states, allocated in zip(posterior_tile.states, posterior_tile.tile.first, strict=True):
        means, variances = zip(*(state.posterior() for state in states), strict=True)
        estimates.append(Estimate(np.stack(means), np.stack(variances), allocated))
    return EstimatedTile(posterior_tile.tile.observations, estimates)


# Several passes, which learn from each other.


def sample_pass_ratios(posterior_tile: PosteriorTile) -> Samples:
    """Compare passes in cells that both have to themselves.

    For each polarisation and each pair of passes there are logarithms of ratios.
    """
    tile, states = posterior_tile.tile, posterior_tile.states
    contributions = [allocated.contribution[tile.cells] for allocated in tile.first]
    samples = []
    for p in range(len(states[0])):
        means = [of_pass[p].posterior()[0][tile.cells] for of_pass in states]
        for k, j in combinations(range(len(states)), 2):
            both = (means[k] > 0.0) & (means[j] > 0.0)
            both &= contributions[k] >= states[k][p].model.middle
            both &= contributions[j] >= states[j][p].model.middle
            samples.append(np.log(means[k][both] / means[j][both]))
    return samples


def combine_passes(
    posterior_tile: PosteriorTile, agreements: Sequence[Agreement | None]
) -> PosteriorTile:
    """Let passes learn from each other, in each polarisation."""
    states = posterior_tile.states
    polarisations = len(states[0])
    pairs = len(agreements) // polarisations
    combined = [
        _combine([of_pass[p] for of_pass in states], agreements[p * pairs : (p + 1) * pairs])
        for p in range(polarisations)
    ]
    by_pass = [list(of_pass) for of_pass in zip(*combined, strict=True)]
    return replace(posterior_tile, states=by_pass)


def _combine(
    states: Sequence[PosteriorState], agreements: Sequence[Agreement | None]
) -> list[PosteriorState]:
    """Add the posterior means of other passes to the priors of one polarisation.

    The precision of another pass is measured where both have their pixels to themselves. A cell
    in layover in one pass then learns from another in which it is not.
    """
    means = [state.posterior()[0] for state in states]
    # Sums of precision times value, and of precision.
    sums: list[tuple[Layer, Layer]] = []
    for state in states:
        known = np.isfinite(state.prior)
        precision = np.where(known, 1.0 / state.prior_variance, np.float32(0.0))
        sums.append((precision * np.nan_to_num(state.prior), precision))
    for (k, j), agreement in zip(combinations(range(len(states)), 2), agreements, strict=True):
        if agreement is None:
            continue
        disagreement = np.float32(agreement.variance + SMALLEST)
        for to, source, sign in ((k, j, 1.0), (j, k, -1.0)):
            mean, error = means[source], states[source].error
            precision = np.where(np.isfinite(mean), 1.0 / (disagreement + error), np.float32(0.0))
            offset = np.float32(np.exp(sign * agreement.offset))
            sums[to][0][...] += precision * np.nan_to_num(mean) * offset
            sums[to][1][...] += precision
    with np.errstate(divide="ignore", invalid="ignore"):
        return [
            replace(state, prior=total / precision, prior_variance=1.0 / precision)
            for state, (total, precision) in zip(states, sums, strict=True)
        ]
