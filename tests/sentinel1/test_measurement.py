"""A crop of a real measurement: coast, sea and a peninsula at Terceira, in one burst of an IW3 SLC.

The crop has 601 lines and 1401 samples, from line 9800 and sample 11000 of its file. No calibration
annotation is among the data: digital numbers are divided by 237, as annotations of other IW SLC of
the same satellite say for beta0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from scipy import ndimage

from sarheight._runtime import ignore_missing_georeference
from sarheight.geometry import rdr2geo
from sarheight.grid import RadarGrid
from sarheight.orbit import Orbit
from sarheight.sentinel1 import read_annotation, read_grid, read_orbit, read_orbit_file
from tests.conftest import shared_data

ANNOTATION = "s1a-iw3-slc-vv-20220918t074921-20220918t074946-045056-056232-006.xml.xz"
ORBIT = "S1A_OPER_AUX_RESORB_OPOD_20220918T093241_V20220918T053155_20220918T084925.EOF.xz"
FIRST_LINE, FIRST_SAMPLE, BETA_NOUGHT = 9800, 11_000, 237.0
SEA_LEVEL = 57.0
"""Height of the geoid above the ellipsoid in metres, roughly (EGM96)."""
WATER = slice(430, None), slice(None)
LAND = slice(295, 410), slice(400, 950)
"""Lines and samples around the peninsula Monte Brasil, from its isthmus southwards."""
APART = 8
"""Samples, 27 m on the sea, beyond which pixels share no speckle: two are a resolution cell."""


@dataclass(frozen=True, eq=False)
class Crop:
    power: NDArray[np.float64]
    grid: RadarGrid
    orbit: Orbit


@pytest.fixture(scope="module")
def crop() -> Crop:
    folder = shared_data("radar_pixels", "azores_slc")
    annotation = read_annotation(folder / ANNOTATION)
    with (
        ignore_missing_georeference(),
        rasterio.open(folder / "s1a-iw3-slc-vv_subset.tiff") as file,
    ):
        numbers = file.read(1)
    burst, line = divmod(FIRST_LINE, annotation.lines_per_burst)
    grid = read_grid(annotation, burst=burst).crop(
        slice(line, line + numbers.shape[0]), slice(FIRST_SAMPLE, FIRST_SAMPLE + numbers.shape[1])
    )
    own = read_orbit(annotation).with_epoch(grid.epoch)
    window = own.utc(grid.first_time), own.utc(grid.last_time)
    orbit = read_orbit_file(folder / ORBIT, window=window).with_epoch(grid.epoch)
    return Crop(np.abs(numbers.astype(np.complex128)) ** 2 / BETA_NOUGHT**2, grid, orbit)


def test_land_lies_where_it_should(crop: Crop) -> None:
    assert crop.power.shape == crop.grid.shape == (601, 1401)
    smooth = ndimage.uniform_filter(crop.power, (5, 21))[LAND]
    labels, _ = ndimage.label(smooth > 8.0 * np.median(crop.power[WATER]))
    largest = int(np.argmax(np.bincount(labels.ravel())[1:])) + 1
    land = ndimage.binary_fill_holes(labels == largest)
    points = rdr2geo(crop.grid.crop(*LAND), crop.orbit, SEA_LEVEL)
    # Monte Brasil, to the precision of its published coordinates and of its displaced slopes. The
    # middle of its extent: slopes are displaced in range, whichever way they face.
    for name, expected in (("latitude", 38.645), ("longitude", -27.225)):
        seen = points[name].values[land]
        assert 0.5 * (seen.min() + seen.max()) == pytest.approx(expected, abs=0.002)


def test_the_sea_is_dark_and_speckled(crop: Crop) -> None:
    water = crop.power[WATER]
    assert -30.0 < 10.0 * np.log10(np.median(water)) < -20.0
    # Mean square over the mean product of pixels near one another is 2 for Rayleigh speckle under
    # any texture that is wider. The sea at a coast is a little more spiked.
    ratios = []
    for line in range(0, water.shape[0] - 30, 30):
        for sample in range(0, water.shape[1] - 90, 90):
            part = water[line : line + 30, sample : sample + 90]
            here, there = part[:, :-APART], part[:, APART:]
            level = here.mean() * there.mean() / part.mean() ** 2
            ratios.append((part**2).mean() / (here * there).mean() * level)
    assert 1.95 < np.median(ratios) < 2.3
