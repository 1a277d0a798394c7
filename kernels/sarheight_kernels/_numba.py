"""Typed decorators that every kernel is compiled with, and constants in single precision.

Numba's own decorators carry no types, so a strict type checker would see every kernel as
untyped. Kernels therefore take them from here, and all of them share one set of options::

    from sarheight_kernels._numba import njit
    from sarheight_kernels.pool import spread_over

    @njit
    def square(value: float) -> float:
        return value * value

    @njit
    def cube(value: float) -> float:
        return square(value) * value

    @spread_over("values")
    @njit
    def cubes(begin: int, end: int, values: NDArray[np.float64]) -> None:
        for index in range(begin, end):
            values[index] = cube(values[index])

The options are

``cache=True``
    Machine code is kept on disk, so only the first run on a machine compiles.
``nogil=True``
    Kernels run side by side, in the threads of `sarheight_kernels.pool` and of callers.
``error_model="numpy"``
    A division by zero gives an infinity or NaN, as in NumPy, and never raises.
``fastmath={"contract"}``
    A product and a sum may be fused into one instruction. That is all: NaN and infinities keep
    their meaning, and sums keep their order.
``no_cfunc_wrapper=True``
    There are no entries for C; nor are there for Python in what is compiled for calls by other
    kernels, which has no machine code of its own either (`_call_without_wrapper`).
``boundscheck=None``
    Indices are unchecked unless the environment says ``NUMBA_BOUNDSCHECK=1``. The cache does
    not know of that variable: set another ``NUMBA_CACHE_DIR`` along with it.

Kernels borrow their arrays, as `sarheight_kernels._compiler` says.

The cache of a function follows changes in its own file only. After an edit of a kernel in one
file that is called from another, remove ``__pycache__`` of both (``make clean`` does).

The cache is a convenience and never stops a run: damaged files are deleted and the kernel is
compiled again, a full disk leaves the kernel uncached, and where no folder for the cache can be
written, a temporary one serves until the process ends. Each is said once, as a `RuntimeWarning`.

A literal such as ``0.5`` is a double: in an expression of float32 it would turn all that follows
into double precision, at half the speed. Kernels in single precision take the constants below.
"""

from __future__ import annotations

import atexit
import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numpy.typing import NDArray

from sarheight_kernels._compiler import BorrowingCompiler, InnerCompiler, rebuild

LOGGER = logging.getLogger("sarheight_kernels")

ZERO, ONE, NAN = np.float32(0.0), np.float32(1.0), np.float32(np.nan)
HALF, QUARTER, SIXTEENTH = np.float32(0.5), np.float32(0.25), np.float32(0.0625)
TWO, THREE, FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)


def integer(value: int) -> int:
    """Make a constant integer that is to kernels like any other.

    Called with a plain constant such as ``0``, a kernel is compiled for this very number, once more
    for each.
    """
    return cast("int", np.int64(value))


START = integer(0)

# Arrays, by kind and bytes of their numbers.
F4 = NDArray[np.float32]
F8 = NDArray[np.float64]
B1 = NDArray[np.bool_]
U1 = NDArray[np.uint8]
U4 = NDArray[np.uint32]
I4 = NDArray[np.int32]
I8 = NDArray[np.int64]

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class _KernelCache(FunctionCache):
    """The cached machine code of one kernel; what cannot be read or written is compiled."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:  # noqa: ANN401
        """Load the code of a signature; None where there is none, or it is damaged."""
        numbas: Any = super()
        try:
            code = numbas.load_overload(sig, target_context)
            # Two processes that save at the same time may use one file for two signatures.
            return code if code is None or tuple(code.signature.args) == tuple(sig) else None
        # Damaged pickles and object code raise errors of many kinds.
        except Exception:  # noqa: BLE001
            _warn_once(
                f"the cache of compiled kernels in '{self.cache_path}' is damaged: the damaged "
                "files are deleted, and their kernels compiled again"
            )
            self.delete()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:  # noqa: ANN401
        """Save the code of a signature, if the disk takes it."""
        numbas: Any = super()
        LOGGER.info("compiled %s", data.fndesc.qualname)
        try:
            numbas.save_overload(sig, data)
        except (OSError, EOFError) as error:
            _warn_once(
                f"compiled kernels cannot be cached in '{self.cache_path}' ({error}): they are "
                "compiled again in every run until there is room, or NUMBA_CACHE_DIR names "
                "another folder"
            )

    def has_code(self) -> bool:
        """Tell whether the code of any signature is kept, of the function as it stands."""
        numbas: Any = self._cache_file
        try:
            return bool(numbas._load_index())  # noqa: SLF001  # what loading a signature does
        except Exception:  # noqa: BLE001  # damaged files raise errors of many kinds
            return False

    def delete(self) -> None:
        """Delete the files of this kernel."""
        with suppress(OSError):
            for file in Path(self.cache_path).glob(f"{self._impl.filename_base}.*"):
                if file.suffix in {".nbi", ".nbc"}:
                    file.unlink(missing_ok=True)


class _InnerNames(CompileResultCacheImpl):
    """Files of functions without wrappers: their names, and what is read from them."""

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        """Name the files of a function."""
        numbas: Any = super()
        return str(numbas.get_filename_base(f"{fullname}.bitcode", abiflags))

    def rebuild(self, target_context: Any, payload: Any) -> Any:  # noqa: ANN401
        """Make a function of what was saved of it."""
        return rebuild(target_context, payload)


class _InnerCache(_KernelCache):
    """The cached code of a function that kernels call, see `_call_without_wrapper`."""

    _impl_class: Any = _InnerNames


@cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


@cache
def _temporary_folder() -> str:
    """Make a folder for the cache of this process, which only its user can read."""
    folder = tempfile.mkdtemp(prefix="sarheight-kernels-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _warn_once(
        "no folder for compiled kernels can be written, neither beside the code nor in the user's "
        f"cache: they are kept in '{folder}' and compiled again in every run; set NUMBA_CACHE_DIR "
        "to a writable folder"
    )
    return folder


def _kernel_cache(function: Callable[..., Any], kind: Any) -> Any:  # noqa: ANN401
    """Find a place for the machine code of a kernel: Numba's, or else a temporary folder."""
    try:
        return kind(function)
    except RuntimeError:  # no place can be written
        config: Any = numba.config
        before, config.CACHE_DIR = config.CACHE_DIR, _temporary_folder()
        try:
            return kind(function)
        finally:
            config.CACHE_DIR = before


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cfunc_wrapper": True,  # no C code calls a kernel by its address
}


def njit(function: Kernel) -> Kernel:
    """Compile a kernel; its type stays that of the function."""
    compiled: Any = numba.njit(**_OPTIONS, pipeline_class=BorrowingCompiler)(function)
    if compiled is not function:  # compilation is not switched off
        with suppress(OSError):  # not even a temporary folder: compiled in every run
            compiled._cache = _kernel_cache(function, _KernelCache)  # noqa: SLF001  # what `cache=True` sets
        _call_without_wrapper(compiled)
    return cast("Kernel", compiled)


def _call_without_wrapper(compiled: Any) -> None:  # noqa: ANN401
    """Let kernels call a function that is compiled for them alone, when the first of them is.

    What unpacks the arguments of a call from Python, of all arrays of all models, is a fifth of the
    work of compiling, and machine code, which kernels hold anyway, another fifth; most functions
    are called by kernels only.
    """
    options = {**_OPTIONS, "pipeline_class": InnerCompiler, "no_cpython_wrapper": True}

    @cache
    def inner() -> Any:  # noqa: ANN401
        compile_for: Any = numba.njit
        own = compile_for(**options)(compiled.py_func)
        with suppress(OSError):
            own._cache = _kernel_cache(compiled.py_func, _InnerCache)  # noqa: SLF001
        return own

    # What Numba asks of a function that another one calls.
    compiled.get_call_template = lambda *arguments: inner().get_call_template(*arguments)
    compiled.get_overload = lambda signature: inner().get_overload(signature)
