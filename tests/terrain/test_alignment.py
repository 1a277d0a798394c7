"""Surfaces without an image: back-projection, alignment, kriged residuals."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.ndimage import gaussian_filter

from sarheight.dem import coarsen, reproject
from sarheight.errors import DemError, KnownElevationsError
from sarheight.terrain import (
    Alignment,
    KnownElevations,
    apply_alignment,
    back_project,
    draw_altimeter_tracks,
    draw_known_elevations,
    estimate_alignment,
    height_interval,
    krige_residuals,
    require_inside,
)
from sarheight.terrain.kriging import PRIOR_POINTS, _Residuals, interval_factor
from tests.dems import ranges
from tests.mountains import raster


def rms(values: xr.DataArray | np.ndarray) -> float:
    return float(np.sqrt(np.nanmean(np.asarray(values) ** 2)))


# Back-projection.


@pytest.fixture(scope="module")
def truth() -> xr.DataArray:
    return raster(ranges((180, 240)))


@pytest.fixture(scope="module")
def coarse(truth: xr.DataArray) -> xr.DataArray:
    return coarsen(truth, 90.0, units="crs")


@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_back_projection_keeps_the_means_of_the_cells(coarse: xr.DataArray, factor: int) -> None:
    surface = back_project(coarse, factor=factor)
    assert surface.shape == (60 * factor, 80 * factor)
    means = surface.coarsen(y=factor, x=factor).mean()
    np.testing.assert_allclose(means["x"], coarse["x"])
    np.testing.assert_allclose(means["y"], coarse["y"])
    np.testing.assert_allclose(means, coarse, atol=0.03)


def test_back_projection_is_closer_to_the_truth_than_interpolation(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    surface = back_project(coarse, truth)
    for method in ("bilinear", "cubic"):
        interpolated = reproject(coarse, like=truth, resampling=method)
        assert rms(surface - truth) < 0.9 * rms(interpolated - truth)


def test_back_projection_of_a_plane_is_the_plane() -> None:
    row, column = np.mgrid[:20, :30]
    surface = back_project(raster(1000.0 + 7.0 * row - 3.0 * column, posting=90.0), factor=3)
    inside = surface.isel(y=slice(12, -12), x=slice(12, -12))
    row, column = np.mgrid[:60, :90]
    expected = 1000.0 + 7.0 * (row - 1) / 3.0 - 3.0 * (column - 1) / 3.0
    np.testing.assert_allclose(inside, expected[12:-12, 12:-12], atol=0.05)


def test_back_projection_reaches_grids_of_other_projections(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    degrees = reproject(truth, "EPSG:4326")
    inside = degrees.isel(y=slice(20, -20), x=slice(20, -20))
    surface = back_project(coarse, inside)
    assert surface.rio.crs == inside.rio.crs
    assert np.isfinite(surface).all()
    assert rms(surface - inside) < 1.1 * rms(back_project(coarse, truth) - truth)


def test_back_projection_fills_voids_first(coarse: xr.DataArray) -> None:
    void = xr.zeros_like(coarse, dtype=bool)
    void[20:26, 30:36] = True
    surface = back_project(coarse.where(~void), factor=3)
    assert np.isfinite(surface).all()
    whole = back_project(coarse, factor=3)
    far = surface.isel(y=slice(0, 36)) - whole.isel(y=slice(0, 36))
    assert rms(far) < 0.5
    with pytest.raises(DemError, match="every cell"):
        back_project(coarse.where(coarse < 0.0), factor=3)


# Alignment.


def displaced(
    coarse: xr.DataArray, offset: float = 0.0, east: float = 0.0, north: float = 0.0
) -> xr.DataArray:
    moved = coarse.copy(data=coarse.values + np.float32(offset))
    return moved.assign_coords(x=coarse["x"] + east, y=coarse["y"] + north)


@pytest.mark.parametrize(("count", "sigma"), [(16, 2.0), (200, 0.0)])
def test_offset_and_shift_are_found(
    truth: xr.DataArray, coarse: xr.DataArray, count: int, sigma: float
) -> None:
    known = draw_known_elevations(truth, count, sigma=sigma, seed=3)
    wrong = displaced(coarse, 20.0, 45.0, -30.0)
    found = estimate_alignment(wrong, known)
    assert found.points >= 0.95 * count
    for name, expected in (("offset", -20.0), ("east", -45.0), ("north", 30.0)):
        error = getattr(found, f"{name}_error")
        assert 0.0 < error < 12.0
        assert abs(getattr(found, name) - expected) < 4.0 * error + 0.5
    before = rms(back_project(wrong, truth) - truth)
    after = rms(back_project(apply_alignment(wrong, found), truth) - truth)
    assert before > 15.0
    assert after < 1.6 * rms(back_project(coarse, truth) - truth)


def test_what_is_aligned_stays_as_it_is(truth: xr.DataArray, coarse: xr.DataArray) -> None:
    """Noise of the estimate must not be added to a DEM without displacement."""
    noise = gaussian_filter(np.random.default_rng(2).standard_normal(coarse.shape), 1.5)
    kept = 0
    for dem in (coarse, coarse + (4.5 * noise / noise.std()).astype(np.float32)):
        before = rms(back_project(dem, truth) - truth)
        for seed in range(8):
            found = estimate_alignment(dem, draw_known_elevations(truth, 16, seed=seed))
            moved = back_project(apply_alignment(dem, found), truth)
            kept += rms(moved - truth) < 1.02 * before
    assert kept >= 13


def test_an_offset_that_points_leave_open_is_corrected_in_part(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 8, sigma=3.0, seed=2)
    offsets = np.arange(0.0, 16.0, 1.0)
    found = [estimate_alignment(displaced(coarse, offset), known) for offset in offsets]
    corrected = -np.array([each.offset for each in found])
    assert corrected[0] == 0.0
    assert corrected[-1] == pytest.approx(offsets[-1], abs=3.0)
    # From the first correction on it approaches the whole, and is less certain at first.
    first = int(np.flatnonzero(corrected)[0])
    missing = offsets - corrected
    assert missing[first] > 2.0 * np.abs(missing[-4:]).mean()
    assert found[first].offset_error > found[-1].offset_error > 0.0


def test_outliers_do_not_move_a_dem(truth: xr.DataArray, coarse: xr.DataArray) -> None:
    known = draw_known_elevations(truth, 100, seed=1)
    height = known.height.copy()
    height[:12] += 150.0  # trees, clouds
    wild = KnownElevations(known.x, known.y, height, crs=known.crs)
    found = estimate_alignment(displaced(coarse, 10.0), wild)
    assert found.offset == pytest.approx(-10.0, abs=1.0)


def test_points_count_by_their_own_errors(truth: xr.DataArray, coarse: xr.DataArray) -> None:
    """A point that is stated to err by 15 m says little beside one that errs by half a metre."""
    known = draw_known_elevations(truth, 60, seed=4)
    poor = np.arange(60) % 2 == 0
    mixed = KnownElevations(
        known.x,
        known.y,
        known.height + np.where(poor, 12.0, 0.0),
        sigma=np.where(poor, 15.0, 0.5),
        crs=known.crs,
    )
    found = estimate_alignment(displaced(coarse, 10.0), mixed)
    assert found.offset == pytest.approx(-10.0, abs=0.6)


def test_a_tilt_is_found_from_tracks(truth: xr.DataArray, coarse: xr.DataArray) -> None:
    known = draw_altimeter_tracks(truth, spacing=1500.0, interval=200.0, sigma=0.5)
    slope = np.linspace(-12.0, 12.0, coarse.sizes["x"], dtype=np.float32)
    found = estimate_alignment(coarse + slope, known)
    assert found.tilt_east == pytest.approx(-12.0, abs=1.5)
    assert found.tilt_north == pytest.approx(0.0, abs=1.5)
    moved = apply_alignment(coarse + slope, found)
    assert rms(moved - coarse) < 1.5


def test_alignment_goes_with_the_map_whichever_way_it_is_stored(
    truth: xr.DataArray, coarse: xr.DataArray
) -> None:
    known = draw_known_elevations(truth, 60, seed=5)
    wrong = displaced(coarse, 8.0, 30.0, 20.0)
    turned = wrong.isel(y=slice(None, None, -1), x=slice(None, None, -1))
    one, other = (estimate_alignment(each, known) for each in (wrong, turned))
    assert one.attributes() == pytest.approx(other.attributes(), abs=0.05)
    degrees = reproject(wrong, "EPSG:4326")
    third = estimate_alignment(degrees, known)
    assert third.east == pytest.approx(-30.0, abs=5.0)
    assert third.north == pytest.approx(-20.0, abs=5.0)


def test_an_alignment_says_what_was_found() -> None:
    assert "no displacement" in str(Alignment(points=4))
    assert "+3.0 ± 0.5 m offset" in str(Alignment(offset=3.0, offset_error=0.5, points=9))
    assert Alignment().attributes()["noise"] is None


# Known elevations that do not fit.


def test_points_outside_are_refused(truth: xr.DataArray) -> None:
    known = draw_known_elevations(truth, 5)
    assert require_inside(known, truth) == 5
    far = KnownElevations(known.x + 1e5, known.y, known.height, crs=known.crs)
    uses = (lambda: require_inside(far, truth), lambda: estimate_alignment(truth, far))
    for use in (*uses, lambda: krige_residuals(truth, far)):
        with pytest.raises(KnownElevationsError, match=r"outside the scene, the nearest 9\d"):
            use()
    degrees = known.to_crs(4326)
    exchanged = KnownElevations(degrees.y, degrees.x, known.height)
    with pytest.raises(KnownElevationsError, match="latitude and longitude exchanged"):
        require_inside(exchanged, truth)


# Kriging.


def field(shape: tuple[int, int], length: float, seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), length)
    return np.asarray(noise / noise.std())


def test_kriging_gains_with_every_point(truth: xr.DataArray) -> None:
    few = truth[:120, :160]
    surface = few + (5.0 * field(few.shape, 8.0, 1)).astype(np.float32)
    errors = []
    for count in (0, 8, 32, 80):
        drawn = [draw_known_elevations(few, count, seed=seed) for seed in range(2)]
        errors.append(np.mean([rms(krige_residuals(surface, each).height - few) for each in drawn]))
    assert errors[0] == pytest.approx(rms(surface - few), rel=1e-5)
    assert errors == sorted(errors, reverse=True)
    assert errors[3] < 0.75 * errors[0]


@pytest.mark.parametrize("size", [1.0, 5.0, 12.0])
def test_points_calibrate_the_uncertainty(truth: xr.DataArray, size: float) -> None:
    surface = truth + (size * field(truth.shape, 6.0, 4)).astype(np.float32)
    known = draw_known_elevations(truth, 64, sigma=0.3, seed=2)
    found = krige_residuals(surface, known, sigma=5.0)
    ratio = np.abs(found.height - truth) / found.height_sigma
    # 80 % of a normal distribution lie within 1.2816 standard deviations.
    assert 0.7 < float((ratio < 1.2816).mean()) < 0.9


def test_the_interval_ends_at_the_rank_that_holds_its_part() -> None:
    """Of nine errors without correlation the eighth smallest bounds 80 % of others."""
    errors = np.array([0.3, -0.1, 0.5, 0.9, -0.7, 2.0, -1.1, 0.2, 1.5])
    apart = 1e9 * np.arange(9.0)
    residuals = _Residuals(
        np.stack([apart, apart], axis=1), errors, np.zeros(9), sill=0.5, nugget=0.5, length=1.0
    )
    found = residuals.leave_one_out(parameters=0)
    # Within the sum of squares that a point's own prediction of 0 leaves, nothing is worse.
    assert found.helps
    eighth = np.sort(np.abs(errors))[7]
    expected = (eighth / interval_factor(0.8)) ** (9 / (9 + PRIOR_POINTS))
    assert found.scale == pytest.approx(expected, rel=1e-6)


def test_uncertain_points_change_little(truth: xr.DataArray) -> None:
    surface = truth + np.float32(3.0)
    known = draw_known_elevations(truth, 30, seed=2)
    vague = KnownElevations(known.x, known.y, known.height, 200.0, known.crs)
    assert rms(krige_residuals(surface, vague).height - surface) < 0.05
    assert rms(krige_residuals(surface, known).height - surface) > 0.3


def test_kriging_passes_through_exact_points_of_a_smooth_error(truth: xr.DataArray) -> None:
    error = (6.0 * field(truth.shape, 20.0, 3)).astype(np.float32)
    known = draw_known_elevations(truth, 150, seed=1)
    found = krige_residuals(truth + error, known, sigma=6.0, length=1200.0)
    assert rms(found.height - truth) < 0.35 * rms(error)
    assert found.attrs["nugget"] < 0.1 * found.attrs["sill"]
    near = found.height_sigma.values < np.median(found.height_sigma.values)
    missed = np.abs((found.height - truth).values)
    assert missed[near].mean() < missed[~near].mean()


def test_few_points_give_honest_intervals(truth: xr.DataArray) -> None:
    """Errors with long tails, of another size than is stated; 16 points each."""
    random = np.random.default_rng(5)
    few = truth[:60, :80]
    held = []
    for seed in range(12):
        error = 3.0 * random.standard_t(3, few.shape).astype(np.float32)
        known = draw_known_elevations(few, 16, seed=seed)
        found = krige_residuals(few + error, known, sigma=5.0)
        # The kriged value of a cell with a point is left out: it is known there.
        ratio = np.abs(found.height - few) / found.height_sigma
        held.append(float((ratio < 1.2273).mean()))
    assert 0.75 < np.mean(held) < 0.92


def test_kriging_that_makes_points_worse_is_left_out(truth: xr.DataArray) -> None:
    """Neighbours err in opposite directions, so that each predicts the other wrongly."""
    rows, columns = np.meshgrid(np.arange(4, 36, 6), np.arange(4, 36, 6), indexing="ij")
    rows = np.concatenate([rows.ravel(), rows.ravel()])
    columns = np.concatenate([columns.ravel(), columns.ravel() + 1])
    sign = np.repeat([1.0, -1.0], rows.size // 2)
    known = KnownElevations(
        truth.x.values[columns],
        truth.y.values[rows],
        truth.values[rows, columns] + 4.0 * sign,
        0.0,
        truth.rio.crs,
    )
    found = krige_residuals(truth, known, sigma=4.0)
    assert found.attrs["helps"] == 0
    np.testing.assert_array_equal(found.height, truth.astype(np.float32))
    assert float(found.height_sigma.min()) > 2.0


def test_intervals_hold_what_they_say(truth: xr.DataArray) -> None:
    """Errors of Student's t distribution with the degrees of freedom that intervals assume."""
    errors = 4.0 * np.random.default_rng(3).standard_t(10, truth.shape) * np.sqrt(0.8)
    result = (truth.astype(np.float64) + errors).to_dataset(name="height")
    result["height_sigma"] = xr.full_like(result["height"], 4.0)
    for level in (0.5, 0.8, 0.95):
        interval = height_interval(result, level)
        held = float(((interval["low"] <= truth) & (truth <= interval["high"])).mean())
        assert held == pytest.approx(level, abs=0.01)
        middle = 0.5 * (interval["low"] + interval["high"])
        np.testing.assert_allclose(middle, result["height"])
