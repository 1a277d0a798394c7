"""Hermite interpolation of state vectors, and zero-Doppler times."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.orbit import (
    evaluate_orbit,
    hermite_coefficients,
    orbit_interval,
    orbit_states,
    zero_doppler_time,
)
from scipy.optimize import brentq, minimize_scalar

Floats = NDArray[np.float64]

RADIUS = 7_071_000.0
RATE = 1.06e-3


def circle(time: Floats) -> tuple[Floats, Floats, Floats]:
    """Position, velocity and acceleration on a tilted circle in a frame that does not turn."""
    tilt = np.radians(98.0)
    first = np.array([1.0, 0.0, 0.0])
    second = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    cosine, sine = np.cos(RATE * time)[:, None], np.sin(RATE * time)[:, None]
    position = RADIUS * (cosine * first + sine * second)
    velocity = RADIUS * RATE * (cosine * second - sine * first)
    return position, velocity, -(RATE**2) * position


def table(time: Floats) -> tuple[Floats, Floats]:
    position, velocity, _ = circle(time)
    return hermite_coefficients(time, position, velocity)


def states(time: Floats, start: Floats, coefficients: Floats) -> tuple[Floats, Floats, Floats]:
    values = orbit_states(time, start, coefficients)
    return values[:, :3], values[:, 3:6], values[:, 6:]


def test_the_path_passes_through_every_vector() -> None:
    time = np.cumsum([3.0, 10.0, 7.0, 12.0, 10.0, 1.0, 10.0])
    start, coefficients = table(time)
    np.testing.assert_array_equal(start, time[:-1])
    position, velocity, _ = states(time, start, coefficients)
    expected = circle(time)
    np.testing.assert_allclose(position, expected[0], rtol=0, atol=1e-8)
    np.testing.assert_allclose(velocity, expected[1], rtol=0, atol=1e-8)


def test_a_circle_is_followed_to_a_micrometre() -> None:
    start, coefficients = table(np.arange(0.0, 160.0, 10.0))
    time = np.linspace(0.0, 150.0, 997)
    position, velocity, acceleration = states(time, start, coefficients)
    expected = circle(time)
    np.testing.assert_allclose(position, expected[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(velocity, expected[1], rtol=0, atol=1e-7)
    np.testing.assert_allclose(acceleration, expected[2], rtol=0, atol=1e-7)


def test_the_error_falls_with_the_eighth_power_of_the_spacing() -> None:
    errors = []
    for spacing in (320.0, 160.0):
        # In the middle of an inner interval.
        start, coefficients = table(spacing * np.arange(-1.5, 2.0))
        found = states(np.zeros(1), start, coefficients)[0]
        errors.append(np.linalg.norm(found - circle(np.zeros(1))[0]))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(8.0, abs=0.1)
    # The bound that the module states.
    bound = (1.5 * 320.0) ** 4 * (0.5 * 320.0) ** 4 / 40_320 * RADIUS * RATE**8
    assert 0.5 * bound < errors[0] < bound


@given(
    st.lists(st.floats(1.0, 30.0), min_size=3, max_size=3),
    st.lists(st.floats(-1.0, 1.0), min_size=8, max_size=8),
    st.floats(0.0, 1.0),
)
def test_a_polynomial_of_degree_seven_is_reproduced(
    steps: list[float], powers: list[float], place: float
) -> None:
    time = np.concatenate([[0.0], np.cumsum(steps)])
    end = time[-1]
    truth = np.polynomial.Polynomial(powers, domain=[0.0, end], window=[0.0, 1.0])
    slope, bend = truth.deriv(1), truth.deriv(2)
    start, coefficients = hermite_coefficients(
        time, np.outer(truth(time), [1.0, -2.0, 0.0]), np.outer(slope(time), [1.0, -2.0, 0.0])
    )
    at = place * end
    found = evaluate_orbit(at, start, coefficients)
    # Rounding grows where two vectors are close together and the others far.
    slack = 1e-9 * (end / min(steps)) ** 4
    assert found[0] == pytest.approx(truth(at), abs=slack)
    assert found[1] == pytest.approx(-2.0 * truth(at), abs=2 * slack)
    assert found[2] == 0.0
    assert found[3] * end == pytest.approx(slope(at) * end, abs=30 * slack)
    assert found[6] * end**2 == pytest.approx(bend(at) * end**2, abs=1000 * slack)


def test_position_and_velocity_are_continuous_where_intervals_join() -> None:
    time = np.arange(0.0, 100.0, 10.0)
    rng = np.random.default_rng(7)
    position, velocity, _ = circle(time)
    # Vectors with errors, which make neighbouring polynomials differ.
    start, coefficients = hermite_coefficients(
        time,
        position + rng.normal(scale=0.1, size=position.shape),
        velocity + rng.normal(scale=0.01, size=velocity.shape),
    )
    before = states(np.nextafter(start[1:], -np.inf), start, coefficients)
    after = states(start[1:], start, coefficients)
    np.testing.assert_allclose(before[0], after[0], rtol=0, atol=1e-7)
    np.testing.assert_allclose(before[1], after[1], rtol=0, atol=1e-7)


def test_velocity_and_acceleration_are_derivatives() -> None:
    start, coefficients = table(np.arange(0.0, 60.0, 10.0))
    step = 1e-2
    time = np.array([0.5, 12.3, 27.0, 49.9])
    position = [states(time + shift, start, coefficients)[0] for shift in (-step, step)]
    velocity = [states(time + shift, start, coefficients)[1] for shift in (-step, step)]
    middle = states(time, start, coefficients)
    np.testing.assert_allclose((position[1] - position[0]) / (2 * step), middle[1], atol=1e-5)
    np.testing.assert_allclose((velocity[1] - velocity[0]) / (2 * step), middle[2], atol=1e-5)


@given(
    st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=40, unique=True),
    st.floats(-2e4, 2e4),
    st.integers(0, 39),
)
def test_the_interval_is_the_last_that_has_begun(
    times: list[float], time: float, which: int
) -> None:
    start = np.sort(np.array(times))
    for at in (time, start[which % start.size]):
        expected = max(int(np.searchsorted(start, at, side="right")) - 1, 0)
        assert orbit_interval(at, start) == expected


def test_nan_gives_nan() -> None:
    start, coefficients = table(np.arange(0.0, 60.0, 10.0))
    assert np.isnan(evaluate_orbit(np.nan, start, coefficients)).all()


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


def turning_table(time: Floats = TIME) -> tuple[Floats, Floats]:
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
    assert zero_doppler_time(*point, 0.0, *turning_table()) == pytest.approx(expected, abs=1e-10)


@given(places, st.floats(-100.0, 100.0))
def test_any_guess_leads_to_the_same_time(place: tuple[float, float, float], guess: float) -> None:
    point = point_at(place)
    start, coefficients = turning_table()
    expected = zero_doppler_time(*point, 0.0, start, coefficients)
    if abs(expected) <= 90.0:
        found = zero_doppler_time(*point, guess, start, coefficients)
        assert found == pytest.approx(expected, abs=1e-12)


@given(places)
def test_it_is_the_closest_approach(place: tuple[float, float, float]) -> None:
    point = point_at(place)
    start, coefficients = turning_table()

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
    start, coefficients = turning_table()
    point = point_at((1.0, 5.0, 500.0))
    expected = zero_doppler_time(*point, 0.0, start, coefficients)
    later = 86_400.0
    found = zero_doppler_time(*point, later, start + later, coefficients)
    assert found - later == pytest.approx(expected, abs=4 * np.spacing(later))


def test_nan_and_a_satellite_that_stands_still_have_no_time() -> None:
    start, coefficients = turning_table()
    point = point_at((1.0, 5.0, 500.0))
    assert np.isnan(zero_doppler_time(np.nan, *point[1:], 0.0, start, coefficients))
    assert np.isnan(zero_doppler_time(*point, np.nan, start, coefficients))
    still = np.zeros_like(coefficients)
    assert np.isnan(zero_doppler_time(*point, 0.0, start, still))
