r"""When a point is seen: the time of zero Doppler.

Zero-Doppler geometry sees a point :math:`P` at the time :math:`t` at which the satellite's
velocity is at a right angle to the line of sight,

.. math::

    f(t) = v(t) \cdot (P - s(t)) = 0, \qquad
    f'(t) = a(t) \cdot (P - s(t)) - v(t) \cdot v(t),

with the position :math:`s`, the velocity :math:`v` and the acceleration :math:`a` of the
satellite in an Earth-fixed frame.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit
from sarheight_kernels.orbit import evaluate_orbit

__all__ = ["zero_doppler_time"]

# Newton's method squares the error: after a step of a microsecond less than 1e-15 s is left.
LAST_STEP = 1e-6
MOST_STEPS = 30


@njit
def zero_doppler_time(
    x: float,
    y: float,
    z: float,
    guess: float,
    start: NDArray[np.float64],
    coefficients: NDArray[np.float64],
) -> float:
    """Solve for the time at which a point is seen at zero Doppler, by Newton's method.

    Parameters
    ----------
    x, y, z : float
        The point in metres, in the frame of the orbit.
    guess : float
        Time in seconds to begin with. An orbit longer than half a revolution has more than one
        zero; the one that is found is the one near the guess.
    start : array, shape (m,)
        Beginning of each interval of the orbit table in seconds, ascending.
    coefficients : array, shape (m, 8, 3)
        Polynomial coefficients of each interval of the orbit table.

    Returns
    -------
    float
        Time in seconds, correct to better than 1e-12 s or to the rounding of the time itself.
        It may lie outside the orbit table, where it means nothing: checking that is up to the
        caller. NaN where the iteration does not converge, or where the point or the guess is
        NaN.
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
