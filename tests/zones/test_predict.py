"""Maps of Local Climate Zones, and forests for few labels."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("sklearn", reason="the extra `learn` is not installed")

from pathlib import Path

from safetensors.torch import load_file, save_file

from sarheight.errors import CheckpointError, OutputError
from sarheight.learning import Channel
from sarheight.learning.weights import model_kind
from sarheight.output import open_result
from sarheight.zones import (
    ForestSettings,
    RasterPatches,
    ZoneForest,
    ZonePatches,
    calibration_error,
    evaluate_zones,
    plot_zones,
    predict_zones,
    spatial_folds,
    train_forest,
    write_zones,
    zone_probabilities,
)
from sarheight.zones.forest import _block_temperature, patch_features, tempered, tree_arrays
from sarheight.zones.samples import zone_statistics
from tests.zone_samples import city, patches, small_classifier


@pytest.fixture(scope="module")
def zones() -> xr.Dataset:
    """Zones of a city whose first three rows have no data."""
    stack, _ = city()
    stack[:, :3] = np.nan
    return predict_zones(small_classifier(), stack, device="cpu")


@pytest.mark.parametrize("size", [4, 5])
def test_each_cell_has_the_class_of_the_patch_around_it(size: int) -> None:
    stack, labels = city()
    model = small_classifier(size=size)
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
    # Bands may come in any order, lazily, and as variables.
    turned = stack.isel(band=[2, 0, 1]).chunk({"y": 7, "x": 11})
    for other in (turned, stack.to_dataset("band")):
        again = predict_zones(model, other, device="cpu")
        xr.testing.assert_allclose(again, zones, atol=1e-6)


def test_a_step_samples_the_map() -> None:
    stack, _ = city(41, 62)
    model = small_classifier(size=5)
    whole = predict_zones(model, stack, device="cpu")
    coarse = predict_zones(model, stack, step=3, device="cpu")
    assert coarse["zone"].shape == (13, 20)
    np.testing.assert_array_equal(coarse["zone"], whole["zone"][1:40:3, 1:60:3])
    np.testing.assert_allclose(coarse["x"], stack["x"][1:60:3])
    even = predict_zones(model, stack, step=2, device="cpu")
    assert float(even["x"][0]) == pytest.approx(float(stack["x"][:2].mean()))


def test_blending_mixes_neighbours_and_keeps_probabilities() -> None:
    stack, _ = city()
    stack[:, 10:14, 20:30] = np.nan
    model = small_classifier(size=8)
    plain, blended = (
        predict_zones(model, stack, blend=each, device="cpu") for each in (False, True)
    )
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
    whole = stack.fillna(-1.0).assign_attrs(_FillValue=-1.0)
    zones, again = (
        predict_zones(small_classifier(), each, device="cpu") for each in (stack, whole)
    )
    assert (zones["zone"][:5] == 0).all()
    assert zones["confidence"][:5].isnull().all()
    assert (zones["zone"][5:] > 0).all()
    np.testing.assert_array_equal(again["zone"], zones["zone"])


def test_a_geotiff_has_the_colours_the_names_and_the_probabilities(
    zones: xr.Dataset, tmp_path: Path
) -> None:
    classes = zones["class"].values.tolist()
    written = write_zones(zones, tmp_path / "zones.tif")
    with rasterio.open(written[0]) as file:
        assert file.count == 1
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.crs == zones.rio.crs
        table = file.colormap(1)
        assert table[1] == (0x8C, 0x00, 0x00, 255)
        assert table[17] == (0x6A, 0x6A, 0xFF, 255)
        assert table[0][3] == 0
        np.testing.assert_array_equal(file.read(1), zones["zone"])
        assert file.tags(1)["flag_meanings"] == " ".join(classes)
    names = [each.text for each in ET.parse(written[1]).iter("Category")]  # noqa: S314  # our own
    assert names[1] == "LCZ 1: compact high rise"
    assert names[17] == "LCZ G: water"
    assert len(names) == 18
    with rasterio.open(written[2]) as file:
        assert file.descriptions == (
            "confidence", *(f"probability_{name}" for name in classes),
        )  # fmt: skip
    again = open_result(written[2])
    np.testing.assert_array_equal(again["probability"], zones["probability"])
    with pytest.raises(OutputError, match="exists already"):
        write_zones(zones, tmp_path / "zones.tif")
    write_zones(zones, tmp_path / "zones.tif", overwrite=True)


def test_netcdf_holds_all_variables(zones: xr.Dataset, tmp_path: Path) -> None:
    assert write_zones(zones, tmp_path / "zones.nc") == [tmp_path / "zones.nc"]
    again = open_result(tmp_path / "zones.nc")
    for name in ("zone", "probability", "class"):
        np.testing.assert_array_equal(again[name], zones[name])


def test_the_legend_lists_the_zones_that_occur(zones: xr.Dataset) -> None:
    _, labels = city()
    zone = zones["zone"].copy(data=np.where(labels.values == 6, 1, labels.values))
    figure = plot_zones(zone, title="city")
    axes = figure.axes[0]
    labels_drawn = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.split(":")[0] for text in labels_drawn[:2]] == ["LCZ 1", "LCZ G"]
    assert axes.get_title(loc="left") == "city"
    colours = {tuple(patch.get_facecolor()[:3]) for patch in axes.get_legend().get_patches()}
    assert (0x6A / 255, 0x6A / 255, 1.0) in colours


FEW = ForestSettings(trees=10)


def test_features_are_bands_and_their_mean_and_deviation_around() -> None:
    channels = [Channel(name, "1") for name in "abc"]
    around = np.random.default_rng(0).uniform(0.1, 1.0, (4, 3, 7, 7)).astype(np.float32)
    around[1, 1, 1:6, 1:6] = np.nan
    around[2, 0, 3, 2] = np.nan
    features = patch_features(around, channels, 5)
    window = around[..., 1:6, 1:6]
    assert features.shape == (4, 9)
    np.testing.assert_array_equal(features[:, :3], around[..., 3, 3])
    assert np.isnan(features[1, [1, 4, 7]]).all()
    assert np.isnan(features).sum() == 3
    for place, band in ((2, 0), (3, 2)):
        expected = np.nanmean(window[place, band]), np.nanstd(window[place, band])
        np.testing.assert_allclose(features[place, [3 + band, 6 + band]], expected, rtol=1e-5)
    np.testing.assert_array_equal(patch_features(around, channels, 1), features[:, :3])


def test_power_enters_in_decibels() -> None:
    random = np.random.default_rng(3)
    power = random.gamma(1.0, 0.1, (60, 1, 3, 3)).astype(np.float32)
    labels = (power[:, 0, 1, 1] > 0.07).astype(int)
    samples = ZonePatches(power, labels, ("vv",), ("x", "y"))
    settings = ForestSettings(trees=3, window=3, decibel=("vv",))
    forest = train_forest(samples, settings, blocks=np.arange(60) // 6)
    assert forest.channels[0].transform == "decibel"
    thresholds = forest.threshold[forest.left >= 0].numpy()
    assert thresholds.min() < -2.0


def test_arrays_answer_as_scikit_learn_does() -> None:
    from sklearn.ensemble import RandomForestClassifier

    samples = patches(90, 5, noise=4.0)
    channels = zone_statistics(samples)
    features = patch_features(samples.image, channels, 3)
    model = RandomForestClassifier(15, random_state=0).fit(features, samples.labels)
    arrays = tree_arrays(model, 3) | {"usual": torch.zeros(features.shape[1])}
    forest = ZoneForest(channels, samples.classes, arrays, window=3)
    np.testing.assert_allclose(
        zone_probabilities(forest, samples), model.predict_proba(features), atol=1e-6
    )


def test_a_forest_learns_maps_and_comes_back_from_its_file(tmp_path: Path) -> None:
    stack, labels = city(48, 60)
    noise = np.random.default_rng(0).normal(0.0, 3.0, stack.shape)
    stack = stack.copy(data=stack.values + noise.astype(np.float32))
    samples = RasterPatches(stack, labels, size=5)
    place = spatial_folds(samples.labels, samples.x, samples.y, folds=2, width=700.0)
    here, there = (samples.subset(np.flatnonzero(place == number)) for number in (0, 1))
    blocks = (samples.x // 700 * 10_000 + samples.y // 700).astype(np.int64)[place == 0]
    forest, same = (train_forest(here, FEW, blocks=blocks, posting=100.0) for _ in range(2))
    for name, values in forest.state_dict().items():
        assert torch.equal(values, same.state_dict()[name])
    assert evaluate_zones(forest, there).average > 0.8
    zones = predict_zones(forest, stack)
    given = zone_probabilities(forest, samples)
    found = zones["probability"].sel(x=xr.DataArray(samples.x), y=xr.DataArray(samples.y)).T
    np.testing.assert_allclose(found.values, given, atol=1e-5)
    np.testing.assert_allclose(given.sum(axis=1), 1.0, rtol=1e-5)
    forest.save_pretrained(tmp_path / "model")
    assert model_kind(tmp_path / "model") == ZoneForest.kind
    again = ZoneForest.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(zone_probabilities(again, samples), given)
    assert sorted(each.name for each in (tmp_path / "model").iterdir()) == [
        "config.json", "model.safetensors",
    ]  # fmt: skip


def test_probabilities_are_calibrated_on_blocks_that_were_held_out() -> None:
    random = np.random.default_rng(1)
    # Two overlapping classes: how sure one may be is known.
    labels = random.integers(0, 2, 1200)
    image = (labels * 1.0 + random.normal(size=1200))[:, None, None, None].astype(np.float32)
    samples = ZonePatches(image, labels, ("a",), ("x", "y"))
    settings = ForestSettings(trees=30, window=1)
    forest = train_forest(samples, settings, blocks=np.arange(1200) // 40)
    assert forest.temperature > 1.5
    other = random.integers(0, 2, 2000)
    shown = (other * 1.0 + random.normal(size=2000))[:, None, None, None].astype(np.float32)
    given = zone_probabilities(forest, ZonePatches(shown, other, ("a",), ("x", "y")))
    raw = tempered(given, 1.0 / forest.temperature)
    assert calibration_error(given, other) < 0.06 < calibration_error(raw, other)
    # A temperature keeps the order of the classes.
    np.testing.assert_array_equal(raw.argmax(axis=1), given.argmax(axis=1))


def test_a_temperature_that_few_blocks_decide_stays_at_one() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 2, 600)
    blocks = np.arange(600) // 100
    sure = np.eye(2)[truth] * 0.6 + 0.2
    # Two of six blocks are wrong throughout, the others are right more often than is said.
    sure[:200] = sure[:200, ::-1]
    assert _block_temperature(sure, truth, blocks) == 1.0
    # With many blocks of one kind, underconfidence is certain.
    surer = np.eye(2)[truth] * 0.6 + 0.2
    assert _block_temperature(surer, truth, np.arange(600) // 10) < 0.5


def test_a_class_without_samples_is_never_assigned() -> None:
    samples = patches(60, 5)
    two = samples.subset(np.flatnonzero(samples.labels != 1))
    forest = train_forest(two, FEW, blocks=np.arange(len(two)) // 4)
    assert len(forest.classes) == 3
    assert zone_probabilities(forest, samples)[:, 1].max() < 1e-3


def test_patches_may_be_larger_than_the_neighbourhood_but_not_smaller() -> None:
    forest = train_forest(patches(30, 7), FEW)
    assert forest.temperature == 1.0
    image = torch.from_numpy(patches(6, 7).image)
    inner = forest.probabilities(image[..., 1:-1, 1:-1])
    torch.testing.assert_close(forest.probabilities(image), inner)
    with pytest.raises(ValueError, match="at least 5 cells"):
        forest.probabilities(torch.zeros(2, 4, 3, 3))


@pytest.mark.parametrize(
    ("name", "value"),
    [("left", 10**6), ("left", 0), ("right", -1), ("feature", 999), ("left", -(10**6))],
)
def test_trees_that_point_astray_are_refused(tmp_path: Path, name: str, value: int) -> None:
    samples = patches(30, 5, noise=4.0)
    forest = train_forest(samples, FEW)
    folder = forest.save_pretrained(tmp_path / "model")
    arrays = load_file(folder / "model.safetensors")
    inner = int(np.flatnonzero(arrays["left"].numpy() >= 0)[-1])
    arrays[name][inner] = value
    save_file(arrays, folder / "model.safetensors")
    described = json.loads((folder / "config.json").read_text())
    del described["sha256"]
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="point outside the trees or upwards"):
        ZoneForest.from_pretrained(folder)
