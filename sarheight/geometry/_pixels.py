"""The area of a radar pixel, which turns calibrated intensities into energies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sarheight_kernels.inverse import points_at_height
from sarheight_kernels.pixels import divide_by_area

from sarheight.geometry._ground import to_earth_fixed

if TYPE_CHECKING:
    from sarheight_kernels.models import RadarModel

    from sarheight.scene import Calibration, RadarGrid

__all__ = ["PixelAreas", "pixel_areas"]

LINE_KNOTS, SAMPLE_KNOTS = 9, 33
BLOCK = 256


@dataclass(frozen=True, eq=False)
class PixelAreas:
    """Area of the pixels of an image, in the plane to which a calibration refers.

    Attributes
    ----------
    lines : array, shape (k,)
        Lines at which the areas are tabulated.
    areas : array, shape (k, samples)
        Areas in square metres; linear in between.
    """

    lines: NDArray[np.float64]
    areas: NDArray[np.float64]

    def blocks(self, lines: int) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield blocks of lines with the areas of their pixels, shape (block, samples)."""
        knot, share = self._places(lines)
        for first in range(0, lines, BLOCK):
            block = slice(first, min(first + BLOCK, lines))
            before, after = self.areas[knot[block]], self.areas[knot[block] + 1]
            yield block, before + share[block, None] * (after - before)

    def divide(self, energy: NDArray[np.float32], offset: float = 0.0) -> None:
        """Turn energies into intensities, in place.

        Parameters
        ----------
        energy : array, shape (lines, samples)
            Radar cross-sections of the pixels in square metres; receives intensities in linear
            power.
        offset : float
            Intensity that is added to all of them.
        """
        divide_by_area(energy, *self._places(energy.shape[0]), self.areas, offset)

    def _places(self, lines: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Find the knot before each line, and the place of the line between it and the next."""
        wanted = np.arange(lines, dtype=np.float64)
        knot = np.clip(
            np.searchsorted(self.lines, wanted, side="right") - 1, 0, self.lines.size - 2
        )
        return knot, (wanted - self.lines[knot]) / (self.lines[knot + 1] - self.lines[knot])


def _points(
    radar: RadarModel, time: NDArray[np.float64], slant_range: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positions on the ellipsoid at given times and slant ranges, shape (..., 3)."""
    longitude, latitude = np.empty(time.size), np.empty(time.size)
    points_at_height(
        radar, time.ravel(), slant_range.ravel(), np.zeros(time.size), longitude, latitude
    )
    position, _ = to_earth_fixed(np.degrees(longitude), np.degrees(latitude))
    return position.reshape(*time.shape, 3)


def pixel_areas(grid: RadarGrid, radar: RadarModel, calibration: Calibration) -> PixelAreas:
    """Tabulate the areas to which intensities of a calibration refer.

    A pixel's radar cross-section in square metres is its intensity times this area: beta0 refers
    to the area in the slant-range plane, sigma0 to that on the ellipsoid, gamma0 to that at a
    right angle to the line of sight.

    Parameters
    ----------
    grid : RadarGrid
        Sampling of the image.
    radar : RadarModel
        Its tables.
    calibration : {"beta0", "sigma0", "gamma0"}
        What the image is calibrated to.

    Returns
    -------
    PixelAreas
        The table.

    Raises
    ------
    ValueError
        If the calibration is none of these.
    """
    if calibration not in ("beta0", "sigma0", "gamma0"):
        msg = (
            f"found calibration {calibration!r}, expected 'beta0', 'sigma0' or 'gamma0' "
            "(linear power): say what the image is calibrated to"
        )
        raise ValueError(msg)
    lines = np.linspace(0.0, max(grid.lines - 1.0, 1.0), LINE_KNOTS)
    samples = np.linspace(0.0, max(grid.samples - 1.0, 1.0), SAMPLE_KNOTS)
    line, sample = np.meshgrid(lines, samples, indexing="ij")
    slant = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant)
    step = 0.5 * abs(radar.line_interval)
    along = _points(radar, time + step, slant) - _points(radar, time - step, slant)
    across = _points(radar, time, grid.slant_range(line, sample + 0.5)) - _points(
        radar, time, grid.slant_range(line, sample - 0.5)
    )
    area = np.linalg.norm(np.cross(along, across), axis=-1)
    # Squint-free: the line of sight is at a right angle to the track, so the slant range's
    # growth across a pixel over its width on the ground is the sine of incidence.
    extent = np.abs(grid.slant_range(line, sample + 0.5) - grid.slant_range(line, sample - 0.5))
    sine = np.clip(extent / np.linalg.norm(across, axis=-1), 0.0, 1.0)
    if calibration == "beta0":
        area = area * sine
    elif calibration == "gamma0":
        area = area * np.sqrt(1.0 - sine**2)
    if not np.isfinite(area).all():
        msg = (
            "found an image whose slant ranges do not reach the Earth; expected ranges between "
            "the satellite's height and the horizon: check near_range and sample_spacing"
        )
        raise ValueError(msg)
    from scipy.interpolate import CubicSpline

    return PixelAreas(lines, CubicSpline(samples, area, axis=1)(np.arange(grid.samples)))
