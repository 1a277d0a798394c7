"""Patches of city stacks, splits by place, and errors of heights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from sarheight.buildings import (
    OPTICAL_BANDS,
    SAR_BANDS,
    BuildingPatches,
    building_errors,
    footprint_iou,
    open_stack,
    select_bands,
    split_blocks,
    split_cities,
    stack_from_raster,
    write_stack,
)
from sarheight.buildings.stack import band_statistics
from sarheight.learning import Part
from tests.cities import real_series, small_stack
from tests.conftest import shared_data

STACK = small_stack(40, 40)


def without_months(stack: xr.Dataset, name: str, months: list[int]) -> xr.Dataset:
    """Return a stack that lacks some months of a modality."""
    there = ~np.isin(np.arange(stack.sizes["month"]), months)
    return stack.assign({name: stack[name].where(xr.DataArray(there, dims="month"))})


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)


def test_a_sample_is_what_the_stack_holds_there() -> None:
    patches = BuildingPatches([STACK], size=16)
    assert len(patches) == 9  # 16, 16, and what is left with an overlap
    sample = patches[4]
    assert sample["sar"].shape == (12, 4, 16, 16)
    assert sample["optical"].shape == (12, 12, 16, 16)
    assert sample["height"].shape == sample["footprint"].shape == (1, 16, 16)
    assert sample["sar_valid"].all()
    assert sample["month"].tolist() == list(range(1, 13))
    cut = STACK.isel(y=slice(16, 32), x=slice(16, 32))
    for name in ("sar", "optical"):
        np.testing.assert_array_equal(sample[name], cut[name])
    np.testing.assert_array_equal(sample["height"][0], cut["height"])


def test_bands_have_the_requested_order_and_absent_ones_are_missing() -> None:
    stack = STACK.sel(sar_band=["vv_ascending", "vh_ascending"])
    patches = BuildingPatches([stack], size=40, sar_bands=SAR_BANDS, optical_bands=["B08", "B02"])
    sample = patches[0]
    assert sample["sar"].shape[1] == 4
    assert np.isnan(sample["sar"][:, 2:]).all()
    np.testing.assert_array_equal(sample["optical"][:, 0], stack["optical"].sel(optical_band="B08"))
    only = BuildingPatches([stack], size=40, sar_bands=[], optical_bands=["B08"])[0]
    assert only["sar"].shape == (12, 0, 40, 40)
    assert not only["sar_valid"].any()


@pytest.mark.parametrize("modality", ["sar", "optical"])
def test_a_stack_of_one_modality_gives_samples_of_the_same_shape(modality: str) -> None:
    whole = BuildingPatches([STACK], size=20)[0]
    part = BuildingPatches([small_stack(modalities=[modality])], size=20)[0]
    assert {name: values.shape for name, values in part.items()} == {
        name: values.shape for name, values in whole.items()
    }
    other = ({"sar", "optical"} - {modality}).pop()
    assert np.isnan(part[other]).all()
    assert not part[f"{other}_valid"].any()
    assert part[f"{modality}_valid"].all()


def test_missing_months_are_flagged_and_short_series_are_filled_with_them() -> None:
    stack = without_months(STACK, "optical", [0, 6])
    sample = BuildingPatches([stack], size=20)[0]
    assert np.flatnonzero(~sample["optical_valid"]).tolist() == [0, 6]
    assert sample["sar_valid"].all()
    sample = BuildingPatches([small_stack(months=3)], size=20, months=5)[0]
    assert sample["month"].tolist() == [1, 2, 3, 0, 0]
    assert sample["sar_valid"].tolist() == [True, True, True, False, False]


def test_months_one_by_one_are_images_of_one_height() -> None:
    stack = without_months(STACK, "optical", [3])
    patches = BuildingPatches([stack], size=40, months=1)
    # The month without optical image is left out, as both are there in eleven others.
    assert [int(patches[k]["month"][0]) for k in range(len(patches))] == [
        *(1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12)
    ]
    first, last = patches[0], patches[10]
    np.testing.assert_array_equal(first["height"], last["height"])
    assert not np.array_equal(first["sar"], last["sar"])


def test_training_draws_months_anew_in_each_epoch() -> None:
    patches = BuildingPatches([STACK], size=40, months=1, augment=True)
    assert len(patches) == 1
    seen = set()
    for epoch in range(60):
        patches.set_epoch(epoch)
        seen.add(int(patches[0]["month"][0]))
    assert len(seen) == 12


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.integers(0, 100))
def test_samples_depend_on_seed_epoch_and_number_alone(seed: int, epoch: int) -> None:
    options: dict[str, Any] = {
        "size": 16, "augment": True, "drop_month": 0.3, "drop_modality": 0.5
    }  # fmt: skip
    one = BuildingPatches([STACK], seed=seed, **options)
    other = BuildingPatches([STACK], seed=seed, **options)
    one.set_epoch(epoch)
    one[0]
    other.set_epoch(epoch)
    assert same(one[5], other[5])
    other.set_epoch(epoch + 1)
    assert not same(one[5], other[5])


def test_a_mirror_swaps_the_passes() -> None:
    patches = BuildingPatches([STACK], size=40, augment=True)
    bands = ["vv_ascending", "vh_ascending"]
    of_one_pass = BuildingPatches([STACK], size=40, sar_bands=bands, augment=True)
    plain = BuildingPatches([STACK], size=40)[0]
    mirrored = 0
    for epoch in range(20):
        patches.set_epoch(epoch)
        of_one_pass.set_epoch(epoch)
        np.testing.assert_array_equal(of_one_pass[0]["height"], plain["height"])
        sample = patches[0]
        if np.array_equal(sample["height"], plain["height"]):
            assert same(sample, plain)
            continue
        mirrored += 1
        np.testing.assert_array_equal(sample["sar"], plain["sar"][:, [2, 3, 0, 1], :, ::-1])
        np.testing.assert_array_equal(sample["optical"], plain["optical"][..., ::-1])
        np.testing.assert_array_equal(sample["height"], plain["height"][..., ::-1])
    assert 3 < mirrored < 17


def drawn(**options: Any) -> Iterator[dict[str, NDArray[Any]]]:  # noqa: ANN401
    patches = BuildingPatches([STACK], size=16, augment=True, optical_bands=["B02"], **options)
    for epoch in range(150):
        patches.set_epoch(epoch)
        yield patches[4]


def test_modalities_are_dropped_at_the_given_rate_and_never_both() -> None:
    lost = np.array(
        [(not s["sar_valid"].any(), not s["optical_valid"].any()) for s in drawn(drop_modality=0.5)]
    )
    assert not lost.all(axis=1).any()
    assert 0.35 < lost.any(axis=1).mean() < 0.65
    assert (lost.sum(axis=0) > 20).all()


def test_months_are_dropped_at_the_given_rate_and_never_all() -> None:
    valid = np.array([(s["sar_valid"], s["optical_valid"]) for s in drawn(drop_month=0.4)])
    assert 0.55 < valid.mean() < 0.65
    for sample in drawn(drop_month=1.0, drop_modality=0.5, months=2):
        there = np.concatenate([sample["sar_valid"], sample["optical_valid"]])
        assert there.sum() == 1
        assert (np.isfinite(sample["sar"]).any(axis=(1, 2, 3)) == sample["sar_valid"]).all()


def test_patches_may_lack_heights_or_buildings() -> None:
    stack = STACK.drop_vars(["height", "footprint"])
    sample = BuildingPatches([stack], size=20, least_known=0.0)[0]
    assert np.isnan(sample["height"]).all()
    half = STACK.assign(height=STACK["height"].where(STACK["x"] < STACK["x"][20]))
    assert len(BuildingPatches([half], size=20)) == 2
    stack = STACK.assign(height=0.0 * STACK["height"], footprint=0.0 * STACK["footprint"])
    sample = BuildingPatches([stack], size=20)[0]
    assert (sample["height"] == 0.0).all()
    assert (sample["footprint"] == 0.0).all()


def test_patches_are_read_from_a_store_on_access(tmp_path: Path) -> None:
    path = write_stack(STACK, tmp_path / "city.zarr")
    lazy = BuildingPatches([open_stack(path, chunks={})], size=16)
    assert same(lazy[3], BuildingPatches([STACK], size=16)[3])


# --- splits ------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.floats(0.0, 60.0), st.floats(0.2, 0.8))
def test_blocks_lie_apart(seed: int, gap: float, share: float) -> None:
    shares = {"training": share, "test": 1.0 - share}
    found = split_blocks(STACK, shares, width=100.0, gap=gap, seed=seed)
    taken = np.zeros((40, 40), dtype=int)
    for part in (part for parts in found.values() for part in parts):
        taken[slice(*part.rows), slice(*part.columns)] += 1
    assert taken.max() == 1
    wide = -(-gap // 10.0)
    if wide:
        # No cell of one block is nearer to one of another than the gap.
        rows = np.flatnonzero(taken.any(axis=1))
        assert {step for step in np.diff(rows) if step > 1} <= {int(wide) + 1}
    assert abs(len(found["training"]) - share * 16) <= 1.0


def test_patches_stay_in_their_blocks() -> None:
    found = split_blocks(STACK, {"training": 0.5, "test": 0.5}, width=200.0, gap=40.0)
    cells = {
        name: {
            (row, column)
            for window in BuildingPatches([STACK], within=[parts], size=8, stride=4).windows
            for row in range(window.row, window.row + 8)
            for column in range(window.column, window.column + 8)
        }
        for name, parts in found.items()
    }
    assert not cells["training"] & cells["test"]
    assert min(map(len, cells.values())) > 100


def test_cities_are_split_as_a_whole() -> None:
    names = [f"city{k}" for k in range(10)]
    shares = {"training": 0.7, "validation": 0.1, "test": 0.2}
    found = split_cities(names, shares, seed=3)
    assert sorted(name for part in found.values() for name in part) == names
    assert [len(each) for each in found.values()] == [7, 1, 2]
    assert found == split_cities(names, shares, seed=3)


# --- statistics --------------------------------------------------------------------------------


def test_statistics_are_those_of_the_parts_for_training() -> None:
    part = Part((0, 20), (0, 40))
    found = band_statistics([STACK], within=[[part]], optical_bands=["B02"])
    power = STACK["sar"].sel(sar_band="vh_descending").isel(y=slice(0, 20)).values
    channel = found["sar"][3]
    assert channel.name == "vh_descending"
    assert channel.transform == "decibel"
    assert channel.mean == pytest.approx(float((10.0 * np.log10(power)).mean()), abs=1e-3)
    blue = STACK["optical"].sel(optical_band="B02").isel(y=slice(0, 20)).values
    assert found["optical"][0].std == pytest.approx(float(blue.std()), rel=1e-3)
    # A band that no stack has is neutral.
    (none,) = band_statistics([STACK.drop_vars("sar")], sar_bands=["vv_ascending"])["sar"]
    assert (none.mean, none.std) == (0.0, 1.0)


# --- real series through a network -------------------------------------------------------------


def test_real_series_of_all_kinds_run_through_one_network_to_a_map() -> None:
    torch = pytest.importorskip("torch")
    from sarheight.buildings import BuildingHeightEstimator, predict_buildings
    from sarheight.learning import Tiling

    torch.set_num_threads(1)
    chip = shared_data("sentinel1", "terramesh_chips", "282D_485L_3_3.tif")
    bands = ["vv_descending", "vh_descending", "dem", *OPTICAL_BANDS]
    single = stack_from_raster(chip, bands, "2020-07-01", decibels=0.01, offset=0.0)
    stacks = [each.isel(x=slice(0, 40), y=slice(0, 32)) for each in (real_series(), single)]
    channels = band_statistics(stacks)
    options = {"width": 8, "depth": 2, "months_width": 8, "heads": 2}
    estimator = BuildingHeightEstimator(channels, options=options)
    patches = BuildingPatches(stacks, size=32, months=12, least_known=0.0)
    (sample,) = torch.utils.data.DataLoader(patches, batch_size=len(patches))
    heights = estimator(sample).height
    assert heights.shape == (len(patches), 1, 32, 32)
    assert torch.isfinite(heights).all()
    for stack in stacks:
        city = predict_buildings(estimator, select_bands(stack), tiling=Tiling(24, 8))
        assert city["height"].shape == (32, 40)
        assert bool(np.isfinite(city["height"]).all())
        assert city.rio.crs == stack.rio.crs


def test_selected_bands_are_added_and_others_dropped() -> None:
    stack = STACK.sel(sar_band=["vh_descending"])
    found = select_bands(stack, optical_bands=["B11", "B02"])
    assert list(found["sar_band"].values) == list(SAR_BANDS)
    assert found["sar"].notnull().any(dim=("month", "y", "x")).values.tolist() == [
        *(False, False, False, True)
    ]
    assert list(found["optical_band"].values) == ["B11", "B02"]
    assert "optical" not in select_bands(stack, optical_bands=[])


HEIGHTS = arrays(np.float64, (5, 4), elements=st.floats(0.0, 100.0))


def test_all_cells_and_built_cells_are_two_figures() -> None:
    truth = np.array([0.0, 0.0, 0.0, 10.0])
    errors = building_errors(np.array([0.0, 0.0, 0.0, 6.0]), truth)
    assert errors.everywhere.rmse == pytest.approx(2.0)
    assert errors.buildings.rmse == pytest.approx(4.0)
    assert (errors.everywhere.mae, errors.buildings.mae) == (1.0, 4.0)
    assert (errors.everywhere.bias, errors.buildings.bias) == (-1.0, -4.0)
    assert (errors.everywhere.count, errors.buildings.count) == (4, 1)
    # The truth varies by 18.75 square metres over all cells, and not at all over one.
    assert errors.everywhere.r2 == pytest.approx(1.0 - 4.0 / 18.75)
    assert math.isnan(errors.buildings.r2)


@given(truth=HEIGHTS, estimate=HEIGHTS)
@settings(max_examples=50, deadline=None)
def test_figures_keep_their_definitions(truth: np.ndarray, estimate: np.ndarray) -> None:
    errors = building_errors(estimate, truth)
    everywhere = errors.everywhere
    assert everywhere.rmse >= everywhere.mae - 1e-9
    assert everywhere.mae >= abs(everywhere.bias) - 1e-9
    # The mean of the truth has an R² of 0, and the truth one of 1.
    if truth.std() > 1e-3:
        mean = building_errors(np.full_like(truth, truth.mean()), truth).everywhere
        assert mean.r2 == pytest.approx(0.0, abs=1e-9)
        assert building_errors(truth, truth).everywhere.r2 == 1.0
    # Every built cell is in one class.
    assert sum(each.count for each in errors.classes.values()) == errors.buildings.count
    squares = [e.count * e.rmse**2 for e in errors.classes.values() if e.count]
    if errors.buildings.count:
        total = errors.buildings.count * errors.buildings.rmse**2
        assert sum(squares) == pytest.approx(total, rel=1e-9, abs=1e-9)


@given(truth=HEIGHTS, estimate=HEIGHTS, threshold=st.floats(0.5, 50.0))
@settings(max_examples=50, deadline=None)
def test_intersection_over_union_is_symmetric_and_one_for_the_same(
    truth: np.ndarray, estimate: np.ndarray, threshold: float
) -> None:
    one = footprint_iou(estimate, truth, threshold=threshold)
    other = footprint_iou(truth, estimate, threshold=threshold)
    assert one == pytest.approx(other, nan_ok=True)
    if (truth >= threshold).any():
        assert footprint_iou(truth, truth, threshold=threshold) == 1.0


def test_the_threshold_decides_what_a_footprint_is() -> None:
    truth, estimate = np.array([0.0, 2.0, 10.0, 10.0]), np.array([1.5, 0.0, 8.0, 12.0])
    assert footprint_iou(estimate, truth, threshold=1.0) == pytest.approx(2 / 4)
    assert footprint_iou(estimate, truth, threshold=5.0) == 1.0
    assert building_errors(estimate, truth, built_from=5.0).iou == 1.0


def test_unknown_cells_are_ignored() -> None:
    truth = np.array([10.0, np.nan, 0.0, 20.0])
    estimate = np.array([12.0, 5.0, np.nan, 20.0])
    errors = building_errors(estimate, truth)
    assert errors.everywhere.count == errors.buildings.count == 2
    assert errors.everywhere.bias == 1.0
    chosen = building_errors(estimate, truth, where=np.array([True, True, True, False]))
    assert (chosen.everywhere.count, chosen.everywhere.rmse) == (1, 2.0)


def test_a_city_without_buildings_has_no_figures_of_buildings() -> None:
    errors = building_errors(np.zeros((3, 3)), np.zeros((3, 3)))
    assert errors.everywhere.rmse == 0.0
    assert errors.buildings.count == 0
    assert math.isnan(errors.buildings.rmse)
    assert math.isnan(errors.iou)
    nothing = building_errors(np.full(4, np.nan), np.zeros(4))
    assert nothing.everywhere.count == 0


def test_figures_have_names() -> None:
    figures = building_errors(np.array([3.0, 0.0]), np.array([4.0, 0.0])).as_dict()
    assert figures["rmse"] == pytest.approx(math.sqrt(0.5))
    assert figures["buildings_rmse"] == 1.0
    assert figures["0-5 m_count"] == 1
    assert figures["40 m and more_count"] == 0
    assert (figures["iou"], figures["built_from"]) == (1.0, 1.0)
