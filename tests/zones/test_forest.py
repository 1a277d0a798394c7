"""Forests for few labels: features, trees as arrays, calibration, files, maps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("sklearn", reason="the extra `learn` is not installed")

from pathlib import Path

from safetensors.torch import load_file, save_file

from sarheight.errors import CheckpointError
from sarheight.learning import Channel
from sarheight.learning.weights import model_kind
from sarheight.zones import (
    ForestSettings,
    RasterPatches,
    ZoneForest,
    ZonePatches,
    calibration_error,
    evaluate_zones,
    predict_zones,
    spatial_folds,
    train_forest,
    zone_probabilities,
)
from sarheight.zones.forest import (
    _block_temperature,
    patch_features,
    tempered,
    tree_arrays,
)
from sarheight.zones.samples import zone_statistics
from tests.zone_samples import city, patches

FEW = ForestSettings(trees=10)
RANDOM = np.random.default_rng(0)


def test_features_are_bands_and_their_mean_and_deviation_around() -> None:
    channels = [Channel(name, "1") for name in "abc"]
    around = RANDOM.uniform(0.1, 1.0, (4, 3, 7, 7)).astype(np.float32)
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


def blocks_of(samples: RasterPatches) -> np.ndarray:
    return (samples.x // 700 * 10_000 + samples.y // 700).astype(np.int64)


def noisy_city() -> tuple[xr.DataArray, RasterPatches]:
    stack, labels = city(48, 60)
    stack = stack + RANDOM.normal(0.0, 3.0, stack.shape).astype(np.float32)
    stack = stack.rio.write_crs(32633)
    return stack, RasterPatches(stack, labels, size=5)


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
    stack, samples = noisy_city()
    place = spatial_folds(samples.labels, samples.x, samples.y, folds=2, width=700.0)
    here, there = (samples.subset(np.flatnonzero(place == number)) for number in (0, 1))
    blocks = blocks_of(samples)[place == 0]
    forest = train_forest(here, FEW, blocks=blocks, posting=100.0)
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


def test_the_same_seed_gives_the_same_forest() -> None:
    _, samples = noisy_city()
    both = [train_forest(samples, FEW, blocks=blocks_of(samples)) for _ in range(2)]
    other = both[1].state_dict()
    for name, values in both[0].state_dict().items():
        assert torch.equal(values, other[name])


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
