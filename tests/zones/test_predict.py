"""Maps of Local Climate Zones: classes of cells, missing data, and files."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.errors import OutputError
from sarheight.learning import Channel
from sarheight.output import open_result
from sarheight.zones import (
    RasterPatches,
    ZoneClassifier,
    ZoneMember,
    plot_zones,
    predict_zones,
    write_zones,
)
from tests.zone_samples import city

CLASSES = ("compact_high_rise", "open_low_rise", "water")


def classifier(size: int = 4, **changes: object) -> ZoneClassifier:
    torch.manual_seed(0)
    channels = [Channel(name, "1", mean=1.0, std=2.0) for name in ("green", "red", "nir")]
    members = [
        ZoneMember(
            (("green", "red", "nir"),),
            options={"widths": [4, 4, 4, 4, 4], "dense": 4, "pooled_blocks": 1},
        )
    ]
    rest = {"size": size, "codes": (1, 6, 17), "posting": 100.0, **changes}
    return ZoneClassifier(channels, CLASSES, members, **rest).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [4, 5])
def test_each_cell_has_the_class_of_the_patch_around_it(size: int) -> None:
    stack, labels = city()
    model = classifier(size)
    zones = predict_zones(model, stack, device="cpu")
    assert zones["zone"].shape == stack.shape[1:]
    assert zones.rio.crs == stack.rio.crs
    np.testing.assert_array_equal(zones["x"], stack["x"])
    samples = RasterPatches(stack, labels, size=size)
    with torch.no_grad():
        expected = model.probabilities(torch.from_numpy(samples.load().image)).numpy()
    found = zones["probability"].sel(x=xr.DataArray(samples.x), y=xr.DataArray(samples.y)).T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    total = zones["probability"].sum("class")
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    np.testing.assert_array_equal(zones["confidence"], zones["probability"].max("class"))
    codes = np.array(model.codes)[zones["probability"].values.argmax(axis=0)]
    np.testing.assert_array_equal(zones["zone"], codes)


def test_a_step_samples_the_map() -> None:
    stack, _ = city(41, 62)
    model = classifier(5)
    whole = predict_zones(model, stack, device="cpu")
    coarse = predict_zones(model, stack, step=3, device="cpu")
    assert coarse["zone"].shape == (13, 20)
    np.testing.assert_array_equal(coarse["zone"], whole["zone"][1:40:3, 1:60:3])
    np.testing.assert_allclose(coarse["x"], stack["x"][1:60:3])
    even = predict_zones(model, stack, step=2, device="cpu")
    assert float(even["x"][0]) == pytest.approx(float(stack["x"][:2].mean()))


def test_bands_may_come_in_any_order_and_lazily() -> None:
    stack, _ = city()
    model = classifier()
    plain = predict_zones(model, stack, device="cpu")
    turned = stack.isel(band=[2, 0, 1]).chunk({"y": 7, "x": 11})
    xr.testing.assert_allclose(predict_zones(model, turned, device="cpu"), plain, atol=1e-6)
    as_variables = stack.to_dataset("band")
    xr.testing.assert_allclose(predict_zones(model, as_variables, device="cpu"), plain, atol=1e-6)


def test_blending_mixes_neighbours_and_keeps_probabilities() -> None:
    stack, _ = city()
    stack[:, 10:14, 20:30] = np.nan
    plain = predict_zones(classifier(8), stack, device="cpu")
    blended = predict_zones(classifier(8), stack, blend=True, device="cpu")
    known = blended["zone"].values > 0
    np.testing.assert_array_equal(known, plain["zone"].values > 0)
    np.testing.assert_allclose(blended["probability"].sum("class").values[known], 1.0, rtol=1e-4)
    rough = [float(np.nanmean(np.abs(np.diff(each["confidence"].values, axis=1))))
             for each in (plain, blended)]  # fmt: skip
    assert rough[1] < 0.5 * rough[0]
    np.testing.assert_allclose(
        blended["probability"].mean(), plain["probability"].mean(), rtol=1e-3
    )


def test_cells_without_data_have_no_class() -> None:
    stack, _ = city()
    stack[:, :5] = np.nan
    stack[0, 20:] = np.nan
    zones = predict_zones(classifier(), stack, device="cpu")
    assert (zones["zone"][:5] == 0).all()
    assert zones["confidence"][:5].isnull().all()
    assert (zones["zone"][5:] > 0).all()
    whole = stack.fillna(-1.0).assign_attrs(_FillValue=-1.0)
    again = predict_zones(classifier(), whole, device="cpu")
    np.testing.assert_array_equal(again["zone"], zones["zone"])


def test_a_geotiff_has_the_colours_the_names_and_the_probabilities(tmp_path: Path) -> None:
    stack, _ = city()
    stack[:, :3] = np.nan
    zones = predict_zones(classifier(), stack, device="cpu")
    written = write_zones(zones, tmp_path / "zones.tif")
    with rasterio.open(written[0]) as file:
        assert file.count == 1
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.crs == stack.rio.crs
        table = file.colormap(1)
        assert table[1] == (0x8C, 0x00, 0x00, 255)
        assert table[17] == (0x6A, 0x6A, 0xFF, 255)
        assert table[0][3] == 0
        np.testing.assert_array_equal(file.read(1), zones["zone"])
        assert file.tags(1)["flag_meanings"] == " ".join(CLASSES)
    names = [each.text for each in ET.parse(written[1]).iter("Category")]  # noqa: S314  # our own
    assert names[1] == "LCZ 1: compact high rise"
    assert names[17] == "LCZ G: water"
    assert len(names) == 18
    with rasterio.open(written[2]) as file:
        assert file.descriptions == (
            "confidence", *(f"probability_{name}" for name in CLASSES),
        )  # fmt: skip
    again = open_result(written[2])
    np.testing.assert_array_equal(again["probability"], zones["probability"])
    with pytest.raises(OutputError, match="exists already"):
        write_zones(zones, tmp_path / "zones.tif")
    write_zones(zones, tmp_path / "zones.tif", overwrite=True)


def test_netcdf_holds_all_variables(tmp_path: Path) -> None:
    stack, _ = city()
    zones = predict_zones(classifier(), stack, device="cpu")
    assert write_zones(zones, tmp_path / "zones.nc") == [tmp_path / "zones.nc"]
    again = open_result(tmp_path / "zones.nc")
    np.testing.assert_array_equal(again["zone"], zones["zone"])
    np.testing.assert_array_equal(again["probability"], zones["probability"])
    assert again["class"].values.tolist() == list(CLASSES)


def test_the_legend_lists_the_zones_that_occur() -> None:
    stack, labels = city()
    zones = predict_zones(classifier(), stack, device="cpu")
    zone = zones["zone"].copy(data=np.where(labels.values == 6, 1, labels.values))
    figure = plot_zones(zone, title="city")
    axes = figure.axes[0]
    labels_drawn = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.split(":")[0] for text in labels_drawn[:2]] == ["LCZ 1", "LCZ G"]
    assert axes.get_title(loc="left") == "city"
    colours = {tuple(patch.get_facecolor()[:3]) for patch in axes.get_legend().get_patches()}
    assert (0x6A / 255, 0x6A / 255, 1.0) in colours
