"""Where orbit files are listed, and how."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urljoin
from xml.etree.ElementTree import ParseError

import defusedxml.ElementTree
import numpy as np
from defusedxml.common import DefusedXmlException

from sarheight.errors import FetchError, NotThereError
from sarheight.fetch._addresses import plain
from sarheight.fetch._checksums import Checksum
from sarheight.fetch._orbit_names import OrbitFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element

    from sarheight.fetch._settings import OrbitSource
    from sarheight.fetch._web import Web

__all__ = ["listed"]

_MOST_PAGES = 200
_MONTH = np.timedelta64(31, "D")
_DELAY = {"POEORB": None, "RESORB": np.timedelta64(4, "D")}
"""How long after the fact a file is made at most; None where old ones were made anew."""


def listed(
    web: Web,
    source: OrbitSource,
    mission: str,
    kind: str,
    start: np.datetime64,
    stop: np.datetime64,
) -> list[OrbitFile]:
    """List the orbit files of a source that may cover a time span.

    Parameters
    ----------
    web : Web
        The network, with its rules.
    source : OrbitSource
        Where to look.
    mission : str
        "S1A", ...
    kind : str
        "POEORB" or "RESORB".
    start, stop : datetime64
        The time span (UTC).

    Raises
    ------
    FetchError
        If the source cannot be asked.
    ValueError
        If the settings name a kind of source that there is not.
    """
    listings: dict[str, Callable[..., Iterator[OrbitFile | None]]] = {
        "s3": _bucket,
        "folders": _folders,
        "page": _page,
        "odata": _odata,
    }
    if source.kind not in listings:
        msg = f"orbit source of the kind {source.kind!r}, expected one of {', '.join(listings)}"
        raise ValueError(msg)
    found = listings[source.kind](web, source, mission, kind, start, stop)
    return [file for file in found if file is not None]


def _bucket(
    web: Web,
    source: OrbitSource,
    mission: str,
    kind: str,
    _start: np.datetime64,
    stop: np.datetime64,
) -> Iterator[OrbitFile | None]:
    """List a bucket, in the order of names: so by the time at which files were made.

    References
    ----------
    Amazon S3 API reference, ListObjectsV2.
    """
    beginning = f"AUX_{kind}/{mission}_OPER_AUX_{kind}_OPOD_"
    asked = {
        "list-type": "2",
        "prefix": beginning,
        "start-after": beginning + _compact(stop),  # nothing is made before it happens
    }
    delay = _DELAY[kind]
    for _ in range(_MOST_PAGES):
        page = _xml(web.text(f"{source.url}/", asked), source.url)
        space = page.tag.partition("}")[0] + "}" if page.tag.startswith("{") else ""
        files = [_object(source, entry, space) for entry in page.iter(f"{space}Contents")]
        yield from files
        token = page.findtext(f"{space}NextContinuationToken")
        last = next((file for file in reversed(files) if file is not None), None)
        if not token or (delay is not None and last is not None and last.made > stop + delay):
            return
        asked["continuation-token"] = token


def _object(source: OrbitSource, entry: Element, space: str) -> OrbitFile | None:
    key = entry.findtext(f"{space}Key") or ""
    size = entry.findtext(f"{space}Size") or ""
    return OrbitFile.from_name(
        key, f"{source.url}/{quote(key)}", int(size) if size.isdigit() else None
    )


def _folders(
    web: Web,
    source: OrbitSource,
    mission: str,
    kind: str,
    start: np.datetime64,
    stop: np.datetime64,
) -> Iterator[OrbitFile | None]:
    """List web pages by mission and by month of the first time that files cover."""
    before = start - np.timedelta64(2, "D")
    for month in sorted({str(each)[:7] for each in (before, start, stop)}):
        year, number = month.split("-")
        try:
            yield from _links(web, f"{source.url}/{kind}/{mission}/{year}/{number}/")
        except NotThereError:
            continue  # a month of which there is nothing


def _page(
    web: Web, source: OrbitSource, _mission: str, kind: str, *_: np.datetime64
) -> Iterator[OrbitFile | None]:
    """List one long web page of all files of a kind."""
    yield from _links(web, f"{source.url}/aux_{kind.lower()}/")


def _links(web: Web, url: str) -> Iterator[OrbitFile | None]:
    for link in re.findall(r'href="([^"]+)"', web.text(url)):
        href = html.unescape(link)
        yield OrbitFile.from_name(unquote(href), urljoin(url, href))


def _odata(
    web: Web,
    source: OrbitSource,
    mission: str,
    kind: str,
    start: np.datetime64,
    stop: np.datetime64,
) -> Iterator[OrbitFile | None]:
    """Ask a catalogue that speaks OData for the files that cover the time span.

    References
    ----------
    Copernicus Data Space Ecosystem, OData API.
    """
    first, last = (f"{np.datetime_as_string(each, unit='ms')}Z" for each in (start, stop))
    asked = (
        f"startswith(Name,'{mission}') and contains(Name,'AUX_{kind}') and "
        f"ContentDate/Start lt {first} and ContentDate/End gt {last}"
    )
    answer = web.json(source.url, {"$filter": asked, "$top": "100"})
    values = answer.get("value") if isinstance(answer, dict) else None
    if not isinstance(values, list):
        msg = f"{plain(source.url)} did not send a list of products: is it the right address?"
        raise FetchError(msg)
    for value in values:
        yield _entry(source, value if isinstance(value, dict) else {})


def _entry(source: OrbitSource, value: dict[str, Any]) -> OrbitFile | None:
    identifier = quote(str(value.get("Id", "")), safe="")
    sums = value.get("Checksum")
    checksum = next(
        (
            Checksum.of("md5", each.get("Value"))
            for each in (sums if isinstance(sums, list) else [])
            if isinstance(each, dict) and each.get("Algorithm") == "MD5"
        ),
        None,
    )
    return OrbitFile.from_name(
        str(value.get("Name", "")),
        f"{source.download or source.url}({identifier})/$value",
        checksum=checksum,
    )


def _xml(text: str, url: str) -> Element:
    try:
        return defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError) as error:
        msg = f"{plain(url)} did not send a list of files ({type(error).__name__})"
        raise FetchError(msg) from None


def _compact(when: np.datetime64) -> str:
    return np.datetime_as_string(when, unit="s").replace("-", "").replace(":", "")
