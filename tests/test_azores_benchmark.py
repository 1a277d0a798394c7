"""A crop of a real measurement, and the statistics of speckle on an image made here."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.azores import (
    MULTILOOK,
    WATER,
    WINDOW,
    crop,
    distance_from_exponential,
    expected_looks,
    place_of_land,
    speckle,
)
from tests.conftest import SHARED_DATA, shared_data


def test_speckle_of_gaussian_numbers_is_found_under_texture() -> None:
    generator = np.random.default_rng(0)
    shape = 10 * WINDOW[0], 8 * WINDOW[1]
    number = generator.standard_normal(shape) + 1j * generator.standard_normal(shape)
    level = 1.0 + 0.3 * np.sin(np.arange(shape[1]) / 40.0)
    found = speckle(np.abs(number) ** 2)
    assert found.second_moment[0] == pytest.approx(2.0, abs=4 * found.second_moment[1])
    assert found.passed[0] > 0.9
    assert found.looks[0] == pytest.approx(math.prod(MULTILOOK), rel=0.15)
    rough = speckle(level * np.abs(number) ** 2)
    assert rough.second_moment[0] == pytest.approx(2.0, abs=0.04)
    assert rough.texture[0] > 0.1


def test_five_percent_of_exponential_samples_fail() -> None:
    generator = np.random.default_rng(1)
    failed = [
        distance_from_exponential(generator.exponential(3.0, 300)) > 1.094 for _ in range(1000)
    ]
    assert np.mean(failed) == pytest.approx(0.05, abs=0.02)
    assert distance_from_exponential(generator.gamma(1.5, 1.0, 300)) > 1.094


def test_a_crop_of_a_measurement_lies_where_it_should() -> None:
    shared_data("radar_pixels", "azores_slc")
    found = crop(str(SHARED_DATA))
    assert found.power.shape == found.grid.shape == (601, 1401)
    # Monte Brasil, to the precision of its published coordinates and of its displaced slopes.
    latitude, longitude = place_of_land(found)
    assert latitude == pytest.approx(38.645, abs=0.002)
    assert longitude == pytest.approx(-27.225, abs=0.002)
    water = found.power[WATER]
    assert -30.0 < 10.0 * math.log10(float(np.median(water))) < -20.0
    seen = speckle(water)
    # The sea at a coast is a little more spiked than Rayleigh's distribution.
    assert 1.95 < seen.second_moment[0] < 2.3
    assert 0.7 * expected_looks(found) < seen.looks[0] < 1.1 * expected_looks(found)
