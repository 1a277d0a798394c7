r"""The satellite's orbit, and the zero-Doppler time of points.

A state vector gives position and velocity at one time. Between two neighbouring vectors the path
is the polynomial of degree seven that meets four vectors in position and velocity: the two
neighbours and one more on either side (Hermite interpolation). At the ends of the list the four
vectors are the first or the last four.

With vectors every :math:`h` seconds the error of a coordinate in an inner interval is at most

.. math::

    \frac{(3h/2)^4 \, (h/2)^4}{8!} \; \max |x^{(8)}(t)|,

which for a satellite at 700 km and vectors 10 s apart is below a nanometre: the rounding of the
vectors themselves is what remains.

The polynomials are held as a table of two arrays:

``start``
    Array of shape ``(m,)``: the time in seconds at which each interval begins, ascending.
``coefficients``
    Array of shape ``(m, 8, 3)``: on interval ``i``, with :math:`u = t - \mathrm{start}_i`, the
    position in metres is the sum over ``k`` of ``coefficients[i, k] * u**k``.

In zero-Doppler geometry a point :math:`P` has the azimuth time :math:`t` at which the satellite's
velocity is at a right angle to the line of sight,

.. math::

    f(t) = v(t) \cdot (P - s(t)) = 0, \qquad
    f'(t) = a(t) \cdot (P - s(t)) - v(t) \cdot v(t),

with the position :math:`s`, the velocity :math:`v` and the acceleration :math:`a` of the
satellite in an Earth-fixed frame. Newton's method solves it.

References
----------
de Boor, C. (2001). A Practical Guide to Splines, revised edition, chapter I (divided differences
with repeated nodes).
"""

from __future__ import annotations

import math

import numpy as np

from sarheight_kernels._numba import F8, njit

OrbitState = tuple[float, float, float, float, float, float, float, float, float]


@njit
def orbit_interval(time: float, start: F8) -> int:
    """Find the last interval of an orbit table that begins at or before a time, or the first.

    `start`, shape (m,), are the beginnings of the intervals in seconds, ascending.
    """
    last = start.size - 1
    if not time > start[0]:
        return 0
    if time >= start[last]:
        return last
    # State vectors are nearly evenly spaced in time, so the guess is right or one off.
    interval = min(int((time - start[0]) / (start[last] - start[0]) * last), last - 1)
    while start[interval] > time:
        interval -= 1
    while start[interval + 1] <= time:
        interval += 1
    return interval


@njit
def evaluate_orbit(time: float, start: F8, coefficients: F8) -> OrbitState:
    """Evaluate the satellite's position, velocity and acceleration.

    Parameters
    ----------
    time : float
        Time in seconds. Outside the table the polynomial of the nearest interval is continued:
        the caller keeps to the times that the state vectors cover.
    start, coefficients : array, shape (m,), (m, 8, 3)
        The orbit table, see the module.

    Returns
    -------
    tuple of float
        Position x, y, z in metres, velocity x, y, z in metres per second, and acceleration
        x, y, z in metres per second squared, in the frame of the state vectors. For an
        Earth-fixed frame velocity and acceleration are those seen from the rotating Earth.
    """
    interval = orbit_interval(time, start)
    elapsed = time - start[interval]
    polynomial = coefficients[interval]
    position_x, position_y, position_z = polynomial[7, 0], polynomial[7, 1], polynomial[7, 2]
    velocity_x, velocity_y, velocity_z = 0.0, 0.0, 0.0
    curvature_x, curvature_y, curvature_z = 0.0, 0.0, 0.0
    # Horner's scheme with derivatives: p' = p' u + p and p''/2 = (p''/2) u + p', before p itself.
    for power in range(6, -1, -1):
        curvature_x = curvature_x * elapsed + velocity_x
        curvature_y = curvature_y * elapsed + velocity_y
        curvature_z = curvature_z * elapsed + velocity_z
        velocity_x = velocity_x * elapsed + position_x
        velocity_y = velocity_y * elapsed + position_y
        velocity_z = velocity_z * elapsed + position_z
        position_x = position_x * elapsed + polynomial[power, 0]
        position_y = position_y * elapsed + polynomial[power, 1]
        position_z = position_z * elapsed + polynomial[power, 2]
    return (
        position_x,
        position_y,
        position_z,
        velocity_x,
        velocity_y,
        velocity_z,
        2.0 * curvature_x,
        2.0 * curvature_y,
        2.0 * curvature_z,
    )


@njit
def orbit_states(time: F8, start: F8, coefficients: F8) -> F8:
    """Evaluate position, velocity and acceleration at many times, shape (n,), as `evaluate_orbit`.

    Returns shape (n, 9).
    """
    states = np.empty((time.size, 9))
    for index in range(time.size):
        state = evaluate_orbit(time[index], start, coefficients)
        for component in range(9):
            states[index, component] = state[component]
    return states


@njit
def _four_vector_polynomial(
    time: F8, position: F8, velocity: F8, origin: float, polynomial: F8
) -> None:
    """Write the coefficients, in powers of time - `origin`, of the polynomial through 4 vectors."""
    node = np.empty(8)
    difference = np.empty((8, 3))
    for vector in range(4):
        for axis in range(3):
            difference[2 * vector, axis] = position[vector, axis]
            difference[2 * vector + 1, axis] = position[vector, axis]
        node[2 * vector] = time[vector] - origin
        node[2 * vector + 1] = time[vector] - origin
    # Divided differences in place; that of a node with itself is the velocity there.
    for order in range(1, 8):
        for row in range(7, order - 1, -1):
            width = node[row] - node[row - order]
            for axis in range(3):
                if width == 0.0:
                    difference[row, axis] = velocity[row // 2, axis]
                else:
                    difference[row, axis] = (
                        difference[row, axis] - difference[row - 1, axis]
                    ) / width
    # Newton's form into powers: p(u) = d_0 + (u - u_0) (d_1 + (u - u_1) (d_2 + ...)), from inside.
    for axis in range(3):
        for power in range(8):
            polynomial[power, axis] = 0.0
        for row in range(7, -1, -1):
            for power in range(7, 0, -1):
                polynomial[power, axis] = (
                    polynomial[power - 1, axis] - node[row] * polynomial[power, axis]
                )
            polynomial[0, axis] = difference[row, axis] - node[row] * polynomial[0, axis]


@njit
def hermite_coefficients(time: F8, position: F8, velocity: F8) -> tuple[F8, F8]:
    """Make the polynomials that pass through a list of state vectors.

    Parameters
    ----------
    time : array, shape (n,)
        Times of the vectors in seconds, strictly ascending, at least four.
    position : array, shape (n, 3)
        Positions in metres.
    velocity : array, shape (n, 3)
        Velocities in metres per second, in the same frame.

    Returns
    -------
    start : array, shape (n - 1,)
        Beginning of each interval in seconds. The last interval ends at ``time[n - 1]``.
    coefficients : array, shape (n - 1, 8, 3)
        Polynomial coefficients of each interval, from the constant upwards.
    """
    intervals = time.size - 1
    start = time[:intervals].copy()
    coefficients = np.empty((intervals, 8, 3))
    for interval in range(intervals):
        first = min(max(interval - 1, 0), time.size - 4)
        _four_vector_polynomial(
            time[first : first + 4],
            position[first : first + 4],
            velocity[first : first + 4],
            start[interval],
            coefficients[interval],
        )
    return start, coefficients


# Newton's method squares the error: after a step of a microsecond less than 1e-15 s remains.
LAST_STEP = 1e-6
MOST_STEPS = 30


@njit
def zero_doppler_time(
    x: float, y: float, z: float, guess: float, start: F8, coefficients: F8
) -> float:
    """Solve for the time at which a point is seen at zero Doppler, by Newton's method.

    Parameters
    ----------
    x, y, z : float
        The point in metres, in the frame of the orbit.
    guess : float
        Time in seconds to begin with. An orbit longer than half a revolution has more than one
        zero; the result is the one near the guess.
    start, coefficients : array, shape (m,), (m, 8, 3)
        The orbit table, see the module.

    Returns
    -------
    float
        Time in seconds, correct to better than 1e-12 s or to the rounding of the time itself.
        Outside the orbit table it has no meaning: the caller checks that. NaN where the iteration
        does not converge, or where the point or the guess is NaN.
    """
    time = guess
    for _ in range(MOST_STEPS):
        px, py, pz, vx, vy, vz, ax, ay, az = evaluate_orbit(time, start, coefficients)
        sight_x, sight_y, sight_z = x - px, y - py, z - pz
        doppler = vx * sight_x + vy * sight_y + vz * sight_z
        slope = ax * sight_x + ay * sight_y + az * sight_z - (vx * vx + vy * vy + vz * vz)
        step = doppler / slope
        time -= step
        if abs(step) < LAST_STEP:
            return time
        if not math.isfinite(time):
            break
    return math.nan
