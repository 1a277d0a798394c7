"""Footprints: moments of a cell's quarters, and RCS in pixels against the surface's exact image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.footprints import (
    CELL_FIELDS,
    FACET_FIELDS,
    PITCH,
    cell_windows,
    facet_row,
    footprint_tables,
    row_footprints,
)

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


def test_a_facet_without_rcs_has_no_size_even_where_its_posts_are_void() -> None:
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
    cell_windows(line[1, 1:65], sample[1, 1:65], above, below, 1, cells, windows)
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


edge = st.floats(-12.0, 12.0)


def posts(size: float, turn: float, relief: float, seed: int) -> tuple[Floats, Floats]:
    """Radar coordinates of 3 x 3 posts: a turned lattice whose heights shift it in range."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[-1:2, -1:2]
    height = row * random.normal() + column * random.normal() + 0.3 * random.normal(size=(3, 3))
    cosine, sine = size * math.cos(math.radians(turn)), size * math.sin(math.radians(turn))
    line = 40.0 + random.random() + row * cosine + column * sine
    sample = 60.0 + random.random() - row * sine + column * cosine - 0.25 * relief * height
    return line, sample


def bilinear(values: Floats, i: int, j: int, step: Floats) -> Floats:
    """Points of the quarter between the post in the middle and the corner (i, j)."""
    u, v = np.meshgrid(step, step, indexing="ij")
    near = (1.0 - u) * (1.0 - v) * values[1, 1] + u * (1.0 - v) * values[i, 1]
    return np.asarray(near + (1.0 - u) * v * values[1, j] + u * v * values[i, j])


def true_image(line: Floats, sample: Floats) -> Floats:
    """Image of a cell of unit energy by 64 x 64 points in each bilinear quarter."""
    image = np.zeros((80, 120))
    step = 0.5 * (np.arange(64) + 0.5) / 64
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        at_line, at_sample = (bilinear(values, i, j, step).ravel() for values in (line, sample))
        pixel = np.floor(at_line + 0.5).astype(int), np.floor(at_sample + 0.5).astype(int)
        np.add.at(image, pixel, 0.25 / 64**2)
    return image


def splatted_image(line: Floats, sample: Floats) -> Floats:
    """Image by 4 x 4 points in each facet, each divided bilinearly among four pixels."""
    image = np.zeros((80, 120))
    step = 0.5 * (np.arange(2) + 0.5) / 2
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        at_line, at_sample = (bilinear(values, i, j, step).ravel() for values in (line, sample))
        top, left = np.floor(at_line).astype(int), np.floor(at_sample).astype(int)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = np.abs(1 - down - at_line + top) * np.abs(1 - right - at_sample + left)
            np.add.at(image, (top + down, left + right), share / 16)
    return image


def cell_image(
    line: Floats, sample: Floats, energy: Floats | None = None, *, room: int = 16
) -> Floats:
    """Image of the cell in the middle of 3 x 3 posts; facets of unit energy by default."""
    facets = np.ones((2, 2)) if energy is None else energy
    surface = line, sample, facets.astype(np.float32), facets.astype(np.float32)
    windows = np.zeros(4 * PITCH, np.int32)
    window, high, wide = row_footprints(
        surface, 0, 1, footprint_tables(surface), windows, np.full(room * PITCH, np.nan, np.float32)
    )
    first_line, first_sample, lines, samples = windows[::PITCH]
    image = np.zeros((160, 240))
    if lines:
        filled = window[: high * wide * PITCH].reshape(high, wide, PITCH)[..., 0]
        assert (filled >= 0.0).all()
        assert (filled[lines:] == 0.0).all()
        assert (filled[:, samples:] == 0.0).all()
        part = filled[:lines, :samples]
        image[first_line : first_line + lines, first_sample : first_sample + samples] = part
    return image


@given(edge, edge, edge, edge, st.floats(1e-3, 1e5))
def test_windows_sum_to_the_rcs_of_any_parallelogram_around_its_centre(
    u_line: float, u_sample: float, v_line: float, v_sample: float, energy: float
) -> None:
    row, column = np.mgrid[-1:2, -1:2]
    line = 80.3 + row * u_line + column * v_line
    sample = 120.8 + row * u_sample + column * v_sample
    image = cell_image(line, sample, np.full((2, 2), energy))
    assert image.sum() == pytest.approx(energy, rel=2e-6)
    lines, samples = np.mgrid[:160, :240]
    # The centre of gravity of the overlaps is that of the cell, to half a pixel's grid.
    assert abs((image * lines).sum() / image.sum() - 80.3) < 0.5 + 1e-3
    assert abs((image * samples).sum() / image.sum() - 120.8) < 0.5 + 1e-3


def test_a_footprint_of_whole_pixels_is_exact() -> None:
    row, column = np.mgrid[-1:2, -1:2]
    image = cell_image(39.5 + 2.0 * row, 60.0 + 3.0 * column, np.full((2, 2), 12.0))
    expected = np.zeros((160, 240))
    expected[39:41, 59:62] = 2.0
    np.testing.assert_allclose(image, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "turn", "relief", "most"),
    [
        pytest.param(3.0, 12.0, 0.0, 0.03, id="plain"),
        pytest.param(3.0, 12.0, 15.0, 0.09, id="mountains"),
        pytest.param(9.0, 12.0, 40.0, 0.13, id="coarse-dem"),
        pytest.param(1.5, 12.0, 7.0, 0.10, id="coarse-pixels"),
        pytest.param(3.0, 45.0, 10.0, 0.07, id="diagonal"),
        pytest.param(1.0, 12.0, 3.0, 0.05, id="fine-dem"),
    ],
)
def test_footprints_follow_the_true_image_better_than_points(
    size: float, turn: float, relief: float, most: float
) -> None:
    """Part of the energy in the wrong pixel: little, and less than by splatting 4 x 4 points."""
    own, points = [], []
    for seed in range(40):
        line, sample = posts(size, turn, relief, seed)
        truth = true_image(line, sample)
        own.append(0.5 * np.abs(cell_image(line, sample)[:80, :120] - truth).sum())
        points.append(0.5 * np.abs(splatted_image(line, sample) - truth).sum())
    assert np.mean(own) < most
    assert np.mean(own) < 0.75 * np.mean(points)


def test_facets_without_rcs_contribute_nothing() -> None:
    line, sample = posts(3.0, 12.0, 0.0, 0)
    one = cell_image(line, sample, np.array([[4.0, 0.0], [0.0, 0.0]]))
    assert one.sum() == pytest.approx(1.0, rel=1e-6)
    assert one[:, :].argmax() < cell_image(line, sample, np.array([[0, 0], [0, 4.0]])).argmax()
    assert cell_image(line, sample, np.zeros((2, 2))).sum() == 0.0


@pytest.mark.parametrize("void", [(0, 0), (2, 1), (1, 1)])
def test_a_void_post_does_not_reach_beyond_its_facets(void: tuple[int, int]) -> None:
    line, sample = posts(3.0, 12.0, 2.0, 1)
    energy = np.full((2, 2), 4.0)
    line[void] = sample[void] = np.nan
    for i in range(2):
        for j in range(2):
            if np.isnan(line[i : i + 2, j : j + 2]).any():
                energy[i, j] = 0.0
    assert cell_image(line, sample, energy).sum() == pytest.approx(energy.mean())


def test_a_large_cell_enlarges_the_table() -> None:
    line, sample = posts(12.0, 30.0, 0.0, 3)
    small, large = cell_image(line, sample, room=1), cell_image(line, sample, room=4000)
    np.testing.assert_array_equal(small, large)
