"""What is made of dates: their mean in radar geometry, and less speckle by the others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.pool import limit_threads
from sarheight_kernels.series import accumulate_resampled
from scipy.ndimage import gaussian_filter, uniform_filter

from sarheight import series
from sarheight.coregistration import estimate_shift_between
from sarheight.dem import coarsen
from sarheight.errors import GeometryError, SeriesError
from sarheight.geometry.placement import crop_scene_to_dem
from sarheight.illumination import simulate
from sarheight.output.radar_images import write_scene
from sarheight.scene import Scene
from sarheight.series import speckle_filter
from sarheight.terrain import RefinementSettings, refine
from tests.dems import hills
from tests.mountains import LAW, raster, rough_hills
from tests.series.dates import date_of

LOOKS = 4.4
BASELINES = (0.0, 110.0, -160.0, 70.0, 30.0, -90.0)
OFFSETS = ((0.0, 0.0), (0.37, 0.61), (-0.28, 0.13), (2.5, -3.2), (-0.4, 0.1), (0.5, 0.5))
SHAPE = {"lines": 330, "samples": 330}
QUICK = RefinementSettings(error=2.0, iterations=2, steps=12, samples=2)


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    """Hills that fill the image."""
    heights = hills((150, 160), relief=60.0, size=8.0, seed=1)
    return raster(500.0 + heights - heights.mean())


def date(
    dem: xr.DataArray, number: int, *, speckle: bool = True, level: float = 1.0, **how: bool
) -> Scene:
    """Simulate a date whose ground has patches some cells wide."""
    scene = date_of(
        dem, number, baseline=BASELINES[number], offset=OFFSETS[number], speckle=False,
        **SHAPE | how,
    )  # fmt: skip
    noise = np.random.default_rng(1).standard_normal(dem.shape)
    patches = level * np.exp(1.5 * gaussian_filter(noise, 1.5))
    image = simulate(
        dem, scene.grid, scene.orbit, law=LAW, reflectivity=patches,
        looks=LOOKS if speckle else None, seed=number,
    ).image  # fmt: skip
    return Scene(image.assign_coords(polarisation="VV"), scene.grid, scene.orbit, "beta0")


@pytest.fixture(scope="module")
def dates(dem: xr.DataArray) -> list[Scene]:
    return [date(dem, number) for number in range(len(BASELINES))]


@pytest.fixture(scope="module")
def expected(dem: xr.DataArray) -> NDArray[np.float32]:
    """Return the first date without speckle, on the lattice of the mean."""
    return crop_scene_to_dem(date(dem, 0, speckle=False), dem, margin=64).image.values


def decibels(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.abs(10.0 * np.log10(one / other))


def block_looks(ratio: NDArray[np.float32], size: int = 8) -> float:
    """Equivalent number of looks of a pixel, from means over blocks."""
    down, across = (each // size * size for each in ratio.shape)
    blocks = ratio[:down, :across].reshape(down // size, size, across // size, size)
    means = blocks.mean(axis=(1, 3))
    return float(np.nanmean(means) ** 2 / np.nanvar(means) / size**2)


def test_clean_dates_have_the_first_as_their_mean(
    dem: xr.DataArray, expected: NDArray[np.float32]
) -> None:
    clean = [date(dem, number, speckle=False) for number in range(4)]
    found = series.mean_scene(clean, dem, coregistration="none")
    values = found.image.values
    seen = np.isfinite(values)
    assert seen.mean() > 0.97
    assert np.median(decibels(values, expected)[seen]) < 0.12
    assert np.sum(values[seen]) == pytest.approx(np.sum(expected[seen]), rel=1e-3)
    # Without the geometry of each date, pixels are off by fractions of a pixel, and by three.
    others = [replace(each, grid=clean[0].grid, orbit=clean[0].orbit) for each in clean]
    apart = np.mean([each.image.values for each in others], axis=0)
    part = crop_scene_to_dem(replace(clean[0], image=clean[0].image.copy(data=apart)), dem)
    assert np.median(decibels(part.image.values, expected)) > 0.3


def test_the_mean_has_the_looks_that_its_grid_states(
    dates: list[Scene], dem: xr.DataArray, expected: NDArray[np.float32]
) -> None:
    found = series.mean_scene(dates, dem)
    assert found.grid.looks == pytest.approx(LOOKS * len(dates), rel=0.01)
    ratio = found.image.values / expected
    assert np.nanmean(ratio) == pytest.approx(1.0, abs=0.01)
    assert block_looks(ratio) == pytest.approx(found.grid.looks, rel=0.12)
    # Cubic convolution leaves 0.64 to 1 of the variance of white noise, along each axis.
    single = 1.0 / float(np.nanvar(ratio))
    assert found.grid.looks < single < 2.0 * found.grid.looks


def test_dates_side_by_side_give_the_same_bits(dates: list[Scene], dem: xr.DataArray) -> None:
    with limit_threads(1):
        one = series.mean_scene(dates[:4], dem)
    with limit_threads(4):
        four = series.mean_scene(dates[:4], dem)
    xr.testing.assert_identical(one.image, four.image)
    assert one.grid == four.grid


def test_dates_of_other_levels_have_fewer_looks(dem: xr.DataArray) -> None:
    two = [date(dem, 0), date(dem, 1, level=0.25)]
    found = series.mean_scene(two, dem, coregistration="none")
    assert found.grid.looks == pytest.approx(LOOKS * 1.25**2 / (1.0 + 0.25**2), rel=0.01)


def test_an_error_of_the_timing_is_found_and_corrected(
    dates: list[Scene], dem: xr.DataArray
) -> None:
    wrong = [dates[0], replace(dates[3], grid=dates[3].grid.shift(-0.8, 0.7))]
    found = series.mean_scene(wrong, dem)
    _, record = json.loads(found.image.attrs["dates"])
    assert record["corrected"]
    assert record["coregistration"]["line"] == pytest.approx(0.8, abs=0.3)
    assert record["coregistration"]["sample"] == pytest.approx(-0.7, abs=0.2)
    right = series.mean_scene([dates[0], dates[3]], dem, coregistration="none").image.values
    reported = series.mean_scene(wrong, dem, coregistration="report").image.values
    errors = [float(np.nanstd((each - right) / right)) for each in (found.image.values, reported)]
    assert errors[0] < 0.6 * errors[1]


def test_shifts_between_images_are_those_that_were_made() -> None:
    random = np.random.default_rng(0)
    ground = np.exp(gaussian_filter(random.standard_normal((4, 120, 120)), (0, 2, 2)) * 4.0)
    speckle = random.gamma(LOOKS, 1.0 / LOOKS, (2, *ground.shape))
    reference = ground * speckle[0]
    moved = np.roll(ground, (2, -1), axis=(1, 2)) * speckle[1]
    shift = estimate_shift_between(moved[:, 14:-14, 14:-14], reference)
    assert shift.found
    assert abs(shift.line - 2.0) < 4.0 * max(shift.line_error, 0.03)
    assert abs(shift.sample + 1.0) < 4.0 * max(shift.sample_error, 0.03)
    other = random.gamma(LOOKS, 1.0 / LOOKS, ground.shape)
    assert not estimate_shift_between(other[:, 14:-14, 14:-14], reference).found
    assert "enough data" in estimate_shift_between(moved[:, 14:-14, 14:-14] * np.nan, ground).reason


def test_resampling_is_exact_for_parabolas_and_on_pixels() -> None:
    line, sample = np.mgrid[:40, :50].astype(np.float32)
    offsets = np.zeros((2, 4, 4))
    offsets[:, 0, 0], offsets[0, 1, 1] = (0.4, -0.7), 0.2
    scales = np.array([[19.5, 19.5], [24.5, 24.5]])

    def resample(image: NDArray[np.float32], offsets: NDArray[np.float64]) -> NDArray[np.float32]:
        total, count = np.zeros(image.shape, np.float32), np.zeros(image.shape, np.uint16)
        accumulate_resampled(image, (0, 0), offsets, scales, (0, 0), total, count)
        return np.where(count > 0, total, np.float32(np.nan))

    image = 3.0 + 0.1 * line + 0.02 * line**2 + 0.01 * sample**2
    found = resample(image, offsets)
    there = line + 0.4 + 0.2 * (line - 19.5) / 19.5 * (sample - 24.5) / 24.5, sample - 0.7
    expected = 3.0 + 0.1 * there[0] + 0.02 * there[0] ** 2 + 0.01 * there[1] ** 2
    inside = (slice(2, -3), slice(3, -2))
    np.testing.assert_allclose(found[inside], expected[inside], rtol=1e-5)
    assert np.isnan(found[0]).all()
    image[5, 5] = np.nan
    np.testing.assert_array_equal(resample(image, np.zeros((2, 4, 4))), image)


def test_gaps_stay_in_their_date(dates: list[Scene], dem: xr.DataArray) -> None:
    holed = dates[1].image.copy()
    holed[100:140] = np.nan
    some = [dates[0], replace(dates[1], image=holed), *dates[2:4]]
    found = series.mean_scene(some, dem, coregistration="none").image.values
    without = [dates[0], *dates[2:4]]
    three = series.mean_scene(without, dem, coregistration="none").image.values
    four = series.mean_scene(dates[:4], dem, coregistration="none").image.values
    np.testing.assert_allclose(found[105:135, 20:-20], three[105:135, 20:-20], rtol=1e-5)
    np.testing.assert_array_equal(found[150:], four[150:])
    assert np.isfinite(found[:300, 20:-20]).all()
    gone = dates[1].image * np.nan
    with pytest.warns(RuntimeWarning, match="shows nothing of the ground"):
        kept = series.mean_scene([dates[0], replace(dates[1], image=gone)], dem)
    assert len(json.loads(kept.image.attrs["dates"])) == 1


def test_lazy_images_and_files_are_as_those_in_memory(
    dates: list[Scene], dem: xr.DataArray, tmp_path: Path
) -> None:
    expected = series.mean_scene(dates[:3], dem)
    lazy = [replace(each, image=each.image.chunk(line=50)) for each in dates[:3]]
    found = series.mean_scene(lazy, dem)
    np.testing.assert_array_equal(found.image.values, expected.image.values)
    for number, each in enumerate(dates[:3]):
        write_scene(each, tmp_path / f"{number}.nc")
    (tmp_path / "orbit.EOF").write_text("not a date")
    files = series.find_dates(tmp_path)
    assert [file.name for file in files] == ["0.nc", "1.nc", "2.nc"]
    read = series.mean_scene(files, dem)
    np.testing.assert_allclose(read.image.values, expected.image.values, rtol=1e-6)
    # The mean is an image like any other: it can be kept.
    write_scene(read, tmp_path / "mean.nc")
    assert len(series.find_dates(tmp_path)) == 4


def test_bad_input_is_refused(dates: list[Scene], dem: xr.DataArray, tmp_path: Path) -> None:
    other = replace(dates[1], calibration="sigma0")
    given: tuple[tuple[list[Scene], dict[str, Any], type[Exception], str], ...] = (
        ([dates[0], other], {}, SeriesError, "another calibration than beta0"),
        (dates[:2], {"polarisation": "VH"}, SeriesError, "VV, without VH"),
        ([], {}, SeriesError, "none was passed"),
        (dates, {"coregistration": "yes"}, ValueError, "one of 'report', 'correct', 'none'"),
    )
    for scenes, how, error, message in given:
        with pytest.raises(error, match=message):
            series.mean_scene(scenes, dem, **how)
    broken = tmp_path / "broken.nc"
    broken.write_bytes(b"no image")
    with pytest.warns(RuntimeWarning, match=r"broken\.nc was left out"):
        found = series.mean_scene([broken, *dates[:2], dates[1]], dem, coregistration="none")
    assert len(json.loads(found.image.attrs["dates"])) == 2
    with pytest.raises(ValueError, match=r"broken\.nc"):
        series.mean_scene([broken, dates[0]], dem, strict=True)
    far = raster(hills((40, 40)), latitude=40.0)
    with pytest.raises(GeometryError):
        series.mean_scene(dates[:2], far)


def test_heights_refined_by_means_are_better_than_by_single_dates() -> None:
    """Ten dates each way, fractions of a pixel and up to 150 m apart, against one each way."""
    truth = rough_hills()
    coarse = coarsen(truth, 90.0, units="crs")
    random = np.random.default_rng(0)
    offsets, baselines = random.uniform(-0.5, 0.5, (10, 2)), random.uniform(-150.0, 150.0, 10)

    def track(*, ascending: bool) -> list[Scene]:
        scenes = []
        for number in range(10):
            where = date_of(
                truth, number, baseline=baselines[number], offset=tuple(offsets[number]),
                speckle=False, ascending=ascending, lines=330, samples=380,
            )  # fmt: skip
            seed = number + 100 * ascending
            image = simulate(truth, where.grid, where.orbit, law=LAW, looks=LOOKS, seed=seed).image
            scenes.append(Scene(image, where.grid, where.orbit, "beta0"))
        return scenes

    tracks = [track(ascending=ascending) for ascending in (True, False)]
    errors = []
    for scenes in (
        [dates[0] for dates in tracks],
        [series.mean_scene(dates, coarse) for dates in tracks],
    ):
        found = refine(scenes, coarse, settings=QUICK, coregister="none")
        error = (found["height"] - truth).isel(y=slice(9, -9), x=slice(9, -9))
        errors.append(float((error**2).mean() ** 0.5))
    assert errors[1] < 0.8 * errors[0]


def series_of(truth: np.ndarray, seed: int = 0) -> xr.DataArray:
    """Speckled dates of a truth, shape (time, rows, columns)."""
    random = np.random.default_rng(seed)
    values = truth * random.gamma(LOOKS, 1.0 / LOOKS, truth.shape)
    return xr.DataArray(values.astype(np.float32), dims=("time", "y", "x"))


def looks_of(values: np.ndarray) -> float:
    return float(values.mean() ** 2 / values.var())


def test_it_is_the_formula_of_quegan_and_yu() -> None:
    gamma = series_of(np.full((5, 40, 50), 0.2))
    means = np.stack([uniform_filter(date, 7, mode="reflect") for date in gamma.values])
    expected = means / 5 * (gamma.values / means).sum(axis=0)
    inside = (slice(None), slice(3, -3), slice(3, -3))
    found = speckle_filter(gamma)
    np.testing.assert_allclose(found.values[inside], expected[inside], rtol=1e-4)


def test_uniform_ground_gains_looks_and_keeps_its_level() -> None:
    dates = 12
    found = speckle_filter(series_of(np.full((dates, 160, 160), 0.2)), window=9).values
    assert looks_of(found[0]) > 0.6 * dates * LOOKS
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0.2, rtol=0.01)


def test_changes_of_level_stay_with_their_date() -> None:
    truth = np.full((6, 80, 80), 0.1)
    truth[3, :, 40:] = 0.4
    found = speckle_filter(series_of(truth)).values
    assert found[3, 10:-10, 50:70].mean() == pytest.approx(0.4, rel=0.05)
    assert found[2, 10:-10, 50:70].mean() == pytest.approx(0.1, rel=0.05)


def test_texture_that_all_dates_share_stays_sharp() -> None:
    random = np.random.default_rng(3)
    texture = np.exp(0.6 * random.standard_normal((60, 60)))
    found = speckle_filter(series_of(np.repeat(0.2 * texture[None], 20, axis=0))).values[0]
    assert np.corrcoef(np.log(found).ravel(), np.log(texture).ravel())[0, 1] > 0.95


def test_dates_without_data_are_left_out_and_stay_without() -> None:
    gamma = series_of(np.full((4, 30, 30), 0.2))
    gamma[1, 5:20] = np.nan
    found = speckle_filter(gamma)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(gamma))
    without = speckle_filter(gamma.isel(time=[0, 2, 3]))
    np.testing.assert_allclose(found[0, 10:15, 5:-5], without[0, 10:15, 5:-5], rtol=1e-5)


def test_a_lazy_series_is_as_one_in_memory() -> None:
    gamma = series_of(np.full((3, 70, 60), 0.2)).expand_dims(polarisation=["VV"], axis=1)
    lazy = speckle_filter(gamma.chunk(time=1, y=25, x=30), window=5)
    assert lazy.chunks is not None
    np.testing.assert_allclose(lazy.compute(), speckle_filter(gamma, window=5), rtol=1e-6)


def test_windows_and_dims_are_checked() -> None:
    for window in (0, 4, -3):
        with pytest.raises(ValueError, match="odd number"):
            speckle_filter(series_of(np.ones((2, 9, 9))), window=window)
    with pytest.raises(ValueError, match="expected \\(time"):
        speckle_filter(xr.DataArray(np.ones((3, 3)), dims=("y", "x")))
