"""Images that are read in parts from servers, honest and hostile."""

from __future__ import annotations

import ast
import gc
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile

from sarheight import archives
from sarheight._rasters import open_alone
from sarheight.archives.rasters import open_raster
from sarheight.buildings import image_items
from sarheight.errors import FetchError, NotThereError, ProductError, UnsafeAddressError
from sarheight.fetch import Settings, dem
from sarheight.fetch.http import HttpClient
from sarheight.fetch.remote import RemoteImage
from sarheight.fetch.settings import DemSource
from tests.servers import Raw, Reply, Request, Site, Trouble, add_stac, alone, stac_item

CODE = Path(archives.__file__).parents[1]
VALUES = np.random.default_rng(5).random((320, 320), dtype=np.float32)
ID = "S1A_IW_GRDH_1SDV_20210401T052623_20210401T052648_037256_04636F_rtc"
PLACE = (7.0, 44.0, 9.0, 46.0)


def geotiff(**options: Any) -> bytes:  # noqa: ANN401
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff", height=320, width=320, count=1, dtype="float32", crs="EPSG:4326",
            transform=Affine(0.01, 0.0, 7.0, 0.0, -0.01, 46.0), **options,
        ) as image:  # fmt: skip
            image.write(VALUES, 1)
        return bytes(memory.read())


BLOCKS = {"tiled": True, "blockxsize": 64, "blockysize": 64}
PLAIN, TILED = geotiff(**BLOCKS), geotiff(**BLOCKS, compress="deflate")


@pytest.fixture
def client(quick: Settings, site: Site) -> HttpClient:
    return HttpClient.trusting(quick, site.url)


# --- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize("ranges", [True, False])
def test_an_image_is_read_as_it_is(site: Site, client: HttpClient, *, ranges: bool) -> None:
    site.add("/a.tif", TILED, etag='"1"', ranges=ranges)
    with RemoteImage(client, f"{site.url}/a.tif?sig=secret").open() as image:
        np.testing.assert_array_equal(image.read(1), VALUES)
        assert "secret" not in image.name
    assert {request.path for request in site.requests} == {"/a.tif"}  # nothing beside it


def test_the_driver_is_that_of_the_name(client: HttpClient) -> None:
    drivers = {".JP2?sig=1.tif": "JP2OpenJPEG", ".tif?x=.jp2": "GTiff", ".vrt": "GTiff"}
    for suffix, driver in drivers.items():
        url = f"https://example.org/{'a' * 300}{suffix}"
        assert RemoteImage(client, url).driver == driver


def test_a_window_costs_its_blocks(site: Site, client: HttpClient) -> None:
    image = RemoteImage(client, site.add("/a.tif", PLAIN))
    with image.open() as opened:
        window = rasterio.windows.Window(130, 130, 20, 20)
        np.testing.assert_array_equal(opened.read(1, window=window), VALUES[130:150, 130:150])
    ranges = [request.headers["Range"].removeprefix("bytes=") for request in site.requests]
    sizes = [int(last) - int(first) + 1 for first, last in (each.split("-") for each in ranges)]
    assert sum(sizes) <= 3 * 65_536


def test_an_image_is_read_by_several_threads_and_elsewhere(site: Site, client: HttpClient) -> None:
    site.add("/a.tif", TILED, etag='"1"')
    image = RemoteImage(client, f"{site.url}/a.tif")
    copy = pickle.loads(pickle.dumps(image))  # noqa: S301  # our own

    def read(each: RemoteImage) -> bool:
        with each.open() as opened:
            return bool((opened.read(1) == VALUES).all())

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(read, (image, image, copy))) == [True] * 3


def test_a_lazy_image_reads_what_is_used(site: Site, client: HttpClient) -> None:
    image = RemoteImage(client, site.add("/a.tif", PLAIN, etag='"1"'))
    lazy = open_raster(image, {"x": 64, "y": 64})
    before = len(site.requests)
    np.testing.assert_array_equal(lazy[-64:, -64:], VALUES[-64:, -64:])
    assert 0 < len(site.requests) - before <= 3
    site.fail("/a.tif", *[Trouble(status=404)] * 99)
    with pytest.raises(NotThereError):
        lazy.compute(scheduler="threads")


def test_a_lazy_image_can_be_dropped_by_any_thread(site: Site, client: HttpClient) -> None:
    """Rasterio lets no other thread close what an opener opened."""
    images = [open_raster(RemoteImage(client, site.add("/a.tif", TILED)), {})]
    images[0].compute()
    thread = threading.Thread(target=lambda: (images.clear(), gc.collect()))
    thread.start()
    thread.join()


# --- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", range(1, 8))
def test_a_server_that_fails_half_way_gives_an_error_and_no_values(
    site: Site, client: HttpClient, after: int
) -> None:
    image = RemoteImage(client, site.add("/a.tif", PLAIN))
    site.fail("/a.tif", *[Trouble()] * after, *[Trouble(status=404)] * 99)
    try:
        with image.open() as opened:
            values = opened.read(1)
    except NotThereError:
        return
    np.testing.assert_array_equal(values, VALUES)


def test_a_broken_connection_costs_one_more_request(site: Site, client: HttpClient) -> None:
    site.add("/a.tif", TILED, etag='"1"')
    site.fail("/a.tif", Trouble(drop_after=1000), Trouble(), Trouble(status=503))
    with RemoteImage(client, f"{site.url}/a.tif").open() as image:
        np.testing.assert_array_equal(image.read(1), VALUES)


def _changing(body: bytes) -> Callable[[Request], Reply]:
    def page(request: Request) -> Reply:
        first, last = map(int, request.headers["Range"].removeprefix("bytes=").split("-"))
        headers = {"ETag": f'"{first}"', "Content-Range": f"bytes {first}-{last}/{len(body)}"}
        return Reply(body[first : last + 1], 206, headers)

    return page


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (_changing(TILED), "has changed while it was read"),
        (
            lambda _: Reply(b"II*\0", 206, {"Content-Range": "bytes 7-10/100"}),
            "not fit for reading",
        ),
        (lambda _: Reply(b"II*\0", 206, {"Content-Range": "bytes 0-3/100"}), "not fit for reading"),
        (lambda _: Reply(b"II*\0", 206), "not fit for reading"),
        (lambda _: Reply(status=403), "requires an account"),
        (lambda _: Reply(status=404), "does not exist"),
        (Raw(lambda: iter([b"HTTP/1.1 200 OK\r\nContent-Ty"])), "the connection broke; gave up"),
    ],
)
def test_what_cannot_be_read_in_parts_is_one_error(
    site: Site,
    client: HttpClient,
    page: Any,  # noqa: ANN401
    message: str,
) -> None:
    site.pages["/a.tif"] = page
    image = RemoteImage(client, f"{site.url}/a.tif")
    with pytest.raises(FetchError, match=message), image.open() as opened:
        opened.read(1)
    site.add("/a.tif", b"<html>no</html>")
    with pytest.raises(RasterioError), image.open():
        pass


# --- addresses inside --------------------------------------------------------------------------


def inside(site: Site) -> dict[str, Any]:
    """Put an image on the server that is reached by an address inside, and one that leads there."""
    site.add("/inside.tif", TILED)
    # Another name of this machine, which nobody has trusted.
    target = f"http://0.0.0.0:{site.port}/inside.tif"
    site.pages["/outside.tif"] = lambda _: Reply(status=302, headers={"Location": target})
    return {"href": f"{site.url}/outside.tif"}


def read_item(site: Site, quick: Settings, _monkeypatch: object, _folder: Path) -> None:
    url = add_stac(site, [stac_item("a", assets={"vv": inside(site)}, bbox=PLACE)])
    where = {"catalogue": url, "collection": "sentinel-1-grd", "settings": quick}
    (item,) = image_items(PLACE, "2021-04-01", "2021-04-02", **where)
    source = item.source("vv")
    assert isinstance(source, RemoteImage)
    with source.open() as image:
        image.read(1)


def trust_this_machine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    settings = folder / "fetch.toml"
    settings.write_text('[network]\ntrusted_hosts = ["127.0.0.1"]\ntries = 1\n')
    monkeypatch.setenv("SARHEIGHT_FETCH_CONFIG", str(settings))


def read_archive(
    site: Site,
    _quick: Settings,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    chunks: Any = None,  # noqa: ANN401
) -> None:
    trust_this_machine(monkeypatch, folder)
    archives.open_rtc({"id": ID, "properties": {}, "assets": {"vv": inside(site)}}, chunks=chunks)


def read_lazily(site: Site, quick: Settings, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    read_archive(site, quick, monkeypatch, folder, {})


def read_tile(site: Site, quick: Settings, _monkeypatch: object, _folder: Path) -> None:
    url = inside(site)["href"].replace("/outside.tif", "/{ns}{lat:02d}{ew}{lon:03d}.tif")
    site.pages["/N45E007.tif"] = site.pages["/outside.tif"]
    known = replace(quick, dem={"own": DemSource(url)})
    dem((7.1, 45.1, 7.2, 45.2), model="own", windows=True, settings=known)


@pytest.mark.parametrize("read", [read_item, read_archive, read_lazily, read_tile])
def test_a_redirect_to_the_inside_is_not_followed(
    site: Site,
    quick: Settings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    read: Any,  # noqa: ANN401
) -> None:
    with pytest.raises(UnsafeAddressError, match=r"0\.0\.0\.0.* was refused"):
        read(site, quick, monkeypatch, tmp_path)
    paths = {request.path for request in site.requests}
    assert paths & {"/outside.tif", "/N45E007.tif"}  # the first address was requested
    assert site.asked("/inside.tif") == []


def test_an_archive_is_read_from_a_server(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone(monkeypatch, tmp_path)
    trust_this_machine(monkeypatch, tmp_path)
    item = {"id": ID, "properties": {}, "assets": {"vv": {"href": site.add("/vv.tif", TILED)}}}
    for chunks in (None, {}):
        found = archives.open_rtc(item, chunks=chunks)["gamma0"][0]
        np.testing.assert_array_equal(found, VALUES)
    site.add("/vv.tif", b"<html>")
    with pytest.raises(ProductError, match=r"vv\.tif' is no raster"):
        archives.open_rtc(item)


@pytest.mark.parametrize("read", [open_alone, lambda path: open_raster(path, None)])
def test_gdal_sends_no_request_where_it_opens_files_of_others(site: Site, read: Any) -> None:  # noqa: ANN401
    url = site.add("/vv.tif", TILED)
    for path in (f"/vsicurl/{url}", url):
        with pytest.raises((RasterioError, ProductError)):
            read(path)
    assert site.requests == []


def test_gdal_is_given_no_address() -> None:
    """No module writes the prefixes by which GDAL sends requests of its own."""
    prefixes = [f"/vsi{kind}" for kind in ("curl", "s3", "gs", "az", "oss", "swift", "webhdfs")]
    found = {
        f"{path.relative_to(CODE)}:{node.lineno}"
        for path in CODE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and any(prefix in node.value for prefix in prefixes)
    }
    assert found == set()
