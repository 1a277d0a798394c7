"""Catalogues that speak STAC."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sarheight._runtime import library
from sarheight.errors import FetchError
from sarheight.fetch._addresses import plain
from sarheight.fetch._checksums import Checksum
from sarheight.fetch._patience import in_words, unsafe_in
from sarheight.fetch._records import Asset, SceneRecord, scene_time

if TYPE_CHECKING:
    from sarheight.fetch._query import Query
    from sarheight.fetch._settings import Catalogue
    from sarheight.fetch._web import Web

__all__ = ["search_items", "search_stac"]

_PAGE = 100
_MANIFESTS = ("safe-manifest", "safe_manifest", "manifest")


def search_stac(
    web: Web, name: str, source: Catalogue, collection: str, query: Query
) -> Iterator[SceneRecord]:
    """Ask a STAC catalogue; see `sarheight.fetch.scenes`.

    Pass and track are looked at here and not asked of the server: servers differ in how they want
    to be asked.
    """
    found = 0
    for item in search_items(web, source, collection, query):
        record = _record(_mapping(item), name, source)
        if record is None or not query.wants(record):
            continue
        yield record
        found += 1
        if found >= query.limit:
            return


def search_items(
    web: Web, source: Catalogue, collection: str, query: Query
) -> Iterator[Mapping[str, Any]]:
    """Yield the items of a collection at a place and in a time, as the catalogue gives them."""
    client = library("pystac_client", extra="fetch")
    stac = library("pystac", extra="fetch")
    errors = (
        library("pystac_client.exceptions", extra="fetch").APIError,
        library("pystac_client.errors", extra="fetch").ClientTypeError,
        library("pystac_client.warnings", extra="fetch").DoesNotConformTo,
        stac.STACError,
        stac.STACTypeError,
        *(LookupError, ValueError, TypeError, AttributeError, RuntimeError),
    )
    try:
        stac_io = library("pystac_client.stac_api_io", extra="fetch").StacApiIO(timeout=web.timeout)
        web.furnish(stac_io.session, patient=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what the catalogue says of itself
            catalogue = client.Client.open(source.url, stac_io=stac_io)
        for box in query.boxes:
            search = catalogue.search(
                collections=[collection],
                **_where(box),
                datetime=(query.start, query.stop),
                limit=_PAGE,
            )
            yield from search.items_as_dicts()
    except FetchError:
        raise
    except errors as error:
        unsafe = unsafe_in(error)
        msg = f"the catalogue {plain(source.url)} could not be asked: {_reason(error)}"
        raise unsafe or FetchError(msg) from None


def _where(box: tuple[float, float, float, float]) -> dict[str, Any]:
    """Ask for a box, or for a point: not all servers take a box without extent."""
    west, south, east, north = box
    if (west, south) == (east, north):
        return {"intersects": {"type": "Point", "coordinates": [west, south]}}
    return {"bbox": box}


def _reason(error: BaseException) -> str:
    """Say what went wrong; the texts of network errors hold whole addresses."""
    refusal = next(
        (
            each
            for each in (error, error.__cause__, error.__context__)
            if isinstance(each, FetchError)
        ),
        None,
    )
    if refusal is not None:
        return str(refusal)
    status = getattr(error, "status_code", None)
    if status:
        return f"it answered HTTP {status}"
    if type(error).__name__ == "APIError":
        return in_words(error.__context__ or error)
    return f"it is not a STAC catalogue that can be searched ({type(error).__name__})"


def _record(item: Mapping[str, Any], name: str, source: Catalogue) -> SceneRecord | None:
    """Make a record of an item; None where it is not a product."""
    properties = _mapping(item.get("properties"))
    track = properties.get("sat:relative_orbit")
    passing = str(properties.get("sat:orbit_state", "")).lower()
    try:
        bare = SceneRecord.from_name(str(item.get("id", "")), name)
        return SceneRecord.from_name(
            bare.name,
            name,
            start=scene_time(properties.get("start_datetime")),
            stop=scene_time(properties.get("end_datetime")),
            passing=passing if passing in {"ascending", "descending"} else None,
            relative_orbit=track if isinstance(track, int) else None,
            footprint=_mapping(item.get("geometry")),
            assets=_assets(_mapping(item.get("assets")), bare.name, source),
        )
    except ValueError as error:
        warnings.warn(f"the catalogue {name} lists {error}; it was left out", stacklevel=2)
        return None


def _assets(assets: Mapping[str, Any], name: str, source: Catalogue) -> tuple[Asset, ...]:
    """Find the file that brings the product: its zip, or its manifest."""
    keys = (source.archive,) if source.layout == "archive" else _MANIFESTS
    file_name = f"{name}.zip" if source.layout == "archive" else "manifest.safe"
    wanted = {key.lower() for key in keys}
    for key, value in assets.items():
        asset = _mapping(value)
        if key.lower() in wanted and asset.get("href"):
            size = asset.get("file:size")
            return (
                Asset(
                    file_name,
                    str(asset["href"]),
                    size if isinstance(size, int) and size > 0 else None,
                    Checksum.from_multihash(asset.get("file:checksum", "")),
                ),
            )
    return ()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
