"""Spatial splits, and the statistics of channels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from sarheight.dem import local_posting
from sarheight.learning import Part, split_bands
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
