"""EOPF stores of Sentinel-1: the same scenes as from the SAFE products that they were made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import zarr

from sarheight.errors import ProductError
from sarheight.output import open_result
from sarheight.product import is_product, open_product
from sarheight.scene import Scene
from sarheight.sentinel1 import Sentinel1Product
from tests.cli.commands import SEA, passing, write_dem
from tests.servers import running
from tests.synthetic import synthetic_grid
from tests.worlds.eopf_product import write_eopf
from tests.worlds.products import drawn_scene, grd_product, write_product


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Simulated products of two polarisations with thermal noise."""
    folder = tmp_path_factory.mktemp("safe")
    written = {}
    for kind in ("GRD", "SLC"):
        scenes = [drawn_scene(kind, seed) for seed in range(2)]  # type: ignore[arg-type]
        for scene, name in zip(scenes, ("VV", "VH"), strict=True):
            scene.image.coords["polarisation"] = name
        written[kind] = write_product(scenes, folder / f"{kind}.SAFE", noise=1e-3)
    return written


def assert_same_scene(found: Scene, expected: Scene) -> None:
    for field in fields(expected.grid):
        if field.name not in {"ground_range", "bistatic_range"}:
            assert getattr(found.grid, field.name) == getattr(expected.grid, field.name), field.name
    line, sample = np.meshgrid(
        np.linspace(0.0, found.grid.lines - 1, 5), np.linspace(0.0, found.grid.samples - 1, 7)
    )
    ranges = expected.grid.slant_range(line, sample)
    np.testing.assert_allclose(found.grid.slant_range(line, sample), ranges, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        found.grid.azimuth_time(line, ranges),
        expected.grid.azimuth_time(line, ranges),
        rtol=0,
        atol=1e-9,
    )
    np.testing.assert_array_equal(found.orbit.position, expected.orbit.position)
    np.testing.assert_array_equal(found.orbit.time, expected.orbit.time)
    assert found.calibration == expected.calibration
    np.testing.assert_array_equal(found.image.values, expected.image.values)
    assert np.isfinite(found.image.values).mean() > 0.5


@pytest.mark.parametrize("kind", ["GRD", "SLC"])
def test_the_scene_is_that_of_the_safe_product(
    products: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    safe = open_product(products[kind])
    path = write_eopf(products[kind], tmp_path / f"{products[kind].stem}.zarr")
    assert is_product(path)
    store = open_product(path)
    assert store.name == products[kind].stem
    for name in ("mission", "product_type", "polarisations", "swaths", "start", "stop"):
        assert getattr(store, name) == getattr(safe, name)
    for options in ({}, {"calibration": "gamma0", "noise_removal": False}):
        assert_same_scene(store.scene(**options), safe.scene(**options))  # type: ignore[arg-type]
    part = {"polarisations": ("VH",), "multilook": (2, 3)}
    assert_same_scene(store.scene(**part), safe.scene(**part))  # type: ignore[arg-type]
    assert "simulated" in dict(store.summary())["what"]
    with pytest.raises(ProductError, match="lists no checksums"):
        store.verify()


def test_a_burst_alone(products: dict[str, Path], tmp_path: Path) -> None:
    stores: list[Sentinel1Product] = [
        open_product(path)  # type: ignore[misc]
        for path in (
            write_eopf(products["SLC"], tmp_path / "product.zarr"),
            products["SLC"],
        )
    ]
    for burst in (0, 2):
        assert_same_scene(*(each.scene(burst=burst) for each in stores))


def test_a_zipped_store_and_one_on_a_server(products: dict[str, Path], tmp_path: Path) -> None:
    expected = open_product(products["GRD"]).scene()
    zipped = write_eopf(products["GRD"], tmp_path / "product.zarr.zip")
    assert is_product(zipped)
    assert_same_scene(open_product(zipped).scene(), expected)
    folder = write_eopf(products["GRD"], tmp_path / "product.zarr")
    with running() as site:
        for file in (each for each in folder.rglob("*") if each.is_file()):
            site.add(f"/{file.relative_to(tmp_path).as_posix()}", file.read_bytes())
        assert_same_scene(open_product(f"{site.url}/product.zarr").scene(), expected)


def test_images_are_pickled_as_an_instruction_to_open_them(
    products: dict[str, Path], tmp_path: Path
) -> None:
    path = write_eopf(products["GRD"], tmp_path / "product.zarr")
    image = open_product(path).scene(polarisations=("VV",)).image
    np.testing.assert_array_equal(cloudpickle.loads(cloudpickle.dumps(image)).values, image.values)


def test_blocks_of_noise_along_azimuth(tmp_path: Path) -> None:
    """Several blocks with factors of their own, as in a GRD of three swaths."""
    made = grd_product(tmp_path)
    store = open_product(write_eopf(made.path, tmp_path / "product.zarr"))
    np.testing.assert_array_equal(
        store.scene().image.values, open_product(made.path).scene().image.values
    )


def test_a_store_without_the_measurement_lists_what_it_has(
    products: dict[str, Path], tmp_path: Path
) -> None:
    path = write_eopf(products["GRD"], tmp_path / "product.zarr")
    for measured in path.glob("*/measurements/grd/c"):
        shutil.rmtree(measured)
    with pytest.raises(ProductError, match="no chunks with pixels"):
        open_product(path)
    for measured in path.glob("*/measurements"):
        shutil.rmtree(measured)
    with pytest.raises(ProductError, match=r"no measurements/grd.*found .*conditions/gcp, "):
        open_product(path)


def without_times(group: zarr.Group) -> None:
    """Take the times of lines, in numbers without a meaning, as until version 2.5."""
    says: dict[str, Any] = dict(group.attrs["other_metadata"])  # type: ignore[arg-type]
    for each in says.values():
        each["image_annotation"]["image_information"].pop("product_first_line_utc_time")
    group.attrs["other_metadata"] = says
    del group["measurements/azimuth_time"].attrs["units"]


def without_metadata(group: zarr.Group) -> None:
    del group.attrs["other_metadata"]


def without_valid_samples(group: zarr.Group) -> None:
    says: dict[str, Any] = dict(group.attrs["other_metadata"])  # type: ignore[arg-type]
    for each in says.values():
        each["burst_timing"].pop("first_valid_sample")
    group.attrs["other_metadata"] = says


def without_polarisations(group: zarr.Group) -> None:
    """Store an image of one polarisation, as until version 2.8."""
    del group["measurements/slc"]
    made = group["measurements"].create_array(  # type: ignore[union-attr]
        "slc", data=np.ones((9, 9), np.complex64), dimension_names=("azimuth_time", "x")
    )
    assert made.ndim == 2


@pytest.mark.parametrize(
    ("kind", "spoil", "message"),
    [
        ("GRD", without_times, "has no times of lines"),
        ("GRD", without_metadata, "has no coordinate slant_range_time"),
        ("SLC", without_valid_samples, "has no list of valid samples"),
        ("SLC", without_polarisations, "has no dimension of polarisations"),
    ],
)
def test_early_stores_are_refused_by_what_they_lack(
    products: dict[str, Path],
    tmp_path: Path,
    kind: str,
    spoil: Callable[[zarr.Group], None],
    message: str,
) -> None:
    path = write_eopf(products[kind], tmp_path / "product.zarr")
    for name in zarr.open_group(path, mode="r").group_keys():
        spoil(zarr.open_group(path, path=name, mode="r+", use_consolidated=False))
    with pytest.raises(ProductError, match=rf"{message}: it is of an early version .* version 3"):
        open_product(path).scene()


def test_other_stores_are_no_products(tmp_path: Path) -> None:
    zarr.open_group(tmp_path / "result.zarr", mode="w").attrs["title"] = "Reconstruction"
    assert not is_product(tmp_path / "result.zarr")
    assert is_product("https://example.org/x.zarr")
    with pytest.raises(ProductError, match="download it"):
        open_product("https://user:secret@example.org/x.zarr.zip")
    zarr.open_group(tmp_path / "other.zarr", mode="w").attrs["stac_discovery"] = {"id": "S2"}
    with pytest.raises(ProductError, match=r"no measurements/grd.*found no arrays"):
        open_product(tmp_path / "other.zarr")


def test_the_command_line_reads_stores(tmp_path: Path) -> None:
    grid, orbit = synthetic_grid(lines=200, samples=250, looks=4.4)
    made = grd_product(tmp_path, polarisations=("VV",), placed=(grid, orbit))
    path = write_eopf(made.path, tmp_path / "product.zarr")
    said = passing("info", path)
    assert "IW 200 lines x 250 samples" in said.output
    results = []
    for source in (path, made.path):
        results.append(tmp_path / f"{source.stem}.nc")
        passing(
            *("reconstruct", source, "--dem", write_dem(tmp_path / "dem.tif", 60.0), *SEA),
            *("--method", "rtc", "--coregister", "none", "-o", results[-1]),
        )
    store, safe = (open_result(each)["gamma0"].values for each in results)
    # Stores hold times to a microsecond, which the annotation of this test does not.
    np.testing.assert_allclose(store, safe, rtol=1e-3)
    assert np.isfinite(store).any()
