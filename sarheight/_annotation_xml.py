"""The one place where Sentinel-1 annotations and orbit files are read.

What the geometry needs is taken out of the XML and checked.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sarheight._annotation import (
    Annotation,
    BurstTiming,
    GeolocationGrid,
    RangeConversion,
    Spectrum,
    StateVectors,
    SwathProcessing,
)
from sarheight._xml import Document, XmlSource

__all__ = ["KIND", "read_annotation", "read_eof"]

Floats = NDArray[np.float64]

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
    """Read the state vectors of an orbit file of ESA.

    Parameters
    ----------
    source : str, path or bytes
        Path of the EOF file, plain or compressed with xz, or its contents.

    Returns
    -------
    name : str
        The file, as it is called in errors.
    vectors : StateVectors

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something.
    OSError
        If the file cannot be read.
    """
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
