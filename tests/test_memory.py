"""Memory of large arrays: never shared by two, kept within bounds, given back when asked."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sarheight import memory
from sarheight.memory import GRANULE, HUGE_PAGE, LEAST, empty, empty_like, keep_at_most, kept_bytes

MEBIBYTE = 1 << 20

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or memory._MEMORY.arena is None,
    reason="memory is kept on Linux only, where addresses are not limited",
)


@pytest.fixture(autouse=True)
def _from_nothing() -> Iterator[None]:
    gc.collect()
    memory.release()
    limit = memory._MEMORY.arena.limit  # type: ignore[union-attr]
    yield
    keep_at_most(limit)


def _address(array: np.ndarray) -> int:
    return array.ctypes.data


def _resident() -> int:
    """Bytes of this process that are in memory."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_an_array_is_as_numpy_makes_it() -> None:
    for shape, kind in (((3, 400_000), np.float32), ((700, 900), np.float64), (5 << 20, np.uint8)):
        array, usual = empty(shape, kind), np.empty(shape, kind)
        assert (array.shape, array.dtype, array.strides) == (
            usual.shape,
            usual.dtype,
            usual.strides,
        )
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.flags.aligned
        assert empty_like(array).shape == array.shape
    assert empty((0, 5)).shape == (0, 5)


def test_the_base_of_a_view_counts_the_same_values() -> None:
    """SciPy copies an array whose base has more than twice as many."""
    array = empty((500, 1000), np.float64)[:400]
    assert isinstance(array.base, np.ndarray)
    assert array.base.dtype == array.dtype
    assert array.base.size == 500_000


def test_memory_is_used_again_once_no_view_is_left() -> None:
    array = empty((4, LEAST), np.uint8)
    place, view = _address(array), array[2, 5:]
    view[:] = 7
    del array
    other = empty((4, LEAST), np.uint8)
    assert _address(other) != place
    assert (view == 7).all()
    del view
    assert _address(empty((4, LEAST), np.uint8)) == place


@settings(deadline=None, max_examples=40)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 5), st.integers(LEAST, 9 * MEBIBYTE)), min_size=1, max_size=30
    )
)
def test_arrays_in_use_share_nothing_and_all_comes_back(steps: list[tuple[int, int]]) -> None:
    arena = memory._MEMORY.arena
    assert arena is not None
    gc.collect()
    before = sum(part.end - part.start for part in arena._free)
    held: dict[int, np.ndarray] = {}
    for slot, size in steps:
        held.pop(slot, None)
        array = empty(size, np.uint8)
        array[:: GRANULE // 2] = slot
        array[-1] = slot
        held[slot] = array
        for name, each in held.items():
            assert (each[:: GRANULE // 2] == name).all()
            assert each[-1] == name
        ranges = sorted((_address(each), _address(each) + each.size) for each in held.values())
        assert all(one[1] <= two[0] for one, two in pairwise(ranges))
        starts = [part.start for part in arena._free]
        assert starts == sorted(starts)
        assert all(0 <= part.kept <= part.end - part.start for part in arena._free)
    held.clear()
    del array, each
    assert sum(part.end - part.start for part in arena._free) == before


def test_what_is_kept_costs_no_page_faults() -> None:
    import resource

    def faults_of_writing() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        empty(64 * MEBIBYTE, np.uint8)[:] = 1
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    first = faults_of_writing()
    again = min(faults_of_writing() for _ in range(3))
    # 32 huge pages at least; the system may have taken back some of them meanwhile.
    assert first >= 64 * MEBIBYTE // HUGE_PAGE
    assert again <= first // 2


def test_no_more_is_kept_than_is_allowed() -> None:
    keep_at_most("20 MiB")
    arrays = [empty(8 * MEBIBYTE, np.uint8) for _ in range(4)]
    del arrays[:]
    assert kept_bytes() <= 20 * MEBIBYTE
    keep_at_most(0)
    assert kept_bytes() == 0
    empty(8 * MEBIBYTE, np.uint8)[:] = 1
    assert kept_bytes() == 0


def test_release_gives_memory_back_to_the_system() -> None:
    array = empty(128 * MEBIBYTE, np.uint8)
    array[:] = 1
    del array
    assert kept_bytes() >= 128 * MEBIBYTE
    before = _resident()
    memory.release()
    assert kept_bytes() == 0
    assert _resident() < before - 100 * MEBIBYTE


def test_many_threads_take_and_return_at_once() -> None:
    wrong: list[int] = []

    def work(number: int) -> None:
        random = np.random.default_rng(number)
        for _ in range(60):
            array = empty(int(random.integers(LEAST, 3 * MEBIBYTE)), np.uint8)
            array[::4096] = number
            if not (array[::4096] == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_array_beyond_the_reserved_addresses_is_numpys_own() -> None:
    arena = memory._MEMORY.arena
    assert arena is not None
    assert arena.array(np.dtype(np.float64), 1 << 50) is None


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_process_goes_on_by_itself() -> None:
    array = empty(4 * MEBIBYTE, np.uint8)
    array[:] = 1
    child = os.fork()
    if child == 0:
        own = empty(4 * MEBIBYTE, np.uint8)
        own[:] = 2
        array[:] = 3
        os._exit(0 if (own == 2).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (array == 1).all()


@pytest.mark.parametrize("limit", [-1, "many", float("inf"), float("nan")])
def test_a_limit_that_is_no_number_of_bytes_is_refused(limit: float | str) -> None:
    with pytest.raises(ValueError, match=r"bytes|many"):
        keep_at_most(limit)
