"""Heights refined by the images that they have to explain."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from pyproj import Transformer

from sarheight.dem import coarsen
from sarheight.dem.layout import cell_steps
from sarheight.illumination import LocalLaw
from sarheight.learning.tiles import Tiling
from sarheight.scene import Scene
from sarheight.terrain import RefinementSettings, back_project, draw_known_elevations, refine
from sarheight.terrain.fields import (
    BlockMeans,
    GaussianField,
    cosine_frequencies,
    patch_spectrum,
    smoothed_noise_spectrum,
)
from sarheight.terrain.inversion import (
    LinearProblem,
    PassModel,
    Preconditioner,
    conjugate_gradients,
    linearise,
    on_posts,
)
from sarheight.terrain.posterior import _scale_error, unknowns_of
from sarheight.workflow.config import RefineConfig
from sarheight.workflow.elevations import place_on_grid
from sarheight.workflow.images import Reporter
from tests.mountains import raster

Floats = NDArray[np.float32]

QUICK = RefinementSettings(error=2.0, iterations=2, steps=12, samples=2)
INSIDE = {"y": slice(9, -9), "x": slice(9, -9)}


def rms(values: xr.DataArray | Floats) -> float:
    return float(np.sqrt(np.nanmean(np.asarray(values, dtype=np.float64) ** 2)))


@pytest.fixture(scope="module")
def refined(passes: list[Scene], coarse: xr.DataArray) -> xr.Dataset:
    return refine(passes, coarse, settings=RefinementSettings(error=2.0), coregister="none")


@pytest.fixture(scope="module")
def place(coarse: xr.DataArray) -> xr.DataArray:
    """A part of the coarse DEM, for what does not depend on how much ground there is."""
    return coarse[6:24, 6:28]


# The whole.


def test_two_passes_lower_the_error(refined: xr.Dataset, truth: xr.DataArray) -> None:
    inside = refined.isel(INSIDE)
    before, error = rms(inside["baseline"] - truth), inside["height"] - truth
    assert rms(error) < 0.9 * before
    assert (inside["passes"] == 2).mean() > 0.95
    # The standard deviation is of the size of the error.
    assert (inside["height_sigma"] > 0.0).all()
    assert 0.3 < rms(error) / rms(inside["height_sigma"]) < 2.0


def test_baseline_residuals_and_gamma0_are_those_of_the_ground(
    refined: xr.Dataset, coarse: xr.DataArray
) -> None:
    np.testing.assert_allclose(refined["baseline"], back_project(coarse, factor=3), atol=1e-3)
    inside = refined.isel(INSIDE)
    assert abs(float(inside["residual"].median())) < 0.3
    assert rms(inside["residual"]) < 2.0
    # CosinePower(0.2, 1.7): gamma0 = 0.2 cos^0.7, at 20 to 60 degrees.
    assert 0.1 < float(inside["gamma0"].median()) < 0.2
    assert json.loads(refined.attrs["settings"])["error"] == 2.0


def test_one_pass_is_no_worse_than_the_baseline(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    found = refine(passes[0], coarse, settings=QUICK, coregister="none")
    assert found.sizes["pass"] == 1
    before = rms((found["baseline"] - truth).isel(INSIDE))
    assert rms((found["height"] - truth).isel(INSIDE)) < 1.02 * before


def test_a_coarse_dem_without_error_is_left_as_good_as_it_is(
    passes: list[Scene], truth: xr.DataArray
) -> None:
    """The error of 4 m that the settings state is found not to be there."""
    exact = coarsen(truth, 90.0, units="crs")
    settings = RefinementSettings(error=4.0, samples=0)
    found = refine(passes, exact, settings=settings, coregister="none")
    before = rms((found["baseline"] - truth).isel(INSIDE))
    assert rms((found["height"] - truth).isel(INSIDE)) < 1.02 * before


def test_known_elevations_align_the_dem_and_lower_the_error(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    """No image tells an offset; 16 points do."""
    high = (coarse + np.float32(20.0)).assign_attrs(coarse.attrs)
    known = draw_known_elevations(truth, 16, sigma=0.3, seed=1)
    found = refine(passes, high, known, settings=QUICK, coregister="none")
    alignment, kriging = (json.loads(found.attrs[name]) for name in ("alignment", "kriging"))
    assert alignment["offset"] == pytest.approx(-20.0, abs=1.5)
    assert kriging["points"] == 16
    before = rms((found["baseline"] - truth).isel(INSIDE))
    assert before < 5.0
    assert rms((found["height"] - truth).isel(INSIDE)) < 1.02 * before
    assert (found["height_sigma"] > 0.0).all()


def test_the_heights_of_the_cells_themselves_are_refined(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    """By a factor of 1, as a whole number or not."""
    factor: float = 1.0
    found = refine(passes, coarse, factor=factor, settings=QUICK, coregister="none")  # type: ignore[arg-type]
    np.testing.assert_allclose(found["baseline"], coarse, atol=1e-3)
    inside = {"y": slice(3, -3), "x": slice(3, -3)}
    exact = coarsen(truth, 90.0, units="crs")
    before, after = (rms((each - exact).isel(inside)) for each in (coarse, found["height"]))
    assert after < 0.95 * before
    assert 0.3 < after / rms(found["height_sigma"].isel(inside)) < 2.0


def test_tiles_and_parts_give_the_same_heights(
    passes: list[Scene], coarse: xr.DataArray, place: xr.DataArray, refined: xr.Dataset
) -> None:
    tiled = refine(passes, coarse, settings=QUICK, coregister="none", tiling=Tiling(72, 18))
    # Tiles know less of the ground around them than the whole.
    apart = rms((tiled["height"] - refined["height"]).isel(INSIDE))
    assert apart < 0.5 * rms((refined["height"] - refined["baseline"]).isel(INSIDE))
    few, lazy = (
        refine(passes, each, settings=QUICK, coregister="none", tiling=Tiling(45, 9))
        for each in (place, place.chunk({"y": 15}))
    )
    assert lazy["height"].chunks is not None
    np.testing.assert_allclose(lazy["height"], few["height"], atol=1e-3)


def test_the_same_seed_gives_the_same_result(passes: list[Scene], place: xr.DataArray) -> None:
    one, two = (refine(passes, place, settings=QUICK, coregister="none") for _ in range(2))
    xr.testing.assert_identical(one, two)


def test_without_an_image_of_the_place_the_baseline_stays(
    passes: list[Scene], place: xr.DataArray
) -> None:
    scene = passes[0]
    part = replace(scene, image=np.nan * scene.image)
    found, alone, nothing = (
        refine(each, place, settings=QUICK, coregister="none")
        for each in ([scene, part], scene, part)
    )
    np.testing.assert_allclose(found["height"], alone["height"], atol=1e-4)
    np.testing.assert_allclose(nothing["height"], nothing["baseline"], atol=1e-4)
    assert (nothing["passes"] == 0).all()
    assert nothing["residual"].isnull().all()


# Voids, and images that do not fit.


def test_voids_are_filled_and_flagged(passes: list[Scene], place: xr.DataArray) -> None:
    holes = place.copy()
    holes[10:12, 14:17] = np.nan
    found = refine(passes, holes, settings=QUICK, coregister="none")
    assert np.isfinite(found["height"]).all()
    assert int(found["filled"].sum()) == 6 * 9
    assert found["filled"][30:36, 42:51].all()


def test_cells_that_the_edge_of_a_dem_in_degrees_crosses_continue_its_slope() -> None:
    """A plane stays a plane on the grid of the result, and so no strip is changed at its edges."""
    flat = raster(np.zeros((40, 50)), posting=90.0, crs="EPSG:4326")
    plane = (flat + 1e4 * (flat["x"] - 10.0) - 8e3 * (flat["y"] - 46.0) + 500.0).astype(np.float32)
    plane = plane.transpose("y", "x").assign_attrs(flat.attrs).rio.write_crs(4326)
    config = RefineConfig(images=("image.nc",), dem=("plane.tif",))
    placed = place_on_grid(plane, config, Reporter(), factor=3)
    place = np.meshgrid(placed["x"], placed["y"])
    x, y = Transformer.from_crs(placed.rio.crs, 4326, always_xy=True).transform(*place)
    expected = 1e4 * (x - 10.0) - 8e3 * (y - 46.0) + 500.0
    # The middles of cells that an edge crosses lie less than one cell beyond the outer middles.
    down, right = np.abs(cell_steps(plane))
    near = (y > float(plane["y"].min()) - down) & (y < float(plane["y"].max()) + down)
    near &= (x > float(plane["x"].min()) - right) & (x < float(plane["x"].max()) + right)
    assert np.abs(placed.values - expected)[near].max() < 0.2


def test_passes_without_common_ground_are_named(passes: list[Scene], coarse: xr.DataArray) -> None:
    # An ascending image begins in the south, a descending one in the north.
    line = slice(0, 180)
    south = [
        replace(each, image=each.image.isel(line=line), grid=each.grid.crop(line))
        for each in passes
    ]
    with pytest.warns(RuntimeWarning, match="no ground in common"):
        refine(south, coarse, settings=QUICK, coregister="none")


def test_an_image_beside_its_simulation_is_reported(
    passes: list[Scene], coarse: xr.DataArray, truth: xr.DataArray
) -> None:
    from sarheight.coregistration import Shift, apply_shift

    moved = [apply_shift(each, Shift(line=3.0, sample=4.0)) for each in passes]
    with pytest.warns(RuntimeWarning, match="beside its simulation"):
        wrong = refine(moved, coarse, settings=QUICK)
    right = refine(moved, coarse, settings=QUICK, coregister="correct")
    assert rms((right["height"] - truth).isel(INSIDE)) < rms((wrong["height"] - truth).isel(INSIDE))


# Parts of the problem.


def test_fields_have_the_deviation_that_is_asked_for() -> None:
    shape = 64, 80
    spectrum = smoothed_noise_spectrum(cosine_frequencies(shape), 2.0)
    field = GaussianField([3.0], [spectrum])
    random = np.random.default_rng(0)
    draws = [field.apply(random.standard_normal(shape).astype(np.float32)) for _ in range(30)]
    assert rms(np.stack(draws)) == pytest.approx(3.0, rel=0.05)
    # White noise smoothed by s has the correlation exp(-d² / 4 s²).
    inner = np.stack(draws)[:, 8:-8, 8:-8]
    correlation = np.mean(inner[:, 2:] * inner[:, :-2]) / np.mean(inner**2)
    assert correlation == pytest.approx(np.exp(-0.25), abs=0.05)


@pytest.mark.parametrize("make", [patch_spectrum, smoothed_noise_spectrum])
def test_the_adjoint_of_a_field(make: Callable[..., NDArray[np.float64]]) -> None:
    shape = 20, 30
    random = np.random.default_rng(1)
    field = GaussianField(
        [1.5],
        [make(cosine_frequencies(shape), 3.0)],
        2.0,
        random.random(shape, dtype=np.float32),
        extent=(17, 29),
    )
    one = random.standard_normal(shape).astype(np.float32)
    two = random.standard_normal((17, 29)).astype(np.float32)
    assert float((field.apply(one.copy()) * two).sum()) == pytest.approx(
        float((one * field.adjoint(two)).sum()), rel=1e-4
    )


def test_relief_within_cells_has_the_deviation_that_the_dem_tells() -> None:
    """Self-similar relief: what lies within coarse cells is told by blocks of three of them."""
    fine = (90, 90)
    spectrum = (cosine_frequencies(fine) + 1e-2) ** -4.5
    draws = np.random.default_rng(2).standard_normal(fine).astype(np.float32)
    heights = GaussianField([60.0], [spectrum / spectrum.mean()]).apply(draws)
    blocks = BlockMeans.of(fine, 3)
    prior = unknowns_of(
        blocks.mean(heights), (30.0, 30.0), 3, RefinementSettings(error=0.1)
    ).heights
    draw = np.random.default_rng(3).standard_normal(fine).astype(np.float32)
    assumed = rms(prior.blocks.within(prior.relief.apply(draw)))
    assert 0.5 < assumed / rms(blocks.within(heights)) < 2.0


def test_block_means() -> None:
    blocks = BlockMeans.of((24, 30), 3)
    random = np.random.default_rng(2)
    means = random.standard_normal((8, 10)).astype(np.float32)
    fine = random.standard_normal((24, 30)).astype(np.float32)
    np.testing.assert_allclose(blocks.mean(blocks.up(means)), means, atol=1e-4)
    np.testing.assert_allclose(blocks.mean(blocks.within(fine)), 0.0, atol=1e-4)
    other = random.standard_normal((24, 30)).astype(np.float32)
    one = float((blocks.replace_means(fine, means) * other).sum())
    by_values, by_means = blocks.replace_means_adjoint(other)
    two = float((fine * by_values).sum() + (means * by_means).sum())
    assert one == pytest.approx(two, rel=1e-3, abs=1e-2)
    np.testing.assert_allclose(blocks.mean(blocks.replace_means(fine, means)), means, atol=1e-4)


@pytest.fixture(scope="module")
def problem(passes: list[Scene], coarse: xr.DataArray) -> LinearProblem:
    surface = back_project(coarse, factor=3)
    surface.attrs |= {"units": "m", "vertical_datum": "ellipsoid"}
    unknowns = unknowns_of(coarse.values, (30.0, 30.0), 3, QUICK)
    shape = surface.shape[0] - 1, surface.shape[1] - 1
    law = LocalLaw([np.full(shape, each, np.float32) for each in (-2.0, -0.1, 0.0)])
    models = [PassModel.of(scene, surface) for scene in passes]
    states = [linearise(model, model.start, law) for model in models]
    weights = [20.0 * state.counts.astype(np.float32) for state in states]
    return LinearProblem(unknowns, states, weights)


def test_the_size_of_the_error_is_that_of_its_coefficients(coarse: xr.DataArray) -> None:
    """Twice the coefficients are twice the deviation; the heights that they give stay."""
    random = np.random.default_rng(0)
    scales = []
    for size in (0.5, 1.0):
        unknowns = unknowns_of(coarse.values, (30.0, 30.0), 3, QUICK)
        field = unknowns.heights.error
        before = field.deviations[0]
        error = unknowns.split(np.zeros(unknowns.size, np.float32))[0]
        vector = np.zeros(unknowns.size, np.float32)
        vector[: error.size] = size * random.choice([-1.0, 1.0], error.size)
        heights, _ = unknowns.apply(vector)
        # The images determine all of them: nothing is left of the prior variance.
        told = Preconditioner(unknowns, [np.zeros_like(error)], np.zeros((3, 3, 1, 1), np.float32))
        scaled = _scale_error(unknowns, vector, told, QUICK.error)
        scales.append(float(np.max(field.deviations[0] / before)))
        again, _ = unknowns.apply(scaled)
        np.testing.assert_allclose(again, heights, atol=1e-3 * float(np.abs(heights).max()))
    assert scales[1] == pytest.approx(2.0 * scales[0], rel=0.03)


def test_the_derivative_of_the_images(problem: LinearProblem) -> None:
    """Heights and laws move the simulated images as the linearised problem says."""
    random = np.random.default_rng(4)
    step = 0.05
    heights, laws = problem.unknowns.apply(
        random.standard_normal(problem.unknowns.size).astype(np.float32)
    )
    # Mean laws are free, and this is about their patterns.
    laws = [each - each.mean() for each in laws]
    heights, laws = step * heights, [step * each for each in laws]
    constants = (-2.0, -0.1, 0.0)
    for state in problem.states:
        after = linearise(
            state.model,
            state.model.start + heights,
            LocalLaw([c + each for c, each in zip(constants, laws, strict=True)]),
        )
        angle = state.angle
        found = state.change(heights, laws[0] + laws[1] * angle + laws[2] * angle**2)
        both = state.counts & after.counts
        expected = np.log(after.simulated[both] / state.simulated[both])
        assert rms(found[both] - expected) < 0.12 * rms(expected)


def test_the_adjoint_of_the_images(problem: LinearProblem) -> None:
    random = np.random.default_rng(5)
    vector = random.standard_normal(problem.unknowns.size).astype(np.float32)
    images = [
        state.counts * random.standard_normal(state.counts.shape).astype(np.float32)
        for state in problem.states
    ]
    changed = zip(problem.change(vector), images, strict=True)
    one = sum(float(np.sum(a.astype(np.float64) * b)) for a, b in changed)
    assert one == pytest.approx(float(vector @ problem.adjoint(images)), rel=1e-3)


def test_the_preconditioner_speeds_the_solution(problem: LinearProblem) -> None:
    random = np.random.default_rng(6)
    exact = random.standard_normal(problem.unknowns.size).astype(np.float32)
    right = problem.normal(exact)
    start = np.zeros_like(right)
    inverse = problem.preconditioner(random).apply
    quick, plain = (
        conjugate_gradients(problem.normal, right.copy(), start.copy(), each, 15, 1e-6)
        for each in (inverse, np.copy)
    )
    assert rms(quick - exact) < 0.7 * rms(plain - exact)


def test_the_preconditioner_inverts_what_it_models(problem: LinearProblem) -> None:
    """The laws' part, coefficient by coefficient: (1 + R M R) by its inverse is 1."""
    random = np.random.default_rng(7)
    found = problem.preconditioner(random).laws
    roots = np.stack([each.root for each in problem.unknowns.laws])
    inverse = np.linalg.inv(np.moveaxis(found, (0, 1), (-2, -1)).astype(np.float64))
    moments = (np.moveaxis(inverse, (-2, -1), (0, 1)) - np.eye(3)[:, :, None, None]) / (
        roots[:, None] * roots[None]
    )
    # M is the same for all coefficients, and depends on the sum of the powers only.
    middle = np.median(moments, axis=(2, 3))
    assert middle[0, 2] == pytest.approx(middle[1, 1], rel=1e-2)
    assert middle[0, 0] > 0.0
    large = roots[0] > 0.1
    np.testing.assert_allclose(moments[0, 0][large], middle[0, 0], rtol=2e-2)


def test_facets_on_posts() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    posts = on_posts(values)
    assert posts.shape == (4, 5)
    assert posts[1, 1] == pytest.approx(values[:2, :2].mean())
    assert posts[0, 0] == values[0, 0]
