"""What a date of a series costs beside one that is reconstructed alone, and how far it differs.

Hills of 30 m cells under a radar like Sentinel-1 (see `benchmarks._hills`), two polarisations with
speckle, dates from orbits up to 150 m apart whose pixels lie at any fraction of those of the
reference. Times are processor time, as other work on the machine does not count in it: medians of
rounds in which the jobs run in turn, with half their range. The cost of a date counts its placing,
its checks, its reconstruction and its writing, not its reading and not the filter.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr
from rich.console import Console
from rich.table import Table

from benchmarks._figures import Value, record
from benchmarks._hills import dem_of, radar_over
from sarheight.illumination import CosinePower, simulate
from sarheight.layover import RTC, reconstruct
from sarheight.layover.carried import TrackPlan, reference_scene
from sarheight.scene import Scene
from sarheight.series import speckle_filter
from sarheight.series._store import Pending

__all__ = ["main"]

SIZE, RUNS = 2000, 3
BASELINES = (0.0, 150.0, -120.0)
OFFSETS = ((0.0, 0.0), (0.37, 0.61), (-0.28, 0.13))
METRES_PER_DEGREE = 77_000.0
"""Metres by which an orbit moves across its track for each degree of rotation, about."""
LAW = CosinePower(0.2, 1.7)
LOOKS = 4.4
FILTERED = 500
"""Rows and columns over which the filter is timed."""


def dates_of(dem: xr.DataArray, size: int) -> list[Scene]:
    """Simulate dates of two polarisations."""
    ground = np.exp(0.5 * np.random.default_rng(0).standard_normal(dem.shape)).astype(np.float32)
    dates = []
    for number, (baseline, offset) in enumerate(zip(BASELINES, OFFSETS, strict=True)):
        grid, orbit = radar_over(size)
        later = grid.epoch + np.timedelta64(12 * number, "D")
        orbit = replace(orbit.with_epoch(grid.epoch), epoch=later)
        orbit = orbit.rotate(baseline / METRES_PER_DEGREE)
        grid = replace(
            grid,
            epoch=later,
            line_zero_time=float(grid.azimuth_time(offset[0])),
            near_range=float(grid.slant_range(offset[0], offset[1])),
        )
        clean = simulate(dem, grid, orbit, law=LAW, reflectivity=ground).image.values
        random = np.random.default_rng(number)
        power = np.stack(
            [level * clean * random.gamma(LOOKS, 1.0 / LOOKS, clean.shape) for level in (1.0, 0.2)]
        ).astype(np.float32)
        image = xr.DataArray(power, dims=("polarisation", "line", "sample"))
        dates.append(Scene(image.assign_coords(polarisation=["VV", "VH"]), grid, orbit, "beta0"))
    return dates


def processor_times(
    jobs: Mapping[str, Callable[[], object]], runs: int
) -> dict[str, tuple[float, float]]:
    """Median and half the range of the processor time of jobs in turn, after a first round."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for run in range(runs + 1):
        for name, job in jobs.items():
            begin = time.process_time()
            job()
            if run:
                taken[name].append(time.process_time() - begin)
    return {
        name: (statistics.median(times), 0.5 * (max(times) - min(times)))
        for name, times in taken.items()
    }


def measure(size: int, runs: int) -> dict[str, Value]:
    """Time a date alone, a date of a series, and the filter; compare their values."""
    dem = dem_of(size, "EPSG:32632")
    dates = dates_of(dem, size)
    reference = reference_scene(dates[0], dem)
    plan = TrackPlan.over(reference, dem, RTC(), smallest_area=0.03, memory_limit=np.inf)
    (tile,) = plan.tiles(2, size)
    geometry = plan.geometry(tile)
    checked = dates[1]

    def carried() -> np.ndarray:
        where = plan.date(checked)
        plan.baseline(where)
        plan.changed_cells(where)
        return plan.reconstruct(geometry, where)

    with tempfile.TemporaryDirectory() as folder:
        pending = Pending(Path(folder) / "stack.zarr")
        pending.folder.mkdir()
        pending.create("date", "gamma0", (2, *dem.shape))

        def written() -> None:
            pending("date", tile, carried())

        taken = processor_times(
            {
                "alone": lambda: reconstruct(checked, dem, method=RTC()),
                "gamma0": lambda: reconstruct(checked, dem, method=RTC(), variables=["gamma0"]),
                "posterior": lambda: reconstruct(checked, dem),
                "carried": carried,
                "written": written,
                "geometry": lambda: plan.geometry(tile),
            },
            runs,
        )
        found = carried()
        alone = reconstruct(checked, dem, method=RTC(), variables=["gamma0"])["gamma0"].values
        both = np.isfinite(found) & np.isfinite(alone)
        difference = np.abs(10.0 * np.log10(found[both] / alone[both]))
        part = xr.DataArray(
            np.repeat(found[None, :1, :FILTERED, :FILTERED], 10, axis=0),
            dims=("time", "polarisation", "y", "x"),
        )
        filtering = processor_times({"filter": lambda: speckle_filter(part)}, runs)["filter"]
    values = 2.0 * dem.size
    each = {
        name: (1e9 * median / values, 1e9 * spread / values)
        for name, (median, spread) in taken.items()
    }
    return {
        "series_date": each["written"],
        "series_date_without_writing": each["carried"],
        "series_geometry": each["geometry"],
        "series_filter": 1e9 * filtering[0] / part.size,
        "series_vs_single": taken["alone"][0] / taken["carried"][0],
        "series_vs_single_gamma0": taken["gamma0"][0] / taken["carried"][0],
        "series_vs_default": taken["posterior"][0] / taken["carried"][0],
        "series_difference_99_9": float(np.percentile(difference, 99.9)),
        "series_difference_largest": float(difference.max()),
        "series_cells_that_differ": float(np.mean(np.isfinite(found) != np.isfinite(alone))),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.series", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="cells along the side of the DEM")
    parser.add_argument("--runs", type=int, default=RUNS, help="rounds that count")
    parser.add_argument("--data", help="not used: the dates are simulated")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    figures = measure(chosen.size, chosen.runs)
    table = Table("figure", "value", "spread")
    for name, each in figures.items():
        value, spread = each if isinstance(each, tuple) else (each, None)
        table.add_row(name, f"{value:.4g}", "" if spread is None else f"{spread:.2g}")
    Console().print(table)
    if chosen.save:
        record(
            {f"speed.{name}": each for name, each in figures.items()},
            f"python -m benchmarks.series --size {chosen.size} --save",
        )


if __name__ == "__main__":
    main()
