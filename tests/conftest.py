"""What the tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.programs import Run, nursery

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

ANNOTATIONS = (
    "alps_20210401/s1b-iw-grd-vv-20210401t052623-20210401t052648-026269-032297-001.xml.xz",
    "alps_20210401/s1b-iw1-slc-vv-20210401t052624-20210401t052649-026269-032297-004.xml.xz",
    "morocco_20230904/s1a-iw1-slc-vv-20230904t063731-20230904t063756-050174-0609e3-004.xml.xz",
    "morocco_20230904/s1a-iw1-slc-vv-20230916t063731-20230916t063756-050349-060fcd-004.xml.xz",
    "morocco_20230904/s1a-iw2-slc-vv-20230904t063732-20230904t063757-050174-0609e3-005.xml.xz",
    "socal/s1a-iw2-slc-vv-20221016t015044-20221016t015109-045461-056fc0-005.xml.xz",
    "socal/s1a-iw2-slc-vv-20230108t135251-20230108t135316-046693-0598d3-005.xml.xz",
)
"""Every Sentinel-1 annotation among the real data, in its folder ``sentinel1``."""


def one_thread_of_torch() -> None:
    """Keep torch to one thread: test processes share the cores, and would wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_collection_finish() -> None:
    """Before fixtures of modules work with networks."""
    one_thread_of_torch()


@pytest.fixture(autouse=True)
def _one_thread_of_torch() -> None:
    """Before each test: kernels of Numba that have run give torch theirs, through OpenMP."""
    one_thread_of_torch()


def shared_data(*parts: str) -> Path:
    """Return the path of real data, or skip the test where there is none."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs real data that is not here: {'/'.join(parts)}")
    return path


@pytest.fixture(scope="session")
def _loaded() -> Iterator[Run]:
    libraries = "dask.array, distributed, netCDF4, rioxarray, sarheight.cli, scipy.ndimage, zarr"
    rooms = "archives, coregistration, layover, output.files, sentinel1, workflow.reconstruction"
    names = (f"sarheight.{room}" for room in rooms.split(", "))
    with nursery(f"import {libraries}, {', '.join(names)}") as run:
        yield run


@pytest.fixture
def start(_loaded: Run) -> Run:
    """Run programs in processes that have loaded the libraries."""
    return _loaded


@pytest.fixture(scope="module")
def _forked_jobs(_loaded: Run) -> Iterator[None]:
    """Have batches fork the process of each job from one that has loaded the libraries."""
    from sarheight.workflow import batch

    def run(arguments: list[str], *, input: str, **_: Any) -> Any:  # noqa: A002, ANN401
        assert arguments[:3] == [sys.executable, "-m", "sarheight"]
        main = "from sarheight.cli import main; main()"
        return _loaded(main, Path.cwd(), *arguments[3:], given=input)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "subprocess", SimpleNamespace(run=run))
        yield
