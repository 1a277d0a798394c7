"""The options that all kernels share."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
import pytest
from numba.core.caching import NullCache
from numpy.typing import NDArray
from sarheight_kernels._numba import njit

from tests.programs import Run, nursery

Kernels: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a script with kernels, in an environment."""


@njit
def quotient(numerator: float, denominator: float) -> float:
    return numerator / denominator


@njit
def is_missing(value: float) -> bool:
    return value != value  # noqa: PLR0124 - fast arithmetic would fold this to False


@njit
def count_missing(values: NDArray[np.float64]) -> int:
    count = 0
    for value in values:
        if is_missing(value):
            count += 1
    return count


@njit
def total(values: NDArray[np.float64]) -> float:
    result = 0.0
    for value in values:
        result += value
    return result


class Pair(NamedTuple):
    """Two arrays and a number."""

    first: NDArray[np.float64]
    factor: float
    rest: tuple[NDArray[np.float64], float]


@njit
def alternating_total(pair: Pair, count: int) -> float:
    result = 0.0
    for k in range(count):
        values, factor = (pair.first, pair.factor) if k % 2 else pair.rest
        if values[0] < 0.0:
            break
        result += factor * total(values[k:])
    return result


@njit
def without_first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[1:]


def test_a_division_by_zero_follows_numpy() -> None:
    assert quotient(1.0, 0.0) == np.inf
    assert quotient(-1.0, 0.0) == -np.inf
    assert np.isnan(quotient(0.0, 0.0))


def test_nan_keeps_its_meaning() -> None:
    assert count_missing(np.array([1.0, np.nan, np.inf, np.nan])) == 2


def test_a_sum_keeps_its_order() -> None:
    # 1 vanishes beside 1e16; any other order or grouping gives 1 or 2.
    assert total(np.array([1.0, 1e16, 1.0, -1e16])) == 0.0
    assert total(np.array([1e16, -1e16, 1.0, 1.0])) == 2.0


def test_the_environment_turns_index_checks_off(run_kernels: Kernels) -> None:
    """And on, as the tests of errors show."""
    code = (
        "import numpy as np\n"
        "from sarheight_kernels._numba import njit\n"
        "@njit\n"
        "def last(values):\n"
        "    return values[values.size]\n"
        "last(np.ones(4)[:3])\n"
    )
    done = run_kernels(code, NUMBA_BOUNDSCHECK="0")
    assert (done.returncode, done.stderr) == (0, "")


SCRIPT = """
import numpy as np
from sarheight_kernels._numba import njit
@njit
def double(value):
    return 2.0 * value
@njit
def triple(value):
    return 3.0 * value
print(double(3.0) + triple(5.0), sum(double.stats.cache_hits.values()))
"""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    # A first compilation sets up the compiler.
    with nursery("import numba\nnumba.njit(lambda value: 2.0 * value + 1j)(1.0)") as ready:
        yield ready


@pytest.fixture
def run_kernels(run: Run, tmp_path: Path) -> Kernels:
    """Run small kernels in a process of their own, with a cache in a folder."""

    def started(code: str = SCRIPT, **environment: str) -> subprocess.CompletedProcess[str]:
        script = tmp_path / "two_kernels.py"
        script.write_text(code)
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        code = "import numba; numba.config.reload_config()\n" + code
        return run(code, tmp_path, name=str(script), **(cache | environment))

    return started


def test_a_truncated_cache_is_replaced_and_said_once(run_kernels: Kernels, tmp_path: Path) -> None:
    assert run_kernels().stdout == "21.0 0\n"
    for suffix in (".nbi", ".nbc"):
        assert run_kernels().stdout == "21.0 1\n"
        files = list((tmp_path / "cache").rglob(f"*{suffix}"))
        assert len(files) == 2
        for file in files:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        repaired = run_kernels()
        assert (repaired.returncode, repaired.stdout) == (0, "21.0 0\n")
        assert repaired.stderr.count("RuntimeWarning") == 1
        assert "is damaged" in repaired.stderr
    after = run_kernels()
    assert (after.stdout, after.stderr) == ("21.0 1\n", "")


def test_code_of_another_signature_is_not_used(run_kernels: Kernels, tmp_path: Path) -> None:
    """Two processes that compile one kernel for two types may give both the same file."""
    code = SCRIPT.replace("double(3.0) + triple(5.0)", "double(3.0), double(2 + 3j)")
    assert run_kernels(code).stdout == "6.0 (4+6j) 0\n"
    assert run_kernels(code).stdout == "6.0 (4+6j) 2\n"
    first, second = sorted((tmp_path / "cache").rglob("*.nbc"))
    other = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(other)
    repaired = run_kernels(code)
    assert (repaired.stdout, repaired.stderr) == ("6.0 (4+6j) 0\n", "")
    assert run_kernels(code).stdout == "6.0 (4+6j) 2\n"


@pytest.mark.parametrize("first", ["quarter(8.0), half(8.0)", "half(8.0), quarter(8.0)"])
def test_a_function_is_called_by_kernels_and_from_python(
    run_kernels: Kernels, tmp_path: Path, first: str
) -> None:
    """For kernels it is compiled by itself, without what only a call from Python needs."""
    code = (
        "from sarheight_kernels._numba import njit\n"
        "@njit\n"
        "def half(value):\n"
        "    return 0.5 * value\n"
        "@njit\n"
        "def quarter(value):\n"
        "    return half(half(value))\n"
        f"print(sorted([{first}]), len(half.signatures))\n"
    )
    for _ in range(2):
        done = run_kernels(code)
        assert (done.stdout, done.stderr) == ("[2.0, 4.0] 1\n", "")
    names = {file.name.split("-")[0] for file in (tmp_path / "cache").rglob("*.nbc")}
    assert names == {"two_kernels.half", "two_kernels.half.bitcode", "two_kernels.quarter"}


def test_kernels_run_from_a_temporary_cache_where_no_folder_can_be_written(
    run_kernels: Kernels, tmp_path: Path
) -> None:
    """A file in the place of each folder stops the superuser as well."""
    for name in ("cache", "home", "__pycache__"):
        (tmp_path / name).write_text("no folder")
    (tmp_path / "temporary").mkdir()
    done = run_kernels(
        HOME=str(tmp_path / "home"),
        XDG_CACHE_HOME=str(tmp_path / "home"),
        TMPDIR=str(tmp_path / "temporary"),
    )
    assert done.stdout == "21.0 0\n", done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    assert "NUMBA_CACHE_DIR" in done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("outer", ["last(values)", "first_of(values) + last(values)"])
def test_an_error_in_a_function_that_a_kernel_calls_is_told(
    run_kernels: Kernels, outer: str
) -> None:
    """Such a function has no machine code of its own: when it is compiled, and from the cache."""
    code = (
        "import numpy as np\n"
        "from sarheight_kernels._numba import njit\n"
        "@njit\n"
        "def last(values):\n"
        "    return values[values.size]\n"
        "@njit\n"
        "def first_of(values):\n"
        "    return values[np.empty(3).size]\n"
        "@njit\n"
        "def outer(values):\n"
        f"    return {outer}\n"
        "try:\n"
        "    outer(np.ones(4)[:3])\n"
        "except IndexError as error:\n"
        "    print(error, sum(outer.stats.cache_hits.values()))\n"
    )
    for hits in (0, 1):
        done = run_kernels(code, NUMBA_BOUNDSCHECK="1")
        assert (done.stdout, done.stderr) == (f"index is out of bounds {hits}\n", "")


def test_only_kernels_that_python_calls_have_machine_code(run_kernels: Kernels) -> None:
    """That of what they call is made with theirs."""
    code = (
        "from numba.core.codegen import JITCodeLibrary\n"
        "made, add = [], JITCodeLibrary._finalize_specific\n"
        "def added(self):\n"
        "    made.append(self.name)\n"
        "    add(self)\n"
        "JITCodeLibrary._finalize_specific = added\n"
        "from sarheight_kernels._numba import njit\n"
        "@njit\n"
        "def half(value):\n"
        "    return 0.5 * value\n"
        "@njit\n"
        "def quarter(value):\n"
        "    return half(half(value))\n"
        "@njit\n"
        "def eighth(value):\n"
        "    return half(quarter(value))\n"
        "print(eighth(8.0), *made)\n"
    )
    for _ in range(2):
        done = run_kernels(code)
        assert (done.stdout, done.stderr) == ("1.0 eighth\n", "")


def test_a_decorated_kernel_keeps_its_name_and_documentation() -> None:
    assert quotient.__name__ == "quotient"
    assert isinstance(quotient, numba.core.dispatcher.Dispatcher)


def test_arrays_are_borrowed_by_kernels_that_return_none_of_them() -> None:
    """No reference is counted, and none is lost."""
    kernel: Any = njit(alternating_total.py_func)  # type: ignore[attr-defined]
    kernel._cache = NullCache()  # LLVM's code is not kept in a cache
    first, second = np.arange(5.0), np.arange(6.0)
    before = sys.getrefcount(first), sys.getrefcount(second)
    for _ in range(100):
        assert kernel(Pair(first, 2.0, (second, 3.0)), 2) == 3.0 * 15.0 + 2.0 * 10.0
    assert (sys.getrefcount(first), sys.getrefcount(second)) == before
    (code,) = kernel.inspect_llvm().values()
    body = code[code.index("define") : code.index("define", code.index("define") + 1)]
    assert "NRT_incref" not in body


def test_an_array_that_is_returned_keeps_its_memory() -> None:
    parts = [without_first(np.full(1000, float(k))) for k in range(50)]
    gc.collect()
    others = [np.full(1000, -1.0) for _ in range(50)]
    assert [part.sum() for part in parts] == [999.0 * k for k in range(50)]
    assert len(others) == 50
