"""Prediction of the heights of whole scenes, and scenes that do not fit a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from sarheight.dem import coarsen
from sarheight.errors import KnownElevationsError
from sarheight.illumination import simulate
from sarheight.learning import Channel, Tiling
from sarheight.terrain import HeightEstimator, draw_known_elevations, predict_heights, predict_image
from tests.dems import dem_around, hills
from tests.mountains import look, mountain, raster

CHANNELS = (
    Channel("gamma0_posterior", "1", "decibel", -10.0, 4.0),
    Channel("local_incidence", "degree", "none", 40.0, 15.0),
)
SMALL = {"width": 4, "depth": 2}


def scene(shape: tuple[int, int] = (70, 90), look_azimuth: float = 80.0) -> xr.Dataset:
    random = np.random.default_rng(0)
    truth = dem_around(46.0, 10.0, hills(shape))
    found = truth.to_dataset(name="height")
    placed = {"grid_mapping": "spatial_ref"}
    power = random.gamma(4.0, 0.02, size=shape).astype(np.float32)
    found["gamma0_posterior"] = (("y", "x"), power, {"units": "1", **placed})
    angle = random.uniform(10.0, 70.0, size=shape).astype(np.float32)
    found["local_incidence"] = (("y", "x"), angle, {"units": "degree", **placed})
    found["coarse_height"] = truth + 5.0
    return found.assign_attrs(look_azimuth=look_azimuth)


def untrained(reference: str = "coarse", **options: Any) -> HeightEstimator:  # noqa: ANN401
    """Make a network that returns its reference."""
    network = {"network": "unet", "options": SMALL, "reference": reference}
    return HeightEstimator(CHANNELS, **{**network, **options}).eval()


def estimator(reference: str = "mean", **options: Any) -> HeightEstimator:  # noqa: ANN401
    """Make a network that does something, without training."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = untrained(reference, uncertainty=True, **options)
        torch.nn.init.normal_(model.network.head.weight, std=0.2)
    return model


def test_an_untrained_network_returns_the_coarse_heights() -> None:
    found = scene()
    points = draw_known_elevations(found["height"], 40)
    result = predict_heights(untrained(), found, points, tiling=Tiling(32, 8))
    np.testing.assert_allclose(result["height"], found["coarse_height"], atol=0.02)
    assert result["height"].attrs["units"] == "m"
    assert result.rio.crs == found["height"].rio.crs
    assert result["observed"].all()
    # So it does without an image.
    for name in ("gamma0_posterior", "local_incidence"):
        found[name][:] = np.nan
    result = predict_heights(untrained(), found, points, tiling=Tiling(32, 8))
    np.testing.assert_allclose(result["height"], found["coarse_height"], atol=0.02)
    assert not result["observed"].any()


@pytest.mark.parametrize("look_azimuth", [80.0, 280.0])
def test_blocks_and_dask_give_the_same_heights(look_azimuth: float) -> None:
    found = scene(look_azimuth=look_azimuth)
    points = draw_known_elevations(found["height"], 40)
    model, tiling = estimator(reference="coarse"), Tiling(32, 8)
    whole = predict_heights(model, found, points, tiling=tiling)
    blocks = predict_heights(model, found, points, tiling=tiling, block=37)
    lazy = predict_heights(model, found.chunk(y=30, x=41), points, tiling=tiling, block=37)
    assert lazy["height"].chunks is not None
    for name in ("height", "height_sigma"):
        np.testing.assert_allclose(blocks[name].values, whole[name].values, atol=1e-3)
        np.testing.assert_array_equal(lazy[name].values, blocks[name].values)


def test_a_mirrored_scene_gives_mirrored_heights() -> None:
    found = scene(shape=(64, 64))
    mirrored = found.isel(x=slice(None, None, -1)).assign_coords(x=found["x"].values)
    mirrored.attrs["look_azimuth"] = 280.0
    model, tiling = estimator(reference="coarse"), Tiling(64, 0)
    one = predict_heights(model, found, tiling=tiling)["height"].values
    other = predict_heights(model, mirrored, tiling=tiling)["height"].values
    np.testing.assert_allclose(other[:, ::-1], one, atol=1e-3)


def test_blending_leaves_no_seams() -> None:
    found = scene(shape=(200, 200))
    # Heights relative to each tile's own mean make neighbouring tiles disagree.
    points = draw_known_elevations(found["height"], 60)
    tiling = Tiling(64, 32)
    height = predict_heights(untrained("mean"), found, points, tiling=tiling)["height"].values
    spread = float(np.std(height))
    assert spread > 1.0
    for axis in (0, 1):
        jumps = np.abs(np.diff(height, axis=axis)).max(axis=1 - axis)
        edges = np.array(tiling.starts(200, (0, 200)))[1:]
        inside = edges[(edges > 0) & (edges < 199)]
        assert (jumps[inside - 1] < 0.01 * spread).all()


def test_a_scene_smaller_than_a_tile() -> None:
    found = scene(shape=(9, 13))
    points = draw_known_elevations(found["height"], 5)
    result = predict_heights(estimator(), found, points, tiling=Tiling(64, 16))
    assert result["height"].shape == (9, 13)
    assert np.isfinite(result["height"]).all()


@pytest.mark.parametrize("overlap", [0, 8])
def test_scenes_are_continued_by_their_edges(overlap: int) -> None:
    found = scene()
    row, column = np.mgrid[:70, :90]
    # The swath ends aslant.
    swath = xr.DataArray(column > 2 * (row - 40), dims=("y", "x"))
    found["gamma0_posterior"] = found["gamma0_posterior"].where(swath)
    found["coarse_height"][20:30, 80:] = np.nan
    tiling = Tiling(32, overlap)
    further = {"y": tiling.step, "x": tiling.step}
    wider = found.pad({name: (cells, cells) for name, cells in further.items()}, mode="edge")
    for name, cells in further.items():
        posting = float(found[name][1] - found[name][0])
        first = float(found[name][0]) - cells * posting
        wider[name] = first + posting * np.arange(wider.sizes[name])
    model = estimator(reference="coarse")
    whole = predict_heights(model, found, tiling=tiling)
    inside = predict_heights(model, wider, tiling=tiling)
    # The tiles of both are the same but for the last, which has a successor in the wider scene.
    kept = {name: slice(0, found.sizes[name] - overlap) for name in further}
    inside = inside.isel({name: slice(cells, None) for name, cells in further.items()})
    for name in ("height", "height_sigma"):
        expected = inside[name].isel(kept).values
        np.testing.assert_allclose(whole[name].isel(kept).values, expected, atol=1e-3)


def test_tiles_without_a_known_elevation_have_no_height() -> None:
    found = scene()
    points = draw_known_elevations(found["height"].isel(x=slice(0, 20)), 60)
    result = predict_heights(estimator(), found, points, tiling=Tiling(32, 0))
    known = np.isfinite(result["height"].values)
    assert known[:, :32].all()
    assert not known[:, 32:].any()
    np.testing.assert_array_equal(np.isfinite(result["height_sigma"].values), known)


def test_cells_without_an_image_are_marked() -> None:
    found = scene()
    for name in ("gamma0_posterior", "local_incidence"):
        found[name][20:30, 40:60] = np.nan
    result = predict_heights(estimator(), found, draw_known_elevations(found["height"], 20))
    assert np.isfinite(result["height"]).all()
    expected = np.ones((70, 90))
    expected[20:30, 40:60] = 0
    np.testing.assert_array_equal(result["observed"].values, expected)
    assert "mask" not in result


def test_a_gap_of_the_coarse_dem_stays_a_gap_and_affects_nothing_else() -> None:
    found = scene()
    model = estimator(reference="coarse", output_std=10.0)
    tiling = Tiling(32, 8)
    whole = predict_heights(model, found, tiling=tiling)["height"].values
    gap = np.zeros((70, 90), dtype=bool)
    gap[30:40, 50:60] = True
    found["coarse_height"] = found["coarse_height"].where(~gap)
    result = predict_heights(model, found, tiling=tiling)
    np.testing.assert_array_equal(np.isnan(result["height"].values), gap)
    np.testing.assert_array_equal(np.isnan(result["height_sigma"].values), gap)
    assert float(np.abs(result["height"].values - whole)[~gap].max()) < 60.0


def test_lazy_variables_have_equal_chunks_and_the_mask_is_copied() -> None:
    found = scene()
    folded = np.zeros((70, 90), dtype=np.uint8)
    folded[10:20] = 2
    found["mask"] = (("y", "x"), folded, {"flag_values": [0, 2], "flag_meanings": "none layover"})
    told: list[float] = []
    eager = predict_heights(estimator("coarse"), found, tiling=Tiling(16, 4), report=told.append)
    xr.testing.assert_identical(eager["mask"], found["mask"])
    # Progress is reported.
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) > 6
    found = found.assign_coords(latitude=(("y", "x"), np.ones((70, 90)))).chunk(y=30, x=41)
    result = predict_heights(estimator("coarse"), found, tiling=Tiling(32, 8), block=37)
    assert result.chunks == {"y": (37, 33), "x": (37, 37, 16)}
    assert all(result[name].chunks for name in ("height", "observed", "mask", "latitude"))
    xr.testing.assert_equal(result["mask"].compute(), found["mask"].compute())


def test_the_order_of_a_scenes_variables_does_not_matter() -> None:
    found = scene()
    points = draw_known_elevations(found["height"], 20)
    one = predict_heights(estimator(), found, points)["height"].values
    turned = found[list(found.data_vars)[::-1]].assign_attrs(found.attrs)
    np.testing.assert_array_equal(predict_heights(estimator(), turned, points)["height"], one)


def test_elevations_outside_and_duplicates_are_counted() -> None:
    found = scene()
    points = draw_known_elevations(found["height"], 10)[np.tile(np.arange(10), 3)]
    points.x[20:] += 1e4
    result = predict_heights(estimator(), found, points)
    assert result.attrs["known_elevations"] == 20
    assert result.attrs["known_elevations_outside"] == 10
    with pytest.raises(KnownElevationsError, match="outside the scene"):
        predict_heights(estimator(), found, points[20:])


def test_a_displaced_dem_is_aligned_before_an_image_is_reconstructed_with_it() -> None:
    truth = raster(mountain(60, 84))
    image = simulate(truth, *look(lines=400, samples=500), looks=20.0, seed=1)
    coarse = coarsen(truth, 90.0, units="crs")
    known = draw_known_elevations(truth, 40, seed=2)
    # An untrained network returns the coarse DEM, back-projected to the posting of training.
    model = untrained(postings=(30.0, 30.0))
    errors = []
    for dem, points in ((coarse, None), (coarse + 20.0, None), (coarse + 20.0, known)):
        moved = dem.assign_attrs(coarse.attrs)
        result = predict_image(model, image, moved, points, coregister="none", device="cpu")
        found = result["height"]
        assert abs(float(found["x"][1] - found["x"][0])) == pytest.approx(30.0, abs=0.1)
        there = truth.interp(y=found["y"], x=found["x"])
        errors.append(float((found - there).median()))
    assert errors[0] == pytest.approx(0.0, abs=2.0)
    assert errors[1] == pytest.approx(20.0, abs=2.0)
    assert errors[2] == pytest.approx(0.0, abs=3.0)
