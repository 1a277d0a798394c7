"""Items of catalogues: served ones, and static ones in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sarheight.buildings import image_items
from sarheight.errors import FetchError, UnsafeAddressError
from sarheight.fetch import Settings
from sarheight.fetch.settings import Catalogue
from tests.cities import place_of, write_catalogue, write_geotiff
from tests.servers import Reply, Site, add_stac, alone, running, stac_item

ALPS = (10.5, 46.0, 11.5, 47.0)
DAYS = ("2021-04-01", "2021-04-30")


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as server:
        yield server


@pytest.fixture
def known(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    source = Catalogue(url=add_stac(site, []))
    return alone(monkeypatch, tmp_path, catalogues={"some": source})


# --- served catalogues -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "item",
    [
        {"id": "a", "properties": {"datetime": "2021-04-01T05:26:23Z"}, "assets": {"x": {}}},
        {"id": "a", "properties": {"datetime": "2021-04-01"}, "assets": ["x"]},
        {"id": "a", "properties": 5},
        "x",
    ],
)
def test_an_image_with_holes_is_an_item_with_holes_or_one_error(
    known: Settings, site: Site, item: object
) -> None:
    page = {"type": "FeatureCollection", "features": [item], "links": []}
    site.pages["/stac/search"] = lambda _: Reply(json.dumps(page).encode())
    try:
        (found,) = image_items(ALPS, *DAYS, catalogue="some", collection="x", settings=known)
    except FetchError as error:
        assert "expected one of ISO 8601" in str(error)  # noqa: PT017
    else:
        assert dict(found.addresses) == {}


def test_an_item_whose_name_is_a_path_is_refused(known: Settings, site: Site) -> None:
    page = {"type": "FeatureCollection", "features": [stac_item("../../x")], "links": []}
    site.pages["/stac/search"] = lambda _: Reply(json.dumps(page).encode())
    with pytest.raises(UnsafeAddressError, match="which is a path, expected an identifier"):
        image_items(ALPS, *DAYS, catalogue="some", collection="x", settings=known)


# --- static catalogues -------------------------------------------------------------------------


def catalogue_of(folder: Path, image: str = "blue.tif") -> Path:
    write_geotiff(folder / "blue.tif", np.ones((4, 4), dtype=np.uint8))
    item = ("optics", "one", "2021-01-05T10:00:00Z", {}, {"blue": folder / image})
    return write_catalogue(folder, [item])


def items_of(catalogue: Path) -> Any:  # noqa: ANN401
    place = place_of(60, 60)
    days = ("2021-01-01", "2021-12-31")
    return image_items(place, *days, catalogue=str(catalogue), collection="optics")


def link(catalogue: Path, href: str, rel: str = "child") -> None:
    """Add a link to a catalogue."""
    content = json.loads(catalogue.read_text())
    content["links"].append({"rel": rel, "href": href})
    catalogue.write_text(json.dumps(content))


@pytest.mark.parametrize("rel", ["child", "item"])
@pytest.mark.parametrize(
    "href", ["../secret.json", "/etc/passwd", "http://127.0.0.1:9/x.json", "file:///etc/passwd"]
)
def test_a_static_catalogue_is_not_followed_out_of_its_folder(
    tmp_path: Path, href: str, rel: str
) -> None:
    (tmp_path / "secret.json").write_text("{}")
    catalogue = catalogue_of(tmp_path / "folder")
    link(catalogue, href, rel)
    with pytest.raises(UnsafeAddressError, match="which is not in its folder"):
        items_of(catalogue)


def test_catalogues_that_name_each_other_are_visited_once(tmp_path: Path) -> None:
    catalogue = catalogue_of(tmp_path)
    link(catalogue, "./catalog.json")
    link(tmp_path / "optics" / "collection.json", "../catalog.json")
    assert [item.name for item in items_of(catalogue)] == ["one"]


def test_an_image_is_a_file_in_the_folder_of_its_catalogue(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "secret.tif", np.ones((4, 4), dtype=np.uint8))
    (item,) = items_of(catalogue_of(tmp_path / "folder", "../secret.tif"))
    with pytest.raises(UnsafeAddressError, match="not in its folder"):
        item.source("blue")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.tif")
        (item,) = items_of(catalogue_of(tmp_path, "pipe.tif"))
        with pytest.raises(UnsafeAddressError, match="which is no file"):
            item.source("blue")
