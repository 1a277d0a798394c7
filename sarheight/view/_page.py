"""The page, and the server that shows it to a browser on this machine."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
import time
import webbrowser
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyproj

from sarheight.acquisition import acquisitions, geometries
from sarheight.errors import OutputError
from sarheight.view._layers import POLARISATION, TILE, TIME, ResultView
from sarheight.view._places import Dem, Places

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    import xarray as xr

    from sarheight.grid import RadarGrid
    from sarheight.orbit import Orbit

HOST = "127.0.0.1"
NODES = 33
"""Rows and columns of the table from which the page interpolates longitude and latitude."""


def serve(
    result: str | os.PathLike[str] | xr.Dataset,
    *,
    dem: Dem | None = None,
    geometry: Sequence[tuple[RadarGrid, Orbit]] | None = None,
    port: int = 0,
    browser: bool = True,
    announce: Callable[[str], None] = print,
) -> None:
    """Show a result in a browser, until the program is interrupted.

    Only programs on this machine can open the page. Tiles are read when they are looked at, at
    the resolution of the screen, so that a scene of any size responds at once; a GeoTIFF or a
    folder of layers has overviews for it, of other formats they are made in memory.

    Parameters
    ----------
    result : path-like or xarray.Dataset
        What `sarheight.output.write` has written, or a Dataset on a map grid.
    dem : xarray.DataArray or callable, optional
        Heights above the ellipsoid in metres, dims (y, x), any grid; or a function that returns
        those within west, south, east, north in degrees, so that a large DEM is read in parts.
        Needed for places that share pixels where the result does not hold its heights.
    geometry : sequence of (RadarGrid, Orbit), optional
        Sampling and orbit of each pass, where the result does not hold them.
    port : int
        Port of the page; by default a free one.
    browser : bool
        Whether to open the page in a browser.
    announce : callable
        Is called with the address of the page.

    Raises
    ------
    FileNotFoundError, DamagedFileError
        If the result cannot be read.
    ValueError
        If it is not on a map grid.
    OutputError
        If the port is in use, or may not be used.
    """
    view, places = _open(result, dem, geometry)
    with closing(view), page_server(view, places, port) as server:
        address = f"http://{HOST}:{server.server_address[1]}/"
        announce(address)
        if browser:
            webbrowser.open(address)
        server.serve_forever()


def _open(
    result: str | os.PathLike[str] | xr.Dataset,
    dem: Dem | None,
    geometry: Sequence[tuple[RadarGrid, Orbit]] | None,
) -> tuple[ResultView, Places]:
    """Open a result with all that is known of its geometry."""
    view = ResultView.open(result)
    passes = geometries(view.dataset.attrs) if geometry is None else list(geometry)
    if geometry is None and len(passes) != view.size(TIME):
        passes = []  # of a series that was joined along time, attributes are those of one date
    places = Places(view, passes, dem)
    if dem is not None:
        view.use_heights(places.relief)
    return view, places


# The description of a result, from which the page builds its menus.


def _describe(view: ResultView, places: Places) -> dict[str, Any]:
    """Describe a result in a form that JSON holds."""
    down, across = view.steps
    x, y = (float(each) for each in view.coordinates(0, 0))
    nodes = [np.linspace(0, size - 1, NODES) for size in view.shape]
    longitude, latitude = view.places(*np.meshgrid(*nodes, indexing="ij"))
    attributes = view.dataset.attrs
    return {
        "name": view.name,
        "title": str(attributes.get("title", "")),
        "simulated": "simulated" in attributes,
        "shape": list(view.shape),
        "cell": list(view.cell_size),
        "x": [x, across],
        "y": [y, down],
        "crs": _crs_name(view.crs),
        "longitude": np.round(longitude, 7).ravel().tolist(),
        "latitude": np.round(latitude, 7).ravel().tolist(),
        "nodes": NODES,
        "north": _north(view),
        "tile": TILE,
        "levels": view.levels,
        "times": _labels(view, TIME),
        "polarisations": _labels(view, POLARISATION),
        "looks": _look_azimuths(view),
        "acquisition": _acquisition(attributes),
        "quantities": [
            {
                "name": one.name,
                "label": one.label,
                "kind": one.kind,
                "unit": one.unit,
                "palette": one.palette,
                "note": one.note,
                "classes": [[v, label, _colour(colour)] for v, label, colour in one.classes],
            }
            for one in view.quantities
        ],
        "layers": [
            [one.quantity, one.entry.get(TIME, -1), one.entry.get(POLARISATION, -1)]
            for one in view.layers
        ],
        "palettes": {name: _palette(name) for name in ("grey", "viridis")},
        "problem": places.problem,
    }


def _labels(view: ResultView, dimension: str) -> list[str]:
    """Return dates or polarisations as text; none where the result does not name them."""
    if dimension not in view.dataset.coords:
        return []
    values = np.atleast_1d(view.dataset[dimension].values)
    if values.dtype.kind == "M":
        return [f"{text.replace('T', ' ')} UTC" for text in np.datetime_as_string(values, unit="s")]
    return [str(value) for value in values]


def _look_azimuths(view: ResultView) -> list[float]:
    """Return the direction from the radar to the ground of each date, degrees from north."""
    found: Any = view.dataset.attrs.get("look_azimuth")
    if "look_azimuth" in view.dataset.coords:
        found = view.dataset["look_azimuth"].values
    try:
        return [] if found is None else [float(each) for each in np.atleast_1d(found)]
    except (TypeError, ValueError):
        return []


def _acquisition(attributes: dict[Any, Any]) -> list[str]:
    """Say in a line how each image was taken."""
    try:
        records = acquisitions(attributes)
        fields = ("mission", "mode", "product", "orbit_state")
        return [" ".join(str(one[name]) for name in fields if one.get(name)) for one in records]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def _crs_name(crs: pyproj.CRS) -> str:
    authority = crs.to_authority()
    return f"{crs.name} ({':'.join(authority)})" if authority else crs.name


def _north(view: ResultView) -> float:
    """Return the azimuth of the upward direction in the middle, degrees from north."""
    row, column = (0.5 * (size - 1) for size in view.shape)
    longitude, latitude = view.places([row + 0.5, row - 0.5], [column, column])
    azimuth, _, _ = pyproj.Geod(ellps="WGS84").inv(
        longitude[0], latitude[0], longitude[1], latitude[1]
    )
    return float(azimuth)


def _colour(colour: str) -> str:
    """Return a colour as #rrggbb, grey for what is none."""
    from matplotlib.colors import is_color_like, to_hex

    return to_hex(colour) if is_color_like(colour) else "#808080"


@cache
def _palette(name: str) -> str:
    """Return 256 colours as hexadecimal text."""
    from matplotlib import colormaps

    colours = colormaps["gray" if name == "grey" else name](np.arange(256), bytes=True)
    return bytes(np.asarray(colours)[:, :3].tobytes()).hex()


def _assemble(description: dict[str, Any]) -> str:
    """Put the parts of the page together."""
    folder = files("sarheight.view")
    page = (folder / "page.html").read_text(encoding="utf-8")
    parts = {
        "/*style*/": (folder / "page.css").read_text(encoding="utf-8"),
        "/*script*/": (folder / "page.js").read_text(encoding="utf-8"),
        "/*description*/": _script_json(description),
    }
    # In one pass, so that nothing in a name is taken for another mark.
    marks = re.compile("|".join(map(re.escape, parts)))
    return marks.sub(lambda mark: parts[mark.group()], page)


def _script_json(value: Any) -> str:  # noqa: ANN401
    """Write JSON that cannot end the element of the page that holds it."""
    text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _finite(value: Any) -> Any:  # noqa: ANN401
    """Replace numbers that JSON does not have by None."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


# The server.

NUMBER = r"(\d{1,9})"
TILE_PATH = re.compile(rf"/tile/{NUMBER}/{NUMBER}/{NUMBER}/{NUMBER}")
LIMITS_PATH = re.compile(rf"/limits/{NUMBER}")
PLACES_PATH = re.compile(rf"/places/{NUMBER}/{NUMBER}/{NUMBER}/{NUMBER}")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML, JSON, BYTES = "text/html; charset=utf-8", "application/json", "application/octet-stream"
TEXT = "text/plain; charset=utf-8"
SLOWEST = 10.0
"""Seconds in which a request must come, and its answer be taken."""
BUSIEST = 8.0
"""Seconds that a request waits for its turn before it is refused."""
MOST_CONNECTIONS, MOST_THREADS = 512, 4
LARGEST_REQUEST = 1 << 16
WAITING = 1024
"""Connections that the system keeps until they are accepted."""
HTTP_PORT, LAST_PORT = 80, 65_535
"""The port that the address of a page does not name, and the last one."""


class PageServer:
    """Serves one result to this machine.

    One thread talks to all clients, so that slow ones hold up nobody; a few read the tiles.
    """

    def __init__(self, view: ResultView, places: Places, port: int) -> None:
        self.view, self.places = view, places
        self.page = _assemble(_describe(view, places)).encode()
        self.connections = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.ended = asyncio.Event()
        self.socket = socket.create_server((HOST, port), backlog=WAITING)
        self.server_address: tuple[str, int] = self.socket.getsockname()
        self.threads = ThreadPoolExecutor(MOST_THREADS, "sarheight-view")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(cancel_futures=True)
        self.socket.close()

    def serve_forever(self) -> None:
        """Answer requests until the program is interrupted, or `shutdown` is called."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._talk, sock=self.socket, limit=LARGEST_REQUEST)
        try:
            await self.ended.wait()
        finally:
            server.close()

    def shutdown(self) -> None:
        """End `serve_forever`, which another thread runs."""
        while self.loop is None:
            time.sleep(0.01)
        self.loop.call_soon_threadsafe(self.ended.set)

    @property
    def hosts(self) -> set[str]:
        """Names by which a browser on this machine calls the server."""
        port = self.server_address[1]
        names = {HOST, "localhost"}
        return {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        transport = writer.transport
        transport.set_write_buffer_limits(0)  # so that draining takes until all is sent
        self.connections += 1
        try:
            lasting = True
            while lasting:
                async with asyncio.timeout(SLOWEST):
                    head = await reader.readuntil(b"\r\n\r\n")
                reply, lasting = await self._reply(head.decode("latin-1"))
                async with asyncio.timeout(SLOWEST):
                    writer.write(reply)
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            transport.abort()  # a slow client, or one that no longer wants it
        finally:
            self.connections -= 1
            writer.close()

    async def _reply(self, head: str) -> tuple[bytes, bool]:
        """Answer a request by its head; tell whether the connection may last."""
        lines = head.split("\r\n")
        method, _, rest = lines[0].partition(" ")
        headers = {
            name.strip().lower(): text.strip()
            for name, _, text in (line.partition(":") for line in lines[1:])
        }
        closing = headers.get("connection", "").lower() == "close"
        lasting = not closing and not {"content-length", "transfer-encoding"} & set(headers)
        # A page of another site that has its name point here would send that name.
        refused = {
            HTTPStatus.NOT_IMPLEMENTED: method != "GET",
            HTTPStatus.FORBIDDEN: headers.get("host") not in self.hosts,
            HTTPStatus.SERVICE_UNAVAILABLE: self.connections > MOST_CONNECTIONS,
        }
        for status, applies in refused.items():
            if applies:
                return _message(status, TEXT, status.description.encode()), False
        path = rest.partition(" ")[0].partition("?")[0]
        return await self._found(path), lasting

    async def _found(self, path: str) -> bytes:
        """Look up a path in one of the threads, within a time."""
        try:
            async with asyncio.timeout(BUSIEST):
                loop = asyncio.get_running_loop()
                found = await loop.run_in_executor(self.threads, self.answer, path)
        except IndexError:
            found = None
        except TimeoutError:
            return _message(HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"too many requests")
        except Exception as error:  # noqa: BLE001  # a damaged file is the browser's to hear of
            text = f"{type(error).__name__}: {error}".encode()
            return _message(HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, text)
        if found is None:
            return _message(HTTPStatus.NOT_FOUND, TEXT, b"nothing here")
        return _message(HTTPStatus.OK, *found)

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return the type and content at a path; None where there is nothing.

        It reads no files by name.
        """
        view = self.view
        if path == "/":
            return HTML, self.page
        if found := TILE_PATH.fullmatch(path):
            values = view.tile(*map(int, found.groups()))
            return BYTES, values.astype("<f4").tobytes()
        if found := LIMITS_PATH.fullmatch(path):
            layer = int(found.group(1))
            if layer >= len(view.layers):
                raise IndexError(layer)
            return JSON, json.dumps(view.limits(layer)).encode()
        if found := PLACES_PATH.fullmatch(path):
            row, column, date, polarisation = map(int, found.groups())
            sizes = (*view.shape, view.size(TIME), view.size(POLARISATION))
            if any(n >= s for n, s in zip((row, column, date, polarisation), sizes, strict=True)):
                raise IndexError(row, column)
            entry = {TIME: date, POLARISATION: polarisation}
            return JSON, _script_json(self.places.at(row, column, entry)).encode()
        return None


def _message(status: HTTPStatus, kind: str, content: bytes) -> bytes:
    """Write an answer as HTTP has it."""
    headers = {
        "Content-Type": kind,
        "Content-Length": len(content),
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
    lines += [f"{name}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + content


def page_server(view: ResultView, places: Places, port: int = 0) -> PageServer:
    """Make the server of a result; raise OutputError where the port cannot be used."""
    if not 0 <= port <= LAST_PORT:
        msg = f"found port {port}, expected one from 1024 to {LAST_PORT}, or 0 for a free one"
        raise OutputError(msg)
    try:
        return PageServer(view, places, port)
    except PermissionError as error:
        msg = f"port {port} is for programs of the administrator: pass 1024 to 65535, or none"
        raise OutputError(msg) from error
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        reason = "is in use by another program" if taken else f"cannot be used ({error})"
        msg = f"port {port} {reason}: pass another one, or none for a free one"
        raise OutputError(msg) from error
