"""The page, and the server that shows it to a browser on this machine."""

from __future__ import annotations

import errno
import json
import re
import webbrowser
from contextlib import closing
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import TYPE_CHECKING, Any

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
        If the port is in use.
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


class PageServer(ThreadingHTTPServer):
    """Serves one result to this machine."""

    daemon_threads = True

    def __init__(self, view: ResultView, places: Places, port: int) -> None:
        self.view, self.places = view, places
        self.page = _assemble(_describe(view, places)).encode()
        super().__init__((HOST, port), Handler)

    @property
    def hosts(self) -> set[str]:
        """Names by which a browser on this machine calls the server."""
        port = self.server_address[1]
        return {f"{HOST}:{port}", f"localhost:{port}"}

    def answer(self, path: str) -> tuple[str, bytes] | None:
        """Return the type and content at a path; None where there is nothing."""
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


class Handler(BaseHTTPRequestHandler):
    """Answers requests for the page and its tiles; reads no files by name."""

    server: PageServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a request."""
        # A page of another site that has its name point here would send that name.
        if self.headers.get("Host") not in self.server.hosts:
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"expected a request to 127.0.0.1")
            return
        try:
            found = self.server.answer(self.path.partition("?")[0])
        except IndexError:
            found = None
        except Exception as error:  # noqa: BLE001  # a damaged file is the browser's to hear of
            text = f"{type(error).__name__}: {error}".encode()
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text)
            return
        if found is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"nothing here")
        else:
            self._send(HTTPStatus.OK, *found)

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the browser no longer wants it

    def log_message(self, *_: object) -> None:
        """Keep the terminal free of requests."""


def page_server(view: ResultView, places: Places, port: int = 0) -> PageServer:
    """Make the server of a result; raise OutputError where the port is in use."""
    try:
        return PageServer(view, places, port)
    except (OSError, OverflowError) as error:
        taken = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "is in use by another program" if taken else f"cannot be used ({error})"
        msg = f"port {port} {reason}: pass another one, or none for a free one"
        raise OutputError(msg) from error
