"""A web server on this machine that can be as good or as bad as a test wants."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from sarheight.fetch.settings import Network, Settings

CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
]
BARE = {"type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "", "links": []}
"""A catalogue with nothing in it."""


@dataclass
class Trouble:
    """What goes wrong with one request."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    """Close the connection after so many bytes, though more were announced."""
    pause: tuple[int, float] | None = None
    """After so many bytes, say nothing for so many seconds."""


@dataclass
class Request:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Reply:
    """An answer that a function gives."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Document:
    """A file on the server."""

    body: bytes
    etag: str | None = None
    modified: str | None = None
    ranges: bool = True
    announce: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    authorisation: str | None = None
    """What the header must be, for instance `basic("user", "password")`."""
    troubles: list[Trouble] = field(default_factory=list)
    """One for each of the next requests."""
    pace: float | None = None
    """Seconds for each 64 kB."""


@dataclass
class Raw:
    """Bytes as they go over the line, headers included, as long as the client takes them."""

    blocks: Callable[[], Iterator[bytes]]
    pause: float = 0.0
    """Seconds before each block."""


T = TypeVar("T")
Page = Document | Raw | Callable[[Request], Reply]


class Site:
    """A running server."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.port = int(server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []
        self.lock = threading.Lock()

    def add(self, path: str, body: bytes, **options: Any) -> str:  # noqa: ANN401
        """Put a file on the server, and return its address."""
        self.pages[path] = Document(body, **options)
        return self.url + path

    def document(self, path: str) -> Document:
        page = self.pages[path]
        assert isinstance(page, Document)
        return page

    def fail(self, path: str, *troubles: Trouble) -> None:
        """Let the next requests for a file go wrong."""
        self.document(path).troubles = [*troubles]

    def asked(self, path: str) -> list[Request]:
        """List the requests for a path."""
        return [request for request in self.requests if request.path == path]


@contextmanager
def running() -> Iterator[Site]:
    """Run a server in a thread of its own."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    site = Site(server)
    server.site = site  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def alone(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    tries: int = 4,
    **groups: Any,  # noqa: ANN401
) -> Settings:
    """Keep the user's files and variables out of a test, and be quick about failures.

    `groups` are sources; there are none by default.
    """
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(folder / "home"))
    monkeypatch.setenv("NETRC", str(folder / "netrc"))
    monkeypatch.setenv("SARHEIGHT_CACHE", str(folder / "cache"))
    foreign = ("CDSE_", "EARTHDATA_", "AWS_", "SARHEIGHT_FETCH", "SARHEIGHT_OFFLINE")
    for name in list(os.environ):
        if name.startswith(foreign) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_VSIL_CURL_ALLOWED_FILENAME", "none")  # GDAL requests nothing itself
    network = Network(
        tries=tries, backoff=0.01, longest_wait=3.0, connect_timeout=2.0, read_timeout=0.4
    )
    return Settings(network=network, **groups)


def at_once(work: Callable[[], T], count: int = 4) -> list[T]:
    """Do the same in several threads; return what they found."""
    with ThreadPoolExecutor(count) as pool:
        return [each.result() for each in [pool.submit(work) for _ in range(count)]]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def multihash(body: bytes, kind: str = "md5") -> str:
    beginning = {"md5": "d50110", "sha256": "1220", "sha512": "1340"}[kind]
    return beginning + hashlib.new(kind, body).hexdigest()


def zip_of(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Pack files by their names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return stream.getvalue()


def seconds_from_now(seconds: float) -> str:
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that leave early."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def _answer(self) -> None:
        site: Site = self.server.site  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        request = Request(
            self.command, parts.path, query, dict(self.headers), self.rfile.read(length)
        )
        with site.lock:
            site.requests.append(request)
        page = site.pages.get(parts.path)
        try:
            if page is None:
                self._send(404, {}, b"nothing here")
            elif isinstance(page, Document):
                self._document(site, page)
            elif isinstance(page, Raw):
                self.close_connection = True
                for block in page.blocks():
                    time.sleep(page.pause)
                    self.wfile.write(block)
                    self.wfile.flush()
            else:
                reply = page(request)
                self._send(reply.status, reply.headers, reply.body)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815  # as the library calls them

    def _document(self, site: Site, page: Document) -> None:
        with site.lock:
            trouble = page.troubles.pop(0) if page.troubles else Trouble()
        wanted = page.authorisation
        if wanted is not None and self.headers.get("Authorization") != wanted:
            self._send(401, {"WWW-Authenticate": "Basic"}, b"who are you?")
            return
        if trouble.status is not None:
            self._send(trouble.status, trouble.headers, b"no")
            return
        headers = {"Accept-Ranges": "bytes"} if page.ranges else {}
        headers |= {"ETag": page.etag} if page.etag else {}
        headers |= {"Last-Modified": page.modified} if page.modified else {}
        headers |= page.headers
        first, last = self._range(page)
        if first is None:
            self._send(200, headers, page.body, page, trouble)
        elif first >= len(page.body):
            self._send(416, {"Content-Range": f"bytes */{len(page.body)}"}, b"")
        else:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(page.body)}"
            self._send(206, headers, page.body[first : last + 1], page, trouble)

    def _range(self, page: Document) -> tuple[int | None, int]:
        text = self.headers.get("Range", "")
        if not page.ranges or not text.startswith("bytes="):
            return None, 0
        condition = self.headers.get("If-Range")
        if condition is not None and condition not in {page.etag, page.modified}:
            return None, 0
        first, _, last = text.removeprefix("bytes=").partition("-")
        return int(first), min(int(last or len(page.body)), len(page.body) - 1)

    def _send(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        page: Document | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if page is None or page.announce:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command == "HEAD":
            return
        self._body(body, page, trouble or Trouble())

    def _body(self, body: bytes, page: Document | None, trouble: Trouble) -> None:
        step = 1 << 16
        stops = {trouble.drop_after, trouble.pause[0] if trouble.pause else None} - {None}
        cuts = sorted({*range(0, len(body), step), len(body), *stops})
        for begin, end in zip(cuts, [*cuts[1:], len(body)], strict=True):
            if trouble.drop_after is not None and begin >= trouble.drop_after:
                self.close_connection = True
                self.wfile.flush()
                return
            if trouble.pause is not None and begin == trouble.pause[0]:
                time.sleep(trouble.pause[1])
            self.wfile.write(body[begin:end])
            if page is not None and page.pace:
                self.wfile.flush()
                time.sleep(page.pace)


def add_stac(site: Site, items: list[dict[str, Any]], path: str = "/stac", page: int = 100) -> str:
    """Put a STAC catalogue on the server, and return its address."""
    root = site.url + path

    links = [{"rel": rel, "href": root, "type": "application/json"} for rel in ("root", "self")]
    found_by = {"href": f"{root}/search", "type": "application/geo+json", "method": "POST"}
    catalogue = BARE | {"conformsTo": CONFORMS, "links": [*links, {"rel": "search"} | found_by]}

    def search(request: Request) -> Reply:
        asked = json.loads(request.body)
        found = [item for item in items if _matches(item, asked)]
        first = int(asked.get("token", 0))
        links = []
        if first + page < len(found):
            following = asked | {"token": first + page}
            links = [{"rel": "next", "href": f"{root}/search", "method": "POST", "body": following}]
        features = found[first : first + page]
        return _json({"type": "FeatureCollection", "features": features, "links": links})

    site.pages[path] = lambda _: _json(catalogue)
    site.pages[f"{path}/search"] = search
    return root


def _json(value: object) -> Reply:
    return Reply(json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _matches(item: dict[str, Any], asked: dict[str, Any]) -> bool:
    if item["collection"] not in asked.get("collections", [item["collection"]]):
        return False
    west, south, east, north = item["bbox"]
    box = asked.get("bbox")
    if "intersects" in asked:
        box = [*asked["intersects"]["coordinates"]] * 2
    if box and (west > box[2] or east < box[0] or south > box[3] or north < box[1]):
        return False
    first, _, last = asked.get("datetime", "/").partition("/")
    when = item["properties"]["datetime"]
    return (not first or when >= first) and (not last or when <= last)


def stac_item(
    name: str,
    *,
    when: str = "2021-04-01T05:26:23Z",
    bbox: tuple[float, float, float, float] = (10.0, 45.0, 13.0, 47.0),
    collection: str = "sentinel-1-grd",
    passing: str | None = "descending",
    track: int | None = 168,
    assets: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a product as a catalogue does."""
    west, south, east, north = bbox
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties: dict[str, Any] = {
        "datetime": when,
        "start_datetime": when,
        "end_datetime": when.replace(":23Z", ":48Z"),
        "sat:orbit_state": passing,
        "sat:relative_orbit": track,
    }
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "collection": collection,
        "bbox": list(bbox),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "links": [],
        "assets": dict(assets or {}),
    }
