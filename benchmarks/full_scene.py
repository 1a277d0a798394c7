"""A whole scene on a laptop: how long it takes, and how much memory.

An image as large as a Sentinel-1 IW GRD product (25,000 x 16,000 pixels of 10 m) of rugged terrain
is simulated block by block over a DEM of 12,000 x 12,000 cells of 30 m; the image is kept in a Zarr
store, the DEM in a Cloud Optimised GeoTIFF. Another process then opens both lazily, reconstructs
the scene by one step of reallocation with a fitted law, and writes all variables into a Zarr store.
Its time and its largest memory are measured, from the start of the interpreter to the last byte.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.ndimage import map_coordinates

from benchmarks._figures import record
from benchmarks._memory import peak_bytes
from sarheight.geometry import geo2rdr
from sarheight.grid import RadarGrid
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import PosteriorMean, Reallocation, reconstruct
from sarheight.orbit import Orbit, look_at
from sarheight.output import open_result, write
from sarheight.scene import Scene

__all__ = ["main"]

LATITUDE, LONGITUDE, INCIDENCE = 46.0, 10.0, 38.5
LINES, SAMPLES, CELLS = 16_000, 25_000, 12_000
PIXEL, POSTING = 10.0, 30.0
OCTAVES = ((1500.0, 900.0), (300.0, 350.0), (60.0, 90.0), (15.0, 14.0))
"""Size in cells and standard deviation in metres of the terrain's bumps."""
BLOCK = 1000
CHUNK, READ = 1024, 512
"""Cells along the side of what is written and read at a time; windows do not end at chunks, and of
smaller ones less is read in vain."""
LIMIT = "2 GiB"
REACH = 300
"""Cells around a block of lines that may fold into it or throw a shadow on it."""


def scene_grid(scale: float) -> tuple[RadarGrid, Orbit]:
    """Make grid and orbit of the image."""
    orbit = Orbit.circular(latitude=LATITUDE, longitude=LONGITUDE, duration=400.0)
    orbit = orbit.rotate(look_at(orbit, LATITUDE, LONGITUDE, INCIDENCE))
    grid = RadarGrid.over(
        orbit,
        LATITUDE,
        LONGITUDE,
        lines=round(LINES * scale),
        samples=round(SAMPLES * scale),
        line_spacing=PIXEL,
        sample_spacing=PIXEL,
        looks=4.4,
    )
    return grid, orbit


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


def make_dem(folder: Path, scale: float) -> None:
    """Write the DEM as Cloud Optimised GeoTIFF."""
    import dask.array
    from dask.delayed import delayed
    from pyproj import Transformer

    cells = round(CELLS * scale)
    x, y = Transformer.from_crs(4326, 32632, always_xy=True).transform(LONGITUDE, LATITUDE)
    offset = POSTING * (np.arange(cells) - 0.5 * (cells - 1))
    strips = [
        dask.array.from_delayed(  # type: ignore[no-untyped-call]
            delayed(heights)(cells, slice(first, min(first + CHUNK, cells))),
            (min(CHUNK, cells - first), cells),
            np.float32,
        )
        for first in range(0, cells, CHUNK)
    ]
    dem = xr.DataArray(
        dask.array.concatenate(strips),  # type: ignore[no-untyped-call]
        dims=("y", "x"),
        coords={"y": y - offset, "x": x + offset},
        attrs={"units": "m", "vertical_datum": "ellipsoid"},
        name="height",
    ).rio.write_crs("EPSG:32632")
    write(dem.to_dataset(), folder / "dem.tif", overwrite=True)


def open_dem(folder: Path) -> xr.DataArray:
    """Open the DEM lazily."""
    return open_result(folder / "dem.tif", chunks=READ)["height"]


def make_image(folder: Path, scale: float, console: Console) -> None:
    """Simulate the image, block of lines after block, and write it as Zarr store."""
    grid, orbit = scene_grid(scale)
    dem = open_dem(folder)
    coarse = dem[:: CHUNK // 32, :: CHUNK // 32].compute()
    line = geo2rdr(coarse, grid, orbit).line.values
    path = folder / "image.zarr"
    shutil.rmtree(path, ignore_errors=True)
    for first in range(0, grid.lines, BLOCK):
        part = slice(first, min(first + BLOCK, grid.lines))
        near = (line > part.start - BLOCK) & (line < part.stop + BLOCK)
        rows, columns = (np.flatnonzero(near.any(axis=axis)) * (CHUNK // 32) for axis in (1, 0))
        window = dem.isel(
            y=slice(max(int(rows[0]) - REACH, 0), int(rows[-1]) + REACH),
            x=slice(max(int(columns[0]) - REACH, 0), int(columns[-1]) + REACH),
        ).compute()
        block = simulate(window, grid.crop(part), orbit, law=Muhleman(), looks=4.4, seed=first)
        image = block.image.rename("image").drop_attrs().to_dataset()
        if first == 0:
            image.to_zarr(
                path, mode="w", zarr_format=2, encoding={"image": {"chunks": (BLOCK, 4 * BLOCK)}}
            )
        else:
            image.to_zarr(path, append_dim="line", zarr_format=2)
        console.print(f"simulated {part.stop} of {grid.lines} lines", style="dim")


def work(folder: Path, scale: float, limit: str, steps: int) -> None:
    """Reconstruct the scene and print time and memory as JSON."""
    began = time.perf_counter()
    grid, orbit = scene_grid(scale)
    image = xr.open_zarr(folder / "image.zarr", consolidated=False)["image"]
    scene = Scene(image, grid, orbit, "beta0")
    method = PosteriorMean(steps=steps) if steps else Reallocation()
    result = reconstruct(scene, open_dem(folder), method=method, memory_limit=limit)
    settled = time.perf_counter()
    write(result, folder / "result.zarr", overwrite=True)
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "statistics": settled - began,
                "peak": peak_bytes() / 2**30,
                "parts": result["gamma0"].data.npartitions,
                "cells": result["gamma0"].size,
                "pixels": image.size,
            }
        )
    )


def measure(folder: Path, scale: float, limit: str, steps: int) -> dict[str, Any]:
    """Run the work in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.full_scene", "--work", str(folder)]
    command += ["--scale", str(scale), "--limit", limit, "--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.full_scene", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="part of each side; 1 by default")
    parser.add_argument("--limit", default=LIMIT, help=f"memory; {LIMIT} by default")
    parser.add_argument("--steps", type=int, default=0, help="of the posterior mean; 0: one step")
    parser.add_argument("--folder", help="where scene and result are kept; they go by default")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--data", help="not used: the scene is simulated")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    if chosen.work:
        work(Path(chosen.work), chosen.scale, chosen.limit, chosen.steps)
        return
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(chosen.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "dem.tif").exists():
            make_dem(folder, chosen.scale)
        if not (folder / "image.zarr").exists():
            make_image(folder, chosen.scale, console)
        found = measure(folder, chosen.scale, chosen.limit, chosen.steps)
    table = Table("cells", "pixels", "parts", "statistics s", "all s", "ns a cell", "peak GiB")
    table.add_row(
        f"{found['cells']:,}",
        f"{found['pixels']:,}",
        str(found["parts"]),
        f"{found['statistics']:.1f}",
        f"{found['seconds']:.1f}",
        f"{1e9 * found['seconds'] / found['cells']:.0f}",
        f"{found['peak']:.2f}",
    )
    Console().print(table)
    if chosen.save:
        record(
            {"speed.full_scene": found["seconds"], "speed.full_scene_peak": found["peak"]},
            "python -m benchmarks.full_scene --save",
        )


if __name__ == "__main__":
    main()
