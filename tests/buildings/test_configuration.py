"""City stacks from catalogues: configurations, a static catalogue, and one that is served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

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
from sarheight.errors import (
    FetchError,
    NotThereError,
    ProductError,
    StackError,
)
from sarheight.fetch import Settings
from sarheight.product import open_product
from tests.cities import (
    NORTH,
    WEST,
    place_of,
    write_3d_bag,
    write_buildings,
    write_catalogue,
    write_geotiff,
)
from tests.cli.commands import passing, run
from tests.dems import dem_around
from tests.servers import add_stac, alone, running
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


def test_a_stack_holds_the_values_of_its_images(world: Path) -> None:
    configuration = StackConfiguration.read(world)
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
    configuration = StackConfiguration.read(world)
    lines: list[str] = []
    (path,) = write_stacks(configuration, tmp_path, report=lines.append)
    assert lines
    lines.clear()
    assert write_stacks(configuration, tmp_path, report=lines.append) == [path]
    assert not lines
    write_stacks(replace(configuration, last="2021-02"), tmp_path, report=lines.append)
    assert lines
    assert open_stack(path).sizes["month"] == 2


def test_the_command_builds_the_stacks_of_a_configuration(world: Path, tmp_path: Path) -> None:
    result = passing("stack", str(world), "-o", str(tmp_path), "--city", "delft")
    assert "2 months of radar, 1 of optical" in result.output
    assert open_stack(tmp_path / "delft.zarr").sizes["optical_band"] == 2
    again = run("stack", str(world), "-o", str(tmp_path), "--city", "gouda")
    assert again.exit_code == 1
    assert "found no gouda in" in again.output
    assert "expected some of delft" in again.output


def test_a_part_may_be_left_out(world: Path) -> None:
    configuration = StackConfiguration.read(world)
    city = configuration.cities[0]
    assert "optical" not in make_stack(replace(configuration, optical=None, buildings=None), city)
    radarless = make_stack(replace(configuration, radar=None), city)
    assert "sar" not in radarless
    assert float(radarless["height"].max()) == pytest.approx(9.0)


def test_a_stack_without_images_or_clear_cells_is_an_error(world: Path) -> None:
    configuration = StackConfiguration.read(world)
    (city,) = configuration.cities
    assert configuration.optical is not None
    with pytest.raises(StackError, match="found no image of sentinel-1-rtc at delft"):
        make_stack(replace(configuration, first="2022-01", last="2022-02"), city)
    clouded = replace(configuration, radar=None, first="2021-02", last="2021-02")
    with pytest.raises(StackError, match="found no clear cell at delft"):
        make_stack(clouded, city)
    with pytest.raises(StackError, match="neither radar nor optical"):
        replace(configuration, radar=None, optical=None)
    wrong = replace(configuration.optical, offset=0.0, most_cloud=0.0)
    with pytest.raises(StackError, match="probably left out"):
        make_stack(replace(configuration, radar=None, optical=wrong), city)
    bands = replace(configuration.optical, bands=("B03",))
    with pytest.raises(FetchError, match=r"found the images blue, swir16, scl .* expected B03"):
        make_stack(replace(configuration, radar=None, optical=bands), city)


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
        make_stack(replace(configuration, optical=None, buildings=None), configuration.cities[0])
    (tmp_path / "catalog.json").write_text("{}")
    with pytest.raises(FetchError, match="cannot be read"):
        items_of(tmp_path / "catalog.json")


def test_a_catalogue_on_the_network_serves_parts_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(monkeypatch, tmp_path)
    configuration = StackConfiguration.read(write_world(tmp_path))
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
        address = add_stac(server, items)
        assert configuration.radar is not None
        served = replace(configuration.radar, catalogue=address)
        stack = make_stack(
            replace(configuration, radar=served, optical=None), configuration.cities[0]
        )
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


def write_index(path: Path, tiles: list[tuple[tuple[float, ...], str]]) -> Path:
    """Write a list of tiles as 3D BAG does."""
    return write_buildings(path, [(box, {"gpkg_download": address}) for box, address in tiles])


def test_tiles_of_buildings_are_downloaded_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone(monkeypatch, tmp_path)
    here = (WEST, NORTH - 1000.0, WEST + 1000.0, NORTH)
    there = (WEST + 90_000.0, NORTH - 1000.0, WEST + 91_000.0, NORTH)
    box = (WEST + 50.0, NORTH - 100.0, WEST + 120.0, NORTH - 40.0)
    packed = write_3d_bag(tmp_path / "tile.gpkg.gz", [(box, 8.0, -1.0)]).read_bytes()
    with running() as server:
        near = server.add("/v2025/tiles/9/1-2.gpkg.gz", packed, etag='"1"')
        tiles = [(here, near), (there, f"{server.url}/v2025/tiles/9/8-8.gpkg.gz")]
        index = write_index(tmp_path / "tile_index.fgb", tiles)
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
        configuration = StackConfiguration.read(write_world(tmp_path))
        source = BuildingSource(index=address)
        chosen = replace(configuration, buildings=source, optical=None)
        stack = make_stack(chosen, configuration.cities[0])
    assert float(stack["height"].max()) == pytest.approx(9.0)


def test_a_city_without_buildings_gives_a_warning(tmp_path: Path) -> None:
    configuration = StackConfiguration.read(write_world(tmp_path))
    far = (WEST + 90_000.0, NORTH - 100.0, WEST + 90_100.0, NORTH)
    (tmp_path / "delft.gpkg").unlink()
    write_buildings(tmp_path / "delft.gpkg", [(far, {"height": 5.0})])
    with pytest.warns(UserWarning, match="none of 1 buildings lies at delft"):
        stack = make_stack(replace(configuration, optical=None), configuration.cities[0])
    assert (stack["height"] == 0.0).all()
    (tmp_path / "delft.gpkg").unlink()
    with pytest.raises(StackError, match="found no file"):
        make_stack(replace(configuration, optical=None), configuration.cities[0])


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
        boxes = [
            (west + 40.0 * k, NORTH - 100.0 * k - 60.0, west + 40.0 * k + 30.0, NORTH - 100.0 * k)
            for k in range(4)
        ]
        rows = [(box, 7.0 + k, -1.0) for k, box in enumerate(boxes)]
        write_3d_bag(tmp_path / "tiles" / "delft" / f"9-{number}.gpkg.gz", rows)
    small = {"width": 4, "depth": 1, "months_width": 4, "heads": 2, "bins": {"count": 4}}
    settings = {"options": small, "optical_bands": ["B02", "B11"], "months": 3, "kept_months": 2,
                "size": 8, "stride": 8, "epochs": 1, "precision": "32-true"}  # fmt: skip
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    commands: list[list[Any]] = [
        ["train", "buildings", configuration, "--block", 160, "--gap", 0, "--validation", 0.3,
         "--settings", tmp_path / "settings.json", "--device", "cpu", "-o", tmp_path / "run"],
        ["predict", tmp_path / "run" / "stacks" / "delft.zarr", "--model",
         tmp_path / "run" / "model", "-o", tmp_path / "heights.tif"],
    ]  # fmt: skip
    for command in commands:
        done = passing(*command)
    heights = open_stack(tmp_path / "run" / "stacks" / "delft.zarr")["height"].values
    assert set(np.unique(heights[heights > 0.0]).round(1)) == {8.0, 9.0, 10.0, 11.0}
    with rasterio.open(tmp_path / "heights.tif") as written:
        assert written.shape == heights.shape
    configuration.write_text(text[: text.index("[buildings]")] + text[text.index("[[cities]]") :])
    done = run("train", "buildings", str(configuration), "-o", str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "found no [buildings]" in done.output
    assert not (tmp_path / "none").exists()


# --- products in radar geometry ----------------------------------------------------------------


def test_products_in_radar_geometry_are_reconstructed(tmp_path: Path) -> None:
    configuration = StackConfiguration.read(write_world(tmp_path))
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
        cities=(City(name="delft", bounds=place),),
    )  # fmt: skip
    stack = make_stack(made, made.cities[0])
    assert float(stack["sar"].notnull().any(dim=("month", "sar_band")).mean()) > 0.9
    assert product.name in stack.attrs["provenance"]
    none = replace(source, products="{name}/*.zip")
    with pytest.raises(StackError, match="found no product"):
        make_stack(replace(made, radar=none), made.cities[0])
