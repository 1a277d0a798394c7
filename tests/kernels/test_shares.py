"""What cells are given of their pixels, against the explicit weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.illumination.simulate import illuminate
from sarheight.layover import mapping
from sarheight.layover.allocation import PassTile, intensities
from sarheight.layover.tiles import gaussian_taps
from tests.mountains import LAW, mountain, raster, scene_of

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
def weights() -> Floats:
    """All weights, shape (pixels, cells)."""
    scene = scene_of(raster(mountain()))
    found = mapping(raster(mountain()), scene.grid, scene.orbit, law=LAW).matrix
    return np.asarray(found.todense(), dtype=np.float64)


@pytest.mark.parametrize("equal", [True, False])
def test_shares_are_those_of_the_weights(
    one: PassTile, weights: Floats, equal: bool  # noqa: FBT001
) -> None:  # fmt: skip
    shape = one.geometry.heights.shape
    bright = np.random.default_rng(0).uniform(0.3, 3.0, shape).astype(np.float32)
    share = one.allocate(None if equal else bright[None])
    by_cell = weights * (1.0 if equal else bright.ravel()[None, :])
    energy = pixel_energy(one)[0].ravel()
    simulated = by_cell.sum(axis=1)
    known = np.isfinite(energy) & (simulated > 0.0)
    ratio = np.where(known, np.nan_to_num(energy) / np.where(known, simulated, 1.0), 0.0)
    given = (by_cell.T @ ratio).reshape(shape)
    expected = weights[known].sum(axis=0).reshape(shape)
    part = by_cell[known] * (weights[known] / simulated[known, None])
    contribution = part.sum(axis=0).reshape(shape)
    np.testing.assert_allclose(share.rcs[0], given, rtol=2e-4, atol=1e-4 * given.max())
    np.testing.assert_allclose(share.expected, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(
        np.nan_to_num(share.contribution) * share.expected, contribution, rtol=2e-4, atol=1e-3
    )
    assert share.total[0] == pytest.approx(energy[known].sum(), rel=1e-5)
    assert float(share.rcs.sum()) == pytest.approx(share.total[0], rel=1e-5)


def test_only_the_core_counts_in_the_sum(one: PassTile) -> None:
    whole = one.allocate()
    rows, columns = one.geometry.heights.shape
    parts = [
        PassTile(one.image, one.areas, one.operator, core).allocate().total[0]
        for core in ((0, 17, 0, columns), (17, rows, 0, 31), (17, rows, 31, columns))
    ]
    assert sum(parts) == pytest.approx(whole.total[0], rel=1e-9)


def test_smoothing_moves_energy_but_does_not_make_any(one: PassTile) -> None:
    """What was to give away is told by the image as it is."""
    plain = one.allocate()
    smooth = one.allocate(blur=(gaussian_taps(1.0), gaussian_taps(1.0)))
    assert smooth.total[0] == pytest.approx(plain.total[0], rel=1e-6)
    np.testing.assert_array_equal(smooth.expected, plain.expected)
    assert float(smooth.rcs.sum()) == pytest.approx(float(plain.rcs.sum()), rel=0.05)
    assert not np.allclose(smooth.rcs, plain.rcs, rtol=1e-2)


def test_cells_that_are_not_asked_for_get_nothing(one: PassTile) -> None:
    whole = one.allocate()
    wanted = np.zeros(one.geometry.heights.shape, dtype=bool)
    wanted[10:20, 30:50] = True
    some = one.allocate(cells=wanted)
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
