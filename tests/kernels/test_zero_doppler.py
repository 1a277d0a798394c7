"""The time of zero Doppler."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.orbit import evaluate_orbit, hermite_coefficients, zero_doppler_time
from scipy.optimize import brentq, minimize_scalar

Floats = NDArray[np.float64]

RADIUS = 7_071_000.0
RATE = 1.06e-3
TURN = 7.292e-5
TIME = np.arange(-100.0, 101.0, 10.0)


def position_at(time: float) -> Floats:
    """A circle over the poles, seen from an Earth that turns below."""
    x, z = RADIUS * np.cos(RATE * time), RADIUS * np.sin(RATE * time)
    return np.array([x * np.cos(TURN * time), -x * np.sin(TURN * time), z])


def velocity_at(time: float) -> Floats:
    cosine, sine = np.cos(TURN * time), np.sin(TURN * time)
    x, along = RADIUS * np.cos(RATE * time), -RADIUS * RATE * np.sin(RATE * time)
    return np.array(
        [
            along * cosine - TURN * x * sine,
            -along * sine - TURN * x * cosine,
            RADIUS * RATE * np.cos(RATE * time),
        ]
    )


def table(time: Floats = TIME) -> tuple[Floats, Floats]:
    return hermite_coefficients(
        time,
        np.array([position_at(each) for each in time]),
        np.array([velocity_at(each) for each in time]),
    )


def doppler(time: float, point: Floats) -> float:
    return float(velocity_at(time) @ (point - position_at(time)))


places = st.tuples(
    st.floats(-5.0, 5.0),  # degrees of latitude
    st.floats(-7.0, 7.0),  # degrees of longitude
    st.floats(-100.0, 8000.0),  # height
)


def point_at(place: tuple[float, float, float]) -> Floats:
    latitude, longitude = np.radians(place[:2])
    return (6_371_000.0 + place[2]) * np.array(
        [
            np.cos(latitude) * np.cos(longitude),
            np.cos(latitude) * np.sin(longitude),
            np.sin(latitude),
        ]
    )


@given(places)
def test_it_agrees_with_bisection_on_the_formula_of_the_orbit(
    place: tuple[float, float, float],
) -> None:
    point = point_at(place)
    expected = brentq(doppler, -200.0, 200.0, args=(point,), xtol=1e-13, rtol=1e-14)
    if abs(expected) > 100.0:
        return
    assert zero_doppler_time(*point, 0.0, *table()) == pytest.approx(expected, abs=1e-10)


@given(places, st.floats(-100.0, 100.0))
def test_any_guess_leads_to_the_same_time(place: tuple[float, float, float], guess: float) -> None:
    point = point_at(place)
    start, coefficients = table()
    expected = zero_doppler_time(*point, 0.0, start, coefficients)
    if abs(expected) <= 90.0:
        found = zero_doppler_time(*point, guess, start, coefficients)
        assert found == pytest.approx(expected, abs=1e-12)


@given(places)
def test_it_is_the_closest_approach(place: tuple[float, float, float]) -> None:
    point = point_at(place)
    start, coefficients = table()

    def distance(time: float) -> float:
        state = evaluate_orbit(time, start, coefficients)
        return float(np.linalg.norm(point - np.array(state[:3])))

    found = zero_doppler_time(*point, 0.0, start, coefficients)
    if abs(found) > 90.0:
        return
    nearest = minimize_scalar(
        distance, bounds=(found - 10.0, found + 10.0), method="bounded", options={"xatol": 1e-4}
    )
    # Distance is flat where it is least: a millisecond off costs a tenth of a millimetre.
    assert nearest.x == pytest.approx(found, abs=1e-3)
    assert distance(found) <= nearest.fun + 1e-8


def test_a_straight_path_is_solved_exactly() -> None:
    time = np.arange(0.0, 50.0, 10.0)
    velocity = np.array([10.0, 7500.0, -20.0])
    origin = np.array([7e6, -1e5, 3e4])
    start, coefficients = hermite_coefficients(
        time, origin + time[:, None] * velocity, np.tile(velocity, (5, 1))
    )
    point = np.array([6.4e6, 5e4, 5e5])
    expected = velocity @ (point - origin) / (velocity @ velocity)
    assert zero_doppler_time(*point, 33.0, start, coefficients) == pytest.approx(
        expected, abs=1e-12
    )


def test_a_late_time_is_solved_to_its_rounding() -> None:
    start, coefficients = table()
    point = point_at((1.0, 5.0, 500.0))
    expected = zero_doppler_time(*point, 0.0, start, coefficients)
    later = 86_400.0
    found = zero_doppler_time(*point, later, start + later, coefficients)
    assert found - later == pytest.approx(expected, abs=4 * np.spacing(later))


def test_nan_and_a_satellite_that_stands_still_have_no_time() -> None:
    start, coefficients = table()
    point = point_at((1.0, 5.0, 500.0))
    assert np.isnan(zero_doppler_time(np.nan, *point[1:], 0.0, start, coefficients))
    assert np.isnan(zero_doppler_time(*point, np.nan, start, coefficients))
    still = np.zeros_like(coefficients)
    assert np.isnan(zero_doppler_time(*point, 0.0, start, still))
