"""Means of many dates of one pass, without simulating each date.

The mean of infinitely many dates is the sum of the scatterers' cross-sections through the squared
impulse response: amplitudes of different scatterers and dates are independent. The mean of n dates
is that, times speckle: the mean of n squared magnitudes of complex white noise that has passed the
same filters. This is exact where reflectivity is constant over the impulse response, and much
cheaper than n images of point scatterers.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2

from sarheight.scene import Scene
from tests.worlds.point_scatterers import pass_over, scatterers_of
from tests.worlds.scatterer_geometry import JIT, path_of, surface_of
from tests.worlds.scattering_ground import Ground
from tests.worlds.slc_image import (
    IW1,
    bands_of,
    detect,
    equivalent_looks,
    impulse_response,
    pixel_areas,
    slc_grid_for,
)

__all__ = ["Expected", "expected_image", "mean_image"]

Floats = NDArray[np.float64]

LOOKS = (1, 5)
"""Lines and samples of the complex image in a pixel, as of an IW GRDH."""
SCATTERERS = 4
"""Scatterers along each side of a cell, enough for cells of 30 m."""
NEAR = 4
"""Samples to either side to which the squared response is summed: 99 % of its energy."""


class Expected:
    """The mean of infinitely many dates, without noise, and what its dates depend on."""

    def __init__(
        self, ground: Ground, incidence: float, *, ascending: bool, side: int = SCATTERERS
    ) -> None:
        """Sum up the scatterers, `side` x `side` in each cell of the ground."""
        self.grid, self.orbit = pass_over(ground.dem, incidence, ascending=ascending)
        orbit = self.orbit.with_epoch(self.grid.epoch)
        path = path_of(orbit, 0.5 * (self.grid.first_time + self.grid.last_time))
        self.slc = slc_grid_for(self.grid, IW1, LOOKS)
        area, sine = pixel_areas(self.slc, path, 1.0)
        self.noise = IW1.noise / sine
        power = np.zeros((self.slc.lines, self.slc.samples))
        squared = [_squared_response(*each) for each in zip(*bands_of(IW1), strict=True)]
        for each in scatterers_of(ground, surface_of(ground.dem), path, side, ground.seed + 1):
            line, sample = self.slc.pixels(each.time.ravel(), each.slant.ravel())
            _add_squares(line, sample, each.variance.ravel(), *squared, power)
        self.power = power / area


STEPS = 32
"""Offsets from a sample at which squared responses are tabulated."""


def _squared_response(band: float, window: float) -> Floats:
    """Tabulate the squared response, shape (offsets, samples), for offsets from -0.5 to 0.5."""
    middle = impulse_response(0.0, band, window).size // 2
    part = slice(middle - NEAR, middle + NEAR + 1)
    offsets = (np.arange(STEPS) + 0.5) / STEPS - 0.5
    return np.stack([impulse_response(each, band, window)[part] ** 2 for each in offsets])


@numba.njit(**JIT)
def _add_squares(
    line: Floats, sample: Floats, power: Floats, down: Floats, across: Floats, image: Floats
) -> None:
    """Add the squared responses of scatterers to an image."""
    lines, samples = image.shape
    for k in range(line.size):
        i, j = int(np.floor(line[k] + 0.5)), int(np.floor(sample[k] + 0.5))
        if i < NEAR or j < NEAR or i >= lines - NEAR or j >= samples - NEAR or power[k] <= 0.0:
            continue
        along = down[min(int((line[k] - i + 0.5) * STEPS), STEPS - 1)]
        beside = across[min(int((sample[k] - j + 0.5) * STEPS), STEPS - 1)]
        for m in range(along.size):
            factor = power[k] * along[m]
            for n in range(beside.size):
                image[i + m - NEAR, j + n - NEAR] += factor * beside[n]


def expected_image(
    ground: Ground, incidence: float, *, ascending: bool, side: int = SCATTERERS
) -> Expected:
    """Return the mean of infinitely many dates, with `side` x `side` scatterers in each cell."""
    return Expected(ground, incidence, ascending=ascending, side=side)


def mean_image(expected: Expected, dates: int, seed: int) -> Scene:
    """Take the mean of some dates, with thermal noise whose mean is subtracted.

    It is beta0, linear power; the grid states the looks of all dates together.
    """
    random = np.random.default_rng(seed)
    shape = expected.power.shape
    filters = []
    for size, band, window in zip(shape, *bands_of(IW1), strict=True):
        response = np.zeros(size)
        taps = impulse_response(0.0, band, window)
        response[: taps.size] = taps
        filters.append(np.abs(np.fft.fft(response)))
    response = (filters[0][:, None] * filters[1]).astype(np.float32)
    speckle = np.zeros(shape, dtype=np.float32)
    for _ in range(dates):
        real, imaginary = (random.standard_normal(shape, dtype=np.float32) for _ in range(2))
        noise = ifft2(fft2(real + 1j * imaginary, overwrite_x=True) * response, overwrite_x=True)
        speckle += noise.real**2 + noise.imag**2
    speckle /= speckle.mean()
    intensity = (expected.power + expected.noise) * speckle - expected.noise
    detected = detect(intensity, expected.slc, expected.grid, LOOKS)
    attributes = {
        "long_name": f"simulated mean of {dates} radar images of point scatterers, beta0",
        "units": "1",
        "simulated": "from a DEM and an orbit",
    }
    data = xr.DataArray(detected, dims=("line", "sample"), name="beta0", attrs=attributes)
    grid = replace(expected.grid, looks=dates * equivalent_looks(IW1, LOOKS))
    return Scene(data, grid, expected.orbit, "beta0")
