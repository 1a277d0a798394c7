"""Peers that pip installs, on the same cells and the same orbit, beside ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks._hills import dem_of, radar_over
from benchmarks._timing import in_turn
from benchmarks.peers.environment import PeerMissingError, run_peer
from sarheight.geometry import geo2rdr
from sarheight.illumination import simulate

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from benchmarks._figures import Value
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = ["compare"]

PEERS = {
    "sarsen": ("sarsen==0.9.6", "rioxarray", "flox"),
    "eos_sar": ("eos-sar==0.43.1", "pyproj"),
}
LEFT_OUT = {"insardev": "needs PyTorch, gigabytes of it, for a projection on the processor"}


def save_cells(path: Path, dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> None:
    """Save a DEM in degrees, an image's sampling and its orbit in a file that needs NumPy alone."""
    orbit = orbit.with_epoch(grid.epoch)
    np.savez(
        path,
        heights=dem.values,
        longitude=dem.x.values,
        latitude=dem.y.values,
        epoch=np.datetime64(grid.epoch, "ns").astype(np.int64),
        time=orbit.time,
        position=orbit.position,
        velocity=orbit.velocity,
        line_zero_time=grid.line_zero_time,
        line_interval=grid.line_interval,
        near_range=grid.near_range,
        sample_spacing=grid.sample_spacing,
    )


def compare(size: int, console: Console) -> dict[str, Value]:
    """Time ourselves and every peer that can be had, on size x size cells in degrees."""
    dem = dem_of(size)
    grid, orbit = radar_over(size)
    jobs = {
        "geo2rdr": lambda: geo2rdr(dem, grid, orbit),
        "simulate": lambda: simulate(dem, grid, orbit),
    }
    own: dict[str, list[float]] = {name: [] for name in jobs}
    found: dict[str, dict[str, Any]] = {}
    missing = dict(LEFT_OUT)
    with tempfile.TemporaryDirectory() as folder:
        cells = Path(folder) / "cells.npz"
        save_cells(cells, dem, grid, orbit)
        for name, requirements in PEERS.items():
            # Ours before each peer, so that both meet the machine in the same state.
            for job, sample in in_turn(jobs, runs=3).items():
                own[job].append(sample.per(dem.size)[0])
            try:
                with console.status(name):
                    found[name] = run_peer(name, requirements, cells)
            except PeerMissingError as error:
                missing[name] = str(error)
    ours = {name: min(each) for name, each in own.items()}
    console.print({"ns a cell": {"sarheight": ours, **found}})
    for name, why in missing.items():
        console.print(f"{name}: left out, {why}")
    return _figures(ours, found)


def _figures(ours: dict[str, float], found: dict[str, dict[str, Any]]) -> dict[str, Value]:
    figures: dict[str, Value] = {}
    if "sarsen" in found:
        sarsen = found["sarsen"]
        figures["geo2rdr_vs_sarsen"] = sarsen["geo2rdr"] / ours["geo2rdr"]
        area = sarsen["gamma_area"] + sarsen["weights"]
        figures["simulate_vs_sarsen"] = area / ours["simulate"]
    others = [each["geo2rdr"] for name, each in found.items() if name != "sarsen"]
    if others:
        figures["geo2rdr_vs_fastest_peer"] = min(others) / ours["geo2rdr"]
    return figures
