"""Scenes for learning heights, and their patches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sarheight.dem import coarsen
from sarheight.grid import RadarGrid
from sarheight.learning import Part
from sarheight.orbit import Orbit
from sarheight.output import open_result
from sarheight.terrain import (
    SceneConfiguration,
    SceneSettings,
    TerrainPatches,
    simulate_scene,
    write_scenes,
)
from sarheight.terrain.scenes import degrade_dem, patchy_reflectivity
from tests.dems import dem_around, hills
from tests.mountains import look, mountain, raster

CHANNELS = ("gamma0_geocoded", "local_incidence")


def view_of_mountain(*, ascending: bool = True) -> tuple[xr.DataArray, RadarGrid, Orbit]:
    return (raster(mountain(48, 72)), *look(ascending=ascending))


@pytest.fixture(scope="module")
def scene() -> xr.Dataset:
    return simulate_scene(*view_of_mountain(), seed=5)


@pytest.fixture(scope="module")
def descending() -> xr.Dataset:
    return simulate_scene(*view_of_mountain(ascending=False), seed=5)


def test_reflectivity_has_the_given_contrast_and_texture() -> None:
    dem = dem_around(46.0, 10.0, np.zeros((200, 200)))
    ground = patchy_reflectivity(
        dem, np.random.default_rng(0), patch=300.0, contrast=2.5, texture=1
    )
    decibels = 10.0 * np.log10(ground)
    assert float(decibels.std()) == pytest.approx(np.hypot(2.5, 1.0), rel=0.1)
    steps = np.diff(decibels, axis=1)
    # Most neighbours lie in one patch, and differ by the texture alone.
    assert np.median(np.abs(steps)) == pytest.approx(0.6745 * np.sqrt(2.0), rel=0.3)


def test_the_coarse_dem_has_the_given_posting_and_error() -> None:
    dem = dem_around(46.0, 10.0, hills((90, 120)))
    known = degrade_dem(dem, np.random.default_rng(1), factor=3, error=5.0)
    assert known.shape == (30, 40)
    exact = coarsen(dem, 3 * 30.0, units="crs")
    assert float((known - exact).std()) == pytest.approx(5.0, rel=1e-3)


def test_a_scene_holds_image_coarse_dem_and_truth(scene: xr.Dataset) -> None:
    dem = view_of_mountain()[0]
    np.testing.assert_array_equal(scene["height"].values, dem.values)
    error = (scene["coarse_height"] - scene["height"]).values
    assert np.isfinite(error).all()
    assert 1.0 < float(np.sqrt(np.mean(error**2))) < 40.0
    for name in ("gamma0_geocoded", "gamma0_reallocated", "gamma0_posterior"):
        seen = scene[name].values
        assert np.isfinite(seen).mean() > 0.9
        assert scene[name].attrs["units"] == "1"
    assert scene["true_mask"].isin([2, 3]).mean() > 0.02
    assert "simulated" in scene.attrs
    assert scene.attrs["settings"]["seed"] == 5


def test_coordinates_that_round_otherwise_lose_no_true_height() -> None:
    """The coarse DEM's cells are divided again, to coordinates that differ in their last bit."""
    dem, grid, orbit = view_of_mountain()
    odd = dem.assign_coords(x=dem["x"] * (1.0 + 1e-7) + 1.0 / 3.0, y=dem["y"] + np.pi)
    scene = simulate_scene(odd, grid, orbit, SceneSettings(coarser=3), seed=5)
    for name in ("y", "x"):
        np.testing.assert_array_equal(scene[name], odd[name])
    np.testing.assert_array_equal(scene["height"], odd)
    for name in ("true_mask", "true_fold_count", "coarse_void"):
        assert scene[name].dtype.kind in "iu", name


def test_with_an_exact_dem_masks_are_true_and_unflattened_gamma0_is_that_of_the_image() -> None:
    """Outside layover; and in a fold, it is a part of it."""
    settings = SceneSettings(coarser=1, height_error=0.0, looks=1000.0, noise=0.0, texture=0.0)
    scene = simulate_scene(*view_of_mountain(), settings)
    np.testing.assert_allclose(scene["coarse_height"], scene["height"], atol=1e-3)
    xr.testing.assert_equal(scene["mask"].drop_attrs(), scene["true_mask"].drop_attrs())
    single = scene["mask"] == 0
    for name in ("gamma0_reallocated", "gamma0_posterior"):
        ratio = scene[f"{name}_unflattened"] / scene["gamma0_geocoded"]
        decibels = 10.0 * np.log10(ratio.where(ratio > 0.0))
        alone = decibels.where(single)
        assert abs(float(alone.median())) < 0.3
        assert float(abs(alone).quantile(0.8)) < 1.0
        assert float(decibels.where(scene["mask"].isin([2, 3])).median()) < -2.0
        # Flattened, the slopes' brightness is gone.
        flat = 10.0 * np.log10(scene[name] / scene["gamma0_geocoded"]).where(single)
        assert float(abs(flat).quantile(0.8)) > 2.0 * float(abs(alone).quantile(0.8))


def test_the_same_seed_gives_the_same_scene(scene: xr.Dataset) -> None:
    xr.testing.assert_identical(simulate_scene(*view_of_mountain(), seed=5), scene)
    other = simulate_scene(*view_of_mountain(), seed=6)
    assert not np.array_equal(other["gamma0_geocoded"], scene["gamma0_geocoded"], equal_nan=True)


def test_patches_hold_windows_of_their_scene(scene: xr.Dataset) -> None:
    patches = TerrainPatches([scene], CHANNELS, size=24, stride=24)
    assert len(patches) == 2 * 3
    sample = patches[4]
    assert {name: values.shape for name, values in sample.items()} == {
        "image": (2, 24, 24),
        **dict.fromkeys(("known", "distance", "coarse", "truth", "mask"), (1, 24, 24)),
    }
    mirrored = 1 if np.sin(np.radians(scene.attrs["look_azimuth"])) > 0 else -1
    window = scene.isel(x=slice(None, None, mirrored)).isel(y=slice(24, 48), x=slice(24, 48))
    np.testing.assert_array_equal(sample["truth"][0], window["height"].values)
    np.testing.assert_array_equal(sample["image"][0], window["gamma0_geocoded"].values)
    np.testing.assert_array_equal(sample["coarse"][0], window["coarse_height"].values)
    # Without a mask there are no categories.
    bare = scene.drop_vars(["mask", "true_mask"])
    assert (TerrainPatches([bare], CHANNELS, size=24)[0]["mask"] == 255).all()


def test_known_elevations_are_true_and_distances_are_zero_there(scene: xr.Dataset) -> None:
    sample = TerrainPatches([scene], CHANNELS, size=24, known_count=(16, 16))[0]
    known = np.isfinite(sample["known"])
    assert known.sum() == 16
    np.testing.assert_array_equal(sample["known"][known], sample["truth"][known])
    np.testing.assert_array_equal(sample["distance"] == 0.0, known)
    # There may be none.
    sample = TerrainPatches([scene], CHANNELS, size=24, known_count=(0, 0))[0]
    assert np.isnan(sample["known"]).all()
    assert np.isinf(sample["distance"]).all()


def test_numbers_of_known_elevations_are_log_uniform(scene: xr.Dataset) -> None:
    patches = TerrainPatches([scene], CHANNELS, size=24, stride=2, known_count=(4, 64))
    counts = np.array([np.isfinite(patches[k]["known"]).sum() for k in range(len(patches))])
    assert counts.min() >= 4
    assert counts.max() <= 64
    # Log-uniform: about half of all lie below the geometric mean of the ends.
    assert 0.4 < (counts < np.sqrt(4 * 65)).mean() < 0.6


def test_samples_repeat_and_epochs_differ(scene: xr.Dataset) -> None:
    first, again = (
        TerrainPatches([scene], CHANNELS, size=24, known_count=(4, 64), augment=True, seed=2)
        for _ in range(2)
    )
    for name, values in first[3].items():
        np.testing.assert_array_equal(values, again[3][name])
    again.set_epoch(1)
    assert not np.array_equal(first[3]["known"], again[3]["known"], equal_nan=True)


def test_augmentation_mirrors_along_azimuth_only(scene: xr.Dataset) -> None:
    plain = TerrainPatches([scene], CHANNELS, size=24)[0]["truth"]
    augmented = TerrainPatches([scene], CHANNELS, size=24, augment=True)
    seen = set()
    for epoch in range(12):
        augmented.set_epoch(epoch)
        truth = augmented[0]["truth"]
        same, mirrored = np.array_equal(truth, plain), np.array_equal(truth, plain[:, ::-1])
        assert same or mirrored
        seen.add(same)
    assert seen == {True, False}


def test_the_radar_looks_along_the_columns_in_every_sample(
    scene: xr.Dataset, descending: xr.Dataset
) -> None:
    # On slopes that face the radar the ground rises along the look, and backscatter is strong.
    for each in (scene, descending):
        patches = TerrainPatches([each], ("local_incidence",), size=24, stride=8)
        slope = [np.gradient(patches[k]["coarse"][0], axis=1).ravel() for k in range(len(patches))]
        angle = [patches[k]["image"][0].ravel() for k in range(len(patches))]
        angles, slopes = np.concatenate(angle), np.concatenate(slope)
        known = np.isfinite(angles)
        assert np.corrcoef(angles[known], slopes[known])[0, 1] < -0.5


def test_patches_are_taken_from_their_part_only(scene: xr.Dataset) -> None:
    part = Part((0, 48), (0, 30))
    patches = TerrainPatches([scene], CHANNELS, within=[part], size=24, stride=12)
    allowed = set(part.of(scene)["height"].values.ravel().tolist())
    for index in range(len(patches)):
        assert set(patches[index]["truth"].ravel().tolist()) <= allowed


def test_patches_need_true_heights(scene: xr.Dataset) -> None:
    half = scene.copy(deep=True)
    half["height"][:, 36:] = np.nan
    everywhere = TerrainPatches([scene], CHANNELS, size=24, stride=12)
    patches = TerrainPatches([half], CHANNELS, size=24, stride=12)
    assert 0 < len(patches) < len(everywhere)


def test_scenes_are_written_again_only_if_their_configuration_changed(
    scene: xr.Dataset, tmp_path: Path
) -> None:
    made: list[int] = []

    def job_of(seed: int) -> SceneConfiguration:
        def make() -> xr.Dataset:
            made.append(seed)
            return scene

        return SceneConfiguration("mountain", make, parameters={"seed": seed, "incidence": 34.0})

    job = job_of(1)
    (path,) = write_scenes([job], tmp_path)
    written = open_result(path)
    for name in ("height", "gamma0_posterior", "true_mask"):
        np.testing.assert_array_equal(written[name].values, scene[name].values)
    assert len(TerrainPatches([written], CHANNELS, size=24)) == 6
    write_scenes([job], tmp_path)
    assert len(made) == 1
    write_scenes([job_of(2)], tmp_path)
    assert len(made) == 2
    (path / "zarr.json").write_text("{")
    write_scenes([job_of(2)], tmp_path)
    assert len(made) == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["mountain.zarr"]
