"""City stacks from catalogues: configurations, static catalogues, and served ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr

from sarheight.buildings import (
    BuildingSource,
    City,
    RadarSource,
    StackConfiguration,
    city_grid,
    image_items,
    make_stack,
    open_stack,
    read_buildings,
    valid_months,
    write_stacks,
)
from sarheight.buildings.items import building_tiles
from sarheight.errors import FetchError, NotThereError, ProductError, StackError, UnsafeAddressError
from sarheight.fetch import Settings
from sarheight.fetch.settings import Catalogue
from sarheight.product import open_product
from tests.cities import (
    NORTH,
    SMALL_SETTINGS,
    WEST,
    place_of,
    write_3d_bag,
    write_buildings,
    write_catalogue,
    write_geotiff,
)
from tests.cli.commands import passing, run
from tests.dems import dem_around
from tests.servers import Reply, Site, add_stac, alone, running, stac_item
from tests.worlds.products import drawn_scene, write_product

SIZE = 60
OPTICS, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
IMAGES = (
    ("2021-01-05", "05.10", 0),
    ("2021-01-25", "02.14", SIZE // 2),
    ("2021-02-10", "05.10", SIZE),
)
"""Optical images: date, processing baseline, rows of cloud."""
PASSES = (("2021-01-03T05:50:00Z", "descending"), ("2021-02-08T17:25:00Z", "ascending"))


def write_optical(folder: Path, date: str, baseline: str, cloud: int) -> dict[str, Path]:
    """Write an image whose reflectance is 0.05 in blue, 0.2 in the short-wave infrared."""
    added = 1000 if float(baseline) >= 4.0 else 0
    blue = np.full((SIZE, SIZE), 500 + added, dtype=np.uint16)
    blue[:, ::7] -= 300
    infrared = np.full((SIZE // 2, SIZE // 2), 2000 + added, dtype=np.uint16)
    classes = np.full((SIZE // 2, SIZE // 2), 5, dtype=np.uint8)
    classes[: cloud // 2] = 9
    blue[:cloud] = 9000
    return {
        "blue": write_geotiff(folder / f"{date}_blue.tif", blue, nodata=0),
        "swir16": write_geotiff(folder / f"{date}_swir16.tif", infrared, posting=20.0, nodata=0),
        "scl": write_geotiff(folder / f"{date}_scl.tif", classes, posting=20.0, nodata=0),
    }


def write_radar(folder: Path, number: int) -> dict[str, Path]:
    """Write an image of known power, whose rim has none."""
    found = {}
    for name, level in (("vv", 0.2), ("vh", 0.04)):
        power = np.full((SIZE, SIZE), level * (1 + number), dtype=np.float32)
        power[:, :4] = -32768.0
        found[name] = write_geotiff(folder / f"{number}_{name}.tif", power, nodata=-32768.0)
    return found


def write_world(folder: Path) -> Path:
    """Write images, a catalogue of them, buildings and a configuration; return its path."""
    images = folder / "images"
    items: list[Any] = []
    for date, baseline, cloud in IMAGES:
        properties = {"s2:processing_baseline": baseline, "eo:cloud_cover": 100.0 * cloud / SIZE}
        assets = write_optical(images, date, baseline, cloud)
        items.append((OPTICS, f"S2_{date}", f"{date}T10:40:00Z", properties, assets))
    for number, (time, direction) in enumerate(PASSES):
        assets = write_radar(images, number)
        items.append((RADAR, f"S1_{number}", time, {"sat:orbit_state": direction}, assets))
    write_catalogue(folder, items)
    box = (WEST + 200.0, NORTH - 300.0, WEST + 260.0, NORTH - 200.0)
    write_buildings(folder / "delft.gpkg", [(box, {"b3_h_dak_50p": 7.0, "b3_h_maaiveld": -2.0})])
    configuration = folder / "configuration.toml"
    configuration.write_text(
        f"""
first = "2021-01"
last = "2021-03"

[radar]
catalogue = "catalog.json"
collection = "{RADAR}"

[optical]
catalogue = "catalog.json"
collection = "{OPTICS}"
bands = ["B02", "B11"]
most_cloud = 80

[buildings]
file = "{{name}}.gpkg"

[[cities]]
name = "delft"
bounds = {list(place_of(SIZE, SIZE))}
""",
        encoding="utf-8",
    )
    return configuration


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def configuration(world: Path) -> StackConfiguration:
    return StackConfiguration.read(world)


def stack_of(configuration: StackConfiguration, **changes: Any) -> xr.Dataset:  # noqa: ANN401
    """Make the stack of the only city of a changed configuration."""
    changed = replace(configuration, **changes)
    return make_stack(changed, changed.cities[0])


def test_a_stack_holds_the_values_of_its_images(configuration: StackConfiguration) -> None:
    lines: list[str] = []
    stack = make_stack(configuration, configuration.cities[0], report=lines.append)
    assert stack.sizes["month"] == 3
    assert valid_months(stack)["sar"].tolist() == [True, True, False]
    # The only optical image of February has more cloud than is wanted.
    assert valid_months(stack)["optical"].tolist() == [True, False, False]
    means = stack["sar"].mean(dim=("y", "x"))
    assert float(means.sel(sar_band="vv_descending").isel(month=0)) == pytest.approx(0.2)
    assert float(means.sel(sar_band="vh_ascending").isel(month=1)) == pytest.approx(0.08)
    assert stack["sar"].isel(month=0, x=0).isnull().all()
    # Both images of January have the same reflectance, though their numbers differ by an offset,
    # and what is below the cloud of one comes from the other.
    january = stack["optical"].isel(month=0)
    blue = january.sel(optical_band="B02")
    assert sorted(set(np.round(blue.values.ravel(), 3))) == pytest.approx([0.02, 0.05])
    np.testing.assert_allclose(january.sel(optical_band="B11"), 0.2, atol=1e-6)
    assert float(stack["height"].max()) == pytest.approx(9.0)
    assert 100.0 * float(stack["footprint"].sum()) == pytest.approx(6000.0, rel=0.02)
    assert "S2_2021-01-25" in stack.attrs["provenance"]
    assert any("delft: buildings" in line for line in lines)


def test_stacks_are_kept_until_their_configuration_changes(world: Path, tmp_path: Path) -> None:
    result = passing("stack", str(world), "-o", str(tmp_path), "--city", "delft")
    assert "2 months of radar, 1 of optical" in result.output
    path = tmp_path / "delft.zarr"
    assert open_stack(path).sizes["optical_band"] == 2
    configuration = StackConfiguration.read(world)
    lines: list[str] = []
    assert write_stacks(configuration, tmp_path, report=lines.append) == [path]
    assert not lines
    write_stacks(replace(configuration, last="2021-02"), tmp_path, report=lines.append)
    assert lines
    assert open_stack(path).sizes["month"] == 2
    again = run("stack", str(world), "-o", str(tmp_path), "--city", "gouda")
    assert again.exit_code == 1
    assert "found no gouda in" in again.output
    assert "expected some of delft" in again.output


def test_a_part_may_be_left_out(configuration: StackConfiguration) -> None:
    assert "optical" not in stack_of(configuration, optical=None, buildings=None)
    radarless = stack_of(configuration, radar=None)
    assert "sar" not in radarless
    assert float(radarless["height"].max()) == pytest.approx(9.0)


NO_RADAR: dict[str, Any] = {"radar": None}


@pytest.mark.parametrize(
    ("changes", "optical", "error", "words"),
    [
        ({"first": "2022-01", "last": "2022-02"}, {}, StackError,
         "found no image of sentinel-1-rtc at delft"),
        (NO_RADAR | {"first": "2021-02", "last": "2021-02"}, {}, StackError,
         "found no clear cell at delft"),
        (NO_RADAR | {"optical": None}, {}, StackError, "neither radar nor optical"),
        (NO_RADAR, {"offset": 0.0, "most_cloud": 0.0}, StackError, "probably left out"),
        (NO_RADAR, {"bands": ("B03",)}, FetchError,
         r"found the images blue, swir16, scl .* expected B03"),
        ({"optical": None, "buildings": BuildingSource(file="no.gpkg")}, {}, StackError,
         "found no file"),
    ],
)  # fmt: skip
def test_a_stack_that_cannot_be_made_is_refused(
    configuration: StackConfiguration,
    changes: dict[str, Any],
    optical: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    assert configuration.optical is not None
    source = replace(configuration.optical, **optical)
    with pytest.raises(error, match=words):
        stack_of(configuration, **{"optical": source, **changes})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("first =", "firts ="), "found firts in"),
        (("2021-03", "2020-03"), "as first month and 2020-03 as last"),
        (("2021-03", "spring"), "expected dates such as"),
        (('"2021-03"', "2021-03-01"), "expected texts"),
        (("bounds = [", "bounds = [5.0, "), "expected west, south, east and north"),
        (('"delft"', '"../delft"'), r"expected names of letters"),
        (('"B11"', '"B10"'), "found 'B10' among the optical bands"),
        (('[radar]\ncatalogue = "catalog.json"', "[radar]"), "expected a catalogue, or products"),
        (("[[cities]]", "[[cities"), "is not TOML"),
        (('file = "{name}.gpkg"', ""), "found file='' and index='' for buildings"),
        (('name = "delft"', ""), "a city of .* is incomplete"),
    ],
)
def test_invalid_configurations_are_refused(
    world: Path, tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    changed = tmp_path / "configuration.toml"
    changed.write_text(world.read_text().replace(*change))
    with pytest.raises(StackError, match=words):
        StackConfiguration.read(changed)


def test_the_example_configuration_is_valid() -> None:
    path = Path(__file__).parents[2] / "examples" / "cities" / "dutch_cities.toml"
    configuration = StackConfiguration.read(path)
    assert len(configuration.cities) == 10
    for each in configuration.cities:
        grid = city_grid(each.bounds, crs=configuration.crs, posting=configuration.posting)
        assert min(grid.shape) > 500
        assert max(grid.shape) < 2000
    known = Settings.load().catalogues
    assert configuration.radar is not None
    assert configuration.optical is not None
    assert {configuration.radar.catalogue, configuration.optical.catalogue} <= set(known)


# --- catalogues --------------------------------------------------------------------------------


def items_of(catalogue: Path, **changes: Any) -> Any:  # noqa: ANN401
    question: dict[str, Any] = {
        "place": place_of(SIZE, SIZE), "start": "2021-01-01", "stop": "2021-12-31",
        "collection": OPTICS, **changes,
    }  # fmt: skip
    return image_items(**question, catalogue=str(catalogue))


def test_a_static_catalogue_is_searched_by_bounds_time_and_collection(world: Path) -> None:
    catalogue = world.parent / "catalog.json"
    assert [item.name for item in items_of(catalogue)] == [f"S2_{date}" for date, *_ in IMAGES]
    assert [item.name for item in items_of(catalogue, stop="2021-01-25")] == [
        *("S2_2021-01-05", "S2_2021-01-25")
    ]
    assert len(items_of(catalogue, collection=RADAR)) == 2
    assert items_of(catalogue, place=(10.0, 40.0, 10.1, 40.1)) == ()
    with pytest.raises(FileNotFoundError):
        items_of(world.parent / "no.json")


def test_a_damaged_catalogue_and_a_damaged_image_are_reported(tmp_path: Path) -> None:
    configuration = StackConfiguration.read(write_world(tmp_path))
    (tmp_path / "images" / "0_vv.tif").write_bytes(b"no raster")
    with pytest.raises(ProductError, match=r"0_vv.tif' cannot be read as raster"):
        stack_of(configuration, optical=None, buildings=None)
    (tmp_path / "catalog.json").write_text("{}")
    with pytest.raises(FetchError, match="cannot be read"):
        items_of(tmp_path / "catalog.json")


def test_a_catalogue_on_the_network_serves_parts_of_images(
    configuration: StackConfiguration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(monkeypatch, tmp_path)
    with running() as server:
        box = place_of(SIZE, SIZE)
        items = []
        for number, (time, direction) in enumerate(PASSES):
            assets = {
                name: {"href": server.add(f"/{number}_{name}.tif", path.read_bytes(), etag='"1"')}
                for name, path in write_radar(tmp_path / "images", number).items()
            }
            item = {"type": "Feature", "stac_version": "1.0.0", "id": f"S1_{number}", "links": []}
            item |= {"collection": RADAR, "bbox": list(box), "assets": assets}
            item |= {"geometry": {"type": "Point", "coordinates": list(box[:2])}}
            items.append(item | {"properties": {"datetime": time, "sat:orbit_state": direction}})
        assert configuration.radar is not None
        served = replace(configuration.radar, catalogue=add_stac(server, items))
        stack = stack_of(configuration, radar=served, optical=None)
        read = [request for request in server.requests if request.path.endswith("vv.tif")]
        assert any("Range" in request.headers for request in read)
    means = stack["sar"].mean(dim=("y", "x"))
    assert float(means.sel(sar_band="vv_descending").isel(month=0)) == pytest.approx(0.2)


def test_only_a_window_of_an_image_is_read(world: Path) -> None:
    from sarheight.buildings.items import read_band, read_window

    whole = world.parent / "images" / "2021-01-05_blue.tif"
    grid = city_grid(place_of(20, 20))
    found = read_window(whole, grid, "average")
    with rasterio.open(whole) as opened:
        numbers = opened.read(1)
    row, column = (
        round(float(each) / 10.0) for each in (NORTH - grid.y[0] - 5, grid.x[0] - 5 - WEST)
    )
    expected = numbers[row : row + grid.sizes["y"], column : column + grid.sizes["x"]]
    np.testing.assert_array_equal(found, expected)
    # Classes are never mixed.
    item = items_of(world.parent / "catalog.json")[1]
    classes = read_band(item, "SCL", city_grid(place_of(SIZE, SIZE)))
    assert set(np.unique(classes)) == {5.0, 9.0}


# --- buildings of a large set ------------------------------------------------------------------


def test_tiles_of_buildings_are_downloaded_within_bounds(
    configuration: StackConfiguration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(monkeypatch, tmp_path)
    here = (WEST, NORTH - 1000.0, WEST + 1000.0, NORTH)
    there = (WEST + 90_000.0, NORTH - 1000.0, WEST + 91_000.0, NORTH)
    box = (WEST + 50.0, NORTH - 100.0, WEST + 120.0, NORTH - 40.0)
    packed = write_3d_bag(tmp_path / "tile.gpkg.gz", [(box, 8.0, -1.0)]).read_bytes()
    with running() as server:
        near = server.add("/v2025/tiles/9/1-2.gpkg.gz", packed, etag='"1"')
        far = f"{server.url}/v2025/tiles/9/8-8.gpkg.gz"
        # A list of tiles as 3D BAG has it.
        tiles = [(each, {"gpkg_download": url}) for each, url in ((here, near), (there, far))]
        index = write_buildings(tmp_path / "tile_index.fgb", tiles)
        address = server.add("/tile_index.fgb", index.read_bytes(), etag='"2"')
        place = place_of(SIZE, SIZE)
        (path,) = building_tiles(place, index=address)
        assert read_buildings([path]).heights.tolist() == [9.0]
        asked = len(server.requests)
        assert building_tiles(place, index=address) == [path]
        assert not any("1-2" in request.path for request in server.requests[asked:])
        with pytest.raises(NotThereError, match="found no tile"):
            building_tiles((10.0, 40.0, 10.1, 40.1), index=address)
        with pytest.raises(FetchError, match="expected obj_download"):
            building_tiles(place, index=str(index), column="obj_download")
        stack = stack_of(configuration, buildings=BuildingSource(index=address), optical=None)
    assert float(stack["height"].max()) == pytest.approx(9.0)


def test_a_city_without_buildings_gives_a_warning(
    configuration: StackConfiguration, tmp_path: Path
) -> None:
    far = (WEST + 90_000.0, NORTH - 100.0, WEST + 90_100.0, NORTH)
    path = write_buildings(tmp_path / "far.gpkg", [(far, {"height": 5.0})])
    with pytest.warns(UserWarning, match="none of 1 buildings lies at delft"):
        stack = stack_of(configuration, optical=None, buildings=BuildingSource(file=str(path)))
    assert (stack["height"] == 0.0).all()


def test_tiles_of_3d_bag_train_a_network_by_one_command(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="the extra `learn` is not installed")
    configuration = write_world(tmp_path)
    text = configuration.read_text()
    configuration.write_text(text.replace('"{name}.gpkg"', '"tiles/{name}/*.gpkg.gz"'))
    random = np.random.default_rng(0)
    for path in tmp_path.glob("images/*_[vs][vhw]*.tif"):
        with rasterio.open(path, "r+") as image:
            values = image.read(1)
            speckled = values * random.gamma(100.0, 0.01, values.shape)
            image.write(np.where(values > 0, speckled, values).astype(values.dtype), 1)
    (tmp_path / "tiles" / "delft").mkdir(parents=True)
    for number, west in enumerate((WEST, WEST + 10.0 * SIZE / 2)):
        places = [(west + 40.0 * k, NORTH - 100.0 * k) for k in range(4)]
        rows = [((x, y - 60.0, x + 30.0, y), 7.0 + k, -1.0) for k, (x, y) in enumerate(places)]
        write_3d_bag(tmp_path / "tiles" / "delft" / f"9-{number}.gpkg.gz", rows)
    settings = SMALL_SETTINGS | {"optical_bands": ["B02", "B11"], "months": 3, "kept_months": 2}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    passing(
        "train", "buildings", configuration, "--block", 160, "--gap", 0, "--validation", 0.3,
        "--settings", tmp_path / "settings.json", "--device", "cpu", "-o", tmp_path / "run",
    )  # fmt: skip
    heights = open_stack(tmp_path / "run" / "stacks" / "delft.zarr")["height"].values
    assert set(np.unique(heights[heights > 0.0]).round(1)) == {8.0, 9.0, 10.0, 11.0}
    assert (tmp_path / "run" / "model").is_dir()
    configuration.write_text(text[: text.index("[buildings]")] + text[text.index("[[cities]]") :])
    done = run("train", "buildings", str(configuration), "-o", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "found no [buildings]" in done.output
    assert not (tmp_path / "none").exists()


# --- products in radar geometry ----------------------------------------------------------------


def test_products_in_radar_geometry_are_reconstructed(
    configuration: StackConfiguration, tmp_path: Path
) -> None:
    folder = tmp_path / "sentinel1" / "delft"
    product = open_product(write_product(drawn_scene(), folder / "delft.SAFE"))
    longitude, latitude = product.footprint.mean(axis=0)
    dem = dem_around(latitude, longitude, np.full((40, 40), 0.0), posting=60.0)
    dem.rio.to_raster(tmp_path / "delft.tif")
    source = RadarSource(
        products="sentinel1/{name}/*.SAFE", dem="{name}.tif", vertical="ellipsoidal"
    )
    place = (longitude - 2e-3, latitude - 1e-3, longitude + 2e-3, latitude + 1e-3)
    month = str(product.start)[:7]
    made = replace(
        configuration, radar=source, optical=None, buildings=None, first=month, last=month,
        cities=(City(name="delft", bounds=place),), folder=str(tmp_path),
    )  # fmt: skip
    stack = stack_of(made)
    assert float(stack["sar"].notnull().any(dim=("month", "sar_band")).mean()) > 0.9
    assert product.name in stack.attrs["provenance"]
    with pytest.raises(StackError, match="found no product"):
        stack_of(made, radar=replace(source, products="{name}/*.zip"))


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


def answer(site: Site, item: object) -> None:
    """Have the catalogue find one item."""
    page = {"type": "FeatureCollection", "features": [item], "links": []}
    site.pages["/stac/search"] = lambda _: Reply(json.dumps(page).encode())


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
    answer(site, item)
    try:
        (found,) = image_items(ALPS, *DAYS, catalogue="some", collection="x", settings=known)
    except FetchError as error:
        assert "expected one of ISO 8601" in str(error)  # noqa: PT017
    else:
        assert dict(found.addresses) == {}


def test_an_item_whose_name_is_a_path_is_refused(known: Settings, site: Site) -> None:
    answer(site, stac_item("../../x"))
    with pytest.raises(UnsafeAddressError, match="which is a path, expected an identifier"):
        image_items(ALPS, *DAYS, catalogue="some", collection="x", settings=known)


# --- static catalogues -------------------------------------------------------------------------


def catalogue_of(folder: Path, image: str = "blue.tif") -> Path:
    write_geotiff(folder / "blue.tif", np.ones((4, 4), dtype=np.uint8))
    item = (OPTICS, "one", "2021-01-05T10:00:00Z", {}, {"blue": folder / image})
    return write_catalogue(folder, [item])


def link(catalogue: Path, href: str, rel: str = "child") -> None:
    """Add a link to a catalogue."""
    content = json.loads(catalogue.read_text())
    content["links"].append({"rel": rel, "href": href})
    catalogue.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("href", "rel"),
    [
        ("../secret.json", "child"),
        ("../secret.json", "item"),
        ("/etc/passwd", "item"),
        ("http://127.0.0.1:9/x.json", "child"),
        ("file:///etc/passwd", "item"),
    ],
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
    link(tmp_path / OPTICS / "collection.json", "../catalog.json")
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
