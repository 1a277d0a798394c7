"""Images of any STAC collection, on the network or in a folder, and tiles of building data sets."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pystac
import xarray as xr
from pyproj import CRS, Transformer
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from sarheight._files import read_text, read_vector, resolve_links
from sarheight._rasters import open_alone
from sarheight._runtime import require
from sarheight.buildings._images import (
    FINER,
    POINTS_PER_SIDE,
    POLARISATIONS,
    offset_of_baseline,
)
from sarheight.buildings.stack import OPTICAL_BANDS, on_grid_of
from sarheight.dem.tiles import bounding_boxes
from sarheight.errors import FetchError, NotThereError, ProductError, StackError, UnsafeAddressError
from sarheight.fetch.addresses import redact, safe_name
from sarheight.fetch.catalogues import (
    Query,
    mapping,
    parse_time,
    require_identifier,
    stac_items,
)
from sarheight.fetch.http import HttpClient, refusal_in
from sarheight.fetch.products import signer
from sarheight.fetch.remote import RemoteImage
from sarheight.fetch.settings import Catalogue, Settings, lookup
from sarheight.fetch.transfer import FileRequest, ensure_file, no_progress, run_parallel
from sarheight.output.grid import MapGrid

if TYPE_CHECKING:
    from datetime import datetime

    from rasterio.io import DatasetReader

    from sarheight.dem.tiles import Place
    from sarheight.fetch.catalogues import Time
    from sarheight.fetch.transfer import Report


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
        self.path, self.folder = path, resolve_links(path).parent

    def within(self, address: str) -> Path:
        """Return a file of the folder; UnsafeAddressError for any other."""
        target = resolve_links(address)
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


# Images of a catalogue: names of bands, and the part over a city.

COMMON_NAMES = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "swir16": "B11",
    "swir22": "B12",
}
"""Names of the assets of Earth Search."""


def flattened_image(item: ImageItem, radiometry: str, grid: xr.DataArray) -> xr.Dataset:
    """Read the part of a terrain-flattened image over a city."""
    assets = {name.lower(): name for name in item.addresses}
    names = [name for name in POLARISATIONS if name.lower() in assets]
    if not names:
        msg = f"found the images {', '.join(item.addresses)} in {item.name}, expected vv or vh"
        raise ProductError(msg)
    layers = [read_window(item.source(assets[name.lower()]), grid, "average") for name in names]
    power = xr.concat(layers, dim=xr.Variable("polarisation", names), join="exact")
    record = {
        "start": item.time.replace(tzinfo=None).isoformat(),
        "orbit_state": str(item.properties.get("sat:orbit_state", "")).lower(),
        "polarisations": names,
    }
    return xr.Dataset(
        {radiometry: power.where(power >= 0.0)}, attrs={"acquisition": json.dumps([record])}
    )


def read_band(item: ImageItem, band: str, grid: xr.DataArray) -> xr.DataArray:
    """Read the part over a city of a band of Sentinel-2, or of its classes (SCL)."""
    how = "mode" if band == "SCL" else "average"
    return read_window(item.source(_asset(item, band)), grid, how)


def _asset(item: ImageItem, band: str) -> str:
    """Return the asset of a band, by the names that catalogues use; the finest comes first."""
    for name in sorted(item.addresses, key=lambda name: (len(name), name)):
        if "jp2" in name.lower():
            continue
        bare = name.upper().partition("_")[0]
        if (band == "SCL" and bare == "SCL") or optical_band(name) == band:
            return name
    return band


def optical_band(name: str) -> str | None:
    """Return the band that a catalogue or a file names in its own way, None for other names."""
    bare = re.sub(r"[_-]?\d\dm$", "", name.strip(), flags=re.IGNORECASE)
    if bare.lower() in COMMON_NAMES:
        return COMMON_NAMES[bare.lower()]
    match = re.fullmatch(r"B(\d{1,2})(A?)", bare, flags=re.IGNORECASE)
    if match is None:
        return None
    band = f"B{match[1].lstrip('0')}A" if match[2] else f"B{int(match[1]):02d}"
    return band if band in OPTICAL_BANDS else None


def offset_of_item(properties: Mapping[str, Any]) -> float:
    """Return the offset to add to digital numbers, from the properties of a STAC item."""
    if properties.get("earthsearch:boa_offset_applied") is True:
        return 0.0
    for name in ("s2:processing_baseline", "processing:version"):
        if properties.get(name) not in {None, ""}:
            return offset_of_baseline(str(properties[name]))
    msg = (
        "found no processing baseline (s2:processing_baseline, processing:version), expected one: "
        "since 04.00 an offset of -1000 is to be added to the numbers. State the offset"
    )
    raise StackError(msg)


def read_window(source: Path | RemoteImage, grid: xr.DataArray, resampling: str) -> xr.DataArray:
    """Read an image at the cells of a grid, and no more of the file than that needs.

    Codes and numbers come as float32, NaN where the image has no data.
    """
    transform = MapGrid.of(grid).transform
    rows, columns = grid.shape
    try:
        with _open_image(source) as image:
            finer = abs(image.transform.a) < FINER * abs(transform.a)
            interpolation = Resampling.nearest if resampling == "mode" else Resampling.bilinear
            with WarpedVRT(
                image,
                crs=grid.rio.crs,
                transform=transform,
                width=columns,
                height=rows,
                resampling=Resampling[resampling] if finer else interpolation,
                tolerance=0.01,
                add_alpha=image.nodata is None,
            ) as warped:
                values = warped.read(1).astype(np.float32)
                known = warped.dataset_mask() > 0
    except FetchError:
        raise
    except (RasterioError, OSError) as error:
        msg = f"'{source}' cannot be read as raster ({error})"
        raise ProductError(msg) from error
    return on_grid_of(grid, np.where(known, values, np.nan).astype(np.float32))


@contextmanager
def _open_image(source: Path | RemoteImage) -> Iterator[DatasetReader]:
    """Open an image of a folder or a server, and nothing beside it."""
    if isinstance(source, Path):
        # A VRT would read the files and addresses that it names.
        driver = "JP2OpenJPEG" if source.suffix.lower() == ".jp2" else "GTiff"
        with open_alone(source, (driver,)) as image:
            yield image
    else:
        with source.open() as image:
            yield image


# Buildings: tiles of a data set, downloaded by their index.

BUILDING_INDEX = "https://data.3dbag.nl/latest/tile_index.fgb"


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
        west, south, east, north = to_map.transform_bounds(*box, densify_pts=POINTS_PER_SIDE)
        rows += list(table.cx[west:east, south:north][column].dropna())
    return sorted(set(map(str, rows)))
