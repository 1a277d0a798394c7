"""The projection operator, its adjoint, and the table of their weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.footprints import PITCH, count_pieces
from sarheight_kernels.mapping import band_weights, copy_band
from sarheight_kernels.projection import _add_row
from sarheight_kernels.tiles import tile_surface

from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.illumination import ConstantGamma, Lambertian
from sarheight.illumination.simulate import Illumination, illuminate
from sarheight.layover._mapping import _matrix
from tests.mountains import located_cells, look, mountain, random_terrain, raster

Floats = NDArray[np.float64]


def operator(
    heights: Floats, *, lit: NDArray[np.bool_] | None = None, **how: object
) -> Illumination:
    grid, orbit = look(**how)  # type: ignore[arg-type]
    return illuminate(pass_geometry(raster(heights), grid, orbit), Lambertian(1.0), lit)


def overlap(low: float, high: float, pixels: int) -> Floats:
    """Part of an interval that falls into each pixel; pixel i reaches from i - 1/2 to i + 1/2."""
    edges = np.arange(pixels + 1) - 0.5
    return np.diff(np.clip(edges, low, high)) / (high - low)


@pytest.mark.parametrize("samples", [2, 4, 6, 8])
@pytest.mark.parametrize("cells", [1, 13, 64])
def test_windows_of_any_width_are_added(samples: int, cells: int) -> None:
    """Neighbours share pixels, and what lies in columns without a cell is left out."""
    random, lines = np.random.default_rng(cells), 3
    window = np.full((lines * samples + 4) * PITCH, np.nan, np.float32)
    weights = window[: lines * samples * PITCH].reshape(lines, samples, PITCH)
    weights[..., :cells] = random.uniform(0.0, 1.0, (lines, samples, cells))
    windows = np.ones((4, PITCH), np.int32)
    windows[0, :cells] = 10 + np.arange(cells) // 9
    windows[1, :cells] = np.arange(cells)
    share = random.uniform(0.5, 2.0, cells).astype(np.float32)
    image = np.ones((10, cells - 1 + samples), np.float32)
    expected = np.ones(image.shape)
    for j in range(cells):
        line, sample = windows[0, j] - 10, windows[1, j]
        part = share[j] * weights[..., j].astype(np.float64)
        expected[line : line + lines, sample : sample + samples] += part
    _add_row(window, windows.ravel(), share, lines, samples, 10, image)
    np.testing.assert_allclose(image, expected, rtol=1e-6)


def slow_image(one: Illumination, reflectivity: Floats) -> Floats:
    """Scatter cell by cell and quarter by quarter, as the formulas say."""
    seen = one.geometry
    line, sample = located_cells(seen)
    _, _, energy, _ = tile_surface(one.surface, 0)
    assert count_pieces(line) == 1
    lines, samples = seen.grid.shape
    image = np.zeros((lines, samples))
    for row, column in np.ndindex(*seen.heights.shape):
        if not one.illuminated[row, column]:
            continue
        for di, dj in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            facet = energy[row + (di + 1) // 2, column + (dj + 1) // 2]
            if facet == 0.0:
                continue
            corners = [
                np.array([values[row, column], values[row + di, column],
                          values[row, column + dj], values[row + di, column + dj]])
                for values in (line, sample)
            ]  # fmt: skip
            # Middle of the quarter of the bilinear surface; its edges are half the facet's.
            middle = [values @ np.array([9, 3, 3, 1]) / 16 for values in corners]
            down = [values @ np.array([-1, 1, -1, 1]) / 4 for values in corners]
            right = [values @ np.array([-1, -1, 1, 1]) / 4 for values in corners]
            high = math.hypot(down[0], right[0])
            drift = (down[0] * down[1] + right[0] * right[1]) / high**2
            wide = abs(down[0] * right[1] - down[1] * right[0]) / high
            low, top = middle[0] - high / 2, middle[0] + high / 2
            for pixel in range(max(math.floor(low + 0.5), 0), min(math.floor(top + 1.5), lines)):
                begin, end = max(low, pixel - 0.5), min(top, pixel + 0.5)
                centre = middle[1] + drift * (0.5 * (begin + end) - middle[0])
                reach = 0.5 * math.hypot(wide, drift * (end - begin))
                piece = 0.25 * facet * reflectivity[row, column] * (end - begin) / high
                image[pixel] += piece * overlap(centre - reach, centre + reach, samples)
    return image


def test_the_image_is_that_of_a_slow_independent_sum() -> None:
    one = operator(mountain(16, 20, 250.0), lines=60, samples=70)
    reflectivity = np.random.default_rng(0).uniform(0.5, 2.0, one.illuminated.shape)
    fast = one.simulate(reflectivity.astype(np.float32))
    expected = slow_image(one, reflectivity)
    np.testing.assert_allclose(fast, expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert fast.sum() > 0.0


def test_channels_are_simulated_and_gathered_as_each_alone() -> None:
    """On an image that ends within the terrain, bit by bit."""
    one = operator(mountain(30, 40, 400.0), lines=90, samples=100)
    random = np.random.default_rng(0)
    ground = random.uniform(0.5, 2.0, (3, *one.illuminated.shape)).astype(np.float32)
    for image, alone in zip(one.simulate(ground), ground, strict=True):
        np.testing.assert_array_equal(image, one.simulate(alone))
    images = random.random((3, 90, 100)).astype(np.float32)
    together = one.adjoint(images)
    for channel in range(3):
        own = one.adjoint(images[channel : channel + 1])
        np.testing.assert_array_equal(together.linear[channel], own.linear[0])
        np.testing.assert_array_equal(together.area, own.area)


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.floats(0.0, 400.0),
    st.sampled_from(["right", "left"]),
    st.booleans(),
    st.booleans(),
    st.floats(25.0, 45.0),
)
def test_gathering_is_the_adjoint_of_scattering(
    seed: int, relief: float, look_side: str, ascending: bool, ground_range: bool, incidence: float  # noqa: FBT001
) -> None:  # fmt: skip
    """<W x, y> = <x, W' y>, on an image that cuts the terrain too."""
    one = operator(
        random_terrain(seed, 30, 40, relief),
        look_side=look_side,
        ascending=ascending,
        ground_range=ground_range,
        incidence=incidence,
        lines=90,
        samples=100,
        sample_spacing=10.0 if ground_range else 5.0,
    )
    random = np.random.default_rng(seed)
    ground = random.random(one.illuminated.shape).astype(np.float32)
    image = random.random((1, *one.geometry.grid.shape)).astype(np.float32)
    seen = float((one.simulate(ground) * image[0]).sum())
    collected = float(
        (one.adjoint(image).linear[0].astype(np.float64) * ground * one.illuminated).sum()
    )
    assert seen == pytest.approx(collected, rel=1e-6)


def test_the_rcs_of_the_image_is_that_of_the_facets() -> None:
    """On an image that holds all of the terrain, and without shadow, nothing is lost."""
    heights = mountain()
    one = operator(heights, lit=np.ones(heights.shape, dtype=bool), lines=300, samples=420)
    energy = 0.0
    for tile in range(one.geometry.bounds.shape[0]):
        _, _, facets, _ = tile_surface(one.surface, tile)
        # Facets on the seam between two tiles belong to both: count those above and to the left.
        energy += float(facets[:-1, :-1].sum())
    assert one.simulate().sum() == pytest.approx(energy, rel=1e-6)


def test_blocks_of_lines_meet_without_a_seam() -> None:
    """An image of several blocks holds the same as its parts made one by one."""
    heights = mountain(400, 40)
    tall = operator(heights, lines=1300)
    whole = tall.simulate()
    grid, orbit = look(lines=1300)
    parts = []
    for lines in (slice(0, 330), slice(330, 1300)):
        part = pass_geometry(raster(heights), grid.crop(line=lines), orbit)
        parts.append(Illumination(part, tall.law, tall.illuminated).simulate())
    assert whole.sum() > 0.0
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=2e-6, atol=1e-6 * whole.max())


@pytest.mark.parametrize("cut", [{"line": 131}, {"sample": 170}])
def test_what_falls_outside_the_image_counts_in_no_area(cut: dict[str, int]) -> None:
    """Two halves of an image collect what the whole does, and the areas of both add up."""
    grid, orbit = look()
    heights = raster(mountain())
    whole = illuminate(pass_geometry(heights, grid, orbit), Lambertian(1.0))
    image = np.random.default_rng(0).random((1, *grid.shape)).astype(np.float32)
    all_of_it = whole.adjoint(image)
    linear, area = np.zeros(whole.illuminated.shape), np.zeros(whole.illuminated.shape)
    ((axis, at),) = cut.items()
    for part in (slice(0, at), slice(at, None)):
        index = (slice(None), part) if axis == "line" else (slice(None), slice(None), part)
        here = pass_geometry(heights, grid.crop(**{axis: part}), orbit)
        found = Illumination(here, whole.law, whole.illuminated).adjoint(
            np.ascontiguousarray(image[index])
        )
        linear += found.linear[0]
        area += found.area
    np.testing.assert_allclose(linear, all_of_it.linear[0], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(area, all_of_it.area, rtol=1e-5, atol=1e-3)


def test_with_constant_gamma_the_weights_are_projected_areas() -> None:
    grid, orbit = look(lines=300, samples=420)
    one = illuminate(pass_geometry(raster(mountain()), grid, orbit), ConstantGamma(1.0))
    ones = np.ones((1, 300, 420), dtype=np.float32)
    collected = one.adjoint(ones)
    lit = one.illuminated & (collected.area > 1.0)
    np.testing.assert_allclose(collected.linear[0][lit], collected.area[lit], rtol=2e-5)
    assert (collected.area[~one.illuminated] == 0.0).all()


def test_a_nan_reaches_only_the_cells_that_contribute_to_its_pixel() -> None:
    one = operator(mountain(30, 40, 500.0), lines=120, samples=150)
    image = np.ones((1, 120, 150), dtype=np.float32)
    clean = one.adjoint(image).linear[0]
    place = np.unravel_index(np.argmax(one.simulate()), (120, 150))
    image[0][place] = np.nan
    spoilt = one.adjoint(image).linear[0]
    mark = np.zeros((1, 120, 150), dtype=np.float32)
    mark[0][place] = 1.0
    touched = one.adjoint(mark).linear[0] > 0.0
    assert 0 < touched.sum() < 100
    np.testing.assert_array_equal(np.isnan(spoilt), touched)
    np.testing.assert_array_equal(spoilt[~touched], clean[~touched])


def holed_mountain() -> Floats:
    heights = mountain(70, 80)
    heights[20:24, 30:33] = np.nan
    return heights


def test_columns_are_sorted_positive_and_of_the_counted_length() -> None:
    one = operator(holed_mountain())
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
    one = operator(holed_mountain())
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
