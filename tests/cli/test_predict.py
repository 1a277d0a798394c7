"""``sarheight predict``: the kind of the network says what is mapped."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")


from pathlib import Path

from sarheight.buildings import BuildingHeightEstimator, predict_buildings, write_stack
from sarheight.learning import Channel, model_kind
from sarheight.output import open_result
from sarheight.zones import ZoneClassifier, predict_zones
from tests.cities import EPSG, NORTH, WEST, small_stack, write_geotiff
from tests.cli.commands import failing, passing, run
from tests.zone_samples import city, small_classifier


@pytest.fixture(scope="module")
def classifier() -> ZoneClassifier:
    return small_classifier(("visible_green", "visible_red", "infrared_nir"))


@pytest.fixture(scope="module")
def estimator() -> BuildingHeightEstimator:
    torch.manual_seed(0)
    small = {"width": 8, "depth": 2, "months_width": 8, "heads": 2, "bins": {"count": 8}}
    channels = {"sar": [Channel("vv_ascending", "1", "decibel", -10.0, 5.0)]}
    return BuildingHeightEstimator(channels, options=small).eval()


def test_a_classifier_maps_zones_of_rasters(classifier: ZoneClassifier, tmp_path: Path) -> None:
    stack, _ = city()
    stack.sel(band=["green", "red"]).rio.to_raster(tmp_path / "visible.tif")
    stack.sel(band=["nir"]).rio.to_raster(tmp_path / "infrared.tif")
    for name, bands in (("visible", ("green", "red")), ("infrared", ("nir",))):
        with rasterio.open(tmp_path / f"{name}.tif", "r+") as raster:
            raster.descriptions = bands
    model = classifier.save_pretrained(tmp_path / "model")
    assert model_kind(model) == "local climate zones"
    passing(
        "predict",
        tmp_path / "visible.tif", tmp_path / "infrared.tif", "--model", model, "--step", 2,
        "--device", "cpu", "-o", tmp_path / "zones.tif",
    )  # fmt: skip
    stack = stack.assign_coords(band=[channel.name for channel in classifier.channels])
    expected = predict_zones(classifier, stack, step=2, device="cpu")
    np.testing.assert_array_equal(open_result(tmp_path / "zones.tif")["zone"], expected["zone"])


def test_an_estimator_maps_the_buildings_of_a_stack(
    estimator: BuildingHeightEstimator, tmp_path: Path
) -> None:
    stack = small_stack(64, 64, months=2)
    write_stack(stack, tmp_path / "city.zarr")
    model = estimator.save_pretrained(tmp_path / "model")
    output = tmp_path / "buildings.tif"
    passing("predict", tmp_path / "city.zarr", "--model", model, "--device", "cpu", "-o", output)
    expected = predict_buildings(estimator, stack, device="cpu")
    np.testing.assert_allclose(
        open_result(output)["height"], expected["height"], rtol=1e-4, atol=1e-4
    )
    city_twice = (tmp_path / "city.zarr",) * 2
    line = failing(2, "predict", *city_twice, "--model", model, "-o", "x.tif")
    assert "found 2 stacks, expected one" in line


def test_a_folder_of_images_becomes_heights_of_outlines(
    estimator: BuildingHeightEstimator, tmp_path: Path
) -> None:
    geopandas = pytest.importorskip("geopandas", reason="the extra `vector` is not installed")
    from shapely import box

    random = np.random.default_rng(2)
    for date in ("20210104", "20210203"):
        power = random.gamma(4.0, 0.02, (64, 64)).astype(np.float32)
        write_geotiff(tmp_path / "images" / f"S1_{date}_VV_asc.tif", power)
    squares = [box(WEST + 105, NORTH - 145, WEST + 130, NORTH - 120), box(0, 0, 1, 1)]
    outlines = geopandas.GeoDataFrame({"name": ["a", "b"]}, geometry=squares, crs=EPSG)
    outlines.to_file(tmp_path / "outlines.gpkg")
    model = estimator.save_pretrained(tmp_path / "model")
    passing(
        "predict",
        tmp_path / "images", "--model", model, "--device", "cpu", "-o", tmp_path / "heights.tif",
        "--footprints", tmp_path / "outlines.gpkg", "--quicklook", tmp_path / "heights.png",
    )  # fmt: skip
    heights = open_result(tmp_path / "heights.tif")
    assert {"height", "height_sigma", "footprint"} <= set(heights)
    assert (tmp_path / "heights.png").stat().st_size > 5_000
    table = geopandas.read_file(tmp_path / "heights.gpkg")
    assert table["name"].tolist() == ["a", "b"]
    # The square covers halves of cells at both ends: weights by area, in quarters of a cell.
    part = heights["height"].values[12:15, 10:13]
    expected = np.average(part, weights=np.outer([1.0, 1.0, 0.5], [0.5, 1.0, 1.0]))
    assert table["height"][0] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(table["height"][1])
    given = ("predict", tmp_path / "images", "--model", model, "-o", tmp_path / "other.tif")
    done = run(*given, "--device", "cpu", "--footprints", tmp_path / "missing.gpkg")
    assert done.exit_code != 0
    assert "missing.gpkg" in done.output


def test_options_of_another_kind_and_folders_without_network_are_refused(
    classifier: ZoneClassifier, estimator: BuildingHeightEstimator, tmp_path: Path
) -> None:
    raster, output = tmp_path / "stack.tif", tmp_path / "out.tif"
    city()[0].rio.to_raster(raster)
    zones = classifier.save_pretrained(tmp_path / "zones")
    buildings = estimator.save_pretrained(tmp_path / "buildings")
    (tmp_path / "empty").mkdir()
    for code, model, options, words in (
        (2, zones, ("--resolution", 10), "a network for local climate zones has no --resolution"),
        (2, buildings, ("--step", 2), "a network for building heights has no --step"),
        (1, tmp_path / "empty", (), "holds no readable config.json"),
    ):
        line = failing(code, "predict", raster, "--model", model, *options, "-o", output)
        assert words in line
    assert not output.exists()
