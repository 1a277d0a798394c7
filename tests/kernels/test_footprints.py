"""Footprints have the moments of the quarters that they stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.footprints import CELL_FIELDS, FACET_FIELDS, PITCH, facet_row, place_cells

Floats = NDArray[np.float64]

place = st.floats(-20.0, 20.0)


def fields(line: Floats, sample: Floats, energy: float = 1.0) -> NDArray[np.float32]:
    """Describe the one facet between 2 x 2 posts."""
    table = np.zeros(FACET_FIELDS * PITCH, np.float32)
    facet_row(line[0], line[1], sample[0], sample[1], np.full(1, energy, np.float32), 1, table)
    return table.reshape(FACET_FIELDS, PITCH)[:, 0]


@given(st.lists(place, min_size=8, max_size=8))
def test_quarters_have_the_centres_of_the_bilinear_surface(posts: list[float]) -> None:
    corners = np.array(posts).reshape(2, 2, 2)
    line, sample = corners
    found = fields(line, sample)
    for quarter, (i, j) in enumerate(np.ndindex(2, 2)):
        u, v = 0.25 + 0.5 * i, 0.25 + 0.5 * j
        weight = np.outer((1.0 - u, u), (1.0 - v, v))
        for axis, values in enumerate((line, sample)):
            centre = (weight * values).sum() - values[i, j]
            assert found[4 + 2 * quarter + axis] == pytest.approx(centre, abs=1e-4)


@given(place, place, place, place, st.floats(1e-3, 1e5))
def test_footprints_have_the_variances_of_their_parallelogram(
    u_line: float, u_sample: float, v_line: float, v_sample: float, energy: float
) -> None:
    step = np.mgrid[:2, :2]
    line = step[0] * u_line + step[1] * v_line
    sample = step[0] * u_sample + step[1] * v_sample
    width, drift, across, density, *_ = fields(line, sample, energy).astype(float)
    # A quarter's edges are half those of the facet; a box of width w has a variance of w^2 / 12.
    along, over = 0.25 * (u_line**2 + v_line**2), 0.25 * (u_sample**2 + v_sample**2)
    shared = 0.25 * (u_line * u_sample + v_line * v_sample)
    assert width**2 == pytest.approx(along, rel=1e-5, abs=2e-6)
    assert drift**2 * width**2 + across**2 == pytest.approx(over, rel=1e-4, abs=1e-4)
    if along > 1e-2:
        assert drift * width**2 == pytest.approx(shared, rel=1e-4, abs=1e-3)
    assert density * width == pytest.approx(0.25 * energy, rel=1e-5)


def test_a_dark_facet_has_no_size_even_where_its_posts_are_void() -> None:
    line = np.array([[1.0, 2.0], [math.nan, 4.0]])
    found = fields(line, line, energy=0.0)
    assert np.isfinite(found).all()
    assert (found[3:] == 0.0).all()


def test_windows_hold_all_quarters_and_no_more_than_they_need() -> None:
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:3, :66]
    line = 100.3 + 2.1 * rows + 0.3 * columns + random.normal(size=(3, 66))
    sample = -5000.7 + 0.4 * rows + 1.5 * columns + 3.0 * random.normal(size=(3, 66))
    energy = np.ones((2, 65), np.float32)
    energy[:, 30:32] = 0.0
    above, below = np.zeros((2, FACET_FIELDS * PITCH), np.float32)
    facet_row(line[0], line[1], sample[0], sample[1], energy[0], 1, above)
    facet_row(line[1], line[2], sample[1], sample[2], energy[1], 1, below)
    cells, windows = np.zeros(CELL_FIELDS * PITCH, np.float32), np.zeros(4 * PITCH, np.int32)
    place_cells(line[1, 1:65], sample[1, 1:65], above, below, 1, cells, windows)
    first_line, first_sample, high, wide = windows.reshape(4, PITCH)[:, :64]
    assert high[30] == 0
    assert (np.delete(high, 30) > 0).all()
    tables = (above.reshape(-1, PITCH), below.reshape(-1, PITCH))
    for j in np.flatnonzero(high):
        corners = []
        for table, right, quarter in ((0, 0, 3), (0, 1, 2), (1, 0, 1), (1, 1, 0)):
            width, drift, across, density, *centres = tables[table][:, j + right].astype(float)
            if density > 0.0:
                middle = np.array([line[1, j + 1], sample[1, j + 1]])
                middle += centres[2 * quarter : 2 * quarter + 2]
                reach = np.array([width, abs(drift) * width + across]) / 2.0
                corners += [middle - reach, middle + reach]
        lowest, highest = np.min(corners, axis=0), np.max(corners, axis=0)
        # The dark quarters of a cell are taken to lie at its post.
        if (energy[:, j : j + 2] > 0.0).all():
            tight = np.floor(lowest + 0.5), np.floor(highest + 0.5)
            assert np.abs(tight[0] - (first_line[j], first_sample[j])).max() <= 1
            assert np.abs(tight[1] - tight[0] + 1 - (high[j], wide[j])).max() <= 1
        assert first_line[j] - 0.5 <= lowest[0] <= highest[0] <= first_line[j] + high[j] - 0.5
        assert first_sample[j] - 0.5 <= lowest[1] <= highest[1] <= first_sample[j] + wide[j] - 0.5
