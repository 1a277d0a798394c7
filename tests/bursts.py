"""A product of three swaths of bursts, cut out of one continuous scene.

Import it as ``from tests.bursts import iw_product``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight.sentinel1 import read_annotation
from sarheight.sentinel1._images import Channel
from tests.annotations import BURST_STEP, LINES_PER_BURST, annotation_xml
from tests.synthetic import synthetic_grid

if TYPE_CHECKING:
    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit
    from sarheight.sentinel1 import Annotation

SWATHS = ("IW1", "IW2", "IW3")
BEGINS = {"IW1": (0, 0), "IW2": (17, 150), "IW3": (31, 301)}
"""Line and sample of the scene at which each swath begins."""

BURSTS, SAMPLES = 3, 200
LINES = BURST_STEP * (BURSTS - 1) + LINES_PER_BURST
GARBAGE = 30_000 + 30_000j
"""What stands in the files where the annotation calls pixels invalid."""


class MemoryRaster:
    """As much of an open measurement as is used, which notes what is read."""

    def __init__(self, values: NDArray[np.complex64], dtype: str) -> None:
        self.values = values
        self.height, self.width = values.shape
        self.dtypes = (dtype,)
        self.windows: list[tuple[int, int, int, int]] = []

    def read(self, band: int, *, window: object, out: NDArray[np.complex64]) -> None:
        assert band == 1
        (top, bottom), (left, right) = window.toranges()  # type: ignore[attr-defined]
        self.windows.append((top, bottom, left, right))
        out[...] = self.values[top:bottom, left:right]


@dataclass
class MemoryFiles:
    """Measurements in memory, in place of the files of a product."""

    rasters: dict[str, MemoryRaster]

    @contextmanager
    def raster(self, name: str) -> Iterator[MemoryRaster]:
        yield self.rasters[name]

    def pixels_read(self) -> int:
        windows = [each for raster in self.rasters.values() for each in raster.windows]
        return sum((bottom - top) * (right - left) for top, bottom, left, right in windows)


@dataclass
class LineGain:
    """A calibration that differs from line to line of the file, and notes how it is called."""

    gain: float = 0.0
    asked: set[tuple[str, bool]] = field(default_factory=set)

    def calibrate(
        self,
        power: NDArray[np.float32],
        first_line: int,
        first_sample: int,
        calibration: str,
        *,
        noise_removal: bool = True,
    ) -> NDArray[np.float32]:
        self.asked.add((calibration, noise_removal))
        line = first_line + np.arange(power.shape[0])[:, None]
        sample = first_sample + np.arange(power.shape[1])
        return (power * (1.0 + self.gain * (line + 0.001 * sample))).astype(np.float32)


@dataclass
class IwProduct:
    """The scene, and the product that was cut out of it."""

    scene: NDArray[np.complex64]
    grid: RadarGrid
    orbit: Orbit
    annotations: dict[str, Annotation]
    files: MemoryFiles
    radiometries: dict[str, LineGain]
    measurements: dict[str, str]

    def channels(self, swaths: tuple[str, ...] = SWATHS) -> dict[str, Channel]:
        """The files of swaths with their annotations and calibrations."""
        return {
            swath: Channel(
                self.measurements[swath],
                self.annotations[swath],
                self.radiometries[swath],  # type: ignore[arg-type]
            )
            for swath in swaths
        }

    def parts(self, swaths: tuple[str, ...] = SWATHS) -> tuple[Any, dict[str, Channel]]:
        """Return the first arguments of `slc_image`."""
        return self.files, self.channels(swaths)

    @property
    def power(self) -> NDArray[np.float32]:
        return np.abs(self.scene.astype(np.complex128)).astype(np.float64) ** 2


def cut_scene(
    scene: NDArray[np.complex64], annotation: Annotation, begin: tuple[int, int]
) -> NDArray[np.complex64]:
    """Make the file of a swath that begins at a pixel of the scene: one burst after the other."""
    file = np.full((annotation.lines, annotation.samples), GARBAGE, dtype=np.complex64)
    for index, burst in enumerate(annotation.bursts):
        for line in np.flatnonzero(burst.first_valid_sample >= 0):
            first, last = burst.first_valid_sample[line], burst.last_valid_sample[line]
            row = scene[begin[0] + index * BURST_STEP + line]
            file[index * LINES_PER_BURST + line, first : last + 1] = row[
                begin[1] + first : begin[1] + last + 1
            ]
    return file


def swath_xml(grid: RadarGrid, orbit: Orbit, swath: str) -> bytes:
    """Write the annotation of the swath that begins at its place in the scene."""
    line, sample = BEGINS[swath]
    part = grid.crop(slice(line, line + LINES), slice(sample, sample + SAMPLES))
    return annotation_xml(part, orbit, bursts=BURSTS).replace(">IW1<", f">{swath}<").encode()


def iw_product(gain: float = 0.0, seed: int = 7) -> IwProduct:
    """Make a product of whole numbers, as those of a file are; all pixels of it differ."""
    lines, samples = LINES + BEGINS["IW3"][0], SAMPLES + BEGINS["IW3"][1]
    grid, orbit = synthetic_grid(
        lines=lines, samples=samples, ground_range=False, line_spacing=14.0, sample_spacing=2.3
    )
    random = np.random.default_rng(seed)
    numbers = random.integers(-2000, 2000, (2, lines, samples))
    scene = (numbers[0] + 1j * numbers[1]).astype(np.complex64)
    annotations = {name: read_annotation(swath_xml(grid, orbit, name)) for name in SWATHS}
    measurements = {name: f"measurement/s1a-{name.lower()}-slc-vv.tiff" for name in SWATHS}
    return IwProduct(
        scene=scene,
        grid=grid,
        orbit=orbit,
        annotations=annotations,
        files=MemoryFiles(
            {
                measurements[name]: MemoryRaster(
                    cut_scene(scene, annotations[name], BEGINS[name]), "complex_int16"
                )
                for name in SWATHS
            }
        ),
        radiometries={name: LineGain(gain) for name in SWATHS},
        measurements=measurements,
    )
