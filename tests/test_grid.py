"""The sampling of radar images, and ground range by polynomials that change along azimuth."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from sarheight_kernels.orbit import zero_doppler_time

from sarheight.ellipsoid import SPEED_OF_LIGHT, LookSide, look_sign, points_at_ranges
from sarheight.errors import AnnotationError, OrbitCoverageError
from sarheight.grid import RadarGrid
from sarheight.ground_range import GroundRange, RangeInterpolation
from sarheight.orbit import Orbit
from sarheight.sentinel1 import geolocation_grid, read_grid, read_orbit
from tests.conftest import ANNOTATIONS, shared_data
from tests.synthetic import synthetic_grid
from tests.worlds.annotations import (
    BURST_STEP,
    FIRST_VALID,
    INVALID_LINES,
    LAST_VALID,
    LINES_PER_BURST,
    annotation_xml,
)

Floats = NDArray[np.float64]

TO_EARTH_FIXED = Transformer.from_crs("EPSG:4979", "EPSG:4978")
TO_GEODETIC = Transformer.from_crs("EPSG:4978", "EPSG:4979")
KINDS = list(itertools.product(("right", "left"), (True, False), (True, False)))


def grids() -> list[RadarGrid]:
    """One of each kind: looks to both sides, in ground and slant range, with sheared lines too."""
    made = []
    for look_side, ground_range, ascending in KINDS:
        grid, _ = synthetic_grid(
            look_side=look_side,
            ground_range=ground_range,
            ascending=ascending,
            lines=2000,
            samples=3000,
            sample_spacing=10.0 if ground_range else 2.3,
        )
        made += [grid, replace(grid, bistatic_range=grid.near_range + 5000.0)]
    return made


GRIDS = grids()
any_grid = st.sampled_from(GRIDS)
fraction = st.floats(-0.1, 1.1)


# ------------------------------------------------------------------------------- real annotations


def on_grid(name: str) -> tuple[RadarGrid, dict[str, Floats]]:
    """Return a grid, and the points of the geolocation grid with their lines on it."""
    path = shared_data("sentinel1", name)
    grid = read_grid(path)
    points = geolocation_grid(path)
    line = points.line.values
    if grid.bursts:
        burst = np.minimum(line // grid.bursts[0].lines, len(grid.bursts) - 1)
        first_line = np.array([each.first_line for each in grid.bursts])
        line = first_line[burst] + line - burst * grid.bursts[0].lines
    line, pixel = np.meshgrid(line, points.pixel.values, indexing="ij")
    return grid, {
        "line": line,
        "pixel": pixel,
        "time": (points.azimuth_time.values - grid.epoch) / np.timedelta64(1, "ns") * 1e-9,
        "slant_range": points.slant_range.values,
    }


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_the_geolocation_grid_falls_on_its_pixels(name: str) -> None:
    grid, points = on_grid(name)
    if grid.is_ground_range:
        grid = grid.with_range_interpolation("nearest")
    sample = grid.sample(points["slant_range"], points["time"])
    line = grid.line(points["time"], points["slant_range"])
    np.testing.assert_allclose(sample, points["pixel"], rtol=0, atol=0.002)
    np.testing.assert_allclose(line, points["line"], rtol=0, atol=0.007)
    # Without the shear of the lines it would be far off.
    assert np.abs(grid.line(points["time"]) - points["line"]).max() > 0.04


def test_the_geolocation_grid_of_a_grd_was_made_with_the_nearest_record() -> None:
    grid, points = on_grid(ANNOTATIONS[0])
    nearest = grid.with_range_interpolation("nearest")
    exact = nearest.slant_range(points["line"], points["pixel"])
    np.testing.assert_allclose(exact, points["slant_range"], rtol=0, atol=1e-9)
    # Between records the image of the Alps is not where the grid says, as `GroundRange` tells.
    missed = grid.sample(points["slant_range"], points["time"]) - points["pixel"]
    assert 1.4 < np.abs(missed).max() < 1.6
    assert 0.4 < np.sqrt(np.mean(missed**2)) < 0.5


def test_nearest_records_tear_an_image_that_linear_ones_do_not() -> None:
    grid = read_grid(shared_data("sentinel1", ANNOTATIONS[0]))
    assert grid.ground_range is not None
    records = grid.ground_range
    slant_range = grid.slant_range(0, np.linspace(0, grid.samples - 1, 50))[:, None]
    borders = 0.5 * (records.time[1:] + records.time[:-1])

    def jumps(conversion: GroundRange) -> Floats:
        before, after = (conversion.ground(slant_range, borders + step) for step in (-1e-9, 1e-9))
        found: Floats = np.abs(after - before).max(axis=0) / grid.sample_spacing
        return found

    torn = jumps(replace(records, interpolation="nearest"))
    assert 5.0 < np.median(torn) < 7.0
    assert 18.0 < torn.max() < 20.0
    assert jumps(records).max() < 1e-6


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_the_pixels_of_an_annotation_are_inverted_exactly(name: str) -> None:
    grid = read_grid(shared_data("sentinel1", name))
    line, sample = np.meshgrid(
        np.linspace(0, grid.lines - 1, 41), np.linspace(0, grid.samples - 1, 43), indexing="ij"
    )
    slant_range = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant_range)
    np.testing.assert_allclose(grid.sample(slant_range, time), sample, rtol=0, atol=1e-8)
    np.testing.assert_allclose(grid.line(time, slant_range), line, rtol=0, atol=1e-8)
    if grid.is_ground_range:
        nearest = grid.with_range_interpolation("nearest")
        slant_range = nearest.slant_range(line, sample)
        time = nearest.azimuth_time(line, slant_range)
        np.testing.assert_allclose(nearest.sample(slant_range, time), sample, rtol=0, atol=1e-8)


def test_the_alps_grd_is_described() -> None:
    grid = read_grid(shared_data("sentinel1", ANNOTATIONS[0]))
    assert grid.shape == (16685, 25788)
    assert (grid.mission, grid.mode, grid.product) == ("S1B", "IW", "GRD")
    assert (grid.polarisations, grid.look_side, grid.looks) == (("VV",), "right", 4.4)
    assert grid.wavelength == pytest.approx(0.0555, abs=1e-4)
    assert grid.is_ground_range
    assert not grid.bursts
    orbit = read_orbit(shared_data("sentinel1", ANNOTATIONS[0]))
    assert orbit.epoch == grid.epoch
    assert grid.line_spacing(orbit) == pytest.approx(10.0, abs=0.2)


@pytest.mark.parametrize("name", [each for each in ANNOTATIONS if "-slc-" in each])
def test_the_bursts_of_a_swath_lie_on_one_grid(name: str) -> None:
    path = shared_data("sentinel1", name)
    swath = read_grid(path)
    assert len(swath.bursts) == 9
    assert swath.lines == swath.bursts[-1].first_line + swath.bursts[-1].lines
    assert swath.line_spacing(read_orbit(path)) == pytest.approx(13.95, abs=0.05)
    for before, after in itertools.pairwise(swath.bursts):
        # The valid lines of neighbouring bursts overlap a little, and leave no gap.
        overlap = (
            before.first_line + before.valid_lines[1] - after.first_line - after.valid_lines[0]
        )
        assert 50 < overlap < 200
    for burst in swath.bursts[::4]:
        own = read_grid(path, burst=burst.index)
        assert own.lines == burst.lines
        # Bursts are sampled in step, to a thousandth of a line.
        line = swath.line(own.azimuth_time(0))
        assert line == pytest.approx(burst.first_line, abs=1e-3)


# -------------------------------------------------------------------------- made annotations


def swath_of_bursts() -> tuple[RadarGrid, Orbit]:
    lines = 2 * BURST_STEP + LINES_PER_BURST
    return synthetic_grid(lines=lines, samples=200, ground_range=False, sample_spacing=2.3)


def test_an_annotation_of_a_grd_gives_back_its_grid() -> None:
    grid, orbit = synthetic_grid(lines=900, samples=1100)
    read = read_grid(annotation_xml(grid, orbit).encode())
    assert read.shape == grid.shape
    assert read.looks == 4.4
    assert read.bistatic_range == pytest.approx(float(grid.slant_range(450, 550)), abs=1.0)
    shift = float((orbit.epoch - read.epoch) / np.timedelta64(1, "ns")) * 1e-9
    line, sample = np.array([0.0, 450.0, 899.0]), np.array([0.0, 700.0, 1099.0])
    np.testing.assert_allclose(read.azimuth_time(line), grid.azimuth_time(line) + shift, atol=1e-8)
    np.testing.assert_allclose(read.slant_range(line, sample), grid.slant_range(line, sample))


@pytest.mark.parametrize("burst", [None, 0, 2])
def test_an_annotation_of_an_slc_gives_a_swath_or_a_burst(burst: int | None) -> None:
    swath, orbit = swath_of_bursts()
    xml = annotation_xml(swath, orbit, bursts=3).encode()
    grid = read_grid(xml, burst=burst)
    first = 0 if burst is None else burst * BURST_STEP
    shift = float((orbit.epoch - grid.epoch) / np.timedelta64(1, "ns")) * 1e-9
    assert grid.lines == (swath.lines if burst is None else LINES_PER_BURST)
    assert grid.line_zero_time == pytest.approx(float(swath.azimuth_time(first)) + shift, abs=1e-8)
    assert grid.looks == 1.0
    assert not grid.is_ground_range
    assert grid.sample_spacing == pytest.approx(2.3)
    assert [each.first_line for each in grid.bursts] == (
        [0, BURST_STEP, 2 * BURST_STEP] if burst is None else [0]
    )
    for each in grid.bursts:
        assert each.valid_lines == (INVALID_LINES, LINES_PER_BURST - INVALID_LINES)
        assert each.valid_samples == (FIRST_VALID, LAST_VALID + 1)


def test_lines_without_shear_are_recognised() -> None:
    grid, orbit = synthetic_grid(ground_range=False, sample_spacing=2.3)
    xml = annotation_xml(grid, orbit)
    # Give every point of a line the time of the line's middle, as where nothing was corrected.
    points = xml.split("<geolocationGridPoint>")
    for index in range(1, len(points)):
        middle = points[1 + (index - 1) // 5 * 5 + 2]
        start, end = (middle.index(tag) for tag in ("<azimuthTime>", "</azimuthTime>"))
        begin, stop = (points[index].index(tag) for tag in ("<azimuthTime>", "</azimuthTime>"))
        points[index] = points[index][:begin] + middle[start:end] + points[index][stop:]
    read = read_grid("<geolocationGridPoint>".join(points).encode())
    assert read.bistatic_range is None


# ----------------------------------------------------------------------------------- sampling


@given(any_grid, fraction, fraction)
def test_pixels_are_inverted_exactly(grid: RadarGrid, down: float, across: float) -> None:
    line, sample = down * grid.lines, across * grid.samples
    slant_range = grid.slant_range(line, sample)
    time = grid.azimuth_time(line, slant_range)
    assert float(grid.sample(slant_range, time)) == pytest.approx(sample, abs=1e-7)
    assert float(grid.line(time, slant_range)) == pytest.approx(line, abs=1e-7)


@given(any_grid, fraction, fraction)
def test_farther_samples_are_farther_and_later_lines_later(
    grid: RadarGrid, down: float, across: float
) -> None:
    line, sample = down * grid.lines, across * grid.samples
    nearer, farther = grid.slant_range(line, [sample, sample + 1.0])
    assert 0.0 < farther - nearer < grid.sample_spacing + 1e-6
    assert np.diff(grid.azimuth_time([line, line + 1.0])) == pytest.approx(grid.line_interval)


def test_lines_are_sheared_by_the_travel_time() -> None:
    grid = replace(GRIDS[0], bistatic_range=850_000.0)
    assert float(grid.azimuth_time(7, 850_000.0)) == float(grid.azimuth_time(7))
    later = float(grid.azimuth_time(7, 850_000.0 + SPEED_OF_LIGHT * 1e-4) - grid.azimuth_time(7))
    assert later == pytest.approx(1e-4, abs=1e-12)


@given(any_grid, st.data())
def test_a_part_of_a_grid_is_the_same_grid(grid: RadarGrid, data: st.DataObject) -> None:
    first = [data.draw(st.integers(0, size - 1)) for size in grid.shape]
    end = [
        data.draw(st.integers(begin + 1, size))
        for begin, size in zip(first, grid.shape, strict=True)
    ]
    part = grid.crop(slice(first[0], end[0]), slice(first[1], end[1]))
    assert part.shape == (end[0] - first[0], end[1] - first[1])
    inside = (part.lines - 1, part.samples // 2)
    whole = (inside[0] + first[0], inside[1] + first[1])
    assert float(part.azimuth_time(inside[0])) == pytest.approx(
        float(grid.azimuth_time(whole[0])), abs=1e-9
    )
    assert float(part.slant_range(*inside)) == pytest.approx(
        float(grid.slant_range(*whole)), abs=1e-6
    )
    assert part.near_range == pytest.approx(float(grid.slant_range(*first)))


@given(any_grid, st.integers(1, 50), st.integers(1, 50), st.integers(0, 20), st.integers(0, 20))
def test_an_averaged_pixel_stands_in_the_middle_of_its_window(
    grid: RadarGrid, lines: int, samples: int, line: int, sample: int
) -> None:
    coarse = grid.multilook(lines, samples)
    assert coarse.shape == (grid.lines // lines, grid.samples // samples)
    assert coarse.looks == grid.looks * lines * samples
    fine_line, fine_sample = (line + 0.5) * lines - 0.5, (sample + 0.5) * samples - 0.5
    assert float(coarse.azimuth_time(line)) == pytest.approx(
        float(grid.azimuth_time(fine_line)), abs=1e-9
    )
    assert float(coarse.slant_range(line, sample)) == pytest.approx(
        float(grid.slant_range(fine_line, fine_sample)), abs=1e-6
    )


@given(any_grid, st.integers(-(10**13), 10**13))
def test_another_epoch_is_the_same_grid(grid: RadarGrid, nanoseconds: int) -> None:
    shift = nanoseconds * 1e-9
    other = grid.with_epoch(grid.epoch + np.timedelta64(nanoseconds, "ns"))
    slant_range = grid.slant_range(10, 20)
    assert float(other.slant_range(10, 20)) == pytest.approx(float(slant_range), abs=1e-6)
    time = float(grid.azimuth_time(10, slant_range))
    assert float(other.azimuth_time(10, slant_range)) == pytest.approx(time - shift, abs=1e-9)
    assert float(other.sample(slant_range, time - shift)) == pytest.approx(20.0, abs=1e-6)


def test_bursts_follow_the_epoch_and_are_lost_with_the_grid() -> None:
    grid = read_grid(annotation_xml(*swath_of_bursts(), bursts=3).encode())
    later = grid.with_epoch(grid.epoch + np.timedelta64(2, "s"))
    assert later.bursts[1].azimuth_time == pytest.approx(grid.bursts[1].azimuth_time - 2.0)
    assert grid.crop(slice(1, 5)).bursts == ()
    assert grid.multilook(2, 2).bursts == ()
    assert grid.multilook(2, 2, looks=2.5).looks == 2.5


# ------------------------------------------------------------------------------ simulated grids


@pytest.mark.parametrize(("look_side", "ground_range", "ascending"), KINDS)
@pytest.mark.parametrize(("latitude", "longitude"), [(46.0, 10.0), (-33.0, -70.0), (70.0, 179.99)])
def test_the_place_stands_in_the_centre_under_the_angle(
    look_side: LookSide, latitude: float, longitude: float, *, ground_range: bool, ascending: bool
) -> None:
    grid, orbit = synthetic_grid(
        latitude,
        longitude,
        incidence=37.0,
        look_side=look_side,
        ground_range=ground_range,
        ascending=ascending,
        lines=301,
        samples=401,
        height=1500.0,
    )
    point = np.array(TO_EARTH_FIXED.transform(latitude, longitude, 1500.0))
    above = np.array(TO_EARTH_FIXED.transform(latitude, longitude, 1501.0))
    time = zero_doppler_time(*point, 0.0, orbit.start, orbit.coefficients)
    position, velocity = orbit.state(time)
    sight = position - point
    slant_range = np.linalg.norm(sight)
    assert float(grid.line(time)) == pytest.approx(150.0, abs=1e-6)
    assert float(grid.sample(slant_range, time)) == pytest.approx(200.0, abs=1e-4)
    incidence = np.degrees(np.arccos((above - point) @ sight / slant_range))
    assert incidence == pytest.approx(37.0, abs=1e-3)
    to_the_right = np.cross(velocity, position) @ -sight > 0.0
    assert to_the_right == (look_side == "right")
    assert (velocity[2] > 0.0) == ascending
    assert grid.line_spacing(orbit) == pytest.approx(10.0, abs=0.01)


def test_pixels_of_a_simulated_image_are_evenly_spaced_on_the_ground() -> None:
    grid, orbit = synthetic_grid(lines=1001, samples=2001, line_spacing=10.0, sample_spacing=10.0)
    geod = Geod(ellps="WGS84")

    def place(line: float, sample: float) -> tuple[float, float]:
        slant_range = float(grid.slant_range(line, sample))
        point = points_at_ranges(
            *orbit.state(float(grid.azimuth_time(line))),
            np.array([slant_range]),
            look_sign(grid.look_side),
            0.0,
        )[0]
        latitude, longitude, height = TO_GEODETIC.transform(*point)
        assert height == pytest.approx(0.0, abs=1e-3)
        return longitude, latitude

    for line in (0, 500, 1000):
        for sample in (0, 900, 1900):
            distance = geod.inv(*place(line, sample), *place(line, sample + 100))[2]
            # Along a record ground range is a length; between records it is interpolated.
            assert distance == pytest.approx(1000.0, abs=0.01)
    for sample in (0, 2000):
        distance = geod.inv(*place(450, sample), *place(550, sample))[2]
        assert distance == pytest.approx(1000.0, abs=5.0)


# --------------------------------------------------------------------------------------- bad input


def test_a_grid_that_makes_no_sense_is_refused() -> None:
    changes: tuple[tuple[str, Any, str], ...] = (
        ("look_side", "up", "look side is 'up', expected 'right' or 'left'"),
        ("lines", 0, "found lines=0"),
        ("samples", 2.5, r"found samples=2\.5"),
        ("line_interval", 0.0, r"found line_interval=0\.0"),
        ("sample_spacing", -10.0, r"found sample_spacing=-10\.0"),
        ("near_range", np.nan, "found near_range=nan"),
        ("wavelength", np.inf, "found wavelength=inf"),
        ("looks", 0.0, r"found looks=0\.0"),
        ("line_zero_time", np.nan, "found line_zero_time=nan"),
        ("bistatic_range", 1e3, r"found bistatic_range=1000\.0, expected a slant range like"),
        ("epoch", np.datetime64("NaT"), "since NaT"),
    )
    for name, value, message in changes:
        with pytest.raises(ValueError, match=message):
            replace(GRIDS[0], **{name: value})


def test_a_part_window_or_burst_that_is_not_there_is_an_error() -> None:
    for line, sample in (
        (slice(0, 2001), slice(None)),
        (slice(-5, None), slice(None)),
        (slice(10, 10), slice(None)),
        (slice(None), slice(2999, 3001)),
        (slice(None), slice(20, 10)),
        (slice(None), slice(0, 10, 2)),
    ):
        with pytest.raises(IndexError, match="cannot be cropped beyond its edge"):
            GRIDS[0].crop(line, sample)
    for window in ((0, 1), (1, 3001), (2001, 1), (1, -1)):
        with pytest.raises(ValueError, match="found a window of"):
            GRIDS[0].multilook(*window)
    xml = annotation_xml(*swath_of_bursts(), bursts=3).encode()
    for burst in (-1, 3, 100):
        with pytest.raises(IndexError, match=f"3 bursts, counted from 0, found burst={burst}"):
            read_grid(xml, burst=burst)
    with pytest.raises(IndexError, match="has no bursts, found burst=0"):
        read_grid(annotation_xml(*synthetic_grid()).encode(), burst=0)


def test_an_image_that_an_orbit_does_not_see_is_an_error() -> None:
    _, orbit = synthetic_grid(46.0, 10.0, look_side="right")
    given: tuple[tuple[float, dict[str, Any], type[Exception], str], ...] = (
        (46.0, {"look_side": "left"}, ValueError, "right of the orbit, expected it to the left"),
        (-10.0, {}, OrbitCoverageError, "does not pass latitude -10"),
        (46.0, {"lines": 300_000}, OrbitCoverageError, "found an orbit from"),
        (46.0, {"samples": 120_000}, ValueError, "reaches the nadir or the horizon"),
    )
    for latitude, how, error, message in given:
        with pytest.raises(error, match=message):
            RadarGrid.over(orbit, latitude, 10.0, **{"lines": 10, "samples": 10} | how)


EPOCH = np.datetime64("2024-01-01T05:00:00")


def two_records() -> GroundRange:
    return GroundRange(
        time=np.array([0.0, 2.0]),
        slant_origin=np.array([800e3, 800e3]),
        slant_to_ground=np.array([[0.0, 2.0, -1e-6], [100.0, 2.1, -1e-6]]),
        ground_origin=np.array([0.0, 0.0]),
        ground_to_slant=np.array([[800e3, 0.5], [800.5e3, 0.5]]),
    )


def test_ground_range_is_interpolated_between_records_and_held_beyond() -> None:
    records = two_records()
    at = records.ground(810e3, [-5.0, 0.0, 0.5, 1.0, 2.0, 9.0])
    first, last = 19_900.0, 21_000.0
    np.testing.assert_allclose(
        at, [first, first, 0.75 * first + 0.25 * last, (first + last) / 2, last, last]
    )
    assert float(records.shift_time(1.0).ground(810e3, 2.0)) == float(records.ground(810e3, 1.0))


def test_the_nearest_record_is_taken_as_it_is() -> None:
    records = replace(two_records(), interpolation="nearest")
    ground = 10_000.0
    first, last = 805_000.0, 805_500.0
    at = records.slant(ground, [-5.0, 0.0, 0.999, 1.0, 1.001, 2.0, 9.0])
    np.testing.assert_array_equal(at, [first, first, first, last, last, last, last])
    # Its own polynomial from ground to slant range, not the inverse of the other one.
    linear = two_records().slant(ground, [0.0, 2.0])
    assert (np.abs(linear - [first, last]) > 10.0).all()


def test_a_single_record_serves_all_lines() -> None:
    for interpolation in get_args(RangeInterpolation):
        records = two_records()
        single = GroundRange(
            *(
                getattr(records, name)[:1]
                for name in (
                    "time",
                    "slant_origin",
                    "slant_to_ground",
                    "ground_origin",
                    "ground_to_slant",
                )
            ),
            interpolation=interpolation,
        )
        slant = single.slant(10_000.0, [-1.0, 0.0, 7.0])
        np.testing.assert_array_equal(slant, slant[0])
        np.testing.assert_allclose(single.ground(slant, 3.0), 10_000.0, rtol=0, atol=1e-6)


@given(st.floats(0.0, 200e3), st.floats(-1.0, 3.0), st.sampled_from(get_args(RangeInterpolation)))
def test_ground_range_is_inverted_exactly(
    ground: float, time: float, interpolation: RangeInterpolation
) -> None:
    records = replace(two_records(), interpolation=interpolation)
    slant = records.slant(ground, time)
    assert float(records.ground(slant, time)) == pytest.approx(ground, abs=1e-6)


def test_records_that_make_no_sense_are_refused() -> None:
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"time": np.array([2.0, 0.0])}, "strictly ascending"),
        ({"time": np.array([0.0, 0.0])}, "strictly ascending"),
        ({"slant_origin": np.array([800e3])}, "found slant_origin of shape"),
        ({"slant_to_ground": np.array([[0.0, np.nan], [0.0, 1.0]])}, "found slant_to_ground"),
        ({"interpolation": "cubic"}, "found interpolation 'cubic' .* expected 'linear' or 'near"),
    )
    for change, message in changes:
        with pytest.raises(ValueError, match=message):
            replace(two_records(), **change)
    grid, _ = synthetic_grid(ground_range=False, sample_spacing=2.3)
    with pytest.raises(ValueError, match="slant-range grid and interpolation='nearest'"):
        grid.with_range_interpolation("nearest")


def test_an_annotation_with_damaged_records_is_refused() -> None:
    xml = annotation_xml(*synthetic_grid(lines=2000))
    head, body = xml.split("<coordinateConversionList>")
    records = body.split("<coordinateConversion>")
    swapped = (
        head
        + "<coordinateConversionList><coordinateConversion>"
        + ("<coordinateConversion>".join([*records[2:0:-1], *records[3:]]))
    )
    with pytest.raises(AnnotationError, match=r"XML from memory: .* strictly ascending"):
        read_grid(swapped.encode())


def test_an_annotation_is_read_as_linear_and_may_be_taken_otherwise() -> None:
    grid = read_grid(annotation_xml(*synthetic_grid(lines=2000)).encode())
    assert grid.ground_range is not None
    assert grid.ground_range.interpolation == "linear"
    nearest = grid.with_range_interpolation("nearest")
    assert nearest.ground_range is not None
    assert nearest.ground_range.interpolation == "nearest"
    # At a record both are the same, but for how well its two polynomials agree.
    time = grid.ground_range.time[1]
    assert nearest.ground_range.slant(700.0, time) == pytest.approx(
        grid.ground_range.slant(700.0, time), abs=1e-3
    )
    # It is kept by what is made of the grid.
    for made in (nearest.crop(slice(3, 50)), nearest.multilook(2, 2), nearest.with_epoch(EPOCH)):
        assert made.ground_range is not None
        assert made.ground_range.interpolation == "nearest"
