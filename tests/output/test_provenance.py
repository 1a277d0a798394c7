"""Provenance of results: inputs, software, settings, and privacy."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import fsspec
import numpy as np
import pytest
import rasterio

from sarheight import output
from sarheight._files import without_secrets
from sarheight.output.radar_images import write_scene
from tests.results import masks_of, result_of, scene

FORMATS = (".tif", ".nc", ".zarr", ".png")


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_provenance_is_the_same_in_all_formats(tmp_path: Path, suffix: str) -> None:
    record = output.provenance({"image": np.eye(2)}, {"steps": 3, "law": "σ⁰"})
    path = tmp_path / f"result{suffix}"
    output.write(result_of().assign_attrs(provenance=record), path)
    assert output.read_provenance(path) == record
    if suffix != ".png":
        path = tmp_path / f"image{suffix}"
        write_scene(scene(), path, attributes={"provenance": json.dumps(record)})
        assert output.read_provenance(path) == record


def test_files_without_provenance_are_refused(tmp_path: Path) -> None:
    path = output.write(masks_of(), tmp_path / "masks.tif")
    (tmp_path / "damaged.tif").write_bytes(b"II*\0")
    for name, error, words in (
        (path.name, ValueError, "does not say where it comes from"),
        ("absent.nc", FileNotFoundError, "there is no"),
        ("masks.jpg", ValueError, r"\.tif, \.tiff, \.nc, \.zarr, \.png"),
        ("damaged.tif", OSError, "damaged"),
    ):
        with pytest.raises(error, match=words):
            output.read_provenance(tmp_path / name)


def test_files_folders_and_zips_are_identified_by_content(tmp_path: Path) -> None:
    product = tmp_path / "deep" / "scene.SAFE"
    product.mkdir(parents=True)
    (product / "manifest.safe").write_bytes(b"<xfdu/>")
    (product / "annotation").mkdir()
    (product / "annotation" / "vv.xml").write_bytes(b"<product/>")
    packed = tmp_path / "scene.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(product / "manifest.safe", "scene.SAFE/manifest.safe")
    inputs = output.provenance({"folder": product, "zip": packed, "url": packed.as_uri()})["inputs"]
    assert inputs["folder"]["path"] == "scene.SAFE"
    assert inputs["folder"]["files"] == 2
    assert inputs["folder"]["bytes"] == 17
    assert inputs["zip"]["sha256"] == hashlib.sha256(packed.read_bytes()).hexdigest()
    assert inputs["url"] == inputs["zip"]
    before = inputs["folder"]["sha256"]
    (product / "annotation" / "vv.xml").rename(product / "annotation" / "vh.xml")
    assert output.provenance({"folder": product})["inputs"]["folder"]["sha256"] != before


def test_urls_are_identified_without_a_download() -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/archive/scene.zip", b"0123456789")
    found = output.provenance({"image": "memory://archive/scene.zip"})["inputs"]["image"]
    assert found["path"] == "memory://archive/scene.zip"
    assert found["bytes"] == 10
    assert "sha256" not in found
    absent = output.provenance({"image": "memory://archive/absent.zip"})["inputs"]["image"]
    assert absent == {"path": "memory://archive/absent.zip"}
    files.rm("/archive", recursive=True)


def test_urls_are_kept_without_credentials() -> None:
    given = "https://me:secret@example.org/a/b.tif?sig=abc#x"
    assert without_secrets(given) == "https://example.org/a/b.tif"
    for address in ("s3://bucket/key.zip", "https://example.org:8443/a.tif"):
        assert without_secrets(address) == address


def test_provenance_holds_versions_inputs_and_parameters(tmp_path: Path) -> None:
    (tmp_path / "dem.tif").write_bytes(b"heights")
    (tmp_path / "scene.SAFE").mkdir()
    (tmp_path / "scene.SAFE" / "annotation.xml").write_bytes(b"<product/>")
    record = output.provenance(
        {"dem": tmp_path / "dem.tif", "scene": str(tmp_path / "scene.SAFE"), "image": np.eye(3)},
        {
            "looks": np.float32(4.5), "dem": tmp_path / "dem.tif", "law": len, "bad": np.nan,
            "k": (1, None),
        },
    )  # fmt: skip
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert str(tmp_path) not in json.dumps(record)
    assert record["inputs"]["dem"]["path"] == record["parameters"]["dem"] == "dem.tif"
    assert record["software"]["numpy"] == np.__version__
    assert record["software"]["GDAL"] == rasterio.__gdal_version__
    assert record["created"].endswith("+00:00")
    assert record["inputs"]["dem"]["sha256"] == hashlib.sha256(b"heights").hexdigest()
    assert record["inputs"]["dem"]["bytes"] == 7
    assert record["inputs"]["scene"]["bytes"] == 10
    assert record["parameters"]["looks"] == 4.5
    assert record["parameters"]["bad"] == "nan"
    assert record["parameters"]["k"] == [1, None]
    with pytest.raises(FileNotFoundError, match="absent"):
        output.provenance({"dem": tmp_path / "absent.tif"})


@dataclass(frozen=True)
class Settings:
    """Stands for an orbit or a radar grid."""

    time: np.ndarray
    source: str = "made here"


def checksum(value: object) -> str:
    return output.provenance({"value": value})["inputs"]["value"]["sha256"]


def test_checksums_depend_on_content_and_on_nothing_else() -> None:
    dataset = result_of(polarisations=2).copy(deep=True)
    array = dataset["sigma0"]
    assert checksum(array) == checksum(array.copy(deep=True))
    assert checksum(array) == checksum(array.chunk(y=16))
    assert checksum(array) != checksum(array + 1e-6)
    assert checksum(array) != checksum(array.assign_coords(x=array["x"] + 1))
    assert checksum(array) != checksum(array.rio.write_crs("EPSG:32633"))
    assert checksum(dataset) == checksum(dataset[list(dataset.data_vars)[::-1]])
    assert checksum(np.arange(4.0)) == checksum(np.arange(4.0).astype(">f8"))
    assert checksum(np.arange(4.0)) != checksum(np.arange(4))
    assert checksum(np.asfortranarray(np.eye(3)[:2])) == checksum(np.eye(3)[:2])
    assert checksum(Settings(np.arange(3.0))) == checksum(Settings(np.arange(3.0)))
    assert checksum(Settings(np.arange(3.0))) != checksum(Settings(np.arange(4.0)))
    assert checksum({"a": 1, "b": [2, lambda: 0]}) == checksum({"b": [2, lambda: 0], "a": 1})
