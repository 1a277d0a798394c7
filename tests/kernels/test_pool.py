"""The pool of threads: parts, errors, forks, tasks of dask, and callers side by side."""

from __future__ import annotations

import inspect
import os
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels import pool as pools
from sarheight_kernels._numba import njit
from sarheight_kernels.estimation import pool as pool_values
from sarheight_kernels.pool import (
    MOST_THREADS,
    limit_threads,
    spread,
    spread_over,
    spread_rows,
    thread_count,
)

from tests.programs import printed_by_script

ROWS, COLUMNS = 301, 211


@spread_over("values")
@njit
def row_totals(
    begin: int, end: int, values: NDArray[np.float64], result: NDArray[np.float64]
) -> None:
    """Sum sines along rows."""
    for row in range(begin, end):
        for column in range(values.shape[1]):
            result[row] += np.sin(values[row, column]) * values[row, column] / 3.0


def drawn() -> NDArray[np.float64]:
    return np.random.default_rng(1).normal(size=(ROWS, COLUMNS))


def totals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.zeros(values.shape[0])
    row_totals(values, result)
    return result


def used_threads(count: int = 64) -> int:
    """Count the threads that work where each part takes a while."""
    seen: set[int] = set()

    def work(_begin: int, _end: int) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.002)

    spread(work, count)
    return len(seen)


# Parts.


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(40, 30), (301, 211), (2, 301, 211)])
def test_elementwise_work_is_the_same_by_parts_of_rows(
    threads: int, shape: tuple[int, ...]
) -> None:
    first, second = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    with limit_threads(threads):
        found = spread_rows(lambda a, b: np.where(a > b, np.exp(a), b), first, second)
    np.testing.assert_array_equal(found, np.where(first > second, np.exp(first), second))
    assert found.dtype == np.float32


@given(count=st.integers(0, 200), block=st.integers(1, 20), threads=st.integers(1, 6))
def test_parts_cover_each_iteration_once(count: int, block: int, threads: int) -> None:
    done: list[tuple[int, int]] = []
    with limit_threads(threads):
        spread(lambda begin, end: done.append((begin, end)), count, block)
    assert [i for begin, end in sorted(done) for i in range(begin, end)] == list(range(count))
    assert all(begin % block == 0 for begin, _ in done)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_the_number_of_threads_does_not_change_a_bit(threads: int) -> None:
    values, kernel = drawn(), np.hanning(9).astype(np.float32)[1:-1]
    image = values.astype(np.float32)

    def pooled() -> NDArray[np.float32]:
        result = np.empty_like(image)
        pool_values(image, np.ones_like(image), kernel, kernel, result)
        return result

    with limit_threads(1):
        expected = totals(values), pooled()
    with limit_threads(threads):
        found = totals(values), pooled()
    assert [each.tobytes() for each in found] == [each.tobytes() for each in expected]


def test_each_thread_works() -> None:
    with limit_threads(3):
        assert used_threads() == 3
    with limit_threads(1):
        assert used_threads() == 1


def test_a_small_call_stays_in_its_thread() -> None:
    seen: list[int] = []

    @spread_over("values")
    def kernel(_begin: int, _end: int, values: NDArray[np.float64]) -> None:
        seen.append(threading.get_ident())
        values[_begin:_end] = 1.0

    with limit_threads(2):
        kernel(np.empty((10, 10)))
    assert seen == [threading.get_ident()]


def test_a_function_of_a_kernel_takes_what_the_kernel_takes_besides() -> None:
    assert list(inspect.signature(row_totals).parameters) == ["values", "result"]
    assert row_totals.__doc__ == "Sum sines along rows."


# Callers side by side, and within one another.


def test_several_threads_may_call_at_once() -> None:
    values = [drawn() + shift for shift in range(8)]
    expected = [totals(each) for each in values]
    with limit_threads(2), ThreadPoolExecutor(4) as callers:
        for _ in range(5):
            for found, known in zip(callers.map(totals, values), expected, strict=True):
                np.testing.assert_array_equal(found, known)


def test_a_part_may_spread_work_of_its_own() -> None:
    done = np.zeros((12, 40), np.int64)

    def outer(begin: int, end: int) -> None:
        def inner(first: int, last: int) -> None:
            done[begin:end, first:last] += 1

        spread(inner, done.shape[1])

    with limit_threads(3):
        spread(outer, done.shape[0])
    assert (done == 1).all()


# Errors.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, IndexError])
@pytest.mark.parametrize("where", ["caller", "helper"])
def test_an_error_ends_the_call_once_no_part_runs(error: type[BaseException], where: str) -> None:
    running, done = [0], []

    def work(begin: int, _end: int) -> None:
        running[0] += 1
        try:
            time.sleep(0.01)
            here = threading.current_thread() is threading.main_thread()
            if here == (where == "caller"):
                raise error(begin)
            done.append(begin)
        finally:
            running[0] -= 1

    with limit_threads(2), pytest.raises(error):
        spread(work, 1000)
    assert running == [0]
    assert len(done) < 10
    with limit_threads(2):
        np.testing.assert_array_equal(totals(drawn()), totals(drawn()))


def test_a_call_leaves_no_arrays_in_the_queue() -> None:
    """Those of its work, while the threads of the pool are busy with that of others."""
    gate, values = threading.Event(), np.ones(100)
    kept = weakref.ref(values)
    own = pools._pool
    busy = own.start(gate.wait, max(own._size, 1))  # type: ignore[arg-type]
    try:
        with limit_threads(2):
            spread(lambda _begin, _end, _held=values: None, 8)  # type: ignore[misc]
        del values
        assert kept() is None
    finally:
        gate.set()
        for each in busy:
            each.result()


# The number of threads.


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", str(MOST_THREADS + 1)])
def test_a_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SARHEIGHT_THREADS", text)
    found = f"SARHEIGHT_THREADS is '{text}'; expected a whole number from 1 to {MOST_THREADS}"
    with pytest.raises(ValueError, match=found):
        totals(drawn())
    with pytest.raises(ValueError, match="the number of threads is '0'"), limit_threads(0):
        pass


def test_the_environment_sets_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARHEIGHT_THREADS", "3")
    assert thread_count() == used_threads() == 3
    monkeypatch.setenv("SARHEIGHT_THREADS", "")
    if hasattr(os, "sched_getaffinity"):
        assert thread_count() == len(os.sched_getaffinity(0))
    with limit_threads(5):
        assert thread_count() == 5


# Tasks of dask.


@pytest.mark.parametrize(
    ("scheduler", "threads"), [("threads", 1), ("processes", 1), ("synchronous", 3)]
)
def test_a_task_of_dask_keeps_to_its_thread(
    monkeypatch: pytest.MonkeyPatch, scheduler: str, threads: int
) -> None:
    monkeypatch.setenv("SARHEIGHT_THREADS", "3")
    tasks = [dask.delayed(used_threads)() for _ in range(3)]
    with dask.config.set(scheduler=scheduler, num_workers=2):
        assert dask.compute(*tasks) == (threads,) * 3
    assert used_threads() == 3
    # So does one in a pool of the user's, but not what has no task.
    with limit_threads(3), ThreadPoolExecutor(2) as pool, dask.config.set(pool=pool):
        assert dask.delayed(used_threads)().compute(scheduler="threads") == 1
        assert pool.submit(used_threads).result() == 3


def test_a_task_of_distributed_keeps_to_its_thread() -> None:
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False}
    with (
        limit_threads(3),
        distributed.LocalCluster(**options, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        assert client.submit(used_threads).result() == 1
        assert dask.delayed(used_threads)().compute() == 1


# Processes.

FORKS = """
import multiprocessing, os, sys, warnings
from concurrent.futures import ProcessPoolExecutor
import numpy as np
from tests.kernels.test_pool import drawn, totals, used_threads
warnings.filterwarnings("ignore", "This process", DeprecationWarning)

def work(_=None):
    return totals(drawn()).tobytes(), used_threads()

if __name__ == "__main__":
    expected = work()
    assert expected[1] == 2
    child = os.fork()
    if not child:
        os._exit(0 if work() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(work, range(4))) == [expected] * 4
    for method, count in (("fork", 2), ("forkserver", 1)):
        with multiprocessing.get_context(method).Pool(count) as pool:
            assert pool.map(work, range(4)) == [expected] * 4
    assert work() == expected
    print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_children_make_a_pool_of_their_own(tmp_path: Path) -> None:
    assert printed_by_script(FORKS, tmp_path, SARHEIGHT_THREADS="2") == "same\n"
