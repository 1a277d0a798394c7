"""A window of a full product: seconds, bytes read, and requests to a server.

The product of `benchmarks._speed.product`, unpacked. A fresh process reconstructs 10 x 10 km of it
on cells of 30 m by the default method, both polarisations and all that the command does, several
times; the first call, which loads libraries and compiled kernels, is not counted. Over HTTP, the
same files lie on a server of this machine, and its requests are counted.
"""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

import sarheight
from benchmarks._speed import product
from tests.servers import Reply, running

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks._figures import Value
    from tests.servers import Request

__all__ = ["measure", "work"]

SIDE, CELL = 10_020.0, 30.0
"""Metres along the sides of the window, and of its cells."""
RUNS = 7
MIB = 2.0**20


def middle_window(dem: Path) -> GeoBox:
    """Return the grid of the window in the middle of an elevation model."""
    with rasterio.open(dem) as file:
        left, bottom, right, top = file.bounds
        crs = file.crs.to_wkt()
    x, y = (CELL * round(0.5 * sum(edges) / CELL) for edges in ((left, right), (bottom, top)))
    half = 0.5 * SIDE
    box = (x - half, y - half, x + half, y + half)
    return GeoBox.from_bbox(box, crs, resolution=CELL, tight=True)


def served(file: Path, sent: list[int]) -> Callable[[Request], Reply]:
    """Make a page of a file, of which parts are sent."""

    def answer(request: Request) -> Reply:
        size = file.stat().st_size
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("Range", ""))
        if found is None:
            return Reply(status=416)
        first, last = int(found[1]), min(int(found[2]), size - 1)
        with file.open("rb") as stream:
            stream.seek(first)
            part = stream.read(last - first + 1)
        sent.append(len(part))
        return Reply(part, 206, {"Content-Range": f"bytes {first}-{last}/{size}"})

    return answer


def work(folder: Path) -> None:
    """Reconstruct the window from the folder and from a server; print what it took as JSON."""
    from sarheight.sentinel1._files import ProductFiles

    (safe,), dem = folder.glob("*.SAFE"), folder / "dem.tif"
    grid, pixels = middle_window(dem), [0]
    read = ProductFiles.read_window

    def counted(*given: Any, **options: Any) -> np.ndarray[Any, Any]:  # noqa: ANN401
        numbers = read(*given, **options)
        pixels[0] += numbers.nbytes
        return numbers

    ProductFiles.read_window = counted  # type: ignore[method-assign]
    seconds, busy = [], []
    for _ in range(RUNS + 1):
        pixels[0], before = 0, product.bytes_moved()[0]
        begin, processor = time.perf_counter(), time.process_time()
        result = sarheight.reconstruct(safe, dem, grid=grid)
        seconds.append(time.perf_counter() - begin)
        busy.append(time.process_time() - processor)
        moved, own = product.bytes_moved()[0] - before, pixels[0]
    sent: list[int] = []
    with running() as site:
        for file in safe.rglob("*"):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                site.pages[f"/{name}"] = served(file, sent)
        remote = sarheight.reconstruct(f"{site.url}/{safe.name}", dem, grid=grid)
        requests = len(site.requests)
    for name in result.data_vars:
        np.testing.assert_array_equal(remote[name].values, result[name].values, err_msg=str(name))
    found = {
        "seconds": seconds[1:],
        "busy": busy[1:],
        "read": moved,
        "pixels": own,
        "requests": requests,
        "sent": sum(sent),
    }
    print(json.dumps(found))


def measure(folder: Path, data: str | None, scale: float) -> dict[str, Value]:
    """Make and unpack a product where it is missing, and measure a window of it."""
    product.make_missing(folder, data, scale)
    if not any(folder.glob("*.SAFE")):
        with zipfile.ZipFile(folder / "product.SAFE.zip") as members:
            members.extractall(folder)
    found = product.run_fresh("work(Path(sys.argv[1]))", str(folder), module="window")
    return {
        "window_seconds": _typical(found["seconds"]),
        "window_processor_seconds": _typical(found["busy"]),
        "window_mib_read": found["read"] / MIB,
        "window_mib_beyond": (found["read"] - found["pixels"]) / MIB,
        "window_requests": found["requests"],
        "window_mib_sent": found["sent"] / MIB,
    }


def _typical(samples: Sequence[float]) -> tuple[float, float]:
    """Return the median, and half the distance between the quartiles."""
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75]).tolist()
    return middle, 0.5 * (high - low)
