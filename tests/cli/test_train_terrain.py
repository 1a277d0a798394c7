"""From products and elevation models to a trained network and a map of heights."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from click.testing import Result

from sarheight.dem import coarsen
from sarheight.illumination import simulate
from sarheight.output import open_result
from sarheight.terrain import HeightEstimator, draw_altimeter_tracks, draw_known_elevations
from tests.cli.commands import SEA, Files, failing, passing, run, write_points
from tests.mountains import look, mountain, raster
from tests.worlds.products import NAME, grd_of_scene
from tests.worlds.safe import pack

SETTINGS = {
    "network": "unet",
    "options": {"width": 4, "depth": 2},
    "size": 16,
    "stride": 8,
    "known_count": [2, 6],
    "epochs": 1,
    "precision": "32-true",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an elevation model, and settings of a small network."""
    made = tmp_path_factory.mktemp("learning")
    raster(mountain(48, 72)).rio.to_raster(made / "dem.tif")
    (made / "settings.json").write_text(json.dumps(SETTINGS))
    return made


@pytest.fixture(scope="module")
def scene(files: Files, folder: Path) -> Path:
    given = ("--like", files.annotation, "--dem", folder / "dem.tif", *SEA)
    passing("scenes", *given, "-o", folder / "scenes")
    path = folder / "scenes" / "dem_0.zarr"
    assert "simulated" in open_result(path).attrs
    return path


@pytest.fixture(scope="module")
def model(folder: Path, scene: Path) -> Path:
    passing(
        "train", "terrain", scene, "-o", folder / "run", "--settings", folder / "settings.json",
        "--validation", 0.4, "--gap", 120, "--device", "cpu", "--quiet",
    )  # fmt: skip
    return folder / "run" / "model"


def test_heights_of_a_scene(scene: Path, model: Path, tmp_path: Path) -> None:
    truth = open_result(scene)["height"]
    known = draw_known_elevations(truth, 5).to_crs(4326)
    points = write_points(known, tmp_path / "known.csv")
    command = ("predict", scene, "--model", model, "--known", points)
    command += ("--known-vertical", "ellipsoidal", "-o")
    passing(*command, tmp_path / "heights.tif")
    result = open_result(tmp_path / "heights.tif")
    assert result["height"].shape == truth.shape
    assert np.isfinite(result["height"]).all()
    assert result.attrs["known_elevations"] == 5
    # The same points in metres of the map.
    write_points(known.to_crs(32632), points, "x,y,height")
    again = (*command, tmp_path / "again.tif")
    assert "pass --known-crs EPSG:32632" in run(*again).stderr
    passing(*again, "--known-crs", "EPSG:32632")
    assert open_result(tmp_path / "again.tif").attrs["known_elevations"] == 5
    assert result["height"].attrs["units"] == "m"
    assert (result["height_sigma"] > 0.0).all()


def test_a_part_that_is_smaller_than_a_patch_is_refused_before_training(
    folder: Path, scene: Path, tmp_path: Path
) -> None:
    line = failing(
        1, "train", "terrain", scene, "-o", tmp_path / "run", "--device", "cpu",
        "--settings", folder / "settings.json",
        "--validation", 0.4, "--held-out", 0.1, "--gap", 60,
    )  # fmt: skip
    assert "found no patch of 16 x 16 cells with true heights in scenes of [(48, 7)]" in line
    assert "smaller patches or larger parts" in line
    assert not (tmp_path / "run").exists()


def test_heights_of_an_image_by_a_network_of_ones_own(
    folder: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    command = ("predict", image, "--dem", folder / "dem.tif", *SEA, "--model", model)
    command += ("--coregister", "none", "-o")
    passing(*command, tmp_path / "heights.nc")
    with xr.open_dataset(tmp_path / "heights.nc") as result:
        # The posting of the training.
        assert abs(float(result["x"][1] - result["x"][0])) == pytest.approx(30.0, abs=0.1)
        assert np.isfinite(result["height"][1:-1, 1:-1]).all()
        assert (result["height_sigma"][1:-1, 1:-1] > 0.0).all()
    line = failing(1, *command, tmp_path / "other.nc", "--resolution", 45)
    assert "trained at 30 to 30 m" in line
    assert not (tmp_path / "other.nc").exists()


@pytest.fixture(scope="module")
def image(files: Files, folder: Path) -> Path:
    path = folder / "image.nc"
    given = ("--like", files.annotation, "--dem", folder / "dem.tif", *SEA)
    passing("simulate", *given, "-o", path)
    return path


def test_predict_and_refine_are_one_way_with_one_result(image: Path, tmp_path: Path) -> None:
    dem = coarsen(raster(mountain(48, 72)), 90.0, units="crs")
    dem.rio.to_raster(tmp_path / "coarse.tif")
    known = draw_known_elevations(raster(mountain(48, 72)), 12).to_crs(4326)
    points = write_points(known, tmp_path / "known.csv")
    given = [image, "--dem", tmp_path / "coarse.tif", *SEA, "--coregister", "none"]
    given += ["--known", points, "--known-vertical", "ellipsoidal"]
    for command in (("predict",), ("refine", "--network")):
        passing(*command, *given, "-o", tmp_path / f"{command[0]}.nc")
    with (
        xr.open_dataset(tmp_path / "predict.nc") as one,
        xr.open_dataset(tmp_path / "refine.nc") as other,
    ):
        assert "correction" in one
        xr.testing.assert_equal(one, other)
        for name in ("settings", "alignment", "kriging", "network"):
            assert one.attrs[name] == other.attrs[name]
    assert "no --step" in failing(2, "predict", *given, "--step", 3, "-o", tmp_path / "no.nc")


def test_what_is_missing_is_asked_for(folder: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "image.nc").write_bytes(b"")
    output = ("-o", tmp_path / "heights.tif")
    for options in ((), ("--model", model)):
        assert "--dem" in failing(2, "predict", tmp_path / "image.nc", *options, *output)
    scene = folder / "scenes" / "dem_0.zarr"
    assert "--model" in failing(2, "predict", scene, *output)
    assert "config.json" in failing(1, "predict", scene, "--model", tmp_path, *output)
    assert not (tmp_path / "heights.tif").exists()


GEOID = 48.0
"""Metres between the ellipsoid and the geoid that the elevation models refer to."""
SMALL = {
    "options": {"width": 4, "depth": 2, "normalisation": "batch"},
    "size": 16,
    "stride": 8,
    "epochs": 2,
    "batch": 8,
    "precision": "32-true",
}


@dataclass(frozen=True)
class Region:
    """What a user has downloaded: a product as the archive packs it, and elevation models."""

    product: Path
    truth: Path  # in degrees, heights above the geoid, as SRTM at 1 arc second
    coarse: Path  # heights above the ellipsoid, in metres
    heights: xr.DataArray  # truth above the ellipsoid, in metres


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Region:
    folder = tmp_path_factory.mktemp("region")
    heights = raster(mountain(60, 84))
    scene = simulate(heights, *look(lines=400, samples=500), looks=20.0, seed=1)
    made = grd_of_scene(folder, scene)
    degrees = raster(mountain(60, 84), crs="EPSG:4326") - np.float32(GEOID)
    degrees.drop_attrs(deep=False).rio.to_raster(folder / "N46E010.tif")
    coarse = coarsen(heights, 90.0, units="crs")
    coarse.drop_attrs(deep=False).rio.to_raster(folder / "coarse.tif")
    product = pack(made, folder / f"{NAME}.zip")
    return Region(product, folder / "N46E010.tif", folder / "coarse.tif", heights)


def make(region: Region, folder: Path, *options: object) -> Result:
    return run(
        "train", "scenes", region.product, "--polarisation", "VV", "--truth", region.truth,
        "--truth-vertical", GEOID, "-o", folder, *options,
    )  # fmt: skip


def made(region: Region, folder: Path, *options: object) -> Path:
    """Make a scene, and return its path."""
    done = make(region, folder, *options)
    assert done.exit_code == 0, done.output
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="module")
def scenes(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    coarse = ("--dem", region.coarse, "--vertical", "ellipsoidal")
    made(region, folder, *coarse, "--posting", 30)
    return folder


def test_a_scene_of_a_product_has_image_coarse_heights_and_truth(
    region: Region, scenes: Path
) -> None:
    (path,) = scenes.iterdir()
    assert path.name == NAME.removesuffix(".SAFE") + ".zarr"
    scene = open_result(path)
    assert scene.attrs["posting_m"] == pytest.approx([30.0, 30.0], abs=0.2)
    assert scene.attrs["coarse_posting_m"] == pytest.approx([90.0, 90.0], abs=0.5)
    assert "simulated" not in scene.attrs
    # Heights are those of the mountain, above the ellipsoid, where their grids are 30 m apart.
    there = region.heights.interp(y=scene["y"], x=scene["x"])
    assert float(abs(scene["height"] - there).quantile(0.95)) < 3.0
    assert float(abs(scene["coarse_height"] - there).quantile(0.95)) < 40.0
    # The image shows the mountain: bright where its slopes face the radar.
    facing = scene["local_incidence"] < 20.0
    away = scene["local_incidence"] > 50.0
    ratio = scene["gamma0_geocoded"].where(facing).mean() / (
        scene["gamma0_geocoded"].where(away).mean()
    )
    assert 10.0 * np.log10(float(ratio)) > 6.0
    assert {"gamma0_reallocated_unflattened", "true_mask", "look_azimuth"} <= (
        set(scene) | set(scene.attrs)
    )
    assert np.isin(scene["true_mask"].values, (2, 3, 6)).any()
    for used in (region.product, region.truth, region.coarse):
        assert used.name in scene.attrs["provenance"]


def test_existing_scenes_are_kept_and_others_replaced(region: Region, tmp_path: Path) -> None:
    path = made(region, tmp_path, "--posting", 30)
    before = path.stat().st_mtime_ns
    # Without a coarse elevation model, the true heights are averaged.
    assert open_result(path).attrs["coarse_posting_m"] == pytest.approx([90.0, 90.0], abs=0.5)
    made(region, tmp_path, "--posting", 30)
    assert path.stat().st_mtime_ns == before
    made(region, tmp_path, "--posting", 30, "--coarser", 2)
    assert open_result(path).attrs["coarse_posting_m"] == pytest.approx([60.0, 60.0], abs=0.5)


def test_known_elevations_of_a_scene_are_points_or_tracks(region: Region, tmp_path: Path) -> None:
    points = draw_altimeter_tracks(region.heights, spacing=400.0, interval=60.0, sigma=0.5)
    write_points(points.to_crs(4326), tmp_path / "atl06.csv", "longitude,latitude,h_li")
    given = ("--known", tmp_path / "atl06.csv", "--known-vertical", "ellipsoidal")
    for name, options in (("points", given), ("tracks", ("--tracks", 400))):
        scene = open_result(made(region, tmp_path / name, "--posting", 30, *options))
        known = np.isfinite(scene["known_height"])
        assert 0.01 < float(known.mean()) < 0.2
        error = (scene["known_height"] - scene["height"]).where(known)
        assert float(abs(error).quantile(0.9)) < 20.0
    done = make(region, tmp_path / "no", *given, "--tracks", 400)
    assert done.exit_code == 2
    assert "expected one of them" in done.stderr


def test_the_published_system_is_trained_tested_and_applied(
    region: Region, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sarheight.terrain import TerrainSettings

    published = TerrainSettings.published

    def small(**others: object) -> TerrainSettings:
        return published(**(SMALL | others))

    # At full width an epoch takes minutes; all else is as published.
    monkeypatch.setattr(TerrainSettings, "published", small)
    (scene,) = scenes.iterdir()
    done = passing(
        "train", "terrain", scene, "--published", "--validation", 0.3, "--held-out", 0.3,
        "--gap", 90, "--device", "cpu", "-o", tmp_path / "run",
    )  # fmt: skip
    model = HeightEstimator.from_pretrained(tmp_path / "run" / "model")
    assert [channel.name for channel in model.channels] == ["gamma0_reallocated_unflattened"]
    assert (model.distance, model.reference) == ("euclidean", "mean")
    test = json.loads((tmp_path / "run" / "test.json").read_text())
    assert set(test) == {"network", "coarse"}
    assert test["coarse"]["all"]["count"] == test["network"]["all"]["count"] > 0
    assert "RMSE on the part held out: network" in done.stderr
    output = tmp_path / "heights.tif"
    command = (
        "predict", region.product, "--dem", region.coarse, "--vertical", "ellipsoidal",
        "--model", tmp_path / "run" / "model", "--device", "cpu", "-o", output,
    )  # fmt: skip
    # It estimates differences from the mean of known elevations.
    done = run(*command)
    assert done.exit_code != 0
    assert "found no known elevation" in done.stderr
    assert not output.exists()
    points = draw_known_elevations(region.heights, 40, seed=2).to_crs(4326)
    write_points(points, tmp_path / "known.csv", "longitude,latitude,h")
    known = ("--known", tmp_path / "known.csv", "--known-vertical", "ellipsoidal")
    passing(*command, *known)
    assert np.isfinite(open_result(output)["height"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--truth-vertical", "EGM1900"), "EGM1900"),
        (("--dem", "{coarse}"), "pass --vertical"),
        (("--tracks", 1e6), "smaller spacing"),
        (("--coarser", 0), "coarser"),
    ],
)
def test_what_makes_no_scene_is_refused_and_leaves_nothing(
    region: Region, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    filled = [str(each).format(coarse=region.coarse) for each in options]
    done = make(region, tmp_path / "scenes", "--posting", 30, *filled)
    assert done.exit_code != 0
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "scenes").exists() or not list((tmp_path / "scenes").iterdir())
