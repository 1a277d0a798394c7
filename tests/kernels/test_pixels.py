"""Energies become intensities by the areas of pixels."""

from __future__ import annotations

import numpy as np
from sarheight_kernels.radiometry import divide_by_area


def test_areas_are_interpolated_between_lines() -> None:
    areas = np.array([[1.0, 2.0, 4.0], [3.0, 2.0, 8.0], [5.0, 2.0, 8.0]])
    image = np.full((3, 3), 12.0, np.float32)
    knot, share = np.array([0, 0, 1]), np.array([0.0, 0.5, 1.0])
    divide_by_area(image, knot, share, areas, 0.25)
    expected = 12.0 / np.array([[1.0, 2.0, 4.0], [2.0, 2.0, 6.0], [5.0, 2.0, 8.0]]) + 0.25
    np.testing.assert_allclose(image, expected, rtol=1e-6)
