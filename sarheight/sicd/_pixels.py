"""The pixels of a SICD file as calibrated power on a range-Doppler grid.

Where lines and samples are columns and rows of the file, these are read as they are. Elsewhere the
power between four pixels is interpolated linearly: weights are positive and add up to one, so that
the mean power of distributed scatterers is kept, whatever the phase.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

from sarheight._files import file_errors
from sarheight.errors import ProductError
from sarheight.scene import Calibration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shapely import Polygon  # type: ignore[import-untyped]

    from sarheight._windows import Span
    from sarheight.sicd._geometry import Sampling

Floats = NDArray[np.float64]

EXPECTED = "a SICD file (NITF 2.1) as its standard describes it"
BLOCK = 1024
"""Lines and samples that are read at once: a block that is resampled needs the rows and columns
between its corners."""
SCALES = {
    "beta0": "BetaZeroSFPoly",
    "sigma0": "SigmaZeroSFPoly",
    "gamma0": "GammaZeroSFPoly",
}
"""Elements with the factors from squared magnitude to intensity."""
NODES = 17
"""Rows and columns at which polynomials are evaluated before the image is read."""
LEAST, MOST = 1e-30, 1e30
"""Factors that single precision holds with the square of any magnitude."""
MOST_NOISE = 300.0
"""Decibels, likewise."""


@contextmanager
def open_file(path: Path) -> Iterator[Any]:
    """Open a SICD by the library of the standard, or say what is wrong with it."""
    import sarkit.sicd as sksicd

    with (
        file_errors(path, EXPECTED, ProductError),
        path.open("rb") as file,
        sksicd.NitfReader(file) as reader,
    ):
        yield reader


@dataclass(frozen=True, eq=False)
class Radiometry:
    """Factors from squared magnitude to intensity, and noise, over the image.

    Coefficients are those of polynomials in metres from the scene's centre, along rows and columns.
    """

    factors: dict[str, Floats]  # by calibration
    noise: Floats | None  # decibels of squared magnitude; None where it is not stated

    @classmethod
    def of(cls, described: Any) -> Radiometry:  # noqa: ANN401  # of sarkit, which has no types
        """Read what the metadata state; beta0 follows from sigma0 or gamma0 where it is missing."""
        stated, centre = described.get("Radiometric", {}), described["SCPCOA"]
        factors = {
            name: np.asarray(stated[element])
            for name, element in SCALES.items()
            if element in stated
        }
        slope, graze = (np.radians(float(centre[name])) for name in ("SlopeAng", "GrazeAng"))
        # Of an area of the slant plane, and of the plane at a right angle to the line of sight,
        # that of the ground plane is 1 / cos(slope), and 1 / sin(graze), times the size.
        if "beta0" not in factors and "sigma0" in factors:
            factors["beta0"] = factors["sigma0"] / np.cos(slope)
        elif "beta0" not in factors and "gamma0" in factors:
            factors["beta0"] = factors["gamma0"] * np.sin(graze) / np.cos(slope)
        level = stated.get("NoiseLevel", {})
        absolute = level.get("NoiseLevelType") == "ABSOLUTE"
        return cls(factors, np.asarray(level["NoisePoly"]) if absolute else None)

    def require_plausible(self, pixels: Pixels) -> None:
        """Raise where a polynomial has values in the image that are no factors, or no noise."""
        place = pixels.metres(*(np.linspace(0.0, size - 1.0, NODES) for size in pixels.shape))
        stated = [(name, each, LEAST, MOST) for name, each in self.factors.items()]
        if self.noise is not None:
            stated.append(("noise", self.noise, -MOST_NOISE, MOST_NOISE))
        for name, coefficients, least, most in stated:
            with np.errstate(over="ignore", invalid="ignore"):
                values = polynomial.polygrid2d(*place, coefficients)
            wrong = values[~((values >= least) & (values <= most))]
            if wrong.size:
                msg = (
                    f"the polynomial of {name} in its Radiometric is {wrong[0]:.3g} in a part of "
                    f"the image, expected {least:g} to {most:g}"
                )
                raise ValueError(msg)

    def factor(self, calibration: Calibration, product: str) -> Floats:
        """Return the polynomial of a calibration, or say which ones there are."""
        if calibration in self.factors:
            return self.factors[calibration]
        if not self.factors:
            msg = (
                f"{product} is not calibrated: found no polynomial of beta0, sigma0 or gamma0 in "
                "its Radiometric. Masks, simulations and co-registration need none, and take the "
                "file by --like; ask the provider for a calibrated product"
            )
            raise ProductError(msg)
        known = [name for name in get_args(Calibration) if name in self.factors]
        msg = (
            f"found calibration {calibration!r}, and {product} has no polynomial for it, only for "
            f"{', '.join(known)}: pass 'beta0', which reconstruction takes as well"
        )
        raise ValueError(msg)


@dataclass(frozen=True, eq=False)
class Pixels:
    """The form of the pixels in the file.

    Attributes
    ----------
    shape, first : (int, int)
        Rows and columns of the file, and its first ones in the full image.
    centre, spacing : array, shape (2,)
        Row and column of the scene's centre point in the full image, and metres between them.
    amplitudes : array, shape (256,), optional
        What 8-bit amplitudes stand for.
    valid : shapely.Polygon, optional
        Columns and rows of the full image with valid data; None where all are valid.
    """

    shape: tuple[int, int]
    first: tuple[int, int]
    centre: Floats
    spacing: Floats
    amplitudes: NDArray[np.float32] | None
    valid: Polygon | None

    @classmethod
    def of(cls, described: Any) -> Pixels:  # noqa: ANN401  # of sarkit
        """Read what the metadata state."""
        image, grid = described["ImageData"], described["Grid"]
        shape = int(image["NumRows"]), int(image["NumCols"])
        first = int(image["FirstRow"]), int(image["FirstCol"])
        table = image.get("AmpTable")
        polygon = None
        if "ValidData" in image:
            import shapely

            polygon = shapely.Polygon(np.asarray(image["ValidData"], dtype=float)[:, ::-1])
            whole = shapely.box(
                first[1], first[0], first[1] + shape[1] - 1, first[0] + shape[0] - 1
            )
            polygon = None if polygon.covers(whole) else polygon
            shapely.prepare(polygon)
        return cls(
            shape,
            first,
            np.asarray(image["SCPPixel"], dtype=np.float64),
            np.array([float(grid["Row"]["SS"]), float(grid["Col"]["SS"])]),
            None if table is None else np.asarray(table, dtype=np.float32),
            polygon,
        )

    def metres(self, row: Floats, column: Floats) -> tuple[Floats, Floats]:
        """Return metres from the scene's centre point along rows and columns of the file."""
        x = (row + self.first[0] - self.centre[0]) * self.spacing[0]
        return x, (column + self.first[1] - self.centre[1]) * self.spacing[1]

    def squared(self, reader: Any, rows: Span, columns: Span) -> NDArray[np.float32]:  # noqa: ANN401
        """Read squared magnitudes; NaN for 0, which means no data, and beyond the valid data."""
        numbers, _ = reader.read_sub_image(rows[0], columns[0], rows[1], columns[1])
        names = numbers.dtype.names
        if names is None:
            numbers = numbers.astype(np.complex64)
            power = numbers.real**2 + numbers.imag**2
        elif names[0] == "amp":
            stored = numbers["amp"]
            levels = (
                np.arange(256, dtype=np.float32) if self.amplitudes is None else self.amplitudes
            )
            power = levels[stored] ** 2
        else:
            power = sum(numbers[name].astype(np.float32) ** 2 for name in names)
        power[power == 0.0] = np.nan
        if self.valid is not None:
            import shapely

            across, down = np.meshgrid(
                np.arange(*columns) + self.first[1], np.arange(*rows) + self.first[0]
            )
            power[~shapely.intersects_xy(self.valid, across, down)] = np.nan
        squares: NDArray[np.float32] = power
        return squares


@dataclass(frozen=True, eq=False)
class Intensity:
    """The calibrated power of an image, or its noise, which windows are read of.

    Attributes
    ----------
    path : path
        The file.
    sampling : Sampling
        Where the pixels lie.
    pixels : Pixels
        Their form.
    factor : array
        Polynomial from squared magnitude to intensity.
    noise : array, optional
        Polynomial of the noise in decibels.
    removal : bool
        Whether the noise is subtracted.
    """

    path: Path
    sampling: Sampling
    pixels: Pixels
    factor: Floats
    noise: Floats | None = None
    removal: bool = False

    def read(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read a window of the image."""
        power = np.empty((lines[1] - lines[0], samples[1] - samples[0]), np.float32)
        with open_file(self.path) as reader:
            for line, sample, part in _blocks(lines, samples, power):
                part[:] = self._block(reader, line, sample)
        return power

    def read_noise(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Return a window of the noise, without reading pixels; NaN beyond the file."""
        power = np.empty((lines[1] - lines[0], samples[1] - samples[0]), np.float32)
        for line, sample, part in _blocks(lines, samples, power):
            row, column = self.sampling.pixels(line, sample)
            part[:] = self._noise(*self.pixels.metres(row, column), grid=False)
            for place, size in zip((row, column), self.pixels.shape, strict=True):
                part[(place < -0.5) | (place > size - 0.5)] = np.nan
        return power

    def _block(self, reader: Any, line: Floats, sample: Floats) -> NDArray[np.float32]:  # noqa: ANN401
        """Read some lines and samples."""
        from scipy.ndimage import map_coordinates

        along, across = self.sampling.steps
        row, column = self.sampling.pixels(line, sample)
        if along:
            # Whole rows and columns, of which the polynomial is a thousandth beside.
            rows, columns = (
                np.rint(ends).astype(int) for ends in (row[0, [0, -1]], column[[0, -1], 0])
            )
            spans = [(int(each.min()), int(each.max()) + 1) for each in (rows, columns)]
            power = self._power(reader, *spans).T
            return power[::along, ::across]
        spans = []
        for place, size in zip((row, column), self.pixels.shape, strict=True):
            first, last = int(np.floor(place.min())), int(np.ceil(place.max()))
            spans.append((max(first, 0), min(last + 1, size)))
        (top, bottom), (left, right) = spans
        if bottom <= top or right <= left:
            return np.full(row.shape, np.nan, np.float32)
        found: NDArray[np.float32] = map_coordinates(
            self._power(reader, (top, bottom), (left, right)),
            (row - top, column - left),
            order=1,
            mode="constant",
            cval=np.nan,
        )
        return found

    def _power(self, reader: Any, rows: Span, columns: Span) -> NDArray[np.float32]:  # noqa: ANN401
        """Read calibrated power, on rows and columns of the file."""
        power = self.pixels.squared(reader, rows, columns)
        place = self.pixels.metres(np.arange(*rows, dtype=float), np.arange(*columns, dtype=float))
        power *= polynomial.polygrid2d(*place, self.factor).astype(np.float32)
        if self.removal:
            power -= self._noise(*place, grid=True).astype(np.float32)
        return power

    def _noise(self, x: Floats, y: Floats, *, grid: bool) -> Floats:
        """Return the noise as intensity, at places or on a grid of them."""
        at = polynomial.polygrid2d if grid else polynomial.polyval2d
        assert self.noise is not None  # noqa: S101  # only what states it is asked for it
        noise: Floats = 10.0 ** (0.1 * at(x, y, self.noise)) * at(x, y, self.factor)
        return noise


def _blocks(
    lines: Span, samples: Span, power: NDArray[np.float32]
) -> Iterator[tuple[Floats, Floats, NDArray[np.float32]]]:
    """Yield lines and samples of each block of a window, and the part of an array for it."""
    for line in range(*lines, BLOCK):
        for sample in range(*samples, BLOCK):
            down = np.arange(line, min(line + BLOCK, lines[1]), dtype=np.float64)
            across = np.arange(sample, min(sample + BLOCK, samples[1]), dtype=np.float64)
            first = line - lines[0], sample - samples[0]
            part = power[first[0] : first[0] + down.size, first[1] : first[1] + across.size]
            yield down, across, part
