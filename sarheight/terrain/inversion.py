r"""Heights and reflectivity that explain radar images: the model, its linearisation and solution.

The unknowns of a tile are its heights and the logarithm of the reflectivity of its facets. In pass
p the gamma0 of a facet whose local incidence angle is :math:`\theta_p` is

.. math:: \ln\gamma_p = a + b \, t_p + c \, t_p^2, \qquad t_p = (\theta_p - 35°) / 10°

with a level a, an angular slope b and a curvature c of the ground's law that vary from place to
place as ground does, and that all passes share. All fields are those of
`sarheight.terrain.fields`: in their coefficients the prior is the identity, and a diagonal
preconditioner is a filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.refinement import (
    average_pixels,
    change_image,
    change_image_adjoint,
    facet_derivatives,
    facet_geometry,
    facet_windows,
    scatter_facets,
)
from scipy.fft import dctn
from scipy.ndimage import minimum_filter

from sarheight.dem import local_posting
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.geometry.visibility import illuminated_cells
from sarheight.illumination import ANGLE_UNIT, MIDDLE_ANGLE, LocalLaw
from sarheight.scene import ground_sample_spacing, multilook

if TYPE_CHECKING:
    import xarray as xr

    from sarheight.scene import Scene
    from sarheight.terrain.fields import GaussianField, HeightPrior

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

ANGLE_LIMITS = (-3.0, 3.5)
"""Angles in these units beyond which a law is held: 5 and 70 degrees."""
PIXELS_OF_POSTING = 0.67
"""Pixels are averaged to about this part of the posting: finer ones say nothing more of it."""
PARTS = 3
"""Parts of a facet along its sides: more than one in a pixel, also on slopes that face away."""
STEP_UP = 20.0
"""Metres over which the change of pixel coordinates with height is found. It is linear to 0.001
pixels over a hundred metres."""
LEAST_AREA = 0.25
"""Pixels count where the simulated area is at least this part of the median of pixels."""
LARGEST_RESIDUAL, RESIDUAL_FREEDOM = 1.5, 4.0
"""Residuals in nepers are cut off here; degrees of freedom of their distribution, Student's t."""
LEAST_RATIO = 0.05
"""Least ratio of an observed to a simulated pixel: subtracted noise leaves values below 0."""


# Passes: the image of a surface, and its derivatives.


@dataclass(frozen=True, eq=False)
class PassModel:
    """An image over a tile."""

    observed: Floats  # (lines, samples): RCS of the pixels in square metres, NaN without data
    start: Floats  # (rows, columns): heights in metres at which the positions hold
    position: tuple[Floats, Floats]  # line and sample of the posts at those heights
    rate: tuple[Floats, Floats]  # their change with height, in pixels a metre
    sight: Floats  # (3, rows - 1, columns - 1): unit vector to the radar along rows, columns, up
    lit: Mask  # (rows - 1, columns - 1): facets outside cast shadow
    cell_area: float  # square metres on the map
    per_metre: tuple[float, float]  # 1 / posting along rows and columns

    @classmethod
    def of(cls, scene: Scene, surface: xr.DataArray) -> PassModel:
        """Model an image over a surface, heights above the ellipsoid on dims (y, x)."""
        posting = local_posting(surface)
        window = _window(scene, min(posting))
        image, grid = multilook(scene.image, scene.grid, *window)
        orbit = scene.orbit
        geometry = pass_geometry(surface, grid, orbit)
        observed = np.array(image.values, dtype=np.float32)
        for block, area in pixel_areas(grid, geometry.radar, scene.calibration).blocks(grid.lines):
            observed[block] *= area
        here = geo2rdr(surface, grid, orbit)
        above = geo2rdr(surface.copy(data=surface.values + np.float32(STEP_UP)), grid, orbit)
        slant = [grid.slant_range(each["line"], each["sample"]) for each in (here, above)]
        by_height = (slant[1] - slant[0]) / STEP_UP
        # The gradient of slant range at constant height is minus the horizontal line of sight.
        steps = np.gradient(slant[0]), np.gradient(surface.values.astype(np.float64))
        level = [
            (along - by_height * rise) / size
            for along, rise, size in zip(*steps, posting, strict=True)
        ]
        sight = np.stack([-_on_facets(each) for each in (*level, by_height)])
        rates = [(above[name].values - here[name].values) / STEP_UP for name in ("line", "sample")]
        return cls(
            observed,
            np.ascontiguousarray(surface.values, dtype=np.float32),
            (here["line"].values.astype(np.float32), here["sample"].values.astype(np.float32)),
            (rates[0].astype(np.float32), rates[1].astype(np.float32)),
            sight.astype(np.float32),
            _on_facets(illuminated_cells(geometry).astype(np.float64)) > 0.5,
            posting[0] * posting[1],
            (1.0 / posting[0], 1.0 / posting[1]),
        )

    def place(self, heights: Floats) -> tuple[Floats, Floats]:
        """Return lines and samples of the posts at some heights."""
        above = heights - self.start
        line, sample = (
            place + rate * above for place, rate in zip(self.position, self.rate, strict=True)
        )
        return line, sample


def _window(scene: Scene, posting: float) -> tuple[int, int]:
    """Choose the pixels that are averaged: to about two thirds of the posting."""
    spacing = scene.grid.line_spacing(scene.orbit), ground_sample_spacing(scene.grid, scene.orbit)
    lines, samples = (max(round(PIXELS_OF_POSTING * posting / each), 1) for each in spacing)
    return lines, samples


def _on_facets(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average the four posts of each facet."""
    return 0.25 * (values[1:, 1:] + values[1:, :-1] + values[:-1, 1:] + values[:-1, :-1])


def on_posts(values: Floats) -> Floats:
    """Average the facets around each post: (..., rows - 1, columns - 1) to (rows, columns)."""
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    left = padded[..., :, 1:] + padded[..., :, :-1]
    return np.asarray(0.25 * (left[..., 1:, :] + left[..., :-1, :]))


@dataclass(frozen=True, eq=False)
class PassState:
    """An image linearised about some heights and reflectivity."""

    model: PassModel
    heights: Floats  # (rows, columns): of the posts in metres
    rcs: Floats  # (rows - 1, columns - 1): of the facets, square metres
    simulated: Floats  # RCS of the pixels; 1 where they do not count
    residual: Floats  # logarithm of observed over simulated, 0 where they do not count
    counts: Mask
    angle: Floats  # incidence, in units of ten degrees from 35
    logarithm: Floats  # ln(gamma0) of the facets
    by_angle: Floats  # its derivative by the angle

    @cached_property
    def derivatives(self) -> tuple[NDArray[np.uint16], Floats]:
        """Windows of the facets, and the derivatives of the image's logarithm in them."""
        model = self.model
        line, sample = model.place(self.heights)
        shape = self.simulated.shape[0], self.simulated.shape[1]
        windows = np.empty((*self.rcs.shape, 4), np.uint16)
        pixels = facet_windows(line, sample, self.rcs, PARTS, shape, windows)
        derivatives = np.empty((pixels, 4), np.float32)
        facet_derivatives(
            line,
            sample,
            self.rcs,
            model.rate,
            self._by_slopes(),
            model.per_metre,
            self.simulated,
            PARTS,
            windows,
            derivatives,
        )
        return windows, derivatives

    def _by_slopes(self) -> Floats:
        """Return the derivatives of ln(rcs) by the slopes, shape (2, rows - 1, columns - 1)."""
        # ln(rcs) = ln(A.L) + ln(gamma0)(theta), with cos(theta) = (A.L) / sqrt(1 + p² + q²):
        # d(A.L)/dp = -L_r, and d(theta) = -d(cos) / sin, per radian.
        seen, cosine, slopes = _geometry(self.model, self.heights)
        root = np.sqrt(1.0 + slopes[0] ** 2 + slopes[1] ** 2)
        bends = self.by_angle * np.float32(np.degrees(1.0) / ANGLE_UNIT)
        bends = bends / np.sqrt(np.clip(1.0 - cosine**2, 1e-3, 1.0))
        # Below 0.05 of its area on the map a facet all but faces away, and its logarithm is steep.
        by_seen = np.where(seen > 0.0, 1.0 / np.maximum(seen, 0.05), 0.0) - bends / root
        return np.stack(
            [
                -sight * by_seen + bends * cosine * slope / root**2
                for sight, slope in zip(self.model.sight[:2], slopes, strict=True)
            ]
        ).astype(np.float32)

    def change(self, heights: Floats, logarithm: Floats) -> Floats:
        """Return the change of the image's logarithm with heights and ln(gamma0)."""
        result = np.empty_like(self.simulated)
        change_image(*self.derivatives, heights, logarithm, result)
        return result

    def adjoint(self, image: Floats) -> tuple[Floats, Floats]:
        """Apply the adjoint of `change`."""
        heights, logarithm = np.empty_like(self.heights), np.empty_like(self.rcs)
        change_image_adjoint(*self.derivatives, image, heights, logarithm)
        return heights, logarithm

    def on_facets(self, image: Floats) -> Floats:
        """Average an image over the pixels of each facet, by the facet's share in them."""
        result = np.empty_like(self.rcs)
        average_pixels(*self.model.place(self.heights), image, self.counts, PARTS, result)
        return result


def _geometry(model: PassModel, heights: Floats) -> tuple[Floats, Floats, Floats]:
    """Return projected areas of facets by that on the map, cosines of incidence, and slopes."""
    shape = model.sight.shape[1:]
    seen, cosine = np.empty(shape, np.float32), np.empty(shape, np.float32)
    slopes = np.empty((2, *shape), np.float32)
    facet_geometry(heights, model.sight, model.per_metre, seen, cosine, slopes)
    return seen, cosine, slopes


def linearise(model: PassModel, heights: Floats, law: LocalLaw) -> PassState:
    """Simulate an image under the facets' law; derivatives are taken when they are asked for."""
    seen, cosine, _ = _geometry(model, heights)
    degrees = np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))
    angle = ((degrees - MIDDLE_ANGLE) / ANGLE_UNIT).astype(np.float32)
    held = (angle < ANGLE_LIMITS[0]) | (angle > ANGLE_LIMITS[1])
    angle = np.clip(angle, *ANGLE_LIMITS)
    logarithm, by_angle = law.logarithm(angle), law.slope(angle)
    area = (model.cell_area * np.where(model.lit, np.maximum(seen, 0.0), 0.0)).astype(np.float32)
    rcs = (area * np.exp(logarithm)).astype(np.float32)
    simulated, covered = np.empty_like(model.observed), np.empty_like(model.observed)
    scatter_facets(*model.place(heights), rcs, area, PARTS, simulated, covered)
    counts = _pixels_that_count(model.observed, simulated, covered)
    simulated[~counts] = 1.0
    ratio = np.maximum(np.where(counts, model.observed, 1.0) / simulated, LEAST_RATIO)
    residual = np.clip(np.where(counts, np.log(ratio), 0.0), -LARGEST_RESIDUAL, LARGEST_RESIDUAL)
    by_angle = np.where(held, np.float32(0.0), by_angle)
    return PassState(
        model,
        heights,
        rcs,
        simulated,
        residual.astype(np.float32),
        counts,
        angle,
        logarithm,
        by_angle,
    )


def _pixels_that_count(observed: Floats, simulated: Floats, covered: Floats) -> Mask:
    """Find the pixels that have data and that the tile fills."""
    filled = covered > 0.0
    if not filled.any():
        return filled
    enough = LEAST_AREA * float(np.median(covered[filled]))
    # Beside pixels without any area, ground outside of the tile may contribute.
    inside = minimum_filter(filled, size=5, mode="constant")
    counts = np.isfinite(observed) & inside & (covered > enough) & (simulated > 0.0)
    return np.asarray(counts)


# The linear problem.


@dataclass(eq=False)
class Unknowns:
    """All unknown fields of a tile, and the vector of their coefficients."""

    heights: HeightPrior
    laws: list[GaussianField]  # level, angular slope and curvature of ln(gamma0)

    @property
    def fields(self) -> list[GaussianField]:
        """All fields in the order of the vector."""
        return [self.heights.error, self.heights.relief, *self.laws]

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return sum(each.spectra[0].size for each in self.fields)

    def split(self, vector: Floats) -> list[Floats]:
        """Return the coefficients of each field."""
        ends = np.cumsum([each.spectra[0].size for each in self.fields])[:-1]
        parts = zip(np.split(vector, ends), self.fields, strict=True)
        return [part.reshape(each.shape) for part, each in parts]

    def departure(self, vector: Floats) -> Floats:
        """Return the departure of heights in metres."""
        error, relief, *_ = self.split(vector)
        return self.heights.apply(error, relief)

    def apply(self, vector: Floats) -> tuple[Floats, list[Floats]]:
        """Return the departure of heights in metres, and the laws of facets."""
        _, _, *laws = self.split(vector)
        return (
            self.departure(vector),
            [each.apply(part) for each, part in zip(self.laws, laws, strict=True)],
        )

    def adjoint(self, heights: Floats, laws: Sequence[Floats]) -> Floats:
        """Apply the adjoint of `apply`."""
        parts = [*self.heights.adjoint(heights)]
        parts += [each.adjoint(values) for each, values in zip(self.laws, laws, strict=True)]
        return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


@dataclass(eq=False)
class LinearProblem:
    """The images linearised, with the weights of their pixels."""

    unknowns: Unknowns
    states: list[PassState]
    weights: list[Floats]  # of the pixels: inverse variances, 0 where they do not count

    def change(self, vector: Floats) -> list[Floats]:
        """Return the change of each image's logarithm."""
        heights, laws = self.unknowns.apply(vector)
        return [
            state.change(heights, LocalLaw(laws).logarithm(state.angle)) for state in self.states
        ]

    def adjoint(self, images: Sequence[Floats]) -> Floats:
        """Apply the adjoint of `change`."""
        heights = np.zeros_like(self.states[0].heights)
        laws = [np.zeros_like(self.states[0].rcs) for _ in self.unknowns.laws]
        for state, image in zip(self.states, images, strict=True):
            by_height, by_logarithm = state.adjoint(image)
            heights += by_height
            for power in range(len(laws)):
                if power:
                    by_logarithm *= state.angle
                laws[power] += by_logarithm
        return self.unknowns.adjoint(heights, laws)

    def data(self, vector: Floats) -> Floats:
        """Return J' W d for data d, the residuals as they would be about a vector of 0."""
        images = self.change(vector)
        for state, weight, image in zip(self.states, self.weights, images, strict=True):
            np.add(image, state.residual, out=image)
            np.multiply(image, weight, out=image)
        return self.adjoint(images)

    def normal(self, vector: Floats) -> Floats:
        """Apply the inverse of the posterior covariance: 1 + J' W J."""
        images = self.change(vector)
        for weight, image in zip(self.weights, images, strict=True):
            np.multiply(image, weight, out=image)
        result = self.adjoint(images)
        result += vector
        return result

    def preconditioner(self, random: np.random.Generator) -> Preconditioner:
        """Approximate the inverse of `normal` as if the ground were the same everywhere."""
        unknowns, count = self.unknowns, len(self.unknowns.laws)
        shape = self.states[0].heights.shape
        probe = random.standard_normal(shape, dtype=np.float32)
        still, nothing = np.zeros(shape, np.float32), np.zeros_like(self.states[0].rcs)
        response = np.zeros(shape, np.float32)
        moments = np.zeros(2 * count - 1)
        for state, weight in zip(self.states, self.weights, strict=True):
            response += state.adjoint(weight * state.change(probe, nothing))[0]
            curvature = state.adjoint(weight * state.change(still, nothing + np.float32(1.0)))[1]
            for power in range(moments.size):
                moments[power] += float(np.mean(curvature, dtype=np.float64))
                curvature = curvature * state.angle
        # The curvature by heights is that of slopes, and of positions: q0 + q1 f_r² + q2 f_c².
        squares = _squared_frequencies(shape)
        design = np.stack([np.ones(shape), *np.broadcast_arrays(*squares)]).reshape(3, -1)
        target = (dctn(probe, norm="ortho") * dctn(response, norm="ortho")).ravel()
        found = np.linalg.solve(design @ design.T, design @ target.astype(np.float64))
        found = np.maximum(found, 1e-6 * np.abs(found).max())
        parts = []
        for each in (unknowns.heights.error, unknowns.heights.relief):
            factor = shape[0] // each.shape[0]
            curvature = np.full(each.shape, found[0])
            for value, square in zip(found[1:], _squared_frequencies(each.shape), strict=True):
                curvature = curvature + value * square / factor**2
            variance = each.variance() * (1.0 if each.scale is None else np.mean(each.scale**2))
            parts.append((1.0 / (1.0 + factor**2 * variance * curvature)).astype(np.float32))
        roots = np.stack([each.root for each in unknowns.laws])
        index = np.add.outer(np.arange(count), np.arange(count))
        return Preconditioner(unknowns, parts, _inverses(roots, moments[index].astype(np.float32)))


def _inverses(roots: Floats, moments: Floats) -> Floats:
    """Invert 1 + R M R for each coefficient, R the diagonal matrix of its roots.

    From roots, shape (n, rows, columns), and M, shape (n, n), to shape (n, n, rows, columns).
    """
    count = len(roots)
    matrix = roots[:, None] * roots[None] * moments[:, :, None, None]
    for row in range(count):
        matrix[row, row] += 1.0
    # Gauss-Jordan in place for all at once, without pivots: the matrices are positive definite.
    for row in range(count):
        pivot = 1.0 / matrix[row, row]
        matrix[row, row] = 1.0
        matrix[row] *= pivot
        for other in range(count):
            if other != row:
                factor = matrix[other, row].copy()
                matrix[other, row] = 0.0
                matrix[other] -= factor * matrix[row]
    return np.asarray(matrix)


@dataclass(frozen=True, eq=False)
class Preconditioner:
    """A filter of heights, and of the laws together, by frequency."""

    unknowns: Unknowns
    heights: list[Floats]  # of the coefficients of error and relief
    laws: Floats  # (laws, laws, rows, columns)

    def apply(self, vector: Floats) -> Floats:
        """Apply the approximate inverse."""
        error, relief, *laws = self.unknowns.split(vector)
        parts = [self.heights[0] * error, self.heights[1] * relief]
        for row in self.laws:
            total = row[0] * laws[0]
            for factor, law in zip(row[1:], laws[1:], strict=True):
                total += factor * law
            parts.append(total)
        return np.concatenate([part.ravel() for part in parts])


def _squared_frequencies(shape: tuple[int, int]) -> tuple[NDArray[np.float64], ...]:
    """Return squared frequencies of coefficients, shapes (rows, 1) and (1, columns)."""
    down, right = (np.square(np.arange(size) / (2.0 * size)) for size in shape)
    return down[:, None], right[None, :]


def conjugate_gradients(
    normal: Callable[[Floats], Floats],
    right: Floats,
    start: Floats,
    inverse: Callable[[Floats], Floats],
    steps: int,
    tolerance: float = 0.01,
) -> Floats:
    """Solve a symmetric, positive definite system by preconditioned conjugate gradients.

    The vectors `right` and `start` are overwritten, the latter by the solution, which is returned.
    Ends when the residual, in the preconditioner's norm, is `tolerance` of that at the start.
    """
    solution, residual = start, right
    if solution.any():
        residual -= normal(solution)
    direction = inverse(residual)
    product = float(residual @ direction)
    limit = tolerance**2 * product
    for _ in range(steps):
        if product <= limit:
            break
        image = normal(direction)
        length = np.float32(product / float(direction @ image))
        image *= length
        residual -= image
        np.multiply(direction, length, out=image)
        solution += image
        del image
        scaled = inverse(residual)
        before, product = product, float(residual @ scaled)
        direction *= np.float32(product / before)
        direction += scaled
    return solution
