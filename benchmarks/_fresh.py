"""Several processes: fresh interpreters that answer a question, and claims of long runs."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["claimed", "compile_seconds", "first_call", "import_seconds", "peak_memory"]

IMPORT = """
import time
begin = time.perf_counter()
import sarheight.layover
print(time.perf_counter() - begin)
"""
START = """
import json, time
import xarray as xr
from benchmarks._hills import dem_of, radar_over
from benchmarks._memory import peak_bytes
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import Reallocation, reconstruct

def inputs(size):
    dem = dem_of(size, "EPSG:32632")
    grid, orbit = radar_over(size)
    return simulate(dem, grid, orbit), dem

def run(scene, dem):
    begin = time.perf_counter()
    reconstruct(scene, dem, law=Muhleman(), method=Reallocation())
    return time.perf_counter() - begin
"""
FIRST = (
    START
    + """
given = inputs(200)
print(run(*given) - min(run(*given) for _ in range(3)))
"""
)
MEMORY = (
    START
    + """
run(*inputs(200))
scene, dem = inputs({size})
with open("/proc/self/status") as status:
    held = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
run(scene, dem)
print(json.dumps([peak_bytes() - 1024 * held, dem.size, scene.image.size]))
"""
)
COMPILE = """
from benchmarks._hills import dem_of, radar_over
from sarheight.illumination import simulate
from sarheight.layover import reconstruct

dem = dem_of(200, "EPSG:32632")
grid, orbit = radar_over(200)
reconstruct(simulate(dem, grid, orbit, looks=4.4, seed=0), dem)
print("done")
"""


def _printed(code: str, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env=os.environ | (environment or {}),
    )
    return done.stdout.strip().splitlines()[-1]


def import_seconds(runs: int = 5) -> tuple[float, ...]:
    """Time ``import sarheight.layover``, each time in a fresh interpreter."""
    return tuple(float(_printed(IMPORT)) for _ in range(runs))


def first_call() -> float:
    """Time by which the first reconstruction exceeds a later one, with cached kernels."""
    _printed(FIRST)
    return float(_printed(FIRST))


def compile_seconds() -> float:
    """Processor time for compiling what simulation and default reconstruction take, uncached.

    Two processes compile as commands let them, and what these leave is compiled when it is called.
    What both take to start counts.
    """

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        places = {"NUMBA_CACHE_DIR": folder}
        begin = children()
        _printed(
            "from sarheight_kernels.compilation import compile_kernels as go; print([*go()])",
            places,
        )
        _printed(COMPILE, places)
        first = children()
        _printed(COMPILE, places)
        again = children()
    return (first - begin) - (again - first)


def peak_memory(size: int) -> tuple[float, int, int]:
    """Measure the peak memory of a reconstruction in memory.

    Parameters
    ----------
    size : int
        Cells along the side of the DEM.

    Returns
    -------
    peak : float
        Bytes beyond what was held before, inputs included.
    cells, pixels : int
        Sizes of DEM and image.
    """
    peak, cells, pixels = json.loads(_printed(MEMORY.format(size=size)))
    return peak, cells, pixels


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Claim a run for this process: False where another process is at it.

    Processes that are started side by side with the same command thus share its runs. The claim
    ends with the process, so that an interrupted run is free.

    Parameters
    ----------
    path : Path
        The folder or file of the run; the lock lies beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
