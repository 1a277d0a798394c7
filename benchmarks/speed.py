"""Measure time and memory, how the cost grows, and how others fare.

Hills of 30 m cells under a radar like Sentinel-1 (an SLC of which five samples are averaged, or a
GRDH), all threads. Jobs that are compared run in turn; times are medians, with half the distance
between the quartiles; those of simulations and reconstructions are processor times of all threads,
divided by their number. An iteration is one simulation with the cells' own reflectivity and one
collection of two channels; a reconstruction is one step by a given law, from DEM and image to the
finished Dataset, and the posterior that by the default method, whose law is fitted. The first call
of each, in fresh memory, is not counted. The part "whole" compiles kernels, imports and counts
memory in fresh interpreters.
Peers are run in environments of their own on the same cells (see `benchmarks.peers`), and left out
with a word where they cannot be installed. `benchmarks._speed.series` says what is measured of the
dates of a series, `benchmarks._speed.product` of the way from a product's file to layers, and
`benchmarks._speed.window` of a window of a product.
"""

from __future__ import annotations

import json
import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from rich.console import Console
from sarheight_kernels.pool import limit_threads, thread_count

from benchmarks._command import options, tell
from benchmarks._figures import RESULTS, Value
from benchmarks._hills import dem_of, radar_over
from benchmarks._runs import last_line
from benchmarks._speed import product, series, window
from benchmarks._timing import in_turn
from benchmarks.peers.side_by_side import compare
from sarheight.geometry import geo2rdr
from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import Muhleman, simulate
from sarheight.illumination.simulate import illuminate
from sarheight.layover import Reallocation, mapping, reconstruct
from sarheight.scene import Scene

if TYPE_CHECKING:
    import argparse

__all__ = ["main"]

LARGE, MIDDLE, PEER, SERIES, MEANS = 6000, 3000, 6000, 2000, 450
"""Cells along the side of the DEM: for geo2rdr, for most else, for the peers, for dates of a
series, and for means of dates."""
DATES, AVERAGED, ROUNDS = 100, 10, 5
"""Dates of a stack, dates of a mean, and rounds of what is timed of a series."""
USUAL = ("coordinates", "images", "threads", "whole", "peers", "growth")
PARTS = (*USUAL, "series", "stack", "means", "product", "window", "cluster")
SIZES = (500, 1000, 2000, 3000, 6000, 12_000)
GROWTH_POSTING = 20.0
"""Cells along the side for the plot of growth, and their size in metres: 12,000 cells of 30 m would
be wider than what a radar at this height sees at once."""
UTM = "EPSG:32632"
GOALS = {
    "geo2rdr": "4 ns/cell",
    "geo2rdr_utm": "1.3 x",
    "geo2rdr_grd": "1.3 x",
    "simulate": "40 ns/cell",
    "iteration": "40 ns/cell",
    "reconstruct": "100 ns/cell",
    "posterior": "250 ns/cell",
    "second_polarisation": "15 %",
    "mapping": "30 ns/cell",
    "mapping_bytes_per_weight": "12 B",
    "memory_per_cell": "40 B",
    "import": "1 s",
    "compile_seconds": "60 s",
    "threads_1_to_2": "1.8 x",
    "window_seconds": "3 s",
    "window_mib_beyond": "5.7 MiB",
    "geo2rdr_vs_sarsen": "250 x",
    "geo2rdr_vs_fastest_peer": "80 x",
    "simulate_vs_sarsen": "30 x",
    "growth_2000_to_12000.geo2rdr": "1.3 x",
    "growth_2000_to_12000.simulate": "1.3 x",
}


def _coordinates(size: int) -> dict[str, Value]:
    """Time geo2rdr in the simple case, in a map projection, and on a ground-range grid."""
    plain, utm = dem_of(size), dem_of(size, UTM)
    slc, grd = radar_over(size), radar_over(size, "grd")
    taken = in_turn(
        {
            "geo2rdr": lambda: geo2rdr(plain, *slc),
            "geo2rdr_utm": lambda: geo2rdr(utm, *slc),
            "geo2rdr_grd": lambda: geo2rdr(plain, *grd),
        }
    )
    simple = taken["geo2rdr"].median
    return {
        "geo2rdr": taken["geo2rdr"].per(plain.size),
        "geo2rdr_utm": taken["geo2rdr_utm"].median / simple,
        "geo2rdr_grd": taken["geo2rdr_grd"].median / simple,
    }


def _images(size: int) -> dict[str, Value]:
    """Time simulation, an iteration and reconstructions."""
    dem = dem_of(size, UTM)
    grid, orbit = radar_over(size)
    operator = illuminate(pass_geometry(dem, grid, orbit), Muhleman())
    ground = np.exp(0.5 * np.random.default_rng(0).standard_normal(dem.shape)).astype(np.float32)
    channels = np.ones((2, *grid.shape), dtype=np.float32)

    def iterate() -> None:
        operator.simulate(ground)
        operator.adjoint(channels)

    found = in_turn({"simulate": lambda: simulate(dem, grid, orbit), "iteration": iterate})
    taken = {name: sample.shared(thread_count()) for name, sample in found.items()}
    matrix = mapping(dem, grid, orbit).matrix
    held = matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes
    return {
        **{name: sample.per(dem.size) for name, sample in taken.items()},
        **_reconstructions(size),
        "mapping_bytes_per_weight": held / matrix.nnz,
    }


def _reconstructions(size: int) -> dict[str, Value]:
    """Time reconstructions with one and two polarisations, and the explicit mapping."""
    dem = dem_of(size, UTM)
    grid, orbit = radar_over(size)
    power = np.ones((2, *grid.shape), dtype=np.float32)
    one = Scene(xr.DataArray(power[0], dims=("line", "sample")), grid, orbit, "beta0")
    both = xr.DataArray(power, dims=("polarisation", "line", "sample"))
    two = Scene(both.assign_coords(polarisation=["VV", "VH"]), grid, orbit, "beta0")
    step = {"law": Muhleman(), "method": Reallocation()}
    speckled = simulate(dem, grid, orbit, looks=4.4, seed=0)
    found = in_turn(
        {
            "one": lambda: reconstruct(one, dem, **step),
            "two": lambda: reconstruct(two, dem, **step),
            "posterior": lambda: reconstruct(speckled, dem),
            "mapping": lambda: mapping(dem, grid, orbit),
        },
    )
    taken = {name: each.shared(thread_count()) for name, each in found.items()}
    return {
        "posterior": taken["posterior"].per(dem.size),
        "reconstruct": taken["one"].per(dem.size),
        "second_polarisation": taken["two"].median / taken["one"].median - 1.0,
        "mapping": taken["mapping"].per(dem.size),
    }


def _threads(size: int) -> dict[str, Value]:
    """Compare one thread with two, in time and bit by bit."""
    if thread_count() < 2:
        return {}
    dem = dem_of(size, UTM)
    grid, orbit = radar_over(size)
    operator = illuminate(pass_geometry(dem, grid, orbit), Muhleman())
    image = np.ones((1, *grid.shape), dtype=np.float32)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def run(threads: int) -> None:
        with limit_threads(threads):
            found[threads] = operator.simulate(), operator.adjoint(image).linear

    taken = in_turn({"1": lambda: run(1), "2": lambda: run(2)})
    if not all(np.array_equal(*each) for each in zip(found[1], found[2], strict=True)):
        msg = "one and two threads gave different bits"
        raise RuntimeError(msg)
    return {"threads_1_to_2": taken["1"].median / taken["2"].median}


COMPILE = "from sarheight_kernels.compilation import compile_kernels; print([*compile_kernels()])"
RECONSTRUCT = """
from benchmarks._hills import dem_of, radar_over
from sarheight.illumination import simulate
from sarheight.layover import reconstruct

dem = dem_of(200, "EPSG:32632")
grid, orbit = radar_over(200)
reconstruct(simulate(dem, grid, orbit, looks=4.4, seed=0), dem)
print("done")
"""
IMPORT = """
import time
begin = time.perf_counter()
import sarheight.layover
print(time.perf_counter() - begin)
"""
MEMORY = """
import json, sys
from benchmarks._hills import dem_of, radar_over
from benchmarks._memory import peak_bytes
from sarheight.illumination import Muhleman, simulate
from sarheight.layover import Reallocation, reconstruct

for size in (200, int(sys.argv[1])):
    dem = dem_of(size, "EPSG:32632")
    scene = simulate(dem, *radar_over(size))
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    reconstruct(scene, dem, law=Muhleman(), method=Reallocation())
print(json.dumps([peak_bytes() - 1024 * held, dem.size, scene.image.size]))
"""
PIXEL_BYTES = 12.0
"""Bytes that a reconstruction takes for each pixel, beside those for cells."""


def _whole(size: int) -> dict[str, Value]:
    """Ask fresh interpreters for the time of compiling and importing, and for memory."""
    peak, cells, pixels = json.loads(last_line(MEMORY, str(size)))
    imports = sorted(float(last_line(IMPORT)) for _ in range(5))
    return {
        "memory_per_cell": (peak - PIXEL_BYTES * pixels) / cells,
        "import": (imports[len(imports) // 2], 0.5 * (imports[-1] - imports[0])),
        "compile_seconds": _compile_seconds(),
    }


def _compile_seconds() -> float:
    """Time compiling what simulation and default reconstruction take, uncached, by the processor.

    Two processes compile as commands let them, and what these leave is compiled when it is called.
    What both take to start counts.
    """

    def children() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        cache = {"NUMBA_CACHE_DIR": folder}
        begin = children()
        last_line(COMPILE, environment=cache)
        last_line(RECONSTRUCT, environment=cache)
        first = children()
        last_line(RECONSTRUCT, environment=cache)
        again = children()
    return (first - begin) - (again - first)


def _growth(largest: int, path: Path, console: Console) -> dict[str, Value]:
    """Plot how the cost grows with the number of cells; return the growth of that of one cell.

    The largest cost of a cell at 2,000 x 2,000 cells and more, over that at 2,000 x 2,000, by
    processor times: the fastest of several runs, after one whose memory is fresh.
    """
    import matplotlib.pyplot as plt

    sizes = [size for size in SIZES if size <= largest]
    seconds: dict[str, list[float]] = {"geo2rdr": [], "simulate": []}
    threads = thread_count()
    for size in sizes:
        dem = dem_of(size, posting=GROWTH_POSTING)
        grid, orbit = radar_over(size, posting=GROWTH_POSTING)
        jobs = {
            "geo2rdr": lambda dem=dem, grid=grid, orbit=orbit: geo2rdr(dem, grid, orbit),
            "simulate": lambda dem=dem, grid=grid, orbit=orbit: simulate(dem, grid, orbit),
        }
        for name, sample in in_turn(jobs, runs=2 if size > MIDDLE else 5).items():
            seconds[name].append(min(sample.shared(threads).seconds))
    cells = np.array(sizes, dtype=np.float64) ** 2
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, taken in seconds.items():
        slope, power = 1e9 * taken[-1] / cells[-1], np.polyfit(np.log(cells), np.log(taken), 1)[0]
        axes.loglog(cells, taken, "o-", label=f"{name}: {slope:.1f} ns a cell, power {power:.2f}")
        console.print(f"{name}: {slope:.1f} ns a cell at {sizes[-1]}^2, grows as cells^{power:.2f}")
    axes.set(
        xlabel="cells",
        ylabel="processor seconds over threads",
        title=f"500 x 500 cells and more, of {GROWTH_POSTING:.0f} m",
    )
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    found: dict[str, Value] = {}
    for name, taken in seconds.items():
        costs = [each / size**2 for size, each in zip(sizes, taken, strict=True) if size >= 2000]
        if costs:
            console.print(f"{name}: {[round(1e9 * cost, 2) for cost in costs]} ns a cell")
            found[f"growth_2000_to_12000.{name}"] = max(costs) / costs[0]
    return found


def _part(name: str, chosen: argparse.Namespace, console: Console) -> dict[str, Value]:
    """Measure a part."""

    def sized(size: int) -> int:
        return round(chosen.scale * size)

    if name in {"stack", "product", "window", "cluster"}:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(chosen.folder or temporary).resolve()
            if name == "stack":
                return series.measure_many(folder, sized(SERIES), DATES)
            if name == "cluster":
                return product.measure_cluster(folder, chosen.data, chosen.scale)
            if name == "window":
                return window.measure(folder, chosen.data, chosen.scale)
            return product.measure(folder, chosen.data, chosen.scale, peer=chosen.sarsen)
    picture = RESULTS / "pictures" / "speed.png" if chosen.save else Path("speed.png")
    jobs: dict[str, Callable[[], dict[str, Value]]] = {
        "coordinates": lambda: _coordinates(sized(LARGE)),
        "images": lambda: _images(sized(MIDDLE)),
        "threads": lambda: _threads(sized(MIDDLE)),
        "whole": lambda: _whole(sized(MIDDLE)),
        "peers": lambda: compare(sized(PEER), console),
        "growth": lambda: _growth(sized(SIZES[-1]), picture, console),
        "series": lambda: series.measure(sized(SERIES), ROUNDS),
        "means": lambda: series.measure_means(sized(MEANS), AVERAGED),
    }
    return jobs[name]()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = options("speed", __doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=USUAL, help="parts of it")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sides of DEM or product")
    parser.add_argument("--sarsen", action="store_true", help="the product by sarsen as well")
    parser.add_argument("--folder", help="where product or stack are kept; they go by default")
    chosen = parser.parse_args(arguments)
    console = Console()
    scale = "" if chosen.scale == 1.0 else f" --scale {chosen.scale:g}"
    for name in chosen.only:
        with console.status(name):
            figures = _part(name, chosen, console)
        sarsen = " --sarsen" if chosen.sarsen and name == "product" else ""
        tell(
            {f"speed.{key}": each for key, each in figures.items()},
            f"speed --only {name}{scale}{sarsen}",
            save=chosen.save,
            goals={f"speed.{key}": goal for key, goal in GOALS.items()},
        )


if __name__ == "__main__":
    main()
