"""Cubics through Chebyshev nodes, against the functions that they are fitted to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.cubics import (
    COUNT,
    NEGLIGIBLE,
    NODES,
    PROBES,
    collapse_row,
    evaluate_row,
    fit_cubic,
    spread,
)

Floats = NDArray[np.float64]
Function = Callable[[Floats, Floats, Floats], Floats]


def fitted(function: Function) -> tuple[Floats, int, float]:
    u, v, w = (axis.ravel() for axis in np.meshgrid(NODES, NODES, NODES, indexing="ij"))
    values = np.concatenate((function(u, v, w), function(*PROBES.T)))
    coefficients = np.empty(COUNT)
    degree, miss = fit_cubic(values, coefficients)
    return coefficients, degree, miss


def evaluated(coefficients: Floats, degree: int, u: float, heights: Floats) -> Floats:
    """Values along a row whose columns go from -1 to 1; heights are given from -1 to 1."""
    polynomial, result = np.empty(16), np.empty(heights.size)
    collapse_row(coefficients, u, polynomial)
    step = 2.0 / (heights.size - 1)
    metres = (1000.0 + 250.0 * heights).astype(np.float32)
    evaluate_row(polynomial, degree, -1.0, step, 1000.0, 1.0 / 250.0, metres, result)
    return result


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([2, 3, 6]))
def test_polynomials_are_met_by_as_few_terms_as_they_have(seed: int, degree: int) -> None:
    random = np.random.default_rng(seed)
    terms = random.uniform(-100.0, 100.0, (4, 4, 4))
    j, k = np.indices((4, 4))
    terms[:, j + k > degree] = 0.0

    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        return np.polynomial.polynomial.polyval3d(u, v, w, terms)

    coefficients, found, miss = fitted(function)
    assert found == degree
    assert miss < 1e-10
    np.testing.assert_allclose(coefficients, terms.ravel(), atol=1e-9)
    heights = np.float32(random.uniform(-1.0, 1.0, 33)).astype(np.float64)
    heights = ((1000.0 + 250.0 * heights).astype(np.float32).astype(np.float64) - 1000.0) / 250.0
    columns = np.linspace(-1.0, 1.0, 33)
    np.testing.assert_allclose(
        evaluated(coefficients, found, 0.3, heights),
        function(np.full(33, 0.3), columns, heights),
        atol=1e-9,
    )


@pytest.mark.parametrize(("size", "degree"), [(0.0, 2), (1e-3, 3), (1.0, 6)])
def test_what_is_left_out_does_not_count(size: float, degree: int) -> None:
    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        small = size * (v**3 + 1e-4 * v**2 * w**2)
        return 5.0 + u + v * w + 0.1 * NEGLIGIBLE * v**3 + small

    coefficients, found, miss = fitted(function)
    assert found == degree
    assert miss < NEGLIGIBLE
    heights = np.linspace(-1.0, 1.0, 21)
    exact = function(np.full(21, -0.7), heights, heights)
    assert np.abs(evaluated(coefficients, found, -0.7, heights) - exact).max() < 1.1 * NEGLIGIBLE


def test_a_miss_is_seen() -> None:
    def function(u: Floats, v: Floats, w: Floats) -> Floats:
        return np.abs(u + v) + w

    _, _, miss = fitted(function)
    assert miss > 0.1


def test_what_is_not_a_number_is_no_fit() -> None:
    _, _, miss = fitted(lambda u, v, w: np.where(u > 0.0, np.nan, u + v + w))
    assert np.isnan(miss)


def test_voids_stay_void() -> None:
    coefficients, degree, _ = fitted(lambda u, v, w: u + v + w)
    values = evaluated(coefficients, degree, 0.0, np.array([0.0, np.nan, 1.0]))
    assert np.isnan(values).tolist() == [False, True, False]


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_the_spread_bounds_a_polynomial(seed: int) -> None:
    random = np.random.default_rng(seed)
    coefficients, places = random.normal(size=64), random.uniform(-1.0, 1.0, (3, 200))
    values = np.polynomial.polynomial.polyval3d(*places, coefficients.reshape(4, 4, 4))
    assert np.abs(values - coefficients[0]).max() <= spread(coefficients)
