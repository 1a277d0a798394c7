"""Fixtures of the tests of reconstruction."""

from __future__ import annotations

import pytest

from sarheight.layover import tiles


@pytest.fixture(autouse=True)
def parts_as_small_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory limits be smaller than what Python and its libraries take."""
    monkeypatch.setattr(tiles, "PROCESS_BYTES", 0)
