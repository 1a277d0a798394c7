"""sarsen: DEM to ECEF, seeded backward geocoding, gamma area, weights. Run by its own Python."""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sarsen
import xarray as xr
from sarsen import geocoding, orbit, radiometry, scene

RUNS = 3
SEED_STEP = (64, 64)
CHUNK = 1024
C = 299_792_458.0


def timed(job: Callable[[], object]) -> tuple[float, object]:
    """Median time of a job in seconds, and what it returned."""
    taken = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        result = job()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken), result


def main(path: Path) -> None:
    """Time sarsen's steps; print nanoseconds a cell as JSON."""
    given = np.load(path)
    epoch = np.datetime64(int(given["epoch"]), "ns")
    nanoseconds = (given["time"] * 1e9).astype(np.int64).astype("timedelta64[ns]")
    states = xr.DataArray(
        given["position"].T,
        dims=("axis", "azimuth_time"),
        coords={"axis": [0, 1, 2], "azimuth_time": epoch + nanoseconds},
    )
    interpolator = orbit.OrbitPolyfitInterpolator.from_position(states)
    # sarsen wants rows that ascend.
    dem = xr.DataArray(
        given["heights"][::-1].astype(np.float64),
        dims=("y", "x"),
        coords={"y": given["latitude"][::-1], "x": given["longitude"]},
    )
    kwargs = {"source_crs": "EPSG:4326"}
    cells = dem.size

    def to_radar() -> xr.Dataset:
        ecef = scene.convert_to_dem_ecef(dem, **kwargs)
        return geocoding.backward_geocode(ecef, interpolator, seed_step=SEED_STEP)

    def to_radar_by_threads() -> xr.DataArray:
        chunked = dem.chunk({"y": CHUNK, "x": CHUNK})

        def block(part: xr.DataArray) -> xr.DataArray:
            ecef = scene.convert_to_dem_ecef(part, **kwargs)
            found = geocoding.backward_geocode(ecef, interpolator, seed_step=SEED_STEP)
            return (found.dem_distance**2).sum("axis") ** 0.5

        return xr.map_blocks(block, chunked, template=chunked).compute(scheduler="threads")

    ecef_time, ecef = timed(lambda: scene.convert_to_dem_ecef(dem, **kwargs))
    plain_time, found = timed(to_radar)
    ways = {"in memory": plain_time, "dask threads": timed(to_radar_by_threads)[0]}
    best = min(ways, key=ways.__getitem__)
    slant = (found.dem_distance**2).sum("axis") ** 0.5
    area_time, area = timed(lambda: radiometry.compute_gamma_area(ecef, found.dem_distance / slant))
    coordinates = xr.Dataset(
        {
            "azimuth_time": found.azimuth_time,
            "slant_range_time": 2.0 / C * slant,
            "gamma_area": area,
        }
    )
    zero = epoch + np.timedelta64(int(given["line_zero_time"] * 1e9), "ns")
    # In memory: the weights patch xarray for all threads at once, and would race in them.
    weights_time, _ = timed(
        lambda: radiometry.gamma_weights_bilinear(
            coordinates,
            2.0 / C * float(given["near_range"]),
            zero,
            2.0 / C * float(given["sample_spacing"]),
            float(given["line_interval"]),
        )
    )
    nanoseconds_each = {
        "to_ecef": ecef_time,
        "geo2rdr": ways[best],
        "gamma_area": area_time,
        "weights": weights_time,
    }
    print(
        json.dumps(
            {
                "version": sarsen.__version__,
                "note": f"geocoding {best}, weights in memory",
                **{name: 1e9 * each / cells for name, each in nanoseconds_each.items()},
            }
        )
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(Path(sys.argv[1]))
