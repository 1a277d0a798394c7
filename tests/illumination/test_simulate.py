"""Backscatter laws, and simulated images: level, energy, shadow, speckle, noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sarheight_kernels.tiles import tile_surface

from sarheight.errors import GeometryError, OrbitCoverageError, VerticalDatumError
from sarheight.geometry import geo2rdr, incidence
from sarheight.geometry.pass_geometry import pass_geometry, pixel_areas
from sarheight.illumination import (
    BackscatterLaw,
    ConstantGamma,
    CosinePower,
    FittedLaw,
    Lambertian,
    Muhleman,
    simulate,
)
from sarheight.illumination._laws import tabulate
from sarheight.illumination.simulate import illuminate
from sarheight.layover import FLAGS, masks
from sarheight.scene import Calibration
from tests.mountains import look, mountain, random_terrain, raster

Floats = NDArray[np.float64]


def plain(height: float = 0.0, rows: int = 60, columns: int = 80) -> xr.DataArray:
    return raster(np.full((rows, columns), height))


def middle(image: xr.DataArray) -> Floats:
    """The part of an image that lies well within the plain."""
    lit = np.argwhere(image.values > 0.0)
    centre = lit.mean(axis=0).astype(int)
    return np.asarray(
        image.values[centre[0] - 45 : centre[0] + 45, centre[1] - 60 : centre[1] + 60]
    )


@pytest.mark.parametrize("ground_range", [True, False])
@pytest.mark.parametrize("calibration", ["beta0", "sigma0", "gamma0"])
def test_flat_ground_has_the_level_of_its_law(
    calibration: Calibration, *, ground_range: bool
) -> None:
    """On the ellipsoid sigma0 is the law's value, gamma0 and beta0 follow from the incidence."""
    dem = plain()
    law = Lambertian(0.4)
    grid, orbit = look(ground_range=ground_range, sample_spacing=10.0 if ground_range else 5.0)
    scene = simulate(dem, grid, orbit, law=law, calibration=calibration)
    angle = float(incidence(dem, grid, orbit).ellipsoid_incidence.mean())
    level = float(law(np.array([angle]))[0])
    theta = np.radians(angle)
    expected = {"beta0": level / np.sin(theta), "sigma0": level, "gamma0": level / np.cos(theta)}
    found = middle(scene.image)
    assert found.mean() == pytest.approx(expected[calibration], rel=5e-3)
    assert found.std() / found.mean() < 0.05


def test_the_rcs_of_the_image_is_that_of_the_facets() -> None:
    """Intensity times pixel area, summed, is the sum of sigma0 times area over the facets."""
    heights = mountain()
    grid, orbit = look(lines=300, samples=420)
    law = CosinePower(0.2, 1.7)
    dem = raster(heights)
    image = simulate(dem, grid, orbit, law=law, shadow=False).image.values.astype(np.float64)
    seen = pass_geometry(dem, grid, orbit)
    energy = sum(
        float((areas * image[block]).sum())
        for block, areas in pixel_areas(grid, seen.radar, "beta0").blocks(grid.lines)
    )
    surface = illuminate(seen, law).surface
    facets = [
        tile_surface(surface, tile)[2][:-1, :-1].sum() for tile in range(seen.bounds.shape[0])
    ]
    assert energy == pytest.approx(sum(facets), rel=1e-5)


def test_terrain_behind_a_mountain_is_dark_though_it_faces_the_radar() -> None:
    """Occlusion, not the local angle: the plain behind a wall is as flat as that before it."""
    column = np.arange(90)
    wall = 700.0 * np.clip(1.0 - np.abs(column - 30) / 6.0, 0.0, 1.0)
    dem = raster(np.tile(500.0 + wall, (60, 1)))
    grid, orbit = look(incidence=44.0, samples=420)
    mask = masks(dem, grid, orbit)["mask"].values
    local = incidence(dem, grid, orbit).local_incidence.values
    hidden = (mask == FLAGS["passive_shadow"]) & (local < 60.0)
    assert hidden.sum() > 100, "some of the plain should be hidden"
    where = geo2rdr(dem, grid, orbit)
    law = ConstantGamma(0.2)
    dark = simulate(dem, grid, orbit, law=law).image.values
    bright = simulate(dem, grid, orbit, law=law, shadow=False).image.values
    # Away from the edges of the shadow, where lit and hidden cells meet in a pixel.
    core = hidden & np.roll(hidden, 2, axis=1) & np.roll(hidden, -2, axis=1)
    core[:3] = core[-3:] = False
    line = np.rint(where.line.values[core]).astype(int)
    sample = np.rint(where.sample.values[core]).astype(int)
    assert core.sum() > 50
    assert bright[line, sample].min() > 0.05
    assert np.median(dark[line, sample]) == 0.0
    lit = mask < FLAGS["active_shadow"]
    assert dark.sum() < bright.sum()
    assert lit.sum() > hidden.sum()


def test_slopes_towards_the_radar_are_bright_and_slopes_away_dark() -> None:
    grid, orbit = look()
    dem = raster(mountain(height=200.0))
    scene = simulate(dem, grid, orbit)
    where = geo2rdr(dem, grid, orbit)
    angle = incidence(dem, grid, orbit)
    inner = (slice(10, -10), slice(10, -10))
    line, sample = (where[name].values[inner] for name in ("line", "sample"))
    value = scene.image.values[np.rint(line).astype(int), np.rint(sample).astype(int)]
    local = angle.local_incidence.values[inner]
    towards, away = local < np.quantile(local, 0.05), local > np.quantile(local, 0.95)
    assert value[towards].mean() > 2.0 * value[away].mean()


def test_reflectivity_scales_the_law() -> None:
    grid, orbit = look()
    dem = raster(mountain())
    one = simulate(dem, grid, orbit).image
    three = simulate(dem, grid, orbit, reflectivity=np.full(dem.shape, 3.0)).image
    np.testing.assert_allclose(three, 3.0 * one, rtol=1e-6)
    single = xr.zeros_like(dem)
    single[30, 40] = 1.0
    spot = simulate(dem, grid, orbit, reflectivity=single, shadow=False).image.values
    where = geo2rdr(dem, grid, orbit).isel(y=30, x=40)
    place = np.argwhere(spot > 0.0)
    assert 0 < len(place) < 200
    assert np.abs(place.mean(axis=0) - [float(where.line), float(where.sample)]).max() < 3.0


def test_a_users_own_function_is_a_law() -> None:
    grid, orbit = look()
    dem = raster(random_terrain(0, relief=60.0))
    own = simulate(dem, grid, orbit, law=lambda angle: 0.3 * np.cos(np.radians(angle)) ** 2)
    np.testing.assert_allclose(own.image, simulate(dem, grid, orbit, law=Lambertian(0.3)).image)
    default = simulate(dem, grid, orbit).image
    np.testing.assert_array_equal(default, simulate(dem, grid, orbit, law=Muhleman()).image)


@pytest.mark.parametrize("looks", [1.0, 4.4, 20.0])
def test_speckle_has_the_requested_looks(looks: float) -> None:
    """Gamma distribution: mean squared over variance is the number of looks; skewness 2/sqrt(L)."""
    grid, orbit = look()
    clean = simulate(plain(), grid, orbit)
    noisy = simulate(plain(), grid, orbit, looks=looks, seed=7)
    ratio = middle(noisy.image) / middle(clean.image)
    assert ratio.mean() == pytest.approx(1.0, abs=4.0 / np.sqrt(looks * ratio.size))
    assert ratio.mean() ** 2 / ratio.var() == pytest.approx(looks, rel=0.07)
    skewness = ((ratio - ratio.mean()) ** 3).mean() / ratio.std() ** 3
    assert skewness == pytest.approx(2.0 / np.sqrt(looks), rel=0.2)
    # Neighbours are independent.
    left, right = ratio[:, :-1].ravel(), ratio[:, 1:].ravel()
    assert abs(np.corrcoef(left, right)[0, 1]) < 4.0 / np.sqrt(ratio.size)


def test_a_seed_makes_speckle_repeatable_and_the_scene_is_marked_as_simulated() -> None:
    grid, orbit = look()
    how: dict[str, Any] = {"looks": 4.4, "noise": 0.01, "calibration": "gamma0"}
    scene, again, other = (simulate(plain(), grid, orbit, seed=seed, **how) for seed in (1, 1, 2))
    np.testing.assert_array_equal(scene.image, again.image)
    assert not np.array_equal(scene.image, other.image)
    assert scene.image.dims == ("line", "sample")
    assert scene.image.dtype == np.float32
    assert scene.image.name == scene.calibration == "gamma0"
    assert scene.image.attrs["units"] == "1"
    assert "simulated" in scene.image.attrs["long_name"]
    assert scene.grid is grid
    assert scene.orbit is orbit


@pytest.mark.parametrize("calibration", ["beta0", "sigma0"])
def test_noise_has_its_level_where_nothing_scatters(calibration: Calibration) -> None:
    grid, orbit = look(samples=420)
    clean = simulate(plain(), grid, orbit, calibration=calibration)
    noisy = simulate(plain(), grid, orbit, calibration=calibration, noise=0.02)
    np.testing.assert_allclose(noisy.image - clean.image, 0.02, atol=1e-6)
    empty = clean.image.values == 0.0
    assert empty.sum() > 1000
    speckled = simulate(
        plain(), grid, orbit, calibration=calibration, noise=0.02, looks=4.4, seed=3
    ).image.values[empty]
    assert speckled.mean() == pytest.approx(0.02, rel=0.03)
    assert speckled.mean() ** 2 / speckled.var() == pytest.approx(4.4, rel=0.1)


def test_voids_scatter_nothing_and_leave_the_rest_as_it_was() -> None:
    grid, orbit = look()
    heights = random_terrain(1, 60, 80, relief=60.0)
    whole = simulate(raster(heights), grid, orbit, shadow=False).image
    holed = heights.copy()
    holed[28:32, 38:42] = np.nan
    with_hole = simulate(raster(holed), grid, orbit, shadow=False).image
    assert np.isfinite(with_hole).all()
    assert (with_hole <= whole * (1.0 + 1e-6)).all()
    where = geo2rdr(raster(heights), grid, orbit).isel(y=slice(26, 34), x=slice(36, 44))
    changed = np.argwhere(~np.isclose(with_hole, whole, rtol=1e-5))
    assert len(changed) > 0
    assert changed[:, 0].min() >= float(where.line.min()) - 1
    assert changed[:, 0].max() <= float(where.line.max()) + 1
    assert changed[:, 1].min() >= float(where.sample.min()) - 1
    assert changed[:, 1].max() <= float(where.sample.max()) + 1


def test_settings_out_of_range_are_refused() -> None:
    grid, orbit = look()
    dem = raster(random_terrain(0, 40, 40))
    given: tuple[tuple[dict[str, Any], str], ...] = (
        *(({"looks": looks}, "found looks=") for looks in (0.0, -1.0, np.nan, np.inf)),
        *(({"noise": noise}, "linear power, not negative") for noise in (-20.0, np.nan, np.inf)),
        ({"reflectivity": np.ones((3, 3))}, "one value for each cell"),
        ({"reflectivity": np.full(dem.shape, -3.0)}, "is it in dB"),
        ({"reflectivity": np.full(dem.shape, np.nan)}, "finite linear factors"),
        # Square arrays that are transposed have the right shape all the same.
        ({"reflectivity": xr.ones_like(dem).transpose("x", "y")}, "dims"),
        ({"calibration": "dB"}, "found calibration 'dB'"),
        ({"law": lambda angle: -0.1 * angle - 5.0}, "is it in dB"),
    )
    for how, message in given:
        with pytest.raises(ValueError, match=message):
            simulate(dem, grid, orbit, **how)


def test_dem_and_image_that_do_not_belong_together_are_refused() -> None:
    dem, small = raster(mountain(60, 60)), look(lines=60, samples=60)
    beside = dem.assign_coords(x=dem.x + 1200.0, y=dem.y + 1200.0)
    grid, orbit = look()
    late = orbit.crop(grid.last_time + 40.0, orbit.stop)
    given: tuple[tuple[xr.DataArray, Any, type[Exception], str], ...] = (
        (raster(mountain(), latitude=47.0), look(), GeometryError, "No cell of the DEM falls into"),
        (beside, small, GeometryError, "lies beside the image"),
        (
            dem.assign_attrs(vertical_datum=""),
            look(),
            VerticalDatumError,
            "what its heights are measured from",
        ),
        (dem, (grid, late), OrbitCoverageError, "found an orbit from"),
    )
    for ground, view, error, message in given:
        with pytest.raises(error, match=message):
            simulate(ground, *view)


ANGLES = np.linspace(0.0, 90.0, 181)
COSINE = np.cos(np.radians(ANGLES))
SINE = np.sin(np.radians(ANGLES))
LAWS: list[BackscatterLaw] = [ConstantGamma(), CosinePower(), Lambertian(), Muhleman()]


@pytest.mark.parametrize(
    ("law", "expected"),
    [
        (ConstantGamma(0.3), 0.3 * COSINE),
        (CosinePower(0.3, 1.7), 0.3 * np.clip(COSINE, 0.0, None) ** 1.7),
        (Lambertian(0.3), 0.3 * COSINE**2),
        (Muhleman(), 0.0133 * COSINE / (SINE + 0.1 * COSINE) ** 3),
        (Muhleman(0.02, 0.3), 0.02 * COSINE / (SINE + 0.3 * COSINE) ** 3),
    ],
)
def test_each_law_is_its_formula(law: BackscatterLaw, expected: Floats) -> None:
    np.testing.assert_allclose(law(ANGLES), expected, rtol=1e-12, atol=1e-15)


def test_special_cases_of_the_cosine_power_are_the_other_laws() -> None:
    np.testing.assert_allclose(CosinePower(0.2, 1.0)(ANGLES), ConstantGamma(0.2)(ANGLES))
    np.testing.assert_allclose(CosinePower(0.2, 2.0)(ANGLES), Lambertian(0.2)(ANGLES), atol=1e-17)


@pytest.mark.parametrize("law", LAWS)
def test_surfaces_that_face_away_scatter_nothing(law: BackscatterLaw) -> None:
    np.testing.assert_array_equal(law(np.array([91.0, 120.0, 180.0])), 0.0)


@pytest.mark.parametrize("law", LAWS)
@given(st.lists(st.floats(2.0, 90.0), min_size=1, max_size=20))
def test_the_table_that_the_kernels_read_is_the_law(
    law: BackscatterLaw, degrees: list[float]
) -> None:
    """Linear in the cosine, the table is within a per cent beyond two degrees."""
    table = tabulate(law)
    angles = np.array(degrees)
    found = np.interp(np.cos(np.radians(angles)), np.linspace(0.0, 1.0, table.size), table)
    np.testing.assert_allclose(found, law(angles), rtol=1e-2, atol=1e-5 * table.max())


@given(
    st.lists(st.floats(0.01, 2.0), min_size=2, max_size=12),
    st.floats(0.0, 90.0),
)
def test_a_fitted_law_passes_its_points_without_overshoot(
    values: list[float], angle: float
) -> None:
    incidence = np.linspace(10.0, 80.0, len(values))
    law = FittedLaw(incidence, np.array(values))
    np.testing.assert_allclose(law(incidence) / np.cos(np.radians(incidence)), values, rtol=1e-9)
    gamma = law(np.array([angle])) / np.cos(np.radians(min(angle, 89.999)))
    if angle < 89.9:
        assert min(values) * (1 - 1e-9) <= gamma[0] <= max(values) * (1 + 1e-9)


def test_a_fitted_law_is_constant_in_gamma0_beyond_its_points() -> None:
    law = FittedLaw(np.array([20.0, 60.0]), np.array([0.4, 0.1]))
    gamma = law(np.array([0.0, 10.0, 70.0, 85.0])) / np.cos(np.radians([0.0, 10.0, 70.0, 85.0]))
    np.testing.assert_allclose(gamma, [0.4, 0.4, 0.1, 0.1])


def test_a_fitted_law_refuses_points_that_make_no_curve() -> None:
    for angles, gamma0 in (
        ([30.0], [0.2]),
        ([30.0, 30.0], [0.2, 0.2]),
        ([40.0, 30.0], [0.2, 0.2]),
        ([30.0, 40.0], [0.2]),
        *(([30.0, 40.0], [0.2, bad]) for bad in (-0.1, 0.0, np.nan, np.inf)),
        ([30.0, np.nan], [0.2, 0.2]),
    ):
        with pytest.raises(ValueError, match="at least two ascending angles"):
            FittedLaw(np.array(angles), np.array(gamma0))


def test_levels_that_are_not_positive_are_refused() -> None:
    makers: tuple[tuple[str, Callable[[float], BackscatterLaw]], ...] = (
        ("gamma", ConstantGamma),
        ("level", lambda value: CosinePower(value, 1.0)),
        ("exponent", lambda value: CosinePower(0.2, value)),
        ("level", Lambertian),
        ("level", Muhleman),
        ("roughness", lambda value: Muhleman(0.0133, value)),
    )
    for name, make in makers:
        for bad in (0.0, -0.1, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"found {name}="):
                make(bad)


def test_a_callable_that_is_no_law_is_refused() -> None:
    laws: tuple[tuple[str, Any], ...] = (
        ("is it in dB", lambda angle: -10.0 - 0.1 * angle),
        ("is it in dB", lambda angle: 0.2 - 0.01 * angle),
        ("finite", lambda angle: np.full_like(angle, np.nan)),
        ("finite", lambda angle: np.full_like(angle, np.inf)),
        ("finite linear power", lambda angle: 0.0 * angle),
        ("one sigma0 for each angle", lambda angle: angle[:5]),
        ("one sigma0 for each angle", lambda _: 0.2),
    )
    for message, law in laws:
        with pytest.raises(ValueError, match=message):
            tabulate(law)
