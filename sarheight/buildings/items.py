"""Images of any STAC collection, on the network or in a folder."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pystac

from sarheight._files import read_text
from sarheight.errors import FetchError, NotThereError, UnsafeAddressError
from sarheight.fetch.catalogues import (
    Query,
    bounding_boxes,
    mapping,
    parse_time,
    require_identifier,
    stac_items,
)
from sarheight.fetch.http import HttpClient, refusal_in
from sarheight.fetch.products import signer
from sarheight.fetch.remote import RemoteImage
from sarheight.fetch.settings import Catalogue, Settings, lookup

if TYPE_CHECKING:
    from datetime import datetime

    from sarheight.fetch.catalogues import Place, Time


@dataclass(frozen=True)
class ImageItem:
    """An item of a catalogue, whose images can be opened.

    Attributes
    ----------
    name : str
        Its identifier.
    time : datetime
        Acquisition time (UTC).
    properties : mapping
        Its properties in the catalogue.
    addresses : mapping
        Addresses of its images by name, as the catalogue gives them.
    """

    name: str
    time: datetime
    properties: Mapping[str, Any]
    addresses: Mapping[str, str]
    _resolve: Callable[[str], Path | RemoteImage] = field(repr=False, compare=False)

    def source(self, asset: str) -> Path | RemoteImage:
        """Return where an image is read.

        Parameters
        ----------
        asset : str
            Its name.

        Returns
        -------
        pathlib.Path or RemoteImage
            A file in the folder of the catalogue, or one on a server, at its signed address.

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
        return self._resolve(self.addresses[asset])


def image_items(
    place: Place,
    start: Time,
    stop: Time,
    *,
    catalogue: str,
    collection: str,
    settings: Settings | None = None,
) -> tuple[ImageItem, ...]:
    """Search for images by place and time.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    start, stop : str, date, datetime or datetime64
        Time span (UTC). A date means the whole day.
    catalogue : str
        A catalogue of the settings, such as "planetary" or "earthsearch"; the address of another
        one with a search; or the path of a ``catalog.json``.
    collection : str
        Such as "sentinel-2-l2a".
    settings : Settings, optional
        Sources and retry policy; by default as the user's file and the environment say.

    Returns
    -------
    tuple of ImageItem
        By time. Addresses on the network are signed when the images are opened.

    Raises
    ------
    ValueError
        If place or time make no sense, or the catalogue is not known.
    FileNotFoundError
        If there is no such file.
    FetchError
        If the catalogue cannot be searched or read.
    MissingLibraryError
        If a library of the extra is not installed.
    """
    query = Query(bounding_boxes(place), parse_time(start), parse_time(stop, end=True))
    if catalogue.endswith(".json") and "://" not in catalogue:
        found = _items_in_folder(Path(catalogue), collection, query)
    else:
        found = _items_on_network(catalogue, collection, query, settings or Settings.load())
    once = {item.name: item for item in found}
    return tuple(sorted(once.values(), key=lambda item: (item.time, item.name)))


def _items_on_network(
    catalogue: str, collection: str, query: Query, settings: Settings
) -> Iterator[ImageItem]:
    """Search a STAC catalogue; its images are signed and checked when they are opened."""
    source = Catalogue(url=catalogue) if "://" in catalogue else None
    source = source or lookup(settings.catalogues, catalogue, "catalogue")
    client = HttpClient.trusting(settings, source.url)
    sign = signer(source, collection, settings)

    def resolve(address: str) -> RemoteImage:
        url = sign(address)
        client.check(url)
        return RemoteImage(client, url)

    for item in stac_items(client, source, collection, query):
        yield _image_item(mapping(item), resolve)


def _items_in_folder(path: Path, collection: str, query: Query) -> Iterator[ImageItem]:
    """Search a static catalogue; its images must lie in its folder."""
    if not path.is_file():
        msg = f"there is no catalogue '{path}'"
        raise FileNotFoundError(msg)
    files = _FilesOfFolder(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the catalogue describes itself
            for each in _all_items(pystac.Catalog.from_file(str(path), stac_io=files)):
                each.make_asset_hrefs_absolute()
                item = each.to_dict(include_self_link=False, transform_hrefs=False)
                if item.get("collection") == collection and _intersects(item, query):
                    yield _image_item(item, files.within)
    except FetchError:
        raise
    except (
        pystac.STACError,
        pystac.STACTypeError,
        *(LookupError, ValueError, TypeError, AttributeError, RecursionError, OSError),
    ) as error:
        msg = f"the catalogue '{path}' cannot be read: {error}"
        raise refusal_in(error) or FetchError(msg) from error


class _FilesOfFolder(pystac.StacIO):
    """Reads a static catalogue: files in its folder, and no others."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.folder = path, path.resolve().parent

    def within(self, address: str) -> Path:
        """Return a file of the folder; UnsafeAddressError for any other."""
        target = Path(address).resolve()
        if "://" in address or not target.is_relative_to(self.folder):
            msg = f"the catalogue '{self.path}' names {address!r}, which is not in its folder"
            raise UnsafeAddressError(msg)
        if target.exists() and not target.is_file():
            msg = f"the catalogue '{self.path}' names {address!r}, which is no file"
            raise UnsafeAddressError(msg)
        return target

    def read_text(self, source: Any, *_: Any, **__: Any) -> str:  # noqa: ANN401  # path or link
        """Read a catalogue or an item."""
        href = source.get_absolute_href() if isinstance(source, pystac.Link) else source
        return read_text(self.within(str(href)), "a STAC catalogue", FetchError)

    def write_text(self, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Write nothing."""
        raise NotImplementedError


def _all_items(root: pystac.Catalog) -> Iterator[pystac.Item]:
    """Yield the items of a catalogue and of those in it, each of which is visited once."""
    waiting, visited = [root], set[str | None]()
    while waiting:
        catalogue = waiting.pop()
        if catalogue.get_self_href() not in visited:
            visited.add(catalogue.get_self_href())
            waiting += catalogue.get_children()
            yield from catalogue.get_items()


def _intersects(item: Mapping[str, Any], query: Query) -> bool:
    """Tell whether an item meets a place and a time; its box may hold heights."""
    box = item["bbox"]
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
    meets = any(
        west <= each[2] and east >= each[0] and south <= each[3] and north >= each[1]
        for each in query.boxes
    )
    return meets and query.start <= _item_time(item) <= query.stop


def _image_item(item: Mapping[str, Any], resolve: Callable[[str], Path | RemoteImage]) -> ImageItem:
    """Make an item of what the catalogue gives; assets without an address are left out."""
    name = require_identifier(item.get("id"))
    assets = {key: mapping(each).get("href") for key, each in mapping(item.get("assets")).items()}
    return ImageItem(
        name=name,
        time=_item_time(item),
        properties=dict(mapping(item.get("properties"))),
        addresses={str(key): str(href) for key, href in assets.items() if href},
        _resolve=resolve,
    )


def _item_time(item: Mapping[str, Any]) -> datetime:
    """Return the acquisition time of an item."""
    properties = mapping(item.get("properties"))
    text = properties.get("datetime") or properties.get("start_datetime")
    try:
        return parse_time(str(text))
    except ValueError:
        msg = f"found the time {text!r} in the item {item.get('id')}, expected one of ISO 8601"
        raise FetchError(msg) from None
