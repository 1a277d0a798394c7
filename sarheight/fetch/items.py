"""Images of any STAC collection, on the network or in a folder, and tiles of building data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pyproj import CRS, Transformer

from sarheight._files import read_vector
from sarheight._runtime import library, require
from sarheight.errors import FetchError, NotThereError, UnsafeAddressError
from sarheight.fetch.addresses import host_of, redact, safe_name
from sarheight.fetch.catalogues import Query, bounding_boxes, mapping, parse_time, stac_items
from sarheight.fetch.http import HttpClient
from sarheight.fetch.products import signer
from sarheight.fetch.settings import Catalogue, Settings, lookup
from sarheight.fetch.transfer import FileRequest, ensure_file, no_progress, run_parallel

if TYPE_CHECKING:
    from datetime import datetime

    from sarheight.fetch.catalogues import Place, Time
    from sarheight.fetch.transfer import Report

BUILDING_INDEX = "https://data.3dbag.nl/latest/tile_index.fgb"

_EDGE_POINTS = 21


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
    _resolve: Callable[[str], str] = field(repr=False, compare=False)

    def source(self, asset: str) -> str:
        """Return what GDAL opens to read an image.

        Parameters
        ----------
        asset : str
            Its name.

        Returns
        -------
        str
            A path, or a signed address behind ``/vsicurl/``.

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

    def resolve(address: str) -> str:
        url = sign(address)
        client.rule.check(url)
        try:
            client.rule.check_host(host_of(url), urlsplit(url).port or 443)
        except UnsafeAddressError:
            raise
        except OSError as error:
            msg = f"{host_of(url)} cannot be reached ({error})"
            raise FetchError(msg) from error
        return f"/vsicurl/{url}"

    for item in stac_items(client, source, collection, query):
        yield _image_item(mapping(item), resolve)


def _items_in_folder(path: Path, collection: str, query: Query) -> Iterator[ImageItem]:
    """Search a static catalogue; its images must lie in its folder."""
    if not path.is_file():
        msg = f"there is no catalogue '{path}'"
        raise FileNotFoundError(msg)
    folder = path.resolve().parent
    stac = library("pystac", extra="fetch")

    def resolve(address: str) -> str:
        target = Path(address).resolve()
        if not target.is_relative_to(folder):
            msg = f"the catalogue '{path}' names {address!r}, which is not in its folder"
            raise UnsafeAddressError(msg)
        return str(target)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the catalogue describes itself
            for each in stac.Catalog.from_file(str(path)).get_items(recursive=True):
                each.make_asset_hrefs_absolute()
                item = each.to_dict(include_self_link=False, transform_hrefs=False)
                if item.get("collection") == collection and _intersects(item, query):
                    yield _image_item(item, resolve)
    except FetchError:
        raise
    except (
        stac.STACError,
        stac.STACTypeError,
        *(LookupError, ValueError, TypeError, RecursionError, OSError),
    ) as error:
        msg = f"the catalogue '{path}' cannot be read: {error}"
        raise FetchError(msg) from error


def _intersects(item: Mapping[str, Any], query: Query) -> bool:
    """Tell whether an item meets a place and a time; its box may hold heights."""
    box = item["bbox"]
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
    meets = any(
        west <= each[2] and east >= each[0] and south <= each[3] and north >= each[1]
        for each in query.boxes
    )
    return meets and query.start <= _item_time(item) <= query.stop


def _image_item(item: Mapping[str, Any], resolve: Callable[[str], str]) -> ImageItem:
    """Make an item of what the catalogue gives; assets without an address are left out."""
    assets = {key: mapping(each).get("href") for key, each in mapping(item.get("assets")).items()}
    return ImageItem(
        name=str(item.get("id", "")),
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


# --- tiles of buildings ------------------------------------------------------------------------


def building_tiles(
    place: Place,
    *,
    index: str = BUILDING_INDEX,
    column: str = "gpkg_download",
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> list[Path]:
    """Download the tiles of a building data set at a place.

    Parameters
    ----------
    place : sequence of float
        (west, south, east, north) in degrees.
    index : str
        A vector file, or its address, with the outline of each tile and its address; by default
        that of 3D BAG, all buildings of the Netherlands (CC BY 4.0).
    column : str
        Attribute with the addresses: ``gpkg_download`` of 3D BAG, for GeoPackages.
    settings : Settings, optional
        Retry policy, accounts and cache; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    list of pathlib.Path
        The tiles, in the cache. Those that were there are not downloaded again.

    Raises
    ------
    NotThereError
        If no tile lies at the place.
    FetchError
        If the index or a tile cannot be downloaded, or the index is of another kind.
    MissingLibraryError
        If the libraries for vector files are not installed.

    References
    ----------
    3D BAG, tile index: `tile_index.fgb`, tiles of GeoPackage with gzip.
    """
    require("geopandas", "pyarrow", extra="vector")
    settings = settings or Settings.load()
    folder, remote = settings.cache / "buildings", "://" in index
    client = HttpClient.trusting(settings, *([index] if remote else []))
    path = Path(index)
    if remote:
        path = folder / safe_name(PurePosixPath(urlsplit(index).path).name)
        if not (settings.offline and path.is_file()):
            # A new release keeps the address of its index and not the content.
            path.unlink(missing_ok=True)
            ensure_file(client, FileRequest(lambda: index), path, progress)
    addresses = _tile_addresses(path, place, column)
    if not addresses:
        msg = f"found no tile at {tuple(place)} in '{redact(index) if remote else index}'"
        raise NotThereError(msg)

    def ensure_tile(address: str, progress: Report) -> Path:
        parts = PurePosixPath(urlsplit(address).path)
        # The first folder is the release: two of them name their tiles alike.
        release = parts.parts[1] if len(parts.parts) > 2 else "tiles"
        target = folder / safe_name(release) / safe_name(parts.name)
        return ensure_file(client, FileRequest(lambda: address), target, progress)

    return run_parallel(ensure_tile, addresses, progress, parallel=settings.limits.parallel)


def _tile_addresses(path: Path, place: Place, column: str) -> list[str]:
    """Return the addresses of the tiles that meet a place."""
    table = read_vector(path, FetchError)
    if column not in table or table.crs is None:
        names = ", ".join(map(str, table.columns))
        msg = f"found the attributes {names} in '{path}', expected {column}, and a reference system"
        raise FetchError(msg)
    to_map = Transformer.from_crs(4326, CRS.from_user_input(table.crs), always_xy=True)
    rows: list[object] = []
    for box in bounding_boxes(place):
        west, south, east, north = to_map.transform_bounds(*box, densify_pts=_EDGE_POINTS)
        rows += list(table.cx[west:east, south:north][column].dropna())
    return sorted(set(map(str, rows)))
