"""The independent test: places, areas and scores mean what they say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyproj
import pytest
import xarray as xr

from benchmarks._independent import intervals, places, scores, variants
from benchmarks._independent.filters import decibels, filled, upsampled
from benchmarks._independent.heights import back_projected, rtc_on_finer
from benchmarks._independent.methods import METHODS, Estimate, Method, rtc
from benchmarks._independent.observations import Archive, Image, Observed
from benchmarks._independent.pictures import save_picture
from benchmarks._independent.report import (
    Found,
    Key,
    archive_figures,
    figures_of,
    height_figures,
    markdown,
)
from benchmarks.independent import scores_of
from tests.dems import dem_around, hills
from tests.worlds.scattering_ground import block_sums

IMAGE = Image("leh", "several", 0, 33, ascending=True)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """A folder with a small place instead of the real one."""
    archive = Archive(tmp_path_factory.mktemp("images"))
    dem = dem_around(
        34.0, 77.0, hills((150, 150), relief=250.0, size=10.0), crs="EPSG:32643", posting=30.0
    )
    archive.remember("leh", dem.astype(np.float64))
    return archive


@pytest.fixture(scope="module")
def pair(archive: Archive) -> list[Observed]:
    """Both passes."""
    return [archive.observed(replace(IMAGE, ascending=up)) for up in (True, False)]


def test_a_wedge_is_in_layover_where_it_is_steeper_than_the_incidence() -> None:
    x = 30.0 * np.arange(60)
    heights = np.clip(np.minimum(x - 600.0, 1.0e9), 0.0, 240.0)[None, :]
    # 45 degrees up, then a plateau: seen from the west it folds at 33 degrees and not at 50.
    steep = places.layover_share(heights, 30.0, 33.0)
    assert steep.max() == 0.5
    assert places.layover_share(heights, 30.0, 50.0).max() == 0.0
    # Slant range on the slope falls by (cos 33° - sin 33°) 240 m.
    depth = 240.0 * (np.cos(np.radians(33.0)) - np.sin(np.radians(33.0)))
    before = depth / np.sin(np.radians(33.0)) / 30.0
    folded = np.flatnonzero(steep[0] > 0.0)
    assert folded[0] == pytest.approx(20.0 - before, abs=1.5)
    assert folded[-1] == pytest.approx(28.0 + before, abs=1.5)


def test_crops_by_rank_are_apart_and_in_order() -> None:
    rows, columns = np.mgrid[:300, :300]
    ridges = 150.0 * np.abs((columns % 6) / 3.0 - 1.0)
    # Squares that hold no two crops; the steeper ridges fold into each other everywhere.
    first = (rows > 20) & (rows < 130) & (columns > 20) & (columns < 130)
    second = (rows > 160) & (rows < 270) & (columns > 160) & (columns < 270)
    dem = dem_around(
        47.0, 11.0, np.where(first, 2.0, np.where(second, 1.2, 0.0)) * ridges, posting=90.0
    )
    dem = dem.assign_coords(void=(("y", "x"), np.zeros(dem.shape, dtype=bool)))
    to_map = pyproj.Transformer.from_crs(4326, dem.rio.crs, always_xy=True)
    found = [to_map.transform(*places.steepest_crop(dem, rank)) for rank in range(2)]
    x, y = dem.x.values.mean(), dem.y.values.mean()
    assert [(each[0] < x, each[1] > y) for each in found] == [(True, True), (False, False)]
    assert np.abs(np.subtract(*found)).max() >= places.CELLS * places.POSTING


def test_detail_continues_the_spectrum() -> None:
    """What a coarse DEM lacks comes back with about the power that was there."""
    random = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(300, 30.0)[:, None], np.fft.fftfreq(300, 30.0))
    amplitude = np.where(frequency > 0.0, np.maximum(frequency, 1e-9) ** -1.8, 0.0)
    full = np.fft.ifft2(np.fft.fft2(random.standard_normal((300, 300))) * amplitude).real
    full *= 200.0 / full.std()
    short = (frequency > 1.0 / 200.0) & (frequency < 1.0 / 70.0)
    spectrum = np.fft.fft2(full)
    smooth = np.fft.ifft2(np.where(frequency > 1.0 / 220.0, 0.0, spectrum)).real
    restored = smooth + places._detail(smooth, 1)
    power = [np.mean(np.abs(np.fft.fft2(each))[short] ** 2) for each in (full, restored)]
    assert 0.5 < power[1] / power[0] < 2.0


def test_an_image_comes_back_from_its_file(archive: Archive, pair: list[Observed]) -> None:
    assert not archive.make(IMAGE)
    again = Archive(archive.folder)
    again.remember("leh", archive.dem(places.PLACES["leh"]))
    found = again.observed(IMAGE)
    xr.testing.assert_equal(found.truth, pair[0].truth)
    np.testing.assert_array_equal(found.scene.image, pair[0].scene.image)
    assert found.scene.grid.near_range == pair[0].scene.grid.near_range
    finer = archive.observed(IMAGE, "as_used")
    assert finer.dem.shape == (150, 150)
    assert finer.scene.grid.shape == found.scene.grid.shape


def test_the_truth_scores_zero(pair: list[Observed]) -> None:
    areas = scores.areas_of(pair)
    truths = [each.truth.gamma0.values for each in pair]
    estimates = [Estimate(truth, lambda _, truth=truth: (truth, truth)) for truth in truths]
    for one, area in zip(scores.score(estimates, pair, areas), areas, strict=True):
        assert one.rmse("all") == 0.0
        assert one.coverage("all", 0.8) == 1.0
        assert one.without == 0
        assert one.cells["all"] == one.cells["layover"] + one.cells["outside"] > 500
        assert one.cells["folded_here_open_there"] <= one.cells["layover"]
        assert not (area["edges"] & area["layover"]).any()
    twice = [Estimate(2.0 * truth) for truth in truths]
    for one in scores.score(twice, pair, areas):
        assert one.bias("layover") == pytest.approx(10.0 * np.log10(2.0), abs=1e-6)


def test_scores_add_up_as_if_cells_were_pooled(pair: list[Observed]) -> None:
    areas = scores.areas_of(pair)
    estimates = [Estimate(np.full(each.dem.shape, 0.1)) for each in pair]
    parts = scores.score(estimates, pair, areas)
    total = scores.Score()
    for part in parts:
        total.add(part)
    errors = np.concatenate(
        [
            (-10.0 - decibels(each.truth.gamma0.values))[area["outside"]]
            for each, area in zip(pair, areas, strict=True)
        ]
    )
    assert total.rmse("outside") == pytest.approx(np.sqrt(np.mean(errors**2)))


def test_bright_squares_answer_with_their_gain(archive: Archive, pair: list[Observed]) -> None:
    bright = [archive.observed(each.image.with_targets()) for each in pair]
    truths = [[Estimate(each.truth.gamma0.values) for each in of] for of in (bright, pair)]
    for one in scores.response(*truths, pair, scores.areas_of(pair)):
        for size in (1, 2, 4):
            assert one.mean_response(size) == pytest.approx(6.0, abs=0.05)


def test_rtc_of_sub_facets_keeps_the_mean(pair: list[Observed]) -> None:
    found = rtc(pair[0], 0.2)
    area = scores.areas_of(pair)[0]["outside"]
    error = decibels(found)[area] - decibels(pair[0].truth.gamma0.values)[area]
    assert abs(np.mean(error)) < 0.5
    assert np.std(error) < 2.5


QUICK = ("geocoding", "rtc", "rtc_tv", "one_step", "posterior", "two_passes")
SOME = {name: METHODS[name] for name in QUICK}


@pytest.mark.parametrize("methods", [SOME, pytest.param(METHODS, marks=pytest.mark.slow)])
def test_every_method_is_scored_and_reported(
    archive: Archive, tmp_path: Path, methods: dict[str, Method]
) -> None:
    """Filters leave a value everywhere, and bright squares are seen."""
    scored = scores_of(archive, ("leh", "several", 0, 33), methods)
    assert {key.method for key in scored} == set(methods)
    for key, one in scored.items():
        assert one.rmse("all") < 15.0, key
        if METHODS[key.method].squares:
            assert 1.0 < one.mean_response(4) < 8.0, key
        again = scores.Score.of_json(json.loads(json.dumps(one.to_json())))
        assert again == one
    found = Found(scored)
    text = markdown(found)
    for method in methods.values():
        assert f"| {method.title}" in text
    assert figures_of(found)["independent.coverage_80.outside"][0] > 0.2
    save_picture(archive.observed(IMAGE), ("rtc_tv",), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000


def test_variants_are_images_of_their_own_but_for_an_error_of_the_dem(archive: Archive) -> None:
    names = {name: replace(IMAGE, variant=name).name for name in variants.VARIANTS}
    assert {name for name, each in names.items() if each == IMAGE.name} == {
        "",
        "error_2",
        "error_9",
    }
    assert len(set(names.values())) == len(names) - 2
    errors = [
        archive.observed(replace(IMAGE, variant=name), form).dem
        - archive.observed(replace(IMAGE, variant=name), form).ground.dem.values
        for name in ("error_2", "error_9")
        for form in ("as_used",)
    ]
    assert errors[1].std() / errors[0].std() > 2.0


@pytest.mark.slow
def test_intervals_are_counted_by_variant(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = {name: variants.VARIANTS[name] for name in ("", "error_9")}
    monkeypatch.setattr(intervals, "VARIANTS", some)
    monkeypatch.setattr(intervals, "GROUNDS", ((0, 33, True),))
    figures = intervals.coverage_by_variant(archive, ["leh"])
    held = [figures[f"independent.variants.{name}.outside"] for name in ("usual", "error_9")]
    assert 1.0 > held[0] > held[1] > 0.4
    assert figures["independent.variants.all"] == 8.0


def test_a_finer_dem_is_compared_in_the_cells_of_the_coarse_one(pair: list[Observed]) -> None:
    """Blocks of RTC on the back-projected DEM hold the RCS of RTC on sub-facets."""
    observed = pair[0]
    finer = back_projected(observed)
    assert finer.shape == observed.ground.dem.shape
    area = scores.areas_of(pair)[0]["outside"]
    means = [each[area].mean() for each in (rtc_on_finer(observed, finer), rtc(observed, 0.1))]
    assert means[0] == pytest.approx(means[1], rel=0.03)


def test_the_power_of_twice_the_truth_is_three_decibels_too_much(pair: list[Observed]) -> None:
    twice = [Estimate(2.0 * each.truth.gamma0.values) for each in pair]
    for one in scores.score(twice, pair, scores.areas_of(pair)):
        assert one.power_bias("layover") == pytest.approx(10.0 * np.log10(2.0), abs=1e-6)


def test_a_dem_of_sub_facets_has_the_cells_of_the_dem() -> None:
    dem = dem_around(46.0, 10.0, hills((30, 30), relief=200.0, size=6.0))
    finer = upsampled(dem)
    np.testing.assert_allclose(finer.x.values[1::3], dem.x.values)
    np.testing.assert_allclose(finer.values[1::3, 1::3], dem.values, atol=0.1)
    assert np.abs(block_sums(finer.values, 3) / 9.0 - dem.values).max() < 20.0


def test_cells_without_a_value_take_the_nearest() -> None:
    values = np.array([[1.0, np.nan, np.nan, 4.0]])
    np.testing.assert_array_equal(filled(values), [[1.0, 1.0, 4.0, 4.0]])


def test_figures_take_the_worse_incidence_and_the_better_baseline() -> None:
    found = Found()
    rmse = {
        "rtc": {33: 2.0, 40: 1.0},
        "rtc_tv": {33: 1.6, 40: 1.2},
        "posterior": {33: 1.2, 40: 0.9},
    }
    for method, by_incidence in rmse.items():
        for incidence, value in by_incidence.items():
            for ascending in (True, False):
                one = scores.Score()
                for area in ("all", "layover", "outside", "edges"):
                    one.cells[area] = 1000
                    one.square[area] = 1000 * value**2
                found.scores[Key(method, "leh", "several", "coarser", incidence, ascending, 0)] = (
                    one
                )
    figures = figures_of(found)
    # Against 1.6 at 33 degrees it is 0.25, against 1.0 at 40 degrees 0.1.
    value, _ = figures["independent.leh.several.posterior_vs_best_baseline.layover"]
    assert value == pytest.approx(0.1)
    median, _ = figures["independent.median.several.posterior_vs_best_baseline.outside"]
    assert median == pytest.approx(0.175)


def test_heights_are_compared_with_the_better_of_both_baselines() -> None:
    found = Found()
    for method, value in {"rtc": 2.0, "rtc_tv_refined": 1.6, "posterior_refined": 1.2}.items():
        for incidence, ascending in ((33, True), (33, False), (40, True), (40, False)):
            one = scores.Score()
            for area in ("all", "layover", "outside", "edges"):
                one.cells[area] = 1000
                one.square[area] = 1000 * value**2
            found.scores[Key(method, "leh", "several", "coarser", incidence, ascending, 0)] = one
    figures = height_figures(found)
    assert figures["independent.heights.posterior_refined_vs_coarse.layover"][0] == (
        pytest.approx(0.4)
    )
    assert figures["independent.heights.posterior_refined_vs_best.layover.min"][0] == (
        pytest.approx(0.25)
    )


def test_ways_through_archives_are_compared_with_the_image_and_the_product() -> None:
    found = Found()
    for method, value in {"posterior": 2.0, "product_30": 2.5, "back_30": 2.1}.items():
        for incidence, ascending in ((33, True), (33, False), (40, True), (40, False)):
            one = scores.Score()
            for area in ("all", "layover", "outside", "edges"):
                one.cells[area] = 990 if method == "product_30" else 1000
                one.square[area] = one.cells[area] * value**2
            found.scores[Key(method, "leh", "several", "coarser", incidence, ascending, 0)] = one
    figures = archive_figures(found)
    expected = {"loss": 0.05, "cut_vs_rtc": 0.16, "masked": 0.01}
    for name, value in expected.items():
        assert figures[f"archives.{name}.layover"][0] == pytest.approx(value)


def test_the_folder_is_left_whole_if_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Archive(tmp_path)
    archive.remember("leh", dem_around(34.0, 77.0, np.full((30, 30), 500.0)).astype(float))

    def broken(*_: object, **__: object) -> None:
        message = "disk full"
        raise OSError(message)

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        archive.make(IMAGE)
    assert list(tmp_path.iterdir()) == []
