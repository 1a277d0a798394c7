"""Ground range: polynomials that change along azimuth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.errors import AnnotationError
from sarheight.scene import GroundRange, RadarGrid
from tests.annotations import (
    annotation_xml,
)
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]


def two_records() -> GroundRange:
    return GroundRange(
        time=np.array([0.0, 2.0]),
        slant_origin=np.array([800e3, 800e3]),
        slant_to_ground=np.array([[0.0, 2.0, -1e-6], [100.0, 2.1, -1e-6]]),
        ground_origin=np.array([0.0, 0.0]),
        ground_to_slant=np.array([[800e3, 0.5], [800e3, 0.5]]),
    )


def test_ground_range_is_interpolated_between_records_and_held_beyond() -> None:
    records = two_records()
    at = records.ground(810e3, [-5.0, 0.0, 0.5, 1.0, 2.0, 9.0])
    first, last = 19_900.0, 21_000.0
    np.testing.assert_allclose(
        at, [first, first, 0.75 * first + 0.25 * last, (first + last) / 2, last, last]
    )
    assert float(records.delayed(1.0).ground(810e3, 2.0)) == float(records.ground(810e3, 1.0))


@given(st.floats(0.0, 200e3), st.floats(-1.0, 3.0))
def test_ground_range_is_inverted_exactly(ground: float, time: float) -> None:
    records = two_records()
    slant = records.slant(ground, time)
    assert float(records.ground(slant, time)) == pytest.approx(ground, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": np.array([2.0, 0.0])}, "strictly ascending"),
        ({"time": np.array([0.0, 0.0])}, "strictly ascending"),
        ({"slant_origin": np.array([800e3])}, "found slant_origin of shape"),
        ({"slant_to_ground": np.array([[0.0, np.nan], [0.0, 1.0]])}, "found slant_to_ground"),
    ],
)
def test_records_that_make_no_sense_are_refused(change: dict[str, Floats], message: str) -> None:
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
        RadarGrid.from_annotation(swapped.encode())


def test_records_that_are_stamped_late_are_shifted_back() -> None:
    grid, orbit = synthetic_grid(lines=9000, samples=1100)
    records = grid.ground_range
    assert records is not None
    # Terrain height jumps from record to record, as in mountains.
    jumps = np.random.default_rng(3).normal(scale=50.0, size=records.time.size)
    jagged = replace(
        records, slant_to_ground=records.slant_to_ground + jumps[:, None] * (np.arange(9) == 0)
    )
    grid = replace(grid, ground_range=jagged)
    # The points of the annotation are placed by the true records, which are then stamped late.
    xml = annotation_xml(grid, orbit)
    late = annotation_xml(replace(grid, ground_range=jagged.delayed(0.21)), orbit)
    begin = late.index("<coordinateConversion>")
    read = RadarGrid.from_annotation(
        (xml[: xml.index("<coordinateConversion>")] + late[begin:]).encode()
    )
    assert read.ground_range is not None
    shift = float((orbit.epoch - read.epoch) / np.timedelta64(1, "ns")) * 1e-9
    np.testing.assert_allclose(read.ground_range.time, records.time + shift, rtol=0, atol=1e-4)
