"""The table of weights is what the operators recompute."""

from __future__ import annotations

import numpy as np
from sarheight_kernels.mapping import count_weights, write_weights

from sarheight.geometry._view import view
from sarheight.illumination import Lambertian
from sarheight.illumination._operator import Illumination, illuminate
from sarheight.layover._mapping import _matrix
from tests.mountains import look, mountain, raster


def operator(**how: object) -> Illumination:
    heights = mountain(70, 80)
    heights[20:24, 30:33] = np.nan
    grid, orbit = look(**how)  # type: ignore[arg-type]
    return illuminate(view(raster(heights), grid, orbit), Lambertian(1.0))


def test_columns_are_sorted_positive_and_of_the_counted_length() -> None:
    one = operator()
    seen = one.view
    lines, samples = seen.grid.shape
    arguments = (
        seen.ground, seen.radar, seen.heights, one.law, seen.bounds, one.lit, lines, samples
    )  # fmt: skip
    counts = np.full(seen.heights.shape, -1, dtype=np.int32)
    count_weights(*arguments, counts)
    start = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
    pixel = np.full(start[-1], -1, dtype=np.int32)
    weight = np.full(start[-1], np.nan)
    write_weights(*arguments, start, pixel, weight)
    assert (counts >= 0).all()
    assert (counts[~one.lit] == 0).all()
    assert (weight > 0.0).all()
    assert pixel.min() >= 0
    assert pixel.max() < lines * samples
    inside = np.ones(pixel.size, dtype=bool)
    inside[start[:-1][counts.ravel() > 0]] = False
    assert (np.diff(pixel)[inside[1:]] > 0).all()


def test_rows_and_columns_sum_as_the_operators_do() -> None:
    """On an image that cuts the terrain, with voids and shadow."""
    one = operator(lines=120, samples=150)
    matrix = _matrix(one)
    random = np.random.default_rng(0)
    ground = random.random(one.lit.shape).astype(np.float32)
    np.testing.assert_allclose(
        (matrix @ ground.ravel().astype(np.float64)).reshape(one.view.grid.shape),
        one.simulate(ground),
        rtol=1e-6,
        atol=1e-6,
    )
    image = random.random((*one.view.grid.shape, 1)).astype(np.float32)
    np.testing.assert_allclose(
        (matrix.T @ image.ravel().astype(np.float64)).reshape(one.lit.shape),
        one.collect(image).linear[0],
        rtol=1e-6,
        atol=1e-6,
    )
