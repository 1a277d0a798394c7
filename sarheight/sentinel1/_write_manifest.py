"""The manifest of a simulated product."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sarheight.sentinel1._write_acquisition import acquired, wrapped
from sarheight.sentinel1._write_xml import document, node, utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from xml.etree.ElementTree import Element

    import numpy as np

    from sarheight.sentinel1._write_acquisition import Part, Written

__all__ = ["REMARK", "manifest_document"]

REMARK = "simulated by sarheight from an elevation model and an orbit: not an observation"
NAMESPACES = {
    "xsi": "http://www.w3.org/2001/XMLSchema-instance",
    "gml": "http://www.opengis.net/gml",
    "xfdu": "urn:ccsds:schema:xfdu:1",
    "safe": "http://www.esa.int/safe/sentinel-1.0",
    "s1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1",
    "s1sar": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar",
    "s1sarl1": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-1",
    "s1sarl2": "http://www.esa.int/safe/sentinel-1.0/sentinel-1/sar/level-2",
}
IPF = "003.31"
"""Version of ESA's processor whose formats the files have."""
SCHEMAS = {
    "s1Level1ProductSchema": "s1-level-1-product.xsd",
    "s1Level1NoiseSchema": "s1-level-1-noise.xsd",
    "s1Level1CalibrationSchema": "s1-level-1-calibration.xsd",
    "s1Level1MeasurementSchema": "s1-level-1-measurement.xsd",
    "s1Level1QuickLookSchema": "s1-level-1-quicklook.xsd",
    "s1Level1MapOverlaySchema": "s1-map-overlay.xsd",
}
PICTURES = {"s1Level1MeasurementSchema", "s1Level1QuickLookSchema"}


def manifest_document(
    images: Sequence[Written],
    preview: tuple[Part, Part],
    started: np.datetime64,
    finished: np.datetime64,
    inputs: Mapping[str, str],
) -> bytes:
    """Make the manifest of a product.

    Parameters
    ----------
    images : sequence of Written
        The images; the first one speaks for all.
    preview : (Part, Part)
        Map overlay and quick look.
    started, finished : datetime64
        When the product was made (UTC).
    inputs : mapping
        By role the names of what the images were simulated from.

    Returns
    -------
    bytes
        The file.
    """
    kind = images[0].annotation.product_type.lower()
    mode = images[0].annotation.mode.lower()
    root = node(
        "xfdu:XFDU",
        [
            node("informationPackageMap", [_package(images, preview)]),
            node(
                "metadataSection",
                [
                    *(_described(part) for image in images for part in image.parts[:-1]),
                    _described(preview[0]),
                    wrapped(
                        "processing", "Processing", _processing(images, started, finished, inputs)
                    ),
                    *acquired(images),
                    *(_schema(*each) for each in SCHEMAS.items()),
                ],
            ),
            node("dataObjectSection", [_listed(part) for part in _in_order(images, preview)]),
        ],
        {f"xmlns:{name}": address for name, address in NAMESPACES.items()}
        | {"version": f"esa/safe/sentinel-1.0/sentinel-1/sar/level-1/{kind}/standard/{mode}dp"},
    )
    return document(root, REMARK)


def _in_order(images: Sequence[Written], preview: tuple[Part, Part]) -> list[Part]:
    """List what tells of images before the images."""
    overlay, picture = preview
    told = [part for image in images for part in image.parts[:-1]]
    return [*told, overlay, *(image.parts[-1] for image in images), picture]


def _package(images: Sequence[Written], preview: tuple[Part, Part]) -> Element:
    """List the files by what they tell of each other."""
    first = images[0].annotation
    units = []
    for part in _in_order(images, preview):
        attributes = {
            "unitType": "Measurement Data Unit" if part.schema in PICTURES else "Metadata Unit",
            "repID": part.schema,
        }
        for image in images:
            if image.parts[-1] is not part:
                continue
            attributes["dmdID"] = " ".join(
                f"{each.identity}Annotation" for each in image.parts[:-1]
            )
        units.append(node("xfdu:contentUnit", [_pointer(part.identity)], attributes))
    return node(
        "xfdu:contentUnit",
        units,
        {
            "unitType": "SAFE Archive Information Package",
            "textInfo": f"Sentinel-1 {first.mode} Level-1 {first.product_type} Product (simulated)",
            "dmdID": (
                "acquisitionPeriod platform generalProductInformation measurementOrbitReference "
                "measurementFrameSet"
            ),
            "pdiID": "processing",
        },
    )


def _pointer(identity: str) -> Element:
    return node("dataObjectPointer", "", {"dataObjectID": identity})


def _described(part: Part) -> Element:
    return node(
        "metadataObject",
        [_pointer(part.identity)],
        {
            "ID": f"{part.identity}Annotation",
            "classification": "DESCRIPTION",
            "category": "DMD",
        },
    )


def _schema(identity: str, name: str) -> Element:
    reference = node(
        "metadataReference",
        "",
        {
            "mimeType": "text/xml",
            "vocabularyName": "SDF" if identity == "s1Level1MeasurementSchema" else "XML Schema",
            "locatorType": "URL",
            "href": f"./support/{name}",
        },
    )
    return node(
        "metadataObject",
        [reference],
        {"ID": identity, "classification": "SYNTAX", "category": "REP"},
    )


def _processing(
    images: Sequence[Written],
    started: np.datetime64,
    finished: np.datetime64,
    inputs: Mapping[str, str],
) -> Element:
    facility = node(
        "safe:facility",
        [
            node("safe:software", "", {"name": "Sentinel-1 IPF", "version": IPF}),
            node("safe:software", "", {"name": "sarheight", "version": version("sarheight")}),
        ],
        {
            "country": "",
            "name": f"The product is {REMARK}. IPF is the version whose formats it has.",
            "organisation": "sarheight",
            "site": "",
        },
    )
    resources = {
        f"annotation {each}": Path(image.annotation.name).name
        for each, image in enumerate(images, start=1)
    }
    return node(
        "safe:processing",
        [
            facility,
            *(
                node("safe:resource", "", {"name": name, "role": role})
                for role, name in {**resources, **inputs}.items()
            ),
        ],
        {"name": "Simulation", "start": utc(started), "stop": utc(finished)},
    )


def _listed(part: Part) -> Element:
    picture = part.schema in PICTURES
    stream = node(
        "byteStream",
        [
            node("fileLocation", "", {"locatorType": "URL", "href": f"./{part.name}"}),
            node("checksum", part.checksum, {"checksumName": "MD5"}),
        ],
        {
            "mimeType": "application/octet-stream" if picture else "text/xml",
            "size": str(part.size),
        },
    )
    return node("dataObject", [stream], {"ID": part.identity, "repID": part.schema})
