"""The heights of a tile that a coarse DEM and radar images agree on, with their spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from sarheight.illumination import LocalLaw
from sarheight.terrain.fields import (
    BlockMeans,
    GaussianField,
    HeightPrior,
    cosine_frequencies,
    patch_spectrum,
    quick_shape,
    relief_spectrum,
    smoothed_noise_spectrum,
)
from sarheight.terrain.inversion import (
    RESIDUAL_FREEDOM,
    LinearProblem,
    PassModel,
    PassState,
    Preconditioner,
    Unknowns,
    conjugate_gradients,
    linearise,
)

Floats = NDArray[np.float32]

NEPER = 10.0 / np.log(10.0)
"""Decibels in a neper of power."""
FREE_LAW = (3.0, 1.0, 0.3)
"""Standard deviations of level, angular slope and curvature of a tile's mean law: in nepers, nepers
for ten degrees, and nepers for their square."""
TEXTURE_LENGTH = 0.7
"""Smoothing of texture in cells."""
LONGEST_RELIEF, RELIEF_EXPONENT = 4.0, 3.2
"""Coarse cells beyond which relief within cells has no more power, and exponent of its spectrum."""
RELIEF_GROWTH = 1.25
"""Relief within cells grows with their size to this power: between 1.0 and 1.5 at the places for
development."""
LEAST_RELIEF = 0.05
"""Nowhere is the variance of relief within cells below this part of its mean."""
CORRELATED = 2.5
"""Pixels whose misfit is one: errors of the model reach over two pixels each way."""
PRIOR_PART, LARGEST_SCALE = 0.005, 2.0
"""The size of the coarse DEM's error that the settings state counts as much as this part of all
coefficients; the estimate changes at most by this factor at a time."""
DETERMINED = 0.5
"""Part of the coefficients that the images determine, of those that they would determine if the
reflectivity were known. Chosen at the places for development: a smaller part gives larger errors
of the DEM, more of which are corrected; with this one an error-free DEM was not made worse."""
FITTED_LAWS = 4
"""Rounds in which the mean law is fitted; the first finds its level."""


@dataclass(frozen=True)
class RefinementSettings:
    """Prior knowledge of a refinement, and effort.

    Spreads are standard deviations. Those of the ground are of published C-band curves and of the
    places for development.

    Parameters
    ----------
    error : float
        Error of the coarse DEM's cells, in metres, as expected: its size is estimated from here.
    error_length : float, optional
        Its correlation length in metres: the error is white noise smoothed by a Gaussian of this
        standard deviation. 1.5 coarse cells by default.
    level, patch : float
        Spread of the ground's level in dB, and the distance in metres at which it is correlated by
        1/e.
    texture : float
        Spread of the texture from cell to cell, in dB.
    slope, curvature : float
        Spread of the angular slope, in dB for ten degrees of incidence, and of the curvature, in
        dB for ten degrees squared, about the mean law of the tile.
    misfit : float
        Least disagreement of image and model, in nepers. What there is of it is estimated for each
        pass.
    iterations : int
        Linearisations.
    steps : int
        Most steps of conjugate gradients for each.
    samples : int
        Draws from the posterior distribution, for the standard deviation; 0 for none.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """

    error: float = 4.5
    error_length: float | None = None
    level: float = 2.2
    patch: float = 240.0
    texture: float = 0.9
    slope: float = 0.7
    curvature: float = 0.1
    misfit: float = 0.1
    iterations: int = 6
    steps: int = 12
    samples: int = 3

    def __post_init__(self) -> None:
        """Check the values."""
        for name, value in asdict(self).items():
            whole = name in ("iterations", "steps", "samples")
            least = 0 if name == "samples" else 1
            if value is None and name == "error_length":
                continue
            if whole and not (isinstance(value, int) and value >= least):
                msg = f"found {name}={value!r}, expected a whole number from {least}"
                raise ValueError(msg)
            if not whole and not (math.isfinite(value) and value > 0.0):
                unit = "metres above 0" if name in ("error", "error_length", "patch") else "above 0"
                msg = f"found {name}={value!r}, expected a number of {unit}"
                raise ValueError(msg)


def unknowns_of(
    coarse: NDArray[np.floating],
    posting: tuple[float, float],
    factor: int,
    settings: RefinementSettings,
) -> Unknowns:
    """Describe what is not known of a tile, by its coarse heights and the posting of its cells."""
    few = coarse.shape[0], coarse.shape[1]
    shape = factor * few[0], factor * few[1]
    step = float(np.sqrt(posting[0] * posting[1]))
    length = settings.error_length
    error = GaussianField(
        # A tenth of the error is independent from cell to cell, as by rounding.
        [settings.error, 0.1 * settings.error],
        [
            smoothed_noise_spectrum(
                cosine_frequencies(few), 1.5 if length is None else length / (step * factor)
            ),
            np.ones(few),
        ],
    )
    relief = GaussianField(
        [1.0],
        [relief_spectrum(cosine_frequencies(shape), LONGEST_RELIEF * factor, RELIEF_EXPONENT)],
    )
    blocks = BlockMeans.of(shape, factor)
    # The means of blocks, which are taken off, hold most of the spectrum's variance.
    # A cell that is not divided has no relief within.
    within = _spread_within(relief, blocks) if factor > 1 else np.float32(np.inf)
    relief.scale = _relief_of(coarse, factor, settings.error) / within
    facets = shape[0] - 1, shape[1] - 1
    frequency = cosine_frequencies(quick_shape(facets))
    patches = patch_spectrum(frequency, settings.patch / step)
    texture = smoothed_noise_spectrum(frequency, TEXTURE_LENGTH)
    spreads = np.array([settings.level, settings.slope, settings.curvature]) / NEPER
    laws = [
        GaussianField([spreads[0], settings.texture / NEPER], [patches, texture], FREE_LAW[0]),
        GaussianField([spreads[1]], [patches], FREE_LAW[1]),
        GaussianField([spreads[2]], [patches], FREE_LAW[2]),
    ]
    for each in laws:
        each.extent = facets
    return Unknowns(HeightPrior(blocks, error, relief), laws)


def _spread_within(relief: GaussianField, blocks: BlockMeans) -> np.float32:
    """Return the standard deviation of a field after the means of its blocks are taken off."""
    draw = np.random.default_rng(0).standard_normal(relief.shape, dtype=np.float32)
    return np.float32(np.sqrt(np.mean(np.square(blocks.within(relief.apply(draw))))))


def _relief_of(coarse: NDArray[np.floating], factor: int, error: float) -> Floats:
    """Estimate the standard deviation of relief within coarse cells, of the shape of fine ones.

    Blocks of three coarse cells hold relief as a coarse cell holds it, only more.
    """
    rows, columns = (size // 3 * 3 for size in coarse.shape)
    part = np.asarray(coarse[:rows, :columns], dtype=np.float32)
    within = BlockMeans.of((rows, columns), 3).within(part)
    square = gaussian_filter(within.astype(np.float64) ** 2, 4.0)
    # The DEM's own error is no relief; of an error that is smooth a third lies within blocks.
    square = np.maximum(square - (0.3 * error) ** 2, LEAST_RELIEF * float(square.mean()) + 1e-4)
    # From three cells to one, and from one to a part of it where it is divided further or less.
    spread = np.sqrt(square) * 3.0**-RELIEF_GROWTH * math.sqrt(1.0 - 1.0 / factor**2)
    missing = [(0, full - size) for full, size in zip(coarse.shape, spread.shape, strict=True)]
    spread = np.pad(spread, missing, mode="edge")
    return zoom(spread, factor, order=1, mode="nearest", grid_mode=True).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Solution:
    """The solution of a tile."""

    heights: Floats  # (rows, columns): metres
    sigma: Floats  # their standard deviation
    states: list[PassState]  # the images of the solution


ESTIMATED_PART, STATED_PART = 0.9, 0.9
"""Parts of variances of the coarse DEM's error that are added to the posterior one: of the
estimated variance, which counts only what the images determine, and is too small; and under a
single image of the stated variance as far as it exceeds that, since one image hardly tells an error
that it does not see from none. Chosen at the places for development, for intervals of 80 %."""
DRAW_STEPS = 2
"""Times the steps of conjugate gradients that a draw takes: it starts further from its solution."""


def solve(
    models: Sequence[PassModel],
    baseline: Floats,
    unknowns: Unknowns,
    settings: RefinementSettings,
    *,
    seed: int | Sequence[int] = 0,
) -> Solution:
    """Solve a tile: the images over it, of which there may be none, and what is not known.

    Heights in metres, shape (rows, columns), depart from the baseline.
    """
    random = np.random.default_rng(seed)
    if not models:
        return Solution(baseline.copy(), _prior_spread(unknowns, random), [])
    vector = _mean_law(models, baseline, unknowns)
    simulate = _Simulation(models, baseline, unknowns)
    states = simulate(vector)
    variances = [_residual_variance(each, settings.misfit) for each in states]
    for iteration in range(settings.iterations):
        problem = LinearProblem(unknowns, states, _weights(states, variances))
        preconditioner = problem.preconditioner(random)
        found = conjugate_gradients(
            problem.normal,
            problem.data(vector),
            vector.copy(),
            preconditioner.apply,
            settings.steps,
        )
        vector, states = _step(simulate, variances, (vector, states), found)
        variances = [_residual_variance(each, settings.misfit) for each in states]
        if iteration < settings.iterations - 1:
            vector = _scale_error(unknowns, vector, preconditioner, settings.error)
    sigma = _prior_spread(unknowns, random)
    if settings.samples:
        problem = LinearProblem(unknowns, states, _weights(states, variances))
        preconditioner = problem.preconditioner(random)
        steps = DRAW_STEPS * settings.steps
        draws = (
            _draw(problem, preconditioner.apply, steps, random) for _ in range(settings.samples)
        )
        sigma = _deviation(_spread(draws, unknowns), sigma, unknowns, settings, len(models))
    return Solution(baseline + unknowns.apply(vector)[0], sigma, states)


@dataclass(frozen=True, eq=False)
class _Simulation:
    """Simulates all passes, and takes their derivatives."""

    models: Sequence[PassModel]
    baseline: Floats
    unknowns: Unknowns

    def __call__(self, vector: Floats) -> list[PassState]:
        """Linearise about some coefficients."""
        departure, laws = self.unknowns.apply(vector)
        heights = self.baseline + departure
        return [linearise(model, heights, LocalLaw(laws)) for model in self.models]


def _step(
    simulate: _Simulation,
    variances: list[float],
    before: tuple[Floats, list[PassState]],
    target: Floats,
) -> tuple[Floats, list[PassState]]:
    """Move towards the target as far as it lowers the misfit: all, half or a quarter of the way."""
    vector, states = before
    sizes = [int(state.counts.sum()) for state in states]
    limit = _misfit(vector, states, variances, sizes)
    for part in (1.0, 0.5, 0.25):
        trial = vector + np.float32(part) * (target - vector)
        found = simulate(trial)
        if _misfit(trial, found, variances, sizes) <= limit:
            return trial, found
    return before


def _misfit(
    vector: Floats, states: list[PassState], variances: list[float], sizes: list[int]
) -> float:
    """Return minus the logarithm of the posterior density, for some number of pixels a pass."""
    total = 0.5 * float(vector.astype(np.float64) @ vector)
    for state, variance, size in zip(states, variances, sizes, strict=True):
        square = state.residual[state.counts].astype(np.float64) ** 2
        loss = np.log1p(square / (RESIDUAL_FREEDOM * variance))
        # Pixels that no longer count must not make a step look better.
        total += 0.5 * (RESIDUAL_FREEDOM + 1.0) / CORRELATED * float(np.mean(loss)) * size
    return total


def _residual_variance(state: PassState, least: float) -> float:
    """Estimate the variance of the residuals by that of a t distribution (Lange et al. 1989)."""
    square = state.residual[state.counts].astype(np.float64) ** 2
    if not square.size:
        return 1.0
    variance = float(square.mean())
    for _ in range(10):
        variance = float(
            np.mean((RESIDUAL_FREEDOM + 1.0) * square / (RESIDUAL_FREEDOM + square / variance))
        )
        variance = max(variance, least**2)
    return variance


def _weights(states: list[PassState], variances: list[float]) -> list[Floats]:
    """Return inverse variances of pixels: smaller for outliers, 0 for those that do not count."""
    weights = []
    for state, variance in zip(states, variances, strict=True):
        weight = (RESIDUAL_FREEDOM + 1.0) / (RESIDUAL_FREEDOM + state.residual**2 / variance)
        weight = np.where(state.counts, weight / (CORRELATED * variance), 0.0)
        weights.append(weight.astype(np.float32))
    return weights


def _prior_spread(unknowns: Unknowns, random: np.random.Generator) -> Floats:
    """Return the standard deviation of heights before any image."""
    draws = (random.standard_normal(unknowns.size, dtype=np.float32) for _ in range(8))
    return _spread(draws, unknowns)


def _scale_error(
    unknowns: Unknowns, vector: Floats, preconditioner: Preconditioner, stated: float
) -> Floats:
    """Estimate the size of the coarse DEM's error; return the coefficients for the new size.

    MacKay's update: the variance is the sum of the squared coefficients over the number of those
    that the images determine, which is that of all less the posterior variances. The size that was
    stated is a prior, of an inverse gamma distribution.
    """
    field = unknowns.heights.error
    mean = unknowns.split(vector)[0]
    determined = DETERMINED * float(np.sum(1.0 - preconditioner.heights[0]))
    worth = PRIOR_PART * mean.size
    expected = worth * (stated / field.deviations[0]) ** 2
    square = float(np.sum(np.square(mean, dtype=np.float64)))
    scale = math.sqrt((square + expected) / (determined + worth))
    scale = min(max(scale, 1.0 / LARGEST_SCALE), LARGEST_SCALE)
    field.update([scale * each for each in field.deviations])
    result = vector.copy()
    result[: mean.size] /= np.float32(scale)
    return result


def _draw(
    problem: LinearProblem,
    inverse: Callable[[Floats], Floats],
    steps: int,
    random: np.random.Generator,
) -> Floats:
    """Draw from the posterior distribution about its mean: solve for perturbed data and prior.

    The solution starts from the draw of the prior, so that in few steps it keeps the spread of what
    the images do not tell.
    """
    right = problem.adjoint(
        [
            np.sqrt(weight) * random.standard_normal(weight.shape, dtype=np.float32)
            for weight in problem.weights
        ]
    )
    start = random.standard_normal(right.size, dtype=np.float32)
    right += start
    return conjugate_gradients(problem.normal, right, start, inverse, steps)


def _spread(draws: Iterable[Floats], unknowns: Unknowns) -> Floats:
    """Return the standard deviation of heights by draws, averaged over neighbours."""
    squares = [np.square(unknowns.departure(each)) for each in draws]
    square = np.mean(squares, axis=0)
    return np.asarray(np.sqrt(gaussian_filter(square, 2.0)), dtype=np.float32)


def _deviation(
    spread: Floats,
    prior: Floats,
    unknowns: Unknowns,
    settings: RefinementSettings,
    images: int,
) -> Floats:
    """Return the standard deviation of heights, by that of the draws and that of the prior."""
    estimated = unknowns.heights.error.deviations[0] ** 2
    added = ESTIMATED_PART * estimated
    if images == 1:
        added += STATED_PART * max(settings.error**2 - estimated, 0.0)
    return np.asarray(np.hypot(np.minimum(spread, prior), math.sqrt(added)), dtype=np.float32)


def _mean_law(models: Sequence[PassModel], baseline: Floats, unknowns: Unknowns) -> Floats:
    """Fit one law to all passes: the vector whose fields of the law are constant."""
    law = np.zeros(len(unknowns.laws))
    for number in range(FITTED_LAWS):
        constant = [np.full(models[0].sight.shape[1:], each, dtype=np.float32) for each in law]
        states = [linearise(model, baseline, LocalLaw(constant)) for model in models]
        if number == 0:
            sums = [
                (model.observed[state.counts].sum(), state.simulated[state.counts].sum())
                for model, state in zip(models, states, strict=True)
            ]
            level = [math.log(one / two) for one, two in sums if one > 0.0 and two > 0.0]
            law[0] = np.mean(level) if level else 0.0
            continue
        angles = np.concatenate([state.angle.ravel() for state in states])
        values = np.concatenate([state.on_facets(state.residual).ravel() for state in states])
        good = np.isfinite(values)
        design = angles[good, None].astype(np.float64) ** np.arange(law.size)
        law += np.linalg.solve(design.T @ design + np.eye(law.size), design.T @ values[good])
    parts = [np.zeros(each.shape, dtype=np.float32) for each in unknowns.fields]
    for part, each, value in zip(parts[2:], unknowns.laws, law, strict=True):
        # A constant is its value times the root of the number of cells, in the first coefficient.
        part[0, 0] = value * math.sqrt(part.size) / each.root[0, 0]
    return np.concatenate([part.ravel() for part in parts])
