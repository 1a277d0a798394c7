"""One pool of threads, over which the parts of a kernel's work are spread.

A kernel is serial: it works on a part of its rows, tiles or strips, from ``begin`` to ``end``, and
releases Python's lock meanwhile. `spread_over` makes a function of it that knows how many there
are, and that runs the kernel on contiguous parts of them, side by side (`spread`)::

    @spread_over("values")
    @njit
    def square(begin: int, end: int, values: NDArray[np.float64]) -> None:
        for row in range(begin, end):
            values[row] *= values[row]

    square(values)  # all rows of `values`, on all threads

Numba's own parallel loops would do, but the compiler emits such a kernel four times, two callers
must not run them at once unless an optional library is installed, and a process that has run them
must not fork. A serial kernel has none of these limits, and its loop is an ordinary one.

**Same bits.** An iteration owns what it writes, so neither the number of threads nor that of parts
changes a result. Where a kernel keeps something from row to row, it works on blocks of rows, which
are never divided (``block``).

**Threads.** All calls of a process share one pool, and each caller works on its own parts, too. So
a call never waits for threads that are busy with other work, and calls from within the pool cannot
block one another. After an error or an interrupt the parts that have not begun are dropped, and
those that run are waited for. After a fork the child makes a pool of its own. The environment
variable ``SARHEIGHT_THREADS`` sets the number of threads; by default it is the number of cores that
the process may use.

**Tasks of dask.** Inside a task of dask a call keeps to its own thread, since dask runs a task on
each core. Such a task shows in the stack of calls: an executor has called a function of dask (its
thread pool, its processes, or a pool that it was given), or a worker of distributed is at work.
Dask's synchronous scheduler runs tasks in the thread of its caller: there all threads are used.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import numpy as np

if TYPE_CHECKING:
    from types import FrameType

    from numpy.typing import DTypeLike, NDArray

__all__ = ["limit_threads", "spread", "spread_over", "spread_rows", "thread_count"]

P = ParamSpec("P")

VARIABLE = "SARHEIGHT_THREADS"
MOST_THREADS = 1024
SHARES, LEAST_SHARES = 2, 32
"""A part is half of a thread's share of the work that is left, and a 32nd of its share of all work
at least: few parts, of which the last keeps the other threads waiting for that long at most."""
SMALL = 1 << 14
"""Numbers in all arrays of a call up to which one thread is faster than waking another."""
EXECUTORS = ("concurrent.futures.", "multiprocessing.pool")
"""Modules whose functions run the tasks of dask's schedulers for threads and processes."""


def thread_count() -> int:
    """Return the number of threads on which a call from here runs.

    Raises
    ------
    ValueError
        If ``SARHEIGHT_THREADS`` is not a whole number from 1 to 1024.
    """
    return 1 if _in_dask_task() else _pool.size()


@contextmanager
def limit_threads(count: int) -> Iterator[None]:
    """Set the number of threads of this process within a block, whatever the environment says.

    Raises
    ------
    ValueError
        If `count` is not a whole number from 1 to 1024.
    """
    before, _pool.limit = _pool.limit, _checked(str(count), "the number of threads")
    try:
        yield
    finally:
        _pool.limit = before


def spread(work: Callable[[int, int], None], count: int, block: int = 1) -> None:
    """Do a work in contiguous parts, on the threads of the pool and on that of the caller.

    Parameters
    ----------
    work : callable
        Called with the first and the end iteration of a part. It releases Python's lock, and an
        iteration writes only what it owns.
    count : int
        Number of iterations.
    block : int
        Parts begin at multiples of it.

    Raises
    ------
    Exception
        Whatever a part raises. No part runs any more when the call returns or raises.
    """
    blocks = (count + block - 1) // block
    threads = min(thread_count(), blocks) if blocks > 1 else 1
    if threads == 1:
        work(0, count)
        return
    edges = [min(edge * block, count) for edge in _edges(blocks, threads)]
    left, held = deque(pairwise(edges)), [work]

    def work_on_parts() -> None:
        while left:
            try:
                part = left.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                held[0](*part)
            except BaseException:
                left.clear()
                raise

    helpers = _pool.start(work_on_parts, threads - 1)
    try:
        work_on_parts()
        for helper in helpers:
            if not helper.cancel():
                helper.result()
    except BaseException:
        left.clear()
        for helper in helpers:
            if not helper.cancel():
                helper.exception()
        raise
    finally:
        # A helper that was cancelled stays in the queue until a busy machine lets its thread run:
        # it has nothing to do, and would keep the arrays of the work.
        held.clear()


def _edges(count: int, threads: int) -> list[int]:
    """Divide iterations into parts that become smaller, and return the edges of these."""
    edges = [0]
    while (left := count - edges[-1]) > 0:
        part = max(left // (SHARES * threads), count // (LEAST_SHARES * threads), 1)
        edges.append(edges[-1] + min(part, left))
    return edges


def spread_over(
    name: str, *, axis: int = 0, block: int = 1, least: int | None = None
) -> Callable[[Callable[Concatenate[int, int, P], None]], Callable[P, None]]:
    """Make a function of a kernel that spreads its iterations over the threads of the pool.

    Parameters
    ----------
    name : str
        Argument of the kernel, an array that has an iteration for each of its elements; or one of
        the arrays in a named tuple, as in "surface.bounds".
    axis : int
        Axis along which they are counted.
    block : int
        Parts begin at multiples of it.
    least : int, optional
        Iterations from which several threads are worth it; by default all arrays count.

    Returns
    -------
    callable
        Decorates a kernel, whose first two arguments are the first and the end iteration of a part.
        The function takes the others; its attribute ``kernel`` is what it was made of.
    """

    def decorate(kernel: Callable[Concatenate[int, int, P], None]) -> Callable[P, None]:
        signature = inspect.signature(kernel)
        parameters = list(signature.parameters.values())[2:]
        argument, *attributes = name.split(".")
        place = [parameter.name for parameter in parameters].index(argument)

        @functools.wraps(kernel)
        def function(*arguments: P.args, **keywords: P.kwargs) -> None:
            over: Any = arguments[place]
            for attribute in attributes:
                over = getattr(over, attribute)
            count = over.shape[axis]
            small = _numbers(arguments) <= SMALL if least is None else count < least
            if small:
                kernel(0, count, *arguments, **keywords)
            else:
                spread(lambda begin, end: kernel(begin, end, *arguments, **keywords), count, block)

        made: Any = function
        made.kernel = kernel
        made.__signature__ = signature.replace(parameters=parameters)
        return function

    return decorate


def spread_rows(
    function: Callable[..., NDArray[Any]], *layers: NDArray[Any], dtype: DTypeLike = np.float32
) -> NDArray[Any]:
    """Do elementwise work of NumPy on parts of the rows, on the threads of the pool.

    Parameters
    ----------
    function : callable
        Called with the same rows of all layers; returns an array of their shape.
    *layers : array, shape (..., rows, columns)
        Arrays of one shape.
    dtype : dtype
        Type of the result.

    Returns
    -------
    array, shape (..., rows, columns)
        What the function returned.
    """
    result: NDArray[Any] = np.empty(layers[0].shape, dtype)
    if result.size <= SMALL:
        result[...] = function(*layers)
        return result

    def work(begin: int, end: int) -> None:
        rows = (..., slice(begin, end), slice(None))
        result[rows] = function(*(layer[rows] for layer in layers))

    spread(work, layers[0].shape[-2])
    return result


class _Pool:
    """The threads of a process."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew, in a process that has none of the threads."""
        self._lock = threading.Lock()
        self._size = 0
        self._executor: ThreadPoolExecutor | None = None

    def size(self) -> int:
        """Return the number of threads that may work at the same time."""
        if self.limit is not None:
            return self.limit
        text = os.environ.get(VARIABLE, "").strip()
        return _checked(text, VARIABLE) if text else _cores()

    def start(self, work: Callable[[], None], helpers: int) -> list[Future[None]]:
        """Start a work in so many threads, beside the caller; in none when Python ends."""
        with self._lock:
            if self._executor is None or self._size < helpers:
                # The threads of one that was too small end with what they have begun.
                self._size = helpers
                self._executor = ThreadPoolExecutor(helpers, "sarheight")
            executor = self._executor
        try:
            return [executor.submit(work) for _ in range(helpers)]
        except RuntimeError:  # no thread can be started, as Python ends
            return []


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.forget)


def _checked(text: str, what: str) -> int:
    """Return the number that a text is; raise an error unless threads may have it."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_THREADS):
        msg = f"{what} is '{text}'; expected a whole number from 1 to {MOST_THREADS}"
        raise ValueError(msg)
    return int(text)


def _numbers(arguments: tuple[Any, ...]) -> int:
    """Return how many numbers the arrays among some arguments hold, in tuples, too."""
    return sum(
        each.size if isinstance(each, np.ndarray) else _numbers(each)
        for each in arguments
        if isinstance(each, np.ndarray | tuple)
    )


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _in_dask_task() -> bool:
    """Tell whether this thread runs a task that a scheduler of dask gave to a worker."""
    if "dask" not in sys.modules:
        return False
    called = ""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the only way to the stack of calls
    while frame is not None:
        name = str(frame.f_globals.get("__name__"))
        if name == "distributed.worker":
            return True
        if called.startswith("dask.") and name.startswith(EXECUTORS):
            return True
        called, frame = name, frame.f_back
    return False
