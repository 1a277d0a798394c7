"""Downloads of products: zips, and folders whose files are kept one by one under short names."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from sarheight.errors import ChecksumError, FetchError, UnsafeAddressError
from sarheight.fetch import SceneRecord, Settings, download, scenes
from sarheight.fetch.settings import Catalogue
from tests.servers import Reply, Request, Site, Trouble, add_stac, multihash, stac_item, zip_of

NAME = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4"
STEM = "20210401t052623-20210401t052648-026269-032297"
SHORT = (
    *("measurement/iw-vv.tiff", "measurement/iw-vh.tiff"),
    *("annotation/iw-vv.xml", "annotation/iw-vh.xml"),
    *("annotation/calibration/calibration-iw-vv.xml", "annotation/calibration/noise-iw-vv.xml"),
)
VV, VH = f"s1b-iw-grd-vv-{STEM}-001", f"s1b-iw-grd-vh-{STEM}-002"
FILES = {name.replace("iw-vv", VV).replace("iw-vh", VH): name for name in SHORT}
"""The files of a product, and the names under which an archive keeps them."""
NOISE = np.random.default_rng(3).bytes(300_000)


ZIP = zip_of(
    {f"{NAME}.SAFE/manifest.safe": b"<xfdu/>", f"{NAME}.SAFE/measurement/image.tiff": NOISE}
)
WHOLE = "/odata/v1/Products(1)/$value"


Offer: TypeAlias = Callable[..., tuple[SceneRecord, Settings]]
"""Puts a product into a catalogue, and finds it there."""


@pytest.fixture
def zipped(site: Site, quick: Settings) -> Offer:
    """Offer a zip of the product."""

    def offer(product: dict[str, Any]) -> tuple[SceneRecord, Settings]:
        url = add_stac(site, [stac_item(NAME, assets={"Product": product})])
        source = Catalogue(url=url, grd="sentinel-1-grd")
        known = replace(quick, catalogues={"copernicus": source})
        (record,) = scenes((11.0, 46.0), "2021-04-01", "2021-04-01", settings=known)
        return record, known

    return offer


def honest(site: Site, body: bytes) -> dict[str, Any]:
    url = site.add(WHOLE, body, etag='"1"')
    return {"href": url, "file:size": len(body), "file:checksum": multihash(body)}


# --- zips --------------------------------------------------------------------------------------


def test_a_zip_is_downloaded_whole(zipped: Offer, site: Site, tmp_path: Path) -> None:
    record, known = zipped(honest(site, ZIP))
    site.fail(WHOLE, Trouble(drop_after=100_000))
    path = download(record, tmp_path / "here", settings=known)
    assert path == tmp_path / "here" / f"{NAME}.zip"
    assert path.read_bytes() == ZIP
    in_cache = download(record, settings=known)
    assert in_cache == tmp_path / "cache" / "scenes" / f"{NAME}.zip"


@pytest.mark.parametrize("change", [{"file:checksum": multihash(b"other")}, {"file:size": 7}])
def test_size_and_checksum_of_the_catalogue_count_unless_verify_is_off(
    zipped: Offer, site: Site, tmp_path: Path, change: dict[str, Any]
) -> None:
    product = honest(site, ZIP) | change
    if "file:size" in change:
        product.pop("file:checksum")
    record, known = zipped(product)
    with pytest.raises(ChecksumError, match="announced"):
        download(record, tmp_path, settings=known)
    assert download(record, tmp_path, verify=False, settings=known).is_file()


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (ZIP[:-100], ChecksumError, "not a complete zip"),
        (b"<html>please sign in</html>", ChecksumError, "requires an account"),
        (b"PK\x05\x06" + bytes(18), ChecksumError, "not a Sentinel-1 product"),
        (None, FetchError, "names no file"),
    ],
    ids=["cut short", "a page to sign in", "empty", "none"],
)
def test_what_is_no_product_is_thrown_away(
    zipped: Offer,
    site: Site,
    tmp_path: Path,
    body: bytes | None,
    error: type[Exception],
    message: str,
) -> None:
    record, known = zipped({} if body is None else {"href": site.add("/file", body)})
    with pytest.raises(error, match=message):
        download(record, tmp_path / "here", settings=known)
    assert not list((tmp_path / "here").glob("*.zip"))


@pytest.mark.parametrize(
    "href", ["/etc/passwd", "http://169.254.169.254/latest/", "s3://somebody-elses-bucket/key"]
)
def test_a_hostile_item_is_refused(zipped: Offer, tmp_path: Path, href: str) -> None:
    record, known = zipped({"href": href})
    with pytest.raises(UnsafeAddressError, match="was refused"):
        download(record, tmp_path / "here", settings=known)
    assert not list((tmp_path / "here").glob("[!.]*"))


def test_hostile_names_and_this_machine_are_refused(
    zipped: Offer, site: Site, tmp_path: Path
) -> None:
    record, known = zipped(honest(site, ZIP))
    (asset,) = record.assets
    for name in ("../escaped.zip", "/tmp/x.zip", ".bashrc"):  # noqa: S108
        bad = replace(record, assets=(replace(asset, name=name),))
        with pytest.raises(UnsafeAddressError, match="nothing was written"):
            download(bad, tmp_path / "here", settings=known)
    with pytest.raises(UnsafeAddressError):
        download(replace(record, name="../up"), tmp_path / "here", settings=known)
    far = Catalogue(url="https://stac.example.org", grd="sentinel-1-grd")
    with pytest.raises(UnsafeAddressError, match="expected https"):
        download(record, tmp_path / "here", settings=replace(known, catalogues={"copernicus": far}))


# --- folders -----------------------------------------------------------------------------------


def manifest(names: list[str]) -> bytes:
    rows = "".join(f'<fileLocation href="./{name}"/>' for name in names)
    return f"<xfdu><dataObjectSection>{rows}</dataObjectSection></xfdu>".encode()


WHOLE_MANIFEST = manifest(list(FILES))


def signed(url: str, host: str, kind: str = "sas") -> dict[str, Any]:
    """Return the settings of a service that signs addresses of a host."""
    return {"sign": kind, "sign_url": url, "sign_hosts": (host,)}


@pytest.fixture
def parts(site: Site, quick: Settings) -> Offer:
    """Offer the product's files one by one."""

    def offer(listing: bytes, **source: Any) -> tuple[SceneRecord, Settings]:  # noqa: ANN401
        base = f"/store/{NAME}"
        site.add(f"{base}/manifest.safe", listing)
        for name, short in FILES.items():
            site.add(f"{base}/{short}", name.encode())
        href = source.pop("href", f"{site.url}{base}/manifest.safe")
        url = add_stac(site, [stac_item(NAME, assets={"safe-manifest": {"href": href}})])
        entry = Catalogue(url=url, grd="sentinel-1-grd", layout="folder", **source)
        known = replace(quick, catalogues={"planetary": entry})
        place, day = (11.0, 46.0), "2021-04-01"
        (record,) = scenes(place, day, day, catalogue="planetary", settings=known)
        return record, known

    return offer


def test_a_product_kept_in_parts_gets_its_names_back(parts: Offer, tmp_path: Path) -> None:
    others = ["preview/quick-look.png", "support/s1-level-1-product.xsd"]
    record, known = parts(manifest([*FILES, *others]))
    path = download(record, tmp_path, settings=known)
    assert path == tmp_path / f"{NAME}.SAFE"
    found = {str(each.relative_to(path)) for each in path.rglob("*") if each.is_file()}
    assert found == {*FILES, "manifest.safe"}
    for name in FILES:
        assert (path / name).read_bytes() == name.encode()


def test_one_polarisation_is_enough_for_who_wants_one(parts: Offer, tmp_path: Path) -> None:
    record, known = parts(WHOLE_MANIFEST)
    path = download(record, tmp_path, polarisations=("VH",), settings=known)
    found = {each.name for each in path.rglob("*") if each.is_file()}
    assert found == {"manifest.safe", *(n.rpartition("/")[2] for n in FILES if "-vh-" in n)}


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_all_files_stop_together(
    parts: Offer, site: Site, tmp_path: Path, error: type[BaseException]
) -> None:
    record, known = parts(WHOLE_MANIFEST)
    body = NOISE * 40
    for name in FILES.values():
        page = site.document(f"/store/{NAME}/{name}")
        page.body, page.pace = body, 0.3

    def stop(name: str, done: int, _total: int | None) -> None:
        if name.endswith(".tiff") and done:
            raise error

    with pytest.raises(error):
        download(record, tmp_path, settings=known, progress=stop)
    sizes = [path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()]
    assert max(sizes) < 0.5 * len(body)
    assert not list((tmp_path / f"{NAME}.SAFE" / "measurement").glob("*.tiff"))


@pytest.mark.parametrize(
    "listing",
    [
        b"not xml",
        b"<xfdu/>",
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
    ],
)
def test_a_manifest_that_is_none_is_refused(parts: Offer, tmp_path: Path, listing: bytes) -> None:
    record, known = parts(listing)
    with pytest.raises(ChecksumError, match="manifest"):
        download(record, tmp_path / "here", settings=known)


@pytest.mark.parametrize(
    "name", ["../../escaped.xml", "/etc/escaped.xml", "annotation/../../x.xml"]
)
def test_a_manifest_that_leads_out_is_refused(parts: Offer, tmp_path: Path, name: str) -> None:
    row = f'<fileLocation href="{name}"/></data'.encode()
    record, known = parts(WHOLE_MANIFEST.replace(b"</data", row))
    with pytest.raises(UnsafeAddressError, match="leads out of the product"):
        download(record, tmp_path / "here", settings=known)


def test_signed_addresses_are_signed_and_renewed(parts: Offer, site: Site, tmp_path: Path) -> None:
    tokens: list[str] = []

    def token(_request: Request) -> Reply:
        tokens.append(f"sig=secret{len(tokens)}")
        when = "2020-01-01T00:00:00Z" if len(tokens) == 1 else "2999-01-01T00:00:00Z"
        return Reply(json.dumps({"token": tokens[-1], "msft:expiry": when}).encode())

    record, known = parts(WHOLE_MANIFEST, **signed(f"{site.url}/token", "127.0.0.1"))
    site.pages["/token/sentinel-1-grd"] = token
    download(record, tmp_path, polarisations=("VV",), settings=known)
    used = {each.query.get("sig") for each in site.requests if each.path.startswith("/store/")}
    assert used == {"secret0", "secret1"}
    assert len(tokens) == 2


@pytest.mark.parametrize(
    ("reply", "message"),
    [(b"{}", "gave no token"), (b"[]", "gave no token"), (b"<html>", "did not send JSON")],
)
def test_a_service_that_signs_nothing_is_one_error(
    parts: Offer, site: Site, tmp_path: Path, reply: bytes, message: str
) -> None:
    url = site.add("/token/sentinel-1-grd", reply).removesuffix("/sentinel-1-grd")
    record, known = parts(WHOLE_MANIFEST, **signed(url, "127.0.0.1"))
    with pytest.raises(FetchError, match=message):
        download(record, tmp_path, settings=known)


def test_a_signature_is_not_given_to_other_hosts(parts: Offer, site: Site, tmp_path: Path) -> None:
    record, known = parts(WHOLE_MANIFEST, **signed(f"{site.url}/token", "blob.core.windows.net"))
    download(record, tmp_path, settings=known)
    assert not any("sig" in each.query for each in site.requests)


def test_a_bucket_that_its_readers_pay_is_requested_with_the_users_account(
    parts: Offer, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("botocore")
    address = f"s3://store/{NAME}/manifest.safe"
    record, known = parts(WHOLE_MANIFEST, href=address, **signed(site.url, "store", "s3"))
    with pytest.raises(FetchError, match="AWS_ACCESS_KEY_ID"):
        download(record, tmp_path, settings=known)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    path = download(record, tmp_path, polarisations=("VV",), settings=known)
    assert (path / "manifest.safe").is_file()
    asked = next(each for each in site.requests if each.path.endswith("/manifest.safe"))
    assert asked.query["x-amz-request-payer"] == "requester"
    assert "X-Amz-Signature" in asked.query


def test_the_users_account_is_not_used_for_other_buckets(
    parts: Offer, site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    address = "s3://the-users-own-bucket/private"
    record, known = parts(WHOLE_MANIFEST, href=address, **signed(site.url, "store", "s3"))
    with pytest.raises(UnsafeAddressError, match="only used for store"):
        download(record, tmp_path, settings=known)
