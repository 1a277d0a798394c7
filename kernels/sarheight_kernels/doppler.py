r"""Native Doppler: images whose azimuth times are not those of zero Doppler.

An image that is focused to a Doppler centroid :math:`f_d(t, R)`, which depends on azimuth time and
slant range, shows a point :math:`P` at the time :math:`t` at which

.. math::

    v(t) \cdot (P - s(t)) = q(t, R) \, R, \qquad q = \tfrac{1}{2} \lambda f_d(t, R), \qquad
    R = |P - s(t)|,

with position :math:`s` and velocity :math:`v` of the satellite in an Earth-fixed frame and the
wavelength :math:`\lambda`. The closing speed :math:`q` is the speed at which the slant range
shrinks; it is positive where the radar looks ahead. Newton's method solves the equation with

.. math::

    \frac{d}{dt} \left(v \cdot (P - s) - q R\right) = a \cdot (P - s) - v \cdot v
        - \frac{\partial q}{\partial t} R
        + \left(q + R \, \frac{\partial q}{\partial R}\right) \frac{v \cdot (P - s)}{R}.

The closing speed is held as bicubic polynomials between knots. Beyond the outermost knots it is
continued along its tangent.

References
----------
Cumming, I. G. and Wong, F. H. (2005). Digital Processing of Synthetic Aperture Radar Data, section
12.2 (Doppler centroid and the geometry of a squinted beam).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sarheight_kernels._numba import F8, njit
from sarheight_kernels.orbit import (
    LAST_STEP,
    MOST_STEPS,
    evaluate_orbit,
    orbit_interval,
    zero_doppler_time,
)

if TYPE_CHECKING:

    class RadarModel(Protocol):
        """The fields of `sarheight_kernels.models.RadarModel` that are read here."""

        @property
        def orbit_start(self) -> F8:
            """Beginning of each interval of the orbit."""

        @property
        def orbit_coefficients(self) -> F8:
            """Polynomials of the orbit in each interval."""

        @property
        def doppler_time(self) -> F8:
            """Knots in azimuth time."""

        @property
        def doppler_range(self) -> F8:
            """Knots in slant range."""

        @property
        def doppler_coefficients(self) -> F8:
            """Polynomials of the closing speed between knots."""


class DopplerTable(NamedTuple):
    """Closing speed over azimuth time and slant range, as bicubic polynomials between knots.

    `sarheight_kernels.models.RadarModel` has the same fields, and serves wherever a table does.

    Attributes
    ----------
    doppler_time, doppler_range : array, shape (m,), (n,)
        Knots in seconds and metres, ascending.
    doppler_coefficients : array, shape (m - 1, n - 1, 4, 4)
        Closing speed in metres per second: coefficient of ``a**i * b**j``, where a and b go from 0
        to 1 between two knots in time and in range. Of shape (0, 0, 4, 4) for zero Doppler.
    """

    doppler_time: F8
    doppler_range: F8
    doppler_coefficients: F8


@njit
def is_native(table: DopplerTable | RadarModel) -> bool:
    """Tell whether an image is focused to a Doppler centroid other than zero."""
    return table.doppler_coefficients.shape[0] > 0


SLIGHT_SQUINT = 50.0
"""Closing speed in metres per second up to which the cone of a centroid stands as upright as planes
of zero Doppler do, to a few thousandths: a squint of 0.4 degrees."""


@njit
def is_squinted(table: DopplerTable | RadarModel) -> bool:
    """Tell whether an image is focused to a Doppler centroid at which the radar looks ahead."""
    for i in range(table.doppler_coefficients.shape[0]):
        for j in range(table.doppler_coefficients.shape[1]):
            if abs(table.doppler_coefficients[i, j, 0, 0]) > SLIGHT_SQUINT:
                return True
    return False


@njit
def closing_speed(
    table: DopplerTable | RadarModel, time: float, slant_range: float
) -> tuple[float, float, float]:
    """Evaluate the closing speed in m/s, and its change per second and per metre of slant range.

    `table` is not that of zero Doppler; the place is an azimuth time in seconds and a slant range
    in metres.
    """
    times, ranges = table.doppler_time, table.doppler_range
    i = orbit_interval(time, times[: times.size - 1])
    j = orbit_interval(slant_range, ranges[: ranges.size - 1])
    width, depth = times[i + 1] - times[i], ranges[j + 1] - ranges[j]
    a, b = (time - times[i]) / width, (slant_range - ranges[j]) / depth
    u, v = min(max(a, 0.0), 1.0), min(max(b, 0.0), 1.0)
    cubic = table.doppler_coefficients[i, j]
    speed, per_time, per_range = 0.0, 0.0, 0.0
    # Horner's scheme in both directions, with the two slopes.
    for k in range(3, -1, -1):
        value = ((cubic[k, 3] * v + cubic[k, 2]) * v + cubic[k, 1]) * v + cubic[k, 0]
        slope = (3.0 * cubic[k, 3] * v + 2.0 * cubic[k, 2]) * v + cubic[k, 1]
        per_time = per_time * u + speed
        speed = speed * u + value
        per_range = per_range * u + slope
    # Inside, a = u and b = v, and the tangent adds nothing.
    speed += (a - u) * per_time + (b - v) * per_range
    return speed, per_time / width, per_range / depth


@njit
def closing_speeds(table: DopplerTable | RadarModel, time: F8, slant_range: F8) -> F8:
    """Evaluate the closing speed in m/s at many times and slant ranges, shape (n,)."""
    speeds = np.empty(time.size)
    for index in range(time.size):
        speeds[index], _, _ = closing_speed(table, time[index], slant_range[index])
    return speeds


@njit
def _native_doppler_time(x: float, y: float, z: float, guess: float, radar: RadarModel) -> float:
    """Solve for the time at which a point is seen at the Doppler centroid, by Newton's method."""
    start, coefficients = radar.orbit_start, radar.orbit_coefficients
    time = guess
    for _ in range(MOST_STEPS):
        px, py, pz, vx, vy, vz, ax, ay, az = evaluate_orbit(time, start, coefficients)
        ex, ey, ez = x - px, y - py, z - pz
        distance = math.sqrt(ex * ex + ey * ey + ez * ez)
        ahead = vx * ex + vy * ey + vz * ez
        speed, per_time, per_range = closing_speed(radar, time, distance)
        slope = ax * ex + ay * ey + az * ez - (vx * vx + vy * vy + vz * vz) - per_time * distance
        slope += (speed + per_range * distance) * ahead / distance
        step = (ahead - speed * distance) / slope
        time -= step
        if abs(step) < LAST_STEP:
            return time
        if not math.isfinite(time):
            break
    return math.nan


@njit
def doppler_time(x: float, y: float, z: float, guess: float, radar: RadarModel) -> float:
    """Solve for the azimuth time of a point: that of zero Doppler, or of the Doppler centroid.

    Parameters and result are those of `sarheight_kernels.orbit.zero_doppler_time`.
    """
    if is_native(radar):
        return _native_doppler_time(x, y, z, guess, radar)
    return zero_doppler_time(x, y, z, guess, radar.orbit_start, radar.orbit_coefficients)


RANGE_STEPS = 4


@njit
def range_on_cone(
    table: DopplerTable | RadarModel, time: float, speed: float, across: float
) -> float:
    r"""Find the slant range of a point from its distance to the line of flight.

    At a Doppler centroid a point at the slant range R lies :math:`F = q R / |v|` ahead of the
    satellite, and :math:`\rho = \sqrt{R^2 - F^2} = R \sqrt{1 - (q / |v|)^2}` beside its line of
    flight. `speed` is that of the satellite in metres per second, `across` is rho in metres.
    """
    slant_range = across
    # The centroid is that at R, which is close to rho: each step gains some digits.
    for _ in range(RANGE_STEPS):
        closing, _, _ = closing_speed(table, time, slant_range)
        slant_range = across / math.sqrt(1.0 - (closing / speed) ** 2)
    return slant_range


STRETCH_NODES = 4


@njit
def fit_stretch(
    table: DopplerTable | RadarModel,
    time: float,
    speed: float,
    nearest: float,
    farthest: float,
    polynomial: F8,
) -> None:
    """Fit slant range over distance to the line of flight, see `range_on_cone`, by a cubic.

    The satellite is at an azimuth time in seconds, with a speed in metres per second; distances in
    metres go from `nearest` to `farthest`. `polynomial`, shape (4,), receives coefficients in
    powers of the distance, scaled to -1 ... 1.
    """
    values = np.empty(STRETCH_NODES)
    middle, half = 0.5 * (nearest + farthest), 0.5 * (farthest - nearest)
    nodes = np.empty(STRETCH_NODES)
    for node in range(STRETCH_NODES):
        nodes[node] = math.cos((2.0 * node + 1.0) * math.pi / (2.0 * STRETCH_NODES))
        distance = middle + half * nodes[node]
        values[node] = range_on_cone(table, time, speed, distance) / distance
    # Newton's divided differences, then powers.
    differences = values.copy()
    for order in range(1, STRETCH_NODES):
        for node in range(STRETCH_NODES - 1, order - 1, -1):
            differences[node] = (differences[node] - differences[node - 1]) / (
                nodes[node] - nodes[node - order]
            )
    polynomial[:] = 0.0
    for node in range(STRETCH_NODES - 1, -1, -1):
        for power in range(STRETCH_NODES - 1, 0, -1):
            polynomial[power] = polynomial[power - 1] - nodes[node] * polynomial[power]
        polynomial[0] = differences[node] - nodes[node] * polynomial[0]
