"""Dates of a track, simulated: the same ground from orbits some hundred metres apart.

Import it as ``from tests.series.dates import dates_of``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from sarheight.illumination import simulate
from sarheight.scene import Scene
from tests.mountains import LAW, look

DAYS = 12
METRES_PER_DEGREE = 77_000.0
"""Metres by which an orbit moves across its track for each degree of rotation, about."""


def date_of(
    dem: xr.DataArray,
    number: int = 0,
    *,
    baseline: float = 0.0,
    offset: tuple[float, float] = (0.0, 0.0),
    level: float = 1.0,
    speckle: bool = True,
    mission: str = "S1A",
    **how: Any,  # noqa: ANN401
) -> Scene:
    """Simulate a date, `number` cycles after the first, from an orbit moved by a baseline.

    The lattice of its pixels begins `offset` lines and samples later.
    """
    grid, orbit = look(**how)
    later = grid.epoch + np.timedelta64(DAYS * number, "D")
    orbit = replace(orbit.with_epoch(grid.epoch), epoch=later).rotate(baseline / METRES_PER_DEGREE)
    grid = grid.shift(-offset[0], -offset[1])
    grid = replace(grid, epoch=later, mission=mission, polarisations=("VV",))
    patches = np.exp(0.5 * np.random.default_rng(0).standard_normal(dem.shape))
    scene = simulate(
        dem,
        grid,
        orbit,
        law=LAW,
        reflectivity=level * patches,
        looks=4.4 if speckle else None,
        seed=number,
    )
    return Scene(scene.image.assign_coords(polarisation="VV"), grid, orbit, "beta0")
