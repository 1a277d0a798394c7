"""Areas of pixels, sums of radar cross-section over an image, and intensities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.radiometry import divide_by_area, image_sums, inverse_intensity, mask_missing

KNOTS = np.array([0.0, 10.0, 40.0])


def between(areas: NDArray[np.float64], lines: int) -> NDArray[np.float64]:
    """Areas of all pixels, linear between knots."""
    columns = [np.interp(np.arange(lines), KNOTS, column) for column in areas.T]
    return np.stack(columns, axis=1)


def test_pixels_that_one_polarisation_lacks_are_not_summed() -> None:
    """Areas are linear between knots."""
    random = np.random.default_rng(0)
    image = random.normal(1.0, 1.0, (2, 41, 1500)).astype(np.float32)
    image[random.random(image.shape) < 0.1] = np.nan
    image[0, 5, 6] = np.inf
    image[1, 7] = np.nan
    areas = random.uniform(50.0, 100.0, (3, 1500))
    sums = np.empty((2, 41, 5))
    image_sums(image, KNOTS, areas, sums)
    known = np.isfinite(image).all(axis=0)
    energy = np.where(known, image * between(areas, 41), 0.0)
    np.testing.assert_array_equal(sums[..., 0], np.broadcast_to(known.sum(axis=1), (2, 41)))
    np.testing.assert_allclose(sums[..., 1], energy.clip(max=0.0).sum(axis=2), rtol=1e-6)
    np.testing.assert_allclose(sums[..., 2], energy.clip(min=0.0).sum(axis=2), rtol=1e-6)
    least, greatest = (np.where(known, image, sign * np.inf) for sign in (1.0, -1.0))
    np.testing.assert_array_equal(sums[..., 3], least.min(axis=2))
    np.testing.assert_array_equal(sums[..., 4], greatest.max(axis=2))


def test_lines_of_any_type_are_summed() -> None:
    image = np.array([[[1.0, -2.0, np.nan, 4.0], [np.nan] * 4, [0.0, np.inf, 3.0, -1.0]]])
    sums = np.empty((1, 3, 5))
    image_sums(image, KNOTS, np.full((3, 4), 2.0), sums)
    np.testing.assert_array_equal(sums[0, 0], [3, -4.0, 10.0, -2.0, 4.0])
    np.testing.assert_array_equal(sums[0, 1], [0, 0.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(sums[0, 2], [3, -2.0, 6.0, -1.0, 3.0])


def test_inverse_intensity_is_zero_without_data() -> None:
    random = np.random.default_rng(0)
    image = random.gamma(1.0, 1.0, (2, 41, 300)).astype(np.float32)
    image[1, 3, 4], image[0, 5, 6], image[1, 7, 8] = np.nan, np.inf, -np.inf
    areas = random.uniform(50.0, 100.0, (3, 300))
    expected = random.gamma(1.0, 10.0, (2, 41, 300)).astype(np.float32)
    expected[:, 8] = 0.0
    found = expected.copy()
    mask_missing(image, found)
    known = np.isfinite(image).all(axis=0)
    np.testing.assert_array_equal(found, np.where(known, expected, 0.0))
    inverse_intensity(KNOTS, areas, found[0])
    known &= expected[0] > 0.0
    np.testing.assert_allclose(
        found[0][known], between(areas, 41)[known] / expected[0][known], rtol=1e-6
    )
    assert (found[0][~known] == 0.0).all()


def test_a_part_of_an_image_has_the_areas_of_its_place() -> None:
    areas = np.random.default_rng(0).uniform(50.0, 100.0, (3, 7))
    whole, part = np.ones((41, 7), dtype=np.float32), np.ones((18, 7), dtype=np.float32)
    inverse_intensity(KNOTS, areas, whole)
    inverse_intensity(KNOTS - 12.0, areas, part)
    np.testing.assert_allclose(part, whole[12:30], rtol=1e-6)


def test_areas_are_interpolated_between_lines() -> None:
    areas = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 8.0], [5.0, 2.0, 8.0]])
    image = np.full((3, 3), 12.0, np.float32)
    knot, share = np.array([0, 0, 1]), np.array([0.0, 0.5, 1.0])
    divide_by_area(image, knot, share, areas, 0.25)
    expected = 12.0 / np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 6.0], [5.0, 2.0, 8.0]]) + 0.25
    np.testing.assert_allclose(image, expected, rtol=1e-6)
