"""The files of a product: in a SAFE folder or a zip of one, on a disk or a server."""

from __future__ import annotations

import sys
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZIP_STORED

import numpy as np

from sarheight._files import without_secrets
from sarheight._rasters import open_alone
from sarheight._runtime import ignore_missing_georeference
from sarheight.errors import ProductError
from sarheight.sentinel1._images import Form
from sarheight.sentinel1._manifest import MANIFEST, read_manifest, require_safe_name
from sarheight.sentinel1._ranges import Extent, ProductFile, call_storage, is_local

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from zipfile import ZipInfo

    from fsspec import AbstractFileSystem
    from numpy.typing import NDArray
    from rasterio import DatasetReader

    from sarheight._windows import Span

LARGEST_READ = 256 * 2**20
"""Bytes of a file that is read as a whole: the XML of a product is a tenth of this."""

LARGEST_MEMBER = 32 * 2**30
"""Bytes of any file of a product: the largest measurements have some five GiB."""

ENCRYPTED = 0x1
EXPECTED = "expected a Sentinel-1 product: a folder *.SAFE with a manifest.safe, or a .zip of one"
INCOMPLETE = "it is incomplete, fetch the whole product from the archive again"
_GDAL_OPEN = threading.Lock()


@dataclass(frozen=True, eq=False)
class _Strips:
    """Where the lines of an uncompressed measurement lie in its file."""

    begins: NDArray[np.int64]  # first byte of each strip, ascending
    lines: int  # lines of a strip
    samples: int
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, raster: DatasetReader) -> _Strips | None:
        """Find the strips of a file; None where its numbers do not lie in it as they are."""
        rows, width = raster.block_shapes[0]
        dtype = NUMBERS.get(raster.dtypes[0])
        if dtype is None or raster.compression is not None or width != raster.width:
            return None
        begins = []
        for strip in range(-(-raster.height // rows)):
            place, size = (
                raster.get_tag_item(f"BLOCK_{what}_0_{strip}", "TIFF", bidx=1)
                for what in ("OFFSET", "SIZE")
            )
            high = min(rows, raster.height - strip * rows)
            if place is None or size is None or int(size) != high * width * dtype.itemsize:
                return None
            begins.append(int(place))
        # Strips follow one another, with or without other bytes between them.
        if any(
            after - before < rows * width * dtype.itemsize for before, after in pairwise(begins)
        ):
            return None
        return cls(np.array(begins, dtype=np.int64), rows, width, dtype)

    def first_bytes(self, lines: Span, sample: int) -> list[int]:
        """Return where a sample of some lines lies."""
        line = np.arange(*lines)
        within = (line % self.lines * self.samples + sample) * self.dtype.itemsize
        found: list[int] = (self.begins[line // self.lines] + within).tolist()
        return found


NUMBERS = {"uint16": np.dtype("<u2")}
"""Numbers of measurements that are read without GDAL."""
LITTLE_ENDIAN = b"II"
STORAGE = "storage"
"""Option that is the file system of an address itself, in place of that of its protocol."""


# The files of one product.


class ProductFiles:
    """The files of one product, read in parts; from several threads at once.

    `name` is that of the product, `label` its name in errors, `folder` where it lies on a disk.
    """

    def __init__(
        self,
        name: str,
        label: str,
        files: Mapping[str, ProductFile],
        local: Path | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self._files = dict(sorted(files.items()))
        self._local = local if local is not None and local.is_dir() else None
        self.folder = None if local is None else local.parent
        self.origin: tuple[str, dict[str, Any]] = (label, {})
        self._strips: dict[str, _Strips | None] = {}
        self._read: dict[str, int] = {}  # pixels of measurements
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str],
        storage_options: Mapping[str, Any] | None = None,
    ) -> ProductFiles:
        """Find the files of a product."""
        options = dict(storage_options or {})
        storage, path, label = _locate(str(source), options)
        path, label = (
            text.rstrip("/").removesuffix(f"/{MANIFEST}") or "/" for text in (path, label)
        )
        if _is_zip(storage, path, label):
            files = cls._from_zip(Extent.whole(storage, path, label))
        else:
            files = cls._from_folder(storage, path, label)
        files.origin = storage.unstrip_protocol(path), options
        return files

    def __reduce__(self) -> tuple[Callable[..., ProductFiles], tuple[str, dict[str, Any]]]:
        """Pickle as an instruction to open the same product again."""
        return ProductFiles.open, self.origin

    @classmethod
    def _from_folder(cls, storage: AbstractFileSystem, path: str, label: str) -> ProductFiles:
        path = _product_folder(storage, path, label)
        local = Path(path) if is_local(storage) else None
        names: Iterable[str]
        if local is not None:
            names = (file.relative_to(local).as_posix() for file in local.rglob("*"))
            names = [name for name in names if (local / name).is_file()]
        else:
            # A server need not list its files: the manifest does.
            manifest = Extent.whole(storage, f"{path}/{MANIFEST}", f"{label}/{MANIFEST}")
            listed = read_manifest(manifest.read(0, LARGEST_READ)).files
            names = [MANIFEST, *(file.name for file in listed)]
        files = {
            name: ProductFile(partial(_in_folder, storage, path, label, name)) for name in names
        }
        return cls(PurePosixPath(path).name, label, files, local)

    @classmethod
    def _from_zip(cls, archive: Extent) -> ProductFiles:
        try:
            directory = zipfile.ZipFile(archive.open())
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            msg = (
                f"{archive.label} is cut short, damaged, or not a zip ({error}): expected the "
                "product as the archive sent it, fetch it again"
            )
            raise ProductError(msg) from error
        with directory:
            members = [info for info in directory.infolist() if not info.is_dir()]
        for info in members:
            _require_good_member(info, archive)
        prefix = _product_prefix([info.filename for info in members], archive.label)
        inside = [info for info in members if info.filename.startswith(prefix)]
        if len({info.filename for info in inside}) < len(inside):
            msg = f"{archive.label} holds two files of one name: it is damaged, fetch it again"
            raise ProductError(msg)
        name = prefix.removesuffix("/").rpartition("/")[2]
        return cls(
            name or f"{PurePosixPath(urlsplit(archive.path).path).stem.removesuffix('.SAFE')}.SAFE",
            archive.label,
            {
                info.filename.removeprefix(prefix): ProductFile(partial(Extent, *archive), info)
                for info in inside
            },
            Path(archive.path) if is_local(archive.storage) else None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files, relative to the product, with slashes."""
        return tuple(self._files)

    def open_file(self, name: str) -> BinaryIO:
        """Open a file that is read once, from its beginning."""
        return self._file(name).open()

    def _file(self, name: str) -> ProductFile:
        if name not in self._files:
            msg = f"{self.label} has no {name}: {INCOMPLETE}"
            raise ProductError(msg)
        return self._files[name]

    def read(self, name: str) -> bytes:
        """Read a file as a whole."""
        with self.open_file(name) as file:
            data = file.read(LARGEST_READ + 1)
        if len(data) > LARGEST_READ:
            msg = (
                f"{name} in {self.label} holds more than {LARGEST_READ >> 20} MiB, expected some: "
                "it was not read, check where the product came from"
            )
            raise ProductError(msg)
        return data

    @contextmanager
    def raster(self, name: str) -> Iterator[DatasetReader]:
        """Open a measurement with GDAL; each call anew, so that threads do not share a dataset."""
        from rasterio.errors import RasterioError

        self._file(name)
        failures: list[Exception] = []
        try:
            # The filter of warnings is shared by all threads.
            with _GDAL_OPEN, ignore_missing_georeference():
                if self._local is not None:
                    dataset = open_alone(self._local / name)
                else:
                    opener = partial(self._open_for_gdal, name, failures)
                    dataset = open_alone(name, opener=opener)
            with dataset:
                yield dataset
            if failures:  # GDAL takes what it cannot read for empty, where it may be
                raise failures[0]
        except RasterioError as error:
            cause = failures[0] if failures else error.__cause__ or error
            if isinstance(cause, ProductError):
                raise cause from None
            msg = (
                f"{name} in {self.label} cannot be read, it is damaged or cut short ({cause}): "
                "fetch the product again"
            )
            raise ProductError(msg) from cause

    def window(self, name: str, lines: Span, samples: Span) -> NDArray[Any] | None:
        """Read a window of a measurement, in the numbers of its file.

        None where these do not lie in the file line by line, or too few of them do: `raster` reads
        them, or says what is wrong.
        """
        strips = self._strips_of(name)
        shape = lines[1] - lines[0], samples[1] - samples[0]
        if strips is None or min(shape) < 1:
            return None
        numbers = np.empty(shape, strips.dtype)
        try:
            whole = self._files[name].read_rows(strips.first_bytes(lines, samples[0]), numbers)
        except OSError:
            return None
        return numbers if whole else None

    def form(self, name: str) -> Form:
        """Return the form of a measurement."""
        with self.raster(name) as raster:
            strip = int(raster.block_shapes[0][0])
            return Form(raster.height, raster.width, raster.dtypes, strip)

    def read_window(self, name: str, lines: Span, samples: Span, *, total: int) -> NDArray[Any]:
        """Read a window of a measurement.

        A member of a zip is compared with its checksum once `total` pixels of it are read. What is
        counted twice, at the borders of windows, makes it no worse: it is compared earlier.
        """
        numbers = self.window(name, lines, samples)
        if numbers is None:
            with self.raster(name) as raster:
                dtype = np.complex64 if "complex" in raster.dtypes[0] else None
                numbers = raster.read(1, window=(lines, samples), out_dtype=dtype)
        with self._lock:
            self._read[name] = self._read.get(name, 0) + numbers.size
            complete = self._read[name] >= total
        if complete:
            self._file(name).compare()
        return numbers

    @property
    def unverified(self) -> tuple[str, ...]:
        """Stored members of a zip on a disk that were read in parts, and not compared.

        Nothing tells of damage to them. Of a deflated member, most damage stops the decompression.
        """
        parts = (name for name in self._read if self._file(name).stored)
        return tuple(sorted(name for name in parts if not self._file(name).compared))

    def _strips_of(self, name: str) -> _Strips | None:
        """Find the strips of a measurement, once."""
        with self._lock:
            if name not in self._strips:
                with self.raster(name) as raster:
                    strips = _Strips.of(raster)
                if strips is not None:
                    with self._file(name).open_anywhere() as file:
                        little = file.read(2) == LITTLE_ENDIAN
                    strips = strips if little and sys.byteorder == "little" else None
                self._strips[name] = strips
            return self._strips[name]

    def _open_for_gdal(
        self, name: str, failures: list[Exception], path: str, **_: object
    ) -> _GdalFile:
        """Open a measurement, and none of the files that GDAL looks for beside it."""
        if path != name:
            raise FileNotFoundError(path)
        try:
            return _GdalFile(self._file(name).open_anywhere(), failures)
        except (ProductError, OSError) as error:
            failures.append(error)
            raise


class _GdalFile:
    """A file for GDAL, which loses exceptions: they are kept, and the file ends there."""

    def __init__(self, file: BinaryIO, failures: list[Exception]) -> None:
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


# Finding a product.


def is_safe(source: str | os.PathLike[str], storage_options: Mapping[str, Any]) -> bool:
    """Return whether a source holds the manifest of a SAFE product, or may hold it.

    That is a zip that cannot be read, and on a server a zip or what is named ``.SAFE``.
    """
    storage, path, label = _locate(str(source), dict(storage_options))
    if PurePosixPath(path).name == MANIFEST:
        return True
    if not _is_zip(storage, path, label):
        named = not is_local(storage) and path.lower().rstrip("/").endswith(".safe")
        return named or bool(_product_folders(storage, path, label))
    if not is_local(storage):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == MANIFEST for name in archive.namelist())
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, OSError):
        return True


def _in_folder(storage: AbstractFileSystem, path: str, label: str, name: str) -> Extent:
    """Return a file of a folder."""
    try:
        return Extent.whole(storage, f"{path}/{name}", f"{label}/{name}")
    except FileNotFoundError as error:
        msg = f"{label} has no {name}: {INCOMPLETE}"
        raise ProductError(msg) from error


def _locate(source: str, options: dict[str, Any]) -> tuple[AbstractFileSystem, str, str]:
    """Return the file system of a source, its path there, and its label without secrets."""
    from fsspec.core import url_to_fs

    if "://" not in source:
        source = str(Path(source).expanduser().absolute())
        if not Path(source).exists():
            msg = f"there is no '{source}'; {EXPECTED}"
            raise FileNotFoundError(msg)
        storage, path = url_to_fs(f"file://{source}")
        return storage, path, source
    label = without_secrets(source)
    if STORAGE in options:
        return options[STORAGE], source, label
    try:
        storage, path = url_to_fs(source, **options)
    except (ImportError, ValueError) as error:
        msg = (
            f"{label} cannot be opened ({error}): products on servers need the extra 'fetch', "
            "pip install 'sarheight[fetch]'"
        )
        raise ProductError(msg) from error
    return storage, path, label


def _is_zip(storage: AbstractFileSystem, path: str, label: str) -> bool:
    suffix = PurePosixPath(urlsplit(path).path).suffix.lower()
    if suffix == ".safe" or (is_local(storage) and Path(path).is_dir()):
        return False
    if suffix == ".zip":
        return True
    return bool(call_storage(label, storage.cat_file, path, start=0, end=2) == b"PK")


def _product_folders(storage: AbstractFileSystem, path: str, label: str) -> list[str]:
    """Return the folders that are a product: this one, or on a disk those in it."""
    if call_storage(label, storage.isfile, f"{path}/{MANIFEST}"):
        return [path]
    inside = sorted(Path(path).glob(f"*/{MANIFEST}")) if is_local(storage) else []
    return [str(file.parent) for file in inside]


def _product_folder(storage: AbstractFileSystem, path: str, label: str) -> str:
    """Return the folder that is the product."""
    found = _product_folders(storage, path, label)
    if not found:
        msg = f"{label} has no {MANIFEST}; {EXPECTED}"
        raise ProductError(msg)
    _require_one([PurePosixPath(folder).name for folder in found], label)
    return found[0]


def _product_prefix(names: list[str], label: str) -> str:
    """Return the folder inside a zip that is the product, with its slash."""
    manifests = sorted(name for name in names if name == MANIFEST or name.endswith(f"/{MANIFEST}"))
    if not manifests:
        msg = f"{label} has no {MANIFEST} in it; {EXPECTED}"
        raise ProductError(msg)
    _require_one([name.rpartition("/")[0] for name in manifests], label)
    return manifests[0].removesuffix(MANIFEST)


def _require_one(products: Sequence[str], label: str) -> None:
    if len(products) > 1:
        msg = (
            f"found {len(products)} products in {label} ({', '.join(products[:3])}), expected one: "
            "pass one of them alone"
        )
        raise ProductError(msg)


def _require_good_member(info: ZipInfo, archive: Extent) -> None:
    """Check what a zip's directory says of a file, before anything of it is decompressed."""
    require_safe_name(info.orig_filename, archive.label)
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        problem = f"compressed by method {info.compress_type}, expected it stored or deflated"
    elif info.flag_bits & ENCRYPTED:
        problem = "encrypted, expected it open to read"
    elif info.file_size > LARGEST_MEMBER:
        problem = f"said to decompress to {info.file_size >> 30} GiB, expected a few"
    elif info.header_offset + info.compress_size > archive.size:
        problem = "beyond the end of the archive: it is cut short"
    else:
        return
    msg = f"{info.filename} in {archive.label} is {problem}; fetch the original from the archive"
    raise ProductError(msg)
