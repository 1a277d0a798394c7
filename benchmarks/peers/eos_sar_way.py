"""eos-sar: DEM to ECEF by pyproj, then its projection by Newton's method. Run by its own Python."""

from __future__ import annotations

import json
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyproj
from eos.sar.orbit import Orbit, StateVector
from eos.sar.range_doppler import iterative_projection

RUNS = 3


def main(path: Path) -> None:
    """Time the projection; print nanoseconds a cell as JSON."""
    given = np.load(path)
    states = [
        StateVector(float(time_), tuple(position), tuple(velocity))
        for time_, position, velocity in zip(
            given["time"], given["position"], given["velocity"], strict=True
        )
    ]
    orbit = Orbit(states)
    to_earth = pyproj.Transformer.from_crs(4979, 4978, always_xy=True)
    longitude, latitude = np.meshgrid(given["longitude"], given["latitude"])
    heights = given["heights"].astype(np.float64)
    taken = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        x, y, z = to_earth.transform(longitude, latitude, heights)
        iterative_projection(orbit, x.ravel(), y.ravel(), z.ravel())
        taken.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "version": version("eos-sar"),
                "note": "ECEF by pyproj",
                "geo2rdr": 1e9 * statistics.median(taken) / heights.size,
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
