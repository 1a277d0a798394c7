"""A server, settings that fail quickly, and downloads from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from sarheight.fetch import Settings, download_file
from tests.servers import Site, alone, running

Get: TypeAlias = Callable[..., bytes]
"""Downloads an address as `file` in the folder of the test, and returns its bytes."""


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as server:
        yield server


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    return alone(monkeypatch, tmp_path)


@pytest.fixture
def get(quick: Settings, tmp_path: Path) -> Get:
    def download(url: str, **options: Any) -> bytes:  # noqa: ANN401
        path = download_file(url, tmp_path / "file", **{"settings": quick} | options)
        return path.read_bytes()

    return download
