"""Tiles and mosaics."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from sarheight.learning import Tiling
from sarheight.learning.tiles import Mosaic, read_window


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(8, 40),
    share=st.floats(0.0, 0.5),
    length=st.integers(1, 130),
    first=st.integers(0, 129),
    width=st.integers(1, 50),
)
def test_weights_of_all_tiles_sum_to_one(
    size: int, share: float, length: int, first: int, width: int
) -> None:
    tiling = Tiling(size, int(share * size))
    profile = np.sqrt(np.diag(tiling.weight()))
    total = np.zeros(length)
    for start in tiling.starts(length, (0, length)):
        cells = np.arange(max(start, 0), min(start + size, length))
        total[cells] += profile[cells - start]
    assert (total > 0.0).all()
    # The last tile has no successor to make up for its falling weight.
    np.testing.assert_allclose(total[: max(length - tiling.overlap, 0)], 1.0)
    # A block sees every tile that reaches into it.
    span = (min(first, length - 1), min(first + width, length))
    everywhere = tiling.starts(length, (0, length))
    reaching = [start for start in everywhere if start < span[1] and start + size > span[0]]
    assert tiling.starts(length, span) == reaching


def test_windows_extend_beyond_the_raster() -> None:
    raster = xr.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=("band", "y", "x"))
    found = read_window(raster, (-1, 2), (2, 6))
    assert found.shape == (2, 3, 4)
    assert np.isnan(found[:, 0]).all()
    assert np.isnan(found[:, :, 2:]).all()
    np.testing.assert_array_equal(found[:, 1:, :2], raster.values[:, :2, 2:])
    with pytest.raises(ValueError, match="at most half a tile"):
        Tiling(64, 40)


def test_tiles_without_an_estimate_have_no_weight() -> None:
    values = np.ones((8, 24))
    values[:, 8:] = 2.0
    raster = xr.DataArray(values, dims=("y", "x"))

    def estimate(tiles: list[np.ndarray], _corners: list[tuple[int, int]]) -> np.ndarray:
        # A tile that begins in the ones has nothing to say.
        return np.stack([each if np.nanmin(each) > 1.0 else each * np.nan for each in tiles[0]])[
            :, None
        ]

    found = Mosaic((raster,), estimate, 1, Tiling(16, 8)).compute()[0]
    assert np.isnan(found[:, :8]).all()
    np.testing.assert_allclose(found[:, 8:], 2.0)


def test_an_estimate_gets_the_corners_of_its_tiles() -> None:
    raster = xr.DataArray(np.zeros((20, 30)), dims=("y", "x"))

    def estimate(_tiles: list[np.ndarray], corners: list[tuple[int, int]]) -> np.ndarray:
        return np.stack([np.mgrid[row : row + 8, col : col + 8] for row, col in corners])

    found = Mosaic((raster,), estimate, 2, Tiling(8, 2)).compute()
    np.testing.assert_allclose(found, np.mgrid[:20, :30], atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    step=st.integers(1, 4),
    margin=st.integers(0, 5),
    size=st.integers(1, 9),
    block=st.integers(3, 9),
)
def test_a_cell_of_the_map_sees_its_cells_of_the_raster_and_a_margin(
    step: int, margin: int, size: int, block: int
) -> None:
    raster = xr.DataArray(np.arange(14.0 * 23.0).reshape(14, 23), dims=("y", "x"))
    place = margin + step // 2

    def estimate(tiles: list[np.ndarray], _corners: list[tuple[int, int]]) -> np.ndarray:
        assert tiles[0].shape[1:] == 2 * (size * step + 2 * margin,)
        return np.stack([each[place::step, place::step][:size, :size] for each in tiles[0]])[
            :, None
        ]

    plan = {"step": step, "margin": margin}
    found = Mosaic((raster,), estimate, 1, Tiling(size, 0), **plan).compute()[0]
    rows, columns = 14 // step, 23 // step
    middle = raster.values[step // 2 :: step, step // 2 :: step][:rows, :columns]
    np.testing.assert_array_equal(found, middle)
    parts = Mosaic((raster.chunk(y=5, x=6),), estimate, 1, Tiling(size, 0), **plan)
    np.testing.assert_array_equal(parts.compute(block)[0], middle)


def test_threads_batches_and_blocks_give_the_same_map() -> None:
    random = np.random.default_rng(0)
    raster = xr.DataArray(random.normal(size=(41, 53)).astype(np.float32), dims=("y", "x"))

    def estimate(tiles: list[np.ndarray], corners: list[tuple[int, int]]) -> np.ndarray:
        # Tiles disagree, and layers have gaps of their own.
        values = tiles[0] + np.array([row + 2 * column for row, column in corners])[:, None, None]
        gaps = [np.where(tiles[0] > limit, np.nan, values) for limit in (9.0, 1.0, 1.0, -0.5)]
        return np.stack(gaps, axis=1).astype(np.float32)

    told: list[float] = []
    tiling = Tiling(16, 6)
    expected = Mosaic((raster,), estimate, 4, tiling).compute()
    assert np.isnan(expected[1:]).any(axis=(1, 2)).all()
    apart = Mosaic((raster,), estimate, 4, tiling, batch=1, threads=3)
    np.testing.assert_array_equal(apart.compute(report=told.append), expected)
    assert told == sorted(told)
    assert told[-1] == 1.0
    lazy = Mosaic((raster.chunk(y=20, x=30),), estimate, 4, tiling, batch=3).compute(17)
    assert lazy.chunksize == (4, 17, 17)
    np.testing.assert_array_equal(lazy, expected)
