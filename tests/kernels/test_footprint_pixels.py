"""Pixels under windows: those of the image, and nothing beyond its border."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels.footprint_pixels import (
    GROUP,
    all_within,
    fetch,
    sum_pairs,
    sum_pixels,
    touch,
)
from sarheight_kernels.footprints import PITCH

CELLS, LINES, SAMPLES = 5, 3, 4


def windows_at(places: list[tuple[int, int]]) -> NDArray[np.int32]:
    """Windows of one size with their first lines and samples."""
    windows = np.zeros((4, PITCH), np.int32)
    windows[:2, : len(places)] = np.array(places).T
    windows[2, : len(places)], windows[3, : len(places)] = LINES, SAMPLES
    return windows.ravel()


@pytest.mark.parametrize("shift", [0, -2, 6], ids=["within", "before-the-border", "behind-it"])
def test_pixels_are_those_of_the_image_and_zero_beyond_it(shift: int) -> None:
    image = np.random.default_rng(0).uniform(1.0, 2.0, (9, 12)).astype(np.float32)
    places = [(shift + j // 2, shift + j) for j in range(CELLS)]
    windows = windows_at(places)
    # Too little room, so that more must be made.
    pixels = fetch(image, windows, CELLS, LINES, SAMPLES, np.empty(1, np.float32))
    assert pixels.size == LINES * SAMPLES * PITCH
    padded = np.pad(image, 12)
    for j, (line, sample) in enumerate(places):
        expected = padded[line + 12 : line + 12 + LINES, sample + 12 : sample + 12 + SAMPLES]
        found = pixels.reshape(LINES, SAMPLES, PITCH)[..., j]
        np.testing.assert_array_equal(found, expected)
    # Pairs of pixels are copied at once.
    both = np.stack((image, 3.0 * image), axis=-1)
    doubles = both.view(np.float64)[..., 0]
    pairs = fetch(doubles, windows, CELLS, LINES, SAMPLES, np.empty(1)).view(np.float32)
    assert pairs.size == 2 * LINES * SAMPLES * PITCH
    alone = pixels.reshape(-1, PITCH)[:, :CELLS]
    for part, factor in ((0, 1.0), (1, 3.0)):
        found = pairs.reshape(-1, PITCH, 2)[:, :CELLS, part]
        np.testing.assert_array_equal(found, np.float32(factor) * alone)


@pytest.mark.parametrize("samples", [2, 4, 6, 8])
def test_windows_of_any_width_are_copied(samples: int) -> None:
    """A whole row of cells, whose windows lie up to the border of the image."""
    random = np.random.default_rng(samples)
    image = random.uniform(1.0, 2.0, (40, 50)).astype(np.float32)
    places = np.stack((random.integers(0, 38, 61), random.integers(0, 51 - samples, 61)), 1)
    places[0], places[-1] = (0, 0), (37, 50 - samples)
    windows = windows_at([(int(line), int(sample)) for line, sample in places])
    windows[3 * PITCH :] = samples
    pixels = fetch(image, windows, 61, LINES, samples, np.empty(1, np.float32))
    for j, (line, sample) in enumerate(places):
        expected = image[line : line + LINES, sample : sample + samples]
        found = pixels[: LINES * samples * PITCH].reshape(LINES, samples, PITCH)[..., j]
        np.testing.assert_array_equal(found, expected)


def test_sums_leave_out_what_has_no_weight_and_those_of_pairs_are_of_their_numbers() -> None:
    random, slots, cells = np.random.default_rng(5), 10, 61
    padded = -(-slots // GROUP) * GROUP
    weights = np.zeros((padded, PITCH), np.float32)
    weights[:slots, :cells] = random.uniform(0.0, 1.0, (slots, cells))
    weights[2, :9] = 0.0
    pairs = random.uniform(1.0, 2.0, (padded, PITCH, 2)).astype(np.float32)
    pairs[2, :9] = np.nan
    sums, alone = np.full(2 * PITCH, np.nan, np.float32), np.full(PITCH, np.nan, np.float32)
    sum_pairs(weights.ravel(), pairs.ravel(), slots, cells, sums)
    for part in (0, 1):
        numbers = np.ascontiguousarray(pairs[..., part])
        sum_pixels(weights.ravel(), numbers.ravel(), slots, cells, alone)
        np.testing.assert_array_equal(sums.reshape(2, PITCH)[part, :cells], alone[:cells])
        products = weights.astype(np.float64) * np.nan_to_num(numbers)
        np.testing.assert_allclose(alone[:cells], products.sum(axis=0)[:cells], rtol=1e-6)


@pytest.mark.parametrize(
    "bound", [(2.0, 5.0, 3.0, 40.0), (-9.0, 90.0, -9.0, 90.0), (20.0, 30.0, 60.0, 70.0)]
)
@pytest.mark.parametrize(("dtype", "step"), [(np.float32, 16), (np.float64, 8)])
def test_pixels_are_touched_within_the_image_only(
    bound: tuple[float, ...], dtype: type[np.floating], step: int
) -> None:
    """`NUMBA_BOUNDSCHECK=1` tells where it reads; one number of each cache line is added."""
    image = np.ones((9, 50), dtype)
    top, bottom = (int(np.clip(edge, 0, 8)) for edge in (bound[0], bound[1] + 1.0))
    left, right = (int(np.clip(edge, 0, 49)) for edge in (bound[2], bound[3] + 1.0))
    assert touch(image, np.array(bound)) == (bottom - top + 1) * ((right - left) // step + 1)


def test_a_cell_in_shadow_may_lie_anywhere() -> None:
    """It keeps no other cell from being within, and nothing is read where it lies."""
    image = np.ones((9, 12), np.float32)
    windows = windows_at([(2, 3), (10**6, -(10**6))])
    windows[2 * PITCH + 1] = 0
    assert all_within(windows, 2, LINES, SAMPLES, 0, 9, 12)
    pixels = fetch(image, windows, 2, LINES, SAMPLES, np.empty(1, np.float32))
    assert (pixels.reshape(-1, PITCH)[:, 0] == 1.0).all()


@pytest.mark.parametrize(
    ("first", "end", "wide", "inside"),
    [(0, 9, 12, True), (2, 5, 7, True), (3, 9, 12, False), (0, 4, 12, False), (0, 9, 6, False)],
)
def test_windows_are_within_up_to_the_border(
    first: int, end: int, wide: int, *, inside: bool
) -> None:
    assert all_within(windows_at([(2, 3)]), 1, LINES, SAMPLES, first, end, wide) is inside


def test_nothing_is_within_an_image_smaller_than_a_window() -> None:
    """Not even where all cells are dark, as then any pixel is read in their place."""
    windows = windows_at([(0, 0)])
    windows[2 * PITCH] = 0
    assert not all_within(windows, 1, LINES, SAMPLES, 0, LINES - 1, 12)
    pixels = fetch(
        np.ones((LINES - 1, 12), np.float32), windows, 1, LINES, SAMPLES,
        np.full(LINES * SAMPLES * PITCH, np.nan, np.float32),
    )  # fmt: skip
    assert (pixels == 0.0).all()
