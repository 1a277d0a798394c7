"""The files of a product: in a SAFE folder or a zip of one, on a disk or a server."""

from __future__ import annotations

import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZIP_STORED

from sarheight._runtime import ignore_missing_georeference
from sarheight.errors import ProductError
from sarheight.sentinel1._manifest import MANIFEST, read_manifest, require_safe_name
from sarheight.sentinel1._ranges import DeflatedMember, Extent, call_storage

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from zipfile import ZipInfo

    from fsspec import AbstractFileSystem
    from rasterio import DatasetReader

LARGEST_READ = 256 * 2**20
"""Bytes of a file that is read as a whole: the XML of a product is a tenth of this."""

LARGEST_MEMBER = 32 * 2**30
"""Bytes of any file of a product: the largest measurements have some five GiB."""

ENCRYPTED = 0x1
EXPECTED = "expected a Sentinel-1 product: a folder *.SAFE with a manifest.safe, or a .zip of one"
INCOMPLETE = "it is incomplete, fetch the whole product from the archive again"

_GDAL_OPEN = threading.Lock()


class ProductFiles:
    """The files of one product, read in parts; from several threads at once.

    `name` is that of the product, `label` its name in errors, `folder` where it lies on a disk.
    """

    def __init__(
        self,
        name: str,
        label: str,
        openers: Mapping[str, Callable[[], BinaryIO]],
        local: Path | None = None,
    ) -> None:
        self.name = name
        self.label = label
        self._openers = dict(sorted(openers.items()))
        self._local = local if local is not None and local.is_dir() else None
        self.folder = None if local is None else local.parent
        self.origin: tuple[str, dict[str, Any]] = (label, {})

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
        name = PurePosixPath(path).name
        if _is_local(storage):
            local = Path(path)
            found = (file for file in local.rglob("*") if file.is_file())
            openers = {
                file.relative_to(local).as_posix(): partial(file.open, "rb") for file in found
            }
            return cls(name, label, cast("Mapping[str, Callable[[], BinaryIO]]", openers), local)
        # A server need not list its files: the manifest does.
        manifest = _remote_opener(storage, f"{path}/{MANIFEST}", label)().read(LARGEST_READ + 1)
        names = [MANIFEST, *(file.name for file in read_manifest(manifest).files)]
        return cls(
            name, label, {name: _remote_opener(storage, f"{path}/{name}", label) for name in names}
        )

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
            {info.filename.removeprefix(prefix): _member_opener(archive, info) for info in inside},
            Path(archive.path) if _is_local(archive.storage) else None,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files, relative to the product, with slashes."""
        return tuple(self._openers)

    def open_file(self, name: str) -> BinaryIO:
        """Open a file for reading."""
        self._require(name)
        return self._openers[name]()

    def _require(self, name: str) -> None:
        if name not in self._openers:
            msg = f"{self.label} has no {name}: {INCOMPLETE}"
            raise ProductError(msg)

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
        import rasterio
        from rasterio.errors import RasterioError

        self._require(name)
        failures: list[Exception] = []
        try:
            # The filter of warnings is shared by all threads.
            with _GDAL_OPEN, ignore_missing_georeference():
                if self._local is not None:
                    dataset = rasterio.open(self._local / name, driver="GTiff")
                else:
                    opener = partial(self._open_for_gdal, name, failures)
                    dataset = rasterio.open(name, driver="GTiff", opener=opener)
            with dataset:
                yield dataset
        except RasterioError as error:
            cause = failures[0] if failures else error.__cause__ or error
            if isinstance(cause, ProductError):
                raise cause from None
            msg = (
                f"{name} in {self.label} cannot be read, it is damaged or cut short ({cause}): "
                "fetch the product again"
            )
            raise ProductError(msg) from cause

    def _open_for_gdal(
        self, name: str, failures: list[Exception], path: str, **_: object
    ) -> _GdalFile:
        """Open a measurement, and none of the files that GDAL looks for beside it."""
        if path != name:
            raise FileNotFoundError(path)
        try:
            return _GdalFile(self.open_file(name), failures)
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
    parts = urlsplit(source)
    label = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    try:
        storage, path = url_to_fs(source, **options)
    except (ImportError, ValueError) as error:
        msg = (
            f"{label} cannot be opened ({error}): products on servers need the extra 'fetch', "
            "pip install 'sarheight[fetch]'"
        )
        raise ProductError(msg) from error
    return storage, path, label


def _is_local(storage: AbstractFileSystem) -> bool:
    from fsspec.implementations.local import LocalFileSystem

    return isinstance(storage, LocalFileSystem)


def _is_zip(storage: AbstractFileSystem, path: str, label: str) -> bool:
    suffix = PurePosixPath(urlsplit(path).path).suffix.lower()
    if suffix == ".safe" or (_is_local(storage) and Path(path).is_dir()):
        return False
    if suffix == ".zip":
        return True
    return bool(call_storage(label, storage.cat_file, path, start=0, end=2) == b"PK")


def _product_folder(storage: AbstractFileSystem, path: str, label: str) -> str:
    """Return the folder that is the product: this one, or the only SAFE folder in it."""
    if call_storage(label, storage.isfile, f"{path}/{MANIFEST}"):
        return path
    inside = sorted(Path(path).glob(f"*/{MANIFEST}")) if _is_local(storage) else []
    if not inside:
        msg = f"{label} has no {MANIFEST}; {EXPECTED}"
        raise ProductError(msg)
    _require_one([file.parent.name for file in inside], label)
    return str(inside[0].parent)


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


def _member_opener(archive: Extent, info: ZipInfo) -> Callable[[], BinaryIO]:
    """Return a function that opens a member of a zip; it locates the member at the first call."""
    deflated: list[DeflatedMember] = []

    def open_member() -> BinaryIO:
        if info.compress_type == ZIP_STORED:
            return cast("BinaryIO", archive.member(info).open())
        if not deflated:
            deflated.append(DeflatedMember(archive.member(info), info.file_size))
        return cast("BinaryIO", deflated[0].open())

    return open_member


def _remote_opener(storage: AbstractFileSystem, path: str, label: str) -> Callable[[], BinaryIO]:
    """Return a function that opens a file of a folder on a server."""

    def open_remote() -> BinaryIO:
        name = PurePosixPath(path).name
        try:
            return cast("BinaryIO", Extent.whole(storage, path, f"{label}/{name}").open())
        except FileNotFoundError as error:
            msg = f"{label} has no {name}: {INCOMPLETE}"
            raise ProductError(msg) from error

    return open_remote
