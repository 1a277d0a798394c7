r"""Layover and shadow by scanning terrain profiles.

At one azimuth time the radar sees the plane at a right angle to its velocity. In that plane a
point of the terrain has two coordinates from the satellite: :math:`E` outwards (to the side the
radar looks) and :math:`D` downwards. Both are linear in height,

.. math:: E = E_0(c) + h \, E_1(c), \qquad D = D_0(c) + h \, D_1(c),

with coefficients that change smoothly along the profile. Its slant range is
:math:`\sqrt{E^2 + D^2}` and the tangent of its look angle is :math:`E / D`. Walking outwards,

- a point is in shadow where its look angle is below the largest one so far;
- a point is in layover where its slant range is below the largest so far, or, walking back,
  above the smallest so far;
- layover and shadow are active where slant range or look angle fall outwards at the point
  itself, and passive elsewhere.

Only the largest and smallest values so far are found one point after the other. All else looks at
a point and its neighbours, in passes over whole profiles without a branch for voids.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sarheight_kernels._numba import njit

__all__ = [
    "ACTIVE_LAYOVER",
    "ACTIVE_SHADOW",
    "CLEAR",
    "FORESHORTENING",
    "LAYOVER_AND_SHADOW",
    "NO_DATA",
    "PASSIVE_LAYOVER",
    "PASSIVE_SHADOW",
    "classify",
    "shade",
]

CLEAR = 0
FORESHORTENING = 1
ACTIVE_LAYOVER = 2
PASSIVE_LAYOVER = 3
ACTIVE_SHADOW = 4
PASSIVE_SHADOW = 5
LAYOVER_AND_SHADOW = 6
NO_DATA = 255

TIE = 1e-12
"""Relative difference below which two slant ranges or tangents count as equal."""


@njit
def _direction(outward: NDArray[np.float64]) -> int:
    """Step from near to far, 1 or -1, by the ends of a profile without voids."""
    first, last = 0, outward.size - 1
    while first < last and math.isnan(outward[first]):
        first += 1
    while last > first and math.isnan(outward[last]):
        last -= 1
    return 1 if outward[last] >= outward[first] else -1


@njit
def _growth(values: NDArray[np.float64], step: int, growth: NDArray[np.float64]) -> None:
    """How much values grow outwards from one neighbour of a point to the other.

    Where there is no neighbour the point itself takes its place.
    """
    left, middle, right, inner = values[:-2], values[1:-1], values[2:], growth[1:-1]
    for i in range(inner.size):
        here = middle[i]
        before = here if math.isnan(left[i]) else left[i]
        after = here if math.isnan(right[i]) else right[i]
        inner[i] = step * (after - before)
    last = values.size - 1
    for i in (0, last):
        here, before, after = values[i], values[max(i - 1, 0)], values[min(i + 1, last)]
        before = here if math.isnan(before) else before
        after = here if math.isnan(after) else after
        growth[i] = step * (after - before)


@njit
def _largest_before(values: NDArray[np.float64], step: int, largest: NDArray[np.float64]) -> None:
    """Find for each value the largest one before it; minus infinity where there is none."""
    so_far = -math.inf
    first = 0 if step > 0 else values.size - 1
    for k in range(values.size):
        i = np.uint64(first + k * step)
        largest[i] = so_far
        so_far = values[i] if values[i] > so_far else so_far


@njit
def _smallest_after(values: NDArray[np.float64], step: int, smallest: NDArray[np.float64]) -> None:
    """Find for each value the smallest one after it; infinity where there is none."""
    so_far = math.inf
    first = values.size - 1 if step > 0 else 0
    for k in range(values.size):
        i = np.uint64(first - k * step)
        smallest[i] = so_far
        so_far = values[i] if values[i] < so_far else so_far


@njit
def _find_shadow(tangent: NDArray[np.float64], step: int, shadow: NDArray[np.uint8]) -> None:
    """Tell which points are in shadow, and whether it is active."""
    growth, highest = np.empty(tangent.size), np.empty(tangent.size)
    _growth(tangent, step, growth)
    _largest_before(tangent, step, highest)
    for i in range(tangent.size):
        passive = PASSIVE_SHADOW if tangent[i] < highest[i] * (1.0 - TIE) else CLEAR
        shadow[i] = ACTIVE_SHADOW if growth[i] < 0.0 else passive


@njit
def _find_layover(
    slant: NDArray[np.float64],
    growth: NDArray[np.float64],
    step: int,
    layover: NDArray[np.uint8],
) -> None:
    """Tell which points are in layover, and whether it is active."""
    farthest, nearest = np.empty(slant.size), np.empty(slant.size)
    _largest_before(slant, step, farthest)
    _smallest_after(slant, step, nearest)
    for i in range(slant.size):
        folded = (slant[i] < farthest[i] * (1.0 - TIE)) | (slant[i] > nearest[i] * (1.0 + TIE))
        passive = PASSIVE_LAYOVER if folded else CLEAR
        layover[i] = ACTIVE_LAYOVER if growth[i] < 0.0 else passive


@njit
def classify(
    outward: NDArray[np.float64],
    downward: NDArray[np.float64],
    compression: float,
    category: NDArray[np.uint8],
) -> None:
    """Classify the points of a profile.

    Parameters
    ----------
    outward, downward : array, shape (n,)
        Coordinates of the points in metres, from near to far or from far to near; NaN where
        there is no terrain.
    compression : float
        A slope that faces the radar counts as foreshortened where its slant range grows by less
        than this fraction of what it would over flat ground.
    category : array, shape (n,)
        Receives the category of each point.
    """
    size, step = outward.size, _direction(outward)
    slant, tangent = np.empty(size), np.empty(size)
    for i in range(size):
        slant[i] = math.sqrt(outward[i] * outward[i] + downward[i] * downward[i])
        tangent[i] = outward[i] / downward[i]
    growth, least = np.empty(size), np.empty(size)
    _growth(slant, step, growth)
    _growth(outward, step, least)
    for i in range(size):
        least[i] = compression * (least[i] * outward[i] / slant[i])
    layover, shadow = np.empty(size, np.uint8), np.empty(size, np.uint8)
    _find_layover(slant, growth, step, layover)
    _find_shadow(tangent, step, shadow)
    for i in range(size):
        pressed = FORESHORTENING if growth[i] < least[i] else CLEAR
        either = layover[i] + shadow[i]
        both = layover[i] * shadow[i] > 0
        found = LAYOVER_AND_SHADOW if both else pressed if either == CLEAR else either
        category[i] = NO_DATA if math.isnan(slant[i]) else found


@njit
def shade(
    outward: NDArray[np.float64], downward: NDArray[np.float64], lit: NDArray[np.uint8]
) -> None:
    """Tell which points of a profile the radar lights: those that `classify` finds no shadow on.

    Parameters
    ----------
    outward, downward : array, shape (n,)
        Coordinates of the points in metres, from near to far or from far to near; NaN where
        there is no terrain.
    lit : array, shape (n,)
        Receives 1 where a point is lit, 0 where it is in shadow or there is no terrain.
    """
    tangent = np.empty(outward.size)
    for i in range(outward.size):
        tangent[i] = outward[i] / downward[i]
    _find_shadow(tangent, _direction(outward), lit)
    for i in range(outward.size):
        lit[i] = (lit[i] == CLEAR) & ~math.isnan(tangent[i])
