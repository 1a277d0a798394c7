"""Folders of layers: names, types, round trips, and how other programs open them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rioxarray
import xarray as xr

from sarheight import layover, output
from sarheight.errors import DamagedFileError, OutputError
from sarheight.view._layers import ResultView
from tests.mountains import LAW
from tests.results import dem_of, masks_of, result_of, scene

LAYERS = {
    "sigma0_vv",
    "gamma0_vv",
    "gamma0_std_vv",
    "gamma0_variance_vv",
    "own_share_vv",
    "borrowed_share_vv",
    "sigma0_geocoded_vv",
    "contribution_share",
    "projected_area",
    "local_incidence",
    "projected_incidence",
    "ellipsoid_incidence",
    "mask",
    "fold_count",
}
TWELVE_DAYS = np.timedelta64(12 * 24 * 3600 * 10**6, "us")


@lru_cache
def later_result() -> xr.Dataset:
    """Reconstruct the same scene as if it were taken twelve days later."""
    first = scene(polarisations=2)
    grid = replace(first.grid, epoch=first.grid.epoch + TWELVE_DAYS)
    orbit = replace(first.orbit, epoch=first.orbit.epoch + TWELVE_DAYS)
    return layover.reconstruct(replace(first, grid=grid, orbit=orbit), dem_of(), law=LAW)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of layers, which nobody changes."""
    record = output.provenance({}, {"method": "one-step"})
    result = result_of(polarisations=2).assign_attrs(provenance=record)
    return output.write(result, tmp_path_factory.mktemp("layers") / "scene")


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(written, tmp_path / "scene"))


def item_of(folder: Path) -> pystac.Item:
    (path,) = folder.glob("*.stac.json")
    return pystac.Item.from_file(str(path))


def test_names_do_not_depend_on_what_else_was_computed(written: Path, tmp_path: Path) -> None:
    one = output.write(result_of(polarisations=1), tmp_path / "scene")
    both = LAYERS | {name.replace("_vv", "_vh") for name in LAYERS}
    for folder, names in ((one, LAYERS), (written, both)):
        files = {path.name for path in folder.glob("*.tif")}
        assert files == {f"scene_{name}.tif" for name in names}
        assert set(item_of(folder).assets) == names


def test_each_layer_keeps_its_name_type_nodata_value_and_provenance(written: Path) -> None:
    rio_cogeo = pytest.importorskip("rio_cogeo", reason="needs rio-cogeo")
    record = output.read_provenance(written)
    assert record["parameters"] == {"method": "one-step"}
    for name, asset in item_of(written).assets.items():
        path = Path(str(asset.get_absolute_href()))
        assert rio_cogeo.cog_validate(path, strict=True) == (True, [], [])
        assert output.read_provenance(path) == record
        with rasterio.open(path) as file:
            assert file.descriptions == (name,)
            codes = path.stem.endswith(("mask", "fold_count"))
            assert file.dtypes == (("uint8",) if codes else ("float32",))
            assert file.nodata == 255 if codes else np.isnan(file.nodata)
            assert (file.colorinterp[0].name == "palette") == path.stem.endswith("mask")
            statistics = asset.extra_fields["bands"][0]["statistics"]
            assert statistics["maximum"] == float(file.tags(1)["STATISTICS_MAXIMUM"])
        assert asset.extra_fields["file:size"] == path.stat().st_size


@pytest.mark.parametrize(("polarisations", "passes"), [(0, 1), (1, 2), (2, 1), (2, 2)])
def test_a_folder_is_read_as_it_was_written(
    tmp_path: Path, polarisations: int, passes: int
) -> None:
    result = result_of(polarisations=polarisations, passes=passes)
    folder = output.write(result, tmp_path / "scene")
    assert len(list(folder.glob("*.stac.json"))) == passes
    for chunks in (None, {}):
        with output.open_result(folder, chunks=chunks) as back:
            assert list(back) == list(result)
            assert set(back.coords) == set(result.coords)
            for name, variable in result.variables.items():
                assert back[name].dims == variable.dims
                assert back[name].dtype.kind == variable.dtype.kind
                np.testing.assert_array_equal(back[name], variable)
            for name in result:
                np.testing.assert_equal(back[name].rio.nodata, result[name].rio.nodata)
            assert back.attrs["parameters"] == result.attrs["parameters"]


@pytest.mark.parametrize("name", ["scene", "scene.tif", "scene.nc", "scene.zarr"])
def test_the_coordinates_of_a_single_image_survive(tmp_path: Path, name: str) -> None:
    result = result_of(polarisations=1)
    back = output.open_result(output.write(result, tmp_path / name))
    assert back["polarisation"].item() == "VV"
    assert back["time"].dims == ()
    assert back["time"].dtype == np.dtype("datetime64[ns]")
    assert back["time"].values == result["time"].values
    assert back["gamma0"].dims == ("y", "x")
    assert np.isnan(back["gamma0"].rio.nodata)
    assert back["mask"].rio.nodata == 255


def test_the_time_is_the_middle_of_the_acquisition() -> None:
    result = result_of(polarisations=1)
    record = json.loads(result.attrs["acquisition"])[0]
    start, end = (np.datetime64(record[name].removesuffix("Z")) for name in ("start", "end"))
    middle = start + (end - start) / 2
    assert abs(result["time"].values - middle) <= np.timedelta64(1, "us")
    assert masks_of()["time"].values == result_of()["time"].values


@pytest.mark.parametrize(("form", "half_step"), [("db", 1e-5), ("db-int16", 0.005)])
def test_backscatter_in_decibels(tmp_path: Path, form: Any, half_step: float) -> None:  # noqa: ANN401
    result = result_of(polarisations=2)
    folder = output.write(result, tmp_path / "scene", scale=form)
    with np.errstate(divide="ignore"):
        decibels = 10.0 * np.log10(result["gamma0"].sel(polarisation="VV").values)
    known = np.isfinite(decibels)
    with rioxarray.open_rasterio(
        folder / "scene_gamma0_vv.tif", masked=True, mask_and_scale=True
    ) as found:
        np.testing.assert_allclose(found.values[0][known], decibels[known], atol=1.01 * half_step)
        assert np.isnan(found.values[0][~known]).all()
    with rasterio.open(folder / "scene_gamma0_vv.tif") as file:
        assert file.units == ("dB",)
        assert file.dtypes == (("int16" if form == "db-int16" else "float32"),)
    band = item_of(folder).assets["gamma0_vv"].extra_fields["bands"][0]
    assert band["unit"] == "dB"
    assert band.get("raster:scale") == (0.01 if form == "db-int16" else None)
    # What is read back is power again, and all other layers are as they were.
    back = output.open_result(folder)
    ratio = back["gamma0"].values / result["gamma0"].values
    known = np.isfinite(ratio)
    assert np.abs(10.0 * np.log10(ratio[known])).max() < 1.01 * half_step
    assert back["gamma0"].attrs["units"] == "1"
    for name in ("gamma0_variance", "mask", "local_incidence"):
        np.testing.assert_array_equal(back[name], result[name])


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("scene", "amplitude"),
        ("scene.tif", "db"),
        ("scene.tif", "amplitude"),
        ("scene.nc", "db"),
        ("scene.zarr", "amplitude"),
    ],
)
def test_every_format_holds_other_scales_and_gives_power_back(
    tmp_path: Path,
    name: str,
    scale: Any,  # noqa: ANN401
) -> None:
    result = result_of(polarisations=2)
    path = output.write(result, tmp_path / name, scale=scale)
    power = result["gamma0"].sel(polarisation="VV").values
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = 10.0 * np.log10(power) if scale == "db" else np.sqrt(power)
    if path.suffix in (".nc", ".zarr"):
        with xr.open_dataset(path, **({"group": "0"} if path.suffix == ".zarr" else {})) as dataset:
            stored = dataset["gamma0"].sel(polarisation="VV").values
    else:
        layer = path / "scene_gamma0_vv.tif" if path.is_dir() else path
        with rasterio.open(layer) as file:
            stored = file.read(file.descriptions.index("gamma0_vv") + 1)
    known = np.isfinite(expected)
    np.testing.assert_allclose(stored[known], expected[known], rtol=1e-5)
    for chunks in (None, {}):
        back = output.open_result(path, chunks=chunks)
        found = back["gamma0"].sel(polarisation="VV")
        np.testing.assert_allclose(found.values[known], power[known], rtol=1e-5)
        assert found.attrs["units"] == "1"
        np.testing.assert_array_equal(back["mask"], result["mask"])


def test_other_formats_and_words_for_backscatter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only layers hold 'db-int16'.*without suffix"):
        output.write(result_of(), tmp_path / "scene.tif", scale="db-int16")
    with pytest.raises(
        ValueError, match="scale='dB', expected one of linear, db, amplitude, db-int16"
    ):
        output.write(result_of(), tmp_path / "scene", scale="dB")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_odc_stac_loads_layers_of_two_dates_by_name(tmp_path: Path) -> None:
    odc_stac = pytest.importorskip("odc.stac", reason="needs odc-stac")
    results = [result_of(polarisations=2), later_result()]
    folders = [output.write(one, tmp_path / f"date{k}") for k, one in enumerate(results)]
    items = [item_of(folder) for folder in folders]
    loaded = odc_stac.load(items, bands=["gamma0_vv", "mask"])
    assert loaded.sizes["time"] == 2
    assert loaded["mask"].dtype == np.uint8
    assert loaded["mask"].odc.nodata == 255
    for index, one in enumerate(results):
        date = loaded.isel(time=index)
        difference = date["time"].values.astype("datetime64[us]") - one["time"].values
        assert abs(difference) <= np.timedelta64(1, "ms")
        np.testing.assert_array_equal(date["gamma0_vv"], one["gamma0"].sel(polarisation="VV"))
        np.testing.assert_array_equal(date["mask"], one["mask"])
        np.testing.assert_allclose(date["x"], one["x"])


def test_dates_are_joined_along_time(tmp_path: Path) -> None:
    results = [result_of(polarisations=2), later_result()]
    series = xr.concat(results, "time")
    assert series["gamma0"].dims == ("time", "polarisation", "y", "x")
    assert series["time"].values[1] - series["time"].values[0] == TWELVE_DAYS
    folder = output.write(series, tmp_path / "series")
    items = [pystac.Item.from_file(str(path)) for path in sorted(folder.glob("*.stac.json"))]
    assert [item.datetime for item in items] == sorted(item.datetime for item in items)
    assert all("gamma0_vh" in item.assets for item in items)
    # The join keeps the record of the first date only: of the second only the time is known.
    assert ["platform" in item.properties for item in items] == [True, False]
    back = output.open_result(folder)
    np.testing.assert_array_equal(back["gamma0"], series["gamma0"])
    np.testing.assert_array_equal(back["time"], series["time"])
    for suffix in (".nc", ".zarr"):
        again = output.open_result(output.write(series, tmp_path / f"series{suffix}"))
        np.testing.assert_array_equal(again["time"], series["time"])
        np.testing.assert_array_equal(again["gamma0"], series["gamma0"])


def test_qgis_opens_layers_with_their_names_and_nodata_values(
    written: Path, tmp_path: Path
) -> None:
    python = shutil.which("python3", path="/usr/bin")
    check = [python or "", "-c", "import qgis.core"]
    if python is None or subprocess.run(check, capture_output=True, check=False).returncode:
        pytest.skip("needs QGIS with the Python of the system")
    script = """
        import json, sys
        from pathlib import Path
        from qgis.core import QgsApplication, QgsRasterLayer
        application = QgsApplication([], False)
        application.initQgis()
        found = {}
        for path in Path(sys.argv[1]).glob("*.tif"):
            layer = QgsRasterLayer(str(path), path.stem)
            provider = layer.dataProvider()
            found[path.stem] = [
                layer.isValid(), layer.bandCount(), layer.bandName(1),
                str(provider.sourceNoDataValue(1)),
            ]
        print(json.dumps(found))
        del provider, layer  # before QGIS is gone, which would take the process with it
        application.exitQgis()
    """
    done = subprocess.run(
        [python, "-c", textwrap.dedent(script), str(written)],
        capture_output=True,
        text=True,
        check=True,
        env={"QT_QPA_PLATFORM": "offscreen", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        timeout=120,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == len(item_of(written).assets)
    for stem, (valid, count, name, nodata) in found.items():
        assert (valid, count) == (True, 1)
        assert stem.removeprefix("scene_") in name
        codes = stem.endswith(("mask", "fold_count"))
        assert nodata == ("255.0" if codes else "nan")


# Replacing a folder: whole, or not at all.


def test_a_folder_is_replaced_whole(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="exists already"):
        output.write(result_of(polarisations=1), folder)
    output.write(result_of(polarisations=1), folder, overwrite=True)
    assert not list(folder.glob("*_vh.tif"))
    assert not list(tmp_path.glob(".*"))
    assert list(output.open_result(folder)) == list(result_of(polarisations=1))


@pytest.mark.parametrize("damaged", ["sarheight.output._geotiff.layers_item", "os.fsync"])
def test_a_failure_keeps_the_folder_as_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object, **__: object) -> None:
        msg = "the disk is full"
        raise OSError(msg)

    with monkeypatch.context() as patched:
        patched.setattr(damaged, fail)
        with pytest.raises(OutputError, match=r"the disk is full.*the earlier one was kept"):
            output.write(result_of(polarisations=1), folder, overwrite=True)
        with pytest.raises(OutputError, match="nothing was left behind"):
            output.write(result_of(polarisations=1), tmp_path / "other")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]


def test_a_folder_with_other_files_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "photos").mkdir()
    (tmp_path / "file").write_text("text")
    for name, words in (
        ("scene", r"also holds 'notes.txt'.*move that away"),
        ("photos", "is not a folder of layers"),
        ("file", "is not a folder of layers"),
    ):
        with pytest.raises(OutputError, match=words):
            output.write(result_of(), tmp_path / name, overwrite=True)
    assert (folder / "notes.txt").read_text() == "mine"


def test_folders_of_another_origin_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        output.open_result(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"is no folder of layers: found nothing"):
        output.open_result(tmp_path / "empty")
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="expected a folder of layers"):
        output.open_result(tmp_path / "text")


@pytest.mark.parametrize("chunks", [None, {}])
def test_incomplete_and_damaged_folders_are_refused(
    folder: Path, chunks: dict[str, int] | None
) -> None:
    lost = folder / "scene_gamma0_vh.tif"
    kept = lost.read_bytes()
    lost.unlink()
    with pytest.raises(DamagedFileError, match=r"incomplete: found no gamma0_vh.*copy the folder"):
        output.open_result(folder, chunks=chunks)
    # A layer whose tags are damaged is not left out.
    for damaged in (kept[:200], kept.replace(b"BAND_VARIABLE", b"BAND_VARIABLY")):
        lost.write_bytes(damaged)
        with pytest.raises(DamagedFileError, match="differs from its checksum"):
            output.open_result(folder, chunks=chunks)
    lost.write_bytes(kept)
    (folder / "scene.stac.json").write_text("{")
    with pytest.raises(DamagedFileError, match=r"scene\.stac\.json"):
        output.open_result(folder, chunks=chunks)


@pytest.mark.parametrize("href", ["../other.tif", "/dev/zero", "huge.bin", "pipe"])
def test_an_item_that_names_another_file_is_refused_at_once(
    folder: Path, tmp_path: Path, href: str
) -> None:
    (tmp_path / "other.tif").write_bytes(b"some file")
    with (folder / "huge.bin").open("wb") as sparse:
        sparse.truncate(1 << 42)
    os.mkfifo(folder / "pipe")
    (path,) = folder.glob("*.json")
    item = json.loads(path.read_text())
    next(iter(item["assets"].values()))["href"] = href
    path.write_text(json.dumps(item))
    with pytest.raises(DamagedFileError, match=r"no file of its folder|differs|incomplete"):
        output.open_result(folder)


def look_at(folder: Path) -> None:
    """Read what a page shows of gamma0."""
    view = ResultView.open(folder)
    view.tile(view.index_of("gamma0", {}) or 0, 0, 0, 0)


@pytest.mark.parametrize(
    "read",
    [
        output.open_result,
        lambda folder: output.open_result(folder, chunks={})["gamma0"].compute(),
        look_at,
    ],
    ids=["whole", "lazily", "view"],
)
def test_a_layer_with_other_values_is_found_however_it_is_opened(
    folder: Path, read: Callable[[Path], Any]
) -> None:
    read(folder)
    with rasterio.open(folder / "scene_gamma0_vv.tif", "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(9.0 * file.read())
    (path,) = folder.glob("*.json")
    item = json.loads(path.read_text())
    size = (folder / "scene_gamma0_vv.tif").stat().st_size  # other sizes are found at once
    item["assets"]["gamma0_vv"]["file:size"] = size
    path.write_text(json.dumps(item))
    with pytest.raises(DamagedFileError, match=r"scene_gamma0_vv.tif' differs from its checksum"):
        read(folder)
    lazy = output.open_result(folder, chunks={})
    np.testing.assert_array_equal(lazy["mask"], result_of(polarisations=2)["mask"])
