"""Reconstructions side by side: in threads, in tasks of dask, and after a fork."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import pytest
from sarheight_kernels.pool import limit_threads

from sarheight.layover import reconstruct
from tests.layover.test_reconstruct import digest
from tests.mountains import mountain, raster, scene_of
from tests.programs import printed_by_script

SIDE = 4
"""Calls at once."""


def reconstructed(_: object = None) -> str:
    """Checksum of the default reconstruction of a mountain."""
    dem = raster(mountain())
    return digest(reconstruct(scene_of(dem), dem))


@pytest.fixture(scope="module")
def expected() -> str:
    with limit_threads(1):
        return reconstructed()


def test_threads_may_reconstruct_at_once(expected: str) -> None:
    with limit_threads(2), ThreadPoolExecutor(SIDE) as callers:
        assert list(callers.map(reconstructed, range(SIDE))) == [expected] * SIDE


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_tasks_of_dask_may_reconstruct(expected: str, scheduler: str) -> None:
    tasks = [dask.delayed(reconstructed)() for _ in range(SIDE)]
    with limit_threads(2), dask.config.set(scheduler=scheduler, num_workers=SIDE):
        assert dask.compute(*tasks) == (expected,) * SIDE


FORKED = """
import multiprocessing, os, warnings
from concurrent.futures import ProcessPoolExecutor
from tests.layover.test_threads import reconstructed
warnings.filterwarnings("ignore", "This process", DeprecationWarning)

if __name__ == "__main__":
    expected = reconstructed()
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        assert list(pool.map(reconstructed, range(2))) == [expected] * 2
    child = os.fork()
    if not child:
        os._exit(0 if reconstructed() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    print(expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_children_may_reconstruct_after_their_parent(expected: str, tmp_path: Path) -> None:
    assert printed_by_script(FORKED, tmp_path, SARHEIGHT_THREADS="2").strip() == expected
