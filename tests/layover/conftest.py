"""Fixtures of the tests of reconstruction."""

from __future__ import annotations

import pytest
import xarray as xr

from sarheight.layover import tiles
from sarheight.scene import Scene
from tests.mountains import mountain, raster, scene_of


@pytest.fixture(scope="session")
def dem() -> xr.DataArray:
    """A mountain that folds."""
    return raster(mountain())


@pytest.fixture(scope="session")
def scene(dem: xr.DataArray) -> Scene:
    """Its image."""
    return scene_of(dem)


@pytest.fixture(scope="session")
def scenes(dem: xr.DataArray, scene: Scene) -> list[Scene]:
    """Images of an ascending and of a descending pass."""
    return [scene, scene_of(dem, ascending=False)]


@pytest.fixture(autouse=True)
def parts_as_small_as_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let memory limits be smaller than what Python and its libraries take."""
    monkeypatch.setattr(tiles, "PROCESS_BYTES", 0)
