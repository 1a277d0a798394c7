"""Methods as values: what they assume can be seen, changed, kept and refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sarheight.layover import (
    RTC,
    Method,
    PosteriorMean,
    Prior,
    Reallocation,
    ValueErrors,
    read_method,
    reconstruct,
)
from sarheight.layover._steps import bend_squares
from sarheight.layover.methods import describe, log_variance
from sarheight.layover.tiles import GridScale
from sarheight.scene import Scene
from tests.mountains import LAW

OTHER = PosteriorMean(
    steps=3,
    prior=Prior(level=3.0, slope_angles=(10.0, 50.0), errors=ValueErrors(height_error=2.0)),
    estimate="median",
)


def test_ten_decibels_for_a_factor_of_ten() -> None:
    assert log_variance(10.0) == pytest.approx(np.log(10.0) ** 2)


def test_the_usual_prior_is_that_of_the_documentation() -> None:
    """In decibels, as its documentation rounds them."""
    prior, errors = Prior(), ValueErrors()
    found = prior.level, prior.slope, prior.roughness, errors.usual_contrast, errors.least
    assert np.round(found, 1).tolist() == [2.5, 1.5, 1.0, 2.6, 0.5]
    np.testing.assert_allclose(prior.variances, (0.053, 0.33, 0.12), rtol=1e-12)
    assert prior.angle_scale == (35.0, 10.0, -3.0, 2.5)


@pytest.mark.parametrize("method", [OTHER, PosteriorMean(), Reallocation(), RTC(0.4)])
def test_a_method_is_read_from_its_description(method: Method) -> None:
    """What is left out of it is usual."""
    assert read_method(json.loads(json.dumps(describe(method)))) == method
    made = read_method({"PosteriorMean": {"prior": {"errors": {"others": 1.0}}}})
    assert made == PosteriorMean(prior=Prior(errors=ValueErrors(others=1.0)))


def test_a_result_says_how_to_repeat_it(dem: xr.DataArray, scene: Scene) -> None:
    first = reconstruct(scene, dem, law=LAW, method=OTHER)
    described = json.loads(first.attrs["parameters"])["method"]
    assert described["PosteriorMean"]["prior"]["errors"]["height_error"] == 2.0
    again = reconstruct(scene, dem, law=LAW, method=read_method(described))
    xr.testing.assert_identical(first, again)


def test_what_is_no_description() -> None:
    described: tuple[tuple[Any, str], ...] = (
        ({"Median": {}}, "found Median, expected one method of PosteriorMean, Realloc"),
        ({}, "found nothing"),
        ({"RTC": {"blurr": 1.0}}, "found blurr in RTC, expected settings of: blur"),
    )
    posterior: tuple[tuple[Any, str], ...] = (
        ({"prior": {"errors": {"other": 1}}}, "found other in ValueErrors"),
        ({"prior": {"level": -1.0}}, "found level=-1.0 in Prior"),
        ({"prior": {"level": "high"}}, "found level='high' in Prior"),
        ({"prior": 3}, "found 3, expected the settings of Prior by name"),
        ({"prior": {"errors": []}}, "expected the settings of ValueErrors by"),
        ({"estimate": "mode"}, "found estimate='mode', expected 'mean' or 'med"),
        ({"estimate": None}, "found estimate=None, expected 'mean' or 'median'"),
    )
    for each, message in (
        *described,
        *(({"PosteriorMean": p}, message) for p, message in posterior),
    ):
        with pytest.raises(ValueError, match=message):
            read_method(each)


# Numbers of 1e200 and more: variances of such a spread would not be finite.
OUT_OF_RANGE: dict[Any, dict[str, tuple[Any, ...]]] = {
    Prior: {
        "level": (0.0, 1e308),
        "slope": (np.nan,),
        "roughness": (-1.0, 1e200),
        "prediction": (np.inf,),
        "layover_inflation": (-0.1,),
        "open_inflation": (1e300,),
        "edges": (-0.1, np.nan, 20.5),
        "slope_angles": (
            (50.0, 20.0), (-5.0, 20.0), (5.0, 20.0, 50.0), ("low", "high"), 20.0,
        ),
    },
    ValueErrors: {
        "least": (0.0, 1e200),
        "others": (-1.0,),
        "height_error": (np.nan,),
        "bends": (-0.1,),
    },
    PosteriorMean: {
        "steps": (0, 2.5, True, "2", 101),
        "blur": (-1.0, np.inf, 1e9, None),
        "pooling": (0.0, np.nan, 1e300),
    },
    RTC: {"blur": (-0.1, np.inf, np.nan, 1e9, None)},
}  # fmt: skip


@pytest.mark.parametrize("kind", OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(kind: Any) -> None:  # noqa: ANN401
    """Also those that no memory holds, and those that are no numbers."""
    for name, values in OUT_OF_RANGE[kind].items():
        expected = r"two|angles|expected" if name == "slope_angles" else "expected a (whole )?num"
        for value in values:
            message = rf"found {name}=.* in {kind.__name__}, {expected}"
            with pytest.raises(ValueError, match=message):
                kind(**{name: value})
    with pytest.raises(TypeError, match="expected an object of Prior"):
        PosteriorMean(prior=ValueErrors())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected an object of ValueErrors"):
        Prior(errors=Prior())  # type: ignore[arg-type]


def test_errors_of_values_are_by_their_causes(scene: Scene) -> None:
    """Variances: of speckle by the looks, of others by the contrast, of heights by displacement."""
    errors, looks = ValueErrors(height_error=5.0, others=0.5, bends=0.4), scene.grid.looks
    least, speckle, others, heights, bends = errors.terms(scene.grid, 0.2, 0.3)
    assert least == pytest.approx(log_variance(errors.least))
    sharing = (
        errors.ground_range_speckle if scene.grid.is_ground_range else errors.slant_range_speckle
    )
    assert speckle == pytest.approx(sharing / looks)
    assert others == pytest.approx(0.15)
    # An error of 5 m at 0.2 samples a metre displaces by one sample; twice as many by two.
    assert heights == pytest.approx(1.0)
    assert errors.terms(scene.grid, 0.4, 0.3)[3] == pytest.approx(4.0)
    assert bends == 0.4


def test_own_pixels_weigh_by_their_errors_and_by_what_neighbours_predict(
    dem: xr.DataArray, scene: Scene
) -> None:
    """Less the more they err, and where slopes change; more the less neighbours predict."""

    def own_share(prior: Prior) -> float:
        method = PosteriorMean(prior=prior)
        found = reconstruct(scene, dem, law=LAW, method=method, variables=["own_share"])
        return float(found.own_share.mean())

    erring = [own_share(Prior(errors=ValueErrors(least=least))) for least in (0.3, 1.0, 3.0)]
    assert erring[0] > erring[1] > erring[2]
    rough = [own_share(Prior(errors=ValueErrors(bends=bends))) for bends in (0.0, 0.5, 5.0)]
    assert rough[0] > rough[1] > rough[2]
    assert own_share(Prior(prediction=2.0)) > own_share(Prior())


@pytest.mark.parametrize("posting", [(30.0, 30.0), (45.0, 30.0), (90.0, 90.0)])
def test_slopes_change_by_as_much_on_every_grid(posting: tuple[float, float]) -> None:
    """Of a parabola by the same over 90 m, whatever the cells; of a plane by nothing."""
    size, curvature = 6000.0, 1e-3
    down, across = (np.arange(0.0, size, step) for step in posting)
    mean = float(np.sqrt(posting[0] * posting[1]))
    scale = GridScale(
        (down.size, across.size), mean**2, (mean / posting[0], mean / posting[1]), (), ()
    )
    plane = 0.4 * down[:, None] - 0.1 * across
    parabola = plane + 0.5 * curvature * down[:, None] ** 2
    inner = (slice(down.size // 4, -down.size // 4), slice(across.size // 4, -across.size // 4))
    found = bend_squares(parabola.astype(np.float32), scale)[inner]
    # The mean of the square down the parabola, and of nothing across.
    np.testing.assert_allclose(found, 0.5 * (curvature * 90.0) ** 2, rtol=1e-3)
    assert bend_squares(plane.astype(np.float32), scale)[inner].max() < 1e-8


def test_voids_do_not_bend(dem: xr.DataArray) -> None:
    heights = dem.values.copy()
    scale = GridScale(dem.shape, 400.0, (1.0, 1.0), (), ())  # type: ignore[arg-type]
    heights[40:50, 60:70] = np.nan
    found, whole = bend_squares(heights, scale), bend_squares(dem.values, scale)
    assert np.isfinite(found).all()
    assert (found <= whole * (1.0 + 1e-5)).all()
    assert found[45, 65] < 0.7 * whole[45, 65]
    # A DEM that is smaller than what slopes are compared over.
    assert not bend_squares(heights[:5, :5], scale).any()


def test_intervals_widen_with_their_inflation(dem: xr.DataArray, scene: Scene) -> None:
    """Everywhere by one factor, or by what is a cell's own and what is others'."""
    usual, wide, alone, shared = (
        reconstruct(scene, dem, law=LAW, method=PosteriorMean(prior=prior))
        for prior in (
            Prior(),
            Prior(open_inflation=2 * 0.9, layover_inflation=2 * 2.35),
            Prior(layover_inflation=0.0),
            Prior(open_inflation=1e-3),
        )
    )
    share = usual.contribution_share.values
    known = np.isfinite(share) & (share > 0.05) & (share < 0.95)
    relative = [
        (found.gamma0_variance / found.gamma0**2).values[known].astype(np.float64)
        for found in (usual, wide, alone, shared)
    ]
    np.testing.assert_allclose(relative[1], 2.0 * relative[0], rtol=1e-4)
    np.testing.assert_allclose(relative[2] + relative[3], relative[0], rtol=5e-3)
    # Weights are the squared share, and what it lacks of 1; variation is one factor of a scene.
    square = share[known].astype(np.float64) ** 2
    factor = relative[2] / relative[3] * (1.0 - square) / square
    assert known.sum() > 300
    np.testing.assert_allclose(factor, np.median(factor), rtol=0.02)
