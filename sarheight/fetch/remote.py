"""Images and products on servers, read in parts through our own client.

GDAL follows a redirect wherever it leads, into the user's network too. So it is given no address:
it reads from a Python object, each of whose requests is checked as those of downloads are. Products
are read from a file system of fsspec that does the same.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import requests
from fsspec import AbstractFileSystem
from rasterio.errors import RasterioError

from sarheight._files import RangeFile
from sarheight._rasters import open_alone
from sarheight.errors import FetchError, NotThereError
from sarheight.fetch.addresses import redact
from sarheight.fetch.http import HttpClient, Version, translated_errors
from sarheight.fetch.settings import Settings

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_AHEAD = 1 << 16
"""Bytes of the shortest request: headers of images are read in many small pieces."""


@dataclass(frozen=True)
class RemoteImage:
    """An image on a server: what rasterio opens by `name`, with this object as its `opener`.

    Parameters
    ----------
    client : HttpClient
        What requests its parts.
    url : str
        Its address, signed where that is needed.

    Attributes
    ----------
    failures : list of Exception
        Why it could not be read. GDAL loses exceptions, and says only that the file is damaged.
    """

    client: HttpClient
    url: str = field(repr=False)
    failures: list[Exception] = field(default_factory=list, repr=False, compare=False)

    @property
    def name(self) -> str:
        """A path that no file has, by which GDAL knows the image."""
        digest = hashlib.sha256(self.url.encode()).hexdigest()
        is_jpeg = self.url.partition("?")[0].lower().endswith(".jp2")
        return f"{digest[:16]}/image{'.jp2' if is_jpeg else '.tif'}"

    def __str__(self) -> str:
        """Return its address without secrets."""
        return redact(self.url)

    def __call__(self, path: str, **_: object) -> _RemoteFile:
        """Open it for GDAL, and none of the files that GDAL looks for beside it."""
        if path != self.name:
            raise FileNotFoundError(path)
        try:
            return _RemoteFile(self.client, self.url, self.failures)
        except FetchError as error:
            self.failures.append(error)
            raise

    @property
    def driver(self) -> str:
        """The one driver of GDAL for it: others read the files and addresses that a file names."""
        return "JP2OpenJPEG" if self.name.endswith(".jp2") else "GTiff"

    @contextmanager
    def open(self) -> Iterator[DatasetReader]:
        """Open it with rasterio; FetchError where it cannot be requested or read."""
        image = replace(self, failures=[])  # those of this thread
        try:
            with open_alone(self.name, (self.driver,), opener=image) as dataset:
                yield dataset
        except (RasterioError, OSError) as error:
            raise (image.failures or [error])[0] from None
        if image.failures:
            raise image.failures[0]


class _RemoteFile(RangeFile):
    """A file on a server; what is read of it is requested then.

    GDAL loses exceptions: they are kept among `failures`, and the file ends there.
    """

    def __init__(self, client: HttpClient, url: str, failures: list[Exception]) -> None:
        self._client, self._url, self._failures = client, url, failures
        self._session = client.session()
        self._begin, self._bytes, self._version = _request_part(
            client, self._session, url, (0, _AHEAD), None
        )
        super().__init__(self._version.size or 0, self._part)

    def _part(self, begin: int, size: int) -> bytes:
        """Return bytes of the file; none where that fails."""
        end = begin + size
        if begin < self._begin or end > self._begin + len(self._bytes):
            try:
                # The whole file, from servers that send no parts.
                self._begin, self._bytes, self._version = _request_part(
                    self._client,
                    self._session,
                    self._url,
                    (begin, max(end, begin + _AHEAD)),
                    self._version,
                )
            except Exception as error:  # noqa: BLE001  # raised once GDAL has returned
                self._failures.append(error)
                return b""
        return self._bytes[begin - self._begin : end - self._begin]

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        super().close()


def _request_part(
    client: HttpClient,
    session: requests.Session,
    url: str,
    part: tuple[int, int],
    before: Version | None,
) -> tuple[int, bytes, Version]:
    """Request some bytes of a file, of the version that was read before.

    Returns the first byte that came, the bytes, and their version: the whole file, from servers
    that send no parts.
    """
    begin, end = part
    client.check(url)
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={begin}-{end - 1}"}
    with translated_errors(url):
        reply = session.get(url, headers=headers, timeout=client.timeout)
    first, version = Version.of(url, reply)
    content = reply.content
    if reply.status_code == requests.codes.ok:
        version = replace(version, size=len(content))
    elif reply.status_code != requests.codes.partial_content:
        raise client.status_error(reply)
    if before is not None and not before.agrees(version):
        msg = f"{redact(url)} has changed while it was read: read it again"
        raise FetchError(msg)
    size = version.size
    if size is None or first not in {0, begin} or first + len(content) < min(end, size):
        msg = (
            f"{redact(url)} sent other bytes than the requested {begin} to {end}: the "
            "server is not fit for reading parts of files, download it"
        )
        raise FetchError(msg)
    return first, content, version


# Files of products.

_BEGINNING = 1 << 18
"""Bytes of a file that the first request for it brings: many files have no more."""


class RemoteFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec is not typed
    """Files on servers as a file system of fsspec that is read in parts through our own client.

    The first request for a file brings its size and its beginning, which are kept.

    Parameters
    ----------
    url : str
        An address that the user gave: its host is trusted, and so are the settings' hosts.
    settings : Settings, optional
        Those of all downloads by default.
    """

    protocol = ("https", "http")
    cachable = False  # an object for each product

    def __init__(self, url: str, settings: Settings | None = None, **more: Any) -> None:  # noqa: ANN401  # of fsspec
        super().__init__(**more)
        self._client = HttpClient.trusting(settings or Settings.load(), url)
        self._threads = threading.local()
        self._known: dict[str, tuple[bytes, Version]] = {}

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:  # noqa: ANN401  # of fsspec
        """Return addresses as they are."""
        return path

    def unstrip_protocol(self, name: str) -> str:
        """Return an address as it is."""
        return name

    def info(self, path: str, **_: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return name, size and kind of a file; FileNotFoundError where there is none."""
        return {"name": path, "size": self._beginning(path)[1].size, "type": "file"}

    def isfile(self, path: str) -> bool:
        """Tell whether there is such a file."""
        try:
            self._beginning(path)
        except FileNotFoundError:
            return False
        return True

    def cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        **_: Any,  # noqa: ANN401
    ) -> bytes:
        """Read some bytes of a file."""
        known, version = self._beginning(path)
        begin, stop = start or 0, version.size if end is None else end
        stop = min(stop or 0, version.size or 0)
        if stop <= begin:
            return b""
        if stop <= len(known):
            return known[begin:stop]
        first, content, _version = self._part(path, (begin, stop), version)
        return content[begin - first : stop - first]

    def _beginning(self, path: str) -> tuple[bytes, Version]:
        """Request the beginning of a file, once."""
        if path not in self._known:
            try:
                _first, content, version = self._part(path, (0, _BEGINNING), None)
            except NotThereError as error:
                raise FileNotFoundError(path) from error
            self._known[path] = content[:_BEGINNING], version
        return self._known[path]

    def _part(
        self, path: str, part: tuple[int, int], before: Version | None
    ) -> tuple[int, bytes, Version]:
        """Request a part in the connection of this thread."""
        session = getattr(self._threads, "session", None)
        if session is None:
            session = self._threads.session = self._client.session()
        return _request_part(self._client, session, path, part, before)
