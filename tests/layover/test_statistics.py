"""Statistics of a scene: the backscatter law, and the error model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sarheight.geometry import incidence
from sarheight.illumination import BackscatterLaw, ConstantGamma, CosinePower, Muhleman, simulate
from sarheight.layover import FLAGS, fit_law, masks
from sarheight.layover._statistics import fit_error_models
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
    dem = raster(random_terrain(2, relief=100.0))
    laws = []
    for calibration in ("beta0", "sigma0", "gamma0"):
        scene = simulate(dem, *look(), calibration=calibration)  # type: ignore[arg-type]
        laws.append(fit_law(scene, dem))
    for law in laws[1:]:
        np.testing.assert_allclose(law.gamma0, laws[0].gamma0, rtol=1e-5)


def test_polarisations_are_averaged_in_decibels() -> None:
    dem = raster(random_terrain(2, relief=100.0))
    scene = simulate(dem, *look(), law=Muhleman())
    both = replace(scene, image=xr.concat([scene.image, 0.04 * scene.image], dim="polarisation"))
    np.testing.assert_allclose(
        fit_law(both, dem).gamma0, 0.2 * fit_law(scene, dem).gamma0, rtol=1e-5
    )


def test_pixels_without_data_do_not_bend_it() -> None:
    dem = raster(random_terrain(2, relief=100.0))
    scene = simulate(dem, *look(), law=ConstantGamma(0.2))
    image = scene.image.copy()
    image[:, ::7] = np.nan
    law = fit_law(replace(scene, image=image), dem)
    np.testing.assert_allclose(law.gamma0, 0.2, rtol=0.01)


def test_cells_that_share_their_pixels_lie_farther_from_their_neighbourhood() -> None:
    """What the ground itself does is diversity; the error beyond it is found by class."""
    random = np.random.default_rng(0)
    size = 200_000
    share = random.uniform(0.0, 1.0, size)
    error = 0.3 * (1.0 - share)
    prior = random.lognormal(0.0, 0.5, size)
    own = prior * np.exp(random.normal(0.0, np.sqrt(0.1**2 + error**2)))
    sample = np.stack([share, own, prior]).astype(np.float32)
    ((model,),) = fit_error_models([[sample]])
    middles = 1.0 - (np.arange(model.excess.size) + 0.5) / model.excess.size
    np.testing.assert_allclose(model.edges, np.linspace(0.0, 1.0, 21)[1:-1], atol=0.01)
    assert model.middle == pytest.approx(0.5, abs=0.01)
    assert model.diversity == pytest.approx(0.1**2, rel=0.15)
    assert model.contrast == pytest.approx(0.25, rel=0.05)
    np.testing.assert_allclose(model.excess, (0.3 * middles) ** 2, rtol=0.15, atol=2e-3)
