"""Intensities, energies, and sums over an image."""

from __future__ import annotations

import numpy as np
from sarheight_kernels.energies import energies, line_sums

KNOTS = np.array([0.0, 10.0, 40.0])


def test_energies_are_intensities_times_areas() -> None:
    """Areas are linear between knots; a pixel that one polarisation lacks has no energy at all."""
    random = np.random.default_rng(0)
    image = random.gamma(1.0, 1.0, (2, 41, 7)).astype(np.float32)
    areas = random.uniform(50.0, 100.0, (3, 7))
    image[1, 3, 4] = np.nan
    image[0, 5, 6] = np.inf
    energy = np.empty_like(image)
    totals = np.empty((2, 41))
    energies(image, KNOTS, areas, energy, totals)
    table = np.stack([np.interp(np.arange(41), KNOTS, areas[:, s]) for s in range(7)], axis=1)
    missing = np.zeros((41, 7), dtype=bool)
    missing[3, 4] = missing[5, 6] = True
    np.testing.assert_array_equal(np.isnan(energy), np.broadcast_to(missing, energy.shape))
    np.testing.assert_allclose(energy[:, ~missing], (image * table)[:, ~missing], rtol=1e-6)
    np.testing.assert_allclose(totals, np.nansum(energy, axis=2, dtype=np.float64), rtol=1e-12)


def test_a_part_of_an_image_has_the_areas_of_its_place() -> None:
    image = np.ones((1, 41, 7), dtype=np.float32)
    areas = np.random.default_rng(0).uniform(50.0, 100.0, (3, 7))
    whole, part = np.empty_like(image), np.empty_like(image[:, 12:30])
    totals = np.empty((1, 41))
    energies(image, KNOTS, areas, whole, totals)
    energies(image[:, 12:30], KNOTS - 12.0, areas, part, totals[:, 12:30].copy())
    np.testing.assert_allclose(part, whole[:, 12:30], rtol=1e-6)


def test_lines_are_summed_without_what_is_missing() -> None:
    image = np.array([[1.0, -2.0, np.nan, 4.0], [np.nan] * 4, [0.0, np.inf, 3.0, -1.0]])
    sums = np.empty((3, 5))
    line_sums(image, sums)
    np.testing.assert_array_equal(sums[0], [3, -2.0, 5.0, -2.0, 4.0])
    np.testing.assert_array_equal(sums[1], [0, 0.0, 0.0, np.inf, -np.inf])
    np.testing.assert_array_equal(sums[2], [3, -1.0, 3.0, -1.0, 3.0])


def test_long_lines_are_summed_like_short_ones() -> None:
    random = np.random.default_rng(0)
    image = random.normal(0.0, 1.0, (4, 1500)).astype(np.float32)
    image[random.random(image.shape) < 0.1] = np.nan
    sums, energy, totals = np.empty((4, 5)), np.empty_like(image), np.empty((1, 4))
    line_sums(image, sums)
    energies(image[None], KNOTS, np.full((3, 1500), 2.0), energy[None], totals)
    known = np.nan_to_num(image).astype(np.float64)
    np.testing.assert_array_equal(sums[:, 0], np.isfinite(image).sum(axis=1))
    np.testing.assert_allclose(sums[:, 1], known.clip(max=0.0).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(sums[:, 2], known.clip(min=0.0).sum(axis=1), rtol=1e-12)
    np.testing.assert_array_equal(sums[:, 3], np.nanmin(image, axis=1))
    np.testing.assert_array_equal(sums[:, 4], np.nanmax(image, axis=1))
    np.testing.assert_allclose(totals[0], 2.0 * known.sum(axis=1), rtol=1e-12, atol=1e-12)
