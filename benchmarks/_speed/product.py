"""From the archive's file to layers on disk: time by stage, memory, and bytes read and written.

A dual-polarisation IW GRDH product, zipped, is written in the form of a real annotation; its pixels
are speckle. Its DEM, of made mountains, has cells of 30 m. A fresh process opens the zip,
reconstructs both polarisations by the default method under a memory limit of 2 GiB, and writes the
layers of the default set as Cloud Optimised GeoTIFFs with a STAC item. Wall-clock and processor
time are told apart, as other work on the machine counts in the first only.

A process of its own may do the job by sarsen: terrain correction with gamma weights of the unzipped
product, by its command's defaults, one polarisation after the other. It gives one layer for each
polarisation, where we give all.

At its full size the image has 16,699 x 25,788 pixels in two polarisations; a scale takes a part of
each side from its middle.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer
from rich.console import Console
from rich.table import Table
from scipy.ndimage import map_coordinates

from benchmarks._memory import peak_bytes
from benchmarks._mountains.scenes import ALPS, data_file
from benchmarks._runs import last_line
from sarheight.geometry import rdr2geo
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.illumination import Muhleman
from sarheight.layover import reconstruct
from sarheight.output import open_result, write
from sarheight.product import open_product
from sarheight.scene import Scene
from sarheight.sentinel1 import read_grid, read_orbit
from tests.worlds.products import write_product

if TYPE_CHECKING:
    from benchmarks._figures import Value
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = [
    "make_dem",
    "make_missing",
    "make_product",
    "measure",
    "measure_cluster",
    "measure_work",
    "work",
    "work_by_sarsen",
    "work_on_cluster",
]

LIMIT = "2 GiB"
POSTING, CRS = 30.0, "EPSG:32632"
OCTAVES = ((1500.0, 900.0), (300.0, 350.0), (60.0, 90.0), (15.0, 14.0))
"""Size in cells and standard deviation in metres of the terrain's bumps."""
STRIP, READ = 1024, 512
LOOKS, BACKSCATTER = 4.4, (0.3, 0.06)
"""Equivalent number of looks, and beta0 of both polarisations on level ground."""
SMALL = 96
"""Rows and columns of the job that loads all libraries."""


def cropped_grid(data: str | None, scale: float) -> tuple[RadarGrid, Orbit]:
    """Take the middle of the grid of a real annotation."""
    annotation = data_file(ALPS, data)
    grid = read_grid(annotation)
    parts = []
    for size in grid.shape:
        kept = round(scale * size)
        first = (size - kept) // 2
        parts.append(slice(first, first + kept))
    return grid.crop(*parts), read_orbit(annotation)


def make_product(folder: Path, data: str | None, scale: float) -> None:
    """Write the product as a zip."""
    import dask.array

    grid, orbit = cropped_grid(data, scale)
    random = dask.array.random.default_rng(0)  # type: ignore[no-untyped-call]
    layers = [
        random.gamma(LOOKS, level / LOOKS, grid.shape, chunks=(512, -1)).astype(np.float32)
        for level in BACKSCATTER
    ]
    image = xr.DataArray(dask.array.stack(layers), dims=("polarisation", "line", "sample"))  # type: ignore[no-untyped-call]
    scene = Scene(image.assign_coords(polarisation=["VV", "VH"]), grid, orbit, "beta0")
    like = Path(data_file(ALPS, data))
    write_product(scene, folder / "product.SAFE.zip", like=like, factor=237.0)


def heights(cells: int, rows: slice) -> NDArray[np.float32]:
    """Shape mountains above a plain at sea level, in some rows."""
    total = np.zeros((rows.stop - rows.start, cells))
    for index, (size, deviation) in enumerate(OCTAVES):
        count = int(cells / size) + 4
        noise = np.random.default_rng(index).standard_normal((count, count))
        row, column = np.arange(rows.start, rows.stop) / size, np.arange(cells) / size
        part = slice(int(row[0]), int(row[-1]) + 4)
        across = map_coordinates(
            noise[part],
            np.meshgrid(np.arange(part.stop - part.start), column, indexing="ij"),
            mode="nearest",
        )[: count - part.start]
        place = np.meshgrid(row - part.start, np.arange(cells), indexing="ij")
        total += deviation * map_coordinates(across, place, order=1, mode="nearest")
    return np.maximum(total, 0.0).astype(np.float32)


def make_dem(folder: Path, data: str | None, scale: float) -> None:
    """Write a DEM of mountains that holds the image."""
    grid, orbit = cropped_grid(data, scale)
    corners = [
        rdr2geo(grid.crop(slice(line, line + 1), slice(sample, sample + 1)), orbit)
        for line in (0, grid.lines - 1)
        for sample in (0, grid.samples - 1)
    ]
    place = np.array(
        [[float(one[name].squeeze()) for name in ("longitude", "latitude")] for one in corners]
    )
    x, y = Transformer.from_crs(4326, CRS, always_xy=True).transform(*place.T)
    columns, rows = (int(np.ptp(edges) / POSTING) for edges in (x, y))
    cells = max(rows, columns)
    shape = np.concatenate(
        [heights(cells, slice(row, min(row + STRIP, rows))) for row in range(0, rows, STRIP)]
    )[:, :columns]
    dem = xr.DataArray(
        shape,
        dims=("y", "x"),
        coords={
            "y": y.max() - POSTING * np.arange(rows),
            "x": x.min() + POSTING * np.arange(columns),
        },
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
        name="height",
    ).rio.write_crs(CRS)
    write(dem.to_dataset(), folder / "dem.tif", overwrite=True)


def make_missing(folder: Path, data: str | None, scale: float) -> None:
    """Write product and DEM where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "product.SAFE.zip").exists():
        make_product(folder, data, scale)
    if not (folder / "dem.tif").exists():
        make_dem(folder, data, scale)


@contextmanager
def stage(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Time a stage, by the clock and by the processor."""
    begin, busy = time.perf_counter(), time.process_time()
    yield
    found[name] = time.perf_counter() - begin, time.process_time() - busy
    print(
        f"{name}: {found[name][0]:.1f} s, processor {found[name][1]:.1f} s, peak "
        f"{peak_bytes() / 2**30:.2f} GiB",
        file=sys.stderr,
    )


def bytes_moved() -> tuple[int, int]:
    """Return how many bytes this process has read and written so far, cached or not."""
    lines = Path("/proc/self/io").read_text("ascii").splitlines()
    counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]), int(counts["wchar"])


def warm_up(archive: Path, folder: Path) -> None:
    """Load libraries and compiled kernels, which are not part of the job."""
    dem = open_result(folder / "dem.tif", chunks=READ)["height"]
    rows, columns = (slice(size // 2 - SMALL // 2, size // 2 + SMALL // 2) for size in dem.shape)
    part = dem[rows, columns]
    scene = crop_scene_to_dem(open_product(archive).scene(), part.compute())
    # A part this small may be level, from which no law can be fitted.
    write(reconstruct(scene, part, law=Muhleman()), folder / "warm", overwrite=True)


def work(folder: Path, limit: str) -> None:
    """Do the whole job; print what its stages took as JSON."""
    found: dict[str, Any] = {}
    archive, target = folder / "product.SAFE.zip", folder / "layers"
    warm_up(archive, folder)
    before = bytes_moved()
    with stage("all", found):
        with stage("open", found):
            scene = open_product(archive).scene()
            dem = open_result(folder / "dem.tif", chunks=READ)["height"]
        with stage("statistics", found):
            result = reconstruct(scene, dem, memory_limit=limit, variables="main")
        with stage("reconstruct and write", found):
            write(result, target, overwrite=True)
    moved = np.subtract(bytes_moved(), before).tolist()
    peak = peak_bytes()
    written = sum(file.stat().st_size for file in target.iterdir())
    grid = scene.grid
    print(
        json.dumps(
            {
                "stages": found,
                "peak": peak / 2**30,
                "read": moved[0],
                "written": moved[1],
                "least_read": archive.stat().st_size + (folder / "dem.tif").stat().st_size,
                "least_written": written,
                "pixels": scene.image.size,
                "cells": dem.size,
                "square_metres": grid.lines
                * grid.samples
                * grid.line_spacing(scene.orbit)
                * grid.sample_spacing,
                "parts": result["gamma0"].data.npartitions,
            }
        )
    )


def work_on_cluster(folder: Path, limit: str) -> None:
    """Do the whole job on two worker processes; print processor seconds and whether bits agree.

    The layers of `work` lie in the folder. Workers start, and load compiled kernels, within the
    time.
    """
    from distributed import Client, LocalCluster

    target = folder / "cluster"
    begin = sum(os.times()[:4])
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        scene = open_product(folder / "product.SAFE.zip").scene()
        dem = open_result(folder / "dem.tif", chunks=READ)["height"]
        result = reconstruct(scene, dem, memory_limit=limit, variables="main")
        write(result, target, overwrite=True)
    # Those of child processes count once these have ended.
    busy = sum(os.times()[:4]) - begin
    found, expected = (open_result(path, chunks={}) for path in (target, folder / "layers"))
    same = all(
        np.array_equal(found[name].values, layer.values, equal_nan=layer.dtype.kind == "f")
        for name, layer in expected.data_vars.items()
    )
    print(json.dumps({"busy": busy, "same": same}))


def work_by_sarsen(folder: Path) -> None:
    """Do the job by sarsen; print what it took as JSON."""
    from sarsen.apps import terrain_correction
    from sarsen.sentinel1 import Sentinel1SarProduct

    warnings.simplefilter("ignore")  # of sarsen and of what it uses
    with zipfile.ZipFile(folder / "product.SAFE.zip") as members:
        members.extractall(folder / "unzipped")
    (product,) = (folder / "unzipped").glob("*.SAFE")
    found: dict[str, Any] = {}
    with stage("all", found):
        for polarisation in ("VV", "VH"):
            terrain_correction(
                Sentinel1SarProduct(str(product), f"IW/{polarisation}"),
                str(folder / "dem.tif"),
                output_urlpath=str(folder / f"sarsen_{polarisation}.tif"),
                correct_radiometry="gamma_nearest",
            )
    print(json.dumps({"all": found["all"], "peak": peak_bytes() / 2**30}))


def run_fresh(call: str, *arguments: str, module: str = "product") -> dict[str, Any]:
    """Call a function of a module here in a process of its own, and return what it printed."""
    code = f"import sys\nfrom pathlib import Path\nfrom benchmarks._speed.{module} import *\n{call}"
    printed: dict[str, Any] = json.loads(last_line(code, *arguments))
    return printed


def measure_cluster(folder: Path, data: str | None, scale: float) -> dict[str, Value]:
    """Compare the job on two worker processes with that in one process: cost, and bits."""
    make_missing(folder, data, scale)
    alone = measure_work(folder)["stages"]["all"][1]
    found = run_fresh("work_on_cluster(Path(sys.argv[1]), sys.argv[2])", str(folder), LIMIT)
    if not found["same"]:
        msg = "a cluster and one process gave different bits"
        raise RuntimeError(msg)
    return {"cluster_over_one_process": found["busy"] / alone}


def measure_work(folder: Path, limit: str = LIMIT) -> dict[str, Any]:
    """Do the job in a fresh process; return times of stages, peak in GiB, and bytes moved."""
    return run_fresh("work(Path(sys.argv[1]), sys.argv[2])", str(folder), limit)


def measure(folder: Path, data: str | None, scale: float, *, peer: bool) -> dict[str, Value]:
    """Make a product and a DEM where they are missing, and measure the way to layers.

    Of a part of a product, with a scale below 1, only the comparison with sarsen is returned.
    """
    make_missing(folder, data, scale)
    found = measure_work(folder)
    table = Table("stage", "s", "processor s", "processor ns a pixel")
    for name, (seconds, busy) in found["stages"].items():
        table.add_row(name, f"{seconds:.1f}", f"{busy:.1f}", f"{1e9 * busy / found['pixels']:.0f}")
    console = Console()
    console.print(table)
    console.print(
        f"{found['pixels']:,} pixels, {found['cells']:,} cells in {found['parts']} parts; peak "
        f"{found['peak']:.2f} GiB; read {found['read'] / found['least_read']:.1f} x and written "
        f"{found['written'] / found['least_written']:.1f} x the least possible"
    )
    seconds, busy = found["stages"]["all"]
    figures: dict[str, Value] = {}
    if scale == 1.0:
        figures |= {
            "zip_to_product": seconds,
            "zip_to_product_peak": found["peak"],
            "zip_to_product_pixel": 1e9 * busy / found["pixels"],
            "zip_to_product_core_seconds": busy,
            "zip_to_product_core_hours": busy / 3600.0 / (found["square_metres"] / 1e12),
            "zip_to_product_gigabytes": found["least_written"] / 1e9,
            "zip_to_product_read": found["read"] / found["least_read"],
            "zip_to_product_written": found["written"] / found["least_written"],
        }
    if peer:
        other = run_fresh("work_by_sarsen(Path(sys.argv[1]))", str(folder))
        figures["product_vs_sarsen"] = other["all"][1] / busy
        figures["product_vs_sarsen_memory"] = other["peak"] / found["peak"]
        console.print(f"sarsen: {other['all'][0]:.1f} s, processor {other['all'][1]:.1f} s")
    return figures
