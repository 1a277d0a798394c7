"""EOPF stores of Sentinel-1: the same scenes as from the SAFE products that they were made of."""

from __future__ import annotations

import shutil
import zipfile
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
from tests.cli.commands import SEA, passing, write_dem
from tests.servers import running
from tests.synthetic import synthetic_grid
from tests.worlds.eopf_product import write_eopf
from tests.worlds.products import drawn_scene, grd_product, write_product


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """SAFE products and the stores of them: simulated, of two polarisations with thermal noise.

    That of blocks has factors of noise in each of several blocks, as a GRD of three swaths.
    """
    folder = tmp_path_factory.mktemp("products")
    written = {}
    for kind in ("GRD", "SLC"):
        scenes = [drawn_scene(kind, seed) for seed in range(2)]  # type: ignore[arg-type]
        for scene, name in zip(scenes, ("VV", "VH"), strict=True):
            scene.image.coords["polarisation"] = name
        written[kind] = write_product(scenes, folder / f"{kind}.SAFE", noise=1e-3)
    placed = synthetic_grid(lines=200, samples=250, looks=4.4)
    written["blocks"] = grd_product(folder / "blocks", polarisations=("VV",), placed=placed).path
    return {
        name: (safe, write_eopf(safe, folder / f"{safe.stem}.zarr"))
        for name, safe in written.items()
    }


def copied(products: dict[str, tuple[Path, Path]], kind: str, folder: Path) -> Path:
    """A copy of a store that a test may spoil."""
    return Path(shutil.copytree(products[kind][1], folder / "product.zarr"))


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
    products: dict[str, tuple[Path, Path]], kind: str
) -> None:
    safe, store = (open_product(path) for path in products[kind])
    assert is_product(products[kind][1])
    assert store.name == kind
    for name in ("mission", "product_type", "polarisations", "swaths", "start", "stop"):
        assert getattr(store, name) == getattr(safe, name)
    choices: list[dict[str, Any]] = [{}, {"calibration": "gamma0", "noise_removal": False}]
    choices += [{"polarisations": ("VH",), "multilook": (2, 3)}]
    choices += [{"burst": 0}, {"burst": 2}] if kind == "SLC" else []
    for options in choices:
        assert_same_scene(store.scene(**options), safe.scene(**options))
    assert "simulated" in dict(store.summary())["what"]
    with pytest.raises(ProductError, match="lists no checksums"):
        store.verify()


def test_zipped_pickled_and_on_a_server(
    products: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """Images are pickled as an instruction to open them."""
    store = products["GRD"][1]
    expected = open_product(store).scene(polarisations=("VV",))
    again = cloudpickle.loads(cloudpickle.dumps(expected))
    np.testing.assert_array_equal(again.image.values, expected.image.values)
    files = [each for each in store.rglob("*") if each.is_file()]
    with zipfile.ZipFile(tmp_path / "product.zarr.zip", "w") as archive, running() as site:
        for file in files:
            archive.write(file, file.relative_to(store))
            site.add(f"/product.zarr/{file.relative_to(store).as_posix()}", file.read_bytes())
        archive.close()
        assert is_product(tmp_path / "product.zarr.zip")
        for source in (tmp_path / "product.zarr.zip", f"{site.url}/product.zarr"):
            assert_same_scene(open_product(source).scene(polarisations=("VV",)), expected)


def test_a_store_without_the_measurement_lists_what_it_has(
    products: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    path = copied(products, "GRD", tmp_path)
    for measured in path.glob("*/measurements/grd/c"):
        shutil.rmtree(measured)
    with pytest.raises(ProductError, match="no chunks with pixels"):
        open_product(path)
    for measured in path.glob("*/measurements"):
        shutil.rmtree(measured)
    with pytest.raises(ProductError, match=r"no measurements/grd.*found .*conditions/gcp, "):
        open_product(path)


def without(group: zarr.Group, name: str, *path: str) -> None:
    """Take an item out of the metadata of each polarisation."""
    says: dict[str, Any] = dict(group.attrs["other_metadata"])  # type: ignore[arg-type]
    for each in says.values():
        for part in path:
            each = each[part]  # noqa: PLW2901
        each.pop(name)
    group.attrs["other_metadata"] = says


def without_times(group: zarr.Group) -> None:
    """Take the times of lines, in numbers without a meaning, as until version 2.5."""
    without(group, "product_first_line_utc_time", "image_annotation", "image_information")
    del group["measurements/azimuth_time"].attrs["units"]


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
        (
            "GRD",
            lambda group: group.attrs.pop("other_metadata"),
            "has no coordinate slant_range_time",
        ),
        (
            "SLC",
            lambda group: without(group, "first_valid_sample", "burst_timing"),
            "has no list of valid samples",
        ),
        ("SLC", without_polarisations, "has no dimension of polarisations"),
    ],
)
def test_early_stores_are_refused_by_what_they_lack(
    products: dict[str, tuple[Path, Path]],
    tmp_path: Path,
    kind: str,
    spoil: Callable[[zarr.Group], None],
    message: str,
) -> None:
    path = copied(products, kind, tmp_path)
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


def test_the_command_line_reads_stores(
    products: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    """And factors of noise along azimuth, of several blocks."""
    images = [open_product(path).scene().image.values for path in products["blocks"]]
    np.testing.assert_array_equal(*images)
    assert "IW 200 lines x 250 samples" in passing("info", products["blocks"][1]).output
    results = []
    for source in products["blocks"][::-1]:
        results.append(tmp_path / f"result{source.suffix}.nc")
        passing(
            *("reconstruct", source, "--dem", write_dem(tmp_path / "dem.tif", 60.0), *SEA),
            *("--method", "rtc", "--coregister", "none", "-o", results[-1]),
        )
    store, safe = (open_result(each)["gamma0"].values for each in results)
    # Stores hold times to a microsecond, which the annotation of this test does not.
    np.testing.assert_allclose(store, safe, rtol=1e-3)
    assert np.isfinite(store).any()
