"""From products and elevation models of archives to a trained network."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")
pytest.importorskip("lightning", reason="the extra `learn` is not installed")

from pathlib import Path

import xarray as xr
from click.testing import Result

from sarheight.dem import coarsen
from sarheight.illumination import simulate
from sarheight.output import open_result
from sarheight.terrain import (
    HeightEstimator,
    draw_altimeter_tracks,
    draw_known_elevations,
)
from tests.cli.commands import passing, run
from tests.mountains import look, mountain, raster
from tests.worlds.products import NAME, grd_of_scene
from tests.worlds.safe import pack

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


@pytest.fixture(scope="module")
def scenes(region: Region, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    coarse = ("--dem", region.coarse, "--vertical", "ellipsoidal")
    done = make(region, folder, *coarse, "--posting", 30)
    assert done.exit_code == 0, done.output
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
    done = make(region, tmp_path, "--posting", 30)
    assert done.exit_code == 0, done.output
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    # Without a coarse elevation model, the true heights are averaged.
    assert open_result(path).attrs["coarse_posting_m"] == pytest.approx([90.0, 90.0], abs=0.5)
    assert make(region, tmp_path, "--posting", 30).exit_code == 0
    assert path.stat().st_mtime_ns == before
    done = make(region, tmp_path, "--posting", 30, "--coarser", 2)
    assert done.exit_code == 0, done.output
    assert open_result(path).attrs["coarse_posting_m"] == pytest.approx([60.0, 60.0], abs=0.5)


def test_known_elevations_of_a_scene_are_points_or_tracks(region: Region, tmp_path: Path) -> None:
    points = draw_altimeter_tracks(region.heights, spacing=400.0, interval=60.0, sigma=0.5)
    degrees = points.to_crs(4326)
    rows = zip(degrees.x, degrees.y, degrees.height, strict=True)
    table = "longitude,latitude,h_li\n" + "".join(f"{x},{y},{h}\n" for x, y, h in rows)
    (tmp_path / "atl06.csv").write_text(table)
    given = ("--known", tmp_path / "atl06.csv", "--known-vertical", "ellipsoidal")
    for name, options in (("points", given), ("tracks", ("--tracks", 400))):
        done = make(region, tmp_path / name, "--posting", 30, *options)
        assert done.exit_code == 0, done.output
        (path,) = (tmp_path / name).iterdir()
        scene = open_result(path)
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
    degrees = draw_known_elevations(region.heights, 40, seed=2).to_crs(4326)
    rows = zip(degrees.x, degrees.y, degrees.height, strict=True)
    table = "longitude,latitude,h\n" + "".join(f"{x},{y},{h}\n" for x, y, h in rows)
    (tmp_path / "known.csv").write_text(table)
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
