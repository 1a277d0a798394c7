"""What a manifest says of the acquisition: which satellite saw what, when and where."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sarheight._acquisition import relative_orbit
from sarheight._time import seconds_between
from sarheight.sentinel1._write_xml import node, utc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from sarheight._annotation import Annotation, GeolocationGrid

__all__ = ["Part", "Written", "acquired", "footprint", "wrapped"]

SATELLITES = {"S1A": "2014-016A", "S1B": "2016-025A", "S1C": "2024-235A"}
"""International designators."""


@dataclass(frozen=True)
class Part:
    """A file of an image, as the manifest lists it.

    Attributes
    ----------
    schema : str
        Which of `SCHEMAS`.
    name : str
        Its path in the product.
    identity : str
        Its name in the manifest.
    size : int
        In bytes.
    checksum : str
        MD5.
    """

    schema: str
    name: str
    identity: str
    size: int
    checksum: str

    @classmethod
    def of(cls, schema: str, folder: Path, name: str, identity: str) -> Part:
        """Look at a file."""
        file = folder / name
        with file.open("rb") as stream:
            checksum = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
        return cls(schema, name, identity, file.stat().st_size, checksum.hexdigest())


@dataclass(frozen=True, eq=False)
class Written:
    """An image whose files are there.

    Attributes
    ----------
    annotation : Annotation
        The annotation it was made like.
    orbit, datatake : int
        Absolute orbit and data take.
    ascending_node : datetime64
        When the satellite last passed its ascending node (UTC).
    begin, end : datetime64
        Stamps of the first and the last line (UTC).
    points : GeolocationGrid
        Of the file.
    parts : tuple of Part
        Annotation, noise, calibration and measurement.
    """

    annotation: Annotation
    orbit: int
    datatake: int
    ascending_node: np.datetime64
    begin: np.datetime64
    end: np.datetime64
    points: GeolocationGrid
    parts: tuple[Part, ...]


def wrapped(identity: str, what: str, content: Element) -> Element:
    """Wrap what is known into an object of the manifest's metadata."""
    provenance = identity == "processing"
    wrap = node(
        "metadataWrap",
        [node("xmlData", [content])],
        {"mimeType": "text/xml", "vocabularyName": "SAFE", "textInfo": what},
    )
    return node(
        "metadataObject",
        [wrap],
        {
            "ID": identity,
            "classification": "PROVENANCE" if provenance else "DESCRIPTION",
            "category": "PDI" if provenance else "DMD",
        },
    )


def acquired(images: Sequence[Written]) -> list[Element]:
    """Say which satellite saw what, when and where."""
    first = images[0]
    begin = min(image.begin for image in images)
    end = max(image.end for image in images)
    anx = [f"{1000.0 * seconds_between(first.ascending_node, time):.6e}" for time in (begin, end)]
    period = node(
        "safe:acquisitionPeriod",
        [
            node("safe:startTime", utc(begin)),
            node("safe:stopTime", utc(end)),
            node(
                "safe:extension",
                [
                    node(
                        "s1:timeANX",
                        [node("s1:startTimeANX", anx[0]), node("s1:stopTimeANX", anx[1])],
                    )
                ],
            ),
        ],
    )
    return [
        wrapped("platform", "Platform Description", _platform(images)),
        wrapped("measurementOrbitReference", "Orbit Reference", _orbit_reference(first)),
        wrapped("generalProductInformation", "General Product Information", _general(images)),
        wrapped("acquisitionPeriod", "Acquisition Period", period),
        wrapped("measurementFrameSet", "Frame Set", _frames(images)),
    ]


def _platform(images: Sequence[Written]) -> Element:
    first = images[0].annotation
    swaths = dict.fromkeys(image.annotation.swath for image in images)
    mode = node(
        "s1sarl1:instrumentMode",
        [
            node("s1sarl1:mode", first.mode),
            *(node("s1sarl1:swath", swath) for swath in swaths),
        ],
    )
    instrument = node(
        "safe:instrument",
        [
            node("safe:familyName", "Synthetic Aperture Radar", {"abbreviation": "SAR"}),
            node("safe:extension", [mode]),
        ],
    )
    return node(
        "safe:platform",
        [
            node("safe:nssdcIdentifier", SATELLITES.get(first.mission, "0000-000A")),
            node("safe:familyName", "SENTINEL-1"),
            node("safe:number", first.mission[-1]),
            instrument,
        ],
    )


def _orbit_reference(image: Written) -> Element:
    relative = relative_orbit(image.annotation.mission, image.orbit, image.begin)
    ends = ("start", "stop")
    properties = node(
        "s1:orbitProperties",
        [
            node("s1:pass", image.annotation.passing.upper()),
            node("s1:ascendingNodeTime", utc(image.ascending_node)),
        ],
    )
    return node(
        "safe:orbitReference",
        [
            *(node("safe:orbitNumber", str(image.orbit), {"type": end}) for end in ends),
            *(node("safe:relativeOrbitNumber", str(relative), {"type": end}) for end in ends),
            node("safe:extension", [properties]),
        ],
    )


def _general(images: Sequence[Written]) -> Element:
    first = images[0]
    polarisations = dict.fromkeys(image.annotation.polarisation for image in images)
    values = [
        ("instrumentConfigurationID", "0"),
        ("missionDataTakeID", str(first.datatake)),
        *(("transmitterReceiverPolarisation", each) for each in polarisations),
        ("productClass", "S"),
        ("productClassDescription", "SAR Standard L1 Product, simulated"),
        ("productComposition", "Individual"),
        ("productType", first.annotation.product_type),
        ("productTimelinessCategory", "Fast-24h"),
        ("sliceProductFlag", "false"),
    ]
    return node(
        "s1sarl1:standAloneProductInformation",
        [node(f"s1sarl1:{name}", value) for name, value in values],
    )


def _frames(images: Sequence[Written]) -> Element:
    outline = node(
        "gml:coordinates",
        " ".join(f"{latitude:.6f},{longitude:.6f}" for latitude, longitude in footprint(images)),
    )
    where = node(
        "safe:footPrint", [outline], {"srsName": "http://www.opengis.net/gml/srs/epsg.xml#4326"}
    )
    return node("safe:frameSet", [node("safe:frame", [where])])


def footprint(images: Sequence[Written]) -> list[tuple[float, float]]:
    """Return latitude and longitude of the four corners of a product.

    Last line near and far, first line far and near; of several swaths the outermost pixels.
    """
    near = min(images, key=lambda image: image.points.slant_range_time.min()).points
    far = max(images, key=lambda image: image.points.slant_range_time.max()).points
    corners = []
    for points, last_line, last_pixel in (
        (near, True, False),
        (far, True, True),
        (far, False, True),
        (near, False, False),
    ):
        line = points.line.max() if last_line else points.line.min()
        pixel = points.pixel.max() if last_pixel else points.pixel.min()
        (at,) = np.flatnonzero((points.line == line) & (points.pixel == pixel))
        corners.append((float(points.latitude[at]), float(points.longitude[at])))
    return corners
