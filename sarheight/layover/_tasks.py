"""Tasks for dask: one at a time in each process, and each loads what it needs itself.

The kernels use all threads of a process, and the memory of a part is bounded; two parts at a time
would be no faster and take twice the memory. Kernels of several tasks at a time would also abort
where Numba has no threading layer that allows it. What GDAL keeps of the files that it reads is
bounded too: by itself it would keep a twentieth of the machine's memory, whatever limit is set.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

__all__ = [
    "FILE_CACHE",
    "ONE_AT_A_TIME",
    "array_of",
    "load",
    "opaque",
    "run",
    "side_by_side",
    "slim",
    "task",
]

ONE_AT_A_TIME = threading.Lock()
"""Held during the work on a part."""
FILE_CACHE = 64 << 20
"""Bytes of files that GDAL may keep in any case while a task reads."""


def load(data: Any, cache: int = FILE_CACHE) -> NDArray[Any]:  # noqa: ANN401 - NumPy or dask
    """Load an array within a task: by its own thread, as others are busy with other tasks.

    GDAL keeps `cache` bytes of the files that it reads.
    """
    compute = getattr(data, "compute", None)
    if compute is None:
        return np.asarray(data)
    with rasterio.Env(GDAL_CACHEMAX=cache):
        return np.asarray(compute(scheduler="synchronous"))


def slim(data: Any) -> Any:  # noqa: ANN401 - a NumPy or a dask array
    """Keep of an array's graph what it needs itself, so that little is sent with a task."""
    import dask.base

    (kept,) = dask.base.optimize(data)  # type: ignore[no-untyped-call]
    return kept


def opaque(thing: object) -> Any:  # noqa: ANN401 - dask is not typed
    """Hand a thing to tasks as it is, whatever lazy arrays it holds."""
    from dask.delayed import delayed

    return delayed(thing, traverse=False)


def task(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    """Make a task of a function."""
    from dask.delayed import delayed

    return delayed(function, pure=False)(*arguments)


def run(tasks: Sequence[Any]) -> tuple[Any, ...]:
    """Run tasks by whatever scheduler is in use."""
    import dask.base

    found: tuple[Any, ...] = dask.base.compute(*tasks)  # type: ignore[no-untyped-call]
    return found


def array_of(found: Any, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ANN401
    """Make a lazy array of a task that returns one."""
    import dask.array

    return dask.array.from_delayed(found, shape=shape, dtype=dtype)  # type: ignore[no-untyped-call]


def side_by_side(parts: Sequence[Any], axis: int) -> Any:  # noqa: ANN401
    """Put lazy arrays side by side."""
    import dask.array

    return dask.array.concatenate(parts, axis=axis)  # type: ignore[no-untyped-call]
