"""Memory that is freed goes back to the system when it is short."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sarheight.layover import _tasks as tasks
from sarheight.layover._tasks import release_memory

if TYPE_CHECKING:
    from pathlib import Path

BLOCK, BLOCKS = 64 << 10, 3000


def freed() -> object:
    """Take 190 MB, and free all but the last piece, which keeps the C library from letting go."""
    taken = [bytes([index % 255 + 1]) * BLOCK for index in range(BLOCKS)]
    return taken.pop()


@pytest.mark.skipif(tasks._malloc_trim() is None, reason="the C library cannot give memory back")
def test_freed_memory_is_given_back_where_it_is_short() -> None:
    kept = freed()
    before = tasks._held_bytes()
    release_memory(1e6, before + 1e9)
    assert tasks._held_bytes() > before - (8 << 20), "there was room enough"
    release_memory(1e9, before + 1e6)
    assert tasks._held_bytes() < before - BLOCK * BLOCKS // 2
    assert kept is not None


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    tasks._malloc_trim.cache_clear()
    assert tasks._malloc_trim() is None
    tasks._trim_heap()
    tasks._malloc_trim.cache_clear()


def test_a_system_that_does_not_tell_is_believed_to_hold_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[None] = []
    monkeypatch.setattr(tasks, "_trim_heap", lambda: given.append(None))
    monkeypatch.setattr(tasks, "STATUS", tmp_path / "none")
    release_memory(1.0, 2.0)
    assert not given
    release_memory(3.0, 2.0)
    assert given
