"""What results say of how their images were taken."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sarheight.acquisition import (
    acquisition_json,
    acquisition_record,
    acquisitions,
    orbit_numbers,
    relative_orbit,
)
from sarheight.sentinel1 import read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.results import PRODUCT, masks_of, result_of, scene

NAMES = {
    ANNOTATIONS[0]: ("S1B", "GRD", "descending", "2021-04-01T05:26:23", "2021-04-01T05:26:48"),
    ANNOTATIONS[5]: ("S1A", "SLC", "ascending", "2022-10-16T01:50:44", "2022-10-16T01:51:09"),
    ANNOTATIONS[6]: ("S1A", "SLC", "descending", "2023-01-08T13:52:51", "2023-01-08T13:53:16"),
}


@pytest.mark.parametrize("name", NAMES)
def test_records_agree_with_the_names_of_real_annotations(name: str) -> None:
    path = shared_data("sentinel1", *name.split("/"))
    mission, product, state, start, end = NAMES[name]
    record = acquisition_record(read_grid(path), read_orbit(path))
    assert record["mission"] == mission
    assert record["product"] == product
    assert record["mode"] == "IW"
    assert record["orbit_state"] == state
    assert record["center_frequency"] == pytest.approx(5.405, abs=1e-3)
    for text, written in ((record["start"], start), (record["end"], end)):
        assert text.endswith("Z")
        apart = np.datetime64(text.rstrip("Z")) - np.datetime64(written)
        assert abs(apart / np.timedelta64(1, "s")) < 1.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (PRODUCT, {"absolute_orbit": 26269, "relative_orbit": 168}),
        (
            "S1A_IW_SLC__1SDV_20230904T063730_20230904T063757_050174_0609E3_DAA1.SAFE",
            {"absolute_orbit": 50174, "relative_orbit": 52},
        ),
        ("S2A_MSIL1C_20210401", {}),
        ("", {}),
    ],
)
def test_the_name_of_a_product_tells_its_orbit(name: str, expected: dict[str, int]) -> None:
    assert orbit_numbers(name) == expected


def test_results_carry_a_record_for_each_pass() -> None:
    one = acquisitions(result_of(polarisations=2).attrs)
    two = acquisitions(result_of(polarisations=2, passes=2).attrs)
    assert [record["orbit_state"] for record in two] == ["ascending", "descending"]
    assert one == two[:1]
    assert one[0]["polarisations"] == ["VV", "VH"]
    assert one[0]["calibration"] == "beta0"
    assert one[0]["absolute_orbit"] == 26269
    assert acquisitions(masks_of().attrs)[0]["mission"] == "S1B"
    assert acquisitions({}) == []


def test_the_times_are_those_of_the_lines() -> None:
    image = scene()
    first = json.loads(acquisition_json([image]))[0]
    grid = image.grid
    seconds = np.datetime64(first["end"].rstrip("Z")) - np.datetime64(first["start"].rstrip("Z"))
    expected = (grid.lines - 1) * grid.line_interval
    assert seconds / np.timedelta64(1, "s") == pytest.approx(expected, abs=2e-6)
    later = replace(image, grid=grid.with_epoch(grid.epoch - np.timedelta64(7, "s")))
    assert json.loads(acquisition_json([later]))[0] == first


@pytest.mark.parametrize(
    ("mission", "absolute", "when", "relative"),
    [
        ("S1A", 46693, "2023-01-08", 71),
        ("S1A", 45461, "2022-10-16", 64),
        ("S1B", 26269, "2021-04-01", 168),
        ("S1D", 4762, "2026-09-27", 171),
    ],
)
def test_relative_orbits_are_those_of_known_passes(
    mission: str, absolute: int, when: str, relative: int
) -> None:
    assert relative_orbit(mission, absolute, np.datetime64(when)) == relative


def test_a_mission_that_moved_is_counted_anew() -> None:
    before, after = np.datetime64("2026-06-01"), np.datetime64("2026-07-01")
    assert relative_orbit("S1C", 1000, before) == (1000 - 172) % 175 + 1
    assert relative_orbit("S1C", 1000, after) == (1000 - 99) % 175 + 1
    with pytest.raises(ValueError, match="found mission 'ERS'"):
        relative_orbit("ERS", 1, before)
