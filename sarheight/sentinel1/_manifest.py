"""The manifest of a product: what it is, and which files belong to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from sarheight._xml import Document, XmlSource
from sarheight.errors import ProductError
from sarheight.sentinel1._locate import MANIFEST, require_safe_name

__all__ = ["ListedFile", "Manifest", "read_manifest"]

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
    """A file that belongs to a product.

    Attributes
    ----------
    name : str
        Relative to the product, with slashes.
    size : int
        In bytes.
    md5 : str
        Checksum, in lower case; empty where there is none.
    """

    name: str
    size: int
    md5: str


@dataclass(frozen=True, eq=False)
class Manifest:
    """What a product's manifest says.

    Attributes
    ----------
    mission, mode, product_type : str
        Such as "S1A", "IW", "GRD".
    swaths, polarisations : tuple of str
        Such as ("IW1", "IW2", "IW3") and ("VV", "VH").
    start, stop : datetime64[ns]
        First and last zero-Doppler time (UTC).
    orbit_number, relative_orbit : int
        Number of the orbit since launch, and in the repeat cycle.
    passing : str
        "ascending" or "descending".
    processor_version : float
        Version of ESA's processor (IPF), such as 3.31; NaN where another made the product.
    simulated : bool
        Whether it says that the product is simulated, as `write_product` does.
    footprint : array, shape (n, 2)
        Corners: longitude and latitude in degrees.
    files : tuple of ListedFile
    """

    mission: str
    mode: str
    product_type: str
    swaths: tuple[str, ...]
    polarisations: tuple[str, ...]
    start: np.datetime64
    stop: np.datetime64
    orbit_number: int
    relative_orbit: int
    passing: str
    processor_version: float
    simulated: bool
    footprint: NDArray[np.float64]
    files: tuple[ListedFile, ...]


def read_manifest(source: XmlSource, shown: str = MANIFEST) -> Manifest:
    """Read the manifest of a Sentinel-1 product.

    Parameters
    ----------
    source : str, path or bytes
        The file, plain or compressed with xz, or its contents.
    shown : str
        What to call the product in errors.

    Returns
    -------
    Manifest

    Raises
    ------
    AnnotationError
        If the file is cut short, foreign, unsafe, or lacks something.
    ProductError
        If the product is of a kind that cannot be read, or a file's name leads out of it.
    OSError
        If the file cannot be read.

    References
    ----------
    Sentinel-1 Product Specification, S1-RS-MDA-52-7441, section 3.3.2: the manifest.
    """
    root = Document.read(source, root=ROOT, kind=KIND)
    platform = root.element(".//{*}platform")
    family = platform.text("{*}familyName").upper()
    mission = f"S{family.removeprefix('SENTINEL-')}{platform.text('{*}number')}"
    mode = _mode(platform.text(".//{*}instrumentMode/{*}mode"))
    product_type = _product_type(root)
    _require_readable(shown, mission, mode, product_type)
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
        files=_files(root, shown),
    )


def _mode(text: str) -> str:
    return "SM" if STRIPMAPS.fullmatch(text) else text


def _product_type(root: Document) -> str:
    """Tell the type; the raw products have another element for it than all others."""
    found = _texts(root, ".//{*}productType")
    return found[0] if found else "RAW"


def _require_readable(shown: str, mission: str, mode: str, product_type: str) -> None:
    def refuse(found: str, why: str) -> NoReturn:
        msg = (
            f"{shown} is {found}, and {why}; expected GRD or SLC of Sentinel-1 in mode "
            f"{', '.join(MODES)}"
        )
        raise ProductError(msg)

    if product_type not in {"GRD", "SLC"}:
        refuse(f"of type {product_type}", REASONS.get(product_type, "that cannot be read"))
    if mode not in MODES:
        refuse(f"of mode {mode}", REASONS.get(mode, "that cannot be read"))
    if mission not in MISSIONS:
        refuse(f"of mission {mission}", "it is not known how that is built")


def _texts(root: Document, path: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.text(".") for each in root.elements(path)))


def _processor_version(root: Document) -> float:
    for software in root.elements(".//{*}software"):
        if "IPF" in software.attribute("name"):
            try:
                return float(software.attribute("version"))
            except ValueError:
                break
    return float("nan")


def _footprint(root: Document) -> NDArray[np.float64]:
    """Read the corners, which the manifest gives as latitude,longitude with blanks between."""
    path = ".//{*}footPrint/{*}coordinates"
    text = root.text(path)
    try:
        corners = np.array(
            [[float(part) for part in pair.split(",")] for pair in text.split()], dtype=np.float64
        )
    except ValueError:
        corners = np.empty(0)
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        root.refuse(path, repr(text[:60]), "pairs of latitude,longitude")
    return corners[:, ::-1]


def _files(root: Document, shown: str) -> tuple[ListedFile, ...]:
    found = []
    for listed in root.elements(".//{*}dataObjectSection/{*}dataObject/{*}byteStream"):
        name = listed.element("{*}fileLocation").attribute("href").removeprefix("./")
        require_safe_name(name, shown)
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
