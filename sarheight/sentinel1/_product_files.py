"""The files of one product, the images in it, and what it is in words."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import urlsplit

import numpy as np

from sarheight.errors import ProductError
from sarheight.sentinel1._archive import (
    MANIFEST,
    Manifest,
    is_local,
    is_zip,
    located,
    product_folder,
    product_prefix,
    read_manifest,
    require_good_member,
)
from sarheight.sentinel1._detected import Channel
from sarheight.sentinel1._radiometry import Radiometry
from sarheight.sentinel1._ranges import (
    DeflatedMember,
    Extent,
    Ranged,
    asked,
    buffered,
    member_extent,
)
from sarheight.sentinel1.annotation import read_annotation
from sarheight.sentinel1.document import NamedBytes

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from fsspec import AbstractFileSystem
    from rasterio import DatasetReader

    from sarheight.sentinel1.annotation import Annotation

LARGEST_READ = 256 * 2**20
"""Bytes of a file that is read as a whole: the XML of a product is a tenth of this."""

OPENING = threading.Lock()
Failures = list[Exception]


class ProductFiles:
    """The files of one product, read in parts and only when asked for.

    All methods may be called from several threads at once.
    """

    def __init__(
        self,
        name: str,
        shown: str,
        openers: Mapping[str, Callable[[], BinaryIO]],
        local: Path | None = None,
    ) -> None:
        self.name = name
        self.shown = shown
        self._openers = dict(sorted(openers.items()))
        self._local = local if local is not None and local.is_dir() else None
        self.folder = None if local is None else local.parent
        self.origin: tuple[str, dict[str, Any]] = (shown, {})

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None = None,
    ) -> ProductFiles:
        """Find the files of a product."""
        files, path, shown = located(str(source), dict(storage_options or {}))
        path, shown = (
            each.rstrip("/").removesuffix(f"/{MANIFEST}") or "/" for each in (path, shown)
        )
        found = (
            cls._of_zip(_whole(files, path, shown))
            if is_zip(files, path, shown)
            else cls._of_folder(files, path, shown)
        )
        found.origin = files.unstrip_protocol(path), dict(storage_options or {})
        return found

    def __reduce__(self) -> tuple[Callable[..., ProductFiles], tuple[str, dict[str, Any]]]:
        """Open the same product again, in whichever process that is."""
        return ProductFiles.open, self.origin

    @classmethod
    def _of_folder(cls, files: AbstractFileSystem, path: str, shown: str) -> ProductFiles:
        path = product_folder(files, path, shown)
        name = PurePosixPath(path).name
        if is_local(files):
            local = Path(path)
            found = (each for each in local.rglob("*") if each.is_file())
            names = [each.relative_to(local).as_posix() for each in found]
            return cls(name, shown, {each: partial(_open, local / each) for each in names}, local)
        from sarheight.sentinel1._archive import read_manifest

        manifest = _opened_extent(files, f"{path}/{MANIFEST}", shown)().read(LARGEST_READ + 1)
        names = [MANIFEST, *(each.name for each in read_manifest(manifest).files)]
        return cls(
            name, shown, {each: _opened_extent(files, f"{path}/{each}", shown) for each in names}
        )

    @classmethod
    def _of_zip(cls, archive: Extent) -> ProductFiles:
        try:
            directory = zipfile.ZipFile(buffered(Ranged(archive)))
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            msg = (
                f"{archive.shown} is cut short, damaged, or not a zip ({error}): expected the "
                "product as the archive sent it, fetch it again"
            )
            raise ProductError(msg) from error
        with directory:
            members = [info for info in directory.infolist() if not info.is_dir()]
        for info in members:
            require_good_member(info, archive)
        prefix = product_prefix([info.filename for info in members], archive.shown)
        inside = [info for info in members if info.filename.startswith(prefix)]
        if len({info.filename for info in inside}) < len(inside):
            msg = f"{archive.shown} holds two files of one name: it is damaged, fetch it again"
            raise ProductError(msg)
        name = prefix.removesuffix("/").rpartition("/")[2]
        return cls(
            name or f"{PurePosixPath(urlsplit(archive.path).path).stem.removesuffix('.SAFE')}.SAFE",
            archive.shown,
            {info.filename.removeprefix(prefix): _member_opener(archive, info) for info in inside},
            Path(archive.path) if is_local(archive.files) else None,
        )

    def list(self) -> tuple[str, ...]:
        """Return the names of the files, relative to the product, with slashes."""
        return tuple(self._openers)

    def open_file(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        self._require(name)
        return self._openers[name]()

    def _require(self, name: str) -> None:
        if name not in self._openers:
            msg = (
                f"{self.shown} has no {name}: it is incomplete, fetch the whole product from the "
                "archive again"
            )
            raise ProductError(msg)

    def read(self, name: str) -> bytes:
        """Read a file as a whole."""
        with self.open_file(name) as file:
            data = file.read(LARGEST_READ + 1)
        if len(data) > LARGEST_READ:
            msg = (
                f"{name} in {self.shown} holds more than {LARGEST_READ >> 20} MiB, expected some: "
                "it was not read, check where the product came from"
            )
            raise ProductError(msg)
        return data

    @contextmanager
    def raster(self, name: str) -> Iterator[DatasetReader]:
        """Open a measurement with GDAL, for windows of it.

        Each call opens the file anew, so that threads do not share a dataset.
        """
        import rasterio
        from rasterio.errors import RasterioError

        from sarheight._runtime import ignore_missing_georeference

        self._require(name)
        failures: Failures = []
        try:
            with ExitStack() as stack:
                # What silences warnings is shared by all threads.
                with OPENING, ignore_missing_georeference():
                    if self._local is not None:
                        dataset = rasterio.open(self._local / name, driver="GTiff")
                    else:
                        dataset = rasterio.open(
                            name,
                            driver="GTiff",
                            opener=partial(self._opened_for_gdal, name, failures),
                        )
                yield stack.enter_context(dataset)
        except RasterioError as error:
            why = failures[0] if failures else error.__cause__ or error
            if isinstance(why, ProductError):
                raise why from None
            msg = (
                f"{name} in {self.shown} cannot be read, it is damaged or cut short ({why}): fetch "
                "the product again"
            )
            raise ProductError(msg) from why

    def _opened_for_gdal(self, name: str, failures: Failures, path: str, **_: object) -> _Watched:
        """Open a measurement, and nothing that GDAL would like to find beside it."""
        if path != name:
            raise FileNotFoundError(path)
        try:
            return _Watched(self.open_file(name), failures)
        except (ProductError, OSError) as error:
            failures.append(error)
            raise


class _Watched:
    """A file in the hands of GDAL, which loses exceptions: they are kept, and the file ends."""

    def __init__(self, file: BinaryIO, failures: Failures) -> None:
        self._file = file
        self._failures = failures
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, size: int = -1) -> bytes:
        """Read; nothing where that fails."""
        try:
            return self._file.read(size)
        except Exception as error:  # noqa: BLE001  # kept, and raised once GDAL has returned
            self._failures.append(error)
            return b""


def _whole(files: AbstractFileSystem, path: str, shown: str) -> Extent:
    """Return all of a file."""
    size = asked(shown, files.info, path).get("size")
    if size is None:
        msg = (
            f"the server of {shown} does not say how large it is, so no part of it can be read: "
            "download it and open the copy"
        )
        raise ProductError(msg)
    return Extent(files, path, shown, 0, int(size))


def _member_opener(archive: Extent, info: zipfile.ZipInfo) -> Callable[[], BinaryIO]:
    """Return what opens a member of a zip; its place is looked up when it is first opened."""
    if info.compress_type == zipfile.ZIP_STORED:
        return lambda: cast("BinaryIO", buffered(Ranged(member_extent(archive, info))))
    kept: list[DeflatedMember] = []

    def open_deflated() -> BinaryIO:
        if not kept:
            kept.append(DeflatedMember(member_extent(archive, info), info.file_size))
        return cast("BinaryIO", buffered(kept[0].open()))

    return open_deflated


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _opened_extent(files: AbstractFileSystem, path: str, shown: str) -> Callable[[], BinaryIO]:
    """Return what opens a file of a folder on a server."""

    def open_extent() -> BinaryIO:
        try:
            whole = _whole(files, path, f"{shown}/{PurePosixPath(path).name}")
        except FileNotFoundError as error:
            msg = (
                f"{shown} has no {PurePosixPath(path).name}: it is incomplete, fetch the whole "
                "product from the archive again"
            )
            raise ProductError(msg) from error
        return cast("BinaryIO", buffered(Ranged(whole)))

    return open_extent


# The images of a product, and the files that belong to each.

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
    """A product's files, read when they are asked for and checked against its list."""

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
        """Read the annotation of an image, once."""
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
        """Gather what belongs to an image."""
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
        """Compare every file with its checksum in the manifest."""
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
    """Find the images by the names of their annotations, ``annotation/s1a-iw1-slc-vv-….xml``."""
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


# What a product is, in words.


def product_facts(name: str, contents: Contents) -> list[tuple[str, str]]:
    """Tell what a product is, as pairs of a word and a text."""
    manifest = contents.manifest
    longitude, latitude = manifest.footprint.T
    kind = f"{manifest.mission} {manifest.mode} {manifest.product_type}"
    version = manifest.processor_version
    pixels = [
        f"{swath} {annotation.lines} lines x {annotation.samples} samples"
        + (f" in {len(annotation.bursts)} bursts" if annotation.bursts else "")
        for swath in contents.swaths
        for annotation in [contents.annotation(swath, contents.polarisations[0])]
    ]
    return [
        ("what", f"{'simulated ' if manifest.simulated else ''}Sentinel-1 product: {kind}, {name}"),
        ("polarisations", ", ".join(contents.polarisations)),
        ("images", "; ".join(pixels)),
        ("pass", manifest.passing),
        (
            "place",
            (
                f"longitude {longitude.min():.3f} to {longitude.max():.3f}, "
                f"latitude {latitude.min():.3f} to {latitude.max():.3f}"
            ),
        ),
        (
            "time",
            (
                f"{manifest.start.astype('datetime64[us]')} to "
                f"{manifest.stop.astype('datetime64[us]')} UTC"
            ),
        ),
        (
            "orbit number",
            f"{manifest.orbit_number}, {manifest.relative_orbit} of the repeat cycle",
        ),
        ("processor", "unknown" if np.isnan(version) else f"IPF {version:.2f}"),
    ]
