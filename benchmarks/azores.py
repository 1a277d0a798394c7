"""Does the reader of Sentinel-1 hold on a crop of a real measurement? Coast and sea at Terceira.

The crop has 601 lines and 1401 samples of an IW3 SLC, from line 9800 and sample 11000 of its file
(whether those count from 0 or 1 is not said: a line is 14 m, a sample 2.3 m). It lies within one
burst, so its grid is `read_grid(annotation, burst=6)`, cropped. No calibration annotation is among
the data: digital numbers are divided by 237, which is what annotations of other IW SLC of the same
satellite say for beta0, the same for all pixels.

*Speckle.* Fully developed speckle has intensities with an exponential distribution (amplitudes
with Rayleigh's), so the mean square is twice the square of the mean. The sea has texture, which
adds to it: the mean product of pixels that are near one another but do not share speckle, over the
square of the mean, is one plus the variance of that texture. So the ratio of mean square to mean
product is 2 for Rayleigh speckle, with any texture that is wider than a few pixels. In the same
way the ratio of mean square to mean product of neighbouring means of 4 x 16 pixels is one plus the
inverse of the equivalent number of looks, which bandwidths and windows in the annotation let
expect. Beside it, every third line and sample of each window is tested with the Kolmogorov-Smirnov
statistic for an exponential distribution of unknown mean; without texture 95 % of the windows pass
at 5 %.

*Place.* The middle of the land of the peninsula Monte Brasil, in the image geocoded at sea level,
is compared with published coordinates of it (38.645 N, 27.225 W).

References
----------
Stephens, M. A. (1974). EDF statistics for goodness of fit and some comparisons. Journal of the
American Statistical Association 69(347), 730-737: critical values.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import ndimage

from benchmarks._figures import Value, record
from benchmarks._mountains.scenes import data_file
from sarheight._runtime import ignore_missing_georeference
from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.geometry import rdr2geo
from sarheight.sentinel1 import Annotation, read_annotation, read_grid, read_orbit, read_orbit_file
from sarheight.sentinel1.grid import independent_pixels

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

__all__ = ["Crop", "crop", "distance_from_exponential", "expected_looks", "main", "speckle"]

FOLDER = "radar_pixels/azores_slc/"
STEM = "s1a-iw3-slc-vv-20220918t074921-20220918t074946-045056-056232-006"
ORBIT = "S1A_OPER_AUX_RESORB_OPOD_20220918T093241_V20220918T053155_20220918T084925.EOF.xz"
FIRST_LINE, FIRST_SAMPLE = 9800, 11_000
BETA_NOUGHT = 237.0
SEA_LEVEL = 57.0
"""Height of the geoid above the ellipsoid at Terceira in metres, roughly (EGM96)."""
WATER = slice(430, None), slice(None)
"""Lines and samples with nothing but water and a few ships."""
LAND = slice(295, 410), slice(400, 950)
"""Lines and samples around the peninsula, from its isthmus southwards."""
PLACE = 38.645, -27.225
WINDOW = 30, 90
"""Lines and samples of a window for the statistics."""
APART = 3
SAMPLES_APART = 8
"""Samples, 27 m on the sea, beyond which pixels share no speckle: two are a resolution cell."""
MULTILOOK = 4, 16
CRITICAL = 1.094
"""Value of the modified statistic that 5 % of exponential samples exceed (Stephens, table 1.3)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crop:
    """Part of a measurement.

    Attributes
    ----------
    power : array, shape (lines, samples)
        Intensity, beta0.
    grid : RadarGrid
        Its sampling.
    orbit : Orbit
        Of the restituted orbit file.
    annotation : Annotation
        Of the whole measurement.
    """

    power: Floats
    grid: RadarGrid
    orbit: Orbit
    annotation: Annotation


def crop(folder: str | None = None) -> Crop:
    """Read the crop; `folder` is that of the data."""
    annotation = read_annotation(data_file(f"{FOLDER}{STEM}.xml.xz", folder))
    path = data_file(f"{FOLDER}s1a-iw3-slc-vv_subset.tiff", folder)
    with ignore_missing_georeference(), rasterio.open(path) as file:
        numbers = file.read(1)
    burst, line = divmod(FIRST_LINE, annotation.lines_per_burst)
    lines, samples = numbers.shape
    grid = read_grid(annotation, burst=burst).crop(
        slice(line, line + lines), slice(FIRST_SAMPLE, FIRST_SAMPLE + samples)
    )
    own = read_orbit(annotation).with_epoch(grid.epoch)
    window = own.utc(grid.first_time), own.utc(grid.last_time)
    orbit = read_orbit_file(data_file(FOLDER + ORBIT, folder), window=window)
    power = np.abs(numbers.astype(np.complex128)) ** 2 / BETA_NOUGHT**2
    return Crop(power, grid, orbit.with_epoch(grid.epoch), annotation)


def windows(image: Floats, size: tuple[int, int]) -> Floats:
    """Cut an image into windows: shape (windows, lines, samples)."""
    rows, columns = (length // step for length, step in zip(image.shape, size, strict=True))
    cut = image[: rows * size[0], : columns * size[1]]
    parts = cut.reshape(rows, size[0], columns, size[1]).swapaxes(1, 2)
    return parts.reshape(rows * columns, *size)


def distance_from_exponential(values: Floats) -> float:
    """Return Stephens' modified Kolmogorov-Smirnov statistic for an unknown mean."""
    ordered = np.sort(values.ravel())
    count = ordered.size
    expected = 1.0 - np.exp(-ordered / ordered.mean())
    rank = np.arange(count)
    distance = max(
        float((expected - rank / count).max()), float(((rank + 1) / count - expected).max())
    )
    root = math.sqrt(count)
    return (distance - 0.2 / count) * (root + 0.26 + 0.5 / root)


@dataclass(frozen=True)
class Speckle:
    """Medians over windows, and their standard errors."""

    second_moment: tuple[float, float]  # mean square over the mean product of pixels apart
    texture: tuple[float, float]  # standard deviation of the texture, as a part of the mean
    passed: tuple[float, float]  # share of windows that pass as exponential
    looks: tuple[float, float]


def _median(values: Floats) -> tuple[float, float]:
    # Quartiles of normal values lie 1.349 standard deviations apart, and their median errs 1.2533
    # times as much as a mean does. Ships and their wakes do not count so.
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(middle), float(1.2533 * (high - low) / 1.349 / math.sqrt(values.size))


def moments(parts: Floats, apart: int) -> tuple[Floats, Floats]:
    """Return mean square and mean product of pixels apart, over the square of the mean.

    `parts` are windows, shape (n, lines, samples); pixels are `apart` samples from one another.
    """
    square = (parts**2).mean(axis=(1, 2)) / parts.mean(axis=(1, 2)) ** 2
    here, there = parts[:, :, :-apart], parts[:, :, apart:]
    level = here.mean(axis=(1, 2)) * there.mean(axis=(1, 2))
    return square, (here * there).mean(axis=(1, 2)) / level


def speckle(power: Floats) -> Speckle:
    """Measure speckle in the windows of an image of open water."""
    parts = windows(power, WINDOW)
    square, product = moments(parts, SAMPLES_APART)
    sparse = parts[:, ::APART, ::APART]
    passed = np.array([distance_from_exponential(part) < CRITICAL for part in sparse])
    share = float(passed.mean())
    means = windows(power, MULTILOOK).mean(axis=(1, 2))
    rows, columns = (length // step for length, step in zip(power.shape, MULTILOOK, strict=True))
    coarse = windows(means.reshape(rows, columns), (10, 10))
    together, beside = moments(coarse, 1)
    inverse, error = _median(together / beside - 1.0)
    return Speckle(
        _median(square / product),
        _median(np.sqrt(np.maximum(product - 1.0, 0.0))),
        (share, math.sqrt(share * (1.0 - share) / passed.size)),
        (1.0 / inverse, error / inverse**2),
    )


def expected_looks(found: Crop) -> float:
    """Return the looks of `MULTILOOK` pixels by the bandwidths in the annotation."""
    processing = found.annotation.processing[0]
    rate = SPEED_OF_LIGHT / (2.0 * found.grid.sample_spacing)
    return independent_pixels(
        MULTILOOK[0], 1.0 / found.grid.line_interval, processing.azimuth
    ) * independent_pixels(MULTILOOK[1], rate, processing.range)


def place_of_land(found: Crop) -> tuple[float, float]:
    """Return latitude and longitude of the middle of the peninsula's land."""
    smooth = ndimage.uniform_filter(found.power, (5, 21))[LAND]
    water = np.median(found.power[WATER])
    labels, _ = ndimage.label(smooth > 8.0 * water)
    sizes = np.bincount(labels.ravel())[1:]
    land = ndimage.binary_fill_holes(labels == int(np.argmax(sizes)) + 1)
    points = rdr2geo(found.grid.crop(*_absolute(found.grid)), found.orbit, SEA_LEVEL)
    latitude, longitude = points.latitude.values[land], points.longitude.values[land]
    # The middle of its extent: the slopes are displaced in range, whichever way they face.
    return (
        0.5 * float(latitude.min() + latitude.max()),
        0.5 * float(longitude.min() + longitude.max()),
    )


def _absolute(grid: RadarGrid) -> tuple[slice, slice]:
    lines, samples = (range(size)[part] for size, part in zip(grid.shape, LAND, strict=True))
    return slice(lines[0], lines[-1] + 1), slice(samples[0], samples[-1] + 1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.azores", description=__doc__)
    parser.add_argument("--data", help="folder with the real data")
    parser.add_argument("--save", action="store_true", help="put figures on record")
    chosen = parser.parse_args(arguments)
    found = crop(chosen.data)
    seen = speckle(found.power[WATER])
    expected = expected_looks(found)
    latitude, longitude = place_of_land(found)
    north = (latitude - PLACE[0]) * 111_000.0
    east = (longitude - PLACE[1]) * 111_000.0 * math.cos(math.radians(latitude))
    level = 10.0 * math.log10(float(np.median(windows(found.power[WATER], WINDOW).mean((1, 2)))))
    figures: dict[str, Value] = {
        "real.azores.water_beta0": level,
        "real.azores.second_moment": seen.second_moment,
        "real.azores.texture": seen.texture,
        "real.azores.exponential_windows": seen.passed,
        "real.azores.looks_4x16": seen.looks,
        "real.azores.looks_4x16_expected": expected,
        "real.azores.place_distance": math.hypot(north, east),
    }
    table = Table(title="a crop of a measurement: open water, and where the land lies")
    table.add_column("what")
    table.add_column("found", justify="right")
    for key, value in figures.items():
        pair = value if isinstance(value, tuple) else (value, None)
        spread = "" if pair[1] is None else f" ± {pair[1]:.3f}"
        table.add_row(key.removeprefix("real.azores."), f"{pair[0]:.3f}{spread}")
    console = Console()
    console.print(table)
    console.print(f"the middle of the peninsula: {latitude:.4f} N, {-longitude:.4f} W")
    if chosen.save:
        record(figures, "python -m benchmarks.azores --save")


if __name__ == "__main__":
    main()
