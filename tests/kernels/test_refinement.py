"""The image of a surface by its posts, its derivatives and their adjoint."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.refinement import (
    facet_geometry,
    gather_change,
    relative_change,
    relative_change_adjoint,
    scatter_change,
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
    image = np.empty(SHAPE, np.float32)
    scatter_facets(line, sample, rcs, parts, image)
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


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_derivative_is_that_of_finite_differences(seed: int) -> None:
    random = np.random.default_rng(seed)
    line, sample, rcs = surface(random)
    changes = [
        random.standard_normal(each.shape).astype(np.float32) for each in (line, sample, rcs)
    ]
    found = np.empty(SHAPE, np.float32)
    scatter_change(line, sample, rcs, *changes, PARTS, found)
    # Central differences. A part that passes a pixel's centre within the step makes a difference
    # of the order of the step, so that only most pixels agree closely.
    step = np.float32(2e-3)
    ahead, behind = (
        image_of(*(x + s * dx for x, dx in zip((line, sample, rcs), changes, strict=True)))
        for s in (step, -step)
    )
    expected = (ahead - behind) / (2.0 * step)
    error = np.abs(found - expected)
    assert np.quantile(error, 0.9) < 2e-3 * np.abs(expected).max()
    assert error.max() < 0.2 * np.abs(expected).max()


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_the_adjoint_has_the_same_scalar_products(seed: int) -> None:
    random = np.random.default_rng(seed)
    line, sample, rcs = surface(random)
    rcs[random.random(rcs.shape) < 0.2] = 0.0
    changes = [
        random.standard_normal(each.shape).astype(np.float32) for each in (line, sample, rcs)
    ]
    image = random.standard_normal(SHAPE).astype(np.float32)
    forward = np.empty(SHAPE, np.float32)
    scatter_change(line, sample, rcs, *changes, PARTS, forward)
    back = [np.empty_like(each) for each in (line, sample, rcs)]
    gather_change(line, sample, rcs, image, PARTS, *back)
    one = float(np.sum(forward.astype(np.float64) * image))
    two = sum(float(np.sum(a.astype(np.float64) * b)) for a, b in zip(changes, back, strict=True))
    assert one == pytest.approx(two, rel=1e-3, abs=1e-2)


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


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_relative_changes_and_their_adjoint(seed: int) -> None:
    random = np.random.default_rng(seed)
    heights = random.standard_normal((7, 8)).astype(np.float32)
    factors = random.standard_normal((2, 6, 7)).astype(np.float32)
    facets = random.standard_normal((6, 7)).astype(np.float32)
    steps = 1.0 / 20.0, 1.0 / 30.0
    forward, back = np.zeros((6, 7), np.float32), np.zeros((7, 8), np.float32)
    relative_change(heights, factors, steps, forward)
    relative_change_adjoint(facets, factors, steps, back)
    one, two = float((forward * facets).sum()), float((heights * back).sum())
    assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
    # Slopes are those of the facets' middles.
    rise = [0.5 * (d[:, 1:] + d[:, :-1]) / 20.0 for d in [np.diff(heights, axis=0)]]
    across = 0.5 * (np.diff(heights, axis=1)[1:] + np.diff(heights, axis=1)[:-1]) / 30.0
    np.testing.assert_allclose(forward, factors[0] * rise[0] + factors[1] * across, atol=1e-5)
