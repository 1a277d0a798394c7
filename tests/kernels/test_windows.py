"""Windows share a cell's energy among pixels as the surface's true image does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.footprints import PITCH, footprint_tables, row_footprints

Floats = NDArray[np.float64]

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
def test_shares_sum_to_the_energy_of_any_parallelogram_around_its_centre(
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


def test_facets_that_are_dark_give_nothing() -> None:
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


def test_a_large_cell_grows_the_room() -> None:
    line, sample = posts(12.0, 30.0, 0.0, 3)
    small, large = cell_image(line, sample, room=1), cell_image(line, sample, room=4000)
    np.testing.assert_array_equal(small, large)
