"""The image of a surface by its posts, its derivatives and their adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
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

Floats = NDArray[np.float32]
Surface = tuple[Floats, Floats, Floats]

PARTS = 3
SHAPE = (24, 30)


def surface(random: np.random.Generator, rows: int = 9, columns: int = 11) -> Surface:
    """Lines, samples and cross-sections of a rough surface that folds in places."""
    row, column = np.mgrid[:rows, :columns]
    line = 3.0 + 1.9 * row + random.normal(0.0, 0.1, row.shape)
    sample = 3.0 + 2.1 * column + random.normal(0.0, 1.5, row.shape)
    rcs = random.uniform(0.5, 2.0, (rows - 1, columns - 1))
    return line.astype(np.float32), sample.astype(np.float32), rcs.astype(np.float32)


def image_of(line: Floats, sample: Floats, rcs: Floats, parts: int = PARTS) -> Floats:
    image, covered = np.empty(SHAPE, np.float32), np.empty(SHAPE, np.float32)
    scatter_facets(line, sample, rcs, np.float32(2.0) * rcs, parts, image, covered)
    np.testing.assert_allclose(covered, 2.0 * image, rtol=1e-6)
    return image


@pytest.mark.parametrize("parts", [1, 2, 5])
def test_the_image_holds_all_of_the_cross_section(parts: int) -> None:
    line, sample, rcs = surface(np.random.default_rng(0))
    image = image_of(line, np.clip(sample, 1.0, 27.0), rcs, parts)
    assert float(image.sum()) == pytest.approx(float(rcs.sum()), rel=1e-5)


def test_cross_section_is_where_the_facet_is() -> None:
    line, sample = np.meshgrid([4.0, 5.0], [7.0, 9.0], indexing="ij")
    image = image_of(
        line.astype(np.float32), sample.astype(np.float32), np.ones((1, 1), np.float32), 4
    )
    rows, columns = np.indices(SHAPE)
    assert float((rows * image).sum()) == pytest.approx(4.5, abs=1e-5)
    assert float((columns * image).sum()) == pytest.approx(8.0, abs=1e-5)


def test_dark_facets_and_those_beyond_the_image_add_nothing() -> None:
    line, sample, rcs = surface(np.random.default_rng(1))
    assert not image_of(line + 100.0, sample, rcs).any()
    assert not image_of(line, sample, np.zeros_like(rcs)).any()
    rcs[3, 4] = np.nan
    assert np.isfinite(image_of(line, sample, rcs)).all()


STEPS = 1.0 / 20.0, 1.0 / 30.0


@dataclass(frozen=True)
class Linearised:
    """A surface, what its image changes by, and the stored derivatives."""

    start: Surface
    rates: tuple[Floats, Floats]  # pixels a metre
    factors: Floats  # derivatives of ln(rcs) by slopes
    image: Floats
    windows: NDArray[np.uint16]
    derivatives: Floats

    @classmethod
    def of(cls, start: Surface, random: np.random.Generator) -> Linearised:
        shape = start[2].shape
        rates = (np.full_like(start[0], 0.3), np.full_like(start[0], -0.7))
        factors = random.standard_normal((2, *shape), dtype=np.float32)
        image = image_of(*start)
        # Pixels that get nothing have no logarithm.
        image[image <= 1e-3] = 1.0
        windows = np.empty((*shape, 4), np.uint16)
        count = facet_windows(*start, PARTS, SHAPE, windows)
        derivatives = np.empty((count, 4), np.float32)
        facet_derivatives(*start, rates, factors, STEPS, image, PARTS, windows, derivatives)
        return cls(start, rates, factors, image, windows, derivatives)

    def change(self, heights: Floats, logarithm: Floats) -> Floats:
        image = np.empty(SHAPE, np.float32)
        change_image(self.windows, self.derivatives, heights, logarithm, image)
        return image

    def moved(self, heights: Floats, logarithm: Floats) -> Floats:
        """Simulate the image after a change."""
        line, sample, rcs = self.start
        rise = 0.5 * (np.diff(heights, axis=0)[:, 1:] + np.diff(heights, axis=0)[:, :-1]) * STEPS[0]
        across = 0.5 * (np.diff(heights, axis=1)[1:] + np.diff(heights, axis=1)[:-1]) * STEPS[1]
        brighter = logarithm + self.factors[0] * rise + self.factors[1] * across
        places = (
            each + rate * heights for each, rate in zip((line, sample), self.rates, strict=True)
        )
        return image_of(*places, (rcs * np.exp(brighter)).astype(np.float32))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_derivative_is_that_of_finite_differences(seed: int) -> None:
    random = np.random.default_rng(seed)
    problem = Linearised.of(surface(random), random)
    shape = problem.start[0].shape
    # A sum of a profile along rows and one along columns has no twist.
    profiles = random.standard_normal((shape[0], 1)), random.standard_normal((1, shape[1]))
    heights = (profiles[0] + profiles[1]).astype(np.float32)
    logarithm = random.standard_normal(problem.start[2].shape).astype(np.float32)
    found = problem.image * problem.change(heights, logarithm)
    # Central differences. A part that passes a pixel's centre within the step makes a difference
    # of the order of the step, so that only most pixels agree closely.
    step = np.float32(2e-3)
    ahead, behind = (problem.moved(s * heights, s * logarithm) for s in (step, -step))
    expected = (ahead - behind) / (2.0 * step)
    error = np.abs(found - expected)
    assert np.quantile(error, 0.9) < 2e-3 * np.abs(expected).max()
    assert error.max() < 0.2 * np.abs(expected).max()


def test_the_twist_of_facets_hardly_moves_the_image() -> None:
    """It is left out of the derivatives: on smooth heights it is a small part of the change."""
    random = np.random.default_rng(3)
    problem = Linearised.of(surface(random), random)
    row, column = np.indices(problem.start[0].shape)
    heights = np.sin(2.0 * np.pi * row / 8.0) * np.cos(2.0 * np.pi * column / 8.0)
    nothing = np.zeros_like(problem.start[2])
    step = 2e-3
    ahead, behind = (
        problem.moved((s * heights).astype(np.float32), nothing) for s in (step, -step)
    )
    expected = (ahead - behind) / (2.0 * step)
    error = problem.image * problem.change(heights.astype(np.float32), nothing) - expected
    assert np.sqrt(np.mean(error**2)) < 0.05 * np.sqrt(np.mean(expected**2))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_adjoint_has_the_same_scalar_products(seed: int) -> None:
    random = np.random.default_rng(seed)
    line, sample, rcs = surface(random)
    rcs[random.random(rcs.shape) < 0.2] = 0.0
    problem = Linearised.of((line, sample, rcs), random)
    heights = random.standard_normal(line.shape).astype(np.float32)
    logarithm = random.standard_normal(rcs.shape).astype(np.float32)
    image = random.standard_normal(SHAPE).astype(np.float32)
    forward = problem.change(heights, logarithm)
    back = np.empty_like(line), np.empty_like(rcs)
    change_image_adjoint(problem.windows, problem.derivatives, image, *back)
    one = float(np.sum(forward.astype(np.float64) * image))
    pairs = zip((heights, logarithm), back, strict=True)
    two = sum(float(np.sum(a.astype(np.float64) * b)) for a, b in pairs)
    size = float(np.linalg.norm(forward) * np.linalg.norm(image))
    assert abs(one - two) < 1e-4 * size


def test_facets_beyond_the_image_have_no_window() -> None:
    line, sample, rcs = surface(np.random.default_rng(4))
    line[:4] -= 100.0
    sample[5:] += 100.0
    line[4, 4] = np.nan
    rcs[4, 6] = 0.0
    windows = np.empty((*rcs.shape, 4), np.uint16)
    count = facet_windows(line, sample, rcs, PARTS, SHAPE, windows)
    assert count == int((windows[..., 2] * windows[..., 3]).sum())
    assert not windows[:3, :, 2].any()
    assert not windows[5:, :, 2].any()
    ends = windows[..., :2].astype(int) + windows[..., 2:]
    assert (ends <= SHAPE).all()


def test_the_average_of_pixels_is_that_of_those_that_count() -> None:
    line, sample, _ = surface(np.random.default_rng(5))
    sample = np.clip(sample, 1.0, 27.0)
    shape = line.shape[0] - 1, line.shape[1] - 1
    counts = np.ones(SHAPE, dtype=bool)
    counts[12:] = False
    # A plane's average over a facet is its value at the facet's middle.
    image = (2.0 * np.indices(SHAPE)[0] + np.indices(SHAPE)[1]).astype(np.float32)
    found = np.empty(shape, np.float32)
    average_pixels(line, sample, image, counts, PARTS, found)
    middles = [
        0.25 * (each[1:, 1:] + each[1:, :-1] + each[:-1, 1:] + each[:-1, :-1])
        for each in (line, sample)
    ]
    np.testing.assert_allclose(found[:3], (2.0 * middles[0] + middles[1])[:3], rtol=1e-4)
    assert np.isnan(found[-1]).all()


def test_a_plane_has_the_area_and_the_incidence_of_its_normal() -> None:
    """A . L and its angle, by the cross product of the plane's edges."""
    down, right = 20.0, 30.0
    p, q = 0.3, -0.4  # rise by metres along rows and columns
    row, column = np.mgrid[:5, :6]
    heights = (p * down * row + q * right * column).astype(np.float32)
    towards = np.array([0.2, -0.55, 0.81])
    towards /= np.linalg.norm(towards)
    shape = 4, 5
    seen, cosine, slopes = (
        np.empty(shape, np.float32),
        np.empty(shape, np.float32),
        np.empty((2, *shape), np.float32),
    )
    sight = np.broadcast_to(towards[:, None, None], (3, *shape)).astype(np.float32)
    facet_geometry(heights, sight, (1.0 / down, 1.0 / right), seen, cosine, slopes)
    edges = np.array([down, 0.0, p * down]), np.array([0.0, right, q * right])
    normal = np.cross(*edges)
    np.testing.assert_allclose(seen, normal @ towards / (down * right), rtol=1e-5)
    np.testing.assert_allclose(cosine, normal @ towards / np.linalg.norm(normal), rtol=1e-5)
    np.testing.assert_allclose(slopes[0], p, rtol=1e-5)
    np.testing.assert_allclose(slopes[1], q, rtol=1e-5)
