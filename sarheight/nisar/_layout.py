"""The layout of an RSLC in HDF5: groups, axes, state vectors, tables, complex numbers.

Two layouts are read: that of the published product specification, and the older one of sample
products, whose product group is called ``SLC`` and whose tables share axes one level higher.

References
----------
JPL D-102268 (2024). NASA SDS Product Specification, Level-1 Range Doppler Single Look Complex.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sarheight._files import file_errors, reason
from sarheight._hdf5 import check_product, hdf5_text
from sarheight.errors import ProductError
from sarheight.orbit import Orbit, nanoseconds

if TYPE_CHECKING:
    from pathlib import Path

    import h5py

    from sarheight._windows import Span

Floats = NDArray[np.float64]

BANDS = ("LSAR", "SSAR")
GROUPS = ("RSLC", "SLC")
AXES = ("zeroDopplerTime", "slantRange")
EPOCH = re.compile(r"seconds since (\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2}:\d{2}(?:\.\d+)?)Z?")
UNEVEN = 1e-3
"""Largest departure of an axis from even steps, in steps."""
SPECIFICATION = "an RSLC as the NISAR product specification describes it"


def check_file(path: Path) -> None:
    """Refuse a file that is not HDF5, or is damaged in a way that would hang its library."""
    if not path.is_file():
        msg = f"there is no file {path}"
        raise FileNotFoundError(msg)
    check_product(path, "an HDF5 file")


@contextmanager
def open_file(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file, or say what is wrong with it."""
    import h5py

    with file_errors(path, "an HDF5 file", ProductError):
        file = h5py.File(path, "r")
    with file:
        try:
            yield file
        except (OSError, LookupError, RuntimeError, TypeError, ArithmeticError) as error:
            msg = f"{path} is damaged ({reason(error)}): fetch it again"
            raise ProductError(msg) from error


@dataclass(frozen=True)
class Layout:
    """The places of groups and data sets in a file."""

    path: Path
    band: str  # "LSAR" or "SSAR"
    group: str  # such as "science/LSAR/RSLC"

    @classmethod
    def of(cls, file: h5py.File, path: Path) -> Layout:
        """Find the product group of a file."""
        bands = [band for band in BANDS if f"science/{band}" in file]
        for band in bands:
            for group in GROUPS:
                if f"science/{band}/{group}/swaths" in file:
                    return cls(path, band, f"science/{band}/{group}")
        kinds = [str(name) for band in bands for name in file[f"science/{band}"]]
        kinds = [kind for kind in kinds if kind not in {"identification", "QA"}]
        found = f"the product {', '.join(kinds)}" if kinds else "no NISAR product"
        msg = (
            f"found {found} in {path}, expected an RSLC (science/LSAR/RSLC/swaths): products on a "
            "map grid, interferograms and offsets hold no image in radar geometry"
        )
        raise ProductError(msg)

    def refuse(self, name: str, found: str, expected: str) -> NoReturn:
        """Raise the error of an unexpected value below the product group."""
        msg = f"found {found} as {self.group}/{name} in {self.path}, expected {expected}"
        raise ProductError(msg)

    def dataset(self, file: h5py.File, name: str) -> h5py.Dataset:
        """Return a dataset by its name within the product group."""
        import h5py

        found = file.get(f"{self.group}/{name}")
        if not isinstance(found, h5py.Dataset):
            msg = (
                f"{self.path} has no {self.group}/{name}, expected {SPECIFICATION}: fetch it again"
            )
            raise ProductError(msg)
        return found

    def number(self, file: h5py.File, name: str) -> float:
        """Return a scalar above zero."""
        found = self.numbers(file, name)
        # NaN is not above zero either.
        if found.size != 1 or not found.item() > 0.0 or np.isinf(found.item()):
            self.refuse(name, f"{found.tolist()!s:.40}", "a number above zero")
        return float(found.item())

    def numbers(self, file: h5py.File, name: str) -> Floats:
        """Return an array in double precision."""
        found = self.dataset(file, name)
        with file_errors(self.path, f"{SPECIFICATION} with numbers as {name}", ProductError):
            return np.asarray(found[()], dtype=np.float64)

    def identification(self, file: h5py.File, name: str) -> str:
        """Return a text of the identification; "" where there is none."""
        found = file.get(f"science/{self.band}/identification/{name}")
        return "" if found is None else hdf5_text(found[()])

    def frequencies(self, file: h5py.File) -> dict[str, tuple[str, ...]]:
        """Return the polarisations of each frequency, such as {"A": ("HH", "HV")}."""
        import h5py

        found = {}
        for name, group in file[f"{self.group}/swaths"].items():
            if not (name.startswith("frequency") and isinstance(group, h5py.Group)):
                continue
            listed = (
                [hdf5_text(each).upper() for each in np.ravel(group["listOfPolarizations"][()])]
                if ("listOfPolarizations" in group)
                else sorted(each for each in group if re.fullmatch(r"[HVLR][HV]", each))
            )
            present = tuple(each for each in listed if each in group)
            if present:
                found[name.removeprefix("frequency")] = present
        if not found:
            msg = f"{self.path} has no images below {self.group}/swaths, expected {SPECIFICATION}"
            raise ProductError(msg)
        return found

    def epoch(self, file: h5py.File, name: str) -> np.datetime64:
        """Return the time (UTC) from which a dataset of times counts its seconds."""
        units = hdf5_text(self.dataset(file, name).attrs.get("units", ""))
        parts = EPOCH.fullmatch(units.strip())
        if parts is None:
            self.refuse(name, f"units of {units!r}", "'seconds since' a date and time")
        return nanoseconds(np.datetime64(f"{parts[1]}T{parts[2]}"))

    def even_axis(self, file: h5py.File, name: str) -> tuple[float, float, int]:
        """Return first value, step and size of an axis of the image."""
        values = self.numbers(file, name)
        if values.ndim != 1 or values.size < 2:
            self.refuse(name, f"the shape {values.shape}", "an axis of an image")
        step = float((values[-1] - values[0]) / (values.size - 1))
        even = values[0] + step * np.arange(values.size)
        # NaN must count as uneven.
        if not (step > 0.0 and np.abs(values - even).max() <= UNEVEN * step):
            self.refuse(name, "steps that are not even", "an axis that ascends evenly")
        return float(values[0]), step, int(values.size)

    def orbit(self, file: h5py.File) -> Orbit:
        """Return the state vectors."""
        kind = file.get(f"{self.group}/metadata/orbit/orbitType")
        name = "" if kind is None else f" ({hdf5_text(kind[()])})"
        with file_errors(self.path, SPECIFICATION, ProductError):
            return Orbit(
                epoch=self.epoch(file, "metadata/orbit/time"),
                time=self.numbers(file, "metadata/orbit/time"),
                position=self.numbers(file, "metadata/orbit/position"),
                velocity=self.numbers(file, "metadata/orbit/velocity"),
                source=f"{self.path.name}{name}",
            )

    def table(
        self, file: h5py.File, folder: str, name: str
    ) -> tuple[np.datetime64, Floats, Floats, Floats]:
        """Return a table over azimuth time and slant range: epoch, two axes, and values.

        The axes lie beside the table, or in a folder above it (older products).
        """
        import h5py

        values = self.numbers(file, f"{folder}/{name}")
        parts = folder.split("/")
        for depth in range(len(parts), 0, -1):
            places = ["/".join((*parts[:depth], axis)) for axis in AXES]
            if all(isinstance(file.get(f"{self.group}/{each}"), h5py.Dataset) for each in places):
                times, ranges = (self._axis(file, each) for each in places)
                epoch = self.epoch(file, places[0])
                break
        else:
            msg = f"{self.path} has no axes of the table {self.group}/{folder}/{name}"
            raise ProductError(msg)
        if values.shape != (times.size, ranges.size):
            expected = f"{(times.size, ranges.size)} as its axes say"
            self.refuse(f"{folder}/{name}", f"a table of shape {values.shape}", expected)
        return epoch, times, ranges, values

    def _axis(self, file: h5py.File, name: str) -> Floats:
        """Return the axis of a table."""
        values = self.numbers(file, name)
        # NaN is not finite, and never ascends.
        if values.ndim != 1 or not (np.isfinite(values).all() and (np.diff(values) > 0.0).all()):
            self.refuse(name, f"the shape {values.shape}", "an axis of ascending numbers")
        return values

    def valid_samples(
        self, file: h5py.File, frequency: str, lines: int
    ) -> NDArray[np.int64] | None:
        """Return first and one past the last valid sample of lines, shape (swaths, lines, 2)."""
        group = file[f"{self.group}/swaths/frequency{frequency}"]
        names = sorted(name for name in group if name.startswith("validSamples"))
        arrays = [np.asarray(group[name][()], dtype=np.int64) for name in names]
        if any(array.shape != (lines, 2) for array in arrays):
            self.refuse(
                f"swaths/frequency{frequency}/{', '.join(names)}",
                f"the shapes {[array.shape for array in arrays]}",
                f"{(lines, 2)}: one span of samples for each line",
            )
        return np.stack(arrays) if arrays else None


@dataclass(frozen=True, eq=False)
class Intensity:
    """The squared magnitude of a complex image in a file, times a table, read part by part.

    Pixels of zero, which focused images have where there were no echoes, and those that the
    product does not list as valid are NaN.
    """

    path: Path
    name: str
    factor: Factor | None
    valid: NDArray[np.int64] | None

    def read(self, lines: Span, samples: Span) -> NDArray[np.float32]:
        """Read a window of the image."""
        with open_file(self.path) as file:
            power = squared(file[self.name][slice(*lines), slice(*samples)])
        line, sample = np.arange(*lines), np.arange(*samples)
        if self.factor is not None:
            power *= self.factor.at(line, sample)
        power[power == 0.0] = np.nan
        if self.valid is not None:
            spans = self.valid[:, line, :, None]
            inside = (sample >= spans[:, :, 0]) & (sample < spans[:, :, 1])
            power[~inside.any(axis=0)] = np.nan
        return power


def squared(numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Return the squared magnitude of complex numbers, of single or of half precision."""
    if numbers.dtype.names is not None:
        # HDF5 has no complex numbers: h5py knows pairs of single precision, not of half.
        real, imaginary = (numbers[name].astype(np.float32) for name in ("r", "i"))
    else:
        real, imaginary = numbers.real.astype(np.float32), numbers.imag.astype(np.float32)
    power: NDArray[np.float32] = real * real + imaginary * imaginary
    return power


@dataclass(frozen=True, eq=False)
class Factor:
    """A table of factors on an image, bilinear between its values and constant beyond."""

    line: Floats  # (m,): lines of its rows
    sample: Floats  # (n,): samples of its columns
    values: Floats  # (m, n)

    def at(self, line: NDArray[np.int64], sample: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the factors of some lines and samples, shape (lines, samples)."""
        rows = _weights(self.line, line)
        columns = _weights(self.sample, sample)
        factors: NDArray[np.float32] = (rows @ self.values @ columns.T).astype(np.float32)
        return factors


def _weights(knots: Floats, places: NDArray[np.int64]) -> Floats:
    """Return the weights of knots in linear interpolation, shape (places, knots)."""
    weights = np.zeros((places.size, knots.size))
    if knots.size == 1:
        weights[:] = 1.0
        return weights
    below = np.clip(np.searchsorted(knots, places, side="right") - 1, 0, knots.size - 2)
    way = np.clip((places - knots[below]) / (knots[below + 1] - knots[below]), 0.0, 1.0)
    row = np.arange(places.size)
    weights[row, below] = 1.0 - way
    weights[row, below + 1] += way
    return weights
