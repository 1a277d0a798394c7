"""Backscatter laws: their formulas, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.illumination import (
    BackscatterLaw,
    ConstantGamma,
    CosinePower,
    FittedLaw,
    Lambertian,
    Muhleman,
)
from sarheight.illumination._laws import tabulate

Floats = NDArray[np.float64]

ANGLES = np.linspace(0.0, 90.0, 181)
COSINE = np.cos(np.radians(ANGLES))
SINE = np.sin(np.radians(ANGLES))
LAWS: list[BackscatterLaw] = [ConstantGamma(), CosinePower(), Lambertian(), Muhleman()]


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (ConstantGamma(0.3), 0.3 * COSINE),
        (CosinePower(0.3, 1.7), 0.3 * np.clip(COSINE, 0.0, None) ** 1.7),
        (Lambertian(0.3), 0.3 * COSINE**2),
        (Muhleman(), 0.0133 * COSINE / (SINE + 0.1 * COSINE) ** 3),
        (Muhleman(0.02, 0.3), 0.02 * COSINE / (SINE + 0.3 * COSINE) ** 3),
    ],
)
def test_each_law_is_its_formula(law: BackscatterLaw, expected: Floats) -> None:
    np.testing.assert_allclose(law(ANGLES), expected, rtol=1e-12, atol=1e-15)


def test_special_cases_of_the_cosine_power_are_the_other_laws() -> None:
    np.testing.assert_allclose(CosinePower(0.2, 1.0)(ANGLES), ConstantGamma(0.2)(ANGLES))
    np.testing.assert_allclose(CosinePower(0.2, 2.0)(ANGLES), Lambertian(0.2)(ANGLES), atol=1e-17)


@pytest.mark.parametrize("law", LAWS)
def test_surfaces_that_face_away_scatter_nothing(law: BackscatterLaw) -> None:
    np.testing.assert_array_equal(law(np.array([91.0, 120.0, 180.0])), 0.0)


@pytest.mark.parametrize("law", LAWS)
@given(st.lists(st.floats(2.0, 90.0), min_size=1, max_size=20))
def test_the_table_that_the_kernels_read_is_the_law(
    law: BackscatterLaw, degrees: list[float]
) -> None:
    """Linear in the cosine, the table is within a per cent beyond two degrees."""
    table = tabulate(law)
    angles = np.array(degrees)
    found = np.interp(np.cos(np.radians(angles)), np.linspace(0.0, 1.0, table.size), table)
    np.testing.assert_allclose(found, law(angles), rtol=1e-2, atol=1e-5 * table.max())


@given(
    st.lists(st.floats(0.01, 2.0), min_size=2, max_size=12),
    st.floats(0.0, 90.0),
)
def test_a_fitted_law_passes_its_points_without_overshoot(
    values: list[float], angle: float
) -> None:
    incidence = np.linspace(10.0, 80.0, len(values))
    law = FittedLaw(incidence, np.array(values))
    np.testing.assert_allclose(law(incidence) / np.cos(np.radians(incidence)), values, rtol=1e-9)
    gamma = law(np.array([angle])) / np.cos(np.radians(min(angle, 89.999)))
    if angle < 89.9:
        assert min(values) * (1 - 1e-9) <= gamma[0] <= max(values) * (1 + 1e-9)


def test_a_fitted_law_is_constant_in_gamma0_beyond_its_points() -> None:
    law = FittedLaw(np.array([20.0, 60.0]), np.array([0.4, 0.1]))
    gamma = law(np.array([0.0, 10.0, 70.0, 85.0])) / np.cos(np.radians([0.0, 10.0, 70.0, 85.0]))
    np.testing.assert_allclose(gamma, [0.4, 0.4, 0.1, 0.1])


@pytest.mark.parametrize(
    ("incidence", "gamma0"),
    [
        ([30.0], [0.2]),
        ([30.0, 30.0], [0.2, 0.2]),
        ([40.0, 30.0], [0.2, 0.2]),
        ([30.0, 40.0], [0.2]),
        ([30.0, 40.0], [0.2, -0.1]),
        ([30.0, 40.0], [0.2, 0.0]),
        ([30.0, 40.0], [0.2, np.nan]),
        ([30.0, 40.0], [0.2, np.inf]),
        ([30.0, np.nan], [0.2, 0.2]),
    ],
)
def test_a_fitted_law_refuses_points_that_make_no_curve(
    incidence: list[float], gamma0: list[float]
) -> None:
    with pytest.raises(ValueError, match="at least two ascending angles"):
        FittedLaw(np.array(incidence), np.array(gamma0))


@pytest.mark.parametrize("bad", [0.0, -0.1, np.nan, np.inf])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (ConstantGamma, "gamma"),
        (lambda value: CosinePower(value, 1.0), "level"),
        (lambda value: CosinePower(0.2, value), "exponent"),
        (Lambertian, "level"),
        (Muhleman, "level"),
        (lambda value: Muhleman(0.0133, value), "roughness"),
    ],
)
def test_levels_that_are_not_positive_are_refused(
    make: Callable[[float], BackscatterLaw], name: str, bad: float
) -> None:
    with pytest.raises(ValueError, match=f"found {name}="):
        make(bad)


@pytest.mark.parametrize(
    ("law", "message"),
    [
        pytest.param(lambda a: -10.0 - 0.1 * a, "is it in dB", id="decibels"),
        pytest.param(lambda a: 0.2 - 0.01 * a, "is it in dB", id="partly-negative"),
        pytest.param(lambda a: np.full_like(a, np.nan), "finite", id="nan"),
        pytest.param(lambda a: np.full_like(a, np.inf), "finite", id="infinite"),
        pytest.param(lambda a: 0.0 * a, "finite linear power", id="zero"),
        pytest.param(lambda a: a[:5], "one sigma0 for each angle", id="short"),
        pytest.param(lambda _: 0.2, "one sigma0 for each angle", id="scalar"),
    ],
)
def test_a_callable_that_is_no_law_is_refused(law: BackscatterLaw, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tabulate(law)
