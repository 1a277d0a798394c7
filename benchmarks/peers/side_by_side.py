"""Peers that pip installs, on the same cells and the same orbit, beside ours."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks._hills import dem_of, radar_over
from benchmarks._timing import in_turn
from benchmarks.peers.cells import save_cells
from benchmarks.peers.environment import PeerMissingError, run_peer
from sarheight.geometry import geo2rdr
from sarheight.illumination import simulate

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks._figures import Value

__all__ = ["compare"]

PEERS = {
    "sarsen": ("sarsen==0.9.6", "rioxarray", "flox"),
    "eos_sar": ("eos-sar==0.43.1", "pyproj"),
}
LEFT_OUT = {"insardev": "needs PyTorch, gigabytes of it, for a projection on the processor"}
OURS = "sarheight"


def compare(size: int, console: Console) -> dict[str, Value]:
    """Time ourselves and every peer that can be had; print a table.

    Parameters
    ----------
    size : int
        Cells along the side of the DEM, which is geographic.
    console : rich.console.Console
        Where the table goes.

    Returns
    -------
    dict
        Figures.
    """
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
    console.print(_table(size, ours, found))
    for name, why in missing.items():
        console.print(f"{name}: left out, {why}")
    return _figures(ours, found)


def _table(size: int, ours: dict[str, float], found: dict[str, dict[str, Any]]) -> Table:
    table = Table(title=f"ns a cell, {size} x {size} cells, same orbit")
    for title in ("", "version", "heights to radar coordinates", "simulated image", ""):
        table.add_column(title, justify="left" if title in ("", "version") else "right")
    table.add_row(OURS, "", f"{ours['geo2rdr']:.1f}", f"{ours['simulate']:.1f}", "")
    for name, each in found.items():
        area = each["gamma_area"] + each["weights"] if "weights" in each else None
        table.add_row(
            name,
            each["version"],
            f"{each['geo2rdr']:.0f} ({each['geo2rdr'] / ours['geo2rdr']:.0f} x)",
            "" if area is None else f"{area:.0f} ({area / ours['simulate']:.0f} x)",
            each["note"],
        )
    return table


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
