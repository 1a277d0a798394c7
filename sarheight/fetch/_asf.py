"""The Alaska Satellite Facility, asked through its own library."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from sarheight._runtime import library
from sarheight.errors import FetchError
from sarheight.fetch._addresses import plain
from sarheight.fetch._checksums import Checksum
from sarheight.fetch._patience import causes, in_words
from sarheight.fetch._records import Asset, SceneRecord, scene_time

if TYPE_CHECKING:
    from sarheight.fetch._query import Query
    from sarheight.fetch._settings import Catalogue
    from sarheight.fetch._web import Web

__all__ = ["search_asf"]

_BUILT_IN = "https://cmr.earthdata.nasa.gov"
_LEVELS = {"GRD": ["GRD_HD", "GRD_HS", "GRD_MD", "GRD_MS", "GRD_FD"], "SLC": ["SLC"]}


def search_asf(
    web: Web, name: str, source: Catalogue, collection: str, query: Query
) -> Iterator[SceneRecord]:
    """Ask the catalogue of the Alaska Satellite Facility; see `sarheight.fetch.scenes`."""
    for product in _products(web, source, collection, query):
        record = _record(product, name)
        if record is not None and query.wants(record):
            yield record


def _products(
    web: Web, source: Catalogue, collection: str, query: Query
) -> Iterator[Mapping[str, Any]]:
    asf: Any = library("asf_search", extra="fetch")
    asf.REPORT_ERRORS = False  # or failed questions go to its makers, with the place asked for
    logging.getLogger("asf_search").setLevel(logging.ERROR)
    session = asf.ASFSession()
    web.furnish(session, patient=True, moved=(_BUILT_IN, source.url.rstrip("/")))
    for west, south, east, north in query.boxes:
        world = (west, south, east, north) == (-180.0, -90.0, 180.0, 90.0)
        try:
            found = _quietly(
                asf.search,
                platform=["SENTINEL-1"],
                processingLevel=_LEVELS[collection],
                beamMode=[query.mode],
                intersectsWith=None if world else _outline(west, south, east, north),
                start=query.start,
                end=query.stop,
                flightDirection=None if query.passing is None else query.passing.upper(),
                relativeOrbit=query.relative_orbit,
                maxResults=query.limit,
                session=session,
            )
        except FetchError:
            raise
        except (asf.exceptions.ASFError, OSError, KeyError, TypeError, ValueError) as error:
            refusal = next((each for each in causes(error) if isinstance(each, FetchError)), None)
            msg = f"the catalogue {plain(source.url)} could not be asked: {in_words(error)}"
            raise refusal or FetchError(msg) from None
        yield from found


def _quietly(search: Callable[..., Any], **question: Any) -> list[Any]:  # noqa: ANN401
    """Search without the library's warnings about libraries of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(search(**question))


def _outline(west: float, south: float, east: float, north: float) -> str:
    """Write a box or point as well-known text."""
    if (west, south) == (east, north):
        return f"POINT({west} {south})"
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return f"POLYGON(({', '.join(f'{x} {y}' for x, y in corners)}))"


def _record(product: Any, name: str) -> SceneRecord | None:  # noqa: ANN401  # of asf_search
    facts: Mapping[str, Any] = product.properties
    size, url = facts.get("bytes"), facts.get("url")
    try:
        bare = SceneRecord.from_name(str(facts.get("sceneName", "")), name)
    except ValueError:
        return None
    asset = Asset(
        f"{bare.name}.zip",
        str(url),
        int(size) if isinstance(size, int | float) and size > 0 else None,
        Checksum.of("md5", facts.get("md5sum")),
    )
    track = facts.get("pathNumber")
    return SceneRecord.from_name(
        bare.name,
        name,
        start=scene_time(facts.get("startTime")),
        stop=scene_time(facts.get("stopTime")),
        passing=str(facts.get("flightDirection") or "").lower() or None,
        relative_orbit=track if isinstance(track, int) else None,
        footprint=dict(product.geometry or {}),
        assets=(asset,) if url else (),
    )
