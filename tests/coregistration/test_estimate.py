"""Shifts of images are found, told and corrected, and one policy says which are significant."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sarheight.coregistration import Shift, apply_shift, coregister, estimate_shift, is_significant
from sarheight.errors import GeometryError
from sarheight.geometry import geo2rdr
from sarheight.grid import Burst, RadarGrid
from sarheight.illumination import simulate
from sarheight.orbit import Orbit
from sarheight.scene import Scene
from tests.dems import hills
from tests.mountains import LAW, look, mountain, raster, scene_of

ROWS, COLUMNS = 100, 130
LINES, SAMPLES = 230, 290


@cache
def mountains() -> xr.DataArray:
    """Ridges and valleys around a peak that folds."""
    rough = hills((ROWS, COLUMNS), relief=120.0, size=4.0, seed=3) - 1000.0
    return raster(mountain(ROWS, COLUMNS, height=700.0) + rough)


@cache
def place(ground_range: bool = True) -> tuple[RadarGrid, Orbit]:  # noqa: FBT001, FBT002
    return look(lines=LINES, samples=SAMPLES, ground_range=ground_range)


@cache
def shifted(
    line: float, sample: float, seed: int = 0, *, ground_range: bool = True, looks: float = 4.4
) -> Scene:
    """Image of patchy mountains with speckle and noise, that lies off by a shift."""
    (grid, orbit), noise = place(ground_range), 0.003
    patches = np.exp(0.4 * np.random.default_rng(seed).standard_normal((ROWS, COLUMNS)))
    how: dict[str, Any] = {"reflectivity": patches, "looks": looks, "noise": noise, "seed": seed}
    scene = simulate(mountains(), grid.shift(line, sample), orbit, law=LAW, **how)
    # Noise removal leaves some of the power negative.
    return Scene(scene.image - noise, grid, orbit, "beta0")


@cache
def estimated(
    line: float, sample: float, seed: int = 0, *, ground_range: bool = True, looks: float = 4.4
) -> Shift:
    scene = shifted(line, sample, seed, ground_range=ground_range, looks=looks)
    return estimate_shift(scene, mountains())


def misses(shift: Shift, line: float, sample: float) -> NDArray[np.float64]:
    return np.array([shift.line - line, shift.sample - sample])


def errors(shift: Shift) -> NDArray[np.float64]:
    return np.array([shift.line_error, shift.sample_error])


# ------------------------------------------------------------------------------ shifts are found


def test_shifts_are_found_within_a_tenth_of_a_pixel_and_their_stated_errors() -> None:
    found, stated = [], []
    for seed in range(4):
        line, sample = np.random.default_rng(100 + seed).uniform(-6.0, 6.0, 2)
        shift = estimated(line, sample, seed)
        assert shift.found, shift.reason
        found.append(misses(shift, line, sample))
        stated.append(errors(shift))
    assert np.abs(found).max() < 0.1
    assert np.max(stated) < 0.1
    # The errors are neither too small nor far too large.
    ratio = np.sqrt(np.mean((np.array(found) / stated) ** 2))
    assert 0.3 < ratio < 1.7


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(line=st.floats(-12.0, 12.0), sample=st.floats(-12.0, 12.0), seed=st.integers(0, 1000))
def test_any_shift_is_found(line: float, sample: float, seed: int) -> None:
    shift = estimated(line, sample, seed)
    assert shift.found, shift.reason
    assert np.abs(misses(shift, line, sample)).max() < 0.15
    assert (np.abs(misses(shift, line, sample)) < 5.0 * errors(shift)).all()
    assert shift.correlation_after > shift.correlation_before - 0.01


def test_a_shift_in_slant_range_is_found_in_pixels_and_in_metres_on_the_ground() -> None:
    shift = estimated(1.5, -3.25, ground_range=False)
    grid, orbit = place(ground_range=False)
    assert np.abs(misses(shift, 1.5, -3.25)).max() < 0.15
    assert shift.along_track == pytest.approx(shift.line * grid.line_spacing(orbit), rel=1e-3)
    # Ten metres of slant range are 17.9 m of ground range under 34 degrees.
    assert shift.across_track == pytest.approx(
        10.0 * shift.sample / math.sin(math.radians(34.0)), rel=0.01
    )
    assert shift.across_track_error == pytest.approx(
        shift.across_track / shift.sample * shift.sample_error
    )


def test_without_speckle_nothing_is_found_where_nothing_is() -> None:
    grid, orbit = place()
    scene = simulate(mountains(), grid, orbit, law=LAW, noise=1e-4)
    shift = estimate_shift(scene, mountains(), law=LAW)
    assert np.abs(misses(shift, 0.0, 0.0)).max() < 0.03
    assert shift.correlation_after > 0.98
    assert shift.correlation_before == pytest.approx(shift.correlation_after, abs=0.01)


def test_one_look_is_enough() -> None:
    shift = estimated(2.3, 1.6, looks=1.0)
    assert np.abs(misses(shift, 2.3, 1.6)).max() < 0.15


def test_the_estimate_does_not_depend_on_the_level_of_the_image() -> None:
    scene, first = shifted(2.0, -1.0), estimated(2.0, -1.0)
    second = estimate_shift(replace(scene, image=1000.0 * scene.image), mountains())
    assert first.line == pytest.approx(second.line, abs=1e-3)
    assert first.sample == pytest.approx(second.sample, abs=1e-3)


def test_a_forgotten_geoid_looks_like_a_shift_across_the_track() -> None:
    low = mountains() - 40.0
    low.attrs = mountains().attrs
    shift = estimate_shift(shifted(0.0, 0.0), low)
    # Terrain that is thought too low is expected farther away than it is seen.
    assert shift.across_track == pytest.approx(-40.0 / math.tan(math.radians(34.0)), abs=4.0)
    assert abs(shift.along_track) < 3.0


def test_windows_say_where_they_lie_and_what_they_found() -> None:
    shift = estimated(2.0, -1.0)
    table = shift.windows
    assert shift.windows_used >= 6
    assert table.sizes["window"] >= shift.windows_used
    assert ((table["line"] > 0) & (table["line"] < LINES)).all()
    assert ((table["sample"] > 0) & (table["sample"] < SAMPLES)).all()
    used = table.where(table["used"], drop=True)
    assert float(used["line_shift"].median()) == pytest.approx(2.0, abs=0.3)
    assert float(used["sample_shift"].median()) == pytest.approx(-1.0, abs=0.3)


def test_a_shift_can_be_read_and_goes_into_attributes_as_json() -> None:
    shift = estimated(2.0, -1.0)
    for part in ("m along and", "lines", "windows, correlation"):
        assert part in str(shift)
    told = json.loads(shift.to_json())
    assert str(Shift.from_json(shift.to_json())) == str(shift)
    assert told["found"] is True
    assert told["line"] == shift.line
    assert told["windows_used"] == shift.windows_used
    unknown = Shift(reason="flat")
    nothing = json.loads(unknown.to_json())
    assert (nothing["found"], nothing["line"], nothing["reason"]) == (False, None, "flat")
    with pytest.raises(ValueError, match=r"no shift \(flat\)"):
        apply_shift(shifted(0.0, 0.0), unknown)


def test_only_the_chosen_windows_are_read() -> None:
    dask = pytest.importorskip("dask.array")
    scene = shifted(2.0, -1.0)
    values = dask.from_array(scene.image.values, chunks=(64, 64))
    lazy = replace(scene, image=scene.image.copy(data=values))
    eager = estimate_shift(scene, mountains(), windows=4)
    found = estimate_shift(lazy, mountains(), windows=4)
    assert (found.line, found.sample) == (eager.line, eager.sample)
    assert found.windows.sizes["window"] <= 4


# ------------------------------------------------------------------- images that are not perfect


def test_borders_without_data_do_no_harm() -> None:
    scene = shifted(2.0, -1.0)
    for nothing in (np.nan, 0.0):
        image = scene.image.copy()
        image[:35] = nothing
        image[:, -60:] = nothing
        shift = estimate_shift(replace(scene, image=image), mountains())
        assert np.abs(misses(shift, 2.0, -1.0)).max() < 0.2


def test_others_take_the_place_of_windows_without_data() -> None:
    scene, windows = shifted(2.0, -1.0), 4
    whole = estimate_shift(scene, mountains(), windows=windows)
    image = scene.image.copy()
    # Of one window that is compared there is no data.
    line, sample = (int(whole.windows[name][0]) for name in ("line", "sample"))
    image[max(line - 38, 0) : line + 38, max(sample - 38, 0) : sample + 38] = np.nan
    shift = estimate_shift(replace(scene, image=image), mountains(), windows=windows)
    assert shift.windows.sizes["window"] == windows
    assert np.abs(misses(shift, 2.0, -1.0)).max() < 0.2
    places, others = (
        {*zip(each.windows["line"].values, each.windows["sample"].values, strict=True)}
        for each in (whole, shift)
    )
    # The others are as large as before, and lie where they lay.
    assert len(places & others) == windows - 1


def test_polarisations_speak_together() -> None:
    first, second = shifted(1.7, 2.6, 1), shifted(1.7, 2.6, 2)
    image = xr.concat([first.image, 0.1 * second.image], dim="polarisation")
    both = replace(first, image=image.assign_coords(polarisation=["VV", "VH"]))
    shift = estimate_shift(both, mountains())
    assert np.abs(misses(shift, 1.7, 2.6)).max() < 0.1
    assert shift.correlation_after > estimated(1.7, 2.6, 1).correlation_after


def test_windows_that_disagree_are_set_aside() -> None:
    scene = shifted(0.0, 0.0)
    image = scene.image.copy()
    # One corner of the image is displaced by three samples, as by a DEM that is wrong there.
    image[:75, :115] = scene.image.values[:75, 3:118]
    shift = estimate_shift(replace(scene, image=image), mountains())
    assert 0 < int((~shift.windows["used"]).sum()) <= 4
    assert np.abs(misses(shift, 0.0, 0.0)).max() < 0.15


def test_an_orbit_that_just_covers_the_image_is_enough() -> None:
    scene = shifted(1.0, -2.0)
    grid, orbit = scene.grid, scene.orbit
    step = (grid.last_time - grid.first_time + 0.02) / 3
    time = grid.first_time - 0.01 + step * np.arange(4, dtype=np.float64)
    position, velocity = orbit.state(time)
    short = replace(orbit, time=time, position=position, velocity=velocity)
    shift = estimate_shift(replace(scene, orbit=short), mountains())
    assert shift.found or "enough data" in shift.reason


# ------------------------------------------------------------------- no shift could be estimated


def test_flat_terrain_says_so() -> None:
    plain = raster(np.full((ROWS, COLUMNS), 500.0))
    grid, orbit = place()
    scene = simulate(plain, grid, orbit, looks=4.4, seed=1)
    shift = estimate_shift(scene, plain)
    assert not shift.found
    assert "flat" in shift.reason
    assert math.isnan(shift.line)
    assert "no shift could be estimated" in str(shift)


@pytest.mark.parametrize("seed", range(2))
def test_a_dem_of_another_place_says_so(seed: int) -> None:
    other = raster(hills((ROWS, COLUMNS), relief=200.0, size=4.0, seed=20 + seed))
    shift = estimate_shift(shifted(0.0, 0.0), other)
    assert not shift.found
    assert "does not look like its simulation" in shift.reason
    assert shift.significance < 5.0


def test_a_shift_at_the_limit_of_the_search_is_told() -> None:
    scene = shifted(0.0, 6.0)
    shift = estimate_shift(scene, mountains(), search=60.0)
    assert not shift.found
    assert "limit of the search, 60 m" in shift.reason
    assert estimate_shift(scene, mountains(), search=90.0).found


def test_what_tells_nothing_finds_nothing() -> None:
    """Terrain that slopes evenly, and speckle alone."""
    scene, slope = shifted(0.0, 0.0), raster(500.0 + 3.0 * np.mgrid[:ROWS, :COLUMNS][1])
    random = np.random.default_rng(5)
    noise = scene.image.copy(data=random.gamma(4.4, 1 / 4.4, scene.image.shape))
    assert not estimate_shift(scene, slope).found
    assert not estimate_shift(replace(scene, image=noise), mountains()).found


def test_settings_and_input_that_make_no_sense_are_refused() -> None:
    scene = shifted(0.0, 0.0)
    for wrong in ({"search": 0.0}, {"search": math.nan}, {"windows": 0}):
        with pytest.raises(ValueError, match="expected metres above zero and at least one window"):
            estimate_shift(scene, mountains(), **wrong)
    with pytest.raises(GeometryError, match="No cell of the DEM falls into the image"):
        estimate_shift(scene, raster(mountain(), latitude=47.5))
    empty = scene.image.copy(data=np.full(scene.image.shape, np.nan, dtype=np.float32))
    shift = estimate_shift(replace(scene, image=empty), mountains())
    assert shift.reason == "in no window do image and terrain both have enough data"


# ----------------------------------------------------------------------------------- correction


@pytest.mark.parametrize("ground_range", [True, False])
def test_a_corrected_scene_has_no_shift_left(*, ground_range: bool) -> None:
    scene = shifted(3.4, -2.2, ground_range=ground_range)
    better = apply_shift(scene, estimated(3.4, -2.2, ground_range=ground_range))
    assert better.image is scene.image
    again = estimate_shift(better, mountains())
    assert np.abs(misses(again, 0.0, 0.0)).max() < 0.05


@pytest.mark.parametrize(("ground_range", "stamp"), [(True, None), (False, 850_000.0)])
def test_moving_a_grid_moves_what_is_seen_by_so_many_pixels(
    stamp: float | None, *, ground_range: bool
) -> None:
    grid, orbit = place(ground_range)
    grid = replace(grid, bistatic_range=stamp)
    before = geo2rdr(mountains(), grid, orbit)
    after = geo2rdr(mountains(), grid.shift(2.25, -3.5), orbit)
    assert np.abs(after["line"] - before["line"] - 2.25).max() < 1e-4
    assert np.abs(after["sample"] - before["sample"] + 3.5).max() < 2e-3
    back = grid.shift(2.25, -3.5).shift(-2.25, 3.5)
    assert back.line_zero_time == pytest.approx(grid.line_zero_time, abs=1e-9)
    assert back.near_range == pytest.approx(grid.near_range, abs=0.05)
    burst = Burst(0, 0, LINES, grid.line_zero_time, (0, LINES), (0, SAMPLES))
    later = replace(grid, bursts=(burst,)).shift(-2.0, 0.0)
    assert later.bursts[0].azimuth_time == pytest.approx(later.line_zero_time, abs=1e-12)


@pytest.mark.parametrize(
    ("line", "error", "significant"),
    [
        (0.6, 0.01, True),
        (-0.6, 0.01, True),
        (0.4, 0.01, False),  # smaller than half a pixel
        (0.6, 0.2, False),  # below four standard errors
        (1.0, 0.1, True),
        (math.nan, 0.1, False),
    ],
)
def test_a_shift_is_significant_by_error_and_by_size(
    line: float, error: float, *, significant: bool
) -> None:
    for names in (("line", "sample"), ("sample", "line")):
        values = dict(zip(names, (line, 0.0), strict=True))
        errors = {f"{name}_error": error for name in names}
        assert is_significant(Shift(**values, **errors)) is significant
        assert not is_significant(Shift(**values, **errors, reason="flat"))


@pytest.fixture(scope="module")
def dem() -> xr.DataArray:
    return raster(mountain())


@pytest.mark.parametrize(("lines", "samples"), [(2.0, -1.5), (0.05, 0.1)])
def test_only_a_significant_shift_is_corrected(
    dem: xr.DataArray, lines: float, samples: float
) -> None:
    scene = scene_of(dem, seed=1)
    off = Scene(scene.image, scene.grid.shift(-lines, -samples), scene.orbit, "beta0")
    untouched, none = coregister(off, dem, "none")
    assert untouched is off
    assert none is None
    reported, shift = coregister(off, dem)
    assert reported is off
    assert shift is not None
    corrected, again = coregister(off, dem, "correct")
    assert again is not None
    assert again.attributes() == shift.attributes()
    assert (corrected is not off) == (abs(lines) > 1.0)
    if corrected is not off:
        left = coregister(corrected, dem)[1]
        assert left is not None
        assert np.hypot(left.line, left.sample) < 0.3
        assert not is_significant(left)


def test_an_unknown_policy_is_refused(dem: xr.DataArray) -> None:
    with pytest.raises(ValueError, match="found coregister='yes', expected one of 'report', 'cor"):
        coregister(scene_of(dem), dem, "yes")  # type: ignore[arg-type]
