from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray
from sarheight_kernels.pool import limit_threads
from scipy.ndimage import binary_dilation
from scipy.stats import kstest

from sarheight import geometry, layover
from sarheight.dem import check_dem
from sarheight.ellipsoid import LookSide
from sarheight.grid import RadarGrid
from sarheight.illumination import CosinePower, simulate
from sarheight.orbit import Orbit
from tests.dems import dem_around, hills, positions
from tests.worlds import point_scatterers as points
from tests.worlds import scatterer_geometry as radar
from tests.worlds import scattering_ground as grounds
from tests.worlds import slc_image
from tests.worlds.point_scatterers import Observation

Floats = NDArray[np.float64]

QUIET = replace(slc_image.IW1, noise=1e-12)
"""A radar without thermal noise to speak of."""
GAMMA = -10.0
"""Level of uniform ground in dB."""
PLAIN = grounds.GroundSettings(
    kinds=(grounds.Kind("plain", grounds.CosineLaw(GAMMA, 0.0), 0.0),),
    level_spread=0.0,
    slope_spread=0.0,
    features=(),
    bright_density=0.0,
)
"""Ground of constant gamma0 without texture."""


def mountains(
    side: int = 60, *, relief: float = 220.0, crs: str = "EPSG:32632", posting: float = 30.0
) -> xr.DataArray:
    return dem_around(
        46.0, 10.0, hills((side, side), relief=relief, size=7.0), crs=crs, posting=posting
    )


def flat(side: int = 30) -> xr.DataArray:
    return dem_around(46.0, 10.0, np.full((side, side), 500.0))


def own_coordinates(dem: xr.DataArray, grid: RadarGrid, orbit: Orbit) -> tuple[Floats, Floats]:
    """Lines and samples of the cells' middles by the simulator's geometry."""
    path = radar.path_of(orbit.with_epoch(grid.epoch), 0.5 * (grid.first_time + grid.last_time))
    time, slant = radar.locate_cells(radar.surface_of(dem), path)
    return grid.line(time, slant), grid.sample(slant, time)


def edges(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells within one of the border of a mask, and the outermost ones."""
    wide = np.ones((3, 3), dtype=bool)
    found = binary_dilation(mask, wide) & binary_dilation(~mask, wide)
    found[[0, -1]] = True
    found[:, [0, -1]] = True
    return found


@pytest.fixture(scope="module")
def observed() -> Observation:
    """Mountains under a GRD."""
    ground = grounds.draw_ground(mountains(), 3)
    return points.observe(ground, *points.pass_over(ground.dem, 35.0), 0, scatterers=2)


# ------------------------------------------------------------------------------------- geometry


@pytest.mark.parametrize(
    ("crs", "look_side", "ascending", "product"),
    [
        ("EPSG:32632", "right", True, "grd"),
        ("EPSG:4326", "right", False, "multilooked"),
        ("EPSG:3857", "left", True, "multilooked"),
    ],
)
def test_lines_and_samples_are_those_of_geo2rdr(
    crs: str, look_side: LookSide, product: Literal["grd", "multilooked"], *, ascending: bool
) -> None:
    dem = mountains(crs=crs)
    grid, orbit = points.pass_over(
        dem, 35.0, look_side=look_side, ascending=ascending, product=product
    )
    line, sample = own_coordinates(dem, grid, orbit)
    seen = geometry.geo2rdr(dem, grid, orbit)
    np.testing.assert_allclose(line, seen.line, rtol=0.0, atol=1e-4)
    np.testing.assert_allclose(sample, seen["sample"], rtol=0.0, atol=1e-4)
    assert line.min() > 0.0
    assert sample.min() > 0.0
    assert line.max() < grid.lines - 1
    assert sample.max() < grid.samples - 1


def test_the_surface_runs_through_the_cells() -> None:
    dem = mountains(20)
    surface = radar.surface_of(dem)
    corner = np.empty((1, 1, 3))
    radar.cell_positions(surface.coefficients, surface.level, 1, corner)
    np.testing.assert_allclose(corner[0, 0], positions(dem)[0, 0], rtol=0.0, atol=1e-6)
    # What lies between cells is as pyproj has it.
    finer = dem_around(46.0, 10.0, np.zeros((58, 58)), posting=10.0)
    expected = positions(finer)
    frame = np.empty((4, 3))
    level = radar.level_positions(mountains(20) * 0.0)
    for row, column in [(0, 0), (7, 31), (57, 29)]:
        radar.surface_frame(np.zeros((24, 24)), level, row / 3.0, column / 3.0, frame)
        np.testing.assert_allclose(frame[0], expected[row, column], rtol=0.0, atol=1e-6)


def test_a_scatterer_peaks_where_geo2rdr_sees_it() -> None:
    dem = mountains(20)
    grid, orbit = points.pass_over(dem, 35.0, product="multilooked", looks=(1, 1))
    seen = geometry.geo2rdr(dem, grid, orbit)
    slc = slc_image.slc_grid_for(grid, slc_image.IW1, (1, 1))
    path = radar.path_of(orbit.with_epoch(grid.epoch), 0.5 * (grid.first_time + grid.last_time))
    for row, column in [(4, 5), (10, 15), (17, 2)]:
        time, slant = radar.radar_coordinates(positions(dem)[row, column], path)
        place = np.array(
            [
                (float(time) - slc.first_time) / slc.line_interval,
                (float(slant) - slc.near_range) / slc.range_spacing,
            ]
        )
        image = np.zeros((slc.lines, slc.samples), dtype=np.complex128)
        slc_image.focus(*place[:, None], np.array([2.0 + 1.0j]), slc_image.IW1, image)
        peak = peak_of(image)
        found = grid.line(slc.first_time + peak[0] * slc.line_interval)
        assert float(found) == pytest.approx(float(seen.line[row, column]), abs=1e-3)
        slant = slc.near_range + peak[1] * slc.range_spacing
        found = grid.sample(slant, grid.azimuth_time(0))
        assert float(found) == pytest.approx(float(seen["sample"][row, column]), abs=1e-3)


def peak_of(image: NDArray[np.complex128]) -> Floats:
    """Where a band-limited image peaks: the brightest of it, interpolated 32 times."""
    middle = np.array(np.unravel_index(np.argmax(np.abs(image)), image.shape))
    found = []
    for axis in range(2):
        # Along either axis the peak's row and column are the response of that axis.
        along = np.pad(np.take(image, middle[1 - axis], axis=1 - axis), 32)
        first = middle[axis] - 32
        part = np.fft.fft(along[first + 32 : first + 96])
        padded = np.zeros(64 * 32, dtype=complex)
        padded[:32], padded[-32:] = part[:32], part[32:]
        power = np.abs(np.fft.ifft(padded)) ** 2
        k = int(np.argmax(power))
        before, here, after = power[k - 1 : k + 2]
        found.append(first + (k + 0.5 * (before - after) / (before - 2.0 * here + after)) / 32.0)
    return np.array(found)


def test_layover_and_shadow_are_those_of_the_masks() -> None:
    dem = mountains(90, relief=260.0)
    ground = grounds.draw_ground(dem, 0)
    # Seen steeply there is layover, flatly there is shadow.
    for incidence, name, codes in ((30.0, "layover", (2, 3, 6)), (55.0, "shadow", (4, 5, 6))):
        grid, orbit = points.pass_over(dem, incidence, product="multilooked")
        fine = points.observe(ground, grid, orbit, 0, scatterers=2).fine
        own = fine.layover.values if name == "layover" else fine.illuminated.values < 0.5
        mask = np.isin(layover.masks(dem, grid, orbit).mask.values, codes)
        assert 0.05 < mask.mean() < 0.6
        inner = ~edges(mask)
        assert (own != mask)[inner].mean() < 1e-3
        assert (own != mask).mean() < 0.02


def test_what_lies_in_shadow_adds_nothing() -> None:
    dem = mountains(60, relief=260.0)
    grid, orbit = points.pass_over(dem, 60.0, product="multilooked")
    mask = layover.masks(dem, grid, orbit).mask.values
    hidden = np.isin(mask, (4, 5, 6))
    hidden &= ~edges(hidden)
    assert hidden.sum() > 50
    ground = grounds.draw_ground(dem, 0)
    # As bright as can be where hidden, and black elsewhere.
    bright = replace(ground, level=np.where(hidden, 40.0, -300.0))
    seen = points.observe(bright, grid, orbit, 0, scatterers=2, instrument=QUIET)
    assert seen.slc_energy < 1e-12
    assert (seen.fine.rcs.values[hidden] == 0.0).all()
    assert (seen.fine.area.values[hidden] == 0.0).all()


# -------------------------------------------------------------------------------------- energy


def test_an_impulse_response_keeps_the_cross_section_wherever_it_lies() -> None:
    random = np.random.default_rng(0)
    for line, sample in random.uniform(40.0, 90.0, (20, 2)):
        image = np.zeros((140, 130), dtype=np.complex128)
        slc_image.focus(
            np.array([line]), np.array([sample]), np.array([3.0 - 4.0j]), slc_image.IW2, image
        )
        assert np.sum(np.abs(image) ** 2) == pytest.approx(25.0, rel=1e-12)


@pytest.mark.parametrize("instrument", [slc_image.IW1, slc_image.IW2, slc_image.IW3])
def test_the_resolution_is_that_of_sentinel_1(instrument: slc_image.Instrument) -> None:
    # Product definition, table 3: 2.7, 3.1 and 3.5 m in slant range, 22 m along the track.
    bands, windows = slc_image.bands_of(instrument)
    fine = np.linspace(-2.0, 2.0, 4001)
    widths = []
    for band, window in zip(bands, windows, strict=True):
        x = band * fine
        response = window * np.sinc(x) + 0.5 * (1.0 - window) * (np.sinc(x - 1) + np.sinc(x + 1))
        widths.append(np.ptp(fine[response**2 >= 0.5 * window**2]))
    # A satellite at 693 km sweeps the ground at 6.8 km/s.
    along, across = widths[0] * instrument.line_interval * 6800.0, widths[1]
    assert along == pytest.approx(22.0, abs=1.0)
    expected = {56.5e6: 2.7, 48.3e6: 3.1, 42.79e6: 3.5}[instrument.range_bandwidth]
    assert across * instrument.range_spacing == pytest.approx(expected, abs=0.1)


def test_the_image_holds_the_energy_of_the_ground() -> None:
    dem = mountains(60)
    ground = grounds.draw_ground(dem, 0, settings=PLAIN)
    grid, orbit = points.pass_over(dem, 35.0, product="multilooked")
    seen = points.observe(ground, grid, orbit, 0, instrument=QUIET, scatterers=4)
    # Speckle leaves 1.5 %, more than the number of pixels says: few of them hold much, in layover.
    assert seen.slc_energy == pytest.approx(float(seen.fine.rcs.sum()), rel=0.04)
    # In sarheight's own simulation facets end at the middles of the outermost cells. Within, the
    # areas that both show the radar are the same.
    law = CosinePower(10.0 ** (0.1 * GAMMA), 1.0)
    expected = layover.reconstruct(simulate(dem, grid, orbit, law=law), dem).projected_area.values
    within = np.s_[2:-2, 2:-2]
    own = seen.fine.area.values[within]
    assert own.sum() == pytest.approx(float(np.nansum(expected[within])), rel=1e-3)
    truth = 10.0 * np.log10(seen.truth.gamma0.values)
    np.testing.assert_allclose(truth[np.isfinite(truth)], GAMMA, atol=1e-6)


def test_flat_ground_is_as_bright_as_its_law_says() -> None:
    dem = flat(60)
    ground = grounds.draw_ground(dem, 0, settings=PLAIN)
    law = CosinePower(10.0 ** (0.1 * GAMMA), 1.0)
    for product, looks in (("multilooked", (1, 5)), ("grd", (1, 5)), ("multilooked", (2, 4))):
        grid, orbit = points.pass_over(dem, 35.0, product=product, looks=looks)
        seen = points.observe(ground, grid, orbit, 0, looks=looks, instrument=QUIET, scatterers=4)
        expected = simulate(dem, grid, orbit, law=law)
        own, other = (inner(each.image.values).mean() for each in (seen.scene, expected))
        assert own == pytest.approx(other, rel=0.03)


# ------------------------------------------------------------------------------------- speckle


@pytest.fixture(scope="module")
def speckle() -> Observation:
    """Flat uniform ground in single looks."""
    ground = grounds.draw_ground(flat(45), 0, settings=PLAIN)
    grid, orbit = points.pass_over(ground.dem, 35.0, product="multilooked", looks=(1, 1))
    return points.observe(ground, grid, orbit, 1, looks=(1, 1), instrument=QUIET)


def inner(image: Floats) -> Floats:
    """Return the middle of an image, where the turned ground fills it."""
    rows, columns = image.shape
    return image[3 * rows // 10 : 7 * rows // 10, 3 * columns // 10 : 7 * columns // 10]


def test_single_looks_are_exponential(speckle: Observation) -> None:
    values = inner(speckle.scene.image.values.astype(np.float64))
    # Three samples apart responses hardly overlap.
    apart = values[::3, ::3].ravel()
    assert apart.size > 500
    assert kstest(apart / apart.mean(), "expon").pvalue > 0.01
    assert apart.std() / apart.mean() == pytest.approx(1.0, abs=0.08)
    assert speckle.scene.grid.looks == pytest.approx(1.0)


def test_multilooked_intensity_has_the_looks_that_the_grid_states() -> None:
    ground = grounds.draw_ground(flat(60), 0, settings=PLAIN)
    for looks in ((1, 5), (2, 4)):
        grid, orbit = points.pass_over(ground.dem, 35.0, product="multilooked", looks=looks)
        seen = points.observe(ground, grid, orbit, 1, looks=looks, instrument=QUIET)
        values = inner(seen.scene.image.values.astype(np.float64))
        measured = values.mean() ** 2 / values.var()
        assert measured == pytest.approx(seen.scene.grid.looks, rel=0.06)
        assert seen.scene.grid.looks < looks[0] * looks[1]
        assert seen.scene.grid.looks == pytest.approx(grid.looks)


def test_noise_has_its_sigma0_and_can_be_subtracted() -> None:
    ground = grounds.draw_ground(flat(), 0, settings=PLAIN)
    black = replace(ground, level=np.full(ground.level.shape, -300.0))
    grid, orbit = points.pass_over(ground.dem, 35.0)
    kept = points.observe(black, grid, orbit, 0, scatterers=1, subtract_noise=False)
    taken = points.observe(black, grid, orbit, 0, scatterers=1)
    sine = np.sin(np.radians(35.0))
    assert float(kept.scene.image.mean()) * sine == pytest.approx(slc_image.IW1.noise, rel=0.05)
    assert abs(float(taken.scene.image.mean())) < 0.05 * slc_image.IW1.noise


# ------------------------------------------------------------------------------- repeatability


def test_neither_threads_nor_blocks_of_rows_change_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ground = grounds.draw_ground(mountains(30), 0)
    grid, orbit = points.pass_over(ground.dem, 35.0)
    images = []
    for count in (1, 3):
        with limit_threads(count):
            images.append(points.observe(ground, grid, orbit, 0, scatterers=2))
    whole, other = images
    assert np.array_equal(whole.scene.image.values, other.scene.image.values)
    assert whole.truth.equals(other.truth)
    monkeypatch.setattr(points, "BLOCK_SCATTERERS", 7 * 30 * 4)
    parts = points.observe(ground, grid, orbit, 0, scatterers=2)
    assert whole.truth.equals(parts.truth)
    # The order of sums differs at the borders of blocks.
    np.testing.assert_allclose(whole.scene.image, parts.scene.image, rtol=0.0, atol=1e-6)


def test_a_seed_gives_an_image_and_another_one_another_date() -> None:
    ground = grounds.draw_ground(flat(), 5)
    grid, orbit = points.pass_over(ground.dem, 35.0)
    images = [
        points.observe(grounds.draw_ground(flat(), 5), grid, orbit, seed, scatterers=2)
        for seed in (0, 0, 1)
    ]
    first, again, other = (each.scene.image.values for each in images)
    assert np.array_equal(first, again)
    middles = inner(first).ravel(), inner(other).ravel()
    assert not np.array_equal(*middles)
    # The DEM that comes with them is the ground's, not the date's.
    assert images[0].dem.equals(images[2].dem)


# -------------------------------------------------------------------------------------- ground


def test_kinds_of_ground_have_laws_of_their_own(observed: Observation) -> None:
    angles = np.array([20.0, 40.0, 60.0])
    curves = np.array([kind.law(angles) for kind in grounds.KINDS])
    relative = curves - curves[:, 1:2]
    for one in range(len(curves)):
        for other in range(one):
            # At least 1 dB between the shapes of any two.
            assert np.abs(relative[one] - relative[other]).max() > 1.0
    assert ((curves > -20.0) & (curves < -4.0)).all()
    several = grounds.draw_ground(mountains(), 3)
    single = grounds.draw_ground(mountains(), 3, laws="single")
    assert np.unique(several.kind).size == 4
    assert np.ptp(several.slope) > 0.05
    assert np.ptp(single.slope) == 0.0
    assert np.ptp(np.diff(single.tables, axis=1), axis=0).max() < 1e-9
    assert np.array_equal(several.level, single.level)
    assert set(np.unique(observed.truth.kind)) <= set(range(4))


def test_flat_ground_has_the_gamma0_of_its_law() -> None:
    settings = replace(PLAIN, kinds=tuple(replace(kind, texture=0.0) for kind in grounds.KINDS))
    ground = grounds.draw_ground(flat(60), 1, settings=settings)
    seen = points.observe(ground, *points.pass_over(flat(60), 35.0), 0, scatterers=1)
    gamma0 = 10.0 * np.log10(seen.fine.rcs.values / seen.fine.area.values)
    for index, kind in enumerate(grounds.KINDS):
        own = gamma0[ground.kind == index]
        np.testing.assert_allclose(own, kind.law(np.array(35.0)), atol=0.02)


def test_targets_are_brighter_by_their_gain_and_nothing_else_changes() -> None:
    dem = mountains(90)
    targets = grounds.Targets(count=3)
    with_them = grounds.draw_ground(dem, 2, targets=targets)
    without = grounds.draw_ground(dem, 2)
    assert set(np.unique(with_them.targets)) == {0, 1, 2, 4}
    for size in targets.sizes:
        assert (with_them.targets == size).sum() == 3 * size**2
    inside = np.kron(with_them.targets > 0, np.ones((3, 3))) > 0.0
    gain = with_them.level - without.level
    np.testing.assert_allclose(gain[inside], 6.0)
    np.testing.assert_allclose(gain[~inside], 0.0)
    way = points.pass_over(dem, 35.0)
    truths = [
        points.observe(ground, *way, 0, scatterers=2).truth.gamma0.values
        for ground in (with_them, without)
    ]
    ratio = 10.0 * np.log10(truths[0] / truths[1])
    expected = np.where(with_them.targets > 0, 6.0, 0.0)
    seen = np.isfinite(ratio)
    np.testing.assert_allclose(ratio[seen], expected[seen], atol=1e-9)


def test_patches_are_200_to_1000_metres_wide() -> None:
    ground = grounds.draw_ground(flat(150), 0)
    _, cells = np.unique(ground.patch, return_counts=True)
    width = np.sqrt(cells * 900.0)
    # Of the ground, little lies in patches that are much smaller, or larger.
    assert cells[width < 100.0].sum() < 0.05 * cells.sum()
    assert cells[width > 1500.0].sum() < 0.05 * cells.sum()
    assert 200.0 < np.average(width, weights=cells) < 1000.0


def test_the_given_dem_is_what_users_have() -> None:
    ground = grounds.draw_ground(mountains(90), 0)
    coarse = check_dem(grounds.COARSER.degrade(ground.dem, 0))
    assert coarse.shape == (30, 30)
    means = grounds.block_sums(ground.dem.values, 3) / 9.0
    error = coarse.values - means
    assert error.std() == pytest.approx(4.5, rel=0.01)
    # Neighbours err alike.
    assert np.corrcoef(error[:, 1:].ravel(), error[:, :-1].ravel())[0, 1] > 0.5
    used = check_dem(grounds.AS_USED.degrade(ground.dem, 0))
    assert used.shape == ground.dem.shape
    assert (used - ground.dem).std() > 3.0
    np.testing.assert_allclose(used.x, ground.dem.x)


def test_texture_and_features_keep_to_their_share() -> None:
    only_texture = replace(grounds.GroundSettings(), features=(), bright_density=0.0)
    without = grounds.draw_ground(flat(90), 0, settings=only_texture)
    full = grounds.draw_ground(flat(90), 0)
    changed = full.level != without.level
    assert 0.0 < changed.mean() < 0.25
    assert (full.level - without.level).max() > 4.0
    spread = np.array([kind.texture for kind in grounds.KINDS])
    for index in range(4):
        for patch in np.unique(without.patch[without.kind == index])[:3]:
            cells = without.level[without.patch == patch]
            assert cells.std() < 2.0 * spread[index]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda dem: dem.assign_attrs(vertical_datum="EGM96"), "vertical_datum"),
        (lambda dem: dem.where(dem > float(dem.min())), "voids"),
        (lambda dem: dem[:-1], "multiples"),
    ],
)
def test_a_dem_that_cannot_be_the_truth_is_refused(
    change: Callable[[xr.DataArray], xr.DataArray], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        grounds.draw_ground(change(mountains(30)), 0)
