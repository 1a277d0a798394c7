"""Tasks for dask: each loads what it needs itself, and one is computed at a time in each process.

The kernels of one task use all threads of a process (`sarheight_kernels.pool`), so two tiles at a
time would be no faster, and take twice the memory. Files are read by one thread, however: while one
task is computed, the next is loaded.

All computing is done by a thread of its own, whichever of dask's threads wait for it: C libraries
keep freed memory for the thread that took it, and kernels that a thread of dask runs keep to it.
GDAL's cache of file blocks is bounded too: by itself it would keep a twentieth of the machine's
memory, whatever limit is set.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast
from uuid import uuid4

import numpy as np
import rasterio
from numpy.typing import NDArray

from sarheight._files import unnamed_file
from sarheight._runtime import return_freed_memory

Loaded = TypeVar("Loaded")
Result = TypeVar("Result")

READING = threading.RLock()
"""Held while a task reads, and until its computing begins. It may read the result of other tasks,
which the same thread then reads and computes."""
WORKING = threading.Lock()
"""Held while a task computes."""
FILE_CACHE = 64 << 20
"""Least number of bytes of file blocks that GDAL may cache while a task reads."""
STATUS = Path("/proc/self/statm")


def load(data: Any, file_cache: int = FILE_CACHE) -> NDArray[Any]:  # noqa: ANN401 - NumPy or dask
    """Load an array within a task, by its own thread; GDAL caches `file_cache` bytes of files."""
    if not hasattr(data, "compute"):
        return np.asarray(data)
    # Each chunk is stored where it belongs, so that no second copy of all of them is made.
    loaded = np.empty(data.shape, data.dtype)
    with rasterio.Env(GDAL_CACHEMAX=file_cache):
        data.store(loaded, lock=False, scheduler="synchronous")
    return loaded


def one_at_a_time(read: Callable[[], Loaded], work: Callable[[Loaded], Result]) -> Result:
    """Compute a task, one at a time in each process; meanwhile one other task may read.

    `read` loads the input of `work`, which may run kernels.
    """
    with ExitStack() as turn:
        with READING:
            loaded = read()
            turn.enter_context(WORKING)
        return _worker(os.getpid()).submit(work, loaded).result()


@cache
def _worker(_process: int) -> ThreadPoolExecutor:
    """Return the thread that computes for a process: it does not survive a fork."""
    return ThreadPoolExecutor(1, "sarheight")


# Graphs of dask, which is imported where it is needed: results in memory do without it.


def slim(data: Any) -> Any:  # noqa: ANN401 - a NumPy or a dask array
    """Drop from an array's graph what it does not need, so that little is sent with a task."""
    import dask.base

    (kept,) = dask.base.optimize(data)  # type: ignore[no-untyped-call]
    return kept


def opaque(thing: object) -> Any:  # noqa: ANN401 - dask is not typed
    """Hand an object to tasks as it is, whatever lazy arrays it holds."""
    from dask.delayed import delayed

    return delayed(thing, traverse=False)


def task(function: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401
    """Make a task of a function."""
    from dask.delayed import delayed

    return delayed(function, pure=False)(*arguments)


def tasks_in_order(
    function: Callable[..., Any], arguments: Iterable[Sequence[object]]
) -> list[Any]:
    """Make independent tasks of a function, which are best run in their order, as of a file.

    The scheduler of a process takes tasks of which none depends on another by their names, the last
    one first.
    """
    from dask.delayed import delayed

    listed = list(arguments)
    called = delayed(function, pure=False)
    name = f"{function.__name__}-{uuid4()}"
    return [
        called(*each, dask_key_name=f"{name}-{len(listed) - number:08d}")
        for number, each in enumerate(listed)
    ]


def prepare_scheduler() -> None:
    """Let dask import its schedulers, which two threads may not do at once."""
    import dask.base

    dask.base.get_scheduler()  # type: ignore[no-untyped-call]


def run(tasks: Sequence[Any], progress: Callable[[], None] | None = None) -> tuple[Any, ...]:
    """Run tasks by whatever scheduler is in use.

    Schedulers of this process call `progress` whenever one of them is done.
    """
    import dask.base
    from dask.callbacks import Callback

    keys = {each.key for each in tasks}

    def report(key: object, *_state: object) -> None:
        if progress is not None and key in keys:
            progress()

    with Callback(posttask=report):  # type: ignore[no-untyped-call]
        results: tuple[Any, ...] = dask.base.compute(*tasks)  # type: ignore[no-untyped-call]
    return results


def lazy_array(result: Any, shape: tuple[int, ...], dtype: Any) -> Any:  # noqa: ANN401
    """Make a lazy array of a task that returns one."""
    import dask.array

    return dask.array.from_delayed(result, shape=shape, dtype=dtype)  # type: ignore[no-untyped-call]


def concatenate(arrays: Sequence[Any], axis: int) -> Any:  # noqa: ANN401
    """Concatenate lazy arrays."""
    import dask.array

    return dask.array.concatenate(arrays, axis=axis)  # type: ignore[no-untyped-call]


# Between two tasks: arrays in a scratch file.


class Shelf:
    """Arrays by name that tasks of this process keep for later ones, in an unnamed scratch file.

    In other processes it is empty, and so it is where the disk has no room: tasks compute again
    what they do not find.
    """

    def __init__(self, size: int) -> None:
        """Make the file, for so many bytes; 0 for an empty shelf."""
        self._file = unnamed_file(size, self) if size else None
        self._entries: dict[int, list[dict[str, _Entry]]] = {}
        self._end = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Shelf], tuple[int]]:
        """Pickle as an empty shelf."""
        return Shelf, (0,)

    @property
    def is_open(self) -> bool:
        """Whether arrays can be kept."""
        return self._file is not None

    def save(self, index: int, groups: Sequence[dict[str, NDArray[Any]]]) -> None:
        """Keep groups of arrays, if the disk takes them."""
        with self._lock:
            if self._file is None:
                return
            entries: list[dict[str, _Entry]] = []
            try:
                for group in groups:
                    entries.append({})
                    for name, array in group.items():
                        self._file.seek(self._end)
                        self._file.write(np.ascontiguousarray(array).data)
                        entries[-1][name] = _Entry(self._end, array.shape, array.dtype)
                        self._end += array.nbytes
                self._file.flush()
            except OSError:
                self._file = None
                self._entries.clear()
                return
            self._entries[index] = entries

    def load(self, index: int) -> list[dict[str, NDArray[Any]]] | None:
        """Read groups of arrays again; None where they were not kept."""
        with self._lock:
            entries = self._entries.get(index)
            if self._file is None or entries is None:
                return None
            return [{name: self._read(entry) for name, entry in group.items()} for group in entries]

    def _read(self, entry: _Entry) -> NDArray[Any]:
        array = np.empty(entry.shape, entry.dtype)
        file = cast("IO[bytes]", self._file)
        file.seek(entry.begin)
        if file.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
            msg = "a scratch file of a scene was cut short; compute the result again"
            raise OSError(msg)
        return array


class _Entry(NamedTuple):
    """An array in a scratch file."""

    begin: int  # its first byte
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


# Memory that is freed and that the process holds all the same. The C library keeps freed memory
# for the next request, for each thread by itself: faster, as long as there is enough of it.


def release_memory(need: float, limit: float) -> None:
    """Return unused memory to the system, if `need` bytes more would exceed `limit` bytes.

    Unused memory counts as held: it may lie in parts, none of which has room for the next array.
    """
    if _held_bytes() + need > limit:
        return_freed_memory()


def _held_bytes() -> int:
    """Return how many bytes the process holds; 0 where the system does not say."""
    try:
        pages = STATUS.read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGESIZE")
