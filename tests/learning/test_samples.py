"""Spatial splits, statistics of channels, and errors of heights."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sarheight.dem import local_posting
from sarheight.learning import Channel, ChannelStatistics, Part, height_errors, split_bands
from sarheight.learning.channels import require_power
from sarheight.learning.split import require_disjoint
from tests.dems import dem_around


def test_bands_are_disjoint_and_fill_the_scene() -> None:
    heights = dem_around(46.0, 10.0, np.zeros((60, 200))).to_dataset(name="height")
    bands = split_bands(heights, {"train": 0.6, "validation": 0.2, "test": 0.2}, gap=300.0)
    gap = int(np.ceil(300.0 / local_posting(heights["height"])[1]))
    edges = [bands[name].columns for name in ("train", "validation", "test")]
    assert edges[0][0] == 0
    assert edges[2][1] == 200
    assert [later[0] - earlier[1] for earlier, later in pairwise(edges)] == [gap, gap]
    assert all(band.rows == (0, 60) for band in bands.values())
    widths = [last - first for first, last in edges]
    assert widths[0] == pytest.approx(0.6 * (200 - 2 * gap), abs=1)
    assert bands["test"].of(heights).sizes == {"y": 60, "x": widths[2]}


def test_impossible_bands_are_refused() -> None:
    heights = dem_around(46.0, 10.0, np.zeros((20, 30))).to_dataset(name="height")
    with pytest.raises(ValueError, match="sum to 1"):
        split_bands(heights, {"train": 0.5, "test": 0.4})
    with pytest.raises(ValueError, match="at least as wide as a gap"):
        split_bands(heights, {"train": 0.5, "test": 0.5}, gap=2000.0)


def test_a_part_lies_inside_its_scene() -> None:
    scene = dem_around(46.0, 10.0, np.zeros((20, 30))).to_dataset(name="height")
    assert Part.whole(scene) == Part((0, 20), (0, 30))
    xr.testing.assert_identical(Part.whole(scene).of(scene), scene)
    for rows, columns in (((0, 21), (0, 30)), ((-5, 20), (0, 30)), ((0, 20), (7, 7))):
        with pytest.raises(ValueError, match="of a scene of 20 x 30 cells, expected it inside"):
            Part(rows, columns).of(scene)


def test_parts_for_training_and_validation_share_no_cell() -> None:
    west, east = Part((0, 20), (0, 15)), Part((0, 20), (15, 30))
    corner, north = Part((19, 40), (14, 20)), Part((0, 5), (10, 20))
    assert not west.overlaps(east)
    assert west.overlaps(corner) == corner.overlaps(west) is True
    require_disjoint(2, [[west], []], [[east], [west]])
    with pytest.raises(ValueError, match=r"of scene 1 that overlap.*expected disjoint parts"):
        require_disjoint(2, [[west], [east, west]], [[east], [north]])
    with pytest.raises(ValueError, match="of 1 scenes for training and of 2 for validation"):
        require_disjoint(2, [[west]], [[east], []])


@pytest.mark.parametrize("shape", [(30, 40), (3, 5)])
def test_decibels_are_refused_as_power(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    power = random.gamma(4.0, 0.02, size=shape) - 0.02
    power[0] = np.nan
    require_power("gamma0", power)
    require_power("gamma0", np.full(shape, np.nan))
    # Calm water: hardly any echo, and the noise taken off.
    require_power("gamma0", random.exponential(0.006, size=shape) - 0.006)
    with pytest.raises(ValueError, match=r"gamma0 with a median of -.* look like decibels"):
        require_power("gamma0", 10.0 * np.log10(np.abs(power)))


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=6),
    st.floats(-1e4, 1e4),
    st.integers(0, 2**32 - 1),
)
def test_statistics_do_not_depend_on_the_parts(sizes: list[int], offset: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    parts = [offset + random.normal(size=size) for size in [*sizes, 7]]
    for part in parts:
        part[random.random(part.size) < 0.1] = np.nan
    parts[-1][:2] = offset, offset + 1.0
    statistics = ChannelStatistics([Channel("a", "m")])
    for part in parts:
        statistics.update({"a": part})
    (found,) = statistics.channels()
    whole = np.concatenate(parts)
    assert found.mean == pytest.approx(np.nanmean(whole), rel=1e-12, abs=1e-9)
    assert found.std == pytest.approx(np.nanstd(whole), rel=1e-6)


def test_statistics_are_those_after_the_transform() -> None:
    power = np.array([[1.0, 0.1], [0.0, np.nan]], dtype=np.float32)
    statistics = ChannelStatistics([Channel("a", "1", "decibel"), Channel("b", "1", "log")])
    statistics.update({"a": power})
    statistics.update({"b": power})
    decibels, logarithms = statistics.channels()
    expected = np.array([0.0, -10.0, -60.0])
    assert (decibels.mean, decibels.std) == pytest.approx((expected.mean(), expected.std()))
    assert logarithms.mean == pytest.approx(np.log1p([1.0, 0.1, 0.0]).mean())


def test_channels_that_do_not_vary_are_refused() -> None:
    statistics = ChannelStatistics([Channel(name, "1") for name in "abc"])
    statistics.update({"a": np.arange(4.0), "b": np.full(9, 0.1, np.float32)})
    with pytest.raises(ValueError, match=r"in b \(9 values.*, c \(0 values"):
        statistics.channels()
    statistics.update({"b": [5.0]})
    with pytest.raises(ValueError, match="expected channels that vary"):
        statistics.channels()
    assert statistics.channels(allow_empty=True)[2] == Channel("c", "1")


HEIGHTS = arrays(np.float64, (5, 4), elements=st.floats(0.0, 4000.0))


def test_errors_of_a_case_computed_by_hand() -> None:
    truth = np.array([100.0, 200.0, 300.0, 400.0])
    found = height_errors(truth + np.array([1.0, -1.0, 3.0, -7.0]), truth, datum=0.0)
    assert found.count == 4
    assert found.rmse == pytest.approx(np.sqrt(60.0 / 4.0))
    assert found.mae == 3.0
    assert found.median == 2.0
    assert found.bias == -1.0
    assert found.le90 == pytest.approx(3.0 + 0.7 * 4.0)
    expected = np.abs(np.log10([1.01, 0.995, 1.01, 393.0 / 400.0])).mean()
    assert found.log_error == pytest.approx(expected)
    assert found.delta_1 == 1.0


def test_ratios_count_from_the_datum() -> None:
    truth = np.array([1000.0, 1010.0, 1100.0])
    estimate = np.array([1000.0, 1014.0, 1150.0])
    low = height_errors(estimate, truth)
    assert low.datum == 1000.0
    # 14 / 10 is within 1.25 squared, 150 / 100 too, and neither within 1.25.
    assert (low.delta_1, low.delta_2) == (pytest.approx(1 / 3), 1.0)
    assert height_errors(estimate, truth, datum=0.0).delta_1 == 1.0


@given(HEIGHTS, HEIGHTS, st.floats(-500.0, 500.0))
def test_a_shift_of_the_estimate_is_a_shift_of_the_bias(
    truth: np.ndarray, estimate: np.ndarray, shift: float
) -> None:
    before, after = height_errors(estimate, truth), height_errors(estimate + shift, truth)
    assert after.bias == pytest.approx(before.bias + shift, abs=1e-8)
    assert before.mae <= before.rmse + 1e-9
    assert before.rmse**2 >= before.bias**2 - 1e-6
    assert before.median <= before.le90 + 1e-9


@given(HEIGHTS, arrays(bool, (5, 4)))
def test_cells_without_a_height_are_left_out(truth: np.ndarray, hidden: np.ndarray) -> None:
    estimate = truth + np.arange(20.0).reshape(5, 4)
    by_where = height_errors(estimate, truth, where=~hidden)
    by_nan = height_errors(np.where(hidden, np.nan, estimate), truth)
    np.testing.assert_equal(by_where.as_dict(), by_nan.as_dict() | {"datum": by_where.datum})
    assert by_where.count == 20 - hidden.sum()


def test_shapes_and_masks_must_fit() -> None:
    with pytest.raises(ValueError, match="expected one shape"):
        height_errors([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="boolean"):
        height_errors([1.0, 2.0], [1.0, 2.0], where=[1, 0])
