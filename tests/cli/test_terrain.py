"""From elevation models to a trained network and a map of heights, on the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

from sarheight.dem import coarsen
from sarheight.output import open_result
from sarheight.terrain import (
    draw_known_elevations,
)
from tests.cli.commands import passing, run
from tests.mountains import mountain, raster
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import annotation_xml

SEA = ("--vertical", "ellipsoidal")
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
    """Make an annotation, an elevation model, and settings of a small network."""
    made = tmp_path_factory.mktemp("learning")
    grid, orbit = synthetic_grid(lines=400, samples=500, looks=4.4)
    (made / "annotation.xml").write_text(annotation_xml(grid, orbit))
    raster(mountain(48, 72)).rio.to_raster(made / "dem.tif")
    (made / "settings.json").write_text(json.dumps(SETTINGS))
    return made


@pytest.fixture(scope="module")
def scene(folder: Path) -> Path:
    passing(
        "scenes", "--like", folder / "annotation.xml", "--dem", folder / "dem.tif", *SEA,
        "-o", folder / "scenes",
    )  # fmt: skip
    return folder / "scenes" / "dem_0.zarr"


@pytest.fixture(scope="module")
def model(folder: Path, scene: Path) -> Path:
    passing(
        "train", "terrain", scene, "-o", folder / "run", "--settings", folder / "settings.json",
        "--validation", 0.4, "--gap", 120, "--device", "cpu", "--quiet",
    )  # fmt: skip
    return folder / "run" / "model"


def test_scenes_are_kept_when_they_are_asked_for_again(folder: Path, scene: Path) -> None:
    made = open_result(scene)
    assert "simulated" in made.attrs
    before = scene.stat().st_mtime_ns
    passing(
        "scenes", "--like", folder / "annotation.xml", "--dem", folder / "dem.tif", *SEA,
        "-o", folder / "scenes",
    )  # fmt: skip
    assert scene.stat().st_mtime_ns == before


def test_heights_of_a_scene(scene: Path, model: Path, tmp_path: Path) -> None:
    truth = open_result(scene)["height"]
    known = draw_known_elevations(truth, 5).to_crs(4326)
    rows = zip(known.x, known.y, known.height, strict=True)
    points = tmp_path / "known.csv"
    points.write_text(
        "longitude,latitude,height\n" + "\n".join(f"{x},{y},{h}" for x, y, h in rows) + "\n"
    )
    passing(
        "predict", scene, "--model", model, "--known", points,
        "--known-vertical", "ellipsoidal", "-o", tmp_path / "heights.tif",
    )  # fmt: skip
    result = open_result(tmp_path / "heights.tif")
    assert result["height"].shape == truth.shape
    assert np.isfinite(result["height"]).all()
    assert result.attrs["known_elevations"] == 5
    # The same points in metres of the map.
    metric = known.to_crs(32632)
    rows = zip(metric.x, metric.y, metric.height, strict=True)
    points.write_text("x,y,height\n" + "".join(f"{x},{y},{h}\n" for x, y, h in rows))
    again = (
        "predict", scene, "--model", model, "--known", points,
        "--known-vertical", "ellipsoidal", "-o", tmp_path / "again.tif",
    )  # fmt: skip
    assert "pass --known-crs EPSG:32632" in run(*again).stderr
    passing(*again, "--known-crs", "EPSG:32632")
    assert open_result(tmp_path / "again.tif").attrs["known_elevations"] == 5
    assert result["height"].attrs["units"] == "m"
    assert (result["height_sigma"] > 0.0).all()


def test_a_part_that_is_smaller_than_a_patch_is_refused_before_training(
    folder: Path, scene: Path, tmp_path: Path
) -> None:
    done = run(
        "train", "terrain", scene, "-o", tmp_path / "run", "--settings", folder / "settings.json",
        "--validation", 0.4, "--held-out", 0.1, "--gap", 60, "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 1
    assert "found no patch of 16 x 16 cells with true heights in scenes of [(48, 7)]" in done.stderr
    assert "smaller patches or larger parts" in done.stderr
    assert not (tmp_path / "run").exists()


def test_heights_of_an_image_by_a_network_of_ones_own(
    folder: Path, model: Path, image: Path, tmp_path: Path
) -> None:
    passing(
        "predict", image, "--dem", folder / "dem.tif", *SEA, "--model", model,
        "--coregister", "none", "-o", tmp_path / "heights.nc",
    )  # fmt: skip
    with xr.open_dataset(tmp_path / "heights.nc") as result:
        # The posting of the training.
        assert abs(float(result["x"][1] - result["x"][0])) == pytest.approx(30.0, abs=0.1)
        assert np.isfinite(result["height"][1:-1, 1:-1]).all()
        assert (result["height_sigma"][1:-1, 1:-1] > 0.0).all()
    refused = run(
        "predict", image, "--dem", folder / "dem.tif", *SEA, "--model", model, "--resolution", 45,
        "--coregister", "none", "-o", tmp_path / "other.nc",
    )  # fmt: skip
    assert refused.exit_code == 1
    assert "trained at 30 to 30 m" in refused.stderr
    assert not (tmp_path / "other.nc").exists()


@pytest.fixture(scope="module")
def image(folder: Path) -> Path:
    path = folder / "image.nc"
    passing(
        "simulate", "--like", folder / "annotation.xml", "--dem", folder / "dem.tif", *SEA,
        "-o", path,
    )  # fmt: skip
    return path


@pytest.mark.parametrize("with_points", [False, True])
def test_predict_and_refine_are_one_way_with_one_result(
    image: Path, tmp_path: Path, *, with_points: bool
) -> None:
    dem = coarsen(raster(mountain(48, 72)), 90.0, units="crs")
    dem.rio.to_raster(tmp_path / "coarse.tif")
    given = [image, "--dem", tmp_path / "coarse.tif", *SEA, "--coregister", "none"]
    if with_points:
        known = draw_known_elevations(raster(mountain(48, 72)), 12).to_crs(4326)
        rows = zip(known.x, known.y, known.height, strict=True)
        table = "longitude,latitude,height\n" + "".join(f"{x},{y},{h}\n" for x, y, h in rows)
        (tmp_path / "known.csv").write_text(table)
        given += ["--known", tmp_path / "known.csv", "--known-vertical", "ellipsoidal"]
    for command in (("predict",), ("refine", "--network")):
        done = passing(*command, *given, "-o", tmp_path / f"{command[0]}.nc")
    with (
        xr.open_dataset(tmp_path / "predict.nc") as one,
        xr.open_dataset(tmp_path / "refine.nc") as other,
    ):
        assert "correction" in one
        xr.testing.assert_equal(one, other)
        for name in ("settings", "alignment", "kriging", "network"):
            assert one.attrs[name] == other.attrs[name]
    done = run("predict", *given, "--step", 3, "-o", tmp_path / "no.nc")
    assert done.exit_code == 2
    assert "no --step" in done.stderr


def test_what_is_missing_is_asked_for(folder: Path, model: Path, tmp_path: Path) -> None:
    image = tmp_path / "image.nc"
    image.write_bytes(b"")
    for options in ((), ("--model", model)):
        done = run("predict", image, *options, "-o", tmp_path / "heights.tif")
        assert done.exit_code == 2
        assert "--dem" in done.stderr
    scene = folder / "scenes" / "dem_0.zarr"
    done = run("predict", scene, "-o", tmp_path / "heights.tif")
    assert done.exit_code == 2
    assert "--model" in done.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    done = run(
        "predict", folder / "scenes" / "dem_0.zarr", "--model", empty, "-o", tmp_path / "h.tif"
    )
    assert done.exit_code == 1
    assert "config.json" in done.stderr
    assert not (tmp_path / "h.tif").exists()
