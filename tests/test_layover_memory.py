"""Memory that is freed goes back to the system when it is short."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from sarheight.layover import _memory as memory
from sarheight.layover._memory import give_back, make_room

if TYPE_CHECKING:
    from pathlib import Path

BLOCK, BLOCKS = 64 << 10, 3000


def freed() -> object:
    """Take 190 MB, and free all but the last piece, which keeps the C library from letting go."""
    taken = [bytes([index % 255 + 1]) * BLOCK for index in range(BLOCKS)]
    return taken.pop()


@pytest.mark.skipif(memory._trim() is None, reason="the C library cannot give memory back")
def test_freed_memory_is_given_back_where_it_is_short() -> None:
    kept = freed()
    before = memory._held()
    make_room(1e6, before + 1e9)
    assert memory._held() > before - (8 << 20), "there was room enough"
    make_room(1e9, before + 1e6)
    assert memory._held() < before - BLOCK * BLOCKS // 2
    assert kept is not None


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: SimpleNamespace())
    memory._trim.cache_clear()
    assert memory._trim() is None
    give_back()
    memory._trim.cache_clear()


def test_a_system_that_does_not_tell_is_believed_to_hold_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[None] = []
    monkeypatch.setattr(memory, "give_back", lambda: given.append(None))
    monkeypatch.setattr(memory, "STATUS", tmp_path / "none")
    make_room(1.0, 2.0)
    assert not given
    make_room(3.0, 2.0)
    assert given
