"""Ground range: polynomials that change along azimuth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sarheight.errors import AnnotationError
from sarheight.ground_range import GroundRange, RangeInterpolation
from sarheight.sentinel1 import read_grid
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

EPOCH = np.datetime64("2024-01-01T05:00:00")


def two_records() -> GroundRange:
    return GroundRange(
        time=np.array([0.0, 2.0]),
        slant_origin=np.array([800e3, 800e3]),
        slant_to_ground=np.array([[0.0, 2.0, -1e-6], [100.0, 2.1, -1e-6]]),
        ground_origin=np.array([0.0, 0.0]),
        ground_to_slant=np.array([[800e3, 0.5], [800.5e3, 0.5]]),
    )


def test_ground_range_is_interpolated_between_records_and_held_beyond() -> None:
    records = two_records()
    at = records.ground(810e3, [-5.0, 0.0, 0.5, 1.0, 2.0, 9.0])
    first, last = 19_900.0, 21_000.0
    np.testing.assert_allclose(
        at, [first, first, 0.75 * first + 0.25 * last, (first + last) / 2, last, last]
    )
    assert float(records.shift_time(1.0).ground(810e3, 2.0)) == float(records.ground(810e3, 1.0))


def test_the_nearest_record_is_taken_as_it_is() -> None:
    records = replace(two_records(), interpolation="nearest")
    ground = 10_000.0
    first, last = 805_000.0, 805_500.0
    at = records.slant(ground, [-5.0, 0.0, 0.999, 1.0, 1.001, 2.0, 9.0])
    np.testing.assert_array_equal(at, [first, first, first, last, last, last, last])
    # Its own polynomial from ground to slant range, not the inverse of the other one.
    linear = two_records().slant(ground, [0.0, 2.0])
    assert (np.abs(linear - [first, last]) > 10.0).all()


def test_a_single_record_serves_all_lines() -> None:
    for interpolation in get_args(RangeInterpolation):
        records = two_records()
        single = GroundRange(
            *(
                getattr(records, name)[:1]
                for name in (
                    "time",
                    "slant_origin",
                    "slant_to_ground",
                    "ground_origin",
                    "ground_to_slant",
                )
            ),
            interpolation=interpolation,
        )
        slant = single.slant(10_000.0, [-1.0, 0.0, 7.0])
        np.testing.assert_array_equal(slant, slant[0])
        np.testing.assert_allclose(single.ground(slant, 3.0), 10_000.0, rtol=0, atol=1e-6)


@given(st.floats(0.0, 200e3), st.floats(-1.0, 3.0), st.sampled_from(get_args(RangeInterpolation)))
def test_ground_range_is_inverted_exactly(
    ground: float, time: float, interpolation: RangeInterpolation
) -> None:
    records = replace(two_records(), interpolation=interpolation)
    slant = records.slant(ground, time)
    assert float(records.ground(slant, time)) == pytest.approx(ground, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": np.array([2.0, 0.0])}, "strictly ascending"),
        ({"time": np.array([0.0, 0.0])}, "strictly ascending"),
        ({"slant_origin": np.array([800e3])}, "found slant_origin of shape"),
        ({"slant_to_ground": np.array([[0.0, np.nan], [0.0, 1.0]])}, "found slant_to_ground"),
        ({"interpolation": "cubic"}, "found interpolation 'cubic' .* expected 'linear' or 'near"),
    ],
)
def test_records_that_make_no_sense_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(two_records(), **change)


def test_an_annotation_with_damaged_records_is_refused() -> None:
    xml = annotation_xml(*synthetic_grid(lines=2000))
    head, body = xml.split("<coordinateConversionList>")
    records = body.split("<coordinateConversion>")
    swapped = (
        head
        + "<coordinateConversionList><coordinateConversion>"
        + ("<coordinateConversion>".join([*records[2:0:-1], *records[3:]]))
    )
    with pytest.raises(AnnotationError, match=r"XML from memory: .* strictly ascending"):
        read_grid(swapped.encode())


def test_an_annotation_is_read_as_linear_and_may_be_taken_otherwise() -> None:
    grid = read_grid(annotation_xml(*synthetic_grid(lines=2000)).encode())
    assert grid.ground_range is not None
    assert grid.ground_range.interpolation == "linear"
    nearest = grid.with_range_interpolation("nearest")
    assert nearest.ground_range is not None
    assert nearest.ground_range.interpolation == "nearest"
    # At a record both are the same, but for how well its two polynomials agree.
    time = grid.ground_range.time[1]
    assert nearest.ground_range.slant(700.0, time) == pytest.approx(
        grid.ground_range.slant(700.0, time), abs=1e-3
    )
    # It is kept by what is made of the grid.
    for made in (nearest.crop(slice(3, 50)), nearest.multilook(2, 2), nearest.with_epoch(EPOCH)):
        assert made.ground_range is not None
        assert made.ground_range.interpolation == "nearest"


def test_a_slant_range_grid_has_no_records_to_interpolate() -> None:
    grid, _ = synthetic_grid(ground_range=False, sample_spacing=2.3)
    with pytest.raises(ValueError, match="slant-range grid and interpolation='nearest'"):
        grid.with_range_interpolation("nearest")
