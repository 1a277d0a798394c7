"""From digital numbers to backscatter: thermal noise, calibration, and image borders.

Up to IPF 2.9 (March 2018) the sides of a GRD, where the sampling window moved along the track, and
the lines before and after a datatake, hold weak remains of the processing in place of zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sarheight._annotation import Document, XmlSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sarheight._annotation import Annotation
    from sarheight.scene import Calibration

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LineVectors:
    """Values along some lines of an image; between them they are interpolated bilinearly.

    Attributes
    ----------
    lines : array, shape (k,)
        Ascending lines of the image file; some may lie before or after it.
    pixels, values : sequence of k arrays, shape (n,)
        Ascending samples and the values there; each line may have samples of its own.
    """

    lines: Floats
    pixels: Sequence[Floats]
    values: Sequence[Floats]

    def block(self, lines: Floats, samples: Floats) -> NDArray[np.float32]:
        """Interpolate the values of a block of pixels, as far as there are some.

        Parameters
        ----------
        lines, samples : array, shape (l,) and (s,)
            Lines, ascending, and samples. Beyond the first and last vector, and beyond the first
            and last value of one, the nearest value goes on.

        Returns
        -------
        array, shape (l, s)
        """
        position = np.interp(lines, self.lines, np.arange(self.lines.size, dtype=np.float64))
        before = np.minimum(position.astype(np.intp), max(self.lines.size - 2, 0))
        share = (position - before).astype(np.float32)[:, None]
        first, last = int(before[0]), int(before[-1])
        rows = np.array(
            [
                np.interp(samples, self.pixels[index], self.values[index])
                for index in range(first, min(last + 2, self.lines.size))
            ],
            dtype=np.float32,
        )
        after = np.minimum(before - first + 1, rows.shape[0] - 1)
        found: NDArray[np.float32] = rows[before - first]
        found += share * (rows[after] - found)
        return found


def require_same_image(root: Document, annotation: Annotation) -> None:
    """Check that a calibration or noise annotation is that of an image.

    Raises
    ------
    AnnotationError
        If it is of another swath or polarisation.
    """
    for name in ("swath", "polarisation"):
        found, expected = root.text(f"adsHeader/{name}"), getattr(annotation, name)
        if found != expected:
            root.refuse(f"adsHeader/{name}", repr(found), f"{expected!r} as in {annotation.name}")


def read_vectors(
    records: Sequence[Document], lists: Sequence[str], *, smallest: float
) -> dict[str, LineVectors]:
    """Read vectors out of calibration or noise annotations.

    Parameters
    ----------
    records : sequence of Document
        Elements with a ``line``, a list ``pixel``, and lists of values; at least one.
    lists : sequence of str
        Names of the lists of values.
    smallest : float
        Values below this are an error.

    Returns
    -------
    dict
        By the names of the lists.

    Raises
    ------
    AnnotationError
        If lists differ in length or make no sense.
    """
    lines = np.array([record.number("line") for record in records])
    order = np.argsort(lines, kind="stable")
    lines = lines[order]
    sorted_records = [records[index] for index in order]
    pixels = [record.numbers("pixel") for record in sorted_records]
    for record, pixel in zip(sorted_records, pixels, strict=True):
        if (np.diff(pixel) < 0).any():
            record.refuse("pixel", "pixels that do not ascend", "them in order")
    found = {}
    for name in lists:
        values = [record.numbers(name) for record in sorted_records]
        for record, pixel, value in zip(sorted_records, pixels, values, strict=True):
            if value.size != pixel.size:
                record.refuse(name, f"{value.size} values", f"one for each of {pixel.size} pixels")
            if (value < smallest).any():
                record.refuse(name, f"the value {value.min():g}", f"at least {smallest:g}")
        found[name] = LineVectors(lines, pixels, values)
    return found


# The calibration vectors of a product.

KIND = "a calibration annotation (annotation/calibration/calibration-s1*.xml)"
LISTS = {"beta0": "betaNought", "sigma0": "sigmaNought", "gamma0": "gamma"}
SMALLEST = 1e-6


@dataclass(frozen=True, eq=False)
class CalibrationVectors:
    """What amplitudes are divided by.

    Attributes
    ----------
    amplitude : mapping of str to LineVectors
        For "beta0", "sigma0" and "gamma0".
    digital_number : float
        The constant that the processor scaled amplitudes with; only the noise vectors of the
        first years need it.
    """

    amplitude: Mapping[Calibration, LineVectors]
    digital_number: float


def read_calibration(source: XmlSource, annotation: Annotation) -> CalibrationVectors:
    """Read the calibration vectors of an image.

    Parameters
    ----------
    source : str, path or bytes
        The file, plain or compressed with xz, or its contents.
    annotation : Annotation
        Of the image.

    Returns
    -------
    CalibrationVectors

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or is of another image, or lacks something.
    OSError
        If the file cannot be read.

    References
    ----------
    Miranda, N. and Meadows, P. J. (2015). Radiometric Calibration of S-1 Level-1 Products
    Generated by the S-1 IPF, ESA-EOPG-CSCOP-TN-0002, equation 1.
    Sentinel-1 Product Specification, S1-RS-MDA-52-7441: calibrationVectorList.
    """
    root = Document.read(source, root="calibration", kind=KIND)
    require_same_image(root, annotation)
    records = list(root.elements("calibrationVectorList/calibrationVector"))
    if not records:
        root.refuse("calibrationVectorList", "no vectors", "calibration vectors")
    vectors = read_vectors(records, list(LISTS.values()), smallest=SMALLEST)
    return CalibrationVectors(
        {name: vectors[listed] for name, listed in LISTS.items()},  # type: ignore[misc]
        float(records[0].numbers("dn")[0]),
    )


# The thermal noise of an image, as its annotation gives it.

KIND_NOISE = "a noise annotation (annotation/calibration/noise-s1*.xml)"
SCALED_SINCE, SQUARED_SINCE = 2.5, 2.34
EARLY_FACTORS = {"IW": 75088.7, "EW": 56065.87}


@dataclass(frozen=True, eq=False)
class AzimuthNoise:
    """How the noise of one block of an image changes along azimuth.

    Attributes
    ----------
    first_line, last_line, first_sample, last_sample : int
        The block in the image file, its last line and sample included.
    lines, factors : array, shape (n,)
        Factors of the noise at some lines.
    """

    first_line: int
    last_line: int
    first_sample: int
    last_sample: int
    lines: Floats
    factors: Floats


@dataclass(frozen=True, eq=False)
class NoiseVectors:
    """Power of the thermal noise, in squared digital numbers.

    Attributes
    ----------
    along_range : LineVectors or None
        None where the annotation has no noise.
    along_azimuth : sequence of AzimuthNoise
        Empty in products of IPF before 2.9.
    scale : float
        Factor of all.
    """

    along_range: LineVectors | None
    along_azimuth: Sequence[AzimuthNoise]
    scale: float = 1.0

    def block(self, lines: Floats, samples: Floats) -> NDArray[np.float32] | None:
        """Compute the noise of a block of pixels.

        Parameters
        ----------
        lines, samples : array, shape (l,) and (s,)
            Lines and samples of the image file, ascending.

        Returns
        -------
        array, shape (l, s), or None
            None where there is no noise to subtract.
        """
        if self.along_range is None:
            return None
        noise = self.along_range.block(lines, samples)
        if self.scale != 1.0:
            noise *= np.float32(self.scale)
        for block in self.along_azimuth:
            rows = slice(*np.searchsorted(lines, [block.first_line, block.last_line + 1]))
            columns = slice(*np.searchsorted(samples, [block.first_sample, block.last_sample + 1]))
            factors = np.interp(lines[rows], block.lines, block.factors)
            noise[rows, columns] *= factors.astype(np.float32)[:, None]
        return noise


def read_noise(
    source: XmlSource,
    annotation: Annotation,
    *,
    processor_version: float = np.nan,
    digital_number: float = 1.0,
) -> NoiseVectors:
    """Read the thermal noise of an image.

    Since IPF 2.9 (March 2018) it is the product of vectors along range and of factors along
    azimuth, which follow the antenna's gain within bursts; before, of vectors along range alone.
    Up to IPF 2.5 (2015) these come without the gain of the receiver, and are multiplied by it.

    Parameters
    ----------
    source : str, path or bytes
        The file, plain or compressed with xz, or its contents.
    annotation : Annotation
        Of the image.
    processor_version : float
        Version of ESA's processor.
    digital_number : float
        The calibration annotation's ``dn``; needed up to IPF 2.5.

    Returns
    -------
    NoiseVectors
        Without vectors along range where all that the annotation has are zeros.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or is of another image, or lacks something.
    OSError
        If the file cannot be read.

    References
    ----------
    Piantanida, R. et al. (2017). Thermal Denoising of Products Generated by the S-1 IPF,
    MPC-0392, issue 1.1: sections 3 and 4.
    """
    root = Document.read(source, root="noise", kind=KIND_NOISE)
    require_same_image(root, annotation)
    records = list(root.elements("noiseRangeVectorList/noiseRangeVector"))
    name = "noiseRangeLut"
    if not records:
        records, name = list(root.elements("noiseVectorList/noiseVector")), "noiseLut"
    if not records:
        root.refuse("noiseRangeVectorList", "no vectors", "noise vectors")
    vectors = read_vectors(records, [name], smallest=0.0)[name]
    if not any(values.any() for values in vectors.values):
        return NoiseVectors(None, ())
    blocks = root.elements("noiseAzimuthVectorList/noiseAzimuthVector")
    return NoiseVectors(
        vectors,
        tuple(_azimuth_noise(block, annotation) for block in blocks),
        _early_scale(processor_version, digital_number, annotation.mode),
    )


def _azimuth_noise(block: Document, annotation: Annotation) -> AzimuthNoise:
    lines, factors = block.numbers("line"), block.numbers("noiseAzimuthLut")
    if lines.size != factors.size or (np.diff(lines) < 0).any():
        block.refuse(
            "noiseAzimuthLut",
            f"{factors.size} factors of {lines.size} lines",
            "one for each line, in order",
        )
    if (factors < 0.0).any():
        block.refuse("noiseAzimuthLut", f"the factor {factors.min():g}", "none below zero")
    # Its corners may be left out: then a block is the whole image.
    corners = {
        "firstAzimuthLine": 0,
        "lastAzimuthLine": annotation.lines - 1,
        "firstRangeSample": 0,
        "lastRangeSample": annotation.samples - 1,
    }
    first_line, last_line, first_sample, last_sample = (
        int(block.number(corner)) if any(block.elements(corner)) else whole
        for corner, whole in corners.items()
    )
    return AzimuthNoise(first_line, last_line, first_sample, last_sample, lines, factors)


def _early_scale(version: float, digital_number: float, mode: str) -> float:
    """Return the factor that noise vectors of IPF up to 2.5 lack; 1 for a version unknown."""
    if not version <= SCALED_SINCE:
        return 1.0
    factor = EARLY_FACTORS.get(mode, 1.0)
    return factor * digital_number * (digital_number if version >= SQUARED_SINCE else 1.0)


# From digital numbers to backscatter: thermal noise and calibration.


@dataclass(frozen=True, eq=False)
class Radiometry:
    """Calibration and thermal noise of one image file.

    Attributes
    ----------
    calibration : CalibrationVectors
    noise : NoiseVectors or None
        None where the product has no noise annotation.
    """

    calibration: CalibrationVectors
    noise: NoiseVectors | None

    @classmethod
    def from_xml(
        cls,
        calibration: XmlSource,
        noise: XmlSource | None,
        annotation: Annotation,
        *,
        processor_version: float = np.nan,
    ) -> Radiometry:
        """Read the calibration and noise annotations of an image.

        Parameters
        ----------
        calibration, noise : str, path or bytes
            The files, plain or compressed with xz, or their contents; without noise None.
        annotation : Annotation
            Of the image itself.
        processor_version : float
            Version of ESA's processor, which matters for the noise of the first years.

        Returns
        -------
        Radiometry

        Raises
        ------
        AnnotationError
            If a file is cut short, foreign, unsafe, is of another image, or lacks something.
        OSError
            If a file cannot be read.
        """
        vectors = read_calibration(calibration, annotation)
        return cls(
            vectors,
            None
            if noise is None
            else read_noise(
                noise,
                annotation,
                processor_version=processor_version,
                digital_number=vectors.digital_number,
            ),
        )

    def calibrate(
        self,
        power: NDArray[Any],
        first_line: int,
        first_sample: int,
        calibration: Calibration,
        *,
        noise_removal: bool = True,
    ) -> NDArray[np.float32]:
        r"""Turn squared digital numbers into backscatter.

        .. math:: \sigma = \frac{|DN|^2 - \eta}{A^2}

        with the amplitude factors :math:`A` of the calibration vectors and the noise
        :math:`\eta`, both bilinear between the vectors. Where a pixel is darker than the mean
        noise the result is below zero: cutting it off would make all averages too bright.

        Parameters
        ----------
        power : array, shape (lines, samples)
            Squared magnitudes of a block of the image file; NaN where there is no data.
        first_line, first_sample : int
            Place of its first pixel in the image file. In an SLC the bursts stand one after the
            other there.
        calibration : {"beta0", "sigma0", "gamma0"}
            What to normalise to.
        noise_removal : bool
            Whether to subtract the thermal noise.

        Returns
        -------
        array of float32, shape (lines, samples)
            Linear power.

        References
        ----------
        Miranda, N. and Meadows, P. J. (2015). Radiometric Calibration of S-1 Level-1 Products
        Generated by the S-1 IPF, ESA-EOPG-CSCOP-TN-0002, equations 1 to 3.
        Piantanida, R. et al. (2017). Thermal Denoising of Products Generated by the S-1 IPF,
        MPC-0392, issue 1.1.
        """
        lines = np.arange(first_line, first_line + power.shape[0], dtype=np.float64)
        samples = np.arange(first_sample, first_sample + power.shape[1], dtype=np.float64)
        amplitude = self.calibration.amplitude[calibration].block(lines, samples)
        found = power.astype(np.float32)
        noise = self.noise_power(lines, samples) if noise_removal else None
        if noise is not None:
            found -= noise
        amplitude *= amplitude
        found /= amplitude
        return found

    def noise_power(self, lines: Floats, samples: Floats) -> NDArray[np.float32] | None:
        """Compute the thermal noise of a block of pixels, in squared digital numbers.

        Parameters
        ----------
        lines, samples : array, shape (l,) and (s,)
            Lines and samples of the image file, ascending.

        Returns
        -------
        array, shape (l, s), or None
            None where the product tells of no noise.
        """
        return None if self.noise is None else self.noise.block(lines, samples)


# Pixels at the borders of old GRD products that hold no image, though they are not zero.

CLEAN_SINCE = 2.9
"""Version of ESA's processor from which borders are zeros."""

REACH = 2500
"""Samples from either side within which a border is looked for."""

WINDOW = 32
"""Samples that are averaged, so that speckle does not decide."""


def has_image(power: NDArray[np.float32], noise: NDArray[np.float32] | None) -> NDArray[np.bool_]:
    """Tell pixels of the image from those of its borders, line by line.

    The image begins on each line where power, averaged over a few samples, first rises above the
    thermal noise, and ends where it last does. A dark stretch wider than `REACH` is taken for
    part of the image, such as calm water; a line that never rises above the noise has no image.

    The co-polarised channel should decide for all, as cross-polarised backscatter of water lies
    close to the noise. Water along the border of the image can be lost all the same.

    Parameters
    ----------
    power : array, shape (lines, samples)
        Squared digital numbers of whole lines of the image.
    noise : array, shape (lines, samples), or None
        Their thermal noise; without it only lines of zeros can be told from the image.

    Returns
    -------
    array of bool, shape (lines, samples)

    References
    ----------
    Miranda, N. (2015). Masking "No-value" Pixels on GRD Products Generated by the Sentinel-1 ESA
    IPF, MPC-0243, issue 1.0: thresholding of denoised power. There a threshold is applied to
    single pixels; averaging them first makes do without one.
    """
    from scipy.ndimage import uniform_filter1d

    averaged = uniform_filter1d(power, WINDOW, axis=1, mode="nearest")
    bright = averaged > (0.0 if noise is None else noise)
    samples = power.shape[1]
    first = np.argmax(bright, axis=1)
    last = samples - 1 - np.argmax(bright[:, ::-1], axis=1)
    # Half a window of the border was bright only because of its neighbours.
    inwards = WINDOW // 2
    begin = np.where((first == 0) | (first > REACH), 0, first + inwards)
    end = np.where(
        (last == samples - 1) | (last < samples - 1 - REACH), samples, last + 1 - inwards
    )
    begin = np.where(bright.any(axis=1), begin, samples)
    sample = np.arange(samples)
    inside: NDArray[np.bool_] = (sample >= begin[:, None]) & (sample < end[:, None])
    return inside
