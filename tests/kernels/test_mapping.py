"""The table of weights is what the operators recompute."""

from __future__ import annotations

import numpy as np
import pytest
from sarheight_kernels.mapping import band_weights, copy_band

from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import Lambertian
from sarheight.illumination.simulate import Illumination, illuminate
from sarheight.layover._mapping import _matrix
from tests.mountains import look, mountain, raster


def operator(**how: object) -> Illumination:
    heights = mountain(70, 80)
    heights[20:24, 30:33] = np.nan
    grid, orbit = look(**how)  # type: ignore[arg-type]
    return illuminate(pass_geometry(raster(heights), grid, orbit), Lambertian(1.0))


def test_columns_are_sorted_positive_and_of_the_counted_length() -> None:
    one = operator()
    matrix = _matrix(one)
    lines, samples = one.geometry.grid.shape
    pixel, weight, start = matrix.indices, matrix.data, matrix.indptr
    assert weight.dtype == np.float32
    assert pixel.size == weight.size == start[-1]
    assert (np.diff(start)[~one.illuminated.ravel()] == 0).all()
    assert (np.diff(start)[one.illuminated.ravel()] > 0).any()
    assert (weight > 0.0).all()
    assert pixel.min() >= 0
    assert pixel.max() < lines * samples
    inside = np.ones(pixel.size, dtype=bool)
    inside[start[:-1][np.diff(start) > 0]] = False
    assert (np.diff(pixel)[inside[1:]] > 0).all()


def test_buffers_that_are_too_small_are_reported_and_enlarged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = operator()
    expected = _matrix(one)
    ends, fits = np.empty((64, 80), np.int32), np.empty(2, np.bool_)
    band_weights(
        one.surface, *one.geometry.grid.shape, 0, ends, fits,
        np.empty((2, 100), np.int32), np.empty((2, 100), np.float32),
    )  # fmt: skip
    assert not fits.any()
    monkeypatch.setattr("sarheight.layover._mapping.WEIGHTS_PER_CELL", 1)
    grown = _matrix(one)
    assert (grown != expected).nnz == 0


def test_weights_may_begin_beyond_what_fits_into_four_bytes() -> None:
    """Rows of two tiles without weights, behind so many of other bands."""
    begin, ends = np.full((3, 2), 3_000_000_000), np.zeros((3, 80), np.int32)
    start = np.empty(ends.shape, np.int64)
    nothing = np.empty((2, 0), np.int32), np.empty((2, 0), np.float32)
    copy_band(begin, ends, *nothing, start, nothing[0][0], nothing[1][0])
    assert (start == 3_000_000_000).all()


def test_rows_and_columns_sum_as_the_operators_do() -> None:
    """On an image that cuts the terrain, with voids and shadow."""
    one = operator(lines=120, samples=150)
    matrix = _matrix(one)
    random = np.random.default_rng(0)
    ground = random.random(one.illuminated.shape).astype(np.float32)
    np.testing.assert_allclose(
        (matrix @ ground.ravel().astype(np.float64)).reshape(one.geometry.grid.shape),
        one.simulate(ground),
        rtol=1e-6,
        atol=1e-6,
    )
    image = random.random((1, *one.geometry.grid.shape)).astype(np.float32)
    np.testing.assert_allclose(
        (matrix.T @ image.ravel().astype(np.float64)).reshape(one.illuminated.shape),
        one.adjoint(image).linear[0],
        rtol=1e-6,
        atol=1e-6,
    )
