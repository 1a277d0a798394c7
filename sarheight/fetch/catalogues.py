"""Search for Sentinel-1 products and for images of other collections in catalogues."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, TypeAlias

import numpy as np
import pystac
import shapely  # type: ignore[import-untyped]

from sarheight._runtime import library
from sarheight.dem.tiles import Box, Place, bounding_boxes
from sarheight.errors import FetchError, NotThereError, UnsafeAddressError
from sarheight.fetch.addresses import redact
from sarheight.fetch.http import HttpClient, describe_error, refusal_in
from sarheight.fetch.settings import Catalogue, Settings, lookup
from sarheight.fetch.transfer import Checksum

Time: TypeAlias = str | date | datetime | np.datetime64

_ASF_ADDRESS = "https://cmr.earthdata.nasa.gov"
_ASF_LEVELS = {"GRD": ["GRD_HD", "GRD_HS", "GRD_MD", "GRD_MS", "GRD_FD"], "SLC": ["SLC"]}
_DAY = "0000-00-00"
_ITEMS_PER_PAGE = 100
_MANIFESTS = ("safe-manifest", "safe_manifest", "manifest")
_NAME = re.compile(
    r"(?P<mission>S1[A-Z])_(?P<mode>IW|EW|WV|S[1-6])_(?P<kind>GRD|SLC)(?P<resolution>[FHM_])_"
    r"1S(?P<polarisation>SH|SV|DH|DV|HH|HV|VV|VH)_"
    r"(?P<start>\d{8}T\d{6})_(?P<stop>\d{8}T\d{6})_\d{6}_[0-9A-F]{6}(_[0-9A-F]{4})?(_COG)?"
)
_POLARISATIONS = {"SH": ("HH",), "SV": ("VV",), "DH": ("HH", "HV"), "DV": ("VV", "VH")}
_SHOWN = 120
_TIME_TOLERANCE = np.timedelta64(5, "s")
"""By how much catalogues may round the times of a product."""
_WORLD: Box = (-180.0, -90.0, 180.0, 90.0)


# --- times -------------------------------------------------------------------------------------


def parse_time(when: Time, *, end: bool = False) -> datetime:
    """Turn a time into one in UTC; a date means the begin of its day, or its `end`."""
    if isinstance(when, np.datetime64):
        dated = np.datetime_data(when)[0] in {"Y", "M", "W", "D"}
        when = str(when.astype("datetime64[D]" if dated else "datetime64[us]"))
    if isinstance(when, datetime):
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    text = when.isoformat() if isinstance(when, date) else str(when).strip()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a time, expected one such as 2021-04-01 or 2021-04-01T05:26:23"
        raise ValueError(msg) from None
    if len(text) == len(_DAY) and end:
        found = datetime.combine(found.date(), time.max)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def parse_timestamp(text: object) -> np.datetime64 | None:
    """Read a time as catalogues and file names write it; None where it is none."""
    try:
        return np.datetime64(parse_time(str(text)).replace(tzinfo=None), "ns")
    except (ValueError, OverflowError):
        return None


# --- records -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Asset:
    """A file of a product.

    Parameters
    ----------
    name : str
        Its name.
    url : str
        Its address in the catalogue.
    size : int, optional
        Its bytes.
    checksum : Checksum, optional
        Its checksum, where the catalogue states one of a kind that can be computed.
    """

    name: str
    url: str
    size: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True)
class SceneRecord:
    """A Sentinel-1 product in a catalogue.

    Parameters
    ----------
    name : str
        The product's name, without ``.SAFE``.
    catalogue : str
        The catalogue's name in the settings.
    mission : str
        "S1A", "S1B", ...
    mode : str
        "IW", "EW", "WV", or "S1" to "S6".
    product : str
        "GRD" or "SLC".
    start, stop : datetime64
        First and last line (UTC).
    polarisations : tuple of str
        Such as ("VV", "VH").
    passing : str, optional
        "ascending" or "descending".
    relative_orbit : int, optional
        Number of the track, 1 to 175.
    footprint : mapping
        GeoJSON geometry, longitude first.
    assets : tuple of Asset
        The zip of the whole product; or, where each file is stored by itself, its manifest.
    """

    name: str
    catalogue: str
    mission: str
    mode: str
    product: str
    start: np.datetime64
    stop: np.datetime64
    polarisations: tuple[str, ...]
    passing: str | None = None
    relative_orbit: int | None = None
    footprint: Mapping[str, Any] = field(default_factory=dict)
    assets: tuple[Asset, ...] = ()

    @property
    def size(self) -> int | None:
        """All bytes of the assets, where the catalogue states them."""
        known = [asset.size for asset in self.assets if asset.size is not None]
        return sum(known) if known and len(known) == len(self.assets) else None

    @classmethod
    def from_name(cls, name: str, catalogue: str, **facts: Any) -> SceneRecord:  # noqa: ANN401
        """Make a record of a product's name and other attributes.

        Parameters
        ----------
        name : str
            The product's name, with or without ``.SAFE``.
        catalogue : str
            Where the name comes from.
        **facts
            Other attributes; None means unknown, and times are then those of the name.

        Raises
        ------
        ValueError
            If it is not the name of a Sentinel-1 product.
        """
        stem = _stem(name)
        found = _NAME.fullmatch(stem)
        times = {key: parse_timestamp(found[key]) for key in ("start", "stop")} if found else {}
        if found is None or None in times.values():
            msg = (
                f"{name[:_SHOWN]!r} is not the name of a Sentinel-1 product, expected one such as "
                "S1A_IW_GRDH_1SDV_20210401T052623_20210401T052648_037256_04636F_1BEF"
            )
            raise ValueError(msg)
        known: dict[str, Any] = {key: value for key, value in facts.items() if value is not None}
        pair = found["polarisation"]
        return cls(
            name=stem,
            catalogue=catalogue,
            mission=found["mission"],
            mode=found["mode"],
            product=found["kind"],
            polarisations=_POLARISATIONS.get(pair, (pair,)),
            **(times | known),
        )


@dataclass(frozen=True)
class Query:
    """A search in a catalogue: boxes, time span (UTC), and properties of the products."""

    boxes: tuple[Box, ...]
    start: datetime
    stop: datetime
    product: str = "GRD"
    mode: str = "IW"
    passing: str | None = None
    relative_orbit: int | None = None
    mission: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        """Check the values."""
        for key, found, expected in (
            ("product", self.product, ("GRD", "SLC")),
            ("passing", self.passing, ("ascending", "descending", None)),
        ):
            if found not in expected:
                msg = f"{key} is {found!r}, expected {' or '.join(filter(None, expected))}"
                raise ValueError(msg)
        if self.stop < self.start:
            msg = f"the time span ends ({self.stop}) before it begins ({self.start}): swap the two"
            raise ValueError(msg)
        if self.limit < 1:
            msg = f"the limit is {self.limit}, expected 1 or more"
            raise ValueError(msg)

    def matches(self, record: SceneRecord) -> bool:
        """Tell whether a product has the properties of the query."""
        return (
            record.product == self.product
            and record.mode == self.mode
            and self.passing in {None, record.passing}
            and self.relative_orbit in {None, record.relative_orbit}
            and self.mission in {None, record.mission}
        )


# --- search for products -----------------------------------------------------------------------


def scenes(
    place: Place,
    start: Time,
    stop: Time,
    *,
    product: str = "GRD",
    mode: str = "IW",
    passing: str | None = None,
    relative_orbit: int | None = None,
    mission: str | None = None,
    catalogue: str = "copernicus",
    limit: int = 100,
    settings: Settings | None = None,
) -> tuple[SceneRecord, ...]:
    """Search for Sentinel-1 products by place and time.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) or (longitude, latitude) in degrees. Across the antimeridian,
        either west > east or east > 180.
    start, stop : str, date, datetime or datetime64
        Time span (UTC). A date means the whole day.
    product : str, optional
        "GRD" or "SLC".
    mode : str, optional
        "IW", "EW", ...
    passing : str, optional
        "ascending" or "descending".
    relative_orbit : int, optional
        Number of the track, 1 to 175.
    mission : str, optional
        "S1A", "S1B", ...
    catalogue : str, optional
        "copernicus", "asf", "planetary", "earthsearch", or one of your settings.
    limit : int, optional
        Most products to return.
    settings : Settings, optional
        Sources and retry policy; by default as the user's file and the environment say.

    Returns
    -------
    tuple of SceneRecord
        By time. Products whose names are not those of Sentinel-1 products are left out.

    Raises
    ------
    ValueError
        If place, time or properties make no sense, or the catalogue has no such products.
    FetchError
        If the catalogue cannot be searched.
    MissingLibraryError
        If a library of the extra is not installed.
    """
    settings = settings or Settings.load()
    source = lookup(settings.catalogues, catalogue, "catalogue")
    query = Query(
        bounding_boxes(place),
        parse_time(start),
        parse_time(stop, end=True),
        product.upper(),
        mode.upper(),
        None if passing is None else passing.lower(),
        relative_orbit,
        None if mission is None else mission.upper(),
        limit,
    )
    collection = source.collection(query.product)
    if collection is None:
        msg = f"the catalogue {catalogue} has no {query.product}: try copernicus or asf"
        raise ValueError(msg)
    client = HttpClient.trusting(settings, source.url)
    found: dict[str, SceneRecord] = {}
    for record in (_search_asf if source.kind == "asf" else _search_stac)(
        client, catalogue, source, collection, query
    ):
        if record is not None and query.matches(record):
            found[record.name] = record
            if len(found) >= limit:
                break
    return tuple(sorted(found.values(), key=lambda each: (each.start, each.name)))


def scene_named(
    name: str, *, catalogue: str = "copernicus", settings: Settings | None = None
) -> SceneRecord:
    """Search for one product by its name.

    Parameters
    ----------
    name : str
        Name of the product, with or without ``.SAFE``, ``_COG`` and the four digits at the end,
        which catalogues add or leave out.
    catalogue, settings
        As in `scenes`.

    Returns
    -------
    SceneRecord
        The product, under the name that the catalogue gives it.

    Raises
    ------
    ValueError
        If it is not the name of a Sentinel-1 product.
    NotThereError
        If the catalogue does not have it.
    FetchError
        If the catalogue cannot be searched.
    """
    parsed = SceneRecord.from_name(name, "as given")
    found = scenes(
        _WORLD,
        parsed.start - _TIME_TOLERANCE,
        parsed.stop + _TIME_TOLERANCE,
        product=parsed.product,
        mode=parsed.mode,
        mission=parsed.mission,
        catalogue=catalogue,
        settings=settings,
    )

    def stem(full: str) -> str:  # the part that all catalogues give
        return re.sub(r"(_[0-9A-F]{4})?(_COG)?$", "", full)

    for record in found:
        if stem(record.name) == stem(parsed.name):
            return record
    msg = f"the catalogue {catalogue} does not have {parsed.name}: try another one"
    raise NotThereError(msg)


def _record(identifier: object, catalogue: str, **facts: Any) -> SceneRecord | None:  # noqa: ANN401
    """Make a record of what a catalogue says of a product; warn of what is none."""
    passing, track = str(facts.pop("passing")).lower(), facts.pop("track")
    try:
        return SceneRecord.from_name(
            require_identifier(identifier),
            catalogue,
            start=parse_timestamp(facts.pop("start")),
            stop=parse_timestamp(facts.pop("stop")),
            passing=passing if passing in {"ascending", "descending"} else None,
            relative_orbit=track if isinstance(track, int) else None,
            **facts,
        )
    except ValueError as error:
        warnings.warn(f"the catalogue {catalogue} lists {error}; it was left out", stacklevel=2)
        return None


def _stem(identifier: object) -> str:
    """Return the name of a product without the ending of its folder."""
    return str(identifier).removesuffix(".SAFE")


def _search_stac(
    client: HttpClient, name: str, source: Catalogue, collection: str, query: Query
) -> Iterator[SceneRecord | None]:
    """Search a STAC catalogue; pass and track are compared here, as servers differ in asking."""
    for found in stac_items(client, source, collection, query):
        item = mapping(found)
        properties = mapping(item.get("properties"))
        yield _record(
            item.get("id"),
            name,
            start=properties.get("start_datetime"),
            stop=properties.get("end_datetime"),
            passing=properties.get("sat:orbit_state"),
            track=properties.get("sat:relative_orbit"),
            footprint=mapping(item.get("geometry")),
            assets=_product_asset(mapping(item.get("assets")), _stem(item.get("id")), source),
        )


def _product_asset(assets: Mapping[str, Any], name: str, source: Catalogue) -> tuple[Asset, ...]:
    """Return the zip of a product, or its manifest."""
    archive = source.layout == "archive"
    keys = {source.archive.lower()} if archive else set(_MANIFESTS)
    for key, value in assets.items():
        asset = mapping(value)
        if key.lower() in keys and asset.get("href"):
            size = asset.get("file:size")
            return (
                Asset(
                    f"{name}.zip" if archive else "manifest.safe",
                    str(asset["href"]),
                    size if isinstance(size, int) and size > 0 else None,
                    Checksum.from_multihash(asset.get("file:checksum", "")),
                ),
            )
    return ()


def mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping as it is, and an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def require_identifier(found: object) -> str:
    """Return the identifier of an item; UnsafeAddressError where it is a path."""
    text = str(found)
    if not text.isprintable() or re.search(r"[/\\]|^\.+$", text):
        msg = (
            f"the catalogue names an item {text[:_SHOWN]!r}, which is a path, expected an "
            "identifier: do not trust that catalogue"
        )
        raise UnsafeAddressError(msg)
    return text


def stac_items(
    client: HttpClient, source: Catalogue, collection: str, query: Query
) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a collection at a place and in a time, as a STAC catalogue gives them."""
    stac_client = library("pystac_client")
    errors = (
        library("pystac_client.exceptions").APIError,
        library("pystac_client.errors").ClientTypeError,
        library("pystac_client.warnings").DoesNotConformTo,
        *(pystac.STACError, pystac.STACTypeError),
        *(LookupError, ValueError, TypeError, AttributeError, RuntimeError),
    )
    with _translated_errors(source.url, errors):
        stac_io = _checked_io(client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the catalogue describes itself
            catalogue = stac_client.Client.open(source.url, stac_io=stac_io)
        for west, south, east, north in query.boxes:
            point = (west, south) == (east, north)  # not all servers take a box without extent
            search = catalogue.search(
                collections=[collection],
                bbox=None if point else (west, south, east, north),
                intersects={"type": "Point", "coordinates": [west, south]} if point else None,
                datetime=(query.start, query.stop),
                limit=_ITEMS_PER_PAGE,
            )
            for page in search.pages_as_dicts():
                yield from page.get("features", [])


@contextmanager
def _translated_errors(url: str, kinds: tuple[type[Exception], ...]) -> Iterator[None]:
    """Turn errors of the library of a catalogue into FetchError."""
    try:
        yield
    except kinds as error:
        status = getattr(error, "status_code", None)
        if status:
            reason = f"it answered HTTP {status}"
        else:
            reason = f"it is no catalogue with a search, or fails ({describe_error(error)})"
        msg = f"the catalogue {redact(url)} could not be searched: {reason}"
        raise refusal_in(error) or FetchError(msg) from None


def _checked_io(client: HttpClient) -> Any:  # noqa: ANN401  # of pystac_client
    """Return what requests the pages of a catalogue, and opens no file that one links to."""
    stac_api_io = library("pystac_client.stac_api_io")

    class CheckedIO(stac_api_io.StacApiIO):  # type: ignore[misc, name-defined]
        def read_text(self, source: Any, *arguments: Any, **options: Any) -> str:  # noqa: ANN401
            if isinstance(source, str):
                client.check(source)
            text: str = super().read_text(source, *arguments, **options)
            return text

    stac_io = CheckedIO(timeout=client.timeout)
    client.configure(stac_io.session, paged=True)
    return stac_io


def _search_asf(
    client: HttpClient, name: str, source: Catalogue, collection: str, query: Query
) -> Iterator[SceneRecord | None]:
    """Search the catalogue of the Alaska Satellite Facility by its own library."""
    asf: Any = library("asf_search")
    asf.REPORT_ERRORS = False  # or failed searches go to its makers, with the place
    logging.getLogger("asf_search").setLevel(logging.ERROR)
    session = asf.ASFSession()
    client.configure(session, paged=True, replace=(_ASF_ADDRESS, source.url.rstrip("/")))
    errors = (asf.exceptions.ASFError, OSError, KeyError, TypeError, ValueError)
    for box in query.boxes:
        shape = shapely.Point(box[:2]) if box[:2] == box[2:] else shapely.box(*box)
        with _translated_errors(source.url, errors), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about libraries that it uses
            found = list(
                asf.search(
                    platform=["SENTINEL-1"],
                    processingLevel=_ASF_LEVELS[collection],
                    beamMode=[query.mode],
                    intersectsWith=None if box == _WORLD else shape.wkt,
                    start=query.start,
                    end=query.stop,
                    flightDirection=query.passing and query.passing.upper(),
                    relativeOrbit=query.relative_orbit,
                    maxResults=query.limit,
                    session=session,
                )
            )
        yield from (_asf_record(each, name) for each in found)


def _asf_record(product: Any, name: str) -> SceneRecord | None:  # noqa: ANN401  # of asf_search
    """Make a record of what the Alaska Satellite Facility found."""
    facts: Mapping[str, Any] = product.properties
    identifier, size, url = facts.get("sceneName"), facts.get("bytes"), facts.get("url")
    size = int(size) if isinstance(size, int | float) and size > 0 else None
    checksum = Checksum.parse("md5", facts.get("md5sum"))
    return _record(
        identifier,
        name,
        start=facts.get("startTime"),
        stop=facts.get("stopTime"),
        passing=facts.get("flightDirection"),
        track=facts.get("pathNumber"),
        footprint=dict(product.geometry or {}),
        assets=(Asset(f"{_stem(identifier)}.zip", str(url), size, checksum),) if url else (),
    )
