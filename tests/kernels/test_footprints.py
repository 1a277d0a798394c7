"""Footprints share a cell's energy among pixels as the surface's true image does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.footprints import add_quarter, cell_window, growing_window, quarter_box

Floats = NDArray[np.float64]

edge = st.floats(-6.0, 6.0)
place = st.floats(20.0, 40.0)


def posts(size: float, turn: float, relief: float, seed: int) -> tuple[Floats, Floats]:
    """Radar coordinates of 3 x 3 posts: a turned lattice whose heights shift it in range."""
    random = np.random.default_rng(seed)
    row, column = np.mgrid[-1:2, -1:2]
    height = row * random.normal() + column * random.normal() + 0.3 * random.normal(size=(3, 3))
    cosine, sine = size * math.cos(math.radians(turn)), size * math.sin(math.radians(turn))
    line = 40.0 + random.random() + row * cosine + column * sine
    sample = 60.0 + random.random() - row * sine + column * cosine - 0.25 * relief * height
    return line, sample


def true_image(line: Floats, sample: Floats) -> Floats:
    """Image of a cell of unit energy by 64 x 64 points in each bilinear quarter."""
    image = np.zeros((80, 120))
    step = 0.5 * (np.arange(64) + 0.5) / 64
    for i, j in ((0, 0), (0, 2), (2, 0), (2, 2)):
        at_line, at_sample = (bilinear(values, i, j, step).ravel() for values in (line, sample))
        pixel = np.floor(at_line + 0.5).astype(int), np.floor(at_sample + 0.5).astype(int)
        np.add.at(image, pixel, 0.25 / 64**2)
    return image


def bilinear(values: Floats, i: int, j: int, step: Floats) -> Floats:
    """Points of the quarter between the post in the middle and the corner (i, j)."""
    u, v = np.meshgrid(step, step, indexing="ij")
    near = (1.0 - u) * (1.0 - v) * values[1, 1] + u * (1.0 - v) * values[i, 1]
    return np.asarray(near + (1.0 - u) * v * values[1, j] + u * v * values[i, j])


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


def footprint_image(line: Floats, sample: Floats) -> Floats:
    """Image of a cell of unit energy by its footprint."""
    image = np.zeros((80, 120))
    for di, dj in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        add_quarter(quarter_box(line, sample, 1, 1, di, dj), 0.25, 0, 0, image)
    return image


@given(place, place, edge, edge, edge, edge, st.floats(1e-3, 1e5))
def test_shares_sum_to_the_energy_of_any_parallelogram(
    line: float,
    sample: float,
    u_line: float,
    u_sample: float,
    v_line: float,
    v_sample: float,
    energy: float,
) -> None:
    image = np.zeros((60, 60))
    box = (line, sample, u_line, u_sample, v_line, v_sample)
    within = add_quarter(box, energy, 0, 0, image)
    assert (image >= 0.0).all()
    assert image.sum() == pytest.approx(energy, rel=1e-6)
    assert within == pytest.approx(energy, rel=1e-6)


@given(place, place, edge, edge, edge, edge)
def test_the_footprint_has_the_centre_of_its_parallelogram(
    line: float, sample: float, u_line: float, u_sample: float, v_line: float, v_sample: float
) -> None:
    """The centre of gravity of the overlaps is that of the rectangle, to half a pixel's grid."""
    image = np.zeros((60, 60))
    add_quarter((line, sample, u_line, u_sample, v_line, v_sample), 1.0, 0, 0, image)
    lines, samples = np.mgrid[:60, :60]
    assert abs((image * lines).sum() - line) < 0.5 + 1e-6
    assert abs((image * samples).sum() - sample) < 0.5 + 1e-6


def test_a_footprint_of_whole_pixels_is_exact() -> None:
    image = np.zeros((8, 8))
    add_quarter((3.5, 2.0, 2.0, 0.0, 0.0, 3.0), 12.0, 0, 0, image)
    expected = np.zeros((8, 8))
    expected[3:5, 1:4] = 2.0
    np.testing.assert_allclose(image, expected, atol=1e-12)


def test_what_falls_outside_the_window_is_left_out_and_told() -> None:
    image = np.zeros((4, 4))
    within = add_quarter((-0.5, 1.5, 2.0, 0.0, 0.0, 2.0), 1.0, 0, 0, image)
    assert within == pytest.approx(0.5)
    assert image.sum() == pytest.approx(0.5)
    shifted = np.zeros((4, 4))
    add_quarter((9.5, 21.5, 2.0, 0.0, 0.0, 2.0), 1.0, 10, 20, shifted)
    np.testing.assert_allclose(image, shifted, atol=1e-12)


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
        own.append(0.5 * np.abs(footprint_image(line, sample) - truth).sum())
        points.append(0.5 * np.abs(splatted_image(line, sample) - truth).sum())
    assert np.mean(own) < most
    assert np.mean(own) < 0.75 * np.mean(points)


@given(st.integers(0, 1000), st.floats(0.5, 12.0), st.floats(0.0, 90.0), st.floats(0.0, 30.0))
def test_a_cell_window_holds_all_of_the_cell(
    seed: int, size: float, turn: float, relief: float
) -> None:
    line, sample = posts(size, turn, relief, seed)
    energy, projected = np.full((2, 2), 3.0), np.full((2, 2), 2.0)
    buffer = np.empty(120 * 200)
    first_line, first_sample, high, wide, area = cell_window(
        line, sample, energy, projected, 1, 1, 80, 120, buffer
    )
    window = buffer[: high * wide].reshape(high, wide)
    assert window.sum() == pytest.approx(3.0, rel=1e-6)
    assert area == pytest.approx(2.0, rel=1e-6)
    image = np.zeros((80, 120))
    image[first_line : first_line + high, first_sample : first_sample + wide] = window
    np.testing.assert_allclose(image, 3.0 * footprint_image(line, sample), atol=1e-9)


def test_facets_that_are_dark_give_nothing() -> None:
    line, sample = posts(3.0, 12.0, 0.0, 0)
    energy = np.array([[4.0, 0.0], [0.0, 0.0]])
    buffer = np.empty(1024)
    _, _, high, wide, area = cell_window(line, sample, energy, energy / 2, 1, 1, 80, 120, buffer)
    assert buffer[: high * wide].sum() == pytest.approx(1.0, rel=1e-6)
    assert area == pytest.approx(0.5, rel=1e-6)
    dark = np.zeros((2, 2))
    assert cell_window(line, sample, dark, dark, 1, 1, 80, 120, buffer) == (0, 0, 0, 0, 0.0)


@pytest.mark.parametrize("void", [(0, 0), (2, 1), (1, 1)])
def test_a_void_post_does_not_reach_beyond_its_facets(void: tuple[int, int]) -> None:
    line, sample = posts(3.0, 12.0, 2.0, 1)
    line[void] = sample[void] = np.nan
    energy = np.full((2, 2), 4.0)
    for i in range(2):
        for j in range(2):
            if np.isnan(line[i : i + 2, j : j + 2]).any():
                energy[i, j] = 0.0
    buffer = np.empty(1024)
    _, _, high, wide, area = cell_window(line, sample, energy, energy, 1, 1, 80, 120, buffer)
    assert area == pytest.approx(energy.mean())
    assert buffer[: high * wide].sum() == pytest.approx(energy.mean())


def test_a_cell_beyond_the_image_lights_nothing_and_one_across_its_edge_partly() -> None:
    line, sample = posts(3.0, 0.0, 0.0, 0)
    ones = np.ones((2, 2))
    buffer = np.empty(1024)
    for dl, ds in ((-60.0, 0.0), (60.0, 0.0), (0.0, -80.0), (0.0, 80.0)):
        _, _, high, wide, area = cell_window(
            line + dl, sample + ds, ones, ones, 1, 1, 80, 120, buffer
        )
        assert (high * wide, area) == (0, 0.0)
    half = line - line[1, 1] - 0.5
    _, _, high, wide, area = cell_window(half, sample, ones, ones, 1, 1, 80, 120, buffer)
    assert area == pytest.approx(0.5, abs=1e-6)
    assert buffer[: high * wide].sum() == pytest.approx(0.5, abs=1e-6)


def test_a_large_cell_grows_the_buffer() -> None:
    line, sample = posts(12.0, 30.0, 0.0, 3)
    ones = np.ones((2, 2))
    small, large = np.empty(4), np.empty(4096)
    told = cell_window(line, sample, ones, ones, 1, 1, 80, 120, small)
    assert told[2] < 0
    *place_of, _, grown = growing_window(line, sample, ones, ones, 1, 1, 80, 120, small)
    assert grown.size == -told[2]
    assert tuple(place_of) == cell_window(line, sample, ones, ones, 1, 1, 80, 120, large)[:4]
    np.testing.assert_array_equal(grown, large[: grown.size])
