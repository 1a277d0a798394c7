"""Bringing a Sentinel-1 product that a catalogue knows."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from sarheight.errors import ChecksumError, FetchError, UnsafeAddressError
from sarheight.fetch._addresses import plain, safe_name
from sarheight.fetch._download import Wanted, fetch
from sarheight.fetch._progress import silent
from sarheight.fetch._records import Asset
from sarheight.fetch._settings import Settings, named
from sarheight.fetch._signing import signer
from sarheight.fetch._together import together
from sarheight.fetch._web import Web

if TYPE_CHECKING:
    import os

    from sarheight.fetch._download import Prepare
    from sarheight.fetch._progress import Report
    from sarheight.fetch._records import SceneRecord

__all__ = ["download"]

_SHOWN = 40
_MANIFEST = "manifest.safe"
_FOLDERS = ("measurement", "annotation")
_FILE = re.compile(
    r"(?P<role>calibration-|noise-|rfi-)?s1[a-z]-(?P<swath>[a-z0-9]+)-[a-z]+-(?P<pole>hh|hv|vh|vv)-"
    r"[a-z0-9-]+\.(xml|tiff)"
)


def download(
    scene: SceneRecord,
    directory: str | os.PathLike[str] | None = None,
    *,
    polarisations: tuple[str, ...] = (),
    verify: bool = True,
    settings: Settings | None = None,
    progress: Report = silent,
) -> Path:
    """Bring a product.

    Parameters
    ----------
    scene : SceneRecord
        From `scenes` or `scene_named`.
    directory : path, optional
        Where to put it; ``scenes`` in the cache by default.
    polarisations : tuple of str, optional
        Bring only these, such as ("VV",), where the catalogue has each file on its own. A zip
        holds all of them.
    verify : bool, optional
        Whether the checksum and size of the catalogue must hold. The zip must be whole in any
        case.
    settings : Settings, optional
        Addresses, accounts and patience; by default as the user's file and the environment say.
    progress : callable, optional
        Is told (name, bytes here, bytes in all or None).

    Returns
    -------
    pathlib.Path
        A zip, or a folder that ends in ``.SAFE``. Both can be opened as they are.

    Raises
    ------
    UnsafeAddressError
        If the catalogue names an address or a file that must not be fetched or written.
    ChecksumError
        If what came is not what was announced, or not a whole product.
    FetchError
        If it cannot be had, for instance without an account.
    """
    settings = settings or Settings.load()
    source = named(settings.catalogues, scene.catalogue, "catalogue")
    if not scene.assets:
        msg = (
            f"the catalogue {scene.catalogue} names no file for {scene.name}: take another one, "
            "such as copernicus or asf"
        )
        raise FetchError(msg)
    folder = Path(directory) if directory is not None else settings.cache / "scenes"
    collection = (source.grd if scene.product == "GRD" else source.slc) or ""
    sign = signer(source, collection, settings)
    web = Web.trusting(settings, source.url, *([source.sign_url] if source.sign == "s3" else []))
    bringer = _Bringer(web, sign, progress, verify)
    safe_name(scene.name)
    if source.layout == "archive":
        return _archive(bringer, scene, folder)
    return _folder(bringer, scene, folder / f"{scene.name}.SAFE", polarisations)


@dataclass(frozen=True)
class _Bringer:
    """Brings files from the addresses of one catalogue."""

    web: Web
    sign: Callable[[str], str]
    progress: Report
    verify: bool

    def bring(
        self,
        asset: Asset,
        target: Path,
        prepare: Prepare | None = None,
        progress: Report | None = None,
    ) -> Path:
        """Bring one file, and check what the catalogue said about it."""
        wanted = Wanted(
            lambda: self.sign(asset.url),
            asset.size if self.verify else None,
            asset.checksum if self.verify else None,
            prepare,
        )
        return fetch(self.web, wanted, target, progress or self.progress)


def _archive(bringer: _Bringer, scene: SceneRecord, folder: Path) -> Path:
    asset = scene.assets[0]
    return bringer.bring(asset, folder / safe_name(asset.name), _require_whole_zip)


def _require_whole_zip(path: Path) -> None:
    """Check the end of a zip, where its list of files is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        with path.open("rb") as stream:
            beginning = stream.read(_SHOWN)
        msg = (
            f"what came is not a whole zip, it begins with {beginning!r}; it was thrown away. A "
            "page of text means that the server wanted an account"
        )
        raise ChecksumError(msg) from None
    if not any(name.endswith(_MANIFEST) for name in names):
        msg = f"the zip holds no {_MANIFEST}, so it is not a Sentinel-1 product"
        raise ChecksumError(msg)


def _folder(
    bringer: _Bringer, scene: SceneRecord, folder: Path, polarisations: tuple[str, ...]
) -> Path:
    """Bring the files of a product one by one, and give them their names in the product.

    The stores hold a product under short names (``annotation/iw-vv.xml``) beside its manifest,
    which lists the full ones.
    """
    listed = scene.assets[0]
    manifest = bringer.bring(
        listed, folder / _MANIFEST, lambda path: _require_manifest(path, scene)
    )
    base = listed.url.rpartition("/")[0]
    wanted = {each.lower() for each in polarisations}
    names = [name for name in _listed(manifest) if not wanted or _polarisation(name) in wanted]

    def one(name: str, report: Report) -> Path:
        asset = Asset(name, f"{base}/{_short(name)}")
        return bringer.bring(asset, folder / name, progress=report)

    together(one, names, bringer.progress)
    return folder


def _require_manifest(path: Path, scene: SceneRecord) -> None:
    if not any(_listed(path)):
        msg = f"the manifest of {scene.name} lists no annotation and no measurement"
        raise ChecksumError(msg)


def _listed(manifest: Path) -> Iterator[str]:
    """List the measurements and annotations in a manifest, by names that are harmless."""
    try:
        root = defusedxml.ElementTree.fromstring(manifest.read_bytes(), forbid_dtd=True)
    except (DefusedXmlException, ValueError, SyntaxError) as error:
        msg = f"{plain(str(manifest))} is not a manifest ({type(error).__name__})"
        raise ChecksumError(msg) from None
    for element in root.iter("fileLocation"):
        href = element.get("href", "")
        path = PurePosixPath(href.removeprefix("./"))
        if ".." in path.parts or path.is_absolute():
            msg = f"a manifest lists {href!r}, which leads out of the product: nothing was written"
            raise UnsafeAddressError(msg)
        if path.parts and path.parts[0] in _FOLDERS and _FILE.fullmatch(path.name):
            yield "/".join(safe_name(part) for part in path.parts)


def _short(name: str) -> str:
    """Return the short name of a file of a product.

    ``annotation/calibration/calibration-s1a-iw-grd-vv-….xml`` is kept as
    ``annotation/calibration/calibration-iw-vv.xml``.
    """
    path = PurePosixPath(name)
    found = _parts(path)
    return str(
        path.with_name(f"{found['role'] or ''}{found['swath']}-{found['pole']}{path.suffix}")
    )


def _polarisation(name: str) -> str:
    return _parts(PurePosixPath(name))["pole"]


def _parts(path: PurePosixPath) -> dict[str, str]:
    found = _FILE.fullmatch(path.name)
    return {} if found is None else found.groupdict()
