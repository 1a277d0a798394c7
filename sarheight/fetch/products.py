"""Download of Sentinel-1 products, and of tiles of building data."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException
from pyproj import CRS, Transformer

from sarheight._runtime import library, require
from sarheight.errors import ChecksumError, FetchError, NotThereError, UnsafeAddressError
from sarheight.fetch.accounts import signer
from sarheight.fetch.addresses import redact, safe_name
from sarheight.fetch.catalogues import Asset
from sarheight.fetch.http import HttpClient
from sarheight.fetch.progress import no_progress
from sarheight.fetch.query import bounding_boxes
from sarheight.fetch.settings import Settings, lookup
from sarheight.fetch.transfer import FileRequest, ensure_file, run_parallel

if TYPE_CHECKING:
    import os

    from sarheight.fetch.catalogues import SceneRecord
    from sarheight.fetch.progress import Report
    from sarheight.fetch.query import Place

BUILDING_INDEX = "https://data.3dbag.nl/latest/tile_index.fgb"

_EDGE_POINTS = 21
_FILE = re.compile(
    r"(?P<role>calibration-|noise-|rfi-)?s1[a-z]-(?P<swath>[a-z0-9]+)-[a-z]+-(?P<pole>hh|hv|vh|vv)-"
    r"[a-z0-9-]+\.(xml|tiff)"
)
_FOLDERS = ("measurement", "annotation")
_MANIFEST = "manifest.safe"
_SHOWN = 40


def download(
    scene: SceneRecord,
    directory: str | os.PathLike[str] | None = None,
    *,
    polarisations: tuple[str, ...] = (),
    verify: bool = True,
    settings: Settings | None = None,
    progress: Report = no_progress,
) -> Path:
    """Download a product.

    Parameters
    ----------
    scene : SceneRecord
        From `scenes` or `scene_named`.
    directory : path, optional
        Folder for the product; ``scenes`` in the cache by default.
    polarisations : tuple of str, optional
        Download only these, such as ("VV",), where the catalogue has each file by itself. A zip
        holds all of them.
    verify : bool, optional
        Whether checksum and size must be those of the catalogue. A zip must be complete in any
        case.
    settings : Settings, optional
        Sources, accounts and retry policy; by default as the user's file and the environment say.
    progress : callable, optional
        Called with (name, bytes so far, size or None).

    Returns
    -------
    pathlib.Path
        A zip, or a folder that ends in ``.SAFE``. Both can be opened as they are.

    Raises
    ------
    UnsafeAddressError
        If the catalogue names an address or a file that must not be requested or written.
    ChecksumError
        If the product is not what was announced, or not complete.
    FetchError
        If it cannot be downloaded, for instance without an account.
    """
    settings = settings or Settings.load()
    source = lookup(settings.catalogues, scene.catalogue, "catalogue")
    if not scene.assets:
        msg = (
            f"the catalogue {scene.catalogue} names no file for {scene.name}: use another one, "
            "such as copernicus or asf"
        )
        raise FetchError(msg)
    folder = Path(directory) if directory is not None else settings.cache / "scenes"
    client = HttpClient.trusting(
        settings, source.url, *([source.sign_url] if source.sign == "s3" else [])
    )
    signing = HttpClient.trusting(settings, source.url, source.sign_url)
    sign = signer(source, source.collection(scene.product) or "", signing.get_json)
    safe_name(scene.name)

    def ensure(
        asset: Asset,
        target: Path,
        progress: Report,
        prepare: Callable[[Path], None] | None = None,
        limit: str = "file_bytes",
    ) -> Path:
        size, checksum = (asset.size, asset.checksum) if verify else (None, None)
        request = FileRequest(lambda: sign(asset.url), size, checksum, prepare, limit)
        return ensure_file(client, request, target, progress)

    first = scene.assets[0]
    if source.layout == "archive":
        return ensure(first, folder / safe_name(first.name), progress, _require_product_zip)

    # The stores hold a product under short names (``annotation/iw-vv.xml``) beside its manifest,
    # which lists the full ones.
    product = folder / f"{scene.name}.SAFE"

    def require_files(path: Path) -> None:
        if not any(_files_in_manifest(path)):
            msg = f"the manifest of {scene.name} lists no annotation and no measurement"
            raise ChecksumError(msg)

    manifest = ensure(first, product / _MANIFEST, progress, require_files, "reply_bytes")
    base = first.url.rpartition("/")[0]
    chosen = {each.lower() for each in polarisations}

    def ensure_part(name: str, progress: Report) -> Path:
        return ensure(Asset(name, f"{base}/{_short_name(name)}"), product / name, progress)

    names = [name for name, pole in _files_in_manifest(manifest) if not chosen or pole in chosen]
    run_parallel(ensure_part, names, progress, parallel=settings.limits.parallel)
    return product


def _require_product_zip(path: Path) -> None:
    """Check the end of a zip, which lists its files."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        with path.open("rb") as stream:
            beginning = stream.read(_SHOWN)
        msg = (
            f"the file is not a complete zip, it begins with {beginning!r}; it was removed. A "
            "page of text means that the server requires an account"
        )
        raise ChecksumError(msg) from None
    if not any(name.endswith(_MANIFEST) for name in names):
        msg = f"the zip holds no {_MANIFEST}, so it is not a Sentinel-1 product"
        raise ChecksumError(msg)


def _files_in_manifest(manifest: Path) -> Iterator[tuple[str, str]]:
    """List the measurements and annotations in a manifest, with their polarisations."""
    try:
        root = defusedxml.ElementTree.fromstring(manifest.read_bytes(), forbid_dtd=True)
    except (DefusedXmlException, ValueError, SyntaxError) as error:
        msg = f"{redact(str(manifest))} is not a manifest ({type(error).__name__})"
        raise ChecksumError(msg) from None
    for element in root.iter("fileLocation"):
        href = element.get("href", "")
        path = PurePosixPath(href.removeprefix("./"))
        if ".." in path.parts or path.is_absolute():
            msg = f"a manifest lists {href!r}, which leads out of the product: nothing was written"
            raise UnsafeAddressError(msg)
        found = _FILE.fullmatch(path.name)
        if found is not None and path.parts[0] in _FOLDERS:
            yield "/".join(safe_name(part) for part in path.parts), found["pole"]


def _short_name(name: str) -> str:
    """Return the short name of a file: ``calibration-s1a-iw-grd-vv-….xml`` is calibration-iw-vv."""
    path = PurePosixPath(name)
    return str(path.with_name(_FILE.sub(r"\g<role>\g<swath>-\g<pole>.\4", path.name)))


# --- buildings ---------------------------------------------------------------------------------


def building_tiles(
    place: Place,
    *,
    index: str = BUILDING_INDEX,
    column: str = "cj_download",
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
        Attribute with the addresses: ``cj_download`` of 3D BAG for CityJSON, ``gpkg_download`` for
        GeoPackage.
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
    3D BAG, tile index: `tile_index.fgb`, tiles of CityJSON with gzip.
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
    geopandas = library("geopandas", extra="vector")
    errors = library("pyogrio.errors", extra="vector")
    try:
        table = geopandas.read_file(path)
    except (errors.DataSourceError, OSError, ValueError) as error:
        msg = f"'{path}' is not a vector file with an index of tiles ({error})"
        raise FetchError(msg) from error
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
