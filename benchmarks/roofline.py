"""Hold the kernels against what the machine can do.

Two limits are measured with the same compiler and the same threads: how fast memory can be read
and written (a triad, a = b + s c, over arrays far larger than the caches), and how many products
and sums can be done in a second (fused, in registers). A kernel cannot take less time than its
traffic takes at the one, or its arithmetic at the other; its share is that time over the time that
it takes. What memory hands over on first touch, page by page, counts against the kernels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sarheight_kernels._numba import njit
from sarheight_kernels.pool import spread, thread_count

from benchmarks._figures import Value, record
from benchmarks._hills import dem_of, radar_over
from benchmarks._timing import in_turn
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import Muhleman
from sarheight.illumination.simulate import illuminate
from sarheight.layover import Reallocation, reconstruct
from sarheight.scene import Scene

__all__ = ["Limits", "main", "measure"]

SIZE = 2000
ELEMENTS = 32 * 1024 * 1024
LANES, CHAIN, STEPS = 256, 16, 2_000


@njit
def _triad(
    begin: int,
    end: int,
    one: NDArray[np.float32],
    other: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    for index in range(begin, end):
        result[index] = one[index] + np.float32(3.0) * other[index]


@njit
def _multiply_add(begin: int, end: int, values: NDArray[np.float32], steps: int) -> None:
    """Fused products and sums on as many numbers as registers hold, again and again."""
    for lane in range(begin, end):
        row = values[lane]
        factor, term = np.float32(0.999), np.float32(0.001)
        for _ in range(steps):
            for k in range(LANES):
                value = row[k]
                for _ in range(CHAIN):
                    value = value * factor + term
                row[k] = value


@dataclass(frozen=True)
class Limits:
    """What the machine can do.

    Attributes
    ----------
    bandwidth : float
        Bytes a second, read and written.
    arithmetic : float
        Products and sums a second, in single precision.
    """

    bandwidth: float
    arithmetic: float

    def seconds(self, traffic: float, operations: float) -> float:
        """Least time for so many bytes and operations."""
        return max(traffic / self.bandwidth, operations / self.arithmetic)


def measure() -> Limits:
    """Measure what the machine can do."""
    one, other, result = (np.ones(ELEMENTS, np.float32) for _ in range(3))
    values = np.ones((8 * thread_count(), LANES), np.float32)
    taken = in_turn(
        {
            "triad": lambda: spread(
                lambda begin, end: _triad(begin, end, one, other, result), result.size
            ),
            "arithmetic": lambda: spread(
                lambda begin, end: _multiply_add(begin, end, values, STEPS), values.shape[0]
            ),
        }
    )
    return Limits(
        3 * result.nbytes / min(taken["triad"].seconds),
        2.0 * values.size * CHAIN * STEPS / min(taken["arithmetic"].seconds),
    )


@dataclass(frozen=True)
class _Job:
    """A job, with the least that it must move and compute for a cell.

    Attributes
    ----------
    run : callable
        The job.
    traffic, operations : float
        Bytes and operations for a cell.
    why : str
        What they are.
    """

    run: Callable[[], object]
    traffic: float
    operations: float
    why: str


def _jobs(size: int) -> dict[str, _Job]:
    dem = dem_of(size)
    grid, orbit = radar_over(size)
    operator = illuminate(pass_geometry(dem, grid, orbit), Muhleman())
    energy = np.maximum(operator.simulate(), np.float32(1e-3))
    image = np.ones((2, *grid.shape), np.float32)
    pixels = energy.size / dem.size
    scene = Scene(xr.DataArray(energy, dims=("line", "sample")), grid, orbit, "beta0")
    return {
        "geo2rdr": _Job(
            lambda: geo2rdr(dem, grid, orbit),
            4 + 16,
            2 * 2 * 18,
            "heights in, two doubles out; a quadratic and a cubic in column and height, in double "
            "precision, which counts twice",
        ),
        "scatter": _Job(
            operator.simulate,
            8 + 8 * pixels,
            1500,
            "heights and reflectivity in, pixels read and written; footprints of four quarters",
        ),
        "gather": _Job(
            lambda: operator.adjoint(image),
            5 + 12 + 8 * pixels,
            1500,
            "heights, light and two channels in, three sums out; footprints of four quarters",
        ),
        "reconstruct": _Job(
            lambda: reconstruct(scene, dem, law=Muhleman(), method=Reallocation()),
            4 + 48 + 12 * pixels,
            4000,
            "image and heights in, twelve layers out; two passes of footprints, angles, masks",
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.roofline", description=__doc__)
    parser.add_argument("--size", type=int, default=SIZE, help="cells along the side of the DEM")
    parser.add_argument("--data", help="not needed here")
    parser.add_argument("--save", action="store_true", help="put the figures on record")
    chosen = parser.parse_args(arguments)
    limits = measure()
    jobs = _jobs(chosen.size)
    taken = in_turn({name: job.run for name, job in jobs.items()}, runs=3)
    cells = chosen.size**2
    table = Table(
        title=f"{limits.bandwidth / 1e9:.1f} GB/s by triad, {limits.arithmetic / 1e9:.0f} GFLOP/s "
        f"in single precision, {thread_count()} threads"
    )
    for column in ("", "ns/cell", "least by memory", "least by arithmetic", "share", "counted"):
        table.add_column(column, justify="left" if column in ("", "counted") else "right")
    figures: dict[str, Value] = {}
    for name, job in jobs.items():
        time, _ = taken[name].per(cells)
        least = 1e9 * limits.seconds(job.traffic, job.operations)
        table.add_row(
            name,
            f"{time:.1f}",
            f"{1e9 * job.traffic / limits.bandwidth:.2f}",
            f"{1e9 * job.operations / limits.arithmetic:.2f}",
            f"{100 * least / time:.0f} %",
            job.why,
        )
        if name in ("geo2rdr", "reconstruct"):
            figures[f"speed.{name}_of_limit"] = least / time
    Console().print(table)
    if chosen.save:
        record(figures, "python -m benchmarks.roofline --save")


if __name__ == "__main__":
    main()
