"""Compilation of what a default reconstruction needs, by two processes side by side.

Numba compiles a kernel when it is first called, and holds one lock for all of a process while it
does. So threads do not compile side by side, but processes do, and what one of them has compiled
the others load from the cache. `compile_kernels` goes through the kernels from the first on, while
a second process goes through them from the last, until they meet::

    from sarheight_kernels.compilation import compile_kernels

    for done, total, name in compile_kernels():
        print(f"compiling kernels {done + 1}/{total}: {name}")

``python -m sarheight_kernels.compilation`` does so too, such as for the image of a container.

Kernels are compiled for the types of their arguments, which stand in `KERNELS`. Other kernels, and
other types, are compiled when they are called.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numba
from numba import types

from sarheight_kernels import (
    allocation,
    edges,
    estimation,
    geocoding,
    incidence,
    masks,
    models,
    profiles,
    projection,
    radiometry,
    ratios,
    rdr2geo,
    smoothing,
    tiles,
)
from sarheight_kernels._numba import LOGGER
from sarheight_kernels.pool import thread_count

__all__ = ["compile_kernels", "kernels_to_compile"]

Kernel = Callable[..., None]


def _array(kind: Any, dimensions: int, layout: Literal["C", "F"] = "C") -> Any:  # noqa: ANN401
    return types.Array(kind, dimensions, layout)


I8, F4, F8, U1 = types.int64, types.float32, types.float64, types.uint8
LINE4, LAYER4, LAYERS4 = (_array(F4, dimensions) for dimensions in (1, 2, 3))
LINE8, TABLE8, TABLES8 = (_array(F8, dimensions) for dimensions in (1, 2, 3))
CODES, LAYERS_OF_CODES = _array(U1, 2), _array(U1, 3)
AREAS = _array(F8, 2, "F")
GROUND = types.NamedTuple((I8, I8, F8, F8, _array(F8, 5)), models.GroundModel)
RADAR = types.NamedTuple(
    (
        *(LINE8, TABLES8, F8, F8, LINE8, LINE8, TABLE8, TABLE8),
        *(F8, F8, F8, F8, F8, LINE8, LINE8, _array(F8, 4)),
    ),
    models.RadarModel,
)
SCAN = types.NamedTuple((GROUND, RADAR, LAYER4, F8, F8, F8), profiles.Scan)
SURFACE = types.NamedTuple(
    (GROUND, RADAR, LAYER4, LINE8, TABLE8, _array(types.boolean, 2)), tiles.Surface
)
MEASURED = types.NamedTuple((LAYERS4, LAYERS4, LAYER4, LINE8, TABLE8), allocation.MeasuredPixels)
WEIGHED = types.NamedTuple(
    (TABLES8, F8, LAYER4, LAYERS4, LAYERS4, LAYER4), allocation.WeighedRatios
)
ALLOCATED = types.NamedTuple((LAYERS4, LAYERS4, LAYERS4, TABLE8), allocation.AllocatedCells)
GEOCODED = types.NamedTuple((LAYERS4, LINE8, TABLE8, LAYERS4), geocoding.GeocodedImage)


def _numbers(count: int, kind: Any = F8) -> Any:  # noqa: ANN401 - types of Numba
    return types.UniTuple(kind, count)


KERNELS: tuple[tuple[Kernel, tuple[Any, ...]], ...] = (
    (allocation.gather_ratios, (SURFACE, WEIGHED)),
    (projection.scatter_blocks, (SURFACE, LAYERS4, I8, _array(I8, 1), _array(F4, 4), LAYERS4)),
    (tiles.tile_bounds, (GROUND, RADAR, LAYER4, TABLE8)),
    (tiles.height_range_bounds, (GROUND, RADAR, _numbers(2, I8), LINE4, LINE4, TABLE8)),
    (radiometry.mask_missing, (LAYERS4, LAYERS4)),
    (masks.profiles_to_cells, (SCAN, LAYERS_OF_CODES, LAYERS_OF_CODES)),
    (projection.add_overflow, (I8, _array(F4, 4), LAYERS4)),
    (ratios.smooth_by_simulation, (LAYERS4, LAYER4, LINE4, LINE4, LAYERS4)),
    (edges.keep_edges, (LAYERS4, I8, LAYER4, LAYER4, F8, _numbers(3), LAYER4)),
    (estimation.to_backscatter, (LINE8, LINE8, F8, *(LAYER4,) * 5, *(LAYERS4,) * 3)),
    (masks.illuminate_profiles, (SCAN, CODES)),
    (radiometry.image_sums, (LAYERS4, LINE8, AREAS, TABLES8)),
    (estimation.average, (LAYER4,) * 6),
    (estimation.conclude, (*(LAYER4,) * 4, _numbers(2), LAYER4, LAYER4)),
    (
        allocation.allocate_rcs,
        (SURFACE, LAYER4, MEASURED, WEIGHED, _numbers(4, I8), ALLOCATED, GEOCODED),
    ),
    (estimation.error_variance, (*(LAYER4,) * 5, _numbers(5), LAYER4)),
    (
        smoothing.mean_slope_changes,
        (LAYER4, _numbers(2, I8), _numbers(2), _numbers(2, LINE4), F8, LAYER4),
    ),
    (rdr2geo.points_at_height, (RADAR, *(LINE8,) * 5)),
    (masks.classify_profiles, (SCAN, F8, I8, CODES, CODES)),
    (
        ratios.weigh_ratios,
        (LAYERS4, LINE8, TABLE8, LAYER4, LINE4, LINE4, F8, _array(F4, 4), LAYER4),
    ),
    (tiles.square_height_ranges, (LAYER4, I8, LAYER4, LAYER4)),
    (estimation.rcs_balance, (*(LAYER4,) * 5, F8, TABLE8)),
    (estimation.regress, (*(LAYER4,) * 3, _numbers(4), F8, _numbers(3), LINE4, LINE4, LAYER4)),
    (incidence.cell_angles, (GROUND, RADAR, LAYER4, TABLE8, *(LAYER4,) * 3)),
    (estimation.logarithms, (LAYER4,) * 5),
    (radiometry.inverse_intensity, (LINE8, TABLE8, LAYER4)),
    (radiometry.divide_by_area, (LAYER4, _array(I8, 1), LINE8, AREAS, F8)),
)
"""What a default reconstruction and RTC call, with the types of arguments but for the first and the
end iteration. As kernels share functions, their order decides what is compiled twice: by the times
that were measured for each function, processes that begin at either end compile next to nothing
twice, and meet among small kernels. In the order of a reconstruction they met at the largest."""


def kernels_to_compile() -> list[tuple[Kernel, tuple[Any, ...]]]:
    """List the kernels of `KERNELS` of which no machine code is cached, with argument types."""
    config: Any = numba.config
    if config.DISABLE_JIT:
        return []
    return [
        (kernel, arguments)
        for kernel, arguments in KERNELS
        if not _dispatcher(kernel)._cache.has_code()  # noqa: SLF001  # of `_numba`
    ]


def compile_kernels() -> Iterator[tuple[int, int, str]]:
    """Compile what a default reconstruction needs and the cache does not hold.

    Yields
    ------
    done, total : int
        Kernels that are compiled, and all that are to be.
    name : str
        Kernel whose compilation begins.
    """
    missing = kernels_to_compile()
    with _helper(len(missing) > 1 and thread_count() > 1):
        for number, (kernel, arguments) in enumerate(missing):
            yield number, len(missing), kernel.__name__
            _compile(kernel, arguments)


@contextmanager
def _helper(wanted: bool) -> Iterator[None]:  # noqa: FBT001
    """Run a process that compiles from the last kernel on; without one all is compiled here."""
    if not wanted:
        yield
        return
    code = "from sarheight_kernels.compilation import _compile_from_the_last as go; go()"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _compile_from_the_last() -> None:
    for kernel, arguments in reversed(kernels_to_compile()):
        _compile(kernel, arguments)


def _dispatcher(kernel: Kernel) -> Any:  # noqa: ANN401 - of Numba
    return kernel.kernel  # type: ignore[attr-defined]  # see `spread_over`


def _compile(kernel: Kernel, arguments: Sequence[Any]) -> None:
    """Compile a kernel for its types, or load it from the cache."""
    try:
        _dispatcher(kernel).compile((I8, I8, *arguments))
    except (TypeError, numba.errors.NumbaError):
        name = kernel.__name__
        LOGGER.warning("%s takes other types than those listed; compiled when called", name)


if __name__ == "__main__":
    for done, total, name in compile_kernels():
        print(f"compiling kernels {done + 1}/{total}: {name}", flush=True)  # noqa: T201
