"""Where a product is, and its manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZIP_STORED

import numpy as np
from numpy.typing import NDArray

from sarheight.errors import ProductError
from sarheight.sentinel1._ranges import asked
from sarheight.sentinel1.document import Document, XmlSource

if TYPE_CHECKING:
    from zipfile import ZipInfo

    from fsspec import AbstractFileSystem

    from sarheight.sentinel1._ranges import Extent

MANIFEST = "manifest.safe"
LARGEST_MEMBER = 32 * 2**30
"""Bytes of any file of a product: the largest measurements have some five GiB."""

ENCRYPTED = 0x1
EXPECTED = "expected a Sentinel-1 product: a folder *.SAFE with a manifest.safe, or a .zip of one"


def require_safe_name(name: str, shown: str) -> None:
    """Check that a name stays inside its product."""
    parts = name.removesuffix("/").split("/")
    if (
        "\\" in name
        or "\0" in name
        or ":" in parts[0]
        or any(part in {"", ".", ".."} for part in parts)
    ):
        msg = (
            f"{shown} holds a file that is called {name!r}, which leads out of the product or is "
            "no plain name: it was not opened, fetch the original from the archive"
        )
        raise ProductError(msg)


def located(source: str, storage_options: dict[str, Any]) -> tuple[AbstractFileSystem, str, str]:
    """Return the file system of a source, its path there, and what to call it in errors."""
    from fsspec.core import url_to_fs

    if "://" not in source:
        source = str(Path(source).expanduser().absolute())
        if not Path(source).exists():
            msg = f"there is no '{source}'; {EXPECTED}"
            raise FileNotFoundError(msg)
        files, path = url_to_fs(f"file://{source}")
        return files, path, source
    parts = urlsplit(source)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    try:
        files, path = url_to_fs(source, **storage_options)
    except (ImportError, ValueError) as error:
        msg = (
            f"{shown} cannot be opened ({error}): products on servers need the extra 'fetch', "
            "pip install 'sarheight[fetch]'"
        )
        raise ProductError(msg) from error
    return files, path, shown


def is_local(files: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(files, LocalFileSystem)


def is_zip(files: AbstractFileSystem, path: str, shown: str) -> bool:
    suffix = PurePosixPath(urlsplit(path).path).suffix.lower()
    if is_local(files) and Path(path).is_dir():
        return False
    if suffix == ".zip":
        return True
    if suffix == ".safe":
        return False
    return bool(asked(shown, files.cat_file, path, start=0, end=2) == b"PK")


def product_folder(files: AbstractFileSystem, path: str, shown: str) -> str:
    """Find the folder that is the product: this one, or the only SAFE folder in it."""
    if asked(shown, files.isfile, f"{path}/{MANIFEST}"):
        return path
    inside = []
    if is_local(files):
        inside = sorted(each.parent for each in Path(path).glob(f"*/{MANIFEST}"))
    if len(inside) > 1:
        raise ProductError(_several(shown, [each.name for each in inside]))
    if not inside:
        msg = f"{shown} has no {MANIFEST}; {EXPECTED}"
        raise ProductError(msg)
    return str(inside[0])


def product_prefix(names: list[str], shown: str) -> str:
    """Find the folder inside a zip that is the product, with its slash."""
    manifests = sorted(name for name in names if name == MANIFEST or name.endswith(f"/{MANIFEST}"))
    if not manifests:
        msg = f"{shown} has no {MANIFEST} in it; {EXPECTED}"
        raise ProductError(msg)
    if len(manifests) > 1:
        raise ProductError(_several(shown, [name.rpartition("/")[0] for name in manifests]))
    return manifests[0].removesuffix(MANIFEST)


def _several(shown: str, names: list[str]) -> str:
    return (
        f"found {len(names)} products in {shown} ({', '.join(names[:3])}), expected one: pass one "
        "of them alone"
    )


def require_good_member(info: ZipInfo, archive: Extent) -> None:
    """Check what a zip's directory says of a file, before anything of it is unpacked."""
    require_safe_name(info.orig_filename, archive.shown)
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        problem = f"packed by method {info.compress_type}, expected it stored or deflated"
    elif info.flag_bits & ENCRYPTED:
        problem = "encrypted, expected it open to read"
    elif info.file_size > LARGEST_MEMBER:
        problem = f"said to unpack to {info.file_size >> 30} GiB, expected a few"
    elif info.header_offset + info.compress_size > archive.size:
        problem = "beyond the end of the archive: it is cut short"
    else:
        return
    msg = f"{info.filename} in {archive.shown} is {problem}; fetch the original from the archive"
    raise ProductError(msg)


# The manifest of a product: what it is, and which files belong to it.

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

    Source: Sentinel-1 Product Specification, S1-RS-MDA-52-7441, section 3.3.2: the manifest.
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
