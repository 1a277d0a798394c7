"""The manifest of a Sentinel-1 product: what it is, and which files belong to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import ProductError
from sarheight.sentinel1.document import Document, XmlSource, decimal_numbers

MANIFEST = "manifest.safe"
ROOT = "{urn:ccsds:schema:xfdu:1}XFDU"
KIND = f"the {MANIFEST} of a Sentinel-1 product"
MISSIONS = ("S1A", "S1B", "S1C", "S1D")
MODES = ("IW", "EW", "SM")
STRIPMAPS = re.compile(r"S[1-6]")
DESCRIPTION = ".//{*}productClassDescription"
MD5 = re.compile(r"[0-9a-fA-F]{32}")

REASONS = {
    "WV": "its image is a string of separate vignettes over the open sea",
    "OCN": "it holds winds, waves and currents, no image",
    "RAW": "it holds echoes that are not focused into an image",
}


@dataclass(frozen=True)
class ListedFile:
    """A file that belongs to a product."""

    name: str  # relative to the product, with slashes
    size: int  # in bytes
    md5: str  # checksum, in lower case; empty where there is none


@dataclass(frozen=True, eq=False)
class Manifest:
    """The content of a product's manifest."""

    mission: str  # such as "S1A"
    mode: str  # such as "IW"
    product_type: str  # "GRD" or "SLC"
    swaths: tuple[str, ...]  # such as ("IW1", "IW2", "IW3")
    polarisations: tuple[str, ...]  # such as ("VV", "VH")
    start: np.datetime64  # first and last zero-Doppler time (UTC)
    stop: np.datetime64
    orbit_number: int  # since launch
    relative_orbit: int  # in the repeat cycle
    passing: str  # "ascending" or "descending"
    processor_version: float  # of ESA's IPF, such as 3.31; NaN for another processor
    simulated: bool
    footprint: NDArray[np.float64]  # (n, 2): longitude and latitude of the corners in degrees
    files: tuple[ListedFile, ...]
    facility: str = ""  # where and when (UTC) it was processed; empty where not stated
    processed: str = ""


def require_safe_name(name: str, label: str) -> None:
    """Check that a name stays inside its product."""
    parts = name.removesuffix("/").split("/")
    if (
        "\\" in name
        or "\0" in name
        or ":" in parts[0]
        or any(part in {"", ".", ".."} for part in parts)
    ):
        msg = (
            f"{label} holds a file that is called {name!r}, which leads out of the product or is "
            "no plain name: it was not opened, fetch the original from the archive"
        )
        raise ProductError(msg)


def read_manifest(source: XmlSource, label: str = MANIFEST) -> Manifest:
    """Read the manifest of a Sentinel-1 product.

    Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441, section 3.3.2: the manifest.
    """
    root = Document.read(source, root=ROOT, kind=KIND)
    platform = root.element(".//{*}platform")
    family = platform.text("{*}familyName").upper()
    mission = f"S{family.removeprefix('SENTINEL-')}{platform.text('{*}number')}"
    mode = platform.text(".//{*}instrumentMode/{*}mode")
    mode = "SM" if STRIPMAPS.fullmatch(mode) else mode
    # Raw products have another element for the type.
    product_type = next(iter(_texts(root, ".//{*}productType")), "RAW")
    _require_readable(label, mission, mode, product_type)
    orbit = root.element(".//{*}orbitReference")
    return Manifest(
        mission=mission,
        mode=mode,
        product_type=product_type,
        swaths=_texts(platform, ".//{*}instrumentMode/{*}swath"),
        polarisations=_texts(root, ".//{*}transmitterReceiverPolarisation"),
        start=root.time(".//{*}acquisitionPeriod/{*}startTime"),
        stop=root.time(".//{*}acquisitionPeriod/{*}stopTime"),
        orbit_number=orbit.count("{*}orbitNumber"),
        relative_orbit=orbit.count("{*}relativeOrbitNumber"),
        passing=orbit.text(".//{*}pass").lower(),
        processor_version=_processor_version(root),
        simulated=any("simulated" in text for text in _texts(root, DESCRIPTION)),
        footprint=_footprint(root),
        files=_files(root, label),
        facility=", ".join(
            text
            for each in root.elements(".//{*}facility")
            for text in (each.attribute("organisation"), each.attribute("name"))
            if text
        ),
        processed=next((each.attribute("stop") for each in root.elements(".//{*}processing")), ""),
    )


def _require_readable(label: str, mission: str, mode: str, product_type: str) -> None:
    def refuse(found: str, why: str) -> NoReturn:
        msg = (
            f"{label} is {found}, and {why}; expected GRD or SLC of Sentinel-1 in mode "
            f"{', '.join(MODES)}"
        )
        raise ProductError(msg)

    if mission not in MISSIONS:
        refuse(f"of mission {mission}", "its format is not known")
    if product_type not in {"GRD", "SLC"}:
        refuse(f"of type {product_type}", REASONS.get(product_type, "that cannot be read"))
    if mode not in MODES:
        refuse(f"of mode {mode}", REASONS.get(mode, "that cannot be read"))


def _texts(root: Document, path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(element.text(".") for element in root.elements(path)))


def _processor_version(root: Document) -> float:
    for software in root.elements(".//{*}software"):
        if "IPF" in software.attribute("name"):
            try:
                return float(software.attribute("version"))
            except ValueError:
                break
    return float("nan")


def _footprint(root: Document) -> NDArray[np.float64]:
    """Return the corners: longitude, latitude; the manifest has latitude,longitude pairs."""
    path = ".//{*}footPrint/{*}coordinates"
    text = root.text(path)
    try:
        corners = np.array([decimal_numbers(pair.split(",")) for pair in text.split()])
    except ValueError:
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        root.refuse(path, repr(text[:60]), "pairs of latitude,longitude")
    return corners[:, ::-1]


def _files(root: Document, label: str) -> tuple[ListedFile, ...]:
    found = []
    for listed in root.elements(".//{*}dataObjectSection/{*}dataObject/{*}byteStream"):
        name = listed.element("{*}fileLocation").attribute("href").removeprefix("./")
        require_safe_name(name, label)
        size = listed.attribute("size")
        checksums = list(listed.elements("{*}checksum"))
        md5 = checksums[0].text(".") if checksums else ""
        found.append(
            ListedFile(
                name,
                int(size) if size.isascii() and size.isdigit() else 0,
                md5.lower() if MD5.fullmatch(md5) else "",
            )
        )
    if not found:
        root.refuse("dataObjectSection", "no files", "the list of the product's files")
    return tuple(found)
