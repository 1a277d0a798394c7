"""Sentinel-1 products in the SAFE format: annotations, radiometry and checksums of their files."""

from __future__ import annotations

import hashlib
import threading
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from sarheight._files import note_product
from sarheight.errors import ProductError
from sarheight.sentinel1._files import INCOMPLETE, ProductFiles
from sarheight.sentinel1._images import Channel
from sarheight.sentinel1._manifest import MANIFEST, Manifest, read_manifest
from sarheight.sentinel1._radiometry import Radiometry
from sarheight.sentinel1.annotation import read_annotation
from sarheight.sentinel1.document import NamedBytes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sarheight.sentinel1.annotation import Annotation

CALIBRATION_FOLDER = "annotation/calibration"
READ_BYTES = 4 * 2**20
"""Bytes to hash at once."""

MOST_PROBLEMS = 5
"""Problems that an error lists by name."""

CHECKS = (
    "XML files against their checksums; measurements only where all pixels of a member of a zip "
    "are read. To read and compare all files: --verify, or product.verify()"
)
"""What is compared with checksums whenever a product is read, for its description."""


class SafeSource:
    """The files of a SAFE product, and what they say.

    Parameters
    ----------
    files : ProductFiles
        They are read when they are needed, and XML files are compared with their checksums in the
        manifest.

    Raises
    ------
    ProductError, AnnotationError
        If there are no annotations of images, or the manifest is damaged or of another product.
    """

    checks = CHECKS

    def __init__(self, files: ProductFiles) -> None:
        self.rasters = files
        self._files = files
        data = NamedBytes(files.read(MANIFEST), f"{MANIFEST} in {files.label}")
        self.manifest: Manifest = read_manifest(data, files.label)
        self._checksums = {file.name: file.md5 for file in self.manifest.files}
        self._stems = _image_stems(files, self.manifest)
        self._annotations: dict[tuple[str, str], Annotation] = {}
        self._lock = threading.Lock()
        self._verified = False
        note_product(self)

    @property
    def name(self) -> str:
        """Name of the product."""
        return self._files.name

    @property
    def label(self) -> str:
        """Name of the product in errors."""
        return self._files.label

    @property
    def unverified(self) -> tuple[str, ...]:
        """Measurements that were read in parts, and not compared with a checksum."""
        return () if self._verified else self._files.unverified

    @property
    def folder(self) -> Path | None:
        """Folder that holds the product, on a disk."""
        return self._files.folder

    @property
    def images(self) -> tuple[tuple[str, str], ...]:
        """Swath and polarisation of each image."""
        return tuple(self._stems)

    def annotation(self, swath: str, polarisation: str) -> Annotation:
        """Read the annotation of an image."""
        key = swath, polarisation
        name = f"annotation/{self._stem(*key)}.xml"
        with self._lock:
            if key not in self._annotations:
                annotation = read_annotation(self._read(name))
                found = annotation.swath, annotation.polarisation
                if found != key:
                    msg = (
                        f"{name} in {self._files.label} is of {' '.join(found)}, its name says "
                        f"{' '.join(key)}: fetch the product again from the archive"
                    )
                    raise ProductError(msg)
                self._annotations[key] = annotation
            return self._annotations[key]

    def channel(self, swath: str, polarisation: str, *, noise: bool) -> Channel:
        """Return the image file of a swath and polarisation, with annotation and radiometry."""
        stem = self._stem(swath, polarisation)
        annotation = self.annotation(swath, polarisation)
        radiometry = Radiometry.from_xml(
            self._read(f"{CALIBRATION_FOLDER}/calibration-{stem}.xml"),
            self._read(f"{CALIBRATION_FOLDER}/noise-{stem}.xml") if noise else None,
            annotation,
            processor_version=self.manifest.processor_version,
        )
        return Channel(f"measurement/{stem}.tiff", annotation, radiometry)

    def verify(self) -> None:
        """Compare all files with their checksums in the manifest."""
        problems = []
        for listed in self.manifest.files:
            try:
                with self._files.open_file(listed.name) as file:
                    checksum = _md5(file)
            except (ProductError, OSError):
                problems.append(f"{listed.name} is missing or cannot be read")
                continue
            if listed.md5 and checksum != listed.md5:
                problems.append(f"{listed.name} differs from its checksum")
        if problems:
            count = len(problems) - MOST_PROBLEMS
            more = f" and {count} more" if count > 0 else ""
            msg = (
                f"{self._files.label} is not as it was delivered: "
                f"{'; '.join(problems[:MOST_PROBLEMS])}{more}; fetch it again from the archive"
            )
            raise ProductError(msg)
        self._verified = True

    def _stem(self, swath: str, polarisation: str) -> str:
        stem = self._stems.get((swath, polarisation))
        if stem is None:
            msg = (
                f"found no image of {swath} {polarisation} in {self._files.label}, only of swaths "
                f"{_names(self._stems, 0)} and polarisations {_names(self._stems, 1)}"
            )
            raise ProductError(msg)
        return stem

    def _read(self, name: str) -> NamedBytes:
        """Read an XML file and compare it with its checksum."""
        data = self._files.read(name)
        expected = self._checksums.get(name, "")
        if expected and hashlib.md5(data, usedforsecurity=False).hexdigest() != expected:
            msg = (
                f"{name} in {self._files.label} differs from its checksum in the manifest: it was "
                "changed or is damaged, fetch the product again from the archive"
            )
            raise ProductError(msg)
        return NamedBytes(data, f"{name} in {self._files.label}")


def _names(keys: Iterable[tuple[str, str]], place: int) -> str:
    """List the swaths, or the polarisations, of images."""
    return ", ".join(sorted({key[place] for key in keys}))


def _md5(file: BinaryIO) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while data := file.read(READ_BYTES):
        digest.update(data)
    return digest.hexdigest()


def _image_stems(files: ProductFiles, manifest: Manifest) -> dict[tuple[str, str], str]:
    """Return the common part of the names of an image's files, by swath and polarisation.

    It is that of its annotation: ``annotation/s1a-iw1-slc-vv-….xml``.
    """
    present = set(files.names)
    stems: dict[tuple[str, str], str] = {}
    for name in sorted({file.name for file in manifest.files} | present):
        path = PurePosixPath(name)
        # Mission, swath, product type, polarisation, and more.
        match path.stem.split("-"):
            case [_, swath, _, polarisation, *_] if name == f"annotation/{path.stem}.xml":
                key = swath.upper(), polarisation.upper()
            case _:
                continue
        if name not in present:
            msg = f"{files.label} has no {name}, which its manifest lists: {INCOMPLETE}"
            raise ProductError(msg)
        if key in stems:
            msg = f"{files.label} has two images of {' '.join(key)}, expected one: fetch it again"
            raise ProductError(msg)
        stems[key] = path.stem
    if not stems:
        msg = f"{files.label} has no annotations of images: it is incomplete, fetch it again"
        raise ProductError(msg)
    return stems
