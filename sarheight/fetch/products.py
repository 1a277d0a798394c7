"""Download of Sentinel-1 products, and signed addresses of files that are not public.

The library `planetary-computer` signs for one catalogue only, by requests that no address rule
applies to, and needs pydantic.
"""

from __future__ import annotations

import re
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import defusedxml.ElementTree
from defusedxml.common import DefusedXmlException

from sarheight._runtime import library
from sarheight.errors import ChecksumError, FetchError, UnsafeAddressError
from sarheight.fetch.addresses import host_of, redact, safe_name
from sarheight.fetch.catalogues import Asset
from sarheight.fetch.http import HttpClient
from sarheight.fetch.settings import Settings, lookup
from sarheight.fetch.transfer import FileRequest, ensure_file, no_progress, run_parallel

if TYPE_CHECKING:
    import os

    from sarheight.fetch.catalogues import SceneRecord
    from sarheight.fetch.settings import Catalogue
    from sarheight.fetch.transfer import Report

_FILE = re.compile(
    r"(?P<role>calibration-|noise-|rfi-)?s1[a-z]-(?P<swath>[a-z0-9]+)-[a-z]+-(?P<pole>hh|hv|vh|vv)-"
    r"[a-z0-9-]+\.(xml|tiff)"
)
_FOLDERS = ("measurement", "annotation")
_MANIFEST = "manifest.safe"
_LINK_SECONDS = 3600
_SHOWN = 40
_TOKEN_MARGIN = 120.0
"""Seconds by which a token is renewed before it expires."""


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
    sign = signer(source, source.collection(scene.product) or "", settings)
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


# --- signed addresses --------------------------------------------------------------------------


def signer(source: Catalogue, collection: str, settings: Settings) -> Callable[[str], str]:
    """Return the function that signs addresses of a catalogue's collection, if they need it."""
    if source.sign == "sas":
        return _token_signer(source, f"{source.sign_url}/{collection}", settings)
    if source.sign == "s3":
        return lambda url: _sign_requester_pays(source, url)
    return lambda url: url


def _token_signer(source: Catalogue, address: str, settings: Settings) -> Callable[[str], str]:
    """Append a token of the Planetary Computer, which is free, to addresses of its stores."""
    client = HttpClient.trusting(settings, address)
    lock = threading.Lock()
    token, until = "", 0.0

    def sign(url: str) -> str:
        nonlocal token, until
        host = host_of(url)
        if not any(host == each or host.endswith(f".{each}") for each in source.sign_hosts):
            return url
        with lock:
            if time.time() >= until:
                reply = client.get_json(address)
                token = str(reply.get("token") or "") if isinstance(reply, dict) else ""
                if not token:
                    msg = f"{redact(address)} gave no token to read files with"
                    raise FetchError(msg)
                try:
                    expiry = datetime.fromisoformat(str(reply.get("msft:expiry", "")))
                except ValueError:  # used once
                    expiry = datetime.fromtimestamp(0.0, UTC)
                expiry = expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)
                until = expiry.timestamp() - _TOKEN_MARGIN
            return f"{url}{'&' if urlsplit(url).query else '?'}{token}"

    return sign


def _sign_requester_pays(source: Catalogue, url: str) -> str:
    """Turn ``s3://bucket/key`` into an https address signed with the user's own AWS account.

    Reference: Amazon S3 User Guide, "Downloading objects from Requester Pays buckets".
    """
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return url
    bucket, key = parts.netloc, parts.path.removeprefix("/")
    if bucket not in source.sign_hosts:
        msg = (
            f"{redact(url)} was refused: the catalogue names the bucket {bucket!r}, and your AWS "
            f"account is only used for {', '.join(source.sign_hosts) or 'none'}"
        )
        raise UnsafeAddressError(msg)
    try:
        account = library("botocore.session").get_session().get_credentials()
    except library("botocore.exceptions").BotoCoreError as error:
        msg = f"the AWS account cannot be used ({type(error).__name__}): check its settings"
        raise FetchError(msg) from None
    if account is None:
        msg = (
            f"readers of the bucket {bucket} pay: give an AWS account by AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use another catalogue"
        )
        raise FetchError(msg)
    address = f"{source.sign_url}/{bucket}/{quote(key)}?x-amz-request-payer=requester"
    request = library("botocore.awsrequest").AWSRequest("GET", address)
    labels = host_of(source.sign_url).split(".")
    region = labels[1] if labels[0] == "s3" and len(labels) > 2 else "eu-central-1"
    library("botocore.auth").S3SigV4QueryAuth(
        account.get_frozen_credentials(), "s3", region, expires=_LINK_SECONDS
    ).add_auth(request)
    return str(request.url)
