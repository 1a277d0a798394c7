"""The STAC item beside a result."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import antimeridian
import numpy as np
import pystac
import pytest
import rasterio
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from pystac.validation import JsonSchemaSTACValidator

from sarheight import output
from sarheight.dem import mgrs_grid
from sarheight.errors import OutputError
from sarheight.layover import FLAGS
from sarheight.output import atomic
from sarheight.output.grid import footprint
from sarheight.output.stac import stac_item
from tests.results import PRODUCT, dem_of, masks_of, result_of
from tests.zarr_2 import write_version_2

SUFFIXES = (".tif", ".nc", ".zarr")
SCHEMAS = "STAC_SCHEMAS"
EXTENSION = re.compile(
    r"https://stac-extensions\.github\.io/(?P<name>[a-z]+)/(?P<version>v\d\.\d\.\d)/schema\.json"
)
# What the extensions ask for: by name of a field, a test of its value.
FIELDS = {
    "sar:instrument_mode": lambda value: isinstance(value, str) and value,
    "sar:frequency_band": lambda value: value in {"P", "L", "S", "C", "X", "Ku", "K", "Ka"},
    "sar:polarizations": lambda value: value and set(value) <= {"HH", "VV", "HV", "VH"},
    "sar:product_type": lambda value: isinstance(value, str) and value,
    "sar:center_frequency": lambda value: isinstance(value, float),
    "sar:looks_equivalent_number": lambda value: value >= 0,
    "sar:observation_direction": lambda value: value in {"left", "right"},
    "sat:orbit_state": lambda value: value in {"ascending", "descending", "geostationary"},
    "sat:absolute_orbit": lambda value: isinstance(value, int) and value >= 1,
    "sat:relative_orbit": lambda value: isinstance(value, int) and value >= 1,
    "proj:code": lambda value: value is None or re.fullmatch(r"[A-Z]+:\d+", value),
    "proj:wkt2": lambda value: isinstance(value, str),
    "proj:shape": lambda value: len(value) == 2 and all(isinstance(item, int) for item in value),
    "proj:transform": lambda value: len(value) == 6,
    "proj:bbox": lambda value: len(value) == 4 and value[0] < value[2] and value[1] < value[3],
    "grid:code": lambda value: re.fullmatch(r"[A-Z0-9]+-[-_.A-Za-z0-9]+", value),
    "sarheight:inputs": lambda value: all("checksum" in each for each in value),
    "processing:level": lambda value: re.fullmatch(r"L[0-4][A-C]?", value),
    "processing:lineage": lambda value: isinstance(value, str),
    "processing:version": lambda value: isinstance(value, str),
    "processing:datetime": lambda value: value.endswith("+00:00"),
    "processing:software": lambda value: all(isinstance(text, str) for text in value.values()),
    "ceosard:type": lambda value: value in {"optical", "radar"},
    "ceosard:specification": lambda value: value == "NRB",
    "ceosard:specification_version": lambda value: value in {"1.0", "1.1"},
    "sarheight:sources": lambda value: len(value) == 1 and "mode" in value[0],
}


def with_record(dataset: xr.Dataset, folder: Path) -> xr.Dataset:
    (folder / "dem.tif").write_bytes(b"heights")
    record = output.provenance({"dem": folder / "dem.tif", "image": np.eye(2)}, {"steps": 3})
    return dataset.assign_attrs(provenance=record)


def written(
    dataset: xr.Dataset,
    folder: Path,
    suffix: str = ".tif",
    **options: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Write a result with its item, and return the item."""
    output.write(dataset, folder / f"result{suffix}", stac=True, **options)
    found: dict[str, Any] = json.loads((folder / "result.stac.json").read_text(encoding="utf-8"))
    return found


def check_properties(item: dict[str, Any]) -> None:
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    for name, value in item["properties"].items():
        assert ":" not in name or FIELDS[name](value), (name, value)


@pytest.mark.parametrize(("suffix", "passes"), [(".tif", 1), (".nc", 2), (".zarr", 1), (".tif", 2)])
def test_items_are_valid(tmp_path: Path, suffix: str, passes: int) -> None:
    result = with_record(result_of(polarisations=2, passes=passes), tmp_path)
    item = written(result, tmp_path, suffix)
    check_properties(item)
    properties = item["properties"]
    prefixes = {name.partition(":")[0] for name in properties if ":" in name}
    declared = {EXTENSION.fullmatch(uri)["name"] for uri in item["stac_extensions"]}  # type: ignore[index]
    names = {"proj": "projection"}
    assert {names.get(prefix, prefix) for prefix in prefixes} <= declared | {"sarheight"}
    assert {"sar", "projection", "processing", "raster", "classification"} <= declared
    assert ("file" in declared) == (suffix != ".zarr")
    again = pystac.Item.from_file(str(tmp_path / "result.stac.json"))
    href = again.assets["data"].get_absolute_href()
    assert href is not None
    assert Path(href) == tmp_path / f"result{suffix}"


@pytest.mark.parametrize("passes", [1, 2])
def test_items_of_layers_are_valid(tmp_path: Path, passes: int) -> None:
    result = with_record(result_of(polarisations=2, passes=passes), tmp_path)
    folder = output.write(output.ceos_nrb(result, dem_of()), tmp_path / "scene")
    paths = sorted(folder.glob("*.stac.json"))
    assert len(paths) == passes
    for path in paths:
        item = json.loads(path.read_text(encoding="utf-8"))
        check_properties(item)
        assert item["properties"]["datetime"] is not None
        for asset in item["assets"].values():
            assert (folder / asset["href"]).is_file()


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3857"])
def test_items_follow_the_schemas_of_their_extensions(tmp_path: Path, crs: str) -> None:
    folder = os.environ.get(SCHEMAS)
    if folder is None:
        pytest.skip(
            "the schemas of STAC extensions come with no package; name a folder that holds them, "
            f"as <extension>-<version>.json, in the environment variable {SCHEMAS}"
        )
    from jsonschema import Draft7Validator

    made = with_record(result_of(crs, 2), tmp_path)
    tile = tile_of(made) if crs == "EPSG:32632" else made
    item = stac_item(tile, "./result.zarr").to_dict(include_self_link=False)
    for uri in item["stac_extensions"]:
        found = EXTENSION.fullmatch(uri)
        assert found is not None
        path = Path(folder) / f"{found['name']}-{found['version']}.json"
        Draft7Validator(json.loads(path.read_text(encoding="utf-8"))).validate(item)


def tile_of(made: xr.Dataset) -> xr.Dataset:
    """Put a result on the grid of a tile of Sentinel-2, coarse enough to be small."""
    box = mgrs_grid("32TNS", 1800.0)
    axes = {name: axis.values for name, axis in box.coordinates.items()}
    grown = made.isel(y=np.arange(61) % 30, x=np.arange(61) % 40).assign_coords(axes)
    found: xr.Dataset = grown.rio.write_crs(box.crs.to_wkt())
    return found


def test_the_grid_of_a_tile_of_sentinel_2_is_named() -> None:
    made = tile_of(result_of())
    item = stac_item(made, "./result.tif")
    assert item.properties["grid:code"] == "MGRS-32TNS"
    assert any("/grid/v1.1.0/" in uri for uri in item.stac_extensions)
    for other in (made.isel(x=slice(1, None)), made.assign_coords(x=made["x"] + 20.0), result_of()):
        item = stac_item(other, "./result.tif")
        assert "grid:code" not in item.properties
        assert not any("/grid/" in uri for uri in item.stac_extensions)


@pytest.mark.parametrize("name", ["result.zarr", "result.nc", "result.tif", "result"])
def test_renders_lead_to_the_values_that_they_draw(tmp_path: Path, name: str) -> None:
    """Assets exist, and a band or variable in them is that of the layer."""
    result = result_of(polarisations=2)
    path = output.write(result, tmp_path / name, stac=True)
    file = tmp_path / "result.stac.json" if path.suffix else path / "result.stac.json"
    item = json.loads(file.read_text(encoding="utf-8"))
    found = item["properties"]["renders"]
    assert any("/render/v2.0.0/" in uri for uri in item["stac_extensions"])
    assert {"gamma0_vv", "gamma0_vh", "mask", "local_incidence"} <= set(found)
    assert ("rgb" in found) == (path.suffix == "")
    for one in found.values():
        assert set(one["assets"]) <= set(item["assets"])
        assert all(low < high for low, high in one.get("rescale", []))
    assert found["gamma0_vh"]["rescale"][0][1] < found["gamma0_vv"]["rescale"][0][1]
    assert set(found["mask"]["colormap"]) == {str(code) for code in range(7)}
    assert all(re.fullmatch("#[0-9A-Fa-f]{6}", each) for each in found["mask"]["colormap"].values())
    assert found["mask"]["nodata"] == 255
    for layer, expected in (
        ("gamma0_vh", result["gamma0"].sel(polarisation="VH")),
        ("mask", result["mask"]),
    ):
        np.testing.assert_array_equal(_drawn(file.parent, item, found[layer]), expected)


def _drawn(folder: Path, item: dict[str, Any], render: dict[str, Any]) -> Any:  # noqa: ANN401
    """Read what a render names, as a tile server would."""
    (asset,) = render["assets"]
    path = folder / item["assets"][asset]["href"]
    if path.suffix == ".tif":
        with rasterio.open(path) as file:
            values = file.read(render.get("bidx", [1])[0])
            if "mask" in asset or values.dtype != np.float32:
                return values
            return np.where(np.isnan(values) & (render["nodata"] == 255), 255, values)
    group = {"group": render["group"]} if "group" in render else {}
    with xr.open_dataset(path, mask_and_scale=False, **group) as opened:
        chosen = dict(each.split("=") for each in render.get("sel", []))
        return opened[render["variable"]].sel(chosen).values


def test_ranges_follow_the_scale(tmp_path: Path) -> None:
    for scale, high in (("db", -3.98), ("amplitude", 0.63)):
        item = written(result_of(polarisations=1), tmp_path, ".nc", scale=scale, overwrite=True)
        assert item["properties"]["renders"]["gamma0_vv"]["rescale"][0][1] == high


def test_a_store_has_the_names_of_eopf_for_what_means_the_same(tmp_path: Path) -> None:
    item = written(result_of(polarisations=2), tmp_path, ".zarr")
    assets = item["assets"]
    assert set(assets) == {"data", "zarr-store", "gamma0-rtc-backscatter-asc"}
    assert assets["zarr-store"]["href"] == assets["data"]["href"]
    gamma = assets["gamma0-rtc-backscatter-asc"]
    assert [band["name"] for band in gamma["bands"]] == ["vv", "vh"]
    with xr.open_zarr(tmp_path / gamma["href"]) as opened:
        np.testing.assert_array_equal(opened["gamma0"], result_of(polarisations=2)["gamma0"])
    assert {asset["type"] for asset in assets.values()} == {"application/vnd.zarr; version=3"}


def test_other_quantities_do_not_have_them(tmp_path: Path) -> None:
    """Decibels, passes of both directions, and masks are no gamma0 of one direction."""
    for made, scale in (
        (result_of(polarisations=1), "db"),
        (result_of(passes=2), "linear"),
        (masks_of(), "linear"),
    ):
        item = written(made, tmp_path, ".zarr", scale=scale, overwrite=True)
        assert set(item["assets"]) == {"data", "zarr-store"}


def test_a_store_of_version_2_is_described_as_it_is(tmp_path: Path) -> None:
    path = write_version_2(result_of(polarisations=2), tmp_path / "earlier.zarr")
    item = stac_item(output.open_result(path), "./earlier.zarr", file=path)
    assert item.assets["data"].media_type == "application/vnd.zarr; version=2"
    assert item.assets["gamma0-rtc-backscatter-asc"].href == "./earlier.zarr"
    assert "group" not in item.properties["renders"]["gamma0_vv"]


def test_items_hold_acquisition_grid_file_and_bands(tmp_path: Path) -> None:
    result = with_record(result_of(polarisations=2), tmp_path)
    item = written(result, tmp_path)
    properties = item["properties"]
    expected = {
        "platform": "sentinel-1b",
        "constellation": "sentinel-1",
        "instruments": ["c-sar"],
        "sar:instrument_mode": "IW",
        "sar:frequency_band": "C",
        "sar:polarizations": ["VH", "VV"],
        "sat:orbit_state": "ascending",
        "sat:absolute_orbit": 26269,
        "sat:relative_orbit": 168,
        "proj:code": "EPSG:32632",
        "proj:shape": [30, 40],
    }
    assert {name: properties[name] for name in expected} == expected
    assert properties["start_datetime"] < properties["datetime"] < properties["end_datetime"]
    assert properties["processing:software"]["numpy"] == np.__version__
    assert '"steps": 3' in properties["processing:lineage"]
    west, south, east, north = item["bbox"]
    assert west < 10.0 < east
    assert south < 46.0 < north
    with rasterio.open(tmp_path / "result.tif") as file:
        assert list(file.transform)[:6] == properties["proj:transform"]
        assert list(file.bounds) == properties["proj:bbox"]
        assert len(file.indexes) == len(item["assets"]["data"]["bands"])
    # File and bands.
    asset = item["assets"]["data"]
    assert asset["href"] == "./result.tif"
    assert asset["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    names = [band["name"] for band in asset["bands"]]
    assert names[:3] == ["gamma0_vv", "gamma0_vh", "gamma0_std_vv"]
    band = asset["bands"][0]
    assert (band["data_type"], band["nodata"], band["unit"]) == ("float32", "nan", "1")
    known = output.open_result(tmp_path / "result.tif")["gamma0"].sel(polarisation="VV")
    assert band["statistics"]["mean"] == pytest.approx(float(known.mean(dtype=float)), rel=1e-6)
    assert asset["raster:spatial_resolution"] == pytest.approx(30.0, rel=1e-3)
    content = (tmp_path / "result.tif").read_bytes()
    assert asset["file:size"] == len(content)
    assert asset["file:checksum"] == f"1220{hashlib.sha256(content).hexdigest()}"
    (link,) = item["links"]
    assert (link["rel"], link["title"]) == ("derived_from", PRODUCT)
    found = parse_qs(urlsplit(link["href"]).query)
    assert found == {"$filter": [f"Name eq '{PRODUCT}.SAFE'"]}
    checksum = f"1220{hashlib.sha256(b'heights').hexdigest()}"
    (given_,) = item["properties"]["sarheight:inputs"]
    assert given_ == {"name": "dem", "path": "dem.tif", "size": 7, "checksum": checksum}


@pytest.mark.parametrize("suffix", [".tif", ".nc", "folder"])
def test_bands_of_codes_list_their_classes(tmp_path: Path, suffix: str) -> None:
    """As the extension asks: value and name of each, and a colour without #."""
    result = output.ceos_nrb(result_of(polarisations=2), dem_of())
    name = "scene" if suffix == "folder" else f"scene{suffix}"
    output.write(result, tmp_path / name, stac=suffix != "folder")
    folder = tmp_path / "scene" if suffix == "folder" else tmp_path
    item = json.loads((folder / "scene.stac.json").read_text())
    assert any("/classification/v2.0.0/" in uri for uri in item["stac_extensions"])
    bands = {band["name"]: band for each in item["assets"].values() for band in each["bands"]}
    classes = bands["mask"]["classification:classes"]
    assert {each["name"]: each["value"] for each in classes} == FLAGS
    assert all(re.fullmatch(r"[0-9A-F]{6}", each.get("color_hint", "FFFFFF")) for each in classes)
    assert [
        (each["name"], each["offset"], each["length"], len(each["classes"]))
        for each in bands["data_mask"]["classification:bitfields"]
    ] == [("valid", 0, 1, 2), ("layover", 1, 1, 2), ("radar_shadow", 2, 1, 2)]
    assert "classification:classes" not in bands["gamma0" if suffix == ".nc" else "gamma0_vv"]
    without = {name for name, band in bands.items() if "unit" not in band}
    assert without <= {"mask", "fold_count", "data_mask", "acquisition_id"}


def test_identifiers_follow_from_scene_grid_and_method() -> None:
    plain = result_of(polarisations=2)
    names = [
        output.stac_item(one, "any.tif").id
        for one in (
            plain,
            result_of("EPSG:4326", 2),
            result_of(polarisations=2, passes=2),
            plain.isel(x=slice(1, None)),
            plain.assign_attrs(parameters="{}"),
            masks_of(),
        )
    ]
    assert len(set(names)) == len(names)
    assert names[0] == output.stac_item(plain.copy(deep=True), "elsewhere/other.nc").id
    assert all(re.fullmatch(rf"{PRODUCT}_[0-9a-f]{{12}}", name) for name in names[:5])


def test_items_of_several_passes_hold_the_fields_that_these_share(tmp_path: Path) -> None:
    item = written(result_of(polarisations=2, passes=2), tmp_path, ".nc")
    properties = item["properties"]
    assert "sat:orbit_state" not in properties
    assert properties["sat:relative_orbit"] == 168
    assert properties["datetime"] is None
    assert properties["start_datetime"] < properties["end_datetime"]
    bands = {band["name"]: band for band in item["assets"]["data"]["bands"]}
    assert bands["mask"]["nodata"] == 255
    assert bands["mask"]["data_type"] == "uint8"


def test_items_of_an_unknown_mission_have_no_platform() -> None:
    result = masks_of()
    record = json.loads(result.attrs["acquisition"])[0]
    nameless = record | {"mission": "", "mode": "", "polarisations": []}
    item = output.stac_item(
        result.assign_attrs(acquisition=json.dumps([nameless])), "https://example.org/masks.tif"
    )
    assert not {"platform", "constellation", "instruments"} & set(item.properties)
    assert not any(name.startswith("sar:") for name in item.properties)
    assert not any("/sar/" in uri or "/file/" in uri for uri in item.stac_extensions)


def test_datasets_without_acquisition_time_get_no_item_and_no_folder(tmp_path: Path) -> None:
    dataset = result_of().copy()
    del dataset.attrs["acquisition"]
    for name in ("result.nc", "folder"):
        with pytest.raises(ValueError, match="when its images were taken"):
            output.write(dataset, tmp_path / name, stac=True)
    with pytest.raises(ValueError, match="picture"):
        output.write(result_of(), tmp_path / "result.png", stac=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_result_and_item_appear_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"result{suffix}"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync_to_disk", full)
        with pytest.raises(OutputError, match="no space left"):
            output.write(masks_of(), path, stac=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "result.stac.json").write_text("mine")
    with pytest.raises(OutputError, match=r"result\.stac\.json' exists already"):
        output.write(masks_of(), path, stac=True)
    assert not path.exists()
    output.write(masks_of(), path, stac=True, overwrite=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [path.name, "result.stac.json"]
    )


# ---- outlines


def grid(crs: str, left: float, top: float, right: float, bottom: float) -> xr.Dataset:
    """Make a grid of 20 x 30 cells between outer edges."""
    dy, dx = (bottom - top) / 20, (right - left) / 30
    axes = {"y": top + dy * (np.arange(20) + 0.5), "x": left + dx * (np.arange(30) + 0.5)}
    found: xr.Dataset = xr.Dataset(coords=axes).rio.write_crs(crs)
    return found


def rings_of(outline: dict[str, Any]) -> list[list[list[float]]]:
    """Return the outer rings of an outline."""
    polygons = outline["coordinates"]
    return [polygons[0]] if outline["type"] == "Polygon" else [part[0] for part in polygons]


def area(ring: list[list[float]]) -> float:
    x, y = np.transpose(ring)
    return 0.5 * float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def test_the_footprint_of_a_geographic_grid_is_its_edge() -> None:
    outline = footprint(grid("EPSG:4326", 10.0, 47.0, 11.0, 46.0))
    assert outline["type"] == "Polygon"
    assert area(outline["coordinates"][0]) == pytest.approx(1.0)
    assert antimeridian.bbox(outline) == [10.0, 46.0, 11.0, 47.0]


@pytest.mark.parametrize(
    ("left", "right", "direction"),
    [(179.0, 182.0, 1), (179.0, 182.0, -1), (-181.0, -178.0, 1), (539.0, 542.0, -1)],
)
def test_footprints_are_cut_at_the_antimeridian(left: float, right: float, direction: int) -> None:
    dataset = grid("EPSG:4326", left, -16.0, right, -18.0)
    outline = footprint(dataset.isel(x=slice(None, None, direction)))
    assert outline["type"] == "MultiPolygon"
    rings = rings_of(outline)
    assert sorted(area(ring) for ring in rings) == pytest.approx([2.0, 4.0])
    for ring in rings:
        assert ring[0] == ring[-1]
        assert all(-180.0 <= longitude <= 180.0 for longitude, _ in ring)
    assert antimeridian.bbox(outline) == pytest.approx([179.0, -18.0, -178.0, -16.0])


def test_projected_footprints_are_cut_at_the_antimeridian() -> None:
    outline = footprint(grid("EPSG:32601", 100_000.0, 1_100_000.0, 300_000.0, 900_000.0))
    assert outline["type"] == "MultiPolygon"
    west, _, east, _ = antimeridian.bbox(outline)
    assert 178.0 < west < 180.0
    assert -180.0 < east < -177.0


@pytest.mark.parametrize(("crs", "sign"), [("EPSG:3413", 1.0), ("EPSG:3031", -1.0)])
def test_footprints_around_a_pole_include_it(crs: str, sign: float) -> None:
    outline = footprint(grid(crs, -8e5, 9e5, 1e6, -7e5))
    west, south, east, north = antimeridian.bbox(outline)
    assert (west, east) == (-180.0, 180.0)
    assert (north if sign > 0.0 else south) == 90.0 * sign
    assert sum(area(ring) for ring in rings_of(outline)) == pytest.approx(360.0 * 8.0, rel=0.3)


@given(
    st.floats(-180.0, 180.0), st.floats(0.01, 100.0), st.floats(-80.0, 70.0), st.floats(0.01, 10.0)
)
def test_the_antimeridian_cut_preserves_area(
    west: float, width: float, south: float, height: float
) -> None:
    outline = footprint(grid("EPSG:4326", west, south + height, west + width, south))
    areas = [area(ring) for ring in rings_of(outline)]
    assert sum(areas) == pytest.approx(width * height, rel=1e-4)
    assert min(areas) > 0.0
