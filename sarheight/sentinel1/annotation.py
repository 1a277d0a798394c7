"""Sentinel-1 annotations: their values, checked and typed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sarheight.ellipsoid import SPEED_OF_LIGHT
from sarheight.errors import AnnotationError
from sarheight.sentinel1.document import Document, XmlSource

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Times = NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class StateVectors:
    """State vectors of a satellite, Earth-fixed."""

    time: Times  # (n,)
    position: Floats  # (n, 3), in metres
    velocity: Floats  # (n, 3), in metres per second


@dataclass(frozen=True, eq=False)
class GeolocationGrid:
    """ESA's geolocation grid: the position on the ground of some pixels."""

    # Pixel of the image file. In the file of an IW or EW SLC the bursts follow one another
    line: NDArray[np.int64]  # (n,), as all
    pixel: NDArray[np.int64]
    azimuth_time: Times  # zero-Doppler time
    slant_range_time: Floats  # two-way, in seconds
    latitude: Floats  # in degrees, as all angles
    longitude: Floats
    height: Floats  # in metres above the WGS84 ellipsoid
    incidence_angle: Floats
    elevation_angle: Floats


@dataclass(frozen=True, eq=False)
class RangeConversion:
    """Polynomials between slant range and ground range, one record for each of k times."""

    azimuth_time: Times  # (k,)
    slant_origin: Floats  # (k,), in metres
    slant_to_ground: Floats  # (k, d): coefficients from the constant upwards, in metres
    ground_origin: Floats  # (k,)
    ground_to_slant: Floats  # (k, d)


@dataclass(frozen=True, eq=False)
class BurstTiming:
    """A burst of an SLC."""

    azimuth_time: np.datetime64  # zero-Doppler time of its first line
    first_valid_sample: NDArray[np.int64]  # (lines,): -1 where no sample is valid
    last_valid_sample: NDArray[np.int64]


@dataclass(frozen=True)
class Spectrum:
    """The processed spectrum of one look, and its weighting."""

    bandwidth: float  # in hertz
    # Coefficient a of the Hamming window a + (1 - a) cos(2 π f / bandwidth) of amplitudes; 1
    # without a window, or with one of another kind
    window: float


@dataclass(frozen=True)
class SwathProcessing:
    """Processing parameters of a swath."""

    swath: str  # such as "IW1"
    range: Spectrum
    azimuth: Spectrum
    looks: tuple[int, int] = (1, 1)  # averaged along azimuth and range


@dataclass(frozen=True, eq=False)
class Annotation:
    """The geometry of an image, from its annotation file.

    Attributes
    ----------
    name : str
        Name of the file in errors.
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
    processing : tuple of SwathProcessing
        Processing parameters of each swath in the image; may be empty.
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
    processing: tuple[SwathProcessing, ...]
    state_vectors: StateVectors
    geolocation: GeolocationGrid
    range_conversion: RangeConversion | None
    lines_per_burst: int
    bursts: tuple[BurstTiming, ...]
    orbit_source: str = ""  # of its state vectors: "Auxiliary" (a file), "Downlink"; or not stated

    @property
    def processed_looks(self) -> int:
        """Number of looks that were averaged, in range times in azimuth; least of all swaths."""
        return max(
            min((swath.looks[0] * swath.looks[1] for swath in self.processing), default=1), 1
        )


SWATHS = {
    ("IW", "GRD"): r"IW",
    ("IW", "SLC"): r"IW[1-3]",
    ("EW", "GRD"): r"EW",
    ("EW", "SLC"): r"EW[1-5]",
    ("SM", "GRD"): r"S[1-6]",
    ("SM", "SLC"): r"S[1-6]",
    ("WV", "GRD"): r"WV[12]?",
    ("WV", "SLC"): r"WV[12]",
}
"""Swaths by mode and product type: Sentinel-1 Product Specification, S1-RS-MDA-52-7441."""

KIND = "a Sentinel-1 image annotation (annotation/s1*.xml of a GRD or SLC product)"
IMAGE = "imageAnnotation/imageInformation"
ORBIT_SOURCE = "imageAnnotation/processingInformation/orbitSource"
PROCESSING = "imageAnnotation/processingInformation/swathProcParamsList/swathProcParams"


def read_annotation(source: XmlSource) -> Annotation:
    """Read a Sentinel-1 annotation.

    Parameters
    ----------
    source : str, path or bytes
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its contents.

    Returns
    -------
    Annotation
        Its values, with times in UTC. Across a leap second, times after it are counted on from
        those of the first line, so that differences are right.

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
    root = root.counting(root.leaps(f"{IMAGE}/productFirstLineUtcTime"))
    image = root.element(IMAGE)
    product_type = header.text("productType")
    if product_type not in {"GRD", "SLC"}:
        header.refuse("productType", repr(product_type), "'GRD' or 'SLC'")
    _require_swath_of_mode(header, product_type)
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
        processing=_processing(root),
        state_vectors=_state_vectors(root),
        geolocation=_geolocation(root),
        range_conversion=_range_conversion(root) if product_type == "GRD" else None,
        lines_per_burst=_lines_per_burst(root, bursts, lines),
        bursts=bursts,
        orbit_source=next((element.text(".") for element in root.elements(ORBIT_SOURCE)), ""),
    )


def _require_swath_of_mode(header: Document, product_type: str) -> None:
    """Check that product type, mode and swath agree with each other."""
    mode, swath = header.text("mode"), header.text("swath")
    # An annotation of a stripmap may give its swath in place of the mode.
    pattern = SWATHS.get(("SM" if re.fullmatch(r"S[1-6]", mode) else mode, product_type))
    if pattern is None:
        header.refuse("mode", repr(mode), "IW, EW, SM or WV")
    if not re.fullmatch(pattern, swath) or (mode[-1].isdigit() and mode != swath):
        header.refuse(
            "swath", f"{swath!r} of a {product_type} of mode {mode}", f"one such as {pattern}"
        )


def vectors_of(
    root: Document,
    path: str,
    name: str,
    time: str,
    position: tuple[str, str, str],
    velocity: tuple[str, str, str],
) -> StateVectors:
    """Read the state vectors called `name` in the list at a path."""
    vectors = list(root.elements(f"{path}/{name}"))
    if not vectors:
        root.refuse(path, "no state vectors", "a list of them")

    def triples(names: tuple[str, str, str]) -> Floats:
        return np.array([[vector.number(each) for each in names] for vector in vectors])

    return StateVectors(
        time=np.array([vector.time(time) for vector in vectors]),
        position=triples(position),
        velocity=triples(velocity),
    )


def _state_vectors(root: Document) -> StateVectors:
    path = "generalAnnotation/orbitList"
    for vector in root.elements(f"{path}/orbit"):
        if vector.text("frame") != "Earth Fixed":
            vector.refuse("frame", repr(vector.text("frame")), "'Earth Fixed'")
    return vectors_of(
        root,
        path,
        "orbit",
        "time",
        ("position/x", "position/y", "position/z"),
        ("velocity/x", "velocity/y", "velocity/z"),
    )


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


def _processing(root: Document) -> tuple[SwathProcessing, ...]:
    return tuple(
        SwathProcessing(
            swath=swath.text("swath"),
            range=_spectrum(swath.element("rangeProcessing")),
            azimuth=_spectrum(swath.element("azimuthProcessing")),
            looks=(
                swath.count("azimuthProcessing/numberOfLooks"),
                swath.count("rangeProcessing/numberOfLooks"),
            ),
        )
        for swath in root.elements(f"{PROCESSING}[swath]")
    )


def _spectrum(processing: Document) -> Spectrum:
    weighted = processing.text("windowType").lower() == "hamming"
    return Spectrum(
        bandwidth=processing.positive("lookBandwidth"),
        window=processing.positive("windowCoefficient") if weighted else 1.0,
    )


def geolocation_grid(source: XmlSource | Annotation) -> xr.Dataset:
    """Read ESA's geolocation grid from an annotation.

    The grid gives the position on the ground of some 200 pixels. It is too coarse for geocoding in
    mountains, but the best independent check of a geometry.

    Parameters
    ----------
    source : str, path or bytes
        Path of an annotation XML of a GRD or SLC, plain or compressed with xz, or its contents.

    Returns
    -------
    xarray.Dataset
        On dims (line, pixel), whose coordinates are the lines and pixels of the image file: in
        the file of an IW or EW SLC the bursts follow one another, so its lines are not those of
        a radar grid.

        ``latitude``, ``longitude``
            In degrees.
        ``height``
            In metres above the WGS84 ellipsoid.
        ``azimuth_time``
            Zero-Doppler time in UTC.
        ``slant_range``
            One-way, in metres.
        ``incidence_angle``, ``elevation_angle``
            In degrees.

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something.
    OSError
        If the file cannot be read.
    """
    import xarray as xr

    annotation = source if isinstance(source, Annotation) else read_annotation(source)
    points = annotation.geolocation
    lines, row = np.unique(points.line, return_inverse=True)
    pixels, column = np.unique(points.pixel, return_inverse=True)
    if (
        lines.size * pixels.size != points.line.size
        or np.unique(row * pixels.size + column).size != points.line.size
    ):
        msg = (
            f"{annotation.name}: found a geolocation grid of {points.line.size} points on "
            f"{lines.size} lines and {pixels.size} pixels, expected one point for each pair; "
            "the file is damaged, fetch it again from the archive"
        )
        raise AnnotationError(msg)

    variables = {
        "latitude": (points.latitude, "Geodetic latitude", "degrees_north"),
        "longitude": (points.longitude, "Geodetic longitude", "degrees_east"),
        "height": (points.height, "Height above the WGS84 ellipsoid", "m"),
        "azimuth_time": (points.azimuth_time, "Zero-Doppler time (UTC)", None),
        "slant_range": (SPEED_OF_LIGHT / 2 * points.slant_range_time, "Slant range", "m"),
        "incidence_angle": (points.incidence_angle, "Incidence angle on the ellipsoid", "degree"),
        "elevation_angle": (points.elevation_angle, "Elevation angle of the antenna", "degree"),
    }
    grid = xr.Dataset(coords={"line": lines, "pixel": pixels})
    for name, (flat, long_name, units) in variables.items():
        values = np.empty((lines.size, pixels.size), dtype=flat.dtype)
        values[row, column] = flat
        attributes = {"long_name": long_name} | ({} if units is None else {"units": units})
        grid[name] = (("line", "pixel"), values, attributes)
    return grid
