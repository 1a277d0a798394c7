"""State vectors as they come: checked, and put right where their rounding shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight._constants import EQUATORIAL_RADIUS

__all__ = [
    "FEWEST_VECTORS",
    "POSITIONS_FOR_VELOCITY",
    "on_steady_beat",
    "problem_of",
    "velocities_of",
]

Floats = NDArray[np.float64]

FEWEST_VECTORS = 4
POSITIONS_FOR_VELOCITY = 7

LONGEST_GAP = 240.0
"""Seconds. Across a gap this long the interpolation of a low orbit is good to a millimetre."""

STAMP_ROUNDING = 1.5e-6
"""Seconds by which the time stamps of an annotation stray from a steady beat."""


def on_steady_beat(time: Floats) -> Floats:
    """Put times back on a steady beat of whole milliseconds where only rounding keeps them off."""
    if time.size < FEWEST_VECTORS:
        return time
    count = np.arange(time.size)
    beat = round((time[-1] - time[0]) / (time.size - 1), 3)
    steady: Floats = np.mean(time - beat * count) + beat * count
    return steady if np.abs(time - steady).max() <= STAMP_ROUNDING else time


def velocities_of(time: Floats, position: Floats) -> Floats:
    """Differentiate, at each time, the polynomial through the nearest positions."""
    velocity = np.empty_like(position)
    for index in range(time.size):
        first = min(max(index - POSITIONS_FOR_VELOCITY // 2, 0), time.size - POSITIONS_FOR_VELOCITY)
        nearest = slice(first, first + POSITIONS_FOR_VELOCITY)
        elapsed = time[nearest] - time[index]
        scale = np.abs(elapsed).max()
        powers = np.vander(elapsed / scale, increasing=True)
        try:
            velocity[index] = np.linalg.solve(powers, position[nearest])[1] / scale
        except np.linalg.LinAlgError:
            velocity[index] = np.nan
    return velocity


def problem_of(time: Floats, position: Floats, velocity: Floats) -> str | None:
    """Say what is wrong with state vectors, or None."""
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
    for name, values in (("times", time), ("positions", position), ("velocities", velocity)):
        if not np.isfinite(values).all():
            return f"found {name} that are not finite, expected numbers: leave such vectors out"
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
    return _implausible(step, position, velocity)


def _implausible(step: Floats, position: Floats, velocity: Floats) -> str | None:
    """Say where state vectors cannot be those of a satellite seen from the Earth, or None."""
    distance = np.linalg.norm(position, axis=1)
    if distance.min() < EQUATORIAL_RADIUS or distance.max() > 10 * EQUATORIAL_RADIUS:
        return (
            f"found positions {distance.min():.6g} to {distance.max():.6g} from the Earth's "
            "centre, expected a low orbit in metres: convert the positions to metres"
        )
    flown = np.diff(position, axis=0) / step[:, None]
    mismatch = np.linalg.norm(flown - (velocity[1:] + velocity[:-1]) / 2, axis=1)
    if (mismatch > 0.02 * np.linalg.norm(flown, axis=1)).any():
        return (
            f"found velocities that differ from the change of the positions by up to "
            f"{mismatch.max():.6g} m/s, expected metres per second as seen from the turning "
            "Earth: convert velocities that belong to a frame that does not turn"
        )
    return None
