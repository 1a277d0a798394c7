"""The openEO process: values of the command, by the specification's names and errors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  # gives arrays their `odc`
import pystac
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from scipy.ndimage import map_coordinates

from sarheight.dem import open_dem
from sarheight.geometry import geo2rdr
from sarheight.layover import in_layover, in_shadow
from sarheight.openeo import (
    COEFFICIENTS,
    ELEVATION_MODELS,
    OPTIONS,
    ElevationModel,
    OpenEoError,
    SarItems,
    describe_process,
    sar_backscatter,
)
from sarheight.openeo.items import product_of
from sarheight.output import open_result
from sarheight.product import open_product
from sarheight.workflow import ReconstructConfig
from tests.cli.commands import EAST, NORTH, SEA, passing, write_dem
from tests.synthetic import synthetic_grid
from tests.worlds.products import NAME, Made, grd_product

DEM = "mountain"
DATES = ("2024-01-01T06:00:00Z", "2024-01-13T06:00:00Z")
EXTENT = {"west": 9.98, "south": 45.99, "east": 10.02, "north": 46.01}
OUTLINE = {
    "type": "Polygon",
    "coordinates": [[[9.9, 45.9], [10.1, 45.9], [10.1, 46.1], [9.9, 46.1], [9.9, 45.9]]],
}


@dataclass(frozen=True)
class World:
    """Products of two dates, their items, and an elevation model."""

    folder: Path
    dem: Path
    products: tuple[Made, Made]
    items: tuple[pystac.Item, pystac.Item]


def item_of(made: Made, date: str, polarisations: list[str]) -> pystac.Item:
    """Make the item of a product as catalogues have it: an asset for each measurement."""
    item = pystac.Item(
        id=f"item of {date}",
        geometry=OUTLINE,
        bbox=[9.9, 45.9, 10.1, 46.1],
        datetime=datetime.fromisoformat(date),
        properties={"sar:polarizations": polarisations},
    )
    for path in sorted((made.path / "measurement").iterdir()):
        item.add_asset(path.stem, pystac.Asset(str(path), roles=["data"]))
    item.add_asset("thumbnail", pystac.Asset("https://example.org/preview/quick-look.png"))
    return item


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("catalogue")
    placed = synthetic_grid(lines=260, samples=340, looks=4.4)
    random = np.random.default_rng(3)
    made = []
    for number, names in enumerate((("VV", "VH"), ("VV",))):
        values = {name: random.integers(100, 400, placed[0].shape, np.uint16) for name in names}
        options = {"placed": placed, "numbers": values, "name": NAME}
        made.append(grd_product(folder / str(number), polarisations=names, **options))
    items = item_of(made[0], DATES[0], ["VV", "VH"]), item_of(made[1], DATES[1], ["VV"])
    return World(folder, write_dem(folder / "dem.tif", 30.0), (made[0], made[1]), items)


@pytest.fixture(autouse=True)
def _known_dem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ELEVATION_MODELS, DEM, ElevationModel((world.dem,), "ellipsoidal"))


def by_command(world: World, number: int, *options: object) -> xr.Dataset:
    """Reconstruct a product by the command, within the bounds of its item, once."""
    output = world.folder / f"{number} {' '.join(map(str, options))}.nc".replace("/", " ")
    more = (*SEA, "--variables", "all", "-o", output)
    if "--bounds" not in options:
        more += ("--bounds", *SarItems(world.items).extent)
    if not output.exists():
        passing("reconstruct", world.products[number].path, "--dem", world.dem, *more, *options)
    return open_result(output)


UNSHIFTED, AS_IT_IS = {"coregister": "none"}, ("--coregister", "none")
"""An image that is not compared with its elevation model, which takes half of the time."""
BANDS = {
    "contributing_area": "projected_area",
    "local_incidence_angle": "local_incidence",
    "ellipsoid_incidence_angle": "ellipsoid_incidence",
}
"""Bands beside the polarisations, and the variables of the command's result that they hold."""


def require_values_of_command(
    world: World, cube: xr.DataArray, number: int, layer: str, *command: str
) -> None:
    known = by_command(world, number, *command)
    np.testing.assert_array_equal(cube["y"], known["y"])
    np.testing.assert_array_equal(cube["x"], known["x"])
    assert cube.rio.crs == known.rio.crs
    names = known[layer]["polarisation"].values if number == 0 else "VV"
    np.testing.assert_array_equal(cube.sel(bands=names), known[layer])
    assert np.isfinite(known[layer]).any()
    for band, name in BANDS.items():
        np.testing.assert_array_equal(cube.sel(bands=band), known[name], err_msg=band)


def test_each_date_has_the_values_of_the_command_bit_by_bit(world: World) -> None:
    cube = sar_backscatter(
        world.items, elevation_model=DEM, mask=True, **dict.fromkeys(BANDS, True)
    )
    assert cube.dims == ("t", "bands", "y", "x")
    assert cube.dtype == np.float32
    assert list(cube["bands"].values) == ["VV", "VH", "mask", *BANDS]
    dates = np.array([date.removesuffix("Z") for date in DATES], "datetime64[ns]")
    np.testing.assert_array_equal(cube["t"], dates)
    for number, part in enumerate(cube):
        require_values_of_command(world, part, number, "gamma0", "--method", "rtc")
    assert cube[1].sel(bands="VH").isnull().all(), "the second image has no VH"


@pytest.mark.parametrize(
    ("coefficient", "options", "layer", "command"),
    [
        ("sigma0-terrain", {}, "sigma0", ("--method", "rtc")),
        ("gamma0-terrain", {"method": "posterior"}, "gamma0", ()),
        ("sigma0-ellipsoid", {}, "sigma0_geocoded", ("--method", "rtc", "--calibration", "sigma0")),
        (
            "gamma0-terrain",
            {"crs": "EPSG:3035", "resolution": 40},
            "gamma0",
            ("--method", "rtc", "--crs", "EPSG:3035", "--resolution", "40"),
        ),
    ],
)
def test_values_are_those_of_the_command_bit_by_bit(
    world: World, coefficient: str, options: dict[str, Any], layer: str, command: tuple[str, ...]
) -> None:
    options = UNSHIFTED | options
    bands = dict.fromkeys(BANDS, True)
    (cube,) = sar_backscatter(world.items[0], coefficient, DEM, options=options, **bands)
    require_values_of_command(world, cube, 0, layer, *command, *AS_IT_IS)


@pytest.mark.parametrize(
    ("coefficient", "options", "layer", "command"),
    [
        ("gamma0-terrain", {}, "gamma0", ()),
        ("sigma0-ellipsoid", UNSHIFTED, "sigma0_geocoded", ("--calibration", "sigma0", *AS_IT_IS)),
    ],
)
def test_of_an_extent_values_are_those_of_the_command_within_bounds(
    world: World, coefficient: str, options: dict[str, Any], layer: str, command: tuple[str, ...]
) -> None:
    edges = {"west": 9.996, "south": 45.997, "east": 10.005, "north": 46.003}
    items = SarItems.select(world.items[1:], edges, bands=["VV"])
    cube = sar_backscatter(items, coefficient, DEM, options=options)
    method = ("--method", "rtc")
    known = by_command(world, 1, *method, "--bounds", *edges.values(), *command)
    whole = by_command(world, 1, *method)["mask"].shape
    assert cube.shape[2:] == known[layer].shape < whole
    np.testing.assert_array_equal(cube[0, 0], known[layer])


def test_without_noise_removal_values_are_those_of_the_command(world: World) -> None:
    plain = {"elevation_model": DEM, "options": UNSHIFTED}
    cube = sar_backscatter(world.items[0], **plain, noise_removal=False)
    known = by_command(world, 0, "--method", "rtc", "--no-noise-removal", *AS_IT_IS)
    np.testing.assert_array_equal(cube[0], known["gamma0"].sel(polarisation=["VV", "VH"]))
    removed = sar_backscatter(world.items[0], **plain)
    assert (removed < cube).sum() > 0.9 * cube.notnull().sum()


@pytest.mark.parametrize(
    ("coefficient", "factor"),
    [("beta0", 1.0), ("sigma0-ellipsoid", 1.3), ("gamma0-ellipsoid", 1.2)],
)
def test_ellipsoid_coefficients_are_the_calibrated_image_at_each_place(
    world: World, coefficient: str, factor: float
) -> None:
    """By the tables of the product, the place in the image, and bilinear interpolation alone."""
    made = world.products[0]
    cube = sar_backscatter(world.items[0], coefficient, DEM, noise_removal=False)[0]
    line, sample = (np.arange(size, dtype=float) for size in made.grid.shape)
    heights = open_dem(world.dem, vertical="ellipsoidal")
    place = geo2rdr(heights, *open_product(made.path).grid_and_orbit())
    for name in ("VV", "VH"):
        tables = made.tables[name]
        amplitude = factor * tables.at(tables.amplitude["betaNought"], line, sample)
        power = (made.numbers[name] / amplitude) ** 2
        expected = map_coordinates(power, [place["line"], place["sample"]], order=1)
        found = cube.sel(bands=name).values
        assert np.isfinite(found).mean() > 0.9
        known = np.isfinite(found)
        np.testing.assert_allclose(found[known], expected[known], rtol=1e-4)


def test_without_coefficient_it_is_the_cross_section_of_a_pixel(world: World) -> None:
    """Beta0 times the spacing of pixels along the track and in slant range."""
    grid, orbit = world.products[0].grid, world.products[0].orbit
    section = sar_backscatter(world.items[0], None, DEM)
    beta = sar_backscatter(world.items[0], "beta0", DEM)
    assert section.attrs["units"] == "m2"
    middle = 0.5 * (grid.lines - 1)
    slant = np.ptp(grid.slant_range(middle, [0, grid.samples - 1])) / (grid.samples - 1)
    ratio = (section / beta).where(np.abs(beta) > 1e-3)
    assert ratio.notnull().any()
    assert float(ratio.median()) == pytest.approx(grid.line_spacing(orbit) * slant, rel=0.01)
    assert float(ratio.std() / ratio.mean()) < 0.01


@pytest.mark.parametrize("method", ["rtc", "posterior"])
def test_the_mask_tells_layover_that_is_not_taken_apart(world: World, method: str) -> None:
    options = UNSHIFTED | {"method": method}
    (cube,) = sar_backscatter(world.items[0], elevation_model=DEM, mask=True, options=options)
    command = ("--method", "rtc") if method == "rtc" else ()
    known = by_command(world, 0, *command, *AS_IT_IS)["mask"]
    layover, shadow = in_layover(known).values, in_shadow(known).values
    valid = cube.sel(bands="mask").values
    values = cube.sel(bands=["VV", "VH"])
    np.testing.assert_array_equal(np.isnan(valid), known == 255)
    assert not (valid[shadow] == 1).any()
    assert (valid[np.isnan(values).any("bands").values & (known.values != 255)] == 0).all()
    clear = (known.values < 2) & np.isfinite(values).all("bands").values
    assert (valid[clear] == 1).all()
    apart = layover & ~shadow & np.isfinite(values).all("bands").values
    assert apart.any()
    assert (valid[apart] == (method == "posterior")).all()


def test_a_grid_is_that_of_the_cube(world: World) -> None:
    grid = GeoBox.from_bbox(
        (EAST - 400, NORTH - 300, EAST + 400, NORTH + 300), "EPSG:32632", resolution=25
    )
    items = SarItems.select(world.items, bands=["VH"], grid=grid)
    cube = sar_backscatter(items, elevation_model=DEM)
    assert cube.odc.geobox == grid
    assert cube.shape == (1, 1, *grid.shape), "only the first image has VH"
    assert cube.notnull().any()


def test_an_elevation_model_is_opened_heights_too(world: World) -> None:
    heights = open_dem(world.dem, vertical="ellipsoidal")
    xr.testing.assert_identical(
        sar_backscatter(world.items[0], elevation_model=heights, options=UNSHIFTED),
        sar_backscatter(world.items[0].to_dict(), elevation_model=DEM, options=UNSHIFTED),
    )


@pytest.mark.parametrize(
    ("extent", "times", "found"),
    [
        (None, None, [0, 1]),
        (EXTENT, None, [0, 1]),
        (EXTENT, ["2024-01-01", "2024-01-13T06:00:00Z"], [0]),
        (EXTENT, ["2024-01-02", None], [1]),
        (
            {"west": 5.7e5, "east": 5.8e5, "south": 5.08e6, "north": 5.1e6, "crs": 32632},
            None,
            [0, 1],
        ),
        (OUTLINE, [None, datetime(2024, 1, 2, tzinfo=UTC)], [0]),
        ({"type": "Feature", "geometry": OUTLINE, "properties": {}}, None, [0, 1]),
    ],
)
def test_items_are_selected_by_place_and_time(
    world: World, extent: object, times: Iterable[object] | None, found: list[int]
) -> None:
    items = SarItems.select(world.items, extent, times)
    assert [item.id for item in items.items] == [world.items[number].id for number in found]
    west, south, east, north = items.extent
    assert west < 10.0 < east
    assert south < 46.0 < north


INVALID = "ProcessParameterInvalid"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"bbox": [1.0]}, r"found \[1.0\] for the bbox .* expected four numbers"),
        ({"bbox": [np.nan] * 4}, "for the bbox of the item"),
        ({"bbox": ["a", "b", "c", "d"]}, "for the bbox of the item"),
        ({"bbox": None}, "found None for the bbox"),
        ({"properties": {"sar:polarizations": 5}}, "found 5 for sar:polarizations .* a list"),
        ({"geometry": {"type": "Polygon", "coordinates": "x"}}, "has no geometry of GeoJSON"),
        ({"geometry": {"type": "Odd"}}, "has no geometry of GeoJSON"),
    ],
)
def test_items_that_say_odd_things_are_refused(
    world: World, changed: dict[str, Any], words: str
) -> None:
    """Not the elevation model, which is not to blame, and not by an error of Python's."""
    item = world.items[0].clone()
    for name, value in changed.items():
        setattr(item, name, value)
    extent = EXTENT if "geometry" in changed else None
    with pytest.raises(OpenEoError, match=words) as raised:
        sar_backscatter(SarItems.select([item], extent, None, ["VV"]), elevation_model=DEM)
    assert raised.value.code == INVALID


@pytest.mark.parametrize(
    ("selection", "code", "words"),
    [
        ({"bands": "VV"}, INVALID, "found 'VV', expected a list of polarisations"),
        ({"bands": 5}, INVALID, "found 5, expected a list of polarisations"),
        ({"bands": ["B04"]}, INVALID, "'bands'"),
        ({"items": "S1A"}, INVALID, "'id'"),
        (
            {"spatial_extent": {"type": "FeatureCollection", "features": []}},
            INVALID,
            "'spatial_extent'",
        ),
        ({"spatial_extent": {"west": 1}}, INVALID, "'spatial_extent'"),
        ({"spatial_extent": 4}, INVALID, "'spatial_extent'"),
        (
            {"spatial_extent": {"west": 20, "south": 46, "east": 21, "north": 47}},
            "NoDataAvailable",
            "no data",
        ),
        ({"temporal_extent": ["2030-01-01", None]}, "NoDataAvailable", "given extents"),
        ({"temporal_extent": ["2024-01-02", "2024-01-01"]}, "TemporalExtentEmpty", "greater/later"),
        ({"temporal_extent": ["yesterday", None]}, INVALID, "'temporal_extent'"),
    ],
)
def test_what_cannot_be_selected(
    world: World, selection: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(OpenEoError, match=words) as told:
        SarItems.select(**{"items": world.items, **selection})
    assert told.value.code == code


def test_images_without_the_polarisation_are_no_data(world: World) -> None:
    with pytest.raises(OpenEoError, match="no data available") as raised:
        sar_backscatter(SarItems.select(world.items, EXTENT, None, ["HH"]), elevation_model=DEM)
    assert raised.value.code == "NoDataAvailable"


HUGE = {"extent": [0.0, 0.0, 1e9, 1e9], "crs": "EPSG:32632", "resolution": 1.0}


@pytest.mark.parametrize(
    ("arguments", "parameter", "words"),
    [
        ({"coefficient": "sigma0"}, "coefficient", "expected one of beta0"),
        ({"coefficient": ["beta0"]}, "coefficient", "expected one of beta0"),
        ({"mask": "yes"}, "mask", "expected true or false"),
        ({"noise_removal": 1}, "noise_removal", "expected true or false"),
        ({"options": ["posterior"]}, "options", "expected an object"),
        ({"options": {"guide": "/etc/passwd"}}, "options", "found guide, expected some of method"),
        ({"options": {"orbit": "/etc/orbit.EOF"}}, "options", "orbit other than 'auto'"),
        ({"options": {"method": "magic"}}, "options", "method: found"),
        ({"options": {"law": "lambert"}}, "options", "takes no law"),
        ({"options": {"crs": "EPSG:0"}}, "options", "EPSG:0"),
        ({"options": {"resolution": -3}}, "options", "resolution"),
        ({"options": {"resolution": 0}}, "", "found a resolution of 0"),
        ({"options": HUGE}, "", "found a grid of 1000000000 x 1000000000 cells, expected at most"),
        ({"options": {"method": "posterior"}, "coefficient": "beta0"}, "options", "of the terrain"),
        ({"data": []}, "data", "no items"),
        ({"data": 4}, "data", "found int, expected STAC items"),
        ({"data": [{"id": "x"}]}, "data", "no STAC items"),
    ],
)
def test_parameters_that_are_refused(
    world: World, arguments: dict[str, Any], parameter: str, words: str
) -> None:
    given = {"data": world.items, "elevation_model": DEM, **arguments}
    with pytest.raises(OpenEoError, match=words) as told:
        sar_backscatter(**given)
    assert told.value.code == INVALID
    assert f"'{parameter}' in process 'sar_backscatter'" in str(told.value) or not parameter


def test_a_grid_excludes_options_of_another(world: World) -> None:
    grid = GeoBox.from_bbox((EAST, NORTH, EAST + 90, NORTH + 90), "EPSG:32632", resolution=30)
    items = SarItems.select(world.items, grid=grid)
    with pytest.raises(OpenEoError, match="has a grid already"):
        sar_backscatter(items, elevation_model=DEM, options={"resolution": 20})


def test_elevation_models_that_are_refused(world: World, tmp_path: Path) -> None:
    def refused(model: object, **more: object) -> str:
        with pytest.raises(OpenEoError) as told:
            sar_backscatter(world.items[0], elevation_model=model, **more)
        assert told.value.code == "DigitalElevationModelInvalid"
        return str(told.value)

    assert "COPERNICUS_30" in refused("unheard of")
    assert "expected one of" in refused(str(world.dem)), "a text never names a file"
    assert "expected the name of one" in refused([str(world.dem), "ellipsoidal"])
    assert "vertical" in refused(ElevationModel((world.dem,)))
    assert "nowhere.tif" in refused(ElevationModel((tmp_path / "nowhere.tif",), "ellipsoidal"))
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    refused(ElevationModel((text,), "ellipsoidal"))
    far = write_dem(tmp_path / "far.tif", 30.0, east=EAST + 30_000.0)
    heights = open_dem(far, vertical="ellipsoidal")
    assert "does not meet" in refused(heights)


def test_products_that_are_refused(world: World, tmp_path: Path) -> None:
    def refused(href: str) -> str:
        item = world.items[0].full_copy()
        item.assets = {"product": pystac.Asset(href)}
        with pytest.raises(OpenEoError) as told:
            sar_backscatter(item, elevation_model=DEM)
        assert told.value.code == "ProcessParameterInvalid"
        return str(told.value)

    assert "no product among the assets" in refused("https://example.org/vv.tiff")
    assert world.items[0].id in refused(str(tmp_path / "nowhere.SAFE" / "measurement" / "vv.tiff"))
    (tmp_path / "empty.zip").write_bytes(b"")
    assert "empty.zip" in refused(str(tmp_path / "empty.zip"))


@pytest.mark.parametrize(
    ("hrefs", "product"),
    [
        (["s3://eodata/GRD/A.SAFE/measurement/vv.tiff", "/x/A.zip"], "s3://eodata/GRD/A.SAFE"),
        (["https://host/A.zarr/measurements/VV", "quicklook.png"], "https://host/A.zarr"),
        (["/x/A.SAFE.zip"], "/x/A.SAFE.zip"),
        (["file:///x/A.SAFE/manifest.safe"], "/x/A.SAFE"),
        (["/x/NISAR_L1_RSLC.h5"], "/x/NISAR_L1_RSLC.h5"),
        (["/x/UMBRA-05_SICD.nitf"], "/x/UMBRA-05_SICD.nitf"),
    ],
)
def test_the_product_of_an_item(world: World, hrefs: list[str], product: str) -> None:
    item = world.items[0].full_copy()
    item.assets = {str(number): pystac.Asset(href) for number, href in enumerate(hrefs)}
    assert product_of(item) == product


# By the libraries of openEO, where they are installed.

WHY = "needs openeo-processes-dask, which holds pandas below version 3: see docs/how-to/openeo.md"


def specification() -> dict[str, Any]:
    """Return the description of the process that the package of openEO carries."""
    specs = pytest.importorskip("openeo_processes_dask.specs", reason=WHY)
    return dict(specs.sar_backscatter)


def test_the_signature_is_that_of_the_specification() -> None:
    described = specification()
    parameters = inspect.signature(sar_backscatter).parameters
    stated = {each["name"]: each for each in described["parameters"]}
    assert list(parameters) == list(stated)
    for name, parameter in parameters.items():
        assert (parameter.default is not inspect.Parameter.empty) == stated[name].get(
            "optional", False
        )
        if stated[name].get("optional"):
            default = parameter.default
            assert (dict(default) if isinstance(default, Mapping) else default) == stated[name][
                "default"
            ]
    schemas = stated["coefficient"]["schema"]
    values = {
        None if each["type"] == "null" else value
        for each in schemas
        for value in each.get("enum", [None])
    }
    assert values == set(COEFFICIENTS)
    assert set(described["exceptions"]) == {"DigitalElevationModelInvalid"}


def test_the_description_lists_the_options() -> None:
    before = json.dumps(specification())
    described = describe_process(specification())
    assert json.dumps(specification()) == before, "the specification is copied"
    schemas = {each["name"]: each["schema"] for each in described["parameters"]}
    assert list(schemas["options"]["properties"]) == list(OPTIONS)
    assert all(each["description"] for each in schemas["options"]["properties"].values())
    json.dumps(described)


def test_options_are_those_of_a_reconstruction() -> None:
    assert set(OPTIONS) <= set(ReconstructConfig.__dataclass_fields__)


def node(process: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return a node of a process graph."""
    return {"process_id": process, "arguments": arguments}


def test_a_process_graph_runs_in_the_executor_of_openeo(world: World) -> None:
    specs = pytest.importorskip("openeo_processes_dask.specs", reason=WHY)
    core = pytest.importorskip("openeo_processes_dask.process_implementations.core", reason=WHY)
    implementations = pytest.importorskip("openeo_processes_dask.process_implementations")
    graph = pytest.importorskip("openeo_pg_parser_networkx.graph")
    registries = pytest.importorskip("openeo_pg_parser_networkx.process_registry")
    load = {
        "id": "SENTINEL1_GRD",
        "spatial_extent": EXTENT,
        "temporal_extent": ["2024-01-01", "2024-02-01"],
        "bands": ["VV"],
    }
    sar = {"elevation_model": DEM, "mask": True, "options": {"method": "posterior"}}
    mean_of_dates = node("mean", data={"from_parameter": "data"}) | {"result": True}
    reducer = {"process_graph": {"mean": mean_of_dates}}
    nodes = {
        "load": node("load_collection", **load),
        "sar": node("sar_backscatter", data={"from_node": "load"}, **sar),
        "vv": node("filter_bands", data={"from_node": "sar"}, bands=["VV"]),
        "mean": node("reduce_dimension", data={"from_node": "vv"}, dimension="t", reducer=reducer)
        | {"result": True},
    }
    registry = registries.ProcessRegistry(wrap_funcs=[core.process])

    def load_collection(
        id: str,  # noqa: A002  # as openEO calls it
        spatial_extent: object,
        temporal_extent: Iterable[object],
        bands: list[str] | None = None,
        **_: object,
    ) -> SarItems:
        assert id == "SENTINEL1_GRD"
        return SarItems.select(world.items, spatial_extent, temporal_extent, bands)

    registry["load_collection"] = registries.Process({}, load_collection)
    described = describe_process(specs.sar_backscatter)
    registry["sar_backscatter"] = registries.Process(described, sar_backscatter)
    for name in ("filter_bands", "reduce_dimension", "mean"):
        registry[name] = registries.Process(getattr(specs, name), getattr(implementations, name))
    parsed = graph.OpenEOProcessGraph(pg_data=json.loads(json.dumps({"process_graph": nodes})))
    mean = parsed.to_callable(registry)()
    items = SarItems.select(world.items, EXTENT, bands=["VV"])
    cube = sar_backscatter(items, elevation_model=DEM, options={"method": "posterior"})
    assert mean.dims == ("bands", "y", "x")
    np.testing.assert_allclose(mean, cube.mean("t"), rtol=1e-6)
    assert np.isfinite(mean).any()
    known = cube.openeo  # as the processes of the package see it
    assert (known.x_dim, known.y_dim) == ("x", "y")
    assert (known.temporal_dims, known.band_dims) == (("t",), ("bands",))
