"""Images of simulated products as digital numbers in a measurement file."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from sarheight.scene import Calibration
    from sarheight.sentinel1.annotation import GeolocationGrid
    from tests.worlds.safe_layout import FileLayout
    from tests.worlds.safe_tables import CalibrationTable

LARGEST = {"GRD": 65535.0, "SLC": 32767.0}
"""Largest digital number of a product."""
FILLED = 0.99
"""Part of the digital numbers' range that the brightest pixel takes."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image on its way to digital numbers.

    Attributes
    ----------
    power : xarray.DataArray, dims (line, sample)
        Calibrated power of the scene. Its chunks are read once for each use.
    calibration : {"beta0", "sigma0", "gamma0"}
        Of the power.
    layout : FileLayout
        The lines of the file.
    table : CalibrationTable
        What digital numbers are divided by.
    product_type : {"GRD", "SLC"}
        Amplitudes, or complex numbers.
    seed : tuple of int
        Of the phase of complex numbers.
    """

    power: xr.DataArray
    calibration: Calibration
    layout: FileLayout
    table: CalibrationTable
    product_type: str
    seed: tuple[int, ...]

    def amplitudes(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield first lines of blocks of the file, and amplitudes; 0 where there is no data."""
        for first, last in self.layout.blocks():
            yield first, self._amplitude(first, last)

    def _amplitude(self, first: int, last: int) -> NDArray[np.float64]:
        begin, end = (int(self.layout.scene_line(each)) for each in (first, last - 1))
        held = slice(max(begin, 0), max(min(end + 1, self.layout.grid.lines), 0))
        values = np.zeros((last - first, self.layout.samples))
        power = np.asarray(self.power.isel(line=held).values, dtype=np.float64)
        values[held.start - begin : held.start - begin + power.shape[0]] = power
        values[~self.layout.valid(first, last)] = 0.0
        # What is left of the thermal noise, once it is removed, may be negative.
        values = np.sqrt(np.fmax(np.nan_to_num(values, nan=0.0), 0.0))
        return values * self.table.of_lines(self.calibration, first, last)

    def digital_numbers(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield first lines of blocks of the file, and whole digital numbers, not yet clipped."""
        for first, amplitude in self.amplitudes():
            if self.product_type == "GRD":
                yield first, np.rint(amplitude)
            else:
                lines = self.layout.scene_line(np.arange(first, first + amplitude.shape[0]))
                numbers = amplitude * np.stack([self._phasors(line) for line in lines.tolist()])
                yield first, np.rint(numbers.real) + 1j * np.rint(numbers.imag)

    def _phasors(self, line: int) -> NDArray[np.complex128]:
        """Draw the phases of a line of the scene: the same in each burst that holds it."""
        # A burst may begin before the scene, and seeds are not negative.
        random = np.random.default_rng([*self.seed, line + self.layout.lines])
        phasors: NDArray[np.complex128] = np.exp(2j * np.pi * random.random(self.layout.samples))
        return phasors

    def brightest(self) -> float:
        """Return the largest amplitude of the file."""
        return max(float(block.max()) for _, block in self.amplitudes())


@dataclass(frozen=True)
class Measured:
    """What became of an image.

    Attributes
    ----------
    saturated : float
        Part of the valid pixels that were clipped.
    mean, deviation : complex
        Of the digital numbers; the real and the imaginary part each for itself.
    offsets : tuple of int
        Where in the file each burst begins, in bytes.
    """

    saturated: float
    mean: complex
    deviation: complex
    offsets: tuple[int, ...]


def room_for(product_type: str) -> float:
    """Return the amplitude that the brightest pixel may have."""
    return FILLED * LARGEST[product_type]


def write_measurement(
    path: Path, picture: Picture, points: GeolocationGrid, tags: dict[str, str]
) -> Measured:
    """Write an image file: uint16 amplitudes of a GRD, complex int16 of an SLC.

    Parameters
    ----------
    path : Path
        Where to write.
    picture : Picture
        The image.
    points : GeolocationGrid
        They become the file's ground control points.
    tags : dict
        Of the file.

    Returns
    -------
    Measured

    Raises
    ------
    OSError
        If the file could not be written, or reads differently from what was written.
    """
    import rasterio
    from rasterio.control import GroundControlPoint
    from rasterio.windows import Window

    layout = picture.layout
    sums = _Sums()
    written = 0
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=layout.samples,
        height=layout.lines,
        count=1,
        dtype="uint16" if picture.product_type == "GRD" else "complex_int16",
        blockysize=1,
        bigtiff="if_safer",
        crs="EPSG:4326",
        gcps=[
            GroundControlPoint(*place)
            for place in zip(
                points.line.tolist(),
                points.pixel.tolist(),
                points.longitude.tolist(),
                points.latitude.tolist(),
                points.height.tolist(),
                strict=True,
            )
        ],
    ) as file:
        file.update_tags(**tags)
        for first, numbers in picture.digital_numbers():
            clipped = _clipped(numbers, picture.product_type)
            sums.add(numbers, clipped, layout.valid(first, first + numbers.shape[0]))
            written = zlib.crc32(clipped.tobytes(), written)
            file.write(clipped, 1, window=Window(0, first, layout.samples, clipped.shape[0]))
    offsets = _verified(path, picture, written)
    return Measured(sums.saturated, sums.mean, sums.deviation, offsets)


def _clipped(numbers: NDArray[Any], product_type: str) -> NDArray[Any]:
    largest = LARGEST[product_type]
    if product_type == "GRD":
        amplitudes: NDArray[np.uint16] = np.clip(numbers, 0.0, largest).astype(np.uint16)
        return amplitudes
    real, imaginary = (np.clip(part, -largest, largest) for part in (numbers.real, numbers.imag))
    # Adding 0 makes the zeros positive, as they are when they are read back.
    both: NDArray[np.complex64] = (real + 1j * imaginary + 0.0).astype(np.complex64)
    return both


def _verified(path: Path, picture: Picture, written: int) -> tuple[int, ...]:
    """Read a file back, as GDAL does not report every write that failed, and find its bursts."""
    import rasterio
    from rasterio.windows import Window

    layout = picture.layout
    found = 0
    with rasterio.open(path) as file:
        for first, last in layout.blocks():
            window = Window(0, first, layout.samples, last - first)
            found = zlib.crc32(file.read(1, window=window).tobytes(), found)
        begins = [layout.lines_per_burst * each for each in range(len(layout.bursts))]
        tags = [file.get_tag_item(f"BLOCK_OFFSET_0_{line}", "TIFF", bidx=1) for line in begins]
    if found != written:
        msg = "the file read back differs from what was written; is the disk full?"
        raise OSError(msg)
    return tuple(int(tag) for tag in tags)


class _Sums:
    """Sums over the valid pixels of an image."""

    def __init__(self) -> None:
        self.count = self.clipped = 0
        self.sum = self.squares = 0j

    def add(self, numbers: NDArray[Any], clipped: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add a block."""
        chosen = clipped[valid].astype(np.complex128)
        self.count += chosen.size
        self.clipped += int(np.count_nonzero(numbers[valid] != clipped[valid]))
        self.sum += complex(chosen.sum())
        self.squares += complex((chosen.real**2).sum(), (chosen.imag**2).sum())

    @property
    def saturated(self) -> float:
        return self.clipped / max(self.count, 1)

    @property
    def mean(self) -> complex:
        return self.sum / max(self.count, 1)

    @property
    def deviation(self) -> complex:
        squares, mean = self.squares / max(self.count, 1), self.mean
        return complex(
            max(squares.real - mean.real**2, 0.0) ** 0.5,
            max(squares.imag - mean.imag**2, 0.0) ** 0.5,
        )
