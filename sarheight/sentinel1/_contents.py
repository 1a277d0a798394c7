"""The images of a product, and the files that belong to each."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sarheight._annotation_xml import read_annotation
from sarheight._xml import NamedBytes
from sarheight.errors import ProductError
from sarheight.sentinel1._files import ProductFiles
from sarheight.sentinel1._grd import Channel
from sarheight.sentinel1._locate import MANIFEST
from sarheight.sentinel1._manifest import Manifest, read_manifest
from sarheight.sentinel1._radiometry import Radiometry

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Any

    from sarheight._annotation import Annotation

__all__ = ["Contents"]

CALIBRATION = "annotation/calibration"
PIECE = 4 * 2**20
NAMED, FEWEST_PARTS = 5, 4


@dataclass(frozen=True)
class _ImageName:
    """The name that all files of an image share, ``s1a-iw1-slc-vv-…-004``."""

    stem: str
    swath: str
    polarisation: str


class Contents:
    """A product's files, read when they are asked for and checked against its list.

    Parameters
    ----------
    files : ProductFiles
    manifest : Manifest
    """

    def __init__(self, files: ProductFiles, manifest: Manifest) -> None:
        self.files = files
        self.manifest = manifest
        self._sums = {each.name: each.md5 for each in manifest.files}
        self._images = _images(files, manifest)
        self._annotations: dict[tuple[str, str], Annotation] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], storage_options: Mapping[str, Any] | None
    ) -> Contents:
        """Find the files of a product and read its manifest; see `ProductFiles.open`."""
        files = ProductFiles.open(source, storage_options)
        data = NamedBytes(files.read(MANIFEST), f"{MANIFEST} in {files.shown}")
        return cls(files, read_manifest(data, files.shown))

    @property
    def swaths(self) -> tuple[str, ...]:
        """Swaths that the product has images of, in order."""
        return tuple(sorted({swath for swath, _ in self._images}))

    @property
    def polarisations(self) -> tuple[str, ...]:
        """Polarisations that it has, in the order of the manifest."""
        present = {polarisation for _, polarisation in self._images}
        order = [each for each in self.manifest.polarisations if each in present]
        return tuple(order + sorted(present - set(order)))

    def annotation(self, swath: str, polarisation: str) -> Annotation:
        """Read the annotation of an image, once.

        Raises
        ------
        ProductError
            If it is missing, damaged, or not the one that its name says.
        AnnotationError
            If it is unsafe or lacks something.
        """
        key = swath, polarisation
        with self._lock:
            if key not in self._annotations:
                name = self._image(*key)
                annotation = read_annotation(self._read(f"annotation/{name.stem}.xml"))
                if (annotation.swath, annotation.polarisation) != key:
                    msg = (
                        f"annotation/{name.stem}.xml in {self.files.shown} is of "
                        f"{annotation.swath} {annotation.polarisation}, its name says "
                        f"{swath} {polarisation}: fetch the product again from the archive"
                    )
                    raise ProductError(msg)
                self._annotations[key] = annotation
            return self._annotations[key]

    def channel(self, swath: str, polarisation: str, *, noise: bool = True) -> Channel:
        """Gather what belongs to an image.

        Parameters
        ----------
        swath, polarisation : str
            The image.
        noise : bool
            Whether the thermal noise is needed.

        Raises
        ------
        ProductError, AnnotationError
            If a file is missing, damaged, or lacks something.
        """
        stem = self._image(swath, polarisation).stem
        annotation = self.annotation(swath, polarisation)
        radiometry = Radiometry.from_xml(
            self._read(f"{CALIBRATION}/calibration-{stem}.xml"),
            self._read(f"{CALIBRATION}/noise-{stem}.xml") if noise else None,
            annotation,
            processor_version=self.manifest.processor_version,
        )
        return Channel(f"measurement/{stem}.tiff", annotation, radiometry)

    def verify(self) -> None:
        """Compare every file with its checksum in the manifest.

        Raises
        ------
        ProductError
            If files are missing or differ.
        """
        problems = []
        for listed in self.manifest.files:
            try:
                digest = hashlib.md5(usedforsecurity=False)
                with self.files.open_file(listed.name) as file:
                    while piece := file.read(PIECE):
                        digest.update(piece)
            except (ProductError, OSError):
                problems.append(f"{listed.name} is missing or cannot be read")
                continue
            if listed.md5 and digest.hexdigest() != listed.md5:
                problems.append(f"{listed.name} differs from its checksum")
        if problems:
            more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
            msg = (
                f"{self.files.shown} is not as it was delivered: {'; '.join(problems[:NAMED])}"
                f"{more}; fetch it again from the archive"
            )
            raise ProductError(msg)

    def _image(self, swath: str, polarisation: str) -> _ImageName:
        found = self._images.get((swath, polarisation))
        if found is None:
            msg = (
                f"found no image of {swath} {polarisation} in {self.files.shown}, only of swaths "
                f"{', '.join(self.swaths)} and polarisations {', '.join(self.polarisations)}"
            )
            raise ProductError(msg)
        return found

    def _read(self, name: str) -> NamedBytes:
        """Read an XML file and compare it with its checksum."""
        data = self.files.read(name)
        expected = self._sums.get(name, "")
        if expected and hashlib.md5(data, usedforsecurity=False).hexdigest() != expected:
            msg = (
                f"{name} in {self.files.shown} differs from its checksum in the manifest: it was "
                "changed or is damaged, fetch the product again from the archive"
            )
            raise ProductError(msg)
        return NamedBytes(data, f"{name} in {self.files.shown}")


def _images(files: ProductFiles, manifest: Manifest) -> dict[tuple[str, str], _ImageName]:
    """Find the images by the names of their annotations, ``annotation/s1a-iw1-slc-vv-….xml``.

    Raises
    ------
    ProductError
        If there are none, two of a kind, or one that the manifest lists is missing.
    """
    present = set(files.list())
    wanted = {each.name for each in manifest.files} | present
    found: dict[tuple[str, str], _ImageName] = {}
    for name in sorted(wanted):
        path = PurePosixPath(name)
        parts = path.stem.split("-")
        if str(path.parent) != "annotation" or path.suffix != ".xml" or len(parts) < FEWEST_PARTS:
            continue
        if name not in present:
            msg = (
                f"{files.shown} has no {name}, which its manifest lists: it is incomplete, fetch "
                "the whole product from the archive again"
            )
            raise ProductError(msg)
        key = parts[1].upper(), parts[3].upper()
        if key in found:
            msg = f"{files.shown} has two images of {' '.join(key)}, expected one: fetch it again"
            raise ProductError(msg)
        found[key] = _ImageName(path.stem, *key)
    if not found:
        msg = f"{files.shown} has no annotations of images: it is incomplete, fetch it again"
        raise ProductError(msg)
    return found
