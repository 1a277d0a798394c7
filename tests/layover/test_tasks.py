"""What tasks load, and how much is kept of it."""

from __future__ import annotations

import ctypes
import pickle
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import dask.array
import numpy as np
import pytest
import xarray as xr
from rasterio.env import get_gdal_config, local
from sarheight_kernels.pool import limit_threads, thread_count

from sarheight import _runtime
from sarheight._files import scratch_folder
from sarheight.layover import _tasks as tasks
from sarheight.layover import reconstruct
from sarheight.layover._tasks import FILE_CACHE, Shelf, load, one_at_a_time, release_memory
from sarheight.scene import Scene


def test_gdal_keeps_no_more_of_files_than_it_may() -> None:
    """By itself it would keep a part of the machine's memory."""
    found: list[object] = []

    def block(values: np.ndarray) -> np.ndarray:
        found.append(get_gdal_config("GDAL_CACHEMAX"))
        return values

    lazy = dask.array.ones((6, 4), chunks=(3, 4)).map_blocks(block, meta=np.empty((0, 0)))

    def work() -> object:
        assert local._env is None
        np.testing.assert_array_equal(load(lazy), 1.0)
        np.testing.assert_array_equal(load(lazy, 3 << 20), 1.0)
        return local._env

    # A thread of its own has no environment of GDAL yet, whatever was opened before; none stays.
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(work).result() is None
    assert found == [FILE_CACHE] * 2 + [3 << 20] * 2


def test_what_is_lazy_comes_whole_and_what_is_in_memory_is_not_copied() -> None:
    values = np.arange(70.0).reshape(7, 10)
    assert load(values) is values
    loaded = load(dask.array.from_array(values, chunks=(3, 4))[1:6, 2:9].rechunk((2, 7)))
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


def test_kernels_of_a_task_of_dask_take_all_threads() -> None:
    def threads() -> int:
        return one_at_a_time(int, lambda _: thread_count())

    with limit_threads(3):
        assert threads() == 3
        assert dask.delayed(threads)().compute(scheduler="threads") == 3


# Arrays that wait in a scratch file.


def test_a_shelf_gives_back_what_it_was_given() -> None:
    random = np.random.default_rng(0)
    shelf = Shelf(1 << 20)
    groups = [
        {"a": random.random((3, 40, 50)).astype(np.float32), "b": np.arange(7, dtype=np.uint8)},
        {"a": random.random((2, 5))},
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: shelf.save(index, groups[index % 2 :]), range(8)))
        found = list(pool.map(shelf.load, range(8)))
    for index, loaded in enumerate(found):
        assert loaded is not None
        for expected, group in zip(groups[index % 2 :], loaded, strict=True):
            assert set(group) == set(expected)
            for name, array in expected.items():
                assert group[name].dtype == array.dtype
                np.testing.assert_array_equal(group[name], array)
    assert shelf.load(99) is None
    other = pickle.loads(pickle.dumps(shelf))  # noqa: S301  # our own
    assert not other.is_open
    assert other.load(0) is None


def test_a_full_disk_empties_a_shelf(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, place: int) -> None:
            pass

        def write(self, _: object) -> None:
            msg = "no space left"
            raise OSError(28, msg)

        def close(self) -> None:
            pass

    monkeypatch.setattr(tasks, "unnamed_file", lambda *_: Full())
    shelf = Shelf(100)
    shelf.save(0, [{"a": np.ones(3)}])
    assert not shelf.is_open
    assert shelf.load(0) is None


def test_without_room_there_is_no_scratch_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert scratch_folder(1000) == tmp_path
    assert scratch_folder(1 << 60) is None
    assert not Shelf(1 << 60).is_open


# Memory that is freed goes back to the system when it is short.

BLOCK, BLOCKS = 64 << 10, 3000


def freed() -> object:
    """Take 190 MB, and free all but the last piece, which keeps the C library from letting go."""
    taken = [bytes([index % 255 + 1]) * BLOCK for index in range(BLOCKS)]
    return taken.pop()


@pytest.mark.skipif(_runtime.malloc_trim() is None, reason="the C library cannot give memory back")
def test_freed_memory_is_given_back_where_it_is_short() -> None:
    kept = freed()
    before = tasks._held_bytes()
    release_memory(1e6, before + 1e9)
    assert tasks._held_bytes() > before - (8 << 20), "there was room enough"
    release_memory(1e9, before + 1e6)
    assert tasks._held_bytes() < before - BLOCK * BLOCKS // 2
    assert kept is not None


def test_memory_is_given_back_for_lazy_scenes_alone(
    monkeypatch: pytest.MonkeyPatch, scene: Scene, dem: xr.DataArray
) -> None:
    """What is in memory has no limit, and takes the same memory again at once."""
    given: list[None] = []
    monkeypatch.setattr(tasks, "return_freed_memory", lambda: given.append(None))
    monkeypatch.setattr(tasks, "_held_bytes", lambda: 1 << 60)
    reconstruct(scene, dem)
    assert not given
    lazy = replace(scene, image=scene.image.chunk(line=64))
    reconstruct(lazy, dem)["gamma0"].compute()
    assert given


def test_a_system_that_does_not_tell_is_believed_to_hold_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[None] = []
    monkeypatch.setattr(tasks, "return_freed_memory", lambda: given.append(None))
    monkeypatch.setattr(tasks, "STATUS", tmp_path / "none")
    release_memory(1.0, 2.0)
    assert not given
    release_memory(3.0, 2.0)
    assert given
    # Other C libraries are left alone.
    monkeypatch.undo()
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    _runtime.malloc_trim.cache_clear()
    assert _runtime.malloc_trim() is None
    _runtime.return_freed_memory()
    _runtime.malloc_trim.cache_clear()
