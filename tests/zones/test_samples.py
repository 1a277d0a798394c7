"""Labelled patches from rasters, and their splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sarheight.zones import (
    RasterPatches,
    ZonePatches,
    exclude_neighbours,
    read_stack,
    spatial_folds,
    split_samples,
)
from sarheight.zones.classes import CLIMATE_ZONES, zone_of_code, zone_of_name
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


def test_labels_may_lie_on_a_coarser_grid() -> None:
    stack, labels = city()
    coarse = labels[1::3, 1::3]
    fine, other = RasterPatches(stack, labels, size=4), RasterPatches(stack, coarse, size=4)
    np.testing.assert_array_equal(fine.labels, other.labels)
    np.testing.assert_array_equal(fine[[3, 9]]["image"], other[[3, 9]]["image"])


def test_other_classes_have_the_given_names() -> None:
    stack, labels = city()
    samples = RasterPatches(
        stack, labels.where(labels > 0), size=3, names={17: "sea", 1: "town", 6: "village"}
    )
    assert samples.classes == ("town", "village", "sea")


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


@settings(max_examples=25)
@given(st.integers(2, 5), st.integers(0, 99))
def test_folds_are_whole_blocks_with_all_classes(folds: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0.0, 30e3, (2, 600))
    labels = random.choice(4, 600, p=[0.6, 0.2, 0.15, 0.05])
    fold = spatial_folds(labels, x, y, folds=folds, width=3000.0, seed=seed)
    assert set(fold) == set(range(folds))
    shares = np.array([np.bincount(labels[fold == k], minlength=4) for k in range(folds)])
    assert (shares > 0).all()
    part = shares.sum(axis=1) / 600.0
    assert part.min() > 0.5 / folds
    # Places that lie in one block are in one fold: a place beside another nearly always is.
    nearby = spatial_folds(labels, x + 1e-3, y, folds=folds, width=3000.0, seed=seed)
    assert (nearby == fold).mean() > 0.99
    again = spatial_folds(labels, x, y, folds=folds, width=3000.0, seed=seed)
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
