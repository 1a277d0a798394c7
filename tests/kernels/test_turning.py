"""Pixels and cells turned into one another: the same as element by element."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sarheight_kernels._numba import njit
from sarheight_kernels.footprint_pixels import (
    LANES,
    WIDTH,
    add_fours,
    add_pairs,
    copy_fours,
    copy_pairs,
    turn_fours,
)
from sarheight_kernels.footprints import PITCH

Table = NDArray[np.float32]


@njit
def copied(image: Table, place: NDArray[np.int64], offset: int, fours: bool, table: Table) -> None:  # noqa: FBT001
    if fours:
        copy_fours(image, place, LANES, offset, table, LANES)
    else:
        copy_pairs(image, place, LANES, offset, table, LANES)


@njit
def turned_back(table: Table, turned: Table) -> None:
    turn_fours(table, LANES, turned, LANES)


@njit
def added(turned: Table, share: Table, fours: bool, image: Table, to: int) -> None:  # noqa: FBT001
    if fours:
        add_fours(turned, 3, share, 1, image, to)
    else:
        add_pairs(turned, 3, share, 1, image, to)


def table_of(rows: int) -> Table:
    return np.random.default_rng(rows).uniform(1.0, 2.0, rows * PITCH).astype(np.float32)


@pytest.mark.parametrize("width", [2, WIDTH])
def test_pixels_of_a_cell_become_a_column(width: int) -> None:
    """They may lie anywhere in the image, up to its very end; nothing else is written."""
    image = np.arange(60.0, dtype=np.float32).reshape(4, 15)
    place = np.zeros(PITCH, np.int64)
    place[LANES : 2 * LANES] = (50, 0, 17, 17, 3, 41, 60 - width - 5, 22)
    table = table_of(width)
    expected = table.reshape(width, PITCH).copy()
    for cell in range(LANES, 2 * LANES):
        expected[:, cell] = image.ravel()[place[cell] + 5 :][:width]
    copied(image, place, 5, width == WIDTH, table)
    np.testing.assert_array_equal(table.reshape(width, PITCH), expected)


def test_columns_become_the_pixels_of_a_cell() -> None:
    table, turned = table_of(WIDTH), np.zeros(WIDTH * PITCH, np.float32)
    turned_back(table, turned)
    for cell in range(LANES):
        column = table.reshape(WIDTH, PITCH)[:, LANES + cell]
        begin = LANES + cell % WIDTH * PITCH + cell // WIDTH * WIDTH
        np.testing.assert_array_equal(turned[begin : begin + WIDTH], column)
    assert np.count_nonzero(turned) == LANES * WIDTH


@pytest.mark.parametrize("width", [2, WIDTH])
def test_pixels_are_added_times_a_share(width: int) -> None:
    turned, share = table_of(1), np.array((2.0, 0.5, 4.0), np.float32)
    image = np.ones((3, 7), np.float32)
    added(turned, share, width == WIDTH, image, 21 - width)
    expected = np.ones(21, np.float32)
    expected[21 - width :] += 0.5 * turned[3 : 3 + width]
    np.testing.assert_allclose(image.ravel(), expected, rtol=1e-6)


def test_arrays_with_gaps_are_refused() -> None:
    with pytest.raises(Exception, match="must be contiguous"):
        turned_back(table_of(2 * WIDTH)[::2], np.zeros(WIDTH * PITCH, np.float32))
