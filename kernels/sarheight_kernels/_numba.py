"""Typed decorators that every kernel is compiled with, and constants in single precision.

Numba's own decorators carry no types, so a strict type checker would see every kernel as
untyped. Kernels therefore take them from here, and all of them share one set of options::

    from sarheight_kernels._numba import njit, parallel_njit, prange

    @njit
    def square(value: float) -> float:
        return value * value

    @njit
    def cube(value: float) -> float:
        return square(value) * value

    @parallel_njit
    def cubes(values: NDArray[np.float64], result: NDArray[np.float64]) -> None:
        for index in prange(values.size):
            result[index] = cube(values[index])

The options are

``cache=True``
    Machine code is kept on disk, so only the first run on a machine compiles.
``nogil=True``
    Kernels run side by side in the threads of a caller such as dask.
``error_model="numpy"``
    A division by zero gives an infinity or NaN, as in NumPy, and never raises.
``fastmath={"contract"}``
    A product and a sum may be fused into one instruction. That is all: NaN and infinities keep
    their meaning, and sums keep their order, so results do not depend on how work is divided
    among threads. A kernel must not add up across iterations of `prange` either: Numba would
    then combine partial sums in an order set by the number of threads.
``boundscheck=None``
    Indices are unchecked unless the environment says ``NUMBA_BOUNDSCHECK=1``. The cache does
    not know of that variable: set another ``NUMBA_CACHE_DIR`` along with it.

The cache of a function follows changes in its own file only. After an edit of a kernel in one
file that is called from another, remove ``__pycache__`` of both (``make clean`` does).

A literal such as ``0.5`` is a double: in an expression of float32 it would turn all that follows
into double precision, at half the speed. Kernels in single precision take the constants below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
import numpy as np

if TYPE_CHECKING:
    prange = range
else:
    prange = numba.prange

ZERO, ONE, NAN = np.float32(0.0), np.float32(1.0), np.float32(np.nan)
HALF, QUARTER, SIXTEENTH = np.float32(0.5), np.float32(0.25), np.float32(0.0625)
TWO, THREE, FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def _compile(function: Kernel, *, parallel: bool) -> Kernel:
    compiled = numba.njit(
        cache=True,
        nogil=True,
        error_model="numpy",
        fastmath={"contract"},
        parallel=parallel,
    )(function)
    return cast("Kernel", compiled)


def njit(function: Kernel) -> Kernel:
    """Compile a kernel that runs on the calling thread; its type stays that of the function."""
    return _compile(function, parallel=False)


def parallel_njit(function: Kernel) -> Kernel:
    """Compile a kernel whose `prange` loops are divided among threads.

    Each iteration owns what it writes: no two iterations may write to one element, and none may
    add to a variable from outside the loop. The result then has the same bits for any number of
    threads.
    """
    return _compile(function, parallel=True)
