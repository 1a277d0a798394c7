"""On folded mountains whose truth is known, unfolding is worth it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sarheight.geometry.pass_geometry import pass_geometry
from sarheight.geometry.visibility import classify_cells
from sarheight.illumination import ConstantGamma, CosinePower, simulate
from sarheight.illumination.simulate import illuminate, is_illuminated
from sarheight.layover import FLAGS, PosteriorMean, Reallocation, reconstruct
from sarheight.scene import Scene
from tests.dems import hills
from tests.mountains import look, raster

Floats = NDArray[np.float64]

LAW = CosinePower(0.2, 1.7)
FINE, COARSE = 20.0, 60.0


@dataclass(frozen=True)
class Mountains:
    """A speckled scene of fine terrain, a coarse DEM with errors, and the truth of its cells."""

    scene: Scene
    dem: xr.DataArray
    gamma0: Floats
    layover: NDArray[np.bool_]
    valid: NDArray[np.bool_]

    def error(self, found: Floats, where: NDArray[np.bool_]) -> float:
        """RMSE in decibels."""
        with np.errstate(divide="ignore", invalid="ignore"):
            decibels = 10.0 * np.log10(np.maximum(found, 1e-6) / self.gamma0)
        chosen = decibels[where & self.valid & np.isfinite(decibels)]
        assert chosen.size > 100
        return float(np.sqrt((chosen**2).mean()))


def blocks(values: Floats) -> Floats:
    """Sums over 3 x 3 cells."""
    rows, columns = values.shape
    return np.asarray(values.reshape(rows // 3, 3, columns // 3, 3).sum(axis=(1, 3)))


def patches(shape: tuple[int, int], seed: int) -> Floats:
    """Patchy ground of a few classes, with some texture."""
    random = np.random.default_rng(seed)
    field = gaussian_filter(random.standard_normal(shape), 12)
    level = np.array([-2.5, 0.0, 1.5, 3.0])[np.digitize(field / field.std(), [-0.8, 0.3, 1.2])]
    return np.asarray(10.0 ** ((level + random.standard_normal(shape)) / 10.0))


def make(seed: int = 0, *, ascending: bool = True) -> Mountains:
    heights = np.maximum(hills((150, 180), relief=260.0, size=11.0, seed=seed) - 200.0, 0.0)
    fine = raster(heights, posting=FINE)
    grid, orbit = look(lines=420, samples=620, incidence=32.0, ascending=ascending)
    seen = pass_geometry(fine, grid, orbit)
    category = classify_cells(seen)[0]
    operator = illuminate(seen, LAW, is_illuminated(category))
    reflectivity = patches(fine.shape, seed)
    scene = simulate(
        fine, grid, orbit, law=LAW, reflectivity=reflectivity, looks=4.4, noise=0.003, seed=seed
    )
    own = operator.adjoint(np.ones((1, *grid.shape), dtype=np.float32))
    area = blocks(own.area)
    with np.errstate(divide="ignore", invalid="ignore"):
        gamma0 = blocks(own.linear[0] * reflectivity) / area
    folded = (category == FLAGS["active_layover"]) | (category == FLAGS["passive_layover"])
    lit = blocks(operator.illuminated.astype(float)) / 9.0
    random = np.random.default_rng(seed + 1)
    error = gaussian_filter(random.standard_normal(area.shape), 1.5)
    coarse = blocks(fine.values) / 9.0 + 4.0 * error / error.std()
    return Mountains(
        scene,
        raster(coarse, posting=COARSE),
        gamma0,
        blocks(folded.astype(float)) / 9.0 >= 0.5,
        (lit >= 0.5) & (area > 0.05 * COARSE**2),
    )


@pytest.fixture(scope="module")
def mountains() -> Mountains:
    return make()


def test_unfolding_beats_geocoding_and_a_prior_beats_rtc(mountains: Mountains) -> None:
    scene, dem, layover = mountains.scene, mountains.dem, mountains.layover
    one = reconstruct(scene, dem, method=Reallocation())
    rtc = reconstruct(scene, dem, law=ConstantGamma(), method=Reallocation())
    posterior = reconstruct(scene, dem)
    errors = {
        name: mountains.error(values.values.astype(np.float64), layover)
        for name, values in {
            "geocoded": one.sigma0_geocoded,
            "rtc": rtc.gamma0,
            "one step": one.gamma0,
            "posterior mean": posterior.gamma0,
        }.items()
    }
    print(errors)
    assert errors["one step"] < 0.75 * errors["geocoded"]
    assert errors["one step"] < errors["rtc"]
    assert errors["posterior mean"] < 0.85 * errors["rtc"]
    # And nothing is lost where nothing folds.
    open_ground = ~layover
    plain = mountains.error(rtc.gamma0.values.astype(np.float64), open_ground)
    assert mountains.error(posterior.gamma0.values.astype(np.float64), open_ground) < 1.02 * plain
    assert mountains.error(one.gamma0.values.astype(np.float64), open_ground) < 1.02 * plain


def test_more_steps_do_not_lose_to_the_first(mountains: Mountains) -> None:
    errors = [
        mountains.error(
            reconstruct(
                mountains.scene, mountains.dem, method=PosteriorMean(steps=steps)
            ).gamma0.values.astype(np.float64),
            mountains.layover,
        )
        for steps in (1, 2, 3, 5)
    ]
    print(errors)
    assert max(errors) < 1.01 * errors[0]


def test_two_passes_do_not_hurt(mountains: Mountains) -> None:
    """Neighbours tell as much of this ground as another pass does: nothing need be borrowed."""
    other = make(ascending=False)
    together = reconstruct([mountains.scene, other.scene], mountains.dem)
    alone = reconstruct(mountains.scene, mountains.dem)
    single = mountains.error(alone.gamma0.values.astype(np.float64), mountains.layover)
    both = mountains.error(
        together.gamma0.isel(time=0).values.astype(np.float64), mountains.layover
    )
    assert both < 1.01 * single
