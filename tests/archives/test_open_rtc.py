"""Flattened images of other archives: their layouts, their scales, and what they are not for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from affine import Affine

from sarheight import archives, layover, output
from sarheight.archives.rasters import open_raster, power
from sarheight.errors import ProductError, UnsafeAddressError
from sarheight.layover import FLAGS
from sarheight.scene import Scene
from tests.conftest import shared_data
from tests.flattened_products import (
    HYP3,
    OPERA,
    PLANETARY,
    SHAPE,
    TRANSFORM,
    VH,
    VV,
    hyp3_folder,
    opera_folder,
    opera_table,
    packed,
    planetary_item,
    raster,
)
from tests.results import dem_of, scene

PRODUCTS: dict[str, Callable[[Path], Path]] = {
    "opera": lambda folder: opera_folder(folder / "opera"),
    "opera table": lambda folder: opera_table(folder / f"{OPERA}.h5"),
    "opera zip": lambda folder: packed(opera_folder(folder / "opera"), folder / "opera.zip"),
    "hyp3": hyp3_folder,
    "hyp3 zip": lambda folder: packed(hyp3_folder(folder), folder / "hyp3.zip"),
    "planetary": planetary_item,
}
"""What makes a product of each archive."""


@pytest.mark.parametrize("kind", PRODUCTS)
def test_all_products_become_the_same_dataset(tmp_path: Path, kind: str) -> None:
    """They are written and described like results, too."""
    (tmp_path / "in").mkdir()
    path = PRODUCTS[kind](tmp_path / "in")
    # A file that netCDF4 holds open is opened twice more.
    lazy, again, dataset = (
        archives.open_rtc(path, chunks=each) for each in ({"y": 8, "x": 16}, {}, None)
    )
    for each in (lazy, again):
        xr.testing.assert_identical(each.compute(), dataset)
    assert lazy["gamma0"].chunks is not None
    gamma = dataset["gamma0"]
    assert gamma.dims == ("polarisation", "y", "x")
    assert list(gamma["polarisation"].values) == ["VV", "VH"]
    assert gamma.chunks is None
    assert gamma.dtype == np.float32
    assert gamma.attrs["units"] == "1"
    first = 0 if kind == "opera table" else 1
    np.testing.assert_allclose(gamma.sel(polarisation="VV")[first:], VV[first:], rtol=1e-6)
    np.testing.assert_allclose(gamma.sel(polarisation="VH")[1:], VH[1:], rtol=1e-6)
    if first:
        assert np.isnan(gamma.sel(polarisation="VV")[0]).all()
    assert dataset.rio.crs.to_epsg() == 32611
    assert dataset.rio.transform() == TRANSFORM
    assert dataset.attrs["terrain_flattened"]
    assert dataset.attrs["calibration"] == "gamma0"
    record = json.loads(dataset.attrs["acquisition"])[0]
    assert record["polarisations"] == ["VV", "VH"]
    assert record["mode"] == "IW"
    assert record["start"] < record["end"]
    written = output.write(dataset, tmp_path / "copy.tif", stac=True)
    np.testing.assert_array_equal(output.open_result(written)["gamma0"], gamma)
    item = json.loads((tmp_path / "copy.stac.json").read_text(encoding="utf-8"))
    assert item["properties"]["sar:product_type"] == "RTC"
    assert item["properties"]["constellation"] == "sentinel-1"


@pytest.mark.parametrize("kind", ["opera", "opera table"])
def test_opera_masks_and_orbits_are_understood(tmp_path: Path, kind: str) -> None:
    dataset = archives.open_rtc(PRODUCTS[kind](tmp_path))
    names = ("clear", "passive_shadow", "passive_layover", "layover_and_shadow")
    expected = [*(FLAGS[name] for name in names), 255]
    assert dataset["mask"].values[:5, 0].tolist() == expected
    assert dataset["mask"].attrs["_FillValue"] == 255
    record = json.loads(dataset.attrs["acquisition"])[0]
    assert (record["mission"], record["orbit_state"]) == ("S1B", "descending")
    assert (record["absolute_orbit"], record["relative_orbit"]) == (22292, 47)
    assert record["start"] == "2020-07-02T00:00:00.123456Z"


def test_static_layers_of_opera_may_lie_beside(tmp_path: Path) -> None:
    folder = opera_folder(tmp_path)
    static = "OPERA_L2_RTC-S1-STATIC_T047-100908-IW3_20140403_S1B_30_v1.0"
    angle = np.full(SHAPE, 41.5, dtype=np.float32)
    raster(folder / f"{static}_local_incidence_angle.tif", angle, np.nan)
    raster(folder / f"{static}_incidence_angle.tif", angle - 2, np.nan)
    dataset = archives.open_rtc(folder)
    assert float(dataset["local_incidence"].mean()) == pytest.approx(41.5)
    assert float(dataset["ellipsoid_incidence"].mean()) == pytest.approx(39.5)


@pytest.mark.parametrize("kind", ["gp", "ga", "gd", "sp", "sa", "sd"])
def test_every_scale_of_hyp3_becomes_power(tmp_path: Path, kind: str) -> None:
    dataset = archives.open_rtc(hyp3_folder(tmp_path, kind))
    radiometry = {"g": "gamma0", "s": "sigma0"}[kind[0]]
    assert dataset.attrs["calibration"] == radiometry
    np.testing.assert_allclose(dataset[radiometry].sel(polarisation="VV")[1:], VV[1:], rtol=1e-5)
    assert np.isnan(dataset[radiometry][:, 0]).all()


def test_hyp3_layers_and_granule_are_understood(tmp_path: Path) -> None:
    dataset = archives.open_rtc(hyp3_folder(tmp_path))
    names = ("active_layover", "passive_layover", "active_shadow", "passive_shadow")
    expected = [255, *(FLAGS[name] for name in (*names, "layover_and_shadow", "clear"))]
    assert dataset["mask"].values[:7, 0].tolist() == expected
    assert float(dataset["local_incidence"].mean()) == pytest.approx(30.0, rel=1e-6)
    assert dataset["local_incidence"].attrs["units"] == "degree"
    assert int(dataset["height"].max()) == 1234
    assert dataset.attrs["speckle_filtered"] is False
    record = json.loads(dataset.attrs["acquisition"])[0]
    assert (record["start"], record["end"]) == ("2018-01-28T16:12:01Z", "2018-01-28T16:12:26Z")
    assert record["absolute_orbit"] == 20358


def test_renamed_files_of_hyp3_need_a_word(tmp_path: Path) -> None:
    vv = renamed(tmp_path)
    dataset = archives.open_rtc([vv], radiometry="gamma0", scale="amplitude")
    np.testing.assert_allclose(dataset["gamma0"][0], VV, rtol=1e-5)
    (tmp_path / "README.md.txt").write_text(HYP3.format("ga"), encoding="utf-8")
    again = archives.open_rtc(tmp_path)
    np.testing.assert_allclose(again["gamma0"][0], VV, rtol=1e-5)


def test_an_item_is_taken_in_any_form(tmp_path: Path) -> None:
    path = planetary_item(tmp_path)
    dataset = archives.open_rtc(path)
    record = json.loads(dataset.attrs["acquisition"])[0]
    assert (record["mission"], record["orbit_state"]) == ("S1A", "ascending")
    assert record["relative_orbit"] == 5
    assert dataset.attrs["product_name"] == PLANETARY
    item = pystac.Item.from_dict(json.loads(path.read_text(encoding="utf-8")) | {"bbox": None})
    item.set_self_href(str(path))
    item.make_asset_hrefs_absolute()
    with pytest.raises(UnsafeAddressError, match="not in its folder"):
        archives.open_rtc(item)


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "../secret.tif",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/vv.tif",
        "https://user:word@example.org/vv.tif",
        "s3://bucket/vv.tif",
        "/vsicurl/http://10.0.0.1/vv.tif",
        "pipe.tif",
    ],
)
def test_hostile_items_lead_nowhere(tmp_path: Path, href: str) -> None:
    path = planetary_item(tmp_path)
    os.mkfifo(tmp_path / "pipe.tif")
    item = json.loads(path.read_text(encoding="utf-8"))
    item["assets"] = {"vv": {"href": href}}
    path.write_text(json.dumps(item), encoding="utf-8")
    for form in (item, path, pystac.Item.from_dict(item | {"bbox": None})):
        with pytest.raises(UnsafeAddressError):
            archives.open_rtc(form)


# ---- what is wrong with files


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def without_polarisation(folder: Path) -> Path:
    raster(folder / "vegetation.tif", VV)
    return folder


def renamed(folder: Path) -> Path:
    return raster(folder / "mine_VV.tif", np.sqrt(VV))


def cut_zip(folder: Path) -> Path:
    archive = PRODUCTS["hyp3 zip"](folder)
    return cut(archive, archive.stat().st_size // 2)


def cut_image(folder: Path) -> Path:
    cut(opera_folder(folder) / f"{OPERA}_VV.tif", 100)
    return folder


def two_bursts(folder: Path) -> Path:
    raster(opera_folder(folder) / f"{OPERA.replace('IW3', 'IW2')}_VV.tif", VV)
    return folder


def another_grid(folder: Path) -> Path:
    home = hyp3_folder(folder)
    raster(home / f"{HYP3.format('gp')}_ls_map.tif", np.ones((10, 10), dtype=np.uint8))
    return home


def item_of(text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "item.json").write_text(text)
        return folder / "item.json"

    return make


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda folder: folder / "absent", FileNotFoundError, "there is no"),
        (lambda folder: folder, ProductError, "found nothing in .* expected an RTC product"),
        (without_polarisation, ProductError, r"found vegetation\.tif in"),
        (renamed, ProductError, "found mine_VV.tif in .* renamed, pass what they hold"),
        (cut_zip, ProductError, "cut short"),
        (lambda folder: cut(opera_table(folder / f"{OPERA}.h5"), 2000), ProductError, "damaged"),
        (cut_image, ProductError, "damaged"),
        (two_bursts, ProductError, "expected the files of one"),
        (another_grid, ProductError, "'mask'"),
        (item_of('{"id": "x", "assets": {"B04": {"href": "b.tif"}}}'), ProductError, "expected vv"),
        (item_of("{"), ProductError, "or it is damaged"),
    ],
)
def test_what_is_no_whole_product_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        archives.open_rtc(make(tmp_path))


def test_power_keeps_zero_and_drops_what_no_radar_measures() -> None:
    image = xr.DataArray(np.array([[0.0, 0.5, -1.0, np.inf, np.nan]], np.float32), dims=("y", "x"))
    np.testing.assert_array_equal(power(image), [[0.0, 0.5, np.nan, np.nan, np.nan]])


# ---- what they are for, and what they are not


def test_reconstruct_says_that_nothing_is_left_to_reallocate(tmp_path: Path) -> None:
    dataset = archives.open_rtc(opera_folder(tmp_path))
    image = dataset["gamma0"].sel(polarisation="VV")
    one = scene()
    turned = image.rename(y="line", x="sample")
    again = output.open_result(output.write(dataset, tmp_path / "again.nc"))["gamma0"]
    refused: tuple[Callable[[], object], ...] = (
        lambda: layover.reconstruct(dataset, dem_of()),  # type: ignore[arg-type]
        lambda: layover.reconstruct(image, dem_of()),
        lambda: layover.reconstruct(again, dem_of()),
        lambda: layover.reconstruct(turned, dem_of(), one.grid, one.orbit),
        lambda: Scene(turned, one.grid, one.orbit, "gamma0"),
    )
    for call in refused:
        with pytest.raises(ValueError, match=r"OPERA RTC-S1.*to_radar"):
            call()


def test_real_opera_backscatter_keeps_its_values(tmp_path: Path) -> None:
    path = shared_data("sentinel1", "opera_rtc_socal", "T137-292320-IW2_VV_VH_31dates_cdB.tif")
    with rasterio.open(path) as file:
        first = {name[:2]: index for index, name in enumerate(file.descriptions, 1)}
        grid, crs = file.transform, file.crs
        decibels = {name: file.read(index) for name, index in first.items()}
        nodata = file.nodata
    folder = tmp_path / "opera"
    folder.mkdir()
    for name, stored in decibels.items():
        linear = np.where(stored == nodata, np.nan, 10.0 ** (stored / 1000.0)).astype(np.float32)
        rows, columns = stored.shape
        profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan}
        profile |= {"height": rows, "width": columns, "crs": crs, "transform": grid}
        with rasterio.open(folder / f"{OPERA}_{name}.tif", "w", **profile) as out:
            out.write(linear, 1)
    dataset = archives.open_rtc(folder)
    assert dataset.rio.crs == crs
    found = 10.0 * np.log10(dataset["gamma0"].sel(polarisation="VH"))
    np.testing.assert_allclose(found, decibels["VH"] / 100.0, atol=1e-4)
    median = dataset["gamma0"].median(["y", "x"])
    assert 0.02 < float(median.sel(polarisation="VV")) < 0.5
    assert float(median.sel(polarisation="VV")) > 2.0 * float(median.sel(polarisation="VH"))


def test_a_raster_that_claims_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "dtype": "float32", "count": 1, "sparse_ok": True}
    profile |= {"crs": "EPSG:32632", "transform": Affine(30.0, 0.0, 5e5, 0.0, -30.0, 5e6)}
    with rasterio.open(path, "w", width=40_000, height=30_000, **profile):
        pass
    for size in (path.stat().st_size, 1 << 42):  # the second with a hole, which the disk lacks
        os.truncate(path, size)
        with pytest.raises(ProductError, match="30000 x 40000 pixels claimed"):
            open_raster(str(path), None)
    # Beyond the file's own size, what deflate can pack is plausible.
    with rasterio.open(path, "w", width=3000, height=2000, compress="deflate", **profile) as file:
        file.write(np.zeros((1, 2000, 3000), np.float32))
    assert open_raster(str(path), None).shape == (2000, 3000)
