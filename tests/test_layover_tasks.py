"""What tasks load, and how much is kept of it."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dask.array
import numba
import numpy as np
import pytest
from rasterio.env import get_gdal_config, local

from sarheight.layover._tasks import FILE_CACHE, load, one_at_a_time


def test_gdal_keeps_no_more_of_files_than_it_may() -> None:
    """By itself it would keep a part of the machine's memory."""
    found: list[object] = []

    def block(values: np.ndarray) -> np.ndarray:
        found.append(get_gdal_config("GDAL_CACHEMAX"))
        return values

    lazy = dask.array.ones((6, 4), chunks=(3, 4)).map_blocks(block, meta=np.empty((0, 0)))
    before = local._env
    np.testing.assert_array_equal(load(lazy), 1.0)
    np.testing.assert_array_equal(load(lazy, 3 << 20), 1.0)
    assert found == [FILE_CACHE] * 2 + [3 << 20] * 2
    assert local._env is before


def test_what_is_in_memory_is_not_copied() -> None:
    values = np.ones((2, 3))
    assert load(values) is values


def test_what_is_lazy_comes_whole() -> None:
    values = np.arange(70.0).reshape(7, 10)
    lazy = dask.array.from_array(values, chunks=(3, 4))[1:6, 2:9].rechunk((2, 7))
    loaded = load(lazy)
    np.testing.assert_array_equal(loaded, values[1:6, 2:9])
    assert loaded.flags.c_contiguous
    assert loaded.flags.writeable


def test_one_task_works_while_another_one_reads() -> None:
    """A task reads while the first one works; a third waits, as no more is to be in memory."""
    state: Counter[str] = Counter()
    most: Counter[str] = Counter()
    changed, both = threading.Lock(), threading.Event()
    workers = set()

    def enter(what: str, by: int) -> None:
        with changed:
            state[what] += by
            for each in ("reading", "working", "in memory"):
                most[each] = max(most[each], state[each])
            if state["reading"] and state["working"]:
                both.set()

    def read() -> int:
        enter("in memory", 1)
        enter("reading", 1)
        # The first to read has no one beside it; each later one can wait for the work of another.
        both.wait(0.02)
        enter("reading", -1)
        return 3

    def work(given: int) -> int:
        enter("working", 1)
        workers.add(threading.get_ident())
        both.wait(20.0)
        enter("working", -1)
        enter("in memory", -1)
        return 2 * given

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(one_at_a_time, read, work) for _ in range(12)]
        assert [each.result() for each in done] == [6] * 12
    assert both.is_set()
    assert most == {"reading": 1, "working": 1, "in memory": 2}
    assert len(workers) == 1
    assert threading.get_ident() not in workers


def test_what_is_read_may_be_the_work_of_other_tasks() -> None:
    def chain(length: int) -> int:
        return one_at_a_time(lambda: chain(length - 1) if length else 0, lambda given: given + 1)

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(chain, 3) for _ in range(4)]
        assert [each.result(20.0) for each in done] == [4] * 4


def test_a_task_that_fails_lets_the_next_one_go_on() -> None:
    def fail(_: object = None) -> int:
        msg = "broken"
        raise OSError(msg)

    for read, work in ((fail, int), (int, fail)):
        with pytest.raises(OSError, match="broken"):
            one_at_a_time(read, work)
    assert one_at_a_time(int, lambda given: given + 1) == 1


def test_work_takes_no_more_threads_than_its_caller() -> None:
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert one_at_a_time(int, lambda _: numba.get_num_threads()) == 1
    finally:
        numba.set_num_threads(before)
    assert one_at_a_time(int, lambda _: numba.get_num_threads()) == before
