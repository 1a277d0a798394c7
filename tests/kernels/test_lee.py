"""The refined Lee filter, against its definition written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.lee import STRIP, WIDTH, refined_lee
from sarheight_kernels.pool import limit_threads

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

DOWN, ACROSS = np.mgrid[-3:4, -3:4]
HALVES = (
    (ACROSS <= 0, ACROSS >= 0),
    (DOWN <= 0, DOWN >= 0),
    (ACROSS >= DOWN, ACROSS <= DOWN),
    (ACROSS + DOWN <= 0, ACROSS + DOWN >= 0),
)
"""Both halves of the window beside an upright, a level, a falling and a rising edge."""
GRADIENTS = (
    ((-1, 0, 1), (-1, 0, 1), (-1, 0, 1)),
    ((1, 1, 1), (0, 0, 0), (-1, -1, -1)),
    ((0, 1, 1), (-1, 0, 1), (-1, -1, 0)),
    ((1, 1, 0), (1, 0, -1), (0, -1, -1)),
)
OUTER = (((1, 0), (1, 2)), ((0, 1), (2, 1)), ((0, 2), (2, 0)), ((0, 0), (2, 2)))
"""The outer block of each half."""


def filtered(image: Image, looks: float) -> Image:
    result = np.empty_like(image)
    refined_lee(image, looks, result)
    return result


def estimate(window: Floats, looks: float) -> float:
    """Estimate the reflectivity in the middle of a window of 7 x 7."""
    if not np.isfinite(window[3, 3]):
        return np.nan
    blocks = np.array([[window[i : i + 3, j : j + 3] for j in (0, 2, 4)] for i in (0, 2, 4)])
    known = np.isfinite(blocks)
    counts = known.sum(axis=(-1, -2))
    totals = np.where(known, blocks, 0.0).sum(axis=(-1, -2))
    middle = totals[1, 1] / counts[1, 1]
    means = np.where(counts > 0, totals / np.maximum(counts, 1), middle)
    gradients = [abs((np.array(mask) * means).sum()) for mask in GRADIENTS]
    edge = int(np.argmax(gradients))
    one, two = (abs(means[block] - middle) for block in OUTER[edge])
    half = window[HALVES[edge][0 if one <= two else 1]]
    half = half[np.isfinite(half)]
    if half.size == 1:
        return float(window[3, 3])
    mean, variance = half.mean(), half.var(ddof=1)
    reflectivity = max((variance - mean**2 / looks) / (1.0 + 1.0 / looks), 0.0)
    weight = reflectivity / variance if reflectivity > 0.0 else 0.0
    return float(mean + weight * (window[3, 3] - mean))


def by_definition(image: Image, looks: float) -> Floats:
    padded = np.pad(image.astype(np.float64), 3, constant_values=np.nan)
    rows, columns = image.shape
    return np.array(
        [
            [estimate(padded[i : i + 7, j : j + 7], looks) for j in range(columns)]
            for i in range(rows)
        ]
    )


def speckled(shape: tuple[int, int], looks: float = 4.0, seed: int = 0) -> Image:
    random = np.random.default_rng(seed)
    return random.gamma(looks, 1.0 / looks, shape).astype(np.float32)


@pytest.mark.parametrize("looks", [1.0, 4.4, 100.0])
def test_it_follows_its_definition(looks: float) -> None:
    """Also across the strips and columns that are worked on at a time, and at the border.

    Multiples of 9 leave no rounding in the means of blocks: equal gradients are equal in both.
    """
    random = np.random.default_rng(1)
    image = 9.0 * random.integers(0, 200, (STRIP + 9, 30)).astype(np.float32)
    inner = slice(3, -3), slice(3, -3)
    np.testing.assert_allclose(
        filtered(image, looks)[inner], by_definition(image, looks)[inner], rtol=1e-4
    )
    wide = 9.0 * random.integers(0, 200, (11, WIDTH + 20)).astype(np.float32)
    part = slice(3, -3), slice(WIDTH - 12, WIDTH + 12)
    np.testing.assert_allclose(
        filtered(wide, looks)[part],
        by_definition(wide[:, WIDTH - 15 : WIDTH + 15], looks)[3:-3, 3:-3],
        rtol=1e-4,
    )


def test_missing_pixels_and_the_border_count_in_no_sum() -> None:
    image = speckled((40, 50))
    image[10:14, 20:23] = np.nan
    image[25, 5] = np.inf
    image[30:, 40:] = np.nan
    image[35, 45] = 2.0
    found, expected = filtered(image, 4.0), by_definition(image, 4.0)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(image))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[35, 45] == np.float32(2.0)


def test_an_image_smaller_than_the_window() -> None:
    image = speckled((3, 2))
    np.testing.assert_allclose(filtered(image, 4.0), by_definition(image, 4.0), rtol=1e-4)


@given(st.integers(0, 1000), st.floats(1e-4, 1e4))
def test_it_scales_with_the_power(seed: int, gain: float) -> None:
    """By a power of two, which no rounding depends on."""
    image = speckled((12, 13), seed=seed)
    factor = np.float32(2.0 ** round(np.log2(gain)))
    np.testing.assert_array_equal(filtered(factor * image, 4.0), factor * filtered(image, 4.0))


@pytest.mark.parametrize("turn", [np.fliplr, np.flipud, np.transpose, np.rot90])
def test_a_mirror_image_gives_a_mirror_image(turn: object) -> None:
    assert callable(turn)
    image = speckled((60, 70))
    np.testing.assert_allclose(
        filtered(np.ascontiguousarray(turn(image)), 4.0), turn(filtered(image, 4.0)), rtol=2e-4
    )


@pytest.mark.parametrize("looks", [1.0, 4.0])
def test_speckle_on_even_ground_is_averaged(looks: float) -> None:
    """Down to little more than the spread of the mean of a half."""
    image = speckled((300, 300), looks)
    found = filtered(image, looks)
    assert found.mean() == pytest.approx(1.0, abs=0.02)
    assert found.std() < 0.35 * image.std()
    assert found.std() > image.std() / np.sqrt(28.0)


@pytest.mark.parametrize("slope", [(1, 0), (0, 1), (1, 1), (1, -1)])
def test_an_edge_is_not_averaged_over(slope: tuple[int, int]) -> None:
    """The pixels beside an edge of 10 dB stay nearer to their side than a plain mean of 7 x 7."""
    rows, columns = np.mgrid[-60:60, -60:60]
    distance = slope[0] * rows + slope[1] * columns
    truth = np.where(distance >= 0, 10.0, 1.0)
    found = filtered((truth * speckled(truth.shape, 8.0)).astype(np.float32), 8.0)
    beside = (distance == 0) & (abs(rows) < 50) & (abs(columns) < 50)
    before = (distance == -1) & (abs(rows) < 50) & (abs(columns) < 50)
    if not before.any():
        before = distance == -2
    assert found[beside].mean() == pytest.approx(10.0, rel=0.1)
    assert found[before].mean() < 2.0


def test_without_speckle_nothing_changes_much() -> None:
    """With endless looks all variance is reflectivity."""
    image = speckled((40, 40))
    np.testing.assert_allclose(filtered(image, 1e9), image, rtol=1e-5)


def test_a_bright_point_reaches_no_further_than_the_window() -> None:
    image = speckled((50, 50))
    bright = image.copy()
    bright[25, 25] = 1e12
    same = np.ones(image.shape, dtype=bool)
    same[22:29, 22:29] = False
    np.testing.assert_array_equal(filtered(bright, 4.0)[same], filtered(image, 4.0)[same])
    assert filtered(bright, 4.0)[25, 25] > 0.5e12


def test_any_number_of_threads_and_any_cut_give_the_same_bits() -> None:
    image = speckled((3 * STRIP + 5, WIDTH + 40))
    image[70, 80:90] = np.nan
    whole = filtered(image, 4.0)
    for threads in (1, 3):
        with limit_threads(threads):
            np.testing.assert_array_equal(filtered(image, 4.0), whole)
    part = filtered(np.ascontiguousarray(image[37:150, 11:201]), 4.0)
    np.testing.assert_array_equal(part[3:-3, 3:-3], whole[40:147, 14:198])
