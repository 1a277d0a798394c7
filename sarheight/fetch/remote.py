"""Images on servers, read in parts by GDAL through our own client.

GDAL follows a redirect wherever it leads, into the user's network too. So it is given no address:
it reads from a Python object, each of whose requests is checked as those of downloads are.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import requests
from rasterio.errors import RasterioError

from sarheight._rasters import open_alone
from sarheight.errors import FetchError
from sarheight.fetch.addresses import redact
from sarheight.fetch.http import HttpClient, Version, translated_errors

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
        self.failures.clear()
        try:
            with open_alone(self.name, (self.driver,), opener=self) as dataset:
                yield dataset
        except (RasterioError, OSError) as error:
            raise (self.failures or [error])[0] from None
        if self.failures:
            raise self.failures[0]


class _RemoteFile(io.RawIOBase):
    """A file on a server; what is read of it is requested then.

    GDAL loses exceptions: they are kept among `failures`, and the file ends there.
    """

    def __init__(self, client: HttpClient, url: str, failures: list[Exception]) -> None:
        self._client, self._url, self._failures = client, url, failures
        self._session = client.session()
        self._version: Version | None = None
        self._place = 0
        self._begin, self._bytes = 0, b""
        self._request(0, _AHEAD)

    @property
    def size(self) -> int:
        """Its bytes."""
        return (self._version and self._version.size) or 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be read anywhere."""
        return True

    def tell(self) -> int:
        """Return the place of the next byte."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the beginning, from here, or from the end."""
        self._place = offset + {io.SEEK_CUR: self._place, io.SEEK_END: self.size}.get(whence, 0)
        return self._place

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # any that bytes can be written to
        """Read as many bytes as fit into a buffer or are left; none where that fails."""
        begin, end = self._place, min(self._place + len(buffer), self.size)
        if begin >= end:
            return 0
        if begin < self._begin or end > self._begin + len(self._bytes):
            try:
                self._request(begin, max(end, begin + _AHEAD))
            except Exception as error:  # noqa: BLE001  # raised once GDAL has returned
                self._failures.append(error)
                return 0
        buffer[: end - begin] = self._bytes[begin - self._begin : end - self._begin]
        self._place = end
        return end - begin

    def close(self) -> None:
        """Close the connection."""
        self._session.close()
        super().close()

    def _request(self, begin: int, end: int) -> None:
        """Request a part, and keep it: the whole file, from servers that send no parts."""
        self._client.check(self._url)
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={begin}-{end - 1}"}
        with translated_errors(self._url):
            reply = self._session.get(self._url, headers=headers, timeout=self._client.timeout)
        first, version = Version.of(self._url, reply)
        content = reply.content
        if reply.status_code == requests.codes.ok:
            version = replace(version, size=len(content))
        elif reply.status_code != requests.codes.partial_content:
            raise self._client.status_error(reply)
        if self._version is not None and not self._version.agrees(version):
            msg = f"{redact(self._url)} has changed while it was read: read it again"
            raise FetchError(msg)
        size = version.size
        if size is None or first not in {0, begin} or first + len(content) < min(end, size):
            msg = (
                f"{redact(self._url)} sent other bytes than the requested {begin} to {end}: the "
                "server is not fit for reading parts of files, download it"
            )
            raise FetchError(msg)
        self._version, self._begin, self._bytes = version, first, content
