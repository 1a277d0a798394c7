"""Heights with a network where it is shown to help, and the baseline elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="the extra `learn` is not installed")

from sarheight.dem import coarsen
from sarheight.errors import CheckpointError, KnownElevationsError
from sarheight.illumination import simulate
from sarheight.learning import Channel
from sarheight.scene import Scene
from sarheight.terrain import (
    HeightEstimator,
    KnownElevations,
    back_project,
    draw_known_elevations,
    estimate_heights,
    height_interval,
    predict_heights,
    prepare_scene,
    rasterise_elevations,
)
from sarheight.terrain.heights import _strength as strength
from tests.dems import ranges
from tests.mountains import look, raster

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

torch.set_num_threads(1)

CHANNELS = (
    Channel("gamma0_posterior_unflattened", "1", "decibel", -10.0, 4.0),
    Channel("coarse_error", "m", "none", 5.0, 4.0),
)
RANGE = {
    "posting": [25.0, 35.0],
    "cells": [2.0, 4.0],
    "coarse_error": [0.0, 15.0],
    "incidence": [25.0, 45.0],
}


@pytest.fixture(scope="module")
def truth() -> xr.DataArray:
    return raster(ranges((96, 96), relief=200.0))


@pytest.fixture(scope="module")
def image(truth: xr.DataArray) -> Scene:
    return simulate(truth, *look(incidence=35.0, lines=420, samples=520), looks=20.0, seed=1)


@pytest.fixture(scope="module")
def coarse(truth: xr.DataArray) -> xr.DataArray:
    found = coarsen(truth, 90.0, units="crs")
    noise = gaussian_filter(np.random.default_rng(0).standard_normal(found.shape), 1.5)
    return found + (4.0 * noise / noise.std()).astype(np.float32)


def network(shift: float = 0.0, stated: Mapping[str, list[float]] | None = None) -> HeightEstimator:
    """Make a network that adds the same number of metres everywhere."""
    model = HeightEstimator(
        CHANNELS,
        network="unet",
        options={"width": 4, "depth": 2},
        reference="coarse",
        uncertainty=True,
        output_std=10.0,
        training_range=RANGE if stated is None else stated,
    )
    with torch.no_grad():
        model.network.head.bias[0] = shift / 10.0
    return model.eval()


def rms(values: xr.DataArray) -> float:
    return float(np.sqrt(np.nanmean(values.values**2)))


def test_the_posting_of_the_training_is_chosen(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 20, seed=3)
    result = estimate_heights(image, coarse, known, estimator=network(3.0), coregister=False)
    assert result["height"].shape == truth.shape
    np.testing.assert_allclose(result["x"], truth["x"])
    # The image was reconstructed, so that the network was asked.
    assert result["mask"].shape == truth.shape


def test_the_share_of_a_correction_follows_the_points(truth: xr.DataArray) -> None:
    random = np.random.default_rng(0)
    right = 5.0 * gaussian_filter(random.standard_normal(truth.shape), 3.0)
    right *= 5.0 / right.std()
    baseline = truth - right.astype(np.float32)
    sigma = np.full(truth.shape, 5.0)
    shares = {}
    for count in (16, 200):
        known = draw_known_elevations(truth, count, seed=1)
        shares[count] = strength(right, baseline, known, sigma, 1.0)
        assert strength(-right, baseline, known, sigma, 1.0) == 0.0
        assert strength(4.0 * right, baseline, known, sigma, 1.0) == pytest.approx(0.25, abs=0.03)
        assert strength(1e-3 * right, baseline, known, sigma, 1.0) == 0.0
    assert 0.5 < shares[16] < shares[200] <= 1.0
    # Elevations that lie together count as one: the share shrinks as with fewer of them.
    known = draw_known_elevations(truth, 200, seed=1)
    near = strength(right, baseline, known, sigma, 600.0)
    assert near < strength(right, baseline, known, sigma, 1.0)


def test_without_a_network_the_baseline_stays(image: Scene, coarse: xr.DataArray) -> None:
    result = estimate_heights(image, coarse, like=back_project(coarse, factor=3))
    np.testing.assert_allclose(result["height"], back_project(coarse, factor=3), atol=1e-3)
    assert not result["network_share"].any()


@pytest.mark.parametrize(
    ("stated", "options", "reason"),
    [
        ({**RANGE, "cells": [5.0, 6.0]}, {"dem_error": 4.0}, "times the posting"),
        (RANGE, {}, "shows at known elevations"),
    ],
)
def test_out_of_its_range_the_network_is_not_used(
    image: Scene, coarse: xr.DataArray, stated: dict, options: dict, reason: str
) -> None:
    model = network(30.0, stated)
    result = estimate_heights(image, coarse, estimator=model, coregister=False, **options)
    assert any(reason in note for note in result.attrs["notes"])
    np.testing.assert_allclose(result["height"], result["baseline"], atol=1e-3)
    assert (result["out_of_range"].values & 16 > 0).all()


def test_another_posting_is_refused(image: Scene, coarse: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="trained at 25 to 35 m"):
        estimate_heights(image, coarse, estimator=network(), posting=60.0)
    with pytest.raises(ValueError, match="one of the two"):
        estimate_heights(image, coarse, posting=30.0, like=coarse)
    with pytest.raises(ValueError, match="dem_error=-1"):
        estimate_heights(image, coarse, dem_error=-1.0)
    scene = prepare_scene(image, coarse, coarse)
    with pytest.raises(CheckpointError, match=r"posting of 90\.\d m"):
        predict_heights(network(), scene, coarse_error=4.0)
    with pytest.raises(CheckpointError, match="must be told the RMS error"):
        predict_heights(network(), scene)


def test_known_elevations_undo_a_network_that_is_wrong(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 64, seed=1)
    options = {"estimator": network(8.0), "like": truth, "coregister": False}
    right = estimate_heights(image, coarse, known, **options)
    base = rms(right["baseline"] - truth)
    # What kriging of 64 points in rough terrain may cost.
    assert rms(right["height"] - truth) < 1.05 * base
    assert float(right["network_share"].mean()) < 0.1


def test_a_displaced_dem_is_aligned_first(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 16, seed=2)
    wrong = (coarse + 20.0).assign_coords(x=coarse["x"] + 40.0)
    result = estimate_heights(image, wrong, known, estimator=network(), like=truth)
    assert result.attrs["alignment"]["offset"] == pytest.approx(-20.0, abs=4.0)
    assert rms(result["height"] - truth) < 1.5 * rms(back_project(coarse, truth) - truth)


def test_voids_are_filled_and_flagged(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    holes = coarse.copy(deep=True)
    holes[10:14, 8:13] = np.nan
    result = estimate_heights(
        image, holes, estimator=network(5.0), like=truth, dem_error=4.0, coregister=False
    )
    void = result["out_of_range"].values & 2 > 0
    assert void.sum() == 4 * 5 * 9
    assert void[30:42, 24:39].all()
    assert np.isfinite(result["height"]).all()
    assert not result["network_share"].values[void].any()


def test_points_outside_are_refused(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    inside = draw_known_elevations(truth, 4)
    far = KnownElevations(inside.x + 1e5, inside.y, inside.height, crs=inside.crs)
    with pytest.raises(KnownElevationsError, match="outside the scene"):
        estimate_heights(image, coarse, far)


def test_an_image_that_cannot_be_placed_is_not_used(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    random = np.random.default_rng(0)
    noise = image.image.copy(data=random.gamma(4.0, 0.02, image.image.shape).astype(np.float32))
    lost = Scene(noise, image.grid, image.orbit, image.calibration)
    known = draw_known_elevations(truth, 20, seed=3)
    result = estimate_heights(lost, coarse, known, estimator=network(9.0), like=truth)
    assert any("cannot be placed" in note for note in result.attrs["notes"])
    assert not result["network_share"].any()


def test_intervals_hold_what_they_say(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 64, seed=5)
    result = estimate_heights(image, coarse, known, like=truth)
    held = []
    for level in (0.5, 0.8, 0.95):
        interval = height_interval(result, level)
        held.append(float(((interval["low"] <= truth) & (truth <= interval["high"])).mean()))
    assert held == sorted(held)
    assert held[1] == pytest.approx(0.8, abs=0.12)
    with pytest.raises(ValueError, match="probability"):
        height_interval(result, 1.5)
    with pytest.raises(ValueError, match="height_sigma"):
        height_interval(result[["height"]])


def test_elevations_that_a_network_is_given_do_not_judge_it(
    image: Scene, coarse: xr.DataArray, truth: xr.DataArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 0.0

    def predicted(_estimator: HeightEstimator, scene: xr.Dataset, known: KnownElevations | None,
                  **_others: object) -> xr.Dataset:  # fmt: skip
        """A share of the right correction, and all of it where an elevation is given."""
        surface = scene["coarse_height"]
        height = surface + part * (truth.values - surface)
        if known is not None:
            at = rasterise_elevations(known, surface)["known"].values
            height = height.where(~at, truth.values)
        return height.to_dataset(name="height")

    monkeypatch.setattr("sarheight.terrain.predict.predict_heights", predicted)
    known = draw_known_elevations(truth, 60, sigma=0.1, seed=3)
    given = {"like": truth, "coregister": False}
    without = estimate_heights(image, coarse, known, **given)
    repeats = estimate_heights(image, coarse, known, estimator=network(), **given)
    assert not repeats["network_share"].any()
    np.testing.assert_array_equal(repeats["height"], without["height"])

    part = 0.6
    helps = estimate_heights(image, coarse, known, estimator=network(), **given)
    assert float(helps["network_share"].max()) > 0.8
    assert rms(helps["height"] - truth) < 0.7 * rms(without["height"] - truth)
    interval = height_interval(helps, 0.8)
    held = float(((interval["low"] <= truth) & (truth <= interval["high"])).mean())
    assert held == pytest.approx(0.8, abs=0.12)


def test_a_range_of_training_is_checked_and_kept() -> None:
    assert HeightEstimator.from_configuration(network().configuration()).training_range == RANGE
    for wrong in ({"posting": [30.0]}, {"posting": [40.0, 30.0]}, {"weather": [0.0, 1.0]}):
        with pytest.raises(ValueError, match="two ascending numbers"):
            network(stated=wrong)
