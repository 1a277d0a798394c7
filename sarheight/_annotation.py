"""Sentinel-1 annotations and orbit files: reading XML that may be damaged or hostile.

Annotations arrive from mirrors, mail and half-finished downloads. A `Document` is parsed with
document type definitions refused altogether (they are the door for entity bombs and for external
entities, and Sentinel-1 uses none), and every value taken from it is checked: what is wrong is an
`AnnotationError` that names the file.

`sarheight._annotation` reads it; `sarheight.orbit` and `sarheight.scene` make their objects of
it and never see the file.

What the geometry needs is taken out of the XML and checked.
"""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Self
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException
from numpy.typing import NDArray

from sarheight.errors import AnnotationError

XmlSource = str | os.PathLike[str] | bytes
"""A path to an XML file, plain or compressed with xz, or such a file's contents."""

XZ_MAGIC = b"\xfd7zXZ\x00"
LARGEST_BYTES = 256 * 2**20
SHOWN_CHARACTERS = 60
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?")


class NamedBytes(bytes):
    """Contents of an XML file that know what to call it in errors."""

    name: str

    def __new__(cls, data: bytes, name: str) -> Self:
        """Give contents a name."""
        named = super().__new__(cls, data)
        named.name = name
        return named


def _contents(source: XmlSource) -> tuple[bytes, str]:
    """Return the bytes of a source, decompressed, and the name to call it by in errors."""
    if isinstance(source, bytes):
        name, data = getattr(source, "name", "XML from memory"), bytes(source)
    else:
        path = Path(source)
        name = str(path)
        if path.is_dir():
            msg = (
                f"{name} is a folder, expected an XML file: pass one file of its 'annotation' "
                "folder, such as s1a-iw-grd-vv-*.xml"
            )
            raise AnnotationError(msg)
        data = path.read_bytes()
    if data.startswith(XZ_MAGIC):
        data = _decompressed(data, name)
    if len(data) > LARGEST_BYTES:
        raise AnnotationError(_too_large(name))
    return data, name


def _decompressed(data: bytes, name: str) -> bytes:
    decompressor = lzma.LZMADecompressor()
    try:
        contents = decompressor.decompress(data, max_length=LARGEST_BYTES + 1)
    except lzma.LZMAError as error:
        msg = f"{name} is damaged ({error}): expected a whole .xz file, fetch it again"
        raise AnnotationError(msg) from error
    if not decompressor.eof and len(contents) <= LARGEST_BYTES:
        msg = f"{name} is cut short: expected a whole .xz file, fetch it again"
        raise AnnotationError(msg)
    return contents


def _too_large(name: str) -> str:
    return (
        f"{name} holds more than {LARGEST_BYTES >> 20} MiB of XML, expected an annotation or orbit "
        "file of a few MiB: check where it came from"
    )


def _parsed(data: bytes, name: str) -> Element:
    try:
        return defusedxml.ElementTree.fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        msg = (
            f"{name} declares a document type or entities, which Sentinel-1 files never do and "
            "which can be used for attacks: it was not read, fetch the original file"
        )
        raise AnnotationError(msg) from error
    except (ParseError, LookupError, ValueError) as error:
        beginning = data[:SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
        msg = (
            f"{name} is not a complete XML file ({error}); it begins with {beginning!r}: if it was "
            "cut short, fetch it again"
        )
        raise AnnotationError(msg) from error


class Document:
    """A parsed XML file, or one element of it, whose values are checked when they are taken.

    Paths are those of `xml.etree.ElementTree`: child names joined by slashes.
    """

    def __init__(self, element: Element, name: str, trail: str) -> None:
        self._element = element
        self.name = name
        self._trail = trail

    @classmethod
    def read(cls, source: XmlSource, *, root: str, kind: str) -> Document:
        """Parse a file."""
        data, name = _contents(source)
        element = _parsed(data, name)
        if element.tag != root:
            msg = (
                f"{name} is not {kind}: its outermost element is <{element.tag}>, expected "
                f"<{root}>; pass {kind}"
            )
            raise AnnotationError(msg)
        return cls(element, name, root)

    def refuse(self, path: str, found: str, expected: str) -> NoReturn:
        """Raise the error for a value that is not what it should be."""
        msg = (
            f"{self.name}: {found} at {self._trail}/{path}, expected {expected}; "
            "the file is damaged or of another kind, fetch it again from the archive"
        )
        raise AnnotationError(msg)

    def copied(self) -> Element:
        """Return a copy of the element and all that is in it, to be changed and written."""
        return deepcopy(self._element)

    def element(self, path: str) -> Document:
        """Return the first element at a path."""
        found = self._element.find(path)
        if found is None:
            self.refuse(path, "nothing", "an element")
        return Document(found, self.name, f"{self._trail}/{path}")

    def elements(self, path: str) -> Iterator[Document]:
        """Iterate over all elements at a path, of which there may be none."""
        for index, found in enumerate(self._element.iterfind(path), start=1):
            yield Document(found, self.name, f"{self._trail}/{path}[{index}]")

    def text(self, path: str) -> str:
        """Return the text of an element, without the blanks around it."""
        found = self._element.findtext(path)
        if found is None or not found.strip():
            self.refuse(path, "nothing", "a value")
        return found.strip()

    def attribute(self, name: str) -> str:
        """Return an attribute of the element; empty where it has none of that name."""
        return self._element.get(name, "").strip()

    def number(self, path: str) -> float:
        """Return the finite number in an element."""
        text = self.text(path)
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            self.refuse(path, repr(text[:SHOWN_CHARACTERS]), "a finite number")
        return value

    def positive(self, path: str) -> float:
        """Return the finite number above zero in an element."""
        value = self.number(path)
        if value <= 0.0:
            self.refuse(path, f"{value:g}", "a number above zero")
        return value

    def count(self, path: str) -> int:
        """Return the whole number, zero or above, in an element."""
        text = self.text(path)
        if not (text.isascii() and text.isdigit()):
            self.refuse(path, repr(text[:SHOWN_CHARACTERS]), "a whole number")
        return int(text)

    def numbers(self, path: str) -> NDArray[np.float64]:
        """Return the finite numbers, one or more, that stand in an element."""
        text = self.text(path)
        try:
            values = np.array(text.split(), dtype=np.float64)
        except ValueError:
            values = np.array([np.nan])
        if not np.isfinite(values).all():
            self.refuse(path, repr(text[:SHOWN_CHARACTERS]), "a list of finite numbers")
        return values

    def time(self, path: str) -> np.datetime64:
        """Return the UTC time in an element, with or without the prefix that EOF files give it."""
        text = self.text(path).removeprefix("UTC=").removesuffix("Z")
        try:
            time = np.datetime64(text, "ns") if TIME.fullmatch(text) else np.datetime64("NaT", "ns")
        except ValueError:
            time = np.datetime64("NaT", "ns")
        if np.isnat(time):
            self.refuse(
                path,
                repr(text[:SHOWN_CHARACTERS]),
                "a UTC time such as 2021-04-01T05:26:23.794457",
            )
        return time


# What Sentinel-1 annotations and orbit files say, as far as the geometry needs it.

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class StateVectors:
    """State vectors of a satellite, Earth-fixed."""

    time: Times  # (n,):
    position: Floats  # position, velocity: (n, 3): in metres and metres per second
    velocity: Floats


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """ESA's geolocation grid, one value for each point."""

    # Line, pixel: (n,): place in the image file. In an IW or EW SLC the bursts stand one after
    # the other in the file, `linesPerBurst` lines each
    line: NDArray[np.int64]
    pixel: NDArray[np.int64]
    azimuth_time: Times  # (n,): zero-Doppler time
    slant_range_time: Floats  # (n,): two-way, in seconds
    # Latitude, longitude, height: (n,): in degrees, and metres above the WGS84 ellipsoid
    latitude: Floats
    longitude: Floats
    height: Floats
    incidence_angle: Floats  # incidence_angle, elevation_angle: (n,): in degrees
    elevation_angle: Floats


@dataclass(frozen=True, eq=False)
class RangeConversion:
    """Polynomials between slant range and ground range, one record for each of k times."""

    azimuth_time: Times  # (k,):
    slant_origin: Floats  # slant_origin, ground_origin: (k,): in metres
    # Slant_to_ground, ground_to_slant: (k, d): coefficients from the constant upwards, in metres
    slant_to_ground: Floats
    ground_origin: Floats
    ground_to_slant: Floats


@dataclass(frozen=True, eq=False)
class BurstTiming:
    """A burst of an SLC."""

    azimuth_time: np.datetime64  # zero-Doppler time of the burst's first line
    # First_valid_sample, last_valid_sample: (lines,): of each line; -1 where the whole line is
    # invalid
    first_valid_sample: NDArray[np.int64]
    last_valid_sample: NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """The part of the spectrum that was made into one look, and how it was weighted."""

    bandwidth: float  # in hertz
    # Coefficient a of the Hamming window a + (1 - a) cos(2 π f / bandwidth) on amplitudes; 1
    # where there is none, or one of another kind
    window: float


@dataclass(frozen=True)
class SwathProcessing:
    """How a swath was focused."""

    swath: str  # such as "IW1"
    range: Spectrum
    azimuth: Spectrum


@dataclass(frozen=True, eq=False)
class Annotation:
    """What one annotation file says of an image's geometry.

    Attributes
    ----------
    name : str
        The file, as it is called in errors.
    mission, product_type, mode, swath, polarisation, passing : str
        Such as "S1A", "GRD", "IW", "IW1", "VV", "Ascending".
    first_line_time : datetime64[ns]
        Zero-Doppler time of the first line.
    line_interval : float
        Seconds between lines.
    lines, samples : int
        Size of the image file.
    range_spacing : float
        Metres between samples; on the ground for a GRD.
    slant_range_time : float
        Two-way time to the first sample, in seconds.
    range_sampling_rate, radar_frequency : float
        In hertz.
    processed_looks : int
        Number of looks that were averaged, in range times in azimuth; the least of all swaths.
    processing : tuple of SwathProcessing
        Of each swath in the image; empty where the file does not say.
    state_vectors : StateVectors
    geolocation : GeolocationGrid
    range_conversion : RangeConversion or None
        None for an SLC.
    lines_per_burst : int
        0 where there are no bursts.
    bursts : tuple of BurstTiming
    """

    name: str
    mission: str
    product_type: str
    mode: str
    swath: str
    polarisation: str
    passing: str
    first_line_time: np.datetime64
    line_interval: float
    lines: int
    samples: int
    range_spacing: float
    slant_range_time: float
    range_sampling_rate: float
    radar_frequency: float
    processed_looks: int
    processing: tuple[SwathProcessing, ...]
    state_vectors: StateVectors
    geolocation: GeolocationGrid
    range_conversion: RangeConversion | None
    lines_per_burst: int
    bursts: tuple[BurstTiming, ...]


# The one place where Sentinel-1 annotations and orbit files are read.

KIND = "a Sentinel-1 image annotation (annotation/s1*.xml of a GRD or SLC product)"
PROCESSING = "imageAnnotation/processingInformation/swathProcParamsList/swathProcParams"
ORBIT_KIND = "an orbit file of ESA (S1*_AUX_POEORB_*.EOF or S1*_AUX_RESORB_*.EOF)"


def read_annotation(source: XmlSource) -> Annotation:
    """Read the geometry out of a Sentinel-1 annotation.

    Parameters
    ----------
    source : str, path or bytes
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its contents.

    Returns
    -------
    Annotation
        The values, with times in UTC.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something.
    OSError
        If the file cannot be read.
    """
    root = Document.read(source, root="product", kind=KIND)
    header = root.element("adsHeader")
    product = root.element("generalAnnotation/productInformation")
    image = root.element("imageAnnotation/imageInformation")
    product_type = header.text("productType")
    if product_type not in {"GRD", "SLC"}:
        header.refuse("productType", repr(product_type), "'GRD' or 'SLC'")
    lines, samples = image.count("numberOfLines"), image.count("numberOfSamples")
    if lines == 0 or samples == 0:
        image.refuse("numberOfLines", f"an image of {lines} x {samples} pixels", "pixels")
    bursts = tuple(_burst(burst) for burst in root.elements("swathTiming/burstList/burst"))
    return Annotation(
        name=root.name,
        mission=header.text("missionId"),
        product_type=product_type,
        mode=header.text("mode"),
        swath=header.text("swath"),
        polarisation=header.text("polarisation"),
        passing=product.text("pass"),
        first_line_time=image.time("productFirstLineUtcTime"),
        line_interval=image.positive("azimuthTimeInterval"),
        lines=lines,
        samples=samples,
        range_spacing=image.positive("rangePixelSpacing"),
        slant_range_time=image.positive("slantRangeTime"),
        range_sampling_rate=product.positive("rangeSamplingRate"),
        radar_frequency=product.positive("radarFrequency"),
        processed_looks=_processed_looks(root),
        processing=_processing(root),
        state_vectors=_state_vectors(root),
        geolocation=_geolocation(root),
        range_conversion=_range_conversion(root) if product_type == "GRD" else None,
        lines_per_burst=_lines_per_burst(root, bursts, lines),
        bursts=bursts,
    )


def read_eof(source: XmlSource) -> tuple[str, StateVectors]:
    """Read the state vectors of an orbit file of ESA."""
    root = Document.read(source, root="Earth_Explorer_File", kind=ORBIT_KIND)
    header = root.element("Earth_Explorer_Header/Variable_Header")
    for name, expected in (("Ref_Frame", "EARTH_FIXED"), ("Time_Reference", "UTC")):
        if header.text(name) != expected:
            header.refuse(name, repr(header.text(name)), repr(expected))
    vectors = list(root.elements("Data_Block/List_of_OSVs/OSV"))
    if not vectors:
        root.refuse("Data_Block/List_of_OSVs", "no state vectors", "a list of them")
    return root.name, StateVectors(
        time=np.array([vector.time("UTC") for vector in vectors]),
        position=_triples(vectors, ("X", "Y", "Z")),
        velocity=_triples(vectors, ("VX", "VY", "VZ")),
    )


def _state_vectors(root: Document) -> StateVectors:
    vectors = list(root.elements("generalAnnotation/orbitList/orbit"))
    if not vectors:
        root.refuse("generalAnnotation/orbitList", "no state vectors", "a list of them")
    for vector in vectors:
        if vector.text("frame") != "Earth Fixed":
            vector.refuse("frame", repr(vector.text("frame")), "'Earth Fixed'")
    return StateVectors(
        time=np.array([vector.time("time") for vector in vectors]),
        position=_triples(vectors, ("position/x", "position/y", "position/z")),
        velocity=_triples(vectors, ("velocity/x", "velocity/y", "velocity/z")),
    )


def _triples(vectors: list[Document], names: tuple[str, str, str]) -> Floats:
    return np.array([[vector.number(name) for name in names] for vector in vectors])


def _geolocation(root: Document) -> GeolocationGrid:
    path = "geolocationGrid/geolocationGridPointList/geolocationGridPoint"
    points = list(root.elements(path))
    if not points:
        root.refuse(path, "no points", "a geolocation grid")

    def numbers(name: str) -> Floats:
        return np.array([point.number(name) for point in points])

    return GeolocationGrid(
        line=np.array([point.count("line") for point in points]),
        pixel=np.array([point.count("pixel") for point in points]),
        azimuth_time=np.array([point.time("azimuthTime") for point in points]),
        slant_range_time=numbers("slantRangeTime"),
        latitude=numbers("latitude"),
        longitude=numbers("longitude"),
        height=numbers("height"),
        incidence_angle=numbers("incidenceAngle"),
        elevation_angle=numbers("elevationAngle"),
    )


def _range_conversion(root: Document) -> RangeConversion:
    path = "coordinateConversion/coordinateConversionList/coordinateConversion"
    records = list(root.elements(path))
    if not records:
        root.refuse(path, "no records", "polynomials between slant and ground range")

    def coefficients(name: str) -> Floats:
        rows = [record.numbers(name) for record in records]
        longest = max(row.size for row in rows)
        return np.array([np.pad(row, (0, longest - row.size)) for row in rows])

    return RangeConversion(
        azimuth_time=np.array([record.time("azimuthTime") for record in records]),
        slant_origin=np.array([record.number("sr0") for record in records]),
        slant_to_ground=coefficients("srgrCoefficients"),
        ground_origin=np.array([record.number("gr0") for record in records]),
        ground_to_slant=coefficients("grsrCoefficients"),
    )


def _burst(burst: Document) -> BurstTiming:
    return BurstTiming(
        azimuth_time=burst.time("azimuthTime"),
        first_valid_sample=burst.numbers("firstValidSample").astype(np.int64),
        last_valid_sample=burst.numbers("lastValidSample").astype(np.int64),
    )


def _lines_per_burst(root: Document, bursts: tuple[BurstTiming, ...], lines: int) -> int:
    if not bursts:
        return 0
    count = root.count("swathTiming/linesPerBurst")
    if count * len(bursts) != lines or any(
        burst.first_valid_sample.size != count or burst.last_valid_sample.size != count
        for burst in bursts
    ):
        found = f"{len(bursts)} bursts of {count} lines in an image of {lines} lines"
        root.refuse("swathTiming", found, "bursts that fill the image")
    return count


def _processed_looks(root: Document) -> int:
    looks = [
        swath.count("rangeProcessing/numberOfLooks")
        * swath.count("azimuthProcessing/numberOfLooks")
        for swath in root.elements(PROCESSING)
    ]
    return max(min(looks, default=1), 1)


def _processing(root: Document) -> tuple[SwathProcessing, ...]:
    return tuple(
        SwathProcessing(
            swath=swath.text("swath"),
            range=_spectrum(swath.element("rangeProcessing")),
            azimuth=_spectrum(swath.element("azimuthProcessing")),
        )
        for swath in root.elements(f"{PROCESSING}[swath]")
    )


def _spectrum(processing: Document) -> Spectrum:
    weighted = processing.text("windowType").lower() == "hamming"
    return Spectrum(
        bandwidth=processing.positive("lookBandwidth"),
        window=processing.positive("windowCoefficient") if weighted else 1.0,
    )
