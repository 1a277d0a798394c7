"""Refinement of a coarse DEM's heights by the radar images that they have to explain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

from sarheight.dem import local_posting
from sarheight.terrain.inversion import (
    BlockMeans,
    GaussianField,
    HeightPrior,
    LinearProblem,
    PassModel,
    PassState,
    Unknowns,
    conjugate_gradients,
    cosine_frequencies,
    law_of,
    linearise,
    on_posts,
    patch_spectrum,
    relief_spectrum,
    smoothed_noise_spectrum,
)

if TYPE_CHECKING:
    from sarheight.scene import Scene

Floats = NDArray[np.float32]

NEPER = 10.0 / np.log(10.0)
"""Decibels in a neper of power."""
FREE_LAW = (3.0, 1.0, 0.3)
"""Standard deviations in nepers (by ten degrees, and that squared) of the mean law of a tile."""
TEXTURE_LENGTH = 0.7
"""Smoothing of texture in cells."""
LONGEST_RELIEF, RELIEF_EXPONENT = 4.0, 3.2
"""Coarse cells beyond which relief within cells has no more power, and exponent of its spectrum."""
RELIEF_GROWTH = 1.25
"""Relief within cells grows with the size of cells to this power, to begin with."""
FREEDOM = 4.0
"""Degrees of freedom of the residuals' distribution."""
INFLATION = 4.0
WORTH = 50.0
"""Coefficients for which the settings' spreads count against those that the images determine."""


@dataclass(frozen=True)
class RefinementSettings:
    error: float = 4.5
    error_length: float | None = None
    level: float = 2.2
    texture: float = 0.9
    slope: float = 1.1
    curvature: float = 0.35
    patch: float = 240.0
    misfit: float = 0.2
    iterations: int = 5
    steps: int = 30
    samples: int = 4
    adapt: bool = True
    noise: bool = True


def back_projection(coarse: NDArray[Any], factor: int, iterations: int = 8) -> Floats:
    means = np.asarray(coarse, dtype=np.float64)
    if factor == 1:
        return means.astype(np.float32)
    surface = np.zeros(tuple(factor * size for size in means.shape))
    left = means
    for _ in range(iterations):
        surface += zoom(left, factor, order=3, mode="nearest", grid_mode=True)
        rows, columns = means.shape
        left = means - surface.reshape(rows, factor, columns, factor).mean(axis=(1, 3))
    return surface.astype(np.float32)


def _relief_of(coarse: NDArray[Any], factor: int, error: float) -> Floats:
    """Estimate the standard deviation of relief within coarse cells, of the shape of posts.

    Three coarse cells hold relief as a coarse cell does, only more.
    """
    rows, columns = (size // 3 * 3 for size in coarse.shape)
    part = np.asarray(coarse[:rows, :columns], dtype=np.float32)
    within = BlockMeans.of(part.shape, 3).within(part)
    square = gaussian_filter(within.astype(np.float64) ** 2, 4.0)
    mean = float(square.mean())
    # Nowhere is ground flat altogether; the coarse DEM's error is no relief.
    square = np.maximum(square - (0.3 * error) ** 2, 0.05 * mean) * (1.0 / 3.0) ** (2 * RELIEF_GROWTH)
    spread = np.sqrt(square)
    spread = np.pad(spread, [(0, s - k) for s, k in zip(coarse.shape, spread.shape)], mode="edge")
    return zoom(spread, factor, order=1, mode="nearest", grid_mode=True).astype(np.float32)


def unknowns_of(coarse, shape, factor, posting, settings) -> Unknowns:
    blocks = BlockMeans.of(shape, factor)
    few = shape[0] // factor, shape[1] // factor
    length = 1.5 if settings.error_length is None else settings.error_length / (posting * factor)
    error = GaussianField(
        [settings.error, 0.1 * settings.error],
        [smoothed_noise_spectrum(cosine_frequencies(few), length), np.ones(few)],
    )
    relief_frequency = cosine_frequencies(shape)
    spread = _relief_of(coarse, factor, settings.error)
    relief = GaussianField(
        [1.0], [relief_spectrum(relief_frequency, LONGEST_RELIEF * factor, RELIEF_EXPONENT)], scale=spread
    )
    facets = shape[0] - 1, shape[1] - 1
    frequency = cosine_frequencies(facets)
    patches = patch_spectrum(frequency, settings.patch / posting)
    texture = smoothed_noise_spectrum(frequency, TEXTURE_LENGTH)
    laws = [
        GaussianField([settings.level / NEPER, settings.texture / NEPER], [patches, texture], FREE_LAW[0]),
        GaussianField([settings.slope / NEPER], [patches], FREE_LAW[1]),
        GaussianField([settings.curvature / NEPER], [patches], FREE_LAW[2]),
    ]
    return Unknowns(HeightPrior(blocks, error, relief), laws)


def _weights(state: PassState, variance: float) -> Floats:
    """Inverse variances of the pixels, less for outliers (Student's t)."""
    wide = np.float32(INFLATION * variance)
    student = (FREEDOM + 1.0) / (FREEDOM + state.residual**2 / np.float32(variance))
    return np.where(state.counts, student / wide, np.float32(0.0)).astype(np.float32)


def _misfit(states, variances, vector) -> float:
    total = 0.5 * float(vector.astype(np.float64) @ vector)
    for state, variance in zip(states, variances):
        square = state.residual[state.counts].astype(np.float64) ** 2
        total += 0.5 / INFLATION * (FREEDOM + 1) * float(np.sum(np.log1p(square / (FREEDOM * variance))))
    return total


@dataclass(eq=False)
class Solution:
    heights: Floats
    sigma: Floats
    vector: Floats
    states: list
    variances: list


def solve(models: Sequence[PassModel], base: Floats, unknowns: Unknowns, looks, settings, watch=None, seed=0) -> Solution:
    random = np.random.default_rng(seed)
    vector = np.zeros(unknowns.size, np.float32)
    # level of the image
    variances = [1.0 / each + settings.misfit**2 for each in looks]
    def states_at(x):
        dh, laws = unknowns.apply(x)
        return [linearise(m, base + dh, law_of(laws)) for m in models]
    vector = mean_law(models, base, unknowns)
    states = states_at(vector)
    for it in range(settings.iterations):
        w = [_weights(s, v) for s, v in zip(states, variances)]
        problem = LinearProblem(unknowns, states, w)
        inverse = problem.preconditioner(random).apply
        jx = problem.change(vector)
        right = problem.adjoint([a * (s.residual + b) for a, s, b in zip(w, states, jx)])
        new = conjugate_gradients(problem.normal, right, vector, inverse, settings.steps, 1e-2)
        before = _misfit(states, variances, vector)
        for half in range(3):
            trial = states_at(new)
            after = _misfit(trial, variances, new)
            if after <= before or half == 2: break
            new = 0.5 * (new + vector)
        vector, states = new, trial
        if watch: watch(it, base + unknowns.apply(vector)[0], states, variances, unknowns, (before, after, half))
        # noise
        freedom = 0.0
        if settings.adapt and it >= 1:
            draws = [_draw(problem, inverse, settings.steps, random) for _ in range(1)]
            var = np.mean([d**2 for d in draws], axis=0)
            parts, vs = unknowns.split(vector), unknowns.split(var)
            freedom = float(np.sum(np.clip(1 - var, 0, 1)))
            ratio = []
            for f, p, q in zip(unknowns.fields, parts, vs):
                old = f.root.copy()
                f.update(f.estimated_deviations(p, q, WORTH))
                # the same field by other coefficients
                p *= np.divide(old, f.root, out=np.ones_like(old), where=f.root > 0)
            vector = np.concatenate([p.ravel() for p in parts])
        total = sum(int(s.counts.sum()) for s in states)
        lost = min(freedom / max(total, 1), 0.7)
        for k, s in enumerate(states):
            v = variances[k]
            for _ in range(5):
                e2 = s.residual[s.counts].astype(np.float64) ** 2
                v = float(np.mean(e2 * (FREEDOM + 1) / (FREEDOM + e2 / v)))
            variances[k] = max(v / (1 - lost), settings.misfit**2) if settings.noise else 1 / looks[k] + settings.misfit**2
    w = [_weights(s, v) for s, v in zip(states, variances)]
    problem = LinearProblem(unknowns, states, w)
    inverse = problem.preconditioner(random).apply
    draws = [unknowns.apply(_draw(problem, inverse, settings.steps, random))[0] for _ in range(settings.samples)]
    square = np.mean(np.square(draws), axis=0) if draws else np.zeros_like(base)
    sigma = np.sqrt(gaussian_filter(square, 2.0))
    dh, _ = unknowns.apply(vector)
    return Solution(base + dh, sigma, vector, states, variances)


def mean_law(models: Sequence[PassModel], base: Floats, unknowns: Unknowns) -> Floats:
    """Fit one law to all passes: the vector whose fields are constant."""
    facets = models[0].sight.shape[1:]
    law = np.zeros(len(unknowns.laws))
    for attempt in range(4):
        fields = [np.full(facets, each, dtype=np.float32) for each in law]
        rows, values = [], []
        for model in models:
            state = linearise(model, base, law_of(fields))
            if attempt == 0:
                counts = state.counts
                law[0] += float(np.log(model.observed[counts].sum() / state.simulated[counts].sum())) / len(models)
                continue
            found = state.on_facets(state.residual)
            good = np.isfinite(found)
            rows.append(state.angle[good, None] ** np.arange(law.size))
            values.append(found[good])
        if attempt:
            design, target = np.concatenate(rows), np.concatenate(values)
            law += np.linalg.solve(design.T @ design + np.eye(law.size), design.T @ target)
    vector = [np.zeros(each.shape, np.float32) for each in unknowns.fields]
    for part, each, value in zip(vector[2:], unknowns.laws, law):
        part[0, 0] = value * np.sqrt(part.size) / each.root[0, 0]
    return np.concatenate([part.ravel() for part in vector])


def _draw(problem: LinearProblem, inverse, steps, random) -> Floats:
    noise = [np.sqrt(w) * random.standard_normal(w.shape, dtype=np.float32) for w in problem.weights]
    right = random.standard_normal(problem.unknowns.size, dtype=np.float32) + problem.adjoint(noise)
    return conjugate_gradients(problem.normal, right, np.zeros_like(right), inverse, steps, 1e-3)
