"""State vectors: velocities that are derived from positions, and checks of both."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import EQUATORIAL_RADIUS, GRAVITATIONAL_PARAMETER, ROTATION_RATE

Floats = NDArray[np.float64]

FEWEST_VECTORS = 4
"""State vectors of an orbit: the interpolating polynomial goes through four."""

POSITIONS_FOR_VELOCITY = 7
"""Positions whose polynomial is differentiated where there are no velocities."""

LONGEST_GAP = 240.0
"""Seconds. Across a gap this long the interpolation of a low orbit is good to a millimetre."""

VELOCITY_TOLERANCE = 0.02
"""Relative difference between velocities and the change of positions. The rotation of the Earth
changes velocities by up to 7 %: those of an inertial frame are noticed."""

NEIGHBOURS = 6
"""Neighbours through which a polynomial predicts a state vector."""


def derive_velocities(
    time: Floats, position: Floats, count: int = POSITIONS_FOR_VELOCITY
) -> Floats:
    """Differentiate, at each time, the polynomial through the nearest positions."""
    nearest = _neighbours(time.size, count)
    elapsed = time[nearest] - time[:, None]
    scale = np.abs(elapsed).max(axis=1, keepdims=True)
    powers = np.vander((elapsed / scale).ravel(), count, increasing=True)
    try:
        slopes = np.linalg.solve(powers.reshape(-1, count, count), position[nearest])[:, 1]
    except np.linalg.LinAlgError:  # repeated times, which `Orbit` refuses
        return np.full_like(position, np.nan)
    return np.asarray(slopes / scale)


def _neighbours(size: int, count: int) -> NDArray[np.int64]:
    """Return the nearest `count` vectors of each of `size`, with itself, shape (size, count)."""
    first = np.clip(np.arange(size) - count // 2, 0, size - count)
    return first[:, None] + np.arange(count)


def _factorial_bound(elapsed: Floats) -> Floats:
    """Bound the error in metres of polynomials through times at distances, shape (n, k), from 0.

    It is the derivative of order k, divided by k!, times the product of the distances. For a low
    orbit, whose radius is below twice the Earth's, that derivative is radius * rate**k at most.
    """
    rate = math.sqrt(GRAVITATIONAL_PARAMETER / EQUATORIAL_RADIUS**3) + ROTATION_RATE
    order = elapsed.shape[1]
    scale = 2.0 * EQUATORIAL_RADIUS / math.factorial(order)
    bound: Floats = scale * np.prod(rate * np.abs(elapsed), axis=1)
    return bound


def _prediction_errors(time: Floats, position: Floats) -> tuple[Floats, Floats, Floats]:
    """Compare positions with the polynomial through their neighbours.

    Returns the distance in metres, how many times the error of one position it may be, and the
    error of the polynomial in metres, each of shape (n,).
    """
    own = np.arange(time.size)
    count = min(NEIGHBOURS, time.size - 1)
    nearest = _neighbours(time.size, count + 1)
    others = nearest[nearest != own[:, None]].reshape(-1, count)
    elapsed = time[others] - time[:, None]
    # Lagrange's weights at the time of the vector itself: the product of t_k / (t_k - t_j).
    gaps = elapsed[:, None, :] - elapsed[:, :, None]
    gaps[:, np.arange(count), np.arange(count)] = 1.0
    factors = elapsed[:, None, :] / gaps
    factors[:, np.arange(count), np.arange(count)] = 1.0
    weights = factors.prod(axis=2)
    predicted = np.einsum("nk,nkd->nd", weights, position[others])
    distance = np.linalg.norm(predicted - position, axis=1)
    # Errors of one size in all positions add up to this many times that size.
    gain = np.sqrt(1.0 + (weights**2).sum(axis=1))
    return distance, gain, _factorial_bound(elapsed)


def find_displaced(time: Floats, position: Floats, tolerance: float) -> tuple[int, str] | None:
    """Find the state vector that lies beside the others, and describe it, or return None."""
    distance, gain, truncation = _prediction_errors(time, position)
    excess = (distance - truncation) / gain
    if excess.max() <= tolerance:
        return None
    # One wrong position spoils the predictions of all its neighbours: the wrong one is that without
    # which the others are smooth.
    worst = int(np.argmax(excess))
    begin = max(worst - NEIGHBOURS, 0)
    suspects = range(begin, min(worst + NEIGHBOURS + 1, time.size))

    def rest(index: int) -> float:
        span = slice(max(begin - NEIGHBOURS, 0), suspects.stop + NEIGHBOURS)
        others = np.delete(np.arange(time.size)[span], np.arange(time.size)[span] == index)
        if others.size <= FEWEST_VECTORS:  # too few to say which one it is
            return float(index != worst)
        found, scale, error = _prediction_errors(time[others], position[others])
        return float(((found - error) / scale).max())

    index = min(suspects, key=rest)
    return index, (
        f"lies {distance[index]:.3g} m beside the polynomial through its neighbours, expected at "
        f"most {tolerance * gain[index] + truncation[index]:.2g} m"
    )


def find_wrong_velocity(
    time: Floats, position: Floats, velocity: Floats, tolerance: float
) -> tuple[int, str] | None:
    """Find the velocity that differs most from the change of positions, and describe it."""
    slopes = derive_velocities(time, position, min(POSITIONS_FOR_VELOCITY, time.size))
    error = np.linalg.norm(velocity - slopes, axis=1)
    worst = int(np.argmax(error - _slope_truncation(time)))
    limit = tolerance + float(_slope_truncation(time)[worst])
    if error[worst] <= limit:
        return None
    found = (
        f"has a velocity that differs by {error[worst]:.3g} m/s from the change of the positions, "
        f"expected at most {limit:.2g} m/s"
    )
    return worst, found


def _slope_truncation(time: Floats) -> Floats:
    """Bound the error of slopes in metres per second, shape (n,)."""
    count = min(POSITIONS_FOR_VELOCITY, time.size)
    own = np.arange(time.size)[:, None]
    nearest = _neighbours(time.size, count)
    others = nearest[nearest != own].reshape(-1, count - 1)
    rate = math.sqrt(GRAVITATIONAL_PARAMETER / EQUATORIAL_RADIUS**3) + ROTATION_RATE
    # The slope has the error of the polynomial without the vector itself, of one order more.
    bound: Floats = _factorial_bound(time[others] - time[:, None]) * rate / count
    return bound


def describe_problem(time: Floats, position: Floats, velocity: Floats) -> str | None:
    """Describe the problem of state vectors, or return None."""
    if time.ndim != 1 or position.shape != (time.size, 3) or velocity.shape != (time.size, 3):
        return (
            f"found times, positions and velocities of shapes {time.shape}, {position.shape} and "
            f"{velocity.shape}, expected (n,), (n, 3) and (n, 3)"
        )
    if time.size < FEWEST_VECTORS:
        return (
            f"found {time.size} state vectors, expected at least {FEWEST_VECTORS}: pass more of "
            "the orbit"
        )
    problem = _time_problem(time)
    if problem is not None:
        return problem
    for name, values in (("positions", position), ("velocities", velocity)):
        if not np.isfinite(values).all():
            return f"found {name} that are not finite, expected numbers: leave such vectors out"
    return _frame_problem(np.diff(time), position, velocity)


def _time_problem(time: Floats) -> str | None:
    """Describe the problem of times, or return None."""
    if not np.isfinite(time).all():
        return "found times that are not finite, expected numbers: leave such vectors out"
    step = np.diff(time)
    if step.min() <= 0.0:
        late = int(np.argmin(step)) + 1
        return (
            f"found time {time[late]:.6f} s after {time[late - 1]:.6f} s, expected strictly "
            "ascending times: sort the vectors and drop repeated ones"
        )
    if step.max() > LONGEST_GAP:
        return (
            f"found a gap of {step.max():.0f} s between state vectors, expected at most "
            f"{LONGEST_GAP:.0f} s: pass an orbit without gaps"
        )
    return None


def _frame_problem(step: Floats, position: Floats, velocity: Floats) -> str | None:
    """Describe state vectors that are not Earth-fixed and in metres, or return None."""
    distance = np.linalg.norm(position, axis=1)
    if distance.min() < EQUATORIAL_RADIUS or distance.max() > 10 * EQUATORIAL_RADIUS:
        return (
            f"found positions {distance.min():.6g} to {distance.max():.6g} from the Earth's "
            "centre, expected a low orbit in metres: convert the positions to metres"
        )
    mean_velocity = np.diff(position, axis=0) / step[:, None]
    mismatch = np.linalg.norm(mean_velocity - (velocity[1:] + velocity[:-1]) / 2, axis=1)
    if (mismatch > VELOCITY_TOLERANCE * np.linalg.norm(mean_velocity, axis=1)).any():
        return (
            f"found velocities that differ from the change of the positions by up to "
            f"{mismatch.max():.6g} m/s, expected metres per second in an Earth-fixed "
            "frame: convert velocities of an inertial frame"
        )
    return None
