"""The posterior mean: kinds of ground by a guide, several passes, and intervals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import lognorm

from sarheight.illumination import ConstantGamma, CosinePower, simulate
from sarheight.layover import PosteriorMean, Prior, Reallocation, interval, reconstruct
from sarheight.layover._input import kinds_of_ground
from sarheight.scene import Scene
from tests.mountains import look, random_terrain, raster

Floats = NDArray[np.float64]

STEEP, FLAT = CosinePower(0.25, 4.0), ConstantGamma(0.1)


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    """Terrain with layover, in cells about as large as a few pixels."""
    return raster(random_terrain(3, 120, 150, relief=170.0))


@pytest.fixture(scope="module")
def kinds(dem: xr.DataArray) -> xr.DataArray:
    """Two kinds of ground in patches, 1 and 2."""
    field = gaussian_filter(np.random.default_rng(1).standard_normal(dem.shape), 4.0)
    return dem.copy(data=np.where(field > 0.0, 1, 2).astype(np.uint8))


def image_of(dem: xr.DataArray, kinds: xr.DataArray, seed: int = 0) -> Scene:
    """Simulate an image of two kinds of ground with laws of their own."""
    grid, orbit = look(lines=420, samples=560)
    one = simulate(dem, grid, orbit, law=STEEP, reflectivity=(kinds == 1).astype(np.float32))
    two = simulate(dem, grid, orbit, law=FLAT, reflectivity=(kinds == 2).astype(np.float32))
    random = np.random.default_rng(seed)
    speckle = random.gamma(4.0, 0.25, one.image.shape).astype(np.float32)
    counted = replace(one.grid, looks=4.0)
    return replace(one, image=(one.image + two.image) * speckle, grid=counted)


def truth_of(result: xr.Dataset, kinds: xr.DataArray) -> Floats:
    """True gamma0 by the kinds' laws at the incidence of the DEM."""
    angle = np.clip(np.nan_to_num(result.local_incidence.values, nan=80.0), 0.0, 80.0)
    cosine = np.cos(np.radians(angle))
    return np.where(kinds.values == 1, STEEP(angle), FLAT(angle)) / cosine


def error_in_decibels(result: xr.Dataset, kinds: xr.DataArray) -> Floats:
    """Ratio of gamma0 to the truth in dB; NaN where the radar sees the ground at a low angle."""
    with np.errstate(invalid="ignore"):
        ratio = 10.0 * np.log10(result.gamma0.values / truth_of(result, kinds))
    return np.where(result.local_incidence.values < 65.0, ratio, np.nan)


def rms(values: Floats) -> float:
    """Root mean square of what is known."""
    return float(np.sqrt(np.nanmean(values**2)))


@pytest.fixture(scope="module")
def scene(dem: xr.DataArray, kinds: xr.DataArray) -> Scene:
    """The image."""
    return image_of(dem, kinds)


@pytest.fixture(scope="module")
def plain(dem: xr.DataArray, scene: Scene) -> xr.Dataset:
    """The usual result, which keeps edges."""
    assert Prior().edges == 1.2
    return reconstruct(scene, dem)


@pytest.fixture(scope="module")
def guided(dem: xr.DataArray, kinds: xr.DataArray, scene: Scene) -> xr.Dataset:
    """The result by a guide that tells the kinds."""
    return reconstruct(scene, dem, guide=kinds)


def test_a_single_step_errs_more_and_borrows_nothing(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, plain: xr.Dataset
) -> None:
    """And what cells are made of adds up."""
    step = reconstruct(scene, dem, method=Reallocation())
    assert rms(error_in_decibels(plain, kinds)) < 0.9 * rms(error_in_decibels(step, kinds))
    own = plain.own_share.values[np.isfinite(plain.gamma0.values)]
    assert ((own >= 0.0) & (own <= 1.0)).all()
    assert own.mean() > 0.5
    assert not plain.borrowed_share.fillna(0.0).any()
    np.testing.assert_array_equal(step.own_share.fillna(1.0), 1.0)


def test_edges_take_noise_and_keep_what_there_is(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, plain: xr.Dataset
) -> None:
    """Less error where cells are open, as much RCS, and the same relative variance."""
    without = reconstruct(scene, dem, method=PosteriorMean(prior=Prior(edges=0.0)))
    with_edges, share = plain, without.contribution_share.values
    errors = [error_in_decibels(each, kinds)[share > 0.9] for each in (with_edges, without)]
    assert rms(errors[0]) < 0.97 * rms(errors[1])
    # Cells that share their pixels move less.
    change = abs(np.log(with_edges.gamma0 / without.gamma0)).values
    with np.errstate(invalid="ignore"):
        moved = [np.nanmean(change[where]) for where in (share > 0.9, share < 0.3)]
    assert moved[1] < 0.5 * moved[0]
    for each in (with_edges, without):
        held = (each.gamma0 * each.projected_area).sum().item()
        assert held == pytest.approx(each.attrs["rcs_cells"][0], rel=1e-5)
        total = each.attrs["rcs_cells"][0] + each.attrs["rcs_withheld"][0]
        assert total == pytest.approx(each.attrs["rcs_explained"][0], rel=1e-9)
    relative = [each.gamma0_variance / each.gamma0**2 for each in (with_edges, without)]
    xr.testing.assert_allclose(relative[0], relative[1], rtol=1e-4)


def test_polarisations_and_dates_know_edges_together(
    dem: xr.DataArray, kinds: xr.DataArray
) -> None:
    """Less error than one by one, where cells are open, and as much RCS."""
    one, other = (image_of(dem, kinds, seed) for seed in (0, 1))
    image = xr.concat([one.image, 0.2 * other.image], "polarisation")
    image = image.assign_coords(polarisation=["VV", "VH"])
    alone = [reconstruct(each, dem) for each in (one, other)]
    polarisations = reconstruct(replace(one, image=image), dem)
    open_cells = alone[0].contribution_share.values > 0.6
    assert open_cells.sum() > 3000
    apart = [rms(error_in_decibels(each, kinds)[open_cells]) for each in alone]
    for index, factor in enumerate((1.0, 0.2)):
        each = polarisations.isel(polarisation=index)
        joint = error_in_decibels(each.assign(gamma0=each.gamma0 / factor), kinds)[open_cells]
        assert rms(joint) < 0.995 * apart[index]
    held = (polarisations.gamma0 * polarisations.projected_area).sum(("y", "x")).values
    np.testing.assert_allclose(held, polarisations.attrs["rcs_cells"], rtol=1e-5)


def test_ground_of_another_brightness_keeps_its_edge(
    dem: xr.DataArray, kinds: xr.DataArray
) -> None:
    """As it is without averaging, where a plain mean of neighbours blurs it."""
    grid, orbit = look(lines=420, samples=560)
    bright = xr.where(kinds == 1, 8.0, 1.0).astype(np.float32)
    scene = simulate(dem, grid, orbit, law=FLAT, reflectivity=bright)
    kept, without, blurred = (
        reconstruct(scene, dem, law=FLAT, method=PosteriorMean(prior=Prior(edges=edges)))
        for edges in (1.2, 0.0, 20.0)
    )
    border = np.zeros(dem.shape, bool)
    border[:, 1:-1] = kinds.values[:, 2:] != kinds.values[:, :-2]
    border &= without.contribution_share.values > 0.6
    errors = [
        rms(10.0 * np.log10(each.gamma0.values / (0.1 * bright.values))[border])
        for each in (kept, without, blurred)
    ]
    assert border.sum() > 500
    assert errors[0] < 1.05 * errors[1]
    assert errors[2] > 1.15 * errors[1]


def test_a_guide_that_tells_the_kinds_helps(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, plain: xr.Dataset, guided: xr.Dataset
) -> None:
    """By classes, and less by values, which are divided by quantiles."""
    random = np.random.default_rng(2)
    optical = kinds.astype(np.float64) + 0.2 * random.standard_normal(dem.shape)
    by_values = reconstruct(scene, dem, guide=optical)
    shared = plain.contribution_share.values < 0.6
    assert shared.sum() > 300
    errors = [rms(error_in_decibels(one, kinds)[shared]) for one in (plain, guided, by_values)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.8 * errors[0]
    same = reconstruct(scene, dem, guide=dem.copy(data=np.full(dem.shape, 7, np.uint8)))
    # Laws of kinds are fitted in wider classes of incidence.
    ratio = same.gamma0.values / plain.gamma0.values
    assert np.nanquantile(np.abs(ratio - 1.0), 0.9) < 0.05


def test_a_guide_on_another_grid_is_resampled_with_a_word(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, guided: xr.Dataset
) -> None:
    finer = xr.DataArray(
        np.repeat(np.repeat(kinds.values, 2, axis=0), 2, axis=1),
        dims=("y", "x"),
        coords={
            name: np.repeat(dem[name].values, 2)
            + 0.25 * float(dem[name][1] - dem[name][0]) * np.tile([-1.0, 1.0], dem.sizes[name])
            for name in ("y", "x")
        },
    ).rio.write_crs(dem.rio.crs)
    with pytest.warns(UserWarning, match="resampled"):
        found = reconstruct(scene, dem, guide=finer)
    np.testing.assert_array_equal(found.gamma0, guided.gamma0)


def test_parts_with_a_guide_or_of_a_median_equal_the_whole(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, guided: xr.Dataset,
    mean_and_median: tuple[xr.Dataset, xr.Dataset],
) -> None:  # fmt: skip
    for whole, how in (
        (guided, {"guide": kinds}),
        (mean_and_median[1], {"method": PosteriorMean(estimate="median")}),
    ):
        lazy = dem.chunk({"y": 32, "x": 32})
        parts = reconstruct(scene, lazy, memory_limit="200 MB", **how)
        np.testing.assert_allclose(parts.gamma0.values, whole.gamma0, rtol=3e-6)


def test_guides_that_are_none_are_refused(dem: xr.DataArray, scene: Scene) -> None:
    ones = dem.copy(data=np.ones(dem.shape, np.uint8))
    with pytest.warns(UserWarning, match="resampled"), pytest.raises(ValueError, match="covers 0"):
        reconstruct(scene, dem, guide=ones.assign_coords(x=dem.x + 1e6))
    with pytest.raises(ValueError, match="classes from"):
        reconstruct(scene, dem, guide=dem.copy(data=np.full(dem.shape, 300, np.int32)))
    with pytest.raises(TypeError, match="expected a DataArray"):
        reconstruct(scene, dem, guide=dem.values)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one or the other"):
        reconstruct(scene, dem, guide=ones, law=ConstantGamma(0.1))


@pytest.mark.filterwarnings("ignore:the guide of:UserWarning")
@pytest.mark.parametrize("same", [True, False])
def test_a_lazy_guide_is_read_block_by_block(
    dem: xr.DataArray, monkeypatch: pytest.MonkeyPatch, *, same: bool
) -> None:
    """No more than a block of rows is loaded at a time, and the kinds are the same."""
    loaded: list[int] = []

    def read(block: Floats) -> Floats:
        loaded.append(block.size)
        return block

    random = np.random.default_rng(0)
    values = random.normal(0.3, 0.1, dem.shape)
    values[:5] = -9999.0
    guide = dem.copy(data=values)
    if not same:
        guide = guide.assign_coords(x=guide.x + 13.0)
    guide = guide.rio.write_nodata(-9999.0)
    whole = kinds_of_ground(guide, dem)
    assert len(np.unique(whole)) > 3
    monkeypatch.setattr("sarheight.layover._input.GUIDE_ROWS", 16)
    lazy = guide.chunk({"y": 16, "x": -1})
    lazy = lazy.copy(data=lazy.data.map_blocks(read, dtype=lazy.dtype, meta=np.empty((0, 0))))
    np.testing.assert_array_equal(kinds_of_ground(lazy, dem), whole)
    assert max(loaded) <= 2 * 16 * dem.shape[1]
    assert len(loaded) >= dem.shape[0] // 16


def test_another_date_is_borrowed_from_where_the_ground_is_the_same(
    dem: xr.DataArray, kinds: xr.DataArray, scene: Scene, plain: xr.Dataset
) -> None:
    """Two dates of one track see the same, with other speckle: both help each other."""
    second = image_of(dem, kinds, 1)
    together = reconstruct([scene, second], dem)
    for index, single in enumerate((plain, reconstruct(second, dem))):
        both = together.isel(time=index)
        assert rms(error_in_decibels(both, kinds)) < rms(error_in_decibels(single, kinds))
        assert both.borrowed_share.mean() > 0.02
    other = kinds.copy(data=np.roll(kinds.values, (31, 43), (0, 1)))
    changed = reconstruct([scene, image_of(dem, other, 1)], dem).isel(time=0)
    assert rms(error_in_decibels(changed, kinds)) < 1.02 * rms(error_in_decibels(plain, kinds))
    assert changed.borrowed_share.mean() < 0.05
    with pytest.warns(UserWarning, match=r"wavelengths in cm 5\.55, 3\.1"):
        reconstruct([scene, replace(second, grid=replace(second.grid, wavelength=0.031))], dem)


# Mean and median.


def test_intervals_are_as_wide_as_the_ground_is_varied(dem: xr.DataArray) -> None:
    """By what neighbours do, and cells as far apart as places that share their pixels."""
    grid, orbit = look(lines=420, samples=560)
    random, widths = np.random.default_rng(7), []
    for length in (2.0, 30.0):
        texture = gaussian_filter(random.standard_normal(dem.shape), length, mode="wrap")
        bright = dem.copy(data=np.exp(0.7 * texture / texture.std()).astype(np.float32))
        scene = simulate(dem, grid, orbit, law=FLAT, reflectivity=bright)
        measured = reconstruct(scene, dem, law=FLAT)
        share = measured.contribution_share.values
        # Of what the posterior variance is without it, by the same contrast of the ground.
        contrast = np.var(np.log(measured.gamma0.values[share > 0.7]))
        relative = (measured.gamma0_variance / measured.gamma0**2).values / contrast
        widths.append([np.median(relative[where]) for where in (share > 0.7, share < 0.3)])
    assert (np.array(widths[0]) > 1.5 * np.array(widths[1])).all()


def median_of(dem: xr.DataArray, scene: Scene, prior: Prior | None = None) -> xr.Dataset:
    method = PosteriorMean(prior=prior or Prior(), estimate="median")
    return reconstruct(scene, dem, method=method)


@pytest.fixture(scope="module")
def mean_and_median(
    dem: xr.DataArray, scene: Scene, plain: xr.Dataset
) -> tuple[xr.Dataset, xr.Dataset]:
    """Both of the same distributions, on ground of two kinds without texture."""
    return plain, median_of(dem, scene)


def test_mean_and_median_are_of_one_log_normal_distribution(dem: xr.DataArray) -> None:
    """On ground so rough that averages of logarithms lose as much RCS as that implies."""
    grid, orbit = look(lines=420, samples=560)
    texture = np.random.default_rng(0).lognormal(0.0, 0.7, dem.shape).astype(np.float32)
    scene = simulate(dem, grid, orbit, law=FLAT, reflectivity=dem.copy(data=texture))
    prior = Prior(open_inflation=0.4)
    mean = reconstruct(scene, dem, method=PosteriorMean(prior=prior))
    median = median_of(dem, scene, prior)
    known = np.isfinite(mean.gamma0.values)
    np.testing.assert_array_equal(np.isfinite(median.gamma0.values), known)
    deviation = median.gamma0_std.values[known].astype(np.float64) * np.log(10.0) / 10.0
    assert deviation.max() > 1.5 * deviation.min()
    distribution = lognorm(deviation, scale=median.gamma0.values[known])
    np.testing.assert_allclose(distribution.mean(), mean.gamma0.values[known], rtol=1e-5)
    held = interval(median, 0.8)
    for end, probability in (("lower", 0.1), ("upper", 0.9)):
        quantile = distribution.ppf(probability)
        np.testing.assert_allclose(held[end].values[known], quantile, rtol=1e-5)


def test_mean_and_median_differ_no_more_than_the_scene_shows(
    dem: xr.DataArray, scene: Scene, mean_and_median: tuple[xr.Dataset, xr.Dataset]
) -> None:
    """By the RCS that averages of logarithms lose, where variances are stated too large."""
    mean, median = mean_and_median
    # Averages of logarithms, all scaled by one factor: no variance is stated.
    prior = Prior(open_inflation=1e-3, layover_inflation=0.0)
    scaled = reconstruct(scene, dem, method=PosteriorMean(prior=prior)).gamma0
    known = (mean.gamma0 > 0.0).values
    variance = (mean.gamma0_variance / mean.gamma0**2).values[known].astype(np.float64)
    slope, constant = np.polyfit(variance, (mean.gamma0 / scaled).values[known], 1)
    assert 0.0 < slope / constant < 0.1
    found = np.log(mean.gamma0 / median.gamma0).values[known]
    np.testing.assert_allclose(found, slope / constant * variance, rtol=0.02, atol=1e-5)


def test_only_backscatter_differs_between_mean_and_median(
    mean_and_median: tuple[xr.Dataset, xr.Dataset],
) -> None:
    """Uncertainty in decibels, and the RCS balance, which is that of the mean."""
    mean, median = mean_and_median
    backscatter = ["gamma0", "sigma0", "gamma0_variance"]
    others = mean.drop_vars([*backscatter, "gamma0_std"])
    xr.testing.assert_equal(others, median.drop_vars([*backscatter, "gamma0_std"]))
    xr.testing.assert_allclose(mean.gamma0_std, median.gamma0_std, rtol=1e-5)
    ratio = median.gamma0 / mean.gamma0
    xr.testing.assert_allclose(median.sigma0 / mean.sigma0, ratio, rtol=1e-5)
    xr.testing.assert_allclose(median.gamma0_variance / mean.gamma0_variance, ratio**2, rtol=1e-5)
    balances = [
        {name: value for name, value in each.attrs.items() if name.startswith("rcs_")}
        for each in mean_and_median
    ]
    assert balances[0] == balances[1]
    held = (median.gamma0 * median.projected_area).sum().item()
    assert held < 0.99 * median.attrs["rcs_cells"][0]


def test_decibels_of_the_median_are_less_biased(
    kinds: xr.DataArray, mean_and_median: tuple[xr.Dataset, xr.Dataset]
) -> None:
    biases = [np.nanmean(error_in_decibels(each, kinds)) for each in mean_and_median]
    assert biases[0] > 0.0
    assert abs(biases[1]) < 0.7 * biases[0]


# Intervals.


def result_of(gamma0: float, variance: float) -> xr.Dataset:
    """A result of one cell."""
    values = {"gamma0": gamma0, "gamma0_variance": variance}
    return xr.Dataset({name: (("y", "x"), [[value]]) for name, value in values.items()})


def test_an_interval_is_symmetric_in_decibels() -> None:
    found = interval(result_of(0.2, 0.2**2 * 0.09), 0.6827)
    assert found.upper.item() == pytest.approx(0.2 * np.exp(0.3), rel=1e-3)
    assert found.lower.item() == pytest.approx(0.2 * np.exp(-0.3), rel=1e-3)
    wider = interval(result_of(0.2, 0.2**2 * 0.09), 0.95)
    assert wider.upper.item() > found.upper.item()
    # Cells without a value have none.
    assert np.isnan(interval(result_of(np.nan, np.nan)).to_array()).all()
    with pytest.raises(ValueError, match="without gamma0_std or gamma0_variance"):
        interval(result_of(0.1, 0.1).drop_vars("gamma0_variance"))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(result_of(0.1, 0.1), 80.0)
