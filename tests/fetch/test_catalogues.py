"""Searches in STAC catalogues and at ASF, with honest and hostile servers."""

from __future__ import annotations

import datetime as dt
import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sarheight.errors import FetchError, MissingLibraryError, NotThereError, UnsafeAddressError
from sarheight.fetch import Checksum, Limits, SceneRecord, Settings, scene_named, scenes
from sarheight.fetch.catalogues import Time, parse_time
from sarheight.fetch.settings import Catalogue
from tests.servers import (
    BARE,
    CONFORMS,
    Reply,
    Request,
    Site,
    add_stac,
    alone,
    multihash,
    stac_item,
)

GRD = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_EFA4"
LATER = "S1A_IW_GRDH_1SDV_20210407T052600_20210407T052625_037344_046690_1B2C"
OTHER = "S1A_IW_GRDH_1SDV_20210403T170600_20210403T170625_037293_0464B3_AAAA"
SLC = "S1B_IW_SLC__1SDV_20210401T052622_20210401T052650_026269_032297_1234"
ALPS = (10.5, 46.0, 11.5, 47.0)
DAYS = ("2021-04-01", "2021-04-30")


def items() -> list[dict[str, Any]]:
    zipped = b"a zip"
    product = {
        "href": "https://download.example.org/odata/v1/Products(1)/$value",
        "file:size": len(zipped),
        "file:checksum": multihash(zipped),
    }
    return [
        stac_item(LATER, when="2021-04-07T05:26:00Z"),
        stac_item(GRD + "_COG", assets={"Product": product, "vv": {"href": "s3://eodata/vv"}}),
        stac_item(OTHER, when="2021-04-03T17:06:00Z", passing="ascending", track=117),
        stac_item(SLC, collection="sentinel-1-slc"),
        stac_item(GRD.replace("IW", "EW"), when="2021-04-02T05:26:23Z"),
        stac_item(
            GRD.replace("20210401", "20210402"), when="2021-04-02T05:26:23Z", bbox=(60, 10, 63, 12)
        ),
    ]


@pytest.fixture
def known(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    url = add_stac(site, items(), page=2)
    source = Catalogue(url=url, grd="sentinel-1-grd", slc="sentinel-1-slc")
    only_grd = Catalogue(url=url, grd="sentinel-1-grd")
    return alone(monkeypatch, tmp_path, catalogues={"copernicus": source, "other": only_grd})


def names(found: tuple[SceneRecord, ...]) -> list[str]:
    return [record.name for record in found]


# --- searches ---------------------------------------------------------------------------------


def test_products_are_found_by_place_and_time_in_their_order(known: Settings) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(scenes(ALPS, *DAYS, settings=known)) == [GRD + "_COG", OTHER, LATER]
    assert names(scenes((11.0, 46.5), *DAYS, settings=known)) == [GRD + "_COG", OTHER, LATER]
    assert names(scenes((0.0, 0.0), *DAYS, settings=known)) == []
    assert len(scenes(ALPS, *DAYS, limit=1, settings=known)) == 1


def test_a_record_holds_what_the_catalogue_says(known: Settings) -> None:
    record = scenes(ALPS, "2021-04-01", "2021-04-01", settings=known)[0]
    assert (record.mission, record.mode, record.product) == ("S1B", "IW", "GRD")
    assert record.start == np.datetime64("2021-04-01T05:26:23")
    assert record.stop == np.datetime64("2021-04-01T05:26:48")
    assert record.polarisations == ("VV", "VH")
    assert (record.passing, record.relative_orbit) == ("descending", 168)
    assert record.footprint["type"] == "Polygon"
    assert record.size == 5
    (asset,) = record.assets
    assert asset.name == f"{GRD}_COG.zip"
    assert asset.checksum == Checksum("md5", multihash(b"a zip").removeprefix("d50110"))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"passing": "ascending"}, [OTHER]),
        ({"passing": "Descending"}, [GRD + "_COG", LATER]),
        ({"relative_orbit": 117}, [OTHER]),
        ({"mission": "s1b"}, [GRD + "_COG"]),
        ({"product": "slc"}, [SLC]),
        ({"mode": "EW"}, [GRD.replace("IW", "EW")]),
    ],
)
def test_products_are_found_by_their_kind(
    known: Settings, choice: dict[str, Any], expected: list[str]
) -> None:
    assert names(scenes(ALPS, *DAYS, settings=known, **choice)) == expected


def test_a_place_across_the_antimeridian_is_searched_in_two_parts(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = add_stac(
        site,
        [
            stac_item(GRD, bbox=(177.0, 60.0, 180.0, 62.0)),
            stac_item(LATER, when="2021-04-07T05:26:00Z", bbox=(-180.0, 60.0, -178.0, 62.0)),
        ],
    )
    sources = {"copernicus": Catalogue(url=url, grd="sentinel-1-grd")}
    known = alone(monkeypatch, tmp_path, catalogues=sources)
    for place in ((178.0, 60.0, -179.0, 61.0), (178.0, 60.0, 181.0, 61.0)):
        assert names(scenes(place, *DAYS, settings=known)) == [GRD, LATER]


def test_one_product_is_found_by_any_spelling_of_its_name(known: Settings) -> None:
    for name in (GRD, f"{GRD}.SAFE", GRD.removesuffix("_EFA4"), f"{GRD}_COG"):
        assert scene_named(name, settings=known).name == f"{GRD}_COG"
    with pytest.raises(NotThereError, match="does not have"):
        scene_named(GRD.replace("052623", "052600"), settings=known)
    with pytest.raises(ValueError, match="expected one such as"):
        scene_named("something else", settings=known)


NIGHT, EVENING = "2021-04-01T00:00:00+00:00", "2021-04-01T23:59:59.999999+00:00"
MORNING = "2021-04-01T05:26:23+00:00"


@pytest.mark.parametrize(
    ("when", "first", "last"),
    [
        ("2021-04-01", NIGHT, EVENING),
        (dt.date(2021, 4, 1), NIGHT, EVENING),
        (np.datetime64("2021-04-01"), NIGHT, None),
        (dt.datetime(2021, 4, 1, tzinfo=dt.UTC), NIGHT, None),
        ("2021-04-01T05:26:23Z", MORNING, MORNING),
        ("2021-04-01T07:26:23+02:00", MORNING, MORNING),
        (np.datetime64("2021-04-01T05:26:23.5", "ns"), "2021-04-01T05:26:23.500000+00:00", None),
    ],
)
def test_a_time_in_any_form_becomes_one_of_utc(when: Time, first: str, last: str | None) -> None:
    assert parse_time(when).isoformat() == first
    if last is not None:
        assert parse_time(when, end=True).isoformat() == last


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"product": "OCN"}, "expected GRD or SLC"),
        ({"passing": "up"}, "expected ascending or descending"),
        ({"limit": 0}, "expected 1 or more"),
        ({"catalogue": "nowhere"}, "no catalogue named 'nowhere'"),
        ({"catalogue": "other", "product": "SLC"}, "has no SLC"),
        ({"start": "last week"}, "is not a time"),
        ({"start": "2021-05-01"}, "ends .* before it begins"),
    ],
)
def test_a_search_without_sense_is_refused_before_any_request(
    known: Settings, site: Site, choice: dict[str, Any], message: str
) -> None:
    start = choice.pop("start", DAYS[0])
    with pytest.raises(ValueError, match=message):
        scenes(ALPS, start, DAYS[1], settings=known, **choice)
    assert site.requests == []


# --- trouble -----------------------------------------------------------------------------------


def test_a_busy_catalogue_is_searched_again(known: Settings, site: Site) -> None:
    honest, left = site.pages["/stac/search"], [429, 503]

    def busy(request: Request) -> Reply:
        if left:
            return Reply(status=left.pop(), headers={"Retry-After": "0"})
        assert callable(honest)
        return honest(request)

    site.pages["/stac/search"] = busy
    assert len(scenes(ALPS, *DAYS, settings=known)) == 3


@pytest.mark.parametrize(
    ("path", "reply", "message"),
    [
        ("/stac/search", Reply(status=503), "HTTP 503; gave up"),
        ("/stac/search", Reply(status=400, body=b"{}"), "HTTP 400"),
        ("/stac/search", Reply(b"<html>hello</html>"), "could not be searched"),
        ("/stac", Reply(b"<html>hello</html>"), "could not be searched"),
        ("/stac", Reply(b"{}"), "could not be searched"),
        ("/stac", Reply(b"[]"), "could not be searched"),
        ("/stac", Reply(b'{"type": "Catalog"}'), "could not be searched"),
        ("/stac", Reply(json.dumps(BARE).encode()), "could not be searched"),
        ("/stac", Reply(b"[" * 100_000), "could not be searched"),
    ],
)
def test_what_is_no_catalogue_or_fails_is_one_error(
    known: Settings, site: Site, path: str, reply: Reply, message: str
) -> None:
    site.pages[path] = lambda _: reply
    with pytest.raises(FetchError, match=message):
        scenes(ALPS, *DAYS, settings=known)


def serve(site: Site, *features: object, link: object = None) -> None:
    """Answer every search by one page."""
    links = [] if link is None else [link]
    page = {"type": "FeatureCollection", "features": features, "links": links}
    site.pages["/stac/search"] = lambda _: Reply(json.dumps(page).encode())


def test_what_is_no_item_is_left_out(known: Settings, site: Site) -> None:
    serve(site, "x", None, {}, {"id": 5}, stac_item(GRD))
    with pytest.warns(UserWarning, match="it was left out") as told:
        assert names(scenes(ALPS, *DAYS, settings=known)) == [GRD]
    assert len(told) == 4


@pytest.mark.parametrize(
    ("rel", "href"),
    [
        ("next", "http://169.254.169.254/latest"),
        ("next", "file:///etc/passwd"),
        ("search", "http://169.254.169.254/latest"),
        ("search", "ftp://example.org/page"),
    ],
)
def test_a_catalogue_cannot_send_us_to_the_inside(
    known: Settings, site: Site, rel: str, href: str
) -> None:
    link = {"rel": rel, "href": href, "type": "application/geo+json"}
    link |= {"method": "GET" if rel == "next" else "POST"}
    serve(site, items()[0], link=link)
    if rel == "search":
        catalogue = BARE | {"conformsTo": CONFORMS, "links": [link]}
        site.pages["/stac"] = lambda _: Reply(json.dumps(catalogue).encode())
    with pytest.raises(UnsafeAddressError, match="was refused"):
        scenes(ALPS, *DAYS, settings=known)


def test_pages_without_end_are_left_at_the_limit(known: Settings, site: Site) -> None:
    link = {"rel": "next", "href": f"{site.url}/stac/search", "method": "GET"}
    serve(site, stac_item(GRD.replace("IW", "EW")), link=link)
    few = replace(known, limits=Limits(pages=5))
    with pytest.raises(FetchError, match="exceeds pages = 5"):
        scenes(ALPS, *DAYS, settings=few)
    assert len(site.asked("/stac/search")) <= 7


@pytest.mark.parametrize("name", ["../../.ssh/authorized_keys", "/etc/passwd", "..", "a\\b", "a\n"])
def test_an_item_whose_name_is_a_path_is_refused(known: Settings, site: Site, name: str) -> None:
    serve(site, stac_item(name))
    with pytest.raises(UnsafeAddressError, match="which is a path, expected an identifier"):
        scenes(ALPS, *DAYS, settings=known)


@pytest.mark.parametrize(
    "item",
    [
        {"id": GRD, "properties": None, "assets": None, "geometry": None},
        {"id": GRD, "properties": {"sat:relative_orbit": "x", "start_datetime": 5}, "assets": []},
        {"id": GRD, "properties": {"sat:orbit_state": 1}, "assets": {"Product": "x"}},
        {"id": GRD, "properties": {}, "assets": {"Product": {"href": None, "file:size": -1}}},
    ],
)
def test_an_item_with_holes_is_a_record_with_holes(
    known: Settings, site: Site, item: dict[str, Any]
) -> None:
    serve(site, item)
    (record,) = scenes(ALPS, *DAYS, settings=known)
    assert record.start == np.datetime64("2021-04-01T05:26:23")
    assert record.relative_orbit is None
    assert record.assets == ()


@pytest.mark.parametrize("library", ["pystac_client", "asf_search"])
def test_a_missing_library_is_named_with_what_to_install(
    known: Settings, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    kind = "asf" if library == "asf_search" else "stac"
    source = replace(known.catalogues["other"], kind=kind)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=rf"{library}.*pip install 'sarheight\[fetch\]'"):
        scenes(ALPS, *DAYS, catalogue="a", settings=replace(known, catalogues={"a": source}))


# --- Alaska Satellite Facility -----------------------------------------------------------------


def granule(name: str) -> dict[str, Any]:
    """Write a product as NASA's catalogue does (UMM-G)."""
    corners = [(10.0, 45.0), (13.0, 45.0), (13.0, 47.0), (10.0, 47.0), (10.0, 45.0)]
    points = [{"Longitude": x, "Latitude": y} for x, y in corners]
    times = {"BeginningDateTime": "2021-04-01T05:26:23Z", "EndingDateTime": "2021-04-01T05:26:48Z"}
    attributes = {
        "ASCENDING_DESCENDING": "DESCENDING",
        "PATH_NUMBER": "168",
        "BYTES": "1000000",
        "MD5SUM": "0" * 32,
        "POLARIZATION": "VV+VH",
        "PROCESSING_TYPE": "GRD_HD",
    }
    product = {
        "GranuleUR": f"{name}-GRD_HD",
        "CollectionReference": {"ShortName": "SENTINEL-1B_DP_GRD_HIGH"},
        "Platforms": [{"ShortName": "SENTINEL-1B"}],
        "DataGranule": {
            "Identifiers": [{"IdentifierType": "ProducerGranuleId", "Identifier": name}],
            "ProductionDateTime": "2021-04-01T08:00:00Z",
        },
        "TemporalExtent": {"RangeDateTime": times},
        "SpatialExtent": {
            "HorizontalSpatialDomain": {
                "Geometry": {"GPolygons": [{"Boundary": {"Points": points}}]}
            }
        },
        "RelatedUrls": [{"Type": "GET DATA", "URL": f"https://datapool.example/{name}.zip"}],
        "AdditionalAttributes": [
            {"Name": key, "Values": [value]} for key, value in attributes.items()
        ],
    }
    return {"meta": {"concept-id": "G1-ASF"}, "umm": product}


@pytest.fixture
def asf(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    pytest.importorskip("asf_search")
    source = Catalogue(url=site.url, kind="asf", grd="GRD", slc="SLC")
    return alone(monkeypatch, tmp_path, tries=2, catalogues={"asf": source})


def test_asf_is_searched_by_its_library(site: Site, asf: Settings) -> None:
    answer = {"items": [granule(GRD)], "hits": 1}
    site.pages["/search/granules.umm_json"] = lambda _: Reply(json.dumps(answer).encode())
    (record,) = scenes(ALPS, *DAYS, passing="descending", catalogue="asf", settings=asf)
    assert record.name == GRD
    assert (record.passing, record.relative_orbit) == ("descending", 168)
    assert record.start == np.datetime64("2021-04-01T05:26:23")
    assert record.size == 1_000_000
    assert record.assets[0].url == f"https://datapool.example/{GRD}.zip"
    assert record.assets[0].checksum == Checksum("md5", "0" * 32)
    asked = site.requests[0].body.decode()
    assert "DESCENDING" in asked
    assert "2021-04-01T00%3A00%3A00Z" in asked


def test_a_failure_of_asf_is_one_error(site: Site, asf: Settings) -> None:
    body = json.dumps({"errors": ["no"]}).encode()
    for status, message in ((400, "could not be searched"), (503, "HTTP 503; gave up")):
        site.pages["/search/granules.umm_json"] = lambda _, status=status: Reply(body, status)
        with pytest.raises(FetchError, match=message):
            scenes(ALPS, *DAYS, catalogue="asf", settings=asf)


def test_pages_of_asf_without_end_are_left_at_the_limit(site: Site, asf: Settings) -> None:
    page = json.dumps({"items": [granule("S1B_OTHER")], "hits": 10**6}).encode()
    site.pages["/search/granules.umm_json"] = lambda _: Reply(
        page, headers={"CMR-Search-After": "again", "CMR-Hits": "1000000"}
    )
    few = replace(asf, limits=Limits(pages=5))
    with pytest.raises(FetchError, match="exceeds pages = 5"):
        scenes(ALPS, *DAYS, catalogue="asf", settings=few)
    assert len(site.requests) <= 5
