"""Labelled patches from rasters, their splits, radar channels, and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sarheight.zones import (
    RADAR_CHANNELS,
    RasterPatches,
    ZonePatches,
    covariance,
    exclude_neighbours,
    polarimetric_channels,
    read_stack,
    refined_lee,
    spatial_folds,
    split_samples,
)
from sarheight.zones.classes import CLIMATE_ZONES, zone_of_code, zone_of_name
from sarheight.zones.evaluation import calibration_error, class_scores, scores_from_confusion
from sarheight.zones.samples import zone_statistics
from tests.conftest import shared_data
from tests.zone_samples import city, patches


def test_there_are_17_zones_with_their_own_names_and_colours() -> None:
    assert [zone.code for zone in CLIMATE_ZONES] == list(range(1, 18))
    assert len({zone.name for zone in CLIMATE_ZONES}) == 17
    assert len({zone.colour for zone in CLIMATE_ZONES}) == 17
    assert zone_of_code(17).label == "LCZ G: water"
    assert zone_of_code(101) == zone_of_name("dense_trees")
    assert zone_of_name("lawn") is None
    for code in (0, 18, 108):
        with pytest.raises(ValueError, match="1 to 17"):
            zone_of_code(code)


def test_patches_are_centred_on_their_labels() -> None:
    stack, labels = city()
    samples = RasterPatches(stack, labels, size=5)
    assert samples.classes == ("compact_high_rise", "open_low_rise", "water")
    assert samples.codes == (1, 6, 17)
    assert len(samples) == int((labels.values > 0).sum())
    codes = np.array(samples.codes)[samples.labels]
    for number in (0, 60, len(samples) - 1):
        place = {"x": samples.x[number], "y": samples.y[number]}
        assert labels.sel(place) == codes[number]
        middle = samples[number]["image"][:, 2, 2]
        np.testing.assert_array_equal(middle, stack.sel(place).values)
    row, column = 19, 31
    number = int(np.flatnonzero(
        (samples.y == stack.y.values[row]) & (samples.x == stack.x.values[column])
    )[0])  # fmt: skip
    around = stack.values[:, row - 2 : row + 3, column - 2 : column + 3]
    np.testing.assert_array_equal(samples[number]["image"], around)


def test_cells_beyond_the_edge_are_missing() -> None:
    stack, labels = city()
    samples = RasterPatches(stack, labels, size=8)
    corner = samples[0]["image"]
    assert np.isnan(corner[:, :3]).all()
    assert np.isnan(corner[:, :, :3]).all()
    assert np.isfinite(corner[:, 3:, 3:]).all()
    # Labels may lie on a coarser grid, and other classes have the given names.
    names = {17: "sea", 1: "town", 6: "village"}
    other = RasterPatches(stack, labels.where(labels > 0)[1::3, 1::3], size=8, names=names)
    assert other.classes == ("town", "village", "sea")
    np.testing.assert_array_equal(samples.labels, other.labels)
    np.testing.assert_array_equal(samples[[3, 9]]["image"], other[[3, 9]]["image"])


def test_nodata_is_missing_and_labels_without_data_are_dropped() -> None:
    stack, labels = city()
    whole = stack.astype(np.int16)
    whole.values[:, :10] = -99
    whole.values[0, 20:] = -99
    whole.attrs["_FillValue"] = np.int16(-99)
    samples = RasterPatches(whole, labels, size=3)
    assert samples.y.max() < stack.y.values[9]
    assert np.isnan(samples[len(samples) - 1]["image"][0]).all()
    assert np.isfinite(samples[len(samples) - 1]["image"][1, :, :2]).all()
    (green,) = zone_statistics(samples, channels=["green"])
    assert -5.0 < green.mean < 10.0


def test_several_rasters_make_one_stack(tmp_path: Path) -> None:
    stack, _ = city()
    stack.attrs["long_name"] = ("green", "red", "nir")
    stack.rio.to_raster(tmp_path / "may.tif")
    (stack * 2.0).assign_attrs(long_name=("green", "red", "nir")).rio.to_raster(
        tmp_path / "june.tif"
    )
    alone = read_stack(tmp_path / "may.tif")
    assert alone["band"].values.tolist() == ["green", "red", "nir"]
    both = read_stack(tmp_path / "may.tif", tmp_path / "june.tif")
    assert both["band"].values.tolist()[::3] == ["may_green", "june_green"]
    np.testing.assert_array_equal(both.values[3:], 2.0 * both.values[:3])
    assert both.rio.crs == stack.rio.crs


def test_splits_are_stratified_by_class() -> None:
    samples = patches(90)
    parts = split_samples(samples, seed=3)
    assert {name: part.counts().tolist() for name, part in parts.items()} == {
        "training": [24, 24, 24],
        "validation": [3, 3, 3],
        "test": [3, 3, 3],
    }
    images = np.concatenate([part.load().image for part in parts.values()])
    assert len(np.unique(images[:, 0, 0, 0])) == 90
    again = split_samples(samples, seed=3)["test"]
    np.testing.assert_array_equal(again.load().image, parts["test"].load().image)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 99))
def test_each_sample_is_in_exactly_one_part(labels: list[int], seed: int) -> None:
    count = len(labels)
    image = np.arange(count, dtype=np.float32)[:, None, None, None]
    samples = ZonePatches(image, labels, ["a"], list("vwxyz"))
    parts = split_samples(samples, seed=seed)
    split = np.concatenate([part.load().image.ravel() for part in parts.values()])
    np.testing.assert_array_equal(np.sort(split), np.arange(count))
    for number, total in enumerate(np.bincount(labels, minlength=5)):
        if total >= 3:
            assert all(part.counts()[number] > 0 for part in parts.values())


@settings(max_examples=12)
@given(st.integers(2, 5), st.integers(0, 99))
def test_folds_are_whole_blocks_with_all_classes(folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0.0, 30e3, (2, 600))
    labels = random.choice(4, 600, p=[0.6, 0.2, 0.15, 0.05])
    fold, nearby, again = (
        spatial_folds(labels, x + moved, y, folds=folds, width=3000.0, seed=seed)
        for moved in (0.0, 1e-3, 0.0)
    )
    assert set(fold) == set(range(folds))
    shares = np.array([np.bincount(labels[fold == k], minlength=4) for k in range(folds)])
    assert (shares > 0).all()
    part = shares.sum(axis=1) / 600.0
    assert part.min() > 0.5 / folds
    # Places that lie in one block are in one fold: a place beside another nearly always is.
    assert (nearby == fold).mean() > 0.99
    np.testing.assert_array_equal(again, fold)


def test_training_samples_close_to_held_out_ones_are_excluded() -> None:
    x, y = np.arange(10) * 100.0, np.zeros(10)
    kept = exclude_neighbours([0, 1, 2, 3, 4, 5], [7, 8], x, y, 300.0)
    np.testing.assert_array_equal(kept, [0, 1, 2, 3, 4])
    np.testing.assert_array_equal(exclude_neighbours([0, 9], [], x, y, 300.0), [0, 9])


def test_hong_kong_has_13_classes_at_7026_places() -> None:
    import rioxarray

    stack = read_stack(shared_data("lcz", "hongkong_landsat8_4dates_100m.tif"))
    labels = rioxarray.open_rasterio(shared_data("lcz", "hongkong_lcz_labels_100m.tif"))
    assert isinstance(labels, xr.DataArray)
    samples = RasterPatches(stack, labels, size=8)
    assert len(samples.channels) == 36
    assert samples.channels[0] == "2013333_B1"
    assert len(samples.classes) == 13
    assert 6900 < len(samples) <= 7026
    fold = spatial_folds(samples.labels, samples.x, samples.y, width=5000.0)
    lacking = [np.setdiff1d(np.unique(samples.labels), samples.labels[fold != k]) for k in range(5)]
    assert all(each.size == 0 for each in lacking)


POWER = {"vv": 0.2, "vh": 0.05}
CORRELATION = 0.6 * np.exp(1j * 0.8)


def speckle(shape: tuple[int, int] = (120, 130), seed: int = 0) -> tuple[xr.DataArray, ...]:
    """Draw fully developed speckle of VV and VH with a known covariance."""
    random = np.random.default_rng(seed)
    one, two = random.normal(0.0, np.sqrt(0.5), (2, *shape, 2)) @ [1.0, 1.0j]
    other = CORRELATION * one + np.sqrt(1.0 - abs(CORRELATION) ** 2) * two
    images = np.sqrt(POWER["vv"]) * one, np.sqrt(POWER["vh"]) * other
    coordinates = {"line": np.arange(shape[0]), "sample": np.arange(shape[1])}
    return tuple(
        xr.DataArray(image.astype(np.complex64), coordinates, ("line", "sample"))
        for image in images
    )


def squared(image: xr.DataArray) -> xr.DataArray:
    return image.copy(data=np.abs(image.values) ** 2)


def test_each_channel_agrees_with_its_definition() -> None:
    assert RADAR_CHANNELS == (
        "vh_real", "vh_imaginary", "vv_real", "vv_imaginary",
        "vh_intensity", "vv_intensity", "covariance_real", "covariance_imaginary",
    )  # fmt: skip
    vv, vh = speckle()
    found = polarimetric_channels(vv, vh)
    assert tuple(found) == RADAR_CHANNELS
    np.testing.assert_array_equal(found["vh_real"], vh.real)
    np.testing.assert_array_equal(found["vv_imaginary"], vv.imag)
    for name, image in (("vv", vv), ("vh", vh)):
        expected = refined_lee(squared(image), 1.0)
        np.testing.assert_allclose(found[f"{name}_intensity"], expected, rtol=1e-5)
        assert float(found[f"{name}_intensity"].mean()) == pytest.approx(POWER[name], rel=0.05)
    mixed = CORRELATION * np.sqrt(POWER["vv"] * POWER["vh"])
    for name, part in (("real", mixed.real), ("imaginary", mixed.imag)):
        assert float(found[f"covariance_{name}"].mean()) == pytest.approx(part, rel=0.05)
    assert all(each.dtype == np.float32 for each in found.values())
    assert all(each.attrs["units"] == "1" for each in found.values())
    assert found["line"].size == 120


def test_a_gap_in_one_image_is_a_gap_in_all_channels() -> None:
    vv, vh = speckle((30, 40))
    vv[10:14, 5:9] = np.nan
    vh[20, 30] = complex(np.nan, 0.0)
    missing = np.zeros(vv.shape, dtype=bool)
    missing[10:14, 5:9] = missing[20, 30] = True
    for layer in polarimetric_channels(vv, vh).values():
        np.testing.assert_array_equal(np.isnan(layer), missing)
    assert refined_lee(squared(vv) * np.nan, 4.0).isnull().all()


def test_covariance_is_a_mean_over_the_window() -> None:
    vv, vh = speckle((20, 25))
    product = vh.values * vv.values.conj()
    found = covariance(vh, vv, window=5).values
    assert found[9, 12] == pytest.approx(product[7:12, 10:15].mean(), rel=1e-5)
    assert found[0, 0] == pytest.approx(product[:3, :3].mean(), rel=1e-5)


@given(st.integers(0, 1000), st.sampled_from([1, 3, 7]))
def test_covariances_are_hermitian_and_bounded(seed: int, window: int) -> None:
    """Hermitian, with real power, and within the Cauchy-Schwarz bound."""
    vv, vh = speckle((12, 14), seed)
    mixed = covariance(vh, vv, window=window)
    np.testing.assert_allclose(mixed, covariance(vv, vh, window=window).conj(), atol=1e-7)
    one, two = covariance(vv, vv, window=window), covariance(vh, vh, window=window)
    np.testing.assert_allclose(one.imag, 0.0, atol=1e-7)
    limit = np.sqrt(one.values.real * two.values.real)
    assert (np.abs(mixed.values) <= limit * (1.0 + 1e-4) + 1e-7).all()


def test_the_filter_keeps_name_dims_and_attributes() -> None:
    power = xr.DataArray(
        np.random.default_rng(0).gamma(4.4, 1.0 / 4.4, (2, 30, 40)),
        {"polarisation": ["VV", "VH"]},
        ("polarisation", "line", "sample"),
        name="gamma0",
        attrs={"units": "1"},
    )
    found = refined_lee(power, 4.4)
    assert found.dims == power.dims
    assert found.name == "gamma0"
    assert found.attrs["units"] == "1"
    assert found.attrs["looks_assumed"] == 4.4
    for name in ("VV", "VH"):
        alone = refined_lee(power.sel(polarisation=name), 4.4)
        np.testing.assert_array_equal(found.sel(polarisation=name), alone)


NAMES = ["a", "b", "c"]
NUMBERS = st.lists(st.integers(0, 2), min_size=1, max_size=60)


def test_scores_of_a_small_confusion_matrix_agree_with_manual_ones() -> None:
    scores = scores_from_confusion([[4, 1, 0], [2, 2, 1], [0, 0, 0]], NAMES)
    assert scores.count == 10
    assert scores.overall == pytest.approx(0.6)
    assert scores.average == pytest.approx((0.8 + 0.4) / 2)
    chance = (5 * 6 + 5 * 3) / 100
    assert scores.kappa == pytest.approx((0.6 - chance) / (1 - chance))
    np.testing.assert_allclose(scores.recall, [0.8, 0.4, np.nan])
    np.testing.assert_allclose(scores.precision, [4 / 6, 2 / 3, 0.0])
    np.testing.assert_allclose(scores.f1, [8 / 11, 0.5, 0.0])
    assert scores.missing == ("c",)
    summary = scores.as_dict()
    assert summary["classes"]["c"] == {"count": 0, "recall": None, "precision": 0.0, "f1": 0.0}


@given(NUMBERS, st.randoms(use_true_random=False))
def test_scores_are_those_of_their_definitions(truth: list[int], random: object) -> None:
    found = [random.randrange(3) for _ in truth]  # type: ignore[attr-defined]
    scores = class_scores(truth, found, NAMES)
    pairs, count = list(zip(truth, found, strict=True)), len(truth)
    for row in range(3):
        assert scores.confusion[row].tolist() == [pairs.count((row, column)) for column in range(3)]
    agreed = sum(one == other for one, other in pairs) / count
    chance = sum(truth.count(each) * found.count(each) for each in range(3)) / count**2
    recalls = [pairs.count((each, each)) / truth.count(each) for each in sorted(set(truth))]
    assert scores.overall == pytest.approx(agreed)
    assert scores.average == pytest.approx(sum(recalls) / len(recalls))
    if chance < 1.0:
        assert scores.kappa == pytest.approx((agreed - chance) / (1.0 - chance))
    for each in set(truth) & set(found):
        precision, recall = scores.precision[each], scores.recall[each]
        if precision + recall > 0.0:
            assert scores.f1[each] == pytest.approx(2 * precision * recall / (precision + recall))


def test_kappa_is_0_for_a_constant_class_and_1_for_the_truth() -> None:
    truth = np.repeat([0, 1, 2], [800, 100, 100])
    always = class_scores(truth, np.zeros_like(truth), NAMES)
    assert always.overall == 0.8
    assert always.average == pytest.approx(1 / 3)
    assert always.kappa == pytest.approx(0.0)
    knowing = class_scores(truth, truth, NAMES)
    assert (knowing.overall, knowing.average, knowing.kappa) == (1.0, 1.0, 1.0)
    nothing = class_scores([], [], NAMES)
    assert np.isnan([nothing.overall, nothing.average, nothing.kappa]).all()
    assert nothing.as_dict()["overall"] is None


def test_calibration_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    random = np.random.default_rng(0)
    given_ = random.dirichlet(np.ones(3), 400)
    truth = random.integers(0, 3, 400)
    confidence, correct = given_.max(axis=1), given_.argmax(axis=1) == truth
    expected = 0.0
    for low in np.arange(15) / 15:
        chosen = (confidence > low) & (confidence <= low + 1 / 15)
        if chosen.any():
            gap = abs(correct[chosen].mean() - confidence[chosen].mean())
            expected += chosen.mean() * gap
    assert calibration_error(given_, truth) == pytest.approx(expected, abs=1e-6)
    # A calibrated classifier has none, and one that is sure that of its mistakes.
    calibrated = random.dirichlet(np.ones(3), 200_000)
    truth = (random.random((200_000, 1)) > np.cumsum(calibrated, axis=1)).sum(axis=1)
    assert calibration_error(calibrated, truth) < 0.01
    sure = np.eye(3)[calibrated.argmax(axis=1)]
    wrong = 1.0 - float((sure.argmax(axis=1) == truth).mean())
    assert calibration_error(sure, truth) == pytest.approx(wrong)
    assert np.isnan(calibration_error(np.zeros((0, 3)), []))
