"""What a date of a series costs beside one that is reconstructed alone, and how far it differs.

Hills of 30 m cells under a radar like Sentinel-1 (see `benchmarks._hills`), two polarisations with
speckle, dates from orbits up to 150 m apart whose pixels lie at any fraction of those of the
reference. Times are processor time, as other work on the machine does not count in it: medians of
rounds in which the jobs run in turn, with half their range. The cost of a date counts its placing,
its checks, its reconstruction and its writing, not its reading and not the filter.

`measure_many` builds a stack of many dates by `sarheight.series.build_stack` in a fresh
process with a memory limit of 2 GiB, and once more in one that is killed half way and resumed.
Three images with speckle of their own are on disk, and each is read by every third date: making
a hundred would take longer than the series. Nothing else is spared.

`measure_means` refines heights by the means of dates each way, each from an orbit and with
pixels of its own; beside it by one date each way, and by images of N times the looks that need no
co-registration.
"""

from __future__ import annotations

import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from dask.utils import parse_bytes
from rich.console import Console

from benchmarks._hills import dem_of, radar_over
from benchmarks._memory import peak_bytes
from benchmarks._timing import Sample, in_turn
from sarheight.illumination import CosinePower, simulate
from sarheight.layover import RTC, reconstruct
from sarheight.layover.track import TrackPlan, reference_scene
from sarheight.output.radar_images import write_scene
from sarheight.scene import Scene
from sarheight.series import build_stack, find_dates, mean_scene, speckle_filter
from sarheight.series._dates import open_date
from sarheight.series._store import CHUNK, Pending

if TYPE_CHECKING:
    from benchmarks._figures import Value

__all__ = ["measure", "measure_many", "measure_means", "work"]

BASELINES = (0.0, 150.0, -120.0)
OFFSETS = ((0.0, 0.0), (0.37, 0.61), (-0.28, 0.13))
METRES_PER_DEGREE = 77_000.0
"""Metres by which an orbit moves across its track for each degree of rotation, about."""
LAW = CosinePower(0.2, 1.7)
LOOKS = 4.4
SMALL = 200
"""Rows and columns over which libraries and kernels are loaded."""
FILTERED = 500
"""Rows and columns over which the filter is timed."""
LIMIT = "2 GiB"
DAYS = 12
POLARISATIONS = 2
POLLING = 0.2
"""Seconds between two looks at a run that is to be killed."""


def dates_of(dem: xr.DataArray, size: int) -> list[Scene]:
    """Simulate dates of two polarisations."""
    ground = np.exp(0.5 * np.random.default_rng(0).standard_normal(dem.shape)).astype(np.float32)
    dates = []
    for number, (baseline, offset) in enumerate(zip(BASELINES, OFFSETS, strict=True)):
        grid, orbit = radar_over(size)
        later = grid.epoch + np.timedelta64(DAYS * number, "D")
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


def busy(sample: Sample) -> tuple[float, float]:
    """Median and half the range of the processor time of a job."""
    times = sample.processor
    return statistics.median(times), 0.5 * (max(times) - min(times))


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
            pending.write("date", tile, carried())

        timed = in_turn(
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
        filtering = busy(in_turn({"filter": lambda: speckle_filter(part)}, runs)["filter"])
    taken = {name: busy(sample) for name, sample in timed.items()}
    values = 2.0 * dem.size
    each = {
        name: (1e9 * median / values, 1e9 * spread / values)
        for name, (median, spread) in taken.items()
    }
    return {
        "series_date": each["written"],
        "series_date_by_clock": timed["written"].per(values),
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


# Means for the refinement of heights.


def tracks_over(truth: xr.DataArray, ground: np.ndarray, count: int) -> list[list[Scene]]:
    """Simulate so many dates of an ascending and of a descending pass, each with its geometry."""
    tracks = []
    for ascending in (True, False):
        random = np.random.default_rng(int(ascending))
        dates = []
        for number in range(count):
            grid, orbit = radar_over(max(truth.shape), ascending=ascending)
            baseline, *offset = random.uniform((-150.0, -0.5, -0.5), (150.0, 0.5, 0.5))
            later = grid.epoch + np.timedelta64(DAYS * number, "D")
            orbit = replace(orbit.with_epoch(grid.epoch), epoch=later)
            orbit = orbit.rotate(baseline / METRES_PER_DEGREE)
            start = float(grid.azimuth_time(offset[0])), float(grid.slant_range(*offset))
            grid = replace(grid, epoch=later, line_zero_time=start[0], near_range=start[1])
            seed = int(random.integers(2**31))
            dates.append(
                simulate(truth, grid, orbit, law=LAW, reflectivity=ground, looks=LOOKS, seed=seed)
            )
        tracks.append(dates)
    return tracks


def measure_means(size: int, count: int) -> dict[str, Value]:
    """Refine heights by one date each way, by means of dates, and by images of many looks."""
    # The process that builds a stack does without them.
    from sarheight.terrain.refinement import refine
    from sarheight.terrain.scenes import degrade_dem, patchy_reflectivity

    truth = dem_of(size, "EPSG:32632")
    random = np.random.default_rng(0)
    ground = patchy_reflectivity(truth, random, patch=600.0, contrast=2.5, texture=1.0)
    coarse = degrade_dem(truth, random, factor=3, error=4.0)
    tracks = tracks_over(truth, ground, count)
    begin = time.process_time()
    means = [mean_scene(dates, coarse) for dates in tracks]
    taken = time.process_time() - begin
    ideal = [
        simulate(
            truth, dates[0].grid, dates[0].orbit, law=LAW, reflectivity=ground,
            looks=LOOKS * count, seed=1,
        )
        for dates in tracks
    ]  # fmt: skip
    inside = {"y": slice(9, -9), "x": slice(9, -9)}
    figures: dict[str, Value] = {}
    for name, scenes in {
        "one": [dates[0] for dates in tracks],
        "mean": means,
        "ideal": ideal,
    }.items():
        found = refine(scenes, coarse, coregister="none").isel(inside)
        before = float(((found["baseline"] - truth) ** 2).mean() ** 0.5)
        after = float(((found["height"] - truth) ** 2).mean() ** 0.5)
        figures[f"series_{name}_cut"] = 100.0 * (1.0 - after / before)
    pixels = sum(mean.image.size for mean in means) * count
    figures["series_mean_pixel"] = 1e9 * taken / pixels
    figures["series_mean_looks"] = means[0].grid.looks
    return figures


# A stack of many dates.


def make_images(folder: Path, size: int) -> None:
    """Write the DEM and the images of dates."""
    dem = dem_of(size, "EPSG:32632")
    dem.to_dataset(name="height").to_netcdf(folder / "dem.nc")
    for number, scene in enumerate(dates_of(dem, size)):
        write_scene(scene, folder / f"{number}.zarr")


def date_scenes(folder: Path, count: int) -> list[Scene]:
    """Open images as so many dates, which are read in parts."""
    files, scenes = [path for path in find_dates(folder / "images") if path.suffix == ".zarr"], []
    for number in range(count):
        scene = open_date(files[number % len(files)], {}).scene
        orbit = scene.orbit.with_epoch(scene.grid.epoch)
        day = scene.grid.epoch.astype("datetime64[D]")
        later = np.datetime64("2024-01-01") + np.timedelta64(DAYS * number, "D")
        epoch = scene.grid.epoch + (later - day)
        grid = replace(scene.grid, epoch=epoch)
        scenes.append(replace(scene, grid=grid, orbit=replace(orbit, epoch=epoch)))
    return scenes


def work(folder: Path, count: int, name: str) -> None:
    """Build a stack; print what it took as JSON."""
    with xr.open_dataset(folder / "images" / "dem.nc", decode_coords="all") as file:
        dem = file["height"].load()
    few = dem[:SMALL, :SMALL]
    scenes = date_scenes(folder, count)
    with tempfile.TemporaryDirectory() as temporary:
        # Libraries and compiled kernels are loaded before.
        build_stack(scenes[:2], few, Path(temporary) / "warm.zarr")
    stages: list[tuple[str, float, float]] = []

    def note(text: str, _fraction: float) -> None:
        stages.append((text.split(" ", maxsplit=1)[0], time.perf_counter(), time.process_time()))

    begin = time.perf_counter(), time.process_time()
    report = build_stack(scenes, dem, folder / name, memory_limit=LIMIT, progress=note)
    taken = time.perf_counter() - begin[0], time.process_time() - begin[1]
    assert report.dates == count, report  # noqa: S101
    spent: dict[str, list[float]] = {}
    for (stage, *since), (_, *until) in itertools.pairwise(stages):
        each = spent.setdefault(stage, [0.0, 0.0])
        each[0] += until[0] - since[0]
        each[1] += until[1] - since[1]
    found = {"seconds": taken[0], "processor": taken[1], "stages": spent}
    found |= {"peak": peak_bytes() / 2**30, "alone": len(report.by_themselves)}
    print(json.dumps(found))


def start_work(folder: Path, count: int, name: str) -> subprocess.Popen[str]:
    """Start `work` in a fresh process."""
    code = (
        "import sys; from pathlib import Path; from benchmarks._speed.series import work\n"
        "work(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
    )
    command = [sys.executable, "-c", code, str(folder), str(count), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a process, and return what it printed."""
    text, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    printed: dict[str, Any] = json.loads(text.splitlines()[-1])
    return printed


def digest(path: Path) -> int:
    """Checksum of gamma0 of a stack, in full resolution."""
    total, files = 0, sorted((path / "0" / "gamma0" / "c").rglob("*"))
    assert files, path  # noqa: S101
    for file in files:
        if file.is_file():
            total = zlib.crc32(file.read_bytes(), total)
    return total


def measure_many(folder: Path, size: int, count: int) -> dict[str, Value]:
    """Build a stack of many dates, and build it again with an interruption."""
    if not (folder / "images").exists():
        (folder / "images").mkdir(parents=True)
        make_images(folder / "images", size)
    whole = result_of(start_work(folder, count, "whole.zarr"))
    stack = folder / "whole.zarr"
    stored = sum(file.stat().st_size for file in stack.rglob("*") if file.is_file())
    expected = digest(stack)
    shutil.rmtree(stack)
    with xr.open_dataset(folder / "images" / "dem.nc", decode_coords="all") as file:
        dem = file["height"].load()
    reference = reference_scene(date_scenes(folder, 1)[0], dem)
    limit = float(parse_bytes(LIMIT))  # type: ignore[no-untyped-call]
    plan = TrackPlan.over(reference, dem, RTC(), smallest_area=0.03, memory_limit=limit)
    half = (count * len(plan.tiles(POLARISATIONS, CHUNK))) // 2
    pending = folder / ".cut.zarr.pending"
    cut, marks = start_work(folder, count, "cut.zarr"), 0
    while cut.poll() is None and marks < half:
        time.sleep(POLLING)
        marks = len(list(pending.glob("*/[0-9]*.done")))
    cut.kill()
    cut.communicate()
    resumed = result_of(start_work(folder, count, "cut.zarr"))
    same = digest(folder / "cut.zarr") == expected
    shutil.rmtree(folder / "cut.zarr")
    values = 1.0 * POLARISATIONS * size**2 * count
    Console().print({"whole": whole, "resumed": resumed})
    return {
        "series_many_seconds": whole["seconds"],
        "series_many_value": 1e9 * whole["processor"] / values,
        "series_many_value_by_clock": 1e9 * whole["seconds"] / values,
        "series_many_reconstruct": 1e9 * whole["stages"]["reconstruct"][1] / values,
        "series_many_filter": 1e9 * whole["stages"]["filter"][1] / values,
        "series_many_peak": max(whole["peak"], resumed["peak"]),
        "series_many_stored": stored / values,
        "series_many_resumed": resumed["processor"] / whole["processor"],
        "series_many_resumed_is_same": float(same),
    }
