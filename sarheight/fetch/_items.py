"""Images of any collection of a STAC catalogue: on the network, or in a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sarheight._runtime import library
from sarheight.errors import FetchError, NotThereError, UnsafeAddressError
from sarheight.fetch._addresses import host_of
from sarheight.fetch._query import Query, boxes, moment
from sarheight.fetch._settings import Catalogue, Settings, named
from sarheight.fetch._signing import signer
from sarheight.fetch._stac import search_items
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    from sarheight.fetch._query import Place, Time

__all__ = ["ImageItem", "image_items"]


@dataclass(frozen=True)
class ImageItem:
    """An item of a catalogue, whose images can be opened.

    Attributes
    ----------
    name : str
        Its identifier.
    time : datetime
        When it was taken (UTC).
    properties : mapping
        What the catalogue says of it.
    addresses : mapping
        Addresses of its images by name, as the catalogue gives them.
    """

    name: str
    time: datetime
    properties: Mapping[str, Any]
    addresses: Mapping[str, str]
    _opened: Callable[[str], str] = field(repr=False, compare=False)

    def source(self, asset: str) -> str:
        """Return what GDAL opens to read an image.

        Parameters
        ----------
        asset : str
            Its name.

        Raises
        ------
        NotThereError
            If the item has no such image.
        UnsafeAddressError
            If it is neither in the folder of the catalogue nor on the public internet.
        """
        if asset not in self.addresses:
            found = ", ".join(self.addresses) or "none"
            msg = f"found the images {found} in the item {self.name}, expected {asset}"
            raise NotThereError(msg)
        return self._opened(self.addresses[asset])


def image_items(
    place: Place,
    start: Time,
    stop: Time,
    *,
    catalogue: str,
    collection: str,
    settings: Settings | None = None,
) -> tuple[ImageItem, ...]:
    """Look for images by place and time.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    start, stop : str, date, datetime or datetime64
        Time span (UTC). A day alone means all of it.
    catalogue : str
        A catalogue of the settings, such as "planetary" or "earthsearch"; the address of another
        one that can be searched; or the path of a ``catalog.json``.
    collection : str
        Such as "sentinel-2-l2a".
    settings : Settings, optional
        Addresses and patience; by default as the user's file and the environment say.

    Returns
    -------
    tuple of ImageItem
        By time. Of a catalogue on the network their images are signed when they are opened.

    Raises
    ------
    ValueError
        If the question makes no sense, or the catalogue is not known.
    FileNotFoundError
        If there is no such file.
    FetchError
        If the catalogue cannot be asked or read.
    MissingLibraryError
        If a library of the extra is not installed.
    """
    query = Query(boxes(place), moment(start), moment(stop, last=True))
    if catalogue.endswith(".json") and "://" not in catalogue:
        found = _in_folder(Path(catalogue), collection, query)
    else:
        found = _on_network(catalogue, collection, query, settings or Settings.load())
    once = {item.name: item for item in found}
    return tuple(sorted(once.values(), key=lambda item: (item.time, item.name)))


def _on_network(
    catalogue: str, collection: str, query: Query, settings: Settings
) -> Iterator[ImageItem]:
    source = Catalogue(url=catalogue) if "://" in catalogue else None
    source = source or named(settings.catalogues, catalogue, "catalogue")
    web = Web.trusting(settings, source.url)
    signed = signer(source, collection, settings)

    def opened(address: str) -> str:
        url = signed(address)
        web.rule.check(url)
        try:
            web.rule.resolved(host_of(url), urlsplit(url).port or 443)
        except UnsafeAddressError:
            raise
        except OSError as error:
            msg = f"{host_of(url)} cannot be reached ({error})"
            raise FetchError(msg) from error
        return f"/vsicurl/{url}"

    for item in search_items(web, source, collection, query):
        yield _item(item, opened)


def _in_folder(path: Path, collection: str, query: Query) -> Iterator[ImageItem]:
    """Go through a static catalogue; its images must lie in its folder."""
    if not path.is_file():
        msg = f"there is no catalogue '{path}'"
        raise FileNotFoundError(msg)
    folder = path.resolve().parent
    stac = library("pystac", extra="fetch")

    def opened(address: str) -> str:
        target = Path(address).resolve()
        if not target.is_relative_to(folder):
            msg = f"the catalogue '{path}' names {address!r}, which is not in its folder"
            raise UnsafeAddressError(msg)
        return str(target)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what the catalogue says of itself
            for each in stac.Catalog.from_file(str(path)).get_items(recursive=True):
                each.make_asset_hrefs_absolute()
                item = each.to_dict(include_self_link=False, transform_hrefs=False)
                if _wanted(item, collection, query):
                    yield _item(item, opened)
    except (stac.STACError, stac.STACTypeError, LookupError, ValueError, OSError) as error:
        if isinstance(error, FetchError):
            raise
        msg = f"the catalogue '{path}' cannot be read: {error}"
        raise FetchError(msg) from error


def _wanted(item: Mapping[str, Any], collection: str, query: Query) -> bool:
    """Tell whether an item is of a collection, a place and a time."""
    if item.get("collection") != collection:
        return False
    west, south, east, north = item["bbox"][:4] if len(item["bbox"]) == 4 else _flat(item["bbox"])
    meets = any(
        west <= box[2] and east >= box[0] and south <= box[3] and north >= box[1]
        for box in query.boxes
    )
    return meets and query.start <= _time(item) <= query.stop


def _flat(box: list[float]) -> tuple[float, float, float, float]:
    """Leave the heights out of a box."""
    return box[0], box[1], box[3], box[4]


def _item(item: Mapping[str, Any], opened: Callable[[str], str]) -> ImageItem:
    assets = item.get("assets") or {}
    return ImageItem(
        name=str(item.get("id", "")),
        time=_time(item),
        properties=dict(item.get("properties") or {}),
        addresses={str(key): str(asset["href"]) for key, asset in assets.items()},
        _opened=opened,
    )


def _time(item: Mapping[str, Any]) -> datetime:
    properties = item.get("properties") or {}
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        msg = f"found the time {text!r} in the item {item.get('id')}, expected one of ISO 8601"
        raise FetchError(msg) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
