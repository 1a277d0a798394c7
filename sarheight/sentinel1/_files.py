"""The files of one product: a SAFE folder or a zip of one, on a disk or on a server."""

from __future__ import annotations

import threading
import zipfile
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, Self, cast
from urllib.parse import urlsplit

from sarheight.errors import ProductError
from sarheight.sentinel1._locate import (
    MANIFEST,
    is_local,
    is_zip,
    located,
    product_folder,
    product_prefix,
    require_good_member,
)
from sarheight.sentinel1._ranges import (
    DeflatedMember,
    Extent,
    Ranged,
    asked,
    buffered,
    member_extent,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from fsspec import AbstractFileSystem
    from rasterio import DatasetReader

__all__ = ["ProductFiles"]

LARGEST_READ = 256 * 2**20
"""Bytes of a file that is read as a whole: the XML of a product is a tenth of this."""

OPENING = threading.Lock()
Failures = list[Exception]


class ProductFiles:
    """The files of one product, read in parts and only when asked for.

    All methods may be called from several threads at once.

    Parameters
    ----------
    name : str
        Name of the product, such as ``S1A_IW_GRDH_….SAFE``.
    shown : str
        Where it is, as errors say it: without passwords and signatures.
    openers : mapping of str to callable
        The files by their names inside the product; each opens its file.
    local : pathlib.Path, optional
        Where it is, on this machine. GDAL reads directly from a folder.
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
        """Find the files of a product.

        Parameters
        ----------
        source : str or path
            A SAFE folder (or its manifest, or a folder that holds one SAFE folder), a zip of
            one, or a URL of either that fsspec can open (``https://``, ``s3://``, ``memory://``,
            ``file://`` …).
        storage_options : mapping, optional
            For fsspec's file system, such as ``{"anon": True}``.

        Returns
        -------
        ProductFiles

        Raises
        ------
        FileNotFoundError
            If there is nothing.
        ProductError
            If it is no product, more than one, cut short, or unsafe to read.
        """
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
        from sarheight.sentinel1._manifest import read_manifest

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
        """Open a file for reading.

        Raises
        ------
        ProductError
            If there is no such file.
        """
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
        """Read a file as a whole.

        Raises
        ------
        ProductError
            If there is no such file, it is damaged, or far larger than any XML of a product.
        """
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

        Parameters
        ----------
        name : str
            The file, a TIFF.

        Yields
        ------
        rasterio.DatasetReader

        Raises
        ------
        ProductError
            If there is no such file, or it is damaged or no TIFF.
        """
        import rasterio
        from rasterio.errors import RasterioError

        from sarheight._radar_files import quiet

        self._require(name)
        failures: Failures = []
        try:
            with ExitStack() as stack:
                # What silences warnings is shared by all threads.
                with OPENING, quiet():
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
