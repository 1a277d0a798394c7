"""The same parts on threads, processes and a cluster, and with a worker that dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

from sarheight.layover import Reallocation, reconstruct
from sarheight.layover.tiles import TilePlanner
from sarheight.output import open_result, write
from sarheight.product import open_product
from sarheight.scene import Scene
from tests.mountains import LAW, mountain, raster, scene_of
from tests.worlds.products import NAME, write_product

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain(100, 110))


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray) -> Scene:
    return scene_of(dem, lines=300, samples=400)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TilePlanner, "sides", lambda *_: (60, 60))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Start two worker processes on this machine."""
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as running,
    ):
        yield running


def stored(scene: Scene, dem: xr.DataArray, folder: Path) -> tuple[Scene, xr.DataArray]:
    """Keep image and DEM in Zarr stores, and open them lazily."""
    image = scene.image.drop_attrs().rename("image").chunk(line=100, sample=100)
    image.to_dataset().to_zarr(folder / "image.zarr", zarr_format=2, consolidated=True)
    heights = dem.rename("heights").chunk(y=50, x=50)
    heights.to_dataset().to_zarr(folder / "dem.zarr", zarr_format=2, consolidated=True)
    opened = xr.open_zarr(folder / "image.zarr")["image"]
    ground = xr.open_zarr(folder / "dem.zarr", decode_coords="all")["heights"]
    return replace(scene, image=opened), ground


def assert_identical(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Compare all bits."""
    for name, variable in expected.data_vars.items():
        assert_array_equal(found[name].values, variable.values)


@pytest.fixture(scope="module")
def expected(dem: xr.DataArray, scene: Scene) -> xr.Dataset:
    """Reconstruct one part after the other, by one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TilePlanner, "sides", lambda *_: (60, 60))
        lazy = replace(scene, image=scene.image.chunk(line=100))
        with dask.config.set(scheduler="synchronous"):
            return reconstruct(lazy, dem, law=LAW, method=Reallocation()).compute()


def test_threads_give_the_same_bits(dem: xr.DataArray, scene: Scene, expected: xr.Dataset) -> None:
    lazy = replace(scene, image=scene.image.chunk(line=100))
    with dask.config.set(scheduler="threads", num_workers=5):
        found = reconstruct(lazy, dem, law=LAW, method=Reallocation())
        assert found.gamma0.data.npartitions == 4
        assert_identical(found.compute(), expected)


def test_a_cluster_gives_the_same_bits(
    dem: xr.DataArray, scene: Scene, expected: xr.Dataset, cluster: Any, tmp_path: Path  # noqa: ANN401
) -> None:  # fmt: skip
    image, heights = stored(scene, dem, tmp_path)
    with distributed.Client(cluster):
        found = reconstruct(image, heights, law=LAW, method=Reallocation())
        path = write(found, tmp_path / "result.zarr")
    assert_identical(open_result(path), expected)


def test_from_a_product_to_layers_on_a_cluster_gives_the_same_bits(
    dem: xr.DataArray, scene: Scene, cluster: Any, tmp_path: Path  # noqa: ANN401
) -> None:  # fmt: skip
    """The whole job: two worker processes read the zip, and all statistics are estimated."""
    named = scene.image.expand_dims(polarisation=["VV"])
    both = xr.concat([named, 0.2 * named.assign_coords(polarisation=["VH"])], "polarisation")
    archive = write_product(
        replace(scene, image=both.fillna(0.0).drop_attrs(), calibration="beta0"),
        tmp_path / f"{NAME}.zip",
    )
    write(dem.rename("height").to_dataset(), tmp_path / "dem.tif")

    def job(folder: Path) -> xr.Dataset:
        heights = open_result(tmp_path / "dem.tif", chunks=50)["height"]
        result = reconstruct(open_product(archive).scene(), heights, variables="main")
        assert result["gamma0"].data.npartitions == 4
        return open_result(write(result, folder))

    expected = job(tmp_path / "threads")
    with distributed.Client(cluster):
        found = job(tmp_path / "cluster")
    assert_identical(found, expected)
    assert found.attrs["rcs_cells"] == expected.attrs["rcs_cells"]
    assert np.isfinite(found["gamma0"].values).mean() > 0.5


@pytest.mark.slow
def test_a_worker_that_dies_costs_time_only(
    dem: xr.DataArray, scene: Scene, cluster: Any, tmp_path: Path  # noqa: ANN401
) -> None:  # fmt: skip
    image, heights = stored(scene, dem, tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TilePlanner, "sides", lambda *_: (12, 14))
        whole = reconstruct(scene, dem, law=LAW, method=Reallocation())
        with distributed.Client(cluster) as client:
            victim, *_ = client.run(os.getpid).values()

            def kill() -> None:
                time.sleep(2.0)
                os.kill(victim, signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            found = reconstruct(image, heights, law=LAW, method=Reallocation()).compute()
            killer.join()
            assert victim not in client.run(os.getpid).values()
    for name, variable in whole.data_vars.items():
        np.testing.assert_allclose(found[name].values, variable.values, rtol=2e-6, atol=1e-6)


@pytest.mark.slow
def test_processes_give_the_same_bits(
    dem: xr.DataArray, scene: Scene, expected: xr.Dataset
) -> None:
    lazy = replace(scene, image=scene.image.chunk(line=100))
    with dask.config.set(scheduler="processes", num_workers=2):
        found = reconstruct(lazy, dem, law=LAW, method=Reallocation()).compute()
    assert_identical(found, expected)
