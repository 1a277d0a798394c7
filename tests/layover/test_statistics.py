"""Statistics of a scene: the backscatter law, and the error model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sarheight.geometry import incidence
from sarheight.illumination import BackscatterLaw, ConstantGamma, CosinePower, Muhleman, simulate
from sarheight.layover import FLAGS, ValueErrors, _sampling, fit_law, masks, reconstruct
from sarheight.layover._statistics import (
    AGREEMENT_CLASSES,
    Differences,
    ErrorModel,
    agreement_class,
    fit_error_models,
    measure_agreements,
    measure_variation,
    warn_of_disagreement,
)
from sarheight.scene import Scene
from tests.mountains import look, mountain, random_terrain, raster

Floats = NDArray[np.float64]

LAWS: list[BackscatterLaw] = [ConstantGamma(0.2), CosinePower(0.1, 2.5), Muhleman()]


def shape(law: BackscatterLaw, angles: Floats) -> Floats:
    """Shape of a law in decibels of gamma0, about its mean."""
    decibels = 10.0 * np.log10(law(angles) / np.cos(np.radians(angles)))
    return np.asarray(decibels - decibels.mean())


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
def test_the_shape_of_the_true_law_is_found(law: BackscatterLaw) -> None:
    """From a speckled image of patchy ground: its shape to 0.9 dB of some 10, its level to 10 %."""
    dem = raster(random_terrain(2, 70, 90, relief=130.0))
    patches = np.exp(0.3 * gaussian_filter(np.random.default_rng(0).standard_normal(dem.shape), 1))
    grid, orbit = look(lines=260, samples=400)
    scene = simulate(dem, grid, orbit, law=law, reflectivity=patches, looks=4.4, seed=1)
    found = fit_law(scene, dem)
    assert found.incidence[0] < 20.0
    assert found.incidence[-1] > 65.0
    angles = np.linspace(20.0, 65.0, 20)
    np.testing.assert_allclose(shape(found, angles), shape(law, angles), atol=0.9)
    assert np.median(found(angles) / law(angles)) == pytest.approx(1.0, abs=0.1)


def test_one_in_several_areas_says_as_much_of_the_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large scene; on ground whose patches differ by 2 dB and are a quarter as wide.

    What counts of a law is its shape: the level of values is measured afterwards.
    """
    dem = raster(random_terrain(2, 1400, 1500, relief=150.0))
    random = np.random.default_rng(0)
    patches = gaussian_filter(random.standard_normal(dem.shape, dtype=np.float32), 10.0)
    patches = np.exp(0.46 * patches / patches.std())
    grid, orbit = look(lines=1850, samples=3200, line_spacing=25.0, sample_spacing=15.0)
    scene = simulate(dem, grid, orbit, law=Muhleman(), reflectivity=patches, looks=4.4, seed=1)
    monkeypatch.setattr(_sampling, "AREA_CELLS", 2 * dem.size // 5)
    part = fit_law(scene, dem)
    monkeypatch.setattr(_sampling, "AREA_CELLS", 1 << 30)
    whole = fit_law(scene, dem)
    angles = np.linspace(15.0, 65.0, 30)
    difference = 10.0 * np.log10(part(angles) / whole(angles))
    assert np.abs(difference).max() > 0.0
    assert np.abs(difference).max() < 0.4
    assert np.abs(difference - difference.mean()).max() < 0.15


def test_a_sample_of_areas_is_good_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """On ground whose kinds differ by 2 dB and have angular laws of their own.

    All is on half the scale, with half as many areas as a large scene has at least. Results differ
    from those with an error model of all cells by far less than their errors.
    """
    dem = raster(random_terrain(5, 900, 1000, relief=120.0))
    random = np.random.default_rng(1)
    grid, orbit = look(lines=1300, samples=2300, line_spacing=25.0, sample_spacing=15.0)
    angle = incidence(dem, grid, orbit).local_incidence.values
    level, slope = (gaussian_filter(random.standard_normal(dem.shape), 8.0) for _ in range(2))
    patches = 0.46 * level / level.std() + 0.02 * (angle - 40.0) * slope / slope.std()
    patches = np.exp(np.clip(np.nan_to_num(patches), -2.0, 2.0)).astype(np.float32)
    scene = simulate(dem, grid, orbit, law=Muhleman(), reflectivity=patches, looks=4.4, seed=1)
    whole = reconstruct(scene, dem, law=Muhleman())
    monkeypatch.setattr(_sampling, "AREA", _sampling.AREA // 2)
    monkeypatch.setattr(_sampling, "AREA_CELLS", dem.size // 3)
    part = reconstruct(scene, dem, law=Muhleman())
    difference = 10.0 * np.log10(part.gamma0.values / whole.gamma0.values)
    truth = Muhleman()(angle) * patches / np.cos(np.radians(angle))
    with np.errstate(divide="ignore", invalid="ignore"):
        error = 10.0 * np.log10(whole.gamma0.values / truth)
    assert 0.0 < np.sqrt(np.nanmean(difference**2)) < 0.03
    assert np.sqrt(np.nanmean(error**2)) > 1.0
    np.testing.assert_allclose(part.attrs["rcs_cells"], whole.attrs["rcs_cells"], rtol=1e-6)


def test_an_area_is_drawn_whichever_window_it_lies_in() -> None:
    whole = _sampling.sampled_kernel_tiles((0, 0), (180, 140), 8)
    assert whole.mean() == pytest.approx(1.0 / 8.0, rel=0.15)
    np.testing.assert_array_equal(
        _sampling.sampled_kernel_tiles((20, 30), (15, 40), 8), whole[20:35, 30:70]
    )
    # Areas of cells are those of their facets.
    facets = _sampling.sampled_kernel_tiles((0, 0), (60, 60), 8, facets=3)
    np.testing.assert_array_equal(facets, np.kron(whole[:20:2, :20:2], np.ones((6, 6), bool)))


@given(
    shape=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    stride=st.sampled_from([1, 2, 3, 7, 150, 300]),
    parts=st.integers(1, 8),
    data=st.data(),
)
def test_cells_of_a_box_are_those_of_the_whole_that_lie_in_it(
    shape: tuple[int, int], stride: int, parts: int, data: st.DataObject
) -> None:
    """And of the whole, those that lie in areas that are drawn, in the order of their squares."""
    edges = [sorted(data.draw(st.tuples(*[st.integers(0, size)] * 2))) for size in shape]
    box = edges[0][0], edges[0][1], edges[1][0], edges[1][1]
    row, column = _sampling.sampled_cells(shape, (0, shape[0], 0, shape[1]), stride)
    chosen = (row >= box[0]) & (row < box[1]) & (column >= box[2]) & (column < box[3])
    if parts > 1:
        chosen &= _sampling.drawn_areas(row // _sampling.AREA, column // _sampling.AREA, parts)
    found = _sampling.sampled_cells(shape, box, stride, parts)
    np.testing.assert_array_equal(found, (row[chosen], column[chosen]))


def test_only_cells_outside_layover_and_shadow_count() -> None:
    dem = raster(mountain())
    grid, orbit = look()
    scene = simulate(dem, grid, orbit, law=ConstantGamma(0.2))
    law = fit_law(scene, dem)
    classes = masks(dem, grid, orbit)
    open_ground = classes["mask"].values <= FLAGS["foreshortening"]
    assert law.cells.sum() <= open_ground.sum()
    assert law.cells.sum() > 0.5 * open_ground.sum()
    local = incidence(dem, grid, orbit).local_incidence.values[open_ground]
    assert law.incidence.min() >= local.min()
    assert law.incidence.max() <= local.max()
    np.testing.assert_allclose(law.gamma0, 0.2, rtol=0.02)


def test_the_calibration_does_not_matter() -> None:
    """Nor do pixels without data."""
    dem, law = raster(random_terrain(2, relief=100.0)), ConstantGamma(0.2)
    scenes: list[Scene] = [
        simulate(dem, *look(), law=law, calibration=calibration)
        for calibration in ("beta0", "sigma0", "gamma0")
    ]
    laws = [fit_law(scene, dem) for scene in scenes]
    for found in laws[1:]:
        np.testing.assert_allclose(found.gamma0, laws[0].gamma0, rtol=1e-5)
    image = scenes[0].image.copy()
    image[:, ::7] = np.nan
    holed = fit_law(replace(scenes[0], image=image), dem)
    np.testing.assert_allclose(holed.gamma0, 0.2, rtol=0.01)


def test_polarisations_are_averaged_in_decibels() -> None:
    dem = raster(random_terrain(2, relief=100.0))
    scene = simulate(dem, *look(), law=Muhleman())
    both = replace(scene, image=xr.concat([scene.image, 0.04 * scene.image], dim="polarisation"))
    np.testing.assert_allclose(
        fit_law(both, dem).gamma0, 0.2 * fit_law(scene, dem).gamma0, rtol=1e-5
    )


def test_contrast_is_measured_in_cells_that_err_least() -> None:
    """Whatever the others do."""
    random = np.random.default_rng(0)
    size = 100_000
    error = np.where(random.uniform(size=size) < 0.5, 0.04, 1.0)
    value = random.normal(0.0, np.sqrt(0.25 + error))
    value[::50] = np.nan
    sample = np.stack([error, value]).astype(np.float32)
    ((model,),) = fit_error_models([[sample[:, :40_000]], [sample[:, 40_000:]]], ValueErrors())
    assert model.contrast == pytest.approx(0.25, rel=0.05)
    # Few cells tell nothing.
    errors = ValueErrors(usual_contrast=3.0)
    ((model,),) = fit_error_models([[np.full((2, 20), 0.1, np.float32)]], errors)
    assert model.contrast == pytest.approx((3.0 / 4.342945) ** 2)


def differences(
    near: float, far: float, *, variance: float = 0.3, count: int = 5000
) -> Differences:
    """Sums of one polarisation whose semivariances are such parts of the variance."""
    cells = np.full(1, float(count))
    total, square = 0.2 * cells, (variance + 0.04) * cells
    squares = 2.0 * variance * count * np.array([[near, far]])
    return Differences(cells, total, square, np.full((1, 2), float(count)), squares)


def variation(*tiles: Differences) -> tuple[float, float]:
    """Factors that are measured of such tiles."""
    ((model,),) = measure_variation([[ErrorModel(0.3)]], [[each] for each in tiles])
    return model.varied


def test_ground_that_varies_more_widens_intervals() -> None:
    usual, few = differences(0.42, 0.87), differences(0.2, 0.2)
    squares = np.array([[0.3 * 0.84 * 300.0, 1.0]])
    for tiles, factors in (
        ([usual], (1.0, 1.0)),
        # Neither the unit nor the number of tiles matters.
        ([usual, differences(0.42, 0.87, variance=0.3)], (1.0, 1.0)),
        ([differences(0.42, 0.87, variance=2.0)], (1.0, 1.0)),
        ([differences(0.84, 0.87)], (2.0 ** (2.0 / 3.0), 1.0)),
        ([differences(0.42, 0.609)], (1.0, 0.7 ** (5.0 / 3.0))),
        ([differences(0.0, 0.0)], (1.0 / 3.0, 1.0 / 3.0)),
        ([differences(9.0, 9.0)], (3.0, 3.0)),
        # Few cells or pairs leave intervals as they are.
        ([few._replace(pairs=np.array([[300.0, 10.0]]), squares=squares)], (1.0, 1.0)),
    ):
        assert variation(*tiles) == pytest.approx(factors)
    nothing = Differences(*(np.zeros(each.shape) for each in few))
    for none in (differences(0.2, 0.2, count=100), nothing):
        assert variation(none) == (1.0, 1.0)


def pairs_of(weight: float, size: int, seed: int = 0) -> NDArray[np.float32]:
    """Samples in which another pass predicts with a weight, in all classes."""
    random = np.random.default_rng(seed)
    index = random.integers(0, AGREEMENT_CLASSES, size)
    predictor = random.normal(0.5, 0.6, size)
    variance = random.uniform(0.1, 0.5, size)
    residual = 0.2 + weight * predictor + random.normal(0.0, np.sqrt(variance))
    return np.stack([index, residual, predictor, variance]).astype(np.float32)


def test_a_pass_is_weighed_by_how_it_predicts_the_other() -> None:
    (agreement,) = measure_agreements([[pairs_of(0.4, 80_000)]])
    np.testing.assert_allclose(agreement.weight, 0.4, atol=0.05)
    np.testing.assert_allclose(agreement.offset, 0.2, atol=0.05)
    # Classes with few cells borrow nothing.
    sample = pairs_of(0.6, 40_000)
    few = np.concatenate(
        (sample[:, sample[0] != 5.0], sample[:, sample[0] == 5.0][:, :150]), axis=1
    )
    (agreement,) = measure_agreements([[few]])
    assert agreement.weight[5] == 0.0
    assert (np.delete(agreement.weight, 5) > 0.5).all()


@pytest.mark.parametrize("weight", [0.0, -0.5])
def test_a_pass_that_does_not_predict_the_other_is_not_heard(weight: float) -> None:
    agreements = measure_agreements([[pairs_of(weight, 40_000)]])
    assert not agreements[0].weight.any()
    with pytest.warns(UserWarning, match="nothing is borrowed"):
        warn_of_disagreement(agreements)


def test_the_class_tells_folds_and_the_difference_of_incidence() -> None:
    difference = np.array([[-5.0, 12.0, 35.0, np.nan]], dtype=np.float32)
    folded = np.array([[False, True, True, False]])
    np.testing.assert_array_equal(agreement_class(folded, difference), [[0, 5, 7, 0]])
