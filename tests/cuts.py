"""Cuts through terrain, as one profile sees it.

The satellite stands at (0, 0). A point of the terrain lies x outwards and H - z downwards. Import
it as ``from tests.cuts import classified, ground``.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.profiles import (
    ACTIVE_LAYOVER,
    ACTIVE_SHADOW,
    LAYOVER_AND_SHADOW,
    PASSIVE_LAYOVER,
    PASSIVE_SHADOW,
    Profile,
    classify,
    empty_profile,
)

Floats = NDArray[np.float64]

HEIGHT = 700e3
POSTING = 10.0
FORESHORTENING_THRESHOLD = 0.5

terrains = st.tuples(st.integers(0, 10**6), st.floats(5.0, 400.0), st.floats(2.0, 12.0))
"""Seed, relief in metres and size of the bumps in points, for `rough`."""


def classified(
    x: Floats, z: Floats, foreshortening: float = FORESHORTENING_THRESHOLD
) -> NDArray[np.uint8]:
    category = np.empty(x.size, dtype=np.uint8)
    classify(profile_of(x, z), foreshortening, category)
    return category


def profile_of(x: Floats, z: Floats) -> Profile:
    profile = empty_profile(x.size)
    profile.outward[:], profile.downward[:] = x, HEIGHT - z
    return profile


def ground(incidence: float, count: int = 400) -> Floats:
    """Postings around the place that is seen under an incidence angle."""
    middle = HEIGHT * np.tan(np.radians(incidence))
    result: Floats = middle + POSTING * (np.arange(count) - count // 2 + 0.3)
    return result


def is_layover(category: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(category, (ACTIVE_LAYOVER, PASSIVE_LAYOVER, LAYOVER_AND_SHADOW))


def is_shadow(category: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.isin(category, (ACTIVE_SHADOW, PASSIVE_SHADOW, LAYOVER_AND_SHADOW))


def rough(terrain: tuple[int, float, float], count: int = 300) -> Floats:
    from scipy.ndimage import gaussian_filter1d

    seed, relief, size = terrain
    noise = gaussian_filter1d(np.random.default_rng(seed).standard_normal(count), size)
    result: Floats = 1000.0 + relief * noise / noise.std()
    return result
