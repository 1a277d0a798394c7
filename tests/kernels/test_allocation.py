"""Allocated RCS against explicit weights, and geocoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from sarheight.geometry.pass_geometry import PassGeometry, PixelAreas, pass_geometry, pixel_areas
from sarheight.illumination import ConstantGamma
from sarheight.illumination.simulate import illuminate
from sarheight.layover import mapping
from sarheight.layover.allocation import PIXEL_FLOOR, Comparison, PassTile, intensities
from sarheight.layover.tiles import gaussian_taps
from tests.dems import dem_around, hills
from tests.mountains import LAW, located_cells, mountain, raster, scene_of
from tests.synthetic import synthetic_grid

Floats = NDArray[np.float64]


@pytest.fixture(scope="module")
def one() -> PassTile:
    """A mountain, its image with a hole, and the operator."""
    dem = raster(mountain())
    scene = scene_of(dem)
    seen = pass_geometry(dem, scene.grid, scene.orbit)
    image = intensities(scene.image.values).copy()
    image[:, 100:104, 90:120] = np.nan
    areas = pixel_areas(scene.grid, seen.radar, "gamma0")
    return PassTile(image, areas, illuminate(seen, LAW))


def pixel_energy(one: PassTile) -> Floats:
    """Intensity times area, shape (polarisations, lines, samples)."""
    energy = one.image.astype(np.float64)
    for block, areas in one.areas.blocks(energy.shape[1]):
        energy[:, block] *= areas
    return energy


@pytest.fixture(scope="module")
def weights() -> sparse.csr_array:
    """All weights, shape (pixels, cells)."""
    scene = scene_of(raster(mountain()))
    found = mapping(raster(mountain()), scene.grid, scene.orbit, law=LAW).matrix
    return sparse.csr_array(found, dtype=np.float64)


@pytest.mark.parametrize("equal", [True, False])
def test_allocated_rcs_follows_the_weights(
    one: PassTile, weights: sparse.csr_array, *, equal: bool
) -> None:
    shape = one.geometry.heights.shape
    bright = np.random.default_rng(0).uniform(0.3, 3.0, shape).astype(np.float32)
    share = one.allocate(None if equal else bright)
    by_cell = weights if equal else weights @ sparse.diags_array(bright.ravel().astype(float))
    energy = pixel_energy(one)[0].ravel()
    simulated = by_cell.sum(axis=1)
    known = np.isfinite(energy) & (simulated > 0.0)
    ratio = np.where(known, np.nan_to_num(energy) / np.where(known, simulated, 1.0), 0.0)
    given = (by_cell.T @ ratio).reshape(shape)
    expected = weights[known].sum(axis=0).reshape(shape)
    part = by_cell[known].multiply(sparse.diags_array(1.0 / simulated[known]) @ weights[known])
    contribution = part.sum(axis=0).reshape(shape)
    np.testing.assert_allclose(share.rcs[0], given, rtol=2e-4, atol=1e-4 * given.max())
    np.testing.assert_allclose(share.expected, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        np.nan_to_num(share.contribution) * share.expected, contribution, rtol=2e-4, atol=1e-3
    )
    assert share.total[0] == pytest.approx(energy[known].sum(), rel=1e-5)
    assert float(share.rcs.sum()) == pytest.approx(share.total[0], rel=1e-5)


@pytest.mark.parametrize("equal", [True, False])
def test_weighed_ratios_are_summed_by_the_weights(
    one: PassTile, weights: sparse.csr_array, *, equal: bool
) -> None:
    """In the sweep that allocates, and in one of its own."""
    shape = one.geometry.heights.shape
    bright = np.random.default_rng(0).uniform(0.3, 3.0, shape).astype(np.float32)
    assumed = None if equal else bright
    simulated = weights @ (np.ones(weights.shape[1]) if equal else bright.ravel().astype(float))
    simulated = np.where(np.isfinite(one.image[0]), simulated.reshape(one.image.shape[1:]), 0.0)
    beside = np.pad(simulated, ((0, 0), (1, 1)), mode="edge")
    total = beside[:, 2:] + beside[:, :-2]
    change = np.divide(
        beside[:, 2:] - beside[:, :-2], total, out=np.zeros_like(total), where=total > 0.0
    )
    known = simulated > 0.0
    precision = np.where(known, 1.0 / (PIXEL_FLOOR + change**2), 0.0)
    ratio = np.where(
        known, np.nan_to_num(pixel_energy(one)[0]) / np.where(known, simulated, 1.0), 0
    )
    _, compared = one.allocate_and_compare(assumed, comparison=Comparison(None, ratios=True))
    again = one.compare((np.ones_like(bright) if equal else bright)[None])
    assert compared is not None
    assert compared.change is not None
    for found, pixels in (
        (compared.ratios[0], precision * ratio),
        (compared.weight[0], precision),
        (compared.change, np.where(known, change**2, 0.0)),
    ):
        expected = (weights.T @ pixels.ravel()).reshape(shape)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())
    np.testing.assert_array_equal(again.ratios, compared.ratios)
    np.testing.assert_array_equal(again.weight, compared.weight)


def test_each_polarisation_is_compared_by_its_own_reflectivity(one: PassTile) -> None:
    """Together they give the bits that each gives alone."""
    random = np.random.default_rng(1)
    image = np.concatenate((one.image, 2.0 * one.image[:, ::-1])).astype(np.float32)
    image[:, ~np.isfinite(image).all(axis=0)] = np.nan
    ground = random.uniform(0.3, 3.0, (2, *one.geometry.heights.shape)).astype(np.float32)
    both = replace(one, image=image).compare(ground)
    for p in range(2):
        alone = replace(one, image=image[p : p + 1]).compare(ground[p : p + 1])
        np.testing.assert_array_equal(both.ratios[p], alone.ratios[0])
        np.testing.assert_array_equal(both.weight[p], alone.weight[0])
    assert not np.array_equal(both.weight[0], both.weight[1])


def test_only_counted_cells_enter_the_totals(one: PassTile) -> None:
    whole = one.allocate()
    rows, columns = one.geometry.heights.shape
    parts = [
        PassTile(one.image, one.areas, one.operator, core).allocate().total[0]
        for core in ((0, 17, 0, columns), (17, rows, 0, 31), (17, rows, 31, columns))
    ]
    assert sum(parts) == pytest.approx(whole.total[0], rel=1e-9)


def test_smoothing_keeps_the_total_rcs(one: PassTile) -> None:
    """What was to give away is told by the image as it is."""
    plain = one.allocate()
    smooth = one.allocate(blur=(gaussian_taps(1.0), gaussian_taps(1.0)))
    assert smooth.total[0] == pytest.approx(plain.total[0], rel=1e-6)
    np.testing.assert_array_equal(smooth.expected, plain.expected)
    assert float(smooth.rcs.sum()) == pytest.approx(float(plain.rcs.sum()), rel=0.05)
    assert not np.allclose(smooth.rcs, plain.rcs, rtol=1e-2)


def test_cells_that_are_masked_are_allocated_nothing(one: PassTile) -> None:
    whole = one.allocate()
    wanted = np.zeros(one.geometry.heights.shape, dtype=bool)
    wanted[10:20, 30:50] = True
    some = one.allocate(wanted=wanted)
    np.testing.assert_array_equal(some.rcs[:, wanted], whole.rcs[:, wanted])
    assert (some.rcs[:, ~wanted] == 0.0).all()
    assert np.isnan(some.contribution[~wanted]).all()


def test_a_second_polarisation_does_not_change_the_first(one: PassTile) -> None:
    image = np.concatenate([one.image, np.float32(0.2) * one.image])
    both = PassTile(image, one.areas, one.operator).allocate()
    alone = one.allocate()
    np.testing.assert_array_equal(both.rcs[0], alone.rcs[0])
    np.testing.assert_allclose(both.rcs[1], 0.2 * alone.rcs[0], rtol=1e-5)
    np.testing.assert_array_equal(both.diagnostics, alone.diagnostics)


def test_a_pixel_that_one_polarisation_lacks_counts_for_none(one: PassTile) -> None:
    image = np.concatenate([one.image, one.image])
    image[1, 60:80, 60:80] = np.inf
    both = PassTile(image, one.areas, one.operator)
    image = one.image.copy()
    image[0, 60:80, 60:80] = np.nan
    lacking = PassTile(image, one.areas, one.operator)
    blur = gaussian_taps(1.0), gaussian_taps(1.0)
    for smooth in (None, blur):
        found, expected = both.allocate(blur=smooth), lacking.allocate(blur=smooth)
        np.testing.assert_array_equal(found.rcs[0], expected.rcs[0])
        np.testing.assert_array_equal(found.rcs[1], expected.rcs[0])
        np.testing.assert_array_equal(found.expected, expected.expected)


def scene(
    heights: NDArray[np.float64],
) -> tuple[PassGeometry, NDArray[np.float64], NDArray[np.float64]]:
    """A DEM larger than the image, with line and sample of its cells."""
    grid, orbit = synthetic_grid(height=1000.0)
    seen = pass_geometry(dem_around(46.0, 10.0, heights), grid, orbit)
    return seen, *located_cells(seen)


def sampled(
    seen: PassGeometry,
    image: NDArray[np.float64],
    knots: tuple[float, ...] = (0.0, 1.0),
    measured: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Geocode an image of pixels with these areas, 1 by default, as one of areas of 1."""
    ones = np.ones((len(knots), image.shape[2]))
    grid = seen.grid.crop(slice(0, image.shape[1]), slice(0, image.shape[2]))
    one = PassTile(
        image.astype(np.float32),
        PixelAreas(np.array(knots), ones if measured is None else measured),
        illuminate(replace(seen, grid=grid), ConstantGamma(1.0)),
        ellipsoid=PixelAreas(np.array(knots), ones),
    )
    return one.allocate().geocoded


def test_a_plane_is_interpolated_exactly_and_nothing_beyond_the_image() -> None:
    seen, line, sample = scene(hills((150, 170)))
    lines, samples = np.meshgrid(
        np.arange(seen.grid.lines), np.arange(seen.grid.samples), indexing="ij"
    )
    values = sampled(seen, np.stack([lines, samples, 2.0 * lines - samples]))
    inside = (
        (line >= 0.0)
        & (line <= seen.grid.lines - 1)
        & (sample >= 0.0)
        & (sample <= seen.grid.samples - 1)
    )
    assert 0.05 < inside.mean() < 0.5
    for channel, expected in zip(values, (line, sample, 2.0 * line - sample), strict=True):
        assert np.array_equal(np.isfinite(channel), inside)
        assert np.abs(channel - expected)[inside].max() < 1e-4


def test_intensities_are_converted_to_other_areas() -> None:
    """Which hardly change from line to line, but do from sample to sample."""
    seen, *_ = scene(hills((150, 170)))
    lines, samples = seen.grid.shape
    knots = (-20.0, 60.0, lines + 30.0)
    area = np.linspace(300.0, 290.0, samples)[None] * np.array([[1.0], [1.00002], [1.000065]])
    by_line = [np.interp(np.arange(lines), knots, area[:, s]) for s in range(samples)]
    intensity = np.random.default_rng(0).gamma(4.0, 0.25, (2, lines, samples))
    expected = sampled(seen, intensity)
    found = sampled(seen, intensity / np.stack(by_line, axis=1), knots, area)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_voids_of_image_and_dem_stay_where_they_are() -> None:
    heights = hills((60, 70))
    heights[10:20, 30:40] = np.nan
    seen, line, sample = scene(heights)
    image = np.ones((1, *seen.grid.shape))
    image[0, 100, 120] = np.nan
    values = sampled(seen, image)[0]
    touched = (np.abs(line - 100.0) < 1.0) & (np.abs(sample - 120.0) < 1.0)
    beyond = ~((line >= 0) & (line <= 199) & (sample >= 0) & (sample <= 249))
    assert np.array_equal(np.isnan(values), touched | beyond | np.isnan(heights))
    assert (values[np.isfinite(values)] == 1.0).all()


@pytest.mark.parametrize(("lines", "samples"), [(1, 250), (200, 1), (1, 1)])
def test_an_image_may_be_one_pixel_wide(lines: int, samples: int) -> None:
    grid, orbit = synthetic_grid(height=1000.0)
    grid = grid.crop(
        slice(100, 101) if lines == 1 else slice(None),
        slice(120, 121) if samples == 1 else slice(None),
    )
    seen = pass_geometry(dem_around(46.0, 10.0, hills((60, 70))), grid, orbit)
    values = sampled(seen, np.ones((1, lines, samples)))
    # No cell is exactly on the one line or sample.
    assert np.isnan(values).all()


def test_an_image_that_ends_anywhere_in_a_tile_is_a_part_of_the_whole() -> None:
    """Some of these images end where a tile meets nothing of them but the last line or sample."""
    seen, line, sample = scene(hills((150, 170)))
    high, wide = seen.grid.shape
    image = np.random.default_rng(0).random((1, high, wide))
    whole = sampled(seen, image)[0]
    cuts = [(k, 0) for k in range(40)] + [(0, k) for k in range(40)]
    for lines, samples in ((high - down, wide - right) for down, right in cuts):
        found = sampled(seen, image[:, :lines, :samples])[0]
        inside = (line >= 0) & (line <= lines - 1) & (sample >= 0) & (sample <= samples - 1)
        assert np.array_equal(np.isfinite(found), inside)
        np.testing.assert_allclose(found[inside], whole[inside], rtol=1e-4, atol=1e-5)


def test_polarisations_are_geocoded_each_by_itself() -> None:
    """What one lacks, or has as infinity, the other may have."""
    seen, line, sample = scene(hills((60, 70)))
    beyond = ~((line >= 0) & (line <= 199) & (sample >= 0) & (sample <= 249))
    inside = np.argwhere(~beyond)
    cells = inside[len(inside) // 3], inside[len(inside) // 2]
    places = [(int(line[tuple(cell)]), int(sample[tuple(cell)])) for cell in cells]
    image = np.ones((2, *seen.grid.shape))
    image[0][places[0]], image[1][places[1]] = np.nan, np.inf
    values = sampled(seen, image)
    for found, (there_line, there_sample) in zip(values, places, strict=True):
        touched = (np.abs(line - there_line) < 1.0) & (np.abs(sample - there_sample) < 1.0)
        assert touched.any()
        assert np.array_equal(np.isnan(found), touched | beyond)
        assert (found[np.isfinite(found)] == 1.0).all()
