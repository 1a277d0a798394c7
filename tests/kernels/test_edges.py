"""Averages of neighbours that keep edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.edges import keep_edges
from sarheight_kernels.pool import limit_threads

Values = NDArray[np.float32]
DISTANCES = (0.36, 0.30, 0.13)


def kept(
    values: Values,
    scale: float = 0.3,
    share: float = 1.0,
    averaged: Values | None = None,
    others: Values | None = None,
) -> Values:
    """Average `averaged`, the values themselves by default, by what values and others look like."""
    result = np.empty_like(values)
    whole = np.full(values.shape, share, np.float32)
    images = values[None] if others is None else np.concatenate((others, values[None]))
    power = values if averaged is None else averaged
    keep_edges(images, len(images) - 1, power, whole, scale, DISTANCES, result)
    return result


def by_formula(values: Values, scale: float, others: Values | None = None) -> Values:
    """Sum over neighbours, cell by cell, as the formula has it."""
    result = np.full(values.shape, np.nan)
    for i, j in np.argwhere(np.isfinite(values)):
        total, weights = 0.0, 1.0
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                row, column = i + di, j + dj
                inside = 0 <= row < values.shape[0] and 0 <= column < values.shape[1]
                if (di, dj) == (0, 0) or not inside or np.isnan(values[row, column]):
                    continue
                vertical, horizontal, diagonal = DISTANCES
                near = diagonal if di and dj else vertical if di else horizontal
                step = float(values[row, column]) - float(values[i, j])
                square = step**2
                if others is not None:
                    there = np.square(others[:, row, column] - others[:, i, j], dtype=float)
                    if np.isfinite(there).any():
                        square = 0.5 * square + 0.5 * np.nanmean(there)
                k = near / (1.0 + square / (2.0 * scale**2)) ** 2
                total, weights = total + k * step, weights + k
        result[i, j] = values[i, j] + total / weights
    return result


@pytest.fixture
def ground() -> Values:
    random = np.random.default_rng(3)
    values = random.normal(0.0, 0.3, (23, 31)).astype(np.float32)
    values[:, 17:] += 1.5
    values[4, 5] = values[0, 0] = values[20, 17] = np.nan
    return values


def test_it_is_the_formula(ground: Values) -> None:
    np.testing.assert_allclose(kept(ground, 0.3), by_formula(ground, 0.3), atol=2e-6)


@pytest.fixture
def others(ground: Values) -> Values:
    """Two other images of the ground, with an edge of their own."""
    random = np.random.default_rng(4)
    others = random.normal(0.0, 0.3, (2, *ground.shape)).astype(np.float32)
    others[:, 11:] -= 1.2
    others[0, 2:5, 4:9] = others[1, 3, 7] = np.nan
    return others


def test_several_images_are_the_formula(ground: Values, others: Values) -> None:
    for some in (others[:1], others):
        np.testing.assert_allclose(
            kept(ground, others=some), by_formula(ground, 0.3, some), atol=2e-6
        )
    # As many as there are, in any order: what one image alone shows counts for half.
    np.testing.assert_allclose(
        kept(ground, others=others[::-1]), kept(ground, others=others), atol=1e-6
    )
    again = np.concatenate((others, others))
    np.testing.assert_allclose(kept(ground, others=again), kept(ground, others=others), atol=1e-6)


def test_images_without_data_change_nothing(ground: Values) -> None:
    nothing = np.full((2, *ground.shape), np.nan, np.float32)
    np.testing.assert_array_equal(kept(ground, others=nothing), kept(ground))


def test_an_edge_that_another_image_shows_is_kept() -> None:
    random = np.random.default_rng(6)
    clean = np.zeros((2000, 40), np.float32)
    clean[:, 20:] = 0.6
    noisy = clean + random.normal(0.0, 0.15, clean.shape).astype(np.float32)
    clearer = (4.0 * clean + random.normal(0.0, 0.15, clean.shape)).astype(np.float32)
    alone, together = kept(noisy) - clean, kept(noisy, others=clearer[None]) - clean
    at_edge = [abs(each[:, 19:21].mean(axis=0)).max() for each in (alone, together)]
    assert at_edge[1] < 0.3 * at_edge[0]
    # Of the same ground twice, noise makes fewer edges, so that more of it goes.
    again = (clean + random.normal(0.0, 0.15, clean.shape)).astype(np.float32)
    alone, together = (kept(noisy, 0.15, others=each)[:, 2:18] for each in (None, again[None]))
    assert together.std() < 0.97 * alone.std()


def test_noise_falls_and_an_edge_stays() -> None:
    random = np.random.default_rng(0)
    clean = np.zeros((200, 200), np.float32)
    clean[:, 100:] = 2.0
    noisy = clean + random.normal(0.0, 0.15, clean.shape).astype(np.float32)
    error = kept(noisy, 0.3) - clean
    assert np.std(error[:, 2:98]) < 0.7 * np.std((noisy - clean)[:, 2:98])
    # A mean over the same neighbours with the same weights moves the cells of the edge by far more.
    plain = kept(noisy, 1e3) - clean
    assert abs(error[:, 99:101].mean(axis=0)).max() < 0.02
    assert abs(plain[:, 99:101].mean(axis=0)).min() > 0.3


def test_the_sum_of_power_stays_among_cells_that_are_alike() -> None:
    random = np.random.default_rng(5)
    logarithms = random.normal(0.0, 0.25, (300, 300)).astype(np.float32)
    power = np.exp(logarithms)
    averaged = kept(logarithms, 0.3, averaged=power)
    # Averages of logarithms would lose half the variance that they take away.
    lost = 1.0 - averaged.sum() / power.sum()
    of_logarithms = 1.0 - np.exp(kept(logarithms, 0.3)).sum() / power.sum()
    assert abs(lost) < 0.1 * of_logarithms
    assert averaged.std() < 0.85 * power.std()


def test_the_smaller_the_scale_the_less_is_changed(ground: Values) -> None:
    changes = [np.nanstd(kept(ground, scale) - ground) for scale in (1e-3, 0.1, 0.3, 1.0)]
    assert changes[0] < 1e-4
    assert changes == sorted(changes)


def test_a_cell_moves_by_its_share(ground: Values) -> None:
    whole = kept(ground) - ground
    np.testing.assert_allclose(kept(ground, share=0.25) - ground, 0.25 * whole, atol=1e-6)
    np.testing.assert_array_equal(kept(ground, share=0.0), ground)
    np.testing.assert_array_equal(kept(ground, share=1.7), kept(ground))


def test_what_is_missing_stays_missing_and_touches_no_other(ground: Values) -> None:
    result = kept(ground)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(ground))
    for lonely in (np.full((1, 1), 0.7, np.float32), np.full((3, 3), np.nan, np.float32)):
        lonely[0, 0] = 0.7
        np.testing.assert_array_equal(kept(lonely), lonely)


@given(shift=st.floats(-5.0, 5.0), factor=st.floats(0.1, 10.0))
def test_it_moves_with_the_level_and_scales_with_the_unit(shift: float, factor: float) -> None:
    values = np.random.default_rng(1).normal(0.0, 0.4, (9, 7)).astype(np.float32)
    plain = kept(values, 0.3)
    np.testing.assert_allclose(kept(values + np.float32(shift), 0.3), plain + shift, atol=1e-5)
    scaled = kept(np.float32(factor) * values, factor * 0.3)
    np.testing.assert_allclose(scaled, factor * plain, rtol=1e-4, atol=1e-5)


def test_it_is_the_same_in_mirrors(ground: Values) -> None:
    for mirrored in (np.s_[::-1], np.s_[:, ::-1]):
        flipped = np.ascontiguousarray(ground[mirrored])
        np.testing.assert_allclose(kept(flipped)[mirrored], kept(ground), atol=1e-6)


def test_threads_and_parts_do_not_matter() -> None:
    values = np.random.default_rng(2).normal(size=(400, 150)).astype(np.float32)
    with limit_threads(1):
        one = kept(values)
    with limit_threads(3):
        np.testing.assert_array_equal(kept(values), one)
    # A part with a row more on both sides.
    np.testing.assert_array_equal(kept(values[99:202].copy())[1:-1], one[100:201])
