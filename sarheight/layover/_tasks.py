"""Tasks for dask: each loads what it needs itself, and one is worked on at a time in each process.

The kernels use all threads of a process, and the memory of a part is bounded; two parts at a time
would be no faster and take twice the memory. Kernels of several tasks at a time would also abort
where Numba has no threading layer that allows it. Files are read by one thread, however: while one
task is worked on, the next is loaded.

All the work is done by a thread of its own, whichever of dask's threads wait for it: C libraries
keep freed memory for the thread that took it, and OpenMP a team of threads for each that calls it.
What GDAL keeps of the files that it reads is bounded too: by itself it would keep a twentieth of
the machine's memory, whatever limit is set.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from typing import Any, TypeVar

import numba
import numpy as np
import rasterio
from numpy.typing import NDArray

__all__ = [
    "FILE_CACHE",
    "array_of",
    "load",
    "one_at_a_time",
    "opaque",
    "run",
    "side_by_side",
    "slim",
    "task",
]

Given = TypeVar("Given")
Result = TypeVar("Result")

READING = threading.RLock()
"""Held while a task reads, and until its work begins. What it reads may be the result of other
tasks, which the same thread then reads and works on."""
WORKING = threading.Lock()
"""Held during the work of a task."""
FILE_CACHE = 64 << 20
"""Bytes of files that GDAL may keep in any case while a task reads."""


def load(data: Any, file_cache: int = FILE_CACHE) -> NDArray[Any]:  # noqa: ANN401 - NumPy or dask
    """Load an array within a task: by its own thread, as others are busy with other tasks.

    GDAL keeps `file_cache` bytes of the files that it reads.
    """
    if not hasattr(data, "compute"):
        return np.asarray(data)
    # Chunk after chunk finds its place, rather than all of them being put together in the end.
    loaded = np.empty(data.shape, data.dtype)
    with rasterio.Env(GDAL_CACHEMAX=file_cache):
        data.store(loaded, lock=False, scheduler="synchronous")
    return loaded


def one_at_a_time(read: Callable[[], Given], work: Callable[[Given], Result]) -> Result:
    """Do the work of a task, one at a time in each process; meanwhile one other task may read.

    Parameters
    ----------
    read : callable
        Loads what the work needs.
    work : callable
        Is given that, and may run kernels.

    Returns
    -------
    object
        What `work` returns.
    """
    with ExitStack() as turn:
        with READING:
            given = read()
            turn.enter_context(WORKING)
        threads = numba.get_num_threads()
        return _worker(os.getpid()).submit(_work, threads, work, given).result()


@cache
def _worker(_process: int) -> ThreadPoolExecutor:
    """Return the thread that does the work of a process: it does not survive a fork."""
    return ThreadPoolExecutor(1, "sarheight")


def _work(threads: int, work: Callable[[Given], Result], given: Given) -> Result:
    """Work with as many threads of the kernels as the caller may use."""
    numba.set_num_threads(threads)
    return work(given)


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
