"""Reconstructions, with one and two polarisations, and the explicit mapping, in turn.

Times are processor times of all threads, divided by their number: what a run takes on a machine
that does nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from sarheight_kernels.pool import thread_count

from benchmarks._hills import dem_of, radar_over
from benchmarks._timing import in_turn
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import Reallocation, mapping, reconstruct
from sarheight.scene import Scene

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["reconstructions"]

RUNS = 5


def reconstructions(size: int) -> dict[str, Value]:
    """Time them.

    Parameters
    ----------
    size : int
        Cells along the side of the DEM, which is in UTM.

    Returns
    -------
    dict
        ``posterior`` (the default method, its law fitted), ``reconstruct`` (one step by a given
        law) and ``mapping`` in nanoseconds a cell, and by how much more time, as a fraction, a
        second polarisation takes in one step.
    """
    dem = dem_of(size, "EPSG:32632")
    grid, orbit = radar_over(size)
    power = np.ones((2, *grid.shape), dtype=np.float32)
    one = Scene(xr.DataArray(power[0], dims=("line", "sample")), grid, orbit, "beta0")
    both = xr.DataArray(power, dims=("polarisation", "line", "sample"))
    two = Scene(both.assign_coords(polarisation=["VV", "VH"]), grid, orbit, "beta0")
    step = {"law": Muhleman(), "method": Reallocation()}
    speckled = simulate(dem, grid, orbit, looks=4.4, seed=0)
    found = in_turn(
        {
            "one": lambda: reconstruct(one, dem, **step),
            "two": lambda: reconstruct(two, dem, **step),
            "posterior": lambda: reconstruct(speckled, dem),
            "mapping": lambda: mapping(dem, grid, orbit),
        },
        runs=RUNS,
    )
    taken = {name: each.shared(thread_count()) for name, each in found.items()}
    return {
        "posterior": taken["posterior"].per(dem.size),
        "reconstruct": taken["one"].per(dem.size),
        "second_polarisation": taken["two"].median / taken["one"].median - 1.0,
        "mapping": taken["mapping"].per(dem.size),
    }
